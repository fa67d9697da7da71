"""The measurements of notebook 05: VAEs that differ in one thing, trained on cat faces and on drawn cats; stored.

    python -m course_utils.studies.autoencoders [--only drawn]

Jobs on photographs need the cat faces in COURSE_DATA. Small networks on 32 pixels, so that a laptop can repeat it.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from course_utils import elbo, metrics, sample, training
from course_utils.data.images import ImageSet
from course_utils.data.levels import to_bytes
from course_utils.metrics.protocol import SAMPLING
from course_utils.models.vae import VAE
from course_utils.recipes import RECIPES, Recipe, VAERecipe
from course_utils.studies import store

FILE = "autoencoder_study.safetensors"
REDO = "make autoencoders"
N = 500  # pictures in a score, and in an average over train or test pictures
SHOWN = 10  # samples stored, and of drawn pictures as many reconstructions
POINTS = 20  # how often a run is looked at
LOOKS = 4  # at the run in pixels
ACTIVE = 0.1  # nats on average, from which on a latent number counts as used

BASE = VAERecipe(
    data="faces", size=32, network="tiny", latent=64, batch_size=64, steps=2500, lr=2e-3, decay=True, ema=0.998
)
_CHANGES: dict[str, dict[str, Any]] = {
    "baseline": {},
    "baseline, seed 1": {"seed": 1},
    "baseline, seed 2": {"seed": 2},
    **{f"KL weight {w:g}": {"kl_weight": w} for w in (100.0, 10.0, 1.0, 0.3, 0.1, 0.005, 0.001)},
    **{f"latent {n}": {"latent": n} for n in (4, 16, 256)},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 0.1": {"weight_decay": 0.1},
    "dropout 0.2": {"dropout": 0.2},
    "not mirrored": {"flip": False},
    "shifted": {"shift": 2},
    "turned, black corners": {"turn": 15.0, "corners": "black"},
    "turned, reflected corners": {"turn": 15.0},
    "300 pictures": {"per_class": 300},
    "300 pictures, dropout 0.2": {"per_class": 300, "dropout": 0.2},
    "300 pictures, turned and shifted": {"per_class": 300, "turn": 15.0, "shift": 2},
    "laplace": {"likelihood": "laplace", "kl_weight": 0.2},
    "free bits, KL weight 10": {"free_bits": 0.5, "kl_weight": 10.0},
    "warmed up, KL weight 100": {"kl_weight": 100.0, "kl_warmup": 1250},
}
VARIANTS: dict[str, VAERecipe] = {f"faces, {name}": BASE.changed(**change) for name, change in _CHANGES.items()} | {
    f"drawn, {name}": BASE.changed(**change | {"data": "drawn:cat"})
    for name, change in _CHANGES.items()
    if name in ("baseline", *(f"KL weight {w}" for w in ("10", "1", "0.1", "0.001")))
}

# diffusion of 64 x 64 pixels, in about the minutes in which ldm-faces64 and its VAE were trained together
PIXELS = RECIPES["faces64"].changed(steps=7000, decay=True)


class Tools(NamedTuple):
    """What the jobs on one set share: a network that judges, both parts of the set, features of the test part."""

    network: metrics.features.Network
    train: ImageSet
    test: ImageSet
    reference: Tensor


def jobs(device: str = "cpu") -> dict[str, store.Job]:
    """Return everything that there is to compute, on `device`: every variant, the floors, and diffusion of pixels.

    "faces, principal components" has as a fact the mean half squared error of test pictures with so many of them.
    """

    @cache
    def tools(data: str, size: int) -> Tools:
        network = metrics.features.network(device=device)
        train, test = (BASE.changed(data=data, size=size).images(split) for split in ("train", "test"))
        return Tools(network, train, test, metrics.features.extract(test, network))

    def floor(data: str) -> store.Found:
        network, train, _, reference = tools(data, BASE.size)
        return {}, {"scores": metrics.real_floor(train, reference, N, network)}

    def components(data: str, numbers: list[int]) -> store.Found:
        parts = (BASE.changed(data=data).images(split).images for split in ("train", "test"))
        return {}, {"errors": linear(*parts, numbers)}

    made = {name: store.Job({"recipe": recipe}, partial(measure, recipe, tools)) for name, recipe in VARIANTS.items()}
    sets = ("faces", "drawn:cat")
    floors = {f"{data}, floor": store.Job({"data": data, "n": N}, partial(floor, data)) for data in sets}
    spec = {"data": "faces", "numbers": [1, 4, 16, 64, 256]}
    return (
        made
        | floors
        | {"faces, principal components": store.Job(spec, partial(components, **spec))}
        | {"pixels": store.Job({"recipe": PIXELS}, partial(diffuse, PIXELS, tools))}
    )


def load(path: Path | None = None) -> dict[str, store.Found]:
    """Return tensors and facts of every job, by name; raises as `store.load`."""
    return store.load(path or FILE, {name: job.spec for name, job in jobs().items()}, REDO)


def linear(train: Tensor, test: Tensor, numbers: list[int]) -> dict[int, float]:
    """Return the mean half squared error of `test` pictures, projected on so many principal components of `train`.

    train: (N, C, S, S), whose mirror images are added; 0 components leave the mean picture.
    """
    both = torch.cat([train, train.flip(-1)]).flatten(1)
    fitted = PCA(max(numbers), svd_solver="randomized", random_state=0).fit(both.numpy())
    centred = test.flatten(1).double() - torch.from_numpy(fitted.mean_).double()
    codes = centred @ torch.from_numpy(fitted.components_).double().T
    # what an orthonormal projection leaves out, by Pythagoras
    left = {n: (centred.square().sum(1) - codes[:, :n].square().sum(1)).mean() / 2 for n in (0, *numbers)}
    return {n: round(float(error), 2) for n, error in left.items()}


def measure(recipe: VAERecipe, tools: Callable[[str, int], Tools]) -> store.Found:
    """Train one variant and return what is stored of it.

    Tensors: curve (POINTS, 5): step, then negative log-likelihood (Gaussian, scale 1, without its constant) and KL in
    nats per image on training and on test pictures, the latter after each of POINTS parts of the run; used (latent,):
    mean KL of each latent number on test pictures; samples and, for drawn pictures, reconstructed (SHOWN, 3, S, S).
    Facts: scores of samples and of reconstructions against test pictures; mean psnr and ssim of test pictures and their
    reconstructions, and mean ssim of test pictures with each other and with samples.
    """
    network, _, test, reference = tools(recipe.data, recipe.size)
    model, ema, _ = recipe.build(network.device)
    stops = {max(1, round(recipe.steps * k / POINTS)) for k in range(1, POINTS + 1)}
    own = recipe.images()
    looked = [part[:N][0] for part in (own, test)]
    records, curve = recipe.fit(model, ema, own), []
    for record in training.progress(records, recipe.steps):
        if record.step in stops:
            curve.append([record.step, *(number for x in looked for number in errors(ema.model, x))])
    out = encoded(ema.model, looked[1])
    x_hat = out["x_hat"].clamp(-1, 1)
    made = sample.one_step(ema.model, N)
    used = elbo.kl(out["mu"], out["logvar"]).mean(0)
    tensors = {"curve": torch.tensor(curve), "used": used, "samples": to_bytes(made[:SHOWN])}
    if not test.real:  # of photographs not even a soft copy goes into the repository
        tensors["reconstructed"] = to_bytes(x_hat[:SHOWN])
    strangers = looked[1].roll(1, 0)
    facts = {
        "scores": metrics.score(made, reference, network),
        "reconstructions": metrics.score(x_hat, reference, network),
        "psnr": float(metrics.psnr(looked[1], x_hat).mean()),
        "ssim": float(metrics.ssim(looked[1], x_hat).mean()),
        "ssim_strangers": float(metrics.ssim(looked[1], strangers).mean()),
        "ssim_samples": float(metrics.ssim(looked[1][: len(made)], made[: len(looked[1])]).mean()),
        "used": int((used > ACTIVE).sum()),
        "minutes": round(record.seconds / 60, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return tensors, facts


def diffuse(recipe: Recipe, tools: Callable[[str, int], Tools]) -> store.Found:
    """Train a diffusion model on pixels and return what is stored of it.

    Tensors: curve (LOOKS, 3): step, mean loss since the look before (over 200 steps at most), and FD of N samples, at
    the end and three times before, each at half the steps; samples (SHOWN, 3, S, S). Facts: scores of the last samples,
    images_seen, and minutes of training without sampling.
    """
    network, _, _, reference = tools(recipe.data, recipe.size)
    model, ema, schedule = recipe.build(network.device)
    stops, losses, curve, looking = [recipe.steps >> k for k in reversed(range(LOOKS))], [], [], 0.0
    for record in training.progress(recipe.fit(model, ema, recipe.images(), schedule), recipe.steps):
        losses = [*losses[-199:], record.loss]
        if record.step in stops:
            minutes, began = (record.seconds - looking) / 60, time.perf_counter()
            made = sample.images(ema.model, schedule, N, **SAMPLING)
            scores = metrics.score(made, reference, network)
            curve.append([record.step, sum(losses) / len(losses), scores["fd"]])
            losses, looking = [], looking + time.perf_counter() - began
    facts = {"scores": scores, "minutes": round(minutes, 2), "images_seen": recipe.steps * recipe.batch_size}
    return {"samples": to_bytes(made[:SHOWN]), "curve": torch.tensor(curve)}, facts


@torch.no_grad()
def encoded(model: VAE, x: Tensor) -> dict[str, Tensor]:
    """Return x_hat, mu and logvar of images x, batch by batch, decoded from z = mu, on the CPU."""
    device = next(model.parameters()).device
    parts = [model(batch.to(device)) for batch in x.split(100)]
    return {name: torch.cat([getattr(part, name).cpu() for part in parts]) for name in ("x_hat", "mu", "logvar")}


@torch.no_grad()
def errors(model: VAE, x: Tensor, seed: int = 0) -> tuple[float, float]:
    """Return half the squared error of an image, decoded from a draw of q(z | x), and its KL, means over x, in nats."""
    generator, device, found = torch.Generator().manual_seed(seed), next(model.parameters()).device, []
    for batch in x.split(100):
        eps = torch.randn(len(batch), *model.config.latent_shape, generator=generator)
        out = model(batch.to(device), eps.to(device))
        error = 0.5 * (batch.to(device) - out.x_hat).square().flatten(1).sum(1)
        found.append(torch.stack([error, elbo.kl(out.mu, out.logvar).flatten(1).sum(1)], 1).cpu())
    return tuple(torch.cat(found).mean(0).tolist())


if __name__ == "__main__":
    store.command(FILE, jobs, "Measure everything behind notebook 05 and replace the stored results.")
