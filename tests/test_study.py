"""Stored comparisons: whole, refused when stale, and resumed where they stopped."""

from dataclasses import replace

import pytest
import torch

from course_utils import checkpoints
from course_utils.recipes import BaseRecipe, Recipe
from course_utils.studies import networks, store


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
    store.complete(path, jobs | {"b": doubled(3.0, done)}, only="a")
    assert done[5:] == [1]
    assert store.complete(path, jobs, only="a") == ["b"], "which is stale and was not asked for"
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


def test_the_networks_of_a_study_are_trained_and_scored(tmp_path, monkeypatch, few_pictures):
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
