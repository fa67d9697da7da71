"""How a homework check works: call the student's function, compare with the reference, name the mistake."""

import contextlib
import copy
import inspect
import io
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.checks import gradients

SEED = 20200619  # the inputs never depend on what the notebook drew before


class CheckFailed(AssertionError):
    """A homework answer is wrong; the message says how."""

    def _render_traceback_(self, *_: Any) -> list[str]:
        return [f"CheckFailed: {self}"]  # IPython shows this in place of the traceback


@dataclass(frozen=True)
class Case:
    """One input: `label` says in words what is special about it, `args` are handed over in this order."""

    label: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give: what they did, where to look, and functions that do the same.

    `look` must point without giving the solution away. An answer may raise: the exception is then part of the picture.
    slack(case) is how far a mistake of rounding may lie from `answers`: no two ways to write it round alike.
    """

    name: str
    message: str
    look: str
    answers: tuple[Callable, ...]
    slack: Callable[[Case], float] = lambda case: 0.0


class Tolerance(NamedTuple):
    """How far right answers may differ: `relative` to the largest entry of each example, or `absolute`.

    Each entry of a vector is an example of its own. absolute is for answers in which larger terms may cancel.
    """

    relative: float = 2e-4
    absolute: float = 1e-9


ROUNDING = Tolerance()


@dataclass(frozen=True)
class Exercise:
    """A function that the student writes, and all that is needed to judge it; call it with the student's function.

    cases draws the inputs from a seeded generator. A gradient that the solution's value has is asked for, too.
    Calling it prints one line when the answer is right. Raises CheckFailed when it is wrong and NotImplementedError,
    naming the exercise, when it is still the stub.
    """

    name: str
    solution: Callable
    cases: Callable[[torch.Generator], list[Case]]
    mistakes: tuple[Mistake, ...]
    hint: str
    tolerance: Tolerance = ROUNDING

    def __repr__(self) -> str:
        return f"<homework check: checks.{self.name}({self.name}) judges your function>"

    def __call__(self, function: Callable) -> None:
        if not callable(function):
            raise CheckFailed(f"{self.name}: hand over the function itself, checks.{self.name}({self.name})")
        if os.environ.get("NBGRADER_EXECUTION") and getattr(function, "__module__", "").startswith("course_utils"):
            raise CheckFailed(f"{self.name}: this is the course's own function; the exercise asks for yours")
        with isolated():
            failure = self.judge(function)
        if failure:
            raise failure from None
        print(f"{self.name}: correct on {len(self.inputs())} inputs")

    def inputs(self) -> list[Case]:
        """Return the inputs, the same at every call."""
        return self.cases(torch.Generator().manual_seed(SEED))

    def judge(self, function: Callable) -> Exception | None:
        """Return what is wrong with `function`, or None; the caller isolates the random state."""
        cases = self.inputs()
        expected = [outcome(self.solution, case).value for case in cases]
        shown, hidden = io.StringIO(), io.StringIO()  # a print on every input would flood the page
        try:
            got = [outcome(function, case, hidden if i else shown) for i, case in enumerate(cases)]
        finally:
            print(shown.getvalue(), end="")  # also when an endless loop is interrupted
        if shown.tell() and hidden.tell():
            print(f"(what your function prints is shown for the first of {len(cases)} inputs only)")
        if stub := next((g.error for g in got if is_stub(g.error)), None):
            return unsolved(self.name, stub)
        faults = [self.fault(g, e) for g, e in zip(got, expected, strict=True)]
        wrong = [i for i, text in enumerate(faults) if text]
        changed = next((g.changed for g in got if g.changed), None)
        if wrong and (mistake := self.recognise(got, cases)):
            return CheckFailed(f"{self.name}: {mistake.message}\n  Look at: {mistake.look}")
        if changed:
            return CheckFailed(
                f"{self.name}: your function changed its input {changed} in place, so the caller's tensor is spoilt.\n"
                "  Look at: operations such as +=, *= or those that end in an underscore"
            )
        if not wrong:
            return self.beyond(got, expected, cases)
        first, right = wrong[0], len(cases) - len(wrong)
        text = f"{self.name}: {faults[first]}\n  Input {first + 1} of {len(cases)}: {describe(cases[first])}"
        text += f". Right on {right} of {len(cases)} inputs" * bool(right)
        if got[first].error:
            text += student_line(got[first].error, function)
        elif not isinstance(got[first].value, Tensor):
            return CheckFailed(text)  # the hint is about numbers
        return CheckFailed(f"{text}\n  Hint: {self.hint}")

    def fault(self, got: "Outcome", expected: Tensor) -> str | None:
        """Say what is wrong with one outcome, or None; an exercise may have words of its own."""
        return fault(got, expected, self.tolerance)

    def beyond(self, got: list["Outcome"], expected: list[Tensor], cases: list[Case]) -> Exception | None:
        """Return what is wrong although the numbers are right, or None."""
        trouble = gradients.trouble([(g.value, (g.args or {}).values()) for g in got], expected)
        return CheckFailed(f"{self.name}: your numbers are right, but {trouble}") if trouble else None

    def recognise(self, got: list["Outcome"], cases: list[Case]) -> Mistake | None:
        """Return the mistake that explains every outcome, or None: agreement on some inputs only is not enough."""
        told = tuple(zip(got, cases, strict=True))
        fitting = (m for m in self.mistakes if any(all(self.shows(m, a, c, g) for g, c in told) for a in m.answers))
        return next(fitting, None)

    def shows(self, mistake: Mistake, answer: Callable, case: Case, got: "Outcome") -> bool:
        """Return whether one outcome is that of one answer of a mistake."""
        (relative, absolute), theirs = self.tolerance, outcome(answer, case)
        if getattr(got.value, "dtype", None) is getattr(theirs.value, "dtype", 0):
            absolute += mistake.slack(case)  # another dtype is a fault of its own
        return same(got, theirs, Tolerance(relative, absolute))


@dataclass(frozen=True)
class Outcome:
    """What one call did: the value or the error, the first input that it changed in place, its inputs afterwards."""

    value: Any = None
    error: BaseException | None = None
    changed: str | None = None
    args: dict[str, Any] | None = None


def outcome(function: Callable, case: Case, out: io.StringIO | None = None) -> Outcome:
    """Call `function` on a copy of the case's inputs, with the random state seeded; what it writes goes to `out`."""
    args = copy.deepcopy(case.args)
    torch.default_generator.manual_seed(SEED)  # an answer that draws its own noise is recognised by it
    try:
        # nbgrader gives no points to a cell that writes to stderr, be it a mere warning
        with contextlib.redirect_stdout(out or sys.stdout), contextlib.redirect_stderr(out or sys.stdout):
            value = function(*args.values())
    except (Exception, SystemExit) as error:
        return Outcome(error=error)
    changed = (name for name in args if not untouched(args[name], case.args[name]))
    return Outcome(value, changed=next(changed, None), args=args)


def untouched(now: Any, before: Any) -> bool:
    """Return whether a tensor, or every tensor of a dataclass, still holds what it held before."""
    if isinstance(before, Tensor):
        return now.shape == before.shape and torch.equal(now, before)
    if is_dataclass(before):
        return all(untouched(getattr(now, f.name), getattr(before, f.name)) for f in fields(before))
    return True


def fault(got: Outcome, expected: Tensor, tolerance: Tolerance) -> str | None:
    """Say what is wrong with one outcome, from the coarse (an exception) to the fine (one element), or None."""
    value = got.value
    if got.error is not None:
        return f"{type(got.error).__name__} in your code: {got.error}"
    if value is None:
        return "your function returned nothing (None). Is there a return?"
    if isinstance(value, tuple | list) and value and all(isinstance(part, Tensor) for part in value):
        return f"got a {type(value).__name__} of {len(value)}: one tensor is asked for, see torch.stack"
    if not isinstance(value, Tensor):
        return f"expected a torch.Tensor, got {type(value).__module__}.{type(value).__qualname__}"
    if value.shape != expected.shape:
        return f"wrong shape: got {tuple(value.shape)}, expected {tuple(expected.shape)}"
    if value.dtype != expected.dtype:
        return f"wrong dtype: got {value.dtype}, expected {expected.dtype}, that of the inputs"
    if value.device != expected.device:
        return f"wrong device: got {value.device}, expected {expected.device}, that of the inputs"
    value = value.detach()
    if not bool(value.isfinite().all()):
        index = tuple((~value.isfinite()).nonzero()[0].tolist())
        return f"not finite: {value[index].item()} at index {list(index)}, expected {expected[index].item():.6g}"
    far = ~close(value, expected, tolerance)
    if not bool(far.any()):
        return None
    index = tuple(far.nonzero()[0].tolist())
    place = f"First difference at index {list(index)}: " if index else ""
    return (
        f"wrong values, shape {tuple(value.shape)} is right. {place}"
        f"got {value[index].item():.6g}, expected {expected[index].item():.6g}"
    )


def close(a: Tensor, b: Tensor, tolerance: Tolerance) -> Tensor:
    """Compare elementwise, relative to the largest entry of each example of b: rounding grows with that entry."""
    a, b = a.detach().double(), b.detach().double()
    size = b.nan_to_num(0, 0, 0).abs()  # next to an infinity everything would count as close
    scale = size.flatten(1).amax(1).view(-1, *[1] * (b.ndim - 1)) if b.ndim > 1 else size
    return ((a - b).abs() <= tolerance.relative * scale + tolerance.absolute) | (a == b) | (a.isnan() & b.isnan())


def same(a: Outcome, b: Outcome, tolerance: Tolerance) -> bool:
    """Return whether two wrong answers show the same picture: the same kind of exception, or equal values."""
    if a.error is not None or b.error is not None:
        sizes = [sorted(re.findall(r"\d+", str(error))) for error in (a.error, b.error)]  # in whichever order
        return type(a.error) is type(b.error) and sizes[0] == sizes[1]
    if not isinstance(a.value, Tensor) or a.value.shape != b.value.shape or a.value.is_complex() or a.value.is_meta:
        return False
    return bool(close(a.value.cpu(), b.value, tolerance).all())


def is_stub(error: BaseException | None) -> bool:
    """Return whether this is a stub's own error: torch raises NotImplementedError, too, for what a dtype cannot do."""
    return isinstance(error, NotImplementedError) and bool(re.match(r"\Z|Exercise .*not solved yet", str(error)))


def unsolved(name: str, stub: NotImplementedError) -> NotImplementedError:
    """Return the error of an exercise that still is a stub, or calls another that is, rendered in one line."""
    named = re.match(r"Exercise (\w+): not solved yet", str(stub))
    if named and named[1] != name:
        text = f"it calls {named[1]}, which is not solved yet. Solve that exercise first, and run its cell."
    else:
        text = "not solved yet. Its cell still says: Replace this line with your code."
    error = NotImplementedError(f"Exercise {name}: {text}")
    error._render_traceback_ = lambda *_: [f"NotImplementedError: {error}"]
    return error


def describe(case: Case) -> str:
    """Name the case and the shapes of its inputs."""
    shapes = [f"{k} {tuple(v.shape)}" if isinstance(v, Tensor) else f"{k} = {v}" for k, v in _plain(case.args)]
    return f"{case.label}; {', '.join(shapes)}"


def _plain(args: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in args.items():
        if isinstance(value, Tensor | int | float):
            yield name, value
        elif hasattr(value, "T"):
            yield "T", value.T


def student_line(error: BaseException, function: Callable) -> str:
    """Quote the deepest line of the student's own code (not of torch) that led to the error."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"\n  Line {own[-1].lineno} of your cell: {own[-1].line}" if own and own[-1].line else ""


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Start from the defaults and leave no trace: put back random states, gradient mode, default dtype and device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 (students use it)
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    np.random.seed(SEED)  # noqa: NPY002
    random.seed(SEED)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
