"""An explorer of the league table: what the shipped models cost and how good they are, with the Pareto front."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as ui

from course_utils.studies.league import KINDS
from course_utils.studies.pareto import pareto_front
from course_utils.widgets.board import COSTS, QUALITIES, Board, cost_text, legend, row_text, score_text
from course_utils.widgets.images import WIDE, WRAP, told

NEEDED = ("checkpoint", "part", "kind", "data", "sampler", "steps", "n", *QUALITIES, "fd_se", "kid_se", "floor", *COSTS)
LONGER = {"seconds": " a picture", "evaluations": " × network", "parameters": " parameters", "minutes": " of training"}


def _checked(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = [dict(row) for row in rows]
    if not rows:
        raise ValueError("there is no model to compare: rows is empty")
    for k, row in enumerate(rows):
        if missing := [key for key in NEEDED if key not in row]:
            raise ValueError(f"row {k} lacks {', '.join(missing)}")
        if row["kind"] not in KINDS:
            raise ValueError(f"unknown kind {row['kind']!r} in row {k}: choose one of {', '.join(KINDS)}")
        for key in (*QUALITIES, *COSTS, "fd_se", "kid_se", "floor"):
            value, least = row[key], 0 if key in COSTS else -math.inf
            if value is not None and not (math.isfinite(value) and value > least):
                what = "a number above 0" if key in COSTS else "a finite number"
                raise ValueError(f"{key} of row {k} ({row_text(row)}) must be {what} or None, got {value}")
    return rows


def _choice(options: Sequence, description: str, width: int) -> ui.Dropdown:
    layout = ui.Layout(width=f"{width}px")
    return ui.Dropdown(options=options, description=description, style=WIDE, layout=layout)


class ParetoExplorer(ui.VBox):
    """See `pareto_explorer`; attributes: data, quality, cost, budget, legend, picture, numbers, rows, front, best.

    rows: those on the chosen pictures that have both numbers, the cheapest first; front (len(rows),): which of them are
    on it; best: the one of them that is best within the budget.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]):
        self._all, self._setting = _checked(rows), False
        self.data = _choice(list(dict.fromkeys(row["data"] for row in self._all)), "pictures", 250)
        self.quality = _choice([(about.name, key) for key, about in QUALITIES.items()], "how good", 195)
        self.cost = _choice([(name, key) for key, name in COSTS.items()], "cost", 400)
        wide = ui.Layout(width="100%")
        self.budget = ui.SelectionSlider(options=[("", 1.0)], description="at most", style=WIDE, layout=wide)
        self.legend, self.numbers = (ui.HTML().add_class("dtc-numbers") for _ in range(2))
        self._board = Board()
        self.picture = self._board.picture
        first = ui.HBox([self.data, self.quality, self.cost], layout=WRAP)
        super().__init__([first, self.budget, self.legend, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.data, self.quality, self.cost):
            control.observe(self._change_axes, "value")
        self.budget.observe(self._change_budget, "value")
        self._change_axes()

    @told
    def _change_axes(self, change=None) -> None:
        cost, quality = self.cost.value, self.quality.value
        here = [row for row in self._all if row["data"] == self.data.value]
        known = [row for row in here if row[cost] is not None and row[quality] is not None]
        self.picture.layout.visibility = "visible" if known else "hidden"
        if not known:
            self.rows = []
            raise ValueError(f"none of the rows on {self.data.value} has both {cost} and {quality}")
        self.rows, self._unknown = sorted(known, key=lambda row: row[cost]), len(here) - len(known)
        costs, scores = ([row[key] for row in self.rows] for key in (cost, quality))
        self.front = pareto_front(costs, scores, QUALITIES[quality].higher).tolist()
        options = list({cost_text(cost, value): value for value in costs}.items())  # of equal texts the dearest
        if tuple(options) != self.budget.options:
            self._setting = True
            try:
                self.budget.options, self.budget.index = options, len(options) - 1
            finally:
                self._setting = False
        self.legend.value = legend(self.rows, quality)
        self._board.draw(self.rows, self.front, cost, quality)
        self._mark()

    @told
    def _change_budget(self, _=None) -> None:
        if self.rows and not self._setting:
            self._mark()

    def _mark(self) -> None:
        cost, quality, budget = self.cost.value, self.quality.value, self.budget.value
        sign = -1 if QUALITIES[quality].higher else 1
        within = [k for k, row in enumerate(self.rows) if row[cost] <= budget]
        best = min(within, key=lambda k: (sign * self.rows[k][quality], self.rows[k][cost]))  # the cheapest of equals
        self.best, n = self.rows[best], len(self.rows)
        beaten, most = n - sum(self.front), cost_text(cost, budget)
        on = [
            f"{row_text(row)} ({score_text(row, quality)})" for row, on in zip(self.rows, self.front, strict=True) if on
        ]
        self.numbers.value = self._table(most, len(within), beaten)
        how = "higher" if QUALITIES[quality].higher else "lower"
        self._board.mark(
            budget,
            best,
            f"{n} measured models on {self.data.value}: {QUALITIES[quality].name}, {how} is better, over "
            f"{COSTS[cost]}. On the front, the cheapest first: {'; '.join(on)}. Dominated: {beaten}. Within at most "
            f"{most}: {len(within)}, the others pale; the best of them, ringed, is {row_text(self.best)}.",
        )

    def _table(self, most: str, within: int, beaten: int) -> str:
        row = self.best
        n, sampler = len(self.rows), f", {row['sampler']}" if row["sampler"] else ""
        sampler += f", guidance {row['guidance']:g}" if row.get("guidance") else ""
        floor = "" if row["floor"] is None else f" (floor {row['floor']:.1f})"
        chosen = [
            f"<b>best at {html.escape(most)}: {html.escape(row_text(row))}</b>{html.escape(sampler)}",
            *(score_text(row, key) + floor * (key == "fd") for key in QUALITIES),
            *(f"{cost_text(key, row[key])}{LONGER[key]}" for key in COSTS if row[key] is not None),
            f"{row['n']:,} pictures scored",
        ]
        if row.get("inception_fd") is not None:
            chosen.append(f"FID with Inception {row['inception_fd']:.1f}")
        unknown = f"; {self._unknown} more lack{'s' * (self._unknown == 1)} one of the two numbers" * bool(
            self._unknown
        )
        about = (
            f"{within} of {n} within the budget",
            f"{beaten} dominated (another is no dearer, no worse, and better in one){unknown}",
        )
        return "<br>".join("".join(f"<span>{text}</span>" for text in line) for line in (chosen, about))


def pareto_explorer(rows: Sequence[Mapping[str, Any]]) -> ParetoExplorer:
    """Compare models by what they cost and how good they are: the Pareto front, and the best one within a budget.

    rows: a dictionary for each measured checkpoint, class asked for, sampler and number of steps. checkpoint, part (the
    class, or ""), kind (one of KINDS), data (names the reference pictures: only rows on the same ones are compared) and
    sampler ("" for a model that takes one step) are texts; steps a number or None; n the number of pictures scored. The
    rest are numbers, or None where unknown: the keys of QUALITIES and of COSTS, fd_se and kid_se (standard errors),
    floor (the FD of real pictures), and inception_fd and guidance, which may be missing. More keys do no harm. A row
    without one of the two chosen numbers is left out, and counted. Raises ValueError for no rows, missing keys, an
    unknown kind, numbers that are not finite, and costs of 0 or less.
    """
    return ParetoExplorer(rows)
