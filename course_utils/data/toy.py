"""Two-dimensional data sets: any number of points, seeded, standardised, each point an example of its own."""

import csv
import math
from collections.abc import Callable
from functools import cache, partial
from importlib.resources import files

import torch
from sklearn import datasets
from torch import Tensor

OUTLINES = ("dino", "cat", "bunny", "panda")
JITTER = 0.02  # standard deviation of the blur on resampled outlines, in units of the standardised set
LINE_HALF = (0.5, 1.0)  # half width and half height of the `line` bar before it is standardised


def standardise(points: Tensor, like: Tensor | None = None) -> Tensor:
    """Shift and scale (N, 2) points so that `like` (default: they themselves) has mean 0 and mean variance 1."""
    like = points if like is None else like
    return (points - like.mean(0)) / like.var(0, unbiased=False).mean().sqrt()


@cache
def outline(name: str = "dino") -> Tensor:
    """Return the hand-drawn points themselves, standardised, shape (N, 2); the dinosaur has 142.

    Source: the Datasaurus (Cairo 2016) and other shapes of the data-morph-ai package. Raises ValueError for an unknown
    name.
    """
    if name not in OUTLINES:
        raise ValueError(f"unknown outline {name!r}: choose one of {', '.join(OUTLINES)}")
    # read the package's file rather than import the package, which would start pyplot
    text = files("data_morph").joinpath(f"data/starter_shapes/{name}.csv").read_text(encoding="utf-8")
    rows = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(text.splitlines())]
    return standardise(torch.tensor(rows, dtype=torch.float64)).float()


def resample(points: Tensor, n: int, std: float, generator: torch.Generator) -> Tensor:
    """Draw n points, shape (n, 2), uniformly from `points` (N, 2), each moved by N(0, std^2 I)."""
    picked = points[torch.randint(len(points), (n,), generator=generator)]
    return picked + std * torch.randn(n, points.shape[1], generator=generator)


def mixture_centres(k: int = 8) -> Tensor:
    """Return the k centres of the `gaussians` set before it is standardised, shape (k, 2), on the unit circle."""
    angle = torch.arange(k) * (2 * math.pi / k)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def _outline(name: str, n: int, generator: torch.Generator) -> Tensor:
    return resample(outline(name), n, JITTER, generator)


@cache
def _curve(make: Callable, column: int) -> Tensor:
    # scikit-learn spaces its points evenly and splits them exactly: only a random pick from many of them is independent
    return torch.from_numpy(make(100_000, random_state=0)[0][:, [0, column]]).float()


def _sklearn(make: Callable, column: int, noise: float, n: int, generator: torch.Generator) -> Tensor:
    return resample(_curve(make, column), n, noise, generator)


def _line(n: int, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(n, 2, generator=generator) - 1) * torch.tensor(LINE_HALF)


def _checkerboard(n: int, generator: torch.Generator) -> Tensor:
    column = torch.randint(4, (n,), generator=generator)
    row = 2 * torch.randint(2, (n,), generator=generator) + column % 2
    return torch.stack([column, row], dim=1) + torch.rand(n, 2, generator=generator)


def _gaussians(n: int, generator: torch.Generator) -> Tensor:
    return resample(mixture_centres(), n, 0.08, generator)


_DRAW: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    **{name: partial(_outline, name) for name in OUTLINES},
    "moons": partial(_sklearn, datasets.make_moons, 1, 0.05),
    "circles": partial(_sklearn, partial(datasets.make_circles, factor=0.45), 1, 0.03),
    "swiss_roll": partial(_sklearn, datasets.make_swiss_roll, 2, 0.25),
    "line": _line,
    "checkerboard": _checkerboard,
    "gaussians": _gaussians,
}
NAMES = tuple(_DRAW)


@cache
def _reference(name: str) -> Tensor:
    # one large fixed draw sets the scale: standardising every draw by itself would make the target move with n and seed
    return _DRAW[name](100_000, torch.Generator().manual_seed(0))


def draw(name: str = "dino", n: int = 1000, seed: int = 0) -> Tensor:
    """Draw n fresh points of the set `name`, float32 of shape (n, 2), mean 0 and mean variance 1 in distribution.

    The same (name, n, seed) gives the same points. The sets: `dino`, `cat`, `bunny`, `panda` (outlines, resampled with
    a blur of JITTER), `moons`, `circles`, `swiss_roll` (scikit-learn's), `line` (a bar with sharp corners),
    `checkerboard`, `gaussians` (eight, on a circle).
    Raises ValueError for an unknown name or n < 1.
    """
    if name not in _DRAW:
        raise ValueError(f"unknown 2-D set {name!r}: choose one of {', '.join(NAMES)}")
    if n < 1:
        raise ValueError(f"n counts points and must be at least 1, got {n}")
    return standardise(_DRAW[name](n, torch.Generator().manual_seed(seed)), like=_reference(name))


def outside_line(points: Tensor) -> Tensor:
    """Distance of each point (N, 2) from the standardised `line` bar, 0 inside it; returns shape (N,)."""
    centre, corner = standardise(torch.tensor([(0.0, 0.0), LINE_HALF]), like=_reference("line"))
    return ((points - centre).abs() - (corner - centre)).clamp(min=0).norm(dim=1)
