"""The explorers of notebook 07 and the Pareto front, driven from Python as the browser would."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import widgets
from course_utils.data import drawn
from course_utils.metrics.distortions import DISTORTIONS, distort
from course_utils.metrics.estimates import extrapolated
from course_utils.studies.pareto import pareto_front
from course_utils.widgets import board, charts
from course_utils.widgets.images import tiles
from course_utils.widgets.scores import fitted

LIMIT_MS = 100
DIM = 1280


def shown(picture) -> np.ndarray:
    assert picture.alt.strip()
    return np.asarray(Image.open(io.BytesIO(bytes(picture.value))))


def text(explorer) -> str:
    return re.sub(r"<[^>]+>", " ", explorer.numbers.value)


# --- the front ---


def test_the_front_is_what_nothing_beats():
    cost, quality = [1, 2, 3, 4, 2], [9, 5, 6, 1, 7]
    assert pareto_front(cost, quality).tolist() == [True, True, False, True, False]
    assert pareto_front(cost, quality, higher_is_better=True).tolist() == [True, False, False, False, False]
    assert pareto_front([], []).tolist() == []


def test_equal_rows_stay_or_go_together():
    assert pareto_front([1, 1, 2, 2], [5, 5, 5, 4]).tolist() == [True, True, False, True]
    assert pareto_front([1, 1], [5, 6]).tolist() == [True, False]
    assert pareto_front(torch.tensor([1, 2]), torch.tensor([3, 3])).tolist() == [True, False]


def test_the_front_agrees_with_its_definition(generator):
    cost, quality = torch.randint(0, 9, (2, 60), generator=generator).tolist()

    def beaten(i):
        return any(
            cost[j] <= cost[i] and quality[j] >= quality[i] and (cost[j] < cost[i] or quality[j] > quality[i])
            for j in range(60)
        )

    assert pareto_front(cost, quality, higher_is_better=True).tolist() == [not beaten(i) for i in range(60)]


def test_what_has_no_front_is_refused():
    with pytest.raises(ValueError, match=r"one number a row, shape \(N,\): got \(2,\), \(3,\)"):
        pareto_front([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="quality must be finite, got nan in row 1"):
        pareto_front([1, 2], [1, float("nan")])


# --- charts ---


def test_numbers_are_written_with_three_figures():
    written = [charts.three(x) for x in (0, 0.01234, 0.9999, 1.234, 9.999, 12.34, 99.99, 123.4, 12345.6, -1.5)]
    assert written == ["0", "0.0123", "1.00", "1.23", "10.0", "12.3", "100", "123", "12,346", "−1.50"]


def test_labels_keep_apart():
    assert charts.spread([3, 1, 1.1], 1) == [3, 1, 2]
    assert charts.spread([9.8, 9.9, 2], 1, top=10) == [9, 10, 2]


def test_names_cover_no_point_and_no_other_name(generator):
    points = torch.rand(30, 2, generator=generator) * torch.tensor([800.0, 400.0]) + 50
    anchors = points[:8]
    obstacles = torch.cat([points, torch.full((30, 1), 10.0)], 1)
    frame = (0, 0, 900, 500)
    places = charts.place(anchors, [(90, 18)] * 8, obstacles, frame)
    boxes = [(x, y, x + 90, y + 18) for x, y in (place for place in places if place)]
    assert len(boxes) >= 7
    for k, a in enumerate(boxes):
        assert frame[0] <= a[0] and frame[1] <= a[1] and a[2] <= frame[2] and a[3] <= frame[3]
        assert all(a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3] for b in boxes[:k])
    assert charts.place([(50, 50)], [(90, 18)], np.empty((0, 3)), (0, 0, 60, 60)) == [None]


# --- the league table ---


def row(**more) -> dict:
    plain = {"part": "", "kind": "diffusion", "data": "cats", "sampler": "ddim", "steps": None, "evaluations": 1}
    plain |= {"n": 1000, "fd": 50.0, "fd_se": 1.0, "floor": 30.0, "floor_std": 0.5, "ratio": 1.6, "kid": 0.02}
    plain |= {"kid_se": 0.001, "precision": 0.5, "recall": 0.4, "density": 0.7, "coverage": 0.6, "seconds": 0.1}
    return plain | {"parameters": 3_000_000, "minutes": 60.0, "inception_fd": None, "other": 1} | more


def league() -> list[dict]:
    diffusion = [
        row(checkpoint="big", steps=steps, evaluations=steps, seconds=0.01 * steps, fd=fd, ratio=fd / 30, recall=r)
        for steps, fd, r in [(50, 54.0, 0.52), (1, 210.0, 0.01), (5, 84.0, 0.3), (10, 63.0, 0.45), (25, 55.0, 0.5)]
    ]
    others = [
        row(checkpoint="gan", kind="GAN", sampler="", seconds=0.001, fd=92.0, parameters=1_000_000, recall=0.1),
        row(checkpoint="lost", kind="VAE", seconds=0.02, fd=150.0, fd_se=None, minutes=None, inception_fd=160.25),
        row(checkpoint="class <b>", part="cat", kind="latent diffusion", data="faces", seconds=0.2, n=500, fd=70.0),
        row(checkpoint="style", kind="StyleGAN2", data="faces", seconds=0.02, n=500, fd=97.0, recall=None),
    ]
    return diffusion + others


def names(explorer) -> list[str]:
    return [board.row_text(row) for row, on in zip(explorer.rows, explorer.front, strict=True) if on]


def test_pareto_explorer_shows_the_front_of_one_set():
    explorer = widgets.pareto_explorer(league())
    assert explorer.data.options == ("cats", "faces") and len(explorer.rows) == 7
    front = ["gan", "big, 5 steps", "big, 10 steps", "big, 25 steps", "big, 50 steps"]
    assert names(explorer) == front and explorer.best["steps"] == 50
    alt = explorer.picture.alt
    assert "7 measured models on cats: FD, lower is better, over processor seconds per picture" in alt
    assert "gan (FD 92.0 ± 2.0); big, 5 steps (FD 84.0 ± 2.0)" in alt and "Dominated: 2." in alt
    assert "best at 500 ms: big, 50 steps" in text(explorer) and "2 dominated" in text(explorer)
    assert "FD 54.0 ± 2.0 (floor 30.0)" in text(explorer) and "KID 0.0200 ± 0.0020" in text(explorer)
    assert all(kind in explorer.legend.value for kind in ("diffusion", "GAN", "VAE", "floor"))
    assert "StyleGAN2" not in explorer.legend.value
    explorer.data.value = "faces"
    assert names(explorer) == ["style", "class <b> (cat)"] and "class &lt;b&gt; (cat)" in explorer.numbers.value
    assert explorer.budget.label == "200 ms" and "GAN2" in explorer.legend.value and "VAE" not in explorer.legend.value


def test_pareto_explorer_follows_every_axis():
    explorer = widgets.pareto_explorer(league())
    pictures = {bytes(explorer.picture.value)}
    for key, about in board.QUALITIES.items():
        explorer.quality.value = key
        for cost, title in board.COSTS.items():
            explorer.cost.value = cost
            assert "alert" not in explorer.numbers.value
            better = "higher" if about.higher else "lower"
            assert f"{about.name}, {better} is better, over {title}" in explorer.picture.alt
            numbers = [[row[which] for row in explorer.rows] for which in (cost, key)]
            assert explorer.front == pareto_front(*numbers, about.higher).tolist()
            pictures.add(bytes(explorer.picture.value))
            assert len(explorer.rows) == (6 if cost == "minutes" else 7)
            assert ("1 more lacks one" in text(explorer)) == (cost == "minutes")
            best = max if about.higher else min
            assert explorer.best[key] == best(row[key] for row in explorer.rows)
    assert len(pictures) == len(board.QUALITIES) * len(board.COSTS)


def test_the_budget_moves_the_best_and_leaves_the_front():
    explorer = widgets.pareto_explorer(league())
    front, found = explorer.front, []
    texts = [label for label, _ in explorer.budget.options]
    assert texts == ["1.00 ms", "10.0 ms", "20.0 ms", "50.0 ms", "100 ms", "250 ms", "500 ms"]
    before = shown(explorer.picture)
    for k in range(7):
        explorer.budget.index = k
        found.append(board.row_text(explorer.best))
        assert f"{k + 1} of 7 within the budget" in text(explorer) and f"at most {texts[k]}: {k + 1}," in alt(explorer)
        assert f"ringed, is {found[-1]}." in alt(explorer) and explorer.front == front
    assert found == ["gan"] * 3 + ["big, 5 steps", "big, 10 steps", "big, 25 steps", "big, 50 steps"]
    assert np.array_equal(shown(explorer.picture), before)
    explorer.budget.index = 3
    assert not np.array_equal(shown(explorer.picture), before)
    explorer.quality.value = "recall"
    assert explorer.budget.index == 3 and explorer.best["fd"] == 150.0  # 0.4: the cost stays, the best does not
    assert "FID with Inception 160.2" in text(explorer) and "FD 150.0 (floor" in text(explorer)


def alt(explorer) -> str:
    return explorer.picture.alt


def test_of_equals_the_cheapest_is_best():
    rows = [row(checkpoint=name, seconds=seconds) for name, seconds in (("b", 2.0), ("a", 1.0))]
    explorer = widgets.pareto_explorer(rows)
    assert explorer.best["checkpoint"] == "a" and explorer.front == [True, False]
    same = widgets.pareto_explorer([row(checkpoint=name) for name in "ab"])
    assert same.front == [True, True] and len(same.budget.options) == 1


def test_scores_that_lack_on_a_set_are_said():
    rows = [row(checkpoint="a"), row(checkpoint="b", data="faces", recall=None)]
    explorer = widgets.pareto_explorer(rows)
    explorer.quality.value = "recall"
    explorer.data.value = "faces"
    assert "none of the rows on faces has both seconds and recall" in text(explorer)
    assert "alert" in explorer.numbers.value and explorer.picture.layout.visibility == "hidden"
    explorer.quality.value = "kid"
    assert "alert" not in explorer.numbers.value and explorer.picture.layout.visibility == "visible"
    assert explorer.best["checkpoint"] == "b"


def test_what_is_no_league_is_refused():
    good = row(checkpoint="a")
    for rows, message in [
        ([], "rows is empty"),
        ([{k: v for k, v in good.items() if k not in ("kid", "n")}], "row 0 lacks n, kid"),
        ([good, good | {"kind": "flow"}], "unknown kind 'flow' in row 1: choose one of diffusion, latent diffusion"),
        ([good | {"seconds": 0}], r"seconds of row 0 \(a\) must be a number above 0 or None, got 0"),
        ([good | {"fd": float("nan")}], r"fd of row 0 \(a\) must be a finite number or None, got nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.pareto_explorer(rows)


# --- the bias ---


def curves(repeats: int = 3) -> dict:
    sizes, spread = [50, 100, 200, 500, 1000, 2000, 5000], torch.linspace(-1, 1, repeats) if repeats > 1 else 0
    long = torch.tensor([10 + 8000 / n for n in sizes])[:, None] + spread + torch.zeros(repeats)
    return {
        "real <b>": {"n": sizes, "fd": long},
        "model": {"n": sizes[:5], "fd": [[60 + 9000 / n, 62 + 9000 / n] for n in sizes[:5]]},
    }


def test_a_line_goes_through_the_last_sizes():
    n = [50, 100, 200, 500, 1000, 2000, 5000]
    assert [fitted(n, k) for k in range(7)] == [[], [0, 1], [0, 1, 2], [2, 3], [3, 4], [3, 4, 5], [5, 6]]
    assert fitted([10, 100, 1000], 2) == [1, 2]  # two of them in any case


def test_bias_explorer_shows_mean_and_line():
    explorer, found = widgets.bias_explorer(curves(), DIM), curves()["real <b>"]
    explorer.slider.index = 3
    assert "n = 500 : FD 26.0 ± 1.0" in text(explorer) and "rank n − 1 = 499 of 1,280: singular" in text(explorer)
    intercept, slope = extrapolated([200, 500], found["fd"].mean(1)[2:4])
    assert explorer.fit == pytest.approx((intercept, slope)) and intercept == pytest.approx(10)
    assert "as extrapolated:  10.0 , from n = 200 · 500" in text(explorer)
    assert "bold: real <b>. At n = 500 FD 26.0" in explorer.picture.alt and "line at n = 1,281." in explorer.picture.alt
    assert "real &lt;b&gt;" in explorer.legend.value and "model" in explorer.legend.value
    explorer.slider.index = 5
    assert "rank 1,280 of 1,280: full" in text(explorer) and "from n = 500 · 1,000 · 2,000" in text(explorer)
    explorer.slider.index = 0
    assert explorer.fit is None and "a line takes two" in text(explorer) and "49 of 1,280" in text(explorer)


def test_every_control_of_the_bias_changes_picture_and_alt_text():
    explorer = widgets.bias_explorer(curves(), DIM)
    seen = {}
    for curve in explorer.curve.options:
        explorer.curve.value = curve
        for scale in ("n", "1 / n"):
            explorer.scale.value = scale
            for k in range(len(explorer.slider.options)):
                explorer.slider.index = k
                assert "alert" not in explorer.numbers.value and f"FD over {scale} for 2" in explorer.picture.alt
                seen[explorer.picture.alt] = bytes(explorer.picture.value)
    assert len(seen) == len(set(seen.values())) == 2 * (7 + 5)


def test_another_curve_keeps_the_number_of_pictures_where_it_can():
    explorer = widgets.bias_explorer(curves(), DIM)
    assert explorer.slider.label == "5,000"
    explorer.slider.index = 2
    explorer.curve.value = "model"
    assert explorer.slider.label == "200" and len(explorer.slider.options) == 5 and "FD 106.0" in text(explorer)
    explorer.curve.value = "real <b>"
    explorer.slider.index = 6
    explorer.curve.value = "model"
    assert explorer.slider.label == "1,000" and explorer.fit[0] == pytest.approx(61)


@pytest.mark.parametrize("dim", [1, 60, 3000, 10**6])
def test_the_border_may_lie_anywhere(dim):
    explorer = widgets.bias_explorer(curves(repeats=1), dim)
    for scale in ("1 / n", "n"):
        explorer.scale.value = scale
        explorer.slider.index = 4
        assert "alert" not in explorer.numbers.value and "±" not in text(explorer)
        assert f"{min(999, dim):,} of {dim:,}: {'singular' if dim >= 1000 else 'full'}" in text(explorer)


def test_what_is_no_curve_is_refused():
    for given, message in [
        ({}, "curves is empty"),
        ({"a": {"n": [2, 3]}}, "curve 'a' lacks fd"),
        ({"a": {"n": [3, 2], "fd": [[1], [2]]}}, r"n of curve 'a' must be two ascending numbers.*\[3, 2\]"),
        ({"a": {"n": [2, 3], "fd": [1, 2]}}, r"shape \(2, repeats\), got shape \(2,\)"),
        ({"a": {"n": [2, 3], "fd": [[1], [float("inf")]]}}, "must hold finite numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.bias_explorer(given, DIM)
    with pytest.raises(ValueError, match="dim counts features: at least 1, got 0"):
        widgets.bias_explorer(curves(), 0)


# --- distortions ---


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return drawn.draw(8, "cat", 64, seed=3).images


def measured() -> dict:
    amount, found = np.linspace(0, 1, 5), {}
    for k, name in enumerate(DISTORTIONS):
        worse = amount ** (1 + 0.1 * k)
        found[name] = {"amount": amount.tolist(), "fd": (30 + 40 * (k + 1) * worse).tolist(), "kid": 0.1 * worse}
        found[name] |= {score: 0.7 * (1 - worse) for score in ("precision", "recall", "density", "coverage")}
    return found


def test_distortion_explorer_spoils_the_pictures_and_reads_the_curves(pictures):
    explorer, found = widgets.distortion_explorer(pictures, measured()), measured()
    assert explorer.distortion.options == tuple(DISTORTIONS)
    grid = tiles(pictures, 4)
    assert shown(explorer.plain).shape == (grid.shape[1], grid.shape[2], 3) == shown(explorer.spoilt).shape
    for name, amount in [("blur", 0.25), ("noise", 0.6), ("levels", 1.0)]:
        explorer.distortion.value, explorer.amount.value = name, amount
        expected = distort(pictures, name, amount, torch.Generator().manual_seed(0))
        assert torch.equal(explorer.changed, expected)
        for score, value in explorer.scores.items():
            assert value == pytest.approx(np.interp(amount, found[name]["amount"], found[name][score]))
        fd = explorer.scores["fd"]
        assert f"FD {fd:.1f} = {charts.three(fd / 30)} × 30.0, that of amount 0" in text(explorer)
        assert f"precision {explorer.scores['precision']:.2f}" in text(explorer)
        assert f"distorted: {name}, amount {amount:.2f}" in explorer.spoilt.alt
        assert f"bold: {name}, from 30.0 at 0" in explorer.picture.alt and f"FD {fd:.1f}" in explorer.picture.alt
    explorer.amount.value = 0
    assert torch.equal(explorer.changed, pictures) and "= 1.00 × 30.0" in text(explorer)


def test_every_control_of_the_distortions_changes_what_is_seen(pictures):
    explorer = widgets.distortion_explorer(pictures, measured())
    seen = set()
    for name in DISTORTIONS:
        explorer.distortion.value = name
        for amount in (0.3, 0.7):
            explorer.amount.value = amount
            assert "alert" not in explorer.numbers.value
            seen.add((bytes(explorer.picture.value), bytes(explorer.spoilt.value), explorer.picture.alt))
    assert all(len({some[k] for some in seen}) == 2 * len(DISTORTIONS) for k in range(3))


def test_what_cannot_be_distorted_is_refused(pictures):
    good = measured()["blur"]
    for given, message in [
        ({}, "found is empty"),
        ({"melt": good}, "unknown distortion 'melt': choose from noise, blur"),
        ({"blur": {"amount": [0, 1], "fd": [1, 2]}}, "the scores of blur lack kid, precision"),
        ({"blur": good | {"amount": [0, 0.5, 0.4, 0.8, 1]}}, "the amounts of blur must ascend from 0 to 1"),
        ({"blur": good | {"kid": [1, 2]}}, "kid of blur must be a finite number for each of 5 amounts"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.distortion_explorer(pictures, given)
    for wrong in (pictures[0], pictures[:0], pictures[:, :1]):
        with pytest.raises(ValueError, match=r"pictures must have shape \(N, 3, S, S\)"):
            widgets.distortion_explorer(wrong, measured())


# --- all ---


def test_what_goes_wrong_is_said(pictures, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of <luck>")

    league_table, bias = widgets.pareto_explorer(league()), widgets.bias_explorer(curves(), DIM)
    distortions = widgets.distortion_explorer(pictures, measured())
    monkeypatch.setattr(charts.Chart, "refresh", broken)
    monkeypatch.setattr("course_utils.widgets.distortions.distort", broken)
    for explorer, control, value in [
        (league_table, league_table.budget, league_table.budget.options[0][1]),
        (league_table, league_table.quality, "kid"),
        (bias, bias.slider, 1),
        (bias, bias.scale, "1 / n"),
        (distortions, distortions.amount, 0.1),
    ]:
        explorer.numbers.value = ""
        control.value = value
        assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and "alert" in explorer.numbers.value


def test_every_control_has_a_name(pictures):
    first, second = widgets.pareto_explorer(league()), widgets.bias_explorer(curves(), DIM)
    third = widgets.distortion_explorer(pictures, measured())
    for control in (first.data, first.quality, first.cost, first.budget, second.curve, second.slider, third.amount):
        assert control.description
    assert first.budget.continuous_update and second.slider.continuous_update and third.amount.continuous_update


def test_explorers_answer_in_time(pictures, processor_ms):
    rows = league() + [row(checkpoint=f"m{k}", seconds=0.001 * 1.1**k, fd=200 - 2 * k) for k in range(50)]
    explorer, taken = widgets.pareto_explorer(rows), {}
    for name in ("quality", "cost", "data"):
        control = getattr(explorer, name)
        values = [option[1] if isinstance(option, tuple) else option for option in control.options]
        taken[name] = processor_ms(
            lambda value, control=control: setattr(control, "value", value), values[1:] + values[:1]
        )
    taken["budget"] = processor_ms(lambda k: setattr(explorer.budget, "index", k), (3, 9, 20, 30, 40))
    explorer = widgets.bias_explorer(curves(), DIM)
    taken["scale"] = processor_ms(lambda value: setattr(explorer.scale, "value", value), ("1 / n", "n", "1 / n"))
    taken["n"] = processor_ms(lambda k: setattr(explorer.slider, "index", k), (1, 2, 3, 4, 5))  # its axes follow
    taken["curve"] = processor_ms(lambda k: setattr(explorer.curve, "index", k), (1, 0, 1))
    explorer = widgets.distortion_explorer(pictures.repeat(2, 1, 1, 1), measured())
    taken["distortion"] = processor_ms(lambda k: setattr(explorer.distortion, "index", k), (1, 2, 3, 4, 5))
    explorer.distortion.value = "swirl"
    taken["amount"] = processor_ms(lambda value: setattr(explorer.amount, "value", value), (0.1, 0.3, 0.7, 0.9, 1))
    print({name: f"{ms:.0f} ms" for name, ms in taken.items()})
    assert max(taken.values()) < LIMIT_MS, taken
