"""The equations of diffusion as pure functions over a `Schedule`; x_t has shape (B, ...), t has shape (B,)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.schedules import Schedule

Model = Callable[..., Tensor]  # model(x_t, t, y=None) -> prediction, shaped like x_t
PREDICTS = ("eps", "x_0", "v")


class Prediction(NamedTuple):
    """A network's answer in both useful forms, each shaped like x_t."""

    x0_hat: Tensor
    eps_hat: Tensor


def at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Pick values[t] for each example and shape it (B, 1, ..., 1) so that it broadcasts against `like` (B, ...).

    Raises ValueError when t does not hold one whole number per example, IndexError when one is outside 0..T.
    """
    if t.ndim != 1 or len(t) != len(like):
        raise ValueError(
            f"t must hold one timestep per example: expected shape ({len(like)},), got {tuple(t.shape)}. "
            "To use one t for all, write torch.full((len(x),), t)."
        )
    if t.is_floating_point():
        raise ValueError(f"t must hold whole numbers (dtype int64), got {t.dtype}")
    T = len(values) - 1
    if len(t) and (int(t.min()) < 0 or int(t.max()) > T):
        raise IndexError(f"t must lie in 0..{T}, got {int(t.min())}..{int(t.max())}")
    return values[t].view(-1, *[1] * (like.ndim - 1))


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


def predict(model: Model, x_t: Tensor, t: Tensor, schedule: Schedule, y: Tensor | None = None) -> Prediction:
    """Run the network once and return its answer as (x0_hat, eps_hat), whichever of eps, x_0 or v it predicts.

    What it predicts is read from `model.predicts`. Shapes: x_t (B, ...), t (B,), y (B,) class labels or None.
    Raises ValueError when `model.predicts` is missing or unknown.
    """
    kind = getattr(model, "predicts", None)
    out = model(x_t, t, y)
    if kind == "eps":
        return Prediction(x0_from_eps(x_t, t, out, schedule), out)
    if kind == "x_0":
        return Prediction(out, eps_from_x0(x_t, t, out, schedule))
    if kind == "v":
        a, s = at(schedule.alpha_bar, t, x_t).sqrt(), at(schedule.sigma, t, x_t)
        return Prediction(a * x_t - s * out, s * x_t + a * out)
    raise ValueError(f"model.predicts must be one of {PREDICTS}, got {kind!r}")


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


def l_simple(
    model: Model, x_0: Tensor, schedule: Schedule, y: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Training loss: mean squared error of what the model predicts, at random t and eps (Ho et al. 2020, Eq. 14).

    Shapes: x_0 (B, ...), y (B,) or None. Returns a scalar. Raises ValueError when `model.predicts` is unknown.
    """
    t = draw_t(len(x_0), schedule, generator)
    eps = torch.randn(x_0.shape, device=x_0.device, dtype=x_0.dtype, generator=generator)
    targets = {"eps": lambda: eps, "x_0": lambda: x_0, "v": lambda: v_target(x_0, t, eps, schedule)}
    kind = getattr(model, "predicts", None)
    if kind not in targets:
        raise ValueError(f"model.predicts must be one of {PREDICTS}, got {kind!r}")
    return torch.nn.functional.mse_loss(model(q_sample(x_0, t, eps, schedule), t, y), targets[kind]())
