"""The variational bound on -log p(x_0), term by term: L_T for the prior, L_{t-1} for each step, L_0 for the decoder."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.diffusion import Model, at, posterior_mean, predict, q_sample
from course_utils.schedules import Schedule

VARIANCES = ("beta_tilde", "beta")


class Terms(NamedTuple):
    """The bound of each example in nats: prior (B,), kl (B, T-1) whose column j holds t = j + 2, decoder (B,)."""

    prior: Tensor
    kl: Tensor
    decoder: Tensor

    @property
    def total(self) -> Tensor:
        """The whole bound, (B,) in nats: at least -log p_theta(x_0)."""
        return self.prior + self.kl.sum(1) + self.decoder


def gaussian_kl(
    mean_1: Tensor | float, variance_1: Tensor | float, mean_2: Tensor | float, variance_2: Tensor | float
) -> Tensor:
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)) for each element, in nats (Kingma & Welling 2014, appendix B).

    Arguments: tensors or numbers that broadcast against each other. Raises ValueError for a variance that is not
    positive.
    """
    mean_1, variance_1, mean_2, variance_2 = map(torch.as_tensor, (mean_1, variance_1, mean_2, variance_2))
    if not bool((variance_1 > 0).all() and (variance_2 > 0).all()):
        raise ValueError("a Gaussian's variance must be positive. beta_tilde_1 is 0: for t = 1 take decoder_term")
    log_ratio = variance_1.log() - variance_2.log()
    # expm1, because nearly equal variances leave a difference of squares that 1 + log would round away
    return ((mean_1 - mean_2).square() / variance_2 + torch.expm1(log_ratio) - log_ratio) / 2


def prior_term(x_0: Tensor, schedule: Schedule) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) of each example, summed over its dimensions (Ho et al. 2020, Eq. 5).

    Shape: x_0 (B, ...). Returns (B,) in nats. No network takes part: only a schedule that ends in noise makes it small.
    """
    return gaussian_kl(schedule.alpha_bar[-1].sqrt() * x_0, schedule.sigma[-1].square(), 0.0, 1.0).flatten(1).sum(1)


def kl_term(
    model: Model,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    schedule: Schedule,
    variance: str = "beta_tilde",
    y: Tensor | None = None,
    clip: bool = False,
) -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) at one draw of x_t (Ho et al. 2020, Eqs. 5 and 8).

    Shapes: x_0, eps (B, ...), which give x_t = q_sample(x_0, t, eps); t (B,) in 2..T; y (B,) or None. variance: that of
    p_theta, "beta_tilde" or "beta" (section 3.2). clip: p_theta keeps x0_hat in [-1, 1], as a sampler with clip does.
    Returns (B,) in nats, summed over each example's dimensions. Raises ValueError for another variance or a t below 2,
    IndexError for a t above T.
    """
    _check_variance(variance)
    if len(t) and int(t.min()) < 2:
        raise ValueError(f"kl_term takes t in 2..{schedule.T}, got {int(t.min())}: the term of t = 1 is decoder_term's")
    x_t = q_sample(x_0, t, eps, schedule)
    x0_hat = predict(model, x_t, t, schedule, y, clip).x0_hat
    q_mean, p_mean = posterior_mean(x_t, t, x_0, schedule), posterior_mean(x_t, t, x0_hat, schedule)
    q_variance, p_variance = at(schedule.beta_tilde, t, x_0), at(getattr(schedule, variance), t, x_0)
    return gaussian_kl(q_mean, q_variance, p_mean, p_variance).flatten(1).sum(1)


def decoder_term(
    model: Model,
    x_0: Tensor,
    eps: Tensor,
    schedule: Schedule,
    bins: int | None = None,
    y: Tensor | None = None,
    clip: bool = False,
) -> Tensor:
    """L_0 = -log p_theta(x_0 | x_1) at x_1 = q_sample(x_0, 1, eps), summed over dimensions (Ho et al. 2020, Eq. 13).

    The decoder is N(x0_hat, beta_1) whichever variance the other steps have, because beta_tilde_1 = 0. bins None: its
    density, for continuous data; the bound is then on a density and depends on the units of x_0. bins 256: its
    probability of the bin of each 8-bit value of images in [-1, 1], where the outermost bins reach to infinity.
    Shapes: x_0, eps (B, ...); y (B,) or None. clip as for `kl_term`. Returns (B,) in nats. Raises ValueError for fewer
    than two bins or an x_0 that does not lie on their centres.
    """
    t = torch.ones(len(x_0), dtype=torch.long, device=x_0.device)
    x0_hat = predict(model, q_sample(x_0, t, eps, schedule), t, schedule, y, clip).x0_hat
    std = schedule.beta[1].sqrt()
    if bins is None:
        nats = ((x_0 - x0_hat) / std).square() / 2 + std.log() + math.log(2 * math.pi) / 2
    else:
        nats = -_log_bin(_check_bins(x_0, bins), x0_hat, std, bins)
    return nats.flatten(1).sum(1)


@torch.no_grad()
def bound(
    model: Model,
    x_0: Tensor,
    schedule: Schedule,
    *,
    y: Tensor | None = None,
    variance: str = "beta_tilde",
    bins: int | None = None,
    clip: bool = False,
    repeats: int = 1,
    generator: torch.Generator | None = None,
) -> Terms:
    """The bound L_T + sum of L_{t-1} + L_0 on -log p_theta(x_0), each t at fresh eps (Ho et al. 2020, Eqs. 5 and 13).

    Shapes: x_0 (B, ...), y (B,) or None; variance and clip as for `kl_term`, bins as for `decoder_term`. On data with a
    smooth density "beta" is the tight variance: the first steps' beta_tilde is too small there and costs 0.3 nats a
    dimension or more, for any T. repeats: draws of eps per term, averaged. The network runs repeats * T times on B
    examples, one t at a time, in the mode (train or eval) that it is in.
    Raises ValueError as `kl_term` and `decoder_term`, or for repeats below 1.
    """
    _check_variance(variance)
    if repeats < 1:
        raise ValueError(f"repeats counts the draws of eps per term: at least 1, got {repeats}")
    if bins is not None:
        _check_bins(x_0, bins)  # before the long part

    def draw() -> Tensor:
        return torch.randn(x_0.shape, device=x_0.device, dtype=x_0.dtype, generator=generator)

    def average(term: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.stack([term(draw()) for _ in range(repeats)]).mean(0)

    def kl(t: int) -> Tensor:
        times = torch.full((len(x_0),), t, dtype=torch.long, device=x_0.device)
        return average(lambda eps: kl_term(model, x_0, times, eps, schedule, variance, y, clip))

    columns = [kl(t) for t in range(2, schedule.T + 1)]
    decoder = average(lambda eps: decoder_term(model, x_0, eps, schedule, bins, y, clip))
    return Terms(prior_term(x_0, schedule), torch.stack(columns, 1) if columns else x_0.new_zeros(len(x_0), 0), decoder)


def bits_per_dim(nats: Tensor, d: int) -> Tensor:
    """Nats per example turned into bits per dimension, nats / (d ln 2) (Nichol & Dhariwal 2021, section 3).

    d: dimensions of one example, x_0[0].numel(). Comparable with published numbers for bins = 256 only. Raises
    ValueError for d below 1.
    """
    if d < 1:
        raise ValueError(f"d counts the dimensions of one example, x_0[0].numel(): at least 1, got {d}")
    return nats / (d * math.log(2))


def _check_variance(variance: str) -> None:
    if variance not in VARIANCES:
        raise ValueError(f"variance must be 'beta' or 'beta_tilde', got {variance!r}")


def _check_bins(x_0: Tensor, bins: int) -> Tensor:
    if bins < 2:
        raise ValueError(f"bins must be at least 2 (256 for 8-bit images), or None for a density, got {bins}")
    level = (x_0 + 1) * (bins - 1) / 2
    # a twentieth of a bin: float32 and bfloat16 images pass or fail by what they hold, not by rounding
    if not bool(((x_0.abs() <= 1 + 1e-4) & ((level - level.round()).abs() < 0.05)).all()):
        raise ValueError(
            f"x_0 must hold {bins} levels from -1 to 1, as 8-bit images do; these values lie between them or outside "
            f"(from {x_0.min():.4g} to {x_0.max():.4g}). Round them, or take bins=None for continuous data."
        )
    return x_0


def _log_bin(x_0: Tensor, mean: Tensor, std: Tensor, bins: int) -> Tensor:
    """log of the N(mean, std^2) probability of the bin around x_0, the outermost bins open (Ho et al. 2020, Eq. 13)."""
    half = 1 / (bins - 1)
    low = torch.where(x_0 < -1 + half, -torch.inf, (x_0 - half - mean) / std)
    high = torch.where(x_0 > 1 - half, torch.inf, (x_0 + half - mean) / std)
    # the mirrored bin has the same probability; in the lower half the normal cdf keeps its digits
    low, high = torch.where(low + high > 0, -high, low), torch.where(low + high > 0, -low, high)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + torch.log(-torch.expm1(log_low - log_high))
