"""Moving about in the latent space of a VAE, and the widgets that do it, driven from Python as the browser would."""

import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course_utils import latents, sample, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.data import drawn
from course_utils.models import dcgan
from course_utils.models.latent import LatentDiffusion
from course_utils.models.vae import VAE, VAEConfig
from course_utils.widgets import images as core
from course_utils.widgets import latents as explorers

LIMIT_MS = 100
CONFIGS = [VAEConfig(), VAEConfig(multipliers=(1, 2, 4), latent=4, spatial=True)]  # those of the notebook, 64 px
SMALL = VAEConfig(size=16, width=8, multipliers=(1, 2), latent=6)


class Flat(nn.Module):
    """An "encoder" and a "decoder" that only change the shape: its latents are the pictures' numbers, doubled."""

    def encoder(self, x):
        return 2 * x.flatten(1), torch.zeros_like(x.flatten(1))

    def decode(self, z):
        return (z / 2).view(-1, 3, 4, 4).clamp(-1, 1)


def made(config: VAEConfig) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VAE(config)
        for p in model.parameters():  # some layers start at zero
            torch.nn.init.normal_(p, std=0.1) if p.ndim > 1 else None
    return Checkpoint("made-up", model.eval().requires_grad_(False), None, {})


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return drawn.draw(9, "cat", 64, seed=3).images


@pytest.fixture(scope="module", params=[SMALL, VAEConfig(size=16, width=8, multipliers=(1, 2), latent=2, spatial=True)])
def checkpoint(request) -> Checkpoint:
    return made(request.param)


@pytest.fixture(scope="module")
def small(pictures) -> torch.Tensor:
    return pictures[:, :, ::4, ::4].contiguous()


def shown(pixels) -> np.ndarray:
    assert pixels.alt.strip()
    return np.asarray(Image.open(io.BytesIO(bytes(pixels.value))))


def as_bytes(image: torch.Tensor) -> np.ndarray:
    return ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)


def same(pixels, image: torch.Tensor) -> bool:
    """Whether an image shows this, but for rounding: a batch of another size differs in the last bits."""
    return np.abs(shown(pixels).astype(int) - as_bytes(image).astype(int)).max() <= 1


def text(explorer) -> str:
    return re.sub(r"<[^>]+>", " ", explorer.numbers.value)


# --- principal directions ---


def test_principal_finds_the_axes_of_a_gaussian_cloud(generator):
    turn, _ = torch.linalg.qr(torch.randn(48, 48, generator=generator, dtype=torch.float64))
    std = torch.cat([torch.tensor([0.4, 0.2, 0.1]), torch.full((45,), 0.001)]).double()
    cloud = 0.1 + (torch.randn(4000, 48, generator=generator, dtype=torch.float64) * std) @ turn.T
    found = latents.principal(Flat(), (cloud / 2).float().view(-1, 3, 4, 4))
    assert found.mean.shape == (48,) and found.axes.shape == (48, 48) and found.std.shape == (48,)
    assert torch.allclose(found.mean, torch.full((48,), 0.1), atol=0.02)
    assert torch.allclose(found.std[:3], std[:3].float(), rtol=0.04) and (found.std.diff() <= 0).all()
    along = (found.axes[:3].double() @ turn[:, :3]).abs()
    assert torch.allclose(along, torch.eye(3, dtype=torch.float64), atol=0.05)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 3)])
@pytest.mark.parametrize("n", [2, 4, 40])
def test_components_describe_the_spread_exactly(shape, n, generator):
    mu = torch.randn(n, *shape, generator=generator)
    found, numbers = latents.components(mu), math.prod(shape)
    k = min(n - 1, numbers)
    assert found.mean.shape == shape and found.axes.shape == (k, *shape) and found.std.shape == (k,)
    axes = found.axes.flatten(1)
    assert torch.allclose(axes @ axes.T, torch.eye(k), atol=1e-5)
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    spread = (mu - found.mean).flatten(1)
    assert torch.allclose((spread @ axes.T).std(0), found.std, rtol=1e-4)
    assert torch.allclose(spread @ axes.T @ axes, spread, atol=1e-5)  # nothing of the spread is left out
    again = latents.components(-mu)  # the sign does not depend on which side the latents lie
    assert torch.allclose(again.axes, found.axes, atol=1e-4) and torch.allclose(again.mean, -found.mean, atol=1e-6)


def test_one_picture_has_no_directions(checkpoint, small):
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        latents.principal(checkpoint.model, small[:1])


# --- walks, interpolation, arithmetic ---


def test_walk_decodes_each_amount(checkpoint, small):
    found = latents.principal(checkpoint.model, small)
    images = latents.walk(checkpoint.model, found.mean, found.axes[1], [-2, 0, 0.5])
    z = torch.stack([found.mean + a * found.axes[1] for a in (-2, 0, 0.5)])
    assert images.shape == (3, 3, 16, 16) and torch.allclose(images, checkpoint.model.decode(z), atol=1e-5)
    assert not images.requires_grad
    with pytest.raises(ValueError, match="one shape"):
        latents.walk(checkpoint.model, found.mean, found.axes, [1])


def test_encode_and_decode_do_not_depend_on_the_batch(checkpoint, small, monkeypatch):
    mu = latents.encode(checkpoint.model, small)
    images = latents.decode(checkpoint.model, mu)
    monkeypatch.setattr(latents, "_BATCH", 4)
    assert torch.allclose(latents.encode(checkpoint.model, small), mu, atol=1e-5)
    assert torch.allclose(latents.decode(checkpoint.model, mu), images, atol=1e-5)
    assert torch.allclose(mu, checkpoint.model(small).mu, atol=1e-5) and images.abs().max() <= 1


@pytest.mark.parametrize("how", latents.HOW)
@pytest.mark.parametrize("shape", [(7,), (2, 4, 4)])
def test_blend_meets_both_ends_exactly(how, shape, generator):
    a, b = torch.randn(2, *shape, generator=generator)
    between = latents.blend(a, b, [0, 0.3, 1], how)
    assert between.shape == (3, *shape) and torch.equal(between[0], a) and torch.equal(between[2], b)


def test_the_arc_keeps_the_length_and_the_speed():
    for degrees in (1, 60, 90, 179):
        w = math.radians(degrees)
        a, b = torch.tensor([3.0, 0.0]), torch.tensor([3 * math.cos(w), 3 * math.sin(w)])
        t = torch.linspace(0, 1, 9)
        expected = torch.stack([3 * (t * w).cos(), 3 * (t * w).sin()], 1)
        assert torch.allclose(latents.blend(a, b, t, "spherical"), expected, atol=1e-4)
    middle = latents.blend(a, b, [0.5], "linear")[0]
    assert middle.norm() < 0.03 and torch.allclose(middle, (a + b) / 2)


def test_independent_draws_lie_at_right_angles_and_the_line_between_them_is_short(generator):
    a, b = torch.randn(2, 20_000, generator=generator)
    line, arc = (latents.blend(a, b, [0.5], how)[0].norm() / 20_000**0.5 for how in latents.HOW)
    assert abs(line - 0.5**0.5) < 0.02 and abs(arc - 1) < 0.02


@pytest.mark.parametrize("factor", [1.0, 2.0, 1 + 1e-7, -1.0, 0.0])
def test_parallel_vectors_take_the_line(factor, generator):
    a = torch.randn(8, generator=generator)
    out = latents.blend(a, factor * a, [0, 0.25, 1], "spherical")
    assert torch.equal(out, latents.blend(a, factor * a, [0, 0.25, 1], "linear")) and out.isfinite().all()


@pytest.mark.parametrize("how", latents.HOW)
def test_interpolate_decodes_what_lies_between(checkpoint, small, how):
    images = latents.interpolate(checkpoint.model, small[0], small[1], 5, how)
    mu = latents.encode(checkpoint.model, small[:2])
    z = latents.blend(mu[0], mu[1], [0, 0.25, 0.5, 0.75, 1], how)
    assert torch.allclose(images, checkpoint.model.decode(z), atol=1e-5)
    assert torch.allclose(images[[0, -1]], checkpoint.model.decode(mu), atol=1e-5)


def test_arithmetic_adds_the_difference_of_means(small):
    model, x = Flat(), small[:, :, ::4, ::4] / 4
    out = latents.arithmetic(model, x[:3], x[3:5], x[5])
    assert torch.allclose(out, x[5] + x[:3].mean(0) - x[3:5].mean(0), atol=1e-6) and out.shape == (3, 4, 4)
    assert torch.allclose(latents.arithmetic(model, x[:3], x[:3], x[5]), x[5], atol=1e-6)
    with pytest.raises(ValueError, match="negative holds no image"):
        latents.arithmetic(model, x, x[:0], x[0])


def test_what_cannot_be_interpolated_is_refused(checkpoint, small):
    a, b = small[:2]
    for arguments, message in [
        ((a, b, 1), "its 2 ends, got n = 1"),
        ((a, b, 3, "cubic"), "unknown interpolation 'cubic': choose one of linear, spherical"),
        ((a, b[:, ::2], 3), "one shape"),
        ((a[:, ::2, ::2], b[:, ::2, ::2], 3), r"\(B, 3, 16, 16\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            latents.interpolate(checkpoint.model, *arguments)
    with pytest.raises(ValueError, match="one shape"):
        latents.blend(torch.zeros(2), torch.zeros(3), [0])


# --- along the directions ---


def test_latent_explorer_shows_the_pictures_of_walk(checkpoint, small):
    explorer, model = widgets.latent_explorer(checkpoint, small), checkpoint.model
    found, mu = latents.principal(model, small), latents.encode(model, small)
    assert len(explorer.sliders) == 6 and torch.allclose(explorer.directions.axes, found.axes, atol=1e-5)
    plain = latents.decode(model, mu)
    assert same(explorer.picture, plain[0]) and same(explorer.unmoved, plain[0]) and same(explorer.original, small[0])
    assert "picture 1, not moved" in explorer.picture.alt and "direction 1 at 0" in text(explorer)
    explorer.which.value, explorer.sliders[1].value = 3, 1.5
    explorer.sliders[0].value = -2.0
    z = mu[2] + 1.5 * found.std[1] * found.axes[1]
    assert torch.allclose(explorer.z, z - 2 * found.std[0] * found.axes[0], atol=1e-5)
    strip = latents.walk(model, z, found.std[0] * found.axes[0], range(-3, 4))
    assert same(explorer.strip, core.tiles(strip, 7)) and torch.allclose(explorer.decoded, strip[1], atol=1e-5)
    assert same(explorer.picture, strip[1]) and same(explorer.unmoved, plain[2]) and same(explorer.original, small[2])
    assert explorer.picture.alt == (
        "Decoded: picture 3, moved by −2.0 along direction 1, +1.5 along direction 2 standard deviations."
    )
    assert "7 pictures: direction 1 from −3 to 3" in explorer.strip.alt
    share = 100 * found.std[0] ** 2 / found.std.square().sum()
    assert "direction 1 at −2.0 std" in text(explorer) and f"{share:.0f}% of the variance" in text(explorer)
    assert f"= {explorer.z.norm():.1f} (start {mu[2].norm():.1f}" in text(explorer)


def test_latent_explorer_starts_from_the_mean_and_from_random_z(checkpoint, small):
    explorer, model = widgets.latent_explorer(checkpoint, small, directions=2), checkpoint.model
    explorer.start.value = explorers.MEAN
    assert torch.allclose(explorer.z, latents.encode(model, small).mean(0), atol=1e-5)
    assert "the mean of 9 pictures" in explorer.picture.alt and explorer.which.disabled and explorer.seed.disabled
    assert explorer._itself.layout.visibility == "hidden"
    explorer.start.value, explorer.seed.value = explorers.RANDOM, 5
    assert not explorer.seed.disabled and explorer.which.disabled
    assert same(explorer.picture, sample.one_step(model, 1, seed=5)[0])
    assert "the random z of seed 5" in explorer.picture.alt
    explorer.start.value = explorers.PICTURE
    assert explorer._itself.layout.visibility == "visible" and not explorer.which.disabled


def test_the_strip_is_decoded_only_when_it_changes(checkpoint, small):
    explorer, sizes = widgets.latent_explorer(checkpoint, small), []
    handle = checkpoint.model.decoder.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    try:
        for k, value, expected in [(0, 1.0, [1]), (0, 2.0, [1]), (2, 1.0, [1, 7]), (2, 3.0, [1]), (0, 1.0, [1, 7])]:
            explorer.sliders[k].value = value
            assert sizes == expected
            sizes.clear()
        explorer.reset.click()
        assert sizes == [7]  # the picture that it started from is there already
    finally:
        handle.remove()
    assert all(slider.value == 0 for slider in explorer.sliders) and torch.equal(explorer.decoded, explorer._from_x)
    assert "direction 1 at 0" in text(explorer) and "not moved" in explorer.picture.alt


def test_the_mark_stands_under_the_tile_of_its_amount():
    tiles = core.tiles(torch.zeros(7, 3, 16, 16), 7)
    for amount in (-3, 0, 2):
        left = re.findall(r"left: ([\d.]+)%", explorers.scale(16, amount))
        assert len(left) == 8 and left[0] == left[4 + amount]
        column = round(float(left[0]) / 100 * tiles.shape[2])
        assert column == 2 + 18 * (amount + 3) + 8 and tiles[0, 2, column] == 0
    assert ">▲<" in explorers.scale(16, 1.3) and ">−3<" in explorers.scale(16, 0) and ">0<" in explorers.scale(16, 0)


def test_few_pictures_have_few_directions(checkpoint, small):
    assert len(widgets.latent_explorer(checkpoint, small[:3]).sliders) == 2
    alike = widgets.latent_explorer(checkpoint, small[:1].repeat(2, 1, 1, 1))
    alike.sliders[0].value = 3
    assert "alert" not in alike.numbers.value and "0% of the variance" in text(alike)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        widgets.latent_explorer(checkpoint, small, directions=0)


# --- between two pictures ---


@pytest.mark.parametrize("how", latents.HOW)
def test_interpolation_explorer_shows_the_pictures_of_interpolate(checkpoint, small, how):
    explorer = widgets.interpolation_explorer(checkpoint, small)
    explorer.how.value, explorer.a.value, explorer.b.value = how, 4, 2
    expected = latents.interpolate(checkpoint.model, small[3], small[1], 41, how)
    for k in (0, 18, 40):
        explorer.slider.index = k
        assert torch.allclose(explorer.decoded, expected[k], atol=1e-5) and same(explorer.picture, expected[k])
        assert explorer.picture.alt == f"Decoded at {k / 40:g} of the {how} way from picture 4 to picture 2."
        assert f"{k / 40:g} of the way" in text(explorer) and how in text(explorer)
        assert f"length of z = {explorer.z.norm():.1f}" in text(explorer)
    assert same(explorer.ends[0], small[3]) and same(explorer.ends[1], small[1])
    assert explorer.ends[0].alt == "A, picture 4." and explorer.play.max == 40


def test_interpolation_explorer_shows_the_cross_fade_on_demand(checkpoint, small):
    explorer = widgets.interpolation_explorer(checkpoint, small)
    assert explorer._fade.layout.visibility == "hidden" and not explorer.mixed.alt
    explorer.slider.index, explorer.pixels.value = 10, True
    assert explorer._fade.layout.visibility == "visible"
    assert same(explorer.mixed, 0.75 * small[0] + 0.25 * small[1]) and "mixed at 0.25" in explorer.mixed.alt
    explorer.slider.index = 40
    assert same(explorer.mixed, small[1])
    explorer.pixels.value = False
    assert explorer._fade.layout.visibility == "hidden"


# --- stored results ---


def results(reconstructed: bool = True) -> dict:
    def some(seed, n):
        return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    return {
        weight: {
            "samples": some(k, 9),
            "reconstructed": some(k + 5, 4) if reconstructed and k < 2 else None,
            "numbers": f"FID {k} <b>",
        }
        for k, weight in enumerate([1.0, 0.001, 0.02])
    }


def test_stored_explorer_follows_its_slider():
    stored = results()
    explorer = widgets.stored_explorer(stored, "KL weight")
    assert [value for _, value in explorer.slider.options] == [0.001, 0.02, 1.0]  # in order
    for weight, k in [(0.001, 1), (1.0, 0), (0.02, 2)]:
        explorer.slider.value = weight
        samples, reconstructed = explorer.pictures["samples"], explorer.pictures["reconstructed"]
        assert np.array_equal(shown(samples), as_bytes(core.tiles(stored[weight]["samples"], 3)))
        assert samples.alt == f"9 samples, KL weight = {weight:g}. FID {k} <b>"
        assert f"KL weight = {weight:g}" in text(explorer) and f"FID {k} &lt;b&gt;" in explorer.numbers.value
        hidden = explorer._panels["reconstructed"].layout.visibility == "hidden"
        assert hidden == (k == 2)
        if not hidden:
            assert np.array_equal(shown(reconstructed), as_bytes(core.tiles(stored[weight]["reconstructed"], 2)))


def test_stored_explorer_has_one_panel_where_nothing_was_reconstructed():
    stored = results(reconstructed=False)
    as_stored = {k: {**v, "samples": ((v["samples"] + 1) * 127.5).round().byte()} for k, v in stored.items()}
    explorer = widgets.stored_explorer(as_stored, "KL weight")
    assert list(explorer.pictures) == ["samples"]
    assert np.array_equal(shown(explorer.pictures["samples"]), as_bytes(core.tiles(stored[0.001]["samples"], 5)))


def test_what_is_no_stored_result_is_refused():
    good = results()[1.0]
    for stored, message in [
        ({}, "stored is empty"),
        ({"a": good}, "'a' is no number"),
        ({1: {"samples": good["samples"]}}, "at 1 lacks numbers, reconstructed"),
        ({1: good | {"samples": None}}, "at 1 has no samples"),
        ({1: good | {"samples": torch.zeros(3, 8, 8)}}, "samples at 1 must have shape"),
        ({1: good, 2: good | {"samples": torch.zeros(4, 3, 8, 8)}}, "one shape in all results"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.stored_explorer(stored, "x")


# --- all ---


@pytest.mark.parametrize("build", [widgets.latent_explorer, widgets.interpolation_explorer])
def test_what_does_not_fit_is_refused(build, small):
    checkpoint = made(SMALL)
    with pytest.raises(ValueError, match=r"images of shape \(B, 3, 16, 16\), got \(9, 3, 8, 8\)"):
        build(checkpoint, small[..., ::2, ::2])
    with pytest.raises(ValueError, match="at least 2 pictures, got 1"):
        build(checkpoint, small[:1])
    with pytest.raises(ValueError, match="at least 2 pictures, got 0"):
        build(checkpoint, small[:0])
    gan = dcgan.Generator(dcgan.DCGANConfig(z_dim=8, width=8))
    for other in (gan, LatentDiffusion()):
        with pytest.raises(ValueError, match=f"made-up is a {type(other).__name__}, not a VAE"):
            build(checkpoint._replace(model=other), small)


def test_what_goes_wrong_is_said(small, monkeypatch):
    checkpoint = made(SMALL)
    first, second = widgets.latent_explorer(checkpoint, small), widgets.interpolation_explorer(checkpoint, small)

    def broken(*_):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(latents, "decode", broken)
    for explorer, control, value in [
        (first, first.which, 2),
        (first, first.sliders[0], 1),
        (second, second.how, "spherical"),
        (second, second.a, 3),
    ]:
        explorer.numbers.value = ""
        control.value = value
        assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and "alert" in explorer.numbers.value


def test_every_control_has_a_name_and_every_image_an_alt_text(checkpoint, small):
    first, second = widgets.latent_explorer(checkpoint, small), widgets.interpolation_explorer(checkpoint, small)
    for control in (*first.sliders, first.which, first.seed, first.reset):
        assert control.description
    for control in (second.a, second.b, second.pixels, second.slider):
        assert control.description
    assert all(slider.continuous_update for slider in first.sliders)
    for pixels in (first.picture, first.unmoved, first.original, first.strip, second.picture, *second.ends):
        assert pixels.alt and shown(pixels).ndim == 3


@pytest.mark.parametrize("config", CONFIGS)
def test_explorers_of_the_notebooks_networks_answer_in_time(config, pictures, processor_ms):
    checkpoint = made(config)
    explorer = widgets.latent_explorer(checkpoint, pictures)
    first = explorer.sliders[0]
    taken = {
        "a slider": processor_ms(lambda value: setattr(first, "value", value), (-2, -1, 0.5, 1, 2)),
        "another": processor_ms(lambda k: setattr(explorer.sliders[k], "value", 1.5), (1, 2, 3, 4, 5)),
        "picture": processor_ms(lambda k: setattr(explorer.which, "value", k), (2, 3, 4, 5, 6)),
        "seed": processor_ms(lambda how: setattr(explorer.start, "value", how), explorer.start.options[::-1]),
        "reset": processor_ms(lambda _: explorer.reset.click(), (0,)),
    }
    explorer = widgets.interpolation_explorer(checkpoint, pictures)
    explorer.pixels.value = True
    taken["way"] = processor_ms(lambda k: setattr(explorer.slider, "index", k), (3, 9, 20, 30, 40))
    taken["end"] = processor_ms(lambda k: setattr(explorer.b, "value", k), (3, 4, 5))
    print({name: f"{ms:.0f} ms" for name, ms in taken.items()})
    assert max(taken.values()) < LIMIT_MS, taken


def test_stored_explorer_answers_in_time(pictures, processor_ms):
    many = pictures.repeat(4, 1, 1, 1)
    stored = {k: {"samples": many.roll(k, 0), "reconstructed": many, "numbers": ""} for k in range(6)}
    explorer = widgets.stored_explorer(stored, "x")
    taken = processor_ms(lambda k: setattr(explorer.slider, "value", k), range(1, 6))
    print(f"{taken:.0f} ms")
    assert taken < LIMIT_MS
