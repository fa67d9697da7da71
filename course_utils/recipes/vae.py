"""Variational autoencoders on pictures: complete training configurations, and the parts that each one builds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import elbo, training
from course_utils.data import augment
from course_utils.data.images import ImageSet
from course_utils.models.vae import VAE, VAEConfig
from course_utils.recipes.base import BaseRecipe, Pictures
from course_utils.training import EMA, TrainStep

NETWORKS: dict[str, VAEConfig] = {
    "vector": VAEConfig(width=16),
    "wide": VAEConfig(width=64),  # for a GPU
    "deeper": VAEConfig(multipliers=(1, 2, 3, 4, 4)),
    "map8": VAEConfig(multipliers=(1, 2, 4), latent=8, spatial=True),  # a grid of 8 x 8 at 64 pixels
    "map16": VAEConfig(multipliers=(1, 2), latent=4, spatial=True),
    "tiny": VAEConfig(size=32, width=16, latent=32),
}


@dataclass(frozen=True)
class VAERecipe(BaseRecipe):
    """A complete run of a VAE; see also `BaseRecipe`. network: one of NETWORKS; latent: its length or channels.

    kl_weight, free_bits, likelihood and scale: as in `elbo.terms`. kl_warmup: steps in which the KL weight grows from 0
    to its value (Bowman et al. 2016, section 3.1), 0 for none. turn: degrees, shift: pixels, by which training
    pictures are moved at most, corners: what fills the rest, see `augment.warp`. dropout: in the networks. Other fields
    as in `training.fit`.
    """

    size: int = 64
    data: str = "faces"
    ema: float = 0.999
    network: str = "vector"
    latent: int = 256
    kl_weight: float = 0.02
    kl_warmup: int = 0
    free_bits: float = 0.0
    likelihood: str = "gaussian"
    scale: float = 1.0
    dropout: float = 0.0
    turn: float = 0.0
    shift: int = 0
    corners: str = "reflect"
    lr: float = 1e-3
    warmup: int = 200
    decay: bool = False
    clip: float | None = 1.0
    weight_decay: float = 1e-4
    precision: str = "bfloat16"

    def network_config(self) -> VAEConfig:
        """Return the configuration of the network; raises ValueError for an unknown or unfitting one."""
        if self.network not in NETWORKS:
            raise ValueError(f"unknown VAE {self.network!r}: choose one of {', '.join(NETWORKS)}")
        if self.classes:
            raise ValueError("the VAE takes no classes: leave classes at 0")
        return replace(NETWORKS[self.network], size=self.size, latent=self.latent, dropout=self.dropout)

    def schedule_facts(self) -> None:
        """A VAE has no schedule."""
        return

    def build(self, device: torch.device | str = "cpu") -> tuple[VAE, EMA, None]:
        """Return the untrained network (initialised from the seed), its average, and None."""
        config = self.network_config()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = VAE(config)
        model = model.to(device, memory_format=torch.channels_last)
        return model, EMA(model, self.ema), None

    def batches(
        self, images: ImageSet, device: torch.device | str = "cpu", shard: tuple[int, int] = (0, 1)
    ) -> "VAEBatches":
        """Return the function from step number to batch; `shard` is (rank, number of processes)."""
        return VAEBatches(images, self, torch.device(device), shard)

    def terms(self, model: nn.Module, x: Tensor, eps: Tensor | None = None, warm: float = 1.0) -> elbo.Terms:
        """Return the terms of the bound for images x, in nats per image; eps as for `VAE`, warm: see `VAEBatch`."""
        out, weight = model(x, eps), warm * self.kl_weight
        how = {"kind": self.likelihood, "scale": self.scale, "kl_weight": weight, "free_bits": self.free_bits}
        return elbo.terms(x, out.x_hat, out.mu, out.logvar, **how)

    def loss(self, model: nn.Module, batch: "VAEBatch") -> Tensor:
        """Mean over the batch of the weighted negative bound, divided by the numbers in an image."""
        return self.terms(model, *batch).loss.mean() / batch.x[0].numel()

    def fit(
        self,
        model: VAE,
        ema: EMA,
        images: ImageSet,
        schedule: None = None,
        shard: tuple[int, int] = (0, 1),
        **options: Any,
    ) -> Iterator[TrainStep]:
        """Train what `build` returned on `images` as this recipe says; options and errors as for `training.fit`."""
        return training.fit(
            model,
            self.loss,
            self.batches(images, next(model.parameters()).device, shard),
            self.steps,
            ema=ema,
            **self.optimisation(),
            **options,
        )


class VAEBatch(NamedTuple):
    """x: (B, 3, S, S) in [-1, 1]; eps: (B, *latent_shape), standard normal; warm: share of the KL weight, 0 to 1."""

    x: Tensor
    eps: Tensor
    warm: float = 1.0


class VAEBatches(Pictures):
    """A function from the step's number to its `VAEBatch`; errors as for `Pictures` and `augment.warp`."""

    def __init__(self, images: ImageSet, recipe: VAERecipe, device: torch.device, shard: tuple[int, int] = (0, 1)):
        super().__init__(images, recipe, shard)
        self.device, self.shape = device, recipe.network_config().latent_shape

    def __call__(self, step: int) -> VAEBatch:
        recipe = self.recipe
        x, _, generator = self.pictures(step)
        eps = torch.randn(recipe.batch_size, *self.shape, generator=generator)[self.mine]
        if recipe.turn or recipe.shift:
            # drawn for the whole batch, then cut: each process moves its pictures as one process alone would
            moves = augment.moves(recipe.batch_size, recipe.turn, recipe.shift, generator)
            x = augment.warp(x, *(part[self.mine] for part in moves), recipe.corners)
        warm = min(1.0, step / recipe.kl_warmup) if recipe.kl_warmup else 1.0
        return VAEBatch(x.to(self.device), eps.to(self.device), warm)


_SOURCES = VAERecipe()  # the sources' KL weight of 0.02 reconstructs well; for samples, notebook 05 finds, it is low
_MAP = _SOURCES.changed(network="map8", latent=8, kl_weight=1e-3)
RECIPES: dict[str, VAERecipe] = {
    "vae-faces64": _SOURCES.changed(kl_weight=0.5),
    "vae-faces64-spatial": _MAP,
    "vae-drawn64": _SOURCES.changed(data="drawn:face", kl_weight=0.1),
    "vae-drawn64-spatial": _MAP.changed(data="drawn:face"),
    # the sources' second run: latent 512, one stage deeper, pictures moved about
    "vae-faces64-turned": _SOURCES.changed(network="deeper", latent=512, turn=15.0, shift=4, corners="black"),
}
