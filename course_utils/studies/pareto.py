"""Which of many measured things no other one beats in both of two numbers: what it costs, and how good it is."""

import torch
from torch import Tensor


def pareto_front(cost, quality, higher_is_better: bool = False) -> Tensor:
    """Return which rows are on the front: bool, shape (N,), on the CPU.

    cost, quality: N numbers each, a sequence or a tensor (N,); a lower cost is better, and so is a lower quality unless
    higher_is_better. A row is on the front where no other one is at most as costly and at least as good, and better in
    one of the two. Rows that are equal in both do not beat one another: all of them stay or none.
    Raises ValueError where the two do not have one shape (N,), and for numbers that are not finite.
    """
    cost, quality = (torch.as_tensor(numbers, dtype=torch.float64).cpu() for numbers in (cost, quality))
    if cost.ndim != 1 or cost.shape != quality.shape:
        raise ValueError(
            f"cost and quality must hold one number a row, shape (N,): got {tuple(cost.shape)}, {tuple(quality.shape)}"
        )
    for name, numbers in (("cost", cost), ("quality", quality)):
        if not numbers.isfinite().all():
            row = int((~numbers.isfinite()).nonzero()[0])
            raise ValueError(f"{name} must be finite, got {float(numbers[row])} in row {row}")
    loss = -quality if higher_is_better else quality
    # [i, j]: whether row j beats row i
    no_worse = (cost <= cost[:, None]) & (loss <= loss[:, None])
    better = (cost < cost[:, None]) | (loss < loss[:, None])
    return ~(no_worse & better).any(1)
