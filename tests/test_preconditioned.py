"""The U-Net inside EDM's or flow matching's preconditioning, and the recipes that train it."""

from functools import partial

import pytest
import torch
from torch import nn

from course_utils import checkpoints, frameworks, recipes, samplers, schedules, train, training
from course_utils.data.images import ImageSet
from course_utils.frameworks import EDM, Flow
from course_utils.ideal import IdealDenoiser
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.models.unet import UNetConfig

FRAMEWORKS = {"edm": EDM(), "flow": Flow()}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CONFIG = UNetConfig(size=8, width=16, multipliers=(1,), blocks=1, attention=(), T=1, predicts="F", classes=2)


def awaken(model):
    """Fill what is 0 in a fresh network, which answers 0 and does not listen to its labels."""
    for weight in model.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(0))


def preconditioned(framework, schedule, T=30):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Preconditioned(PreconditionedConfig(framework, schedule, T, CONFIG)).eval()
        awaken(model)
    return model.requires_grad_(False)


HOMES = pytest.mark.parametrize(("framework", "schedule"), [("edm", "karras"), ("flow", "flow"), ("edm", "cosine")])


@HOMES
def test_the_network_answers_D_at_levels_and_between_them(framework, schedule):
    model, home = preconditioned(framework, schedule), schedules.make(schedule, 30)
    x_t, y = normal(4, 3, 8, 8).float(), torch.tensor([0, 1, 2, 0])
    for t in (torch.tensor([1, 7, 29, 30]), torch.tensor([1.0, 1.3, 12.5, 29.9])):
        sigma = home.ratio_at(t)
        c = FRAMEWORKS[framework].precondition(sigma)
        x, shape = x_t * (1 + sigma**2).sqrt().view(-1, 1, 1, 1), (-1, 1, 1, 1)
        F = model.network(c.c_in.view(shape) * x, c.c_noise, y)
        torch.testing.assert_close(model(x_t, t, y), c.c_skip.view(shape) * x + c.c_out.view(shape) * F)
    told = torch.tensor([-1.0, 0.0, 0.4, 1.0])
    assert torch.equal(model(x_t, told, y, bare=True), model.network(x_t, told, y))
    assert not torch.allclose(model.network(x_t, told, y), model.network(x_t, told, y.flip(0)))
    assert not torch.allclose(model(x_t, torch.full((4,), 7), y), model(x_t, torch.full((4,), 7.5), y))
    for t in (0.5, 30.5):
        with pytest.raises(IndexError, match=r"t must lie in 1\.\.30"):
            model(x_t, torch.full((4,), t), y)


class Exact(nn.Module):
    """What F answers when the data are N(mean, std^2): D, solved for F."""

    def __init__(self, framework, mean, std):
        super().__init__()
        self.framework, self.mean, self.std = framework, mean, std

    def forward(self, x_in, c_noise, y=None):
        sigma = (4 * c_noise).exp() if isinstance(self.framework, EDM) else c_noise / (1 - c_noise)
        c_skip, c_out, c_in, _ = (v.view(-1, 1, 1, 1) for v in self.framework.precondition(sigma))
        x, share = x_in / c_in, (self.std**2 / (self.std**2 + sigma**2)).view(-1, 1, 1, 1)
        return (self.mean + share * (x - self.mean) - c_skip * x) / c_out


@HOMES
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_every_sampler_takes_it_on_its_home_schedule(framework, schedule, sampler):
    home = schedules.make(schedule, 30, dtype=torch.float64)
    model = preconditioned(framework, schedule)
    model.network, model.schedule = Exact(FRAMEWORKS[framework], 0.3, 0.5), home
    ideal = IdealDenoiser(torch.full((1, 1, 2, 2), 0.3).double(), home, std=0.5)
    paths = (
        samplers.SAMPLERS[sampler](m, home, normal(5, 1, 2, 2), generator=torch.Generator().manual_seed(1))
        for m in (model, ideal)
    )
    for ours, known in zip(*paths, strict=True):
        torch.testing.assert_close(ours.x, known.x, rtol=1e-5, atol=1e-5)  # t is close to 1 at the end of "flow"
    assert model.predicts == "x_0"


def test_an_exported_one_comes_back_and_wrong_ones_are_refused(tmp_path):
    model, path = preconditioned("flow", "flow"), tmp_path / "made.safetensors"
    checkpoints.export(path, model, {"name": "flow", "T": 30}, {"data": "noise"})
    made = checkpoints.load(path)
    assert made.model.config == model.config and made.schedule.name == made.model.schedule.name == "flow"
    assert (made.model.config.size, made.model.config.channels, made.model.config.classes) == (8, 3, 2)
    model.network.half().float()  # files hold float16
    x_t, t, y = normal(2, 3, 8, 8).float(), torch.tensor([3.5, 20.0]), torch.tensor([0, 1])
    assert torch.equal(made.model(x_t, t, y), model(x_t, t, y))
    with pytest.raises(ValueError, match=r"unknown framework 'ddpm': choose edm or flow \(ddpm is a plain network\)"):
        PreconditionedConfig("ddpm")
    for wrong in ({"T": 1000}, {"predicts": "eps"}):
        with pytest.raises(ValueError, match="has T = 1 and predicts = 'F'"):
            PreconditionedConfig(network={"T": 1, "predicts": "F"} | wrong)
    with pytest.raises(ValueError, match="unknown schedule 'edm'"):
        Preconditioned(PreconditionedConfig(schedule="edm", network=CONFIG))


# ---- recipes

NAMES = ("cars32-ddpm", "cars32-edm", "cars32-flow")


def tiny(name, **changes):
    small = {"network": "tiny-half", "size": 16, "batch_size": 6, "steps": 6, "warmup": 2, "T": 50, "ema": 0.9}
    return recipes.RECIPES[name].changed(**small | changes)


def pictures(n=24, size=16):
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(n) % 2, ("a", "b"), "noise", False)


def test_one_switch_changes_the_levels_and_nothing_else():
    whole = [tiny(name).batches(pictures(), tiny(name).build()[2])(3) for name in NAMES]
    for batch in whole[1:]:
        assert torch.equal(batch.x_0, whole[0].x_0) and torch.equal(batch.eps, whole[0].eps)
    assert not whole[0].t.is_floating_point() and whole[0].t.min() >= 1
    for name, batch in zip(NAMES[1:], whole[1:], strict=True):
        recipe, (model, _, schedule) = tiny(name), tiny(name).build()
        assert bool((batch.t > 0).all()) and len(batch.t.unique()) == 6
        assert recipe.changed(framework="ddpm", schedule="cosine", predicts="eps") == tiny("cars32-ddpm")
        assert (model.config.framework, model.schedule.name, schedule.T) == (recipe.framework, recipe.schedule, 50)
        parts = [recipe.batches(pictures(), schedule, (rank, 2))(3) for rank in (0, 1)]
        assert all(torch.equal(a, torch.cat(b)) for a, *b in zip(batch, *parts, strict=True))
    assert len({sum(p.numel() for p in tiny(name).build()[0].parameters()) for name in NAMES}) == 1


def test_the_recipe_s_loss_is_the_framework_s():
    for name in NAMES[1:]:
        recipe = tiny(name, classes=2)
        model, _, schedule = recipe.build()
        awaken(model)
        batch = recipe.batches(pictures(), schedule)(1)
        framework = frameworks.make(recipe.framework, schedule)
        x_0, y, sigma, eps = batch
        each = sigma.view(-1, 1, 1, 1)
        D = frameworks.denoise(framework, model.network, x_0 + each * eps, sigma, y)
        error = (D - x_0).square().mean((1, 2, 3)) / framework.precondition(sigma).c_out ** 2
        torch.testing.assert_close(recipe.loss(model, batch, schedule), error.mean(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_optimal_transport_pairs_the_same_noise_anew(name):
    recipe = tiny(name, coupling="ot")
    schedule = recipe.build()[2]
    paired, plain = (r.batches(pictures(), schedule)(2) for r in (recipe, tiny(name)))
    assert torch.equal(paired.x_0, plain.x_0) and torch.equal(paired.t, plain.t)
    assert torch.equal(paired.eps, frameworks.coupled(plain.x_0, plain.eps)) and not torch.equal(paired.eps, plain.eps)
    distances = [(b.x_0 - b.eps).square().sum() for b in (paired, plain)]
    assert distances[0] < distances[1]
    with pytest.raises(ValueError, match="unknown coupling 'sinkhorn': choose independent or ot"):
        tiny(name, coupling="sinkhorn").batches(pictures(), schedule)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_run_goes_on_bit_for_bit(name, tmp_path):
    def go(**options):
        model, ema, schedule = tiny(name).build()
        records = tiny(name).fit(model, ema, pictures(), schedule, **options)
        return model, ema, records

    whole, whole_ema, records = go()
    losses = [r.loss for r in records]
    _, _, records = go(state=tmp_path / "state")
    assert [next(records).loss for _ in range(3)] == losses[:3]
    records.close()
    model, ema, records = go(state=tmp_path / "state")
    assert [r.loss for r in records] == losses[3:]
    for ours, theirs in ((model, whole), (ema.model, whole_ema.model)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert training.history(tmp_path / "state")[:, 0].tolist() == losses


class Wrapped(nn.Module):
    """As DistributedDataParallel does: it forwards calls, counts them, and hides everything else."""

    def __init__(self, module):
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, *arguments, **options):
        self.calls += 1
        return self.module(*arguments, **options)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_wrapper_for_several_processes_sees_the_call_that_is_trained(name):
    recipe = tiny(name)
    model, _, schedule = recipe.build()
    batch, wrapped = recipe.batches(pictures(), schedule)(1), Wrapped(model)
    recipe.loss(wrapped, batch, schedule).backward()
    assert wrapped.calls == 1 and all(p.grad is not None for p in model.parameters())
    assert torch.equal(recipe.loss(wrapped, batch, schedule), recipe.loss(model, batch, schedule))


@pytest.mark.parametrize("name", NAMES[1:])
def test_one_batch_can_be_learned_by_heart(name):
    recipe = tiny(name)
    model, _, schedule = recipe.build()
    batch = recipe.batches(pictures(), schedule)(1)
    loss = partial(recipe.loss, schedule=schedule)
    losses = [r.loss for r in training.fit(model, loss, lambda step: batch, 60, lr=5e-3)]
    assert losses[-1] < 0.6 * losses[0]


def test_recipes_name_a_wrong_framework():
    with pytest.raises(ValueError, match="unknown framework 'vp': choose edm or flow"):
        tiny("cars32-edm", framework="vp").build()
    with pytest.raises(ValueError, match="unknown schedule 'edm'"):
        tiny("cars32-edm", schedule="edm").build()


def test_a_framework_says_what_is_predicted():
    for changes in ({"predicts": "v"}, {"weight": "min_snr"}):
        with pytest.raises(ValueError, match=r"framework=edm says what the network predicts .* set predicts=F"):
            tiny("cars32-edm", **changes).network_config()
    with pytest.raises(ValueError, match="latents are diffused by framework=ddpm alone, got 'edm'"):
        recipes.get("ldm-faces64").changed(framework="edm", predicts="F", weight=None).network_config()


def test_a_run_starts_from_a_checkpoint_of_its_own_framework_alone(tmp_path):
    for name in NAMES:
        model = tiny(name).build()[0]
        awaken(model)
        checkpoints.export(tmp_path / f"{name}.safetensors", model, tiny(name).schedule_facts(), {})
    kept = checkpoints.load(tmp_path / "cars32-edm.safetensors")
    asked = tiny("cars32-edm", classes=2).build()[0]
    checkpoints.fill(asked, train._start(kept, asked), tmp_path)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 40])
    with torch.no_grad():
        torch.testing.assert_close(asked(x, t, torch.tensor([0, 2])), kept.model(x, t))
    for start, wanted in (("edm", "flow"), ("flow", "edm"), ("ddpm", "edm"), ("edm", "ddpm")):
        origin = checkpoints.load(tmp_path / f"cars32-{start}.safetensors")
        with pytest.raises(ValueError, match=f"trained by framework={start} and cannot start one of {wanted}"):
            train._start(origin, tiny(f"cars32-{wanted}").build()[0])
    with pytest.raises(ValueError, match="a student starts as its teacher: leave --init out"):
        train.run("fast", recipes.FewStepRecipe(), tmp_path / "out", init="cars32-edm")
