"""Exercises 3 and 4 of notebook 01: from x_t back to x_0, and one step of the reverse chain."""

import torch
from torch import Tensor

from course_utils import diffusion, schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import noised, per_example, pick
from course_utils.schedules import Schedule

# 3 x0_from_eps -------------------------------------------------------------------------------------------------------


def _solved(x_t: Tensor, t: Tensor, eps_hat: Tensor, s: Schedule, get=pick) -> Tensor:
    return (x_t - get(s.sigma, t, x_t) * eps_hat) / get(s.alpha_bar, t, x_t).sqrt()


def _unmix(of_both):
    """Return a wrong x0_from_eps from a function of (x_t, eps_hat, beta_t, alpha_bar_t)."""
    return lambda x_t, t, eps_hat, s: of_both(x_t, eps_hat, pick(s.beta, t, x_t), pick(s.alpha_bar, t, x_t))


X0_FROM_EPS = Exercise(
    "x0_from_eps",
    diffusion.x0_from_eps,
    noised(("x_t", "eps_hat")),
    (
        Mistake(
            "not divided",
            "The division by the coefficient of x_0 is missing: you took the noise off, but x_0 is still shrunk.",
            "what stands on the other side of Eq. 4 once the noise is taken off",
            (_unmix(lambda x, e, b, a: x - (1 - a).sqrt() * e),),
        ),
        Mistake(
            "sign",
            "The sign is wrong: the noise was added on the way forward, so it is subtracted on the way back.",
            "Eq. 4, solved for x_0 one operation at a time",
            (_unmix(lambda x, e, b, a: (x + (1 - a).sqrt() * e) / a.sqrt()),),
        ),
        Mistake(
            "missing square root",
            "A square root is missing: both coefficients of Eq. 4 are roots.",
            "the two coefficients in your q_sample",
            (
                _unmix(lambda x, e, b, a: (x - (1 - a) * e) / a.sqrt()),
                _unmix(lambda x, e, b, a: (x - (1 - a).sqrt() * e) / a),
                _unmix(lambda x, e, b, a: (x - (1 - a) * e) / a),
            ),
        ),
        Mistake(
            "coefficients swapped",
            "The two coefficients are swapped: x_0 and eps have each other's.",
            "which coefficient stands in front of eps in Eq. 4",
            (_unmix(lambda x, e, b, a: (x - a.sqrt() * e) / (1 - a).sqrt()),),
        ),
        Mistake(
            "multiplied",
            "You multiplied by the coefficient of x_0 where solving for x_0 divides by it.",
            "Eq. 4, solved for x_0 one operation at a time",
            (_unmix(lambda x, e, b, a: (x - (1 - a).sqrt() * e) * a.sqrt()),),
        ),
        Mistake(
            "beta for alpha_bar",
            "You used beta_t or alpha_t, the numbers of one step, where alpha_bar_t is needed (Ho et al. 2020, Eq. 4).",
            "how many steps lie between x_0 and x_t",
            (
                _unmix(lambda x, e, b, a: (x - b.sqrt() * e) / (1 - b).sqrt()),
                _unmix(lambda x, e, b, a: (x - (1 - b).sqrt() * e) / b.sqrt()),
                _unmix(lambda x, e, b, a: (x - b.sqrt() * e) / a.sqrt()),
            ),
        ),
        Mistake(
            "order of operations",
            "You divided before the noise was taken off: only x_t is divided by the coefficient of x_0 in your answer.",
            "the brackets: what exactly equals sqrt(alpha_bar_t) x_0?",
            (_unmix(lambda x, e, b, a: x / a.sqrt() - (1 - a).sqrt() * e),),
        ),
        Mistake(
            "brackets forgotten",
            "Only the noise is divided in your answer, x_t is not: in Python a / binds tighter than a -.",
            "the brackets: what exactly equals sqrt(alpha_bar_t) x_0?",
            (_unmix(lambda x, e, b, a: x - (1 - a).sqrt() * e / a.sqrt()),),
        ),
        Mistake(
            "forward again",
            "You noised x_t once more, as q_sample does; this exercise goes the other way and undoes it.",
            "which letter of Eq. 4 is unknown here",
            (_unmix(lambda x, e, b, a: a.sqrt() * x + (1 - a).sqrt() * e),),
        ),
        Mistake(
            "one reverse step",
            "You used Eq. 11, the mean of a single step back to x_{t-1}; asked for is x_0, all t steps at once.",
            "Eq. 4 of Ho et al. 2020, which knows nothing of single steps",
            (_unmix(lambda x, e, b, a: (x - b / (1 - a).sqrt() * e) / (1 - b).sqrt()),),
        ),
        *per_example(_solved, "Eq. 4"),
    ),
    hint="noise a point with q_sample and hand the same eps to x0_from_eps: the point must come back",
)

# 4 ddpm_step ---------------------------------------------------------------------------------------------------------


def _step(mean, deviation=lambda b, a, a_bar, t: b.sqrt() * (t > 1), noise=lambda z: z, shift: int = 0):
    """Return f(x_t, t, eps_hat, z, schedule) from its mean, in (x, eps_hat, beta, alpha, alpha_bar), and deviation."""

    def answer(x_t: Tensor, t: int, eps_hat: Tensor, z: Tensor, s: Schedule) -> Tensor:
        b, a, a_bar = (values[t + shift] for values in (s.beta, s.alpha, s.alpha_bar))
        return mean(x_t, eps_hat, b, a, a_bar) + deviation(b, a, a_bar, t) * noise(z)

    return answer


def _mean(x: Tensor, e: Tensor, b: Tensor, a: Tensor, a_bar: Tensor) -> Tensor:
    return (x - b / (1 - a_bar).sqrt() * e) / a.sqrt()


def _x0_hat(x: Tensor, e: Tensor, b: Tensor, a: Tensor, a_bar: Tensor) -> Tensor:
    return (x - (1 - a_bar).sqrt() * e) / a_bar.sqrt()


def _posterior(deviation):
    """Return a step whose noise is that of the posterior, given as a function of beta_tilde_t."""

    def answer(x_t: Tensor, t: int, eps_hat: Tensor, z: Tensor, s: Schedule) -> Tensor:
        return _mean(x_t, eps_hat, s.beta[t], s.alpha[t], s.alpha_bar[t]) + deviation(s.beta_tilde[t]) * z

    return answer


def _ddpm_cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(50)
    made = []
    for label, shape, schedule, t in (
        ("points in mid-chain", (5, 2), linear, 9),  # first: the message quotes numbers, and here they are of size 1
        ("points, t = T", (5, 2), linear, 20),
        ("points, t = 1: the last step", (6, 2), linear, 1),
        ("points, t = 2", (4, 2), linear, 2),
        ("a single point", (1, 2), cosine, 25),
        ("non-square images", (4, 3, 5, 7), linear, 13),
        ("a single image, t = 1", (1, 3, 6, 4), cosine, 1),
        ("images, cosine schedule", (2, 1, 8, 8), cosine, 40),
        ("a chain of a single step", (3, 2), schedules.linear(1), 1),
        ("a long chain", (8, 2), schedules.quadratic(400), 300),
    ):
        x_t, eps_hat, z = (torch.randn(shape, generator=generator) for _ in range(3))
        made.append(Case(label, {"x_t": x_t, "t": t, "eps_hat": eps_hat, "z": z, "schedule": schedule}))
    return made


DDPM_STEP = Exercise(
    "ddpm_step",
    _step(_mean),
    _ddpm_cases,
    (
        Mistake(
            "noise at t = 1",
            "You add noise at t = 1. That step gives the finished sample: its noise stays in the picture.",
            "line 3 of Algorithm 2 (Ho et al. 2020): when is z not drawn?",
            (_step(_mean, lambda b, a, a_bar, t: b.sqrt()),),
        ),
        Mistake(
            "variance used as deviation",
            "You multiplied z by the variance beta_t; noise is multiplied by its deviation.",
            "whether Algorithm 2 writes sigma_t z or sigma_t^2 z, and what sigma_t^2 is",
            (_step(_mean, lambda b, a, a_bar, t: b * (t > 1)), _step(_mean, lambda b, a, a_bar, t: b)),
        ),
        Mistake(
            "schedule.sigma for the step's noise",
            "You multiplied z by schedule.sigma[t]. schedule.sigma is the noise level of q(x_t | x_0), that of all t "
            "steps; the step adds sqrt(beta_t). Ho et al. 2020 call that one sigma_t, too.",
            "what the exercise says about sigma_t^2",
            (
                _step(_mean, lambda b, a, a_bar, t: (1 - a_bar).sqrt() * (t > 1)),
                _step(_mean, lambda b, a, a_bar, t: (1 - a_bar).sqrt()),
            ),
        ),
        Mistake(
            "noise inside the bracket",
            "Your noise is divided by sqrt(alpha_t) as well: it belongs behind the bracket, not inside.",
            "where the bracket closes in line 4 of Algorithm 2",
            (
                _step(_mean, lambda b, a, a_bar, t: (b / a).sqrt() * (t > 1)),
                _step(_mean, lambda b, a, a_bar, t: (b / a).sqrt()),
            ),
        ),
        Mistake(
            "no noise ever",
            "You never add noise: without z every chain runs to the average of what is possible.",
            "the last term of line 4 of Algorithm 2",
            (_step(_mean, lambda b, a, a_bar, t: 0),),
        ),
        Mistake(
            "noise left out where it is due",
            "You add noise at t = 1 only and leave it out everywhere else: the condition on t is the wrong way round.",
            "your condition on t, at t = 1 and at t = T",
            (_step(_mean, lambda b, a, a_bar, t: b.sqrt() * (t == 1)),),
        ),
        Mistake(
            "1/sqrt(alpha) forgotten",
            "The factor in front of the bracket of Eq. 11 is missing: one forward step shrinks x, so one step back "
            "must stretch it.",
            "Eq. 11 of Ho et al. 2020, left of the bracket",
            (_step(lambda x, e, b, a, a_bar: x - b / (1 - a_bar).sqrt() * e),),
        ),
        Mistake(
            "1/sqrt(alpha) on x_t only",
            "Only x_t is divided by sqrt(alpha_t) in your answer: the factor stands before a bracket with two terms.",
            "the brackets in your code and those of Eq. 11",
            (_step(lambda x, e, b, a, a_bar: x / a.sqrt() - b / (1 - a_bar).sqrt() * e),),
        ),
        Mistake(
            "root of alpha forgotten",
            "You divided by alpha_t where Eq. 11 divides by its square root.",
            "Eq. 11 of Ho et al. 2020, left of the bracket",
            (_step(lambda x, e, b, a, a_bar: (x - b / (1 - a_bar).sqrt() * e) / a),),
        ),
        Mistake(
            "alpha_bar for alpha",
            "You used alpha_bar_t where alpha_t belongs: this undoes one step, not all t of them.",
            "which alphas in Eq. 11 bear a bar",
            (_step(lambda x, e, b, a, a_bar: (x - b / (1 - a_bar).sqrt() * e) / a_bar.sqrt()),),
        ),
        Mistake(
            "1 - alpha_bar for beta",
            "You took off all the predicted noise: what stands above the fraction bar is the variance of one step, not "
            "1 - alpha_bar_t, that of all t steps.",
            "the fraction in front of eps_hat in Eq. 11, above the bar",
            (_step(lambda x, e, b, a, a_bar: (x - (1 - a_bar).sqrt() * e) / a.sqrt()),),
        ),
        Mistake(
            "x0_hat returned",
            "You went all the way to x0_hat, as in x0_from_eps; this is one step, from x_t to x_{t-1}.",
            "how far Eq. 11 moves x_t when beta_t is small",
            (_step(_x0_hat, lambda b, a, a_bar, t: 0), _step(_x0_hat)),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t where alpha_bar_t belongs, below the fraction bar in front of eps_hat.",
            "which alphas in Eq. 11 bear a bar",
            (_step(lambda x, e, b, a, a_bar: (x - b / (1 - a).sqrt() * e) / a.sqrt()),),
        ),
        Mistake(
            "sign",
            "The sign of eps_hat is wrong: the predicted noise is taken off, not put on.",
            "the sign inside the bracket of Eq. 11",
            (_step(lambda x, e, b, a, a_bar: (x + b / (1 - a_bar).sqrt() * e) / a.sqrt()),),
        ),
        Mistake(
            "no root in the fraction",
            "You divided beta_t by 1 - alpha_bar_t; a square root is missing there.",
            "the fraction in front of eps_hat in Eq. 11, below the bar",
            (_step(lambda x, e, b, a, a_bar: (x - b / (1 - a_bar) * e) / a.sqrt()),),
        ),
        Mistake(
            "root of beta in the fraction",
            "You have sqrt(beta_t) in front of eps_hat; Eq. 11 has beta_t itself there. Only z gets the root.",
            "the fraction in front of eps_hat in Eq. 11, above the bar",
            (_step(lambda x, e, b, a, a_bar: (x - (b / (1 - a_bar)).sqrt() * e) / a.sqrt()),),
        ),
        Mistake(
            "beta_tilde for beta",
            "You used the posterior variance beta_tilde_t. It is a fair choice too, but here sigma_t^2 = beta_t.",
            "section 3.2 of Ho et al. 2020: it names two choices of sigma_t^2",
            (_posterior(torch.sqrt),),
        ),
        Mistake(
            "beta_tilde without root",
            "You multiplied z by beta_tilde_t: that is a variance, not a deviation, and here sigma_t^2 = beta_t.",
            "what the exercise says about sigma_t^2, and whether Algorithm 2 writes sigma_t z or sigma_t^2 z",
            (_posterior(lambda variance: variance),),
        ),
        Mistake(
            "off-by-one in t",
            "Your t is off by one. The arrays of a schedule have T + 1 entries and index t is the t of Eq. 11.",
            "what schedule.beta[0] and schedule.beta[1] hold",
            (_step(_mean, shift=-1), _step(_mean, shift=1)),
        ),
        Mistake(
            "own noise",
            "You drew new noise inside the function; the noise to use is handed in as z.",
            "the arguments of ddpm_step",
            (_step(_mean, noise=torch.randn_like),),
        ),
    ),
    hint="set z to zero first and get the mean right at t = T, then add the noise and look at t = 1",
)

EXERCISES = (X0_FROM_EPS, DDPM_STEP)
