"""What happens inside a StyleGAN2, and what its w are good for: pure functions of a `StyleGenerator`."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import adversarial
from course_utils.models.stylegan2 import StyleGenerator, doubled


def mix(a: Tensor, b: Tensor, at: int) -> Tensor:
    """Return w (B, styles, w_dim) that are a's up to convolution `at` and b's from there on, counted from 0.

    a, b: (B, styles, w_dim), or 1 in place of B. Source: Karras et al. 2019, section 3.1. Raises ValueError for shapes
    that do not fit and `at` outside 0..styles.
    """
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"w must have shape (B, styles, w_dim) both, got {tuple(a.shape)} and {tuple(b.shape)}")
    if not 0 <= at <= a.shape[1]:
        raise ValueError(f"at counts convolutions, 0 to {a.shape[1]}, got {at}")
    second = torch.arange(a.shape[1], device=a.device) >= at
    return torch.where(second[:, None], b, a)


def each(model: StyleGenerator, w: Tensor) -> Tensor:
    """Return w (B, w_dim) once for every convolution, (B, styles, w_dim)."""
    return w[:, None].expand(-1, model.config.styles, -1)


@torch.no_grad()
def maps(model: StyleGenerator, w: Tensor, raw: bool = False) -> list[Tensor]:
    """Return the feature maps (B, C, side, side) after each convolution with its noise, bias and activation.

    w: as for `StyleGenerator.synthesise`. raw: what the convolution itself returns, before normalisation and the rest.
    """
    found: list[Tensor] = []
    handles = [
        (layer.conv if raw else layer).register_forward_hook(lambda _, __, out: found.append(out.float()))
        for layer in model.convs
    ]
    try:
        model.synthesise(w)
    finally:
        for handle in handles:
            handle.remove()
    return found


def peaks(features: list[Tensor]) -> Tensor:
    """Return how far the highest place of a map stands out, (layers,): its size by the map's root mean square.

    Of every image the worst channel counts; the median over images is returned. Flat maps have 1, a single spike the
    number of pixels a side: the droplets that instance normalisation provokes (Karras et al. 2020, section 2).
    """
    out = []
    for x in features:
        size = x.square().mean((2, 3)).sqrt().clamp_min(1e-8)
        out.append((x.abs().amax((2, 3)) / size).amax(1).median())
    return torch.stack(out)


def noise_share(model: StyleGenerator, z: Tensor, repeats: int = 8, seed: int = 0) -> float:
    """Return how much the noise inputs move a pixel, relative to z: standard deviations over `repeats` draws of the
    noise, and over the B different z (B, z_dim), each a root mean square over pixels. Raises ValueError for B < 2 or
    fewer than 2 repeats.
    """
    if len(z) < 2 or repeats < 2:
        raise ValueError(f"deviations need 2 z and 2 repeats or more, got {len(z)} and {repeats}")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = torch.stack([model(z, None, model.draw_noise(len(z), generator)) for _ in range(repeats)])
    return float((drawn.var(0).mean() / drawn.mean(0).var(0).mean()).sqrt())


def length_spread(model: StyleGenerator, z: Tensor, directions: int = 32, seed: int = 0) -> float:
    """Return how much images differ in how far a step in w moves them: the standard deviation of their path length
    over z (B, z_dim), relative to its mean (Karras et al. 2020, section 3.2).

    The path length of an image is the root mean square of `adversarial.path_lengths` over random directions, which
    is the size of its Jacobian. Chance adds about 1 / sqrt(2 directions), less where the Jacobian has a high rank.
    """
    generator, squares = torch.Generator().manual_seed(seed), 0.0
    for _ in range(directions):
        with torch.enable_grad():
            w = each(model, model.to_w(z).detach()).requires_grad_()
            images = model.synthesise(w)
            y = torch.randn(images.shape, generator=generator).to(images.device)
            squares = squares + adversarial.path_lengths(images, w, y).detach().square()
    lengths = squares.sqrt()
    return float(lengths.std() / lengths.mean())


@torch.no_grad()
def added(model: StyleGenerator, w: Tensor) -> list[Tensor]:
    """Return what each resolution adds to the images, from 4 x 4 up, each (B, channels, size, size); they sum to them.

    Source: Karras et al. 2020, section 4.2, figure 8. Raises ValueError for a growing network, which adds nothing.
    """
    if model.config.architecture != "skip":
        raise ValueError("only a skip generator sums over resolutions: a growing one shows its last alone")
    found: list[Tensor] = []
    handles = [layer.register_forward_hook(lambda _, __, out: found.append(out.float())) for layer in model.rgbs]
    try:
        model.synthesise(w)
    finally:
        for handle in handles:
            handle.remove()
    size = model.config.size
    for k, side in enumerate(model.config.sides):
        while side < size:
            found[k], side = doubled(found[k]), 2 * side
    return found


class Projected(NamedTuple):
    """A step on the way to the w of an image. w: (styles, w_dim); image: (3, S, S), of w and the noise still on it;
    distance: of that image, see `distance`.
    """

    step: int
    w: Tensor
    image: Tensor
    distance: float


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return how far images (B, C, S, S) lie apart, (B,): mean squared errors of them and of both halved until 8 x 8,
    averaged. The small ones say whether the large parts are in place where edges do not yet meet.
    """
    errors = []
    while True:
        errors.append((a - b).square().mean((1, 2, 3)))
        if a.shape[-1] <= 8:
            return torch.stack(errors).mean(0)
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)


def project(
    model: StyleGenerator, image: Tensor, steps: int = 200, extended: bool = False, lr: float = 0.1, seed: int = 0
) -> Iterator[Projected]:
    """Look for the w whose image is nearest to `image` (C, S, S) in [-1, 1]; yields a `Projected` after each step.

    As Karras et al. 2020, section 5 and appendix D: from the mean of w, Adam, the rate rising over the first twentieth
    and falling over the last quarter, noise on w that fades out over the first three quarters. Differs from them in the
    distance, `distance` instead of LPIPS, and in leaving the noise inputs as they are. extended: a w for every
    convolution ("W+", Abdal et al. 2019), which reaches more images, also such as are no cats. Raises ValueError for an
    image of another shape or values that are not finite, and steps < 1.
    """
    config = model.config
    device = model.start.device
    if image.shape != (config.channels, config.size, config.size) or not image.isfinite().all():
        raise ValueError(
            f"image must be finite, of shape {(config.channels, config.size, config.size)}: got {tuple(image.shape)}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    generator, target = torch.Generator().manual_seed(seed), image.to(device)[None]
    with torch.no_grad():
        away = model.to_w(torch.randn(1000, config.z_dim, generator=generator).to(device)) - model.w_mean
        spread = float(away.square().sum(1).mean().sqrt())
    w = model.w_mean.detach().clone().repeat(1, config.styles if extended else 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([w], lr, betas=(0.9, 0.999))
    for step in range(1, steps + 1):
        at = step / steps
        optimizer.param_groups[0]["lr"] = lr * min(1, at / 0.05) * (0.5 - 0.5 * math.cos(math.pi * min(1, 4 - 4 * at)))
        noise = 0.05 * spread * max(0.0, 1 - at / 0.75) ** 2 * torch.randn(w.shape, generator=generator).to(device)
        with torch.enable_grad():
            found = model.synthesise((w + noise).expand(-1, config.styles, -1))
            apart = distance(found, target).sum()
            (w.grad,) = torch.autograd.grad(apart, w)
        own = w.detach()[0].expand(config.styles, -1).clone()
        optimizer.step()
        yield Projected(step, own, found.detach()[0].cpu(), float(apart.detach()))
