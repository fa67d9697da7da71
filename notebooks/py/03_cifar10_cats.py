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
# Every equation stays. New are the network, the hours it needs, and the care it takes to compare two of them. Below, "the
# sources" are the student projects that this course grew out of: they trained on these cats too, and their scores are ours to beat.
#
# **You will be able to**
# 1. say what each part of a U-Net is for, and what it costs;
# 2. train a diffusion model on pictures, and tell from how many pictures it has seen what to expect;
# 3. read FD and KID against the score of real pictures, and say when two scores do not differ;
# 4. recognise the bug of one timestep per batch by its loss curve, and explain what it does to the gradient;
# 5. check whether a generator has memorised its training set.
#
# **Before you start:** notebook 01; Sections 2 to 4 of notebook 02 help. **Run time:** two to three minutes on two
# CPU cores, of which one training cell takes less than a minute. What takes longer has been computed beforehand and ships
# with the course.

# %%
import time
from itertools import pairwise

import torch

from course_utils import (
    checkpoints,
    checks,
    diffusion,
    metrics,
    sample,
    samplers,
    schedules,
    training,
    viz,
    widgets,
)
from course_utils.data import images, named
from course_utils.models import convnet, unet
from course_utils.presets import choose, halve_threads
from course_utils.studies import networks as study

halve_threads()
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1 · The data: one class of CIFAR-10
#
# CIFAR-10 (Krizhevsky 2009) has 6,000 photographs of cats, 5,000 of them for training. They do not ship with the course.
# Where they are missing, procedurally drawn cats stand in, a line says so, and every figure bears the name of the set that
# it was made from.

# %%
cats = images.cifar10("cat", n=60)
x_0 = cats.images
viz.rows(cats.name, [x_0[:30]], [""], alt=f"30 pictures of 32 by 32 pixels: {cats.name}.")
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
# **Predict:** of 1,000 steps, how many pass until you no longer recognise the picture? The same for both schedules?

# %%
shown = (0, 50, 100, 200, 300, 400, 500, 650, 800, 1000)
eps = torch.randn(3, 32, 32, generator=generator)
t = torch.tensor(shown)
copies, noises = (x.expand(len(shown), 3, 32, 32) for x in (x_0[1], eps))
noised = {s: diffusion.q_sample(copies, t, noises, schedules.make(s, 1000)) for s in ("linear", "cosine")}
viz.rows(
    f"{cats.name}, noised",
    [x.clamp(-1, 1) for x in noised.values()],
    list(noised),
    alt=f"One picture ({cats.name}) noised to ten levels from t = 0 to 1,000 by two schedules. With linear the cat drowns "
    "by t = 400 and the right half of the row is pure noise; with cosine it shimmers through until 650.",
    name="03_forward",
    columns=[f"t = {t}" for t in shown],
)
for name in noised:
    curve = schedules.make(name, 1000)
    print(f"{name}: the signal's variance is below 1% for {(curve.alpha_bar < 0.01).sum():.0f} of 1,000 steps")
assert (schedules.linear().alpha_bar < 0.01).sum() > 2 * (schedules.cosine().alpha_bar < 0.01).sum()

# %% [markdown]
# *Look for:* large things outlive small ones. The eyes go first, then the outline; the colour of the background comes through when
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
# (Ronneberger et al. 2015; Ho et al. 2020, appendix B). They are listed below the figure.

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
        box(x, y, f"blocks{' + attn.' if grid in config.attention else ''}, $t$\n{m * config.width} × {grid} × {grid}")
    arrow((left[i][0] + W, -i), (right[i][0] - W, -i), viz.ORANGE)
    if i:
        arrow((left[i - 1][0], 1 - i - H), (left[i][0], H - i))
        arrow((right[i][0], H - i), (right[i - 1][0], 1 - i - H))
box(6, -3, f"middle + attn., $t$\n{m * config.width} × {grid} × {grid}")
arrow((left[2][0], -2 - H), (6 - W, -3))
arrow((6 + W, -3), (right[2][0], -2 - H))
for x, text, ends in ((0, "$x_t$", (W, 2.4 - W)), (12, r"$\hat x_0$", (9.6 + W, 12 - W))):
    box(x, 0, f"{text}\n{config.channels} × {config.size} × {config.size}", "#e6e6e6")
    arrow((ends[0], 0), (ends[1], 0))
ax.text(6, 0.12, "skip: copied and appended", color=viz.ORANGE, ha="center", fontsize=14)
viz.show(
    figure,
    alt="Diagram of a U-Net: boxes, each with channels times height times width, lead down on the left from 16 by 16 to 4 by 4, through a middle block, and up again on the right; "
    "orange arrows, the skips, lead straight across at every size. Every blue box is told the time t; those at 8 by 8 and in the middle have attention.",
    name="03_unet",
)

# %% [markdown]
# - **Down and up again.** At 4 × 4 a 3 × 3 convolution sees the whole cat; at 16 × 16 a whisker.
# - **Skips.** The answer has to be exact to the pixel, since the noise differs at every pixel. What went through the coarse middle has lost
#   that. So each level hands its result straight across.
# - **Attention** at 8 × 8 compares every place with every other: two eyes of one colour.
# - **Time.** Sines and cosines of $t$, through a small MLP, are told to every block: the same weights
#   must hunt for a silhouette at large $t$, and for single hairs at small $t$. (Ho et al. add them to the features; scaling and shifting
#   the features by them, as here, is from Dhariwal & Nichol 2021.)
#
# Ours has a fifth, for machines without a GPU: it folds **2 × 2 patches** of pixels into channels first. A convolution at
# 16 × 16 costs a quarter of one at 32 × 32.
#
# In the sources' names, `2xUD` has two levels (two blocks down, two up), `3xBlocks` has three and is their default.
#
# **Predict:** how much faster is our `fast` than `3xBlocks`?

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
# The first three have about the sizes of the sources' (23,332,729 for `3xBlocks`, 3,062,531 for `2xUD-half`). Weights and
# time do not go together: `fast` has about as many weights as `2xUD-half`, and needs a fraction of its time. A convolution uses each weight once *per place*,
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
# (Hang et al. 2023). The first is no more and no less than $L_\text{simple}$: an error of $\hat x_0$ counts as much as the error of $\epsilon$ that it
# implies. As $t \to 0$ that factor grows into the thousands: $\hat x_0$ would have to be exact to a thousandth for the implied noise to come out right. A network that
# answers with $\epsilon$ gets this exactness for nothing, since there little noise is taken off; one that answers with $x_0$ would spend all its strength on it. Hence the limit.


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
steps = choose(ci=3, lecture=180, full=recipe.steps)
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
viz.rows(
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
# once. Colours and large blobs come within a minute; eyes and ears take many times that. Count in pictures seen,
# whatever you train: hundreds of thousands for what follows, hundreds of millions for what is published.
#
# ## 5 · What more training buys
#
# These checkpoints were trained by `python -m course_utils.train NAME`, so anyone who has the data can repeat it (`faces64`
# with `--init cats32-cosine`: it went on from its weights). `drawn-attributes32` can be asked for a pose and a fur, which notebook 04
# does; every tenth picture came without them in training, so it also draws when asked for nothing, as here. Each carries
# a card that says what it was trained on, for how long, and how it scored (Section 6).

# %%
names = ("drawn-attributes32", "cats32-cosine", "faces64")
cards = {name: checkpoints.names()[name] for name in names}
for name, card in cards.items():
    about = f"{name:19s} {card['parameters']:>9,} weights {card['images_seen'] / 1e6:6.2f} million pictures seen"
    start = card.get("started_from")
    before = f", {start['images_seen'] / 1e6:.2f} million of them as {start['recipe']}" if start else ""
    print(f"{about}{before}; {card['minutes'] / 60:.1f} hours on a CPU core; {card['data']}")

# %%
trained = {name: checkpoints.load(name) for name in names}
how["steps"] = choose(ci=2, lecture=20, full=50)
many = choose(ci=10, lecture=30, full=60)
drawings = [
    sample.images(c.model, c.schedule, many if name == "cats32-cosine" else 10, **how) for name, c in trained.items()
]
viz.rows(
    "samples of the shipped checkpoints",
    drawings,
    names,
    alt=f"Samples of the shipped checkpoints, one after the other: {', '.join(names)}.",
    name="03_samples",
)

# %% [markdown]
# No picture above was ever taken or drawn: all are samples. *Look for:* the order in which things come right: colours and light first, then fur and pose, eyes
# last. The drawn cats got there, and the faces, which all look into the camera, nearly. Whole cats are far more varied: here and there a face with ears looks out of the fur, and much is only a mood of a cat.
#
# ### The film backwards

# %%
best = trained["cats32-cosine"]
length = choose(ci=5, lecture=50, full=200)
x_T = torch.randn(9, 3, 32, 32, generator=generator)
trajectory = list(samplers.ddim(best.model, best.schedule, x_T, steps=length, clip=True))
shown = [round(k) for k in torch.linspace(0, length, 10).tolist()]
some, after = [trajectory[k] for k in shown], [trajectory[min(k + 1, length)] for k in shown]
picture = 1
viz.rows(
    f"{best.name}, DDIM with {length} steps",
    [torch.stack([s.x[picture] for s in some]).clamp(-1, 1), torch.stack([s.x0_hat[picture] for s in after])],
    ["$x_t$", r"$\hat x_0$"],
    alt="One run of the sampler: noise turns into a picture from left to right. Below, the picture that the network expects: "
    "a blur of average colours first, then a shape, details last.",
    name="03_reverse_strip",
    columns=[f"t = {step.t}" for step in some],
)

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
ways = {"DDIM": samplers.ddim, "DPM-Solver++": samplers.dpm_solver_pp}
leap = {"spacing": "lambda", "clip": True}  # the same levels for both
leaps = {
    name: [samplers.final(way(best.model, best.schedule, x_T[:5], steps=n, **leap)).clamp(-1, 1) for n in counts]
    for name, way in ways.items()
}
viz.rows(
    f"samples of {best.name}: on the left by DDIM, on the right by DPM-Solver++",
    [torch.cat(pair) for pair in zip(*leaps.values(), strict=True)],
    [f"{n} steps" for n in counts],
    alt="Five pictures by DDIM and, from the same noise, the same five by DPM-Solver++, for a growing number of steps. With few "
    "steps they are blurred; from 20 on those on the right hardly change.",
)
print("mean change of a pixel from one row to the next:")
for name, drawn_in in leaps.items():
    moved = [f"{(b - a).abs().mean():.3f}" for a, b in pairwise(drawn_in)]
    print(f"{name:14s}", ", ".join(moved))

# %% [markdown]
# *Look for:* five steps give an average of what might come. After that DPM-Solver++ settles by 20 steps, while DDIM still moves at 50. And it is the
# **same picture** that comes out, with more or less detail: both follow one curve from noise to picture, one in larger strides.

# %%
widgets.sampler_explorer(best)

# %% [markdown]
# ## 6 · How good? Two distances, and their floor
#
# Both compare **features**: what a network trained to name things in photographs holds just before it names them. **FD**, the Fréchet distance (Heusel et al. 2017), fits a
# Gaussian to each set of features and measures between these. **KID** (Bińkowski et al. 2018) compares all pairs by a kernel; its
# expectation does not depend on the number of pictures, and it comes with a standard error. **Precision** and **recall** (Kynkäänniemi et al. 2019) ask
# how many samples look real, and how much of the real they reach.
#
# Published FIDs use Inception's features and 50,000 samples. Ours use EfficientNet-Lite0, which works offline, and a thousand or fewer: every number here is
# an **FD (EfficientNet-Lite0)**, and compares with no published FID.
#
# A thousand *real* pictures do not score 0 either: a covariance of 1,280 features, estimated from fewer pictures than that, is never right. The sources measured training
# pictures against test pictures, with Inception: 87 with 500 of each, **49.838** with 1,000. So with 1,000 samples they could not expect less than about 50, and fewer pictures make any model
# look worse. Hence two rules: **compare at equal n**, and **read against the floor, not against 0**.

# %%
print("                    samples      FD   floor  ratio     KID ± s.e.       precision  recall  (of real pictures)")
for name, card in cards.items():
    s, seen = card["scores"], f"{card['scores']['n']:,}"
    floor = s["floor"]
    about = f"{name:19s} {seen:>7s} {s['fd']:7.1f} {floor['fd']:7.1f} {s['fd'] / floor['fd']:6.2f}"
    about += f"   {s['kid']:.4f} ± {s['kid_se']:.4f} {s['precision']:9.2f} {s['recall']:7.2f}"
    print(f"{about}  ({floor['precision']:.2f}, {floor['recall']:.2f})")
print("FD (EfficientNet-Lite0); each against the test pictures of its own set")
assert all(card["scores"]["fd"] > card["scores"]["floor"]["fd"] for card in cards.values())

# %% [markdown]
# (The drawn cats of this table were asked for every pose and fur in turn.) A ladder for the cats, measured on real photographs (`course_utils.metrics.protocol` tells how): against the 1,000 test cats of CIFAR-10, training
# cats score 31, *dogs* 58 and *frogs* 84.
#
# Two traps. Rows on different data do not compare, since each set has its own floor and its own spread: to our eyes the faces are better than the whole cats, yet they are further from their floor; and drawn cats are all alike, so the slightest flaw lies outside
# of what is real. And **precision alone misleads**: that of our cats is higher than that of real ones. Probably soft samples sit in the middle of the cloud of real features, inside everybody's ball; recall shows that
# they seldom reach its edges. Read the two together, and look at the pictures.
#
# The sources scored the same subject with Inception's features. Their table, in units of their floor:

# %%
theirs = (
    ("2xUD half channels, linear", 114.710),
    ("2xUD, linear", 100.144),
    ("2xUD, cosine", 97.275),
    ("3xBlocks, linear", 118.501),
    ("3xBlocks, cosine", 115.949),
)
print("the sources: CIFAR-10 cats, 1,000 samples against 1,000 test pictures, FID (Inception)")
for name, fid in theirs:
    print(f"  {name:28s} {fid:7.1f} = {fid / 49.838:.2f} × their floor")

# %% [markdown]
# These ratios and ours do not compare: other features, other eyes. Numbers order models *within* a table. Within theirs the larger
# network did not win, and cosine won narrowly, twice; one run each. Does that hold?
#
# ## 7 · One change at a time
#
# To find out we would have to train their networks for hours each, many times. We do what fits on a laptop: the
# same questions, asked of **small** networks on **drawn** cats. `python -m course_utils.studies.networks` repeats all of it. Each row differs from the baseline (`tiny`: two levels, cosine, $T = 1000$, $x_0$ with the
# weight above, EMA) in one thing, and all saw the same pictures in the same order, but for two rows that differ from the baseline by their seed alone.

# %%
results, floor = study.load()
print("variant           weights  minutes   FD (× floor)     KID ± s.e.")
for name, result in results.items():
    s = result.scores["average"]
    about = f"{name:16s} {result.parameters:>8,} {result.minutes:8.1f}"
    print(f"{about} {s['fd']:6.0f} ({s['fd'] / floor['fd']:4.1f} ×)  {s['kid']:7.4f} ± {s['kid_se']:.4f}")
print(
    f"real pictures: FD {floor['fd']:.1f} ± {floor['fd_std']:.1f}, KID {floor['kid']:.4f} ± {floor['kid_std']:.4f}, n = {floor['n']}"
)
print(
    f"FD (EfficientNet-Lite0); {study.BASE.data}, {study.BASE.steps} steps of {study.BASE.batch_size}, minutes on one core"
)
precision, recall = (max(r.scores["average"][name] for r in results.values()) for name in ("precision", "recall"))
print(f"precision is {precision:.3f} at most and recall {recall:.3f}: at this stage they cannot tell the rows apart")
assert all(r.scores[kind]["n"] == floor["n"] for r in results.values() for kind in study.WEIGHTS)

# %% [markdown]
# **How to read it.** The standard error of KID says what *drawing other samples* from the same network would change. It does
# not say what *training it again* would: 7.1 does.


# %%
def verdict(scores):
    return f"FD {scores['fd']:.0f} = {scores['fd'] / floor['fd']:.1f} × floor\nKID {scores['kid']:.3f} ± {scores['kid_se']:.3f}"


title = (
    f"samples; trained on drawn cats; scores: {floor['n']:,} samples against {floor['n_reference']:,} new drawn cats"
)


def compare(*names):
    labels = [f"{name}\n{verdict(results[name].scores['average'])}" for name in names]
    scores = "; ".join(label.replace("\n", ", ") for label in labels)
    viz.rows(title, [results[n].pictures[:10] for n in names], labels, alt=f"Ten samples for each variant: {scores}.")


baseline = "baseline"
assert study.VARIANTS[baseline].schedule == "cosine" and study.VARIANTS[baseline].T == 1000

# %% [markdown]
# ### 7.1 How much is luck? The same run three times
#
# Another seed means other first weights, another order of the pictures, other noise. Nothing that anybody would report.
#
# **Predict:** by how much will three such runs differ, in FD?

# %%
seeds = (baseline, "baseline, seed 1", "baseline, seed 2")
compare(*seeds)
scores = torch.tensor([results[name].scores["average"]["fd"] for name in seeds])
ruler = (scores.max() - scores.min()).item()
print(
    f"FD from {scores.min():.0f} to {scores.max():.0f}: a range of {ruler:.0f}, standard deviation {scores.std():.0f}"
)
for name, result in results.items():
    if name not in seeds:
        gap = result.scores["average"]["fd"] - scores.mean().item()
        print(f"{name:16s} {gap:+5.0f} from the mean of the three = {abs(gap) / ruler:4.1f} rulers")

# %% [markdown]
# **What it shows.** The range over three seeds is our **ruler**. A gap of one ruler is what luck alone produces; one of several is worth a thought. (Three runs give a rough ruler. To conclude anything firmly, train each variant with
# several seeds, tune the learning rate for each, train until the scores stop falling, and score 10,000 samples.)
#
# *Look again,* at the columns. All samples start from the same noise, and three networks that share no weight draw nearly **the same cats**. The perfect answer at every $x_t$ belongs to the data, not to the network, and the sampler is deterministic: so
# is the way from noise to picture.
#
# ### 7.2 Schedule and number of timesteps
#
# **Predict:** Section 2 showed what linear wastes. Will it show? The sources also tried $T$ = 500, 1,000 and 1,500 with their largest model: slower, no visible gain.

# %%
compare(baseline, "linear schedule", "T = 500", "T = 1500")

# %% [markdown]
# **What it shows.** Cosine spends more training examples on levels where something can be learned, so one expects it
# ahead early on. It is, by about two rulers: a hint, and it agrees with the sources' table.
#
# $T$ cuts one and the same curve into finer pieces. The network is told $t / T$, the training draws a level at random, and
# we sample in 20 steps whatever $T$ is: theory promises next to nothing, and both gaps are about as long as the ruler. With ancestral sampling, which takes all $T$ steps, more of them cost
# time, as the sources saw.
#
# ### 7.3 The network: narrower, deeper, plainer

# %%
compare("half channels", baseline, "three levels", "no attention", "plain convnet")
share = 1 - results["no attention"].parameters / results[baseline].parameters
print(f"attention holds {100 * share:.0f}% of the weights of the baseline")
assert results["plain convnet"].parameters > results[baseline].parameters

# %% [markdown]
# **What it shows.** (`three levels` stands for their `3xBlocks`, the baseline for `2xUD`, `half channels` for `2xUD half channels`.) A third level or no attention makes no difference that the ruler could tell: at 8 × 8, convolutions on top of each other see most of the cat
# anyhow. Half the channels cost three rulers. And the plain convnet, which was meant to lose, has one of the **best scores**, with cats blurrier than all but those of 7.6: here FD preferred a soft cat to a crisp one with
# flaws. That it keeps up has to do, we guess, with what we ask for: $x_0$, a picture of plain areas, passes through its coarse middle well enough. Noise would not. Ask it for $\epsilon$ and see:
# `python -m course_utils.train drawn32-cosine --set network=convnet --set predicts=eps`. On photographs, or trained for longer, the order may turn again. A study that only confirmed what we believed would not have been worth its hours.
#
# The sources' larger network scored worse than the smaller; after a fixed number of steps that says "not trained as far" just as well as "worse".
#
# ### 7.4 What to ask for: $x_0$, $v$ or $\epsilon$
#
# The loss is the same in all three rows: the error of the $\hat x_0$ that the answer implies, weighted by $\min(\text{SNR}, 5)$. Only what the network has to *say*
# differs.

# %%
compare(baseline, "predicts v", "predicts eps")
print("how far an error of 0.01 in the answer moves x0_hat, cosine schedule:")
for t in (100, 500, 900, 990):
    a, s = schedule.alpha_bar[t].sqrt(), schedule.sigma[t]
    print(f"  t = {t}: {0.01:.3f} if it is x_0, {0.01 * s:.3f} if it is v, {0.01 * s / a:.3f} if it is eps")

# %% [markdown]
# **What it shows.** Of three answers that carry the same information, and are judged by the same loss, $x_0$ is learned fastest here, then $v$, then $\epsilon$, by about two and four rulers. One reason is in the numbers above: an error in $\hat\epsilon$ near $t = T$ is blown up when $\hat x_0$ is solved for (the trap of notebook 01), and clipping to $[-1, 1]$ hides
# the worst of it. The other two divide by nothing. Another, we guess: a narrow network on patches must carry every grain of noise from its input to its output to answer
# with $\epsilon$ or, at small $t$, with $v$; for $x_0$ it may keep what is smooth. Look at the backdrops: their grain is what a score sees, though the cats on them are well drawn. Both count most early in training, where we are: published models that answer with $\epsilon$ are excellent after a thousand times as many pictures.
#
# ### 7.5 With and without the average of the weights
#
# One run, two sets of weights: the moving average (EMA), and those of the last step.

# %%
r = results[baseline]
labels = [f"{name}\n{verdict(r.scores[kind])}" for name, kind in (("EMA", "average"), ("last weights", "last"))]
viz.rows(
    title,
    [r.pictures[:10], r.last[:10]],
    labels,
    alt="Ten samples each: " + "; ".join(labels).replace("\n", ", ") + ".",
)
better = [name for name, r in results.items() if r.scores["average"]["fd"] < r.scores["last"]["fd"]]
print(f"the average has the lower FD in {len(better)} of {len(results)} runs: {', '.join(better)}")

# %% [markdown]
# **What it shows.** The last weights jitter with every batch, the average does not. This is a comparison *within* each run, repeated in all of them, so
# it says more than the others do. The average wins more often than it loses, mostly by less than the ruler, and by far in one run. In runs as short as these it still remembers a network that knew less, which costs part of what its calm brings.
# Its decay here is 0.99, the memory of about 100 steps; the shipped checkpoints have 0.9995.
#
# ### 7.6 The bug that cost weeks: one timestep per batch
#
# The sources tell of a bug that held them back for weeks. Here it is, with the fix below it:
#
# ```python
# t = torch.randint(1, T + 1, (1,)).expand(B)   # one timestep for the whole batch
# t = torch.randint(1, T + 1, (B,))             # one timestep for each image
# ```
#
# Nothing crashes, the loss falls, and pictures come out. **Predict:** how will its loss curve look, beside that of the right code?

# %%
figure, panels = viz.axes(1, 1, (10, 3.4))
for name, colour in (("one t per batch", viz.ORANGE), (baseline, viz.BLUE)):
    value = results[name].losses
    panels[0, 0].plot(value, color=colour, label=name, linewidth=0.6)
    late = value[len(value) // 2 :]
    jitter = late.diff().std() / 2**0.5  # of differences: a slow fall does not count
    print(f"{name:16s} second half of the training: loss {late.mean():.3f}, jitter of a step {jitter:.3f}")
panels[0, 0].set(xlabel="step", ylabel="loss of each step", ylim=(0, 0.2), title="drawn cats")
panels[0, 0].legend()
viz.show(
    figure, alt="Two loss curves. One timestep per batch jumps up and down all the time; one per image is a thin line."
)
compare(baseline, "one t per batch")

# %% [markdown]
# The curve gives it away: with one $t$ per batch it mostly shows *which $t$ was drawn*. What of the gradient? Let
# $g(x, t)$ be the gradient of one image at one level, $V_\text{within} = \mathbb E_t \operatorname{Var}_x g$ its variance at a fixed $t$, and $V_\text{between} = \operatorname{Var}_t \mathbb E_x\, g$ that of its mean over $t$. Either way a batch of $B$ has the *same expectation*,
# $\mathbb E\, g$: the shared gradient is **unbiased**. Its variance is not the same:
#
# $$\operatorname{Var}_\text{own} = \tfrac1B \big( V_\text{within} + V_\text{between} \big), \qquad
# \operatorname{Var}_\text{shared} = \tfrac1B V_\text{within} + V_\text{between} ,$$
#
# so averaging over the batch no longer touches $V_\text{between}$, however large the batch.
# (Gradient clipping and Adam are not linear, so the *steps* are biased as well.) Measure it, on the network that we trained:

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
# **What it shows.** Such bugs live long because nothing is *wrong*: the target is right, only the batch is, in
# effect, much smaller. The loss falls, and the samples are smears where the others are cats: one would blame the network, or train for longer. Plot single steps of
# the loss, not their running mean, and compare their jitter with what batches of that size should have.
#
# ### 7.7 A falling loss says little about the samples
#
# One run, the baseline, scored on the way. **Predict:** the loss falls steeply, then hardly. And FD?

# %%
run = results[baseline]
stops, scores = zip(*run.along, (len(run.losses), run.scores["average"]), strict=True)
figure, panels = viz.axes(1, 2, (5.6, 3.6))
for ax, label in zip(panels[0], ("loss (mean of 25 steps)", "FD (EfficientNet-Lite0)"), strict=True):
    ax.set(xlabel="step", ylabel=label, title=f"{study.BASE.network} on drawn cats")
means = run.losses.unfold(0, 25, 25).mean(1)
panels[0, 0].plot(torch.arange(25, len(run.losses) + 1, 25), means, color=viz.BLUE)
panels[0, 1].plot(stops, [s["fd"] for s in scores], "o-", color=viz.BLUE)
panels[0, 1].axhline(floor["fd"], color=viz.GREY, linestyle=":")
panels[0, 1].annotate("real pictures", (0, floor["fd"] + 6), color=viz.GREY)
for ax in panels[0]:
    ax.set_ylim(0, None)
viz.show(
    figure,
    alt="Over the same run: the loss drops to a small fraction at once and then seems flat, while FD goes on falling steadily and is "
    "still far above that of real pictures at the end.",
)
for step, s in zip(stops, scores, strict=True):
    loss_there = run.losses[max(0, step - 50) : step].mean()
    print(f"step {step:5d}: loss of the last 50 steps {loss_there:.4f}, FD {s['fd']:.0f}")
tenth = run.losses[0] - run.losses[len(run.losses) // 10 - 25 : len(run.losses) // 10 + 25].mean()
fallen = (tenth / (run.losses[0] - run.losses[-50:].mean())).item()
print(f"{100 * fallen:.0f}% of the whole fall of the loss happens in the first tenth of the training")
assert fallen > 0.5

# %% [markdown]
# **What it shows.** Most of the fall happens early, when the samples are still blobs. All that makes a cat hides
# in the flat part of the curve. The reason: averaged over $t$, the loss consists mostly of what *cannot* be predicted (its floor, notebook 01), and details are a tiny
# share of the pixels' variance.
#
# And losses of different kinds do not compare at all. One and the same error of $\hat x_0$ is weighted by SNR in the loss of $\epsilon$, by one more in that of
# $v$, and by at most 5 in ours: such losses lie apart by definition, not by merit. Linear and cosine draw their levels from
# different places, which has the same effect.
#
# ## 8 · Is it memorising?
#
# On a finite training set, the *perfect* minimiser of the loss only copies (notebook 01). Has ours? For each sample find
# the nearest training picture, by features and among mirror images too, since training mirrored half of them. Then the control, without which
# that means nothing: how near do *new* real pictures come, that the network cannot have copied?

# %%
source = "cats32-cosine" if cats.real else "drawn-attributes32"
n = choose(ci=6, lecture=30, full=200)
train = named.named_set("cifar10:cat:train") if cats.real else drawn
test = named.named_set("cifar10:cat:test" if cats.real else "drawn:cat:test", n=n)  # the control: new to the network
made = sample.images(trained[source].model, trained[source].schedule, n, seed=1, **how)
both = torch.cat([made, test.images])
pool = torch.cat([train.images, train.images.flip(-1)])

# first a rough search by thumbnails of 8 × 8 pixels through all, then features of those that are left
thumbs = [torch.nn.functional.avg_pool2d(x, 4).flatten(1) for x in (both, pool)]
pool = pool[metrics.nearest(*thumbs, k=choose(ci=1, lecture=8, full=50))[1].unique()]
network = metrics.features.network()
distance, index = metrics.nearest(*(metrics.features.extract(x, network) for x in (both, pool)))

# %%
order, control = distance[:n, 0].argsort()[:10], n + distance[n:, 0].argsort()[:10]
labels = ("samples nearest\nto the training set", "their nearest\ntraining pictures")
viz.rows(
    f"{source} and {train.name}",
    [both[order], pool[index[order, 0]], both[control], pool[index[control, 0]]],
    [*labels, "new pictures nearest\nto the training set", labels[1]],
    alt=f"The samples of {source} that come nearest to a training picture, and below each its nearest training picture ({train.name}); "
    "then the same for new pictures that the network never saw. Neighbours look alike in both.",
    name="03_neighbours",
)
of_samples, of_test = distance[:n, 0], distance[n:, 0]
for name, d in ((f"samples of {source}", of_samples), (test.name, of_test)):
    print(f"{name:30s} distance to the nearest of {train.name}: median {d.median():.2f}, smallest {d.min():.2f}")
print(
    f"{(of_samples < of_test.min()).sum()} of {n} samples are nearer to a training picture than any of {n} test pictures"
)
assert of_samples.min() > 0.1 * of_test.median()  # a copy would be at distance 0

# %% [markdown]
# **What it shows.** A copy would lie at distance 0, none does. If samples were copies with blemishes, they would lie *nearer* to the
# training set than new pictures do; they lie further away. That is no sign of copying, and it is a sign that they are not as good as real pictures: far from the training set is no proof of
# imagination. Look at the control: with drawn cats even new pictures have near-twins in the training set, so twins alone prove nothing. (A few samples are a weak test for rare copies: `COURSE_PRESET=full` takes 200.)
#
# ## Summary
#
# - From points to pictures, no equation changes; the network does. Skips are there for the detail, the coarse middle for the overview, and all
#   blocks are told $t$.
# - What costs is the grid, not the weights: patches make a CPU several times as fast.
# - Count training in pictures seen. After a minute the loss looks finished and the samples do not.
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
# After each training step the average $\bar\theta$ moves a little towards the weights $\theta$. Ho et al. 2020 (appendix B) use a constant share $d$; TensorFlow's
# `ExponentialMovingAverage` lets it grow in the beginning:
#
# $$\bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta, \qquad d = \min\!\Big(\text{decay},\; \frac{1 + n}{10 + n}\Big),$$
#
# where $n$ counts the updates made before. So it forgets the random start.
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
# Write `x0_from_v(x_t, t, v_hat, schedule)`: solve them for $x_0$, with $\hat v$ in the place of $v$, for inputs of any shape `(B, ...)`. Clip the result to $[-1, 1]$,
# where pictures live (and, for this exercise, points too).
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
# DDIM leaps from level $t$ down to any level $s < t$ (Song et al. 2021, Eq. 12 with their $\sigma_t = 0$, which is not our `schedule.sigma`). First it reads off the noise that
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
