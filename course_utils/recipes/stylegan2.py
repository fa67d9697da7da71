"""StyleGAN2 on pictures: complete training configurations, and the parts that each one builds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.adversarial import Round
from course_utils.data.images import ImageSet
from course_utils.models.stylegan2 import StyleDiscriminator, StyleGAN2Config, StyleGenerator
from course_utils.recipes.gan import AdversarialRecipe, Pair, Rounds

_MIXING = 2**40  # a stream of its own, so that nothing else depends on mixing


@dataclass(frozen=True)
class StyleGANRecipe(AdversarialRecipe):
    """A complete run of a StyleGAN2; see also `AdversarialRecipe`. w_dim to architecture: as in `StyleGAN2Config`.

    mixing: share of images made with two z, the second from a random convolution on (Karras et al. 2019, section 3.1).
    grown: share of the steps after which a growing network has reached its full size. Until then it grows evenly,
    without the pauses between resolutions of Karras et al. 2018, and real images are not faded in.
    """

    data: str = "faces"
    size: int = 64
    batch_size: int = 16
    lr_g: float = 4e-3
    lr_d: float = 4e-3
    beta1: float = 0.0
    beta2: float = 0.99
    weight_decay: float = 0.0  # the mapping network's weights are large, and its steps small: it would only shrink
    r1: float = 0.1
    r_every: int = 16
    path: float = 2.0
    augmented: bool = True  # three thousand faces are few
    w_dim: int = 128
    mapping: int = 4
    width: int = 16
    widest: int = 128
    normalise: str = "demodulation"
    outside: bool = True
    architecture: str = "skip"
    mixing: float = 0.9
    grown: float = 0.6

    def network_config(self) -> StyleGAN2Config:
        """Return the configuration of both networks; raises ValueError for values that do not fit."""
        if self.classes:
            raise ValueError("the StyleGAN2 takes no classes: leave classes at 0")
        for name in ("mixing", "grown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        names = ("size", "z_dim", "w_dim", "mapping", "width", "widest", "normalise", "outside", "architecture")
        return StyleGAN2Config(**{name: getattr(self, name) for name in names})

    def pair(self) -> Pair:
        """Return both networks, untrained; raises ValueError for settings that do not fit."""
        config = self.network_config()
        return Pair(StyleGenerator(config), StyleDiscriminator(config))

    def rounds(self, images: ImageSet, pair: Pair, shard: tuple[int, int] = (0, 1)) -> "StyleRounds":
        """Return the function from the step's number to its `Round`, which also lets a growing `pair` grow.

        Raises ValueError for a growing pair in several processes.
        """
        if self.architecture == "growing" and shard[1] > 1:  # layers that do not take part yet would be waited for
            raise ValueError("a growing network trains in one process: leave out accelerate, or take architecture=skip")
        return StyleRounds(images, self, pair, shard)


class StyleRounds(Rounds):
    """As `Rounds`, with mixed styles: z is (2, B, styles, z_dim). Sets the `level` of networks that grow."""

    def __init__(self, images: ImageSet, recipe: StyleGANRecipe, pair: Pair, shard: tuple[int, int] = (0, 1)):
        super().__init__(images, recipe, next(pair.parameters()).device, shard)
        self.pair, self.config = pair, recipe.network_config()

    def __call__(self, step: int) -> Round:
        recipe, top = self.recipe, len(self.config.sides) - 1
        if self.config.architecture == "growing":
            reached = top * step / max(1.0, recipe.grown * recipe.steps)
            for network in (self.pair.generator, self.pair.discriminator):
                network.level.fill_(min(float(top), reached))
        found = super().__call__(step)
        generator = self.generator(3 * step + _MIXING)
        return found._replace(z=self._mixed(found.z, generator))

    def _mixed(self, z: Tensor, generator: torch.Generator) -> Tensor:
        n, size = self.config.styles, self.recipe.batch_size
        other = torch.randn(2, size, self.recipe.z_dim, generator=generator)[:, self.mine].to(z.device)
        mixed = torch.rand(2, size, generator=generator) < self.recipe.mixing
        start = torch.randint(1, n, (2, size), generator=generator)
        start = torch.where(mixed, start, n)[:, self.mine].to(z.device)
        second = torch.arange(n, device=z.device) >= start[..., None]
        return torch.where(second[..., None], other[:, :, None], z[:, :, None])


_FIRST = StyleGANRecipe()
RECIPES: dict[str, StyleGANRecipe] = {
    "stylegan2-faces64": _FIRST,
    # enough pictures not to be learned by heart, and easy to tell from generated ones: that is what R1 is to slow down
    "stylegan2-drawn64": _FIRST.changed(data="drawn:face", augmented=False, r1=1.0),
    # the paper's z, w, mapping and learning rate, if fewer channels; short runs gain from twice that rate
    "stylegan2-faces64-full": _FIRST.changed(
        **{"width": 64, "widest": 512, "z_dim": 512, "w_dim": 512, "mapping": 8},
        **{"batch_size": 32, "lr_g": 2e-3, "lr_d": 2e-3},
    ),
}
