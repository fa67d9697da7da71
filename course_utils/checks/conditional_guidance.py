"""Exercise 3 of notebook 04: the formula of classifier-free guidance."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def guide(with_y: Tensor, without: Tensor, scale: float) -> Tensor:
    """Return the guided answer."""
    return without + scale * (with_y - without)


NOT_GUIDE = (
    lambda c, u, s: (1 + s) * c - s * u,  # the paper's, with w = s
    lambda c, u, s: s * (c - u),
    lambda c, u, s: u - s * (c - u),
    lambda c, u, s: s * c,
    lambda c, u, s: u + (s - 1) * (c - u),
    lambda c, u, s: u + s * c,
)


def _guide_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, scale in (
        ("images, scale 3", (4, 3, 5, 7), 3.0),
        ("scale 0: no guidance at all", (2, 3, 4, 4), 0.0),
        ("scale 1: the conditional answer", (3, 3, 4, 6), 1.0),
        ("points", (6, 2), 1.5),
        ("half-way", (5, 2), 0.5),
        ("a single image, a large scale", (1, 3, 6, 4), 7.5),
        ("away from the class", (2, 1, 4, 4), -1.0),
        ("a single pixel, a whole number as scale", (1, 1, 1, 1), 2),
    ):
        with_y, without = (torch.randn(shape, generator=generator) for _ in range(2))
        made.append(Case(label, {"with_y": with_y, "without": without, "scale": scale}))
    return made


GUIDE = Exercise(
    "guide",
    guide,
    _guide_cases,
    (
        Mistake(
            "the paper's w",
            "You used scale as the paper's w (Ho & Salimans 2022, Eq. 6), which is scale - 1, or you started from "
            "with_y. Here 0 has to give the unconditional answer and 1 the conditional one.",
            "what your formula gives at scale = 0",
            (lambda c, u, s: (1 + s) * c - s * u,),
        ),
        Mistake(
            "scale less one",
            "Your scale is one too small: from the unconditional answer, scale = 1 has to lead to the conditional one.",
            "what your formula gives at scale = 1",
            (lambda c, u, s: u + (s - 1) * (c - u),),
        ),
        Mistake(
            "roles exchanged",
            "The two answers have changed roles: your scale leads away from the class.",
            "what your formula gives at scale = 0 and at scale = 1",
            (lambda c, u, s: c + s * (u - c),),
        ),
        Mistake(
            "sign",
            "Your answer moves away from the conditional one: a sign is wrong.",
            "the direction from the unconditional answer to the conditional one, and its sign",
            (lambda c, u, s: u - s * (c - u), lambda c, u, s: c - s * u),
        ),
        Mistake(
            "difference only",
            "You returned the difference alone. It is a direction; the answer from which it leads away is missing.",
            "what your formula gives at scale = 0",
            (lambda c, u, s: s * (c - u), lambda c, u, s: c - u),
        ),
        Mistake(
            "unconditional answer not shrunk",
            "Your two coefficients do not add up to 1: where both answers agree, that answer has to come out.",
            "with_y = without: what should guidance change?",
            (
                lambda c, u, s: u + s * c,
                lambda c, u, s: s * c - u,
                lambda c, u, s: c + s * u,
                lambda c, u, s: (1 + s) * c + s * u,
                lambda c, u, s: (1 + s) * c - u,
                lambda c, u, s: s * c + (1 + s) * u,
            ),
        ),
        Mistake(
            "conditional answer multiplied",
            "You multiplied the conditional answer: that makes the predicted noise larger, not more like the class.",
            "where your formula uses the unconditional answer",
            (lambda c, u, s: s * c,),
        ),
        Mistake(
            "scale unused",
            "Your answer is the same at every scale: one of the two inputs as it came, or their mean.",
            "where your formula uses scale",
            (lambda c, u, s: c.clone(), lambda c, u, s: u.clone(), lambda c, u, s: (c + u) / 2),
        ),
        Mistake(
            "between the two only",
            "You kept scale within [0, 1]; guidance goes beyond the conditional answer, that is what it is for.",
            "what your function gives at scale = 1 and at scale = 3",
            (lambda c, u, s: guide(c, u, min(s, 1)), lambda c, u, s: guide(c, u, min(max(s, 0), 1))),
        ),
        Mistake(
            "clipped",
            "You clipped the result to [-1, 1]. That is the range of pictures; noise and velocities leave it.",
            "the largest number that you return",
            (lambda c, u, s: guide(c, u, s).clamp(-1, 1),),
        ),
    ),
    hint="scale 0 has to give without, scale 1 with_y, and each further 1 another step of the same length",
    tolerance=Tolerance(absolute=1e-5),  # at a large scale the two terms nearly cancel
)

EXERCISES = (GUIDE,)
