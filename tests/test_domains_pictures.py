"""Every kind of picture becomes uint8 RGB; what is broken says why."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from crossgraft.domains.digest import array_digest, file_digest
from crossgraft.domains.domain import Unreadable
from crossgraft.domains.pictures import decode, from_array, thumbnail, white_of


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Smooth, different in every corner and channel."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 255 * x / width, 255 * y / height, 255 * (1 - x / width) * (y / height)
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8))


def test_png_is_exact() -> None:
    assert np.array_equal(decode(encoded(scene(), "PNG")), np.asarray(scene()))


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encoded(scene(), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data).astype(int) - expected).max() <= 3  # two decoders round differently


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(scene(), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    pixels = decode(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 3
    assert pixels.flags.c_contiguous


def test_at_least_gives_a_smaller_picture_of_the_same_scene() -> None:
    data = encoded(scene(960, 640), "JPEG", quality=95)
    pixels = decode(data, at_least=100)
    assert pixels.shape == (160, 240, 3)
    expected = np.asarray(scene(960, 640).resize((240, 160), Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels - expected).mean() < 2
    assert decode(data, at_least=400).shape == (640, 960, 3)  # not twice as large


def test_grey_palette_and_bilevel_become_rgb() -> None:
    grey = scene().convert("L")
    assert np.array_equal(decode(encoded(grey, "PNG")), np.repeat(np.asarray(grey)[:, :, None], 3, 2))
    assert decode(encoded(grey, "JPEG")).shape == (64, 96, 3)
    palette = scene().convert("P")
    assert np.array_equal(decode(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))
    assert set(np.unique(decode(encoded(grey.convert("1"), "PNG")))) == {0, 255}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    clear = scene().convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.array([0, 128, 255, 255], np.uint8), (64, 24))))
    if mode == "P":
        picture = Image.new("P", (96, 64), 0)
        picture.putpalette([10, 20, 30, 200, 100, 50])
        data = encoded(picture, "PNG", transparency=0)
        assert (decode(data) == 255).all()
        return
    pixels = decode(encoded(clear.convert(mode), "PNG")).astype(float)
    colour = np.asarray(clear.convert(mode).convert("RGBA")).astype(float)
    alpha = colour[:, :, 3:] / 255
    assert np.abs(pixels - (colour[:, :, :3] * alpha + 255 * (1 - alpha))).max() <= 1
    assert (pixels[:, ::4] == 255).all()


def test_cmyk_jpeg() -> None:
    pixels = decode(encoded(scene().convert("CMYK"), "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - np.asarray(scene())).mean() < 4


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("top", "white"), [(65535, 65535), (4000, 4095), (1000, 1023), (200, 255)])
def test_16_bits_are_scaled_by_the_depth_that_holds_them(top: int, white: int) -> None:
    values = np.linspace(0, top, 64 * 96).reshape(64, 96).astype(np.uint16)
    expected = np.rint(values * (255 / white)).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(values), "PNG"))[:, :, 0], expected)
    assert np.array_equal(from_array(values)[:, :, 2], expected)


def test_arrays_of_any_type_and_layout() -> None:
    rgb = np.asarray(scene())
    for same in (rgb, rgb / 255, rgb.astype(np.float32), rgb.astype(np.int64), rgb.transpose(2, 0, 1)):
        assert np.array_equal(from_array(same), rgb)
    assert np.array_equal(from_array(rgb[None, :, :, 0]), np.repeat(rgb[:, :, :1], 3, 2))
    assert from_array(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]
    rgba = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    assert (from_array(rgba) == 255).all()


def test_white_is_the_data_sets_and_not_one_pictures() -> None:
    digits = np.array([[[0, 8]], [[0, 16]]])
    assert white_of(digits, whole=True) == 16
    assert from_array(digits[0], 16.0)[0, 1, 0] == 128


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2, 2, 2)), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.array([[np.nan, 0.0]]), "NaN"),
        (np.array([[-1.0, 0.0]]), "below 0"),
        (np.array([["a"]]), "type"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        from_array(array)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (60000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is a note\nnot a picture\n", "text"),
        (bytes(range(256)) * 4, "no picture of a known format"),
        (bomb(), "decompression bomb"),
        (encoded(scene(), "PNG")[:200], "cut off"),
        (encoded(scene(), "GIF")[:2000], "cut off"),
    ],
    ids=["zero bytes", "text", "noise", "bomb", "cut png", "cut gif"],
)
def test_broken_files_say_why(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        decode(path)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("at_least", [None, 64])
def test_a_cut_jpeg_is_found_wherever_it_is_cut(progressive: bool, at_least: int | None) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
    for keep in (0.05, 0.5, 0.9, 0.99):
        with pytest.raises(Unreadable, match=r"cut off|no picture"):
            decode(data[: int(keep * len(data))], at_least)
    with pytest.raises(Unreadable, match="cut off"):
        decode(data[:-3], at_least)


def test_missing_file_folder_and_link_in_a_circle(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="missing"):
        decode(tmp_path / "no.png")
    with pytest.raises(Unreadable, match="cannot be opened"):
        decode(tmp_path)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(Unreadable, match="cannot be opened"):
        decode(tmp_path / "loop.png")


def test_thumbnail_is_a_small_jpeg() -> None:
    small = Image.open(io.BytesIO(thumbnail(np.asarray(scene(960, 640)), 96)))
    assert small.format == "JPEG"
    assert small.size == (96, 64)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(scene())).mean() < 4


def test_digests_stand_for_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    assert file_digest(tmp_path / "a") == file_digest(str(tmp_path / "b")) == file_digest(b"same")
    assert len(file_digest(b"same")) == 20
    array = np.arange(6, dtype=np.float32)
    digests = {array_digest(a) for a in (array, array.reshape(2, 3), array.astype(np.float64), array[::-1])}
    assert len(digests) == 4
    assert array_digest(np.arange(12, dtype=np.float32)[::2]) == array_digest(np.arange(0, 12, 2, dtype=np.float32))
