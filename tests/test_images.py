"""course_utils.data.images: what it finds, what stands in, and what it says about bad input."""

import errno
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, OxfordIIITPet

from course_utils.data import images
from course_utils.data.images import CIFAR10_CLASSES, DamagedDataError, ImageSet, MissingDataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path: Path, colour=RED, size=(8, 8), mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)
    return path


def only(folder: Path, size=8, **options) -> list[int]:
    """RGB of the middle pixel of the only picture in a folder."""
    return images.folder(folder, size, **options).pixels[0, :, size // 2, size // 2].tolist()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def pack(archive: Path, *members: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        for member in members:
            tar.add(member, member.name)
    return archive


# ---- ImageSet and the class-per-folder copy


@pytest.fixture
def class_folders(tmp_path):
    """Three cats (red) and two dogs (blue) for each split."""
    for split in ("train", "test"):
        for i in range(3):
            save(tmp_path / "cifar10" / split / "cat" / f"{i:04}.png", (255, i, 0), (32, 32))
        for i in range(2):
            save(tmp_path / "cifar10" / split / "dog" / f"{i:04}.jpg", BLUE, (32, 32))
    return tmp_path


def test_class_folders_give_float_images_and_labels_in_the_order_asked(class_folders):
    data = images.cifar10(("dog", "cat"), root=class_folders)
    assert isinstance(data, ImageSet) and data.real and data.name == "CIFAR-10 dogs and cats, train"
    assert len(data) == 5 and data.pixels.dtype == torch.uint8 and data.images.dtype == torch.float32
    assert data.images.shape == (5, 3, 32, 32) and data.labels.dtype == torch.int64
    assert data.images.min() == -1 and data.images.max() <= 1
    red = data.images[:, 0].mean((1, 2)) > 0
    assert torch.equal(red, data.labels == 1) and data.classes == ("dog", "cat")


def test_image_set_is_a_torch_dataset(class_folders):
    data = images.cifar10("cat", root=class_folders)
    x, y = data[0]
    assert x.shape == (3, 32, 32) and y == 0
    x, y = data[torch.tensor([2, 0])]
    assert x.shape == (2, 3, 32, 32) and torch.equal(x[1], data[0][0])
    batch, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=2)))
    assert batch.shape == (2, 3, 32, 32) and labels.tolist() == [0, 0]
    assert "tensor" not in repr(data) and "CIFAR-10 cats" in repr(data)


def test_seed_fixes_the_choice_and_small_n_is_a_prefix(class_folders):
    whole = images.cifar10("cat", root=class_folders, seed=3)
    assert torch.equal(images.cifar10("cat", root=class_folders, seed=3).pixels, whole.pixels)
    assert torch.equal(images.cifar10("cat", n=2, root=class_folders, seed=3).pixels, whole.pixels[:2])
    orders = {tuple(images.cifar10("cat", root=class_folders, seed=s).pixels[:, 1, 0, 0].tolist()) for s in range(8)}
    assert len(orders) > 1


@pytest.mark.parametrize("n", [0, -1, 4])
def test_wrong_n_says_how_many_there_are(class_folders, n):
    with pytest.raises(ValueError, match="CIFAR-10 cats, test has 3 images"):
        images.cifar10("cat", "test", n=n, root=class_folders)


def test_data_folder_is_COURSE_DATA(class_folders, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(class_folders))
    assert images.cifar10().real


def test_read_only_data_folder_is_enough_to_read(class_folders):
    for path in [class_folders, *class_folders.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(class_folders.rglob("*"))
    assert len(images.cifar10(root=class_folders)) == 3
    assert sorted(class_folders.rglob("*")) == before
    for path in [class_folders, *class_folders.rglob("*")]:
        path.chmod(0o755)


def test_unknown_class_suggests_close_ones(tmp_path):
    with pytest.raises(ValueError, match="'Cats' is no CIFAR-10 class; did you mean cat"):
        images.cifar10("Cats", root=tmp_path)
    with pytest.raises(ValueError, match=r"'zebra' is no CIFAR-10 class.*airplane, automobile"):
        images.cifar10(("cat", "zebra"), root=tmp_path)
    with pytest.raises(ValueError, match="no CIFAR-10 class"):
        images.cifar10((), root=tmp_path)
    with pytest.raises(ValueError, match="'tests' is no split; did you mean test"):
        images.cifar10(split="tests", root=tmp_path)


def test_empty_class_folder_is_named(class_folders):
    shutil.rmtree(class_folders / "cifar10/train/cat")
    (class_folders / "cifar10/train/cat").mkdir()
    with pytest.raises(MissingDataError, match="cifar10/train/cat holds no images"):
        images.cifar10(root=class_folders)


def test_damaged_file_of_a_class_is_named(class_folders):
    (class_folders / "cifar10/train/cat/0001.png").write_bytes(b"")
    with pytest.raises(DamagedDataError, match=r"cat/0001\.png .*empty"):
        images.cifar10(root=class_folders)


# ---- the stand-in


def test_missing_set_prints_one_notice_and_draws(tmp_path, capsys):
    data = images.cifar10(("frog", "cat"), n=6, root=tmp_path / "nothing")
    notice = capsys.readouterr().out
    assert notice.count("\n") == 1 and "CIFAR-10 is not in the data folder: using drawn frogs and cats" in notice
    assert "download=True" in notice and "data/README.md" in notice and str(tmp_path) not in notice
    assert not data.real and data.name == "drawn frogs and cats (CIFAR-10 is not here)"
    assert data.images.shape == (6, 3, 32, 32) and -1 <= data.images.min() < data.images.max() <= 1
    assert data.labels.bincount().tolist() == [3, 3] and data.classes == ("frog", "cat")
    from course_utils.data import drawn

    reference = drawn.draw(6, kind=("frog", "cat"), size=32, seed=0)
    frogs = reference.labels == drawn.CLASSES.index("frog")
    assert torch.equal(data.labels == 0, frogs)
    assert (data.images - reference.images).abs().max() < 1.01 / 255  # 8 bits


def test_stand_in_of_test_split_differs_from_train(tmp_path):
    train, test = (images.cifar10(split=split, n=4, root=tmp_path) for split in ("train", "test"))
    assert not torch.equal(train.pixels, test.pixels)
    assert torch.equal(train.pixels, images.cifar10(n=4, root=tmp_path).pixels)


def test_stand_in_is_as_large_as_the_real_set(tmp_path, monkeypatch):
    counts = []
    draw = images.drawn.draw
    monkeypatch.setattr(images.drawn, "draw", lambda n, **kw: counts.append(n) or draw(2, **kw))
    images.cifar10(root=tmp_path)
    images.cifar10(("cat", "frog"), "test", root=tmp_path)
    assert counts == [5000, 2000]
    with pytest.raises(ValueError, match="take n from 1 to 1000"):
        images.cifar10(split="test", n=1001, root=tmp_path)


def test_missing_cat_faces_are_drawn_at_the_size_asked(tmp_path, capsys):
    data = images.cat_faces(n=3, size=48, root=tmp_path)
    assert capsys.readouterr().out.startswith("The cat-face set is not in the data folder: using drawn cat faces")
    assert data.images.shape == (3, 3, 48, 48) and not data.real and "drawn" in data.name


def test_strict_raises_and_undrawn_classes_raise(tmp_path, capsys):
    with pytest.raises(MissingDataError, match=r"CIFAR-10 is not in .*download=True"):
        images.cifar10(strict=True, root=tmp_path)
    with pytest.raises(FileNotFoundError, match="cat-face set"):
        images.cat_faces(strict=True, root=tmp_path)
    with pytest.raises(MissingDataError, match="can be drawn: cat, frog, automobile"):
        images.cifar10(("cat", "dog"), root=tmp_path)
    assert capsys.readouterr().out == ""


# ---- a folder of one's own


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_colour_modes_become_rgb(tmp_path, mode):
    save(tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}", GREEN, mode=mode)
    assert only(tmp_path) == pytest.approx(GREEN, abs=2)


def test_cmyk_jpeg_and_upper_case_suffix(tmp_path):
    save(tmp_path / "A.JPG", BLUE, mode="CMYK", quality=95)
    assert only(tmp_path) == pytest.approx(BLUE, abs=12)


def test_greyscale_repeats_in_three_channels(tmp_path):
    save(tmp_path / "a.png", (100, 100, 100), mode="L")
    assert only(tmp_path) == [100, 100, 100]


def test_black_and_white_bits(tmp_path):
    save(tmp_path / "a.png", (255, 255, 255), mode="1")
    assert only(tmp_path) == [255, 255, 255]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)).save(tmp_path / "a.png")
    assert only(tmp_path) == [128, 128, 128]


def test_floating_point_is_refused_with_a_reason(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DamagedDataError, match=r"a\.tif .*8 bits a channel"):
        only(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(tmp_path, mode):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    clear.save(tmp_path / "a.png")
    assert only(tmp_path) == [255, 255, 255]


def test_half_transparent_red_over_white(tmp_path):
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert only(tmp_path) == pytest.approx([255, 127, 127], abs=1)


def test_transparent_palette_entry_becomes_white(tmp_path):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 9, 9, 9])
    picture.save(tmp_path / "a.png", transparency=1)
    assert only(tmp_path) == [255, 255, 255]


def test_animated_gif_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (GREEN, RED, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "a.gif").n_frames == 3
    assert only(tmp_path) == pytest.approx(GREEN, abs=2)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_one_pixel_image_fills_the_square(tmp_path, fit):
    save(tmp_path / "a.png", BLUE, (1, 1))
    data = images.folder(tmp_path, 16, fit)
    assert torch.equal(data.pixels, torch.tensor(BLUE, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16))


def test_exif_rotation_is_applied(tmp_path):
    picture = Image.new("RGB", (16, 16), RED)
    picture.paste(BLUE, (0, 0, 8, 16))  # stored: left half blue
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise: the stored left becomes the top
    picture.save(tmp_path / "a.png", exif=exif)
    pixels = images.folder(tmp_path, 16).pixels[0]
    assert pixels[:, 1, 14].tolist() == list(BLUE) and pixels[:, 14, 1].tolist() == list(RED)


def test_crop_keeps_the_middle_and_squash_keeps_all(tmp_path):
    picture = Image.new("RGB", (90, 30), RED)
    picture.paste(GREEN, (30, 0, 60, 30))
    picture.save(tmp_path / "a.png")
    green = torch.tensor(GREEN, dtype=torch.uint8).view(3, 1, 1)
    assert torch.equal(images.folder(tmp_path, 30).pixels[0], green.expand(3, 30, 30))
    squashed = images.folder(tmp_path, 30, "squash").pixels[0]
    assert squashed[:, 15, 2].tolist() == list(RED) and squashed[:, 15, 15].tolist() == list(GREEN)
    with pytest.raises(ValueError, match="'crp' is no fit; did you mean crop"):
        images.folder(tmp_path, 30, "crp")


def test_same_size_comes_back_unchanged_and_large_jpeg_close(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    assert np.array_equal(images.folder(tmp_path, 32).pixels[0].permute(1, 2, 0).numpy(), noise)
    large = Image.fromarray(noise).resize((1000, 800), Image.Resampling.BICUBIC)
    large.save(tmp_path / "a.png")
    exact = images.folder(tmp_path, 32).images
    (tmp_path / "a.png").unlink()
    large.save(tmp_path / "a.jpg", quality=98)
    assert (images.folder(tmp_path, 32).images - exact).abs().mean() < 0.03  # decoded at a fraction, see `draft`


@pytest.mark.parametrize("size", [0, -3, 32.5, "32"])
def test_wrong_size(tmp_path, size):
    save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="size counts pixels"):
        images.folder(tmp_path, size)


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.write_bytes({"zero bytes": b"", "truncated": whole[: len(whole) // 2], "text": b"no picture at all" * 9}[how])


@pytest.mark.parametrize("how", ["zero bytes", "truncated", "text"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif"])
def test_damaged_file_is_named_with_a_way_out(tmp_path, how, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / "a.png")
    Image.fromarray(noise).save(tmp_path / f"b{suffix}")
    damage(tmp_path / f"b{suffix}", how)
    with pytest.raises(DamagedDataError, match=r"cannot be read as an image.*Delete it.*skip_bad=True") as caught:
        images.folder(tmp_path, 8)
    assert str(tmp_path / f"b{suffix}") in str(caught.value)
    assert ("the file is empty" in str(caught.value)) == (how == "zero bytes")


def test_skip_bad_tells_what_it_skipped(tmp_path, capsys):
    for i in range(9):
        save(tmp_path / f"{i}.png")
    damage(tmp_path / "3.png", "truncated")
    damage(tmp_path / "7.png", "zero bytes")
    assert len(images.folder(tmp_path, 8, skip_bad=True)) == 7
    said = capsys.readouterr().out
    assert "Skipped 2 of 9" in said and "3.png" in said and "7.png" in said
    for i in range(9):
        damage(tmp_path / f"{i}.png", "text")
    with pytest.raises(DamagedDataError):
        images.folder(tmp_path, 8, skip_bad=True)


def test_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(DamagedDataError, match=r"a\.png cannot be read .*Permission denied"):
        images.folder(tmp_path, 8)


def test_empty_folder_says_what_it_holds(tmp_path):
    with pytest.raises(MissingDataError, match=r"holds no images .*nothing"):
        images.folder(tmp_path, 8)
    (tmp_path / "cats").mkdir()
    (tmp_path / "photo.heic").touch()
    with pytest.raises(MissingDataError, match=r"holds no images .*cats, photo\.heic"):
        images.folder(tmp_path, 8)


def test_other_files_are_announced_and_hidden_ones_ignored(tmp_path, capsys):
    save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"left by macOS")
    assert len(images.folder(tmp_path, 8)) == 1 and capsys.readouterr().out == ""
    (tmp_path / "b.heic").touch()
    assert len(images.folder(tmp_path, 8)) == 1 and "b.heic" in capsys.readouterr().out


def test_folder_is_named_after_itself(tmp_path, monkeypatch):
    save(tmp_path / "my cats" / "a.png")
    monkeypatch.chdir(tmp_path / "my cats")
    data = images.folder(".", 8)
    assert data.name == "my cats" and data.classes == ("my cats",) and data.labels.tolist() == [0] and data.real


def test_missing_folder_and_file_for_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"name a folder that you may read.*nowhere"):
        images.folder(tmp_path / "nowhere", 8)
    with pytest.raises(NotADirectoryError, match=r"name a folder that you may read.*a\.png"):
        images.folder(save(tmp_path / "a.png"), 8)
    with pytest.raises(NotADirectoryError, match=r"a\.png"):
        images.cifar10(root=tmp_path / "a.png")


def test_unreadable_folder(tmp_path, monkeypatch):
    save(tmp_path / "a.png")

    def refuse(path):  # permission bits do not stop root, so the refusal is played
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    for call in (lambda: images.folder(tmp_path, 8), lambda: images.cifar10(root=tmp_path)):
        with pytest.raises(PermissionError, match="name a folder that you may read") as caught:
            call()
        assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no Unix permissions")
def test_really_unreadable_folder(tmp_path):
    locked = tmp_path / "locked"
    save(locked / "a.png")
    locked.chmod(0)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # nobody
        with pytest.raises(PermissionError, match="name a folder that you may read"):
            images.folder(locked, 8)
    finally:
        if root:
            os.seteuid(0)
        locked.chmod(0o755)


# ---- CIFAR-10 through torchvision: a tiny archive of the same make


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """Write an archive with one image a class and batch, its checksums in place of the real ones; no network."""
    source = tmp_path / "source" / CIFAR10.base_folder
    source.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sums = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
        data[:, 0, 0, 0] = np.arange(10)  # the class number, to find it again
        (source / name).write_bytes(pickle.dumps({"data": data.reshape(10, -1), "labels": list(range(10))}))
        sums[name] = md5(source / name)
    (source / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR10_CLASSES)}))
    archive = pack(tmp_path / "source" / CIFAR10.filename, source)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "train_list", [[n, s] for n, s in sums.items() if n != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(source / "batches.meta")})
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/nobody-listens.tar.gz")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))  # whatever /tmp has left
    return archive


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def serve(content: bytes, promised: int | None = None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(promised or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_archive_placed_by_hand_is_unpacked_and_selected(tiny_cifar, data):
    shutil.copy(tiny_cifar, data)
    some = images.cifar10(("truck", "cat"), root=data)
    assert some.name == "CIFAR-10 trucks and cats, train" and some.real and len(some) == 10
    assert torch.equal(some.pixels[:, 0, 0, 0], torch.tensor([9, 3])[some.labels].byte())
    (data / CIFAR10.filename).unlink()  # from here on the unpacked files are enough
    test = images.cifar10(CIFAR10_CLASSES, "test", root=data)
    assert sorted(test.labels.tolist()) == list(range(10)) and test.name == "CIFAR-10 (10 classes), test"
    assert torch.equal(images.cifar10(CIFAR10_CLASSES, "test", n=4, root=data).pixels, test.pixels[:4])
    with pytest.raises(ValueError, match="CIFAR-10 cats, train has 5 images"):
        images.cifar10(n=6, root=data)


def test_download_fetches_and_unpacks(tiny_cifar, data, monkeypatch):
    server = serve(tiny_cifar.read_bytes())
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/x.tar.gz")
    assert len(images.cifar10(root=data / "new" / "folder", download=True)) == 5
    server.shutdown()


def test_download_that_breaks_off_is_not_used(tiny_cifar, data, monkeypatch, capsys):
    whole = tiny_cifar.read_bytes()
    server = serve(whole[:1000], promised=len(whole))
    monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/x.tar.gz")
    with pytest.raises(DamagedDataError, match=r"stopped half-way.*curl.*delete it and start again.*README") as caught:
        images.cifar10(root=data, download=True)
    server.shutdown()
    archive = data / CIFAR10.filename
    assert str(archive) in str(caught.value) and archive.stat().st_size == 1000
    with pytest.raises(DamagedDataError, match="half-way"):  # the next call neither uses it nor quietly draws
        images.cifar10(root=data)
    assert "drawn" not in capsys.readouterr().out
    archive.write_bytes(whole)  # what `curl -C -` would do
    assert len(images.cifar10(root=data)) == 5


def test_checksum_mismatch_names_both_checksums(tiny_cifar, data):
    archive = data / CIFAR10.filename
    archive.write_bytes(tiny_cifar.read_bytes()[:-1] + b"?")
    with pytest.raises(DamagedDataError, match=f"{md5(archive)} instead of {CIFAR10.tgz_md5}.*another file"):
        images.cifar10(root=data, download=True)
    assert not (data / CIFAR10.base_folder).exists()


def test_damaged_batch_is_restored_from_the_archive_or_reported(tiny_cifar, data):
    shutil.copy(tiny_cifar, data)
    images.cifar10(root=data)
    (data / CIFAR10.base_folder / "data_batch_2").write_bytes(b"cut short")
    assert len(images.cifar10(root=data)) == 5
    (data / CIFAR10.base_folder / "data_batch_2").write_bytes(b"cut short")
    (data / CIFAR10.filename).unlink()
    with pytest.raises(DamagedDataError, match=r"not whole: get .*cifar-10-python\.tar\.gz by download=True"):
        images.cifar10(root=data)


def test_no_network_says_so(tiny_cifar, data):
    with pytest.raises(ConnectionError, match=r"could not be fetched.*try again later, or see data/README"):
        images.cifar10(root=data, download=True)


def failing_write(number: int, written: bytes | None = b"half"):
    """Stand for torchvision's download: write a bit, then fail as a full or locked disk does."""

    def fail(url, root, filename=None, md5=None, **_):
        if written is not None:
            (Path(root) / (filename or Path(url).name)).write_bytes(written)
        raise OSError(number, os.strerror(number), filename)

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_removes_the_partial_file(tiny_cifar, data, monkeypatch, number):
    monkeypatch.setattr("torchvision.datasets.utils.download_url", failing_write(number))
    with pytest.raises(OSError, match=r"no space.*360 MB needed, half-written files removed.*COURSE_DATA") as caught:
        images.cifar10(root=data, download=True)
    assert caught.value.errno == number and str(data) in str(caught.value) and list(data.iterdir()) == []


def test_no_space_left_while_unpacking_keeps_the_whole_archive(tiny_cifar, data, monkeypatch):
    shutil.copy(tiny_cifar, data)

    def fill(archive, to_path, remove):
        (Path(to_path) / CIFAR10.base_folder).mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torchvision.datasets.utils.extract_archive", fill)
    with pytest.raises(OSError, match="no space"):
        images.cifar10(root=data)
    assert [path.name for path in data.iterdir()] == [CIFAR10.filename]


def test_space_is_checked_before_a_slow_download(tiny_cifar, data, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    monkeypatch.setattr("torchvision.datasets.utils.download_url", lambda *a: pytest.fail("must not start"))
    with pytest.raises(OSError, match="360 MB needed"):
        images.cifar10(root=data, download=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_read_only_data_folder_cannot_take_a_download(tiny_cifar, data, monkeypatch, number):
    monkeypatch.setattr("torchvision.datasets.utils.download_url", failing_write(number, written=None))
    with pytest.raises(OSError, match="CIFAR-10: you may not write there; COURSE_DATA can name another") as caught:
        images.cifar10(root=data, download=True)
    assert caught.value.errno == number and str(data) in str(caught.value)


def test_interrupt_while_unpacking_leaves_no_half_folder(tiny_cifar, data, monkeypatch):
    shutil.copy(tiny_cifar, data)

    def interrupted(archive, to_path, remove):
        (Path(to_path) / CIFAR10.base_folder).mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("torchvision.datasets.utils.extract_archive", interrupted)
        images.cifar10(root=data)
    assert [path.name for path in data.iterdir()] == [CIFAR10.filename]
    assert len(images.cifar10(root=data)) == 5


# ---- cat faces


XML = """<annotation><object><name>{kind}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>
</bndbox></object></annotation>"""


@pytest.fixture
def tiny_pets(tmp_path, monkeypatch):
    """Fourteen cats and a dog: blue heads on red ground; one cat comes without a box, as the real test split does."""
    source = tmp_path / "source"
    (source / "annotations" / "xmls").mkdir(parents=True)
    lines = []
    for i, name in enumerate([f"Abyssinian_{i}" for i in range(14)] + ["beagle_1", "Sphynx_1"]):
        box = (0, 10, 30, 40) if i % 2 else (60, 10, 90, 40)  # at the left edge, or well inside
        picture = Image.new("RGB", (120, 80), RED)
        picture.paste(BLUE, box)
        (source / "images").mkdir(exist_ok=True)
        picture.save(source / "images" / f"{name}.jpg", "PNG")  # contents decide, as with the GIFs among the real ones
        lines.append(f"{name} 1 {1 if name[0].isupper() else 2} 1")
        if name != "Sphynx_1":
            xml = XML.format(*box, kind="cat" if name[0].isupper() else "dog")
            (source / "annotations" / "xmls" / f"{name}.xml").write_text(xml)
    (source / "annotations" / "trainval.txt").write_text("\n".join(lines))
    archives = [pack(source / f"{part}.tar.gz", source / part) for part in ("images", "annotations")]
    addresses = [(f"http://127.0.0.1:9/{path.name}", md5(path)) for path in archives]
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", tuple(addresses))
    return archives


def place(archives: list[Path], data: Path) -> Path:
    (data / "oxford-iiit-pet").mkdir()
    for archive in archives:
        shutil.copy(archive, data / "oxford-iiit-pet")
    return data / "oxford-iiit-pet"


def test_cat_faces64_folder_comes_first(tiny_pets, data):
    place(tiny_pets, data)
    for i in range(3):
        save(data / "cat_faces64" / "train" / f"{i}.jpg", GREEN, (64, 64))
    faces = images.cat_faces(root=data)
    assert faces.images.shape == (3, 3, 64, 64) and faces.name == "cat faces, train" and faces.classes == ("cat",)
    assert images.cat_faces(n=2, size=32, root=data).pixels.shape == (2, 3, 32, 32)


def test_pet_heads_are_cropped_square_and_split(tiny_pets, data):
    place(tiny_pets, data)
    train, test = (images.cat_faces(split, size=64, root=data) for split in ("train", "test"))
    assert (len(train), len(test)) == (12, 2) and train.name == "Oxford-IIIT Pet cat heads, train"
    blue = train.pixels[:, 2].float() / 255
    assert (blue.mean((1, 2)) > 0.6).all() and (blue.mean((1, 2)) < 0.95).all()  # the head, and some room around it
    assert (blue[:, 28:36, 28:36] > 0.95).all()


def test_head_box_larger_than_the_picture_stays_inside():
    picture = Image.new("RGB", (40, 30), GREEN)
    assert images._crop_head(picture, -5, -5, 50, 50).size == (30, 30)
    assert images._crop_head(picture, -5, -5, 50, 50).getcolors() == [(900, GREEN)]


def test_one_of_two_archives_is_not_enough(tiny_pets, data):
    place(tiny_pets[:1], data)
    with pytest.raises(DamagedDataError, match=r"not whole: get .*annotations\.tar\.gz by download=True"):
        images.cat_faces(root=data)


def test_half_finished_pet_archive_is_named(tiny_pets, data):
    pets = place(tiny_pets, data)
    damage(pets / "images.tar.gz", "truncated")
    with pytest.raises(DamagedDataError, match=r"images\.tar\.gz .*stopped half-way"):
        images.cat_faces(root=data)


def test_pet_picture_that_is_gone_is_named(tiny_pets, data):
    pets = place(tiny_pets, data)
    images.cat_faces(root=data)
    (pets / "images" / "Abyssinian_2.jpg").unlink()
    with pytest.raises(DamagedDataError, match=r"Abyssinian_2\.jpg"):
        images.cat_faces(root=data)


# ---- the package, and the real sets


def test_names_load_lazily():
    code = """
import sys, course_utils.data as data
assert "torchvision" not in sys.modules and "torch" not in sys.modules
assert data.toy.__name__ == "course_utils.data.toy" and "torchvision" not in sys.modules
assert data.cifar10 is data.images.cifar10
from course_utils.data import ImageSet, cat_faces, drawn, folder
try: data.nonsense
except AttributeError: print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


@pytest.fixture
def real():
    root = os.environ.get("COURSE_DATA")
    if not root or not (Path(root) / "cifar10").is_dir() or not (Path(root) / "cat_faces64").is_dir():
        pytest.skip("COURSE_DATA does not name a folder with cifar10/ and cat_faces64/")
    return Path(root)


@pytest.mark.realdata
def test_real_cats(real):
    cats = images.cifar10(strict=True)
    assert len(cats) == 5000 and cats.real and cats.images.shape == (5000, 3, 32, 32)
    assert abs(cats.images.mean()) < 0.2 and 0.4 < cats.images.std() < 0.6
    both = images.cifar10(("frog", "cat"), "test", n=200, strict=True)
    assert both.labels.bincount().min() > 60


@pytest.mark.realdata
def test_real_faces(real):
    faces = images.cat_faces("test", strict=True)
    assert faces.images.shape == (500, 3, 64, 64) and faces.real
    assert images.cat_faces(n=20, size=32, strict=True).images.shape == (20, 3, 32, 32)


@pytest.mark.realdata
def test_real_folder(real):
    if not (real / "cats100").is_dir():
        pytest.skip("no cats100/")
    assert images.folder(real / "cats100", 32, n=50).images.shape == (50, 3, 32, 32)
