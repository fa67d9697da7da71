"""Methods of fusing two pictures: what each must give at its ends and in between, by closed forms."""

import math

import pytest
import torch

from course_utils import editing, fusion, latents, samplers, schedules
from course_utils.ideal import IdealDenoiser
from course_utils.samplers import final


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=random(seed), dtype=torch.float64)


def cosine(T: int = 40) -> schedules.Schedule:
    return schedules.cosine(T, dtype=torch.float64)


def gaussian(s: schedules.Schedule) -> IdealDenoiser:
    return IdealDenoiser(torch.full((1, 3, 4, 4), 0.2, dtype=torch.float64), s, std=0.5)


# ---- mixing


@pytest.mark.parametrize("how", fusion.HOW)
def test_a_mix_is_example_by_example_and_exact_at_its_ends(how):
    a, b, share = normal(5, 3, 4, 4), normal(5, 3, 4, 4, seed=1), torch.tensor([0, 0.25, 0.5, 0.9, 1]).double()
    b[2] = 3 * a[2]  # no arc
    mix = fusion.mixed(a, b, share, how)
    torch.testing.assert_close(mix[[0, 2, 4]], torch.stack([a[0], 2 * a[2], b[4]]))
    for k in range(5):
        one = fusion.mixed(a[k : k + 1], b[k : k + 1], float(share[k]), how)
        torch.testing.assert_close(mix[k : k + 1], one)
        if how in latents.HOW:
            torch.testing.assert_close(one, latents.blend(a[k], b[k], share[k : k + 1], how))
    assert fusion.mixed(a.float(), b.float(), share, how).dtype == torch.float32


def test_a_mix_of_means_and_of_what_is_left():
    rest = normal(2, 4, 3, 4, 4)
    a, b = rest - rest.mean((-2, -1), keepdim=True) - torch.tensor([0.5, 0.7]).view(2, 1, 1, 1, 1)
    sphere, centred = (fusion.mixed(a, b, 0.5, how) for how in ("spherical", "centred"))
    torch.testing.assert_close(centred.mean((-2, -1)), torch.full((4, 3), -0.6).double())
    assert bool((sphere.mean((-2, -1)) < -0.62).all()), "on the sphere two dark pictures become a darker one"
    torch.testing.assert_close(centred + 0.6, fusion.mixed(a + 0.5, b + 0.7, 0.5, "spherical"))


def test_between_turns_evenly_and_keeps_what_has_no_angle():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    angle = math.radians(90 * 0.3)
    turned = latents.between(a, b, torch.tensor([0.3]), "spherical")
    torch.testing.assert_close(turned, 2 * torch.tensor([[math.cos(angle), math.sin(angle)]]))
    for other in (torch.zeros(1, 2), -a):
        ends = latents.between(a, other, torch.tensor([0.25]), "spherical")
        torch.testing.assert_close(ends, 0.75 * a + 0.25 * other)


def test_only_shared_and_spherical_noise_keep_their_length():
    s, a = cosine(), torch.zeros(4, 3, 64, 64)
    d, lengths = 3 * 64 * 64, {}
    for method in ("independent", "shared", "spherical", "centred"):
        x_t = next(fusion.METHODS[method](gaussian(s), s, a, a, 0.3, t=40, generator=random())).x
        lengths[method] = float(x_t.flatten(1).norm(dim=1).mean()) / math.sqrt(d)
    assert lengths.pop("independent") == pytest.approx(math.hypot(0.3, 0.7), rel=0.01)
    assert lengths == pytest.approx(dict.fromkeys(lengths, 1), rel=0.01)


# ---- methods on noised pictures


def test_shared_noise_is_the_noised_cross_fade():
    s, a, b = cosine(), normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    share = torch.tensor([0.2, 0.7], dtype=torch.float64)
    ours = list(fusion.noised(gaussian(s), s, a, b, share, t=20, steps=5, generator=random()))
    fade = fusion.mixed(a, b, share)
    theirs = list(editing.sdedit(gaussian(s), s, fade, t=20, steps=5, generator=random()))
    assert [step.t for step in ours] == [step.t for step in theirs] == [20, 16, 12, 8, 4, 0]
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.x, y.x)


@pytest.mark.parametrize("how", fusion.HOW)
def test_without_a_share_of_the_other_its_noise_does_not_matter(how):
    s, a, b, g = cosine(), normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1), random()
    x_a, x_b = editing.noised(a, 20, s, g), editing.noised(b, 31, s, g)  # drawn in this order
    options = {"t": 20, "t_b": 31, "shared": False, "how": how}
    for lambda_, wanted in ((0, x_a), (1, x_b)):
        steps = list(fusion.noised(gaussian(s), s, a, b, lambda_, generator=random(), **options))
        torch.testing.assert_close(steps[0].x, wanted)
        assert steps[0].t == 20, "the network is told the level of a"
        torch.testing.assert_close(steps[-1].x, final(samplers.ddim(gaussian(s), s, wanted, start=20)))


def test_noised_hands_its_options_to_the_sampler():
    s, (a, b) = cosine(), normal(2, 2, 3, 4, 4)
    runs = [
        final(fusion.noised(gaussian(s), s, a, b, t=30, sampler=sampler, generator=random(), **options))
        for sampler, options in (("ddim", {}), ("ddpm", {}), ("dpm_solver_pp", {"steps": 9}), ("ddim", {"clip": True}))
    ]
    assert all(not torch.allclose(runs[0], other, atol=1e-3) for other in runs[1:])


@pytest.mark.parametrize(("t", "lambda_"), [(500, 0.5), (800, 0.25), (200, 0.9)])
def test_the_level_of_a_mix_is_the_one_that_is_measured(t, lambda_):
    """By regression of drawn mixes on the cross-fade: the slope is the signal's strength, the rest is noise."""
    s = schedules.linear(1000, dtype=torch.float64)
    a, b = normal(1, 400_000), normal(1, 400_000, seed=1)
    fade = (1 - lambda_) * a + lambda_ * b
    x_t = next(fusion.noised(None, s, a, b, lambda_, t=t, shared=False, generator=random(2))).x
    strength = (x_t * fade).sum() / fade.square().sum()
    snr = strength**2 / (x_t - strength * fade).var()
    measured = int((s.alpha_bar[1:] / s.sigma[1:] ** 2 - snr).abs().argmin()) + 1
    assert fusion.level_of_mix(t, lambda_, s) == pytest.approx(measured, abs=5)
    assert measured < t - 10


def test_the_level_of_a_mix_is_that_of_its_parents_where_one_is_all():
    s = schedules.linear(1000)
    for t in (1, 300, 1000):
        assert fusion.level_of_mix(t, 0, s) == fusion.level_of_mix(t, 1, s) == t
    levels = [fusion.level_of_mix(600, lambda_, s) for lambda_ in (0, 0.1, 0.3, 0.5)]
    assert levels == sorted(levels, reverse=True) and len(set(levels)) == 4
    assert levels[2] == fusion.level_of_mix(600, 0.7, s)


# ---- inversion and splices


def test_inversion_gives_back_a_parent_at_either_end():
    s, a, b = cosine(), normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    for lambda_, parent in ((0, a), (1, b)):
        records = list(fusion.inverted(gaussian(s), s, a, b, lambda_, t=24, steps=8, rounds=30))
        torch.testing.assert_close(records[-1].x, parent)
    assert [step.t for step in records] == [*range(0, 25, 3), *range(24, -1, -3)]
    assert torch.equal(records[0].x, a), "on the way up they are of a alone"
    middle = fusion.inverted(gaussian(s), s, a, b, torch.tensor([0.0, 0.5]), t=24, steps=8, rounds=30)
    end = final(middle)
    torch.testing.assert_close(end[0], a[0])
    assert (end[1] - a[1]).norm() > 1 < (end[1] - b[1]).norm()


def test_inversion_takes_one_label_for_each_picture():
    s, (a, b), seen = cosine(), normal(2, 2, 3, 4, 4), []

    def model(x, t, y=None):
        seen.append(len(y) == len(x))
        return gaussian(s)(x, t) + y.view(-1, 1, 1, 1)

    model.predicts = "eps"
    final(fusion.inverted(model, s, a, b, t=8, y=torch.tensor([0.0, 0.1])))
    assert seen and all(seen)


def test_a_seam_leads_from_all_a_to_all_b():
    like, share = torch.zeros(4, 3, 16, 8), torch.tensor([0.0, 0.25, 0.5, 1.0])
    for edge in (0.0, 0.125, 0.5):
        of_b = fusion.seam(like, share, edge)
        assert of_b.shape == (4, 1, 16, 1) and of_b.dtype == like.dtype
        assert bool((of_b[0] == 0).all()) and bool((of_b[3] == 1).all())
        assert bool((of_b.diff(dim=2) >= 0).all()), "b is below"
        torch.testing.assert_close(of_b[2] + of_b[2].flip(1), torch.ones(1, 16, 1))
        between = ((of_b[2] > 0) & (of_b[2] < 1)).sum()
        assert between == pytest.approx(16 * edge, abs=1)
    assert torch.equal(fusion.seam(like[:1], 0.25, 0.125), fusion.seam(like, share, 0.125)[1:2])


def test_splices_are_healed_as_a_whole_or_at_the_seam_alone():
    s, a, b = cosine(), normal(2, 3, 4, 4).repeat(1, 1, 4, 1), normal(2, 3, 4, 4, seed=1).repeat(1, 1, 4, 1)
    model = IdealDenoiser(torch.zeros(1, 3, 16, 4, dtype=torch.float64), s, std=0.5)
    of_b = fusion.seam(a, 0.5, 0.25)
    splice = torch.lerp(a, b, of_b.expand_as(a))
    how = {"t": 30, "steps": 6}
    whole = final(fusion.spliced(model, s, a, b, edge=0.25, generator=random(), **how))
    torch.testing.assert_close(whole, final(editing.sdedit(model, s, splice, generator=random(), **how)))
    seam = final(fusion.repainted(model, s, a, b, edge=0.25, generator=random(), **how))
    kept = ((of_b == 0) | (of_b == 1)).expand_as(a)
    assert torch.equal(seam[kept], splice[kept]) and not torch.isclose(seam[~kept], splice[~kept]).any()
    assert 0 < int((~kept).sum()) < kept.numel() / 2
    for lambda_, parent in ((0, a), (1, b)):
        assert torch.equal(final(fusion.repainted(model, s, a, b, lambda_, generator=random(), **how)), parent)


# ---- misuse

A, S = torch.zeros(2, 3, 4, 4), schedules.linear(50)
M = IdealDenoiser(A[:1], S)


@pytest.mark.parametrize("method", fusion.METHODS)
@pytest.mark.parametrize("other", [A[:1], torch.zeros(2, 3, 6, 4)])
def test_pictures_that_differ_in_shape_are_refused_by_every_method(method, other):
    """Some would broadcast, and give something."""
    with pytest.raises(ValueError, match=r"a and b must have one shape, got \(2, 3, 4, 4\) and"):
        next(fusion.METHODS[method](M, S, A, other, t=9))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: fusion.noised(M, S, A, A, t=51), r"t must be a level .*1\.\.50; got 51"),
        (lambda: fusion.noised(M, S, A, A, t=9, t_b=0), r"t_b must be a level .*1\.\.50; got 0"),
        (lambda: fusion.noised(M, S, A, A, t=9, steps=10), r"steps must lie in 1\.\.9"),
        (lambda: fusion.noised(M, S, A, A, t=9, sampler="ddmi"), "unknown sampler 'ddmi': choose one of ddpm, ddim"),
        (lambda: fusion.noised(M, S, A, A, t=9, how="cubic"), "unknown way to mix 'cubic'"),
        (lambda: fusion.noised(M, S, A, A, 2, t=9), r"lambda_ is the share of b and must lie in \[0, 1\], got 2"),
        (lambda: fusion.inverted(M, S, A, A, 2), r"must lie in \[0, 1\], got 2"),
        (lambda: fusion.inverted(M, S, A, A, t=9, steps=10), r"steps must lie in 1\.\.9"),
        (lambda: fusion.spliced(M, S, A, A, 2, t=9), r"must lie in \[0, 1\], got 2"),
        (lambda: fusion.repainted(M, S, A, A, torch.zeros(3), t=9), r"one for each of 2 pictures: got \(3,\)"),
        (lambda: [fusion.level_of_mix(51, 0.5, S)], r"t must be a level .*1\.\.50; got 51"),
        (lambda: [fusion.level_of_mix(9, math.nan, S)], r"must lie in \[0, 1\], got nan"),
        (lambda: [latents.between(A, A, torch.zeros(2), "cubic")], "unknown interpolation 'cubic': choose one of"),
        (lambda: [latents.between(A, A[:1], torch.zeros(2))], r"one shape, got \(2, 3, 4, 4\) and \(1, 3, 4, 4\)"),
    ],
)
def test_misuse_is_named(run, message):
    with pytest.raises(ValueError, match=message):
        next(iter(run()))
