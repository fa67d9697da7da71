"""Ways to write exercise 3 of notebook 10, right and wrong, from the steps of a styled convolution."""

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-8


def modulate(x: Tensor, s: Tensor) -> Tensor:
    """Return x (B, into, H, W) with each channel scaled by s (B, into)."""
    return x * s[:, :, None, None]


def squares(weight: Tensor) -> Tensor:
    """Return the sums of squares over the places of the kernel, (out, into)."""
    return weight.square().sum((2, 3))


def total(s: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of squares of the modulated weights of each picture and output channel, (B, out)."""
    return s.square() @ squares(weight).T


def root(summed: Tensor) -> Tensor:
    """Return the root of what `total` returns."""
    return (summed + EPS).sqrt()


def over(h: Tensor, size: Tensor) -> Tensor:
    """Return h (B, out, H, W) divided by size (B, out)."""
    return h / size[:, :, None, None]


def padded(x: Tensor, weight: Tensor) -> Tensor:
    """Return the convolution that keeps the size of the maps."""
    return F.conv2d(x, weight, padding=1)


def conv(modulate=modulate, total=total, root=root, join=over, conv=padded):
    """Return a shared_conv from its steps: inputs scaled, convolved, divided by the root of a sum of squares."""
    return lambda x, weight, s: join(conv(modulate(x, s), weight), root(total(s, weight)))


def styled(change):
    """Return a shared_conv that is right for another style, change(s)."""
    return lambda x, weight, s: conv()(x, weight, change(s))


def own(dims, modulate=lambda s, weight: s[:, None, :, None, None] * weight):
    """Return a shared_conv with weights for each picture, (B, out, into, 3, 3), whose squares are summed over dims."""

    def answer(x: Tensor, weight: Tensor, s: Tensor) -> Tensor:
        each = modulate(s, weight)
        each = each * (each.square().sum(dims, keepdim=True) + EPS).rsqrt()
        return torch.stack([padded(one[None], kernel)[0] for one, kernel in zip(x, each, strict=True)])

    return answer


def grouped(take_apart):
    """Return a shared_conv that makes every picture a group of one convolution, from which take_apart(h, B, out)."""

    def answer(x: Tensor, weight: Tensor, s: Tensor) -> Tensor:
        each = s[:, None, :, None, None] * weight
        each = each * (each.square().sum((2, 3, 4), keepdim=True) + EPS).rsqrt()
        h = F.conv2d(x.flatten(0, 1)[None], each.flatten(0, 1), padding=1, groups=len(x))
        return take_apart(h[0], len(x), len(weight))

    return answer
