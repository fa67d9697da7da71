"""Weights on disk: safetensors plus JSON, replaced in one piece, checked by SHA-256; nothing is ever unpickled."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_utils import schedules
from course_utils.models import build
from course_utils.paths import shipped
from course_utils.schedules import Schedule

CARDS = "checkpoints.json"


class DamagedCheckpointError(ValueError):
    """A checkpoint file that is cut short, altered, or not one of this course's."""


class Checkpoint(NamedTuple):
    """A trained network ready for sampling, its schedule, and its card: data, training and measured scores.

    A generator of a GAN has no schedule: None.
    """

    name: str
    model: nn.Module
    schedule: Schedule | None
    card: dict[str, Any]


def write(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON-able facts to `path`; a crash at any moment leaves the old file or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.writing")
    try:
        flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(flat, beside, metadata={"facts": json.dumps(facts)})
        beside.chmod(0o644)  # safetensors leaves its files to their owner alone
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())  # else a power cut could keep the new name and lose the new bytes
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and facts of a file made by `write`.

    Raises FileNotFoundError, or DamagedCheckpointError for a file that is cut short or was made by something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts
    except (SafetensorError, KeyError, ValueError) as error:
        raise DamagedCheckpointError(
            f"{path} is not a whole checkpoint of this course ({error}): delete it, or get a good copy"
        ) from error


def fill(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Put weights into `model`; raises ValueError naming the first thing that does not fit."""
    own = model.state_dict()
    if missing := sorted(set(own) - set(weights)):
        raise ValueError(f"{path} holds no {missing[0]} ({len(missing)} missing): it belongs to another network")
    if extra := sorted(set(weights) - set(own)):
        raise ValueError(f"{path} holds {extra[0]}, which this network has not ({len(extra)} extra)")
    for name, value in own.items():
        if value.shape != weights[name].shape:
            shapes = f"{tuple(weights[name].shape)}, not {tuple(value.shape)}"
            raise ValueError(f"{path}: {name} has shape {shapes}: it belongs to another network")
    model.load_state_dict(weights)


def export(path: Path, model: nn.Module, schedule: dict[str, Any] | None, card: dict[str, Any]) -> str:
    """Write `model` in float16 with its configuration and card, and return the SHA-256 of the file.

    schedule: {"name": ..., "T": ...}, or None. Raises ValueError when a weight is not finite, or leaves the range of
    float16.
    """
    weights = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    for name, value in weights.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds a value that is not finite in float16: this model is not worth keeping")
    config = {"kind": type(model).__name__, **asdict(model.config)}
    write(path, weights, {"config": config, "schedule": schedule, "card": card})
    return digest(path)


def share(path: Path, part: str, name: str) -> None:
    """Leave out of an exported file the weights of its `part`, which are those of the shipped checkpoint `name`.

    `load` takes them from there. Raises ValueError, and changes nothing, when they differ.
    """
    weights, facts = read(path)
    theirs, prefix = read(shipped(f"{name}.safetensors"))[0], f"{part}."
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if set(own) != set(theirs) or not all(torch.equal(value, theirs[key]) for key, value in own.items()):
        raise ValueError(
            f"the {part} of {path} is not that of {name}: train it with the one that ships, or publish both"
        )
    rest = {key: value for key, value in weights.items() if not key.startswith(prefix)}
    write(path, rest, {**facts, "shared": {part: {"name": name, "sha256": digest(shipped(f"{name}.safetensors"))}}})


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names() -> dict[str, dict[str, Any]]:
    """Return the cards of the checkpoints that ship with the course, by name."""
    return json.loads(shipped(CARDS).read_text())


def load(name: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Return a shipped checkpoint by its name, or any exported one by its path, in float32 and ready for sampling.

    Shipped files are compared with the SHA-256 in the list of cards, and what a file has in common with another one
    (see `share`) with that in this file. Raises ValueError for an unknown name, FileNotFoundError for a missing file,
    DamagedCheckpointError for one that is not what it should be.
    """
    if Path(name).suffix == ".safetensors":
        path, card = Path(name), None
    else:
        cards = names()
        if str(name) not in cards:
            raise ValueError(f"unknown checkpoint {str(name)!r}: choose one of {', '.join(cards)}, or give a path")
        path, card = shipped(f"{name}.safetensors"), cards[str(name)]
        _compare(path, card["sha256"])
    weights, facts = read(path)
    for part, source in facts.get("shared", {}).items():
        of = shipped(f"{source['name']}.safetensors")
        _compare(of, source["sha256"])
        weights |= {f"{part}.{key}": value for key, value in read(of)[0].items()}
    try:
        model = build(facts["config"])
        schedule = schedules.make(**facts["schedule"]).to(device) if facts["schedule"] else None
        card = card or facts["card"]
    except KeyError as error:
        raise DamagedCheckpointError(f"{path} lacks {error}: it is not an exported checkpoint") from None
    fill(model, {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}, path)
    return Checkpoint(Path(name).stem, model.to(device).eval().requires_grad_(False), schedule, card)


def _compare(path: Path, sha256: str) -> None:
    if (found := digest(path)) != sha256:
        raise DamagedCheckpointError(
            f"{path} has SHA-256 {found[:12]}… instead of {sha256[:12]}…: it was cut short or altered. "
            "Get it again: git checkout, or a new copy of the course"
        )
