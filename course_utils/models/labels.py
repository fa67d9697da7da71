"""What conditional networks share: labels that are in range, or an error that says so."""

from torch import Tensor


def check_labels(y: Tensor | None, classes: int, null: bool = False) -> None:
    """Raise ValueError unless y suits a network with so many classes.

    y: (B,) labels in 0..classes - 1, or None. null: whether the label `classes`, for no class, is allowed, and None.
    """
    if not classes:
        if y is not None:
            raise ValueError("y was given, but this network has no classes: build it with classes=...")
        return
    if y is None:
        if not null:
            raise ValueError(f"this network needs y: one label in 0..{classes - 1} per example")
        return
    low, high = int(y.min()), int(y.max())
    if not 0 <= low <= high <= (classes if null else classes - 1):
        extra = f", or be {classes} for no class" if null else ""
        raise ValueError(f"labels must lie in 0..{classes - 1}{extra}; got {low}..{high}")
