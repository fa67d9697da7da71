"""The stored comparisons of notebook 03: whole, refused when stale, and resumed where they stopped."""

import pytest

from course_utils import study


def test_every_stored_variant_loads_with_scores_at_one_n():
    results, floor = study.load()
    assert list(results) == list(study.VARIANTS) and floor["n"] == study.N
    for name, result in results.items():
        assert result.pictures.shape == result.last.shape == (study.SHOWN, 3, 32, 32), name
        assert result.curve[-1, 0] == study.VARIANTS[name].steps and result.curve.isfinite().all()
        assert all(result.scores[kind]["n"] == study.N and result.scores[kind]["fd"] > 0 for kind in study.WEIGHTS)


def test_stale_results_are_not_shown(monkeypatch):
    monkeypatch.setitem(study.VARIANTS, "baseline", study.BASE.changed(lr=1.0))
    with pytest.raises(RuntimeError, match="no run of 'baseline' as it is now: regenerate it with `make study`"):
        study.load()
