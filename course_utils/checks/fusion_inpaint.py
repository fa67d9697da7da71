"""Exercise 4 of notebook 08: one step of inpainting, which puts the known part back at the right level."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.fusion_shared import pictures


def _root(alpha_bar_t: Tensor) -> Tensor:
    return alpha_bar_t.sqrt()


def _sigma(alpha_bar_t: Tensor) -> Tensor:
    return (1 - alpha_bar_t).sqrt()


def _same(part: Tensor) -> Tensor:
    return part


def _given(eps: Tensor) -> Tensor:
    return eps


def _drawn(eps: Tensor) -> Tensor:
    return torch.randn_like(eps)


def _mean(noised: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    return mask * noised + (1 - mask) * x


def _step(join=_mean, signal=_root, noise=_sigma, at=lambda t, T: t, eps=_given, mask=_same):
    """Return a repaint_step: the known picture at level at(t, T), joined with x, join(noised, x, mask).

    signal, noise: functions of alpha_bar at that level; eps, mask: what becomes of these two first.
    """

    def answer(x: Tensor, known: Tensor, given: Tensor, t: int, drawn: Tensor, alpha_bar: Tensor) -> Tensor:
        level = alpha_bar[at(t, len(alpha_bar) - 1)]
        return join(signal(level) * known + noise(level) * eps(drawn), x, mask(given))

    return answer


def _noisy(whole):
    """Return a repaint_step from whole(x, known, mask, q), where q noises a picture to level t."""

    def answer(x: Tensor, known: Tensor, mask: Tensor, t: int, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        return whole(x, known, mask, lambda part: _root(alpha_bar[t]) * part + _sigma(alpha_bar[t]) * eps)

    return answer


def _noise_on_all(x: Tensor, known: Tensor, mask: Tensor, t: int, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    return _mean(_root(alpha_bar[t]) * known, x, mask) + _sigma(alpha_bar[t]) * eps


def _x_scaled(x: Tensor, known: Tensor, mask: Tensor, t: int, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    return _step()(_root(alpha_bar[t]) * x, known, mask, t, eps, alpha_bar)


def _some_channels(n: int):
    """Return a way to join that replaces the first n channels only."""
    return lambda noised, x, mask: torch.cat([_mean(noised, x, mask)[:, :n], x[:, n:]], 1)


def _where(chosen):
    """Return a way to join that takes each pixel from one of the two, the known one where chosen(mask)."""
    return lambda noised, x, mask: torch.where(chosen(mask), noised, x)


def _one(alpha_bar_t: Tensor) -> Tensor:
    return torch.ones_like(alpha_bar_t)


def _none(alpha_bar_t: Tensor) -> Tensor:
    return torch.zeros_like(alpha_bar_t)


def _mask(generator: torch.Generator, kind: str, B: int, S: int) -> Tensor:
    soft = torch.rand(B, 1, S, S, generator=generator)
    soft[:, :, 0, :3] = torch.tensor([0.0, 0.5, 1.0])  # where rounding goes either way, too
    made = {"soft": soft, "hard": (soft > 0.4).float(), "known": torch.ones_like(soft), "free": torch.zeros_like(soft)}
    return made[kind]


def _cases(generator: torch.Generator) -> list[Case]:
    made = []
    for label, B, S, kind, name, T, t in (
        ("halfway, a mask of 0 and 1", 4, 6, "hard", "linear", 20, 8),
        ("a soft mask", 2, 5, "soft", "cosine", 50, 20),
        ("a single picture", 1, 8, "hard", "linear", 1000, 300),
        ("t = 0, a mask of 0 and 1", 2, 4, "hard", "linear", 20, 0),
        ("t = 0, a soft mask", 2, 4, "soft", "cosine", 50, 0),
        ("t = 1", 5, 4, "hard", "linear", 20, 1),
        ("t = T", 2, 6, "hard", "linear", 20, 20),
        ("t = T, a soft mask", 3, 4, "soft", "quadratic", 30, 30),
        ("all is known", 2, 4, "known", "cosine", 40, 15),
        ("nothing is known", 2, 4, "free", "linear", 100, 40),
        ("as many pictures as channels", 3, 5, "hard", "linear", 20, 12),
        ("as many pictures as rows", 4, 4, "soft", "sigmoid", 30, 10),
        ("a chain of a single step", 6, 3, "soft", "linear", 1, 1),
    ):
        x, eps = (torch.randn(B, 3, S, S, generator=generator) for _ in range(2))
        known, mask = pictures(generator, B, S), _mask(generator, kind, B, S)
        alpha_bar = schedules.make(name, T).alpha_bar
        made.append(Case(label, {"x": x, "known": known, "mask": mask, "t": t, "eps": eps, "alpha_bar": alpha_bar}))
    return made


REPAINT_STEP = Exercise(
    "repaint_step",
    _step(),
    _cases,
    (
        Mistake(
            "mask inverted",
            "Your mask is the wrong way round: 1 stands where the picture is known, 0 where x stays.",
            "what you return for a mask of nothing but zeros: it has to be x",
            (_step(mask=lambda mask: 1 - mask),),
        ),
        Mistake(
            "known not noised",
            "You put the known picture in as it is. The rest stands at level t, with the noise of that level, and both "
            "parts have to stand at the same.",
            "where your function uses t and eps",
            (_step(signal=_one, noise=_none), _noisy(lambda x, known, mask, q: _mean(known, q(x), mask))),
        ),
        Mistake(
            "off by one in t",
            "You noise the known picture to the level before t, or to the one after. x already stands at level t.",
            "the index of alpha_bar; alpha_bar[0] is 1 and belongs to the clean picture",
            (
                _step(at=lambda t, T: t - 1),
                _step(at=lambda t, T: max(t - 1, 0)),
                _step(at=lambda t, T: t + 1),
                _step(at=lambda t, T: min(t + 1, T)),
            ),
        ),
        Mistake(
            "noise left at t = 0",
            "Right above 0, but at t = 0 your known part is not clean. There it has to come out exactly as it is.",
            "what alpha_bar[0] holds, and whether a max or clamp keeps you from it",
            (
                _step(at=lambda t, T: max(t, 1)),
                _step(noise=lambda level: (1 - level).clamp(min=1e-4).sqrt()),
                _step(at=lambda t, T: t if t else T),
            ),
        ),
        Mistake(
            "missing root",
            "A root is missing or does not reach far enough: alpha_bar and 1 - alpha_bar are variances, but what "
            "multiplies picture and noise are standard deviations, whose squares sum to 1.",
            "both factors at a level where alpha_bar is 0.25",
            (
                _step(signal=lambda level: level),
                _step(noise=lambda level: 1 - level),
                _step(signal=lambda level: level, noise=lambda level: 1 - level),
                _step(noise=lambda level: 1 - level.sqrt()),
            ),
        ),
        Mistake(
            "factors exchanged",
            "The factors of the picture and of the noise have changed places: at small t the picture has to prevail.",
            "both factors at t = 0",
            (_step(signal=_sigma, noise=_root), _step(signal=lambda level: 1 - level, noise=lambda level: level)),
        ),
        Mistake(
            "noise or its scale missing",
            "Your noising is incomplete: the picture is weakened, and noise is added that is weakened, too. One of the "
            "three is missing.",
            "the mean and the standard deviation of q(x_t | x_0)",
            (_step(noise=_none), _step(signal=_one), _step(noise=_one)),
        ),
        Mistake(
            "noise of its own",
            "You drew noise of your own. Take the eps that is handed over.",
            "torch.randn in your code",
            (_step(eps=_drawn),),
        ),
        Mistake(
            "x noised",
            "You noised x, too. It comes from the sampler's step and stands at level t already; only the known picture "
            "is clean.",
            "what you return for a mask of nothing but zeros: it has to be x",
            (
                _noisy(lambda x, known, mask, q: q(_mean(known, x, mask))),
                _noisy(lambda x, known, mask, q: q(x)),
                _noise_on_all,
            ),
        ),
        Mistake(
            "x scaled",
            "You multiplied x by a factor of level t. x stands at that level already and stays as it is.",
            "what you return for a mask of nothing but zeros: it has to be x",
            (_x_scaled,),
        ),
        Mistake(
            "x and known exchanged",
            "x and known have changed places: it is known that is clean and has to be noised, and that is put in where "
            "the mask is 1.",
            "the order of the arguments in your first line",
            (
                _noisy(lambda x, known, mask, q: _mean(q(x), known, mask)),
                _noisy(lambda x, known, mask, q: _mean(x, known, mask)),
            ),
        ),
        Mistake(
            "soft edge lost",
            "You take each pixel from one of the two. Where the mask lies in between, as on a soft edge, the answer is "
            "their weighted mean.",
            "comparisons of the mask, torch.where, bool and round in your code",
            (
                _step(_where(lambda mask: mask > 0)),
                _step(_where(lambda mask: mask >= 0.5)),
                _step(_where(lambda mask: mask > 0.5)),
                _step(_where(lambda mask: mask >= 1)),
            ),
        ),
        Mistake(
            "weights do not sum to 1",
            "The weights of the two parts do not sum to 1: where one picture is put in, the other has to go.",
            "what you return at a pixel whose mask is 0, 1 and 0.5, if both pictures are 1 there",
            (
                _step(lambda noised, x, mask: mask * noised + x),
                _step(lambda noised, x, mask: noised + (1 - mask) * x),
                _step(lambda noised, x, mask: noised + x),
            ),
        ),
        Mistake(
            "one part dropped",
            "One of the two parts is missing: zeros stand where it should be.",
            "what you return for a mask of nothing but zeros, and of nothing but ones",
            (_step(lambda noised, x, mask: mask * noised), _step(lambda noised, x, mask: (1 - mask) * x)),
        ),
        Mistake(
            "mask unused",
            "You return one of the two pictures as a whole. The mask says which of them stands where.",
            "where your function uses mask",
            (
                _step(lambda noised, x, mask: noised),
                _step(lambda noised, x, mask: x),
                _step(lambda n, x, m: (n + x) / 2),
            ),
        ),
        Mistake(
            "mask applied twice",
            "Right where the mask is 0 or 1, but not in between: there the mask itself is the share of the known part, "
            "applied once, neither squared nor rooted.",
            "how often your mask is multiplied with the same picture, or with its noise",
            (
                _step(mask=lambda mask: mask**2),
                _step(mask=lambda mask: mask.sqrt()),
                _step(lambda noised, x, mask: mask**2 * noised + (1 - mask) ** 2 * x),
                _step(lambda noised, x, mask: mask.sqrt() * noised + (1 - mask).sqrt() * x),
                lambda x, known, mask, t, eps, alpha_bar: _step()(x, known, mask, t, mask * eps, alpha_bar),
            ),
        ),
        Mistake(
            "some channels only",
            "You replaced some of the three colours only. A pixel is known in all of them, or in none.",
            "the index of the second axis",
            (_step(_some_channels(1)), _step(_some_channels(2))),
        ),
        Mistake(
            "mask without its axis",
            "Your mask lost its second axis: from the right, (B, S, S) meets (B, 3, S, S) with its pictures on the "
            "colours.",
            "squeeze and [:, 0] in your code; (B, 1, S, S) fits as it is",
            (_step(mask=lambda mask: mask[:, 0]),),
        ),
        Mistake(
            "one mask for all",
            "Every picture got the mask of the first. Each has one of its own.",
            "the index of the mask's first axis",
            (_step(mask=lambda mask: mask[:1]),),
        ),
        Mistake(
            "clamped",
            "You clamped to [-1, 1]. Only clean pictures lie there; with their noise they reach beyond.",
            "clamp in your code",
            (
                lambda *args: _step()(*args).clamp(-1, 1),
                _step(lambda noised, x, mask: _mean(noised.clamp(-1, 1), x, mask)),
            ),
        ),
    ),
    hint="x has to come out where the mask is 0, and known where it is 1 and t is 0; then look at a soft mask",
)

EXERCISES = (REPAINT_STEP,)
