"""Exercise 3 of notebook 05: how likely a picture is under the decoder, a Gaussian around its answer."""

import math

import torch
from torch import Tensor

from course_utils import elbo
from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def _square(error: Tensor, sigma: float) -> Tensor:
    return error.square() / (2 * sigma**2)


def _constant(sigma: float) -> float:
    return math.log(sigma) + HALF_LOG_2PI


def _sum(each: Tensor) -> Tensor:
    return each.flatten(1).sum(1)


def _axes(each: Tensor) -> Tensor:
    return each.sum((1, 2, 3))  # as students write it for images


def _density(square=_square, constant=_constant, reduce=_sum):
    """Return a log_likelihood from the two terms of each number, and what becomes of the numbers of an image."""
    return lambda x, x_hat, sigma: reduce(-square(x - x_hat, sigma) - constant(sigma))


def _constant_times(count):
    """Return a log_likelihood whose constant is counted so many times an image."""
    return lambda x, x_hat, sigma: -_sum(_square(x - x_hat, sigma)) - count(x) * _constant(sigma)


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, sigma in (
        ("images, sigma = 0.5", (4, 3, 5, 7), 0.5),
        ("sigma = 1", (3, 3, 4, 4), 1.0),
        ("a small sigma: the logarithm of a density can be positive", (2, 3, 4, 6), 0.1),
        ("a large sigma, a whole number", (2, 3, 6, 4), 2),
        ("a single image", (1, 3, 6, 4), 0.3),
        ("every size is 4", (4, 4, 4, 4), 0.7),
        ("one pixel", (5, 1, 1, 1), 0.6),
        ("x_hat = x: only the constant is left", (3, 1, 4, 4), 0.25),
        ("the constant vanishes: sigma = 0.399", (3, 2, 3, 3), (2 * math.pi) ** -0.5),
        ("32 x 32 pixels", (2, 3, 32, 32), 0.2),
        ("points", (6, 2), 0.4),
        ("one number each", (6, 1), 0.8),
    ):
        x, noise = 2 * torch.rand(shape, generator=generator) - 1, torch.randn(shape, generator=generator)
        x_hat = x + (0 if label.startswith("x_hat = x") else sigma * noise)
        made.append(Case(label, {"x": x, "x_hat": x_hat.requires_grad_(), "sigma": sigma}))
    return made


LOG_LIKELIHOOD = Exercise(
    "log_likelihood",
    lambda x, x_hat, sigma: elbo.log_likelihood(x, x_hat, "gaussian", sigma),
    _cases,
    (
        Mistake(
            "sign",
            "You returned the negative log likelihood. That would be a loss; here larger has to mean more likely.",
            "your answer for x_hat = x and for an x_hat far from it: which is larger?",
            (_density(reduce=lambda each: -_sum(each)), _density(reduce=lambda each: -_axes(each))),
        ),
        Mistake(
            "mean over the numbers",
            "You averaged over the numbers of an image. They are independent given z: their densities multiply, their "
            "logarithms add.",
            "what you do with all axes but the first",
            (
                _density(reduce=lambda each: each.flatten(1).mean(1)),
                _density(reduce=lambda each: each.mean((1, 2, 3))),
            ),
        ),
        Mistake(
            "no constant",
            "The constant is missing: your answer does not depend on sigma where x_hat = x. A density has to integrate "
            "to 1.",
            "what stands in front of the exponential in the density of a normal distribution",
            (_density(constant=lambda sigma: 0.0), _density(constant=lambda sigma: 0.0, reduce=_axes)),
        ),
        Mistake(
            "log sigma missing",
            "sigma is missing from the constant: without it a wider Gaussian would be better for every picture.",
            "what stands in front of the exponential in the density of a normal distribution, and its logarithm",
            (
                _density(constant=lambda sigma: HALF_LOG_2PI),
                _density(constant=lambda sigma: HALF_LOG_2PI, reduce=_axes),
            ),
        ),
        Mistake(
            "log 2 pi missing",
            "2 pi is missing from the constant.",
            "what stands in front of the exponential in the density of a normal distribution, and its logarithm",
            (_density(constant=math.log), _density(constant=math.log, reduce=_axes)),
        ),
        Mistake(
            "sign of the constant",
            "The constant has the wrong sign: it comes from a denominator.",
            "on which side of the fraction bar the root of 2 pi sigma^2 stands",
            (
                _density(constant=lambda sigma: -_constant(sigma)),
                _density(constant=lambda sigma: HALF_LOG_2PI - math.log(sigma)),
            ),
        ),
        Mistake(
            "sigma for sigma^2",
            "You took sigma for the variance; it is the deviation. Sigma is not squared in one place or everywhere.",
            "where sigma occurs in the density of a normal distribution, and to which power",
            (
                _density(lambda e, s: e.square() / (2 * s)),
                _density(constant=lambda s: 0.5 * math.log(s) + HALF_LOG_2PI),
                _density(lambda e, s: e.square() / (2 * s), lambda s: 0.5 * math.log(s) + HALF_LOG_2PI),
            ),
        ),
        Mistake(
            "sigma converted",
            "You squared sigma (or took its exponential) and used the result as the deviation; sigma is the deviation.",
            "what the second argument of your normal distribution means, a deviation or a variance",
            (
                lambda x, x_hat, sigma: elbo.log_likelihood(x, x_hat, scale=sigma**2),
                lambda x, x_hat, sigma: elbo.log_likelihood(x, x_hat, scale=math.exp(sigma)),
                lambda x, x_hat, sigma: elbo.log_likelihood(x, x_hat, scale=math.exp(sigma / 2)),
            ),
        ),
        Mistake(
            "sigma in the wrong place",
            "The squared error is not divided by sigma^2: with a small sigma the same error must weigh more.",
            "the brackets behind the fraction bar: in Python a / b * c is (a / b) * c",
            (
                _density(lambda e, s: e.square() / 2 * s**2),
                _density(lambda e, s: e.square() * s / 2),
                _density(lambda e, s: e.square() / 2),
                _density(lambda e, s: e.square() / 2, lambda s: HALF_LOG_2PI),
                _density(lambda e, s: e.square() / 2, lambda s: 0.0),
                _density(lambda e, s: e.square(), lambda s: 0.0),
                _density(lambda e, s: (e / 2 * s).square()),
            ),
        ),
        Mistake(
            "constant counted once",
            "The constant is not counted as often as it should be: every number of an image brings one, nothing else.",
            "your answer for x_hat = x: how should it change if the image has twice as many pixels?",
            (
                _constant_times(lambda x: 1),
                _constant_times(len),
                _constant_times(torch.numel),
                _constant_times(lambda x: x.shape[1]),
                _constant_times(lambda x: x[0, 0].numel()),
                lambda x, x_hat, sigma: -_axes(_square(x - x_hat, sigma)) - _constant(sigma),
                lambda x, x_hat, sigma: _density(constant=math.log)(x, x_hat, sigma) - HALF_LOG_2PI,
                lambda x, x_hat, sigma: _density(constant=lambda s: HALF_LOG_2PI)(x, x_hat, sigma) - math.log(sigma),
            ),
        ),
        Mistake(
            "1/2 missing",
            "A factor 1/2 is missing, in front of the square, of the logarithm of the variance, or of both.",
            "the two halves: that of the exponent, and the root in front of the exponential",
            (
                _density(lambda e, s: e.square() / s**2),
                _density(constant=lambda s: 2 * _constant(s)),
                _density(lambda e, s: e.square() / s**2, lambda s: 2 * _constant(s)),
                _density(constant=lambda s: math.log(s) + 2 * HALF_LOG_2PI),
                _density(constant=lambda s: 2 * math.log(s) + HALF_LOG_2PI),
            ),
        ),
        Mistake(
            "a half too many",
            "There is a half too many: the error is divided by too large a number, or the constant is halved twice.",
            "the brackets behind the fraction bar, and how log sigma and log sigma^2 differ",
            (
                _density(lambda e, s: _square(e, s) / 2),
                _density(constant=lambda s: _constant(s) / 2),
                _density(lambda e, s: _square(e, s) / 2, lambda s: _constant(s) / 2),
            ),
        ),
        Mistake(
            "absolute error",
            "You used the absolute error, or a Laplace density; a Gaussian has the square in its exponent.",
            "the power of x - x_hat",
            (
                lambda x, x_hat, sigma: elbo.log_likelihood(x, x_hat, "laplace", sigma),
                _density(lambda e, s: e.abs() / s),
                _density(lambda e, s: e.abs() / (2 * s)),
                _density(lambda e, s: e.abs() / (2 * s**2)),
                _density(lambda e, s: e / (2 * s**2)),
            ),
        ),
        Mistake(
            "square of the sum",
            "You summed the errors before you squared them: errors of opposite sign then cancel.",
            "the order of sum and square",
            (
                lambda x, x_hat, sigma: -_square(_sum(x - x_hat), sigma) - x.flatten(1).shape[1] * _constant(sigma),
                lambda x, x_hat, sigma: -_square(_sum(x - x_hat), sigma) - _constant(sigma),
            ),
        ),
        Mistake(
            "summed over the batch",
            "You summed or averaged over the batch, hence the wrong shape: each image has a likelihood of its own.",
            "the axes over which you sum; the first one must survive",
            (
                _density(reduce=torch.sum),
                _density(reduce=torch.mean),
                _density(reduce=lambda each: _sum(each).mean()),
                _density(reduce=lambda each: each.sum(0)),
            ),
        ),
        Mistake(
            "not summed",
            "Some axes are left, hence the wrong shape: all numbers of an image have to be summed, channels, rows "
            "and columns.",
            "the shape that you return for 4 images",
            (
                _density(reduce=lambda each: each),
                _density(reduce=lambda each: each.sum(1)),
                _density(reduce=lambda each: each.sum(-1)),
                _density(reduce=lambda each: each.sum((-2, -1))),
                _density(reduce=lambda each: each.flatten(1).sum(1, keepdim=True)),
            ),
        ),
        Mistake(
            "axes counted",
            "Right for images, but your sum names axes that points, (B, 2), lack: x may have any number of axes.",
            "how to treat all axes but the first alike, however many there are",
            (
                _density(reduce=_axes),
                _density(reduce=lambda each: each.flatten(1, 3).sum(1)),
            ),
        ),
        Mistake(
            "no logarithm",
            "You returned the density, not its logarithm: a product of thousands of densities leaves the range of "
            "float32.",
            "what your function gives for an image of 32 x 32 pixels",
            (
                _density(reduce=lambda each: _sum(each).exp()),
                _density(reduce=lambda each: _sum(each.exp())),
            ),
        ),
        Mistake(
            "product first",
            "You multiplied the densities before you took the logarithm: the product of thousands leaves the range of "
            "float32 (0 or infinite).",
            "the logarithm of a product, written as a sum",
            (_density(reduce=lambda each: each.exp().flatten(1).prod(1).log()),),
        ),
        Mistake(
            "bits",
            "You used a logarithm of another base: nats are asked for, the natural logarithm all through.",
            "the base of your logarithm",
            (
                _density(reduce=lambda each: _sum(each) / math.log(2)),
                _density(constant=lambda s: _constant(s) / math.log(2)),
                _density(constant=lambda s: _constant(s) / math.log(10)),
            ),
        ),
    ),
    hint="write log N for a single number first; where x_hat = x every number of an image gives the same",
    tolerance=Tolerance(0, 5e-3),  # 0: relative to an infinite answer everything would be close
)

EXERCISES = (LOG_LIKELIHOOD,)
