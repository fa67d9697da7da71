"""What scores of n pictures say: neighbours, copies, bias, error bars; and pictures spoilt, resized and stored."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import metrics
from course_utils.data import drawn
from course_utils.data.levels import to_bytes
from course_utils.metrics import distortions, estimates, files


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, dim: int, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, dim, generator=random(seed), dtype=torch.float64) + shift


PICTURES = drawn.draw(12, "cat", 32, seed=3).images


# ---- distances


@pytest.mark.parametrize(("n", "m"), [(10, 12), (12, 200), (200, 12), (39, 40), (2, 2)])
def test_fd_of_few_features_is_that_of_their_statistics(n, m):
    a, b = normal(n, 40), normal(m, 40, seed=1, shift=0.3)
    want = metrics.frechet_distance(metrics.Statistics().update(a), metrics.Statistics().update(b))
    assert metrics.frechet_distance(a, b) == pytest.approx(want, rel=1e-6)
    assert metrics.frechet_distance(a, metrics.Statistics().update(b)) == pytest.approx(want, rel=1e-6)


def test_fd_of_one_picture_and_of_other_networks_is_refused():
    with pytest.raises(ValueError, match="at least 2 images, got n = 1"):
        metrics.frechet_distance(normal(1, 40), normal(9, 40))
    with pytest.raises(ValueError, match="do not compare"):
        metrics.frechet_distance(normal(9, 40), normal(9, 41))


def test_density_and_coverage_of_known_sets():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]], dtype=torch.float64)  # radii with k = 1: 1, 1, 1, 8
    fake = torch.tensor([[0.5], [1.5], [30.0]], dtype=torch.float64)
    # 0.5 lies in the balls of 0 and 1; 1.5 in those of 1 and 2; 30 in none; both are 8 or more from 10
    assert metrics.density_coverage(real, fake, k=1) == pytest.approx((4 / 3, 3 / 4))


def test_density_and_coverage_agree_with_brute_force(monkeypatch):
    real, fake, k = normal(60, 5), normal(45, 5, seed=1, shift=0.4), 5
    radius = torch.cdist(real, real).sort(dim=1).values[:, k]
    inside = torch.cdist(real, fake) <= radius[:, None]
    want = float(inside.sum()) / (k * 45), float(inside.any(1).double().mean())
    assert metrics.density_coverage(real, fake) == pytest.approx(want)
    monkeypatch.setattr("course_utils.metrics.distances._rows", lambda other: 7)
    assert metrics.density_coverage(real, fake) == pytest.approx(want)


def test_density_and_coverage_of_one_distribution_are_what_theory_says():
    density, coverage = metrics.density_coverage(normal(800, 8), normal(800, 8, seed=1))
    assert density == pytest.approx(1, abs=0.1) and coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_a_far_off_fake_spoils_recall_but_not_coverage():
    real, fake = normal(300, 8), normal(300, 8, seed=1, shift=4)
    assert metrics.density_coverage(real, fake)[1] < 0.05
    outliers = torch.cat([fake, 40 * normal(60, 8, seed=2)])  # their balls reach across everything
    assert metrics.precision_recall(real, outliers)[1] > 0.5 > 0.05 > metrics.density_coverage(real, outliers)[1]


def test_copying_is_a_half_for_new_pictures_and_one_for_copies():
    train, test, fake = (normal(n, 8, seed=k) for k, n in enumerate((500, 200, 300)))
    assert metrics.copying(fake, train, test) == pytest.approx(0.5, abs=0.06)
    assert metrics.copying(train[:100], train, test) == 1
    assert metrics.copying(fake + 9, train, test) < 0.01
    assert metrics.copying(train[:100], train, train[100:200]) == 0.5, "all at distance 0: ties count half"


def test_copying_agrees_with_all_pairs():
    train, test, fake = (normal(n, 3, seed=k) for k, n in enumerate((50, 20, 30)))
    one, other = (torch.cdist(x, train).min(1).values for x in (fake, test))
    want = float((one[:, None] < other[None]).double().mean())
    assert metrics.copying(fake, train, test) == pytest.approx(want)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.density_coverage(normal(5, 3), normal(9, 3)), "more than k = 5 >= 1 real images, got 5"),
        (lambda: metrics.density_coverage(normal(9, 3) / 0, normal(9, 3)), "not finite"),
        (lambda: metrics.copying(normal(9, 3), normal(9, 4), normal(9, 3)), "do not compare"),
        (lambda: estimates.curve(normal(9, 3), normal(7, 3), [2, 8]), "sizes from 2 to 7"),
        (lambda: estimates.curve(normal(9, 3), normal(7, 3), []), "sizes from 2 to 7"),
        (lambda: estimates.curve(normal(9, 3), normal(7, 3), [5], repeats=0), "1 repeat or more"),
        (lambda: estimates.extrapolated([5, 5], [1.0, 2.0]), "two different n"),
        (lambda: estimates.extrapolated([5, 9], [1.0]), "a finite score for each n"),
        (lambda: estimates.extrapolated([5, 9], [1.0, math.nan]), "a finite score for each n"),
        (lambda: estimates.extrapolated([1, 9], [1.0, 2.0]), "n >= 2"),
        (lambda: estimates.halves(len, normal(9, 3), repeats=1), "2 repeats or more"),
        (lambda: distortions.distort(PICTURES, "blurr", 0.5), "unknown distortion 'blurr': choose one of noise, blur"),
        (lambda: distortions.distort(PICTURES, "blur", 1.2), "from 0 to 1, got 1.2"),
        (lambda: distortions.distort(to_bytes(PICTURES), "blur", 0.2), "must be float"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- estimates


def test_a_curve_takes_n_of_both_and_leaves_statistics_alone():
    a, b, seen = normal(30, 2), normal(20, 2), []
    stored = metrics.Statistics().update(b)

    def score(x, y):
        seen.append((len(x), y if y is stored else len(y)))
        return float(x.mean())

    assert estimates.curve(a, b, [5, 20], 2, random(), score).shape == (2, 2)
    estimates.curve(a, stored, [7], 1, random(), score)
    assert seen == [(5, 5), (5, 5), (20, 20), (20, 20), (7, stored)]


def test_subsets_do_not_overlap_while_there_are_enough():
    rows = torch.arange(30.0)[:, None]
    three = estimates._subsets(rows, 10, 3, random())
    assert torch.cat(three).sort(dim=0).values.equal(rows)
    assert [len(part.unique()) for part in estimates._subsets(rows, 20, 3, random())] == [20, 20, 20]


def test_fd_of_one_distribution_falls_as_one_over_n():
    values = estimates.curve(normal(6000, 8), normal(6000, 8, seed=1), [250, 500, 1000, 2000], 3, random())
    intercept, slope = estimates.extrapolated([250, 500, 1000, 2000], values.mean(1))
    assert abs(intercept) < 0.1 * float(values[0].mean()) and slope > 0


def test_a_line_in_one_over_n_is_found():
    n = torch.tensor([100, 400, 1000])
    assert estimates.extrapolated(n, 3 + 50 / n) == pytest.approx((3, 50))


@pytest.mark.parametrize("estimate", [estimates.bootstrap, estimates.halves])
def test_the_spread_of_resamples_is_that_of_other_draws(estimate):
    values = estimate(lambda x: float(x.mean()), normal(400, 1), 400, random())
    assert float(values.std()) == pytest.approx(1 / math.sqrt(400), rel=0.15)
    assert torch.equal(values[:5], estimate(lambda x: float(x.mean()), normal(400, 1), 5, random()))


# ---- distortions and files


@pytest.mark.parametrize("name", distortions.DISTORTIONS)
def test_distortions_grow_with_their_amount(name):
    assert torch.equal(distortions.distort(PICTURES, name, 0), PICTURES)
    found = [distortions.distort(PICTURES, name, amount, random()) for amount in (0.25, 0.5, 1)]
    moved = [float((x - PICTURES).abs().mean()) for x in found]
    assert 0 < moved[0] < moved[1] < moved[2]
    assert all(x.shape == PICTURES.shape and x.dtype == PICTURES.dtype and x.abs().max() <= 1 for x in found)
    assert torch.equal(found[1], distortions.distort(PICTURES, name, 0.5, random()))


def test_distortions_do_what_they_say():
    grey = torch.zeros(40, 3, 32, 32)
    assert float(distortions.distort(grey, "noise", 0.4, random()).std()) == pytest.approx(0.2, rel=0.02)
    assert len(distortions.distort(PICTURES, "levels", 1).unique()) == 4
    black = (distortions.distort(grey, "rectangles", 1, random()) == -1).double().mean()
    assert 0.15 < black <= 5 / 16
    dot = torch.zeros(1, 3, 64, 64)
    dot[..., 32, 32] = 1
    rows = torch.arange(64.0) - 32
    spread = distortions.distort(dot, "blur", 0.5)[0, 0].sum(1)  # half of 4 pixels
    assert float((spread * rows**2).sum() / spread.sum()) ** 0.5 == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("way", files.WAYS)
def test_ways_of_resizing_keep_pictures_alike(way):
    found = files.WAYS[way](PICTURES, 16)
    assert found.shape == (12, 3, 16, 16) and found.abs().max() <= 1
    plain = files.WAYS["Pillow, Lanczos"](PICTURES, 16)
    assert float((found - plain).abs().mean()) < 0.2
    assert torch.equal(found, plain) == (way == "Pillow, Lanczos")


def test_pillow_resizes_and_levels_are_counted():
    picture = Image.fromarray(to_bytes(PICTURES[0]).permute(1, 2, 0).numpy())
    want = np.asarray(picture.resize((16, 16), Image.Resampling.BOX))
    found = to_bytes(files.resized(PICTURES, 16, Image.Resampling.BOX))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, want)
    assert len(files.quantised(PICTURES, 8).unique()) <= 8
    assert float((files.compressed(PICTURES, 100) - PICTURES).abs().mean()) < 0.1
