"""Named, complete training configurations for images, and the parts that each one builds."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import diffusion, schedules, training
from course_utils.data.images import CIFAR10_CLASSES, ImageSet
from course_utils.data.named import named_set
from course_utils.models import convnet, unet
from course_utils.schedules import Schedule
from course_utils.training import EMA, TrainStep


@dataclass(frozen=True)
class Recipe:
    """A complete run. data: a name for `named_set`; network: one of `unet.SIZES` or "convnet".

    weight: a name for `diffusion.loss_weight`, or None for the plain error of what the network predicts. flip: mirror
    half of the pictures. classes: labels that the network is told, 0 for none; drop: the share of them that is replaced
    by "no class", so that the network learns to do without (Ho & Salimans 2022, Algorithm 1). shared_t: one timestep
    for the whole batch, the bug that notebook 03 shows. `steps` updates of `batch_size` pictures (over all processes);
    other fields as in `training.fit` and `EMA`.
    """

    data: str = "cifar10:cat"
    size: int = 32
    network: str = "fast"
    schedule: str = "cosine"
    T: int = 1000
    predicts: str = "x_0"
    weight: str | None = "min_snr"
    lr: float = 1e-3
    batch_size: int = 32
    steps: int = 20_000
    warmup: int = 500
    decay: bool = False
    clip: float | None = 1.0
    ema: float = 0.9995
    flip: bool = True
    classes: int = 0
    drop: float = 0.1
    precision: str = "bfloat16"
    shared_t: bool = False
    seed: int = 0

    def changed(self, **values: Any) -> "Recipe":
        """Return a copy with some fields changed; raises ValueError for a name that is no field."""
        known = [f.name for f in fields(self)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"a recipe has no {unknown[0]!r}: choose from {', '.join(known)}")
        return replace(self, **values)

    def network_config(self) -> "unet.UNetConfig | convnet.ConvNetConfig":
        """Return the configuration of the network; raises ValueError for an unknown or unfitting one."""
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
            model = convnet.ConvNet(config) if self.network == "convnet" else unet.UNet(config)
        model = model.to(device, memory_format=torch.channels_last)
        return model, EMA(model, self.ema), schedules.make(self.schedule, self.T).to(device)

    def images(self, split: str = "train", *, strict: bool = True) -> ImageSet:
        """Return the pictures; raises MissingDataError (or, with strict=False, draws them and says so)."""
        return named_set(self.data, size=self.size, split=split, strict=strict)

    def batches(self, images: ImageSet, schedule: Schedule, shard: tuple[int, int] = (0, 1)) -> "Batches":
        """Return the function from step number to batch; `shard` is (rank, number of processes)."""
        return Batches(images, self, schedule, shard)

    def loss(self, model: nn.Module, batch: "Batch", schedule: Schedule) -> Tensor:
        """Mean weighted error over the batch, a scalar."""
        y = batch.y if self.classes else None
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
            self.batches(images, schedule, shard),
            self.steps,
            lr=self.lr,
            warmup=self.warmup,
            decay=self.decay,
            clip=self.clip,
            ema=ema,
            precision=self.precision,
            **options,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Return the fields in which a stored `as_dict` differs; one younger than the file had its default there."""
        own, before = self.as_dict(), Recipe().as_dict() | stored
        return [name for name, value in before.items() if value != own.get(name)]


class Batch(NamedTuple):
    """x_0, eps: (B, 3, S, S), x_0 in [-1, 1]; t: (B,), timesteps in 1..T; y: (B,), labels, some of them dropped."""

    x_0: Tensor
    y: Tensor
    t: Tensor
    eps: Tensor


class Batches:
    """A function from the step's number to its batch, all of which depends on seed and step alone.

    So a resumed run sees what an uninterrupted one would, and n processes, each taking its shard of the same batch,
    see what one process would. Raises ValueError when a batch does not fit the data or the number of processes, or the
    number of classes is not that of the data.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, schedule: Schedule, shard: tuple[int, int] = (0, 1)):
        size, (rank, processes) = recipe.batch_size, shard
        if not 1 <= size <= len(images):
            raise ValueError(f"batch_size must lie in 1..{len(images)} (the number of pictures), got {size}")
        if size % processes:
            raise ValueError(f"batch_size {size} cannot be shared evenly by {processes} processes")
        if recipe.classes not in (0, len(images.classes)):
            raise ValueError(f"the recipe has {recipe.classes} classes, {images.name} has {len(images.classes)}")
        if not 0 <= recipe.drop < 1:
            raise ValueError(f"drop must lie in [0, 1), the share of labels that is dropped, got {recipe.drop}")
        self.images, self.recipe, self.schedule = images, recipe, schedule
        self.mine = slice(rank * size // processes, (rank + 1) * size // processes)
        self.per_epoch = len(images) // size
        self._epoch, self._order = -1, torch.empty(0)

    def __call__(self, step: int) -> Batch:
        recipe, device = self.recipe, self.schedule.device
        epoch, position = divmod(step - 1, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(len(self.images), generator=self._generator(3 * epoch))
        index = self._order[position * recipe.batch_size :][: recipe.batch_size]
        generator = self._generator(3 * step + 1)
        mirror = torch.rand(len(index), generator=generator) < 0.5
        dropped = torch.rand(len(index), generator=generator) < recipe.drop
        x_0, y = self.images[index[self.mine]]
        if recipe.classes:
            y = y.masked_fill(dropped[self.mine], recipe.classes)
        if recipe.flip:
            x_0 = torch.where(mirror[self.mine, None, None, None], x_0.flip(-1), x_0)
        # drawn for the whole batch, then cut, on the device that uses it
        generator = self._generator(3 * step + 2, device)
        eps = torch.randn(recipe.batch_size, *x_0.shape[1:], generator=generator, device=device)
        t = diffusion.draw_t(recipe.batch_size, self.schedule, generator)
        if recipe.shared_t:
            t = t[:1].expand_as(t)
        return Batch(x_0.to(device), y.to(device), t[self.mine], eps[self.mine])

    def _generator(self, number: int, device: torch.device | str = "cpu") -> torch.Generator:
        return torch.Generator(device).manual_seed(self.recipe.seed * 1_000_003 + number)


_FACES = Recipe(data="faces", size=64, network="fast64")
RECIPES: dict[str, Recipe] = {
    "cats32-linear": Recipe(schedule="linear"),
    "cats32-cosine": Recipe(),
    "faces64": _FACES,
    "drawn32-linear": Recipe(data="drawn:cat", schedule="linear"),
    "drawn32-cosine": Recipe(data="drawn:cat"),
    "drawn64": _FACES.changed(data="drawn:face"),
    "catfrog32": Recipe(data="cifar10:cat+frog", classes=2),
    "catfrogcar32": Recipe(data="cifar10:cat+frog+automobile", classes=3),
    "cifar32": Recipe(data=f"cifar10:{'+'.join(CIFAR10_CLASSES)}", classes=10),
    "drawn-catfrog32": Recipe(data="drawn:cat+frog", classes=2),
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


def get(name: str) -> Recipe:
    """Return a recipe by its name; raises ValueError naming the known ones."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
