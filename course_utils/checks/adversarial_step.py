"""Exercise 3 of notebook 06: one turn of the discriminator, which must leave the generator as it is."""

import torch
from torch import nn

from course_utils.checks import adversarial as losses
from course_utils.checks import adversarial_turns as turns
from course_utils.checks.adversarial_networks import (
    leave_gradients,
    modes,
    small_discriminator,
    small_generator,
    trained,
    weights,
)
from course_utils.checks.engine import Case, Mistake, Outcome, Tolerance
from course_utils.checks.stateful import Stateful, Traces


def _frozen(*networks: nn.Module) -> None:
    for network in networks:
        network.requires_grad_(False)


def _evaluated(*networks: nn.Module) -> None:
    for network in networks:
        network.eval()


def _traces(done: Outcome) -> Traces:
    g, d = done.args["generator"], done.args["discriminator"]
    reached = []
    for parameter, old in zip(g.parameters(), g.old, strict=True):
        new = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        reached.append(torch.zeros_like(new) if old is not None and torch.equal(new, old) else new)
    return {
        "the weights of the discriminator afterwards": weights(d),
        "the weights of the generator afterwards": weights(g),
        "the gradients in the generator, which must be none or as before": torch.cat([r.flatten() for r in reached]),
        "the modes of the networks afterwards (1 for training)": modes(g, d),
        "requires_grad of the weights afterwards (1 for True)": trained(g, d),
    }


def _cases(random: torch.Generator) -> list[Case]:
    sgd, adam = torch.optim.SGD, torch.optim.Adam
    made = []
    for label, shape, real, fake, norm, stale, kind, options in (
        ("images, gradients left from before", (3, 4, 4), 5, 5, False, "gd", sgd, {"lr": 0.3}),
        ("points", (2,), 8, 8, False, "d", sgd, {"lr": 0.5}),
        ("the first step of all: no gradients yet", (1, 4, 6), 4, 4, False, "", adam, {"lr": 0.05, "eps": 1e-2}),
        ("batch norm in the discriminator", (3, 4, 4), 6, 6, True, "d", sgd, {"lr": 0.3}),
        ("more real images than generated ones", (3, 4, 4), 8, 3, False, "gd", sgd, {"lr": 0.2}),
        ("fewer real images than generated ones", (2,), 3, 7, True, "gd", sgd, {"lr": 0.2}),
        ("Adam, gradients left from before", (1, 3, 3), 6, 6, True, "gd", adam, {"lr": 0.05, "eps": 1e-2}),
        ("momentum", (3, 2, 2), 2, 2, False, "d", sgd, {"lr": 0.4, "momentum": 0.9}),
        ("logits in the hundreds", (1, 4, 4), 6, 6, False, "d", sgd, {"lr": 1e-4}),
    ):
        g, d = small_generator(3, shape, random), small_discriminator(shape, random, norm)
        if label.startswith("logits"):
            d[-2].weight.data *= 300
        for name, network in (("g", g), ("d", d)):
            if name in stale:
                leave_gradients(network, random)
        g.old = [p.grad for p in g.parameters()]
        x = (0.5 + 0.4 * torch.randn(real, *shape, generator=random)).clamp(-1, 1)
        args = {"generator": g, "discriminator": d, "optimizer": kind(d.parameters(), **options)}
        made.append(Case(label, {**args, "x": x, "z": torch.randn(fake, 3, generator=random)}))
    return made


DISCRIMINATOR_STEP = Stateful(
    "discriminator_step",
    turns.turn(),
    _cases,
    (
        Mistake(
            "no detach",
            "Gradients reached the generator: the discriminator's loss was sent back through the images, which are to "
            "be plain pictures in this turn. If the generator's next step does not clear them, it takes them along.",
            "what links the generated images to the weights of the generator",
            (
                turns.turn(turns.pictures_with_graph),
                turns.turn(turns.pictures_with_graph, before=lambda g, d: g.zero_grad()),
            ),
        ),
        Mistake(
            "gradients not cleared",
            "The gradients that were there before are part of your step: backward() adds to them. The turn of the "
            "generator leaves some in the discriminator, too.",
            "what you do with the old gradients, and whether you do so before backward()",
            (turns.turn(update=turns.not_cleared),),
        ),
        Mistake(
            "nothing moves",
            "The weights of the discriminator are as before: the optimizer never stepped, or it found no gradients "
            "when it did.",
            "the order of zero_grad, backward and step, and whether all three are there",
            (turns.turn(update=lambda value, optimizer: None),),
        ),
        Mistake(
            "step before backward",
            "The step was taken with the gradients of before; those of your loss came too late, or never.",
            "the order of zero_grad, backward and step",
            (turns.turn(update=turns.step_first),),
        ),
        Mistake(
            "uphill",
            "Your step makes the loss larger: the sign of what you call backward() on is wrong.",
            "whether the loss is smaller when you call your function again with the same x and z",
            (
                turns.turn(update=turns.uphill),
                turns.turn(loss=lambda r, f: -losses.discriminator_loss(r, f)),
            ),
        ),
        Mistake(
            "labels swapped",
            "Real and generated images have changed roles: this discriminator learns to call the generated ones real.",
            "which logits you hand to discriminator_loss first",
            (turns.turn(loss=losses.SWAPPED),),
        ),
        Mistake(
            "one kind of images only",
            "Your loss sees one kind of images only, the real or the generated ones; it needs both.",
            "the two arguments of discriminator_loss",
            (
                turns.turn(loss=losses.REAL_ONLY),
                turns.turn(loss=losses.FAKE_ONLY),
                turns.turn(loss=lambda r, f: losses.discriminator_loss(r, r)),
                turns.turn(loss=lambda r, f: losses.discriminator_loss(f, f)),
            ),
        ),
        Mistake(
            "detached behind the discriminator",
            "The logits of one kind of images are cut off from the discriminator's weights, so that half of the loss "
            "teaches nothing. What has to be cut is the way from the images to the generator.",
            "what your detach() or no_grad() covers",
            (turns.turn(asked=turns.fake_cut), turns.turn(asked=turns.real_cut)),
        ),
        Mistake(
            "everything without gradients",
            "The loss knows no weights: the discriminator was asked under no_grad(), or its logits were detached.",
            "what your no_grad() covers: making images needs no gradients, judging them does",
            (turns.turn(asked=turns.both_cut),),
        ),
        Mistake(
            "generator in evaluation mode",
            "Your generated images are those of evaluation mode; in its own turn the generator makes others, by the "
            "statistics of the batch. Both networks come in training mode and stay in it.",
            "eval() in your code: nothing has to be switched here",
            (turns.turn(turns.pictures_in_evaluation),),
        ),
        Mistake(
            "discriminator in evaluation mode",
            "The discriminator was in evaluation mode while it learned, where batch norm ignores the batch. Both "
            "networks come in training mode and stay in it.",
            "eval() in your code: nothing has to be switched here",
            (
                turns.turn(before=lambda g, d: d.eval()),
                turns.turn(turns.pictures_in_evaluation, before=lambda g, d: d.eval()),
            ),
        ),
        Mistake(
            "mode left changed",
            "Your step is right, but a network is in evaluation mode afterwards: everything that follows would train "
            "it like that.",
            "eval() in your code: nothing has to be switched here",
            (
                turns.then(lambda g, d, *rest: _evaluated(g)),
                turns.then(lambda g, d, *rest: _evaluated(d)),
                turns.then(lambda g, d, *rest: _evaluated(g, d)),
            ),
        ),
        Mistake(
            "left frozen",
            "Your step is right, but a network is left with requires_grad = False: it cannot learn any more.",
            "requires_grad in your code, and whether it is put back",
            (
                turns.then(lambda g, d, *rest: _frozen(g)),
                turns.then(lambda g, d, *rest: _frozen(d)),
                turns.then(lambda g, d, *rest: _frozen(g, d)),
            ),
        ),
        Mistake(
            "own noise",
            "You drew the noise yourself; the noise that becomes the images of this turn is handed in as z.",
            "the arguments of discriminator_step",
            (
                turns.turn(turns.from_noise(lambda x, z: torch.randn_like(z))),
                turns.turn(turns.from_noise(lambda x, z: torch.rand_like(z))),
                turns.turn(turns.from_noise(lambda x, z: 2 * torch.rand_like(z) - 1)),
                turns.turn(turns.from_noise(lambda x, z: torch.randn(len(x), z.shape[1]))),
                turns.turn(turns.from_noise(lambda x, z: torch.zeros_like(z))),
                turns.turn(lambda g, x, z: torch.randn_like(x)),
                turns.turn(lambda g, x, z: torch.rand_like(x)),
            ),
        ),
        Mistake(
            "one batch for both",
            "You joined real and generated images into one batch: a discriminator with batch norm then compares them "
            "by their common statistics. Ask it for each kind by itself.",
            "the batches that the discriminator sees",
            (
                turns.turn(asked=turns.joined),
                turns.turn(asked=turns.joined, loss=losses.TOGETHER),
                turns.turn(asked=turns.joined_halves),
            ),
        ),
        Mistake(
            "the generator's turn as well",
            "The generator's turn is mixed in: its loss, its gradients or its weights. Here only the discriminator "
            "moves, by its own loss.",
            "every backward() and every step in your code, and the networks that it reaches",
            (
                turns.both_losses,
                turns.turn(turns.pictures_with_graph, loss=turns.total),
                turns.then(turns.generator_too),
                *(turns.then(turns.generator_stepped(make)) for make in turns.OPTIMIZERS),
            ),
        ),
        Mistake(
            "two steps",
            "You took more than one step: asked for is one update, by the loss on both kinds of images together.",
            "how often the optimizer steps",
            (
                turns.two_turns(slice(None)),
                turns.two_turns(slice(None, None, -1)),
                turns.turn(update=turns.step_twice),
                turns.then(lambda *args: (turns.turn()(*args), None)[1]),
            ),
        ),
        Mistake(
            "loss after the step",
            "The loss that you return is one after a step: it was computed anew, or it belongs to a second step. Asked "
            "for is the loss that the one step was made by.",
            "which loss you return, and how often your code steps",
            (turns.then(lambda g, d, _, x, z: losses.discriminator_loss(d(x), d(turns.pictures(g, x, z)))),),
        ),
        Mistake(
            "another optimizer",
            "You stepped in another way than by the optimizer that is handed in, which has its own learning rate.",
            "the arguments of discriminator_step",
            (*(turns.with_optimizer(make) for make in turns.OPTIMIZERS),),
        ),
        Mistake(
            "batches of one size",
            "Your loss wants as many generated images as real ones. x and z may differ in length: each kind has a "
            "mean, and labels, of its own.",
            "the shapes of what you add, and of the labels",
            tuple(turns.turn(loss=loss) for loss in losses.PAIRED),
        ),
        Mistake(
            "clipped",
            "You clipped the gradients or the weights: asked for is a plain step of the optimizer.",
            "clip and clamp in your code",
            (*(turns.turn(update=turns.clipped(norm)) for norm in (0.1, 0.5, 1)), turns.then(turns.clip_weights)),
        ),
        Mistake(
            "unstable logarithm",
            "Your loss is not finite, or cut off, for large logits.",
            "your own discriminator_loss, which may be called here",
            (turns.turn(loss=losses.UNSTABLE), turns.turn(loss=losses.BOUNDED)),
        ),
        Mistake(
            "another loss",
            "The loss that you return, or step by, is not that of exercise 1: the sum of two means, of -log D and of "
            "-log(1 - D).",
            "your own discriminator_loss, which may be called here",
            (*(turns.turn(loss=loss) for loss in turns.OTHERS), turns.turn(update=turns.half)),
        ),
    ),
    hint="the loss must be the one before the step, and only the weights of the discriminator may have moved",
    tolerance=Tolerance(absolute=1e-5),  # a weight near 0 is a difference
    traces=_traces,
    number=True,
)

EXERCISES = (DISCRIMINATOR_STEP,)
