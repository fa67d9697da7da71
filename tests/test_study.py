"""Stored comparisons: whole, refused when stale, and resumed where they stopped."""

import json
import time
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch

from course_utils import checkpoints, metrics, sample, schedules
from course_utils.data import drawn
from course_utils.data.levels import from_bytes, to_bytes
from course_utils.models import unet
from course_utils.models.dcgan import DCGANConfig, Generator
from course_utils.models.vae import Encoded, VAEConfig
from course_utils.recipes import BaseRecipe, Recipe
from course_utils.studies import adversaries, autoencoders, conditioning, judge, networks, store, styles


def doubled(x: float, done: list, fails: bool = False) -> store.Job:
    def work():
        if fails and len(done) == 1:
            raise KeyboardInterrupt
        done.append(x)
        return {"x": torch.tensor([x]), "part": torch.zeros(2)}, {"twice": 2 * x}

    return store.Job({"x": x}, work)


def test_an_interrupted_study_goes_on_and_the_old_results_stay_until_then(tmp_path):
    path, done = tmp_path / "study.safetensors", []
    assert store.complete(path, {"a": doubled(5.0, [])}) == []
    with pytest.raises(KeyboardInterrupt):
        store.complete(path, {"a": doubled(1.0, done), "b/c": doubled(2.0, done, fails=True)})
    assert store.load(path, {"a": {"x": 5.0}}, "make it")["a"][1]["twice"] == 10
    assert store.complete(path, {"a": doubled(1.0, done), "b/c": doubled(2.0, done)}) == [] and done == [1, 2]
    found = store.load(path, {"a": {"x": 1.0}, "b/c": {"x": 2.0}}, "make it")
    assert set(found["b/c"][0]) == {"x", "part"} and found["b/c"][0]["x"] == 2 and found["a"][1]["twice"] == 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_study_is_computed_anew_unless_only_what_is_stale_is_asked_for(tmp_path):
    path, done = tmp_path / "study.safetensors", []
    jobs = {"a": doubled(1.0, done), "b": doubled(2.0, done)}
    store.complete(path, jobs)
    store.complete(path, jobs)
    assert done == [1, 2, 1, 2]
    store.complete(path, jobs | {"b": doubled(3.0, done)}, stale=True)
    assert done[4:] == [3]
    store.complete(path, jobs | {"b": doubled(3.0, done)}, only=["a"])
    assert done[5:] == [1]
    assert store.complete(path, jobs, only=["a"]) == ["b"], "which is stale and was not asked for"
    assert store.load(path, {"b": {"x": 3.0}}, "make it")


def test_stale_results_are_not_shown(tmp_path):
    path = tmp_path / "study.safetensors"
    recipe = Recipe(steps=7)
    store.complete(path, {"a": store.Job({"recipe": recipe, "n": 5}, lambda: ({}, {}))})
    assert store.load(path, {"a": {"recipe": recipe, "n": 5}}, "make it")["a"][1]["spec"]["recipe"]["steps"] == 7
    for spec in ({"recipe": recipe.changed(lr=1.0), "n": 5}, {"recipe": recipe, "n": 6}, {"recipe": recipe}):
        with pytest.raises(RuntimeError, match="holds no 'a' as it is now: regenerate it with `make it`"):
            store.load(path, {"a": spec}, "make it")
    with pytest.raises(RuntimeError, match="holds no 'b'"):
        store.load(path, {"b": {}}, "make it")


def test_pictures_are_stored_small_and_come_back_in_place_as_they_looked(tmp_path):
    path, done = tmp_path / "study.safetensors", []
    levels = to_bytes(drawn.draw(24, "cat").images).view(3, 8, 3, 32, 32)
    order = torch.arange(9, dtype=torch.uint8)

    def work():
        done.append(1)
        return {"film": levels, "order": order, "curve": torch.rand(2, 3, 4, 5)}, {"fd": 1.0}

    jobs = {"a": store.Job({"x": 1}, work)}
    for _ in range(2):  # the second time what is stored goes from file to file
        store.complete(path, jobs, stale=True)
        tensors, facts = store.load(path, {"a": {"x": 1}}, "make it")["a"]
        psnr = metrics.psnr(from_bytes(tensors["film"]).flatten(0, 1), from_bytes(levels).flatten(0, 1))
        assert tensors["film"].shape == levels.shape and tensors["film"].dtype == torch.uint8 and psnr.min() > 30
        assert torch.equal(tensors["order"], order) and tensors["curve"].shape == (2, 3, 4, 5)
        assert set(facts) == {"spec", "fd"} and path.stat().st_size < levels.numel() / 2
    assert done == [1]


def test_a_recipe_that_has_grown_a_field_keeps_its_results(tmp_path):
    path = tmp_path / "study.safetensors"
    old = {name: value for name, value in Recipe().as_dict().items() if name != "per_class"}
    checkpoints.write(path, {}, {"a": {"spec": {"recipe": old}}})
    assert store.load(path, {"a": {"recipe": Recipe()}}, "make it")
    with pytest.raises(RuntimeError):
        store.load(path, {"a": {"recipe": Recipe(per_class=3)}}, "make it")


# ---- notebook 03


def test_every_stored_network_loads_with_scores_at_one_n():
    results, floor = networks.load()
    assert list(results) == list(networks.VARIANTS) and floor["n"] == networks.N
    for name, result in results.items():
        assert result.pictures.shape == result.last.shape == (networks.SHOWN, 3, 32, 32), name
        assert len(result.losses) == networks.VARIANTS[name].steps and result.losses.isfinite().all()
        assert all(
            result.scores[kind]["n"] == networks.N and result.scores[kind]["fd"] > 0 for kind in networks.WEIGHTS
        )


@pytest.fixture
def few_pictures(monkeypatch):
    images = BaseRecipe.images

    def few(recipe, split="train"):
        whole = images(recipe, split)
        return replace(whole, pixels=whole.pixels[:60], labels=whole.labels[:60])

    monkeypatch.setattr(BaseRecipe, "images", few)


def test_the_networks_of_a_study_are_trained_and_scored(tmp_path, monkeypatch, few_pictures, quick_judge):
    small = networks.BASE.changed(network="convnet", T=5, steps=3, batch_size=4, warmup=1)
    monkeypatch.setattr(networks, "BASE", small)
    monkeypatch.setattr(networks, "VARIANTS", {"baseline": small, "linear schedule": small.changed(schedule="linear")})
    monkeypatch.setattr(networks, "SAMPLING", {**networks.SAMPLING, "steps": 2})
    monkeypatch.setattr(networks, "N", networks.SHOWN)
    path = tmp_path / "study.safetensors"
    monkeypatch.setattr("sys.argv", ["study", "--out", str(path)])
    store.command("none", networks.jobs, "about")
    results, floor = networks.load(path)
    assert list(results) == ["baseline", "linear schedule"] and floor["n"] == networks.SHOWN
    assert [step for step, _ in results["baseline"].along] == [1, 2] and not results["linear schedule"].along


# ---- notebook 04


@pytest.fixture
def quick_judge(monkeypatch):
    """A judge whose features are coarse thumbnails, of few pictures."""

    def thumbnails(levels):
        return torch.nn.functional.avg_pool2d(levels, 8).flatten(1) / 255

    cheap = metrics.features.Network("thumbnails", 48, 32, torch.device("cpu"), thumbnails)
    monkeypatch.setattr(metrics.features, "network", lambda *a, **k: cheap)
    few = judge.named_set
    monkeypatch.setattr(judge, "named_set", lambda text, n=None: few(text, n=min(n or 60, 60)))
    monkeypatch.setattr(judge, "FITTED", 60)
    monkeypatch.setattr(conditioning, "N", 30)
    monkeypatch.setattr(conditioning, "SHOWN", 3)
    monkeypatch.setattr(networks, "SAMPLING", {**networks.SAMPLING, "steps": 2})
    return cache(judge.Judge)


def test_the_judge_tells_drawn_cats_from_frogs_and_knows_their_floor(quick_judge):
    cats, frogs = (drawn.draw(40, kind, 32, seed=9).images for kind in judge.CLASSES)
    ours = quick_judge("drawn")
    assert ours.scores(cats, "cat")["called"] > 0.7 > 0.3 > ours.scores(frogs, "cat")["called"]
    assert ours.floor("cat", 20)["fd"] < ours.scores(frogs, "cat")["fd"]
    assert ours.attributes()["fur"].accuracy > 0.3 and set(ours.attributes()) == set(judge.FACTORS)
    with pytest.raises(ValueError, match="only drawn pictures come with their factors"):
        quick_judge("cifar10").attributes()


@pytest.mark.parametrize("name", ["cifar10 cats, 500 of each, seed 1", "cifar10 cats and frogs, 500 of each, seed 0"])
def test_one_class_or_two_is_scored_half_way_and_at_the_end(name, quick_judge, few_pictures):
    recipe = conditioning.RUNS[name].changed(network="tiny-half", steps=4, batch_size=4, warmup=1, per_class=0)
    recipe = recipe.changed(data=recipe.data.replace("cifar10", "drawn"))
    tensors, facts = conditioning.trained(recipe, (0.5, 1.0), quick_judge, "drawn")
    classes = conditioning.classes_of(recipe)
    assert set(facts["scores"]) == set(classes) and all(len(both) == 2 for both in facts["scores"].values())
    assert tensors["pictures"].shape == (len(classes), 3, 3, 32, 32) and tensors["pictures"].dtype == torch.uint8
    assert facts["scores"]["cat"][0] != facts["scores"]["cat"][1]


def test_a_gan_is_asked_for_both_classes(quick_judge, few_pictures):
    recipe = conditioning.GANS["GAN projection, averaged, seed 0"].changed(width=8, steps=2, batch_size=4)
    tensors, facts = conditioning.trained(recipe, (1.0,), quick_judge, "drawn")
    assert set(facts["scores"]) == {"cat", "frog"} and tensors["pictures"].shape == (2, 3, 3, 32, 32)


def conditional(classes: int) -> checkpoints.Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = unet.UNet(unet.config("tiny-half", predicts="x_0", T=20, classes=classes))
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.1) if p.ndim > 1 else None
    card = {"classes": [f"class {k}" for k in range(classes)]}
    return checkpoints.Checkpoint("made-up", model.eval().requires_grad_(False), schedules.cosine(20), card)


def test_what_is_stored_for_notebook_04_belongs_to_the_checkpoints_that_ship():
    found = conditioning.load()
    floors = {name: found[f"cifar10 {name}, floor"][1]["scores"]["fd"] for name in judge.CLASSES}
    for scale in conditioning.SCALES:
        tensors, facts = found[conditioning.guidance("catfrog32", scale)]
        assert tensors["pictures"].shape == (2, conditioning.SHOWN, 3, 32, 32)
        assert all(facts["scores"][name]["fd"] > floors[name] > 0 for name in judge.CLASSES)
    for name in (*conditioning.RUNS, *conditioning.GANS):
        assert all(score["n"] == conditioning.N for part in found[name][1]["scores"].values() for score in part)
    (teller,) = conditioning.recognisers(found["cifar10 recogniser"])
    assert teller.options == judge.CLASSES and 0.5 < teller.accuracy < 1


def test_guidance_is_scored_class_by_class(quick_judge, monkeypatch):
    monkeypatch.setattr(checkpoints, "load", lambda *a: conditional(2)._replace(card={"classes": ["cat", "frog"]}))
    scales = {}
    for scale, interval in ((0.0, None), (3.0, None), (3.0, (5.0, 10.0))):
        tensors, facts = conditioning.guided("made-up", scale, interval, quick_judge, "drawn")
        assert set(facts["scores"]) == {"cat", "frog"}
        scales[scale, interval] = tensors["pictures"]
    nothing, everywhere, inside = scales.values()
    assert torch.equal(nothing[0], nothing[1]) and not torch.equal(everywhere[0], everywhere[1])
    assert not torch.equal(inside, everywhere) and not torch.equal(inside, nothing)


def test_attributes_are_counted_against_what_was_asked(quick_judge, monkeypatch):
    monkeypatch.setattr(checkpoints, "load", lambda *a: conditional(15))
    label = torch.arange(30) % 15
    wanted = {
        "pose": label // 5,
        "fur": label % 5,
        **{name: torch.zeros(30, dtype=torch.long) for name in ("pattern", "ears", "background")},
    }
    order = iter(judge.FACTORS)

    def perfect(_):  # stands in for recognisers that are never wrong, and a network that always obeys
        return wanted[next(order)]

    monkeypatch.setattr(judge.Judge, "_attributes", lambda self: dict.fromkeys(judge.FACTORS, perfect))
    _, facts = conditioning.attributes(1.0, quick_judge)
    assert facts["seen"]["pose"] == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert facts["seen"]["fur"] == (6 * torch.eye(5, dtype=torch.long)).tolist()
    assert facts["seen"]["background"] == [[30, 0, 0, 0, 0, 0]]


def test_blur_costs_more_the_more_there_is_of_it(quick_judge, monkeypatch):
    monkeypatch.setattr(conditioning, "named_set", lambda text, n: judge.named_set("drawn:cat", n=n))
    monkeypatch.setattr(conditioning, "SIDES", (24, 2))
    _, facts = conditioning.blurred("cat", quick_judge, "drawn")
    little, much = (scores["fd"] for scores in facts["scores"])
    assert little < much


def test_recognisers_survive_being_stored(tmp_path, quick_judge):
    path, ours = tmp_path / "study.safetensors", quick_judge("drawn").recogniser()
    store.complete(path, {"a": store.Job({}, lambda: conditioning.kept([ours]))})
    (back,) = conditioning.recognisers(store.load(path, {"a": {}}, "make it")["a"])
    x = torch.rand(5, 48)
    assert back.options == ours.options and back.accuracy == ours.accuracy and torch.equal(back(x), ours(x))


def test_every_job_has_a_definition_of_its_own_that_can_be_stored():
    jobs = conditioning.jobs()
    texts = [
        json.dumps({k: v.as_dict() if isinstance(v, BaseRecipe) else v for k, v in job.spec.items()}, sort_keys=True)
        for name, job in jobs.items()
        if "scale" in job.spec or "recipe" in job.spec
    ]
    assert len(texts) == len(set(texts)) > 30


# ---- notebook 05


@pytest.mark.parametrize("name", ["drawn, baseline", "drawn, KL weight 10"])
def test_an_autoencoder_is_looked_at_on_the_way_and_scored(name, quick_judge, few_pictures, monkeypatch):
    monkeypatch.setattr(autoencoders, "N", 24)
    monkeypatch.setattr(autoencoders, "POINTS", 3)
    monkeypatch.setattr(autoencoders, "SHOWN", 5)
    recipe = autoencoders.VARIANTS[name].changed(steps=6, batch_size=4, precision="float32")
    network, train, test = metrics.features.network(), recipe.images(), recipe.images("test")
    reference = metrics.features.extract(test, network)
    tensors, facts = autoencoders.measure(recipe, lambda *_: autoencoders.Tools(network, train, test, reference))
    assert tensors["curve"][:, 0].tolist() == [2, 4, 6] and tensors["curve"].shape == (3, 5)
    assert tensors["curve"].isfinite().all() and tensors["used"].shape == (recipe.latent,)
    assert tensors["samples"].shape == tensors["reconstructed"].shape == (5, 3, 32, 32)
    assert facts["scores"]["n"] == 24 and 0 < facts["psnr"] < 30 and abs(facts["ssim_strangers"]) < 1
    real = replace(test, real=True)
    tensors, _ = autoencoders.measure(recipe, lambda *_: autoencoders.Tools(network, train, real, reference))
    assert "reconstructed" not in tensors, "copies of photographs do not ship"


def test_principal_components_leave_out_what_they_should():
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(3, 3, 8, 8, generator=generator)
    axes = torch.linalg.qr((axes + axes.flip(-1)).flatten(1).T)[0].T  # mirrored pictures are the same ones
    codes = torch.randn(4000, 3, generator=generator) * torch.tensor([4.0, 2.0, 1.0])
    pictures = (codes @ axes).view(-1, 3, 8, 8)
    errors = autoencoders.linear(pictures[:3000], pictures[3000:], [1, 2, 3])
    assert list(errors) == [0, 1, 2, 3] and errors[3] == pytest.approx(0, abs=1e-3)
    assert [errors[n] for n in range(3)] == pytest.approx([10.5, 2.5, 0.5], rel=0.15)


def test_a_run_in_pixels_is_looked_at_four_times(quick_judge, few_pictures, monkeypatch):
    monkeypatch.setattr(autoencoders, "N", 24)
    monkeypatch.setattr(autoencoders, "SAMPLING", autoencoders.SAMPLING | {"steps": 2})
    recipe = autoencoders.PIXELS.changed(
        data="drawn:cat", size=32, network="tiny", steps=8, batch_size=4, precision="float32"
    )
    network, train, test = metrics.features.network(), recipe.images(), recipe.images("test")
    tools = autoencoders.Tools(network, train, test, metrics.features.extract(test, network))
    tensors, facts = autoencoders.diffuse(recipe, lambda *_: tools)
    assert tensors["curve"][:, 0].tolist() == [1, 2, 4, 8] and tensors["curve"].isfinite().all()
    assert tensors["curve"][-1, 2] == pytest.approx(facts["scores"]["fd"]) and facts["images_seen"] == 32
    assert tensors["samples"].shape == (autoencoders.SHOWN, 3, 32, 32) and facts["minutes"] >= 0


def test_errors_of_a_perfect_autoencoder_are_nothing():
    x = torch.rand(7, 3, 16, 16) * 2 - 1

    class Copy(torch.nn.Module):
        config = VAEConfig(size=16, width=16, multipliers=(1,), latent=2)

        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Linear(1, 1)  # tells the device

        def forward(self, x, eps=None):
            zero = torch.zeros(len(x), 2)
            return Encoded(x, zero, zero, zero)

    assert autoencoders.errors(Copy(), x) == (0.0, 0.0)
    assert torch.equal(autoencoders.encoded(Copy(), x)["x_hat"], x)


def test_what_is_stored_for_notebook_05_is_whole_and_holds_no_photograph():
    found = autoencoders.load()
    for name, recipe in autoencoders.VARIANTS.items():
        tensors, facts = found[name]
        assert tensors["curve"].shape == (autoencoders.POINTS, 5) and tensors["curve"].isfinite().all()
        assert tensors["curve"][-1, 0] == recipe.steps and tensors["used"].shape == (recipe.latent,)
        assert ("reconstructed" in tensors) == (recipe.data != "faces")
        assert facts["used"] == int((tensors["used"] > autoencoders.ACTIVE).sum())
        floor = found[f"{recipe.data}, floor"][1]["scores"]["fd"]
        assert facts["scores"]["fd"] > floor > 0 and facts["ssim_strangers"] < facts["ssim"]
    for kind in ("faces", "drawn"):
        names = [n for n in found if n.startswith((f"{kind}, KL", f"{kind}, baseline")) and "seed" not in n]
        names.sort(key=lambda n: autoencoders.VARIANTS[n].kl_weight)
        rates = [found[n][0]["curve"][-1, 4].item() for n in names]
        assert rates == sorted(rates, reverse=True), "the dearer the code, the shorter"
    assert found["pixels"][0]["curve"].shape == (autoencoders.LOOKS, 3)


# ---- notebook 06


@pytest.mark.parametrize("name", ["smoothed and noised", "relativistic, R1 and R2"])
def test_a_gan_is_scored_on_the_way_filmed_and_counted(name, quick_judge, few_pictures, monkeypatch):
    for constant, value in (("N", 24), ("SHOWN", 5), ("EVERY", 2), ("FRAMES", 4), ("FILM", 3)):
        monkeypatch.setattr(adversaries, constant, value)
    small = {"steps": 8, "width": 8, "batch_size": 4, "precision": "float32", "data": "drawn:cat"}
    recipe = adversaries.RUNS[f"drawn {name}, seed 0"].changed(**small)
    if name in adversaries.FILMED:
        monkeypatch.setitem(adversaries.RUNS, f"cifar10 {name}, seed 0", recipe)
    judges = []
    tensors, facts = adversaries.measure(recipe, lambda kind: judges.append(kind) or quick_judge(kind))
    assert set(judges) == {"drawn"}
    assert tensors["curve"].shape == (4, 4) and tensors["curve"].isfinite().all()
    assert tensors["pictures"].shape == (5, 3, 32, 32) and tensors["pictures"].dtype == torch.uint8
    assert ("film" in tensors) == (name in adversaries.FILMED)
    if "film" in tensors:
        assert tensors["film"].shape == (4, 3, 3, 32, 32)
        assert torch.equal(tensors["film"][-1], tensors["pictures"][:3]), (
            "the last frame and the pictures share their z"
        )
    assert [score["step"] for score in facts["scores"]] == [2, 4, 8]
    assert all(score["n"] == 24 for score in [*facts["scores"], facts["averaged"]])
    assert len(facts["seen"]) == 3
    for counts in facts["seen"]:
        for factor, seen in counts.items():
            assert len(seen) == len(drawn.FACTORS["cat"][factor]) and sum(seen) == 24


def test_looking_at_a_generator_leaves_it_in_training():
    generator = Generator(DCGANConfig(size=16, width=8)).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    first, second = sample.one_step(generator, 3), sample.one_step(generator, 5)
    torch.testing.assert_close(first, second[:3])  # in evaluation mode a picture does not depend on its neighbours
    assert generator.training and all(
        torch.equal(value, before[name]) for name, value in generator.state_dict().items()
    )


def test_what_is_stored_for_notebook_06_is_whole():
    found = adversaries.load()
    for name, recipe in adversaries.RUNS.items():
        tensors, facts = found[name]
        assert tensors["curve"].shape == (recipe.steps // adversaries.EVERY, 4) and tensors["curve"].isfinite().all()
        assert len(tensors["pictures"]) == adversaries.SHOWN
        assert facts["scores"][-1]["step"] == recipe.steps and facts["scores"][-1]["n"] == adversaries.N
        assert facts["scores"][-1]["fd"] > found[f"{name.split()[0]}, floor"][1]["scores"]["fd"]
        assert ("seen" in facts) == name.startswith("drawn")
    for name in adversaries.FILMED:
        frames = found[f"cifar10 {name}, seed 0"][0]["film"]
        assert frames.shape == (adversaries.FRAMES, adversaries.FILM, 3, 32, 32)
        assert all(not torch.equal(a, b) for a, b in pairwise(frames))


# ---- notebook 10


@pytest.fixture
def style_tools(quick_judge, few_pictures):
    recipe = styles.RUNS["StyleGAN2, seed 0"]
    network, train, test = metrics.features.network(), recipe.images(), recipe.images("test")
    return lambda *_: autoencoders.Tools(network, train, test, metrics.features.extract(test, network))


@pytest.mark.parametrize("name", ["StyleGAN2", "as StyleGAN"])
def test_a_stylegan_is_scored_and_looked_into(name, style_tools, monkeypatch):
    for constant, value in (("N", 24), ("SHOWN", 5), ("TRAITS", 6)):
        monkeypatch.setattr(styles, constant, value)
    small = {"steps": 4, "width": 4, "widest": 8, "batch_size": 4, "precision": "float32"}
    tensors, facts = styles.measure(styles.RUNS[f"{name}, seed 0"].changed(**small), style_tools)
    assert [score["step"] for score in facts["scores"]] == [2, 4] and facts["scores"][0]["n"] == 24
    assert tensors["pictures"].shape == (5, 3, 32, 32) and tensors["pictures"].dtype == torch.uint8
    assert tensors["peaks"].shape == (7,) and bool((tensors["peaks"] <= torch.tensor([4, 8, 8, 16, 16, 32, 32])).all())
    assert 0 < facts["noise_share"] < 1 and facts["length_spread"] > 0


@pytest.mark.parametrize("rival", ["StyleGAN2", "diffusion"])
def test_a_race_is_looked_at_and_ends(rival, style_tools, monkeypatch):
    for constant, value in (("N", 24), ("GLANCE", 12), ("FILM", 5), ("LOOKS", 3), ("MINUTES", 0.02)):
        monkeypatch.setattr(styles, constant, value)
    monkeypatch.setattr(metrics.protocol, "SAMPLING", metrics.protocol.SAMPLING | {"steps": 2})
    small = {"width": 4, "widest": 8} if rival == "StyleGAN2" else {"network": "tiny", "warmup": 0, "lr": 0.01}
    recipe = styles.RIVALS[rival].changed(data="drawn:face", size=32, batch_size=4, precision="float32", **small)
    tensors, facts = styles.race(recipe, style_tools)
    minutes = tensors["curve"][:, 0].tolist()
    assert tensors["curve"].shape == (3, 5) and minutes == sorted(minutes) and minutes[-1] >= 0.02
    assert tensors["film"].shape == (3, 5, 3, 32, 32) and not torch.equal(tensors["film"][0], tensors["film"][-1])
    assert facts["scores"]["n"] == 24 and facts["images_seen"] % 4 == 0 and facts["drawn_per_s"] > 0


def test_truncation_is_scored_on_the_same_z(style_tools, monkeypatch):
    for constant, value in (("N", 24), ("PSI", (0.0, 1.0))):
        monkeypatch.setattr(styles, constant, value)
    small = {"steps": 1, "width": 4, "widest": 8, "batch_size": 4, "precision": "float32"}
    model = styles.RUNS["StyleGAN2, seed 0"].changed(**small).build()[1].model.eval()
    tensors, facts = styles.truncation(model, style_tools)
    assert tensors == {} and [score["psi"] for score in facts["scores"]] == [0.0, 1.0]
    assert facts["scores"][0]["n"] == 24 and facts["scores"][0]["fd"] != facts["scores"][1]["fd"]
    assert facts == styles.truncation(model, style_tools)[1]


def test_minutes_leave_out_what_happens_between_the_records():
    def records():
        for k in range(3):
            until = time.process_time() + 0.05
            while time.process_time() < until:
                pass
            yield k

    taken = []
    for _, minutes in styles.timed(records(), torch.device("cpu")):
        taken.append(minutes)
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
    assert len(taken) == 3 and taken[-1] * 60 == pytest.approx(0.15, abs=0.1)


def test_what_is_stored_for_notebook_10_is_whole():
    found = styles.load()
    floor = found[f"floor, drawn:face, n = {styles.N}"][1]["scores"]["fd"]
    for name, run in styles.RUNS.items():
        tensors, facts = found[name]
        assert tensors["pictures"].shape == (styles.SHOWN, 3, styles.SIZE, styles.SIZE) and len(tensors["peaks"]) == 7
        assert [score["step"] for score in facts["scores"]] == [part * run.steps for part in styles.PARTS]
        assert all(score["n"] == styles.N and score["fd"] > floor for score in facts["scores"])
    for name in styles.RIVALS:
        tensors, facts = found[f"race, {name}"]
        minutes = tensors["curve"][:, 0]
        assert tensors["curve"].shape == (styles.LOOKS, 5) and tensors["curve"].isfinite().all()
        assert minutes.diff().gt(0).all() and minutes[-1] == pytest.approx(styles.MINUTES, abs=0.1)
        assert tensors["film"].shape == (styles.LOOKS, styles.FILM, 3, 64, 64)
        assert facts["scores"]["fd"] > found[f"floor, faces, n = {styles.N}"][1]["scores"]["fd"]
    assert [score["psi"] for score in found[f"truncation, {styles.TRUNCATED}"][1]["scores"]] == list(styles.PSI)
    called = {name: found[f"called cats, {name}"][1]["called"] for name in (styles.PHOTOGRAPHS, *styles.SHIPPED)}
    assert all(0 <= share < called[styles.PHOTOGRAPHS] for name, share in called.items() if name != styles.PHOTOGRAPHS)
