"""Exercises 1 and 2 of notebook 01, the forward process, and what its other exercises share.

`pick` lies at the heart of the first ones: the number of each
example's own timestep, shaped so that it multiplies that example.
"""

import torch
from torch import Tensor

from course_utils import diffusion, schedules
from course_utils.checks.engine import Case, Exercise, Mistake
from course_utils.schedules import Schedule


def pick(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """values[t] as (B, 1, ..., 1), without the checks of diffusion.at: a wrong t must fail as it does for students."""
    return values[t].view(-1, *[1] * (x.ndim - 1))


def _column(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return values[t].view(-1, 1)


def _four_dims(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    return values[t].view(-1, 1, 1, 1)


def times(T: int, B: int, generator: torch.Generator) -> Tensor:
    """Random timesteps that differ between the first and the last example."""
    t = torch.randint(1, T + 1, (B,), generator=generator)
    t[0], t[-1] = max(1, T // 3), max(1, T // 2)
    return t


def noised(names: tuple[str, str]):
    """Return a `cases` function for f(x, t, eps, schedule), where x and eps bear these names."""

    def cases(generator: torch.Generator) -> list[Case]:
        linear, cosine = schedules.linear(20), schedules.cosine(50)
        table = [  # label, shape, schedule, t (None: random)
            ("points", (5, 2), linear, None),
            ("a single point at t = 1", (1, 2), linear, 1),
            ("as many points as coordinates", (2, 2), linear, None),
            ("points, t = T", (6, 2), linear, 20),
            ("images", (4, 3, 5, 7), linear, None),
            ("a single image, t = T", (1, 3, 8, 6), linear, 20),
            ("as many images as columns", (6, 3, 4, 6), linear, None),
            ("square grey images", (4, 1, 4, 4), cosine, None),
            ("points, t = 1, cosine schedule", (3, 2), cosine, 1),
            ("a chain of a single step", (4, 2), schedules.linear(1), 1),
            ("many points, quadratic schedule", (32, 2), schedules.quadratic(200), None),
            ("images, sigmoid schedule", (3, 2, 6, 4), schedules.sigmoid(30), None),
        ]
        made = []
        for label, shape, schedule, t in table:
            ts = times(schedule.T, shape[0], generator) if t is None else torch.full((shape[0],), t)
            x, eps = (torch.randn(shape, generator=generator) for _ in range(2))
            made.append(Case(label, {names[0]: x, "t": ts, names[1]: eps, "schedule": schedule}))
        return made

    return cases


def per_example(formula, equation: str) -> tuple[Mistake, ...]:
    """The mistakes in picking alpha_bar_t that any f(x, t, eps, schedule) can make; formula takes `pick` last."""

    def using(get):
        return lambda x, t, eps, s: formula(x, t, eps, s, get)

    return (
        Mistake(
            "one timestep for the whole batch",
            "You used one timestep for the whole batch; every example has its own t.",
            "the shape of t. How many different values of alpha_bar does a batch need?",
            tuple(
                using(get)
                for get in (
                    lambda v, t, x: v[t[0]],
                    lambda v, t, x: v[t[-1]],
                    lambda v, t, x: v[t.item()],
                    lambda v, t, x: v[int(t)],
                )
            ),
        ),
        Mistake(
            "wrong broadcast shape",
            "The coefficients have the wrong shape to multiply the batch: each must meet its own example, for points "
            "(B, 2) and for images (B, 3, H, W) alike.",
            "how broadcasting lines up (B,) with (B, 3, H, W): from the right, so B meets W",
            tuple(using(get) for get in (lambda v, t, x: v[t], _column, _four_dims)),
        ),
        Mistake(
            "off-by-one in t",
            f"Your t is off by one. The arrays of a schedule have T + 1 entries and index t is the t of {equation}.",
            "what schedule.alpha_bar[0] and schedule.alpha_bar[1] hold",
            (using(lambda v, t, x: pick(v, t - 1, x)), using(lambda v, t, x: pick(v, t + 1, x))),
        ),
    )


# 1 alpha_bar ---------------------------------------------------------------------------------------------------------


def _alpha_bar(beta: Tensor) -> Tensor:
    return Schedule.from_beta(beta, dtype=beta.dtype).alpha_bar


def _alpha_bar_cases(generator: torch.Generator) -> list[Case]:
    made = [Case(f"the {n} schedule", {"beta": schedules.make(n, 50).beta[1:]}) for n in schedules.SCHEDULES]
    made += [
        Case("a thousand steps", {"beta": schedules.linear(1000).beta[1:]}),
        Case("a chain of a single step", {"beta": torch.tensor([0.3])}),
        Case("two steps", {"beta": torch.tensor([0.1, 0.5])}),
        Case("random steps", {"beta": torch.rand(7, generator=generator) * 0.5 + 0.05}),
    ]
    return made


def _with_first(first: float, rest: Tensor) -> Tensor:
    return torch.cat([rest.new_full((1,), first), rest])


ALPHA_BAR = Exercise(
    "alpha_bar",
    _alpha_bar,
    _alpha_bar_cases,
    (
        Mistake(
            "no entry for t = 0",
            "Your answer has no entry for t = 0: beta has T entries, alpha_bar has T + 1, and alpha_bar_0 = 1.",
            "what an empty product is worth, and where it belongs in the array",
            (lambda b: (1 - b).cumprod(0),),
        ),
        Mistake(
            "last entry missing",
            "The last entry is missing: alpha_bar_0 = 1 is there, but your array ends at t = T - 1.",
            "the length of beta, the length of alpha_bar, and any [:-1] or range in your code",
            (lambda b: _with_first(1, (1 - b).cumprod(0)[:-1]),),
        ),
        Mistake(
            "one at the end",
            "The 1 stands at the end of your array: that would make x_T the clean data. Index t must hold alpha_bar_t.",
            "which timestep is the clean data, and where that index lies in the array",
            (lambda b: torch.cat([(1 - b).cumprod(0), torch.ones_like(b[:1])]),),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You returned alpha_t = 1 - beta_t, one step; alpha_bar_t is the product of alpha_1 to alpha_t.",
            "the bar: what does Ho et al. 2020 write above Eq. 4?",
            (lambda b: _with_first(1, 1 - b), lambda b: 1 - b),
        ),
        Mistake(
            "sum for product",
            "You added the steps up; alpha_bar_t is a product over them, not a sum.",
            "the capital Pi in the definition",
            (
                lambda b: _with_first(1, 1 - b.cumsum(0)),
                lambda b: 1 - b.cumsum(0),
                lambda b: _with_first(1, (1 - b).cumsum(0)),
            ),
        ),
        Mistake(
            "product of beta",
            "You multiplied the beta_t; the product runs over alpha_t = 1 - beta_t.",
            "what is left of the signal's variance after one step",
            (
                lambda b: _with_first(1, b.cumprod(0)),
                lambda b: b.cumprod(0),
                lambda b: _with_first(1, 1 - b.cumprod(0)),
            ),
        ),
        Mistake(
            "zero in front",
            "alpha_bar_0 is 0 in your answer: that would be pure noise. Step 0 is the clean data.",
            "Eq. 4 at t = 0: which value gives back x_0?",
            (lambda b: _with_first(0, (1 - b).cumprod(0)),),
        ),
        Mistake(
            "square root taken",
            "You returned sqrt(alpha_bar_t); the exercise asks for alpha_bar_t itself.",
            "where Eq. 4 has the root: in the definition, or where alpha_bar is used?",
            (lambda b: _with_first(1, (1 - b).cumprod(0).sqrt()),),
        ),
    ),
    hint="write down alpha_bar_0, alpha_bar_1 and alpha_bar_2 by hand for beta = (0.1, 0.5)",
)

# 2 q_sample ----------------------------------------------------------------------------------------------------------


def _marginal(x_0: Tensor, t: Tensor, eps: Tensor, s: Schedule, get=pick) -> Tensor:
    return get(s.alpha_bar, t, x_0).sqrt() * x_0 + get(s.sigma, t, x_0) * eps


def _mix(of_x, of_eps, noise=lambda eps: eps):
    """Return a wrong q_sample from its two coefficients, given as functions of (beta_t, alpha_bar_t)."""

    def answer(x_0: Tensor, t: Tensor, eps: Tensor, s: Schedule) -> Tensor:
        b, a = pick(s.beta, t, x_0), pick(s.alpha_bar, t, x_0)
        return of_x(b, a) * x_0 + of_eps(b, a) * noise(eps)

    return answer


def _root(b: Tensor, a: Tensor) -> Tensor:
    return a.sqrt()


def _sigma(b: Tensor, a: Tensor) -> Tensor:
    return (1 - a).sqrt()


Q_SAMPLE = Exercise(
    "q_sample",
    diffusion.q_sample,
    noised(("x_0", "eps")),
    (
        Mistake(
            "beta for alpha_bar",
            "You used beta_t where the marginal needs alpha_bar_t (Ho et al. 2020, Eq. 4).",
            "which array of the schedule says how much of x_0 is left after t steps, not after one",
            (
                _mix(lambda b, a: b.sqrt(), lambda b, a: (1 - b).sqrt()),
                _mix(_root, lambda b, a: b.sqrt()),
            ),
        ),
        Mistake(
            "alpha for alpha_bar",
            "You used alpha_t = 1 - beta_t, one step of the chain, where the marginal needs alpha_bar_t (Ho et al. "
            "2020, Eq. 4).",
            "the difference between Eq. 2 (one step) and Eq. 4 (t steps at once)",
            (_mix(lambda b, a: (1 - b).sqrt(), lambda b, a: b.sqrt()),),
        ),
        Mistake(
            "missing square root",
            "A square root is missing: alpha_bar_t and 1 - alpha_bar_t are variances, and x_0 and eps are multiplied "
            "by deviations.",
            "the variance of c * eps when eps has variance 1",
            (
                _mix(lambda b, a: a, lambda b, a: 1 - a),
                _mix(_root, lambda b, a: 1 - a),
                _mix(lambda b, a: a, _sigma),
            ),
        ),
        Mistake(
            "coefficients swapped",
            "The two coefficients are swapped: yours keeps the noise and fades the data in.",
            "t = 1. Should x_1 look like the data or like noise?",
            (_mix(_sigma, _root),),
        ),
        Mistake(
            "one minus the root",
            "You multiplied the noise by 1 - sqrt(alpha_bar_t): their squares sum to 1, not the coefficients.",
            "how far the root reaches in the second term of Eq. 4",
            (_mix(_root, lambda b, a: 1 - a.sqrt()),),
        ),
        *per_example(_marginal, "Eq. 4"),
        Mistake(
            "own noise",
            "You drew new noise inside the function; the noise to use is handed in as eps.",
            "the arguments. The training loss compares the network's answer with the very eps that you used",
            (_mix(_root, _sigma, torch.randn_like),),
        ),
        Mistake(
            "sign",
            "The sign of the noise is wrong: it is added.",
            "the sign between the two terms of Eq. 4",
            (_mix(_root, lambda b, a: -(1 - a).sqrt()),),
        ),
    ),
    hint="try a single point at t = 1: x_1 should lie close to x_0. Then try t = T",
)

EXERCISES = (ALPHA_BAR, Q_SAMPLE)
