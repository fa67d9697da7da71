"""Exercise 2 of notebook 07: from maps to features, one number for each channel."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance

_PLACES = (2, 3)


def _pooled(maps: Tensor) -> Tensor:
    return maps.mean(_PLACES)


def _mean(*dims: int):
    return lambda maps: maps.mean(dims)


def _after(change):
    """Return a pool that is right and then changed."""
    return lambda maps: change(_pooled(maps))


def _before(change):
    """Return a pool that averages changed maps."""
    return lambda maps: _pooled(change(maps))


def _sides(maps: Tensor) -> tuple[int, int]:
    return maps.shape[2], maps.shape[3]


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape in (
        ("maps of 7 by 7", (4, 6, 7, 7)),
        ("a single picture", (1, 5, 3, 4)),
        ("a single channel", (3, 1, 4, 4)),
        ("a single picture with a single channel", (1, 1, 2, 3)),
        ("maps of a single pixel", (4, 5, 1, 1)),
        ("higher than wide", (3, 4, 6, 2)),
        ("a single column", (3, 2, 5, 1)),
        ("as many pictures as channels, rows and columns", (4, 4, 4, 4)),
        ("as many channels as places", (2, 6, 2, 3)),
    ):
        made.append(Case(label, {"maps": 0.4 + torch.randn(shape, generator=generator)}))
    after_relu = torch.randn((5, 8, 3, 3), generator=generator).relu()
    made.append(Case("after a ReLU, as in the network", {"maps": after_relu}))
    made.append(Case("large numbers", {"maps": 50 + 20 * torch.randn((2, 3, 8, 8), generator=generator)}))
    return made


POOL = Exercise(
    "pool",
    _pooled,
    _cases,
    (
        Mistake(
            "not pooled",
            "You flattened the maps without averaging: C x H x W numbers for each picture. A cat a little further left "
            "would have other features.",
            "the shape that you return for 4 pictures, 6 channels and 7 by 7 places",
            (lambda maps: maps.flatten(1), lambda maps: maps.flatten(2), lambda maps: maps.clone()),
        ),
        Mistake(
            "every place a picture",
            "You made a row of features of every place: N x H x W rows. One row for each picture is asked for.",
            "the shape that you return for 4 pictures, 6 channels and 7 by 7 places",
            (
                lambda maps: maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]),
                lambda maps: maps.reshape(-1, maps.shape[1]),
                lambda maps: maps.flatten(2).mT,
            ),
        ),
        Mistake(
            "maximum",
            "You took the largest or smallest value over the places. Asked for is the mean: all places count.",
            "max or min in your code, and in the name of a pooling layer",
            (lambda maps: maps.amax(_PLACES), lambda maps: maps.amin(_PLACES)),
        ),
        Mistake(
            "mean over the channels",
            "You averaged over the channels. They are the features, and have to stay apart; what goes are the places.",
            "the axes of the mean: which of (N, C, H, W) are to be left?",
            (_mean(1), lambda maps: maps.mean(1).flatten(1)),
        ),
        Mistake(
            "channels taken for the last axis",
            "You averaged over axes that fit (N, H, W, C). In PyTorch the channels come second: (N, C, H, W).",
            "the numbers of the axes of your mean",
            (_mean(1, 2),),
        ),
        Mistake(
            "mean over channels and columns",
            "You averaged over the channels and one of the two axes of the places; the other one is still there.",
            "the axes of the mean, counted from 0: which of (N, C, H, W) are to be left?",
            (_mean(1, 3),),
        ),
        Mistake(
            "all but the batch",
            "You averaged over all of a picture, its channels included: one number is left for each picture.",
            "the axes of the mean: which of (N, C, H, W) are to be left?",
            (_mean(1, 2, 3), lambda maps: maps.mean((1, 2, 3)).unsqueeze(1)),
        ),
        Mistake(
            "mean over the batch",
            "You averaged over the pictures. Each picture has features of its own; their mean comes later.",
            "the axes of the mean, counted from 0: axis 0 is the batch",
            (_mean(0), _mean(0, 2, 3), lambda maps: _pooled(maps).mean(0).expand(maps.shape[:2]).clone()),
        ),
        Mistake(
            "sum",
            "You summed, over all places or along one of their axes, and did not divide by the number of places, "
            "H x W: your features change with the size of the maps.",
            "what you return for maps that are 1 everywhere",
            (
                lambda maps: maps.sum(_PLACES),
                lambda maps: maps.sum(_PLACES) / _sides(maps)[0],
                lambda maps: maps.sum(_PLACES) / _sides(maps)[1],
                lambda maps: maps.sum(_PLACES) / sum(_sides(maps)),
                lambda maps: maps.sum(_PLACES) / maps.shape[1],
            ),
        ),
        Mistake(
            "one axis only",
            "You averaged over one of the two axes of the places; the other one is still there.",
            "the number of axes that you return",
            (_mean(2), _mean(3), lambda maps: maps.mean(2).flatten(1), lambda maps: maps.mean(3).flatten(1)),
        ),
        Mistake(
            "norm",
            "You squared the values, or took them without their sign, before averaging. Asked for is the plain mean.",
            "norm, squares and absolute values in your code",
            (
                lambda maps: maps.square().mean(_PLACES).sqrt(),
                lambda maps: maps.square().sum(_PLACES).sqrt(),
                _before(torch.square),
                _before(torch.abs),
            ),
        ),
        Mistake(
            "one place",
            "You took one place and left out the others.",
            "an index where a mean is meant",
            (
                lambda maps: maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2],
                lambda maps: maps[:, :, 0, 0],
                lambda maps: maps[:, :, -1, -1],
            ),
        ),
        Mistake(
            "axes of length 1 left",
            "Right numbers, but axes of length 1 are left, one or two: (N, C, 1) or (N, C, 1, 1). Features are a "
            "matrix, (N, C).",
            "the shape that you return; keepdim, or what a pooling layer leaves",
            (lambda maps: maps.mean(_PLACES, keepdim=True), lambda maps: maps.mean(_PLACES, keepdim=True)[..., 0]),
        ),
        Mistake(
            "squeezed too much",
            "An axis of length 1 is gone that has to stay, that of a single picture or channel: squeeze() without an "
            "axis removes every axis of length 1, and squeeze(0), squeeze(1) or squeeze(-1) of (N, C) one of these.",
            "the shape that you return for one picture; name the axes, or flatten from one on",
            (
                _after(torch.squeeze),
                lambda maps: maps.squeeze().mean((-2, -1)),
                _after(lambda out: out.squeeze(0)),
                _after(lambda out: out.squeeze(1)),
            ),
        ),
        Mistake(
            "median",
            "You took the median over the places. Asked for is the mean.",
            "which of them your function calls",
            (lambda maps: maps.flatten(2).median(2).values, lambda maps: maps.flatten(2).quantile(0.5, dim=2)),
        ),
        Mistake(
            "spread",
            "You took the variance or the standard deviation over the places. Asked for is the mean.",
            "which of them your function calls",
            (lambda maps: maps.std(_PLACES, correction=0), lambda maps: maps.var(_PLACES, correction=0)),
        ),
        Mistake(
            "transposed",
            "Pictures and channels have changed places: a row for each picture is asked for.",
            "the shape that you return for 4 pictures and 6 channels",
            (_after(lambda out: out.T),),
        ),
        Mistake(
            "negative values cut",
            "You cut off negative values. The maps are to be averaged as they are.",
            "relu and clamp in your code",
            (_before(torch.relu), _after(torch.relu)),
        ),
        Mistake(
            "normalised",
            "You also normalised the features. Their size matters here: they are to be the plain means.",
            "what you return for maps that are 3 everywhere",
            (
                _after(lambda out: F.normalize(out, dim=1)),
                _after(lambda out: out.softmax(1)),
                _after(lambda out: out - out.mean(0)),
            ),
        ),
        Mistake(
            "pooled to several places",
            "You averaged over parts of the maps only, and several numbers for each channel are left.",
            "the size that your pooling layer is told",
            (lambda maps: F.adaptive_avg_pool2d(maps, 2).flatten(1), lambda maps: F.adaptive_avg_pool2d(maps, 2)),
        ),
        Mistake(
            "one size only",
            "Your pooling layer has a size of its own and does not fit all maps. The size must come from the maps.",
            "numbers such as 7 in your code; H and W may differ",
            (lambda maps: F.avg_pool2d(maps, 7).flatten(1),),
        ),
        Mistake(
            "square window",
            "Your pooling layer has a square window and does not fit all maps: H and W may differ. A window has two "
            "sizes.",
            "the size that your pooling layer is told",
            (
                lambda maps: F.avg_pool2d(maps, maps.shape[2]).flatten(1),
                lambda maps: F.avg_pool2d(maps, maps.shape[3]).flatten(1),
                lambda maps: F.avg_pool2d(maps, maps.shape[3])[:, :, 0, 0],
            ),
        ),
    ),
    hint="maps that are 1 everywhere have features that are all 1; then look at one channel of one picture by itself",
    tolerance=Tolerance(absolute=1e-5),  # positive and negative places may cancel
)

EXERCISES = (POOL,)
