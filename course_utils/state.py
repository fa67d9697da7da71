"""What changes while networks train, and how it is written down so that a run can go on bit for bit."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils import checkpoints

PRECISIONS = ("float32", "bfloat16")


class Player:
    """A network and its AdamW optimiser. `model` is what computes: the network, or its wrapper for several processes.

    name: prefix of its entries in the state. lr: the learning rate to begin with; `step` may change it. betas: decay
    rates of the optimiser's two moments. weight_decay: AdamW's. precision: one of PRECISIONS, what `autocast`
    computes in. Raises ValueError for another.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        lr: float,
        betas=(0.9, 0.999),
        weight_decay: float = 0.01,
        precision: str = "float32",
        accelerator: Any = None,
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
        self.precision = precision
        self.name, self.network, self.lr = name, network, lr
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        fused = self.device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.AdamW(self.parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)
        self.model, self.accelerator = network, accelerator
        if accelerator is not None:
            self.model = accelerator.prepare_model(network)
            if self.model is not network and hasattr(network, "predicts"):  # the wrapper hides it
                self.model.predicts = network.predicts

    def autocast(self) -> torch.autocast:
        """Return a context in which networks compute in this player's precision."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def gradients(self, value: Tensor, clip: float | None) -> tuple[float, float]:
        """Back-propagate; return the loss (mean over the processes) and the L2 norm of the gradient."""
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if clip is None else clip)
        value = value.detach()
        if self.accelerator is not None:
            value = self.accelerator.reduce(value, "mean")
        return value.item(), norm.item()

    def step(self, lr: float) -> None:
        """Update the weights by the gradients, with this learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and moments under the names that `load` expects."""
        parts = {f"{self.name}.{name}": value for name, value in self.network.state_dict().items()}
        for i, values in self.optimiser.state_dict()["state"].items():
            parts |= {f"optimiser.{self.name}.{i}.{name}": value for name, value in values.items()}
        return parts

    def load(self, tensors: dict[str, Tensor], path: Path) -> None:
        """Put back what `tensors` returned; raises ValueError naming what does not fit."""
        checkpoints.fill(self.network, part(tensors, self.name), path)
        moments = self.optimiser.state_dict()
        for i, parameter in enumerate(self.parameters):
            # the fused update pairs memory with memory: moments must lie as their weights do (channels_last)
            moments["state"][i] = {
                name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                for name, value in part(tensors, f"optimiser.{self.name}.{i}").items()
            }
        moments["state"] = {i: values for i, values in moments["state"].items() if values}
        self.optimiser.load_state_dict(moments)


class RunState:
    """Players, the moving average (an `EMA`, or None), counters and history of a run, kept in a file when it has one.

    When the file exists, the run goes on from it. columns: what `note` writes down at each step, besides the seconds.
    """

    def __init__(self, players: list[Player], ema: Any, path: Path | str | None, columns: int, accelerator: Any = None):
        self.players, self.ema, self.accelerator = players, ema, accelerator
        self.path = Path(path) if path else None
        self.step = self.seen = 0
        self.seconds, self.columns = 0.0, columns
        self.history: list[tuple[float, ...]] = []
        self.torn = False  # set while weights and counters disagree: then nothing may be written down
        if self.path and self.path.is_file():
            self._load()

    def note(self, step: int, seconds: float, examples: int, *values: float) -> None:
        """Write down a step that is complete; examples: how many this process saw in it."""
        processes = 1 if self.accelerator is None else self.accelerator.num_processes
        self.step, self.seconds, self.seen = step, seconds, self.seen + examples * processes
        self.history.append((*values, seconds))

    def save(self) -> None:
        """Replace the file in one piece, on the main process alone."""
        if not self.path or (self.accelerator is not None and not self.accelerator.is_main_process):
            return
        tensors = {name: value for player in self.players for name, value in player.tensors().items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": value for name, value in self.ema.model.state_dict().items()}
        tensors["history"] = torch.tensor(self.history, dtype=torch.float64).reshape(-1, self.columns + 1)
        tensors["rng"] = torch.get_rng_state()  # dropout draws from it
        facts = {"step": self.step, "seen": self.seen, "seconds": self.seconds}
        facts["ema_steps"] = self.ema.steps if self.ema is not None else 0
        checkpoints.write(self.path, tensors, facts)

    def _load(self) -> None:
        tensors, facts = checkpoints.read(self.path)
        if self.ema is not None:
            checkpoints.fill(self.ema.model, part(tensors, "ema"), self.path)
            self.ema.steps = facts["ema_steps"]
        for player in self.players:
            player.load(tensors, self.path)
            if facts["step"] and not player.optimiser.state:
                raise ValueError(f"{self.path} holds no optimiser of {player.name}: it cannot go on, begin anew")
        torch.set_rng_state(tensors["rng"])
        self.step, self.seen, self.seconds = facts["step"], facts["seen"], facts["seconds"]
        self.history = [tuple(row) for row in tensors["history"].tolist()]


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the entries whose names begin with `name.`, without that."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
