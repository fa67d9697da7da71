"""The comparisons of notebook 03: recipes that differ in one thing, trained on drawn cats, and how to redo them.

Small networks and drawn pictures, so that a laptop can repeat all of it; `--set` of `course_utils.train` and the full
recipes do the same at the sources' size.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import checkpoints, metrics, sample, training
from course_utils.data.images import ImageSet
from course_utils.metrics.features import Network
from course_utils.paths import CHECKOUT, shipped
from course_utils.recipes import Recipe
from course_utils.schedules import Schedule

FILE = "drawn_study.safetensors"
N = 500  # generated pictures per score
SHOWN = 24  # of them are stored
CURVE = 200  # points of the stored loss curve
SAMPLING = {"sampler": "dpm_solver_pp", "steps": 20, "spacing": "lambda"}

BASE = Recipe(data="drawn:cat", network="tiny", batch_size=32, steps=1000, lr=2e-3, warmup=50, ema=0.99)
VARIANTS: dict[str, Recipe] = {
    "baseline": BASE,
    "linear schedule": BASE.changed(schedule="linear"),
    "T = 500": BASE.changed(T=500),
    "T = 1500": BASE.changed(T=1500),
    "predicts v": BASE.changed(predicts="v", weight=None),
    "predicts eps": BASE.changed(predicts="eps", weight=None),
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
    curve: (CURVE, 2), the step and the loss averaged around it; minutes on one core; parameters.
    """

    scores: dict[str, dict[str, float]]
    pictures: Tensor
    last: Tensor
    curve: Tensor
    minutes: float
    parameters: int


def load(path: Path | None = None) -> tuple[dict[str, Result], dict[str, float]]:
    """Return the stored results by variant, and the floor: what real (drawn) pictures score at the same n.

    Raises FileNotFoundError or DamagedCheckpointError for the file, RuntimeError when its recipes are not those of this
    module any more.
    """
    tensors, facts = checkpoints.read(path or shipped(FILE))
    results = {}
    for name, recipe in VARIANTS.items():
        about = facts["variants"].get(name)
        if about is None or recipe.differences(about["recipe"]):
            raise RuntimeError(f"{FILE} holds no run of {name!r} as it is now: regenerate it with `make study`")
        pictures, last = (tensors[f"{name}.{part}"].float() / 127.5 - 1 for part in ("pictures", "last"))
        curve = tensors[f"{name}.curve"].float()
        results[name] = Result(about["scores"], pictures, last, curve, about["minutes"], about["parameters"])
    return results, facts["floor"]


def measure(
    recipe: Recipe, images: ImageSet, reference: Tensor, network: Network
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train one variant on `images` and return its tensors and facts, as they are stored.

    reference: features of the test pictures by `network`, on whose device all runs.
    """
    model, ema, schedule = recipe.build(network.device)
    records = recipe.fit(model, ema, images, schedule)
    history = list(training.progress(records, recipe.steps))
    losses = torch.tensor([record.loss for record in history])
    bins = losses.chunk(min(CURVE, len(losses)))
    ends = torch.tensor([float(len(b)) for b in bins]).cumsum(0)
    tensors = {"curve": torch.stack([ends, torch.stack([b.mean() for b in bins])], dim=1)}
    scores = {}
    for kind, weights in zip(WEIGHTS, (ema.model, model.eval()), strict=True):
        made = generate(weights, schedule, N)
        scores[kind] = metrics.score(made, reference, network)
        tensors["pictures" if kind == "average" else kind] = ((made[:SHOWN] + 1) * 127.5).round().byte()
    facts = {
        "recipe": recipe.as_dict(),
        "scores": scores,
        "minutes": round(history[-1].seconds / 60, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return tensors, facts


def generate(model: nn.Module, schedule: Schedule, n: int, seed: int = 0) -> Tensor:
    """Generate n pictures as every variant is sampled: (n, 3, 32, 32) in [-1, 1]."""
    return sample.images(model, schedule, n, seed=seed, **SAMPLING)


def main() -> None:
    """Retrain every variant and replace the stored results; interrupted, a second call goes on."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=(CHECKOUT or Path.cwd()) / "data" / "shipped" / FILE)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    unfinished = given.out.with_suffix(".partial")  # the old results stay in use until all of the new are there
    tensors, facts = checkpoints.read(unfinished) if unfinished.is_file() else ({}, {"variants": {}})
    network = metrics.features.network(device=given.device)
    images, reference = BASE.images(), metrics.features.extract(BASE.images("test"), network)
    for name, recipe in VARIANTS.items():
        if name in facts["variants"] and not recipe.differences(facts["variants"][name]["recipe"]):
            continue
        began = time.perf_counter()
        made, facts["variants"][name] = measure(recipe, images, reference, network)
        tensors |= {f"{name}.{part}": value for part, value in made.items()}
        checkpoints.write(unfinished, tensors, facts)
        print(f"{name:16} {time.perf_counter() - began:6.0f} s  {facts['variants'][name]['scores']}", flush=True)
    facts["floor"] = metrics.real_floor(images, reference, N, network)
    checkpoints.write(unfinished, tensors, facts)
    unfinished.replace(given.out)


if __name__ == "__main__":
    main()
