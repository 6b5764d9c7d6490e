"""Files of arrays: .npz, HDF5, idx; and dicts of arrays. X and y, perhaps split; or a pair for each split."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.arrays import array_domain, as_array
from crossgraft.domains.domain import Domain
from crossgraft.domains.labels import SPLIT_NAMES
from crossgraft.domains.labels import labels as tidy
from crossgraft.errors import CrossgraftError

INPUTS = ("x", "images", "data", "inputs", "input", "features", "image")
LABELS = ("y", "labels", "target", "targets", "label")
SPLITS = ("split", "splits")


def dict_domain(arrays: Mapping[str, Any], name: str) -> Domain:
    """A Domain from named arrays: X, y and split; or train_images and train_labels, x_test and y_test, and so on.

    >>> dict_domain({"X": np.eye(2), "y": [0, 1], "split": ["train", "test"]}, "two").splits.tolist()
    ['train', 'test']
    """
    parts = _parts(arrays)
    usable = {split: part for split, part in parts.items() if "input" in part}
    if not usable:
        raise CrossgraftError(
            f"{name} has no inputs among its arrays {', '.join(map(str, arrays)) or '(none)'}",
            "call them X and y, perhaps split; or train_images, train_labels, test_images, test_labels",
        )
    if set(usable) == {""}:
        part = usable[""]
        return array_domain(part["input"], part.get("label"), name, split=part.get("split"))
    inputs, labels, splits, names = [], [], [], []
    for split, part in usable.items():
        values = as_array(part["input"])
        y = as_array(part["label"]) if "label" in part else np.full(len(values), None, dtype=object)
        y = tidy(y, len(y))[0] if y.ndim == 2 and y.shape[1] > 1 else y.reshape(-1)
        if len(y) != len(values):
            raise CrossgraftError(
                f"{name}: {len(values)} inputs but {len(y)} labels in {split or 'it'}", "give one label an example"
            )
        inputs.append(values)
        labels.append(y.astype(object))
        splits += [split] * len(values)
        names += [f"{split}[{i}]" for i in range(len(values))]
    if len({v.shape[1:] for v in inputs}) > 1:
        shapes = ", ".join(f"{s or 'it'} {v.shape}" for s, v in zip(usable, inputs, strict=True))
        raise CrossgraftError(f"{name}: the splits have inputs of different shapes ({shapes})", "give them one shape")
    return array_domain(np.concatenate(inputs), np.concatenate(labels), name, split=splits, names=names)


def npz_domain(path: Path, name: str) -> Domain:
    """A Domain from an .npz; nothing in it is executed."""
    if not zipfile.is_zipfile(path):
        raise CrossgraftError(f"{path} is no .npz file, or damaged", "write it again with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except ValueError as wrong:
        if "allow_pickle" not in str(wrong):
            raise CrossgraftError(f"{path} is damaged ({wrong})", "write it again with numpy.savez") from None
        raise CrossgraftError(
            f"{path} holds Python objects, which are not loaded since they could execute code",
            "save labels as text: y.astype(str)",
        ) from None
    except Exception as wrong:  # zipfile, zlib and struct errors of broken files
        raise CrossgraftError(f"{path} is damaged ({wrong})", "write it again with numpy.savez") from None
    return dict_domain(arrays, name)


def hdf5_domain(path: Path, name: str) -> Domain:
    """A Domain from HDF5: groups train and test of data and target, or X and y."""
    try:
        import h5py
    except ImportError:
        raise CrossgraftError(f"{path} needs h5py", "pip install crossgraft[hdf5]") from None
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            file.visititems(
                lambda key, item: arrays.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
    except Exception as wrong:  # h5py raises OSError, RuntimeError and KeyError on broken files
        raise CrossgraftError(f"{path} is no HDF5 file, or damaged ({wrong})", "write it again") from None
    return dict_domain(arrays, name)


def idx_domain(path: Path, name: str) -> Domain:
    """A Domain from MNIST's idx format, gzipped or not; `...-images-...` finds its `...-labels-...`."""
    inputs = _idx(path)
    beside = [path.with_name(n) for n in _label_names(path.name)]
    found = next((p for p in beside if p.is_file()), None)
    return array_domain(inputs, None if found is None else _idx(found), name)


def _label_names(images: str) -> list[str]:
    """The usual names of the labels of an images file, as it is compressed and otherwise."""
    labels = re.sub(r"idx\d", "idx1", images.replace("images", "labels"))
    other = labels.removesuffix(".gz") if labels.endswith(".gz") else labels + ".gz"
    return [n for n in (labels, other) if n not in (images, images + ".gz")]


def _idx(path: Path) -> np.ndarray:
    """The array in an idx file of unsigned bytes: two zero bytes, type 8, number of axes, their sizes, values."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, ValueError) as wrong:
        raise CrossgraftError(f"{path} cannot be read ({wrong})", "copy it again") from None
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise CrossgraftError(f"{path} is no idx file of unsigned bytes", "give MNIST's format")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    values = np.frombuffer(data[start:], dtype=np.uint8)
    if len(data) < start or values.size != math.prod(shape):
        raise CrossgraftError(f"{path} is cut off: {values.size} values for shape {shape}", "copy it again")
    return values.reshape(shape)


def _parts(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{split: {"input" | "label" | "split": array}}, read from names such as X, train_images, x_test, test/data."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in arrays.items():
        words = [w for w in re.split(r"[_/.\- ]+", str(key).lower()) if w]
        roles = [
            ("input" if w in INPUTS else "label" if w in LABELS else "split")
            for w in words
            if w in INPUTS + LABELS + SPLITS
        ]
        split = next((SPLIT_NAMES[w] for w in words if w in SPLIT_NAMES), "")
        known = {*INPUTS, *LABELS, *SPLITS, *SPLIT_NAMES}
        if len(roles) == 1 and all(w in known for w in words):
            parts.setdefault(split, {}).setdefault(roles[0], value)
    return parts
