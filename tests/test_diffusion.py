"""Schedules, equations, samplers and the ideal denoiser against closed forms."""

import math
from itertools import pairwise

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


SNR_WEIGHTS = {
    "eps": lambda snr: snr,
    "x_0": torch.ones_like,
    "v": lambda snr: snr + 1,
    "min_snr": lambda snr: snr.clamp(max=5),
}


@EVERY
@pytest.mark.parametrize("T", [1, 2, 1000])
def test_loss_weights_are_their_closed_forms_and_keep_their_digits_in_float32(name, T):
    s = schedules.make(name, T, dtype=torch.float64)
    snr = s.alpha_bar[1:] / (1 - s.alpha_bar[1:])
    expected = {weight: form(snr) for weight, form in SNR_WEIGHTS.items()}
    expected["vlb"] = T / 2 * torch.cat([1 / s.beta[1:2], snr[:-1] - snr[1:]])
    assert set(expected) == set(diffusion.WEIGHTS)
    for weight, values in expected.items():
        torch.testing.assert_close(diffusion.loss_weight(weight, s)[1:], values, rtol=1e-8, atol=0)
        single = diffusion.loss_weight(weight, schedules.make(name, T))
        assert single[0] == 0
        torch.testing.assert_close(single[1:].double(), values, rtol=2e-6, atol=0)


@pytest.mark.parametrize("predicts", diffusion.PREDICTS)
@pytest.mark.parametrize("weight", [None, *diffusion.WEIGHTS])
def test_weighted_loss_is_the_weighted_error_of_x0_hat(predicts, weight, generator):
    """Whatever the network predicts, and with no weight the plain error of that."""
    s = schedules.cosine(100, dtype=torch.float64)
    x_0, eps, answer = (torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([1, 2, 50, 99])

    def model(x, t, y=None):
        return answer + 0.1 * x

    model.predicts = predicts
    x0_hat = diffusion.predict(model, q_sample(x_0, t, eps, s), t, s).x0_hat
    expected = (x0_hat - x_0).square().mean((1, 2, 3)) * diffusion.loss_weight(weight or predicts, s)[t]
    torch.testing.assert_close(diffusion.weighted_loss(model, x_0, t, eps, s, weight), expected)
    with pytest.raises(ValueError, match=r"unknown loss weight 'snr': choose one of eps, x_0, v, min_snr, vlb"):
        diffusion.weighted_loss(model, x_0, t, eps, s, "snr")
    model.predicts = "noise"
    with pytest.raises(ValueError, match=r"must be one of .*got 'noise'"):
        diffusion.weighted_loss(model, x_0, t, eps, s, weight)


# ---- samplers

EVERY_SAMPLER = pytest.mark.parametrize("sampler", samplers.SAMPLERS)


def gaussian_model(s, mean, std):
    return IdealDenoiser(torch.full((1, 2), mean, dtype=s.beta.dtype), s, std=std)


def distance_to_the_flow(run, s, mean, std, generator):
    """Root mean square error of a deterministic sampler: the exact flow takes each x_T to its own x_0."""
    x_T = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    a = s.alpha_bar[-1].sqrt()
    truth = mean + std * (x_T - a * mean) / (s.sigma[-1] ** 2 + a**2 * std**2).sqrt()
    return float((samplers.final(run(gaussian_model(s, mean, std), s, x_T)) - truth).square().mean().sqrt())


@pytest.mark.parametrize(
    ("name", "run", "tolerance"),
    [
        ("ddpm, beta_tilde", lambda m, s, x, g: samplers.ddpm(m, s, x, generator=g), 0.03),
        ("ddpm, beta", lambda m, s, x, g: samplers.ddpm(m, s, x, variance="beta", generator=g), 0.03),
        ("ddim", lambda m, s, x, g: samplers.ddim(m, s, x, steps=200), 0.03),
        ("ddim, 50 steps", lambda m, s, x, g: samplers.ddim(m, s, x, steps=50), 0.05),
        ("dpm_solver_pp", lambda m, s, x, g: samplers.dpm_solver_pp(m, s, x), 0.03),
        ("ddim, eta 1", lambda m, s, x, g: samplers.ddim(m, s, x, eta=1.0, generator=g), 0.03),
    ],
)
def test_samplers_recover_a_gaussian_with_the_exact_denoiser(name, run, tolerance, generator):
    s = schedules.linear(500)
    x = samplers.final(run(gaussian_model(s, 0.8, 0.5), s, torch.randn(10_000, 2, generator=generator), generator))
    assert (x.mean(0) - 0.8).abs().max() < tolerance, name
    assert (x.std(0) - 0.5).abs().max() < tolerance, name


@EVERY_SAMPLER
def test_exact_denoiser_of_a_finite_set_leads_back_to_its_points(sampler, generator):
    """Off-by-one in time shows here: a step too many or too few leaves noise on the points."""
    points = toy.mixture_centres(8)
    s = schedules.cosine(100)
    x_T = torch.randn(300, 2, generator=generator)
    run = samplers.SAMPLERS[sampler](IdealDenoiser(points, s), s, x_T, steps=s.T, generator=generator)
    x = samplers.final(run)
    assert torch.cdist(x, points).min(1).values.max() < 1e-3


def test_records_tell_where_the_chain_stands(generator):
    s, x_T = schedules.linear(20), torch.randn(6, 2, generator=generator)
    model = gaussian_model(s, 0.0, 1.0)
    records = list(samplers.ddpm(model, s, x_T, generator=generator))
    assert [r.t for r in records] == list(range(20, -1, -1))
    assert torch.equal(records[0].x, x_T) and records[0].x0_hat is None
    torch.testing.assert_close(records[-1].x, records[-1].x0_hat)  # t = 1 adds no noise
    for sampler in (samplers.ddim, samplers.dpm_solver_pp):
        assert [r.t for r in sampler(model, s, x_T, steps=4)] == [20, 15, 10, 5, 0]
        assert [r.t for r in sampler(model, s, x_T, steps=None)] == list(range(20, -1, -1))


@EVERY
@pytest.mark.parametrize("spacing", ["t", "lambda"])
def test_any_number_of_steps_goes_down_from_T_to_0(name, spacing):
    s = schedules.make(name, 60)
    for steps in (1, 2, 7, 30, 59, 60):
        levels = [
            r.t for r in samplers.ddim(gaussian_model(s, 0.0, 1.0), s, torch.zeros(1, 2), steps=steps, spacing=spacing)
        ]
        assert len(levels) == steps + 1 and levels[0] == 60 and levels[-1] == 0
        assert all(a > b for a, b in pairwise(levels))


def test_spacing_in_lambda_is_even_in_lambda():
    s = schedules.linear(1000, dtype=torch.float64)
    path = samplers.dpm_solver_pp(gaussian_model(s, 0.0, 1.0), s, torch.zeros(1, 2).double(), steps=8, spacing="lambda")
    levels = [r.t for r in path][:-1]
    lambda_ = 0.5 * (s.alpha_bar[levels] / (1 - s.alpha_bar[levels])).log()
    assert levels[-1] == 1 and lambda_.diff().min() > 0.9 * lambda_.diff().max()


def test_dpm_solver_is_of_second_order_and_ahead_of_ddim(generator):
    for name in ("linear", "cosine"):
        s = schedules.make(name, 1000, dtype=torch.float64)
        errors = {
            (sampler, steps): distance_to_the_flow(
                lambda *a, f=sampler, n=steps: f(*a, steps=n), s, 0.8, 0.5, generator.manual_seed(0)
            )
            for sampler in (samplers.ddim, samplers.dpm_solver_pp)
            for steps in (10, 20)
        }
        assert errors[samplers.dpm_solver_pp, 20] < errors[samplers.ddim, 20] / 3
        assert errors[samplers.dpm_solver_pp, 20] < errors[samplers.dpm_solver_pp, 10] / 4
        assert errors[samplers.ddim, 20] > errors[samplers.ddim, 10] / 2.2


def test_spacing_in_lambda_finds_narrow_data_sooner(generator):
    s = schedules.linear(1000, dtype=torch.float64)
    in_t, in_lambda = (
        distance_to_the_flow(
            lambda *a, spacing=spacing: samplers.dpm_solver_pp(*a, spacing=spacing),
            s,
            0.3,
            0.1,
            generator.manual_seed(0),
        )
        for spacing in ("t", "lambda")
    )
    assert in_lambda < in_t / 10


def test_dpm_solver_of_first_order_is_ddim(generator):
    s, x_T = schedules.cosine(50, dtype=torch.float64), torch.randn(20, 2, generator=generator, dtype=torch.float64)
    model = gaussian_model(s, 0.8, 0.5)
    pairs = zip(
        samplers.ddim(model, s, x_T, steps=7), samplers.dpm_solver_pp(model, s, x_T, steps=7, order=1), strict=True
    )
    for a, b in pairs:
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x)


@EVERY_SAMPLER
@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_clip_keeps_x0_hat_in_range_and_eps_hat_in_step(sampler, spread, generator):
    s, x_T = schedules.cosine(40, dtype=torch.float64), torch.randn(50, 2, generator=generator, dtype=torch.float64)
    points = spread * torch.randn(20, 2, generator=generator, dtype=torch.float64).clamp(-1, 1)
    free, clipped = (
        list(
            samplers.SAMPLERS[sampler](
                IdealDenoiser(points, s), s, x_T, clip=clip, generator=torch.Generator().manual_seed(1)
            )
        )
        for clip in (False, True)
    )
    if spread < 1:  # x0_hat, a mean of the points, never leaves the range: not one digit may change
        assert all(torch.equal(a.x, b.x) for a, b in zip(free, clipped, strict=True))
        return
    assert max(r.x0_hat.abs().max() for r in free[1:]) > 1.4
    assert max(r.x0_hat.abs().max() for r in clipped[1:]) == 1
    for before, after in pairwise(clipped):
        a, sigma = diffusion.signal_and_noise(samplers.times(before.t, x_T), x_T, s)
        torch.testing.assert_close(a * after.x0_hat + sigma * after.eps_hat, before.x)


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
        (lambda s: samplers.ddim(None, s, torch.zeros(1, 2), steps=2.5), "a whole number; got 2.5"),
        (lambda s: samplers.ddim(None, s, torch.zeros(1, 2), eta=2), r"eta must lie in \[0, 1\]"),
        (lambda s: samplers.ddim(None, s, torch.zeros(1, 2), spacing="snr"), "'t' or 'lambda', got 'snr'"),
        (lambda s: samplers.ddpm(None, s, torch.zeros(1, 2), steps=5), "must be 10 .*got 5.*ddim.*dpm_solver_pp"),
        (lambda s: samplers.dpm_solver_pp(None, s, torch.zeros(1, 2), steps=0), r"1\.\.10.*got 0"),
        (lambda s: samplers.dpm_solver_pp(None, s, torch.zeros(1, 2), steps=5, order=3), "order must be 1 or 2, got 3"),
    ],
)
def test_samplers_name_bad_arguments(run, message):
    with pytest.raises(ValueError, match=message):
        next(run(schedules.linear(10)))


# ---- guidance


class TwoGaussians:
    """Class 0 lies at -1, class 1 at 1; label 2, or None, means either. Predicts what it is told to."""

    def __init__(self, s, predicts="eps"):
        at_0, at_1 = torch.full((2, 1, 2), 1.0, dtype=s.beta.dtype) * torch.tensor([-1, 1]).view(2, 1, 1)
        self.ideal = [IdealDenoiser(points, s, std=0.4) for points in (at_0, at_1, torch.cat([at_0, at_1]))]
        self.schedule, self.predicts, self.calls = s, predicts, 0

    def __call__(self, x_t, t, y=None):
        self.calls += 1
        y = torch.full_like(t, 2) if y is None else y
        eps = torch.stack([ideal(x_t, t) for ideal in self.ideal])[y, torch.arange(len(y))]
        x_0 = diffusion.x0_from_eps(x_t, t, eps, self.schedule)
        return {"eps": eps, "x_0": x_0, "v": diffusion.v_target(x_0, t, eps, self.schedule)}[self.predicts]


@pytest.mark.parametrize("null", [2, None])
@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_is_the_formula_by_hand(null, scale, generator):
    s = schedules.cosine(20, dtype=torch.float64)
    x_t, t = torch.randn(6, 2, generator=generator, dtype=torch.float64), torch.tensor([1, 2, 5, 10, 15, 20])
    y = torch.tensor([0, 1, 0, 1, 0, 1])
    model = TwoGaussians(s)
    w = scale - 1  # Ho & Salimans 2022, Eq. 6: (1 + w) eps(x, y) - w eps(x)
    expected = (1 + w) * model(x_t, t, y) - w * model(x_t, t)
    model.calls = 0
    guided = samplers.guided(model, scale, null)
    torch.testing.assert_close(guided(x_t, t, y), expected)
    calls = 2 if null is None and scale == 3 else 1
    assert model.calls == calls, "with a null label one batch holds both questions; 0 and 1 ask one alone"
    assert guided.predicts == "eps"
    with pytest.raises(ValueError, match="guidance needs labels"):
        guided(x_t, t)


def test_guidance_is_the_same_whatever_the_network_predicts(generator):
    s = schedules.cosine(20, dtype=torch.float64)
    x_t, t, y = (
        torch.randn(6, 2, generator=generator, dtype=torch.float64),
        torch.arange(1, 7),
        torch.tensor([0, 1] * 3),
    )
    answers = [
        diffusion.predict(samplers.guided(TwoGaussians(s, predicts), 2.5), x_t, t, s, y).x0_hat
        for predicts in diffusion.PREDICTS
    ]
    for other in answers[1:]:
        torch.testing.assert_close(other, answers[0])


def test_guidance_takes_the_null_label_from_the_configuration():
    s = schedules.linear(5)
    model = TwoGaussians(s)
    model.config = type("Config", (), {"classes": 2})
    samplers.guided(model, 2.0)(torch.zeros(3, 2), torch.tensor([1, 3, 5]), torch.tensor([0, 1, 1]))
    assert model.calls == 1


def test_guidance_acts_within_its_interval_only(generator):
    s = schedules.cosine(20)
    x_t, t, y = torch.randn(4, 2, generator=generator), torch.tensor([2, 5, 10, 11]), torch.tensor([0, 1, 0, 1])
    model = TwoGaussians(s)
    everywhere, plain = samplers.guided(model, 3.0)(x_t, t, y), model(x_t, t, y)
    within = samplers.guided(model, 3.0, interval=(5, 10))(x_t, t, y)
    assert torch.equal(within[1:3], everywhere[1:3]) and not torch.allclose(everywhere, plain)
    torch.testing.assert_close(within[[0, 3]], plain[[0, 3]])
    model.calls = 0
    samplers.guided(model, 3.0, interval=(12, 20))(x_t, t, y)
    assert model.calls == 1, "outside, the question without a class is not asked"


def test_guidance_refuses_what_cannot_guide():
    model = TwoGaussians(schedules.cosine(20))
    for options, message in (
        ({"scale": math.nan}, "a finite number, got nan"),
        ({"scale": 2.0, "interval": (5, 2)}, r"interval .* is empty: got \(5, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            samplers.guided(model, **options)
    model.config = type("Config", (), {"classes": 0})
    with pytest.raises(ValueError, match="this model has no classes"):
        samplers.guided(model, 2.0)


def test_guidance_drives_samples_away_from_the_other_class():
    s = schedules.cosine(50)
    plain, strong = (
        samplers.sample(samplers.guided(TwoGaussians(s), scale, 2), s, 400, (2,), y=1, steps=25) for scale in (1.0, 4.0)
    )
    assert (plain.mean(0) - 1).abs().max() < 0.1
    assert (strong.mean(0) > plain.mean(0) + 0.1).all() and (strong.std(0) < plain.std(0)).all()


# ---- sample


@EVERY_SAMPLER
def test_a_sample_depends_on_the_seed_and_its_number_only(sampler):
    s = schedules.cosine(25, dtype=torch.float64)
    options = {"sampler": sampler, **({"eta": 1.0} if sampler == "ddim" else {})}
    model = gaussian_model(s, 0.3, 0.5)
    whole = samplers.sample(model, s, 7, (2,), seed=3, **options)
    assert whole.shape == (7, 2) and whole.dtype == torch.float64
    for n, batch_size in ((7, 3), (7, 1), (4, 256)):
        part = samplers.sample(model, s, n, (2,), seed=3, batch_size=batch_size, **options)
        torch.testing.assert_close(part, whole[:n])
    other = samplers.sample(model, s, 7, (2,), seed=4, **options)
    every = torch.cat([whole, other])
    assert torch.pdist(every).min() > 1e-6, "no two examples share their noise, within a seed or across two"


def test_samples_have_the_distribution_of_the_data():
    s = schedules.cosine(40)
    for sampler in samplers.SAMPLERS:
        x = samplers.sample(gaussian_model(s, 0.3, 0.5), s, 2000, (2,), sampler=sampler, batch_size=1000)
        assert (x.mean(0) - 0.3).abs().max() < 0.05 and (x.std(0) - 0.5).abs().max() < 0.05, sampler
        assert torch.corrcoef(x.T)[0, 1].abs() < 0.08


def test_sample_hands_its_arguments_on():
    """Labels follow their examples through the batches; steps, clip and options reach the sampler."""
    s, times = schedules.linear(12), []

    def model(x, t, y=None):
        times.append(int(t[0]))
        return y.view(-1, 1).expand_as(x).to(x.dtype)

    model.predicts = "x_0"
    x = samplers.sample(model, s, 5, (3,), y=torch.arange(5), steps=3, batch_size=2)
    assert torch.equal(x, torch.arange(5.0)[:, None].expand(5, 3))
    assert times == [12, 8, 4] * 3
    assert torch.equal(
        samplers.sample(model, s, 3, (1,), y=[5, 0, -5], clip=True), torch.tensor([[1.0], [0.0], [-1.0]])
    )
    assert torch.equal(samplers.sample(model, s, 2, (1,), y=4, steps=2), torch.full((2, 1), 4.0))
    times.clear()
    samplers.sample(model, s, 1, (1,), y=0, sampler="dpm_solver_pp", steps=4, spacing="lambda")
    assert times[-1] == 1  # spacing "t" would have ended on 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "ddmi"}, "unknown sampler 'ddmi': choose one of ddpm, ddim, dpm_solver_pp"),
        ({"sampler": "ddpm", "steps": 3}, "ddpm visits every level"),
        ({"steps": 11}, r"1\.\.10"),
        ({"batch_size": 0}, "at least 1"),
        ({"n": 0}, "at least 1"),
        ({"seed": -1}, "seed at least 0"),
        ({"y": torch.zeros(3, dtype=torch.long)}, r"expected shape \(2,\), got \(3,\)"),
    ],
)
def test_sample_names_bad_arguments(arguments, message):
    s = schedules.linear(10)
    with pytest.raises(ValueError, match=message):
        samplers.sample(gaussian_model(s, 0.0, 1.0), s, **{"n": 2, "shape": (2,), **arguments})


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
