"""What a score of n pictures says about the score of all: its bias, its 1/n extrapolation, its error bar."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_utils.metrics.distances import frechet_distance
from course_utils.metrics.features import Statistics, check


def curve(
    a: Tensor,
    b: Tensor | Statistics,
    sizes: Sequence[int],
    repeats: int = 3,
    generator: torch.Generator | None = None,
    score: Callable[..., float] = frechet_distance,
) -> Tensor:
    """Return score(n of a, n of b) for each number n of pictures in sizes, (len(sizes), repeats) float64.

    a: features (N, D), of which n random rows are taken each time; b: features (M, D), of which other n are taken, so
    that both sides have n; or `Statistics`, which stay as they are. Subsets of one n do not overlap while there are
    enough rows; beyond that they do, and the spread over repeats comes out too small.
    Raises ValueError for a size below 2 or above N or M, repeats below 1, and as `score`.
    """
    most = min(len(x) for x in (a, b) if isinstance(x, Tensor))
    if not len(sizes) or min(sizes) < 2 or max(sizes) > most or repeats < 1:
        raise ValueError(f"takes sizes from 2 to {most} and 1 repeat or more, got {list(sizes)} and {repeats}")
    out = torch.empty(len(sizes), repeats, dtype=torch.float64)
    for row, n in zip(out, sizes, strict=True):
        parts = [[x] * repeats if isinstance(x, Statistics) else _subsets(x, n, repeats, generator) for x in (a, b)]
        for k, pair in enumerate(zip(*parts, strict=True)):
            row[k] = score(*pair)
    return out


def _subsets(x: Tensor, n: int, repeats: int, generator: torch.Generator | None) -> list[Tensor]:
    fits = max(1, len(x) // n)  # disjoint ones in one shuffle
    order = [torch.randperm(len(x), generator=generator) for _ in range(math.ceil(repeats / fits))]
    rows = torch.cat([shuffle[: fits * n] for shuffle in order]).split(n)
    return [x[part] for part in rows[:repeats]]


def extrapolated(n: Sequence[int] | Tensor, score: Sequence[float] | Tensor) -> tuple[float, float]:
    """Fit score = intercept + slope / n by least squares: (intercept, slope). The intercept is the score at infinite n.

    Source: Chong & Forsyth 2020: the bias of FID falls as 1/n, with a slope that depends on the generator. As notebook
    07 measures, that is a straight line only where n is well above the number of features. n, score: (S,), with two
    different n at least. Raises ValueError for other shapes, n < 2, values that are not finite, fewer different n.
    """
    n, score = (torch.as_tensor(x, dtype=torch.float64) for x in (n, score))
    if n.ndim != 1 or n.shape != score.shape or not bool((n >= 2).all() and score.isfinite().all()):
        raise ValueError(f"takes a finite score for each n >= 2, got shapes {tuple(n.shape)} and {tuple(score.shape)}")
    if len(n.unique()) < 2:
        raise ValueError("a line takes scores at two different n at least")
    x = 1 / n
    slope = float(((x - x.mean()) * (score - score.mean())).sum() / (x - x.mean()).square().sum())
    return float(score.mean()) - slope * float(x.mean()), slope


def bootstrap(
    score: Callable[[Tensor], float], features: Tensor, repeats: int = 20, generator: torch.Generator | None = None
) -> Tensor:
    """Return score(n of the n features, drawn with replacement), (repeats,) float64: its spread is an error bar.

    Source: Efron 1979. Their mean is no estimate of anything here: a resample holds about 63% different
    pictures, so a Fréchet distance comes out as if there were fewer. Take the standard deviation. It says what other
    pictures of the same generator would change, not what training again would. features (N, D).
    Raises ValueError for fewer than 2 repeats, and as `score` does.
    """
    return _resampled(score, features, repeats, lambda n: torch.randint(n, (n,), generator=generator))


def halves(
    score: Callable[[Tensor], float], features: Tensor, repeats: int = 20, generator: torch.Generator | None = None
) -> Tensor:
    """Return score(a random half of the features), (repeats,) float64: its spread is an error bar of the *whole* set.

    Source: Shao & Wu 1989, the delete-d jackknife with d = n / 2: leaving out half of n pictures moves a smooth score
    as much as drawing other n does. No picture comes twice. Arguments and errors: see `bootstrap`.
    """
    return _resampled(score, features, repeats, lambda n: torch.randperm(n, generator=generator)[: n // 2])


def _resampled(
    score: Callable[[Tensor], float], features: Tensor, repeats: int, rows: Callable[[int], Tensor]
) -> Tensor:
    if repeats < 2:
        raise ValueError(f"a spread takes 2 repeats or more, got {repeats}")
    features = check(features)
    values = [score(features[rows(len(features))]) for _ in range(repeats)]
    return torch.tensor(values, dtype=torch.float64)
