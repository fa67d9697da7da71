"""Ways to make a picture smaller and to store it: what happens to a set before anybody scores it."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_utils.data.levels import from_bytes, to_bytes

LANCZOS = Image.Resampling.LANCZOS


def resized(images: Tensor, size: int, filter: Image.Resampling) -> Tensor:
    """Return images (N, 3, H, W) resized to (N, 3, size, size) by Pillow, whose filters always antialias."""
    levels = to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()
    return _stacked([Image.fromarray(image).resize((size, size), filter) for image in levels]).to(images)


def interpolated(images: Tensor, size: int, mode: str, antialias: bool) -> Tensor:
    """Return images (N, 3, H, W) resized to (N, 3, size, size) by torch, clipped to [-1, 1]."""
    return F.interpolate(images, size=(size, size), mode=mode, antialias=antialias).clamp(-1, 1)


def compressed(images: Tensor, quality: int) -> Tensor:
    """Return images (N, 3, H, W) after JPEG compression by Pillow, of a quality from 1 to 100."""
    coded = [io.BytesIO() for _ in images]
    for image, file in zip(to_bytes(images).permute(0, 2, 3, 1).cpu().numpy(), coded, strict=True):
        Image.fromarray(image).save(file, "JPEG", quality=quality)
    return _stacked([Image.open(file) for file in coded]).to(images)


def quantised(images: Tensor, levels: int) -> Tensor:
    """Return images with so many levels of each colour, evenly from -1 to 1."""
    steps = levels - 1
    return ((images.clamp(-1, 1) + 1) / 2 * steps).round() / steps * 2 - 1


def _stacked(pictures: list[Image.Image]) -> Tensor:
    return from_bytes(torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2))


def _pillow(filter: Image.Resampling) -> Callable[[Tensor, int], Tensor]:
    return lambda images, size: resized(images, size, filter)


def _torch(mode: str, antialias: bool) -> Callable[[Tensor, int], Tensor]:
    return lambda images, size: interpolated(images, size, mode, antialias)


def _then(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    return lambda images, size: change(resized(images, size, LANCZOS))


WAYS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "Pillow, Lanczos": _pillow(LANCZOS),
    "Pillow, bicubic": _pillow(Image.Resampling.BICUBIC),
    "Pillow, bilinear": _pillow(Image.Resampling.BILINEAR),
    "Pillow, box": _pillow(Image.Resampling.BOX),
    "torch, bicubic, antialias": _torch("bicubic", True),
    "torch, bilinear, antialias": _torch("bilinear", True),
    "torch, bicubic, no antialias": _torch("bicubic", False),
    "torch, bilinear, no antialias": _torch("bilinear", False),
    "nearest pixel": _pillow(Image.Resampling.NEAREST),
    **{f"Lanczos, JPEG {quality}": _then(partial(compressed, quality=quality)) for quality in (100, 95, 90, 75, 50)},
    **{f"Lanczos, {levels} levels": _then(partial(quantised, levels=levels)) for levels in (128, 64, 32, 16)},
}
