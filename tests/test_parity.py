"""Step by step against `diffusers`, an independent implementation, in float64 and with identical noise.

Its timestep is ours minus one: it counts from 0 and has no index for the clean data.
"""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.training_utils import compute_snr

from course_utils import diffusion, samplers, schedules

T = 50
PREDICTION_TYPE = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}
EVERY_PREDICTION = pytest.mark.parametrize("predicts", PREDICTION_TYPE)
EVERY_SCHEDULE = pytest.mark.parametrize("name", ["linear", "cosine"])
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def make(cls, name, predicts="eps", **options):
    """Our schedule in float64, and a scheduler of theirs that holds the same numbers."""
    ours = schedules.make(name, T, dtype=torch.float64)
    options = {"prediction_type": PREDICTION_TYPE[predicts], "trained_betas": ours.beta[1:].tolist(), **options}
    theirs = cls(num_train_timesteps=T, **options)
    # diffusers keeps float32 whatever it is given; with its own betas the comparison would stop at 1e-4
    theirs.betas, theirs.alphas, theirs.alphas_cumprod = ours.beta[1:], ours.alpha[1:], ours.alpha_bar[1:].clone()
    if hasattr(theirs, "final_alpha_cumprod"):
        assert theirs.final_alpha_cumprod == 1  # set_alpha_to_one, its default: t = 0 is the clean data, as with us
    return ours, theirs


def network(predicts):
    """A stand-in with some of everything: it depends on x and t and leaves [-1, 1]."""

    def model(x, t, y=None):
        return 1.5 * torch.sin(2 * x) + 0.01 * t.view(-1, 1, 1, 1) - 0.3 * x.flip(1)

    model.predicts = predicts
    return model


def noise(seed=0, n=6):
    return torch.randn(n, 3, 2, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def follow(scheduler, model, x, **options):
    """x after every step of theirs, on its own timesteps."""
    yield x
    for t in scheduler.timesteps.tolist():
        answer = model(x, torch.full((len(x),), t + 1))
        x = scheduler.step(answer, t, x, **options).prev_sample
        yield x


def assert_same_path(ours, theirs, **tolerance):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for record, x in zip(ours, theirs, strict=True):
        torch.testing.assert_close(record.x, x, msg=lambda m, t=record.t: f"x_{t}: {m}", **tolerance)


@EVERY_SCHEDULE
@EVERY_PREDICTION
@pytest.mark.parametrize(("variance", "theirs"), [("beta_tilde", "fixed_small"), ("beta", "fixed_large")])
@pytest.mark.parametrize("clip", [False, True])
def test_ddpm(name, predicts, variance, theirs, clip):
    # its clamp of the posterior variance at 1e-20 acts at t = 1 alone, where neither side adds noise
    schedule, scheduler = make(DDPMScheduler, name, predicts, variance_type=theirs, clip_sample=clip)
    model, x_T = network(predicts), noise()
    scheduler.set_timesteps(T)
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    path = samplers.ddpm(model, schedule, x_T, variance=variance, clip=clip, generator=generators[0])
    assert_same_path(path, follow(scheduler, model, x_T, generator=generators[1]), **EXACT)


@EVERY_SCHEDULE
@EVERY_PREDICTION
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_ddim(name, predicts, eta, clip):
    # "trailing" gives our levels; with its default, "leading", diffusers starts from x_T as if it were x_{T - T/steps}.
    # Steps that divide T: otherwise its idea of the previous timestep is T // steps away and not the next in the list
    schedule, scheduler = make(DDIMScheduler, name, predicts, clip_sample=clip, timestep_spacing="trailing")
    model, x_T = network(predicts), noise()
    scheduler.set_timesteps(10)
    generators = [torch.Generator().manual_seed(7) for _ in range(2)]
    # at its last step diffusers draws noise too, and multiplies it by a variance of 0
    path = list(samplers.ddim(model, schedule, x_T, steps=10, eta=eta, clip=clip, generator=generators[0]))
    # this option brings eps_hat in step with the clipped x0_hat, as we always do
    options = {"eta": eta, "use_clipped_model_output": True, "generator": generators[1]}
    theirs = list(follow(scheduler, model, x_T, **options))
    assert [record.t - 1 for record in path[:-1]] == scheduler.timesteps.tolist()
    assert_same_path(path, theirs, **EXACT)


class Double(DPMSolverMultistepScheduler):
    """Theirs without its casts: `step` rounds the sample to float32, and `set_timesteps` the sigmas."""

    def step(self, model_output, timestep, sample, **options):
        self.exact = sample
        return super().step(model_output, timestep, sample, **options)

    def set_timesteps(self, steps):
        super().set_timesteps(steps)
        ladder = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()[self.timesteps]
        self.sigmas = torch.cat([ladder, ladder.new_zeros(1)])

    def dpm_solver_first_order_update(self, *args, sample, **options):
        return super().dpm_solver_first_order_update(*args, sample=self.exact, **options)

    def multistep_dpm_solver_second_order_update(self, *args, sample, **options):
        return super().multistep_dpm_solver_second_order_update(*args, sample=self.exact, **options)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, with newer numpy
@EVERY_SCHEDULE
@EVERY_PREDICTION
@pytest.mark.parametrize(("steps", "order", "clip"), [(1, 2, False), (7, 2, False), (20, 2, True), (10, 1, False)])
def test_dpm_solver_pp(name, predicts, steps, order, clip):
    # dynamic thresholding up to sample_max_value = 1, its default, is its way to say clip
    options = {"algorithm_type": "dpmsolver++", "solver_type": "midpoint", "solver_order": order}
    options |= {"final_sigmas_type": "zero", "timestep_spacing": "trailing", "thresholding": clip}
    schedule, scheduler = make(Double, name, predicts, **options)
    model, x_T = network(predicts), noise()
    scheduler.set_timesteps(steps)
    path = list(samplers.dpm_solver_pp(model, schedule, x_T, steps=steps, order=order, clip=clip))
    assert [record.t - 1 for record in path[:-1]] == scheduler.timesteps.tolist()
    assert_same_path(path, follow(scheduler, model, x_T), **EXACT)


@EVERY_SCHEDULE
def test_q_sample_and_v_target(name):
    schedule, scheduler = make(DDPMScheduler, name)
    t = torch.arange(1, T + 1)
    x_0, eps = noise(1, T), noise(2, T)
    torch.testing.assert_close(diffusion.q_sample(x_0, t, eps, schedule), scheduler.add_noise(x_0, eps, t - 1), **EXACT)
    v = scheduler.get_velocity(x_0, eps, t - 1)
    torch.testing.assert_close(diffusion.v_target(x_0, t, eps, schedule), v, **EXACT)


@EVERY_SCHEDULE
@EVERY_PREDICTION
def test_min_snr_weights_are_those_of_the_training_scripts(name, predicts):
    schedule, scheduler = make(DDPMScheduler, name)
    t = torch.arange(1, T + 1)
    snr = compute_snr(scheduler, t - 1).double()  # it casts to float32
    on_own_error = snr.clamp(max=5) / {"eps": snr, "x_0": 1, "v": snr + 1}[predicts]
    x_0, eps, model = noise(1, T), noise(2, T), network(predicts)
    plain = diffusion.weighted_loss(model, x_0, t, eps, schedule)
    weighted = diffusion.weighted_loss(model, x_0, t, eps, schedule, "min_snr")
    torch.testing.assert_close(weighted / plain, on_own_error, rtol=1e-5, atol=0)
