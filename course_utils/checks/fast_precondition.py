"""Exercise 1 of notebook 09: the four functions of sigma with which EDM preconditions a network."""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Outcome, close, outcome

NAMES = ("c_skip", "c_out", "c_in", "c_noise")


class Four(Exercise):
    """An exercise that asks for the four functions, a tuple of tensors (B,); one tensor (4, B) will do as well."""

    def judge(self, function: Callable) -> Exception | None:
        """Return what is wrong with `function`, or None; the caller isolates the random state."""
        return super().judge(_stacked(function))

    def fault(self, got: Outcome, expected: Tensor) -> str | None:
        """Say what is wrong with one outcome, by the name of the function and its sigma where it is a number."""
        value, asked = got.value, f"expected a tuple of four tensors, {', '.join(NAMES)}"
        if isinstance(value, tuple | list):
            return _unlike(value, expected) or f"got a {type(value).__name__} of {len(value)}, {asked}"
        text = super().fault(got, expected)
        if text is None or got.error or value is None:
            return text
        if not isinstance(value, Tensor):
            return f"got {type(value).__module__}.{type(value).__qualname__}, {asked}"
        if text.startswith("wrong shape"):
            return f"{text}, four tensors on top of each other"
        if not text.startswith(("wrong values", "not finite")):
            return text
        row, column = (~close(value, expected, self.tolerance)).nonzero()[0].tolist()
        number, right = (float(x[row, column]) for x in (value, expected))
        kind = "wrong value" if math.isfinite(number) else "not finite"
        at = f"{NAMES[row]} at sigma = {float(got.args['sigma'][column]):.6g}"
        return f"{kind}: {number:.6g} for {at}, expected {right:.6g}"

    def recognise(self, got: list[Outcome], cases: list[Case]) -> Mistake | None:
        """Return the mistake that explains every outcome, or the first of several, each in another of the four."""
        found, right = super().recognise(got, cases), [outcome(self.solution, case).value for case in cases]
        if found or not all(_comparable(g.value, e) for g, e in zip(got, right, strict=True)):
            return found
        for row in torch.eye(len(NAMES), dtype=torch.bool)[:, :, None]:
            mended = [replace(g, value=g.value.where(row, e)) for g, e in zip(got, right, strict=True)]
            if found := super().recognise(mended, cases):
                return found
        return None


def _comparable(value: Any, expected: Tensor) -> bool:
    return isinstance(value, Tensor) and not _other(value, expected)


def _other(value: Tensor, expected: Tensor) -> list[str]:
    return [what for what in ("shape", "dtype", "device") if getattr(value, what) != getattr(expected, what)]


def _stacked(function: Callable) -> Callable:
    """Return a function that answers as this one does, but four tensors of one kind as one, (4, ...)."""

    @functools.wraps(function)
    def answer(*args):
        value = function(*args)
        if not isinstance(value, tuple | list) or len(value) != len(NAMES):
            return value
        alike = all(isinstance(part, Tensor) for part in value) and len({(p.shape, p.dtype, p.device) for p in value})
        return torch.stack(tuple(value)) if alike == 1 else value

    return answer


def _unlike(parts: tuple | list, expected: Tensor) -> str | None:
    """Say which of four parts is not the tensor that is asked for, or None when they are not four."""
    if len(parts) != len(NAMES):
        return None
    for name, part, right in zip(NAMES, parts, expected, strict=True):
        if not isinstance(part, Tensor):
            return f"{name} is a {type(part).__module__}.{type(part).__qualname__}, expected a tensor shaped like sigma"
        for what in _other(part, right):
            return f"{name} has the wrong {what}: got {getattr(part, what)}, expected {getattr(right, what)}"
    return None


def _variance(s: Tensor, d: float) -> Tensor:
    return s**2 + d**2


def _skip(s: Tensor, d: float, variance=_variance) -> Tensor:
    return d**2 / variance(s, d)


def _out(s: Tensor, d: float, variance=_variance) -> Tensor:
    return s * d / variance(s, d) ** 0.5


def _in(s: Tensor, d: float, variance=_variance) -> Tensor:
    return 1 / variance(s, d) ** 0.5


RIGHT = {"c_skip": _skip, "c_out": _out, "c_in": _in, "c_noise": lambda s, d: s.log() / 4}


def _table(order=(0, 1, 2, 3), see=lambda s: s, **changed):
    """Return a precondition of c_skip(sigma, sigma_data) and so on, right but for those that are handed in."""
    functions = [*(RIGHT | changed).values()]
    return lambda sigma, sigma_data: torch.stack([functions[i](see(sigma), sigma_data) for i in order])


def _each(name: str, *choices):
    """Return a precondition for each choice of one of the four functions."""
    return tuple(_table(**{name: choice}) for choice in choices)


def _thrice(change):
    """Return three preconditions, in which c_skip, c_out or c_in is change(right function)."""
    return tuple(_table(**{name: change(RIGHT[name])}) for name in NAMES[:3])


def _of(variance):
    return _thrice(lambda right: functools.partial(right, variance=variance))


def _with(sigma_data: float):
    return _thrice(lambda right: lambda s, d: right(s, sigma_data))


_SHARES = ((1, 1), (1, 0.5), (2, 0.5), (0, 1), (4, 2))  # powers above and below, not 2 and 1
_POWERS = ((1, 0), (0, 1), (2, 0), (0, 2), (2, 1), (1, 2), (2, 2))  # of sigma and sigma_data, not both 1


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, n, sigma_data, low, high in (
        ("noise as in training", 8, 0.5, 0.05, 5),
        ("little noise", 5, 0.5, 0.002, 0.05),
        ("much noise", 6, 0.5, 2, 80),
        ("data of variance 1", 5, 1.0, 0.05, 5),
        ("data of little contrast", 6, 0.1, 0.02, 3),
        ("data that spread widely", 3, 3.0, 0.1, 60),
        ("as many levels as functions", 4, 0.7, 0.05, 5),
        ("two levels", 2, 0.25, 0.1, 10),
    ):
        share = torch.rand(n, generator=generator)
        made.append(Case(label, {"sigma": low * (high / low) ** share, "sigma_data": sigma_data}))
    return made


PRECONDITION = Four(
    "precondition",
    _table(),
    _cases,
    (
        Mistake(
            "order",
            "Your four are right, but they come in another order: c_skip, c_out, c_in, c_noise is asked for.",
            "the line that returns them",
            tuple(_table(order) for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)),
        ),
        Mistake(
            "sigma in place of sigma_data",
            "Your c_skip is the share of the noise in the variance of x. Asked for is that of the data: without noise, "
            "x is the picture, and all of it is kept.",
            "c_skip for a tiny sigma, and for a huge one",
            _each("c_skip", lambda s, d: s**2 / _variance(s, d), lambda s, d: s / _variance(s, d) ** 0.5),
        ),
        Mistake(
            "c_skip no share of variance",
            "Your c_skip is not the share of the data in the variance of x: of its two parts one is not squared, or "
            "the lower one is rooted, or what stands above is missing.",
            "c_skip for sigma = sigma_data: it has to be 1/2, whatever sigma_data is",
            _each("c_skip", *(lambda s, d, i=i, j=j: d**i / _variance(s, d) ** j for i, j in _SHARES)),
        ),
        Mistake(
            "sigma_data forgotten",
            "You reckoned with data of standard deviation 1. That of these data is handed in as sigma_data, and it "
            "stands in c_skip, c_out and c_in.",
            "each 1 in your code, and each place that should depend on sigma_data",
            _with(1.0),
        ),
        Mistake(
            "sigma_data written down",
            "You wrote down 0.5 for sigma_data. That is right for many pictures, but here it is handed in.",
            "0.5 and 0.25 in your code",
            _with(0.5),
        ),
        Mistake(
            "c_out not both",
            "The upper part of your c_out lacks sigma or sigma_data, or has one of them squared. c_out grows with "
            "sigma, is nearly sigma where that is small, and nearly sigma_data where it is large.",
            "c_out for a tiny sigma, and for a huge one",
            _each("c_out", *(lambda s, d, i=i, j=j: s**i * d**j / _variance(s, d) ** 0.5 for i, j in _POWERS)),
        ),
        Mistake(
            "root missing",
            "A root is missing in c_out or c_in: both multiply pictures, so that below stands the standard deviation "
            "of x, not its variance.",
            "c_in times the standard deviation of x: it has to be 1",
            (
                *_each("c_out", lambda s, d: s * d / _variance(s, d), lambda s, d: _out(s, d) ** 2),
                *_each("c_in", lambda s, d: 1 / _variance(s, d), lambda s, d: 1 / _variance(s, d) ** 2),
            ),
        ),
        Mistake(
            "sign of c_out",
            "The sign of your c_out is turned. A network trained that way would answer -F and be as good, but one that "
            "was trained by Table 1 would be read upside down.",
            "the sign of c_out in Table 1, last column; DDPM's is negative, since its network answers eps",
            _each("c_out", lambda s, d: -_out(s, d)),
        ),
        Mistake(
            "not divided",
            "The standard deviation of x does not divide, in c_out or c_in: you multiply by it, or leave it out.",
            "c_in for a huge sigma: what x has to be multiplied by to have variance 1",
            (
                *_each("c_out", lambda s, d: s * d, lambda s, d: s * d * _variance(s, d) ** 0.5),
                *_each("c_in", lambda s, d: _variance(s, d) ** 0.5, _variance),
            ),
        ),
        Mistake(
            "variance of x",
            "The variance of x is wrong somewhere. x is a picture plus sigma times eps; the two are independent, so "
            "that their variances add up, not their standard deviations.",
            "what you root or divide by: two squares have to stand there",
            (
                *_of(lambda s, d: (s + d) ** 2),
                *_of(lambda s, d: s + d),
                *_of(lambda s, d: s**2 + d),
                *_of(lambda s, d: s + d**2),
                *_of(lambda s, d: (s**2 - d**2).abs()),
                *_each("c_in", lambda s, d: 1 / s, lambda s, d: 1 / d + 0 * s, lambda s, d: 1 / s + 1 / d),
            ),
        ),
        Mistake(
            "another column",
            "One of the four is from another column, that of VE or VP, or from flow matching. Asked for are EDM's.",
            "Table 1 of Karras et al. 2022, last column",
            (
                *_each("c_skip", lambda s, d: torch.ones_like(s), lambda s, d: 1 / (1 + s)),
                *_each("c_out", lambda s, d: s.clone(), lambda s, d: -s, lambda s, d: -s / (1 + s)),
                *_each("c_in", lambda s, d: torch.ones_like(s), lambda s, d: 1 / (1 + s)),
                *_each("c_noise", lambda s, d: (s / 2).log(), lambda s, d: s / (1 + s)),
            ),
        ),
        Mistake(
            "factor of c_noise",
            "Your c_noise is a logarithm of sigma, but with another factor than in Table 1.",
            "what stands in front of the logarithm, and inside: log(sigma / 4) is something else",
            _each(
                "c_noise", *(lambda s, d, k=k: s.log() * k for k in (1, 0.5, 2, 4, -0.25)), lambda s, d: (s / 4).log()
            ),
        ),
        Mistake(
            "another logarithm",
            "Your c_noise is a logarithm to another base. ln is the natural one, which is torch.log.",
            "log10 and log2 in your code",
            _each("c_noise", *(lambda s, d, f=f, k=k: k * f(s) for f in (torch.log10, torch.log2) for k in (1, 0.25))),
        ),
        Mistake(
            "c_noise of something else",
            "Your c_noise is not made of the logarithm of sigma: there is none in it, or it is that of something else.",
            "c_noise at sigma = 1, where it is 0, and at little noise, where it is negative",
            (
                *_each("c_noise", lambda s, d: s.clone(), lambda s, d: s / 4, lambda s, d: s**0.25),
                *_each("c_noise", lambda s, d: s.log1p() / 4, lambda s, d: (s / d).log() / 4),
                *_each("c_noise", *(lambda s, d, k=k: _variance(s, d).log() / k for k in (4, 8))),
            ),
        ),
        Mistake(
            "one level for the whole batch",
            "You used one sigma for the whole batch; every picture has its own.",
            "the shape of sigma, and that of each of your four",
            tuple(_table(see=f) for f in (lambda s: s[0], lambda s: s[-1], torch.mean, torch.max)),
        ),
        Mistake(
            "shaped for pictures",
            "Your four have further axes. They are asked for as sigma comes, (B,): the network is told c_noise like "
            "that, and whoever multiplies pictures by the others gives them their axes.",
            "view, reshape and None in your code",
            tuple(_table(see=lambda s, n=n: s.view(-1, *[1] * n)) for n in (1, 2, 3)),
        ),
        Mistake(
            "functions of math",
            "The functions of math take a single number, and sigma holds several. torch has the same ones for tensors.",
            "math.sqrt and math.log in your code",
            _each("c_noise", lambda s, d: math.log(s)),
        ),
    ),
    hint="the variance of x is sigma^2 + sigma_data^2; c_skip is the data's share of it, c_in brings x to variance 1, "
    "c_out is smaller than sigma and than sigma_data, c_noise is 0 at sigma = 1",
)

EXERCISES = (PRECONDITION,)
