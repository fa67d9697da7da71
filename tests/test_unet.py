"""The networks for images: shapes, sizes, what they hear, and bad configurations."""

from dataclasses import asdict, replace

import pytest
import torch
from torch.nn import functional as F

from course_utils import models
from course_utils.models import convnet, unet
from course_utils.models.unet import UNet, UNetConfig

SMALL = UNetConfig(size=16, width=16, multipliers=(1, 2), blocks=1, attention=(8,))


def awake(model):
    """Undo the zero initialisation, which makes a fresh network answer 0 to everything."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.copy_(0.05 * torch.randn(p.shape, generator=generator))
    return model.eval()


def inputs(config, n=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, config.channels, config.size, config.size, generator=generator)
    return x, torch.tensor([1, config.T // 2, config.T])


@pytest.mark.parametrize("name", unet.SIZES)
def test_every_named_size_keeps_the_shape_and_is_told_apart_by_t(name):
    with torch.no_grad():
        config = unet.config(name, T=200)
        model = awake(UNet(config))
        x, t = inputs(config)
        out = model(x, t)
        assert out.shape == x.shape and out.dtype == x.dtype and bool(out.isfinite().all())
        assert not torch.allclose(out[:1], model(x[:1], t[2:]), atol=1e-4)
        torch.testing.assert_close(out[1:2], model(x[1:2], t[1:2]), rtol=1e-3, atol=1e-4)  # no leak between examples


@pytest.mark.parametrize(("name", "theirs"), [("2xUD-half", 3_062_531), ("3xBlocks", 23_332_729)])
def test_named_sizes_are_those_of_the_sources(name, theirs):
    with torch.device("meta"):
        ours = sum(p.numel() for p in UNet(unet.SIZES[name]).parameters())
    assert abs(ours / theirs - 1) < 0.02


def test_the_fast_networks_fit_into_a_shipped_file():
    with torch.device("meta"):
        for name in ("fast", "fast64"):
            assert 2 * sum(p.numel() for p in UNet(unet.SIZES[name]).parameters()) < 7.9e6, name


def test_a_fresh_network_answers_zero():
    x, t = inputs(SMALL)
    assert not UNet(SMALL)(x, t).any()


def test_attention_and_middle_reach_across_the_whole_picture():
    model = awake(UNet(SMALL))
    x, t = inputs(SMALL, 1)
    x.requires_grad_()
    model(x, t[:1])[0, :, 0, 0].sum().backward()
    assert bool((x.grad[0, :, -1, -1] != 0).all())


def test_class_labels_are_heard_and_the_last_stands_for_none():
    model = awake(UNet(UNetConfig(**{**asdict(SMALL), "classes": 2})))
    x, t = inputs(SMALL)
    zero, one, null = (model(x, t, torch.full((3,), k)) for k in range(3))
    assert not torch.allclose(zero, one, atol=1e-4)
    assert torch.equal(null, model(x, t))
    with pytest.raises(ValueError, match="this network has no classes"):
        UNet(SMALL)(x, t, torch.zeros(3, dtype=torch.int64))
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.1, or be 2 for no class; got .*{wrong}"):
            model(x, t, torch.tensor([0, wrong, 1]))


def test_half_precision_autocast_stays_close():
    model = awake(UNet(SMALL))
    x, t = inputs(SMALL)
    with torch.no_grad():
        exact = model(x, t)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(x, t)
    assert rough.dtype == torch.float32
    assert float((rough - exact).std() / exact.std()) < 0.05


def test_time_features_span_the_same_range_for_any_T():
    a = unet.timestep_features(torch.tensor([10, 1000]), 16, 1000)
    b = unet.timestep_features(torch.tensor([5, 500]), 16, 500)
    torch.testing.assert_close(a, b)
    assert a.shape == (2, 16) and a.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicts": "noise"}, "unknown predicts 'noise': choose one of eps, x_0, v"),
        ({"size": 20, "patch": 4, "multipliers": (1, 2, 2)}, r"size 20 must be a multiple of .* = 16"),
        ({"attention": (5,)}, r"attention at \[5\], but the network works at the resolutions \[32, 16, 8\]"),
        ({"width": 30}, "width must be a multiple of 8"),
        ({"blocks": 0}, "blocks must be at least 1"),
    ],
)
def test_configurations_name_bad_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**changes)


@pytest.mark.parametrize("model", [lambda: UNet(SMALL), lambda: convnet.ConvNet(convnet.ConvNetConfig(size=16))])
def test_pictures_of_another_size_are_named(model):
    with pytest.raises(ValueError, match=r"shape \(B, 3, 16, 16\), got \(1, 3, 32, 32\)"):
        model()(torch.zeros(1, 3, 32, 32), torch.ones(1, dtype=torch.int64))


def test_the_plain_convnet_hears_the_time_and_names_bad_fields():
    model = convnet.ConvNet(convnet.ConvNetConfig(size=16, width=16, levels=2))
    x, t = inputs(SMALL)
    out = model(x, t)
    assert out.shape == x.shape and not torch.allclose(out[:1], model(x[:1], t[2:]), atol=1e-5)
    with pytest.raises(ValueError, match=r"multiple of 2\^levels = 8"):
        convnet.ConvNetConfig(size=20)
    with pytest.raises(ValueError, match="unknown predicts"):
        convnet.ConvNetConfig(predicts="noise")


def test_build_remakes_a_network_from_json():
    config = {"kind": "UNet", **asdict(SMALL), "multipliers": [1, 2], "attention": [8]}
    assert models.build(config).config == SMALL
    with pytest.raises(ValueError, match="unknown kind of network 'Transformer'"):
        models.build({**config, "kind": "Transformer"})
    with pytest.raises(ValueError, match=r"does not fit UNet.*colour"):
        models.build({**config, "colour": 1})
    with pytest.raises(ValueError, match="unknown U-Net 'big'"):
        unet.config("big")


# ---- starting one network from another


def test_a_grown_network_answers_as_the_small_one_did_on_blocks_of_one_colour():
    small = UNetConfig(**{**asdict(SMALL), "patch": 2})
    large = replace(small, size=2 * small.size, patch=4)
    old, new = awake(UNet(small)).eval(), UNet(large).eval()
    new.load_state_dict(unet.adapt(old.state_dict(), small, large))
    x, t = inputs(small)
    expected = F.interpolate(old(x, t), scale_factor=2.0)
    torch.testing.assert_close(new(F.interpolate(x, scale_factor=2.0), t), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("after", [0, 2])
def test_a_network_of_other_classes_answers_as_before_without_any_whatever_the_class(before, after):
    one, two = replace(SMALL, classes=before), replace(SMALL, classes=after)
    old, new = awake(UNet(one)).eval(), UNet(two).eval()
    new.load_state_dict(unet.adapt(old.state_dict(), one, two))
    x, t = inputs(SMALL)
    for y in (None, torch.tensor([0, 1, 2])) if after else (None,):
        torch.testing.assert_close(new(x, t, y), old(x, t))


def test_a_network_of_as_many_classes_keeps_them():
    one = replace(SMALL, classes=2)
    old, new = awake(UNet(one)).eval(), UNet(one).eval()
    new.load_state_dict(unet.adapt(old.state_dict(), one, one))
    x, t = inputs(SMALL)
    for y in (None, torch.tensor([0, 1, 2])):
        torch.testing.assert_close(new(x, t, y), old(x, t, y))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 24}, "width = 24 cannot start from a network that needs width = "),
        ({"patch": 2}, "size = 16 cannot start from a network that needs size = 32"),
        ({"predicts": "v"}, "predicts = v cannot start"),
    ],
)
def test_a_network_of_another_kind_is_no_start(change, message):
    with pytest.raises(ValueError, match=message):
        unet.adapt(UNet(SMALL).state_dict(), SMALL, replace(SMALL, **change))
