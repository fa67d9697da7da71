"""Exercise 2 of notebook 02: the posterior of one step."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.schedules import Schedule


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


def _slipped(
    root=lambda s, t: s.alpha_bar[t - 1],
    above=lambda s, t: 1 - s.alpha_bar[t - 1],
    below=lambda s, t: 1 - s.alpha_bar[t],
):
    """Return a posterior with other numbers under the root before x_0, or above and below the fraction bars."""

    def answer(x_t: Tensor, t: int, x_0: Tensor, s: Schedule) -> Tensor:
        up, down = above(s, t), below(s, t)
        of_x_0, of_x_t = root(s, t).sqrt() * s.beta[t], s.alpha[t].sqrt() * up
        return _both((of_x_0 * x_0 + of_x_t * x_t) / down, up / down * s.beta[t])

    return answer


def _either(wrong) -> tuple:
    """A slip made in mean and variance, in the mean alone, in the variance alone."""
    right = _posterior()
    return (
        wrong,
        lambda *args: torch.stack([wrong(*args)[0], right(*args)[1]]),
        lambda *args: torch.stack([right(*args)[0], wrong(*args)[1]]),
    )


def _one_step(s: Schedule, t: int) -> Tensor:
    return 1 - s.alpha[t]


def _one_step_before(s: Schedule, t: int) -> Tensor:
    return 1 - s.alpha[t - 1]


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
                *_either(_slipped(above=lambda s, t: 1 - s.alpha_bar[t]))[:2],  # in the variance alone: beta_t
            ),
        ),
        Mistake(
            "fraction upside down",
            "The fraction in your variance is upside down: knowing x_0 as well makes the variance smaller than beta_t, "
            "and yours is larger.",
            "your variance at t = 1, where x_{t-1} is known",
            (_posterior(variance=lambda b, a, bar, before: (1 - bar) / (1 - before) * b),),
        ),
        Mistake(
            "variance at t = 1",
            "Your variance at t = 1 is beta_1 and right everywhere else: there x_{t-1} is x_0, which is handed in.",
            "what is left to be known about x_{t-1} at t = 1",
            (_posterior(variance=lambda b, a, bar, before: torch.where(before == 1, b, _variance(b, a, bar, before))),),
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
            "1 - alpha for 1 - alpha_bar",
            "You used 1 - alpha, the noise of one step, where 1 - alpha_bar belongs, that of all steps so far.",
            "which of the variances in Eq. 7 bear a bar",
            (
                *_either(_slipped(above=_one_step_before, below=_one_step)),
                *_either(_slipped(below=_one_step)),
                *_either(_slipped(above=_one_step_before)),
            ),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t, one step, where alpha_bar_t or alpha_bar_{t-1} is needed (or the other way round).",
            "which alphas in Eq. 7 bear a bar",
            (
                _posterior(factors=lambda s, t: (s.beta[t], s.alpha[t], s.alpha[t], s.alpha[t - 1])),
                _posterior(lambda x, y, b, a, bar, before: _mean(x, y, b, bar, bar, before)),
                _slipped(root=lambda s, t: s.alpha[t - 1]),
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

EXERCISES = (POSTERIOR,)
