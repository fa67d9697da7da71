"""Exercise 2 of notebook 09: the noise levels of Karras et al. 2022, Eq. 5."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Outcome


class Levels(Exercise):
    """An exercise that asks for a vector of numbers: float32 will do as well as float64."""

    def judge(self, function: Callable) -> Exception | None:
        """Return what is wrong with `function`, or None; the caller isolates the random state."""
        return super().judge(_in_double(function))

    def fault(self, got: Outcome, expected: Tensor) -> str | None:
        """Say what is wrong with one outcome; the engine's own words would ask for the dtype of the inputs."""
        value = got.value
        if isinstance(value, Tensor) and value.shape == expected.shape and value.dtype != expected.dtype:
            return f"wrong dtype: got {value.dtype}, expected float32 or float64"
        return super().fault(got, expected)


def _in_double(function: Callable) -> Callable:
    """Return a function that answers as this one does, but float32 in float64."""

    @functools.wraps(function)
    def answer(*args):
        value = function(*args)
        return value.double() if isinstance(value, Tensor) and value.dtype == torch.float32 else value

    return answer


def _even(n: int) -> Tensor:
    return torch.linspace(0, 1, n, dtype=torch.float64)


def _index(first: int, less: int):
    """Return steps fractions, whose index begins at `first` and is divided by steps - less."""
    return lambda steps: torch.arange(first, first + steps, dtype=torch.float64) / (steps - less)


def _bent(sigma: float, rho: float) -> float:
    return sigma ** (1 / rho)


def _unbent(x: Tensor, rho: float) -> Tensor:
    return x**rho


def _same(x, rho: float):
    return x


def _zero_last(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_zeros(1)])


def _line(a: float, b: float, u: Tensor) -> Tensor:
    return a + u * (b - a)


def _levels(ramp=_even, bend=_bent, unbend=_unbent, line=_line, low=lambda sigma_min: sigma_min, finish=_zero_last):
    """Return a karras_levels from its parts: line(bent sigma_max, bent low, fractions), unbent, and then finished."""

    def answer(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
        return finish(unbend(line(bend(sigma_max, rho), bend(low(sigma_min), rho), ramp(steps)), rho))

    return answer


def _with_rho(value: float):
    return _levels(bend=lambda sigma, rho: sigma ** (1 / value), unbend=lambda x, rho: x**value)


def _along(curve):
    """Return a karras_levels that goes from sigma_max to sigma_min by curve(fractions, rho), from 0 to 1."""

    def answer(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
        return _zero_last(_line(sigma_max, sigma_min, curve(_even(steps), rho)))

    return answer


def _root_of_difference(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    return _zero_last((sigma_max ** (1 / rho) - _even(steps) * (sigma_max - sigma_min) ** (1 / rho)) ** rho)


def _rounding(case: Case) -> float:
    return 1e-6 * case.args["sigma_max"]  # of float32, where sigma_min is what is left of sigma_max


def _cases(generator: torch.Generator) -> list[Case]:
    return [
        Case(label, {"steps": steps, "sigma_min": low, "sigma_max": high, "rho": rho})
        for label, steps, low, high, rho in (
            ("the paper's setting", 18, 0.002, 80.0, 7.0),
            ("few steps", 5, 0.1, 10.0, 3.0),
            ("many steps", 40, 0.01, 50.0, 5.0),
            ("whole numbers", 3, 1, 4, 2),
            ("two steps", 2, 0.02, 20.0, 7.0),
            ("rho = 1", 8, 0.5, 10.0, 1.0),
            ("a rho between two whole numbers", 12, 0.05, 80.0, 2.5),
            ("a large rho", 6, 0.2, 3.0, 20.0),
            ("a rho below 1", 7, 0.5, 4.0, 0.8),
        )
    ]


KARRAS_LEVELS = Levels(
    "karras_levels",
    _levels(),
    _cases,
    (
        Mistake(
            "rho and 1/rho exchanged",
            "The two powers are exchanged: yours crowds the levels at large noise. The numbers that are evenly spaced "
            "are the sigmas to the power 1/rho.",
            "how many of your 18 levels lie below 10, in the setting of the paper: it should be 12",
            (_levels(bend=lambda sigma, rho: sigma**rho, unbend=lambda x, rho: x ** (1 / rho)),),
        ),
        Mistake(
            "rising",
            "Your levels rise. A sampler begins at the largest noise, and the 0 comes last.",
            "what stands at index 0, and what at the end",
            (
                _levels(finish=lambda x: _zero_last(x).flip(0)),
                _levels(finish=lambda x: _zero_last(x.flip(0))),
                _levels(finish=lambda x: x.flip(0)),
            ),
        ),
        Mistake(
            "0 missing",
            "The 0 at the end is missing, where the picture is clean. The formula leads to sigma_min, with whatever "
            "number of steps; the 0 is appended.",
            "your last number",
            (_levels(finish=lambda x: x), _levels(lambda steps: _even(steps + 1), finish=lambda x: x)),
        ),
        Mistake(
            "0 in front",
            "The 0 stands in front. It is where the sampler arrives, after all the others.",
            "the order in torch.cat",
            (_levels(finish=lambda x: torch.cat([x.new_zeros(1), x])),),
        ),
        Mistake(
            "one too few or too many",
            "The number of levels is off by one: steps levels from sigma_max to sigma_min, both included, and then 0.",
            "what you return for steps = 2: three numbers, of which the formula gives two",
            (
                _levels(finish=lambda x: _zero_last(x[:-1])),
                _levels(lambda steps: _even(steps - 1)),
                _levels(lambda steps: _even(steps + 1)),
            ),
        ),
        Mistake(
            "sigma_min not reached",
            "Your last level before 0 is larger than sigma_min, since i is divided by too much, or since 0 was written "
            "over sigma_min. i goes from 0 to steps - 1.",
            "your last number but one, which has to be sigma_min",
            (_levels(_index(0, 0)), _levels(_index(0, -1))),
        ),
        Mistake(
            "sigma_max left out",
            "Your first level is smaller than sigma_max: your i begins at 1.",
            "your first number, which has to be sigma_max",
            (_levels(_index(1, 0)), _levels(_index(1, -1)), _levels(_index(1, 1))),
        ),
        Mistake(
            "sigma_min forgotten",
            "You went down to 0 in even steps. The formula ends at sigma_min, and 0 follows by itself.",
            "where your function uses sigma_min",
            (
                _levels(lambda steps: _even(steps + 1), low=lambda sigma_min: 0.0, finish=lambda x: x),
                _levels(low=lambda sigma_min: 0.0),
            ),
        ),
        Mistake(
            "even in sigma",
            "Your levels are evenly spaced in sigma, as if rho were 1: nearly all of them lie at so much noise that "
            "the network can see nothing.",
            "where your function uses rho",
            (_with_rho(1.0),),
            _rounding,
        ),
        Mistake(
            "even in log sigma",
            "Your levels are evenly spaced in the logarithm of sigma, which is what Eq. 5 tends to for a huge rho.",
            "log, exp and logspace in your code",
            (_levels(bend=lambda sigma, rho: torch.tensor(sigma).double().log(), unbend=lambda x, rho: x.exp()),),
        ),
        Mistake(
            "rho written down",
            "You wrote down a rho of your own. 7 is the paper's, but here it is handed in.",
            "where your function uses rho",
            (_with_rho(7.0), _with_rho(2.0), _with_rho(0.5)),
        ),
        Mistake(
            "one of two powers",
            "Only one of the two powers is there. The ends are bent by the power 1/rho, and what lies evenly between "
            "them is bent back.",
            "your first number, which has to be sigma_max",
            (
                _levels(unbend=_same),
                _levels(bend=_same),
                _levels(bend=_same, unbend=lambda x, rho: x ** (1 / rho)),
                _levels(bend=lambda sigma, rho: sigma**rho, unbend=_same),
                _levels(unbend=lambda x, rho: x ** (1 / rho)),
                _levels(bend=lambda sigma, rho: sigma**rho),
            ),
        ),
        Mistake(
            "power of the fraction",
            "You took a power of the fraction i / (steps - 1). Eq. 5 bends the ends, and then what lies between.",
            "what the power 1/rho is taken of",
            (
                _along(lambda u, rho: u**rho),
                _along(lambda u, rho: u ** (1 / rho)),
                _along(lambda u, rho: 1 - (1 - u) ** rho),
                _along(lambda u, rho: 1 - (1 - u) ** (1 / rho)),
            ),
            _rounding,
        ),
        Mistake(
            "root of the difference",
            "You took the power 1/rho of the difference of the two ends. The difference is that of their powers.",
            "the brackets around sigma_max and sigma_min",
            (_root_of_difference,),
            _rounding,
        ),
        Mistake(
            "difference the wrong way",
            "The line between the two ends is wrong: a sign is turned, or a bracket misses.",
            "the formula at i = 0 and at i = steps - 1, without the powers",
            (
                _levels(line=lambda a, b, u: a + u * (a - b)),
                _levels(line=lambda a, b, u: a + u * b - a),
                _levels(line=lambda a, b, u: a + u * b),
                _levels(line=lambda a, b, u: b + u * (b - a)),
            ),
            _rounding,
        ),
    ),
    hint="sigma_max comes first, sigma_min last but one, then 0; their powers 1/rho have all the same distance",
)

EXERCISES = (KARRAS_LEVELS,)
