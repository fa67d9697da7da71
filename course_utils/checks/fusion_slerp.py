"""Exercise 2 of notebook 08: the mix of two pictures on a sphere, example by example."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import latents
from course_utils.checks.engine import Mistake
from course_utils.checks.fusion_shared import OffArc, Spherical, cosines, shaped_like, straight, vector_cases

_LEAST = 1e-4  # sine below which the line stands in for the arc


def _arc(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    return latents.between(x, y, torch.full((len(x),), lambda_, dtype=torch.float64), "spherical")


def _angle(cosine: Tensor) -> Tensor:
    return cosine.clamp(-1, 1).acos()


def _sines(w: Tensor, lambda_: float) -> tuple[Tensor, Tensor]:
    return ((1 - lambda_) * w).sin() / w.sin(), (lambda_ * w).sin() / w.sin()


def _with_epsilon(w: Tensor, lambda_: float) -> tuple[Tensor, Tensor]:
    below = w.sin() + 1e-8
    return ((1 - lambda_) * w).sin() / below, (lambda_ * w).sin() / below


def _has_arc(w: Tensor) -> Tensor:
    return w.sin() >= _LEAST  # nan has not


def _nan_too(w: Tensor) -> Tensor:
    return ~(w.sin() < _LEAST)


def _always(w: Tensor) -> Tensor:
    return torch.ones_like(w, dtype=torch.bool)


def _slerp(cosine=cosines, angle=_angle, weights=_sines, has_arc=_has_arc, line=straight, shaped=shaped_like):
    """Return a slerp from its parts; cosine is that of flattened examples, (B, D)."""

    def answer(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
        w = angle(cosine(x.flatten(1), y.flatten(1)))
        of_x, of_y = (shaped(weight, x) for weight in weights(w, lambda_))
        return torch.where(shaped_like(has_arc(w), x), of_x * x + of_y * y, line(x, y, lambda_))

    return answer


def _each(part: str, *choices):
    """Return a slerp for each choice of one part."""
    return tuple(_slerp(**{part: choice}) for choice in choices)


def _along(*dims: int, keepdim: bool = True):
    """Return a slerp whose angle is measured along these axes of x and y as they are."""

    def answer(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
        lengths = (x.square().sum(dims, keepdim) * y.square().sum(dims, keepdim)).sqrt()
        w = _angle((x * y).sum(dims, keepdim) / lengths)
        of_x, of_y = _sines(w, lambda_)
        return torch.where(_has_arc(w), of_x * x + of_y * y, straight(x, y, lambda_))

    return answer


def _divided(length):
    """Return a slerp that is right and then divided by length(result, x, y, lambda_), each the length of a vector."""

    def answer(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
        out = _arc(x, y, lambda_)
        return out / shaped_like(length(*(z.flatten(1).norm(dim=1) for z in (out, x, y)), lambda_), x)

    return answer


def _of_units(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    return _arc(*(F.normalize(z.flatten(1)).view_as(z) for z in (x, y)), lambda_)


def _turned(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    cosine = cosines(x.flatten(1), y.flatten(1))
    return _arc(x, y * shaped_like(torch.where(cosine < 0, -1.0, 1.0).to(y), x), lambda_)


def _asked(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    w = _angle(cosines(x.flatten(1), y.flatten(1)))
    return straight(x, y, lambda_) if w.sin() < _LEAST else _arc(x, y, lambda_)


def _by_math(x: Tensor, y: Tensor, lambda_: float) -> Tensor:
    math.acos(cosines(x.flatten(1), y.flatten(1)).clamp(-1, 1))
    return _arc(x, y, lambda_)


SLERP = Spherical(
    "slerp",
    _arc,
    vector_cases,
    (
        Mistake(
            "x and y exchanged",
            "The shares are exchanged: lambda_ is the share of y.",
            "what you return for lambda_ = 0: it should be x",
            _each("weights", lambda w, lambda_: _sines(w, lambda_)[::-1]),
        ),
        Mistake(
            "lambda_ unused",
            "How far your result is from x to y does not depend on lambda_.",
            "where your function uses lambda_; a formula for the middle of the arc is not enough",
            _each("weights", lambda w, _: _sines(w, 0.5)),
        ),
        Mistake(
            "angle unused",
            "Your weights do not depend on the angle: they are those of a line, or fit vectors at right angles only.",
            "where your weights use w, and for which examples the linear mix is asked for",
            (
                straight,
                _slerp(weights=lambda w, lambda_: _sines(torch.full_like(w, math.pi / 2), lambda_)),
                _slerp(weights=lambda w, lambda_: (torch.full_like(w, x).sqrt() for x in (1 - lambda_, lambda_))),
            ),
        ),
        Mistake(
            "one angle for the whole batch",
            "You measured one angle, or one length, for the whole batch; every example has its own.",
            "the axes that your sums and norms run over, and the shape of w",
            _each(
                "cosine",
                lambda u, v: ((u * v).sum() / (u.norm() * v.norm())).expand(len(u)),
                lambda u, v: (u * v).sum(1) / (u.norm() * v.norm()),
                lambda u, v: cosines(u, v).mean().expand(len(u)),
                lambda u, v: cosines(u, v)[:1].expand(len(u)),
            ),
        ),
        Mistake(
            "angle along some axes only",
            "You measured angles along some of the axes only, such as one for each pixel. An example is one long "
            "vector, and has one angle.",
            "the shape of w; dim of sum, norm and cosine_similarity",
            (_along(1), _along(1, keepdim=False), _along(-1), _along(-1, keepdim=False), _along(2, 3), _along(-2, -1)),
        ),
        Mistake(
            "pictures only",
            "Your function expects a certain number of axes. x and y may have any number of them.",
            "numbers of axes in your code; flatten makes (B, D) of all of them",
            (_along(1, 2, 3), _slerp(shaped=lambda weight, x: weight.view(-1, 1, 1, 1))),
        ),
        Mistake(
            "wrong broadcast shape",
            "The weights have the wrong shape to multiply the batch: each must meet its own example.",
            "how broadcasting lines up (B,) with x, from the right, and what shape the weights need for it",
            _each("shaped", lambda weight, x: weight, lambda weight, x: weight.view(-1, 1)),
        ),
        Mistake(
            "not flattened back",
            "Your result is flat, (B, D); it should have the shape of x.",
            "what is flattened in your code: the angle needs it, the mix does not",
            (lambda x, y, lambda_: _arc(x, y, lambda_).flatten(1),),
        ),
        Mistake(
            "product without the lengths",
            "Your cosine is wrong: the product of x and y, summed up, is divided by the length of x and by that of y, "
            "each once. Of vectors that are twice as long the cosine is the same.",
            "the cosine of x and 2 x, for some x: is it 1?",
            (
                _slerp(lambda u, v: (u * v).sum(1), torch.acos),
                _slerp(lambda u, v: (u * v).sum(1), torch.acos, has_arc=_nan_too),
                *_each(
                    "cosine",
                    lambda u, v: (u * v).mean(1),
                    lambda u, v: (u * v).mean(1) / (u.norm(dim=1) * v.norm(dim=1)),
                    lambda u, v: (u * v).sum(1) / u.norm(dim=1),
                    lambda u, v: (u * v).sum(1) / u.square().sum(1),
                    lambda u, v: (u * v).sum(1) / v.square().sum(1),
                    lambda u, v: (u * v).sum(1) / (u.square().sum(1) * v.square().sum(1)),
                ),
            ),
        ),
        Mistake(
            "centred",
            "You subtracted means first: that is a correlation. The angle is that between x and y as they are.",
            "mean and corrcoef in your code",
            _each("cosine", lambda u, v: cosines(u - u.mean(1, keepdim=True), v - v.mean(1, keepdim=True))),
        ),
        Mistake(
            "sign of the cosine lost",
            "You took the shorter way: the sign of the cosine is lost. That is usual for rotations, where x and -x are "
            "the same; a picture and its negative are not.",
            "abs and changes of sign in your code",
            (_slerp(lambda u, v: cosines(u, v).abs()), _turned),
        ),
        Mistake(
            "another angle",
            "Your w is not the angle in radians: it is the cosine, the arc sine, in degrees, halved or the like.",
            "the value of w for two vectors at right angles: is it pi / 2?",
            (
                *_each(
                    "angle",
                    lambda cosine: cosine,
                    lambda cosine: cosine.clamp(-1, 1).asin(),
                    lambda cosine: _angle(cosine).rad2deg(),
                    lambda cosine: _angle(cosine).deg2rad(),
                    lambda cosine: _angle(cosine) / 2,
                    lambda cosine: _angle(cosine) / math.pi,
                ),
                _slerp(angle=lambda cosine: cosine, has_arc=_always),
                _slerp(angle=lambda cosine: cosine.clamp(-1, 1).asin(), has_arc=_always),
                _slerp(angle=lambda cosine: _angle(cosine).rad2deg(), has_arc=_always),
            ),
        ),
        Mistake(
            "not divided by sin w",
            "Your weights are not divided by sin w.",
            "what you return for lambda_ = 0: it should be x itself",
            _each("weights", lambda w, lambda_: (((1 - lambda_) * w).sin(), (lambda_ * w).sin())),
        ),
        Mistake(
            "other functions of w",
            "Your weights are made of other functions of the angle than those of the formula.",
            "each sine of the formula, above and below",
            _each(
                "weights",
                lambda w, lambda_: (((1 - lambda_) * w).cos() / w.sin(), (lambda_ * w).cos() / w.sin()),
                lambda w, lambda_: (((1 - lambda_) * w).cos() / w.cos(), (lambda_ * w).cos() / w.cos()),
                lambda w, lambda_: (((1 - lambda_) * w).cos(), (lambda_ * w).sin()),
                lambda w, lambda_: ((lambda_ * w).cos(), (lambda_ * w).sin()),
            ),
        ),
        Mistake(
            "lengths lost",
            "The lengths of x and y are lost: you mixed them normalised, or gave the result another length. The "
            "lengths are divided out of the cosine only.",
            "what you return for lambda_ = 0: it should be x itself, in its own length",
            (
                _of_units,
                _divided(lambda out, x, y, lambda_: out),
                _divided(lambda out, x, y, lambda_: out / x),
                _divided(lambda out, x, y, lambda_: out / y),
                _divided(lambda out, x, y, lambda_: out / straight(x, y, lambda_)),
            ),
        ),
        Mistake(
            "one number expected",
            "You treat the angle as one number, in an if or by a function of math: a batch has many of them.",
            "torch.where chooses example by example; torch has functions for tensors",
            (_asked, _by_math),
        ),
        Mistake(
            "whole batch on the line",
            "As soon as one example has no arc, you mix the whole batch linearly: the others still have theirs.",
            "any and all in your code",
            _each("has_arc", lambda w: _has_arc(w).all().expand(len(w))),
        ),
        OffArc(
            "no line for the same direction",
            "Where x and y point in the same direction your result is not the linear mix. There sin w is 0: a division "
            "by it gives nan, and a small number added below gives 0.",
            "what you return for x = y, and for y = 2 x",
            (
                _slerp(has_arc=_always),
                _slerp(weights=_with_epsilon, has_arc=_always),
                _slerp(line=lambda x, y, lambda_: x),
                _slerp(line=lambda x, y, lambda_: y),
            ),
            kinds=("parallel",),
        ),
        OffArc(
            "cosine above 1",
            "Rounding makes some of your cosines slightly larger than 1, and of these there is no arc cosine: nan.",
            "the largest cosine that you get for y = c x, for many random x and c > 0",
            (_slerp(angle=torch.acos, has_arc=_nan_too),),
            kinds=("parallel",),
        ),
        OffArc(
            "no line for opposite directions",
            "Where x and y point in opposite directions your result is not the linear mix. There sin w is 0, too, "
            "though w is not.",
            "what you return for y = -x, and what you compare with 1e-4",
            (_slerp(has_arc=lambda w: w >= _LEAST), _slerp(angle=lambda c: c.clamp(-1 + 1e-7, 1 - 1e-7).acos())),
            kinds=("opposite",),
        ),
        OffArc(
            "no line for zero",
            "Where x or y is zero everywhere your result is not the linear mix. 0 / 0 is nan, of which no comparison "
            "is true; and with a small number added below the cosine is 0, as at a right angle.",
            "x = 0, step by step: the cosine, w, and what your condition says",
            (_slerp(has_arc=_nan_too), _slerp(lambda u, v: F.cosine_similarity(u, v))),
            kinds=("zero",),
        ),
    ),
    hint="for lambda_ = 0 it is x, for 1 it is y; of two vectors (1, 0) and (0, 2) the middle is (0.7071, 1.4142)",
)

EXERCISES = (SLERP,)
