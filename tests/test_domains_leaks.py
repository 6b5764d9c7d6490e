"""Copies are found, exact or changed; different pictures and tiny ones are left alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from crossgraft.domains import Domain, open_domain
from crossgraft.domains.folders import example_files
from crossgraft.domains.leaks import Leak, difference_hash, leaks, read_greys, small_greys
from crossgraft.features import Store, greys, kept_greys


def scene(seed: int, width: int = 200, height: int = 160) -> Image.Image:
    """Large soft blobs with fine grain, like nothing else."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (8, 10, 3), dtype=np.uint8))
    return Image.blend(
        coarse.resize((width, height), Image.Resampling.BICUBIC),
        Image.effect_noise((width, height), 60).convert("RGB"),
        0.1,
    )


def jpeg(picture: Image.Image, quality: int = 85) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def domain(name: str, *files: bytes) -> Domain:
    return example_files(files, name, names=[f"{name}{i}" for i in range(len(files))])


TRAIN = [scene(i) for i in range(6)]


def test_exact_copies_under_another_name() -> None:
    train = domain("train", *map(jpeg, TRAIN))
    test = domain("test", jpeg(scene(100)), jpeg(TRAIN[4]))
    assert leaks(train, test) == [Leak("train4", "test1", "exact", 0)]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.resize((100, 80)),
        lambda p: p.resize((400, 320)),
        lambda p: p.convert("L"),
        lambda p: p.point(lambda v: min(255, int(1.1 * v))),
        lambda p: p.filter(ImageFilter.GaussianBlur(1)),
    ],
    ids=["smaller", "larger", "grey", "brighter", "blurred"],
)
def test_changed_copies_are_near(change: object) -> None:
    train = domain("train", *map(jpeg, TRAIN))
    test = domain("test", jpeg(change(TRAIN[2]), 60), jpeg(scene(100)))
    found = leaks(train, test)
    assert [(f.train, f.test, f.kind) for f in found] == [("train2", "test0", "near")]
    assert 0 <= found[0].distance <= 20


def test_pictures_are_decoded_for_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = domain("train", *map(jpeg, TRAIN)), domain("test", jpeg(scene(100)), jpeg(TRAIN[2].resize((100, 80))))
    store = Store(tmp_path / "s")
    monkeypatch.setattr(greys, "read_greys", counting := Counting())
    found = [leaks(train, test, greys=lambda d, at: kept_greys(d, at, store)) for _ in range(2)]
    assert found[0] == found[1] == leaks(train, test)
    assert [(f.train, f.test, f.kind) for f in found[0]] == [("train2", "test1", "near")]
    assert counting.read == len(TRAIN) + 2


class Counting:
    """`read_greys`, and the number of pictures that it decoded."""

    read = 0

    def __call__(self, domain: Domain, at: np.ndarray) -> np.ndarray:
        self.read += len(at)
        return read_greys(domain, at)


def test_the_nearest_of_several_is_named() -> None:
    train = domain("train", jpeg(TRAIN[0].filter(ImageFilter.GaussianBlur(9))), jpeg(TRAIN[0], 70), jpeg(TRAIN[1]))
    assert leaks(train, domain("test", jpeg(TRAIN[0], 90)))[0].train == "train1"


def test_tiny_pictures_count_only_where_equal() -> None:
    train = domain("train", *(jpeg(p.resize((40, 32))) for p in TRAIN))
    assert leaks(train, domain("test", jpeg(TRAIN[0].resize((40, 32)), 70))) == []
    assert leaks(train, domain("test", jpeg(TRAIN[0].resize((40, 32)))))[0].kind == "exact"


def test_blank_and_unreadable_pictures_are_near_nothing() -> None:
    blank = [jpeg(Image.new("RGB", (100, 100), (g, g, g))) for g in (10, 250)]
    train = domain("train", blank[0], b"", *map(jpeg, TRAIN))
    assert leaks(train, domain("test", blank[1], b"no picture", jpeg(scene(100)))) == []


def test_vectors_count_where_equal() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 4))
    train = open_domain(rows[:30], "train")
    test = open_domain(np.concatenate([rows[30:], rows[5:6], rows[6:7] + 1e-3]), "test")
    assert leaks(train, test) == [Leak("[5]", "[20]", "exact", 0)]


def test_small_greys_are_means_of_the_centre_square() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    luminance = pixels[:, :, 16:80].astype(float) @ [0.299, 0.587, 0.114]
    expected = luminance.reshape(2, 32, 2, 32, 2).mean((2, 4))
    assert np.abs(small_greys(pixels) - expected).max() < 1e-3


def test_hash_bits_against_a_plain_loop() -> None:
    greys = np.random.default_rng(0).uniform(0, 255, (3, 72, 72)).astype(np.float32)
    for one, words in zip(greys, difference_hash(greys), strict=True):
        wide = one.reshape(8, 9, 9, 8).mean((1, 3))  # 8 rows of 9 columns
        tall = one.reshape(9, 8, 8, 9).mean((1, 3))
        bits = [wide[r, c + 1] - wide[r, c] > 1 for r in range(8) for c in range(8)]
        bits += [tall[r + 1, c] - tall[r, c] > 1 for r in range(8) for c in range(8)]
        expected = np.frombuffer(np.packbits(np.array(bits)).tobytes(), np.uint64)
        assert np.array_equal(words, expected)


@pytest.mark.data
def test_no_false_alarm_among_photographs_and_digits(data: Path) -> None:
    photos = open_domain(data / "images/hymenoptera", "photos")
    train, test = photos.take(photos.where("train")), photos.take(photos.where("val"))
    assert leaks(train, test) == []
    xrays = open_domain(data / "images/pneumoniamnist.npz", "xrays")
    assert all(f.kind == "exact" for f in leaks(xrays.take(xrays.where("train")), xrays.take(xrays.where("test"))))
    copy = train.take([7])
    shrunk = Image.fromarray(copy.read(0))
    shrunk = shrunk.resize((shrunk.width // 2, shrunk.height // 2))
    found = leaks(train, domain("test", jpeg(shrunk, 50)))
    assert [f.train for f in found] == [str(copy.names[0])]
