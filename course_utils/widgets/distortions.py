"""An explorer of what scores notice: pictures spoilt by degrees, and the scores of pictures spoilt like that."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as ui
import numpy as np
import torch
from torch import Tensor

from course_utils import viz
from course_utils.metrics.distortions import DISTORTIONS, distort
from course_utils.widgets.charts import GRID, minus, spread, three
from course_utils.widgets.images import INCHES, WIDE, tiles, told
from course_utils.widgets.picture import WIDTH, Picture
from course_utils.widgets.pixels import Pixels, beside, titled

SHARES = {  # score: colour and line style
    "precision": (viz.BLUE, "-"),
    "recall": (viz.ORANGE, "--"),
    "density": (viz.GREEN, ":"),
    "coverage": (viz.PURPLE, "-."),
}
SCORES = ("fd", "kid", *SHARES)
MOST = 32  # pictures: more take too long to spoil
_GAP = 16


def _measured(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    if not found:
        raise ValueError("there is no distortion to show: found is empty")
    out = {}
    for name, scores in found.items():
        if name not in DISTORTIONS:
            raise ValueError(f"unknown distortion {name!r}: choose from {', '.join(DISTORTIONS)}")
        if missing := [part for part in ("amount", *SCORES) if part not in scores]:
            raise ValueError(f"the scores of {name} lack {', '.join(missing)}")
        curves = out[name] = {part: np.asarray(viz.array(scores[part]), float) for part in ("amount", *SCORES)}
        amount = curves["amount"]
        if amount.ndim != 1 or len(amount) < 2 or amount[0] != 0 or amount[-1] != 1 or (np.diff(amount) <= 0).any():
            raise ValueError(f"the amounts of {name} must ascend from 0 to 1, got {amount.tolist()}")
        for part in SCORES:
            if curves[part].shape != amount.shape or not np.isfinite(curves[part]).all():
                raise ValueError(f"{part} of {name} must be a finite number for each of {len(amount)} amounts")
    return out


class DistortionExplorer(ui.VBox):
    """See `distortion_explorer`; attributes: distortion, amount, plain, spoilt, picture, numbers, changed, scores.

    changed (N, 3, S, S): the pictures as `spoilt` shows them; scores: what each of SCORES is at the chosen amount.
    """

    def __init__(self, pictures: Tensor, found: Mapping[str, Mapping[str, Any]]):
        pictures = torch.as_tensor(pictures, dtype=torch.float32).cpu()
        if pictures.ndim != 4 or pictures.shape[1] != 3 or not 1 <= len(pictures) <= MOST:
            raise ValueError(f"pictures must have shape (N, 3, S, S), N at most {MOST}, got {tuple(pictures.shape)}")
        self._pictures, self._found = pictures, _measured(found)
        for name in self._found:  # the first call imports what is slow to import
            distort(pictures[:1], name, 1.0)
        self.distortion = ui.ToggleButtons(options=list(self._found), style={"button_width": "112px"})
        full = ui.Layout(width="100%")
        self.amount = ui.FloatSlider(0.5, min=0, max=1, step=0.05, description="amount", style=WIDE, layout=full)
        self.numbers = ui.HTML().add_class("dtc-numbers")
        small = round(0.36 * WIDTH)
        self.plain, self.spoilt = Pixels(small), Pixels(WIDTH - _GAP - small)
        self._columns = int(np.ceil((2 * len(pictures)) ** 0.5))  # wider than high: it fits on a projector
        self.plain.show(tiles(pictures, self._columns), f"{len(pictures)} pictures as they are.")
        self.picture = self._figure()
        large = beside(titled("as they are", self.plain), titled("distorted", self.spoilt), gap=_GAP)
        super().__init__([self.distortion, self.amount, large, self.picture, self.numbers])
        self.add_class("dtc-explorer")
        for control in (self.distortion, self.amount):
            control.observe(self._change, "value")
        self._change()

    def _figure(self) -> Picture:
        figure, axes = viz.axes(1, 2, (INCHES / 2, 0.36 * INCHES))
        figure.set_layout_engine(None)
        figure.subplots_adjust(left=0.075, right=0.985, bottom=0.18, top=0.84, wspace=0.4)
        distance, shares = axes[0]
        top = max(curves["fd"].max() for curves in self._found.values())
        most = max(curves[name].max() for curves in self._found.values() for name in SHARES)
        distance.set(ylim=(min(0, *(c["fd"].min() for c in self._found.values())), 1.06 * top or 1))
        shares.set(ylim=(-0.03, max(1.03, 1.06 * most)))
        distance.set_title("FD of each distortion", fontsize=14)
        for ax in (distance, shares):
            ax.set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0", "", "0.5", "", "1"])
            ax.set_xlabel("amount", fontsize=13)
            ax.tick_params(labelsize=12)
            ax.grid(**GRID)
        for curves in self._found.values():
            distance.plot(curves["amount"], curves["fd"], color="#c4c4c4", linewidth=1.8)
        low, high = distance.get_ylim()
        heights = spread([curves["fd"][-1] for curves in self._found.values()], 0.082 * (high - low), high)
        beside_it = {"fontsize": 12, "va": "center", "clip_on": False}
        self._names = {
            name: distance.text(1.03, height, name, **beside_it)
            for name, height in zip(self._found, heights, strict=True)
        }
        self._bold = distance.plot([], [], color=viz.BLUE, linewidth=3.4)[0]
        self._shares = {
            name: shares.plot([], [], line, color=colour, linewidth=3, label=name)[0]
            for name, (colour, line) in SHARES.items()
        }
        how = {"handlelength": 2.2, "handletextpad": 0.4, "labelspacing": 0.2, "borderpad": 0, "fontsize": 12}
        shares.legend(loc="lower center", bbox_to_anchor=(0.5, 1.01), ncols=2, frameon=False, **how)
        self._at = [ax.axvline(0, color=viz.INK, linewidth=1.4, linestyle=":") for ax in (distance, shares)]
        dot = {"markersize": 11, "color": viz.ORANGE, "markeredgecolor": "white", "clip_on": False}
        self._dot = distance.plot([], [], "o", **dot)[0]
        self._dots = {
            name: shares.plot([], [], "o", **dot | {"color": colour})[0] for name, (colour, _) in SHARES.items()
        }
        moving = [*self._at, self._bold, *self._shares.values(), self._dot, *self._dots.values()]
        return Picture(figure, [*moving, *self._names.values()])

    @told
    def _change(self, _=None) -> None:
        name, amount, n = self.distortion.value, self.amount.value, len(self._pictures)
        curves = self._found[name]
        self.scores = {score: float(np.interp(amount, curves["amount"], curves[score])) for score in SCORES}
        fixed = torch.Generator().manual_seed(0)  # moving the amount must not draw other noise
        self.changed = distort(self._pictures, name, amount, fixed)
        what = f"{name}, amount {amount:.2f}"
        self.spoilt.show(tiles(self.changed, self._columns), f"The same {n} pictures, distorted: {what}.")
        for line in self._at:
            line.set_xdata([amount, amount])
        self._bold.set_data(curves["amount"], curves["fd"])
        self._dot.set_data([amount], [self.scores["fd"]])
        for score in SHARES:
            self._shares[score].set_data(curves["amount"], curves[score])
            self._dots[score].set_data([amount], [self.scores[score]])
        for other, text in self._names.items():
            chosen = other == name
            text.set(color=viz.BLUE if chosen else "#6a6a6a", weight="bold" if chosen else "normal")
        start = curves["fd"][0]
        times = f" = {three(self.scores['fd'] / start)} × {start:.1f}, that of amount 0" if start > 0 else ""
        parts = [f"FD {self.scores['fd']:.1f}{times}", minus(f"KID {self.scores['kid']:.4f}")]
        parts += [f"{score} {self.scores[score]:.2f}" for score in SHARES]
        self.numbers.value = f"<span><b>{what}</b></span>" + "".join(f"<span>{part}</span>" for part in parts)
        self.picture.refresh(
            f"Left: FD over the amount of {', '.join(self._found)}; bold: {name}, from {start:.1f} at 0 to "
            f"{curves['fd'][-1]:.1f} at 1. Right: {', '.join(SHARES)} over the amount of {name}. Marked at {what}: "
            f"{', '.join(parts)}."
        )


def distortion_explorer(pictures: Tensor, found: Mapping[str, Mapping[str, Any]]) -> DistortionExplorer:
    """Spoil pictures by degrees and see what the scores of pictures that are spoilt like that make of it.

    pictures (N, 3, S, S) in [-1, 1], a handful. found: from the name of a distortion (one of
    `metrics.distortions.DISTORTIONS`) to the amounts at which it was measured, ascending from 0 to 1, and to the fd,
    kid, precision, recall, density and coverage at each of them; between two of them a straight line is drawn. Raises
    ValueError for pictures of another shape or more than MOST, no or unknown distortions, and scores that lack or that
    are not one finite number for each amount.
    """
    return DistortionExplorer(pictures, found)
