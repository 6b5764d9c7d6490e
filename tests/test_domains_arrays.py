"""Arrays in memory and in files; nothing in a file is executed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from domain_kit import rows, skipped

from crossgraft.domains import open_domain
from crossgraft.domains.arrays import of_kind
from crossgraft.errors import CrossgraftError, UsageError


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (5, 7, 3), (3, 5, 7)])
def test_arrays_of_pictures(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    domain = open_domain((values, [0, 1.0, np.nan, None], ["train", "test", "", "train"]), "it")
    assert domain.kind == "image"
    assert domain.read(2).shape == (5, 7, 3)
    assert domain.labels.tolist() == ["0", "1", None, None]
    assert domain.splits.tolist() == ["train", "test", "", "train"]
    assert np.array_equal(open_domain(values / 255.0, "it").read(2), domain.read(2))


def test_vectors_with_nan_are_left_out_by_row() -> None:
    values = np.ones((4, 3))
    values[1, 2] = np.nan
    values[3] = np.inf
    domain = open_domain({"X": values, "y": list("abcd")}, "it")
    assert domain.labels.tolist() == ["a", "c"]
    assert skipped(domain) == {"[1]": "column 2 is nan", "[3]": "column 0 is inf, and 2 more columns"}


def test_npz_with_a_pair_for_each_split(tmp_path: Path) -> None:
    arrays = {f"{s}_images": np.full((n, 4, 4), n, np.uint8) for s, n in (("train", 3), ("val", 2), ("test", 1))}
    arrays |= {f"{s}_labels": np.arange(n)[:, None] for s, n in (("train", 3), ("val", 2), ("test", 1))}
    np.savez(tmp_path / "a.npz", **arrays)
    domain = open_domain(tmp_path / "a.npz", "it")
    assert rows(domain)[2:4] == [("train[2]", "2", "train"), ("val[0]", "0", "val")]
    assert len(domain) == 6


def test_npz_never_executes(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.eye(2), y=np.array(["a", None], dtype=object))
    with pytest.raises(CrossgraftError, match="could execute code"):
        open_domain(tmp_path / "a.npz", "it")


def test_hdf5_groups(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/data"], file["train/target"] = np.eye(3), [3, 1, 2]
        file["test/data"], file["test/target"] = np.ones((1, 3)), [1]
    found = rows(open_domain(tmp_path / "a.h5", "it"))
    assert found[-1] == ("train[2]", "2", "train")
    assert ("test[0]", "1", "test") in found


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_finds_its_labels(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    images = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 2, 3)) + bytes(range(12))
    suffix = "" if pack is bytes else ".gz"
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(images))
    (tmp_path / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(b"\0\0\x08\x01\0\0\0\2\7\1"))
    domain = open_domain(tmp_path / f"t10k-images-idx3-ubyte{suffix}", "it")
    assert domain.labels.tolist() == ["7", "1"]
    assert domain.read(1)[:, :, 0].tolist() == [[6, 7, 8], [9, 10, 11]]
    (tmp_path / "cut-idx3-ubyte").write_bytes(images[:-1])
    with pytest.raises(CrossgraftError, match="cut off"):
        open_domain(tmp_path / "cut-idx3-ubyte", "it")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ((np.ones((2, 3)), ["a"]), "2 inputs but 1 labels"),
        ((np.ones((2, 3)), 2 * np.eye(2)), "labels have shape"),
        ((np.ones(3), None), "neither vectors nor pictures"),
        ((np.ones((2, 2, 5, 5)), None), "neither vectors nor pictures"),
        ((np.empty((0, 3)), []), "no example"),
        ((np.array([["a"]]), None), "not numbers"),
        (([[1.0], [1.0, 2.0]], None), "different shapes"),
        ({"pixels": np.eye(2)}, "no inputs among its arrays pixels"),
        ({"x_train": np.eye(2), "x_test": np.eye(3)}, "different shapes"),
    ],
)
def test_arrays_that_cannot_be_used(what: Any, says: str) -> None:
    with pytest.raises(CrossgraftError, match=says):
        open_domain(what, "it")


def test_flat_pictures_become_pictures_where_needed() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 5))
    flat = open_domain((pixels.reshape(3, 25) / 255, ["a", "b", None]), "it")
    assert of_kind(flat, "vector") is flat
    square = of_kind(flat, "image")
    assert np.array_equal(square.read(1)[:, :, 0], pixels[1])
    assert "5 x 5" in square.notes[0]
    assert square.labels is flat.labels
    for bad in (np.ones((2, 24)), -np.ones((2, 25))):
        with pytest.raises(CrossgraftError, match="where pictures are needed"):
            of_kind(open_domain(bad, "it"), "image")
    with pytest.raises(CrossgraftError, match="where vectors are needed"):
        of_kind(square, "vector")


def test_what_is_no_domain() -> None:
    with pytest.raises(UsageError, match="a int is no domain"):
        open_domain(3, "it")
