"""Exercise 1 of notebook 04: labels dropped in training."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake


def _below(u: Tensor, share: float) -> Tensor:
    return u < share


def _dropped(which=_below, to=lambda y, null: null):
    """Return a drop_labels from the labels that go, and the number that takes their place."""
    return lambda y, u, null, share: torch.where(which(u, share), to(y, null), y)


def _labels_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, n, null, share, u in (
        ("ten classes, many labels dropped", 12, 10, 0.3, None),
        ("a share of one in ten", 32, 10, 0.1, None),
        ("a single label, kept", 1, 10, 0.2, [0.7]),
        ("a single label, dropped", 1, 10, 0.9, [0.4]),
        ("share = 0, so that none is dropped", 5, 10, 0.0, [0.5, 0.0, 0.25, 0.875, 0.125]),
        ("nearly all dropped", 8, 2, 0.999, None),
        ("all dropped", 6, 5, 1.0, None),
        ("u at the edge", 6, 3, 0.25, [0.5, 0.25, 0.0, 0.75, 0.125, 0.875]),
        ("classes from 1 on, null = 0", 10, 0, 0.4, None),
        ("a single one kept", 4, 7, 0.9, [0.1, 0.95, 0.5, 0.2]),
        ("the first dropped, and no other", 4, 10, 0.3, [0.1, 0.9, 0.5, 0.8]),
        ("all but the first dropped", 4, 10, 0.6, [0.7, 0.1, 0.5, 0.2]),
        ("a thousand classes", 16, 1000, 0.5, None),
    ):
        y = torch.randint(0, null, (n,), generator=generator) if null else 1 + torch.arange(n) % 6
        us = torch.rand(n, generator=generator) if u is None else torch.tensor(u)
        made.append(Case(label, {"y": y, "u": us, "null": null, "share": share}))
    return made


DROP_LABELS = Exercise(
    "drop_labels",
    _dropped(),
    _labels_cases,
    (
        Mistake(
            "never dropped",
            "Your labels come back as they went in: the network would never learn to answer without a class.",
            "what your function returns, not what it computes on the way",
            (lambda y, u, null, share: y.clone(),),
        ),
        Mistake(
            "all dropped",
            "You dropped every label, whatever u and share are: nothing is left to learn the classes from.",
            "where your function uses u and share",
            (lambda y, u, null, share: torch.full_like(y, null),),
        ),
        Mistake(
            "kept and dropped exchanged",
            "Kept and dropped are exchanged: with a share of 0.1 yours keeps one label in ten.",
            "share = 0: how many labels should be dropped?",
            (
                _dropped(lambda u, share: u > share),
                _dropped(lambda u, share: u >= share),
                _dropped(lambda u, share: u < 1 - share),
            ),
        ),
        Mistake(
            "the largest u",
            "You dropped the labels with the largest u: as many on average, but those with the smallest are asked for.",
            "u = 0.05 and share = 0.1: kept or dropped?",
            (_dropped(lambda u, share: u > 1 - share), _dropped(lambda u, share: u >= 1 - share)),
        ),
        Mistake(
            "the edge",
            "You dropped a label whose u equals share. u can be 0: then even a share of 0 would drop one.",
            "u = 0 and share = 0",
            (_dropped(lambda u, share: u <= share),),
        ),
        Mistake(
            "one decision for the whole batch",
            "You decided once for the whole batch; every label has a u of its own.",
            "how many different decisions your function makes for a batch of four",
            (
                _dropped(lambda u, share: u[0] < share),
                _dropped(lambda u, share: u[-1] < share),
                _dropped(lambda u, share: u.mean() < share),
                _dropped(lambda u, share: (u < share).any()),
                _dropped(lambda u, share: (u < share).all()),
                lambda y, u, null, share: torch.full_like(y, null) if u < share else y.clone(),
            ),
        ),
        Mistake(
            "own chance",
            "You drew random numbers yourself; those to use are handed in as u.",
            "the arguments of drop_labels",
            (
                _dropped(lambda u, share: torch.rand_like(u) < share),
                _dropped(lambda u, share: torch.rand(1) < share),
            ),
        ),
        Mistake(
            "the first of the batch",
            "You dropped the first labels of the batch, an exact number of them; u says which ones go.",
            "where your function uses u",
            (
                _dropped(lambda u, share: torch.arange(len(u)) < int(share * len(u))),
                _dropped(lambda u, share: torch.arange(len(u)) < round(share * len(u))),
            ),
        ),
        Mistake(
            "class 0 in place of null",
            "You wrote 0, which is a class: the network would take these for pictures of that.",
            "the argument null",
            (_dropped(to=lambda y, null: 0),),
        ),
        Mistake(
            "-1 in place of null",
            "You wrote -1. The label that stands for no class is handed in as null; an embedding has no row -1.",
            "the argument null",
            (_dropped(to=lambda y, null: -1),),
        ),
        Mistake(
            "null off by one",
            "Your null is off by one: classes count from 0, so with ten of them 9 is the last and 10 is free for null.",
            "the number that you write in place of a label",
            (_dropped(to=lambda y, null: null - 1), _dropped(to=lambda y, null: null + 1)),
        ),
        Mistake(
            "null guessed",
            "You wrote down, or worked out, the number that stands for no class yourself; it is handed in as null.",
            "the argument null, and a batch in which the last class does not occur",
            (
                _dropped(to=lambda y, null: y.max() + 1),
                _dropped(to=lambda y, null: 10),
                _dropped(to=lambda y, null: 2),
            ),
        ),
        Mistake(
            "removed from the batch",
            "You removed labels from the batch, so that the shape is wrong: each picture still needs one, be it null.",
            "the length of what you return",
            (lambda y, u, null, share: y[u >= share], lambda y, u, null, share: y[u < share]),
        ),
        Mistake(
            "the mask returned",
            "You returned the mask, which says which labels go; the labels are asked for.",
            "what your function returns, not what it computes on the way",
            (lambda y, u, null, share: (u < share).long(),),
        ),
        Mistake(
            "another dtype",
            "Right numbers, wrong dtype: labels come in as int64 and leave as int64, because an embedding looks up "
            "rows by whole numbers.",
            "the dtype of each of the two tensors or numbers that you choose from",
            (lambda y, u, null, share: _dropped()(y, u, null, share).float(),),
        ),
    ),
    hint="write down u < share for the batch first; where that is false the label must come back unchanged",
)

EXERCISES = (DROP_LABELS,)
