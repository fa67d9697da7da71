"""Exercise 5 of notebook 04: the logit of a discriminator that is told the class."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance


def _sum_places(h: Tensor) -> Tensor:
    return h.sum(dim=(2, 3))


def _row(table: Tensor, y: Tensor) -> Tensor:
    return table[y]


def _per_image(product: Tensor) -> Tensor:
    return product.sum(1)


def _add(logit: Tensor, inner: Tensor) -> Tensor:
    return logit + inner


def _projected(pool=_sum_places, row=_row, reduce=_per_image, join=_add):
    """Return f(h, logit, table, y) from the pooled features, the rows of the table and what becomes of the product."""
    return lambda h, logit, table, y: join(logit, reduce(row(table, y) * pool(h)))


def _matched(columns, join=_add):
    """Return f(h, logit, table, y) from a matrix product of the pooled features, (B, C), with some rows."""
    return lambda h, logit, table, y: join(logit, _sum_places(h) @ columns(table, y).T)


def _rows_first(columns, join=_add):
    return lambda h, logit, table, y: join(logit, columns(table, y) @ _sum_places(h).T)


def _under(logit: Tensor, inner: Tensor) -> Tensor:
    return logit[:, None] + inner


def _all_rows(table: Tensor, y: Tensor) -> Tensor:
    return table


def _projection_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, classes in (
        ("features of ten classes", (4, 3, 5, 7), 10),
        ("a single image", (1, 8, 4, 4), 10),
        ("as many images as channels", (5, 5, 3, 2), 7),
        ("as many images as classes", (6, 4, 4, 4), 6),
        ("a single place", (3, 6, 1, 1), 10),
        ("a single channel", (8, 1, 4, 4), 3),
        ("a single class", (2, 4, 2, 3), 1),
        ("every size is 4", (4, 4, 4, 4), 4),
        ("a hundred classes", (7, 16, 4, 4), 100),
    ):
        h, table = (torch.randn(s, generator=generator) for s in (shape, (classes, shape[1])))
        logit, y = torch.randn(shape[0], generator=generator), torch.randint(0, classes, shape[:1], generator=generator)
        made.append(Case(label, {"h": h, "logit": logit, "table": table.requires_grad_(), "y": y}))
    return made


PROJECTION_LOGIT = Exercise(
    "projection_logit",
    _projected(),
    _projection_cases,
    (
        Mistake(
            "logit forgotten",
            "You returned the projection alone. It says whether the picture fits its class; whether it looks real at "
            "all is what logit says.",
            "where your function uses logit",
            (_projected(join=lambda logit, inner: inner),),
        ),
        Mistake(
            "sign",
            "A sign is wrong: features that fit the class's vector have to raise the logit.",
            "a picture whose features point the same way as its class's vector",
            (_projected(join=lambda logit, inner: logit - inner),),
        ),
        Mistake(
            "mean over places",
            "You averaged over the places. Here the features are summed over them, as in the authors' networks.",
            "what you do with the last two axes of h",
            (_projected(lambda h: h.mean(dim=(2, 3))),),
        ),
        Mistake(
            "one place only",
            "You took one place of the picture, or the largest number of each channel; the sum over places is asked "
            "for.",
            "what you do with the last two axes of h",
            (_projected(lambda h: h[:, :, 0, 0]), _projected(lambda h: h.amax(dim=(2, 3)))),
        ),
        Mistake(
            "not summed over channels",
            "Your product still has one number for each channel, so that shapes do not fit: an inner product is a "
            "single number.",
            "the shape of the product of table[y] and the features",
            (
                _projected(reduce=lambda product: product, join=_under),
                _projected(reduce=lambda product: product),
            ),
        ),
        Mistake(
            "mean over channels",
            "You averaged over the channels; an inner product adds up.",
            "the definition of the inner product of two vectors",
            (_projected(reduce=lambda product: product.mean(1)),),
        ),
        Mistake(
            "sums multiplied",
            "You multiplied two sums over channels. An inner product multiplies channel by channel first.",
            "the order of product and sum",
            (lambda h, logit, table, y: logit + h.sum(dim=(1, 2, 3)) * table[y].sum(1),),
        ),
        Mistake(
            "all classes",
            "You compared each picture with all classes; only the vector of its own class counts, the one that y "
            "names.",
            "where your function uses y",
            (
                _matched(_all_rows, _under),
                _matched(_all_rows),
                _matched(_all_rows, lambda logit, inner: logit + inner.sum(1)),
                _matched(_all_rows, lambda logit, inner: logit + inner.amax(1)),
            ),
        ),
        Mistake(
            "every picture with every label",
            "You matched every picture with every label of the batch, a (B, B) matrix: picture i belongs to label i "
            "alone.",
            "the shape of your inner products: what a matrix product pairs",
            (
                _matched(_row),
                _matched(_row, _under),
                _matched(_row, lambda logit, inner: logit + inner.sum(1)),
                _rows_first(_row),
                _rows_first(_row, _under),
            ),
        ),
        Mistake(
            "column plus row",
            "You added (B, 1) and (B,), which broadcasting blows up to (B, B): each logit met every projection.",
            "the shapes of the two terms of your sum",
            (
                _projected(reduce=lambda product: product.sum(1, keepdim=True)),
                _projected(join=_under),
            ),
        ),
        Mistake(
            "an axis too many",
            "Your numbers are right, but the shape is wrong: (B,) is asked for, not (B, 1).",
            "keepdim, None and unsqueeze in your code",
            (_projected(join=lambda logit, inner: (logit + inner)[:, None]),),
        ),
        Mistake(
            "wrong row of the table",
            "You took the vector of another class: row k of table belongs to class k.",
            "the index with which you look into table",
            (
                _projected(row=lambda table, y: table[y - 1]),
                _projected(row=lambda table, y: table[y + 1]),
                _projected(row=lambda table, y: table[(y + 1) % len(table)]),
                _projected(row=lambda table, y: table[0]),
                _projected(row=lambda table, y: table[: len(y)]),
            ),
        ),
        Mistake(
            "one class for the whole batch",
            "You used the class of one picture for the whole batch; each has a label of its own.",
            "which entries of y your function uses",
            (_projected(row=lambda table, y: table[y[0]]), _projected(row=lambda table, y: table[y[-1]])),
        ),
        Mistake(
            "summed over the batch",
            "You summed over the batch: each logit would then depend on the other pictures.",
            "the axes over which you sum; the first one must survive",
            (
                _projected(reduce=torch.sum),
                _projected(reduce=lambda product: product.sum(0)),
                _projected(lambda h: h.sum(dim=(0, 2, 3))),
                _projected(torch.sum),
            ),
        ),
        Mistake(
            "places not summed",
            "The places are still in your features when they meet the table, whose rows have one number per channel.",
            "the shape of the features just before the product",
            (
                _projected(lambda h: h.flatten(1)),
                _projected(lambda h: h, reduce=lambda product: product.sum(dim=(1, 2, 3))),
                lambda h, logit, table, y: logit + (h.flatten(1) @ table.T)[torch.arange(len(y)), y],
                lambda h, logit, table, y: logit + (h @ table[y].T).sum(dim=(1, 2, 3)),
            ),
        ),
    ),
    hint="a table of zeros has to give logit back; then try two pictures of different classes, one place, one channel",
    tolerance=Tolerance(absolute=1e-4),  # each logit is compared by itself, and it is a sum in which terms cancel
)

EXERCISES = (PROJECTION_LOGIT,)
