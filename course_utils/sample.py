"""`python -m course_utils.sample CHECKPOINT`: generate images from a shipped or exported checkpoint, as PNG files."""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from course_utils import checkpoints, samplers, selfcheck
from course_utils.checkpoints import Checkpoint
from course_utils.data.levels import to_bytes
from course_utils.models.few_step import ALONE, FewStep
from course_utils.models.latent import LatentDiffusion
from course_utils.models.stylegan2 import StyleGenerator
from course_utils.samplers import Step
from course_utils.schedules import Schedule


def images(
    model: nn.Module,
    schedule: Schedule | None,
    n: int,
    *,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    **options: Any,
) -> Tensor:
    """Generate n images with one of the image networks: (n, 3, S, S) float32 in [-1, 1], on the CPU.

    S is the size in `model.config`. sampler, steps: None for DDIM in 50 steps. x0_hat is kept in [-1, 1] on the way,
    where images live; not so latents, which are decoded at the end. guidance: the scale of `samplers.guided`, for a
    network with classes and with labels y; None for none. interval: the levels t, from and to, between which alone it
    applies; None for all. Other options (among them y) and errors as for `samplers.sample`. The generator of a GAN and
    the decoder of a VAE (schedule None) draw in one step: they take what `one_step` takes, and raise ValueError for
    more. A `FewStep` takes its numbers of steps alone, None for the largest, and ValueError for others.
    """
    if schedule is None:
        extra = {"sampler": sampler, "steps": steps, "guidance": guidance, "interval": interval}
        if given := [name for name, value in extra.items() if value is not None]:
            raise ValueError(f"this network draws in one step, without {' and '.join(given)}: leave that out")
        return one_step(model, n, **options)
    sampler = sampler or "ddim"
    if isinstance(model, FewStep):
        if sampler != "ddim" or guidance is not None or {"spacing", "eta", "start"} & set(options):
            raise ValueError(f"no sampler but plain ddim, and no guidance: {ALONE}")
        steps = model.config.rungs[-1] if steps is None else steps
        model = model.at(steps)
    steps = 50 if steps is None and sampler != "ddpm" else steps
    options = {"clip": not in_latents(model), **options}
    guide = model if guidance is None else samplers.guided(model, guidance, interval=interval or (0, schedule.T))
    made = samplers.sample(guide, schedule, n, shape_of(model), sampler=sampler, steps=steps, **options)
    return decoded(model, made, options.get("batch_size", 256))


def in_latents(model: nn.Module) -> bool:
    """Return whether what the network denoises is no image but a latent, which has no range and must be decoded."""
    return isinstance(model, LatentDiffusion)


def decoded(model: nn.Module, x: Tensor, batch_size: int = 256) -> Tensor:
    """Return x (N, ...), what a sampler made with `model`, as images (N, 3, S, S) in [-1, 1], on the CPU."""
    if not in_latents(model):
        return x.clamp(-1, 1).cpu()
    device = next(model.parameters()).device
    return torch.cat([model.decode(batch.to(device)).cpu() for batch in x.split(batch_size)])


def shape_of(model: nn.Module) -> tuple[int, ...]:
    """Return the shape of what the network starts from for one image: z, or an image of noise."""
    config = model.config
    return getattr(config, "latent_shape", None) or (config.channels, config.size, config.size)


def one_step(
    model: nn.Module, n: int, y: Tensor | None = None, seed: int = 0, batch_size: int = 256, psi: float = 1.0
) -> Tensor:
    """Turn n draws of z into images (n, 3, S, S) in [-1, 1], on the CPU; image i depends on seed and i alone.

    model: a `Generator`, a `StyleGenerator`, whose noise is drawn too, or a `VAE`, whose prior it draws from. Drawn in
    evaluation mode, and left in the mode it was in, so that one may look at a model while it trains. y: (n,) labels, or
    None. psi: the truncation of a `StyleGenerator`. Raises ValueError as these, and for psi with another model.
    """
    draw, made, training = getattr(model, "decode", model), [], model.training
    if psi != 1:
        if not isinstance(model, StyleGenerator):
            raise ValueError(f"only a StyleGenerator has a w to truncate, and this is a {type(model).__name__}")
        draw = partial(model, psi=psi)
    model.eval()
    try:
        for start in range(0, n, batch_size):
            stop = min(start + batch_size, n)
            generators = samplers.example_generators(seed, start, stop)
            z = noise_from(model, generators)
            more = [] if y is None else [y[start:stop].to(z.device)]
            if isinstance(model, StyleGenerator):
                drawn = [model.draw_noise(1, generator) for generator in generators]
                more = [*(more or [None]), [torch.cat(layer) for layer in zip(*drawn, strict=True)]]
            with torch.no_grad():
                made.append(draw(z, *more).cpu())
    finally:
        model.train(training)
    return torch.cat(made).clamp(-1, 1)


def labels(checkpoint: Checkpoint, names: str | None, n: int) -> Tensor | None:
    """Return n labels for the classes in `names`, "cat+frog", in turns; None gives all of the checkpoint's in turns.

    None for a checkpoint without classes. Raises ValueError for a class that it was not trained on, or has none of.
    """
    known = _known(checkpoint)
    wanted = names.split("+") if names else known
    for name in wanted:
        if name not in known:
            has = f"it knows {', '.join(known)}" if known else "it was trained without classes"
            raise ValueError(f"{checkpoint.name} cannot be asked for {name!r}: {has}")
    return torch.tensor([known.index(wanted[i % len(wanted)]) for i in range(n)]) if wanted else None


def classes(checkpoint: Checkpoint) -> list[str]:
    """Return the names of the classes that a checkpoint can be asked for; raises ValueError where it has none."""
    if not (names := _known(checkpoint)):
        raise ValueError(
            f"{checkpoint.name} was trained without classes: there is none to ask it for. Take a checkpoint whose "
            "recipe has classes"
        )
    return names


def _known(checkpoint: Checkpoint) -> list[str]:
    # the card also names the classes of the pictures that a network without classes was trained on
    return list(checkpoint.card.get("classes", [])) if getattr(checkpoint.model.config, "classes", 0) else []


def noise_from(model: nn.Module, generators: list[torch.Generator]) -> Tensor:
    """Return what a picture starts from, x_T or z, for each of the generators: (N, ...), on the model's device."""
    return samplers.randn_like(next(model.parameters()).new_empty(len(generators), *shape_of(model)), generators)


def noise(checkpoint: Checkpoint, n: int, seed: int) -> Tensor:
    """Return what n pictures start from in `images`: x_T, or z of a GAN; row i depends on seed and i alone."""
    return noise_from(checkpoint.model, samplers.example_generators(seed, 0, n))


def chain(checkpoint: Checkpoint, noise: Tensor, y: Tensor | None, steps: int, scale: float) -> Iterator[Step]:
    """Yield the records of DPM-Solver++ from noise (N, ...), guided to y (None: no class); of a GAN, its one step.

    Their x and x0_hat are for `decoded`.
    """
    model, y = checkpoint.model, None if y is None else y.to(noise.device)
    if checkpoint.schedule is None:
        with torch.no_grad():
            made = model(noise, y)
        yield Step(0, made, made, None)
        return
    options = {"steps": steps, "spacing": "lambda", "y": y, "clip": not in_latents(model)}
    model = model if y is None else samplers.guided(model, scale)
    yield from samplers.dpm_solver_pp(model, checkpoint.schedule, noise, **options)


def check_grid(rows: int, columns: int) -> None:
    """Raise ValueError where a morph has no row, or fewer than two columns."""
    if rows < 1 or columns < 2:
        raise ValueError(f"a morph takes at least 1 row and 2 columns, got {rows} and {columns}")


def mixtures(checkpoint: Checkpoint, a: str, b: str, rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return what `morph` starts from, row by row: noise and shares of classes, both (rows * columns, ...)."""
    known = classes(checkpoint)
    for name in (a, b):
        if name not in known:
            raise ValueError(f"{checkpoint.name} does not know the class {name!r}: it knows {', '.join(known)}")
    if a == b:
        raise ValueError(f"a morph leads from one class to another, and both are {a!r}")
    check_grid(rows, columns)
    shares = torch.zeros(columns, len(known))
    shares[:, known.index(b)] = torch.linspace(0, 1, columns)
    shares[:, known.index(a)] = torch.linspace(1, 0, columns)
    return noise(checkpoint, rows, seed).repeat_interleave(columns, 0), shares.repeat(rows, 1)


def morph(
    checkpoint: Checkpoint,
    a: str,
    b: str,
    rows: int = 4,
    columns: int = 8,
    steps: int = 10,
    scale: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Morph from class a to class b: (rows, columns, 3, S, S) in [-1, 1], on the CPU.

    The share of b grows evenly from 0 in the first column to 1 in the last. All pictures of row i start from one noise,
    that of picture i in `images` with this seed. steps, scale: of DPM-Solver++ and of guidance (0:
    unconditional, 1: plain conditional); a GAN draws in one step and takes no notice of them.
    Raises ValueError for a checkpoint without classes, unknown or equal classes, less than 1 row or 2 columns, and as
    the sampler.
    """
    records = chain(checkpoint, *mixtures(checkpoint, a, b, rows, columns, seed), steps, scale)
    return decoded(checkpoint.model, samplers.final(records)).unflatten(0, (rows, columns))


def save(pictures: Tensor, out: Path) -> None:
    """Write images (N, 3, H, W) in [-1, 1] as out/0000.png, ...; raises FileExistsError when `out` is not empty."""
    # leftovers of another run would be counted as samples of this one by course_utils.evaluate
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: name a new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    pixels = to_bytes(pictures).permute(0, 2, 3, 1)
    for i, picture in enumerate(pixels.numpy()):
        Image.fromarray(picture).save(out / f"{i:0{max(4, len(str(len(pixels))))}}.png")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.sample", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", help="a name from --list, or the path of a .safetensors file")
    parser.add_argument("--list", action="store_true", help="print the checkpoints that ship with the course and stop")
    parser.add_argument("--n", type=int, default=64, help="how many images (default: 64)")
    parser.add_argument("--sampler", help=f"one of {', '.join(samplers.SAMPLERS)} (default: ddim)")
    parser.add_argument(
        "--steps", type=int, help="steps per image; heun evaluates twice in each (default: 50; ddpm: all T)"
    )
    parser.add_argument("--classes", metavar="A+B", help="classes to draw, in turns (default: all that it knows)")
    parser.add_argument("--guidance", type=float, help="scale of classifier-free guidance, 1 for none (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="image i depends on the seed and i alone (default: 0)")
    parser.add_argument("--out", type=Path, help="new folder for the PNG files (default: samples/CHECKPOINT)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the fastest at hand)")
    parser.add_argument("--batch-size", type=int, default=256)
    given = parser.parse_args(arguments)
    try:
        if given.list:
            for name, card in checkpoints.names().items():
                seen = f"{card['images_seen']:>10,} images seen of {card['data']}"
                print(f"{name:18} {card['parameters']:>10,} parameters, {seen}")
            return 0
        if not given.checkpoint:
            raise ValueError("name a checkpoint: --list shows those that ship")
        checkpoint = checkpoints.load(given.checkpoint, given.device or selfcheck.device())
        out = given.out or Path("samples") / checkpoint.name
        if given.sampler == "ddpm" and checkpoint.schedule and given.steps not in (None, checkpoint.schedule.T):
            raise ValueError(f"ddpm takes all {checkpoint.schedule.T} steps: leave --steps out, or take ddim")
        how = {
            "sampler": given.sampler,
            "steps": given.steps,
            "seed": given.seed,
            "batch_size": given.batch_size,
            "guidance": given.guidance,
            "y": labels(checkpoint, given.classes, given.n),
        }
        with torch.inference_mode():
            save(images(checkpoint.model, checkpoint.schedule, given.n, **how), out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {given.n} images to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
