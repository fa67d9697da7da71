"""A network that generates in few steps, distilled from one that takes many; it is told how many it has."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from course_utils.diffusion import Model
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.models.unet import adapt

ALONE = (
    "a distilled network draws by sample.images(model, schedule, n, steps=...) alone, in the steps that it was "
    "distilled for: for other samplers, for editing and for fusion take its teacher"
)


@dataclass(frozen=True)
class FewStepConfig:
    """rungs: the numbers of steps that it knows, rising, each twice the one before; network: as its teacher's.

    The network's classes must be as many as the rungs: the label says how many steps there are. It may be given as a
    dictionary of fields.
    """

    rungs: tuple[int, ...] = (1, 2, 4)
    network: PreconditionedConfig = field(default_factory=PreconditionedConfig)

    def __post_init__(self):
        object.__setattr__(self, "rungs", tuple(self.rungs))  # JSON gives lists
        if isinstance(self.network, dict):
            object.__setattr__(self, "network", PreconditionedConfig(**self.network))
        if not self.rungs or any(2 * a != b for a, b in zip(self.rungs, self.rungs[1:], strict=False)):
            raise ValueError(f"rungs must double from each to the next, as 1, 2, 4 do; got {self.rungs}")
        if self.network.T % self.rungs[-1]:
            raise ValueError(f"T = {self.network.T} cannot be shared evenly by {self.rungs[-1]} steps")
        unet = self.network.network
        if unet.classes == 0:
            network = replace(self.network, network=replace(unet, classes=len(self.rungs)))
            object.__setattr__(self, "network", network)
        elif unet.classes != len(self.rungs):
            raise ValueError(f"{len(self.rungs)} rungs need as many classes, got {unet.classes}")

    @property
    def size(self) -> int:
        """Pixels a side of the images."""
        return self.network.size

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.network.channels


class FewStep(nn.Module):
    """model(x_t, t, label) -> x0_hat, shaped like x_t: from where one DDIM step lands where the teacher's many do.

    Source: Salimans & Ho 2022, in one network for all numbers of steps, told by a label as in Frans et al. 2025. `at`
    returns the model that samplers take. label: (B,), the index of a rung. Raises ValueError without it and as `UNet`.
    """

    predicts = "x_0"

    def __init__(self, config: FewStepConfig | None = None):
        super().__init__()
        self.config = config = config or FewStepConfig()
        self.network = Preconditioned(config.network)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        if label is None:  # the U-Net would take it for "no class", which was never trained
            raise ValueError(ALONE)
        return self.network(x_t, t, label)

    def learn_from(self, teacher: Preconditioned) -> None:
        """Start as the teacher, whatever the label; raises ValueError where its network is another."""
        weights = {name.removeprefix("network."): value for name, value in teacher.state_dict().items()}
        self.network.network.load_state_dict(adapt(weights, teacher.config.network, self.config.network.network))

    def at(self, steps: int) -> Model:
        """Return the model of `samplers.ddim` in so many steps; raises ValueError for a number that is no rung."""
        if steps not in self.config.rungs:
            known = ", ".join(map(str, self.config.rungs))
            raise ValueError(f"this network was distilled for {known} steps, not for {steps}: ask for one of these")
        return _Rung(self, steps)


class _Rung:
    predicts = "x_0"

    def __init__(self, model: FewStep, steps: int):
        self.model, self.label, self.config = model, model.config.rungs.index(steps), model.config
        T = model.config.network.T
        self.levels = [T * i // steps for i in range(1, steps + 1)]

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None:
            raise ValueError("y was given, but a distilled network has no classes")
        if t.is_floating_point() or set(t.tolist()) - set(self.levels):
            raise ValueError(ALONE)
        return self.model(x_t, t, torch.full_like(t, self.label))
