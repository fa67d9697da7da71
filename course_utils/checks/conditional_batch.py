"""Exercise 4 of notebook 04: both answers that guidance needs, from one call of the network."""

import torch
from torch import Tensor

from course_utils.checks.conditional_guidance import NOT_GUIDE, guide
from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


class AskedTwice(RuntimeError):
    """The network was called a second time."""


class Probe:
    """Stands in for a network that may be asked once: an answer that depends on every pixel and each image's t and y.

    Every call of a check gets a fresh copy. Raises AskedTwice at the second call, and ValueError unless t and y are
    (B,) whole numbers.
    """

    def __init__(self):
        self.asked = False

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if self.asked:
            raise AskedTwice("the model may be called once, and this is the second call")
        self.asked = True
        for name, value in (("t", t), ("y", y)):
            if not isinstance(value, Tensor) or value.ndim != 1 or value.is_floating_point():
                what = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
                raise ValueError(f"the model takes {name} as whole numbers, one per image; it got {what}")
        if not len(x_t) == len(t) == len(y):
            raise ValueError(f"the model got {len(x_t)} images, {len(t)} timesteps and {len(y)} labels")
        t, y = (value.to(x_t.dtype).view(-1, *[1] * (x_t.ndim - 1)) for value in (t, y))
        return (0.6 + 0.3 * torch.cos(1.9 * y)) * x_t - 0.8 * torch.cos(0.7 * t) + torch.sin(1.3 * y + 0.1 * t)


def _twice(value: Tensor) -> Tensor:
    return torch.cat([value, value])


def _pair(value: Tensor) -> Tensor:
    return value.repeat_interleave(2, dim=0)


def _labels(y: Tensor, null: int) -> Tensor:
    return torch.cat([y, torch.full_like(y, null)])


def _label_pairs(y: Tensor, null: int) -> Tensor:
    return torch.stack([y, torch.full_like(y, null)], dim=1).flatten()


def _guided(images=_twice, times=_twice, labels=_labels, formula=guide, after=lambda guided: guided):
    """Return a guided_eps from what the model is handed, and the formula that joins the halves of its answer."""

    def answer(model, x_t: Tensor, t: Tensor, y: Tensor, scale: float, null: int) -> Tensor:
        with_y, without = model(images(x_t), times(t), labels(y, null)).chunk(2)
        return after(formula(with_y, without, scale))

    return answer


def _two_calls(model, x_t: Tensor, t: Tensor, y: Tensor, scale: float, null: int) -> Tensor:
    return guide(model(x_t, t, y), model(x_t, t, torch.full_like(y, null)), scale)


def _every_second(model, x_t: Tensor, t: Tensor, y: Tensor, scale: float, null: int) -> Tensor:
    both = model(_twice(x_t), _twice(t), _labels(y, null))
    return guide(both[::2], both[1::2], scale)


def _guided_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, scale, null in (
        ("images of ten classes", (4, 3, 5, 7), 3.0, 10),
        ("scale 0: no guidance at all", (2, 3, 4, 4), 0.0, 10),
        ("scale 1: the conditional answer", (3, 3, 4, 4), 1.0, 10),
        ("a single image", (1, 3, 6, 4), 2.0, 10),
        ("points of two classes", (5, 2), 1.5, 2),
        ("classes from 1 on, null = 0", (4, 1, 4, 4), 2.5, 0),
        ("pictures of a single pixel", (3, 1, 1, 1), 4.0, 5),
        ("a large scale, a hundred classes", (2, 3, 4, 4), 7.5, 100),
    ):
        n = shape[0]
        y = torch.randint(0, null, (n,), generator=generator) if null else 1 + torch.arange(n) % 6
        x_t, t = torch.randn(shape, generator=generator), torch.randint(1, 1000, (n,), generator=generator)
        made.append(Case(label, {"model": Probe(), "x_t": x_t, "t": t, "y": y, "scale": scale, "null": null}))
    return made


GUIDED_EPS = Exercise(
    "guided_eps",
    _guided(),
    _guided_cases,
    (
        Mistake(
            "asked twice",
            "You asked the network twice. Even where the numbers are right: one call with a batch of twice the size "
            "gives both answers, and keeps a GPU busier.",
            "how often your code calls the model",
            (_two_calls,),
        ),
        Mistake(
            "halves exchanged",
            "The two halves have changed roles: what you take for the conditional answer was given null.",
            "the order in which you join the labels, and the order in which you take the answer apart",
            (_guided(formula=lambda c, u, s: c + s * (u - c)),),
        ),
        Mistake(
            "the conditional answer alone",
            "Your answer is the conditional one at every scale: y went to both halves, or nothing was guided.",
            "the labels of the second half",
            (lambda model, x_t, t, y, scale, null: model(x_t, t, y),),
        ),
        Mistake(
            "the unconditional answer alone",
            "Your answer is the unconditional one at every scale: null went to both halves, or nothing was guided.",
            "the labels of each of the two halves",
            (lambda model, x_t, t, y, scale, null: model(x_t, t, torch.full_like(y, null)),),
        ),
        Mistake(
            "not all doubled",
            "The model got images, timesteps and labels in different numbers: if one of them is doubled, all must be.",
            "the lengths of the three tensors that you hand to the model",
            (_guided(times=lambda t: t), _guided(images=lambda x: x, times=lambda t: t)),
        ),
        Mistake(
            "halves see different pictures",
            "The two halves see different pictures or timesteps: they may differ in the label only, else their "
            "difference is not what the label does.",
            "the two halves of each tensor that you hand to the model",
            (
                _guided(images=lambda x: torch.cat([x, torch.zeros_like(x)])),
                _guided(images=lambda x: torch.cat([torch.zeros_like(x), x])),
                _guided(images=lambda x: torch.cat([x, torch.randn_like(x)])),
                _guided(images=lambda x: torch.cat([torch.randn_like(x), x])),
                _guided(times=lambda t: torch.cat([t, torch.zeros_like(t)])),
                _guided(times=lambda t: torch.cat([torch.zeros_like(t), t])),
            ),
        ),
        Mistake(
            "interleaved",
            "Your batch is not in the order in which you take it apart: repeat_interleave puts the two copies of an "
            "image side by side (a, a, b, b), cat and repeat one batch after the other (a, b, a, b).",
            "which picture, which t and which label stand at place 1 of the doubled batch",
            (
                _guided(_pair, _pair, _label_pairs),
                _guided(_pair, _pair),
                _guided(_pair),
                _guided(times=_pair),
                _guided(labels=_label_pairs),
                _every_second,
            ),
        ),
        Mistake(
            "another label for null",
            "The half without a class got another label than null, the number that is handed in for it.",
            "the argument null",
            (
                _guided(labels=lambda y, null: torch.cat([y, torch.zeros_like(y)])),
                _guided(labels=lambda y, null: torch.cat([y, torch.full_like(y, -1)])),
                _guided(labels=lambda y, null: torch.cat([y, torch.full_like(y, null - 1)])),
                _guided(labels=lambda y, null: torch.cat([y, torch.full_like(y, null + 1)])),
                _guided(labels=lambda y, null: torch.cat([y, torch.full_like(y, 2)])),
            ),
        ),
        Mistake(
            "x_t guided",
            "You added the direction to x_t. Guidance changes the predicted noise; the sampler takes the step.",
            "what scale = 0 should give",
            (
                lambda model, x_t, *rest: x_t + _guided(formula=lambda c, u, s: s * (c - u))(model, x_t, *rest),
                lambda model, x_t, *rest: x_t - _guided(formula=lambda c, u, s: s * (c - u))(model, x_t, *rest),
            ),
        ),
        Mistake(
            "both halves returned",
            "Your answer has the wrong shape: it is twice as long as the batch, and one guided eps per image is asked "
            "for.",
            "the length of what you return",
            (
                lambda model, x_t, t, y, scale, null: model(_twice(x_t), _twice(t), _labels(y, null)),
                lambda model, x_t, t, y, scale, null: model(_twice(x_t), _twice(t), _labels(y, null).roll(len(y))),
                _guided(after=_twice),
            ),
        ),
        Mistake(
            "another formula",
            "The network was asked well, but its two answers are joined by another formula than that of guide. Scale 0 "
            "has to give the unconditional one, scale 1 the conditional one.",
            "your own guide, which may be called here",
            tuple(_guided(formula=formula) for formula in NOT_GUIDE),
        ),
    ),
    hint="at scale 1 your answer has to be model(x_t, t, y); at scale 0 the same with null for every label",
    tolerance=Tolerance(absolute=1e-5),
)

EXERCISES = (GUIDED_EPS,)
