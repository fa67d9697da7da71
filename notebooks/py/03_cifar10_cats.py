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
# # 03 · Cats out of noise
#
# ![Two rows of small pictures. Above: coloured noise on the left turns, step by step, into pictures on the right. Below: what the network expects at each step, first blurred, then sharp.](../report_imgs/03_reverse_strip.png)
#
# Notebook 01 moved two numbers per example. A picture of 32 × 32 pixels is 3,072 of them. What has to change before
# the same algorithm draws a cat, and how would we know that the cat is any good?
#
# Every equation stays. New are the network, the hours it needs, and the care it takes to compare two of them.
#
# **You will be able to**
# 1. say what each part of a U-Net is for, and what it costs;
# 2. train a diffusion model on pictures, and tell from how many pictures it has seen what to expect;
# 3. read FD and KID against the score of real pictures, and say when two scores do not differ;
# 4. recognise the bug of one timestep per batch by its loss curve, and explain what it does to the gradient;
# 5. check whether a generator has memorised its training set.
#
# **Before you start:** notebook 01; Sections 2 to 4 of notebook 02 help. **Run time:** about two minutes on two
# CPU cores, of which one training cell takes less than a minute. What takes longer has been computed beforehand and ships
# with the course.

# %%
import time
from itertools import pairwise

import torch
from torchvision.utils import make_grid

from course_utils import (
    checkpoints,
    checks,
    diffusion,
    metrics,
    sample,
    samplers,
    schedules,
    study,
    training,
    viz,
    widgets,
)
from course_utils.data import images, named
from course_utils.models import convnet, unet
from course_utils.presets import choose

generator = torch.Generator().manual_seed(0)


# %%
def rows(title, pictures, labels, alt, name=""):
    """Show a panel of pictures for each label, ten side by side: pictures is a list of (N, 3, S, S)."""
    lines = [-(-len(p) // 10) for p in pictures]
    height = (sum(lines) + 0.35) / len(lines) + 0.08
    figure, panels = viz.axes(len(pictures), 1, (12, height), height_ratios=lines)
    figure.suptitle(title, fontsize=13)
    for ax, some, label in zip(panels[:, 0], pictures, labels, strict=True):
        viz.image(ax, make_grid(some, nrow=10, padding=1, pad_value=1.0)).set_anchor("W")
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=12)
    viz.show(figure, alt, name, dpi=80, photo=True)


# %% [markdown]
# ## 1 · The data: one class of CIFAR-10
#
# CIFAR-10 (Krizhevsky 2009) has 6,000 photographs of cats, 5,000 of them for training. They do not ship with the course.
# Where they are missing, procedurally drawn cats stand in, a line says so, and every figure bears the name of the set that
# it was made from.

# %%
cats = images.cifar10("cat", n=60)
x_0 = cats.images
rows(cats.name, [x_0[:30]], [""], alt=f"30 pictures of 32 by 32 pixels: {cats.name}.")
print(f"one picture: {tuple(x_0[0].shape)}, {x_0[0].numel():,} numbers from {x_0.min():.0f} to {x_0.max():.0f}")
assert x_0.min() >= -1 and x_0.max() <= 1

# %% [markdown]
# Levels 0 to 255 become numbers from −1 to 1 (Exercise 1), so that black and white lie equally far from the centre of the noise.
#
# ## 2 · From points to pictures: nothing changes
#
# Eq. 4 of Ho et al. 2020 does not ask what it noises: $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$,
# now with 3,072 numbers in each of the letters, and one $t$ for each picture.
#
# **Predict:** of 1,000 steps, how many pass until you no longer recognise the cat? The same for both schedules?

# %%
shown = (0, 50, 100, 200, 300, 400, 500, 650, 800, 1000)
eps = torch.randn(3, 32, 32, generator=generator)
t = torch.tensor(shown)
copies, noises = (x.expand(len(shown), 3, 32, 32) for x in (x_0[1], eps))
noised = {s: diffusion.q_sample(copies, t, noises, schedules.make(s, 1000)) for s in ("linear", "cosine")}
rows(
    f"{cats.name}, noised",
    [x.clamp(-1, 1) for x in noised.values()],
    list(noised),
    alt=f"One picture ({cats.name}) noised to ten levels from t = 0 to 1,000 by two schedules. With linear the cat drowns "
    "by t = 400 and the right half of the row is pure noise; with cosine it shimmers through until 650.",
    name="03_forward",
)
print("t =", *shown)
for name in noised:
    curve = schedules.make(name, 1000)
    print(f"{name}: the signal's variance is below 1% for {(curve.alpha_bar < 0.01).sum():.0f} of 1,000 steps")
assert (schedules.linear().alpha_bar < 0.01).sum() > 2 * (schedules.cosine().alpha_bar < 0.01).sum()

# %% [markdown]
# *Look for:* large things outlive small ones. The whiskers are gone first, then the eyes; the colour of the background comes through when
# nothing else does. Averages over many pixels cancel the noise, so a large picture needs *more* noise than a
# small one to be destroyed. The linear schedule spends much of its chain on what is noise already; cosine
# was proposed to mend that for small pictures (Nichol & Dhariwal 2021).

# %%
widgets.image_schedule_explorer(x_0[:6])

# %% [markdown]
# ## 3 · The network: a U-Net
#
# In notebook 01 a network of fully connected layers sufficed. For 3,072 inputs and as many outputs, its first layer alone would take
# millions of weights, and would have to learn the same whisker anew for each place. Convolutions know that a whisker is
# a whisker everywhere. Four ideas turn them into the network that nearly everybody uses
# (Ronneberger et al. 2015; Ho et al. 2020, appendix B):

# %%
config = unet.config("fast")
figure, panels = viz.axes(1, 1, (12, 4.8))
ax = panels[0, 0]
ax.set(xlim=(-1.1, 13.1), ylim=(-3.45, 0.75))
ax.set_axis_off()
W, H = 1.08, 0.33  # half the width and height of a box


def box(x, y, text, colour="#d6e9f5"):
    ax.bar(x, 2 * H, 2 * W, bottom=y - H, color=colour)
    ax.text(x, y, text, ha="center", va="center", fontsize=14)


def arrow(start, end, colour=viz.INK):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 3, "shrinkB": 3})


# %%
left, right = [(2.4 + 0.9 * i, -i) for i in range(3)], [(9.6 - 0.9 * i, -i) for i in range(3)]
for i, m in enumerate(config.multipliers):
    grid = config.size // config.patch // 2**i
    for x, y in (left[i], right[i]):
        box(x, y, f"blocks{' + attn.' if grid in config.attention else ''}, $t$\n{m * config.width}, {grid} × {grid}")
    arrow((left[i][0] + W, -i), (right[i][0] - W, -i), viz.ORANGE)
    if i:
        arrow((left[i - 1][0], 1 - i - H), (left[i][0], H - i))
        arrow((right[i][0], H - i), (right[i - 1][0], 1 - i - H))
box(6, -3, f"middle + attn., $t$\n{m * config.width}, {grid} × {grid}")
arrow((left[2][0], -2 - H), (6 - W, -3))
arrow((6 + W, -3), (right[2][0], -2 - H))
for x, text, ends in ((0, "$x_t$", (W, 2.4 - W)), (12, r"$\hat x_0$", (9.6 + W, 12 - W))):
    box(x, 0, f"{text}\n{config.channels}, {config.size} × {config.size}", "#e6e6e6")
    arrow((ends[0], 0), (ends[1], 0))
ax.text(6, 0.12, "skip: copied and appended", color=viz.ORANGE, ha="center", fontsize=14)
viz.show(
    figure,
    alt="Diagram of a U-Net: boxes lead down on the left from 16 by 16 to 4 by 4, through a middle block, and up again on the right; "
    "orange arrows, the skips, lead straight across at every size. Every blue box is told the time t; those at 8 by 8 and in the middle have attention.",
    name="03_unet",
)

# %% [markdown]
# - **Down and up again.** At 4 × 4 a 3 × 3 convolution sees the whole cat; at 16 × 16 a whisker.
# - **Skips.** The answer has to be exact to the pixel, since the noise differs at every pixel. What went through the narrow middle has lost
#   that. So each level hands its result straight across.
# - **Attention** at 8 × 8 compares every place with every other: two eyes of one colour.
# - **Time.** Sines and cosines of $t$, through a small MLP, scale and shift the features of every block: the same weights
#   must hunt for a silhouette at large $t$, and for single hairs at small $t$.
#
# Ours has a fifth, for machines without a GPU: it folds **2 × 2 patches** of pixels into channels first. A convolution at
# 16 × 16 costs a quarter of one at 32 × 32.
#
# **Predict:** how much faster is `fast` than `3xBlocks`, the default of the sources?

# %%
networks = ("3xBlocks", "2xUD", "2xUD-half", "fast", "tiny", "tiny-half")
built = {name: unet.UNet(unet.config(name)) for name in networks} | {"plain convnet": convnet.ConvNet()}
x, t = torch.randn(4, 3, 32, 32, generator=generator), torch.full((4,), 500)
speed = {}
for name, network in built.items():
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        with torch.inference_mode():
            network.eval()(x, t)
        taken.append(1000 * (time.perf_counter() - began) / len(x))
    speed[name] = min(taken)  # the first call sets things up
    print(f"{name:14s} {sum(p.numel() for p in network.parameters()):>11,} weights {speed[name]:8.1f} ms per picture")
assert speed["fast"] < speed["3xBlocks"] / 2
del built

# %% [markdown]
# The first three have the sizes of the sources (theirs: 23,332,729 for `3xBlocks`, 3,062,531 for `2xUD-half`). Weights and
# time go apart: `fast` has about as many weights as `2xUD-half`, and needs a fraction of its time. A convolution uses each weight once *per place*,
# so what costs is the grid. The convnet is the simple baseline, without skips or attention.
#
# ## 4 · Train one, now
#
# The loop is that of notebook 01. One decision is new: what shall the network answer? Three answers carry the same
# information, as each follows from $x_t$ and another: the noise $\epsilon$, the picture $x_0$, and the velocity
# $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\; x_0$ of Salimans & Ho (2022).
#
# We ask for **$x_0$**. A picture has large plain areas that a small network can say in few words; noise has none. What is left to choose is
# how much an error counts at each $t$. With the signal-to-noise ratio $\text{SNR} = \bar\alpha_t / (1 - \bar\alpha_t)$,
#
# $$L = \mathbb E\, w_t\, \lVert \hat x_0 - x_0 \rVert^2, \qquad
# w_t = \text{SNR for the loss of } \epsilon, \quad \text{SNR} + 1 \text{ for that of } v, \quad \min(\text{SNR}, 5) \text{ for us}$$
#
# (Hang et al. 2023). As $t \to 0$, SNR grows into the thousands: without a limit, the loss would attend to little but the last grain
# of noise.


# %%
def loss(model, batch):
    x_0, t, eps = batch.x_0, batch.t, batch.eps  # one t for each picture
    a, s = schedule.alpha_bar[t], schedule.sigma[t]
    x_t = a.sqrt().view(-1, 1, 1, 1) * x_0 + s.view(-1, 1, 1, 1) * eps
    error = ((model(x_t, t) - x_0) ** 2).mean(dim=(1, 2, 3))
    return ((a / s**2).clamp(max=5) * error).mean()


recipe = study.BASE.changed(precision="float32")  # bfloat16 is faster, on CPUs that have it
model, ema, schedule = recipe.build()
drawn = recipe.images()
batches = recipe.batches(drawn, schedule)  # a function from the number of the step to its batch
assert (recipe.predicts, recipe.weight) == ("x_0", "min_snr")
assert torch.allclose(loss(model, batches(1)), recipe.loss(model, batches(1), schedule))
print(f"{drawn.name}; {recipe.network}, {recipe.schedule}, T = {recipe.T}, batches of {recipe.batch_size}")
print(f"untrained, the network answers 0 and scores {loss(model, batches(1)):.3f}")

# %% [markdown]
# A `Recipe` holds all that defines a run. This is the baseline of the study in Section 7, on drawn cats, with `tiny`, the smallest of
# our networks. We take a part of its steps and draw ten pictures now and then, always from the same noise.
#
# **Predict:** what will you see at the end: noise, colours, shapes, cats?

# %%
steps = choose(ci=3, lecture=240, full=recipe.steps)
stops = sorted({max(1, int(steps * part)) for part in (0.1, 0.4, 1)})
how = {"sampler": "dpm_solver_pp", "steps": choose(ci=2, lecture=15, full=20), "spacing": "lambda"}
film, history = [], []
records = training.fit(model, loss, batches, steps, lr=recipe.lr, warmup=steps // 10, ema=ema)
for record in training.progress(records, steps):
    history.append(record.loss)
    if record.step in stops:
        film.append(sample.images(ema.model, schedule, 10, **how))

# %%
figure, panels = viz.axes(1, 1, (9, 2.8))
panels[0, 0].plot(history, color=viz.BLUE, linewidth=1)
panels[0, 0].set(xlabel="step", ylabel="loss", ylim=(0, None), title=f"tiny on {drawn.name}")
viz.show(
    figure, alt=f"The loss falls from {history[0]:.2f}, steeply at first and slowly later, to about {history[-1]:.2f}."
)
labels = [f"{stop * recipe.batch_size:,} pictures\nseen" for stop in stops]
rows(
    f"samples of {recipe.network}, trained on {drawn.name}",
    film,
    labels,
    alt="Ten samples at three moments of the training: soft blobs at first, then spots of colour; at the end patches in the "
    "colours of cats on plain backdrops, but nothing with ears.",
)
early, late = (sum(part) / len(part) for part in (history[: len(history) // 10 or 1], history[-len(history) // 4 :]))
print(f"mean loss of the first tenth {early:.3f}, of the last quarter {late:.3f}")
assert late < early

# %% [markdown]
# The loss has fallen a long way, and the pictures are **poor**. Not because of a bug: the network has seen each picture about
# once or twice. Colours and large blobs come within a minute; eyes and ears take many times that. Count in millions
# of pictures, whatever you train.
#
# ## 5 · What more training buys
#
# These checkpoints were trained by `python -m course_utils.train NAME`, the way everybody with the data can repeat it. Each carries
# a card that says what it was trained on and how it scored.

# %%
cards = checkpoints.names()
print("                 weights  pictures seen   hours        FD (× floor)      KID ± s.e.        precision  recall")
for name, card in cards.items():
    s, seen, hours = card["scores"], card["images_seen"] / 1e6, card["minutes"] / 60
    about = f"{name:15s} {card['parameters']:>9,} {seen:6.2f} million {hours:7.1f}"
    about += f" {s['fd']:10.1f} ({s['fd'] / s['floor']['fd']:.1f} ×)   {s['kid']:.4f} ± {s['kid_se']:.4f}"
    print(f"{about} {s['precision']:10.2f} {s['recall']:7.2f}")
for name, card in cards.items():
    print(
        f"{name:15s} trained on {card['data']}; {card['scores']['n']:,} samples against {card['scores']['reference']}"
    )
print("FD (EfficientNet-Lite0), hours on CPU cores; Section 6 says what the numbers mean")
assert all(card["scores"]["fd"] > card["scores"]["floor"]["fd"] for card in cards.values())

# %%
names = [name for name in ("drawn32-cosine", "cats32-linear", "cats32-cosine", "faces64") if name in cards]
trained = {name: checkpoints.load(name) for name in names}
how["steps"] = choose(ci=2, lecture=20, full=50)
many = choose(ci=10, lecture=30, full=60)
drawings = [
    sample.images(c.model, c.schedule, many if name == "cats32-cosine" else 10, **how) for name, c in trained.items()
]
rows(
    "samples of the shipped checkpoints",
    drawings,
    names,
    alt=f"Samples of the shipped checkpoints, one after the other: {', '.join(names)}.",
    name="03_samples",
)

# %% [markdown]
# <!-- conclusion: checkpoints -->
# No picture above was ever taken or drawn: all are samples. *Look for:* the order in which things come right: colours and light first, then the pose, paws and
# eyes last. The drawn cats got there; the photographs, which are far more varied, have the light and the fur, and only a guess at the cat.
#
# ### The film backwards

# %%
best = trained["cats32-cosine"]
length = choose(ci=5, lecture=50, full=200)
x_T = torch.randn(9, 3, 32, 32, generator=generator)
trajectory = list(samplers.ddim(best.model, best.schedule, x_T, steps=length, clip=True))
some = [trajectory[round(k)] for k in torch.linspace(0, length, 10).tolist()]
after = [trajectory[min(round(k) + 1, length)] for k in torch.linspace(0, length, 10).tolist()]
picture = 1
rows(
    f"{best.name}, DDIM with {length} steps",
    [torch.stack([s.x[picture] for s in some]).clamp(-1, 1), torch.stack([s.x0_hat[picture] for s in after])],
    ["$x_t$", r"$\hat x_0$"],
    alt="One run of the sampler: noise turns into a picture from left to right. Below, the picture that the network expects: "
    "a blur of average colours first, then a shape, details last.",
    name="03_reverse_strip",
)
print("t =", *(s.t for s in some))

# %% [markdown]
# As with the dinosaur: the first guess is an average of many pictures, and what it will be is decided little by little, the large before the
# small.

# %%
widgets.image_trajectory_explorer(trajectory)

# %% [markdown]
# ### How few steps will do?
#
# The chain has 1,000 levels, but a sampler may leap. DDIM (Song et al. 2021) jumps to $\hat x_0$ and puts the *same*
# noise back that it has just taken out, at a lower level (Exercise 5). DPM-Solver++ (Lu et al. 2022) also looks where $\hat x_0$
# moved to since the last evaluation, and goes on in that direction.
#
# **Predict:** from which number of steps on do the pictures stop changing?

# %%
counts = choose(ci=(2, 3), lecture=(5, 10, 20, 50), full=(5, 10, 20, 50))
ways = {"DDIM": (samplers.ddim, {}), "DPM-Solver++": (samplers.dpm_solver_pp, {"spacing": "lambda"})}
leaps = {
    name: [
        samplers.final(way(best.model, best.schedule, x_T[:5], steps=n, clip=True, **more)).clamp(-1, 1) for n in counts
    ]
    for name, (way, more) in ways.items()
}
rows(
    f"samples of {best.name}: on the left by DDIM, on the right by DPM-Solver++",
    [torch.cat(pair) for pair in zip(*leaps.values(), strict=True)],
    [f"{n} steps" for n in counts],
    alt="Five pictures by DDIM and, from the same noise, the same five by DPM-Solver++, for a growing number of steps. With few "
    "steps they are blurred or crude; from about 20 on they hardly change.",
)
print("mean change of a pixel from one row to the next:")
for name, drawn_in in leaps.items():
    moved = [f"{(b - a).abs().mean():.3f}" for a, b in pairwise(drawn_in)]
    print(f"{name:14s}", ", ".join(moved))

# %%
widgets.sampler_explorer(best)

# %% [markdown]
# ## 6 · How good? Two distances, and their floor
#
# Both compare **features**: the last layer of a network trained to name things in photographs. **FD**, the Fréchet distance (Heusel et al. 2017), fits a
# Gaussian to each set of features and measures between these. **KID** (Bińkowski et al. 2018) compares all pairs by a kernel; its
# expectation does not depend on the number of pictures, and it comes with a standard error. **Precision** and **recall** (Kynkäänniemi et al. 2019) ask
# how many samples look real, and how much of the real they reach.
#
# Published FIDs use Inception's features and 50,000 samples. Ours use EfficientNet-Lite0, which works offline, and a thousand or fewer: every number here is
# an **FD (EfficientNet-Lite0)**, and compares with no published FID.
#
# A thousand *real* pictures do not score 0 either. The sources measured training pictures against test pictures: 87 with 500 of
# each, **49.838** with 1,000. So with 1,000 samples nobody can expect less than about 50, and fewer pictures make any model
# look worse. Hence two rules: **compare at equal n**, and **read against the floor, not against 0**. Here are their networks
# and ours on the same subject, each in units of its own floor.

# %%
theirs = (
    ("2xUD half channels, linear", 114.710),
    ("2xUD, linear", 100.144),
    ("2xUD, cosine", 97.275),
    ("3xBlocks, linear", 118.501),
    ("3xBlocks, cosine", 115.949),
)
print("CIFAR-10 cats, 1,000 samples against 1,000 test pictures")
for name, fid in theirs:
    print(f"  the sources', {name:28s} FID (Inception)           {fid:7.1f} = {fid / 49.838:.2f} × their floor, 49.838")
for name in [name for name in cards if name.startswith("cats32")]:
    s = cards[name]["scores"]
    floor, about = s["floor"]["fd"], f"{cards[name]['settings']['network']}, {cards[name]['settings']['schedule']}"
    print(
        f"  ours, {about:36s} FD (EfficientNet-Lite0)   {s['fd']:7.1f} = {s['fd'] / floor:.2f} × our floor, {floor:.1f}"
    )

# %% [markdown]
# Even the ratios do not compare between the two networks of features: each has its own eyes. They order models *within* a
# column. Among theirs, the larger network did not win, and cosine won narrowly, twice; one run each. Does that hold?
#
# ## 7 · One change at a time
#
# To find out we would have to train their networks for hours each, many times. We do what fits on a laptop: the
# same questions, asked of **small** networks on **drawn** cats. `make study` repeats all of it. Each row differs from the baseline (`tiny`: two levels, cosine, $T = 1000$, $x_0$ with the
# weight above, EMA) in one thing, and all saw the same pictures in the same order.

# %%
results, floor = study.load()
print("variant           weights  minutes   FD (× floor)     KID ± s.e.        precision  recall")
for name, result in results.items():
    s = result.scores["average"]
    about = f"{name:16s} {result.parameters:>8,} {result.minutes:8.1f}"
    ratio = s["fd"] / floor["fd"]
    print(
        f"{about} {s['fd']:6.0f} ({ratio:4.1f} ×)  {s['kid']:7.4f} ± {s['kid_se']:.4f} {s['precision']:10.2f} {s['recall']:7.2f}"
    )
print(
    f"real pictures: FD {floor['fd']:.1f} ± {floor['fd_std']:.1f}, KID {floor['kid']:.4f} ± {floor['kid_std']:.4f}, n = {floor['n']}"
)
print(f"FD (EfficientNet-Lite0); {study.BASE.data}, {study.BASE.steps} steps of {study.BASE.batch_size}, one seed")
assert all(r.scores[kind]["n"] == floor["n"] for r in results.values() for kind in study.WEIGHTS)

# %% [markdown]
# **How to read it.** The standard error of KID says what *drawing other samples* from the same network would change. It does
# not say what *training it again* would. All is one seed, at a small scale: take
# differences of a few standard errors as a tie, and large ones as a hint. To conclude more, train each variant with at least three seeds, tune the
# learning rate for each, train until the scores stop falling, and score 10,000 samples.


# %%
def verdict(scores):
    return f"FD {scores['fd']:.0f} = {scores['fd'] / floor['fd']:.1f} × floor\nKID {scores['kid']:.3f} ± {scores['kid_se']:.3f}"


title = (
    f"samples; trained on drawn cats; scores: {floor['n']:,} samples against {floor['n_reference']:,} new drawn cats"
)


def compare(*names):
    labels = [f"{name}\n{verdict(results[name].scores['average'])}" for name in names]
    scores = "; ".join(label.replace("\n", ", ") for label in labels)
    rows(title, [results[n].pictures[:10] for n in names], labels, alt=f"Ten samples for each variant: {scores}.")


baseline = "baseline"
assert study.VARIANTS[baseline].schedule == "cosine" and study.VARIANTS[baseline].T == 1000

# %% [markdown]
# ### 7.1 Linear against cosine
#
# **Predict:** Section 2 showed what linear wastes. Will it show?

# %%
compare(baseline, "linear schedule")
for name in (baseline, "linear schedule"):
    print(f"{name:16s} with the last weights: FD {results[name].scores['last']['fd']:.0f}")

# %% [markdown]
# <!-- conclusion: schedule -->
# **What it shows.** Cosine spends more training examples on levels where something can be learned, so one expects it
# ahead early on; in the sources' table it is, narrowly. Here it is ahead with the averaged weights, but hardly with the last weights of the *same*
# two runs. A gap that depends on which weights one looks at is a hint, no more.
#
# ### 7.2 How many timesteps?
#
# The sources tried $T$ = 500, 1,000 and 1,500 with their largest model: slower, no visible gain.

# %%
compare("T = 500", baseline, "T = 1500")

# %% [markdown]
# <!-- conclusion: T -->
# **What it shows.** $T$ cuts one and the same curve into finer pieces. The network is told $t / T$, the training draws a level at random, and
# we sample in 20 steps whatever $T$ is. So theory promises next to nothing, and what differs above is mostly the luck
# of a run: a useful **ruler** for the other comparisons. Gaps in FD as small as these say nothing. With ancestral sampling, which takes all $T$ steps, more of them cost
# time, as the sources saw.
#
# ### 7.3 The network: narrower, deeper, plainer

# %%
compare("half channels", baseline, "three levels", "no attention", "plain convnet")
share = 1 - results["no attention"].parameters / results[baseline].parameters
print(f"attention holds {100 * share:.0f}% of the weights of the baseline")
assert results["plain convnet"].parameters > results[baseline].parameters

# %% [markdown]
# <!-- conclusion: network -->
# **What it shows.** By the ruler of 7.2, a third level or no attention makes no difference: at 8 × 8, convolutions on top of each other see most of the cat
# anyhow. Half the channels cost about as much as the ruler is long. And the plain convnet, which was meant to lose, has the **best score**, though its cats are the blurriest: FD likes a soft cat better than a crisp one with
# flaws. That it keeps up at all has to do, we guess, with what we ask for: $x_0$, a picture of plain areas, passes through a narrow middle well enough. Noise does not, so ask the same network for $\epsilon$ and see
# (`--set network=convnet --set predicts=eps`). On photographs, or trained for longer, the order may turn again. A study that only confirmed what we believed would not have been worth its hour.
#
# The sources' larger network scored worse than the smaller; after a fixed number of steps that says "not trained as far" just as well as "worse".
#
# ### 7.4 What to ask for: $x_0$, $v$ or $\epsilon$
#
# The other two rows use the plain loss of what they predict, so that answer and weight change together.

# %%
compare(baseline, "predicts v", "predicts eps")
print("how far an error of 0.01 in the answer moves x0_hat, cosine schedule:")
for t in (100, 500, 900, 990):
    a, s = schedule.alpha_bar[t].sqrt(), schedule.sigma[t]
    print(f"  t = {t}: {0.01:.3f} if it is x_0, {0.01 * s:.3f} if it is v, {0.01 * s / a:.3f} if it is eps")

# %% [markdown]
# <!-- conclusion: x_0, v or eps -->
# **What it shows.** The largest effect of all, several times the ruler: of three answers that carry the same information, $x_0$ is learned fastest here, then $v$, then $\epsilon$. An error in $\hat\epsilon$ near $t = T$ is blown up when $\hat x_0$ is solved for (the trap of notebook 01), and clipping to $[-1, 1]$ hides
# the worst of it. The other two divide by nothing. And a network that works on patches must pass every grain of noise through to answer
# with $\epsilon$ or, at small $t$, with $v$; for $x_0$ it may keep what is smooth. Look at the grain in the rows of $v$ and $\epsilon$. That counts most early in training, where we are.
#
# ### 7.5 With and without the average of the weights
#
# One run, two sets of weights: the moving average (EMA), and those of the last step.

# %%
r = results[baseline]
labels = [f"{name}\n{verdict(r.scores[kind])}" for name, kind in (("EMA", "average"), ("last weights", "last"))]
rows(
    title,
    [r.pictures[:10], r.last[:10]],
    labels,
    alt="Ten samples each: " + "; ".join(labels).replace("\n", ", ") + ".",
)
better = [name for name, r in results.items() if r.scores["average"]["fd"] < r.scores["last"]["fd"]]
print(f"the average has the lower FD in {len(better)} of {len(results)} runs: {', '.join(better)}")

# %% [markdown]
# <!-- conclusion: EMA -->
# **What it shows.** The last weights jitter with every batch, the average does not. This is a comparison *within* each run, repeated in all of them, so
# it says more than the others do: and it is nearly a draw. In runs as short as these the average still remembers a network that knew less, which costs as much as its calm brings.
# The gain is largest where the jitter is: in the run with the bug of 7.6.
#
# ### 7.6 The bug that cost weeks: one timestep per batch
#
# The sources tell of a bug that held them back for weeks. Here it is, with its mend below:
#
# ```python
# t = torch.randint(1, T + 1, (1,)).expand(B)   # one timestep for the whole batch
# t = torch.randint(1, T + 1, (B,))             # one timestep for each image
# ```
#
# Nothing crashes, the loss falls, and pictures come out. **Predict:** which of the two curves is which?

# %%
figure, panels = viz.axes(1, 1, (10, 3.4))
for name, colour in (("one t per batch", viz.ORANGE), (baseline, viz.BLUE)):
    step, value = results[name].curve.T
    panels[0, 0].plot(step, value, color=colour, label=name, linewidth=1.2)
    spread = (value[1:] - value[:-1])[len(value) // 2 :].std() / 2**0.5
    print(f"{name:16s} second half of the training: loss {value[len(value) // 2 :].mean():.3f}, jitter {spread:.3f}")
panels[0, 0].set(xlabel="step", ylabel="loss (mean of a few steps)", ylim=(0, None), title="drawn cats")
panels[0, 0].legend()
viz.show(
    figure, alt="Two loss curves. One timestep per batch jumps up and down all the time; one per image is a thin line."
)
compare(baseline, "one t per batch")

# %% [markdown]
# The curve gives it away: with one $t$ per batch it mostly shows *which $t$ was drawn*. What of the gradient? Let
# $g(x, t)$ be the gradient of one image at one level. Either way a batch of $B$ has the *same expectation*,
# $\mathbb E\, g$: the shared gradient is **unbiased**. Its variance is not the same:
#
# $$\operatorname{Var}_\text{own} = \tfrac1B \big( V_\text{within} + V_\text{between} \big), \qquad
# \operatorname{Var}_\text{shared} = \tfrac1B V_\text{within} + V_\text{between} ,$$
#
# where $V_\text{between}$ is the part due to $t$: averaging over the batch no longer touches it, however large the batch.
# (Clipping and Adam then bend what the noise has stretched, so the *steps* are not even unbiased.) Measure it, on the network that we trained:

# %%
runs = choose(ci=3, lecture=16, full=100)
weights = [p for p in model.parameters() if p.requires_grad]
model.eval()


def gradient(k, shared):
    batch = batches(steps + 1 + k)
    t = batch.t[:1].expand_as(batch.t) if shared else batch.t
    value = diffusion.weighted_loss(model, batch.x_0, t, batch.eps, schedule, recipe.weight).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights)]), value.item()


noise = {}
for name, shared in (("one t per image", False), ("one t per batch", True)):
    g, values = zip(*(gradient(k, shared) for k in range(runs)), strict=True)
    noise[name] = torch.stack(g).var(dim=0).sum().item()
    values = torch.tensor(values)
    print(f"{name}: loss {values.mean():.3f} ± {values.std():.3f}, variance of the gradient {noise[name]:.4f}")
times = noise["one t per batch"] / noise["one t per image"]
print(
    f"{times:.1f} times the variance: as if the batch held {recipe.batch_size / times:.0f} images instead of {recipe.batch_size}"
)
assert times > choose(ci=0, lecture=1.3, full=1.3)

# %% [markdown]
# <!-- conclusion: one t per batch -->
# **What it shows.** Such bugs live long because nothing is *wrong*: the target is right, only the batch is, in
# effect, much smaller. The loss falls almost as low, and yet the samples are smears where the others are cats: one would blame the network, or train for longer. Plot single steps of
# the loss, not their running mean, and compare their jitter with what batches of that size should have.
#
# ### 7.7 A falling loss says little about the samples

# %%
figure, panels = viz.axes(1, 2, (5.8, 4), width_ratios=[1, 1.35])
left, right = panels[0]
for name, colour in ((baseline, viz.BLUE), ("predicts v", viz.GREEN), ("predicts eps", viz.ORANGE)):
    left.plot(*results[name].curve.T, color=colour, label=name, linewidth=1.2)
left.set(xlabel="step", ylabel="loss", ylim=(0, None), title="drawn cats")
left.legend(fontsize=11)
for (name, result), marker in zip(results.items(), "osD^v<>PX*d", strict=True):
    colour = {"predicts v": viz.GREEN, "predicts eps": viz.ORANGE}.get(name, viz.BLUE)
    place = (result.curve[-len(result.curve) // 5 :, 1].mean(), result.scores["average"]["fd"])
    right.plot(*place, marker, color=colour, markersize=9, alpha=0.7, label=name)
right.axhline(floor["fd"], color=viz.GREY, linestyle=":", label="real pictures")
right.set(xlabel="loss at the end", ylabel="FD (EfficientNet-Lite0)", ylim=(0, None))
right.legend(fontsize=10, loc="upper left", bbox_to_anchor=(1, 1))
viz.show(
    figure,
    alt="Left: three loss curves that fall steeply and then crawl. Right: FD against the last loss for all variants; the "
    "networks that predict v and eps lie apart.",
)

# %%
curve = results[baseline].curve[:, 1]
tenth = (curve[0] - curve[len(curve) // 10]) / (curve[0] - curve[-10:].mean())
assert tenth > 0.5
print(f"baseline: {100 * tenth:.0f}% of the whole fall of the loss happens in the first tenth of the training")

# %% [markdown]
# <!-- conclusion: loss -->
# **What it shows.** Most of the fall happens early, when the samples are still blobs. All that makes a cat hides
# in the flat part of the curve. The reason: averaged over $t$, the loss consists mostly of what *cannot* be predicted (its floor, notebook 01), and details are a tiny
# share of the pixels' variance.
#
# And losses of different kinds do not compare at all. One and the same $\hat x_0$ scores $\text{SNR}$ in the loss of $\epsilon$, one more in that of
# $v$, and at most 5 in ours, so the coloured points lie apart by definition, not by merit. Linear and cosine draw their levels from
# different places, which has the same effect.
#
# ## 8 · Is it memorising?
#
# On a finite training set, the *perfect* minimiser of the loss only copies (notebook 01). Has ours? For each sample find
# the nearest training picture, by features and among mirror images too, since training mirrored half of them. Then the control, without which
# that means nothing: how near do *new* real pictures come, that the network cannot have copied?

# %%
source = "cats32-cosine" if cats.real else "drawn32-cosine"
n = choose(ci=6, lecture=30, full=200)
train = named.named_set("cifar10:cat:train") if cats.real else drawn
test = named.named_set("cifar10:cat:test" if cats.real else "drawn:cat:test", n=n)
made = sample.images(trained[source].model, trained[source].schedule, n, seed=1, **how)
both = torch.cat([made, test.images])
pool = torch.cat([train.images, train.images.flip(-1)])

# first a rough search by thumbnails of 8 × 8 pixels through all, then features of those that are left
thumbs = [torch.nn.functional.avg_pool2d(x, 4).flatten(1) for x in (both, pool)]
pool = pool[metrics.nearest(*thumbs, k=choose(ci=1, lecture=8, full=50))[1].unique()]
network = metrics.features.network()
distance, index = metrics.nearest(*(metrics.features.extract(x, network) for x in (both, pool)))

# %%
order = distance[:n, 0].argsort()[:10]
rows(
    f"{source} and {train.name}",
    [made[order], pool[index[order, 0]]],
    ["samples nearest\nto the training set", "their nearest\ntraining pictures"],
    alt=f"The samples of {source} that come nearest to a training picture, and below each its nearest training picture ({train.name}). "
    "Pose or colours agree, details do not.",
    name="03_neighbours",
)
of_samples, of_test = distance[:n, 0], distance[n:, 0]
for name, d in ((f"samples of {source}", of_samples), (test.name, of_test)):
    print(f"{name:26s} distance to the nearest of {train.name}: median {d.median():.2f}, smallest {d.min():.2f}")
print(
    f"{(of_samples < of_test.min()).sum()} of {n} samples are nearer to a training picture than any of {n} test pictures"
)
assert of_samples.min() > 0.1 * of_test.median()  # a copy would be at distance 0

# %% [markdown]
# <!-- conclusion: memorising -->
# **What it shows.** A copy would lie at distance 0, none does. If samples were copies with blemishes, they would lie *nearer* to the
# training set than new pictures; if they were bad, they would lie further away. So read both numbers together: far from the training set is no proof of
# imagination. (With drawn cats the control is strict, since the generator of the pictures can supply as many new ones as we like.)
#
# ## Summary
#
# - From points to pictures, no equation changes; the network does. Skips are there for the detail, the narrow middle for the overview, and all
#   blocks are told $t$.
# - What costs is the grid, not the weights: patches make a CPU several times as fast.
# - Count training in millions of pictures. After a minute the loss looks finished and the samples do not.
# - Scores mean something at equal $n$, with the same features, beside their floor. One seed is a hint.
# - One $t$ per batch leaves the gradient unbiased and multiplies its variance.
# - Ask for nearest neighbours, and compare with what new real pictures get.

# %% [markdown]
# ## Exercises
#
# Five functions that a diffusion model on pictures is made of. The checks work as in notebook 01: they call your function on several inputs,
# compare it with the course's own, and try to name what went wrong. Schedules hold `alpha_bar` and `sigma` with index
# $t = 0 \dots T$.

# %% [markdown]
# ### Exercise 1 ★☆☆ (5 minutes): from bytes to tensors
#
# An image file holds levels 0 … 255, row by row, three colours for each pixel: a `uint8` tensor of shape `(B, H, W, 3)`. Networks
# take floats in $[-1, 1]$ with the channels in front: `(B, 3, H, W)`.
#
# Write `from_pixels(pixels)`. Level 0 becomes −1, level 255 becomes 1, evenly in between.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Two jobs, in any order: change the range, change the order of the axes. Do the first in floating point, bytes overflow.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `.float()` converts. `.permute` moves axes; `.reshape` does not: it cuts the same row of numbers differently.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "from_pixels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def from_pixels(pixels):
    """Levels to network inputs. pixels: (B, H, W, C) uint8. Returns (B, C, H, W) float32 in [-1, 1]."""
    ### BEGIN SOLUTION
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "from_pixels_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.from_pixels(from_pixels)

# %% [markdown]
# ### Exercise 2 ★☆☆ (10 minutes): the moving average of the weights
#
# After each training step the average $\bar\theta$ moves a little towards the weights $\theta$ (Ho et al. 2020, appendix B):
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad d = \min\!\Big(\text{decay},\; \frac{1 + n}{10 + n}\Big),$$
#
# where $n$ counts the updates made before. The ramp makes it forget the random start.
#
# Write `ema_update(average, weights, decay, step)` for one tensor of weights, with $n$ = `step`. Return the new average; leave the inputs
# as they are.
#
# <details><summary>Hint 1: where to begin</summary>
#
# What is $d$ at the first update, where `step` is 0? Which of the two inputs then dominates the result?
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# If average and weights agree, nothing may change. If they do not, the result lies between them, late in the run close to the average.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ema_update", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ema_update(average, weights, decay, step):
    """One update of the average. average, weights: tensors of one shape; decay: float; step: int, from 0."""
    ### BEGIN SOLUTION
    d = min(decay, (1 + step) / (10 + step))
    return d * average + (1 - d) * weights
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ema_update_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.ema_update(ema_update)

# %% [markdown]
# ### Exercise 3 ★★☆ (15 minutes): the loss, one number per image
#
# For each image, $L_\text{simple}$ (Ho et al. 2020, Eq. 14) at a random level:
# $\operatorname{mean}\,(\epsilon_\theta(x_t, t) - \epsilon)^2$, over channels, rows and columns.
#
# Write `diffusion_loss(x_0, u, eps, model, schedule)`, which returns shape `(B,)`. So that the check can compare, all that is random is handed
# in: `eps`, and numbers `u` from $[0, 1)$, one per image. Turn each into a timestep, all of $1 \dots T$ equally likely: $t = 1$ for
# $0 \le u < 1/T$, and so on up to $t = T$. The model here predicts $\epsilon$ and is called as `model(x_t, t)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# With $T = 4$, which $t$ belongs to $u$ = 0, 0.2, 0.25 and 0.99? Find a formula, then turn it into whole numbers with `.long()`,
# which rounds down.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `diffusion.q_sample(x_0, t, eps, schedule)` noises. `.flatten(1).mean(1)` averages over all axes but the first.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "diffusion_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def diffusion_loss(x_0, u, eps, model, schedule):
    """L_simple of each image. x_0, eps: (B, 3, H, W); u: (B,) in [0, 1); model(x_t, t) predicts eps. Returns (B,)."""
    ### BEGIN SOLUTION
    t = 1 + (u * schedule.T).long()
    x_t = diffusion.q_sample(x_0, t, eps, schedule)
    return (model(x_t, t) - eps).square().flatten(1).mean(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "diffusion_loss_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.diffusion_loss(diffusion_loss)

# %% [markdown]
# ### Exercise 4 ★★☆ (15 minutes): the picture behind a velocity
#
# A network may also answer with the velocity (`predicts v` in Section 7.4) $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1 - \bar\alpha_t}\; x_0$ (Salimans & Ho 2022, Section 4
# and appendix D), and $x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\;\epsilon$. These are two equations with two unknowns.
#
# Write `x0_from_v(x_t, t, v_hat, schedule)`: solve them for $x_0$, with $\hat v$ in the place of $v$, for points and for images. Clip the result to $[-1, 1]$,
# where pictures live.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Multiply one equation by $\sqrt{\bar\alpha_t}$ and the other by $\sqrt{1 - \bar\alpha_t}$, so that the terms in $\epsilon$ agree.
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# $(\sqrt{\bar\alpha_t},\, \sqrt{1-\bar\alpha_t})$ are cosine and sine of an angle, since their squares sum to 1: you are undoing a rotation, and nothing
# is divided.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "x0_from_v", "locked": false, "schema_version": 3, "solution": true, "task": false}
def x0_from_v(x_t, t, v_hat, schedule):
    """x0_hat from a predicted velocity. x_t, v_hat: (B, ...); t: (B,). Returns (B, ...), clipped to [-1, 1]."""
    ### BEGIN SOLUTION
    a, s = (values[t].view(-1, *[1] * (x_t.ndim - 1)) for values in (schedule.alpha_bar.sqrt(), schedule.sigma))
    return (a * x_t - s * v_hat).clamp(-1, 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "x0_from_v_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.x0_from_v(x0_from_v)

# %% [markdown]
# ### Exercise 5 ★★★ (20 minutes): one long step
#
# DDIM leaps from level $t$ down to any level $s < t$ (Song et al. 2021, Eq. 12 with $\sigma = 0$). First it reads off the noise that
# $x_t$ and $\hat x_0$ imply by Eq. 4; then it puts that same noise back, at level $s$:
#
# $$x_s = \sqrt{\bar\alpha_s}\;\hat x_0 + \sqrt{1 - \bar\alpha_s}\;\hat\epsilon .$$
#
# Write `ddim_step(x_t, t, before, x0_hat, schedule)`. The levels `t` and `before` ($s$) are whole numbers, the same for the whole
# batch, and `before` may be 0.
#
# <details><summary>Hint 1: where to begin</summary>
#
# What must come out at `before = 0`, and why? That tells you which level's numbers stand in which of the two lines.
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# Noise a picture with one `eps` to level 50 and to level 20. With the true `x_0` your step leads from the first exactly to the
# second.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ddim_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ddim_step(x_t, t, before, x0_hat, schedule):
    """From level t to level before < t. x_t, x0_hat: (B, ...); t, before: ints. Returns x at that level."""
    ### BEGIN SOLUTION
    a, a_before = schedule.alpha_bar[t], schedule.alpha_bar[before]
    eps_hat = (x_t - a.sqrt() * x0_hat) / (1 - a).sqrt()
    return a_before.sqrt() * x0_hat + (1 - a_before).sqrt() * eps_hat
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ddim_step_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.ddim_step(ddim_step)

# %% [markdown]
# ## References
#
# - J. Ho, A. Jain, P. Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020.
# - A. Nichol, P. Dhariwal: *Improved Denoising Diffusion Probabilistic Models*, ICML 2021.
# - T. Salimans, J. Ho: *Progressive Distillation for Fast Sampling of Diffusion Models*, ICLR 2022.
# - J. Song, C. Meng, S. Ermon: *Denoising Diffusion Implicit Models*, ICLR 2021.
# - C. Lu et al.: *DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models*, 2022.
# - O. Ronneberger, P. Fischer, T. Brox: *U-Net: Convolutional Networks for Biomedical Image Segmentation*, MICCAI 2015.
# - T. Hang et al.: *Efficient Diffusion Training via Min-SNR Weighting Strategy*, ICCV 2023.
# - M. Heusel et al.: *GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium*, NeurIPS 2017.
# - M. Bińkowski et al.: *Demystifying MMD GANs*, ICLR 2018.
# - T. Kynkäänniemi et al.: *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019.
# - A. Krizhevsky: *Learning Multiple Layers of Features from Tiny Images*, 2009.
