"""Features kept on disk by the content of the pictures: a reference passes through a network once, not once a score.

One file of N x dim x 4 bytes for each set of pictures: 1,000 pictures take 5 MB (EfficientNet-Lite) or 8 MB
(Inception). They lie in `paths.cache_dir()`, which COURSE_CACHE names. Nothing is ever thrown out; to clear the cache,
delete that folder: what is missing is computed again.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from course_utils import checkpoints, paths
from course_utils.metrics.features import VERSION, Network, batches, check, extract, levels


def digests(images, batch_size: int = 16) -> list[bytes]:
    """Return the SHA-256 of each picture's shape and pixels, rounded to 256 levels, in order.

    images, batch_size: as `features.stream` takes them. Raises ValueError as a network does.
    """
    return [digest for batch in batches(images, batch_size) for digest in _digests(batch)]


def features(
    images, network: Network, batch_size: int = 16, *, known: list[bytes] | None = None, progress: bool = False
) -> Tensor:
    """Return what `features.extract` does, (N, dim) float32 on the CPU, from the cache where it is there.

    The key is the pixels of all pictures in order, the network's name, weights and kind of device, and the version of
    what it does to pictures; never the name or time of a file. A file that is damaged counts as missing, with a notice;
    where nothing can be written, a notice says so. Pictures pass by in a stream: once to know them, and where nothing
    is stored a second time through the network, in which they are compared with the first.
    images: as `features.stream` takes them, but not an iterator, which ends after one pass: a function that returns one
    does. known: their `digests`, where these are at hand. A network without a digest is computed anew each time.
    Raises ValueError (an iterator; pictures that changed between the passes; features not finite), and as the network.
    """
    if isinstance(images, Iterator):
        raise ValueError("images are read twice, and an iterator ends after one pass: give a function that returns it")
    known = digests(images, batch_size) if known is None else known
    key = _key(known, network)
    path = _path(key) if network.digest else None
    if path and (stored := _load(path, key, (len(known), network.dim))) is not None:
        return stored
    seen: list[bytes] = []

    def watched() -> Iterator[Tensor]:
        for batch in batches(images, batch_size):
            seen.extend(_digests(batch))
            yield batch

    found = extract(watched, network, progress=progress)
    if seen != known:
        raise ValueError("the pictures changed while they were read: start again once nothing writes to them")
    check(found)
    if path:
        _save(path, found, key)
    return found


def _digests(batch: Tensor) -> Iterator[bytes]:
    for picture in levels(batch).byte().cpu().numpy():
        yield hashlib.sha256(f"{picture.shape}".encode() + picture.tobytes()).digest()


def _key(known: list[bytes], network: Network) -> str:
    about = f"{VERSION} {network.name} {network.digest} {network.device.type} {len(known)} "
    return hashlib.sha256(about.encode() + b"".join(known)).hexdigest()


def _path(key: str) -> Path | None:
    try:
        return paths.cache_dir() / f"{key}.safetensors"
    except RuntimeError as error:  # a user without a home
        _not_kept(error)
        return None


def _facts(found: Tensor, key: str) -> dict[str, str]:
    return {"key": key, "sha256": hashlib.sha256(found.numpy().tobytes()).hexdigest()}


def _load(path: Path, key: str, shape: tuple[int, int]) -> Tensor | None:
    try:
        tensors, facts = checkpoints.read(path)
        found = tensors["features"]
        if found.shape == shape and bool(found.isfinite().all()) and facts == _facts(found, key):
            return found
        reason = "damaged"
    except FileNotFoundError:
        return None
    except (checkpoints.DamagedCheckpointError, KeyError):
        reason = "damaged"
    except OSError as error:
        reason = error.strerror
    print(f"Stored features cannot be used and are computed again: {path} ({reason})")
    return None


def _save(path: Path, found: Tensor, key: str) -> None:
    try:
        checkpoints.write(path, {"features": found}, _facts(found, key))
    except (OSError, SafetensorError) as error:  # the latter on a full disk
        _not_kept(error)


def _not_kept(error: Exception) -> None:
    print(f"Features are not kept for the next time ({error}): COURSE_CACHE can name a folder that you may write to")
