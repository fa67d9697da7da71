"""The league table: every shipped checkpoint on the course's protocol, with its floor, its error bars and its costs.

    python -m course_utils.studies.league [--only faces64]

Needs CIFAR-10 and the cat faces in COURSE_DATA; hours on one core. It writes data/shipped/league.csv, which notebook 07
reads, and report_imgs/07_league.png. Inception's columns stay empty where its weights are not to be had. Seconds are
those of one processor core, on another device those of a clock; all rows are timed in turns, in one job ("--only
seconds"), since a machine's speed wanders: leave it alone meanwhile.
"""

import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from course_utils import checkpoints, latents, metrics, sample, viz
from course_utils.checkpoints import Checkpoint
from course_utils.data.named import named_set
from course_utils.metrics import estimates
from course_utils.metrics.features import Network
from course_utils.models.dcgan import Generator
from course_utils.models.few_step import FewStep
from course_utils.models.stylegan2 import StyleGenerator
from course_utils.models.vae import VAE
from course_utils.paths import CHECKOUT, shipped
from course_utils.studies import store
from course_utils.studies.entries import RECONSTRUCTION, Entry, entries

FILE, FIGURE = "league.csv", "07_league"
REDO = "make league"
SECONDS = "seconds"  # the job that times the rows
TIMED, ROUNDS = 16, 3  # pictures in a timing, of which there are so many for each row: their median counts
HALVES = 20  # for the error bar of a Fréchet distance, see `estimates.halves`
LARGEST = 1000  # generated pictures in a score; as many as the test part holds, if that is fewer
SHOWN = ("CIFAR-10 cats", "cat faces", "drawn cats")  # in the figure
KINDS = {  # of a model: colour and marker in figures
    "diffusion": (viz.BLUE, "o"),
    "latent diffusion": (viz.ORANGE, "D"),
    "distilled": (viz.BLUE, "P"),
    "VAE": (viz.GREEN, "s"),
    "GAN": (viz.PURPLE, "^"),
    "StyleGAN2": (viz.SKY, "v"),
}
WHOLE = ("checkpoint", "part", "kind", "data", "sampler", "steps", "guidance", "evaluations", "n")  # what was measured
SCORES = ("fd", "fd_se", "floor", "floor_std", "ratio", "kid", "kid_se", "precision", "recall", "density", "coverage")
COSTS = ("seconds", "parameters", "minutes")  # a picture takes, the network has, its training took
INCEPTION = ("inception_fd", "inception_fd_se", "inception_floor")
COLUMNS = (*WHOLE, *SCORES, *COSTS, *INCEPTION, "sha256")
_TEXT = ("checkpoint", "part", "kind", "data", "sampler", "sha256")


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return the rows to compute, on `device`."""
    networks, reference = cache(partial(_networks, device)), cache(_reference)
    cards = checkpoints.names()
    specs = {
        label: {"sha256": cards[entry.checkpoint]["sha256"], "part": entry.part, "how": entry.how}
        for label, entry in entries().items()
    }
    rows = {
        label: store.Job(specs[label] | {"largest": LARGEST}, partial(_row, entry, device, networks, reference))
        for label, entry in entries().items()
    }
    timing = {"of": specs, "pictures": TIMED, "rounds": ROUNDS}
    return rows | {SECONDS: store.Job(timing, partial(_seconds, device))}


def _networks(device: str) -> list[Network]:
    found = [metrics.features.network(device=device)]
    try:
        return [*found, metrics.features.network("inception", device)]
    except ConnectionError as error:
        print(f"Inception's columns stay empty: {error}", file=sys.stderr)
        return found


def _reference(data: str, size: int, network: Network) -> tuple[str, Tensor, dict[str, Any]]:
    """Return the name of a set, its test pictures as features, and what training pictures score against them."""
    test = named_set(f"{data}:test", size=size)
    n = min(len(test), LARGEST)
    features = metrics.features.extract(test[:n][0], network)
    floor = metrics.real_floor(named_set(f"{data}:train", size=size), features, n, network)
    return test.name.removesuffix(", test"), features, floor


def _row(entry: Entry, device: str, networks: Callable, reference: Callable) -> store.Found:
    """Draw and score the pictures of an entry; the facts are a row of the table."""
    checkpoint = checkpoints.load(entry.checkpoint, device)
    settings = checkpoint.card["settings"]
    data, size = settings["data"].partition("/")[0], settings["size"]
    if entry.part:
        data = f"{data.partition(':')[0]}:{entry.part}"
    first, *others = networks()
    title, real, floor = reference(data, size, first)
    n = len(real)
    pictures = _pictures(checkpoint, entry, n)
    fd, scores = {}, {}
    for network in (first, *others):
        _, real, least = reference(data, size, network)
        features = metrics.features.extract(pictures, network)
        scores[network] = metrics.score(features, real, network)
        random = torch.Generator().manual_seed(0)
        spread = estimates.halves(partial(metrics.frechet_distance, real), features, HALVES, random).std()
        fd[network] = scores[network]["fd"], float(spread), least["fd"]
    guided = 2 if "guidance" in entry.how else 1
    numbers = scores[first] | {"fd_se": fd[first][1], "floor": floor["fd"], "floor_std": floor["fd_std"]}
    row = {
        "checkpoint": entry.checkpoint,
        "part": entry.part,
        "kind": kind(checkpoint),
        "data": title,
        "sampler": entry.how.get("sampler", "") + (", eta 1" if entry.how.get("eta") else ""),
        "steps": entry.how.get("steps") if checkpoint.schedule else None,
        "guidance": entry.how.get("guidance"),
        "evaluations": entry.how["steps"] * guided if checkpoint.schedule else 1,
        "n": n,
        **{name: round(numbers[name], 5) for name in SCORES if name != "ratio"},
        "ratio": round(numbers["fd"] / floor["fd"], 4),
        "parameters": checkpoint.card["parameters"],
        "minutes": _minutes(entry.checkpoint),
        **dict(zip(INCEPTION, (round(x, 4) for x in fd[others[0]]) if others else (None,) * 3, strict=True)),
        "sha256": checkpoint.card["sha256"][:12],
    }
    return {}, row


def kind(checkpoint: Checkpoint) -> str:
    """Return which of KINDS a checkpoint is."""
    if checkpoint.schedule is not None:
        if isinstance(checkpoint.model, FewStep):
            return "distilled"
        return "latent diffusion" if sample.in_latents(checkpoint.model) else "diffusion"
    kinds = {VAE: "VAE", Generator: "GAN", StyleGenerator: "StyleGAN2"}
    return next(name for model, name in kinds.items() if isinstance(checkpoint.model, model))


def _seconds(device: str) -> store.Found:
    """Time all entries in turns; the facts hold the seconds a picture takes, by label."""
    clock = store.clock(device)
    taken: dict[str, list[float]] = {label: [] for label in entries()}
    for _ in range(ROUNDS):
        for label, entry in entries().items():
            checkpoint = checkpoints.load(entry.checkpoint, device)
            began = clock()
            _pictures(checkpoint, entry, TIMED)
            taken[label].append((clock() - began) / TIMED)
    return {}, {SECONDS: {label: float(f"{statistics.median(values):.3g}") for label, values in taken.items()}}


def _pictures(checkpoint: Checkpoint, entry: Entry, n: int) -> Tensor:
    settings = checkpoint.card["settings"]
    if entry.how.get("sampler") == RECONSTRUCTION:
        # not of the test part: a perfect copy of the reference would score 0, far below any floor
        return latents.reconstruct(checkpoint.model, named_set(settings["data"], size=settings["size"])[:n][0])
    y = sample.labels(checkpoint, entry.part or None, n)
    options = {**metrics.protocol.sampling(checkpoint.schedule, checkpoint.model), **entry.how}
    if options.get("sampler") != "dpm_solver_pp":
        options.pop("spacing", None)
    return sample.images(checkpoint.model, checkpoint.schedule, n, y=y, **options)


def _minutes(name: str) -> float:
    """Minutes of training, those of the autoencoder or teacher that a checkpoint needs included."""
    card = checkpoints.names()[name]
    needs = [card["settings"][part] for part in ("vae", "teacher") if part in card["settings"]]
    return round(card["minutes"] + sum(_minutes(other) for other in needs), 1)


def load(path: Path | None = None) -> list[dict[str, Any]]:
    """Return the rows of the table, numbers as numbers and None where a column does not apply.

    Raises FileNotFoundError, and RuntimeError where a row lacks or is of a checkpoint that has been replaced since.
    """
    with open(path or shipped(FILE), newline="", encoding="utf-8") as file:
        rows = [{name: _read(name, text) for name, text in row.items()} for row in csv.DictReader(file)]
    cards = checkpoints.names()
    wanted = sorted((entry.checkpoint, cards[entry.checkpoint]["sha256"][:12]) for entry in entries().values())
    if sorted((row["checkpoint"], row["sha256"]) for row in rows) != wanted:
        raise RuntimeError(f"{FILE} is not of the checkpoints as they are now: regenerate it with `{REDO}`")
    return rows


def _read(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    return None if text == "" else float(text) if any(mark in text for mark in ".e") else int(text)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the table, whole or not at all."""
    beside = path.with_name(path.name + ".writing")
    with open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)


def asked(row: Mapping[str, Any]) -> str:
    """Return the checkpoint of a row, and the class that it was asked for, such as "catfrog32 (cat)"."""
    return f"{row['checkpoint']} ({row['part']})" if row["part"] else str(row["checkpoint"])


def brief(row: Mapping[str, Any]) -> str:
    """Return a short name of a row, such as "cats32-cosine, ddim 25"."""
    sampler, *eta = row["sampler"].replace("dpm_solver_pp", "dpm++").split(", ")
    how = [f"{sampler} {row['steps']}", *eta] if row["steps"] else []
    more = [f"guidance {row['guidance']:g}"] if row["guidance"] else []
    return ", ".join([asked(row), *how, *more])


def figure(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> Figure:
    """Return quality against cost: FD, two standard errors, seconds a picture; a panel for each of `sets` with rows."""
    rows = [row for row in rows if row["sampler"] != RECONSTRUCTION]
    sets = [name for name in sets if any(row["data"] == name for row in rows)]
    drawing, panels = viz.axes(1, len(sets), (4.6, 4.4), sharex=True)
    for ax, name in zip(panels[0], sets, strict=True):
        lines = defaultdict(list)
        for row in sorted((row for row in rows if row["data"] == name), key=lambda row: row["seconds"]):
            lines[tuple(row[key] for key in ("checkpoint", "part", "sampler", "guidance"))].append(row)
        for some in lines.values():
            x, y, bars = ([row[key] for row in some] for key in ("seconds", "fd", "fd_se"))
            colour, marker = KINDS[some[0]["kind"]]
            ax.errorbar(x, y, [2 * bar for bar in bars], fmt=f"{marker}-", color=colour, markersize=8, linewidth=1)
        ax.axhline(some[0]["floor"], color=viz.GREY, linestyle="--", label="real pictures")
        ax.set(title=name, xscale="log", yscale="log", xlabel="seconds a picture (one core)")
        viz.plain_log(ax.xaxis)
        viz.plain_log(ax.yaxis)
    shown = {row["kind"] for row in rows if row["data"] in sets}
    for group, (colour, marker) in KINDS.items():
        if group in shown:
            panels[0, 0].plot([], [], marker, color=colour, label=group)
    panels[0, 0].set_ylabel("FD (EfficientNet-Lite0)")
    panels[0, 0].legend(fontsize=10)
    return drawing


def publish(path: Path) -> None:
    """Write the table and its figure from the results of all jobs, which `path` holds."""
    _, facts = checkpoints.read(path)
    seconds = facts[SECONDS][SECONDS]
    rows = [{name: (facts[label] | {SECONDS: seconds[label]})[name] for name in COLUMNS} for label in entries()]
    write(CHECKOUT / "data" / "shipped" / FILE, rows)
    (CHECKOUT / "report_imgs" / f"{FIGURE}.png").write_bytes(viz.png(figure(rows, SHOWN)))


if __name__ == "__main__":
    about = "Measure every shipped checkpoint anew and replace the league table."
    store.command("league.safetensors", jobs, about, folder="build", then=publish)
