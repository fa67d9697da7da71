"""Exercises 2 and 4 of notebook 02: the posterior of one step, and the score; derivation_loss holds the other two."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import noised, per_example, pick
from course_utils.schedules import Schedule

# 2 posterior ---------------------------------------------------------------------------------------------------------


def _factors(s: Schedule, t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """beta_t, alpha_t, alpha_bar_t and alpha_bar_{t-1}."""
    return s.beta[t], s.alpha[t], s.alpha_bar[t], s.alpha_bar[t - 1]


def _both(mean: Tensor, variance: Tensor) -> Tensor:
    return torch.stack([mean, variance.expand_as(mean)])


def _mean(x: Tensor, x_0: Tensor, b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return (before.sqrt() * b * x_0 + a.sqrt() * (1 - before) * x) / (1 - bar)


def _variance(b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return (1 - before) / (1 - bar) * b


def _posterior(mean=_mean, variance=_variance, factors=_factors):
    """Return f(x_t, t, x_0, schedule) from its two formulas, in (x_t, x_0) and the four factors."""

    def answer(x_t: Tensor, t: int, x_0: Tensor, s: Schedule) -> Tensor:
        four = factors(s, t)
        return _both(mean(x_t, x_0, *four), variance(*four))

    return answer


def _precisions(x: Tensor, x_0: Tensor, b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return (a.sqrt() * x / b + before.sqrt() * x_0 / (1 - before)) / (a / b + 1 / (1 - before))


def _posterior_cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(50)
    made = []
    for label, shape, schedule, t in (
        ("points in mid-chain", (5, 2), linear, 9),
        ("points, t = 1: the way back is known", (4, 2), linear, 1),
        ("points, t = 2", (4, 2), linear, 2),
        ("points, t = T", (5, 2), linear, 20),
        ("a single pixel", (1, 1), cosine, 25),
        ("images", (3, 3, 5, 7), linear, 13),
        ("images, cosine schedule", (2, 1, 8, 8), cosine, 40),
        ("a chain of a single step", (3, 2), schedules.linear(1), 1),
        ("a long chain", (6, 2), schedules.quadratic(400), 300),
    ):
        x_t, x_0 = (torch.randn(shape, generator=generator) for _ in range(2))
        made.append(Case(label, {"x_t": x_t, "t": t, "x_0": x_0, "schedule": schedule}))
    return made


POSTERIOR = Exercise(
    "posterior",
    _posterior(),
    _posterior_cases,
    (
        Mistake(
            "beta for beta_tilde",
            "Your variance is beta_t, that of the step forward; knowing x_0 as well makes it smaller.",
            "the variance of the completed square: which two precisions add up in it?",
            (_posterior(variance=lambda b, a, bar, before: b),),
        ),
        Mistake(
            "deviation returned",
            "The second half of your answer is a deviation; the exercise asks for the variance.",
            "whether the root belongs there",
            (_posterior(variance=lambda *f: _variance(*f).sqrt()),),
        ),
        Mistake(
            "precision returned",
            "The second half of your answer is the precision, one over the variance.",
            "what the coefficient of the square is, in the exponent of a normal density",
            (_posterior(variance=lambda *f: 1 / _variance(*f)),),
        ),
        Mistake(
            "0/0 at t = 1",
            "At t = 1 your mean is not a number: 1 - alpha_bar_0 is 0, and you divide by it.",
            "your fractions: multiply above and below by what vanishes",
            (_posterior(_precisions),),
        ),
        Mistake(
            "t for t-1",
            "You used alpha_bar_t where alpha_bar_{t-1} belongs: what x_0 says about x_{t-1} has gone t - 1 steps.",
            "the subscripts above the fraction bars of Eq. 7",
            (
                _posterior(factors=lambda s, t: (s.beta[t], s.alpha[t], s.alpha_bar[t], s.alpha_bar[t])),
                _posterior(lambda x, y, b, a, bar, before: _mean(x, y, b, a, bar, bar)),
                _posterior(
                    lambda x, y, b, a, bar, before: (bar.sqrt() * b * y + a.sqrt() * (1 - before) * x) / (1 - bar)
                ),
                _posterior(variance=lambda b, a, bar, before: (1 - bar) / (1 - before) * b),
            ),
        ),
        Mistake(
            "off-by-one in t",
            "Your t is off by one throughout. Index t of a schedule's arrays is the t of Eq. 7.",
            "what schedule.beta[0] and schedule.beta[1] hold",
            (_posterior(factors=lambda s, t: _factors(s, t - 1)), _posterior(factors=lambda s, t: _factors(s, t + 1))),
        ),
        Mistake(
            "coefficients swapped",
            "The coefficients of x_0 and x_t are swapped.",
            "a small t: x_{t-1} must then lie close to x_t, and which coefficient is nearly 1?",
            (_posterior(lambda x, y, *f: _mean(y, x, *f)),),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t, one step, where alpha_bar_t or alpha_bar_{t-1} is needed (or the other way round).",
            "which alphas in Eq. 7 bear a bar",
            (
                _posterior(factors=lambda s, t: (s.beta[t], s.alpha[t], s.alpha[t], s.alpha[t - 1])),
                _posterior(lambda x, y, b, a, bar, before: _mean(x, y, b, bar, bar, before)),
                _posterior(
                    lambda x, y, b, a, bar, before: (a.sqrt() * b * y + a.sqrt() * (1 - before) * x) / (1 - bar)
                ),
            ),
        ),
        Mistake(
            "missing square root",
            "A square root is missing in the mean: alpha_bar_{t-1} and alpha_t stand there under roots.",
            "by what a forward step multiplies x, and by what it multiplies the variance",
            (
                _posterior(lambda x, y, b, a, bar, before: (before * b * y + a * (1 - before) * x) / (1 - bar)),
                _posterior(lambda x, y, b, a, bar, before: (before * b * y + a.sqrt() * (1 - before) * x) / (1 - bar)),
                _posterior(lambda x, y, b, a, bar, before: (before.sqrt() * b * y + a * (1 - before) * x) / (1 - bar)),
            ),
        ),
        Mistake(
            "not divided",
            "The mean is not divided by 1 - alpha_bar_t: the weights of the two pieces of evidence are too small.",
            "what is left below the fraction bar once the two precisions are added",
            (_posterior(lambda x, y, b, a, bar, before: _mean(x, y, b, a, bar, before) * (1 - bar)),),
        ),
        Mistake(
            "linear term returned",
            "Your mean is the coefficient of the linear term; the mean is that divided by the precision.",
            "(x - m)^2 / v multiplied out: what stands in front of x?",
            (_posterior(lambda x, y, *f: _mean(x, y, *f) / _variance(*f)),),
        ),
        Mistake(
            "x_t ignored",
            "Your mean is that of q(x_{t-1} | x_0): x_t has not been heard.",
            "Bayes' rule: two factors speak about x_{t-1}",
            (
                _posterior(lambda x, y, b, a, bar, before: before.sqrt() * y),
                _posterior(lambda x, y, b, a, bar, before: before.sqrt() * y, lambda b, a, bar, before: 1 - before),
            ),
        ),
        Mistake(
            "order of the two",
            "Variance and mean have changed places in your answer: the mean comes first.",
            "what the docstring promises",
            (lambda *args: _posterior()(*args).flip(0),),
        ),
        Mistake(
            "mean only",
            "You returned the mean alone (or the variance as a single number): stack mean and variance, both shaped "
            "like x_t.",
            "torch.stack and expand_as, or torch.full_like",
            (
                lambda *args: _posterior()(*args)[0],
                lambda x_t, t, x_0, s: torch.stack([_variance(*_factors(s, t))] * 2),
            ),
        ),
    ),
    hint="begin with t = 1, where x_{t-1} is x_0 itself: the mean must be x_0 and the variance 0",
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
        *per_example(_score, "Eq. 4"),
    ),
    hint="if x0_hat is exactly x_t / sqrt(alpha_bar_t), x_t stands on top of the hill: the score must be 0",
)

EXERCISES = (POSTERIOR, SCORE_FROM_X0)
