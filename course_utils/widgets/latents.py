"""Explorers of a VAE's latent space: along its principal directions, and between two pictures."""

import ipywidgets as ui
import torch
from torch import Tensor

from course_utils import latents, sample, viz
from course_utils.checkpoints import Checkpoint
from course_utils.models.layers import check_images
from course_utils.models.vae import VAE
from course_utils.widgets.images import WIDE, WRAP, tiles, told
from course_utils.widgets.picture import WIDTH
from course_utils.widgets.pixels import Pixels, beside, titled

PICTURE, MEAN, RANDOM = "a picture", "the mean", "a random z"
REACH = 3  # standard deviations to either side
STRIP = tuple(range(-REACH, REACH + 1))
STEPS = 40  # of the way from A to B
_GAP, _LINE = 10, 34  # CSS pixels: between images, height of a title
_THIRD = (WIDTH - 2 * _GAP) // 3


def _checked(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    """Return the images as float32; raises ValueError where they are too few or do not fit, or there is no VAE."""
    if not isinstance(checkpoint.model, VAE):
        kind = type(checkpoint.model).__name__
        raise ValueError(f"{checkpoint.name} is a {kind}, not a VAE: take a checkpoint that a VAE recipe made")
    images, config = torch.as_tensor(images, dtype=torch.float32).cpu(), checkpoint.model.config
    check_images(images, config.channels, config.size)
    if len(images) < 2:
        raise ValueError(f"images must hold at least 2 pictures, got {len(images)}")
    return images


def _number(n: int, value: int, description: str, width: int) -> ui.IntSlider:
    """Return a slider over pictures 1 to n."""
    layout = ui.Layout(width=f"{width}px")
    return ui.IntSlider(value, min=1, max=n, description=description, style=WIDE, layout=layout)


def _signed(amount: float) -> str:
    return f"{amount:+.1f}".replace("-", "−") if amount else "0"


def scale(size: int, amount: float) -> str:
    """Return HTML for below a strip of tiles of so many pixels: a mark at an amount, and a label under each tile."""
    pitch, marks = size + 2, [("▲", amount, f"-14px; color: {viz.ORANGE}")]
    marks += [(f"{a:+d}".replace("-", "−") if a else "0", a, "8px") for a in STRIP]
    spans = []
    for text, at, top in marks:
        left = 100 * (2 + pitch * (at + REACH) + size / 2) / (2 + pitch * len(STRIP))  # as `tiles` lays them out
        style = f"position: absolute; transform: translateX(-50%); left: {left:.2f}%; top: {top}"
        spans.append(f'<span style="{style}">{text}</span>')
    return f'<div style="position: relative; height: 38px">{"".join(spans)}</div>'


class LatentExplorer(ui.VBox):
    """See `latent_explorer`; attributes: start, which, seed, sliders, reset, numbers, directions, z, decoded.

    z (*latent_shape), decoded (3, S, S): what `picture` shows. Its other images: unmoved, original, strip.
    """

    def __init__(self, checkpoint: Checkpoint, images: Tensor, directions: int = 6):
        self._checkpoint, self._images = checkpoint, _checked(checkpoint, images)
        if directions < 1:
            raise ValueError(f"directions counts sliders: at least 1, got {directions}")
        self._mu = latents.encode(checkpoint.model, self._images)
        self.directions = latents.components(self._mu)
        variance = self.directions.std.square()
        self._share = (variance / variance.sum().clamp_min(1e-12)).tolist()
        self.start = ui.ToggleButtons(options=[PICTURE, MEAN, RANDOM], style={"button_width": "112px"})
        self.which = _number(len(self._images), 1, "number", 230)
        narrow = ui.Layout(width="120px")
        self.seed = ui.BoundedIntText(0, min=0, max=2**31, description="seed", style=WIDE, layout=narrow)
        self.reset = ui.Button(description="Reset", tooltip="Put all directions back to 0", icon="undo", layout=narrow)
        self.sliders = [self._slider(k + 1) for k in range(min(directions, len(self._share)))]
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture, self.unmoved, self.original = (Pixels(_THIRD) for _ in range(3))
        self.strip, self._scale = Pixels(), ui.HTML(layout=ui.Layout(width="100%", margin="0"))
        self._itself = titled("the picture itself", self.original)
        first = ui.HBox([self.start, self.which, self.seed, self.reset], layout=WRAP)
        second = ui.HBox(self.sliders, layout=ui.Layout(flex_flow="row wrap", grid_gap="0 10px"))
        large = beside(titled("moved", self.picture), titled("where it starts", self.unmoved), self._itself, gap=_GAP)
        super().__init__([first, second, large, self.numbers, self.strip, self._scale])
        self.add_class("dtc-explorer")
        self._touched, self._along, self._resetting = 0, None, False
        for control in (self.start, self.which, self.seed):
            control.observe(self._change_start, "value")
        for slider in self.sliders:
            slider.observe(self._change_direction, "value")
        self.reset.on_click(self._reset)
        self._change_start()

    def _slider(self, number: int) -> ui.FloatSlider:
        text, layout = f"direction {number}", ui.Layout(width="295px")
        how = {"step": 0.1, "readout_format": "+.1f", "description": text, "style": WIDE, "layout": layout}
        return ui.FloatSlider(0, min=-REACH, max=REACH, **how)

    def _from(self) -> tuple[Tensor, str]:
        """Return the latent to start from, and its name."""
        if self.start.value == MEAN:
            return self.directions.mean, f"the mean of {len(self._mu)} pictures"
        if self.start.value == RANDOM:
            z = sample.noise(self._checkpoint, 1, self.seed.value)[0].cpu()
            return z, f"the random z of seed {self.seed.value}"
        return self._mu[self.which.value - 1], f"picture {self.which.value}"

    @told
    def _change_start(self, _=None) -> None:
        self.which.disabled, self.seed.disabled = self.start.value != PICTURE, self.start.value != RANDOM
        self._from_z, self._name = self._from()
        self._from_x = latents.decode(self._checkpoint.model, self._from_z[None])[0]
        self.unmoved.show(self._from_x, f"Decoded without moving: {self._name}.")
        photo = self.start.value == PICTURE  # a mean and a random z are the latents of no picture
        self._itself.layout.visibility = "visible" if photo else "hidden"
        if photo:
            self.original.show(self._images[self.which.value - 1], f"The picture itself: number {self.which.value}.")
        self._update()

    @told
    def _change_direction(self, change) -> None:
        if not self._resetting:
            self._touched = self.sliders.index(change["owner"])
            self._update()

    @told
    def _reset(self, _=None) -> None:
        self._resetting = True
        try:
            for slider in self.sliders:
                slider.value = 0
        finally:
            self._resetting = False
        self._update()

    def _moved(self, amounts: list[float]) -> Tensor:
        n, steps = len(amounts), torch.tensor(amounts)
        return self._from_z + torch.tensordot(self.directions.std[:n] * steps, self.directions.axes[:n], 1)

    def _update(self) -> None:
        k, amounts = self._touched, [slider.value for slider in self.sliders]
        self.z = self._moved(amounts)
        self.decoded = latents.decode(self._checkpoint.model, self.z[None])[0] if any(amounts) else self._from_x
        said = [f"{_signed(a)} along direction {i + 1}" for i, a in enumerate(amounts) if a]
        moved = f"moved by {', '.join(said)} standard deviations" if said else "not moved"
        self.picture.show(self.decoded, f"Decoded: {self._name}, {moved}.")
        self._show_strip(k, amounts)
        self._scale.value = scale(self._images.shape[-1], amounts[k])
        lengths = f"start {self._from_z.norm():.1f}, random ≈ {self.z.numel() ** 0.5:.1f}"
        parts = (f"{100 * self._share[k]:.0f}% of the variance of μ", f"length of z = {self.z.norm():.1f} ({lengths})")
        first = f"<span><b>direction {k + 1} at {_signed(amounts[k])} std</b></span>"
        self.numbers.value = first + "".join(f"<span>{part}</span>" for part in parts)

    def _show_strip(self, k: int, amounts: list[float]) -> None:
        others = (self._name, k, *amounts[:k], *amounts[k + 1 :])
        if others == self._along:  # its own slider moves along the strip, and does not change it
            return
        z = self._moved([*amounts[:k], 0, *amounts[k + 1 :]])
        images = latents.walk(self._checkpoint.model, z, self.directions.std[k] * self.directions.axes[k], STRIP)
        about = f"direction {k + 1} from −{REACH} to {REACH} standard deviations, the others unchanged"
        self.strip.show(tiles(images, len(STRIP)), f"{len(STRIP)} pictures: {about}.")
        self._along = others


def latent_explorer(checkpoint: Checkpoint, images: Tensor, directions: int = 6) -> LatentExplorer:
    """Move a latent along the principal directions of mu over `images`, a slider each, and see it decoded.

    It starts from a picture's mu, from the mean of all, or from a random z: that of picture 0 of `sample.one_step`.
    Below stand 7 pictures along the direction last moved. images: (N, 3, S, S) in [-1, 1], the more, the better the
    directions, of which N pictures have N - 1 at most. Raises ValueError for a checkpoint that is no VAE, images of
    another size, fewer than 2, and directions < 1.
    """
    return LatentExplorer(checkpoint, images, directions)


class InterpolationExplorer(ui.VBox):
    """See `interpolation_explorer`; attributes: a, b, how, pixels, slider, play, numbers, z, decoded.

    z (*latent_shape), decoded (3, S, S): what `picture` shows. Its other images: ends (A and B), mixed.
    """

    def __init__(self, checkpoint: Checkpoint, images: Tensor):
        self._model, self._images = checkpoint.model, _checked(checkpoint, images)
        self._mu = latents.encode(self._model, self._images)
        n = len(self._images)
        self.a, self.b = _number(n, 1, "picture A", 270), _number(n, 2, "picture B", 270)
        self.how = ui.ToggleButtons(options=latents.HOW, style={"button_width": "104px"})
        self.pixels = ui.ToggleButton(
            False, description="pixels", tooltip="Show the cross-fade of pixels, too", layout=ui.Layout(width="104px")
        )
        options = [(f"{k / STEPS:.3f}", k / STEPS) for k in range(STEPS + 1)]
        full = ui.Layout(width="100%")
        self.slider = ui.SelectionSlider(options=options, description="from A to B", layout=full, style=WIDE)
        self.play = ui.Play(min=0, max=STEPS, interval=150, show_repeat=False)
        ui.jslink((self.play, "value"), (self.slider, "index"))
        self.numbers = ui.HTML().add_class("dtc-numbers")
        small = (WIDTH - 2 * _GAP - _LINE) // 5  # two small ones and a title are as high as a large one
        self.ends = (Pixels(small), Pixels(small))
        self.picture, self.mixed = Pixels(2 * small + _LINE), Pixels(2 * small + _LINE)
        self._fade = titled("pixels of A and B, mixed", self.mixed)
        first = ui.HBox([self.a, self.b, self.how, self.pixels], layout=WRAP)
        second = ui.HBox([self.play, self.slider], layout=ui.Layout(grid_gap="0 8px"))
        ends = ui.VBox([titled(name, end) for name, end in zip("AB", self.ends, strict=True)])
        large = beside(ends, titled("decoded from the z between", self.picture), self._fade, gap=_GAP)
        super().__init__([first, second, large, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.a, self.b):
            control.observe(self._change_ends, "value")
        for control in (self.how, self.pixels, self.slider):
            control.observe(self._change, "value")
        self._change_ends()

    @told
    def _change_ends(self, _=None) -> None:
        for name, number, end in zip("AB", (self.a.value, self.b.value), self.ends, strict=True):
            end.show(self._images[number - 1], f"{name}, picture {number}.")
        self._change()

    @told
    def _change(self, _=None) -> None:
        a, b, t = self.a.value - 1, self.b.value - 1, self.slider.value
        self.z = latents.blend(self._mu[a], self._mu[b], [t], self.how.value)[0]
        self.decoded = latents.decode(self._model, self.z[None])[0]
        way = f"from picture {a + 1} to picture {b + 1}"
        self.picture.show(self.decoded, f"Decoded at {t:g} of the {self.how.value} way {way}.")
        self._fade.layout.visibility = "visible" if self.pixels.value else "hidden"
        if self.pixels.value:
            mixed = (1 - t) * self._images[a] + t * self._images[b]
            self.mixed.show(mixed, f"Pixels mixed at {t:g} of the way {way}.")
        ends = f"A {self._mu[a].norm():.1f}, B {self._mu[b].norm():.1f}, random ≈ {self.z.numel() ** 0.5:.1f}"
        self.numbers.value = (
            f"<span><b>{t:g} of the way</b></span><span>{self.how.value}</span>"
            f"<span>length of z = {self.z.norm():.1f} ({ends})</span>"
        )


def interpolation_explorer(checkpoint: Checkpoint, images: Tensor) -> InterpolationExplorer:
    """Slide or play from the mu of picture A to that of picture B, straight or along the arc; see `latents.blend`.

    images: (N, 3, S, S) in [-1, 1] to choose A and B from. "pixels" shows the cross-fade of pixels beside it. Raises
    ValueError for a checkpoint that is no VAE, images of another size, and fewer than 2.
    """
    return InterpolationExplorer(checkpoint, images)
