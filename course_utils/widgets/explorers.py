"""Explorers for the forward process (schedules) and the reverse process (a recorded trajectory)."""

from collections.abc import Iterable

import ipywidgets as ui
import numpy as np
import torch
from torch import Tensor

from course_utils import diffusion, schedules, viz
from course_utils.samplers import Step
from course_utils.widgets.picture import WIDTH, Picture

CHAINS = (5, 10, 20, 50, 100, 200, 500, 1000)  # the values of T on offer
WINDOW = 3.0  # half width of a panel: noise beyond it is rare
TRAILS, ARROWS = 10, 150  # so many points get one
TAIL = 40  # records of a trail: the whole of a short chain, and no tangle in a long one
_FULL = ui.Layout(width="100%")
_INCHES = WIDTH / 100  # a point of text is 1/72 inch: at this width 13 points are 18 CSS pixels


def _panel(ax, title: str):
    viz.window(ax, WINDOW).set_title(title, fontsize=14)


class ScheduleExplorer(ui.VBox):
    """See `schedule_explorer`; its controls and outputs are attributes: schedule, T, rescale, t, picture, numbers."""

    def __init__(self, points: Tensor, seed: int = 0):
        points = torch.as_tensor(points, dtype=torch.float32)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
            raise ValueError(f"points must have shape (N, 2), got {tuple(points.shape)}")
        self._x_0 = points
        # one eps for every t and every schedule: the points then travel along a line instead of jumping about
        self._eps = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
        wide = {"description_width": "initial"}
        self.schedule = ui.ToggleButtons(options=list(schedules.SCHEDULES), style={"button_width": "104px"})
        self.T = ui.SelectionSlider(
            options=CHAINS, value=1000, description="steps T", style=wide, layout=ui.Layout(width="280px")
        )
        self.rescale = ui.Checkbox(True, description="rescale β to T", indent=False, layout=ui.Layout(width="auto"))
        # the place in the chain as a fraction, so that it stays when T changes
        self.t = ui.FloatSlider(
            0.4, min=0, max=1, step=0.01, description="t / T", readout=False, layout=_FULL, style=wide
        )
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture = self._figure()
        row = ui.HBox([self.schedule, self.T, self.rescale], layout=ui.Layout(flex_flow="row wrap", grid_gap="0 20px"))
        super().__init__([row, self.t, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.schedule, self.T, self.rescale):
            control.observe(self._change_curves, "value")
        self.t.observe(self._change_t, "value")
        self._change_curves()

    def _figure(self) -> Picture:
        figure, axes = viz.axes(1, 3, size=(_INCHES / 3, _INCHES * 0.36), width_ratios=[1, 1, 1.15])
        kept, snr, cloud = axes[0]
        kept.set(ylim=(-0.03, 1.03))
        snr.set(yscale="log", ylim=(1e-5, 1e5), yticks=[1e-4, 1e-2, 1, 1e2, 1e4])
        snr.minorticks_off()
        kept.set_title(r"signal kept, $\bar\alpha_t$", fontsize=14)
        snr.set_title(r"signal-to-noise, $\bar\alpha_t\,/\,\sigma_t^2$", fontsize=14)
        for ax in (kept, snr):
            ax.set(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
            ax.set_xlabel("t / T", fontsize=13)
            ax.tick_params(labelsize=12)
            ax.grid(color="#e8e8e8", linewidth=0.8)
        _panel(cloud, r"the data noised to $x_t$")
        pale = {"color": "#c4c4c4", "linewidth": 1.5}
        self._others = [[ax.plot([], [], **pale)[0] for _ in schedules.SCHEDULES] for ax in (kept, snr)]
        self._chosen = [ax.plot([], [], color=viz.BLUE, linewidth=3)[0] for ax in (kept, snr)]
        self._markers = [
            ax.plot([], [], "o", color=viz.ORANGE, markersize=11, markeredgecolor="white", clip_on=False)[0]
            for ax in (kept, snr)
        ]
        self._dots = cloud.plot([], [], "o", color=viz.BLUE, markersize=3.2, markeredgewidth=0, alpha=0.8)[0]
        return Picture(figure, [*self._others[0], *self._others[1], *self._chosen, *self._markers, self._dots])

    def _make(self, name: str) -> schedules.Schedule:
        options = {} if name == "cosine" else {"rescale": self.rescale.value}
        return schedules.make(name, self.T.value, dtype=torch.float64, **options)

    def _change_curves(self, _=None) -> None:
        self.rescale.disabled = self.schedule.value == "cosine"  # its beta follows from alpha_bar: nothing to rescale
        made = {name: self._make(name) for name in schedules.SCHEDULES}
        self._schedule = made[self.schedule.value]
        u = np.linspace(0, 1, self.T.value + 1)
        for k, schedule in enumerate(made.values()):
            for lines, curve in zip(self._others, _curves(schedule), strict=True):
                lines[k].set_data(u, curve)
        for line, curve in zip(self._chosen, _curves(self._schedule), strict=True):
            line.set_data(u, curve)
            line.set_marker("o" if self.T.value <= 20 else "")
        self._change_t()

    def _change_t(self, _=None) -> None:
        schedule, T = self._schedule, self._schedule.T
        t = round(self.t.value * T)
        x_t = diffusion.q_sample(self._x_0, torch.full((len(self._x_0),), t), self._eps, schedule)
        alpha_bar, sigma = float(schedule.alpha_bar[t]), float(schedule.sigma[t])
        ratio = alpha_bar / sigma**2 if t else float("inf")
        for marker, height in zip(self._markers, (alpha_bar, np.clip(ratio, 1e-5, 1e5)), strict=True):
            marker.set_data([t / T], [height])
        self._dots.set_data(*x_t.T.numpy())
        shown = "∞" if t == 0 else f"{ratio:.3g}"
        self.numbers.value = (
            f"<span><b>t = {t}</b> of {T}</span><span>ᾱ<sub>t</sub> = {alpha_bar:.4f}</span>"
            f"<span>σ<sub>t</sub> = {sigma:.4f}</span><span>signal-to-noise = {shown}</span>"
        )
        self.picture.refresh(
            f"{schedule.name} schedule at t = {t} of {T}: alpha_bar {alpha_bar:.4f}, sigma {sigma:.4f}, "
            f"signal-to-noise {shown}. Two curves over t/T, marked at t, the other schedules pale; then the points."
        )


def _curves(schedule: schedules.Schedule) -> tuple[np.ndarray, np.ndarray]:
    """alpha_bar and the signal-to-noise ratio over t = 0..T, shape (T+1,) each; the ratio is infinite at 0, so NaN."""
    alpha_bar, sigma = schedule.alpha_bar.numpy(), schedule.sigma.numpy()
    ratio = np.divide(alpha_bar, sigma**2, out=np.full_like(alpha_bar, np.nan), where=sigma > 0)
    return alpha_bar, ratio


def schedule_explorer(points: Tensor, seed: int = 0) -> ScheduleExplorer:
    """Show how a variance schedule noises `points`: its curves with a marker at t, and the cloud at t.

    points: (N, 2), standardised. seed: of the one eps that all t and all schedules share.
    Raises ValueError when points is not (N, 2).
    """
    return ScheduleExplorer(points, seed)


class TrajectoryExplorer(ui.VBox):
    """See `trajectory_explorer`; attributes: slider, play, arrows, trails, picture, numbers."""

    def __init__(self, t: list[int], x: np.ndarray, x0_hat: np.ndarray):
        self._t, self._x = t, x
        # a record holds the prediction that led to it; where its points are heading stands in the next one
        self._heading = np.concatenate([x0_hat[1:], x[-1:]])
        last = len(t) - 1
        label = {"description_width": "initial"}
        self.slider = ui.SelectionSlider(
            options=[(str(level), k) for k, level in enumerate(t)], index=0, description="t", layout=_FULL, style=label
        )
        self.play = ui.Play(min=0, max=last, step=max(1, last // 60), interval=90, show_repeat=False)
        ui.jslink((self.play, "value"), (self.slider, "index"))
        self.arrows = ui.ToggleButton(True, description="arrows", layout=ui.Layout(flex="0 0 88px"))
        self.trails = ui.ToggleButton(False, description="trails", layout=ui.Layout(flex="0 0 88px"))
        self.numbers = ui.HTML().add_class("dtc-numbers")
        self.picture = self._figure()
        controls = ui.HBox([self.play, self.slider, self.arrows, self.trails], layout=ui.Layout(grid_gap="0 8px"))
        super().__init__([controls, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        self.slider.observe(self._change, "index")
        for toggle in (self.arrows, self.trails):
            toggle.observe(self._change, "value")
        self._change()

    def _figure(self) -> Picture:
        figure, axes = viz.axes(1, 2, size=(_INCHES / 2, _INCHES * 0.43))
        now, heading = axes[0]
        _panel(now, r"where the points are, $x_t$")
        _panel(heading, r"where they are heading, $\hat x_0$")
        self._lines = now.plot([], [], color=viz.ORANGE, linewidth=0.8, alpha=0.7)[0]
        self._heads = now.plot([], [], "o", color=viz.ORANGE, markersize=3.5, markeredgewidth=0)[0]
        self._paths = now.plot([], [], color=viz.INK, linewidth=1.2, alpha=0.7)[0]
        self._dots = now.plot([], [], "o", color=viz.BLUE, markersize=4, markeredgewidth=0, alpha=0.85)[0]
        self._tips = now.plot([], [], "o", color=viz.INK, markersize=7, markeredgecolor="white")[0]
        self._goals = heading.plot([], [], "o", color=viz.ORANGE, markersize=4, markeredgewidth=0, alpha=0.85)[0]
        moving = [self._lines, self._heads, self._paths, self._dots, self._tips, self._goals]
        return Picture(figure, moving)

    def _change(self, _=None) -> None:
        k, n = self.slider.index, self._x.shape[1]
        x, goal = self._x[k], self._heading[k]
        self._dots.set_data(*x.T)
        self._goals.set_data(*goal.T)
        some = np.linspace(0, n - 1, min(n, ARROWS)).astype(int)
        self._lines.set_data(*_broken(np.stack([x[some], goal[some]])))
        self._heads.set_data(*goal[some].T)
        few = np.linspace(0, n - 1, min(n, TRAILS)).astype(int)
        self._paths.set_data(*_broken(self._x[max(0, k - TAIL) : k + 1, few]))
        self._tips.set_data(*x[few].T)
        for toggle, artists in ((self.arrows, (self._lines, self._heads)), (self.trails, (self._paths, self._tips))):
            for artist in artists:
                artist.set_visible(toggle.value)
        t, last = self._t[k], len(self._t) - 1
        self.numbers.value = f"<span><b>t = {t}</b></span><span>step {k} of {last}</span><span>{n} points</span>"
        self.picture.refresh(
            f"Reverse process at t = {t}, step {k} of {last}. Left: {n} points x_t. Right: the clean points that the "
            "model predicts from them, where they are heading."
        )


def _broken(paths: np.ndarray) -> np.ndarray:
    """Join paths (K, n, 2) into one line with gaps, shape (2, n * (K + 1)): a single artist draws fast."""
    gap = np.full((1, *paths.shape[1:]), np.nan)
    return np.concatenate([paths, gap]).transpose(2, 1, 0).reshape(2, -1)


def trajectory_explorer(trajectory: Iterable[Step] | tuple) -> TrajectoryExplorer:
    """Slide or play through a recorded sampler run: where the points are and where they are heading.

    trajectory: what a sampler yields (at least two `Step`s of 2-D points), or arrays (x, x0_hat), (K, n, 2) each, or
    (t, x, x0_hat) with the K levels; as in `Step`, x0_hat[k] is the prediction that led to x[k]; x0_hat[0] is unused.
    Raises ValueError for other shapes.
    """
    if isinstance(trajectory, tuple) and not isinstance(trajectory[0], Step):
        *t, x, x0_hat = trajectory
        x, x0_hat = viz.array(x), viz.array(x0_hat)
        t = [int(level) for level in t[0]] if t else list(range(len(x) - 1, -1, -1))
    else:
        steps = list(trajectory)
        if len(steps) < 2 or any(step.x0_hat is None for step in steps[1:]):
            raise ValueError("the trajectory must hold at least two sampler steps with their predictions")
        t, x = [step.t for step in steps], np.stack([viz.array(step.x) for step in steps])
        x0_hat = np.stack([viz.array(step.x0_hat) for step in (steps[1], *steps[1:])])
    if x.ndim != 3 or x.shape[2] != 2 or x.shape != x0_hat.shape or len(x) != len(t) or len(x) < 2:
        raise ValueError(
            f"x and x0_hat must both have shape (K, n, 2) with K >= 2 levels t, got {x.shape}, {x0_hat.shape} and "
            f"{len(t)} levels"
        )
    return TrajectoryExplorer(t, x, x0_hat)
