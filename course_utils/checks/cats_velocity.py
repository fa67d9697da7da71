"""Exercise 4 of notebook 03: the picture behind a velocity."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import noised, per_example, pick
from course_utils.schedules import Schedule


def _clip(x0_hat: Tensor) -> Tensor:
    return x0_hat.clamp(-1, 1)


def _clipped(x_t: Tensor, t: Tensor, v_hat: Tensor, s: Schedule, get=pick) -> Tensor:
    return _clip(get(s.alpha_bar, t, x_t).sqrt() * x_t - get(s.sigma, t, x_t) * v_hat)


def _of(formula, after=_clip):
    """Return an x0_from_v from a function of (x_t, v_hat, beta_t, alpha_bar_t), and what is done to its result."""
    return lambda x_t, t, v_hat, s: after(formula(x_t, v_hat, pick(s.beta, t, x_t), pick(s.alpha_bar, t, x_t)))


def _both(formula) -> tuple:
    return _of(formula), _of(formula, lambda x0_hat: x0_hat)


def _right(x: Tensor, v: Tensor, b: Tensor, a: Tensor) -> Tensor:
    return a.sqrt() * x - (1 - a).sqrt() * v


def _by_way_of_eps(x: Tensor, v: Tensor, b: Tensor, a: Tensor) -> Tensor:
    return (x - (1 - a).sqrt() * ((1 - a).sqrt() * x + a.sqrt() * v)) / a.sqrt()


def _blown_up(case: Case) -> float:
    """What a division by sqrt(alpha_bar_t) makes of the rounding of numbers of size 1."""
    a = case.args["schedule"].alpha_bar[case.args["t"]].min()
    return (8 * torch.finfo(a.dtype).eps / a.sqrt()).item()


X0_FROM_V = Exercise(
    "x0_from_v",
    _clipped,
    noised(("x_t", "v_hat")),
    (
        Mistake(
            "not clipped",
            "Your x0_hat leaves [-1, 1]: no picture lives there, and the sampler would carry the error on.",
            "the last sentence of the exercise",
            (_of(_right, lambda x0_hat: x0_hat),),
        ),
        Mistake(
            "clipped to another range",
            "You clipped to another range than that of our pictures, or on one side only.",
            "which numbers stand for black and white",
            (
                _of(_right, lambda x0_hat: x0_hat.clamp(0, 1)),
                _of(_right, lambda x0_hat: x0_hat.clamp(max=1)),
                _of(_right, lambda x0_hat: x0_hat.clamp(min=-1)),
            ),
        ),
        Mistake(
            "squeezed for clipped",
            "You squeezed the whole picture into the range; only what lies outside it should change.",
            "a pixel of 0.5 beside one of 2: what becomes of each?",
            (
                _of(_right, torch.tanh),
                _of(_right, lambda x0_hat: x0_hat / x0_hat.abs().max()),
                _of(_right, lambda x0_hat: x0_hat / x0_hat.abs().max().clamp(min=1)),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong. Put v = sqrt(alpha_bar) eps - sigma x_0 and x_t into your line: eps has to cancel.",
            "the two terms with eps",
            _both(lambda x, v, b, a: a.sqrt() * x + (1 - a).sqrt() * v)
            + _both(lambda x, v, b, a: (1 - a).sqrt() * v - a.sqrt() * x),
        ),
        Mistake(
            "coefficients swapped",
            "The two coefficients are swapped.",
            "t = 1, where x_t is almost x_0: which coefficient is almost 1?",
            _both(lambda x, v, b, a: (1 - a).sqrt() * x - a.sqrt() * v),
        ),
        Mistake(
            "v taken for eps",
            "You treated v_hat as eps_hat. This network predicts the velocity, and nothing is divided.",
            "what `model.predicts` says, and the definition of v",
            _both(lambda x, v, b, a: (x - (1 - a).sqrt() * v) / a.sqrt()),
        ),
        Mistake(
            "eps returned",
            "That is the other half, eps_hat = sigma x_t + sqrt(alpha_bar) v_hat: the noise, not the picture.",
            "which of the two unknowns your combination removes",
            _both(lambda x, v, b, a: (1 - a).sqrt() * x + a.sqrt() * v),
        ),
        Mistake(
            "only v solved",
            "You solved the definition of v for x_0 and put x_t in the place of eps: they are not the same.",
            "the two equations: x_t and v each mix x_0 and eps",
            _both(lambda x, v, b, a: (a.sqrt() * x - v) / (1 - a).sqrt()),
        ),
        Mistake(
            "divided by sqrt(alpha_bar)",
            "You divide by sqrt(alpha_bar_t), which is nearly 0 at t = T: little but rounding is left of what you "
            "divide, and it is blown up. Your algebra is right; float32 has seven digits.",
            "the two equations: x_0 can be had without a division",
            _both(_by_way_of_eps),
            slack=_blown_up,
        ),
        Mistake(
            "missing square root",
            "A square root is missing: alpha_bar_t and 1 - alpha_bar_t are variances, the coefficients their roots.",
            "sigma_t^2 + alpha_bar_t = 1: what are the two coefficients?",
            _both(lambda x, v, b, a: a * x - (1 - a) * v)
            + _both(lambda x, v, b, a: a.sqrt() * x - (1 - a) * v)
            + _both(lambda x, v, b, a: a * x - (1 - a).sqrt() * v),
        ),
        Mistake(
            "beta for alpha_bar",
            "You used beta_t or alpha_t, the numbers of one step, where alpha_bar_t belongs.",
            "how many steps lie between x_0 and x_t",
            _both(lambda x, v, b, a: (1 - b).sqrt() * x - b.sqrt() * v)
            + _both(lambda x, v, b, a: a.sqrt() * x - b.sqrt() * v),
        ),
        *per_example(_clipped, "Eq. 4"),
    ),
    hint="noise a picture, work out its true velocity with diffusion.v_target, and hand both over: it must come back",
)

EXERCISES = (X0_FROM_V,)
