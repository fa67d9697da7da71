"""The equations of diffusion as pure functions over a `Schedule`; x_t has shape (B, ...), t has shape (B,)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.schedules import Schedule

Model = Callable[..., Tensor]  # model(x_t, t, y=None) -> prediction, shaped like x_t
PREDICTS = ("eps", "x_0", "v")
WEIGHTS = ("eps", "x_0", "v", "min_snr", "vlb")


class Prediction(NamedTuple):
    """A network's answer in both useful forms, each shaped like x_t."""

    x0_hat: Tensor
    eps_hat: Tensor


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Pick values[t] for each example and shape it (B, 1, ..., 1) so that it broadcasts against `like` (B, ...).

    Raises ValueError when t does not hold one whole number per example, IndexError when one is outside 0..T.
    """
    _one_each(t, like)
    if t.is_floating_point():
        raise ValueError(f"t must hold whole numbers (dtype int64), got {t.dtype}")
    T = len(values) - 1
    if len(t) and (int(t.min()) < 0 or int(t.max()) > T):
        raise IndexError(f"t must lie in 0..{T}, got {int(t.min())}..{int(t.max())}")
    return values[t].view(-1, *[1] * (like.ndim - 1))


def _one_each(t: Tensor, like: Tensor) -> None:
    if t.ndim != 1 or len(t) != len(like):
        raise ValueError(
            f"t must hold one timestep per example: expected shape ({len(like)},), got {tuple(t.shape)}. "
            "To use one t for all, write torch.full((len(x),), t)."
        )


def q_step(x: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """One step of the forward chain, from x_{t-1} to x_t (Ho et al. 2020, Eq. 2). Shapes: x, eps (B, ...); t (B,)."""
    return at(schedule.alpha, t, x).sqrt() * x + at(schedule.beta, t, x).sqrt() * eps


def q_sample(x_0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Noise x_0 straight to level t: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, Eq. 4).

    Shapes: x_0 and eps (B, ...), t (B,) with one timestep per example. Returns x_t, shaped like x_0.
    Raises ValueError or IndexError as `at`.
    """
    return at(schedule.alpha_bar, t, x_0).sqrt() * x_0 + at(schedule.sigma, t, x_0) * eps


def x0_from_eps(x_t: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """Solve q_sample for x_0 (Ho et al. 2020, Eq. 15). Shapes: x_t, eps (B, ...); t (B,)."""
    return (x_t - at(schedule.sigma, t, x_t) * eps) / at(schedule.alpha_bar, t, x_t).sqrt()


def eps_from_x0(x_t: Tensor, t: Tensor, x_0: Tensor, schedule: Schedule) -> Tensor:
    """Solve q_sample for eps. Shapes: x_t, x_0 (B, ...); t (B,) in 1..T, since x_0 itself holds no noise."""
    return (x_t - at(schedule.alpha_bar, t, x_t).sqrt() * x_0) / at(schedule.sigma, t, x_t)


def v_target(x_0: Tensor, t: Tensor, eps: Tensor, schedule: Schedule) -> Tensor:
    """The velocity sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 (Salimans & Ho 2022, section 4), shaped like x_0."""
    return at(schedule.alpha_bar, t, x_0).sqrt() * eps - at(schedule.sigma, t, x_0) * x_0


def signal_and_noise(t: Tensor, like: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Return a and s of x_t = a x_0 + s eps, with a^2 + s^2 = 1, shaped to broadcast against `like` (B, ...).

    t: (B,), levels or, as floating-point numbers, fractions of 1..T between them. Errors as `at`.
    """
    if not t.is_floating_point():
        return at(schedule.alpha_bar, t, like).sqrt(), at(schedule.sigma, t, like)
    _one_each(t, like)
    ratio = schedule.ratio_at(t).view(-1, *[1] * (like.ndim - 1))
    a = 1 / (1 + ratio**2).sqrt()
    return a, ratio * a


def predict(
    model: Model, x_t: Tensor, t: Tensor, schedule: Schedule, y: Tensor | None = None, clip: bool = False
) -> Prediction:
    """Run the network once and return its answer as (x0_hat, eps_hat), whichever of eps, x_0 or v it predicts.

    What it predicts is read from `model.predicts`. Shapes: x_t (B, ...), t (B,), where floating-point numbers may lie
    between two levels (`Schedule.ratio_at`), y (B,) class labels or None. clip: keep x0_hat in [-1, 1], as the code
    release of Ho et al. 2020 does for images, and eps_hat in step with it.
    Raises ValueError when `model.predicts` is missing or unknown.
    """
    kind = getattr(model, "predicts", None)
    out = model(x_t, t, y)
    a, s = signal_and_noise(t, x_t, schedule)
    if kind == "eps":
        x0_hat, eps_hat = (x_t - s * out) / a, out
    elif kind == "x_0":
        x0_hat, eps_hat = out, (x_t - a * out) / s
    elif kind == "v":
        x0_hat, eps_hat = a * x_t - s * out, s * x_t + a * out
    else:
        raise ValueError(f"model.predicts must be one of {PREDICTS}, got {kind!r}")
    if clip:
        inside = x0_hat.clamp(-1, 1)
        # where nothing was clipped eps_hat stays as it is: solving for it again would only add rounding
        eps_hat = torch.where(inside == x0_hat, eps_hat, (x_t - a * inside) / s)
        x0_hat = inside
    return Prediction(x0_hat, eps_hat)


def posterior_mean(x_t: Tensor, t: Tensor, x_0: Tensor, schedule: Schedule) -> Tensor:
    """Mean of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, Eq. 7). Shapes: x_t, x_0 (B, ...); t (B,) in 1..T."""
    alpha_bar_before = at(schedule.alpha_bar, t - 1, x_t)
    sigma_before, sigma = at(schedule.sigma, t - 1, x_t), at(schedule.sigma, t, x_t)
    of_x_0 = alpha_bar_before.sqrt() * at(schedule.beta, t, x_t) / sigma**2
    of_x_t = at(schedule.alpha, t, x_t).sqrt() * sigma_before**2 / sigma**2
    return of_x_0 * x_0 + of_x_t * x_t


def draw_t(n: int, schedule: Schedule, generator: torch.Generator | None = None) -> Tensor:
    """Draw one timestep per example, uniform on 1..T; shape (n,), on the schedule's device."""
    return torch.randint(1, schedule.T + 1, (n,), device=schedule.device, generator=generator)


def loss_weight(name: str, schedule: Schedule) -> Tensor:
    """Weight w(t) of the squared error of x0_hat, shape (T+1,); entry 0 is not used and holds 0.

    With SNR = alpha_bar / sigma^2 (Kingma et al. 2021, section 3): "eps", "x_0" and "v" make the loss the plain squared
    error of that quantity (SNR, 1, SNR + 1); "min_snr" is min(SNR, 5) (Hang et al. 2023); "vlb" makes it the
    variational bound in nats, T (SNR(t-1) - SNR(t)) / 2 for t > 1 (Kingma et al. 2021, section 4), where the term of
    t = 1, whose SNR(0) is infinite, takes the weight of a decoder of variance beta_1. What does not depend on the
    network is left out; `bound.bound` has it all.
    Raises ValueError for another name.
    """
    snr = schedule.alpha_bar / schedule.sigma.square()  # infinite at t = 0
    if name == "eps":
        weight = snr.clone()
    elif name == "x_0":
        weight = torch.ones_like(snr)
    elif name == "v":
        weight = snr + 1
    elif name == "min_snr":
        weight = snr.clamp(max=5)
    elif name == "vlb":
        weight = torch.full_like(snr, schedule.T / 2)
        weight[1] /= schedule.beta[1]
        # SNR(t-1) - SNR(t) as a product: in float32 the difference would lose half of its digits
        weight[2:] *= snr[1:-1] * schedule.beta[2:] / schedule.sigma[2:].square()
    else:
        raise ValueError(f"unknown loss weight {name!r}: choose one of {', '.join(WEIGHTS)}")
    weight[0] = 0
    return weight


def weighted_loss(
    model: Model,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    schedule: Schedule,
    weight: str | None = None,
    y: Tensor | None = None,
) -> Tensor:
    """Squared error of the prediction at the given t and eps, weighted per timestep as `loss_weight` says.

    Shapes: x_0, eps (B, ...); t (B,) in 1..T; y (B,) or None. weight None: what the model predicts, unweighted.
    Returns the loss of each example, (B,): the mean over its dimensions. Raises ValueError as `loss_weight`, or when
    `model.predicts` is unknown.
    """
    kind = getattr(model, "predicts", None)
    if kind not in PREDICTS:
        raise ValueError(f"model.predicts must be one of {PREDICTS}, got {kind!r}")
    target = {"eps": lambda: eps, "x_0": lambda: x_0, "v": lambda: v_target(x_0, t, eps, schedule)}[kind]()
    error = (model(q_sample(x_0, t, eps, schedule), t, y) - target).square().flatten(1).mean(1)
    if weight in (None, kind):
        return error
    # the network's own error is turned into that of x0_hat by weights, never by dividing by a tiny sqrt(alpha_bar)
    return error * (loss_weight(weight, schedule)[t] / loss_weight(kind, schedule)[t])


def l_simple(
    model: Model, x_0: Tensor, schedule: Schedule, y: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Training loss: mean squared error of what the model predicts, at random t and eps (Ho et al. 2020, Eq. 14).

    Shapes: x_0 (B, ...), y (B,) or None. Returns a scalar. Raises ValueError when `model.predicts` is unknown.
    """
    t = draw_t(len(x_0), schedule, generator)
    eps = torch.randn(x_0.shape, device=x_0.device, dtype=x_0.dtype, generator=generator)
    return weighted_loss(model, x_0, t, eps, schedule, y=y).mean()
