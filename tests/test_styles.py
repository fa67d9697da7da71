"""What happens inside a StyleGAN2, its w, and the explorers of notebook 10, driven from Python."""

import pytest
import torch

from course_utils import checkpoints, sample, styles, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.models.dcgan import DCGANConfig, Generator
from course_utils.models.stylegan2 import StyleGAN2Config, StyleGenerator
from course_utils.widgets.styles import PSI, SHOWN, STEPS

LIMIT_MS = 100


def made(**changes) -> StyleGenerator:
    small = {"size": 16, "z_dim": 8, "w_dim": 6, "mapping": 2, "width": 8, "widest": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StyleGenerator(StyleGAN2Config(**small | changes)).eval().requires_grad_(False)
        model.w_mean.copy_(model.to_w(torch.randn(500, 8)).mean(0))
    return model


def drawn(n=5, seed=1):
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint("made-up", made(), None, {})


# --- the functions ---


def test_mixed_styles_change_over_where_asked():
    a, b = torch.zeros(2, 5, 3), torch.ones(1, 5, 3)
    for at in range(6):
        w = styles.mix(a, b, at)
        assert w.shape == a.shape and bool((w[:, :at] == 0).all()) and bool((w[:, at:] == 1).all())
    for bad in (-1, 6):
        with pytest.raises(ValueError, match=f"0 to 5, got {bad}"):
            styles.mix(a, b, bad)
    with pytest.raises(ValueError, match="must have shape"):
        styles.mix(a, b[..., :2], 1)


def test_maps_are_those_of_every_convolution():
    model = made()
    w = model.to_w(drawn())
    plain, raw = styles.maps(model, w), styles.maps(model, w, raw=True)
    widths = [layer.conv.weight.shape[0] for layer in model.convs]
    assert [x.shape[1] for x in plain] == [x.shape[1] for x in raw] == widths
    assert [x.shape[-1] for x in plain] == [4, 8, 8, 16, 16]
    assert not torch.allclose(plain[0], raw[0])
    assert not any(layer._forward_hooks or layer.conv._forward_hooks for layer in model.convs)


def test_a_spike_stands_out():
    flat = torch.ones(3, 4, 16, 16)
    spike = torch.zeros(3, 4, 16, 16)
    spike[:, 2, 5, 5] = -7.0
    found = styles.peaks([flat, flat + spike, spike])
    assert found[0] == pytest.approx(1)
    assert found[2] == pytest.approx(16), "a single pixel of S x S has rms 1 / S of its size"
    assert 1 < found[1] < 16


def test_noise_share_grows_with_the_strength_of_the_noise():
    model, shares = made(), []
    for strength in (0.0, 0.1, 0.4):
        for layer in model.convs:
            layer.strength.fill_(strength)
        shares.append(styles.noise_share(model, drawn(16)))
    assert shares[0] == pytest.approx(0, abs=1e-5) and shares[0] < shares[1] < shares[2]
    with pytest.raises(ValueError, match="2 repeats or more, got 5 and 1"):
        styles.noise_share(model, drawn(), repeats=1)


def test_length_spread_tells_alike_from_different():
    model = made()
    for layer in (*model.convs, *model.rgbs):  # styles that w hardly changes make a Jacobian that w hardly changes
        layer.style.weight.mul_(1e-3)
    z = drawn(12)
    with torch.no_grad():  # a caller may have switched gradients off
        alike, chance = styles.length_spread(model, z), styles.length_spread(made(), z[:1].expand(12, -1))
        different = styles.length_spread(made(), z)
    assert alike < 0.15 and chance < 0.15 and different > 2 * chance


def test_what_resolutions_add_sums_to_the_images():
    model = made()
    w = model.to_w(drawn())
    parts = styles.added(model, w)
    assert len(parts) == len(model.config.sides)
    torch.testing.assert_close(sum(parts), model.synthesise(w), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="only a skip generator"):
        styles.added(made(architecture="growing"), w)


def test_distance_is_zero_for_itself_and_sees_coarse_differences_everywhere():
    x = torch.zeros(2, 3, 32, 32)
    assert styles.distance(x, x).tolist() == [0, 0]
    board = torch.ones(1, 3, 32, 32)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1  # of which nothing is left in the halved ones
    assert styles.distance(board, x[:1]).item() == pytest.approx(1 / 3)
    assert styles.distance(torch.ones(1, 3, 32, 32), x[:1]).item() == pytest.approx(1)


@pytest.mark.parametrize("extended", [False, True])
def test_a_picture_of_its_own_is_found(extended):
    model = made()
    target = model.synthesise(model.to_w(drawn(1)))[0]
    found = list(styles.project(model, target, steps=150, extended=extended))
    assert [step.step for step in found] == list(range(1, 151))
    assert found[-1].distance < 0.1 * found[0].distance
    last = found[-1]
    assert last.w.shape == (model.config.styles, 6) and bool((last.w == last.w[0]).all()) != extended
    image = model.synthesise(last.w[None])  # the noise on w has faded out by then
    torch.testing.assert_close(image[0], last.image)
    assert styles.distance(image, target[None]).item() == pytest.approx(last.distance, rel=1e-4)


def test_what_cannot_be_projected_is_refused():
    model = made()
    for bad in (torch.zeros(3, 8, 8), torch.full((3, 16, 16), float("nan"))):
        with pytest.raises(ValueError, match="must be finite, of shape"):
            next(styles.project(model, bad))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        next(styles.project(model, torch.zeros(3, 16, 16), steps=0))


# --- the explorers ---


def test_mixing_goes_from_b_to_a(checkpoint):
    mixing = widgets.mixing_explorer(checkpoint)
    a, b = (sample.noise(checkpoint, 1, seed) for seed in (mixing.a.value, mixing.b.value))
    model = checkpoint.model
    ends = [model.synthesise(model.truncated(model.to_w(z), mixing.psi.value))[0] for z in (a, b)]
    mixing.slider.value = model.config.styles
    torch.testing.assert_close(mixing.drawn, ends[0])
    mixing.slider.value = 0
    torch.testing.assert_close(mixing.drawn, ends[1])
    mixing.slider.value = 2
    torch.testing.assert_close(mixing.drawn, model.synthesise(mixing.w[None])[0])
    assert "2 convolutions with the style of A, 3 with that of B" in mixing.numbers.value
    before = mixing.drawn.clone()
    mixing.b.value = 7
    assert not torch.equal(mixing.drawn, before)


def test_truncation_leads_from_the_mean_to_all_variety(checkpoint):
    cut = widgets.truncation_explorer(checkpoint)
    z = sample.noise(checkpoint, SHOWN, 0)
    torch.testing.assert_close(cut.drawn, checkpoint.model(z))
    spreads = []
    for psi in (0.0, 0.5, 1.0):
        cut.psi.value = psi
        spreads.append(cut.spread)
    assert spreads[0] == pytest.approx(0, abs=1e-5) and spreads[0] < spreads[1] < spreads[2]
    cut.psi.value = PSI[0]
    assert "ψ = −1.00" in cut.numbers.value


def test_projection_finds_and_is_walked_through(checkpoint):
    pictures = sample.one_step(checkpoint.model, 3)
    explorer = widgets.projection_explorer(checkpoint, pictures, ["one", "two", "three"])
    assert explorer.slider.disabled and not explorer.found
    explorer.which.value = 1
    explorer.button.click()
    assert len(explorer.found) == STEPS and explorer.slider.value == STEPS and not explorer.slider.disabled
    assert explorer.found[-1].distance < explorer.found[0].distance
    assert f"step {STEPS} of {STEPS}" in explorer.numbers.value
    explorer.slider.value = 3
    assert "step 3 of" in explorer.numbers.value
    explorer.space.value = True  # another question: the answer to the last one goes
    assert not explorer.found and explorer.slider.disabled
    explorer.button.click()
    assert not bool((explorer.found[-1].w == explorer.found[-1].w[0]).all())


def test_other_networks_and_pictures_are_refused(checkpoint):
    dcgan = Checkpoint("a-dcgan", Generator(DCGANConfig(size=16, width=8, z_dim=6)), None, {})
    for explorer in (widgets.mixing_explorer, widgets.truncation_explorer):
        with pytest.raises(ValueError, match="a-dcgan is a Generator, not a StyleGAN2"):
            explorer(dcgan)
    with pytest.raises(ValueError, match=r"images of shape \(B, 3, 16, 16\)"):
        widgets.projection_explorer(checkpoint, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="got 1 for 2"):
        widgets.projection_explorer(checkpoint, torch.zeros(2, 3, 16, 16), ["one"])


def test_what_goes_wrong_is_said(checkpoint, monkeypatch):
    explorers = widgets.mixing_explorer(checkpoint), widgets.truncation_explorer(checkpoint)
    projection = widgets.projection_explorer(checkpoint, torch.zeros(1, 3, 16, 16))

    def broken(*_):
        raise RuntimeError("out of <luck>")

    monkeypatch.setattr(StyleGenerator, "synthesise", broken)
    explorers[0].a.value, explorers[1].psi.value = 5, 0.3
    projection.button.click()
    for explorer in (*explorers, projection):
        assert "out of &lt;luck&gt;" in explorer.numbers.value
    assert not projection.button.disabled


def test_moves_take_less_than_a_tenth_of_a_second(median_ms):
    shipped = checkpoints.load("stylegan2-drawn64")
    mixing, cut = widgets.mixing_explorer(shipped), widgets.truncation_explorer(shipped)

    assert median_ms(mixing.slider, [k % 9 for k in range(12)]) < LIMIT_MS
    assert median_ms(mixing.a, range(3, 15)) < LIMIT_MS
    assert median_ms(cut.psi, [0.05 * k for k in range(12)]) < LIMIT_MS
    assert median_ms(cut.seed, range(3, 15)) < LIMIT_MS
