"""Score one set of pictures against another: `python -m course_utils.evaluate SAMPLES REFERENCE` prints JSON."""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from course_utils.data import images, named
from course_utils.data.levels import from_bytes
from course_utils.metrics import features, protocol


class Source(NamedTuple):
    """Pictures to score: name, how many, their side in pixels, batches of (B, 3, size, size) float in [-1, 1]."""

    name: str
    n: int
    size: int
    batches: Iterator[Tensor]


def source(text: str, network_size: int, n: int | None = None, seed: int = 0, batch_size: int = 16) -> Source:
    """Return the pictures of a folder, or of a set as `named_set` spells it (./faces is a folder of that name).

    n: how many, drawn by `seed`; None for all. A folder's pictures are cropped to their central square and keep their
    side; where sides differ, they are brought to network_size. They are read batch by batch.
    Raises ValueError (n out of range, misspelt set), FileNotFoundError (neither folder nor set), DamagedDataError,
    MissingDataError (no images in a folder; a set not in the data folder: drawn pictures never stand in), OSError.
    """
    path = Path(text).expanduser()
    if text.split(":")[0] in named.SETS or (":" in text and not path.exists()):
        pictures = named.named_set(text, strict=True)
        rows = torch.tensor(images._choose(len(pictures), n, seed, pictures.name))
        batches = (pictures[part][0] for part in rows.split(batch_size))
        return Source(pictures.name, len(rows), pictures.pixels.shape[-1], batches)
    if not path.exists():
        raise FileNotFoundError(f"{text!r} is neither a folder nor a set. Sets are written {named.EXAMPLES}")
    files, name = images._list_images(path), path.resolve().name
    files = [files[i] for i in images._choose(len(files), n, seed, name)]
    sides = {_side(file) for file in files}
    size = sides.pop() if len(sides) == 1 else network_size
    parts = (files[i : i + batch_size] for i in range(0, len(files), batch_size))
    return Source(name, len(files), size, (_read(part, size) for part in parts))


def _side(file: Path) -> int:
    try:
        with Image.open(file) as picture:
            return min(picture.size)
    except Exception as error:  # Pillow raises half a dozen types for damaged files
        raise images.DamagedDataError(f"{file} cannot be read as an image ({error}): take it out") from error


def _read(files: list[Path], size: int) -> Tensor:
    pixels = np.stack([images._read(file, None, size, "crop") for file in files])
    return from_bytes(torch.from_numpy(pixels).permute(0, 3, 1, 2))


def evaluate(samples: str, reference: str, network: features.Network, **options) -> dict:
    """Return the numbers of `protocol.score`, the network, and names, n and size of both; options: see `source`.

    A number that is not defined (kid_se of few images) is None. Raises as `source` and `score` do.
    """
    both = [source(text, network.size, **options) for text in (samples, reference)]
    if few := [s for s in both if s.n < protocol.MIN_IMAGES]:
        raise ValueError(
            f"{few[0].name} gives {few[0].n} pictures, but {protocol.MIN_IMAGES} are the fewest to compare"
        )
    found = [features.extract(s.batches, network, progress=sys.stderr.isatty()) for s in both]
    numbers = protocol.score(*found, network, seed=options.get("seed", 0))
    result = {name: None if math.isnan(numbers[name]) else numbers[name] for name in protocol.NUMBERS}
    return (
        result | {"network": network.name} | {name: [getattr(s, name) for s in both] for name in ("name", "n", "size")}
    )


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
    parser.add_argument("--network", default="effnet-lite0", choices=("effnet-lite0", "inception"))
    parser.add_argument("--n", type=int, help="pictures of each, drawn at random (default: all)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the pictures drawn and of KID's subsets")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    try:
        with redirect_stdout(sys.stderr):  # notices of the loaders; stdout is for the JSON alone
            if given.batch_size < 1:
                raise ValueError(f"--batch-size {given.batch_size}: at least 1 picture at a time")
            network = features.network(given.network, _device(given.device))
            options = {"n": given.n, "seed": given.seed, "batch_size": given.batch_size}
            result = evaluate(given.samples, given.reference, network, **options)
    except (OSError, ValueError) as error:
        print("evaluate:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    print(json.dumps(result | {"seed": given.seed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
