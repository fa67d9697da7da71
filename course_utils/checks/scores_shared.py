"""What the exercises of notebook 07 share: answers that are one number, and inputs like the features of pictures."""

import numbers
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.checks.answers import one_number
from course_utils.checks.engine import Exercise, Outcome


class Number(Exercise):
    """An exercise that asks for one number: a float will do as well as a tensor without axes, float32 as float64."""

    number = True

    def judge(self, function: Callable) -> Exception | None:
        return super().judge(one_number(function, torch.float64))

    def fault(self, got: Outcome, expected: Tensor) -> str | None:
        """Say what is wrong with one outcome; the engine's own words would ask for a tensor."""
        value = got.value
        kind = value.dtype if isinstance(value, Tensor) else f"{type(value).__module__}.{type(value).__qualname__}"
        if _is_complex(value):
            return (
                f"your answer is complex ({kind}). The root of the product of two covariances has complex entries "
                "where rounding makes an eigenvalue a little negative; of these the real part is what counts"
            )
        if isinstance(value, tuple | list):
            name = type(value).__name__
            return f"got a {name} of {len(value)}: one number is asked for, a float or a tensor without axes"
        if got.error or value is None or isinstance(value, Tensor):
            return super().fault(got, expected)
        return f"expected a float or a tensor without axes, got {kind}"


def _is_complex(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.is_complex() and not value.ndim
    return isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def features(generator: torch.Generator, n: int, d: int) -> Tensor:
    """Return features (n, d) whose columns hang together and have means of their own."""
    mixing = torch.eye(d, dtype=torch.float64) + 0.5 * normal(generator, d, d)
    return normal(generator, n, d) @ mixing + normal(generator, d)


def spread(generator: torch.Generator, n: int, d: int) -> Tensor:
    """Return the covariance (d, d) of such features of n pictures."""
    return torch.cov(features(generator, n, d).T).reshape(d, d)


def psd_root(c: Tensor) -> Tensor:
    """Return the root of a symmetric matrix without negative eigenvalues, symmetric itself."""
    values, vectors = torch.linalg.eigh(c)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
