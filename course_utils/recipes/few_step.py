"""Distillation of a trained diffusion model to few steps: complete training configurations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import checkpoints, distillation
from course_utils.data.images import ImageSet
from course_utils.models.few_step import FewStep, FewStepConfig
from course_utils.models.preconditioned import Preconditioned
from course_utils.recipes.base import Pictures
from course_utils.recipes.diffusion import Recipe
from course_utils.schedules import Schedule
from course_utils.training import EMA


@dataclass(frozen=True)
class FewStepRecipe(Recipe):
    """A complete run of `distillation.loss`; see also `Recipe`, but network, framework and levels are the teacher's.

    teacher: name or path of the checkpoint of a `Preconditioned` without classes. most: the largest number of steps
    that the student learns; it learns the halves down to 1, too. substeps: DDIM steps of the teacher for one of these.
    """

    teacher: str = "cars32-edm"
    most: int = 4
    substeps: int = 8
    lr: float = 3e-4
    decay: bool = True
    ema: float = 0.999
    steps: int = 12_000

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

    def batches(
        self, images: ImageSet, schedule: Schedule, shard: tuple[int, int] = (0, 1), model: nn.Module | None = None
    ) -> "FewStepBatches":
        """Return the function from step number to batch."""
        return FewStepBatches(images, self, schedule, shard)

    def objective(self, ema: EMA, schedule: Schedule) -> Callable[[nn.Module, "FewStepBatch"], Tensor]:
        """Return the function from network and batch to the mean error, a scalar."""
        teacher = self._teacher()[0].to(schedule.device)

        def loss(model: nn.Module, batch: FewStepBatch) -> Tensor:
            error = distillation.loss(model, ema.model, teacher, *batch, schedule, self.rungs, self.substeps)
            return error.mean()

        return loss

    def schedule_facts(self) -> dict[str, Any]:
        """Return what `checkpoints.export` writes down about the schedule: that of the teacher."""
        config = self.network_config().network
        return {"name": config.schedule, "T": config.T}

    def _config(self, teacher: Preconditioned) -> FewStepConfig:
        if teacher.config.size != self.size:
            raise ValueError(f"{self.teacher} works on {teacher.config.size} pixels, the recipe on {self.size}")
        return FewStepConfig(self.rungs, teacher.config)

    def _teacher(self) -> tuple[Preconditioned, Schedule]:
        model, schedule = checkpoints.load(self.teacher)[1:3]
        if not isinstance(model, Preconditioned) or model.config.classes:
            raise ValueError(
                f"{self.teacher} cannot be the teacher: that takes a network trained by framework=edm or flow, without "
                "classes"
            )
        return model, schedule


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


RECIPES: dict[str, FewStepRecipe] = {}
