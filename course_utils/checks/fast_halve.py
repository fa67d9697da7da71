"""Exercise 5 of notebook 09: the picture with which one step of a student lands where two of its teacher do."""

from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.fusion_shared import pictures


class Teacher:
    """Stands in for a trained network: an estimate of x_0 that depends on every pixel and on the level."""

    def __call__(self, x: Tensor, i: int) -> Tensor:
        if getattr(i, "ndim", 0) or i not in (0, 1):
            got = i if isinstance(i, int | float) else f"a {type(i).__name__}"
            raise ValueError(f"the teacher takes i as one number, the level, 0 or 1; it got {got}")
        return 1.1 * torch.tanh((0.9 - 0.5 * i) * x + 0.5 * i - 0.2)


class Ways(NamedTuple):
    """The teacher's two steps: its estimates, the noise of the first step, the three points, and the levels (3,)."""

    x: tuple[Tensor, Tensor, Tensor]
    first: Tensor
    last: Tensor
    eps: Tensor
    a: Tensor
    s: Tensor


def _implied(x: Tensor, x_0: Tensor, a: Tensor, s: Tensor) -> Tensor:
    return (x - a * x_0) / s


def _land(x_0: Tensor, eps: Tensor, a: Tensor, s: Tensor) -> Tensor:
    return a * x_0 + s * eps


def _solve(w: Ways, ratio: Tensor | None = None) -> Tensor:
    ratio = w.s[2] / w.s[0] if ratio is None else ratio
    return (w.x[2] - ratio * w.x[0]) / (w.a[2] - ratio * w.a[0])


def _target(
    solve=_solve, told=(0, 1), shown=1, implied=_implied, land=_land, levels=lambda *x: x, clip=torch.clone, end=None
):
    """Return a halved_target: solve(ways) after two steps, in which the teacher is told these levels.

    shown: the point that the teacher is shown the second time. clip: of its estimates. end(ways): another second step.
    """

    def answer(teacher, x_t: Tensor, a: Tensor, s: Tensor) -> Tensor:
        a, s = levels(a, s)
        first = clip(teacher(x_t, told[0]))
        eps = implied(x_t, first, a[0], s[0])
        between = land(first, eps, a[1], s[1])
        last = clip(teacher((x_t, between)[shown], told[1]))
        ways = Ways((x_t, between, x_t), first, last, eps, a, s)
        x_end = end(ways) if end else land(last, implied(between, last, a[1], s[1]), a[2], s[2])
        return solve(ways._replace(x=(x_t, between, x_end)))

    return answer


def _each(part: str, *choices):
    """Return a halved_target for each choice of one part."""
    return tuple(_target(**{part: choice}) for choice in choices)


def _ratios(*ratios):
    """Return a halved_target for each ratio(a, s) in the place of s''/s."""
    return _each("solve", *(lambda w, ratio=ratio: _solve(w, ratio(w.a, w.s)) for ratio in ratios))


def _lines(*lines):
    """Return a halved_target for each last line(x, a, s, r): the three points, their levels, and r = s''/s."""
    return _each("solve", *(lambda w, line=line: line(w.x, w.a, w.s, w.s[2] / w.s[0]) for line in lines))


def _common_noise(w: Ways) -> Tensor:
    """The noise that both ends of the student's step share, by a division by a[0]."""
    k = w.a[2] / w.a[0]
    return (w.x[2] - k * w.x[0]) / (w.s[2] - k * w.s[0])


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, b, size, kind, levels in (
        ("pictures, levels of diffusion", 4, 6, "circle", (0.8, 0.55, 0.3)),
        ("from pure noise, a[0] = 0", 3, 4, "circle", (1.0, 0.75, 0.5)),
        ("down to the clean picture, s[2] = 0", 3, 5, "circle", (0.5, 0.25, 0.0)),
        ("levels on a straight path", 2, 6, "line", (0.9, 0.7, 0.4)),
        ("levels of EDM, a = 1", 4, 4, "edm", (4.0, 1.5, 0.4)),
        ("a single picture, uneven levels", 1, 5, "circle", (0.7, 0.6, 0.2)),
        ("as many pictures as levels, colours, rows and columns", 3, 3, "line", (0.6, 0.5, 0.2)),
        ("all the way in two steps", 2, 4, "line", (1.0, 0.5, 0.0)),
    ):
        s = torch.tensor(levels)
        a = {"circle": (1 - s**2).sqrt(), "line": 1 - s, "edm": torch.ones(3)}[kind]
        x_0 = pictures(generator, b, size)
        x_t = a[0] * x_0 + s[0] * torch.randn(x_0.shape, generator=generator)
        made.append(Case(label, {"teacher": Teacher(), "x_t": x_t, "a": a, "s": s}))
    return made


HALVED_TARGET = Exercise(
    "halved_target",
    _target(),
    _cases,
    (
        Mistake(
            "first estimate",
            "That is the teacher's first estimate, teacher(x_t, 0), which leads where the teacher gets with one long "
            "step: the student would learn what its teacher can do already. Two steps of the teacher count.",
            "the noise in your second step, and which points and levels your last line links",
            _each("solve", lambda w: w.first.clone()),
        ),
        Mistake(
            "last estimate",
            "That is the teacher's last estimate. It leads on from the end of the first step; the student starts from "
            "x_t, with other noise, and has to come out at the same place.",
            "where your second step starts, and which points and levels your last line links",
            _each("solve", lambda w: w.last.clone()),
        ),
        Mistake(
            "average of the estimates",
            "You averaged the two estimates of the teacher with fixed weights. How much each of them counts depends on "
            "the levels, and follows from where the teacher lands.",
            "one DDIM step with your answer: does it land where the teacher's second step did?",
            _each("solve", lambda w: (w.first + w.last) / 2, lambda w: (w.first + 2 * w.last) / 3),
        ),
        Mistake(
            "point on the way",
            "You returned where the teacher lands, a picture with the noise of its level. Asked for is the x_0 that "
            "the student must answer to land there. Only where the end is clean, both are the same.",
            "what is left to do when the two steps are done",
            _each("solve", lambda w: w.x[2], lambda w: w.x[1]),
        ),
        Mistake(
            "noise returned",
            "That is the noise which the student has to answer, not the picture.",
            "which of the two unknowns of the student's step your last line keeps",
            _each("solve", lambda w: _implied(w.x[0], _solve(w), w.a[0], w.s[0]), _common_noise),
        ),
        Mistake(
            "both steps from x_t",
            "Both times the teacher was shown x_t, or both steps start there. The second step starts where the first "
            "one ended, and the teacher is asked anew about that point.",
            "what the second call of teacher is given, and the x of the second step",
            (
                *(_target(solve, shown=0) for solve in (_solve, lambda w: w.last)),
                _target(end=lambda w: _land(w.last, _implied(w.x[0], w.last, w.a[1], w.s[1]), w.a[2], w.s[2])),
            ),
        ),
        Mistake(
            "teacher told another level",
            "You told the teacher another level than that of the picture it is shown: x_t stands at level 0, and the "
            "end of the first step at level 1.",
            "the second argument of teacher, in both calls",
            _each("told", (0, 0), (0, 2), (1, 1), (1, 0)),
        ),
        Mistake(
            "noise not read off anew",
            "Your second step mixes the two estimates: one of its terms still is that of the first step. With a new "
            "estimate of the picture, the noise is another one, too.",
            "the picture and the noise in your second step",
            _each(
                "end",
                lambda w: _land(w.last, w.eps, w.a[2], w.s[2]),
                lambda w: _land(w.first, _implied(w.x[1], w.last, w.a[1], w.s[1]), w.a[2], w.s[2]),
            ),
        ),
        Mistake(
            "noise wrongly read off",
            "The noise in your steps is wrong: it is what x holds beside the estimate, at the level at which x stands.",
            "x = a x_0 + s eps, solved for eps: brackets, signs and indices; and the sign where you put the noise back",
            _each(
                "end",
                lambda w: _land(w.last, _implied(w.x[1], w.last, w.a[0], w.s[0]), w.a[2], w.s[2]),
                lambda w: _land(w.last, _implied(w.x[1], w.last, w.a[2], w.s[2]), w.a[2], w.s[2]),
            )
            + _each(
                "implied",
                lambda x, x_0, a, s: x - a * x_0,
                lambda x, x_0, a, s: x - a * x_0 / s,
                lambda x, x_0, a, s: (x - x_0) / s,
                lambda x, x_0, a, s: (x + a * x_0) / s,
                lambda x, x_0, a, s: (a * x_0 - x) / s,
            ),
        ),
        Mistake(
            "wrong landing",
            "Your steps land in the wrong place: at the lower level the estimate is multiplied by the signal a, and "
            "the noise that is added to it by s.",
            "the two terms where each step ends",
            _each("land", lambda x_0, eps, a, s: x_0 + s * eps, lambda x_0, eps, a, s: a * x_0 + eps),
        ),
        Mistake(
            "fresh noise",
            "You drew new noise. DDIM puts back the noise that was in the picture: nothing is left to chance.",
            "randn in your code",
            (
                _target(implied=lambda x, x_0, a, s: torch.randn_like(x)),
                _target(end=lambda w: _land(w.last, torch.randn_like(w.last), w.a[2], w.s[2])),
            ),
        ),
        Mistake(
            "wrong ratio",
            "The ratio in your last line is not that of the noise at the end to the noise at the start of the "
            "student's step, which is the factor by which the noise in x_t has to shrink.",
            "the ratio: which two levels it takes, and which of them stands on top",
            _ratios(
                lambda a, s: s[2] / s[1],
                lambda a, s: s[1] / s[0],
                lambda a, s: s[0] / s[2],
                lambda a, s: a[2] / a[0],
                lambda a, s: (s[2] / s[0]).square(),
            ),
        ),
        Mistake(
            "mixed levels",
            "Your last line mixes levels. The student's step starts from x_t, at level 0, and ends where the teacher's "
            "second step did, at level 2; level 1 has no place in it.",
            "which point, and which entries of a and s, each symbol of your last line stands for",
            _lines(
                lambda x, a, s, r: (x[1] - r * x[0]) / (a[2] - r * a[0]),
                lambda x, a, s, r: (x[2] - r * x[1]) / (a[2] - r * a[0]),
                lambda x, a, s, r: (x[2] - r * x[0]) / (a[2] - r * a[1]),
                lambda x, a, s, r: (x[2] - r * x[0]) / (a[1] - r * a[0]),
                lambda x, a, s, r: (x[2] - s[1] / s[0] * x[0]) / (a[1] - s[1] / s[0] * a[0]),
                lambda x, a, s, r: (x[2] - s[2] / s[1] * x[0]) / (a[2] - s[2] / s[1] * a[1]),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong in your last line: both times something is taken off.",
            "the student's step, with its noise written as (x_t - a x_0) / s: collect the terms with x_0",
            _lines(
                lambda x, a, s, r: (x[2] + r * x[0]) / (a[2] + r * a[0]),
                lambda x, a, s, r: (x[2] + r * x[0]) / (a[2] - r * a[0]),
                lambda x, a, s, r: (x[2] - r * x[0]) / (a[2] + r * a[0]),
                lambda x, a, s, r: (r * x[0] - x[2]) / (a[2] - r * a[0]),
            ),
        ),
        Mistake(
            "not solved for x_0",
            "Your last line is not yet solved for x_0. In the student's step x_0 stands twice, by itself and inside "
            "the noise; both have to be collected before you divide.",
            "the brackets of the division, and what x_0 is multiplied by in each of the two places",
            _lines(
                lambda x, a, s, r: x[2] - r * x[0],
                lambda x, a, s, r: (x[2] - r * x[0]) / a[2],
                lambda x, a, s, r: x[2] / (a[2] - r * a[0]),
                lambda x, a, s, r: x[2] - r * x[0] / (a[2] - r * a[0]),
                lambda x, a, s, r: (x[2] - r * x[0]) / a[2] - r * a[0],
                lambda x, a, s, r: x[2] / a[2],
                lambda x, a, s, r: (x[2] - r * x[0]) / (a[2] - r),
            ),
        ),
        Mistake(
            "divided by the signal",
            "You divide by a[0] somewhere, which is 0 where a chain begins, at pure noise. Your algebra is right, but "
            "what comes out there is not a number.",
            "divisions by a; the estimate of the teacher is a picture already, and the noise follows without them",
            _each("solve", lambda w: (w.x[0] - w.s[0] * _common_noise(w)) / w.a[0]),
        ),
        Mistake(
            "exchanged",
            "You exchanged a and s, or took the levels in reverse: a multiplies the picture and s the noise, and "
            "index 0 is the noisiest level, that of x_t.",
            "x = a x_0 + s eps, and the order of the levels",
            _each("levels", lambda a, s: (s, a), lambda a, s: (a.flip(0), s.flip(0))),
        ),
        Mistake(
            "not a and s as they are",
            "You took a root or a square of a or s, or worked one out from the other. Both are factors already, and of "
            "any path: neither they nor their squares need to add up to 1.",
            "what becomes of a and s before they multiply anything",
            _each(
                "levels",
                lambda a, s: (a.sqrt(), s.sqrt()),
                lambda a, s: (a.square(), s.square()),
                lambda a, s: (a.sqrt(), (1 - a).sqrt()),
                lambda a, s: (a, (1 - a.square()).sqrt()),
                lambda a, s: (a, 1 - a),
            ),
        ),
        Mistake(
            "clamped",
            "You cut estimates or the answer off at -1 and 1. With another x_0, a step ends elsewhere.",
            "clamp or clip in your code",
            (_target(lambda w: _solve(w).clamp(-1, 1)), _target(clip=lambda x: x.clamp(-1, 1))),
        ),
    ),
    hint="one DDIM step with your answer, from level 0 to level 2, has to land where the teacher's second step did",
)

EXERCISES = (HALVED_TARGET,)
