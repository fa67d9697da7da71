"""What conditional networks share: labels that are in range, or an error that says so, and mixtures of labels."""

import torch
from torch import Tensor, nn


def check_labels(y: Tensor | None, classes: int, null: bool = False) -> None:
    """Raise ValueError unless y suits a network with so many classes.

    y: (B,) labels in 0..classes - 1; or (B, classes) float, shares of a mixture of classes; or None. null: whether "no
    class" is allowed: the label `classes`, None, and shares that add up to less than 1.
    """
    if not classes:
        if y is not None:
            raise ValueError("y was given, but this network has no classes: build it with classes=...")
        return
    if y is None:
        if not null:
            raise ValueError(f"this network needs y: one label in 0..{classes - 1} per example")
        return
    if y.is_floating_point():
        if y.ndim != 2 or y.shape[1] != classes:
            raise ValueError(f"shares of classes must have shape (B, {classes}), got {tuple(y.shape)}")
        total = y.sum(1)
        if not bool((y >= 0).all() and (total <= 1 + 1e-4).all() and (null or (total >= 1 - 1e-4).all())):
            raise ValueError(f"shares of classes must be 0 or more and add up to {'at most 1' if null else '1'}")
        return
    low, high = int(y.min()), int(y.max())
    if not 0 <= low <= high <= (classes if null else classes - 1):
        extra = f", or be {classes} for no class" if null else ""
        raise ValueError(f"labels must lie in 0..{classes - 1}{extra}; got {low}..{high}")


def look_up(table: nn.Embedding, y: Tensor) -> Tensor:
    """Return a vector per example: row y of the table, or the mean of its rows by shares (a point between classes).

    y: (B,) labels, or (B, classes) shares. Where the table has one row more than that, for no class, it gets the rest.
    """
    if not y.is_floating_point():
        return table(y)
    rest = 1 - y.sum(1, keepdim=True)
    return torch.cat([y, rest], 1)[:, : table.num_embeddings] @ table.weight
