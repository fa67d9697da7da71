"""Two pictures fused into one: by mixing pixels, noised pictures or latents, and by splicing; methods as generators.

Everywhere lambda_ is the share of b: 0 gives a, or what the method makes of a, and 1 gives b. It is one number for all
pictures, or a tensor (B,) with one for each. Pictures a and b are (B, C, H, W): images, or what the model denoises.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from course_utils import editing, latents, sample, samplers
from course_utils.checkpoints import Checkpoint
from course_utils.data.levels import in_range
from course_utils.diffusion import Model, q_sample
from course_utils.models.layers import check_images
from course_utils.models.vae import VAE
from course_utils.samplers import Generators, Step
from course_utils.schedules import Schedule

HOW = (*latents.HOW, "centred")
DARK = -0.3  # mean luminance below which a picture counts as dark
EDGE = {"spliced": 0.125, "repainted": 0.25}  # height of the seam, as a share of the picture's
LEVEL = {"independent": 0.5, "shared": 0.5, "spherical": 0.5, "centred": 0.5, "inverted": 0.5}  # t / T
LEVEL |= {"spliced": 0.5, "repainted": 0.9}
LABELS = {
    "cross-fade": "cross-fade of pixels",
    "independent": "noised, each with its own noise",
    "shared": "noised, with shared noise",
    "spherical": "noised, mixed on the sphere",
    "centred": "noised, centred",
    "inverted": "DDIM inversion, centred",
    "spliced": "spliced, then SDEdit",
    "repainted": "spliced, seam repainted",
    "linear": "latents, straight",
    "spherical z": "latents, on the sphere",
}
_IN_LATENTS = ("independent", "shared", "spherical", "centred", "inverted")
_OF_VAE = {"linear": "linear", "spherical z": "spherical"}


def mixed(a: Tensor, b: Tensor, lambda_: float | Tensor, how: str = "linear") -> Tensor:
    """Return what lies at lambda_ between a and b, (B, C, H, W), by one of HOW.

    "linear": (1 - lambda_) a + lambda_ b. "spherical": on the arc from a to b, see `latents.blend`; what both have in
    common comes out stronger than in either. "centred": the mean of each channel is mixed straight, so that two dark
    pictures get no darker, and what is left on the arc. Raises ValueError for shapes that differ, another `how`, and
    lambda_ outside [0, 1] or not one for each picture.
    """
    if how not in HOW:
        raise ValueError(f"unknown way to mix {how!r}: choose one of {', '.join(HOW)}")
    of_b = shares(lambda_, a)
    if how != "centred":
        return latents.between(a, b, of_b, how)
    means = [x.mean((-2, -1), keepdim=True) for x in (a, b)]
    rest = latents.between(*(x - mean for x, mean in zip((a, b), means, strict=True)), of_b, "spherical")
    return rest + latents.between(*means, of_b)


def shares(lambda_: float | Tensor, like: Tensor) -> Tensor:
    """Return lambda_ as float64 (B,); raises ValueError where it is not in [0, 1], or not one for each of `like`."""
    out = torch.as_tensor(lambda_, dtype=torch.float64, device=like.device)
    out = out.expand(len(like)) if out.ndim == 0 else out
    if out.shape != like.shape[:1]:
        raise ValueError(f"lambda_ must be one number, or one for each of {len(like)} pictures: got {tuple(out.shape)}")
    if not bool(((out >= 0) & (out <= 1)).all()):  # nan is not, either
        raise ValueError(f"lambda_ is the share of b and must lie in [0, 1], got {lambda_}")
    return out


def noised(
    model: Model,
    schedule: Schedule,
    a: Tensor,
    b: Tensor,
    lambda_: float | Tensor = 0.5,
    *,
    t: int,
    t_b: int | None = None,
    shared: bool = True,
    how: str = "linear",
    sampler: str = "ddim",
    generator: Generators = None,
    **options,
) -> Iterator[Step]:
    """Noise a and b to level t, mix, and let a sampler come down from there.

    shared: both with the same noise, so that the mix is the cross-fade of a and b, noised to level t, as the network
    expects. Else each has noise of its own, whose mean is weaker by sqrt((1 - lambda_)^2 + lambda_^2); how="spherical"
    keeps its strength (less of it at small t), and makes the signal stronger instead. t: 1..T. t_b: another level for b
    (None: t), of which the network is not told. sampler: a name in `samplers.SAMPLERS`, which takes the options.
    Raises ValueError for a level that is none, as `mixed`, and as the sampler.
    """
    _check_alike(a, b)
    t, down = samplers.check_level(t, schedule, "t"), samplers.named(sampler)
    t_b = t if t_b is None else samplers.check_level(t_b, schedule, "t_b")
    eps = samplers.randn_like(a, generator)
    eps_b = eps if shared else samplers.randn_like(b, generator)
    x_a, x_b = q_sample(a, samplers.times(t, a), eps, schedule), q_sample(b, samplers.times(t_b, b), eps_b, schedule)
    x_t = mixed(x_a, x_b, lambda_, how)
    yield from down(model, schedule, x_t, start=t, generator=generator, **options)


def level_of_mix(t: int, lambda_: float, schedule: Schedule) -> int:
    """Return the level that a mix of two pictures has which were noised to level t, each with noise of its own.

    Its signal is the cross-fade, as strong as the signal of either at t, and its noise sqrt((1 - lambda_)^2 +
    lambda_^2) times as strong: up to a factor, it is the cross-fade noised to an earlier level, that with the nearest
    logarithm of the signal-to-noise ratio, 1..T. Raises ValueError for a t that is no level and as `mixed`.
    """
    share = float(shares(lambda_, schedule.beta[:1]))
    wanted = schedule.log_snr[samplers.check_level(t, schedule, "t")] - math.log((1 - share) ** 2 + share**2)
    return int((schedule.log_snr - wanted).abs().argmin())


def inverted(
    model: Model,
    schedule: Schedule,
    a: Tensor,
    b: Tensor,
    lambda_: float | Tensor = 0.5,
    *,
    t: int | None = None,
    steps: int | None = None,
    how: str = "centred",
    rounds: int = 2,
    **options,
) -> Iterator[Step]:
    """Climb from a and from b to level t without drawing noise, mix there, and come down by `ddim` (Song et al. 2021).

    Their section 5.3 mixes noise that was drawn; here it is that of given pictures, see `editing.invert`. t: 1..T
    (None: T). steps: levels on the way up, and on the way down. options: clip, y; for both ways.
    Yields steps + 1 records on the way up, of a alone, and steps + 1 on the way down, the mix first. Raises ValueError
    as `mixed` and `editing.invert`.
    """
    mixed(a, b, lambda_, how)  # raises before the long way up
    up = (editing.invert(model, schedule, x, t=t, steps=steps, rounds=rounds, **options) for x in (a, b))
    for both in zip(*up, strict=True):
        yield both[0]
    x_t = mixed(both[0].x, both[1].x, lambda_, how)
    yield from samplers.ddim(model, schedule, x_t, start=both[0].t, steps=steps, **options)


def seam(like: Tensor, lambda_: float | Tensor, edge: float) -> Tensor:
    """Return the share of b at each place of a splice, (B, 1, H, 1): b below, a above, and a ramp between them.

    edge: height of the ramp, as a share of the picture's; it lies outside the picture for lambda_ 0 and 1.
    """
    height, ramp = like.shape[-2], max(1.0, edge * like.shape[-2])
    row = torch.arange(height, device=like.device, dtype=torch.float64) + 0.5
    middle = (1 - shares(lambda_, like)[:, None]) * (height + ramp) - ramp / 2
    return ((row - middle) / ramp + 0.5).clamp(0, 1).to(like.dtype).view(-1, 1, height, 1)


def _splice(a: Tensor, b: Tensor, lambda_: float | Tensor, edge: float) -> tuple[Tensor, Tensor]:
    """Return a and b laid together along a seam, and the share of b at each place."""
    _check_alike(a, b)
    of_b = seam(a, lambda_, edge)
    return (1 - of_b) * a + of_b * b, of_b


def spliced(
    model: Model,
    schedule: Schedule,
    a: Tensor,
    b: Tensor,
    lambda_: float | Tensor = 0.5,
    *,
    t: int,
    edge: float = EDGE["spliced"],
    **options,
) -> Iterator[Step]:
    """Lay the upper part of a on the lower part of b, and heal the whole by `editing.sdedit`; see `seam` for edge.

    For pictures in which the same place shows the same part, as with faces cut out alike. Raises ValueError as these.
    """
    x_0, _ = _splice(a, b, lambda_, edge)
    yield from editing.sdedit(model, schedule, x_0, t=t, **options)


def repainted(
    model: Model,
    schedule: Schedule,
    a: Tensor,
    b: Tensor,
    lambda_: float | Tensor = 0.5,
    *,
    t: int,
    edge: float = EDGE["repainted"],
    **options,
) -> Iterator[Step]:
    """Lay the upper part of a on the lower part of b, keep both, and draw the seam anew by `editing.repaint`."""
    x_0, of_b = _splice(a, b, lambda_, edge)
    kept = ((of_b == 0) | (of_b == 1)).to(a)
    yield from editing.repaint(model, schedule, x_0, kept, t=t, **options)


METHODS: dict[str, Callable[..., Iterator[Step]]] = {
    "independent": partial(noised, shared=False),
    "shared": noised,
    "spherical": partial(noised, shared=False, how="spherical"),
    "centred": partial(noised, shared=False, how="centred"),
    "inverted": inverted,
    "spliced": spliced,
    "repainted": repainted,
}


def methods(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the names of the methods that `fuse` can use with a checkpoint; none for a GAN, which encodes nothing."""
    if isinstance(checkpoint.model, VAE):
        return tuple(_OF_VAE)
    if checkpoint.schedule is None:
        return ()
    return _IN_LATENTS if sample.in_latents(checkpoint.model) else ("cross-fade", *METHODS)


def fuse(
    checkpoint: Checkpoint,
    a: Tensor,
    b: Tensor,
    method: str = "shared",
    lambda_: float | Tensor = 0.5,
    t: int | None = None,
    *,
    steps: int = 20,
    seed: int = 0,
    same_noise: bool = False,
) -> Iterator[Step]:
    """Fuse images a and b, each (B, 3, S, S) in [-1, 1], with a checkpoint; `final` and `sample.decoded` finish it.

    method: one of `methods(checkpoint)`, which LABELS put into words. t: the level to which both are noised, 1..T
    (None: LEVEL of T); "cross-fade" and the methods of a VAE have none. steps: evaluations of the network from T down,
    and in proportion from t. The noise of picture i depends on seed and i alone; same_noise gives every picture that
    of picture 0, for rows of lambda_.
    Yields the method's records. A latent diffusion model's are latents. Raises ValueError for a method that is not
    there, images whose shapes differ, are not finite or leave [-1, 1], and as the method.
    """
    if method not in (known := methods(checkpoint)):
        has = ", ".join(known) or "no method at all"
        raise ValueError(f"{checkpoint.name} cannot fuse by {method!r}: it has {has}")
    a, b = check_pair(a, b)
    check_images(a, 3, checkpoint.model.config.size)
    model, schedule = checkpoint.model, checkpoint.schedule
    a, b = (x.to(next(model.parameters())) for x in (a, b))  # float64, too, becomes what the network takes
    if method == "cross-fade":
        yield Step(0, mixed(a, b, lambda_), None, None)
        return
    if method in _OF_VAE:
        z = mixed(*(latents.encode(model, x) for x in (a, b)), lambda_, _OF_VAE[method])
        yield Step(0, latents.decode(model, z), None, None)
        return
    if sample.in_latents(model):
        a, b = model.encode(a), model.encode(b)
    t = samplers.check_level(round(LEVEL[method] * schedule.T) if t is None else t, schedule, "t")
    steps = samplers.check_steps(steps, schedule.T, schedule)
    options = {"t": t, "steps": max(1, round(steps * t / schedule.T)), "clip": not sample.in_latents(model)}
    if method != "inverted":  # which draws no noise
        numbers = [0] * len(a) if same_noise else range(len(a))
        options["generator"] = [samplers.example_generators(seed, i, i + 1)[0] for i in numbers]
    yield from METHODS[method](model, schedule, a, b, lambda_, **options)


def check_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return images a and b, (B, 3, H, W), within [-1, 1]; raises ValueError where they do not fit or are no images."""
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 4 or x.shape[1] != 3 or not len(x):
            raise ValueError(f"{name} must hold images (B, 3, H, W), got shape {tuple(x.shape)}; one image is x[None]")
    a, b = in_range(a, "a"), in_range(b, "b")
    _check_alike(a, b)
    return a, b


def _check_alike(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}: crop them alike")


def luminance(images: Tensor) -> Tensor:
    """Return the mean luminance of images (N, 3, H, W) in [-1, 1], (N,), by the weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)
    return torch.einsum("nchw,c->n", images, weights) / images[0, 0].numel()


def pairs(images: Tensor, n: int, *, dark: float = DARK, seed: int = 0) -> Tensor:
    """Draw n pairs of images (N, 3, H, W), no image twice, never two dark ones together: rows in `images`, (n, 2).

    dark: mean luminance below which an image counts as dark; -1 leaves no rule. Raises ValueError where so many pairs
    cannot be had.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    found = order[: len(order) // 2 * 2].view(-1, 2)
    is_dark = luminance(images).cpu() < dark
    found = found[~is_dark[found].all(1)]
    if not 1 <= n <= len(found):
        raise ValueError(f"takes from 1 to {len(found)} pairs of these {len(images)} images, got n = {n}")
    return found[:n]
