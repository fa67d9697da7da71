"""The variational bound against closed forms: Gaussian data, whose every term and true density are known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from course_utils import bound, diffusion, schedules
from course_utils.ideal import IdealDenoiser

MEAN, STD = 0.4, 0.6
EVERY_VARIANCE = pytest.mark.parametrize("variance", bound.VARIANCES)


def gaussian(schedule, d=2):
    """The exact denoiser of N(MEAN, STD^2 I)."""
    return IdealDenoiser(torch.full((1, d), MEAN, dtype=schedule.beta.dtype), schedule, std=STD)


def draw(n, generator, d=2):
    return MEAN + STD * torch.randn(n, d, generator=generator, dtype=torch.float64)


def constant(x0_hat):
    """A network that always answers the same picture."""

    def model(x, t, y=None):
        return x0_hat.expand_as(x)

    model.predicts = "x_0"
    return model


def density_of_the_chain(x_0, s, variance):
    """-log p_theta(x_0) in nats for the exact denoiser: each step is linear in x, so p_theta is a Gaussian."""
    mean, var = torch.zeros(()).double(), torch.ones(()).double()
    for t in range(s.T, 0, -1):
        # x0_hat = MEAN + gain (x_t - sqrt(alpha_bar) MEAN), and the posterior mean is a x_t + b x0_hat (Eq. 7)
        a = s.alpha[t].sqrt() * (1 - s.alpha_bar[t - 1]) / (1 - s.alpha_bar[t])
        b = s.alpha_bar[t - 1].sqrt() * s.beta[t] / (1 - s.alpha_bar[t])
        gain = s.alpha_bar[t].sqrt() * STD**2 / (1 - s.alpha_bar[t] + s.alpha_bar[t] * STD**2)
        slope = a + b * gain
        noise = s.beta[1] if t == 1 else getattr(s, variance)[t]
        mean, var = slope * mean + b * MEAN * (1 - gain * s.alpha_bar[t].sqrt()), slope**2 * var + noise
    return -Normal(mean, var.sqrt()).log_prob(x_0).sum(1)


def test_gaussian_kl_is_that_of_torch(generator):
    mean_1, mean_2 = torch.randn(2, 1000, generator=generator, dtype=torch.float64)
    var_1, var_2 = torch.randn(2, 1000, generator=generator, dtype=torch.float64).exp()
    expected = kl_divergence(Normal(mean_1, var_1.sqrt()), Normal(mean_2, var_2.sqrt()))
    torch.testing.assert_close(bound.gaussian_kl(mean_1, var_1, mean_2, var_2), expected)


def test_gaussian_kl_of_nearly_equal_variances_keeps_its_digits_in_float32():
    d = 1e-4  # KL = d^2 / 4 to first order
    assert bound.gaussian_kl(0.0, torch.tensor(1.0 + d), 0.0, 1.0) == pytest.approx(d**2 / 4, rel=0.01)


@pytest.mark.parametrize("T", [2, 1000])
def test_prior_term_is_the_closed_form(T, generator):
    s, x_0 = schedules.linear(T, dtype=torch.float64, rescale=False), draw(5, generator)
    q = Normal(s.alpha_bar[-1].sqrt() * x_0, s.sigma[-1])
    torch.testing.assert_close(bound.prior_term(x_0, s), kl_divergence(q, Normal(0.0, 1.0)).sum(1))


@EVERY_VARIANCE
@pytest.mark.parametrize("predicts", diffusion.PREDICTS)
def test_kl_term_is_the_closed_form(variance, predicts, generator):
    """With Eq. 8: the squared error of x0_hat times (SNR(t-1) - SNR(t)) / 2, and for beta the variances' own KL."""
    s = schedules.cosine(40, dtype=torch.float64)
    x_0, eps, error = (torch.randn(39, 3, 2, 1, generator=generator, dtype=torch.float64) for _ in range(3))
    t = torch.arange(2, 41)
    x0_hat, x_t = x_0 + error, diffusion.q_sample(x_0, t, eps, s)
    eps_hat = diffusion.eps_from_x0(x_t, t, x0_hat, s)
    answer = {"eps": eps_hat, "x_0": x0_hat, "v": diffusion.v_target(x0_hat, t, eps_hat, s)}[predicts]

    def model(x, t, y=None):
        return answer

    model.predicts = predicts
    snr = s.alpha_bar / (1 - s.alpha_bar)
    squares = error.square().flatten(1).sum(1)
    expected = (snr[t - 1] - snr[t]) / 2 * squares
    if variance == "beta":
        ratio = s.beta_tilde[t] / s.beta[t]
        expected = expected * ratio + 6 * (ratio - 1 - ratio.log()) / 2
    torch.testing.assert_close(bound.kl_term(model, x_0, t, eps, s, variance), expected)


def test_kl_terms_and_the_vlb_loss_are_the_same_sum(generator):
    """For beta_tilde the mean over t of weighted_loss("vlb"), times the dimensions, is the sum of the kl terms."""
    s, d = schedules.linear(30), 4
    x_0, eps = torch.randn(2, 29, d, generator=generator)
    model, t = constant(torch.tensor([0.3, -0.2, 0.9, 0.0])), torch.arange(2, 31)
    kl = bound.kl_term(model, x_0, t, eps, s)
    torch.testing.assert_close(d / s.T * diffusion.weighted_loss(model, x_0, t, eps, s, "vlb"), kl)


def test_random_t_estimates_what_the_sum_over_t_gives(generator):
    """d times the vlb loss at drawn t, minus its t = 1, agrees with `bound` within five standard errors."""
    s, x_0 = schedules.linear(20, dtype=torch.float64), draw(20_000, generator)
    model = gaussian(s)
    terms = bound.bound(model, x_0, s, generator=generator)
    t, eps = diffusion.draw_t(len(x_0), s, generator), torch.randn(x_0.shape, generator=generator, dtype=torch.float64)
    loss = 2 * diffusion.weighted_loss(model, x_0, t, eps, s, "vlb") * (t > 1)
    standard_error = (loss.std() + terms.kl.sum(1).std()) / len(x_0) ** 0.5
    assert abs(loss.mean() - terms.kl.sum(1).mean()) < 5 * standard_error


@EVERY_VARIANCE
def test_every_term_has_its_expectation_for_gaussian_data(variance, generator):
    """The error of the exact x0_hat is the posterior variance of x_0 given x_t."""
    n, d, T = 20_000, 2, 12
    s = schedules.linear(T, dtype=torch.float64)
    terms = bound.bound(gaussian(s), draw(n, generator), s, variance=variance, generator=generator)
    assert terms.prior.shape == terms.decoder.shape == (n,) and terms.kl.shape == (n, T - 1)
    assert torch.equal(terms.total, terms.prior + terms.kl.sum(1) + terms.decoder)
    error = d * STD**2 * s.sigma**2 / (s.sigma**2 + s.alpha_bar * STD**2)
    snr = s.alpha_bar / s.sigma**2
    kl = (snr[1:-1] - snr[2:]) / 2 * error[2:]
    if variance == "beta":
        ratio = s.beta_tilde[2:] / s.beta[2:]
        kl = kl * ratio + d * (ratio - 1 - ratio.log()) / 2
    decoder = error[1] / (2 * s.beta[1]) + d * (2 * math.pi * s.beta[1]).log() / 2
    for values, expected in ((terms.kl, kl), (terms.decoder, decoder)):
        assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / n**0.5).all()


def expected_bound(x_0, s, variance):
    """The bound of each x_0 (B, 1), exact: all terms are quadratic in eps here, so that eps = 1 and -1 average to E."""
    t, model, total = torch.arange(2, s.T + 1).repeat_interleave(len(x_0)), gaussian(s, 1), bound.prior_term(x_0, s)
    for eps in (torch.ones_like(x_0), -torch.ones_like(x_0)):
        kl = bound.kl_term(model, x_0.repeat(s.T - 1, 1), t, eps.repeat(s.T - 1, 1), s, variance)
        total = total + (kl.view(s.T - 1, -1).sum(0) + bound.decoder_term(model, x_0, eps, s)) / 2
    return total


@EVERY_VARIANCE
@pytest.mark.parametrize("T", [2, 10, 300])
def test_bound_lies_above_the_density_of_the_chain_for_every_example(variance, T):
    """-log p_theta(x_0) is known, and the gap is a KL that is never negative: at any x_0, however small."""
    s, x_0 = schedules.cosine(T, dtype=torch.float64), torch.linspace(-4, 4, 41).double().view(-1, 1)
    gap = expected_bound(x_0, s, variance) - density_of_the_chain(x_0, s, variance)
    assert (gap > 0).all()
    if (variance, T) == ("beta", 300):
        assert (gap < 0.002).all()  # by now p_theta's chain runs nearly like q's


def test_bound_comes_down_to_the_true_density_as_T_grows():
    """Over the data E[-log q(x_0)] is the floor, and small steps reach it: the gap goes as 1/T."""
    x_0, gaps = torch.tensor([[MEAN - STD], [MEAN + STD]]).double(), {}  # averages to E of a quadratic in x_0, too
    for T in (100, 200, 2000):
        s = schedules.linear(T, dtype=torch.float64)
        gaps[T] = float((expected_bound(x_0, s, "beta") + Normal(MEAN, STD).log_prob(x_0).sum(1)).mean())
    assert 0 < gaps[2000] < 0.0004
    assert gaps[100] / gaps[200] == pytest.approx(2, rel=0.05) and gaps[200] / gaps[2000] == pytest.approx(10, rel=0.1)


def test_beta_tilde_leaves_a_gap_that_no_T_closes_on_smooth_data():
    """It is the variance for data that are a point; on a density its first steps cost Euler's 0.577 / 2 a dimension."""
    x_0 = torch.tensor([[MEAN - STD], [MEAN + STD]]).double()
    for T in (100, 4000):
        s = schedules.cosine(T, dtype=torch.float64)
        gap = (expected_bound(x_0, s, "beta_tilde") + Normal(MEAN, STD).log_prob(x_0).sum(1)).mean()
        assert gap > 0.5772 / 2
    assert gap < 0.35


def test_repeats_average_the_noise_away(generator):
    s, x_0 = schedules.linear(5, dtype=torch.float64), torch.full((4000, 2), 0.7).double()
    one, many = (bound.bound(gaussian(s), x_0, s, repeats=r, generator=generator) for r in (1, 16))
    for a, b in ((one.decoder, many.decoder), (one.kl[:, 0], many.kl[:, 0])):
        assert a.std() / b.std() == pytest.approx(4, rel=0.1)


def test_clip_prices_the_clipped_network():
    """As one that answers 1 itself; and every term of `bound` is told."""
    s, x_0 = schedules.cosine(6), torch.tensor([[1.0, -1.0], [0.2, 0.5]])
    priced = [
        bound.bound(constant(torch.tensor(x0_hat)), x_0, s, clip=clip, generator=torch.Generator().manual_seed(0))
        for x0_hat, clip in ((2.0, True), (1.0, False), (2.0, False))
    ]
    for name in ("kl", "decoder"):
        clipped, at_one, free = (getattr(terms, name) for terms in priced)
        assert torch.equal(clipped, at_one) and (clipped < free).all()


def test_labels_reach_the_network(generator):
    s, x_0 = schedules.linear(6), torch.randn(5, 2, generator=generator)
    seen = []

    def model(x, t, y=None):
        seen.append(y)
        return x

    model.predicts = "x_0"
    y = torch.arange(5)
    bound.bound(model, x_0, s, y=y, generator=generator)
    assert len(seen) == 6 and all(got is y for got in seen)


# ---- the decoder on 8-bit images


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centre", [-3.0, -1.0, 0.0, 0.123, 1.0, 40.0])
def test_the_256_bins_share_out_all_the_probability(centre, dtype):
    s = schedules.linear(1000, dtype=dtype)
    values = torch.linspace(-1, 1, 256, dtype=dtype).view(-1, 1)
    model = constant(torch.tensor([centre], dtype=dtype))
    nats = bound.decoder_term(model, values, torch.zeros_like(values), s, bins=256)
    assert nats.isfinite().all() and nats.min() >= 0
    torch.testing.assert_close((-nats).exp().sum(), torch.ones((), dtype=dtype))


def test_bins_against_the_difference_of_cdfs_where_that_is_exact():
    s = schedules.linear(20, dtype=torch.float64)  # beta_1 = 0.005: a bin is a ninth of the deviation
    values = torch.linspace(-1, 1, 256, dtype=torch.float64).view(-1, 1)
    cdf = Normal(0.1, s.beta[1].sqrt()).cdf
    low, high = cdf(values - 1 / 255), cdf(values + 1 / 255)
    low[0], high[-1] = 0, 1
    nats = bound.decoder_term(constant(torch.tensor([0.1]).double()), values, 0 * values, s, bins=256)
    near = (values[:, 0] - 0.1).abs() < 0.4  # beyond it the difference of cdfs has lost its digits
    torch.testing.assert_close(nats[near], -(high - low).log()[near, 0], rtol=1e-6, atol=0)


def test_far_in_the_tails_the_bins_follow_the_asymptote_in_float32():
    """Where the cdf underflows: log Phi(-z) is -z^2/2 - log(z sqrt(2 pi)) up to 1/z^2, and the near edge has it all."""
    s = schedules.linear(1000)  # standard deviation 0.01
    x_0 = torch.tensor([[-1.0], [101 / 255], [1.0]])
    model = constant(torch.tensor([[1.0], [-1.0], [-1.0]]))
    nats = bound.decoder_term(model, x_0, torch.zeros_like(x_0), s, bins=256)
    z = torch.tensor([2 - 1 / 255, 1 + 100 / 255, 2 - 1 / 255]) / 0.01
    torch.testing.assert_close(nats, z**2 / 2 + (z * math.sqrt(2 * math.pi)).log(), rtol=1e-4, atol=0)


def test_narrow_bins_turn_into_the_density():
    """With bins far narrower than the deviation, -log P(bin) = -log density - log(width)."""
    s = schedules.linear(4, rescale=False, beta_1=0.2, beta_T=0.5, dtype=torch.float64)
    x_0 = torch.randint(1, 255, (50, 3, 4, 4)).double() / 127.5 - 1  # not the open bins
    eps, model = torch.zeros_like(x_0), constant(torch.tensor(0.2).double())
    density, mass = (bound.decoder_term(model, x_0, eps, s, bins) for bins in (None, 256))
    torch.testing.assert_close(mass, density - 48 * math.log(2 / 255), rtol=1e-4, atol=0)


def test_bits_per_dim_of_a_guess_is_eight():
    """A decoder that gives each of the 256 values the same chance needs eight bits per dimension."""
    nats = torch.full((3,), 12 * math.log(256))
    torch.testing.assert_close(bound.bits_per_dim(nats, 12), torch.full((3,), 8.0))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda m, x, s: bound.gaussian_kl(0.0, torch.tensor([1.0, 0.0]), 0.0, 1.0), "must be positive.*decoder_term"),
        (lambda m, x, s: bound.kl_term(m, x, torch.tensor([2, 1]), x, s), r"t in 2\.\.5, got 1.*decoder_term"),
        (lambda m, x, s: bound.kl_term(m, x, torch.tensor([2, 3]), x, s, "fixed"), "'beta_tilde', got 'fixed'"),
        (lambda m, x, s: bound.bound(m, x, s, variance="fixed"), "'beta_tilde', got 'fixed'"),
        (lambda m, x, s: bound.bound(m, x, s, repeats=0), "at least 1, got 0"),
        (lambda m, x, s: bound.bound(None, 2 * x, s, bins=256), "from -1 to 1.*from -2 to 2"),
        (lambda m, x, s: bound.bound(None, 0.999 * x, s, bins=256), "must hold 256 levels.*bins=None"),
        (lambda m, x, s: bound.decoder_term(m, x, x, s, bins=1), "bins must be at least 2"),
        (lambda m, x, s: bound.bits_per_dim(x, 0), r"x_0\[0\].numel\(\): at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(run, message):
    x_0 = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    with pytest.raises(ValueError, match=message):
        run(constant(torch.tensor(0.0)), x_0, schedules.linear(5))


def test_a_chain_of_one_step_has_a_prior_and_a_decoder_only(generator):
    terms = bound.bound(constant(torch.tensor(0.0)), torch.randn(3, 2), schedules.linear(1), generator=generator)
    assert terms.kl.shape == (3, 0)
    torch.testing.assert_close(terms.total, terms.prior + terms.decoder)
