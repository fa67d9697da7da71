"""The exact denoiser of data whose distribution is known: what a perfect network would answer."""

import torch
from torch import Tensor

from course_utils.diffusion import signal_and_noise
from course_utils.schedules import Schedule


class IdealDenoiser:
    """The posterior mean E[eps | x_t] when x_0 is uniform over `points`, each blurred by N(0, std^2 I).

    With std = 0 this is the optimum of the training loss on a finite training set: sampling from it returns training
    points only. Source: Bayes' rule on Ho et al. 2020, Eq. 4; Karras et al. 2022, appendix B.3, has the same result.
    Used like a network: `model(x_t, t)`. points: (N, ...); memory grows with B * N.

    Raises ValueError for an empty set or a negative std.
    """

    predicts = "eps"

    def __init__(self, points: Tensor, schedule: Schedule, std: float = 0.0):
        if len(points) == 0:
            raise ValueError("the ideal denoiser needs at least one point")
        if std < 0:
            raise ValueError(f"std is a standard deviation and cannot be negative, got {std}")
        self.points, self.schedule, self.std = points, schedule, std

    def weights(self, x_t: Tensor, t: Tensor) -> Tensor:
        """P(x_0 belongs to point i | x_t), shape (B, N), rows sum to 1. Shapes: x_t (B, ...), t (B,)."""
        alpha_bar, variance = self._moments(x_t, t)
        x, centres = x_t.flatten(1), self.points.flatten(1)
        scale = alpha_bar.sqrt().view(-1, 1)
        # the matrix-product form of cdist cancels badly at small t, where neighbours decide the weights
        distance = torch.cdist(x / scale, centres, compute_mode="donot_use_mm_for_euclid_dist") * scale
        return torch.softmax(-(distance**2) / (2 * variance.view(-1, 1)), dim=1)

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Return E[eps | x_t], shaped like x_t. Shapes: x_t (B, ...), t (B,) in 1..T, also fractions; y is ignored."""
        alpha_bar, variance = self._moments(x_t, t)
        sigma = signal_and_noise(t, t, self.schedule)[1]
        shape = (-1, *[1] * (x_t.ndim - 1))
        centre = (self.weights(x_t, t) @ self.points.flatten(1)).view_as(x_t) * alpha_bar.sqrt().view(shape)
        # eps has variance sigma^2 out of `variance`, so it takes that share of what the centre leaves unexplained
        return (x_t - centre) * (sigma / variance).view(shape)

    def _moments(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = signal_and_noise(t, t, self.schedule)
        return a**2, s**2 + a**2 * self.std**2
