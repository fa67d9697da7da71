"""An explorer of samplers that take few evaluations: the pictures they generate, and their way on a line."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import ipywidgets as ui
import numpy as np
import torch
from torch import Tensor

from course_utils import sample, samplers, viz
from course_utils.checkpoints import Checkpoint
from course_utils.diffusion import Model, signal_and_noise
from course_utils.ideal import IdealDenoiser
from course_utils.models.few_step import FewStep
from course_utils.schedules import Schedule
from course_utils.widgets.charts import GRID, Chart
from course_utils.widgets.explorers import _broken
from course_utils.widgets.images import WIDE, WRAP, Drawer, tiles, told
from course_utils.widgets.picture import WIDTH
from course_utils.widgets.pixels import Pixels, beside, titled

SAMPLERS = {samplers.TITLES[name]: name for name in ("ddim", "dpm_solver_pp", "heun", "euler_flow")}
MOST, CHURN = 50, 40  # evaluations of the network and S_churn on offer, at most
SHOWN, COLUMNS, STRIP = 8, 4, 8  # pictures, columns of theirs, and guesses on the way
BUMPS, SPREAD, PARTICLES = (-1.0, 1.0), 0.2, 12  # of the data on a line
FINE = 150  # steps of the paths that count as exact
_LEFT, _RIGHT, _GAP, _HALF = 412, WIDTH - 428, 16, 2.3  # CSS pixels; half height of the chart
_TICKS = {80: "80", 4: "4", 2: "2", 1: "1", 0.5: "½", 0.25: "¼", 0: "0"}
_EXACT, _RING = "#b4b4b4", "#808080"


class Move(NamedTuple):
    """One step of a sampler: it stood at x, (B, ...), asked the model at `asked`, and was told x0_hat.

    sigma, sigma_asked: the noise ratios there. Only churn, which adds noise first, asks elsewhere than it stood.
    """

    sigma: float
    x: Tensor
    sigma_asked: float
    asked: Tensor
    x0_hat: Tensor


Run = tuple[list[Move], Tensor, int]


class _Watched:
    """A model that keeps what it is asked: (x_t, noise ratio)."""

    def __init__(self, model: Model, schedule: Schedule):
        self._model, self._schedule, self.predicts = model, schedule, model.predicts
        self.calls: list[tuple[Tensor, float]] = []

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        self.calls.append((x_t, _ratio(t[:1], self._schedule)))
        return self._model(x_t, t, y)


def _ratio(t: Tensor, schedule: Schedule) -> float:
    a, s = signal_and_noise(t, t, schedule)
    return float(s / a)


def moves(
    model: Model, schedule: Schedule, x_T: Tensor, sampler: str, evaluations: int, churn: float = 0.0, **options
) -> Run:
    """Run a sampler with at most so many evaluations; return its moves, x_0 (B, ...) and how many it really took.

    The levels lie even in t for ddim, and in lambda for dpm_solver_pp. churn: S_churn of Karras et al. 2022, Algorithm
    2, for heun alone. Other options and errors as for the samplers, and ValueError for churn with another of them.
    """
    if churn and sampler != "heun":
        raise ValueError(f"{sampler} has no churn: it must be 0, got {churn:g}")
    options |= {"dpm_solver_pp": {"spacing": "lambda"}, "heun": {"churn": churn}}.get(sampler, {})
    watched, made, steps = _Watched(model, schedule), [], samplers.steps_for(sampler, evaluations)
    records = samplers.named(sampler)(watched, schedule, x_T, steps=steps, **options)
    stood, first = next(records), 0
    for record in records:
        asked, sigma_asked = watched.calls[first]  # a step's later evaluation is that of a trial point
        sigma = _ratio(samplers.times(stood.t, x_T[:1]), schedule)
        made.append(Move(sigma, stood.x, sigma_asked, asked, record.x0_hat))
        stood, first = record, len(watched.calls)
    return made, stood.x, first


def _on_a_line(schedule: Schedule) -> tuple[IdealDenoiser, Schedule, Tensor]:
    """Return the exact denoiser of two bumps, its schedule in float64, and x_T (PARTICLES, 1): quantiles of noise."""
    schedule = schedule.to("cpu", torch.float64)
    x_T = torch.special.ndtri((torch.arange(PARTICLES, dtype=torch.float64) + 0.5) / PARTICLES)
    points = torch.tensor(BUMPS, dtype=torch.float64).view(-1, 1)
    return IdealDenoiser(points, schedule, SPREAD), schedule, x_T.view(-1, 1)


def particles(schedule: Schedule, sampler: str, evaluations: int, churn: float = 0.0, seed: int = 0) -> Run:
    """Return `moves` of PARTICLES particles whose data are two bumps on a line; the seed is that of churn."""
    how = {"churn": churn, "generator": torch.Generator().manual_seed(seed)}
    return moves(*_on_a_line(schedule), sampler, evaluations, **how)


def exact(schedule: Schedule, sampler: str) -> np.ndarray:
    """Return the paths of these particles along the ODE from where `sampler` starts, (FINE + 1, PARTICLES, 2)."""
    options = {} if sampler == "heun" else {"sigma_max": float("inf")}  # heun starts below the schedule's noise
    model, schedule, x_T = _on_a_line(schedule)
    records = samplers.heun(model, schedule, x_T, steps=FINE, **options)
    return np.stack([plane(record.x, _ratio(samplers.times(record.t, x_T[:1]), schedule)) for record in records])


def plane(x_t: Tensor, sigma: float) -> np.ndarray:
    """Return places in the chart (N, 2) of x_t (N, 1): t = sigma / (1 + sigma), and x_t as (1 - t) x_0 + t eps.

    These are the coordinates of flow matching. Those of Karras et al. 2022, sigma and x_0 + sigma eps, turn into them
    by a projection, which keeps lines straight: so the steps of all samplers are straight here.
    """
    z = viz.array(x_t)[:, 0] * ((1 + sigma**2) ** 0.5 / (1 + sigma))
    return np.stack([np.full(len(z), sigma / (1 + sigma)), z], 1)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"


def _usable(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    checkpoints = [checkpoints] if isinstance(checkpoints, Checkpoint) else list(checkpoints)
    for checkpoint in checkpoints:
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(f"checkpoints holds a {type(checkpoint).__name__}: take what checkpoints.load returns")
        if checkpoint.schedule is None or isinstance(checkpoint.model, FewStep):
            raise ValueError(f"{checkpoint.name} draws in steps of its own, without a sampler: leave it out")
    if not checkpoints:
        raise ValueError("takes one or more checkpoints, from checkpoints.load: there is none")
    return checkpoints


class FastExplorer(Drawer):
    """See `fast_explorer`; attributes: which, sampler, evaluations, churn, seed, button, numbers, strips and below.

    samples (SHOWN, 3, S, S), ends (PARTICLES,): what `picture` and `chart` show, None where something went wrong.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint]):
        self._checkpoints, self._paths = _usable(checkpoints), {}
        self._controls()
        self._figure()
        self.numbers = ui.HTML(layout=ui.Layout(min_height="64px")).add_class("dtc-numbers")
        self.picture, self.strips = Pixels(_LEFT), (Pixels(_LEFT), Pixels(_LEFT))
        self._scales = tuple(ui.HTML(layout=ui.Layout(margin="0", max_width=f"{_LEFT}px")) for _ in self.strips)
        above = titled("what it expected of the first, at noise ratio σ", self.strips[0])
        rows = [above, self._scales[0], self.strips[1], self._scales[1]]
        left = ui.VBox([titled(f"{SHOWN} pictures", self.picture), *rows])
        marks = [(_RING, "━ ○", "exact"), (viz.BLUE, "━ ●", "the sampler"), (viz.ORANGE, "━", "churn's kicks")]
        legend = "".join(f'<span><b style="color: {colour}">{mark}</b> {text}</span>' for colour, mark, text in marks)
        legend = ui.HTML(legend).add_class("dtc-numbers")
        right = ui.VBox([titled("the same sampler on a line, with the exact denoiser", self.chart), legend])
        first = ui.HBox([self.which, self.sampler] if len(self._checkpoints) > 1 else [self.sampler], layout=WRAP)
        second = ui.HBox([self.evaluations, self.churn, self.seed, self.button], layout=WRAP)
        super().__init__([first, second, self.numbers, beside(left, right, gap=_GAP)])
        self.add_class("dtc-explorer")
        self.sampler.observe(self._change_sampler, "value")
        for control in (self.which, self.evaluations, self.churn, self.seed):
            control.observe(self._draw, "value")
        self.button.on_click(lambda _: setattr(self.seed, "value", self.seed.value + 1))
        self._change_sampler()

    def _controls(self) -> None:
        options = [(checkpoint.name, k) for k, checkpoint in enumerate(self._checkpoints)]
        menu, long, short, narrow = (ui.Layout(width=f"{width}px") for width in (275, 315, 240, 135))
        self.which = ui.Dropdown(options=options, description="checkpoint", style=WIDE, layout=menu)
        self.sampler = ui.ToggleButtons(options=SAMPLERS, style={"button_width": "150px"})
        how = {"continuous_update": False, "style": WIDE}  # draw where the slider is let go
        self.evaluations = ui.IntSlider(10, min=1, max=MOST, description="evaluations", layout=long, **how)
        self.churn = ui.IntSlider(0, max=CHURN, description="churn", layout=short, **how)
        self.seed = ui.BoundedIntText(0, min=0, max=2**31, description="seed", style=WIDE, layout=narrow)
        self.button = ui.Button(description="Next seed", icon="refresh", tooltip="Take the next seed", layout=narrow)

    def _figure(self) -> None:
        figure, axes = viz.axes(1, 1, (_RIGHT / 100, 4.6))
        ax, y = axes[0, 0], np.linspace(-_HALF, _HALF, 300)
        plot = partial(ax.plot, [], [], in_layout=False)
        ax.set(xlim=(1.06, -0.1), ylim=(-_HALF, _HALF), yticks=[-2, -1, 0, 1, 2])
        ax.set_xticks([sigma / (1 + sigma) for sigma in _TICKS], list(_TICKS.values()))
        ax.set_xlabel("noise ratio σ", fontsize=13)
        ax.set_title(r"$x\,/\,(1 + \sigma)$", loc="left", fontsize=13)
        ax.tick_params(labelsize=12)
        ax.grid(axis="x", **GRID)
        for at, width, means, std in ((1, 0.055, [0.0], 1.0), (0, -0.09, BUMPS, SPREAD)):  # noise and data
            bells = np.exp(-((y[:, None] - np.array(means)) ** 2) / (2 * std**2)).sum(1)
            ax.fill_betweenx(y, at, at + width * bells, color=viz.SKY, alpha=0.45, linewidth=0)
        self._curves = plot(color=_EXACT, linewidth=1.4)[0]
        self._kicks = plot(color=viz.ORANGE, linewidth=1.2)[0]
        self._lines = plot(color=viz.BLUE, linewidth=1.3, alpha=0.8)[0]
        self._dots = plot("o", color=viz.BLUE, markersize=3.6, markeredgewidth=0)[0]
        ring = {"markerfacecolor": "white", "markeredgecolor": _RING, "markeredgewidth": 1.6}
        self._goals = plot("o", markersize=9, **ring)[0]
        end = {"color": viz.BLUE, "markersize": 6, "markeredgewidth": 0, "clip_on": False}
        self._tips = [plot(marker, **end)[0] for marker in "v^o"]
        self._moving = [self._curves, self._kicks, self._lines, self._dots, self._goals, *self._tips]
        self.chart = Chart(figure, _RIGHT)
        self.chart.redraw(self._moving)

    @told
    def _change_sampler(self, _=None) -> None:
        self.churn.disabled = self.sampler.value != "heun"
        self.churn.tooltip = "only Heun's method has churn" if self.churn.disabled else None
        self._draw()

    def _run(self) -> None:
        self._checkpoint, evaluations = self._checkpoints[self.which.value], self.evaluations.value
        churn = 0 if self.churn.disabled else self.churn.value
        name = self.sampler.label + (f", churn {churn}" if churn else "")
        self._how = f"{name}, {evaluations} evaluation{'s' * (evaluations > 1)}, seed {self.seed.value}"
        self._asked = self.sampler.value, evaluations, churn
        self._say(f"<b>{self._how}</b>", f"{SHOWN} pictures are being generated.")
        try:
            miss = self._show_particles()
            used, steps, seconds = self._show_pictures()
        except Exception:
            self._blank()  # what stood there belongs to other settings
            raise
        work = f"{used} evaluation{'s' * (used > 1)}</b>" + f" of the {evaluations}" * (used < evaluations)
        away = f"on the line the ends miss by {_short(miss)} on average" + " (churn leads elsewhere)" * bool(churn)
        self._say(f"<b>{name}: {work}, {steps} step{'s' * (steps > 1)}", f"{seconds:.1f} s for {SHOWN} pictures", away)

    def _say(self, *parts: str) -> None:
        self.numbers.value = "".join(f"<span>{part}</span>" for part in parts)

    def _show_pictures(self) -> tuple[int, int, float]:
        """Generate the pictures; return how many evaluations and steps it took, and seconds."""
        model, began = self._checkpoint.model, time.perf_counter()
        generators = samplers.example_generators(self.seed.value, 0, SHOWN)
        x_T, how = sample.noise_from(model, generators), {"generator": generators, "clip": not sample.in_latents(model)}
        made, x, evaluations = moves(model, self._checkpoint.schedule, x_T, *self._asked, **how)
        self.samples = sample.decoded(model, x)
        seconds = time.perf_counter() - began
        alt = f"{SHOWN} pictures generated by {self._checkpoint.name}: {self._how}."
        self.picture.show(tiles(self.samples, COLUMNS), alt)
        picked = [made[k] for k in np.linspace(0, len(made) - 1, min(STRIP, len(made))).round().astype(int)]
        guesses = sample.decoded(model, torch.stack([move.x0_hat[0] for move in picked]))
        self._show_strips(guesses, [f"σ = {_short(move.sigma_asked)}" for move in picked])
        return evaluations, len(made), seconds

    def _show_strips(self, guesses: Tensor, labels: list[str]) -> None:
        for row, (strip, scale) in enumerate(zip(self.strips, self._scales, strict=True)):
            some = slice(row * COLUMNS, (row + 1) * COLUMNS)
            filled = torch.ones(COLUMNS, *guesses.shape[1:])  # white where a short run has no guess
            filled[: len(labels[some])] = guesses[some]
            strip.layout.visibility = "visible" if labels[some] else "hidden"
            strip.show(tiles(filled, COLUMNS), f"Guesses of the first picture at {', '.join(labels[some]) or 'none'}.")
            style = f"width: {100 / COLUMNS}%; text-align: center"
            spans = "".join(f'<span style="{style}">{label}</span>' for label in labels[some])
            scale.value = f'<div style="display: flex; min-height: 30px">{spans}</div>'

    def _show_particles(self) -> float:
        """Draw the chart, and return how far the particles end from the exact ends on average."""
        schedule, (sampler, _, churn) = self._checkpoint.schedule, self._asked
        key = self.which.value, sampler == "heun"
        paths = self._paths[key] = self._paths[key] if key in self._paths else exact(schedule, sampler)
        made, x_0, _ = particles(schedule, *self._asked, self.seed.value)
        stops = np.stack([*(plane(move.x, move.sigma) for move in made), plane(x_0, 0)])
        asked = np.stack([plane(move.asked, move.sigma_asked) for move in made])
        self.ends, goals = stops[-1, :, 1], paths[-1, :, 1]
        self._curves.set_data(*_broken(paths))
        self._lines.set_data(*_broken(np.stack([asked, stops[1:]]).reshape(2, -1, 2)))
        self._kicks.set_data(*_broken(np.stack([stops[:-1], asked]).reshape(2, -1, 2)))  # points, without churn
        self._dots.set_data(*stops[:-1].reshape(-1, 2).T)
        self._goals.set_data(np.zeros(PARTICLES), goals)
        low, high = self.ends < -_HALF, self.ends > _HALF
        for artist, which in zip(self._tips, (low, high, ~(low | high)), strict=True):
            artist.set_data(np.zeros(which.sum()), self.ends[which].clip(-_HALF, _HALF))
        miss, beyond = float(np.abs(self.ends - goals).mean()), (low | high).sum()
        self.chart.refresh(
            f"{PARTICLES} particles on a line, from noise at the left to two bumps at the right: {self._how}. "
            f"Grey: exact paths. Blue: the sampler's {len(made)} straight moves, dots where it stops; its ends are "
            f"{_short(miss)} from the exact ones on average, {beyond} of them beyond the chart."
            f"{' Orange: kicks of churn.' * bool(churn)}"
        )
        return miss

    def _blank(self) -> None:
        self.samples = self.ends = None
        for artist in self._moving:
            artist.set_data([], [])
        self.chart.refresh("An empty chart: something went wrong.")
        grey = torch.full((SHOWN, 3, *[self._checkpoint.model.config.size] * 2), 0.8)
        self.picture.show(tiles(grey, COLUMNS), f"{SHOWN} empty squares: something went wrong.")
        self._show_strips(grey[:0], [])


def fast_explorer(checkpoints: Sequence[Checkpoint]) -> FastExplorer:
    """Generate 8 pictures with any sampler, number of evaluations of the network and churn, and see its way on a line.

    Below the pictures stands what the network expected of the first at up to 8 stops. Beside them the same sampler, its
    stops at the same noise, leads particles to two bumps on a line, where the denoiser and the ODE's paths are exact:
    so its error is that of the steps alone. The seed fixes the noise. checkpoints: several, or one alone. Raises
    ValueError for none, for anything else, and for a network that draws in one step.
    """
    return FastExplorer(checkpoints)
