"""Exercises 3 and 4 of notebook 02, about a network that predicts x_0: its weight in the bound, and its score."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import noised, per_example, pick, times
from course_utils.schedules import Schedule

# 3 bound_weight ------------------------------------------------------------------------------------------------------


def _weight(formula, get=lambda values, t: values[t]):
    """Return f(t, schedule) from a function of (beta_t, alpha_t, alpha_bar_t, alpha_bar_{t-1})."""

    def answer(t: Tensor, s: Schedule) -> Tensor:
        return formula(*(get(values, t) for values in (s.beta, s.alpha, s.alpha_bar)), get(s.alpha_bar, t - 1))

    return answer


def _of_x_0(b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return before * b / (2 * (1 - bar) ** 2)


def _everywhere(t: Tensor, s: Schedule) -> Tensor:
    return _weight(_of_x_0)(torch.arange(1, s.T + 1), s)


def _weight_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, name, T, B, t in (
        ("random timesteps", "linear", 20, 8, None),
        ("t = 1", "linear", 20, 3, 1),
        ("t = T", "linear", 50, 3, 50),
        ("a single timestep", "cosine", 50, 1, 7),
        ("a long chain", "quadratic", 100, 16, None),
        ("cosine schedule", "cosine", 30, 6, None),
        ("a chain of a single step", "linear", 1, 2, 1),
        ("sigmoid schedule", "sigmoid", 100, 12, None),
    ):
        ts = times(T, B, generator) if t is None else torch.full((B,), t)
        made.append(Case(label, {"t": ts, "schedule": schedules.make(name, T)}))
    return made


BOUND_WEIGHT = Exercise(
    "bound_weight",
    _weight(_of_x_0),
    _weight_cases,
    (
        Mistake(
            "factor 1/2 missing",
            "Your weight is twice too large: the 2 below the fraction bar of Eq. 8 is missing.",
            "the divergence of two Gaussians with the same variance",
            (_weight(lambda *f: 2 * _of_x_0(*f)),),
        ),
        Mistake(
            "weight of eps",
            "That is the weight of Eq. 12, for the error of eps_hat; asked for is the one for the error of x0_hat.",
            "which coefficient of Eq. 7 is multiplied by x_0",
            (_weight(lambda b, a, bar, before: b / (2 * a * (1 - bar))),),
        ),
        Mistake(
            "divided by SNR",
            "You divided the weight of Eq. 12 by the signal-to-noise ratio: that is the way from x0_hat to eps_hat.",
            "Eq. 4 at t = 1: does a small error of x0_hat mean a small or a large one of eps_hat?",
            (_weight(lambda b, a, bar, before: b / (2 * a * bar)),),
        ),
        Mistake(
            "coefficient not squared",
            "The coefficient of x_0 in Eq. 7 is not squared: the error of the mean is, as a whole.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before.sqrt() / (2 * (1 - bar))),),
        ),
        Mistake(
            "1 - alpha_bar not squared",
            "1 - alpha_bar_t stands squared below the fraction bar, as all of the coefficient of x_0 in Eq. 7.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before * b / (2 * (1 - bar))),),
        ),
        Mistake(
            "root left standing",
            "You have the root of alpha_bar_{t-1}; squaring the coefficient of x_0 in Eq. 7 takes it away.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before.sqrt() * b / (2 * (1 - bar) ** 2)),),
        ),
        Mistake(
            "beta miscounted",
            "Your power of beta_t is wrong: the squared coefficient brings two of them, sigma_t^2 takes one away.",
            "Eq. 8 with sigma_t^2 = beta_t, before you shorten the fraction",
            (
                _weight(lambda b, a, bar, before: before * b**2 / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before * b**1.5 / (2 * (1 - bar) ** 2)),
            ),
        ),
        Mistake(
            "schedule.sigma for sigma_t",
            "You took schedule.sigma for the sigma_t of Eq. 8. schedule.sigma is the noise level of q(x_t | x_0); the "
            "paper's sigma_t^2 is the variance of one step of p_theta.",
            "what the exercise says about sigma_t^2",
            (_weight(lambda b, a, bar, before: before * b**2 / (2 * (1 - bar) ** 3)),),
        ),
        Mistake(
            "beta_tilde for beta",
            "You used sigma_t^2 = beta_tilde_t (half the drop of the signal-to-noise ratio): infinite at t = 1, and "
            "not what is asked for.",
            "what the exercise says about sigma_t^2",
            (_weight(lambda b, a, bar, before: before * b / (2 * (1 - bar) * (1 - before))),),
        ),
        Mistake(
            "t for t-1",
            "You used alpha_bar_t where alpha_bar_{t-1} belongs.",
            "the subscript of the root in front of x_0 in Eq. 7",
            (_weight(lambda b, a, bar, before: bar * b / (2 * (1 - bar) ** 2)),),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t, one step, where an alpha_bar belongs.",
            "which alphas in the coefficient of x_0 in Eq. 7 bear a bar",
            (
                _weight(lambda b, a, bar, before: a * b / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before * b / (2 * (1 - a) ** 2)),
            ),
        ),
        Mistake(
            "coefficient of x_t",
            "You squared the coefficient of x_t: that term is the same in both means and drops out.",
            "what the two means in Eq. 8 have in common",
            (_weight(lambda b, a, bar, before: a * (1 - before) ** 2 / (2 * b * (1 - bar) ** 2)),),
        ),
        Mistake(
            "upside down",
            "Your weight is upside down.",
            "t = 1: a tiny beta_1 means a sharp decoder, so should an error of x0_hat cost much or little there?",
            (_weight(lambda *f: 1 / _of_x_0(*f)),),
        ),
        Mistake(
            "all timesteps",
            "You returned a weight for every timestep of the schedule; asked for is one for each entry of t.",
            "the shape of t, and indexing with it",
            (_everywhere, lambda t, s: torch.cat([s.beta[:1], _everywhere(t, s)])),
        ),
        Mistake(
            "one timestep for the whole batch",
            "You used one timestep for the whole batch; every entry of t has a weight of its own.",
            "the shape of your answer",
            tuple(
                _weight(_of_x_0, get)
                for get in (lambda v, t: v[t[0]], lambda v, t: v[t[0]].expand(len(t)), lambda v, t: v[t.item()])
            ),
        ),
        Mistake(
            "off-by-one in t",
            "Your t is off by one. The arrays of a schedule have T + 1 entries and index t is the t of Eq. 7.",
            "what schedule.beta[0] and schedule.beta[1] hold",
            (_weight(_of_x_0, lambda v, t: v[t - 1]), _weight(_of_x_0, lambda v, t: v[t + 1])),
        ),
    ),
    hint="write Eq. 8 with both means from Eq. 7, one with x_0, one with x0_hat; put sigma_t^2 = beta_t, and shorten",
)

# 4 score_from_x0 -----------------------------------------------------------------------------------------------------


def _score(x_t: Tensor, t: Tensor, x0_hat: Tensor, s: Schedule, get=pick) -> Tensor:
    return (get(s.alpha_bar, t, x_t).sqrt() * x0_hat - x_t) / (1 - get(s.alpha_bar, t, x_t))


def _wrong(formula):
    """Return a wrong score_from_x0 from a function of (x_t, x0_hat, beta_t, alpha_bar_t)."""
    return lambda x_t, t, x0_hat, s: formula(x_t, x0_hat, pick(s.beta, t, x_t), pick(s.alpha_bar, t, x_t))


SCORE_FROM_X0 = Exercise(
    "score_from_x0",
    _score,
    noised(("x_t", "x0_hat")),
    (
        Mistake(
            "sign",
            "The sign is wrong: your arrows lead away from the data.",
            "a point x_t to the right of its centre: which way is uphill?",
            (_wrong(lambda x, y, b, a: (x - a.sqrt() * y) / (1 - a)),),
        ),
        Mistake(
            "minus the noise",
            "You returned -eps_hat; the score is that divided once more by the noise level.",
            "the slope of log N(x_t; mean, variance): by what is the distance from the mean divided?",
            (_wrong(lambda x, y, b, a: (a.sqrt() * y - x) / (1 - a).sqrt()),),
        ),
        Mistake(
            "the noise",
            "You returned eps_hat; the score points the other way and is divided once more by the noise level.",
            "Section 10: the slope of log q(x_t | x_0)",
            (_wrong(lambda x, y, b, a: (x - a.sqrt() * y) / (1 - a).sqrt()),),
        ),
        Mistake(
            "x_0 not scaled",
            "x0_hat must be scaled by sqrt(alpha_bar_t): the centre of q(x_t | x_0) is not x_0 itself.",
            "the mean in Eq. 4",
            (_wrong(lambda x, y, b, a: (y - x) / (1 - a)), _wrong(lambda x, y, b, a: (y - x) / (1 - a).sqrt())),
        ),
        Mistake(
            "missing square root",
            "A square root is missing: Eq. 4 scales x_0 by sqrt(alpha_bar_t).",
            "the mean in Eq. 4",
            (_wrong(lambda x, y, b, a: (a * y - x) / (1 - a)),),
        ),
        Mistake(
            "beta for alpha_bar",
            "You used beta_t or alpha_t, the numbers of one step, where those of all t steps are needed.",
            "which density the score belongs to: that of one step, or that of x_t?",
            (
                _wrong(lambda x, y, b, a: ((1 - b).sqrt() * y - x) / b),
                _wrong(lambda x, y, b, a: (a.sqrt() * y - x) / b),
            ),
        ),
        Mistake(
            "not divided",
            "The division by the variance is missing: close to the data a small step changes log q(x_t) a lot.",
            "the slope of -(x - m)^2 / (2 v) in x",
            (_wrong(lambda x, y, b, a: a.sqrt() * y - x),),
        ),
        Mistake(
            "multiplied",
            "You multiplied by the variance where the slope of the log density divides by it.",
            "the slope of -(x - m)^2 / (2 v) in x",
            (_wrong(lambda x, y, b, a: (a.sqrt() * y - x) * (1 - a)),),
        ),
        Mistake(
            "factor 1/2",
            "You have half (or twice) the score: the 1/2 of the exponent cancels when the square is differentiated.",
            "the slope of -(x - m)^2 / (2 v) in x",
            (
                _wrong(lambda x, y, b, a: (a.sqrt() * y - x) / (2 * (1 - a))),
                _wrong(lambda x, y, b, a: 2 * (a.sqrt() * y - x) / (1 - a)),
            ),
        ),
        Mistake(
            "variance squared",
            "You divided by (1 - alpha_bar_t)^2; 1 - alpha_bar_t is a variance already.",
            "the slope of -(x - m)^2 / (2 v) in x",
            (_wrong(lambda x, y, b, a: (a.sqrt() * y - x) / (1 - a) ** 2),),
        ),
        Mistake(
            "brackets forgotten",
            "Only one of the two terms is divided in your answer: in Python a / binds tighter than a -.",
            "the brackets around the distance",
            (
                _wrong(lambda x, y, b, a: a.sqrt() * y - x / (1 - a)),
                _wrong(lambda x, y, b, a: -x - a.sqrt() * y / (1 - a)),
                _wrong(lambda x, y, b, a: a.sqrt() * y / (1 - a) - x),
            ),
        ),
        Mistake(
            "x0_hat clipped",
            "You clipped x0_hat, which is not asked for: points may lie anywhere.",
            "what the exercise says is done to x0_hat",
            (lambda x_t, t, x0_hat, s: _score(x_t, t, x0_hat.clamp(-1, 1), s),),
        ),
        *per_example(_score, "Eq. 4"),
    ),
    hint="if x0_hat is exactly x_t / sqrt(alpha_bar_t), x_t stands on top of the hill: the score must be 0",
)

EXERCISES = (BOUND_WEIGHT, SCORE_FROM_X0)
