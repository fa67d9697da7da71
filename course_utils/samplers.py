"""Samplers as generators: each yields a `Step` per level, from pure noise (t = T) down to the sample (t = 0)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.diffusion import Model, Prediction, at, posterior_mean, predict
from course_utils.schedules import Schedule


class Step(NamedTuple):
    """Where the chain stands: x is x_t, (B, ...); the predictions are those that led to it, None at the start."""

    t: int
    x: Tensor
    x0_hat: Tensor | None
    eps_hat: Tensor | None


def final(steps: Iterator[Step]) -> Tensor:
    """Run a sampler to its end and return x_0, shape (B, ...)."""
    for step in steps:
        x = step.x
    return x


def _predict(model: Model, x: Tensor, t: int, schedule: Schedule, y: Tensor | None) -> tuple[Tensor, Prediction]:
    times = torch.full((len(x),), t, dtype=torch.long, device=x.device)
    with torch.no_grad():  # inside the loop: a decorator or an outer block would leak out of a paused generator
        return times, predict(model, x, times, schedule, y)


def ddpm(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    y: Tensor | None = None,
    variance: str = "beta_tilde",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, Algorithm 2): T steps of posterior mean plus noise; none at t = 1.

    x_T: (B, ...) standard normal noise. variance: "beta" or "beta_tilde", the two choices of section 3.2.
    Yields T + 1 records. Raises ValueError for another variance.
    """
    if variance not in ("beta", "beta_tilde"):
        raise ValueError(f"variance must be 'beta' or 'beta_tilde', got {variance!r}")
    x = x_T
    yield Step(schedule.T, x, None, None)
    for t in range(schedule.T, 0, -1):
        times, prediction = _predict(model, x, t, schedule, y)
        x = posterior_mean(x, times, prediction.x0_hat, schedule)
        if t > 1:
            z = torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
            x = x + getattr(schedule, variance)[t].sqrt() * z
        yield Step(t - 1, x, *prediction)


def ddim(
    model: Model,
    schedule: Schedule,
    x_T: Tensor,
    *,
    steps: int | None = None,
    eta: float = 0.0,
    y: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Sampling on a subsequence of the levels (Song et al. 2021, Eq. 12); eta = 0 is deterministic, eta = 1 ancestral.

    x_T: (B, ...) standard normal noise. steps: network evaluations, 1..T, spread evenly over the levels (None: T).
    Yields steps + 1 records. Raises ValueError for steps outside 1..T or eta outside [0, 1].
    """
    steps = schedule.T if steps is None else steps
    if not 1 <= steps <= schedule.T:
        raise ValueError(f"steps must lie in 1..{schedule.T} (the schedule's T), got {steps}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = torch.linspace(schedule.T, 0, steps + 1).round().long().tolist()
    x = x_T
    yield Step(schedule.T, x, None, None)
    for t, before in pairwise(levels):
        times, (x0_hat, eps_hat) = _predict(model, x, t, schedule, y)
        alpha = at(schedule.alpha_bar, times, x) / at(schedule.alpha_bar, times * 0 + before, x)
        sigma_before, sigma = schedule.sigma[before], schedule.sigma[t]
        std = eta * sigma_before / sigma * (1 - alpha).clamp(min=0).sqrt()  # Eq. 16
        x = schedule.alpha_bar[before].sqrt() * x0_hat + (sigma_before**2 - std**2).clamp(min=0).sqrt() * eps_hat
        if eta > 0 and before > 0:
            x = x + std * torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
        yield Step(before, x, x0_hat, eps_hat)
