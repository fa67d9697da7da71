"""Diffusion on pictures: complete training configurations, and the parts that each one builds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import diffusion, frameworks, schedules, training
from course_utils.data.images import CIFAR10_CLASSES, ImageSet
from course_utils.models import convnet, unet
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.recipes.base import BaseRecipe, Pictures
from course_utils.schedules import Schedule
from course_utils.training import EMA, TrainStep

NETWORKS = {
    unet.UNetConfig: unet.UNet,
    convnet.ConvNetConfig: convnet.ConvNet,
    PreconditionedConfig: Preconditioned,
}


@dataclass(frozen=True)
class Recipe(BaseRecipe):
    """A complete run of a diffusion model; see also `BaseRecipe`. network: one of `unet.SIZES` or "convnet".

    framework: "ddpm", the discrete chain of Ho et al. 2020 with what the network `predicts` and its `weight`; "edm" or
    "flow", see `frameworks`, which take predicts="F" and weight=None, and whose `schedule` only serves the samplers.
    coupling: "ot"
    pairs pictures and noise within each process's share of the batch (`frameworks.coupled`), else "independent".
    weight: a name for `diffusion.loss_weight`, or None for the plain error of what the network predicts. drop: the
    share of labels that is replaced by "no class", so that the network learns to do without (Ho & Salimans 2022,
    Algorithm 1). shared_t: one timestep for the whole batch, the bug that notebook 03 shows. Other fields as in
    `training.fit`.
    """

    network: str = "fast"
    framework: str = "ddpm"
    coupling: str = "independent"
    schedule: str = "cosine"
    T: int = 1000
    predicts: str = "x_0"
    weight: str | None = "min_snr"
    lr: float = 1e-3
    warmup: int = 500
    decay: bool = False
    clip: float | None = 1.0
    precision: str = "bfloat16"
    drop: float = 0.1
    shared_t: bool = False

    def network_config(self) -> "unet.UNetConfig | convnet.ConvNetConfig | PreconditionedConfig":
        """Return the configuration of the network; raises ValueError for an unknown or unfitting one."""
        if self.framework != "ddpm":
            if self.predicts != "F" or self.weight is not None:
                raise ValueError(
                    f"framework={self.framework} says what the network predicts and how that is weighed: "
                    "set predicts=F and weight=none"
                )
            network = unet.config(self.network, size=self.size, predicts="F", T=1, classes=self.classes)
            return PreconditionedConfig(self.framework, self.schedule, self.T, network)
        settings = {"size": self.size, "predicts": self.predicts, "T": self.T}
        if self.network != "convnet":
            return unet.config(self.network, **settings, classes=self.classes)
        if self.classes:
            raise ValueError("the plain convnet takes no classes: choose a U-Net, or classes=0")
        return convnet.ConvNetConfig(**settings)

    def build(self, device: torch.device | str = "cpu") -> tuple[nn.Module, EMA, Schedule]:
        """Return the untrained network (initialised from the seed), its average and the schedule."""
        config = self.network_config()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = NETWORKS[type(config)](config)
        model = model.to(device, memory_format=torch.channels_last)
        return model, EMA(model, self.ema), schedules.make(self.schedule, self.T).to(device)

    def batches(
        self, images: ImageSet, schedule: Schedule, shard: tuple[int, int] = (0, 1), model: nn.Module | None = None
    ) -> "Batches":
        """Return the function from step number to batch; `shard` is (rank, number of processes).

        model: what is trained, for recipes whose batches depend on it.
        """
        return Batches(images, self, schedule, shard)

    def loss(self, model: nn.Module, batch: "Batch", schedule: Schedule) -> Tensor:
        """Mean weighted error over the batch, a scalar."""
        y = batch.y if self.classes else None
        if self.framework != "ddpm":
            framework = frameworks.make(self.framework, schedule)
            return frameworks.loss(framework, partial(model, bare=True), batch.x_0, batch.t, batch.eps, y).mean()
        error = diffusion.weighted_loss(model, batch.x_0, batch.t, batch.eps, schedule, self.weight, y)
        return error.mean()

    def fit(
        self,
        model: nn.Module,
        ema: EMA,
        images: ImageSet,
        schedule: Schedule,
        shard: tuple[int, int] = (0, 1),
        **options: Any,
    ) -> Iterator[TrainStep]:
        """Train what `build` returned on `images` as this recipe says; options and errors as for `training.fit`."""
        return training.fit(
            model,
            partial(self.loss, schedule=schedule),
            self.batches(images, schedule, shard, model),
            self.steps,
            ema=ema,
            **self.optimisation(),
            **options,
        )

    def schedule_facts(self) -> dict[str, Any]:
        """Return what `checkpoints.export` writes down about the schedule."""
        return {"name": self.schedule, "T": self.T}


class Batch(NamedTuple):
    """x_0, eps: (B, 3, S, S), x_0 in [-1, 1]; y: (B,), labels, some of them dropped.

    t: (B,), timesteps in 1..T; of EDM and flow matching the noise ratio sigma.
    """

    x_0: Tensor
    y: Tensor
    t: Tensor
    eps: Tensor


class Batches(Pictures):
    """A function from the step's number to its `Batch`; errors as for `Pictures`, and ValueError for a wrong drop."""

    def __init__(self, images: ImageSet, recipe: Recipe, schedule: Schedule, shard: tuple[int, int] = (0, 1)):
        super().__init__(images, recipe, shard)
        if not 0 <= recipe.drop < 1:
            raise ValueError(f"drop must lie in [0, 1), the share of labels that is dropped, got {recipe.drop}")
        if recipe.coupling not in ("independent", "ot"):
            raise ValueError(f"unknown coupling {recipe.coupling!r}: choose independent or ot")
        self.schedule = schedule

    def __call__(self, step: int) -> Batch:
        recipe, device = self.recipe, self.schedule.device
        x_0, y, generator = self.pictures(step)
        if recipe.classes:
            dropped = torch.rand(recipe.batch_size, generator=generator) < recipe.drop
            y = y.masked_fill(dropped[self.mine], recipe.classes)
        # drawn for the whole batch, then cut, on the device that uses it
        generator = self.generator(3 * step + 2, device)
        eps = torch.randn(recipe.batch_size, *x_0.shape[1:], generator=generator, device=device)
        if recipe.framework == "ddpm":
            t = diffusion.draw_t(recipe.batch_size, self.schedule, generator)
        else:
            t = frameworks.make(recipe.framework, self.schedule).draw(recipe.batch_size, generator)
        if recipe.shared_t:
            t = t[:1].expand_as(t)
        x_0, eps = x_0.to(device), eps[self.mine]
        if recipe.coupling == "ot":
            eps = frameworks.coupled(x_0, eps)
        return Batch(x_0, y.to(device), t[self.mine], eps)


# one recipe with one switch: notebook 09 compares the three at equal cost
_CARS = Recipe(data="cifar10:automobile", network="tiny-3", predicts="eps", weight=None, steps=30_000)
_DRAWN_CARS = _CARS.changed(data="drawn:automobile", network="tiny-half", steps=15_000)
_EDM = {"framework": "edm", "schedule": "karras", "predicts": "F"}
_FLOW = {"framework": "flow", "schedule": "flow", "predicts": "F"}
_FACES = Recipe(data="faces", size=64, network="fast64")
RECIPES: dict[str, Recipe] = {
    "cats32-linear": Recipe(schedule="linear"),
    "cats32-cosine": Recipe(),
    "faces64": _FACES,
    "cars32-ddpm": _CARS,
    "cars32-edm": _CARS.changed(**_EDM),
    "cars32-flow": _CARS.changed(**_FLOW),
    "drawn-cars32-ddpm": _DRAWN_CARS,
    "drawn-cars32-edm": _DRAWN_CARS.changed(**_EDM),
    "drawn-cars32-flow": _DRAWN_CARS.changed(**_FLOW),
    "drawn32-linear": Recipe(data="drawn:cat", schedule="linear"),
    "drawn32-cosine": Recipe(data="drawn:cat"),
    "drawn64": _FACES.changed(data="drawn:face"),
    "catfrog32": Recipe(data="cifar10:cat+frog", classes=2),
    "catfrogcar32": Recipe(data="cifar10:cat+frog+automobile", classes=3),
    "cifar32": Recipe(data=f"cifar10:{'+'.join(CIFAR10_CLASSES)}", classes=10),
    "drawn-catfrog32": Recipe(data="drawn:cat+frog", classes=2),
    "drawn-attributes32": Recipe(data="drawn:cat/pose/fur", classes=15),
    # the sources' networks at full size, for a GPU: 500 epochs of 5,000 cats
    **{
        f"{network}-{schedule}": Recipe(
            network=network,
            schedule=schedule,
            predicts="eps",
            weight=None,
            lr=2e-4,
            batch_size=128,
            steps=19_500,
            ema=0.999,
        )
        for network in ("2xUD-half", "2xUD", "3xBlocks")
        for schedule in ("linear", "cosine")
    },
}
