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
# # 02 · From a chain of Gaussians to one squared error
#
# ![Three humps of a density on the left melt, from left to right, into a single broad bell; a few jagged random walks run across.](../report_imgs/02_chain.png)
#
# Notebook 01 asked a network *"which part of this is noise?"*, and a dinosaur came out. Why that question, and
# why does answering it make data *likely*?
#
# The authors whose project this course grew out of named this as the hardest part of all: how a bound on a likelihood
# turns into a plain squared error. Here nothing is waved away. Each piece of algebra is followed by a cell that computes
# both sides of it, and fails if they differ.
#
# **You will be able to**
# 1. derive $q(x_t \mid x_0)$ and $q(x_{t-1} \mid x_t, x_0)$ on an empty sheet of paper;
# 2. say where the variational bound gives something away, how much, and why it conditions on $x_0$;
# 3. turn each of its terms into a weighted squared error of the noise, and name the weight;
# 4. say what $L_\text{simple}$ leaves out, which timesteps gain by it, and what that costs;
# 5. translate nats into bits per dimension, and predicted noise into a score.
#
# **Before you start:** Sections 2 to 4 and 6 of notebook 01, the density of a Gaussian, expectations, Bayes' rule.
# **Run time:** about half a minute on one CPU core; nothing is trained. **As a lecture:** Sections 1 to 6, the first table of
# Section 7, the weights of Section 8, the formula of Section 9 and the first half of Section 10 should take 60 to 75 minutes, all of it
# about 100 (an estimate). Parts marked ◆ may be skipped.

# %%
import math

import torch

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # both sides of an equation should agree to many digits

from course_utils import bound, checks, diffusion, schedules, viz, widgets
from course_utils.data import toy
from course_utils.ideal import IdealDenoiser
from course_utils.presets import choose

generator = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=generator)


# %% [markdown]
# ## 1 · A world small enough to compute everything
#
# Our data is **one pixel**: its grey value $x_0$, from $-1$ (black) to $1$ (white). It is dark, middling or bright, the
# last twice as often as each of the others: a mixture of Gaussians. In one dimension every integral below can be done
# on a grid, so nothing needs to be believed, and the perfect denoiser is known (Exercise 5 of notebook 01).


# %%
centres, std = torch.tensor([[-0.6], [0.05], [0.55], [0.55]]), 0.08  # "bright" is listed twice: twice as common
schedule = schedules.linear(T=100, dtype=torch.float64)
T, beta, alpha, alpha_bar = schedule.T, schedule.beta, schedule.alpha, schedule.alpha_bar
perfect = IdealDenoiser(centres, schedule, std)


def log_normal(x, mean, variance):
    return -((x - mean) ** 2) / (2 * variance) - torch.as_tensor(2 * math.pi * variance).log() / 2


def log_q(x, t, schedule=schedule):  # the true log density of x_t, for a column of places x
    a, s = schedule.alpha_bar[t], schedule.sigma[t]
    return torch.logsumexp(log_normal(x, a.sqrt() * centres.T, s**2 + a * std**2), dim=1) - math.log(len(centres))


# %%
grid = torch.linspace(-5, 5, 501)[:, None]  # the places over which we integrate
dx = (grid[1] - grid[0]).item()
q = torch.stack([log_q(grid, t).exp() for t in range(T + 1)])  # q[t] is the density of x_t
assert (q.sum(dim=1) * dx - 1).abs().max() < 1e-5  # so little lies beyond the ends

walk = [centres[[0, 0, 1, 1, 2, 3]]]
for t in range(1, T + 1):
    walk.append(alpha[t].sqrt() * walk[-1] + beta[t].sqrt() * randn(6, 1))  # Ho et al. 2020, Eq. 2

figure, panels = viz.axes(1, 3, (3.9, 4.0), width_ratios=[0.2, 1, 0.2], sharey=True)
left, middle, right = panels[0]
left.fill_betweenx(grid[:, 0], q[0], color=viz.SKY)
middle.pcolormesh(torch.arange(T + 1), grid[:, 0], (q / q.amax(dim=1, keepdim=True)).T, cmap="Blues", vmax=1.4)
middle.plot(torch.stack(walk)[:, :, 0], color=viz.ORANGE, linewidth=1.1)
right.fill_betweenx(grid[:, 0], q[T], color=viz.SKY)
right.plot(log_normal(grid, 0.0, 1.0).exp(), grid, color=viz.INK, linestyle="--")
for ax, title in ((left, "$q(x_0)$"), (middle, "$q(x_t)$, scaled for each t, and six walks"), (right, "$q(x_T)$")):
    ax.set(title=title, ylim=(-2.6, 2.6), xticks=[] if ax is not middle else [0, 25, 50, 75, 100])
middle.set_xlabel("t")
viz.show(
    figure,
    alt="The density of the pixel over time: three humps at t = 0 blur and merge into one bell by t = 60; six jagged "
    "walks run through it. The last density coincides with the dashed standard normal.",
    name="02_chain",
    photo=True,
)

# %% [markdown]
# *Look for:* the dashed bell on the right is $\mathcal N(0, 1)$. The chain forgets where it came from, and that is why
# sampling may start from pure noise. Everything is shown for one pixel; with more, squares of numbers become squared
# lengths of vectors, and nothing else changes.
#
# ## 2 · Many small steps are one large step
#
# One step is $x_t = \sqrt{\alpha_t}\, x_{t-1} + \sqrt{\beta_t}\, \epsilon_t$ with $\alpha_t = 1 - \beta_t$ (Ho et al. 2020, Eq. 2).
# **Claim** (their Eq. 4): $q(x_t \mid x_0) = \mathcal N(\sqrt{\bar\alpha_t}\, x_0,\; 1 - \bar\alpha_t)$, with
# $\bar\alpha_t = \alpha_1 \cdots \alpha_t$.
#
# *Proof by induction.* For $t = 1$ it is the step itself. Suppose it holds for $t - 1$, so that
# $x_{t-1} = \sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, \epsilon'$. Put this into the step:
#
# $$x_t = \underbrace{\sqrt{\alpha_t \bar\alpha_{t-1}}}_{\sqrt{\bar\alpha_t}}\, x_0
# + \sqrt{\alpha_t (1 - \bar\alpha_{t-1})}\; \epsilon' + \sqrt{\beta_t}\; \epsilon_t .$$
#
# The two noises are independent Gaussians, so their sum is Gaussian and their **variances** add up (not their
# standard deviations, the usual slip): $\alpha_t (1 - \bar\alpha_{t-1}) + (1 - \alpha_t) = 1 - \alpha_t \bar\alpha_{t-1} = 1 - \bar\alpha_t$. ∎
#
# Two checks. The recursion in the proof must give $\bar\alpha_t$; and pushing the whole density through one step after
# the other, on the grid, must give the density that the claim predicts.

# %%
signal, variance, density, worst = torch.ones(()), torch.zeros(()), q[0], 0.0
for t in range(1, T + 1):
    signal, variance = alpha[t].sqrt() * signal, alpha[t] * variance + beta[t]
    assert torch.isclose(signal, alpha_bar[t].sqrt(), rtol=1e-10)
    assert torch.isclose(variance, 1 - alpha_bar[t], rtol=1e-10)
    step = log_normal(grid, alpha[t].sqrt() * grid.T, beta[t]).exp()  # row: x_t, column: x_{t-1}
    density = step @ density * dx
    worst = max(worst, (density - q[t]).abs().max().item())
print(f"largest difference between steps on the grid and the closed form: {worst:.1e}")
assert worst < 1e-5  # and that only at the ends of the grid

# %% [markdown]
# ## 3 · The way back, if you are told where you came from
#
# Going back from $x_t$ to $x_{t-1}$ is hard if $x_0$ is unknown. If somebody *tells* us $x_0$, it is Bayes' rule on two
# Gaussians. Two witnesses speak about $x_{t-1}$: the start, $q(x_{t-1} \mid x_0)$ from Section 2, and the
# present, $q(x_t \mid x_{t-1})$:
#
# $$q(x_{t-1} \mid x_t, x_0) \;\propto\; q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0) \;\propto\;
# \exp\!\left( -\frac{(x_t - \sqrt{\alpha_t}\, x_{t-1})^2}{2 \beta_t}
# - \frac{(x_{t-1} - \sqrt{\bar\alpha_{t-1}}\, x_0)^2}{2 (1 - \bar\alpha_{t-1})} \right).$$
#
# The exponent is quadratic in $x_{t-1}$, so this is a Gaussian. **Complete the square:** in
# $-\frac12 \left( A\, x_{t-1}^2 - 2 B\, x_{t-1} + \dots \right)$ the precision is $A$ and the mean is $B / A$. Collect:
#
# $$A = \frac{\alpha_t}{\beta_t} + \frac{1}{1 - \bar\alpha_{t-1}}, \qquad
# B = \frac{\sqrt{\alpha_t}}{\beta_t}\, x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1 - \bar\alpha_{t-1}}\, x_0 .$$
#
# Precisions add. Over a common denominator the numerator of $A$ is the sum from Section 2 once more,
# $\alpha_t (1 - \bar\alpha_{t-1}) + \beta_t = 1 - \bar\alpha_t$. So (Ho et al. 2020, Eqs. 6 and 7)
#
# $$\tilde\beta_t = \frac1A = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t, \qquad
# \tilde\mu_t(x_t, x_0) = \frac BA = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0
# + \frac{\sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t .$$
#
# **Predict:** early in the chain, and late, which of the two witnesses is believed?


# %%
def witnesses(t, x_t, x_0, places):
    """Both factors as functions of x_{t-1} at evenly spaced places, and their product; each integrates to 1."""
    start = log_normal(places, alpha_bar[t - 1].sqrt() * x_0, 1 - alpha_bar[t - 1]).exp()
    present = log_normal(x_t, alpha[t].sqrt() * places, beta[t]).exp()
    return [curve / (curve.sum() * (places[1] - places[0])) for curve in (start, present, start * present)]


looks = ((viz.SKY, 2.5, "the start"), (viz.ORANGE, 2.5, "the present"), (viz.INK, 3.5, "both"))
figure, panels = viz.axes(1, 3, (4.2, 3.3))
for ax, t, x_t, half in zip(panels[0], (3, 25, 90), (0.47, 0.1, -0.5), (0.25, 1.5, 2.5), strict=True):
    places = torch.linspace(0.5 - half, 0.5 + half, 400)
    for curve, (colour, width, label) in zip(witnesses(t, x_t, 0.55, places), looks, strict=True):
        ax.plot(places, curve, color=colour, label=label, linewidth=width)
    ax.set(title=f"t = {t}", xlabel="$x_{t-1}$", yticks=[], ylim=(0, 1.25 * curve.max()))
panels[0, 0].legend(loc="upper left", fontsize=13, handlelength=1.2)
viz.show(
    figure,
    alt="Three panels. At t = 3 the start is about as sharp as the present and the product lies between; at t = 25 and "
    "90 the start is a broad bell, and the product nearly coincides with the present.",
    name="02_posterior",
)

# %% [markdown]
# *Look for:* only in the first few steps does the start have much to say. From then on the posterior sits almost on top of the
# present, with $\tilde\beta_t \approx \beta_t$. Keep the left panel in mind: it will be expensive in Section 7.
#
# Now the moments of that black curve against the formulas, for all $t$. (At $t = 1$ the start is a spike: $\tilde\beta_1 = 0$.)

# %%
for t in range(2, T + 1):
    x_t, x_0 = randn(2) * 0.7
    curve = witnesses(t, x_t, x_0, grid[:, 0])[2] * dx
    mean = curve @ grid[:, 0]
    spread = curve @ (grid[:, 0] - mean) ** 2
    predicted = diffusion.posterior_mean(x_t.view(1, 1), torch.tensor([t]), x_0.view(1, 1), schedule)
    assert torch.isclose(mean, predicted.squeeze(), atol=1e-6), t
    formula = (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t]) * beta[t]
    assert torch.allclose(torch.stack([spread, schedule.beta_tilde[t]]), formula, rtol=1e-4), t
print(
    f"beta_tilde / beta is {schedule.beta_tilde[2] / beta[2]:.3f} at t = 2, {schedule.beta_tilde[T] / beta[T]:.3f} at T"
)

# %% [markdown]
# ## 4 · What we want, and the price of getting it
#
# The model walks the chain backwards from $p(x_T) = \mathcal N(0, I)$ (Ho et al. 2020, Eq. 1):
#
# $$p_\theta(x_{0:T}) = p(x_T) \prod_{t=1}^{T} p_\theta(x_{t-1} \mid x_t), \qquad
# p_\theta(x_{t-1} \mid x_t) = \mathcal N\big( \mu_\theta(x_t, t),\; \sigma_t^2 I \big).$$
#
# (This $\sigma_t$ is the paper's: the deviation of *one step back*. It is not `schedule.sigma`, the noise level of $x_t$.)
#
# We want the data to be likely, $\log p_\theta(x_0)$ large. But $p_\theta(x_0)$ is an integral over all $x_1 \dots x_T$. For one pixel
# we can do it, one time after the other:


# %%
def step_back(model, x_t, t, schedule=schedule, variance="beta"):
    """Mean and variance of p_theta(x_{t-1} | x_t). The mean is Eq. 7 at the network's guess of x_0; Section 6 says why."""
    times = torch.full((len(x_t),), t)
    x0_hat = diffusion.predict(model, x_t, times, schedule).x0_hat
    sigma2 = getattr(schedule, variance)[t] if t > 1 else schedule.beta[1]
    return diffusion.posterior_mean(x_t, times, x0_hat, schedule), sigma2


def log_p(model, x_0, schedule=schedule, variance="beta"):
    """The exact log p_theta(x_0) at a column of places: T integrals on the grid."""
    density = log_normal(grid, 0.0, 1.0).exp()
    for t in range(schedule.T, 0, -1):
        mean, sigma2 = step_back(model, grid, t, schedule, variance)
        density = log_normal(grid if t > 1 else x_0, mean.T, sigma2).exp() @ density * dx
    return density[:, 0].log()


# %% [markdown]
# For a picture of 3,072 numbers this is out of the question. So take walks from the *forward* process, which we can
# draw, and reweight them (importance sampling; so do Sohl-Dickstein et al. 2015, section 2.3):
#
# $$\log p_\theta(x_0) = \log\, \mathbb E_{q(x_{1:T} \mid x_0)}\!\left[ \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)} \right]
# \;\ge\; \mathbb E_{q(x_{1:T} \mid x_0)}\!\left[ \log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)} \right] =: -L(x_0).$$
#
# The inequality is **Jensen's**: the logarithm is concave, so the mean of logs lies below the log of the mean. This is the only
# place in the whole derivation where anything is given away. $L$ is the bound of Ho et al. 2020, Eq. 3.
#
# **Predict:** we draw the log ratio for many walks, with the perfect denoiser. What should its spread be for the bound to be tight?

# %%
n = choose(ci=1000, lecture=5000, full=100_000)
x = [torch.full((n, 1), 0.55)]
for t in range(1, T + 1):
    x.append(diffusion.q_step(x[-1], torch.full((n,), t), randn(n, 1), schedule))

log_ratio = log_normal(x[T], 0.0, 1.0)
for t in range(1, T + 1):
    log_ratio += log_normal(x[t - 1], *step_back(perfect, x[t], t))
    log_ratio -= log_normal(x[t], alpha[t].sqrt() * x[t - 1], beta[t])

# %%
exact = log_p(perfect, x[0][:1]).item()
log_of_mean = (torch.logsumexp(log_ratio, 0) - math.log(n)).item()
mean_of_logs, error = log_ratio.mean().item(), log_ratio.std().item() / n**0.5
print(f"log of the mean {log_of_mean:.3f}, exact log p {exact:.3f}; mean of the logs {mean_of_logs:.3f} ± {error:.3f}")
assert abs(log_of_mean - exact) < choose(ci=0.1, lecture=0.05, full=0.02) and mean_of_logs + 3 * error < exact

figure, panels = viz.axes(1, 1, (9, 3.4))
panels[0, 0].hist(log_ratio[:, 0], bins=60, color=viz.SKY)
panels[0, 0].axvline(mean_of_logs, color=viz.ORANGE, linewidth=3, label="mean of the logs, $-L$")
panels[0, 0].axvline(exact, color=viz.INK, linewidth=3, label=r"log of the mean, $\log\,p_\theta(x_0)$")
panels[0, 0].set(xlabel="log ratio of one walk", yticks=[], xlim=(-1, 3))
panels[0, 0].legend(loc="upper right", fontsize=13)
viz.show(
    figure,
    alt=f"Histogram of log ratios, from -0.5 to 2.5: the mean {mean_of_logs:.2f} lies left of the exact log p {exact:.2f}.",
    name="02_jensen",
)

# %% [markdown]
# *Look for:* the distance between the lines. It vanishes if and only if all walks agree; for a narrow histogram it is about half
# the variance of the log ratio. It has a name: for two densities the **Kullback–Leibler divergence** is
# $D_\text{KL}(q \,\Vert\, p) = \mathbb E_q \log (q / p)$, never negative, and 0 only if they agree. The distance is
# $D_\text{KL}\big( q(x_{1:T} \mid x_0) \,\Vert\, p_\theta(x_{1:T} \mid x_0) \big)$: how differently
# the model would tell the history of this $x_0$.
#
# ## 5 · Turning the chain round, and why $x_0$ appears
#
# Write out the ratio: $p(x_T) \prod_t p_\theta(x_{t-1} \mid x_t) \big/ \prod_t q(x_t \mid x_{t-1})$. Above, the factors run
# backwards; below, they run forwards. The two densities of one $t$ are densities of *different variables*, so they cannot be compared. Turn
# the lower ones round with Bayes' rule:
#
# $$q(x_t \mid x_{t-1}) = \frac{q(x_{t-1} \mid x_t)\; q(x_t)}{q(x_{t-1})} \quad \text{?}$$
#
# True, and useless: $q(x_t)$ is the density of noised data, and if we knew that, we would be done. The trick is to
# condition on what the training loop has in its hands anyway. The chain is Markov: given $x_{t-1}$, the past does not matter,
# and **$x_0$ may be added for free**. Then Bayes:
#
# $$q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = \frac{q(x_{t-1} \mid x_t, x_0)\; q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} .$$
#
# Now all three are Gaussians from Sections 2 and 3. Multiply over $t = 2 \dots T$: the last two factors telescope to
# $q(x_T \mid x_0) / q(x_1 \mid x_0)$, whose denominator cancels against the step $t = 1$. What is left is
#
# $$\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)} = \frac{p(x_T)}{q(x_T \mid x_0)}
# \;\prod_{t=2}^{T} \frac{p_\theta(x_{t-1} \mid x_t)}{q(x_{t-1} \mid x_t, x_0)} \;\cdot\; p_\theta(x_0 \mid x_1) .$$
#
# No expectation was needed, so the two sides must agree for **every single walk**:

# %%
times = [torch.full((n,), t) for t in range(T + 1)]
regrouped = log_normal(x[T], 0.0, 1.0) - log_normal(x[T], alpha_bar[T].sqrt() * x[0], 1 - alpha_bar[T])
for t in range(2, T + 1):
    mean = diffusion.posterior_mean(x[t], times[t], x[0], schedule)
    regrouped += log_normal(x[t - 1], *step_back(perfect, x[t], t))
    regrouped -= log_normal(x[t - 1], mean, schedule.beta_tilde[t])
regrouped += log_normal(x[0], *step_back(perfect, x[1], 1))
print(f"largest difference over {n} walks: {(regrouped - log_ratio).abs().max():.1e}")
assert (regrouped - log_ratio).abs().max() < 1e-8

# %% [markdown]
# Take minus the logarithm and the expectation. In the factor of $t$, average over $x_{t-1}$ first, with $x_t$ and $x_0$
# fixed: an average of $\log q / p$ under $q$ is a **divergence**. So (Ho et al. 2020, Eq. 5; step by step in their appendix A)
#
# $$L = \mathbb E_q \Big[ \underbrace{D_\text{KL}\big( q(x_T \mid x_0) \,\Vert\, p(x_T) \big)}_{L_T}
# + \sum_{t=2}^{T} \underbrace{D_\text{KL}\big( q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta(x_{t-1} \mid x_t) \big)}_{L_{t-1}}
# \;\underbrace{-\, \log p_\theta(x_0 \mid x_1)}_{L_0} \Big] .$$
#
# $L_T$ has nothing to learn: it asks whether the chain ends in noise. $L_0$ turns the last step into data (Section 9). The rest
# is $T - 1$ times the same question: *does the model step back like somebody who knows $x_0$?*
#
# ### Two Gaussians, one divergence
#
# Each KL is between Gaussians. Average $\log \mathcal N(x; \mu_1, v_1) - \log \mathcal N(x; \mu_2, v_2)$ over
# $x \sim \mathcal N(\mu_1, v_1)$, using $\mathbb E (x - \mu_1)^2 = v_1$ and $\mathbb E (x - \mu_2)^2 = v_1 + (\mu_1 - \mu_2)^2$:
#
# $$D_\text{KL} = \frac12 \left( \log \frac{v_2}{v_1} + \frac{v_1 + (\mu_1 - \mu_2)^2}{v_2} - 1 \right).$$
#
# For vectors, add up over the coordinates. In code it is `bound.gaussian_kl`; writing it is Exercise 1. Here it meets the integral on
# the grid:

# %%
for m_1, v_1, m_2, v_2 in torch.tensor([[0.3, 0.2, -0.4, 0.5], [0.0, 1.0, 0.0, 0.1], [0.5, 0.05, 0.4, 0.05]]):
    p_1, p_2 = log_normal(grid, m_1, v_1), log_normal(grid, m_2, v_2)
    on_grid = (p_1.exp() * (p_1 - p_2)).sum() * dx
    closed = bound.gaussian_kl(m_1, v_1, m_2, v_2)
    print(f"integral {on_grid:.5f}, closed form {closed:.5f}")
    assert torch.isclose(on_grid, closed, atol=1e-4)

# %% [markdown]
# What has the regrouping bought, besides a formula? Less noise, **where it matters** (statisticians call it Rao–Blackwellisation: what can be averaged by hand need not be sampled). Training draws a single $t$ for each
# example. So estimate the sum from one of its terms, times $T$: as it stands in Eq. 3 (one walk, nothing averaged), and
# with the average over $x_{t-1}$ done by hand.

# %%
single, divided = [], []
for t in range(2, T + 1):
    ours = step_back(perfect, x[t], t)
    single.append(log_normal(x[t], alpha[t].sqrt() * x[t - 1], beta[t]) - log_normal(x[t - 1], *ours))
    mean = diffusion.posterior_mean(x[t], times[t], x[0], schedule)
    divided.append(bound.gaussian_kl(mean, schedule.beta_tilde[t], *ours))
single, divided = torch.stack(single), torch.stack(divided)
for name, terms in (("as in Eq. 3", single), ("as in Eq. 5", divided)):
    print(f"{name}: T times one term scatters by {T * terms.std():5.1f}, the sum of all by {terms.sum(0).std():.2f}")
assert divided.std() < single.std() / 3

# %% [markdown]
# (The sum over a whole walk tells another story: there the errors of neighbouring terms cancel, the better the
# closer the model is to the truth. But nobody can afford whole walks in training.)
#
# ## 6 · From means to noise
#
# The variances in $L_{t-1}$ are fixed numbers, so only the means can learn (Ho et al. 2020, Eq. 8):
#
# $$L_{t-1} = \mathbb E_q \left[ \frac{1}{2 \sigma_t^2} \big\lVert \tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t) \big\rVert^2 \right] + C_t .$$
#
# The paper tries two variances: $\sigma_t^2 = \tilde\beta_t$, for which $C_t = 0$, and $\sigma_t^2 = \beta_t$, for which
# $C_t$ is the divergence of two bells with the same centre.
#
# What should $\mu_\theta$ look like? The target is $\tilde\mu_t$, and at training time we know $x_t$ and the noise in it. Put
# $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ into Eq. 7. The coefficient of $x_t$ becomes
#
# $$\frac{1}{1 - \bar\alpha_t} \left( \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{\sqrt{\bar\alpha_t}} + \sqrt{\alpha_t}\, (1 - \bar\alpha_{t-1}) \right)
# = \frac{\beta_t + \alpha_t (1 - \bar\alpha_{t-1})}{\sqrt{\alpha_t}\, (1 - \bar\alpha_t)} = \frac{1}{\sqrt{\alpha_t}} ,$$
#
# the same sum for the third time. The coefficient of $\epsilon$ becomes
# $-\frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t} \cdot \frac{\sqrt{1 - \bar\alpha_t}}{\sqrt{\bar\alpha_t}} = -\frac{\beta_t}{\sqrt{\alpha_t} \sqrt{1 - \bar\alpha_t}}$.
# Together:
#
# $$\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon \right) .$$
#
# The network is given $x_t$; the only unknown is $\epsilon$. So let it predict just that, and use the same expression with
# $\epsilon_\theta(x_t, t)$: Eq. 11, line 4 of Algorithm 2. (It is the same number as Eq. 7 with $\hat x_0$, the $x_0$ that $\epsilon_\theta$ implies; `step_back`
# computes that form.) In the difference of the means $x_t$ drops out, and (Eq. 12)
#
# $$L_{t-1} = \mathbb E_{x_0, \epsilon} \Big[ \underbrace{\frac{\beta_t^2}{2 \sigma_t^2\, \alpha_t (1 - \bar\alpha_t)}}_{w_t}
# \big\lVert \epsilon - \epsilon_\theta(x_t, t) \big\rVert^2 \Big] + C_t , \qquad x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon .$$
#
# Check it where it is least flattering, on a network that knows nothing and always answers 0: divergence of the two Gaussians
# on the left, weighted squared error on the right.


# %%
def blind(x_t, t, y=None):
    return torch.zeros_like(x_t)


blind.predicts = "eps"
x_0, eps = 0.5 * randn(1000, 1), randn(1000, 1)
for variance in ("beta_tilde", "beta"):
    sigma2 = getattr(schedule, variance)
    w = beta**2 / (2 * sigma2 * alpha * (1 - alpha_bar))
    for t in range(2, T + 1):
        times = torch.full((1000,), t)
        x_t = diffusion.q_sample(x_0, times, eps, schedule)
        constant = bound.gaussian_kl(0.0, schedule.beta_tilde[t], 0.0, sigma2[t])
        right = w[t] * ((eps - blind(x_t, times)) ** 2).sum(dim=1) + constant
        assert torch.allclose(bound.kl_term(blind, x_0, times, eps, schedule, variance), right, rtol=1e-8)
    print(f"sigma_t^2 = {variance:10s}: w_2 = {w[2]:.3f}, w_50 = {w[50]:.3f}, w_100 = {w[100]:.3f}")

# %% [markdown]
# There it is: **the chain of Gaussians has become one squared error per timestep.** Add $L_T$ and $L_0$, and it bounds
# the likelihood. Look at the weights, though: they differ a great deal, and $L_\text{simple}$ will ignore them.
#
# ## 7 · How tight is it?
#
# ### The perfect network
#
# Average the bound over the data and take off the entropy, $H = -\mathbb E \log q(x_0)$. What is left is the divergence of whole histories,
# $D_\text{KL}\big( q(x_{0:T}) \,\Vert\, p_\theta(x_{0:T}) \big)$. Now write *both* as chains that run backwards, $q(x_{0:T}) = q(x_T) \prod_t q(x_{t-1} \mid x_t)$
# and likewise $p_\theta$. The log of their ratio is a sum, one term per step, this
# time without $x_0$ in the condition (Ho et al. 2020, appendix A, the alternate form of $L$):
#
# $$\mathbb E[L] - H = D_\text{KL}\big( q(x_T) \,\Vert\, p(x_T) \big) + \sum_{t=1}^{T} \mathbb E\; D_\text{KL}\big( q(x_{t-1} \mid x_t) \,\Vert\, p_\theta(x_{t-1} \mid x_t) \big) .$$
#
# Nobody can train with it, since $q(x_{t-1} \mid x_t)$ needs the density of the data; but it tells what even a perfect network pays
# for: the *true* step back is not a Gaussian of variance $\sigma_t^2$.
#
# **Predict:** as the number of steps $T$ doubles, what will happen to the gap with $\sigma_t^2 = \beta_t$? With $\sigma_t^2 = \tilde\beta_t$?
# (The averages are integrals again, over all pairs of 97 pixel values and 49 noises; `weight` says how likely each pair is.)

# %%
pixels, noises = torch.linspace(-1.2, 1.2, 97)[:, None], torch.linspace(-6, 6, 49)[:, None]
share = log_q(pixels, 0).exp() * 0.025  # what of the data lies near each pixel value
weight = torch.outer(share, log_normal(noises[:, 0], 0.0, 1.0).exp() * 0.25).flatten()
x_0, eps = pixels.repeat_interleave(49, dim=0), noises.repeat(97, 1)  # all pairs: an integral instead of luck
entropy = -(share @ log_q(pixels, 0)).item()
assert abs(weight.sum() - 1) < 1e-6


def noised(t, schedule=schedule):
    times = torch.full((len(x_0),), t)
    return times, diffusion.q_sample(x_0, times, eps, schedule)


def miss(model, t, schedule):
    """E ||mu_tilde - mu_theta||^2: by how far the mean of a step back misses, squared."""
    times, x_t = noised(t, schedule)
    target = diffusion.posterior_mean(x_t, times, x_0, schedule)
    return weight @ (target - step_back(model, x_t, t, schedule)[0])[:, 0] ** 2


# %% [markdown]
# ◆ A third choice costs nothing: the *best* variance. With miss $m_t = \mathbb E \lVert \tilde\mu_t - \mu_\theta \rVert^2$ (one dimension),
# $L_{t-1} = \frac12 \big( \log(\sigma_t^2 / \tilde\beta_t) + (\tilde\beta_t + m_t) / \sigma_t^2 - 1 \big)$. Differentiate:
# the best is $\sigma_t^2 = \tilde\beta_t + m_t$ (Bao et al. 2022), and $L_{t-1} = \frac12 \log(1 + m_t / \tilde\beta_t)$ is left.


# %%
def gaps(T):
    s = schedules.linear(T, dtype=torch.float64)
    model = IdealDenoiser(centres, s, std)
    ends = share @ bound.prior_term(pixels, s) + weight @ bound.decoder_term(model, x_0, eps, s) - entropy
    m = torch.stack([miss(model, t, s) for t in range(2, T + 1)])
    small, large = s.beta_tilde[2:], s.beta[2:]
    steps = {"beta_tilde": m / (2 * small), "beta": bound.gaussian_kl(m.sqrt(), small, 0.0, large)}
    steps["best"] = torch.log1p(m / small) / 2
    likelihood = -(share @ log_p(model, pixels, s)).item() - entropy
    return {name: (ends + kl.sum()).item() for name, kl in steps.items()}, likelihood


chains = choose(ci=(40, 80), lecture=(20, 40, 80, 160), full=(20, 40, 80, 160, 320))
table = [gaps(steps) for steps in chains]
print("   T   bound - entropy in nats: beta_tilde   beta    best   | -log p - entropy, for beta")
for steps, (gap, likelihood) in zip(chains, table, strict=True):
    print(f"{steps:4d} {gap['beta_tilde']:38.3f} {gap['beta']:7.3f} {gap['best']:7.3f}   | {likelihood:.3f}")
    assert 0 < likelihood < gap["beta"] and gap["best"] <= min(gap["beta"], gap["beta_tilde"])
assert table[-1][0]["beta"] < 0.65 * table[-2][0]["beta"]  # twice as many steps, about half the gap


# %% [markdown]
# With $\beta_t$ the gap closes: in the end it halves whenever $T$ doubles. With $\tilde\beta_t$, the exact posterior variance, it falls
# more slowly and flattens out. ◆ Before we look at the steps, check the identity above, a double integral for each:


# %%
def histories(T):
    """D_KL(q(x_T) || p(x_T)) + sum of E D_KL(q(x_{t-1} | x_t) || p_theta(x_{t-1} | x_t)), for beta."""
    s = schedules.linear(T, dtype=torch.float64)
    last = log_q(grid, T, s)
    nats = last.exp() @ (last - log_normal(grid[:, 0], 0.0, 1.0)) * dx
    for t in range(1, T + 1):
        joint = log_normal(grid, s.alpha[t].sqrt() * grid.T, s.beta[t]) + log_q(grid, t - 1, s)  # row: x_t
        mean, sigma2 = step_back(IdealDenoiser(centres, s, std), grid, t, s)
        theirs = log_q(grid, t, s)[:, None] + log_normal(grid.T, mean, sigma2)
        nats += (joint.exp() * (joint - theirs)).sum() * dx**2
    return nats.item()


ours, gap = histories(chains[0]), table[0][0]["beta"]
print(f"T = {chains[0]}: sum of divergences {ours:.5f}, bound minus entropy {gap:.5f}")
assert abs(ours - gap) < 1e-4


# %%
def truth(T, t, x_t):
    """q(x_{t-1} | x_t) on the grid, by Bayes' rule with the density of the data; and the best bell."""
    s = schedules.linear(T, dtype=torch.float64)
    curve = (log_normal(x_t, s.alpha[t].sqrt() * grid[:, 0], s.beta[t]) + log_q(grid, t - 1, s)).exp()
    curve = curve / (curve.sum() * dx)
    mean = curve @ grid[:, 0] * dx
    return curve, log_normal(grid, mean, curve @ (grid[:, 0] - mean) ** 2 * dx).exp()


# %%
figure, panels = viz.axes(1, 3, (4.3, 3.6), width_ratios=[0.8, 0.8, 1.1])
for ax, (steps, t) in zip(panels[0, :2], ((10, 2), (100, 15)), strict=True):
    curve, bell = truth(steps, t, 0.1)
    ax.plot(grid, curve, color=viz.INK, linewidth=2.5, label="truth")
    ax.plot(grid, bell, color=viz.ORANGE, linewidth=2.5, linestyle="--", label="best bell")
    ax.set(xlim=(-1, 1), ylim=(0, 1.3 * curve.max()), yticks=[], xlabel="$x_{t-1}$")
    ax.set_title(f"step back, T = {steps}, t = {t}")
panels[0, 0].legend(loc="upper left", fontsize=13)
ax = panels[0, 2]
labels = {"beta_tilde": r"$\tilde\beta_t$", "beta": r"$\beta_t$", "best": "best"}
for (name, label), colour, marker in zip(labels.items(), (viz.PURPLE, viz.BLUE, viz.GREEN), "so^", strict=True):
    ax.loglog(chains, [gap[name] for gap, _ in table], color=colour, marker=marker, markersize=8)
    ax.annotate(f"  {label}", (chains[-1], table[-1][0][name]), va="center", color=colour, fontsize=16)
ax.set(title="bound minus entropy, nats", xlabel="T", xlim=(None, chains[-1] * 1.7))
ax.set_xticks(chains, chains)
ax.set_yticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
ax.minorticks_off()
viz.show(
    figure,
    alt="Left: with 10 steps the true step back has three separate humps and no bell fits; with 100 it is a single "
    "bell. Right: over T the gap falls steadily for beta and the best variance, and levels off for beta_tilde.",
    name="02_gap",
)

# %% [markdown]
# *Look for:* the middle panel. Where a step is finer than any detail of the data, the true step back is a bell, and as wide as the step
# forward: its variance is $\beta_t$. For the first few $t$, however, $\tilde\beta_t$ is much smaller: with equal $\beta$s about $\frac{t-1}{t} \beta_t$, which
# is half of it at $t = 2$, *no matter how fine the chain*.
#
# ◆ Once the steps are finer than every detail, each of these is charged $\frac12 (r - 1 - \log r)$ with $r = \beta_t / \tilde\beta_t$. For
# equal $\beta_t$ the charges add up to half of Euler's constant: 0.289 nats per dimension that no network can earn back. At the $T$ of our table the formula
# still overestimates, since there the true step back *is* narrower than $\beta_t$; and the linear schedule gets to the limit slowly:


# %%
def debt(T):
    s = schedules.linear(T, dtype=torch.float64)
    r = s.beta[2:] / s.beta_tilde[2:]
    return ((r - 1 - r.log()) / 2).sum().item()


print({steps: round(debt(steps), 3) for steps in (100, 1000, 10_000, 1_000_000)})
assert abs(debt(1_000_000) - 0.57721566 / 2) < 1e-3

# %% [markdown]
# So the choice that looks exact is the worse one, *once $\sqrt{\beta_1}$ is small against the finest detail of the data*. The two extremes are those of Ho
# et al. 2020, section 3.2: for data that is a single point $\tilde\beta_t$ is the best, for $x_0 \sim \mathcal N(0, I)$ it is $\beta_t$. Nichol & Dhariwal 2021
# note that the two differ only in the first few steps, saw on images that just these steps dominate the bound, and let the network
# choose in between (their Eq. 15).
#
# ### An imperfect network
#
# What does an error of the network cost? Let $\epsilon^*(x_t) = \mathbb E[\epsilon \mid x_t]$ be the perfect answer. Then
#
# $$\mathbb E \lVert \epsilon - \epsilon_\theta \rVert^2 = \mathbb E \lVert \epsilon - \epsilon^* \rVert^2 + \mathbb E \lVert \epsilon^* - \epsilon_\theta \rVert^2 ,$$
#
# because in the cross term, given $x_t$, the factor $\epsilon - \epsilon^*$ averages to zero. The first part is nobody's fault. The second, times $w_t$, is the
# divergence between the perfect network's step and ours, two Gaussians of equal variance. **The price of an imperfect network is
# a sum of divergences, one per step.** To check it, hand over a network that is perfect for *other* data:


# %%
def total(model, variance="beta"):
    nats = share @ bound.prior_term(pixels, schedule) + weight @ bound.decoder_term(model, x_0, eps, schedule)
    for t in range(2, T + 1):
        nats += weight @ bound.kl_term(model, x_0, noised(t)[0], eps, schedule, variance)
    return nats


astray = IdealDenoiser(0.8 * centres, schedule, 0.1)
price = 0.0
for t in range(1, T + 1):
    _, x_t = noised(t)
    price += weight @ bound.gaussian_kl(*step_back(perfect, x_t, t), *step_back(astray, x_t, t))[:, 0]
difference = total(astray) - total(perfect)
print(f"bound of the network astray minus that of the perfect one {difference:.6f}, sum of divergences {price:.6f}")
assert torch.isclose(difference, price, rtol=1e-5)

# %% [markdown]
# ## 8 · Drop the weights
#
# Ho et al. 2020 leave $w_t$ out, draw $t$ uniformly, and call what is left $L_\text{simple}$ (Eq. 14), the loss of notebook 01:
#
# $$L_\text{simple} = \mathbb E_{t,\, x_0,\, \epsilon} \big\lVert \epsilon - \epsilon_\theta\big( \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon,\; t \big) \big\rVert^2 .$$
#
# A perfect network minimises both. A limited one has to choose where to be wrong, and the weights choose for it. Other
# losses fit the same mould: the squared error of $\hat x_0$ or of the velocity $v$ is one of $\epsilon$ with another weight; min-SNR (Hang et al.
# 2023) caps at 5 the weight SNR which the loss of $\epsilon$ puts on the error of $\hat x_0$. In terms of the
# signal-to-noise ratio $\text{SNR}_t = \bar\alpha_t / (1 - \bar\alpha_t)$, the bound's weight on the error of $\hat x_0$ (for $\tilde\beta_t$)
# is simply half the *drop* of the SNR in step $t$ (Kingma et al. 2021, Eq. 13).

# %%
snr = alpha_bar / schedule.sigma**2
on_eps = {name: diffusion.loss_weight(name, schedule)[1:] / snr[1:] for name in diffusion.WEIGHTS}  # t = 1..T
assert torch.allclose(on_eps["eps"], torch.ones(T))
w = beta**2 / (2 * schedule.beta_tilde * alpha * (1 - alpha_bar))  # Eq. 12
assert torch.allclose(on_eps["vlb"][1:], T * w[2:])
assert torch.allclose(w[2:] * snr[2:], (snr[1:-1] - snr[2:]) / 2)  # on x0_hat: half the drop

# %% [markdown]
# ◆ To see the effect without blaming an optimiser, take a small network with 64 hidden units that are fixed at random. Only its
# output weights are fitted, so each loss has an exact minimum, by least squares. **Predict:** which loss will be furthest off at small $t$?


# %%
class Limited:
    predicts = "eps"

    def __init__(self, seed=0):
        self.hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
            [[4.0], [1.0], [1.0]]
        )

    def units(self, x_t, t):
        level = snr[t].log()[:, None] / 4
        return torch.tanh(torch.cat([x_t, level, torch.ones_like(level)], dim=1) @ self.hidden)

    def fit(self, x_t, t, target, importance):
        root = importance.sqrt()[:, None]
        self.output = torch.linalg.lstsq(root * self.units(x_t, t), root * target, driver="gelsd").solution
        return self

    def __call__(self, x_t, t, y=None):
        return self.units(x_t, t) @ self.output


# %%
places, times = grid[::2].repeat(T, 1), torch.arange(1, T + 1).repeat_interleave(len(grid[::2]))
target, likely = perfect(places, times), q[1:, ::2].flatten() * 2 * dx
excess, scores = {}, {}
print("minimum of    excess over the perfect network: L_simple   bound (nats)    divergence of p_theta from the data")
for name, each in on_eps.items():
    model = Limited().fit(places, times, target, likely * each[times - 1])
    error = likely * (model(places, times) - target)[:, 0] ** 2
    excess[name] = error.view(T, -1).sum(dim=1)
    scores[name] = excess[name].mean(), (excess[name] * on_eps["vlb"]).mean()
    divergence = -(share @ log_p(model, pixels, variance="beta_tilde")) - entropy
    print(f"{name:12s} {scores[name][0]:43.4f} {scores[name][1]:14.3f} {divergence:15.3f}")
assert min(scores, key=lambda name: scores[name][0]) == "eps"
assert min(scores, key=lambda name: scores[name][1]) == "vlb"

# %%
spared = []  # what even the perfect network gets wrong
for t in range(1, T + 1):
    times, x_t = noised(t)
    spared.append(weight @ ((eps - perfect(x_t, times)) ** 2)[:, 0])
spared = torch.stack(spared)
print(f"L_simple of the perfect network: {spared.mean():.4f}")

# %%
steps = torch.arange(1, T + 1)
names = {"eps": "simple", "vlb": "bound", "x_0": "$x_0$", "v": "$v$", "min_snr": "min-SNR"}
colours = (viz.BLUE, viz.ORANGE, viz.GREEN, viz.PURPLE, viz.INK)
figure, panels = viz.axes(1, 3, (4.5, 3.9))
for (name, label), colour, line in zip(names.items(), colours, ("-", "-", ":", "-.", "--"), strict=True):
    panels[0, 0].loglog(steps, on_eps[name] / on_eps[name][29], line, color=colour)
    panels[0, 2].loglog(steps, excess[name], line, color=colour, label=label)
    if name in ("eps", "vlb"):
        part = (spared * on_eps[name])[1:].cumsum(0)
        panels[0, 1].semilogx(steps[1:], part / part[-1], color=colour)
panels[0, 0].set(title="weight on the error of eps", ylabel="relative to t = 30", ylim=(3e-3, 300))
panels[0, 1].set(title="share of the loss, from t = 2 to t", ylim=(0, 1.03))
panels[0, 2].set(title="excess error at the minimum", ylabel="mean square", ylim=(1e-5, 30))
for ax in panels[0]:
    ax.set(xlabel="t", xticks=[1, 10, 100], xticklabels=["1", "10", "100"])
figure.legend(loc="outside right center", fontsize=13)
viz.show(
    figure,
    alt="Three panels over t. The bound's weight falls with t, that of x_0, v and min-SNR rises steeply. Half of the "
    "bound is spent in the first steps. The minimum of the bound errs least at small t and more than the others later.",
    name="02_weights",
)

# %% [markdown]
# *Look for:* left, the bound cares for the first steps, where details are made, up to thirty times as much as for the middle of the chain (with
# $\tilde\beta_t$, as here; with $\beta_t$ about seven times). $L_\text{simple}$
# treats all alike, so compared with the bound it moves attention to larger noise; the $x_0$ and $v$ losses go further.
# (All are scaled to agree at $t = 30$.) Middle: for the perfect network the bound has
# spent 80 % of its sum by $t = 10$, $L_\text{simple}$ only 40 %. Right: each loss is wrong where its weight is small.
#
# By its own yardstick each loss wins, as it must; the cell asserts it. On our pixel the bound's own minimum also draws the better
# density. On pictures it is not what the eye wants: trained on the bound, Ho et al. 2020 reached 3.70 bits per
# dimension and an FID of 13.51; trained on $L_\text{simple}$, 3.75 bits and 3.17 (Table 1). The last details of a picture
# cost most of the bits, and nobody sees them. Nichol & Dhariwal 2021 add a thousandth of the bound to $L_\text{simple}$ (Eq. 16).
#
# **Explore:** dividing by the SNR shows that the bound's weight on the error of $\epsilon$ is about half the drop of $\log \text{SNR}$: the
# slope of the middle curve below. Where is each schedule steep?

# %%
widgets.schedule_explorer(toy.outline("cat"))

# %% [markdown]
# ## 9 · The last step, and bits per dimension
#
# So far $L_0$ was minus the log of a density, which depends on the units of $x_0$ and can be negative. Pictures hold whole numbers
# from 0 to 255, scaled to $[-1, 1]$: each value owns a bin of width $2/255$. The decoder gives each value the probability of its
# bin, and the outermost bins reach to infinity, so that 256 probabilities add up to 1 (Ho et al. 2020, Eq. 13):
#
# $$p_\theta(x_0 \mid x_1) = \int_{x_0 - 1/255}^{x_0 + 1/255} \mathcal N\big( x;\; \mu_\theta(x_1, 1),\; \sigma_1^2 \big)\, dx .$$
#
# With $\tilde\beta_1 = 0$ no bin but one would have a probability, so here $\sigma_1^2 = \beta_1$ for either choice. (In $L_\text{simple}$ the term
# $t = 1$ stands in for $L_0$: density times width of the bin, without the edges.)

# %%
levels = torch.linspace(-1, 1, 256)[:, None]
edges = torch.cat([torch.tensor([-torch.inf]), (levels[1:, 0] + levels[:-1, 0]) / 2, torch.tensor([torch.inf])])


def decode(x_1):
    """Probability of each of the 256 levels, given x_1."""
    mean, sigma2 = step_back(perfect, torch.tensor([[x_1]]), 1)
    return torch.special.ndtr((edges - mean[0]) / sigma2.sqrt()).diff()


x_1 = diffusion.q_sample(levels[[200]], torch.tensor([1]), torch.tensor([[1.5]]), schedule)
theirs = bound.decoder_term(perfect, levels[[200]], torch.tensor([[1.5]]), schedule, bins=256)
assert torch.isclose(-decode(x_1.item())[200].log(), theirs[0])
assert all(abs(decode(place).sum() - 1) < 1e-12 for place in (-1.0, 0.3, 1.1))

# %%
figure, panels = viz.axes(1, 2, (6, 3.3))
for ax, place, low in zip(panels[0], (0.5, 1.02), (176, 222), strict=True):
    chance = decode(place)
    ax.bar(range(256), chance, width=0.9, color=viz.SKY)
    ax.bar([255], chance[[255]], width=0.9, color=viz.ORANGE)
    ax.set(xlim=(low, low + 34.5), xlabel="grey value", ylim=(0, 0.12), title=f"$x_1$ = {place}")
panels[0, 0].set_ylabel("probability")
viz.show(
    figure,
    alt="Bars of probability over grey values: a bell of about twenty values on the left; on the right, near white, the "
    "last bar holds all that would lie beyond 255.",
    name="02_decoder",
)

# %% [markdown]
# Now every term is a number of nats of information, and dividing by $\ln 2$ and by the number of dimensions gives **bits per dimension**: the
# length of a code for the picture, per pixel and colour. A model that knows nothing needs 8. Forgetting the bins is a
# classic mistake: a density's bits differ from these by $\log_2(255/2) = 6.99$ per dimension.

# %%
chance = log_q(levels, 0).softmax(dim=0)
floor = -(chance * chance.log2()).sum()
x_0, eps = levels.repeat_interleave(49, dim=0), noises.repeat(256, 1)
weight = torch.outer(chance, log_normal(noises[:, 0], 0.0, 1.0).exp() * 0.25).flatten()
print(f"   T    L_T + steps + L_0 = bits per dimension; the data: {floor:.3f}")
for steps in choose(ci=(100,), lecture=(25, 100), full=(25, 100, 400, 1000)):
    s = schedules.linear(steps, dtype=torch.float64)
    model = IdealDenoiser(centres, s, std)
    L_T = chance @ bound.prior_term(levels, s)
    between = sum(weight @ bound.kl_term(model, x_0, noised(t, s)[0], eps, s, "beta") for t in range(2, steps + 1))
    L_0 = weight @ bound.decoder_term(model, x_0, eps, s, bins=256)
    bits = [bound.bits_per_dim(nats, d=1).item() for nats in (L_T, between, L_0)]
    print(f"{steps:4d} {bits[0]:6.3f} {bits[1]:7.3f} {bits[2]:5.3f}   {sum(bits):.3f}")
    assert floor < sum(bits) < 8

# %% [markdown]
# The bound never beats the entropy, and with 100 steps comes within 0.26 of it. There more than half of the code is spent in $L_0$, on the last digits of the grey value, which no eye
# sees: the first of 100 rescaled steps already blurs about four grey levels. The share depends on $\beta_1$, and falls as $T$ grows. Ho et al. 2020 report the same kind of account for CIFAR-10
# (section 4.3: 1.97 of 3.75 bits are distortion).
#
# ## 10 · The other road to the same loss: the score
#
# The **score** is the slope of the log density, $\nabla_{x_t} \log q(x_t)$. For a single $x_0$ it is elementary:
#
# $$\nabla_{x_t} \log q(x_t \mid x_0) = - \frac{x_t - \sqrt{\bar\alpha_t}\, x_0}{1 - \bar\alpha_t} = - \frac{\epsilon}{\sqrt{1 - \bar\alpha_t}} .$$
#
# For the data, differentiate $q(x_t) = \int q(x_t \mid x_0)\, q(x_0)\, dx_0$ under the integral and divide by $q(x_t)$: the score is the
# *average* of these slopes over the $x_0$ that are possible, given $x_t$:
#
# $$\nabla_{x_t} \log q(x_t) = \mathbb E\big[ \nabla_{x_t} \log q(x_t \mid x_0) \,\big|\, x_t \big] = - \frac{\epsilon^*(x_t)}{\sqrt{1 - \bar\alpha_t}} .$$
#
# **So a network that predicts the noise has learned the score, up to a known factor.** On the dinosaur, in two dimensions: automatic
# differentiation of the exact log density, against the perfect network.

# %%
bones = toy.outline("dino").double()
dino = IdealDenoiser(bones, schedule, toy.JITTER)


def log_density(x, t):  # up to a constant: a mixture of 142 small Gaussians
    squares = ((x[:, None] - alpha_bar[t].sqrt() * bones) ** 2).sum(dim=2)
    return torch.logsumexp(-squares / 2 / (1 - alpha_bar[t] + alpha_bar[t] * toy.JITTER**2), dim=1)


def score(x, t):
    return torch.func.grad(lambda x: log_density(x, t).sum())(x)


for t in (1, 10, 30, 60, 100):
    x = 1.5 * randn(500, 2)
    assert torch.allclose(score(x, t), -dino(x, torch.full((500,), t)) / schedule.sigma[t], rtol=1e-7, atol=1e-9)

# %%
fine, coarse = torch.linspace(-viz.VIEW, viz.VIEW, 120), torch.linspace(-2.3, 2.3, 15)
figure, panels = viz.axes(1, 3, (4.2, 4.5))
shades = ("white", "#f2f6fc", "#e3edf8", "#cfe1f2", "#b0d2e8", "#85bcdb", "#56a0cf")
for ax, t in zip(panels[0], (40, 12, 3), strict=True):
    height = log_density(torch.cartesian_prod(fine, fine), t).view(120, 120).T
    ax.contourf(fine, fine, height - height.max(), levels=[-32, -16, -8, -4, -2, -1, 0], colors=shades, extend="min")
    places = torch.cartesian_prod(coarse, coarse)
    viz.arrows(ax, places, -dino(places, torch.full((len(places),), t)), colour=viz.ORANGE)
    viz.window(ax).set_title(f"t = {t}")
viz.show(
    figure,
    alt="Contours of the log density of the noised dinosaur at three times, with arrows of minus the predicted noise. The arrows "
    "point uphill everywhere: to one summit at t = 40, to the nearest part of the outline at t = 3.",
    name="02_score",
    photo=True,
)

# %% [markdown]
# *Look for:* the arrows are *minus* the network's answers, all drawn equally long, and the contours those of the density; the arrows cross the contours at right angles, uphill.
#
# That is also why the loss works. Fitting $s_\theta$ to the true score directly is not possible, since nobody knows it. **Denoising score matching** fits the slopes
# of $q(x_t \mid x_0)$ instead, which are known, and the two losses differ by a constant (Vincent 2011):
#
# $$\mathbb E \lVert s_\theta(x_t) - \nabla \log q(x_t \mid x_0) \rVert^2 = \mathbb E \lVert s_\theta(x_t) - \nabla \log q(x_t) \rVert^2 + \text{const} .$$
#
# It is the identity of Section 7 in other letters. With $s_\theta = -\epsilon_\theta / \sqrt{1 - \bar\alpha_t}$ the left side is the squared error of the noise, divided by
# $1 - \bar\alpha_t$; so $L_\text{simple}$ is denoising score matching at all noise levels with weights $1 - \bar\alpha_t$ (Song et al. 2021, Eq. 3).

# %%
x_0 = bones[torch.randint(142, (20_000,), generator=generator)] + toy.JITTER * randn(20_000, 2)
eps, times = randn(20_000, 2), torch.full((20_000,), 40)
x_t, sigma = diffusion.q_sample(x_0, times, eps, schedule), schedule.sigma[40]
cat = IdealDenoiser(toy.outline("cat").double(), schedule, toy.JITTER)
print("   network    fit to known slopes   fit to the true score   difference")
for name, network in (("perfect", dino), ("of the cat", cat), ("blind", blind)):
    ours = -network(x_t, times) / sigma
    known = ((ours + eps / sigma) ** 2).sum(dim=1)
    true = ((ours + dino(x_t, times) / sigma) ** 2).sum(dim=1)
    print(f"{name:12s} {known.mean():20.3f} {true.mean():22.3f} {known.mean() - true.mean():14.3f}")
    unexplained = ((dino(x_t, times) - eps) ** 2).sum(dim=1) / sigma**2
    luck = (known - true - unexplained).std() / 20_000**0.5
    assert abs((known - true - unexplained).mean()) < 4 * luck + 1e-9

# %% [markdown]
# ## Summary
#
# - A sum of Gaussians makes one jump of $t$ steps; a product of Gaussians makes the posterior. The same sum,
#   $\alpha_t (1 - \bar\alpha_{t-1}) + \beta_t = 1 - \bar\alpha_t$, does all the simplifying.
# - Jensen's inequality is the only slack. Conditioning on $x_0$ is free, and makes every term a divergence between Gaussians whose
#   parameters are known.
# - Fixed variances leave the means, the means leave the noise: one weighted squared error per step.
# - With the perfect network, for data that is smooth at the scale of the steps, the bound closes as $T$ grows if $\sigma_t^2 = \beta_t$; with $\tilde\beta_t$ a debt of the first steps stays. An imperfect network pays one
#   divergence per step on top.
# - $L_\text{simple}$ drops the weights: worse for the code length, better for the eye, the same perfect answer.
# - Predicted noise is the score, up to $-1/\sqrt{1 - \bar\alpha_t}$.

# %% [markdown]
# ## Exercises
#
# Four functions, each with a check that tries to say what is wrong. None depends on another. Index `t` of a schedule's
# arrays is the paper's subscript; `schedule.alpha_bar[0]` is 1.

# %% [markdown]
# ### Exercise 1 ★☆☆ (10 minutes): how different two Gaussians are
#
# Write `gaussian_kl(mean_1, variance_1, mean_2, variance_2)`, the divergence
# $D_\text{KL}\big( \mathcal N(\mu_1, v_1) \,\Vert\, \mathcal N(\mu_2, v_2) \big)$ of Section 5, in nats, for each element of four tensors
# of the same shape.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Which two values should it give for equal variances, and for equal means? Work both out on paper first.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.log` is the natural logarithm. No sum and no loop: tensors of the same shape combine element by element.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "gaussian_kl", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gaussian_kl(mean_1, variance_1, mean_2, variance_2):
    """KL(N(mean_1, variance_1) || N(mean_2, variance_2)) in nats, elementwise. Returns a tensor of the same shape."""
    ### BEGIN SOLUTION
    quadratic = (variance_1 + (mean_1 - mean_2) ** 2) / variance_2
    return (torch.log(variance_2 / variance_1) + quadratic - 1) / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gaussian_kl_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.gaussian_kl(gaussian_kl)

# %% [markdown]
# ### Exercise 2 ★★☆ (15 minutes): one step back, knowing the start
#
# Write `posterior(x_t, t, x_0, schedule)`: mean and variance of $q(x_{t-1} \mid x_t, x_0)$ (Ho et al. 2020, Eqs. 6 and 7), without
# `diffusion.posterior_mean` and without `schedule.beta_tilde`. Here `t` is a plain whole number in $1 \dots T$. Return one tensor that stacks
# the mean and, in the same shape, the variance.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Complete the square once more yourself. At $t = 1$ one of the two precisions is infinite: what must mean and variance be there? Which
# form of the fractions survives that?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.stack([mean, ...])` puts two tensors of one shape into one; `torch.full_like` and `.expand_as` give the variance the shape of
# the mean.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "posterior", "locked": false, "schema_version": 3, "solution": true, "task": false}
def posterior(x_t, t, x_0, schedule):
    """Mean and variance of q(x_{t-1} | x_t, x_0). x_t, x_0: (B, ...); t: int. Returns (2, B, ...): mean, variance."""
    ### BEGIN SOLUTION
    beta, alpha = schedule.beta[t], schedule.alpha[t]
    before, now = schedule.alpha_bar[t - 1], schedule.alpha_bar[t]
    mean = (before.sqrt() * beta * x_0 + alpha.sqrt() * (1 - before) * x_t) / (1 - now)
    variance = (1 - before) / (1 - now) * beta
    return torch.stack([mean, variance.expand_as(mean)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "posterior_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.posterior(posterior)

# %% [markdown]
# ### Exercise 3 ★★☆ (15 minutes): the same bound for another question
#
# Suppose the network predicts the clean data instead of the noise: $\mu_\theta$ is Eq. 7 with $\hat x_0$ in the place of $x_0$. Then $L_{t-1}$ is a
# weight times $\lVert x_0 - \hat x_0 \rVert^2$, plus a constant. Derive that weight from Eq. 8 for $\sigma_t^2 = \beta_t$, and write
# `bound_weight(t, schedule)`: `t` holds whole numbers, shape `(B,)`; so does the answer.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Subtract the two means. Which of the two terms of Eq. 7 is left?
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# At $t = 1$ it must be $1 / (2 \beta_1)$, the weight of a Gaussian decoder of variance $\beta_1$. For $t \ge 2$ set `blind.predicts = "x_0"` and compare with
# `bound.kl_term(..., "beta")` as in Section 6; do not forget its constant $C_t$, `bound.gaussian_kl(0.0, schedule.beta_tilde[t], 0.0, schedule.beta[t])`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "bound_weight", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bound_weight(t, schedule):
    """The weight of the squared error of x0_hat in L_{t-1}, with sigma_t^2 = beta_t. t: (B,) in 1..T. Returns (B,)."""
    ### BEGIN SOLUTION
    coefficient = schedule.alpha_bar[t - 1].sqrt() * schedule.beta[t] / (1 - schedule.alpha_bar[t])
    return coefficient**2 / (2 * schedule.beta[t])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "bound_weight_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.bound_weight(bound_weight)

# %% [markdown]
# ### Exercise 4 ★★☆ (10 minutes): the score of a network that predicts $x_0$
#
# Section 10 wrote the score as an average over the possible $x_0$. What is averaged is linear in $x_0$; so the score at $x_t$ follows from
# the predicted $\hat x_0$, the estimate of $\mathbb E[x_0 \mid x_t]$, alone (Tweedie's formula, read backwards; Efron 2011).
#
# Write `score_from_x0(x_t, t, x0_hat, schedule)`, for points and for images; each example has its own `t`, shape `(B,)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Take the slope of $\log q(x_t \mid x_0)$ and put $\hat x_0$ in the place of $x_0$. Where does an arrow at $x_t$ have to point?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# The shapes are those of Exercise 2 of notebook 01: `schedule.alpha_bar[t]` needs `x_t.ndim - 1` further axes of length 1.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "score_from_x0", "locked": false, "schema_version": 3, "solution": true, "task": false}
def score_from_x0(x_t, t, x0_hat, schedule):
    """The slope of log q(x_t) that x0_hat implies. x_t, x0_hat: (B, ...); t: (B,) in 1..T. Returns it, like x_t."""
    ### BEGIN SOLUTION
    a = schedule.alpha_bar[t].view(-1, *[1] * (x_t.ndim - 1))
    return (a.sqrt() * x0_hat - x_t) / (1 - a)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "score_from_x0_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.score_from_x0(score_from_x0)

# %% [markdown]
# ## References
#
# - J. Ho, A. Jain, P. Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020 (arXiv 2006.11239).
# - J. Sohl-Dickstein, E. Weiss, N. Maheswaranathan, S. Ganguli: *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, ICML 2015.
# - A. Nichol, P. Dhariwal: *Improved Denoising Diffusion Probabilistic Models*, ICML 2021.
# - D. Kingma, T. Salimans, B. Poole, J. Ho: *Variational Diffusion Models*, NeurIPS 2021.
# - P. Vincent: *A Connection Between Score Matching and Denoising Autoencoders*, Neural Computation 2011.
# - Y. Song, J. Sohl-Dickstein, D. Kingma, A. Kumar, S. Ermon, B. Poole: *Score-Based Generative Modeling through Stochastic Differential Equations*, ICLR 2021.
# - F. Bao, C. Li, J. Zhu, B. Zhang: *Analytic-DPM: an Analytic Estimate of the Optimal Reverse Variance in Diffusion Probabilistic Models*, ICLR 2022.
# - T. Hang et al.: *Efficient Diffusion Training via Min-SNR Weighting Strategy*, ICCV 2023.
# - B. Efron: *Tweedie's Formula and Selection Bias*, Journal of the American Statistical Association 2011.
