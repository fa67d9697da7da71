"""Exercise 1 of notebook 08: two pictures at one noise level, with shared noise, mixed."""

import torch
from torch import Tensor

from course_utils import schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.checks.fusion_shared import pictures
from course_utils.checks.toy_forward import pick, times


def _line(lambda_: float) -> tuple[float, float]:
    return 1 - lambda_, lambda_


def _roots(level: Tensor) -> tuple[Tensor, Tensor]:
    return level.sqrt(), (1 - level).sqrt()


def _mixed(weights=_line, factors=_roots, noise=lambda eps: (eps, eps), get=pick, get_b=None, after=lambda x: x):
    """Return a noised_mix that noises both pictures and mixes them, from its parts; get_b: the level of b alone."""

    def answer(a: Tensor, b: Tensor, t: Tensor, lambda_: float, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        noised = []
        for x, its_eps, level in zip((a, b), noise(eps), (get, get_b or get), strict=True):
            root, sigma = factors(level(alpha_bar, t, x))
            noised.append(root * x + sigma * its_eps)
        of_a, of_b = weights(lambda_)
        return after(of_a * noised[0] + of_b * noised[1])

    return answer


def _once(formula, weights=_line, get=pick, of_sigma=pick):
    """Return a noised_mix that mixes first: formula(mix, root, sigma, eps); the root looks up alpha_bar by get."""

    def answer(a: Tensor, b: Tensor, t: Tensor, lambda_: float, eps: Tensor, alpha_bar: Tensor) -> Tensor:
        of_a, of_b = weights(lambda_)
        root, sigma = get(alpha_bar, t, a).sqrt(), (1 - of_sigma(alpha_bar, t, a)).sqrt()
        return formula(of_a * a + of_b * b, root, sigma, eps)

    return answer


def _noised(mix: Tensor, root: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    return root * mix + sigma * eps


def _root_shares(lambda_: float) -> tuple[float, float]:
    return (1 - lambda_) ** 0.5, lambda_**0.5


def _corrected(lambda_: float) -> tuple[float, float]:
    size = ((1 - lambda_) ** 2 + lambda_**2) ** 0.5
    return (1 - lambda_) / size, lambda_ / size


def _clean(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return values[0]


def _drawn(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return pick(values, torch.randint(1, len(values), t.shape), x)


def _raw(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return values[t]


def _shaped(*ones: int):
    return lambda values, t, x: values[t].view(-1, *ones)


def _turned(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return pick(values, t.flip(0), x)


def _cases(generator: torch.Generator) -> list[Case]:
    linear, cosine = schedules.linear(20), schedules.cosine(200)
    table = (  # label, B, S, lambda_, schedule, t (None: random)
        ("a share of 0.3 of b", 4, 6, 0.3, linear, None),
        ("half of each", 5, 4, 0.5, linear, None),
        ("lambda_ = 0: only a", 4, 5, 0.0, linear, None),
        ("lambda_ = 1: only b", 4, 5, 1.0, linear, None),
        ("a single pair", 1, 6, 0.7, linear, None),
        ("as many pairs as rows and columns", 5, 5, 0.25, linear, None),
        ("as many pairs as channels", 3, 6, 0.8, linear, None),
        ("t = T", 4, 6, 0.4, linear, 20),
        ("t = 0: no noise at all", 2, 4, 0.6, linear, 0),
        ("pictures of a single pixel", 4, 1, 0.35, linear, None),
        ("a cosine schedule of 200 steps", 6, 4, 0.65, cosine, None),
        ("levels from t = 0 to t = T", 4, 6, 0.45, linear, (0, 20, 1, 7)),
    )
    made = []
    for label, n, size, lambda_, schedule, level in table:
        t = times(schedule.T, n, generator) if level is None else torch.tensor(level).expand(n).clone()
        a, b = (pictures(generator, n, size) for _ in range(2))
        eps = torch.randn(a.shape, generator=generator)
        given = {"a": a, "b": b, "t": t, "lambda_": lambda_, "eps": eps, "alpha_bar": schedule.alpha_bar}
        made.append(Case(label, given))
    return made


NOISED_MIX = Exercise(
    "noised_mix",
    _mixed(),
    _cases,
    (
        Mistake(
            "a and b exchanged",
            "The shares are exchanged: lambda_ is the share of b.",
            "what you return for lambda_ = 0: it should be a, noised",
            (_mixed(lambda lambda_: (lambda_, 1 - lambda_)),),
        ),
        Mistake(
            "lambda_ unused",
            "How much of b goes in does not depend on lambda_.",
            "where your function uses lambda_; a mean is the mix for lambda_ = 0.5 only",
            (_mixed(lambda _: (0.5, 0.5)), _mixed(lambda _: (1, 0)), _mixed(lambda _: (0, 1))),
        ),
        Mistake(
            "weights do not sum to 1",
            "The weights of the two pictures do not sum to 1. What b gains, a has to lose.",
            "what you return where a and b are the same picture",
            (
                _mixed(lambda _: (1, 1)),
                _mixed(lambda lambda_: (1, lambda_)),
                _mixed(lambda lambda_: (1 - lambda_, 1)),
                _mixed(lambda lambda_: (lambda_, lambda_)),
                _mixed(lambda lambda_: (1 - lambda_, 1 - lambda_)),
                _once(_noised, lambda _: (1, 1)),
                _once(_noised, lambda lambda_: (1, lambda_)),
            ),
        ),
        Mistake(
            "weights for independent noise",
            "You weighted so as to keep the variance, by roots or a division. That mends the mix of two independent "
            "noises; here both pictures hold the same noise, of which a plain mix loses nothing.",
            "how much eps is in your result, for a shared eps and lambda_ = 0.5",
            (
                _mixed(_root_shares),
                _mixed(_corrected),
                _once(_noised, _root_shares),
                _once(_noised, _corrected),
            ),
        ),
        Mistake(
            "square root",
            "A square root is missing, or does not reach far enough: alpha_bar_t and 1 - alpha_bar_t are variances; "
            "what multiplies pictures and noise are standard deviations.",
            "Eq. 4 of Ho et al. 2020, and q_sample",
            (
                _mixed(factors=lambda level: (level, (1 - level).sqrt())),
                _mixed(factors=lambda level: (level.sqrt(), 1 - level)),
                _mixed(factors=lambda level: (level, 1 - level)),
                _mixed(factors=lambda level: (level.sqrt(), 1 - level.sqrt())),
            ),
        ),
        Mistake(
            "coefficients swapped",
            "The two factors are swapped: yours keeps the noise and fades the pictures in.",
            "a small t. Should the result look like pictures or like noise?",
            (
                _mixed(factors=lambda level: ((1 - level).sqrt(), level.sqrt())),
                _mixed(factors=lambda level: (1 - level, level)),
            ),
        ),
        Mistake(
            "off-by-one in t",
            "Your t is off by one: alpha_bar has T + 1 entries, and index t is the t of Eq. 4.",
            "what alpha_bar[0] and alpha_bar[1] hold",
            (
                _mixed(get=lambda values, t, x: pick(values, t - 1, x)),
                _mixed(get=lambda values, t, x: pick(values, t + 1, x)),
            ),
        ),
        Mistake(
            "one timestep for the whole batch",
            "You used one timestep for the whole batch; every pair has its own t.",
            "the shape of t. How many values of alpha_bar does a batch need?",
            (
                *(_mixed(get=lambda values, t, x, i=i: values[t[i]]) for i in (0, -1)),
                _mixed(get=lambda values, t, x: values[t.max()]),
                _mixed(get=lambda values, t, x: values[t.item()]),
                _mixed(get=lambda values, t, x: values[int(t)]),
                _mixed(get=lambda values, t, x: values[-1]),
            ),
        ),
        Mistake(
            "wrong broadcast shape",
            "The factors have the wrong shape to multiply the batch: each must meet its own pair in (B, 3, S, S).",
            "how broadcasting lines up (B,) with (B, 3, S, S): from the right, so B meets the last S",
            (
                _mixed(get=_raw),
                _mixed(get=_shaped(1)),
                _mixed(get=_shaped(1, 1)),
                _once(_noised, of_sigma=_raw),
                _once(_noised, get=_raw),
            ),
        ),
        Mistake(
            "two levels",
            "The two pictures are not at the same level: the noise of one, or its root of alpha_bar, belongs to "
            "another t. The network can be told one t only.",
            "the t of a, the t of b, and anything drawn or reordered in your code",
            (
                _mixed(get_b=_drawn),
                _mixed(get=_drawn),
                _mixed(get_b=_turned),
                _mixed(get=_turned, get_b=pick),
                _mixed(get=_turned),
                _once(_noised, of_sigma=_turned),
                _mixed(get_b=lambda values, t, x: pick(values, t - 1, x)),
            ),
        ),
        Mistake(
            "noise of their own",
            "The noise is not the shared one: you drew new noise. Both pictures get the eps that is handed in.",
            "randn in your code",
            (
                _mixed(noise=lambda eps: (eps, torch.randn_like(eps))),
                _mixed(noise=lambda eps: (torch.randn_like(eps), eps)),
                _mixed(noise=lambda eps: (torch.randn_like(eps), torch.randn_like(eps))),
                _mixed(noise=lambda eps: (torch.randn_like(eps),) * 2),
            ),
        ),
        Mistake(
            "noise of another pair",
            "The noise comes from another pair of the batch: pair number i gets eps[i], in both of its pictures.",
            "what reorders eps, and an index into it",
            (
                _mixed(noise=lambda eps: (eps, eps.roll(1, 0))),
                _mixed(noise=lambda eps: (eps, eps.flip(0))),
                _mixed(noise=lambda eps: (eps.flip(0), eps.flip(0))),
                _mixed(noise=lambda eps: (eps[:1], eps[:1])),
            ),
        ),
        Mistake(
            "noise in one only",
            "Only one of the two pictures is noised: the mix holds no more than its share of the noise.",
            "how much of eps is in your result for lambda_ = 0, and for lambda_ = 1",
            (
                _mixed(noise=lambda eps: (eps, 0 * eps)),
                _mixed(noise=lambda eps: (0 * eps, eps)),
                _mixed(get_b=_clean),
                _mixed(get=_clean, get_b=pick),
            ),
        ),
        Mistake(
            "too much noise",
            "There is too much noise in your result: eps at full strength, or more than once. The pictures bring it "
            "into the mix, where nothing more is added.",
            "the factor of eps in your result, compared with a picture noised by q_sample",
            (
                _once(lambda mix, root, sigma, eps: root * mix + 2 * sigma * eps),
                _once(lambda mix, root, sigma, eps: root * (root * mix + sigma * eps) + sigma * eps),
                _once(lambda mix, root, sigma, eps: root * mix + sigma * eps + eps),
                _once(lambda mix, root, sigma, eps: root * mix + eps),
            ),
        ),
        Mistake(
            "sign of the noise",
            "The sign of the noise is wrong: it is added, in both pictures.",
            "the sign between the two terms of Eq. 4",
            (
                _mixed(noise=lambda eps: (-eps, -eps)),
                _mixed(noise=lambda eps: (eps, -eps)),
                _mixed(noise=lambda eps: (-eps, eps)),
            ),
        ),
        Mistake(
            "noise missing",
            "There is no noise in your result: you mixed the pictures, but noised neither.",
            "where your function uses eps",
            (_once(lambda mix, root, *_: root * mix), _once(lambda mix, *_: mix)),
        ),
        Mistake(
            "pictures missing or not weakened",
            "The pictures are missing, or as strong as without noise: q_sample weakens them, by a factor that depends "
            "on t.",
            "what becomes of a and b in the first term of Eq. 4",
            (
                _once(lambda mix, root, sigma, eps: sigma * eps),
                _once(lambda mix, root, sigma, eps: mix + sigma * eps),
                _once(lambda mix, root, sigma, eps: mix + eps),
            ),
        ),
        Mistake(
            "clamped",
            "You cut the result off at -1 and 1. A noised picture may leave that range, and the network expects it to.",
            "clamp or clip in your code",
            (_mixed(after=lambda x: x.clamp(-1, 1)),),
        ),
    ),
    hint="for lambda_ = 0 it is a, noised as by q_sample, and for lambda_ = 1 it is b; at t = 0 it is the cross-fade",
)

EXERCISES = (NOISED_MIX,)
