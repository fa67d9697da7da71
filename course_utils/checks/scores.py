"""Exercise 1 of notebook 07: the covariance of features."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance
from course_utils.checks.scores_shared import features, normal


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(0)


def _products(c: Tensor) -> Tensor:
    return c.T @ c


def _less_one(n: int, d: int) -> int:
    return n - 1


def _scatter(centre=_centred, multiply=_products, divisor=_less_one):
    """Return a covariance that centres, multiplies and divides by divisor(N, D); by 0 it is not finite, as in torch."""

    def answer(x: Tensor) -> Tensor:
        return multiply(centre(x)) / torch.tensor(divisor(*x.shape), dtype=x.dtype)

    return answer


def _after(change):
    """Return a covariance that is right and then changed."""
    return lambda x: change(_scatter()(x))


def _outer_of_means(x: Tensor) -> Tensor:
    return torch.outer(x.mean(0), x.mean(0))


def _standardised(correction: int, small: float):
    def answer(x: Tensor) -> Tensor:
        return _scatter(lambda x: _centred(x) / (x.std(0, correction=correction) + small))(x)

    return answer


def _of_float32(case: Case) -> float:
    """How far float32 may lead away: what is squared is as large as the features, with their mean."""
    return 2e-6 * case.args["features"].square().max().item()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, n, d in (
        ("more pictures than features", 7, 4),
        ("fewer pictures than features", 3, 6),
        ("two pictures only", 2, 5),
        ("as many pictures as features", 5, 5),
        ("many pictures", 40, 3),
        ("two features", 9, 2),
    ):
        made.append(Case(label, {"features": features(generator, n, d)}))
    made.append(Case("a mean of 1000", {"features": 1000 + normal(generator, 20, 3)}))
    constant = features(generator, 6, 4)
    constant[:, 2] = 0.5
    made.append(Case("a feature that is the same in all pictures", {"features": constant}))
    return made


COVARIANCE = Exercise(
    "covariance",
    _scatter(),
    _cases,
    (
        Mistake(
            "divisor N",
            "You divided by N. The mean is that of the same pictures, which costs one of them: the unbiased covariance "
            "divides by a little less.",
            "the divisor; correction in torch.cov, or bias and ddof in np.cov",
            (_scatter(divisor=lambda n, d: n),),
        ),
        Mistake(
            "divisor off by one",
            "Your divisor is off by one or two: one picture goes into the mean, no more than that.",
            "the divisor for N = 2 pictures",
            (_scatter(divisor=lambda n, d: n - 2), _scatter(divisor=lambda n, d: n + 1)),
        ),
        Mistake(
            "divided by the number of features",
            "You divided by the number of features, or by that of all entries. The sum runs over the pictures.",
            "which axis of the features your divisor is the length of",
            (
                _scatter(divisor=lambda n, d: d),
                _scatter(divisor=lambda n, d: d - 1),
                _scatter(divisor=lambda n, d: n * d),
                _scatter(divisor=lambda n, d: n * d - 1),
                _scatter(divisor=lambda n, d: (n - 1) * d),
            ),
        ),
        Mistake(
            "not divided",
            "You summed over the pictures and did not divide: your covariance grows with their number.",
            "what you return for the same features, each of them twice",
            (_scatter(divisor=lambda n, d: 1),),
        ),
        Mistake(
            "root of the divisor",
            "You divided by a square root of the number of pictures. A covariance is a mean of products.",
            "roots in your code",
            (_scatter(divisor=lambda n, d: (n - 1) ** 0.5), _scatter(divisor=lambda n, d: n**0.5)),
        ),
        Mistake(
            "not centred",
            "You did not subtract the mean: these are products of the features themselves, and a mean of 1000 gives a "
            "million.",
            "what you return when 1000 is added to all features: nothing may change",
            (_scatter(lambda x: x), _scatter(lambda x: x, divisor=lambda n, d: n)),
        ),
        Mistake(
            "centred along the wrong axis",
            "You subtracted the mean over the features of each picture (or tried to). Asked for is one mean for each "
            "feature, taken over all pictures.",
            "dim in the mean, and its shape: (D,) is needed",
            (
                _scatter(lambda x: x - x.mean(1, keepdim=True)),
                _scatter(lambda x: x - x.mean(1, keepdim=True), divisor=lambda n, d: n),
                _scatter(lambda x: x - x.mean(1)),
            ),
        ),
        Mistake(
            "one mean for all",
            "You subtracted one number from all features. Each feature has a mean of its own.",
            "the shape of the mean: (D,) is needed",
            (_scatter(lambda x: x - x.mean()), _scatter(lambda x: x - x.mean(), divisor=lambda n, d: n)),
        ),
        Mistake(
            "mixed divisors",
            "You took the product of the means from the mean of the products, but the two are divided by different "
            "numbers, so that the means do not cancel.",
            "the divisor of each of the two terms; or subtract the mean first",
            (
                lambda x: x.T @ x / (len(x) - 1) - _outer_of_means(x),
                lambda x: x.T @ x / len(x) - _outer_of_means(x) * len(x) / (len(x) - 1),
            ),
        ),
        Mistake(
            "the means only",
            "These are the products of the means. They do not know how the features vary.",
            "which of your terms know single pictures",
            (_outer_of_means,),
        ),
        Mistake(
            "pictures with pictures",
            "You multiplied pictures with pictures, (N, N). The covariance tells how features go together, (D, D).",
            "the shape that you return for 7 pictures with 4 features; on which side the transpose has to stand",
            (
                _scatter(multiply=lambda c: c @ c.T),
                _scatter(multiply=lambda c: c @ c.T, divisor=lambda n, d: n),
                _scatter(multiply=lambda c: c @ c.T, divisor=lambda n, d: d - 1),
            ),
        ),
        Mistake(
            "cov without transposing",
            "torch.cov and np.cov take a row for each feature; here each row is a picture.",
            "the shape that you return for 7 pictures with 4 features",
            (lambda x: torch.cov(x), lambda x: torch.cov(x, correction=0), lambda x: torch.corrcoef(x)),
        ),
        Mistake(
            "correlation",
            "You divided by the standard deviations, too: that is the correlation. A covariance keeps the size of the "
            "features (and a feature that never changes makes no nan).",
            "the diagonal of what you return",
            (
                lambda x: torch.corrcoef(x.T),
                _standardised(1, 1e-8),
                _standardised(0, 1e-8),
                _standardised(0, 0),
            ),
        ),
        Mistake(
            "variances only",
            "You have the variances only. The covariance also holds what two different features have in common: it is "
            "a matrix, with the variances on its diagonal.",
            "the shape that you return, and what stands beside the diagonal",
            (
                _after(lambda c: torch.diag(c.diag())),
                _after(lambda c: c.diag()),
                lambda x: x.var(0, correction=0),
                lambda x: torch.diag(x.var(0, correction=0)),
            ),
        ),
        Mistake(
            "elementwise",
            "You squared each entry instead of multiplying features with features: * works entry by entry, @ sums over "
            "the pictures.",
            "* or ** where a matrix product is meant",
            (
                _scatter(multiply=lambda c: c * c),
                _scatter(multiply=lambda c: c * c, divisor=lambda n, d: n),
                _scatter(multiply=lambda c: c * c, divisor=lambda n, d: 1),
            ),
        ),
        Mistake(
            "a single number",
            "You summed over everything and return a single number. Asked for is a (D, D) matrix.",
            "the axis that each of your sums and means runs over",
            (_scatter(multiply=lambda c: (c * c).sum()), lambda x: x.var()),
        ),
        Mistake(
            "standard deviations",
            "You took a square root: a covariance has the square of the features as its unit, and may be negative "
            "beside the diagonal, where a root gives nan.",
            "roots and std in your code",
            (_after(torch.sqrt), lambda x: x.std(0), lambda x: torch.diag(x.std(0)), _after(lambda c: c.abs().sqrt())),
        ),
        Mistake(
            "no signs",
            "All your entries are positive. One feature may fall where another rises: that is a negative covariance.",
            "absolute values in your code",
            (_after(torch.abs), _scatter(lambda x: _centred(x).abs())),
        ),
        Mistake(
            "float32",
            "You computed in float32: with a mean of 1000, half of its seven digits are gone before the mean is "
            "subtracted. The features come in float64, and the covariance has to be computed in it.",
            "float() and torch.float32 in your code",
            (lambda x: torch.cov(x.float().T).double(),),
            slack=_of_float32,
        ),
    ),
    hint="the diagonal has to hold the variances, features.var(0); adding a number to all features changes nothing",
    tolerance=Tolerance(relative=1e-6),  # float64 throughout: float32 loses more where the mean is large
)

EXERCISES = (COVARIANCE,)
