"""PSNR and SSIM: closed forms, the definition, and why strangers score nothing."""

import math

import pytest
import torch

from course_utils import metrics
from course_utils.data import drawn


def test_psnr_of_a_known_error():
    x = torch.zeros(2, 3, 16, 16)
    x_hat = torch.stack([torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.02)])
    torch.testing.assert_close(metrics.psnr(x, x_hat), torch.tensor([20.0, 40.0], dtype=torch.float64))
    assert metrics.psnr(x, x).isinf().all()


def test_ssim_is_the_formula_of_the_paper():
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = 0.5 * x + 0.3
    # on a constant window statistic the formula factors; here: computed by hand with a dense Gaussian window
    r = torch.arange(-5, 6, dtype=torch.float64)
    g = torch.exp(-(r**2) / (2 * 1.5**2))
    window = (g[:, None] * g / g.sum() ** 2)[None, None]

    def mean(a):
        return torch.nn.functional.conv2d(a, window)

    a, b = x.double(), y.double()
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    by_hand = ((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean()
    assert metrics.ssim(x, y).item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert metrics.ssim(x, x).item() == pytest.approx(1)


def test_strangers_have_no_structure_in_common_and_a_soft_copy_has():
    cats = drawn.draw(8, "cat", 64, seed=1).images
    small = torch.nn.functional.avg_pool2d(cats, 2)
    soft = torch.nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    assert metrics.ssim(cats, soft).mean() > metrics.ssim(cats, cats.roll(1, 0)).mean() + 0.3
    assert metrics.psnr(cats, soft).mean() > metrics.psnr(cats, cats.roll(1, 0)).mean() + 5


@pytest.mark.parametrize("number", [metrics.psnr, metrics.ssim])
def test_what_is_no_pair_is_refused(number):
    x = torch.zeros(2, 3, 16, 16)
    with pytest.raises(ValueError, match="take one shape"):
        number(x, x[:1])
    with pytest.raises(ValueError, match="not finite"):
        number(x, x * math.nan)
