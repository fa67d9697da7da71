"""Put a trained model among the shipped checkpoints: measure it by the course's protocol and write its card.

    python -m course_utils.authoring.publish RUN/model.safetensors NAME

Needs the pictures that it was trained on (COURSE_DATA), the training and the test part.
"""

import argparse
import json
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils import checkpoints, latents, metrics, sample
from course_utils.checkpoints import Checkpoint
from course_utils.data.images import ImageSet
from course_utils.data.named import named_set
from course_utils.models.latent import LatentDiffusion
from course_utils.models.vae import VAE
from course_utils.paths import CHECKOUT

RECONSTRUCTED = "training pictures, encoded and decoded"
LIMIT = 8_000_000  # bytes
LARGEST = 1000  # images in a score
FLOOR = ("fd", "fd_std", "kid", "kid_std", "precision", "recall")
START = "<!-- checkpoints: the table is written by course_utils.authoring.publish -->"
END = "<!-- end -->"


def measure(checkpoint: Checkpoint, floors: dict[str, Any] | None = None) -> dict[str, Any]:
    """Score as many generated images as the test part holds (1,000 at most) against it; add the floor and the ratio.

    A VAE with a map of codes generates nothing by itself: reconstructions of training pictures are scored. Of every VAE
    "reconstructions" tells what it makes of the test part: FD to that part itself (0 for a perfect copier), PSNR, SSIM.
    Labels are asked for in turns; a model of several classes is also scored on each alone, under "per_class". floors:
    those of earlier calls by the name of the set; what lacks is computed and added.
    """
    settings = checkpoint.card["settings"]
    network = metrics.features.network()
    floors = {} if floors is None else floors
    sampling = metrics.protocol.sampling(checkpoint.schedule, checkpoint.model)
    vae = checkpoint.model if isinstance(checkpoint.model, VAE) else None
    # a map of codes is there to be diffused in; nobody draws it from N(0, I)
    reconstructs = vae is not None and vae.config.spatial

    def part(data: str, split: str) -> ImageSet:
        return named_set(data, size=settings["size"], split=split)

    @cache
    def reference_of(data: str) -> tuple[str, Tensor, Tensor]:
        test = part(data, "test")
        x = test[: min(len(test), LARGEST)][0]
        return test.name, x, metrics.features.extract(x, network)

    def against(data: str, label: int | None) -> dict[str, Any]:
        test, x, reference = reference_of(data)
        n = len(x)
        if data not in floors:
            floors[data] = metrics.real_floor(part(data, "train"), reference, n, network)
        if reconstructs:
            # not of the test part: a perfect copy of the reference would score 0, far below any floor
            pictures = latents.reconstruct(vae, part(data, "train")[:n][0])
        else:
            y = sample.labels(checkpoint, None, n) if label is None else torch.full((n,), label)
            pictures = sample.images(checkpoint.model, checkpoint.schedule, n, y=y, **sampling)
        scores, floor = metrics.score(pictures, reference, network), floors[data]
        return {
            "network": network.name,
            "n": n,
            "reference": test,
            "sampling": RECONSTRUCTED if reconstructs else sampling,
            **{name: round(scores[name], 5) for name in metrics.protocol.NUMBERS},
            "floor": {name: round(floor[name], 5) for name in FLOOR},
            "fd_ratio": round(scores["fd"] / floor["fd"], 3),
        }

    scores = against(settings["data"], None)
    if vae is not None:
        _, x, reference = reference_of(settings["data"])
        x_hat = latents.reconstruct(vae, x)
        fd = metrics.score(x_hat, reference, network)["fd"]
        values = {"fd": fd, "psnr": metrics.psnr(x, x_hat).mean(), "ssim": metrics.ssim(x, x_hat).mean()}
        scores["reconstructions"] = {name: round(float(value), 5) for name, value in values.items()}
    kind, _, names = settings["data"].partition(":")
    if settings["classes"] and "/" not in names:  # of options of a factor there are too few pictures each
        scores["per_class"] = {name: against(f"{kind}:{name}", k) for k, name in enumerate(names.split("+"))}
    return scores


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status: 1 when the new checkpoint is not better than the shipped one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the model.safetensors of a run")
    parser.add_argument("name", help="the name it ships under")
    parser.add_argument("--measure-only", action="store_true", help="print the scores, change nothing")
    given = parser.parse_args(arguments)
    shipped = CHECKOUT / "data" / "shipped"
    listing = shipped / checkpoints.CARDS
    cards = json.loads(listing.read_text()) if listing.is_file() else {}
    checkpoint = checkpoints.load(given.model)
    before = cards.get(given.name)
    card = {**checkpoint.card, "scores": measure(checkpoint, _known_floors(cards, checkpoint.card["settings"]))}
    print(json.dumps({"name": given.name, "steps": card["steps"], **card["scores"]}, indent=1))
    if given.measure_only:
        return 0
    if given.model.stat().st_size > LIMIT:
        raise ValueError(f"{given.model} has {given.model.stat().st_size / 1e6:.1f} MB, at most 8 MB ship")
    if before and before["scores"]["fd"] <= card["scores"]["fd"]:
        print(f"not replaced: the shipped {given.name} has FD {before['scores']['fd']}", file=sys.stderr)
        return 1
    file = shipped / f"{given.name}.safetensors"
    beside = file.with_suffix(".writing")  # what ships stays as it is should the next lines fail
    shutil.copyfile(given.model, beside)
    if isinstance(checkpoint.model, LatentDiffusion) and card["settings"]["vae"] in cards:
        checkpoints.share(beside, "vae", card["settings"]["vae"])  # a third of the file, and it ships already
    beside.replace(file)
    cards[given.name] = {"sha256": checkpoints.digest(file), **card}
    cards = dict(sorted(cards.items()))
    listing.write_text(json.dumps(cards, indent=1) + "\n")
    readme = CHECKOUT / "README.md"
    readme.write_text(with_table(readme.read_text(), cards))
    return 0


def with_table(readme: str, cards: dict[str, Any]) -> str:
    """Return the README with its table of checkpoints made anew from the cards."""
    rows = ["| checkpoint | data | parameters | images seen | FD | floor | ratio | KID |"]
    rows.append("|---|---|--:|--:|--:|--:|--:|--:|")
    for name, card in cards.items():
        start = card.get("started_from")
        before = f", {start['images_seen']:,} of them as {start['recipe']}" if start else ""
        about = f"{card['parameters']:,} | {card['images_seen']:,}{before}"
        alone = card["scores"].get("per_class", {})
        for part, scores in {card["data"].split(",")[0]: card["scores"], **alone}.items():
            floor = scores["floor"]
            about_data = f"{part}, reconstructed" if scores["sampling"] == RECONSTRUCTED else part
            cells = [
                "" if part in alone else f"`{name}`",
                f"only {part}s" if part in alone else about_data,
                "|" if part in alone else about,
                f"{scores['fd']:.1f}",
                f"{floor['fd']:.1f} ± {floor['fd_std']:.1f}",
                f"{scores['fd_ratio']:.1f}",
                f"{scores['kid']:.3f} ± {scores['kid_se']:.3f}",
            ]
            rows.append(f"| {' | '.join(cells)} |")
    head, _, rest = readme.partition(START)
    return head + START + "\n" + "\n".join(rows) + "\n" + END + rest.partition(END)[2]


def _known_floors(cards: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    floors = {}
    for card in cards.values():
        if card["settings"]["size"] != settings["size"]:
            continue
        data, scores = card["settings"]["data"], card["scores"]
        floors[data] = scores["floor"]
        for name, alone in scores.get("per_class", {}).items():
            floors[f"{data.partition(':')[0]}:{name}"] = alone["floor"]
    return floors


if __name__ == "__main__":
    sys.exit(main())
