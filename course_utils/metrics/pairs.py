"""How alike two pictures are, pixel by pixel: for a picture and its own reconstruction, never for strangers."""

import torch
from torch import Tensor

from course_utils.metrics.features import check

RANGE = 2.0  # images lie in [-1, 1]


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in decibels, (N,): 10 log10(range^2 / mean squared error).

    20 dB is an error of a tenth of the range, 40 dB of a hundredth; inf where both are equal. x, x_hat: (N, C, H, W) in
    [-1, 1], in pairs. Raises ValueError for shapes that differ and values that are not finite.
    """
    x, x_hat = _pair(x, x_hat)
    error = (x - x_hat).square().flatten(1).mean(1)
    return 10 * (RANGE**2 / error).log10()


def ssim(x: Tensor, x_hat: Tensor) -> Tensor:
    """Structural similarity of each pair, (N,), 1 where both are equal, about 0 for unrelated ones.

    Source: Wang et al. 2004, eq. 13, with their Gaussian window of 11 x 11 and standard deviation 1.5, a mean over
    places and channels, as scikit-image computes it. It compares light, contrast and structure of small windows *at the
    same place*, so it says something where pixels correspond: a picture and its reconstruction. Arguments and errors:
    see `psnr`; pictures must be at least 11 pixels a side.
    """
    from skimage.metrics import structural_similarity

    x, x_hat = _pair(x, x_hat)
    how = {
        "channel_axis": 0,
        "data_range": RANGE,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    pairs = zip(x.numpy(), x_hat.numpy(), strict=True)
    return torch.tensor([structural_similarity(a, b, **how) for a, b in pairs], dtype=torch.float64)


def _pair(x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
    if x.ndim != 4 or x.shape != x_hat.shape:
        raise ValueError(
            f"pairs of pictures (N, C, H, W) take one shape, got {tuple(x.shape)} and {tuple(x_hat.shape)}"
        )
    return tuple(check(part.flatten(1)).view(part.shape) for part in (x, x_hat))
