"""Distillation of a trained diffusion model to few steps: complete training configurations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import checkpoints, distillation, training
from course_utils.checkpoints import Checkpoint
from course_utils.data.images import ImageSet
from course_utils.models.few_step import FewStep, FewStepConfig
from course_utils.models.preconditioned import Preconditioned
from course_utils.recipes.base import BaseRecipe, Pictures
from course_utils.schedules import Schedule
from course_utils.training import EMA, TrainStep


@dataclass(frozen=True)
class FewStepRecipe(BaseRecipe):
    """A complete run of `distillation.loss`; see also `BaseRecipe`. The student's network is its teacher's.

    teacher: name or path of the checkpoint of a `Preconditioned` without classes. most: the largest number of steps
    that the student learns; it learns the halves down to 1, too. substeps: DDIM steps of the teacher for one of these.
    Other fields as in `training.fit`.
    """

    data: str = "cifar10:automobile"
    steps: int = 9_000
    ema: float = 0.999
    teacher: str = "cars32-edm"
    most: int = 4
    substeps: int = 8
    lr: float = 3e-4
    warmup: int = 500
    decay: bool = True
    clip: float | None = 1.0
    precision: str = "bfloat16"

    @property
    def rungs(self) -> tuple[int, ...]:
        """The numbers of steps that are learned, rising; raises ValueError when `most` is no power of two."""
        if self.most < 1 or self.most & (self.most - 1):
            raise ValueError(f"most must be a power of two, got {self.most}")
        return tuple(2**i for i in range(self.most.bit_length()))

    def network_config(self) -> FewStepConfig:
        """Return the configuration of the student; ValueError for what does not fit, errors of `checkpoints.load`."""
        return self._config(self._teacher()[0])

    def build(self, device: torch.device | str = "cpu") -> tuple[FewStep, EMA, Schedule]:
        """Return the student, which starts as its teacher, its average and the teacher's levels."""
        teacher, schedule = self._teacher()
        config = self._config(teacher)
        model = FewStep(config)
        model.learn_from(teacher)
        model = model.to(device, memory_format=torch.channels_last)
        return model, EMA(model, self.ema), schedule.to(device)

    def batches(self, images: ImageSet, schedule: Schedule, shard: tuple[int, int] = (0, 1)) -> "FewStepBatches":
        """Return the function from step number to batch."""
        return FewStepBatches(images, self, schedule, shard)

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
        teacher = self._teacher()[0].to(schedule.device)

        def loss(model: nn.Module, batch: FewStepBatch) -> Tensor:
            error = distillation.loss(model, ema.model, teacher, *batch, schedule, self.rungs, self.substeps)
            return error.mean()

        return training.fit(
            model,
            loss,
            self.batches(images, schedule, shard),
            self.steps,
            ema=ema,
            **self.optimisation(),
            **options,
        )

    def schedule_facts(self) -> dict[str, Any]:
        """Return what `checkpoints.export` writes down about the schedule: that of the teacher."""
        config = self.network_config().network
        return {"name": config.schedule, "T": config.T}

    def _config(self, teacher: Preconditioned) -> FewStepConfig:
        if teacher.config.size != self.size:
            raise ValueError(f"{self.teacher} works on {teacher.config.size} pixels, the recipe on {self.size}")
        if self.classes:
            raise ValueError("a distilled network takes no classes: leave classes at 0")
        rungs = self.rungs  # refuses a wrong `most` first
        if self.most * self.substeps > teacher.config.T:
            raise ValueError(
                f"{self.most} steps of {self.substeps} substeps each are more than the {teacher.config.T} levels of "
                f"{self.teacher}: take fewer"
            )
        return FewStepConfig(rungs, teacher.config)

    def _teacher(self) -> tuple[Preconditioned, Schedule]:
        model, schedule = _loaded(self.teacher)[1:3]
        if not isinstance(model, Preconditioned) or model.config.classes:
            raise ValueError(
                f"{self.teacher} cannot be the teacher: that takes a network trained by framework=edm or flow, without "
                "classes"
            )
        return model, schedule


@lru_cache(1)  # asked for again whenever the run is exported
def _loaded(teacher: str) -> Checkpoint:
    return checkpoints.load(teacher)


class FewStepBatch(NamedTuple):
    """x_0, eps: (B, 3, S, S), x_0 in [-1, 1]; label, t, before: (B,), as `distillation.draw` returns them."""

    x_0: Tensor
    label: Tensor
    t: Tensor
    before: Tensor
    eps: Tensor


class FewStepBatches(Pictures):
    """A function from the step's number to its `FewStepBatch`; errors as for `Pictures`."""

    def __init__(self, images: ImageSet, recipe: FewStepRecipe, schedule: Schedule, shard: tuple[int, int] = (0, 1)):
        super().__init__(images, recipe, shard)
        self.schedule = schedule

    def __call__(self, step: int) -> FewStepBatch:
        recipe, device = self.recipe, self.schedule.device
        x_0, _, _ = self.pictures(step)
        # drawn for the whole batch, then cut, on the device that uses it
        generator = self.generator(3 * step + 2, device)
        eps = torch.randn(recipe.batch_size, *x_0.shape[1:], generator=generator, device=device)
        drawn = distillation.draw(recipe.batch_size, recipe.rungs, self.schedule, generator)
        return FewStepBatch(x_0.to(device), *(each[self.mine] for each in drawn), eps[self.mine])


RECIPES: dict[str, FewStepRecipe] = {"cars32-fast": FewStepRecipe()}
