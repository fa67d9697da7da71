"""The measurements of notebook 10: StyleGAN2 without one idea at a time, a race of four kinds of model, truncation.

    python -m course_utils.studies.styles [--only seed]

The races and the truncation need the cat faces in COURSE_DATA; hours on one core. Minutes are those of one processor
core, whatever else it does meanwhile; on another device they are those of a clock.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils import checkpoints, metrics, recipes, sample, styles, training
from course_utils.data.levels import to_bytes
from course_utils.models.stylegan2 import StyleGenerator
from course_utils.recipes import BaseRecipe
from course_utils.recipes.stylegan2 import StyleGANRecipe
from course_utils.schedules import Schedule
from course_utils.studies import store
from course_utils.studies.autoencoders import Tools

FILE = "style_study.safetensors"
REDO = "make styles"
N = 500  # generated pictures in a score
SHOWN = 8  # of them are stored
FILM = 6  # pictures of a race are stored at each look
TRAITS = 64  # z in a measurement of what happens inside
PARTS = (0.5, 1.0)  # of a run, after which it is scored
MINUTES = 10.0  # of training, for each of RIVALS
LOOKS, GLANCE = 9, 200  # times that each of RIVALS is looked at, at equal minutes, and pictures in the score of a look
SHIPPED = ("stylegan2-faces64", "dcgan-faces64", "faces64", "ldm-faces64", "vae-faces64")  # of cat faces
PHOTOGRAPHS = "photographs"
TRUNCATED = SHIPPED[0]
PSI = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2)

SIZE = 32  # pixels a side in the runs that differ in one thing

_BASE = recipes.get("stylegan2-drawn64").changed(size=SIZE, steps=1500)
_CHANGES: dict[str, dict[str, Any]] = {
    "StyleGAN2": {},
    "instance norm": {"normalise": "instance"},
    "no normalisation": {"normalise": "none"},
    "noise and bias inside": {"outside": False},
    "every penalty every round": {"r_every": 1, "path_every": 1},
    "growing": {"architecture": "growing"},
    "no path penalty": {"path": 0.0},
    "as StyleGAN": {
        **{"normalise": "instance", "outside": False, "architecture": "growing"},
        **{"r_every": 1, "path": 0.0},
    },
}
# how many seeds of each: differences are to be compared with those between seeds
SEEDS = {
    **{"StyleGAN2": 3, "instance norm": 2, "no normalisation": 1, "noise and bias inside": 2, "growing": 2},
    **{"every penalty every round": 1, "no path penalty": 1, "as StyleGAN": 1},
}
RUNS: dict[str, StyleGANRecipe] = {
    f"{name}, seed {seed}": _BASE.changed(**_CHANGES[name], seed=seed) for name, n in SEEDS.items() for seed in range(n)
}
_ENDLESS = 10**6  # rounds: the minutes end a race
RIVALS: dict[str, BaseRecipe] = {
    name: recipes.get(recipe).changed(steps=_ENDLESS)
    for name, recipe in {
        **{"StyleGAN2": "stylegan2-faces64", "DCGAN": "dcgan-faces64"},
        **{"diffusion": "faces64", "VAE": "vae-faces64"},
    }.items()
}


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`: runs, races and their floors; what ships, judged."""

    @cache
    def tools(data: str, size: int) -> Tools:
        network = metrics.features.network(device=device)
        train, test = (_BASE.changed(data=data, size=size).images(split) for split in ("train", "test"))
        return Tools(network, train, test, metrics.features.extract(test, network))

    def floor(data: str, size: int, n: int) -> store.Found:
        network, train, _, reference = tools(data, size)
        return {}, {"scores": metrics.real_floor(train, reference, n, network)}

    def truncated() -> store.Found:
        return truncation(checkpoints.load(TRUNCATED, device).model, tools)

    def called(name: str) -> store.Found:
        network, _, _, features = tools("faces", 64)
        if name != PHOTOGRAPHS:
            checkpoint = checkpoints.load(name, device)
            features = metrics.features.extract(_drawn(checkpoint.model, checkpoint.schedule, N), network)
        return {}, {"called": float(metrics.recognise.called_cats(features).double().mean())}

    shipped = {name: {"checkpoint": name, "sha256": checkpoints.names()[name]["sha256"], "n": N} for name in SHIPPED}
    rules = {"minutes": MINUTES, "looks": LOOKS, "n": N, "glance": GLANCE}
    return (
        {
            f"floor, {data}, n = {n}": store.Job({"data": data, "size": size, "n": n}, partial(floor, data, size, n))
            for data, size, n in (("drawn:face", SIZE, N), ("faces", 64, N), ("faces", 64, GLANCE))
        }
        | {name: store.Job({"recipe": run, "n": N}, partial(measure, run, tools)) for name, run in RUNS.items()}
        | {
            f"race, {name}": store.Job({"recipe": rival, **rules}, partial(race, rival, tools))
            for name, rival in RIVALS.items()
        }
        | {f"truncation, {TRUNCATED}": store.Job(shipped[TRUNCATED] | {"psi": list(PSI)}, truncated)}
        | {
            f"called cats, {name}": store.Job(spec, partial(called, name))
            for name, spec in ({PHOTOGRAPHS: {"data": "faces:test"}} | shipped).items()
        }
    )


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def measure(recipe: StyleGANRecipe, tools: Callable[[str, int], Tools]) -> store.Found:
    """Train one StyleGAN2 and return what is stored of it, all of the averaged generator.

    Tensors: pictures (SHOWN, 3, S, S), at the end; peaks (layers,), see `styles.peaks`, of what the convolutions
    return. Facts: scores, after each of PARTS; noise_share and length_spread, see `styles`; minutes of training.
    """
    network, _, _, reference = tools(recipe.data, recipe.size)
    model, ema, _ = recipe.build(network.device)
    stops, scores = {max(1, round(part * recipe.steps)) for part in PARTS}, []
    records = training.progress(recipe.fit(model, ema, recipe.images()), recipe.steps)
    for record, minutes in timed(records, network.device):  # noqa: B007
        if record.step in stops:
            made = sample.one_step(ema.model, N)
            scores.append({"step": record.step} | metrics.score(made, reference, network))
    drawing = ema.model.eval()
    z = torch.randn(TRAITS, recipe.z_dim, generator=torch.Generator().manual_seed(0)).to(network.device)
    with torch.no_grad():
        w = drawing.to_w(z)
    facts = {
        "scores": scores,
        "noise_share": styles.noise_share(drawing, z),
        "length_spread": styles.length_spread(drawing, z),
        "minutes": round(minutes, 2),
    }
    return {"pictures": to_bytes(made[:SHOWN]), "peaks": styles.peaks(styles.maps(drawing, w, raw=True)).cpu()}, facts


def race(recipe: BaseRecipe, tools: Callable[[str, int], Tools]) -> store.Found:
    """Train for MINUTES and look LOOKS times, more often at first; the averaged weights draw.

    Tensors: curve (LOOKS, 5): minutes, then FD, KID, precision and recall of GLANCE pictures; film (LOOKS, FILM, 3, S,
    S), of the same noise. Facts: scores of N pictures at the end, images_seen, minutes, and drawn_per_s: pictures drawn
    in a second of one core.
    """
    network, _, _, reference = tools(recipe.data, recipe.size)
    model, ema, schedule = recipe.build(network.device)
    looks = [MINUTES * (k / LOOKS) ** 2 for k in range(1, LOOKS + 1)]
    curve, film, clock = [], [], store.clock(network.device)

    for record, minutes in timed(recipe.fit(model, ema, recipe.images(), schedule), network.device):  # noqa: B007
        if minutes < looks[len(curve)]:
            continue
        made = _drawn(ema.model, schedule, GLANCE)
        scores = metrics.score(made, reference, network)
        curve.append([minutes, *(scores[name] for name in ("fd", "kid", "precision", "recall"))])
        film.append(to_bytes(made[:FILM]))
        if len(curve) == LOOKS:
            break
    began = clock()
    made = _drawn(ema.model, schedule, N)
    per_s = N / (clock() - began)
    facts = {
        "scores": metrics.score(made, reference, network),
        "minutes": round(minutes, 2),
        "images_seen": record.step * recipe.batch_size,
        "drawn_per_s": round(per_s, 2),
    }
    return {"curve": torch.tensor(curve), "film": torch.stack(film)}, facts


def _drawn(model: nn.Module, schedule: Schedule | None, n: int) -> Tensor:
    return sample.images(model, schedule, n, **metrics.protocol.sampling(schedule))


def truncation(model: StyleGenerator, tools: Callable[[str, int], Tools]) -> store.Found:
    """Score pictures of the same N z at every psi of PSI against cat faces; returns no tensors, scores as facts."""
    network, _, _, reference = tools("faces", model.config.size)
    drawn = {psi: sample.one_step(model, N, **metrics.protocol.sampling(None), psi=psi) for psi in PSI}
    return {}, {"scores": [{"psi": psi} | metrics.score(made, reference, network) for psi, made in drawn.items()]}


def timed(records: Iterable[Any], device: torch.device) -> Iterator[tuple[Any, float]]:
    """Yield each record with the minutes that the records have taken so far, without what happens between them."""
    clock = store.clock(device)
    minutes, began = 0.0, clock()
    for record in records:
        minutes += (clock() - began) / 60
        yield record, minutes
        began = clock()


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 10 and replace the stored results.")
