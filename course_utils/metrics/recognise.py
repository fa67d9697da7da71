"""What is to be seen on pictures, according to a classifier that never met the generator: linear, on features."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from course_utils.metrics.features import _effnet_file, _weights, check

IMAGENET_CATS = slice(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian: the domestic cats of its 1,000 classes


class Recogniser(NamedTuple):
    """Tells options apart by features, which it calls option k where `features @ weight[k] + bias[k]` is largest.

    options: K names; weight: (K, D); bias: (K,); accuracy: share of new real pictures, none of them used for fitting,
    that it calls right. So at best that share of generated pictures can be expected to count as right.
    """

    options: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    accuracy: float

    def __call__(self, features: Tensor) -> Tensor:
        """Return the index of the option that each picture shows, (N,) int64; features: (N, D)."""
        return self.logits(features).argmax(1)

    def probability(self, features: Tensor) -> Tensor:
        """Return the probability of each option, (N, K) float64, rows add up to 1; features: (N, D)."""
        return self.logits(features).softmax(1)

    def logits(self, features: Tensor) -> Tensor:
        """Return (N, K) float64; raises ValueError for features of another width, or not finite."""
        features = check(features)
        if features.shape[1] != self.weight.shape[1]:
            raise ValueError(f"this recogniser takes {self.weight.shape[1]} features, got {features.shape[1]}")
        return features @ self.weight.double().T + self.bias.double()


def fit(features: Tensor, labels: Tensor, options, new_features: Tensor, new_labels: Tensor) -> Recogniser:
    """Fit a logistic regression (scikit-learn's, on standardised features) and score it on the new pictures.

    features: (N, D), new_features: (M, D); labels (N,) and new_labels (M,): indices into options. Raises ValueError
    where numbers do not match, an option has no example, or features are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    for x, y in ((features, labels), (new_features, new_labels)):
        if len(x) != len(y):
            raise ValueError(f"{len(x)} pictures come with {len(y)} labels")
    missing = [name for k, name in enumerate(options) if not bool((labels == k).any())]
    if len(options) < 2 or missing:
        raise ValueError(
            f"takes two options or more, each with an example; none shows {', '.join(missing) or 'a second'}"
        )
    x = check(features)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    # a strong penalty: there are hardly more pictures than features
    model = LogisticRegression(C=0.01, max_iter=1000).fit(((x - mean) / std).numpy(), labels.cpu().numpy())
    coef, intercept = model.coef_, model.intercept_
    if len(options) == 2:  # scikit-learn keeps one row then
        coef, intercept = np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    weight = torch.from_numpy(coef) / std
    bias = torch.from_numpy(intercept) - weight @ mean
    out = Recogniser(tuple(options), weight.float(), bias.float(), 0.0)
    return out._replace(accuracy=float((out(new_features) == new_labels.cpu()).double().mean()))


def classifier() -> tuple[Tensor, Tensor]:
    """Return weight (1000, 1280) and bias (1000,) by which EfficientNet-Lite0 itself tells ImageNet's classes apart.

    They take its features, which `features.extract` returns.
    """
    found: dict[str, Tensor] = {}
    _weights(_effnet_file("0"), found.update, "EfficientNet-Lite0")
    return found["_fc.weight"], found["_fc.bias"]


def called_cats(features: Tensor) -> Tensor:
    """Return whether EfficientNet-Lite0 would call each picture a cat, (N,) bool: whether the likeliest of ImageNet's
    1,000 classes is one of its domestic cats.

    features: (N, 1280) of that network. A judge that has never seen a generated picture, and a harsh one: compare with
    what it says of photographs. Raises ValueError for features of another width, or not finite.
    """
    told = Recogniser((), *classifier(), math.nan)(features)
    return (told >= IMAGENET_CATS.start) & (told < IMAGENET_CATS.stop)
