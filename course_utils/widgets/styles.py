"""Explorers of a StyleGAN2: styles of two pictures mixed, the truncation of w, and the w of a given picture."""

import time

import ipywidgets as ui
import torch
from torch import Tensor

from course_utils import sample, styles, viz
from course_utils.checkpoints import Checkpoint
from course_utils.models.layers import check_images
from course_utils.models.stylegan2 import StyleGenerator
from course_utils.widgets.images import INCHES, PREVIEW_S, WIDE, WRAP, Drawer, tiles, told
from course_utils.widgets.picture import WIDTH, Picture
from course_utils.widgets.pixels import Pixels, beside, titled

PSI = (-1.0, 1.5)  # from the opposite picture to further out than training went
SHOWN = 8  # pictures of the truncation explorer
STEPS = 60  # of a projection: a few seconds
STRIP = (-0.5, 0.0, 0.5, 1.0)  # psi of a projected picture
_GAP = 10
_NARROW = ui.Layout(width="150px")


def _generator(checkpoint: Checkpoint) -> StyleGenerator:
    if not isinstance(checkpoint.model, StyleGenerator):
        kind = type(checkpoint.model).__name__
        raise ValueError(f"{checkpoint.name} is a {kind}, not a StyleGAN2: take a checkpoint that one of them made")
    return checkpoint.model


def _seed(value: int, description: str) -> ui.BoundedIntText:
    return ui.BoundedIntText(value, min=0, max=2**31, description=description, style=WIDE, layout=_NARROW)


def _psi(value: float = 1.0) -> ui.FloatSlider:
    how = {"step": 0.05, "description": "truncation ψ", "style": WIDE, "layout": ui.Layout(width="330px")}
    return ui.FloatSlider(value, min=PSI[0], max=PSI[1], **how)


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


@torch.no_grad()
def _drawn(model: StyleGenerator, w: Tensor) -> Tensor:
    return model.synthesise(w.to(model.start.device)).cpu()


@torch.no_grad()
def _w(checkpoint: Checkpoint, n: int, seed: int) -> Tensor:
    """Return w (n, w_dim) of the z of seed, on the CPU."""
    model = checkpoint.model
    return model.to_w(sample.noise(checkpoint, n, seed).to(model.start.device)).cpu()


class MixingExplorer(ui.VBox):
    """See `mixing_explorer`; attributes: a, b, psi, slider, numbers, w (styles, w_dim), drawn (3, S, S)."""

    def __init__(self, checkpoint: Checkpoint):
        self._checkpoint, self._model = checkpoint, _generator(checkpoint)
        config = self._model.config
        self.a, self.b, self.psi = _seed(1, "seed of A"), _seed(2, "seed of B"), _psi(0.8)
        options = [(f"{k}: {side} × {side}", k) for k, side in enumerate(config.conv_sides)]
        options.append(("never", config.styles))
        half = options[config.styles // 2][1]
        self.slider = ui.SelectionSlider(
            options=options, value=half, description="B from convolution", style=WIDE, layout=ui.Layout(width="100%")
        )
        self.numbers = ui.HTML().add_class("dtc-numbers")
        third = (WIDTH - 2 * _GAP) // 3
        self.ends, self.picture, self.strip = (Pixels(third), Pixels(third)), Pixels(third), Pixels()
        first = ui.HBox([self.a, self.b, self.psi], layout=WRAP)
        large = beside(
            titled("A, the coarse styles", self.ends[0]),
            titled("mixed", self.picture),
            titled("B, the fine styles", self.ends[1]),
            gap=_GAP,
        )
        below = titled(f"B from convolution 0, 1, ..., {config.styles} (never)", self.strip)
        super().__init__([first, self.slider, large, self.numbers, below])
        self.add_class("dtc-explorer")
        for control in (self.a, self.b, self.psi):
            control.observe(self._change_ends, "value")
        self.slider.observe(self._change, "value")
        self._change_ends()

    @told
    def _change_ends(self, _=None) -> None:
        model = self._model
        a, b = (_w(self._checkpoint, 1, seed.value).to(model.start.device) for seed in (self.a, self.b))
        self._w = [styles.each(model, model.truncated(w, self.psi.value)) for w in (a, b)]
        self._mixed = torch.cat([styles.mix(*self._w, at) for at in range(model.config.styles + 1)])
        self._all = _drawn(model, self._mixed)
        for end, image, name, seed in zip(self.ends, self._all[[-1, 0]], "AB", (self.a, self.b), strict=True):
            end.show(image, f"{name}, drawn from the z of seed {seed.value}.")
        self.strip.show(tiles(self._all, len(self._all)), f"All {len(self._all)} mixtures of A and B, from B to A.")
        self._change()

    @told
    def _change(self, _=None) -> None:
        at, n = self.slider.value, self._model.config.styles
        self.w, self.drawn = self._mixed[at], self._all[at]
        self.picture.show(self.drawn, f"A's styles in the first {at} convolutions, B's in the other {n - at}.")
        a, b = (float((self.drawn - self._all[end]).square().mean().sqrt()) for end in (-1, 0))
        self.numbers.value = (
            f"<span><b>{at} convolutions with the style of A, {n - at} with that of B</b></span>"
            f"<span>pixels differ from A by {a:.2f}, from B by {b:.2f} (rms)</span>"
        )


def mixing_explorer(checkpoint: Checkpoint) -> MixingExplorer:
    """Give the first convolutions the style of picture A and the others that of B, and choose where to change over.

    Below stand all mixtures. Both w are truncated by psi. Raises ValueError for a checkpoint that is no StyleGAN2.
    """
    return MixingExplorer(checkpoint)


class TruncationExplorer(ui.VBox):
    """See `truncation_explorer`; attributes: seed, psi, numbers, drawn (SHOWN, 3, S, S), spread."""

    def __init__(self, checkpoint: Checkpoint):
        self._checkpoint, self._model = checkpoint, _generator(checkpoint)
        self.seed, self.psi = _seed(0, "seed"), _psi()
        self.numbers = ui.HTML().add_class("dtc-numbers")
        quarter = (WIDTH - _GAP) // 4
        self.mean, self.pictures = Pixels(quarter), Pixels(WIDTH - _GAP - quarter)
        first = ui.HBox([self.seed, self.psi], layout=WRAP)
        self.mean.show(_drawn(self._model, self._model.w_mean[None])[0], "The picture of the mean of all w.")
        large = beside(
            titled("the mean of w", self.mean), titled(f"{SHOWN} pictures, truncated", self.pictures), gap=_GAP
        )
        super().__init__([first, large, self.numbers])
        self.add_class("dtc-explorer")
        self.seed.observe(self._change_seed, "value")
        self.psi.observe(self._change, "value")
        self._change_seed()

    @told
    def _change_seed(self, _=None) -> None:
        self._w = _w(self._checkpoint, SHOWN, self.seed.value).to(self._model.start.device)
        self._change()

    @told
    def _change(self, _=None) -> None:
        psi = self.psi.value
        self.drawn = _drawn(self._model, self._model.truncated(self._w, psi))
        self.spread = float(self.drawn.var(0).mean().sqrt())
        said = _number(psi)
        self.pictures.show(tiles(self.drawn, SHOWN // 2), f"{SHOWN} pictures of random z, at truncation {said}.")
        self.numbers.value = (
            f"<span><b>ψ = {said}</b></span><span>a pixel's standard deviation over these: {self.spread:.2f}</span>"
        )


def truncation_explorer(checkpoint: Checkpoint) -> TruncationExplorer:
    """Move the w of eight pictures towards the mean of all w, at psi = 0, or through it to their opposites.

    Raises ValueError for a checkpoint that is no StyleGAN2.
    """
    return TruncationExplorer(checkpoint)


class ProjectionExplorer(Drawer):
    """See `projection_explorer`; attributes: which, space, button, slider, picture, numbers, found (of Projected)."""

    def __init__(self, checkpoint: Checkpoint, pictures: Tensor, names: list[str] | None = None):
        self._model = _generator(checkpoint)
        pictures = torch.as_tensor(pictures, dtype=torch.float32).cpu()
        check_images(pictures, self._model.config.channels, self._model.config.size)
        names = [f"picture {k + 1}" for k in range(len(pictures))] if names is None else list(names)
        if not len(pictures) or len(names) != len(pictures):
            raise ValueError(f"takes a name for each picture, 1 at least: got {len(names)} for {len(pictures)}")
        self._pictures = pictures
        options = [(name, k) for k, name in enumerate(names)]
        self.which = ui.Dropdown(options=options, description="picture", style=WIDE, layout=ui.Layout(width="300px"))
        self.space = ui.ToggleButtons(
            options=[("one w", False), ("a w per convolution", True)], style={"button_width": "190px"}
        )
        self.button = ui.Button(description="Project", tooltip="Look for its w", icon="search", button_style="primary")
        self.slider = ui.IntSlider(
            0, min=0, max=STEPS, description="step", style=WIDE, layout=ui.Layout(width="100%"), disabled=True
        )
        self.numbers = ui.HTML().add_class("dtc-numbers")
        third = (WIDTH - 2 * _GAP) // 3
        self.target, self.picture, self.strip = Pixels(third), Pixels(third), Pixels()
        self.curve = self._figure(third)
        first = ui.HBox([self.which, self.space, self.button], layout=WRAP)
        large = beside(titled("to be found", self.target), titled("found", self.picture), self.curve, gap=_GAP)
        self._below = titled("the found w, truncated: ψ = " + ", ".join(map(_number, STRIP)), self.strip)
        super().__init__([first, self.slider, large, self.numbers, self._below])
        self.add_class("dtc-explorer")
        for control in (self.which, self.space):
            control.observe(self._change_target, "value")
        self.button.on_click(self._draw)
        self.slider.observe(self._change, "value")
        self._change_target()

    def _figure(self, width: int) -> Picture:
        inches = INCHES * width / WIDTH
        figure, axes = viz.axes(1, 1, (inches, inches))
        ax = axes[0, 0]
        ax.set(xlabel="step", ylabel="distance", xlim=(0, STEPS), ylim=(1e-3, 1), yscale="log")
        (self._line,) = ax.plot([], [], color=viz.BLUE)
        self._marker = ax.axvline(0, color=viz.INK, linewidth=2)
        return Picture(figure, [self._line, self._marker], width)

    @told
    def _change_target(self, _=None) -> None:
        k = self.which.value
        self.found: list[styles.Projected] = []
        self.slider.disabled = True
        self.target.show(self._pictures[k], f"The picture to be found: {self.which.label}.")
        self.numbers.value = f"<span>Project: {STEPS} steps, a few seconds.</span>"
        self._change()

    def _run(self) -> None:
        self.found, self.slider.disabled, shown = [], True, 0.0
        for step in styles.project(self._model, self._pictures[self.which.value], STEPS, self.space.value):
            self.found.append(step)
            if time.perf_counter() - shown > PREVIEW_S:
                self._show(step)
                shown = time.perf_counter()
        self.slider.disabled = False
        if self.slider.value == STEPS:
            self._change()
        self.slider.value = STEPS

    @told
    def _change(self, _=None) -> None:
        if not self.found:
            self.picture.show(_drawn(self._model, self._model.w_mean[None])[0], "The mean of all w: the first guess.")
            self.strip.layout.visibility = "hidden"
            self._mark(0)
            return
        self._show(self.found[max(self.slider.value, 1) - 1])

    def _mark(self, step: int) -> None:
        self._line.set_data([one.step for one in self.found], [one.distance for one in self.found])
        self._marker.set_xdata([step, step])
        self.curve.refresh(f"The distance over the steps, and a line at step {step}.")

    def _show(self, found: styles.Projected) -> None:
        model = self._model
        self.picture.show(found.image, f"What was found after {found.step} steps.")
        w = found.w.to(model.start.device)
        images = _drawn(model, torch.stack([model.truncated(w, psi) for psi in STRIP]))
        self.strip.show(tiles(images, len(STRIP)), f"The found w, truncated, at ψ = {', '.join(map(_number, STRIP))}.")
        self.strip.layout.visibility = "visible"
        self._mark(found.step)
        away = float((w - model.w_mean).square().mean().sqrt())
        self.numbers.value = (
            f"<span><b>step {found.step} of {STEPS}</b></span><span>distance {found.distance:.4f}</span>"
            f"<span>{away:.2f} from the mean of w (rms)</span>"
        )


def projection_explorer(checkpoint: Checkpoint, pictures: Tensor, names: list[str] | None = None) -> ProjectionExplorer:
    """Look for the w whose picture is nearest to one of `pictures`, watch it, and truncate what was found.

    See `styles.project`. pictures: (N, 3, S, S) in [-1, 1], with a name each. Raises ValueError for a checkpoint that
    is no StyleGAN2, pictures of another size, none, or another number of names.
    """
    return ProjectionExplorer(checkpoint, pictures, names)
