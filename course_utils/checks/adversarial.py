"""Exercise 1 of notebook 06: the loss of the discriminator, from its logits for real and for generated images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Exercise, Mistake


def real_term(logit: Tensor) -> Tensor:
    """Return -log D of each image."""
    return F.softplus(-logit)


def _loss(real=real_term, fake=F.softplus, reduce=torch.mean, join=torch.add):
    """Return a discriminator_loss from the terms of each image, what becomes of a batch, and of the two numbers."""
    return lambda r, f: join(reduce(real(r)), reduce(fake(f)))


discriminator_loss = _loss()


def _by_hand(logit: Tensor) -> Tensor:
    return logit.exp() / (1 + logit.exp())


def _together(reduce=torch.mean):
    return lambda r, f: reduce(torch.cat([F.softplus(-r), F.softplus(f)]))


def _halved(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


def _bce(logit: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, target)


def _smoothed(a: float, b: float):
    return lambda r, f: _bce(r, torch.full_like(r, a)) + _bce(f, torch.full_like(f, b))


def _added(eps: float):
    real, fake = (lambda r: -(r.sigmoid() + eps).log()), (lambda f: -(1 - f.sigmoid() + eps).log())
    return _loss(real, fake), _loss(real, _FAKE[0]), _loss(_REAL[0], fake)


def _clamped(eps: float):
    return _loss(
        lambda r: -r.sigmoid().clamp(eps, 1 - eps).log(), lambda f: -(1 - f.sigmoid().clamp(eps, 1 - eps)).log()
    )


def _clipped(bound: float):
    return _loss(lambda r: real_term(r.clamp(-bound, bound)), lambda f: F.softplus(f.clamp(-bound, bound)))


def _bounded(real: Tensor, fake: Tensor) -> Tensor:
    loss = F.binary_cross_entropy  # no logarithm below -100
    return loss(real.sigmoid(), torch.ones_like(real)) + loss(fake.sigmoid(), torch.zeros_like(fake))


# Ways to write each term: by D from sigmoid, by D from e^logit, and without D
_REAL = (lambda r: -r.sigmoid().log(), lambda r: -_by_hand(r).log(), lambda r: r.exp().log1p() - r, real_term)
_FAKE = (lambda f: -(1 - f.sigmoid()).log(), lambda f: -(1 - _by_hand(f)).log(), F.softplus)


# Wrong losses by name, because exercise 3 knows them, too
SWAPPED = _loss(F.softplus, real_term)
REAL_ONLY, FAKE_ONLY = (lambda r, f: real_term(r).mean()), (lambda r, f: F.softplus(f).mean())
BOTH_REAL, BOTH_FAKE = _loss(fake=real_term), _loss(F.softplus)
DIFFERENCE = _loss(join=torch.sub)
SIGMOID_TWICE = _loss(lambda r: F.softplus(-r.sigmoid()), lambda f: F.softplus(f.sigmoid()))
SUM, HALF, TOGETHER = _loss(reduce=torch.sum), _loss(join=_halved), _together()
UNSTABLE = _loss(_REAL[0], _FAKE[0])
BOUNDED, SMOOTHED = _bounded, _smoothed(0.9, 0)
PAIRED = (
    lambda r, f: (F.softplus(-r) + F.softplus(f)).mean(),
    lambda r, f: _bce(r, torch.ones_like(r)) + _bce(f, torch.zeros_like(r)),
)
HINGE = _loss(lambda r: F.relu(1 - r), lambda f: F.relu(1 + f))
WASSERSTEIN = _loss(torch.neg, lambda f: f)
LEAST_SQUARES = _loss(lambda r: (r - 1).square(), torch.square)


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, real, fake, of_real, of_fake, spread) in enumerate(
        (
            ("as many real images as generated ones", 6, 6, 0, 0, 1.5),
            ("one image of each kind", 1, 1, 0.5, -0.5, 1.0),
            ("fewer real images than generated ones", 4, 9, 0, 0, 1.5),
            ("more real images than generated ones", 8, 3, 0, 0, 1.5),
            ("all logits 0: the discriminator cannot tell", 5, 5, 0, 0, 0),
            ("a discriminator that tells them apart", 7, 7, 3, -3, 0.5),
            ("real images with logits of about -200", 4, 4, -200, 0, 1.0),
            ("generated images with logits of about 200", 4, 4, 0, 200, 1.0),
            ("sure and right: logits of 200 and of -200", 3, 3, 200, -200, 0),
            ("sure and wrong: logits of -200 and of 200", 2, 5, -200, 200, 0),
            ("logits of all sizes", 6, 6, None, None, 0),
            ("hundreds of images", 300, 200, 0.3, -0.4, 1.0),
        )
    ):
        logits = []
        for n, center in ((real, of_real), (fake, of_fake)):
            drawn = torch.randn(n, generator=generator)
            logits.append(torch.linspace(-200, 200, n) + drawn if center is None else center + spread * drawn)
        logits[i % 2].requires_grad_()  # one at a time, so that cutting either is seen
        made.append(Case(label, dict(zip(("real", "fake"), logits, strict=True))))
    return made


DISCRIMINATOR_LOSS = Exercise(
    "discriminator_loss",
    discriminator_loss,
    _cases,
    (
        Mistake(
            "labels swapped",
            "Real and generated images have changed roles: a discriminator that is always wrong has the smallest loss.",
            "your loss for large logits of real images and very negative ones of generated images: it has to be near 0",
            (SWAPPED,),
        ),
        Mistake(
            "one term only",
            "One of the two terms is missing: a discriminator that gives every image the same answer would do.",
            "where your function uses real, and where it uses fake",
            (REAL_ONLY, FAKE_ONLY, lambda r, f: F.softplus(r).mean(), lambda r, f: real_term(f).mean()),
        ),
        Mistake(
            "one label for both",
            "Both kinds of images are asked for the same label; the generated ones have to get the other one.",
            "the label, or the sign of the logit, in each of the two terms",
            (BOTH_REAL, BOTH_FAKE),
        ),
        Mistake(
            "log D for log(1 - D)",
            "The second term is not log(1 - D): either the 1 - is missing, or it stands outside the logarithm.",
            "the second term alone, for a very negative logit: it has to be near 0",
            (
                _loss(fake=lambda f: -real_term(f)),
                _loss(fake=lambda f: -1 - real_term(f)),
                _loss(fake=lambda f: 1 + real_term(f)),
                _loss(fake=lambda f: -torch.sigmoid(f)),
                _loss(fake=lambda f: 1 - torch.sigmoid(f)),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong: the discriminator makes the sum of the logarithms large, hence its loss is minus that "
            "sum, of both of them.",
            "the sign of your loss when all logits are 0, where D = 1/2",
            (
                lambda r, f: -discriminator_loss(r, f),
                DIFFERENCE,
                _loss(join=lambda a, b: b - a),
            ),
        ),
        Mistake(
            "sigmoid twice",
            "A sigmoid is taken twice: functions that expect logits bring their own, and yours sees numbers between 0 "
            "and 1 only. Such a loss can never come near 0.",
            "what the function that you call takes, logits or probabilities",
            (
                SIGMOID_TWICE,
                _loss(lambda r: F.softplus(-r.sigmoid())),
                _loss(fake=lambda f: F.softplus(f.sigmoid())),
            ),
        ),
        Mistake(
            "logits taken for probabilities",
            "You took the logits for probabilities. They run from minus infinity to infinity: outside [0, 1] a "
            "logarithm gives nan, and binary_cross_entropy refuses them.",
            "how D follows from a logit",
            (
                _loss(lambda r: -r.log(), lambda f: -(1 - f).log()),
                lambda r, f: F.binary_cross_entropy(r, torch.ones_like(r)),
            ),
        ),
        Mistake(
            "logits and labels exchanged",
            "Logits and labels have changed places: binary_cross_entropy_with_logits takes the logits first.",
            "the order of its arguments",
            (lambda r, f: _bce(torch.ones_like(r), r) + _bce(torch.zeros_like(f), f),),
        ),
        Mistake(
            "unstable logarithm",
            "Your loss is not finite for large logits. In float32, D is exactly 1 or 0 there, and e^200 is infinite.",
            "log(1 - D) for a logit of 200, which is -200: a function that takes the logit itself knows that",
            tuple(_loss(real, fake) for real in _REAL for fake in _FAKE)[:-1],  # the last is right
        ),
        Mistake(
            "floor under the logarithm",
            "You kept the logarithm finite with a small number or a bound: for large logits your loss is too small and "
            "has no gradient. binary_cross_entropy does that, too, beyond 100.",
            "your loss for a real image with a logit of -200: it has to be 200",
            (
                *(loss for n in range(3, 17) for loss in _added(10.0**-n)),
                *(_clamped(10.0**-n) for n in range(3, 8)),
                *(_clipped(bound) for bound in (10, 15, 20, 30, 50, 80, 100)),
                BOUNDED,
            ),
        ),
        Mistake(
            "sum for mean",
            "You summed over the batch: with a batch of twice the size your gradients would be twice as large.",
            "what your loss does with each batch",
            (SUM,),
        ),
        Mistake(
            "one mean for both",
            "You took one mean over all images together, or halved the sum: asked for are two means, added.",
            "your loss when all logits are 0: it has to be 2 log 2, about 1.386",
            (HALF, TOGETHER),
        ),
        Mistake(
            "entry by entry",
            "Real and generated images met one by one, which fails where there are more of one kind. No real image "
            "belongs to a generated one: each batch has a mean, and labels, of its own.",
            "the shapes of what you add, and of the labels",
            (
                *PAIRED,
                lambda r, f: -(r.sigmoid().log() + (1 - f.sigmoid()).log()).mean(),
                lambda r, f: F.softplus(f - r).mean(),
            ),
        ),
        Mistake(
            "one loss per image",
            "You returned a loss for each image, hence the wrong shape: backward() needs a single number.",
            "the shape that you return",
            (_together(lambda each: each),),
        ),
        Mistake(
            "mean before the logarithm",
            "You averaged the logits, or D, before you took the logarithm: asked for is the mean of the logarithms.",
            "the order of the logarithm and the mean",
            (
                lambda r, f: F.softplus(-r.mean()) + F.softplus(f.mean()),
                lambda r, f: -r.sigmoid().mean().log() - (1 - f.sigmoid().mean()).log(),
            ),
        ),
        Mistake(
            "no logarithm",
            "Your loss has no logarithm: it is that of another GAN (hinge, Wasserstein, least squares), or it uses D "
            "as it is.",
            "your loss for a real image with a logit of -200, and for one with 200",
            (
                HINGE,
                WASSERSTEIN,
                LEAST_SQUARES,
                _loss(lambda r: r, lambda f: -f),
                _loss(lambda r: (r - 1).square(), torch.square, join=_halved),
                _loss(lambda r: (r.sigmoid() - 1).square(), lambda f: f.sigmoid().square()),
                _loss(lambda r: F.relu(-r), F.relu),
                _loss(lambda r: 1 - r.sigmoid(), torch.sigmoid),
                _loss(lambda r: -r.sigmoid(), torch.sigmoid),
            ),
        ),
        Mistake(
            "labels smoothed",
            "You asked for 0.9 or 0.1 in place of 1 or 0. Smoothed labels are a trick of their own, not wanted here.",
            "the labels that you compare with",
            (SMOOTHED, _smoothed(0.9, 0.1), _smoothed(1, 0.1)),
        ),
        Mistake(
            "bits",
            "You used a logarithm of another base: the natural one is asked for.",
            "the base of your logarithm",
            tuple(
                _loss(real, fake, join=lambda a, b, base=base: (a + b) / math.log(base))
                for real, fake in ((real_term, F.softplus), (_REAL[0], _FAKE[0]))
                for base in (2, 10)
            ),
        ),
    ),
    hint="with all logits 0 the loss is 2 log 2; with 200 for real and -200 for generated images it is 0",
)

EXERCISES = (DISCRIMINATOR_LOSS,)
