"""Diffusion in the latent space: standardised latents, a frozen VAE, training, sampling, and what does not fit."""

import pytest
import torch

from course_utils import checkpoints, recipes, sample, train, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.data.images import ImageSet
from course_utils.models import build
from course_utils.models.latent import LatentConfig, LatentDiffusion
from course_utils.models.unet import UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.recipes import LatentRecipe
from course_utils.recipes import latent as latent_recipes

MAP = VAEConfig(size=16, patch=2, width=16, multipliers=(1, 2), latent=3, spatial=True)
SMALL = UNetConfig(size=4, channels=3, width=16, multipliers=(1,), blocks=1, attention=(), predicts="x_0", T=20)


@pytest.fixture
def vae_path(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = VAE(MAP)
        for p in vae.parameters():
            torch.nn.init.normal_(p, std=0.1)
    path = tmp_path / "vae.safetensors"
    checkpoints.export(path, vae, None, {})
    return str(path)


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    monkeypatch.setitem(latent_recipes.NETWORKS, "latent", SMALL)


def pictures(n=40):
    pixels = torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(n) % 2, ("a", "b"), "noise", False)


def recipe(path, **changes):
    small = {"size": 16, "T": 20, "batch_size": 8, "steps": 30, "precision": "float32", "warmup": 2, "vae": path}
    return LatentRecipe(**small | changes)


def test_latents_have_mean_0_and_variance_1_in_every_channel(vae_path):
    ours, images = recipe(vae_path, batch_size=40), pictures()
    model, _, schedule = ours.build()
    batches = ours.batches(images, schedule, model=model)
    many = torch.cat([batches(step).x_0 for step in range(1, 40)])
    assert many.mean(dim=(0, 2, 3)).abs().max() < 0.05 and (many.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05
    back = model.decode(model.encode(images.images))
    torch.testing.assert_close(back, model.vae.decode(model.vae(images.images).mu), atol=1e-4, rtol=1e-4)


def test_a_picture_and_its_mirror_image_come_with_latents_of_their_own(vae_path):
    ours, images = recipe(vae_path), pictures()
    model, _, schedule = ours.build()
    batches = ours.batches(images, schedule, model=model)
    batches._sigma = torch.zeros_like(batches._sigma)  # the mean of q alone
    index, mirror, _ = batches.chosen(3)
    assert 0 < mirror.sum() < len(mirror)
    x = images[index][0]
    x = torch.where(mirror[:, None, None, None], x.flip(-1), x)
    torch.testing.assert_close(batches(3).x_0, model.encode(x), atol=1e-4, rtol=1e-4)


def test_training_leaves_the_vae_alone_and_a_stopped_run_ends_the_same(vae_path, tmp_path):
    ours, images, ends = recipe(vae_path), pictures(), []
    for name, stops in (("a", [None]), ("b", [4, None])):
        for stop in stops:
            model, ema, schedule = ours.build()
            before = {key: value.clone() for key, value in model.vae.state_dict().items()}
            first = model.denoiser.first.weight.clone()
            for record in ours.fit(model, ema, images, schedule, state=tmp_path / name):
                if record.step == stop:
                    break
        assert all(torch.equal(value, before[key]) for key, value in ema.model.vae.state_dict().items())
        assert not torch.equal(first, model.denoiser.first.weight)
        ends.append(ema.model.state_dict())
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key
    assert not torch.equal(ends[0]["std"], torch.ones(3, 1, 1)), "the average knows the scale of the latents"


def test_the_command_line_trains_a_checkpoint_that_draws_by_itself(vae_path, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: pictures())
    small = ("size=16", "T=20", "batch_size=8", "precision=float32", f"vae={vae_path}")
    out = tmp_path / "run"
    run = ["ldm-faces64", "--device", "cpu", "--out", str(out), *(x for s in small for x in ("--set", s))]
    assert train.main([*run, "--steps", "3"]) == 0
    made = checkpoints.load(out / "model.safetensors")
    assert isinstance(made.model, LatentDiffusion) and made.model.config.latent_shape == (3, 4, 4)
    images = sample.images(made.model, made.schedule, 5, steps=3, batch_size=2, seed=1)
    assert images.shape == (5, 3, 16, 16) and images.abs().max() <= 1
    torch.testing.assert_close(
        images[:3], sample.images(made.model, made.schedule, 3, steps=3, seed=1), atol=1e-4, rtol=0
    )
    assert (
        sample.main([str(out / "model.safetensors"), "--n", "2", "--steps", "2", "--out", str(tmp_path / "png")]) == 0
    )


def test_explorers_decode_what_they_drew(vae_path, monkeypatch):
    monkeypatch.setattr(widgets.images, "PREVIEW_S", -1.0)  # also what shows half-way
    ours = recipe(vae_path, classes=2)
    model, _, schedule = ours.build()
    checkpoint = Checkpoint("ldm", model.eval().requires_grad_(False), schedule, {"classes": ["cat", "frog"]})
    explorer = widgets.sampler_explorer(checkpoint, n=3)
    explorer.sampler.value, explorer.steps.value = "dpm_solver_pp", 5
    explorer.button.click()
    assert explorer.samples.shape == (3, 3, 16, 16)
    wanted = sample.images(model, schedule, 3, sampler="dpm_solver_pp", steps=5, spacing="lambda", seed=0)
    torch.testing.assert_close(explorer.samples, wanted, atol=1e-4, rtol=0)
    by_class = widgets.class_explorer(checkpoint, n=2)
    by_class.button.click()
    assert by_class.samples.shape == (2, 3, 16, 16) and by_class.samples.abs().max() <= 1
    assert sample.morph(checkpoint, "cat", "frog", rows=1, columns=3, steps=2).shape == (1, 3, 3, 16, 16)


def test_classes_reach_the_denoiser(vae_path):
    ours = recipe(vae_path, classes=2)
    model, _, schedule = ours.build()
    for p in model.denoiser.parameters():
        torch.nn.init.normal_(p, std=0.2)
    draw = {"steps": 3, "seed": 0, "guidance": 2.0}
    one, other = (sample.images(model, schedule, 2, y=torch.full((2,), k), **draw) for k in (0, 1))
    assert not torch.allclose(one, other, atol=1e-4)


def test_a_configuration_survives_json():
    model = LatentDiffusion(LatentConfig(MAP, SMALL))
    again = build({"kind": "LatentDiffusion", "vae": dict(vars(MAP)), "denoiser": dict(vars(SMALL))})
    assert again.config == model.config and again.predicts == "x_0"


def test_what_does_not_fit_is_refused(vae_path, tmp_path):
    for missing in ("vae-of-nobody", str(tmp_path / "nothing.safetensors")):
        with pytest.raises(ValueError, match=r"the VAE of this recipe is not there .*train a spatial VAE first"):
            recipe(missing).build()
    with pytest.raises(
        ValueError, match=r"the denoiser works on \(3, 8, 8\), but the latent of the VAE is \(3, 4, 4\)"
    ):
        LatentConfig(MAP, UNetConfig(size=8, channels=3, width=16, multipliers=(1,), attention=()))
    with pytest.raises(ValueError, match="works on 16 pixels, the recipe on 64"):
        recipe(vae_path, size=64).build()
    with pytest.raises(ValueError, match="unknown latent network 'fast'"):
        recipe(vae_path, network="fast").build()
    vector, latent = VAE(VAEConfig(size=16, width=16, multipliers=(1,))), LatentDiffusion(LatentConfig(MAP, SMALL))
    path = tmp_path / "x.safetensors"
    for model, schedule in ((vector, None), (latent, {"name": "cosine", "T": 20})):
        checkpoints.export(path, model, schedule, {})
        with pytest.raises(ValueError, match="is no VAE with a latent map"):
            recipe(str(path)).build()
