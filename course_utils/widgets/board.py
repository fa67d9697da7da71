"""The figure of the league table: scores over costs with the Pareto front, and what the budget rules out pale."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.text import Text

from course_utils import viz
from course_utils.studies.league import KINDS, asked
from course_utils.widgets.charts import GRID, Chart, minus, place, shades, three
from course_utils.widgets.images import INCHES

MARKS = {"o": "●", "D": "◆", "s": "■", "^": "▲", "v": "▼", "P": "✚"}  # of league.KINDS, as characters


class Quality(NamedTuple):
    """A number that tells how good: its name, the key of its standard error if it has one, and how to write it."""

    name: str
    error: str = ""
    form: str = ".2f"
    higher: bool = False


QUALITIES = {
    "fd": Quality("FD", "fd_se", ".1f"),
    "ratio": Quality("FD / floor"),
    "kid": Quality("KID", "kid_se", ".4f"),
    "precision": Quality("precision", higher=True),
    "recall": Quality("recall", higher=True),
    "density": Quality("density", higher=True),
    "coverage": Quality("coverage", higher=True),
}
COSTS = {
    "seconds": "processor seconds per picture",
    "evaluations": "evaluations of the network per picture",
    "parameters": "parameters, in millions",
    "minutes": "minutes of training",
}
HEIGHT = 0.5  # of the width
RANGE = 10  # the axis of a positive score is logarithmic where its largest value is so many times its least


def cost_text(key: str, value: float) -> str:
    """Write a cost briefly: its name is that of the axis."""
    if key == "seconds":
        return f"{three(1000 * value)} ms" if value < 0.9995 else f"{three(value)} s"
    if key == "parameters":
        return f"{three(value / 1e6)} M"
    return f"{three(value)} min" if key == "minutes" else f"{value:,.0f}"


def steps_text(row: Mapping[str, Any]) -> str:
    """Write the number of steps of a row, empty for a model that takes one."""
    return f"{row['steps']} step{'s' * (row['steps'] != 1)}" if row["steps"] else ""


def row_text(row: Mapping[str, Any]) -> str:
    """Return the short name of a row."""
    return ", ".join(filter(None, (asked(row), steps_text(row))))


def score_text(row: Mapping[str, Any], key: str) -> str:
    """Write a score of a row with two standard errors where they are known, and its name."""
    about, value = QUALITIES[key], row[key]
    if value is None:
        return f"{about.name} unknown"
    error = row[about.error] if about.error else None
    return minus(f"{about.name} {value:{about.form}}") + (f" ± {2 * error:{about.form}}" if error is not None else "")


def legend(rows: Sequence[Mapping[str, Any]], quality: str) -> str:
    """Return HTML that says what the colours, markers and lines mean: as a part of the figure it would be slow."""
    kinds = {row["kind"] for row in rows}
    shown = {kind: KINDS[kind] for kind in KINDS if kind in kinds}
    parts = [f'<b style="color: {colour}">{MARKS[marker]}</b> {kind}' for kind, (colour, marker) in shown.items()]
    parts.append("filled: on the front")
    if quality in ("fd", "ratio"):
        parts.append(f'<b style="color: {viz.GREY}">╌╌</b> floor')
    return "".join(f"<span>{part}</span>" for part in parts)


class Board:
    """The figure: `draw` shows other rows or axes, `mark` moves what depends on the budget alone."""

    def __init__(self):
        figure, axes = viz.axes(1, 1, (INCHES, HEIGHT * INCHES))
        figure.set_layout_engine(None)  # it would draw everything twice
        figure.subplots_adjust(left=0.095, right=0.985, bottom=0.13, top=0.98)
        self._ax, self._drawn = axes[0, 0], []
        self._ax.set_xscale("log")
        self._ax.tick_params(labelsize=12)
        self._ax.grid(**GRID)
        self.picture = Chart(figure)

    def draw(self, rows: Sequence[Mapping[str, Any]], front: Sequence[bool], cost: str, quality: str) -> None:
        for artist in self._drawn:  # clearing the axes would take the ticks too, which are slow to make
            artist.remove()
        ax, about = self._ax, QUALITIES[quality]
        self._xy = np.array([[row[cost], row[quality]] for row in rows], float)
        floors = sorted({round(row["floor"], 1) for row in rows if row["floor"] is not None}) if quality == "fd" else []
        floors = [1.0] if quality == "ratio" else floors
        self._frame(about, floors, 1e-6 if cost == "parameters" else 1)
        ax.set_xlabel(COSTS[cost], fontsize=13)
        ax.set_ylabel(f"{about.name} ({'higher' if about.higher else 'lower'} is better)", fontsize=13)
        self._drawn = [ax.axhline(floor, color=viz.GREY, linestyle="--", linewidth=2, zorder=1) for floor in floors]
        steps = self._steps(front)
        self._drawn += ax.plot(*steps.T, color=viz.INK, linewidth=1.6, zorder=2)
        moving = [*self._points(rows, np.array(front), about), *self._names(rows, front, about, steps)]
        self._beyond = ax.axvspan(1, 1, color="black", alpha=0.05, linewidth=0)
        self._line = ax.axvline(1, color=viz.INK, linewidth=2, linestyle=":")
        ring = {"markersize": 22, "markerfacecolor": "none", "markeredgewidth": 2.4}
        self._ring = ax.plot([], [], "o", markeredgecolor=viz.INK, **ring, clip_on=False)[0]
        moving = [self._beyond, *moving, self._line, self._ring]
        self._drawn += moving
        self.picture.redraw(moving)

    def _frame(self, about: Quality, floors: Sequence[float], unit: float) -> None:
        ax, x, y = self._ax, self._xy[:, 0], np.append(self._xy[:, 1], floors)
        room = (x.max() / x.min()) ** 0.07 if x.max() > x.min() else 2
        ax.set_xlim(x.min() / room, x.max() * room)
        viz.plain_log(ax.xaxis, unit)
        if not about.higher and y.min() > 0 and y.max() > RANGE * y.min():
            ax.set_yscale("log", nonpositive="clip")
            ax.set_ylim(y.min() / 1.5, y.max() * 1.3)
            viz.plain_log(ax.yaxis)
        else:
            ax.set_yscale("linear")
            room = 0.12 * (y.max() - y.min()) or 0.1 * abs(y.max()) or 0.1
            ax.set_ylim(y.min() - room, y.max() + room)

    def _points(self, rows: Sequence[Mapping[str, Any]], front: np.ndarray, about: Quality) -> list[Artist]:
        """Draw the error bars, and the points of each kind."""
        x, y = self._xy.T
        known = [k for k, row in enumerate(rows) if about.error and row[about.error] is not None]
        reach = np.array([2 * rows[k][about.error] for k in known])
        bars = self._ax.vlines(x[known], y[known] - reach, y[known] + reach, linewidth=1.8, zorder=3)
        self._bars = known, shades([KINDS[rows[k]["kind"]][0] for k in known]), bars
        self._kinds = []
        for kind, (colour, marker) in KINDS.items():
            if which := [k for k, row in enumerate(rows) if row["kind"] == kind]:
                dots = self._ax.scatter(x[which], y[which], s=95, marker=marker, linewidths=2, zorder=4)
                self._kinds.append((np.array(which), front[which], shades([colour] * len(which)), dots))
        return [bars, *(dots for *_, dots in self._kinds)]

    def _steps(self, front: Sequence[bool]) -> np.ndarray:
        """The corners of the front, (K, 2): what can be had at a cost is as good as the best row that costs less."""
        on, right = self._xy[np.array(front)], self._ax.get_xlim()[1]
        costs = np.append(on[:, 0], right)
        return np.stack([np.repeat(costs, 2)[1:-1], np.repeat(on[:, 1], 2)], 1)

    def _names(self, rows, front: Sequence[bool], about: Quality, steps: np.ndarray) -> list[Text]:
        """Write the names of the front's rows beside them, as far as they find room."""
        which = [k for k, on in enumerate(front) if on]
        texts, before = [], None
        for k in which:  # points of one model are neighbours on the front: its name stands at the first
            model = asked(rows[k])
            texts.append(steps_text(rows[k]) if model == before and rows[k]["steps"] else row_text(rows[k]))
            before = model
        pixels, renderer = self._ax.transData.transform, self.picture.renderer
        labels = [self._ax.text(0, 0, text, fontsize=11.5, transform=None, zorder=5) for text in texts]
        sizes = [label.get_window_extent(renderer).size for label in labels]
        at, corners = pixels(self._xy), pixels(steps)
        line = [np.linspace(a, b, 1 + int(np.abs(b - a).max() // 10)) for a, b in pairwise(corners)]
        obstacles = [(*point, 10) for point in at] + [(*point, 2) for point in np.concatenate(line)]
        frame = self._ax.get_window_extent(renderer).extents
        places = place(at[which], sizes, obstacles, frame, up=1 if about.higher else -1)
        self._labels = []
        for k, label, corner in zip(which, labels, places, strict=True):
            if corner is None:
                label.remove()
            else:
                label.set_position(corner)
                self._labels.append((k, label))
        return [label for _, label in self._labels]

    def mark(self, budget: float, best: int, alt: str) -> None:
        """Pale what costs more than the budget, ring row number `best`, and show the picture with its alt text."""
        within = self._xy[:, 0] <= budget
        known, colours, bars = self._bars
        bars.set_color(np.where(within[known][:, None], *colours))
        for which, on, colours, dots in self._kinds:
            edges = np.where(within[which][:, None], *colours)
            dots.set(edgecolor=edges, facecolor=np.where(on[:, None], edges, 1.0))
        for k, label in self._labels:
            label.set_color(viz.INK if within[k] else viz.GREY)
        place_of, right = self._ax.transData, self._ax.get_xlim()[1]
        x, y = place_of.transform((budget, self._xy[0, 1]))
        line = place_of.inverted().transform((x + 14, y))[0]
        if not within.all():  # half way to the next point, where that one is near
            line = min(line, math.sqrt(budget * self._xy[~within, 0].min()))
        self._line.set_xdata([line, line])
        self._beyond.set(x=line, width=max(right - line, 0))
        self._ring.set_data(self._xy[[best], 0], self._xy[[best], 1])
        self.picture.refresh(alt)
