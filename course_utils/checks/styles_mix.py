"""Exercise 1 of notebook 10: two w for one picture, handed over at a convolution."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake


def _of_a(k: int, n: int) -> list[bool]:
    return [True] * k + [False] * (n - k)


def _convolutions(each: list[Tensor]) -> Tensor:
    return torch.stack(each, 1)


def _mixed(of_a=_of_a, join=_convolutions):
    """Return a mix_styles from the convolutions that are told a, a list of flags, and what becomes of the list of w."""
    return lambda a, b, k, n: join([a if flag else b for flag in of_a(k, n)])


def _masked(of_a):
    """Return a mix_styles from a mask over the convolutions, counted from 0."""
    return lambda a, b, k, n: torch.where(of_a(torch.arange(n), k)[:, None], a[:, None], b[:, None])


def _repeated(whole):
    """Return a mix_styles that hands every convolution the same w, made of a, b, k and n."""
    return lambda a, b, k, n: whole(a, b, k, n)[:, None].repeat(1, n, 1)


def _written(start, *parts):
    """Return a mix_styles that begins with start(a, b, n) and writes (index(k, n), value(a, b)) into it."""

    def answer(a: Tensor, b: Tensor, k: int, n: int) -> Tensor:
        w = start(a, b, n)
        for index, value in parts:
            w[:, index(k, n)] = value(a, b)
        return w

    return answer


def _all_a(a: Tensor, b: Tensor, n: int) -> Tensor:
    return a[:, None].repeat(1, n, 1)


def _all_b(a: Tensor, b: Tensor, n: int) -> Tensor:
    return b[:, None].repeat(1, n, 1)


def _nothing(a: Tensor, b: Tensor, n: int) -> Tensor:
    return torch.zeros(len(a), n, a.shape[1])


def _before(k: int, n: int) -> slice:
    return slice(k)


def _rest(k: int, n: int) -> slice:
    return slice(k, None)


def _tell_a(a: Tensor, b: Tensor) -> Tensor:
    return a[:, None]


def _tell_b(a: Tensor, b: Tensor) -> Tensor:
    return b[:, None]


def _halves(a: Tensor, b: Tensor, k: int, n: int) -> Tensor:
    return torch.cat([torch.stack([a] * k, 1), torch.stack([b] * (n - k), 1)], 1)


def _wide(a: Tensor, b: Tensor, k: int, n: int) -> Tensor:
    return torch.cat([a.repeat_interleave(k, 1), b.repeat_interleave(n - k, 1)], 1).view(len(a), n, -1)


def _cut(join):
    """Return what joins the list of w to one tensor, given the number of pictures and convolutions, too."""
    return lambda each: join(each, len(each[0]), len(each))


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, shape, k, n) in enumerate(
        (
            ("nine convolutions", (4, 6), 3, 9),
            ("a single picture", (1, 5), 2, 7),
            ("as many pictures as convolutions and numbers in w", (5, 5), 2, 5),
            ("k = 0: all are told b", (3, 4), 0, 6),
            ("k = n: all are told a", (3, 4), 6, 6),
            ("only the first is told a", (2, 3), 1, 5),
            ("only the last is told b", (2, 3), 4, 5),
            ("half of them each", (4, 3), 2, 4),
            ("as many pictures as are told a, and as are told b", (3, 4), 3, 6),
            ("a single convolution, told a", (2, 4), 1, 1),
            ("a single convolution, told b", (3, 8), 0, 1),
            ("a single number in w", (6, 1), 2, 9),
            ("more convolutions than numbers in w", (2, 3), 7, 13),
        )
    ):
        a, b = (torch.randn(shape, generator=generator) for _ in range(2))
        told = [x for x, some in ((a, k), (b, n - k)) if some]  # no gradient can be asked for in the other
        told[(i + 1) % len(told)].requires_grad_()  # one at a time, so that cutting either is seen
        made.append(Case(label, {"a": a, "b": b, "k": k, "n": n}))
    return made


MIX_STYLES = Exercise(
    "mix_styles",
    _mixed(),
    _cases,
    (
        Mistake(
            "a and b exchanged",
            "a and b have changed places: it is the first k convolutions that are told a.",
            "what you return for k = n, and for k = 0",
            (_mixed(lambda k, n: [False] * k + [True] * (n - k)),),
        ),
        Mistake(
            "k counts those of b",
            "With you, k convolutions are told b and the others a. k counts those that are told a.",
            "how many rows of a you return for k = 1 and n = 5",
            (_mixed(lambda k, n: _of_a(n - k, n)),),
        ),
        Mistake(
            "the last k",
            "You told a to the last k convolutions. The first ones are the coarse ones, from 4 x 4 on.",
            "which rows of what you return are a, for k = 1",
            (_mixed(lambda k, n: [False] * (n - k) + [True] * k),),
        ),
        Mistake(
            "off by one",
            "Your change is off by one: k convolutions are told a, with numbers 0 to k - 1, and number k is told b.",
            "how many rows of a you return for k = 0 and for k = 1",
            (
                _masked(lambda index, k: index <= k),
                _masked(lambda index, k: index < k - 1),
                _masked(lambda index, k: (index > 0) & (index <= k)),
                _mixed(lambda k, n: [True] * (k + 1) + [False] * (n - k - 1)),
                _mixed(lambda k, n: [True] * (k - 1) + [False] * (n - k + 1)),
                _mixed(lambda k, n: [True] * k + [False] * (n - k - 1)),
                _mixed(lambda k, n: [True] * k + [False] * (n - k + 1)),
                _mixed(lambda k, n: [True] * (k + 1) + [False] * (n - k)),
                _written(_all_b, (lambda k, n: slice(k - 1), _tell_a)),
            ),
        ),
        Mistake(
            "one convolution only",
            "You changed one convolution only, number k or k - 1. k says from where on all of them are told b.",
            "an index where a slice is meant: [:, k] against [:, :k] and [:, k:]",
            (
                _masked(lambda index, k: index == k),
                _masked(lambda index, k: index != k),
                _masked(lambda index, k: index == k - 1),
                _written(_all_b, (lambda k, n: k, lambda a, b: a)),
                _written(_all_a, (lambda k, n: k, lambda a, b: b)),
                _written(_all_b, (lambda k, n: k - 1, lambda a, b: a)),
            ),
        ),
        Mistake(
            "other number of convolutions",
            "You return another number of convolutions than n: the second axis must have n entries, whatever k is.",
            "how many convolutions are told a, how many b, and their sum",
            (
                _mixed(lambda k, n: [True] * k + [False] * n),
                _mixed(lambda k, n: [True] * n + [False] * (n - k)),
                _mixed(lambda k, n: [True] * n + [False] * n),
                _mixed(lambda k, n: [True] * k + [False] * k),
                _mixed(lambda k, n: [True] * k + [False] * (9 - k)),
                _mixed(lambda k, n: [True, False]),
            ),
        ),
        Mistake(
            "mixed within w",
            "You cut w itself: its first numbers from a, its others from b, and that for every convolution. Each "
            "convolution is told a whole w, all of a or all of b.",
            "the axis that k counts along: the numbers in w, or the convolutions?",
            (
                _repeated(lambda a, b, k, n: torch.cat([a[:, :k], b[:, k:]], 1)),
                _repeated(lambda a, b, k, n: torch.where(torch.arange(a.shape[1]) < k * a.shape[1] / n, a, b)),
            ),
        ),
        Mistake(
            "mixed across pictures",
            "You gave the first k pictures a and the others b. Every picture has its own a and its own b, and the "
            "change happens within it.",
            "the axis that k counts along: the pictures, or the convolutions?",
            (_repeated(lambda a, b, k, n: torch.cat([a[:k], b[k:]])),),
        ),
        Mistake(
            "blended",
            "You blended a and b. Nothing is averaged here: each convolution is told one of the two as it is.",
            "sums of a and b in your code, or lerp",
            (
                _repeated(lambda a, b, k, n: k / n * a + (1 - k / n) * b),
                _repeated(lambda a, b, k, n: (1 - k / n) * a + k / n * b),
                _repeated(lambda a, b, k, n: (a + b) / 2),
                _repeated(lambda a, b, k, n: a + b),
            ),
        ),
        Mistake(
            "axes in another order",
            "The axes stand in another order: (B, n, w_dim) is asked for, first the pictures, then the convolutions.",
            "the shape that you return for 4 pictures, 9 convolutions and w of 6 numbers; dim of torch.stack",
            (_mixed(join=torch.stack), _mixed(join=lambda each: torch.stack(each, 2))),
        ),
        Mistake(
            "in one row",
            "You put the w behind each other along an axis that is there already; the convolutions need one of their "
            "own.",
            "what torch.cat does, and what torch.stack does",
            (_mixed(join=lambda each: torch.cat(each, 1)), _mixed(join=torch.cat)),
        ),
        Mistake(
            "scrambled",
            "The shape is right, but pictures, convolutions and the numbers of w are mixed up: view and reshape cut "
            "the numbers anew in the order in which they lie, they exchange no axes.",
            "one convolution of one picture by itself: is it a row of a, or of b?",
            (
                _mixed(join=_cut(lambda each, pictures, n: torch.cat(each).view(pictures, n, -1))),
                _mixed(join=_cut(lambda each, pictures, n: torch.stack(each, 2).reshape(pictures, n, -1))),
                _wide,
            ),
        ),
        Mistake(
            "rest left at 0",
            "Some convolutions are told nothing but zeros: only one of a and b has been written.",
            "the rows of what you return for k = 0, and for k = n",
            (_written(_nothing, (_before, _tell_a)), _written(_nothing, (_rest, _tell_b))),
        ),
        Mistake(
            "not for k = 0 or k = n",
            "Right in between, but not where one of the two has no convolution at all: an empty list cannot be "
            "stacked, and a slice that ends at -0 ends at 0.",
            "k = 0 and k = n, step by step",
            (
                _halves,
                _written(_all_b, (lambda k, n: slice(k - n), _tell_a)),
            ),
        ),
        Mistake(
            "wrong axis",
            "a and b, (B, w_dim), or your mask meet the wrong axes of (B, n, w_dim): from the right, w_dim meets w_dim "
            "and B meets n.",
            "the shapes on both sides; where does an axis of length 1 have to stand?",
            (
                _written(_nothing, (_before, lambda a, b: a), (_rest, lambda a, b: b)),
                _written(_all_a, (_rest, lambda a, b: b)),
                _written(_all_b, (_before, lambda a, b: a)),
                lambda a, b, k, n: torch.where(torch.arange(n) < k, a[:, None], b[:, None]),
                lambda a, b, k, n: torch.where(torch.arange(n)[:, None] < k, a, b),
                lambda a, b, k, n: torch.where(torch.arange(n) < k, a, b),
            ),
        ),
        Mistake(
            "written into an expanded tensor",
            "You wrote into what expand returned: it copies nothing, all its convolutions are the same numbers in "
            "memory.",
            "the difference between expand and repeat",
            (
                _written(lambda a, b, n: a[:, None].expand(-1, n, -1), (_rest, _tell_b)),
                _written(lambda a, b, n: b[:, None].expand(-1, n, -1), (_before, _tell_a)),
            ),
        ),
        Mistake(
            "one picture's w for all",
            "Every picture got the w of the first; each has an a and a b of its own.",
            "which rows of a and b your function uses",
            (_mixed(join=lambda each: torch.stack([w[:1].expand_as(w) for w in each], 1)),),
        ),
        Mistake(
            "k unused",
            "Where you change over does not depend on k. In training it is drawn at random; here k is given.",
            "where your function uses k, and random numbers in your code",
            (
                _mixed(lambda k, n: _of_a(n // 2, n)),
                _mixed(lambda k, n: [True] * n),
                _mixed(lambda k, n: [False] * n),
                _mixed(lambda k, n: _of_a(int(torch.randint(n, ())), n)),
                _mixed(lambda k, n: _of_a(int(torch.randint(1, n, ())), n)),
            ),
        ),
    ),
    hint="for k = 0 every convolution is told b, for k = n a; then look at one picture, one convolution at a time",
)

EXERCISES = (MIX_STYLES,)
