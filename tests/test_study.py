"""The stored comparisons of notebook 03: whole, refused when stale, and resumed where they stopped."""

from dataclasses import replace

import pytest

from course_utils import study


def test_every_stored_variant_loads_with_scores_at_one_n():
    results, floor = study.load()
    assert list(results) == list(study.VARIANTS) and floor["n"] == study.N
    for name, result in results.items():
        assert result.pictures.shape == result.last.shape == (study.SHOWN, 3, 32, 32), name
        assert len(result.losses) == study.VARIANTS[name].steps and result.losses.isfinite().all()
        assert all(result.scores[kind]["n"] == study.N and result.scores[kind]["fd"] > 0 for kind in study.WEIGHTS)


def test_stale_results_are_not_shown(monkeypatch):
    monkeypatch.setitem(study.VARIANTS, "baseline", study.BASE.changed(lr=1.0))
    with pytest.raises(RuntimeError, match="no run of 'baseline' as it is now: regenerate it with `make study`"):
        study.load()


def test_an_interrupted_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    small = study.BASE.changed(network="convnet", T=5, steps=3, batch_size=4, warmup=1)
    monkeypatch.setattr(study, "BASE", small)
    monkeypatch.setattr(study, "VARIANTS", {"baseline": small, "linear schedule": small.changed(schedule="linear")})
    monkeypatch.setattr(study, "SAMPLING", {**study.SAMPLING, "steps": 2})
    monkeypatch.setattr(study, "N", study.SHOWN)
    images = study.Recipe.images

    def few(recipe, split="train"):
        whole = images(recipe, split)
        return replace(whole, pixels=whole.pixels[:50], labels=whole.labels[:50])

    monkeypatch.setattr(study.Recipe, "images", few)
    path = tmp_path / "study.safetensors"
    monkeypatch.setattr("sys.argv", ["study", "--out", str(path)])
    trained, measure = [], study.measure

    def counted(recipe, *rest):
        if len(trained) == 1 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise KeyboardInterrupt
        trained.append(recipe.schedule)
        return measure(recipe, *rest)

    monkeypatch.setattr(study, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        study.main()
    assert not path.exists()
    study.main()
    assert trained == ["cosine", "linear"]
    results, floor = study.load(path)
    assert list(results) == ["baseline", "linear schedule"] and floor["n"] == study.SHOWN
    assert [step for step, _ in results["baseline"].along] == [1, 2] and not results["linear schedule"].along
