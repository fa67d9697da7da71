"""Labels of conditional networks: whole numbers, mixtures of classes, no class; and what does not fit."""

import pytest
import torch
from torch import nn

from course_utils import samplers, schedules
from course_utils.models.dcgan import DCGANConfig, Discriminator, Generator
from course_utils.models.labels import look_up
from course_utils.models.mlp import MLP, MLPConfig
from course_utils.models.unet import UNet, UNetConfig

UNET = UNetConfig(size=8, width=16, multipliers=(1,), blocks=1, attention=(), T=10, classes=3)


def awake(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():  # layers that start at zero would not let the label through
        nn.init.normal_(p, std=0.2, generator=generator)
    return network.eval()


def calls():
    t = torch.full((4,), 5)
    for conditioning in ("tiled", "projection"):
        config = DCGANConfig(size=8, z_dim=6, width=8, classes=3, conditioning=conditioning)
        g, d = awake(Generator(config)), awake(Discriminator(config))
        z, x = torch.randn(4, 6), torch.randn(4, 3, 8, 8)
        yield f"generator, {conditioning}", False, lambda y, g=g, z=z: g(z, y)
        yield f"discriminator, {conditioning}", False, lambda y, d=d, x=x: d(x, y)
    unet, mlp = awake(UNet(UNET)), awake(MLP(MLPConfig(T=10, hidden=16, classes=3)))
    pictures, points = torch.randn(4, 3, 8, 8), torch.randn(4, 2)
    yield "U-Net", True, lambda y: unet(pictures, t, y)
    yield "MLP", True, lambda y: mlp(points, t, y)


@pytest.mark.parametrize(("null", "call"), [pytest.param(null, call, id=name) for name, null, call in calls()])
def test_every_network_takes_labels_and_shares_of_classes(null, call):
    y = torch.tensor([0, 2, 1, 1])
    whole, alike = nn.functional.one_hot(y, 3).float(), dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(call(whole), call(y), **alike)
    half = call(0.5 * whole + 0.5 * whole.roll(1, 0))
    assert not torch.allclose(half[0], call(y)[0], **alike) and not torch.allclose(half[0], call(y.roll(1))[0], **alike)
    for wrong in (whole[:, :2], whole[0], whole[..., None]):
        with pytest.raises(ValueError, match=r"shares of classes must have shape \(B, 3\)"):
            call(wrong)
    for wrong in (2 * whole, -whole, whole * torch.nan):
        with pytest.raises(ValueError, match="shares of classes must be 0 or more and add up to"):
            call(wrong)
    if null:
        torch.testing.assert_close(call(0 * whole), call(torch.full((4,), 3)), **alike)
        torch.testing.assert_close(call(0 * whole), call(None), **alike)
    else:
        with pytest.raises(ValueError, match="add up to 1"):
            call(0 * whole)


def test_shares_are_a_mean_of_rows_and_the_rest_is_no_class():
    table = nn.Embedding(4, 5)
    rows = table.weight
    shares = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.25, 0.25]])
    out = look_up(table, shares)
    torch.testing.assert_close(out[0], 0.2 * rows[0] + 0.3 * rows[1] + 0.5 * rows[2])
    torch.testing.assert_close(out[1], 0.25 * rows[1] + 0.25 * rows[2] + 0.5 * rows[3])


def test_guidance_and_the_sampler_take_shares():
    model, schedule = awake(UNet(UNET)), schedules.cosine(10)
    y = torch.tensor([0, 2, 1])
    shares = nn.functional.one_hot(y, 3).float()
    made = [
        samplers.sample(samplers.guided(model, 2.0), schedule, 3, (3, 8, 8), steps=3, y=labels, clip=True)
        for labels in (y, shares)
    ]
    torch.testing.assert_close(*made, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match=r"expected shape \(3,\)"):
        samplers.sample(model, schedule, 3, (3, 8, 8), steps=3, y=shares[:2])


def test_a_network_without_classes_takes_none():
    points, t = torch.zeros(2, 2), torch.ones(2, dtype=torch.long)
    with pytest.raises(ValueError, match="this network has no classes"):
        MLP()(points, t, torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="classes must be at least 0"):
        MLPConfig(classes=-1)
