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
# # 07 · How good is it? The FID study
#
# ![Three panels of quality against cost, for CIFAR-10 cats, cat faces and drawn cats: models of one step stand high at the left, diffusion models lower and further to the right, and nothing reaches the dashed line of real pictures.](../report_imgs/07_league.png)
#
# Most papers on generative models have a table with one number for each model. Where does the number come from, what moves it that has nothing to do with the model, and what does it not see? "The sources" are the student projects that this course grew out of. They scored with a thousand pictures, and found that *real* pictures score 49.8 then, where one might expect 0. We start from two Gaussians in the plane, and end with a table of everything that this course ships, which you may then believe, within limits that you know.
#
# **You will be able to**
# 1. say what a Fréchet distance measures, compute it, and name two different sets whose distance is 0;
# 2. explain why real against real does not score 0, extrapolate to infinitely many pictures, and say when that fails;
# 3. put an error bar on a score, and choose between FD, KID, precision, recall, density and coverage;
# 4. name faults that a score sees, faults that it misses, and changes of file or network that it takes for faults;
# 5. read a table of scores: which rows compare, and which differences are worth a thought.
#
# **Before you start:** Section 6 of notebook 03 (FD, KID and the floor). **Run time:** about two minutes on two CPU cores. **As a lecture:** 75 minutes without the parts marked ◆, about 90 with them (estimates).

# %%
from functools import partial

import scipy.linalg
import torch
from matplotlib.patches import Circle
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA

from course_utils import checks, metrics, viz, widgets
from course_utils.data import toy
from course_utils.data.named import named_set
from course_utils.metrics import distortions, estimates
from course_utils.presets import choose, halve_threads
from course_utils.studies import evaluation as study
from course_utils.studies import league

halve_threads()
random = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1 · The distance of two Gaussians
#
# How far apart are two clouds? One answer: move every point of one cloud to a point of the other, each to a place of its own, so that the mean *squared* distance moved is as small as possible. That is the squared 2-Wasserstein distance. For many points it takes a search among all matchings. For two Gaussians there is a formula (Dowson & Landau 1982):
#
# $$d^2 = |\mu_a - \mu_b|^2 + \operatorname{tr}\left(C_a + C_b - 2\, (C_a C_b)^{1/2}\right)$$
#
# We call it **FD**, squared as it is. In one dimension it says $d^2 = (\mu_a - \mu_b)^2 + (\sigma_a - \sigma_b)^2$: means *and* spreads have to agree. The root is the one of a matrix, $R R = C_a C_b$, not of its entries; Exercise 3 is to find the trace without ever computing $R$.
#
# **Predict:** a cloud is moved by 2, made twice as wide, or turned by 45°. Which change costs most, which least?


# %%
def gaussian(covariance, shift, n):
    root = torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64))
    return torch.randn(n, 2, generator=random, dtype=torch.float64) @ root.T + torch.tensor([shift, 0.0])


def cheapest(a, b):
    """Which point of b each point of a goes to where all together move least, and how far: the mean square."""
    cost = torch.cdist(a, b).square()
    rows, columns = linear_sum_assignment(cost)
    return columns, cost[rows, columns].mean()


# %%
n, flat = choose(ci=100, lecture=1000, full=4000), [[1.0, 0.0], [0.0, 0.2]]
changes = {
    "moved": (flat, 2),
    "twice as wide": ([[4.0, 0.0], [0.0, 0.8]], 0),
    "turned by 45°": ([[0.6, 0.4], [0.4, 0.6]], 0),
}
figure, panels = viz.axes(1, 3, (3.7, 4.3))
for ax, (name, (covariance, shift)) in zip(panels[0], changes.items(), strict=True):
    a, b = gaussian(flat, 0, n), gaussian(covariance, shift, n)
    fd, (to, cost) = metrics.frechet_distance(a, b), cheapest(a, b)
    viz.cloud(ax, a[:400], f"{name}: FD {fd:.2f}", viz.BLUE, 8, half=4.5)
    ax.scatter(*b[:400].T, s=8, color=viz.ORANGE, linewidths=0)
    ax.plot(*torch.stack([a[:60], b[to[:60]]]).permute(2, 0, 1), color=viz.INK, linewidth=0.8)
    print(f"{name:14s} closed form {fd:.3f}   cheapest matching of the points {cost:.3f}")
viz.show(
    figure,
    alt="Three pairs of clouds of dots, blue and orange, with lines from blue to orange dots. Moved: parallel lines to the right. Twice as wide: lines outwards from the middle. Turned: short lines at both ends.",
    name="07_gaussians",
)

# %% [markdown]
# *Look for:* the lines, the cheapest matching of 60 of the points. The exact values are 4, 1.2 and 0.28; here the formula takes the clouds' own means and covariances, and the matching of finitely many points comes close to it from above. Turning costs least: the cheapest matching does not turn the points, it stretches the cloud along one diagonal and squeezes it along the other.
#
# The formula looks at mean and covariance, and at nothing else. **Predict:** how far is the dinosaur from a Gaussian cloud that has its mean and its covariance?

# %%
dino = toy.draw("dino", n).double()
noise = gaussian([[1.0, 0.0], [0.0, 1.0]], 0, n)
noise = torch.linalg.solve_triangular(torch.linalg.cholesky(noise.T.cov()), (noise - noise.mean(0)).T, upper=False)
cloud = (torch.linalg.cholesky(dino.T.cov()) @ noise).T + dino.mean(0)
figure, panels = viz.axes(1, 2, (3.3, 3.5))
viz.cloud(panels[0, 0], dino, "the dinosaur", viz.BLUE, 4, half=3.4)
viz.cloud(panels[0, 1], cloud, "a Gaussian cloud", viz.ORANGE, 4, half=3.4)
viz.show(figure, alt="Two clouds of dots: a dinosaur, and beside it a shapeless upright oval that reaches farther out.")
print(f"FD {metrics.frechet_distance(dino, cloud):.6f}, cheapest matching {cheapest(dino, cloud)[1]:.3f}")

# %% [markdown]
# **0**, to rounding, although carrying one cloud onto the other costs 0.19 a point. FD is the distance of *the Gaussians with these moments*; for clouds that are not Gaussian, it may miss everything that one sees. Remember this when a table says FD.
#
# ## 2 · Pictures as points
#
# Distances between pixels say little: a cat moved by a pixel is far from itself. The **Fréchet Inception distance** (Heusel et al. 2017) therefore compares *features*: what a network trained to name photographs holds before its last layer, averaged over places. Inception has 2,048 of them. Its weights have to be downloaded, so ours come from EfficientNet-Lite0, which is smaller, and ships in a package. Each of our numbers is an **FD (EfficientNet-Lite0)**; no published FID compares with it.

# %%
network = metrics.features.network()
n = choose(ci=24, lecture=1000, full=5000)
few = n // 4
train, test = (named_set("drawn:cat", n=n, split=split) for split in ("train", "test"))
cats, others = (metrics.features.extract(part, network) for part in (train, test))
frogs = metrics.features.extract(named_set("drawn:frog", n=few), network)
noisy = metrics.features.extract(distortions.distort(test.images[:few], "noise", 0.3, random), network)
print(f"{network.name}: {network.size} × {network.size} pixels in, {network.dim:,} numbers out")
print(
    f"mean and covariance: {network.dim:,} + {network.dim * (network.dim + 1) // 2:,} numbers, estimated from {n:,} pictures"
)

# %%
sets = {"other cats": (others[:few], viz.SKY), "noisy cats": (noisy, viz.GREEN), "frogs": (frogs, viz.ORANGE)}
plane = PCA(2).fit(torch.cat([cats[:few], *(x for x, _ in sets.values())]))
figure, panels = viz.axes(1, 3, (3.7, 3.7), sharex=True, sharey=True)
for ax, (name, (x, colour)) in zip(panels[0], sets.items(), strict=True):
    ax.scatter(*plane.transform(cats[:few]).T, s=14, color=viz.GREY, label="cats")
    ax.scatter(*plane.transform(x).T, s=14, color=colour, label=name)
    ax.set(title=f"{name}: FD {metrics.frechet_distance(x, cats[:few]):.0f}", xticks=[], yticks=[], aspect="equal")
    ax.legend(loc="lower right", fontsize=11)
viz.show(
    figure,
    alt="Features in the plane. Other cats cover the grey cloud of cats. Noisy cats and frogs form clouds of their own, in different directions.",
    name="07_features",
)

# %% [markdown]
# *Look for:* cats and other cats lie in one cloud, and still have FD 31; noisy cats and frogs have left it. In this plane, the two directions of largest variance, both lie about as far away. Noise of this strength counts as more than being another animal (FD 208 against 173), perhaps because the network leans on texture.
#
# Programs differ in how they take the root, not in what they mean. pytorch-fid (Seitzer 2020) asks SciPy for the root of the product, which is not symmetric, so that its computed root may be complex. The course uses that $C_a C_b$ has the eigenvalues of a *symmetric* matrix, which are real. Both for the 300 features that vary most (constant ones would make the product singular):

# %%
lively = cats.var(0).argsort(descending=True)[: choose(ci=20, lecture=300, full=300)]
a, b = (x[:, lively].double() for x in (cats, others))
root = scipy.linalg.sqrtm((a.T.cov() @ b.T.cov()).numpy()).real
theirs = float((a.mean(0) - b.mean(0)).square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * root.trace())
ours = metrics.frechet_distance(a, b)
print(f"by the root of the product {theirs:.6f}, by eigenvalues {ours:.6f}")
assert abs(ours - theirs) < 1e-3 * ours

# %% [markdown]
# They agree. With all 2,048 features of Inception, ours takes a quarter of the time, and a small part of it for fewer pictures than features (`make benchmarks` measures both).
#
# ## 3 · Real against real
#
# The floor of a score is what real pictures get. Draw $n$ cats and $n$ other cats: both come from *exactly* the same distribution, so the true distance is 0.
#
# **Predict:** at which $n$ will FD be below 1?

# %%
sizes = [k for k in (10, 20, 100, 200, 500, 1000) if k <= n]
live = estimates.curve(cats, others, sizes, 3, random)
for k, values in zip(sizes, live, strict=True):
    print(f"n = {k:5,}: FD {values.mean():6.1f} ± {values.std():.1f}")

# %% [markdown]
# Not at 1,000, not by far. (± is the standard deviation over three draws; at 1,000 all three are the same pictures.) The next table goes on to 10,000, and does the same with photographs: training against test pictures. Below are the sources' numbers, of Inception, on CIFAR-10 (`make evaluation` repeats ours).

# %%
found = study.load()
curves = {}
for name in study.SETS:
    tensors, facts = found[f"curve, {name}"]
    curves[name] = tensors | {"n": facts["n"]}
print(f"{'FD of real against real, n =':32s}" + "".join(f"{k:>9,}" for k in study.SIZES))
for name, curve in curves.items():
    means = [f"{values.mean():9.2f}" for values in curve["fd"]]
    print(f"{name:32s}" + "".join(means))
print(f"{'sources (Inception; 10,000: all)':32s}{'':18s}{'87':>9s}{'49.8':>9s}{'':18s}{'0.05':>9s}")

# %% [markdown]
# *Look for:*
#
# - **Real photographs of cats score 54 with 500 pictures and 31 with 1,000.** Read a model's 60 at 1,000 against 31, not against 0. But do not subtract: the bias is another for every model, and a floor hides part of a difference (Section 6).
# - **Every set has a floor of its own.** Drawn cats vary less: a third of the photographs' at 1,000. Scores on different sets do not compare. (The sources report 18.7 for cat faces at 1,000, less than half of their floor for CIFAR-10 cats.)
# - **Below 1?** From 2,000 on, five times the pictures give a fifth of FD: $n$ times FD hardly changes, 35,200 to 35,700 for photographs and 10,200 for drawn cats. So it would take some 36,000 and 10,200 pictures on *each* side.
# - **The sources' 87 and 49.8** fall like ours. Their **0.05** at 10,000, of all classes, does not: ours leaves 3.6. Which two sets have FD 0.05? Section 6 has suggestions.
#
# **KID** (Bińkowski et al. 2018) compares all pairs of pictures by a kernel, $k(x, y) = (x \cdot y / D + 1)^3$: its mean within one set, plus that within the other, minus twice that across. Pairs of a picture with itself are left out, which makes KID *unbiased*: its mean over many draws is the true value, for any $n$.

# %%
figure, panels = viz.axes(1, 2, (5.4, 4.2))
for (name, curve), colour, aside in zip(curves.items(), viz.COLOURS, (0.88, 0.96, 1.04, 1.12), strict=False):
    k, fd, kid = torch.tensor(curve["n"]), curve["fd"].mean(1), curve["kid"]
    panels[0, 0].plot(k, fd, "o-", color=colour)
    panels[0, 1].errorbar(aside * k, kid.mean(1), kid.std(1), fmt="o", color=colour, capsize=4, label=name)
panels[0, 0].axvline(network.dim + 1, color=viz.GREY, linestyle="--")
panels[0, 0].set(xscale="log", yscale="log", xlabel="n", title="FD: never 0, less with more pictures")
viz.plain_log(panels[0, 0].yaxis)
panels[0, 1].axhline(0, color=viz.GREY, linestyle="--")
panels[0, 1].set(xscale="log", xlabel="n", title="KID: 0 on average, for any n")
panels[0, 1].legend(fontsize=10, loc="lower right")
viz.show(
    figure,
    alt="Left: FD of real against real falls with n for four sets, which start between 51 and 136; two go on beyond the dashed line at 1,281 pictures, straight, down to 2 and 4. Right: KID lies on both sides of 0, with error bars that shrink.",
    name="07_curve",
)

# %% [markdown]
# *Look for:* left, curves that bend into a straight line at about as many pictures as features (dashed). Right, dots on both sides of 0: KID may well be negative. Few pictures make it uncertain (bars: standard deviation over five draws; draws of the largest $n$ of a set share pictures, so their bars are too short), but not larger.
#
# ### Why FD is too large for few pictures
#
# Three terms make up FD. Each of the next lines is for $n$ cats and $n$ others. **Predict:** which of the three depends on $n$?

# %%
for k in [size for size in (20, 100, 500, 1000) if size <= n]:
    a, b = cats[:k].double(), others[:k].double()
    trace, means = (a.var(0).sum() + b.var(0).sum()) / 2, (a.mean(0) - b.mean(0)).square().sum()
    root = trace + (means - metrics.frechet_distance(a, b)) / 2
    print(
        f"n = {k:5,}: distance of the means {means:5.2f}, trace of a covariance {trace:6.1f}, trace of the root {root:6.1f}"
    )

# %%
both = torch.cat([cats, others]).double()
figure, panels = viz.axes(1, 1, (7.4, 4.0))
for k, colour in zip([m for m in (20, 100, 500, len(both)) if m <= len(both)], viz.COLOURS, strict=False):
    x = both[torch.randperm(len(both), generator=random)[:k]]
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square() / (k - 1)
    rank = int((spectrum > 1e-9).sum())
    panels[0, 0].plot(range(1, rank + 1), spectrum[:rank], color=colour, label=f"{k:,} pictures: rank {rank:,}")
panels[0, 0].set(xscale="log", yscale="log", ylim=(1e-4, 50))
panels[0, 0].set(xlabel="number of the principal direction", title="variance along each principal direction")
panels[0, 0].legend(fontsize=11)
viz.show(
    figure,
    alt="Variances along principal directions: with 20, 100 and 500 pictures the curves lie near that of 2,000, the first above it, and end at 19, 99 and 499.",
)

# %% [markdown]
# *Look for:* the means differ by chance, which adds $2 \operatorname{tr} C / n$ on average, 0.2 at 1,000 (here 0.29). The traces are about right from the start. The **trace of the root**, which is subtracted twice, starts far too small and grows. Were the two covariances *the same* matrix $C$, the root of $C\,C$ would be $C$, and its trace right. But $n$ pictures span $n - 1$ directions at most, and another $n$ span *others*: where one set has variance and the other has none, nothing is left in the product. (In general the trace of the root is a concave function of the two covariances, so estimates that scatter about the truth give too little on average.) With 2,000 pictures the rank is still short of 1,280: a few directions do not vary at all over drawn cats.
#
# ### ◆ Extrapolate
#
# With many more pictures than features, the bias falls as $1/n$ (Chong & Forsyth 2020). So plot against $1/n$, draw a line, and read off where it meets $1/n = 0$. For real against real we know what it has to give: **0**. **Predict:** where will lines through $n$ = 100 to 1,000 end?

# %%
for name, curve in curves.items():
    k, fd = torch.tensor(curve["n"]), curve["fd"].mean(1)
    for low, high in ((100, 1000), (2000, 10_000)):
        chosen = (k >= low) & (k <= high)
        if chosen.sum() > 1:
            intercept, _ = estimates.extrapolated(k[chosen], fd[chosen])
            print(f"{name:24s} from n = {k[chosen].tolist()}: {intercept:6.2f} at infinite n")

# %% [markdown]
# *Look for:* from 2,000 on, the lines end at 0.00 and 0.10, as they should. From 100 to 1,000 they end at 8 to 35: below the number of features, FD is no straight line in $1/n$, and an extrapolation makes the error look like a finding. (The line for drawn cats has two points only.) It helps those who have enough pictures already.
#
# Move $n$, and change to $1/n$:

# %%
widgets.bias_explorer(curves, network.dim)

# %% [markdown]
# ## 4 · Error bars
#
# A score belongs to the pictures that happened to be drawn. Drawing others is cheap for cats of our own: 20 sets of 500 against the same 500 others show directly how much a score moves. With a slow model there is one set, and one has to guess from it:
#
# - **Bootstrap** (Efron 1979): draw $n$ of the $n$ pictures with replacement, score, repeat. The spread of the scores is the error bar.
# - **Halves** (the delete-half jackknife, Shao & Wu 1989): score random halves. Leaving out half moves a score about as much as drawing another whole.
#
# **Predict:** the scores of bootstrap samples, do they lie around the score of the set, above it or below it?

# %%
tensors, _ = found["spread"]
print(
    f"{study.DRAWS} sets of {study.N} drawn cats, FD to the same {study.N} others: {tensors['fd'].mean():.2f} ± {tensors['fd'].std():.2f}"
)
for name, label in (("boot", "bootstrap"), ("half", "halves")):
    middle, each = tensors[name].mean(), tensors[name].std(1)
    print(
        f"{label:10s} of one set: ± {each.mean():.2f} on average ({each.min():.2f} to {each.max():.2f}), around {middle:.1f}"
    )

# %% [markdown]
# *Look for:* other draws differ by 0.29 (itself known to about 0.05). Halves say 0.33, in agreement; the bootstrap says 0.47, too much. And the *middles*, 24.4 of the bootstrap and 26.0 of halves, estimate nothing: a bootstrap sample holds about 63% different pictures, a half 50%, so both carry the bias of fewer pictures. Never report the mean of a bootstrap of FD. Section 8 uses two of the halves' standard deviations as error bars.
#
# The reference stays fixed in all this; another one would shift all scores together. Nor does it say what *training again* would change. In Section 7.1 of notebook 03 three runs of one small network, which differed in their seed alone, had FD from 156 to 172. A gap between two checkpoints is a fact about two checkpoints.

# %% [markdown]
# ## 5 · What does it see?
#
# Spoil real pictures by degrees, as Heusel et al. (2017, figure 3) did, and watch the score. Each distortion at 0.4 of its full strength:

# %%
eight = test.images[:8]
viz.rows(
    "drawn cats, distorted",
    [eight, *(distortions.distort(eight, name, 0.4, random) for name in distortions.DISTORTIONS)],
    ["as drawn", *(f"{name}, 0.4" for name in distortions.DISTORTIONS)],
    across=8,
    alt="Eight drawn cats, and the same with noise, blurred, twisted, with black squares, with JPEG's blocks, and with fewer colours, which can hardly be told from the first row.",
    name="07_distorted",
)

# %% [markdown]
# **Predict:** which will FD take for the worst, and which for harmless? Order the six by how much they disturb *you* first.

# %%
scores = found["distortions"][1]["scores"]
figure, panels = viz.axes(1, 2, (5.4, 4.2))
for (name, one), colour, marker in zip(scores.items(), (*viz.COLOURS, viz.INK), "osD^v*", strict=True):
    panels[0, 0].plot(one["amount"], one["fd"], marker=marker, color=colour)
    panels[0, 1].plot(one["amount"], one["recall"], marker=marker, color=colour, label=name)
panels[0, 0].set(yscale="log", xlabel="amount", title="FD")
panels[0, 1].set(xlabel="amount", title="recall")
viz.plain_log(panels[0, 0].yaxis)
panels[0, 1].legend(fontsize=11, loc="upper left", bbox_to_anchor=(1, 1))
viz.show(
    figure,
    alt="Left: FD over the amount of six distortions; noise and JPEG rise at once, levels hardly until the end, blur in between steeply. Right: recall falls from 0.9 to nearly 0, first for noise, for levels only at the end.",
    name="07_distortions",
)

# %% [markdown]
# *Look for:* is it your order? Noise of 0.1 (standard deviation 0.05; find it with the slider below) costs more (92) than black squares over parts of the cats (53 at 0.4). JPEG at quality 86 (amount 0.1) costs 64, and 49 levels of each colour little (26; 19 is the floor). Blur counts only from about half a pixel on. Networks trained on ImageNet lean on texture (Geirhos et al. 2019), which may be why.
#
# Recall is used up sooner: at noise 0.2 it is 0, and no longer tells bad from worse, while everybody still sees cats.

# %%
widgets.distortion_explorer(eight, scores)

# %% [markdown]
# ### Faults of a set
#
# A picture can be judged one by one; variety cannot. Four *shares* of pictures ask for quality and variety, by balls that reach from each picture of a set to its $k$-th nearest neighbour there:
#
# - **precision**: generated pictures inside a ball around a real one; **recall**: real ones inside a ball around a generated one (Kynkäänniemi et al. 2019, $k = 3$);
# - **density**: in how many balls around real ones a generated picture lies, divided by $k$, about 1 for real pictures; **coverage**: balls around real ones that hold a generated one (Naeem et al. 2020, $k = 5$).
#
# And **copying** is the probability that a picture lies nearer to the training set than a new one does (after Meehan et al. 2020): about 0.5 for new pictures, 1 for copies, less than 0.5 for pictures that lie farther off. The next sets consist of perfect pictures only (or nearly), and lack something.
#
# **Predict:** which of these faults will FD not see?

# %%
print(f"{'':34s}{'FD':>7s}{'KID':>9s}{'precision':>11s}{'recall':>8s}{'density':>9s}{'coverage':>10s}{'copying':>9s}")
for row in found["faults"][1]["rows"]:
    shares = (
        f"{row['precision']:11.2f}{row['recall']:8.2f}{row['density']:9.2f}{row['coverage']:10.2f}{row['copying']:9.2f}"
    )
    print(f"{row['name']:34s}{row['fd']:7.1f}{row['kid']:9.4f}{shares}")

# %% [markdown]
# *Look for*, line by line:
#
# - **A missing fur is hard to see.** Without the brown cats, a fifth of all, FD is 10.9 instead of 10.1, and KID rises by 0.0004, less than its standard error. Recall tells (0.81, not 0.91). With two furs missing all scores of variety fall; precision and density hardly notice, for each of the pictures is perfect.
# - **A hundred pictures, ten times each:** KID moves little (0.0026; one pose of three: 0.0365). Recall is 0 for a mechanical reason: each picture's nearest neighbours are its own copies, so every ball has radius 0. Coverage, 0.38, tells more.
# - **A tenth of frogs** costs precision (0.83) and FD (16), as it should. Recall and coverage say that all cats are still there.
# - **A copy of the training set is as good as new** by all six scores. Who learns by heart reaches every floor. Only `copying` says 1.00, and it has to be *asked*, with the training set at hand.
# - **Copies that are moved by a pixel** score worse (16), and still lie nearer to the training set than a new picture in 99 of 100 comparisons. Their FD would pass for that of an honest, slightly worse model: a score above the floor is no proof of innocence.
# - **`copying` is an average.** One fur has 0.37, half frogs 0.25, and half copies with half frogs would come out near 0.5. Meehan et al. therefore test region by region.
#
# ### ◆ Why there are two scores of variety
#
# Recall draws its balls around the *generated* pictures, coverage around the *real* ones. A generator draws nearly the same picture 57 times, and three that are far off. **Predict:** which of the two will the three deceive?

# %%
real, fake = gaussian([[1.0, 0.0], [0.0, 1.0]], 0, 60), gaussian([[0.05, 0.0], [0.0, 0.05]], 0, 60)
fake[:3] = torch.tensor([[6.0, 0.0], [-4.0, 5.0], [-4.0, -5.0]])
figure, panels = viz.axes(1, 2, (4.2, 4.9))
for ax, centres, k, title in (
    (panels[0, 0], fake, 3, "recall: balls around the generated"),
    (panels[0, 1], real, 5, "coverage: balls around the real"),
):
    for centre, radius in zip(centres, metrics.nearest(centres, centres, k + 1)[0][:, k], strict=True):
        ax.add_patch(Circle(centre, radius, color=viz.GREY, alpha=0.12, linewidth=0))
    viz.cloud(ax, real, title, viz.BLUE, 22, half=7)
    ax.scatter(*fake.T, s=22, color=viz.ORANGE)
viz.show(
    figure,
    alt="Orange dots packed in the middle of a blue cloud, three far outside. Left, grey balls around the orange outliers cover nearly all blue dots; right, small balls around the blue dots, of which about half hold an orange one.",
)
print("precision {:.2f}, recall {:.2f}".format(*metrics.precision_recall(real, fake)))
print("density   {:.2f}, coverage {:.2f}".format(*metrics.density_coverage(real, fake)))

# %% [markdown]
# *Look for:* the three outliers have no near neighbours, so their balls cover everything: recall 0.98, of a generator that hardly varies. Coverage, 0.47, is not taken in. (The same happens to precision with outliers among the *real* pictures; density mends it.)
#
# ## 6 · What moves a score that is not the model
#
# The same pictures, made smaller in several ways, and stored in several ways. *To the same*: FD to the very same pictures, made smaller by Lanczos. *To others*: FD to other pictures, all by Lanczos, as if a paper prepared its samples in one way and its reference in another. **Predict:** which costs more, JPEG of quality 95 or another filter?

# %%
tables = {name: {row["way"]: row for row in found[f"files, {name}"][1]["rows"]} for name in study.ORIGINALS}
print(f"{'FD, n = ' + str(study.FEW):32s}" + "".join(f"{name:>30s}" for name in tables))
print(f"{'':32s}" + "".join(f"{'to the same':>18s}{'to others':>12s}" for _ in tables))
for way in metrics.files.WAYS:
    print(f"{way:32s}" + "".join(f"{table[way]['moved']:18.2f}{table[way]['fd']:12.1f}" for table in tables.values()))

# %% [markdown]
# *Look for:*
#
# - **Antialias.** With it, Pillow and torch agree, filter by filter. Without, drawn cats with their sharp outlines, a quarter as wide afterwards, are 54 to 72 away from themselves, as far as a poor model. Soft faces, halved, are 8 to 19 away. Parmar et al. (2022) found that common libraries, and with them common implementations of FID, do not antialias when they resize.
# - **JPEG.** Quality 95 can hardly be seen at this size, and costs 18 to 31. Even 100 is not free (Pillow halves the resolution of colour by default). If the reference was kept as JPEG and the samples as PNG, the model pays.
# - **Levels.** 128 instead of 256 cost 0.5 to 1.
# - **To others** all of it looks smaller: a change of 3 disappears in the floor, one of 31 adds 8 (nearest pixel, faces). With infinitely many pictures both columns should be about the same.
#
# And the machine? The same pictures through the same network, computed in other ways:

# %%
some = test.images[: choose(ci=8, lecture=200, full=1000)]
plain = metrics.features.extract(some, network)
ways = {
    "one picture at a time": partial(metrics.features.extract, some, network, batch_size=1),
    "features kept in float16": lambda: plain.half().float(),
    "network in bfloat16": torch.autocast("cpu", torch.bfloat16)(partial(metrics.features.extract, some, network)),
}
for device, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
    if there:
        ways[device] = partial(metrics.features.extract, some, metrics.features.network(device=device))
for name, way in ways.items():
    print(f"{name:26s} FD to the same pictures, as usual {metrics.frechet_distance(way(), plain):.1e}")

# %% [markdown]
# Single precision in another order changes nothing worth a digit, nor does keeping features with 16 bits. Computing the *network* with 16 bits is another matter: 1.6. With a GPU the cell prints one more line; this run had none. (The sources saw FID move between CPU and CUDA.)
#
# And **0.05**? It is less than any change of file above, and more than rounding. We suspect that the sources' two sets of 10,000 shared most or all of their pictures; or the number comes from an earlier layer of Inception, which pytorch-fid offers (`--dims`), and whose distances are on another scale. Nobody can check; but a number that small should have made somebody look. `python -m course_utils.evaluate` refuses two sets that are the same, pixel by pixel, counts shared pictures, refuses sets of different sizes in pixels and warns about different $n$.
#
# ## 7 · Another network, another winner?
#
# A feature network was trained for something, and sees what helped there. Five checkpoints that draw CIFAR-10 cats, 500 pictures each, in five spaces: two EfficientNets, the first third of one, the same network with random weights, and plain pixels, 8 × 8 of them.
#
# **Predict:** will the order of the models stay without training?

# %%
tensors, facts = found[f"networks, {study.CATS}"]
short = [name.replace(" (cat)", "").replace("-cats32", "").replace("32-cosine", "32") for name in facts["models"]]
print(f"{'FD / floor, and rank':26s}" + "".join(f"{name:>17s}" for name in short))
for space, fd in zip(facts["spaces"], tensors["fd"], strict=True):
    ranks = fd[1:].argsort().argsort() + 1
    print(
        f"{space:26s}" + "".join(f"{ratio:13.2f} ({rank})" for ratio, rank in zip(fd[1:] / fd[0], ranks, strict=True))
    )

# %% [markdown]
# *Look for:*
#
# - **The two EfficientNets** agree on the three first, and swap the last two. They do not agree on distances: `dcgan-cats32` is 2.2 floors away for one, and 1.9 for the other.
# - **Without training** the order turns round. There the smoothed DCGAN scores 0.99, as if its pictures were photographs, and diffusion comes last. A score in such a space is a number like any other; nothing about it looks wrong.
# - **Pixels** put the conditional diffusion model first (1.04), then DCGANs, then `cats32-cosine`.
# - **The first third** has 40 features, so 500 pictures are plenty: its floor is low, and all models are 8 to 46 times as far.
#
# Who chooses the network chooses the winner. Stein et al. (2023) asked people, and found that Inception's FID treats diffusion models unfairly, and that features of a network trained without labels (DINOv2) agree better with human eyes.
#
# ## 8 · The league table
#
# All that ships, measured by one program (`make league`): as many pictures as the test set has, a thousand at most, each against the test pictures of its own set. **FD ± two standard errors** (halves); *floors*: FD divided by what training pictures score; P, R and C for precision, recall and coverage; seconds of one processor core a picture; minutes of training. (A ratio to the floor is a convention: it grows with $n$, since the floor shrinks. It orders models on *one* set, at one $n$, with one network.) Three of the sets are printed; the explorer and the file, `data/shipped/league.csv`, have all.

# %%
rows = [row for row in league.load() if row["sampler"] != league.RECONSTRUCTION]
print(f"{'':46s}{'FD':>14s}{'floors':>8s}{'KID':>8s}{'P':>6s}{'R':>6s}{'C':>6s}{'s/picture':>11s}{'minutes':>9s}")
for data in league.SHOWN:
    print(data)
    for row in sorted((row for row in rows if row["data"] == data), key=lambda row: row["fd"]):
        fd = f"{row['fd']:8.1f} ± {2 * row['fd_se']:3.1f}{row['ratio']:8.2f}{row['kid']:8.3f}"
        shares = "".join(f"{row[name]:6.2f}" for name in ("precision", "recall", "coverage"))
        print(f"  {league.brief(row):44s}{fd}{shares}{row['seconds']:11.4f}{row['minutes']:9.0f}")
print(f"\nscored by Inception as well: {sum(row['inception_fd'] is not None for row in rows)} of {len(rows)} rows")

# %%
viz.show(
    league.figure(rows, league.SHOWN),
    alt="Three panels of FD over seconds a picture. GANs and VAEs take about a millisecond and stand highest; diffusion models take 10 to 300 and are lower, DDPM more than a second; a dashed line for real pictures is far below all.",
    name=league.FIGURE,
    photo=True,
)

# %% [markdown]
# *Look for:*
#
# - **Nothing reaches the floor.** The best are 1.77 floors away on CIFAR-10 cats, 2.57 on faces, and 3.59 on drawn cats, whose floor is low.
# - **More steps are not better.** On faces DDIM goes from 82 with 10 steps to 96 with 50, far beyond the error bars; on cats from 61 to 62. More steps follow the *network's* distribution more exactly, and nobody said that this is the data's. Recall orders the rows of `faces64` another way: it is highest with DPM-Solver++ at 25 steps.
# - **FD and KID disagree.** `stylegan2-faces64` has the lowest KID of all on faces (0.082) and only the eighth FD.
# - **Two classes or one?** `catfrog32` draws better cats (54.9) than `cats32-cosine` (59.9), as two classes did for the sources. It also had 149 minutes instead of 60, so this table does not say why.
# - **Error bars.** The first four of `faces64`, 82 to 87, are within 5 of each other, with bars of 2 to 3: do not rank them. And each checkpoint was trained once.
# - **Cost.** A face takes a GAN 1 ms, StyleGAN2 4, latent diffusion 16 and diffusion in pixels 54, with ten steps of DPM-Solver++. Which is worth its price? Choose a set, a score and a cost, and move the budget:

# %%
widgets.pareto_explorer(sorted(rows, key=lambda row: row["data"] != "cat faces"))

# %% [markdown]
# The sources' table of CIFAR-10 cats, and ours at 25 steps, each sorted and in units of its own floor (theirs 49.838). Compare the order within a table, not a row with the other table's: other features, other pictures.

# %%
theirs = {
    "diffusion, 2xUD half channels, linear": 114.710,
    "diffusion, 2xUD, linear": 100.144,
    "diffusion, 2xUD, cosine": 97.275,
    "diffusion, 3xBlocks, linear": 118.501,
    "diffusion, 3xBlocks, cosine": 115.949,
    "DCGAN, 512 epochs": 113.311,
    "DCGAN, 1,024 epochs": 109.09,
    "DCGAN, smoothed labels, noised inputs": 125.629,
    "conditional GAN, cat": 231.707,
    "conditional diffusion, cat": 102.894,
}
at_25 = [row for row in rows if row["data"] == "CIFAR-10 cats" and row["steps"] in (25, None) and not row["guidance"]]
ours = {league.brief(row): row["ratio"] for row in at_25}
for title, table in (("theirs", {name: fid / 49.838 for name, fid in theirs.items()}), ("ours", ours)):
    print(title)
    for name, ratio in sorted(table.items(), key=lambda one: one[1]):
        print(f"  {name:44s}{ratio:6.2f}")

# %% [markdown]
# *Look for:* the order. In both tables the best diffusion models are ahead of every GAN (though their `3xBlocks` are behind their DCGAN); smoothed labels and noised inputs made the DCGAN worse; two classes were better for the cats than one. Their conditional GAN was far behind everything, 4.65 floors; ours, mended in notebook 04, is level with the others. (For frogs they report 70.5 with diffusion and 181.7 with a GAN, for whole cats at 64 × 64 37.3, without a floor: we cannot say how far from perfect these are. And on those whole cats it was StyleGAN2, without a number, that *looked* better.)
#
# ## Take home
#
# - FD is the distance of the *Gaussians* with the means and covariances of two sets of features. Equal moments, FD 0.
# - Real against real does not score 0. The bias depends on $n$, on the set and on the network; where there are fewer pictures than features, not even extrapolation helps. Compare at equal $n$, beside the floor, and take KID for few pictures.
# - Halves give an error bar for drawing again. Training again moves more.
# - No score sees everything: precision and density miss what is missing, KID misses repetition, outliers deceive recall, and all six praise a copy of the training set. Ask for `copying`.
# - Filter, format, arithmetic and feature network count as much as the model. Same for both sides, and say which.
# - A table tells something if it has floors, errors and costs beside the scores.
#
# ## To discuss
#
# 1. A paper reports FID 3.2 from 50,000 pictures, another 3.0 from 10,000. Which one is better?
# 2. You may change your samples' files after you have seen the score. How low can you get without touching the model?
# 3. Which score would you watch during training, every ten minutes, with 200 pictures?
# 4. A hospital wants pictures of skin, generated, for training its students. Which feature network, and which of the numbers above?
#
# <details><summary>Some answers</summary>
#
# 1. Nobody can tell. Against the same reference, 10,000 pictures have five times the bias of 50,000, so the second would probably be lower there; but the bias differs from model to model, and there are resizing, network and reference to ask about.
# 2. Try: the filter with which the reference was made smaller, JPEG at its quality, and a choice among seeds. Sections 4 and 6 say what each is worth.
# 3. KID: its expectation does not depend on $n$. Or FD at always the same $n$, which usually orders checkpoints of one model well enough; neither tells whether it copies.
# 4. One trained on such pictures, if there is any; then recall or coverage for rare diseases, `copying` for the patients' sake, and a physician, who looks.
#
# </details>

# %% [markdown]
# ## Exercises
#
# Five functions that lead from the maps of a network to a Fréchet distance that one can believe. The checks call yours on several inputs, compare with the course's own, and try to name what went wrong. All take and return tensors; all but the second work in `float64`, since a covariance of a thousand features leaves little room for rounding.

# %% [markdown]
# ### Exercise 1 ★☆☆ (10 minutes): the covariance of features
#
# Write `covariance(features)`: `features` has shape `(N, D)`, a row for each picture. Returns the covariance of the features over the pictures, `(D, D)`, unbiased: over many draws of $N$ pictures, its mean is the true one. $N$ may be smaller than $D$, but is 2 or more.
#
# <details><summary>Hint 1: where to begin</summary>
#
# On the diagonal stand the variances, which `features.var(0)` returns. What do they subtract first, what do they multiply, and what do they divide by? Beside the diagonal two different features are multiplied instead of one with itself.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# A matrix product sums over the axis that the two factors share: here this has to be the pictures, so that $(D, N)$ meets $(N, D)$. There is also `torch.cov`, but read which of the two axes it takes for the variables.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "covariance", "locked": false, "schema_version": 3, "solution": true, "task": false}
def covariance(features):
    """Unbiased covariance, (D, D), of features (N, D), a row for each picture."""
    ### BEGIN SOLUTION
    centred = features - features.mean(dim=0)
    return centred.T @ centred / (len(features) - 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "covariance_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.covariance(covariance)

# %% [markdown]
# ### Exercise 2 ★☆☆ (5 minutes): from maps to features
#
# The last layer of a feature network returns maps: for each picture and each channel a number at every place. Write `pool(maps)`, which makes features of them: `maps` has shape `(N, C, H, W)`, and each feature is the mean of one channel over all places. Returns `(N, C)`, in the type of `maps`. $H$ and $W$ may differ, and each of the four may be 1.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Which of the four axes are to be left? The mean runs over all others.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `dim` of `mean` may be a tuple of several axes. A pooling layer leaves axes of length 1 behind, and `squeeze()` without an axis removes more than these.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "pool", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pool(maps):
    """Features (N, C) of maps (N, C, H, W): the mean of each channel over all places."""
    ### BEGIN SOLUTION
    return maps.mean(dim=(2, 3))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pool_check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
checks.pool(pool)

# %% [markdown]
# ### Exercise 3 ★★☆ (25 minutes): the Fréchet distance
#
# Write `frechet(mu_a, C_a, mu_b, C_b)`: the squared Fréchet distance of two Gaussians with these means, `(D,)`, and covariances, `(D, D)`, by the formula of Section 1. Returns one number, as a tensor without axes or as a float. A covariance may be singular, as it always is for fewer pictures than features: no `nan` may come out then.
#
# <details><summary>Hint 1: where to begin</summary>
#
# Of the root $(C_a C_b)^{1/2}$ only the trace is asked for, and a trace is the sum of the eigenvalues. What are the eigenvalues of a root, if those of the matrix are known?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.linalg.eigvals` takes any matrix and returns complex numbers, of which `sqrt` and `real` may be taken (Exercise 4 looks at what that drops). Or `torch.linalg.eigh` for the root of $C_a$, and `eigvalsh` for the symmetric $C_a^{1/2} C_b\, C_a^{1/2}$, which has the same eigenvalues as $C_a C_b$; rounding makes
# some of them slightly negative, and `clamp(min=0)` sets these to 0. Or `scipy.linalg.sqrtm`, from and to NumPy, whose result may be complex.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "frechet", "locked": false, "schema_version": 3, "solution": true, "task": false}
def frechet(mu_a, C_a, mu_b, C_b):
    """Squared Fréchet distance of two Gaussians with means (D,) and covariances (D, D): one number."""
    ### BEGIN SOLUTION
    values, vectors = torch.linalg.eigh(C_a)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ C_b @ root).clamp(min=0).sqrt().sum()
    return (mu_a - mu_b).square().sum() + C_a.trace() + C_b.trace() - 2 * cross
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "frechet_check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.frechet(frechet)

# %% [markdown]
# ### Exercise 4 ★★☆ (15 minutes): say what you drop
#
# `product` is $C_a C_b$, `(D, D)`, which is not symmetric. Its eigenvalues are real and not negative; computed, some come out slightly negative, or complex, and their roots are not real then. Many programs keep the real part of the root and say nothing. Write `root_trace(product)`, which returns a `float64` tensor of two numbers, shape `(2,)`:
#
# - the trace of the matrix root, as the sum of the real parts of the roots of all eigenvalues;
# - the *residue*, how far the roots are from real numbers: their largest imaginary part, without its sign, divided by the largest modulus (absolute value) of the roots.
#
# The residue is next to nothing for two covariances, and large where something went wrong: some of the inputs are no product of covariances at all.
#
# <details><summary>Hint 1: where to begin</summary>
#
# The root of $-4$ is $2i$: its real part is 0, and its modulus 2. That works only if the number is complex *before* the root is taken.
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `torch.linalg.eigvals` always returns complex numbers (`numpy.linalg.eigvals` only where it must), and `sqrt` of these is complex. `real`, `imag` and `abs()` take them apart; `torch.stack` makes one tensor of two numbers.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "root_trace", "locked": false, "schema_version": 3, "solution": true, "task": false}
def root_trace(product):
    """Trace of the root of product (D, D), and the residue, the relative size of what is not real in it: (2,)."""
    ### BEGIN SOLUTION
    roots = torch.linalg.eigvals(product).sqrt()
    return torch.stack([roots.real.sum(), roots.imag.abs().max() / roots.abs().max()])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "root_trace_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.root_trace(root_trace)

# %% [markdown]
# ### Exercise 5 ★★☆ (10 minutes): how many times the floor?
#
# Write `ratio_to_floor(generated, real, reference)` for features of shape `(N, D)`, `(M, D)` and `(R, D)`, a row for each picture: the Fréchet distance of the generated pictures to the reference, divided by the floor, that of the real pictures to the same reference. Both distances take **equally many** pictures, as many as the smaller one of `generated` and `real` has: the first
# rows of each. The reference stays whole, whatever its size. `metrics.frechet_distance(a, b)` takes features of two sets and returns a float. Returns one number, a float or a tensor without axes.
#
# <details><summary>Hint 1: where to begin</summary>
#
# For 12 generated pictures and 40 real ones: how many of each go into a distance? And for 50 and 15?
#
# </details>
#
# <details><summary>Hint 2: which tools</summary>
#
# `min`, `len`, and a slice of the rows.
#
# </details>


# %% nbgrader={"grade": false, "grade_id": "ratio_to_floor", "locked": false, "schema_version": 3, "solution": true, "task": false}
def ratio_to_floor(generated, real, reference):
    """Distance of generated (N, D) to reference (R, D) over that of real (M, D), at equal n: one number."""
    ### BEGIN SOLUTION
    n = min(len(generated), len(real))
    floor = metrics.frechet_distance(real[:n], reference)
    return metrics.frechet_distance(generated[:n], reference) / floor
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "ratio_to_floor_check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.ratio_to_floor(ratio_to_floor)

# %% [markdown]
# ## References
#
# - M. J. Chong, D. Forsyth (2020). *Effectively unbiased FID and Inception Score and where to find them.* CVPR: Section 3.
# - D. C. Dowson, B. V. Landau (1982). *The Fréchet distance between multivariate normal distributions.* Journal of Multivariate Analysis: Section 1.
# - B. Efron (1979). *Bootstrap methods: another look at the jackknife.* Annals of Statistics; J. Shao, C. F. J. Wu (1989). *A general theory for jackknife variance estimation.* Annals of Statistics: Section 4.
# - R. Geirhos et al. (2019). *ImageNet-trained CNNs are biased towards texture; increasing shape bias improves accuracy and robustness.* ICLR: Section 5.
# - M. Heusel et al. (2017). *GANs trained by a two time-scale update rule converge to a local Nash equilibrium.* NeurIPS: FID.
# - M. Bińkowski et al. (2018). *Demystifying MMD GANs.* ICLR: KID.
# - T. Kynkäänniemi et al. (2019). *Improved precision and recall metric for assessing generative models.* NeurIPS; M. F. Naeem et al. (2020). *Reliable fidelity and diversity metrics for generative models.* ICML: Section 5.
# - C. Meehan, K. Chaudhuri, S. Dasgupta (2020). *A non-parametric test to detect data-copying in generative models.* AISTATS: `copying`.
# - G. Parmar, R. Zhang, J.-Y. Zhu (2022). *On aliased resizing and surprising subtleties in GAN evaluation.* CVPR: Section 6.
# - G. Stein et al. (2023). *Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion models.* NeurIPS: Section 7 at large.
# - M. Seitzer (2020). *pytorch-fid: FID score for PyTorch.* github.com/mseitzer/pytorch-fid.
