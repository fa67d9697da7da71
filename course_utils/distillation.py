"""Progressive distillation: one step of a student where its teacher takes several (Salimans & Ho 2022)."""

import torch
from torch import Tensor, nn

from course_utils.diffusion import Model, predict, q_sample, signal_and_noise
from course_utils.schedules import Schedule


def landing_target(x_t: Tensor, t: Tensor, x_before: Tensor, before: Tensor, schedule: Schedule) -> Tensor:
    """Return the x_0 from which one DDIM step leads from x_t at level t to x_before at level `before` < t.

    Source: Salimans & Ho 2022, Algorithm 2, line "x tilde". Shapes: x_t, x_before (B, ...); t, before (B,) levels,
    before down to 0. Where `before` is 0 it is x_before itself.
    """
    a, s = signal_and_noise(t, x_t, schedule)
    a_before, s_before = signal_and_noise(before, x_t, schedule)
    return (x_before - s_before / s * x_t) / (a_before - s_before / s * a)


@torch.no_grad()
def travel(
    model: Model, x_t: Tensor, t: Tensor, before: Tensor, steps: int, schedule: Schedule, y: Tensor | None = None
) -> Tensor:
    """Return x at level `before` after `steps` DDIM steps of `model` from x_t at level t, evenly spread over t.

    As `samplers.ddim` with clip, but every example has levels of its own: t, before (B,), whole numbers with
    t - before >= steps. Shapes: x_t (B, ...), y (B,) or None.
    """
    x, level = x_t, t
    for i in range(1, steps + 1):
        following = t - (t - before) * i // steps
        x0_hat, eps_hat = predict(model, x, level, schedule, y, clip=True)
        a, s = signal_and_noise(following, x, schedule)
        x, level = a * x0_hat + s * eps_hat, following
    return x


def draw(n: int, rungs: tuple[int, ...], schedule: Schedule, generator: torch.Generator | None = None):
    """Draw for n examples which rung of the ladder they train, and which of its levels: (labels, t, before), each (n,).

    rungs: numbers of steps, rising, each twice the one before. The last, which learns from the teacher and on which
    the others rest, takes half of the examples. The levels are those of `samplers.ddim` in so many steps.
    """
    device = schedule.device
    share = torch.ones(len(rungs), device=device)
    share[-1] = max(len(rungs) - 1, 1)
    label = torch.multinomial(share, n, replacement=True, generator=generator)
    steps = torch.tensor(rungs, device=device)[label]
    segment = (torch.rand(n, generator=generator, device=device) * steps).long().clamp(max=steps - 1)
    # the first segment begins at pure noise; T need not be a multiple of the number of steps
    t = (schedule.T * (steps - segment) / steps).round().long()
    return label, t, (schedule.T * (steps - segment - 1) / steps).round().long()


def loss(
    student: nn.Module,
    average: nn.Module,
    teacher: nn.Module,
    x_0: Tensor,
    label: Tensor,
    t: Tensor,
    before: Tensor,
    eps: Tensor,
    schedule: Schedule,
    rungs: tuple[int, ...],
    substeps: int = 8,
) -> Tensor:
    """Squared error of the student's x0_hat against where others land, (B,), weighted by max(SNR, 1).

    The last rung lands where `teacher` does in `substeps` DDIM steps; every other where `average`, the moving average
    of the student, does in two steps of the rung above it. So all are learned in one run, and each picture trains one
    of them. Weight: Salimans & Ho 2022, section 4, "truncated SNR". Shapes: x_0, eps (B, ...); label, t, before (B,) as
    `draw` returns them. student, average: called as model(x_t, t, label).
    """
    x_t = q_sample(x_0, t, eps, schedule)
    last = label == len(rungs) - 1
    landed = torch.empty_like(x_t)
    rest = ~last
    if bool(last.any()):
        landed[last] = travel(teacher, x_t[last], t[last], before[last], substeps, schedule)
    if bool(rest.any()):
        landed[rest] = travel(average, x_t[rest], t[rest], before[rest], 2, schedule, label[rest] + 1)
    target = landing_target(x_t, t, landed, before, schedule)
    a, s = signal_and_noise(t, x_t, schedule)
    error = (student(x_t, t, label) - target).square() * (a / s).square().clamp(min=1)
    return error.flatten(1).mean(1)
