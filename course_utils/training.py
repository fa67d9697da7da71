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

PRECISIONS = ("float32", "bfloat16")


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
    ema: EMA | None = None,
    precision: str = "float32",
    state: Path | str | None = None,
    every: float = 120.0,
    accelerator: Any = None,
) -> Iterator[TrainStep]:
    """Train `model` with AdamW, yielding a `TrainStep` after each update of the weights and the average, up to `steps`.

    loss(model, batch) returns a scalar. data: an iterator of batches, or a function from the step's number (1, 2, ...)
    to its batch. lr rises linearly for `warmup` steps and then stays, or falls to zero along a half cosine with
    `decay`. clip bounds the gradient's L2 norm (None: no bound). precision: "float32", or "bfloat16" for autocast.

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
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    run = _Run(model, lr, ema, state, accelerator)
    batch_of = data if callable(data) else lambda step: next(data)
    model.train()
    began, before, saved = time.perf_counter(), run.seconds, time.perf_counter()
    try:
        for step in range(run.step + 1, steps + 1):
            now = lr * _ramp(step, steps, warmup, decay)
            batch = batch_of(step)
            with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
                value = loss(run.model, batch)
            value, norm = run.gradients(value, clip)
            if not (math.isfinite(value) and math.isfinite(norm)):
                kept = f" and are kept in {state}" if state else ""
                raise NonFiniteLossError(
                    f"step {step}: the loss is {value} and the gradient norm {norm} at lr {now:.3g}; the weights were "
                    f"not changed by this step{kept}. Try a smaller lr, a longer warm-up, or clip=1.0, and look for "
                    "inputs that are not finite."
                )
            run.torn = True  # an interrupt between here and the note must not be written down
            run.update(now)
            seconds = before + time.perf_counter() - began
            run.note(step, value, now, norm, seconds, _size(batch))
            run.torn = False
            if state and time.perf_counter() - saved > every:
                run.save()
                saved = time.perf_counter()
            yield TrainStep(step, value, now, norm, run.seen / seconds, seconds)
    finally:  # also when the caller breaks off, or an error stops the run
        if state and not run.torn:
            run.save()


class _Run:
    """What changes while a model trains, and how it is written down."""

    def __init__(self, model: nn.Module, lr: float, ema: EMA | None, path: Path | str | None, accelerator: Any):
        self.plain, self.ema, self.accelerator = model, ema, accelerator
        self.path = Path(path) if path else None
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.AdamW(self.parameters, lr=lr, fused=fused)
        self.step = self.seen = 0
        self.seconds, self.torn = 0.0, False
        self.history: list[tuple[float, ...]] = []
        if self.path and self.path.is_file():
            self.load()
        self.model = model
        if accelerator is not None:
            self.model = accelerator.prepare_model(model)
            if self.model is not model:  # the wrapper of several processes hides what the network predicts
                self.model.predicts = model.predicts

    def gradients(self, value: Tensor, clip: float | None) -> tuple[float, float]:
        """Back-propagate; return the loss (mean over the processes) and the L2 norm of the gradient."""
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if clip is None else clip)
        value = value.detach()
        if self.accelerator is not None:
            value = self.accelerator.reduce(value, "mean")
        return value.item(), norm.item()

    def update(self, lr: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        if self.ema is not None:
            self.ema.update(self.plain)

    def note(self, step: int, loss: float, lr: float, norm: float, seconds: float, examples: int) -> None:
        processes = 1 if self.accelerator is None else self.accelerator.num_processes
        self.step, self.seconds, self.seen = step, seconds, self.seen + examples * processes
        self.history.append((loss, lr, norm, seconds))

    def save(self) -> None:
        if self.accelerator is not None and not self.accelerator.is_main_process:
            return
        parts = {"model": self.plain.state_dict()}
        if self.ema is not None:
            parts["ema"] = self.ema.model.state_dict()
        for i, values in self.optimiser.state_dict()["state"].items():
            parts[f"optimiser.{i}"] = values
        tensors = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, 4)
        tensors["rng"] = torch.get_rng_state()  # dropout draws from it
        facts = {"step": self.step, "seen": self.seen, "seconds": self.seconds}
        facts["ema_steps"] = self.ema.steps if self.ema is not None else 0
        checkpoints.write(self.path, tensors, facts)

    def load(self) -> None:
        tensors, facts = checkpoints.read(self.path)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}}
        for name, value in tensors.items():
            for part in parts:
                if name.startswith(part + "."):
                    parts[part][name.removeprefix(part + ".")] = value
        wanted = {"model": self.plain, "ema": self.ema.model} if self.ema is not None else {"model": self.plain}
        for part, module in wanted.items():
            checkpoints.fill(module, parts[part], self.path)
        moments = self.optimiser.state_dict()
        for i, parameter in enumerate(self.parameters):
            names = [name for name in tensors if name.startswith(f"optimiser.{i}.")]
            if names:
                values = {name.rsplit(".", 1)[1]: tensors[name] for name in names}
                # the fused update pairs memory with memory: moments must lie as their weights do (channels_last)
                moments["state"][i] = {
                    k: torch.empty_like(parameter).copy_(v) if v.shape == parameter.shape else v
                    for k, v in values.items()
                }
        self.optimiser.load_state_dict(moments)
        torch.set_rng_state(tensors["rng"])
        self.step, self.seen, self.seconds = facts["step"], facts["seen"], facts["seconds"]
        self.history = [tuple(row) for row in tensors["history"].tolist()]
        if self.ema is not None:
            self.ema.steps = facts["ema_steps"]


def history(state: Path | str) -> Tensor:
    """Return loss, learning rate, gradient norm and seconds since the start of every step so far: (steps, 4) float64.

    state: the file that `fit` keeps. Raises as `checkpoints.read`.
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
