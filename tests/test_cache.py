"""course_utils.metrics.cache: features come from a file only where pictures, weights and file are what they were."""

import json
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils import paths
from course_utils.data.named import named_set
from course_utils.metrics import cache, features


class Counting:
    """A network that counts the pictures passed through it."""

    def __init__(self, name: str = "means", digest: str = "0f" * 32) -> None:
        self.seen = 0
        self.network = features.Network(name, 3, 8, torch.device("cpu"), self.forward, digest)

    def forward(self, levels: Tensor) -> Tensor:
        self.seen += len(levels)
        return levels.mean((2, 3))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def images() -> Tensor:
    return named_set("drawn:cat", n=9).images


def test_a_second_time_costs_no_pass_through_the_network(folder, images):
    count = Counting()
    want = features.extract(images, count.network)
    first = cache.features(images, count.network)
    assert count.seen == 18 and torch.equal(first, want)
    again = cache.features(images, count.network)
    assert count.seen == 18 and torch.equal(again, want) and again.dtype == torch.float32
    (file,) = folder.iterdir()
    assert file.suffix == ".safetensors" and len(file.stem) == 64 and file.stat().st_size < 1000


def test_every_form_of_the_same_pictures_finds_the_same_file(folder, images):
    count, pictures = Counting(), named_set("drawn:cat", n=9)
    want = cache.features(pictures, count.network)
    forms = [images, images.double(), list(images.split(4)), list(images), lambda: iter(images.split(2))]
    forms += [[(images, torch.zeros(9))], images.clone() + 1e-4]  # less than a level
    for form in forms:
        assert torch.equal(cache.features(form, count.network, batch_size=5), want)
    assert count.seen == 9 and len(list(folder.iterdir())) == 1


def test_other_pictures_order_shape_network_or_weights_make_another_key(folder, images, monkeypatch):
    count = Counting()
    cache.features(images, count.network)
    pixel = images.clone()
    pixel[4, 1, 2, 3] += 2 / 255 if pixel[4, 1, 2, 3] < 0 else -2 / 255  # one level of one pixel
    others = [pixel, images.flip(0), images[:8], images[[0, 0, 1, 2, 3, 4, 5, 6, 7]], images.reshape(9, 3, 16, 64)]
    for i, other in enumerate(others, 1):
        assert torch.equal(cache.features(other, count.network), features.extract(other, Counting().network))
        assert len(list(folder.iterdir())) == i + 1
    for other in (Counting("medians"), Counting(digest="1e" * 32)):
        cache.features(images, other.network)
        assert other.seen == 9
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    cache.features(images, count.network)
    assert len(list(folder.iterdir())) == len(others) + 4


@pytest.mark.parametrize("damage", ["cut short", "flipped", "not one", "nan", "shape", "other key", "no facts"])
def test_a_damaged_file_is_computed_again_and_replaced(folder, images, capsys, damage):
    count = Counting()
    want = cache.features(images, count.network)
    (file,) = folder.iterdir()
    whole, kept = file.read_bytes(), load_file(file)["features"].clone()
    facts = {"facts": json.dumps({"key": file.stem, "sha256": "0"})}
    if damage == "cut short":
        file.write_bytes(whole[:-5])
    elif damage == "flipped":  # a header that is right, and finite numbers
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "not one":
        file.write_bytes(b"not one")
    elif damage == "no facts":
        save_file({"features": kept}, file)
    elif damage == "other key":  # a file under another's name
        cache.features(images[:5], count.network)
        (other,) = set(folder.iterdir()) - {file}
        other.replace(file)
    else:
        save_file({"features": kept * torch.nan if damage == "nan" else kept[:8]}, file, metadata=facts)
    capsys.readouterr()
    before = count.seen
    assert torch.equal(cache.features(images, count.network), want) and count.seen == before + 9
    assert "Stored features cannot be used and are computed again" in capsys.readouterr().out
    assert file.read_bytes() == whole and list(folder.iterdir()) == [file]
    assert torch.equal(cache.features(images, count.network), want) and count.seen == before + 9


def test_a_folder_that_cannot_be_written_is_told_of_and_does_no_harm(tmp_path, monkeypatch, images, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file" / "under"))
    count = Counting()
    want = features.extract(images, count.network)
    assert torch.equal(cache.features(images, count.network), want)
    out = capsys.readouterr().out
    assert out.startswith("Features are not kept for the next time (") and "COURSE_CACHE" in out

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(paths, "cache_dir", no_home)
    assert torch.equal(cache.features(images, count.network), want)
    assert "Could not determine home directory" in capsys.readouterr().out


def test_a_network_without_a_digest_is_asked_each_time(folder, images):
    count = Counting(digest="")
    for _ in range(2):
        cache.features(images, count.network)
    assert count.seen == 18 and not folder.exists()


def test_memory_does_not_hold_the_pictures(folder):
    alive: weakref.WeakSet = weakref.WeakSet()
    most = []

    def read() -> Iterator[Tensor]:
        for k in range(20):
            batch = torch.full((2, 3, 8, 8), k / 20)
            alive.add(batch)
            most.append(len(alive))
            yield batch

    assert cache.features(read, Counting().network).shape == (40, 3) and len(most) == 40 and max(most) <= 3


@pytest.mark.parametrize("broken", ["changes", "iterator", "nan pictures", "nan features", "bytes", "none"])
def test_misuse_is_named_and_nothing_is_kept(folder, images, broken):
    count, given, message = Counting(), images, ""
    if broken == "changes":
        calls: list[int] = []

        def given():
            calls.append(1)
            return [images + 0.1 * len(calls)]

        message = "the pictures changed while they were read"
    elif broken == "iterator":
        given, message = iter(images.split(3)), "give a function that returns it"
    elif broken == "nan pictures":
        given, message = images.where(images > 0, torch.nan), "9 images hold values not finite"
    elif broken == "nan features":
        network = features.Network("nan", 3, 8, torch.device("cpu"), lambda x: x.mean((2, 3)) / 0 * 0, "0f" * 32)
        count.network, message = network, "9 of 9 rows of features hold values that are not finite"
    elif broken == "bytes":
        given, message = images.byte(), r"float in \[-1, 1\].*uint8"
    else:
        given, message = [], "N > 0"
    with pytest.raises(ValueError, match=message):
        cache.features(given, count.network)
    assert not folder.exists()


@pytest.mark.parametrize(
    "platform, environment, want",
    [
        ("linux", {}, "home/.cache/dots-to-cats"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/dots-to-cats"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/dots-to-cats"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "home/Library/Caches/dots-to-cats"),
        ("win32", {}, "home/AppData/Local/dots-to-cats"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/dots-to-cats"),
        ("linux", {"COURSE_CACHE": "~/mine", "XDG_CACHE_HOME": "/xdg"}, "home/mine"),
    ],
)
def test_the_cache_lies_where_the_platform_keeps_such_things(tmp_path, monkeypatch, platform, environment, want):
    for name in ("COURSE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path / "home"), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert paths.cache_dir() == (Path(want) if want.startswith("/") else tmp_path / want)
