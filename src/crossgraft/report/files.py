"""What the report reads: the files of a run folder, taken as text that nobody vouches for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from crossgraft.errors import CrossgraftError
from crossgraft.report.values import clean, number, part, rows

# A picture is recognised by its first bytes, never by its name.
KINDS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
SOUND = b"RIFF"  # a wav file
LARGEST_PICTURE = 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """One test example: its label, what was predicted, and the largest log-probability (nats)."""

    name: str
    label: str
    predicted: str
    log_confidence: float


@dataclass(frozen=True)
class Picture:
    """A thumbnail with what was predicted for it; `data` is empty where the file cannot be shown.

    sound  a wav file of what the thumbnail is the spectrogram of; empty for pictures
    """

    name: str
    label: str
    predicted: str
    probability: float | None
    kind: str
    data: bytes
    sound: bytes = b""


@dataclass(frozen=True)
class ShownText:
    """A text with what was predicted for it, and the words that spoke most for that, with their weights (nats)."""

    name: str
    label: str
    predicted: str
    probability: float | None
    text: str
    words: list[tuple[str, float]]


@dataclass(frozen=True)
class RunFiles:
    """A run folder, read; `notes` says what in it could not be."""

    result: dict[str, Any]
    measures: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    texts: list[ShownText] = field(default_factory=list)
    sentences: list[dict[str, Any]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    utterances: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    recipe: str = ""
    notes: list[str] = field(default_factory=list)


def read(folder: Path) -> RunFiles:
    """Read a run folder. Only result.json is needed; a broken line or file costs itself and is noted."""
    notes: list[str] = []
    result = _result(folder / "result.json")
    apart = part(result, "task").get("kind") in ("transcribe", "multilabel")  # whose lines are not of one class
    return RunFiles(
        result=result,
        measures=[
            row
            for row in _lines(folder / "measures.jsonl", clean, notes)
            if "model" in row and number(row.get("step")) is not None
        ],
        predictions=[] if apart else list(_lines(folder / "predictions.jsonl", _prediction, notes)),
        pictures=_pictures(folder / "pictures", notes),
        texts=_texts(_rows(folder / "texts.json", notes)),
        sentences=_rows(folder / "sentences.json", notes),
        sets=_rows(folder / "sets.json", notes),
        utterances=[
            (row, _bytes(folder / "pictures", row.get("sound"), SOUND))
            for row in _rows(folder / "utterances.json", notes)
        ],
        recipe=_recipe(folder / "recipe.toml", notes),
        notes=notes,
    )


def _result(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CrossgraftError(f"there is no {path}", "give the folder of a finished run") from None
    except OSError as wrong:
        raise CrossgraftError(f"cannot read {path}: {wrong.strerror}", "check its permissions") from None
    except (ValueError, RecursionError) as wrong:
        raise CrossgraftError(f"{path} is not JSON ({wrong})", "run crossgraft fit again") from None
    if not isinstance(result, dict):
        raise CrossgraftError(f"{path} does not hold one JSON object", "run crossgraft fit again")
    cleaned: dict[str, Any] = clean(result)
    return cleaned


def _lines(path: Path, read_row: Callable[[dict[str, Any]], T], notes: list[str]) -> Iterator[T]:
    bad: list[int] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for i, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError("not an object")
                    yield read_row(row)
                except (ValueError, KeyError, TypeError, RecursionError):
                    bad.append(i)
    except FileNotFoundError:
        return
    except OSError as wrong:
        notes.append(f"{path.name} could not be read: {wrong.strerror}")
    if bad:
        notes.append(
            f"{path.name}: {len(bad)} line{'s' * (len(bad) > 1)} could not be read (the first is line {bad[0]})"
        )


def _prediction(row: dict[str, Any]) -> Prediction:
    logs = [x for x in map(number, row["log_probabilities"]) if x is not None]
    # null stands for minus infinity, so the largest number is the largest log-probability.
    return Prediction(clean(str(row["name"])), clean(str(row["label"])), clean(str(row["predicted"])), max(logs))


def _pictures(folder: Path, notes: list[str]) -> list[Picture]:
    index = folder / "index.json"
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        notes.append("pictures/index.json could not be read")
        return []
    pictures = []
    for row in found:
        if not isinstance(row, dict):
            notes.append("pictures/index.json holds an entry that is not an object")
            continue
        kind, data = _picture(folder, row.get("file"))
        if not data:
            notes.append(f"pictures/{clean(str(row.get('file')))} cannot be shown")
        name, label, predicted = (clean(str(row.get(key, ""))) for key in ("name", "label", "predicted"))
        pictures.append(Picture(name, label, predicted, number(row.get("probability")), kind, data,
                                _bytes(folder, row.get("sound"), SOUND)))  # fmt: skip
    return pictures


def _rows(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The objects in a file of a list, cleaned; none where it is not there or cannot be read."""
    try:
        return rows({"rows": clean(json.loads(path.read_text(encoding="utf-8")))}, "rows")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError):
        notes.append(f"{path.name} could not be read")
        return []


def _texts(found: list[dict[str, Any]]) -> list[ShownText]:
    shown = []
    for row in found:
        name, label, predicted, text = (str(row.get(key, "")) for key in ("name", "label", "predicted", "text"))
        words = [(str(w.get("words", "")), number(w.get("nats"))) for w in rows(row, "words")]
        weighed = [(word, nats) for word, nats in words if nats is not None]
        shown.append(ShownText(name, label, predicted, number(row.get("probability")), text, weighed))
    return shown


def _picture(folder: Path, name: Any) -> tuple[str, bytes]:
    """A picture of the folder, and its type."""
    data = _bytes(folder, name, *KINDS)
    return next((kind for start, kind in KINDS.items() if data.startswith(start)), ""), data


def _bytes(folder: Path, name: Any, *starts: bytes) -> bytes:
    """A file of the folder itself that begins so or so: neither a path out of it nor a link is followed."""
    if not isinstance(name, str) or name != os.path.basename(name) or name in {"", ".", ".."} or "\0" in name:
        return b""
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_PICTURE:
            return b""
        data = path.read_bytes()
    except (OSError, ValueError):
        return b""
    return data if data.startswith(starts) else b""


def _recipe(path: Path, notes: list[str]) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as wrong:
        notes.append(f"recipe.toml could not be read: {wrong.strerror}")
        return ""
    return "\n".join(map(clean, text.splitlines()))
