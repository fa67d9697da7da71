"""Moving about in the latent space of a VAE: principal directions, walks, interpolation and arithmetic.

Images are (3, S, S) or (N, 3, S, S) in [-1, 1]. What stands for an image is mu, the mean of q(z | x). The networks run
where the model is; everything comes back on the CPU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.models.vae import VAE

HOW = ("linear", "spherical")
_PARALLEL = 1e-4  # sine of an angle below which the arc between two vectors is a line, or undefined
_BATCH = 100


class Directions(NamedTuple):
    """Principal components of latents: mean (*latent_shape), axes (K, *latent_shape) of unit length, std (K,).

    std: standard deviation of the latents along each axis, from the largest down.
    """

    mean: Tensor
    axes: Tensor
    std: Tensor


@torch.no_grad()
def posterior(model: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu and logvar of q(z | x), each (N, *latent_shape), of images (N, 3, S, S), batch by batch.

    Raises ValueError as the encoder.
    """
    device = _device(model)
    parts = [model.encoder(batch.to(device)) for batch in images.split(_BATCH)]
    mu, logvar = (torch.cat([moment.cpu() for moment in part]) for part in zip(*parts, strict=True))
    return mu, logvar


def encode(model: VAE, images: Tensor) -> Tensor:
    """Return mu (N, *latent_shape) of images (N, 3, S, S); see `posterior`."""
    return posterior(model, images)[0]


@torch.no_grad()
def decode(model: VAE, z: Tensor) -> Tensor:
    """Return images (N, 3, S, S) in [-1, 1] of z (N, *latent_shape); raises ValueError as the decoder."""
    device = _device(model)
    return torch.cat([model.decode(batch.to(device)).cpu() for batch in z.split(_BATCH)])


def reconstruct(model: VAE, images: Tensor) -> Tensor:
    """Return what is decoded from mu of images (N, 3, S, S), in the same shape and [-1, 1]; errors as `encode`."""
    return decode(model, encode(model, images))


def principal(model: VAE, images: Tensor) -> Directions:
    """Return the principal components of mu over images (N, 3, S, S); see `components`, errors also as `encode`."""
    return components(encode(model, images))


def components(mu: Tensor) -> Directions:
    """Return the principal components of latents mu (N, *latent_shape), by singular value decomposition.

    There are K = min(N - 1, numbers in a latent); std divides by N - 1. Of both signs an axis takes the one that makes
    its largest entry positive. Source: Jolliffe 2002, Principal Component Analysis, section 3.5. Raises ValueError for
    fewer than 2 latents.
    """
    if len(mu) < 2:
        raise ValueError(f"principal components take at least 2 images, got {len(mu)}")
    flat = mu.flatten(1).double()
    mean = flat.mean(0)
    _, s, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    k = min(len(mu) - 1, flat.shape[1])
    axes, std = axes[:k], s[:k] / (len(mu) - 1) ** 0.5
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    shape = mu.shape[1:]
    return Directions(mean.view(shape).to(mu), axes.view(-1, *shape).to(mu), std.to(mu))


def walk(model: VAE, z: Tensor, direction: Tensor, amounts: Sequence[float] | Tensor) -> Tensor:
    """Decode z + amount * direction for each of `amounts`: images (len(amounts), 3, S, S).

    z, direction: (*latent_shape). With `std[k] * axes[k]` of `principal` as direction, amounts count standard
    deviations. Raises ValueError for z and direction of different shapes, and as the decoder.
    """
    if z.shape != direction.shape:
        raise ValueError(f"z and direction must have one shape, got {tuple(z.shape)} and {tuple(direction.shape)}")
    amounts = torch.as_tensor(amounts, dtype=z.dtype)
    return decode(model, z + amounts.view(-1, *[1] * z.ndim) * direction)


def blend(a: Tensor, b: Tensor, shares: Sequence[float] | Tensor, how: str = "linear") -> Tensor:
    """Return z between a and b, (len(shares), *shape of a): a at share 0 and b at share 1, exactly.

    how: "linear", (1 - t) a + t b, or "spherical", along the arc from a to b: sin((1 - t) w) / sin(w) a +
    sin(t w) / sin(w) b, with w the angle between them (White 2016, Sampling Generative Networks, section 2). Almost all
    of a Gaussian z in d dimensions has a length near sqrt(d), but the middle of a line between two independent draws
    only sqrt(d / 2), where the decoder has hardly been trained; the arc keeps the length. Nearly parallel or opposite
    vectors, and zero, take the line. Raises ValueError for another `how` and for shapes that differ.
    """
    t = torch.as_tensor(shares, dtype=torch.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return between(*(x.expand(len(t), *x.shape) for x in (a, b)), t, how)


def between(a: Tensor, b: Tensor, shares: Tensor, how: str = "linear") -> Tensor:
    """Return what lies between a and b, each (B, ...), example by example, at shares (B,) of b; see `blend`.

    Each example has an angle of its own. Raises ValueError as `blend`.
    """
    if how not in HOW:
        raise ValueError(f"unknown interpolation {how!r}: choose one of {', '.join(HOW)}")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    x, y = a.flatten(1).double(), b.flatten(1).double()  # in float32 the cosine of a small angle is 1
    t = shares.to(x)[:, None]
    of_a, of_b = 1 - t, t
    if how == "spherical":
        lengths = x.norm(dim=1, keepdim=True) * y.norm(dim=1, keepdim=True)
        w = ((x * y).sum(1, keepdim=True) / lengths).clamp(-1, 1).arccos()
        arc = w.sin() >= _PARALLEL  # not so where a length is 0, and w undefined
        of_a = torch.where(arc, ((1 - t) * w).sin() / w.sin(), of_a)
        of_b = torch.where(arc, (t * w).sin() / w.sin(), of_b)
    return (of_a * x + of_b * y).view(a.shape).to(a)


def interpolate(model: VAE, a: Tensor, b: Tensor, n: int, how: str = "linear") -> Tensor:
    """Decode n latents from mu of image a to mu of image b, evenly spaced and with both ends: images (n, 3, S, S).

    a, b: (3, S, S). how: see `blend`. Raises ValueError for n < 2, and as `blend` and `encode`.
    """
    if n < 2:
        raise ValueError(f"an interpolation has at least its 2 ends, got n = {n}")
    start, end = encode(model, _pair(a, b))
    return decode(model, blend(start, end, torch.linspace(0, 1, n, dtype=torch.float64), how))


def arithmetic(model: VAE, positive: Tensor, negative: Tensor, image: Tensor) -> Tensor:
    """Decode mu of `image` + mean of mu over `positive` - mean of mu over `negative`: one image (3, S, S).

    positive, negative: images (N, 3, S, S) with and without what is to be added; image: (3, S, S). Source: Larsen et
    al. 2016, Autoencoding beyond pixels. Raises ValueError for an empty batch, and as `encode`.
    """
    for name, images in (("positive", positive), ("negative", negative)):
        if len(images) == 0:
            raise ValueError(f"{name} holds no image: its mean does not exist")
    z = encode(model, image[None])[0] + encode(model, positive).mean(0) - encode(model, negative).mean(0)
    return decode(model, z[None])[0]


def _pair(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape:
        raise ValueError(f"both images must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return torch.stack([a, b])


def _device(model: VAE) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
