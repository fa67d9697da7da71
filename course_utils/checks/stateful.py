"""Exercises whose functions change what they are handed, networks above all: what a call leaves behind counts, too."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.checks.answers import one_number
from course_utils.checks.engine import (
    Case,
    CheckFailed,
    Exercise,
    Mistake,
    Outcome,
    close,
    describe,
    fault,
    outcome,
    same,
)

Traces = dict[str, Tensor]


@dataclass(frozen=True, repr=False)
class Stateful(Exercise):
    """An exercise that is judged by its answers first and, where all of them are right, by the traces of the calls.

    traces(outcome) gives float32 tensors by names that fit into a sentence, the same names for every case. They are
    judged in this order, and the first that is wrong decides which mistake it was: those behind it are not looked at.
    number: whether a float will do where a tensor without axes is asked for.
    """

    traces: Callable[[Outcome], Traces] = lambda outcome: {}
    number: bool = False

    def judge(self, function: Callable) -> Exception | None:
        """Return what is wrong with `function`, or None; the caller isolates the random state."""
        failure = super().judge(one_number(function, torch.float32) if self.number else function)
        if failure or torch.is_grad_enabled():
            return failure
        return CheckFailed(
            f"{self.name}: your function is right, but it leaves gradients switched off for all code that follows.\n"
            "  Look at: torch.set_grad_enabled in your code; with torch.no_grad() ends by itself"
        )

    def recognise(self, got: list[Outcome], cases: list[Case]) -> Mistake | None:
        """Return the mistake that explains every answer, or None; right numbers of a wrong dtype are no mistake's."""
        if all(same(g, outcome(self.solution, case), self.tolerance) for g, case in zip(got, cases, strict=True)):
            return None
        return super().recognise(got, cases)

    def beyond(self, got: list[Outcome], expected: list[Tensor], cases: list[Case]) -> Exception | None:
        """Return what is wrong although the numbers are right, or None."""
        left = [self.traces(g) for g in got]
        right = [self.traces(outcome(self.solution, case)) for case in cases]
        *_, last = names = self.judged(left, right)
        faults = [fault(Outcome(mine[last]), its[last], self.tolerance) for mine, its in zip(left, right, strict=True)]
        wrong = [i for i, text in enumerate(faults) if text]
        if not wrong:
            return super().beyond(got, expected, cases)
        for mistake in self.mistakes:
            for answer in mistake.answers:
                if all(self.left_by(answer, *told, names) for told in zip(got, left, cases, strict=True)):
                    return CheckFailed(f"{self.name}: {mistake.message}\n  Look at: {mistake.look}")
        return CheckFailed(
            f"{self.name}: what your function returns is right, but not {last}: {faults[wrong[0]]}\n"
            f"  Input {wrong[0] + 1} of {len(cases)}: {describe(cases[wrong[0]])}\n  Hint: {self.hint}"
        )

    def judged(self, left: list[Traces], right: list[Traces]) -> list[str]:
        """Return the names of the traces up to the first that is wrong on any case; all of them when none is."""
        names = []
        for name in right[0]:
            names.append(name)
            if not all(self.agree(mine, its, [name]) for mine, its in zip(left, right, strict=True)):
                break
        return names

    def agree(self, a: Traces, b: Traces, names: list[str]) -> bool:
        """Return whether two calls left the same in these traces."""
        return all(a[n].shape == b[n].shape and bool(close(a[n], b[n], self.tolerance).all()) for n in names)

    def left_by(self, answer: Callable, got: Outcome, left: Traces, case: Case, names: list[str]) -> bool:
        """Return whether the answer of a mistake returns and leaves the same on this case."""
        theirs = outcome(answer, case)
        return same(got, theirs, self.tolerance) and self.agree(left, self.traces(theirs), names)
