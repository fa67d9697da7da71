"""Exercise 3 of notebook 09: one step of Heun's method (Karras et al. 2022, Algorithm 1)."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Mistake, Outcome
from course_utils.checks.stateful import Stateful, Traces


class Denoiser:
    """Stands in for a network: denoise(x, sigma) -> estimate of x_0, x itself without noise; counts how often.

    sigma: a number, or one for each picture. Every call of a check gets a fresh copy. Raises TypeError when x and sigma
    have changed places.
    """

    def __init__(self):
        self.asked = 0

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.asked += 1
        if not isinstance(x, Tensor):
            raise TypeError("denoise takes x first, and then the noise level at which it stands")
        if isinstance(sigma, Tensor):
            sigma = sigma.to(x.dtype)
            sigma = sigma.view(-1, *[1] * (x.ndim - 1)) if sigma.ndim == 1 else sigma
        return x - sigma**2 / (0.25 + sigma**2) * (x - 0.5 * torch.sin(x))


def _slope(x: Tensor, x0_hat: Tensor, sigma: float) -> Tensor:
    return (x - x0_hat) / sigma


def _no_slope(x: Tensor, x0_hat: Tensor, sigma: float) -> Tensor:
    return x - x0_hat


def _by_the_square(x: Tensor, x0_hat: Tensor, sigma: float) -> Tensor:
    return (x - x0_hat) / sigma**2


def _inverse_first(x: Tensor, x0_hat: Tensor, sigma: float) -> Tensor:
    return 1 / sigma * (x - x0_hat)  # of floats 1 / 0 raises


def _turned(x: Tensor, x0_hat: Tensor, sigma: float) -> Tensor:
    return (x0_hat - x) / sigma


def _mean(first: Tensor, second: Tensor) -> Tensor:
    return (first + second) / 2


def _heun(
    slope=_slope,  # of the first evaluation, and of the second where slope_2 is None
    slope_2=None,
    join=_mean,
    at=lambda x, euler: (euler, euler),  # where the second slope is taken: the point in it, and the one denoised
    told=lambda sigma, before: (before, before),  # what divides there, and what denoise is told
    step=lambda sigma, before: before - sigma,
    step_2=None,
    start=lambda x, euler: x,  # where the second step begins
    special=lambda before: before == 0,
    see=lambda x0_hat: x0_hat,  # what is kept of each estimate
    more=lambda before: 0,  # how often denoise is asked for nothing
):
    """Return a heun_step from its parts."""

    def answer(denoise, x: Tensor, sigma: float, before: float) -> Tensor:
        h, h_2 = step(sigma, before), (step_2 or step)(sigma, before)
        for _ in range(more(before)):
            denoise(x, sigma)
        first = slope(x, see(denoise(x, sigma)), sigma)
        euler = x + h * first
        if special(before):
            return euler
        (point, seen), (divisor, level) = at(x, euler), told(sigma, before)
        second = (slope_2 or slope)(point, see(denoise(seen, level)), divisor)
        return start(x, euler) + h_2 * join(first, second)

    return answer


def _never(before: float) -> bool:
    return False


def _midpoint(middle, last=False):
    """Return a heun_step that takes the slope half-way instead, at middle(sigma, before); at 0 only with `last`."""

    def answer(denoise, x: Tensor, sigma: float, before: float) -> Tensor:
        first = _slope(x, denoise(x, sigma), sigma)
        if before == 0 and not last:
            return x - sigma * first
        half = middle(sigma, before)
        x_half = x + (half - sigma) * first
        return x + (before - sigma) * _slope(x_half, denoise(x_half, half), half)

    return answer


def _half(sigma: float, before: float) -> float:
    return (sigma + before) / 2


def _root(sigma: float, before: float) -> float:
    return (sigma * before) ** 0.5


def _estimate(denoise, x: Tensor, sigma: float, before: float) -> Tensor:
    return denoise(x, sigma)


def _noised_again(denoise, x: Tensor, sigma: float, before: float) -> Tensor:
    return denoise(x, sigma) + before * torch.randn_like(x)


def _still(denoise, x: Tensor, sigma: float, before: float) -> Tensor:
    return _heun()(denoise, x, sigma, before) if before else x.clone()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, sigma, before in (
        ("pictures, in the midst", (4, 3, 5, 6), 1.2, 0.5),
        ("the last step, to before = 0", (3, 3, 4, 4), 0.3, 0.0),
        ("the first step, from much noise", (2, 3, 6, 4), 80.0, 40.0),
        ("points", (6, 2), 2.5, 0.8),
        ("a long step", (3, 1, 5, 5), 5.0, 0.1),
        ("a short step", (3, 3, 4, 5), 0.9, 0.7),
        ("little noise", (2, 3, 4, 6), 0.1, 0.04),
        ("a single picture, all the way to 0 at once", (1, 3, 4, 4), 3.0, 0.0),
        ("as many pictures as channels, rows and columns", (3, 3, 3, 3), 1.5, 1.0),
    ):
        x_0, eps = (torch.randn(shape, generator=generator) for _ in range(2))
        args = {"denoise": Denoiser(), "x": 0.5 * x_0 + sigma * eps, "sigma": sigma, "before": before}
        made.append(Case(label, args))
    return made


def _asked(done: Outcome) -> Traces:
    """Return how many evaluations there were too many; who asks too rarely has no right answer."""
    asked = done.args["denoise"].asked - (2 if done.args["before"] else 1)
    return {"how often it asks denoise": torch.tensor([float(asked > 0)])}


HEUN_STEP = Stateful(
    "heun_step",
    _heun(),
    _cases,
    (
        Mistake(
            "no last step",
            "Your last step, to before = 0, divides by 0. Without noise there is no second slope: there the step is "
            "Euler's alone.",
            "what your function does where before is 0",
            (
                _heun(special=_never),
                _heun(special=_never, slope=_inverse_first),
            ),
        ),
        Mistake(
            "last step not taken",
            "Where before is 0 you come back with x itself. The first slope exists there, too, and leads to 0.",
            "what your function returns where before is 0",
            (_still,),
        ),
        Mistake(
            "Euler's method",
            "You took Euler's step and stopped. Heun's method looks at the slope where that step arrives, and goes "
            "back to take the mean of both.",
            "how often your function asks denoise where before is not 0",
            (_heun(special=lambda before: True),),
        ),
        Mistake(
            "the estimate itself",
            "You return an estimate of the clean picture, or noise it anew. Asked for is the point at noise before.",
            "how far the step goes: from sigma to before, not to 0",
            (_estimate, _noised_again, _heun(step=lambda sigma, before: -sigma)),
        ),
        Mistake(
            "not divided by sigma",
            "A slope is divided by nothing, or by the square of the noise. What denoise takes from x is sigma eps; the "
            "slope is eps.",
            "both slopes: what each is divided by",
            (
                _heun(_no_slope),
                _heun(_no_slope, _slope),
                _heun(_slope, _no_slope),
                _heun(_by_the_square),
                _heun(_by_the_square, _slope),
                _heun(_slope, _by_the_square),
            ),
        ),
        Mistake(
            "second slope at x",
            "Your second slope is taken at the old x, or partly. Its point is the one where Euler's step arrives.",
            "both places in the second slope where a point stands",
            (
                _heun(at=lambda x, euler: (x, x)),
                _heun(at=lambda x, euler: (euler, x)),
                _heun(at=lambda x, euler: (x, euler)),
            ),
        ),
        Mistake(
            "second slope at the old noise",
            "Your second slope reckons with sigma. Where Euler's step arrives the noise is before: denoise has to be "
            "told that, and the slope is divided by it.",
            "each sigma in the second slope",
            (
                _heun(told=lambda sigma, before: (sigma, before)),
                _heun(told=lambda sigma, before: (before, sigma)),
                _heun(told=lambda sigma, before: (sigma, sigma)),
            ),
        ),
        Mistake(
            "sum for mean",
            "You went along both slopes in full, or halved only one of them. The step goes along their mean.",
            "the brackets around the two slopes, the 1/2, and where your second step begins",
            (
                _heun(join=torch.add),
                _heun(join=lambda a, b: a + b / 2),
                _heun(join=lambda a, b: a / 2 + b),
            ),
        ),
        Mistake(
            "first slope dropped",
            "You went along the second slope only. The step goes along the mean of both.",
            "where your last line uses the first slope",
            (_heun(join=lambda a, b: b),),
        ),
        Mistake(
            "begun at Euler's point",
            "Your second step begins where Euler's arrived, so that you go twice. Euler's step only shows where to "
            "look; then you go back to x.",
            "what the last step is added to",
            (
                _heun(start=lambda x, euler: euler),
                _heun(start=lambda x, euler: euler, join=torch.add),
            ),
        ),
        Mistake(
            "the wrong way",
            "A step, or a slope, has the wrong sign: yours leads to more noise, or half of it does.",
            "the sign of before - sigma, and that of x minus its estimate",
            (
                _heun(step=lambda sigma, before: sigma - before),
                _heun(step_2=lambda sigma, before: sigma - before),
                _heun(step=lambda sigma, before: sigma - before, step_2=lambda sigma, before: before - sigma),
                _heun(slope_2=_turned),
                _heun(_turned, _slope),
            ),
        ),
        Mistake(
            "step length",
            "The length of your step is wrong, of one of the two or of both: it is the difference of the noise levels.",
            "what each slope is multiplied by",
            (
                _heun(step=lambda sigma, before: before),
                _heun(step_2=lambda sigma, before: before),
                _heun(step_2=lambda sigma, before: -sigma),
                _heun(step=lambda sigma, before: -sigma, step_2=lambda sigma, before: before - sigma),
                _heun(step=lambda sigma, before: (before - sigma) / 2),
                _heun(step=lambda sigma, before: (before - sigma) / 2, step_2=lambda sigma, before: before - sigma),
                _heun(step=lambda sigma, before: -((sigma**2 - before**2) ** 0.5)),
            ),
        ),
        Mistake(
            "midpoint",
            "You took the slope half-way and went along it. That is the midpoint method, of second order, too; Heun's "
            "takes the mean of the slopes at both ends.",
            "the noise level at which your second slope is taken",
            tuple(_midpoint(middle, last) for middle in (_half, _root) for last in (False, True)),
        ),
        Mistake(
            "clamped",
            "You cut something off at -1 and 1. What stands at noise sigma leaves that range, and Algorithm 1 leaves "
            "the estimates as they are.",
            "clamp or clip in your code",
            (_heun(see=lambda x: x.clamp(-1, 1)), lambda *args: _heun()(*args).clamp(-1, 1)),
        ),
        Mistake(
            "asked too often",
            "Your numbers are right, but you ask denoise more often than needed: twice is enough, and once where "
            "before is 0. Each time is a pass through the network, and those are what a sampler is paid in.",
            "each denoise(...) in your code: what it returned last can be kept, and at before = 0 one is left out",
            (
                _heun(more=lambda before: 1),
                _heun(more=lambda before: before == 0),
                _heun(more=lambda before: before > 0),
            ),
        ),
    ),
    hint="where denoise returns 0 everywhere, both slopes are eps, and the step leads from x to x times before / sigma",
    traces=_asked,
)

EXERCISES = (HEUN_STEP,)
