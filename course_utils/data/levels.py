"""Pictures as bytes and as floats: level 0 is -1, level 255 is 1."""

from torch import Tensor

_ROUNDING = 1e-4  # by which an image may leave [-1, 1]


def to_bytes(images: Tensor) -> Tensor:
    """Return images in [-1, 1] rounded to their levels, uint8 of the same shape; values outside are clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte()


def from_bytes(levels: Tensor) -> Tensor:
    """Return levels, uint8, as float32 images in [-1, 1] of the same shape."""
    return levels.float() / 127.5 - 1


def in_range(images: Tensor, what: str) -> Tensor:
    """Return images clamped to [-1, 1]; raises ValueError, naming `what`, where that would change more than rounding.

    Also for whole numbers, which are levels, and for what is not finite.
    """
    if not (images.is_floating_point() and bool((images.abs() <= 1 + _ROUNDING).all())):  # nan is not, either
        span = f"{float(images.min()):g} to {float(images.max()):g}"
        raise ValueError(f"{what} must lie in [-1, 1], got {span}: bytes become images by x / 127.5 - 1")
    return images.clamp(-1, 1)
