"""Samplers that step from level to level of the schedule: DDPM, DDIM and DPM-Solver++."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_utils.diffusion import Model, posterior_mean
from course_utils.samplers.steps import (
    Generators,
    Step,
    check_level,
    check_steps,
    half_log_snr,
    predicted,
    randn_like,
    spaced,
    times,
)
from course_utils.schedules import Schedule


def ddpm(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = None,
    start: int | None = None,
    y: Tensor | None = None,
    clip: bool = False,
    variance: str = "beta_tilde",
    generator: Generators = None,
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2): T steps of posterior mean plus noise; none at t = 1.

    x_T: (B, ...) standard normal noise, or with `start` what stands at that level, 1..T. y: (B,) labels or None. clip:
    keep x0_hat in [-1, 1], as the code release does for images. variance: "beta" or "beta_tilde", the two choices of
    section 3.2.
    Yields start + 1 records. Raises ValueError for another variance, a start that is no level, or for steps other than
    start (None: all T of them).
    """
    if variance not in ("beta", "beta_tilde"):
        raise ValueError(f"variance must be 'beta' or 'beta_tilde', got {variance!r}")
    start = check_level(start, schedule)
    if steps not in (None, start):
        raise ValueError(
            f"ddpm visits every level: steps must be {start} (where it starts) or None, got {steps}. "
            "For fewer steps take ddim (eta=1 adds noise as ddpm does) or dpm_solver_pp."
        )
    x = x_T
    yield Step(start, x, None, None)
    for t in range(start, 0, -1):
        prediction = predicted(model, x, t, schedule, y, clip)
        x = posterior_mean(x, times(t, x), prediction.x0_hat, schedule)
        if t > 1:
            x = x + getattr(schedule, variance)[t].sqrt() * randn_like(x, generator)
        yield Step(t - 1, x, *prediction)


def ddim_step(
    x0_hat: Tensor,
    eps_hat: Tensor,
    t: int,
    before: int,
    schedule: Schedule,
    eta: float = 0.0,
    generator: Generators = None,
) -> Tensor:
    """Return x at level `before` < t from the predictions at level t (Song et al. 2021, Eqs. 12 and 16)."""
    alpha = schedule.alpha_bar[t] / schedule.alpha_bar[before]
    sigma_before, sigma = schedule.sigma[before], schedule.sigma[t]
    std = eta * sigma_before / sigma * (1 - alpha).clamp(min=0).sqrt()
    x = schedule.alpha_bar[before].sqrt() * x0_hat + (sigma_before**2 - std**2).clamp(min=0).sqrt() * eps_hat
    return x + std * randn_like(x, generator) if eta > 0 and before > 0 else x


def ddim(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = None,
    start: int | None = None,
    spacing: str = "t",
    eta: float = 0.0,
    y: Tensor | None = None,
    clip: bool = False,
    generator: Generators = None,
) -> Iterator[Step]:
    """Sampling on a subsequence of the levels (Song et al. 2021, Eq. 12); eta = 0 is deterministic, eta = 1 ancestral.

    x_T: (B, ...) standard normal noise, or with `start` what stands at that level, 1..T (None: T). steps: network
    evaluations, 1..start (None: start). spacing: their levels lie evenly in "t", or in "lambda", the log of the
    signal-to-noise ratio, which puts more of them at small t. y: (B,) labels or None. clip: keep x0_hat in [-1, 1], and
    eps_hat in step with it.
    Yields steps + 1 records. Raises ValueError for a start that is no level, steps outside 1..start, eta outside [0, 1]
    or another spacing.
    """
    start = check_level(start, schedule)
    steps = check_steps(steps, start, schedule)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = spaced(steps, start, schedule, spacing)
    x = x_T
    yield Step(start, x, None, None)
    for t, before in pairwise(levels):
        x0_hat, eps_hat = predicted(model, x, t, schedule, y, clip)
        x = ddim_step(x0_hat, eps_hat, t, before, schedule, eta, generator)
        yield Step(before, x, x0_hat, eps_hat)


def dpm_solver_pp(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = 20,
    start: int | None = None,
    spacing: str = "t",
    order: int = 2,
    y: Tensor | None = None,
    clip: bool = False,
    generator: Generators = None,
) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022b, Algorithm 2): ddim whose x0_hat is extrapolated from the last two evaluations.

    x_T, steps, start, spacing, y and clip as for `ddim`. The first step, which has no past, and the last, to t = 0, are
    of first order; with order = 1 every step is, and that is ddim. Deterministic: `generator` is there because every
    sampler takes one.
    Yields steps + 1 records, whose x0_hat is the network's. Raises ValueError as `ddim`, or for another order.
    """
    start = check_level(start, schedule)
    steps = check_steps(steps, start, schedule)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    levels, lambda_ = spaced(steps, start, schedule, spacing), half_log_snr(schedule)
    x, h_before, x0_before = x_T, None, None
    yield Step(start, x, None, None)
    for t, before in pairwise(levels):
        x0_hat, eps_hat = predicted(model, x, t, schedule, y, clip)
        h = lambda_[before] - lambda_[t]
        D = x0_hat
        if order == 2 and x0_before is not None and before > 0:
            D = x0_hat + h / (2 * h_before) * (x0_hat - x0_before)
        x = schedule.sigma[before] / schedule.sigma[t] * x - schedule.alpha_bar[before].sqrt() * torch.expm1(-h) * D
        h_before, x0_before = h, x0_hat
        yield Step(before, x, x0_hat, eps_hat)
