"""Photographs of one's own: read upright, in RGB and not too large, and the square that a box cuts out of one."""

import io
import math
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from course_utils.data.levels import from_bytes

LONGEST = 2048  # pixels of the longer side in memory: 12 MB, and far more than a face at 64 or 128 px needs
UPLOADED = "the uploaded file"
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


class DamagedDataError(ValueError):
    """A file is there but cannot be used: not an image, cut short, or not what its name promises."""


def load(source) -> Image.Image:
    """Return a photograph in RGB, upright by its EXIF tag, on white where transparent, at most LONGEST px a side.

    source: a path, the bytes of a file, a file opened for reading bytes, or an image of Pillow. Of an animation the
    first frame counts, and 16 bits a channel become 8. A JPEG of 40 megapixels takes about half a second.
    Raises DamagedDataError (no image, or a damaged one), OSError (a path that cannot be read), TypeError.
    """
    given = isinstance(source, Image.Image)
    data, name = (None, getattr(source, "filename", "") or "the image") if given else _contents(source)
    try:
        image = to_rgb(ImageOps.exif_transpose(source)) if given else _decode(data)
    except Exception as error:  # Pillow and its decoders raise half a dozen types for damaged files
        problem = unreadable(name, _reason(error, data))
        raise DamagedDataError(f"{problem}. Take another file, or save it again as JPEG or PNG") from error
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image


def centred(image: Image.Image) -> tuple[float, float, float]:
    """Return the largest square in the middle of an image as a box (left, top, side) in its pixels."""
    side = min(image.size)
    return (image.width - side) / 2, (image.height - side) / 2, float(side)


def crop(image: Image.Image, box, size: int) -> Tensor:
    """Return what a square box holds as (3, size, size) float32 in [-1, 1], resized by Lanczos' filter.

    image: as `load` returns it. box: (left, top, side) in pixels of that image, counted from its upper left corner;
    fractions are allowed. Raises ValueError for a box that is not three finite numbers, has a side below 1 or leaves
    the image, and for a wrong size; TypeError for an image that is not Pillow's.
    """
    check_size(size)
    if not isinstance(image, Image.Image):
        raise TypeError(f"image must be one of Pillow, as photographs.load returns it, got {type(image).__name__}")
    try:
        left, top, side = (float(number) for number in box)
    except (TypeError, ValueError):
        raise ValueError(f"box must be three numbers (left, top, side) in pixels, got {box!r}") from None
    if not all(map(math.isfinite, (left, top, side))):
        raise ValueError(f"box must be finite, got (left, top, side) = {box!r}")
    if side < 1:
        raise ValueError(f"the side of the box must be at least 1 pixel, got {side:g}")
    if min(left, top) < 0 or left + side > image.width or top + side > image.height:
        extent = f"from ({left:g}, {top:g}) to ({left + side:g}, {top + side:g})"
        raise ValueError(f"the box {extent} leaves the picture, which has {image.width} × {image.height} pixels")
    edges = (left, top, left + side, top + side)
    resized = to_rgb(image).resize((size, size), Image.Resampling.LANCZOS, edges)
    return from_bytes(torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous())


def check_size(size) -> None:
    """Raise ValueError for a side of a picture that is no whole number of at least 1."""
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size counts pixels: a whole number of at least 1, got {size!r}")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as 8-bit RGB, on white where transparent; ValueError for floating-point pixels."""
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's own conversion turns all above 255 white
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 bits a channel")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def upright(file: Image.Image, enough: tuple[int, int]) -> Image.Image:
    """Decode a freshly opened image in RGB, turned as its EXIF tag says; a JPEG may come smaller than it is stored.

    enough: (width, height) that it keeps at least. A large JPEG decodes several times faster at 1/2, 1/4 or 1/8.
    """
    file.draft(None, enough)
    return to_rgb(ImageOps.exif_transpose(file))


def unreadable(name, reason) -> str:
    """Return the first sentence of every message about a file that is no image, without its full stop."""
    return f"{name} cannot be read as an image ({reason})"


def _decode(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # phones take 108 megapixels; Pillow warns of an attack from 89 on, and refuses from 179 on
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data)) as file:
            ratio = LONGEST / max(file.size)
            return upright(file, tuple(math.ceil(ratio * side) for side in file.size))


def _contents(source) -> tuple[bytes, str]:
    """Return the bytes of a file, and its name for messages."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        try:
            return path.read_bytes(), str(path)
        except OSError as error:  # not there, a folder, no permission
            raise type(error)(error.errno, f"{error.strerror}: name a file that you may read", str(path)) from None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), UPLOADED
    data = source.read() if hasattr(source, "read") else None
    if not isinstance(data, bytes):
        what = "a file opened as text: open it with mode 'rb'" if isinstance(data, str) else type(source).__name__
        raise TypeError(f"a photograph is a path, bytes, an open file or an image of Pillow, not {what}")
    name = getattr(source, "name", None)
    return data, name if isinstance(name, str) else UPLOADED


def _reason(error: Exception, data: bytes | None) -> str:
    if data == b"":
        return "the file is empty"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels: save it smaller"
    if isinstance(error, UnidentifiedImageError):  # its own text names an object in memory
        if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
            return "it is HEIC, as iPhones save photographs: export it as JPEG"
        return "its content is that of no image format that Pillow knows"
    return str(error)
