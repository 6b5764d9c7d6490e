"""Labels as text, splits under their four names: whatever the data call them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from crossgraft.domains.domain import SPLITS
from crossgraft.errors import CrossgraftError

SPLIT_NAMES = {
    "train": "train", "training": "train", "tr": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "devel": "val", "development": "val",
    "test": "test", "testing": "test", "eval": "test",
    "unlabelled": "unlabelled", "unlabeled": "unlabelled", "unsupervised": "unlabelled",
}  # fmt: skip


BOUND = "\0"  # before each class of a set that is kept as one text until all is read
MISSING = ("", "nan", "NaN", "<NA>", "NaT")  # the last two are how pandas writes it


def label(value: Any) -> str | None:
    """One label as text without stray blanks; None where it is missing, empty or NaN.

    >>> label(3.0), label(" ant "), label(float("nan")), label("")
    ('3', 'ant', None, None)
    """
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return bound(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            value = int(value)
    if value is None:
        return None
    text = str(value).strip()
    return None if text in MISSING else text


def bound(classes: Iterable[Any]) -> str:
    """Any number of classes as one text, which no class is (`label_sets.set_of`).

    >>> bound(["b", "a"]), bound([])
    ('\\x00a\\x00b', '\\x00')
    """
    return BOUND + BOUND.join(sorted({text for c in classes if (text := label(c)) is not None}))


def several(values: Any) -> Any:
    """Labels of which some are lists or sets of classes, or a frame of 0 and 1, as one text each; others as they are.

    Rows of numbers of one length are left: they are a matrix.
    """
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):
        return matrix(values.to_numpy(), [str(c) for c in values.columns]) if values.shape[1] > 1 else values
    if not isinstance(values, (list, tuple)):
        return values
    held = [v for v in values if isinstance(v, (list, tuple, set, frozenset))]
    lengths = {len(v) for v in held}
    numbers = all(isinstance(v, (list, tuple)) and not any(isinstance(t, str) for t in v) for v in held)
    if not held or (numbers and len(lengths) == 1 and 0 not in lengths and len(held) == len(values)):
        return values
    return [bound(v) if isinstance(v, (list, tuple, set, frozenset)) else v for v in values]


def matrix(values: np.ndarray, class_names: Sequence[str] | None = None) -> list[str | None]:
    """Rows of 0 and 1, one a class, as sets of classes; a row of NaN or -1 has no label.

    >>> matrix(np.array([[0, 1], [-1, -1]]), ["a", "b"])
    ['\\x00b', None]
    """
    cells = np.asarray(values, dtype=float)
    missing = (np.isnan(cells) | (cells == -1)).all(axis=1)
    odd = np.argwhere(~np.isin(cells, (0, 1)) & ~missing[:, None])
    if len(odd):
        i, k = odd[0]
        raise CrossgraftError(
            f"the labels have shape {cells.shape}, and row {i}, column {k} is {cells[i, k]:g}",
            "give one label an example, shape (N,), or 0 and 1 for each of K classes, shape (N, K)",
        )
    names = [str(k) for k in range(cells.shape[1])] if class_names is None else list(class_names)
    if len(names) != cells.shape[1]:
        raise CrossgraftError(f"{cells.shape[1]} columns of labels but {len(names)} classes", "name each column")
    return [
        None if gone else bound(names[k] for k in np.flatnonzero(row)) for row, gone in zip(cells, missing, strict=True)
    ]


def labels(
    values: Sequence[Any] | np.ndarray | None, n: int, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Object array (N,) of str or None, and what is worth saying about them.

    class_names   what integers stand for, where the data say so; -1 is then a missing label
    """
    out = np.full(n, None, dtype=object)
    if values is None:
        return out, ()
    if isinstance(values, np.ndarray):
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "buif":
            values, class_names = np.array(matrix(values, class_names), dtype=object), None
        if values.ndim != 1:
            raise CrossgraftError(f"the labels have shape {values.shape}", "give one label an example: shape (N,)")
    if len(values) != n:
        raise CrossgraftError(f"{n} inputs but {len(values)} labels", "give one label an example")
    blanks: dict[str, None] = {}
    for i, value in enumerate(values):
        if class_names is not None and isinstance(value, (list, tuple, np.ndarray)):
            value = [class_names[int(k)] for k in value if 0 <= k < len(class_names)]
        if class_names is not None and isinstance(value, (int, float, np.number)):
            value = class_names[int(value)] if 0 <= value < len(class_names) else None  # not where NaN
        out[i] = label(value)
        if isinstance(value, str) and out[i] is not None and out[i] != value:
            blanks[value] = None
    return out, blank_note(list(blanks))


def blank_note(found: Sequence[str]) -> tuple[str, ...]:
    """One note about labels that had blanks around them."""
    if not found:
        return ()
    shown = ", ".join(repr(b) for b in found[:3]) + (", ..." if len(found) > 3 else "")
    return (f"labels with blanks before or after them were taken without: {shown}",)


def splits(values: Sequence[Any] | np.ndarray | None, n: int) -> np.ndarray:
    """Array (N,) of split names. Raises on a split that has no known name."""
    out = np.full(n, "", dtype=f"<U{max(map(len, SPLITS))}")
    if values is None:
        return out
    if len(values) != n:
        raise CrossgraftError(f"{n} inputs but {len(values)} splits", "give one split an example")
    for i, value in enumerate(values):
        text = label(value)
        if text is not None:
            if text.lower() not in SPLIT_NAMES:
                raise CrossgraftError(f"split {text!r} has no meaning here", f"call the splits {', '.join(SPLITS)}")
            out[i] = SPLIT_NAMES[text.lower()]
    return out


def group_names(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Whose each example is, array (N,) of str; "" where that is not said.

    >>> group_names(["ann", None, 3.0]).tolist()
    ['ann', '', '3']
    """
    return np.array([label(v) or "" for v in values], dtype=str)


def unique_names(names: Sequence[str]) -> np.ndarray:
    """The names, with #2, #3, ... behind those that come again."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return np.array(out, dtype=str) if out else np.empty(0, dtype="<U1")
