"""heun and euler_flow against closed forms, by hand, and step by step against `diffusers`."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import EDMEulerScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler

from course_utils import diffusion, frameworks, samplers, schedules
from course_utils.data import toy
from course_utils.frameworks import EDM
from course_utils.ideal import IdealDenoiser

MEAN, STD = 0.4, 0.5
KARRAS = schedules.karras(200, dtype=torch.float64)
HIGH = schedules.karras(200, sigma_max=200.0, dtype=torch.float64)  # churn may leave 80 upwards


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(schedule, shape=(2,)):
    return IdealDenoiser(torch.full((1, *shape), MEAN, dtype=schedule.beta.dtype), schedule, std=STD)


def exact(x_T, schedule, start, t):
    """Where the ODE takes x_T from level `start` to t, for data N(MEAN, STD^2): it keeps the distance in deviations."""
    (a, s), (a_t, s_t) = (
        (schedule.alpha_bar[level].sqrt(), schedule.sigma[level]) if level else (1.0, 0.0) for level in (start, t)
    )
    deviations = (x_T - a * MEAN) / math.sqrt(a**2 * STD**2 + s**2)
    return a_t * MEAN + math.sqrt(a_t**2 * STD**2 + s_t**2) * deviations


class Counted:
    """A network that answers x_0, with some of everything, and notes each t that it is asked about."""

    predicts = "x_0"

    def __init__(self, schedule, sharp=1.0):
        self.schedule, self.sharp, self.asked = schedule, sharp, []

    def F(self, x, c_noise, y=None):
        return 0.8 * torch.sin(2 * x) - 0.3 * x.flip(1) + torch.cos(c_noise).view(-1, *[1] * (x.ndim - 1))

    def __call__(self, x_t, t, y=None):
        self.asked.append(float(t[0]))
        sigma = self.schedule.ratio_at(t)
        x = x_t * (1 + sigma**2).sqrt().view(-1, *[1] * (x_t.ndim - 1))
        return self.sharp * frameworks.denoise(EDM(), self.F, x, sigma, y)


def as_x_t(x, sigma):
    return x / math.sqrt(1 + float(sigma) ** 2)


# ---- heun


@pytest.mark.parametrize(("order", "factor"), [(1, 2), (2, 4)])
def test_heun_has_its_order(order, factor):
    x_T, errors = normal(50, 2), []
    for steps in (21, 41, 81):  # of which the last, to no noise at all, is too short to count
        *_, record, end = samplers.heun(gaussian(KARRAS), KARRAS, x_T, steps=steps, order=order)
        assert record.t == pytest.approx(1) and end.t == 0
        errors.append(float((record.x - exact(x_T, KARRAS, 200, 1)).square().mean().sqrt()))
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(factor, rel=0.15)
    torch.testing.assert_close(end.x, exact(x_T, KARRAS, 200, 0), rtol=0, atol=0.1 if order == 1 else 5e-3)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 18])
def test_heun_asks_twice_but_once_at_the_last_step(order, steps):
    model, x_T = Counted(KARRAS), normal(3, 2)
    records = list(samplers.heun(model, KARRAS, x_T, steps=steps, order=order))
    assert len(records) == steps + 1 and len(model.asked) == (2 * steps - 1 if order == 2 else steps)
    grid = KARRAS.level(schedules.karras_grid(steps)).tolist()
    assert [r.t for r in records] == pytest.approx([*grid, 0])
    expected = [t for i, t in enumerate(grid) for t in ([t, t] if order == 2 and i else [t])]
    assert model.asked == pytest.approx(expected)
    assert torch.equal(records[0].x, x_T) and records[0].x0_hat is None
    torch.testing.assert_close(records[-1].x, records[-1].x0_hat)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, with newer numpy
@pytest.mark.parametrize("clip", [False, True])
def test_heun_of_second_order_is_that_of_diffusers(clip):
    grid, x_T, model = schedules.karras_grid(10), normal(4, 3, 2, 1), Counted(KARRAS, sharp=2.0)
    theirs = HeunDiscreteScheduler(prediction_type="sample", clip_sample=clip)
    theirs.set_timesteps(10)
    theirs.set_begin_index(0)
    # each level twice, once as an end and once as a beginning; its own are those of betas, in float32
    theirs.sigmas = torch.cat([grid[:1], grid[1:].repeat_interleave(2), torch.zeros(1)])
    x, path = x_T * (1 + grid[0] ** 2).sqrt(), [x_T]
    for i, sigma in enumerate(theirs.sigmas[:-1]):
        D = model(as_x_t(x, sigma), KARRAS.level(sigma).expand(4))
        x = theirs.step(D, 0, x).prev_sample
        if i % 2 or i == len(theirs.sigmas) - 2:
            path.append(as_x_t(x, theirs.sigmas[i + 1]))
    records = list(samplers.heun(model, KARRAS, x_T, steps=10, clip=clip))
    for ours, known in zip(records, path, strict=True):
        torch.testing.assert_close(ours.x, known, rtol=1e-7, atol=1e-7)
    assert max(r.x0_hat.abs().max() for r in records[1:]) > 1.5 or clip


CHURNS = [
    {},
    {"churn": 5.0},
    {"churn": 40.0},  # capped at sqrt(2) - 1
    {"churn": 5.0, "churn_from": 0.05, "churn_to": 50.0, "churn_noise": 1.007},
]


@pytest.mark.parametrize("options", CHURNS)
def test_heun_of_first_order_is_euler_of_diffusers(options):
    theirs, x_T, model, generator = EDMEulerScheduler(), normal(4, 3, 2, 1), Counted(HIGH), random(7)
    theirs.set_timesteps(12)
    named = {"churn": "s_churn", "churn_from": "s_tmin", "churn_to": "s_tmax", "churn_noise": "s_noise"}
    x, path = x_T * theirs.init_noise_sigma, [x_T]
    for i, time in enumerate(theirs.timesteps):
        sigma, noisy, raised = theirs.sigmas[i].double(), x, theirs.sigmas[i].double()
        if options and options.get("churn_from", 0) <= sigma <= options.get("churn_to", math.inf):
            # theirs raises the noise after it has asked the network: here it is asked at what will stand there
            before = generator.get_state()
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            generator.set_state(before)
            raised = sigma * (1 + min(options["churn"] / 12, math.sqrt(2) - 1))
            noisy = x + (raised**2 - sigma**2).sqrt() * options.get("churn_noise", 1.0) * fresh
        theirs.scale_model_input(x, time)
        raised = raised.expand(4)
        answer = model.F(theirs.precondition_inputs(noisy, raised[0]), theirs.precondition_noise(raised))
        x = theirs.step(answer, time, x, generator=generator, **{named[k]: v for k, v in options.items()}).prev_sample
        path.append(as_x_t(x, theirs.sigmas[i + 1]))
    records = list(samplers.heun(model, HIGH, x_T, steps=12, order=1, generator=random(7), **options))
    for ours, known in zip(records, path, strict=True):
        torch.testing.assert_close(ours.x, known, rtol=1e-5, atol=1e-5)  # theirs rounds x and sigma to float32


def test_churn_keeps_the_distribution():
    n, grid, a = 20_000, schedules.karras_grid(80), 1 / math.sqrt(1 + 80.0**2)
    x_T = a * MEAN + math.sqrt(1 - a**2 + a**2 * STD**2) * normal(n, 1)
    run = {"steps": 80, "generator": random(1)}
    records = list(samplers.heun(gaussian(HIGH, (1,)), HIGH, x_T, churn=20.0, **run))
    for sigma, record in zip([*grid.tolist(), 0.0], records, strict=True):
        x = record.x * math.sqrt(1 + sigma**2)
        std = math.sqrt(sigma**2 + STD**2)
        assert abs(float(x.mean()) - MEAN) < 5 * std / math.sqrt(n)
        assert float(x.std()) / std == pytest.approx(1, abs=0.03)
    still = samplers.final(samplers.heun(gaussian(HIGH, (1,)), HIGH, x_T, **run))
    assert abs(float(torch.corrcoef(torch.cat([still, records[-1].x], 1).T)[0, 1])) < 0.1, "the start is forgotten"


@pytest.mark.parametrize("name", [*schedules.SCHEDULES, *schedules.GRIDS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_churn_stays_on_the_schedule(name, dtype):
    for T, rho in ((10, 7.0), (100, 5.0), (100, 7.0)):
        s = schedules.make(name, T, dtype=dtype)
        for sigma_max in (80.0, math.inf):
            model, options = Counted(s), {"steps": 5, "rho": rho, "churn": 20.0, "sigma_max": sigma_max}
            list(samplers.heun(model, s, normal(2, 2).to(dtype), **options))
            assert all(1 <= t <= T for t in model.asked)
        x_T, at_top = normal(2, 2).to(dtype), {"steps": 1, "sigma_max": math.inf}
        runs = [samplers.final(samplers.heun(model, s, x_T, churn=churn, **at_top)) for churn in (0.0, 20.0)]
        assert torch.equal(*runs), "above t = T there is no level to be raised to"


@pytest.mark.parametrize("churn", [0.0, 10.0])
def test_heun_leads_to_the_points_of_a_finite_set(churn):
    s, points = schedules.karras(100), toy.mixture_centres(8)
    run = samplers.heun(IdealDenoiser(points, s), s, normal(300, 2).float(), churn=churn, generator=random())
    x = samplers.final(run)
    assert torch.cdist(x, points).min(1).values.max() < 1e-3
    assert len(torch.cdist(x, points).argmin(1).unique()) == 8


@pytest.mark.parametrize("name", ["karras", "linear", "cosine"])
def test_heun_starts_at_a_level_or_at_sigma_max(name):
    s, x_t = schedules.make(name, 200, dtype=torch.float64), normal(20, 2)
    for start in (200, 120, 30):
        records = list(samplers.heun(gaussian(s), s, x_t, steps=120, start=start, sigma_max=1.0))
        assert records[0].t == start and torch.equal(records[0].x, x_t) and len(records) == 121
        torch.testing.assert_close(records[-2].x, exact(x_t, s, start, 1), rtol=0, atol=5e-3)
    for sigma_max, ratio in ((2.0, 2.0), (1e9, float(s.noise_ratio[-1]))):
        first = next(samplers.heun(gaussian(s), s, x_t, sigma_max=sigma_max)).t
        assert float(s.ratio_at(torch.tensor([first]).double())) == pytest.approx(ratio)


SAMPLERS = pytest.mark.parametrize("sampler", [samplers.heun, samplers.euler_flow])


@SAMPLERS
def test_a_constant_answer_is_reached_exactly_also_under_guidance(sampler):
    points = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)

    def model(x_t, t, y=None):
        return points[y]

    model.predicts, y = "x_0", torch.tensor([0, 1, 1])
    for steps in (1, 2, 9):  # on data of one point every path is straight: one step is enough
        x = samplers.final(sampler(model, KARRAS, normal(3, 2), steps=steps, y=y))
        torch.testing.assert_close(x, points[y])
        guided = samplers.guided(model, 3.0, null=2)
        torch.testing.assert_close(
            samplers.final(sampler(guided, KARRAS, normal(3, 2), steps=steps, y=y)), 3 * points[y]
        )
        x = samplers.final(sampler(guided, KARRAS, normal(3, 2), steps=steps, y=y, clip=True))
        torch.testing.assert_close(x, (3 * points[y]).clamp(-1, 1))


# ---- euler_flow


def test_euler_flow_is_ddim_on_the_same_levels():
    s, x_t = schedules.flow(10, dtype=torch.float64), normal(6, 3, 2, 1)
    for clip in (False, True):
        model = Counted(s, sharp=2.0)
        ours = list(samplers.euler_flow(model, s, x_t, start=8, steps=8, clip=clip))
        ddim = list(samplers.ddim(model, s, x_t, start=8, steps=8, clip=clip))
        for a, b in zip(ours, ddim, strict=True):
            assert a.t == pytest.approx(b.t)
            torch.testing.assert_close(a.x, b.x)
    asked = model.asked[:8]
    assert asked == pytest.approx([8, 7, 6, 5, 4, 3, 2, 1]), "one evaluation a step"
    once = samplers.final(samplers.euler_flow(model, s, x_t, start=8, steps=1))
    torch.testing.assert_close(once, samplers.final(samplers.ddim(model, s, x_t, start=8, steps=1)))


def test_euler_flow_is_of_first_order():
    s, x_T = schedules.flow(5000, dtype=torch.float64), normal(50, 2)
    errors = []
    for steps in (40, 80, 160):
        x = samplers.final(samplers.euler_flow(gaussian(s), s, x_T, steps=steps))
        errors.append(float((x - exact(x_T, s, s.T, 0)).square().mean().sqrt()))
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("name", ["flow", "cosine", "karras"])
def test_euler_flow_is_that_of_diffusers(name):
    s, x_T, steps = schedules.make(name, 100, dtype=torch.float64), normal(4, 3, 2, 1), 9
    first, model = float(s.noise_ratio[-1]), Counted(s)
    theirs = FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=[first / (1 + first) * (1 - i / steps) for i in range(steps)])
    z, path = x_T * math.sqrt(1 + first**2) / (1 + first), [x_T]
    for i, time in enumerate(theirs.timesteps):
        t = theirs.sigmas[i].double()  # its sigma is the t of the straight path
        x_t = z / (t**2 + (1 - t) ** 2).sqrt()
        x0_hat, eps_hat = diffusion.predict(model, x_t, s.level(t / (1 - t)).expand(4), s)
        z = theirs.step(eps_hat - x0_hat, time, z).prev_sample
        after = theirs.sigmas[i + 1].double()
        path.append(z / (after**2 + (1 - after) ** 2).sqrt())
    for ours, known in zip(samplers.euler_flow(model, s, x_T, steps=steps), path, strict=True):
        torch.testing.assert_close(ours.x, known, rtol=1e-4, atol=1e-4)  # theirs rounds to float32


def test_euler_flow_never_asks_below_the_first_level():
    s, x_t = schedules.cosine(10, dtype=torch.float64), normal(5, 2)
    model = Counted(s)
    records = list(samplers.euler_flow(model, s, x_t, steps=200))
    assert len(records) == 201 and len(model.asked) == 200 and min(model.asked) == 1
    assert all(a.t >= b.t for a, b in pairwise(records)) and records[-1].t == 0
    torch.testing.assert_close(records[-1].x, records[-1].x0_hat)


@SAMPLERS
def test_bad_arguments_are_named(sampler):
    wrong = [({"steps": 0}, "at least 1, got 0"), ({"steps": 2.5}, "whole number"), ({"start": 0}, r"1\.\.200; got 0")]
    wrong += [({"steps": math.nan}, "whole number"), ({"start": 201}, "start must be a level")]
    if sampler is samplers.heun:
        wrong += [
            ({"order": 3}, "order must be 1 or 2"),
            ({"churn": -1}, "cannot be negative"),
            ({"rho": 0}, "rho > 0"),
        ]
        wrong += [({"churn_noise": -0.1}, "cannot be negative"), ({"churn": math.nan}, "cannot be negative")]
        wrong += [({"sigma_max": value}, "sigma_max") for value in (0.0, -1.0, math.nan)]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            list(sampler(gaussian(KARRAS), KARRAS, normal(2, 2), **options))
    default = {samplers.heun: 18, samplers.euler_flow: 50}[sampler]
    assert len(list(sampler(gaussian(KARRAS), KARRAS, normal(2, 2), steps=None))) == default + 1
