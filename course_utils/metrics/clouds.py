"""How far one cloud of points in the plane is from another, to be read against its real-against-real floor."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def sliced_wasserstein(a: Tensor, b: Tensor, projections: int = 64) -> float:
    """Mean 1-Wasserstein distance of 1-D projections of two point clouds, in the units of the points.

    Source: Rabin et al. 2011, section 3 (there squared). On a line the best matching pairs sorted values. a, b: (N, 2)
    each; the directions are spread evenly over the half circle, so the number has no randomness of its own.
    Raises ValueError for clouds that are not (N, 2), differ in N, or hold a value that is not finite.
    """
    for name, cloud in (("first", a), ("second", b)):
        if cloud.ndim != 2 or cloud.shape[1] != 2 or len(cloud) == 0:
            raise ValueError(f"the {name} cloud must have shape (N, 2), got {tuple(cloud.shape)}")
        if not bool(cloud.isfinite().all()):
            raise ValueError(f"the {name} cloud holds {int((~cloud.isfinite()).sum())} values that are not finite")
    if len(a) != len(b):
        raise ValueError(f"the clouds hold {len(a)} and {len(b)} points: the distance depends on n, so compare equal n")
    angle = torch.arange(projections, device=a.device) * (math.pi / projections)
    directions = torch.stack([angle.cos(), angle.sin()]).to(a.dtype)
    sorted_a, sorted_b = ((cloud @ directions).sort(dim=0).values for cloud in (a, b))
    return float((sorted_a - sorted_b).abs().mean())


def distance_to(points: Tensor, draw: Callable[[int, int], Tensor], repeats: int = 8) -> float:
    """Sliced Wasserstein distance of `points` (N, 2) from fresh real draws of equal size, averaged over `repeats`.

    draw(n, seed) returns n real points. The draws use seeds 10,000 and up, away from training seeds.
    """
    real = (draw(len(points), 10_000 + k).to(points) for k in range(repeats))
    return sum(sliced_wasserstein(points, r) for r in real) / repeats


def floor(n: int, draw: Callable[[int, int], Tensor], repeats: int = 8) -> float:
    """What real data scores: `distance_to` of n real points, averaged over `repeats` draws of them."""
    return sum(distance_to(draw(n, 20_000 + k), draw, repeats) for k in range(repeats)) / repeats
