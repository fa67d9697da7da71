"""Small networks for the checks of notebook 06, and what a call may have changed about them."""

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Network(nn.Sequential):
    """Layers in a row. A deep copy keeps the gradients of the weights, which torch's own copy drops."""

    def __deepcopy__(self, memo: dict) -> "Network":
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__dict__, memo))
        for mine, its in zip(self.parameters(), twin.parameters(), strict=True):
            its.grad = None if mine.grad is None else mine.grad.clone()
        return twin


def build(layers: Callable[[], Iterable[nn.Module]], random: torch.Generator) -> Network:
    """Return the layers with weights and running statistics from `random`; torch's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        network = Network(*layers())
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=random)
                if value.ndim > 1:
                    value.copy_(1.5 * drawn / math.sqrt(value[0].numel()))
                elif name.endswith("running_var"):
                    value.copy_(0.5 + drawn.square())
                else:  # a bias, a running mean, or the gain of a batch norm
                    value.copy_(0.3 * drawn + name.endswith("weight"))
    return network


def small_generator(z_dim: int, shape: tuple[int, ...], random: torch.Generator) -> Network:
    """generator(z) -> images (B, *shape) in [-1, 1], with batch norm."""
    return build(
        lambda: (
            *(nn.Linear(z_dim, 8, bias=False), nn.BatchNorm1d(8), nn.LeakyReLU(0.2)),
            *(nn.Linear(8, math.prod(shape)), nn.Tanh(), nn.Unflatten(1, shape)),
        ),
        random,
    )


def small_discriminator(
    shape: tuple[int, ...],
    random: torch.Generator,
    norm: bool = False,
    between: Callable[[], nn.Module] = lambda: nn.LeakyReLU(0.2),
) -> Network:
    """discriminator(x) -> logits (B,) from images (B, *shape); norm: with batch norm."""
    return build(
        lambda: (
            *(nn.Flatten(), nn.Linear(math.prod(shape), 8, bias=not norm), *([nn.BatchNorm1d(8)] if norm else [])),
            *(between(), nn.Linear(8, 1), nn.Flatten(0)),
        ),
        random,
    )


def leave_gradients(network: nn.Module, random: torch.Generator) -> None:
    """Give every weight a gradient, as the turn of another player leaves them."""
    for p in network.parameters():
        p.grad = 0.5 * torch.randn(p.shape, generator=random)


def gradients(network: nn.Module) -> Tensor:
    """Return the gradients that the weights hold in one row of numbers, 0 where there is none."""
    left = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
    return torch.cat([g.detach().float().flatten() for g in left])


def weights(network: nn.Module) -> Tensor:
    """Return all weights in one row of numbers."""
    return torch.cat([p.detach().float().flatten() for p in network.parameters()])


def modes(*networks: nn.Module) -> Tensor:
    """Return 1 for every part that is in training mode, 0 for one in evaluation mode."""
    return torch.tensor([float(module.training) for network in networks for module in network.modules()])


def trained(*networks: nn.Module) -> Tensor:
    """Return 1 for every weight that asks for a gradient, 0 for one that is frozen."""
    return torch.tensor([float(p.requires_grad) for network in networks for p in network.parameters()])


def statistics(network: nn.Module) -> Tensor:
    """Return the running means and variances of all batch norms in one row of numbers."""
    return torch.cat([torch.zeros(0), *(b.float().flatten() for b in network.buffers())])
