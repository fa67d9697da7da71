"""Measure training and sampling at 32 px, beside diffusers' U-Net of about as many weights, and explorers.

Run with `make benchmarks`. What is compared takes turns, so that a machine whose speed wanders treats all alike.
"""

import statistics
import time
from functools import partial

import torch
from diffusers import UNet2DModel
from torch import nn

from course_utils import checkpoints, sample, schedules, training, widgets
from course_utils.data.named import named_set
from course_utils.diffusion import l_simple
from course_utils.models import unet
from course_utils.models.dcgan import DCGANConfig, Discriminator
from course_utils.studies import autoencoders

ROUNDS, STEPS, BATCH = 5, 4, 32


class Peer(nn.Module):
    """diffusers' UNet2DModel, called as our networks are."""

    predicts = "eps"

    def __init__(self):
        super().__init__()
        self.net = UNet2DModel(
            sample_size=32,
            layers_per_block=1,
            block_out_channels=(48, 96, 96),
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=32,
        )

    def forward(self, x_t, t, y=None):
        """Shapes as for `unet.UNet`."""
        return self.net(x_t, t).sample


def training_rates() -> str:
    """Training images per second of each network in bfloat16 autocast, median over rounds that take turns."""
    schedule, images = schedules.cosine(), torch.randn(BATCH, 3, 32, 32).clamp(-1, 1)
    networks = {"diffusers UNet2DModel": Peer()}
    networks |= {f"ours, {name}": unet.UNet(unet.config(name)) for name in ("2xUD-half", "fast", "tiny")}
    loss, runs, rates = partial(l_simple, schedule=schedule), {}, {name: [] for name in networks}
    for name, model in networks.items():
        model = model.to(memory_format=torch.channels_last)
        ema = training.EMA(model)
        runs[name] = training.fit(model, loss, lambda step: images, 10**6, precision="bfloat16", ema=ema)
        next(runs[name])  # the first step sets things up
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(STEPS):
                next(run)
            rates[name].append(STEPS * BATCH / (time.perf_counter() - began))
    how = f"batch {BATCH}, bfloat16, {torch.get_num_threads()} threads"
    lines = [f"training at 32 px, {how}, images/s (median, range):"]
    for name, model in networks.items():
        weights, values = sum(p.numel() for p in model.parameters()), rates[name]
        spread = f"{min(values):.0f} to {max(values):.0f}"
        lines.append(f"  {name:22s} {weights:>10,} weights {statistics.median(values):7.0f}  ({spread})")
    return "\n".join(lines)


def sampling_time() -> str:
    """Seconds for the defaults of notebook 03's sampler explorer, 64 images in 20 steps, best of three."""
    model, schedule = checkpoints.load("cats32-cosine")[1:3]
    spent = []
    for seed in range(3):
        began = time.perf_counter()
        with torch.inference_mode():
            sample.images(model, schedule, 64, sampler="ddim", steps=20, seed=seed)
        spent.append(time.perf_counter() - began)
    return f"sampling: 64 images of 32 px in 20 steps take {min(spent):.1f} s with cats32-cosine"


def explorers() -> str:
    """Milliseconds from a moved slider to the new picture in the explorers of 05, 06 and 10, median and worst of 20."""
    vae, found = checkpoints.load("vae-drawn64"), autoencoders.load()
    pictures = named_set("drawn:face", size=64, split="test", n=40).images
    runs = {
        autoencoders.VARIANTS[name].kl_weight: {**tensors, "numbers": name}
        for name, (tensors, _) in found.items()
        if name.startswith("drawn, KL")
    }
    latent, between = widgets.latent_explorer(vae, pictures), widgets.interpolation_explorer(vae, pictures)
    stored = widgets.stored_explorer(runs, "KL weight")
    cats = named_set("drawn:cat", n=200).images
    walk = widgets.walk_explorer(checkpoints.load("drawn-catfrog32-gan"))
    score = widgets.score_explorer(Discriminator(DCGANConfig(width=32)), cats, cats.flip(-1))
    style = checkpoints.load("stylegan2-drawn64")
    mixing, cut = widgets.mixing_explorer(style), widgets.truncation_explorer(style)
    weights, lines = sorted(runs), ["explorers of notebooks 05, 06 and 10, ms per move (median, worst):"]
    moves = {
        "latent": (latent.sliders[1], [(-1) ** k * (0.1 + 0.1 * k) for k in range(20)]),
        "interpolation": (between.slider, [between.slider.options[k][1] for k in range(1, 21)]),
        "stored": (stored.slider, [weights[(k + 1) % len(weights)] for k in range(20)]),
        "walk": (walk.slider, [walk.slider.options[k][1] for k in range(1, 21)]),
        "score": (score.changes["blur"], [0.1 * k for k in range(1, 21)]),
        "mixing, a new picture": (mixing.a, list(range(2, 22))),
        "mixing, moved": (mixing.slider, [k % 9 for k in range(20)]),
        "truncation": (cut.psi, [0.05 * k for k in range(20)]),
    }
    for name, (slider, values) in moves.items():
        spent = []
        for value in values:
            began = time.perf_counter()
            slider.value = value
            spent.append(1000 * (time.perf_counter() - began))
        lines.append(f"  {name:22s} {statistics.median(spent):7.0f} {max(spent):7.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    for line in (training_rates(), sampling_time(), explorers()):
        print(line, flush=True)
