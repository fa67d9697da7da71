"""A box by hand: choose the face in a photograph of one's own, and see the crop that a model will get."""

import io
import math
from pathlib import Path

import anywidget
import ipywidgets as ui
import traitlets
from ipywidgets.widgets.trait_types import CByteMemoryView
from PIL import Image
from torch import Tensor

from course_utils.data import photographs
from course_utils.widgets.images import told
from course_utils.widgets.pixels import Pixels, titled

SHOWN = 560  # CSS pixels of the photograph's longer side
ENLARGED = 4  # at most so many times, or a tiny photograph becomes a blur
CROP = 320  # CSS pixels of the crop, about
HINT = (
    "Choose a photograph: JPEG or PNG, at most 10 MB, which is what Jupyter lets through. "
    "A larger file goes by its name: <code>face_box('cat.jpg')</code>."
)


class Frame(anywidget.AnyWidget):
    """The photograph with the box, without its crop: see `FaceBox`.

    box: (left, top, side) in whole pixels of the photograph, moved and shrunk to where it fits. extent: the
    photograph's width and height. photo: what the browser shows of it, a JPEG. width: CSS pixels.
    """

    _esm = Path(__file__).with_name("face_box.js")
    _css = Path(__file__).with_name("face_box.css")
    photo = CByteMemoryView(b"").tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int(SHOWN).tag(sync=True)
    extent = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    box = traitlets.Tuple(*[traitlets.Float()] * 3, default_value=(0, 0, 0)).tag(sync=True)

    @traitlets.validate("box")
    def _fit(self, proposal) -> tuple[int, int, int]:
        if not all(map(math.isfinite, proposal.value)):
            raise ValueError(f"box must be finite, got (left, top, side) = {proposal.value}")
        if not self.photo:
            raise ValueError("there is no photograph to put a box on: choose one, or name it in face_box(...)")
        left, top, side = map(round, proposal.value)
        side = min(max(side, 1), *self.extent)
        return (*(min(max(edge, 0), full - side) for edge, full in zip((left, top), self.extent, strict=True)), side)

    def show(self, image: Image.Image) -> None:
        """Put up another photograph, with the box around the largest square in its middle."""
        ratio = SHOWN / max(image.size)
        small, file = image.copy(), io.BytesIO()
        small.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
        small.save(file, "JPEG", quality=90)
        with self.hold_sync():
            self.extent, self.width = image.size, max(1, round(image.width * min(ratio, ENLARGED)))
            self.alt = f"The photograph, {image.width} × {image.height} pixels"
            self.photo = file.getvalue()
            self.box = photographs.centred(image)


class FaceBox(ui.VBox):
    """See `face_box`; attributes: box, image, upload, numbers, frame (the photograph), picture (the crop).

    `image` is the crop, (3, size, size) float32 in [-1, 1], or None before a photograph is there; observe it as any
    trait. `box` is (left, top, side) in pixels of the photograph as `photographs.load` gives it; what is set is rounded
    and moved inside, and ValueError raised for numbers that are not finite or where there is no photograph.
    """

    image = traitlets.Instance(Tensor, allow_none=True)

    def __init__(self, source=None, size: int = 64):
        photographs.check_size(size)
        self._size, self._photograph = size, None
        self.upload = ui.FileUpload(
            accept="image/*",
            description="Choose a photograph",
            tooltip="JPEG or PNG, at most 10 MB",
            layout=ui.Layout(width="max-content"),
        )
        self.numbers = ui.HTML(f"<span>{HINT}</span>").add_class("dtc-numbers")
        self.frame, self.picture = Frame(), Pixels(max(1, CROP // size) * size)
        self._left = titled("drag the box over the face, or its corners", self.frame)
        right = titled(f"the crop, {size} × {size} pixels", self.picture)
        self._row = ui.HBox([self._left, right], layout=ui.Layout(flex_flow="row wrap", grid_gap="10px 20px"))
        self._row.layout.display = "none"
        super().__init__([self.upload, self._row, self.numbers])
        self.add_class("dtc-explorer")
        self.upload.observe(self._take, "value")
        self.frame.observe(self._cut, "box")
        if source is not None:
            self.load(source)

    @property
    def box(self) -> tuple[int, int, int]:
        return tuple(map(int, self.frame.box))  # the trait turns what the browser sends into floats

    @box.setter
    def box(self, box) -> None:
        self.frame.box = tuple(box)

    def load(self, source) -> None:
        """Put up another photograph; source and errors: see `photographs.load`. What was there stays on an error."""
        self._photograph = photographs.load(source)
        self.frame.unobserve(self._cut, "box")  # one crop, when the photograph and its box are both there
        self.frame.show(self._photograph)
        self.frame.observe(self._cut, "box")
        self._left.layout.width = f"{self.frame.width}px"
        self._cut()
        self._row.layout.display = None

    @told
    def _take(self, change) -> None:
        if not change.new:
            return
        uploaded = change.new[-1]
        file = io.BytesIO(uploaded["content"])
        file.name = uploaded["name"]
        try:
            self.load(file)
        finally:
            self.upload.value = ()  # so that the same file can be chosen again

    @told
    def _cut(self, _=None) -> None:
        (left, top, side), (width, height) = self.box, self.frame.extent
        image = photographs.crop(self._photograph, self.box, self._size)
        where = f"left {left}, top {top}, side {side}"
        self.picture.show(image, f"What the box holds, {self._size} × {self._size} pixels: {where}.")
        ratio = side / self._size
        detail = f"scaled down {ratio:.1f} times" if ratio >= 1 else f"enlarged {1 / ratio:.1f} times, so it looks soft"
        self.numbers.value = (
            f"<span><b>{where}</b></span><span>of {width} × {height} pixels</span><span>{detail}</span>"
        )
        self.image = image


def face_box(source=None, size: int = 64) -> FaceBox:
    """Choose a face in a photograph with a square box, by mouse, pen, finger or keyboard, and see its crop beside it.

    source: the photograph, as `photographs.load` takes it; None to choose a file in the widget. size: pixels of the
    crop's side, which is `image` of the widget. Raises ValueError for a wrong size; and as `photographs.load`.
    """
    return FaceBox(source, size)
