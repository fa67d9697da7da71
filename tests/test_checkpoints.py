"""Files of weights: whole or refused, never unpickled; and the command that samples from them."""

import json
import pickle
import shutil
from dataclasses import asdict

import pytest
import torch
from PIL import Image

from course_utils import checkpoints, latents, metrics, sample
from course_utils.authoring import publish
from course_utils.checkpoints import DamagedCheckpointError
from course_utils.data.named import named_set
from course_utils.models.latent import LatentConfig, LatentDiffusion
from course_utils.models.mlp import MLP
from course_utils.models.unet import UNet, UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.paths import CHECKOUT

CONFIG = UNetConfig(size=8, width=16, multipliers=(1,), blocks=1, attention=(), T=20, predicts="x_0")
CARD = {"data": "noise", "parameters": 1, "images_seen": 2}


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = UNet(CONFIG)
        torch.nn.init.normal_(model.last[-1].weight, std=0.1)  # a fresh network answers 0 to everything
    return model


@pytest.fixture
def exported(tmp_path):
    path = tmp_path / "made.safetensors"
    checkpoints.export(path, network(), {"name": "cosine", "T": 20}, CARD)
    return path


def test_an_exported_model_comes_back(exported):
    made = checkpoints.load(exported)
    assert made.model.config == CONFIG and made.schedule.T == 20 and made.card == CARD and made.name == "made"
    assert not made.model.training and not any(p.requires_grad for p in made.model.parameters())
    for name, value in network().state_dict().items():
        assert torch.equal(made.model.state_dict()[name], value.half().float()), name


def test_every_shipped_checkpoint_is_whole_and_its_card_complete():
    cards = checkpoints.names()
    assert cards, "the course ships checkpoints"
    for name, card in cards.items():
        made = checkpoints.load(name)
        assert sum(p.numel() for p in made.model.parameters()) == card["parameters"]
        schedule = made.schedule.name if made.schedule else None  # a GAN has none
        settings = card["settings"]
        teacher = checkpoints.names()[settings["teacher"]]["settings"] if "teacher" in settings else {}
        assert made.model.config.size == settings["size"] and schedule == (teacher | settings).get("schedule")
        scores = card["scores"]
        assert scores["fd_ratio"] == pytest.approx(scores["fd"] / scores["floor"]["fd"], rel=1e-2)
        assert scores["n"] in (500, 1000) and scores["kid_se"] > 0 and card["images_seen"] > 0 and card["minutes"] > 0
        assert checkpoints.shipped(f"{name}.safetensors").stat().st_size <= 8_000_000


@pytest.fixture
def latent_diffusion(tmp_path, monkeypatch):
    """A folder of shipped files with a VAE, and beside it a run of diffusion in its latents."""
    monkeypatch.setattr(checkpoints, "shipped", lambda name: tmp_path / "shipped" / name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LatentDiffusion(
            LatentConfig(
                VAEConfig(multipliers=(1, 2), width=8, latent=4, spatial=True),
                UNetConfig(size=16, channels=4, width=16, multipliers=(1,), blocks=1, attention=()),
            )
        )
    checkpoints.export(tmp_path / "shipped" / "vae.safetensors", model.vae, None, CARD)
    checkpoints.export(tmp_path / "ldm.safetensors", model, {"name": "cosine", "T": 20}, CARD)
    return tmp_path / "ldm.safetensors"


def test_weights_that_ship_already_are_taken_from_there(latent_diffusion):
    whole, size = checkpoints.load(latent_diffusion), latent_diffusion.stat().st_size
    checkpoints.share(latent_diffusion, "vae", "vae")
    made = checkpoints.load(latent_diffusion)
    assert latent_diffusion.stat().st_size < size and made.card == CARD and made.schedule.T == 20
    for name, value in whole.model.state_dict().items():
        assert torch.equal(made.model.state_dict()[name], value), name


def test_another_autoencoder_under_the_same_name_is_refused(latent_diffusion):
    vae = checkpoints.shipped("vae.safetensors")
    other = VAE(checkpoints.load(vae).model.config)
    kept, good = latent_diffusion.read_bytes(), vae.read_bytes()
    checkpoints.export(vae, other, None, CARD)
    with pytest.raises(ValueError, match="is not that of vae"):
        checkpoints.share(latent_diffusion, "vae", "vae")
    assert latent_diffusion.read_bytes() == kept
    vae.write_bytes(good)
    checkpoints.share(latent_diffusion, "vae", "vae")
    checkpoints.export(vae, other, None, CARD)
    with pytest.raises(DamagedCheckpointError, match=r"vae\.safetensors has SHA-256"):
        checkpoints.load(latent_diffusion)


@pytest.mark.parametrize("spatial", [False, True])
def test_an_autoencoder_is_measured_by_what_it_is_for(spatial, monkeypatch):
    monkeypatch.setattr(publish, "LARGEST", 24)
    sets = {split: named_set("drawn:cat", n=48, split=split) for split in ("train", "test")}
    monkeypatch.setattr(publish, "named_set", lambda data, size, split: sets[split])
    vae = VAE(VAEConfig(size=32, width=16, multipliers=(1, 2), latent=4, spatial=spatial))
    scores = publish.measure(
        checkpoints.Checkpoint("vae", vae, None, {"settings": {"data": "drawn:cat", "size": 32, "classes": 0}})
    )
    own = scores["reconstructions"]
    assert spatial == (scores["sampling"] == publish.RECONSTRUCTED)
    x = sets["train"][:24][0]
    x_hat = latents.decode(vae, latents.encode(vae, x))
    again = metrics.score(x_hat, sets["test"][:24][0], metrics.features.network())
    assert (scores["fd"] == pytest.approx(again["fd"], rel=1e-3)) == spatial
    assert (
        scores["n"] == 24
        and own["fd"] > 0
        and scores["fd"] > scores["floor"]["fd"]
        and 5 < own["psnr"] < 30
        and -1 < own["ssim"] < 1
    )
    card = {"data": "drawn cats, train", "parameters": 1, "images_seen": 2, "scores": scores}
    table = publish.with_table(publish.START + publish.END, {"a": card})
    assert ("| drawn cats, reconstructed |" in table) == spatial and f"| {scores['fd']:.1f} |" in table


def test_the_readme_shows_the_cards():
    text = (CHECKOUT / "README.md").read_text()
    assert publish.with_table(text, checkpoints.names()) == text
    for name, card in checkpoints.names().items():
        assert f"| `{name}` |" in text and f"| {card['scores']['fd']:.1f} |" in text


def test_a_file_that_was_altered_is_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "shipped", lambda name: tmp_path / name)
    card = {"sha256": checkpoints.digest(exported), **CARD}
    (tmp_path / checkpoints.CARDS).write_text(json.dumps({"made": card}))
    assert checkpoints.load("made").card == card
    whole = exported.read_bytes()
    exported.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedCheckpointError, match=r"has SHA-256 .* instead of .*: it was cut short or altered"):
        checkpoints.load("made")
    with pytest.raises(ValueError, match="unknown checkpoint 'cats': choose one of made"):
        checkpoints.load("cats")


@pytest.mark.parametrize("kind", ["half", "empty", "text", "pickle", "foreign", "state"])
def test_what_is_not_a_checkpoint_is_named(kind, exported, tmp_path):
    path = tmp_path / "bad.safetensors"
    if kind == "foreign":
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(2)}, path)
    elif kind == "state":
        checkpoints.write(path, {"weight": torch.zeros(2)}, {"step": 3})
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": [0.0]}))
    else:
        whole = exported.read_bytes()
        path.write_bytes({"half": whole[: len(whole) // 2], "empty": b"", "text": b"not weights"}[kind])
    with pytest.raises(DamagedCheckpointError, match=r"bad\.safetensors"):
        checkpoints.load(path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        checkpoints.load(tmp_path / "nowhere.safetensors")


def test_weights_of_another_network_are_named(exported, tmp_path):
    weights, _ = checkpoints.read(exported)
    with pytest.raises(ValueError, match=r"holds no .*belongs to another network"):
        checkpoints.fill(MLP(), weights, exported)
    wider = UNet(UNetConfig(**{**CONFIG.__dict__, "width": 24}))
    with pytest.raises(ValueError, match=r"has shape .*belongs to another network"):
        checkpoints.fill(wider, weights, exported)


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    model = UNet(CONFIG)
    with torch.no_grad():
        model.first.bias[0] = 1e6  # more than float16 holds
    with pytest.raises(ValueError, match=r"first\.bias holds a value that is not finite"):
        checkpoints.export(tmp_path / "bad.safetensors", model, {"name": "cosine", "T": 20}, {})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept.safetensors"
    checkpoints.write(path, {"a": torch.ones(3)}, {"step": 1})

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.write(path, {"a": torch.zeros(3)}, {"step": 2})
    assert checkpoints.read(path)[1] == {"step": 1} and [p.name for p in tmp_path.iterdir()] == [path.name]


# ---- python -m course_utils.sample


def test_sampling_writes_the_images_it_says(exported, tmp_path, capsys):
    def run(out, *extra):
        return sample.main(
            [str(exported), "--n", "5", "--steps", "4", "--out", str(tmp_path / out), "--device", "cpu", *extra]
        )

    assert run("a") == 0 and "wrote 5 images" in capsys.readouterr().out
    files = sorted((tmp_path / "a").iterdir())
    assert [f.name for f in files] == [f"{i:04}.png" for i in range(5)]
    assert Image.open(files[0]).size == (8, 8) and Image.open(files[0]).mode == "RGB"
    assert run("b", "--batch-size", "2") == 0
    assert [f.read_bytes() for f in sorted((tmp_path / "b").iterdir())] == [f.read_bytes() for f in files]
    assert run("c", "--seed", "1") == 0
    assert (tmp_path / "c" / "0000.png").read_bytes() != files[0].read_bytes()
    assert run("a") == 2 and "is not empty" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a checkpoint"),
        (["cats"], "unknown checkpoint 'cats'"),
        (["PATH", "--sampler", "euler"], "unknown sampler 'euler'"),
        (["PATH", "--steps", "21"], "steps must lie in 1..20"),
        (["PATH", "--sampler", "ddpm", "--steps", "5"], "ddpm takes all 20 steps"),
        (["PATH", "--steps", "0"], "steps must lie in 1..20"),
        (["PATH", "--n", "0"], "n and batch_size must be at least 1"),
    ],
)
def test_the_command_names_bad_arguments(arguments, message, exported, tmp_path, capsys):
    arguments = [str(exported) if a == "PATH" else a for a in arguments]
    assert sample.main([*arguments, "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_samplers_stay_in_the_range_of_images(exported):
    made = checkpoints.load(exported)
    for sampler in ("ddpm", "ddim", "dpm_solver_pp"):
        steps = None if sampler == "ddpm" else 10
        pictures = sample.images(made.model, made.schedule, 3, sampler=sampler, steps=steps)
        assert pictures.shape == (3, 3, 8, 8) and pictures.abs().max() <= 1
    with pytest.raises(ValueError, match="ddpm visits every level"):  # and does not take all of them in silence
        sample.images(made.model, made.schedule, 3, sampler="ddpm", steps=10)


def test_the_command_asks_a_conditional_network_for_classes(tmp_path, capsys):
    path = tmp_path / "pair.safetensors"
    model = UNet(UNetConfig(**{**asdict(CONFIG), "classes": 2}))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2, generator=torch.Generator().manual_seed(0))  # a fresh one is deaf to labels
    checkpoints.export(path, model, {"name": "cosine", "T": 20}, {**CARD, "classes": ["cat", "frog"]})
    made = checkpoints.load(path)
    assert sample.labels(made, None, 3).tolist() == [0, 1, 0] and sample.labels(made, "frog", 2).tolist() == [1, 1]
    run = [str(path), "--n", "4", "--steps", "3", "--device", "cpu"]
    for name, more in (("cat", []), ("frog", []), ("guided", ["--guidance", "3"])):
        classes = ["--classes", "cat" if name == "guided" else name]
        assert sample.main([*run, *classes, *more, "--out", str(tmp_path / name)]) == 0
    pictures = {name: (tmp_path / name / "0000.png").read_bytes() for name in ("cat", "frog", "guided")}
    assert len(set(pictures.values())) == 3, "class and guidance are heard"
    assert sample.main([*run, "--classes", "cat+dog", "--out", str(tmp_path / "x")]) == 2
    assert "pair cannot be asked for 'dog': it knows cat, frog" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--classes", "cat"], "made cannot be asked for 'cat': it was trained without classes"),
        (["--guidance", "2"], "this model has no classes"),
    ],
)
def test_a_network_without_classes_says_so(more, message, exported, tmp_path, capsys):
    assert sample.main([str(exported), "--device", "cpu", "--out", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
