"""Sets of pictures by name, `cifar10:cat+frog:test`: one spelling for training recipes and the command line."""

from collections.abc import Iterator
from itertools import product

import torch

from course_utils.data import drawn, images
from course_utils.data.images import ImageSet
from course_utils.data.levels import to_bytes

SETS = ("cifar10", "faces", "drawn")
EXAMPLES = (
    "cifar10:cat, cifar10:cat+frog, faces, drawn:cat, drawn:face, drawn:cat/pose, with :train or :test after them"
)
_BLOCK = 250  # drawn pictures come in blocks with seeds of their own, so that n = 50 are the first of n = 5,000
_SEED = 1_000_000  # away from the seeds of the stand-in and of what notebooks draw


def named_set(
    text: str, *, size: int | None = None, n: int | None = None, split: str = "train", strict: bool = True
) -> ImageSet:
    """Return the pictures that a name stands for, such as "cifar10:cat", "faces:test", "drawn:cat+frog:train".

    text: the set; for cifar10 and drawn also the classes, joined by +, or one drawn class and after it, each behind a
    slash, the factors by whose options its pictures are labelled; then perhaps the split, which otherwise is `split`.
    size: pixels; None for 32 (cifar10, which has no other size; drawn) or 64 (faces, drawn:face). n: how many in all,
    the first n of the set's fixed random order; None takes every one. A drawn set counts 5,000 pictures a class (with
    factors: in all) in train and 1,000 in test, and goes on for as many as n asks. strict=False lets drawn pictures
    stand in, with a notice, for photographs that are not in the data folder.

    Raises ValueError (a name, class or split that is not there, a wrong size or n), and as `images.cifar10` and
    `images.cat_faces` do: MissingDataError (strict, and not in the data folder), DamagedDataError, OSError.
    """
    try:
        kind, *rest = text.split(":")
        images._check_option("set of pictures", kind, SETS)
        if rest and rest[-1] in images.SPLITS:
            split = rest.pop()
        parts = 0 if kind == "faces" else 1
        for extra in (split, *rest[parts:]):
            images._check_option("split", extra, images.SPLITS)
        if len(rest) != parts:
            raise ValueError("a split is named twice" if len(rest) > parts else "the classes are missing")
        if kind == "faces":
            return images.cat_faces(split, n, 64 if size is None else size, strict=strict)
        classes = tuple(dict.fromkeys(rest[0].split("+")))
        if kind == "drawn":
            return _drawn(classes, size, n, split)
        if size not in (None, 32):
            raise ValueError(f"size={size}, but CIFAR-10 has 32 pixels only")
        return images.cifar10(classes, split, n, strict=strict)
    except images.DamagedDataError:
        raise
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}. Sets are written {EXAMPLES}") from None


def _drawn(classes: tuple[str, ...], size: int | None, n: int | None, split: str) -> ImageSet:
    if "/" in classes[0]:
        return _by_factors(*classes[0].split("/"), others=classes[1:], size=size, n=n, split=split)
    face = classes == ("face",)
    name = f"drawn {'cat faces' if face else images._plural(classes)}, {split}"
    if "face" in classes and not face:
        raise ValueError("face cannot be mixed with other classes")
    classes, view, usual = (("cat",), "face", 64) if face else (classes, "whole", 32)
    for kind in classes:
        images._check_option("class to draw", kind, (*drawn.CLASSES, "face"))
    n = images.SPLITS[split] * len(classes) if n is None else n
    pixels, labels = [], []
    for part in _blocks(n, split, classes, usual if size is None else size, view):
        pixels.append(to_bytes(part.images))  # 8 bits, as photographs have
        labels.append(torch.tensor([classes.index(drawn.CLASSES[label]) for label in part.labels]))
    return ImageSet(torch.cat(pixels)[:n], torch.cat(labels)[:n], classes, name, False)


def _by_factors(kind: str, *factors: str, others: tuple[str, ...], size: int | None, n: int | None, split: str):
    images._check_option("class to draw", kind, drawn.CLASSES)
    if others:
        raise ValueError(f"pictures labelled by their factors are of one class: leave {'+'.join(others)} out")
    known = [name for name, options in drawn.FACTORS[kind].items() if type(options[0]) is str]
    for factor in factors:
        images._check_option(f"factor of drawn {kind}s with options", factor, known)
    options = [drawn.FACTORS[kind][factor] for factor in factors]
    classes = tuple(" ".join(words) for words in product(*options))
    n = images.SPLITS[split] if n is None else n
    pixels, labels = [], []
    for part in _blocks(n, split, (kind,), 32 if size is None else size, "whole"):
        pixels.append(to_bytes(part.images))
        label = torch.zeros_like(part.labels)
        for factor, words in zip(factors, options, strict=True):
            label = label * len(words) + part.factors[kind][factor]
        labels.append(label)
    name = f"drawn {kind}s by {' and '.join(factors)}, {split}"
    return ImageSet(torch.cat(pixels)[:n], torch.cat(labels)[:n], classes, name, False)


def _blocks(n: int, split: str, classes: tuple[str, ...], size: int, view: str) -> Iterator[drawn.Drawn]:
    if n < 1:
        raise ValueError(f"n={n}: take at least 1 picture, or None for all")
    for block in range(-(-n // _BLOCK)):
        yield drawn.draw(_BLOCK, classes, size, _SEED + 2 * block + (split == "test"), view)
