"""Exercise 3 of notebook 07: the Fréchet distance of two Gaussians."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Mistake, Tolerance
from course_utils.checks.scores_shared import Number, normal, psd_root, spread


def _squared(offset: Tensor) -> Tensor:
    return offset @ offset


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The trace of the root of a b: the eigenvalues are those of a^1/2 b a^1/2."""
    root = psd_root(a)
    return torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()


def _apart(spreads, mean=_squared):
    """Return a frechet whose second term is spreads(C_a, C_b)."""
    return lambda mu_a, a, mu_b, b: mean(mu_a - mu_b) + spreads(a, b)


def _unclamped(cross, factor=2):
    """Return a frechet from the trace of the root of the product, and the factor before it."""
    return _apart(lambda a, b: a.trace() + b.trace() - factor * cross(a, b))


def _distance(cross=_cross, mean=_squared):
    """Return such a frechet whose second term is never negative."""
    return _apart(lambda a, b: (a.trace() + b.trace() - 2 * cross(a, b)).clamp(min=0), mean)


def _matrix(a: Tensor, b: Tensor) -> Tensor:
    """What stands within the trace."""
    root = psd_root(a)
    values, vectors = torch.linalg.eigh(root @ b @ root)
    inverse = torch.where(values > 1e-10 * values.max(), values, torch.inf).rsqrt()
    return a + b - 2 * root @ (vectors * inverse) @ vectors.T @ root @ b


def _no_spreads(a: Tensor, b: Tensor) -> Tensor:
    return a.new_zeros(())


def _symmetric(product: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(product)


def _cholesky(join):
    return lambda a, b: join(torch.linalg.cholesky(a), torch.linalg.cholesky(b)).trace()


def _plus_small(small: float):
    def cross(a: Tensor, b: Tensor) -> Tensor:
        more = small * torch.eye(len(a), dtype=a.dtype)
        return _cross(a + more, b + more)

    return cross


def _rotated(generator: torch.Generator, values: list[float], turn: Tensor | None = None) -> tuple[Tensor, Tensor]:
    d = len(values)
    turn = torch.linalg.qr(normal(generator, d, d)).Q if turn is None else turn
    return (turn * torch.tensor(values, dtype=torch.float64)) @ turn.T, turn


def _cases(generator: torch.Generator) -> list[Case]:
    made = []

    def add(label: str, a: Tensor, b: Tensor, apart: float = 1.0) -> None:
        mu_a = normal(generator, len(a))
        mu_b = mu_a + apart * normal(generator, len(a))
        made.append(Case(label, {"mu_a": mu_a, "C_a": a, "mu_b": mu_b, "C_b": b}))

    add("four features", spread(generator, 20, 4), spread(generator, 12, 4))
    add("a single feature", *(torch.tensor([[v]], dtype=torch.float64) for v in (0.49, 2.25)))
    add("two features", spread(generator, 9, 2), spread(generator, 9, 2))
    a, b = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, 2.0, 1.0], [1.5, 0.6, 4.0]))
    add("diagonal covariances", a.diag(), b.diag())
    same = torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64).diag()  # every root is exact: 0 is 0, and not 1e-16
    add("two equal Gaussians", same, same.clone(), apart=0)
    c = spread(generator, 15, 5)
    add("equal covariances, different means", c, c.clone())
    add("equal means, different covariances", spread(generator, 15, 5), spread(generator, 15, 5), apart=0)
    a, turn = _rotated(generator, [0.2, 1.0, 3.0, 0.7])
    b, _ = _rotated(generator, [1.4, 0.3, 2.0, 5.0], turn)
    add("covariances with the same axes", a, b)
    add("fewer pictures than features on one side", spread(generator, 4, 8), spread(generator, 30, 8))
    add("fewer pictures than features on both sides", spread(generator, 4, 9), spread(generator, 3, 9))
    add("far apart", spread(generator, 15, 3), 4 * spread(generator, 15, 3), apart=20)
    add("no spread at all on one side", spread(generator, 12, 4), torch.zeros(4, 4, dtype=torch.float64))
    return made


FRECHET = Number(
    "frechet",
    _distance(),
    _cases,
    (
        Mistake(
            "diagonals only",
            "Only the diagonals of the covariances count with you: you used the variances alone, or multiplied the "
            "matrices entry by entry, with *, before the root. What features have in common is lost.",
            "* where @ is meant, and diag in your code",
            (_distance(lambda a, b: (a.diag() * b.diag()).sqrt().sum()),),
        ),
        Mistake(
            "entries rooted",
            "You took the root of each entry of the product. The root of a matrix is the matrix that, times itself "
            "with @, gives it; its trace is a sum over eigenvalues. (The root of a negative entry is nan.)",
            "torch.sqrt applied to a matrix",
            (
                _unclamped(lambda a, b: (a @ b).sqrt().trace()),
                _unclamped(lambda a, b: (a @ b).abs().sqrt().trace()),
                _unclamped(lambda a, b: (a @ b).clamp(min=0).sqrt().trace()),
                _unclamped(lambda a, b: (a @ b).clamp(min=0).sqrt().sum()),
                _unclamped(lambda a, b: (a @ b).sqrt().sum()),
            ),
        ),
        Mistake(
            "entries multiplied",
            "You multiplied the covariances entry by entry, with *. That is another matrix than their product, which @ "
            "makes, and has other eigenvalues.",
            "* where @ is meant",
            (_unclamped(lambda a, b: _symmetric(a * b).clamp(min=0).sqrt().sum()),),
        ),
        Mistake(
            "roots multiplied",
            "You took the root of each covariance and multiplied the two. That is the root of the product only where "
            "the two have the same axes.",
            "your numbers for diagonal covariances, which are right, and for others",
            (_unclamped(lambda a, b: (psd_root(a) @ psd_root(b)).trace()),),
        ),
        Mistake(
            "factor 2",
            "The factor before the root of the product is not 2, so that two equal Gaussians do not come out as 0.",
            "what you return for two equal Gaussians",
            (_unclamped(_cross, factor=1), _unclamped(_cross, factor=0.5), _unclamped(_cross, factor=4)),
        ),
        Mistake(
            "sign of the root",
            "You added the root of the product. What two Gaussians have in common makes them less different.",
            "what you return for two equal Gaussians",
            (_unclamped(_cross, factor=-2), _unclamped(_cross, factor=-1)),
        ),
        Mistake(
            "root of the product missing",
            "The covariances are added, and what they have in common is not taken away: two equal Gaussians do not "
            "come out as 0.",
            "what you return for two equal Gaussians",
            (_unclamped(_cross, factor=0),),
        ),
        Mistake(
            "mean not squared",
            "The term of the means is not the squared distance: you took the distance itself, its absolute values, or "
            "a sum in which the signs cancel.",
            "what you return for equal covariances, and means that are twice as far apart: four times as much?",
            (
                _distance(mean=lambda offset: offset.norm()),
                _distance(mean=lambda offset: offset.abs().sum()),
                _distance(mean=lambda offset: offset.sum()),
                _distance(mean=lambda offset: offset.sum().square()),
            ),
        ),
        Mistake(
            "mean of the squares",
            "You averaged the squares of the difference of the means. A squared distance is their sum.",
            "mean where a sum is meant; mse_loss averages, too",
            (_distance(mean=lambda offset: offset.square().mean()),),
        ),
        Mistake(
            "no means",
            "The means do not count with you: equal covariances with different means must not come out as 0.",
            "where your function uses mu_a and mu_b",
            (_distance(mean=lambda offset: offset.new_zeros(())),),
        ),
        Mistake(
            "no covariances",
            "The covariances do not count with you: equal means with different covariances must not come out as 0.",
            "where your function uses C_a and C_b",
            (_apart(_no_spreads), _apart(_no_spreads, torch.norm)),
        ),
        Mistake(
            "rooted",
            "You returned the distance. Asked for is its square, as everyone reports it.",
            "the last root in your code",
            (
                lambda *args: _distance()(*args).sqrt(),
                _apart(lambda a, b: _distance()(a[0] * 0, a, a[0] * 0, b).sqrt()),
            ),
        ),
        Mistake(
            "trace before the root",
            "You took the trace first and the root of that number afterwards. The root belongs to the matrix: each of "
            "its eigenvalues is rooted by itself.",
            "the order of trace and root",
            (
                _unclamped(lambda a, b: (a @ b).trace().sqrt()),
                _unclamped(lambda a, b: (a.trace() * b.trace()).sqrt()),
            ),
        ),
        Mistake(
            "product not rooted",
            "The root of the product is missing: its unit is the fourth power of a feature, and cannot be taken from a "
            "variance.",
            "what you return for two equal Gaussians",
            (_unclamped(lambda a, b: (a @ b).trace()), _unclamped(lambda a, b: (a @ b).trace(), factor=1)),
        ),
        Mistake(
            "difference of the covariances",
            "You compared the covariances, or the variances, by plain differences, as if they were means or standard "
            "deviations. The closed form has a root of their product instead.",
            "for one feature: the difference of variances, or that of standard deviations?",
            (
                _apart(lambda a, b: (a - b).square().sum()),
                _apart(lambda a, b: (a - b).norm()),
                _apart(lambda a, b: (a - b).diag().square().sum()),
                _apart(lambda a, b: (a - b).trace()),
                _apart(lambda a, b: (a - b).trace().abs()),
                _apart(lambda a, b: (a - b).abs().sum()),
            ),
        ),
        Mistake(
            "no trace",
            "The trace is missing: you return a matrix, or the sum of all its entries. Only the diagonal is summed.",
            "the shape of each of your terms",
            (_apart(_matrix), _apart(lambda a, b: _matrix(a, b).sum()), _apart(lambda a, b: _matrix(a, b).norm())),
        ),
        Mistake(
            "sum for product",
            "You took the root of the sum of the covariances. It is that of their product.",
            "+ where @ is meant",
            (_unclamped(lambda a, b: torch.linalg.eigvalsh(a + b).clamp(min=0).sqrt().sum()),),
        ),
        Mistake(
            "Cholesky",
            "A Cholesky factor times itself does not give the matrix: it takes its transpose for that. It is no root, "
            "and it does not exist for every covariance.",
            "cholesky in your code",
            (
                _unclamped(_cholesky(lambda a, b: a @ b)),
                _unclamped(_cholesky(lambda a, b: a @ b.T)),
                _unclamped(lambda a, b: torch.linalg.cholesky(a @ b).trace()),
            ),
        ),
        Mistake(
            "product taken for symmetric",
            "The product of two symmetric matrices is not symmetric. eigvalsh (or eigh) reads one of its triangles "
            "only, and its mean with its transpose is another matrix: both have other eigenvalues.",
            "the matrix whose eigenvalues you take: is it its own transpose?",
            (
                _unclamped(lambda a, b: _symmetric(a @ b).clamp(min=0).sqrt().sum()),
                _unclamped(lambda a, b: _symmetric(a @ b).sqrt().sum()),
                _unclamped(lambda a, b: _symmetric(a @ b).abs().sqrt().sum()),
                _unclamped(lambda a, b: _symmetric((a @ b + b @ a) / 2).clamp(min=0).sqrt().sum()),
            ),
        ),
        Mistake(
            "singular values",
            "You rooted the singular values of the product. They are its eigenvalues only where it is symmetric.",
            "svd or the nuclear norm in your code, and of what",
            (
                _unclamped(lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum()),
                _unclamped(lambda a, b: torch.linalg.svdvals(a @ b).sum()),
            ),
        ),
        Mistake(
            "small number added",
            "You added a small number to the diagonals, as some programs do against singular matrices. With fewer "
            "pictures than features its root counts once for each missing direction, and it is not needed.",
            "numbers such as 1e-6 in your code",
            (_unclamped(_plus_small(1e-6)), _unclamped(_plus_small(1e-3))),
        ),
    ),
    hint="two equal Gaussians give 0; a single feature gives the squared distance of the means plus that of the "
    "standard deviations. If nan or a complex number comes out: rounding makes eigenvalues that should be 0 a little "
    "negative",
    tolerance=Tolerance(absolute=1e-5),  # an eigenvalue of 1e-16 instead of 0 has a root of 1e-8
)

EXERCISES = (FRECHET,)
