"""The measurements of notebook 09: quality against evaluations, the distilled network, and what training choices do.

    python -m course_utils.studies.fast [--only "cars32-edm, ddim"]

Needs CIFAR-10 in COURSE_DATA; several hours on one core. No picture is stored.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_utils import checkpoints, metrics, recipes, sample, samplers, training
from course_utils.data.named import named_set
from course_utils.metrics import estimates
from course_utils.metrics.features import Network
from course_utils.recipes import Recipe
from course_utils.schedules import Schedule
from course_utils.studies import store

FILE = "fast_study.safetensors"
REDO = "make fast"
DATA = "cifar10:automobile"
N = 1000  # generated pictures in a score, and test pictures
HALVES = 20  # for the error bar of a Fréchet distance, see `estimates.halves`
CHECKPOINTS = ("cars32-ddpm", "cars32-edm", "cars32-flow")
TEACHER, DISTILLED = "cars32-edm", "cars32-fast"
FEW, MANY = (5, 10, 20, 50, 100), 1000  # evaluations
SAMPLERS = ("ddim", "dpm_solver_pp", "heun", "euler_flow")
IMITATED = 32  # steps of the teacher that the student stands for: 4 of 8 each
CHURN = 30  # S_churn of the stochastic rows
AFTER = (("dpm_solver_pp", 20),)  # how a short training is judged
AFTER_FLOW = (*AFTER, ("euler_flow", 5), ("euler_flow", 10), ("euler_flow", 20))
BASE = recipes.get("cars32-edm").changed(steps=3000)
SPIKY = recipes.get("cars32-ddpm").changed(predicts="x_0", weight="eps", steps=600, warmup=0)
VARIANTS: dict[str, Recipe] = {
    "ddpm": recipes.get("cars32-ddpm").changed(steps=BASE.steps),
    "edm": BASE,
    "edm, seed 1": BASE.changed(seed=1),
    "flow": recipes.get("cars32-flow").changed(steps=BASE.steps),
    "flow, optimal transport": recipes.get("cars32-flow").changed(steps=BASE.steps, coupling="ot"),
    "lr 2e-4": BASE.changed(lr=2e-4),
    "lr 1e-4": BASE.changed(lr=1e-4),
    "no clipping": BASE.changed(clip=None),
    "no skip scaling": BASE.changed(network="tiny-3-unscaled"),
    "no attention": BASE.changed(network="tiny-3-no-attention"),
}
# L_simple of a network that predicts x_0: the weight 1 / sigma^2 of an error reaches 24,000
EXPLOSIONS: dict[str, Recipe] = {
    "x_0 with the weight of eps": SPIKY,
    "x_0 with the weight of eps, no clipping": SPIKY.changed(clip=None),
    "eps": SPIKY.changed(predicts="eps", weight=None),
    "eps, no clipping": SPIKY.changed(predicts="eps", weight=None, clip=None),
    "edm, no clipping": BASE.changed(steps=SPIKY.steps, warmup=0, clip=None),
}


class Score(NamedTuple):
    """FD (EfficientNet-Lite0) and KID of N generated pictures against N test pictures, each with a standard error."""

    evaluations: int
    fd: float
    fd_se: float
    kid: float
    kid_se: float


class Run(NamedTuple):
    """A short training. losses, norms: (steps,), of every step, the gradient's L2 norm before clipping.

    scores: by (sampler, evaluations) as asked for, empty for EXPLOSIONS; minutes on one core.
    """

    losses: Tensor
    norms: Tensor
    scores: dict[tuple[str, int], Score]
    minutes: float


class Results(NamedTuple):
    """curve: scores by (checkpoint, sampler, churn), by rising evaluations; runs: by name; floor: of real pictures.

    texture: contrast and roughness of the test pictures, see `texture`.
    """

    curve: dict[tuple[str, str, float], list[Score]]
    runs: dict[str, Run]
    floor: dict[str, float]
    texture: tuple[float, float]

    def score(self, name: str, sampler: str, evaluations: int) -> Score:
        """Return the score of a checkpoint by a sampler, without churn, asked for so many evaluations.

        Heun's method spends one less where they are even. Raises KeyError for what was not measured.
        """
        spent = samplers.evaluations_of(sampler, samplers.steps_for(sampler, evaluations))
        return {score.evaluations: score for score in self.curve[name, sampler, 0.0]}[spent]


def load(path: Path | None = None) -> Results:
    """Return what is stored; raises as `store.load`."""
    found = store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)
    curve: dict[tuple[str, str, float], list[Score]] = {}
    for name in (*CHECKPOINTS, DISTILLED):
        for sampler, evaluations, more in ways(name):
            scores = curve.setdefault((name, sampler, more.get("churn", 0.0)), [])
            scores.append(Score(**found[label(name, sampler, evaluations, more)][1]["score"]))
            scores.sort()
    runs = {}
    for name in (*VARIANTS, *EXPLOSIONS):
        tensors, facts = found[name]
        scores = {(sampler, asked): Score(**score) for sampler, asked, score in facts["scores"]}
        runs[name] = Run(tensors["losses"].float(), tensors["norms"].float(), scores, facts["minutes"])
    return Results(curve, runs, found["floor"][1]["scores"], tuple(found["texture"][1]["texture"]))


def texture(pictures: Tensor) -> tuple[float, float]:
    """Return contrast and roughness of pictures (N, 3, S, S) in [-1, 1].

    Contrast is the standard deviation of all values, roughness the mean difference of neighbours, without sign, in a
    row plus that in a column: total variation a pixel.
    """
    across, down = (pictures.diff(dim=axis).abs().mean() for axis in (-1, -2))
    return float(pictures.std()), float(across + down)


def ways(name: str) -> list[tuple[str, int, dict[str, Any]]]:
    """Return how a checkpoint is sampled: sampler, evaluations, further options."""
    if name == DISTILLED:
        return [("ddim", evaluations, {}) for evaluations in (1, 2, 4)]
    if name != TEACHER:
        found = [(sampler, evaluations, {}) for sampler in SAMPLERS for evaluations in FEW[1:4]]
        # 1,000 steps cost as much as all the others: for the networks that the two promises are about
        return [*found, ("ddpm", MANY, {})] if name == "cars32-ddpm" else found
    found = [(sampler, evaluations, {}) for sampler in SAMPLERS for evaluations in FEW]
    found += [("ddim", evaluations, {}) for evaluations in (1, 2, 4, IMITATED)]
    found += [("heun", evaluations, {"churn": CHURN}) for evaluations in FEW[2:]]
    return [*found, *(("ddpm", evaluations, {}) for evaluations in (*FEW, MANY))]


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`."""

    @cache
    def tools() -> tuple[Network, Tensor]:
        network = metrics.features.network(device=device)
        return network, metrics.features.extract(named_set(f"{DATA}:test", size=32)[:N][0], network)

    def floor() -> store.Found:
        network, reference = tools()
        return {}, {"scores": metrics.real_floor(named_set(f"{DATA}:train", size=32), reference, N, network)}

    def of_photographs() -> store.Found:
        return {}, {"texture": texture(named_set(f"{DATA}:test", size=32)[:N][0])}

    cards = checkpoints.names()
    found = {
        "floor": store.Job({"data": DATA, "n": N}, floor),
        "texture": store.Job({"data": DATA, "n": N}, of_photographs),
    }
    for name in (*CHECKPOINTS, DISTILLED):
        for sampler, evaluations, more in ways(name):
            spec = {"sha256": cards[name]["sha256"], "sampler": sampler, "evaluations": evaluations, "n": N, **more}
            work = partial(_sampled, name, sampler, evaluations, more, device, tools)
            found[label(name, sampler, evaluations, more)] = store.Job(spec, work)
    for name, recipe in (VARIANTS | EXPLOSIONS).items():
        found[name] = store.Job({"recipe": recipe}, partial(_trained, recipe, tools if name in VARIANTS else None))
    return found


def label(name: str, sampler: str, evaluations: int, more: dict[str, Any]) -> str:
    """Return the name of a job of the curve."""
    return ", ".join([name, f"{sampler} {evaluations}", *(f"{key} {value:g}" for key, value in more.items())])


def _sampled(name: str, sampler: str, evaluations: int, more: dict, device: str, tools: Callable) -> store.Found:
    checkpoint = checkpoints.load(name, device)
    return {}, {"score": _scored(checkpoint.model, checkpoint.schedule, sampler, evaluations, tools, **more)}


def _scored(
    model: nn.Module, schedule: Schedule, sampler: str, evaluations: int, tools: Callable, **more: Any
) -> dict[str, float]:
    network, reference = tools()
    if sampler == "dpm_solver_pp":
        more["spacing"] = "lambda"  # as the course's protocol has it
    how = sampler
    if sampler == "ddpm" and evaluations < schedule.T:
        how, more["eta"] = "ddim", 1.0  # ancestral sampling on some of the levels (Song et al. 2021, section 4.1)
    steps = samplers.steps_for(sampler, evaluations)
    pictures = sample.images(model, schedule, N, sampler=how, steps=steps, seed=0, **more)
    features = metrics.features.extract(pictures, network)
    score = metrics.score(features, reference, network)
    random = torch.Generator().manual_seed(0)
    spread = estimates.halves(partial(metrics.frechet_distance, reference), features, HALVES, random).std()
    kept = {name: score[name] for name in ("fd", "kid", "kid_se")}
    return {"evaluations": samplers.evaluations_of(sampler, steps), **kept, "fd_se": float(spread)}


def _trained(recipe: Recipe, tools: Callable | None) -> store.Found:
    device = tools()[0].device if tools else "cpu"
    model, ema, schedule = recipe.build(device)
    losses, norms = [], []
    clock = store.clock(device)
    began = clock()
    for record in training.progress(recipe.fit(model, ema, recipe.images(), schedule), recipe.steps):
        losses.append(record.loss)
        norms.append(record.grad_norm)
    minutes = round((clock() - began) / 60, 2)
    scores = []
    if tools:
        asked = AFTER_FLOW if recipe.framework == "flow" else AFTER
        scores = [(*way, _scored(ema.model, schedule, *way, tools)) for way in asked]
    found = {"losses": torch.tensor(losses).bfloat16(), "norms": torch.tensor(norms).bfloat16()}
    return found, {"scores": scores, "minutes": minutes}


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 09, and replace what is stored.")
