"""The explorers of notebook 06, driven from Python as the browser would."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import checkpoints, sample, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.data import drawn
from course_utils.models.dcgan import DCGANConfig, Discriminator, Generator
from course_utils.models.vae import VAE, VAEConfig
from course_utils.widgets.adversaries import STEPS, STOPS

LIMIT_MS = 100
SMALL = DCGANConfig(size=16, width=8, z_dim=6)


def made(config: DCGANConfig = SMALL, **card) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Generator(config)
    return Checkpoint("made-up", model.eval().requires_grad_(False), None, card)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return drawn.draw(9, "cat", 32, seed=3).images[..., ::2, ::2].contiguous()


@pytest.fixture(scope="module")
def judge() -> Discriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Discriminator(SMALL)


def shown(pixels) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(bytes(pixels.value))))


# --- the walk ---


def test_walk_passes_its_stops_and_closes():
    checkpoint = made()
    walk = widgets.walk_explorer(checkpoint)
    stops = sample.one_step(checkpoint.model, STOPS, seed=0)
    for k in range(STOPS + 1):
        walk.slider.index = k * STEPS
        torch.testing.assert_close(walk.drawn, stops[k % STOPS], atol=1e-5, rtol=0)
    assert walk.play.max == len(walk.slider.options) - 1


def test_walk_between_stops_keeps_its_length_on_the_arc_and_loses_it_on_the_line():
    walk = widgets.walk_explorer(made(DCGANConfig(size=16, width=8, z_dim=128)))
    ends = []
    for k in (0, STEPS):
        walk.slider.index = k
        ends.append(float(walk.z.norm()))
    walk.slider.index = STEPS // 2
    assert min(ends) * 0.98 < walk.z.norm() < max(ends) * 1.02
    walk.how.value = "linear"
    assert walk.z.norm() < 0.85 * min(ends)


def test_walk_scales_its_z_and_shows_one_picture_at_zero():
    walk = widgets.walk_explorer(made())
    before = walk.z.clone()
    walk.length.value = 0.5
    torch.testing.assert_close(walk.z, before / 2)
    walk.length.value = 0
    walk.slider.index = 33
    first = walk.drawn.clone()
    walk.slider.index = 70
    assert torch.equal(walk.drawn, first)
    assert "length of z = 0.0" in walk.numbers.value


def test_walk_asks_for_a_class():
    walk = widgets.walk_explorer(checkpoints.load("drawn-catfrog32-gan"))
    cat = walk.drawn.clone()
    walk.label.value = 1
    assert not torch.equal(walk.drawn, cat)
    y = torch.ones(1, dtype=torch.long)
    frog = sample.one_step(checkpoints.load("drawn-catfrog32-gan").model, 1, y, seed=0)
    torch.testing.assert_close(walk.drawn, frog[0], atol=1e-5, rtol=0)


def test_walk_refuses_other_networks():
    vae = Checkpoint("a-vae", VAE(VAEConfig(size=16, width=8, multipliers=(1, 2), latent=6)), None, {})
    with pytest.raises(ValueError, match="a-vae is a VAE, not a Generator"):
        widgets.walk_explorer(vae)


# --- scores ---


def test_score_is_that_of_the_discriminator_in_evaluation_mode(judge, pictures):
    judge.train()
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    scores = widgets.score_explorer(judge, pictures, -pictures)
    assert judge.training and all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())
    assert all(p.requires_grad for p in judge.parameters())
    with torch.no_grad():
        expected = judge.eval()(pictures)
    scores.which.value = 4
    assert scores.logit == pytest.approx(float(expected[3]), abs=1e-5)
    scores.source.value = "generated"
    with torch.no_grad():
        assert scores.logit == pytest.approx(float(judge(-pictures[3:4])), abs=1e-5)
    assert f"{scores.logit:+.2f}".replace("-", "−") in scores.numbers.value


def test_score_follows_what_is_done_to_the_picture(judge, pictures):
    scores = widgets.score_explorer(judge, pictures, -pictures)
    plain, logit = scores.changed.clone(), scores.logit
    torch.testing.assert_close(plain, pictures[0])
    for name, value in (("noise", 0.3), ("blur", 1.5), ("shift", 3), ("brightness", -0.3)):
        scores.changes[name].value = value
        assert not torch.equal(scores.changed, plain), name
        assert scores.logit == pytest.approx(float(judge.eval()(scores.changed[None]).detach()), abs=1e-5)
        if name == "shift":
            torch.testing.assert_close(scores.changed[..., 3:], plain[..., :-3])
        scores.reset.click()
        torch.testing.assert_close(scores.changed, plain)
        assert scores.logit == pytest.approx(logit)
    scores.changes["blur"].value = 2
    assert scores.changed.std() < plain.std()
    np.testing.assert_allclose(shown(scores.picture), (255 * (viewable(scores.changed) + 1) / 2).round(), atol=1)


def viewable(image: torch.Tensor) -> np.ndarray:
    return image.numpy().transpose(1, 2, 0)


def test_score_keeps_its_opinion_while_training_goes_on(pictures):
    judge = Discriminator(SMALL)
    scores = widgets.score_explorer(judge, pictures, -pictures)
    before = scores.logit
    torch.nn.init.zeros_(judge.last.weight)
    scores.which.value = 2
    scores.which.value = 1
    assert scores.logit == before


def test_score_refuses_what_does_not_fit(judge, pictures):
    with pytest.raises(ValueError, match="come from a Discriminator, got a Generator"):
        widgets.score_explorer(Generator(SMALL), pictures, pictures)
    with pytest.raises(ValueError, match="take one without classes"):
        widgets.score_explorer(Discriminator(DCGANConfig(size=16, width=8, classes=2)), pictures, pictures)
    with pytest.raises(ValueError, match="generated must hold at least 2 pictures, got 1"):
        widgets.score_explorer(judge, pictures, pictures[:1])
    with pytest.raises(ValueError, match=r"images of shape \(B, 3, 16, 16\)"):
        widgets.score_explorer(judge, pictures[..., ::2, ::2], pictures)


# --- both ---


def test_what_goes_wrong_is_said(judge, pictures, monkeypatch):
    walk, scores = widgets.walk_explorer(made()), widgets.score_explorer(judge, pictures, -pictures)

    def broken(*_):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(Generator, "forward", broken)
    monkeypatch.setattr(Discriminator, "forward", broken)
    walk.slider.index, scores.which.value = 5, 3
    for explorer in (walk, scores):
        assert "out of &lt;luck&gt;" in explorer.numbers.value


def test_moves_take_less_than_a_tenth_of_a_second(pictures, median_ms):
    walk = widgets.walk_explorer(checkpoints.load("drawn-catfrog32-gan"))
    full = drawn.draw(200, "cat", 32, seed=3).images
    scores = widgets.score_explorer(Discriminator(DCGANConfig(width=32)), full, full.flip(-1))

    assert median_ms(walk.slider, [walk.slider.options[k][1] for k in range(1, 16)]) < LIMIT_MS
    assert median_ms(walk.length, [0.5 + 0.05 * k for k in range(15)]) < LIMIT_MS
    assert median_ms(scores.changes["blur"], [0.1 * k for k in range(1, 16)]) < LIMIT_MS
    assert median_ms(scores.which, range(2, 17)) < LIMIT_MS
