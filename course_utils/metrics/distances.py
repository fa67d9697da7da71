"""How two sets of features differ: Fréchet, kernel; precision, recall, density, coverage; neighbours and copies."""

import math
from typing import NamedTuple

import scipy.linalg
import torch
from torch import Tensor

from course_utils.metrics.features import Statistics, check, compatible

# LAPACK's evr: torch's divide and conquer can fail to converge where C is far from full rank, as with few images
_DRIVER = "evr"


def frechet_distance(a: Statistics | Tensor, b: Statistics | Tensor) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the means and covariances of two sets of features.

    Source: Heusel et al. 2017, eq. 6: |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2). The last trace is the sum of
    the square roots of the eigenvalues of F C_b F^T, symmetric, where F^T F = C_a, so no root of a product is needed;
    negative ones, from rounding, count as 0, and so does a negative result. a, b: `Statistics`, or features (N, D). Of
    N < D features F has N rows, which makes that matrix smaller than (D, D), and the result sooner there.
    The distance is biased: it grows as n falls, most for n below D, where C is singular. Only values at equal n
    compare, beside what real images score at that n (`real_floor`).
    Raises ValueError for n < 2, values that are not finite, and features of different networks.
    """
    a, b = sorted(map(_gaussian, (a, b)), key=lambda x: math.inf if x.factor is None else len(x.factor))
    compatible(a, b)
    factor = _root(a.covariance) if a.factor is None else a.factor
    half = None if b.factor is None else factor @ b.factor.T
    inner = factor @ b.covariance @ factor.T if half is None else half @ half.T
    cross = torch.from_numpy(scipy.linalg.eigvalsh(inner.numpy(), driver=_DRIVER)).clamp(min=0).sqrt().sum()
    return max(0.0, float((a.mean - b.mean).square().sum() + a.trace + b.trace - 2 * cross))


class _Gaussian(NamedTuple):  # either the covariance (D, D) is there, or its factor (N, D): factor^T factor
    network: str
    mean: Tensor
    trace: Tensor
    covariance: Tensor | None
    factor: Tensor | None


def _gaussian(x: Statistics | Tensor) -> _Gaussian:
    if isinstance(x, Tensor) and 2 <= len(x := check(x)) < x.shape[1]:
        mean = x.mean(0)
        factor = (x - mean) / math.sqrt(len(x) - 1)
        return _Gaussian("", mean, factor.square().sum(), None, factor)
    x = x if isinstance(x, Statistics) else Statistics().update(x)
    return _Gaussian(x.network, x.mean, x.covariance.trace(), x.covariance, None)


def _root(covariance: Tensor) -> Tensor:
    values, vectors = map(torch.from_numpy, scipy.linalg.eigh(covariance.numpy(), driver=_DRIVER))
    return (vectors * values.clamp(min=0).sqrt()).T


def kid(
    a: Tensor, b: Tensor, subsets: int = 100, subset_size: int | None = None, generator: torch.Generator | None = None
) -> tuple[float, float]:
    """Kernel Inception distance, the unbiased squared MMD of two sets of features: (value, standard error).

    Source: Bińkowski et al. 2018, section 4: kernel k(x, y) = (x.y / D + 1)^3; eq. 4: the mean of k over pairs within
    a, without those of an image with itself, plus the same within b, minus twice the mean over pairs across. The value
    is a mean over subsets of subset_size images of each set. It may be negative, as its expectation is 0 where a and b
    come of one distribution. a (N, D), b (M, D). subset_size: None for a tenth of the smaller set, 2 to 1,000.
    subsets: at most so many; each shuffle of the images gives as many as fit in without overlap.

    The standard error is that of the value over drawing the images anew: the standard deviation over subsets of one
    shuffle, which are independent, divided by the root of their number. Further shuffles make the value steadier, which
    it does not count: it is an upper bound. nan where only one subset fits in.
    Raises ValueError for values not finite, different D, and a subset_size that is not in 2 ... min(N, M).
    """
    a, b = _both(a, b)
    n = min(len(a), len(b))
    size = min(max(n // 10, 2), 1000) if subset_size is None else subset_size
    if not 2 <= size <= n or subsets < 1:
        raise ValueError(f"KID takes 1 subset or more of 2 to {n} images (the smaller set), got {subsets} of {size}")
    at_once = min(n // size, subsets)
    values = torch.empty(max(1, subsets // at_once), at_once, dtype=torch.float64)
    for shuffle in values:
        rows, columns = (torch.randperm(len(x), generator=generator)[: at_once * size] for x in (a, b))
        for k, (i, j) in enumerate(zip(rows.split(size), columns.split(size), strict=True)):
            shuffle[k] = _mmd2(a[i], b[j])
    error = float(values.var(1).mean().sqrt()) / math.sqrt(at_once) if at_once > 1 else math.nan
    return float(values.mean()), error


def _mmd2(a: Tensor, b: Tensor) -> Tensor:
    m = len(a)
    aa, bb, ab = ((x @ y.T / x.shape[1] + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    return (aa.sum() - aa.trace() + bb.sum() - bb.trace()) / (m * (m - 1)) - 2 * ab.mean()


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision, the share of fake images that look real, and recall, the share of real ones that the fakes reach.

    Source: Kynkäänniemi et al. 2019, eqs. 1 and 2: a set's manifold is the union of balls around its features, each as
    wide as the distance to the k-th nearest other feature of the set. Precision counts fakes in the real manifold,
    recall real images in the fake one. real (N, D), fake (M, D); memory does not grow with N times M. Both depend on N
    and M: compare at equal numbers, beside real against real. Raises ValueError for N or M not above k, and as `kid`.
    """
    real, fake = _both(real, fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(f"each set must hold more than k = {k} >= 1 images, got {len(real)} real and {len(fake)} fake")
    return _inside(fake, real, k), _inside(real, fake, k)


def _inside(points: Tensor, centres: Tensor, k: int) -> float:
    radius = nearest(centres, centres, k + 1)[0][:, k]  # k + 1, since each is its own nearest
    inside = [(_distances(block, centres) <= radius).any(1) for block in points.split(_rows(centres))]
    return float(torch.cat(inside).double().mean())


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density, how many real neighbourhoods a fake image lies in on average, and coverage, the share that hold a fake.

    Source: Naeem et al. 2020, section 3: the neighbourhood of a real image is the ball as wide as the distance to its
    k-th nearest other real one. Density counts pairs of a fake in a neighbourhood, divided by k M; it is about 1 where
    both sets come of one distribution, and not bounded by 1. Coverage is 1 - 2^-k then, for N = M large. Neither looks
    at balls around fakes, so that a few far-off fakes cannot spoil them, as they do recall. real (N, D), fake (M, D).
    Both depend on N and M. Raises ValueError for N not above k, and as `kid`.
    """
    real, fake = _both(real, fake)
    if not 1 <= k < len(real):
        raise ValueError(f"there must be more than k = {k} >= 1 real images, got {len(real)}")
    radius, rows = nearest(real, real, k + 1)[0][:, k], _rows(fake)  # k + 1, since each is its own nearest
    parts = zip(real.split(rows), radius.split(rows), strict=True)
    inside = torch.cat([(_distances(block, fake) <= r[:, None]).sum(1) for block, r in parts])
    return float(inside.sum() / (k * len(fake))), float((inside > 0).double().mean())


def realism(fake: Tensor, real: Tensor, k: int = 3) -> Tensor:
    """Return how deep each fake image lies among the real ones, (M,): 1 or more inside the smaller balls around these.

    Source: Kynkäänniemi et al. 2019, eq. 3: the largest ratio of the radius of a real image's ball, the distance to its
    k-th nearest other real one, to the distance of the fake from its centre; the half of the balls with the largest
    radii, those of outliers, does not count, unlike in `precision_recall`. inf for a copy of one that counts. real (N,
    D), fake (M, D). Depends on N. Raises ValueError for N not above k, and as `kid`.
    """
    real, fake = _both(real, fake)
    if not 1 <= k < len(real):
        raise ValueError(f"there must be more than k = {k} >= 1 real images, got {len(real)}")
    radius = nearest(real, real, k + 1)[0][:, k]  # k + 1, since each is its own nearest
    small = radius <= radius.median()
    real, radius = real[small], radius[small]
    return torch.cat([(radius / torch.cdist(block, real)).amax(1) for block in fake.split(_rows(real))])


def copying(fake: Tensor, train: Tensor, test: Tensor) -> float:
    """Probability that a fake image lies nearer to the training set than a test image does: 0.5 is right, 1 copies.

    Source: after Meehan, Chaudhuri & Dasgupta 2020, without their cells and z-score, and the other way round (there,
    small means copied): the Mann-Whitney statistic of the distances to the nearest training image; a tie counts half. A
    generator that draws from the true distribution is as far from its training images as new ones are. Being an
    average, it can hide copies behind images that are far off. fake (M, D), train (N, D), test (K, D), where test
    does not occur in train. Raises ValueError as `kid`.
    """
    one, other = (nearest(x, train)[0][:, 0] for x in (fake, test))
    ordered = other.sort().values
    above = len(ordered) - torch.searchsorted(ordered, one, right=True)
    ties = len(ordered) - torch.searchsorted(ordered, one) - above
    return float((above + ties / 2).double().mean() / len(ordered))


def nearest(a: Tensor, b: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """Return distance and index of the k features of b nearest to each of a, nearest first: is it memorised?

    a (N, D), b (M, D) give (N, k) float64 and (N, k) int64. A copy is at distance 0. Memory does not grow with N times
    M. Raises ValueError for k not in 1 ... M, and as `kid`.
    """
    a, b = _both(a, b)
    if not 1 <= k <= len(b):
        raise ValueError(f"k must be from 1 to the {len(b)} images searched, got {k}")
    distance, index = [], []
    for block in a.split(_rows(b)):
        found = _distances(block, b).topk(k, largest=False).indices
        exact = torch.stack([(block - b[column]).norm(dim=1) for column in found.T], 1)
        exact, order = exact.sort(dim=1, stable=True)  # products, though fast, leave 1e-7 between equals
        distance.append(exact)
        index.append(found.gather(1, order))
    return torch.cat(distance), torch.cat(index)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")  # 13 times as fast as by differences


def _rows(other: Tensor) -> int:
    """Rows in a block of distances: 32 MB of them at most, and 512 rows."""
    return max(1, min(512, 2**22 // len(other)))


def _both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = check(a), check(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} features an image do not compare: use one network for both")
    return a, b
