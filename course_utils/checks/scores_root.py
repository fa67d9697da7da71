"""Exercise 4 of notebook 07: the trace of a matrix root, and what is dropped when only its real part is kept."""

import numpy as np
import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Outcome, Tolerance
from course_utils.checks.scores_shared import normal, spread


class Pair(Exercise):
    """An exercise that asks for one tensor of two numbers in float64."""

    def fault(self, got: Outcome, expected: Tensor) -> str | None:
        """Say what is wrong with one outcome, and how two numbers become one tensor."""
        value, text = got.value, super().fault(got, expected)
        if isinstance(value, tuple | list):
            return (
                f"got a {type(value).__name__} of {len(value)}: one tensor is asked for, see torch.stack for tensors "
                f"and torch.tensor(..., dtype=torch.float64) for Python's numbers. Its shape is {tuple(expected.shape)}"
            )
        if isinstance(value, Tensor) and value.dtype == torch.float32 and value.shape == expected.shape:
            return f"{text}. torch.tensor makes float32 of Python's floats; dtype=torch.float64 prevents that"
        return text


def _roots(product: Tensor) -> Tensor:
    return torch.linalg.eigvals(product).sqrt()


def _real_sum(roots: Tensor) -> Tensor:
    return roots.real.sum()


def _largest_share(roots: Tensor) -> Tensor:
    return roots.imag.abs().max() / roots.abs().max()


def _hidden(least: float):
    """Return a residue that is 0 below `least`."""
    return lambda roots: torch.where(_largest_share(roots) > least, _largest_share(roots), 0.0)


def _nothing(roots: Tensor) -> Tensor:
    return roots.real.new_zeros(())


def _told(trace=_real_sum, residue=_largest_share, roots=_roots):
    """Return a root_trace from the two numbers, each made of what roots(product) returns."""

    def answer(product: Tensor) -> Tensor:
        found = roots(product)
        return torch.stack([trace(found), residue(found)])

    return answer


def _trace(trace, residue=_largest_share):
    """Return a root_trace whose first number is made of the product itself, and whose second is that of the roots."""
    return lambda product: torch.stack([trace(product), residue(_roots(product))])


def _both(trace):
    """Return the two kinds: with the residue of the roots, and with 0."""
    return _trace(trace), _trace(trace, _nothing)


def _complex(values: Tensor) -> Tensor:
    return values.to(torch.complex128)


def _values(product: Tensor) -> Tensor:
    return torch.linalg.eigvals(product)


def _by_numpy(product: Tensor) -> Tensor:
    with np.errstate(invalid="ignore"):
        return _complex(torch.from_numpy(np.sqrt(np.linalg.eigvals(product.numpy()))))


def _rotation(angle: float) -> Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


def _indefinite(generator: torch.Generator, values: list[float]) -> Tensor:
    """Return a symmetric matrix with these eigenvalues, times a covariance: the product has as many negative ones."""
    d = len(values)
    turn = torch.linalg.qr(normal(generator, d, d)).Q
    return (turn * torch.tensor(values, dtype=torch.float64)) @ turn.T @ spread(generator, 4 * d, d)


def _cases(generator: torch.Generator) -> list[Case]:
    def of_two(n: int, m: int, d: int) -> Tensor:
        return spread(generator, n, d) @ spread(generator, m, d)

    block = torch.block_diag(2 * _rotation(2.2), of_two(12, 12, 3))
    made = [
        Case("two covariances of full rank", {"product": of_two(20, 12, 4)}),
        Case("more features", {"product": of_two(40, 60, 12)}),
        Case("a single number", {"product": torch.tensor([[2.25]], dtype=torch.float64)}),
        Case("fewer pictures than features on one side", {"product": of_two(4, 30, 7)}),
        Case("fewer pictures than features on both sides", {"product": of_two(4, 3, 8)}),
        Case("large numbers", {"product": 900 * of_two(9, 9, 3)}),
        Case("one negative eigenvalue", {"product": _indefinite(generator, [2.0, 1.0, -0.5, 3.0])}),
        Case("a negative eigenvalue that is the largest", {"product": _indefinite(generator, [0.4, -3.0, 0.7])}),
        Case("two negative eigenvalues", {"product": _indefinite(generator, [5.0, -1.5, 2.0, -0.3, 4.0])}),
        Case("a rotation, whose eigenvalues are complex", {"product": 3 * _rotation(1.8)}),
        Case("a rotation beside two covariances", {"product": block}),
        Case("no product of covariances at all", {"product": normal(generator, 5, 5)}),
        Case("a single negative number", {"product": torch.tensor([[-4.0]], dtype=torch.float64)}),
        Case("a rotation by little", {"product": 2 * _rotation(0.008)}),
        Case("a slightly negative eigenvalue", {"product": _indefinite(generator, [2.0, 1.0, -0.03, 3.0])}),
    ]
    return made


ROOT_TRACE = Pair(
    "root_trace",
    _told(),
    _cases,
    (
        Mistake(
            "residue dropped",
            "You dropped the imaginary parts without telling: your second number is always 0. Whoever reads the first "
            "one has to know how much was dropped.",
            "what your second number is made of",
            (_told(residue=_nothing),),
        ),
        Mistake(
            "one number missing",
            "You return one number, the trace. The other one, the residue, is missing: whoever reads the first has to "
            "know how much was dropped.",
            "the shape that you return: it has to be (2,)",
            (lambda product: _real_sum(_roots(product)), lambda product: _real_sum(_roots(product))[None]),
        ),
        Mistake(
            "small residue hidden",
            "You hid a small residue: below some bound you return 0. How much is too much is for those to say who read "
            "it.",
            "comparisons and rounding in your second number",
            tuple(_told(residue=_hidden(least)) for least in (0.05, 0.1, 0.3)),
        ),
        Mistake(
            "real part before the root",
            "You made the eigenvalues real, or not negative, before the root: a negative one then leaves no trace. "
            "Take the root first, of complex numbers, and look at its imaginary part afterwards.",
            "the order of real or clamp and sqrt",
            (
                *_both(lambda product: _values(product).real.clamp(min=0).sqrt().sum()),
                _told(roots=lambda product: _complex(_values(product).real).sqrt()),
            ),
        ),
        Mistake(
            "real root of a negative number",
            "You took the root of a negative number as a real one, which is nan. Its root is imaginary: the "
            "eigenvalues have to be complex when they are rooted. (NumPy returns real ones where all are real.)",
            "the dtype of the eigenvalues when you root them",
            (*_both(lambda product: _values(product).real.sqrt().sum()), _told(roots=_by_numpy)),
        ),
        Mistake(
            "modulus for real part",
            "You summed the moduli: an imaginary root then counts as if it were real. Asked for is the sum of the real "
            "parts.",
            "abs in your code",
            (
                *_both(lambda product: _roots(product).abs().sum()),
                *_both(lambda product: _roots(product).sum().abs()),
            ),
        ),
        Mistake(
            "eigenvalues not rooted",
            "You did not root the eigenvalues: their sum is the trace of the product itself.",
            "what you return for the (1, 1) matrix 2.25",
            (_told(roots=_values), *_both(lambda product: product.trace())),
        ),
        Mistake(
            "residue of the eigenvalues",
            "You looked for imaginary parts in the eigenvalues instead of their roots. A negative eigenvalue has none, "
            "but its root is nothing else.",
            "your second number for a matrix with a negative eigenvalue",
            (lambda product: torch.stack([_real_sum(_roots(product)), _largest_share(_values(product))]),),
        ),
        Mistake(
            "taken for symmetric",
            "The product is not symmetric. eigvalsh (or eigh) reads one of its triangles only, and its mean with its "
            "transpose is another matrix: both have other eigenvalues.",
            "the function that your eigenvalues come from, and the matrix that it gets",
            (
                _told(roots=lambda product: _complex(torch.linalg.eigvalsh(product)).sqrt()),
                *_both(lambda product: torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()),
                _told(roots=lambda product: _complex(torch.linalg.eigvalsh((product + product.T) / 2)).sqrt()),
            ),
        ),
        Mistake(
            "singular values",
            "You rooted the singular values, which are never negative. Asked for are the eigenvalues.",
            "svd or a norm in your code",
            _both(lambda product: torch.linalg.svdvals(product).sqrt().sum()),
        ),
        Mistake(
            "root of the trace",
            "You took the trace first and the root of that number afterwards. Each eigenvalue is rooted by itself, "
            "then they are summed.",
            "the order of the sum and the root",
            (
                *_both(lambda product: product.trace().sqrt()),
                _trace(lambda product: _complex(product.trace()).sqrt().real),
            ),
        ),
        Mistake(
            "entries rooted",
            "You took the root of each entry, of which the trace sees the diagonal. The root of a matrix is the matrix "
            "that, times itself with @, gives it.",
            "torch.sqrt applied to a matrix, and diag in your code",
            (
                *_both(lambda product: product.sqrt().trace()),
                _told(roots=lambda product: _complex(product.diag()).sqrt()),
            ),
        ),
        Mistake(
            "residue not relative",
            "Your second number is an imaginary part as it is. 0.1 is little beside 1000 and much beside 1: divide it "
            "by the size of the largest root.",
            "your second number for the product and for 100 times the product: it has to be the same",
            (_told(residue=lambda roots: roots.imag.abs().max()),),
        ),
        Mistake(
            "residue root by root",
            "You divided each imaginary part by the modulus of its own root. Where an eigenvalue should be 0 and "
            "rounding made it slightly negative, that is 1, and tells nothing: asked for is the largest imaginary part "
            "divided by the largest modulus.",
            "the order of max and the division in your second number",
            (_told(residue=lambda roots: (roots.imag.abs() / roots.abs()).max()),),
        ),
        Mistake(
            "residue relative to something else",
            "You divided the largest imaginary part by something else than the largest modulus of the roots.",
            "your second number for the (1, 1) matrix -4: it has to be 1",
            (
                _told(residue=lambda roots: roots.imag.abs().max() / roots.real.sum()),
                _told(residue=lambda roots: roots.imag.abs().max() / roots.abs().sum()),
                _told(residue=lambda roots: roots.imag.abs().max() / roots.real.abs().max()),
                _told(residue=lambda roots: roots.imag.abs().max() / roots.sum().abs()),
                _told(residue=lambda roots: roots.imag.abs().max() / len(roots)),
                _told(residue=lambda roots: roots.imag.abs().max() / roots.abs().mean()),
                _told(residue=lambda roots: roots.imag.abs().max() / roots.abs().norm()),
                lambda product: torch.stack(
                    [_real_sum(_roots(product)), _roots(product).imag.abs().max() / _values(product).abs().max()]
                ),
            ),
        ),
        Mistake(
            "residue summed or averaged",
            "Your second number is a sum or a mean of imaginary parts. Complex eigenvalues come in pairs whose parts "
            "cancel, and a mean hides one bad root among many good ones: take the largest, without its sign.",
            "sum and mean in your second number",
            (
                _told(residue=lambda roots: roots.imag.sum() / roots.abs().max()),
                _told(residue=lambda roots: roots.imag.sum().abs() / roots.sum().abs()),
                _told(residue=lambda roots: roots.imag.mean() / roots.abs().max()),
                _told(residue=lambda roots: roots.imag.abs().sum() / roots.abs().max()),
                _told(residue=lambda roots: roots.imag.abs().mean() / roots.abs().max()),
                _told(residue=lambda roots: roots.imag.abs().sum() / roots.abs().sum()),
            ),
        ),
        Mistake(
            "smallest imaginary part",
            "You took the smallest imaginary part instead of the largest without its sign.",
            "min and the signs in your second number",
            (
                _told(residue=lambda roots: roots.imag.min() / roots.abs().max()),
                _told(residue=lambda roots: roots.imag.abs().min() / roots.abs().max()),
            ),
        ),
        Mistake(
            "mean for the trace",
            "You averaged the roots. A trace is a sum.",
            "mean in your first number",
            _both(lambda product: _roots(product).real.mean()),
        ),
        Mistake(
            "exchanged",
            "The two numbers have changed places: first the trace, then the residue.",
            "the order in torch.stack",
            (_told(_largest_share, _real_sum),),
        ),
    ),
    hint="the (1, 1) matrix 2.25 has to give (1.5, 0), and -4 has to give (0, 1); then look at the roots one by one. "
    "nan comes from a negative number that is rooted as a real one",
    tolerance=Tolerance(absolute=1e-5),  # an eigenvalue of -1e-16 instead of 0 has an imaginary root of 1e-8
)

EXERCISES = (ROOT_TRACE,)
