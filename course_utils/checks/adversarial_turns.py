"""Right and wrong turns of a discriminator, for exercise 3 of notebook 06."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from course_utils.checks import adversarial as losses


def pictures(g: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    with torch.no_grad():
        return g(z)


def one_by_one(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return d(x), d(fake)


def update(value: Tensor, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def turn(fakes=pictures, asked=one_by_one, loss=losses.discriminator_loss, update=update, before=lambda g, d: None):
    """Return a discriminator_step: fakes, the logits that the discriminator gives, their loss, and what it does."""

    def answer(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> Tensor:
        before(g, d)
        value = loss(*asked(d, x, fakes(g, x, z)))
        update(value, optimizer)
        return value.detach()

    return answer


def then(after):
    """Return a discriminator_step that does its work and one thing more."""

    def answer(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> Tensor:
        value = turn()(g, d, optimizer, x, z)
        again = after(g, d, optimizer, x, z)
        return value if again is None else again.detach()

    return answer


def pictures_with_graph(g: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    return g(z)


def pictures_in_evaluation(g: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    g.eval()
    fake = pictures(g, x, z)
    g.train()
    return fake


def from_noise(noise):
    """Return images from other noise than z."""
    return lambda g, x, z: pictures(g, x, noise(x, z))


def joined(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    logits = d(torch.cat([x, fake]))
    return logits[: len(x)], logits[len(x) :]


def joined_halves(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return d(torch.cat([x, fake])).chunk(2)


def fake_cut(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return d(x), d(fake).detach()


def real_cut(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return d(x).detach(), d(fake)


def both_cut(d: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return d(x).detach(), d(fake).detach()


def not_cleared(value: Tensor, optimizer: Optimizer) -> None:
    value.backward()
    optimizer.step()


def step_first(value: Tensor, optimizer: Optimizer) -> None:
    optimizer.step()
    value.backward()


def uphill(value: Tensor, optimizer: Optimizer) -> None:
    update(-value, optimizer)


def step_twice(value: Tensor, optimizer: Optimizer) -> None:
    update(value, optimizer)
    optimizer.step()


def half(value: Tensor, optimizer: Optimizer) -> None:
    update(value / 2, optimizer)


def clipped(norm: float):
    """Return an update by gradients that are clipped."""

    def answer(value: Tensor, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], norm)
        optimizer.step()

    return answer


def clip_weights(g: nn.Module, d: nn.Module, *rest) -> None:
    with torch.no_grad():
        for parameter in d.parameters():
            parameter.clamp_(-0.01, 0.01)


def two_turns(order: slice):
    """Return a discriminator_step that takes one step for each kind of images."""

    def answer(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> Tensor:
        parts = []
        for part in (lambda: F.softplus(-d(x)).mean(), lambda: F.softplus(d(pictures(g, x, z))).mean())[order]:
            parts.append(part())
            update(parts[-1], optimizer)
        return sum(parts).detach()

    return answer


def both_losses(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> Tensor:
    logits = d(g(z))
    value = losses.discriminator_loss(d(x), logits)
    update(value + F.softplus(-logits).mean(), optimizer)
    return value.detach()


def total(real: Tensor, fake: Tensor) -> Tensor:
    return losses.discriminator_loss(real, fake) + F.softplus(-fake).mean()


def generator_too(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> None:
    F.softplus(-d(g(z))).mean().backward()


def generator_stepped(make):
    def after(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> None:
        update(F.softplus(-d(g(z))).mean(), make(g.parameters()))

    return after


def with_optimizer(make):
    def answer(g: nn.Module, d: nn.Module, optimizer: Optimizer, x: Tensor, z: Tensor) -> Tensor:
        optimizer.zero_grad()  # the one that is handed in knows the same weights
        return turn()(g, d, make(d.parameters()), x, z)

    return answer


OPTIMIZERS = (
    *(partial(torch.optim.Adam, lr=lr) for lr in (1e-3, 1e-4, 2e-4)),
    *(partial(torch.optim.SGD, lr=lr) for lr in (1e-1, 1e-2, 1e-3)),
)
OTHERS = (
    *(losses.SUM, losses.HALF, losses.TOGETHER, losses.SIGMOID_TWICE, losses.BOTH_REAL, losses.BOTH_FAKE),
    losses.SMOOTHED,
    *(losses.DIFFERENCE, losses.HINGE, losses.WASSERSTEIN, losses.LEAST_SQUARES),
)
