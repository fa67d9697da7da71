"""Exercise 2 of notebook 05: what the latents cost, the divergence of the encoder's Gaussian from the prior."""

import math

import torch
from torch import Tensor

from course_utils import elbo
from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _sum(each: Tensor) -> Tensor:
    return each.sum(1)


def _kl(each=elbo.kl, reduce=_sum):
    """Return a kl_divergence from the number of each latent, (B, D), and what becomes of them."""
    return lambda mu, logvar: reduce(each(mu, logvar))


def _backwards(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((1 + mu.square()) / logvar.exp() - 1 + logvar)


def _estimate(mu: Tensor, logvar: Tensor) -> Tensor:
    z = elbo.reparametrise(mu, logvar, torch.randn_like(mu))
    return 0.5 * (z.square() - (z - mu).square() / logvar.exp() - logvar)


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, shape, center, spread, apart) in enumerate(
        (
            ("a batch of latents", (4, 6), 0.0, 1.0, 1.0),
            ("a single image", (1, 5), 0.0, 1.0, 1.0),
            ("a single latent number each", (6, 1), 0.0, 1.0, 1.0),
            ("one image, one latent number", (1, 1), 0.7, 0.0, 1.0),
            ("as many images as latent numbers", (5, 5), 0.0, 1.0, 1.0),
            ("the prior itself: mu = 0, logvar = 0", (3, 4), 0.0, 0.0, 0.0),
            ("close to the prior", (3, 4), 0.0, 0.05, 0.05),
            ("narrow: sigma near 0.05", (4, 3), -6.0, 0.5, 1.0),
            ("wide: sigma near 3", (4, 3), 2.2, 0.3, 0.5),
            ("mu = 0", (2, 6), 0.0, 1.0, 0.0),
            ("logvar = 0, so that sigma is 1", (2, 7), 0.0, 0.0, 1.0),
            ("256 latent numbers", (3, 256), -2.0, 1.5, 1.0),
        )
    ):
        mu, logvar = (torch.randn(shape, generator=generator) for _ in range(2))
        args = {"mu": apart * mu, "logvar": center + spread * logvar}
        args["mu" if i % 2 else "logvar"].requires_grad_()  # one at a time, so that cutting either is seen
        made.append(Case(label, args))
    return made


KL_DIVERGENCE = Exercise(
    "kl_divergence",
    _kl(),
    _cases,
    (
        Mistake(
            "sign",
            "Your answer is negative: a sign is wrong. A divergence is 0 or more, and training would make it larger.",
            "the sign of the whole formula: papers write the bound, which is maximised, and it contains minus the KL",
            (_kl(lambda m, v: -elbo.kl(m, v)), _kl(lambda m, v: -2 * elbo.kl(m, v))),
        ),
        Mistake(
            "factor 1/2 missing",
            "Your answer is twice too large: the factor 1/2 is missing.",
            "what stands in front of the bracket in the closed form",
            (_kl(lambda m, v: 2 * elbo.kl(m, v)),),
        ),
        Mistake(
            "1/2 for some terms only",
            "The factor 1/2 reaches only some of the terms: a bracket is missing.",
            "your answer for mu = 0 and logvar = 0, term by term",
            (
                _kl(lambda m, v: 0.5 * m.square() + v.exp() - 1 - v),
                _kl(lambda m, v: 0.5 * (m.square() + v.exp()) - 1 - v),
                _kl(lambda m, v: 0.5 * (m.square() + v.exp() - v) - 1),
                _kl(lambda m, v: m.square() + 0.5 * (v.exp() - 1 - v)),
                _kl(lambda m, v: -0.5 + v - m.square() - v.exp()),
                _kl(lambda m, v: -0.5 * (1 + v) - m.square() - v.exp()),
            ),
        ),
        Mistake(
            "mean over D",
            "You averaged over the latent numbers. Their divergences add up: with the mean, a longer latent would cost "
            "no more than a short one.",
            "what you do along the second axis",
            (_kl(reduce=lambda each: each.mean(1)),),
        ),
        Mistake(
            "not summed",
            "You returned one number per latent number, which is the wrong shape: one per image is asked for.",
            "the shape that you return for 4 images with 6 latent numbers each",
            (_kl(reduce=lambda each: each),),
        ),
        Mistake(
            "summed over the batch",
            "You summed or averaged over the batch, hence the wrong shape: each image has a divergence of its own.",
            "the axes over which you sum; the first one must survive",
            (
                _kl(reduce=torch.sum),
                _kl(reduce=torch.mean),
                _kl(reduce=lambda each: each.sum(1).mean()),
                _kl(reduce=lambda each: each.sum(0)),
                _kl(reduce=lambda each: each.mean(0)),
            ),
        ),
        Mistake(
            "an axis too many",
            "Right numbers, wrong shape: (B,) is asked for, not (B, 1).",
            "keepdim, None and unsqueeze in your code",
            (_kl(reduce=lambda each: each.sum(1, keepdim=True)),),
        ),
        Mistake(
            "wrong direction",
            "You computed KL(N(0, 1) || q); the divergence is not symmetric. Asked for is KL(q || N(0, 1)).",
            "under which of the two the expectation is taken: whose variance does mu^2 get divided by?",
            (_kl(_backwards), _kl(lambda m, v: 2 * _backwards(m, v))),
        ),
        Mistake(
            "log of the deviation",
            "You took logvar for the logarithm of sigma; it is that of sigma^2.",
            "how log sigma and log sigma^2 differ, in the exponential and in the logarithm",
            (_kl(lambda m, v: elbo.kl(m, 2 * v)),),
        ),
        Mistake(
            "logvar not halved",
            "logvar counts twice: either it has escaped the bracket behind the 1/2, or you took it for log sigma; it "
            "is log sigma^2.",
            "your answer for mu = 0 near logvar = 0: it must not fall below 0 on either side",
            (_kl(lambda m, v: elbo.kl(m, v) - 0.5 * v),),
        ),
        Mistake(
            "logarithm not undone",
            "You took logvar for sigma, or for the variance. It is a logarithm: it can be negative, and the logarithm "
            "of a negative number is nan.",
            "the name of the argument: what has been done to the variance?",
            (
                _kl(lambda m, v: 0.5 * (m.square() + v.square() - 1 - v.square().log())),
                _kl(lambda m, v: 0.5 * (m.square() + v - 1 - v.log())),
                _kl(lambda m, v: 0.5 * (m.square() + v.square() - 1 - 2 * v.log())),
            ),
        ),
        Mistake(
            "no exponential",
            "You wrote logvar, or its square, where the formula has the variance: the exponential is missing.",
            "your answer for logvar = 0, where the variance is 1",
            (
                _kl(lambda m, v: 0.5 * (m.square() + v.square() - 1 - v)),
                _kl(lambda m, v: 0.5 * (m.square() - 1)),
                _kl(lambda m, v: 0.5 * (m.square() + v.abs() - 1 - v)),
            ),
        ),
        Mistake(
            "deviation for the variance",
            "Your exponential gives the deviation sigma (or sigma^4) where the formula has the variance.",
            "the exponential of logvar, for logvar = log 4",
            (
                _kl(lambda m, v: 0.5 * (m.square() + (v / 2).exp() - 1 - v)),
                _kl(lambda m, v: 0.5 * (m.square() + (v / 2).exp() - 1 - v / 2)),
                _kl(lambda m, v: 0.5 * (m.square() + v.exp() - 1 - v / 2)),
                _kl(lambda m, v: 0.5 * (m.square() + v.exp().square() - 1 - v)),
            ),
        ),
        Mistake(
            "1 not subtracted",
            "The - 1 is missing or became + 1: the prior itself must cost nothing, and yours does not vanish there.",
            "your answer for mu = 0 and logvar = 0",
            (
                _kl(lambda m, v: elbo.kl(m, v) + 0.5),
                _kl(lambda m, v: elbo.kl(m, v) + 1),
            ),
        ),
        Mistake(
            "1 subtracted once",
            "You subtracted the 1 once for an image; there is one for every latent number.",
            "your answer for mu = 0 and logvar = 0, with one latent number and with four",
            (
                lambda mu, logvar: 0.5 * ((mu.square() + logvar.exp() - logvar).sum(1) - 1),
                lambda mu, logvar: 0.5 * ((mu.square() + logvar.exp() - logvar).sum(1) - len(mu)),
            ),
        ),
        Mistake(
            "mu not squared",
            "mu enters without its square: it must not matter on which side of 0 the latent lies, and far away must "
            "cost much more.",
            "your answer for mu = -2 and for mu = 2",
            (
                _kl(lambda m, v: 0.5 * (m + v.exp() - 1 - v)),
                _kl(lambda m, v: 0.5 * (m.abs() + v.exp() - 1 - v)),
                _kl(lambda m, v: 0.5 * (-m + v.exp() - 1 - v)),
            ),
        ),
        Mistake(
            "mu missing or with the wrong sign",
            "A mu far from 0 costs nothing in your formula, or even lowers it: check its term and its sign.",
            "your answer for logvar = 0 and a large mu",
            (_kl(lambda m, v: elbo.kl(0 * m, v)), _kl(lambda m, v: elbo.kl(0 * m, v) - 0.5 * m.square())),
        ),
        Mistake(
            "only mu",
            "You kept the term of mu only: a sigma other than 1 has its price, too.",
            "your answer for mu = 0 and a very small sigma",
            (_kl(lambda m, v: 0.5 * m.square() + 0 * v), _kl(lambda m, v: m.square() + 0 * v)),
        ),
        Mistake(
            "the logarithm",
            "The term in logvar itself is missing or has the wrong sign: then sigma = 0 is the cheapest, and there "
            "would be no noise.",
            "your answer for mu = 0 and a very small sigma: it must grow without bound",
            (
                _kl(lambda m, v: 0.5 * (m.square() + v.exp() - 1)),
                _kl(lambda m, v: 0.5 * (m.square() + v.exp() - 1 + v)),
            ),
        ),
        Mistake(
            "sign of the variance",
            "The variance has the wrong sign: a minus in front of a bracket turns the sign of every term in it.",
            "your answer for mu = 0 and a very large sigma: it must grow without bound",
            (
                _kl(lambda m, v: 0.5 * (m.square() - v.exp() - 1 - v)),
                _kl(lambda m, v: 0.5 * (m.square() - v.exp() + 1 - v)),
            ),
        ),
        Mistake(
            "bits",
            "You returned bits: the exercise asks for nats, the natural logarithm all through.",
            "the base of your logarithm",
            (_kl(lambda m, v: elbo.kl(m, v) / math.log(2)),),
        ),
        Mistake(
            "estimated",
            "You estimated the divergence from a random draw. For two Gaussians the integral has a closed form, "
            "without chance.",
            "random numbers in your code",
            (_kl(_estimate),),
        ),
    ),
    hint="mu = 0, logvar = 0 has to give 0; a single latent number with mu = 2, logvar = 0 has to give 2",
    tolerance=Tolerance(absolute=2e-6),  # close to the prior the terms cancel
)

EXERCISES = (KL_DIVERGENCE,)
