"""Which column of a table is what: by option, else by the usual names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.errors import CrossgraftError, nearest

INPUTS = (
    "path", "file", "image", "input", "filename", "file_name", "filepath", "file_path", "image_path", "img",
    "audio", "audio_path", "wav", "clip", "sound",
)  # fmt: skip
LABELS = ("label", "class", "target", "y", "labels", "category", "sentiment")
TRANSCRIPTS = ("transcript", "transcription", "text", "sentence", "utterance", "words", "label")  # of audio
SPLITS = ("split", "subset", "partition")
SPEAKERS = ("speaker", "speaker_id", "speaker_name", "spk", "client_id")
TEXTS = (
    "text", "sentence", "review", "review_text", "reviewtext", "content", "body", "comment", "document", "utterance",
    "message", "tweet", "query", "headline", "title",
)  # fmt: skip
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"),
    ("text1", "text2"), ("text_a", "text_b"),
)  # fmt: skip
PROSE = 3  # words a value, on the mean, from which a column whose name says nothing is taken for text
COUNTERS = ("", "id", "index", "row", "unnamed: 0")


@dataclass(frozen=True)
class Columns:
    """The columns that were chosen; None where there is none. `second` is read together with `input`."""

    input: str | None
    label: str | None
    split: str | None
    second: str | None = None


def choose(known: Sequence[str], where: str, input: str | None, label: str | None, split: str | None) -> Columns:
    """Columns by option or their usual names; `first+second` are two. Raises CrossgraftError on one that is none."""
    first, second = input, None
    if input is not None and input not in known and "+" in input:
        first, _, second = input.partition("+")
    return Columns(
        _choose(known, where, "input", first, INPUTS),
        _choose(known, where, "label", label, LABELS),
        _choose(known, where, "split", split, SPLITS),
        None if second is None else _choose(known, where, "input", second, ()),
    )


def named_texts(columns: Mapping[str, Any], taken: Collection[str | None]) -> tuple[str, ...]:
    """The column of texts, or the two that are read together, by their usual names; none where no name says so."""
    lower = {c.strip().lower(): c for c in reversed(list(columns)) if c not in taken and is_text(columns[c])}
    for pair in PAIRS:
        if all(c in lower for c in pair):
            return tuple(lower[c] for c in pair)
    return next(((lower[c],) for c in TEXTS if c in lower), ())


def prose(columns: Mapping[str, Any], taken: Collection[str | None]) -> tuple[str, ...]:
    """The column with the longest texts, where one has sentences: at least PROSE words, or characters without blanks
    beyond Latin."""
    lengths = {}
    for c, values in columns.items():
        if c in taken or not is_text(values):
            continue
        held = [v for v in values[:1000] if isinstance(v, str) and v.strip()]
        words = sum(len(v.split()) for v in held) / len(held)
        wide = sum(sum(ch > "\u02ff" for ch in v) for v in held) / len(held)
        if words >= PROSE or wide >= 2 * PROSE:
            lengths[c] = sum(map(len, held)) / len(held)
    return (max(lengths, key=lambda c: lengths[c]),) if lengths else ()


def is_text(values: Sequence[Any] | np.ndarray) -> bool:
    """Whether a column holds strings that are mostly no numbers."""
    if isinstance(values, np.ndarray):
        return False
    held = [v for v in values[:1000] if v is not None and v != ""]
    return bool(held) and all(isinstance(v, str) for v in held) and numbers(held)[0] is None


def columns_error(what: str, known: Sequence[str], hint: str = "") -> CrossgraftError:
    """An error that names the columns that there are."""
    shown = ", ".join(repr(c) for c in known[:20]) + (", ..." if len(known) > 20 else "")
    return CrossgraftError(what, f"{hint} the columns are {shown}".strip())


def numbers(values: Sequence[Any] | np.ndarray) -> tuple[Float[np.ndarray, " N"] | None, dict[int, str]]:
    """A column as numbers, NaN where empty, and the cells that are none; None for a column that is mostly text.

    >>> numbers(["1", "x", "2.5"])
    (array([1. , nan, 2.5]), {1: "'x', not a number"})
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "buif":
        return values.astype(np.float64), {}
    out = np.full(len(values), np.nan)
    bad: dict[int, str] = {}
    filled = 0
    for i, value in enumerate(values):
        if value is None or value == "":
            continue
        filled += 1
        try:
            out[i] = float(value)
        except (TypeError, ValueError):
            bad[i] = f"{value!r}, not a number"
    return (out, bad) if filled > 2 * len(bad) else (None, bad)


def whole_numbers(labels: Sequence[Any]) -> list[Any]:
    """Labels such as "3.0" as "3" where all are of that form: whole numbers that a program wrote with a point."""
    texts = [y for y in labels if isinstance(y, str) and y.strip()]
    if texts and all(re.fullmatch(r"\s*-?\d+\.0+\s*", y) for y in texts):
        return [y.strip().split(".")[0] if isinstance(y, str) else y for y in labels]
    return list(labels)


def vectors(
    table: Mapping[str, Any], wanted: Sequence[str], by_option: bool
) -> tuple[np.ndarray | None, list[str], dict[int, str], list[str]]:
    """(N, D) values, names of the columns, rows with a cell that is no number, columns that are not used."""
    columns: dict[str, np.ndarray] = {}
    bad: dict[int, str] = {}
    unused: list[str] = []
    for c in wanted:
        held = table[c]
        if isinstance(held, list) and any(isinstance(v, (list, np.ndarray)) for v in held):
            return *_stacked(held, c), unused
        values, wrong = numbers(held)
        if values is None or (c.strip().lower() in COUNTERS and not by_option):
            unused.append(c)
            continue
        columns[c] = values
        for i, reason in wrong.items():
            bad.setdefault(i, f"column {c!r} is {reason}")
    return (np.stack(list(columns.values()), 1) if columns else None), list(columns), bad, unused


def _stacked(held: list[Any], column: str) -> tuple[np.ndarray | None, list[str], dict[int, str]]:
    """A column of arrays as one array; rows of another shape than the most common one are bad."""
    arrays = [_as_numbers(v) for v in held]
    shapes = [None if a is None else a.shape for a in arrays]
    usual = max({s for s in shapes if s} or {()}, key=shapes.count)
    bad = {i: f"column {column!r} is no array of shape {usual}" for i, s in enumerate(shapes) if s != usual}
    return np.stack([np.zeros(usual) if a is None or a.shape != usual else a for a in arrays]), [], bad


def _as_numbers(value: Any) -> np.ndarray | None:
    try:
        return None if value is None else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def names_files(values: Sequence[Any], folder: Path, tried: int = 20) -> bool:
    """Whether one of the first values of a column of text is the path of a file."""
    texts = [v for v in values[:tried] if isinstance(v, str) and v.strip()]
    return any(is_file(folder / v.strip()) for v in texts)


def is_file(path: Path) -> bool:
    """As Path.is_file, and False for what is no path at all (too long, a NUL byte, a circle of links)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _choose(known: Sequence[str], where: str, option: str, given: str | None, usual: Sequence[str]) -> str | None:
    if given is not None:
        if given in known:
            return given
        raise columns_error(f"{where} has no column {given!r} (--{option})", known, nearest(given, list(known)))
    lower = {c.strip().lower(): c for c in reversed(known)}
    return next((lower[u] for u in usual if u in lower), None)
