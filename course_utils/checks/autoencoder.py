"""Exercise 1 of notebook 05: a draw from the encoder's Gaussian, by scaling and shifting noise."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import elbo
from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _sigma(logvar: Tensor) -> Tensor:
    return (logvar / 2).exp()


def _drawn(sigma=_sigma, join=lambda mu, sigma, eps: mu + sigma * eps, noise=lambda eps: eps):
    """Return a reparametrise from what is taken for sigma, and the way in which it meets mu and the noise."""
    return lambda mu, logvar, eps: join(mu, sigma(logvar), noise(eps))


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, shape, center, spread, change) in enumerate(
        (
            ("a batch of latents", (4, 5), 0.0, 1.0, None),
            ("a single latent", (1, 6), 0.0, 1.0, None),
            ("as many latents as numbers in one", (5, 5), 0.0, 1.0, None),
            ("maps", (3, 4, 2, 3), -1.0, 1.0, None),
            ("a single number", (1, 1), 1.5, 0.0, None),
            ("one axis", (7,), 0.0, 1.0, None),
            ("logvar = 0, so that sigma is 1", (3, 4), 0.0, 0.0, None),
            ("narrow: sigma below a hundredth", (4, 3), -11.0, 0.5, None),
            ("wide: sigma between 2 and 10", (4, 6), 3.0, 0.5, None),
            ("eps = 0", (2, 5), 0.5, 1.0, "eps"),
            ("mu = 0", (2, 7), 0.5, 1.0, "mu"),
        )
    ):
        mu, logvar, eps = (torch.randn(shape, generator=generator) for _ in range(3))
        args = {"mu": 2 * mu, "logvar": center + spread * logvar, "eps": eps}
        if change:
            args[change] = torch.zeros(shape)
        args["mu" if i % 2 else "logvar"].requires_grad_()  # one at a time, so that cutting either is seen
        made.append(Case(label, args))
    return made


REPARAMETRISE = Exercise(
    "reparametrise",
    elbo.reparametrise,
    _cases,
    (
        Mistake(
            "variance for the deviation",
            "You scaled the noise by the variance. Noise times s has deviation s, and logvar is the logarithm of "
            "sigma^2, not of sigma.",
            "the number that multiplies eps, for logvar = log 4",
            (_drawn(torch.exp),),
        ),
        Mistake(
            "logvar is the variance",
            "You took logvar for the variance and drew its square root, which fails where logvar is negative (nan).",
            "the name of the argument: what has been done to the variance?",
            (
                _drawn(lambda v: v.sqrt()),
                _drawn(lambda v: v.abs().sqrt()),
                _drawn(lambda v: v.clamp(min=0).sqrt()),
            ),
        ),
        Mistake(
            "logvar is the deviation",
            "You multiplied the noise by logvar itself, which can be negative: the logarithm was never undone.",
            "the number that multiplies eps, for logvar = 0",
            (_drawn(lambda v: v), _drawn(lambda v: v / 2), _drawn(lambda v: v.abs())),
        ),
        Mistake(
            "noise not scaled",
            "You added the noise as it came: your draw has variance 1, whatever the encoder says.",
            "where your function uses logvar",
            (_drawn(torch.ones_like),),
        ),
        Mistake(
            "noise forgotten",
            "Your answer has no noise in it: nothing is drawn, and the decoder would see the same latent each time.",
            "where your function uses eps",
            (lambda mu, logvar, eps: mu.clone(), _drawn(join=lambda mu, sigma, eps: mu + sigma)),
        ),
        Mistake(
            "mu forgotten",
            "Your draw lies around 0: mu, which says where in the latent space the picture belongs, is missing.",
            "what your function gives at eps = 0",
            (_drawn(join=lambda mu, sigma, eps: sigma * eps),),
        ),
        Mistake(
            "mu scaled too",
            "You scaled mu as well. sigma belongs to the noise alone; a bracket is in the wrong place.",
            "what your function gives at eps = 0",
            (
                _drawn(join=lambda mu, sigma, eps: (mu + eps) * sigma),
                _drawn(torch.exp, lambda mu, variance, eps: (mu + eps) * variance),
            ),
        ),
        Mistake(
            "roles exchanged",
            "The factors are mixed up: sigma has to multiply eps, and mu has to be added.",
            "which of the three numbers is random, and what makes it wider",
            (
                _drawn(join=lambda mu, sigma, eps: mu * sigma + eps),
                _drawn(join=lambda mu, sigma, eps: mu * eps + sigma),
                _drawn(join=lambda mu, sigma, eps: mu * sigma * eps),
                _drawn(join=lambda mu, sigma, eps: mu + sigma + eps),
            ),
        ),
        Mistake(
            "own chance",
            "You drew the noise yourself (with randn, normal, or a distribution's sample); it is handed in as eps.",
            "the arguments of reparametrise",
            (
                _drawn(noise=torch.randn_like),
                _drawn(noise=torch.rand_like),
                _drawn(torch.exp, noise=torch.randn_like),
                _drawn(noise=lambda eps: torch.randn(1)),
                _drawn(noise=lambda eps: torch.randn(eps.shape[-1])),
            ),
        ),
        Mistake(
            "sign of the exponent",
            "You divided by sigma: a sign in the exponent is wrong, so that the surest latents get the most noise.",
            "whether a larger logvar makes your noise larger",
            (
                _drawn(lambda v: (-v / 2).exp()),
                _drawn(lambda v: (-v).exp()),
                _drawn(lambda v: (-2 * v).exp()),
            ),
        ),
        Mistake(
            "half the wrong way",
            "The exponent is too large: on the way from the variance to the deviation the logarithm gets smaller, "
            "not larger.",
            "how log sigma and log sigma^2 differ",
            (_drawn(lambda v: (2 * v).exp()),),
        ),
        Mistake(
            "half twice",
            "You halved the logarithm and took the root as well: either of them leads from the variance to sigma.",
            "the number that multiplies eps, for logvar = log 16",
            (_drawn(lambda v: (v / 4).exp()),),
        ),
        Mistake(
            "half outside the exponential",
            "You halved the variance itself; sigma is its square root. The half stands outside the exponential.",
            "the brackets of exp, and the number that multiplies eps for logvar = 0",
            (_drawn(lambda v: v.exp() / 2), _drawn(lambda v: (v.exp() / 2).sqrt())),
        ),
        Mistake(
            "noise inside the exponential",
            "The noise, or mu, went into the exponential: its bracket closes too late.",
            "where the bracket of exp closes, and what your function gives at eps = 0",
            (
                lambda mu, logvar, eps: mu + (logvar / 2 * eps).exp(),
                lambda mu, logvar, eps: (mu + logvar / 2).exp() * eps,
                lambda mu, logvar, eps: (mu + logvar / 2 * eps).exp(),
            ),
        ),
        Mistake(
            "noise subtracted",
            "You subtracted the noise. As a distribution that is the same, because eps is as likely as -eps; but one "
            "and the same eps has to give one and the same draw everywhere in the course.",
            "the sign in front of eps",
            (_drawn(join=lambda mu, sigma, eps: mu - sigma * eps),),
        ),
        Mistake(
            "the way back",
            "You standardised: that turns a draw into noise, and here noise becomes a draw.",
            "the direction: which of mu + ... and (... - mu) gives a number near mu?",
            (
                _drawn(join=lambda mu, sigma, eps: (eps - mu) / sigma),
                _drawn(join=lambda mu, sigma, eps: (mu - eps) / sigma),
                _drawn(torch.exp, lambda mu, variance, eps: (eps - mu) / variance),
            ),
        ),
        Mistake(
            "one sigma for the whole batch",
            "You used one sigma for several latent numbers; every entry of mu has one of its own.",
            "how many different sigmas your function uses for a batch",
            (
                _drawn(lambda v: _sigma(v.mean())),
                _drawn(lambda v: _sigma(v.mean(0))),
                _drawn(lambda v: _sigma(v.mean(-1, keepdim=True))),
                _drawn(lambda v: _sigma(v[:1])),
                _drawn(lambda v: _sigma(v).mean()),
                _drawn(lambda v: _sigma(v).mean(0)),
            ),
        ),
        Mistake(
            "another way to be positive",
            "You made logvar positive in another way than the one that undoes a logarithm (softplus, sigmoid, or "
            "powers of another base).",
            "the inverse of the natural logarithm",
            (
                _drawn(F.softplus),
                _drawn(lambda v: F.softplus(v).sqrt()),
                _drawn(torch.sigmoid),
                _drawn(lambda v: 10 ** (v / 2)),
                _drawn(lambda v: 2 ** (v / 2)),
                _drawn(lambda v: (v / 2).expm1()),
            ),
        ),
        Mistake(
            "squashed",
            "You squashed or clipped the draw. A Gaussian has no bounds; only pictures lie in [-1, 1].",
            "the largest number that you return",
            (
                lambda mu, logvar, eps: elbo.reparametrise(mu, logvar, eps).clamp(-1, 1),
                lambda mu, logvar, eps: elbo.reparametrise(mu, logvar, eps).tanh(),
                lambda mu, logvar, eps: elbo.reparametrise(mu, logvar, eps).sigmoid(),
            ),
        ),
    ),
    hint="at eps = 0 your answer has to be mu; at mu = 0, eps = 1 and logvar = log 9 it has to be 3",
    tolerance=Tolerance(absolute=1e-6),
)

EXERCISES = (REPARAMETRISE,)
