"""The homework checks pass what is right, name each mistake by its own name, and let nothing wrong through."""

import cmath
import contextlib
import copy
import math
import random
import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import distributions as D
from torch import nn
from torch.nn import functional as F

from course_utils import (
    adversarial,
    checks,
    diffusion,
    editing,
    elbo,
    frameworks,
    fusion,
    ideal,
    metrics,
    samplers,
    schedules,
    styles,
)
from course_utils.checks import engine, fast_grid, fast_precondition, fusion_level, scores_root, scores_shared
from course_utils.checks.stateful import Stateful
from course_utils.models.dcgan import DCGANConfig, Discriminator, Generator
from course_utils.models.stylegan2 import StyledConv, StyleGAN2Config, StyleGenerator

EXERCISES = list(checks.REGISTRY.values())
ANSWERS = [
    pytest.param(exercise, mistake, answer, id=f"{exercise.name}-{mistake.name}-{i}")
    for exercise in EXERCISES
    for mistake in exercise.mistakes
    for i, answer in enumerate(mistake.answers)
]


def verdict(exercise, function) -> str:
    with pytest.raises(checks.CheckFailed) as caught:
        exercise(function)
    return str(caught.value)


def test_every_notebook_brings_its_exercises():
    assert list(checks.REGISTRY)[:5] == ["alpha_bar", "q_sample", "x0_from_eps", "ddpm_step", "ideal_eps"]
    assert {"gaussian_kl", "posterior", "bound_weight", "score_from_x0"} < set(checks.REGISTRY)
    assert {"drop_labels", "label_channels", "guide", "guided_eps", "projection_logit"} < set(checks.REGISTRY)
    assert {"reparametrise", "kl_divergence", "log_likelihood", "vae_loss", "importance_bound"} < set(checks.REGISTRY)
    assert {"discriminator_loss", "generator_loss", "discriminator_step", "draw", "r1_penalty"} < set(checks.REGISTRY)
    assert {"covariance", "pool", "frechet", "root_trace", "ratio_to_floor"} < set(checks.REGISTRY)
    assert {"noised_mix", "slerp", "level_of_mix", "repaint_step"} < set(checks.REGISTRY)
    assert {"precondition", "karras_levels", "heun_step", "flow_loss", "halved_target"} < set(checks.REGISTRY)
    assert {"mix_styles", "truncate", "shared_conv"} < set(checks.REGISTRY)
    assert "q_sample" in dir(checks)
    with pytest.raises(AttributeError, match="no exercise is called 'nonsense'"):
        _ = checks.nonsense


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_solution_passes_with_one_line(exercise, capsys):
    exercise(exercise.solution)
    assert capsys.readouterr().out == f"{exercise.name}: correct on {len(exercise.inputs())} inputs\n"
    assert len(exercise.mistakes) >= 4


@cache
def shown(exercise, answer):
    return [engine.outcome(answer, case) for case in exercise.inputs()]


@cache
def traces(exercise, answer):
    return [exercise.traces(done) for done in shown(exercise, answer)]


def alike(exercise, one, other):
    """Whether the check cannot tell two answers apart: by their values, then by the traces up to the first wrong."""
    pairs = list(zip(shown(exercise, one), shown(exercise, other), strict=True))
    if not all(engine.same(a, b, exercise.tolerance) for a, b in pairs):
        return False
    right = shown(exercise, exercise.solution)
    faults = [engine.fault(a, e.value, exercise.tolerance) for (a, _), e in zip(pairs, right, strict=True)]
    if any(faults) or not isinstance(exercise, Stateful):
        return True
    names = exercise.judged(traces(exercise, one), traces(exercise, exercise.solution))
    left = zip(traces(exercise, one), traces(exercise, other), strict=True)
    return all(exercise.agree(a, b, names) for a, b in left)


@pytest.mark.parametrize(("exercise", "mistake", "answer"), ANSWERS)
def test_every_mistake_is_named_and_no_other_claims_it(exercise, mistake, answer):
    assert f"{exercise.name}: {mistake.message}\n  Look at: {mistake.look}" == verdict(exercise, answer)
    for other in exercise.mistakes:
        for theirs in other.answers:
            assert alike(exercise, answer, theirs) == (theirs is answer), f"{mistake.name} looks like {other.name}"


def test_q_sample_names_the_six_mistakes_that_the_course_promises():
    names = {mistake.name for mistake in checks.q_sample.mistakes}
    assert names >= {
        "beta for alpha_bar", "missing square root", "coefficients swapped",
        "one timestep for the whole batch", "wrong broadcast shape", "off-by-one in t",
    }  # fmt: skip


def alpha_bar_loop(beta):
    out = torch.ones(len(beta) + 1)  # float32, whatever beta is
    for t in range(1, len(beta) + 1):
        out[t] = out[t - 1] * (1 - beta[t - 1])
    return out


def null_first(model, x_t, t, y, scale, null):
    n = len(x_t)
    labels = torch.cat([torch.tensor([null] * n), y])
    out = model(x_t.repeat(2, *[1] * (x_t.ndim - 1)), t.repeat(2), labels)
    return (1 - scale) * out[:n] + scale * out[n:]


def in_pairs(model, x_t, t, y, scale, null):
    labels = y.repeat_interleave(2)
    labels[1::2] = null
    out = model(x_t.repeat_interleave(2, 0), t.repeat_interleave(2), y=labels)
    return out[1::2] + scale * (out[0::2] - out[1::2])


def by_labels(real, fake):
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    return F.binary_cross_entropy_with_logits(real, ones) + F.binary_cross_entropy_with_logits(fake, zeros)


def without_graph(generator, discriminator, optimizer, x, z):
    with torch.no_grad():
        fake = generator(z)
    loss = by_labels(discriminator(x), discriminator(fake))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def both_backwards(generator, discriminator, optimizer, x, z):
    discriminator.zero_grad(set_to_none=False)
    real = F.softplus(-discriminator(x)).mean()
    real.backward()
    fake = F.softplus(discriminator(generator(z).detach())).mean()
    fake.backward()
    optimizer.step()
    return real + fake


def frozen_meanwhile(generator, discriminator, optimizer, x, z):
    generator.requires_grad_(False)
    loss = by_labels(discriminator(x), discriminator(generator(z)))
    generator.requires_grad_(True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def with_a_closure(generator, discriminator, optimizer, x, z):
    def closure():
        optimizer.zero_grad()
        loss = by_labels(discriminator(x), discriminator(generator(z).data))
        loss.backward()
        return loss

    return optimizer.step(closure)


def into_the_discriminator_only(generator, discriminator, optimizer, x, z):
    loss = by_labels(discriminator(x), discriminator(generator(z)))
    optimizer.zero_grad()
    loss.backward(inputs=list(discriminator.parameters()))
    optimizer.step()
    return loss.item()


def finally_back(generator, z):
    was = generator.training
    generator.eval()
    try:
        with torch.no_grad():
            return generator(z)
    finally:
        generator.train(was)


@contextlib.contextmanager
def evaluating(network):
    was = network.training
    try:
        yield network.eval()
    finally:
        network.train(was)


def in_a_context(generator, z):
    with torch.inference_mode(), evaluating(generator) as still:
        return still(z)


@torch.no_grad()
def decorated(generator, z):
    if not generator.training:
        return generator(z)
    images = generator.eval()(z)
    generator.train()
    return images


def from_a_copy(generator, z):
    return copy.deepcopy(generator).eval()(z).detach()


def mode_by_mode(generator, z):
    modes = [(module, module.training) for module in generator.modules()]
    images = torch.cat([generator.eval()(each[None]).detach() for each in z])
    for module, mode in modes:
        module.training = mode
    return images


def by_autograd_grad(discriminator, x):
    x = x.clone().requires_grad_(True)
    logits = discriminator(x)
    slopes = torch.autograd.grad(logits, x, grad_outputs=torch.ones_like(logits), create_graph=True)[0]
    return slopes.view(len(x), -1).norm(dim=1).pow(2).mean()


def in_one_vmap(discriminator, x):
    slopes = torch.func.vmap(torch.func.grad(lambda each: discriminator(each[None])[0]))(x)
    return (slopes**2).flatten(1).sum(1).mean()


def backward_into_x_only(discriminator, x):
    x = x.detach().requires_grad_()
    discriminator(x).sum().backward(inputs=[x], create_graph=True)
    return x.grad.square().flatten(1).sum(1).mean()


def written_in_two_parts(a, b, k, n):
    w = torch.empty(len(a), n, a.shape[1])
    w[:, :k], w[:, k:] = a[:, None], b[:, None]
    return w


def picture_by_picture(a, b, k, n):
    return torch.stack([torch.cat([a[i].expand(k, -1), b[i].expand(n - k, -1)]) for i in range(len(a))])


def counted(a, b, k, n):
    told = []
    for number in range(n):
        told.append(a if number < k else b)
    return torch.stack(told).transpose(0, 1)


def image_by_image(x, weight, s):
    out = []
    for one, style in zip(x, s, strict=True):
        own = style[:, None, None] * weight
        own = own / torch.sqrt((own**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        out.append(F.conv2d(one[None], own, padding=1))
    return torch.cat(out)


def in_groups(x, weight, s):
    b, into, height, width = x.shape
    own = weight[None] * s[:, None, :, None, None]
    own = own * torch.rsqrt(own.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
    x = F.conv2d(x.reshape(1, b * into, height, width), own.reshape(-1, into, 3, 3), padding=1, groups=b)
    return x.reshape(b, -1, height, width)


def unfolded(x, weight, s):
    patches = F.unfold(x * s[..., None, None], 3, padding=1)
    size = torch.einsum("bi,oikl,bi,oikl->bo", s, weight, s, weight).clamp_min(1e-8).sqrt()
    return (weight.flatten(1) @ patches / size[..., None]).unflatten(2, x.shape[2:])


def demodulated_by_a_convolution(x, weight, s):
    squares = F.conv2d(s[:, :, None, None] ** 2, (weight**2).sum((2, 3), keepdim=True))
    return F.conv2d(x * s[:, :, None, None], weight, padding="same") * (squares + 1e-8) ** -0.5


def pair_by_pair(x):
    n, d = x.shape
    out = torch.zeros(d, d, dtype=x.dtype)
    for i in range(d):
        for j in range(d):
            out[i, j] = ((x[:, i] - x[:, i].mean()) * (x[:, j] - x[:, j].mean())).sum() / (n - 1)
    return out


def gathered(x):
    """Welford's way, picture by picture."""
    mean, scatter = torch.zeros_like(x[0]), torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
    for n, row in enumerate(x, 1):
        offset = row - mean
        mean = mean + offset / n
        scatter += torch.outer(offset, row - mean)
    return scatter / (n - 1)


def place_by_place(maps):
    total = torch.zeros(maps.shape[:2])
    for i in range(maps.shape[2]):
        for j in range(maps.shape[3]):
            total += maps[:, :, i, j]
    return total / maps[0, 0].numel()


def by_eigenvalues(mu_a, a, mu_b, b):
    cross = torch.linalg.eigvals(a @ b).sqrt().real.sum()
    return ((mu_a - mu_b) ** 2).sum() + torch.trace(a) + torch.trace(b) - 2 * cross


def by_sqrtm(mu_a, a, mu_b, b):
    root = torch.from_numpy(np.real(scipy.linalg.sqrtm((a @ b).numpy())))
    return (mu_a - mu_b).norm() ** 2 + torch.trace(a + b - 2 * root)


def by_sqrtm_of_the_symmetric(mu_a, a, mu_b, b):
    root = scipy.linalg.sqrtm(a.numpy()).real
    inner = scipy.linalg.sqrtm(root @ b.numpy() @ root).real
    return torch.dist(mu_a, mu_b).pow(2) + (a.diag() + b.diag() - 2 * torch.from_numpy(inner).diag()).sum()


def by_nuclear_norm(mu_a, a, mu_b, b):
    roots = []
    for c in (a, b):
        values, vectors = torch.linalg.eigh(c)
        roots.append(vectors * values.clamp(min=0).sqrt())
    return (
        F.mse_loss(mu_a, mu_b, reduction="sum")
        + (a + b).trace()
        - 2 * torch.linalg.matrix_norm(roots[0].T @ roots[1], "nuc")
    )


def in_numpy(mu_a, a, mu_b, b):
    mu_a, a, mu_b, b = (x.numpy() for x in (mu_a, a, mu_b, b))
    roots = np.sqrt(np.linalg.eigvals(a.dot(b)).astype(complex))
    return np.sum((mu_a - mu_b) ** 2) + np.trace(a) + np.trace(b) - 2 * roots.real.sum()


def root_by_root(product):
    total, imaginary, size = 0.0, 0.0, 0.0
    for value in torch.linalg.eigvals(product).tolist():
        root = cmath.sqrt(value)
        total, imaginary, size = total + root.real, max(imaginary, abs(root.imag)), max(size, abs(root))
    return torch.tensor([total, imaginary / size], dtype=torch.float64)


def told_by_sqrtm(product):
    root = scipy.linalg.sqrtm(product.numpy())
    roots = torch.from_numpy(np.linalg.eigvals(root).astype(complex))
    trace = torch.tensor(np.trace(root).real, dtype=torch.float64)
    return torch.stack((trace, roots.imag.abs().max() / roots.abs().max()))


def told_by_numpy(product):
    roots = np.emath.sqrt(np.linalg.eigvals(product.numpy()))
    return torch.from_numpy(np.array([roots.sum().real, np.abs(roots.imag).max() / np.abs(roots).max()]))


def one_by_one(generated, real, reference):
    n = min(generated.shape[0], real.shape[0])
    values = [metrics.frechet_distance(x[:n], reference) for x in (generated, real)]
    return torch.tensor(values[0] / values[1], dtype=torch.float64)


def by_own_distance(generated, real, reference):
    def distance(a, b):
        return by_eigenvalues(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))

    if len(generated) > len(real):
        generated = generated[: len(real)]
    else:
        real = real[: len(generated)]
    return distance(generated, reference) / distance(real, reference)


def by_statistics(generated, real, reference):
    pairs = list(zip(generated, real))  # noqa: B905 (the shorter one ends it)
    g, r = (torch.stack(x) for x in zip(*pairs, strict=True))
    known = metrics.Statistics().update(reference)
    return metrics.frechet_distance(g, known) / metrics.frechet_distance(r, known)


def noised_first(a, b, t, lambda_, eps, alpha_bar):
    signal = torch.sqrt(alpha_bar[t])[:, None, None, None]
    noise = torch.sqrt(1 - alpha_bar[t])[:, None, None, None]
    x_a, x_b = signal * a + noise * eps, signal * b + noise * eps
    return (1 - lambda_) * x_a + lambda_ * x_b


def one_pair_at_a_time(a, b, t, lambda_, eps, alpha_bar):
    out = torch.empty_like(a)
    for i, level in enumerate(alpha_bar[t]):
        out[i] = level**0.5 * torch.lerp(a[i], b[i], lambda_) + (1 - level) ** 0.5 * eps[i]
    return out


def batch_last(a, b, t, lambda_, eps, alpha_bar):
    mix, eps = ((1 - lambda_) * a + lambda_ * b).permute(1, 2, 3, 0), eps.permute(1, 2, 3, 0)
    level = alpha_bar.take(t)
    return (level.sqrt() * mix + torch.sqrt(1 - level) * eps).permute(3, 0, 1, 2)


def arc_or_line(x, y, lambda_):
    u, v = x.flatten(1), y.flatten(1)
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    w = cosine.clamp(-1, 1).acos().view(-1, *[1] * (x.ndim - 1))
    arc = ((1 - lambda_) * w).sin() / w.sin() * x + (lambda_ * w).sin() / w.sin() * y
    return torch.where(w.sin() >= 1e-4, arc, (1 - lambda_) * x + lambda_ * y)


def vector_by_vector(x, y, lambda_):
    out = []
    for a, b in zip(x, y, strict=True):
        lengths = float(a.norm() * b.norm())
        w = math.acos(max(-1.0, min(1.0, float((a * b).sum()) / lengths))) if lengths else 0.0
        if math.sin(w) < 1e-4:
            out.append((1 - lambda_) * a + lambda_ * b)
        else:
            out.append((math.sin((1 - lambda_) * w) * a + math.sin(lambda_ * w) * b) / math.sin(w))
    return torch.stack(out)


def arcs_written_over_lines(x, y, lambda_):
    u, v = x.reshape(len(x), -1), y.reshape(len(y), -1)
    out = torch.lerp(u, v, lambda_)
    cosine = torch.clamp(torch.einsum("bd,bd->b", u, v) / torch.sqrt((u**2).sum(1) * (v**2).sum(1)), -1, 1)
    w = torch.arccos(torch.nan_to_num(cosine, nan=1.0))[:, None]
    arc = (w.sin() >= 1e-4)[:, 0]
    u, v, w = u[arc], v[arc], w[arc]
    out[arc] = (torch.sin(w - lambda_ * w) * u + torch.sin(lambda_ * w) * v) / torch.sin(w)
    return out.view_as(x)


def by_cosine_similarity(x, y, lambda_):
    u, v = x.flatten(1), y.flatten(1)
    w = F.cosine_similarity(u, v, dim=1).clamp(-1, 1).arccos()
    w[(u == 0).all(1) | (v == 0).all(1)] = 0
    w = w.reshape(-1, *(x.ndim - 1) * [1])
    of_x, of_y = (torch.sin(k * w) / torch.sin(w) for k in (1 - lambda_, lambda_))
    line = torch.sin(w) < 1e-4
    return torch.where(line, 1 - lambda_, of_x) * x + torch.where(line, lambda_, of_y) * y


def by_the_half_angle(x, y, lambda_):
    u, v = x.flatten(1).double(), y.flatten(1).double()
    p, q = u * v.norm(dim=1, keepdim=True), v * u.norm(dim=1, keepdim=True)
    w = 2 * torch.atan2((p - q).norm(dim=1, keepdim=True), (p + q).norm(dim=1, keepdim=True))
    arc = (((1 - lambda_) * w).sin() * u + (lambda_ * w).sin() * v) / w.sin()
    return torch.where(w.sin() < 1e-4, u + lambda_ * (v - u), arc).view_as(x).to(x)


def odds(alpha_bar):
    return alpha_bar / (1 - alpha_bar)


def level_by_level(t, lambda_, alpha_bar):
    wanted = math.log(odds(alpha_bar[t].item()) / (lambda_**2 + (1 - lambda_) ** 2))
    return min(range(1, len(alpha_bar)), key=lambda k: abs(math.log(odds(alpha_bar[k].item())) - wanted))


def level_by_numpy(t, lambda_, alpha_bar):
    a = alpha_bar.numpy()
    with np.errstate(divide="ignore"):
        snr = np.log(a) - np.log(1 - a)
    return np.argmin(np.abs(snr - snr[t] + np.log(1 - 2 * lambda_ * (1 - lambda_))))


def level_by_logit(t, lambda_, alpha_bar):
    snr = torch.logit(alpha_bar)
    return torch.argmin((snr - snr[t] + math.log(lambda_**2 + (1 - lambda_) ** 2)).abs())


def level_by_deviations(t, lambda_, alpha_bar):
    sigma, root = (1 - alpha_bar).sqrt(), alpha_bar.sqrt()
    noise = ((1 - lambda_) ** 2 + lambda_**2) ** 0.5 * sigma[t]
    return (torch.log(sigma[1:] / root[1:]) - torch.log(noise / root[t])).abs().argmin().item() + 1


def level_downwards(t, lambda_, alpha_bar):
    snr = odds(alpha_bar).log()
    wanted, k = snr[t] - math.log((1 - lambda_) ** 2 + lambda_**2), t
    while k > 1 and abs(snr[k - 1] - wanted) < abs(snr[k] - wanted):
        k -= 1
    return k


def brought_to(t, x_0, eps, alpha_bar):
    return alpha_bar[t] ** 0.5 * x_0 + (1 - alpha_bar[t]) ** 0.5 * eps


def one_picture_at_a_time(x, known, mask, t, eps, alpha_bar):
    noised = brought_to(t, known, eps, alpha_bar)
    return torch.stack([(1 - m) * free + m * kept for free, kept, m in zip(x, noised, mask, strict=True)])


def colour_by_colour(x, known, mask, t, eps, alpha_bar):
    noised, kept = brought_to(t, known, eps, alpha_bar) if t > 0 else known, mask[:, 0]
    return torch.stack([kept * noised[:, c] + (1 - kept) * x[:, c] for c in range(3)], 1)


def by_plain_numbers(x, known, mask, t, eps, alpha_bar):
    level = alpha_bar[t].item()
    return mask * (math.sqrt(level) * known + math.sqrt(1 - level) * eps) + x - mask * x


def into_a_clone(x, known, mask, t, eps, alpha_bar):
    out = x.clone()
    out *= 1 - mask
    out += mask * alpha_bar[t].sqrt() * known
    out += mask * torch.sqrt(1 - alpha_bar[t]) * eps
    return out


def one_level_at_a_time(sigma, sigma_data):
    c = []
    for s in sigma.tolist():
        total = math.hypot(s, sigma_data)
        c.append(((sigma_data / total) ** 2, s * sigma_data / total, 1 / total, 0.25 * math.log(s)))
    return [torch.tensor(values) for values in zip(*c, strict=True)]


def by_inverse_variances(sigma, sigma_data):
    of_noise, of_data = sigma**-2, sigma_data**-2
    c_out = (of_noise + of_data) ** -0.5
    return of_noise / (of_noise + of_data), c_out, c_out / (sigma * sigma_data), torch.log(sigma**0.25)


def preconditioned_in_pictures(sigma, sigma_data):
    s = sigma[:, None, None, None]
    total = torch.sqrt(s**2 + sigma_data**2)
    c = 1 - s**2 / total**2, s * sigma_data / total, total.reciprocal(), s.log().div(4)
    return tuple(value.flatten() for value in c)


def level_by_formula(steps, sigma_min, sigma_max, rho):
    levels = []
    for i in range(steps):
        first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        levels.append((first + i / (steps - 1) * (last - first)) ** rho)
    return torch.tensor([*levels, 0.0])


def levels_by_numpy(steps, sigma_min, sigma_max, rho):
    ramp = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps)
    return torch.from_numpy(np.append(ramp**rho, 0))


def levels_into_zeros(steps, sigma_min, sigma_max, rho):
    levels = torch.zeros(steps + 1)
    u = torch.arange(steps).div(steps - 1)
    levels[:-1] = torch.lerp(torch.tensor(sigma_max ** (1 / rho)), torch.tensor(sigma_min ** (1 / rho)), u) ** rho
    return levels


def by_interpolation(denoise, x, sigma, before):
    x0_hat = denoise(x, sigma)
    ahead = x0_hat + before / sigma * (x - x0_hat)
    if not before:
        return ahead
    eps, eps_there = (x - x0_hat) / sigma, (ahead - denoise(ahead, before)) / before
    return ahead + (before - sigma) / 2 * (eps_there - eps)


def downwards(denoise, x, sigma, before):
    h = sigma - before
    d = (denoise(x, sigma) - x) / sigma
    if before > 0:
        there = x + h * d
        d = 0.5 * d + 0.5 * (denoise(there, before) - there) / before
    return x + h * d


def told_by_tensors(denoise, x, sigma, before):
    of_each = torch.full((len(x),), sigma)
    d = (x - denoise(x, of_each)) / sigma
    if before == 0.0:
        return x - sigma * d
    euler = x + (before - sigma) * d
    return x + (before - sigma) * torch.stack([d, (euler - denoise(euler, torch.tensor(before))) / before]).mean(0)


def by_mse(network, x_0, eps, t):
    x_t = torch.lerp(x_0, eps, t[:, None, None, None])
    return F.mse_loss(network(x_t, t), eps - x_0)


def one_picture_s_error_at_a_time(network, x_0, eps, t):
    x_t = torch.stack([x + k * (e - x) for x, e, k in zip(x_0, eps, t, strict=True)])
    errors = network(x_t, t) - eps + x_0
    return sum((error**2).mean() for error in errors) / len(errors)


def batch_last_on_the_path(network, x_0, eps, t):
    x_t = ((1 - t) * x_0.permute(1, 2, 3, 0) + t * eps.permute(1, 2, 3, 0)).permute(3, 0, 1, 2)
    return (x_0 - eps + network(x_t, t)).pow(2).sum() / x_0.numel()


def moved(x, x_0, a, s, i, j):
    return a[j] * x_0 + s[j] / s[i] * (x - a[i] * x_0)


def without_a_ratio(teacher, x_t, a, s):
    x = moved(x_t, teacher(x_t, 0), a, s, 0, 1)
    x = moved(x, teacher(x, 1), a, s, 1, 2)
    return (s[0] * x - s[2] * x_t) / (a[2] * s[0] - a[0] * s[2])


def as_a_weighted_mean(teacher, x_t, a, s):
    first = teacher(x_t, 0)
    last = teacher(moved(x_t, first, a, s, 0, 1), 1)
    of_first = s[2] / s[1] * (a[1] - a[0] * s[1] / s[0])
    of_last = a[2] - a[1] * s[2] / s[1]
    return (of_first * first + of_last * last) / (of_first + of_last)


def by_a_pair_of_equations(teacher, x_t, a, s):
    x = x_t
    for i in range(2):
        x_0 = teacher(x, i)
        eps = (x - a[i] * x_0) / s[i]
        x = a[i + 1] * x_0 + s[i + 1] * eps
    mixing = torch.stack([torch.stack([a[0], s[0]]), torch.stack([a[2], s[2]])])
    return torch.linalg.solve(mixing, torch.stack([x_t, x]).flatten(1))[0].view_as(x_t)


def by_noise_per_signal(teacher, x_t, a, s):
    """Straight lines over s / a, where a is not 0; from pure noise the step of the student is solved as it is."""
    if a[0] == 0:
        return without_a_ratio(teacher, x_t, a, s)
    z, sigma = x_t / a[0], s / a
    for i in range(2):
        z = z + (sigma[i + 1] - sigma[i]) * (z - teacher(a[i] * z, i)) / sigma[i]
    return (sigma[0] * z - sigma[2] * x_t / a[0]) / (sigma[0] - sigma[2])


# Written as students write them: other forms of the right answer, and wrong ones with the name they must get.
RIGHT = {
    "alpha_bar": [
        lambda beta: torch.cat([torch.ones(1), (1 - beta).cumprod(0)]).to(beta.dtype),
        lambda beta: torch.exp(torch.cat([torch.zeros(1), torch.log(1 - beta)]).cumsum(0)),
        lambda beta: torch.stack([torch.prod(1 - beta[:t]) for t in range(len(beta) + 1)]),
        alpha_bar_loop,
    ],
    "q_sample": [
        lambda x, t, e, s: (
            torch.sqrt(s.alpha_bar[t]).reshape(-1, *(1,) * (x.dim() - 1)) * x
            + torch.sqrt(1 - s.alpha_bar[t]).reshape(-1, *(1,) * (x.dim() - 1)) * e
        ),
        lambda x, t, e, s: torch.stack(
            [s.alpha_bar[k] ** 0.5 * a + s.sigma[k] * b for a, k, b in zip(x, t, e, strict=True)]
        ),
    ],
    "x0_from_eps": [
        lambda x, t, e, s: (
            (1 / s.alpha_bar[t]).sqrt().view(-1, *[1] * (x.ndim - 1)) * x
            - (1 / s.alpha_bar[t] - 1).sqrt().view(-1, *[1] * (x.ndim - 1)) * e
        ),
    ],
    "ddpm_step": [
        lambda x, t, e, z, s: (
            diffusion.posterior_mean(
                x,
                torch.full((len(x),), t),
                diffusion.x0_from_eps(x, torch.full((len(x),), t), e, s),
                s,
            )
            + (t > 1) * s.beta[t].sqrt() * z
        ),
        lambda x, t, e, z, s: (
            1 / torch.sqrt(1 - s.beta[t]) * (x - s.beta[t] / s.sigma[t] * e)
            + torch.sqrt(s.beta[t]) * (z if t > 1 else torch.zeros_like(z))
        ),
    ],
    "ideal_eps": [
        lambda x, t, p, s: (
            (
                x
                - s.alpha_bar[t].sqrt()[:, None]
                * torch.softmax(
                    -(torch.cdist(x[:, None], s.alpha_bar[t].sqrt()[:, None, None] * p[None])[:, 0] ** 2)
                    / (2 * (1 - s.alpha_bar[t][:, None])),
                    -1,
                )
                @ p
            )
            / (1 - s.alpha_bar[t]).sqrt()[:, None]
        ),
    ],
    "gaussian_kl": [
        lambda m, v, n, w: 0.5 * (torch.log(w / v) + (v + (m - n) ** 2) / w - 1),
        lambda m, v, n, w: torch.log(w.sqrt() / v.sqrt()) + (v + (m - n) ** 2) / (2 * w) - 0.5,
        lambda m, v, n, w: torch.distributions.kl_divergence(
            torch.distributions.Normal(m, v.sqrt()), torch.distributions.Normal(n, w.sqrt())
        ),
    ],
    "posterior": [
        lambda x, t, y, s: torch.stack(
            [
                (x - s.beta[t] / s.sigma[t] ** 2 * (x - s.alpha_bar[t].sqrt() * y)) / s.alpha[t].sqrt(),
                torch.full_like(x, s.beta[t] * (s.sigma[t - 1] / s.sigma[t]) ** 2),
            ]
        ),
    ],
    "bound_weight": [
        lambda t, s: s.beta[t] / (2 * s.alpha[t] * s.sigma[t] ** 2) * (s.alpha_bar[t] / s.sigma[t] ** 2),
    ],
    "score_from_x0": [
        lambda x, t, y, s: -diffusion.eps_from_x0(x, t, y, s) / diffusion.at(s.sigma, t, x),
    ],
    "from_pixels": [
        lambda p: (p.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5,
        lambda p: torch.stack([p[..., c].float() * 2 / 255 - 1 for c in range(3)], 1),
    ],
    "ema_update": [
        lambda a, w, d, n: a + (1 - ramp(d, n)) * (w - a),
        lambda a, w, d, n: a - (1 - ramp(d, n)) * (a - w),
        lambda a, w, d, n: torch.lerp(a, w, 1 - ramp(d, n)),
    ],
    "diffusion_loss": [
        lambda x, u, e, m, s: torch.stack(
            [
                ((m(diffusion.q_sample(x, t, e, s), t) - e) ** 2)[i].mean()
                for t in [torch.floor(u * s.T).int() + 1]
                for i in range(len(x))
            ]
        ),
    ],
    "ddim_step": [
        lambda x, t, b, y, s: (
            s.sigma[b] / s.sigma[t] * x + (s.alpha_bar[b].sqrt() - s.sigma[b] / s.sigma[t] * s.alpha_bar[t].sqrt()) * y
        ),
    ],
    "x0_from_v": [
        lambda x, t, v, s: torch.clip(
            torch.stack([s.alpha_bar[k] ** 0.5 * a - s.sigma[k] * b for a, k, b in zip(x, t, v, strict=True)]), -1, 1
        ),
    ],
    "drop_labels": [
        lambda y, u, null, share: y.masked_fill(u < share, null),
        lambda y, u, null, share: torch.where(u >= share, y, torch.full_like(y, null)),
        lambda y, u, null, share: y * (u >= share) + null * (u < share),
        lambda y, u, null, share: torch.tensor([null if v < share else k for k, v in zip(y.tolist(), u, strict=True)]),
    ],
    "label_channels": [
        lambda y, n, size: F.one_hot(y, n).float().view(-1, n, 1, 1).expand(-1, -1, size, size),
        lambda y, n, size: torch.eye(n)[y][..., None, None] * torch.ones(size, size),
        lambda y, n, size: F.one_hot(y[:, None, None].expand(-1, size, size), n).permute(0, 3, 1, 2).float(),
        lambda y, n, size: torch.zeros(len(y), n, size, size).index_put_((torch.arange(len(y)), y), torch.ones(1)),
    ],
    "guide": [
        lambda c, u, scale: scale * c + (1 - scale) * u,
        lambda c, u, scale: c + (scale - 1) * (c - u),
        lambda c, u, scale: torch.lerp(u, c, scale),
    ],
    "guided_eps": [null_first, in_pairs, lambda model, x, t, y, s, null: samplers.guided(model, s, null)(x, t, y)],
    "projection_logit": [
        lambda h, logit, table, y: logit + torch.einsum("bchw,bc->b", h, table[y]),
        lambda h, logit, table, y: logit + (h.flatten(2).sum(2) @ table.T).gather(1, y[:, None])[:, 0],
        lambda h, logit, table, y: logit + torch.diag(h.sum((2, 3)) @ table[y].T),
        lambda h, logit, table, y: logit + (F.embedding(y, table)[:, :, None, None] * h).flatten(1).sum(1),
        lambda h, logit, table, y: torch.stack([logit[i] + table[y[i]] @ h[i].sum((1, 2)) for i in range(len(y))]),
    ],
    "reparametrise": [
        lambda mu, logvar, eps: mu + logvar.exp().sqrt() * eps,
        lambda mu, logvar, eps: torch.addcmul(mu, eps, torch.exp(0.5 * logvar)),
        lambda mu, logvar, eps: mu + eps * math.e ** (logvar / 2),
    ],
    "kl_divergence": [
        lambda mu, logvar: -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1),
        lambda mu, logvar: 0.5 * (mu.square().sum(-1) + (logvar.exp() - logvar).sum(-1) - mu.shape[1]),
        lambda mu, logvar: D.kl_divergence(D.Normal(mu, torch.exp(logvar / 2)), D.Normal(0.0, 1.0)).sum(1),
        lambda mu, logvar: 0.5 * (mu**2 + torch.expm1(logvar) - logvar).sum(1),
    ],
    "log_likelihood": [
        lambda x, x_hat, sigma: D.Normal(x_hat, sigma).log_prob(x).flatten(1).sum(1),
        lambda x, x_hat, sigma: (
            -((x - x_hat) ** 2).flatten(1).sum(1) / (2 * sigma**2)
            - x[0].numel() * math.log(sigma * math.sqrt(2 * math.pi))
        ),
        lambda x, x_hat, sigma: torch.stack(
            [D.Normal(b, sigma).log_prob(a).sum() for a, b in zip(x, x_hat, strict=True)]
        ),
    ],
    "vae_loss": [
        lambda x, x_hat, mu, logvar, w: (
            0.5 * ((x - x_hat) ** 2).sum() / len(x) - 0.5 * w * (1 + logvar - mu**2 - logvar.exp()).sum() / len(x)
        ),
        lambda x, x_hat, mu, logvar, w: (
            0.5 * F.mse_loss(x_hat, x, reduction="sum") + w * elbo.kl(mu, logvar).sum()
        ).div(len(x)),
        lambda x, x_hat, mu, logvar, w: (
            0.5 * F.mse_loss(x_hat, x) * x[0].numel() + w * elbo.kl(mu, logvar).sum(1).mean()
        ),
    ],
    "importance_bound": [
        lambda p, q: torch.logsumexp(p - q, dim=1) - math.log(p.shape[1]),
        lambda p, q: torch.logsumexp(p - q - math.log(p.shape[1]), 1),
        lambda p, q: (p - q).amax(1) + (p - q - (p - q).amax(1, keepdim=True)).exp().mean(1).log(),
        lambda p, q: torch.stack([(a - b).logsumexp(0) - np.log(len(a)) for a, b in zip(p, q, strict=True)]),
    ],
    "discriminator_loss": [
        by_labels,
        lambda real, fake: -(F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()),
        lambda real, fake: torch.log1p((-real.abs()).exp()).mean() + F.relu(-real).mean() + F.softplus(fake).mean(),
        lambda real, fake: adversarial.discriminator_loss("non_saturating", real, fake),
    ],
    "generator_loss": [
        lambda fake: F.softplus(-fake).mean(),
        lambda fake: -F.logsigmoid(fake).sum() / len(fake),
        lambda fake: nn.BCEWithLogitsLoss()(fake, torch.ones(len(fake)).to(fake.dtype)),
        lambda fake: adversarial.generator_loss("non_saturating", fake),
    ],
    "discriminator_step": [
        without_graph,
        both_backwards,
        frozen_meanwhile,
        with_a_closure,
        into_the_discriminator_only,
    ],
    "draw": [finally_back, in_a_context, decorated, from_a_copy, mode_by_mode],
    "r1_penalty": [
        by_autograd_grad,
        in_one_vmap,
        lambda d, x: torch.func.grad(lambda x: d(x).sum())(x).square().sum() / len(x),
        backward_into_x_only,
        lambda d, x: adversarial.gradient_penalty(*(lambda x: (d(x), x))(x.detach().requires_grad_())),
    ],
    "mix_styles": [
        written_in_two_parts,
        picture_by_picture,
        counted,
        lambda a, b, k, n: torch.stack([a] * k + [b] * (n - k), dim=1),
        lambda a, b, k, n: torch.where(torch.arange(n)[None, :, None] < k, a[:, None], b[:, None]),
        lambda a, b, k, n: torch.cat([a[:, None].expand(-1, k, -1), b[:, None].repeat(1, n - k, 1)], 1),
        lambda a, b, k, n: a[:, None] * (torch.arange(n) < k)[:, None] + b[:, None] * (torch.arange(n) >= k)[:, None],
        lambda a, b, k, n: torch.cat([a.repeat(1, k), b.repeat(1, n - k)], 1).view(len(a), n, -1),
        lambda a, b, k, n: styles.mix(*(w[:, None].expand(-1, n, -1) for w in (a, b)), k),
    ],
    "truncate": [
        lambda w, mean, psi: psi * w + (1 - psi) * mean,
        lambda w, mean, psi: torch.lerp(mean, w, psi),
        lambda w, mean, psi: w + (1 - psi) * (mean - w),
        lambda w, mean, psi: w - (1 - psi) * (w - mean),
        lambda w, mean, psi: mean.expand_as(w) if psi == 0 else mean.expand_as(w) + w.sub(mean).mul(psi),
        lambda w, mean, psi: torch.stack([mean + psi * (one - mean) for one in w]),
    ],
    "covariance": [
        pair_by_pair,
        gathered,
        lambda x: torch.cov(x.T),
        lambda x: torch.from_numpy(np.cov(x.numpy(), rowvar=False)),
        lambda x: torch.tensor(np.cov(x.numpy().T)),
        lambda x: (x - x.mean(0)).T @ x / (len(x) - 1),
        lambda x: x.T @ x / (len(x) - 1) - torch.outer(x.sum(0), x.mean(0)) / (len(x) - 1),
        lambda x: torch.einsum("ni,nj->ij", x - x.mean(0, keepdim=True), x - x.mean(0)).div(x.shape[0] - 1),
        lambda x: torch.stack([torch.outer(row, row) for row in x - x.mean(0)]).sum(0) / (x.size(0) - 1),
        lambda x: (x - x.mean(dim=0)).mT.mm(x - x.mean(dim=0)) * (1 / (x.shape[0] - 1)),
        lambda x: metrics.Statistics().update(x).covariance,
    ],
    "pool": [
        place_by_place,
        lambda maps: maps.flatten(2).mean(-1),
        lambda maps: maps.mean(3).mean(2),
        lambda maps: maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3]),
        lambda maps: maps.reshape(*maps.shape[:2], -1).mean(dim=2),
        lambda maps: F.adaptive_avg_pool2d(maps, 1).flatten(1),
        lambda maps: nn.AdaptiveAvgPool2d(1)(maps)[:, :, 0, 0],
        lambda maps: F.avg_pool2d(maps, maps.shape[2:]).squeeze(-1).squeeze(-1),
        lambda maps: torch.einsum("nchw->nc", maps) / maps[0, 0].numel(),
        lambda maps: torch.from_numpy(maps.numpy().mean(axis=(2, 3))),
        lambda maps: torch.stack([torch.stack([channel.mean() for channel in one]) for one in maps]),
    ],
    "frechet": [
        by_eigenvalues,
        by_sqrtm,
        by_sqrtm_of_the_symmetric,
        by_nuclear_norm,
        in_numpy,
        lambda mu_a, a, mu_b, b: by_eigenvalues(mu_b, b, mu_a, a),
        lambda mu_a, a, mu_b, b: by_eigenvalues(mu_a, a, mu_b, b).item(),
        lambda mu_a, a, mu_b, b: max(0, by_eigenvalues(mu_a, a, mu_b, b).item()),
    ],
    "root_trace": [
        root_by_root,
        told_by_sqrtm,
        told_by_numpy,
        lambda product: torch.tensor(told_by_numpy(product).tolist(), dtype=product.dtype),
    ],
    "ratio_to_floor": [
        one_by_one,
        lambda g, r, ref: one_by_one(g, r, ref).item(),
        lambda g, r, ref: torch.tensor(one_by_one(g, r, ref).item()),
        lambda g, r, ref: np.float64(one_by_one(g, r, ref)),
        by_own_distance,
        by_statistics,
    ],
    "noised_mix": [
        noised_first,
        one_pair_at_a_time,
        batch_last,
        lambda a, b, t, lambda_, eps, alpha_bar: (
            alpha_bar[t].reshape(-1, 1, 1, 1) ** 0.5 * (a + lambda_ * (b - a))
            + (1 - alpha_bar[t]).reshape(-1, 1, 1, 1).sqrt() * eps
        ),
    ],
    "slerp": [
        arc_or_line,
        vector_by_vector,
        arcs_written_over_lines,
        by_cosine_similarity,
        by_the_half_angle,
        lambda x, y, lambda_: arc_or_line(x.double(), y.double(), lambda_).to(x.dtype),
        lambda x, y, lambda_: fusion.mixed(x, y, lambda_, "spherical"),
    ],
    "level_of_mix": [
        level_by_level,
        level_by_numpy,
        level_by_logit,
        level_by_deviations,
        level_downwards,
        lambda t, lambda_, alpha_bar: level_by_deviations(t, lambda_, alpha_bar.float()),
        lambda *args: np.int64(level_by_level(*args)),
        lambda *args: torch.tensor(level_by_level(*args), dtype=torch.int32),
    ],
    "repaint_step": [
        one_picture_at_a_time,
        colour_by_colour,
        by_plain_numbers,
        into_a_clone,
        lambda x, known, mask, t, eps, alpha_bar: torch.lerp(x, brought_to(t, known, eps, alpha_bar), mask),
    ],
    "shared_conv": [
        unfolded,
        demodulated_by_a_convolution,
        lambda x, weight, s: (
            F.conv2d(x * s[:, :, None, None], weight, padding=1)
            / ((s**2) @ (weight**2).sum(dim=(2, 3)).T + 1e-8).sqrt()[:, :, None, None]
        ),
    ],
    "precondition": [
        one_level_at_a_time,
        by_inverse_variances,
        preconditioned_in_pictures,
        lambda sigma, sigma_data: frameworks.EDM(sigma_data=sigma_data).precondition(sigma),
        lambda sigma, sigma_data: torch.stack(frameworks.EDM(sigma_data=sigma_data).precondition(sigma)),
    ],
    "karras_levels": [
        level_by_formula,
        levels_by_numpy,
        levels_into_zeros,
        lambda steps, low, high, rho: F.pad(schedules.karras_grid(steps, low, high, rho), (0, 1)),
        lambda steps, low, high, rho: torch.cat(
            [torch.linspace(low ** (1 / rho), high ** (1 / rho), steps).pow(rho).flip(0), torch.zeros(1)]
        ),
    ],
    "heun_step": [by_interpolation, downwards, told_by_tensors],
    "flow_loss": [
        by_mse,
        one_picture_s_error_at_a_time,
        batch_last_on_the_path,
        lambda network, x_0, eps, t: (
            (network(x_0 + t.reshape(-1, 1, 1, 1) * (eps - x_0), t) + x_0 - eps).square().mean((1, 2, 3)).mean()
        ),
        lambda network, x_0, eps, t: frameworks.loss(
            frameworks.Flow(), lambda x, t, y: network(x, t), x_0, t / (1 - t), eps
        ).mean(),
    ],
    "halved_target": [without_a_ratio, as_a_weighted_mean, by_a_pair_of_equations, by_noise_per_signal],
}


def drawn_from_a_distribution(mu, logvar, eps):
    return D.Normal(mu, (logvar / 2).exp()).rsample()


def torch_s_mean(x, x_hat, mu, logvar, weight):
    return F.mse_loss(x_hat, x) + weight * (-0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean())


def averaged_divergence(x, x_hat, mu, logvar, weight):
    return ((x - x_hat) ** 2).sum() / 2 / len(x) + weight * elbo.kl(mu, logvar).mean()


def underflow(log_p, log_q):
    return torch.log(torch.mean(torch.exp(log_p - log_q), dim=1))


def ramp(decay, step):
    return min(decay, (1 + step) / (10 + step))


def by_way_of_eps(x, t, v, s):
    eps = diffusion.at(s.sigma, t, x) * x + diffusion.at(s.alpha_bar, t, x).sqrt() * v
    return diffusion.x0_from_eps(x, t, eps, s).clamp(-1, 1)


def by_way_of_eps_by_hand(x, t, v, s):
    a = s.alpha_bar[t].reshape(-1, *[1] * (x.ndim - 1))
    eps = a**0.5 * v + torch.sqrt(1 - a) * x
    return torch.clip(x / a**0.5 - torch.sqrt(1 / a - 1) * eps, -1, 1)


def unbarred(x, t, y, s):
    above, below = 1 - s.alpha[t - 1], 1 - s.alpha[t]
    mean = s.alpha_bar[t - 1].sqrt() * s.beta[t] / below * y + s.alpha[t].sqrt() * above / below * x
    return torch.stack([mean, (above / below * s.beta[t]).expand_as(mean)])


def unviewed(x_0, u, eps, model, s):
    t = (u * s.T).long() + 1
    x_t = s.alpha_bar[t].sqrt() * x_0 + (1 - s.alpha_bar[t]).sqrt() * eps
    return ((model(x_t, t) - eps) ** 2).mean(dim=(1, 2, 3))


def drawn(x_0, u, eps, model, s):
    t = diffusion.draw_t(len(x_0), s)
    return ((model(diffusion.q_sample(x_0, t, eps, s), t) - eps) ** 2).mean(dim=(1, 2, 3))


def whole_step_from_before(x_t, t, before, x0_hat, s):
    eps = (x_t - s.alpha_bar[before] ** 0.5 * x0_hat) / s.sigma[before]
    return s.alpha_bar[before] ** 0.5 * x0_hat + s.sigma[before] * eps


def one_label_dropped_or_all(y, u, null, share):
    y = y.clone()
    if u.min() < share:
        y[:] = null
    return y


def every_plane_of_the_batch(y, classes, size):
    planes = torch.zeros(len(y), classes, size, size)
    planes[:, y] = 1
    return planes


def a_pixel_scattered(y, classes, size):
    return torch.zeros(len(y), classes, size, size).scatter_(1, y.view(-1, 1, 1, 1), 1.0)


def null_asked_first(model, x_t, t, y, scale, null):
    without = model(x_t, t, torch.full_like(y, null))
    return without + scale * (model(x_t, t, y) - without)


def cut_the_wrong_way_round(model, x_t, t, y, scale, null):
    labels = torch.cat([torch.full_like(y, null), y])
    with_y, without = model(torch.cat([x_t, x_t]), torch.cat([t, t]), labels).chunk(2)
    return without + scale * (with_y - without)


def labels_left_single(model, x_t, t, y, scale, null):
    with_y, without = model(torch.cat([x_t, x_t]), torch.cat([t, t]), y).chunk(2)
    return without + scale * (with_y - without)


def flat(x, t, e, s):
    return x * s.alpha_bar[t].sqrt() + e * (1 - s.alpha_bar[t]).sqrt()


def first_t(x, t, e, s):
    a = s.alpha_bar[t][0]
    return a**0.5 * x + (1 - a) ** 0.5 * e


def of_beta(x, t, e, s):
    beta = s.beta[t].reshape(len(x), *[1] * (x.ndim - 1))
    return torch.sqrt(beta) * x + torch.sqrt(1 - beta) * e


def shifted(x, t, e, s):
    return diffusion.q_sample(x, t - 1, e, s)


def undivided(x, t, e, s):
    return x - diffusion.at(s.sigma, t, x) * e


def always_noisy(x, t, e, z, s):
    return (x - s.beta[t] / torch.sqrt(1 - s.alpha_bar[t]) * e) / torch.sqrt(1 - s.beta[t]) + torch.sqrt(s.beta[t]) * z


def marginal_noise(x, t, e, z, s):
    mean = 1 / s.alpha[t].sqrt() * (x - (1 - s.alpha[t]) / s.sigma[t] * e)
    return mean + s.sigma[t] * z if t > 1 else mean


def unnormalised(x, t, p, s):
    a = s.alpha_bar[t][:, None]
    weights = torch.exp(-((x[:, None] - a[..., None] ** 0.5 * p) ** 2).sum(2) / (2 * (1 - a)))
    return (x - a**0.5 * weights @ p) / (1 - a) ** 0.5


def averaged_squares(x, t, p, s):
    a = s.alpha_bar[t][:, None]
    weights = torch.softmax(-((x[:, None] - a[..., None] ** 0.5 * p) ** 2).mean(2) / (2 * (1 - a)), 1)
    return (x - a**0.5 * weights @ p) / (1 - a) ** 0.5


def slipped_bracket(x, t, e, s):
    return x - diffusion.at(s.sigma, t, x) * e / diffusion.at(s.alpha_bar, t, x) ** 0.5


def rest(fake):
    return torch.log(1 - torch.sigmoid(fake))


def by_probabilities(real, fake):
    real, fake = torch.sigmoid(real), torch.sigmoid(fake)
    return F.binary_cross_entropy(real, torch.ones_like(real)) + F.binary_cross_entropy(fake, torch.zeros_like(fake))


def with_graph(generator, discriminator, optimizer, x, z):
    optimizer.zero_grad()
    loss = by_labels(discriminator(x), discriminator(generator(z)))
    loss.backward()
    optimizer.step()
    return loss.item()


def cleared_afterwards(generator, discriminator, optimizer, x, z):
    loss = by_labels(discriminator(x), discriminator(generator(z)))  # and the graph: the first fault decides
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def cleared_in_between(generator, discriminator, optimizer, x, z):
    loss = by_labels(discriminator(x), discriminator(generator(z).detach()))
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def all_in_one_batch(generator, discriminator, optimizer, x, z):
    logits = discriminator(torch.cat([x, generator(z).detach()]))
    loss = by_labels(*logits.split([len(x), len(z)]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def a_step_for_each_kind(generator, discriminator, optimizer, x, z):
    total = 0
    for sign, images in ((-1, x), (1, generator(z).detach())):
        loss = F.softplus(sign * discriminator(images)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total


def left_in_evaluation(generator, discriminator, optimizer, x, z):
    loss = without_graph(generator, discriminator, optimizer, x, z)
    discriminator.eval()
    return loss


def asked_too_late(generator, z):
    generator.eval()
    was = generator.training
    with torch.no_grad():
        images = generator(z)
    generator.train(was)
    return images


def trained_again(generator, z):
    with torch.no_grad():
        images = generator.eval()(z)
    generator.train()
    return images


def flag_put_back(generator, z):
    was = generator.training
    with torch.no_grad():
        images = generator.eval()(z)
    generator.training = was
    return images


def slope(discriminator, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)[0]


def with_x_grad(discriminator, x):
    x.requires_grad_()  # a fault as well, but the graph that is missing comes first
    discriminator(x).sum().backward()
    return (x.grad**2).flatten(1).sum(1).mean()


def with_the_caller_s_x(discriminator, x):
    x.requires_grad = True
    (slopes,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    return slopes.square().sum() / len(x)


def backward_with_graph(discriminator, x):
    x = x.clone().requires_grad_()
    discriminator(x).sum().backward(create_graph=True)
    return (x.grad**2).flatten(1).sum(1).mean()


def axes_forgotten(a, b, k, n):
    w = torch.zeros(len(a), n, a.shape[1])
    w[:, :k] = a
    w[:, k:] = b
    return w


def into_a_view(a, b, k, n):
    w = a.unsqueeze(1).expand(len(a), n, a.shape[1])
    w[:, k:] = b.unsqueeze(1)
    return w


def only_b_written(a, b, k, n):
    w = torch.zeros((len(b), n, b.shape[1]))
    for number in range(k, n):
        w[:, number] = b
    return w


def styled_conv(x, weight, s, over=(2, 3, 4), power=0.5):
    """The weights of each picture in one group of a convolution, as the authors' code has it."""
    own = weight.unsqueeze(0) * s.reshape(len(s), 1, -1, 1, 1)
    own = own / ((own**2).sum(dim=over, keepdim=True) + 1e-8) ** power
    out = F.conv2d(x.reshape(1, -1, *x.shape[2:]), own.flatten(0, 1), padding=1, groups=len(x))
    return out.view(len(x), -1, *x.shape[2:])


def normalised_by_hand(x, weight, s):
    h = F.conv2d(x * s[:, :, None, None], weight, padding=1)
    return (h - h.mean((2, 3), keepdim=True)) / (h.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()


def centred(x, mean):
    return (x - mean).T @ (x - mean) / (len(x) - 1)


def products_in_float32(x):
    x = x.float()
    return ((x.T @ x - len(x) * torch.outer(x.mean(0), x.mean(0))) / (len(x) - 1)).double()


def gaussians(cross):
    """A Fréchet distance from its last term, without the 2."""

    def answer(mu_a, a, mu_b, b):
        return (mu_a - mu_b) @ (mu_a - mu_b) + a.trace() + b.trace() - 2 * cross(a, b)

    return answer


def by_distance_of_means(mu_a, a, mu_b, b):
    return by_eigenvalues(mu_a, a, mu_a, b) + torch.linalg.vector_norm(mu_a - mu_b)


def sqrtm(c):
    return scipy.linalg.sqrtm(c.numpy()).real


def eye(c):
    return torch.eye(len(c), dtype=c.dtype)


def cholesky(c):
    return torch.linalg.cholesky(c)


def eigh_of(product):
    return torch.linalg.eigh(product)[0].clamp(0).sqrt().sum()


def real_parts(product):
    return torch.linalg.eigvals(product).real


def own_shares(product):
    roots = torch.linalg.eigvals(product).sqrt()
    return torch.stack([roots.real.sum(), (roots.imag.abs() / roots.abs()).max()])


def hidden_below(bound):
    def answer(product):
        trace, residue = root_by_root(product)
        return torch.stack([trace, residue if residue > bound else 0 * residue])

    return answer


def share(product):
    return root_by_root(product)[1]


def fd(a, b):
    return metrics.frechet_distance(a, b)


def cut_first(ratio):
    def answer(generated, real, reference):
        n = min(len(generated), len(real))
        return ratio(generated[:n], real[:n], reference)

    return answer


def smallest_of_three(generated, real, reference):
    n = min(len(generated), len(real), len(reference))
    return fd(generated[:n], reference) / fd(real[:n], reference)


def noise_of_its_own(a, b, t, lambda_, eps, alpha_bar):
    level = alpha_bar[t].view(-1, 1, 1, 1)
    x_a = level**0.5 * a + (1 - level) ** 0.5 * eps
    x_b = level**0.5 * b + (1 - level) ** 0.5 * torch.randn(b.shape)
    return x_a + lambda_ * (x_b - x_a)


def levels_left_flat(a, b, t, lambda_, eps, alpha_bar):
    root, sigma = alpha_bar[t] ** 0.5, (1 - alpha_bar[t]) ** 0.5
    return (1 - lambda_) * (a * root + eps * sigma) + lambda_ * (b * root + eps * sigma)


def rootless(a, b, t, lambda_, eps, alpha_bar):
    level = alpha_bar[t][:, None, None, None]
    return level * ((1 - lambda_) * a + lambda_ * b) + (1 - level) * eps


def angles(x, y):
    u, v = x.flatten(1), y.flatten(1)
    return torch.acos(((u / u.norm(dim=1, keepdim=True)) * (v / v.norm(dim=1, keepdim=True))).sum(1).clamp(-1, 1))


def upright(weight, x):
    return weight.view(-1, *[1] * (x.ndim - 1))


def arcs(w, lambda_, x, y):
    """The arcs of all examples, whether they have one or not; w has a shape that multiplies x."""
    return torch.sin((1 - lambda_) * w) / torch.sin(w) * x + torch.sin(lambda_ * w) / torch.sin(w) * y


def by_angles(measured):
    """A slerp without a line for any example, from the angles (B,) measured between x and y."""
    return lambda x, y, lambda_: arcs(upright(measured(x, y), x), lambda_, x, y)


def with_lines(measured, on_the_line=lambda w: w.sin() < 1e-4):
    """A slerp from the angles (B,) measured between x and y, with a line where they say so."""

    def answer(x, y, lambda_):
        w = measured(x, y)
        return torch.where(upright(on_the_line(w), x), torch.lerp(x, y, lambda_), by_angles(measured)(x, y, lambda_))

    return answer


def as_widely_copied(x, y, lambda_):
    """The slerp that one repository has from the other."""
    dot = torch.sum(x / torch.norm(x) * (y / torch.norm(y)))
    return torch.lerp(x, y, lambda_) if torch.abs(dot) > 0.9995 else arcs(torch.acos(dot), lambda_, x, y)


def of_each_pixel(x, y, lambda_):
    return arcs(F.cosine_similarity(x, y).clamp(-1, 1).acos().unsqueeze(1), lambda_, x, y)


def by_unbounded_cosines(x, y):
    u, v = x.flatten(1), y.flatten(1)
    return ((u * v).sum(1) / u.norm(dim=1) / v.norm(dim=1)).acos()


def of_what_is_left(x, y):
    return angles(*(z.flatten(1) - z.flatten(1).mean(1, keepdim=True) for z in (x, y)))


def all_or_none(asked):
    """A slerp with lines for the whole batch or for none of it: asked, of the examples without an arc, (B,)."""

    def answer(x, y, lambda_):
        without = angles(x, y).nan_to_num().sin() < 1e-4
        return torch.lerp(x, y, lambda_) if asked(without) else by_angles(angles)(x, y, lambda_)

    return answer


def spoilt_and_mended(x, y, lambda_):
    out = arc_or_line(x, y, lambda_)
    x += 1
    x -= 1  # not to the last digit
    return out


def by_relative_gaps_from_level_0(t, lambda_, alpha_bar):
    ratios = odds(alpha_bar)
    wanted = ratios[t] / (lambda_**2 + (1 - lambda_) ** 2)
    return ((ratios - wanted) / ratios).abs().argmin()


def as_noisy(t, lambda_, alpha_bar):
    sigma = (1 - alpha_bar).sqrt()
    return (sigma - ((1 - lambda_) ** 2 + lambda_**2) ** 0.5 * sigma[t]).abs().argmin().item()


def last_above(t, lambda_, alpha_bar):
    wanted = odds(alpha_bar[t]) / ((1 - lambda_) ** 2 + lambda_**2)
    return max(k for k in range(len(alpha_bar)) if odds(alpha_bar[k]) >= wanted)


def edm(sigma, sigma_data):
    return [*frameworks.EDM(sigma_data=sigma_data).precondition(sigma)]


def with_one(place, value):
    """EDM's four functions, of which one is value(sigma, sigma_data)."""

    def answer(sigma, sigma_data):
        c = edm(sigma, sigma_data)
        c[place] = value(sigma, sigma_data)
        return tuple(c)

    return answer


def written_for_unit_data(sigma, _):
    total = (1 + sigma**2).sqrt()
    return 1 / total**2, sigma / total, 1 / total, sigma.log() / 4


def as_in_vp(sigma, _):
    return torch.ones_like(sigma), -sigma, 1 / (sigma**2 + 1).sqrt(), sigma.log() / 4


def as_in_ve(sigma, _):
    return torch.ones_like(sigma), sigma, torch.ones_like(sigma), (sigma / 2).log()


def by_math(sigma, sigma_data):
    total = math.sqrt(sigma**2 + sigma_data**2)
    return sigma_data**2 / total**2, sigma * sigma_data / total, 1 / total, math.log(sigma) / 4


def two_faults(sigma, sigma_data):
    total = (sigma**2 + sigma_data**2).sqrt()
    return sigma_data**2 / total**2, sigma / total, 1 / total, sigma.log()


def written_over_the_last(steps, low, high, rho):
    u = torch.arange(steps + 1) / steps
    levels = (high ** (1 / rho) + u * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    levels[-1] = 0
    return levels


def down_to_0(steps, low, high, rho):
    return high * torch.linspace(1, 0, steps + 1) ** rho


def written_with_logspace(steps, low, high, rho):
    return torch.cat([torch.logspace(math.log10(high), math.log10(low), steps), torch.zeros(1)])


def heun_everywhere(denoise, x, sigma, before):
    d = (x - denoise(x, sigma)) / sigma
    euler = x + (before - sigma) * d
    return x + (before - sigma) * (d + (euler - denoise(euler, before)) / before) / 2


def nan_mended(denoise, x, sigma, before):
    return heun_everywhere(denoise, x, sigma, before) if before else denoise(x, sigma) + 0 * denoise(x, before)


def asked_anew(denoise, x, sigma, before):
    euler = x + (before - sigma) * (x - denoise(x, sigma)) / sigma
    if before == 0:
        return euler
    return x + (before - sigma) * ((x - denoise(x, sigma)) / sigma + (euler - denoise(euler, before)) / before) / 2


def twice_along(denoise, x, sigma, before):
    h = before - sigma
    x = x + h * (x - denoise(x, sigma)) / sigma
    return x + h * (x - denoise(x, before)) / before if before else x


def x_written_over(denoise, x, sigma, before):
    h, d = before - sigma, (x - denoise(x, sigma)) / sigma
    x = x + h * d
    return x + h * (d + (x - denoise(x, before)) / before) / 2 if before else x


def told_the_old_level(denoise, x, sigma, before):
    return downwards(lambda z, _: denoise(z, sigma), x, sigma, before)


def euler_only(denoise, x, sigma, before):
    x0_hat = denoise(x, sigma)
    return x0_hat + before / sigma * (x - x0_hat)


def eps_forgotten(denoise, x, sigma, before):
    d = x - denoise(x, sigma)
    euler = x + (before - sigma) * d
    return x + (before - sigma) * (d + euler - denoise(euler, before)) / 2 if before else euler


def old_x_denoised(denoise, x, sigma, before):
    euler = x - (sigma - before) * (d := (x - denoise(x, sigma)) / sigma)
    return x - (sigma - before) * (d + (euler - denoise(x, before)) / before) / 2 if before else euler


def second_slope_only(denoise, x, sigma, before):
    euler = euler_only(denoise, x, sigma, before)
    return x + (before - sigma) * (euler - denoise(euler, before)) / before if before else euler


def uphill(denoise, x, sigma, before):
    d = (x - denoise(x, sigma)) / sigma
    ahead = x + (sigma - before) * d
    return x + (sigma - before) / 2 * (d + (ahead - denoise(ahead, before)) / before) if before else ahead


def half_way(denoise, x, sigma, before):
    middle = (sigma + before) / 2
    x_half = euler_only(denoise, x, sigma, middle)
    return x + (before - sigma) * (x_half - denoise(x_half, middle)) / middle


def into_x(denoise, x, sigma, before):
    return x.copy_(downwards(denoise, x, sigma, before))


def unshaped(network, x_0, eps, t):
    return F.mse_loss(network(x_0 * (1 - t) + eps * t, t), eps - x_0)


def shaped_for_both(network, x_0, eps, t):
    t = t[..., None, None, None]
    return F.mse_loss(network(x_0 + t * (eps - x_0), t), eps - x_0)


def data_at_one(network, x_0, eps, t):
    k = t.reshape(-1, 1, 1, 1)
    return ((x_0 - eps - network(torch.lerp(eps, x_0, k), t)) ** 2).mean()


def of_the_first_t(network, x_0, eps, t):
    x_t = (1 - t[0]) * x_0 + t[0] * eps
    return (network(x_t, t) - eps + x_0).pow(2).mean()


def along_a_circle(network, x_0, eps, t):
    k = t.reshape(-1, 1, 1, 1)
    return F.mse_loss(network(torch.sqrt(1 - k**2) * x_0 + k * eps, t), eps - x_0)


def halved(told=(0, 1), solved=None, moved=moved):
    """A halved_target that tells the teacher these levels, from solved(x_t, x, x_end, a, s, estimates)."""

    def answer(teacher, x_t, a, s):
        first = teacher(x_t, told[0])
        x = moved(x_t, first, a, s, 0, 1)
        last = teacher(x, told[1])
        x_end = moved(x, last, a, s, 1, 2)
        if solved:
            return solved(x_t, x, x_end, a, s, (first, last))
        return (s[0] * x_end - s[2] * x_t) / (a[2] * s[0] - a[0] * s[2])

    return answer


def one_long_step(teacher, x_t, a, s):
    x_end = moved(x_t, teacher(x_t, 0), a, s, 0, 2)
    return (s[0] * x_end - s[2] * x_t) / (a[2] * s[0] - a[0] * s[2])


def noise_kept(teacher, x_t, a, s):
    x_0 = teacher(x_t, 0)
    eps = (x_t - a[0] * x_0) / s[0]
    for i in (1, 2):
        x = a[i] * x_0 + s[i] * eps
        x_0 = teacher(x, 1) if i == 1 else x_0
    return (x - s[2] / s[0] * x_t) / (a[2] - s[2] / s[0] * a[0])


def shown_x_t_twice(teacher, x_t, a, s):
    x = moved(x_t, teacher(x_t, 0), a, s, 0, 1)
    x = moved(x, teacher(x_t, 1), a, s, 1, 2)
    return (x - s[2] / s[0] * x_t) / (a[2] - s[2] / s[0] * a[0])


def began_at_x_t_twice(teacher, x_t, a, s):
    x = moved(x_t, teacher(x_t, 0), a, s, 0, 1)
    x = moved(x_t, teacher(x, 1), a, s, 0, 2)
    return (x - s[2] / s[0] * x_t) / (a[2] - s[2] / s[0] * a[0])


def by_the_noise_of_the_end(x_t, x, x_end, a, s, estimates):
    k = a[2] / a[0]
    return (x_t - s[0] * (x_end - k * x_t) / (s[2] - k * s[0])) / a[0]


def of_alpha_bar(teacher, x_t, a, s):
    return without_a_ratio(teacher, x_t, a**0.5, torch.sqrt(1 - a))


WRONG = [
    (
        "alpha_bar",
        "The last entry is missing",
        lambda beta: torch.cat([torch.ones(1), torch.cumprod(1 - beta, 0)[:-1]]),
    ),
    ("alpha_bar", "The 1 stands at the end", lambda beta: torch.cat([torch.cumprod(1 - beta, 0), torch.ones(1)])),
    ("x0_from_eps", "Only the noise is divided", slipped_bracket),
    ("x0_from_eps", "as q_sample does", diffusion.q_sample),
    ("ddpm_step", "schedule.sigma is the noise level of q(x_t | x_0)", marginal_noise),
    ("ddpm_step", "x0_hat", lambda x, t, e, z, s: diffusion.x0_from_eps(x, torch.full((len(x),), t), e, s)),
    ("ideal_eps", "not normalised", unnormalised),
    ("ideal_eps", "You averaged the squares", averaged_squares),
    ("q_sample", "coefficients have the wrong shape", flat),
    ("q_sample", "one timestep for the whole batch", first_t),
    ("q_sample", "beta_t where the marginal needs alpha_bar_t", of_beta),
    ("q_sample", "off by one", shifted),
    ("x0_from_eps", "division", undivided),
    ("ddpm_step", "noise at t = 1", always_noisy),
    (
        "gaussian_kl",
        "- 1 stands outside the bracket",
        lambda m, v, n, w: 0.5 * (torch.log(w / v) + (v + (m - n) ** 2) / w) - 1,
    ),
    ("gaussian_kl", "/ binds tighter than a +", lambda m, v, n, w: (torch.log(w / v) + v / w + (m - n) ** 2 - 1) / 2),
    ("posterior", "You used 1 - alpha", unbarred),
    ("bound_weight", "divided the weight of Eq. 12", lambda t, s: s.beta[t] / (2 * s.alpha[t] * s.alpha_bar[t])),
    (
        "from_pixels",
        "You reshaped",
        lambda p: p.reshape(len(p), 3, p.shape[1], p.shape[2]).float() / 127.5 - 1,
    ),
    ("from_pixels", "calculated with bytes", lambda p: (p - 128).permute(0, 3, 1, 2).float()),
    (
        "ema_update",
        "check its brackets",
        lambda a, w, d, n: torch.lerp(w, a, min(d, 1 + n / 10 + n)),
    ),
    ("x0_from_v", "You divide by sqrt(alpha_bar_t)", by_way_of_eps),
    ("x0_from_v", "You divide by sqrt(alpha_bar_t)", by_way_of_eps_by_hand),
    ("diffusion_loss", "coefficients have the wrong shape", unviewed),
    ("diffusion_loss", "You drew t yourself", drawn),
    ("ddim_step", "with the numbers of before", whole_step_from_before),
    ("drop_labels", "You decided once for the whole batch", one_label_dropped_or_all),
    ("drop_labels", "wrote 0, which is a class", lambda y, u, null, share: y * (u >= share)),
    ("drop_labels", "wrong dtype", lambda y, u, null, share: torch.where(u < share, float(null), y)),
    (
        "drop_labels",
        "random numbers yourself",
        lambda y, u, null, share: y.masked_fill(torch.rand(len(y)) < share, null),
    ),
    ("label_channels", "planes of all labels in the batch", every_plane_of_the_batch),
    ("label_channels", "Only the pixel in the corner", a_pixel_scattered),
    (
        "label_channels",
        "wrong dtype",
        lambda y, n, size: F.one_hot(y, n)[:, :, None, None].expand(-1, -1, size, size),
    ),
    ("guide", "the paper's w", lambda c, u, scale: c + scale * (c - u)),
    ("guide", "changed roles", lambda c, u, scale: scale * u + (1 - scale) * c),
    ("guided_eps", "asked the network twice", null_asked_first),
    ("guided_eps", "halves have changed roles", cut_the_wrong_way_round),
    ("guided_eps", "in different numbers", labels_left_single),
    ("projection_logit", "a (B, B) matrix", lambda h, logit, table, y: h.sum((2, 3)) @ table[y].mT + logit),
    ("projection_logit", "summed over the batch", lambda h, logit, table, y: logit + (table[y] * h.sum((2, 3))).sum()),
    (
        "projection_logit",
        "averaged over the places",
        lambda h, logit, table, y: logit + (table[y] * h.mean((2, 3))).sum(1),
    ),
    ("reparametrise", "scaled the noise by the variance", lambda mu, logvar, eps: mu + eps * torch.exp(logvar)),
    ("reparametrise", "drew the noise yourself", drawn_from_a_distribution),
    ("reparametrise", "took logvar for the variance", lambda mu, logvar, eps: mu + torch.sqrt(logvar) * eps),
    ("kl_divergence", "a sign is wrong", lambda mu, logvar: 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)),
    ("kl_divergence", "for the logarithm of sigma", lambda mu, v: 0.5 * (mu**2 + (2 * v).exp() - 1 - 2 * v).sum(1)),
    ("kl_divergence", "averaged over the latent numbers", lambda mu, v: 0.5 * (mu**2 + v.exp() - 1 - v).mean(-1)),
    (
        "kl_divergence",
        "KL(N(0, 1) || q)",
        lambda mu, v: D.kl_divergence(D.Normal(0.0, 1.0), D.Normal(mu, (v / 2).exp())).sum(1),
    ),
    ("log_likelihood", "The constant is missing", lambda x, y, s: -((x - y) ** 2).flatten(1).sum(1) / 2 / s**2),
    (
        "log_likelihood",
        "took sigma for the variance",
        lambda x, y, s: D.Normal(y, s**0.5).log_prob(x).flatten(1).sum(1),
    ),
    ("log_likelihood", "a Laplace density", lambda x, y, s: D.Laplace(y, s).log_prob(x).flatten(1).sum(1)),
    ("log_likelihood", "names axes that points", lambda x, y, s: D.Normal(y, s).log_prob(x).sum((1, 2, 3))),
    ("vae_loss", "sum against mean", torch_s_mean),
    ("vae_loss", "averaged the KL divergence over the latent numbers", averaged_divergence),
    ("vae_loss", "with the sign for maximising", lambda *args: -checks.vae_loss.solution(*args)),
    ("importance_bound", "took the exponential first", underflow),
    ("importance_bound", "that is the ELBO", lambda p, q: torch.mean(p - q, dim=-1)),
    ("importance_bound", "1/K is missing", lambda p, q: torch.logsumexp(p - q, dim=-1)),
    ("importance_bound", "upside down", lambda p, q: torch.logsumexp(q - p, 1) - math.log(p.shape[1])),
    ("discriminator_loss", "small number or a bound", by_probabilities),
    ("discriminator_loss", "not finite for large logits", lambda r, f: -(r.sigmoid().log().mean() + rest(f).mean())),
    ("discriminator_loss", "met one by one", lambda r, f: -(F.logsigmoid(r) + F.logsigmoid(-f)).mean()),
    ("discriminator_loss", "have changed roles", lambda r, f: by_labels(f, r)),
    ("discriminator_loss", "A sigmoid is taken twice", lambda r, f: by_labels(r.sigmoid(), f.sigmoid())),
    ("discriminator_loss", "halved the sum", lambda r, f: 0.5 * by_labels(r, f)),
    ("generator_loss", "small number or a bound", lambda f: F.binary_cross_entropy(f.sigmoid(), torch.ones_like(f))),
    ("generator_loss", "gradient vanishes", lambda f: -F.binary_cross_entropy_with_logits(f, torch.zeros_like(f))),
    ("generator_loss", "label of generated ones", lambda f: -F.logsigmoid(-f).mean()),
    ("generator_loss", "changed places", lambda f: F.binary_cross_entropy_with_logits(torch.ones_like(f), f)),
    ("discriminator_step", "Gradients reached the generator", with_graph),
    ("discriminator_step", "were there before are part of your step", cleared_afterwards),
    ("discriminator_step", "found no gradients", cleared_in_between),
    ("discriminator_step", "common statistics", all_in_one_batch),
    ("discriminator_step", "more than one step", a_step_for_each_kind),
    ("discriminator_step", "in evaluation mode afterwards", left_in_evaluation),
    ("draw", "in training mode: batch norm", lambda generator, z: generator(z).detach()),
    ("draw", "hang on the graph", lambda generator, z: generator.eval()(z)),
    ("draw", "left in evaluation mode", asked_too_late),
    ("draw", "always leave the generator in training mode", trained_again),
    ("draw", "some modules only", flag_put_back),
    ("r1_penalty", "a constant for the discriminator's weights", with_x_grad),
    ("r1_penalty", "the caller's x asks for a gradient", with_the_caller_s_x),
    ("r1_penalty", "also added the gradients", backward_with_graph),
    ("r1_penalty", "there are many of them for an image", lambda d, x: ((slope(d, x).norm(2, dim=1)) ** 2).mean()),
    ("r1_penalty", "penalty of WGAN-GP", lambda d, x: ((slope(d, x).flatten(1).norm(2, dim=1) - 1) ** 2).mean()),
    ("r1_penalty", "averaged over the pixels", lambda d, x: (slope(d, x) ** 2).mean()),
    (
        "mix_styles",
        "have changed places",
        lambda a, b, k, n: torch.stack([b if number < k else a for number in range(n)], dim=1),
    ),
    ("mix_styles", "off by one", lambda a, b, k, n: torch.stack([a if j <= k else b for j in range(n)], 1)),
    ("mix_styles", "With you, k convolutions are told b", lambda a, b, k, n: torch.stack((n - k) * [a] + k * [b], 1)),
    ("mix_styles", "another order", lambda a, b, k, n: torch.cat([a.expand(k, *a.shape), b.expand(n - k, *b.shape)])),
    ("mix_styles", "along an axis that is there already", lambda a, b, k, n: torch.hstack([a] * k + [b] * (n - k))),
    (
        "mix_styles",
        "pictures, convolutions and the numbers",
        lambda a, b, k, n: counted(a, b, k, n).mT.reshape(len(a), n, -1),
    ),
    ("mix_styles", "You blended", lambda a, b, k, n: torch.lerp(b, a, k / n)[:, None].expand(-1, n, -1)),
    ("mix_styles", "wrong axes of (B, n, w_dim)", axes_forgotten),
    ("mix_styles", "wrote into what expand returned", into_a_view),
    ("mix_styles", "nothing but zeros", only_b_written),
    ("mix_styles", "does not depend on k", lambda a, b, k, n: counted(a, b, n // 2, n)),
    ("truncate", "have changed places", lambda w, mean, psi: torch.lerp(w, mean, psi)),
    ("truncate", "have changed places", lambda w, mean, psi: psi * mean + (1 - psi) * w),
    ("truncate", "towards 0", lambda w, mean, psi: mean + psi * w - mean),
    ("truncate", "mean of the w at hand", lambda w, mean, psi: torch.lerp(w.mean(0, keepdim=True), w, psi)),
    ("truncate", "contains it already", lambda w, mean, psi: mean.add(w, alpha=psi)),
    (
        "truncate",
        "some of them only",
        lambda w, mean, psi: (
            torch.cat([mean + psi * (w[:, :4] - mean), w[:, 4:]], 1) if w.ndim == 3 else mean + psi * (w - mean)
        ),
    ),
    ("truncate", "A sign is wrong", lambda w, mean, psi: mean + psi * (mean - w)),
    ("truncate", "You clamped", lambda w, mean, psi: mean + torch.clamp(w - mean, min=-psi, max=psi)),
    ("truncate", "a bracket is missing", lambda w, mean, psi: psi * w - mean + mean),
    ("shared_conv", "did not demodulate", lambda x, weight, s: F.conv2d(x * s[..., None, None], weight, padding=1)),
    ("shared_conv", "s does not occur", lambda x, weight, s: F.conv2d(x, weight, padding="same")),
    ("shared_conv", "a variance", lambda x, weight, s: styled_conv(x, weight, s, power=1)),
    ("shared_conv", "summed over the outputs", lambda x, weight, s: styled_conv(x, weight, s, over=(1, 3, 4))),
    ("shared_conv", "kernel of every input channel", lambda x, weight, s: styled_conv(x, weight, s, over=(3, 4))),
    ("shared_conv", "by the same number", lambda x, weight, s: styled_conv(x, weight, s, over=(1, 2, 3, 4))),
    ("shared_conv", "The nine places", lambda x, weight, s: styled_conv(x, weight, s, over=2)),
    ("shared_conv", "as instance normalisation does", normalised_by_hand),
    (
        "shared_conv",
        "by the weights as they are",
        lambda x, weight, s: styled_conv(x * s[..., None, None], weight, torch.ones_like(s)),
    ),
    (
        "shared_conv",
        "The style reaches the maps twice",
        lambda x, weight, s: styled_conv(x * s[..., None, None], weight, s),
    ),
    ("shared_conv", "one style for the whole batch", lambda x, weight, s: styled_conv(x, weight, s[[0] * len(s)])),
    ("shared_conv", "added 1 to the style", lambda x, weight, s: styled_conv(x, weight, s + 1)),
    ("shared_conv", "not taken apart", lambda x, weight, s: styled_conv(x, weight, s).flatten(0, 1)[None]),
    ("shared_conv", "went on to the activation", lambda x, weight, s: styled_conv(x, weight, s).relu()),
    ("covariance", "divided by N", lambda x: torch.from_numpy(np.cov(x.numpy(), rowvar=False, bias=True))),
    ("covariance", "divided by N", lambda x: x.T @ x / len(x) - torch.outer(x.mean(0), x.mean(0))),
    ("covariance", "a row for each feature", lambda x: torch.from_numpy(np.cov(x.numpy()))),
    ("covariance", "did not subtract the mean", lambda x: torch.einsum("ni,nj->ij", x, x) / (x.shape[0] - 1)),
    ("covariance", "mean over the features of each picture", lambda x: centred(x, x.mean(dim=-1)[:, None])),
    ("covariance", "one number from all features", lambda x: centred(x, x.mean().item())),
    ("covariance", "that is the correlation", lambda x: torch.from_numpy(np.corrcoef(x.numpy(), rowvar=False))),
    ("covariance", "have the variances only", lambda x: torch.var(x, dim=0)),
    ("covariance", "took a square root", lambda x: torch.std(x, 0)),
    ("covariance", "pictures with pictures", lambda x: (x - x.mean(0)) @ (x - x.mean(0)).T / (len(x) - 1)),
    ("covariance", "did not divide", lambda x: (x - x.mean(0)).T @ (x - x.mean(0))),
    ("covariance", "computed in float32", lambda x: torch.cov(x.float().T)),
    ("covariance", "computed in float32", lambda x: torch.cov(x.float().T).double()),
    ("covariance", "computed in float32", lambda x: centred(x.float(), x.float().mean(0)).double()),
    ("covariance", "computed in float32", lambda x: torch.cov(x.float().double().T)),
    ("covariance", "computed in float32", products_in_float32),
    ("pool", "flattened the maps", lambda maps: maps.reshape(len(maps), -1)),
    ("pool", "of every place", lambda maps: maps.movedim(1, -1).flatten(0, 2)),
    ("pool", "took the largest", lambda maps: F.adaptive_max_pool2d(maps, 1).flatten(1)),
    ("pool", "averaged over the channels", lambda maps: maps.mean(dim=1)),
    ("pool", "one number is left for each picture", lambda maps: maps.flatten(1).mean(1)),
    ("pool", "averaged over the pictures", lambda maps: maps.mean(dim=0)),
    ("pool", "averaged over the pictures", lambda maps: maps.transpose(0, 1).flatten(1).mean(1)),
    ("pool", "did not divide", lambda maps: maps.flatten(2).sum(-1)),
    ("pool", "one of the two axes", lambda maps: maps.mean(-1)),
    ("pool", "axes of length 1 are left", lambda maps: F.adaptive_avg_pool2d(maps, (1, 1))),
    ("pool", "removes every axis of length 1", lambda maps: F.adaptive_avg_pool2d(maps, 1).squeeze()),
    ("pool", "squared the values", lambda maps: torch.linalg.vector_norm(maps, dim=(2, 3))),
    ("pool", "square window", lambda maps: F.avg_pool2d(maps, maps.shape[2]).flatten(1)),
    ("pool", "largest or smallest", lambda maps: maps.flatten(2).min(2).values),
    ("pool", "squeeze(-1) of (N, C)", lambda maps: maps.mean((2, 3)).squeeze(-1)),
    ("pool", "squeeze(0)", lambda maps: F.adaptive_avg_pool2d(maps, 1).flatten(1).squeeze(0)),
    ("pool", "one of the two axes of the places", lambda maps: maps.mean((1, 3))),
    ("pool", "(N, H, W, C)", lambda maps: maps.mean((1, 2))),
    ("pool", "along one of their axes", lambda maps: maps.sum(2).mean(2)),
    ("pool", "along one of their axes", lambda maps: maps.mean(2).sum(2)),
    ("pool", "(N, C, 1)", lambda maps: maps.mean(3).mean(2, keepdim=True)),
    ("pool", "does not fit all maps", lambda maps: nn.AvgPool2d(7)(maps).flatten(1)),
    ("pool", "wrong dtype", lambda maps: maps.double().mean((2, 3))),
    ("frechet", "Only the diagonals", gaussians(lambda a, b: torch.sqrt(a.diagonal() * b.diagonal()).sum())),
    ("frechet", "Only the diagonals", gaussians(lambda a, b: (a * b).sqrt().trace())),
    ("frechet", "root of each entry", gaussians(lambda a, b: torch.trace(torch.sqrt(a @ b)))),
    ("frechet", "root of each entry", gaussians(lambda a, b: torch.sqrt(torch.diagonal(a @ b)).sum())),
    ("frechet", "root of each covariance", gaussians(lambda a, b: np.trace(sqrtm(a) @ sqrtm(b)))),
    ("frechet", "factor before the root", gaussians(lambda a, b: torch.linalg.eigvals(a @ b).sqrt().real.sum() / 2)),
    ("frechet", "reads one of its triangles", gaussians(lambda a, b: eigh_of(a @ b))),
    ("frechet", "rooted the singular values", gaussians(lambda a, b: torch.linalg.svdvals(a @ b).sqrt().sum())),
    ("frechet", "You returned the distance", lambda *args: by_eigenvalues(*args).clamp(min=0) ** 0.5),
    ("frechet", "trace first", gaussians(lambda a, b: torch.sqrt(torch.trace(a @ b)))),
    ("frechet", "root of the product is missing", gaussians(lambda a, b: (a @ b).trace())),
    ("frechet", "is not the squared distance", by_distance_of_means),
    ("frechet", "means do not count", lambda mu_a, a, mu_b, b: by_eigenvalues(mu_a, a, mu_a, b)),
    ("frechet", "covariances do not count", lambda mu_a, a, mu_b, b: (mu_a - mu_b) @ (mu_a - mu_b)),
    ("frechet", "by plain differences", lambda mu_a, a, mu_b, b: (mu_a - mu_b) @ (mu_a - mu_b) + (a - b).norm() ** 2),
    ("frechet", "trace is missing", lambda p, a, q, b: (p - q) @ (p - q) + a + b - 2 * torch.tensor(sqrtm(a @ b))),
    ("frechet", "Cholesky factor", gaussians(lambda a, b: (cholesky(a) @ cholesky(b)).trace())),
    ("frechet", "small number", lambda p, a, q, b: by_eigenvalues(p, a + 1e-6 * eye(a), q, b + 1e-6 * eye(b))),
    ("frechet", "complex (torch.complex128)", gaussians(lambda a, b: torch.linalg.eigvals(a @ b).sqrt().sum())),
    ("frechet", "complex (builtins.complex)", lambda *args: complex(by_eigenvalues(*args))),
    ("frechet", "complex (numpy.complex128)", lambda *args: np.complex128(by_eigenvalues(*args))),
    ("frechet", "root of each entry", gaussians(lambda a, b: (a @ b).clamp(min=0).sqrt().trace())),
    ("frechet", "root of each entry", gaussians(lambda a, b: (a @ b).sqrt().nan_to_num().diagonal().sum())),
    ("frechet", "entry by entry", gaussians(lambda a, b: torch.linalg.eigvals(a * b).sqrt().real.sum())),
    ("frechet", "mean with its transpose", gaussians(lambda a, b: eigh_of((a @ b + b @ a) / 2))),
    ("frechet", "got a list of 1: one number is asked for", lambda *args: [by_eigenvalues(*args).item()]),
    ("frechet", "a float or a tensor without axes, got builtins.str", lambda *args: str(by_eigenvalues(*args))),
    ("root_trace", "always 0", lambda product: torch.stack([root_by_root(product)[0], torch.zeros(()).double()])),
    ("root_trace", "return one number", lambda product: root_by_root(product)[0]),
    ("root_trace", "hid a small residue", hidden_below(0.08)),
    ("root_trace", "hid a small residue", hidden_below(0.01)),
    ("root_trace", "its own root", own_shares),
    ("root_trace", "NotImplementedError in your code", lambda p: torch.linalg.eigvals(p).clamp(min=0)),
    ("root_trace", "dtype=torch.float64 prevents", lambda p: torch.tensor(root_by_root(p).tolist())),
    ("root_trace", "got a tuple of 2", lambda p: tuple(root_by_root(p).tolist())),
    ("root_trace", "torch.tensor(..., dtype=torch.float64)", lambda p: root_by_root(p).tolist()),
    ("root_trace", "mean with its transpose", lambda p: root_by_root((p + p.T) / 2)),
    ("root_trace", "before the root", lambda p: torch.stack([real_parts(p).clamp(min=0).sqrt().sum(), share(p)])),
    ("root_trace", "which is nan", lambda p: torch.stack([torch.sqrt(real_parts(p)).sum(), share(p)])),
    ("root_trace", "summed the moduli", lambda p: torch.stack([torch.linalg.eigvals(p).abs().sqrt().sum(), share(p)])),
    ("root_trace", "did not root", lambda p: torch.stack([real_parts(p).sum(), share(p)])),
    ("root_trace", "reads one of its triangles", lambda p: torch.stack([eigh_of(p), torch.zeros(()).double()])),
    ("root_trace", "have changed places", lambda product: root_by_root(product).flip(0)),
    ("root_trace", "that number afterwards", lambda p: torch.stack([p.diagonal().sum().sqrt(), share(p)])),
    ("root_trace", "wrong dtype: got torch.complex128", lambda product: root_by_root(product).to(torch.complex128)),
    ("root_trace", "got a tuple of 2", lambda product: tuple(root_by_root(product))),
    ("ratio_to_floor", "unequal numbers", lambda g, r, ref: fd(g, ref) / fd(r, ref)),
    ("ratio_to_floor", "upside down", lambda g, r, ref: 1 / one_by_one(g, r, ref)),
    ("ratio_to_floor", "no generator takes part", lambda g, r, ref: fd(g, ref) / fd(r, g)),
    ("ratio_to_floor", "cut the reference", lambda g, r, ref: one_by_one(g, r, ref[: min(len(g), len(r))])),
    ("ratio_to_floor", "size of the reference", smallest_of_three),
    ("ratio_to_floor", "subtracted the floor", lambda g, r, ref: fd(g, ref) - fd(r, ref)),
    ("ratio_to_floor", "square root", lambda g, r, ref: one_by_one(g, r, ref) ** 0.5),
    ("ratio_to_floor", "instead of the reference", lambda g, r, ref: fd(g, r) / fd(r, ref)),
    ("ratio_to_floor", "into halves", lambda g, r, ref: fd(g, ref) / fd(*ref.tensor_split(2))),
    ("ratio_to_floor", "no generator takes part", lambda g, r, ref: fd(g[: min(len(g), len(r))], ref) / fd(r, g)),
    ("ratio_to_floor", "no generator takes part", cut_first(lambda g, r, ref: fd(g, ref) / fd(r, g))),
    ("ratio_to_floor", "the generated pictures to the real", cut_first(lambda g, r, ref: fd(g, r))),
    ("ratio_to_floor", "bounded the ratio", lambda g, r, ref: min(one_by_one(g, r, ref).item(), 10)),
    ("ratio_to_floor", "other rows", lambda g, r, ref: one_by_one(g.flip(0), r, ref)),
    ("ratio_to_floor", "other rows", lambda g, r, ref: one_by_one(g, r.flip(0), ref)),
    ("ratio_to_floor", "other rows", cut_first(lambda g, r, ref: fd(g[1:], ref) / fd(r[1:], ref))),
    ("ratio_to_floor", "other rows", lambda g, r, ref: one_by_one(g.flip(0), r.flip(0), ref)),
    ("noised_mix", "you drew new noise", noise_of_its_own),
    ("noised_mix", "wrong shape to multiply the batch", levels_left_flat),
    ("noised_mix", "cut the result off", lambda *args: torch.clip(noised_first(*args), -1.0, 1.0)),
    ("noised_mix", "share of b", lambda a, b, *rest: noised_first(b, a, *rest)),
    ("noised_mix", "does not depend on lambda_", lambda a, b, t, _, *rest: noised_first(a, b, t, 0.5, *rest)),
    ("noised_mix", "You used one timestep", lambda a, b, t, *rest: noised_first(a, b, t[:1], *rest)),
    ("noised_mix", "off by one", lambda a, b, t, *rest: noised_first(a, b, t - 1, *rest)),
    ("noised_mix", "square root", rootless),
    ("noised_mix", "sign of the noise", lambda a, b, t, share, e, s: noised_first(a, b, t, share, -e, s)),
    ("noised_mix", "no noise in your", lambda a, b, t, share, e, s: a * (1 - share) + b * share),
    ("noised_mix", "too much noise", lambda a, b, t, share, e, s: noised_first(a, b, t, share, 2 * e, s)),
    ("slerp", "one angle, or one length", as_widely_copied),
    ("slerp", "same direction your result is not", by_angles(angles)),
    ("slerp", "share of y", lambda x, y, share: by_angles(angles)(x, y, 1 - share)),
    ("slerp", "share of y", lambda x, y, share: arc_or_line(y, x, share)),
    ("slerp", "along some of the axes", of_each_pixel),
    ("slerp", "Your cosine is wrong", with_lines(lambda x, y: (x * y).flatten(1).sum(1).clamp(-1, 1).acos())),
    ("slerp", "slightly larger than 1", with_lines(by_unbounded_cosines)),
    ("slerp", "opposite directions your result is not", with_lines(angles, lambda w: w < 1e-4)),
    ("slerp", "zero everywhere your result is not", with_lines(angles)),
    (
        "slerp",
        "zero everywhere your result is not",
        with_lines(lambda x, y: F.cosine_similarity(x.flatten(1), y.flatten(1)).clamp(-1, 1).acos()),
    ),
    ("slerp", "lengths of x and y are lost", lambda *args: F.normalize(arc_or_line(*args).flatten(1)).view_as(args[0])),
    ("slerp", "do not depend on the angle", torch.lerp),
    ("slerp", "not the angle in radians", by_angles(lambda x, y: angles(x, y).rad2deg())),
    ("slerp", "not the angle in radians", by_angles(lambda x, y: angles(x, y).cos())),
    ("slerp", "wrong shape to multiply", lambda x, y, share: arcs(angles(x, y), share, x, y)),
    ("slerp", "certain number of axes", lambda x, y, share: arcs(angles(x, y).view(-1, 1, 1, 1), share, x, y)),
    ("slerp", "subtracted means", by_angles(of_what_is_left)),
    ("slerp", "sign of the cosine is lost", by_angles(lambda x, y: angles(x, y).cos().abs().acos())),
    (
        "slerp",
        "not divided by sin",
        lambda x, y, share: by_angles(angles)(x, y, share) * upright(angles(x, y).sin(), x),
    ),
    ("slerp", "flat", lambda x, y, share: arc_or_line(x.flatten(1), y.flatten(1), share)),
    (
        "slerp",
        "other functions",
        lambda x, y, share: (
            x * upright(torch.cos(share * angles(x, y)), x) + y * upright(torch.sin(share * angles(x, y)), x)
        ),
    ),
    ("slerp", "as one number", all_or_none(bool)),
    ("slerp", "mix the whole batch linearly", all_or_none(torch.any)),
    ("slerp", "in place", spoilt_and_mended),
    (
        "level_of_mix",
        "You return t",
        lambda t, share, a: (odds(a)[1:].log() - (odds(a[t]) / (1 - share + share)).log()).abs().argmin().item() + 1,
    ),
    ("level_of_mix", "end of the chain", by_relative_gaps_from_level_0),
    ("level_of_mix", "end of the chain", lambda t, _, a: (odds(a)[1:].log() - odds(a[t]).log()).argmin().item() + 1),
    ("level_of_mix", "as much noise as the mix", as_noisy),
    ("level_of_mix", "off by one", lambda *args: level_by_level(*args) - 1),
    ("level_of_mix", "off by one", lambda *args: level_by_logit(*args) + 1),
    ("level_of_mix", "share of the chain", lambda t, share, a: level_by_level(t, share, a) / (len(a) - 1)),
    ("level_of_mix", "return a ratio", lambda t, share, a: (odds(a[t]) / ((1 - share) ** 2 + share**2)).item()),
    ("level_of_mix", "the last level above", last_above),
    (
        "level_of_mix",
        "expected a whole number, an int or an integer tensor without axes, got builtins.float",
        lambda *args: float(level_by_level(*args)),
    ),
    (
        "level_of_mix",
        "torch.float32, expected a whole number",
        lambda *args: torch.tensor(float(level_by_level(*args))),
    ),
    ("level_of_mix", "wrong shape: got (1,)", lambda *args: torch.tensor([level_by_level(*args)])),
    ("level_of_mix", "got a tuple of 2", lambda *args: (level_by_level(*args), 1.0)),
    ("level_of_mix", "builtins.bool", lambda *args: True),
    ("level_of_mix", "got 447, expected 449", lambda *args: level_by_level(*args) - 2),
    ("repaint_step", "weighted mean", lambda x, k, m, t, e, a: torch.where(m.bool(), brought_to(t, k, e, a), x)),
    (
        "repaint_step",
        "lost its second axis",
        lambda x, k, m, *rest: by_plain_numbers(x, k, m.squeeze(), *rest),
    ),
    ("repaint_step", "of your own", lambda x, k, m, t, e, a: into_a_clone(x, k, m, t, torch.randn(x.shape), a)),
    (
        "repaint_step",
        "changed its input x in place",
        lambda x, k, m, t, e, a: x.lerp_(brought_to(t, k, e, a), m),
    ),
    ("repaint_step", "noised x, too", lambda x, k, m, t, e, a: brought_to(t, m * k, e, a) + (1 - m) * x),
    ("repaint_step", "Your noising is incomplete", lambda x, k, m, t, e, a: m * (a[t].sqrt() * k + e) + (1 - m) * x),
    ("repaint_step", "the wrong way round", lambda x, k, m, *rest: by_plain_numbers(x, k, 1 - m, *rest)),
    ("precondition", "in another order", lambda *args: [edm(*args)[i] for i in (2, 0, 1, 3)]),
    ("precondition", "in another order", lambda *args: tuple(reversed(edm(*args)))),
    ("precondition", "share of the noise", with_one(0, lambda s, d: 1 - d**2 / (s**2 + d**2))),
    ("precondition", "is not squared", with_one(0, lambda s, d: d / (s**2 + d**2).sqrt())),
    ("precondition", "standard deviation 1", written_for_unit_data),
    ("precondition", "standard deviation 1", with_one(2, lambda s, d: (s**2 + 1).rsqrt())),
    ("precondition", "wrote down 0.5", lambda s, d: edm(s, 0.5)),
    ("precondition", "lacks sigma or sigma_data", with_one(1, lambda s, d: s / torch.sqrt(s**2 + d**2))),
    ("precondition", "root is missing", with_one(2, lambda s, d: 1 / (d**2 + s**2))),
    ("precondition", "sign of your c_out", with_one(1, lambda s, d: -s * d / torch.sqrt(s**2 + d**2))),
    ("precondition", "you multiply by it", with_one(2, lambda s, d: torch.hypot(s, torch.full_like(s, d)))),
    ("precondition", "variances add up", with_one(2, lambda s, d: 1 / (s + d))),
    ("precondition", "another column", as_in_vp),
    ("precondition", "another column", as_in_ve),
    ("precondition", "another column", lambda s, _: frameworks.Flow().precondition(s)),
    ("precondition", "another factor", with_one(3, lambda s, d: torch.log(s))),
    ("precondition", "another factor", with_one(3, lambda s, d: torch.log(s) - math.log(4))),
    ("precondition", "another base", with_one(3, lambda s, d: torch.log10(s) / 4)),
    ("precondition", "not made of the logarithm", with_one(3, lambda s, d: s)),
    ("precondition", "one sigma for the whole batch", lambda s, d: edm(s.mean(), d)),
    ("precondition", "have further axes", lambda s, d: edm(s[:, None, None, None], d)),
    ("precondition", "take a single number", by_math),
    ("precondition", "lacks sigma or sigma_data", two_faults),  # told first; the factor of c_noise when that is mended
    ("precondition", "for c_in at sigma = ", with_one(2, lambda s, d: 1.01 / (s**2 + d**2).sqrt())),
    ("precondition", "got a tuple of 3, expected a tuple of four tensors", lambda *args: tuple(edm(*args)[:3])),
    ("precondition", "c_noise is a builtins.float", with_one(3, lambda s, d: 0.25)),
    ("precondition", "c_in has the wrong shape", with_one(2, lambda s, d: torch.tensor(d))),
    ("precondition", "c_skip has the wrong dtype", with_one(0, lambda s, d: d**2 / (s.double() ** 2 + d**2))),
    ("precondition", "got builtins.dict, expected a tuple", lambda *args: dict(enumerate(edm(*args)))),
    ("precondition", "in place", lambda s, d: [*edm(s, d)[:3], s.log_().div(4)]),
    ("karras_levels", "powers are exchanged", lambda n, low, high, rho: level_by_formula(n, low, high, 1 / rho)),
    ("karras_levels", "levels rise", lambda n, low, high, rho: level_by_formula(n, high, low, rho)),
    ("karras_levels", "0 at the end is missing", schedules.karras_grid),
    ("karras_levels", "0 at the end is missing", lambda n, *rest: level_by_formula(n + 1, *rest)[:-1]),
    ("karras_levels", "0 stands in front", lambda *args: level_by_formula(*args).roll(1)),
    ("karras_levels", "off by one", lambda n, *rest: level_by_formula(n + 1, *rest)),
    ("karras_levels", "larger than sigma_min", written_over_the_last),
    ("karras_levels", "down to 0 in even steps", down_to_0),
    ("karras_levels", "as if rho were 1", lambda n, low, high, rho: level_by_formula(n, low, high, 1)),
    ("karras_levels", "logarithm of sigma", written_with_logspace),
    ("karras_levels", "a rho of your own", lambda n, low, high, rho: level_by_formula(n, low, high, 7)),
    (
        "karras_levels",
        "one of the two powers",
        lambda n, low, high, rho: levels_by_numpy(n, low, high, rho) ** (1 / rho),
    ),
    (
        "karras_levels",
        "power of the fraction",
        lambda n, low, high, rho: F.pad(high + torch.linspace(0, 1, n) ** rho * (low - high), (0, 1)),
    ),
    ("karras_levels", "expected float32 or float64", lambda *args: level_by_formula(*args).half()),
    ("karras_levels", "builtins.list", lambda *args: level_by_formula(*args).tolist()),
    ("heun_step", "divides by 0", heun_everywhere),
    ("heun_step", "denoise takes x first", lambda d, *rest: downwards(lambda x, sigma: d(sigma, x), *rest)),
    ("heun_step", "took Euler's step and stopped", euler_only),
    ("heun_step", "estimate of the clean picture", lambda *args: downwards(*args[:3], 0)),
    ("heun_step", "come back with x itself", lambda *args: downwards(*args) if args[-1] else args[1]),
    ("heun_step", "divided by nothing", eps_forgotten),
    ("heun_step", "at the old x", old_x_denoised),
    ("heun_step", "along the second slope only", second_slope_only),
    ("heun_step", "wrong sign", uphill),
    ("heun_step", "midpoint method", half_way),
    ("heun_step", "cut something off", lambda d, *rest: downwards(lambda x, s: d(x, s).clip(-1, 1), *rest)),
    ("heun_step", "along both slopes in full", twice_along),
    ("heun_step", "begins where Euler's arrived", x_written_over),
    ("heun_step", "reckons with sigma", told_the_old_level),
    ("heun_step", "more often than needed", asked_anew),
    ("heun_step", "more often than needed", nan_mended),
    ("heun_step", "changed its input x in place", into_x),
    ("flow_loss", "t has the wrong shape to multiply the batch", unshaped),
    ("flow_loss", "with the axes that you added", shaped_for_both),
    ("flow_loss", "as the papers write it", data_at_one),
    (
        "flow_loss",
        "from the noise to the picture",
        lambda network, x_0, eps, t: by_mse(lambda x_t, t: network(x_t, t) + 2 * (eps - x_0), x_0, eps, t),
    ),
    ("flow_loss", "Your time runs the other way", lambda n, x_0, e, t: by_mse(lambda x, u: n(x, t), x_0, e, 1 - t)),
    ("flow_loss", "You told the network 1 - t", lambda n, x_0, e, t: by_mse(lambda x, t: n(x, 1 - t), x_0, e, t)),
    ("flow_loss", "on another scale", lambda n, x_0, e, t: by_mse(lambda x, t: n(x, t * 1000), x_0, e, t)),
    ("flow_loss", "on another scale", lambda n, x_0, e, t: by_mse(lambda x, t: n(x, (t * 1e3).int()), x_0, e, t)),
    ("flow_loss", "one t for the whole batch", of_the_first_t),
    ("flow_loss", "one t for the whole batch", lambda n, x_0, e, t: by_mse(n, x_0, e, t[:1].expand(len(t)))),
    ("flow_loss", "Your path is a curve", along_a_circle),
    ("flow_loss", "one of the two ends", lambda n, x_0, e, t: by_mse(lambda x, t: n(x, t) - x_0, x_0, e, t)),
    ("flow_loss", "is their difference", lambda n, x_0, e, t: by_mse(lambda x, t: n(x, t) - 2 * x_0, x_0, e, t)),
    (
        "flow_loss",
        "You added the squares up",
        lambda n, x_0, e, t: F.mse_loss(n(torch.lerp(x_0, e, t[:, None, None, None]), t), e - x_0, reduction="sum"),
    ),
    (
        "flow_loss",
        "axes left",
        lambda n, x_0, e, t: F.mse_loss(n(torch.lerp(x_0, e, t[:, None, None, None]), t), e - x_0, reduction="none"),
    ),
    ("flow_loss", "its absolute value, a root", lambda *args: torch.sqrt(by_mse(*args))),
    ("flow_loss", "half of what is asked for", lambda *args: 0.5 * by_mse(*args)),
    ("flow_loss", "drew noise or times", lambda n, x_0, e, t: by_mse(n, x_0, e, torch.rand(x_0.shape[0]))),
    ("flow_loss", "no gradient reaches the network", lambda *args: by_mse(*args).detach()),
    ("halved_target", "teacher's first estimate", one_long_step),
    ("halved_target", "teacher's first estimate", lambda teacher, x_t, a, s: teacher(x_t, 0)),
    ("halved_target", "teacher's last estimate", began_at_x_t_twice),
    ("halved_target", "teacher's last estimate", halved(solved=lambda x_t, x, x_end, a, s, both: both[1])),
    ("halved_target", "averaged the two estimates", halved(solved=lambda x_t, x, x_end, a, s, both: sum(both) / 2)),
    ("halved_target", "where the teacher lands", halved(solved=lambda x_t, x, x_end, a, s, both: x_end)),
    ("halved_target", "was shown x_t", shown_x_t_twice),
    ("halved_target", "another level than that of the picture", halved((0, 0))),
    ("halved_target", "another level than that of the picture", halved((1, 2))),
    ("halved_target", "mixes the two estimates", noise_kept),
    (
        "halved_target",
        "The noise in your steps is wrong",
        halved(moved=lambda x, x_0, a, s, i, j: a[j] * x_0 + s[j] * (x - a[i] * x_0)),
    ),
    (
        "halved_target",
        "You drew new noise",
        halved(moved=lambda x, x_0, a, s, i, j: a[j] * x_0 + s[j] * torch.randn(x.shape)),
    ),
    (
        "halved_target",
        "The ratio in your last line",
        halved(
            solved=lambda x_t, x, x_end, a, s, both: (x_end - s[2] / s[1] * x_t) / (a[2] - s[2] / s[1] * a[0]),
        ),
    ),
    (
        "halved_target",
        "A sign is wrong in your last line",
        halved(solved=lambda x_t, x, x_end, a, s, both: (s[0] * x_end + s[2] * x_t) / (a[2] * s[0] - a[0] * s[2])),
    ),
    (
        "halved_target",
        "not yet solved for x_0",
        halved(solved=lambda x_t, x, x_end, a, s, both: x_end - s[2] / s[0] * x_t),
    ),
    ("halved_target", "You divide by a[0] somewhere", halved(solved=by_the_noise_of_the_end)),
    ("halved_target", "You exchanged a and s", lambda teacher, x_t, a, s: without_a_ratio(teacher, x_t, s, a)),
    ("halved_target", "took the levels in reverse", lambda f, x, a, s: without_a_ratio(f, x, a.flip(0), s.flip(0))),
    ("halved_target", "took a root or a square", of_alpha_bar),
    ("halved_target", "cut estimates or the answer off", lambda *args: without_a_ratio(*args).clip(-1, 1)),
]


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning")  # a singular matrix has a root here
@pytest.mark.parametrize("name", list(RIGHT))
def test_other_ways_to_write_the_right_answer_pass(name):
    for function in RIGHT[name]:
        checks.REGISTRY[name](function)


def in_double(value, exact):
    """The same input in float64; with `exact` a schedule is worked out anew from its beta, not cast."""
    if isinstance(value, schedules.Schedule):
        doubled = schedules.Schedule.from_beta(value.beta[1:], value.name, torch.float64)
        return doubled if exact else value.to(dtype=torch.float64)
    if isinstance(value, nn.Module):
        return Doubled(value)
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


class Doubled:
    """A network that computes in float64; its weights stay float32, and so do their gradients."""

    def __init__(self, network):
        self.network = network

    def __getattr__(self, name):
        return getattr(self.network, name)

    def __call__(self, x):
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        tensors = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
        return torch.func.functional_call(self.network, tensors, (x,))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_right_answer_passes_however_it_is_rounded(exercise, exact):
    asked = exercise.solution(*exercise.inputs()[0].args.values()).dtype

    def rounded(*args):
        out = exercise.solution(*(in_double(value, exact) for value in args))
        return out.float().to(asked) if out.is_floating_point() else out

    assert exercise.name in RIGHT
    exercise(rounded)


def each_with_its_own(x, weight, s):
    def one(x, s):
        return F.conv2d(x[None], F.normalize((s[:, None, None] * weight).flatten(1)).view_as(weight), padding=1)[0]

    return torch.vmap(one)(x, s)


@pytest.mark.parametrize("function", [image_by_image, in_groups, each_with_its_own])
def test_weights_for_each_picture_are_told_though_the_numbers_are_right(function):
    assert "weights of its own" in verdict(checks.shared_conv, function)


def demodulated(x, weight, s, squares):
    return F.conv2d(x * s[:, :, None, None], weight, padding=1) * (squares + 1e-8).rsqrt()[:, :, None, None]


@pytest.mark.parametrize(
    ("name", "squares"),
    [
        ("weight", lambda s, weight: s.square() @ weight.detach().square().sum((2, 3)).T),
        ("s", lambda s, weight: s.detach().square() @ weight.square().sum((2, 3)).T),
        ("weight", torch.no_grad()(lambda s, weight: s.square() @ weight.square().sum((2, 3)).T)),
    ],
)
def test_a_gradient_cut_on_one_way_is_told(name, squares):
    said = verdict(checks.shared_conv, lambda x, weight, s: demodulated(x, weight, s, squares(s, weight)))
    assert f"the gradient in {name} is wrong" in said


def test_a_loss_through_which_no_gradient_flows_is_told():
    right = checks.diffusion_loss.solution

    def blind(x_0, u, eps, model, s):
        with torch.no_grad():
            return right(x_0, u, eps, model, s)

    for cut in (blind, lambda *args: right(*args).detach(), lambda *args: torch.tensor(right(*args).tolist())):
        assert "no gradient reaches the network" in verdict(checks.diffusion_loss, cut)
    with torch.no_grad():  # the notebook's own mode does not matter
        checks.diffusion_loss(right)
        assert not torch.is_grad_enabled()


def test_a_projection_through_which_no_gradient_flows_is_told():
    right = checks.projection_logit.solution
    assert "no gradient reaches the network" in verdict(checks.projection_logit, lambda *args: right(*args).detach())


@pytest.mark.parametrize("name", ["reparametrise", "kl_divergence", "log_likelihood", "vae_loss"])
def test_cutting_any_one_input_of_an_autoencoder_s_function_is_told(name):
    exercise = checks.REGISTRY[name]
    trained = [i for i, arg in enumerate(exercise.inputs()[0].args) if arg in ("x_hat", "mu", "logvar")]
    for cut in trained:

        def blind(*args, cut=cut):
            return exercise.solution(*(arg.detach() if i == cut else arg for i, arg in enumerate(args)))

        assert "no gradient reaches the network" in verdict(exercise, blind)


def test_the_autoencoder_s_functions_agree_with_the_course_s_bound():
    x, x_hat, mu, logvar, eps = (torch.randn(5, 6, generator=torch.Generator().manual_seed(i)) for i in range(5))
    terms = elbo.terms(x, x_hat, mu, logvar, kl_weight=0.3)
    right = checks.vae_loss.solution(x, x_hat, mu, logvar, 0.3)
    torch.testing.assert_close(right - elbo.log_likelihood(x, x).mean(), terms.loss.mean())
    torch.testing.assert_close(checks.kl_divergence.solution(mu, logvar), terms.kl)
    torch.testing.assert_close(checks.log_likelihood.solution(x, x_hat, 1.0), terms.log_likelihood)
    z = checks.reparametrise.solution(mu, logvar, eps)
    torch.testing.assert_close((z - mu) / (logvar / 2).exp(), eps)


def test_the_importance_bound_lies_between_the_elbo_and_the_evidence():
    # z ~ N(0, 1), x = z + N(0, 1): the evidence is N(0, 2); q is the prior
    x, z = torch.tensor(1.3), torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    log_q = D.Normal(0.0, 1.0).log_prob(z)
    log_p = log_q + D.Normal(z, 1.0).log_prob(x)
    one, eight = (checks.importance_bound.solution(log_p[:, :k], log_q[:, :k]).mean().item() for k in (1, 8))
    evidence = D.Normal(0.0, math.sqrt(2)).log_prob(x).item()
    assert one + 0.1 < eight < evidence < eight + 0.2


def test_the_losses_of_the_two_players_agree_with_the_course_s_own():
    g = torch.Generator().manual_seed(0)
    real, fake = torch.randn(6, generator=g), torch.randn(6, generator=g)
    torch.testing.assert_close(
        checks.discriminator_loss.solution(real, fake), adversarial.discriminator_loss("non_saturating", real, fake)
    )
    torch.testing.assert_close(checks.generator_loss.solution(fake), adversarial.generator_loss("non_saturating", fake))
    d = Discriminator(DCGANConfig(size=8, width=4, norm="none"))
    x = torch.randn(3, 3, 8, 8, generator=g)
    asking = x.clone().requires_grad_()
    expected = adversarial.gradient_penalty(d(asking), asking)
    torch.testing.assert_close(checks.r1_penalty.solution(d, x), expected)


def test_the_solutions_work_with_the_course_s_networks():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = DCGANConfig(size=8, z_dim=4, width=4)
        g, d = Generator(config), Discriminator(config)
        x, z = torch.rand(5, 3, 8, 8) * 2 - 1, torch.randn(5, 4)
    before = copy.deepcopy(d.state_dict())
    optimizer = torch.optim.Adam(d.parameters(), lr=1e-3)
    losses = [float(checks.discriminator_step.solution(g, d, optimizer, x, z)) for _ in range(20)]
    assert losses[-1] < losses[0] and all(p.grad is None for p in g.parameters())
    assert not torch.equal(d.last.weight, before["last.weight"])
    images = checks.draw.solution(g, z)
    assert g.training and g.norms[0].training and not images.requires_grad
    torch.testing.assert_close(checks.draw.solution(g.eval(), z[:1]), images[:1])
    assert not g.training


def test_the_cases_of_the_step_leave_room_for_every_fault():
    cases = checks.discriminator_step.inputs()
    assert all(case.args["generator"].training and case.args["discriminator"].training for case in cases)
    for name in ("generator", "discriminator"):
        stale = [any(p.grad is not None for p in case.args[name].parameters()) for case in cases]
        assert any(stale) and not all(stale)
    copied = copy.deepcopy(cases[0].args)
    d = copied["discriminator"]
    assert copied["optimizer"].param_groups[0]["params"][0] is next(d.parameters())
    for mine, its in zip(d.parameters(), cases[0].args["discriminator"].parameters(), strict=True):
        assert mine is not its and mine.grad is not its.grad and torch.equal(mine.grad, its.grad)


def test_making_the_cases_of_the_networks_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    for name in ("discriminator_step", "draw", "r1_penalty"):
        once, again = checks.REGISTRY[name].inputs(), checks.REGISTRY[name].inputs()
        for a, b in zip(once, again, strict=True):
            for key in a.args:
                if isinstance(a.args[key], nn.Module):
                    pairs = zip(a.args[key].state_dict().values(), b.args[key].state_dict().values(), strict=True)
                    assert all(torch.equal(p, q) for p, q in pairs)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if isinstance(e, Stateful)], ids=lambda e: e.name)
def test_traces_are_named_alike_are_float32_and_can_be_read_twice(exercise):
    names = {tuple(left) for left in traces(exercise, exercise.solution)}
    assert len(names) == 1
    for once, done in zip(traces(exercise, exercise.solution), shown(exercise, exercise.solution), strict=True):
        assert all(value.dtype == torch.float32 and value.ndim == 1 for value in once.values())
        assert exercise.agree(once, exercise.traces(done), list(once))


def test_a_trace_that_no_mistake_explains_is_told_by_its_name():
    def nudged(generator, *args):
        loss = without_graph(generator, *args)
        with torch.no_grad():
            next(generator.parameters()).add_(0.01)
        return loss

    text = verdict(checks.discriminator_step, nudged)
    assert "what your function returns is right, but not the weights of the generator afterwards" in text
    assert "Input 1 of 9" in text and checks.discriminator_step.hint in text

    def reset(generator, z):
        images = finally_back(generator, z)
        [module.reset_running_stats() for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
        return images

    assert "but not the running statistics of the generator afterwards" in verdict(checks.draw, reset)


def test_running_statistics_may_move_in_a_turn_and_clearing_gradients_is_allowed():
    def tidy(generator, *args):
        loss = with_graph(generator, *args)
        generator.zero_grad()
        return loss

    checks.discriminator_step(tidy)


def test_gradients_left_switched_off_are_told():
    def switched(generator, z):
        torch.set_grad_enabled(False)
        return finally_back(generator, z)

    assert "leaves gradients switched off" in verdict(checks.draw, switched)
    assert torch.is_grad_enabled()


def test_a_decorated_function_s_own_line_is_quoted():
    @torch.no_grad()
    def draw(generator, z):
        return generator(z) @ torch.ones(77)  # the student's line

    assert "return generator(z) @ torch.ones(77)  # the student's line" in verdict(checks.draw, draw)

    def discriminator_step(generator, discriminator, optimizer, x, z):
        return discriminator(z).sum()  # of z

    assert "return discriminator(z).sum()  # of z" in verdict(checks.discriminator_step, discriminator_step)


def test_a_penalty_whose_graph_is_spoilt_is_no_crash():
    def spoilt(discriminator, x):
        penalty = by_autograd_grad(discriminator, x)
        with torch.no_grad():
            for parameter in discriminator.parameters():
                parameter.mul_(1)
        return penalty

    assert "a constant for the discriminator's weights" in verdict(checks.r1_penalty, spoilt)


def test_asking_the_network_twice_at_some_scales_only_is_told_too():
    def sparing(model, x_t, t, y, scale, null):
        return model(x_t, t, y) if scale == 1 else null_asked_first(model, x_t, t, y, scale, null)

    assert "AskedTwice in your code: the model may be called once" in verdict(checks.guided_eps, sparing)


def test_a_network_without_labels_or_with_a_single_t_is_told():
    for said, call in (
        ("takes y as whole numbers", lambda model, x, t, y: model(x, t)),
        ("takes y as whole numbers", lambda model, x, t, y: model(x, t, y.float())),
        ("takes t as whole numbers", lambda model, x, t, y: model(x, 3, y)),
    ):
        assert said in verdict(checks.guided_eps, lambda model, x, t, y, scale, null, call=call: call(model, x, t, y))


def test_projection_logit_agrees_with_the_course_s_discriminator():
    torch.manual_seed(0)
    d = Discriminator(DCGANConfig(size=8, width=4, norm="none", classes=3)).eval()
    x, y = torch.randn(5, 3, 8, 8), torch.tensor([0, 2, 1, 1, 0])
    h = d.layers(x)
    logit = checks.projection_logit.solution(h, d.last(h).flatten(), d.project.weight, y)
    torch.testing.assert_close(logit, d(x, y))


@pytest.mark.parametrize(
    ("name", "asking"), [("mix_styles", "ab"), ("truncate", ["w"]), ("shared_conv", ["x", "weight", "s"])]
)
def test_cutting_any_one_input_of_a_style_s_function_is_told(name, asking):
    exercise = checks.REGISTRY[name]
    for cut in asking:
        place = list(exercise.inputs()[0].args).index(cut)

        def blind(*args, place=place):
            return exercise.solution(*(arg.detach() if i == place else arg for i, arg in enumerate(args)))

        assert "no gradient reaches the network" in verdict(exercise, blind)


def test_the_functions_of_styles_agree_with_the_course_s_own():
    g = torch.Generator().manual_seed(0)
    a, b, mean = (torch.randn(shape, generator=g) for shape in ((3, 6), (3, 6), (6,)))
    several = [w[:, None].expand(-1, 5, -1) for w in (a, b)]
    for k in range(6):
        torch.testing.assert_close(checks.mix_styles.solution(a, b, k, 5), styles.mix(*several, k))
    generator = StyleGenerator(StyleGAN2Config(size=16, z_dim=6, w_dim=6, width=4, widest=4))
    generator.w_mean.copy_(mean)
    for w in (a, several[0]):
        torch.testing.assert_close(checks.truncate.solution(w, mean, 0.3), generator.truncated(w, 0.3))


def test_shared_conv_agrees_with_the_course_s_layer():
    torch.manual_seed(0)
    into, out = 5, 4
    layer = StyledConv(StyleGAN2Config(w_dim=into), into, out).requires_grad_(False)
    layer.style.weight.copy_(torch.eye(into) / layer.style.gain)  # w itself is the style, to which the layer adds 1
    x, s = torch.randn(3, into, 6, 7), 1 + torch.randn(3, into)
    maps = checks.shared_conv.solution(x, layer.conv.weight * layer.conv.gain, s)
    torch.testing.assert_close(F.leaky_relu(maps, 0.2) * math.sqrt(2), layer(x, s - 1))


def test_a_style_of_0_is_told_in_numbers_and_in_the_gradient():
    def small(add):
        def answer(x, weight, s):
            size = add((s.square() @ weight.square().sum((2, 3)).T)[:, :, None, None])
            return F.conv2d(x * s[:, :, None, None], weight, padding=1) / size

        return answer

    assert "1e-8 is missing" in verdict(checks.shared_conv, small(lambda total: total.sqrt()))
    said = "right, but a gradient through them is not finite"
    assert said in verdict(checks.shared_conv, small(lambda total: total.sqrt() + 1e-8))
    for eps in (1e-12, 1e-5):  # which number it is hardly matters
        checks.shared_conv(small(lambda total, eps=eps: (total + eps).sqrt()))


def test_the_scores_agree_with_the_course_s_own():
    g = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 7, generator=g, dtype=torch.float64) for n in (5, 30))
    mean, spread = zip(*((x.mean(0), checks.covariance.solution(x)) for x in (a, b)), strict=True)
    torch.testing.assert_close(spread[0], metrics.Statistics().update(a).covariance)
    distance = checks.frechet.solution(mean[0], spread[0], mean[1], spread[1])
    assert distance.item() == pytest.approx(metrics.frechet_distance(a, b), abs=1e-6)
    trace, residue = checks.root_trace.solution(spread[0] @ spread[1]).tolist()
    both = (mean[0] - mean[1]).square().sum() + spread[0].trace() + spread[1].trace()
    assert both.item() - 2 * trace == pytest.approx(distance.item(), abs=1e-6)
    assert 0 <= residue < 1e-5
    assert checks.ratio_to_floor.solution(b[:9], b[:9], a).item() == 1


def test_the_cases_of_the_scores_leave_room_for_every_fault():
    told = [checks.root_trace.solution(*case.args.values()).tolist() for case in checks.root_trace.inputs()]
    assert sum(residue > 0.05 for _, residue in told) >= 5  # a residue dropped is seen far above any tolerance
    assert all(residue < 1e-5 or residue > 0.003 for _, residue in told)
    assert sum(0.003 < residue < 0.01 for _, residue in told) >= 2  # a residue that some would hide
    ratios = [checks.ratio_to_floor.solution(*case.args.values()).item() for case in checks.ratio_to_floor.inputs()]
    *worse, closer, far, same = ratios
    assert all(1.1 < ratio < 10 for ratio in worse) and closer < 0.9 and 20 < far < 100 and same == 1
    distances = [checks.frechet.solution(*case.args.values()).item() for case in checks.frechet.inputs()]
    assert sum(distance < 1e-12 for distance in distances) == 1


def test_the_functions_of_fusion_agree_with_the_course_s_own():
    schedule, g = schedules.cosine(30), torch.Generator().manual_seed(0)
    a, b, eps = (torch.randn((3, 3, 4, 4), generator=g) for _ in range(3))
    t = torch.tensor([0, 7, 30])
    mix = checks.noised_mix.solution(a, b, t, 0.3, eps, schedule.alpha_bar)
    torch.testing.assert_close(mix, diffusion.q_sample(fusion.mixed(a, b, 0.3), t, eps, schedule))
    exact = schedules.cosine(30, dtype=torch.float64)
    for level in range(1, 31):
        for share in (0, 0.2, 0.5, 0.9):
            expected = fusion.level_of_mix(level, share, exact)
            assert checks.level_of_mix.solution(level, share, exact.alpha_bar) == expected


def test_slerp_turns_by_its_share_of_the_angle():
    g = torch.Generator().manual_seed(0)
    x, y = (F.normalize(torch.randn((5, 12), generator=g, dtype=torch.float64)) for _ in range(2))
    between = checks.slerp.solution(x, y, 0.3)
    torch.testing.assert_close(angles(x, between), 0.3 * angles(x, y))
    torch.testing.assert_close(angles(between, y), 0.7 * angles(x, y))
    torch.testing.assert_close(between.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_repaint_step_agrees_with_the_course_s_sampler():
    schedule, g = schedules.cosine(30), torch.Generator().manual_seed(3)
    known, mask = (torch.rand((4, c, 2, 2), generator=g) for c in (3, 1))
    model = ideal.IdealDenoiser(known, schedule)
    steps = editing.repaint(model, schedule, known, mask, steps=6, eta=0.0, generator=g)
    before = next(steps)
    for _ in range(6):
        eps = torch.randn(known.shape, generator=torch.Generator().set_state(g.get_state()))
        after = next(steps)
        x = samplers.ddim_step(after.x0_hat, after.eps_hat, before.t, after.t, schedule)
        torch.testing.assert_close(
            checks.repaint_step.solution(x, known, mask, after.t, eps, schedule.alpha_bar), after.x
        )
        before = after
    assert after.t == 0


def test_a_mix_of_two_noises_has_the_ratio_of_the_level_that_is_asked_for():
    g, alpha_bar = torch.Generator().manual_seed(0), schedules.linear(1000, dtype=torch.float64).alpha_bar
    eps, eps_b = torch.randn((2, 400_000), generator=g, dtype=torch.float64)
    noise = (1 - alpha_bar[500]).sqrt() * (0.7 * eps + 0.3 * eps_b)
    level = checks.level_of_mix.solution(500, 0.3, alpha_bar)
    assert level == 449
    assert math.log(alpha_bar[500] / noise.var()) == pytest.approx(math.log(odds(alpha_bar[level])), abs=0.02)


def test_the_cases_of_fusion_leave_no_answer_to_rounding():
    for case in checks.level_of_mix.inputs():
        t, share, alpha_bar = case.args.values()
        snr = odds(alpha_bar[1:]).log()
        gaps, nearest = (snr - snr[t - 1] + math.log(share**2 + (1 - share) ** 2)).abs().sort()
        if len(snr) > 1:  # two levels that are equally near would have no gap between them
            assert gaps[1] - gaps[0] > 0.1 * (snr[nearest[0]] - snr[nearest[1]]).abs()
    for case in checks.slerp.inputs():
        sines = angles(*(case.args[name].double() for name in "xy")).sin()
        assert bool(((sines > 0.1) | (sines < 1e-6) | sines.isnan()).all())


def test_the_functions_of_fast_samplers_agree_with_the_course_s_own():
    sigma = torch.logspace(-2, 1.5, 9)
    expected = frameworks.EDM(sigma_data=0.4).precondition(sigma)
    torch.testing.assert_close(checks.precondition.solution(sigma, 0.4), torch.stack(expected))
    levels = checks.karras_levels.solution(12, 0.01, 40.0, 5.0)
    torch.testing.assert_close(levels[:-1], schedules.karras_grid(12, 0.01, 40.0, 5.0))
    assert levels[-1] == 0

    g, schedule = torch.Generator().manual_seed(1), schedules.karras(300)
    model = ideal.IdealDenoiser(torch.randn((5, 2), generator=g), schedule)

    def denoise(x, sigma):
        t = schedule.level(torch.full((len(x),), sigma))
        return diffusion.predict(model, x / math.sqrt(1 + sigma**2), t, schedule)[0]

    steps = list(samplers.heun(model, schedule, torch.randn((6, 2), generator=g), steps=4))
    levels = checks.karras_levels.solution(4, 0.002, 80.0, 7.0).tolist()
    x = steps[0].x * math.sqrt(1 + levels[0] ** 2)
    for sigma, before, after in zip(levels, levels[1:], steps[1:], strict=False):
        x = checks.heun_step.solution(denoise, x, sigma, before)
        torch.testing.assert_close(x, after.x * math.sqrt(1 + before**2), rtol=1e-3, atol=1e-3)


def test_heun_s_error_falls_with_the_square_of_the_step():
    variance, mean, start = 0.25, 0.3, torch.tensor([[2.5, -1.0]], dtype=torch.float64)  # of normal data
    exact = mean + (start - mean) * math.sqrt((variance + 0.5**2) / (variance + 2.0**2))
    errors = []
    for steps in (16, 32):
        x = start
        for sigma, before in pairwise(torch.linspace(2, 0.5, steps + 1).tolist()):
            x = checks.heun_step.solution(
                lambda x, s: (variance * x + s**2 * mean) / (variance + s**2), x, sigma, before
            )
        errors.append(float((x - exact).abs().max()))
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_flow_loss_agrees_with_the_course_s_own():
    g = torch.Generator().manual_seed(0)
    x_0, eps, t = (
        torch.randn((5, 3, 4, 4), generator=g),
        torch.randn((5, 3, 4, 4), generator=g),
        torch.rand(5, generator=g),
    )

    def network(x, t, y=None):
        return torch.sin(x) + t.view(-1, 1, 1, 1)

    expected = frameworks.loss(frameworks.Flow(), network, x_0, t / (1 - t), eps).mean()
    torch.testing.assert_close(checks.flow_loss.solution(network, x_0, eps, t), expected)
    assert checks.flow_loss.solution(lambda *_: eps - x_0, x_0, eps, t) == 0


@pytest.mark.parametrize("levels", [(40, 30, 10), (50, 25, 0), (12, 11, 10)])
def test_one_step_with_the_halved_target_lands_where_two_of_the_teacher_do(levels):
    g, schedule = torch.Generator().manual_seed(0), schedules.cosine(50, dtype=torch.float64)
    points = torch.randn((6, 3, 4, 4), generator=g, dtype=torch.float64)
    x_t, network = torch.randn((4, 3, 4, 4), generator=g, dtype=torch.float64), ideal.IdealDenoiser(points, schedule)

    def teacher(x, i):
        return diffusion.predict(network, x, torch.full((len(x),), levels[i]), schedule)[0]

    a, s = schedule.alpha_bar[list(levels)].sqrt(), schedule.sigma[list(levels)]
    target, x = checks.halved_target.solution(teacher, x_t, a, s), x_t
    for i in range(2):
        x0_hat, eps_hat = diffusion.predict(network, x, torch.full((len(x),), levels[i]), schedule)
        x = samplers.ddim_step(x0_hat, eps_hat, levels[i], levels[i + 1], schedule)
    eps = (x_t - a[0] * target) / s[0]
    torch.testing.assert_close(samplers.ddim_step(target, eps, levels[0], levels[2], schedule), x)


def test_the_cases_of_halved_target_leave_room_for_every_fault():
    beyond = []
    for case in checks.halved_target.inputs():
        teacher, x_t, a, s = case.args.values()
        assert s[0] > s[1] > s[2] and (a.diff() >= 0).all() and a[2] - s[2] / s[0] * a[0] > 0.1
        first, last = (halved(solved=lambda *args, i=i: args[-1][i])(teacher, x_t, a, s) for i in (0, 1))
        assert (first - last).abs().mean() > 0.05
        beyond.append(checks.halved_target.solution(teacher, x_t, a, s).abs().max() > 1)
    assert any(beyond)


def test_a_teacher_asked_at_a_tensor_of_levels_is_told():
    said = verdict(checks.halved_target, lambda teacher, x_t, a, s: teacher(x_t, torch.zeros(len(x_t))))
    assert "takes i as one number, the level, 0 or 1; it got a Tensor" in said


def test_a_tuple_of_mean_and_variance_is_told_without_a_hint_about_numbers():
    text = verdict(checks.posterior, lambda *args: tuple(checks.posterior.solution(*args)))
    assert "got a tuple of 2: one tensor is asked for, see torch.stack" in text and "Hint" not in text


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("name", "said", "function"), WRONG)
def test_mistakes_are_recognised_in_other_words(name, said, function):
    assert said in verdict(checks.REGISTRY[name], function)


def test_the_course_s_own_functions_pass_except_under_marking(monkeypatch):
    own = {
        "q_sample": diffusion.q_sample,
        "x0_from_eps": diffusion.x0_from_eps,
        "ideal_eps": lambda x, t, points, s: ideal.IdealDenoiser(points, s)(x, t),
        "alpha_bar": lambda beta: schedules.Schedule.from_beta(beta, dtype=beta.dtype).alpha_bar,
    }
    for name, function in own.items():
        checks.REGISTRY[name](function)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")  # set by nbgrader
    assert "the course's own function" in verdict(checks.q_sample, diffusion.q_sample)


def test_ddpm_step_agrees_with_the_course_s_sampler():
    schedule, g = schedules.cosine(30), torch.Generator().manual_seed(3)
    points = torch.randn((5, 2), generator=g)
    steps = samplers.ddpm(
        ideal.IdealDenoiser(points, schedule), schedule, torch.randn((4, 2), generator=g), variance="beta", generator=g
    )
    before = next(steps)
    z = torch.randn((4, 2), generator=torch.Generator().set_state(g.get_state()))
    after = next(steps)
    x = checks.ddpm_step.solution(before.x, before.t, after.eps_hat, z, schedule)
    torch.testing.assert_close(x, after.x, rtol=1e-4, atol=1e-4)


def broken_versions(right):
    """Functions that are wrong in every way that has nothing to do with the exercise, and what must be said."""

    def after(change):
        return lambda *args: change(right(*args))

    def spoil_one(out):
        out = out.clone()
        out.view(-1)[-1] += 0.01 * out.abs().max() + 0.01 if out.is_floating_point() else 1
        return out

    def nan_at_the_end(out):
        out = out.clone() if out.is_floating_point() else out.float()
        out.view(-1)[-1] = float("nan")
        return out

    return {
        "None": (after(lambda out: None), "returned nothing"),
        "zeros": (after(torch.zeros_like), ""),
        "ones": (after(torch.ones_like), ""),
        "negative": (after(torch.neg), ""),
        "numpy": (after(lambda out: out.detach().numpy()), "numpy.ndarray"),
        "list": (after(lambda out: out.flatten().tolist()), "builtins.list"),
        "tuple": (after(lambda out: (out,)), "got a tuple of 1: one tensor is asked for, see torch.stack"),
        "list of tensors": (after(lambda out: [out, out]), "got a list of 2: one tensor is asked for"),
        "number": (after(lambda out: float(out.sum().item())), "builtins.float"),
        "double": (after(torch.Tensor.double), "wrong dtype"),
        "single": (after(torch.Tensor.float), "wrong dtype"),
        "half": (after(lambda out: out.half()), "wrong dtype"),
        "integers": (after(lambda out: out.int()), "wrong dtype"),
        "complex": (after(lambda out: out.to(torch.complex64)), "wrong dtype"),
        "meta": (after(lambda out: out.to("meta")), "wrong device"),
        "nan": (after(nan_at_the_end), "not finite: nan"),
        "infinite": (after(lambda out: out / 0), "not finite"),
        "one element": (after(spoil_one), ", expected "),
        "extra axis": (after(lambda out: out[None]), "wrong shape"),
        "twice": (after(lambda out: torch.cat([out, out]) if out.ndim else out.repeat(2)), "wrong shape"),
        "scalar": (after(lambda out: out.double().mean()), "wrong shape"),
        "typo": (after(lambda out: out.no_such_thing), "AttributeError in your code"),
        "exit": (after(lambda out: exit()), "SystemExit in your code"),
        "arguments": (lambda: None, "TypeError in your code"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(broken_versions(abs)))
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_nothing_wrong_passes(exercise, kind):
    function, said = broken_versions(exercise.solution)[kind]
    right = exercise.solution(*exercise.inputs()[0].args.values())
    if said.startswith("not finite") and not right.is_floating_point():
        said = "wrong dtype"  # whole numbers are always finite
    if kind == "scalar" and not right.ndim:
        said = "wrong dtype"  # where a scalar is asked for, only its float64 is wrong
    if kind in ("double", "single") and function(*exercise.inputs()[0].args.values()).dtype == right.dtype:
        return exercise(function)  # this is the dtype that is asked for
    if kind == "single" and isinstance(exercise, fast_grid.Levels):
        return exercise(function)  # float32 will do here, too
    if kind in ("number", "single") and getattr(exercise, "number", False):
        return exercise(function)  # a float will do here, or float32
    if kind == "scalar" and not right.ndim and right.dtype == torch.float64:
        return exercise(function)  # a scalar in float64 is what is asked for
    if kind == "integers" and isinstance(exercise, fusion_level.Whole):
        return exercise(function)  # int32 is a whole number, too
    own = {"list": "got a list of", "tuple": "got a tuple of 1", "list of tensors": "got a list of 2"}
    if isinstance(exercise, scores_shared.Number):
        own |= {"complex": "your answer is complex"}
    if isinstance(exercise, fusion_level.Whole):
        own |= {"one element": "off by one"}
    if isinstance(exercise, scores_shared.Number | scores_root.Pair | fusion_level.Whole | fast_precondition.Four):
        said = own.get(kind, said)
    text = verdict(exercise, function)
    assert text.startswith(f"{exercise.name}: ") and said in text


def test_an_unrecognised_answer_gets_shape_element_and_hint():
    text = verdict(checks.q_sample, lambda x, t, e, s: 1.01 * diffusion.q_sample(x, t, e, s))
    assert "shape (5, 2) is right" in text
    assert "index [0, 0]: got" in text
    assert checks.q_sample.hint in text


def test_a_mistake_that_fits_some_inputs_only_is_not_named():
    def half_wrong(x, t, e, s):  # beta for alpha_bar, but for points alone
        return checks.q_sample.mistakes[0].answers[0](x, t, e, s) if x.ndim == 2 else diffusion.q_sample(x, t, e, s)

    text = verdict(checks.q_sample, half_wrong)
    assert "beta_t" not in text
    assert "Right on 5 of 12 inputs" in text


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_an_error_quotes_the_student_s_line(exercise):
    def solve(*args):
        return torch.ones(3) @ torch.ones(77)  # the student's line

    assert "return torch.ones(3) @ torch.ones(77)  # the student's line" in verdict(exercise, solve)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_a_stub_raises_not_implemented_naming_its_exercise(exercise):
    def stub(*args):
        raise NotImplementedError

    with pytest.raises(NotImplementedError, match=f"Exercise {exercise.name}: not solved") as caught:
        exercise(stub)
    assert len(caught.value._render_traceback_()) == 1
    assert "Replace this line with your code." in str(caught.value)  # as in the stub


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: torch.linalg.eigvals(p).clamp(min=0),
        lambda p: torch.linalg.eigvals(p).sqrt().max(),
        lambda p: torch.linalg.eigvals(p.half()),
    ],
)
def test_what_torch_does_not_implement_is_no_stub(spoil):
    def root_trace(product):
        return spoil(product)

    text = verdict(checks.root_trace, root_trace)
    assert re.search("NotImplementedError in your code: .*not (implemented|supported) for", text)
    assert "of your cell: lambda p: torch.linalg.eigvals" in text


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_a_check_left_uncalled_shows_one_line_and_no_mistake(exercise):
    assert f"checks.{exercise.name}({exercise.name})" in repr(exercise)
    assert len(repr(exercise)) < 100


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_what_a_student_prints_is_shown_for_the_first_input_only(exercise, capsys):
    def printing(*args):
        print("the result is", exercise.solution(*args))

    assert "returned nothing (None)" in verdict(exercise, printing)
    out, err = capsys.readouterr()
    assert out.count("the result is") == 1 and err == ""
    assert out.endswith(f"shown for the first of {len(exercise.inputs())} inputs only)\n")


def test_a_warning_on_a_later_input_is_not_taken_for_a_print(capsys):
    seen = []

    def warned(x_0, t, eps, schedule):
        seen.append(x_0)
        if len(seen) > 1:
            print("a singular matrix")
        return diffusion.q_sample(x_0, t, eps, schedule)

    checks.q_sample(warned)
    assert capsys.readouterr().out == f"q_sample: correct on {len(seen)} inputs\n"


def test_what_a_student_prints_is_shown_when_the_function_is_interrupted(capsys):
    def endless(x_0, t, eps, schedule):
        print("round and round")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.q_sample(endless)
    assert capsys.readouterr().out == "round and round\n"


def test_the_numbers_that_ddpm_step_s_message_quotes_are_readable():
    first = checks.ddpm_step.inputs()[0]
    assert 1 < first.args["t"] < first.args["schedule"].T
    assert 0.1 < checks.ddpm_step.solution(*first.args.values()).abs().max() < 10


def test_the_failure_is_shown_without_a_traceback():
    assert checks.CheckFailed("q_sample: no")._render_traceback_() == ["CheckFailed: q_sample: no"]
    assert "hand over the function itself" in verdict(checks.q_sample, torch.zeros(3))


def has_tensors(exercise):
    return any(isinstance(value, torch.Tensor) for value in exercise.inputs()[0].args.values())


@pytest.mark.parametrize("exercise", [e for e in EXERCISES if has_tensors(e)], ids=lambda e: e.name)
def test_changing_an_input_in_place_is_told(exercise):
    def spoil(*args):
        out = exercise.solution(*args)
        args[place].mul_(2)
        return out

    args = exercise.inputs()[0].args
    place, first = next((i, name) for i, name in enumerate(args) if isinstance(args[name], torch.Tensor))
    assert f"changed its input {first} in place" in verdict(exercise, spoil)


def test_changing_the_schedule_in_place_is_told():
    def spoil(x_0, t, eps, schedule):
        out = diffusion.q_sample(x_0, t, eps, schedule)
        schedule.beta.zero_()
        return out

    assert "changed its input schedule in place" in verdict(checks.q_sample, spoil)


def test_the_random_state_is_left_alone_and_the_inputs_do_not_depend_on_it():
    seen = []

    def reckless(x_0, t, eps, schedule):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        random.seed(1)
        torch.rand(3)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        seen.append(x_0.sum().item())
        return diffusion.q_sample(x_0, t, eps, schedule)

    def states():
        numpy_state = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), numpy_state[1].tolist(), random.getstate()

    before = states()
    checks.q_sample(reckless)
    assert states() == before
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
    torch.manual_seed(5)
    random.seed(5)
    torch.set_default_dtype(torch.float64)
    try:
        checks.q_sample(reckless)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen[:12] == seen[12:]


def test_what_a_student_writes_to_stderr_does_not_cost_the_points(capsys):
    def noisy(x_0, t, eps, schedule):
        import sys
        import warnings

        print("look", file=sys.stderr)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)  # pytest replaces Python's own
            warnings.warn("copy-constructing a tensor", stacklevel=1)
        return diffusion.q_sample(x_0, t, eps, schedule)

    checks.q_sample(noisy)
    out, err = capsys.readouterr()
    assert err == "" and "look" in out and "copy-constructing" in out


def test_an_exercise_that_calls_an_unsolved_one_names_that():
    def stub(real, fake):
        raise NotImplementedError("Exercise discriminator_loss: not solved yet. Replace this line with your code.")

    def step(generator, discriminator, optimizer, x, z):
        return stub(discriminator(x), discriminator(generator(z).detach()))

    with pytest.raises(
        NotImplementedError, match="discriminator_step: it calls discriminator_loss, which is not solved"
    ):
        checks.discriminator_step(step)


def test_right_numbers_with_a_gradient_that_is_not_finite_are_refused():
    def loss(real, fake):  # the branch not taken overflows, and its gradient is 0 times infinity
        each = torch.where(real > 0, torch.log1p(torch.exp(-real)), -real + torch.log1p(torch.exp(real)))
        return each.mean() + torch.nn.functional.softplus(fake).mean()

    with pytest.raises(checks.CheckFailed, match="right, but a gradient through them is not finite"):
        checks.discriminator_loss(loss)
