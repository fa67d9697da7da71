"""Explorers on images: noising them, sampling from a checkpoint, and a recorded sampler run."""

import html
import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps

import ipywidgets as ui
import numpy as np
import torch
from matplotlib.image import AxesImage
from torch import Tensor
from torchvision.utils import make_grid

from course_utils import diffusion, sample, samplers, schedules, viz
from course_utils.checkpoints import Checkpoint
from course_utils.presets import THREADS
from course_utils.samplers import Step
from course_utils.widgets.explorers import CHAINS
from course_utils.widgets.picture import WIDTH, Picture

STEPS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50)  # network evaluations on offer
SAMPLERS = {"DDIM": "ddim", "DPM-Solver++": "dpm_solver_pp"}
PREVIEW_S = 0.4  # seconds between two pictures while a sampler runs
_FULL = ui.Layout(width="100%")
WIDE = {"description_width": "initial"}
WRAP = ui.Layout(flex_flow="row wrap", grid_gap="0 20px")  # controls side by side, as many as fit
INCHES = WIDTH / 100


def tiles(images: Tensor, columns: int | None = None) -> Tensor:
    """Lay images (N, 3, S, S) in [-1, 1] out as one (3, H, W), white between them; columns: None for a square."""
    columns = columns or int(np.ceil(len(images) ** 0.5))
    return make_grid(images.detach().cpu().clamp(-1, 1), nrow=columns, padding=2, pad_value=1.0)


def told(method: Callable) -> Callable:
    """Show what goes wrong in a callback in the widget's line of numbers: a reader sees no traceback of a callback."""

    @wraps(method)
    def call(self, *arguments):
        try:
            return method(self, *arguments)
        except Exception as error:
            text = html.escape(f"{type(error).__name__}: {error}")
            self.numbers.value = f'<span role="alert"><b>That did not work.</b> {text}</span>'

    return call


def set_pixels(artist: AxesImage, image: Tensor) -> None:
    """Put an image (3, H, W) in [-1, 1] into what `viz.image` drew; values outside are clipped."""
    artist.set_data(((viz.array(image).transpose(1, 2, 0) + 1) / 2).clip(0, 1))


def _images(images, what: str) -> Tensor:
    images = torch.as_tensor(images, dtype=torch.float32)
    if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
        raise ValueError(f"{what} must have shape (N, 3, H, W), got {tuple(images.shape)}")
    return images


class ImageScheduleExplorer(ui.VBox):
    """See `image_schedule_explorer`; attributes: schedule, T, t, picture, numbers."""

    def __init__(self, images: Tensor, seed: int = 0):
        self._x_0 = _images(images, "images")
        # one eps for every t and every schedule: moving t changes its amount, not its pattern
        self._eps = torch.randn(self._x_0.shape, generator=torch.Generator().manual_seed(seed))
        names = list(schedules.SCHEDULES)
        self.schedule = ui.ToggleButtons(options=names, value="cosine", style={"button_width": "104px"})
        self.T = ui.SelectionSlider(
            options=CHAINS, value=1000, description="steps T", style=WIDE, layout=ui.Layout(width="280px")
        )
        self.t = ui.FloatSlider(
            0.4, min=0, max=1, step=0.01, description="t / T", readout=False, layout=_FULL, style=WIDE
        )
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture = self._figure()
        row = ui.HBox([self.schedule, self.T], layout=ui.Layout(flex_flow="row wrap", grid_gap="0 20px"))
        super().__init__([row, self.t, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        self.schedule.observe(self._change_curves, "value")
        self.T.observe(self._change_curves, "value")
        self.t.observe(self._change_t, "value")
        self._change_curves()

    def _figure(self) -> Picture:
        figure, axes = viz.axes(1, 2, size=(INCHES / 2, INCHES * 0.4), width_ratios=[1, 1.3])
        kept, shown = axes[0]
        kept.set(xlim=(0, 1), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
        kept.set_title(r"signal kept, $\bar\alpha_t$", fontsize=14)
        kept.set_xlabel("t / T", fontsize=13)
        kept.grid(color="#e8e8e8", linewidth=0.8)
        self._others = [kept.plot([], [], color="#c4c4c4", linewidth=1.5)[0] for _ in schedules.SCHEDULES]
        self._chosen = kept.plot([], [], color=viz.BLUE, linewidth=3)[0]
        self._marker = kept.plot([], [], "o", color=viz.ORANGE, markersize=11, markeredgecolor="white", clip_on=False)
        viz.image(shown, tiles(self._x_0)).set_title(r"the pictures noised to $x_t$", fontsize=14)
        self._noised = shown.images[0]
        return Picture(figure, [*self._others, self._chosen, *self._marker, self._noised])

    @told
    def _change_curves(self, _=None) -> None:
        made = {name: schedules.make(name, self.T.value) for name in schedules.SCHEDULES}
        self._schedule = made[self.schedule.value]
        u = np.linspace(0, 1, self.T.value + 1)
        for line, schedule in zip(self._others, made.values(), strict=True):
            line.set_data(u, schedule.alpha_bar)
        self._chosen.set_data(u, self._schedule.alpha_bar)
        self._change_t()

    @told
    def _change_t(self, _=None) -> None:
        schedule, T = self._schedule, self._schedule.T
        t = round(self.t.value * T)
        x_t = diffusion.q_sample(self._x_0, torch.full((len(self._x_0),), t), self._eps, schedule)
        alpha_bar, sigma = float(schedule.alpha_bar[t]), float(schedule.sigma[t])
        self._marker[0].set_data([t / T], [alpha_bar])
        set_pixels(self._noised, tiles(x_t))
        ratio = f"{alpha_bar / sigma**2:.3g}" if t else "∞"
        self.numbers.value = (
            f"<span><b>t = {t}</b> of {T}</span><span>√ᾱ<sub>t</sub> = {alpha_bar**0.5:.3f}</span>"
            f"<span>σ<sub>t</sub> = {sigma:.3f}</span><span>signal-to-noise = {ratio}</span>"
        )
        self.picture.refresh(
            f"{schedule.name} schedule at t = {t} of {T}: alpha_bar {alpha_bar:.4f}, marked on its curve, the other "
            f"schedules pale. Beside it {len(x_t)} pictures, {100 * sigma**2:.0f}% of their variance noise."
        )


def image_schedule_explorer(images: Tensor, seed: int = 0) -> ImageScheduleExplorer:
    """Show how a variance schedule noises `images`: alpha_bar with a marker at t, and the pictures at t.

    images: (N, 3, H, W) in [-1, 1], a handful. seed: of the one eps that all t and all schedules share.
    Raises ValueError for another shape.
    """
    return ImageScheduleExplorer(images, seed)


def draw(
    checkpoint: Checkpoint, sampler: str, steps: int, eta: float = 0.0, seed: int = 0, n: int = 64
) -> Iterator[Step]:
    """Run a sampler on a checkpoint, yielding its records, for `sample.decoded`: the explorer without its widget.

    The levels are spread evenly in t for ddim, which alone takes eta, and in lambda for dpm_solver_pp, where each does
    better in few steps. Picture i depends on seed and i alone, and is the same as `sample.images` makes it.
    Raises ValueError as the samplers.
    """
    generators = samplers.example_generators(seed, 0, n)
    x_T = sample.noise_from(checkpoint.model, generators)
    options = {"eta": eta} if sampler == "ddim" else {"spacing": "lambda"}
    options |= {"steps": steps, "clip": not sample.in_latents(checkpoint.model), "generator": generators}
    return samplers.SAMPLERS[sampler](checkpoint.model, checkpoint.schedule, x_T, **options)


class Drawer(ui.VBox):
    """What explorers with a button share: it is off while `_run` works, on all cores, and errors are told."""

    @told
    def _draw(self, _=None) -> None:
        self.button.disabled, threads = True, torch.get_num_threads()
        try:
            torch.set_num_threads(max(threads, THREADS))
            self._run()
        finally:
            torch.set_num_threads(threads)
            self.button.disabled = False


class SamplerExplorer(Drawer):
    """See `sampler_explorer`; attributes: sampler, steps, eta, seed, button, picture, numbers, samples."""

    def __init__(self, checkpoint: Checkpoint, n: int = 64):
        self._checkpoint, self._n = checkpoint, n
        self.samples: Tensor | None = None
        self.sampler = ui.ToggleButtons(options=SAMPLERS, style={"button_width": "150px"})
        self.steps = ui.SelectionSlider(
            options=STEPS, value=20, description="steps", style=WIDE, layout=ui.Layout(width="300px")
        )
        self.eta = ui.FloatSlider(
            0, min=0, max=1, step=0.1, description="η (fresh noise)", style=WIDE, layout=ui.Layout(width="340px")
        )
        self.seed = ui.BoundedIntText(
            0, min=0, max=2**31, description="seed", style=WIDE, layout=ui.Layout(width="140px")
        )
        self.button = ui.Button(
            description="Draw", button_style="primary", tooltip="Draw new pictures", icon="paint-brush"
        )
        self.numbers = ui.HTML("<span>Press Draw.</span>").add_class("dtc-numbers")
        self.picture = self._figure()
        wrap = ui.Layout(flex_flow="row wrap", grid_gap="4px 20px")
        rows = [
            ui.HBox([self.sampler, self.steps], layout=wrap),
            ui.HBox([self.eta, self.seed, self.button], layout=wrap),
        ]
        super().__init__([*rows, self.numbers, self.picture])
        self.add_class("dtc-explorer")
        self.sampler.observe(self._change_sampler, "value")
        self.button.on_click(self._draw)

    def _figure(self) -> Picture:
        self._columns = min(self._n, int(np.ceil((2 * self._n) ** 0.5)))  # wider than high: it fits on a projector
        rows, size = -(-self._n // self._columns), self._checkpoint.model.config.size
        figure, axes = viz.axes(1, 1, (INCHES, INCHES * min(0.75, rows / self._columns)))
        viz.image(axes[0, 0], tiles(torch.full((self._n, 3, size, size), 0.8), self._columns))
        self._shown = axes[0, 0].images[0]
        picture = Picture(figure, [self._shown])
        picture.refresh(f"{self._n} empty squares: nothing has been drawn yet.")
        return picture

    @told
    def _change_sampler(self, _=None) -> None:
        self.eta.disabled = self.sampler.value != "ddim"  # DPM-Solver++ is deterministic

    def _run(self) -> None:
        sampler, steps, eta = self.sampler.value, self.steps.value, self.eta.value * (self.sampler.value == "ddim")
        how = f"{self.sampler.label}, {steps} steps" + (f", η = {eta:.1f}" if eta else "") + f", seed {self.seed.value}"
        began = shown = time.perf_counter()
        for k, step in enumerate(draw(self._checkpoint, sampler, steps, eta, self.seed.value, self._n)):
            if k and time.perf_counter() - shown > PREVIEW_S and k < steps:  # what the network expects so far
                self._show(step.x0_hat, f"Half-way, step {k} of {steps}: {self._n} blurred guesses of the pictures.")
                self.numbers.value = f"<span>{how}</span><span>step {k} of {steps}</span>"
                shown = time.perf_counter()
        self.samples = sample.decoded(self._checkpoint.model, step.x)
        seconds = time.perf_counter() - began
        self._show(self.samples, f"{self._n} pictures drawn by {self._checkpoint.name}: {how}.")
        self.numbers.value = (
            f"<span><b>{how}</b></span><span>{steps} evaluations of the network per picture</span>"
            f"<span>{seconds:.1f} s for {self._n}</span>"
        )

    def _show(self, images: Tensor, alt: str) -> None:
        set_pixels(self._shown, tiles(images, self._columns))
        self.picture.refresh(alt)


def sampler_explorer(checkpoint: Checkpoint, n: int = 64) -> SamplerExplorer:
    """Draw n pictures with a checkpoint at the press of a button: sampler, number of steps, eta and seed.

    The seed fixes the starting noise: with another sampler or more steps the same pictures come out, better or worse.
    Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"n counts pictures: at least 1, got {n}")
    return SamplerExplorer(checkpoint, n)


class ImageTrajectoryExplorer(ui.VBox):
    """See `image_trajectory_explorer`; attributes: slider, play, picture, numbers."""

    def __init__(self, t: list[int], x: Tensor, x0_hat: Tensor):
        self._t, self._x = t, x
        # a record holds the prediction that led to it; what the network makes of its x stands in the next one
        self._heading = torch.cat([x0_hat[1:], x[-1:]])
        last = len(t) - 1
        self.slider = ui.SelectionSlider(
            options=[(str(level), k) for k, level in enumerate(t)], index=0, description="t", layout=_FULL, style=WIDE
        )
        self.play = ui.Play(min=0, max=last, step=max(1, last // 60), interval=150, show_repeat=False)
        ui.jslink((self.play, "value"), (self.slider, "index"))
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture = self._figure()
        controls = ui.HBox([self.play, self.slider], layout=ui.Layout(grid_gap="0 8px"))
        super().__init__([controls, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        self.slider.observe(self._change, "index")
        self._change()

    def _figure(self) -> Picture:
        figure, axes = viz.axes(1, 2, size=(INCHES / 2, INCHES * 0.52))
        titles = (r"where the chain stands, $x_t$", r"what the network expects, $\hat x_0$")
        for ax, title in zip(axes[0], titles, strict=True):
            viz.image(ax, tiles(self._x[0])).set_title(title, fontsize=14)
        self._panels = [ax.images[0] for ax in axes[0]]
        return Picture(figure, self._panels)

    @told
    def _change(self, _=None) -> None:
        k, last = self.slider.index, len(self._t) - 1
        for panel, images in zip(self._panels, (self._x[k], self._heading[k]), strict=True):
            set_pixels(panel, tiles(images))
        t, n = self._t[k], self._x.shape[1]
        self.numbers.value = f"<span><b>t = {t}</b></span><span>step {k} of {last}</span><span>{n} pictures</span>"
        self.picture.refresh(
            f"Reverse process at t = {t}, step {k} of {last}. Left: {n} pictures x_t. Right: the clean pictures that "
            "the network expects from them."
        )


def image_trajectory_explorer(trajectory: Iterable[Step]) -> ImageTrajectoryExplorer:
    """Slide or play through a recorded sampler run: the noisy pictures, and the clean ones expected from them.

    trajectory: what a sampler yields, two records or more of images (N, 3, H, W). Raises ValueError for other records.
    """
    steps = list(trajectory)
    if len(steps) < 2 or any(step.x0_hat is None for step in steps[1:]):
        raise ValueError("the trajectory must hold at least two sampler steps with their predictions")
    x = torch.stack([_images(step.x, "the x of every step").cpu() for step in steps])
    x0_hat = torch.stack([step.x0_hat.cpu() for step in (steps[1], *steps[1:])])
    return ImageTrajectoryExplorer([step.t for step in steps], x, x0_hat)
