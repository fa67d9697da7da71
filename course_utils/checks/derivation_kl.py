"""Exercise 1 of notebook 02: the divergence of two Gaussians."""

import torch
from torch import Tensor

from course_utils import bound
from course_utils.checks.engine import Case, Exercise, Mistake


def _kl(m_1: Tensor, v_1: Tensor, m_2: Tensor, v_2: Tensor) -> Tensor:
    return ((v_1 + (m_1 - m_2) ** 2) / v_2 - 1 - (v_1 / v_2).log()) / 2


def _kl_cases(generator: torch.Generator) -> list[Case]:
    names = ("mean_1", "variance_1", "mean_2", "variance_2")

    def two(shape: tuple[int, ...], low: float, high: float, apart: float = 1.0) -> dict[str, Tensor]:
        means = [apart * torch.randn(shape, generator=generator) for _ in range(2)]
        variances = [torch.rand(shape, generator=generator) * (high - low) + low for _ in range(2)]
        return dict(zip(names, (means[0], variances[0], means[1], 1.3 * variances[1] + 0.1), strict=True))

    one = [torch.tensor([value]) for value in (0.5, 0.25, -1.0, 4.0)]
    steps = two((6,), 0.002, 0.02, 0.1)
    return [
        Case("two bells on a line", dict(zip(names, one, strict=True))),
        Case("many bells", two((9,), 0.2, 3.0)),
        Case("points", two((5, 2), 0.2, 3.0)),
        Case("a single point", two((1, 2), 0.5, 2.0)),
        Case("images", two((3, 3, 4, 5), 0.2, 3.0)),
        Case("small variances, as in one step of the chain", {**steps, "variance_2": 2 * steps["variance_1"]}),
        Case("means far apart", two((4, 2), 0.5, 1.0, 5.0)),
        Case("equal means", {**(same := two((7,), 0.2, 3.0)), "mean_2": same["mean_1"].clone()}),
    ]


GAUSSIAN_KL = Exercise(
    "gaussian_kl",
    bound.gaussian_kl,
    _kl_cases,
    (
        Mistake(
            "swapped",
            "The two Gaussians are swapped: you computed KL(2 || 1), and the divergence is not symmetric.",
            "under which of the two the expectation is taken, and whose variance the squared distance is divided by",
            (lambda m, v, n, w: _kl(n, w, m, v),),
        ),
        Mistake(
            "factor 1/2 missing",
            "Your answer is twice too large: the factor 1/2 is missing.",
            "the log density of a normal distribution, in front of the square and in front of log(2 pi variance)",
            (lambda m, v, n, w: 2 * _kl(m, v, n, w),),
        ),
        Mistake(
            "log of deviations",
            "The logarithm is not halved: log(v2 / v1) belongs to deviations, and you were given variances.",
            "how log sigma and log sigma^2 differ, in front of the logarithm",
            (lambda m, v, n, w: (w / v).log() + (v + (m - n) ** 2) / (2 * w) - 0.5,),
        ),
        Mistake(
            "deviations for variances",
            "You took the arguments for deviations (or logarithms) and converted them: they are variances already.",
            "the names of the arguments",
            (
                lambda m, v, n, w: _kl(m, v**2, n, w**2),
                lambda m, v, n, w: _kl(m, v.sqrt(), n, w.sqrt()),
                lambda m, v, n, w: _kl(m, v.exp(), n, w.exp()),
            ),
        ),
        Mistake(
            "1 not subtracted",
            "The - 1 is missing: two equal Gaussians must have divergence 0, and yours does not vanish.",
            "your answer for mean_1 = mean_2 and variance_1 = variance_2",
            (lambda m, v, n, w: _kl(m, v, n, w) + 0.5,),
        ),
        Mistake(
            "1 outside the bracket",
            "Your - 1 stands outside the bracket that the 1/2 multiplies: two equal Gaussians must have divergence 0, "
            "and yours does not vanish.",
            "where the bracket behind the 1/2 closes",
            (lambda m, v, n, w: _kl(m, v, n, w) - 0.5,),
        ),
        Mistake(
            "1/2 for one term only",
            "The factor 1/2 reaches one term only: a bracket is missing.",
            "your answer for two equal Gaussians, term by term",
            (
                lambda m, v, n, w: (w / v).log() / 2 + (v + (m - n) ** 2) / w - 1,
                lambda m, v, n, w: (w / v).log() + (v + (m - n) ** 2) / w - 0.5,
            ),
        ),
        Mistake(
            "brackets of the fraction",
            "Only one of the two terms above the fraction bar is divided: in Python a / binds tighter than a +.",
            "the brackets around what the second variance divides",
            (
                lambda m, v, n, w: ((w / v).log() + v / w + (m - n) ** 2 - 1) / 2,
                lambda m, v, n, w: ((w / v).log() + v + (m - n) ** 2 / w - 1) / 2,
            ),
        ),
        Mistake(
            "sign of the logarithm",
            "The sign of the logarithm is wrong: a first Gaussian that is too narrow must cost something, too.",
            "which of the two densities stands in the numerator of the log ratio",
            (lambda m, v, n, w: _kl(m, v, n, w) + (v / w).log(),),
        ),
        Mistake(
            "no logarithm",
            "The logarithm of the variances is missing: the normalising constants of the densities do not cancel.",
            "what stands in front of the exponential in the density of a normal distribution",
            (lambda m, v, n, w: _kl(m, v, n, w) + (v / w).log() / 2,),
        ),
        Mistake(
            "only the means",
            "You kept the squared distance of the means only. That is the part that trains a network whose variance is "
            "fixed (Ho et al. 2020, Eq. 8), but not the divergence.",
            "two Gaussians with equal means and different variances",
            (lambda m, v, n, w: (m - n) ** 2 / (2 * w),),
        ),
        Mistake(
            "no means",
            "The distance of the means is missing.",
            "two Gaussians with equal variances and different means",
            (lambda m, v, n, w: _kl(m, v, m, w),),
        ),
        Mistake(
            "wrong variance below",
            "The squared distance of the means is divided by the first variance.",
            "in whose log density the square (x - mean)^2 / variance stands after the expectation over the first",
            (lambda m, v, n, w: _kl(m, v, m, w) + (m - n) ** 2 / (2 * v),),
        ),
        Mistake(
            "distance not squared",
            "The distance of the means is not squared.",
            "the expectation of (x - mean_2)^2 under the first Gaussian",
            (
                lambda m, v, n, w: _kl(m, v, m, w) + (m - n) / (2 * w),
                lambda m, v, n, w: _kl(m, v, m, w) + (m - n).abs() / (2 * w),
            ),
        ),
        Mistake(
            "bits",
            "You returned bits: the exercise asks for nats, the natural logarithm all through.",
            "the base of your logarithm",
            (
                lambda m, v, n, w: _kl(m, v, n, w) / torch.log(torch.tensor(2.0)),
                lambda m, v, n, w: _kl(m, v, n, w) + (v / w).log() / 2 - (v / w).log2() / 2,
            ),
        ),
        Mistake(
            "added up",
            "You added up (or averaged), which gives the wrong shape: asked for is one divergence per element.",
            "the shape that the docstring promises",
            (
                lambda m, v, n, w: _kl(m, v, n, w).sum(),
                lambda m, v, n, w: _kl(m, v, n, w).mean(),
                lambda m, v, n, w: _kl(m, v, n, w).sum(-1),
            ),
        ),
    ),
    hint="for equal variances only (mean_1 - mean_2)^2 / (2 variance) may be left; for equal Gaussians, 0",
)

EXERCISES = (GAUSSIAN_KL,)
