"""The measurements of notebook 08: fusions of two cats by every method, and what level, noise and dark parents do.

    python -m course_utils.studies.fusions [--only sweep]

All jobs need the cat faces in COURSE_DATA; an hour on one core. Parents are training pictures, and the reference are
the test pictures, which occur in no fusion. No picture is stored.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_utils import checkpoints, fusion, metrics, sample, samplers
from course_utils.checkpoints import Checkpoint
from course_utils.data.named import named_set
from course_utils.metrics import estimates
from course_utils.metrics.features import Network, Statistics
from course_utils.studies import store

FILE = "fusion_study.safetensors"
REDO = "make fusion"
N = 1000  # pairs
FEW = 50  # of the sources, in one score
SOME = 200  # pairs of two dark cats, of unseen parents, and of a level
STEPS = 20  # evaluations from T down
BATCH = 50
GHOSTS = 1000  # double exposures, and photographs, that their judge is fitted to
GRID = 20  # levels at which the sources' random ones are taken, so that pictures of one level go side by side
CHECKPOINTS = ("faces64", "ldm-faces64", "vae-faces64-spatial", "vae-faces64")
PIXELS = CHECKPOINTS[0]
SWEPT = ("independent", "shared", "centred", "inverted")
LEVELS = (0.2, 0.4, 0.6, 0.8)  # t / T
RANDOM = {  # the sources' recipe: which of its faults each has
    "as the sources": {"two_levels": True, "shared": False},
    "one level for both": {"two_levels": False, "shared": False},
    "one level, shared noise": {"two_levels": False, "shared": True},
}
PARENTS = "parent A"
STRANGERS = "another cat"
RESTORED = "cross-fade with its contrast restored"  # without a network
Fuser = Callable[[Tensor, Tensor, int], Tensor]  # from pictures a and b, (B, 3, S, S), and a seed to fusions


class Tools(NamedTuple):
    """Training pictures and their features; features of the test pictures; the feature network."""

    train: Tensor
    features: Tensor
    reference: Tensor
    network: Network


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`."""

    @cache
    def tools() -> Tools:
        network = metrics.features.network(device=device)
        train, test = (named_set("faces", split=split) for split in ("train", "test"))
        features, reference = (metrics.features.extract(part, network) for part in (train, test))
        return Tools(train.images, features, reference, network)

    load = cache(partial(checkpoints.load, device=device))
    sha = {name: checkpoints.names()[name]["sha256"] for name in CHECKPOINTS}
    ways = [(name, method) for name in CHECKPOINTS for method in fusion.methods(load(name))]
    return (
        {"floor": store.Job({"n": [FEW, N]}, partial(floor, tools))}
        | {
            f"method, {PARENTS}": store.Job({"n": N}, partial(measured, tools, _first, N)),
            f"method, {RESTORED}": store.Job({"n": N}, partial(measured, tools, _restored, N)),
            f"method, {STRANGERS}": store.Job({"n": N}, partial(measured, tools, None, N)),
        }
        | {
            f"method, {name}, {method}": store.Job(
                {"sha256": sha[name], "n": N, "level": fusion.LEVEL.get(method), "steps": STEPS},
                partial(by_method, tools, load, name, method, n=N),
            )
            for name, method in ways
        }
        | {
            "ghosts": store.Job(
                {"sha256": sha, "n": SOME, "fitted": GHOSTS, "ways": [list(way) for way in ways], "steps": STEPS},
                partial(ghosts, tools, load, ways),
            )
        }
        | {
            f"random, {name}": store.Job(
                {"sha256": sha[PIXELS], "n": N, "grid": GRID, "steps": STEPS, **faults},
                partial(at_random, tools, load, **faults),
            )
            for name, faults in RANDOM.items()
        }
        | {
            f"sweep, {method}, {level:g}": store.Job(
                {"sha256": sha[PIXELS], "n": SOME, "steps": STEPS},
                partial(by_method, tools, load, PIXELS, method, level=level, n=SOME),
            )
            for method in SWEPT
            for level in LEVELS
        }
        | {
            f"{which}, {method}": store.Job(
                {"sha256": sha[PIXELS], "n": SOME, "level": fusion.LEVEL.get(method), "steps": STEPS},
                partial(by_method, tools, load, PIXELS, method, n=SOME, which=which),
            )
            for which in ("both dark", "unseen")
            for method in ("cross-fade", "shared", "spherical", "centred", "inverted")
        }
        | {f"both dark, {PARENTS}": store.Job({"n": SOME}, partial(measured, tools, _first, SOME, "both dark"))}
    )


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def _first(a: Tensor, b: Tensor, _: int) -> Tensor:
    return a


def _restored(a: Tensor, b: Tensor, _: int) -> Tensor:
    return fusion.mixed(a, b, 0.5, "centred")


def floor(tools: Callable[[], Tools]) -> store.Found:
    """Score training pictures as if they were fusions, FEW and N of them; facts: scores by number, as texts."""
    found = tools()
    return {}, {
        str(n): metrics.real_floor(found.features, found.reference, n, found.network, repeats=20 if n == FEW else 3)
        for n in (FEW, N)
    }


def by_method(
    tools: Callable[[], Tools],
    load: Callable[[str], Checkpoint],
    name: str,
    method: str,
    *,
    n: int,
    level: float | None = None,
    which: str = "",
) -> store.Found:
    """Measure one method of `fusion.fuse` at lambda_ 0.5 and at a share of T, None for the method's own."""
    return measured(tools, _fuser(load(name), method, level), n, which)


def _fuser(checkpoint: Checkpoint, method: str, level: float | None = None) -> Fuser:
    t = None if level is None else round(level * checkpoint.schedule.T)

    def fused(a: Tensor, b: Tensor, seed: int) -> Tensor:
        x = samplers.final(fusion.fuse(checkpoint, a, b, method, t=t, steps=STEPS, seed=seed))
        return sample.decoded(checkpoint.model, x)

    return fused


def ghosts(tools: Callable[[], Tools], load: Callable[[str], Checkpoint], ways: list[tuple[str, str]]) -> store.Found:
    """Fit a judge that tells double exposures from photographs, and ask it about SOME fusions of every way.

    A double exposure is a mix of the pixels of two training pictures, straight or with its contrast restored, in turns.
    Facts: accuracy, on test pictures and double exposures of these; photographs and exposures, the shares of each that
    are called exposures; ghosts, that share by checkpoint and method.
    """
    found, test = tools(), named_set("faces:test").images
    features = partial(metrics.features.extract, network=found.network)

    def exposures(images: Tensor, n: int, seed: int) -> Tensor:
        a, b = images[fusion.pairs(images, n, seed=seed)].unbind(1)
        return torch.cat([fusion.mixed(a[::2], b[::2], 0.5), fusion.mixed(a[1::2], b[1::2], 0.5, "centred")])

    fitted = torch.cat([found.features[:GHOSTS], features(exposures(found.train, GHOSTS, 1))])
    new = features(exposures(test, SOME, 1))
    judge = metrics.recognise.fit(
        fitted,
        torch.arange(2).repeat_interleave(GHOSTS),
        ("photograph", "exposure"),
        torch.cat([found.reference[:SOME], new]),
        torch.arange(2).repeat_interleave(SOME),
    )
    pairs = chosen(found, SOME, "")[:2]
    share = {
        f"{name}, {method}": float(judge(features(_batched(_fuser(load(name), method), *pairs))).double().mean())
        for name, method in ways
    }
    own = {"photographs": found.reference, "exposures": new}
    called = {name: float(judge(x).double().mean()) for name, x in own.items()}
    return {}, {"accuracy": judge.accuracy, "ghosts": share} | called


def _batched(fuse: Fuser, a: Tensor, b: Tensor) -> Tensor:
    # a seed for each batch: the same noise in all of them would make the fusions alike
    pairs = zip(a.split(BATCH), b.split(BATCH), strict=True)
    return torch.cat([fuse(*pair, seed).clamp(-1, 1) for seed, pair in enumerate(pairs)])


def chosen(found: Tools, n: int, which: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return pictures and features of n pairs of parents, and the features of pictures that are none of them.

    which: "" for pairs by the rule, "both dark" for those that the rule leaves out, "unseen" for test pictures.
    """
    if which == "unseen":  # the gallery and the reference are as many training pictures then
        test = named_set("faces:test").images
        rows = fusion.pairs(test, n)
        a, b = rows.T
        return test[a], test[b], found.reference[a], found.reference[b], found.features[: len(test)]
    if which == "both dark":
        dark = (fusion.luminance(found.train) < fusion.DARK).nonzero()[:, 0]
        a, b = dark[: 2 * n].view(-1, 2).T
    else:
        a, b = fusion.pairs(found.train, n).T
    return found.train[a], found.train[b], found.features[a], found.features[b], found.reference


def measured(tools: Callable[[], Tools], fuse: Fuser | None, n: int, which: str = "") -> store.Found:
    """Fuse n pairs and return facts: scores, and medians of where the fusions lie between their parents.

    fuse: None takes another real picture for each pair. scores and realism are against the test pictures (of unseen
    parents, which are such: against training pictures). fd_few: FD of FEW fusions, (mean, standard deviation over
    disjoint sets). fd_se: standard error by halves. near, far: distances from the parents; rank: see `metrics.kinship`.
    seconds: of one core, for each picture. lighter: mean luminance less that of the parents; contrast: standard
    deviation of the pixels over that of the parents.
    """
    found = tools()
    a, b, of_a, of_b, reference = chosen(found, n, which)
    if fuse is None:
        features = found.features[fusion.pairs(found.train, n, seed=1)[:, 0]]
        return {}, placed(features, of_a, of_b, reference, found.network)
    clock = store.clock(found.network.device)
    began = clock()
    fused = _batched(fuse, a, b)
    seconds = (clock() - began) / n
    features = metrics.features.extract(fused, found.network)
    light, spread = (
        [measure(x) for x in (fused, a, b)] for measure in (fusion.luminance, lambda x: x.flatten(1).std(1))
    )
    return {}, placed(features, of_a, of_b, reference, found.network) | {
        "seconds": seconds,
        "lighter": float((light[0] - (light[1] + light[2]) / 2).mean()),
        "contrast": float((spread[0] / (spread[1] + spread[2]) * 2).mean()),
    }


def placed(features: Tensor, of_a: Tensor, of_b: Tensor, reference: Tensor, network: Network) -> dict[str, Any]:
    """Return the facts of `measured` that follow from features (N, D) of fusions, their parents and a reference."""
    near, far = metrics.parent_distances(features, of_a, of_b).sort(1).values.T
    real = metrics.realism(features, reference)
    random = torch.Generator().manual_seed(0)
    target = Statistics(network.name).update(reference)
    few = estimates.curve(features, target, [FEW], len(features) // FEW, random)[0]
    spread = estimates.halves(lambda half: metrics.frechet_distance(half, target), features, generator=random)
    return {
        "scores": metrics.score(features, reference, network),
        "fd_se": float(spread.std()),
        "fd_few": [float(few.mean()), float(few.std())],
        "near": float(near.median()),
        "far": float(far.median()),
        "rank": float(metrics.parent_rank(features, of_a, of_b, reference).median()),
        "realism": float(real.median()),
        "realistic": float((real >= 1).double().mean()),
    }


def at_random(
    tools: Callable[[], Tools], load: Callable[[str], Checkpoint], two_levels: bool, shared: bool
) -> store.Found:
    """Measure fusions from random levels: one of GRID for a, and for b the same or another, of its own (two_levels)."""
    checkpoint = load(PIXELS)
    model, schedule = checkpoint.model, checkpoint.schedule
    random = torch.Generator().manual_seed(0)

    def fused(a: Tensor, b: Tensor, _: int) -> Tensor:
        drawn = torch.randint(1, GRID + 1, (len(a), 2), generator=random)
        if not two_levels:
            drawn[:, 1] = drawn[:, 0]
        out = torch.empty_like(a)
        for both in drawn.unique(dim=0):
            rows = (drawn == both).all(1)
            t, t_b = (both * schedule.T // GRID).tolist()
            how = {"t": t, "t_b": t_b, "shared": shared, "steps": max(1, STEPS * t // schedule.T), "clip": True}
            pair = [x[rows].to(schedule.device) for x in (a, b)]
            draws = [random] * len(pair[0])  # on the CPU, whatever the device
            out[rows] = samplers.final(fusion.noised(model, schedule, *pair, generator=draws, **how)).cpu()
        return out

    return measured(tools, fused, N)


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 08 and replace the stored results.")
