"""`python -m course_utils.train RECIPE`: train a recipe, on one process or (`accelerate launch -m`) on several."""

import argparse
import json
import signal
import sys
import time
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils import checkpoints, recipes, selfcheck, training
from course_utils.checkpoints import Checkpoint
from course_utils.models import unet
from course_utils.models.preconditioned import Preconditioned
from course_utils.recipes import AdversarialRecipe, BaseRecipe, FewStepRecipe, Recipe, VAERecipe

STATE, MODEL, RECIPE = "state.safetensors", "model.safetensors", "recipe.json"


def parse_setting(text: str, kind: type[BaseRecipe] = Recipe) -> tuple[str, Any]:
    """Turn "key=value" into a field of a recipe and its typed value; raises ValueError saying what is wrong."""
    key, equals, value = text.partition("=")
    kinds = typing.get_type_hints(kind)
    if not equals or key not in kinds:
        raise ValueError(f"--set {text}: write key=value with key one of {', '.join(kinds)}")
    options = typing.get_args(kinds[key]) or (kinds[key],)
    if value.lower() == "none" and type(None) in options:
        return key, None
    if bool in options:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"--set {text}: {key} is true or false")
        return key, value.lower() == "true"
    kind = options[0]
    try:
        return key, kind(float(value)) if kind is int and float(value).is_integer() else kind(value)
    except ValueError:
        raise ValueError(f"--set {text}: {key} takes a value of type {kind.__name__}") from None


def run(
    name: str,
    recipe: BaseRecipe,
    out: Path,
    *,
    resume: bool = False,
    device: str | None = None,
    init: str | None = None,
    every: float = 120.0,
) -> Path:
    """Train `recipe` into the folder `out` and return the path of the exported average.

    `out` gets the recipe as JSON, the state (to resume) and the exported model with its card, both renewed every
    `every` seconds. resume: go on from the state in `out`. init: a checkpoint's name or path whose weights to start
    from, perhaps one of fewer pixels or without classes (`unet.adapt`); the card counts what it had seen as well, and
    names it. Raises FileExistsError when `out` holds a run and
    resume is False, ValueError when its recipe differs in more than the number of steps, and what `training.fit`
    raises.
    """
    if init and isinstance(recipe, AdversarialRecipe):
        raise ValueError("a GAN cannot start from a checkpoint, which holds its generator only")
    if init and isinstance(recipe, FewStepRecipe):
        raise ValueError(f"a student starts as its teacher: leave --init out and set teacher={init}")
    origin = checkpoints.load(init) if init else None
    accelerator = _accelerator(device)
    if accelerator is not None:
        device, shard = accelerator.device, (accelerator.process_index, accelerator.num_processes)
    else:
        device, shard = device or selfcheck.device(), (0, 1)
    first = shard[0] == 0
    state = out / STATE
    start: dict[str, Any] = {}
    if first:
        start = _claim(out, recipe, origin, resume)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    model, ema, schedule = recipe.build(device)
    if origin and not state.is_file():
        weights = _start(origin, model)
        checkpoints.fill(model, weights, Path(init))
        checkpoints.fill(ema.model, weights, Path(init))
    images = recipe.images()
    if first:
        size = f"{sum(p.numel() for p in model.parameters()):,} parameters"
        length = f"{recipe.steps:,} steps of {recipe.batch_size} pictures"
        print(f"{name}: {size}, {images.name} ({len(images):,}), {length} on {device}", flush=True)
    records = recipe.fit(model, ema, images, schedule, shard, state=state, every=every, accelerator=accelerator)
    record, exported, recent = None, time.perf_counter(), []
    try:
        for record in training.progress(records, recipe.steps) if first else records:
            recent = [*recent[-199:], record.loss]
            if first and time.perf_counter() - exported > every:
                _export(out, name, recipe, ema, images, record, recent, start)
                exported = time.perf_counter()
    finally:
        records.close()  # writes the state
        if first and record is not None:
            _export(out, name, recipe, ema, images, record, recent, start)
    return out / MODEL


def _start(origin: Checkpoint, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a checkpoint as a start for `model`; ValueError where they learned another task."""
    old, weights = origin.model, origin.model.state_dict()
    if isinstance(old, unet.UNet) and isinstance(model, unet.UNet):
        return unet.adapt(weights, old.config, model.config)
    names = [getattr(network.config, "framework", "ddpm") for network in (old, model)]
    if names[0] != names[1]:
        raise ValueError(f"{origin.name} was trained by framework={names[0]} and cannot start one of {names[1]}")
    if isinstance(old, Preconditioned) and isinstance(model, Preconditioned):
        inner = unet.adapt(old.network.state_dict(), old.config.network, model.config.network)
        return {f"network.{name}": value for name, value in inner.items()}
    return weights


def _accelerator(device: str | None) -> Any:
    """Return an Accelerator when `accelerate launch` (or torchrun) started several processes, else None."""
    from torch.distributed import is_torchelastic_launched

    if not is_torchelastic_launched():
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=device == "cpu")


def _claim(out: Path, recipe: BaseRecipe, init: Checkpoint | None, resume: bool) -> dict[str, Any]:
    """Make `out` the folder of this run, or refuse; return what is known of the weights that it starts from."""
    start: dict[str, Any] = {}
    if init:
        kept = ("recipe", "images_seen", "minutes")
        start = {"checkpoint": init.name, **{key: init.card[key] for key in kept}}
    if (out / STATE).is_file():
        if not resume:
            raise FileExistsError(f"{out} holds a run: go on with it by --resume, or name another folder with --out")
        before = json.loads((out / RECIPE).read_text())
        start = before.pop("start", {})
        changed = [name for name in recipe.differences(before) if name != "steps"]
        if changed:
            then, now = (values.get(changed[0], "nothing") for values in (before, recipe.as_dict()))
            raise ValueError(
                f"{out} was begun with {changed[0]} = {then!r}, not {now!r}: "
                "resume with the same settings, or start anew with another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    beside = out / (RECIPE + ".writing")
    beside.write_text(json.dumps(recipe.as_dict() | {"start": start}, indent=1) + "\n")
    beside.replace(out / RECIPE)
    return start


def _export(out, name, recipe, ema, images, record, recent, start) -> None:
    card = {
        "recipe": name,
        "settings": recipe.as_dict(),
        "data": f"{images.name}, {len(images):,} pictures",
        "classes": list(images.classes),
        "parameters": sum(p.numel() for p in ema.model.parameters()),  # of a GAN: those of the generator
        "steps": record.step,
        "images_seen": round(record.examples_per_s * record.seconds) + start.get("images_seen", 0),
        "minutes": round(record.seconds / 60 + start.get("minutes", 0), 1),
        "loss": round(sum(recent) / len(recent), 5),
        **({"started_from": start} if start else {}),
    }
    checkpoints.export(out / MODEL, ema.model, recipe.schedule_facts(), card)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.train", description=__doc__)
    parser.add_argument("recipe", nargs="?", help="a name from --list")
    parser.add_argument("--list", action="store_true", help="print the recipes and stop")
    parser.add_argument("--steps", type=int, help="updates in all, instead of the recipe's")
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a field of the recipe")
    parser.add_argument("--init", metavar="CHECKPOINT", help="start from the weights of this checkpoint")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the fastest at hand)")
    parser.add_argument("--every", type=float, default=120.0, help="seconds between two savings (default: 120)")
    given = parser.parse_args(arguments)
    if given.list:
        kinds = {AdversarialRecipe: "GAN", VAERecipe: "VAE", FewStepRecipe: "student", Recipe: "diffusion"}
        for name, recipe in recipes.RECIPES.items():
            changed = {f.name: getattr(recipe, f.name) for f in fields(recipe) if getattr(recipe, f.name) != f.default}
            kind = next(name for group, name in kinds.items() if isinstance(recipe, group))
            print(f"{name:26}{kind:11}{', '.join(f'{k}={v}' for k, v in changed.items()) or 'the defaults'}")
        return 0
    # schedulers of clusters announce the end by SIGTERM: save and stop, as after Ctrl-C
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not given.recipe:
            raise ValueError("name a recipe: --list shows them")
        recipe = recipes.get(given.recipe)
        changes = dict(parse_setting(text, type(recipe)) for text in given.set)
        if given.steps is not None:
            changes["steps"] = given.steps
        recipe = recipe.changed(**changes)
        out = given.out or Path("runs") / given.recipe
        path = run(
            given.recipe, recipe, out, resume=given.resume, device=given.device, init=given.init, every=given.every
        )
    except (ValueError, OSError, training.NonFiniteLossError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
