"""Exercise 4 of notebook 06: images from a generator to look at, without a trace in the generator."""

import torch
from torch import Tensor, nn

from course_utils.checks.adversarial_networks import (
    Network,
    build,
    gradients,
    leave_gradients,
    modes,
    small_generator,
    statistics,
    trained,
)
from course_utils.checks.engine import Case, Mistake, Outcome, Tolerance
from course_utils.checks.stateful import Stateful, Traces


def _call(generator: nn.Module, z: Tensor) -> Tensor:
    with torch.no_grad():
        return generator(z)


def _back(generator: nn.Module, was: bool) -> None:
    generator.train(was)


def _drawn(switch=nn.Module.eval, images=_call, back=_back):
    """Return a draw from the way into evaluation mode, how the images are made, and the way back."""

    def answer(generator: nn.Module, z: Tensor) -> Tensor:
        was = generator.training
        switch(generator)
        made = images(generator, z)
        back(generator, was)
        return made

    return answer


def _while_frozen(generator: nn.Module, z: Tensor) -> Tensor:
    images = generator.requires_grad_(False)(z)
    generator.requires_grad_(True)
    return images


def _changed(change):
    return _drawn(images=lambda generator, z: change(_call(generator, z)))


def _flag(generator: nn.Module, on: bool = False) -> None:
    generator.training = on  # of this module alone, not of its parts


def _norms(generator: nn.Module) -> None:
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()


def _one_by_one(generator: nn.Module, z: Tensor) -> Tensor:
    return torch.cat([_call(generator, each[None]) for each in z])


def _before_too(generator: nn.Module, z: Tensor) -> Tensor:
    _call(generator, z)
    return _drawn()(generator, z)


def _after_too(generator: nn.Module, z: Tensor) -> Tensor:
    images = _drawn()(generator, z)
    _call(generator, z)
    return images


def _traces(done: Outcome) -> Traces:
    generator = done.args["generator"]
    return {
        "requires_grad of the images (1 for True)": torch.tensor([float(done.value.requires_grad)]),
        "the mode of the generator and of its parts afterwards (1 for training)": modes(generator),
        "the running statistics of the generator afterwards": statistics(generator),
        "requires_grad of the weights afterwards (1 for True)": trained(generator),
        "the gradients left in the generator": gradients(generator),
    }


def _convolutions(z_dim: int, random: torch.Generator) -> Network:
    return build(
        lambda: (
            *(nn.Unflatten(1, (z_dim, 1, 1)), nn.ConvTranspose2d(z_dim, 6, 4), nn.BatchNorm2d(6), nn.LeakyReLU(0.2)),
            *(nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 3, 1), nn.Tanh()),
        ),
        random,
    )


def _with_dropout(z_dim: int, random: torch.Generator) -> Network:
    return build(
        lambda: (
            *(nn.Linear(z_dim, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Dropout(0.5)),
            *(nn.Linear(8, 48), nn.Tanh(), nn.Unflatten(1, (3, 4, 4))),
        ),
        random,
    )


def _unbounded(z_dim: int, random: torch.Generator) -> Network:
    return build(lambda: (nn.Linear(z_dim, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 2)), random)


def _cases(random: torch.Generator) -> list[Case]:
    made = []
    for label, make, n, z_dim, training in (
        ("a generator in training", _convolutions, 5, 4, True),
        ("a generator in evaluation mode already", _convolutions, 4, 3, False),
        ("a single image, in training", lambda k, g: small_generator(k, (3, 4, 6), g), 1, 5, True),
        ("a single image, in evaluation mode", lambda k, g: small_generator(k, (1, 4, 4), g), 1, 5, False),
        ("dropout, in training", _with_dropout, 6, 4, True),
        ("dropout, in evaluation mode", _with_dropout, 3, 4, False),
        ("points in place of images, in training", _unbounded, 7, 2, True),
        ("z asks for a gradient, in training", _convolutions, 3, 5, True),
        ("many images, in training", lambda k, g: small_generator(k, (3, 4, 4), g), 64, 3, True),
    ):
        z = torch.randn(n, z_dim, generator=random)
        generator = make(z_dim, random).train(training)
        if len(made) % 2:
            leave_gradients(generator, random)
        made.append(Case(label, {"generator": generator, "z": z.requires_grad_(label.startswith("z asks"))}))
    return made


DRAW = Stateful(
    "draw",
    _drawn(),
    _cases,
    (
        Mistake(
            "training mode while drawing",
            "The generator drew in training mode: batch norm then takes the statistics of this batch, so that each "
            "image depends on the others, and the running statistics move. A single z may even be refused.",
            "the mode of the generator and of its parts when you call it: .training is one module's flag and no more",
            (
                _drawn(lambda generator: None),
                _drawn(nn.Module.train),
                _drawn(lambda generator: None, _one_by_one),
            ),
        ),
        Mistake(
            "batch norm alone",
            "You switched batch norm alone: other parts, such as dropout, have two modes as well.",
            "the method that switches the whole generator",
            (_drawn(_norms),),
        ),
        Mistake(
            "graph kept",
            "Your images still hang on the graph of the computation: they keep memory, and cannot be drawn or turned "
            "into numpy arrays as they are.",
            "requires_grad of your images",
            (_drawn(images=lambda generator, z: generator(z)),),
        ),
        Mistake(
            "graph of z kept",
            "Your images still hang on a graph, that of z: frozen weights do not cut it where z asks for a gradient.",
            "requires_grad of your images when z.requires_grad is True",
            (_drawn(images=_while_frozen),),
        ),
        Mistake(
            "evaluation mode left on",
            "The generator came in training mode and is left in evaluation mode: it would go on training like that.",
            "generator.training before and after, and when you ask for the mode that it was in",
            (_drawn(back=lambda generator, was: None),),
        ),
        Mistake(
            "training mode left on",
            "You always leave the generator in training mode; one that came in evaluation mode has to stay in it.",
            "generator.training before and after, for a generator on which eval() was called",
            (_drawn(back=lambda generator, was: generator.train()),),
        ),
        Mistake(
            "modes exchanged",
            "The mode afterwards is the opposite of the mode before.",
            "generator.training before and after",
            (_drawn(back=lambda generator, was: generator.train(not was)),),
        ),
        Mistake(
            "mode of some parts lost",
            "You put back the mode of some modules only: the generator, or some of its parts, are still evaluating.",
            "which modules change when you set .training, and which when you call the method",
            (_drawn(back=_flag), _drawn(back=lambda generator, was: [m.train(was) for m in generator.children()])),
        ),
        Mistake(
            "left frozen",
            "Your images are right, but the weights are left with requires_grad = False: the generator cannot learn "
            "any more.",
            "requires_grad in your code, and whether it is put back",
            (_drawn(images=lambda generator, z: _call(generator.requires_grad_(False), z)),),
        ),
        Mistake(
            "gradients wiped",
            "Your images are right, but the gradients that the generator held are gone: whoever looks at images must "
            "not disturb the training.",
            "zero_grad() in your code",
            (_drawn(switch=lambda generator: (generator.zero_grad(), generator.eval())),),
        ),
        Mistake(
            "called in training mode as well",
            "You called the generator in training mode, too, before or after you drew: its running statistics have "
            "moved, and a single z may be refused.",
            "how often you call the generator, and in which mode each time",
            (_before_too, _after_too),
        ),
        Mistake(
            "own noise",
            "You drew the noise yourself; what becomes images is handed in as z.",
            "the arguments of draw",
            (
                _drawn(images=lambda generator, z: _call(generator, torch.randn_like(z))),
                _drawn(lambda generator: None, lambda generator, z: _call(generator, torch.randn_like(z))),
                _drawn(images=lambda generator, z: _call(generator, torch.rand_like(z))),
            ),
        ),
        Mistake(
            "made for the screen",
            "You brought the images into another range, order or type. Asked for is what the generator gives, in "
            "[-1, 1] and with the channels first: those who show it do the rest.",
            "what you do with the images after the generator",
            (
                _changed(lambda x: (x + 1) / 2),
                _changed(lambda x: ((x + 1) / 2).clamp(0, 1)),
                _changed(lambda x: x.clamp(-1, 1)),
                _changed(lambda x: x.clamp(0, 1)),
                _changed(lambda x: 255 * (x + 1) / 2),
                _changed(lambda x: x.movedim(1, -1)),
                _changed(lambda x: ((x + 1) / 2).movedim(1, -1)),
                _changed(lambda x: x.permute(0, 2, 3, 1)),
                _changed(lambda x: ((x + 1) / 2).permute(0, 2, 3, 1)),
                _changed(lambda x: ((x + 1) * 127.5).byte()),
            ),
        ),
    ),
    hint="draw twice with the same z: the images are the same, and so is everything about the generator",
    tolerance=Tolerance(absolute=1e-6),
    traces=_traces,
)

EXERCISES = (DRAW,)
