"""Turned and shifted copies of training pictures, and what fills the corners that come into view."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CORNERS = ("reflect", "black")


def warp(x: Tensor, angle: Tensor, shift: Tensor, corners: str = "reflect") -> Tensor:
    """Turn each picture about its middle and shift it, between pixels bilinearly.

    x: (B, C, S, S) in [-1, 1]; angle: (B,) radians, counter-clockwise; shift: (B, 2) pixels, to the right and down.
    corners: what comes into view from outside, "reflect" (the picture mirrored at its edge) or "black". Returns the
    shape of x. Raises ValueError for another filling, and shapes that do not fit.
    """
    if corners not in CORNERS:
        raise ValueError(f"unknown corners {corners!r}: choose one of {', '.join(CORNERS)}")
    b, _, h, w = x.shape
    if h != w or angle.shape != (b,) or shift.shape != (b, 2):
        raise ValueError(
            f"warp takes square pictures, an angle (B,) and a shift (B, 2) for each: got {tuple(x.shape)}, "
            f"{tuple(angle.shape)} and {tuple(shift.shape)}"
        )
    cos, sin = angle.cos(), angle.sin()
    # where a pixel of the result comes from, in units in which the picture reaches from -1 to 1, y down
    right, down = -shift.unbind(1)[0] * 2 / w, -shift.unbind(1)[1] * 2 / h
    theta = torch.stack([cos, -sin, cos * right - sin * down, sin, cos, sin * right + cos * down], 1).view(b, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    if corners == "reflect":
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return F.grid_sample(x + 1, grid, padding_mode="zeros", align_corners=False) - 1


def moves(n: int, degrees: float, pixels: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return n angles, uniform in +-degrees and given in radians, (n,), and shifts by whole pixels in +-pixels, (n, 2).

    generator: on the CPU; it draws as much whatever the arguments are.
    """
    angle = (2 * torch.rand(n, generator=generator) - 1) * math.radians(degrees)
    shift = ((2 * torch.rand(n, 2, generator=generator) - 1) * (pixels + 0.5)).round().clamp(-pixels, pixels)
    return angle, shift
