"""Score one set of pictures against another: `python -m course_utils.evaluate SAMPLES REFERENCE` prints JSON."""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_utils.data import images, named
from course_utils.data.levels import from_bytes
from course_utils.metrics import cache, features, protocol
from course_utils.metrics import files as resizing


class Source(NamedTuple):
    """Pictures to score: name, how many, their side in pixels, and a function that starts to read them.

    It returns batches of (B, 3, size, size) float in [-1, 1], the same with each call.
    """

    name: str
    n: int
    size: int
    batches: Callable[[], Iterator[Tensor]]


def source(text: str, n: int | None = None, seed: int = 0, batch_size: int = 16, size: int | None = None) -> Source:
    """Return the pictures of a folder, or of a set as `named_set` spells it (./faces is a folder of that name).

    n: how many, drawn by `seed`; None for all. size: the side in pixels to bring them to (Lanczos); None to keep their
    own. A folder's pictures are cropped to their central square. They are read batch by batch.
    Raises ValueError (n out of range, misspelt set, sides that differ), FileNotFoundError (neither folder nor set),
    DamagedDataError, MissingDataError (no images in a folder; a set not in the data folder: drawn pictures never stand
    in), OSError.
    """
    if size is not None and size < 1:
        raise ValueError(f"--size {size}: a side has at least 1 pixel")
    path = Path(text).expanduser()
    if (kind := text.split(":")[0]) in named.SETS or (":" in text and not path.exists()):
        pictures = named.named_set(text, size=None if kind == "cifar10" else size, strict=True)
        rows = torch.tensor(images._choose(len(pictures), n, seed, pictures.name))
        parts, side = rows.split(batch_size), size or pictures.pixels.shape[-1]
        return Source(pictures.name, len(rows), side, lambda: (_resized(pictures.pixels[part], side) for part in parts))
    if not path.exists():
        raise FileNotFoundError(f"{text!r} is neither a folder nor a set. Sets are written {named.EXAMPLES}")
    files, name = images._list_images(path), path.resolve().name
    files = [files[i] for i in images._choose(len(files), n, seed, name)]
    if size is None:
        sides = sorted({_side(file) for file in files})
        if len(sides) > 1:
            raise ValueError(f"{name} holds pictures of {sides[0]} to {sides[-1]} pixels a side: {_way_out(sides[0])}")
        size = sides[0]
    parts = [files[i : i + batch_size] for i in range(0, len(files), batch_size)]
    return Source(name, len(files), size, lambda: (_read(part, size) for part in parts))


def _way_out(size: int) -> str:
    return f"their scores would measure resolution. --size {size} brings samples and reference to one size"


def _side(file: Path) -> int:
    try:
        with Image.open(file) as picture:
            return min(picture.size)
    except Exception as error:  # Pillow raises half a dozen types for damaged files
        raise images.DamagedDataError(f"{file} cannot be read as an image ({error}): take it out") from error


def _read(files: list[Path], size: int) -> Tensor:
    pixels = np.stack([images._read(file, None, size, "crop") for file in files])
    return from_bytes(torch.from_numpy(pixels).permute(0, 3, 1, 2))


def _resized(pixels: Tensor, size: int) -> Tensor:
    """Return levels (B, 3, S, S) as floats of size x size pixels, made as `images._read` makes those of a file."""
    images = from_bytes(pixels)
    return images if pixels.shape[-1] == size else resizing.resized(images, size, resizing.LANCZOS)


def evaluate(
    samples: str, reference: str, network: features.Network, *, seed: int = 0, keep: bool = True, **options
) -> dict:
    """Return the numbers of `protocol.score`, the network, and names, n and size of both; options: see `source`.

    A number that is not defined (kid_se of few images) is None. keep: look for features in the cache and store them
    there. Warnings go to stderr: pictures that both sets hold, and numbers of pictures that differ.
    Raises ValueError for sides that differ, too few pictures and sets that hold the same pictures; and as `source` and
    `score` do.
    """
    made, real = both = [source(text, seed=seed, **options) for text in (samples, reference)]
    if few := [s for s in both if s.n < protocol.MIN_IMAGES]:
        raise ValueError(
            f"{few[0].name} gives {few[0].n} pictures, but {protocol.MIN_IMAGES} are the fewest to compare"
        )
    if made.size != real.size:
        sides = f"{made.name} has {made.size} pixels a side, {real.name} has {real.size}"
        raise ValueError(f"{sides}: {_way_out(min(made.size, real.size))}")
    known = [cache.digests(s.batches) for s in both]
    for warning in _doubts(made, real, *known):
        print(f"Warning: {warning}", file=sys.stderr)
    found = [_features(s, network, digests, keep) for s, digests in zip(both, known, strict=True)]
    numbers = protocol.score(*found, network, seed=seed)
    result = {name: None if math.isnan(numbers[name]) else numbers[name] for name in protocol.NUMBERS}
    return (
        result | {"network": network.name} | {name: [getattr(s, name) for s in both] for name in ("name", "n", "size")}
    )


def _doubts(made: Source, real: Source, samples: list[bytes], reference: list[bytes]) -> Iterator[str]:
    if Counter(samples) == Counter(reference):
        problem = f"{made.name} and {real.name} hold the same {made.n} pictures, pixel by pixel"
        raise ValueError(f"{problem}: FD would be 0 whatever they show, no measurement. Name two sets that differ")
    there = set(reference)
    if shared := sum(digest in there for digest in samples):
        yield (
            f"in {real.name} as well, pixel by pixel: {shared} of the {made.n} samples. Copies score better than "
            "anything new could: were they memorised, or did the reference leak into the samples?"
        )
    if made.n != real.n:
        yield (
            f"{made.n} samples against {real.n} reference pictures. FD comes out too high by about c/n for the n of "
            "each side: compare it only with scores at these two numbers. "
            f"--n {min(made.n, real.n)} takes as many of both"
        )


def _features(pictures: Source, network: features.Network, known: list[bytes], keep: bool) -> Tensor:
    progress = sys.stderr.isatty()
    try:
        if keep:
            return cache.features(pictures.batches, network, known=known, progress=progress)
        found = features.extract(pictures.batches, network, progress=progress)
        features.check(found)
        return found
    except images.DamagedDataError:
        raise
    except ValueError as error:
        raise ValueError(f"{pictures.name}: {error}") from None


def _device(name: str) -> torch.device:
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # an unknown name, no such device, a torch without CUDA
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}; cpu is always there") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Score SAMPLES against REFERENCE, each a folder of pictures or a named set, and print one JSON object."""
    parser = argparse.ArgumentParser("python -m course_utils.evaluate", description=main.__doc__)
    parser.add_argument("samples", help=f"folder, or one of {named.EXAMPLES}")
    parser.add_argument("reference", help="real pictures, in the same way")
    parser.add_argument("--network", default="effnet-lite0", choices=tuple(features.NETWORKS))
    parser.add_argument("--n", type=int, help="pictures of each, drawn at random (default: all)")
    parser.add_argument("--size", type=int, help="side in pixels to bring both to (default: their own, if it is one)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the pictures drawn and of KID's subsets")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-cache", action="store_true", help="neither look for stored features nor store any")
    given = parser.parse_args(arguments)
    try:
        with redirect_stdout(sys.stderr):  # notices of the loaders; stdout is for the JSON alone
            if given.batch_size < 1:
                raise ValueError(f"--batch-size {given.batch_size}: at least 1 picture at a time")
            network = features.network(given.network, _device(given.device))
            options = {"n": given.n, "seed": given.seed, "batch_size": given.batch_size, "size": given.size}
            result = evaluate(given.samples, given.reference, network, keep=not given.no_cache, **options)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print("evaluate:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(result | {"seed": given.seed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
