"""DDPM, EDM and flow matching as one table, and the schedules of noise ratios on which they are sampled."""

import itertools
import math

import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler

from course_utils import diffusion, frameworks, schedules
from course_utils.frameworks import DDPM, EDM, Flow
from course_utils.schedules import Schedule

COSINE = schedules.cosine(1000, dtype=torch.float64)
EVERY = {
    "ddpm": DDPM(COSINE),
    "edm": EDM(),
    "edm, narrow": EDM(-0.4, 1.0, 0.2),
    "flow": Flow(),
    "sharp": Flow(0.5, 0.7),
}
EVERY_FRAMEWORK = pytest.mark.parametrize("framework", EVERY.values(), ids=EVERY)
SIGMA = torch.logspace(-3, 3, 61, dtype=torch.float64)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bent(x, c_noise, y=None):
    """A stand-in for a network with some of everything, also where it is told little."""
    told = c_noise if y is None else c_noise + y
    return 1.5 * torch.sin(2 * x) - 0.3 * x.flip(1) + torch.cos(told).view(-1, *[1] * (x.ndim - 1))


def trapezoid(framework, low=-25.0, high=25.0, points=200_001):
    at = torch.linspace(low, high, points, dtype=torch.float64)
    return torch.trapezoid(framework.density(at), at)


# ---- the table


@EVERY_FRAMEWORK
def test_the_right_answer_of_the_network_gives_x_0_at_every_noise(framework):
    x_0, eps, each = 0.5 * normal(61, 3, 2, 2), normal(61, 3, 2, 2, seed=1), SIGMA.view(-1, 1, 1, 1)
    x, (c_skip, c_out, c_in, c_noise) = x_0 + each * eps, framework.precondition(SIGMA)
    answer = (x_0 - c_skip.view_as(each) * x) / c_out.view_as(each)
    torch.testing.assert_close(framework.target(x_0, eps, each), answer, **EXACT)
    heard = []

    def F(*arguments):
        heard.append(arguments)
        return framework.target(x_0, eps, each)

    torch.testing.assert_close(frameworks.denoise(framework, F, x, SIGMA, "label"), x_0, **EXACT)
    torch.testing.assert_close(heard[0][0], c_in.view_as(each) * x, **EXACT)
    assert torch.equal(heard[0][1], c_noise) and heard[0][2] == "label"


@pytest.mark.parametrize("sigma_data", [0.5, 0.3])
def test_edm_is_table_1_and_keeps_unit_variance(sigma_data):
    edm = EDM(sigma_data=sigma_data)
    for sigma in (0.002, 0.1, sigma_data, 1.0, 80.0):
        d, s = sigma_data, sigma
        table = (
            d**2 / (s**2 + d**2),
            s * d / math.sqrt(d**2 + s**2),
            1 / math.sqrt(s**2 + d**2),
            0.25 * math.log(s),
        )
        at = torch.tensor([sigma], dtype=torch.float64)
        torch.testing.assert_close(torch.cat(edm.precondition(at)), torch.tensor(table).double(), rtol=1e-6, atol=0)
        assert float(edm.precondition(at).c_in) ** 2 * (s**2 + d**2) == pytest.approx(1)
        of_x_0, of_eps = edm.target(1.0, 0.0, at), edm.target(0.0, 1.0, at)  # a target is linear in both
        assert float(of_x_0**2 * d**2 + of_eps**2) == pytest.approx(1)
    assert (edm.mean, edm.std, EDM().sigma_data) == (-1.2, 1.2, 0.5)  # their section 5


@pytest.mark.parametrize("scheduler", [EDMEulerScheduler, EDMDPMSolverMultistepScheduler])
@pytest.mark.parametrize("sigma_data", [0.5, 0.3])
def test_edm_is_wired_as_in_diffusers(scheduler, sigma_data):
    theirs, x = scheduler(sigma_data=sigma_data), normal(1, 3, 2, 2)
    for sigma in SIGMA.view(-1, 1):
        output = bent(theirs.precondition_inputs(x, sigma), theirs.precondition_noise(sigma))
        D = theirs.precondition_outputs(x, output, sigma)
        torch.testing.assert_close(frameworks.denoise(EDM(sigma_data=sigma_data), bent, x, sigma), D, **EXACT)


@pytest.mark.parametrize("name", frameworks.FRAMEWORKS)
def test_the_network_sees_its_paper_s_x_t_and_time(name):
    framework, each = EVERY[name], SIGMA.view(-1, 1)
    a, s = framework.path(SIGMA)
    torch.testing.assert_close(s / a, SIGMA, **EXACT)
    x_0, eps, c = normal(61, 2), normal(61, 2, seed=1), framework.precondition(SIGMA)
    if name == "ddpm":
        torch.testing.assert_close(a**2 + s**2, torch.ones_like(a))
        t = torch.arange(1, 1001)
        at_t = framework.precondition(COSINE.noise_ratio[t])
        torch.testing.assert_close(at_t.c_noise, t.double())
        torch.testing.assert_close(at_t.c_in, COSINE.alpha_bar[t].sqrt())
    elif name == "flow":
        torch.testing.assert_close(a + s, torch.ones_like(a))
        torch.testing.assert_close(c.c_noise, s)
    if name != "edm":  # of its x_t the variance grows, so its network sees it divided
        sees = c.c_in.view(-1, 1) * (x_0 + each * eps)
        torch.testing.assert_close(sees, a.view(-1, 1) * x_0 + s.view(-1, 1) * eps, **EXACT)
    else:
        torch.testing.assert_close(s, SIGMA)


def test_the_loss_of_ddpm_is_that_of_an_eps_network():
    x_0, eps, y = normal(50, 3, 2, 2), normal(50, 3, 2, 2, seed=1), torch.arange(50) % 3
    t = torch.linspace(1, 1000, 50).long()

    def model(x_t, t, y=None):
        return bent(x_t, 0.01 * t.double(), y)

    model.predicts = "eps"
    expected = diffusion.weighted_loss(model, x_0, t, eps, COSINE, y=y)
    ours = frameworks.loss(DDPM(COSINE), model, x_0, COSINE.noise_ratio[t], eps, y)
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=0)


@EVERY_FRAMEWORK
def test_the_weight_is_that_of_an_error_of_the_denoiser(framework):
    x_0, eps, log_sigma = normal(61, 3, 2, 2), normal(61, 3, 2, 2, seed=1), SIGMA.log()
    D = frameworks.denoise(framework, bent, x_0 + SIGMA.view(-1, 1, 1, 1) * eps, SIGMA)
    error = (D - x_0).square().mean((1, 2, 3))
    loss = frameworks.loss(framework, bent, x_0, SIGMA, eps) * framework.density(log_sigma)
    torch.testing.assert_close(frameworks.weight(framework, log_sigma) * error, loss, rtol=1e-7, atol=1e-12)


def test_weights_are_those_of_the_papers():
    def over_density(framework):
        return frameworks.weight(framework, SIGMA.log()) / framework.density(SIGMA.log())

    d = 0.5  # their section 5: lambda(sigma)
    torch.testing.assert_close(over_density(EDM()), (SIGMA**2 + d**2) / (SIGMA * d) ** 2, **EXACT)
    torch.testing.assert_close(over_density(Flow()), (1 + SIGMA) ** 2 / SIGMA**2, **EXACT)
    known = SIGMA[(SIGMA > 0.02) & (SIGMA < 100)]
    ddpm = frameworks.weight(DDPM(COSINE), known.log()) / DDPM(COSINE).density(known.log())
    torch.testing.assert_close(ddpm, 1 / known**2, **EXACT)  # the signal-to-noise ratio


@EVERY_FRAMEWORK
def test_levels_are_drawn_as_the_density_says(framework):
    n = 200_000
    sigma = framework.draw(n, torch.Generator().manual_seed(0))
    assert sigma.shape == (n,) and torch.equal(sigma, framework.draw(n, torch.Generator().manual_seed(0)))
    edges = torch.arange(-6, 6.5, 0.5, dtype=torch.float64)
    found = torch.histogram(sigma.double().log(), edges).hist / n
    expected = torch.stack([trapezoid(framework, a, b, 2001) for a, b in itertools.pairwise(edges.tolist())])
    level = 1 / COSINE.T if isinstance(framework, DDPM) else 0  # a bin holds whole levels
    assert bool(((found - expected).abs() < level + 5 * (expected / n).sqrt() + 1e-4).all())
    assert float(trapezoid(framework)) == pytest.approx(1, abs=level + 1e-4)


def test_the_cosine_schedule_s_density_has_a_closed_form():
    log_sigma = torch.linspace(-2, 3.5, 30, dtype=torch.float64)
    expected = 1 / (math.pi * log_sigma.cosh())
    torch.testing.assert_close(DDPM(COSINE).density(log_sigma), expected, rtol=0.02, atol=0)
    ends = COSINE.noise_ratio[[1, -1]].log() + torch.tensor([-0.21, 0.21])
    assert torch.equal(DDPM(COSINE).density(ends), torch.zeros(2).double()), "no level lies beyond the ends"


def test_levels_of_flow_are_logit_normal():
    m, s, t = 0.5, 0.7, torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    expected = torch.exp(-((torch.logit(t) - m) ** 2) / (2 * s**2)) / (s * math.sqrt(2 * math.pi) * t * (1 - t))
    torch.testing.assert_close(Flow(m, s).density((t / (1 - t)).log()) / (t * (1 - t)), expected)  # d ln sigma / dt
    drawn = Flow(m, s).path(Flow(m, s).draw(100_000, torch.Generator().manual_seed(0)))[1]
    assert float(torch.logit(drawn).mean()) == pytest.approx(m, abs=0.01)
    assert float(torch.logit(drawn).std()) == pytest.approx(s, abs=0.01)


def test_coupled_is_the_permutation_of_least_cost():
    for seed in range(20):
        x_0, eps = normal(5, 3, 2, 1, seed=2 * seed).float(), normal(5, 3, 2, 1, seed=2 * seed + 1).float()
        costs = {p: float((x_0 - eps[list(p)]).square().sum()) for p in itertools.permutations(range(5))}
        assert torch.equal(frameworks.coupled(x_0, eps), eps[list(min(costs, key=costs.get))])
    x_0 = normal(40, 2)
    near = x_0 + 1e-3 * normal(40, 2, seed=1)
    assert torch.equal(frameworks.coupled(x_0, near), near)
    assert torch.equal(frameworks.coupled(x_0, near[torch.randperm(40)]), near)
    assert torch.equal(frameworks.coupled(x_0[:1], near[5:6]), near[5:6])


def test_frameworks_name_bad_input():
    assert [type(frameworks.make(name, COSINE)) for name in frameworks.FRAMEWORKS] == [DDPM, EDM, Flow]
    with pytest.raises(ValueError, match="unknown framework 'vdm': choose one of ddpm, edm, flow"):
        frameworks.make("vdm", COSINE)
    x = torch.zeros(2, 3)
    for sigma in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [[1.0], [1.0]]):
        with pytest.raises(ValueError, match=r"one positive noise ratio per example, \(2,\)"):
            frameworks.loss(EDM(), bent, x, torch.tensor(sigma), x)


# ---- schedules of noise ratios

ALL = pytest.mark.parametrize("name", schedules.SCHEDULES | schedules.GRIDS)


@pytest.mark.parametrize(("steps", "low", "high", "rho"), [(18, 0.002, 80.0, 7.0), (5, 0.1, 3.0, 1.0), (2, 1, 2, 3)])
def test_karras_grid_is_equation_5(steps, low, high, rho):
    expected = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    grid = schedules.karras_grid(steps, low, high, rho)
    torch.testing.assert_close(grid, torch.tensor(expected, dtype=torch.float64))
    theirs = EDMEulerScheduler(sigma_min=low, sigma_max=high, rho=rho)
    theirs.set_timesteps(steps)
    torch.testing.assert_close(grid.float(), theirs.sigmas[:-1], rtol=1e-6, atol=0)
    karras = schedules.karras(steps, low, high, rho, dtype=torch.float64)
    torch.testing.assert_close(karras.noise_ratio[1:], grid.flip(0), **EXACT)
    assert schedules.karras_grid(1, low, high, rho).tolist() == pytest.approx([high])


def test_grids_are_schedules_like_others():
    for name in schedules.GRIDS:
        s, single = schedules.make(name, 1000, dtype=torch.float64), schedules.make(name, 1000)
        assert s.name == name and s.T == 1000 and s.alpha_bar[0] == 1 and s.noise_ratio[0] == 0
        assert bool((s.noise_ratio.diff() > 0).all())
        torch.testing.assert_close(s.alpha_bar + s.sigma**2, torch.ones_like(s.sigma))
        torch.testing.assert_close(single.noise_ratio.double(), s.noise_ratio, rtol=2e-6, atol=0)
    s = torch.arange(1, 1000, dtype=torch.float64) / 1000
    flow = schedules.flow(1000, dtype=torch.float64)
    torch.testing.assert_close(flow.noise_ratio[1:-1], s / (1 - s), **EXACT)
    assert flow.noise_ratio[-1] > 1e4, "hardly anything is left of x_0 at t = T"
    assert schedules.karras().noise_ratio[[1, -1]].tolist() == pytest.approx([0.002, 80])


@ALL
def test_levels_and_ratios_lead_back_to_each_other(name):
    s = schedules.make(name, 100, dtype=torch.float64)
    whole = torch.arange(1, 101)
    for t in (whole, whole.double()):
        assert torch.equal(s.ratio_at(t), s.noise_ratio[1:])
    torch.testing.assert_close(s.level(s.noise_ratio[1:]), whole.double(), **EXACT)
    t = 1 + 99 * torch.rand(7, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(s.level(s.ratio_at(t)), t, **EXACT)
    ratio = s.noise_ratio
    torch.testing.assert_close(s.ratio_at(whole[:-1] + 0.5), (ratio[1:-1] * ratio[2:]).sqrt(), rtol=1e-6, atol=0)
    beyond = torch.stack([0 * ratio[1], ratio[1] / 2, 2 * ratio[-1], ratio[-1] / 0])
    assert s.level(beyond).tolist() == [1, 1, 100, 100]
    for wrong in (0.0, 0.99, 100.01, math.nan):
        with pytest.raises(IndexError, match=r"t must lie in 1\.\.100"):
            s.ratio_at(torch.tensor([5.0, wrong]))
    one = schedules.make(name, 1)
    assert one.level(torch.tensor([0.1, 50.0])).tolist() == [1, 1]
    assert torch.equal(one.ratio_at(torch.tensor([1.0])), one.noise_ratio[1:])


@ALL
def test_signal_and_noise_between_levels(name):
    s, like = schedules.make(name, 100, dtype=torch.float64), torch.zeros(100, 3, 1)
    t = torch.arange(1, 101)
    for ours, whole in zip(diffusion.signal_and_noise(t.double(), like, s), (s.alpha_bar.sqrt(), s.sigma), strict=True):
        assert ours.shape == (100, 1, 1)
        torch.testing.assert_close(ours.flatten(), whole[1:], rtol=1e-7, atol=0)
    a, sigma = diffusion.signal_and_noise(t[:-1] + 0.3, like[1:], s)
    torch.testing.assert_close(a**2 + sigma**2, torch.ones_like(a))
    torch.testing.assert_close((sigma / a).flatten(), s.ratio_at(t[:-1] + 0.3))
    for wrong in (torch.tensor([3.5]), torch.tensor(3.5), torch.full((100, 1), 3.5)):  # one for all would broadcast
        with pytest.raises(ValueError, match=r"expected shape \(100,\)"):
            diffusion.signal_and_noise(wrong, like, s)


@ALL
def test_a_schedule_comes_back_from_its_noise_ratios(name):
    s = schedules.make(name, 50, dtype=torch.float64)
    again = Schedule.from_noise_ratio(s.noise_ratio[1:], name, torch.float64)
    for field in ("beta", "alpha", "alpha_bar", "sigma", "beta_tilde"):
        torch.testing.assert_close(getattr(again, field), getattr(s, field), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.from_noise_ratio(torch.ones(2, 2)), r"must be a vector .* got \(2, 2\)"),
        (lambda: Schedule.from_noise_ratio(torch.ones(0)), "must be a vector"),
        (lambda: Schedule.from_noise_ratio(torch.tensor([0.0, 1.0])), "must be positive and rise"),
        (lambda: Schedule.from_noise_ratio(torch.tensor([1.0, 1.0])), "must be positive and rise"),
        (lambda: Schedule.from_noise_ratio(torch.tensor([1.0, math.nan])), "must be positive and rise"),
        (lambda: schedules.karras_grid(0), "T counts diffusion steps"),
        (lambda: schedules.karras_grid(5, 0.0), "needed: 0 < sigma_min < sigma_max"),
        (lambda: schedules.karras_grid(5, 2.0, 1.0), "needed: 0 < sigma_min < sigma_max"),
        (lambda: schedules.karras_grid(5, rho=0), "rho > 0"),
        (lambda: schedules.karras(5, 1.0, math.inf), "needed: 0 < sigma_min < sigma_max"),
        (lambda: schedules.flow(2.5), "T counts diffusion steps"),
        (lambda: schedules.make("edm"), "unknown schedule 'edm': choose one of linear.*, karras, flow"),
    ],
)
def test_grids_name_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
