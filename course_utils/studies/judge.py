"""Who scores the pictures of a study: test pictures of each class, and recognisers that never met a generator."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from course_utils import metrics
from course_utils.data import drawn
from course_utils.data.images import ImageSet
from course_utils.data.named import named_set
from course_utils.metrics.recognise import Recogniser

CLASSES = ("cat", "frog")
FITTED = 1000  # training pictures of each class that a recogniser is fitted to
FACTORS = ("pose", "fur", "pattern", "ears", "background")  # of drawn cats, whose recognisers are fitted


class Judge:
    """Scores pictures of cats and frogs against the test pictures of one kind of data, "cifar10" or "drawn".

    Everything is computed when it is first needed, on `device`, and kept. Raises MissingDataError then.
    """

    def __init__(self, kind: str, device: str = "cpu"):
        self.kind, self.network = kind, metrics.features.network(device=device)
        self.reference = cache(self._reference)
        self.recogniser, self.attributes = cache(self._recogniser), cache(self._attributes)

    def features(self, pictures: Tensor | ImageSet) -> Tensor:
        """Return (N, D) features of pictures (N, 3, S, S) in [-1, 1]."""
        return metrics.features.extract(pictures, self.network)

    def scores(self, pictures: Tensor, wanted: str) -> dict[str, Any]:
        """Return `metrics.score` against the test pictures of the class `wanted`, and `called`: the share called so."""
        features = self.features(pictures)
        called = (self.recogniser()(features) == CLASSES.index(wanted)).double().mean()
        return metrics.score(features, self.reference(wanted), self.network) | {"called": float(called)}

    def floor(self, wanted: str, n: int) -> dict[str, Any]:
        """Return `metrics.real_floor` of a class at n pictures."""
        return metrics.real_floor(named_set(f"{self.kind}:{wanted}", n=3 * n), self.reference(wanted), n, self.network)

    def _reference(self, wanted: str) -> Tensor:
        return self.features(named_set(f"{self.kind}:{wanted}:test"))

    def _recogniser(self) -> Recogniser:
        train = [self.features(named_set(f"{self.kind}:{name}", n=FITTED)) for name in CLASSES]
        new = [self.reference(name) for name in CLASSES]
        (x, y), (x_new, y_new) = ((torch.cat(parts), _numbered(parts)) for parts in (train, new))
        return metrics.recognise.fit(x, y, CLASSES, x_new, y_new)

    def _attributes(self) -> dict[str, Recogniser]:
        if self.kind != "drawn":
            raise ValueError("only drawn pictures come with their factors: take the judge of 'drawn'")
        (x, factors), (x_new, new) = (
            (self.features(part.images), part.factors)
            for part in (drawn.draw(3 * FITTED, "cat", 32, seed=71), drawn.draw(FITTED, "cat", 32, seed=72))
        )
        return {
            name: metrics.recognise.fit(x, factors[name], drawn.FACTORS["cat"][name], x_new, new[name])
            for name in FACTORS
        }


def _numbered(parts: list[Tensor]) -> Tensor:
    return torch.cat([torch.full((len(part),), k) for k, part in enumerate(parts)])
