"""Chains that start half-way, DDIM inversion, SDEdit and repainting, against what the exact denoiser must do."""

import math
from itertools import pairwise

import pytest
import torch

from course_utils import diffusion, editing, samplers, schedules
from course_utils.data import toy
from course_utils.ideal import IdealDenoiser
from course_utils.samplers import final


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=random(seed), dtype=torch.float64)


def cosine(T: int = 60) -> schedules.Schedule:
    return schedules.cosine(T, dtype=torch.float64)


def gaussian(s: schedules.Schedule, mean: float = 0.3, std: float = 0.4, shape=(1, 2, 3)) -> IdealDenoiser:
    return IdealDenoiser(torch.full((1, *shape), mean, dtype=torch.float64), s, std)


class Counted:
    """A model that keeps the level of each evaluation, and asks for a label of each example where there are labels."""

    def __init__(self, model):
        self.model, self.predicts, self.levels = model, model.predicts, []

    def __call__(self, x, t, y=None):
        assert y is None or len(y) == len(x)
        self.levels.append(int(t[0]))
        return self.model(x, t)


# ---- chains that start half-way

RUNS = {"ddpm": {}, "ddim": {"steps": 20}, "ddim, eta": {"steps": 20, "eta": 0.7}}
RUNS["dpm_solver_pp"] = {"steps": 20, "order": 1}  # the second order looks back, which a new chain cannot


@pytest.mark.parametrize("name", RUNS)
def test_a_chain_started_from_a_recorded_x_t_goes_on_as_the_whole_one(name):
    s, options, g, again = cosine(), RUNS[name], random(1), random()
    run, model = samplers.SAMPLERS[name.split(",")[0]], gaussian(s)
    whole, states = [], {}
    for step in run(model, s, normal(4, 1, 2, 3), generator=g, **options):
        whole.append(step)
        states[step.t] = g.get_state()
    again.set_state(states[30])
    options = options | ({"steps": 10} if "steps" in options else {})
    middle = [step.t for step in whole].index(30)
    rest = list(run(model, s, whole[middle].x, start=30, generator=again, **options))
    assert [step.t for step in rest] == [step.t for step in whole[middle:]]
    assert rest[0].x0_hat is None and rest[0].eps_hat is None
    for ours, theirs in zip(rest[1:], whole[middle + 1 :], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(ours[1:], theirs[1:], strict=True))


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_to_start_at_T_is_to_start_as_usual(sampler):
    s, x_T = cosine(), normal(4, 1, 2, 3)
    run, model = samplers.SAMPLERS[sampler], gaussian(s)
    # heun takes x_T for less noise than a cosine schedule ends with, unless it is told where it starts
    options = {"sigma_max": float(s.noise_ratio[60])} if sampler == "heun" else {}
    runs = [list(run(model, s, x_T, start=start, generator=random(1), **options)) for start in (None, 60)]
    assert runs[0][0].t == 60 and torch.equal(runs[0][0].x, x_T)
    assert all(a.t == b.t and torch.equal(a.x, b.x) for a, b in zip(*runs, strict=True))


def test_the_second_order_is_there_half_way_too():
    """From any level on, a Gaussian's exact flow is known; dpm_solver_pp must be far nearer to it than ddim."""
    s, mean, std = cosine(1000), 0.3, 0.4
    x_t, a, sigma = normal(50, 1, 2, 3), s.alpha_bar[600].sqrt(), s.sigma[600]
    truth = mean + std * (x_t - a * mean) / (sigma**2 + a**2 * std**2).sqrt()
    errors = [
        float((final(run(gaussian(s), s, x_t, start=600, steps=10)) - truth).abs().mean())
        for run in (samplers.ddim, samplers.dpm_solver_pp)
    ]
    assert errors[1] < errors[0] / 3 < 0.05


@pytest.mark.parametrize("spacing", ["t", "lambda"])
@pytest.mark.parametrize(("steps", "start"), [(1, 1), (1, 60), (7, 13), (13, 13), (59, 60)])
def test_any_number_of_steps_goes_down_from_any_level(spacing, steps, start):
    levels = samplers.spaced(steps, start, cosine(), spacing)
    assert levels[0] == start and levels[-1] == 0 and len(levels) == steps + 1
    assert all(a > b for a, b in pairwise(levels))


def test_a_ddim_step_with_eta_1_is_one_of_the_posterior():
    s, t = cosine(), 23
    x_0, eps = normal(2, 1, 2, 3), normal(2, 1, 2, 3, seed=1)
    many = torch.full((2,), t)
    x_t = diffusion.q_sample(x_0, many, eps, s)
    plain = samplers.ddim_step(x_0, eps, t, t - 1, s)
    torch.testing.assert_close(plain, diffusion.q_sample(x_0, many - 1, eps, s))
    noisy = samplers.ddim_step(x_0, eps, t, t - 1, s, eta=1.0, generator=random(5))
    noise = samplers.randn_like(x_0, random(5))
    wanted = diffusion.posterior_mean(x_t, many, x_0, s) + s.beta_tilde[t].sqrt() * noise
    torch.testing.assert_close(noisy, wanted)
    assert torch.equal(samplers.ddim_step(x_0, eps, t, 0, s, eta=1.0), x_0), "the last step adds no noise"


# ---- inversion


def test_inversion_comes_back_the_better_the_more_rounds():
    s, x_t, errors = cosine(50), normal(8, 1, 2, 3), []
    x_0 = final(samplers.ddim(gaussian(s), s, x_t, start=30))
    for rounds in (1, 2, 4, 8):
        *_, top = editing.invert(gaussian(s), s, x_0, t=30, rounds=rounds)
        errors.append(float((final(samplers.ddim(gaussian(s), s, top.x, start=30)) - x_0).abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2] and errors[3] < 1e-9
    assert torch.allclose(top.x, x_t, atol=1e-9), "and it is the x_t that x_0 came from"


def test_inversion_follows_the_flow_of_a_gaussian_the_closer_the_more_steps():
    s, x_0, mean, std = cosine(1000), 0.3 + 0.4 * normal(8, 1, 2, 3), 0.3, 0.4
    a, sigma = s.alpha_bar[500].sqrt(), s.sigma[500]
    truth = a * mean + (x_0 - mean) / std * (sigma**2 + a**2 * std**2).sqrt()
    errors = []
    for steps in (5, 20, 80):
        *_, top = editing.invert(gaussian(s), s, x_0, t=500, steps=steps, rounds=6)
        errors.append((top.x - truth).abs().mean().item())
    assert top.t == 500 and errors[0] > 3 * errors[1] > 9 * errors[2], "Euler's error falls with the step"


def test_inversion_of_the_only_picture_finds_no_noise_in_it():
    s, point = cosine(50), normal(1, 1, 2, 3)
    for step in editing.invert(IdealDenoiser(point, s), s, point.repeat(2, 1, 1, 1), t=40, steps=8):
        torch.testing.assert_close(step.x, (s.alpha_bar[step.t].sqrt() * point).repeat(2, 1, 1, 1))


def test_inversion_records_its_levels_and_counts_its_evaluations():
    s = cosine(50)
    model = Counted(gaussian(s))
    x_0 = normal(2, 1, 2, 3)
    records = list(editing.invert(model, s, x_0, t=40, steps=4, rounds=3, y=torch.zeros(2), clip=True))
    assert [record.t for record in records] == [0, 10, 20, 30, 40] and records[0].x0_hat is None
    assert torch.equal(records[0].x, x_0)
    assert model.levels == [10] * 3 + [20] * 3 + [30] * 3 + [40] * 3
    assert all(record.x0_hat.abs().max() <= 1 for record in records[1:])
    assert [record.t for record in editing.invert(model, s, x_0)] == list(range(51))


# ---- SDEdit


def test_a_little_noise_keeps_the_picture_and_all_of_it_does_not():
    s, points = cosine(100), toy.mixture_centres(8).double()
    near = points.repeat(40, 1) + 0.05 * normal(320, 2)
    kept = []
    for t in (5, 100):
        x = final(editing.sdedit(IdealDenoiser(points, s), s, near, t=t, generator=random()))
        distance, index = torch.cdist(x, points).min(1)
        assert distance.max() < 1e-2, "the fault is mended"
        kept.append(float((index == torch.arange(320) % 8).double().mean()))
    assert kept[0] == 1 and kept[1] < 0.3


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_sdedit_is_a_sampler_started_from_the_noised_picture(sampler):
    s, x_0, g = cosine(), normal(3, 1, 2, 3), random(4)
    steps = {} if sampler == "ddpm" else {"steps": 6}
    records = list(editing.sdedit(gaussian(s), s, x_0, t=24, sampler=sampler, generator=random(4), **steps))
    x_t = editing.noised(x_0, 24, s, g)
    wanted = list(samplers.SAMPLERS[sampler](gaussian(s), s, x_t, start=24, generator=g, **steps))
    assert all(a.t == b.t and torch.equal(a.x, b.x) for a, b in zip(records, wanted, strict=True))


def test_noised_is_the_closed_form():
    s, x_0 = cosine(), normal(3, 1, 2, 3)
    wanted = s.alpha_bar[7].sqrt() * x_0 + s.sigma[7] * samplers.randn_like(x_0, random(2))
    torch.testing.assert_close(editing.noised(x_0, 7, s, random(2)), wanted)
    assert torch.equal(editing.noised(x_0, 0, s), x_0)
    generators = samplers.example_generators(3, 0, 3)
    whole, alone = editing.noised(x_0, 9, s, generators), samplers.example_generators(3, 1, 2)
    assert torch.equal(editing.noised(x_0[1:2], 9, s, alone), whole[1:2])


# ---- repainting

UPPER = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 4, 1)


@pytest.mark.parametrize("options", [{}, {"resample": 3}, {"t": 30, "steps": 5}, {"eta": 0.0, "clip": True}])
def test_repainting_keeps_what_is_known_and_repeats_itself(options):
    s, x_0 = cosine(), normal(3, 2, 4, 4).clamp(-1, 1)
    model = gaussian(s, shape=(2, 4, 4))
    runs = [
        list(editing.repaint(model, s, x_0, mask, generator=random(seed), **options))
        for mask, seed in ((UPPER, 1), (UPPER.bool(), 1), (UPPER, 2))
    ]
    ends = [run[-1].x for run in runs]
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    for end in ends:
        assert torch.equal(end[:, :, :2], x_0[:, :, :2]) and not torch.isclose(end[:, :, 2:], x_0[:, :, 2:]).any()
    top = options.get("t", 60)
    assert [step.t for step in runs[0]] == samplers.spaced(options.get("steps", top), top, s, "t")


def test_what_was_in_the_hole_does_not_matter_from_T_on_and_does_half_way():
    s, x_0 = cosine(), normal(3, 2, 4, 4).clamp(-1, 1)
    other, differ = torch.where(UPPER.bool(), x_0, -x_0), []
    for t in (None, 15):
        ends = [
            final(editing.repaint(gaussian(s, shape=(2, 4, 4)), s, x, UPPER, t=t, generator=random()))
            for x in (x_0, other)
        ]
        differ.append(float((ends[0] - ends[1]).abs().max()))
    assert differ[0] < 1e-2 < 0.5 < differ[1]


def test_resampling_makes_both_parts_agree():
    """All pictures are of one grey or of another; one column in four is known, and the others must take its side."""
    s = schedules.cosine(30)
    model = IdealDenoiser(torch.stack([torch.ones(1, 4, 4), -torch.ones(1, 4, 4)]), s)
    x_0, mask = torch.ones(300, 1, 4, 4), torch.tensor([1.0, 0.0, 0.0, 0.0])
    agree = []
    for resample in (1, 4, 10):
        x = final(editing.repaint(model, s, x_0, mask, resample=resample, generator=random()))
        agree.append(float((x[..., 1:].mean((1, 2, 3)) > 0).double().mean()))
    assert agree[0] < 0.8 < agree[1] < 0.95 < agree[2], agree


def test_resampling_costs_what_it_says():
    s = cosine()
    for steps, resample in ((4, 1), (4, 3), (1, 5)):
        model = Counted(gaussian(s, shape=(2, 4, 4)))
        final(editing.repaint(model, s, normal(3, 2, 4, 4), UPPER, t=40, steps=steps, resample=resample))
        assert len(model.levels) == (steps - 1) * resample + 1
    assert model.levels[0] == 40


def test_a_soft_mask_blends_what_is_known_with_what_is_drawn():
    s, x_0 = cosine(), normal(3, 2, 4, 4)
    mask = torch.linspace(0, 1, 4).view(4, 1)
    *_, last = editing.repaint(gaussian(s, shape=(2, 4, 4)), s, x_0, mask, generator=random())
    torch.testing.assert_close(last.x, mask * x_0 + (1 - mask) * last.x0_hat)
    assert torch.equal(last.x[:, :, 3], x_0[:, :, 3])


def test_with_nothing_known_repainting_is_sdedit():
    s, x_0, model = cosine(), normal(3, 2, 4, 4), gaussian(cosine(), shape=(2, 4, 4))
    ours = final(editing.repaint(model, s, x_0, torch.zeros(1), t=30, eta=0.0, generator=random()))
    torch.testing.assert_close(ours, final(editing.sdedit(model, s, x_0, t=30, generator=random())))
    everything = editing.repaint(model, s, x_0, torch.ones(1), t=30, generator=random())
    assert torch.equal(final(everything), x_0)


# ---- misuse

X, S = torch.zeros(2, 1, 4, 4), schedules.linear(50)
M = IdealDenoiser(torch.zeros(1, 1, 4, 4), S)


def repaint(mask=UPPER, **options):
    return editing.repaint(M, S, X, mask, **options)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        *(
            (lambda t=t, f=f: f(M, S, X, start=t), rf"start must be a level of the schedule.*1\.\.50; got {t}")
            for t in (0, 51, -1, 2.5, math.nan, math.inf)
            for f in (samplers.ddpm, samplers.ddim, samplers.dpm_solver_pp)
        ),
        (lambda: samplers.ddim(M, S, X, start=9, steps=10), r"1\.\.9 \(the level to start from\).*got 10"),
        (lambda: samplers.dpm_solver_pp(M, S, X, start=9), r"1\.\.9 \(the level to start from\).*got 20"),
        (lambda: samplers.ddpm(M, S, X, start=9, steps=50), r"steps must be 9 \(where it starts\) or None, got 50"),
        (lambda: editing.invert(M, S, X, t=51), r"t must be a level .*1\.\.50; got 51"),
        (lambda: editing.invert(M, S, X, t=20, steps=21), r"steps must lie in 1\.\.20.*got 21"),
        (lambda: editing.invert(M, S, X, steps=0), r"steps must lie in 1\.\.50.*got 0"),
        (lambda: editing.invert(M, S, X, steps=2.5), "a whole number; got 2.5"),
        (lambda: editing.invert(M, S, X, rounds=0), "at least 1, got 0"),
        (lambda: editing.sdedit(M, S, X, t=0), r"t must be a level .*1\.\.50; got 0"),
        (lambda: editing.sdedit(M, S, X, t=9, sampler="ddmi"), "unknown sampler 'ddmi': choose one of ddpm, ddim"),
        (lambda: editing.sdedit(M, S, X, t=9, steps=10), r"steps must lie in 1\.\.9"),
        (lambda: iter([editing.noised(X, 2.5, S)]), r"t must be a level .*got 2.5"),
        (lambda: iter([editing.noised(X, 51, S)]), r"t must be a level .*got 51"),
        (lambda: repaint(t=51), r"t must be a level .*1\.\.50; got 51"),
        (lambda: repaint(t=20, steps=21), r"steps must lie in 1\.\.20.*got 21"),
        (lambda: repaint(resample=0), "at least 1, got 0"),
        (lambda: repaint(eta=2), r"eta must lie in \[0, 1\], got 2"),
        (lambda: repaint(UPPER + 0.5), r"mask must lie in \[0, 1\]: 1 where the picture is kept"),
        (lambda: repaint(UPPER * math.nan), r"mask must lie in \[0, 1\]"),
        (lambda: repaint(torch.ones(3, 1, 4, 4)), r"shape \(3, 1, 4, 4\) does not fit pictures \(2, 1, 4, 4\)"),
    ],
)
def test_misuse_is_named(run, message):
    with pytest.raises(ValueError, match=message):
        next(run())
