"""Exercise 3 of notebook 03: the training loss of images, one number per image."""

import torch
from torch import Tensor

from course_utils import diffusion, schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.toy_forward import pick
from course_utils.schedules import Schedule


class Probe:
    """Stands in for a network: an answer that depends on every pixel, on every image's own t and on a weight."""

    def __init__(self):
        self.weight = torch.tensor(0.6, requires_grad=True)

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if not isinstance(t, Tensor) or t.shape != (len(x_t),) or t.is_floating_point():
            what = f"{t.dtype} of shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(f"the model takes t as ({len(x_t)},) whole numbers, one per image; it got {what}")
        return self.weight * x_t - 0.8 * torch.cos(0.7 * t.to(x_t.dtype)).view(-1, *[1] * (x_t.ndim - 1))


def _draw_t(u: Tensor, s: Schedule) -> Tensor:
    return 1 + (u * s.T).long()


def _mean_square(error: Tensor) -> Tensor:
    return error.square().flatten(1).mean(1)


def _mixed(of_x=lambda b, a: a.sqrt(), of_eps=lambda b, a: (1 - a).sqrt(), get=pick, noise=lambda eps: eps):
    """Return f(x_0, t, eps, schedule), which noises x_0, from its two coefficients in (beta_t, alpha_bar_t)."""

    def noised(x_0: Tensor, t: Tensor, eps: Tensor, s: Schedule) -> Tensor:
        b, a = get(s.beta, t, x_0), get(s.alpha_bar, t, x_0)
        return of_x(b, a) * x_0 + of_eps(b, a) * noise(eps)

    return noised


def _loss(
    times=_draw_t,
    noised=diffusion.q_sample,
    target=lambda x_0, x_t, eps, t, s: eps,
    reduce=_mean_square,
    told=lambda t: t,
):
    """Return f(x_0, u, eps, model, schedule) from its parts."""

    def answer(x_0: Tensor, u: Tensor, eps: Tensor, model, s: Schedule) -> Tensor:
        t = times(u, s)
        x_t = noised(x_0, t, eps, s)
        return reduce(model(x_t, told(t)) - target(x_0, x_t, eps, t, s))

    return answer


def _velocity(x_0: Tensor, x_t: Tensor, eps: Tensor, t: Tensor, s: Schedule) -> Tensor:
    return pick(s.alpha_bar, t, x_0).sqrt() * eps - pick(s.sigma, t, x_0) * x_0


def _loss_cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(50)
    made = []
    for label, shape, schedule, u in (
        ("images", (4, 3, 5, 7), linear, None),
        ("a single image, u = 0", (1, 3, 6, 4), linear, 0.0),
        ("images, u just below 1", (3, 3, 4, 4), linear, 0.999),
        ("as many images as columns", (6, 3, 4, 6), cosine, None),
        ("square grey images", (4, 1, 4, 4), cosine, None),
        ("a long chain", (8, 3, 4, 4), schedules.linear(1000), None),
        ("a chain of a single step", (2, 3, 4, 4), schedules.linear(1), None),
        ("images, u at the edge between two timesteps", (2, 3, 6, 4), linear, 0.25),
    ):
        us = torch.rand(shape[0], generator=generator) if u is None else torch.full((shape[0],), u)
        x_0, eps = (torch.randn(shape, generator=generator) for _ in range(2))
        made.append(Case(label, {"x_0": x_0, "u": us, "eps": eps, "model": Probe(), "schedule": schedule}))
    return made


DIFFUSION_LOSS = Exercise(
    "diffusion_loss",
    _loss(),
    _loss_cases,
    (
        Mistake(
            "one timestep for the whole batch",
            "You used one timestep for the whole batch; every image has a t of its own, and its own entry of u.",
            "how many different values of t your function uses for a batch of four",
            (
                _loss(lambda u, s: _draw_t(u[:1], s).expand(len(u))),
                _loss(lambda u, s: _draw_t(u[:1], s)),
                _loss(lambda u, s: _draw_t(u[-1:], s).expand(len(u))),
                _loss(lambda u, s: _draw_t(u.mean()[None], s).expand(len(u))),
            ),
        ),
        Mistake(
            "t from 0",
            "Your t can be 0, where there is no noise to predict: t runs from 1 to T.",
            "the t that you give to u = 0",
            (
                _loss(lambda u, s: (u * s.T).long()),
                _loss(lambda u, s: (u * s.T).ceil().long()),
                _loss(lambda u, s: (u * s.T).round().long()),
                _loss(lambda u, s: (u * (s.T + 1)).long()),
            ),
        ),
        Mistake(
            "T never drawn",
            "Your t never reaches T, yet sampling starts there: the network would be asked what it was never taught.",
            "the t that you give to u = 0.999",
            (_loss(lambda u, s: 1 + (u * (s.T - 1)).long()), _loss(lambda u, s: (u * s.T).long().clamp(min=1))),
        ),
        Mistake(
            "uneven timesteps",
            "You rounded to the nearest whole number: the timesteps are then not equally likely, or leave 1 ... T.",
            "which u lead to t = 1, and which to t = 2",
            (
                _loss(lambda u, s: 1 + (u * (s.T - 1)).round().long()),
                _loss(lambda u, s: (u * s.T).round().long().clamp(min=1)),
                _loss(lambda u, s: 1 + (u * s.T).round().long()),
            ),
        ),
        Mistake(
            "wrong target",
            "You compared the network's answer with something else than eps, the noise that was mixed in.",
            "what stands beside eps_theta in L_simple",
            (
                _loss(target=lambda x_0, x_t, eps, t, s: x_0),
                _loss(target=lambda x_0, x_t, eps, t, s: x_t),
                _loss(target=lambda x_0, x_t, eps, t, s: x_t - x_0),
                _loss(target=_velocity),
            ),
        ),
        Mistake(
            "target scaled",
            "You compared with the noise as it stands in x_t, shrunk by its coefficient; the target is eps itself.",
            "the variance of what the network is asked for: the same at every t",
            (_loss(target=lambda x_0, x_t, eps, t, s: pick(s.sigma, t, x_0) * eps),),
        ),
        Mistake(
            "network sees clean images",
            "The network was shown x_0 instead of x_t: there is no noise in it to be found.",
            "what you hand to the model",
            (_loss(noised=lambda x_0, t, eps, s: x_0),),
        ),
        Mistake(
            "network sees unscaled noise",
            "The network was shown x_0 + eps: at level t both are scaled (Ho et al. 2020, Eq. 4).",
            "diffusion.q_sample",
            (_loss(noised=lambda x_0, t, eps, s: x_0 + eps),),
        ),
        Mistake(
            "network told another level",
            "The network is told another t than that of the picture it is shown: it would look for the wrong noise.",
            "the second argument of the model; its t is that of the schedule",
            (_loss(told=lambda t: t - 1), _loss(told=lambda t: t + 1)),
        ),
        Mistake(
            "own timesteps",
            "You drew t yourself; it has to be worked out from u, which is handed in as the source of chance.",
            "the arguments of diffusion_loss",
            tuple(
                _loss(lambda u, s, low=low, high=high: torch.randint(low, s.T + high, u.shape))
                for low, high in ((1, 1), (0, 0), (0, 1))
            ),
        ),
        Mistake(
            "own noise",
            "You drew new noise inside the function; the noise to use is handed in as eps.",
            "the arguments of diffusion_loss, wherever noise stands in your code",
            (
                lambda x_0, u, eps, model, s: _loss()(x_0, u, torch.randn_like(eps), model, s),
                _loss(noised=_mixed(noise=torch.randn_like)),
                _loss(target=lambda x_0, x_t, eps, t, s: torch.randn_like(eps)),
            ),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You noised with alpha_t or beta_t, the numbers of one step; x_t lies t steps from x_0.",
            "which array of the schedule says how much of x_0 is left after t steps",
            (
                _loss(noised=_mixed(lambda b, a: (1 - b).sqrt(), lambda b, a: b.sqrt())),
                _loss(noised=_mixed(lambda b, a: (1 - b).sqrt())),
                _loss(noised=_mixed(of_eps=lambda b, a: b.sqrt())),
            ),
        ),
        Mistake(
            "missing square root",
            "You noised without a square root: alpha_bar_t and 1 - alpha_bar_t are variances.",
            "Eq. 4, or diffusion.q_sample",
            (
                _loss(noised=_mixed(lambda b, a: a, lambda b, a: 1 - a)),
                _loss(noised=_mixed(of_eps=lambda b, a: 1 - a)),
                _loss(noised=_mixed(lambda b, a: a)),
            ),
        ),
        Mistake(
            "wrong broadcast shape",
            "The coefficients have the wrong shape to multiply the batch: each must meet its own image.",
            "how broadcasting lines up (B,) with (B, 3, H, W): from the right, so B meets W",
            (
                _loss(noised=_mixed(get=lambda v, t, x: v[t])),
                _loss(noised=_mixed(get=lambda v, t, x: v[t].view(-1, 1))),
                _loss(noised=_mixed(get=lambda v, t, x: v[t].view(-1, 1, 1))),
            ),
        ),
        Mistake(
            "sum for mean",
            "You added the squares up. The mean over channels, rows and columns is asked for: the same learning rate "
            "then fits any size of picture.",
            "how your number changes when the picture has twice as many pixels",
            (
                _loss(reduce=lambda error: error.square().flatten(1).sum(1)),
                _loss(reduce=lambda error: error.square().sum()),
            ),
        ),
        Mistake(
            "one number for the batch",
            "Your answer has the wrong shape: it is one number for the whole batch, and one per image is asked for, "
            "shape (B,). The mean over the batch is taken by the caller.",
            "the axes over which you average",
            (_loss(reduce=lambda error: error.square().mean()),),
        ),
        Mistake(
            "some axes only",
            "You averaged over some axes only: one number per image is left when channels, rows and columns are gone.",
            "the shape of what you return",
            tuple(
                _loss(reduce=lambda error, axes=axes: error.square().mean(axes))
                for axes in ((2, 3), (1, 2), (0, 1, 2), (0, 2, 3), 1)
            ),
        ),
        Mistake(
            "mean before the square",
            "You squared the mean, in which errors of both signs cancel; the mean of the squares is asked for.",
            "the order of the two operations in L_simple",
            (_loss(reduce=lambda error: error.flatten(1).mean(1).square()),),
        ),
        Mistake(
            "not squared",
            "You took the absolute error, its square root or no power at all; L_simple is the mean square.",
            "the small 2 behind the bars of L_simple",
            (
                _loss(reduce=lambda error: error.abs().flatten(1).mean(1)),
                _loss(reduce=lambda error: error.flatten(1).mean(1)),
                _loss(reduce=lambda error: error.flatten(1).norm(dim=1)),
                _loss(reduce=lambda error: _mean_square(error).sqrt()),
            ),
        ),
    ),
    hint="look at t for u = 0 and for u = 0.999 first; then at a model that answers eps itself: each loss must be 0",
)

EXERCISES = (DIFFUSION_LOSS,)
