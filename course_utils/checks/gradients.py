"""What may be wrong with the gradients of answers whose numbers are right."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def trouble(got: list[tuple[Tensor, Iterable[Any]]], expected: list[Tensor]) -> str | None:
    """Return what is wrong, in words that follow "your numbers are right, but", or None.

    got: of each call its value and its inputs afterwards. No gradient may be missing that `expected` has, and those in
    inputs that ask for one must be finite.
    """
    if not all(value.requires_grad or not e.requires_grad for (value, _), e in zip(got, expected, strict=True)):
        return (
            "no gradient reaches the network through them: training would change nothing.\n"
            "  Look at: what cuts the graph, such as detach(), .data, item() or torch.no_grad()"
        )
    if not all(_finite(value, inputs) for value, inputs in got):
        return (
            "a gradient through them is not finite: one step of training, and all weights would be NaN.\n"
            "  Look at: a square root of 0, and torch.where, which differentiates the branch not taken, too"
        )
    return None


def _finite(value: Tensor, inputs: Iterable[Any]) -> bool:
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad and x.is_leaf]
    if not leaves or not value.requires_grad:
        return True
    found = torch.autograd.grad(value.sum(), leaves, retain_graph=True, allow_unused=True)
    return all(g is None or bool(g.isfinite().all()) for g in found)
