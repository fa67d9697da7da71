"""Diffusion in the latent space of an autoencoder (Rombach et al. 2022): a denoiser, and the VAE that it works in."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from course_utils.models.unet import UNet, UNetConfig
from course_utils.models.vae import VAE, VAEConfig


@dataclass(frozen=True)
class LatentConfig:
    """Configurations of a `LatentDiffusion`; the denoiser's size and channels must be those of the VAE's latent map.

    Both may be given as dictionaries of fields. Raises ValueError for a VAE whose latent is no map, or another size.
    """

    vae: VAEConfig = field(default_factory=lambda: VAEConfig(multipliers=(1, 2, 4), latent=4, spatial=True))
    denoiser: UNetConfig = field(
        default_factory=lambda: UNetConfig(size=8, channels=4, multipliers=(1, 2), attention=(8, 4))
    )

    def __post_init__(self):
        for name, kind in (("vae", VAEConfig), ("denoiser", UNetConfig)):
            if isinstance(given := getattr(self, name), dict):  # from JSON
                object.__setattr__(self, name, kind(**given))
        own = (self.denoiser.channels, self.denoiser.size, self.denoiser.size)
        if own != self.vae.latent_shape:
            raise ValueError(f"the denoiser works on {own}, but the latent of the VAE is {self.vae.latent_shape}")

    @property
    def size(self) -> int:
        """Pixels a side of the images."""
        return self.vae.size

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.vae.channels

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of what is noised and denoised, for one image."""
        return self.vae.latent_shape

    @property
    def classes(self) -> int:
        """How many classes the denoiser knows."""
        return self.denoiser.classes


class LatentDiffusion(nn.Module):
    """model(z_t, t, y=None) -> prediction, shaped like z_t: a `UNet` on latents of unit variance, not on images.

    Source: Rombach et al. 2022, section 3, whose rescaling (appendix G) is done channel by channel here. `encode` leads
    from images to such latents and `decode` back; the VAE is frozen. Errors as for `UNet` and `VAE`.
    """

    def __init__(self, config: LatentConfig | None = None):
        super().__init__()
        self.config = config = config or LatentConfig()
        self.denoiser, self.vae = UNet(config.denoiser), VAE(config.vae).requires_grad_(False)
        shape = (config.latent_shape[0], 1, 1)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))

    @property
    def predicts(self) -> str:
        """What the output means: "eps", "x_0" or "v", of latents."""
        return self.denoiser.predicts

    def forward(self, z_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.denoiser(z_t, t, y)

    @torch.no_grad()
    def encode(self, x: Tensor, eps: Tensor | None = None) -> Tensor:
        """Return standardised latents (B, *latent_shape) of images x (B, C, S, S); eps: as for `VAE`."""
        return (self.vae(x, eps).z - self.mean) / self.std

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return images (B, C, S, S) in [-1, 1] of standardised latents (B, *latent_shape)."""
        return self.vae.decode(z * self.std + self.mean)
