"""The three widgets of notebook 01 in a real JupyterLab: paint, train, stop, and keys on the sliders."""

import math
import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = [
    """import torch
from course_utils import ideal, samplers, schedules, widgets
from course_utils.data import toy
from course_utils.widgets import sketch
sketch.sizes = lambda: sketch.Sizes(steps=20_000, batch=128, cloud=200, hidden=64)  # long enough to be stopped
schedule = schedules.linear(100)
chain = samplers.ddim(ideal.IdealDenoiser(toy.outline(), schedule, 0.03), schedule, torch.randn(300, 2), steps=20)""",
    "widgets.schedule_explorer(toy.draw('dino', 300))",
    "widgets.trajectory_explorer(chain)",
    "drawn = widgets.DrawYourOwn(); drawn",
]


@pytest.fixture(scope="module")
def page(open_notebook):
    """One page for all tests: starting a kernel is what takes the time."""
    return open_notebook(CELLS)


def wait(page, condition: str, *arguments) -> None:
    page.wait_for_function(condition, arg=list(arguments))


def pictured(page, explorer) -> str:
    return explorer.locator("img").get_attribute("alt")


def colours(canvas) -> dict:
    """Count the blue (painted) and orange (generated) pixels."""
    count = """canvas => {
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const found = { blue: 0, orange: 0 };
        for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] < 128) continue;
            if (data[i + 2] > data[i]) found.blue++; else found.orange++;
        }
        return found;
    }"""
    return canvas.evaluate(count)


def press_key(page, explorer, handle: int, key: str) -> None:
    """Press a key on a slider and wait for the next picture, decoded and shown."""
    image = explorer.locator("img")
    before = image.get_attribute("src")
    explorer.locator(".noUi-handle").nth(handle).focus()
    page.keyboard.press(key)
    wait(
        page, "([img, src]) => img.src !== src && img.complete && img.naturalWidth > 0", image.element_handle(), before
    )


def test_keys_move_the_schedule_explorer(page):
    explorer = page.locator(".dtc-explorer").nth(0)
    assert "t = 400 of 1000" in pictured(page, explorer)
    press_key(page, explorer, 1, "ArrowRight")
    assert "t = 410 of 1000" in pictured(page, explorer)
    assert "t = 410" in explorer.locator(".dtc-numbers").text_content()
    explorer.get_by_role("button", name="cosine").press("Enter")
    wait(page, "([root]) => root.querySelector('img').alt.startsWith('cosine')", explorer.element_handle())
    assert explorer.get_by_label("rescale").is_disabled()


def test_keys_and_play_move_the_trajectory_explorer(page):
    explorer = page.locator(".dtc-explorer").nth(1)
    assert "t = 100," in pictured(page, explorer)
    press_key(page, explorer, 0, "ArrowRight")
    assert "t = 95, step 1 of 20" in pictured(page, explorer)
    explorer.locator(".jupyter-widget-play button, .widget-play button").first.click()
    wait(page, "([root]) => root.querySelector('img').alt.includes('t = 0, step 20')", explorer.element_handle())


def test_paint_train_stop_and_sample(page):
    widget = page.locator(".dtc-draw")
    widget.scroll_into_view_if_needed()
    status, (board, generated) = widget.get_by_role("status"), widget.locator("canvas").all()
    train, stop = (widget.get_by_role("button", name=name, exact=True) for name in ("Train", "Stop"))

    train.click()
    wait(page, "() => document.querySelector('.dtc-status').textContent.includes('paint at least 20')")
    assert stop.is_disabled()

    box = board.bounding_box()
    ring = [2 * math.pi * k / 24 for k in range(25)]
    x, y, r = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 0.35 * box["width"]
    page.mouse.move(x + r, y)
    page.mouse.down()
    for angle in ring:
        page.mouse.move(x + r * math.cos(angle), y + r * math.sin(angle))
    page.mouse.up()
    page.mouse.move(0, 0)
    wait(page, "() => parseInt(document.querySelector('.dtc-count').textContent) >= 200")
    assert colours(board)["blue"] > 2000

    train.click()
    wait(page, "() => parseInt(document.querySelector('.dtc-status').textContent.slice(5)) >= 30")
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'training'")
    page.wait_for_timeout(1500)  # at least two clouds
    assert colours(generated)["orange"] > 2000
    assert re.match(r"step [\d,]+ of 20,000 · loss \d+\.\d+ · [\d.]+ s", status.text_content())

    stop.click()
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'stopped'")
    at = status.text_content()
    assert at.startswith("stopped · step")
    page.wait_for_timeout(700)
    assert status.text_content() == at

    widget.get_by_role("button", name="Sample again").click()
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'sampling'")
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'done'")


def test_canvas_tools_and_keyboard(page):
    widget = page.locator(".dtc-draw")
    board, count = widget.locator("canvas").first, widget.locator(".dtc-count")
    points = lambda: int(count.text_content().split()[0].replace(",", ""))  # noqa: E731
    shown = lambda n: wait(page, "([n]) => document.querySelector('.dtc-count').textContent === n", f"{n:,} points")  # noqa: E731
    before = points()
    widget.get_by_role("button", name="Clear").click()
    shown(0)
    widget.get_by_role("button", name="Undo").click()
    shown(before)
    widget.get_by_role("button", name="Clear").click()
    board.focus()
    page.keyboard.press("ArrowUp")  # JupyterLab must not take the keys for itself
    page.keyboard.press(" ")
    shown(6)
    widget.get_by_role("button", name="Eraser").click()
    board.focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => parseInt(document.querySelector('.dtc-count').textContent) < 6")
    widget.get_by_role("button", name="dino").click()
    shown(142)


def test_another_cell_reads_the_drawing_while_it_trains(page):
    widget = page.locator(".dtc-draw")
    widget.get_by_role("button", name="Train", exact=True).click()
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'training'")
    run = """code => {
        const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        const future = kernel.requestExecute({ code });
        let text = "";
        future.onIOPub = message => text += message.content.text ?? message.content.evalue ?? "";
        return Promise.race([future.done.then(() => text), new Promise(end => setTimeout(end, 20000, "no answer"))]);
    }"""
    assert page.evaluate(run, "print(len(drawn.drawing), drawn.state)").strip() == "142 training"
    page.evaluate(run, "drawn = widgets.DrawYourOwn()")  # the cell runs again: the first widget stops
    wait(page, "() => document.querySelector('.dtc-draw').dataset.state === 'stopped'")
