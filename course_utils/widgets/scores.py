"""An explorer of a score's bias: how the Fréchet distance depends on the number of pictures."""

import html
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import ipywidgets as ui
import numpy as np
from matplotlib.text import Annotation

from course_utils import viz
from course_utils.metrics.estimates import extrapolated
from course_utils.widgets.charts import GRID, Chart, minus, shades
from course_utils.widgets.images import INCHES, WIDE, WRAP, told

PLAIN, INVERSE = "n", "1 / n"
REACH = 4  # a line is fitted through the sizes from n / REACH to n
PAPER = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5}  # behind a text
MARKERS = (("o", "●"), ("s", "■"), ("^", "▲"), ("D", "◆"), ("v", "▼"))


def fitted(n: Sequence[int], k: int) -> list[int]:
    """Return which sizes a line at size number k goes through: those from n[k] / REACH to n[k], at least two of them.

    n: ascending. Empty for k = 0, which has no other size below it.
    """
    near = next(first for first in range(k + 1) if REACH * n[first] >= n[k])
    return list(range(min(near, k - 1), k + 1)) if k else []


def _curves(curves: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[list[int], np.ndarray]]:
    if not curves:
        raise ValueError("there is no curve to show: curves is empty")
    found = {}
    for title, curve in curves.items():
        if missing := {"n", "fd"} - set(curve):
            raise ValueError(f"curve {title!r} lacks {', '.join(sorted(missing))}")
        n, fd = [int(size) for size in curve["n"]], np.asarray(viz.array(curve["fd"]), float)
        if len(n) < 2 or n[0] < 2 or any(b <= a for a, b in pairwise(n)):
            raise ValueError(f"n of curve {title!r} must be two ascending numbers from 2 on, or more, got {n}")
        if fd.ndim != 2 or len(fd) != len(n) or fd.shape[1] < 1 or not np.isfinite(fd).all():
            raise ValueError(
                f"fd of curve {title!r} must hold finite numbers, shape ({len(n)}, repeats), got shape {fd.shape}"
            )
        found[title] = n, fd
    return found


class BiasExplorer(ui.VBox):
    """See `bias_explorer`; attributes: curve, scale, slider, legend, picture, numbers, fit.

    fit: (intercept, slope) of the line that is shown; None where there is none.
    """

    def __init__(self, curves: Mapping[str, Mapping[str, Any]], dim: int):
        if dim < 1:
            raise ValueError(f"dim counts features: at least 1, got {dim}")
        self._found, self._dim, self._setting = _curves(curves), dim, False
        wide, full = ui.Layout(width="480px"), ui.Layout(width="100%")
        self.curve = ui.Dropdown(options=list(self._found), description="which pictures", style=WIDE, layout=wide)
        options = [(f"over {scale}", scale) for scale in (PLAIN, INVERSE)]
        self.scale = ui.ToggleButtons(options=options, style={"button_width": "104px"})
        self.slider = ui.SelectionSlider(options=[("", 0)], description="n", style=WIDE, layout=full)
        self.legend, self.numbers = (ui.HTML().add_class("dtc-numbers") for _ in range(2))
        figure, axes = viz.axes(1, 1, (INCHES, 0.44 * INCHES))
        figure.set_layout_engine(None)  # it would draw everything twice
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.145, top=0.98)
        self._ax, self._drawn = axes[0, 0], []
        self._ax.set_ylabel("FD", fontsize=13)
        self._ax.tick_params(labelsize=12)
        self._ax.grid(**GRID)
        self.picture = Chart(figure)
        first = ui.HBox([self.curve, self.scale], layout=WRAP)
        super().__init__([first, self.slider, self.legend, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.curve, self.scale):
            control.observe(self._change_axes, "value")
        self.slider.observe(self._change, "value")
        self._change_axes()

    def _x(self, n) -> np.ndarray:
        n = np.asarray(n, float)
        return 1 / n if self.scale.value == INVERSE else n

    @told
    def _change_axes(self, _=None) -> None:
        n, fd = self._found[self.curve.value]
        options = [(f"{size:,}", k) for k, size in enumerate(n)]
        if tuple(options) != self.slider.options:
            before = self._found[self._shown][0][self.slider.value] if self._drawn else n[-1]
            self._setting = True
            try:  # stay as near to the number of pictures as this curve allows
                self.slider.options = options
                self.slider.value = min(range(len(n)), key=lambda k: abs(math.log(n[k] / before)))
            finally:
                self._setting = False
        self._shown, self._mean = self.curve.value, fd.mean(1)
        self._spread = fd.std(1, ddof=1) if fd.shape[1] > 1 else np.zeros(len(n))
        self._fits = {
            k: extrapolated([n[i] for i in use], self._mean[use]) for k in range(len(n)) if (use := fitted(n, k))
        }
        self._draw()
        self._mark()

    def _draw(self) -> None:
        for artist in self._drawn:
            artist.remove()
        ax, inverse, mark = self._ax, self.scale.value == INVERSE, self._dim + 1
        self._frame()
        (border,) = self._x([mark])
        ends = ax.get_xlim()
        self._drawn = [
            ax.axvspan(border, ends[inverse], color="black", alpha=0.05, linewidth=0),
            ax.axvline(border, color=viz.GREY, linewidth=1.6),
            self._border(border, ends),
        ]
        legend = []
        for k, (title, (n, fd)) in enumerate(self._found.items()):
            colour, (marker, sign) = viz.COLOURS[k % len(viz.COLOURS)], MARKERS[k % len(MARKERS)]
            chosen, (full, pale) = title == self._shown, shades([colour], 0.45)
            how = {"color": full[0] if chosen else pale[0], "marker": marker, "zorder": 3 if chosen else 2}
            x, name = self._x(n), html.escape(title)
            if chosen:
                bars = ax.errorbar(x, self._mean, self._spread, linewidth=3.2, markersize=8, capsize=4, **how)
                self._drawn.append(bars)
            else:
                self._drawn += ax.plot(x, fd.mean(1), linewidth=1.8, markersize=5, **how)
            legend.append(f'<span><b style="color: {colour}">{sign}</b> {f"<b>{name}</b>" if chosen else name}</span>')
        self.legend.value = "".join(legend)
        dashes = {"color": viz.INK, "linewidth": 2, "linestyle": "--", "zorder": 4}
        self._line, self._level = (
            ax.plot([], [], **dashes)[0],
            ax.axhline(0, color=viz.INK, linewidth=1.2, linestyle=":"),
        )
        ring = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": viz.INK, "markeredgewidth": 2}
        self._used = ax.plot([], [], "o", **ring, zorder=5)[0]
        dot = {"markersize": 13, "color": viz.ORANGE, "markeredgecolor": "white", "clip_on": False}
        self._dot = ax.plot([], [], "o", **dot, zorder=6)[0]
        self._goal = ax.plot([], [], "*", **dot | {"markersize": 20}, zorder=6)[0]
        self._text = ax.text(
            ends[inverse], 0, "", fontsize=12, ha="right" if inverse else "left", va="bottom", bbox=PAPER
        )
        moving = [self._level, self._line, self._used, self._dot, self._goal, self._text]
        self._drawn += moving
        self.picture.redraw(moving)

    def _border(self, at: float, ends: tuple[float, float]) -> Annotation:
        """Say what the border means: on the side that is meant if there is room, otherwise with an arrow."""
        across = self._ax.transData.transform([(x, 0) for x in (ends[0], at, ends[1])])[:, 0]
        share, inverse = (across[1] - across[0]) / (across[2] - across[0]), self.scale.value == INVERSE
        right, text = share < 0.35 if not inverse else share < 0.65, f"n ≤ {self._dim:,}: singular covariance"
        text = text if right == inverse else f"← {text}" if right else f"{text} →"
        how = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 12, "va": "top"}
        side = "left" if right else "right"
        return self._ax.annotate(text, (at, 0.97), (8 if right else -8, 0), color="#5a5a5a", ha=side, **how)

    def _frame(self) -> None:
        """Set the axes: over n they show everything, over 1 / n what the line is drawn through, and the mark."""
        ax, n, k = self._ax, self._found[self._shown][0], self.slider.value
        sizes = {self._dim + 1, *(size for n, _ in self._found.values() for size in n)}
        most = 1 / min(sizes)
        if self.scale.value == INVERSE:
            most = max(1.3 / (self._dim + 1), 1.12 / n[min(fitted(n, k), default=k)])
        heights = [fit[0] for size, fit in self._fits.items() if size == k or self.scale.value == PLAIN]
        for sizes_of, fd in self._found.values():
            x, y = 1 / np.array(sizes_of[::-1]), (fd.mean(1) + fd.std(1))[::-1]
            heights += [*y[x <= most], np.interp(most, x, y)]
        low, high = min(0, *heights), max(heights)
        ax.set_ylim(low - 0.04 * (high - low) * (low < 0), high + 0.14 * (high - low))
        if self.scale.value == PLAIN:
            ax.set_xscale("log")
            ax.set_xlim(min(sizes) / 1.15, max(sizes) * 1.15)
            viz.plain_log(ax.xaxis)
            ax.set_xlabel("n, pictures on either side", fontsize=13)
            return
        ticks = []
        for size in sorted(sizes - {self._dim + 1}):  # from the right
            if 0.06 * most < 1 / size < 0.97 * most and (not ticks or 1 / ticks[-1] - 1 / size > 0.075 * most):
                ticks.append(size)
        ax.set_xscale("linear")
        ax.set_xlim(-0.02 * most, most)
        ax.set_xticks([0, *(1 / size for size in ticks)], ["0: n = ∞", *(f"1/{size:,}" for size in ticks)])
        ax.set_xlabel("1 / n", fontsize=13)

    @told
    def _change(self, _=None) -> None:
        if not self._setting:
            if self.scale.value == INVERSE:  # the axes follow
                self._draw()
            self._mark()

    def _mark(self) -> None:
        (n, fd), k, ax = self._found[self._shown], self.slider.value, self._ax
        use, self.fit = fitted(n, k), self._fits.get(k)
        size, rank = n[k], min(n[k] - 1, self._dim)
        self._dot.set_data(self._x([size]), [self._mean[k]])
        self._used.set_data(self._x([n[i] for i in use]), self._mean[use])
        for artist in (self._line, self._level, self._goal, self._text):
            artist.set_visible(self.fit is not None)
        value = f"FD {self._mean[k]:.1f}" + (f" ± {self._spread[k]:.1f}" if fd.shape[1] > 1 else "")
        singular = (
            f"rank n − 1 = {rank:,} of {self._dim:,}: singular"
            if size <= self._dim
            else f"rank {rank:,} of {self._dim:,}: full"
        )
        line = "a line takes two numbers of pictures: move on"
        if self.fit:
            intercept, slope = self.fit
            infinite = minus(f"{intercept:.1f}")
            over = np.linspace(0, 1 / n[use[0]], 100)
            if self.scale.value == PLAIN:
                over = 1 / np.geomspace(n[use[0]], ax.get_xlim()[1], 100)
            self._line.set_data(over if self.scale.value == INVERSE else 1 / over, intercept + slope * over)
            self._level.set_ydata([intercept] * 2)
            self._goal.set_data([0] if self.scale.value == INVERSE else [ax.get_xlim()[1]], [intercept])
            self._text.set(y=intercept, text=f" as extrapolated to n = ∞: {infinite} ")
            line = f"FD at n = infinity, as extrapolated: <b>{infinite}</b>, from n = "
            line += " · ".join(f"{n[i]:,}" for i in use)
        self.numbers.value = f"<span><b>n = {size:,}</b>: {value}</span><span>{singular}</span><span>{line}</span>"
        told = line.replace("<b>", "").replace("</b>", "")
        self.picture.refresh(
            f"FD over {self.scale.value} for {len(self._found)} sets of pictures; bold: {self._shown}. At n = {size:,} "
            f"{value}, {singular}. Dashed: the line in 1 / n; {told}. A vertical line at n = {self._dim + 1:,}."
        )


def bias_explorer(curves: Mapping[str, Mapping[str, Any]], dim: int) -> BiasExplorer:
    """Show how the Fréchet distance falls with the number of pictures, and what a line in 1 / n makes of it.

    curves: from a title to {"n": ascending numbers of pictures, "fd": (len(n), repeats)}. dim: number of features; with
    n <= dim pictures their covariance is singular. At each n: mean and standard deviation over the repeats, and the
    least squares line through the means of the sizes from n / 4 to n (see `fitted`, `estimates.extrapolated`). Raises
    ValueError for no curves, a missing part, sizes that do not ascend, another shape, and dim < 1.
    """
    return BiasExplorer(curves, dim)
