"""Exercise 2 of notebook 06: the loss of the generator that does not saturate."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Exercise, Mistake


def _term(logit: Tensor) -> Tensor:
    return F.softplus(-logit)


def _loss(each=_term, reduce=torch.mean):
    """Return a generator_loss from the term of each image, and what becomes of the batch."""
    return lambda fake: reduce(each(fake))


generator_loss = _loss()


def _by_hand(logit: Tensor) -> Tensor:
    return logit.exp() / (1 + logit.exp())


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, n, center, spread) in enumerate(
        (
            ("a batch of images", 6, 0.0, 1.5),
            ("a single image", 1, 0.7, 0.0),
            ("all logits 0: the discriminator cannot tell", 5, 0.0, 0.0),
            ("images that look real", 4, 3.0, 0.5),
            ("images that look generated", 4, -3.0, 0.5),
            ("logits of about -200: the discriminator is sure", 3, -200.0, 1.0),
            ("logits of about 200: the generator has won", 3, 200.0, 1.0),
            ("logits of all sizes", 6, torch.linspace(-200, 200, 6), 1.0),
            ("hundreds of images", 300, -0.4, 1.0),
        )
    ):
        fake = center + spread * torch.randn(n, generator=generator)
        made.append(Case(label, {"fake": fake.requires_grad_(i > 0)}))  # the first may be changed in place
    return made


GENERATOR_LOSS = Exercise(
    "generator_loss",
    generator_loss,
    _cases,
    (
        Mistake(
            "saturating",
            "You returned log(1 - D), which the generator makes small in Eq. 1 of Goodfellow et al. (2014): its "
            "gradient vanishes for images that the discriminator rejects, just where it is needed most.",
            "the slope of your loss at a logit of -200",
            (_loss(lambda f: -F.softplus(f)),),
        ),
        Mistake(
            "the discriminator's term",
            "Your loss is the discriminator's, in which generated images have the label of generated ones: the "
            "generator wants them taken for real.",
            "your loss for very large logits, with which the generator has won: it has to be near 0",
            (_loss(F.softplus),),
        ),
        Mistake(
            "sign",
            "A sign is wrong: your loss is smallest for images that the discriminator rejects.",
            "the sign of your loss when all logits are 0, where D = 1/2",
            (_loss(lambda f: -F.softplus(-f)),),
        ),
        Mistake(
            "sigmoid twice",
            "A sigmoid is taken twice: functions that expect logits bring their own, and yours sees numbers between 0 "
            "and 1 only. Such a loss can never come near 0.",
            "what the function that you call takes, logits or probabilities",
            (_loss(lambda f: F.softplus(-f.sigmoid())), _loss(lambda f: F.softplus(f.sigmoid()))),
        ),
        Mistake(
            "logits taken for probabilities",
            "You took the logits for probabilities. They run from minus infinity to infinity: outside [0, 1] a "
            "logarithm gives nan, and binary_cross_entropy refuses them.",
            "how D follows from a logit",
            (
                _loss(lambda f: -f.log()),
                _loss(lambda f: f.log()),
                _loss(lambda f: (1 - f).log()),
                lambda f: F.binary_cross_entropy(f, torch.ones_like(f)),
            ),
        ),
        Mistake(
            "logits and labels exchanged",
            "Logits and labels have changed places: binary_cross_entropy_with_logits takes the logits first.",
            "the order of its arguments",
            (lambda f: F.binary_cross_entropy_with_logits(torch.ones_like(f), f),),
        ),
        Mistake(
            "unstable logarithm",
            "Your loss is not finite for large logits. In float32, D is exactly 1 or 0 there, and e^200 is infinite.",
            "log D for a logit of -200, which is -200: a function that takes the logit itself knows that",
            (
                _loss(lambda f: -f.sigmoid().log()),
                _loss(lambda f: -_by_hand(f).log()),
                _loss(lambda f: f.exp().log1p() - f),
            ),
        ),
        Mistake(
            "floor under the logarithm",
            "You kept the logarithm finite with a small number or a bound: for large logits your loss is too small and "
            "has no gradient. binary_cross_entropy does that, too, beyond 100.",
            "your loss for an image with a logit of -200: it has to be 200",
            (
                *(_loss(lambda f, eps=10.0**-n: -(f.sigmoid() + eps).log()) for n in range(3, 17)),
                *(_loss(lambda f, eps=10.0**-n: -f.sigmoid().clamp(eps, 1 - eps).log()) for n in range(3, 8)),
                *(_loss(lambda f, bound=bound: _term(f.clamp(-bound, bound))) for bound in (10, 15, 20, 30, 50, 80)),
                lambda f: F.binary_cross_entropy(f.sigmoid(), torch.ones_like(f)),
            ),
        ),
        Mistake(
            "saturating and unstable",
            "You returned log(1 - D), as in Eq. 1 of Goodfellow et al. (2014), and it is not finite for large logits. "
            "Asked for is the loss that does not saturate.",
            "your loss for an image with a logit of -200: it has to be 200",
            (_loss(lambda f: (1 - f.sigmoid()).log()), _loss(lambda f: (1 - _by_hand(f)).log())),
        ),
        Mistake(
            "the discriminator's term, unstable",
            "You returned -log(1 - D), the discriminator's term, and it is not finite for large logits: the generator "
            "wants its images taken for real.",
            "your loss for an image with a logit of 200: it has to be 0",
            (_loss(lambda f: -(1 - f.sigmoid()).log()), _loss(lambda f: -(1 - _by_hand(f)).log())),
        ),
        Mistake(
            "sum for mean",
            "You summed over the batch: with a batch of twice the size your gradients would be twice as large.",
            "what your loss does with the batch",
            (_loss(reduce=torch.sum),),
        ),
        Mistake(
            "one loss per image",
            "You returned a loss for each image, hence the wrong shape: backward() needs a single number.",
            "the shape that you return",
            (_loss(reduce=lambda each: each),),
        ),
        Mistake(
            "mean before the logarithm",
            "You averaged the logits, or D, before you took the logarithm: asked for is the mean of the logarithms.",
            "the order of the logarithm and the mean",
            (
                lambda f: F.softplus(-f.mean()),
                lambda f: -f.sigmoid().mean().log(),
            ),
        ),
        Mistake(
            "no logarithm",
            "Your loss has no logarithm: it is that of another GAN (hinge, Wasserstein, least squares), or it uses D "
            "as it is.",
            "your loss for an image with a logit of -200, and for one with 200",
            (
                _loss(lambda f: -f),
                _loss(lambda f: f),
                _loss(lambda f: F.relu(1 - f)),
                _loss(lambda f: F.relu(1 + f)),
                _loss(lambda f: F.relu(-f)),
                _loss(lambda f: (f - 1).square()),
                _loss(lambda f: (f - 1).square() / 2),
                _loss(lambda f: (f.sigmoid() - 1).square()),
                _loss(lambda f: 1 - f.sigmoid()),
                _loss(lambda f: -f.sigmoid()),
                _loss(torch.sigmoid),
            ),
        ),
        Mistake(
            "half",
            "Your loss is half, or twice, as large as it should be: it has a single term, with no factor.",
            "your loss when all logits are 0: it has to be log 2, about 0.693",
            (_loss(lambda f: _term(f) / 2), _loss(lambda f: 2 * _term(f))),
        ),
        Mistake(
            "labels smoothed",
            "You asked for 0.9 in place of 1. Smoothed labels are a trick for the discriminator, not wanted here.",
            "the label that you compare with",
            (lambda f: F.binary_cross_entropy_with_logits(f, torch.full_like(f, 0.9)),),
        ),
        Mistake(
            "bits",
            "You used a logarithm of another base: the natural one is asked for.",
            "the base of your logarithm",
            (
                *(_loss(lambda f, base=base: _term(f) / math.log(base)) for base in (2, 10)),
                *(_loss(lambda f, base=base: -f.sigmoid().log() / math.log(base)) for base in (2, 10)),
            ),
        ),
    ),
    hint="with all logits 0 the loss is log 2; with logits of 200 it is 0, with logits of -200 it is 200",
)

EXERCISES = (GENERATOR_LOSS,)
