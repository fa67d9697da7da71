"""An explorer that fuses two pictures: parents, method, share of B and timestep to choose, and the way there."""

import io
import time
from collections.abc import Iterator, Sequence

import ipywidgets as ui
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from course_utils import fusion, sample, viz
from course_utils.checkpoints import Checkpoint
from course_utils.data.levels import in_range, to_bytes
from course_utils.models.vae import VAE
from course_utils.samplers import Step
from course_utils.widgets.images import WIDE, WRAP, Drawer, tiles, told
from course_utils.widgets.latents import _number
from course_utils.widgets.pixels import Pixels, beside, titled
from course_utils.widgets.styles import _seed

STEPS = 20  # evaluations of the network from T down
LEVELS = 20  # timesteps on offer
FRAMES = 11  # of a film, lambda from 0 to 1
FRAME_MS = 380  # a film is over within five seconds, so that it needs no button to stop it
COLUMNS = 8  # of the strip
_SMALL, _LARGE, _GAP, _TILE = 220, 350, 10, 100  # CSS pixels
_WIDTH = 2 * (_SMALL + _GAP) + _LARGE


def kind(checkpoint: Checkpoint) -> str:
    """Return in words what a checkpoint fuses."""
    if isinstance(checkpoint.model, VAE):
        return "VAE"
    return "latent diffusion" if sample.in_latents(checkpoint.model) else "pixels"


def options(checkpoints: Sequence[Checkpoint]) -> list[tuple[str, tuple[int, str]]]:
    """Return what a menu of methods offers: (label, (number of the checkpoint, method)); kinds name the checkpoints."""
    kinds = [kind(checkpoint) for checkpoint in checkpoints]
    clash = len(set(kinds)) < len(kinds)
    names = [checkpoint.name for checkpoint in checkpoints] if clash else kinds
    return [
        (f"{name}: {fusion.LABELS[method]}", (k, method))
        for k, (name, checkpoint) in enumerate(zip(names, checkpoints, strict=True))
        for method in fusion.methods(checkpoint)
    ]


def barred(image: Tensor, lambda_: float) -> Tensor:
    """Return an image (3, H, W) with a bar below it, orange from the left as far as lambda_, and grey."""
    height, width = image.shape[1:]
    bar = torch.full((3, max(2, height // 24), width), 0.7)
    bar[:, :, : round(lambda_ * width)] = 2 * torch.tensor(to_rgb(viz.ORANGE)).view(3, 1, 1) - 1
    return torch.cat([image.cpu().clamp(-1, 1), bar], 1)


def film(images: Sequence[Tensor]) -> bytes:
    """Return images (3, H, W) in [-1, 1] as an animated PNG that a browser plays once, and then leaves at the last."""
    frames = [Image.fromarray(viz.array(to_bytes(image)).transpose(1, 2, 0)) for image in images]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=1)
    return out.getvalue()


def _checked(images, what: str, shape: tuple[str | int, ...]) -> Tensor:
    """Return images as float32 on the CPU; raises ValueError for another shape, or values outside [-1, 1]."""
    if images is None:
        raise ValueError(f"{what} is not there yet: choose one first")
    images = torch.as_tensor(images, dtype=torch.float32).detach().cpu()
    if images.ndim != len(shape) or images.shape[-3:] != shape[-3:]:
        wanted = f"({', '.join(map(str, shape))})"
        raise ValueError(f"{what} must have shape {wanted}, as the checkpoints do, got {tuple(images.shape)}")
    return in_range(images, what)


def _usable(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    checkpoints = [checkpoints] if isinstance(checkpoints, Checkpoint) else list(checkpoints)
    for checkpoint in checkpoints:
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(f"checkpoints holds a {type(checkpoint).__name__}: take what checkpoints.load returns")
        if not fusion.methods(checkpoint):
            raise ValueError(f"{checkpoint.name} has no method of fusing pictures: leave it out")
    sizes = [(checkpoint.name, checkpoint.model.config.size) for checkpoint in checkpoints]
    if len({size for _, size in sizes}) != 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes) or "there is none"
        raise ValueError(f"takes one or more checkpoints of one picture size, from checkpoints.load: {said}")
    return checkpoints


class FusionExplorer(Drawer):
    """See `fusion_explorer`; attributes: a, b, how, lambda_, t, seed, button, numbers, fused, frames, put.

    fused (3, S, S), frames (FRAMES, 3, S, S) or None: what `picture` shows and plays. Its other images: ends, strip.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], images: Tensor):
        self._checkpoints = _usable(checkpoints)
        self._size = self._checkpoints[0].model.config.size
        self._images = _checked(images, "images", ("N", 3, self._size, self._size))
        if len(self._images) < 2:
            raise ValueError(f"images must hold at least 2 pictures to choose A and B from, got {len(self._images)}")
        self._own: dict[str, Tensor] = {}
        self.fused = self.frames = None
        self._filming = False
        self._controls()
        self.numbers = ui.HTML(layout=ui.Layout(min_height="64px")).add_class("dtc-numbers")
        self.ends, self.picture, self.strip = (Pixels(_SMALL), Pixels(_SMALL)), Pixels(_LARGE), Pixels()
        self._title, self._scale = (ui.HTML(layout=ui.Layout(margin="0")) for _ in range(2))
        columns = [titled(name, end) for name, end in zip("AB", self.ends, strict=True)]
        self._names = [column.children[0] for column in columns]
        left, right = (ui.VBox([*pair]) for pair in zip(columns, (self.a, self.b), strict=True))
        first = ui.HBox([self.how, self.seed, self.button], layout=WRAP)
        second = ui.HBox([self.lambda_, self.t], layout=WRAP)
        large = beside(left, titled("fused, and λ as a bar", self.picture), right, gap=_GAP)
        super().__init__([first, second, large, self.numbers, self._title, self.strip, self._scale])
        self.add_class("dtc-explorer")
        self.how.observe(self._change_how, "value")
        for control in (self.t, self.seed):
            control.observe(self._change, "value")
        self.lambda_.observe(self._draw, "value")
        self.button.on_click(self._play)
        self._show_ends()
        self._change_how()

    def _controls(self) -> None:
        offered = options(self._checkpoints)
        best = next((value for _, value in offered if value[1] == "shared"), offered[0][1])
        long, wide = ui.Layout(width="480px"), ui.Layout(width="385px")
        self.how = ui.Dropdown(options=offered, value=best, description="method", style=WIDE, layout=long)
        how = {"continuous_update": False, "style": WIDE, "layout": wide}  # fuse where the slider is let go
        self.lambda_ = ui.FloatSlider(0.5, min=0, max=1, step=0.05, description="λ, the share of B", **how)
        self.t = ui.IntSlider(1, min=0, max=1, description="timestep t", **how)
        self.seed = _seed(0, "seed")
        self.button = ui.Button(description="Play λ", icon="play", tooltip="Show the way from λ = 0 to λ = 1")
        self.a, self.b = (_number(len(self._images), k, f"picture {'AB'[k - 1]}", _SMALL) for k in (1, 2))
        for parent in (self.a, self.b):
            parent.continuous_update = parent.readout = False  # the number stands above the picture
            parent.observe(self._choose, "value")

    def _parents(self) -> list[Tensor]:
        return [self._own.get(name, self._images[n.value - 1]) for name, n in zip("AB", (self.a, self.b), strict=True)]

    def _fuse(self, lambda_: Tensor) -> Iterator[Step]:
        a, b = (parent.expand(len(lambda_), *parent.shape) for parent in self._parents())
        t = None if self._T is None else self.t.value
        how = {"steps": min(STEPS, self._T or STEPS), "seed": self.seed.value, "same_noise": True}
        return fusion.fuse(self._checkpoint, a, b, self._method, lambda_, t, **how)

    def _fused(self, lambda_: Tensor) -> tuple[list[Step], Tensor, int]:
        """Return the records, the pictures (N, 3, S, S), and how many times the network was evaluated for a picture."""
        model, sizes = self._checkpoint.model, []
        handle = model.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
        try:
            records = list(self._fuse(lambda_))
        finally:
            handle.remove()
        return records, sample.decoded(model, records[-1].x), sum(sizes)

    def _said(self) -> str:
        level = "" if self._T is None else f", t = {self.t.value} of {self._T}"
        names = [f"{name} is {self._named(name)}" for name in "AB"]
        return f"{self.how.label}{level}; {' and '.join(names)}"

    def _named(self, name: str) -> str:
        return "your own picture" if name in self._own else f"picture {(self.a if name == 'A' else self.b).value}"

    def put(self, image: Tensor, which: str) -> None:
        """Make an image (3, S, S) in [-1, 1] parent "A" or "B", until its slider chooses another.

        Raises ValueError for another parent, shape or range.
        """
        if which not in ("A", "B"):
            raise ValueError(f"the parents are 'A' and 'B', got {which!r}")
        self._own[which] = _checked(image, "the picture", (3, self._size, self._size))
        self._show_ends()
        self._change()

    @told
    def _choose(self, change) -> None:
        self._own.pop("A" if change["owner"] is self.a else "B", None)
        self._show_ends()
        self._change()

    @told
    def _change_how(self, _=None) -> None:
        k, self._method = self.how.value
        self._checkpoint = self._checkpoints[k]
        self._T = self._checkpoint.schedule.T if self._method in fusion.LEVEL else None  # None: it takes no timestep
        if self._T is not None and self._T != self.t.max:
            share = self.t.value / self.t.max if self.t.max > 1 else fusion.LEVEL[self._method]
            step = max(1, self._T // LEVELS)
            self.t.unobserve(self._change, "value")
            self.t.min, self.t.max, self.t.step = 1, self._T, step
            self.t.min, self.t.value = step, max(1, round(share * self._T / step)) * step
            self.t.observe(self._change, "value")
        self.t.disabled = self._T is None
        self.seed.disabled = self._T is None or self._method == "inverted"  # neither draws noise
        self._change()

    def _change(self, _=None) -> None:
        self.frames = None
        self._draw()

    def _play(self, _=None) -> None:
        self._filming = True
        self._draw()

    def _show_ends(self) -> None:
        for name, end, title, image in zip("AB", self.ends, self._names, self._parents(), strict=True):
            title.value = f'<div style="text-align: center">{name}: {self._named(name)}</div>'
            end.show(image, f"{name}, {self._named(name)}.")

    def _run(self) -> None:
        if self._filming:
            self._filming = False
            return self._play_film()
        self.fused, lambda_, began = None, self.lambda_.value, time.perf_counter()
        records, pictures, evaluations = self._fused(torch.tensor([lambda_]))
        self.fused, seconds = pictures[0], time.perf_counter() - began
        self.picture.show(barred(self.fused, lambda_), f"Fused at λ = {lambda_:g}: {self._said()}.")
        parts = [f"<b>λ = {lambda_:g}</b>", *self._work(evaluations, seconds)]
        if self._T is None:
            self._show_way()
        else:
            # an inversion climbs first, and its records hold A alone until it turns
            top = max(range(len(records)), key=lambda k: (records[k].t, k))
            alone = records[top - 1].x if top else next(self._fuse(torch.zeros(1))).x
            mix, a = (float(x.norm()) / x.numel() ** 0.5 for x in (records[top].x, alone))
            parts.append(f"length of the noisy mix x<sub>t</sub> = {mix:.2f} √d (A alone: {a:.2f} √d)")
            self._show_chain(records[top:])
        self._say(parts)

    def _say(self, parts: list[str]) -> None:
        self.numbers.value = "".join(f"<span>{part}</span>" for part in parts)

    def _work(self, evaluations: int, seconds: float) -> list[str]:
        if self._T is None:
            return ["no noise, no timestep", f"{seconds:.2f} s"]
        usual = round(fusion.LEVEL[self._method] * self._T)
        level = f"<b>t = {self.t.value}</b> of {self._T}" + (f" (usual: {usual})" if usual != self.t.value else "")
        return [level, f"{evaluations} evaluation{'s' * (evaluations != 1)} of the network", f"{seconds:.2f} s"]

    def _show_chain(self, records: list[Step]) -> None:
        picked = torch.linspace(0, len(records) - 1, min(COLUMNS, len(records))).round().long().tolist()
        # a record holds the prediction that led to it; what the network makes of its x stands in the next one
        heading = [records[k + 1].x0_hat if k + 1 < len(records) else records[k].x for k in picked]
        both = sample.decoded(self._checkpoint.model, torch.cat([*(records[k].x for k in picked), *heading]))
        labels = [f"t = {records[k].t}" for k in picked]
        title = "the noisy mix x<sub>t</sub> on its way, and below it the network's guess of the result"
        said = "Above: the noisy mix x_t. Below: the network's guess of the result."
        self._show_strip(both, labels, title, f"On the way, {', '.join(labels)}. {said} {self._said()}.")

    def _show_way(self) -> int:
        """Show the pictures from A to B, and return how many evaluations of the network that took."""
        evaluations = 0
        if self.frames is None:
            _, self.frames, evaluations = self._fused(torch.linspace(0, 1, FRAMES))
        labels = [f"λ = {k / (FRAMES - 1):g}" for k in range(FRAMES)]
        said = f"{FRAMES} pictures, from λ = 0 to λ = 1. {self._said()}."
        self._show_strip(self.frames, labels, "the way from A to B", said)
        return evaluations

    def _show_strip(self, images: Tensor, labels: list[str], title: str, alt: str) -> None:
        columns = len(labels)
        self.strip.width = min(_WIDTH, _TILE * columns)
        self.strip.show(tiles(images, columns), alt)
        self._title.value = title
        spans = "".join(f'<span style="flex: 1; text-align: center">{label}</span>' for label in labels)
        self._scale.value = f'<div style="display: flex; width: {self.strip.width}px">{spans}</div>'

    def _play_film(self) -> None:
        began = time.perf_counter()
        if self.frames is None:
            self._say([f"{FRAMES} pictures are being computed."])
        evaluations = self._show_way()
        seconds = time.perf_counter() - began
        frames = [barred(image, k / (FRAMES - 1)) for k, image in enumerate(self.frames)]
        still = [] if self.fused is None else [barred(self.fused, self.lambda_.value)]
        self.picture.show(frames[0], "The film begins.")  # the browser plays a film once, and again if it comes anew
        with self.picture.hold_sync():
            self.picture.value = film([*frames, *still])
            self.picture.alt = f"A film of {FRAMES} pictures from λ = 0 to λ = 1: {self._said()}."
        self._say([f"<b>λ from 0 to 1</b> in {FRAMES} pictures", *self._work(evaluations, seconds)])


def fusion_explorer(checkpoints: Sequence[Checkpoint], images: Tensor) -> FusionExplorer:
    """Fuse two of the images by any method of the checkpoints, with lambda, timestep and seed to choose; `fusion.fuse`.

    Below stands the way to the result, eight levels of it, or where a method has no way, the pictures from A to B.
    "Play" fuses at eleven lambda with the noise of the one, and the browser shows them one after the other. `put` makes
    a picture of the reader's a parent. checkpoints: of one picture size S, or one alone. images: (N, 3, S, S) in
    [-1, 1], at least 2. Raises ValueError for others, and for a checkpoint that cannot fuse.
    """
    return FusionExplorer(checkpoints, images)
