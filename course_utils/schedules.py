"""Noise levels of the forward process: index t of every array is the paper's subscript, and 0 is the data."""

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
    def noise_ratio(self) -> Tensor:
        """Noise per unit of signal, sigma / sqrt(alpha_bar), rising with t, (T+1,): the sigma of Karras et al. 2022.

        Divided by sqrt(alpha_bar_t), x_t reads x_0 + noise_ratio[t] eps.
        """
        return self.sigma / self.alpha_bar.sqrt()

    def level(self, ratio: Tensor) -> Tensor:
        """Return the level t at which the noise ratio is `ratio`, shaped like it: a fraction, in 1..T.

        Between two levels the logarithm of the ratio counts as linear in t; a ratio beyond those of t = 1 and t = T is
        taken for that of the nearer end. `ratio_at` leads back.
        """
        if self.T == 1:
            return torch.ones_like(ratio)
        known, wanted = self.noise_ratio[1:].log(), ratio.to(self.beta).log().contiguous()
        above = torch.searchsorted(known, wanted).clamp(1, self.T - 1)
        low, high = known[above - 1], known[above]
        return above + ((wanted - low) / (high - low)).clamp(0, 1)

    def ratio_at(self, t: Tensor) -> Tensor:
        """Return the noise ratio at the levels t, shaped like it, fractions of 1..T allowed; see `level`.

        Raises IndexError for a t outside that range.
        """
        if t.numel() and not (float(t.min()) >= 1 and float(t.max()) <= self.T):
            raise IndexError(f"t must lie in 1..{self.T}, got {float(t.min()):g}..{float(t.max()):g}")
        ratio = self.noise_ratio
        below = t.floor().long()
        low, high = ratio[below], ratio[(below + 1).clamp(max=self.T)]
        return torch.where(t == below, low, low * (high / low) ** (t - below))

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

    @classmethod
    def from_noise_ratio(cls, ratio: Tensor, name: str = "custom", dtype: torch.dtype = torch.float32) -> "Schedule":
        """Build a schedule from the rising noise ratios of the levels 1..T, shape (T,); see `noise_ratio`.

        Raises ValueError when they are no vector, not positive, or do not rise.
        """
        ratio = torch.as_tensor(ratio, dtype=torch.float64)
        if ratio.ndim != 1 or len(ratio) == 0:
            raise ValueError(f"the noise ratios must be a vector with one entry per step, got {tuple(ratio.shape)}")
        before = torch.cat([ratio.new_zeros(1), ratio[:-1]])
        if not bool((ratio > before).all()):
            raise ValueError("the noise ratios must be positive and rise from each step to the next")
        # 1 - alpha_bar_t / alpha_bar_{t-1}, as a product of what does not cancel
        return cls.from_beta((ratio - before) * (ratio + before) / (1 + ratio**2), name, dtype)


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


def karras_grid(
    steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, device: torch.device | None = None
) -> Tensor:
    """Return `steps` noise ratios from sigma_max down to sigma_min, float64 (steps,): Karras et al. 2022, Eq. 5.

    Evenly spaced after the power 1/rho: rho = 1 is even in sigma, a larger one puts more of them at little noise.
    Raises ValueError for fewer than 1 step or anything but 0 < sigma_min < sigma_max and rho > 0.
    """
    if not (0 < sigma_min < sigma_max < math.inf and rho > 0):
        raise ValueError(f"needed: 0 < sigma_min < sigma_max, rho > 0; got {sigma_min:g}, {sigma_max:g} and {rho:g}")
    ramp = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), _steps(steps), dtype=torch.float64)
    return (ramp**rho).to(device)


def karras(
    T: int = 1000,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    *,
    dtype: torch.dtype = torch.float32,
) -> Schedule:
    """The levels of `karras_grid`, t = T the noisiest; x_t is x_0 + sigma eps, divided by sqrt(1 + sigma^2).

    Raises ValueError as `karras_grid`.
    """
    return Schedule.from_noise_ratio(karras_grid(T, sigma_min, sigma_max, rho).flip(0), "karras", dtype)


def flow(T: int = 1000, *, dtype: torch.dtype = torch.float32) -> Schedule:
    """The straight path (1 - s) x_0 + s eps at s = t / T (Lipman et al. 2023; Liu et al. 2023), in the course's scale.

    So it is divided by sqrt((1 - s)^2 + s^2). At s = 1 nothing of x_0 is left; like that of `cosine`, the last beta is
    clipped at 0.999. Raises ValueError for a T that is not a positive whole number.
    """
    s = torch.arange(1, _steps(T) + 1, dtype=torch.float64) / T
    alpha_bar = torch.cat([s.new_ones(1), (1 - s) ** 2 / ((1 - s) ** 2 + s**2)])
    return Schedule.from_beta((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999), "flow", dtype)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
}
# levels of networks that are trained at any noise, see `frameworks`: no variance was ever chosen step by step
GRIDS: dict[str, Callable[..., Schedule]] = {"karras": karras, "flow": flow}


def make(name: str, T: int = 1000, **options) -> Schedule:
    """Return the schedule called `name` with T steps; raises ValueError naming the known schedules."""
    known = SCHEDULES | GRIDS
    if name not in known:
        raise ValueError(f"unknown schedule {name!r}: choose one of {', '.join(known)}")
    return known[name](T, **options)
