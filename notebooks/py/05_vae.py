# ---
# jupyter:
#   jupytext:
#     formats: notebooks///ipynb,notebooks/py///py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Variational autoencoders
#
# ![Rows of cat faces. From left to right one face turns smoothly into another.](../report_imgs/05_walk.png)
#
# A diffusion model turns noise into a picture in many small steps. Why not in one? Squeeze a picture $x$ into a few numbers $z$, and learn the way
# back. Then draw some $z$ at random, and there is a new picture. It nearly works. What is missing, and what it costs, is this notebook.
#
# "The sources" are the student projects that this course grew out of. They trained such a network on cats and learned three things the hard way: with the loss weighted wrongly every sample is the
# one *average cat*; the network learns its training set by heart; and rotated training pictures leave black corners in the samples. We provoke each of them, measure it and mend it.
#
# **You will be able to**
# 1. derive the ELBO and point at the gap that it leaves;
# 2. say why $z = \mu + \sigma\epsilon$ is more than a way of writing, and measure what it gains;
# 3. read a rate–distortion curve, and say what the KL weight really sets;
# 4. recognise posterior collapse and over-fitting from two curves each;
# 5. use PSNR and SSIM where they mean something;
# 6. explain what a diffusion model gains from working in a latent space.
#
# **Before you start:** notebook 01; Sections 4 and 5 of notebook 02 (the bound; KL between Gaussians) and Section 6 of notebook 03 (FD and its floor). **Run time:** about a minute and a half on two CPU cores. Whatever takes
# longer was computed beforehand and ships with the course. **As a lecture:** Sections 1 to 5, 9 without the copies, and 10: one lecture of 90 minutes (an estimate). Parts marked ◆ may be skipped.

# %%
import math
import time

import torch

from course_utils import checkpoints, checks, elbo, latents, metrics, sample, training, viz, widgets
from course_utils.data import drawn, named
from course_utils.data.levels import from_bytes
from course_utils.presets import choose, halve_threads
from course_utils.studies import autoencoders as study

halve_threads()
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1 · A story of how pictures come about
#
# First somebody draws a few numbers, $z \sim \mathcal N(0, I)$: which cat, how it sits, where the light comes from. Then a network, the **decoder**, turns them into a
# picture, up to some noise of standard deviation $\sigma_x$: $p(x \mid z) = \mathcal N(\hat x(z), \sigma_x^2 I)$. That is a model of pictures: $p(x) = \int p(x \mid z)\, p(z)\, dz$.
#
# To train it we want $\log p(x)$ to be large for real pictures. But the integral runs over all $z$, and for nearly all of them $p(x \mid z)$ is practically 0: most cats look
# unlike this one. The way out is a second network, the **encoder**, which guesses which $z$ belong to a given $x$: $q(z \mid x) = \mathcal N(\mu(x), \sigma(x)^2)$.
#
# Both have weights: one writes $p_\theta$ and $q_\phi$ where that matters. The code $z$ is also called the **latent**.
#
# ### The bound, and its gap
#
# Put the guess in, and swap logarithm and mean (Jensen's inequality: the logarithm bends down, so the mean of logs lies below the log of the mean):
#
# $$\log p(x) = \log \mathbb E_{q}\Big[\frac{p(x, z)}{q(z \mid x)}\Big] \;\ge\; \mathbb E_{q}\Big[\log \frac{p(x, z)}{q(z \mid x)}\Big]
# = \underbrace{\mathbb E_q[\log p(x \mid z)]}_\text{reconstruction} - \underbrace{\mathrm{KL}\big(q(z \mid x) \,\Vert\, p(z)\big)}_\text{price of the code} =: \text{ELBO}.$$
#
# The last step takes $p(x, z) = p(x \mid z)\, p(z)$ apart. Take it apart the other way, $p(x, z) = p(z \mid x)\, p(x)$, and one sees what was lost:
#
# $$\log p(x) - \text{ELBO} = \mathbb E_q\Big[\log \frac{q(z \mid x)}{p(z \mid x)}\Big] = \mathrm{KL}\big(q(z \mid x) \,\Vert\, p(z \mid x)\big),$$
#
# the guess's distance from the true answer. Here it is, where everything can be computed: one number $x$, one number $z$, and a decoder that bends, $\hat x(z) = 2 \tanh 2z$.
#
# **Predict:** the true $p(z \mid x)$ is no Gaussian. Which Gaussian will be the best guess, and how much will be lost?

# %%
x, sigma_x = torch.tensor(1.0), 0.4
z = torch.linspace(-4, 4, 4001, dtype=torch.float64)


def log_normal(value, mean, std):
    return torch.distributions.Normal(mean, std).log_prob(value)


log_joint = log_normal(z, 0.0, 1.0) + log_normal(x, 2 * torch.tanh(2 * z), sigma_x)
log_evidence = (log_joint.exp().sum() * (z[1] - z[0])).log().item()
posterior = (log_joint - log_evidence).exp()

mus, sigmas = torch.linspace(-0.2, 0.9, 111), torch.logspace(-1.7, 0, 111)
bound = torch.empty(len(sigmas), len(mus))
for i, s in enumerate(sigmas.tolist()):
    log_q = log_normal(z, mus[:, None].double(), s)
    bound[i] = (log_q.exp() * (log_joint - log_q)).sum(1) * (z[1] - z[0])
i, j = divmod(bound.argmax().item(), len(mus))
best = {"mu": mus[j].item(), "sigma": sigmas[i].item(), "bound": bound[i, j].item()}
where = f"mu = {best['mu']:.2f}, sigma = {best['sigma']:.2f}"
print(f"log p(x) = {log_evidence:.4f}; best bound {best['bound']:.4f} at {where}")
mean = (posterior * z).sum() * (z[1] - z[0])
std = ((posterior * (z - mean) ** 2).sum() * (z[1] - z[0])).sqrt()
print(f"gap {log_evidence - best['bound']:.4f} nats; the true answer has mean {mean:.2f} and deviation {std:.2f}")
print(f"{(posterior * (z > 0.7)).sum() * (z[1] - z[0]):.0%} of it lie beyond z = 0.7")
poor = log_normal(z, 0.1, 0.3)
poor_gap = (poor.exp() * (poor - posterior.log())).sum() * (z[1] - z[0])
print(f"gap of a poor guess, mu = 0.1 and sigma = 0.3: {poor_gap:.1f} nats")
assert bound.max() <= log_evidence

# %%
figure, panels = viz.axes(1, 2, (5.4, 4.0))
left, right = panels[0]
left.plot(z, posterior, color=viz.INK, linewidth=3, label=r"true $p(z \mid x)$")
for mu, s, colour, name in (
    (best["mu"], best["sigma"], viz.BLUE, "best Gaussian"),
    (0.1, 0.3, viz.ORANGE, "a poor guess"),
):
    left.plot(z, log_normal(z, mu, s).exp(), color=colour, label=name)
left.set(xlim=(-0.7, 2.2), xlabel="z", ylabel="density", ylim=(0, None))
left.legend(fontsize=11)
gap = (log_evidence - bound).clamp(max=3)
shades = right.contourf(mus, sigmas, gap, levels=[0, 0.2, 0.5, 1, 2, 3], cmap="cividis_r")
right.plot(best["mu"], best["sigma"], "o", color=viz.BLUE, markersize=11, markeredgecolor="white")
right.plot(0.1, 0.3, "o", color=viz.ORANGE, markersize=11, markeredgecolor="white")
right.set(yscale="log", xlabel=r"$\mu$", ylabel=r"$\sigma$", title="gap = log p(x) − ELBO, nats")
figure.colorbar(shades, ax=right)
viz.show(
    figure,
    alt="Left: the true posterior of z, a bump with a long tail to the right, with the best Gaussian over it, which covers the bump and leaves out the tail, and a poor guess beside it. Right: the gap of the bound "
    "over mean and deviation of the guess, a valley with its lowest point at the best Gaussian, where a little of the gap is left.",
    name="05_gap",
)

# %% [markdown]
# *Look for:* the long tail, and that the best guess is half as wide as the truth and gives the tail up. $\mathrm{KL}(q \,\Vert\, p)$ punishes $q$ for standing where $p$ is not, and hardly for leaving out a part of it.
# $\tfrac18$ nat is lost for good. The poor guess stands on both sides of the steep flank and costs 3.1 nats. Training the encoder climbs down that valley; training the decoder also moves the truth to where Gaussians fit better. With enough of both the bound is useful; it is never more than a bound.
#
# ## 2 · A gradient through a dice roll
#
# The bound is a mean over $z \sim q$, and $q$ is what we want to improve. How does one differentiate through a draw? Two ways, both unbiased:
#
# - **Score function:** $\nabla_\mu\, \mathbb E_q[f(z)] = \mathbb E_q\big[f(z)\, \nabla_\mu \log q(z)\big]$. Needs only values of $f$.
# - **Reparametrisation** (Kingma & Welling 2014): write $z = \mu + \sigma\epsilon$ with $\epsilon \sim \mathcal N(0, 1)$ (Exercise 1). Now the dice are an *input*, and
#   $\nabla_\mu\, \mathbb E[f(\mu + \sigma\epsilon)] = \mathbb E[f'(\mu + \sigma\epsilon)]$.
#
# **Predict:** both are right on average. How far apart are they in a single draw, if $z$ has 2 numbers, and if it has 200?

# %%
dims, draws = (1, 2, 5, 20, 50, 200), choose(ci=200, lecture=20_000, full=100_000)
variances = {"score function": [], "score function with baseline": [], "reparametrised": []}
for d in dims:
    mu, sigma, target = torch.zeros(d), 0.5, torch.full((d,), 1.0)
    eps = torch.randn(draws, d, generator=generator)
    draw = mu + sigma * eps
    f = -0.5 * (draw - target).square().sum(1)  # such as a log-likelihood; its gradient in mu is target - mu, so 1
    score = (draw[:, :1] - mu[:1]) / sigma**2
    estimates = (f[:, None] * score, (f - f.mean())[:, None] * score, (target - draw)[:, :1])
    for (name, values), estimate in zip(variances.items(), estimates, strict=True):
        values.append(estimate.var().item())
        if d == 2:
            print(f"{name:30s} mean {estimate.mean():6.3f} (true 1), standard deviation {estimate.std():6.2f}")

figure, panels = viz.axes(1, 1, (8, 3.6))
for (name, values), colour, marker in zip(variances.items(), (viz.ORANGE, viz.GREY, viz.BLUE), "os^", strict=True):
    panels[0, 0].loglog(dims, values, f"{marker}-", color=colour, label=name)
panels[0, 0].set(xlabel="numbers in z", ylabel="variance of the\ngradient, one draw")
panels[0, 0].legend(fontsize=12)
viz.show(
    figure,
    alt="Variance of one component of the gradient over the length of z, both axes logarithmic. The score function rises to tens of thousands, with a baseline to hundreds, "
    "the reparametrised one stays at a quarter.",
)
assert variances["reparametrised"][-1] < variances["score function with baseline"][-1] / 2

# %% [markdown]
# With 2 numbers one draw is off by 3.5 or by 0.5, with 200 by some 250 or still by 0.5. ("With baseline" subtracts the mean of $f$ first, which changes no expectation.)
# The score function only learns whether a draw as a whole was good, and has to find out by itself which of 200 numbers was to blame. Reparametrised, each number gets the slope of
# $f$ in its own direction; here $f$ is a sum over the numbers, so the others do not disturb it at all. The price: $f$ must be differentiable and $z$ continuous. The same works for $\sigma$, whose slope is
# $\mathbb E[f'(\mu + \sigma\epsilon)\, \epsilon]$. That is why VAEs train with one draw per picture.
#
# ## 3 · Train one, now
#
# Gaussians on both sides give the bound in closed form (Exercises 1 to 4). Multiply it by $-\sigma_x^2$, drop a constant, and it is a loss to be made small:
#
# $$\tfrac12 \lVert x - \hat x(z) \rVert^2 + w\, \mathrm{KL}, \qquad w = \sigma_x^2, \qquad
# \mathrm{KL} = \tfrac12 \sum_j \big( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \big).$$
#
# The encoder answers with $\mu$ and $\log \sigma^2$ (any number is allowed for a logarithm, while a variance would have to be kept positive). The decoder answers with $\hat x$ alone. How large is its noise $\sigma_x^2$? We take the
# sources' 0.02 for $w$, and ask that question in Section 4.


# %%
recipe = study.VARIANTS["drawn, baseline"].changed(precision="float32")
model, ema, _ = recipe.build()
pictures, new = recipe.images(), recipe.images("test")


def loss(model, batch):
    terms = recipe.terms(model, batch.x, batch.eps)  # eps: one draw for each picture
    return terms.loss.mean() / batch.x[0].numel()  # a mean over pixels, so that the learning rate fits every size


weights = sum(p.numel() for p in model.parameters())
print(f"{pictures.name}; {weights:,} weights, {recipe.latent} numbers in z, KL weight {recipe.kl_weight}")

# %%
steps = choose(ci=3, lecture=400, full=recipe.steps)
history = []
records = training.fit(model, loss, recipe.batches(pictures), steps, lr=recipe.lr, warmup=steps // 20, ema=ema)
for record in training.progress(records, steps):
    history.append(record.loss)

# %%
some = new[:10][0]
with torch.no_grad():
    back = ema.model(some).x_hat.clamp(-1, 1)
made = sample.one_step(ema.model, 10)
viz.rows(
    f"a VAE trained on {pictures.name} for {steps * recipe.batch_size:,} pictures",
    [some, back, made],
    ["new pictures", "reconstructed", "samples: z drawn\nfrom N(0, 1)"],
    alt="Ten drawn cats that the network has not seen, their reconstructions, which are blurred but right in pose and colour, and ten samples, blurred cats with parts that do not fit.",
)
print(f"PSNR of reconstructions {metrics.psnr(some, back).mean():.1f} dB")

# %% [markdown]
# After a minute! And a sample takes one evaluation of the decoder. But everything is soft, and the samples are hardly cats. (**PSNR**, here and below, is the error in decibels: $10 \log_{10} (4 / \text{mean squared error})$, since pixels have a range
# of 2. 20 dB are an error of a tenth of the range.)
#
# Two things blur. Where $z$ leaves open whether a whisker runs here or one pixel further, the squared error is least for the *mean* of all that fits, a grey smear: that part no training removes. A decoder
# that answers with a mean must blur what it was not told; diffusion escapes, because it answers with a mean in *each* of many small steps. And this network is small and young: that part training does remove (Section 6).
#
# ## 4 · The KL weight: what a code may cost
#
# From here on we compare trainings: the same small network on 32 × 32 pixels, one thing changed at a time, on *photographs* of cat faces and on drawn cats. Each took minutes, all
# together some two hours on one core; the results ship with the course (`make autoencoders` computes them again). Of the photographs only numbers and samples are stored, no picture and no reconstruction.
#
# FD of reconstructions compares them with the very pictures that they reconstruct: a perfect copier would score 0. Samples can expect the floor at best, and are given in multiples of it. "In use" counts the numbers of the code
# whose KL is more than a tenth of a nat.

# %%
found = study.load()
floors = {
    kind: found[f"{data}, floor"][1]["scores"]["fd"] for kind, data in (("faces", "faces"), ("drawn", "drawn:cat"))
}


def weight_of(name):
    return study.VARIANTS[name].kl_weight


def table(names):
    print("                                             new pictures             numbers           FD of      FD of")
    print("                                         half sq. error, KL (nats)    in use   PSNR    reconstr.   samples")
    for name in names:
        tensors, facts = found[name]
        error, price = tensors["curve"][-1, 3:].tolist()
        floor = floors[name.partition(",")[0]]
        fd, own = facts["scores"]["fd"], facts["reconstructions"]["fd"]
        text = f"{name:40s} {error:6.1f} {price:8.1f} {facts['used']:12d} of {study.VARIANTS[name].latent:<4d} {facts['psnr']:4.1f} dB"
        print(f"{text} {own:8.0f} {fd:9.0f} ({fd / floor:.1f} ×)")


swept = {
    kind: sorted((n for n in study.VARIANTS if n.startswith(f"{kind}, KL") or n == f"{kind}, baseline"), key=weight_of)
    for kind in floors
}
for kind, names in swept.items():
    print(
        f"{kind}: KL weight {', '.join(f'{weight_of(n):g}' for n in names)}; floor, real pictures: FD {floors[kind]:.1f}"
    )
    table(names)

# %%
figure, panels = viz.axes(1, 2, (5.4, 3.9))
for ax, kind in zip(panels[0], floors, strict=True):
    ends = [found[name][0]["curve"][-1] for name in swept[kind]]
    rate, distortion = ([end[k].item() for end in ends] for k in (4, 3))
    ax.plot(rate, distortion, "o-", color=viz.BLUE)
    for x, y, name in zip(rate, distortion, swept[kind], strict=True):
        if "0.005" not in name:  # its label would lie on those of its neighbours
            ax.annotate(
                f"{weight_of(name):g}", (x, y), xytext=(2, 6), textcoords="offset points", fontsize=12, rotation=55
            )
    ax.set(xlabel="rate: KL, nats per picture", ylabel="distortion: half squared error", title=f"{kind}, new pictures")
    ax.set(xscale="symlog", xlim=(0, 4 * max(rate)), ylim=(0, 1.15 * max(distortion)))
viz.show(
    figure,
    alt="Error over KL for networks trained with different KL weights, for cat faces and for drawn cats: a falling curve; large weights lie at its left end, small ones at its right.",
    name="05_rate_distortion",
)


# %% [markdown]
# *Look for:* a point for every weight, and how steep the curve is between two of them. $w$ is the **price of a nat**: training buys until one more nat would save less than $w$ in error, so that the slope of the curve at $w$ is $-w$
# (Alemi et al. 2018). Does it hold?

# %%
size = 3 * 32 * 32
print("faces; slope between two weights           bound on log p(x), nats, with σ² = w")
ends = [(weight_of(n), *found[n][0]["curve"][-1, 3:].tolist()) for n in swept["faces"]]
for k, (w, error, price) in enumerate(ends):
    bound = -error / w - price - size / 2 * math.log(2 * math.pi * w)
    slope = ""
    if k:
        before, other, more = ends[k - 1]
        slope = f"{before:6g} to {w:4g}: {(error - other) / (more - price):7.3f}"
    print(f"{slope:32s} {w:8g}: {bound:10,.0f}")
best_w = 2 * ends[2][1] / size
print(f"variance of the error that is really made, at w = {ends[2][0]:g}: {best_w:.3f}")


# %%
def numbers(name):
    facts = found[name][1]
    return f"{found[name][0]['curve'][-1, 4]:.0f} nats, PSNR {facts['psnr']:.1f} dB, FD of samples {facts['scores']['fd']:.0f}"


stored = {
    weight_of(n): {part: found[n][0][part] for part in ("samples", "reconstructed")} | {"numbers": numbers(n)}
    for n in swept["drawn"]
}
viz.rows(
    "trained on drawn cats with different KL weights: five samples, then five reconstructions",
    [from_bytes(torch.cat([result[part][:5] for part in ("samples", "reconstructed")])) for result in stored.values()],
    [f"KL weight {weight:g}" for weight in stored],
    alt="For each KL weight five samples and five reconstructions. With small weights reconstructions are right and samples fall apart; with 10 both are "
    "soft, and much alike.",
)

# %%
widgets.stored_explorer(stored, "KL weight")

# %%
viz.rows(
    "samples after training on cat faces, with different KL weights",
    [from_bytes(found[n][0]["samples"][:10]) for n in swept["faces"]],
    [f"KL weight {weight_of(n):g}" for n in swept["faces"]],
    alt="Ten samples for each KL weight. With 100 all ten are the same grey blurred cat face, the average cat; with 10 they differ in brightness; with 1 and 0.3 they are soft cat faces; with smaller weights "
    "they become glaring patches that are hardly faces.",
)

# %% [markdown]
# The slopes between two weights do lie between them, from 100 down to 0.005. Only the smallest pair does not fit: there the optimum is not reached after 2,500 steps.
#
# *Look for:* both ends fail, each in its own way.
#
# - **Too dear** (weight 100): not a hundredth of a nat is spent, and whatever $z$ is, the answer is the mean of all pictures: *the average cat*.
# - **Too cheap**: with smaller weights reconstructions get better, down to about 0.02. Samples are best near 0.3 and then get worse. The encoder spreads its codes as it likes, they no longer fill $\mathcal N(0, I)$, and a random $z$ falls
#   where the decoder has never been.
#
# **The best bound does not give the best samples.** As $w = \sigma_x^2$, one can ask which variance makes the pictures most likely. Of our weights it is 0.02 (last column), near the variance of the error that the decoder really makes. That is what maximum likelihood
# wants (Rybkin et al. 2021), and yet samples are best at fifteen times that weight. Likelihood is mostly about pixels; looks are not (Theis et al. 2016).
#
# **Which 0.02?** The sources got the average cat with a weight of 1, and pictures with 0.02. A weight means nothing until one says what was *summed* and what was *averaged*. Here both terms are
# sums. Whoever averages the squared error over its $P$ numbers and the KL over its $D$, as `.mean()` does, gets with a weight of $w$ what $\frac{P}{2D} w$ gives here; at their 64 × 64 pixels and 256 numbers that is $24 w$. And four times as many pixels
# tell the same coarse things: it compares with about $6 w$ in our table. If they averaged, their 1 lies between our 1 and our 10, very dear, and their 0.02 near our 0.1. We do not know that they did.
#
# ### Where the codes are
#
# "The codes do not fill $\mathcal N(0, I)$": let us look, at a larger network that ships with the course, trained on drawn cat faces of 64 × 64 pixels with a weight of 0.1. The mean of all codes' distributions, $\frac1N \sum_n q(z \mid x_n)$, would have to be $\mathcal N(0, I)$ if random $z$ are to work. The cheapest repair is to
# draw not from $\mathcal N(0, I)$ but from a Gaussian with the mean and the covariance of the codes (Ghosh et al. 2020).

# %%
vae = checkpoints.load("vae-drawn64")
faces = named.named_set("drawn:face", size=64, n=choose(ci=100, lecture=2000, full=5000)).images
mu, logvar = latents.posterior(vae.model, faces)
codes = elbo.reparametrise(mu, logvar, torch.randn(mu.shape, generator=generator))
values, axes = torch.linalg.eigh(codes.T.cov())
stds, plain = values.clamp(min=0).sqrt(), torch.randn(10, len(axes), generator=generator)
fitted = codes.mean(0) + (plain * stds) @ axes.T
viz.rows(
    "the same decoder, two ways to draw z",
    [latents.decode(vae.model, z) for z in (plain, fitted)],
    ["from N(0, I)", "from a Gaussian\nfitted to codes"],
    alt="Ten samples with z from a standard Gaussian, in which faces are hardly to be seen, and ten with z from a Gaussian fitted to the codes, which are faces of cats, soft and with parts that do not fit.",
)
print(f"standard deviation of the codes along their principal axes: {stds[0]:.2f} to {stds[-1]:.2f}; of N(0, I): 1")

# %% [markdown]
# *Look for:* the second row. Nothing was trained anew; $z$ only goes where codes have been. They are narrow along some axes, wide along others, and tilted, all of which $\mathcal N(0, I)$ does not know. Their true shape is no Gaussian either: so let a network learn it. That is Section 10.
#
# ## 5 · Collapse: numbers that say nothing
#
# A code of 64 numbers need not use them all. A number tells at most its KL, averaged over pictures. When would a number be worth its price? Telling it saves squared error, at most half the variance that it explains; its KL costs $w$ per nat.
# For a linear decoder a direction pays off exactly where the variance of the pictures along it exceeds $w$ (Lucas et al. 2019). For all others $q = \mathcal N(0, 1)$ is cheapest: such a number is **collapsed**, pure noise, which the decoder learns to ignore, which makes it right to go on
# sending noise.

# %%
figure, panels = viz.axes(1, 2, (5.4, 3.7))
names = {
    "faces, KL weight 10": viz.ORANGE,
    "faces, free bits, KL weight 10": viz.GREY,
    "faces, KL weight 1": viz.GREEN,
    "faces, baseline": viz.BLUE,
}
for name, colour in names.items():
    used, curve, label = found[name][0]["used"], found[name][0]["curve"], name.partition(", ")[2]
    label = "KL weight 0.02" if label == "baseline" else label
    used = used.sort(descending=True).values
    panels[0, 0].semilogy(range(1, len(used) + 1), used.clamp(min=1e-4), color=colour, label=label)
    panels[0, 1].plot(curve[:, 0], curve[:, 4], color=colour, label=label)
panels[0, 0].axhline(study.ACTIVE, color=viz.INK, linestyle=":", linewidth=1.5)
panels[0, 0].set(xlabel="numbers in z, most used first", ylabel="KL of one number, nats", ylim=(1e-4, None))
panels[0, 1].set(xlabel="step", ylabel="KL of a picture, nats", yscale="symlog", ylim=(0, None))
panels[0, 1].legend(fontsize=11)
viz.show(
    figure,
    alt="Left: KL of each latent number, sorted. At KL weight 10 it falls to nothing after four numbers, at 1 it falls slowly, with free bits it stays near half a nat for all, at 0.02 all are used. "
    "Right: the KL of a picture during training.",
    name="05_collapse",
)
table(list(names))

# %% [markdown]
# Two cures are usual: a smaller weight, or **free bits** (Kingma et al. 2016): here the first half nat of each number is not charged, so that there is nothing to be saved by staying silent.
#
# There is another collapse, which is no matter of price. At a weight of 100 even one number would pay: the first principal component of the faces has a variance above 200. The network misses it: at first its codes are noise, the decoder ignores them, and so they stay noise. That is
# a *trap*, the collapse that papers complain of. A cure is to **warm up**: start with a weight of 0, and let it grow while the decoder already listens (Bowman et al. 2016).

# %%
table(["faces, KL weight 100", "faces, warmed up, KL weight 100"])

# %% [markdown]
# *Look for:* how many numbers are above the dotted line, a tenth of a nat.
#
# - At weight 10 four numbers do all the work, and 60 are silent. At 1 twenty-four speak, at 0.1 nearly all (Section 4).
# - **Free bits** at weight 10 do what they say: all 64 numbers carry about half a nat. Compare with weight 1, *at nearly the same rate*: there the error is smaller by a fifth. Half a nat for everybody is not how pictures share out their variance. A bound on collapse is not a better code.
# - **Warmed up**, the network at weight 100 keeps one number, of 0.4 nats, and its whole loss is *smaller* than that of silence (error + 100 KL: about 336 instead of 361). So the silent network was not economical; it was caught.
#
# ## 6 · How many numbers, how much decay?
#
# The sources went from 256 numbers to 512, because fewer looked "more average", and set a weight decay of $10^{-4}$, because early runs had collapsed without it. One change at a time,
# and first the same training with three seeds: differences smaller than between these are no findings.

# %%
table(["faces, baseline", "faces, baseline, seed 1", "faces, baseline, seed 2"])
table([*(f"faces, latent {n}" for n in (4, 16)), "faces, baseline", "faces, latent 256"])
table(["faces, no weight decay", "faces, baseline", "faces, weight decay 0.1"])
errors = found["faces, principal components"][1]["errors"]
print("half squared error with so many principal components:", ", ".join(f"{n}: {e:.1f}" for n, e in errors.items()))

# %% [markdown]
# - **More numbers**: reconstructions improve throughout. Samples do not: sixteen beat sixty-four here, since more numbers are also more that a random $z$ can get wrong. With 4 everything is an average, as the sources saw.
# - **Is it the code, or the network?** The last line is the best that *straight lines* can do: a projection on principal components. With 4 or 16 numbers the network wins. With 64 it loses, with 256 by far. So what blurs its reconstructions from there on is not the length of the code, but half a million
#   weights and 2,500 steps. (More of both helps: Section 10.)
# - **Weight decay** of none, $10^{-4}$ (the baseline) and 0.1: samples lie within the seeds, all 64 numbers are in use, nothing collapses. At $10^{-4}$ that is no surprise: AdamW shrinks weights by learning rate × decay per step, at most 0.05% in the whole run (Loshchilov & Hutter 2019). The sources' Adam
#   adds the decay to the gradient instead, and ran for hours.
#
# ◆ **Another likelihood.** With $p(x \mid z) \propto e^{-\lvert x - \hat x \rvert / b}$ (Laplace) the error is absolute, and the best answer to what is open is the median instead of the mean.

# %%
table(["faces, laplace", "faces, baseline"])

# %% [markdown]
# It bought another point of the same curve: at its rate of 143 nats, between the weights 0.1 and 0.02, its error and its FD lie where one would expect the squared error's. What sharpens pictures is not in the choice of the norm.
#
# ## 7 · Learned by heart
#
# The sources' first run was best after one hour and then got worse on new cats, for three more. Two curves show that: the loss on pictures of the training set, and on new ones.
#
# To see it within minutes, the same network got 300 pictures instead of 3,007 and went over each of them 533 times.
#
# **Predict:** which helps more: dropout of 0.2, or pictures turned by up to 15° and shifted by up to 2 pixels?


# %%
def losses(name):
    step, *parts = found[f"faces, {name}"][0]["curve"].unbind(1)
    weight = weight_of(f"faces, {name}")
    known, fresh = (error + weight * price for error, price in (parts[:2], parts[2:]))
    text = f"{name:34s} loss at the end: training pictures {known[-1]:5.1f}, new ones {fresh[-1]:5.1f}"
    print(f"{text}; new ones were lowest at step {step[fresh.argmin()]:.0f}: {fresh.min():.1f}")
    return step, known, fresh


shown = ("300 pictures", "300 pictures, dropout 0.2", "300 pictures, turned and shifted", "baseline")
figure, panels = viz.axes(1, len(shown), (3.1, 3.4), sharey=True)
for ax, name in zip(panels[0], shown, strict=True):
    step, known, fresh = losses(name)
    ax.plot(step, known, color=viz.ORANGE, label="training pictures")
    ax.plot(step, fresh, color=viz.BLUE, label="new pictures")
    ax.set(title={"baseline": "all 3,007 pictures"}.get(name, name.replace(", ", ",\n")), xlabel="step")
panels[0, 0].set(ylabel="half squared error + 0.02 KL", ylim=(0, 140))
panels[0, 0].legend(fontsize=11)
viz.show(
    figure,
    alt="Loss on training and on new pictures over the steps. With 300 pictures the curves part, and the one of new pictures turns upwards; with dropout less so; turned and shifted pictures keep "
    "them closer; with all pictures, mirrored, they stay close.",
    name="05_overfitting",
)

# %% [markdown]
# And with all 3,007 pictures, where there is little to be mended? *FD of samples* is in the table; three seeds of the baseline lay between 227 and 237.

# %%
remedies = ("not mirrored", "baseline", "dropout 0.2", "shifted", "turned, reflected corners")
for name in remedies:
    losses(name)
table([f"faces, {name}" for name in (*shown[:3], *remedies)])

# %% [markdown]
# *Look for:* where the blue curve turns. On 300 pictures the network begins to learn by heart after 500 of its 2,500 steps, and ends with an error on new pictures six times that on its own.
#
# - **Dropout** stops the rise and lowers the whole curve: worth a third of the loss.
# - **Moving** the pictures does more, nearly half of the loss: now no picture comes back the same.
# - And FD of samples tells another story: it is *worst* where the loss is best. What moved pictures teach, the samples show; see below.
#
# With all pictures:
#
# - **Mirroring** is worth most: without it training pictures get better and new ones worse, and these are best before the end. Yet FD of samples sees nothing of that (229; the seeds lie between 227 and 237).
# - **Dropout** closes the gap from the wrong side: training pictures get worse, new ones no better, and samples are worse than any seed's.
# - **Shifting** closes it further, and turning too, but neither makes new pictures better here, and FD of samples rises to about 265: *a model draws what it was shown*. Tilted and shifted cats, with mirrored edges, are not what test cats look like (Karras et al. 2020 call it leaking).
#   The sources' second run shows the same paradox: it no longer over-fitted, and its samples scored twice as badly.
#
# ### Black corners
#
# Turn a picture and its corners come from outside. The sources' second run filled them with black, and the samples had black corners: a model learns what it is shown. Can one reflect the edge instead?


# %%
def corner(images):
    return images[..., [0, 1, -2, -1], :][..., [0, 1, -2, -1]].mean()


turned = ("turned, black corners", "turned, reflected corners", "baseline")
samples = {name: from_bytes(found[f"faces, {name}"][0]["samples"]) for name in turned}
viz.rows(
    "samples of three networks",
    [samples[name][:10] for name in turned],
    ["turned,\nblack corners", "turned,\nreflected", "not turned"],
    alt="Ten samples each of networks trained on pictures turned with black corners, turned with reflected edges, and not turned. Only the first have dark corners.",
)
table([f"faces, {name}" for name in turned])
for name in turned:
    print(
        f"{name:26s} brightness of the four corners {corner(samples[name]):+.2f}, of whole pictures {samples[name].mean():+.2f}"
    )

# %% [markdown]
# The reflected edge mends the corners, and leaks in another way: FD is worse than with black ones. If pictures are upright and centred, leave them so.
#
# ## 8 · PSNR and SSIM: a picture and its own reconstruction
#
# The sources reported an SSIM of 0.003 to 0.004 between samples and test pictures. What does that say? **SSIM** compares light, contrast and structure within small windows *at the same place*, and is 1 for equal
# pictures (Wang et al. 2004). Here are both measures for the network of Section 3, on drawn cats.

# %%
x = new[:200][0]
pairs = {
    "itself": x,
    "its reconstruction": latents.reconstruct(ema.model, x),
    "itself, with noise of 0.1": (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(-1, 1),
    "itself, moved by 2 pixels": x.roll(2, -1),
    "another real picture": x.roll(1, 0),
    "the mean of all pictures": x.mean(0).expand_as(x),
    "a sample": sample.one_step(ema.model, len(x)),
}
print(f"{len(x)} pictures of {new.name}, each with      PSNR       SSIM")
for name, other in pairs.items():
    print(f"{name:42s} {metrics.psnr(x, other).mean():5.1f} dB {metrics.ssim(x, other).mean():9.3f}")
print("cat faces: SSIM of a new picture with   its reconstruction   a stranger   a sample")
for name in ("faces, KL weight 100", "faces, baseline"):
    facts = found[name][1]
    print(f"{name:39s} {facts['ssim']:18.3f} {facts['ssim_strangers']:12.3f} {facts['ssim_samples']:10.3f}")

# %% [markdown]
# Both numbers compare pixel by pixel, at the same place. Two *real* cats score as low as a cat and a sample: a low number says only that these are not copies of each other. Who wins among strangers? **The average cat**: the mean of all pictures beats every real one in PSNR and SSIM, and the
# network that collapsed at weight 100 beats the one that works. A sharp stranger has edges in the wrong places; grey is never far off. PSNR and SSIM belong between a picture and *its own* reconstruction, where moving it by two pixels already costs most of the score.
#
# **Discuss:** the sources' SSIM was lower still, 0.003. Were their samples worse for it?
#
# <details><summary>Think first, then open</summary>
#
# No. Nothing follows from it but that samples and test pictures are different pictures. How low the number of strangers is depends on the pictures (backgrounds alike, or not) and their size; its control would be the SSIM of two real pictures of their set.
#
# </details>
#
# ## 9 · Moving about
#
# $z$ is a space; let us walk. Not along single numbers, whose order means nothing, but along the **principal directions** of the codes of many pictures. The network is again the one for drawn faces.

# %%
shown = named.named_set("drawn:face", size=64, split="test", n=choose(ci=48, lecture=400, full=1000)).images
directions = latents.principal(vae.model, shown)
share = directions.std.square() / directions.std.square().sum()
amounts = torch.linspace(-2.5, 2.5, 9)
walks = [latents.walk(vae.model, directions.mean, directions.std[k] * directions.axes[k], amounts) for k in range(5)]
viz.rows(
    "walks along the first five principal directions, from the mean",
    walks,
    [f"{100 * part:.0f}% of the\nvariance" for part in share[:5]],
    alt="Five rows of nine drawn cat faces. Along each row one or two things change smoothly: the colour of the room, the fur, the light.",
    name="05_walk",
    columns=[f"{a:+.1f} std" for a in amounts],
    across=len(amounts),
)

# %%
between = [latents.interpolate(vae.model, shown[0], shown[1], 9, how) for how in latents.HOW]
viz.rows(
    "from one picture to another",
    between,
    ["straight", "along the arc"],
    alt="Two rows of nine faces, from a first to a second, through plausible faces in between.",
    across=9,
)
z = latents.encode(vae.model, shown)
print(
    f"mean length of z: of {len(z)} pictures {z.norm(dim=1).mean():.1f}, of draws from N(0, I) about {z.shape[1] ** 0.5:.1f}"
)
for how in latents.HOW:
    middles = torch.cat([latents.blend(z[i], z[i + 1], [0.5], how) for i in range(0, len(z), 2)])
    print(f"half-way between two, {how}: {middles.norm(dim=1).mean():.1f}")

# %% [markdown]
# Draws from $\mathcal N(0, I)$ in $d$ dimensions have a length near $\sqrt d$, all of them: nearly all of the mass lies in a thin shell. The middle of a straight line lies inside, where there was little training; an arc
# keeps the length (White 2016). Does one see it? Hardly, here: codes are means $\mu$, shorter than draws, and both rows lead through faces, with the ghost of a second pair of ears half-way.
#
# **Arithmetic.** Encode pictures with a property and pictures without, and subtract the means: what remains is a direction for the property, here the fur.
# Of drawn cats we know more than that: the same cat with another fur can be drawn, so the right answer is known.

# %%
furs = drawn.FACTORS["cat"]["fur"]
black, ginger = furs.index("black"), furs.index("ginger")
many, few = (drawn.draw(n, "cat", 64, seed=n, view="face") for n in (choose(ci=60, lecture=400, full=1000), 90))
chosen = few.factors["fur"] == black
before, factors = few.images[chosen], {name: value[chosen] for name, value in few.factors.items()}
truth = drawn.render("cat", {**factors, "fur": torch.full_like(factors["fur"], ginger)}, 64, "face")
positive, negative = (many.images[many.factors["fur"] == fur] for fur in (ginger, black))
moved = torch.stack([latents.arithmetic(vae.model, positive, negative, one) for one in before[:20]])
unmoved, best = (latents.reconstruct(vae.model, part[:20]) for part in (before, truth))
viz.rows(
    "black cat + (ginger cats − black cats)",
    [part[:9] for part in (before, moved, best, truth)],
    ["black cats", "moved by the\ndifference of means", "the right answer,\nreconstructed", "the right answer"],
    alt="Nine black cats; moved by the difference of means they turn ginger and keep face, ears and background; below, the same cats drawn in ginger.",
    name="05_arithmetic",
    across=9,
)
for name, part in {"not moved": unmoved, "moved": moved, "the right answer, reconstructed": best}.items():
    print(f"{name:32s} PSNR to the right answer {metrics.psnr(truth[: len(part)], part).mean():.1f} dB")

# %% [markdown]
# The fur turns ginger, and face, pose and room mostly stay. In decibels that is half of the way to the best that this decoder can do. The rest are side effects: a difference of means also carries what ginger and black cats of the sample happened to differ in otherwise, and it is the same for a plain cat and for one with
# a white chest.
#
# Now walk yourself. The first explorer moves along principal directions, from a picture, the mean or a random $z$; the second goes from one picture to another.

# %%
widgets.latent_explorer(vae, shown[:40])

# %%
widgets.interpolation_explorer(vae, shown[:12])

# %% [markdown]
# ### ◆ Are they copies?
#
# The sources looked for the nearest training picture of a sample. So do we, as in notebook 03: a rough search among all 5,000 training pictures and their mirror images by thumbnails, then by the features that also serve for FD. And with two controls: how near do *new* pictures come, and how near would a
# soft copy lie, a training picture encoded and decoded?

# %%
network = metrics.features.network()
pool = named.named_set("drawn:face", size=64, n=choose(ci=24, lecture=5000, full=5000)).images
made = sample.one_step(vae.model, choose(ci=6, lecture=30, full=200))
parts = {"samples": made, "new pictures": shown[: len(made)]}
parts["training pictures, reconstructed"] = latents.reconstruct(vae.model, pool[: len(made)])
both, asked = torch.cat([pool, pool.flip(-1)]), torch.cat(list(parts.values()))
thumbs = [torch.nn.functional.avg_pool2d(x, 8).flatten(1) for x in (asked, both)]
near = both[metrics.nearest(*thumbs, k=choose(ci=1, lecture=4, full=20))[1].unique()]
distance, which = metrics.nearest(*(metrics.features.extract(x, network) for x in (asked, near)))
for name, d in zip(parts, distance.flatten().split(len(made)), strict=True):
    print(f"{name:34s} distance to the nearest training picture: median {d.median():.2f}, smallest {d.min():.2f}")
viz.rows(
    "samples, and the nearest training picture of each",
    [made[:9], near[which.flatten()[:9]]],
    ["sample", "nearest"],
    alt="Nine sampled drawn faces and below each the training picture most like it: alike in colour, different in pose and expression.",
    across=9,
)

# %% [markdown]
# No copies: samples lie farther from every training picture than a soft copy would. That is no praise: new pictures come much nearer, while a broken face is near to nothing. Distances to the training set say something only beside the quality of what was drawn.
#
# ## 10 · Diffusion, but of codes
#
# The sources wished for this, and it is how many large image generators work (Rombach et al. 2022). Two steps:
#
# 1. A VAE whose code is a *map*, here $8 \times 8$ places with 8 numbers each instead of $64 \times 64$ with 3, and a KL weight of only 0.001. It need not make samples: it may put its codes where it likes, as long as
#    reconstructions are sharp.
# 2. A diffusion model that learns where the codes *are*. Each channel of the codes is scaled to unit variance first. 24 times fewer numbers than pixels, so a small and fast network suffices. Its samples are decoded at the end, once.
#
# (Rombach et al. also train their VAE with a perceptual and an adversarial loss, against the blur. Ours has the squared error alone.)
#
# **Predict:** both were trained on cat faces, for as many minutes in all as a diffusion model of pixels. Which draws better faces, and which faster?

# %%
coder, ldm, pixels = (checkpoints.load(name) for name in ("vae-faces64-spatial", "ldm-faces64", "faces64"))
how = {"sampler": "dpm_solver_pp", "steps": choose(ci=2, lecture=25, full=25), "spacing": "lambda"}
n, made, rates = choose(ci=4, lecture=20, full=40), {}, {}
for c in (checkpoints.load("vae-faces64"), ldm, pixels):
    began = time.perf_counter()
    made[c.name] = sample.images(c.model, c.schedule, n, **(how if c.schedule else {}))
    rates[c.name] = n / (time.perf_counter() - began)
alike, random = found["pixels"], sample.one_step(coder.model, 10)
viz.rows(
    "samples of cat faces: nobody's cats",
    [
        part[:10]
        for part in (made["vae-faces64"], random, made[ldm.name], from_bytes(alike[0]["samples"]), made[pixels.name])
    ],
    [
        "VAE",
        "map, codes\nfrom N(0, I)",
        "map, diffusion\nof codes",
        "diffusion of pixels,\nas many minutes",
        "diffusion of pixels,\nthe shipped network",
    ],
    alt="Ten cat faces each by a VAE, soft; by a VAE with a map, from random codes, noise without a face; by diffusion of codes; by diffusion of pixels trained as long; and by the shipped diffusion model.",
    name="05_latent",
)

# %%
cards = checkpoints.names()
rows = {name: (cards[name]["minutes"], rate, cards[name]["scores"]) for name, rate in rates.items()}
rows[ldm.name] = (ldm.card["minutes"] + coder.card["minutes"], *rows[ldm.name][1:])
rows["pixels, as many minutes"] = (alike[1]["minutes"], rates[pixels.name], alike[1]["scores"])
floor = cards[pixels.name]["scores"]["floor"]["fd"]
print(
    f"cat faces, 64 px; floor FD {floor:.1f}    training minutes    pictures/s here     FD of samples   precision   recall"
)
for name, (spent, rate, scores) in rows.items():
    text = f"{name:35s} {spent:15.0f} {rate:16.1f} {scores['fd']:16.0f} ({scores['fd'] / floor:.1f} ×)"
    print(f"{text} {scores['precision']:9.2f} {scores['recall']:10.2f}")
for name in (coder.name, "vae-faces64"):
    own = cards[name]["scores"]["reconstructions"]
    print(f"{name}: new faces reconstructed, FD {own['fd']:.0f}, PSNR {own['psnr']:.1f} dB, SSIM {own['ssim']:.2f}")
print(f"latent diffusion: {coder.card['minutes']:.0f} minutes for the VAE, {ldm.card['minutes']:.0f} for the denoiser")

# %% [markdown]
# *Look for:* the second row. As a generator this VAE is worthless: its codes are nowhere near $\mathcal N(0, I)$. As a *language for faces* it is good, and diffusion learns to speak it.
#
# - **Quality:** after equal minutes, those of its VAE included, diffusion of codes scores better than diffusion of pixels, and far better than the VAE for which random codes had to work. (That one differs in more than the map: its codes are dearer and it trained for a shorter time.)
# - **Speed:** more than three times as many pictures per second, at the same number of steps.
# - **The ceiling:** reconstructions are as good as its samples can get. More minutes would help the pixels, which have no such ceiling: the shipped network, which took 2.7 times as long (more than half of that as a network for CIFAR-10 cats), is ahead. A larger VAE, or one with a sharper loss, lifts the ceiling.
# - **Variety:** recall stays low for all of them.
#
# ### Does the loss tell how good the samples are?
#
# The sources found that the loss of their diffusion model fell without the samples getting better. The run in pixels, looked at four times:

# %%
print("step    pictures seen    loss      FD of 500 samples")
for step, loss, fd in alike[0]["curve"].tolist():
    print(f"{step:5.0f} {step * study.PIXELS.batch_size:13,.0f} {loss:11.4f} {fd:12.0f} ({fd / floor:.1f} ×)")

# %% [markdown]
# Here both fall together. They need not: the loss is a mean over all levels of noise, which need not weigh them as the eye does. It is also that of the weights as they are, while FD is of their average, and the learning rate falls on the way.
#
# ## What the sources said, and what we measured


# %%
def fd(name, part="scores"):
    return f"{found[f'faces, {name}'][1][part]['fd']:.0f}"


def error(name):
    return found[f"faces, {name}"][0]["curve"][:, 3]


def rate(name):
    return found[f"faces, {name}"][0]["curve"][-1, 4].item()


looks = alike[0]["curve"]
answers = {
    "With a KL weight of 1 every sample is the average cat": f"Not at our 1, where {rate('KL weight 1'):.0f} nats are left (we take sums). At 100, with {rate('KL weight 100'):.2f} nats, yes.",
    "0.02 is right": f"For reconstructions. FD of samples is {fd('baseline')} at 0.02 and {fd('KL weight 0.3')} at 0.3.",
    "Fewer numbers in z look more average": f"With 4, yes. FD of samples with 4, 16, 64, 256: {fd('latent 4')}, {fd('latent 16')}, {fd('baseline')}, {fd('latent 256')}.",
    "Runs without weight decay collapse": f"Not ours: {rate('no weight decay'):.0f} nats without, {rate('baseline'):.0f} with 0.0001, {rate('weight decay 0.1'):.0f} with 0.1.",
    "Training on and on over-fits": f"On 300 pictures, error on new ones: {error('300 pictures').min():.0f} at best, {error('300 pictures')[-1]:.0f} at last.",
    "Mirrored, moved and turned pictures mend it": f"Error on new ones: {error('not mirrored')[-1]:.1f} not mirrored, {error('baseline')[-1]:.1f} mirrored; on 300 turned and shifted {error('300 pictures, turned and shifted')[-1]:.0f}.",
    "And yet samples score worse": f"So do ours. FD of samples: {fd('baseline')}; shifted {fd('shifted')}, turned {fd('turned, reflected corners')} (reflected) and {fd('turned, black corners')} (black).",
    "Turned pictures leave black corners": f"Yes: brightness {corner(samples['turned, black corners']):+.2f}; reflected {corner(samples['turned, reflected corners']):+.2f}.",
    "SSIM between samples and test pictures is 0.003": f"Ours is {found['faces, baseline'][1]['ssim_samples']:.3f}; that of two real cats {found['faces, baseline'][1]['ssim_strangers']:.3f}.",
    "A VAE blurs": f"Yes. The highest recall of samples of any network above is {max(facts['scores']['recall'] for name, (_, facts) in found.items() if name in study.VARIANTS):.2f}.",
    "A falling diffusion loss does not show in the samples": f"From the second look to the last: loss {looks[-1, 1] / looks[1, 1] - 1:+.0%}, FD {looks[-1, 2] / looks[1, 2] - 1:+.0%}.",
}
for claim, answer in answers.items():
    print(f"{claim}?\n    {answer}")

# %% [markdown]
# Their scores were 126.9 for the first run and 243.3 for the second, with another network, other pictures and no floor: ours do not compare with them. The paradox does: their second run no longer over-fitted, and its samples scored twice as badly. GANs, sharp and hard to train, follow in notebook 06.
#
# ## Summary
#
# - A VAE maximises a bound on $\log p(x)$; what it misses is how far the encoder's Gaussian is from the true answer.
# - $z = \mu + \sigma\epsilon$ turns chance into an input. That makes the gradient quiet enough to learn from one draw.
# - The KL weight is the variance of the decoder's noise, and the price of a nat. It trades what a code tells against how well random codes decode; the best bound does not give the best samples.
# - A mean of possible answers is blurred. That is the price of drawing in one step with a squared error.
# - Watch the KL of *each* number, and the loss on new pictures.
# - PSNR and SSIM compare a picture with its own reconstruction. Between strangers they say nothing.
# - Let a VAE make the codes and diffusion the samples, and each does what it is good at.
#
# ## Exercises
#
# Five functions from which a VAE is made. The checks work as before: they call yours on several inputs, compare it with the course's own, and try to name what went wrong.

# %% [markdown]
# ### Exercise 1 ★☆☆ (3 minutes): a draw that lets gradients through
#
# Write `reparametrise(mu, logvar, eps)`: $z = \mu + \sigma \epsilon$ (Section 2). All three have one shape, `eps` is standard normal, and `logvar` holds $\log \sigma^2$.
#
# <details><summary>Hint 1: where to begin</summary>
#
# How do you get from $\log \sigma^2$ to $\sigma$? For $\log \sigma^2 = \log 9$ it has to be 3.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `.exp()`, and a rule for logarithms of powers that saves you a root.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "reparametrise", "locked": false, "schema_version": 3, "solution": true, "task": false}
def reparametrise(mu, logvar, eps):
    """A draw from N(mu, sigma^2). mu, logvar = log sigma^2, eps ~ N(0, 1): one shape. Returns that shape."""
    ### BEGIN SOLUTION
    return mu + (logvar / 2).exp() * eps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "reparametrise_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.reparametrise(reparametrise)

# %% [markdown]
# ### Exercise 2 ★☆☆ (10 minutes): the price of a code
#
# Write `kl_divergence(mu, logvar)`, the price in Section 3: $\mathrm{KL}(\mathcal N(\mu, \sigma^2) \,\Vert\, \mathcal N(0, I))$ for each picture, summed over the numbers of its code. Both arguments have shape `(B, D)`,
# the answer has `(B,)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# First the price of every single number, in the shape of `mu`. It is 0 where $\mu = 0$ and $\sigma = 1$, and never negative.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# $\sigma^2$ is `logvar.exp()`, and $\log \sigma^2$ is there already. `.sum(dim=1)` keeps the pictures apart.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "kl_divergence", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kl_divergence(mu, logvar):
    """KL from N(mu, sigma^2) to N(0, 1), summed over D. mu, logvar = log sigma^2: (B, D). Returns (B,), in nats."""
    ### BEGIN SOLUTION
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "kl_divergence_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.kl_divergence(kl_divergence)

# %% [markdown]
# ### Exercise 3 ★★☆ (15 minutes): how likely is this picture?
#
# The decoder says $p(x \mid z) = \mathcal N(\hat x, \sigma^2 I)$. Write `log_likelihood(x, x_hat, sigma)`: the logarithm of that density, for each picture, with all its constants. `x` and `x_hat` have shape `(B, ...)`: pictures
# `(B, C, H, W)`, or points `(B, 2)`. `sigma` is a number, the answer has shape `(B,)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Write $\log \mathcal N(x; \hat x, \sigma^2)$ for a single pixel first. Pixels are independent given $z$: what becomes of a product under a logarithm?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `math.log` for numbers; `.flatten(1).sum(1)` adds over all axes but the first, however many there are. The constant counts once for every number in a picture.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "log_likelihood", "locked": false, "schema_version": 3, "solution": true, "task": false}
def log_likelihood(x, x_hat, sigma):
    """log N(x; x_hat, sigma^2 I) for each picture. x, x_hat: (B, ...); sigma: float. Returns (B,), in nats."""
    ### BEGIN SOLUTION
    each = -0.5 * ((x - x_hat) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return each.flatten(1).sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "log_likelihood_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.log_likelihood(log_likelihood)

# %% [markdown]
# ### Exercise 4 ★★☆ (10 minutes): the loss
#
# Write `vae_loss(x, x_hat, mu, logvar, weight)`: for each picture *half* the squared error, summed over its pixels and channels, plus `weight` times the KL, summed over its code; then the mean over the pictures: one number.
# Shapes as above.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Two vectors of shape `(B,)`, one for each term. Which of them gets the weight?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `kl_divergence` is yours to use. For the error, `log_likelihood` with $\sigma = 1$ would do but for a constant and a sign.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "vae_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def vae_loss(x, x_hat, mu, logvar, weight):
    """Mean loss of a batch. x, x_hat: (B, ...); mu, logvar: (B, D); weight: float, of the KL. Returns a number."""
    ### BEGIN SOLUTION
    error = 0.5 * ((x - x_hat) ** 2).flatten(1).sum(1)
    price = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)
    return (error + weight * price).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "vae_loss_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.vae_loss(vae_loss)

# %% [markdown]
# ### Exercise 5 ★★☆ (15 minutes): a tighter bound
#
# With $K$ draws $z_1, \dots, z_K \sim q(z \mid x)$ the gap of Section 1 never grows with $K$, and mostly shrinks (Burda et al. 2016, Eq. 8 and Theorem 1):
#
# $$\log p(x) \ge \mathbb E \Big[ \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)} \Big] .$$
#
# Write `importance_bound(log_p, log_q)`, the bracket for each picture. `log_p` holds $\log p(x, z_k)$ and `log_q` holds $\log q(z_k \mid x)$, both of shape `(B, K)`; the answer has shape `(B,)`. Logarithms of about -1,000 are usual
# for pictures, and `exp(-1000)` is 0 to a computer.
#
# <details><summary>Hint 1: where to begin</summary>
#
# The logarithm of a ratio is a difference. What has to come out if all $K$ draws weigh the same?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.logsumexp(w, dim=1)` is $\log \sum_k e^{w_k}$, without ever leaving the range of numbers. A factor $1/K$ inside a logarithm is a term outside.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "importance_bound", "locked": false, "schema_version": 3, "solution": true, "task": false}
def importance_bound(log_p, log_q):
    """log of the mean of p/q over K draws. log_p, log_q: (B, K), logarithms. Returns (B,), in nats."""
    ### BEGIN SOLUTION
    w = log_p - log_q
    return torch.logsumexp(w, dim=1) - math.log(w.shape[1])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "importance_bound_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.importance_bound(importance_bound)

# %% [markdown]
# ## References
#
# - A. Alemi et al. (2018). *Fixing a broken ELBO.* ICML: rate and distortion (Section 4).
# - S. Bowman et al. (2016). *Generating sentences from a continuous space.* CoNLL: warming up the KL weight (Section 5).
# - Y. Burda, R. Grosse, R. Salakhutdinov (2016). *Importance weighted autoencoders.* ICLR (Exercise 5).
# - P. Ghosh et al. (2020). *From variational to deterministic autoencoders.* ICLR: a density fitted to the codes (Section 4).
# - I. Higgins et al. (2017). *beta-VAE: Learning basic visual concepts with a constrained variational framework.* ICLR: the KL weight (Section 4).
# - T. Karras et al. (2020). *Training generative adversarial networks with limited data.* NeurIPS: augmentations that leak (Section 7).
# - D. Kingma, M. Welling (2014). *Auto-encoding variational Bayes.* ICLR (Sections 1 to 3), and, at the same time, D. Rezende, S. Mohamed, D. Wierstra (2014). *Stochastic backpropagation and approximate inference in deep generative models.* ICML.
# - D. Kingma et al. (2016). *Improved variational inference with inverse autoregressive flow.* NeurIPS: free bits (Section 5).
# - A. Larsen et al. (2016). *Autoencoding beyond pixels using a learned similarity metric.* ICML: arithmetic (Section 9).
# - I. Loshchilov, F. Hutter (2019). *Decoupled weight decay regularization.* ICLR (Section 6).
# - J. Lucas et al. (2019). *Don't blame the ELBO! A linear VAE perspective on posterior collapse.* NeurIPS (Section 5).
# - R. Rombach et al. (2022). *High-resolution image synthesis with latent diffusion models.* CVPR (Section 10).
# - O. Rybkin, K. Daniilidis, S. Levine (2021). *Simple and effective VAE training with calibrated decoders.* ICML (Section 4).
# - L. Theis, A. van den Oord, M. Bethge (2016). *A note on the evaluation of generative models.* ICLR (Section 4).
# - Z. Wang et al. (2004). *Image quality assessment: from error visibility to structural similarity.* IEEE Transactions on Image Processing 13 (Section 8).
# - T. White (2016). *Sampling generative networks.* arXiv:1609.04468: spherical interpolation (Section 9).
