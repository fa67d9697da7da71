"""The explorer of samplers that take few evaluations, driven from Python as the browser would."""

import io
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import checkpoints, sample, samplers, schedules, widgets
from course_utils.checkpoints import Checkpoint
from course_utils.models import dcgan, unet
from course_utils.models.preconditioned import Preconditioned, PreconditionedConfig
from course_utils.widgets import fast as core
from course_utils.widgets import images
from course_utils.widgets.images import tiles

T, SIDE, LIMIT_S = 60, 32, 2
OPTIONS = {"dpm_solver_pp": {"spacing": "lambda"}}


def made(name: str, model: torch.nn.Module, schedule: schedules.Schedule) -> Checkpoint:
    for p in model.parameters():  # the last layer starts at zero: its answer would not depend on the input
        torch.nn.init.normal_(p, std=0.05) if p.ndim > 1 else None
    return Checkpoint(name, model.eval().requires_grad_(False), schedule, {})


@pytest.fixture(scope="module")
def two() -> list[Checkpoint]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = {"size": SIDE, "width": 16, "multipliers": (1,), "blocks": 1, "attention": ()}
        plain = unet.UNet(unet.UNetConfig(**shape, predicts="v", T=T))
        config = PreconditionedConfig("edm", "karras", T, unet.UNetConfig(**shape, predicts="F", T=1))
        edm = Preconditioned(config)
        return [made("plain", plain, schedules.cosine(T)), made("edm", edm, edm.schedule)]


@pytest.fixture
def explorer(two):
    return widgets.fast_explorer(two)


def ask(explorer, sampler: str, evaluations: int, churn: int = 0) -> None:
    explorer.sampler.value, explorer.evaluations.value, explorer.churn.value = sampler, evaluations, churn


def shown(pixels) -> np.ndarray:
    assert pixels.alt.strip()
    return np.asarray(Image.open(io.BytesIO(bytes(pixels.value))).convert("RGB")).astype(int)


def as_bytes(image: torch.Tensor) -> np.ndarray:
    return ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(int)


def text(explorer) -> str:
    assert "alert" not in explorer.numbers.value, explorer.numbers.value
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", explorer.numbers.value))


def line(artist) -> np.ndarray:
    return np.stack(artist.get_data(), 1)


def quantiles(p: np.ndarray) -> np.ndarray:
    """Where the distribution function of the two bumps is p, by bisection."""
    low, high = np.full(len(p), -9.0), np.full(len(p), 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.special.ndtr(torch.from_numpy(middle[:, None] - np.array(core.BUMPS)) / core.SPREAD).mean(1)
        low, high = np.where(below.numpy() < p, middle, low), np.where(below.numpy() < p, high, middle)
    return low


# --- the computation ---


@pytest.mark.parametrize("sampler", core.SAMPLERS.values())
def test_moves_are_those_of_the_sampler(two, sampler):
    model, schedule = two[0].model, two[0].schedule
    x_T = sample.noise(two[0], 2, seed=3)
    moves, x_0, evaluations = core.moves(model, schedule, x_T, sampler, 5, clip=True)
    steps = 3 if sampler == "heun" else 5
    records = list(samplers.named(sampler)(model, schedule, x_T, steps=steps, clip=True, **OPTIONS.get(sampler, {})))
    assert evaluations == 5 and len(moves) == steps and torch.equal(x_0, records[-1].x)
    for move, (before, after) in zip(moves, pairwise(records), strict=True):
        assert torch.equal(move.x, before.x) and torch.equal(move.x0_hat, after.x0_hat)
        ratio = float(schedule.ratio_at(torch.tensor([float(before.t)])))
        assert move.sigma == pytest.approx(ratio, rel=1e-4) and move.sigma_asked == pytest.approx(ratio, rel=1e-4)
        torch.testing.assert_close(move.asked, move.x, rtol=1e-4, atol=1e-4)


def test_churn_asks_where_it_kicked_to():
    schedule, churn, evaluations = schedules.karras(T), 2.0, 19
    moves, x_0, count = core.particles(schedule, "heun", evaluations, churn, seed=1)
    assert count == evaluations and len(moves) == 10
    for move in moves[1:]:
        assert move.sigma_asked == pytest.approx(move.sigma * (1 + churn / 10), rel=1e-6)
        x, asked = ((1 + at**2) ** 0.5 * value for at, value in ((move.sigma, move.x), (move.sigma_asked, move.asked)))
        kick = (asked - x) / (move.sigma_asked**2 - move.sigma**2) ** 0.5  # standard normal
        assert 0.4 < float(kick.std()) < 1.9
    assert moves[0].sigma_asked <= 80.01  # never above the noise of t = T
    again = core.particles(schedule, "heun", evaluations, churn, seed=1)[1]
    other = core.particles(schedule, "heun", evaluations, churn, seed=2)[1]
    assert torch.equal(x_0, again) and not torch.allclose(x_0, other)
    with pytest.raises(ValueError, match="ddim has no churn"):
        core.particles(schedule, "ddim", 5, churn)


@pytest.mark.parametrize("sampler", ["heun", "ddim"])
@pytest.mark.parametrize("schedule", [schedules.cosine(1000), schedules.karras(1000)], ids=lambda s: s.name)
def test_the_exact_paths_keep_the_quantiles(schedule, sampler):
    paths = core.exact(schedule, sampler)
    assert paths.shape == (core.FINE + 1, core.PARTICLES, 2)
    p = (np.arange(core.PARTICLES) + 0.5) / core.PARTICLES
    # in one dimension the ODE maps quantiles on quantiles, here from noise that still holds a little of the data
    assert np.abs(paths[-1, :, 1] - quantiles(p)).max() < 0.01
    assert (paths[-1, :, 0] == 0).all() and np.allclose(paths[0, :, 0], paths[0, 0, 0]) and paths[0, 0, 0] > 0.98
    assert (np.diff(paths[:, :, 1], axis=1) > 0).all()  # paths never cross


@pytest.mark.parametrize("sampler", core.SAMPLERS.values())
def test_more_evaluations_miss_by_less(sampler):
    schedule = schedules.cosine(1000)
    goals = core.exact(schedule, sampler)[-1, :, 1]
    misses = [np.abs(core.particles(schedule, sampler, n)[1][:, 0].numpy() - goals).mean() for n in (1, 15, 45)]
    assert misses[0] > 0.9 and misses[0] > misses[1] > misses[2] and misses[2] < 0.02  # one step ends between the bumps


def test_steps_are_straight_in_the_plane():
    sigma, x_0, eps = np.geomspace(1e-3, 80, 7), 0.7, -1.3
    points = [core.plane(torch.tensor([[(x_0 + s * eps) / (1 + s**2) ** 0.5]]), s)[0] for s in sigma]
    for t, z in points:
        assert z == pytest.approx((1 - t) * x_0 + t * eps)


# --- the widget ---


@pytest.mark.parametrize("sampler", core.SAMPLERS.values())
def test_it_shows_the_pictures_of_sample_images(two, explorer, sampler):
    for number, seed in ((0, 0), (1, 5)):
        explorer.which.value, explorer.seed.value = number, seed
        ask(explorer, sampler, 7)
        checkpoint, steps = two[number], 4 if sampler == "heun" else 7
        how = {"sampler": sampler, "steps": steps, "seed": seed, **OPTIONS.get(sampler, {})}
        wanted = sample.images(checkpoint.model, checkpoint.schedule, core.SHOWN, **how)
        torch.testing.assert_close(explorer.samples, wanted, rtol=1e-3, atol=1e-3)
        assert np.abs(shown(explorer.picture) - as_bytes(tiles(wanted, core.COLUMNS))).max() <= 1
        label = explorer.sampler.label
        assert (
            explorer.picture.alt == f"8 pictures generated by {checkpoint.name}: {label}, 7 evaluations, seed {seed}."
        )
        assert f"{label}: 7 evaluations , {steps} steps" in text(explorer)


def test_evaluations_are_counted_for_real(two, explorer):
    sizes = []
    handle = two[0].model.register_forward_hook(lambda module, inputs, out: sizes.append(len(out)))
    try:
        for sampler, asked, used in [("ddim", 3, 3), ("heun", 6, 5), ("heun", 1, 1), ("euler_flow", 2, 2)]:
            ask(explorer, sampler, asked)
            sizes.clear()
            explorer.button.click()  # another seed, and the same work
            assert sizes == [core.SHOWN] * used
            said = f"{used} evaluation{'s' * (used > 1)} " + f"of the {asked}" * (used < asked)
            assert f": {said}, " in text(explorer), text(explorer)
    finally:
        handle.remove()


def test_churn_is_for_heun_alone(explorer):
    assert explorer.churn.disabled and explorer.churn.tooltip
    ask(explorer, "heun", 9)
    plain, ends, before = explorer.samples, explorer.ends, bytes(explorer.chart.value)
    assert not explorer.churn.disabled and not explorer.churn.tooltip and "churn" not in text(explorer)
    explorer.churn.value = 10
    assert "Heun, churn 10: " in text(explorer) and "(churn leads elsewhere)" in text(explorer)
    assert "Orange: kicks" in explorer.chart.alt and bytes(explorer.chart.value) != before
    assert (explorer.samples - plain).abs().mean() > 0.01 and np.abs(explorer.ends - ends).mean() > 0.1
    kicks = line(explorer._kicks).reshape(-1, 3, 2)[:, :2]  # a gap after each two
    assert len(kicks) == 5 * core.PARTICLES and (kicks[:, 1, 0] > kicks[:, 0, 0]).mean() > 0.75
    first = explorer.samples
    ask(explorer, "ddim", 9, 10)  # what the slider still says does not reach a sampler without churn
    assert explorer.churn.disabled and "churn" not in text(explorer) and "Orange" not in explorer.chart.alt
    ask(explorer, "heun", 9, 10)
    assert torch.equal(explorer.samples, first)


def test_same_seed_same_picture(explorer):
    ask(explorer, "heun", 5, 3)
    first, ends = explorer.samples, explorer.ends
    explorer.button.click()
    assert explorer.seed.value == 1 and "seed 1." in explorer.picture.alt
    assert not torch.equal(explorer.samples, first) and not np.array_equal(explorer.ends, ends)
    explorer.seed.value = 0
    assert torch.equal(explorer.samples, first) and np.array_equal(explorer.ends, ends)


def test_the_strip_shows_guesses_at_their_noise(two, explorer):
    ask(explorer, "ddim", 3)
    generators = samplers.example_generators(0, 0, core.SHOWN)
    x_T = sample.noise_from(two[0].model, generators)
    records = list(samplers.ddim(two[0].model, two[0].schedule, x_T, steps=3, clip=True))
    strip, labels = shown(explorer.strips[0]), re.findall(r"σ = ([\d.,]+)", explorer._scales[0].value)
    assert len(labels) == 3 and explorer.strips[1].layout.visibility == "hidden"
    for k, (before, after) in enumerate(pairwise(records)):
        left = 2 + k * (SIDE + 2)
        assert np.abs(strip[2 : 2 + SIDE, left : left + SIDE] - as_bytes(after.x0_hat[0])).max() <= 1
        ratio = float(two[0].schedule.noise_ratio[before.t])
        assert float(labels[k].replace(",", "")) == pytest.approx(ratio, rel=0.05)
    assert (strip[:, 3 * (SIDE + 2) + 2 :] == 255).all()
    ask(explorer, "ddim", 20)
    alts = [strip.alt for strip in explorer.strips]
    assert [alt.count("σ = ") for alt in alts] == [4, 4] and explorer.strips[1].layout.visibility == "visible"


def test_the_chart_shows_the_moves_and_the_exact_paths(two, explorer):
    ask(explorer, "euler_flow", 4)
    moves, x_0, _ = core.particles(two[0].schedule, "euler_flow", 4)
    assert np.allclose(line(explorer._dots), np.concatenate([core.plane(move.x, move.sigma) for move in moves]))
    assert np.allclose(line(explorer._tips[2])[:, 1], x_0[:, 0]) and np.allclose(explorer.ends, x_0[:, 0])
    paths = core.exact(two[0].schedule, "euler_flow")
    assert np.allclose(line(explorer._goals)[:, 1], paths[-1, :, 1])
    drawn = line(explorer._curves).reshape(core.PARTICLES, -1, 2)[:, :-1]
    assert np.allclose(drawn, paths.transpose(1, 0, 2))
    miss = np.abs(explorer.ends - paths[-1, :, 1]).mean()
    assert float(re.search(r"ends miss by ([\d.]+) on", text(explorer))[1]) == pytest.approx(miss, rel=0.06)
    assert "4 straight moves" in explorer.chart.alt and "0 of them beyond" in explorer.chart.alt
    ask(explorer, "heun", 3)  # two steps overshoot: what leaves the chart is shown at its edge
    assert np.abs(explorer.ends).min() > core._HALF and "12 of them beyond" in explorer.chart.alt
    assert [len(line(artist)) for artist in explorer._tips] == [6, 6, 0]
    assert (np.abs(line(explorer._tips[0])[:, 1]) == core._HALF).all()


def test_what_goes_wrong_is_said_and_nothing_old_stays(explorer, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of <luck>")

    for name in ("particles", "moves"):
        before = shown(explorer.picture)
        monkeypatch.setattr(core, name, broken)
        explorer.evaluations.value += 1
        assert "RuntimeError: out of &lt;luck&gt;" in explorer.numbers.value and "alert" in explorer.numbers.value
        assert explorer.samples is None and explorer.ends is None and not explorer.button.disabled
        assert not np.array_equal(shown(explorer.picture), before) and "went wrong" in explorer.chart.alt
        assert len(line(explorer._dots)) == 0 and explorer.strips[0].layout.visibility == "hidden"
        monkeypatch.undo()
        explorer.evaluations.value += 1
        assert f"{explorer.evaluations.value} evaluations" in text(explorer) and explorer.ends is not None
    short = explorer._checkpoints[0]._replace(schedule=schedules.cosine(5))
    explorer = widgets.fast_explorer(short)
    assert "steps must lie in 1..5" in explorer.numbers.value and explorer.samples is None
    explorer.evaluations.value = 5
    assert "5 evaluations" in text(explorer) and explorer.samples is not None


def test_what_does_not_fit_is_refused(two):
    gan = Checkpoint("gan", dcgan.Generator(dcgan.DCGANConfig(z_dim=8, width=8)), None, {})
    for given, message in [
        ([], "one or more checkpoints.*there is none"),
        ([two[0].model], "holds a UNet: take what checkpoints.load returns"),
        ([two[0], gan], "gan draws in steps of its own, without a sampler: leave it out"),
    ]:
        with pytest.raises(ValueError, match=message):
            widgets.fast_explorer(given)


def test_every_control_has_a_name_and_draws_where_it_is_let_go(two, explorer):
    for control in (explorer.evaluations, explorer.churn):
        assert control.description and control.continuous_update is False
    assert explorer.which.description and explorer.seed.description and explorer.button.tooltip
    assert explorer.which in explorer.children[0].children
    assert len(widgets.fast_explorer(two[0]).children[0].children) == 1  # one checkpoint needs no list


def test_it_answers_in_time(monkeypatch, processor_ms):
    monkeypatch.setattr(images, "THREADS", 1)  # threads that wait for each other would be counted
    model = Preconditioned(PreconditionedConfig(network=unet.config("tiny-3", T=1, predicts="F"))).eval()
    loaded = [checkpoints.load("cats32-cosine"), Checkpoint("edm", model, model.schedule, {})]
    explorer = widgets.fast_explorer(loaded)
    for number in range(2):
        explorer.which.value = number
        for sampler in core.SAMPLERS.values():
            seconds = processor_ms(lambda value: ask(explorer, value, 18, 0), [sampler]) / 1000
            print(f"{loaded[number].name} {sampler}: {seconds:.2f} s")
            assert text(explorer) and seconds < 2 * LIMIT_S  # of one core, and there are two
