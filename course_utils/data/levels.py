"""Pictures as bytes and as floats: level 0 is -1, level 255 is 1."""

from torch import Tensor


def to_bytes(images: Tensor) -> Tensor:
    """Return images in [-1, 1] rounded to their levels, uint8 of the same shape; values outside are clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()


def from_bytes(levels: Tensor) -> Tensor:
    """Return levels, uint8, as float32 images in [-1, 1] of the same shape."""
    return levels.float() / 127.5 - 1
