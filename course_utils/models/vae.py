"""Variational autoencoders (Kingma & Welling 2014) with residual convolutions, their latent a vector or a small map."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.elbo import reparametrise
from course_utils.models.layers import check_images, norm, zero

LOGVAR = (-14.0, 6.0)  # range of logvar, deviations from 0.001 to 20: an outlier cannot make exp overflow


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of a `VAE`.

    size: pixels a side. patch: side of the squares that are folded into channels before the first layer. width:
    channels at the top; `multipliers` scale it, one entry per resolution, each half of the one before. blocks: residual
    blocks per resolution. latent: length of z; with `spatial`, its channels on the grid of the last resolution.
    dropout: in the residual blocks. Raises ValueError for values that do not fit.
    """

    size: int = 64
    channels: int = 3
    patch: int = 2
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 1
    latent: int = 256
    spatial: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "multipliers", tuple(self.multipliers))  # JSON gives lists
        for name in ("size", "channels", "patch", "width", "blocks", "latent"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        fold = self.patch * 2 ** (len(self.multipliers) - 1)
        if not self.multipliers or self.size % fold:
            raise ValueError(
                f"size {self.size} must be a multiple of patch x 2^(levels - 1) = {fold}: "
                "take a smaller patch or fewer multipliers"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")

    @property
    def grid(self) -> int:
        """Side of the last resolution."""
        return self.size // self.patch // 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> list[int]:
        """Channels of each resolution, from the top."""
        return [m * self.width for m in self.multipliers]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the z of one image."""
        return (self.latent, self.grid, self.grid) if self.spatial else (self.latent,)


class Block(nn.Module):
    """Two convolutions around a skip (He et al. 2016, with the order of their later paper)."""

    def __init__(self, into: int, out: int, dropout: float):
        super().__init__()
        first = [norm(into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1)]
        second = [norm(out), nn.SiLU(), nn.Dropout(dropout), zero(nn.Conv2d(out, out, 3, padding=1))]
        self.body = nn.Sequential(*first, *second)
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Encoder(nn.Module):
    """Images (B, channels, size, size) -> mu and logvar of q(z | x), each (B, *latent_shape)."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config, layers = config, []
        into = config.channels * config.patch**2
        for i, width in enumerate(config.widths):
            stride = {"stride": 1 if i == 0 else 2, "padding": 1}
            layers.append(nn.Conv2d(into, width, 3, **stride))
            layers += [Block(width, width, config.dropout) for _ in range(config.blocks)]
            into = width
        layers += [norm(into), nn.SiLU()]
        if config.spatial:
            layers.append(nn.Conv2d(into, 2 * config.latent, 1))
        else:
            layers += [nn.Flatten(), nn.Linear(into * config.grid**2, 2 * config.latent)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_images(x, self.config.channels, self.config.size)
        x = F.pixel_unshuffle(x, self.config.patch).contiguous(memory_format=torch.channels_last)
        mu, logvar = self.layers(x).float().chunk(2, dim=1)  # what is made of them is computed in float32
        return mu, logvar.clamp(*LOGVAR)


class Decoder(nn.Module):
    """z (B, *latent_shape) -> the centre of p(x | z), (B, channels, size, size); images lie in [-1, 1], it may not."""

    def __init__(self, config: VAEConfig):
        super().__init__()
        self.config, layers, widths = config, [], config.widths[::-1]
        if config.spatial:
            layers.append(nn.Conv2d(config.latent, widths[0], 3, padding=1))
        else:
            map_ = (widths[0], config.grid, config.grid)
            layers += [nn.Linear(config.latent, widths[0] * config.grid**2), nn.Unflatten(1, map_)]
        into = widths[0]
        for i, width in enumerate(widths):
            if i:
                layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(into, width, 3, padding=1)]
            layers += [Block(width, width, config.dropout) for _ in range(config.blocks)]
            into = width
        layers += [norm(into), nn.SiLU(), nn.Conv2d(into, config.channels * config.patch**2, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[1:] != self.config.latent_shape:
            shape = ", ".join(map(str, ("B", *self.config.latent_shape)))
            raise ValueError(f"this decoder takes z of shape ({shape}), got {tuple(z.shape)}")
        return F.pixel_shuffle(self.layers(z), self.config.patch).float()


class Encoded(NamedTuple):
    """What a VAE makes of images: x_hat (B, C, S, S), the decoder's answer to z; mu, logvar, z: (B, *latent_shape)."""

    x_hat: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor


class VAE(nn.Module):
    """vae(x, eps=None) -> `Encoded`: the encoder's q(z | x), a z drawn from it, and the decoder's answer.

    Source: Kingma & Welling 2014, section 2.4: z = mu + exp(logvar / 2) eps. x: (B, channels, size, size) in [-1, 1];
    eps: (B, *latent_shape), standard normal; None takes z = mu. Raises ValueError for other shapes.
    """

    def __init__(self, config: VAEConfig | None = None):
        super().__init__()
        self.config = config = config or VAEConfig()
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def forward(self, x: Tensor, eps: Tensor | None = None) -> Encoded:
        mu, logvar = self.encoder(x)
        if eps is not None and eps.shape != mu.shape:
            raise ValueError(f"eps must have the shape {tuple(mu.shape)} of mu, got {tuple(eps.shape)}")
        z = mu if eps is None else reparametrise(mu, logvar, eps)
        return Encoded(self.decoder(z), mu, logvar, z)

    def decode(self, z: Tensor) -> Tensor:
        """Return images in [-1, 1], (B, channels, size, size), for z (B, *latent_shape); errors as for `Decoder`."""
        return self.decoder(z).clamp(-1, 1)
