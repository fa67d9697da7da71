"""Fusing pictures with networks of every kind, untrained and tiny; pairs of parents; and what is refused."""

import pytest
import torch

from course_utils import editing, fusion, latents, sample, samplers, schedules
from course_utils.checkpoints import Checkpoint
from course_utils.models.dcgan import DCGANConfig, Generator
from course_utils.models.latent import LatentConfig, LatentDiffusion
from course_utils.models.unet import UNet, UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.samplers import final

MAP = VAEConfig(size=16, patch=2, width=16, multipliers=(1, 2), latent=3, spatial=True)
SMALL = UNetConfig(size=4, channels=3, width=16, multipliers=(1,), blocks=1, attention=(), predicts="eps", T=40)
PIXELS = UNetConfig(size=16, width=16, multipliers=(1,), blocks=1, attention=(), predicts="v", T=40)
BUILD = {
    "pixels": lambda: UNet(PIXELS),
    "latents": lambda: LatentDiffusion(LatentConfig(MAP, SMALL)),
    "vae": lambda: VAE(VAEConfig(size=16, width=16, multipliers=(1,))),
    "map": lambda: VAE(MAP),
    "gan": lambda: Generator(DCGANConfig(size=16, width=8)),
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Checkpoint]:
    """Untrained networks of every kind, whose answers depend on what they see."""
    made = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for kind, build in BUILD.items():
            model = build().eval().requires_grad_(False)
            for p in model.parameters():
                torch.nn.init.normal_(p, std=0.08)
            schedule = schedules.cosine(40) if kind in ("pixels", "latents") else None
            made[kind] = Checkpoint(f"my-{kind}", model, schedule, {})
    return made


EVERY = [("pixels", m) for m in ("cross-fade", *fusion.METHODS)]
EVERY += [("latents", m) for m in ("independent", "shared", "spherical", "centred", "inverted")]
EVERY += [(kind, m) for kind in ("vae", "map") for m in ("linear", "spherical z")]
OF_NETWORKS = pytest.mark.parametrize(("kind", "method"), EVERY)


def pictures(n: int = 3, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.rand(2, n, 3, side, side, generator=torch.Generator().manual_seed(7)) * 2 - 1)


def fused(checkpoint, *given, **options) -> torch.Tensor:
    return sample.decoded(checkpoint.model, final(fusion.fuse(checkpoint, *given, **options)))


def test_every_kind_of_network_has_its_methods(networks):
    for kind in BUILD:
        assert fusion.methods(networks[kind]) == tuple(m for k, m in EVERY if k == kind)
    assert fusion.methods(networks["gan"]) == ()
    assert {m for _, m in EVERY} == set(fusion.LABELS) and set(fusion.METHODS) == set(fusion.LEVEL)
    with pytest.raises(ValueError, match="my-gan cannot fuse by 'shared': it has no method at all"):
        next(fusion.fuse(networks["gan"], *pictures()))


@OF_NETWORKS
def test_a_fusion_depends_on_seed_and_number_alone(networks, kind, method):
    checkpoint, (a, b) = networks[kind], pictures()
    lambda_ = torch.tensor([0.0, 0.5, 0.8])
    whole = fused(checkpoint, a, b, method, lambda_, seed=3)
    assert whole.shape == (3, 3, 16, 16) and whole.dtype == torch.float32 and whole.abs().max() <= 1
    assert torch.equal(whole, fused(checkpoint, a, b, method, lambda_, seed=3))
    part = fused(checkpoint, a[:2], b[:2], method, lambda_[:2], seed=3)
    torch.testing.assert_close(part, whole[:2], atol=1e-4, rtol=0)
    same = fused(checkpoint, a, b, method, lambda_, seed=3, same_noise=True)
    for k in range(3):
        one = fused(checkpoint, a[k : k + 1], b[k : k + 1], method, float(lambda_[k]), seed=3)
        torch.testing.assert_close(same[k : k + 1], one, atol=1e-4, rtol=0)
    wide = fused(checkpoint, a.double(), b.double(), method, lambda_.double(), seed=3)
    torch.testing.assert_close(wide, whole, atol=1e-4, rtol=0)
    drawn = kind in ("pixels", "latents") and method not in ("cross-fade", "inverted")
    assert torch.equal(fused(checkpoint, a, b, method, lambda_, seed=4), whole) != drawn


def test_what_draws_nothing_has_a_and_b_at_its_ends(networks):
    a, b = pictures()
    for lambda_, parent in ((0, a), (1, b)):
        assert torch.equal(fused(networks["pixels"], a, b, "cross-fade", lambda_), parent)
        for kind in ("vae", "map"):
            copy = latents.reconstruct(networks[kind].model, parent)
            for method in ("linear", "spherical z"):
                torch.testing.assert_close(fused(networks[kind], a, b, method, lambda_), copy)
    fade = 0.75 * a + 0.25 * b
    torch.testing.assert_close(fused(networks["pixels"], a, b, "cross-fade", 0.25), fade)


def test_latent_diffusion_fuses_encoded_pictures(networks):
    checkpoint, (a, b) = networks["latents"], pictures()
    model, schedule = checkpoint.model, checkpoint.schedule
    ours = final(fusion.fuse(checkpoint, a, b, "shared", 0.3, t=20, steps=10, seed=5))
    fade = 0.7 * model.encode(a) + 0.3 * model.encode(b)
    generators = samplers.example_generators(5, 0, 3)
    torch.testing.assert_close(
        ours, final(editing.sdedit(model, schedule, fade, t=20, steps=5, generator=generators)), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("method", fusion.METHODS)
def test_steps_are_in_proportion_and_the_level_is_the_methods_own(networks, method):
    checkpoint, (a, b), seen = networks["pixels"], pictures(1), []
    handle = checkpoint.model.register_forward_hook(lambda module, inputs, out: seen.append(int(inputs[1][0])))
    try:
        for t, steps, down in ((40, 20, 20), (20, 20, 10), (30, 7, 5), (1, 20, 1), (None, 20, None)):
            seen.clear()
            records = list(fusion.fuse(checkpoint, a, b, method, t=t, steps=steps))
            top = t or round(40 * fusion.LEVEL[method])
            down = down or max(1, round(20 * top / 40))
            assert max(step.t for step in records) == max(seen) == top and records[-1].t == 0
            assert all(step.x0_hat is None or step.x0_hat.abs().max() <= 1 for step in records), "pixels are clipped"
            # two pictures climb, in two rounds
            assert len(seen) == (down * 5 if method == "inverted" else down)
    finally:
        handle.remove()


def test_fusing_has_no_gradient_and_leaves_the_network_as_it_is(networks):
    a, b = pictures(1)
    for kind in ("pixels", "latents", "vae"):
        checkpoint = networks[kind]
        checkpoint.model.train().requires_grad_(True)
        try:
            for method in fusion.methods(checkpoint):
                assert not final(fusion.fuse(checkpoint, a, b, method)).requires_grad
            assert checkpoint.model.training
        finally:
            checkpoint.model.eval().requires_grad_(False)


A, B = pictures()
TALL = torch.zeros(3, 3, 18, 16)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ((A, TALL), {}, r"one shape, got \(3, 3, 16, 16\) and \(3, 3, 18, 16\): crop them alike"),
        ((A, B[:2]), {}, r"one shape, got \(3, 3, 16, 16\) and \(2, 3, 16, 16\)"),
        ((TALL, TALL), {}, r"images of shape \(B, 3, 16, 16\), got \(3, 3, 18, 16\)"),
        ((A[0], B[0]), {}, r"a must hold images .*one image is x\[None\]"),
        ((A, B[:, :1]), {}, r"b must hold images \(B, 3, H, W\), got shape \(3, 1, 16, 16\)"),
        ((A[:0], B[:0]), {}, r"a must hold images \(B, 3, H, W\), got shape \(0, 3"),
        ((A, (B + 1) * 127.5), {}, r"b must lie in \[-1, 1\], got .* bytes become images by x / 127\.5 - 1"),
        ((torch.zeros_like(A, dtype=torch.uint8), B), {}, r"a must lie in \[-1, 1\].*bytes become images"),
        ((A * 1.01, B), {}, r"a must lie in \[-1, 1\]"),
        ((A, B * torch.nan), {}, r"b must lie in \[-1, 1\], got nan"),
        ((A, B), {"lambda_": 1.1}, r"lambda_ is the share of b and must lie in \[0, 1\], got 1\.1"),
        ((A, B), {"lambda_": -0.1}, r"must lie in \[0, 1\], got -0\.1"),
        ((A, B), {"lambda_": float("nan")}, r"must lie in \[0, 1\], got nan"),
        ((A, B), {"lambda_": torch.tensor([0.1, 0.2])}, r"one for each of 3 pictures: got \(2,\)"),
        ((A, B), {"method": "average"}, "my-pixels cannot fuse by 'average': it has cross-fade, independent, shared"),
        ((A, B), {"seed": -1}, "non-negative"),
    ],
)
def test_pictures_that_cannot_be_fused_are_refused(networks, given, options, message):
    with pytest.raises(ValueError, match=message):
        next(fusion.fuse(networks["pixels"], *given, **options))


@pytest.mark.parametrize("method", fusion.METHODS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t": 0}, r"t must be a level of the schedule, a whole number in 1\.\.40; got 0"),
        ({"t": 41}, r"in 1\.\.40; got 41"),
        ({"t": 9.5}, r"a whole number in 1\.\.40; got 9\.5"),
        ({"t": 20, "steps": 0}, r"steps must lie in 1\.\.40 .*got 0"),
        ({"t": 20, "steps": 41}, r"steps must lie in 1\.\.40 .*got 41"),
    ],
)
def test_levels_and_steps_that_are_none_are_refused_by_every_method(networks, method, options, message):
    with pytest.raises(ValueError, match=message):
        next(fusion.fuse(networks["pixels"], A, B, method, **options))


def test_rounding_may_leave_the_range(networks):
    edge = torch.full_like(A, 1 + 5e-5)
    assert final(fusion.fuse(networks["pixels"], edge, -edge, "cross-fade", 0.0)).max() == 1


# ---- parents


def test_luminance_is_that_of_a_television():
    colours = torch.tensor([[1, 1, 1], [-1, -1, -1], [1, -1, -1], [-1, 1, -1]]).view(4, 3, 1, 1).expand(-1, -1, 5, 7)
    torch.testing.assert_close(fusion.luminance(colours.float()), torch.tensor([1, -1, -0.402, 0.174]))


def test_pairs_hold_no_picture_twice_and_never_two_dark_ones():
    images = torch.zeros(41, 3, 4, 4)
    images[:15] = -0.5
    dark = set(range(15))
    whole = fusion.pairs(images, 10)
    assert whole.shape == (10, 2) and len(whole.unique()) == 20
    assert not any(set(pair) <= dark for pair in whole.tolist()) and dark & set(whole.flatten().tolist())
    assert torch.equal(fusion.pairs(images, 5), whole[:5]) and not torch.equal(
        fusion.pairs(images, 5, seed=1), whole[:5]
    )
    assert len(fusion.pairs(images, 20, dark=-1)) == 20, "then two dark ones may meet"
    for n in (0, 21):
        with pytest.raises(ValueError, match=rf"takes from 1 to \d+ pairs of these 41 images, got n = {n}"):
            fusion.pairs(images, n)
    with pytest.raises(ValueError, match="takes from 1 to 0 pairs"):
        fusion.pairs(images[:15], 1)
