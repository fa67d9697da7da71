"""Inputs for the homework checks of notebook 08, and how its exercise 2 judges examples that have no arc."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.engine import ROUNDING, Case, Exercise, Mistake, Outcome, close

_KINDS = ("zero", "parallel", "opposite")  # of examples that have no arc
_NO_ARC = 1e-9  # distance of a cosine from 1 or -1


@dataclass(frozen=True)
class OffArc(Mistake):
    """A mistake at examples without an arc of some kinds; what becomes of the other kinds is another question."""

    kinds: tuple[str, ...] = _KINDS


class Spherical(Exercise):
    """An exercise f(x, y, lambda_) in which no mistake but an OffArc is judged by examples that have no arc.

    Rounding decides which of these become nan and which huge, and each way of writing it rounds differently. So where
    one of a kind is not on the line from x to y, all of its kind count as nan.
    """

    def shows(self, mistake: Mistake, answer: Any, case: Case, got: Outcome) -> bool:
        """Return whether one outcome is that of one answer of a mistake."""
        kinds = getattr(mistake, "kinds", ())

        def seen(value: Any) -> Any:
            return _seen(value, kinds, *case.args.values())

        return super().shows(mistake, lambda *args: seen(answer(*args)), case, replace(got, value=seen(got.value)))


def _seen(value: Any, kinds: tuple[str, ...], x: Tensor, y: Tensor, lambda_: float) -> Any:
    if not isinstance(value, Tensor) or value.dtype != x.dtype or value.is_meta:
        return value
    cosine = cosines(x.flatten(1).double(), y.flatten(1).double())
    without = cosine.isnan(), cosine > 1 - _NO_ARC, cosine < _NO_ARC - 1
    if value.shape != x.shape:  # whose rows are no examples
        return torch.zeros_like(value) if bool(torch.stack(without).any()) else value
    value, line = value.detach().clone(), straight(x, y, lambda_)
    for kind, rows in zip(_KINDS, without, strict=True):
        if kind not in kinds:
            value[rows] = 0
        elif not bool(close(value[rows], line[rows], ROUNDING).all()):
            value[rows] = torch.nan
    return value


def cosines(u: Tensor, v: Tensor) -> Tensor:
    """Return the cosine between u and v, (B, D), example by example: (B,), nan where one is zero."""
    return (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))


def straight(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    """Return the linear mix of x and y, with the share lambda_ of y."""
    return (1 - lambda_) * x + lambda_ * y


def pictures(generator: torch.Generator, b: int, size: int) -> Tensor:
    """Return pictures (b, 3, size, size) whose values lie in [-1, 1]."""
    return 2 * torch.rand((b, 3, size, size), generator=generator) - 1


def shaped_like(weight: Tensor, x: Tensor) -> Tensor:
    """Return a weight for each example, (B,), as (B, 1, ..., 1), so that it multiplies x."""
    return weight.view(-1, *[1] * (x.ndim - 1))


def _pairs(generator: torch.Generator, shape: tuple[int, ...], overlap: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return x and y (B, ...), of lengths that differ, and with another angle in each example."""
    x, y = (torch.randn(shape, generator=generator) for _ in range(2))
    return x, 1.7 * (y + overlap * shaped_like(torch.linspace(0.5, 1.5, shape[0]), x) * x)


def vector_cases(generator: torch.Generator) -> list[Case]:
    """Return the inputs x, y and lambda_ of exercise 2, first those of which every example has an arc."""
    made = []
    for label, shape, lambda_, overlap in (
        ("noise, nearly at right angles", (3, 3, 8, 8), 0.3, 0.0),
        ("vectors at sharp angles", (6, 5), 0.4, 1.5),
        ("vectors at wide angles", (5, 7), 0.7, -1.5),
        ("pictures that have much in common", (4, 3, 6, 5), 0.6, 2.0),
        ("pictures at wide angles", (4, 3, 4, 4), 0.35, -1.0),
        ("half-way", (3, 2, 6), 0.5, 0.8),
        ("a single example", (1, 3, 5, 5), 0.2, 0.6),
        ("as many examples as numbers in each", (6, 6), 0.8, 0.7),
        ("as many pictures as channels, rows and columns", (3, 3, 3, 3), 0.65, 0.5),
        ("lambda_ = 0: only x", (4, 3, 4, 5), 0.0, 1.0),
        ("lambda_ = 1: only y", (4, 3, 4, 5), 1.0, 1.0),
    ):
        x, y = _pairs(generator, shape, overlap)
        made.append(Case(label, {"x": x, "y": y, "lambda_": lambda_}))
    x, y = (0.1 * z for z in _pairs(generator, (4, 6), 0.9))
    made.append(Case("short vectors", {"x": x, "y": y, "lambda_": 0.25}))
    signs = 2.0 * torch.randint(0, 2, (4, 16), generator=generator) - 1  # of length 4: nothing is rounded
    others = torch.randn((4, 16), generator=generator)
    one, lengths = torch.randn((40, 3, 4, 4), generator=generator), torch.linspace(0.5, 3, 40).view(-1, 1, 1, 1)
    of_x, of_y = torch.tensor([[0.0], [1], [0], [1]]), torch.tensor([[1.0], [0], [0], [1]])
    for label, x, y, lambda_ in (
        ("x and y are equal in two of four examples", signs, torch.cat([signs[:2], others[2:]]), 0.3),
        ("the same direction, y twice as long", signs, 2 * signs, 0.7),
        ("the same direction, up to rounding", one, lengths * one, 0.4),
        ("opposite directions in two of four examples", signs, torch.cat([-0.5 * signs[:2], others[2:]]), 0.3),
        ("x, y or both zero everywhere in three of four examples", of_x * signs, of_y * others, 0.6),
    ):
        made.append(Case(label, {"x": x, "y": y, "lambda_": lambda_}))
    return made
