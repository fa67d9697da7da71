"""Exercise 4 of notebook 09: the loss of flow matching on the straight path."""

import math

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.fusion_shared import pictures


class Probe:
    """Stands in for a network: an answer that depends on every pixel, on every picture's own t and on a weight."""

    def __init__(self):
        self.weight = torch.tensor(0.6, requires_grad=True)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        if not isinstance(t, Tensor) or t.shape != (len(x_t),) or not t.is_floating_point():
            what = f"{t.dtype} of shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(f"the network takes t as ({len(x_t)},) fractions, one per picture; it got {what}")
        return self.weight * x_t - 0.8 * torch.cos(2 * t).view(-1, *[1] * (x_t.ndim - 1))


def _view(t: Tensor) -> Tensor:
    return t.view(-1, 1, 1, 1)


def _line(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    return (1 - t) * x_0 + t * eps


def _back(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    return t * x_0 + (1 - t) * eps


def _velocity(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    return eps - x_0


def _turned(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    return x_0 - eps


def _of_diffusion(x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    return (1 - t.square()).sqrt() * eps - t * x_0


def _mean_square(error: Tensor) -> Tensor:
    return error.square().mean()


def _loss(path=_line, target=_velocity, told=lambda t: t, reduce=_mean_square, level=_view):
    """Return a flow_loss from its parts; path and target are functions of x_0, eps and t as shaped by level."""

    def answer(network, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        shaped = level(t)
        return reduce(network(path(x_0, eps, shaped), told(t)) - target(x_0, eps, shaped))

    return answer


def _each(part: str, *choices):
    """Return a flow_loss for each choice of one part."""
    return tuple(_loss(**{part: choice}) for choice in choices)


def _own(draw):
    """Return a flow_loss that draws by itself: draw(eps, t) gives both."""
    return lambda network, x_0, eps, t: _loss()(network, x_0, *draw(eps, t))


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, b, size, low, high in (
        ("pictures", 4, 6, 0.05, 0.95),
        ("a single picture", 1, 5, 0.2, 0.45),
        ("as many pictures as rows and columns", 4, 4, 0.05, 0.95),
        ("as many pictures as colours", 3, 5, 0.05, 0.95),
        ("as many pictures as colours, rows and columns", 3, 3, 0.05, 0.95),
        ("t near 0", 2, 6, 0.001, 0.02),
        ("t near 1", 2, 6, 0.98, 0.999),
        ("many pictures", 24, 4, 0.01, 0.99),
    ):
        x_0, t = pictures(generator, b, size), low + (high - low) * torch.rand(b, generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        made.append(Case(label, {"network": Probe(), "x_0": x_0, "eps": eps, "t": t}))
    return made


FLOW_LOSS = Exercise(
    "flow_loss",
    _loss(),
    _cases,
    (
        Mistake(
            "time turned round",
            "Your time runs the other way: at t = 0 your x_t is noise. Here t = 0 is the picture, and t = 1 the noise.",
            "x_t for a t close to 0: which of x_0 and eps should it resemble?",
            (_loss(path=_back), _loss(path=_back, told=lambda t: 1 - t)),
        ),
        Mistake(
            "the papers' time",
            "That is the loss as the papers write it, with noise at t = 0 and pictures at t = 1. It trains a network "
            "just as well, but the course's samplers expect the other direction: t = 0 is the picture.",
            "x_t for a t close to 0, and then the velocity: in which direction does t lead now?",
            (_loss(path=_back, target=_turned),),
        ),
        Mistake(
            "velocity turned round",
            "Your velocity points from the noise to the picture. As t grows, x_t moves towards the noise.",
            "x_t at t = 1 minus x_t at t = 0",
            (_loss(target=_turned),),
        ),
        Mistake(
            "wrong target",
            "You compared the network's answer with one of the two ends, the noise or the picture, or with x_t. This "
            "network answers the velocity, which tells of both ends.",
            "the derivative of x_t by t",
            _each("target", lambda x_0, eps, t: eps, lambda x_0, eps, t: x_0, _line),
        ),
        Mistake(
            "sign",
            "A sign is wrong: in x_t the two ends are added, and the velocity is their difference.",
            "the signs in x_t, and the derivative of (1 - t) x_0 by t",
            (
                _loss(path=lambda x_0, eps, t: (1 - t) * x_0 - t * eps),
                *_each("target", lambda x_0, eps, t: eps + x_0, lambda x_0, eps, t: -eps - x_0),
            ),
        ),
        Mistake(
            "part of the way",
            "Your target is the way from x_t to one of the ends, which depends on t. The velocity is the same all "
            "along the path.",
            "the target at t = 0.1 and at t = 0.9, for the same picture and noise",
            _each(
                "target",
                lambda x_0, eps, t: _line(x_0, eps, t) - x_0,
                lambda x_0, eps, t: eps - _line(x_0, eps, t),
                lambda x_0, eps, t: t * eps - (1 - t) * x_0,
            ),
        ),
        Mistake(
            "velocity of diffusion",
            "Your target is the v of diffusion models, sqrt(alpha_bar) eps - sigma x_0, which belongs to another path.",
            "the derivative of x_t by t; does it depend on t?",
            _each("target", _of_diffusion, lambda x_0, eps, t: (1 - t) * eps - t * x_0),
        ),
        Mistake(
            "variance-preserving path",
            "Your path is a curve, one on which the squares of the coefficients add up to 1, as in diffusion. Here the "
            "path is a straight line: the coefficients themselves add up to 1.",
            "roots, squares, sines and cosines in your x_t",
            (
                *_each(
                    "path",
                    lambda x_0, eps, t: (1 - t.square()).sqrt() * x_0 + t * eps,
                    lambda x_0, eps, t: (1 - t).sqrt() * x_0 + t.sqrt() * eps,
                    lambda x_0, eps, t: (1 - t) * x_0 + (1 - (1 - t).square()).sqrt() * eps,
                    lambda x_0, eps, t: (math.pi / 2 * t).cos() * x_0 + (math.pi / 2 * t).sin() * eps,
                ),
                _loss(lambda x_0, eps, t: (1 - t.square()).sqrt() * x_0 + t * eps, _of_diffusion),
            ),
        ),
        Mistake(
            "one end at full strength",
            "The picture or the noise is in your x_t at full strength, whatever t is. As one fades in, the other "
            "fades out.",
            "the two coefficients of x_t: what do they add up to?",
            _each(
                "path",
                lambda x_0, eps, t: x_0 + t * eps,
                lambda x_0, eps, t: (1 - t) * x_0 + eps,
                lambda x_0, eps, t: x_0 + eps,
            ),
        ),
        Mistake(
            "network sees an end",
            "You showed the network the picture or the noise itself, not the point x_t between them.",
            "the first argument of network",
            _each("path", lambda x_0, eps, t: x_0, lambda x_0, eps, t: eps),
        ),
        Mistake(
            "wrong broadcast shape",
            "Your t has the wrong shape to multiply the batch: each t must meet its own picture in (B, 3, S, S). Where "
            "B happens to be 3 or S, torch does not even complain.",
            "how broadcasting lines up (B,) with (B, 3, S, S): from the right, so B meets the last S",
            _each("level", lambda t: t, lambda t: t.view(-1, 1), lambda t: t.view(-1, 1, 1)),
        ),
        Mistake(
            "network told a shaped t",
            "You told the network t with the axes that you added for the product. It takes one number per picture, "
            "shape (B,).",
            "the second argument of network, and its shape",
            (_loss(told=_view),),
        ),
        Mistake(
            "one t for the whole batch",
            "You used one t for the whole batch; every picture has its own.",
            "the shape of t. How many different values does your function use for a batch of four?",
            (
                *_each("level", lambda t: t[0], lambda t: t[-1], lambda t: t.mean(), lambda t: t.item()),
                *_each("level", lambda t: float(t)),
                *(_loss(level=lambda t, i=i: t[i], told=lambda t, i=i: t[i].expand(len(t))) for i in (0, -1)),
                _loss(level=torch.mean, told=lambda t: t.mean().expand(len(t))),
                *_each("told", lambda t: t[0].expand(len(t)), lambda t: t[0], lambda t: t[:1]),
            ),
        ),
        Mistake(
            "network told the other direction",
            "You told the network 1 - t. The t that it is told has to be the t of the x_t that it is shown.",
            "the second argument of network",
            (_loss(told=lambda t: 1 - t),),
        ),
        Mistake(
            "network told another scale",
            "You told the network t on another scale, such as a timestep or a noise ratio, or no t at all. This "
            "network was built for t itself, a fraction between 0 and 1.",
            "the second argument of network",
            _each(
                "told",
                lambda t: 1000 * t,
                lambda t: 999 * t,
                lambda t: (1000 * t).long(),
                lambda t: t / (1 - t),
                lambda t: (t / (1 - t)).log() / 4,
                torch.zeros_like,
            ),
        ),
        Mistake(
            "sum for mean",
            "You added the squares up. The mean over all numbers is asked for: the same learning rate then fits any "
            "batch and any size of picture.",
            "how your number changes when the pictures have twice as many pixels",
            _each(
                "reduce",
                lambda error: error.square().sum(),
                lambda error: error.square().flatten(1).sum(1).mean(),
                lambda error: error.square().flatten(1).mean(1).sum(),
            ),
        ),
        Mistake(
            "not one number",
            "Your answer has axes left. One number for the whole batch is asked for, a tensor of shape ().",
            "the axes over which you average",
            _each(
                "reduce",
                torch.square,
                lambda error: error.square().flatten(1).mean(1),
                lambda error: error.square().mean(1),
                lambda error: error.square().mean((2, 3)),
                lambda error: error.square().mean(0),
                lambda error: error.square().flatten(1).sum(1),
            ),
        ),
        Mistake(
            "not the mean square",
            "You took the error itself, its absolute value, a root of the squares, or the square of a mean. The mean "
            "of the squares is asked for.",
            "the small 2 in the loss: what exactly is squared, and when?",
            _each(
                "reduce",
                lambda error: error.mean().square(),
                lambda error: error.flatten(1).mean(1).square().mean(),
                torch.mean,
                lambda error: error.abs().mean(),
                torch.norm,
                lambda error: error.square().mean().sqrt(),
                lambda error: error.flatten(1).norm(dim=1).mean(),
            ),
        ),
        Mistake(
            "halved",
            "Your loss is half of what is asked for: here there is no 1/2 in front of the square.",
            "the number in front of your mean",
            _each("reduce", lambda error: error.square().mean() / 2),
        ),
        Mistake(
            "own chance",
            "You drew noise or times yourself. So that the check can compare, both are handed in, as eps and t.",
            "rand and randn in your code",
            (
                _own(lambda eps, t: (torch.randn_like(eps), t)),
                _own(lambda eps, t: (eps, torch.rand(len(eps)))),
                _own(lambda eps, t: (eps, torch.randn(len(eps)).sigmoid())),
                _own(lambda eps, t: (torch.randn_like(eps), torch.rand(len(eps)))),
                _own(lambda eps, t: (torch.rand(len(eps)), torch.randn_like(eps))[::-1]),  # in the other order
                _loss(target=lambda x_0, eps, t: torch.randn_like(eps) - x_0),
            ),
        ),
    ),
    hint="x_t at t = 0 is x_0, at t = 1 it is eps; a network that answers the true velocity has a loss of 0",
)

EXERCISES = (FLOW_LOSS,)
