"""Changing a given picture with a diffusion model: climb to its noise, redraw it from half-way, repaint parts of it.

All are generators of `Step`, as the samplers are, and deterministic given their generator. Pictures are (B, C, H, W):
images in [-1, 1], or latents where the model denoises latents.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_utils.diffusion import Model, q_sample
from course_utils.samplers import (
    Generators,
    Step,
    check_level,
    check_steps,
    ddim_step,
    named,
    predicted,
    randn_like,
    spaced,
    times,
)
from course_utils.schedules import Schedule


def noised(x_0: Tensor, t: int, schedule: Schedule, generator: Generators = None) -> Tensor:
    """Noise all pictures x_0 (B, ...) to one level t in 0..T; see `diffusion.q_sample`. ValueError for another t."""
    t = 0 if t == 0 else check_level(t, schedule, "t")
    return q_sample(x_0, times(t, x_0), randn_like(x_0, generator), schedule)


def invert(
    model: Model,
    schedule: Schedule,
    x_0: Tensor,
    *,
    t: int | None = None,
    steps: int | None = None,
    rounds: int = 2,
    y: Tensor | None = None,
    clip: bool = False,
) -> Iterator[Step]:
    """Climb from pictures x_0 to the x_t from which `ddim` would come down to them: DDIM inversion.

    Source: Song et al. 2021, section 5.4, whose ODE runs either way. A step down from level n to level m < n is
    x_m = sqrt(alpha_bar_m) x0_hat + sigma_m eps_hat with predictions at x_n. Going up, x_n is the unknown: it is
    guessed with the last eps_hat, and put right by `rounds` evaluations at the guess, a fixed-point iteration (after
    Pan et al. 2023, Effective real image editing with accelerated iterative diffusion inversion, without their
    acceleration). Of a picture that the model cannot reproduce, eps_hat grows with rounds.
    t: where to stop, 1..T (None: T). steps: levels on the way, evenly spread (None: every one); evaluations of the
    network: steps * rounds. y and clip as for `ddim`.
    Yields steps + 1 records, from level 0 to t. Raises ValueError for a t that is no level, steps outside 1..t or
    rounds < 1.
    """
    top = check_level(t, schedule, "t")
    steps = check_steps(steps, top, schedule)
    if rounds < 1:
        raise ValueError(f"rounds counts evaluations of the network for each step: at least 1, got {rounds}")
    x, x0_hat, eps_hat = x_0, x_0, torch.zeros_like(x_0)
    yield Step(0, x, None, None)
    for below, above in pairwise(reversed(spaced(steps, top, schedule, "t"))):
        ratio = (schedule.alpha_bar[above] / schedule.alpha_bar[below]).sqrt()
        grown = schedule.sigma[above] - ratio * schedule.sigma[below]
        for _ in range(rounds):
            guess = ratio * x + grown * eps_hat
            x0_hat, eps_hat = predicted(model, guess, above, schedule, y, clip)
        x = ratio * x + grown * eps_hat
        yield Step(above, x, x0_hat, eps_hat)


def sdedit(
    model: Model,
    schedule: Schedule,
    x_0: Tensor,
    *,
    t: int,
    sampler: str = "ddim",
    generator: Generators = None,
    **options,
) -> Iterator[Step]:
    """Noise pictures x_0 to level t, and let a sampler come down from there (after Meng et al. 2022, SDEdit).

    What is larger than the noise of that level stays, what is finer is drawn anew: a small t keeps the picture and its
    faults, a large one mends both away. t: 1..T. sampler: a name in `samplers.SAMPLERS`, which takes the options.
    Raises ValueError for a t that is no level, an unknown sampler, and as the sampler.
    """
    t = check_level(t, schedule, "t")
    down = named(sampler)
    x_t = noised(x_0, t, schedule, generator)
    yield from down(model, schedule, x_t, start=t, generator=generator, **options)


def repaint(
    model: Model,
    schedule: Schedule,
    x_0: Tensor,
    mask: Tensor,
    *,
    t: int | None = None,
    steps: int | None = None,
    resample: int = 1,
    eta: float = 1.0,
    y: Tensor | None = None,
    clip: bool = False,
    generator: Generators = None,
) -> Iterator[Step]:
    """Keep the pictures x_0 where mask is 1 and draw them anew where it is 0 (Lugmayr et al. 2022, RePaint, Alg. 1).

    After each step down, what is known is put back, noised to the level reached (Eq. 8). resample: how often each step
    is taken, going back up in between (their U; jumps of length 1), so that both parts come to agree. mask: (B, 1, H,
    W) or of any shape that broadcasts to x_0, from 0 to 1, in between for a soft edge (where two noises average, and
    are weaker). t: where to start, 1..T (None: T, all but pure noise): at a lower level the unknown part is redrawn
    from what stands there in x_0, as in `sdedit`.
    steps: levels on the way (None: every one); the last step is taken once, so that the network is evaluated
    (steps - 1) * resample + 1 times. eta, y and clip as for `ddim`.
    Yields steps + 1 records; the last x equals x_0 where mask is 1. Raises ValueError for a mask outside [0, 1] or of
    another shape, resample < 1, and as `ddim`.
    """
    top = check_level(t, schedule, "t")
    steps = check_steps(steps, top, schedule)
    if resample < 1:
        raise ValueError(f"resample counts how often a step is taken: at least 1, got {resample}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("mask must lie in [0, 1]: 1 where the picture is kept, 0 where it is drawn anew")
    try:
        mask = mask.to(x_0).expand_as(x_0)
    except RuntimeError:
        raise ValueError(f"a mask of shape {tuple(mask.shape)} does not fit pictures {tuple(x_0.shape)}") from None
    x = noised(x_0, top, schedule, generator)
    yield Step(top, x, None, None)
    for above, below in pairwise(spaced(steps, top, schedule, "t")):
        for again in reversed(range(resample)):
            x0_hat, eps_hat = predicted(model, x, above, schedule, y, clip)
            x = ddim_step(x0_hat, eps_hat, above, below, schedule, eta, generator)
            x = mask * noised(x_0, below, schedule, generator) + (1 - mask) * x
            if again and below > 0:
                alpha = schedule.alpha_bar[above] / schedule.alpha_bar[below]
                x = alpha.sqrt() * x + (1 - alpha).sqrt() * randn_like(x, generator)
            elif below == 0:
                break  # theirs does not go back up from the clean picture, either
        yield Step(below, x, x0_hat, eps_hat)
