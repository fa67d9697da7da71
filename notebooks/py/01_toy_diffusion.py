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
# # 01 · Toy diffusion: a dinosaur out of noise
#
# ![Seven point clouds side by side: from a shapeless blob of noise on the left, through a blurred shape, to a crisp dinosaur drawn with dots on the right.](../report_imgs/01_reverse_strip.png)
#
# How can a network that has only ever been asked *"which part of this is noise?"* draw a dinosaur?
#
# This notebook builds a complete diffusion model on points in the plane. It is the same algorithm that will make cats
# later, down to the function names, but it trains in half a minute and everything it does can be seen.
#
# **You will be able to**
# 1. noise a data set to any level in one line, and say why that line is allowed;
# 2. write the training loss of a diffusion model and tell a good loss from a bad one;
# 3. write the sampling loop, and know what each term of it is for;
# 4. judge a generative model by a number with a floor, not by looks alone;
# 5. say which design choices matter, and which only seem to.
#
# **Before you start:** Python, a little PyTorch, Gaussians. **Run time:** about a minute on two CPU cores, half of
# it in one training cell. Everything runs on the CPU: a network this small gains nothing from a GPU.

# %%
import torch

torch.set_num_threads(1)  # matrices this small gain nothing from a second core, and lose much when the cores are busy

from course_utils import ablations, checks, diffusion, metrics, samplers, schedules, training, viz, widgets
from course_utils.data import toy
from course_utils.ideal import IdealDenoiser
from course_utils.presets import choose

generator = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=generator)


# %% [markdown]
# ## 1 · The data: every point is an example
#
# In this notebook one training example is **one point**, two numbers. The dinosaur as a whole is not an example: it is
# the *distribution* that the points come from. A model that has learned it can be asked for one point, or a million.
#
# The dinosaur (Alberto Cairo's Datasaurus; see Matejka & Fitzmaurice 2017) has 142 hand-drawn points. We pick one at random and blur it a little
# to get as many fresh points as we like. All sets are shifted and scaled to mean 0 and, averaged over the two
# axes, variance 1.

# %%
names = ("dino", "cat", "line", "moons", "swiss_roll", "checkerboard")
figure = viz.strip([toy.draw(name, 1000) for name in names], names)
viz.show(
    figure,
    alt="Six point clouds of 1,000 points: a dinosaur, a cat curled up, an upright bar, two half moons, a spiral and "
    "a checkerboard.",
)

# %% [markdown]
# *Look for:* sharp features, like the corners of `line`: the hardest thing to get right (Section 7.10).
#
# ## 2 · The forward process: ruin the data, slowly
#
# Diffusion starts by destroying. In $T$ steps, each point is shrunk a little and jostled a little
# (Ho et al. 2020, Eq. 2):
#
# $$x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\; \epsilon_t, \qquad \epsilon_t \sim \mathcal N(0, I).$$
#
# The numbers $\beta_1 \dots \beta_T$ are the **schedule**. Why shrink? Without it the variance would grow without end;
# with it, a cloud of variance 1 keeps variance 1 all the way to pure noise.
#
# Ours is `quadratic`: tiny steps at first ($\beta_1 = 0.0005$), large ones later ($\beta_{200} = 0.1$).
#
# **Predict:** after how many of the 200 steps will you no longer see a dinosaur?

# %%
schedule = schedules.quadratic(T=200)
x_0 = toy.draw("dino", 1000, seed=1)

chain = [x_0]
for t in range(1, schedule.T + 1):
    beta = schedule.beta[t]
    chain.append((1 - beta).sqrt() * chain[-1] + beta.sqrt() * randn(1000, 2))

shown = (0, 10, 25, 50, 80, 120, 200)
viz.show(
    viz.strip([chain[t] for t in shown], [f"t = {t}" for t in shown]),
    alt="The dinosaur at seven times: crisp at t = 0, fuzzy by 25, a shapeless lump by 80, round noise at 200.",
    name="01_forward_strip",
)

# %% [markdown]
# *Look for:* details go first, the outline next, the overall shape last; by $t = 80$ there is no dinosaur left. Remember that order: the reverse process will
# bring them back the other way round.
#
# ### A short cut through the chain
#
# To train we need $x_t$ for random $t$, and walking there step by step would be slow. But a shrunken Gaussian plus a
# Gaussian is a Gaussian. So all steps up to $t$ melt into one (Eq. 4), with
# $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$:
#
# $$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \epsilon .$$
#
# Do not take this on trust: measure how much of $x_0$ is left in the chain above, and how large the noise is.

# %%
print("  t   signal left: measured, sqrt(alpha_bar)   noise: measured, sigma")
for t in shown[1:]:
    signal = (chain[t] * x_0).sum() / (x_0 * x_0).sum()  # least squares: x_t = signal * x_0 + rest
    noise = (chain[t] - signal * x_0).std()
    print(f"{t:3d}   {signal:17.3f}   {schedule.alpha_bar[t].sqrt():.3f} {noise:23.3f}   {schedule.sigma[t]:.3f}")
    assert abs(signal - schedule.alpha_bar[t].sqrt()) < 0.1 and abs(noise - schedule.sigma[t]) < 0.1

# %% [markdown]
# They agree up to the luck of 1,000 points. From here on we use `diffusion.q_sample(x_0, t, eps, schedule)`, which is
# Eq. 4; writing it yourself is Exercise 2. Note that `t` is a tensor: **every example has a time of its own**.
#
# ### Four schedules
#
# A schedule decides how long the chain lingers at each noise level. All four below end in (nearly) pure noise.

# %%
figure, panels = viz.axes(1, 2, (5.2, 3.2))
for name in schedules.SCHEDULES:
    curve = schedules.make(name, T=200)
    panels[0, 0].plot(curve.alpha_bar, label=name)
    panels[0, 1].plot(curve.sigma)
panels[0, 0].set(xlabel="t", title=r"signal variance left, $\bar\alpha_t$")
panels[0, 1].set(xlabel="t", title=r"noise level, $\sigma_t = \sqrt{1-\bar\alpha_t}$")
panels[0, 0].legend()
viz.show(
    figure,
    alt="Two panels over t from 0 to 200: alpha_bar falls from 1 to 0 and sigma rises from 0 to 1 for the linear, "
    "quadratic, cosine and sigmoid schedules. Linear falls first, sigmoid most steeply, cosine most evenly.",
)

# %% [markdown]
# *Look for:* where a curve is flat, many steps are spent at nearly the same level.
#
# **Explore:** the noise `eps` is kept the same while you move `t`, so each point slides along its own straight line.
# (The widgets need a running kernel; without one, read on, nothing depends on them.)

# %%
widgets.schedule_explorer(toy.outline("dino"))

# %% [markdown]
# ## 3 · Training: guess the noise
#
# To run the film backwards we would need, for a noisy point, the place where it came from. It cannot be known: many
# places are possible. But the *average* over all possible places can be learned, by least squares. We show a network
# $x_t$ and $t$, and ask for the noise that was mixed in (Ho et al. 2020, Eq. 14 and Algorithm 1):
#
# $$L_\text{simple} = \mathbb E_{x_0,\, t,\, \epsilon} \big\lVert \epsilon_\theta(x_t, t) - \epsilon \big\rVert^2 .$$
#
# (Code averages over the coordinates instead of adding them up: half of this in the plane, and the same for any size.)
#
# Asking for the noise or for $x_0$ is the same question, since Eq. 4 turns one into the other (Exercise 3).


# %%
def loss(model, x_0):
    t = torch.randint(1, schedule.T + 1, (len(x_0),), generator=generator)
    eps = randn(*x_0.shape)
    x_t = diffusion.q_sample(x_0, t, eps, schedule)
    return ((model(x_t, t) - eps) ** 2).mean()


model, _ = ablations.BASE.build(seed=0)
generator.manual_seed(7)
ours = loss(model, x_0)
assert torch.allclose(ours, diffusion.l_simple(model, x_0, schedule, generator=generator.manual_seed(7)))
print(f"untrained loss {ours:.3f}; a network that always answers 0 scores 1, the variance of eps")

# %% [markdown]
# The network is a small residual MLP (`course_utils/models/mlp.py`, short enough to read). `training.fit` is a plain
# loop of AdamW steps that hands back a record after every one; `EMA` keeps a moving average of the weights, which is
# what we sample from.
#
# **Predict:** 200 passes over 8,192 points. Where will the loss end: near 0, near 0.5, or somewhere else?

# %%
steps = choose(ci=40, lecture=1600, full=8000)
ema = training.EMA(model, decay=0.99)
data = training.batches(toy.draw("dino", 8192, seed=0), 1024, generator)
records = training.fit(model, loss, data, steps, lr=3e-3, ema=ema)
history = [record.loss for record in training.progress(records, steps)]

# %%
fresh = toy.draw("dino", 8192, seed=2)
perfect = IdealDenoiser(toy.outline("dino"), schedule, std=toy.JITTER)
ours, best = (diffusion.l_simple(m, fresh, schedule, generator=generator.manual_seed(0)) for m in (ema.model, perfect))

figure, panels = viz.axes(1, 1, (7, 3))
panels[0, 0].plot(history, linewidth=0.8, color=viz.SKY, label="each batch")
panels[0, 0].axhline(best.item(), color=viz.ORANGE, label=f"a perfect network: {best:.3f}")
panels[0, 0].set(xlabel="step", ylabel="loss", ylim=(0, 1), title=f"after training, on fresh points: {ours:.3f}")
panels[0, 0].legend()
viz.show(figure, alt=f"The loss drops from 1 within 100 steps, then creeps towards the perfect network's {best:.3f}.")

# %% [markdown]
# The loss does **not** go to zero, and should not. For small $t$ the noise hides among the blur of
# the data, in the middle among the dinosaur's own lines. (At $t = T$ it is easy: $x_t$ is nearly all noise. There it is
# $x_0$ that nobody could guess.) How well *could* one guess? For data this simple we can compute the perfect answer (Section 6) and draw it as a line. A loss means little
# without such a floor, and most of what still separates us from it is invisible at this scale: keep that in mind
# whenever somebody shows you a loss curve.
#
# ## 4 · Sampling: run the film backwards
#
# Start from pure noise. At each step ask the network for the noise, which gives a guess $\hat x_0$ of the clean point.
# Do **not** jump there: the guess is an average of many places. Move to where $x_{t-1}$ would be, were the guess
# right (the posterior mean, Eq. 7 of Ho et al.), and add a little fresh noise, because $x_{t-1}$ is uncertain even then.


# %%
def sample(model, x):
    for t in range(schedule.T, 0, -1):
        times = torch.full((len(x),), t)
        with torch.no_grad():
            eps_hat = model(x, times)
        x0_hat = diffusion.x0_from_eps(x, times, eps_hat, schedule)
        x = diffusion.posterior_mean(x, times, x0_hat, schedule)
        if t > 1:  # the last step lands on the data: no more noise
            x = x + schedule.beta_tilde[t].sqrt() * randn(*x.shape)
    return x


x_T = randn(1000, 2)
generator.manual_seed(3)
ours = sample(ema.model, x_T)
trajectory = list(samplers.ddpm(ema.model, schedule, x_T, generator=generator.manual_seed(3)))
assert torch.allclose(ours, trajectory[-1].x, atol=1e-4)

# %% [markdown]
# The course's `samplers.ddpm` is the same loop as a generator: it yields a record per step, so that one sampler feeds
# every figure, animation and widget. A record at `t` holds `x`, which is $x_t$, and the guesses that led to it.

# %%
shown = (200, 120, 80, 50, 25, 10, 0)
at = {step.t: step for step in trajectory}
viz.show(
    viz.strip([at[t].x for t in shown], [f"t = {t}" for t in shown]),
    alt="The reverse process: round noise at t = 200, a lump by 80, a blurred dinosaur by 25, a crisp one at 0.",
    name="01_reverse_strip",
)
viz.show(
    viz.strip(
        [at[t - 1].x0_hat for t in (*shown[:-1], 1)],
        [rf"$\hat x_0$ at {t}" for t in (*shown[:-1], 1)],
        colour=viz.ORANGE,
    ),
    alt="The network's guesses of the clean points at the same times: scattered at 200, a tight knot at the centre at 120, spreading "
    "into a smooth blob, then folding into the outline of the dinosaur.",
)

# %% [markdown]
# *Look for:* the second row. At first the best guess for every point is the **mean of the data**; as the noise falls, the
# guesses fan out to the outline. Where each point ends is decided late. (Its first panel looks like noise, and is: at
# $t = T$ the guess divides by $\sqrt{\bar\alpha_T} = 0.025$, which blows up every small error of the network. The next
# steps repair it. Section 7.4 shows a schedule where this goes wrong.)

# %%
frames = [*range(200, 80, -10), *range(80, -1, -4)]
viz.animation(
    [at[t].x for t in frames],
    [f"t = {t}" for t in frames],
    alt="Animation: 1,000 points of round noise contract and flow into the shape of a dinosaur, details last.",
    name="01_reverse",
)

# %%
widgets.trajectory_explorer(trajectory)

# %% [markdown]
# ### How good is it? A distance, and its floor
#
# Looks deceive. The **sliced Wasserstein distance** (Rabin et al. 2011) projects both clouds on a line, sorts both, and averages the gaps,
# over many directions. Two *real* clouds of 1,000 points do not have distance 0 either, so we always divide by what
# real data scores: the **floor**. A ratio of 1 means: as close as another real sample.


# %%
def draw(n, seed):
    return toy.draw("dino", n, seed)


def ratio(cloud):
    return metrics.distance_to(cloud, draw) / floor


floor = metrics.floor(1000, draw)
scores = torch.tensor([ratio(sample(ema.model, randn(1000, 2))) for _ in range(4)])
print(f"floor {floor:.4f} | pure noise {ratio(x_T):.1f} × | our model {scores.mean():.2f} ± {scores.std():.2f} ×")
assert scores.mean() < choose(ci=20, lecture=1.5, full=1.5)

# %% [markdown]
# ### A mistake to make once: noise in the last step
#
# Much public code adds noise in *every* step, the last included. Harmless? Measure the mean distance from the 142
# hand-drawn points.


# %%
def off_outline(cloud):
    return torch.cdist(cloud, toy.outline("dino")).min(dim=1).values.mean()


print(f"{'real points':22s} {off_outline(fresh[:1000]):.4f}")
for name, network in (("our network", ema.model), ("a perfect network", perfect)):
    right = sample(network, randn(1000, 2))
    wrong = right + schedule.beta[1].sqrt() * randn(1000, 2)  # what noise at t = 1 comes to
    print(f"{name:22s} {off_outline(right):.4f}, with noise in the last step {off_outline(wrong):.4f}")
    assert off_outline(wrong) > off_outline(right)

# %% [markdown]
# With the slip, the perfect network's lines are a third fatter than real ones. (Without it they are a little too thin: the
# last step returns a mean.) Our own network hides the slip behind its blur, which is why such bugs live long. The loop
# above is immune, since $\tilde\beta_1 = 0$; with the paper's other choice, $\sigma_t^2 = \beta_t$ (Exercise 4), it is not.
# On images the same slip shows as grain.
#
# ## 5 · What the network has learned: a field of arrows
#
# At each time the network assigns to *every* place a direction. The arrows below point along $-\hat\epsilon$: up the
# slope of $\log q(x_t)$, the **score**, which is $-\hat\epsilon / \sigma_t$. All are drawn equally long.

# %%
ticks = torch.linspace(-2.3, 2.3, 17)
places = torch.cartesian_prod(ticks, ticks)
figure, panels = viz.axes(1, 4, (3.1, 3.4))
for ax, t in zip(panels[0], (150, 80, 30, 8), strict=True):
    times = torch.full((len(places),), t)
    with torch.no_grad():
        ours, best = ema.model(places, times), perfect(places, times)
    agree = torch.cosine_similarity(ours, best).mean()
    viz.cloud(ax, at[t].x, f"t = {t}\ncosine {agree:.2f}", colour=viz.SKY, size=3)
    viz.arrows(ax, places, -ours)
viz.show(
    figure,
    alt="Arrow fields at four times. At t = 150 all arrows point to the centre; at 30 and 8 they point to the nearest "
    "part of the dinosaur's outline.",
    name="01_field",
)

# %% [markdown]
# *Look for:* early on there is one target, the middle; late, every place has a target of its own. The mean cosine with the
# perfect answer, over all the places shown, stands in each title: most of what is missing is missing at low noise.
#
# ## 6 · The perfect network, and why we do not want it
#
# If the training set is finite, the best possible network is known in closed form: a weighted mean of the training
# points, the weights from Bayes' rule (Exercise 5). Let it generate, beside ours.
#
# **Predict:** trained on the 142 hand-drawn points, what will the *perfect* model draw?

# %%
memory = IdealDenoiser(toy.outline("dino"), schedule)
copies, ours = (sample(network, randn(1000, 2)) for network in (memory, ema.model))
print(" mean distance to the nearest of the 142 hand-drawn points, and distance / floor")
for name, cloud in (("perfect on 142 points", copies), ("our network", ours), ("fresh real points", fresh[:1000])):
    print(f"{name:22s} {off_outline(cloud):.4f}   {ratio(cloud):.2f}")
figure = viz.strip([copies, ours, fresh[:1000]], ["perfect on 142 points", "our network", "real"], panel=3.4)
viz.show(
    figure,
    alt="Three dinosaurs: the perfect model's 1,000 points fall on just 142 places; the real ones form 142 small "
    "clumps; the network's form soft lines along the outline.",
)
assert off_outline(copies) < 0.01

# %% [markdown]
# On a finite training set, the perfect minimiser of the loss **copies**: 1,000 points, 142 places, and the distance does not
# mind. Ours saw 8,192 blurred draws, and smears along the outline between the clumps. For this data set that is an error;
# for pictures, such smoothness is how a network comes to draw cats that nobody has ever seen. Why it does so is
# still an open question; what catches a copier is a topic of notebook 07.
#
# ## 7 · What matters? Eight ablations
#
# The student project that this notebook is drawn from (below: *the sources*) tried eight choices and judged by eye. Here
# they are again, with numbers. Each grid changes one thing of the model above. Rows: its value. Columns: time spent training. Each cell: 1,000
# generated points and, below, their distance in units of the floor (mean ± deviation over three training runs).
# The results are stored; `make ablations` recomputes them all, and a cell below retrains any one of them.


# %%
def show_ablation(name, alt):
    result = ablations.load(name)
    notes = [
        [f"{r:.2f} ± {s:.2f}" if r < 9.5 else f"{r:.0f}" if r < 999 else "> 999" for r, s in zip(*row, strict=True)]
        for row in zip(result.ratio, result.spread, strict=True)
    ]
    columns = {0: "1 epoch", 1: "5 epochs", 2: "20 epochs", 3: "50 epochs", 5: "200 epochs"}
    assert all(int(text.split()[0]) == ablations.EPOCHS[c] for c, text in columns.items())
    notes = [[row[c] for c in columns] for row in notes]
    viz.show(viz.grid(result.clouds[:, list(columns)], result.rows, list(columns.values()), notes, name), alt, dpi=80)


# %% [markdown]
# ### 7.1 Learning rate
#
# **Predict:** five learning rates over three and a half decades. How many of the rows will show a good dinosaur in
# the end?

# %%
show_ablation(
    "learning rate",
    alt="Grid over learning rate and epochs. 1e-05 and 0.0001 never show one; 0.001 and 0.003 do after 200 "
    "epochs; 0.03 roughly, with stray points.",
)

# %% [markdown]
# Two are good, 0.001 and 0.003. The top row looks like a *bug*: after 50 epochs it is still hundreds of times as far away as
# real data, and one could search the code for days. It is only a learning rate. Before you hunt a bug, try ten times
# larger and ten times smaller. At the other end 0.03 does arrive, with stray points and a ragged outline. The result
# is as sensitive to the learning rate as the sources say.
#
# ### 7.2 Data set
#
# **Predict:** which set will need the fewest epochs?

# %%
show_ablation(
    "data set",
    alt="Grid over six data sets and epochs. After 50 epochs all are recognisable; after 200 all score at most 1.2 times the floor.",
)

# %% [markdown]
# One recipe serves all six. `line`, a plain bar, is at the floor after 20 epochs, the swiss roll and the checkerboard after
# 50. The cat and the moons, thin lines both, are still at 1.2 after 200.
#
# ### 7.3 Number of timesteps
#
# The sources found that a dinosaur made in few steps loses its top and its bottom. **Predict:** is it the *number* of
# steps that does it? The rows called *not rescaled* use the betas meant for $T = 1000$ as they are.

# %%
show_ablation(
    "number of timesteps T",
    alt="Grid over T and epochs. With 50 steps not rescaled the dinosaur is crisp, but thinly dotted at its "
    "top and bottom; with 50 rescaled steps it is evenly dotted. With 10 steps it is ragged.",
)
for T, rescale in ((50, False), (50, True), (200, False), (200, True)):
    chain_end = schedules.quadratic(T, rescale=rescale).alpha_bar[-1]
    print(f"T = {T:3d}, {'' if rescale else 'not '}rescaled: alpha_bar_T = {chain_end:.4f}")

# %% [markdown]
# It is not the number. With 50 of the betas meant for 1,000 steps the chain stops half-way: most of the signal is still
# there at $t = T$, yet sampling starts from pure noise, a place that the network was never trained for. Too few points
# find the way to the top and the bottom. Rescaled (Nichol & Dhariwal 2021), 50 steps do as well as 200, and 1,000 buy
# nothing more. At $\bar\alpha_T = 0.24$ the harm is already within the spread. Ten steps really are too few, and start
# from where almost no signal is left: the trap that comes next.
#
# ### 7.4 Variance schedule

# %%
show_ablation(
    "variance schedule",
    alt="Grid over schedules and epochs. Linear, quadratic and sigmoid give dinosaurs; cosine with eps prediction "
    "throws its points out of the window at first; after 200 epochs all five rows show a dinosaur.",
)
last = schedules.cosine(200)
print(f"cosine, T = 200: an error of 0.01 in eps_hat at t = T moves x0_hat by {0.01 / last.alpha_bar[-1].sqrt():.0f}")

# %% [markdown]
# The sources found quadratic no better than linear, and left cosine and sigmoid untried. By distance we agree: all five rows
# end within each other's spread. But the linear outline is visibly softer (Section 7.9 measures it): it spends fewer steps,
# and so fewer training examples, at the low noise where lines get sharp. And cosine (Nichol & Dhariwal 2021) has a trap. At $t = T$ it leaves almost
# no signal, and $\hat x_0$ divides by $\sqrt{\bar\alpha_T}$: the slightest error in $\hat\epsilon$ is blown up, and the
# first checkpoints fly off the page. Asking the network instead for a mixture of noise and data, the velocity
# $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1-\bar\alpha_t}\,x_0$ (Salimans & Ho 2022), divides by nothing, and stays on the page from the first
# epoch.
#
# ### 7.5 and 7.6 Width and depth
#
# **Predict:** 16 hidden units make a network of about 3,000 weights. Enough for a dinosaur?

# %%
show_ablation(
    "hidden size",
    alt="Grid over hidden size and epochs. 16 units end with a soft-edged dinosaur whose eye is a smudge; 256 with the crispest lines.",
)
show_ablation(
    "hidden layers", alt="Grid over the number of hidden layers and epochs: one layer is blurred, four are crisp."
)

# %% [markdown]
# By distance the sources are right: width and depth are not the bottleneck, and 16 units end within the spread of 256.
# By eye they are not: the eye of the dinosaur needs width. Small networks learn *where* the dinosaur is, larger ones *how
# sharp* it is.
#
# ### 7.7 and 7.8 How to tell the network the time and the place
#
# **Predict:** the network is not told $t$ at all. Can it still draw a dinosaur?

# %%
show_ablation(
    "timestep embedding",
    alt="Grid over timestep embeddings and epochs: sinusoidal, learned and linear look alike; without any, it does not come out.",
)
show_ablation(
    "input embedding",
    alt="Grid over input embeddings and epochs: with sinusoidal features the outline is crisp, with none it stays soft.",
)

# %% [markdown]
# Time must be told: without it one answer has to serve all noise levels at once, and at 4.8 the result is further away than
# pure noise (3.9). How it is told hardly matters; even the
# bare number $t/T$ does. For the place the sources are confirmed: sines of $x$ (Fourier features, Tancik et al. 2020) help with fine detail, since
# a network with smooth units is slow to learn anything that changes quickly. Fixed or learned frequencies do equally well;
# a linear map adds little, since the first layer could do the same.
#
# ### 7.9 A second number, for sharpness
#
# The distance to real data is dominated by the large shapes. How far the points are from the outline sees the fine ones.
# Here are all rows with the dinosaur at the end of training: the distance is the mean over three runs, the sharpness that of
# the cloud shown.

# %%
figure, panels = viz.axes(1, 1, (9, 4.6))
ax = panels[0, 0]
for name, marker in zip(list(ablations.ABLATIONS)[:8], "osD^v<>P", strict=True):
    result, recipes = ablations.load(name), ablations.ABLATIONS[name].values()
    dinos = [r for r, recipe in enumerate(recipes) if recipe.dataset == "dino"]
    fuzz = [off_outline(result.clouds[r, -1]) for r in dinos]
    ax.scatter(result.ratio[dinos, -1], fuzz, s=60, label=name, marker=marker, alpha=0.8)
    for r, height in zip(dinos, fuzz, strict=True):
        if result.ratio[r, -1] > 1.3:  # the crowd at 1.1 would only be covered up
            ax.annotate(
                f"{name}: {result.rows[r]} ", (result.ratio[r, -1], height), ha="right", va="bottom", fontsize=10
            )
ax.axhline(off_outline(fresh[:1000]), color=viz.GREY, linestyle=":", label="real points")
ax.set(xscale="log", yscale="log", xlabel="distance / floor", ylabel="mean distance from the outline")
ax.set_xticks([1, 1.5, 2, 3, 5, 7], ["1", "1.5", "2", "3", "5", "7"])
ax.set_yticks([0.03, 0.05, 0.1, 0.2, 0.5], ["0.03", "0.05", "0.1", "0.2", "0.5"])
ax.minorticks_off()
ax.legend(fontsize=11, loc="upper left", bbox_to_anchor=(1, 1))
viz.show(
    figure, alt="Scatter plot of two scores for every ablation row; a good distance does not imply a sharp outline."
)

# %% [markdown]
# Most rows share a distance of about 1.1, and differ twofold in sharpness. One number is not enough: **two scores
# that disagree are more honest than one that flatters.** Odd one out: 50 steps *not rescaled* draw the sharpest lines of
# all, too few of them at the top and the bottom. All their training goes into low noise.
#
# ### 7.10 Sharp corners: the `line` set, mended
#
# The sources could not get the corners of the `line` set sharp. Here their recipe, as far as it is told, is mended step by
# step.

# %%
show_ablation(
    "sharp corners",
    alt="Grid over recipes and epochs for an upright bar. At first there are clouds, or nothing in the window; in the last column every row "
    "is a bar, with stray points around the first rows and square corners in the last two.",
)
result = ablations.load("sharp corners")
for r, row in enumerate(result.rows):
    outside = result.outside[r, :, -1]
    print(f"{row:16s} mean distance outside the bar {outside.mean():.4f} ± {outside.std():.4f}")
averaged = result.rows.index("+ EMA, lr 3e-3")
assert result.outside[averaged, :, -1].mean() < result.outside[0, :, -1].mean() / 2

# %% [markdown]
# The edges got sharp in two strides: sines of $x$ (0.0064 to 0.0015), and then EMA together with a larger learning rate
# (to 0.0004, a fifth of the sources'). Rescaling and the longer chain alone made the edges *worse*: the network must now
# serve noise levels that it was spared before. But the rescaled chain puts the right number of points everywhere:
# 0.98 × the floor, against 1.35. For this set quadratic is no improvement on linear.
#
# ### 7.11 Retrain any row
#
# Edit `name` and `row`; with `epochs = ablations.EPOCHS` you get all six checkpoints, in about the time of the training
# above.

# %%
name, row = "hidden size", "16"
recipe, stored = ablations.ABLATIONS[name][row], ablations.load(name)
epochs = ablations.EPOCHS[: choose(ci=1, lecture=3, full=6)]
for c, checkpoint in enumerate(ablations.train(recipe, epochs, seed=0)):
    again = metrics.distance_to(checkpoint.cloud, recipe.draw) / stored.floor[stored.rows.index(row)]
    then = stored.ratio[stored.rows.index(row), c]
    print(f"{name} {row}, epoch {checkpoint.epoch:3d}: now {again:.1f} × the floor, stored mean {then:.1f} ×")

# %% [markdown]
# ## 8 · Your turn: draw a data set
#
# Paint something, press **Train**, and watch the same algorithm learn it. What does it find hard: thin lines, corners,
# small islands? What does it draw *between* two islands?

# %%
widgets.DrawYourOwn("cat")

# %% [markdown]
# ## Summary
#
# - Diffusion turns *generate* into *guess the noise*, a regression that any network can do.
# - Eq. 4 noises any example to any level at once; each example of a batch has its own $t$.
# - Sampling walks back in small steps, each to the posterior mean plus a little noise, except the last.
# - The loss has a floor above zero, and so has every distance between samples. Report both.
# - What matters most: the learning rate, telling the network the time, and a chain that does not stop half-way. Width, depth
#   and sines of $x$ decide how sharp it gets.
# - On a finite training set, the perfect minimiser of the loss only copies.

# %% [markdown]
# ## Exercises
#
# Five functions, from a warm-up to the exact denoiser. Each is a cell with a stub, followed by a check. The check calls
# your function on a dozen inputs, compares it with the course's own and, if something is wrong, tries to say what:
# run it as often as you like. Nothing below depends on another exercise, so skip one that will not yield.
#
# A schedule holds the arrays `beta`, `alpha`, `alpha_bar`, `sigma` and `beta_tilde`, each of length $T + 1$: index `t`
# is the paper's subscript $t$, and $t = 0$ is the clean data.

# %% [markdown]
# ### Exercise 1 ★☆☆ (5 minutes): how much signal is left
#
# Step $t$ of the forward process keeps the share $\alpha_t = 1 - \beta_t$ of the signal's variance. After $t$ steps
#
# $$\bar\alpha_t = \prod_{s=1}^{t} \alpha_s \qquad \text{(Ho et al. 2020, above Eq. 4)}, \qquad \bar\alpha_0 = 1$$
#
# is left. Write `alpha_bar(beta)`: from $\beta_1 \dots \beta_T$, shape `(T,)`, to
# $\bar\alpha_0 \dots \bar\alpha_T$, shape `(T + 1,)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Work out the answer for `beta = (0.1, 0.5)` by hand: three numbers, of which the first is 1.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.cumprod` makes running products; `torch.cat` puts one more entry in front. No loop is needed.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "alpha_bar", "locked": false, "schema_version": 3, "solution": true, "task": false}
def alpha_bar(beta):
    """The share of the signal's variance left after t = 0..T steps. beta: (T,). Returns (T + 1,)."""
    ### BEGIN SOLUTION
    return torch.cat([torch.ones_like(beta[:1]), torch.cumprod(1 - beta, dim=0)])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "alpha_bar_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.alpha_bar(alpha_bar)

# %% [markdown]
# ### Exercise 2 ★☆☆ (10 minutes): noise a whole batch at once
#
# Thanks to Gaussians adding up to Gaussians, $x_t$ can be drawn without walking through $x_1 \dots x_{t-1}$:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon
# \qquad \text{(Ho et al. 2020, Eq. 4)}$$
#
# Write `q_sample(x_0, t, eps, schedule)`. Each example has its own timestep: `t` has shape `(B,)`. The same function
# must serve points, shape `(B, 2)`, and images, shape `(B, 3, H, W)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# First make it right for a batch of one point. Then ask what shape the two coefficients need so that example number
# $i$ is multiplied by the coefficients of `t[i]` and by no others.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `schedule.alpha_bar[t]` has shape `(B,)`. Tensors broadcast from the right, so give it `x_0.ndim - 1` further axes of
# length 1, with `.view` or `.reshape`.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "q_sample", "locked": false, "schema_version": 3, "solution": true, "task": false}
def q_sample(x_0, t, eps, schedule):
    """Noise x_0 to level t. x_0, eps: (B, 2) or (B, 3, H, W); t: (B,) in 1..T. Returns x_t, shaped like x_0."""
    ### BEGIN SOLUTION
    a = schedule.alpha_bar[t].view(-1, *[1] * (x_0.ndim - 1))
    return a.sqrt() * x_0 + (1 - a).sqrt() * eps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "q_sample_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.q_sample(q_sample)

# %% [markdown]
# ### Exercise 3 ★★☆ (10 minutes): what the network thinks the data was
#
# A network that predicts the noise also predicts the data: solve Eq. 4 for $x_0$ and put $\hat\epsilon$ in the place of
# $\epsilon$ (Ho et al. 2020, Eq. 15). The answer is called $\hat x_0$.
#
# Write `x0_from_eps(x_t, t, eps_hat, schedule)`, for points and for images.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Take Eq. 4 and move one thing at a time to the other side. Which operation comes first?
#
# </details>
#
# <details><summary>Hint 2: how to test it</summary>
#
# It undoes Exercise 2: `x0_from_eps(q_sample(x_0, t, eps, s), t, eps, s)` gives back `x_0`. The coefficients are those
# of Exercise 2, in the same shape.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "x0_from_eps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def x0_from_eps(x_t, t, eps_hat, schedule):
    """The data that x_t and the predicted noise imply. x_t, eps_hat: (B, ...); t: (B,). Returns x0_hat, like x_t."""
    ### BEGIN SOLUTION
    a = schedule.alpha_bar[t].view(-1, *[1] * (x_t.ndim - 1))
    return (x_t - (1 - a).sqrt() * eps_hat) / a.sqrt()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "x0_from_eps_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.x0_from_eps(x0_from_eps)

# %% [markdown]
# ### Exercise 4 ★★☆ (15 minutes): one step back
#
# Line 4 of Algorithm 2 of Ho et al. 2020, whose mean is Eq. 11:
#
# $$x_{t-1} = \frac{1}{\sqrt{\alpha_t}} \left( x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\epsilon \right)
# + \sqrt{\beta_t}\, z, \qquad z = 0 \text{ if } t = 1.$$
#
# (The paper writes $\sigma_t z$ and allows $\sigma_t^2 = \beta_t$ or $\tilde\beta_t$; Section 4 used the second. Do not mix it up
# with `schedule.sigma`, the noise level of $x_t$.) Eq. 11 is Eq. 7 with $\hat x_0$ put in.
#
# Write `ddpm_step(x_t, t, eps_hat, z, schedule)`. Here `t` is a plain whole number, the same for the whole batch, as in
# the sampling loop; the noise `z` is handed in.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Begin with the mean only. Watch which of the alphas bear a bar: the step undoes a single step, but what it knows
# about the noise comes from all steps.
#
# </details>
#
# <details><summary>Hint 2: the noise</summary>
#
# $\beta_t$ is a variance. At $t = 1$ the result is the finished sample: look at what the algorithm says about $z$
# there.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ddpm_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ddpm_step(x_t, t, eps_hat, z, schedule):
    """From x_t to x_{t-1}. x_t, eps_hat, z: (B, ...); t: int in 1..T. Returns x_{t-1}, shaped like x_t."""
    ### BEGIN SOLUTION
    beta, alpha, a = schedule.beta[t], schedule.alpha[t], schedule.alpha_bar[t]
    mean = (x_t - beta / (1 - a).sqrt() * eps_hat) / alpha.sqrt()
    return mean + beta.sqrt() * z if t > 1 else mean
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ddpm_step_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.ddpm_step(ddpm_step)

# %% [markdown]
# ### Exercise 5 ★★★ (20 minutes): the perfect network
#
# When the data is a finite set of points $p_1 \dots p_N$, each equally likely, the best possible network is known.
# Given $x_t$, point $i$ was the origin with probability (Bayes' rule on Eq. 4 of Ho et al. 2020)
#
# $$w_i \propto \exp\!\left( - \frac{\lVert x_t - \sqrt{\bar\alpha_t}\, p_i \rVert^2}{2 (1 - \bar\alpha_t)} \right),
# \qquad \sum_i w_i = 1,$$
#
# so $\mathbb{E}[x_0 \mid x_t] = \sum_i w_i\, p_i$ (Karras et al. 2022, appendix B.3). Solve Eq. 4 for $\epsilon$, and put
# this mean in the place of $x_0$, to get $\mathbb{E}[\epsilon \mid x_t]$.
#
# Write `ideal_eps(x_t, t, points, schedule)`: `x_t` has shape `(B, 2)`, `t` `(B,)`, `points` `(N, 2)`.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Three stages: squared distances, shape `(B, N)`; weights, shape `(B, N)`, that sum to 1 for each $x_t$; the average
# of the points, shape `(B, 2)`. Print the shapes as you go.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `x_t[:, None]` against `points[None]` broadcasts to `(B, N, 2)`; every example scales the points by its own
# $\sqrt{\bar\alpha_t}$. `torch.softmax` turns exponents into weights and never overflows. For the last stage compare
# with Exercise 3: there $x_0$ was unknown, here $\epsilon$ is.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ideal_eps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ideal_eps(x_t, t, points, schedule):
    """E[eps | x_t] when x_0 is uniform over points. x_t: (B, 2); t: (B,); points: (N, 2). Returns (B, 2)."""
    ### BEGIN SOLUTION
    a = schedule.alpha_bar[t].view(-1, 1)
    distance2 = ((x_t[:, None] - a[..., None].sqrt() * points[None]) ** 2).sum(-1)
    weights = torch.softmax(-distance2 / (2 * (1 - a)), dim=1)
    return (x_t - a.sqrt() * (weights @ points)) / (1 - a).sqrt()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ideal_eps_check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.ideal_eps(ideal_eps)

# %% [markdown]
# ## References
#
# - J. Ho, A. Jain, P. Abbeel: *Denoising Diffusion Probabilistic Models*, NeurIPS 2020.
# - J. Song, C. Meng, S. Ermon: *Denoising Diffusion Implicit Models*, ICLR 2021.
# - A. Nichol, P. Dhariwal: *Improved Denoising Diffusion Probabilistic Models*, ICML 2021.
# - T. Salimans, J. Ho: *Progressive Distillation for Fast Sampling of Diffusion Models*, ICLR 2022.
# - T. Karras, M. Aittala, T. Aila, S. Laine: *Elucidating the Design Space of Diffusion-Based Generative Models*, NeurIPS 2022.
# - M. Tancik et al.: *Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains*, NeurIPS 2020.
# - J. Rabin, G. Peyré, J. Delon, M. Bernot: *Wasserstein Barycenter and its Application to Texture Mixing*, SSVM 2011.
# - J. Matejka, G. Fitzmaurice: *Same Stats, Different Graphs*, CHI 2017, after A. Cairo's Datasaurus.
#
# **Next:** [notebook 02](02_ddpm_derivation.ipynb) derives everything that was asserted here.
