"""Exercise 5 of notebook 03: one long step of DDIM."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.schedules import Schedule


def _implied(x: Tensor, x0_hat: Tensor, a: Tensor) -> Tensor:
    return (x - a.sqrt() * x0_hat) / (1 - a).sqrt()


def _land(x0_hat: Tensor, eps_hat: Tensor, a: Tensor) -> Tensor:
    return a.sqrt() * x0_hat + (1 - a).sqrt() * eps_hat


def _step(eps=_implied, land=_land, get=lambda s, t: s.alpha_bar[t], to=lambda t, before: before):
    """Return f(x_t, t, before, x0_hat, schedule): the noise that x_t implies, then the point at the level below."""

    def answer(x_t: Tensor, t: int, before: int, x0_hat: Tensor, s: Schedule) -> Tensor:
        return land(x0_hat, eps(x_t, x0_hat, get(s, t)), get(s, to(t, before)))

    return answer


def _ancestral(x_t: Tensor, t: int, before: int, x0_hat: Tensor, s: Schedule) -> Tensor:
    a, a_bar, bar_before = s.alpha_bar[t] / s.alpha_bar[before], s.alpha_bar[t], s.alpha_bar[before]
    return (bar_before.sqrt() * (1 - a) * x0_hat + a.sqrt() * (1 - bar_before) * x_t) / (1 - a_bar)


def _one_step_mean(x_t: Tensor, t: int, before: int, x0_hat: Tensor, s: Schedule) -> Tensor:
    return _ancestral(x_t, t, t - 1, x0_hat, s)


def _of_x_t(x_t: Tensor, t: int, before: int, x0_hat: Tensor, s: Schedule) -> Tensor:
    return _land(x_t, _implied(x_t, x0_hat, s.alpha_bar[t]), s.alpha_bar[before])


def _ddim_cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(50)
    made = []
    for label, shape, schedule, t, before in (
        ("images, half-way down", (3, 3, 5, 7), linear, 12, 6),  # first: the message quotes numbers, here of size 1
        ("the first step, from t = T", (2, 3, 4, 4), linear, 20, 15),
        ("the last step, to t = 0", (2, 3, 4, 6), linear, 5, 0),
        ("a step of one level", (2, 1, 8, 8), cosine, 30, 29),
        ("points", (5, 2), cosine, 40, 10),
        ("all the way at once", (1, 3, 6, 4), cosine, 45, 0),
        ("the last level, t = 1", (4, 2), linear, 1, 0),
        ("a long chain, 50 levels at once", (4, 3, 4, 4), schedules.linear(1000), 700, 650),
    ):
        x_t, x0_hat = (torch.randn(shape, generator=generator) for _ in range(2))
        args = {"x_t": x_t, "t": t, "before": before, "x0_hat": x0_hat.clamp(-1, 1), "schedule": schedule}
        made.append(Case(label, args))
    return made


DDIM_STEP = Exercise(
    "ddim_step",
    _step(),
    _ddim_cases,
    (
        Mistake(
            "one level only",
            "You went down a single level, to t - 1; DDIM jumps to the level that is handed in as before.",
            "where your function uses the argument before",
            (_step(to=lambda t, before: t - 1), _one_step_mean),
        ),
        Mistake(
            "went nowhere",
            "You came back to x_t: both times you used the numbers of the same level.",
            "which level the noise is read off at, and which level you land on",
            (_step(to=lambda t, before: t),),
        ),
        Mistake(
            "levels exchanged",
            "The two levels are exchanged in your answer.",
            "at which level x_t lies, and at which the result",
            (lambda x_t, t, before, x0_hat, s: _step()(x_t, before, t, x0_hat, s),),
        ),
        Mistake(
            "noise of the wrong level",
            "You read the noise off with the numbers of before; x_t lies at level t.",
            "Eq. 4 at level t, solved for eps",
            (
                lambda x_t, t, before, x0_hat, s: _land(
                    x0_hat, _implied(x_t, x0_hat, s.alpha_bar[before]), s.alpha_bar[before]
                ),
                lambda x_t, t, before, x0_hat, s: _land(
                    x0_hat, (x_t - s.alpha_bar[before].sqrt() * x0_hat) / s.sigma[t], s.alpha_bar[before]
                ),
                lambda x_t, t, before, x0_hat, s: _land(
                    x0_hat, (x_t - s.alpha_bar[t].sqrt() * x0_hat) / s.sigma[before], s.alpha_bar[before]
                ),
            ),
        ),
        Mistake(
            "landed between the levels",
            "Where you land, one of the two coefficients is still that of level t.",
            "the coefficients of the second line: do they belong to one level?",
            (
                lambda x_t, t, before, x0_hat, s: (
                    s.alpha_bar[t].sqrt() * x0_hat + s.sigma[before] * _implied(x_t, x0_hat, s.alpha_bar[t])
                ),
                lambda x_t, t, before, x0_hat, s: (
                    s.alpha_bar[before].sqrt() * x0_hat + s.sigma[t] * _implied(x_t, x0_hat, s.alpha_bar[t])
                ),
            ),
        ),
        Mistake(
            "x0_hat not shrunk",
            "You added noise to the whole of x0_hat; at level before it is shrunk (Ho et al. 2020, Eq. 4).",
            "the first of the two terms where you land",
            (_step(land=lambda x_0, e, a: x_0 + (1 - a).sqrt() * e),),
        ),
        Mistake(
            "x_t in place of x0_hat",
            "You shrank x_t where x0_hat belongs: the step lands on a noised version of the predicted picture.",
            "what q_sample would be given, were x0_hat the truth",
            (_of_x_t,),
        ),
        Mistake(
            "fresh noise",
            "You drew new noise. DDIM puts back the noise that x_t and x0_hat imply, which makes it deterministic.",
            "eta = 0 in Eq. 16 of Song et al. 2021",
            (_step(eps=lambda x, x_0, a: torch.randn_like(x)),),
        ),
        Mistake(
            "posterior mean",
            "That is the mean of the ancestral step, which expects fresh noise to be added. Without it, the chain "
            "ends up with too little noise at every level.",
            "the coefficient of eps_hat where you land",
            (_ancestral,),
        ),
        Mistake(
            "missing square root",
            "A square root is missing: alpha_bar and 1 - alpha_bar are variances, the coefficients are their roots.",
            "the four coefficients, two for each level",
            (
                _step(land=lambda x_0, e, a: a * x_0 + (1 - a) * e),
                _step(land=lambda x_0, e, a: a.sqrt() * x_0 + (1 - a) * e),
                _step(land=lambda x_0, e, a: a * x_0 + (1 - a).sqrt() * e),
                _step(eps=lambda x, x_0, a: (x - a.sqrt() * x_0) / (1 - a)),
                _step(eps=lambda x, x_0, a: (x - a * x_0) / (1 - a).sqrt()),
                _step(eps=lambda x, x_0, a: (x - a * x_0) / (1 - a)),
                _step(lambda x, x_0, a: (x - a * x_0) / (1 - a), lambda x_0, e, a: a * x_0 + (1 - a) * e),
                _step(lambda x, x_0, a: (x - a * x_0) / (1 - a).sqrt(), lambda x_0, e, a: a * x_0 + (1 - a).sqrt() * e),
                _step(lambda x, x_0, a: (x - a.sqrt() * x_0) / (1 - a), lambda x_0, e, a: a.sqrt() * x_0 + (1 - a) * e),
            ),
        ),
        Mistake(
            "brackets forgotten",
            "Only one of the two terms is divided in your noise: in Python a / binds tighter than a -.",
            "the brackets: what exactly equals the noise as it stands in x_t?",
            (
                _step(eps=lambda x, x_0, a: x - a.sqrt() * x_0 / (1 - a).sqrt()),
                _step(eps=lambda x, x_0, a: x / (1 - a).sqrt() - a.sqrt() * x_0),
            ),
        ),
        Mistake(
            "noise not divided",
            "What is left of x_t without x0_hat is the noise as it stands in x_t, still shrunk by its coefficient.",
            "Eq. 4 at level t, solved for eps",
            (_step(eps=lambda x, x_0, a: x - a.sqrt() * x_0),),
        ),
        Mistake(
            "x0_hat taken off whole",
            "You took the whole of x0_hat off x_t; in x_t it is shrunk.",
            "Eq. 4 at level t, solved for eps",
            (_step(eps=lambda x, x_0, a: (x - x_0) / (1 - a).sqrt()), _step(eps=lambda x, x_0, a: x - x_0)),
        ),
        Mistake(
            "sign",
            "A sign is wrong: the noise is what is left of x_t when x0_hat is taken off, and it is added again.",
            "the signs in front of x0_hat and of eps_hat",
            (
                _step(eps=lambda x, x_0, a: (x + a.sqrt() * x_0) / (1 - a).sqrt()),
                _step(eps=lambda x, x_0, a: (a.sqrt() * x_0 - x) / (1 - a).sqrt()),
            ),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t or beta_t, the numbers of a single step; the levels are those of alpha_bar.",
            "which array of the schedule tells how much of x_0 is left at a level",
            (_step(get=lambda s, t: s.alpha[t]), _step(get=lambda s, t: s.beta[t])),
        ),
        Mistake(
            "x0_hat returned",
            "You returned x0_hat: that is right for the last step only, where before = 0.",
            "where the noise went",
            (lambda x_t, t, before, x0_hat, s: x0_hat.clone(),),
        ),
        Mistake(
            "off by one",
            "A level is off by one: index t of alpha_bar is level t, and alpha_bar[0] = 1 is the finished picture.",
            "the last step, where before = 0 and x0_hat itself must come out",
            (
                _step(get=lambda s, t: s.alpha_bar[t - 1]),
                _step(get=lambda s, t: s.alpha_bar[t + 1]),
                _step(to=lambda t, before: before - 1),
                _step(to=lambda t, before: before + 1),
            ),
        ),
    ),
    hint="noise a picture to levels t and before with one eps: given the true x_0, your step links the two",
)

EXERCISES = (DDIM_STEP,)
