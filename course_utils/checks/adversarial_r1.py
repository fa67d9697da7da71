"""Exercise 5 of notebook 06: the R1 penalty, on the slope of the discriminator at real images."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from course_utils.checks import adversarial_penalties as penalties
from course_utils.checks.adversarial_networks import (
    Network,
    build,
    gradients,
    leave_gradients,
    modes,
    small_discriminator,
    trained,
)
from course_utils.checks.engine import Case, Mistake, Outcome, Tolerance
from course_utils.checks.stateful import Stateful, Traces


def _traces(done: Outcome) -> Traces:
    discriminator, x, value = done.args["discriminator"], done.args["x"], done.value
    parameters = list(discriminator.parameters())
    reached = [torch.zeros_like(p) for p in parameters]
    if value.requires_grad:
        try:
            found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            reached = [r if f is None else f for r, f in zip(reached, found, strict=True)]
        except RuntimeError:  # the graph is spoilt: no gradient reaches the weights
            pass
    return {
        "requires_grad of the weights afterwards (1 for True)": trained(discriminator),
        "its gradient in the weights of the discriminator": torch.cat([r.flatten() for r in reached]),
        "the gradients left in the discriminator": gradients(discriminator),
        "requires_grad of x afterwards (1 for True)": torch.tensor([float(x.requires_grad)]),
        "the modes of the discriminator afterwards (1 for training)": modes(discriminator),
    }


def _convolutions(shape: tuple[int, ...], random: torch.Generator) -> Network:
    return build(
        lambda: (nn.Conv2d(shape[0], 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, shape[1:]), nn.Flatten(0)), random
    )


_dense, _soft = (partial(small_discriminator, between=between) for between in (nn.Tanh, nn.Softplus))


def _flat(shape: tuple[int, ...], random: torch.Generator) -> Network:
    discriminator = _dense(shape, random)
    torch.nn.init.zeros_(discriminator[-2].weight)
    return discriminator


def _cases(random: torch.Generator) -> list[Case]:
    made = []
    for label, make, shape, n in (
        ("images", _dense, (3, 4, 4), 4),
        ("a single image", _soft, (3, 4, 6), 1),
        ("points", _dense, (2,), 6),
        ("as many images as channels and rows", _dense, (3, 3, 3), 3),
        ("grey images", _soft, (1, 4, 4), 5),
        ("many points", _soft, (2,), 64),
        ("a single pixel", _dense, (1, 1, 1), 4),
        ("convolutions", _convolutions, (3, 6, 4), 5),
        ("a discriminator without any slope", _flat, (3, 4, 4), 3),
    ):
        args = {"discriminator": make(shape, random), "x": torch.randn((n, *shape), generator=random).clamp(-1, 1)}
        if len(made) % 2:  # the turn before has left some
            leave_gradients(args["discriminator"], random)
        made.append(Case(label, args))
    return made


R1_PENALTY = Stateful(
    "r1_penalty",
    penalties.penalty(),
    _cases,
    (
        Mistake(
            "mean over pixels",
            "You averaged over the pixels. The squared norm of a gradient is the sum of the squares of its numbers; "
            "the only mean is that over the images.",
            "what mean() does along each axis",
            penalties.each(torch.square, lambda g: g.square().mean((1, 2, 3))),
        ),
        Mistake(
            "norm over one axis only",
            "Your norm runs over one axis only, and there are many of them for an image; each image has a single "
            "gradient, of all its numbers.",
            "the shape of your norms for images (B, C, H, W)",
            (
                *penalties.each(lambda g: g.square().sum(1), lambda g: g.norm(dim=1)),
                *penalties.each(lambda g: g.square().sum(-1), lambda g: g.norm(dim=-1)),
            ),
        ),
        Mistake(
            "norm not squared",
            "You took the norm of the gradient, not its square.",
            "your answer for a discriminator twice as steep: it has to be four times as large",
            (
                *penalties.each(penalties.norm, torch.norm, penalties.axes_norm),
                penalties.penalty(reduce=lambda each: each.mean().sqrt()),
            ),
        ),
        Mistake(
            "the norm less one",
            "You asked for a gradient of norm 1. That is the penalty of WGAN-GP (Gulrajani et al. 2017); R1 wants no "
            "slope at all where the real images are.",
            "your answer for a discriminator that gives every image the same logit: it has to be 0",
            (
                *penalties.each(
                    lambda g: (penalties.norm(g) - 1).square(), lambda g: (penalties.squares(g) - 1).square()
                ),
                *penalties.each(
                    lambda g: (penalties.axes_norm(g) - 1).square(), lambda g: (g.norm(dim=1) - 1).square()
                ),
            ),
        ),
        Mistake(
            "gradient of the mean logit",
            "You took the gradient of the mean of the logits, which makes each image's gradient smaller by the size of "
            "the batch, and its square by the square of that.",
            "your answer for a batch in which one and the same image stands twice",
            (
                penalties.penalty(torch.mean),
                penalties.penalty(torch.mean, torch.square),
                penalties.penalty(torch.mean, reduce=torch.sum),
                penalties.penalty(torch.mean, penalties.norm),
            ),
        ),
        Mistake(
            "sum over the batch",
            "You summed over the batch, or took one norm for all of it: asked for is the mean over the images.",
            "your answer for a batch in which one and the same image stands twice",
            (
                penalties.penalty(reduce=torch.sum),
                penalties.penalty(each=penalties.norm, reduce=torch.sum),
                penalties.penalty(each=penalties.norm, reduce=lambda each: each.sum().square()),
            ),
        ),
        Mistake(
            "mean before the square",
            "You squared the mean of the norms: asked for is the mean of their squares.",
            "the order of the square and the mean, with two images of which one has no slope",
            (penalties.penalty(each=penalties.norm, reduce=lambda each: each.mean().square()),),
        ),
        Mistake(
            "sum before the square",
            "You squared the sum of the gradient's numbers, or of the images' gradients, in which both signs cancel: "
            "asked for is the sum of the squares.",
            "the order of the square and the sum",
            (
                *penalties.each(lambda g: g.flatten(1).sum(1).square(), lambda g: g.sum().square()),
                *penalties.each(lambda g: g.mean(0).square().sum(), lambda g: g.sum(0).square().sum()),
            ),
        ),
        Mistake(
            "not squared",
            "You took the absolute values of the gradient, or its numbers as they are, where their squares belong.",
            "the definition of the norm of a vector",
            (
                *penalties.each(
                    lambda g: g.abs().flatten(1).sum(1), torch.abs, lambda g: g.flatten(1).sum(1), lambda g: g
                ),
                *penalties.each(lambda g: g.abs().flatten(1).sum(1).square()),
            ),
        ),
        Mistake(
            "a factor",
            "Your penalty has a factor, gamma / 2 or another: here it is asked for without, and gamma comes later.",
            "your answer for a discriminator whose gradient has norm 1: it has to be 1",
            tuple(penalties.penalty(reduce=lambda each, by=by: by * each.mean()) for by in (0.5, 2, 5, 10)),
        ),
        Mistake(
            "sign",
            "Your penalty is negative: made small, it would make the discriminator steep.",
            "the sign of your answer: no square is below 0",
            (penalties.penalty(reduce=lambda each: -each.mean()),),
        ),
        Mistake(
            "one image only",
            "You took the gradient of one logit of the batch: only one image's gradient is not 0.",
            "what stands for all logits when you take the gradient",
            (penalties.penalty(lambda logits: logits[0]), penalties.penalty(lambda logits: logits[-1])),
        ),
        Mistake(
            "gradient in the weights",
            "You took the gradient in the weights of the discriminator; the penalty is about its slope in the image.",
            "the second argument of the gradient",
            (penalties.in_weights(), penalties.in_weights(torch.mean)),
        ),
        Mistake(
            "slope of another number",
            "You took the gradient of a probability or of a loss; asked for is that of the logit itself.",
            "what becomes of the logits before you take the gradient",
            (
                penalties.penalty(lambda logits: logits.sigmoid().sum()),
                penalties.penalty(lambda logits: F.logsigmoid(logits).sum()),
                penalties.penalty(lambda logits: F.softplus(logits).sum()),
                penalties.penalty(lambda logits: F.logsigmoid(logits).mean()),
                penalties.penalty(lambda logits: logits.square().sum()),
            ),
        ),
        Mistake(
            "no gradient at all",
            "You squared or averaged the logits, without any gradient in x.",
            "where your function asks how the logit changes with the image",
            (lambda d, x: d(x).square().mean(), lambda d, x: d(x).mean(), lambda d, x: d(x).sum()),
        ),
        Mistake(
            "no way from x to the logits",
            "Autograd knows no way from your x to the logits: x has to ask for a gradient before the discriminator "
            "sees it, and the gradient has to be taken in that very tensor.",
            "the order of requires_grad and the call of the discriminator, and no_grad(), if you use it",
            (penalties.penalty(leaf=torch.detach), penalties.late),
        ),
        Mistake(
            "several logits at once",
            "You want the gradient of a whole row of logits, and autograd wants a single number. Each logit depends on "
            "its own image only, so that one number can stand for all.",
            "what you hand to autograd.grad or call backward() on",
            (penalties.penalty(lambda logits: logits),),
        ),
        Mistake(
            "one number per image",
            "You returned a number for each image, hence the wrong shape: asked for is the mean over the batch.",
            "the shape that you return",
            (
                penalties.penalty(reduce=lambda each: each),
                penalties.penalty(each=penalties.norm, reduce=lambda each: each),
            ),
        ),
        Mistake(
            "axes counted",
            "Right for images, but your sum names axes that points, (B, 2), lack: x may have any number of axes.",
            "how to treat all axes but the first alike, however many there are",
            penalties.each(lambda g: g.square().sum((1, 2, 3)), lambda g: g.square().flatten(1, 3).sum(1)),
        ),
        Mistake(
            "graph of the gradient missing",
            "Your number is right, but it is a constant for the discriminator's weights: training would not make it "
            "smaller. The gradient itself has to stay differentiable.",
            "the arguments of the function that takes the gradient, and every detach(), .data, item() and no_grad()",
            (penalties.penalty(slope=penalties.cut),),
        ),
        Mistake(
            "half the graph missing",
            "Your number is right, but one of two equal factors is cut from the graph: the gradient that trains the "
            "discriminator is half of what it should be.",
            "every detach() and .data in your code",
            (penalties.penalty(each=lambda g: penalties.squares(g) / 2 + penalties.squares(g).detach() / 2),),
        ),
        Mistake(
            "square of a root",
            "Your number is right, but where the gradient is 0 its root has no finite slope: the gradient that trains "
            "the discriminator is NaN there, and one step later all of its weights are.",
            "a root that you take only to square it again",
            penalties.each(lambda g: penalties.squares(g).sqrt().square()),
        ),
        Mistake(
            "gradients wiped",
            "Your number is right, but the gradients that the discriminator held are gone: those that another loss had "
            "left for the next step.",
            "zero_grad() in your code",
            (lambda d, x: (penalties.penalty(slope=penalties.backward)(d, x), d.zero_grad())[0],),
        ),
        Mistake(
            "gradients left in the discriminator",
            "Your number is right, but backward() also added the gradients of the logits to the discriminator's "
            "weights, and the next step would use them.",
            "a function that returns the gradient that you ask for, and stores none",
            (penalties.penalty(slope=penalties.backward),),
        ),
        Mistake(
            "x left asking for a gradient",
            "Your number is right, but the caller's x asks for a gradient afterwards: all that is done with it later "
            "would build graphs.",
            "what you change about x itself, and what a tensor of your own would spare",
            (penalties.penalty(leaf=lambda x: x.requires_grad_()),),
        ),
        Mistake(
            "discriminator left changed",
            "Your number is right, but the discriminator is in another mode than before, or its weights are frozen.",
            "eval(), train() and requires_grad in your code",
            (
                lambda d, x: penalties.penalty()(d.eval(), x),
                lambda d, x: (penalties.penalty()(d, x), d.requires_grad_(False))[0],
            ),
        ),
    ),
    hint="for a discriminator that answers 3 times the sum of an image's numbers, it is 9 times how many there are",
    tolerance=Tolerance(absolute=1e-6),
    traces=_traces,
)

EXERCISES = (R1_PENALTY,)
