"""What samplers share: their records, levels and noise."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.diffusion import Model, Prediction, predict
from course_utils.schedules import Schedule

# one generator for the whole batch, or one per example: then the noise of an example does not depend on its batch
Generators = torch.Generator | Sequence[torch.Generator] | None


class Step(NamedTuple):
    """Where the chain stands: x is x_t, (B, ...); the predictions are those that led to it, None at the start.

    t: the level, 0 at the end; a float of samplers that also stop between two (`Schedule.ratio_at`).
    """

    t: int | float
    x: Tensor
    x0_hat: Tensor | None
    eps_hat: Tensor | None


def final(steps: Iterator[Step]) -> Tensor:
    """Run a sampler to its end and return x_0, shape (B, ...)."""
    for step in steps:
        x = step.x
    return x


def times(t: int | float, x: Tensor) -> Tensor:
    """Return one timestep t for each example of x, (B,): whole numbers for an int, fractions for a float."""
    fraction = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.full((len(x),), t, dtype=fraction if isinstance(t, float) else torch.long, device=x.device)


def predicted(model: Model, x: Tensor, t: int | float, schedule: Schedule, y: Tensor | None, clip: bool) -> Prediction:
    """Run the network on x_t without a gradient; see `diffusion.predict`."""
    with torch.no_grad():  # inside the loop: a decorator or an outer block would leak out of a paused generator
        return predict(model, x, times(t, x), schedule, y, clip)


def randn_like(x: Tensor, generator: Generators) -> Tensor:
    """Return standard normal noise shaped like x, on its device."""
    if generator is None or isinstance(generator, torch.Generator):
        return torch.randn(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    # drawn where each generator lives, so that one seed means the same images on every device
    draws = [torch.randn(x.shape[1:], dtype=x.dtype, device=g.device, generator=g) for g in generator]
    return torch.stack(draws).to(x.device)


def check_level(t: int | None, schedule: Schedule, what: str = "start") -> int:
    """Return the level t as an int, the schedule's T for None; raises ValueError for one that is not in 1..T."""
    t = schedule.T if t is None else t
    if not 1 <= t <= schedule.T or t != int(t):  # in this order: nan and infinity are no int
        raise ValueError(f"{what} must be a level of the schedule, a whole number in 1..{schedule.T}; got {t}")
    return int(t)


def check_steps(steps: int | None, start: int, schedule: Schedule) -> int:
    """Return steps as an int, `start` for None; raises ValueError for a number not in 1..start, or not whole."""
    steps = start if steps is None else steps
    if not 1 <= steps <= start or steps != int(steps):
        where = "the schedule's T" if start == schedule.T else "the level to start from"
        raise ValueError(f"steps must lie in 1..{start} ({where}), a whole number; got {steps}")
    return int(steps)


def half_log_snr(schedule: Schedule) -> Tensor:
    """Half the log of the signal-to-noise ratio, falling with t, (T+1,); infinite at t = 0 (Lu et al. 2022b)."""
    return schedule.log_snr / 2


def spaced(steps: int, start: int, schedule: Schedule, spacing: str) -> list[int]:
    """Return start = levels[0] > ... > levels[steps] = 0, evenly spread over t or, all but the 0, over lambda."""
    if spacing == "t":
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64).round().long().tolist()
    if spacing != "lambda":
        raise ValueError(f"spacing must be 't' or 'lambda', got {spacing!r}")
    lambda_ = half_log_snr(schedule)[1 : start + 1].cpu().double()  # in this order: MPS has no float64
    wanted = torch.linspace(float(lambda_[-1]), float(lambda_[0]), steps, dtype=torch.float64)
    levels = (lambda_ - wanted[:, None]).abs().argmin(1) + 1
    # two wishes may fall on one level: each then moves down by one, and stops where those below it need the room
    i = torch.arange(steps)
    return [*torch.maximum((levels + i).cummin(0).values - i, steps - i).tolist(), 0]
