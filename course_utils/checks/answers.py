"""What a student may return: for one number, a float as well as a tensor without axes."""

import functools
import numbers
from collections.abc import Callable

import torch
from torch import Tensor


def one_number(function: Callable, dtype: torch.dtype) -> Callable:
    """Return a function that answers as this one does, but real numbers and float32 without axes in dtype."""

    @functools.wraps(function)
    def answer(*args):
        value = function(*args)
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return torch.tensor(float(value), dtype=dtype)
        is_float32 = isinstance(value, Tensor) and not value.ndim and value.dtype == torch.float32
        return value.to(dtype) if is_float32 else value

    return answer
