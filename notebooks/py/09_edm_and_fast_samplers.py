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
# # 09 · Ten evaluations instead of a thousand: EDM, fast samplers, flow matching
#
# ![Seven rows of the same ten generated cars: blurs where the teacher takes one step, soft cars where it takes two or four, and sharp ones where the student takes one, two or four, nearly the same as where the teacher takes 50.](../report_imgs/09_distilled.png)
#
# A diffusion model draws a picture by asking its network again and again, a thousand times in the paper of notebook 02. Does it have to? In this notebook one small network is trained three times, under DDPM, EDM and flow matching, by one recipe with one switch. Then we take the sampler apart: what is it that takes so many steps, how few will do, and how does one teach a network to jump?
#
# **You will be able to**
# 1. write DDPM, EDM and flow matching as three columns of one table, and draw with a network of one along the path of another;
# 2. say what learning rate, clipping, skip scaling and attention each do, from measurements;
# 3. explain sampling as an ODE, Euler's method, Heun's, and why the levels matter as much as the method;
# 4. read a curve of quality against evaluations, with its error bars;
# 5. say how a network is distilled to four steps, two and one, and what that costs.
#
# **Before you start:** Sections 3 to 6 of notebook 03 (training; DDIM and DPM-Solver++; FD and its floor). **Run time:** about two minutes on two CPU cores. **As a lecture:** 90 minutes, about 60 without the parts marked ◆ (estimates).

# %%
import math
from itertools import pairwise

import torch

from course_utils import (
    checkpoints,
    checks,
    diffusion,
    frameworks,
    recipes,
    sample,
    samplers,
    schedules,
    training,
    viz,
    widgets,
)
from course_utils.data import toy
from course_utils.ideal import IdealDenoiser
from course_utils.presets import choose, halve_threads
from course_utils.studies import fast as study

halve_threads()

# %% [markdown]
# ## 1 · Three papers, one table
#
# Every framework of this family noises a picture in the same way, $x_t = a\, x_0 + s\, \epsilon$ with $\epsilon \sim \mathcal N(0, I)$, and differs in the path that $a$ and $s$ take from picture ($s = 0$) to noise (where $s$ drowns $a$). What counts is their ratio, the **noise ratio** $\sigma = s / a$, which grows from 0 to infinity. Wherever something is left of the picture, divide $x_t$ by $a$, and all three read
#
# $$x = x_0 + \sigma\, \epsilon.$$
#
# So name a level by its $\sigma$, whatever the path (in the code, $t$ still counts the levels of a schedule, and `schedule.noise_ratio[t]` is their $\sigma$). In these coordinates a network $F$ becomes $D$, the estimate of $x_0$ that notebook 03 calls $\hat x_0$, through four functions of $\sigma$ (Karras et al. 2022, Eq. 7):
#
# $$D(x; \sigma) = c_\text{skip}\, x + c_\text{out}\, F(c_\text{in}\, x;\, c_\text{noise})$$
#
# | | DDPM (Ho et al. 2020) | EDM (Karras et al. 2022) | flow matching (Lipman et al. 2023; Liu et al. 2023) |
# |---|---|---|---|
# | path: $a$, $s$ | $\sqrt{\bar\alpha_t}$, $\sqrt{1 - \bar\alpha_t}$ | 1, $\sigma$ | $1 - t$, $t$ |
# | levels in training | $t$ uniform in 1..$T$ | $\ln\sigma \sim \mathcal N(-1.2, 1.2^2)$ | $t$ uniform in the papers; here $\operatorname{logit} t = \ln\frac{t}{1-t} \sim \mathcal N(0, 1)$ (Esser et al. 2024) |
# | $F$ is shown, $c_\text{in}\,x$ | $x_t$ | $x / \sqrt{\sigma^2 + \sigma_d^2}$, variance 1 | $x_t = x / (1 + \sigma)$ |
# | $F$ is told, $c_\text{noise}$ | $t$ | $\tfrac14 \ln \sigma$ | $t = \sigma / (1 + \sigma)$ |
# | $c_\text{skip}$ | 1 | $\sigma_d^2 / (\sigma^2 + \sigma_d^2)$ | $1 / (1 + \sigma)$ |
# | $c_\text{out}$ | $-\sigma$ | $\sigma\, \sigma_d / \sqrt{\sigma^2 + \sigma_d^2}$ | $-\sigma / (1 + \sigma)$ |
# | so $F$ should answer | $\epsilon$ | $(x_0 - c_\text{skip}\, x) / c_\text{out}$ | $\epsilon - x_0$, the velocity $u$ |
# | loss | plain squared error of $F$ | plain squared error of $F$ | plain squared error of $F$ |
# | weight of an error of $D$ | $1 / \sigma^2$ | $1/\sigma^2 + 1/\sigma_d^2$ | $1/\sigma^2 + 2/\sigma + 1$ |
#
# $\sigma_d$ = 0.5 is about the standard deviation of pixels in [−1, 1]. The last row is $1 / c_\text{out}^2$. (DDPM's variant that predicts $x_0$ has $c_\text{skip} = 0$, $c_\text{out} = 1$. And EDM with $\sigma_d$ = 1 is the $v$ of notebook 03, up to its sign.)
#
# **Predict:** at which $\sigma$ does EDM's $D$ rely on $x$ itself, and at which on the network? Is it the same for DDPM? Read $c_\text{skip}$.

# %%
three = {
    name: frameworks.make(name, schedules.make(*how))
    for name, how in {"ddpm": ("cosine", 1000), "edm": ("karras", 1000), "flow": ("flow", 1000)}.items()
}
print(f"{'':8s}{'sigma':>7s}{'a':>9s}{'s':>9s}{'c_skip':>9s}{'c_out':>9s}{'c_in':>9s}{'c_noise':>9s}")
for name, framework in three.items():
    for sigma in torch.tensor([0.1, 1.0, 10.0]):
        numbers = (sigma, *framework.path(sigma), *framework.precondition(sigma))
        print(f"{name:8s}{numbers[0]:7.1f}" + "".join(f"{value:9.3f}" for value in numbers[1:]))

# %% [markdown]
# *Look for:* with little noise EDM and flow matching pass $x$ through ($c_\text{skip}$ 0.96 and 0.91 at $\sigma$ = 0.1), and the network adds a correction. With much noise EDM's network has to say the picture itself; flow matching's, too, and besides it has to cancel the noise that is passed through ($0.09\, x$ is almost all of $\epsilon$ at $\sigma$ = 10). Neither has its errors multiplied by more than 1. DDPM passes $x$ through at *every* level: at $\sigma$ = 10 its answer is multiplied by −10, and its errors, too.
#
# The three losses are one function, which is short enough to write down:


# %%
def loss_of(framework, F, x_0, sigma, eps):
    """The three losses in one: what F is shown, what it should answer, and the squared error."""
    c_skip, c_out, c_in, c_noise = (c.view(-1, 1) for c in framework.precondition(sigma))
    x = x_0 + sigma.view(-1, 1) * eps
    target = (x_0 - c_skip * x) / c_out  # whatever makes c_skip x + c_out F equal to x_0
    return (F(c_in * x, c_noise.flatten()) - target).square().mean(1)


# %%
random = torch.Generator().manual_seed(0)
x_0, eps, sigma = torch.randn(6, 2, generator=random), torch.randn(6, 2, generator=random), torch.linspace(0.1, 9, 6)
some_network = torch.nn.Linear(2, 2)
for framework in three.values():
    ours = loss_of(framework, lambda x, c_noise: some_network(x), x_0, sigma, eps)
    theirs = frameworks.loss(framework, lambda x, c_noise, y: some_network(x), x_0, sigma, eps)
    assert torch.allclose(ours, theirs, rtol=1e-3)

# %% [markdown]
# What differs is *where* a network is trained, and how much an error counts there. Both are known functions.
#
# **Predict:** in flow matching $\sigma = t/(1-t)$, so $\ln\sigma$ is the logit of $t$. Which of the two normal distributions lies at less noise, EDM's or flow matching's?

# %%
figure, panels = viz.axes(1, 2, (5.4, 3.9))
log_sigma = torch.linspace(-6, 6, 481)
for (name, framework), colour in zip(three.items(), viz.COLOURS, strict=False):
    panels[0, 0].plot(log_sigma, framework.density(log_sigma), color=colour, label=name)
    panels[0, 1].semilogy(log_sigma, frameworks.weight(framework, log_sigma), color=colour, label=name)
panels[0, 0].set(xlabel="ln σ", title="how often a level is drawn")
panels[0, 1].set(xlabel="ln σ", title="how much an error of D counts (density × weight)", ylim=(1e-4, 1e3))
panels[0, 0].legend()
viz.show(
    figure,
    alt="Left: DDPM draws levels over the whole range, EDM around ln sigma = -1.2, flow matching around 0. Right: the weights of an error fall with the noise; EDM's and flow's bend down at little noise, DDPM's rises down to its lowest level.",
)

# %% [markdown]
# *Look for*, left: EDM and flow matching draw levels from the same kind of curve, a normal one in $\ln\sigma$, EDM a factor of three further down ($e^{-1.2} = 0.30$). DDPM with the cosine schedule of Nichol & Dhariwal (2021), which its networks here use, draws from a wider one. Right, both together, on a logarithmic axis: density times $1/c_\text{out}^2$ (Kingma & Gao 2023). An error of $D$ at $\ln\sigma = -4$, which nobody can see, counts about 90 times as much as an equal one at 0 for DDPM, 65 times for EDM, and a quarter for flow matching. **That curve, the way the network is wired, and nothing else, is the difference between the three losses.**
#
# ## 2 · One recipe, one switch
#
# `framework="edm"` is all that changes: the same U-Net, pictures, noise, order, learning rate. First for a few seconds each on drawn automobiles, to see it learn; then trainings that ship with the course.
#
# **Predict:** which of the three has the lowest loss? Does it also know the picture best?

# %%
cars = recipes.get("drawn-cars32-edm").images()
print(cars.name, len(cars))
trained, STEPS = {}, choose(ci=3, lecture=300, full=3000)
for name in frameworks.FRAMEWORKS:
    recipe = recipes.get(f"drawn-cars32-{name}").changed(steps=STEPS, warmup=20, ema=0.98, lr=2e-3)
    model, ema, schedule = recipe.build()
    records = [*training.progress(recipe.fit(model, ema, cars, schedule), STEPS)]
    trained[name] = ema.model, schedule, [record.loss for record in records]

# %% [markdown]
# The three losses are in different currencies. A common one is the error of $\hat x_0$, at the same $\sigma$, on the same noised pictures:

# %%
figure, panels = viz.axes(1, 2, (5.4, 3.9))
x_0, random = cars[: choose(ci=8, lecture=64, full=64)][0], torch.Generator().manual_seed(1)
eps, sigmas = torch.randn(x_0.shape, generator=random), schedules.karras_grid(13, 0.03, 20)
for (name, (model, schedule, losses)), colour in zip(trained.items(), viz.COLOURS, strict=False):
    panels[0, 0].plot(losses, color=colour, linewidth=1, label=name)
    errors = []
    for level in schedule.level(sigmas).float():
        a, s = diffusion.signal_and_noise(level.expand(len(x_0)), x_0, schedule)
        x0_hat = samplers.predicted(model, a * x_0 + s * eps, float(level), schedule, None, clip=True).x0_hat
        errors.append((x0_hat - x_0).square().mean().sqrt())
    panels[0, 1].semilogx(sigmas, errors, "o-", color=colour, markersize=5, label=name)
    print(f"{name}: misses by {errors[0]:.2f} at σ = {sigmas[0]:.0f}, by {errors[-1]:.2f} at σ = {sigmas[-1]:.2f}")
mean = float((x_0 - x_0.mean(0)).square().mean().sqrt())
print(
    f"answering the mean of these pictures, always: {mean:.2f}; answering grey: {float(x_0.square().mean().sqrt()):.2f}"
)
panels[0, 1].axhline(mean, color=viz.GREY, linestyle="--", label="answering their mean")
panels[0, 0].set(xlabel="step", title="loss of each framework", ylim=(0, 1.6))
panels[0, 1].set(xlabel="σ", title="error of $\\hat x_0$, all on the same pictures")
viz.plain_log(panels[0, 1].xaxis)
panels[0, 1].legend()
viz.show(
    figure,
    alt="Left: three falling losses that end at different heights, DDPM's lowest. Right: the errors grow with the noise; those of EDM and flow stay near what the mean of the pictures would give, DDPM's grows to more than twice that.",
)

# %% [markdown]
# *Look for:* left, the losses end at different heights, DDPM's the lowest, and EDM's the highest, since $c_\text{skip}$ has taken from its target all that $x$ gives away by itself (Exercise 1). Right, the same networks: below σ = 0.5 all three are much alike, and above it DDPM is far behind. At σ = 20 it misses by 1.05 (root mean square, with $\hat x_0$ clamped to [−1, 1]), more than if it always answered grey (0.53); EDM's 0.46 is about what the mean of all cars gives (0.41). The table of Section 1 says why: DDPM's $c_\text{out}$ is $-\sigma$, so whatever its network gets wrong about $\epsilon$ is multiplied by 20 before it is clamped. A low loss on $\epsilon$ says little about the picture.
#
# The same switch, for longer, on the 5,000 automobiles of CIFAR-10: `cars32-ddpm`, `cars32-edm`, `cars32-flow`. Weights ship with the course; the photographs do not, so what follows shows generated pictures, and numbers that were measured where the photographs were (`make fast`). *Contrast* is the standard deviation of all values. The samplers in the table are notebook 03's DDIM and DPM-Solver++, and two which Section 4 takes apart.

# %%
cars32 = {name: checkpoints.load(f"cars32-{name}") for name in frameworks.FRAMEWORKS}
N = choose(ci=2, lecture=24, full=100)
found = study.load()
for checkpoint in cars32.values():
    card = checkpoint.card
    print(
        f"{checkpoint.name:12s} {card['parameters']:,} parameters, {card['images_seen']:,} images seen of {card['data']}"
    )
pictures = {
    name: sample.images(c.model, c.schedule, N, sampler="heun", steps=choose(ci=2, lecture=18, full=18), seed=3)
    for name, c in cars32.items()
}
viz.rows(
    "three trainings, the same eight noises, Heun's method in 18 steps",
    [p[:8] for p in pictures.values()],
    [*pictures],
    "Three rows of eight generated automobiles. A column holds the same car three times, in one pose and before one ground; in the row of ddpm colours are so strong that some pictures are mostly white or red.",
    "09_three",
    across=min(N, 8),
)
print(
    f"contrast of {N} pictures (test photographs {found.texture[0]:.2f}): "
    + ", ".join(f"{name} {study.texture(p)[0]:.2f}" for name, p in pictures.items())
)

# %% [markdown]
# *Look for:* the same cars. Three networks, each trained on its own loss, turn the same noise into the same car, since all three are to learn the same paths (Section 4). DDPM's colours are too strong: contrast 0.67, where photographs have 0.54. What its network gets wrong at high noise is multiplied by σ.
#
# **Predict:** which of the three has the best score?


# %%
def row(score):
    return f"{score.fd:7.1f} ± {2 * score.fd_se:3.1f}"


print(f"FD (EfficientNet-Lite0) ± two standard errors, n = {study.N:,}; photographs: {found.floor['fd']:.1f}")
print(f"{'in 20 evaluations':20s}" + "".join(f"{samplers.TITLES[k]:>18s}" for k in study.SAMPLERS))
for name in study.CHECKPOINTS:
    # Heun's method, two evaluations a step and one for the last, has 19
    print(f"{name:20s}" + "".join(f"{row(found.score(name, k, 20)):>18s}" for k in study.SAMPLERS))

# %% [markdown]
# *Look for:* no winner. By DDIM in 20 evaluations it is flow matching (81), by DPM-Solver++ EDM (93), where flow matching has 116. One training each, so a few points say little; but these are the same three files in every column, so the sampler can decide which training "is best". Section 6 finds out what it does to a score. (On `cars32-flow`, DDIM *is* Euler on flow: it stops at the levels of the network's own schedule.)
#
# ## 3 · What helped ◆
#
# The sources, the student projects that this course grew out of, trained DDPM and EDM on this class, and told what helped: a learning rate of 2e-4 rather than 1e-4, clipping of the gradient, skip scaling (a residual block adds what it computes to what it got; the sum is divided by $\sqrt 2$, so that the variance does not grow from block to block; Song et al. 2021b), attention. Ours is a smaller network on a smaller budget, with a learning rate of 1e-3. So each choice once more, alone, from the same start, `edm`. The second seed says how much two equal runs differ. One more row belongs here: "flow, optimal transport" pairs the pictures and noises of each batch so that they lie near one another (Pooladian et al. 2023; Tong et al. 2024), which is one way to make the paths really straighter.
#
# Printed for each: FD after 3,000 steps, the mean loss of the last 300, and the largest norm of the gradient after step 500, when the learning rate has stopped rising.
#
# **Predict:** which of the four matters most?

# %%
print(f"{study.BASE.steps:,} steps of {study.BASE.batch_size}; FD by DPM-Solver++ in 20 evaluations, n = {study.N:,}")
for name in study.VARIANTS:
    run = found.runs[name]
    norms = run.norms[500:]
    facts = f"largest gradient {norms.max():4.1f}, median {norms.median():.2f}"
    print(f"{name:28s}{row(run.scores['dpm_solver_pp', 20])}   last losses {run.losses[-300:].mean():.3f}   {facts}")
print("\nEuler on flow in 5, 10 and 20 evaluations:")
for name in ("flow", "flow, optimal transport"):
    print(f"{name:28s}" + "".join(row(found.runs[name].scores["euler_flow", k]) for k in (5, 10, 20)))

# %% [markdown]
# *Look for:* the learning rate, by far: 286 with 2e-4 and 310 with 1e-4, where 1e-3 has 205. So 2e-4 beats 1e-4 here, too, and both are too careful for 3,000 steps. Without clipping (210), skip scaling (204) or attention (208) FD moves no more than by another seed (211): with so small a network and so short a training we cannot say that any of the three helps. Optimal transport is 8 to 10 points better by each of the four ways to sample, which is a little more than two seeds differ, once each.
#
# The sources saw both losses explode without clipping. Where does that come from? Not from the three losses as the papers wrote them, as far as we can see here. Take the very same loss as DDPM's, but let the network answer $x_0$ instead of $\epsilon$: then its squared error has to be multiplied by $1/\sigma^2$, which is 24,000 at $t = 1$.

# %%
figure, panels = viz.axes(1, 2, (5.4, 3.9), sharey=True)
titles = {"eps": "the network answers ε", "x_0 with the weight of eps": "the network answers $x_0$, weight 1/σ²"}
for ax, (name, title) in zip(panels[0], titles.items(), strict=True):
    ax.semilogy(found.runs[f"{name}, no clipping"].losses, color=viz.ORANGE, linewidth=1, label="not clipped")
    ax.semilogy(found.runs[name].losses, color=viz.BLUE, linewidth=1, label="clipped at 1")
    ax.set(title=title, xlabel="step")
viz.plain_log(panels[0, 0].yaxis)
panels[0, 0].set_ylabel("loss")
panels[0, 0].legend()
viz.show(
    figure,
    alt="Left: two quiet losses of a network that answers eps, one on top of the other. Right: the same loss asked of a network that answers x_0 leaps up a hundredfold again and again, higher without clipping.",
)
print(f"{'':42s}{'median gradient':>16s}{'largest':>10s}{'steps above 1':>15s}{'median of last 100 losses':>27s}")
for name in study.EXPLOSIONS:
    run = found.runs[name]
    facts = f"{run.norms.median():16.2f}{run.norms.max():10.2f}{(run.norms > 1).sum():15d}"
    print(f"{name:42s}{facts}{run.losses[-100:].median():27.3f}")

# %% [markdown]
# *Look for:* left, nothing: the two curves lie on top of one another, for the gradient's norm exceeds 1 once or twice in 600 steps, by 4% at most: there is next to nothing to clip. Right, the same loss on the same noised pictures leaps a hundredfold. Which levels a batch happens to hold decides how large its gradient is: 5 to 9 in the median, more than 1,000 at worst. Clipping bounds what such a batch can do, and after 600 steps the median loss is 0.17 with it and 0.57 without. EDM without clipping has no such leaps either: its norm exceeds 1 in 86 of 600 steps, but is 2.11 at most. So here clipping mends a weight that the frameworks of Section 1 avoid in the first place: they weigh an error of $D$ by $1/c_\text{out}^2$, so that an error of $F$ counts the same at every level. (One small network, on one set: larger ones, lower precision or other data may need it all the same.)
#
# ## 4 · Sampling is an ODE
#
# Now take the network as given. As $\sigma$ falls, $x$ can move so that it has the right distribution at every level, without any dice: along the solution of an **ordinary differential equation** (ODE), which says for each place and level which way to go (Song et al. 2021b; Karras et al. 2022, Eqs. 1 and 3):
#
# $$\frac{dx}{d\sigma} = \frac{x - D(x; \sigma)}{\sigma} = \hat\epsilon$$
#
# One pixel, three possible pictures, and the exact $D$: then these paths can be drawn. The same fifteen, in the coordinates of each paper.
#
# **Predict:** in which are they straightest? A straight path takes one step.

# %%
points = torch.tensor([[-1.0], [-0.2], [0.9]])  # one pixel, three pictures, each blurred by std
fine = schedules.karras(600)
exact = IdealDenoiser(points, fine, std=0.15)
start = torch.linspace(-2.2, 2.2, 15)[:, None]
path = [*samplers.ddim(exact, fine, start)]
sigma = torch.tensor([float(fine.noise_ratio[step.t]) for step in path])
x = torch.stack([step.x.flatten() for step in path]) * (1 + sigma**2).sqrt()[:, None]
coordinates = {
    "EDM: x against σ": (sigma, x, (0, 3)),
    "DDPM: $x_t$ against t / T (cosine)": (sigma.atan() * 2 / math.pi, x / (1 + sigma**2).sqrt()[:, None], (0, 1)),
    "flow: $x_t$ against t": (sigma / (1 + sigma), x / (1 + sigma)[:, None], (0, 1)),
}
figure, panels = viz.axes(1, 3, (4.4, 3.9))
for ax, (title, (time, height, window)) in zip(panels[0], coordinates.items(), strict=True):
    ax.plot(time, height, color=viz.BLUE, linewidth=1.2)
    ax.set(title=title, xlim=window, ylim=(-3, 3))
viz.show(
    figure,
    alt="The same fifteen exact paths from noise to three values, drawn in three coordinate systems: a fan in EDM's that bends below sigma 2; in those of DDPM and flow matching the lines first come together and then turn to their three values.",
)

# %% [markdown]
# *Look for:* the same paths, three times (EDM's cut off at σ = 3). EDM's and flow matching's are equally straight: flow's are a projection of EDM's, in which straight lines stay straight. Far out there is little to bend: $D$ is nearly the mean of all pictures, wherever $x$ is. What bends is the stretch where it is decided which picture it will be, between σ of about 2 and 0.1. In DDPM's coordinates even a $D$ that stands still would give an arc. So in the first and the last, a path is as straight as $D$ is constant along it, and no framework changes the exact $D$; other pairs of noise and picture do (Section 3), or training again on the pairs that a trained flow produces (reflow, Liu et al. 2023).
#
# Follow the slope for a finite step, and you have **Euler's method**. You have met it before:


# %%
def euler(D, x, sigmas):
    """Euler's method on dx/dsigma = (x - D(x; sigma)) / sigma, from the first of the sigmas to the last."""
    for sigma, before in pairwise(sigmas):
        x = x + (before - sigma) * (x - D(x, sigma)) / sigma
    return x


# %%
grid = [*schedules.karras_grid(10).tolist(), 0.0]
ladder = schedules.Schedule.from_noise_ratio(torch.tensor(grid[-2::-1]))  # the same ten levels as a schedule
exact = IdealDenoiser(points, ladder, std=0.15)
level_of = dict(zip(grid, range(10, 0, -1), strict=False))


def D(x, sigma):
    return samplers.predicted(exact, x / math.sqrt(1 + sigma**2), level_of[sigma], ladder, None, False).x0_hat


ours = euler(D, start * math.sqrt(1 + grid[0] ** 2), grid)
assert torch.allclose(ours, samplers.final(samplers.ddim(exact, ladder, start)), atol=1e-4)

# %% [markdown]
# Euler's method in $\sigma$ is DDIM (Song et al. 2021a), to the digit. So is Euler's method in flow matching's $t$: both move from $x$ along the one straight line on which $\hat x_0$ and $\hat\epsilon$ stay as they are (Gao et al. 2024). `ddim` and `euler_flow` differ in the *levels* at which they stop, and in nothing else. And since a sampler only asks for $D$, any network can be drawn by any sampler: below, the one that learned $\epsilon$ runs on flow matching's path.

# %%
ddpm, random = cars32["ddpm"], torch.Generator().manual_seed(4)
x_T = torch.randn(choose(ci=2, lecture=8, full=8), 3, 32, 32, generator=random)
top = float(ddpm.schedule.noise_ratio[-1])
times = torch.linspace(top / (1 + top), 0, choose(ci=4, lecture=21, full=51)).tolist()
z = x_T * math.sqrt(1 + top**2) / (1 + top)  # (1 - t) x_0 + t eps, where t is nearly 1
for t, before in pairwise(times):
    sigma = t / (1 - t)
    level = float(ddpm.schedule.level(torch.tensor(sigma)))  # the level of its cosine schedule with that sigma
    x_t = z * (1 + sigma) / math.sqrt(1 + sigma**2)
    x0_hat, eps_hat = samplers.predicted(ddpm.model, x_t, level, ddpm.schedule, None, clip=True)
    z = z + (before - t) * (eps_hat - x0_hat)
theirs = samplers.euler_flow(ddpm.model, ddpm.schedule, x_T, steps=len(times) - 1, clip=True)
assert torch.allclose(z, samplers.final(theirs), atol=1e-2)
viz.rows(
    "cars32-ddpm, which learned ε, on flow matching's path",
    [z.clamp(-1, 1)],
    ["Euler"],
    "A row of eight generated cars in strong colours, some hard to make out.",
    across=len(z),
)

# %% [markdown]
# **Heun's method** looks before it leaps: take Euler's step, ask for the slope there, go back, and take the step with the mean of both slopes (Karras et al. 2022, Algorithm 1; Exercise 3). Two evaluations a step instead of one. A method is of **order** $p$ when its error falls with the $p$-th power of the step's length; Euler's is of order 1. The levels come from
#
# $$\sigma_i = \Bigl(\sigma_\text{max}^{1/\rho} + \tfrac{i}{N-1} \bigl(\sigma_\text{min}^{1/\rho} - \sigma_\text{max}^{1/\rho}\bigr)\Bigr)^{\rho}, \qquad \rho = 7, \quad \sigma_N = 0$$
#
# (Exercise 2). With $\rho$ = 1 they are even in $\sigma$; 7 shifts them towards little noise.
#
# **Predict:** the dinosaur of notebook 01, its exact denoiser, and each method with more and more evaluations. Euler's method is of order 1: by what factor does its error fall when evaluations double? Heun's falls by 4, so what is its order?

# %%
dino = toy.outline()
schedule = schedules.karras(1000)
exact = IdealDenoiser(dino, schedule, std=0.05)
x_T = torch.randn(choose(ci=20, lecture=200, full=2000), 2, generator=torch.Generator().manual_seed(2))
truth = samplers.final(samplers.heun(exact, schedule, x_T, steps=choose(ci=20, lecture=500, full=2000)))
ways = {samplers.TITLES[name]: name for name in study.SAMPLERS}
asked = choose(ci=(5, 20), lecture=(5, 10, 20, 50, 100, 200), full=(5, 10, 20, 50, 100, 200, 500, 1000))

# %%
missed = {label: {} for label in ways}  # by evaluations spent: Heun spends an odd number
for label, sampler in ways.items():
    for evaluations in asked:
        steps = samplers.steps_for(sampler, evaluations)
        ends = samplers.final(samplers.SAMPLERS[sampler](exact, schedule, x_T, steps=steps))
        missed[label][samplers.evaluations_of(sampler, steps)] = float((ends - truth).norm(dim=1).mean())

# %%
figure, panels = viz.axes(1, 1, (7.5, 4.4))
for label, colour in zip(ways, viz.COLOURS, strict=False):
    panels[0, 0].loglog(missed[label].keys(), missed[label].values(), "o-", color=colour, label=label)
    print(f"{label:14s}" + "".join(f"{spent:6d}: {error:.5f}" for spent, error in missed[label].items()))
panels[0, 0].set(xlabel="evaluations", ylabel="mean distance from the exact end")
viz.plain_log(panels[0, 0].xaxis)
panels[0, 0].legend()
viz.show(
    figure,
    alt="Four lines on logarithmic axes, distance from the exact end against 5 to 200 evaluations. DDIM and Euler on flow fall in parallel and more slowly; Heun begins worst and falls fastest; DPM-Solver++ is lowest nearly everywhere.",
    name="09_order",
)

# %% [markdown]
# *Look for:* straight lines on the right, which is what an order looks like on two logarithmic axes. From 100 to 200 evaluations DDIM and Euler on flow halve their error: first order. Heun and DPM-Solver++ quarter it, and a little more: second order. But an order promises something about *many* evaluations. With 5 to 20, Heun is the worst: two evaluations a step leave half as many steps, and those through the middle, where the picture is decided, are too long for the slope at their end to say anything about the way there. DPM-Solver++ even gets worse from 5 to 10. And the two first-order methods, which take the very same kind of step, are a factor of two apart, because they stop at other levels. (DPM-Solver++ (Lu et al. 2022) reaches second order with one evaluation a step, since it remembers the last one; notebook 03.)
#
# These errors are about *one* path and its exact end. Whether a picture looks good is another question (Section 6).
#
# ## 5 · Dice that help: churn ◆
#
# Why would anyone put noise *back*? Nothing on an ODE's way mends an error: what goes wrong at one level is carried to the end. Algorithm 2 of Karras et al. (2022) adds a little fresh noise before each step, and removes a little more: the sampler forgets (part of) where it was, and with it the errors that it made. `churn` is their $S_\text{churn}$; a step may raise $\sigma$ by at most 41%.
#
# To see it, give the exact denoiser a fault: it answers a tenth too little noise.
#
# **Predict:** what is wrong with the dots that a sampler without dice leaves?


# %%
def faulty(x_t, t, y=None):
    """The exact denoiser with a fault: it answers a tenth too little noise."""
    return 0.9 * exact(x_t, t)


faulty.predicts = "eps"
print(
    f"{'denoiser':10s}{'churn':>7s}{'from a dot to the dinosaur':>30s}{'from the dinosaur to a dot':>30s}{'spread':>9s}"
)
for label, denoiser, churn in (("exact", exact, 0), *(("faulty", faulty, churn) for churn in (0, 10, 40))):
    random, steps = torch.Generator().manual_seed(1), choose(ci=10, lecture=40, full=40)
    dots = samplers.final(samplers.heun(denoiser, schedule, x_T, steps=steps, churn=churn, generator=random))
    distances = torch.cdist(dots, dino)
    there, back = (float(distances.min(axis).values.mean()) for axis in (1, 0))
    print(f"{label:10s}{churn:7d}{there:30.3f}{back:30.3f}{dots.std():9.3f}")

# %% [markdown]
# *Look for:* with the fault and no dice, the dots lie spread around their lines (*spread*: standard deviation; before it the mean distance from a dot to the nearest of the dinosaur's, and from one of the dinosaur's to the nearest dot), 1.19 instead of 1.01 wide: noise that nobody removed. With churn they come back to 1.06 and 1.05 at the same number of evaluations. More churn than that gains little: with 40 steps, σ rises by 25% at churn 10, and from 17 on by the 41% that are allowed, whatever one asks for. The cost: two runs from the same $x_T$ end in different pictures, so codes by DDIM inversion (notebook 08) and morphs (notebook 04) are lost, and an exact denoiser has nothing to gain.
#
# ## 6 · Quality against evaluations
#
# And a trained network, which is nobody's exact denoiser? Four pictures, each from the same noise, by four samplers.

# %%
edm = cars32["edm"]
few = choose(ci=2, lecture=4, full=4)
grids = {}
for label, sampler in ways.items():
    shown = [
        sample.images(edm.model, edm.schedule, few, sampler=sampler, steps=samplers.steps_for(sampler, k), seed=5)
        for k in choose(ci=(3,), lecture=(5, 10, 20), full=(5, 10, 20))
    ]
    grids[label] = torch.cat(shown)
viz.rows(
    "cars32-edm: four pictures in 5, the same in 10, and in 20 evaluations",
    [*grids.values()],
    [*grids],
    "Four rows, one a sampler, with the same four cars in 5, 10 and 20 evaluations. Heun's row is bright noise at 5 and too rich in contrast at 10; the other three show pale cars at 5 and clear ones at 10 and 20.",
    "09_few",
    across=3 * few,
)

# %% [markdown]
# *Look for:* it is the same four cars everywhere, since all four follow the same paths. What differs is how far they get. Heun's method in 5 evaluations, which are 3 steps, leaves noise, and in 9 too much contrast; with 19 it shows the same cars as the others. The others have a car after 5, paler than it should be.
#
# Counted, with 1,000 pictures each. DDPM's ancestral sampler takes all 1,000 steps (fewer, in the figure, are DDIM with $\eta = 1$, the same dice on some of the levels); the others stop where you like.
#
# The figure compares methods *with* their levels: DDIM stops at those of the network's own schedule (cosine, Karras's, flow's), DPM-Solver++ evenly in $\ln\sigma$ over its range (which for DDPM and flow matching reaches far above σ = 80, so that 7 or 8 of 20 levels are spent on pure noise), Heun at Karras's, Euler on flow evenly in its $t$. (In the pictures above, and in the table at the end of this section, DPM-Solver++ stops at the same levels as DDIM.)
#
# **Predict:** at how many evaluations do more stop to help? And is 1,000 times ancestral the best?

# %%
figure, panels = viz.axes(1, 3, (4.4, 4.2), sharey=True)
colours = dict(zip((*study.SAMPLERS, "ddpm"), (*viz.COLOURS[:4], viz.INK), strict=True))
for ax, name in zip(panels[0], study.CHECKPOINTS, strict=True):
    for (measured, sampler, churn), scores in found.curve.items():
        if measured == name and not churn:
            asked = [s for s in scores if s.evaluations >= 5]
            x, y, bars = torch.tensor([(s.evaluations, s.fd, 2 * s.fd_se) for s in asked]).T
            options = {"color": colours[sampler], "label": samplers.TITLES[sampler]}
            ax.errorbar(x, y, bars, fmt="o-", markersize=5, linewidth=1.2, **options)
    ax.axhline(found.floor["fd"], color=viz.GREY, linestyle="--", label="real pictures")
    ax.set(title=name, xscale="log", yscale="log", xlabel="evaluations", xlim=(2, 1500))
    viz.plain_log(ax.xaxis)
viz.plain_log(panels[0, 0].yaxis)
panels[0, 0].set_ylabel("FD (EfficientNet-Lite0)")
panels[0, 0].legend(fontsize=10)
viz.show(
    figure,
    "Three panels of FD against evaluations, with a dashed line for real pictures far below all. DPM-Solver++ is level from 10 evaluations on, and so is DDIM but in the panel of cars32-flow, where it lies under Euler on flow. Heun begins far higher and comes down to DPM-Solver++ at 50. Euler on flow is lowest or nearly so at 10 and 20 and rises after, most of all in the panel of cars32-flow. Ancestral sampling in 1,000 steps lies among the others for cars32-ddpm, and above them for cars32-edm.",
    "09_curve",
)

# %%
print(f"FD (EfficientNet-Lite0) ± two standard errors, n = {study.N:,}")
print(f"{'':28s}" + "".join(f"{k:>13,d}" for k in (*study.FEW, study.MANY)))
for (name, sampler, churn), scores in found.curve.items():
    if name == study.DISTILLED:
        continue
    by = {s.evaluations: row(s) for s in scores}
    asked = [samplers.evaluations_of(sampler, samplers.steps_for(sampler, k)) for k in (*study.FEW, study.MANY)]
    label = f"{name}, {sampler}" + (f", churn {churn:g}" if churn else "")
    print(f"{label:28s}" + "".join(f"{by.get(k, ''):>13s}" for k in asked))

# %% [markdown]
# *Look for*, in the panel of `cars32-edm`:
#
# - **Ten evaluations do.** DDIM has 94 with 10, 91 with 20 and 92 with 100; DPM-Solver++ has 93 from 10 on. Neither gains anything beyond the error bars.
# - **1,000 ancestral steps have 98 ± 3.** That is the sampler with which DDPM started, and DDIM, DPM-Solver++ and Euler on flow equal or beat it with 20 evaluations (Euler on flow: 82 ± 3). It does not need the thousand itself: 99 with 50. (`cars32-ddpm` has 92 ± 3 with 1,000, and 85 by 20 evaluations of DDIM.)
# - **Heun comes late**, 107 with 19, 94 with 49: half as many steps, too long through the middle, as on the dinosaur. **Churn**, not tuned and at its maximum of 41% throughout, makes it worse here, not better (119 with 19; 99 with 99, where Heun alone has 93): noise that is put back has to be removed again, by the same small network.
# - **Euler on flow is best with 10 or 20, and gets worse with more**: 82, 82, 85, 88. The panel of `cars32-flow` shows it at its strongest: 70 with 10, 81 with 20, 103 with 50, while DPM-Solver++, which is at its end from 10 on, has 116. (There DDIM lies under Euler on flow: the schedule's levels are the same.)
#
# How can a coarse approximation be better than what it approximates? All of them but the ancestral sampler and churn lead to the same end.
#
# **Predict:** how do the pictures of Euler on flow, in 10 evaluations, differ from that end? And which of the two is nearer to photographs?

# %%
N = choose(ci=2, lecture=24, full=100)
end = sample.images(edm.model, edm.schedule, N, sampler="heun", steps=choose(ci=3, lecture=60, full=200), seed=0)
print(f"{'':34s}{'to the end of the path':>24s}{'contrast':>11s}{'roughness':>11s}")
for label, sampler in ways.items():
    for evaluations in choose(ci=(3,), lecture=(10, 20, 50), full=(10, 20, 50)):
        steps = samplers.steps_for(sampler, evaluations)
        some = sample.images(edm.model, edm.schedule, N, sampler=sampler, steps=steps, seed=0)
        contrast, roughness = study.texture(some)
        distance = float((some - end).square().mean().sqrt())
        print(f"{label + f', {evaluations} evaluations':34s}{distance:24.3f}{contrast:11.3f}{roughness:11.3f}")
for label, (contrast, roughness) in (("the end itself", study.texture(end)), ("test photographs", found.texture)):
    print(f"{label:34s}{'':24s}{contrast:11.3f}{roughness:11.3f}")

# %% [markdown]
# *Look for:* the first column is Section 4 once more, now with a trained network: with 20 evaluations DPM-Solver++ is nearest to the end (0.011), DDIM and Euler on flow are about five times as far; Heun joins with 50. Far in which direction? Their pictures are paler and smoother (*roughness*: the mean difference between neighbouring pixels). And the end itself is about as rough as photographs are (0.294 and 0.288), and nearly as rich in contrast (0.50 and 0.54). So Euler's pictures are further from photographs in both, and have the better FD.
#
# What FD rewards here we can only guess: a small network puts edges, but not always where a car has them, and a car that is a little blurred hides that. With a network that had learned all of the data, the end *would be* the data. So a score tells you about network and sampler together, and an inexact sampler can cover for a network's errors.
#
# ## 7 · Teach it to jump: distillation
#
# Better methods stop gaining at about ten evaluations. Below that, the paths bend too much for any straight step. But a network can be *trained* to answer where the path will end instead of where it points. Progressive distillation (Salimans & Ho 2022): let a teacher take two steps of DDIM, and ask which $\hat x_0$ would have led there in one (Exercise 5). That is what the student learns. Then let the student be the teacher.
#
# `cars32-fast` does it in one run rather than in stages, and in one network, which a label tells how many steps it has: 4, 2 or 1 (learning from oneself with more steps, told by a label: Frans et al. 2025). With four, each of its steps imitates eight of the teacher's. With two, each imitates two of the steps that it takes when it has four; with one, two of those that it takes when it has two. (Another large family, consistency models (Song et al. 2023), learns to jump to the end from anywhere.)
#
# **Predict:** why is what the teacher draws in a single step a blur (top of this notebook)? Think of $D$ at σ = 80. And is the student's single step *a* sharp car, or the one that the teacher would have reached?

# %%
fast = checkpoints.load("cars32-fast")
teacher, N = cars32["edm"], choose(ci=2, lecture=10, full=10)
shown = {
    f"teacher, {k}": sample.images(teacher.model, teacher.schedule, N, sampler="ddim", steps=k, seed=9)
    for k in (1, 2, 4)
} | {f"student, {k}": sample.images(fast.model, fast.schedule, N, steps=k, seed=9) for k in (1, 2, 4)}
shown["teacher, 50"] = sample.images(
    teacher.model, teacher.schedule, N, sampler="ddim", steps=choose(ci=5, lecture=50, full=50), seed=9
)
viz.rows(
    "teacher and student by DDIM, evaluations",
    [*shown.values()],
    [*shown],
    "Seven rows of the same ten cars. The teacher in one evaluation: grey blurs; in two and in four: soft cars. The student in one, two and four: sharp cars, nearly the same as those of the last row, the teacher in 50.",
    "09_distilled",
    across=N,
)

# %%
by = {s.evaluations: s for s in found.curve[study.TEACHER, "ddim", 0.0] if s.evaluations in (1, 2, 4, 10, 32, 100)}
print(f"DDIM, FD (EfficientNet-Lite0) ± two standard errors, n = {study.N:,}")
print(f"{'evaluations':16s}" + "".join(f"{k:>14,d}" for k in by))
print(f"{study.TEACHER:16s}" + "".join(f"{row(s):>14s}" for s in by.values()))
print(f"{study.DISTILLED:16s}" + "".join(f"{row(s):>14s}" for s in found.curve[study.DISTILLED, "ddim", 0.0]))

# %% [markdown]
# *Look for:* one step of the teacher is a blur: at σ = 80 $D$ can only answer the mean of all cars, a little shifted. The student's single step has edges and colours, and it is *the same car* that the teacher reaches in 50. In numbers: with 4 evaluations the student has 102.8 ± 2.9, the teacher 145.7 ± 3.4 by DDIM in as many, and 91.1 ± 2.6 in the 32 that the student imitates. Each further halving costs: 117.3 with two, 134.6 with one. The price was training once more, 9,000 steps of 32 pictures, half of which take eight evaluations of the teacher, the others two of the student's own moving average (59 minutes of one core, where the teacher's own 30,000 steps took 151).
#
# ## 8 · Try it
#
# Left, a network; right, the same sampler with as many evaluations on a line like that of Section 4, where the exact paths are known. Find the fewest evaluations that please you. Then turn up churn: with few steps it hardly acts, since it may raise $\sigma$ by 41% at most, and a step down is far longer.

# %%
widgets.fast_explorer([cars32["edm"], cars32["flow"], cars32["ddpm"]])

# %% [markdown]
# ## 9 · What to take home
#
# - DDPM, EDM and flow matching are one model in three coordinate systems. What differs: which levels are trained how much, and how the network is wired.
# - A sampler asks for nothing but $D$. So any trained network can be drawn by any sampler, and the levels at which it stops matter as much as the method: DDIM and Euler on flow are one method.
# - The order of a method is a promise about many steps. With few, the steps are too long for it to hold.
# - An accurate sampler shows what the network has learned. Whether that scores better is another question: compare samplers by their distance to the exact end, and networks by one sampler, with the number of evaluations beside every score.
# - A path that bends cannot be jumped by pointing along it. A network can be trained to answer where it ends: `cars32-fast` has FD 103 in 4 evaluations, where its teacher has 146; the teacher's 1,000 ancestral steps have 98, and its 10 of DDIM 94.
#
# ## Exercises

# %% [markdown]
# ### Exercise 1 ★☆☆ (10 minutes): four functions of the noise
#
# EDM never shows a network $F$ the picture as it is, and never asks it for the clean one. What it uses is
# $D(x; \sigma) = c_\text{skip}\, x + c_\text{out}\, F(c_\text{in}\, x;\, c_\text{noise})$, with four functions of $\sigma$ (Karras et al. 2022, Eq. 7). Three of them follow from demands (their Appendix B.6), where $x = x_0 + \sigma \epsilon$, and $x_0$ has mean 0 and standard deviation $\sigma_\text{data}$:
#
# 1. what $F$ sees, $c_\text{in}\, x$, has variance 1;
# 2. what $F$ should answer, $(x_0 - c_\text{skip}\, x) / c_\text{out}$, has variance 1;
# 3. its errors are amplified as little as possible: among all $c_\text{skip}$, the one with the smallest $c_\text{out}^2$, whose root $c_\text{out}$ is positive.
#
# The fourth is a matter of taste: $c_\text{noise} = \frac{1}{4} \ln \sigma$, so that it is a few units at most.
#
# Section 1 has the answers in its table: derive them before you look back, and then compare. Write `precondition(sigma, sigma_data)`, the last column of Table 1 of that paper. `sigma`, of shape `(B,)`, holds a positive noise level for each picture; `sigma_data` is a float. Returns `c_skip, c_out, c_in, c_noise`, each of the shape and type of `sigma`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# What is the variance of $x$? For demand 3, write $x_0 - c_\text{skip}\, x$ as $(1 - c_\text{skip})\, x_0 - c_\text{skip}\, \sigma \epsilon$, and its variance as a function of $c_\text{skip}$. Where is it smallest, and how large is it there?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `**`, `sqrt` and `log` work on all of `sigma` at once; `math.sqrt` and `math.log` do not. To test yourself: at `sigma = sigma_data`, half of the variance of $x$ is the picture's, so $c_\text{skip} = 1/2$. A function returns several things with commas between them.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "precondition", "locked": false, "schema_version": 3, "solution": true, "task": false}
def precondition(sigma, sigma_data):
    """c_skip, c_out, c_in and c_noise of EDM at noise levels sigma (B,), each (B,)."""
    ### BEGIN SOLUTION
    variance = sigma**2 + sigma_data**2
    c_skip = sigma_data**2 / variance
    c_out = sigma * sigma_data / variance.sqrt()
    c_in = 1 / variance.sqrt()
    c_noise = sigma.log() / 4
    return c_skip, c_out, c_in, c_noise
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "precondition_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.precondition(precondition)

# %% [markdown]
# ### Exercise 2 ★☆☆ (10 minutes): where to spend the steps
#
# Write `karras_levels(steps, sigma_min, sigma_max, rho)`, the noise levels at which a sampler stops on its way (Karras et al. 2022, Eq. 5). With $N$ steps,
#
# $$\sigma_i = \Bigl(\sigma_\text{max}^{1/\rho} + \tfrac{i}{N-1} \bigl(\sigma_\text{min}^{1/\rho} - \sigma_\text{max}^{1/\rho}\bigr)\Bigr)^{\rho} \quad \text{for } i = 0, \dots, N-1, \qquad \sigma_N = 0 .$$
#
# `steps`, an int of at least 2, is $N$; `0 < sigma_min < sigma_max`, and `rho` is positive. All of these are plain numbers. Returns a tensor of shape `(steps + 1,)`, `float32` or `float64`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Leave out the powers first ($\rho = 1$). Which number comes first, which last but one, and by how much do two neighbours differ? Then raise the two ends to the power $1/\rho$ before, and everything to the power $\rho$ afterwards.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.linspace(a, b, n)` gives $n$ evenly spaced numbers with both ends, in either direction; or `torch.arange(n)`, divided by the last of them. `torch.cat` puts two tensors behind each other, such as the levels and `torch.zeros(1)`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "karras_levels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def karras_levels(steps, sigma_min, sigma_max, rho):
    """Noise levels from sigma_max down to sigma_min, even after the power 1 / rho, and then 0: (steps + 1,)."""
    ### BEGIN SOLUTION
    ramp = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps)
    return torch.cat([ramp**rho, torch.zeros(1)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "karras_levels_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.karras_levels(karras_levels)

# %% [markdown]
# ### Exercise 3 ★★☆ (20 minutes): look ahead, then step
#
# Let $x = x_0 + \sigma \epsilon$. When the noise is taken away little by little, $x$ moves along the slope $\mathrm{d}x / \mathrm{d}\sigma = (x - D(x; \sigma)) / \sigma$. Euler's step from $\sigma$ down to $\sigma' < \sigma$ follows the slope at its beginning. Heun's method (Karras et al. 2022, Algorithm 1) takes that step only to look what the slope is at its end, comes back, and makes the step anew, along the mean of the two slopes. Where $\sigma' = 0$ there is no slope at the end, and Euler's step has to do.
#
# Write `heun_step(denoise, x, sigma, before)`, one such step:
#
# - `denoise(x, sigma)` returns $D(x; \sigma)$, the estimate of $x_0$, shaped like `x`;
# - `x` has shape `(B, ...)` and stands at noise `sigma`, a positive float, the same for the whole batch;
# - `before` is the lower noise level $\sigma'$, a float, which may be 0.
#
# Returns the point at noise `before`, shaped like `x`, and leaves `x` unchanged. Each call of `denoise` is a pass through a network: **two are enough, and one where `before` is 0.** The check counts.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Euler's step first, with one slope: for `before = 0` it has to give `denoise(x, sigma)` and nothing else (why?). For the second slope ask at each place: which point, which noise level?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# Plus, minus, times and a plain `if`. Give names to the two slopes and to the point at which Euler's step arrives, and do not write over `x`: it is needed once more.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "heun_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def heun_step(denoise, x, sigma, before):
    """x (B, ...) led from noise sigma down to noise before by Heun's method, by Euler's where before is 0."""
    ### BEGIN SOLUTION
    slope = (x - denoise(x, sigma)) / sigma
    ahead = x + (before - sigma) * slope
    if before == 0:
        return ahead
    slope_there = (ahead - denoise(ahead, before)) / before
    return x + (before - sigma) * (slope + slope_there) / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "heun_step_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.heun_step(heun_step)

# %% [markdown]
# ### Exercise 4 ★☆☆ (10 minutes): a loss in three lines
#
# Write `flow_loss(network, x_0, eps, t)`, the loss of flow matching on the straight path (Liu et al. 2023, Eq. 1; Lipman et al. 2023):
#
# - `x_0` and `eps`, both `(B, 3, S, S)`, are pictures and the noise of each; `t`, fractions of shape `(B,)`, holds a time in (0, 1) for each picture. All three are handed in, nothing is drawn at random;
# - the path is $x_t = (1 - t)\, x_0 + t\, \epsilon$: here $t = 0$ is the picture (in these two papers, time runs the other way);
# - `network(x_t, t)` is shown the points on the path and told `t`, shape `(B,)`. Its answer, `(B, 3, S, S)`, should be the velocity $u = \mathrm{d} x_t / \mathrm{d} t$, with which $x_t$ moves along the path as $t$ grows.
#
# (Section 1's table has the velocity: derive it before you look.) Returns one number, a tensor of shape `()`: the mean squared error of the network's answer, over all pictures, channels, rows and columns.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Differentiate $x_t$ by $t$, with $x_0$ and $\epsilon$ held fixed. Is anything of $t$ left?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# Broadcasting lines up shapes from the right, so `t` needs three more axes of length 1, by `view` or `reshape`, before it can multiply a batch of pictures. The network wants it without them. `.square()` and `.mean()` do the rest.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "flow_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def flow_loss(network, x_0, eps, t):
    """Mean squared error of network(x_t, t) about the velocity; x_0, eps: (B, 3, S, S), t: (B,). Returns a scalar."""
    ### BEGIN SOLUTION
    share = t.view(-1, 1, 1, 1)
    x_t = (1 - share) * x_0 + share * eps
    return (network(x_t, t) - (eps - x_0)).square().mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "flow_loss_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.flow_loss(flow_loss)

# %% [markdown]
# ### Exercise 5 ★★★ (25 minutes): one step for two
#
# What must a student answer, so that **one** of its DDIM steps lands where **two** steps of its teacher do (Salimans & Ho 2022, Algorithm 2)?
#
# There are three levels, 0, 1 and 2, from noisy to clean. At level $i$, a picture is $x = a_i\, x_0 + s_i\, \epsilon$. A step from level $i$ to level $j$ takes an estimate $\hat x_0$, reads off the noise that $x$ then holds, and puts both together anew:
#
# $$\hat\epsilon = \frac{x - a_i\, \hat x_0}{s_i}, \qquad x_\text{new} = a_j\, \hat x_0 + s_j\, \hat\epsilon .$$
#
# The teacher takes such a step from $x_t$ at level 0 to $x'$ at level 1, and another one from there to $x''$ at level 2, with a new estimate for each. The student takes one step from $x_t$ to level 2. Write `halved_target(teacher, x_t, a, s)`: the $\hat x_0$ with which this one step ends exactly at $x''$.
#
# - `teacher(x, i)` gives the teacher's estimate of $x_0$, of the shape of `x`, for pictures `x` at level `i`, which is 0 or 1;
# - `x_t` has shape `(B, 3, S, S)` and stands at level 0;
# - `a` and `s` have shape `(3,)`: the factors of picture and noise at the three levels, those of any path; their squares need not add up to 1. `a[0]` may be 0 (pure noise), and `s[2]` may be 0 (the clean picture); `s[0]`, `s[1]`, `a[1]` and `a[2]` are positive, and `s / a` falls from each level to the next.
#
# Returns `(B, 3, S, S)`. Nothing is drawn at random, and nothing is clamped (the teacher's estimates are, in the course's own `distillation.travel`).
#
# <details><summary>Hint 1: where to begin</summary>
#
# Begin with the teacher: its two steps give you $x''$. Then write down the student's step, with $\hat\epsilon$ put in, and $x''$ on the left. Everything in it is known but $\hat x_0$, which stands there twice. What does the step come to where `s[2]` is 0?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `a[0]` and `s[0]` are tensors without axes and multiply a batch as they are. A loop, or a function of your own for a step from level `i` to level `j`, saves you from writing the step twice; with the function you can also test your answer: one step with it, from level 0 to level 2, has to end at $x''$.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "halved_target", "locked": false, "schema_version": 3, "solution": true, "task": false}
def halved_target(teacher, x_t, a, s):
    """x_0 that leads a student from x_t (B, 3, S, S) to where teacher(x, i) lands in two steps; a, s: (3,) levels."""
    ### BEGIN SOLUTION
    x = x_t
    for i in (0, 1):
        x_0 = teacher(x, i)
        eps = (x - a[i] * x_0) / s[i]
        x = a[i + 1] * x_0 + s[i + 1] * eps
    ratio = s[2] / s[0]
    return (x - ratio * x_t) / (a[2] - ratio * a[0])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "halved_target_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.halved_target(halved_target)

# %% [markdown]
# ## References
#
# - Ho, Jain & Abbeel (2020), Denoising diffusion probabilistic models. NeurIPS. [arXiv:2006.11239](https://arxiv.org/abs/2006.11239)
# - Karras, Aittala, Aila & Laine (2022), Elucidating the design space of diffusion-based generative models. NeurIPS. [arXiv:2206.00364](https://arxiv.org/abs/2206.00364)
# - Lipman, Chen, Ben-Hamu, Nickel & Le (2023), Flow matching for generative modeling. ICLR. [arXiv:2210.02747](https://arxiv.org/abs/2210.02747)
# - Liu, Gong & Liu (2023), Flow straight and fast: learning to generate and transfer data with rectified flow. ICLR. [arXiv:2209.03003](https://arxiv.org/abs/2209.03003)
# - Esser et al. (2024), Scaling rectified flow transformers for high-resolution image synthesis. ICML. [arXiv:2403.03206](https://arxiv.org/abs/2403.03206)
# - Kingma & Gao (2023), Understanding diffusion objectives as the ELBO with simple data augmentation. NeurIPS. [arXiv:2303.00848](https://arxiv.org/abs/2303.00848)
# - Gao, Hoogeboom, Heek, De Bortoli, Murphy & Salimans (2024), Diffusion meets flow matching: two sides of the same coin. [diffusionflow.github.io](https://diffusionflow.github.io)
# - Song, Meng & Ermon (2021a), Denoising diffusion implicit models. ICLR. [arXiv:2010.02502](https://arxiv.org/abs/2010.02502)
# - Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021b), Score-based generative modeling through stochastic differential equations. ICLR. [arXiv:2011.13456](https://arxiv.org/abs/2011.13456)
# - Nichol & Dhariwal (2021), Improved denoising diffusion probabilistic models. ICML. [arXiv:2102.09672](https://arxiv.org/abs/2102.09672)
# - Lu, Zhou, Bao, Chen, Li & Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion probabilistic models. [arXiv:2211.01095](https://arxiv.org/abs/2211.01095)
# - Salimans & Ho (2022), Progressive distillation for fast sampling of diffusion models. ICLR. [arXiv:2202.00512](https://arxiv.org/abs/2202.00512)
# - Frans, Hafner, Levine & Abbeel (2025), One step diffusion via shortcut models. ICLR. [arXiv:2410.12557](https://arxiv.org/abs/2410.12557)
# - Song, Dhariwal, Chen & Sutskever (2023), Consistency models. ICML. [arXiv:2303.01469](https://arxiv.org/abs/2303.01469)
# - Tong et al. (2024), Improving and generalizing flow-based generative models with minibatch optimal transport. TMLR. [arXiv:2302.00482](https://arxiv.org/abs/2302.00482)
# - Pooladian et al. (2023), Multisample flow matching: straightening flows with minibatch couplings. ICML. [arXiv:2304.14772](https://arxiv.org/abs/2304.14772)
