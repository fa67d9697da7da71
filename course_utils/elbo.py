"""The evidence lower bound of a variational autoencoder, as pure functions, in nats."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LIKELIHOODS = ("gaussian", "laplace")


def reparametrise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mu + sigma eps, with logvar = log sigma^2: a draw from N(mu, sigma^2) through which gradients pass.

    Source: Kingma & Welling 2014, section 2.4. All of one shape; eps standard normal.
    """
    return mu + (logvar / 2).exp() * eps


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) of each latent number, 0 or more, in the shape of mu, with logvar = log sigma^2.

    Source: Kingma & Welling 2014, appendix B: (mu^2 + sigma^2 - 1 - log sigma^2) / 2.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def log_likelihood(x: Tensor, x_hat: Tensor, kind: str = "gaussian", scale: float = 1.0) -> Tensor:
    """log p(x | z) of each image, (B,), summed over channels and pixels, for a decoder that answers x_hat.

    kind: "gaussian", N(x_hat, scale^2), or "laplace", with density exp(-|x - x_hat| / scale) / (2 scale). It is the
    logarithm of a density: it can be positive. x, x_hat: (B, ...). Raises ValueError for another kind, scale <= 0, and
    shapes that differ.
    """
    if kind not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {kind!r}: choose one of {', '.join(LIKELIHOODS)}")
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    if x.shape != x_hat.shape:
        raise ValueError(f"x and x_hat must have one shape, got {tuple(x.shape)} and {tuple(x_hat.shape)}")
    error = (x - x_hat).flatten(1) / scale
    if kind == "laplace":
        return -(error.abs() + math.log(2 * scale)).sum(1)
    return -0.5 * (error.square() + math.log(2 * math.pi * scale**2)).sum(1)


class Terms(NamedTuple):
    """Parts of a loss, per image (B,): loss = -log_likelihood + weight * kl; kl is the sum over z, before free bits."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor


def terms(
    x: Tensor,
    x_hat: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    kind: str = "gaussian",
    scale: float = 1.0,
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
) -> Terms:
    """Return the negative ELBO of each image and its parts; the mean of `loss` is what training minimises.

    Source: Kingma & Welling 2014, eq. 3, with the expectation over q(z | x) estimated from one z. kl_weight: the beta
    of Higgins et al. 2017; 1 is the bound. With a Gaussian of scale 1 it plays the part of scale^2: multiplying the
    loss by a constant changes no minimum, so weight w at scale 1 is the bound at scale sqrt(w). free_bits: nats that
    each latent number (channel, for a map) may hold without being charged, on average over the batch (Kingma et al.
    2016, appendix C.8). Raises ValueError for negative weights, and as `log_likelihood`.
    """
    if kl_weight < 0 or free_bits < 0:
        raise ValueError(f"kl_weight and free_bits must be 0 or more, got {kl_weight} and {free_bits}")
    fit = log_likelihood(x, x_hat, kind, scale)
    each = kl(mu, logvar).flatten(2).sum(2) if mu.ndim > 2 else kl(mu, logvar)  # (B, latent)
    total = each.sum(1)
    charged = total
    if free_bits:
        mean = each.mean(0)
        # the same for every image of the batch, so that the mean of the loss is what the paper minimises
        charged = torch.where(mean > free_bits, each, free_bits).sum(1)
    return Terms(kl_weight * charged - fit, fit, total)
