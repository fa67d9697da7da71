"""Adversarial training: losses against closed forms, networks that hear their labels, runs that resume and stop."""

import math

import pytest
import torch
from torch import nn

from course_utils import adversarial, checkpoints, recipes, sample, train, training
from course_utils.data.images import ImageSet
from course_utils.models.dcgan import DCGANConfig, Discriminator, Generator
from course_utils.recipes import AdversarialRecipe, GANRecipe, gan
from course_utils.training import EMA

SMALL = DCGANConfig(size=8, z_dim=6, width=8)


def build(config=SMALL):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator(config), Discriminator(config)


def rounds(config=SMALL, batch=8, mean=0.5):
    """Return a function from the round's number to plain pictures of one brightness, give or take."""

    def data(step):
        generator = torch.Generator().manual_seed(step)
        x = (mean + 0.05 * torch.randn(batch, 3, config.size, config.size, generator=generator)).clamp(-1, 1)
        y = torch.randint(config.classes, (batch,), generator=generator) if config.classes else None
        return adversarial.Round(x, y, torch.randn(2, batch, config.z_dim, generator=generator), step)

    return data


# ---- losses

LOGITS = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64), torch.tensor([-0.5, 1.5, 0.0], dtype=torch.float64)


def test_the_minimax_losses_are_those_of_goodfellow():
    real, fake = (torch.sigmoid(x) for x in LOGITS)
    expected = -(real.log().mean() + (1 - fake).log().mean())
    for kind in ("saturating", "non_saturating"):
        torch.testing.assert_close(adversarial.discriminator_loss(kind, *LOGITS), expected)
    torch.testing.assert_close(adversarial.generator_loss("saturating", LOGITS[1]), (1 - fake).log().mean())
    torch.testing.assert_close(adversarial.generator_loss("non_saturating", LOGITS[1]), -fake.log().mean())


def test_smoothed_targets_move_the_best_answer_to_them():
    logit = torch.zeros(1, requires_grad=True)
    for p in (0.9, 0.7):
        best = torch.tensor([math.log(p / (1 - p))], requires_grad=True)
        value = adversarial.discriminator_loss("non_saturating", best, logit.detach() - 50, (p, 0.0))
        assert torch.autograd.grad(value, best)[0].abs() < 1e-6


def test_hinge_and_relativistic_by_hand():
    real, fake = LOGITS
    hinge = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(adversarial.discriminator_loss("hinge", real, fake), hinge)
    torch.testing.assert_close(adversarial.generator_loss("hinge", fake), -fake.mean())
    torch.testing.assert_close(
        adversarial.discriminator_loss("relativistic", real, fake), -torch.sigmoid(real - fake).log().mean()
    )
    torch.testing.assert_close(
        adversarial.generator_loss("relativistic", fake, real), -torch.sigmoid(fake - real).log().mean()
    )


def test_the_saturating_gradient_vanishes_when_the_discriminator_is_sure():
    slopes = {}
    for kind in ("saturating", "non_saturating"):
        fake = torch.tensor([-12.0], requires_grad=True)
        adversarial.generator_loss(kind, fake).backward()
        slopes[kind] = fake.grad.abs().item()
    assert slopes["saturating"] < 1e-4 and slopes["non_saturating"] > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adversarial.generator_loss("wgan", LOGITS[1]), "unknown adversarial loss 'wgan'.*hinge"),
        (lambda: adversarial.generator_loss("relativistic", LOGITS[1]), "compares with real images"),
        (lambda: adversarial.discriminator_loss("hinge", *LOGITS, (0.9, 0.0)), "label smoothing needs probabilities"),
        (lambda: adversarial.discriminator_loss("saturating", *LOGITS, (0.1, 0.9)), "0 <= fake < real <= 1"),
    ],
)
def test_losses_name_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_gradient_penalty_of_a_linear_discriminator_is_its_squared_norm(generator):
    weight = torch.randn(3 * 4 * 4, generator=generator)
    x = torch.randn(5, 3, 4, 4, generator=generator, requires_grad=True)
    penalty = adversarial.gradient_penalty(x.flatten(1) @ weight, x)
    torch.testing.assert_close(penalty, weight.square().sum())


# ---- augmentation


def test_augmentation_repeats_with_its_seed_differs_between_images_and_passes_gradients(generator):
    x = torch.rand(1, 3, 16, 16, generator=generator).expand(6, 3, 16, 16).clone().requires_grad_()
    once, again = (adversarial.augment(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == x.shape
    assert all(not torch.equal(once[0], other) for other in once[1:])
    once.sum().backward()
    assert x.grad.isfinite().all() and (x.grad != 0).any(dim=(1, 2, 3)).all()


def test_augmentation_in_the_middle_of_its_ranges_only_cuts_out_a_quarter(monkeypatch, generator):
    x = torch.rand(2, 3, 16, 16, generator=generator)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator=None: torch.full(shape, 0.5))
    out = adversarial.augment(x)
    hole = torch.zeros(16, 16, dtype=torch.bool)
    hole[4:12, 4:12] = True
    assert (out[:, :, hole] == 0).all()
    torch.testing.assert_close(out[:, :, ~hole], x[:, :, ~hole])


# ---- networks


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_shapes_and_ranges(size, norm):
    g, d = build(DCGANConfig(size=size, z_dim=5, width=8, norm=norm, early=2))
    images = g(torch.randn(3, 5))
    assert images.shape == (3, 3, size, size) and images.abs().max() <= 1
    assert d(images).shape == (3,)


@pytest.mark.parametrize("conditioning", ["tiled", "projection"])
def test_both_players_hear_the_class(conditioning):
    config = DCGANConfig(size=8, z_dim=6, width=8, classes=3, conditioning=conditioning)
    g, d = build(config)
    for module in (g, d):
        for p in module.parameters():
            nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(1))
    z, y = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    g.eval()
    d.eval()
    images = g(z, y)
    assert not torch.allclose(images[1:3], g(z, y.flip(0))[1:3], atol=1e-4)
    assert not torch.allclose(d(images, y), d(images, (y + 1) % 3), atol=1e-5)
    for network, given in ((g, z), (d, images)):
        with pytest.raises(ValueError, match=r"this network needs y: one label in 0\.\.2"):
            network(given)
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2; got 0\.\.3"):
            network(given, torch.tensor([0, 1, 3, 0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 48}, "4 times a power of two, from 8 on, got 48"),
        ({"norm": "layer"}, "unknown norm 'layer'"),
        ({"conditioning": "concat"}, "unknown conditioning 'concat'"),
        ({"width": 0}, "width must be at least 1"),
        ({"classes": -1}, "classes must be at least 0"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DCGANConfig(**change)


def test_a_latent_of_another_length_and_images_of_another_size_are_refused():
    g, d = build()
    with pytest.raises(ValueError, match=r"z of shape \(B, 6\), got \(2, 5\)"):
        g(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"\(B, 3, 8, 8\), got \(2, 3, 16, 16\)"):
        d(torch.zeros(2, 3, 16, 16))


# ---- the loop


@pytest.mark.parametrize("loss", adversarial.LOSSES)
def test_the_game_finds_the_brightness_of_the_data(loss):
    g, d = build()
    more = {"r1": 1.0, "r2": 1.0} if loss == "relativistic" else {}
    records = list(adversarial.fit(g, d, rounds(), 300, loss=loss, lr=(1e-3, 1e-3), **more))
    made = sample.one_step(g, 64)
    assert abs(made.mean() - 0.5) < 0.25, "from 0, where it starts"
    assert records[-1].step == 300 and all(math.isfinite(value) for record in records for value in record)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augmented": True, "input_noise": 0.1, "r1": 0.5},
        {"loss": "relativistic", "r2": 0.5},
        {"precision": "bfloat16", "loss": "hinge"},
    ],
)
def test_a_run_that_was_stopped_ends_with_the_same_weights(options, tmp_path):
    def play(path, stops):
        for stop in stops:
            g, d = build()
            ema = EMA(g, 0.9)
            for record in adversarial.fit(g, d, rounds(), 12, ema=ema, state=path, **options):
                if record.step == stop:
                    break
        return {**g.state_dict(), **{f"d.{k}": v for k, v in d.state_dict().items()}, **ema.model.state_dict()}

    whole, broken = play(tmp_path / "a", [None]), play(tmp_path / "b", [3, 7, None])
    for name, value in whole.items():
        assert torch.equal(value, broken[name]), name
    assert torch.equal(training.history(tmp_path / "a")[:, :4], training.history(tmp_path / "b")[:, :4])


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_last_good_state(tmp_path):
    g, d = build()
    data, path = rounds(), tmp_path / "state"

    def poisoned(step):
        x, *rest = data(step)
        return adversarial.Round(x * (math.nan if step == 4 else 1), *rest)

    with pytest.raises(training.NonFiniteLossError, match=r"round 4: the loss of the discriminator is nan.*r1 > 0"):
        list(adversarial.fit(g, d, poisoned, 10, state=path))
    tensors, facts = checkpoints.read(path)
    assert facts["step"] == 3 and all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    assert all(p.requires_grad for p in d.parameters())


@pytest.mark.parametrize("name", [n for n, recipe in recipes.RECIPES.items() if isinstance(recipe, AdversarialRecipe)])
def test_the_command_line_trains_resumes_and_samples_every_gan(name, tmp_path, monkeypatch, capsys):
    classes = tuple("cat frog".split())[: recipes.get(name).classes or 1]
    pixels = torch.randint(0, 256, (40, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(40) % len(classes), classes, "noise", False)
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: images)
    small = [x for text in ("size=8", "width=8", "batch_size=4", "z_dim=6") for x in ("--set", text)]
    run = [name, "--device", "cpu", "--out", str(tmp_path / "run"), *small]
    assert train.main([*run, "--steps", "2"]) == 0
    assert train.main([*run, "--steps", "4", "--resume"]) == 0
    made = checkpoints.load(tmp_path / "run" / "model.safetensors")
    assert made.schedule is None and made.card["steps"] == 4 and made.card["images_seen"] == 16
    assert made.card["classes"] == list(classes)
    path, out = str(tmp_path / "run" / "model.safetensors"), tmp_path / "out"
    assert sample.main([path, "--n", "3", "--out", str(out), "--device", "cpu"]) == 0
    assert len(list(out.iterdir())) == 3
    assert sample.main([path, "--steps", "5", "--out", str(tmp_path / "x"), "--device", "cpu"]) == 2
    assert "this network draws in one step, without steps" in capsys.readouterr().err
    assert train.main([*run[:-8], "--init", path, "--out", str(tmp_path / "y")]) == 2
    assert "a GAN cannot start from a checkpoint" in capsys.readouterr().err


def test_lazy_penalties_come_seldom_and_weigh_more(monkeypatch):
    calls, gamma = [], []
    plain = adversarial.gradient_penalty
    monkeypatch.setattr(adversarial, "gradient_penalty", lambda logits, x: calls.append(1) or plain(logits, x))
    for every in (1, 4):
        g, d = build()
        before = [p.detach().clone() for p in d.parameters()]
        list(adversarial.fit(g, d, rounds(), 8, r1=1e6, r_every=every, lr=(1e-9, 1e-9)))
        gamma.append(len(calls))
        calls.clear()
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(before, d.parameters(), strict=True))
    assert gamma == [8, 2]
    # at equal weights, the penalty of a lazy round is r_every times that of an eager one
    losses = [
        next(adversarial.fit(*build(), rounds(), 1, r1=1e3, r_every=every)).loss_d for every in (1, 2)
    ]  # round 1 is lazy for 2
    eager = list(adversarial.fit(*build(), rounds(), 2, r1=1e3, lr=(1e-12, 1e-12)))[1].loss_d
    none = list(adversarial.fit(*build(), rounds(), 2, lr=(1e-12, 1e-12)))[1].loss_d
    lazy = list(adversarial.fit(*build(), rounds(), 2, r1=1e3, r_every=2, lr=(1e-12, 1e-12)))[1].loss_d
    assert losses[0] > losses[1] and lazy - none == pytest.approx(2 * (eager - none), rel=1e-2)
    with pytest.raises(ValueError, match="r_every and path_every count rounds"):
        next(adversarial.fit(*build(), rounds(), 1, r_every=0))
    with pytest.raises(ValueError, match="this generator has no w"):
        next(adversarial.fit(*build(), rounds(), 1, path=2.0))


def test_rounds_are_shared_evenly_and_depend_on_seed_and_step_alone():
    recipe = GANRecipe(size=8, batch_size=6, z_dim=4)
    pixels = torch.randint(0, 256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(20, dtype=torch.long), ("noise",), "noise", False)
    whole, *parts = (gan.Rounds(images, recipe, torch.device("cpu"), shard) for shard in ((0, 1), (0, 2), (1, 2)))
    for step in (1, 5):
        halves = [part(step) for part in parts]
        assert torch.equal(whole(step).x, torch.cat([half.x for half in halves]))
        assert torch.equal(whole(step).z, torch.cat([half.z for half in halves], dim=1))
        assert halves[0].seed != halves[1].seed
    assert not torch.equal(whole(1).z, whole(2).z)


def test_generated_images_do_not_depend_on_the_batch():
    g, _ = build()
    g.eval()
    torch.testing.assert_close(sample.one_step(g, 7, seed=2), sample.one_step(g, 9, seed=2, batch_size=2)[:7])
