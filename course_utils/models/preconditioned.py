"""A U-Net inside the preconditioning of EDM or flow matching, called like any other network of the course."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from course_utils import frameworks, schedules
from course_utils.models.unet import UNet, UNetConfig


@dataclass(frozen=True)
class PreconditionedConfig:
    """framework: "edm" or "flow"; schedule, T: the levels that t counts, a name for `schedules.make`.

    network: the `UNetConfig`, or a dictionary of its fields; its T must be 1, since it is told c_noise instead of t.
    """

    framework: str = "edm"
    schedule: str = "karras"
    T: int = 1000
    network: UNetConfig = field(default_factory=lambda: UNetConfig(T=1, predicts="F"))

    def __post_init__(self):
        if isinstance(self.network, dict):  # from JSON
            object.__setattr__(self, "network", UNetConfig(**self.network))
        if self.framework not in ("edm", "flow"):
            raise ValueError(f"unknown framework {self.framework!r}: choose edm or flow (ddpm is a plain network)")
        if self.network.T != 1 or self.network.predicts != "F":
            raise ValueError("a network inside a preconditioning has T = 1 and predicts = 'F'")

    @property
    def size(self) -> int:
        """Pixels a side of the images."""
        return self.network.size

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.network.channels

    @property
    def classes(self) -> int:
        """How many classes the network knows."""
        return self.network.classes


class Preconditioned(nn.Module):
    """model(x_t, t, y=None) -> x0_hat, shaped like x_t: D(x; sigma) of Karras et al. 2022, Eq. 7.

    x_t: (B, C, S, S), as everywhere in the course sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps of
    the schedule in the configuration; t: (B,), its levels, fractions of 1..T allowed, since the network learned at any
    noise. bare: take x_t and t for c_in x and c_noise and return what F answers, which is what is trained. y and errors
    as for `UNet`.
    """

    predicts = "x_0"

    def __init__(self, config: PreconditionedConfig | None = None):
        super().__init__()
        self.config = config = config or PreconditionedConfig()
        self.network = UNet(config.network)
        self.schedule = schedules.make(config.schedule, config.T)
        self.framework = frameworks.make(config.framework, self.schedule)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, bare: bool = False) -> Tensor:
        if bare:  # not by way of self.network: what accelerate wraps for several processes must see every call
            return self.network(x_t, t, y)
        if self.schedule.device != x_t.device:
            self.schedule = self.schedule.to(x_t.device)
        sigma = self.schedule.ratio_at(t)
        x = x_t * (1 + sigma**2).sqrt().view(-1, 1, 1, 1)
        return frameworks.denoise(self.framework, self.network, x, sigma, y)
