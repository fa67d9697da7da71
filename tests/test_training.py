"""Training of image recipes: what a killed run, a damaged file or several processes may not change."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_utils import checkpoints, recipes, schedules, state, train, training
from course_utils.data.images import ImageSet
from course_utils.paths import CHECKOUT
from course_utils.recipes import Recipe

TINY = Recipe(network="tiny", batch_size=8, steps=30, warmup=5, size=16, ema=0.9)


def pictures(n=40, size=16):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.zeros(n, dtype=torch.int64), ("noise",), "noise", False)


def start(recipe=TINY, **options):
    """Return the model, its average and the records of a run on random pictures."""
    model, ema, schedule = recipe.build()
    records = training.fit(
        model,
        partial(recipe.loss, schedule=schedule),
        recipe.batches(pictures(size=recipe.size), schedule),
        recipe.steps,
        lr=recipe.lr,
        warmup=recipe.warmup,
        ema=ema,
        precision=recipe.precision,
        **options,
    )
    return model, ema, records


def weights(model, ema):
    return {
        **{f"m.{k}": v for k, v in model.state_dict().items()},
        **{f"e.{k}": v for k, v in ema.model.state_dict().items()},
    }


def assert_identical(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def _train_until_killed(path, ready):
    torch.set_num_threads(1)
    _, _, records = start(state=path, every=0.0)  # saves after every step: many kills fall into a writing
    ready.set()
    for _ in records:
        pass


@pytest.mark.slow
def test_a_run_killed_20_times_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    path, chance, kills, stages = tmp_path / "state.safetensors", random.Random(0), 0, set()
    # a server that has imported everything and never run autograd, which does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "course_utils.train"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.perf_counter()
        model, ema, records = start()
        losses = [r.loss for r in records]
        alone, longest = weights(model, ema), (time.perf_counter() - began) / 4
        while kills < 20:
            ready = context.Event()
            child = context.Process(target=_train_until_killed, args=(path, ready))
            child.start()
            assert ready.wait(60)
            time.sleep(chance.uniform(0, longest))
            if not child.is_alive():  # it came to its end: begin again, the kills are not done
                assert child.exitcode == 0
                path.unlink()
                continue
            child.kill()
            child.join()
            kills += 1
            if path.is_file():
                stages.add(checkpoints.read(path)[1]["step"])  # whole after every kill, or this raises
        model, ema, records = start(state=path)
        list(records)
    finally:
        torch.set_num_threads(threads)
    assert len(stages) > 3, f"the kills must fall at different moments, but left {stages}"
    assert_identical(weights(model, ema), alone)
    assert training.history(path)[:, 0].tolist() == losses


def test_stopping_early_saves_and_a_second_run_goes_on(tmp_path):
    path = tmp_path / "state.safetensors"
    whole, whole_ema, records = start()
    list(records)
    _, _, records = start(state=path)
    for record in records:
        if record.step == 7:
            break
    records.close()
    assert checkpoints.read(path)[1]["step"] == 7
    model, ema, records = start(state=path)
    assert next(records).step == 8
    list(records)
    assert_identical(weights(model, ema), weights(whole, whole_ema))
    table = training.history(path)
    assert table.shape == (30, 4) and (table[:, 3].diff() > 0).all()
    assert table[:5, 1].tolist() == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])


def test_dropout_survives_a_resume(tmp_path):
    def drop(m, b):
        return torch.nn.functional.dropout(m(b), 0.5, training=True).square().mean()

    def go(steps, path):
        model = torch.nn.Linear(3, 3)
        torch.nn.init.eye_(model.weight)
        list(training.fit(model, drop, lambda step: torch.full((4, 3), float(step)), steps, state=path))
        return model.weight.detach().clone()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = go(6, tmp_path / "whole")
        torch.manual_seed(3)
        go(3, tmp_path / "parts")
        torch.manual_seed(99)
        torch.nn.Linear(3, 3)
        assert torch.equal(go(6, tmp_path / "parts"), whole)


def test_an_interrupt_keeps_model_and_history(tmp_path):
    path = tmp_path / "state.safetensors"
    recipe = TINY
    model, ema, schedule = recipe.build()
    batches = recipe.batches(pictures(), schedule)

    def data(step):
        if step == 5:
            raise KeyboardInterrupt
        return batches(step)

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for record in training.fit(model, partial(recipe.loss, schedule=schedule), data, 30, ema=ema, state=path):
            seen.append(record.loss)
    tensors, facts = checkpoints.read(path)
    assert facts["step"] == 4 == len(seen) and tensors["history"][:, 0].tolist() == seen
    assert_identical({k: tensors[f"model.{k}"] for k in model.state_dict()}, model.state_dict())


def test_a_loss_that_is_not_finite_leaves_the_last_good_state(tmp_path):
    path = tmp_path / "state.safetensors"
    model, ema, schedule = TINY.build()
    batches = TINY.batches(pictures(), schedule)

    def loss(m, batch):
        value = TINY.loss(m, batch, schedule=schedule)
        return value * torch.nan if len(seen) == 3 else value

    seen = []
    with pytest.raises(training.NonFiniteLossError, match=r"step 4: the loss is nan .* lr 0\.001.*kept in "):
        for record in training.fit(model, loss, batches, 30, ema=ema, state=path):
            seen.append(record.loss)
    tensors, facts = checkpoints.read(path)
    assert facts["step"] == 3
    assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())


def test_a_state_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    _, _, records = start(state=path)
    next(records)
    records.close()
    with pytest.raises(ValueError, match=r"belongs to another network"):
        next(start(TINY.changed(network="convnet"), state=path)[2])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(checkpoints.DamagedCheckpointError, match="not a whole checkpoint"):
        next(start(state=path)[2])
    assert len(path.read_bytes()) == len(whole) // 2, "the damaged file must not be overwritten by an untrained run"


@pytest.mark.parametrize("precision", state.PRECISIONS)
def test_one_batch_can_be_learned_by_heart(precision):
    recipe = TINY.changed(lr=3e-3, precision=precision, flip=False)
    model, _, schedule = recipe.build()
    batch = recipe.batches(pictures(), schedule)(1)
    records = training.fit(
        model, partial(recipe.loss, schedule=schedule), lambda step: batch, 80, lr=3e-3, precision=precision
    )
    losses = [r.loss for r in records]
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


# ---- batches


def test_batches_depend_on_seed_and_step_alone_and_visit_everything():
    _, _, schedule = TINY.build()
    images = pictures()
    ours, again = TINY.batches(images, schedule), TINY.batches(images, schedule)
    later = again(7)
    for step in range(1, 8):
        last = ours(step)
    assert all(torch.equal(a, b) for a, b in zip(last, later, strict=True))
    plain = TINY.changed(flip=False).batches(images, schedule)
    epoch = torch.cat([plain(step).x_0 for step in range(1, 6)])
    difference = (epoch[:, None] - images.images[None]).abs().flatten(2).amax(2)
    assert (difference == 0).sum(0).tolist() == [1] * 40
    assert not torch.equal(plain(1).x_0, plain(6).x_0), "a new epoch has a new order"
    other = TINY.changed(seed=1).batches(images, schedule)(1)
    assert not torch.equal(other.eps, ours(1).eps)


def test_a_recipe_may_take_a_few_pictures_of_each_class(monkeypatch):
    whole = pictures(size=8)
    labels = torch.arange(len(whole)) % 2
    whole = replace(whole, labels=labels, classes=("a", "b"))
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: whole)
    few = Recipe(per_class=3).images()
    assert few.labels.bincount().tolist() == [3, 3] and len(few.pixels) == 6
    assert torch.equal(few.pixels, Recipe(per_class=3).images().pixels)
    assert not torch.equal(few.pixels, Recipe(per_class=3, seed=1).images().pixels)
    assert len(Recipe(per_class=3).images("test")) == len(Recipe().images()) == len(whole)
    for wrong in (-1, len(whole)):
        with pytest.raises(ValueError, match=rf"per_class must lie in 0..{labels.bincount().min()}.*got {wrong}"):
            Recipe(per_class=wrong).images()


def test_half_of_the_pictures_are_mirrored():
    _, _, schedule = TINY.build()
    images = pictures(400)
    straight = TINY.changed(flip=False, batch_size=400).batches(images, schedule)(1).x_0
    flipped = TINY.changed(batch_size=400).batches(images, schedule)(1).x_0
    mirrored = (flipped == straight.flip(-1)).flatten(1).all(1)
    assert bool((mirrored | (flipped == straight).flatten(1).all(1)).all())
    assert 150 < int(mirrored.sum()) < 250


def test_every_picture_has_its_own_t_unless_the_bug_is_asked_for():
    _, _, schedule = TINY.build()
    recipe = TINY.changed(batch_size=32)
    t = recipe.batches(pictures(), schedule)(1).t
    assert len(t.unique()) > 20 and t.min() >= 1 and t.max() <= schedule.T
    bug = [recipe.changed(shared_t=True).batches(pictures(), schedule)(step).t for step in (1, 2, 3)]
    assert all(len(t.unique()) == 1 for t in bug) and len({int(t[0]) for t in bug}) > 1


def test_shards_make_up_the_batch():
    _, _, schedule = TINY.build()
    whole = TINY.batches(pictures(), schedule)(3)
    parts = [TINY.batches(pictures(), schedule, (rank, 2))(3) for rank in (0, 1)]
    for name in whole._fields:
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts])), name
    with pytest.raises(ValueError, match="cannot be shared evenly by 3"):
        TINY.batches(pictures(), schedule, (0, 3))
    with pytest.raises(ValueError, match=r"1\.\.40"):
        TINY.changed(batch_size=41).batches(pictures(), schedule)


# ---- command line


def _settings(*extra):
    return ["--set", "network=tiny", "--set", "batch_size=16", "--set", "precision=float32", "--device", "cpu", *extra]


def _python(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COURSE_PRESET": "ci"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_two_processes_give_the_loss_curve_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    common = ["drawn32-cosine", "--steps", "6", *_settings()]
    done = _python("-m", "course_utils.train", *common, "--out", one)
    assert done.returncode == 0, done.stderr
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = _python(*launch, "-m", "course_utils.train", *common, "--out", two)
    assert done.returncode == 0, done.stderr
    a, b = (training.history(folder / train.STATE) for folder in (one, two))
    assert a.shape == b.shape == (6, 4)
    torch.testing.assert_close(a[:, :3], b[:, :3], rtol=1e-4, atol=1e-6)
    assert len(a[:, 0].unique()) == 6
    (x, facts), (y, _) = (checkpoints.read(folder / train.STATE) for folder in (one, two))
    assert facts["seen"] == 6 * 16
    for name in x:
        if name.startswith("ema."):
            torch.testing.assert_close(x[name], y[name], rtol=1e-3, atol=1e-4)


def test_command_line_trains_resumes_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: pictures(size=32))
    arguments = ["drawn32-cosine", "--out", str(tmp_path / "run"), *_settings()]
    assert train.main([*arguments, "--steps", "3"]) == 0
    assert train.main([*arguments, "--steps", "5"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert train.main([*arguments, "--steps", "5", "--resume"]) == 0
    assert train.main([*arguments, "--steps", "5", "--resume", "--set", "lr=0.5"]) == 2
    assert "was begun with lr = 0.001, not 0.5" in capsys.readouterr().err
    made = checkpoints.load(tmp_path / "run" / "model.safetensors")
    assert made.card["steps"] == 5 and made.card["images_seen"] == 80 and made.schedule.name == "cosine"
    stored = checkpoints.read(tmp_path / "run" / train.STATE)[0]
    for name, value in made.model.state_dict().items():
        torch.testing.assert_close(value, stored[f"ema.{name}"], rtol=1e-3, atol=1e-4)
    again = [
        "drawn32-cosine",
        "--out",
        str(tmp_path / "b"),
        *_settings("--init", str(tmp_path / "run/model.safetensors")),
    ]
    assert train.main([*again, "--steps", "1"]) == 0
    assert json.loads((tmp_path / "b" / train.RECIPE).read_text())["network"] == "tiny"
    # what the start had seen counts, also after a pause and without naming it again
    assert train.main(["drawn32-cosine", "--out", str(tmp_path / "b"), *_settings(), "--steps", "2", "--resume"]) == 0
    card = checkpoints.load(tmp_path / "b" / "model.safetensors").card
    assert (card["steps"], card["images_seen"], card["started_from"]["images_seen"]) == (2, 80 + 32, 80)


def test_a_polite_kill_saves_and_stops(tmp_path, monkeypatch, capsys):
    def fit(*arguments, **options):
        for record in training_fit(*arguments, **options):
            if record.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield record

    training_fit, before = training.fit, signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: pictures(size=32))
    assert train.main(["drawn32-cosine", "--out", str(tmp_path), *_settings("--steps", "9")]) == 130
    assert "--resume goes on" in capsys.readouterr().err
    assert checkpoints.read(tmp_path / train.STATE)[1]["step"] == 3
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cats"], "unknown recipe 'cats': choose one of cats32-linear"),
        ([], "name a recipe"),
        (["faces64", "--set", "learning_rate=1"], "write key=value with key one of data, size"),
        (["faces64", "--set", "lr=fast"], "lr takes a value of type float"),
        (["faces64", "--set", "flip=1"], "flip is true or false"),
        (["faces64", "--set", "network=huge"], "unknown U-Net 'huge'"),
        (["faces64", "--steps", "0"], "steps must be at least 1"),
    ],
)
def test_command_line_names_bad_arguments(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes.base, "named_set", lambda *a, **k: pictures(100, size=64))
    if arguments:
        arguments = [*arguments, "--out", str(tmp_path / "run")]
    assert train.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_settings_are_typed():
    parse = train.parse_setting
    assert parse("lr=2e-4") == ("lr", 2e-4) and parse("steps=1e5") == ("steps", 100_000)
    assert parse("clip=none") == ("clip", None) and parse("clip=2") == ("clip", 2.0)
    assert parse("weight=min_snr") == ("weight", "min_snr") and parse("flip=False") == ("flip", False)


def test_list_shows_every_recipe(capsys):
    assert train.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in recipes.RECIPES)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_builds_a_network_that_fits_its_pictures(name, tmp_path):
    recipe = recipes.RECIPES[name]
    if isinstance(recipe, recipes.LatentRecipe):  # needs its VAE: an untrained one of that recipe
        path = tmp_path / "vae.safetensors"
        checkpoints.export(path, recipes.get(recipe.vae).build()[0], None, {})
        recipe = recipe.changed(vae=str(path))
    if isinstance(recipe, recipes.FewStepRecipe):  # needs its teacher
        path, teacher = tmp_path / "teacher.safetensors", recipes.get(recipe.teacher)
        checkpoints.export(path, teacher.build()[0], teacher.schedule_facts(), {})
        config = recipe.changed(teacher=str(path)).network_config()
        assert config.rungs[-1] == recipe.most and config.network.framework == teacher.framework
        return
    config = recipe.network_config()
    assert config.size == recipe.size and getattr(config, "classes", 0) == recipe.classes
    if isinstance(recipe, Recipe):
        config = getattr(config, "denoiser", config)
        assert config.T == recipe.T
        if recipe.framework == "ddpm":
            assert config.predicts == recipe.predicts
        else:
            assert (config.framework, config.schedule) == (recipe.framework, recipe.schedule)


def test_a_tenth_of_the_labels_is_dropped_the_same_at_every_call_and_for_any_number_of_processes():
    recipe = recipes.Recipe(classes=2, batch_size=8, T=10)
    images = pictures(size=32)
    images = replace(images, labels=torch.arange(len(images)) % 2, classes=("cat", "frog"))
    schedule = schedules.cosine(10)
    whole, plain = (r.batches(images, schedule) for r in (recipe, recipe.changed(drop=0.0)))
    parts = [recipe.batches(images, schedule, (rank, 2)) for rank in range(2)]
    dropped = 0
    for step in range(1, 251):
        y = whole(step).y
        assert torch.equal(y, torch.cat([part(step).y for part in parts]))
        kept = y != 2
        assert torch.equal(y[kept], plain(step).y[kept])
        dropped += int((~kept).sum())
    assert 0.07 < dropped / 2000 < 0.13
    with pytest.raises(ValueError, match=r"the recipe has 3 classes, .* has 2"):
        recipe.changed(classes=3).batches(images, schedule)
    with pytest.raises(ValueError, match=r"drop must lie in \[0, 1\)"):
        recipe.changed(drop=1.0).batches(images, schedule)
    with pytest.raises(ValueError, match="the plain convnet takes no classes"):
        recipe.changed(network="convnet").network_config()


def test_the_network_is_told_its_labels():
    recipe = recipes.Recipe(network="tiny", classes=2, batch_size=4, T=10, size=32)
    model, _, schedule = recipe.build()
    images = replace(pictures(size=32), classes=("cat", "frog"))
    recipe.loss(model, recipe.batches(images, schedule)(1), schedule).backward()
    assert model.config.classes == 2 and model.classes.weight.shape[0] == 3
    heard = []
    model.register_forward_pre_hook(lambda _, arguments: heard.append(arguments[2]))
    batch = recipe.batches(images, schedule)(1)
    recipe.loss(model, batch, schedule)
    assert torch.equal(heard[0], batch.y)


def test_a_stored_recipe_differs_by_what_it_says_not_by_what_it_is_too_old_to_know():
    recipe = recipes.get("drawn32-linear")
    stored = recipe.as_dict()
    del stored["flip"]
    assert recipe.differences(stored) == []
    assert recipe.changed(flip=False).differences(stored) == ["flip"]
    assert recipe.differences({**stored, "lr": 1.0, "momentum": 0.9}) == ["lr", "momentum"]
