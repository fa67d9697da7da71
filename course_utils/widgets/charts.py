"""What explorers with axes share: a picture whose axes change, labels that keep apart, and numbers as texts."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from course_utils.widgets import picture
from course_utils.widgets.picture import WIDTH, Picture

PALE = 0.25  # how much of its colour is left to what is not chosen
WORST = 30  # of a label's place, see `place`: two points covered, or another point nearer than its own
GRID = {"color": "#e8e8e8", "linewidth": 0.8}


class Chart(Picture):
    """A picture whose axes are drawn anew where a control changes more than the artists that move."""

    _css = Path(picture.__file__).with_name("explorers.css").read_text(encoding="utf-8") + (
        "\n.dtc-explorer .widget-dropdown { height: auto; }"
        "\n.dtc-explorer .widget-dropdown > select { font-size: 17px; height: 34px; padding-left: 6px; }\n"
    )

    def __init__(self, figure: Figure, width: int = WIDTH):
        super().__init__(figure, [], width)

    def redraw(self, moving: Sequence[Artist]) -> None:
        """Draw everything but the moving artists; `refresh` then adds them and shows it."""
        self._moving = list(moving)
        for artist in self._moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(self._canvas.figure.bbox)

    @property
    def renderer(self):
        """The renderer, to measure texts with."""
        return self._canvas.get_renderer()


def three(value: float) -> str:
    """Write a number with three figures, or more where it has more before the point."""
    decimals = next((d for d, least in enumerate((99.95, 9.995, 0.9995)) if abs(value) >= least), None)
    return minus(f"{value:.3g}" if decimals is None else f"{value:,.{decimals}f}")


def minus(text: str) -> str:
    """Write the minus sign of a number as such."""
    return text.replace("-", "−")


def spread(heights: Sequence[float], gap: float, top: float = math.inf) -> list[float]:
    """Move heights until they are at least `gap` apart, in their order: places of labels beside the ends of curves.

    They move up, and down again as far as the highest would be above `top`.
    """
    order, moved = np.argsort(heights, kind="stable"), list(map(float, heights))
    last = -math.inf
    for k in order:
        last = moved[k] = max(moved[k], last + gap)
    last = top + gap
    for k in order[::-1]:
        last = moved[k] = min(moved[k], last - gap)
    return moved


def place(
    anchors: Sequence, sizes: Sequence, obstacles: Sequence, frame: Sequence[float], up: int = 1, gap: float = 12
) -> list[tuple[float, float] | None]:
    """Find a place beside each anchor for its label: lower left corners, None where there is none.

    anchors (L, 2), sizes (L, 2) of the labels; obstacles (N, 3): x, y and how bad it is to cover that point; frame:
    left, bottom, right, top, which labels do not leave; up: 1 to try above an anchor on its left first, -1 below it.
    All in pixels. Labels never cover one another.
    """
    anchors, (points, weight) = np.asarray(anchors, float), np.split(np.asarray(obstacles, float), [2], axis=1)
    sides = ((-1, up), (1, up), (1, -up), (1, 0), (-1, -up), (0, up), (0, -up), (-1, 0))
    taken, places = [], []
    for (x, y), (w, h) in zip(anchors, sizes, strict=True):
        best, least = None, WORST
        for rank, (reach, (dx, dy)) in enumerate((reach, side) for reach in (1, 2.7, 4.4) for side in sides):
            aside, above = (gap, gap * reach) if dx and dy else (1.4 * gap * reach, 1.4 * gap * reach)
            left, low = x + dx * aside - w * (1 - dx) / 2, y + dy * above - h * (1 - dy) / 2
            box = (left, low, left + w, low + h)
            if box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]:
                continue
            if any(box[0] < b[2] + 6 and b[0] < box[2] + 6 and box[1] < b[3] and b[1] < box[3] for b in taken):
                continue
            inside = _distance(points, box) < 9
            nearer = (_distance(anchors, box) < 0.95 * _distance(np.array([[x, y]]), box)).any()  # whose name is it?
            spoilt = float(weight[inside].sum()) + 25 * nearer + rank
            if spoilt < least:
                best, least = box, spoilt
        places.append(best and best[:2])
        if best:
            taken.append(best)
    return places


def _distance(points: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Distances (N,) of points (N, 2) from a box: left, bottom, right, top."""
    return np.linalg.norm(np.maximum(np.maximum(box[:2] - points, points - box[2:]), 0), axis=1)


def shades(colours: Sequence[str], left: float = PALE) -> tuple[np.ndarray, np.ndarray]:
    """Return colours as they are and pale, with so much of them left, (N, 3) each."""
    full = np.array([to_rgb(colour) for colour in colours]).reshape(-1, 3)
    return full, 1 - left * (1 - full)
