"""The study of notebook 09: what it asks for, and that it measures what it says."""

import pytest
import torch

from course_utils import recipes, samplers, schedules
from course_utils.data.named import named_set
from course_utils.metrics.features import Network, extract
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.models.unet import UNetConfig
from course_utils.studies import fast

N = 12


@pytest.fixture
def tools(monkeypatch):
    """Score a dozen pictures by coarse pixels."""
    monkeypatch.setattr(fast, "N", N)

    def pixels(levels):
        return torch.nn.functional.adaptive_avg_pool2d(levels / 255, 2).flatten(1)

    network = Network("pixels", 12, 8, torch.device("cpu"), pixels, "")
    reference = extract(named_set("drawn:automobile:test", size=32)[:N][0], network)
    return lambda: (network, reference)


def test_heun_is_asked_for_no_more_evaluations_than_the_others():
    for asked in (*fast.FEW, fast.MANY):
        assert asked - 1 <= samplers.evaluations_of("heun", samplers.steps_for("heun", asked)) <= asked
        assert samplers.evaluations_of("ddim", asked) == samplers.steps_for("ddim", asked) == asked
    assert samplers.steps_for("heun", 5) == 3 and samplers.evaluations_of("heun", 3) == 5


def test_every_way_of_sampling_has_a_name_of_its_own():
    for name in (*fast.CHECKPOINTS, fast.DISTILLED):
        ways = fast.ways(name)
        labels = [fast.label(name, *way) for way in ways]
        assert len(set(labels)) == len(labels)
        asked = {(sampler, evaluations) for sampler, evaluations, _ in ways}
        if name == fast.DISTILLED:
            assert asked == {("ddim", 1), ("ddim", 2), ("ddim", 4)}
        else:
            assert {(s, 20) for s in fast.SAMPLERS} <= asked
            assert (("ddpm", 1000) in asked) == (name != "cars32-flow")
    assert fast.label("a", "heun", 20, {"churn": 30}) == "a, heun 20, churn 30"


def test_variants_differ_from_the_baseline_in_what_their_name_says():
    for name, recipe in fast.VARIANTS.items():
        assert recipe.steps == fast.BASE.steps and recipe.data == fast.DATA, name
    differences = {name: set(fast.BASE.differences(r.as_dict())) for name, r in fast.VARIANTS.items()}
    assert differences["lr 2e-4"] == differences["lr 1e-4"] == {"lr"}
    assert differences["no clipping"] == {"clip"} and differences["edm"] == set()
    assert differences["no attention"] == differences["no skip scaling"] == {"network"}
    assert differences["flow, optimal transport"] - differences["flow"] == {"coupling"}


def test_a_score_counts_evaluations_and_has_an_error(tools, monkeypatch):
    asked = []
    network = UNetConfig(patch=2, width=8, multipliers=(1,), blocks=1, attention=(), T=1, predicts="F")
    model = Preconditioned(PreconditionedConfig("flow", "flow", 100, network)).eval()
    model.register_forward_hook(lambda *_: asked.append(1))
    schedule = schedules.flow(100)
    for sampler in (*fast.SAMPLERS, "ddpm"):
        asked.clear()
        score = fast.Score(**fast._scored(model, schedule, sampler, 10, tools))
        assert len(asked) == score.evaluations == (9 if sampler == "heun" else 10)
        assert score.fd > 0 and score.fd_se > 0
    plain, churned = (fast._scored(model, schedule, "heun", 10, tools, **more) for more in ({}, {"churn": 30}))
    assert plain["fd"] != churned["fd"]
    asked.clear()
    every = fast._scored(model, schedule, "ddpm", schedule.T, tools)
    assert len(asked) == every["evaluations"] == 100


def test_texture_is_contrast_and_roughness():
    stripes = torch.tensor([-0.5, 0.5]).repeat(16).expand(4, 3, 32, 32)
    contrast, roughness = fast.texture(stripes)
    assert contrast == pytest.approx(0.5, rel=1e-3) and roughness == pytest.approx(1)
    assert fast.texture(stripes.transpose(2, 3)) == pytest.approx((contrast, 1)) and fast.texture(stripes * 0)[1] == 0


@pytest.mark.parametrize("name", ["edm", "flow, optimal transport"])
def test_a_short_training_is_written_down_step_by_step(tools, name):
    recipe = fast.VARIANTS[name].changed(
        steps=3, data="drawn:automobile", network="tiny-half", batch_size=4, precision="float32"
    )
    tensors, facts = fast._trained(recipe, tools)
    assert len(tensors["losses"]) == len(tensors["norms"]) == 3 and bool((tensors["norms"] > 0).all())
    ways = [(sampler, asked) for sampler, asked, _ in facts["scores"]]
    assert ways == list(fast.AFTER_FLOW if recipe.framework == "flow" else fast.AFTER)
    quiet, facts = fast._trained(recipe, None)
    assert torch.equal(quiet["losses"], tensors["losses"]) and facts["scores"] == []


def test_the_explosion_is_the_same_loss_asked_of_another_answer():
    """At t = 1 an error of x_0 counts 24,000 times as much as one of eps."""
    weighted, plain = fast.EXPLOSIONS["x_0 with the weight of eps"], fast.EXPLOSIONS["eps"]
    assert set(weighted.differences(plain.as_dict())) == {"predicts", "weight"}
    snr = schedules.cosine().log_snr.exp()
    assert 24_000 < float(snr[1]) < 24_500
    assert recipes.get("cars32-ddpm").weight is None


def test_stored_results_are_those_of_this_code_and_say_what_the_notebook_promises():
    found = fast.load()
    for name in ("cars32-ddpm", fast.TEACHER):  # with twenty evaluations as good as with a thousand
        ancestral = found.score(name, "ddpm", fast.MANY)
        twenty = [found.score(name, sampler, 20) for sampler in fast.SAMPLERS]
        assert ancestral.evaluations == fast.MANY and {s.evaluations for s in twenty} == {19, 20}
        assert min(s.fd for s in twenty) <= 1.05 * ancestral.fd
    student, teacher = found.score(fast.DISTILLED, "ddim", 4), found.score(fast.TEACHER, "ddpm", fast.MANY)
    assert student.evaluations == 4 and student.fd <= 1.25 * teacher.fd
    with pytest.raises(KeyError):
        found.score("cars32-flow", "ddim", 7)
    for scores in found.curve.values():
        assert all(found.floor["fd"] < s.fd and 0 < s.fd_se < 5 for s in scores)
    for name, recipe in (fast.VARIANTS | fast.EXPLOSIONS).items():
        run = found.runs[name]
        assert run.losses.shape == run.norms.shape == (recipe.steps,) and run.losses.isfinite().all(), name
        assert bool(run.scores) == (name in fast.VARIANTS), name
