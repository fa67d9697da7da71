"""StyleGAN2: modulation against the paper's equations, styles, noise, growing, and what a bad input is told."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from course_utils import adversarial, models, sample, samplers
from course_utils.data.images import ImageSet
from course_utils.models.stylegan2 import (
    ARCHITECTURES,
    NORMALISATIONS,
    StyledConv,
    StyleDiscriminator,
    StyleGAN2Config,
    StyleGenerator,
)
from course_utils.recipes import StyleGANRecipe

SMALL = {"size": 32, "z_dim": 8, "w_dim": 6, "mapping": 2, "width": 8, "widest": 16}


def made(kind=StyleGenerator, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(StyleGAN2Config(**SMALL | changes)).eval()


@pytest.fixture
def z():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def test_a_styled_convolution_is_that_of_equations_1_to_3(z):
    layer, w = made().convs[3], made().to_w(z)
    x = torch.randn(5, 16, 8, 8)
    with torch.no_grad():
        layer.bias.uniform_(-1, 1)
        scale = 1 + layer.style(w)
        weight = layer.conv.weight * layer.conv.gain * scale[:, None, :, None, None]  # eq. 1
        weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()  # eq. 3
        ways = zip(F.interpolate(x, scale_factor=2, mode="bilinear") if layer.up else x, weight, strict=True)
        wanted = torch.cat([F.conv2d(one[None], own, padding=1) for one, own in ways]) + layer.bias[:, None, None]
        torch.testing.assert_close(layer(x, w), F.leaky_relu(wanted, 0.2) * math.sqrt(2), atol=1e-4, rtol=1e-4)


def layer_of(normalise, **changes):
    torch.manual_seed(0)
    return StyledConv(StyleGAN2Config(**SMALL, normalise=normalise, **changes), 32, 32)


def test_demodulation_keeps_the_spread_whatever_the_style():
    torch.manual_seed(0)
    x, w = torch.randn(4, 32, 16, 16), 30 * torch.randn(4, 6)
    spread = {}
    for how in NORMALISATIONS:
        layer = StyledConv(StyleGAN2Config(**SMALL, normalise=how), 32, 32)
        spread[how] = layer(x, w).std((1, 2, 3))
    assert (spread["demodulation"] - 1).abs().max() < 0.35 and spread["none"].min() > 5
    with torch.no_grad():
        normalised = layer_of("instance")(1e3 * x, w) - layer_of("instance")(x, w)
        layer = layer_of("demodulation")
        kept, thrice = layer(3 * x, w), 3 * layer(x, w)
    assert normalised.abs().max() < 1e-3, "what a picture says about its size is gone"
    torch.testing.assert_close(kept, thrice, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_every_switch_gives_images_and_gradients_for_all_weights(normalise, outside, architecture, z):
    changes = {"normalise": normalise, "outside": outside, "architecture": architecture}
    generator, discriminator = (made(kind, **changes).train() for kind in (StyleGenerator, StyleDiscriminator))
    noise = generator.draw_noise(5, torch.Generator().manual_seed(0))
    images = generator(z, noise=noise)
    assert images.shape == (5, 3, 32, 32) and discriminator(images).shape == (5,)
    discriminator(images).square().sum().backward()
    for name, p in [*generator.named_parameters(), *discriminator.named_parameters()]:
        unused = architecture == "growing" and (".".join(name.split(".")[:2]) in {f"rgbs.{k}" for k in range(3)})
        unused |= architecture == "growing" and name.startswith(("firsts.0", "firsts.1", "firsts.2"))
        # behind an instance norm a constant makes no difference: that is one of the paper's points
        lost = normalise == "instance" and not outside and name.endswith("bias") and name.startswith("convs")
        assert p.grad is not None or unused, name
        assert unused or lost or p.grad.abs().max() > 0, name


def test_each_convolution_listens_to_its_own_style_and_noise(z):
    generator = made()
    styles, n = z[:, None].expand(-1, generator.config.styles, -1), generator.config.styles
    torch.testing.assert_close(generator(styles), generator(z), atol=1e-5, rtol=1e-5)
    assert n == 7 and len(generator.draw_noise(2, torch.Generator())) == n
    torch.nn.init.ones_(generator.convs[-1].strength)
    for k in range(n):
        other = styles.clone()
        other[:, k] = z.flip(0)
        assert not torch.allclose(generator(other)[0], generator(z)[0], atol=1e-4), k
    fixed, again = generator(z), generator(z)
    fresh = generator(z, noise=generator.draw_noise(5, torch.Generator().manual_seed(3)))
    assert torch.equal(fixed, again) and not torch.allclose(fixed, fresh, atol=1e-3)


def test_truncation_leads_to_the_mean(z):
    generator, random = made(size=8).train(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(1200):
            generator(torch.randn(4, 8, generator=random))
    w = generator.eval().to_w(torch.randn(20_000, 8, generator=random))
    assert (generator.w_mean - w.mean(0)).abs().max() < 0.2 * w.std()
    assert torch.equal(generator.truncated(w[:3], 1.0), generator.w_mean + 1.0 * (w[:3] - generator.w_mean))
    assert torch.equal(generator.truncated(w[:3], 0.0), generator.w_mean.expand(3, -1))


def test_a_growing_pair_looks_at_no_more_than_its_level(z):
    generator, discriminator = (made(kind, architecture="growing") for kind in (StyleGenerator, StyleDiscriminator))
    fine = torch.randn(5, 3, 32, 32)
    coarse = F.interpolate(F.avg_pool2d(fine, 8), scale_factor=8)
    for network in (generator, discriminator):
        network.level.fill_(0.0)
    assert torch.allclose(discriminator(fine), discriminator(coarse), atol=1e-5)
    before = generator(z)
    torch.nn.init.normal_(generator.rgbs[1].conv.weight, std=3.0)
    assert torch.equal(generator(z), before), "8 x 8 pixels are not yet drawn"
    for network in (generator, discriminator):
        network.level.fill_(0.25)
    assert not torch.allclose(generator(z), before, atol=1e-4)
    assert not torch.allclose(discriminator(fine), discriminator(coarse), atol=1e-5)
    levels = torch.linspace(0, 3, 61)
    found = []
    for level in levels:
        generator.level.fill_(float(level))
        found.append(generator(z))
    jumps = torch.stack([(a - b).abs().max() for a, b in zip(found[1:], found[:-1], strict=True)])
    assert jumps.max() < 0.5 * (found[0] - found[-1]).abs().max(), "levels fade in, they do not jump"


def test_what_a_growing_generator_draws_survives_the_discriminators_pooling(z):
    generator = made(architecture="growing")
    rgb = []
    generator.rgbs[1].register_forward_hook(lambda module, inputs, out: rgb.append(out))
    generator.level.fill_(1.0)
    torch.testing.assert_close(F.avg_pool2d(generator(z), 4), rgb[0])


def test_pictures_differ_in_their_noise_and_depend_on_seed_and_place_alone():
    generator = made()
    for layer in generator.convs:
        torch.nn.init.ones_(layer.strength)
    five = sample.one_step(generator, 5, batch_size=2)
    torch.testing.assert_close(sample.one_step(generator, 3), five[:3])
    z = sample.noise_from(generator, samplers.example_generators(0, 0, 5))
    assert not torch.allclose(generator(z).clamp(-1, 1), five, atol=1e-2), "the noise of the network itself is not used"


def test_truncated_pictures_are_those_of_the_truncated_w():
    generator = made()
    generator.w_mean.fill_(0.3)
    z = sample.noise_from(generator, samplers.example_generators(0, 0, 3))
    found = sample.one_step(generator, 3, psi=0.4)
    expected = generator.synthesise(generator.truncated(generator.to_w(z), 0.4)).clamp(-1, 1)
    torch.testing.assert_close(found, expected)  # the noise has no strength yet
    assert not torch.allclose(found, sample.one_step(generator, 3), atol=1e-3)
    with pytest.raises(ValueError, match="a w to truncate, and this is a Identity"):
        sample.one_step(torch.nn.Identity(), 3, psi=0.4)


def test_images_that_are_all_alike_betray_themselves():
    discriminator, x = made(StyleDiscriminator), torch.randn(1, 3, 32, 32)
    seen = []
    discriminator.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, -1]))
    discriminator(x.expand(4, -1, -1, -1))
    discriminator(torch.randn(4, 3, 32, 32))
    assert seen[0].abs().max() < 1e-3 < seen[1].min()


def test_path_lengths_of_a_linear_map():
    matrix = torch.randn(6, 3 * 4 * 4)
    w = torch.randn(5, 2, 6, requires_grad=True)
    images = (w.sum(1) @ matrix).view(5, 3, 4, 4)
    y = torch.randn(5, 3, 4, 4)
    wanted = (y.flatten(1) @ matrix.T).norm(dim=1) / 4  # both styles have the same gradient; side 4
    torch.testing.assert_close(adversarial.path_lengths(images, w, y), wanted)


def noise_images(n=20):
    pixels = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(n, dtype=torch.long), ("noise",), "noise", False)


def recipe(**changes):
    small = {"size": 8, "batch_size": 4, "z_dim": 6, "w_dim": 6, "width": 8, "mapping": 2, "precision": "float32"}
    return StyleGANRecipe(**small | {"steps": 6, "r_every": 2, "path_every": 3} | changes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stopped_run_ends_the_same(architecture, tmp_path):
    ours, ends = recipe(architecture=architecture), []
    for name, stops in (("a", [None]), ("b", [2, None])):
        for stop in stops:
            pair, ema, _ = ours.build()
            for record in ours.fit(pair, ema, noise_images(), state=tmp_path / name):
                if record.step == stop:
                    break
        assert pair.generator.path_mean > 0 and pair.generator.w_mean.abs().max() > 0
        ends.append(pair.state_dict() | {f"ema.{key}": value for key, value in ema.model.state_dict().items()})
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key


def test_it_trains_in_bfloat16_with_every_penalty():
    pair, ema, _ = recipe().build()
    wide = list(recipe().fit(pair, ema, noise_images()))
    short, ema, _ = recipe().build()
    narrow = list(recipe(precision="bfloat16").fit(short, ema, noise_images()))
    assert short.generator.path_mean.dtype == torch.float32
    assert float(short.generator.path_mean) == pytest.approx(float(pair.generator.path_mean), rel=0.1)
    assert [r.loss_d for r in narrow] == pytest.approx([r.loss_d for r in wide], rel=0.1)


def test_what_is_rarely_applied_weighs_so_much_more():
    def losses(**changes):
        ours = recipe(steps=2, r1=0.0, lr_g=1e-9, lr_d=1e-9, ema=0.0).changed(**changes)
        pair, ema, _ = ours.build()
        return [(record.loss, record.loss_d) for record in ours.fit(pair, ema, noise_images())]

    plain = losses(path=0.0)
    for penalty, every, player in (({"path": 3.0}, "path_every", 0), ({"r1": 5.0, "path": 0.0}, "r_every", 1)):
        always, rarely = losses(**penalty, **{every: 1}), losses(**penalty, **{every: 2})
        assert rarely[0] == pytest.approx(plain[0]), "not in the first round"
        added = [run[1][player] - plain[1][player] for run in (always, rarely)]
        assert added[0] > 1e-3 and added[1] == pytest.approx(2 * added[0], rel=0.1)


def test_growing_networks_reach_their_size_when_the_recipe_says():
    ours = recipe(architecture="growing", steps=10, grown=0.5)
    pair, ema, _ = ours.build()
    levels = []
    for _ in ours.fit(pair, ema, noise_images()):
        levels.append((pair.generator.level.item(), pair.discriminator.level.item(), ema.model.level.item()))
    wanted = [min(1.0, step / 5) for step in range(1, 11)]
    assert levels == [pytest.approx((level,) * 3) for level in wanted]


def test_styles_are_mixed_as_often_as_asked():
    z = {mixing: [] for mixing in (0.0, 0.5, 1.0)}
    for mixing in z:
        ours = recipe(mixing=mixing, size=32, batch_size=20)
        images = replace(noise_images(40), pixels=torch.zeros(40, 3, 32, 32, dtype=torch.uint8))
        rounds = ours.rounds(images, ours.pair())
        z[mixing] = torch.cat([rounds(step).z.flatten(0, 1) for step in range(1, 11)])
        assert torch.equal(rounds(3).z, rounds(3).z)
        halves = torch.cat([ours.rounds(images, ours.pair(), (rank, 2))(3).z for rank in range(2)], dim=1)
        assert torch.equal(halves, rounds(3).z), "processes share what one alone would draw"
    assert z[0.5].shape == (400, 7, 6)
    mixed = {mixing: (value[:, 0] != value[:, -1]).any(-1).float().mean() for mixing, value in z.items()}
    assert mixed[0.0] == 0 and mixed[1.0] == 1 and abs(mixed[0.5] - 0.5) < 0.1
    changes = (z[1.0][:, 1:] != z[1.0][:, :-1]).any(-1).sum(1)
    assert (changes == 1).all(), "from one convolution on it is the other z"


def test_what_does_not_fit_is_refused(z):
    for changes, message in (
        ({"size": 24}, "size must be 4 times"),
        ({"normalise": "layer"}, "unknown normalise 'layer': choose one of demodulation"),
        ({"architecture": "tall"}, "unknown architecture"),
        ({"width": 0}, "width must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            StyleGAN2Config(**SMALL | changes)
    generator, discriminator = made(), made(StyleDiscriminator)
    with pytest.raises(ValueError, match=r"takes z of shape \(B, 8\) or \(B, 7, 8\), got \(5, 6\)"):
        generator(z[:, :6])
    with pytest.raises(ValueError, match="no classes"):
        generator(z, torch.zeros(5))
    with pytest.raises(ValueError, match="takes images of shape"):
        discriminator(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"mixing must lie in \[0, 1\], got 2"):
        recipe(mixing=2).build()
    with pytest.raises(ValueError, match="takes no classes"):
        recipe(classes=2).build()
    growing = recipe(architecture="growing")
    with pytest.raises(ValueError, match="a growing network trains in one process"):
        growing.rounds(noise_images(), growing.pair(), (1, 2))
    again = models.build({"kind": "StyleGenerator", **vars(generator.config)})
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again.eval()(z), generator(z))
