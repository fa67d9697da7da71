"""The widgets on networks with classes, driven from Python as the browser would."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch

from course_utils import sample, samplers, schedules, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.models import dcgan, unet
from course_utils.widgets import classes as core
from course_utils.widgets import images, picture

NAMES = ["cat", "frog", "<b>car</b>"]  # a name is text, whatever it holds


@pytest.fixture(autouse=True)
def small_figures(monkeypatch):
    monkeypatch.setattr(picture, "DPI", 60)  # a quarter of the pixels: many pictures are drawn here


def made(model: torch.nn.Module, schedule: schedules.Schedule | None, names: list[str] | None = NAMES) -> Checkpoint:
    for p in model.parameters():  # the last layer starts at zero: its answer would not depend on the input
        torch.nn.init.normal_(p, std=0.1) if p.ndim > 1 else None
    return Checkpoint("made-up", model.eval().requires_grad_(False), schedule, {"classes": names} if names else {})


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made(unet.UNet(unet.config("tiny-half", predicts="x_0", T=50, classes=3)), schedules.cosine(50))


@pytest.fixture(scope="module")
def gan() -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made(dcgan.Generator(dcgan.DCGANConfig(z_dim=8, width=8, classes=3)), None)


@contextmanager
def evaluated(checkpoint: Checkpoint) -> Iterator[list[int]]:
    """Collect the batch size of every evaluation of the network."""
    sizes = []
    handle = checkpoint.model.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    try:
        yield sizes
    finally:
        handle.remove()


def text(explorer) -> str:
    return re.sub(r"<[^>]+>", " ", explorer.numbers.value)


def shown(explorer) -> np.ndarray:
    return np.asarray(explorer._shown.get_array())


def expected(pictures: torch.Tensor, columns: int) -> np.ndarray:
    return ((images.tiles(pictures, columns).permute(1, 2, 0) + 1) / 2).numpy()


def above(explorer) -> list[str]:
    return [artist.get_text() for artist in explorer._captions]


def drawn(checkpoint: Checkpoint, n: int, y, steps: int, seed: int = 0, guidance: float | None = None) -> torch.Tensor:
    how = {"sampler": "dpm_solver_pp", "spacing": "lambda", "steps": steps, "guidance": guidance, "seed": seed}
    return sample.images(checkpoint.model, checkpoint.schedule, n, y=None if y is None else torch.as_tensor(y), **how)


# --- one class ---


@pytest.mark.parametrize(
    ("chosen", "scale", "y", "guidance", "twice"),
    [
        ("frog", 1, [1] * 4, None, False),
        ("cat", 3, [0] * 4, 3, True),
        ("cat", -0.5, [0] * 4, -0.5, True),
        ("cat", 0, None, None, False),  # scale 0 is the network without a class, for half the price
        (core.NO_CLASS, 3, None, None, False),
        (core.IN_TURNS, 2, [0, 1, 2, 0], 2, True),
    ],
)
def test_class_explorer_draws_the_pictures_of_sample_images(checkpoint, chosen, scale, y, guidance, twice):
    explorer = widgets.class_explorer(checkpoint, n=4)
    explorer.steps.value, explorer.seed.value = 3, 7
    explorer.scale.value = scale
    with evaluated(checkpoint) as sizes:
        explorer.class_.value = chosen
        explorer.button.click()
    assert sum(sizes) == 4 * 3 * (2 if twice else 1) * (1 if chosen == "cat" else 2)  # cat was chosen before
    assert f"{6 if twice else 3} evaluations of the network per picture" in text(explorer)
    assert explorer.samples.shape == (4, 3, 32, 32) and explorer.samples.abs().max() <= 1
    theirs = drawn(checkpoint, 4, y, 3, seed=7, guidance=guidance)
    torch.testing.assert_close(explorer.samples, theirs, rtol=1e-4, atol=1e-4)
    assert np.allclose(shown(explorer), expected(explorer.samples, explorer._columns), atol=1e-6)


def test_class_explorer_draws_whenever_a_control_changes(checkpoint):
    explorer = widgets.class_explorer(checkpoint, n=4)
    assert explorer.samples is None and "nothing has been drawn" in explorer.picture.alt
    assert explorer.scale.value == 1 and explorer.steps.value == 8
    seen, pictures = [explorer.picture.alt], [bytes(explorer.picture.value)]
    changes = [("steps", 2), ("scale", 3.0), ("class_", "frog"), ("seed", 5), ("class_", core.NO_CLASS), ("seed", 0)]
    for control, value in changes:
        assert getattr(explorer, control).value != value
        getattr(explorer, control).value = value
        seen.append(explorer.picture.alt)
        pictures.append(bytes(explorer.picture.value))
        assert not explorer.button.disabled
    assert len(set(seen)) == len(seen) and len(set(pictures)) == len(pictures)
    assert "4 pictures, drawn by made-up: frog, guidance scale 3, 2 steps, seed 5." in seen
    for control in (explorer.scale, explorer.steps, explorer.seed):
        assert control.description and not control.continuous_update


def test_scales_say_what_they_mean(checkpoint):
    explorer = widgets.class_explorer(checkpoint, n=1)
    explorer.steps.value = 1
    assert "cat, guidance scale 1 (plain conditional), 1 step, seed 0" in text(explorer)
    explorer.scale.value = 0
    assert "guidance scale 0 (unconditional)" in text(explorer) and explorer.scale.label.startswith("0")
    assert "1 evaluation of the network per picture" in text(explorer) and " s for 1" in text(explorer)
    explorer.scale.value = -1
    assert "guidance scale −1, 1 step" in text(explorer)
    assert {-1, 0, 1, 8} <= set(core.SCALES) and min(core.SCALES) == -1 and max(core.SCALES) == 8


def test_without_a_class_there_is_no_scale(checkpoint):
    explorer = widgets.class_explorer(checkpoint, n=2)
    explorer.steps.value = 1
    explorer.class_.value = core.NO_CLASS
    assert explorer.scale.disabled and "nothing to guide to" in explorer.scale.tooltip
    assert "no class, 1 step, seed 0" in text(explorer) and "scale" not in text(explorer) + explorer.picture.alt
    explorer.class_.value = "cat"
    assert not explorer.scale.disabled and not explorer.scale.tooltip


def test_columns_are_named_where_each_has_one_class(checkpoint):
    explorer = widgets.class_explorer(checkpoint)
    assert (explorer._n, explorer._columns) == (16, 6)
    explorer.steps.value = 1
    assert above(explorer) == [""] * 6
    explorer.class_.value = core.IN_TURNS
    assert above(explorer) == NAMES * 2 and "cat, frog, &lt;b&gt;car&lt;/b&gt; in turns" in explorer.numbers.value
    other = widgets.class_explorer(checkpoint, n=8)
    other.steps.value = 1
    other.class_.value = core.IN_TURNS
    assert other._columns == 4 and above(other) == [""] * 4


def test_previews_are_what_the_network_expects(checkpoint, monkeypatch):
    monkeypatch.setattr(images, "PREVIEW_S", 0.0)
    explorer, alts, lines = widgets.class_explorer(checkpoint, n=2), [], []
    explorer.steps.value = 3
    explorer.picture.observe(lambda change: alts.append(change["new"]), "alt")
    explorer.numbers.observe(lambda change: lines.append(change["new"]), "value")
    explorer.scale.value = 2
    assert [alt.split(",")[0] for alt in alts] == ["Half-way", "Half-way", "2 pictures"]
    assert "step 1 of 3" in lines[0] and "step 2 of 3" in lines[1] and "guidance scale 2" in lines[1]


def test_a_gan_has_classes_but_no_guidance(gan):
    explorer = widgets.class_explorer(gan, n=5)
    assert explorer.scale.disabled and explorer.steps.disabled
    assert "one step" in explorer.scale.tooltip and "one step" in explorer.steps.tooltip
    assert "one step" in text(explorer)
    assert core.NO_CLASS not in explorer.class_.options
    with evaluated(gan) as sizes:
        explorer.class_.value = "frog"
    assert sizes == [5]
    assert torch.equal(explorer.samples, sample.images(gan.model, None, 5, y=torch.ones(5, dtype=torch.long)))
    assert re.search(r"frog, seed 0\s+1 evaluation of", text(explorer))
    explorer.class_.value = core.IN_TURNS
    assert torch.equal(explorer.samples, sample.images(gan.model, None, 5, y=torch.tensor([0, 1, 2, 0, 1])))
    assert explorer.scale.disabled and "steps" not in explorer.picture.alt


def test_what_goes_wrong_is_said(checkpoint, monkeypatch):
    explorer = widgets.class_explorer(checkpoint._replace(schedule=schedules.cosine(7)), n=2)
    explorer.button.click()  # 8 steps on a chain of 7
    assert "steps must lie in 1..7" in text(explorer) and "alert" in explorer.numbers.value
    assert not explorer.button.disabled and explorer.samples is None
    explorer.steps.value = 2
    assert explorer.samples is not None and "alert" not in explorer.numbers.value

    def broken(*_):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(sample, "chain", broken)
    for change in (lambda: setattr(explorer.class_, "value", "frog"), lambda: setattr(explorer.seed, "value", 3)):
        explorer.numbers.value = ""
        change()
        assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and not explorer.button.disabled


def test_what_has_no_classes_is_refused(checkpoint):
    plain = made(unet.UNet(unet.config("tiny-half", T=50)), schedules.cosine(50), ["cat"])
    for bare in (plain, checkpoint._replace(card={})):
        for build in (widgets.class_explorer, widgets.morph_explorer, lambda c: sample.morph(c, "cat", "frog")):
            with pytest.raises(ValueError, match="made-up was trained without classes: "):
                build(bare)
    with pytest.raises(ValueError, match="at least 1"):
        widgets.class_explorer(checkpoint, n=0)


# --- from one class to another ---


@pytest.mark.parametrize(("scale", "guidance"), [(1.0, None), (2.5, 2.5)])
def test_the_ends_of_a_morph_are_the_pictures_of_each_class(checkpoint, scale, guidance):
    with evaluated(checkpoint) as sizes:
        grid = sample.morph(checkpoint, "frog", "cat", rows=2, columns=3, steps=4, scale=scale, seed=5)
    assert grid.shape == (2, 3, 3, 32, 32) and grid.abs().max() <= 1
    assert sizes == [6 if guidance is None else 12] * 4
    middle = torch.tensor([[0.5, 0.5, 0.0]] * 2)
    for column, y in [(0, [1, 1]), (1, middle), (2, [0, 0])]:  # row i starts from the noise of picture i
        theirs = drawn(checkpoint, 2, y, 4, seed=5, guidance=guidance)
        torch.testing.assert_close(grid[:, column], theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(grid[:, 0], grid[:, 2], atol=1e-2)


def test_a_row_does_not_depend_on_the_others(checkpoint):
    many = sample.morph(checkpoint, "cat", "frog", rows=3, columns=2, steps=2)
    torch.testing.assert_close(many[:1], sample.morph(checkpoint, "cat", "frog", 1, 2, 2), rtol=1e-4, atol=1e-4)
    unconditional = sample.morph(checkpoint, "cat", "frog", 1, 2, 2, scale=0)
    assert torch.allclose(unconditional[:, 0], unconditional[:, 1], atol=1e-5)


def test_a_gan_morphs_in_one_step(gan):
    with evaluated(gan) as sizes:
        grid = sample.morph(gan, "cat", "frog", rows=2, columns=3, seed=1)
    assert sizes == [6] and grid.shape == (2, 3, 3, 32, 32)
    for column, label in [(0, 0), (2, 1)]:
        theirs = sample.images(gan.model, None, 2, y=torch.full((2,), label), seed=1)
        torch.testing.assert_close(grid[:, column], theirs, rtol=1e-4, atol=1e-4)
    explorer = widgets.morph_explorer(gan, rows=2, columns=3)
    assert explorer.scale.disabled and explorer.steps.disabled
    explorer.seed.value = 1
    assert torch.equal(explorer.samples, grid) and "from cat to frog, seed 1" in text(explorer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": "dog"}, r"does not know the class 'dog': it knows cat, frog"),
        ({"b": "cat"}, "both are 'cat'"),
        ({"rows": 0}, "at least 1 row and 2 columns, got 0 and 8"),
        ({"columns": 1}, "at least 1 row and 2 columns, got 4 and 1"),
        ({"steps": 51}, r"steps must lie in 1\.\.50"),
        ({"scale": float("nan")}, "finite"),
    ],
)
def test_what_is_no_morph_is_refused(checkpoint, options, message):
    with pytest.raises(ValueError, match=message):
        sample.morph(checkpoint, **{"a": "cat", "b": "frog"} | options)


def test_captions_add_up():
    assert core.captions("cat", "frog", 2) == ["100% cat", "100% frog"]
    assert core.captions("cat", "frog", 5)[1:3] == ["75% cat\n25% frog", "50% cat\n50% frog"]
    for columns in range(2, 13):
        texts = core.captions("a", "b", columns)
        assert len(texts) == columns and all(sum(map(int, re.findall(r"\d+", text))) == 100 for text in texts)


def test_morph_explorer_shows_the_pictures_of_morph(checkpoint):
    explorer = widgets.morph_explorer(checkpoint, rows=2, columns=3)
    assert explorer.samples is None and (explorer.a.value, explorer.b.value, explorer.steps.value) == (
        "cat",
        "frog",
        10,
    )
    explorer.steps.value = 2
    seen = []
    for control, value in [("scale", 2), ("seed", 4), ("b", NAMES[2]), ("a", "frog")]:
        getattr(explorer, control).value = value
        a, b, scale, seed = (getattr(explorer, name).value for name in ("a", "b", "scale", "seed"))
        assert torch.equal(explorer.samples, sample.morph(checkpoint, a, b, 2, 3, 2, scale, seed))
        assert np.allclose(shown(explorer), expected(explorer.samples.flatten(0, 1), 3), atol=1e-6)
        assert above(explorer) == core.captions(a, b, 3)
        assert f"from {a} to {b}, guidance scale {scale}, 2 steps, seed {seed}." in explorer.picture.alt
        seen.append(bytes(explorer.picture.value))
    assert len(set(seen)) == 4 and "2 rows of 3 pictures" in explorer.picture.alt
    assert "4 evaluations of the network per picture" in text(explorer) and " s for 6" in text(explorer)
    assert explorer.a.description and explorer.b.description


def test_choosing_the_class_of_the_other_end_turns_the_morph_round(checkpoint):
    explorer = widgets.morph_explorer(checkpoint, rows=1, columns=2)
    explorer.steps.value = 1
    with evaluated(checkpoint) as sizes:
        explorer.a.value = "frog"
    assert (explorer.a.value, explorer.b.value) == ("frog", "cat") and sizes == [2]  # drawn once
    explorer.b.value = "frog"
    assert (explorer.a.value, explorer.b.value) == ("cat", "frog") and "from cat to frog" in text(explorer)


def test_morph_explorer_refuses_what_is_no_grid(checkpoint):
    with pytest.raises(ValueError, match="at least 1 row and 2 columns"):
        widgets.morph_explorer(checkpoint, rows=0)
    with pytest.raises(ValueError, match="at least 1 row and 2 columns"):
        widgets.morph_explorer(checkpoint, columns=1)
    with pytest.raises(ValueError, match="made-up knows 'cat' alone"):
        widgets.morph_explorer(checkpoint._replace(card={"classes": ["cat"]}))


def test_long_names_stay_within_their_column(checkpoint):
    long = checkpoint._replace(card={"classes": ["automobile", "a very long name", "cat"]})
    explorer = widgets.morph_explorer(long, rows=1, columns=6)
    explorer.steps.value = 1
    figure = explorer.picture._canvas.figure
    boxes = [artist.get_window_extent(explorer.picture._canvas.get_renderer()) for artist in explorer._captions]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height for box in boxes)


def test_the_explorers_steps_are_those_of_the_sampler(checkpoint):
    """The records behind the previews are those of the sampler that the notebook names."""
    noise = sample.noise(checkpoint, 2, 3)
    ours = list(sample.chain(checkpoint, noise, torch.tensor([0, 1]), 4, 2.0))
    model = samplers.guided(checkpoint.model, 2.0)
    theirs = samplers.dpm_solver_pp(
        model, checkpoint.schedule, noise, steps=4, spacing="lambda", y=torch.tensor([0, 1]), clip=True
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.t == other.t and torch.equal(mine.x, other.x)


def test_drawing_uses_all_cores_and_leaves_the_threads_as_they_were(checkpoint, monkeypatch):
    monkeypatch.setattr(images, "THREADS", 3)
    explorer, seen = widgets.class_explorer(checkpoint, n=2), []
    monkeypatch.setattr(explorer, "_run", lambda: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    explorer.button.click()
    assert seen == [max(before, 3)] and torch.get_num_threads() == before
