"""An explorer of stored results: what networks trained with different values of one number have made."""

import html
import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import ipywidgets as ui
import torch
from torch import Tensor

from course_utils.data.levels import from_bytes
from course_utils.widgets.images import WIDE, tiles, told
from course_utils.widgets.picture import WIDTH
from course_utils.widgets.pixels import Pixels, beside, titled

PANELS = {"samples": "samples", "reconstructed": "reconstructions"}  # part of a result: title
GAP = 10  # CSS pixels between them


def _batch(pictures: Any, what: str) -> Tensor:
    """Return pictures (N, 3, S, S) in [-1, 1], also of those stored as bytes."""
    pictures = torch.as_tensor(pictures)
    if pictures.ndim != 4 or pictures.shape[1] != 3 or len(pictures) == 0:
        raise ValueError(f"{what} must have shape (N, 3, S, S), got {tuple(pictures.shape)}")
    return from_bytes(pictures) if pictures.dtype == torch.uint8 else pictures.float()


def _checked(stored: Mapping[float, Mapping[str, Any]]) -> dict[float, dict[str, Tensor]]:
    """Return the pictures of each number, by part, in the order of the numbers."""
    if not stored:
        raise ValueError("there is no result to show: stored is empty")
    found, shapes = {}, {}
    for number, result in stored.items():
        if not isinstance(number, Real):
            raise ValueError(f"stored maps numbers to results, and {number!r} is no number")
        if missing := {"samples", "reconstructed", "numbers"} - set(result):
            raise ValueError(f"the result at {number:g} lacks {', '.join(sorted(missing))}")
        if result["samples"] is None:
            raise ValueError(f"the result at {number:g} has no samples: only reconstructed may be None")
        parts = {part: _batch(result[part], f"{part} at {number:g}") for part in PANELS if result[part] is not None}
        for part, pictures in parts.items():
            if (first := shapes.setdefault(part, pictures.shape)) != pictures.shape:
                raise ValueError(
                    f"{part} must have one shape in all results, got {tuple(first)} and {tuple(pictures.shape)}"
                )
        found[number] = parts
    return {number: found[number] for number in sorted(found)}


class StoredExplorer(ui.VBox):
    """See `stored_explorer`; attributes: slider, numbers, pictures (an image for each of PANELS that is stored)."""

    def __init__(self, stored: Mapping[float, Mapping[str, Any]], label: str):
        self._found, self._label = _checked(stored), label
        self._texts = {number: str(stored[number]["numbers"]) for number in self._found}
        self.slider = ui.SelectionSlider(
            options=[(f"{number:g}", number) for number in self._found],
            description=label,
            layout=ui.Layout(width="100%"),
            style=WIDE,
        )
        self.numbers = ui.HTML().add_class("dtc-numbers")
        shown = [part for part in PANELS if any(part in parts for parts in self._found.values())]
        self.pictures = {part: Pixels((WIDTH - GAP * (len(shown) - 1)) // len(shown)) for part in shown}
        self._panels = {part: titled(PANELS[part], pixels) for part, pixels in self.pictures.items()}
        super().__init__([self.slider, self.numbers, beside(*self._panels.values(), gap=GAP)])
        self.add_class("dtc-explorer")
        self.slider.observe(self._change, "value")
        self._change()

    @told
    def _change(self, _=None) -> None:
        number = self.slider.value
        chosen, text, what = self._found[number], self._texts[number], f"{self._label} = {number:g}"
        for part, pixels in self.pictures.items():
            self._panels[part].layout.visibility = "visible" if part in chosen else "hidden"
            if part in chosen:
                pictures = chosen[part]
                # a lone panel is twice as wide as high: it must fit on a projector
                columns = math.ceil((len(pictures) * (3 - len(self.pictures))) ** 0.5)
                pixels.show(tiles(pictures, columns), f"{len(pictures)} {PANELS[part]}, {what}. {text}")
        self.numbers.value = f"<span><b>{html.escape(what)}</b></span><span>{html.escape(text)}</span>"


def stored_explorer(stored: Mapping[float, Mapping[str, Any]], label: str) -> StoredExplorer:
    """Slide through stored results: the samples and reconstructions for each value of one number, and a text.

    stored: from that number, such as a KL weight, to a dictionary with samples (N, 3, S, S) in [-1, 1] or as bytes,
    reconstructed (the same, or None) and numbers, a short text. label: names the number. Where no result has
    reconstructions there is no panel for them. Raises ValueError for an empty mapping, a missing part, a key that is no
    number, and pictures of another shape than those of the other results.
    """
    return StoredExplorer(stored, label)
