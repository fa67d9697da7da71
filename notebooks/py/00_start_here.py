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
# # 00 · Start here: from dots to cats
#
# ![Two rows of five pictures. Above, a dinosaur of dots; below, a drawn cat. From left to right both drown in more and more noise.](../report_imgs/00_same_equation.png)
#
# One equation ruins both rows from left to right. A network trained to see the noise, one for each row, can run it from
# right to left, starting from *nothing but noise*. This course shows how: first on dots, where everything can be seen, then on
# cats, beside the other great families of generative models, on the same data and the same scale.
#
# **You will be able to**
# 1. find your way around the course, and know what each notebook is for;
# 2. check that this machine is ready (it is, if the cells below run);
# 3. read the notation, in the papers and in the code;
# 4. do homework and be told at once what is wrong.
#
# **Before you start:** nothing. **Run time:** a few seconds. Run a cell with <kbd>Shift</kbd>+<kbd>Enter</kbd>, or all
# of them with *Run → Run All Cells*.

# %%
import ipywidgets
import torch

from course_utils import checks, diffusion, schedules, selfcheck, viz
from course_utils.data import drawn, toy

# %% [markdown]
# ## Is this machine ready?
#
# There is no need for a GPU, nor for the internet. Where photographs are missing, the course draws its own.

# %%
for topic, finding in selfcheck.report().items():
    print(f"{topic:20s} {finding}")

# %% [markdown]
# **Do widgets work?** Move the slider: the number beside it should follow. (If you see only a line of text in place of
# a slider, the notebook has no running kernel: choose *Kernel → Restart Kernel and Run All Cells*.)

# %%
slider = ipywidgets.IntSlider(value=3, min=1, max=10, description="cats")
reply = ipywidgets.Label()


def count(change=None):
    reply.value = "🐱" * slider.value


slider.observe(count, "value")
count()
ipywidgets.HBox([slider, reply])

# %% [markdown]
# ## The same equation, on dots and on cats
#
# The whole course leans on one line, the closed form of the forward process (Ho et al. 2020, Eq. 4):
#
# $$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon, \qquad \epsilon \sim \mathcal N(0, I).$$
#
# Here it is at work. The function does not care whether `x_0` holds points or pictures.

# %%
schedule = schedules.linear(T=1000)
generator = torch.Generator().manual_seed(0)
dots, cat = toy.draw("dino", 800), drawn.draw(1, "cat", size=64, seed=11).images
times = (0, 60, 160, 350, 1000)

figure, panels = viz.axes(2, len(times), (2.3, 2.4))
for column, t in enumerate(times):
    for row, x_0 in enumerate((dots, cat)):
        eps = torch.randn(x_0.shape, generator=generator)
        x_t = diffusion.q_sample(x_0, torch.full((len(x_0),), t), eps, schedule)
        title = f"t = {t}" if row == 0 else ""
        viz.cloud(panels[0, column], x_t, title, size=3) if row == 0 else viz.image(panels[1, column], x_t[0])
viz.show(
    figure,
    alt="Two rows of five pictures. Above, a dinosaur of dots; below, a drawn cat. From left to right both drown in "
    "more and more noise.",
    name="00_same_equation",
    photo=True,
)

# %% [markdown]
# *Look for:* at which column can you no longer tell what it was? Is it the same one for the dots and for the cat?
#
# ## The map
#
# | notebook | what it is about |
# |---|---|
# | [01 · Toy diffusion](01_toy_diffusion.ipynb) | a complete diffusion model on points in the plane; eight ablations; draw your own data set |
# | [02 · DDPM derivation](02_ddpm_derivation.ipynb) | from a chain of Gaussians to the training loss, every line checked by numbers |
# | [03 · CIFAR-10 cats](03_cifar10_cats.ipynb) | the same on pictures: U-Net, schedules, samplers; is it memorising? |
# | [04 · Conditional generation](04_conditional_generation.ipynb) | cats *or* frogs, on demand: labels, guidance and its price |
# | [05 · Variational autoencoders](05_vae.ipynb) | what the KL weight buys, collapse, over-fitting; diffusion in the latent space |
# | [06 · DCGAN](06_dcgan.ipynb) | two networks at war: circles, collapse, losses that do not rank |
# | [07 · FID study](07_fid_study.ipynb) | how good is it? What scores measure, what moves them, what they miss; a league table |
# | [08 · Fusion](08_fusion.ipynb) | the child of two cats: a naive recipe mended step by step, with your own photographs if you like |
# | [09 · EDM and fast samplers](09_edm_and_fast_samplers.ipynb) | DDPM, EDM and flow matching in one table; ten evaluations instead of a thousand; a network that needs four |
# | [10 · StyleGAN2](10_stylegan2.ipynb) | taken apart: what each of its five ideas does; styles, truncation, projection; a race at equal minutes |
#
# The pictures below are the offline data set of the later notebooks: **drawn** by a program, as many as we like,
# each with known factors (fur, ears, pose, …). So we can *count* what a model forgot to generate.

# %%
pictures = [drawn.draw(6, kind, size=64, seed=5).images for kind in drawn.CLASSES]
figure, panels = viz.axes(3, 6, (1.5, 1.5))
for row, images in enumerate(pictures):
    for column, image in enumerate(images):
        viz.image(panels[row, column], image)
viz.show(
    figure,
    alt="Six drawn cats, six drawn frogs and six drawn cars, in many colours and poses, on pastel backgrounds, some at night.",
    name="00_drawn",
    photo=True,
)

# %% [markdown]
# ## Notation
#
# Prose uses the papers' Greek, code the same names in ASCII. Index $t$ is always the paper's subscript.
#
# | symbol | code | meaning |
# |---|---|---|
# | $x_0$ | `x_0` | a clean example: a point `(B, 2)`, or an image `(B, 3, H, W)` in $[-1, 1]$ |
# | $t$, $T$ | `t`, `T` | timestep, one per example, shape `(B,)`; $t = 0$ is clean data, $t = T$ pure noise |
# | $x_t$ | `x_t` | the example noised to level $t$ |
# | $\epsilon$ | `eps` | the standard normal noise that was mixed in |
# | $\beta_t$ | `beta` | variance of the noise that step $t$ adds |
# | $\alpha_t$ | `alpha` | $1 - \beta_t$ |
# | $\bar\alpha_t$ | `alpha_bar` | $\prod_{s \le t} \alpha_s$: share of the signal's variance left at level $t$; $\bar\alpha_0 = 1$ |
# | $\sigma_t$ | `sigma` | $\sqrt{1 - \bar\alpha_t}$: noise level at $t$ |
# | $\tilde\beta_t$ | `beta_tilde` | variance of the posterior $q(x_{t-1} \mid x_t, x_0)$ |
# | $\epsilon_\theta$, $\hat\epsilon$ | `model`, `eps_hat` | the network, and its guess of the noise |
# | $\hat x_0$ | `x0_hat` | the clean example that this guess implies |
# | $v$ | `v` | $\sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$, another thing to predict |
# | $y$ | `y` | class label, shape `(B,)` |
# | $\mu$, $\log\sigma^2$, $z$ | `mu`, `logvar`, `z` | mean, log-variance and code of a VAE |
#
# ## How homework works
#
# Notebooks end in exercises. In the student copy each is a function whose body is missing:
#
# ```python
# def q_sample(x_0, t, eps, schedule):
#     raise NotImplementedError("Exercise q_sample: not solved yet. Replace this line with your code.")
# ```
#
# Replace the last line, run the cell, then run the check below it. The check does not just say *wrong*; it tries to say
# *what* is wrong. Here is somebody who forgot a bar over an alpha:


# %%
def q_sample(x_0, t, eps, schedule):
    beta = schedule.beta[t].view(-1, *[1] * (x_0.ndim - 1))
    return (1 - beta).sqrt() * x_0 + beta.sqrt() * eps


try:
    checks.q_sample(q_sample)
except checks.CheckFailed as failure:
    print(failure)

# %% [markdown]
# - Run a check as often as you like; nothing counts until you hand in.
# - Each exercise has two hints, folded away. Reading them costs nothing.
# - Before handing in: *Kernel → Restart Kernel and Run All Cells*, then send the `.ipynb` file.
#
# Teachers: `make homework` writes the student copies, `make grade SUBMISSIONS=folder` marks what comes back.
#
# ## Sizes: one switch
#
# The environment variable `COURSE_PRESET` changes how much is computed, never what: `ci` (seconds, for tests),
# `lecture` (the default: trains live only what takes under a minute on two CPU cores) or `full`.
#
# **Next:** [01 · Toy diffusion](01_toy_diffusion.ipynb).
