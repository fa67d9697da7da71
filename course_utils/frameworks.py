"""DDPM, EDM and flow matching as three rows of one table: which levels, which input, which target, which weight.

Every noise level is named by its noise ratio sigma = s / a, whatever the path x_t = a x_0 + s eps: so x_t / a is
x = x_0 + sigma eps (Karras et al. 2022, section 2). In these coordinates each framework is a preconditioning of one
network F: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), an estimate of x_0 (their Table 1).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from course_utils.diffusion import draw_t
from course_utils.schedules import Schedule


class Preconditioning(NamedTuple):
    """The four functions of sigma in Karras et al. 2022, Table 1, each shaped like sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


@dataclass(frozen=True)
class DDPM:
    """Ho et al. 2020: one of T levels, all alike; the network sees x_t and t and answers eps.

    schedule: the levels. Its column of Table 1 is "VP": c_skip = 1, c_out = -sigma, c_in = a.
    """

    schedule: Schedule

    def path(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s of x_t = a x_0 + s eps; here a^2 + s^2 = 1."""
        return 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()

    def precondition(self, sigma: Tensor) -> Preconditioning:
        """Return the four functions at sigma."""
        return Preconditioning(
            torch.ones_like(sigma), -sigma, self.path(sigma)[0], self.schedule.level(sigma).to(sigma)
        )

    def target(self, x_0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
        """Return what F should answer: eps."""
        return eps

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n training levels sigma, (n,): those of t uniform in 1..T."""
        return self.schedule.noise_ratio[draw_t(n, self.schedule, generator)]

    def density(self, log_sigma: Tensor) -> Tensor:
        """Return the density of ln sigma in training: the share of levels within 0.2 of it, per unit of ln sigma.

        Levels are counted by fractions, since at little noise they lie further apart than that.
        """
        below, above = (self.schedule.level((log_sigma + side).exp()) for side in (-0.2, 0.2))
        return (above - below).to(log_sigma) / (0.4 * self.schedule.T)


@dataclass(frozen=True)
class _LogNormal:
    """Levels whose ln sigma is normal, of this mean and standard deviation."""

    mean: float
    std: float

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n training levels sigma, (n,), on the generator's device."""
        device = None if generator is None else generator.device
        return (self.mean + self.std * torch.randn(n, generator=generator, device=device)).exp()

    def density(self, log_sigma: Tensor) -> Tensor:
        """Return the density of ln sigma in training."""
        z = (log_sigma - self.mean) / self.std
        return (-(z**2) / 2).exp() / (self.std * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class EDM(_LogNormal):
    """Karras et al. 2022, section 5: ln sigma is normal, and inputs and targets have unit variance at every sigma.

    mean, std: those of ln sigma. sigma_data: standard deviation of the data, for images in [-1, 1] about 0.5.
    """

    mean: float = -1.2
    std: float = 1.2
    sigma_data: float = 0.5

    def path(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s of x_t = a x_0 + s eps: 1 and sigma."""
        return torch.ones_like(sigma), sigma

    def precondition(self, sigma: Tensor) -> Preconditioning:
        """Return the four functions at sigma (Table 1, last column)."""
        total = (sigma**2 + self.sigma_data**2).sqrt()
        return Preconditioning(
            self.sigma_data**2 / total**2, sigma * self.sigma_data / total, 1 / total, sigma.log() / 4
        )

    def target(self, x_0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
        """Return what F should answer: (x_0 - c_skip x) / c_out (Eq. 8), a mix of x_0 and -eps of unit variance."""
        total = (sigma**2 + self.sigma_data**2).sqrt()
        return (sigma / self.sigma_data * x_0 - self.sigma_data * eps) / total


@dataclass(frozen=True)
class Flow(_LogNormal):
    """Rectified flow on the straight path (1 - t) x_0 + t eps, whose velocity eps - x_0 the network answers.

    Source: Lipman et al. 2023, Eq. 23 and Liu et al. 2023, Eq. 1, whose time runs the other way; levels logit-normal
    (Esser et al. 2024, section 3.1). Since sigma = t / (1 - t), ln sigma is the logit of t: so the levels are drawn as
    those of EDM, only elsewhere. mean, std: those of the logit.
    """

    mean: float = 0.0
    std: float = 1.0

    def path(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s of x_t = a x_0 + s eps: 1 - t and t."""
        return 1 / (1 + sigma), sigma / (1 + sigma)

    def precondition(self, sigma: Tensor) -> Preconditioning:
        """Return the four functions at sigma: x_0 is x_t - t F, and the network is told t."""
        a, t = self.path(sigma)
        return Preconditioning(a, -t, a, t)

    def target(self, x_0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
        """Return what F should answer: the velocity eps - x_0."""
        return eps - x_0


Framework = DDPM | EDM | Flow
FRAMEWORKS = ("ddpm", "edm", "flow")


def make(name: str, schedule: Schedule) -> Framework:
    """Return the framework of this name, one of FRAMEWORKS, with the paper's settings; `schedule` is for DDPM's levels.

    Raises ValueError for another name.
    """
    if name not in FRAMEWORKS:
        raise ValueError(f"unknown framework {name!r}: choose one of {', '.join(FRAMEWORKS)}")
    return {"ddpm": lambda: DDPM(schedule), "edm": EDM, "flow": Flow}[name]()


def loss(
    framework: Framework, F: nn.Module, x_0: Tensor, sigma: Tensor, eps: Tensor, y: Tensor | None = None
) -> Tensor:
    """Squared error of the network's own answer, (B,), each the mean over an example's dimensions.

    All three papers weigh this error by 1, which is 1 / c_out^2 on the error of D; see `weight`. F(x, c_noise, y) is
    the bare network. Shapes: x_0, eps (B, ...); sigma (B,), positive; y (B,) or None.
    Raises ValueError when sigma is not one positive number per example.
    """
    if sigma.shape != (len(x_0),) or not bool((sigma > 0).all()):
        raise ValueError(f"sigma must hold one positive noise ratio per example, ({len(x_0)},); got {sigma}")
    each = sigma.view(-1, *[1] * (x_0.ndim - 1))
    c = framework.precondition(sigma)
    answer = F(c.c_in.view_as(each) * (x_0 + each * eps), c.c_noise, y)
    return (answer - framework.target(x_0, eps, each)).square().flatten(1).mean(1)


def denoise(framework: Framework, F: nn.Module, x: Tensor, sigma: Tensor, y: Tensor | None = None) -> Tensor:
    """Return D(x; sigma), the estimate of x_0 in x = x_0 + sigma eps (Karras et al. 2022, Eq. 7), shaped like x.

    F: the bare network. sigma: (B,).
    """
    c = framework.precondition(sigma)
    shaped = [value.view(-1, *[1] * (x.ndim - 1)) for value in c[:3]]
    return shaped[0] * x + shaped[1] * F(shaped[2] * x, c.c_noise, y)


def weight(framework: Framework, log_sigma: Tensor) -> Tensor:
    """Return how much an error of D counts in training at each ln sigma: 1 / c_out^2 times the density of the levels.

    The three losses differ by this function alone, and by how the network is wired (Kingma & Gao 2023, section 3).
    """
    return framework.density(log_sigma) / framework.precondition(log_sigma.exp()).c_out ** 2


def coupled(x_0: Tensor, eps: Tensor) -> Tensor:
    """Return eps (B, ...) in the order that lies nearest to x_0 (B, ...): minibatch optimal transport.

    Source: Pooladian et al. 2023; Tong et al. 2024: the pairing of least sum of squared distances. Over all batches the
    noise stays normal, but it is no longer independent of its picture: the paths get straighter for `euler_flow`, while
    samplers that add noise, or read the answer as a score (`ddpm`, churn), lose their ground.
    Raises ValueError for shapes that differ.
    """
    if x_0.shape != eps.shape:
        raise ValueError(f"every picture needs a noise: got shapes {tuple(x_0.shape)} and {tuple(eps.shape)}")
    cost = torch.cdist(*(x.flatten(1).cpu().double() for x in (x_0, eps))).square().numpy()  # MPS has no float64
    return eps[torch.from_numpy(linear_sum_assignment(cost)[1]).to(eps.device)]
