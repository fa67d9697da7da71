"""Exercises 1 and 2 of notebook 03: pictures as numbers, and the averaged weights."""

import torch
from torch import Tensor

from course_utils.checks.engine import Case, Exercise, Mistake, Tolerance

# 1 from_pixels -------------------------------------------------------------------------------------------------------


def _to_front(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).contiguous()


def _reshaped(pixels: Tensor) -> Tensor:
    b, h, w, c = pixels.shape
    return pixels.reshape(b, c, h, w)


def _scaled(scale, arrange=_to_front):
    """Return a from_pixels that first brings the levels into a range, then the axes into an order."""
    return lambda pixels: arrange(scale(pixels))


def _range(levels: Tensor) -> Tensor:
    return levels.float() / 127.5 - 1


def _own_range(pixels: Tensor) -> Tensor:
    levels = pixels.float().flatten(1)
    low, high = levels.amin(1), levels.amax(1)
    return 2 * (pixels.float() - low.view(-1, 1, 1, 1)) / (high - low).view(-1, 1, 1, 1) - 1


def _pixels_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape in (
        ("wide pictures", (3, 4, 6, 3)),
        ("a single square picture", (1, 8, 8, 3)),
        ("pictures as high and wide as they have channels", (2, 3, 3, 3)),
        ("tall pictures", (4, 5, 2, 3)),
        ("a single pixel", (1, 1, 1, 3)),
        ("many pictures", (16, 4, 4, 3)),
    ):
        levels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        made.append(Case(label, {"pixels": levels}))
    made.append(Case("dark pictures", {"pixels": torch.randint(1, 90, (2, 4, 5, 3), generator=generator).byte()}))
    ends = torch.tensor([0, 255, 255, 0, 255, 0], dtype=torch.uint8).view(1, 1, 2, 3)
    return [*made, Case("two pixels, with the levels 0 and 255 only", {"pixels": ends})]


FROM_PIXELS = Exercise(
    "from_pixels",
    _scaled(_range),
    _pixels_cases,
    (
        Mistake(
            "reshape for permute",
            "You reshaped where the axes must change places: the numbers stay in their order, and reds, greens and "
            "blues of neighbouring pixels end up side by side. The picture is scrambled.",
            "where the red value of the second pixel of a row ends up",
            (_scaled(_range, _reshaped),),
        ),
        Mistake(
            "height and width exchanged",
            "Height and width have changed places: your pictures lie on their side.",
            "the shape that you return for pictures of 4 rows and 6 columns",
            (_scaled(_range, lambda p: p.permute(0, 3, 2, 1)),),
        ),
        Mistake(
            "channels last",
            "The channels are still the last axis; networks here take (B, C, H, W).",
            "the order of the axes before and after",
            (_scaled(_range, lambda p: p),),
        ),
        Mistake(
            "from 0 to 1",
            "Your levels run from 0 to 1. The noise is centred at 0, and the pictures have to be, too: black is -1.",
            "what the levels 0 and 255 become",
            (_scaled(lambda p: p.float() / 255),),
        ),
        Mistake(
            "from 0 to 2",
            "Your levels run from 0 to 2: the range is as wide as it should be, but black has to be -1.",
            "what the level 0 becomes",
            (_scaled(lambda p: p.float() / 127.5),),
        ),
        Mistake(
            "half the range",
            "Your levels run from -1/2 to 1/2: centred, but half as wide as asked for.",
            "what the levels 0 and 255 become",
            (_scaled(lambda p: p.float() / 255 - 0.5),),
        ),
        Mistake(
            "not scaled",
            "Your levels still run to 255 or so: beside them noise of deviation 1 is nothing.",
            "what the level 255 becomes",
            (
                _scaled(lambda p: p.float()),
                *(_scaled(lambda p, level=level: p.float() - level) for level in (1, 127, 127.5, 128)),
                _scaled(lambda p: 2 * p.float() - 255),
            ),
        ),
        Mistake(
            "bytes overflow",
            "You calculated with bytes: a uint8 goes round at 256, so that 2 * 200 is 144. Turn it into float first.",
            "the dtype of each intermediate result",
            (
                _scaled(lambda p: (2 * p) / 255 - 1),
                _scaled(lambda p: (p - 127) / 128),
                _scaled(lambda p: (p - 128) / 128),
                _scaled(lambda p: (p - 127) / 127.5),
                _scaled(lambda p: p - 127),
                _scaled(lambda p: p - 128),
                _scaled(lambda p: 2 * p - 255),
            ),
        ),
        Mistake(
            "divided by 128",
            "You divided by 128, or by 127: then black or white misses its end of the range.",
            "what the levels 0 and 255 become",
            (_scaled(lambda p: p.float() / 128 - 1), _scaled(lambda p: p.float() / 127 - 1)),
        ),
        Mistake(
            "stretched",
            "You stretched the levels that happen to occur to the whole range. A dark picture must stay dark.",
            "which numbers in your formula depend on the batch",
            (_scaled(lambda p: 2 * (p.float() - p.min()) / (p.max() - p.min()) - 1), _scaled(_own_range)),
        ),
    ),
    hint="work out by hand what the levels 0, 127.5 and 255 become, then compare the shape with (B, C, H, W)",
)


# 2 ema_update --------------------------------------------------------------------------------------------------------


def _ramp(decay: float, step: int) -> float:
    return min(decay, (1 + step) / (10 + step))


def _kept(share=_ramp):
    """Return f(average, weights, decay, step) that keeps the given share of the average."""

    def answer(average: Tensor, weights: Tensor, decay: float, step: int) -> Tensor:
        keep = share(decay, step)
        return keep * average + (1 - keep) * weights

    return answer


def _ema_cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, shape, decay, step in (
        ("a vector of weights, early in the run", (6,), 0.999, 20),
        ("the first update", (4,), 0.999, 0),
        ("the second update", (4,), 0.99, 1),
        ("late in the run", (5,), 0.999, 100_000),
        ("the matrix of a layer", (3, 4), 0.9, 50),
        ("the kernels of a convolution", (4, 3, 3, 3), 0.995, 700),
        ("a single weight", (1,), 0.5, 3),
        ("no memory at all", (3,), 0.0, 30),
    ):
        average, weights = (torch.randn(shape, generator=generator) for _ in range(2))
        made.append(Case(label, {"average": average, "weights": weights, "decay": decay, "step": step}))
    return made


EMA_UPDATE = Exercise(
    "ema_update",
    _kept(),
    _ema_cases,
    (
        Mistake(
            "shares swapped",
            "The two shares are swapped: yours nearly forgets the average at every step and follows the weights.",
            "decay = 0.999. How much of the average should survive one update?",
            (_kept(lambda d, n: 1 - _ramp(d, n)), _kept(lambda d, n: 1 - d)),
        ),
        Mistake(
            "brackets of the ramp",
            "Your ramp is right at step 0 and far too large at step 1: a sum below a fraction bar needs its brackets.",
            "how Python reads (1 + step) / 10 + step",
            (_kept(lambda d, n: min(d, (1 + n) / 10 + n)),),
        ),
        Mistake(
            "no ramp",  # 1 + step / 10 + step is never below 1, so that nothing tells it from this
            "Your share is decay from the first step on: then the random first weights stay in the average for "
            "thousands of steps. Early on, the share is (1 + step) / (10 + step), where that is smaller. If your code "
            "has this ramp, check its brackets.",
            "what the share must be at step 0",
            (_kept(lambda d, n: d),),
        ),
        Mistake(
            "the larger share",
            "You took the larger of the two shares: the ramp would then win in the end, and the average would freeze.",
            "which of decay and (1 + step) / (10 + step) is smaller at step 0, and which at step 100,000",
            (_kept(lambda d, n: max(d, (1 + n) / (10 + n))),),
        ),
        Mistake(
            "ramp only",
            "Your share follows the ramp for ever: it goes to 1, and the average freezes. decay is its upper limit.",
            "the share at step 100,000",
            (_kept(lambda d, n: (1 + n) / (10 + n)),),
        ),
        Mistake(
            "ramp and decay multiplied",
            "You multiplied the two shares; the smaller of them alone counts.",
            "the definition of the share",
            (_kept(lambda d, n: d * (1 + n) / (10 + n)),),
        ),
        Mistake(
            "off by one in step",
            "Your step is off by one: step counts the updates made before this one, so the first has step = 0.",
            "the share at step 0: one tenth",
            (_kept(lambda d, n: _ramp(d, n + 1)), _kept(lambda d, n: _ramp(d, n - 1))),
        ),
        Mistake(
            "plain mean",
            "You took a mean that does not forget: old and new count alike, or every step that ever was does.",
            "the word exponential: by which factor does the share of today's weights shrink at each later step?",
            (lambda a, w, d, n: (a + w) / 2, lambda a, w, d, n: (n * a + w) / (n + 1)),
        ),
        Mistake(
            "weights not shrunk",
            "The new weights are added whole: the two shares have to add up to 1, else the average grows without end.",
            "what happens when average and weights are equal: nothing should change",
            (lambda a, w, d, n: _ramp(d, n) * a + w, lambda a, w, d, n: d * a + w),
        ),
        Mistake(
            "away from the weights",
            "Your average moves away from the weights: a sign is wrong.",
            "the sign of (weights - average), or of what you add to the average",
            (
                lambda a, w, d, n: a - (1 - _ramp(d, n)) * (w - a),
                lambda a, w, d, n: _ramp(d, n) * a - (1 - _ramp(d, n)) * w,
            ),
        ),
        Mistake(
            "nothing averaged",
            "You returned one of the two inputs as it came: nothing has been averaged.",
            "what your function returns, not what it computes on the way",
            (lambda a, w, d, n: w.clone(), lambda a, w, d, n: a.clone()),
        ),
    ),
    hint="at step 0 the share kept is 1/10 (if decay allows it); when average and weights agree, nothing moves",
    tolerance=Tolerance(absolute=1e-6),  # each weight is compared by itself, and a small one may be a difference
)

EXERCISES = (FROM_PIXELS, EMA_UPDATE)
