"""Variance schedules of the forward process: index t of every array is the paper's subscript, and 0 is the data."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """The numbers that fix q(x_t | x_0) and q(x_{t-1} | x_t, x_0) for t = 1..T.

    Source: Ho et al. 2020, section 2 and Eqs. 4, 6, 7. Every array has shape (T+1,) and is computed in float64 before
    it is cast, because 1 - alpha_bar loses its digits at small t. `alpha_bar[0] == 1`: step 0 is the clean data.

    beta        variance added by step t; beta[0] = 0
    alpha       1 - beta
    alpha_bar   product of alpha up to t
    sigma       standard deviation of q(x_t | x_0), sqrt(1 - alpha_bar)
    beta_tilde  variance of the posterior q(x_{t-1} | x_t, x_0); beta_tilde[1] = 0
    """

    name: str
    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor
    sigma: Tensor
    beta_tilde: Tensor

    @property
    def T(self) -> int:
        """Number of diffusion steps."""
        return len(self.beta) - 1

    @property
    def log_snr(self) -> Tensor:
        """Log of the signal-to-noise ratio alpha_bar / sigma^2, falling with t, (T+1,); infinite at t = 0."""
        return self.alpha_bar.log() - 2 * self.sigma.log()

    @property
    def device(self) -> torch.device:
        """Device of the arrays."""
        return self.beta.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Schedule":
        """Return a copy with every array moved to `device` and cast to `dtype`."""
        moved = {f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self) if f.name != "name"}
        return replace(self, **moved)

    @classmethod
    def from_beta(cls, beta: Tensor, name: str = "custom", dtype: torch.dtype = torch.float32) -> "Schedule":
        """Build a schedule from beta_1..beta_T, shape (T,), each in (0, 1).

        Raises ValueError when beta is not a vector of numbers in (0, 1).
        """
        beta = torch.as_tensor(beta, dtype=torch.float64)
        if beta.ndim != 1 or len(beta) == 0:
            raise ValueError(f"beta must be a vector with one entry per step, got shape {tuple(beta.shape)}")
        if not bool(((beta > 0) & (beta < 1)).all()):
            raise ValueError(f"every beta must lie in (0, 1), got {beta.min():.4g} to {beta.max():.4g}")
        zero = torch.zeros(1, dtype=torch.float64, device=beta.device)
        log_alpha = torch.cat([zero, torch.log1p(-beta)])
        log_alpha_bar = log_alpha.cumsum(0)
        variance = -torch.expm1(log_alpha_bar)  # 1 - alpha_bar without cancellation
        beta = torch.cat([zero, beta])
        beta_tilde = torch.cat([zero, variance[:-1] / variance[1:] * beta[1:]])
        arrays = (beta, log_alpha.exp(), log_alpha_bar.exp(), variance.sqrt(), beta_tilde)
        return cls(name, *(a.to(dtype) for a in arrays))


def _steps(T: int) -> int:
    if isinstance(T, bool) or int(T) != T or T < 1:
        raise ValueError(f"T counts diffusion steps: a whole number of at least 1, got {T!r}")
    return int(T)


def _ramp(name: str, T: int, ramp: Tensor, beta_1: float, beta_T: float, rescale: bool, dtype: torch.dtype) -> Schedule:
    """Lay beta between beta_1 and beta_T along `ramp` (shape (T,), 0 to 1)."""
    scale = 1000 / _steps(T) if rescale else 1.0
    beta = (beta_1 + (beta_T - beta_1) * ramp) * scale
    return Schedule.from_beta(beta.clamp(max=0.999), name, dtype)


def linear(
    T: int = 1000,
    beta_1: float = 1e-4,
    beta_T: float = 0.02,
    *,
    rescale: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Schedule:
    """Beta rises linearly from beta_1 to beta_T (Ho et al. 2020, section 4, where T = 1000).

    The end points are those for T = 1000. With `rescale` they are multiplied by 1000/T (code release of Nichol and
    Dhariwal 2021), so that x_T is nearly pure noise for any T; without it a short chain stops half-way to the noise.
    Raises ValueError for a T that is not a positive whole number or a beta outside (0, 1).
    """
    return _ramp("linear", T, torch.linspace(0, 1, _steps(T), dtype=torch.float64), beta_1, beta_T, rescale, dtype)


def quadratic(
    T: int = 1000,
    beta_1: float = 1e-4,
    beta_T: float = 0.02,
    *,
    rescale: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Schedule:
    """The square root of beta rises linearly (the "quad" schedule of the DDIM code release, Song et al. 2021).

    Arguments and errors as for `linear`.
    """
    root = torch.linspace(beta_1**0.5, beta_T**0.5, _steps(T), dtype=torch.float64)
    ramp = (root**2 - beta_1) / (beta_T - beta_1)
    return _ramp("quadratic", T, ramp, beta_1, beta_T, rescale, dtype)


def sigmoid(
    T: int = 1000,
    beta_1: float = 1e-4,
    beta_T: float = 0.02,
    *,
    rescale: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Schedule:
    """Beta rises along a logistic curve between -6 and 6 (used for molecules by Xu et al. 2022, GeoDiff).

    Arguments and errors as for `linear`.
    """
    ramp = torch.sigmoid(torch.linspace(-6, 6, _steps(T), dtype=torch.float64))
    return _ramp("sigmoid", T, ramp, beta_1, beta_T, rescale, dtype)


def cosine(T: int = 1000, s: float = 0.008, *, dtype: torch.dtype = torch.float32) -> Schedule:
    """alpha_bar falls like a squared cosine (Nichol & Dhariwal 2021, Eq. 17), beta clipped at 0.999.

    The offset s keeps beta_1 from vanishing. Raises ValueError for a T that is not a positive whole number.
    """

    def f(t: Tensor) -> Tensor:
        return torch.cos((t / _steps(T) + s) / (1 + s) * math.pi / 2) ** 2

    t = torch.arange(_steps(T) + 1, dtype=torch.float64)
    beta = 1 - f(t[1:]) / f(t[:-1])
    return Schedule.from_beta(beta.clamp(max=0.999), "cosine", dtype)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
}


def make(name: str, T: int = 1000, **options) -> Schedule:
    """Return the schedule called `name` with T steps; raises ValueError naming the known schedules."""
    if name not in SCHEDULES:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(SCHEDULES)}")
    return SCHEDULES[name](T, **options)
