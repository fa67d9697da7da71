"""GANs on pictures: complete training configurations, and the parts that each one builds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from course_utils import adversarial
from course_utils.adversarial import GANStep, Round
from course_utils.data.images import ImageSet
from course_utils.models.dcgan import DCGANConfig, Discriminator, Generator
from course_utils.recipes.base import BaseRecipe, Pictures
from course_utils.training import EMA


class Pair(nn.Module):
    """A generator and its discriminator, as one module."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator


@dataclass(frozen=True)
class AdversarialRecipe(BaseRecipe):
    """What the recipes of all GANs share; see also `BaseRecipe`.

    target_real, target_fake: the targets of `adversarial.discriminator_loss`, 1 and 0 without smoothing. beta1, beta2:
    of AdamW, which with weight_decay 0 is Adam. Other fields as in `adversarial.fit`.
    """

    batch_size: int = 64
    ema: float = 0.999
    z_dim: int = 128
    loss: str = "non_saturating"
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 0.01
    target_real: float = 1.0
    target_fake: float = 0.0
    input_noise: float = 0.0
    r1: float = 0.0
    r2: float = 0.0
    r_every: int = 1
    path: float = 0.0
    path_every: int = 8
    augmented: bool = False
    precision: str = "bfloat16"

    def pair(self) -> Pair:
        """Return both networks, untrained; raises ValueError for settings that do not fit."""
        raise NotImplementedError

    def rounds(self, images: ImageSet, pair: Pair, shard: tuple[int, int] = (0, 1)) -> "Rounds":
        """Return the function from the step's number to its `Round`; `shard` is (rank, number of processes)."""
        return Rounds(images, self, next(pair.parameters()).device, shard)

    def schedule_facts(self) -> None:
        """A GAN has no schedule."""
        return

    def build(self, device: torch.device | str = "cpu") -> tuple[Pair, EMA, None]:
        """Return both networks (initialised from the seed), the average of the generator, and None."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            pair = self.pair()
        pair = pair.to(device, memory_format=torch.channels_last)
        return pair, EMA(pair.generator, self.ema), None

    def fit(
        self,
        pair: Pair,
        ema: EMA,
        images: ImageSet,
        schedule: None = None,
        shard: tuple[int, int] = (0, 1),
        **options: Any,
    ) -> Iterator[GANStep]:
        """Train what `build` returned on `images` as this recipe says; options and errors as for `adversarial.fit`."""
        same = ("loss", "input_noise", "r1", "r2", "r_every", "path", "path_every", "augmented", "precision")
        return adversarial.fit(
            pair.generator,
            pair.discriminator,
            self.rounds(images, pair, shard),
            self.steps,
            lr=(self.lr_g, self.lr_d),
            betas=(self.beta1, self.beta2),
            weight_decay=self.weight_decay,
            targets=(self.target_real, self.target_fake),
            ema=ema,
            **{name: getattr(self, name) for name in same},
            **options,
        )


@dataclass(frozen=True)
class GANRecipe(AdversarialRecipe):
    """A complete run of a DCGAN; see also `AdversarialRecipe`. width to conditioning: as in `DCGANConfig`."""

    width: int = 64
    early: int = 1
    norm: str = "batch"
    conditioning: str = "projection"

    def network_config(self) -> DCGANConfig:
        """Return the configuration of both networks; raises ValueError for values that do not fit."""
        names = ("size", "width", "early", "z_dim", "norm", "classes", "conditioning")
        return DCGANConfig(**{name: getattr(self, name) for name in names})

    def pair(self) -> Pair:
        """Return both networks, untrained; raises ValueError for settings that do not fit."""
        config = self.network_config()
        return Pair(Generator(config), Discriminator(config))


class Rounds(Pictures):
    """A function from the step's number to its `Round`; errors as for `Pictures`."""

    def __init__(
        self, images: ImageSet, recipe: AdversarialRecipe, device: torch.device, shard: tuple[int, int] = (0, 1)
    ):
        super().__init__(images, recipe, shard)
        self.device, self.shard = device, shard

    def __call__(self, step: int) -> Round:
        x, y, generator = self.pictures(step)
        z = torch.randn(2, self.recipe.batch_size, self.recipe.z_dim, generator=generator)[:, self.mine]
        seed = (3 * step + 2) * self.shard[1] + self.shard[0] + self.recipe.seed * 1_000_003
        return Round(x.to(self.device), y.to(self.device) if self.recipe.classes else None, z.to(self.device), seed)


# the sources' way: the PyTorch tutorial's DCGAN with more channels early, the class tiled into extra channels
_SOURCES = GANRecipe(early=2, conditioning="tiled", ema=0.0)
_SMOOTHED = {"target_real": 0.9, "target_fake": 0.1, "input_noise": 0.1}
# what a laptop trains in less than half an hour, a network half as wide; its average ships
_SMALL = _SOURCES.changed(width=32, early=1, ema=0.999, steps=12_000)
# what papers with far longer runs recommend
_REGULARISED = GANRecipe(norm="spectral", loss="hinge", lr_g=5e-4, lr_d=5e-4, augmented=True)
_PAIR = {"data": "cifar10:cat+frog", "classes": 2}
_DRAWN = {"data": "drawn:cat+frog", "classes": 2}
RECIPES: dict[str, GANRecipe] = {
    "dcgan-cats32": _SMALL,
    "dcgan-cats32-smoothed": _SMALL.changed(**_SMOOTHED),
    "dcgan-cats32-full": _SOURCES.changed(steps=80_000),  # 1,024 epochs, as the sources
    "dcgan-cats32-full-smoothed": _SOURCES.changed(steps=80_000, **_SMOOTHED),
    "dcgan-cats32-regularised": _REGULARISED,
    "dcgan-drawn32": _SMALL.changed(data="drawn:cat"),
    # few faces: the discriminator would know them by heart
    "dcgan-faces64": _SMALL.changed(data="faces", size=64, augmented=True),
    "catfrog32-gan-tiled": _SOURCES.changed(**_PAIR),
    "catfrog32-gan": GANRecipe(width=48, **_PAIR),
    "drawn-catfrog32-gan-tiled": _SOURCES.changed(**_DRAWN),
    "drawn-catfrog32-gan": GANRecipe(width=48, **_DRAWN),
}
