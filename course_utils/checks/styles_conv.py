"""Exercise 3 of notebook 10: modulated and demodulated weights, with one convolution for the whole batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.checks.engine import Case, Mistake, Tolerance
from course_utils.checks.styles_shared import SharedConvolution
from course_utils.checks.styles_weights import EPS, conv, grouped, modulate, own, padded, squares, styled, total


def _plain(x: Tensor, s: Tensor) -> Tensor:
    return x


def _measured(norm):
    """Return a shared_conv that brings what the convolution returns to unit size by what it measures there."""
    return lambda x, weight, s: norm(padded(modulate(x, s), weight))


def _standardised(less: int):
    """Return a shared_conv that standardises each map, by the sum of squares over the number of places, less `less`."""

    def norm(h: Tensor) -> Tensor:
        away = h - h.mean((2, 3), keepdim=True)
        return away / (away.square().sum((2, 3), keepdim=True) / (h[0, 0].numel() - less) + EPS).sqrt()

    return _measured(norm)


def _by_size(*dims):
    return _measured(lambda h: h * (h.square().mean(dims, keepdim=True) + EPS).rsqrt())


def _after(change):
    return lambda x, weight, s: change(conv()(x, weight, s))


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for i, (label, (b, into, out, *side), strength) in enumerate(
        (
            ("maps of 3 channels to 5", (4, 3, 5, 6, 7), 1.0),
            ("a single picture", (1, 4, 3, 5, 5), 1.0),
            ("every size is 4", (4, 4, 4, 4, 4), 1.0),
            ("as many channels out as in", (3, 5, 5, 4, 6), 1.0),
            ("as many pictures as input channels", (5, 5, 2, 3, 4), 1.0),
            ("as many pictures as output channels", (6, 3, 6, 4, 4), 1.0),
            ("a single input channel", (3, 1, 4, 5, 5), 1.0),
            ("the style of one picture is 0 throughout", (3, 4, 6, 5, 4), 1.0),
            ("a single output channel", (2, 6, 1, 5, 4), 1.0),
            ("maps of a single place", (2, 4, 3, 1, 1), 1.0),
            ("maps as large as the kernel, 3 by 3", (3, 4, 5, 3, 3), 1.0),
            ("large styles", (2, 4, 3, 4, 5), 30.0),
            ("a style of 1 for all", (2, 3, 4, 6, 5), 0.0),
            ("every size is 3", (3, 3, 3, 3, 3), 1.0),
        )
    ):
        shapes = (b, into, *side), (out, into, 3, 3), (b, into)
        x, weight, s = (torch.randn(shape, generator=generator) for shape in shapes)
        s = strength * (1 + s) if strength else torch.ones_like(s)
        if "is 0" in label:
            s[1] = 0
        args = {"x": (1 + x) * (1 + torch.arange(b).view(-1, 1, 1, 1)), "weight": 0.4 * weight, "s": s}
        args[("weight", "s", "x")[i % 3]].requires_grad_()  # one at a time, so that cutting any is seen
        made.append(Case(label, args))
    return made


SHARED_CONV = SharedConvolution(
    "shared_conv",
    conv(),
    _cases,
    (
        Mistake(
            "not demodulated",
            "You modulated, but did not demodulate: a style twice as large makes the maps twice as large, and the "
            "factors of all layers multiply.",
            "what becomes of your answer when s is doubled: nothing may change",
            (conv(join=lambda h, size: h),),
        ),
        Mistake(
            "not modulated",
            "The style does not reach the maps that you convolve: it must say how strongly each input channel counts.",
            "where x meets s",
            (conv(_plain),),
        ),
        Mistake(
            "no style",
            "s does not occur in what you return: this is one convolution for every style.",
            "where your function uses s",
            (
                conv(_plain, join=lambda h, size: h),
                conv(_plain, lambda s, weight: squares(weight).sum(1).expand(len(s), -1)),
            ),
        ),
        Mistake(
            "style left out of the demodulation",
            "You demodulated by the weights as they are. The sum of squares is that of the modulated weights: a larger "
            "style must be divided by more.",
            "what becomes of your answer when s is doubled: nothing may change",
            (conv(total=lambda s, weight: squares(weight).sum(1).expand(len(s), -1)),),
        ),
        Mistake(
            "into and out exchanged",
            "You summed over the outputs, or the style met the output channels of the weights, (out, into, 3, 3). "
            "The sum is over the inputs, and every output channel is left with a number of its own.",
            "which axis of weight s belongs to, and over which axes you sum",
            (
                conv(total=lambda s, weight: s.square() @ squares(weight)),
                conv(total=lambda s, weight: s.square() * squares(weight).sum(0)),
                own((1, 3, 4)),
                own((2, 3, 4), lambda s, weight: s[:, :, None, None, None] * weight),
                conv(conv=lambda x, weight: padded(x, weight.transpose(0, 1))),
            ),
        ),
        Mistake(
            "style on the output channels",
            "You scaled the output channels by s. A style says how strongly each input channel counts, so it acts "
            "before the convolution.",
            "how many numbers s has for a picture, and how many channels the tensor has that it meets",
            (
                lambda x, weight, s: conv(_plain)(x, weight, s) * s[:, :, None, None],
                lambda x, weight, s: conv(_plain, join=lambda h, size: h)(x, weight, s) * s[:, :, None, None],
                lambda x, weight, s: own((2, 3, 4))(x, weight, torch.ones_like(s)) * s[:, :, None, None],
            ),
        ),
        Mistake(
            "kernel places not summed",
            "The nine places of the kernel are not in one sum: each got a number of its own, or only one of them "
            "counts. There is one number for each output channel.",
            "the axes over which you sum the squares, and the shape that is left",
            (own(2), conv(total=lambda s, weight: s.square() @ weight[:, :, 1, 1].square().T)),
        ),
        Mistake(
            "input channels not summed",
            "You normalised the kernel of every input channel by itself. That takes the style out again: the sum has "
            "to be over the input channels, too.",
            "what your answer makes of s = (1, 1) and of s = (5, 1)",
            (own((3, 4)),),
        ),
        Mistake(
            "one number for all outputs",
            "You divided all outputs of a picture by the same number, from all of the weights. Each output channel has "
            "a sum of its own.",
            "the shape of what you divide by",
            (own((1, 2, 3, 4)), conv(total=lambda s, weight: total(s, weight).mean(1, keepdim=True))),
        ),
        Mistake(
            "mean for the sum",
            "You averaged the squares where a sum is asked for: more inputs make more variance.",
            "what you do along the input channels, and along the places of the kernel",
            (
                conv(total=lambda s, weight: s.square() @ weight.square().mean((2, 3)).T),
                conv(total=lambda s, weight: total(s, weight) / s.shape[1]),
                conv(total=lambda s, weight: total(s, weight) / weight[0].numel()),
            ),
        ),
        Mistake(
            "root missing",
            "You divided by the sum of squares itself, a variance; what brings the size to 1 is its root.",
            "what becomes of your answer when s is doubled: nothing may change",
            (conv(root=lambda summed: summed + EPS),),
        ),
        Mistake(
            "not squared",
            "Your sum is not one of squares of style times weight: s, the weights or both enter without their square, "
            "or were summed before it.",
            "the order of product, square and sum; what a negative s does in your sum",
            (
                conv(total=lambda s, weight: s @ squares(weight).T),
                conv(total=lambda s, weight: s.abs() @ squares(weight).T),
                conv(total=lambda s, weight: s.square() @ weight.sum((2, 3)).T),
                conv(total=lambda s, weight: s @ weight.sum((2, 3)).T),
                conv(total=lambda s, weight: s.square() @ weight.sum((2, 3)).square().T),
                conv(total=lambda s, weight: (s @ weight.sum((2, 3)).T).square()),
                conv(total=lambda s, weight: s.abs() @ weight.abs().sum((2, 3)).T, root=lambda summed: summed + EPS),
            ),
        ),
        Mistake(
            "squared twice",
            "s is squared twice in your sum: its fourth power stands there.",
            "how often your code squares s on its way into the sum",
            (conv(total=lambda s, weight: total(s.square(), weight)),),
        ),
        Mistake(
            "multiplied instead of divided",
            "You multiplied by the root; demodulation divides by it. (rsqrt is one over the root, sqrt is not.)",
            "what becomes of your answer when s is doubled: nothing may change",
            (
                conv(join=lambda h, size: h * size[:, :, None, None]),
                conv(join=lambda h, size: h * size.square()[:, :, None, None]),
            ),
        ),
        Mistake(
            "the small number",
            "For a style of 0 you divide 0 by 0, which is nan: the 1e-8 is missing from the sum.",
            "your sum of squares when s is 0 for all channels of a picture",
            (conv(root=torch.sqrt),),
        ),
        Mistake(
            "normalised by the maps",
            "You divided by what you measured in the maps, as instance normalisation does; so a map can no longer be "
            "strong in one picture and weak in another. Demodulation looks at weights and style only.",
            "what becomes of your answer when x is doubled: it has to double",
            (
                _measured(F.instance_norm),
                _standardised(0),
                _standardised(1),
                _measured(lambda h: F.batch_norm(h, None, None, training=True)),
                _measured(lambda h: F.layer_norm(h, h.shape[1:])),
                _by_size(2, 3),
                _by_size(1, 2, 3),
                _by_size(1),
                _by_size(0, 2, 3),
            ),
        ),
        Mistake(
            "padding",
            "The edge is wrong: padding=1 puts one row of zeros around the maps, so that their size stays.",
            "the arguments of the convolution, and the shape that you return",
            (
                conv(conv=F.conv2d),
                conv(conv=lambda x, weight: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight)),
                conv(conv=lambda x, weight: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight)),
                conv(conv=lambda x, weight: F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight)),
            ),
        ),
        Mistake(
            "one style for the whole batch",
            "You used one style for the whole batch, or the batch's mean; every picture has its own.",
            "which rows of s your function uses, and the shape of what you divide by",
            (
                styled(lambda s: s[:1].expand_as(s)),
                styled(lambda s: s.mean(0).expand_as(s)),
                conv(total=lambda s, weight: total(s.mean(0).expand_as(s), weight)),
                conv(total=lambda s, weight: total(s, weight).mean(0, keepdim=True)),
                conv(total=lambda s, weight: total(s[:1], weight)),
                conv(lambda x, s: modulate(x, s[:1])),
            ),
        ),
        Mistake(
            "1 + s",
            "You added 1 to the style. The course's layer does that with what its linear layer returns; here s is the "
            "scale itself.",
            "what your answer makes of s = 0",
            (
                styled(lambda s: 1 + s),
                conv(lambda x, s: modulate(x, 1 + s)),
                conv(total=lambda s, weight: total(1 + s, weight)),
            ),
        ),
        Mistake(
            "style twice",
            "The style reaches the maps twice: on the inputs and again in the weights, or squared.",
            "how often s is multiplied on the way from x to the sum over inputs",
            (styled(torch.square), conv(lambda x, s: modulate(x, s.square()))),
        ),
        Mistake(
            "style on the wrong axes",
            "The style, or what you divide by, meets height and width: (B, C) has to become (B, C, 1, 1) first.",
            "how broadcasting lines up (B, C) with (B, C, H, W): from the right, so C meets W",
            (
                conv(lambda x, s: x * s),
                conv(lambda x, s: x * s[:, :, None]),
                conv(lambda x, s: x * s[:, None]),
                conv(join=lambda h, size: h / size),
                conv(join=lambda h, size: h / size[:, :, None]),
                conv(lambda x, s: x * s, join=lambda h, size: h / size),
            ),
        ),
        Mistake(
            "groups not taken apart",
            "Your groups are right, but what they return is not taken apart into (B, out, H, W): the channels of the "
            "first picture come first, then those of the second.",
            "the order of the channels after a convolution with a group for each picture",
            (
                grouped(lambda h, b, out: h[None]),
                grouped(lambda h, b, out: h),
                grouped(lambda h, b, out: h.unflatten(0, (out, b)).transpose(0, 1)),
            ),
        ),
        Mistake(
            "activation",
            "You went on to the activation; asked for is what the convolution and its demodulation give.",
            "what you do after dividing",
            (
                _after(lambda h: F.leaky_relu(h, 0.2)),
                _after(lambda h: F.leaky_relu(h, 0.2) * 2**0.5),
                _after(F.relu),
            ),
        ),
    ),
    hint="doubling s must change nothing, doubling x must double; then try one picture, one channel, one place",
    tolerance=Tolerance(absolute=1e-5),  # each output is a sum in which terms cancel
)

EXERCISES = (SHARED_CONV,)
