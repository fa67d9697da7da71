"""Classifier-free guidance: a model from a model, so that samplers need not know of it."""

import math

import torch
from torch import Tensor

from course_utils.diffusion import Model


class _Guided:
    def __init__(self, model: Model, scale: float, null: int | None, interval: tuple[float, float]):
        self.model, self.scale, self.null, self.interval = model, scale, null, interval
        self.predicts, self.config = getattr(model, "predicts", None), getattr(model, "config", None)

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            raise ValueError("guidance needs labels: pass y, one label per example, to the sampler or to the model")
        low, high = self.interval
        inside = (t >= low) & (t <= high)
        if self.scale == 1 or not bool(inside.any()):
            return self.model(x_t, t, y)
        # shares that add up to 0 leave all to "no class"
        none = None if self.null is None else torch.full_like(y, 0 if y.is_floating_point() else self.null)
        if self.scale == 0 and bool(inside.all()):  # here, too, one answer is all that counts
            return self.model(x_t, t, none)
        if none is None:
            with_y, without = self.model(x_t, t, y), self.model(x_t, t, None)
        else:
            with_y, without = self.model(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([y, none])).chunk(2)
        scale = torch.where(inside, self.scale, 1.0).to(x_t.dtype).view(-1, *[1] * (x_t.ndim - 1))
        return without + scale * (with_y - without)


def guided(
    model: Model, scale: float, null: int | None = None, interval: tuple[float, float] = (-math.inf, math.inf)
) -> Model:
    """Classifier-free guidance: the model whose answer is unconditional + scale * (conditional - unconditional).

    Source: Ho & Salimans 2022, Eq. 6, whose w is scale - 1. scale 0 is the unconditional model, 1 the conditional one,
    above 1 exaggerates what sets the class apart. eps, x_0 and v are affine in each other at a given x_t, so it is the
    same whichever the model predicts. null: the label that stands for "no class", evaluated beside y in one batch; None
    takes `model.config.classes`, and where there is no config calls the model a second time with y=None. interval:
    guide only where interval[0] <= t <= interval[1], and take the conditional answer elsewhere (Kynkäänniemi et al.
    2024, who bound sigma).
    The result is called as model(x_t, t, y) and raises ValueError without y. Raises ValueError for a model without
    classes, a scale that is not finite, and an empty interval.
    """
    config = getattr(model, "config", None)
    if null is None and config is not None:
        null = getattr(config, "classes", 0)
        if not null:
            raise ValueError("this model has no classes, so there is nothing to guide by: take one trained with labels")
    if not math.isfinite(scale):
        raise ValueError(f"the guidance scale must be a finite number, got {scale}")
    if not interval[0] <= interval[1]:
        raise ValueError(f"the guidance interval (t from, t to) is empty: got {interval}")
    return _Guided(model, scale, null, interval)
