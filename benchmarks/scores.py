"""Measure the Fréchet distance of 2,048 features, as many as Inception's, beside pytorch-fid's.

Run with `make benchmarks`. The two take turns. Exit status 1 where ours is less than FASTER times as fast, or its value
off by more than AGREES.
"""

import statistics
import sys
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import scipy.linalg
import torch
from pytorch_fid import fid_score
from torch import Tensor

from course_utils.metrics import Statistics, frechet_distance

DIM, ROUNDS, FASTER, AGREES = 2048, 3, 3.0, 1e-4


def features(n: int, seed: int) -> Tensor:
    """Correlated features (n, DIM) float32 of full rank where n > DIM; those of another seed have another mean."""
    mixing = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0)) / DIM**0.5
    generator = torch.Generator().manual_seed(seed)
    scale = 1 + 0.1 * torch.rand(DIM, generator=generator)
    return torch.rand(n, DIM, generator=generator) * scale @ mixing


def moments(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance as pytorch-fid computes them."""
    return x.double().numpy().mean(0), np.cov(x.double().numpy(), rowvar=False)


def peer(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """pytorch-fid's distance; SciPy 1.18 took sqrtm's `disp` away, and with it the estimate of an error."""
    root = scipy.linalg.sqrtm
    with patch.object(fid_score.linalg, "sqrtm", lambda m, disp=True: root(m) if disp else (root(m), 0.0)):
        return float(fid_score.calculate_frechet_distance(*a, *b))


def compare(title: str, ours: Callable[[], float], theirs: Callable[[], float]) -> bool:
    """Time both in turns, print a row of the table, and return whether it is as it has to be."""
    values, seconds = [0.0, 0.0], ([], [])
    for _ in range(ROUNDS):
        for k, run in enumerate((ours, theirs)):
            began = time.perf_counter()
            values[k] = run()
            seconds[k].append(time.perf_counter() - began)
    off = abs(values[0] / values[1] - 1)
    ratio = statistics.median(slow / fast for fast, slow in zip(*seconds, strict=True))
    medians = [statistics.median(spent) for spent in seconds]
    print(f"{title:28s} {values[0]:12.6f} {values[1]:12.6f} {off:9.1e}", end=" ")
    print(f"{medians[0]:8.2f} {medians[1]:8.2f} {ratio:7.1f}", flush=True)
    return ratio >= FASTER and off <= AGREES


def main() -> int:
    """Print the table; returns the exit status."""
    print(
        f"Fréchet distance of {DIM:,} features, {torch.get_num_threads()} threads, median of {ROUNDS} rounds in turns"
    )
    print(
        f"{'':28s} {'FD ours':>12s} {'pytorch-fid':>12s} {'relative':>9s} {'s ours':>8s} {'s theirs':>8s} {'ratio':>7s}"
    )
    many = [features(5000, seed) for seed in (1, 2)]
    stats, known = [Statistics().update(x) for x in many], [moments(x) for x in many]
    good = compare("n = 5,000, from statistics", lambda: frechet_distance(*stats), lambda: peer(*known))
    few = [x[:1000] for x in many]
    good &= compare("n = 1,000, from features", lambda: frechet_distance(*few), lambda: peer(*map(moments, few)))
    if not good:
        print(f"not as it has to be: at least {FASTER:g} times as fast, and values within {AGREES:g}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
