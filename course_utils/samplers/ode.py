"""Samplers that solve the probability flow ODE at any noise, between the schedule's levels too: Heun, Euler on flow."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_utils.diffusion import Model
from course_utils.samplers.steps import Generators, Step, check_level, predicted, randn_like
from course_utils.schedules import Schedule, karras_grid


def heun(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = 18,
    start: int | None = None,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    order: int = 2,
    churn: float = 0.0,
    churn_from: float = 0.0,
    churn_to: float = math.inf,
    churn_noise: float = 1.0,
    y: Tensor | None = None,
    clip: bool = False,
    generator: Generators = None,
) -> Iterator[Step]:
    """Heun's method on the ODE of Karras et al. 2022 (Algorithm 1), stochastic with churn > 0 (Algorithm 2).

    In their coordinates x = x_t / sqrt(alpha_bar_t) = x_0 + sigma eps, of which dx/dsigma is eps_hat. The steps lie on
    `schedules.karras_grid`, from the noise of x_T down to that of t = 1, and then 0; the model is asked at fractions of
    levels. Every step but the last asks it twice: 2 steps - 1 evaluations; order = 1 is Euler's method, once each.

    x_T: (B, ...) standard normal noise, or with `start` what stands at that level, 1..T. Without `start` it counts as
    noise of sigma_max at the most, since the levels above hold no picture. churn, churn_from, churn_to, churn_noise:
    S_churn, S_tmin, S_tmax, S_noise; before each step at a sigma within from..to the noise grows by the factor
    1 + min(churn / steps, sqrt(2) - 1), but never above that of t = T. y: (B,) labels or None. clip: keep x0_hat in
    [-1, 1], and eps_hat in step with it. steps: None for 18.
    Yields steps + 1 records, whose t is a fraction, but two from a start at level 1. Raises ValueError for a start that
    is no level, fewer than 1 step, another order, a negative churn or noise, and as `schedules.karras_grid`.
    """
    steps = _whole(18 if steps is None else steps)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    if not (churn >= 0 and churn_noise >= 0):
        raise ValueError(f"churn and churn_noise cannot be negative, got {churn} and {churn_noise}")
    if not sigma_max > 0:
        raise ValueError(f"sigma_max must be positive, got {sigma_max}")
    ratio = schedule.noise_ratio.cpu().double()  # on the CPU first: MPS has no float64
    first = float(ratio[check_level(start, schedule)])
    first, last, top = min(first, sigma_max) if start is None else first, float(ratio[1]), float(ratio[-1])
    grid = [first] if steps == 1 or first <= last else karras_grid(steps, last, first, rho).tolist()
    gamma = min(churn / steps, math.sqrt(2) - 1)
    x = x_T * math.sqrt(1 + first**2)
    yield Step(_level(first, schedule), x_T, None, None)
    for sigma, before in pairwise([*grid, 0.0]):
        if gamma > 0 and churn_from <= sigma <= churn_to:
            raised = max(sigma, min(sigma * (1 + gamma), top))  # rounding may leave the first sigma above the top
            x = x + math.sqrt(raised**2 - sigma**2) * churn_noise * randn_like(x, generator)
            sigma = raised
        prediction = _at(model, x, sigma, schedule, y, clip)
        slope = prediction.eps_hat
        x_before = x + (before - sigma) * slope
        if order == 2 and before > 0:
            slope = (slope + _at(model, x_before, before, schedule, y, clip).eps_hat) / 2
            x_before = x + (before - sigma) * slope
        x = x_before
        yield Step(_level(before, schedule), x / math.sqrt(1 + before**2), *prediction)


def euler_flow(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = 50,
    start: int | None = None,
    y: Tensor | None = None,
    clip: bool = False,
    generator: Generators = None,
) -> Iterator[Step]:
    """Euler's method on the straight path z = (1 - s) x_0 + s eps, along its velocity eps_hat - x0_hat.

    Source: Liu et al. 2023, section 2.1, whose time runs the other way. The steps are even in s = sigma / (1 + sigma),
    with sigma the schedule's noise ratio; the model, however it was trained, is asked at fractions of levels, but never
    at less noise than that of t = 1.
    One such step ends where `ddim`'s does, which moves along the same straight line: only their levels differ.

    x_T, start, y, clip as for `heun`; steps: network evaluations, None for 50. Deterministic: `generator` is there
    because every sampler takes one. Yields steps + 1 records, whose t is a fraction. Raises ValueError for a start that
    is no level, or fewer than 1 step.
    """
    steps = _whole(50 if steps is None else steps)
    first = float(schedule.noise_ratio[check_level(start, schedule)])
    last = float(schedule.noise_ratio[1])
    grid = torch.linspace(first / (1 + first), 0, steps + 1, dtype=torch.float64)[:-1].clamp(min=last / (1 + last))
    z = x_T * (math.sqrt(1 + first**2) / (1 + first))
    yield Step(_level(first, schedule), x_T, None, None)
    for s, before in pairwise([*grid.tolist(), 0.0]):
        sigma, sigma_before = s / (1 - s), before / (1 - before)
        x0_hat, eps_hat = _at(model, z / (1 - s), sigma, schedule, y, clip)
        z = z + (before - s) * (eps_hat - x0_hat)
        x = z * ((1 + sigma_before) / math.sqrt(1 + sigma_before**2))
        yield Step(_level(sigma_before, schedule), x, x0_hat, eps_hat)


def _whole(steps: int) -> int:
    if not 1 <= steps < math.inf or steps != int(steps):
        raise ValueError(f"steps must be a whole number of at least 1, got {steps}")
    return int(steps)


def _fraction(sigma: float, schedule: Schedule) -> float:
    return float(schedule.level(schedule.beta.new_tensor([sigma])))


def _level(sigma: float, schedule: Schedule) -> float:
    return _fraction(sigma, schedule) if sigma > 0 else 0


def _at(model: Model, x: Tensor, sigma: float, schedule: Schedule, y: Tensor | None, clip: bool):
    """Ask the model about x = x_0 + sigma eps."""
    return predicted(model, x / math.sqrt(1 + sigma**2), _fraction(sigma, schedule), schedule, y, clip)
