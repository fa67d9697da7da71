"""Exercise 2 of notebook 10: truncation, a step from w towards the mean of all w."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _moved(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    return mean + psi * (w - mean)


def _around(mean):
    """Return a truncate that moves towards mean(w, w_mean)."""
    return lambda w, w_mean, psi: _moved(w, mean(w, w_mean), psi)


def _scaled(psi):
    return lambda w, w_mean, given: _moved(w, w_mean, psi(given))


def _offset(change):
    """Return a truncate that adds change(offset, psi) to the mean."""
    return lambda w, w_mean, psi: w_mean + change(w - w_mean, psi)


def _length(offset: Tensor) -> Tensor:
    return (offset.square().sum(-1, keepdim=True) + 1e-12).sqrt()


def _some(which):
    """Return a truncate that leaves the convolutions outside which(n) as they are, where there are convolutions."""

    def answer(w: Tensor, w_mean: Tensor, psi: float) -> Tensor:
        moved = _moved(w, w_mean, psi)
        n = w.shape[1]
        return torch.where((torch.arange(n) < which(n))[:, None], moved, w) if w.ndim == 3 else moved

    return answer


def _mean_where_psi_is_0(w: Tensor, w_mean: Tensor, psi: float) -> Tensor:
    return _moved(w, w_mean, psi) if psi else w_mean.clone()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, psi, asking in (
        ("psi = 0.7", (4, 6), 0.7, False),
        ("a single w", (1, 5), 0.4, True),
        ("as many w as numbers in each", (5, 5), 0.3, False),
        ("half-way", (6, 3), 0.5, True),
        ("psi = 0: the mean", (3, 4), 0.0, False),
        ("psi = 1: nothing changes", (3, 4), 1.0, False),
        ("beyond the mean: psi = -1", (4, 3), -1.0, False),
        ("away from the mean: psi = 1.6", (3, 5), 1.6, False),
        ("a w for each convolution", (4, 7, 6), 0.7, True),
        ("as many w as convolutions and numbers", (6, 6, 6), 0.4, False),
        ("one picture, a w for each convolution", (1, 9, 4), 0.2, False),
        ("a single convolution", (2, 1, 3), 0.8, False),
        ("a single number in w", (5, 1), 0.6, False),
        ("psi a whole number", (3, 4), 2, False),
    ):
        w, w_mean = (torch.randn(s, generator=generator) for s in (shape, shape[-1:]))
        w = 0.5 + 1.5 * w
        made.append(Case(label, {"w": w.requires_grad_(asking), "w_mean": w_mean, "psi": psi}))
    return made


TRUNCATE = Exercise(
    "truncate",
    _moved,
    _cases,
    (
        Mistake(
            "psi and 1 - psi exchanged",
            "psi and 1 - psi have changed places: with psi = 1 nothing may change, and with psi = 0 the mean has to "
            "come out.",
            "what you return for psi = 0, and for psi = 1",
            (_scaled(lambda psi: 1 - psi),),
        ),
        Mistake(
            "towards 0",
            "You shrank w itself, towards 0. The middle of all w is w_mean, and 0 is no w like the others. (Or a "
            "bracket is missing: then w_mean cancels.)",
            "what you return for psi = 0",
            (lambda w, w_mean, psi: psi * w,),
        ),
        Mistake(
            "mean not subtracted",
            "You added the mean to the whole of w, which contains it already: what psi scales is the way from the "
            "mean to w.",
            "what you return for psi = 1",
            (
                lambda w, w_mean, psi: w_mean + psi * w,
                lambda w, w_mean, psi: w + psi * w_mean,
                lambda w, w_mean, psi: psi * (w + w_mean),
            ),
        ),
        Mistake(
            "mean not added back",
            "You returned the way from the mean to w alone. It leads away from a place, and that place is missing.",
            "what you return for psi = 0, and for psi = 1",
            (lambda w, w_mean, psi: psi * (w - w_mean), lambda w, w_mean, psi: (1 - psi) * (w - w_mean)),
        ),
        Mistake(
            "sign",
            "A sign is wrong: with psi between 0 and 1 you come out on the far side of the mean.",
            "the way from the mean to w, and its sign",
            (
                lambda w, w_mean, psi: w_mean - psi * (w - w_mean),
                lambda w, w_mean, psi: psi * (w_mean - w),
                lambda w, w_mean, psi: psi * (w - w_mean) - w_mean,
            ),
        ),
        Mistake(
            "from w, not from the mean",
            "You started from w, not from the mean: with psi = 1 you come out twice as far away.",
            "what you return for psi = 0, and for psi = 1",
            (lambda w, w_mean, psi: w + psi * (w - w_mean), lambda w, w_mean, psi: w + (1 - psi) * (w - w_mean)),
        ),
        Mistake(
            "only the mean scaled",
            "psi scales the mean in your formula, and w stays whole: so no w comes nearer to another.",
            "how far two w are apart, before and after, with psi = 0.5",
            (
                lambda w, w_mean, psi: w - psi * w_mean,
                lambda w, w_mean, psi: w + (1 - psi) * w_mean,
                lambda w, w_mean, psi: w - (1 - psi) * w_mean,
            ),
        ),
        Mistake(
            "mean of these w",
            "You took the mean of the w at hand. It changes with the batch, and a single w would be its own mean; "
            "w_mean is the mean of all w, and is handed to you.",
            "where your function uses w_mean; mean() in your code",
            (
                _around(lambda w, mean: w.mean(0)),
                _around(lambda w, mean: w.flatten(0, -2).mean(0)),
                _around(lambda w, mean: w.mean(1, keepdim=True)),
                _around(lambda w, mean: w.mean()),
                lambda w, w_mean, psi: w_mean + psi * (w - w.mean(0)),
                lambda w, w_mean, psi: w.mean(0) + psi * (w - w_mean),
            ),
        ),
        Mistake(
            "mean over the numbers of w",
            "You averaged over the numbers of w. Each of them has a mean of its own, so w_mean has w_dim numbers.",
            "the shape of the mean that you use",
            (
                _around(lambda w, mean: mean.mean()),
                _around(lambda w, mean: w.mean(-1, keepdim=True)),
            ),
        ),
        Mistake(
            "clamped",
            "You clamped: truncation as it is meant here moves every w by the same share of its way, near ones, too.",
            "clamp and clip in your code",
            (
                _offset(lambda offset, psi: offset.clamp(-psi, psi)),
                lambda w, w_mean, psi: w.clamp(-psi, psi),
                lambda w, w_mean, psi: _moved(w, w_mean, psi).clamp(-1, 1),
            ),
        ),
        Mistake(
            "normalised",
            "You brought the way from the mean to w to a common length, or a common spread. A w twice as far away has "
            "to stay twice as far away.",
            "norms and deviations in your code",
            (
                _offset(lambda offset, psi: psi * F.normalize(offset, dim=-1)),
                _offset(lambda offset, psi: psi * offset / offset.norm()),
                _offset(lambda offset, psi: psi * offset / offset.std(correction=0)),
                _offset(lambda offset, psi: offset * (psi / _length(offset)).clamp_max(1)),
            ),
        ),
        Mistake(
            "divided by psi",
            "You divided by psi: then a small psi leads far away, and 0 to infinity.",
            "how far you are from w_mean for psi = 0.1",
            (_offset(lambda offset, psi: offset / psi),),
        ),
        Mistake(
            "psi kept between 0 and 1",
            "You changed psi where it is negative or beyond 1. Both are allowed: they lead past the mean, or away from "
            "it.",
            "what you return for psi = -1, and for psi = 1.6",
            (
                _scaled(lambda psi: min(max(psi, 0), 1)),
                _scaled(lambda psi: min(psi, 1)),
                _scaled(lambda psi: max(psi, 0)),
                _scaled(abs),
            ),
        ),
        Mistake(
            "psi squared",
            "psi counts twice: it is multiplied by itself.",
            "how often psi occurs in your formula once all brackets are multiplied out",
            (_scaled(lambda psi: psi**2),),
        ),
        Mistake(
            "psi unused",
            "Your answer is the same for every psi: one of the two as it came, or their middle.",
            "where your function uses psi",
            (
                lambda w, w_mean, psi: w.clone(),
                lambda w, w_mean, psi: w_mean.expand_as(w).clone(),
                lambda w, w_mean, psi: (w + w_mean) / 2,
            ),
        ),
        Mistake(
            "another shape at psi = 0",
            "For psi = 0 you returned w_mean as it is, a single w. Numbers right, shape wrong: there is one for every "
            "w that came in.",
            "the shape that you return for psi = 0 and three w",
            (_mean_where_psi_is_0,),
        ),
        Mistake(
            "the first w only",
            "All that you return comes from the first w; each has its own way from the mean.",
            "which rows of w your function uses",
            (
                lambda w, w_mean, psi: _moved(w[:1].expand_as(w), w_mean, psi),
                lambda w, w_mean, psi: _moved(w[0], w_mean, psi),
            ),
        ),
        Mistake(
            "not all convolutions",
            "Where w holds one for each convolution, you moved some of them only. Authors do that at times; here all "
            "move.",
            "the second axis of w, (B, n, w_dim), and which of its entries change",
            (_some(lambda n: n // 2), _some(lambda n: 1), _some(lambda n: 4), _some(lambda n: 0)),
        ),
        Mistake(
            "wrong axis",
            "w_mean has one number for each entry of w, so it belongs to the last axis. With you it meets another.",
            "how broadcasting lines up (w_dim,) with (B, w_dim) and with (B, n, w_dim): from the right",
            (_around(lambda w, mean: mean[:, None]), _around(lambda w, mean: mean[None, :, None])),
        ),
    ),
    hint="psi = 0 has to give w_mean, psi = 1 w, and psi = 0.5 what lies half-way between them",
    tolerance=Tolerance(absolute=1e-5),  # the two terms may cancel
)

EXERCISES = (TRUNCATE,)
