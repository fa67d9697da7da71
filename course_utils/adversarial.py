"""Two networks against each other: losses as pure functions of logits, and a loop that yields after every round."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.state import Player, RunState
from course_utils.training import EMA, NonFiniteLossError

PATH_DECAY = 0.99  # of the running mean of path lengths (Karras et al. 2020, appendix B)
LOSSES = ("non_saturating", "saturating", "hinge", "relativistic")


def discriminator_loss(kind: str, real: Tensor, fake: Tensor, targets: tuple[float, float] = (1.0, 0.0)) -> Tensor:
    """Loss of the discriminator, a scalar, from its logits (B,) for real and for generated images.

    kind: "non_saturating" and "saturating" (Goodfellow et al. 2014, eq. 1; they differ in the generator's loss only),
    "hinge" (Lim & Ye 2017), "relativistic" (Jolicoeur-Martineau 2019, pairing each real image with a generated one).
    targets: probabilities asked for real and generated images, (0.9, 0.0) for one-sided label smoothing (Salimans et
    al. 2016, section 3.4); for the first two kinds. Raises ValueError for another kind, or targets that do not fit it.
    """
    _check(kind)
    if targets != (1.0, 0.0) and kind in ("hinge", "relativistic"):
        raise ValueError(f"label smoothing needs probabilities, and the {kind} loss has none: leave targets at (1, 0)")
    if not (0 <= targets[1] < targets[0] <= 1):
        raise ValueError(f"targets must satisfy 0 <= fake < real <= 1, got real {targets[0]} and fake {targets[1]}")
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "relativistic":
        return F.softplus(fake - real).mean()
    parts = zip((real, fake), targets, strict=True)
    return sum(F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, p)) for logit, p in parts)


def generator_loss(kind: str, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """Loss of the generator, a scalar, from the discriminator's logits (B,); kinds as for `discriminator_loss`.

    "saturating" is log(1 - D), whose gradient vanishes when the discriminator is sure (Goodfellow et al. 2014, section
    3); "non_saturating" is -log D. real: the logits of real images, for "relativistic" alone.
    Raises ValueError for another kind, and for "relativistic" without `real`.
    """
    _check(kind)
    if kind == "saturating":
        return -F.softplus(fake).mean()
    if kind == "hinge":
        return -fake.mean()
    if kind == "non_saturating":
        return F.softplus(-fake).mean()
    if real is None:
        raise ValueError("the relativistic loss of the generator compares with real images: pass their logits as real")
    return F.softplus(real - fake).mean()


def _check(kind: str) -> None:
    if kind not in LOSSES:
        raise ValueError(f"unknown adversarial loss {kind!r}: choose one of {', '.join(LOSSES)}")


def gradient_penalty(logits: Tensor, x: Tensor) -> Tensor:
    """R1 where x is real, R2 where it is generated: the mean over images of |grad_x logit|^2 (Mescheder et al. 2018).

    logits: (B,), computed from x (B, ...), which requires grad. Multiply by gamma / 2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def path_lengths(images: Tensor, w: Tensor, directions: Tensor) -> Tensor:
    """Return |J_w^T y| of each image, (B,), for random images y = directions (Karras et al. 2020, section 3.2).

    images: (B, C, S, S), made of w (B, styles, w_dim), which requires grad; directions: standard normal, shaped like
    images. As in the paper's code, y is divided by S and the length is a root mean square over styles.
    """
    value = (images * directions).sum() / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad(value, w, create_graph=True)
    return gradient.float().square().sum(2).mean(1).sqrt()  # under autocast w, and so its gradient, has few digits


def augment(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Shift colours, move by up to an eighth and cut out a quarter, differentiably (Zhao et al. 2020, DiffAugment).

    Applied to real and generated images alike, so that a discriminator of few images cannot learn them by heart.
    x: (B, 3, S, S) in [-1, 1]; returns the same shape. generator: on the CPU.
    """
    b, _, h, w = x.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(b, *shape, generator=generator).to(x.device)

    x = x + (draw(1, 1, 1) - 0.5)  # brightness
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (2 * draw(1, 1, 1)) + grey  # saturation
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - middle) * (draw(1, 1, 1) + 0.5) + middle  # contrast

    rows, columns = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    down, right = (((2 * draw(1) - 1) * n / 8).round().long() for n in (h, w))
    i, j = rows[None] + down, columns[None] + right
    inside = ((i >= 0) & (i < h))[:, None, :, None] & ((j >= 0) & (j < w))[:, None, None, :]
    batch = torch.arange(b, device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[batch, i.clamp(0, h - 1)[:, :, None], j.clamp(0, w - 1)[:, None, :]]
    x = moved.permute(0, 3, 1, 2) * inside

    top, left = ((draw(1) * n).floor() - n // 4 for n in (h, w))
    hole_rows = (rows[None] >= top) & (rows[None] < top + h // 2)
    hole_columns = (columns[None] >= left) & (columns[None] < left + w // 2)
    return x * ~(hole_rows[:, None, :, None] & hole_columns[:, None, None, :])


class GANStep(NamedTuple):
    """What one round did. loss: the generator's; real, fake: mean logits of the discriminator; seconds: since begin."""

    step: int
    loss: float
    loss_d: float
    real: float
    fake: float
    examples_per_s: float
    seconds: float


class Round(NamedTuple):
    """What one round is played with. x: (B, 3, S, S) real images; y: (B,) labels or None; z: (2, B, z_dim).

    seed: of what else is random, the augmentation and the noise on the discriminator's inputs.
    """

    x: Tensor
    y: Tensor | None
    z: Tensor
    seed: int


def fit(
    generator: nn.Module,
    discriminator: nn.Module,
    data: Callable[[int], Round],
    steps: int,
    *,
    loss: str = "non_saturating",
    lr: tuple[float, float] = (2e-4, 2e-4),
    betas: tuple[float, float] = (0.5, 0.999),
    weight_decay: float = 0.01,
    targets: tuple[float, float] = (1.0, 0.0),
    input_noise: float = 0.0,
    r1: float = 0.0,
    r2: float = 0.0,
    r_every: int = 1,
    path: float = 0.0,
    path_every: int = 8,
    augmented: bool = False,
    ema: EMA | None = None,
    precision: str = "float32",
    state: Path | str | None = None,
    every: float = 120.0,
    accelerator: Any = None,
) -> Iterator[GANStep]:
    """Play `steps` rounds, one update of the discriminator and one of the generator each, yielding a `GANStep` after.

    data: a function from the round's number (1, 2, ...) to its `Round`. loss and targets: see `discriminator_loss`. lr:
    of generator and discriminator (two time scales where they differ, Heusel et al. 2017). input_noise: standard
    deviation of Gaussian noise on all that the discriminator sees (Arjovsky & Bottou 2017). weight_decay: AdamW's; with
    0 it is the papers' Adam. r1, r2: gamma of `gradient_penalty` on real and on generated images. path: weight of a
    `StyleGenerator`'s deviation of `path_lengths` from their running mean. r_every, path_every: rounds between two uses
    of these, which then weigh so much more (lazy regularisation, Karras et al. 2020, section 3.1; there in an update of
    its own, here with the loss). augmented: use `augment`. ema: an average of the generator. precision, state, every
    and accelerator: as in `training.fit`, resuming bit for bit.

    Raises ValueError for steps or an interval < 1, a learning rate that is not positive, another loss or precision, a
    path penalty without w; NonFiniteLossError (before the weights of that player are touched) when a loss or a gradient
    is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not min(lr) > 0:
        raise ValueError(f"the learning rates must be positive, got {lr}")
    if min(r_every, path_every) < 1:
        raise ValueError(f"r_every and path_every count rounds, at least 1: got {r_every} and {path_every}")
    styled = hasattr(generator, "draw_noise")
    if path and not styled:
        raise ValueError("path lengths are those from w to images, and this generator has no w: leave path at 0")
    _check(loss)
    g, d = (
        Player(name, network, rate, betas, weight_decay, precision, accelerator)
        for name, network, rate in zip(("generator", "discriminator"), (generator, discriminator), lr, strict=True)
    )
    run = RunState([g, d], ema, state, columns=4, accelerator=accelerator)
    generator.train()
    discriminator.train()

    def played(player: Player, *inputs: Tensor) -> Tensor:
        with player.autocast():
            out = player.model(*inputs)
        return out.float()  # losses and augmentation are small and want the digits

    def draw(z: Tensor, y: Tensor | None, noise: torch.Generator) -> Tensor:
        if styled:
            return played(g, z, y, generator.draw_noise(len(z), noise))
        return played(g, z) if y is None else played(g, z, y)

    def path_penalty(z: Tensor, noise: torch.Generator) -> Tensor:
        with g.autocast():
            images, w = g.model(z, None, generator.draw_noise(len(z), noise), True)
        lengths = path_lengths(images, w, torch.randn(images.shape, generator=noise).to(images.device))
        mean = lengths.detach().mean()
        mean = mean if accelerator is None else accelerator.reduce(mean, "mean")
        generator.path_mean.lerp_(mean, 1 - PATH_DECAY)
        return (lengths - generator.path_mean).square().mean()

    def seen(x: Tensor, y: Tensor | None, noise: torch.Generator) -> Tensor:
        x = augment(x, noise) if augmented else x
        if input_noise:
            x = x + input_noise * torch.randn(x.shape, generator=noise).to(x.device)
        return played(d, x) if y is None else played(d, x, y)

    def turn(player: Player, value: Tensor, step: int) -> float:
        value, norm = player.gradients(value, None)
        if not (math.isfinite(value) and math.isfinite(norm)):
            kept = f" What was saved before stays in {state}." if state else ""
            raise NonFiniteLossError(
                f"round {step}: the loss of the {player.name} is {value} and its gradient norm {norm} at lr "
                f"{player.lr:.3g}.{kept} Try smaller learning rates, r1 > 0, and look for inputs that are not finite."
            )
        run.torn = True  # an interrupt between here and the note must not be written down
        player.step(player.lr)
        return value

    began, before, saved = time.perf_counter(), run.seconds, time.perf_counter()
    try:
        for step in range(run.step + 1, steps + 1):
            x, y, z, seed = data(step)
            noise = torch.Generator().manual_seed(seed)
            lazy = r_every if step % r_every == 0 else 0

            with torch.no_grad():
                made = draw(z[0], y, noise)
            made.requires_grad_(r2 * lazy > 0)
            x = x.detach().requires_grad_(r1 * lazy > 0)
            real, fake = seen(x, y, noise), seen(made, y, noise)
            value = discriminator_loss(loss, real, fake, targets)
            for gamma, logits, images in ((r1, real, x), (r2, fake, made)):
                if gamma * lazy:
                    value = value + lazy * gamma / 2 * gradient_penalty(logits, images)
            loss_d, means = turn(d, value, step), (real.mean().item(), fake.mean().item())

            discriminator.requires_grad_(False)
            fake = seen(draw(z[1], y, noise), y, noise)
            with torch.no_grad():
                real = seen(x.detach(), y, noise) if loss == "relativistic" else None
            value = generator_loss(loss, fake, real)
            if path and step % path_every == 0:
                value = value + path_every * path * path_penalty(z[1], noise)
            loss_g = turn(g, value, step)
            discriminator.requires_grad_(True)

            if ema is not None:
                ema.update(generator)
            seconds = before + time.perf_counter() - began
            run.note(step, seconds, len(x), loss_g, loss_d, *means)
            run.torn = False
            if time.perf_counter() - saved > every:
                run.save()
                saved = time.perf_counter()
            yield GANStep(step, loss_g, loss_d, *means, run.seen / seconds, seconds)
    finally:
        discriminator.requires_grad_(True)
        if not run.torn:
            run.save()
