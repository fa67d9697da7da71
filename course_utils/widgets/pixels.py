"""Small images as widgets: the browser draws their pixels as squares, so that no large picture is made or sent."""

import html
from pathlib import Path

import anywidget
import ipywidgets as ui
import traitlets
from ipywidgets.widgets.trait_types import CByteMemoryView
from torch import Tensor

from course_utils import viz
from course_utils.data.levels import to_bytes
from course_utils.widgets import picture


class Pixels(anywidget.AnyWidget):
    """An <img> of an image, a PNG byte for each of its numbers, shown `width` CSS pixels wide, with alt text.

    Its PNG has a pixel for each of the image's, so there is little to draw and encode; it holds no text: see `titled`.
    """

    _esm = Path(picture.__file__).with_name("picture.js")
    _css = Path(picture.__file__).with_name("explorers.css").read_text(encoding="utf-8") + (
        "\n.dtc-pixels img, img.dtc-pixels { image-rendering: pixelated; }\n"
    )
    value = CByteMemoryView().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int(picture.WIDTH).tag(sync=True)

    def __init__(self, width: int = picture.WIDTH):
        super().__init__(width=width)
        self.add_class("dtc-pixels")

    def show(self, image: Tensor, alt: str) -> None:
        """Send an image (3, H, W) in [-1, 1], values outside clipped, with its alt text."""
        data = viz.array(to_bytes(image)).transpose(1, 2, 0)
        with self.hold_sync():
            self.value, self.alt = picture.encode_png(data), alt


def titled(title: str, pixels: Pixels) -> ui.VBox:
    """Put a title above an image; its `layout.visibility` hides both."""
    above = ui.HTML(f'<div style="text-align: center">{html.escape(title)}</div>')
    return ui.VBox([above, pixels], layout=ui.Layout(width=f"{pixels.width}px", max_width="100%", overflow="hidden"))


def beside(*parts: ui.Widget, gap: int = 10) -> ui.HBox:
    """Put widgets side by side; they shrink rather than wrap where there is little room."""
    return ui.HBox(list(parts), layout=ui.Layout(grid_gap=f"{gap}px", align_items="flex-start", overflow="hidden"))
