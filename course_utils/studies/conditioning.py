"""The measurements of notebook 04: guidance, one class against two, ways to tell a GAN the class, blur; stored.

    python -m course_utils.studies.conditioning [--only drawn]

Jobs on photographs (cifar10, catfrog32) need CIFAR-10 in COURSE_DATA. Hours on one core.
"""

import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import checkpoints, metrics, recipes, sample, training
from course_utils.data import drawn
from course_utils.data.levels import to_bytes
from course_utils.data.named import named_set
from course_utils.metrics.recognise import Recogniser
from course_utils.recipes import BaseRecipe
from course_utils.studies import networks, store
from course_utils.studies.judge import CLASSES, FACTORS, Judge

FILE = "conditional_study.safetensors"
REDO = "make conditioning"
N = 500  # generated pictures of a class for a score
SHOWN = 10  # of them are stored
SEEDS = (0, 1, 2)
SCALES = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0)
INTERVAL = (3.0, (300.0, 800.0))  # a scale, and the levels t between which alone it applies
SIDES = (24, 16, 12, 8)  # pixels left, of 32, in the pictures that are blurred

# one class against two, tiny networks: with all 5,000 pictures of a class, and with so few that they come round often
_ONE = networks.BASE.changed(network="tiny-no-attention", steps=3000, ema=0.998)
RUNS: dict[str, BaseRecipe] = {
    f"cifar10 {arm}, {few or 5000} of each, seed {seed}": _ONE.changed(
        data=f"cifar10:{data}", classes=classes, per_class=few, seed=seed
    )
    for few in (0, 500)
    for seed in SEEDS
    for arm, data, classes in (("cats", "cat", 0), ("cats and frogs", "cat+frog", 2))
}
# ways to tell a GAN the class, each with one change more, narrower than the recipes that ship
_TILED = recipes.get("drawn-catfrog32-gan-tiled").changed(width=32, steps=2000)
GANS: dict[str, BaseRecipe] = {
    f"GAN {way}, seed {seed}": _TILED.changed(**change, seed=seed)
    for seed in SEEDS
    for way, change in (
        ("as the sources", {}),
        ("projection", {"conditioning": "projection"}),
        ("projection, averaged", {"conditioning": "projection", "ema": 0.999}),
    )
}
GUIDED = "catfrog32"
ATTRIBUTES = "drawn-attributes32"
ASKED = ("pose", "fur")  # what its labels name


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`, by name."""
    judge = cache(partial(Judge, device=device))
    cards = checkpoints.names()

    def digest(name: str) -> str | None:  # None while it does not ship yet
        return cards[name]["sha256"] if name in cards else None

    made = {}
    for kind in ("drawn", "cifar10"):
        made[f"{kind} recogniser"] = store.Job({"data": kind}, lambda kind=kind: kept([judge(kind).recogniser()]))
        for name in CLASSES:
            work = partial(_scored, lambda kind=kind, name=name: judge(kind).floor(name, N))
            made[f"{kind} {name}, floor"] = store.Job({"data": kind, "class": name, "n": N}, work)
    made["drawn attributes"] = store.Job(
        {"factors": list(FACTORS)}, lambda: kept(list(judge("drawn").attributes().values()))
    )
    for name, recipe in {**GANS, **RUNS}.items():
        parts = (1.0,) if name in GANS else (0.5, 1.0)
        kind = recipe.data.partition(":")[0]
        made[name] = store.Job({"recipe": recipe, "n": N}, partial(trained, recipe, parts, judge, kind))
    for scale, interval in [*((scale, None) for scale in SCALES), INTERVAL]:
        spec = {"sha256": digest(GUIDED), "scale": scale, "interval": interval and list(interval), "n": N}
        work = partial(guided, GUIDED, scale, interval, judge, "cifar10")
        made[guidance(GUIDED, scale, interval)] = store.Job(spec, work)
    for scale in SCALES:
        spec = {"sha256": digest(ATTRIBUTES), "scale": scale, "n": N}
        made[guidance(ATTRIBUTES, scale)] = store.Job(spec, partial(attributes, scale, judge))
    for name in CLASSES:
        made[f"cifar10 {name}, blurred"] = store.Job(
            {"sides": list(SIDES), "n": N}, partial(blurred, name, judge, "cifar10")
        )
    return made


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def recognisers(found: store.Found) -> list[Recogniser]:
    """Return the recognisers that a job has stored."""
    tensors, facts = found
    return [
        Recogniser(tuple(about["options"]), tensors[f"weight{k}"], tensors[f"bias{k}"], about["accuracy"])
        for k, about in enumerate(facts["recognisers"])
    ]


def trained(recipe: BaseRecipe, parts: tuple[float, ...], judge, kind: str) -> store.Found:
    """Train a recipe and score each of its classes after these parts of the run: facts["scores"][class] is a list."""
    classes = classes_of(recipe)
    model, ema, schedule = recipe.build(judge(kind).network.device)
    records = recipe.fit(model, ema, recipe.images(), schedule)
    stops, scores, paused = {max(1, round(part * recipe.steps)) for part in parts}, {name: [] for name in classes}, 0.0
    for record in training.progress(records, recipe.steps):
        if record.step in stops:
            began, pictures = time.perf_counter(), []
            for k, name in enumerate(classes):
                made = generate(ema.model, schedule, k if recipe.classes else None)
                scores[name].append(judge(kind).scores(made, name))
                pictures.append(to_bytes(made[:SHOWN]))
            paused += time.perf_counter() - began
    minutes = round((record.seconds - paused) / 60, 2)
    return {"pictures": torch.stack(pictures)}, {"scores": scores, "minutes": minutes}


def classes_of(recipe: BaseRecipe) -> list[str]:
    """Return the names of the classes that a recipe's pictures show."""
    return recipe.data.split(":")[1].split("+")


def generate(model, schedule, label: int | None, **options: Any) -> Tensor:
    """Generate N pictures of a class as everything here is sampled: (N, 3, 32, 32) in [-1, 1]."""
    how = networks.SAMPLING if schedule else {}
    return sample.images(model, schedule, N, y=None if label is None else torch.full((N,), label), **how, **options)


def guided(name: str, scale: float, interval, judge, kind: str) -> store.Found:
    """Score a conditional checkpoint at one guidance scale, class by class."""
    checkpoint = checkpoints.load(name, judge(kind).network.device)
    scores, pictures = {}, []
    for k, wanted in enumerate(checkpoint.card["classes"]):
        made = generate(checkpoint.model, checkpoint.schedule, k, guidance=scale, interval=interval)
        scores[wanted] = judge(kind).scores(made, wanted)
        pictures.append(to_bytes(made[:SHOWN]))
    return {"pictures": torch.stack(pictures)}, {"scores": scores}


def attributes(scale: float, judge) -> store.Found:
    """Ask for all poses and furs in turns and count what is to be seen, with `judge("drawn")`.

    facts["seen"][factor] is a table of counts: for ASKED, a row per option asked for; for other factors, one row.
    """
    checkpoint = checkpoints.load(ATTRIBUTES, judge("drawn").network.device)
    y = sample.labels(checkpoint, None, N)
    made = sample.images(checkpoint.model, checkpoint.schedule, N, y=y, guidance=scale, **networks.SAMPLING)
    features = judge("drawn").features(made)
    reference = judge("drawn").reference("cat")
    asked, options = {}, drawn.FACTORS["cat"]
    for factor in reversed(ASKED):  # the label counts through the last factor first
        y, asked[factor] = y // len(options[factor]), y % len(options[factor])
    seen = {}
    for factor, tell in judge("drawn").attributes().items():
        width = len(options[factor])
        rows = asked.get(factor, torch.zeros(N, dtype=torch.long))
        table = (rows * width + tell(features)).bincount(minlength=width * (width if factor in asked else 1))
        seen[factor] = table.view(-1, width).tolist()
    shown = to_bytes(made[: len(checkpoint.card["classes"]) * 2])
    return {"pictures": shown}, {"seen": seen, "scores": metrics.score(features, reference, judge("drawn").network)}


def blurred(name: str, judge, kind: str) -> store.Found:
    """Score photographs of a class whose detail is gone: shrunk to fewer pixels a side and enlarged again."""
    pictures = named_set(f"{kind}:{name}", n=N).images
    scores = []
    for side in SIDES:
        small = F.interpolate(pictures, size=side, mode="area")
        scores.append(judge(kind).scores(F.interpolate(small, size=32, mode="bicubic").clamp(-1, 1), name))
    return {}, {"scores": scores}


def guidance(name: str, scale: float, interval: tuple[float, float] | None = None) -> str:
    """Return the name of the job that scores a checkpoint at a scale, everywhere or between two levels t."""
    return f"{name}, scale {scale:g}" + (f" for t in {interval[0]:g}..{interval[1]:g}" if interval else "")


def _scored(work) -> store.Found:
    return {}, {"scores": work()}


def kept(tellers: list[Recogniser]) -> store.Found:
    """Return recognisers as a job stores them, for `recognisers` to read."""
    tensors = {f"weight{k}": r.weight for k, r in enumerate(tellers)} | {
        f"bias{k}": r.bias for k, r in enumerate(tellers)
    }
    return tensors, {"recognisers": [{"options": list(r.options), "accuracy": r.accuracy} for r in tellers]}


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 04 and replace the stored results.")
