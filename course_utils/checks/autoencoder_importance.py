"""Exercise 5 of notebook 05: a tighter bound on log p(x) from several draws, by importance weights."""

import math

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    return log_p - log_q


def _log_mean(w: Tensor) -> Tensor:
    return w.logsumexp(1) - math.log(w.shape[1])


def _bound(reduce=_log_mean, weights=_ratio):
    """Return an importance_bound from the log weights, (B, K), and what becomes of them."""
    return lambda log_p, log_q: reduce(weights(log_p, log_q))


def _batch_maximum(w: Tensor) -> Tensor:
    return w.max() + (w - w.max()).exp().mean(1).log()


def _own_maximum(w: Tensor) -> Tensor:
    return (w - w.amax(1, keepdim=True)).exp().mean(1).log()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, log_p, log_q, spread in (
        ("a batch, five draws each", (4, 5), -20.0, -18.0, 2.0),
        ("a single draw each: the ELBO of one draw", (6, 1), -5.0, -8.0, 2.0),
        ("a single image", (1, 7), 3.0, -4.0, 1.5),
        ("as many images as draws", (5, 5), -10.0, -8.0, 2.0),
        ("one image, one draw", (1, 1), -7.0, -3.0, 1.0),
        ("log weights of about -1000", (3, 6), -1400.0, -400.0, 3.0),
        ("log weights of about 1000", (3, 4), 700.0, -300.0, 3.0),
        ("log p and log q of about -1000, log weights near 0", (3, 5), -1000.0, -1002.0, 2.0),
        ("images of very different log weights: -900, 0, 900", (3, 4), -900.0, 0.0, 2.0),
        ("one draw outweighs the others", (3, 6), 0.0, 0.0, 30.0),
        ("all draws weigh the same", (2, 8), -6.0, -4.0, 0.0),
        ("200 draws", (2, 200), -60.0, -50.0, 3.0),
    ):
        p, q = (torch.randn(shape, generator=generator) for _ in range(2))
        p, q = log_p + spread * p, log_q + spread * q
        if label.startswith("images of"):
            p = p + 900 * torch.arange(shape[0])[:, None]
        made.append(Case(label, {"log_p": p, "log_q": q}))
    return made


IMPORTANCE_BOUND = Exercise(
    "importance_bound",
    _bound(),
    _cases,
    (
        Mistake(
            "mean of the logarithms",
            "You averaged the logarithms: that is the ELBO, estimated from K draws. The logarithm stands outside the "
            "mean here, which makes the bound tighter.",
            "the order of the logarithm and the mean over k",
            (_bound(lambda w: w.mean(1)),),
        ),
        Mistake(
            "logarithm twice",
            "You took the logarithm of numbers that are logarithms already, often negative ones (nan).",
            "what log_p - log_q is, and whether it may stand under a logarithm",
            (_bound(lambda w: w.mean(1).log()), _bound(lambda w: w.sum(1).log()), _bound(lambda w: w.log().mean(1))),
        ),
        Mistake(
            "sum of the logarithms",
            "You summed the logarithms of the ratios. That is the logarithm of their product; their mean is asked for.",
            "the order of the logarithm and the sum over k",
            (_bound(lambda w: w.sum(1)), _bound(lambda w: w.sum(1) - math.log(w.shape[1]))),
        ),
        Mistake(
            "1/K forgotten",
            "You summed over the draws where the mean is asked for: 1/K is missing, and what comes out is no bound.",
            "your answer when all draws weigh the same: it has to be that weight, for every K",
            (_bound(lambda w: w.logsumexp(1)),),
        ),
        Mistake(
            "sign of log K",
            "You added log K; the sum is divided by K.",
            "your answer when all draws weigh the same: it has to be that weight, for every K",
            (_bound(lambda w: w.logsumexp(1) + math.log(w.shape[1])),),
        ),
        Mistake(
            "1/K outside the logarithm",
            "You divided the logarithm by K, or subtracted K from it; the sum inside the logarithm is divided.",
            "where 1/K stands in the formula, and what becomes of a factor under the logarithm",
            (
                _bound(lambda w: w.logsumexp(1) / w.shape[1]),
                _bound(lambda w: w.logsumexp(1) - w.shape[1]),
                _bound(lambda w: w.logsumexp(1) / math.log(w.shape[1])),
            ),
        ),
        Mistake(
            "another number for K",
            "The number whose logarithm you subtract is not K: K is the number of draws, the second axis. The "
            "logarithm is the natural one.",
            "the shape of log_p, and which of its axes you count",
            (
                _bound(lambda w: w.logsumexp(1) - math.log(len(w))),
                _bound(lambda w: w.logsumexp(1) - math.log(w.numel())),
                _bound(lambda w: w.logsumexp(1) - math.log(w.shape[1] + 1)),
                _bound(lambda w: w.logsumexp(1) - math.log2(w.shape[1])),
                _bound(lambda w: w.logsumexp(1) - math.log10(w.shape[1])),
            ),
        ),
        Mistake(
            "ratio upside down",
            "Your ratio is upside down, q / p: a picture that the model finds likely gets a low bound.",
            "whether your answer grows with log_p",
            (
                _bound(weights=lambda p, q: q - p),
                _bound(lambda w: w.mean(1), lambda p, q: q - p),
                _bound(lambda w: w.logsumexp(1), lambda p, q: q - p),
                _bound(lambda w: w.exp().mean(1).log(), lambda p, q: q - p),
            ),
        ),
        Mistake(
            "sign",
            "You returned the negative of the bound. That would be a loss; here larger has to mean more likely.",
            "the sign in front of your logarithm",
            (_bound(lambda w: -_log_mean(w)),),
        ),
        Mistake(
            "one of the two missing",
            "Only one of log_p and log_q is in your answer: each draw has to be weighed by how easily q produces it.",
            "where your function uses each of its arguments",
            (
                _bound(weights=lambda p, q: p),
                _bound(weights=lambda p, q: q),
                _bound(weights=lambda p, q: -q),
            ),
        ),
        Mistake(
            "not the logarithm of a ratio",
            "You added or multiplied the logarithms, or divided one by the other. Which of these belongs to a ratio?",
            "the logarithm of p / q",
            (
                _bound(weights=lambda p, q: p + q),
                _bound(weights=lambda p, q: p * q),
                _bound(weights=lambda p, q: p / q),
                _bound(lambda w: w.abs().mean(1).log(), lambda p, q: p / q),
                _bound(lambda w: w.mean(1).log(), lambda p, q: p / q),
            ),
        ),
        Mistake(
            "ratio of the sums",
            "You summed p and q over the draws before you divided: every draw has a ratio of its own.",
            "the order of the division and the sum over k",
            (
                lambda log_p, log_q: log_p.logsumexp(1) - log_q.logsumexp(1),
                lambda log_p, log_q: log_p.exp().mean(1).log() - log_q.exp().mean(1).log(),
                lambda log_p, log_q: _log_mean(log_p) - log_q.mean(1),
                lambda log_p, log_q: log_p.logsumexp(1) - log_q.logsumexp(1) - math.log(log_p.shape[1]),
            ),
        ),
        Mistake(
            "largest only",
            "You kept the draw with the largest weight; all K of them count.",
            "your answer when two draws weigh the same",
            (
                _bound(lambda w: w.amax(1)),
                _bound(lambda w: w.amax(1) - math.log(w.shape[1])),
            ),
        ),
        Mistake(
            "first draw only",
            "You used one draw, the first or the last; all K of them count.",
            "the index with which you look into the second axis",
            (_bound(lambda w: w[:, 0]), _bound(lambda w: w[:, -1])),
        ),
        Mistake(
            "softmax",
            "You divided the weights by their sum (softmax). That chooses among the draws; but the size of the weights "
            "is what says how likely x is.",
            "what becomes of your answer when all log_p grow by 1",
            (
                _bound(lambda w: (w.softmax(1) * w).sum(1)),
                _bound(lambda w: w.softmax(1).mean(1).log()),
                _bound(lambda w: w.log_softmax(1).mean(1)),
                _bound(lambda w: w.softmax(1).mean(1)),
                _bound(lambda w: w.softmax(1)),
                _bound(lambda w: w.log_softmax(1)),
            ),
        ),
        Mistake(
            "summed over the batch",
            "You summed over the images: the draws are the second axis, and each image has a bound of its own.",
            "the axis over which you sum, and the shape that you return for 4 images and 5 draws",
            (
                _bound(lambda w: w.logsumexp(0) - math.log(len(w))),
                _bound(lambda w: w.logsumexp(0) - math.log(w.shape[1])),
                _bound(lambda w: w.logsumexp(0)),
                _bound(lambda w: w.mean(0)),
            ),
        ),
        Mistake(
            "one number for the batch",
            "You returned a single number, hence the wrong shape: each image has a bound of its own.",
            "the axes over which you sum or average; the first one must survive",
            (
                _bound(lambda w: _log_mean(w).mean()),
                _bound(lambda w: _log_mean(w).sum()),
                _bound(lambda w: _log_mean(w.view(1, -1))[0]),
                _bound(lambda w: w.logsumexp(1).mean()),
                _bound(torch.mean),
            ),
        ),
        Mistake(
            "an axis too many",
            "The wrong shape: (B,) is asked for. An axis of length 1 was kept, or the draws were not summed.",
            "keepdim, None and unsqueeze in your code, and the axis of the draws",
            (
                _bound(lambda w: _log_mean(w)[:, None]),
                _bound(lambda w: w),
                _bound(lambda w: w - math.log(w.shape[1])),
            ),
        ),
        Mistake(
            "exp first",
            "You took the exponential first: exp(-1000) is 0 in a computer and exp(1000) is infinite, so that the "
            "logarithm of their mean is lost. A float64 does not save it.",
            "torch.logsumexp, and what it subtracts before it takes the exponential",
            (
                _bound(lambda w: w.exp().mean(1).log()),
                lambda log_p, log_q: (log_p.exp() / log_q.exp()).mean(1).log(),
                _bound(lambda w: (w.exp().mean(1) + 1e-8).log()),
                _bound(lambda w: (w.exp().mean(1) + 1e-10).log()),
                _bound(lambda w: (w.exp().mean(1) + 1e-12).log()),
                _bound(lambda w: w.exp().sum(1).log()),
            ),
        ),
        Mistake(
            "one maximum for the batch",
            "You subtracted the largest log weight of the whole batch: for an image whose weights are all much smaller "
            "the exponentials are 0 again.",
            "over which axis you take the maximum",
            (_bound(_batch_maximum), _bound(lambda w: (w - w.max()).exp().mean(1).log())),
        ),
        Mistake(
            "maximum not put back",
            "You subtracted the maximum, which is well, but did not add it again behind the logarithm.",
            "what becomes of your answer when all log_p grow by 1",
            (_bound(_own_maximum), _bound(lambda w: _own_maximum(w) - w.amax(1))),
        ),
        Mistake(
            "no logarithm",
            "You returned an estimate of p(x), not its logarithm: exp(-1000) is 0 in a computer.",
            "the last thing that your function does",
            (_bound(lambda w: w.exp().mean(1)), _bound(lambda w: w.exp().sum(1))),
        ),
        Mistake(
            "bits",
            "You returned bits: nats are asked for, the natural logarithm all through.",
            "the base of your logarithm",
            (_bound(lambda w: _log_mean(w) / math.log(2)),),
        ),
    ),
    hint="with a single draw the answer is log_p - log_q; with K draws of one weight it is that weight again",
    tolerance=Tolerance(0, 2e-3),  # 0: relative to an infinite answer everything would be close
)

EXERCISES = (IMPORTANCE_BOUND,)
