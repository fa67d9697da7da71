"""Schedules, equations, samplers and the ideal denoiser against closed forms."""

import pytest
import torch

from course_utils import diffusion, samplers, schedules
from course_utils.data import toy
from course_utils.diffusion import q_sample, q_step
from course_utils.ideal import IdealDenoiser

EVERY = pytest.mark.parametrize("name", schedules.SCHEDULES)


@EVERY
@pytest.mark.parametrize("T", [1, 2, 10, 1000, 4000])
def test_schedule_is_exact_at_both_ends(name, T):
    s = schedules.make(name, T, dtype=torch.float64)
    assert s.T == T and len(s.alpha_bar) == T + 1
    assert s.beta[0] == 0 and s.alpha_bar[0] == 1 and s.sigma[0] == 0 and s.beta_tilde[1] == 0
    assert (s.alpha_bar.diff() < 0).all() and (s.alpha_bar > 0).all()
    torch.testing.assert_close(s.alpha_bar, s.alpha.cumprod(0))
    torch.testing.assert_close(s.alpha_bar + s.sigma**2, torch.ones_like(s.alpha_bar))
    if T >= 10:
        assert s.alpha_bar[-1] < 1e-2, "x_T must be nearly pure noise, whatever T"


def test_linear_schedule_is_that_of_the_paper():
    s = schedules.linear(1000, dtype=torch.float64)
    assert s.beta[1] == 1e-4 and abs(s.beta[1000] - 0.02) < 1e-12
    assert abs(s.alpha_bar[1000] - 4.0358e-5) < 1e-9


def test_schedule_keeps_its_digits_at_small_t_in_float32():
    single, double = schedules.linear(4000), schedules.linear(4000, dtype=torch.float64)
    torch.testing.assert_close(single.sigma.double(), double.sigma, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.make("cosin"), "unknown schedule 'cosin'.*linear, quadratic, cosine, sigmoid"),
        (lambda: schedules.linear(0), "T counts diffusion steps"),
        (lambda: schedules.cosine(2.5), "T counts diffusion steps"),
        (lambda: schedules.Schedule.from_beta(torch.tensor([0.1, 1.0])), r"every beta must lie in \(0, 1\)"),
        (lambda: schedules.Schedule.from_beta(torch.ones(2, 2) / 2), "must be a vector"),
    ],
)
def test_schedule_names_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@EVERY
def test_iterated_steps_have_the_moments_of_the_closed_form(name):
    s = schedules.make(name, 50, dtype=torch.float64)
    mean, variance = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for t in range(1, 51):
        step = torch.tensor([t])
        mean = q_step(mean, step, torch.zeros(1), s)
        variance = s.alpha[t] * variance + s.beta[t]
        torch.testing.assert_close(mean, q_sample(torch.ones(1).double(), step, torch.zeros(1).double(), s))
        torch.testing.assert_close(variance, s.sigma[t : t + 1] ** 2)


@EVERY
def test_posterior_is_bayes_rule(name):
    """q(x_{t-1} | x_t, x_0) from the product of two Gaussians, in float64."""
    s = schedules.make(name, 20, dtype=torch.float64)
    x_0, x_t = torch.tensor([0.7]).double(), torch.tensor([-0.3]).double()
    for t in range(2, 21):
        prior_variance = s.sigma[t - 1] ** 2
        precision = 1 / prior_variance + s.alpha[t] / s.beta[t]
        mean = (s.alpha_bar[t - 1].sqrt() * x_0 / prior_variance + s.alpha[t].sqrt() * x_t / s.beta[t]) / precision
        torch.testing.assert_close(s.beta_tilde[t], 1 / precision)
        torch.testing.assert_close(diffusion.posterior_mean(x_t, torch.tensor([t]), x_0, s), mean)
    torch.testing.assert_close(diffusion.posterior_mean(x_t, torch.tensor([1]), x_0, s), x_0)  # t = 1 lands on x_0


@pytest.mark.parametrize("shape", [(5, 2), (5, 3, 8, 6)])
@pytest.mark.parametrize("predicts", diffusion.PREDICTS)
def test_eps_x0_and_v_say_the_same(shape, predicts, generator):
    s = schedules.cosine(100, dtype=torch.float64)
    x_0, eps = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([1, 2, 50, 98, 99])
    x_t = q_sample(x_0, t, eps, s)
    answer = {"eps": eps, "x_0": x_0, "v": diffusion.v_target(x_0, t, eps, s)}[predicts]

    def model(x, t, y=None):
        return answer

    model.predicts = predicts
    x0_hat, eps_hat = diffusion.predict(model, x_t, t, s)
    torch.testing.assert_close(x0_hat, x_0, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(eps_hat, eps, rtol=1e-8, atol=1e-8)
    model.predicts = "noise"
    with pytest.raises(ValueError, match=r"must be one of .*got 'noise'"):
        diffusion.predict(model, x_t, t, s)


def test_t_is_one_whole_number_per_example():
    s, x = schedules.linear(10), torch.zeros(4, 2)
    with pytest.raises(ValueError, match=r"expected shape \(4,\), got \(1,\)"):
        q_sample(x, torch.tensor([3]), x, s)
    with pytest.raises(ValueError, match="whole numbers"):
        q_sample(x, torch.full((4,), 3.0), x, s)
    for t in (-1, 11):
        with pytest.raises(IndexError, match=r"0\.\.10"):
            q_sample(x, torch.full((4,), t), x, s)


def test_every_timestep_is_drawn_from_1_to_T(generator):
    t = diffusion.draw_t(20_000, schedules.linear(10), generator)
    assert t.shape == (20_000,)
    counts = torch.bincount(t, minlength=11)
    assert counts[0] == 0 and (counts[1:] - 2000).abs().max() < 5 * (2000 * 0.9) ** 0.5


@pytest.mark.parametrize("predicts", diffusion.PREDICTS)
def test_l_simple_of_a_known_answer(predicts, generator):
    """A network that answers zero has the target's mean square as its loss; the right answer has none."""
    s, x_0 = schedules.linear(100), torch.full((50_000, 2), 2.0)

    def model(x, t, y=None):
        return torch.zeros_like(x)

    model.predicts = predicts
    t = torch.arange(1, 101)
    expected = {"eps": 1.0, "x_0": 4.0, "v": float((s.alpha_bar[t] + 4 * s.sigma[t] ** 2).mean())}[predicts]
    assert abs(diffusion.l_simple(model, x_0, s, generator=generator) - expected) < 0.02
    ideal = IdealDenoiser(x_0[:1], s)
    assert diffusion.l_simple(ideal, x_0[:100], s, generator=generator) < 1e-6


# ---- samplers


def gaussian_model(s, mean, std):
    return IdealDenoiser(torch.tensor([mean, mean]).view(1, 2), s, std=std)


@pytest.mark.parametrize(
    ("name", "run", "tolerance"),
    [
        ("ddpm, beta_tilde", lambda m, s, x, g: samplers.ddpm(m, s, x, generator=g), 0.03),
        ("ddpm, beta", lambda m, s, x, g: samplers.ddpm(m, s, x, variance="beta", generator=g), 0.03),
        ("ddim", lambda m, s, x, g: samplers.ddim(m, s, x, steps=200), 0.03),
        ("ddim, 50 steps", lambda m, s, x, g: samplers.ddim(m, s, x, steps=50), 0.05),
        ("ddim, eta 1", lambda m, s, x, g: samplers.ddim(m, s, x, eta=1.0, generator=g), 0.03),
    ],
)
def test_samplers_recover_a_gaussian_with_the_exact_denoiser(name, run, tolerance, generator):
    s = schedules.linear(500)
    x = samplers.final(run(gaussian_model(s, 0.8, 0.5), s, torch.randn(20_000, 2, generator=generator), generator))
    assert (x.mean(0) - 0.8).abs().max() < tolerance, name
    assert (x.std(0) - 0.5).abs().max() < tolerance, name


@pytest.mark.parametrize("sampler", [samplers.ddpm, samplers.ddim])
def test_exact_denoiser_of_a_finite_set_leads_back_to_its_points(sampler, generator):
    """Off-by-one in time shows here: a step too many or too few leaves noise on the points."""
    points = toy.mixture_centres(8)
    s = schedules.cosine(100)
    x_T = torch.randn(300, 2, generator=generator)
    x = samplers.final(sampler(IdealDenoiser(points, s), s, x_T, generator=generator))
    assert torch.cdist(x, points).min(1).values.max() < 1e-3


def test_records_tell_where_the_chain_stands(generator):
    s, x_T = schedules.linear(20), torch.randn(6, 2, generator=generator)
    model = gaussian_model(s, 0.0, 1.0)
    records = list(samplers.ddpm(model, s, x_T, generator=generator))
    assert [r.t for r in records] == list(range(20, -1, -1))
    assert torch.equal(records[0].x, x_T) and records[0].x0_hat is None
    torch.testing.assert_close(records[-1].x, records[-1].x0_hat)  # t = 1 adds no noise
    assert [r.t for r in samplers.ddim(model, s, x_T, steps=4)] == [20, 15, 10, 5, 0]


def test_ddim_without_noise_repeats_itself_and_ddpm_follows_its_generator():
    s, x_T = schedules.linear(30), torch.randn(8, 2)
    model = gaussian_model(s, 1.0, 0.3)
    assert torch.equal(samplers.final(samplers.ddim(model, s, x_T)), samplers.final(samplers.ddim(model, s, x_T)))
    runs = [
        samplers.final(samplers.ddpm(model, s, x_T, generator=torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_samplers_leave_gradients_on_for_their_caller():
    s = schedules.linear(3)
    steps = samplers.ddpm(gaussian_model(s, 0.0, 1.0), s, torch.randn(2, 2))
    next(steps)
    next(steps)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda s: samplers.ddpm(None, s, torch.zeros(1, 2), variance="small"), "'beta' or 'beta_tilde', got 'small'"),
        (lambda s: samplers.ddim(None, s, torch.zeros(1, 2), steps=11), r"1\.\.10.*got 11"),
        (lambda s: samplers.ddim(None, s, torch.zeros(1, 2), eta=2), r"eta must lie in \[0, 1\]"),
    ],
)
def test_samplers_name_bad_arguments(run, message):
    with pytest.raises(ValueError, match=message):
        next(run(schedules.linear(10)))


# ---- the ideal denoiser


def test_ideal_denoiser_is_the_posterior_mean_by_brute_force(generator):
    s, std = schedules.cosine(40, dtype=torch.float64), 0.1
    points = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    x_t, t = torch.randn(3, 2, generator=generator, dtype=torch.float64), torch.tensor([3, 20, 39])
    for blur in (0.0, std):
        eps = IdealDenoiser(points, s, std=blur)(x_t, t)
        for b in range(3):
            a, v = s.alpha_bar[t[b]].sqrt(), s.sigma[t[b]] ** 2 + s.alpha_bar[t[b]] * blur**2
            density = torch.exp(-((x_t[b] - a * points) ** 2).sum(1) / (2 * v))
            x_0 = points + blur**2 * a / v * (x_t[b] - a * points)  # posterior mean of each blurred point
            mean = (density[:, None] * x_0).sum(0) / density.sum()
            torch.testing.assert_close(eps[b], (x_t[b] - a * mean) / s.sigma[t[b]])


def test_no_network_can_beat_the_ideal_denoiser(generator):
    points, s = toy.outline("dino"), schedules.linear(100)
    x_0 = points[torch.randint(len(points), (20_000,), generator=generator)]
    ideal = IdealDenoiser(points, s)
    best = diffusion.l_simple(ideal, x_0, s, generator=torch.Generator().manual_seed(1))
    for scale in (0.97, 1.03):

        def model(x, t, y=None, scale=scale):
            return scale * ideal(x, t)

        model.predicts = "eps"
        assert diffusion.l_simple(model, x_0, s, generator=torch.Generator().manual_seed(1)) > best


def test_ideal_denoiser_names_bad_input():
    with pytest.raises(ValueError, match="at least one point"):
        IdealDenoiser(torch.zeros(0, 2), schedules.linear(3))
    with pytest.raises(ValueError, match="cannot be negative"):
        IdealDenoiser(torch.zeros(1, 2), schedules.linear(3), std=-1)
