"""course_utils.data.photographs: what it reads, what the box cuts out, and what it says about bad input."""

import io
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from course_utils.data import drawn, images, photographs
from course_utils.data.levels import to_bytes
from course_utils.data.photographs import DamagedDataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def file_of(image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width, height, seed=0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def cat() -> Image.Image:
    """A drawn cat, 90 px wide and 60 px high."""
    pixels = to_bytes(drawn.draw(1, size=90, seed=3).images[0]).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:60].copy())


# ---- load


def test_a_path_bytes_an_open_file_and_an_image_give_the_same(tmp_path, cat):
    path = tmp_path / "cat.png"
    cat.save(path)
    data = path.read_bytes()
    with path.open("rb") as file:
        loaded = [photographs.load(source) for source in (path, str(path), data, memoryview(data), file, cat)]
    for image in loaded:
        assert image.mode == "RGB" and np.array_equal(np.asarray(image), np.asarray(cat))
    assert loaded[-1] is not cat


def test_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch, cat):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    cat.save(tmp_path / "cat.png")
    assert photographs.load("~/cat.png").size == (90, 60)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_orientation_stands_upright(kind, turn):
    upright = Image.new("RGB", (48, 32), RED)
    upright.paste(BLUE, (0, 0, 24, 16))  # blue upper left, green upper right
    upright.paste(GREEN, (24, 0, 48, 16))
    flips = Image.Transpose
    stored_by = (None, flips.FLIP_LEFT_RIGHT, flips.ROTATE_180, flips.FLIP_TOP_BOTTOM, flips.TRANSPOSE)
    stored_by += (flips.ROTATE_90, flips.TRANSVERSE, flips.ROTATE_270)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = upright if turn == 1 else upright.transpose(stored_by[turn - 1])
    image = photographs.load(file_of(stored, kind, exif=exif, **({"quality": 98} if kind == "JPEG" else {})))
    assert image.size == (48, 32)
    for place, colour in (((6, 6), BLUE), ((42, 6), GREEN), ((6, 26), RED), ((42, 26), RED)):
        assert image.getpixel(place) == pytest.approx(colour, abs=6)
    if kind == "PNG":
        opened = Image.open(io.BytesIO(file_of(stored, kind, exif=exif)))
        assert np.array_equal(np.asarray(photographs.load(opened)), np.asarray(upright))


def test_transparent_parts_become_white():
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    half.putpixel((0, 0), (0, 0, 0, 0))
    image = photographs.load(file_of(half))
    assert image.getpixel((0, 0)) == WHITE and image.getpixel((3, 3)) == pytest.approx((255, 127, 127), abs=1)


def test_sixteen_bits_are_scaled_not_clipped():
    image = photographs.load(file_of(Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))))
    assert image.mode == "RGB" and image.getpixel((4, 4)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_other_modes_become_rgb(mode):
    image = photographs.load(file_of(Image.new("RGB", (8, 8), WHITE).convert(mode), "TIFF"))
    assert image.mode == "RGB" and image.getpixel((4, 4)) == WHITE


def test_a_photograph_of_40_megapixels_loads_fast_and_becomes_small():
    stored = ImageOps.pad(Image.new("RGB", (5000, 5472), RED), (7296, 5472), color=BLUE, centering=(1, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # a portrait: the stored left becomes the top
    data = file_of(stored, "JPEG", exif=exif)
    began = time.process_time()
    image = photographs.load(data)
    taken = time.process_time() - began
    assert image.size == (1536, 2048) and taken < 2
    assert image.getpixel((700, 100)) == pytest.approx(BLUE, abs=4)
    assert image.getpixel((700, 1900)) == pytest.approx(RED, abs=4)


def test_what_is_larger_than_the_limit_is_resized_as_a_whole(monkeypatch):
    monkeypatch.setattr(photographs, "LONGEST", 64)
    smooth = noise(6, 4).resize((300, 200), Image.Resampling.BICUBIC)
    whole = np.asarray(smooth.resize((64, 43), Image.Resampling.LANCZOS)).astype(float)
    for kind, options in (("PNG", {}), ("JPEG", {"quality": 98})):
        image = photographs.load(file_of(smooth, kind, **options))
        assert image.size == (64, 43) and abs(np.asarray(image) - whole).mean() < 2
    assert photographs.load(file_of(noise(64, 10))).size == (64, 10)


def test_pillow_is_not_heard_of_attacks_but_its_limit_holds(monkeypatch):
    data = file_of(noise(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert photographs.load(data).size == (40, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(DamagedDataError, match=r"uploaded file cannot .*more than 0 million pixels: save it smaller"):
        photographs.load(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_file_cut_short_is_named_with_a_way_out(tmp_path, kind):
    data = file_of(noise(64, 64), kind)
    path = tmp_path / "half.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedDataError, match=r"cannot be read as an image \(.+\)\. Take another file, or save it"):
        photographs.load(path)
    with pytest.raises(DamagedDataError) as caught:
        photographs.load(path)
    assert str(path) in str(caught.value) and "object at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"no picture at all" * 9, "its content is that of no image format that Pillow knows"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80), "it is HEIC, as iPhones save photographs: export it"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(80), "no image format"),
        (file_of(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF"), "8 bits a channel"),
    ],
)
def test_what_is_no_image_is_told_why(data, reason):
    with pytest.raises(DamagedDataError, match=rf"^the uploaded file cannot be read as an image \(.*{reason}"):
        photographs.load(data)
    named = io.BytesIO(data)
    named.name = "my cat.jpg"
    with pytest.raises(DamagedDataError, match=rf"^my cat\.jpg cannot be read as an image \(.*{reason}"):
        photographs.load(named)


def test_images_gives_the_same_error_class():
    assert images.DamagedDataError is DamagedDataError


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"name a file that you may read: .*nowhere\.jpg"):
        photographs.load(tmp_path / "nowhere.jpg")
    with pytest.raises(OSError, match="name a file that you may read"):
        photographs.load(tmp_path)


def test_sources_of_another_kind(tmp_path):
    with pytest.raises(TypeError, match="not Tensor"):
        photographs.load(torch.zeros(3, 4, 4))
    with pytest.raises(TypeError, match="not NoneType"):
        photographs.load(None)
    (tmp_path / "a.txt").write_text("a")
    with (tmp_path / "a.txt").open() as file, pytest.raises(TypeError, match="open it with mode 'rb'"):
        photographs.load(file)


def test_a_damaged_image_of_pillow():
    data = file_of(noise(64, 64))
    with pytest.raises(DamagedDataError, match=r"^the image cannot be read as an image \("):
        photographs.load(Image.open(io.BytesIO(data[: len(data) // 2])))


# ---- the box


@pytest.mark.parametrize(
    ("size", "box"), [((90, 60), (15, 0, 60)), ((60, 91), (0, 15.5, 60)), ((7, 7), (0, 0, 7)), ((1, 9), (0, 4, 1))]
)
def test_the_centred_square(size, box):
    assert photographs.centred(Image.new("RGB", size)) == box


def test_whole_pixels_at_their_own_size_come_back_unchanged(cat):
    crop = photographs.crop(cat, (20, 10, 32), 32)
    assert crop.shape == (3, 32, 32) and crop.dtype == torch.float32 and crop.is_contiguous()
    by_hand = np.asarray(cat)[10:42, 20:52].transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    assert np.allclose(crop.numpy(), by_hand, atol=1e-6)
    assert crop.min() >= -1 and crop.max() <= 1


@pytest.mark.parametrize("size", [8, 30, 64])
@pytest.mark.parametrize("box", [(20, 10, 48), (0, 0, 60), (30, 0, 60), (3.25, 7.5, 41.5)])
def test_the_crop_is_pillows_lanczos(cat, size, box):
    left, top, side = box
    resized = cat.resize((size, size), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    by_hand = np.asarray(resized).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    assert np.allclose(photographs.crop(cat, box, size).numpy(), by_hand, atol=1e-6)
    if box == (20, 10, 48):  # to crop first differs at the edges alone, where the filter reaches beyond the box
        first = cat.crop((20, 10, 68, 58)).resize((size, size), Image.Resampling.LANCZOS)
        first = np.asarray(first).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
        middle = slice(size // 2 - 1, size // 2 + 1)
        assert np.allclose(first[:, middle, middle], by_hand[:, middle, middle], atol=1e-6)


def test_the_centred_crop_is_what_folder_makes_of_the_same_file(tmp_path, cat):
    cat.crop((0, 0, 89, 60)).save(tmp_path / "cat.png")
    image = photographs.load(tmp_path / "cat.png")
    assert torch.equal(photographs.crop(image, photographs.centred(image), 24), images.folder(tmp_path, 24).images[0])


def test_other_numbers_and_modes_are_taken(cat):
    plain = photographs.crop(cat, (20, 10, 32), 16)
    for box in ([20, 10, 32], np.array([20, 10, 32]), torch.tensor([20.0, 10, 32])):
        assert torch.equal(photographs.crop(cat, box, 16), plain)
    grey = photographs.crop(cat.convert("L"), (20, 10, 32), 16)
    assert grey.shape == (3, 16, 16) and torch.equal(grey[0], grey[2])


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((-1, 0, 20), r"from \(-1, 0\) to \(19, 20\) leaves the picture, which has 90 × 60 pixels"),
        ((0, -0.5, 20), "leaves the picture"),
        ((71, 0, 20), "leaves the picture"),
        ((0, 41, 20), "leaves the picture"),
        ((0, 0, 61), "leaves the picture"),
        ((0, 0, 0.9), "side of the box must be at least 1 pixel, got 0.9"),
        ((0, 0, -5), "at least 1 pixel, got -5"),
        ((float("nan"), 0, 5), "box must be finite"),
        ((0, 0, float("inf")), "box must be finite"),
        ((0, 0), r"three numbers \(left, top, side\) in pixels, got \(0, 0\)"),
        ((0, 0, 5, 5), "three numbers"),
        (("a", 0, 5), "three numbers"),
        (7, "three numbers"),
        (None, "three numbers"),
    ],
)
def test_wrong_boxes(cat, box, words):
    with pytest.raises(ValueError, match=words):
        photographs.crop(cat, box, 16)


@pytest.mark.parametrize("size", [0, -3, 16.0, "16", None])
def test_wrong_sizes(cat, size):
    with pytest.raises(ValueError, match="size counts pixels: a whole number of at least 1"):
        photographs.crop(cat, (0, 0, 20), size)


def test_a_tensor_is_no_photograph():
    with pytest.raises(TypeError, match=r"photographs\.load returns it, got Tensor"):
        photographs.crop(torch.zeros(3, 9, 9), (0, 0, 5), 4)
