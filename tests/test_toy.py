"""2-D data sets, the distance between clouds, the network, the training loop and the stored ablations."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import ablations, diffusion, metrics, schedules, training, viz
from course_utils.data import toy
from course_utils.models.mlp import INPUT_EMBEDDINGS, MLP, TIME_EMBEDDINGS, MLPConfig

EVERY_SET = pytest.mark.parametrize("name", toy.NAMES)


@EVERY_SET
def test_sets_are_seeded_and_standardised_in_distribution(name):
    x = toy.draw(name, 20_000, seed=1)
    assert x.shape == (20_000, 2) and x.dtype == torch.float32
    assert x.mean(0).abs().max() < 0.03 and abs(x.var(0).mean() - 1) < 0.03
    assert torch.equal(x, toy.draw(name, 20_000, seed=1)) and not torch.equal(x, toy.draw(name, 20_000, seed=2))
    assert toy.draw(name, 1).shape == (1, 2)


@EVERY_SET
def test_examples_are_in_random_order(name):
    """A set that comes sorted would make the first points of a draw another distribution."""
    x = toy.draw(name, 4000, seed=3)
    first, second = x[:2000], x[2000:]
    assert metrics.sliced_wasserstein(first, second) < 3 * metrics.floor(2000, lambda n, s: toy.draw(name, n, s), 2)


def test_the_dinosaur_has_142_points_and_draws_stay_close_to_them():
    dino = toy.outline("dino")
    assert dino.shape == (142, 2)
    distance = torch.cdist(toy.draw("dino", 5000), dino).min(1).values
    assert distance.max() < 6 * toy.JITTER and distance.mean() > 0.3 * toy.JITTER


def test_the_line_has_sharp_corners():
    line = toy.draw("line", 50_000)
    assert toy.outside_line(line).max() == 0
    corner = line.abs().max(0).values
    near = ((line.abs() - corner).abs() < 0.1).all(1).float().mean()
    uniform = (0.1 / corner).prod()
    assert abs(near / uniform - 1) < 0.2, "as many points in the corners as their area asks for"
    assert float(toy.outside_line((corner + torch.tensor([0.3, 0.4])).view(1, 2))) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toy.draw("dyno"), "unknown 2-D set 'dyno'.*dino"),
        (lambda: toy.draw("dino", 0), "at least 1, got 0"),
        (lambda: toy.outline("moons"), "unknown outline 'moons'"),
    ],
)
def test_sets_name_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- sliced Wasserstein distance


def test_distance_of_a_shift_is_the_mean_of_its_projections(generator):
    x = torch.randn(500, 2, generator=generator)
    assert metrics.sliced_wasserstein(x, x[torch.randperm(500)]) == pytest.approx(0, abs=1e-7)
    shifted = metrics.sliced_wasserstein(x, x + torch.tensor([3.0, 4.0]))
    assert shifted == pytest.approx(5 * 2 / math.pi, rel=1e-3)  # mean of |cos| over directions


def test_distance_of_two_gaussians_is_that_of_their_deviations(generator):
    a, b = torch.randn(20_000, 2, generator=generator), 2 * torch.randn(20_000, 2, generator=generator)
    assert metrics.sliced_wasserstein(a, b) == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)


def test_real_data_scores_its_floor_and_the_floor_falls_with_n():
    def draw(n, seed):
        return toy.draw("moons", n, seed)

    floors = [metrics.floor(n, draw, repeats=4) for n in (250, 1000, 4000)]
    assert floors[0] / floors[1] == pytest.approx(2, rel=0.4) and floors[1] / floors[2] == pytest.approx(2, rel=0.4)
    assert metrics.distance_to(draw(1000, seed=77), draw) < 2 * floors[1]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(4, 2), "5 and 4 points"),
        (torch.zeros(5, 3), torch.zeros(5, 3), r"shape \(N, 2\)"),
        (torch.zeros(5, 2), torch.full((5, 2), math.nan), "second cloud holds 10 values that are not finite"),
    ],
)
def test_distance_names_bad_input(a, b, message):
    with pytest.raises(ValueError, match=message):
        metrics.sliced_wasserstein(a, b)


# ---- network and training


@pytest.mark.parametrize("time_embedding", TIME_EMBEDDINGS)
@pytest.mark.parametrize("input_embedding", INPUT_EMBEDDINGS)
def test_every_embedding_trains_and_hears_what_it_should(time_embedding, input_embedding):
    config = MLPConfig(T=50, hidden=32, layers=2, time_embedding=time_embedding, input_embedding=input_embedding)
    model = MLP(config)
    x, schedule = toy.draw("moons", 256), schedules.linear(50)
    losses = [diffusion.l_simple(model, x, schedule).item()]
    assert losses[0] == pytest.approx(1, abs=0.25)  # it starts by answering zero
    steps = training.fit(
        model, lambda m, b: diffusion.l_simple(m, b, schedule), training.batches(x, 256, _seeded()), 60
    )
    losses += [step.loss for step in steps]
    assert sum(losses[-10:]) / 10 < 0.9
    early, late = model(x, torch.full((256,), 1)), model(x, torch.full((256,), 50))
    assert torch.equal(early, late) == (time_embedding == "none")


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(time_embedding="fourier"), "unknown time_embedding 'fourier'.*sinusoidal"),
        (dict(input_embedding="sin"), "unknown input_embedding"),
        (dict(predicts="noise"), "unknown predicts 'noise'"),
        (dict(layers=0), "layers must be at least 1"),
        (dict(features=6), "multiple of 4"),
    ],
)
def test_config_names_bad_choices(options, message):
    with pytest.raises(ValueError, match=message):
        MLPConfig(**options)
    with pytest.raises(ValueError, match=r"shape \(B, 2\), got \(4, 3\)"):
        MLP()(torch.zeros(4, 3), torch.ones(4, dtype=torch.long))


def test_batches_visit_every_example_once_an_epoch():
    data = torch.arange(10).float().view(10, 1)
    stream = training.batches(data, 5, _seeded())
    epochs = [torch.cat([next(stream), next(stream)]).flatten() for _ in range(3)]
    assert all(torch.equal(e.sort().values, data.flatten()) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    with pytest.raises(ValueError, match=r"1\.\.10"):
        next(training.batches(data, 11, _seeded()))


def _line_fit(steps, **options):
    """Fit w in y = w x by least squares: a convex problem with a known answer."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    x = torch.linspace(-1, 1, 64).view(-1, 1)
    records = list(
        training.fit(
            model, lambda m, b: ((m(b) - 3 * b) ** 2).mean(), training.batches(x, 64, _seeded()), steps, **options
        )
    )
    return model, records


def test_fit_yields_after_the_update_and_reports_truly():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = training.EMA(model, 0.5)
    before, averaged = model.weight.item(), ema.model.weight.item()
    stream = training.batches(torch.ones(4, 1), 4, _seeded())
    step = next(training.fit(model, lambda m, b: (m(b) ** 2).mean(), stream, 3, lr=0.1, ema=ema))
    assert model.weight.item() != before and ema.model.weight.item() != averaged
    assert step.step == 1 and step.lr == 0.1 and step.loss == pytest.approx(before**2, rel=1e-5)
    assert step.grad_norm == pytest.approx(abs(2 * before), rel=1e-4)


def test_fit_converges_with_warmup_and_decay():
    model, records = _line_fit(300, lr=0.1, warmup=10, decay=True)
    assert model.weight.item() == pytest.approx(3, abs=0.02)
    rates = [r.lr for r in records]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.1) and rates[-1] < 1e-4
    assert [r.step for r in records] == list(range(1, 301))


def test_ema_follows_its_formula():
    model = torch.nn.Linear(1, 1, bias=False)
    ema = training.EMA(model, decay=0.9)
    expected = model.weight.item()
    for k in range(30):
        with torch.no_grad():
            model.weight.fill_(float(k))
        ema.update(model)
        d = min(0.9, (1 + k) / (10 + k))
        expected = d * expected + (1 - d) * k
    assert ema.model.weight.item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        training.EMA(model, 1.0)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_weights():
    model = torch.nn.Linear(1, 1)
    kept = []

    def loss(m, b):
        kept.append(m.weight.detach().clone())
        return m(b).mean() * (math.nan if len(kept) == 3 else 1)

    with pytest.raises(training.NonFiniteLossError, match=r"step 3: the loss is nan .*lr 0\.001.*smaller lr"):
        list(training.fit(model, loss, training.batches(torch.ones(4, 1), 4, _seeded()), 10))
    assert torch.equal(model.weight, kept[-1])
    with pytest.raises(ValueError, match="lr must be positive"):
        _line_fit(3, lr=0)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        _line_fit(0)


# ---- ablations


def test_every_stored_ablation_loads_and_agrees_with_itself():
    for name, rows in ablations.ABLATIONS.items():
        result = ablations.load(name)
        assert result.rows == tuple(rows)
        assert result.clouds.shape == (len(rows), len(ablations.EPOCHS), ablations.N, 2)
        assert result.ratio.shape == result.spread.shape == (len(rows), len(ablations.EPOCHS))
        for r, recipe in enumerate(rows.values()):
            again = metrics.distance_to(result.clouds[r, -1], recipe.draw)
            assert again == pytest.approx(float(result.distance[r, 0, -1]), rel=0.01, abs=1e-3)
    with pytest.raises(ValueError, match=r"unknown ablation 'lr'.*learning rate"):
        ablations.load("lr")


def test_stale_results_are_not_shown(monkeypatch):
    changed = {"hidden size": {"7": ablations.Recipe(hidden=7)}}
    monkeypatch.setattr(ablations, "ABLATIONS", changed)
    with pytest.raises(RuntimeError, match=r"hidden=7.*make ablations"):
        ablations.load("hidden size")


def test_a_run_repeats_itself_and_an_interrupted_study_goes_on(tmp_path, monkeypatch):
    small = ablations.Recipe(T=5, hidden=8, layers=1, points=256, batch_size=128)
    monkeypatch.setattr(ablations, "ABLATIONS", {"hidden size": {"8": small, "9": ablations.replace(small, hidden=9)}})
    monkeypatch.setattr(ablations, "EPOCHS", (1, 2))
    path = tmp_path / "results.safetensors"
    monkeypatch.setattr("sys.argv", ["ablations", "--out", str(path)])
    trained, measure = [], ablations.measure

    def counted(recipe):
        if len(trained) == 1 and not (tmp_path / "again").exists():
            (tmp_path / "again").touch()
            raise KeyboardInterrupt
        trained.append(recipe)
        return measure(recipe)

    monkeypatch.setattr(ablations, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        ablations.main()
    ablations.main()
    assert [r.hidden for r in trained] == [8, 9]
    ablations.main()
    assert [r.hidden for r in trained] == [8, 9, 8, 9], "finished results are recomputed when asked for again"
    result = ablations.load("hidden size", path)
    torch.testing.assert_close(result.distance[0], measure(small)["distance"])


# ---- figures


def test_show_wants_alt_text():
    figure, panels = viz.axes(1, 2)
    assert panels.shape == (1, 2)
    viz.cloud(panels[0, 0], toy.draw("dino", 10), "dino")
    assert viz.png(figure).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="alt text"):
        viz.show(figure, alt=" ")


def test_a_film_has_its_frames_on_white_paper(monkeypatch):
    shown = []
    monkeypatch.setattr(viz, "_display", lambda data, alt, name: shown.append(data))
    dark, bright = torch.full((2, 3, 3, 8, 8), -1.0), torch.full((2, 3, 3, 8, 8), 0.97)
    viz.film(
        [torch.cat([dark, bright]), torch.cat([bright, dark])], ["a", "b"], list("1234"), alt="x", hold=1, seconds=4
    )
    picture = Image.open(io.BytesIO(shown[0]))
    assert picture.format == "PNG" and picture.n_frames == 4
    brightness = []
    for frame in range(4):
        picture.seek(frame)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels[0, 0].tolist() == [255, 255, 255]
        half = len(pixels) // 2
        brightness.append(pixels[:half].mean() < pixels[half:].mean())
    assert brightness == [True, True, False, False], "the first panel is dark first, the second one bright"
    with pytest.raises(ValueError, match="alt text"):
        monkeypatch.undo()
        viz.film([dark, bright], ["a", "b"], ["1", "2"], alt="")
