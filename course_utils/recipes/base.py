"""What all recipes share: their fields as data, and pictures in an order that seed and step alone decide."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from course_utils.data.images import ImageSet
from course_utils.data.named import named_set


@dataclass(frozen=True)
class BaseRecipe:
    """A complete run on pictures. data: a name for `named_set`; size: pixels a side; flip: mirror half of the pictures.

    per_class: train on so many pictures of each class, picked by the seed, 0 for all that there are. classes: how many
    labels the network is told, 0 for none. `steps` updates of `batch_size` pictures (over all
    processes); ema: decay of the moving average of the weights.
    """

    data: str = "cifar10:cat"
    size: int = 32
    batch_size: int = 32
    steps: int = 20_000
    ema: float = 0.9995
    flip: bool = True
    classes: int = 0
    seed: int = 0
    per_class: int = 0

    def changed(self, **values: Any) -> Self:
        """Return a copy with some fields changed; raises ValueError for a name that is no field."""
        known = [f.name for f in fields(self)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"a recipe has no {unknown[0]!r}: choose from {', '.join(known)}")
        return replace(self, **values)

    def images(self, split: str = "train", *, strict: bool = True) -> ImageSet:
        """Return the pictures; raises MissingDataError (or, with strict=False, draws them and says so).

        Raises ValueError for per_class below 0 or above what there is.
        """
        whole = named_set(self.data, size=self.size, split=split, strict=strict)
        if not self.per_class or split != "train":
            return whole
        fewest = int(whole.labels.bincount(minlength=len(whole.classes)).min())
        if not 0 < self.per_class <= fewest:
            raise ValueError(f"per_class must lie in 0..{fewest}, the pictures of {whole.name}, got {self.per_class}")
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(self.seed))
        kept = [order[whole.labels[order] == k][: self.per_class] for k in range(len(whole.classes))]
        kept = torch.cat(kept).sort().values
        return replace(whole, pixels=whole.pixels[kept], labels=whole.labels[kept])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    def optimisation(self) -> dict[str, Any]:
        """Return those of the fields that are options of `training.fit`."""
        names = ("lr", "warmup", "decay", "clip", "weight_decay", "precision")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def differences(self, stored: dict[str, Any]) -> list[str]:
        """Return the fields in which a stored `as_dict` differs; one younger than the file had its default there."""
        own, before = self.as_dict(), type(self)().as_dict() | stored
        return [name for name, value in before.items() if value != own.get(name)]


class Pictures:
    """A function from the step's number to pictures and labels that depend on seed and step alone.

    So a resumed run sees what an uninterrupted one would, and n processes, each taking its shard of the same batch,
    see what one process would. Raises ValueError when a batch does not fit the data or the number of processes, or the
    number of classes is not that of the data.
    """

    def __init__(self, images: ImageSet, recipe: BaseRecipe, shard: tuple[int, int] = (0, 1)):
        size, (rank, processes) = recipe.batch_size, shard
        if not 1 <= size <= len(images):
            raise ValueError(f"batch_size must lie in 1..{len(images)} (the number of pictures), got {size}")
        if size % processes:
            raise ValueError(f"batch_size {size} cannot be shared evenly by {processes} processes")
        if recipe.classes not in (0, len(images.classes)):
            raise ValueError(f"the recipe has {recipe.classes} classes, {images.name} has {len(images.classes)}")
        self.images, self.recipe = images, recipe
        self.mine = slice(rank * size // processes, (rank + 1) * size // processes)
        self.per_epoch = len(images) // size
        self._epoch, self._order = -1, torch.empty(0)

    def chosen(self, step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return which pictures this process sees in a step, which of them mirrored, and a generator.

        The generator (CPU) is for more that the whole batch draws.
        """
        epoch, position = divmod(step - 1, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, torch.randperm(len(self.images), generator=self.generator(3 * epoch))
        index = self._order[position * self.recipe.batch_size :][: self.recipe.batch_size]
        generator = self.generator(3 * step + 1)
        mirror = torch.rand(len(index), generator=generator) < (0.5 if self.recipe.flip else 0.0)
        return index[self.mine], mirror[self.mine], generator

    def pictures(self, step: int) -> tuple[Tensor, Tensor, torch.Generator]:
        """Return this process's x_0 and y of a step, and the generator of `chosen`."""
        index, mirror, generator = self.chosen(step)
        x_0, y = self.images[index]
        return torch.where(mirror[:, None, None, None], x_0.flip(-1), x_0), y, generator

    def generator(self, number: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of its own for each number: 3 n orders epoch n, 3 n + 1 and 3 n + 2 belong to step n."""
        return torch.Generator(device).manual_seed(self.recipe.seed * 1_000_003 + number)
