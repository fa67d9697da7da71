"""Exercise 2 of notebook 04: labels as planes beside the picture."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Exercise, Mistake


def _hot(y: Tensor, classes: int) -> Tensor:
    return y[:, None] == torch.arange(classes)


def _tile(hot: Tensor, size: int) -> Tensor:
    return hot.float()[:, :, None, None].repeat(1, 1, size, size)


def _channels(hot=_hot, tile=_tile):
    """Return a label_channels from the one-hot rows, (B, classes), and the way in which they become planes."""
    return lambda y, classes, size: tile(hot(y, classes), size)


def _filled(*index):
    """Return a label_channels that multiplies planes of ones by the one-hot rows, indexed so."""
    return lambda y, classes, size: torch.ones(len(y), classes, size, size) * _hot(y, classes)[index]


def _expanded(*index):
    return lambda y, classes, size: _hot(y, classes).float()[index].expand(len(y), classes, size, size).clone()


def _corner(hot: Tensor, size: int) -> Tensor:
    planes = torch.zeros(*hot.shape, size, size)
    planes[:, :, 0, 0] = hot.float()
    return planes


def _channels_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, n, classes, size, y in (
        ("ten classes", 4, 10, 5, None),
        ("a single label", 1, 10, 3, [7]),
        ("as many labels as classes", 6, 6, 4, None),
        ("as many classes as rows", 5, 4, 4, None),
        ("planes of a single pixel", 3, 5, 1, None),
        ("a single class", 2, 1, 3, None),
        ("the first and the last class", 2, 8, 2, [0, 7]),
        ("one class throughout", 4, 7, 2, [3, 3, 3, 3]),
        ("as many labels as classes and rows", 3, 3, 3, [2, 0, 2]),
        ("a hundred classes", 3, 100, 2, None),
    ):
        labels = torch.randint(0, classes, (n,), generator=generator) if y is None else torch.tensor(y)
        made.append(Case(label, {"y": labels, "classes": classes, "size": size}))
    return made


LABEL_CHANNELS = Exercise(
    "label_channels",
    _channels(),
    _channels_cases,
    (
        Mistake(
            "the label as a number",
            "Your planes hold the number of the class: to the network a ship (8) would be twice a deer (4). One plane "
            "for each class is asked for, with nothing but 0 and 1.",
            "how many planes a picture gets, and which numbers stand in them",
            (
                lambda y, classes, size: y.float().view(-1, 1, 1, 1).repeat(1, 1, size, size),
                lambda y, classes, size: (y / classes).view(-1, 1, 1, 1).repeat(1, 1, size, size),
                lambda y, classes, size: y.float().view(-1, 1, 1).repeat(1, size, size),
                lambda y, classes, size: y.float().view(-1, 1, 1, 1).repeat(1, classes, size, size),
            ),
        ),
        Mistake(
            "not tiled",
            "You stopped at one number for each class, so that the shape is wrong: a convolution needs a plane as high "
            "and wide as the picture.",
            "the shape that you return for 4 labels, 10 classes and size 5",
            (
                _channels(tile=lambda hot, size: hot.float()),
                _channels(tile=lambda hot, size: hot.float()[:, :, None, None]),
            ),
        ),
        Mistake(
            "classes last",
            "The classes are your last axis; networks here take channels second, (B, C, H, W).",
            "the order of the axes of what you return",
            (_channels(tile=lambda hot, size: hot.float()[:, None, None].repeat(1, size, size, 1)),),
        ),
        Mistake(
            "batch and classes exchanged",
            "Batch and classes have changed places: the first axis has to be the batch.",
            "the shape that you return for 4 labels and 10 classes",
            (_channels(lambda y, classes: _hot(y, classes).T),),
        ),
        Mistake(
            "another dtype",
            "Right numbers, wrong dtype: the planes are joined to a float32 picture and must be float32 as well.",
            "the dtype that one_hot, or a comparison, returns",
            (lambda y, classes, size: _channels()(y, classes, size).long(),),
        ),
        Mistake(
            "a plane too many",
            "You made classes + 1 planes: labels count from 0, the last is classes - 1. There is no null here.",
            "the number of planes that you return for ten classes",
            (_channels(lambda y, classes: _hot(y, classes + 1)),),
        ),
        Mistake(
            "planes counted in the batch",
            "The number of your planes depends on the labels that happen to occur; the network expects the same in "
            "every batch.",
            "the arguments of one_hot, and a batch in which the last class does not occur",
            (_channels(lambda y, classes: F.one_hot(y)),),
        ),
        Mistake(
            "off by one",
            "Your classes are off by one: plane 0 belongs to label 0.",
            "which plane is 1 for y = 0, and which for y = classes - 1",
            (
                _channels(lambda y, classes: _hot(y - 1, classes)),
                _channels(lambda y, classes: _hot(y + 1, classes)),
                _channels(lambda y, classes: F.one_hot(y - 1, classes)),
                _channels(lambda y, classes: F.one_hot(y + 1, classes)),
                _channels(lambda y, classes: _hot((y - 1) % classes, classes)),
            ),
        ),
        Mistake(
            "the first label for all",
            "Every picture got the planes of the first label; each has a label of its own.",
            "which entries of y your function uses",
            (_channels(lambda y, classes: _hot(y[:1], classes).repeat(len(y), 1)),),
        ),
        Mistake(
            "every label for all",
            "Every picture got the planes of all labels in the batch: planes[:, y] chooses the same planes throughout.",
            "how many planes of one picture are 1",
            (_channels(lambda y, classes: _hot(y, classes).any(0).repeat(len(y), 1)),),
        ),
        Mistake(
            "all planes",
            "All planes of every picture are 1: which class it is can no longer be seen.",
            "the second index with which you write into the planes: it chooses the class",
            (_channels(lambda y, classes: torch.ones(len(y), classes)),),
        ),
        Mistake(
            "0 and 1 exchanged",
            "Your 0 and 1 are exchanged: the plane of the picture's own class has to be the one that is 1.",
            "how many planes of one picture are 1",
            (_channels(lambda y, classes: ~_hot(y, classes)),),
        ),
        Mistake(
            "the corner only",
            "Only the pixel in the corner is 1: a convolution that looks elsewhere would see no label.",
            "the sum of a plane; scatter_, if you use it, writes as many numbers as its index has entries",
            (_channels(tile=_corner),),
        ),
        Mistake(
            "scrambled planes",
            "The numbers are right in sum, but not in place: you repeated whole rows and then cut them into planes.",
            "one plane by itself: is the same number everywhere in it?",
            (_channels(tile=lambda hot, size: hot.float().repeat(1, size * size).view(*hot.shape, size, size)),),
        ),
        Mistake(
            "spread along the wrong axes",
            "Your one-hot rows meet the wrong axes of the planes: batch and classes must become the first two.",
            "how broadcasting lines up (B, classes) with (B, classes, size, size): from the right, so classes meets W",
            (
                _filled(...),
                _filled(slice(None), slice(None), None),
                _filled(slice(None), None, None),
                _filled(slice(None), None, slice(None), None),
                _expanded(...),
                _expanded(slice(None), None, None),
                _channels(tile=lambda hot, size: hot.float().expand(-1, -1, size, size)),
            ),
        ),
    ),
    hint="for each picture exactly one plane is 1, in all its pixels; then compare the shape with (B, classes, H, W)",
)

EXERCISES = (LABEL_CHANNELS,)
