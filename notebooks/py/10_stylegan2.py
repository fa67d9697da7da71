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
# # 10 · StyleGAN2, taken apart
#
# ![Film: pictures of a StyleGAN2, a DCGAN, a diffusion model and a VAE while they learn cat faces for ten minutes each, from noise to soft or grained faces.](../report_imgs/10_film.png)
#
# "The sources" are the student projects that this course grew out of. On whole cats at 64 × 64, StyleGAN2 drew better pictures than their diffusion model, they write, and give five reasons: no artefacts of AdaIN, bias and noise outside the style block, weight demodulation, lazy regularisation, and a skip generator with a residual discriminator in place of progressive growing. We switch these off, one at a time, and look. Then four kinds of models get the same ten minutes on photographs of cat faces.
#
# **You will be able to**
# 1. follow a picture from $z$ over $w$ to pixels, and say what a *style* is;
# 2. explain what each of the five changes is for, and show it on an example of a few lines;
# 3. mix the styles of two pictures, truncate, and say what that gives away;
# 4. look for the $w$ of a given picture, and say what it means when none is found;
# 5. compare GAN, diffusion and VAE at equal minutes, and name what such a comparison leaves out.
#
# **Before you start:** notebook 06 (the two losses, R1); Section 6 of notebook 03 (FD, KID, precision, recall and their floors). **Run time:** about three minutes on two CPU cores. **As a lecture:** 75 minutes without the parts marked ◆, about 95 with them (estimates).

# %%
import time
from dataclasses import replace

import torch
from torch.nn import functional as F

from course_utils import checkpoints, checks, metrics, recipes, sample, styles, training, viz, widgets
from course_utils.data import named
from course_utils.data.levels import from_bytes
from course_utils.models.stylegan2 import NORMALISATIONS, StyledConv, StyleGenerator
from course_utils.presets import choose, halve_threads
from course_utils.studies import styles as study

halve_threads()
random = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1 · From z to w to a picture
#
# A DCGAN pours $z$ in at the bottom, and all of the picture has to be made of it there. StyleGAN (Karras et al. 2019) changed the plumbing:
#
# - A **mapping network** of four linear layers, a leaky ReLU after each, turns $z$ into $w$. The cloud of $z$ is round, because we said so; that of $w$ may take whatever shape suits the pictures.
# - The **synthesis network** starts from a *learned constant* of 4 × 4, the same for all pictures, and doubles it up to 64 × 64. Every convolution is told $w$ anew: it sets how strongly each input channel counts. That is the **style**.
# - What no $w$ needs to say, where each hair lies, comes from **noise** of one channel, fresh at every convolution.
#
# `stylegan2-drawn64` was trained on drawn cat faces, half an hour on one core.

# %%
trained = checkpoints.load("stylegan2-drawn64")
G = trained.model
z = sample.noise(trained, 8, seed=3)
with torch.no_grad():
    w = G.to_w(z)
    pictures = G.synthesise(w)
    again = G.synthesise(w, G.draw_noise(8, random))
print(f"z {tuple(z.shape)}, w {tuple(w.shape)}, pictures {tuple(pictures.shape)}; {trained.card['data']}")
print("sides and channels:", ", ".join(f"{s}: {c}" for s, c in zip(G.config.sides, G.config.widths, strict=True)))
print(f"{G.config.styles} convolutions, each with its own copy of w")

# %%
viz.rows(
    "drawn by stylegan2-drawn64",
    [pictures, again, (again - pictures).abs() * 10 - 1],
    ["from eight z", "same w,\nother noise", "difference × 10"],
    across=8,
    alt="Eight drawn cat faces with ears, eyes and whiskers, in several colours on pastel grounds; the same eight with other noise, which look the same; and their difference, black but for specks along the outlines.",
    name="10_noise",
)
print(f"noise moves a pixel {styles.noise_share(G, sample.noise(trained, 64, seed=4)):.2f} times as much as z does")

# %% [markdown]
# *Look for:* what noise may change. Next to nothing: a few pixels along edges and whiskers, ten times enlarged here. Flat drawings have no part that chance could fill in. Pose, fur and background come from $w$ alone.
#
# ## 2 · A minute of training
#
# Losses and loop are those of notebook 06: non-saturating, with R1 on the discriminator. New are two things that act on the generator:
#
# - **Style mixing**: nine pictures of ten get two $w$, one up to a random convolution and another from there on, so that a convolution cannot count on what its neighbours were told (Section 5).
# - The **path length penalty**: a step in $w$ should move a picture equally far everywhere. With $J$ the Jacobian of the picture in $w$ and $y$ a random picture of normal noise, $J^\top y$ is the gradient in $w$ of the sum of picture times $y$. Its length is pulled towards its running mean.

# %%
rounds = choose(ci=2, lecture=500, full=20_000)
recipe = recipes.get("stylegan2-drawn64").changed(size=32, steps=rounds, ema=0.98)
pair, ema, _ = recipe.build()
faces = recipe.images()
for _ in training.progress(recipe.fit(pair, ema, faces), rounds):
    pass
sizes = [sum(p.numel() for p in network.parameters()) for network in (pair.generator, pair.discriminator)]
print(f"{faces.name}, 32 × 32; {sizes[0]:,} weights against {sizes[1]:,}; {rounds * recipe.batch_size:,} pictures seen")

# %%
viz.rows(
    f"after {rounds} rounds of {recipe.batch_size} pictures",
    [faces[:10][0], sample.one_step(ema.model, 10)],
    ["drawn", "generated"],
    alt="Ten drawn cat faces; below, ten generated pictures: round, grainy heads with a dark band of eyes on pastel grounds.",
)

# %% [markdown]
# A round head on a pastel ground, darker where the eyes will be, and a grain over all of it. A minute is not enough: the networks of Section 4 had three times as many rounds.
#
# ## 3 · Five reasons, five small experiments
#
# Each of the five can be seen without training anything for long. **Predict** each result before you run it.
#
# ### Reason 1: what instance normalisation does to a map
#
# StyleGAN set the style by **AdaIN**: bring every map of every picture to mean 0 and standard deviation 1 (*instance normalisation*), then give it the scale and the shift that $w$ asks for. So how strong a convolution has made a map is lost; only $w$ can still set it. Unless there is one huge spike somewhere. Take a map of ordinary numbers, 32 × 32, and one spike:

# %%
plain = torch.randn(1, 1, 32, 32, generator=random)
shown, rest = [], torch.ones(32, 32, dtype=torch.bool)
rest[9, 22] = False
for height in (0, 10, 30, 100):
    x = plain.clone()
    x[0, 0, 9, 22] = height
    shown.append(F.instance_norm(x)[0, 0])
    print(f"a spike of {height:3d}: standard deviation of all the rest afterwards {shown[-1][rest].std():.2f}")

# %%
figure, panels = viz.axes(1, 4, (2.9, 3.0))
for ax, x, height in zip(panels[0], shown, (0, 10, 30, 100), strict=True):
    ax.imshow(x, cmap="cividis", vmin=-2.5, vmax=2.5)
    ax.set(title=f"spike of {height}", xticks=[], yticks=[])
viz.show(
    figure,
    alt="Four maps of noise after instance normalisation, with spikes of 0, 10, 30 and 100. The higher the spike, the flatter everything else.",
)

# %% [markdown]
# One pixel in a thousand sets the volume of the other 1,023. With a spike a generator can say how strong the rest is to be, against the normalisation. That is the authors' explanation of the drops of water in StyleGAN's pictures (Karras et al. 2020, figure 1). We look for them in Section 4.
#
# ### Reason 2: demodulation
#
# Without any normalisation, styles multiply from layer to layer. StyleGAN2 divides by what the scale is *expected* to be: for independent inputs of mean 0 and variance 1, a convolution whose input channel $i$ is scaled by $s_i$ has outputs of variance $\sigma_j^2 = \sum_{i, k} (s_i\, \theta_{jik})^2$, and it divides output $j$ by $\sigma_j$. That is a property of weights and style, not of the map, so a strong map stays a strong map.
#
# $$\theta'_{jik} = s_i\, \theta_{jik}, \qquad \theta''_{jik} = \theta'_{jik} \Big/ \sqrt{\textstyle\sum_{i,k} {\theta'_{jik}}^2 + \epsilon}$$
#
# (The paper writes $w$ for the weights; here $w$ is taken.) As it stands every picture has weights of its own:


# %%
def modulated_conv(weight, x, s):
    """x: (B, into, H, W); weight: (out, into, 3, 3); s: (B, into), the style. Karras et al. 2020, equations 1 and 3."""
    modulated = s[:, None, :, None, None] * weight  # weights of its own for every picture
    kernels = modulated * (modulated.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    return torch.stack([F.conv2d(one[None], kernel, padding=1)[0] for one, kernel in zip(x, kernels, strict=True)])


# %%
layer = G.convs[2]
x = torch.randn(8, layer.conv.weight.shape[1], 8, 8, generator=random)
with torch.no_grad():
    # weights are stored at unit variance and scaled by gain in use; the style is 1 plus a linear layer of w
    ours = modulated_conv(layer.conv.weight * layer.conv.gain, x, 1 + layer.style(w))
    ours = F.leaky_relu(ours + layer.bias[:, None, None], 0.2) * 2**0.5
    torch.testing.assert_close(ours, layer(x, w), atol=1e-4, rtol=1e-4)
print("the course's layer, which scales inputs and outputs and shares one convolution, gives the same")

# %%
for normalise in NORMALISATIONS:
    torch.manual_seed(0)
    fresh = StyleGenerator(replace(G.config, normalise=normalise))
    w_fresh = fresh.to_w(z)
    for factor in (1, 2):
        rms = [x.square().mean().sqrt() for x in styles.maps(fresh, factor * w_fresh)]
        print(f"{normalise:13s} w × {factor}:" + "".join(f"{size:9.2f}" for size in rms))

# %% [markdown]
# The sizes are root mean squares after each of the nine convolutions of an *untrained* generator. *Look for:* the last column. Without normalisation a $w$ twice as large makes the last maps ninety times as large, since the factors of all layers multiply. Demodulated, nothing builds up, and the style only says which channels count. (Instance normalisation also holds the size; the shift that AdaIN adds doubles with $w$.)
#
# ### ◆ Reason 3: bias and noise outside the style block
#
# In StyleGAN, bias and noise came *before* the normalisation, inside the block that the style scales. (With our demodulation in place of its AdaIN the effect is the same.) How large the noise is in the end then depends on the style. **Predict:** the style of a layer is made $c$ times as large. What happens to its noise?

# %%
x = torch.randn(64, 32, 16, 16, generator=random)
noise = torch.randn(64, 1, 16, 16, generator=random)
for outside in (False, True):
    torch.manual_seed(0)
    block = StyledConv(replace(G.config, outside=outside), 32, 32).requires_grad_(False)
    block.style.weight.zero_()
    block.strength.fill_(0.2)
    moved = []
    for c in (0.5, 1, 2, 4):
        block.style.bias.fill_(c - 1)  # the block adds 1: every input channel is scaled by c
        w0 = torch.zeros(64, G.config.w_dim)
        moved.append((block(x, w0, noise) - block(x, w0, 0 * noise)).square().mean().sqrt())
    print(
        f"{'outside' if outside else 'inside ':8s} style × 0.5, 1, 2, 4: noise moves the output by "
        + ", ".join(f"{m:.3f}" for m in moved)
    )

# %% [markdown]
# Inside, the noise is added first and then divided by the $\sigma_j$ of Reason 2, which is proportional to $c$: a style twice as large halves the noise, and the network must undo that elsewhere. Outside, noise does what its one number says, whatever the style.
#
# ### ◆ Reason 4: lazy regularisation
#
# R1 needs the gradient of a gradient; the path penalty needs one through the whole generator. Both change slowly, so StyleGAN2 takes R1 in every 16th round only and the path penalty in every 8th, and counts them 16 and 8 times as much. What does it save? Measured in turns, so that a busy machine slows all three alike:


# %%
def seconds(rounds, **changes):
    timed = recipe.changed(batch_size=8, steps=10**6, **changes)
    pair, ema, _ = timed.build()
    run = timed.fit(pair, ema, faces)
    while True:
        began = time.perf_counter()
        for _ in range(rounds):  # a multiple of 16: every penalty comes as often as it should
            next(run)
        yield time.perf_counter() - began


# %%
timers = {
    "no penalties": seconds(16, r1=0.0, path=0.0),
    "lazy": seconds(16),
    "every round": seconds(16, r_every=1, path_every=1),
}
taken = torch.tensor([[next(timer) for timer in timers.values()] for _ in range(choose(ci=1, lecture=4, full=10))])
for name, ratio in zip(timers, (taken / taken[:, :1]).median(dim=0).values, strict=True):
    print(f"{name:14s} {ratio:.2f} times the cost of a round without penalties")

# %% [markdown]
# Every penalty in every round costs about twice as much (1.7 to 2.1 in nine runs of these cells), the lazy one at most a sixth more. The slope is the same on average; the steps are not quite, since Adam rescales slopes. The paper gives a penalty an Adam step of its own, and adjusts Adam for these extra steps (appendix B); we add it to the loss of the ordinary step.
#
# ### Reason 5: skips instead of growing
#
# Progressive growing (Karras et al. 2018) trains 4 × 4 first, then fades in 8 × 8, and so on. Every resolution is for a while the last one, and has to draw finished pictures; the authors blame that for details, such as teeth, that stay in place while the face turns. StyleGAN2's **skip** generator has all of them from the start: each resolution adds its RGB to that of the one below, doubled. Its discriminator is residual instead. Nobody says when which resolution should matter; training finds that out.

# %%
with torch.no_grad():
    parts = styles.added(G, w[:5])
    torch.testing.assert_close(sum(parts), G.synthesise(w[:5]), atol=1e-4, rtol=1e-4)
so_far = [sum(parts[: k + 1]) for k in range(len(parts))]
viz.rows(
    "what each resolution adds, and the picture so far",
    [torch.cat([part[k : k + 1] for k in (0, 1) for part in some]) for some in (parts, so_far)],
    ["adds", "so far"],
    columns=2 * [f"{side} × {side}" for side in G.config.sides],
    alt="Two drawn cats taken apart. Up to 32 by 32 each resolution adds blurred patches of colour, at last a blurred head; 64 by 64 adds black lines. Below, the picture so far: a blur until the last resolution.",
    name="10_added",
)
print(
    "standard deviation over pictures of what is added: "
    + ", ".join(f"{side}: {part.std(dim=0).mean():.2f}" for side, part in zip(G.config.sides, parts, strict=True))
)

# %% [markdown]
# *Look for:* who draws the lines. Sharp ones come from 64 × 64 alone. Up to 32 × 32 there is a head with eyes, blurred, as it has to be, since it is doubled. Karras et al. (2020, section 4.2) watched this over a training: coarse resolutions matter first, then ever finer ones, without anyone's schedule.
#
# ## 4 · Switched off, one at a time
#
# Each of these networks differs from the first in one thing. The last is close to StyleGAN: instance norm, noise and bias inside, growing, R1 in every round, no path penalty. They learned drawn cat faces at 32 × 32, 1,500 rounds of 16 pictures, so that you can repeat it offline: `python -m course_utils.studies.styles --only seed` takes each a few minutes of one core. Some have two or three seeds: a difference means something when it is larger than that between seeds.
#
# FD and KID are those of notebook 03. *Noise* is how much the noise inputs move a pixel, relative to $z$. *Spread of |J|* is what the path penalty is for: the standard deviation of the path lengths over pictures, relative to their mean. *Minutes* are those of one core, scoring left out, and a mean over seeds.
#
# **Predict:** which one hurts most?

# %%
found = study.load()
floor = found[f"floor, drawn:face, n = {study.N}"][1]["scores"]


def over_seeds(name, value):
    return [value(found[f"{name}, seed {seed}"][1]) for seed in range(study.SEEDS[name])]


# %%
print(f"FD at N = {study.N}, floor {floor['fd']:.0f} ± {floor['fd_std']:.1f}; a number for each seed")
print(f"{'':25s}{'FD, half':>15s}{'FD, whole':>15s}{'KID':>18s}{'noise':>18s}{'spread of |J|':>18s}{'minutes':>9s}")
for name in study.SEEDS:
    taken = over_seeds(name, lambda f: f["minutes"])
    cells = [
        over_seeds(name, lambda f: f"{f['scores'][0]['fd']:.0f}"),
        over_seeds(name, lambda f: f"{f['scores'][-1]['fd']:.0f}"),
        over_seeds(name, lambda f: f"{f['scores'][-1]['kid']:.2f}"),
        over_seeds(name, lambda f: f"{f['noise_share']:.2f}"),
        over_seeds(name, lambda f: f"{f['length_spread']:.2f}"),
        [f"{sum(taken) / len(taken):.1f}"],
    ]
    widths = (15, 15, 18, 18, 18, 9)
    print(f"{name:25s}" + "".join(f"{', '.join(cell):>{n}s}" for cell, n in zip(cells, widths, strict=True)))

# %%
viz.rows(
    f"generated after {study.RUNS['StyleGAN2, seed 0'].steps:,} rounds, the same eight z, seed 0",
    [from_bytes(found[f"{name}, seed 0"][0]["pictures"]) for name in study.SEEDS],
    [name.replace(" and ", "\nand ").replace("every penalty ", "every penalty\n") for name in study.SEEDS],
    across=study.SHOWN,
    alt="Eight rows of eight small cat faces, all of them alike in quality: heads with ears and eyes, grainy. The two rows with instance normalisation are speckled most; without normalisation the colours are pale; growing has the calmest fur.",
    name="10_study",
)

# %%
figure, panels = viz.axes(1, 1, (8.5, 4.0))
looks = {"StyleGAN2": viz.INK, "instance norm": viz.ORANGE, "no normalisation": viz.GREEN, "as StyleGAN": viz.PURPLE}
sides = study.RUNS["StyleGAN2, seed 0"].network_config().conv_sides
for name, colour in looks.items():
    for seed in range(study.SEEDS[name]):
        tensors, _ = found[f"{name}, seed {seed}"]
        panels[0, 0].plot(tensors["peaks"], "o-", color=colour, label=name if seed == 0 else None)
panels[0, 0].plot(sides, "--", color=viz.GREY, label="a single spike")
panels[0, 0].set_xticks(range(7), [f"{k}: {side} × {side}" for k, side in enumerate(sides)], fontsize=11)
panels[0, 0].set(ylabel="highest place of a map,\ntimes its root mean square", xlabel="convolution", yscale="log")
panels[0, 0].set_yticks([4, 8, 16, 32], ["4", "8", "16", "32"])
panels[0, 0].set_yticks([], minor=True)
panels[0, 0].legend(fontsize=11)
viz.show(
    figure,
    alt="How far the highest place of a map stands out, over seven convolutions, for seven runs. All lie between 3 and 5 and a bit, far below the dashed line of a single spike, which rises to 32.",
    name="10_peaks",
)

# %% [markdown]
# *Look for:* what the scores say, which is next to nothing. The three seeds of StyleGAN2 end at 283, 294 and 309, and almost everything else ends in or beside this range; the one run that is clearly better (254) has noise and bias *inside*, and its other seed has 289.
#
# That is less odd than it looks. On photographs of people, Karras et al. (2020, table 1) report FIDs of 4.40, 4.39, 4.38 and 4.34 while they put in demodulation, lazy regularisation and the path penalty, one after the other; only the new architectures without growing bring a step, to 3.31. Most of these changes are not there for FD. So look elsewhere:
#
# - **Half-way.** Without normalisation FD is 379 after half of the run, where all others have 298 to 343. One seed.
# - **Inside.** Without normalisation the path lengths of pictures differ far more (spread 1.04 against 0.08 to 0.16 in all other runs): a step in $w$ moves some pictures far and others hardly. And noise moves a pixel a quarter as much as in StyleGAN2.
# - **Cost.** Every penalty every round: 6.1 minutes instead of 3.6, and no lower FD.
# - **Pictures.** The rows with instance normalisation are speckled most; those without any are pale. (One seed of each: that is looking, not counting.)
# - **Spikes: none.** In all networks the highest place of a map is three to six times its root mean square; a single spike would have 4 at 4 × 4 and 32 at 32 × 32. The paper sees its drops from 64 × 64 on, after far longer training. Reason 1 shows that a spike *would* pay; it does not show that ours have found out.
# - **The path penalty** shows no effect on what it is for: spread 0.09 without it (one seed), 0.08 to 0.15 with it.
#
# In 24,000 pictures of 32 × 32, none of the five visibly lowers the final FD. They are answers to problems of long trainings at high resolution, and whoever says "ours is better *because of* demodulation" has to show a run without it, over seeds.
#
# ## 5 · Mixing styles
#
# Since every convolution is told $w$ on its own, nothing forces it to be the same $w$. Let the first $k$ convolutions follow the $w$ of A and the others that of B. **Predict:** which convolutions decide on the colours, which on the shape?

# %%
with torch.no_grad():
    a, b = (styles.each(G, G.to_w(sample.noise(trained, 64, seed))) for seed in (1, 2))
    mixed = torch.stack([G.synthesise(styles.mix(a, b, at)) for at in range(G.config.styles + 1)])
moved = (mixed[1:] - mixed[:-1]).square().mean(dim=(1, 2, 3, 4)).sqrt()
print("handing one more convolution over to A moves a pixel by (root mean square over 64 pairs)")
print("   ".join(f"{k} ({side}²): {m:.2f}" for k, (side, m) in enumerate(zip(G.config.conv_sides, moved, strict=True))))

# %%
viz.rows(
    "the first k convolutions told w of A, the others w of B",
    [mixed[:, k] for k in (1, 3, 4, 5)],
    4 * ["B to A"],
    columns=["k = 0: B", *range(1, 9), "9: A"],
    alt="Four rows of ten cat faces from B on the left to A on the right. Colour, pose and background change within the first three steps; the last six columns differ in shades.",
    name="10_mixing",
)

# %% [markdown]
# *Look for:* the first three steps. The convolutions at 4 × 4 and 8 × 8 decide on nearly everything: pose, background, and the colour of the fur. (Numbers 0 and 2 count double: the layer that turns a resolution's maps into RGB is told the $w$ of its last convolution.) What is left for the finer ones are smaller things, such as how dark fur and lines are. With photographs of people, Karras et al. (2019) found pose and shape in the coarse styles and *colours* in the fine ones. Here colour is coarse, probably because a drawn cat has one flat colour over half of the picture. What a style controls depends on the data, too.
#
# Choose where to change over yourself:

# %%
widgets.mixing_explorer(trained)

# %% [markdown]
# ## 6 · Truncation
#
# The mean of all $w$, $\bar w$, has a picture too. Move every $w$ towards it, $w' = \bar w + \psi (w - \bar w)$: with $\psi = 1$ nothing changes, with $\psi = 0$ all pictures are one. In between they become more alike, and rare, badly learned corners of $w$ are left out. **Predict:** what do precision and recall do as $\psi$ falls?

# %%
psis = (0.0, 0.3, 0.5, 0.7, 1.0, 1.3)
with torch.no_grad():
    rows = [G.synthesise(G.truncated(w, psi)) for psi in psis]
viz.rows(
    "the same eight w, truncated",
    rows,
    [f"ψ = {psi}" for psi in psis],
    across=8,
    alt="Six rows of eight cat faces. For psi 0 the same grey-brown cat eight times; with growing psi colours, grounds and poses spread; at 1.3 the colours glare and some outlines dissolve.",
    name="10_truncation",
)

# %% [markdown]
# *Look for:* the first row: there is one average cat. By 0.7 the pictures are as different as before, nearly, and cleaner; at 1.3 the first one falls apart.
#
# Scores need pictures to compare with. These were measured on photographs of cat faces, for `stylegan2-faces64`, the network of Section 8:

# %%
scores = found[f"truncation, {study.TRUNCATED}"][1]["scores"]
print(f"{'ψ':>5s}{'FD':>8s}{'KID':>9s}{'precision':>11s}{'recall':>8s}   (N = {study.N})")
for psi, of in zip(study.PSI, scores, strict=True):
    print(f"{psi:5.2f}{of['fd']:8.1f}{of['kid']:9.3f}{of['precision']:11.2f}{of['recall']:8.2f}")

# %% [markdown]
# *Look for:* both ends. FD is the same at 0.85 and 1 (97.0), and rises on either side; below, the pictures grow too much alike. Recall goes from 0.02 to nothing. Precision, said to rise as $\psi$ falls, does not do so to the end: 0.58 at 1, 0.60 at 0.7, 0.49 at 0.3. Near $\bar w$ a picture is a mixture of many, and perhaps no likely photograph. (One set of $z$: differences of a few hundredths are chance. The row of 1 is the network's own card.)

# %%
widgets.truncation_explorer(trained)

# %% [markdown]
# ## 7 · Which w has this picture?
#
# A GAN has no encoder. But pictures are differentiable in $w$, so we can look: begin at $\bar w$, and walk downhill on the distance to the given picture (**projection**, Karras et al. 2020, section 5). There, a network's features measure the distance (LPIPS); here, squared errors of the picture and of ever smaller copies do.
#
# Either all convolutions share one $w$, or each gets its own (**W+**, Abdal et al. 2019): nine times as many numbers to turn. **Predict:** pictures that the network drew, and new ones of the data set: which are found? What does W+ change?

# %%
new = named.named_set("drawn:face:test", size=64, n=2).images
given = torch.cat([sample.one_step(G, 2, seed=8), new])
steps = choose(ci=3, lecture=120, full=400)
last = {space: [list(styles.project(G, x, steps, extended=space == "W+"))[-1] for x in given] for space in ("W", "W+")}
kinds = ("drawn by G", "drawn by G", "new", "new")
for space, ends in last.items():
    print(
        f"{space:3s} distance at last: "
        + ", ".join(f"{kind} {end.distance:.4f}" for kind, end in zip(kinds, ends, strict=True))
    )

# %%
viz.rows(
    f"projected in {steps} steps",
    [given, *(torch.stack([end.image for end in ends]) for ends in last.values())],
    ["given", "one w", "a w for each\nconvolution"],
    columns=kinds,
    across=4,
    alt="Four cat faces and what was found for them. The two drawn by the network are found almost exactly. Of the two new ones colours and pose are found, blurred, without eyes; with a w for each convolution the first gets blue eyes and pointed ears, the second a pale moon.",
    name="10_projection",
)

# %% [markdown]
# *Look for:*
#
# - **Its own pictures are found**, down to a distance of about 0.002 with one $w$; most of what is left is search not yet finished (with 400 steps the first comes to 0.0006).
# - **New ones are not:** their distance is eleven to twenty times as large. Colours and ground are right, ears and pose roughly; the round eyes, the stripes and the moon are not. The search found no $w$ that has them, and 400 steps bring the first only from 0.032 to 0.026. That does not prove that there is none, but it is what a missing mode looks like, one picture at a time, where recall gives one number for all.
# - **W+ comes nearer**, to about half the distance: blue eyes for the first, a pale moon for the second. But for the first of its own pictures it is further away than one $w$ (0.008 against 0.002): nine times as many numbers need more steps. And what it finds need not be a cat: in training a picture was told two $w$ at most.
#
# Watch it on the way. The explorer takes any picture of 64 × 64: yours, too, by `images.folder("my_cats", 64).images` from `course_utils.data`.

# %%
widgets.projection_explorer(trained, given, ["drawn by G, 1", "drawn by G, 2", "new, 1", "new, 2"])

# %% [markdown]
# ## 8 · Ten minutes each
#
# Now the sources' comparison, at *equal training time*: StyleGAN2, a DCGAN as in notebook 06, the diffusion model of notebook 03 and the VAE of notebook 05 (one vector for a picture), all at 64 × 64 on 3,007 photographs of cat faces (500 others are there for the scores), each for ten minutes of one processor core, as `make styles` does it. Measured in processor time, so that nothing else on the machine costs anyone anything. Both GANs see their pictures augmented (shifted, recoloured, partly hidden; Zhao et al. 2020), since 3,007 are few. All four draw with averaged weights, diffusion in 25 steps of DPM-Solver++.
#
# **Predict:** the order after two minutes, and after ten. Which one draws the first cat that you would recognise?

# %%
colours = dict(zip(study.RIVALS, (viz.INK, viz.ORANGE, viz.BLUE, viz.GREEN), strict=True))
floors = {n: found[f"floor, faces, n = {n}"][1]["scores"] for n in (study.GLANCE, study.N)}
figure, panels = viz.axes(1, 3, (4.2, 3.7))
for name, colour in colours.items():
    curve = found[f"race, {name}"][0]["curve"]
    for ax, column in zip(panels[0], (1, 2, 3), strict=True):
        ax.plot(curve[:, 0], curve[:, column], "o-", color=colour, label=name, markersize=4)
for ax, title, key in zip(panels[0], ("FD", "KID", "precision"), ("fd", "kid", "precision"), strict=True):
    ax.axhline(floors[study.GLANCE][key], color=viz.GREY, linestyle="--")
    ax.set(title=f"{title}, {study.GLANCE} pictures", xlabel="minutes of training", ylim=(0, None))
panels[0, 0].legend(fontsize=11)
viz.show(
    figure,
    alt="FD, KID and precision over ten minutes. FD and KID of the VAE fall steadily and lowest; diffusion follows; DCGAN and StyleGAN2 wander, StyleGAN2 falls steeply after six minutes. Precision of diffusion passes that of photographs within two minutes, that of the VAE stays near 0.2.",
    name="10_race",
)

# %%
films = {name: from_bytes(found[f"race, {name}"][0]["film"]) for name in study.RIVALS}
gap = torch.ones_like(films["VAE"][:, :1])
minutes = found["race, StyleGAN2"][0]["curve"][:, 0]
viz.film(
    [
        torch.cat([films[left], gap, films[right]], dim=1)
        for left, right in (("StyleGAN2", "DCGAN"), ("diffusion", "VAE"))
    ],
    ["StyleGAN2 left,\nDCGAN right", "diffusion left,\nVAE right"],
    [f"after {60 * m:.0f} seconds" if m < 1 else f"after {m:.1f} minutes" for m in minutes],
    alt="Film: six pictures of each of four models over ten minutes. The VAE's turn from fog into soft faces; StyleGAN2's and DCGAN's from patterns into grained faces; those of diffusion stay patches in the colours of fur.",
    name="10_film",
    width=14,
)

# %%
print(f"N = {study.N}; real photographs: FD {floors[study.N]['fd']:.0f} ± {floors[study.N]['fd_std']:.1f}")
print(
    f"{'':10s}{'FD':>6s}{'× floor':>9s}{'KID':>7s}{'precision':>11s}{'recall':>8s}{'pictures seen':>15s}{'a second':>10s}{'drawn a second':>16s}"
)
for name in study.RIVALS:
    about = found[f"race, {name}"][1]
    of, seen = about["scores"], about["images_seen"]
    scores = f"{of['fd']:6.0f}{of['fd'] / floors[study.N]['fd']:9.1f}{of['kid']:7.2f}{of['precision']:11.2f}{of['recall']:8.2f}"
    print(f"{name:10s}{scores}{seen:15,}{seen / 60 / about['minutes']:10.0f}{about['drawn_per_s']:16.0f}")

# %% [markdown]
# When does the first *recognisable* cat appear? Ask somebody who has never seen a generated picture: EfficientNet-Lite0, which gives our features, was trained to tell ImageNet's 1,000 classes apart, five of which are domestic cats. Of the six pictures of the film, how many does it call cats?

# %%
judge = metrics.features.network()
print(f"of the test photographs it calls cats: {found[f'called cats, {study.PHOTOGRAPHS}'][1]['called']:.0%}")
for name in study.RIVALS:
    looks = films[name][-choose(ci=1, lecture=9, full=9) :]
    called = metrics.recognise.called_cats(metrics.features.extract(looks.flatten(0, 1), judge))
    print(f"{name:10s} of {study.FILM} at each look: {called.view(len(looks), -1).sum(dim=1).tolist()}")

# %% [markdown]
# *Look for:*
#
# - **The VAE leads in FD and KID** from the second minute on, and is the only one of which the judge recognises a cat: first after 4.4 minutes, two of six at the end. It saw ten times as many pictures as StyleGAN2, and it is told what is wrong with every pixel. Its faces are whole, and blurred.
# - **StyleGAN2 is late and steep.** At 4.4 minutes its FD is the worst of all four (420), at ten 204 and still falling (194 with 500 pictures). With a fifth of the pictures that the DCGAN saw it is ahead of it at last (229).
# - **Diffusion is level with StyleGAN2 in FD, and shows hardly a face.** Colours, light and texture of fur are there, patch by patch.
# - **Precision does not measure what we see here.** Diffusion has 0.89, more than photographs (0.74), and the VAE, in whose pictures the judge sees the most cats, has the lowest. Why, we have not tested.
# - **Recall is 0.00 for all**: none reaches any part of the variety of the photographs.
# - **What drawing costs:** diffusion draws 7 pictures a second, StyleGAN2 152, DCGAN and VAE over a thousand.
#
# One run each: we do not know how much another seed would change, and 188 against 194 orders nothing. And the winner depends on when one stops.
#
# ### With more time, and beside the sources

# %%
cards = checkpoints.names()
print(
    f"{'':18s}{'parameters':>12s}{'pictures seen':>15s}{'minutes':>9s}{'FD':>7s}{'× floor':>9s}{'KID':>16s}{'precision':>11s}{'recall':>8s}{'called cats':>13s}"
)
for name in study.SHIPPED:
    card, of = cards[name], cards[name]["scores"]
    about = f"{card['parameters']:12,}{card['images_seen']:15,}{card['minutes']:9.0f}"
    scores = f"{of['fd']:7.1f}{of['fd_ratio']:9.1f}{of['kid']:8.3f} ± {of['kid_se']:.3f}{of['precision']:11.2f}{of['recall']:8.2f}"
    print(f"{name:18s}{about}{scores}{found[f'called cats, {name}'][1]['called']:13.1%}")
print(
    f"all at N = {of['n']}; photographs: FD {of['floor']['fd']:.1f} ± {of['floor']['fd_std']:.1f}, precision {of['floor']['precision']:.2f}, recall {of['floor']['recall']:.2f}"
)

# %%
drawn_by_them = []
for name in study.SHIPPED:
    one = checkpoints.load(name)
    how = (
        {"sampler": "dpm_solver_pp", "steps": choose(ci=2, lecture=15, full=25), "spacing": "lambda"}
        if one.schedule
        else {}
    )
    drawn_by_them.append(sample.images(one.model, one.schedule, 10, **how))
viz.rows(
    "ten faces by each of the shipped networks, not picked",
    drawn_by_them,
    [name.replace("-", "\n") for name in study.SHIPPED],
    alt="Five rows of ten generated cat faces. StyleGAN2: sharp faces with eyes and noses, many of them tabbies from the front. DCGAN: blotched faces, some dissolved. Diffusion: whole faces, a little soft. Latent diffusion: the same, coarser. VAE: blurs with eyes and a nose.",
    name="10_shipped",
)

# %% [markdown]
# *Look for:*
#
# - **StyleGAN2 with more time.** After 43 minutes its FD is 97, half of what it was after ten; diffusion has 87 after 102 minutes. Its KID is the lowest (0.082 against 0.093, standard errors of 0.004), and to our eyes its faces are the sharpest and most like cats.
# - **And the price:** recall 0.01 against 0.11 (photographs 0.72). Several of its ten are the same tabby, seen from the front. Looking at ten pictures does not show what is missing.
# - **The judge** calls about a quarter of StyleGAN2's and latent diffusion's pictures cats (24% and 25%), a fifth of diffusion's, and hardly one of the DCGAN's.
# - **These are not equal minutes**, and not one schedule: `vae-faces64` had half the time of the race, with a learning rate that decays (225 against 145), and `ldm-faces64` came after 23 minutes of its autoencoder. The table says what ships, not which kind is best.
#
# The sources report FID 18.71 for diffusion on cat faces (1,000 pictures, Inception; five million seen in training) and 37.26 on whole cats, and for StyleGAN2 on whole cats no number, but that it *looked better*. So there is no row to put ours beside. It fits what we see: a StyleGAN2 that looks better than a diffusion model of about the same FD, and reaches less of the variety.
#
# ## Take home
#
# - A style says how strongly each channel counts. Every convolution is told its own, so styles can be mixed; which of them holds what, the data decide.
# - Each of the five reasons can be shown in a few lines. None of them shows in FD after 24,000 pictures. Ask what a change is *for*, and measure that.
# - Truncation gives variety away; whether it gains quality has to be measured. Say which $\psi$.
# - Projection shows, one picture at a time, what a generator probably cannot draw.
# - At equal minutes, the order of four models depends on the minutes, on the score and on who judges: diffusion wins by precision, the VAE by FD, by KID and before a judge that knows only photographs. Say at which cost, and show pictures.
#
# ## To discuss
#
# 1. Demodulation assumes inputs of unit variance that have nothing to do with each other. Name a layer for which that is wrong. What would happen?
# 2. Which $\psi$ would you choose for a page of "samples of our model"? Which numbers would you print beside it?
# 3. The network finds a picture in W+, but not in W. Has it learned that picture?
# 4. Ten minutes of one core: which of the four would gain most from a GPU, and which from ten hours?
#
# <details><summary>Some answers</summary>
#
# 1. At the edge the inputs are zeros, and doubling averages neighbours, which makes them smaller: hence the 0.4 to 0.8 in Reason 2's table instead of 1. The other way round: if all inputs were copies of each other *and* a channel's weights had one sign, its size would grow as the root of the number of inputs.
# 2. Any, if you say which. What misleads is precision at one $\psi$ and recall at another, or pictures at 0.5 beside an FD at 1.
# 3. W+ has nine times as many numbers, and combinations that mixing never trained. What is found there says what the *convolutions* can paint, not what the network considers a cat. (Try: project a frog.)
# 4. Nobody knows without trying. A guess: a GPU likes few large operations, and StyleGAN2 consists of many small ones. Ten hours help whatever has not settled yet, and no curve of Section 8 has.
#
# </details>

# %% [markdown]
# ## Exercises
#
# Three pieces that a StyleGAN2 is built from. The checks call yours on several inputs, compare with the course's own, and try to name what went wrong. All three have to let gradients through.

# %% [markdown]
# ### Exercise 1 ★☆☆ (10 minutes): one picture, two styles
#
# Write `mix_styles(a, b, k, n)` of Section 5, for `n` convolutions: `a` and `b` are $w$ of shape `(B, w_dim)`, a row for each picture. The first `k` convolutions are told `a`, the other `n - k` are told `b`. Returns `(B, n, w_dim)`, one $w$ for each convolution. `k` goes from 0
# (all `b`) to `n` (all `a`), both included.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Say for each convolution, counted from 0, which of the two it is told. What does your code do where one of them has no convolution at all?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `[a] * k + [b] * (n - k)` is a list of tensors, and `torch.stack(..., dim=...)` makes one tensor of it, with an axis of its own. Or `torch.where` with a mask of shape `(n, 1)`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "mix_styles", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mix_styles(a, b, k, n):
    """w for each of n convolutions, (B, n, w_dim): a (B, w_dim) for the first k, b (B, w_dim) for the others."""
    ### BEGIN SOLUTION
    return torch.stack([a] * k + [b] * (n - k), dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "mix_styles_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.mix_styles(mix_styles)

# %% [markdown]
# ### Exercise 2 ★☆☆ (5 minutes): towards the average cat
#
# Write `truncate(w, w_mean, psi)` of Section 6: each $w$ on its way from the mean, $\bar w$, but only $\psi$ times as far. `w` has shape `(B, w_dim)`, or `(B, n, w_dim)` with one for each convolution; `w_mean`, the mean of all $w$ and not only of these, has `(w_dim,)`; `psi`
# is any number, also a negative one. Returns the shape of `w`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# `psi = 1` changes nothing, `psi = 0` gives $\bar w$ for every picture. A straight line leads from one to the other.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# Plus, minus, times: broadcasting lines shapes up from the right, so `w_mean` fits both shapes of `w` as it is.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "truncate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def truncate(w, w_mean, psi):
    """w (B, w_dim) or (B, n, w_dim), psi times as far from w_mean (w_dim,) as before."""
    ### BEGIN SOLUTION
    return w_mean + psi * (w - w_mean)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "truncate_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.truncate(truncate)

# %% [markdown]
# ### Exercise 3 ★★☆ (25 minutes): one convolution for the whole batch
#
# `modulated_conv` of Reason 2 makes weights for every picture and convolves picture by picture, which is slow. Write `shared_conv(x, weight, s)`, which gives the same with **one** convolution for the whole batch, with the weights as they are (the check looks at that, too, and at the gradients). `x` has shape `(B, into, H, W)`, `weight` `(out, into, 3, 3)`, and
# `s`, the style of each picture, `(B, into)`: it is the scale itself, nothing is added to it. Returns `(B, out, H, W)`. The style of a picture may be 0 throughout, and then neither numbers nor gradients may be `nan`; that is what $\epsilon = 10^{-8}$ is for.
#
# <details><summary>Hint 1: where to begin</summary>
#
# A convolution is a sum over $i$ and $k$ of weight times input, and $s_i$ is a factor in each term: does it matter to which of the two it belongs? The root depends on the output channel $j$ alone: may one divide after the sum?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# $\sum_{i,k} (s_i\, \theta_{jik})^2 = \sum_i s_i^2 \sum_k \theta_{jik}^2$: the inner sum has shape `(out, into)`, and the outer one is a matrix product. `[:, :, None, None]` makes `(B, C, 1, 1)` of `(B, C)`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "shared_conv", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shared_conv(x, weight, s):
    """Convolution of x (B, into, H, W) by weight (out, into, 3, 3), modulated by s (B, into), and demodulated."""
    ### BEGIN SOLUTION
    squares = s.square() @ weight.square().sum(dim=(2, 3)).T
    maps = F.conv2d(x * s[:, :, None, None], weight, padding=1)
    return maps * (squares + 1e-8).rsqrt()[:, :, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "shared_conv_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.shared_conv(shared_conv)

# %% [markdown]
# ## References
#
# - R. Abdal, Y. Qin, P. Wonka (2019). *Image2StyleGAN: How to embed images into the StyleGAN latent space?* ICCV: W+ (Section 7).
# - T. Karras, T. Aila, S. Laine, J. Lehtinen (2018). *Progressive growing of GANs for improved quality, stability, and variation.* ICLR (Reason 5).
# - T. Karras, S. Laine, T. Aila (2019). *A style-based generator architecture for generative adversarial networks.* CVPR: StyleGAN, mixing, truncation (Sections 1, 5 and 6).
# - T. Karras et al. (2020). *Analyzing and improving the image quality of StyleGAN.* CVPR: StyleGAN2, all of Section 3, and projection (Section 7).
# - S. Zhao, Z. Liu, J. Lin, J.-Y. Zhu, S. Han (2020). *Differentiable augmentation for data-efficient GAN training.* NeurIPS: how both GANs of Section 8 are augmented.
# - T. Kynkäänniemi et al. (2019). *Improved precision and recall metric for assessing generative models.* NeurIPS: the two of Section 6.
# - L. Mescheder, A. Geiger, S. Nowozin (2018). *Which training methods for GANs do actually converge?* ICML: R1.
