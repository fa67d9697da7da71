"""The simple baseline: convolutions down, transposed convolutions up, no skips, no attention."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.diffusion import PREDICTS
from course_utils.models.layers import check_images
from course_utils.models.unet import timestep_features


@dataclass(frozen=True)
class ConvNetConfig:
    """Sizes of a `ConvNet`: pixels a side, channels of the first layer, doubled at each of the `levels` halvings."""

    size: int = 32
    channels: int = 3
    width: int = 64
    levels: int = 3
    predicts: str = "eps"
    T: int = 1000

    def __post_init__(self):
        if self.predicts not in PREDICTS:
            raise ValueError(f"unknown predicts {self.predicts!r}: choose one of {', '.join(PREDICTS)}")
        if self.levels < 1 or self.size % 2**self.levels:
            raise ValueError(f"size {self.size} must be a multiple of 2^levels = {2**self.levels}")


class ConvNet(nn.Module):
    """Conv / ConvTranspose network with a time embedding: model(x_t, t) -> prediction, shaped like x_t.

    Everything passes through the narrow middle, so fine detail is lost: what the skips of a U-Net are for.
    x_t: (B, channels, size, size) float; t: (B,) whole numbers in 1..T; y is ignored.
    Raises ValueError for images of another shape.
    """

    def __init__(self, config: ConvNetConfig | None = None):
        super().__init__()
        self.config = config = config or ConvNetConfig()
        widths = [config.channels, *(config.width * 2**i for i in range(config.levels))]
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 4, stride=2, padding=1) for a, b in reversed(pairs))
        self.time = nn.ModuleList(nn.Linear(config.width, b) for _, b in pairs)
        self.norm = nn.ModuleList(nn.GroupNorm(max(b // 16, 1), b) for _, b in pairs)

    @property
    def predicts(self) -> str:
        """What the output means: "eps", "x_0" or "v"."""
        return self.config.predicts

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        config = self.config
        check_images(x_t, config.channels, config.size)
        features = timestep_features(t, config.width, config.T)
        x = x_t.contiguous(memory_format=torch.channels_last)
        for conv, time, norm in zip(self.down, self.time, self.norm, strict=True):
            x = F.silu(norm(conv(x)) + time(features)[:, :, None, None])
        for i, conv in enumerate(self.up):
            x = conv(x)
            if i < len(self.up) - 1:
                x = F.silu(x)
        return x.to(x_t.dtype)
