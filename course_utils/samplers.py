"""Samplers as generators: each yields a `Step` per level, from pure noise (t = T) down to the sample (t = 0)."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.diffusion import Model, Prediction, posterior_mean, predict
from course_utils.guidance import guided as guided
from course_utils.schedules import Schedule

# one generator for the whole batch, or one per example: then the noise of an example does not depend on its batch
Generators = torch.Generator | Sequence[torch.Generator] | None


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


def times(t: int, x: Tensor) -> Tensor:
    """Return one timestep t for each example of x, (B,)."""
    return torch.full((len(x),), t, dtype=torch.long, device=x.device)


def predicted(model: Model, x: Tensor, t: int, schedule: Schedule, y: Tensor | None, clip: bool) -> Prediction:
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


def _lambda(schedule: Schedule) -> Tensor:
    """Half the log of the signal-to-noise ratio, falling with t, (T+1,); infinite at t = 0 (Lu et al. 2022b)."""
    return schedule.log_snr / 2


def spaced(steps: int, start: int, schedule: Schedule, spacing: str) -> list[int]:
    """Return start = levels[0] > ... > levels[steps] = 0, evenly spread over t or, all but the 0, over lambda."""
    if spacing == "t":
        return torch.linspace(start, 0, steps + 1, dtype=torch.float64).round().long().tolist()
    if spacing != "lambda":
        raise ValueError(f"spacing must be 't' or 'lambda', got {spacing!r}")
    lambda_ = _lambda(schedule)[1 : start + 1].double().cpu()
    wanted = torch.linspace(float(lambda_[-1]), float(lambda_[0]), steps, dtype=torch.float64)
    levels = (lambda_ - wanted[:, None]).abs().argmin(1) + 1
    # two wishes may fall on one level: each then moves down by one, and stops where those below it need the room
    i = torch.arange(steps)
    return [*torch.maximum((levels + i).cummin(0).values - i, steps - i).tolist(), 0]


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
    levels, lambda_ = spaced(steps, start, schedule, spacing), _lambda(schedule)
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


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {"ddpm": ddpm, "ddim": ddim, "dpm_solver_pp": dpm_solver_pp}


def named(sampler: str) -> Callable[..., Iterator[Step]]:
    """Return the sampler of this name; raises ValueError naming those in SAMPLERS for another."""
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}")
    return SAMPLERS[sampler]


def example_generators(seed: int, start: int, stop: int) -> list[torch.Generator]:
    """Return one CPU generator for each of the examples start..stop-1 of a run with this seed."""
    # torch keeps 32 bits of a seed: counting up from a scattered start, no two examples of a run share theirs
    first = int(np.random.SeedSequence(seed).generate_state(1)[0])
    return [torch.Generator().manual_seed((first + i) % 2**32) for i in range(start, stop)]


def sample(
    model: Model,
    schedule: Schedule,
    n: int,
    shape: Sequence[int],
    *,
    sampler: str = "ddim",
    steps: int | None = None,
    y: Tensor | Sequence[int] | int | None = None,
    clip: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str | None = None,
    **options,
) -> Tensor:
    """Draw n examples of the given shape in batches; returns (n, *shape) on the CPU.

    sampler: a name in SAMPLERS, which takes `steps` (None: its default), `clip` and further `options` (variance, eta,
    spacing, order). y: labels (n,), one label for all, shares of classes (n, classes) where the model takes them, or
    None. The noise of example i, at the start and on the way, depends on seed and i alone: the same for any n,
    batch_size and device, so that results differ by rounding only. The model stays in the mode (train or eval) that it
    is in. device: None for the schedule's.
    Raises ValueError for an unknown sampler, n, batch_size or seed out of range, n labels that are not n, and as the
    sampler.
    """
    run = named(sampler)
    if n < 1 or batch_size < 1 or seed < 0:
        raise ValueError(f"n and batch_size must be at least 1 and seed at least 0, got {n}, {batch_size} and {seed}")
    if y is not None:
        y = torch.as_tensor(y)
        y = y.expand(n) if y.ndim == 0 else y
    if y is not None and y.shape != (n,) and not (y.is_floating_point() and y.shape[:-1] == (n,)):
        raise ValueError(f"y must hold one label per example: expected shape ({n},), got {tuple(y.shape)}")
    options |= {"clip": clip} | ({} if steps is None else {"steps": steps})
    schedule = schedule.to(device)
    images = []
    for start in range(0, n, batch_size):
        stop = min(start + batch_size, n)
        generators = example_generators(seed, start, stop)
        x_T = randn_like(schedule.beta.new_empty(stop - start, *shape), generators)
        labels = None if y is None else y[start:stop].to(schedule.device)
        images.append(final(run(model, schedule, x_T, y=labels, generator=generators, **options)).cpu())
    return torch.cat(images)
