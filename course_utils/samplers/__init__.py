"""Samplers as generators: each yields a `Step` per level, from pure noise (t = T) down to the sample (t = 0)."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from course_utils.diffusion import Model
from course_utils.guidance import guided
from course_utils.samplers.chains import ddim, ddim_step, ddpm, dpm_solver_pp
from course_utils.samplers.ode import euler_flow, heun
from course_utils.samplers.steps import (
    Generators,
    Step,
    check_level,
    check_steps,
    final,
    predicted,
    randn_like,
    spaced,
    times,
)
from course_utils.schedules import Schedule

__all__ = [
    "SAMPLERS",
    "TITLES",
    "Generators",
    "Step",
    "check_level",
    "check_steps",
    "ddim",
    "ddim_step",
    "ddpm",
    "dpm_solver_pp",
    "euler_flow",
    "evaluations_of",
    "example_generators",
    "final",
    "guided",
    "heun",
    "named",
    "predicted",
    "randn_like",
    "sample",
    "spaced",
    "steps_for",
    "times",
]

SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp": dpm_solver_pp,
    "heun": heun,
    "euler_flow": euler_flow,
}


TITLES = {
    "ddpm": "ancestral (DDPM)",
    "ddim": "DDIM",
    "dpm_solver_pp": "DPM-Solver++",
    "heun": "Heun",
    "euler_flow": "Euler on flow",
}


def steps_for(sampler: str, evaluations: int) -> int:
    """Return the most steps that a sampler takes in so many evaluations: Heun takes two in all but the last."""
    return (evaluations + 1) // 2 if sampler == "heun" else evaluations


def evaluations_of(sampler: str, steps: int) -> int:
    """Return how many evaluations so many steps of a sampler take."""
    return 2 * steps - 1 if sampler == "heun" else steps


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
