"""Right and wrong penalties on a discriminator's slope, for exercise 5 of notebook 06."""

import warnings

import torch
from torch import Tensor, nn


def own(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def slope(total: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(total, x, create_graph=True)[0]


def squares(gradient: Tensor) -> Tensor:
    return gradient.square().flatten(1).sum(1)


def penalty(of=torch.sum, each=squares, reduce=torch.mean, leaf=own, slope=slope):
    """Return an r1_penalty from the number whose gradient is taken, what becomes of each gradient and of the batch."""

    def answer(discriminator: nn.Module, x: Tensor) -> Tensor:
        x = leaf(x)
        return reduce(each(slope(of(discriminator(x)), x)))

    return answer


def each(*functions):
    return tuple(penalty(each=each) for each in functions)


def norm(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).norm(dim=1)


def axes_norm(gradient: Tensor) -> Tensor:
    return gradient.square().sum((1, 2, 3)).sqrt()  # as students write it for images


def cut(total: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(total, x)[0]


def backward(total: Tensor, x: Tensor) -> Tensor:
    with warnings.catch_warnings(action="ignore"):  # of a cycle that keeps memory
        total.backward(create_graph=True)
    return x.grad


def in_weights(of=torch.sum):
    def answer(discriminator: nn.Module, x: Tensor) -> Tensor:
        gradients = torch.autograd.grad(of(discriminator(x)), list(discriminator.parameters()), create_graph=True)
        return sum(g.square().sum() for g in gradients)

    return answer


def late(discriminator: nn.Module, x: Tensor) -> Tensor:
    total = discriminator(x).sum()
    x = own(x)
    return squares(slope(total, x)).mean()
