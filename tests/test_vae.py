"""The ELBO against closed forms and torch.distributions, and the autoencoders' shapes, gradients and errors."""

import math

import pytest
import torch
from torch import distributions as D

from course_utils import elbo
from course_utils.models import build
from course_utils.models.vae import LOGVAR, VAE, VAEConfig

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
