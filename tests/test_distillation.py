"""Progressive distillation: where a step must land, and a network that is told how many steps it has."""

import copy
from itertools import pairwise

import pytest
import torch

from course_utils import checkpoints, distillation, sample, samplers, schedules
from course_utils.data.images import ImageSet
from course_utils.diffusion import q_sample, signal_and_noise
from course_utils.ideal import IdealDenoiser
from course_utils.metrics import protocol
from course_utils.models.few_step import FewStep, FewStepConfig
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.models.unet import UNetConfig
from course_utils.recipes import FewStepRecipe
from course_utils.samplers import ddim_step

T = 32
UNET = UNetConfig(size=8, width=8, multipliers=(1,), blocks=1, attention=(), T=1, predicts="F")
TEACHER = PreconditionedConfig("edm", "karras", T, UNET)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(model, seed=1):
    """Give weights to the layers that begin at zero, or all answers would be alike."""
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p += 0.05 * normal(*p.shape, seed=seed + i)
    return model.eval()


@pytest.fixture
def teacher(tmp_path):
    path = tmp_path / "teacher.safetensors"
    model = awake(Preconditioned(TEACHER))
    checkpoints.export(path, model, {"name": "karras", "T": T}, {})
    return path


def recipe_of(teacher, **changes):
    kept = {"teacher": str(teacher), "size": 8, "batch_size": 8, "steps": 4, "warmup": 0, "precision": "float32"}
    return FewStepRecipe(**kept | changes)


def cars(n=16):
    pixels = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    return ImageSet(pixels, torch.zeros(n, dtype=torch.long), ("automobile",), "cars", real=False)


@pytest.mark.parametrize("name", ["cosine", "karras", "flow"])
def test_one_ddim_step_from_the_target_lands_where_it_should(name):
    s = schedules.make(name, T, dtype=torch.float64)
    x_t, landed = normal(6, 3, 2, 2).double(), normal(6, 3, 2, 2, seed=1).double()
    t, before = torch.tensor([T, T, 24, 16, 9, 8]), torch.tensor([0, 24, 8, 8, 8, 0])
    x_0 = distillation.landing_target(x_t, t, landed, before, s)
    for i in range(6):
        a, sigma = (value[i] for value in signal_and_noise(t, x_t, s))
        eps = (x_t[i] - a * x_0[i]) / sigma
        torch.testing.assert_close(ddim_step(x_0[i], eps, int(t[i]), int(before[i]), s), landed[i])
    torch.testing.assert_close(x_0[-1], landed[-1])  # at level 0 stands x_0 itself


def test_travel_is_ddim_between_two_levels():
    s = schedules.cosine(T)
    model = IdealDenoiser(normal(5, 3).clamp(-1, 1), s)
    x = normal(7, 3, seed=2)
    whole = samplers.final(samplers.ddim(model, s, x, steps=8, clip=True))
    t, before = torch.full((7,), T), torch.zeros(7, dtype=torch.long)
    torch.testing.assert_close(distillation.travel(model, x, t, before, 8, s), whole)
    # every example keeps levels of its own
    t, before = torch.tensor([T, 16, 8]), torch.tensor([16, 8, 0])
    together = distillation.travel(model, x[:3], t, before, 4, s)
    for i in range(3):
        alone = distillation.travel(model, x[i : i + 1], t[i : i + 1], before[i : i + 1], 4, s)
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("levels", [T, 1000, 30])
def test_drawn_levels_are_those_of_the_sampler(levels):
    s, rungs = schedules.cosine(levels), (1, 2, 4)
    label, t, before = distillation.draw(4000, rungs, s, torch.Generator().manual_seed(0))
    for k, steps in enumerate(rungs):
        stops = samplers.spaced(steps, levels, s, "t")
        drawn = set(zip(t[label == k].tolist(), before[label == k].tolist(), strict=True))
        assert drawn == set(pairwise(stops))
    shares = label.bincount(minlength=3) / 4000
    assert shares[2] == pytest.approx(0.5, abs=0.03) and shares[0] == pytest.approx(0.25, abs=0.03)


def test_the_loss_teaches_each_rung_by_the_one_above(monkeypatch):
    """With teacher, average and student told apart, each example's target must come from the right one."""
    s, rungs = schedules.cosine(T), (1, 2, 4)
    x_0, eps = normal(6, 3, 2, 2).clamp(-1, 1), normal(6, 3, 2, 2, seed=1)
    label = torch.tensor([0, 1, 1, 2, 2, 2])
    t, before = torch.tensor([T, T, 16, T, 16, 8]), torch.tensor([0, 16, 0, 24, 8, 0])
    asked = []

    def travel(model, x_t, t, before, steps, schedule, y=None):
        asked.append((model, steps, t.tolist(), None if y is None else y.tolist()))
        return torch.zeros_like(x_t) if model == "teacher" else torch.ones_like(x_t)

    monkeypatch.setattr(distillation, "travel", travel)
    heard = []

    def student(x_t, t, y):
        heard.append(y)
        return torch.zeros_like(x_t)

    error = distillation.loss(student, "average", "teacher", x_0, label, t, before, eps, s, rungs, substeps=5)
    assert asked == [("teacher", 5, [T, 16, 8], None), ("average", 2, [T, T, 16], [1, 2, 2])]
    assert torch.equal(heard[0], label) and error.shape == (6,)
    x_t = q_sample(x_0, t, eps, s)
    landed = torch.ones_like(x_t)
    landed[3:] = 0
    target = distillation.landing_target(x_t, t, landed, before, s)
    snr = (s.alpha_bar / s.sigma**2)[t].clamp(min=1)
    torch.testing.assert_close(error, target.square().flatten(1).mean(1) * snr)


@torch.no_grad()
def missed(model, ema, teacher, batch, schedule):
    return float(distillation.loss(model, ema.model, teacher, *batch, schedule, (1, 2, 4)).mean())


def test_a_student_starts_as_its_teacher_and_learns(teacher):
    recipe = recipe_of(teacher, steps=60, lr=3e-3)
    model, ema, schedule = recipe.build()
    trained = checkpoints.load(teacher).model
    x, t = normal(4, 3, 8, 8), torch.tensor([1, 5, 20, T])
    for label in range(3):
        torch.testing.assert_close(model(x, t, torch.full((4,), label)), trained(x, t))
    awake(model, 50)  # so that there is something to learn
    held_out = recipe.batches(cars(), schedule)(1000)
    first = missed(model, ema, trained, held_out, schedule)
    for _ in recipe.fit(model, ema, cars(), schedule):
        pass
    assert missed(model, ema, trained, held_out, schedule) < 0.5 * first
    before = trained.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in checkpoints.load(teacher).model.state_dict().items())


def test_a_run_that_was_stopped_goes_on_bit_for_bit(teacher, tmp_path):
    recipe, whole = recipe_of(teacher, steps=6), []
    for stops in ((6,), (3, 6)):
        state = tmp_path / f"{len(stops)}.safetensors"
        for stop in stops:
            model, ema, schedule = recipe.build()
            for record in recipe.fit(model, ema, cars(), schedule, state=state):
                if record.step == stop:
                    break
        whole.append((model.state_dict(), ema.model.state_dict()))
    for one, other in zip(*whole, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_processes_share_the_batch_of_one(teacher):
    recipe = recipe_of(teacher)
    whole = recipe.batches(cars(), schedules.karras(T))(2)
    parts = [recipe.batches(cars(), schedules.karras(T), (rank, 2))(2) for rank in range(2)]
    for name in whole._fields:
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))


def test_a_distilled_checkpoint_is_sampled_in_its_steps_alone(teacher, tmp_path):
    model = awake(recipe_of(teacher).build()[0], seed=90)
    checkpoints.export(tmp_path / "fast.safetensors", model, recipe_of(teacher).schedule_facts(), {})
    name, loaded, schedule, _ = checkpoints.load(tmp_path / "fast.safetensors")
    assert (name, schedule.T, schedule.name) == ("fast", T, "karras") and isinstance(loaded, FewStep)
    made = {steps: sample.images(loaded, schedule, 3, steps=steps) for steps in (1, 2, 4)}
    assert torch.equal(made[4], sample.images(loaded, schedule, 3))
    assert torch.equal(made[4], sample.images(loaded, schedule, 3, **protocol.sampling(schedule, loaded)))
    x_T = torch.stack([torch.randn(3, 8, 8, generator=g) for g in samplers.example_generators(0, 0, 3)])
    with torch.no_grad():
        one = loaded(x_T, torch.full((3,), T), torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(made[1], one.clamp(-1, 1))
    with pytest.raises(ValueError, match="distilled for 1, 2, 4 steps, not for 3"):
        sample.images(loaded, schedule, 3, steps=3)
    for more in ({"sampler": "heun"}, {"eta": 1.0}, {"spacing": "lambda"}):
        with pytest.raises(ValueError, match="no sampler but plain ddim"):
            sample.images(loaded, schedule, 3, **more)
    for run in (samplers.heun, samplers.euler_flow, samplers.ddpm):
        with pytest.raises(ValueError, match="for other samplers, for editing and for fusion take its teacher"):
            samplers.final(run(loaded.at(4), schedule, x_T))
    with pytest.raises(ValueError, match="for other samplers, for editing and for fusion take its teacher"):
        loaded(x_T, torch.full((3,), T))
    with pytest.raises(ValueError, match="no classes"):
        sample.images(loaded, schedule, 3, y=torch.zeros(3, dtype=torch.long))


def test_bad_settings_are_told(teacher, tmp_path):
    with pytest.raises(ValueError, match="rungs must double"):
        FewStepConfig(rungs=(1, 3))
    with pytest.raises(ValueError, match="3 rungs need as many classes"):
        network = copy.copy(UNET)
        object.__setattr__(network, "classes", 2)
        FewStepConfig(network=PreconditionedConfig("edm", "karras", T, network))
    with pytest.raises(ValueError, match="most must be a power of two, got 6"):
        recipe_of(teacher, most=6).build()
    with pytest.raises(ValueError, match="works on 8 pixels"):
        recipe_of(teacher, size=16).build()
    with pytest.raises(ValueError, match="T = 32 cannot be shared evenly by 64 steps"):
        FewStepConfig((1, 2, 4, 8, 16, 32, 64), TEACHER)
    with pytest.raises(ValueError, match="4 steps of 16 substeps each are more than the 32 levels"):
        recipe_of(teacher, substeps=16).build()
    with pytest.raises(ValueError, match="cannot be the teacher"):
        recipe_of("cats32-cosine", size=32).build()


@pytest.mark.parametrize("label", [0, 2])
def test_a_process_may_see_one_rung_alone(teacher, label):
    model, ema, schedule = recipe_of(teacher).build()
    trained, steps = checkpoints.load(teacher).model, 2**label
    x, t = normal(2, 3, 8, 8).clamp(-1, 1), torch.tensor([T, T])
    batch = x, torch.full((2,), label), t, t - T // steps, normal(2, 3, 8, 8, seed=5)
    error = distillation.loss(model, ema.model, trained, *batch, schedule, (1, 2, 4))
    assert error.shape == (2,) and bool(error.isfinite().all())


def test_a_perfect_student_has_no_loss():
    """One rung of one step, one point: teacher and student both know x_0."""
    s = schedules.karras(T)
    point = normal(1, 3, 2, 2).clamp(-1, 1)
    ideal = IdealDenoiser(point, s)
    label, t, before = distillation.draw(20, (1, 2), s, torch.Generator().manual_seed(1))

    class Student:
        predicts = "x_0"

        def __call__(self, x_t, t, y=None):
            return point.expand_as(x_t)

    error = distillation.loss(
        Student(), Student(), ideal, point.expand(20, -1, -1, -1), label, t, before, normal(20, 3, 2, 2), s, (1, 2)
    )
    assert error.max() < 1e-4
