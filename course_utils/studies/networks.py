"""The comparisons of notebook 03: recipes that differ in one thing, trained on drawn cats, and how to redo them.

Small networks and drawn pictures, so that a laptop can repeat all of it; `--set` of `course_utils.train` and the full
recipes do the same at the sources' size.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_utils import metrics, sample, training
from course_utils.data.levels import from_bytes, to_bytes
from course_utils.metrics.features import Network
from course_utils.recipes import Recipe
from course_utils.schedules import Schedule
from course_utils.studies import store

FILE = "drawn_study.safetensors"
N = 500  # generated pictures per score
SHOWN = 10  # of them are stored
ALONG = (0.03, 0.1, 0.2, 0.4, 0.7)  # parts of the baseline's run after which it is scored, besides its end
SAMPLING = {"sampler": "dpm_solver_pp", "steps": 20, "spacing": "lambda"}

BASE = Recipe(data="drawn:cat", network="tiny", batch_size=32, steps=1500, lr=2e-3, warmup=50, ema=0.99)
VARIANTS: dict[str, Recipe] = {
    "baseline": BASE,
    "baseline, seed 1": BASE.changed(seed=1),
    "baseline, seed 2": BASE.changed(seed=2),
    "linear schedule": BASE.changed(schedule="linear"),
    "T = 500": BASE.changed(T=500),
    "T = 1500": BASE.changed(T=1500),
    "predicts v": BASE.changed(predicts="v"),  # the loss stays: only what the network has to say differs
    "predicts eps": BASE.changed(predicts="eps"),
    "half channels": BASE.changed(network="tiny-half"),
    "three levels": BASE.changed(network="tiny-3"),
    "no attention": BASE.changed(network="tiny-no-attention"),
    "plain convnet": BASE.changed(network="convnet"),
    "one t per batch": BASE.changed(shared_t=True),
}
WEIGHTS = ("average", "last")  # with EMA and without


class Result(NamedTuple):
    """One variant. scores: those of `metrics.score` at n = N for each of WEIGHTS.

    pictures: (SHOWN, 3, 32, 32) in [-1, 1], generated with the averaged weights; last: the same with the last;
    losses: (steps,), of every single step; along: for the baseline, (step, scores) on the way; minutes on one core;
    parameters.
    """

    scores: dict[str, dict[str, float]]
    pictures: Tensor
    last: Tensor
    losses: Tensor
    along: list[tuple[int, dict[str, float]]]
    minutes: float
    parameters: int


def load(path: Path | None = None) -> tuple[dict[str, Result], dict[str, float]]:
    """Return the stored results by variant, and the floor: what real (drawn) pictures score at the same n.

    Raises as `store.load`.
    """
    found = store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, "make study")
    results = {}
    for name in VARIANTS:
        tensors, about = found[name]
        pictures, last = (from_bytes(tensors[part]) for part in ("pictures", "last"))
        kept = about["along"], about["minutes"], about["parameters"]
        results[name] = Result(about["scores"], pictures, last, tensors["losses"], *kept)
    return results, found["floor"][1]["scores"]


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return what there is to compute, on `device`: every variant, and the floor."""

    @cache
    def tools() -> tuple[Network, Tensor]:
        network = metrics.features.network(device=device)
        return network, metrics.features.extract(BASE.images("test"), network)

    def floor() -> store.Found:
        network, reference = tools()
        return {}, {"scores": metrics.real_floor(BASE.images(), reference, N, network)}

    made = {name: store.Job({"recipe": recipe}, partial(_measured, recipe, tools)) for name, recipe in VARIANTS.items()}
    return made | {"floor": store.Job({"data": BASE.data, "n": N}, floor)}


def _measured(recipe: Recipe, tools: Callable[[], tuple[Network, Tensor]]) -> store.Found:
    network, reference = tools()
    return measure(recipe, reference, network, ALONG if recipe == BASE else ())


def measure(recipe: Recipe, reference: Tensor, network: Network, along: tuple[float, ...] = ()) -> store.Found:
    """Train one variant and return its tensors and facts, as they are stored.

    reference: features of the test pictures by `network`, on whose device all runs. along: after which parts of the
    run to score the average as well.
    """
    model, ema, schedule = recipe.build(network.device)
    records = recipe.fit(model, ema, recipe.images(), schedule)
    stops, scored, losses, paused = {max(1, round(part * recipe.steps)) for part in along}, [], [], 0.0
    for record in training.progress(records, recipe.steps):
        losses.append(record.loss)
        if record.step in stops:
            began = time.perf_counter()
            scored.append((record.step, metrics.score(generate(ema.model, schedule, N), reference, network)))
            paused += time.perf_counter() - began
    tensors, scores = {"losses": torch.tensor(losses)}, {}
    for kind, weights in zip(WEIGHTS, (ema.model, model.eval()), strict=True):
        made = generate(weights, schedule, N)
        scores[kind] = metrics.score(made, reference, network)
        tensors["pictures" if kind == "average" else kind] = to_bytes(made[:SHOWN])
    facts = {
        "scores": scores,
        "along": scored,
        "minutes": round((record.seconds - paused) / 60, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return tensors, facts


def generate(model: nn.Module, schedule: Schedule, n: int, seed: int = 0) -> Tensor:
    """Generate n pictures as every variant is sampled: (n, 3, 32, 32) in [-1, 1]."""
    return sample.images(model, schedule, n, seed=seed, **SAMPLING)


if __name__ == "__main__":
    store.command(FILE, jobs, "Retrain every variant of notebook 03 and replace the stored results.")
