"""The training loop, a generator: it yields after every optimiser and EMA update, and the caller decides what to do."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from course_utils import checkpoints
from course_utils.presets import preset
from course_utils.state import Player, RunState


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

    Source: Ho et al. 2020, appendix B. The decay ramps up as min(decay, (1 + step) / (10 + step)), which is that of
    TensorFlow's ExponentialMovingAverage, so that the random first weights are forgotten in short runs too.
    Raises ValueError for a decay outside [0, 1).
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
    loss: Callable[[nn.Module, Any], Tensor],
    data: Iterator | Callable[[int], Any],
    steps: int,
    *,
    lr: float = 1e-3,
    warmup: int = 0,
    decay: bool = False,
    clip: float | None = 1.0,
    weight_decay: float = 0.01,
    ema: EMA | None = None,
    precision: str = "float32",
    state: Path | str | None = None,
    every: float = 120.0,
    accelerator: Any = None,
) -> Iterator[TrainStep]:
    """Train `model` with AdamW, yielding a `TrainStep` after each update of the weights and the average, up to `steps`.

    loss(model, batch) returns a scalar. data: an iterator of batches, or a function from the step's number (1, 2, ...)
    to its batch. lr rises linearly for `warmup` steps and then stays, or falls to zero along a half cosine with
    `decay`. clip bounds the gradient's L2 norm (None: no bound). weight_decay: AdamW's
    (Loshchilov & Hutter 2019). precision: "float32", or "bfloat16" for autocast.

    state: a file that holds the whole run (weights, average, optimiser, history), written every `every` seconds, at
    the end and when the caller stops, replaced in one piece so that a kill leaves a whole one. When it exists the run
    goes on from it; with `data` as a function of the step (and a loss whose randomness comes from its batch) the
    weights end up bit for bit as in an uninterrupted run. accelerator: an `accelerate.Accelerator` for several
    processes, each with its own share of every batch.

    Raises ValueError for steps < 1, lr <= 0, an unknown precision or a state of another model; NonFiniteLossError
    (before the weights are touched, the state saved) when the loss or the gradient is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not lr > 0:
        raise ValueError(f"lr must be positive, got {lr}")
    player = Player("model", model, lr, weight_decay=weight_decay, precision=precision, accelerator=accelerator)
    run = RunState([player], ema, state, columns=3, accelerator=accelerator)
    batch_of = data if callable(data) else lambda step: next(data)
    model.train()
    began, before, saved = time.perf_counter(), run.seconds, time.perf_counter()
    try:
        for step in range(run.step + 1, steps + 1):
            now = lr * _ramp(step, steps, warmup, decay)
            batch = batch_of(step)
            with player.autocast():
                value = loss(player.model, batch)
            value, norm = player.gradients(value, clip)
            if not (math.isfinite(value) and math.isfinite(norm)):
                kept = f" and are kept in {state}" if state else ""
                raise NonFiniteLossError(
                    f"step {step}: the loss is {value} and the gradient norm {norm} at lr {now:.3g}; the weights were "
                    f"not changed by this step{kept}. Try a smaller lr, a longer warm-up, or clip=1.0, and look for "
                    "inputs that are not finite."
                )
            run.torn = True  # an interrupt between here and the note must not be written down
            player.step(now)
            if ema is not None:
                ema.update(model)
            seconds = before + time.perf_counter() - began
            run.note(step, seconds, _size(batch), value, now, norm)
            run.torn = False
            if time.perf_counter() - saved > every:
                run.save()
                saved = time.perf_counter()
            yield TrainStep(step, value, now, norm, run.seen / seconds, seconds)
    finally:  # also when the caller breaks off, or an error stops the run
        if not run.torn:
            run.save()


def history(state: Path | str) -> Tensor:
    """Return what a run noted at every step so far, float64: (steps, 4) of loss, learning rate, gradient norm, seconds.

    state: the file that `fit` keeps; `adversarial.fit` notes both losses, both mean logits and seconds. Raises
    as `checkpoints.read`.
    """
    return checkpoints.read(Path(state))[0]["history"]


def _size(batch: Any) -> int:
    return len(batch) if isinstance(batch, Tensor) else len(batch[0])


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
