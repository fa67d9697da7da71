"""Diffusion in the latent space of a trained VAE: complete training configurations, and the parts that each builds."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from course_utils import checkpoints, schedules
from course_utils.data.images import ImageSet
from course_utils.models.latent import LatentConfig, LatentDiffusion
from course_utils.models.unet import UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.recipes.diffusion import Batches, Recipe
from course_utils.schedules import Schedule
from course_utils.training import EMA

NETWORKS: dict[str, UNetConfig] = {
    "latent": UNetConfig(size=8, width=48, multipliers=(1, 2), blocks=1, attention=(8, 4)),
    "latent16": UNetConfig(size=16, width=56, blocks=1),
}


@dataclass(frozen=True)
class LatentRecipe(Recipe):
    """A complete run of a `LatentDiffusion`; see also `Recipe`, whose network is here one of NETWORKS.

    vae: name or path of the checkpoint of a `VAE` with a latent map, on whose latents the denoiser is trained.
    """

    data: str = "faces"
    size: int = 64
    network: str = "latent"
    vae: str = "vae-faces64-spatial"

    def network_config(self) -> LatentConfig:
        """Return the configuration of the network; ValueError for what does not fit, errors of `checkpoints.load`."""
        return self._config(self._vae().config)

    def _config(self, vae: VAEConfig) -> LatentConfig:
        if self.framework != "ddpm":
            raise ValueError(f"latents are diffused by framework=ddpm alone, got {self.framework!r}")
        if vae.size != self.size:
            raise ValueError(f"{self.vae} works on {vae.size} pixels, the recipe on {self.size}")
        if self.network not in NETWORKS:
            raise ValueError(f"unknown latent network {self.network!r}: choose one of {', '.join(NETWORKS)}")
        own = {"size": vae.grid, "channels": vae.latent, "predicts": self.predicts, "T": self.T}
        return LatentConfig(vae, replace(NETWORKS[self.network], **own, classes=self.classes))

    def build(self, device: torch.device | str = "cpu") -> tuple[LatentDiffusion, EMA, Schedule]:
        """Return the network with its trained VAE and an untrained denoiser, its average and the schedule."""
        vae = self._vae()
        config = self._config(vae.config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = LatentDiffusion(config)
        model.vae.load_state_dict(vae.state_dict())
        model = model.to(device, memory_format=torch.channels_last)
        return model, EMA(model, self.ema), schedules.make(self.schedule, self.T).to(device)

    def batches(
        self, images: ImageSet, schedule: Schedule, shard: tuple[int, int] = (0, 1), model: nn.Module | None = None
    ) -> "LatentBatches":
        """Return the function from step number to batch; sets the scale of the latents in `model`."""
        return LatentBatches(images, self, schedule, shard, model)

    def _vae(self) -> VAE:
        try:
            model = checkpoints.load(self.vae).model
        except (ValueError, FileNotFoundError) as error:
            way_out = "train a spatial VAE first, and name its model.safetensors by --set vae=PATH"
            raise ValueError(f"the VAE of this recipe is not there ({error}): {way_out}") from None
        if not isinstance(model, VAE) or not model.config.spatial:
            raise ValueError(f"{self.vae} is no VAE with a latent map: train one of the spatial recipes first")
        return model


class LatentBatches(Batches):
    """As `Batches`, of standardised latents: each a new draw from the encoder's q(z | x); errors as for these.

    All pictures are encoded once, and so are their mirror images, since the encoder need not mirror its answer.
    """

    def __init__(
        self, images, recipe: LatentRecipe, schedule: Schedule, shard: tuple[int, int], model: LatentDiffusion
    ):
        super().__init__(images, recipe, schedule, shard)
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 64):
                x = images[start : start + 64][0].to(schedule.device)
                both = (model.vae.encoder(side) for side in (x, x.flip(-1)))
                parts.append(torch.stack([torch.stack(moments).cpu() for moments in both]))
        self._mu, logvar = torch.cat(parts, dim=2).unbind(1)  # each (2, N, C, H, W), mirror images second
        self._sigma = (logvar / 2).exp()
        # the variance of a draw is that of mu plus the mean of sigma^2
        axes = (0, 1, 3, 4)
        variance = self._mu.var(dim=axes) + self._sigma.square().mean(dim=axes)
        model.mean.copy_(self._mu.mean(dim=axes).view_as(model.mean))
        model.std.copy_(variance.sqrt().view_as(model.std))
        self._moments = model.mean.cpu(), model.std.cpu()

    def pictures(self, step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return this process's latents and y of a step, and the generator of `chosen`."""
        index, mirror, generator = self.chosen(step)
        size = (self.recipe.batch_size, *self._mu.shape[2:])
        eps = torch.randn(size, generator=generator)[self.mine]
        mean, std = self._moments
        z = self._mu[mirror.long(), index] + self._sigma[mirror.long(), index] * eps
        return (z - mean) / std, self.images.labels[index], generator


RECIPES: dict[str, LatentRecipe] = {
    "ldm-faces64": LatentRecipe(),
    "ldm-drawn64": LatentRecipe(data="drawn:face", vae="vae-drawn64-spatial"),
}
