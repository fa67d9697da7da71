"""The box around a face in a real JupyterLab: a file uploaded, the box dragged, resized and moved by keys."""

import io
import re

import pytest
from PIL import Image

from course_utils.data import drawn
from course_utils.data.levels import to_bytes

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIDE = 400  # pixels of the drawn photograph, which is cut to three quarters of its height
CELLS = ["from course_utils import widgets", "chooser = widgets.face_box(); chooser"]


@pytest.fixture(scope="module")
def page(open_notebook):
    return open_notebook(CELLS)


@pytest.fixture(scope="module")
def cat() -> bytes:
    """A drawn cat as a PNG file, 400 x 300."""
    pixels = to_bytes(drawn.draw(1, size=SIDE, seed=3).images[0]).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[: 3 * SIDE // 4].copy()).save(file, "PNG")
    return file.getvalue()


def upload(page, name: str, content: bytes) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a photograph").click()
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})


def numbers(page, text: str) -> None:
    """Wait until the line of numbers says so: the kernel has cut what the box holds."""
    page.wait_for_function("text => document.querySelector('.dtc-numbers')?.textContent.includes(text)", arg=text)


def says(page) -> list[int]:
    """Return left, top and side from the line of numbers, once the box has rested."""
    page.wait_for_timeout(600)
    text = page.locator(".dtc-numbers").text_content()
    return [int(number) for number in re.match(r"\s*left (\d+), top (\d+), side (\d+)", text).groups()]


def drag(page, start, step) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    for part in (0.3, 0.7, 1):
        page.mouse.move(start[0] + part * step[0], start[1] + part * step[1])
    page.mouse.up()


def ask(page, code: str) -> str:
    run = """code => {
        const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({ code });
        let text = "";
        future.onIOPub = message => text += message.content.text ?? message.content.evalue ?? "";
        return Promise.race([future.done.then(() => text), new Promise(end => setTimeout(end, 20000, "no answer"))]);
    }"""
    return page.evaluate(run, code).strip()


def crops(page) -> str:
    return page.locator(".dtc-pixels img").get_attribute("src")


def test_choose_drag_resize_and_keys(page, cat):
    root = page.locator(".dtc-explorer")
    assert "Choose a photograph" in root.locator(".dtc-numbers").text_content()
    assert not page.locator(".dtc-face-box").is_visible() and not page.locator(".dtc-pixels").is_visible()

    upload(page, "cat.png", cat)
    numbers(page, "left 50, top 0, side 300")
    page.wait_for_function("() => document.querySelector('.dtc-photo').naturalWidth === 400")
    box, stage = page.locator(".dtc-box"), page.locator(".dtc-stage").bounding_box()
    assert stage["width"] == pytest.approx(560, abs=1) and stage["height"] == pytest.approx(420, abs=1)
    unit = stage["width"] / SIDE

    def corner(x, y):  # its middle, on the page
        return stage["x"] + x * unit, stage["y"] + y * unit

    before = crops(page)
    drag(page, corner(345, 295), (-100 * unit, -100 * unit))
    assert says(page) == pytest.approx([50, 0, 200], abs=1)
    assert crops(page) != before and page.locator(".dtc-pixels img").evaluate("img => img.naturalWidth") == 64
    drag(page, corner(150, 100), (80 * unit, 30 * unit))
    assert says(page) == pytest.approx([130, 30, 200], abs=1)
    drag(page, corner(135, 35), (50 * unit, 50 * unit))  # the upper left corner: the lower right one stays
    left, top, side = says(page)
    assert (left, top, side) == pytest.approx((180, 80, 150), abs=1) and left + side == pytest.approx(330, abs=1)

    drag(page, corner(250, 150), (2000, -2000))  # held at the edge
    assert says(page) == [SIDE - side, 0, side]

    box.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert says(page) == [SIDE - side - 3, 15, side]
    page.keyboard.press("+")
    page.keyboard.press("-")
    page.keyboard.press("-")
    left, top, small = says(page)
    assert (left, top, small) == (SIDE - side, 18, side - 6)
    assert page.locator(".dtc-spoken").text_content().startswith(f"Box: left {left}, top {top}, side {small}, in a")
    told = "print(chooser.box, tuple(chooser.image.shape), chooser.upload.value)"
    assert ask(page, told) == f"({left}, {top}, {small}) (3, 64, 64) ()"
    ask(page, "chooser.box = (20, 40, 100)")
    numbers(page, "left 20, top 40, side 100")
    at = box.bounding_box()
    assert (at["x"], at["y"]) == pytest.approx(corner(20, 40), abs=1) and at["width"] == pytest.approx(
        100 * unit, abs=1
    )


def test_a_damaged_file_is_told_and_the_next_one_taken(page, cat):
    before = crops(page)
    upload(page, "broken.png", cat[:2000])
    numbers(page, "broken.png cannot be read as an image")
    assert page.locator(".dtc-photo").evaluate("img => img.naturalWidth") == 400 and crops(page) == before
    upload(page, "cat.png", cat)
    numbers(page, "left 50, top 0, side 300")
    upload(page, "broken.png", cat[:2000])
    numbers(page, "broken.png cannot be read as an image")
    upload(page, "cat.png", cat)
    numbers(page, "left 50, top 0, side 300")
