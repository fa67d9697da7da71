"""What exercise 3 of notebook 10 asks for beyond the right numbers: right gradients, and weights that all share."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from course_utils.checks.engine import Case, CheckFailed, Exercise, Outcome, Tolerance, close, outcome

_SLOPES = Tolerance(1e-3, 1e-5)
_CALLS = 2  # one for the maps, and perhaps one, 1 by 1, for the sum of squares


class _Convolutions(TorchDispatchMode):
    """Counts convolutions, and notes whether one of them has groups."""

    def __init__(self):
        super().__init__()
        self.calls, self.grouped = 0, False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.calls, self.grouped = self.calls + 1, self.grouped or args[8] > 1
        return function(*args, **kwargs or {})


class SharedConvolution(Exercise):
    """An exercise whose right numbers have to come with the right gradients, and from weights that pictures share."""

    def beyond(self, got: list[Outcome], expected: list[Tensor], cases: list[Case]) -> Exception | None:
        if told := super().beyond(got, expected, cases):
            return told
        for mine, case in zip(got, cases, strict=True):
            if bool((case.args["s"] == 0).all(1).any()):
                continue  # there the slope depends on how the small number is put in
            theirs = outcome(self.solution, case)
            for name, x in case.args.items():
                if x.requires_grad and not bool(close(_slope(mine, name), _slope(theirs, name), _SLOPES).all()):
                    return CheckFailed(
                        f"{self.name}: your numbers are right, but the gradient in {name} is wrong: part of the way to "
                        "it is cut, and training would follow another slope.\n"
                        "  Look at: detach(), .data and no_grad() around the sum of squares"
                    )
        return None

    def judge(self, function: Any) -> Exception | None:
        return super().judge(function) or self._told_apart(function)

    def _told_apart(self, function: Any) -> Exception | None:
        case = max(self.inputs(), key=lambda case: len(case.args["s"]))
        with _Convolutions() as seen:
            outcome(function, case)
        if seen.calls <= _CALLS and not seen.grouped:
            return None
        how = "groups, one for each picture" if seen.grouped else f"{seen.calls} convolutions"
        return CheckFailed(
            f"{self.name}: your numbers are right, but they come from {how}, each with weights of its own. Asked "
            "for is one convolution for the whole batch, with the weights as they are.\n"
            "  Look at: where else than in the weights s may stand"
        )


def _slope(done: Outcome, name: str) -> Tensor:
    random = torch.Generator().manual_seed(0)
    y = torch.randn(done.value.shape, generator=random)
    x = done.args[name]
    (found,) = torch.autograd.grad((done.value * y).sum(), x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if found is None else found
