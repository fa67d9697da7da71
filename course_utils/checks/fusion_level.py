"""Exercise 3 of notebook 08: the level at which a mix of two noised pictures really stands."""

import functools
import numbers
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake, Outcome


class Whole(Exercise):
    """An exercise that asks for one whole number: an int will do as well as an integer tensor without axes."""

    def judge(self, function: Callable) -> Exception | None:
        """Return what is wrong with `function`, or None; the caller isolates the random state."""
        return super().judge(_int64(function))

    def fault(self, got: Outcome, expected: Tensor) -> str | None:
        """Say what is wrong with one outcome; the engine's own words would ask for a tensor."""
        value, asked = got.value, "a whole number, an int or an integer tensor without axes"
        if isinstance(value, tuple | list):
            return f"got a {type(value).__name__} of {len(value)}, expected {asked}"
        if isinstance(value, Tensor) and value.dtype != expected.dtype and value.shape == expected.shape:
            return f"wrong dtype: got {value.dtype}, expected {asked}"
        if got.error or value is None or isinstance(value, Tensor):
            return super().fault(got, expected)
        return f"expected {asked}, got {type(value).__module__}.{type(value).__qualname__}"

    def shows(self, mistake: Mistake, answer: Callable, case: Case, got: Outcome) -> bool:
        """Return whether one outcome is that of one answer of a mistake; a float may be, too."""
        value = got.value
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            got = replace(got, value=torch.tensor(float(value), dtype=torch.float64))
        return super().shows(mistake, answer, case, got)


def _int64(function: Callable) -> Callable:
    """Return a function that answers as this one does, but whole numbers without axes as int64 tensors."""

    @functools.wraps(function)
    def answer(*args):
        value = function(*args)
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            return torch.tensor(int(value))
        is_short = isinstance(value, Tensor) and value.dtype in (torch.int32, torch.int16, torch.int8)
        return value.long() if is_short and not value.ndim else value

    return answer


def _variance(lambda_: float) -> float:
    return (1 - lambda_) ** 2 + lambda_**2


def _snr(alpha_bar: Tensor) -> Tensor:
    return alpha_bar / (1 - alpha_bar)


def _logs(ratio: Tensor, wanted: Tensor) -> Tensor:
    return (ratio.log() - wanted.log()).abs()


def _plain(ratio: Tensor, wanted: Tensor) -> Tensor:
    return (ratio - wanted).abs()


def _nearest(gap: Tensor) -> Tensor:
    return gap[1:].argmin() + 1


def _level(noise=_variance, signal=lambda lambda_: 1.0, ratio=_snr, gap=_logs, pick=_nearest, at=lambda t: t):
    """Return a level_of_mix: the ratio at level at(t), times signal over noise, and the level that pick(gap) finds."""

    def answer(t: int, lambda_: float, alpha_bar: Tensor) -> Tensor:
        ratios = ratio(alpha_bar)
        wanted = ratios[at(t)] * signal(lambda_) / noise(lambda_)
        return pick(gap(ratios, wanted))

    return answer


def _each(part: str, *choices):
    """Return a level_of_mix for each choice of one part."""
    return tuple(_level(**{part: choice}) for choice in choices)


def _after(change):
    """Return a level_of_mix that is right and then changed, change(level, t, T)."""
    return lambda t, lambda_, alpha_bar: change(_level()(t, lambda_, alpha_bar), t, len(alpha_bar) - 1)


def _wanted(change):
    """Return a level_of_mix that changes the ratio of the mix, without looking for its level."""
    return lambda t, lambda_, alpha_bar: change(_snr(alpha_bar)[t] / _variance(lambda_))


def _by_noise(gap, root: float = 1.0):
    """Return a level_of_mix that compares what the noise has, its variance to the power of root, and nothing else."""
    return _level(lambda x: 1 / _variance(x) ** root, ratio=lambda alpha_bar: (1 - alpha_bar) ** root, gap=gap)


def _side(found):
    """Return a level_of_mix that counts on which side of the wanted ratio the levels lie, found(ratios, wanted)."""
    return _level(gap=lambda ratio, wanted: (ratio, wanted), pick=lambda both: found(*both))


def _cut(t: int, lambda_: float, alpha_bar: Tensor) -> Tensor:
    ratios = _snr(alpha_bar[1:])
    return _logs(ratios, ratios[t] / _variance(lambda_)).argmin() + 1


def _cases(generator: torch.Generator) -> list[Case]:
    return [
        Case(label, {"t": t, "lambda_": x, "alpha_bar": schedules.make(name, T, dtype=torch.float64).alpha_bar})
        for label, name, T, t, x in (
            ("a linear schedule of 1000 steps", "linear", 1000, 500, 0.3),
            ("a cosine schedule of 1000 steps", "cosine", 1000, 700, 0.4),
            ("hardly any of the second picture", "linear", 1000, 900, 0.1),
            ("half of each", "cosine", 50, 33, 0.5),
            ("mostly the second picture", "quadratic", 200, 120, 0.75),
            ("lambda 0: the first picture alone", "linear", 200, 70, 0.0),
            ("lambda 1: the second picture alone", "cosine", 200, 140, 1.0),
            ("little noise", "cosine", 1000, 10, 0.25),
            ("the last level", "linear", 30, 30, 0.5),
            ("the last level, lambda 0", "sigmoid", 40, 40, 0.0),
            ("the first level", "linear", 20, 1, 0.4),
            ("a chain of a single step", "linear", 1, 1, 0.3),
            ("few steps", "linear", 20, 14, 0.4),
            ("few steps, little noise", "linear", 16, 2, 0.5),
            ("six steps", "cosine", 6, 3, 0.45),
        )
    ]


LEVEL_OF_MIX = Whole(
    "level_of_mix",
    _level(),
    _cases,
    (
        Mistake(
            "t itself",
            "You return t, whatever lambda is. The two weights sum to 1, and that settles the signal; two independent "
            "noises do not add up to one of the same size.",
            "the standard deviation of (torch.randn(10000) + torch.randn(10000)) / 2",
            (lambda t, lambda_, alpha_bar: torch.tensor(t),),
        ),
        Mistake(
            "standard deviation against variance",
            "Your ratio is one of variances and the noise's factor a standard deviation, or the other way round.",
            "roots and squares in your code: either all are variances, or all are standard deviations",
            (_level(lambda x: _variance(x) ** 0.5), _level(lambda x: _variance(x) ** 2)),
        ),
        Mistake(
            "on the wrong side",
            "Your level lies on the wrong side of t. The mix has less noise than its parts, so it stands earlier.",
            "whether you multiply or divide by the noise's factor; ratios are large at small t",
            (_level(lambda x: 1 / _variance(x)), _level(lambda x: _variance(x) ** -0.5)),
        ),
        Mistake(
            "lambda fixed",
            "Your factor does not depend on lambda: you took it for an even mix. For lambda 0 or 1 the level is t.",
            "where your function uses lambda_",
            (_level(lambda x: 0.5), _level(lambda x: 0.5**0.5), _level(lambda x: 0.25)),
        ),
        Mistake(
            "one noise only",
            "You counted the noise of one picture only. Both pictures bring theirs, each with its own weight.",
            "the factor for lambda 0, and for lambda 1: in both cases it has to be 1",
            _each("noise", lambda x: (1 - x) ** 2, lambda x: x**2, lambda x: 1 - x, lambda x: x),
        ),
        Mistake(
            "signal weakened",
            "You weakened the signal. The picture meant is the cross-fade (1 - lambda) a + lambda b as a whole, and "
            "the mix holds it as strongly as its parts hold a and b.",
            "the mix of two noised copies of the same picture, written out",
            _each("signal", lambda x: 0.5, lambda x: 0.25, lambda x: (1 - x) ** 2, lambda x: x**2),
        ),
        Mistake(
            "signal forgotten",
            "You looked for the level with as much noise as the mix. But the mix keeps the signal of level t, so that "
            "signal and noise no longer belong to one level: only their ratio tells where it stands.",
            "where alpha_bar[t], the strength of the signal, comes in",
            (_by_noise(_plain), _by_noise(_plain, 0.5), _by_noise(_logs)),
        ),
        Mistake(
            "noise forgotten",
            "You compared alpha_bar itself. The ratio is that of the signal's variance to the noise's.",
            "what you compare, at t = 0: the ratio is infinite there",
            (
                _level(ratio=lambda alpha_bar: alpha_bar),
                _level(ratio=lambda alpha_bar: alpha_bar, gap=_plain),
                _level(ratio=lambda alpha_bar: alpha_bar, pick=torch.argmin),
                _level(ratio=lambda alpha_bar: alpha_bar, gap=_plain, pick=torch.argmin),
            ),
        ),
        Mistake(
            "another ratio",
            "Your ratio is not that of the two variances. alpha_bar is a variance already, and so is 1 - alpha_bar.",
            "roots and squares of alpha_bar in your code",
            _each(
                "ratio",
                lambda alpha_bar: alpha_bar.sqrt() / (1 - alpha_bar),
                lambda alpha_bar: alpha_bar / (1 - alpha_bar).sqrt(),
                lambda alpha_bar: _snr(alpha_bar.sqrt()),
                lambda alpha_bar: _snr(alpha_bar.square()),
            ),
        ),
        Mistake(
            "not by the logarithm",
            "The ratio of the mix is right, but you chose the nearest level by something else than its logarithm. "
            "Where the levels lie far apart, that makes another one the nearest.",
            "what you subtract: between two levels of ratio 1 and 4, a mix of 2.2 is nearer to the second",
            _each(
                "gap",
                _plain,
                lambda ratio, wanted: _plain(ratio.sqrt(), wanted.sqrt()),
                lambda ratio, wanted: _plain(1 / ratio, 1 / wanted),
                lambda ratio, wanted: _plain(1 / (1 + ratio), 1 / (1 + wanted)),
            ),
        ),
        Mistake(
            "next level on one side",
            "You return the last level above the ratio of the mix, or the first below it, not the nearer of the two.",
            "comparisons such as >= and <= in your code, or searchsorted",
            (
                _side(lambda ratio, wanted: (ratio <= wanted).int().argmax()),
                _side(lambda ratio, wanted: (ratio < wanted).int().argmax()),
                _side(lambda ratio, wanted: (ratio >= wanted).sum() - 1),
                _side(lambda ratio, wanted: (ratio > wanted).sum() - 1),
                _side(lambda ratio, wanted: ((ratio >= wanted).sum() - 1).clamp(min=1)),
            ),
        ),
        Mistake(
            "off by one",
            "Each of your levels is off by one: what argmin finds is a place in the array that it searches.",
            "which level stands at index 0 of what you search",
            (_level(pick=lambda gap: gap[1:].argmin()), _level(pick=lambda gap: gap.argmin() + 1)),
        ),
        Mistake(
            "level before or after t",
            "You started from the ratio of another level than t. Index t of alpha_bar is level t, with 0 the clean "
            "picture.",
            "the index of alpha_bar; what is cut off before it is used?",
            (
                _level(at=lambda t: t - 1),
                _level(at=lambda t: t - 1, pick=torch.argmin),
                _level(at=lambda t: t + 1),
                _cut,
            ),
        ),
        Mistake(
            "an end of the chain",
            "You return an end of the chain. There stands the most negative of all differences, if they keep their "
            "signs; and infinity minus infinity is nan, which argmin takes for the smallest.",
            "the differences that you search, printed for a short schedule, level 0 above all",
            (
                lambda t, lambda_, alpha_bar: torch.tensor(0),
                lambda t, lambda_, alpha_bar: torch.tensor(1),
                lambda t, lambda_, alpha_bar: torch.tensor(len(alpha_bar) - 1),
                _level(pick=lambda gap: gap[1:].argmax() + 1),
            ),
        ),
        Mistake(
            "ratio returned",
            "You return a ratio, or its logarithm. Asked for is the level that has it, or nearly so.",
            "the last line: the place of the smallest difference, not a value",
            (
                _wanted(lambda ratio: ratio),
                _wanted(torch.log),
                lambda t, lambda_, alpha_bar: _snr(alpha_bar)[_level()(t, lambda_, alpha_bar)],
                _level(pick=lambda gap: gap[1:].min()),
            ),
        ),
        Mistake(
            "share of the chain",
            "You return a share of the chain. Asked for is the level, from 1 to T.",
            "divisions by T, or by the length of alpha_bar",
            (_after(lambda level, t, T: level / T), _after(lambda level, t, T: level / (T + 1))),
        ),
        Mistake(
            "counted from elsewhere",
            "You return how many steps lie between two levels. A level is counted from the clean picture.",
            "differences of levels in your code; flip",
            (
                _after(lambda level, t, T: t - level),
                _after(lambda level, t, T: level - t),
                _after(lambda level, t, T: T - level),
                _after(lambda level, t, T: T + 1 - level),
            ),
        ),
    ),
    hint="for lambda 0 and 1 the level is t, in between it is never later, and earliest for 0.5; it is never 0",
)

EXERCISES = (LEVEL_OF_MIX,)
