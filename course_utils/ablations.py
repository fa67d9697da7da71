"""The ablation study of notebook 01: recipes that differ in one thing, their stored results, and how to redo them."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_utils import checkpoints, metrics, samplers, schedules, training
from course_utils.data import toy
from course_utils.diffusion import l_simple
from course_utils.models.mlp import MLP, MLPConfig
from course_utils.paths import CHECKOUT, shipped
from course_utils.schedules import Schedule

FILE = "toy_ablations.safetensors"
EPOCHS = (1, 5, 20, 50, 100, 200)  # the columns of every grid
SEEDS = (0, 1, 2)
N = 1000  # points per cell


@dataclass(frozen=True)
class Recipe:
    """A complete training run on a 2-D set; the defaults are the baseline that every ablation departs from.

    lr is constant; an epoch is `points / batch_size` updates. Other fields: see `schedules`, `MLPConfig`, `EMA`.
    """

    dataset: str = "dino"
    schedule: str = "quadratic"
    T: int = 200
    rescale: bool = True
    hidden: int = 128
    layers: int = 4
    time_embedding: str = "sinusoidal"
    input_embedding: str = "sinusoidal"
    predicts: str = "eps"
    lr: float = 3e-3
    ema: float = 0.99
    points: int = 8192
    batch_size: int = 1024

    def build(self, seed: int = 0) -> tuple[MLP, Schedule]:
        """Return the untrained model (initialised from `seed`) and the schedule; ValueError for unknown names."""
        options = {} if self.schedule == "cosine" else {"rescale": self.rescale}
        schedule = schedules.make(self.schedule, self.T, **options)
        sizes = {name: getattr(self, name) for name in ("T", "hidden", "layers", "predicts")}
        embeddings = {"time_embedding": self.time_embedding, "input_embedding": self.input_embedding}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MLP(MLPConfig(**sizes, **embeddings)), schedule

    def draw(self, n: int, seed: int) -> Tensor:
        """Draw n points of the recipe's data set, shape (n, 2)."""
        return toy.draw(self.dataset, n, seed)


class Checkpoint(NamedTuple):
    """A run after `epoch` epochs: the averaged model and a cloud of N points that it generated, shape (N, 2)."""

    epoch: int
    model: nn.Module
    cloud: Tensor
    seconds: float


def train(
    recipe: Recipe, epochs: Sequence[int] | None = None, seed: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Checkpoint]:
    """Train `recipe` and yield a `Checkpoint` at each of `epochs` (increasing; None: those of the stored grids)."""
    epochs = epochs or EPOCHS
    model, schedule = recipe.build(seed)
    model, schedule = model.to(device), schedule.to(device)
    ema = training.EMA(model, recipe.ema)
    data = training.batches(recipe.draw(recipe.points, seed).to(device), recipe.batch_size, _generator(seed))
    loss = partial(_loss, schedule=schedule, generator=_generator(seed + 1, device))
    per_epoch = recipe.points // recipe.batch_size
    for done in training.fit(model, loss, data, epochs[-1] * per_epoch, lr=recipe.lr, ema=ema):
        if done.step % per_epoch == 0 and done.step // per_epoch in epochs:
            epoch = done.step // per_epoch
            yield Checkpoint(epoch, ema.model, sample(ema.model, schedule, N, seed=1000 * seed + epoch), done.seconds)


def sample(model: nn.Module, schedule: Schedule, n: int, seed: int = 0) -> Tensor:
    """Generate n points with the ancestral sampler, shape (n, 2), on the CPU."""
    generator = _generator(seed, schedule.device)
    x_T = torch.randn(n, 2, device=schedule.device, generator=generator)
    return samplers.final(samplers.ddpm(model, schedule, x_T, generator=generator)).cpu()


def _generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def _loss(model: nn.Module, batch: Tensor, schedule: Schedule, generator: torch.Generator) -> Tensor:
    return l_simple(model, batch, schedule, generator=generator)


BASE = Recipe()
# What the sources' write-up used for the `line` set, as far as it tells; each row below mends one more thing
_SOURCE = replace(
    BASE, dataset="line", schedule="linear", T=50, rescale=False, ema=0.0, input_embedding="none", lr=1e-3
)
_MENDED = {
    "the sources'": _SOURCE,
    "+ rescaled": replace(_SOURCE, rescale=True),
    "+ T = 200": replace(_SOURCE, rescale=True, T=200),
    "+ sines of x": replace(_SOURCE, rescale=True, T=200, input_embedding="sinusoidal"),
    "+ EMA, lr 3e-3": replace(BASE, dataset="line", schedule="linear"),
    "+ quadratic": replace(BASE, dataset="line"),
}
ABLATIONS: dict[str, dict[str, Recipe]] = {
    "learning rate": {f"{lr:g}": replace(BASE, lr=lr) for lr in (1e-5, 1e-4, 1e-3, 3e-3, 3e-2)},
    "data set": {
        name: replace(BASE, dataset=name) for name in ("dino", "cat", "line", "moons", "swiss_roll", "checkerboard")
    },
    "number of timesteps T": {
        "10": replace(BASE, T=10),
        "50, not rescaled": replace(BASE, T=50, rescale=False),
        "50": replace(BASE, T=50),
        "200, not rescaled": replace(BASE, rescale=False),
        "200": BASE,
        "1000": replace(BASE, T=1000),
    },
    "variance schedule": {
        "linear": replace(BASE, schedule="linear"),
        "quadratic": BASE,
        "sigmoid": replace(BASE, schedule="sigmoid"),
        "cosine": replace(BASE, schedule="cosine"),
        "cosine, v": replace(BASE, schedule="cosine", predicts="v"),
    },
    "hidden size": {str(h): replace(BASE, hidden=h) for h in (16, 32, 64, 128, 256)},
    "hidden layers": {str(k): replace(BASE, layers=k) for k in (1, 2, 4, 6)},
    "timestep embedding": {
        name: replace(BASE, time_embedding=name) for name in ("sinusoidal", "learned", "linear", "none")
    },
    "input embedding": {
        name: replace(BASE, input_embedding=name) for name in ("sinusoidal", "learned", "linear", "none")
    },
    "sharp corners": _MENDED,
}


class Result(NamedTuple):
    """A stored ablation. clouds: (rows, epochs, N, 2), those of seed 0.

    distance: (rows, seeds, epochs), the sliced Wasserstein distance to real data; floor: (rows,), what real data
    scores; outside: (rows, seeds, epochs), mean distance from the bar (NaN on sets other than `line`).
    """

    rows: tuple[str, ...]
    clouds: Tensor
    distance: Tensor
    floor: Tensor
    outside: Tensor

    @property
    def ratio(self) -> Tensor:
        """Distance in units of the floor, mean over the seeds, shape (rows, epochs)."""
        return self.distance.mean(1) / self.floor[:, None]

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the ratio over the seeds, shape (rows, epochs)."""
        return self.distance.std(1) / self.floor[:, None]


def load(name: str, path: Path | None = None) -> Result:
    """Return the stored results of the ablation `name`.

    Raises ValueError for an unknown name, FileNotFoundError when the file is missing, and RuntimeError when its recipes
    are not those of this module any more.
    """
    if name not in ABLATIONS:
        raise ValueError(f"unknown ablation {name!r}: choose one of {', '.join(ABLATIONS)}")
    done = _finished(path or shipped(FILE))
    for recipe in ABLATIONS[name].values():
        if recipe not in done:
            raise RuntimeError(f"{FILE} holds no run of {recipe}: regenerate it with `make ablations`")
    rows = [done[recipe] for recipe in ABLATIONS[name].values()]
    parts = [[row[part].float() for row in rows] for part in Result._fields[1:]]
    return Result(tuple(ABLATIONS[name]), *map(torch.stack, parts))


def measure(recipe: Recipe) -> dict[str, Tensor]:
    """Train `recipe` once per seed and return the parts of a `Result` for its row."""
    runs = [[checkpoint.cloud for checkpoint in train(recipe, seed=seed)] for seed in SEEDS]
    outside = toy.outside_line if recipe.dataset == "line" else lambda cloud: torch.tensor(float("nan"))
    return {
        "clouds": torch.stack(runs[0]).clamp(-1e4, 1e4).half(),
        "distance": torch.tensor([[metrics.distance_to(cloud, recipe.draw) for cloud in run] for run in runs]),
        "floor": torch.tensor(metrics.floor(N, recipe.draw)),
        "outside": torch.tensor([[float(outside(cloud).mean()) for cloud in run] for run in runs]),
    }


def main() -> None:
    """Retrain every recipe of every ablation and replace the stored results; interrupted, a second call goes on."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=(CHECKOUT or Path.cwd()) / "data" / "shipped" / FILE)
    out = parser.parse_args().out
    recipes = list(dict.fromkeys(recipe for rows in ABLATIONS.values() for recipe in rows.values()))
    partial_results = out.with_suffix(".partial")  # the old results stay in use until all of the new are there
    done = _finished(partial_results) if partial_results.is_file() else {}
    done = {recipe: parts for recipe, parts in done.items() if recipe in recipes}
    for recipe in recipes:
        if recipe not in done:
            began = time.perf_counter()
            done[recipe] = measure(recipe)
            _save(partial_results, done)
            print(f"{len(done)}/{len(recipes)}  {time.perf_counter() - began:6.1f} s  {recipe}", flush=True)
    partial_results.replace(out)


def _finished(path: Path) -> dict[Recipe, dict[str, Tensor]]:
    tensors, facts = checkpoints.read(path)
    return {
        Recipe(**recipe): {part: tensors[f"{i}.{part}"] for part in Result._fields[1:]}
        for i, recipe in enumerate(facts["recipes"])
        if set(recipe) <= {field.name for field in fields(Recipe)}  # a field younger than the file had its default
    }


def _save(path: Path, results: dict[Recipe, dict[str, Tensor]]) -> None:
    flat = {f"{i}.{name}": part for i, parts in enumerate(results.values()) for name, part in parts.items()}
    checkpoints.write(path, flat, {"recipes": [asdict(recipe) for recipe in results]})


if __name__ == "__main__":
    main()
