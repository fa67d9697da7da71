"""Whether a picture looks like its two parents: where it lies between them, in feature space."""

import torch
from torch import Tensor

from course_utils.metrics.distances import _both
from course_utils.metrics.features import check


def parent_distances(child: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return how far each child is from its parents a and b, in units of their distance from each other, (N, 2).

    A copy of a has 0 and 1. Between both, neither is above 1, and half-way both are 0.5, which is the least that the
    larger one can be; a stranger is farther from both. child, a, b: features (N, D), in rows. Raises ValueError for
    shapes that differ, values that are not finite, and parents that are the same.
    """
    child, a, b = _rows(child, a, b)
    apart = (a - b).norm(dim=1)
    if not bool((apart > 0).all()):
        raise ValueError(f"the parents of row {int((apart == 0).nonzero()[0])} are the same: nothing lies between them")
    return torch.stack([(child - a).norm(dim=1), (child - b).norm(dim=1)], 1) / apart[:, None]


def parent_rank(child: Tensor, a: Tensor, b: Tensor, others: Tensor) -> Tensor:
    """Return the share of other pictures that are nearer to each child than its farther parent is, (N,).

    0 where no stranger is nearer than the farther parent; about 0.5 where one of the parents is a stranger itself.
    child, a, b: features (N, D), in rows; others: (M, D), none of them a parent. Raises ValueError as
    `parent_distances`, and for features of another network.
    """
    child, a, b = _rows(child, a, b)
    farther = torch.maximum((child - a).norm(dim=1), (child - b).norm(dim=1))
    child, others = _both(child, others)
    return (torch.cdist(child, others) < farther[:, None]).double().mean(1)


def _rows(*sets: Tensor) -> list[Tensor]:
    if len({x.shape for x in sets}) > 1:
        raise ValueError(f"a row for each child and parent is needed, got {[tuple(x.shape) for x in sets]}")
    return [check(x) for x in sets]
