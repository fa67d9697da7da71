"""Where a picture lies between its parents and among real ones, and the study of fusions that measures it."""

from dataclasses import replace

import pytest
import torch

from course_utils import checkpoints, fusion, metrics, schedules
from course_utils.checkpoints import Checkpoint
from course_utils.data import drawn
from course_utils.data.images import ImageSet
from course_utils.data.levels import to_bytes
from course_utils.models.unet import UNet, UNetConfig
from course_utils.models.vae import VAE, VAEConfig
from course_utils.samplers import Step
from course_utils.studies import fusions, store


def normal(n: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- parents


def test_a_child_lies_where_it_was_put_between_its_parents():
    a, b = normal(5, 8), 3 * normal(5, 8, seed=1)
    for share in (0.0, 0.25, 0.5, 1.0):
        found = metrics.parent_distances((1 - share) * a + share * b, a, b)
        torch.testing.assert_close(found, torch.tensor([share, 1 - share], dtype=torch.float64).repeat(5, 1))
    stranger = metrics.parent_distances(a + 50, a, b)
    assert bool((stranger > 1).all()) and stranger.dtype == torch.float64


def test_rank_counts_the_strangers_that_are_nearer_than_the_farther_parent():
    child, a, b = torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[-3.0]])
    others = torch.tensor([[2.0], [-2.9], [3.1], [-40.0]])
    assert metrics.parent_rank(child, a, b, others).item() == metrics.parent_rank(child, b, a, others).item() == 0.5
    assert metrics.parent_rank(child, a, a, others).item() == 0


def test_rank_is_a_half_where_one_of_the_parents_is_a_stranger():
    a, others = normal(400, 4), normal(500, 4, seed=1)
    half_way = (a + normal(400, 4, seed=2)) / 2
    assert metrics.parent_rank(a, a, normal(400, 4, seed=3), others).mean() == pytest.approx(0.5, abs=0.05)
    both = metrics.parent_rank(half_way, a, 2 * half_way - a, others).mean()
    assert both < metrics.parent_rank(half_way, a, normal(400, 4, seed=3), others).mean() - 0.1


def test_realism_of_known_sets():
    """Radii with k = 1: 1, 1, 2 and 6; the half with the largest ones, of 3 and of 9, does not count."""
    real = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
    found = metrics.realism(torch.tensor([[0.5], [-2.0], [5.0], [1.0], [9.0]]), real, k=1)
    assert found.tolist() == [2, 1 / 2, 1 / 4, torch.inf, 1 / 8]


def test_realism_agrees_with_brute_force_and_with_precision(monkeypatch):
    real, fake = normal(60, 5), 1.3 * normal(45, 5, seed=1)
    radius = torch.cdist(real, real).sort(dim=1).values[:, 3]
    ratio = radius / torch.cdist(fake, real)
    want = ratio[:, radius <= radius.median()].amax(1)
    torch.testing.assert_close(metrics.realism(fake, real), want)
    monkeypatch.setattr("course_utils.metrics.distances._rows", lambda other: 7)
    torch.testing.assert_close(metrics.realism(fake, real), want)
    assert bool((ratio.amax(1) >= 1)[want >= 1].all())
    assert metrics.precision_recall(real, fake)[0] == pytest.approx(float((ratio.amax(1) >= 1).double().mean()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, b: metrics.parent_distances(a, b, b[:3]), r"a row for each child and parent .*\(5, 8\), \(3, 8\)"),
        (lambda a, b: metrics.parent_rank(a[:, :4], b, b, a), r"a row for each child and parent .*\(5, 4\), \(5, 8\)"),
        (lambda a, b: metrics.parent_distances(a, b / 0, b), "5 of 5 rows of features hold values that are not finite"),
        (lambda a, b: metrics.parent_rank(a, b, b, a / 0), "not finite"),
        (lambda a, b: metrics.parent_rank(a, b, b, a[:0]), "with N > 0"),
        (lambda a, b: metrics.parent_rank(a, b, b, a[:, :4]), "8 and 4 features an image do not compare"),
        (
            lambda a, b: metrics.parent_distances(a, b, torch.cat([a[:2], b[2:3], a[3:]])),
            "the parents of row 2 are the",
        ),
        (lambda a, b: metrics.realism(a, b[:3]), "more than k = 3 >= 1 real images, got 3"),
        (lambda a, b: metrics.realism(a, b[:, :4]), "do not compare"),
        (lambda a, b: metrics.realism(a, b, k=0), "more than k = 0 >= 1"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(5, 8), normal(5, 8, seed=1))


# ---- the study

SIDE, LIGHT = 16, 40  # of 120 training pictures the first 40 stay as they are drawn
SMALL = {"N": 30, "FEW": 6, "SOME": 12, "STEPS": 4, "BATCH": 8, "GHOSTS": 12, "GRID": 4, "LEVELS": (0.3, 0.8)}


@pytest.fixture
def few_faces(monkeypatch):
    """A study of small drawn faces, some of them dark, with untrained networks and coarse thumbnails as features."""
    for name, value in (SMALL | {"CHECKPOINTS": ("faces64", "vae-faces64")}).items():
        monkeypatch.setattr(fusions, name, value)
    pixels = to_bytes(drawn.draw(180, "cat", SIDE, view="face", seed=4).images)
    pixels[LIGHT:80] = pixels[LIGHT:80] // 4
    whole = ImageSet(pixels, torch.zeros(180, dtype=torch.long), ("cat",), "faces", False)
    halves = {"train": slice(0, 120), "test": slice(120, 180)}

    def named_set(text, split="train"):
        rows = halves[text.partition(":")[2] or split]
        return replace(whole, pixels=whole.pixels[rows], labels=whole.labels[rows])

    def thumbnails(levels):
        return torch.nn.functional.avg_pool2d(levels, 4).flatten(1) / 255

    network = metrics.features.Network("thumbnails", 48, 32, torch.device("cpu"), thumbnails)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pixel_model = UNet(UNetConfig(size=SIDE, width=16, multipliers=(1,), blocks=1, attention=(), T=40))
        models = {"faces64": pixel_model, "vae-faces64": VAE(VAEConfig(size=SIDE, width=16, multipliers=(1,)))}
        for model in models.values():
            for p in model.eval().requires_grad_(False).parameters():
                torch.nn.init.normal_(p, std=0.08)

    def load(name, device=None):
        return Checkpoint(name, models[name], schedules.cosine(40) if name == "faces64" else None, {})

    monkeypatch.setattr(fusions, "named_set", named_set)
    monkeypatch.setattr(metrics.features, "network", lambda *a, **k: network)
    monkeypatch.setattr(checkpoints, "load", load)
    train, test = (named_set("faces", split) for split in halves)
    return fusions.Tools(train.images, *(metrics.features.extract(part, network) for part in (train, test)), network)


def test_every_job_of_the_study_is_done_and_read_back(few_faces, tmp_path):
    path = tmp_path / "study.safetensors"
    assert store.complete(path, fusions.jobs()) == []
    found = fusions.load(path)
    assert not any(tensors for tensors, _ in found.values()), "no picture is stored"
    facts = {name: about for name, (_, about) in found.items()}
    ways = [("faces64", m) for m in ("cross-fade", *fusion.METHODS)]
    ways += [("vae-faces64", m) for m in ("linear", "spherical z")]
    assert {f"method, {kind}, {method}" for kind, method in ways} <= set(facts)
    floor = facts.pop("floor")
    assert (floor["6"]["n"], floor["30"]["n"], floor["6"]["repeats"]) == (6, 30, 20)
    ghosts = facts.pop("ghosts")
    assert set(ghosts["ghosts"]) == {", ".join(way) for way in ways}
    assert all(0 <= share <= 1 for share in ghosts["ghosts"].values()) and 0.4 < ghosts["accuracy"] <= 1
    for name, about in facts.items():
        assert about["scores"]["n"] == (30 if name.startswith(("method", "random")) else 12), name
        assert 0 <= about["near"] <= about["far"] and 0 <= about["rank"] <= 1 and 0 <= about["realistic"] <= 1, name
        assert about["realism"] > 0 and about["fd_se"] > 0 and about["fd_few"][0] > 0, name
    parent, stranger = facts[f"method, {fusions.PARENTS}"], facts[f"method, {fusions.STRANGERS}"]
    assert parent["near"] == 0 and parent["far"] == 1 and "seconds" not in stranger
    fade = facts["method, faces64, cross-fade"]
    assert fade["near"] == pytest.approx(0.5, abs=0.02) and fade["far"] == pytest.approx(0.5, abs=0.02)
    assert fade["rank"] < stranger["rank"] and fade["contrast"] < 1 and fade["lighter"] == pytest.approx(0, abs=1e-5)
    again = fusions.by_method(lambda: few_faces, checkpoints.load, "faces64", "spherical", n=12, which="both dark")[1]
    stored = facts["both dark, spherical"]
    assert all(again[name] == stored[name] for name in again if name != "seconds"), "and comes out the same again"


def test_parents_are_chosen_as_asked(few_faces):
    a, b, of_a, of_b, reference = fusions.chosen(few_faces, 10, "")
    dark = fusion.luminance(torch.cat([a, b])) < fusion.DARK
    assert not bool((dark[:10] & dark[10:]).any()) and bool(dark.any())
    for images, features in ((a, of_a), (b, of_b)):
        rows = [int((few_faces.train == x).flatten(1).all(1).nonzero()[0]) for x in images]
        assert torch.equal(few_faces.features[rows], features)
    assert torch.equal(reference, few_faces.reference)
    a, b, *_ = fusions.chosen(few_faces, 10, "both dark")
    assert bool((fusion.luminance(torch.cat([a, b])) < fusion.DARK).all())
    assert len(torch.cat([a, b]).flatten(1).unique(dim=0)) == 20
    a, _, of_a, _, reference = fusions.chosen(few_faces, 10, "unseen")
    assert not any(bool((few_faces.train == x).flatten(1).all(1).any()) for x in a)
    assert len(reference) == 60 and bool((reference == few_faces.features[:60]).all())
    assert all(bool((few_faces.reference == x).all(1).any()) for x in of_a)


@pytest.mark.parametrize(("two_levels", "shared"), [(True, False), (False, False), (False, True)])
def test_random_levels_reach_every_pair_once(few_faces, monkeypatch, two_levels, shared):
    seen = []

    def noised(model, schedule, a, b, *, generator, **how):
        seen.append(how | {"n": len(a)})
        yield Step(0, a + 10 * b, None, None)

    def measured(tools, fuse, n):
        a, b = few_faces.train[:50], few_faces.train[50:100]
        torch.testing.assert_close(fuse(a, b, 0), a + 10 * b)
        return {}, {}

    monkeypatch.setattr(fusion, "noised", noised)
    monkeypatch.setattr(fusions, "measured", measured)
    fusions.at_random(lambda: few_faces, checkpoints.load, two_levels, shared)
    assert sum(call["n"] for call in seen) == 50
    assert {call["t"] for call in seen} == {10, 20, 30, 40} and all(call["shared"] == shared for call in seen)
    assert all(call["steps"] == call["t"] // 10 for call in seen)
    assert any(call["t"] != call["t_b"] for call in seen) == two_levels
    assert len(seen) == len({(call["t"], call["t_b"]) for call in seen}), "pictures of one level go side by side"


def test_what_is_stored_for_notebook_08_is_whole_and_holds_no_picture():
    found = fusions.load()
    floor = found["floor"][1]
    scored = {name: facts for name, (_, facts) in found.items() if "scores" in facts}
    assert not any(tensors for tensors, _ in found.values())
    assert len(scored) == len(found) - 2  # but the floor and the judge of ghosts
    for name, facts in scored.items():
        assert 0 <= facts["near"] <= facts["far"] and facts["far"] >= 0.5, name
        assert 0 <= facts["rank"] <= 1 and facts["fd_se"] > 0 and facts["fd_few"][1] > 0, name
        assert facts["fd_few"][0] > facts["scores"]["fd"], name  # fewer pictures, the larger bias
    # the parents are what the floor is made of, and a copy of one of them is as far from the other as that is
    parent = scored[f"method, {fusions.PARENTS}"]
    assert parent["near"] == 0 and parent["far"] == 1
    assert abs(parent["scores"]["fd"] - floor[str(fusions.N)]["fd"]) < 6 * parent["fd_se"]
    ghosts = found["ghosts"][1]
    assert ghosts["photographs"] < 0.5 < ghosts["exposures"] < ghosts["accuracy"] + 0.1
