"""The ELBO against closed forms and torch.distributions, and the autoencoders' shapes, gradients and errors."""

import math

import pytest
import torch
from torch import distributions as D

from course_utils import checkpoints, elbo, recipes, sample, train
from course_utils.data import augment
from course_utils.data.images import ImageSet
from course_utils.models import build
from course_utils.models.vae import LOGVAR, VAE, VAEConfig
from course_utils.recipes import VAERecipe
from course_utils.recipes import vae as vae_recipes

SMALL = {"size": 16, "patch": 2, "width": 16, "multipliers": (1, 2), "latent": 5}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- the bound


def test_kl_is_that_of_torch_and_zero_at_the_prior():
    mu, logvar = normal(6, 4), normal(6, 4, seed=1)
    theirs = D.kl_divergence(D.Normal(mu, (logvar / 2).exp()), D.Normal(0.0, 1.0))
    torch.testing.assert_close(elbo.kl(mu, logvar), theirs)
    assert torch.equal(elbo.kl(torch.zeros(3), torch.zeros(3)), torch.zeros(3))


@pytest.mark.parametrize("scale", [0.1, 1.0, 2.5])
@pytest.mark.parametrize(("kind", "law"), [("gaussian", D.Normal), ("laplace", D.Laplace)])
def test_log_likelihood_is_that_of_torch(kind, law, scale):
    x, x_hat = normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1)
    ours = elbo.log_likelihood(x, x_hat, kind, scale)
    torch.testing.assert_close(ours, law(x_hat, scale).log_prob(x).sum(dim=(1, 2, 3)))


def test_a_draw_has_the_mean_and_deviation_that_were_asked_for_and_lets_gradients_through():
    mu, logvar = torch.tensor(2.0, requires_grad=True), torch.tensor(math.log(9.0), requires_grad=True)
    z = elbo.reparametrise(mu, logvar, normal(20_000))
    assert abs(z.mean().item() - 2) < 0.1 and abs(z.std().item() - 3) < 0.1
    elbo.reparametrise(mu, logvar, torch.tensor(1.0)).backward()
    assert mu.grad == 1 and abs(logvar.grad - 1.5) < 1e-6, "d sigma / d log sigma^2 = sigma / 2"


def test_the_bound_lies_below_the_evidence_and_touches_it_at_the_posterior():
    # z ~ N(0, 1), x = z + N(0, 1): the evidence is N(0, 2), the posterior N(x / 2, 1 / 2)
    x = torch.tensor([[1.3]])
    evidence = D.Normal(0.0, math.sqrt(2)).log_prob(x).item()
    eps = normal(40_000, 1)

    def bound(mu, variance):
        mu, logvar = torch.full_like(eps, mu), torch.full_like(eps, math.log(variance))
        z = elbo.reparametrise(mu, logvar, eps)
        return -elbo.terms(x.expand_as(z), z, mu, logvar).loss.mean().item()

    assert abs(bound(0.65, 0.5) - evidence) < 0.01
    for mu, variance in ((0.0, 1.0), (0.65, 0.1), (1.3, 0.5)):
        assert bound(mu, variance) < evidence - 0.05


def test_a_kl_weight_is_the_variance_of_the_decoder_in_disguise():
    x, x_hat, mu, logvar = normal(4, 3, 2, 2), normal(4, 3, 2, 2, seed=1), normal(4, 5, seed=2), normal(4, 5, seed=3)
    inputs = [v.requires_grad_() for v in (x_hat, mu, logvar)]
    weighted = elbo.terms(x, *inputs, kl_weight=0.04).loss.sum()
    scaled = 0.04 * elbo.terms(x, *inputs, scale=0.2).loss.sum()
    for a, b in zip(torch.autograd.grad(weighted, inputs), torch.autograd.grad(scaled, inputs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 3)])
def test_free_bits_charge_only_what_is_above_them(shape):
    x, mu, logvar = torch.zeros(8, 3, 2, 2), 3 * normal(8, *shape), normal(8, *shape, seed=1)
    mu[:, 0], logvar[:, 0] = 0.1, 0.0  # a latent that says next to nothing
    logvar.requires_grad_()
    each = elbo.kl(mu, logvar).flatten(2).sum(2) if len(shape) > 1 else elbo.kl(mu, logvar)
    free = each[:, 0].mean().item() * 1.5
    charged = elbo.terms(x, x, mu, logvar, free_bits=free)
    plain = elbo.terms(x, x, mu, logvar)
    (gradient,) = torch.autograd.grad(charged.loss.sum(), logvar, retain_graph=True)
    assert (gradient[:, 0] == 0).all() and (gradient[:, 1:] != 0).any()
    expected = torch.where(each.mean(0) > free, each.mean(0), free).sum()
    torch.testing.assert_close((charged.loss + charged.log_likelihood).mean(), expected)
    torch.testing.assert_close(charged.kl, plain.kl)  # what is reported stays the true one


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "poisson"}, "unknown likelihood 'poisson'"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"kl_weight": -1.0}, "must be 0 or more"),
        ({"free_bits": -0.1}, "must be 0 or more"),
    ],
)
def test_terms_that_make_no_sense_are_refused(options, message):
    x, z = torch.zeros(1, 3, 2, 2), torch.zeros(1, 4)
    with pytest.raises(ValueError, match=message):
        elbo.terms(x, x, z, z, **options)
    with pytest.raises(ValueError, match="must have one shape"):
        elbo.terms(x, x[:, :1], z, z)


# ---- the networks


@pytest.mark.parametrize(
    ("change", "shape"),
    [({}, (5,)), ({"spatial": True}, (5, 4, 4)), ({"size": 32, "patch": 4}, (5,)), ({"multipliers": (1,)}, (5,))],
)
def test_shapes_there_and_back(change, shape):
    config = VAEConfig(**SMALL | change)
    vae, x = VAE(config).eval(), torch.rand(2, 3, config.size, config.size) * 2 - 1
    assert config.latent_shape == shape
    eps = normal(2, *shape)
    out = vae(x, eps)
    assert out.x_hat.shape == x.shape and out.mu.shape == out.logvar.shape == out.z.shape == (2, *shape)
    torch.testing.assert_close(out.z, out.mu + (out.logvar / 2).exp() * eps)
    assert torch.equal(vae(x).z, vae(x).mu)
    assert vae.decode(5 * eps).abs().max() <= 1
    again = build({"kind": "VAE", **{k: getattr(config, k) for k in VAEConfig.__dataclass_fields__}})
    again.load_state_dict(vae.state_dict())
    torch.testing.assert_close(again.eval()(x, eps).x_hat, out.x_hat)


def test_every_part_learns():
    vae = VAE(VAEConfig(**SMALL))
    for p in vae.parameters():  # the blocks start as the identity: nothing behind their zeros would get a gradient
        torch.nn.init.normal_(p, std=0.1)
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    out = vae(x, normal(4, 5))
    elbo.terms(x, out.x_hat, out.mu, out.logvar).loss.mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_an_overconfident_encoder_is_held_where_exp_is_finite():
    vae = VAE(VAEConfig(**SMALL))
    torch.nn.init.constant_(vae.encoder.layers[-1].bias, 1e4)
    out = vae(torch.zeros(1, 3, 16, 16), normal(1, 5))
    assert out.logvar.max() == LOGVAR[1] and out.z.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": 0}, "latent must be at least 1"),
        ({"size": 18}, "size 18 must be a multiple of patch x 2"),
        ({"multipliers": ()}, "must be a multiple"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        VAEConfig(**SMALL | change)


def test_inputs_of_other_shapes_are_refused():
    vae = VAE(VAEConfig(**SMALL, spatial=True))
    with pytest.raises(ValueError, match=r"takes images of shape \(B, 3, 16, 16\)"):
        vae(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"eps must have the shape \(1, 5, 4, 4\) of mu, got \(1, 5\)"):
        vae(torch.zeros(1, 3, 16, 16), torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r"takes z of shape \(B, 5, 4, 4\), got \(1, 5\)"):
        vae.decode(torch.zeros(1, 5))


# ---- pictures moved about


def test_a_quarter_turn_and_a_shift_move_pixels_where_they_should():
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    none, zero_shift = torch.zeros(1), torch.zeros(1, 2)
    torch.testing.assert_close(augment.warp(x, none, zero_shift), x, atol=1e-5, rtol=0)
    turned = augment.warp(x, torch.full((1,), math.pi / 2), zero_shift)
    torch.testing.assert_close(turned, x.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    moved = augment.warp(x, none, torch.tensor([[2.0, 1.0]]))  # to the right and down
    torch.testing.assert_close(moved[:, :, 1:, 2:], x[:, :, :-1, :-2], atol=1e-4, rtol=0)
    both = augment.warp(x, torch.full((1,), math.pi / 2), torch.tensor([[2.0, 1.0]]))
    torch.testing.assert_close(both[:, :, 1:, 2:], turned[:, :, :-1, :-2], atol=1e-4, rtol=0)


def test_black_corners_and_their_cure():
    x = torch.ones(1, 3, 16, 16)
    angle = torch.full((1,), math.pi / 4)
    black, reflected = (augment.warp(x, angle, torch.zeros(1, 2), corners) for corners in ("black", "reflect"))
    assert black[0, :, 0, 0].max() == -1 and black[0, :, 8, 8].min() > 0.99
    assert reflected.min() > 0.99
    with pytest.raises(ValueError, match="unknown corners 'white'"):
        augment.warp(x, angle, torch.zeros(1, 2), "white")
    with pytest.raises(ValueError, match="warp takes square pictures"):
        augment.warp(x[..., :8], angle, torch.zeros(1, 2))


def test_each_picture_is_moved_by_whole_pixels_within_bounds():
    x = torch.zeros(400, 1, 15, 15)
    x[:, :, 7, 7] = 1
    out = augment.warp(x, *augment.moves(400, 0, 3, torch.Generator().manual_seed(0)))
    at = torch.stack(out.flatten(1).max(1).indices.div(15, rounding_mode="floor").unique(return_counts=True))
    assert at[0].tolist() == list(range(4, 11)) and at[1].min() > 25, "seven rows, about equally often"
    assert (out.flatten(1).max(1).values > 0.999).all()
    twice = augment.warp(x, *augment.moves(400, 0, 3, torch.Generator().manual_seed(0)))
    assert torch.equal(out, twice)


# ---- the recipe


TINY = VAERecipe(size=16, network="tiny", latent=4, batch_size=8, steps=60, precision="float32", lr=3e-3, warmup=5)


def pictures(n=24, size=16):
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(n, dtype=torch.long), ("noise",), "noise", False)


def test_training_lowers_the_bound_and_a_stopped_run_ends_with_the_same_weights(tmp_path):
    recipe = TINY.changed(turn=10.0, shift=2, dropout=0.1)
    images, ends = pictures(), []
    for name, stops in (("a", [None]), ("b", [5, 20, None])):
        torch.manual_seed(0)  # of the dropout
        for stop in stops:
            model, ema, _ = recipe.build()
            losses = []
            for record in recipe.fit(model, ema, images, state=tmp_path / name):
                losses.append(record.loss)
                if record.step == stop:
                    break
        ends.append(model.state_dict() | {f"ema.{k}": v for k, v in ema.model.state_dict().items()})
        if name == "a":
            assert sum(losses[-10:]) < sum(losses[:10])
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key


def test_one_z_for_each_image_and_shards_make_up_the_batch():
    recipe, images = TINY.changed(turn=10.0), pictures()
    whole, *halves = (
        vae_recipes.VAEBatches(images, recipe, torch.device("cpu"), shard) for shard in ((0, 1), (0, 2), (1, 2))
    )
    batch = whole(3)
    assert batch.eps.shape == (8, 4) and len(batch.eps.unique(dim=0)) == 8
    torch.testing.assert_close(batch.eps, torch.cat([half(3).eps for half in halves]))
    torch.testing.assert_close(batch.x, torch.cat([half(3).x for half in halves]))
    assert not torch.equal(batch.eps, whole(4).eps)


def test_the_command_line_trains_resumes_and_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: pictures(size=32))
    small = ("size=32", "network=tiny", "latent=4", "batch_size=4", "precision=float32")
    run = ["vae-faces64", "--device", "cpu", "--out", str(tmp_path / "run"), *(x for s in small for x in ("--set", s))]
    assert train.main([*run, "--steps", "2"]) == 0
    assert train.main([*run, "--steps", "4", "--resume"]) == 0
    path = str(tmp_path / "run" / "model.safetensors")
    made = checkpoints.load(path)
    assert made.schedule is None and made.card["images_seen"] == 16 and made.model.config.latent == 4
    assert sample.main([path, "--n", "3", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    torch.testing.assert_close(sample.one_step(made.model, 5, seed=3)[:2], sample.one_step(made.model, 2, seed=3))
    assert train.main([*run[:5], "--init", path, *run[5:], "--steps", "1"]) == 2  # the folder holds a run
    assert train.main(["vae-faces64", "--set", "network=huge", "--device", "cpu", "--out", str(tmp_path / "x")]) == 2
    assert "unknown VAE 'huge': choose one of vector" in capsys.readouterr().err


def test_weight_decay_reaches_the_optimiser():
    images, norms = pictures(), {}
    for decay in (0.0, 10.0):
        recipe = TINY.changed(weight_decay=decay, steps=20)
        model, ema, _ = recipe.build()
        for _ in recipe.fit(model, ema, images):
            pass
        norms[decay] = sum(p.square().sum().item() for p in model.parameters())
    assert norms[10.0] < 0.8 * norms[0.0]


def test_the_kl_weight_warms_up():
    recipe = VAERecipe(
        size=16, network="tiny", latent=3, batch_size=4, kl_weight=2.0, kl_warmup=10, precision="float32"
    )
    model, _, _ = recipe.build()
    images = pictures()
    batches = recipe.batches(images)
    assert [batches(step).warm for step in (1, 5, 10, 99)] == [0.1, 0.5, 1.0, 1.0]
    batch = batches(5)
    terms = recipe.terms(model, batch.x, batch.eps)
    wanted = (-terms.log_likelihood + 1.0 * terms.kl).mean() / batch.x[0].numel()  # half of the weight of 2
    torch.testing.assert_close(recipe.loss(model, batch), wanted)
    assert recipe.changed(kl_warmup=0).batches(images)(1).warm == 1.0
