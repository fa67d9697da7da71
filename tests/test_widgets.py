"""The widgets, driven from Python as the browser would: set a control, look at the picture, the text and the clock."""

import asyncio
import io
import re
import statistics
import time

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import diffusion, metrics, samplers, schedules, widgets
from course_utils.data import toy
from course_utils.ideal import IdealDenoiser
from course_utils.training import NonFiniteLossError
from course_utils.widgets import sketch as core

LIMIT_MS = 100
TINY = core.Sizes(steps=150, batch=128, cloud=200, hidden=64)


@pytest.fixture(autouse=True)
def ci_sizes(monkeypatch):
    monkeypatch.setenv("COURSE_PRESET", "ci")


def median_ms(capsys, name: str, update, values) -> float:
    taken = []
    for value in values:
        began = time.perf_counter()
        update(value)
        taken.append(1000 * (time.perf_counter() - began))
    with capsys.disabled():
        print(
            f"\n  {name}: median {statistics.median(taken):.0f} ms of {len(taken)}, longest {max(taken):.0f} ms", end=""
        )
    return statistics.median(taken)


@pytest.fixture(scope="module")
def chain() -> list[samplers.Step]:
    schedule, generator = schedules.linear(100), torch.Generator().manual_seed(0)
    x_T = torch.randn(500, 2, generator=generator)
    return list(samplers.ddpm(IdealDenoiser(toy.outline(), schedule, 0.03), schedule, x_T, generator=generator))


# --- schedule explorer ---


def test_schedule_explorer_shows_the_numbers_of_the_schedule():
    explorer = widgets.schedule_explorer(toy.draw("dino", 300))
    for name, T, rescale, u in [("linear", 1000, True, 0.42), ("sigmoid", 50, False, 0.5), ("cosine", 200, True, 1.0)]:
        explorer.schedule.value, explorer.T.value, explorer.rescale.value, explorer.t.value = name, T, rescale, u
        options = {} if name == "cosine" else {"rescale": rescale}
        schedule, t = schedules.make(name, T, dtype=torch.float64, **options), round(u * T)
        alpha_bar = float(schedule.alpha_bar[t])
        text = re.sub(r"<[^>]+>", " ", explorer.numbers.value)
        assert f"t = {t}" in text and f"of {T}" in text
        assert f"= {alpha_bar:.4f}" in text and f"= {(1 - alpha_bar) ** 0.5:.4f}" in text
        assert f"signal-to-noise = {alpha_bar / (1 - alpha_bar):.3g}" in text
        assert name in explorer.picture.alt and f"t = {t} of {T}" in explorer.picture.alt


def test_schedule_explorer_redraws_for_every_control():
    explorer = widgets.schedule_explorer(toy.draw("dino", 300))
    seen = [bytes(explorer.picture.value)]
    for control, value in [("t", 0.8), ("schedule", "quadratic"), ("T", 20), ("rescale", False), ("t", 0.0)]:
        getattr(explorer, control).value = value
        seen.append(bytes(explorer.picture.value))
    assert len(set(seen)) == len(seen)
    assert "∞" in explorer.numbers.value  # t = 0: no noise at all


def test_schedule_explorer_keeps_place_and_eps():
    explorer = widgets.schedule_explorer(toy.draw("dino", 300))
    explorer.t.value = 0.5
    explorer.T.value = 100
    assert "t = 50<" in explorer.numbers.value
    first = np.stack(explorer._dots.get_data())
    explorer.t.value = 0.6
    explorer.t.value = 0.5
    assert np.array_equal(first, np.stack(explorer._dots.get_data()))
    explorer.schedule.value = "cosine"
    assert explorer.rescale.disabled
    explorer.schedule.value = "linear"
    assert not explorer.rescale.disabled


@pytest.mark.parametrize("points", [torch.zeros(0, 2), torch.zeros(5, 3), torch.zeros(5)])
def test_schedule_explorer_refuses_what_is_no_cloud(points):
    with pytest.raises(ValueError, match="shape"):
        widgets.schedule_explorer(points)


def test_schedule_explorer_answers_in_time(capsys):
    explorer = widgets.schedule_explorer(toy.draw("dino", 1000))
    fractions = np.linspace(0.05, 0.95, 15)
    assert median_ms(capsys, "schedule explorer, t", lambda u: setattr(explorer.t, "value", u), fractions) < LIMIT_MS
    names = list(schedules.SCHEDULES) * 4
    change = lambda name: setattr(explorer.schedule, "value", name)  # noqa: E731
    assert median_ms(capsys, "schedule explorer, schedule", change, names[1:]) < LIMIT_MS


def test_pictures_are_the_pixels_of_the_figure():
    explorer = widgets.schedule_explorer(toy.draw("dino", 300))
    decoded = np.asarray(Image.open(io.BytesIO(explorer.picture.value)))
    assert np.array_equal(decoded, np.asarray(explorer.picture._canvas.buffer_rgba())[..., :3])
    assert decoded.shape[1] >= explorer.picture.width and len(np.unique(decoded.reshape(-1, 3), axis=0)) > 20


# --- trajectory explorer ---


def test_trajectory_explorer_follows_the_slider(chain):
    explorer = widgets.trajectory_explorer(chain)
    assert "t = 100<" in explorer.numbers.value
    before = bytes(explorer.picture.value)
    explorer.slider.index = 70
    assert "t = 30<" in explorer.numbers.value and "t = 30," in explorer.picture.alt
    assert bytes(explorer.picture.value) != before
    assert np.allclose(np.stack(explorer._dots.get_data(), 1), chain[70].x)
    # the prediction made from x_t at k stands in the next record
    assert np.allclose(np.stack(explorer._goals.get_data(), 1), chain[71].x0_hat)
    explorer.slider.index = 100
    assert np.allclose(np.stack(explorer._goals.get_data(), 1), chain[100].x)
    assert explorer.play.max == 100


def test_trajectory_explorer_toggles(chain):
    explorer = widgets.trajectory_explorer(chain)
    explorer.slider.index = 60
    seen = {bytes(explorer.picture.value)}
    for toggle, value in [("trails", True), ("arrows", False), ("trails", False)]:
        getattr(explorer, toggle).value = value
        seen.add(bytes(explorer.picture.value))
    assert len(seen) == 4


def test_trajectory_explorer_takes_arrays(chain):
    x, x0_hat = (
        torch.stack([s.x for s in chain]),
        torch.stack([s.x0_hat if s.x0_hat is not None else s.x for s in chain]),
    )
    explorer = widgets.trajectory_explorer((x, x0_hat))
    assert "t = 100<" in explorer.numbers.value
    explorer = widgets.trajectory_explorer(([9, 5, 0], x[:3].numpy(), x0_hat[:3].numpy()))
    explorer.slider.index = 1
    assert "t = 5<" in explorer.numbers.value
    with pytest.raises(ValueError, match="shape"):
        widgets.trajectory_explorer((x, x0_hat[1:]))
    with pytest.raises(ValueError, match="shape"):
        widgets.trajectory_explorer(([9, 5], x[:3], x0_hat[:3]))
    with pytest.raises(ValueError, match="two sampler steps"):
        widgets.trajectory_explorer(chain[:1])


def test_trajectory_explorer_answers_in_time(chain, capsys):
    explorer = widgets.trajectory_explorer(chain)
    explorer.trails.value = True
    move = lambda k: setattr(explorer.slider, "index", k)  # noqa: E731
    assert median_ms(capsys, "trajectory explorer, all shown", move, range(3, 99, 6)) < LIMIT_MS


# --- the sketch: training without a widget ---


def test_sketch_learns_the_drawing():
    # two bars: far from the Gaussian that training starts from, so that nearing them cannot happen by chance
    bars = torch.rand(400, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 0.6]) - 0.3
    bars[::2, 0] += 0.9
    sketch = core.Sketch(bars, TINY)
    clouds = []
    asyncio.run(core.learn(sketch, clouds.append))
    noise = next(sketch.denoise())
    far, near = (metrics.sliced_wasserstein(cloud, bars[:200]) for cloud in (noise, clouds[-1]))
    assert near < 0.5 * far
    assert sketch.last.step == TINY.steps and clouds[-1].shape == (200, 2)


def test_sketch_hands_the_loop_its_turn():
    sketch = core.Sketch(toy.outline("dino"), TINY)
    gaps = []

    async def measure():
        task = asyncio.create_task(core.learn(sketch, lambda cloud: None))
        while not task.done():
            before = time.perf_counter()
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - before)

    asyncio.run(measure())
    assert len(gaps) > 5 and statistics.median(gaps) < 0.1


def test_sketch_leaves_random_state_and_threads_alone():
    torch.manual_seed(3)
    expected, threads = torch.rand(2), torch.get_num_threads()
    torch.manual_seed(3)
    sketch = core.Sketch(toy.outline("dino"), TINY)
    sketch.train(0.0)
    list(sketch.denoise())
    assert torch.equal(torch.rand(2), expected) and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (torch.zeros(0, 2), "Too few points"),
        (torch.rand(core.MIN_POINTS - 1, 2), "19: paint at least 20"),
        (torch.ones(50, 2), "one spot"),
        (torch.full((50, 2), torch.nan), "finite"),
        (torch.rand(50, 3), "shape"),
    ],
)
def test_sketch_refuses_what_cannot_be_learnt(drawing, message):
    with pytest.raises(ValueError, match=message):
        core.Sketch(drawing, TINY)


# --- draw your own ---


def press(widget, button: str, **more) -> None:
    """What arrives when a button is pressed in the browser: a message, and the painting as bytes."""
    widget._on_message(widget, {"do": button, **more}, [] if button == "load" else [memoryview(bytes(widget.points))])


async def wait(widget, until, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"still waiting: {widget.state}, {widget.status}"
        await asyncio.sleep(0.01)


def cloud_of(widget) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(widget.cloud, np.float32).reshape(-1, 2).copy())


def test_drawing_travels_as_bytes():
    widget = widgets.DrawYourOwn()
    painted = torch.rand(30, 2) * 2 - 1
    widget.drawing = painted
    assert len(widget.points) == 30 * 8 and torch.equal(widget.drawing, painted)
    press(widget, "load", outline="cat")
    assert widget.drawing.abs().max() <= 1 and len(widget.drawing) == len(toy.outline("cat"))
    assert set(widget.outlines) == set(toy.OUTLINES)


def test_train_to_the_end_and_sample_again():
    async def scene():
        widget = widgets.DrawYourOwn("dino")
        press(widget, "train")
        assert widget.state == "training"
        await wait(widget, lambda: widget.state != "training")
        assert widget.state == "done" and "step 150 of 150" in widget.status and "loss" in widget.status
        assert widget.fraction == 1
        learnt = cloud_of(widget)
        assert metrics.sliced_wasserstein(learnt[:142], widget.drawing) < 0.2
        press(widget, "sample")
        assert widget.state == "sampling"
        await wait(widget, lambda: widget.state == "done")
        assert not torch.equal(cloud_of(widget), learnt)

    asyncio.run(scene())


def test_stop_holds_midway(monkeypatch):
    monkeypatch.setattr(core, "sizes", lambda: TINY._replace(steps=100_000))

    async def scene():
        widget = widgets.DrawYourOwn("dino")
        press(widget, "train")
        await wait(widget, lambda: widget.sketch.last is not None and len(widget.cloud) > 0)
        began = time.perf_counter()
        press(widget, "stop")
        assert widget.state == "stopped" and "step" in widget.status and not widget.busy
        await asyncio.sleep(0.2)
        step = widget.sketch.last.step
        await asyncio.sleep(0.2)
        assert widget.sketch.last.step == step < 100_000 and widget.state == "stopped"
        assert time.perf_counter() - began < 2
        press(widget, "stop")  # a second time does nothing
        assert widget.state == "stopped"

    asyncio.run(scene())


def test_training_twice_and_a_rerun_cell_cancel_the_first(monkeypatch):
    monkeypatch.setattr(core, "sizes", lambda: TINY._replace(steps=100_000))

    async def scene():
        widget = widgets.DrawYourOwn("dino")
        press(widget, "train")
        first, first_sketch = widget._task, widget.sketch
        await asyncio.sleep(0.1)
        press(widget, "train")
        await wait(widget, first.done)
        assert first.cancelled() and widget.busy and widget.sketch is not first_sketch
        again = widgets.DrawYourOwn("cat")  # the cell runs again
        assert widget.state == "stopped" and "another" in widget.status and not widget.busy
        press(again, "train")
        await wait(again, lambda: len(again.cloud) > 0)
        task = again._task
        again.close()
        await wait(again, task.done)

    asyncio.run(scene())


def test_what_goes_wrong_is_said(monkeypatch):
    async def scene():
        widget = widgets.DrawYourOwn()
        press(widget, "train")
        assert (widget.state, widget.status) == ("error", "Too few points to learn from, 0: paint at least 20.")
        press(widget, "sample")
        assert widget.state == "error" and "press Train first" in widget.status
        press(widget, "load", outline="unicorn")
        assert widget.state == "error" and "unicorn" in widget.status
        widget.points = b"12345"
        press(widget, "train")
        assert widget.state == "error" and "damaged" in widget.status
        press(widget, "dance")
        assert widget.state == "error"

        widget.load("dino")
        monkeypatch.setattr(
            diffusion, "l_simple", lambda m, x, *a, **k: m(x, torch.ones(len(x)).long()).sum() * torch.nan
        )
        press(widget, "train")
        await wait(widget, lambda: widget.state != "training")
        assert widget.state == "error" and "the loss is nan" in widget.status and not widget.busy
        with pytest.raises(NonFiniteLossError):
            core.Sketch(toy.outline("dino"), TINY).train()

        def broken(*a, **k):
            raise RuntimeError("out of luck")

        monkeypatch.setattr(diffusion, "l_simple", broken)
        press(widget, "train")
        await wait(widget, lambda: widget.state != "training")
        assert widget.state == "error" and "RuntimeError: out of luck" in widget.status

    asyncio.run(scene())


def test_without_a_kernel_it_says_so():
    widget = widgets.DrawYourOwn("dino")
    press(widget, "train")
    assert widget.state == "error" and "kernel" in widget.status


def test_buttons_answer_in_time(capsys, monkeypatch):
    monkeypatch.setattr(core, "sizes", lambda: core.Sizes(100_000, 512, 500, 128))

    async def scene():
        widget = widgets.DrawYourOwn("dino")
        buttons = ["train", "stop"] * 8
        took = median_ms(capsys, "draw your own, train and stop", lambda name: press(widget, name), buttons)
        assert took < LIMIT_MS

    asyncio.run(scene())
