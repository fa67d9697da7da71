"""The explorer that fuses two pictures, driven from Python as the browser would."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import checkpoints, fusion, sample, samplers, schedules, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.data import drawn
from course_utils.models import dcgan
from course_utils.models.latent import LatentConfig, LatentDiffusion
from course_utils.models.unet import UNet, UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.widgets import fusion as core
from course_utils.widgets import images
from course_utils.widgets.images import tiles

SIDE, T = 16, 40
SMALL = VAEConfig(size=SIDE, width=8, multipliers=(1, 2), latent=2, spatial=True)
LIMIT_S = 2


def made(name: str, model: torch.nn.Module, T: int | None) -> Checkpoint:
    for p in model.parameters():  # the last layer starts at zero: its answer would not depend on the input
        torch.nn.init.normal_(p, std=0.1) if p.ndim > 1 else None
    schedule = None if T is None else schedules.cosine(T)
    return Checkpoint(name, model.eval().requires_grad_(False), schedule, {})


def unet(T: int, size: int = SIDE, channels: int = 3) -> UNetConfig:
    shape = {"size": size, "channels": channels, "width": 16, "multipliers": (1,), "blocks": 1, "attention": ()}
    return UNetConfig(**shape, predicts="x_0", T=T)


@pytest.fixture(scope="module")
def three() -> list[Checkpoint]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        latent = LatentDiffusion(LatentConfig(SMALL, unet(2 * T, SMALL.latent_shape[1], 2)))
        return [made("a", UNet(unet(T)), T), made("b", latent, 2 * T), made("c", VAE(SMALL), None)]


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return drawn.draw(5, "cat", 64, seed=3).images[:, :, ::4, ::4].contiguous()


@pytest.fixture
def explorer(three, pictures):
    return widgets.fusion_explorer(three, pictures)


def shown(pixels) -> np.ndarray:
    assert pixels.alt.strip()
    return np.asarray(Image.open(io.BytesIO(bytes(pixels.value))).convert("RGB")).astype(int)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    return ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(int)


def same(pixels, image: torch.Tensor) -> bool:
    """Whether an image shows this above its bar, if it has one, but for rounding."""
    return np.abs(shown(pixels)[: image.shape[1]] - as_bytes(image)).max() <= 1


def text(explorer) -> str:
    assert "alert" not in explorer.numbers.value, explorer.numbers.value
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", explorer.numbers.value))


def ask(explorer, number: int, method: str) -> None:
    explorer.how.value = (number, method)


def expected(three, number: int, method: str, a, b, lambda_=0.5, t=None, seed=0) -> torch.Tensor:
    records = fusion.fuse(three[number], a[None], b[None], method, lambda_, t, steps=core.STEPS, seed=seed)
    return sample.decoded(three[number].model, samplers.final(records))[0]


def test_the_menu_offers_every_method_of_every_checkpoint(three, explorer):
    offered = [value for _, value in explorer.how.options]
    assert offered == [(k, method) for k, one in enumerate(three) for method in fusion.methods(one)]
    labels = [label for label, _ in explorer.how.options]
    assert len(set(labels)) == len(labels)
    assert f"pixels: {fusion.LABELS['shared']}" in labels and f"VAE: {fusion.LABELS['linear']}" in labels
    assert f"latent diffusion: {fusion.LABELS['shared']}" in labels and explorer.how.value == (0, "shared")
    twice = [label for label, _ in core.options([three[0], three[0]._replace(name="d")])]
    assert twice[0].startswith("a: ") and twice[-1].startswith("d: ")  # the kind would not tell them apart


def test_every_method_shows_what_fuse_makes(three, pictures, explorer):
    for number, method in [value for _, value in explorer.how.options]:
        ask(explorer, number, method)
        explorer.lambda_.value = 0.3
        t = None if explorer.t.disabled else explorer.t.value
        image = expected(three, number, method, pictures[0], pictures[1], 0.3, t)
        assert "λ = 0.3" in text(explorer) and torch.allclose(explorer.fused, image, atol=1e-4), method
        assert same(explorer.picture, image)
        label = dict((value, label) for label, value in explorer.how.options)[number, method]
        level = "" if t is None else f", t = {t} of {explorer.t.max}"
        assert explorer.picture.alt == f"Fused at λ = 0.3: {label}{level}; A is picture 1 and B is picture 2."
        assert label in explorer.strip.alt


def test_parents_are_chosen_by_sliders_and_from_code(three, pictures, explorer):
    ask(explorer, 0, "cross-fade")
    assert same(explorer.ends[0], pictures[0]) and same(explorer.ends[1], pictures[1])
    explorer.a.value, explorer.b.value, explorer.lambda_.value = 4, 3, 0.25
    assert same(explorer.ends[0], pictures[3]) and explorer.ends[1].alt == "B, picture 3."
    assert torch.allclose(explorer.fused, 0.75 * pictures[3] + 0.25 * pictures[2], atol=1e-5)
    own = -pictures[4]
    explorer.put(own, "B")
    assert same(explorer.ends[1], own) and explorer.ends[1].alt == "B, your own picture."
    assert torch.allclose(explorer.fused, 0.75 * pictures[3] + 0.25 * own, atol=1e-5)
    assert "A is picture 4 and B is your own picture" in explorer.picture.alt
    assert "B: your own picture" in explorer._names[1].value
    explorer.lambda_.value = 0
    assert same(explorer.picture, pictures[3])
    explorer.lambda_.value = 1
    assert same(explorer.picture, own)
    explorer.b.value = 1  # the slider takes over again
    assert same(explorer.ends[1], pictures[0]) and same(explorer.picture, pictures[0])


def test_controls_that_mean_nothing_are_off(explorer):
    for number, method, level, seed in [
        (0, "cross-fade", False, False),
        (0, "independent", True, True),
        (0, "inverted", True, False),
        (0, "repainted", True, True),
        (1, "shared", True, True),
        (2, "linear", False, False),
    ]:
        ask(explorer, number, method)
        assert (not explorer.t.disabled, not explorer.seed.disabled) == (level, seed), method
        assert ("t = " in text(explorer), "no noise, no timestep" in text(explorer)) == (level, not level)


def test_the_timestep_keeps_its_share_of_T(explorer):
    t = explorer.t
    assert (t.min, t.step, t.max, t.value) == (2, 2, T, fusion.LEVEL["shared"] * T)
    explorer.t.value = 30
    ask(explorer, 1, "shared")
    assert (t.min, t.step, t.max, t.value) == (4, 4, 2 * T, 60)
    assert "t = 60 of 80" in text(explorer)
    ask(explorer, 2, "linear")
    ask(explorer, 0, "spliced")
    assert explorer.t.value == 30 and f"usual: {round(fusion.LEVEL['spliced'] * T)}" in text(explorer)


def test_short_chains_offer_each_level(three, pictures):
    explorer = widgets.fusion_explorer(three[0]._replace(schedule=schedules.cosine(7)), pictures)
    assert (explorer.t.min, explorer.t.step, explorer.t.max) == (1, 1, 7) and "of 7" in text(explorer)
    explorer.t.value = 1
    assert "t = 1 of 7" in text(explorer) and "1 evaluation of" in text(explorer)


def test_the_numbers_say_what_it_took(three, pictures, explorer):
    for method, t, count in [("shared", 20, 10), ("shared", 2, 1), ("independent", 40, 20)]:
        ask(explorer, 0, method)
        explorer.t.value = t
        assert f" {count} evaluation{'s' * (count > 1)} of the network" in text(explorer)
        records = fusion.fuse(three[0], pictures[:1], pictures[1:2], method, 0.5, t)
        norm = float(next(records).x.norm()) / (3 * SIDE**2) ** 0.5
        assert f"= {norm:.2f} √d (A alone: " in text(explorer)
    assert abs(norm - 0.5**0.5) < 0.05  # of two independent draws, half of the variance is lost
    alone = float(re.search(r"alone: ([\d.]+) √d", text(explorer))[1])
    assert abs(alone - 1) < 0.06
    ask(explorer, 0, "inverted")
    sizes = []
    handle = three[0].model.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    ups = list(fusion.fuse(three[0], pictures[:1], pictures[1:2], "inverted", 0.5, 40))[:21]
    handle.remove()
    assert sum(sizes) >= 60 and f" {sum(sizes)} evaluations of the network" in text(explorer)
    assert ups[-1].t == 40 and f"(A alone: {float(ups[-1].x.norm()) / (3 * SIDE**2) ** 0.5:.2f} √d)" in text(explorer)


@pytest.mark.parametrize("number", [0, 1])
def test_the_strip_shows_the_way_down(three, pictures, explorer, number):
    ask(explorer, number, "shared")
    records = list(fusion.fuse(three[number], pictures[:1], pictures[1:2], "shared", 0.5, explorer.t.value))
    strip, model = shown(explorer.strip), three[number].model
    assert strip.shape == (2 * (SIDE + 2) + 2, core.COLUMNS * (SIDE + 2) + 2, 3)
    ends = [records[0].x, records[-1].x, records[1].x0_hat, records[-1].x]
    for x, row, column in zip(ends, (0, 0, 1, 1), (0, -1, 0, -1), strict=True):
        top, left = 2 + row * (SIDE + 2), 2 + (column % core.COLUMNS) * (SIDE + 2)
        image = as_bytes(sample.decoded(model, x)[0])
        assert np.abs(strip[top : top + SIDE, left : left + SIDE] - image).max() <= 1
    assert f"t = {explorer.t.value}, " in explorer.strip.alt and "t = 0" in explorer.strip.alt
    assert explorer._scale.value.count("<span") == core.COLUMNS and explorer.strip.width == core.COLUMNS * 100
    explorer.t.value = explorer.t.min  # one step: two records
    assert explorer._scale.value.count("<span") == 2 and explorer.strip.width == 200


def test_an_inversion_shows_the_mix_not_the_climb(three, pictures, explorer):
    ask(explorer, 0, "inverted")
    records = list(fusion.fuse(three[0], pictures[:1], pictures[1:2], "inverted", 0.5, explorer.t.value))
    assert len(records) % 2 == 0 and records[0].t == 0
    first = as_bytes(records[len(records) // 2].x[0].clamp(-1, 1))
    assert np.abs(shown(explorer.strip)[2 : 2 + SIDE, 2 : 2 + SIDE] - first).max() <= 1


def test_methods_without_a_way_show_the_pictures_between(three, pictures, explorer):
    ask(explorer, 2, "linear")
    both = [x.expand(11, -1, -1, -1) for x in (pictures[:1], pictures[1:2])]
    way = samplers.final(fusion.fuse(three[2], *both, "linear", torch.linspace(0, 1, 11)))
    assert torch.allclose(explorer.frames, way, atol=1e-5)
    assert np.abs(shown(explorer.strip) - as_bytes(tiles(way, 11))).max() <= 1
    assert "11 pictures, from λ = 0 to λ = 1. VAE" in explorer.strip.alt
    assert "λ = 0.1<" in explorer._scale.value


@pytest.mark.parametrize(("number", "method"), [(0, "cross-fade"), (0, "independent"), (1, "inverted"), (2, "linear")])
def test_the_film_has_the_pictures_of_the_slider(three, explorer, number, method):
    ask(explorer, number, method)
    explorer.lambda_.value = 0.35
    still = explorer.fused
    explorer.button.click()
    played = Image.open(io.BytesIO(bytes(explorer.picture.value)))
    assert played.is_animated and played.n_frames == core.FRAMES + 1 and played.info["loop"] == 1
    frames = []
    for k in range(played.n_frames):
        played.seek(k)
        assert played.info["duration"] == core.FRAME_MS
        frames.append(np.asarray(played.convert("RGB")).astype(int))
    assert core.FRAME_MS * len(frames) < 5000  # what plays longer must have a button to stop it
    assert np.abs(frames[-1][:SIDE] - as_bytes(still)).max() <= 1
    assert "film of 11 pictures from λ = 0 to λ = 1" in explorer.picture.alt and "λ from 0 to 1" in text(explorer)
    for k in (0, 4, 10):  # the film has the noise of the slider
        explorer.lambda_.value = k / 10
        assert torch.allclose(explorer.frames[k], explorer.fused, atol=1e-4)
        assert np.abs(frames[k] - as_bytes(core.barred(explorer.fused, k / 10))).max() <= 1


def test_the_film_is_computed_once(three, explorer):
    sizes, sent = [], []
    handle = three[0].model.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    explorer.picture.observe(lambda change: sent.append(bytes(change["new"])), "value")
    try:
        explorer.button.click()
        assert set(sizes) == {core.FRAMES}
        assert f" {sum(sizes)} evaluations of the network" in text(explorer)
        sizes.clear()
        explorer.button.click()
        assert not sizes and sent[1] == sent[3] != sent[2]  # another picture between, or it would not start again
        explorer.lambda_.value = 0.1
        assert set(sizes) == {1} and explorer.frames is not None
        for control, value in [(explorer.t, 30), (explorer.seed, 4), (explorer.a, 5)]:
            explorer.button.click()
            before = explorer.frames
            control.value = value
            assert explorer.frames is None
            explorer.button.click()
            assert not torch.equal(explorer.frames, before)
    finally:
        handle.remove()


def test_the_bar_is_as_long_as_lambda():
    image = torch.zeros(3, 48, 40)
    for lambda_ in (0, 0.25, 1):
        out = core.barred(image, lambda_)
        assert torch.equal(out[:, :48], image) and out.shape == (3, 50, 40)
        orange = (out[:, 48] != 0.7).all(0)
        assert orange.sum() == round(40 * lambda_) and orange[: orange.sum()].all()


def test_the_seed_changes_the_noise_alone(explorer):
    ask(explorer, 0, "shared")
    first, x_t = explorer.fused, shown(explorer.strip)[2 : 2 + SIDE, 2 : 2 + SIDE]
    explorer.seed.value = 7
    assert not torch.equal(explorer.fused, first)
    assert not np.array_equal(shown(explorer.strip)[2 : 2 + SIDE, 2 : 2 + SIDE], x_t)
    explorer.seed.value = 0
    assert torch.equal(explorer.fused, first)


def test_what_goes_wrong_is_said(explorer, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(fusion, "fuse", broken)
    for change in (
        lambda: setattr(explorer.lambda_, "value", 0.1),
        lambda: setattr(explorer.t, "value", 40),
        lambda: setattr(explorer.how, "value", (1, "shared")),
        lambda: setattr(explorer.a, "value", 3),
        explorer.button.click,
    ):
        explorer.numbers.value = ""
        change()
        assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and "alert" in explorer.numbers.value
        assert not explorer.button.disabled
    monkeypatch.undo()
    explorer.lambda_.value = 0.2
    assert "λ = 0.2" in text(explorer)


def test_what_does_not_fit_is_refused(three, pictures, explorer):
    gan = Checkpoint("gan", dcgan.Generator(dcgan.DCGANConfig(z_dim=8, width=8)), None, {})
    large = made("large", UNet(unet(T, 32)), T)
    nan = pictures.clone()
    nan[0, 0, 0, 0] = torch.nan
    for given, some, message in [
        ([], pictures, "one or more checkpoints of one picture size.*there is none"),
        ([three[0], large], pictures, "a 16, large 32"),
        ([three[0].model], pictures, "holds a UNet: take what checkpoints.load returns"),
        ([gan], pictures, "gan has no method of fusing pictures"),
        (three, pictures[:1], "at least 2 pictures.*got 1"),
        (three, pictures[0], r"images must have shape \(N, 3, 16, 16\)"),
        (three, pictures[:, :, ::2], r"images must have shape \(N, 3, 16, 16\)"),
        (three, (pictures + 1) * 127.5, r"\[-1, 1\].*bytes become images"),
        (three, nan, r"images must lie in \[-1, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.fusion_explorer(given, some)
    for image, which, message in [
        (pictures[0], "C", "'A' and 'B', got 'C'"),
        (None, "A", "the picture is not there yet"),
        (pictures[:1], "A", r"shape \(3, 16, 16\)"),
        (pictures[0] * 3, "A", r"\[-1, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            explorer.put(image, which)
    assert "your own" not in explorer.picture.alt
    assert len(widgets.fusion_explorer(three[2], pictures).how.options) == 2  # one checkpoint needs no list


def test_every_control_has_a_name_and_draws_where_it_is_let_go(explorer):
    for control in (explorer.a, explorer.b, explorer.lambda_, explorer.t):
        assert control.description and control.continuous_update is False
    assert explorer.how.description and explorer.seed.description and explorer.button.tooltip


def test_the_shipped_models_answer_in_time(monkeypatch, processor_ms):
    monkeypatch.setattr(images, "THREADS", 1)  # threads that wait for each other would be counted
    shipped = [checkpoints.load(name) for name in ("faces64", "ldm-faces64", "vae-faces64-spatial")]
    explorer = widgets.fusion_explorer(shipped, drawn.draw(2, "cat", 64, seed=3).images)
    explorer.t.value, taken = 1000, {}
    for label, value in explorer.how.options:
        taken[label] = processor_ms(lambda value: setattr(explorer.how, "value", value), [value]) / 1000
        assert "λ = 0.5" in text(explorer)
    print({label: f"{seconds:.2f} s" for label, seconds in taken.items()})
    assert max(taken.values()) < 2 * LIMIT_S, taken  # of one core, and there are two
