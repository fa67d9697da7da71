"""Sets of pictures by name, `cifar10:cat+frog:test`: one spelling for training recipes and the command line."""

import torch

from course_utils.data import drawn, images
from course_utils.data.images import ImageSet

SETS = ("cifar10", "faces", "drawn")
EXAMPLES = "cifar10:cat, cifar10:cat+frog, faces, drawn:cat, drawn:face, each with :train or :test after it"
_BLOCK = 250  # drawn pictures come in blocks with seeds of their own, so that n = 50 are the first of n = 5,000
_SEED = 1_000_000  # away from the seeds of the stand-in and of what notebooks draw


def named_set(
    text: str, *, size: int | None = None, n: int | None = None, split: str = "train", strict: bool = True
) -> ImageSet:
    """Return the pictures that a name stands for, such as "cifar10:cat", "faces:test", "drawn:cat+frog:train".

    text: the set; for cifar10 and drawn also the classes, joined by +; then perhaps the split, which otherwise is
    `split`. size: pixels; None for 32 (cifar10, which has no other size; drawn) or 64 (faces, drawn:face). n: how many
    in all, the first n of the set's fixed random order; None takes every one. A drawn set counts 5,000 pictures a class
    in train and 1,000 in test, and goes on for as many as n asks. strict=False lets drawn pictures stand in, with a
    notice, for photographs that are not in the data folder.

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
    face = classes == ("face",)
    name = f"drawn {'cat faces' if face else images._plural(classes)}, {split}"
    if "face" in classes and not face:
        raise ValueError("face cannot be mixed with other classes")
    classes, view, usual = (("cat",), "face", 64) if face else (classes, "whole", 32)
    for kind in classes:
        images._check_option("class to draw", kind, (*drawn.CLASSES, "face"))
    n = images.SPLITS[split] * len(classes) if n is None else n
    if n < 1:
        raise ValueError(f"n={n}: take at least 1 picture, or None for all")
    pixels, labels = [], []
    for block in range(-(-n // _BLOCK)):
        seed = _SEED + 2 * block + (split == "test")
        part = drawn.draw(_BLOCK, classes, usual if size is None else size, seed, view)
        pixels.append(((part.images + 1) * 127.5).round().byte())  # 8 bits, as photographs have
        labels.append(torch.tensor([classes.index(drawn.CLASSES[label]) for label in part.labels]))
    return ImageSet(torch.cat(pixels)[:n], torch.cat(labels)[:n], classes, name, False)
