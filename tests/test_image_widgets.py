"""The widgets on images, driven from Python as the browser would."""

import io
import re
import statistics
import time

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import diffusion, sample, samplers, schedules, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.data import drawn
from course_utils.models import unet
from course_utils.widgets import images as core

LIMIT_MS = 100


@pytest.fixture(scope="module")
def cats() -> torch.Tensor:
    return drawn.draw(6, "cat", 32, seed=3).images


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = unet.UNet(unet.config("tiny-half", predicts="v", T=50))
        for p in model.parameters():  # the last layer starts at zero: its answer would not depend on the input
            torch.nn.init.normal_(p, std=0.1) if p.ndim > 1 else None
    return Checkpoint("made-up", model.eval().requires_grad_(False), schedules.cosine(50), {})


@pytest.fixture(scope="module")
def chain(checkpoint) -> list[samplers.Step]:
    return list(core.draw(checkpoint, "ddim", 10, n=4))


def median_ms(update, values) -> float:
    taken = []
    for value in values:
        began = time.process_time()  # not the clock on the wall: other programs may be running
        update(value)
        taken.append(1000 * (time.process_time() - began))
    return statistics.median(taken)


def shown(artist) -> np.ndarray:
    return np.asarray(artist.get_array())


def test_tiles_are_the_images_with_white_between():
    images = torch.linspace(-1, 1, 5 * 3 * 4 * 4).view(5, 3, 4, 4)
    out = core.tiles(images, columns=3)
    assert out.shape == (3, 2 + 2 * 6, 2 + 3 * 6)
    assert torch.equal(out[:, 2:6, 2:6], images[0]) and torch.equal(out[:, 8:12, 8:12], images[4])
    assert (out[:, :2] == 1).all() and core.tiles(images).shape == out.shape


# --- noising ---


def test_image_schedule_explorer_shows_the_numbers_of_the_schedule(cats):
    explorer = widgets.image_schedule_explorer(cats)
    for name, T, u in [("linear", 1000, 0.42), ("sigmoid", 50, 0.5), ("cosine", 200, 1.0), ("quadratic", 5, 0.0)]:
        explorer.schedule.value, explorer.T.value, explorer.t.value = name, T, u
        schedule, t = schedules.make(name, T), round(u * T)
        text = re.sub(r"<[^>]+>", " ", explorer.numbers.value)
        assert f"t = {t}" in text and f"of {T}" in text
        assert f"= {schedule.alpha_bar[t].sqrt():.3f}" in text and f"= {schedule.sigma[t]:.3f}" in text
        assert name in explorer.picture.alt and f"t = {t} of {T}" in explorer.picture.alt
        x_t = diffusion.q_sample(cats, torch.full((6,), t), explorer._eps, schedule)
        wanted = (core.tiles(x_t).permute(1, 2, 0) + 1) / 2
        assert np.allclose(shown(explorer._noised), wanted, atol=1e-6)
    assert "∞" in explorer.numbers.value and " 0% of their variance noise" in explorer.picture.alt


def test_image_schedule_explorer_redraws_for_every_control(cats):
    explorer = widgets.image_schedule_explorer(cats)
    seen = [bytes(explorer.picture.value)]
    for control, value in [("t", 0.8), ("schedule", "linear"), ("T", 20), ("t", 0.0)]:
        getattr(explorer, control).value = value
        seen.append(bytes(explorer.picture.value))
    assert len(set(seen)) == len(seen)
    decoded = np.asarray(Image.open(io.BytesIO(seen[-1])))
    assert decoded.shape[1] >= explorer.picture.width


@pytest.mark.parametrize("images", [torch.zeros(0, 3, 8, 8), torch.zeros(3, 8, 8), torch.zeros(2, 1, 8, 8)])
def test_image_schedule_explorer_refuses_other_shapes(images):
    with pytest.raises(ValueError, match="shape"):
        widgets.image_schedule_explorer(images)


def test_image_explorers_answer_in_time(cats, chain):
    explorer = widgets.image_schedule_explorer(cats)
    assert median_ms(lambda u: setattr(explorer.t, "value", u), np.linspace(0.05, 0.95, 9)) < LIMIT_MS
    explorer = widgets.image_trajectory_explorer(chain)
    assert median_ms(lambda k: setattr(explorer.slider, "index", k), range(1, 11)) < LIMIT_MS


# --- sampling ---


@pytest.mark.parametrize(("sampler", "options"), [("ddim", {"eta": 0.5}), ("dpm_solver_pp", {"spacing": "lambda"})])
def test_draw_makes_the_pictures_of_sample_images(checkpoint, sampler, options):
    ours = samplers.final(core.draw(checkpoint, sampler, 5, options.get("eta", 0.0), seed=3, n=4))
    theirs = sample.images(checkpoint.model, checkpoint.schedule, 4, sampler=sampler, steps=5, seed=3, **options)
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, rtol=1e-4, atol=1e-4)


def test_sampler_explorer_draws_at_the_press_of_the_button(checkpoint, monkeypatch):
    monkeypatch.setattr(core, "PREVIEW_S", 0.0)
    explorer = widgets.sampler_explorer(checkpoint, n=8)
    assert explorer.samples is None and "nothing has been drawn" in explorer.picture.alt
    explorer.steps.value, explorer.seed.value = 3, 7
    explorer.button.click()
    first = explorer.samples
    assert first.shape == (8, 3, 32, 32) and first.abs().max() <= 1
    assert "DDIM, 3 steps, seed 7" in explorer.numbers.value and "8 pictures drawn by made-up" in explorer.picture.alt
    assert np.allclose(shown(explorer._shown), (core.tiles(first, explorer._columns).permute(1, 2, 0) + 1) / 2)
    explorer.button.click()
    assert torch.equal(explorer.samples, first) and not explorer.button.disabled
    explorer.eta.value = 1.0
    explorer.button.click()
    assert "η = 1.0" in explorer.numbers.value and not torch.equal(explorer.samples, first)
    explorer.sampler.value = "dpm_solver_pp"
    assert explorer.eta.disabled
    explorer.button.click()
    assert "DPM-Solver++, 3 steps" in explorer.numbers.value and "η" not in explorer.numbers.value


def test_what_goes_wrong_while_drawing_is_said(checkpoint, monkeypatch):
    explorer = widgets.sampler_explorer(checkpoint, n=2)
    explorer.steps.value = 50

    def broken(*_, **__):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(core, "draw", broken)
    explorer.button.click()
    assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and "alert" in explorer.numbers.value
    assert not explorer.button.disabled
    with pytest.raises(ValueError, match="at least 1"):
        widgets.sampler_explorer(checkpoint, n=0)


def test_too_many_steps_for_a_short_chain_are_told(checkpoint):
    short = checkpoint._replace(schedule=schedules.cosine(10))
    explorer = widgets.sampler_explorer(short, n=2)
    explorer.steps.value = 30
    explorer.button.click()
    assert "steps must lie in 1..10" in explorer.numbers.value


def test_every_control_has_a_name(checkpoint, cats, chain):
    explorer = widgets.sampler_explorer(checkpoint, n=2)
    for control in (explorer.steps, explorer.eta, explorer.seed, explorer.button):
        assert control.description
    explorer = widgets.image_schedule_explorer(cats)
    assert explorer.T.description and explorer.t.description
    assert widgets.image_trajectory_explorer(chain).slider.description


# --- a recorded run ---


def test_image_trajectory_explorer_follows_the_slider(chain):
    explorer = widgets.image_trajectory_explorer(chain)
    assert "t = 50<" in explorer.numbers.value and explorer.play.max == 10
    before = bytes(explorer.picture.value)
    explorer.slider.index = 6
    assert "t = 20<" in explorer.numbers.value and "t = 20," in explorer.picture.alt
    assert bytes(explorer.picture.value) != before
    for panel, images in zip(explorer._panels, (chain[6].x, chain[7].x0_hat), strict=True):
        assert np.allclose(shown(panel), (core.tiles(images).permute(1, 2, 0) + 1) / 2, atol=1e-6)
    explorer.slider.index = 10  # nothing left to expect: the sample itself
    assert np.array_equal(shown(explorer._panels[0]), shown(explorer._panels[1]))


def test_image_trajectory_explorer_refuses_what_is_no_run(chain):
    with pytest.raises(ValueError, match="two sampler steps"):
        widgets.image_trajectory_explorer(chain[:1])
    with pytest.raises(ValueError, match="shape"):
        widgets.image_trajectory_explorer([step._replace(x=torch.zeros(5, 2)) for step in chain])
