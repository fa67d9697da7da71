"""The box around a face, driven from Python as the browser would."""

import io
import re
from importlib import import_module
from pathlib import Path

import ipywidgets as ui
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image

from course_utils import widgets
from course_utils.data import drawn, photographs
from course_utils.data.levels import to_bytes
from course_utils.data.photographs import DamagedDataError

LIMIT_MS = 100


def text(chooser) -> str:
    return re.sub(r"<[^>]+>", " ", chooser.numbers.value)


def opened(value) -> Image.Image:
    return Image.open(io.BytesIO(bytes(value)))


def hidden(chooser) -> bool:
    row = chooser.children[1]
    assert isinstance(row, ui.HBox)
    return row.layout.display == "none"


def file_of(image, kind="PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def upload(chooser, name: str, content: bytes) -> None:
    """Set what the browser sends for a chosen file."""
    about = {"name": name, "type": "image/png", "size": len(content), "last_modified": 1_700_000_000_000}
    chooser.upload.set_state({"value": [about | {"content": memoryview(content)}]})


@pytest.fixture
def cat() -> Image.Image:
    """A drawn cat, 400 px wide and 300 px high."""
    pixels = to_bytes(drawn.draw(1, size=400, seed=3).images[0]).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:300].copy())


@pytest.fixture
def chooser(cat):
    return widgets.face_box(cat)


def test_without_a_source_it_says_what_to_do():
    chooser = widgets.face_box()
    assert chooser.image is None and hidden(chooser) and not chooser.frame.photo
    assert "Choose a photograph: JPEG or PNG, at most 10 MB" in text(chooser)
    assert chooser.upload in chooser.children and chooser.upload.accept == "image/*" and not chooser.upload.multiple
    assert chooser.box == (0, 0, 0)
    with pytest.raises(ValueError, match="no photograph to put a box on: choose one"):
        chooser.box = (0, 0, 10)


def test_a_source_is_shown_with_the_centred_square(chooser, cat):
    assert not hidden(chooser) and chooser.box == (50, 0, 300)
    assert torch.equal(chooser.image, photographs.crop(cat, (50, 0, 300), 64))
    assert chooser.image.shape == (3, 64, 64) and chooser.image.dtype == torch.float32
    frame = chooser.frame
    assert frame.extent == (400, 300) and frame.alt == "The photograph, 400 × 300 pixels"
    shown = opened(frame.photo)
    assert shown.format == "JPEG" and shown.size == (400, 300) and frame.width == 560
    assert np.abs(np.asarray(shown).astype(float) - np.asarray(cat)).mean() < 5
    assert text(chooser).split() == "left 50, top 0, side 300 of 400 × 300 pixels scaled down 4.7 times".split()


def test_the_crop_is_drawn_pixel_by_pixel(chooser):
    png = np.asarray(opened(chooser.picture.value))
    assert np.array_equal(png, to_bytes(chooser.image).permute(1, 2, 0).numpy())
    assert chooser.picture.width == 320  # 5 times 64: each pixel a whole square
    assert chooser.picture.alt == "What the box holds, 64 × 64 pixels: left 50, top 0, side 300."
    assert widgets.face_box(Image.new("RGB", (9, 9)), size=96).picture.width == 288
    assert widgets.face_box(Image.new("RGB", (9, 9)), size=400).picture.width == 400


def test_moving_the_box_cuts_again_and_is_observed(chooser, cat):
    seen = []
    chooser.observe(lambda change: seen.append(change.new), "image")
    chooser.box = (120, 30, 100)
    assert torch.equal(chooser.image, photographs.crop(cat, (120, 30, 100), 64))
    assert len(seen) == 1 and torch.equal(seen[0], chooser.image)
    assert text(chooser).startswith("  left 120, top 30, side 100") and "scaled down 1.6 times" in text(chooser)
    chooser.box = [120, 30, 32]
    assert "enlarged 2.0 times, so it looks soft" in text(chooser)
    chooser.frame.set_state({"box": [10, 20, 64]})  # as the browser does
    assert chooser.box == (10, 20, 64) and all(isinstance(number, int) for number in chooser.box)
    assert torch.equal(chooser.image, photographs.crop(cat, (10, 20, 64), 64))
    assert text(chooser).startswith("  left 10, top 20, side 64") and len(seen) == 3


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((-30, -1, 100), (0, 0, 100)),
        ((350, 250, 100), (300, 200, 100)),
        ((10, 10, 900), (10, 0, 300)),
        ((200, 5, 301), (100, 0, 300)),
        ((5, 6, 0), (5, 6, 1)),
        ((500, 400, -3), (399, 299, 1)),
        ((10.4, 10.6, 99.7), (10, 11, 100)),
    ],
)
def test_a_box_outside_is_moved_and_shrunk(chooser, box, inside):
    chooser.box = box
    assert chooser.box == inside and f"left {inside[0]}, top {inside[1]}, side {inside[2]}" in text(chooser)
    chooser.box = (1, 2, 50)
    chooser.frame.set_state({"box": list(box)})
    assert chooser.box == inside and f"left {inside[0]}, top {inside[1]}, side {inside[2]}" in text(chooser)


def test_a_box_that_is_none_is_refused_and_the_old_one_kept(chooser):
    before = chooser.image
    with pytest.raises(ValueError, match="box must be finite"):
        chooser.box = (0, float("nan"), 10)
    for box in ((1, 2), (1, 2, 3, 4), ("a", 2, 3), (None, 2, 3)):
        with pytest.raises(traitlets.TraitError, match="'box' trait"):
            chooser.box = box
    assert chooser.box == (50, 0, 300) and chooser.image is before


def test_an_upload_is_shown_and_let_go(cat):
    chooser, seen = widgets.face_box(size=32), []
    chooser.observe(lambda change: seen.append(change.new), "image")
    upload(chooser, "cat.png", file_of(cat))
    assert not hidden(chooser) and chooser.box == (50, 0, 300) and len(seen) == 1
    assert torch.equal(chooser.image, photographs.crop(cat, (50, 0, 300), 32))
    assert chooser.upload.value == ()  # or a notebook saved with its widgets would hold the file
    upload(chooser, "tall.png", file_of(cat.rotate(90, expand=True)))
    assert chooser.box == (0, 50, 300) and chooser.frame.extent == (300, 400) and chooser.frame.width == 420


def test_another_photograph_of_the_same_size_is_cut_anew(chooser, cat):
    chooser.load(file_of(cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert chooser.box == (50, 0, 300)
    assert torch.equal(
        chooser.image, photographs.crop(cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (50, 0, 300), 64)
    )


def test_a_damaged_upload_is_told_and_the_former_picture_stays(chooser, cat):
    chooser.box = (5, 6, 70)
    before, shown = chooser.image, bytes(chooser.frame.photo)
    for content, reason in ((file_of(cat)[:900], "truncated"), (b"", "the file is empty"), (b"text" * 50, "Pillow")):
        upload(chooser, "<b>.png", content)
        assert "&lt;b&gt;.png cannot be read as an image" in chooser.numbers.value and reason in chooser.numbers.value
        assert 'role="alert"' in chooser.numbers.value and chooser.upload.value == ()
        assert chooser.image is before and chooser.box == (5, 6, 70) and bytes(chooser.frame.photo) == shown
    upload(chooser, "cat.png", file_of(cat))
    assert text(chooser).startswith("  left 50, top 0, side 300")
    empty = widgets.face_box()
    upload(empty, "a.png", b"")
    assert "the file is empty" in text(empty) and hidden(empty) and empty.image is None


def test_a_damaged_source_raises(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DamagedDataError, match=r"a\.jpg cannot be read as an image"):
        widgets.face_box(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        widgets.face_box(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("size", [0, -1, 6.4, "64"])
def test_wrong_sizes(size):
    with pytest.raises(ValueError, match="size counts pixels"):
        widgets.face_box(size=size)


@pytest.mark.parametrize(
    ("size", "sent", "width"),
    [((2000, 1000), (560, 280), 560), ((1000, 2000), (280, 560), 280), ((40, 30), (40, 30), 160), ((1, 1), (1, 1), 4)],
)
def test_what_the_browser_gets_is_small(size, sent, width):
    chooser = widgets.face_box(Image.new("RGB", size))
    assert opened(chooser.frame.photo).size == sent and chooser.frame.width == width
    assert chooser.frame.extent == size


def test_a_pixel_is_room_enough():
    chooser = widgets.face_box(Image.new("RGB", (1, 1), "white"), size=8)
    assert chooser.box == (0, 0, 1) and torch.equal(chooser.image, torch.ones(3, 8, 8))


def test_its_script_and_style_are_read_from_files_of_the_package():
    module = import_module("course_utils.widgets.face_box")
    folder = Path(module.__file__).parent
    frame = widgets.face_box().frame
    assert str(frame._esm) == (folder / "face_box.js").read_text(encoding="utf-8")
    assert str(frame._css) == (folder / "face_box.css").read_text(encoding="utf-8")
    for name in ("photo", "alt", "width", "extent", "box"):
        assert f'model.get("{name}")' in str(frame._esm) and frame.trait_metadata(name, "sync")


def test_it_answers_in_time(processor_ms):
    levels = np.random.default_rng(0).integers(0, 256, (1536, 2048, 3), dtype=np.uint8)
    chooser = widgets.face_box(Image.fromarray(levels))
    boxes = [(100, 50, 1400), (0, 0, 1536), (512, 0, 1536), (900, 700, 800), (30, 40, 1300)]
    taken = processor_ms(lambda box: setattr(chooser, "box", box), boxes)
    print(f"{taken:.0f} ms")
    assert taken < LIMIT_MS
