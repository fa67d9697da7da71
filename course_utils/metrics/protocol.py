"""What the course reports about a set of pictures: six numbers, the network, n, and what real pictures score.

Cats: n = 1,000 against the 1,000 test cats of CIFAR-10. Cat faces: n = 500 against the 500 test faces. The floor is
what random subsets of n training images score against the same reference.

A ladder to read the numbers by, EfficientNet-Lite0, mean over 3 subsets of training images (std: FD 0.1 to 0.8, KID up
to 0.002, precision and recall 0.01 to 0.03):

    images          reference                n      FD     KID      precision  recall
    cats            CIFAR-10 test cats       1,000   31.1   0.0000  0.69       0.69
    dogs            CIFAR-10 test cats       1,000   58.4   0.029   0.50       0.55
    frogs           CIFAR-10 test cats       1,000   83.5   0.077   0.55       0.34
    drawn cats      CIFAR-10 test cats       1,000  219.6   0.31    0.11       0.00
    cat faces       test faces                 500   32.2   0.0002  0.76       0.71
    drawn cats      drawn test cats (32 px)  1,000   10.2   0.0003  0.91       0.91
"""

from typing import Any

import torch
from torch import Tensor, nn

from course_utils.metrics.distances import density_coverage, frechet_distance, kid, precision_recall
from course_utils.metrics.features import Network, extract
from course_utils.models.few_step import FewStep
from course_utils.schedules import Schedule

SAMPLING = {"sampler": "dpm_solver_pp", "steps": 25, "spacing": "lambda", "seed": 0}  # of the shipped checkpoints
NUMBERS = ("fd", "kid", "kid_se", "precision", "recall", "density", "coverage")
MIN_IMAGES = 6  # density and coverage look at the fifth nearest neighbour


def sampling(schedule: Schedule | None, model: nn.Module | None = None) -> dict[str, Any]:
    """Return the options of `sample.images` with which scored pictures are drawn; a GAN or VAE has no schedule.

    model: asked whether it is a `FewStep`, which takes as many steps as it was distilled for at the most.
    """
    if isinstance(model, FewStep):
        return {"sampler": "ddim", "steps": model.config.rungs[-1], "seed": SAMPLING["seed"]}
    return SAMPLING if schedule else {"seed": SAMPLING["seed"]}


def score(
    samples, reference, network: Network, *, batch_size: int = 16, seed: int = 0, progress: bool = False
) -> dict[str, float | int | str]:
    """Compare samples with reference images: the NUMBERS (fd, kid, ...), n, n_reference and network.

    samples, reference: images in any form that `features.stream` takes, or features (N, network.dim) of that network.
    precision and density tell how many samples look like the reference, recall and coverage how much of it they reach.
    seed: of KID's subsets. See `distances` for each; "FD (EfficientNet-Lite0)" is the label to print.
    Raises ValueError for fewer than 6 images, values that are not finite, and features of another width.
    """
    samples, reference = (_features(x, network, batch_size, progress) for x in (samples, reference))
    for name, x in (("samples", samples), ("reference", reference)):
        if len(x) < MIN_IMAGES:
            raise ValueError(f"{name}: at least {MIN_IMAGES} images are needed to compare sets, got {len(x)}")
    fd = frechet_distance(samples, reference)
    value, error = kid(samples, reference, generator=torch.Generator().manual_seed(seed))
    numbers = (fd, value, error, *precision_recall(reference, samples), *density_coverage(reference, samples))
    sizes = {"n": len(samples), "n_reference": len(reference), "network": network.name}
    return dict(zip(NUMBERS, numbers, strict=True)) | sizes


def real_floor(
    pool, reference, n: int, network: Network, repeats: int = 3, *, batch_size: int = 16, seed: int = 0
) -> dict[str, float | int | str]:
    """Score `repeats` random subsets of n real images against reference: what a perfect generator could expect.

    Returns the mean of each number of `score` and, as fd_std and so on, its standard deviation over the subsets;
    also n, n_reference, network and repeats. pool: an `ImageSet`, images (N, 3, H, W) or features (N, network.dim) that
    do not occur in reference. The subsets do not overlap where N >= repeats * n; where they do, or where N = n, the
    deviation comes out too small. Raises ValueError for n > N, fewer than 2 repeats, and as `score`.
    """
    if n > len(pool) or repeats < 2:
        raise ValueError(f"takes 2 subsets or more of n from {len(pool)} images, got {repeats} subsets of n = {n}")
    reference = _features(reference, network, batch_size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pool), generator=generator)
    runs = []
    for k in range(repeats):
        fits = len(pool) >= repeats * n
        rows = order[k * n : (k + 1) * n] if fits else torch.randperm(len(pool), generator=generator)[:n]
        subset = pool[rows][0] if hasattr(pool, "pixels") else pool[rows]
        runs.append(score(subset, reference, network, batch_size=batch_size, seed=seed + k))
    table = torch.tensor([[run[name] for name in NUMBERS] for run in runs], dtype=torch.float64)
    out = dict(zip(NUMBERS, table.mean(0).tolist(), strict=True))
    out |= {f"{name}_std": std for name, std in zip(NUMBERS, table.std(0).tolist(), strict=True)}
    return out | {name: runs[0][name] for name in ("n", "n_reference", "network")} | {"repeats": repeats}


def _features(x, network: Network, batch_size: int, progress: bool = False) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim != 2:
        return extract(x, network, batch_size, progress)
    if x.shape[1] != network.dim:
        raise ValueError(f"{network.name} has {network.dim} features an image, got {x.shape[1]}: use one network")
    return x
