"""A residual multi-layer perceptron for 2-D points."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.diffusion import PREDICTS
from course_utils.models.labels import check_labels, look_up

TIME_EMBEDDINGS = ("sinusoidal", "learned", "linear", "none")
INPUT_EMBEDDINGS = ("sinusoidal", "learned", "linear", "none")


@dataclass(frozen=True)
class MLPConfig:
    """Sizes and choices of an `MLP`; `T` is the schedule's, `predicts` one of eps, x_0, v, `classes` 0 for none."""

    T: int = 1000
    hidden: int = 128
    layers: int = 3
    time_embedding: str = "sinusoidal"
    input_embedding: str = "sinusoidal"
    features: int = 64
    predicts: str = "eps"
    classes: int = 0

    def __post_init__(self):
        for name, value, known in (
            ("time_embedding", self.time_embedding, TIME_EMBEDDINGS),
            ("input_embedding", self.input_embedding, INPUT_EMBEDDINGS),
            ("predicts", self.predicts, PREDICTS),
        ):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(known)}")
        for name in ("T", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.features < 4 or self.features % 4:
            raise ValueError(f"features must be a positive multiple of 4, got {self.features}")
        if self.classes < 0:
            raise ValueError(f"classes must be at least 0, got {self.classes}")


class Sinusoidal(nn.Module):
    """Sines and cosines of each coordinate at geometrically spaced frequencies (Vaswani et al. 2017, section 3.5).

    (B, d) -> (B, d * size), with `size / 2` angular frequencies from `low` to `high` per unit of the input.
    """

    def __init__(self, size: int, low: float, high: float):
        super().__init__()
        frequency = torch.logspace(math.log10(low), math.log10(high), size // 2)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angle = (x.unsqueeze(-1) * self.frequency).flatten(1)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class LearnedFourier(nn.Module):
    """Sines of a linear map whose frequencies and phases are trained: (B, d) -> (B, size)."""

    def __init__(self, d: int, size: int, scale: float):
        super().__init__()
        self.linear = nn.Linear(d, size)
        nn.init.normal_(self.linear.weight, std=scale)
        nn.init.uniform_(self.linear.bias, -math.pi, math.pi)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).sin()


class Table(nn.Module):
    """One trained vector per timestep, looked up from t/T: (B, 1) -> (B, size)."""

    def __init__(self, T: int, size: int):
        super().__init__()
        self.T, self.embedding = T, nn.Embedding(T + 1, size)

    def forward(self, fraction: Tensor) -> Tensor:
        return self.embedding((fraction[:, 0] * self.T).round().long())


class Block(nn.Module):
    """x + silu(W x + b): (B, hidden) -> (B, hidden)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.linear = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return x + nn.functional.silu(self.linear(x))


class MLP(nn.Module):
    """Network for 2-D points: embeddings of x_t and t, then `layers` residual blocks; model(x_t, t) -> (B, 2).

    Embeddings of t: "sinusoidal", "learned" (one vector per step), "linear" (the number t/T), "none" (t is not told).
    Embeddings of x: "sinusoidal" (Fourier features of each coordinate beside the coordinates, Tancik et al. 2020),
    "learned" (sines with trained frequencies), "linear" (one matrix), "none" (the two coordinates).
    x_t: (B, 2) float; t: (B,) whole numbers in 1..T; y: labels as for `UNet`, their vectors are added to the first
    hidden layer. Raises ValueError when x_t is not (B, 2), and for labels that do not fit.
    """

    def __init__(self, config: MLPConfig | None = None):
        super().__init__()
        self.config = config = config or MLPConfig()
        f = config.features
        self.time, time = {
            "sinusoidal": lambda: (Sinusoidal(f, 1.0, 1000.0), f),
            "learned": lambda: (Table(config.T, f), f),
            "linear": lambda: (nn.Identity(), 1),
            "none": lambda: (None, 0),
        }[config.time_embedding]()
        self.fourier, width = {
            "sinusoidal": lambda: (Sinusoidal(f // 2, 1.0, 32.0), f),
            "learned": lambda: (LearnedFourier(2, f, 4.0), f),
            "linear": lambda: (nn.Linear(2, f), f),
            "none": lambda: (None, 0),
        }[config.input_embedding]()
        self.first = nn.Linear(2 + width + time, config.hidden)
        self.classes = nn.Embedding(config.classes + 1, config.hidden) if config.classes else None
        self.blocks = nn.Sequential(*(Block(config.hidden) for _ in range(config.layers)))
        self.last = nn.Linear(config.hidden, 2)
        nn.init.zeros_(self.last.weight)  # start from "no opinion": the first loss is that of predicting zero

    @property
    def predicts(self) -> str:
        """What the output means: "eps", "x_0" or "v"."""
        return self.config.predicts

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if x_t.ndim != 2 or x_t.shape[1] != 2:
            raise ValueError(f"the MLP takes points of shape (B, 2), got {tuple(x_t.shape)}")
        check_labels(y, self.config.classes, null=True)
        inputs = [x_t]
        if self.fourier is not None:
            inputs.append(self.fourier(x_t))
        if self.time is not None:
            inputs.append(self.time(t.to(x_t.dtype).unsqueeze(1) / self.config.T))
        h = self.first(torch.cat(inputs, dim=1))
        if self.classes is not None:
            h = h + look_up(self.classes, torch.full_like(t, self.config.classes) if y is None else y)
        return self.last(self.blocks(h))
