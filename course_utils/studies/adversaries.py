"""The measurements of notebook 06: DCGANs that differ in one thing, on cats and on drawn cats; stored.

    python -m course_utils.studies.adversaries [--only drawn]

Jobs on photographs (cifar10) need CIFAR-10 in COURSE_DATA. The recipe dcgan-cats32 for fewer rounds; hours on one core.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils import checkpoints, metrics, recipes, sample, training
from course_utils.data import drawn
from course_utils.data.levels import to_bytes
from course_utils.recipes import GANRecipe
from course_utils.studies import store
from course_utils.studies.judge import Judge

FILE = "adversarial_study.safetensors"
REDO = "make adversaries"
N = 500  # generated pictures in a score
SHOWN = 10  # of them are stored
PARTS = (0.25, 0.5, 1.0)  # of a run, after which it is scored
FRAMES, FILM = 20, 8  # how often so many pictures of the same z are stored during the runs of FILMED
EVERY = 20  # rounds in a point of the stored losses

_BASE = recipes.get("dcgan-cats32").changed(steps=2500)
_SMOOTHED = {"target_real": 0.9, "target_fake": 0.1}
_CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed and noised": {**_SMOOTHED, "input_noise": 0.1},
    "relativistic, R1 and R2": {"norm": "none", "loss": "relativistic", "r1": 0.1, "r2": 0.1},
    "smoothed": _SMOOTHED,
    "smoothed on one side": {"target_real": 0.9},
    "noised": {"input_noise": 0.1},
    "generator ten times as fast": {"lr_g": 2e-3},
}
# how many seeds of each: differences are to be compared with those between seeds
SEEDS: dict[str, dict[str, int]] = {
    "cifar10": {
        **{"plain": 3, "smoothed and noised": 3, "relativistic, R1 and R2": 2},
        **{"smoothed": 1, "smoothed on one side": 1, "noised": 1},
    },
    "drawn": {
        **{"plain": 2, "smoothed and noised": 2, "relativistic, R1 and R2": 1},
        "generator ten times as fast": 1,
    },
}
COUNTED = ("drawn-catfrog32-gan", "drawn-catfrog32")  # shipped networks that draw cats when told so
FILMED = ("plain", "smoothed and noised")
RUNS: dict[str, GANRecipe] = {
    f"{kind} {name}, seed {seed}": _BASE.changed(data=f"{kind}:cat", **_CHANGES[name], seed=seed)
    for kind, seeds in SEEDS.items()
    for name, n in seeds.items()
    for seed in range(n)
}


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`: every run, and the floors.

    The floor of drawn cats has as further facts what `counted` finds in N of the test pictures, and the shipped
    networks of COUNTED what it finds in N of theirs.
    """
    judge = cache(partial(Judge, device=device))

    def floor(kind: str) -> store.Found:
        facts = {"scores": judge(kind).floor("cat", N)}
        return {}, facts | (counted(judge(kind).reference("cat")[:N], judge(kind)) if kind == "drawn" else {})

    def shipped(name: str) -> store.Found:
        checkpoint = checkpoints.load(name, device)
        y = torch.zeros(N, dtype=torch.long)  # cats
        sampling = metrics.protocol.sampling(checkpoint.schedule)
        features = judge("drawn").features(sample.images(checkpoint.model, checkpoint.schedule, N, y=y, **sampling))
        return {}, {"scores": judged(features, judge("drawn")), **counted(features, judge("drawn"))}

    floors = {
        f"{kind}, floor": store.Job({"data": kind, "n": N}, partial(floor, kind)) for kind in ("cifar10", "drawn")
    }
    sums = {name: checkpoints.names()[name]["sha256"] for name in COUNTED}
    return (
        floors
        | {
            f"drawn, {name}": store.Job({"checkpoint": name, "sha256": sums[name], "n": N}, partial(shipped, name))
            for name in COUNTED
        }
        | {name: store.Job({"recipe": run, "n": N}, partial(measure, run, judge)) for name, run in RUNS.items()}
    )


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def measure(recipe: GANRecipe, judge) -> store.Found:
    """Train one GAN and return what is stored of it.

    Tensors: curve (steps / EVERY, 4), means of the generator's loss, the discriminator's, and its logits for real and
    generated pictures; pictures (SHOWN, 3, 32, 32), at the end; for runs as in FILMED, film (FRAMES, FILM, 3, 32, 32),
    of the same z all along. Facts: scores, after each of PARTS, and averaged, at the end with the averaged weights; for
    drawn cats also seen: after each of PARTS and by factor, how many of N show each option.
    """
    kind = recipe.data.partition(":")[0]
    model, ema, _ = recipe.build(judge(kind).network.device)
    stops = {max(1, round(part * recipe.steps)) for part in PARTS}
    filmed = any(recipe == RUNS.get(f"cifar10 {name}, seed 0") for name in FILMED)
    frames = {max(1, round(recipe.steps * k / FRAMES)) for k in range(1, FRAMES + 1)} if filmed else set()
    curve, film, scores, seen = [], [], [], []
    for record in training.progress(recipe.fit(model, ema, recipe.images()), recipe.steps):
        curve.append([record.loss, record.loss_d, record.real, record.fake])
        if record.step in frames:
            film.append(to_bytes(sample.one_step(model.generator, FILM)))
        if record.step in stops:
            made = sample.one_step(model.generator, N)
            features = judge(kind).features(made)
            scores.append({"step": record.step} | judged(features, judge(kind)))
            if kind == "drawn":
                seen.append(counted(features, judge(kind))["seen"])
    averaged = judged(judge(kind).features(sample.one_step(ema.model, N)), judge(kind))
    tensors = {"curve": torch.tensor(curve).unfold(0, EVERY, EVERY).mean(-1), "pictures": to_bytes(made[:SHOWN])}
    if film:
        tensors["film"] = torch.stack(film)
    return tensors, {"scores": scores, "averaged": averaged} | ({"seen": seen} if seen else {})


def judged(features: Tensor, judge: Judge) -> dict[str, Any]:
    """Return `metrics.score` of features (N, D) against the test pictures of cats."""
    return metrics.score(features, judge.reference("cat"), judge.network)


def counted(features: Tensor, judge: Judge) -> dict[str, Any]:
    """Return what recognisers see in the drawn cats with these features (N, D).

    seen: by factor, how many show each option; kinds: how many different combinations of options there are.
    """
    told = {factor: tell(features) for factor, tell in judge.attributes().items()}
    seen = {
        factor: options.bincount(minlength=len(drawn.FACTORS["cat"][factor])).tolist()
        for factor, options in told.items()
    }
    return {"seen": seen, "kinds": len(torch.stack(list(told.values()), dim=1).unique(dim=0))}


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 06 and replace the stored results.")
