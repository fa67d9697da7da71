"""Exercise 5 of notebook 07: the Fréchet distance in units of what real pictures score at the same number."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Mistake
from course_utils.checks.scores_shared import Number, features, normal
from course_utils.metrics.distances import frechet_distance


def _fd(a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor(frechet_distance(a, b), dtype=torch.float64)


def _smaller(generated: Tensor, real: Tensor, reference: Tensor) -> int:
    return min(len(generated), len(real))


def _first(x: Tensor, n: int) -> Tensor:
    return x[:n]


def _whole(x: Tensor, n: int) -> Tensor:
    return x


def _ratio(above=lambda g, r, ref: _fd(g, ref), below=lambda g, r, ref: _fd(r, ref), join=torch.div, n=_smaller, cut=3):
    """Return a ratio_to_floor: of each set the rows that its entry of cut keeps, then join(above, below) of these.

    cut: a function of (features, n) for each of the three, or 3 for the right ones.
    """
    cuts = (_first, _first, _whole) if cut == 3 else cut

    def answer(*sets: Tensor) -> Tensor:
        rows = n(*sets)
        parts = [keep(x, rows) for keep, x in zip(cuts, sets, strict=True)]
        return join(above(*parts), below(*parts))

    return answer


def _last(x: Tensor, n: int) -> Tensor:
    return x[-n:]


def _second(x: Tensor, n: int) -> Tensor:
    return x[1:n]


def _drawn(x: Tensor, n: int) -> Tensor:
    return x[torch.randperm(len(x))[:n]]


def _columns(x: Tensor, n: int) -> Tensor:
    return x[:, :n]


def _strided(x: Tensor, n: int) -> Tensor:
    return x[:: len(x) // n][:n]


def _halves(x: Tensor) -> Tensor:
    return _fd(x[: len(x) // 2], x[len(x) // 2 :])


def _floats(above: Tensor, below: Tensor) -> Tensor:
    return torch.tensor(above.item() / below.item(), dtype=torch.float64)  # of floats 1 / 0 raises


def _means(a: Tensor, b: Tensor) -> Tensor:
    return (a.mean(0) - b.mean(0)).square().sum()


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, n, m, r, d in (
        ("more real pictures than generated ones", 12, 40, 60, 6),
        ("more generated pictures than real ones", 50, 15, 60, 6),
        ("as many generated pictures as real ones", 20, 20, 44, 4),
        ("fewer pictures than features", 6, 30, 40, 10),
        ("fewer real pictures than features", 25, 7, 50, 12),
        ("a reference smaller than both", 30, 50, 10, 5),
        ("a reference that lies between the two", 60, 9, 24, 8),
        ("as many pictures in all three", 16, 16, 16, 7),
        ("a reference smaller than both, more generated ones", 50, 30, 12, 6),
    ):
        real, reference = (x.clone() for x in features(generator, m + r, d).split([m, r]))
        generated = real.mean(0) + 0.7 * normal(generator, d) + 1.5 * normal(generator, n, d)
        made.append(Case(label, {"generated": generated, "real": real, "reference": reference}))
    real, reference, generated = (x.clone() for x in features(generator, 80, 5).split([12, 36, 32]))
    better = {"generated": generated, "real": 1.3 * real + 0.5, "reference": reference}
    made.append(Case("generated pictures that are closer than the real ones", better))
    far = {"generated": generated + 6, "real": real, "reference": reference}
    made.append(Case("generated pictures that are far off", far))
    same = {"generated": real, "real": torch.cat([real, reference[:9]]), "reference": generated}
    made.append(Case("the first real pictures themselves", same))
    return made


RATIO_TO_FLOOR = Number(
    "ratio_to_floor",
    _ratio(),
    _cases,
    (
        Mistake(
            "unequal numbers",
            "You compared unequal numbers of pictures. The distance falls as the number rises, so that the larger set "
            "has an advantage that has nothing to do with quality.",
            "how many rows go into each of the two distances, for 12 generated and 40 real pictures",
            (
                _ratio(cut=(_whole, _whole, _whole)),
                _ratio(cut=(_first, _whole, _whole)),
                _ratio(cut=(_whole, _first, _whole)),
            ),
        ),
        Mistake(
            "number of the wrong set",
            "The number of rows that you keep is not the smaller one of generated and real: one of the two still has "
            "more, or loses more than it must.",
            "your number for 12 and 40, and for 50 and 15",
            (
                _ratio(n=lambda g, r, ref: min(len(g), len(r)) // 2),
                _ratio(n=lambda g, r, ref: min(len(g), len(r)) - 1),
            ),
        ),
        Mistake(
            "reference counted",
            "The size of the reference has a say in how many rows you keep. It is the same in both distances and is "
            "not to be counted.",
            "your number of rows for 30 generated and 50 real pictures, and a reference of 10",
            (
                _ratio(n=lambda *sets: min(map(len, sets))),
                _ratio(n=lambda *sets: min(map(len, sets)), cut=(_first, _first, _first)),
            ),
        ),
        Mistake(
            "reference cut",
            "You cut the reference as well. It stays whole: the more pictures it has, the less it adds to the error.",
            "which of the three sets you cut",
            (_ratio(cut=(_first, _first, _first)), _ratio(cut=(_whole, _whole, _first))),
        ),
        Mistake(
            "upside down",
            "Your ratio is upside down: a worse generator has to get a larger number, and a perfect one gets about 1.",
            "which of the two distances you divide by",
            (
                _ratio(join=lambda above, below: below / above),
                _ratio(join=lambda above, below: below / above, cut=(_whole, _whole, _whole)),
            ),
        ),
        Mistake(
            "difference",
            "You subtracted the floor. Asked for is how many times the floor the distance is.",
            "the unit of what you return: does it have one?",
            (
                _ratio(join=torch.sub),
                _ratio(join=torch.sub, cut=(_whole, _whole, _whole)),
                _ratio(join=lambda above, below: (above - below) / below),
                _ratio(join=lambda above, below: (above - below).abs()),
            ),
        ),
        Mistake(
            "not divided",
            "You returned one of the two distances; the ratio takes both.",
            "where each of the three arguments is used",
            (
                _ratio(join=lambda above, below: above),
                _ratio(join=lambda above, below: below),
                _ratio(join=lambda above, below: above, cut=(_whole, _whole, _whole)),
                _ratio(join=lambda above, below: below, cut=(_whole, _whole, _whole)),
            ),
        ),
        Mistake(
            "floor against generated",
            "Your floor compares real pictures with generated ones. A floor is what real pictures score against real "
            "ones: no generator takes part in it.",
            "the two arguments of the distance that you divide by",
            (
                _ratio(below=lambda g, r, ref: _fd(r, g)),
                _ratio(below=lambda g, r, ref: _fd(r, g), cut=(_whole, _whole, _whole)),
                lambda g, r, ref: _fd(g[: _smaller(g, r, ref)], ref) / _fd(r, g),
                _ratio(below=lambda g, r, ref: _fd(r, g), join=_floats),
            ),
        ),
        Mistake(
            "floor of halves",
            "You split one set into halves for the floor. The real pictures are there for this: they take the place of "
            "the generated ones, against the same reference.",
            "the two arguments of the distance that you divide by",
            (
                _ratio(below=lambda g, r, ref: _halves(ref)),
                _ratio(below=lambda g, r, ref: _halves(r)),
                _ratio(below=lambda g, r, ref: _halves(ref), cut=(_whole, _whole, _whole)),
                _ratio(below=lambda g, r, ref: _halves(r), cut=(_whole, _whole, _whole)),
            ),
        ),
        Mistake(
            "generated against real",
            "You compared the generated pictures with the real ones instead of the reference. Both distances are to "
            "have the same second argument, or they do not compare.",
            "the two arguments of the distance that you divide",
            (
                _ratio(lambda g, r, ref: _fd(g, r)),
                _ratio(lambda g, r, ref: _fd(g, r), cut=(_whole, _whole, _whole)),
            ),
        ),
        Mistake(
            "generated against real, not divided",
            "You returned the distance of the generated pictures to the real ones. Asked for is a ratio of two "
            "distances, both of them to the reference.",
            "where the reference is used",
            (
                _ratio(lambda g, r, ref: _fd(g, r), join=lambda above, below: above),
                _ratio(lambda g, r, ref: _fd(g, r), join=lambda above, below: above, cut=(_whole, _whole, _whole)),
            ),
        ),
        Mistake(
            "rooted",
            "You took a square root. The distance is reported squared, and the ratio is that of two reported numbers.",
            "roots in your code",
            (
                _ratio(join=lambda above, below: (above / below).sqrt()),
                _ratio(join=lambda above, below: (above / below).sqrt(), cut=(_whole, _whole, _whole)),
                _ratio(join=lambda above, below: above.sqrt() / below),
            ),
        ),
        Mistake(
            "other rows",
            "You kept other rows than the first ones. Which ones hardly matters, but it must be told; here the first.",
            "the slice: [:n] against [-n:] and [1:n]; random numbers in your code",
            (
                _ratio(cut=(_last, _last, _whole)),
                _ratio(cut=(_last, _first, _whole)),
                _ratio(cut=(_first, _last, _whole)),
                _ratio(cut=(_second, _second, _whole)),
                _ratio(cut=(_second, _first, _whole)),
                _ratio(cut=(_first, _second, _whole)),
                _ratio(cut=(_drawn, _drawn, _whole)),
                _ratio(cut=(_strided, _strided, _whole)),
            ),
        ),
        Mistake(
            "columns cut",
            "You cut the columns, which are the features. Pictures are rows.",
            "the shape of what you hand to frechet_distance",
            (
                _ratio(cut=(_columns, _columns, _whole)),
                _ratio(cut=(_columns, _columns, _columns)),
            ),
        ),
        Mistake(
            "means only",
            "Your ratio knows the means of the features only. The Fréchet distance compares the covariances, too.",
            "which distance you call",
            (
                _ratio(lambda g, r, ref: _means(g, ref), lambda g, r, ref: _means(r, ref)),
                _ratio(lambda g, r, ref: _means(g, ref), lambda g, r, ref: _means(r, ref), cut=(_whole,) * 3),
            ),
        ),
        Mistake(
            "in per cent",
            "You multiplied by 100. A ratio of 1 is the floor itself.",
            "what you return when generated and real are the same pictures",
            (_ratio(join=lambda above, below: 100 * above / below),),
        ),
        Mistake(
            "bounded",
            "You bounded the ratio. It is below 1 where generated pictures are closer, and has no largest value.",
            "min, max and clamp in your code",
            (
                _ratio(join=lambda above, below: (above / below).clamp(max=10)),
                _ratio(join=lambda above, below: (above / below).clamp(min=1)),
            ),
        ),
        Mistake(
            "roles exchanged",
            "The three arguments have changed roles: they come in the order generated, real, reference.",
            "the order of the arguments in your first line",
            (
                lambda g, r, ref: _ratio()(g, ref, r),
                lambda g, r, ref: _ratio()(ref, r, g),
            ),
        ),
    ),
    hint="when generated and real are the same pictures, 1 comes out; how many rows does each distance use?",
)

EXERCISES = (RATIO_TO_FLOOR,)
