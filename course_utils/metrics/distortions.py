"""Ways to spoil pictures by degrees, to learn which of them a score notices."""

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.metrics import files

RECTANGLES = 5


def distort(images: Tensor, name: str, amount: float, generator: torch.Generator | None = None) -> Tensor:
    """Return images spoilt by `name`, one of DISTORTIONS, to a degree from 0 (as they were) to 1: same shape, [-1, 1].

    Noise, blur, swirl and rectangles are those of Heusel et al. 2017, figure 3. At 1: "noise" has standard deviation
    0.5; "blur" one of a 16th of the side; "swirl" turns the middle by 3 radians; "rectangles" are five black squares, a
    quarter of the side wide each; "jpeg" has quality 5 (from 95 near 0); "levels" are 4 for each colour, not 256.
    images (N, 3, H, W), float in [-1, 1]. generator: of noise and of the places of rectangles, picture by picture.
    Raises ValueError for an unknown name, an amount outside of [0, 1] and images of another shape or type.
    """
    if name not in DISTORTIONS:
        raise ValueError(f"unknown distortion {name!r}: choose one of {', '.join(DISTORTIONS)}")
    if not 0 <= amount <= 1:
        raise ValueError(f"amount must be from 0 to 1, got {amount}")
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be float in [-1, 1] of shape (N, 3, H, W), got {tuple(images.shape)}")
    return DISTORTIONS[name](images, amount, generator).clamp(-1, 1) if amount else images.clone()


def _noise(images: Tensor, amount: float, generator: torch.Generator | None) -> Tensor:
    return images + 0.5 * amount * torch.randn(images.shape, generator=generator).to(images)


def _blur(images: Tensor, amount: float, _: torch.Generator | None) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur  # costs a second to import

    sigma = amount * images.shape[-1] / 16
    width = 2 * min(round(3 * sigma) + 1, images.shape[-1] // 2) - 1
    return gaussian_blur(images, [max(width, 3)] * 2, [sigma] * 2)


def _swirl(images: Tensor, amount: float, _: torch.Generator | None) -> Tensor:
    from skimage.transform import swirl

    how = {"strength": 3 * amount, "radius": 2 * images.shape[-1], "mode": "reflect"}  # it fades within 0.14 radius
    turned = [swirl(image.permute(1, 2, 0).cpu().numpy(), **how) for image in images]
    return torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in turned]).to(images)


def _rectangles(images: Tensor, amount: float, generator: torch.Generator | None) -> Tensor:
    images, (height, width) = images.clone(), images.shape[-2:]
    side = amount * width / 4
    corner = torch.rand(2, len(images), RECTANGLES, 1, generator=generator)
    top, left = corner[0] * (height - side), corner[1] * (width - side)
    y, x = (torch.arange(size) + 0.5 for size in (height, width))
    inside = ((y > top) & (y < top + side))[..., None] & ((x > left) & (x < left + side))[..., None, :]
    return images.masked_fill(inside.any(1, keepdim=True).to(images.device), -1.0)


def _jpeg(images: Tensor, amount: float, _: torch.Generator | None) -> Tensor:
    return files.compressed(images, round(95 - 90 * amount))


def _levels(images: Tensor, amount: float, _: torch.Generator | None) -> Tensor:
    return files.quantised(images, round(2 ** (8 - 6 * amount)))


DISTORTIONS: dict[str, Callable[[Tensor, float, torch.Generator | None], Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "swirl": _swirl,
    "rectangles": _rectangles,
    "jpeg": _jpeg,
    "levels": _levels,
}
