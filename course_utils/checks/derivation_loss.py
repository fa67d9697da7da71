"""Exercises 1 and 3 of notebook 02: the divergence of two Gaussians, and the weight of one step in the bound."""

import torch
from torch import Tensor

from course_utils import bound, schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import times
from course_utils.schedules import Schedule

# 1 gaussian_kl -------------------------------------------------------------------------------------------------------


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
            (
                lambda m, v, n, w: _kl(m, v, n, w) + 0.5,
                lambda m, v, n, w: _kl(m, v, n, w) - 0.5,
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

# 3 bound_weight ------------------------------------------------------------------------------------------------------


def _weight(formula, pick=lambda values, t: values[t]):
    """Return f(t, schedule) from a function of (beta_t, alpha_t, alpha_bar_t, alpha_bar_{t-1})."""

    def answer(t: Tensor, s: Schedule) -> Tensor:
        return formula(*(pick(values, t) for values in (s.beta, s.alpha, s.alpha_bar)), pick(s.alpha_bar, t - 1))

    return answer


def _of_x_0(b: Tensor, a: Tensor, bar: Tensor, before: Tensor) -> Tensor:
    return before * b / (2 * (1 - bar) ** 2)


def _everywhere(t: Tensor, s: Schedule) -> Tensor:
    return _weight(_of_x_0)(torch.arange(1, s.T + 1), s)


def _weight_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, name, T, B, t in (
        ("random timesteps", "linear", 20, 8, None),
        ("t = 1", "linear", 20, 3, 1),
        ("t = T", "linear", 50, 3, 50),
        ("a single timestep", "cosine", 50, 1, 7),
        ("a long chain", "quadratic", 100, 16, None),
        ("cosine schedule", "cosine", 30, 6, None),
        ("a chain of a single step", "linear", 1, 2, 1),
        ("sigmoid schedule", "sigmoid", 100, 12, None),
    ):
        ts = times(T, B, generator) if t is None else torch.full((B,), t)
        made.append(Case(label, {"t": ts, "schedule": schedules.make(name, T)}))
    return made


BOUND_WEIGHT = Exercise(
    "bound_weight",
    _weight(_of_x_0),
    _weight_cases,
    (
        Mistake(
            "factor 1/2 missing",
            "Your weight is twice too large: the 2 below the fraction bar of Eq. 8 is missing.",
            "the divergence of two Gaussians with the same variance",
            (_weight(lambda *f: 2 * _of_x_0(*f)),),
        ),
        Mistake(
            "weight of eps",
            "That is the weight of Eq. 12, for the error of eps_hat; asked for is the one for the error of x0_hat.",
            "which coefficient of Eq. 7 is multiplied by x_0",
            (_weight(lambda b, a, bar, before: b / (2 * a * (1 - bar))),),
        ),
        Mistake(
            "coefficient not squared",
            "The coefficient of x_0 in Eq. 7 is not squared: the error of the mean is, as a whole.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before.sqrt() / (2 * (1 - bar))),),
        ),
        Mistake(
            "1 - alpha_bar not squared",
            "1 - alpha_bar_t stands squared below the fraction bar, as all of the coefficient of x_0 in Eq. 7.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before * b / (2 * (1 - bar))),),
        ),
        Mistake(
            "root left standing",
            "You have the root of alpha_bar_{t-1}; squaring the coefficient of x_0 in Eq. 7 takes it away.",
            "Eq. 8 with the difference of the means written out",
            (_weight(lambda b, a, bar, before: before.sqrt() * b / (2 * (1 - bar) ** 2)),),
        ),
        Mistake(
            "beta miscounted",
            "Your power of beta_t is wrong: the squared coefficient brings two of them, sigma_t^2 takes one away.",
            "Eq. 8 with sigma_t^2 = beta_t, before you shorten the fraction",
            (
                _weight(lambda b, a, bar, before: before * b**2 / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before * b**1.5 / (2 * (1 - bar) ** 2)),
            ),
        ),
        Mistake(
            "schedule.sigma for sigma_t",
            "You took schedule.sigma for the sigma_t of Eq. 8. schedule.sigma is the noise level of q(x_t | x_0); the "
            "paper's sigma_t^2 is the variance of one step of p_theta.",
            "what the exercise says about sigma_t^2",
            (_weight(lambda b, a, bar, before: before * b**2 / (2 * (1 - bar) ** 3)),),
        ),
        Mistake(
            "beta_tilde for beta",
            "You used sigma_t^2 = beta_tilde_t (half the drop of the signal-to-noise ratio): infinite at t = 1, and "
            "not what is asked for.",
            "what the exercise says about sigma_t^2",
            (_weight(lambda b, a, bar, before: before * b / (2 * (1 - bar) * (1 - before))),),
        ),
        Mistake(
            "t for t-1",
            "You used alpha_bar_t where alpha_bar_{t-1} belongs.",
            "the subscript of the root in front of x_0 in Eq. 7",
            (_weight(lambda b, a, bar, before: bar * b / (2 * (1 - bar) ** 2)),),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t, one step, where an alpha_bar belongs.",
            "which alphas in the coefficient of x_0 in Eq. 7 bear a bar",
            (
                _weight(lambda b, a, bar, before: a * b / (2 * (1 - bar) ** 2)),
                _weight(lambda b, a, bar, before: before * b / (2 * (1 - a) ** 2)),
            ),
        ),
        Mistake(
            "coefficient of x_t",
            "You squared the coefficient of x_t: that term is the same in both means and drops out.",
            "what the two means in Eq. 8 have in common",
            (_weight(lambda b, a, bar, before: a * (1 - before) ** 2 / (2 * b * (1 - bar) ** 2)),),
        ),
        Mistake(
            "upside down",
            "Your weight is upside down.",
            "t = 1: a tiny beta_1 means a sharp decoder, so should an error of x0_hat cost much or little there?",
            (_weight(lambda *f: 1 / _of_x_0(*f)),),
        ),
        Mistake(
            "all timesteps",
            "You returned a weight for every timestep of the schedule; asked for is one for each entry of t.",
            "the shape of t, and indexing with it",
            (_everywhere, lambda t, s: torch.cat([s.beta[:1], _everywhere(t, s)])),
        ),
        Mistake(
            "one timestep for the whole batch",
            "You used one timestep for the whole batch; every entry of t has a weight of its own.",
            "the shape of your answer",
            tuple(
                _weight(_of_x_0, get)
                for get in (lambda v, t: v[t[0]], lambda v, t: v[t[0]].expand(len(t)), lambda v, t: v[t.item()])
            ),
        ),
        Mistake(
            "off-by-one in t",
            "Your t is off by one. The arrays of a schedule have T + 1 entries and index t is the t of Eq. 7.",
            "what schedule.beta[0] and schedule.beta[1] hold",
            (_weight(_of_x_0, lambda v, t: v[t - 1]), _weight(_of_x_0, lambda v, t: v[t + 1])),
        ),
    ),
    hint="write Eq. 8 with both means from Eq. 7, one with x_0, one with x0_hat; put sigma_t^2 = beta_t, and shorten",
)

EXERCISES = (GAUSSIAN_KL, BOUND_WEIGHT)
