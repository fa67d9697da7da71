"""The training loop, a generator: it yields after every optimiser and EMA update, and the caller decides what to do."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from course_utils.presets import preset


class TrainStep(NamedTuple):
    """What one update did. seconds: since training began; examples_per_s: over the run so far."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    examples_per_s: float
    seconds: float


class EMA:
    """Exponential moving average of a model's weights; `EMA.model` is the averaged copy, used for sampling.

    Source: Ho et al. 2020, appendix B. The decay ramps up as min(decay, (1 + step) / (10 + step)), so that the random
    first weights are forgotten in short runs too. Raises ValueError for a decay outside [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"the EMA decay must lie in [0, 1), got {decay}")
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards `model`, once per optimiser step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        ours, theirs = list(self.model.parameters()), [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for average, current in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(current)


class NonFiniteLossError(FloatingPointError):
    """Training met a loss or gradient that is not finite; the weights are those before the bad step."""


def batches(data: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of `data` (N, ...) without end, in a new random order each epoch; an incomplete one is dropped.

    Raises ValueError when the batch is larger than the data or smaller than 1.
    """
    if not 1 <= batch_size <= len(data):
        raise ValueError(f"batch_size must lie in 1..{len(data)} (the number of examples), got {batch_size}")
    while True:
        order = torch.randperm(len(data), generator=generator).to(data.device)
        for start in range(0, len(data) - batch_size + 1, batch_size):
            yield data[order[start : start + batch_size]]


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, Tensor], Tensor],
    data: Iterator[Tensor],
    steps: int,
    *,
    lr: float = 1e-3,
    warmup: int = 0,
    decay: bool = False,
    clip: float | None = 1.0,
    ema: EMA | None = None,
) -> Iterator[TrainStep]:
    """Train `model` with AdamW, yielding a `TrainStep` after each of `steps` updates of the weights and the average.

    loss(model, batch) returns a scalar; `data` yields batches. lr rises linearly for `warmup` steps and then stays, or
    falls to zero along a half cosine with `decay`. clip bounds the gradient's L2 norm (None: no bound).
    Raises ValueError for steps < 1 or lr <= 0, NonFiniteLossError (before the weights are touched) when the loss or the
    gradient is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not lr > 0:
        raise ValueError(f"lr must be positive, got {lr}")
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    optimiser = torch.optim.AdamW(parameters, lr=lr, fused=fused)
    model.train()
    began, seen = time.perf_counter(), 0
    for step in range(1, steps + 1):
        now = lr * _ramp(step, steps, warmup, decay)
        for group in optimiser.param_groups:
            group["lr"] = now
        batch = next(data)
        value = loss(model, batch)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
        value, norm = value.item(), norm.item()
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"step {step}: the loss is {value} and the gradient norm {norm} at lr {now:.3g}; the weights were not "
                "changed by this step. Try a smaller lr, a longer warm-up, or clip=1.0, and look for inputs that are "
                "not finite."
            )
        optimiser.step()
        if ema is not None:
            ema.update(model)
        seen += len(batch)
        seconds = time.perf_counter() - began
        yield TrainStep(step, value, now, norm, seen / seconds, seconds)


def progress(records: Iterator[TrainStep], steps: int) -> Iterator[TrainStep]:
    """Pass on the records of `fit`, showing a bar with the loss and the time left; quiet under the ci preset."""
    # text on standard output: it survives in a saved notebook, where a widget would leave a hole
    bar = tqdm(records, total=steps, file=sys.stdout, ncols=88, mininterval=0.5, disable=preset() == "ci")
    for record in bar:
        bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
        yield record


def _ramp(step: int, steps: int, warmup: int, decay: bool) -> float:
    if step <= warmup:
        return step / warmup
    if not decay:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup + 1)))
