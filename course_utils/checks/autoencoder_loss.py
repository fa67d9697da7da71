"""Exercise 4 of notebook 05: the loss of a variational autoencoder, squared error and weighted divergence."""

import torch
from torch import Tensor

from course_utils import elbo
from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _half_square(error: Tensor) -> Tensor:
    return 0.5 * error.square().flatten(1).sum(1)


def _axes(error: Tensor) -> Tensor:
    return 0.5 * error.square().sum((1, 2, 3))  # as students write it for images


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return elbo.kl(mu, logvar).sum(1)


def _weighted(fit: Tensor, cost: Tensor, weight: float) -> Tensor:
    return fit + weight * cost


def _loss(fit=_half_square, cost=_kl, join=_weighted, reduce=torch.mean):
    """Return a vae_loss from its two terms, the way in which they are joined, and what becomes of the batch.

    fit(error) and cost(mu, logvar) give (B,), or a scalar.
    """
    return lambda x, x_hat, mu, logvar, weight: reduce(join(fit(x - x_hat), cost(mu, logvar), weight))


def _pixel_mean(error: Tensor) -> Tensor:
    return error.square().mean()


def _kl_mean(mu: Tensor, logvar: Tensor) -> Tensor:
    return elbo.kl(mu, logvar).mean()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, latent, weight, trained in (
        ("images", (4, 3, 5, 7), 6, 0.5, "logvar"),
        ("weight = 1: the bound itself", (3, 3, 4, 4), 20, 1.0, "mu"),
        ("weight = 0: no KL at all", (2, 3, 4, 6), 5, 0.0, "x_hat"),
        ("a large weight, a whole number", (5, 3, 4, 4), 5, 4, "logvar"),
        ("a small weight", (3, 1, 4, 4), 8, 0.02, "mu"),
        ("a single image", (1, 3, 6, 4), 12, 0.7, "x_hat"),
        ("a single latent number", (3, 3, 2, 2), 1, 3.0, "logvar"),
        ("every size is 4", (4, 4, 4, 4), 4, 2.0, "mu"),
        ("one pixel", (6, 1, 1, 1), 3, 0.3, "x_hat"),
        ("x_hat = x: only the KL is left", (3, 2, 3, 3), 7, 0.25, "logvar"),
        ("mu = 0, logvar = 0: only the error is left", (2, 3, 4, 4), 6, 0.9, "x_hat"),
        ("32 x 32 pixels", (2, 3, 32, 32), 64, 2.5, "mu"),
        ("points", (6, 2), 2, 0.6, "logvar"),
    ):
        x, error = 2 * torch.rand(shape, generator=generator) - 1, torch.randn(shape, generator=generator)
        mu, logvar = (torch.randn(shape[0], latent, generator=generator) for _ in range(2))
        x_hat = x + (0 if label.startswith("x_hat = x") else 0.7 * error)
        if label.startswith("mu = 0"):
            mu, logvar = torch.zeros_like(mu), torch.zeros_like(logvar)
        args = {"x": x, "x_hat": x_hat, "mu": mu, "logvar": logvar - 0.5 * (not label.startswith("mu = 0"))}
        args[trained].requires_grad_()  # one at a time, so that cutting any of them is seen
        made.append(Case(label, {**args, "weight": weight}))
    return made


VAE_LOSS = Exercise(
    "vae_loss",
    _loss(),
    _cases,
    (
        Mistake(
            "weight on the error",
            "You weighted the reconstruction; weight belongs to the KL divergence alone.",
            "what your loss gives at weight = 0",
            (_loss(join=lambda fit, cost, w: w * fit + cost), _loss(_axes, join=lambda fit, cost, w: w * fit + cost)),
        ),
        Mistake(
            "weight on both",
            "You weighted both terms, which only scales the whole loss; weight has to change their balance.",
            "the brackets, and what your loss gives at weight = 0",
            (_loss(join=lambda fit, cost, w: w * (fit + cost)),),
        ),
        Mistake(
            "1 - weight on the error",
            "You multiplied the reconstruction by 1 - weight. The two need not add up to 1, and weight may exceed it: "
            "the reconstruction always counts fully.",
            "what your loss gives at weight = 1",
            (
                _loss(join=lambda fit, cost, w: (1 - w) * fit + w * cost),
                _loss(join=lambda fit, cost, w: fit + (1 - w) * cost),
            ),
        ),
        Mistake(
            "weight unused",
            "Your loss is the same at every weight.",
            "where your function uses weight",
            (_loss(join=lambda fit, cost, w: fit + cost), _loss(_axes, join=lambda fit, cost, w: fit + cost)),
        ),
        Mistake(
            "weight in the wrong place",
            "weight does not simply multiply the KL divergence: it was added, squared, limited to 1, or its root was "
            "taken.",
            "what happens to the KL term of your loss when weight doubles",
            (
                _loss(join=lambda fit, cost, w: fit + cost + w),
                _loss(join=lambda fit, cost, w: fit + w**2 * cost),
                _loss(join=lambda fit, cost, w: fit / w + cost),
                _loss(join=lambda fit, cost, w: fit + w**0.5 * cost),
                _loss(join=lambda fit, cost, w: fit + min(w, 1) * cost),
            ),
        ),
        Mistake(
            "KL subtracted",
            "You subtracted the KL divergence. It stands with a minus in the bound, which is maximised; a loss is "
            "minimised.",
            "whether your loss grows when mu moves away from 0",
            (
                _loss(join=lambda fit, cost, w: fit - w * cost),
                _loss(_axes, join=lambda fit, cost, w: fit - w * cost),
                _loss(join=lambda fit, cost, w: fit - cost),
            ),
        ),
        Mistake(
            "the bound",
            "You returned the bound, with the sign for maximising; a loss is minimised.",
            "whether your loss grows when x_hat moves away from x",
            (_loss(join=lambda fit, cost, w: -fit - w * cost), _loss(join=lambda fit, cost, w: w * cost - fit)),
        ),
        Mistake(
            "sum over the batch",
            "You summed over the batch: with a batch of twice the size your gradients would be twice as large.",
            "the last thing that you do, and what it does along the first axis",
            (
                _loss(reduce=torch.sum),
                _loss(_axes, reduce=torch.sum),
                _loss(lambda error: 2 * _half_square(error), reduce=torch.sum),
            ),
        ),
        Mistake(
            "one term summed over the batch",
            "One term is averaged over the batch and the other summed: their balance would change with its size.",
            "what each of the two terms does along the first axis",
            (
                _loss(lambda error: _half_square(error).sum()),
                _loss(lambda error: error.square().sum()),
                _loss(cost=lambda mu, logvar: _kl(mu, logvar).sum()),
                _loss(_pixel_mean, lambda mu, logvar: _kl(mu, logvar).sum()),
                _loss(lambda error: _half_square(error).sum(), lambda mu, logvar: _kl(mu, logvar).sum() / len(mu) ** 2),
            ),
        ),
        Mistake(
            "error averaged over pixels",
            "You averaged the error over the numbers of an image but summed the KL divergence: sum against mean. The "
            "weight then means something else, by a factor of thousands for a large picture.",
            "what mean() or mse_loss does along each axis",
            (
                _loss(_pixel_mean),
                _loss(lambda error: 0.5 * _pixel_mean(error)),
                _loss(lambda error: error.square().flatten(2).sum(2).mean(1) if error.ndim > 2 else _pixel_mean(error)),
                _loss(lambda error: error.square().sum(1).flatten(1).mean(1)),
                _loss(lambda error: 0.5 * error.square().sum(1).flatten(1).mean(1)),
            ),
        ),
        Mistake(
            "KL averaged over D",
            "You averaged the KL divergence over the latent numbers but summed the error: sum against mean. The weight "
            "then means something else, by a factor of D.",
            "what each of the two terms does along the axes behind the first",
            (
                _loss(cost=_kl_mean),
                _loss(_axes, _kl_mean),
                _loss(lambda error: 2 * _half_square(error), _kl_mean),
            ),
        ),
        Mistake(
            "both averaged",
            "You averaged both terms over the numbers of an image. There are far more pixels than latent numbers: the "
            "weight then means something else.",
            "what mean() or mse_loss does along each axis",
            (
                _loss(_pixel_mean, _kl_mean),
                _loss(lambda error: 0.5 * _pixel_mean(error), _kl_mean),
                _loss(_pixel_mean, lambda mu, logvar: 2 * _kl_mean(mu, logvar)),
                lambda x, *rest: _loss()(x, *rest) / x[0].numel(),
            ),
        ),
        Mistake(
            "half missing",
            "The half in front of the squared error, or that of the KL divergence, is missing.",
            "your loss with x_hat = x, and with mu = 0 and logvar = 0: which of the two is twice too large?",
            (
                _loss(lambda error: 2 * _half_square(error)),
                _loss(lambda error: 2 * _axes(error)),
                _loss(cost=lambda mu, logvar: 2 * _kl(mu, logvar)),
                _loss(join=lambda fit, cost, w: 2 * (fit + w * cost)),
            ),
        ),
        Mistake(
            "a half too many",
            "A half stands in front of the KL divergence, too, which already has its own: check the brackets.",
            "your loss with x_hat = x",
            (
                _loss(join=lambda fit, cost, w: fit + 0.5 * w * cost),
                _loss(join=lambda fit, cost, w: 0.5 * (fit + w * cost)),
            ),
        ),
        Mistake(
            "one term only",
            "One of the two terms is missing from your loss.",
            "your loss with x_hat = x, and with mu = 0 and logvar = 0",
            (
                _loss(join=lambda fit, cost, w: fit + 0 * cost),
                _loss(join=lambda fit, cost, w: 2 * fit + 0 * cost),
                _loss(join=lambda fit, cost, w: w * cost),
                _loss(join=lambda fit, cost, w: cost),
            ),
        ),
        Mistake(
            "one loss per image",
            "You returned a loss for each image, hence the wrong shape: backward() needs a single number.",
            "the shape that you return",
            (
                _loss(reduce=lambda each: each),
                _loss(_pixel_mean, reduce=lambda each: each),
            ),
        ),
        Mistake(
            "another error",
            "Your reconstruction term is not the squared error: the absolute one, a norm without its square, the "
            "square of a sum, or something else.",
            "your loss with mu = 0 and logvar = 0, when x - x_hat doubles: it has to grow fourfold",
            (
                _loss(lambda error: 0.5 * error.abs().flatten(1).sum(1)),
                _loss(lambda error: error.abs().flatten(1).sum(1)),
                _loss(lambda error: error.abs().mean()),
                _loss(lambda error: error.flatten(1).norm(dim=1)),
                _loss(lambda error: 0.5 * error.flatten(1).norm(dim=1)),
                _loss(lambda error: 0.5 * error.flatten(1).sum(1).square()),
                _loss(lambda error: 0.5 * error.flatten(1).sum(1)),
            ),
        ),
        Mistake(
            "another divergence",
            "Your KL term is wrong: with x_hat = x your loss is not weight times KL(N(mu, sigma^2) || N(0, 1)).",
            "your own kl_divergence, which may be called here",
            (
                _loss(cost=lambda mu, logvar: elbo.kl(mu, 2 * logvar).sum(1)),
                _loss(cost=lambda mu, logvar: elbo.kl(-mu / (0.5 * logvar).exp(), -logvar).sum(1)),
                _loss(cost=lambda mu, logvar: (elbo.kl(mu, logvar) + 0.5).sum(1)),
                _loss(cost=lambda mu, logvar: elbo.kl(mu, 0 * logvar).sum(1)),
                _loss(cost=lambda mu, logvar: elbo.kl(0 * mu, logvar).sum(1)),
                _loss(cost=lambda mu, logvar: (elbo.kl(mu, logvar) + logvar).sum(1)),
                _loss(cost=lambda mu, logvar: 0.5 * (mu.square() + (logvar / 2).exp() - 1 - logvar).sum(1)),
            ),
        ),
        Mistake(
            "constant added",
            "You added the constant of the Gaussian density. It trains nothing, and half the squared error is asked "
            "for, no log likelihood.",
            "your loss with x_hat = x, mu = 0 and logvar = 0: it has to be 0",
            (lambda x, x_hat, *rest: _loss()(x, x_hat, *rest) - elbo.log_likelihood(x, x).mean(),),
        ),
        Mistake(
            "axes counted",
            "Right for images, but your sum names axes that points, (B, 2), lack: x may have any number of axes.",
            "how to treat all axes but the first alike, however many there are",
            (_loss(_axes),),
        ),
    ),
    hint="write each term for one image first: with weight = 0 only the error is left, with x_hat = x only the KL",
    tolerance=Tolerance(absolute=1e-5),
)

EXERCISES = (VAE_LOSS,)
