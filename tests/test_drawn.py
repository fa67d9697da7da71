"""The drawn cats, frogs and automobiles: what is promised of their factors, of their pixels and of their speed."""

import time

import pytest
import torch
from torch.nn.functional import avg_pool2d

from course_utils.data.drawn import CLASSES, FACTORS, draw, render, sample_factors

# Awake and with eyes, whiskers and markings in view, so that no factor hides behind another.
SETTINGS = {
    "cat": {"fur": "ginger", "pattern": "tabby", "expression": "calm", "background": "sky"},
    "frog": {"skin": "green", "markings": "spots", "mouth": "smile", "perch": "stone", "background": "pond"},
    "automobile": {"paint": "red", "livery": "stripe", "body": "sedan", "background": "meadow"},
}


def settings(kind, n=1, **changes):
    """Every factor at its middle (continuous) or first option, save SETTINGS and `changes`."""
    chosen = {}
    for name, allowed in FACTORS[kind].items():
        named = isinstance(allowed[0], str)
        value = SETTINGS[kind].get(name, allowed[0]) if named else 0.3 * allowed[0] + 0.7 * allowed[1]
        value = changes.get(name, value)
        chosen[name] = torch.tensor([allowed.index(value) if named else value] * n)
    return chosen


def values(allowed):
    return allowed if isinstance(allowed[0], str) else (allowed[0], sum(allowed) / 2, allowed[1])


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("size", [16, 32, 50, 64])
def test_shapes_range_and_types(kind, size):
    images, labels, factors = draw(5, kind, size)
    assert images.shape == (5, 3, size, size) and images.dtype == torch.float32
    assert images.min() >= -1 and images.max() <= 1 and bool(images.isfinite().all())
    assert labels.tolist() == [CLASSES.index(kind)] * 5 and labels.dtype == torch.int64
    assert factors.keys() == FACTORS[kind].keys()
    for name, allowed in FACTORS[kind].items():
        assert factors[name].shape == (5,)
        assert factors[name].dtype == (torch.int64 if isinstance(allowed[0], str) else torch.float32)


def test_same_seed_same_pictures_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    a, b, c = draw(20, CLASSES, seed=3), draw(20, CLASSES, seed=3), draw(20, CLASSES, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert not torch.equal(a.images, c.images)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_factors_alone_decide_the_picture(kind):
    drawn = draw(80, kind)  # more than one chunk
    again = render(kind, {name: value[50:60] for name, value in drawn.factors.items()})
    torch.testing.assert_close(again, drawn.images[50:60], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kind", "factor"), [(kind, factor) for kind in CLASSES for factor in FACTORS[kind]])
def test_each_value_of_each_factor_changes_the_picture(kind, factor):
    pictures = [render(kind, settings(kind, **{factor: value})) for value in values(FACTORS[kind][factor])]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert (a - b).abs().amax() > 0.1, f"{factor} of {kind} cannot be told from the picture"


@pytest.mark.parametrize(("kind", "view"), [*((kind, "whole") for kind in CLASSES), ("cat", "face")])
def test_large_pictures_shrink_to_the_small_ones(kind, view):
    factors = sample_factors(64, kind, torch.Generator().manual_seed(0))
    error = (avg_pool2d(render(kind, factors, 64, view), 2) - render(kind, factors, 32, view)).abs()
    assert error.mean() < 0.012 and error.amax() < 0.6


@pytest.mark.parametrize("kind", CLASSES)
def test_figures_stay_inside_the_picture(kind):
    coat = next(iter(FACTORS[kind]))
    factors = sample_factors(100, kind, torch.Generator().manual_seed(1))
    for name in ("x", "scale", "tilt", "slope"):
        if name in factors:  # the extremes
            low, high = FACTORS[kind][name]
            factors[name] = torch.where(factors[name] > (low + high) / 2, high, low)
    factors["scale"] = torch.full((100,), FACTORS[kind]["scale"][1])
    dark = render(kind, {**factors, coat: torch.zeros(100, dtype=torch.int64)}, 64)
    bright = render(kind, {**factors, coat: torch.full((100,), 2)}, 64)
    touched = (dark - bright).abs().amax((0, 1)) > 0.05
    assert touched[32, 32]
    assert not bool(touched[0].any() | touched[-1].any() | touched[:, 0].any() | touched[:, -1].any())


def test_classes_are_balanced_and_factors_follow_their_pictures():
    images, labels, factors = draw(50, ("automobile", "cat", "frog"), seed=1)
    counts = labels.bincount(minlength=3)
    assert counts.sum() == 50 and counts.max() - counts.min() <= 1
    assert len(labels[:15].unique()) == 3, "the classes come mixed"
    for label, kind in enumerate(CLASSES):
        torch.testing.assert_close(render(kind, factors[kind]), images[labels == label], atol=1e-5, rtol=0)
    two = draw(10, ["frog", "automobile"])
    assert set(two.labels.tolist()) == {1, 2} and set(two.factors) == {"frog", "automobile"}


@pytest.mark.parametrize("kind", CLASSES)
def test_factors_are_uniform_and_independent(kind):
    n = 20_000
    factors = sample_factors(n, kind, torch.Generator().manual_seed(0))
    spread = []
    for name, allowed in FACTORS[kind].items():
        if isinstance(allowed[0], str):
            share = factors[name].bincount(minlength=len(allowed)) / n
            assert len(share) == len(allowed) and (share - 1 / len(allowed)).abs().max() < 0.02, name
        else:
            unit = (factors[name] - allowed[0]) / (allowed[1] - allowed[0])
            assert unit.min() >= 0 and unit.max() <= 1
            assert (unit.sort().values - torch.linspace(0, 1, n)).abs().max() < 0.02, name
        spread.append(factors[name].double())
    correlation = torch.corrcoef(torch.stack(spread)) - torch.eye(len(spread))
    assert correlation.abs().max() < 0.04


def test_the_close_up_is_another_view_of_the_same_cat():
    whole, face = draw(8, "cat", 64, seed=5), draw(8, "cat", 64, seed=5, view="face")
    assert torch.equal(whole.factors["fur"], face.factors["fur"])
    assert (whole.images - face.images).abs().mean() > 0.1


def test_classes_are_plainly_distinct():
    """A nearest-mean rule on coarse 8 x 8 pictures already beats chance by far."""
    train, test = draw(600, CLASSES, seed=0), draw(300, CLASSES, seed=1)
    coarse = [avg_pool2d(d.images, 4).flatten(1) for d in (train, test)]
    means = torch.stack([coarse[0][train.labels == k].mean(0) for k in range(3)])
    assert (torch.cdist(coarse[1], means).argmin(1) == test.labels).float().mean() > 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 4, "kind": "dog"}, "no class 'dog'.*cat, frog, automobile"),
        ({"n": 4, "kind": ("cat", "dog")}, "no class 'dog'"),
        ({"n": 0}, "n = 0"),
        ({"n": 2, "kind": CLASSES}, "one picture for each"),
        ({"n": 2, "kind": ()}, "at least one class"),
        ({"n": 2, "size": 8}, "size at least 16"),
        ({"n": 2, "kind": "frog", "view": "face"}, "no view 'face' of class 'frog'"),
        ({"n": 2, "view": "side"}, "no view 'side'"),
    ],
)
def test_draw_names_the_mistake(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(**arguments)


def test_sample_factors_names_the_mistake():
    with pytest.raises(ValueError, match="no class 'dog'"):
        sample_factors(3, "dog", torch.Generator())
    with pytest.raises(ValueError, match="n must be at least 1"):
        sample_factors(0, "cat", torch.Generator())


@pytest.mark.parametrize(
    "changes",
    [
        {"gaze": None},
        {"x": None},
        {"gaze": torch.tensor([1.5, 0.0])},
        {"gaze": torch.tensor([float("nan"), 0.0])},
        {"fur": torch.tensor([0, len(FACTORS["cat"]["fur"])])},
        {"gaze": torch.tensor([0.0, 0.0, 0.0])},
        {"fur": torch.tensor([0.5, 1.0])},
    ],
)
def test_render_names_the_factor(changes):
    factors = settings("cat", n=2) | changes
    factors = {name: value for name, value in factors.items() if value is not None}
    with pytest.raises(ValueError, match=f"factor '{next(iter(changes))}' .*sample_factors"):
        render("cat", factors)


def test_at_least_a_thousand_pictures_a_second():
    """A loose bound for busy machines; two quiet cores draw several times as many."""
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        draw(1536, CLASSES, 32, seed)
        seconds.append(time.perf_counter() - start)
    rate = 1536 / min(seconds)
    print(f"{rate:,.0f} drawn pictures a second at 32 px, {torch.get_num_threads()} threads")
    assert rate > 1000
