"""Exercise 5 of notebook 01: the exact denoiser of a finite point set."""

import torch
from torch import Tensor

from course_utils import diffusion, schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import times
from course_utils.ideal import IdealDenoiser
from course_utils.schedules import Schedule


def _ideal(x_t: Tensor, t: Tensor, points: Tensor, s: Schedule) -> Tensor:
    return IdealDenoiser(points, s)(x_t, t)


def _weighted(
    level=lambda s: (s.alpha_bar, s.sigma),  # the squared coefficient of x_0, and that of eps
    centres=lambda p, root: root * p,  # where the points stand at level t, as the weights see it
    logits=lambda d2, sigma: -d2 / (2 * sigma**2),
    weigh=lambda logits: logits.softmax(1),
    finish=lambda x, mean, root, sigma: (x - root * mean) / sigma,
):
    """Return f(x_t, t, points, schedule) from its stages, each of which can go wrong."""

    def answer(x_t: Tensor, t: Tensor, points: Tensor, s: Schedule) -> Tensor:
        of_x_0, of_eps = level(s)
        root, sigma = of_x_0[t].sqrt().view(-1, 1, 1), of_eps[t].view(-1, 1)
        d2 = ((x_t[:, None] - centres(points[None], root)) ** 2).sum(-1)
        return finish(x_t, weigh(logits(d2, sigma)) @ points, root.view(-1, 1), sigma)

    return answer


def _nearest(logits: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)


def _naive_softmax(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def _ideal_cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(50)
    made = []
    for label, B, N, schedule, t in (
        ("a handful of points", 6, 8, linear, None),
        ("t = 1, hardly any noise", 5, 8, linear, 1),
        ("t = T, hardly any data", 5, 8, linear, 20),
        ("a single x_t", 1, 7, linear, 6),
        ("a single data point", 4, 1, linear, None),
        ("as many x_t as points", 6, 6, cosine, None),
        ("mid-chain", 12, 5, cosine, 30),
        ("two points, little noise", 7, 2, linear, 3),
    ):
        points = torch.randn((N, 2), generator=generator)
        ts = times(schedule.T, B, generator) if t is None else torch.full((B,), t)
        x_0 = points[torch.randint(N, (B,), generator=generator)]
        x_t = diffusion.q_sample(x_0, ts, torch.randn((B, 2), generator=generator), schedule)
        made.append(Case(label, {"x_t": x_t, "t": ts, "points": points, "schedule": schedule}))
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    far = torch.tensor([[6.0, 1.0], [-5.0, 4.0]])
    args = {"x_t": far, "t": torch.tensor([1, 2]), "points": points, "schedule": linear}
    return [*made, Case("x_t far from every point", args)]


IDEAL_EPS = Exercise(
    "ideal_eps",
    _ideal,
    _ideal_cases,
    (
        Mistake(
            "softmax over the batch",
            "Your softmax runs over the batch; the weights of the points must sum to 1 for each x_t.",
            "the shape of your weights, and which axis counts the points",
            (_weighted(weigh=lambda logits: logits.softmax(0)),),
        ),
        Mistake(
            "points not scaled",
            "The points must be scaled by sqrt(alpha_bar_t) before they are compared with x_t (Ho et al. 2020, Eq. 4).",
            "the mean of q(x_t | x_0), wherever a data point meets x_t in your code",
            (
                _weighted(centres=lambda p, root: p.expand(len(root), -1, -1)),
                _weighted(finish=lambda x, mean, root, sigma: (x - mean) / sigma),
                _weighted(
                    centres=lambda p, root: p.expand(len(root), -1, -1),
                    finish=lambda x, mean, root, sigma: (x - mean) / sigma,
                ),
            ),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t, one step of the chain, where alpha_bar_t is needed (Ho et al. 2020, Eq. 4).",
            "the bar: x_t lies t steps from the points, not one",
            (_weighted(level=lambda s: (s.alpha, s.beta.sqrt())), _weighted(level=lambda s: (s.alpha, s.sigma))),
        ),
        Mistake(
            "factor 1/2 missing",
            "The factor 1/2 in the exponent of the Gaussian is missing.",
            "the density of a normal distribution, in front of the squared distance",
            (_weighted(logits=lambda d2, sigma: -d2 / sigma**2),),
        ),
        Mistake(
            "sigma for sigma^2",
            "You divided by the deviation sigma_t where the exponent has the variance sigma_t^2.",
            "the density of a normal distribution, below the squared distance",
            (
                _weighted(logits=lambda d2, sigma: -d2 / (2 * sigma)),
                _weighted(logits=lambda d2, sigma: -d2 / sigma),
            ),
        ),
        Mistake(
            "order of operations",
            "You multiplied by 1 - alpha_bar_t in the exponent: d / 2 * v is (d / 2) * v in Python, not d / (2 * v).",
            "the brackets below the fraction bar of the exponent",
            (_weighted(logits=lambda d2, sigma: -d2 / 2 * sigma**2),),
        ),
        Mistake(
            "mean of the squares",
            "You averaged the squares over the coordinates; the squared distance is their sum.",
            "Pythagoras, and what you do with the last axis",
            (_weighted(logits=lambda d2, sigma: -d2 / 2 / (2 * sigma**2)),),
        ),
        Mistake(
            "distance not squared",
            "The exponent has the squared distance; you used the distance.",
            "the density of a normal distribution, above the variance",
            (_weighted(logits=lambda d2, sigma: -d2.sqrt() / (2 * sigma**2)),),
        ),
        Mistake(
            "sign in the exponent",
            "The sign in the exponent is wrong: your weights favour the farthest point.",
            "the weights of a point on top of x_t and of one far away",
            (_weighted(logits=lambda d2, sigma: d2 / (2 * sigma**2)),),
        ),
        Mistake(
            "not normalised",
            "Your weights are not normalised: the exponentials must be divided by their sum for each x_t.",
            "the sum of your weights over the points",
            (_weighted(weigh=torch.exp),),
        ),
        Mistake(
            "nearest point",
            "You took the nearest point; E[eps | x_t] is an average over all points, by their posterior weights.",
            "the difference between the most probable x_0 and the expected x_0",
            (_weighted(weigh=_nearest),),
        ),
        Mistake(
            "plain average",
            "You weighted all points alike; near points are more probable than far ones.",
            "Bayes' rule: what does x_t tell about where it came from?",
            (_weighted(logits=lambda d2, sigma: 0 * d2),),
        ),
        Mistake(
            "x0_hat returned",
            "You returned the expected x_0; the exercise asks for the expected eps.",
            "Eq. 4, solved for eps with x_0 replaced by its expectation",
            (_weighted(finish=lambda x, mean, root, sigma: mean),),
        ),
        Mistake(
            "sign",
            "The sign of your answer is flipped: x_t is the data part plus sigma_t eps.",
            "Eq. 4, solved for eps: which of the two is taken off the other?",
            (_weighted(finish=lambda x, mean, root, sigma: (root * mean - x) / sigma),),
        ),
        Mistake(
            "not divided by sigma",
            "The last division is wrong: what is left of x_t after its data part is sigma_t eps.",
            "Eq. 4, solved for eps",
            (
                _weighted(finish=lambda x, mean, root, sigma: x - root * mean),
                _weighted(finish=lambda x, mean, root, sigma: (x - root * mean) / sigma**2),
            ),
        ),
        Mistake(
            "underflow",
            "All your weights underflow to 0 when x_t is far from every point, and 0/0 gives NaN.",
            "what torch.softmax subtracts before it takes the exponential",
            (_weighted(weigh=_naive_softmax),),
        ),
    ),
    hint="with a single data point there is nothing to average: eps must be exactly what q_sample put in",
)

EXERCISES = (IDEAL_EPS,)
