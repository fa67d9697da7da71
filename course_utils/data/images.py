"""Pictures as tensors: CIFAR-10 by class, cat faces, any folder; drawn pictures stand in for a set that is missing."""

import errno
import os
import shutil
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets import CIFAR10, OxfordIIITPet
from torchvision.datasets.utils import calculate_md5

from course_utils import paths
from course_utils.data import drawn
from course_utils.data.levels import from_bytes, to_bytes
from course_utils.data.photographs import DamagedDataError, check_size, to_rgb, unreadable, upright

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLITS = {"train": 5000, "test": 1000}  # images of one class of CIFAR-10, so as many of a drawn one
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
BY_HAND = "see data/README.md"


class MissingDataError(FileNotFoundError):
    """A set of images is not where it was looked for."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one size, in an order that the seed shuffled; works as a torch Dataset.

    pixels: (N, 3, S, S) uint8, kept as bytes because all of CIFAR-10 in float32 would take 614 MB.
    labels: (N,) int64, positions in `classes`. name: goes into figure titles. real: False for the drawn stand-in.
    """

    pixels: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...]
    name: str
    real: bool

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index) -> tuple[Tensor, Tensor]:
        """Return float32 images in [-1, 1] and labels: one (3, S, S), or (B, 3, S, S) for a slice or index tensor."""
        return from_bytes(self.pixels[index]), self.labels[index]

    @property
    def images(self) -> Tensor:
        """All images at once, (N, 3, S, S) float32 in [-1, 1]; index the set itself to convert a part only."""
        return self[:][0]


def cifar10(classes=("cat",), split="train", n=None, *, download=False, strict=False, root=None, seed=0) -> ImageSet:
    """Return the pictures of some CIFAR-10 classes, 32 px, or drawn ones and a notice where the set is missing.

    Looked for in `root` (default: the data folder) as cifar10/{split}/<class>/, as torchvision's cifar-10-batches-py,
    then as its archive placed there by hand. download=True fetches that (170 MB). classes: one name or several, which
    number the labels. split: "train" (5,000 a class) or "test" (1,000). n: how many in all; None takes every one.

    Raises ValueError (unknown class or split, wrong n), MissingDataError (strict, or a class that cannot be drawn),
    DamagedDataError (half-finished download, unreadable picture), OSError (no permission, full disk, no connection).
    """
    classes = (classes,) if isinstance(classes, str) else tuple(classes)
    for name in classes or ("",):
        _check_option("CIFAR-10 class", name, CIFAR10_CLASSES)
    _check_option("split", split, SPLITS)
    root = _data_folder(root)
    title = f"CIFAR-10 {_plural(classes)}, {split}"
    folders = [root / "cifar10" / split / name for name in classes]
    if all(path.is_dir() for path in folders):
        files = [(file, label, None) for label, path in enumerate(folders) for file in _list_images(path)]
        return _from_files(files, 32, classes, title, n, seed)
    archives = {root / CIFAR10.filename: (CIFAR10.url, CIFAR10.tgz_md5)}
    load = partial(CIFAR10, root, split == "train")
    dataset = _unpack("CIFAR-10", load, root, archives, [root / CIFAR10.base_folder], 360, download)
    if dataset is None:
        return _stand_in("CIFAR-10", "cifar10", root, classes, split, n, 32, seed, strict)
    numbers = [dataset.class_to_idx[name] for name in classes]
    index = np.flatnonzero(np.isin(dataset.targets, numbers))
    index = index[_choose(len(index), n, seed, title)]
    labels = torch.tensor([numbers.index(dataset.targets[i]) for i in index])
    pixels = torch.from_numpy(dataset.data[index]).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, labels, classes, title, True)


def cat_faces(split="train", n=None, size=64, *, download=False, strict=False, root=None, seed=0) -> ImageSet:
    """Return cat faces of size x size pixels, or drawn cats and a notice where no set is there.

    Looked for in `root` (default: the data folder) as cat_faces64/{split}/, then as the Oxford-IIIT Pet set
    (download=True fetches 811 MB), whose cats' heads are cropped square. Head boxes exist for its trainval part only
    (about 1,190 cats), so every seventh of those by name is our test split. n, seed and errors: see `cifar10`.
    """
    _check_option("split", split, SPLITS)
    root = _data_folder(root)
    if (path := root / "cat_faces64" / split).is_dir():
        files, title = [(file, 0, None) for file in _list_images(path)], f"cat faces, {split}"
    else:
        pets = root / "oxford-iiit-pet"
        archives = {pets / Path(url).name: (url, md5) for url, md5 in OxfordIIITPet._RESOURCES}
        folders = [pets / "images", pets / "annotations"]
        load = partial(OxfordIIITPet, root, "trainval")
        if _unpack("the Oxford-IIIT Pet set", load, root, archives, folders, 1700, download) is None:
            return _stand_in("the cat-face set", "cat_faces", root, ("cat",), split, n, size, seed, strict, "face")
        files = [head for i, head in enumerate(_cat_heads(pets)) if (i % 7 == 0) == (split == "test")]
        title = f"Oxford-IIIT Pet cat heads, {split}"
    return _from_files(files, size, ("cat",), title, n, seed)


def folder(path, size, fit="crop", n=None, *, skip_bad=False, seed=0) -> ImageSet:
    """Return the pictures that lie directly in a folder, size x size pixels, named and labelled after the folder.

    fit: "crop" keeps the largest centred square, "squash" keeps everything and changes the proportions. Pictures are
    turned upright by their EXIF tag, transparent parts become white, of an animation the first frame counts.
    n, seed: see `cifar10`. skip_bad=True leaves out files that cannot be read and prints their names.

    Raises FileNotFoundError (no such folder), MissingDataError (no images in it), PermissionError,
    DamagedDataError (a file that cannot be read), ValueError (wrong size, fit or n).
    """
    _check_option("fit", fit, ("crop", "squash"))
    path = Path(path).expanduser().resolve()
    files = [(file, 0, None) for file in _list_images(path)]
    return _from_files(files, size, (path.name,), path.name, n, seed, fit, skip_bad)


def _check_option(what: str, value, known) -> None:
    if value not in known:
        close = get_close_matches(str(value).lower(), known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(f"{value!r} is no {what}; {hint}There are: {', '.join(known)}")


def _plural(classes) -> str:
    names = " and ".join(name if name == "deer" else name + "s" for name in classes)
    return names if len(classes) < 4 else f"({len(classes)} classes)"


def _choose(count: int, n: int | None, seed: int, title: str) -> list[int]:
    if not 1 <= (count if n is None else n) <= count:
        raise ValueError(f"n={n}, but {title} has {count:,} images: take n from 1 to {count}, or None for all")
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:n].tolist()


def _data_folder(root) -> Path:
    root = Path(root or paths.data_dir()).expanduser()
    if root.exists():
        _list(root)  # raises: a folder that may not be read must not pass for an empty one
    return root


def _list(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError as error:  # not there, not a folder, no permission
        raise type(error)(error.errno, f"{error.strerror}: name a folder that you may read", str(path)) from None


def _list_images(path: Path) -> list[Path]:
    names = [name for name in _list(path) if not name.startswith(".")]  # macOS leaves ._x.jpg about
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    others = ", ".join([name for name in names if not name.lower().endswith(SUFFIXES)][:5])
    if not images:
        raise MissingDataError(f"{path} holds no images ({' '.join(SUFFIXES)}), but: {others or 'nothing'}")
    if others:
        print(f"Not read in {path.name}, as their names are not those of images: {others}")
    return [path / name for name in images]


def _crop_head(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Cut a square around the box with 15% of room, moved inwards where it would leave the picture."""
    side = min(1.15 * max(right - left, bottom - top), *image.size)
    spans = ((left + right, image.width), (top + bottom, image.height))
    left, top = (min(max((ends - side) / 2, 0), full - side) for ends, full in spans)
    return image.crop([round(edge) for edge in (left, top, left + side, top + side)])


def _read(path: Path, box, size: int, fit: str) -> np.ndarray:
    """Return (size, size, 3) uint8."""
    try:
        with Image.open(path) as file:
            if box is None:
                image = upright(file, (2 * size, 2 * size))
            else:
                image = _crop_head(to_rgb(file), *box)  # boxes count pixels as stored, before any rotation
        resize = ImageOps.fit if fit == "crop" else Image.Image.resize
        return np.asarray(resize(image, (size, size), Image.Resampling.LANCZOS))
    except Exception as error:  # Pillow and its decoders raise half a dozen types for damaged files
        reason = "the file is empty" if path.is_file() and not path.stat().st_size else error
        problem = f"{unreadable(path, reason)}. Delete it or put a good copy in its place"
        raise DamagedDataError(f"{problem}; folder(..., skip_bad=True) goes on without such files") from error


def _from_files(files, size, classes, title, n, seed, fit="crop", skip_bad=False) -> ImageSet:
    """Decode n of the files, each (path, label, box of the head or None)."""
    check_size(size)
    files = [files[i] for i in _choose(len(files), n, seed, title)]
    pixels, labels, bad = [], [], []
    for path, label, box in files:  # one after the other: threads made this slower, as they wait for each other
        try:
            pixels.append(_read(path, box, size, fit))
            labels.append(label)
        except DamagedDataError:
            bad.append(path.name)
            if not skip_bad or len(bad) == len(files):
                raise
    if bad:
        print(f"Skipped {len(bad)} of {len(files)} files that cannot be read as images: {', '.join(bad[:5])}")
    pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.tensor(labels), classes, title, True)


def _stand_in(title, function, root, classes, split, n, size, seed, strict, view="whole") -> ImageSet:
    how = f"get it with {function}(..., download=True), or {BY_HAND}"
    if strict or not set(classes) <= set(drawn.CLASSES):
        raise MissingDataError(f"{title} is not in {root} (what can be drawn: {', '.join(drawn.CLASSES)}). To {how}")
    name = f"drawn {_plural(classes)}" if view == "whole" else "drawn cat faces"
    print(f"{title[0].upper()}{title[1:]} is not in the data folder: using {name} instead. To {how}.")
    count = len(_choose(SPLITS[split] * len(classes), n, seed, name))
    own = 2 * seed + (split == "test")  # a seed of its own, so that test pictures do not repeat training pictures
    images, labels, _ = drawn.draw(count, kind=classes, size=size, seed=own, view=view)
    pixels = to_bytes(images)  # 8 bits, as photographs have
    labels = torch.tensor([classes.index(drawn.CLASSES[label]) for label in labels])
    return ImageSet(pixels, labels, classes, f"{name} ({title} is not here)", False)


def _unpack(title, load, root, archives, folders, disk, download):
    """Return torchvision's data set, unpacked or (if asked) downloaded first; None when nothing of it is there.

    archives: {path: (address, md5)}; folders: what they unpack to; disk: megabytes for all.
    """
    try:
        return load(download=False)
    except (RuntimeError, FileNotFoundError):  # torchvision's words for files that are missing or not whole
        new = [path for path in (*archives, *folders) if not path.exists()]
    _verify(archives)
    missing = [path for path in archives if path in new]
    if missing and not download:
        if len(new) == len(archives) + len(folders):
            return None
        raise DamagedDataError(f"{title} in {root} is not whole: get {missing[0]} by download=True; {BY_HAND}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if missing and shutil.disk_usage(root).free < 1e6 * disk:
            raise OSError(errno.ENOSPC, "no space left")  # rather now than at the end of a slow download
        return load(download=True)
    except BaseException as error:  # Ctrl-C as well: a half-unpacked folder would pass for a whole one
        for path in set(folders) & set(new):
            shutil.rmtree(path, ignore_errors=True)
        full = (number := getattr(error, "errno", None)) in (errno.ENOSPC, errno.EDQUOT)
        for path in missing:
            if full and path.exists() and calculate_md5(path) != archives[path][1]:
                path.unlink()  # but a whole archive stays: it was slow to get
        if full or number in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem = f"no space ({disk} MB needed, half-written files removed)" if full else "you may not write there"
            raise OSError(number, f"{title}: {problem}; COURSE_DATA can name another folder", str(root)) from error
        if not isinstance(error, Exception):
            raise
        _verify(archives)
        raise ConnectionError(f"{title} could not be fetched ({error}): try again later, or {BY_HAND}") from error


def _verify(archives) -> None:
    for path, (url, md5) in archives.items():
        if path.exists() and (found := calculate_md5(path)) != md5:
            cause = f"has checksum {found} instead of {md5}: a download that stopped half-way, or another file"
            way_out = f"Finish it with  curl -L -C - -o '{path}' {url}  or delete it and start again; {BY_HAND}"
            raise DamagedDataError(f"{path} ({path.stat().st_size / 1e6:.1f} MB) {cause}. {way_out}")


def _cat_heads(pets: Path) -> list[tuple[Path, int, list[float]]]:
    """Return (image, 0, (left, top, right, bottom)) for each cat with a head box in Oxford-IIIT Pet, by name."""
    boxes = {path: ET.parse(path).find("object[name='cat']/bndbox") for path in pets.glob("annotations/xmls/*.xml")}
    return [
        (pets / f"images/{path.stem}.jpg", 0, [float(box.findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax")])
        for path, box in sorted(boxes.items())
        if box is not None
    ]
