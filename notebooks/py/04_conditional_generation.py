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
# # 04 · Ask for a cat
#
# ![Rows of small pictures. In each, a cat on the left turns into a frog on the right, in small steps.](../report_imgs/04_morph.png)
#
# The network of notebook 03 draws cats because it has seen nothing else. Show it cats *and* frogs, and it will draw
# whichever it likes. How do we ask for one of them, how strictly, and at what price?
#
# "The sources" are the student projects that this course grew out of. Two of their findings wait for an explanation. Their diffusion model drew *better cats* after training on cats
# and frogs than on cats alone. And their conditional GAN, on the same pictures, was by far the worst of all their models.
#
# **You will be able to**
# 1. tell a network which class is wanted, in three ways, and say what the label for "no class" is good for;
# 2. write classifier-free guidance in either of its two conventions, and say what it does to a distribution;
# 3. read the trade of fidelity against variety off measured curves;
# 4. count, attribute by attribute, whether a model does what it was asked;
# 5. make a comparison of one class with two fair, and read it against the luck of the seed;
# 6. say why one way to condition a GAN works better than another.
#
# **Before you start:** notebooks 01 and 03; the score, from Section 10 of notebook 02, helps. **Run time:** about a minute and a half on two CPU cores. Whatever takes
# longer was computed beforehand and ships with the course. **As a lecture:** Sections 1 to 4, then 7 and 8, and the last table: one lecture of 90 minutes (an estimate).
# Parts marked ◆ may be skipped.

# %%
import torch
from sklearn.datasets import make_moons

from course_utils import (
    checkpoints,
    checks,
    diffusion,
    ideal,
    metrics,
    sample,
    samplers,
    schedules,
    training,
    viz,
    widgets,
)
from course_utils.data import drawn, images, toy
from course_utils.data.levels import from_bytes
from course_utils.models import mlp
from course_utils.presets import choose, halve_threads
from course_utils.studies import conditioning as study

halve_threads()
generator = torch.Generator().manual_seed(0)
CLASSES = ("cat", "frog")

# %% [markdown]
# ## 1 · What is conditioning?
#
# So far a model stood for $p(x)$, the distribution of all pictures. Now each picture comes with a label $y$, and we want
# $p(x \mid y)$ for every $y$, all from one network. The loss stays as it is; the network gets one more input:
#
# $$L = \mathbb E\, \big\lVert \epsilon_\theta(x_t, t, y) - \epsilon \big\rVert^2 .$$
#
# Its best answer changes from $\mathbb E[\epsilon \mid x_t]$ to $\mathbb E[\epsilon \mid x_t, y]$, the mean over pictures *of that
# class* only. (Written for $\epsilon$; our networks on pictures ask for $x_0$, as in notebook 03.) Samplers never look inside the network: none of their lines changes.

# %%
both = images.cifar10(CLASSES, n=60)
viz.rows(
    both.name,
    [both.images[both.labels == k][:20] for k in range(2)],
    CLASSES,
    alt=f"Twenty pictures of each class: {both.name}.",
)
print({name: int((both.labels == k).sum()) for k, name in enumerate(CLASSES)})

# %% [markdown]
# ### Three ways to say "frog"
#
# - **As a number.** CIFAR-10 counts birds as 2, cats as 3 and deer as 4. Fed to a network as it is, that number claims that a cat is the mean of a bird and a
#   deer.
# - **As planes.** One more input channel for each class, filled with 1 for the class that is meant and with 0 otherwise (Exercise 2). No false order; but the label enters at the
#   pixels, and must make its way up through all layers. The sources' GAN did this, with a learned vector of numbers in place of the ones and zeros.
# - **As a vector per class**, learned, and handed to every block. Our U-Net has such an entrance already, that of the time
#   $t$. The vector of the class is added to that of the time.

# %%
conditional = checkpoints.load("catfrog32")
network, schedule = conditional.model, conditional.schedule
t, y = torch.tensor([300, 300, 300]), torch.tensor([0, 1, 2])
x = torch.randn(3, 3, 32, 32, generator=generator)
table = network.classes.weight
print(f"the table: {tuple(table.shape)}, a row of {table.shape[1]} numbers for each of {', '.join(CLASSES)}, no class")
without = network.embedding(t) - table[2]  # no y means no class, whose row was added
assert torch.allclose(network.embedding(t, y), without + table[y], atol=1e-5)
assert torch.allclose(network(x, t, y)[2], network(x, t)[2], atol=1e-5), "y = 2 means the same as no y"
lengths = ", ".join(f"{name} {row.norm():.1f}" for name, row in zip((*CLASSES, "no class"), table, strict=True))
print(
    f"length of the rows: {lengths}; of the vector of t = 300: {without[0].norm():.1f}; cat - frog: {(table[0] - table[1]).norm():.1f}"
)

# %% [markdown]
# *Look for:* a class is a small push beside the vector of the time.
#
# The third row stands for **no class**. How does it learn? In training, one label in ten is replaced by it, at random
# (Ho & Salimans 2022, Algorithm 1; Exercise 1). So one network holds $p(x)$ and every $p(x \mid y)$, and the next
# sections need both.
#
# ## 2 · Guidance, in the plane
#
# Two moons, one class each. An MLP like that of notebook 01, with a table for the class, trained twice: with 15% of the labels
# dropped (a little more than usual, since the runs are short), and with none.

# %%
points, moon = make_moons(4000, noise=0.05, random_state=1)
points, moon = toy.standardise(torch.from_numpy(points).float()), torch.from_numpy(moon)
train_steps, plane = choose(ci=20, lecture=1200, full=6000), schedules.cosine(200)


def train(drop):
    torch.manual_seed(0)
    model = mlp.MLP(mlp.MLPConfig(T=200, predicts="x_0", classes=2))
    ema, g = training.EMA(model, 0.99), torch.Generator().manual_seed(0)

    def batch(step):
        i = torch.randint(len(points), (256,), generator=g)
        labels = moon[i].clone()
        labels[torch.rand(256, generator=g) < drop] = 2  # no class
        return points[i], labels, diffusion.draw_t(256, plane, g), torch.randn(256, 2, generator=g)

    def loss(model, batch):
        x_0, labels, t, eps = batch
        return diffusion.weighted_loss(model, x_0, t, eps, plane, "min_snr", labels).mean()

    records = training.fit(model, loss, batch, train_steps, lr=2e-3, decay=True, ema=ema)
    history = [record.loss for record in training.progress(records, train_steps)]
    return ema.model.eval(), sum(history[-100:]) / len(history[-100:])


# %%
learned, loss_dropped = train(drop=0.15)
careless, loss_never = train(drop=0.0)
print(f"loss with labels dropped {loss_dropped:.3f}, never dropped {loss_never:.3f}")

# %% [markdown]
# **Guidance** asks the network twice, with the class and without, and exaggerates the difference:
#
# $$\hat\epsilon = \epsilon_\theta(x_t, t) + s\, \big( \epsilon_\theta(x_t, t, y) - \epsilon_\theta(x_t, t) \big) .$$
#
# $s = 0$ ignores the class, $s = 1$ is the plain conditional model, $s > 1$ goes beyond. **Two conventions** are in use: Ho & Salimans (2022, Eq. 6)
# write $(1 + w)\,\epsilon_\theta(x_t, t, y) - w\,\epsilon_\theta(x_t, t)$, so their $w$ is our $s - 1$ (and not the loss weight $w_t$ of notebook 03, as our $s$ is a scale here and no level). Whenever you read
# "guidance 3", find out which.
#
# (The same formula holds for answers in $x_0$: at a given $x_t$ each is a linear function of the other, and the coefficients $s$ and $1 - s$ add up to 1. The moons' network and `catfrog32` answer with $x_0$.)
#
# Where does it come from? Bayes' rule says $\nabla_{x_t} \log p(x_t \mid y) = \nabla_{x_t} \log p(x_t) + \nabla_{x_t} \log p(y \mid x_t)$, and $-\epsilon_\theta / \sqrt{1 - \bar\alpha_t}$ estimates such slopes
# (notebook 02, Section 10). So $s$ multiplies the last term: it is as if a classifier pulled $s$ times as hard towards "this is a $y$". Such a classifier, trained on noised pictures, came first (Dhariwal & Nichol 2021); this way
# nobody has to train it, hence *classifier-free*.
#
# **Discuss,** with pen and paper: let $p(x \mid y) = \mathcal N(1, 1)$ and $p(x) = \mathcal N(0, 2)$ (a variance of 2). Which density has the slope $(1 - s)\, \partial_x \log p(x) + s\, \partial_x \log p(x \mid y)$ for $s = 2$?
#
# <details><summary>Answer</summary>
#
# Slopes of Gaussians are straight lines: $(1 - s)(-x / 2) + s\,(1 - x) = 2 - \tfrac32 x$ for $s = 2$. That is $\mathcal N(\tfrac43, \tfrac23)$: *beyond* the class's own mean, and narrower. With growing $s$ it tends to the point 2.
#
# </details>
#
# For the moons we can also compute the best answers, those of a cloud of 300 slightly blurred points each (`ideal`, notebook 01): the first row below has no network in it.
#
# **Predict:** what will $s = 4$ do to the two moons, if all answers are exact? And what if no label was ever dropped?


# %%
parts = [ideal.IdealDenoiser(points[moon == k][:300], plane, std=0.05) for k in (0, 1)]
whole = ideal.IdealDenoiser(torch.cat([part.points for part in parts]), plane, std=0.05)


class Exact:  # E[eps | x_t], of one moon or of both; all labels of a call must agree
    predicts = "eps"

    def __call__(self, x_t, t, y=None):
        return whole(x_t, t) if y is None else parts[int(y[0])](x_t, t)


moon_scales = (0, 1, 2, 4, 8)
models = {"exact answers": Exact(), "learned,\n15% dropped": learned, "learned,\nnever dropped": careless}
steps, n = choose(ci=3, lecture=40, full=100), choose(ci=20, lecture=300, full=1000)
clouds = {
    (name, s, k): samplers.sample(samplers.guided(model, s), plane, n, (2,), steps=steps, y=k, seed=k)
    for name, model in models.items()
    for s in moon_scales
    for k in (0, 1)
}

# %%
figure, panels = viz.axes(len(models), len(moon_scales), (2.4, 2.4))
for name, row in zip(models, panels, strict=True):
    for s, ax in zip(moon_scales, row, strict=True):
        for k, colour in enumerate((viz.BLUE, viz.ORANGE)):
            viz.cloud(ax, clouds[name, s, k], f"s = {s}" if ax in panels[0] else "", colour, size=3, half=2.8)
    row[0].set_ylabel(name, fontsize=12)
viz.show(
    figure,
    alt="Samples of two moons at guidance 0, 1, 2, 4 and 8. Exact answers: at 0 both classes cover both moons, at 1 each its own, "
    "and from 2 on each loses the end that lies near the other moon. The trained network agrees up to 2 and frays beyond. Without dropped "
    "labels it is right at 1 alone, and at all other scales draws nonsense.",
    name="04_moons",
)
width = {s: clouds["exact answers", s, 0].var(dim=0).sum().item() for s in moon_scales}
print("variance of the blue moon, exact answers:", ", ".join(f"{v:.2f} at s = {s}" for s, v in width.items()))
assert choose(ci=True, lecture=False, full=False) or width[8] < 0.6 * width[1]

# %% [markdown]
# **Row 1.** Guidance does not draw from $p(x \mid y)$ any more, not even with perfect answers. The end of each moon that reaches into the other disappears, although no point there is
# ambiguous: the moons do not touch. *Noised* points are: half-way up the chain the classes overlap, and there the extra pull drives samples away from the other moon. So guidance does not draw from the "sharpened"
# $p(x)\, p(y \mid x)^s$ either, which would leave these moons as they are: guided slopes at different $t$ do not belong to one noised distribution (Karras et al. 2024). What stays is *typical*. Fidelity is bought with variety.
#
# **Row 2.** Beyond 2 the sampler visits points where the network never was in training. It still answers something.
#
# **Row 3.** At $s = 1$ nothing is wrong, and a test there would find nothing. But the row of the table for "no class" never saw a gradient: it is the random vector that it was born with, and guidance multiplies
# the difference to what that means. (Had it started as zeros, it would still be a vector that the network never saw.) The loss will not tell you either: it is even *lower*, since every label was there to help.
#
# ## 3 · Cats and frogs
#
# `catfrog32` began with the weights of `cats32-cosine`, with three rows of zeros for the classes, and went on with cats and frogs.

# %%
card = conditional.card
start = card["started_from"]
print(
    f"{card['parameters']:,} weights; {card['images_seen']:,} pictures seen, {start['images_seen']:,} of them as {start['recipe']}"
)
how = {"sampler": "dpm_solver_pp", "steps": choose(ci=2, lecture=20, full=50), "spacing": "lambda"}
scales, n = (0, 1, 2, 5), choose(ci=2, lecture=12, full=12)
grids = {
    (name, s): sample.images(network, schedule, n, y=torch.full((n,), k), guidance=s, **how)
    for k, name in enumerate(CLASSES)
    for s in scales
}
viz.rows(
    f"samples of {conditional.name}; every column starts from the same noise",
    list(grids.values()),
    [f"{name}, s = {s}" for name, s in grids],
    alt="Samples for both classes at guidance 0, 1, 2 and 5. From one row to the next the same picture becomes more and more of its class; "
    "at 5 colours are exaggerated and backgrounds plain.",
    name="04_guidance",
    across=12,
)
assert torch.allclose(grids["cat", 0], grids["frog", 0], atol=1e-3)  # s = 0 does not hear the class

# %% [markdown]
# *Look for:* down a column, light and place of things stay, since they come from the noise; what the thing *is* changes. The two rows with $s = 0$ are equal. At 5 the pictures look
# like posters: strong contrast, plain backgrounds.
#
# The sampler does not notice any of this: `samplers.guided(model, s)` takes a model and returns a model. Drag the slider, and try $-1$:

# %%
widgets.class_explorer(conditional)

# %% [markdown]
# ## 4 · Fidelity against variety, measured
#
# Strong guidance gives pleasing pictures with less variety. To measure both sides we need one more judge: a **recogniser** that tells cats from
# frogs and has never met a generator. Ours is a logistic regression on the features of EfficientNet-Lite0, fitted to training photographs. On new
# photographs it is right as often as is printed below; a model that drew cats and frogs as they are would score just that. (It looks through the same features as FD, so the two are not independent witnesses.)
#
# **Predict:** which $s$ has the lowest FD? The same for cats and frogs?

# %%
found = study.load()
(recogniser,) = study.recognisers(found["cifar10 recogniser"])
real = {name: found[f"cifar10 {name}, floor"][1]["scores"] for name in CLASSES}
swept = {s: found[f"catfrog32, scale {s:g}"][1]["scores"] for s in study.SCALES}
print(f"the recogniser names {100 * recogniser.accuracy:.1f}% of new photographs right")
print(f"class   s      FD (× floor)      KID   precision  recall  called right; {study.N} samples of each")
for name in CLASSES:
    floor = real[name]
    for s, scores in swept.items():
        one = scores[name]
        text = f"{name:5s} {s:4.1f} {one['fd']:7.1f} ({one['fd'] / floor['fd']:.2f} ×) {one['kid']:8.4f} {one['precision']:9.2f}"
        print(f"{text} {one['recall']:8.2f} {100 * one['called']:9.0f}%")
    text = f"{name:5s} real {floor['fd']:7.1f} (1.00 ×) {floor['kid']:8.4f} {floor['precision']:9.2f} {floor['recall']:8.2f}"
    print(f"{text} {100 * recogniser.accuracy:9.0f}%")

# %%
figure, panels = viz.axes(1, 4, (3.6, 3.5))
numbers = {"fd": "FD (EfficientNet-Lite0)", "precision": "precision", "recall": "recall", "called": "called right"}
for ax, (number, label) in zip(panels[0], numbers.items(), strict=True):
    for name, colour, marker in zip(CLASSES, (viz.BLUE, viz.ORANGE), "os", strict=True):
        curve = [scores[name][number] for scores in swept.values()]
        ax.plot(list(swept), curve, f"{marker}-", color=colour, label=name)
        level = recogniser.accuracy if number == "called" else real[name][number]
        ax.axhline(level, color=colour, linestyle=":", linewidth=1.5)
    ax.set(xlabel="guidance s", title=label, ylim=(0, None if number == "fd" else 1.02))
panels[0, 0].legend()
best = {name: min(swept, key=lambda s, name=name: swept[s][name]["fd"]) for name in CLASSES}
viz.show(
    figure,
    alt="Four curves over the guidance scale, for cats and frogs, dotted lines for real pictures. FD is lowest near "
    f"s = {best['cat']:g} for cats and {best['frog']:g} for frogs. Recall falls late, precision hardly moves, and the share called right rises beyond that of real pictures.",
    name="04_trade",
)
print("lowest FD:", ", ".join(f"{name} at s = {s:g}" for name, s in best.items()))

# %%
s, (low, high) = study.INTERVAL  # ◆
within = found[study.guidance("catfrog32", *study.INTERVAL)][1]["scores"]
for name in CLASSES:
    lines = {f"{k:g} everywhere": swept[k][name] for k in (1.5, 2.0, s)} | {
        f"{s:g} for t = {low:.0f} … {high:.0f}": within[name]
    }
    for where, one in lines.items():
        text = (
            f"{name}, s = {where:21s} FD {one['fd']:5.1f}, precision {one['precision']:.2f}, recall {one['recall']:.2f}"
        )
        print(f"{text}, called right {100 * one['called']:.0f}%")

# %% [markdown]
# - *Called right* climbs to 100%, and passes real photographs at 2. That is no merit: one real photograph in eleven is not recognised, and a faithful model would draw such pictures too.
# - *FD* has its best scale, and not the same one for both: cats are best without guidance, at 1; frogs gain until 2. At 5 both score worse than with no class at all.
# - *Recall*, the share of real pictures that the samples reach, pays, but late: frogs keep a quarter up to 2 and half of that at 5. Precision hardly moves from 1 on.
#
# **Discuss:** at $s = 0$ half of the "cats" are frogs, and yet the FD of cats rises by only 4. What does FD not see, and which column does?
#
# ◆ Is guidance needed at all times? Applied for $t$ between 300 and 800 alone, $s = 3$ does far less harm than everywhere. But it also guides less: compare it with 1.5 and 2 everywhere, at equal *called right*. Cats come out level, frogs
# slightly ahead, within what one run can tell. Kynkäänniemi et al. (2024) report a clear gain on ImageNet; ours is too small to confirm it.
#
# ## 5 · Counted, factor by factor: what was asked, what was drawn
#
# Of a photograph nobody can say exactly what should be on it. Of drawn cats we can: we made them from known factors. `drawn-attributes32` has
# fifteen classes, every pose with every colour of fur. A recogniser for each factor says what it sees.
#
# **Predict:** which will be right more often, the pose or the fur?

# %%
attributes = checkpoints.load(study.ATTRIBUTES)
wishes = attributes.card["classes"]
asked = torch.arange(len(wishes))
made = sample.images(attributes.model, attributes.schedule, 2 * len(wishes), y=asked.repeat(2), guidance=1.5, **how)
viz.rows(
    f"samples of {attributes.name}, s = 1.5; asked for, from left to right: the furs {', '.join(drawn.FACTORS['cat']['fur'])}",
    [made[asked.repeat(2) // 5 == k] for k in range(3)],
    drawn.FACTORS["cat"]["pose"],
    alt="Drawn cats: rows for sitting, standing and lying, columns for five colours of fur, twice. Most have the fur that was asked for, and about half the pose.",
)

# %%
judges = {r.options: r for r in study.recognisers(found["drawn attributes"])}
features = metrics.features.extract(made, metrics.features.network())
for k, factor in enumerate(study.ASKED):
    teller = judges[drawn.FACTORS["cat"][factor]]
    wanted = asked.repeat(2) // 5 if k == 0 else asked.repeat(2) % 5
    right = (teller(features) == wanted).double().mean()
    print(
        f"{factor}: {100 * right:.0f}% of these {len(made)} as asked (of real ones it names {100 * teller.accuracy:.1f}% right)"
    )

# %%
counted = {s: found[f"{study.ATTRIBUTES}, scale {s:g}"][1] for s in study.SCALES}
others = [factor for factor in study.FACTORS if factor not in study.ASKED]


def effective(counts):  # 2 to the entropy: n for n options in equal shares
    p = torch.tensor(counts, dtype=torch.float64).sum(0)
    p = p / p.sum()
    return 2 ** -(p * p.clamp(min=1e-12).log2()).sum().item()


print(f"{study.N} samples each    as asked            options in use of what was not asked")
names = "".join(f"{factor:>8s}" for factor in study.ASKED) + "".join(f"{factor:>14s}" for factor in others)
print(f"   s     {names}      FD")
for s, about in counted.items():
    seen = about["seen"]
    right = [torch.tensor(seen[factor]).diagonal().sum().item() / study.N for factor in study.ASKED]
    text = "".join(f"{100 * r:7.1f}%" for r in right) + "".join(f"{effective(seen[factor]):14.2f}" for factor in others)
    print(f"{s:4.1f}     {text} {about['scores']['fd']:8.1f}")
print("there are" + " " * 16 + "".join(f"{len(drawn.FACTORS['cat'][factor]):14d}" for factor in others))

# %% [markdown]
# At $s = 1$ four in five furs are as asked (chance: one in five), and half of the poses (chance: a third). Colour fills many pixels in the same way; a pose is where things *are*, and
# such things seem to be learned later. Guidance nearly perfects the fur and helps the pose. But even at 5 a quarter of the poses is wrong, and FD has risen by 40%.
#
# The right half of the table is what no score of a photograph tells: nothing was asked about pattern, ears and background, so all options should stay in use. From 2 on the patterns slowly narrow; ears and backgrounds never
# do. (Counted over all wishes together: a pattern that goes with *one* fur only would not show.)
#
# ## 6 · Between the classes ◆
#
# A class is a row of the table; nothing forbids a point *between* two rows. With a share $\rho$ of frog the network is told
# $(1 - \rho)\, e_\text{cat} + \rho\, e_\text{frog}$. It never saw such a thing in training.
#
# **Predict:** will there be a half-frog, or a sudden flip?

# %%
columns = choose(ci=3, lecture=9, full=11)
grid = sample.morph(conditional, "cat", "frog", rows=4, columns=columns, steps=how["steps"], scale=2.0)
viz.rows(
    f"{conditional.name}, s = 2: every row from one noise",
    [grid.flatten(0, 1)],
    [""],
    alt="Four rows of pictures. From left to right each turns from a cat into a frog; light and composition stay, colours and texture change.",
    name="04_morph",
    columns=[f"{100 * k / (columns - 1):.0f}% frog" for k in range(columns)],
    across=columns,
)

# %%
rows = choose(ci=2, lecture=16, full=100)
many = sample.morph(
    conditional, "cat", "frog", rows=rows, columns=5, steps=choose(ci=2, lecture=12, full=50), scale=1.0
)
seen = recogniser.probability(metrics.features.extract(many.flatten(0, 1), metrics.features.network()))[:, 1]
seen = seen.view(rows, 5)
for k in range(5):
    low, high = seen[:, k].quantile(0.25), seen[:, k].quantile(0.75)
    print(
        f"{25 * k:3d}% frog: the recogniser says frog with probability {seen[:, k].mean():.2f} (middle half: {low:.2f} to {high:.2f})"
    )
moved = (many[:, 1:] - many[:, :-1]).abs().mean(dim=(2, 3, 4))
largest = (moved.max(dim=1).values / moved.sum(dim=1)).mean()
print(
    f"of all change along a row, the largest of its four steps holds {100 * largest:.0f}% (even steps: 25%, one flip: 100%)"
)

# %%
widgets.morph_explorer(conditional)

# %% [markdown]
# In pixels there is no flip: the four steps of a row are nearly equal. The recogniser changes its mind at another place in every row, early, late or never, and only its mean runs evenly. (That starts well above 0 and ends below 1, since at
# $s = 1$ one picture in five is not called right.) To the eye, the pictures on the way are no worse than those at the ends, although the network was never asked for one: the table is a space, of which training used three points.
#
# ## 7 · One class or two?
#
# One of the sources' diffusion models (`3xBlocks`, cosine) scored 115.9 on cats when it was trained on cats, and 102.9 when it was trained on cats and frogs. One run each. Does
# that hold, and if so, why?
#
# (Our own cards are no evidence: `catfrog32` scores better on cats than `cats32-cosine`, but began from it, and has seen nearly twice as many.)
#
# "Better" needs a currency. With two classes and equally many steps the network sees *half* as many cats. So we compare at **equal cats seen**, with the one-class network half-way through the same run, and at **equal
# work**, with the one at its end. Both with all 5,000 cats, and with 500, which come round ten times as often. Three
# seeds each, `tiny` networks, the same recipe but for the labels, a tenth of them dropped; the two-class network is asked for cats, without guidance.
#
# **Predict:** in which currency will two classes be better?

# %%
print(
    f"FD of cats, mean ± standard deviation over {len(study.SEEDS)} seeds; {study.N} samples; real cats {real['cat']['fd']:.1f}"
)
print("pictures    one class,    one class,   two classes    equal cats:     equal work:")
print("of each     equal cats    equal work                  two - one       two - one")


def scores_of(arm, cats):  # (seeds, 2): FD of cats half-way and at the end
    runs = [found[f"cifar10 {arm}, {cats} of each, seed {seed}"][1] for seed in study.SEEDS]
    return torch.tensor([[part["fd"] for part in run["scores"]["cat"]] for run in runs])


def spread(values):
    return f"{values.mean():5.1f} ± {values.std():3.1f}"


for cats in (5000, 500):
    one, two = scores_of("cats", cats), scores_of("cats and frogs", cats)[:, 1]
    text = "  ".join(spread(values) for values in (one[:, 0], one[:, 1], two))
    gaps = "   ".join(f"{(two - one[:, k]).mean():+6.1f} ± {(two - one[:, k]).std():3.1f}" for k in range(2))
    print(f"{cats:7,}   {text}   {gaps}")

# %% [markdown]
# Both rows say the same.
#
# - **At equal cats seen**, which is what the sources compared (they counted epochs), the second class seems to help: by 5, in four of six pairs of runs. With three seeds that is about one and a half standard errors: a hint, and
#   with one run each not even that.
# - **At equal work** it hurts: by 6, in all six pairs. Who has so much computing time, and wants cats, should show cats.
#
# So a step on a frog is worth less to a cat than a step on a cat. Whether it is worth anything our runs suggest and do not prove; if so, grass, edges and light are our guess, which both classes share. That pictures are few changes neither
# number. (Whether those networks had begun to copy, this table cannot say: Section 8 of notebook 03 looks at neighbours.)
#
# ## 8 · A conditional GAN that fails, and one that does not
#
# A GAN (notebook 06 derives it) has a generator $G(z, y)$, which draws a picture in one step, and a discriminator $D(x, y)$, which says how real it looks *for its class*. Both must
# hear the class.
#
# - **Tiled**, the sources' way: an embedding of the class is copied to every pixel and appended to $D$'s picture as further channels; in $G$ it is appended to $z$. A constant plane gives $D$'s first layer no more than a
#   bias for each class, and later layers must find out what to do with it. Whether a blob is real shows without it, so little forces $D$ to use it early on.
# - **Projection** (Miyato & Koyama 2018): write the best logit as a sum, $\log \frac{p_\text{data}(x)}{p_G(x)} + \log \frac{p_\text{data}(y \mid x)}{p_G(y \mid x)}$: is it real, and is it of this class? If both class probabilities are
#   softmaxes of the same features $h(x)$ (summed over all places), the second term is $\langle e_y, h(x) \rangle$, with $e_y$ the difference of their weights, and a part without $y$, which joins the first term:
#   $D(x, y) = \psi(h(x)) + \langle e_y, h(x) \rangle$ (Exercise 5). The label meets features that mean something.
#   In the generator, each class gets a gain and a bias of its own in every batch norm (Dumoulin et al. 2017).
#
# And one thing that has nothing to do with classes: the generator never settles, its samples differ from round to round. The mean of its weights over the last thousand rounds should do better; the
# sources used the last weights as they were. So: three rows, **one idea more in each**.

# %%
ways = ("as the sources", "projection", "projection, averaged")
recipe = study.GANS[f"GAN {ways[0]}, seed 0"]
print(f"drawn cats and frogs; width {recipe.width}, {recipe.steps:,} rounds of {recipe.batch_size}")
print(f"mean ± standard deviation over {len(study.SEEDS)} seeds")
print("                          FD cats          FD frogs     called right, cats and frogs")
print(
    f"real pictures          {found['drawn cat, floor'][1]['scores']['fd']:6.1f}            {found['drawn frog, floor'][1]['scores']['fd']:6.1f}"
)
for way in ways:
    runs = [found[f"GAN {way}, seed {seed}"][1]["scores"] for seed in study.SEEDS]
    fd = {name: torch.tensor([run[name][0]["fd"] for run in runs]) for name in CLASSES}
    called = {name: sum(run[name][0]["called"] for run in runs) / len(runs) for name in CLASSES}
    text = "    ".join(f"{x.mean():6.1f} ± {x.std():5.1f}" for x in fd.values())
    print(f"{way:20s} {text}      " + ", ".join(f"{100 * share:.0f}%" for share in called.values()))
viz.rows(
    "samples of three small GANs, seed 0, trained on drawn cats and frogs",
    [
        from_bytes(pictures[:, :6].flatten(0, 1))
        for pictures in (found[f"GAN {way}, seed 0"][0]["pictures"] for way in ways)
    ],
    ways,
    alt="Samples of three GANs, six cats and six frogs each: with the class tiled, with a projection, and with a projection and averaged weights.",
    across=12,
)

# %%
gan = checkpoints.load("catfrog32-gan")
n = choose(ci=2, lecture=10, full=10)
viz.rows(
    "cats and frogs by a GAN in one step, and by diffusion",
    [
        sample.images(c.model, c.schedule, n, y=torch.full((n,), k), **(how if c.schedule else {}))
        for c in (gan, conditional)
        for k in range(2)
    ],
    [f"{c.name}: {name}" for c in (gan, conditional) for name in CLASSES],
    alt="Ten cats and ten frogs by the GAN, then by the diffusion model.",
    name="04_gan_and_diffusion",
)
for c in (gan, conditional):
    print(
        f"{c.name}: {c.card['parameters']:,} weights, {c.card['images_seen'] / 1e6:.2f} million pictures seen, {c.card['minutes'] / 60:.1f} hours on a CPU core"
    )

# %% [markdown]
# The projection wins with every seed, by 25 for cats and by 70 for frogs on average, and the eye agrees: its frogs are clean, and its cats have heads and ears where the tiled GAN has smears. The mean of the weights adds a little for frogs, and nothing for cats. All are far from real drawings after so short a training.
#
# Do not trust the last column. The recogniser, right on all clean drawings, calls nearly everything here a cat, frogs included. Noise like this was not in what it was fitted to, and outside of that its word is worth nothing.
#
# On photographs the third recipe, half as wide again, draws fur, leaves and light at a glance, and seldom an animal. Its recall is next to nothing (last table): most of what real pictures show is missing. In multiples of the floor its cats are
# nevertheless well ahead of the sources'. Diffusion is far ahead of both, after a longer training, and with 20 evaluations of a larger network where the GAN needs one.
#
# ## 9 · Frog against cat
#
# The sources' frogs scored 70.5 and their cats 102.9, from one and the same network. Are frogs easier? A score does not say: it has no floor beside it.

# %%
cards = checkpoints.names()
theirs = {
    ("diffusion", "frog"): 70.517,
    ("diffusion", "cat"): 102.894,
    ("GAN", "frog"): 181.748,
    ("GAN", "cat"): 231.707,
}
print("                     the sources: FID (Inception)      ours: FD (EfficientNet-Lite0); 1,000 samples each")
print(
    "model      class         FID  × floor 49.838        FD      floor        ×      KID ± s.e.      real KID   recall (real)"
)
for kind, name in (("diffusion", "catfrog32"), ("GAN", "catfrog32-gan")):
    for wanted in CLASSES[::-1]:
        s, fid = cards[name]["scores"]["per_class"][wanted], theirs[kind, wanted]
        floor = s["floor"]
        ratio = f"{fid / 49.838:.2f}" if wanted == "cat" else "  – "  # the sources give no floor for frogs
        text = f"{kind:10s} {wanted:8s} {fid:8.1f}      {ratio:>8s}        {s['fd']:8.1f} {floor['fd']:6.1f} ± {floor['fd_std']:.1f} {s['fd_ratio']:6.2f}"
        print(
            f"{text}    {s['kid']:.4f} ± {s['kid_se']:.4f}   {floor['kid']:+.4f}    {s['recall']:.2f} ({floor['recall']:.2f})"
        )
        assert s["n"] == 1000 and s["fd"] > floor["fd"]

# %%
print("real photographs, shrunk to so many pixels a side and enlarged again: FD, and how often the recogniser is right")
for name in CLASSES:
    blurred = found[f"cifar10 {name}, blurred"][1]["scores"]
    text = "   ".join(
        f"{side}: {b['fd']:6.1f}, {100 * b['called']:3.0f}%" for side, b in zip(study.SIDES, blurred, strict=True)
    )
    print(f"{name:5s} 32: {real[name]['fd']:6.1f}, {100 * recogniser.accuracy:3.0f}%   {text}")

# %% [markdown]
# The diffusion model's frogs have the better FD, and so have *real* frogs: their floor is lower, probably because frogs on leaves differ less from each other than
# cats on sofas do. Divided by its floor, FD sees no difference between the classes. KID, whose floor is 0, gives frogs a small lead, about two standard errors, and recall a large one. And this although the network has seen
# many more cats: it began as `cats32-cosine`. One ratio does not settle which class is easier, and the sources had not even that: they had one floor, for cats.
#
# A second guess was that frogs suffer less from soft pictures, fur being all detail. It is wrong: the same blur costs frogs *more*. It does something else, too: shrunk to 8 pixels, 78 of 100 frogs are called cats. So "called cat" means in part "blurred", and soft
# samples flatter the cats of Section 4.
#
# ## Summary
#
# - Conditioning is one more input. A learned vector per class, told to every block, invents no order among classes.
# - A null label, shown in a tenth of the training, puts $p(x)$ and all $p(x \mid y)$ into one network. Leave it out, and only guidance will notice.
# - Guidance exaggerates the difference between the two answers. With perfect answers it still changes the distribution: less variety, more typical.
# - Say which scale you mean, $s$ or $w = s - 1$, and show recall beside precision.
# - Where factors are known, count them one by one: a network can master the fur and miss the pose.
# - Compare at equal something, say what, and with several seeds.
# - A label works where it meets features: a projection beats planes of it.
# - A score needs its floor, most of all between classes, and a second score beside it.

# %% [markdown]
# ## Exercises
#
# Five functions of a conditional model. The checks work as before: they call yours on several inputs, compare it with the course's own, and
# try to name what went wrong.

# %% [markdown]
# ### Exercise 1 ★☆☆ (3 minutes): drop some labels
#
# Before each training step some labels are replaced by the one that means "no class" (Ho & Salimans 2022, Algorithm 1).
#
# Write `drop_labels(y, u, null, share)`. `y` holds the labels, `u` a random number from $[0, 1)$ for each. Where `u` is below `share`, the label becomes `null`. The result
# is int64, like `y`. Leave the inputs as they are.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Each label is decided by its own entry of `u`. Which of the labels 3, 1, 4 survive if `u` is 0.05, 0.5, 0.2 and `share` is 0.1?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.where(condition, a, b)` takes from a or b, element by element; one of them may be a number. `y.masked_fill(condition, value)` does too.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "drop_labels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def drop_labels(y, u, null, share):
    """Labels with some dropped. y: (B,) int64; u: (B,) in [0, 1); null: int, no class; share: float. Returns (B,)."""
    ### BEGIN SOLUTION
    return torch.where(u < share, null, y)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "drop_labels_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.drop_labels(drop_labels)

# %% [markdown]
# ### Exercise 2 ★☆☆ (10 minutes): a plane per class
#
# The plain way to tell a convolutional network the class: further input channels. Channel $k$ is 1 everywhere where the label is $k$, and 0 everywhere
# otherwise.
#
# Write `label_channels(y, classes, size)`, which returns `(B, classes, size, size)`, float32. Every label is a class here; "no class" would be planes of zeros.
#
# <details><summary>Hint 1: where to begin</summary>
#
# First make a row per label: `classes` numbers, a single 1 among zeros. Then spread every number over a plane.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.nn.functional.one_hot` makes the rows, in whole numbers. Indexing with `None` adds an axis, `.expand` fills it.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "label_channels", "locked": false, "schema_version": 3, "solution": true, "task": false}
def label_channels(y, classes, size):
    """Planes that say the class. y: (B,) int64. Returns (B, classes, size, size) float32; plane k is 1 where y = k."""
    ### BEGIN SOLUTION
    rows = torch.nn.functional.one_hot(y, classes).float()
    return rows[:, :, None, None].expand(-1, -1, size, size)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "label_channels_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.label_channels(label_channels)

# %% [markdown]
# ### Exercise 3 ★☆☆ (3 minutes): the formula of guidance
#
# Write `guide(with_y, without, scale)` from the network's two answers. Scale 0 gives the answer without the class, 1 the one with it, and larger scales go on in
# that direction. It may be any number, also below 0: nothing is clipped. (Not the convention of Ho & Salimans: see Section 2.)
#
# <details><summary>Hint 1: where to begin</summary>
#
# A straight line through two points: start at one of them, and add a multiple of the way to the other.
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# Where both answers are equal, the result is that answer, whatever the scale.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "guide", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guide(with_y, without, scale):
    """The guided answer. with_y, without: answers of one shape; scale: float, 0 gives without, 1 with_y."""
    ### BEGIN SOLUTION
    return without + scale * (with_y - without)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "guide_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.guide(guide)

# %% [markdown]
# ### Exercise 4 ★★☆ (15 minutes): both answers in one call
#
# On a GPU, two calls on a batch of $B$ take longer than one call on a batch of $2B$, which leaves it less idle. So both answers are computed together.
#
# Write `guided_eps(model, x_t, t, y, scale, null)`: call `model(x, t, y)` **once**, with a batch of $2B$: all $B$ examples with their labels `y`, and the same $B$ with `null`, in
# an order of your choice. (`null` need not be the largest label.) Return the guided $\hat\epsilon$, of the shape of `x_t`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# All three inputs need $2B$ entries. Which of them are the same in both halves, and which differs?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.cat([a, b])` joins along the batch, `.chunk(2)` cuts it into halves again, `torch.full_like(y, null)` makes the other labels. `guide` is
# yours to use.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "guided_eps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def guided_eps(model, x_t, t, y, scale, null):
    """Guided eps with one call of model(x_t, t, y). x_t: (B, ...); t, y: (B,); null: the label of no class."""
    ### BEGIN SOLUTION
    labels = torch.cat([y, torch.full_like(y, null)])
    with_y, without = model(torch.cat([x_t, x_t]), torch.cat([t, t]), labels).chunk(2)
    return without + scale * (with_y - without)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "guided_eps_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.guided_eps(guided_eps)

# %% [markdown]
# ### Exercise 5 ★★☆ (15 minutes): the projection discriminator
#
# A discriminator (Section 8) has computed features $h$, of shape `(B, C, H, W)`, and a logit, its verdict as one number, that ignores the class. Miyato & Koyama (2018, Eq. 3 and Figure 1d) add
# $\langle e_y, \sum_{i,j} h_{ij} \rangle$: the inner product of the class's row of a table with the features, *summed* over all places.
#
# Write `projection_logit(h, logit, table, y)`; `table` has shape `(classes, C)`; `logit` and `y` have `(B,)`. Return `(B,)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# First make one vector of $C$ numbers per picture out of $h$, then look up one per label. Both have shape `(B, C)`.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `table[y]` looks rows up, `.sum(dim=...)` takes several axes. Row by row, an inner product is a product followed by a sum; `@` would pair every picture with every label.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "projection_logit", "locked": false, "schema_version": 3, "solution": true, "task": false}
def projection_logit(h, logit, table, y):
    """Logit with the class. h: (B, C, H, W); logit: (B,); table: (classes, C); y: (B,) int64. Returns (B,)."""
    ### BEGIN SOLUTION
    return logit + (table[y] * h.sum(dim=(2, 3))).sum(dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "projection_logit_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.projection_logit(projection_logit)

# %% [markdown]
# ## References
#
# - J. Ho, T. Salimans: *Classifier-Free Diffusion Guidance*, arXiv 2207.12598, 2022.
# - P. Dhariwal, A. Nichol: *Diffusion Models Beat GANs on Image Synthesis*, NeurIPS 2021.
# - T. Kynkäänniemi, M. Aittala, T. Karras, S. Laine, T. Aila, J. Lehtinen: *Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models*, NeurIPS 2024.
# - T. Karras, M. Aittala, T. Kynkäänniemi, J. Lehtinen, T. Aila, S. Laine: *Guiding a Diffusion Model with a Bad Version of Itself*, NeurIPS 2024.
# - T. Miyato, M. Koyama: *cGANs with Projection Discriminator*, ICLR 2018.
# - V. Dumoulin, J. Shlens, M. Kudlur: *A Learned Representation for Artistic Style*, ICLR 2017.
# - T. Kynkäänniemi, T. Karras, S. Laine, J. Lehtinen, T. Aila: *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019.
