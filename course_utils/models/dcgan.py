"""The generator and discriminator of Radford et al. 2016, for 32 or 64 pixels, and two ways to tell them a class."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from course_utils.models.labels import check_labels, look_up
from course_utils.models.layers import check_images

CONDITIONING = ("tiled", "projection")
NORMS = ("batch", "spectral", "none")


@dataclass(frozen=True)
class DCGANConfig:
    """Sizes and choices of a `Generator` and its `Discriminator`.

    size: pixels a side, 4 times a power of two. z_dim: length of z. width: channels at half the size, doubled with
    every level down to 4 x 4. early: factor on the channels of the generator's first two levels. norm: in the
    discriminator, "batch" (Radford et al. 2016), "spectral" (Miyato et al. 2018) or "none"; the generator has batch
    norm. classes: 0 for none. conditioning: "tiled", an embedding as further channels of both inputs (as the sources
    did), or "projection", class-conditional batch norm in the generator and a projection in the discriminator.
    embedding: length of the tiled embedding. Raises ValueError for values that do not fit.
    """

    size: int = 32
    channels: int = 3
    z_dim: int = 128
    width: int = 64
    early: int = 1
    norm: str = "batch"
    classes: int = 0
    conditioning: str = "projection"
    embedding: int = 32

    def __post_init__(self):
        if self.size < 8 or not math.log2(self.size / 4).is_integer():
            raise ValueError(f"size must be 4 times a power of two, from 8 on, got {self.size}")
        for name, known in (("norm", NORMS), ("conditioning", CONDITIONING)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(known)}")
        for name in ("channels", "z_dim", "width", "early", "embedding"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.classes < 0:
            raise ValueError(f"classes must be at least 0, got {self.classes}")

    @property
    def latent_shape(self) -> tuple[int]:
        """Shape of the z of one image."""
        return (self.z_dim,)

    @property
    def levels(self) -> list[int]:
        """Channels at size / 2, size / 4, ..., 4."""
        return [self.width * 2**k for k in range(int(math.log2(self.size / 4)))]

    @property
    def tiled(self) -> int:
        """How many channels the tiled embedding adds, 0 for none."""
        return self.embedding if self.classes and self.conditioning == "tiled" else 0


class ConditionalNorm(nn.Module):
    """Batch norm with a gain and a bias for each class (Dumoulin et al. 2017); without classes, plain batch norm."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not classes)
        self.gain, self.bias = (nn.Embedding(classes, channels) if classes else None for _ in range(2))
        if classes:
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.gain is None:
            return x
        gain, bias = (look_up(table, y)[:, :, None, None] for table in (self.gain, self.bias))
        return x * gain + bias


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)  # Radford et al. 2016, section 4
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Generator(nn.Module):
    """generator(z, y=None) -> images (B, channels, size, size) in [-1, 1].

    Source: Radford et al. 2016, figure 1. z: (B, z_dim), standard normal; y: (B,) labels, or (B, classes) shares of a
    mixture, where the configuration has classes. Raises ValueError for z of another shape, and labels missing or out of
    range.
    """

    def __init__(self, config: DCGANConfig | None = None):
        super().__init__()
        self.config = config = config or DCGANConfig()
        levels = config.levels[::-1]
        levels = [m * (config.early if i < 2 else 1) for i, m in enumerate(levels)]
        self.embed = nn.Embedding(config.classes, config.tiled) if config.tiled else None
        own = 0 if config.tiled else config.classes
        into, self.layers, self.norms = config.z_dim + config.tiled, nn.ModuleList(), nn.ModuleList()
        for i, out in enumerate(levels):
            shape = {"stride": 1, "padding": 0} if i == 0 else {"stride": 2, "padding": 1}
            self.layers.append(nn.ConvTranspose2d(into, out, 4, **shape, bias=False))
            self.norms.append(ConditionalNorm(out, own))
            into = out
        self.last = nn.ConvTranspose2d(into, config.channels, 4, stride=2, padding=1)
        self.apply(_start)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        config = self.config
        if z.ndim != 2 or z.shape[1] != config.z_dim:
            raise ValueError(f"this generator takes z of shape (B, {config.z_dim}), got {tuple(z.shape)}")
        check_labels(y, config.classes)
        x = z if self.embed is None else torch.cat([z, look_up(self.embed, y)], dim=1)
        x = x[:, :, None, None].contiguous(memory_format=torch.channels_last)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x), y))
        return self.last(x).tanh()


class Discriminator(nn.Module):
    """discriminator(x, y=None) -> logits (B,), high for images that look real.

    Source: Radford et al. 2016, section 3; the projection is that of Miyato & Koyama 2018, eq. 3: the logit gains the
    inner product of the class's embedding and the features, summed over places. Raises ValueError for images of another
    shape, and labels missing or out of range.
    """

    def __init__(self, config: DCGANConfig | None = None):
        super().__init__()
        self.config = config = config or DCGANConfig()
        wrap = spectral_norm if config.norm == "spectral" else lambda layer: layer
        self.embed = nn.Embedding(config.classes, config.tiled) if config.tiled else None
        into, layers = config.channels + config.tiled, []
        for i, out in enumerate(config.levels):
            normed = config.norm == "batch" and i > 0
            layers.append(nn.Conv2d(into, out, 4, stride=2, padding=1, bias=not normed))
            layers += [nn.BatchNorm2d(out)] if normed else []
            layers.append(nn.LeakyReLU(0.2))
            into = out
        self.layers, self.last = nn.Sequential(*layers), nn.Conv2d(into, 1, 4)
        projected = config.classes and config.conditioning == "projection"
        self.project = nn.Embedding(config.classes, into) if projected else None
        self.apply(_start)
        if self.project is not None:
            nn.init.normal_(self.project.weight, std=0.02)
        for module in list(self.modules()):
            if isinstance(module, nn.Conv2d | nn.Embedding) and module is not self.embed:
                wrap(module)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        config = self.config
        check_images(x, config.channels, config.size)
        check_labels(y, config.classes)
        if self.embed is not None:
            x = torch.cat([x, look_up(self.embed, y)[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)
        h = self.layers(x.contiguous(memory_format=torch.channels_last))
        logit = self.last(h).flatten()
        if self.project is not None:
            logit = logit + (look_up(self.project, y) * h.sum(dim=(2, 3))).sum(dim=1)
        return logit
