"""Texts to a Domain: lists of strings, columns of tables, files with one example a line, folders of such files."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.digest import file_bytes
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.folders import children
from crossgraft.domains.labels import SPLIT_NAMES, splits, unique_names
from crossgraft.domains.labels import labels as tidy
from crossgraft.domains.sorts import by_name
from crossgraft.errors import CrossgraftError, Skipped

Text = str | tuple[str, str]  # one text, or two that are read together (premise and hypothesis, title and body)
SUFFIXES = (".txt", ".text")
FILES = (*SUFFIXES, ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
LEGACY = "cp1252"  # what bytes that are not UTF-8 are taken for
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def text_domain(
    texts: Sequence[Any],
    name: str,
    *,
    labels: Any = None,
    names: Sequence[str] | None = None,
    split: Any = None,
    class_names: Sequence[str] | None = None,
    skipped: Sequence[Skipped] = (),
    notes: tuple[str, ...] = (),
) -> Domain:
    """A Domain of texts, or of pairs of texts; an empty one says so when it is read.

    >>> domain = text_domain(["good", "", None], "three", labels=["a", "b", None])
    >>> domain.kind, domain.read(0), domain.labels.tolist()
    ('text', 'good', ['a', 'b', None])
    """
    n = len(texts)
    if n == 0:
        raise CrossgraftError(f"{name} has no text", "give at least one")
    known, said = tidy(labels, n, class_names)
    called = unique_names(names if names is not None else [f"[{i}]" for i in range(n)])
    held = [_tidy(t) for t in texts]
    return Domain(name, "text", held, known, called, splits(split, n), _read, digest, tuple(skipped), notes + said)


def joined(text: Text) -> str:
    """A text, or both of a pair, as a reader sees it."""
    return text if isinstance(text, str) else " | ".join(text)


def is_texts(values: np.ndarray) -> bool:
    """Whether an array is of strings (N,), or of pairs of them (N, 2); some may be missing."""
    if values.dtype.kind == "U":
        return values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 2)
    if values.dtype.kind != "O" or values.ndim != 1:
        return False
    held = [v for v in values if v is not None]
    return bool(held) and all(isinstance(v, str) for v in held)


def is_a_text(what: str) -> bool:
    """Whether a string is a text itself: neither a path that exists nor one word that ends like a file.

    >>> is_a_text("It broke."), is_a_text("missing.csv")
    (True, False)
    """
    try:
        there = os.path.exists(what) if what else False
    except ValueError:  # a NUL byte
        there = False
    return not there and (any(c.isspace() for c in what) or os.path.splitext(what)[1].lower() not in FILES)


def digest(text: Text) -> bytes:
    """20 bytes that stand for a text or a pair. Raises Unreadable where it is empty."""
    text = _read(text)
    parts = (text,) if isinstance(text, str) else text
    return blake2b(b"\0".join(p.encode() for p in parts), digest_size=20, person=b"text").digest()


def text_file(path: Path, name: str) -> Domain:
    """The lines of one file as texts without labels."""
    rows, notes = _lines(path, path.name)
    return text_domain([t for t, _ in rows], name, names=[at for _, at in rows], notes=notes)


def holds_texts(folder: Path) -> bool:
    """Whether there are text files in a folder and no picture or audio anywhere: their folders may hold a readme."""
    found = False
    for _, _, names in os.walk(folder):
        suffixes = {os.path.splitext(n)[1].lower() for n in names if not n.startswith(".")}
        if any(by_name(f"x{suffix}") for suffix in suffixes):
            return False
        found = found or bool(suffixes & set(SUFFIXES))
    return found


def text_folder(folder: Path, name: str) -> Domain:
    """The texts of a folder, perhaps below split folders: files of one class each with an example a line
    (`positive.txt`; `unlabelled.txt` has none), or class folders of files with one example each."""
    rows: list[tuple[str, str | None, str, str]] = []
    skipped: list[Skipped] = []
    notes: tuple[str, ...] = ()
    folders, _ = children(folder)
    parts = [(f, SPLIT_NAMES.get(f.name.strip().lower())) for f in folders]
    if not any(split == "train" for _, split in parts):
        parts = [(folder, "")]
    for part, split in parts:
        if split is None:
            skipped.append(Skipped(part.name, "a folder beside the splits that is none itself"))
            continue
        below, files = children(part)
        for file in files:
            at = file.relative_to(folder).as_posix()
            if file.suffix.lower() not in SUFFIXES:
                skipped.append(Skipped(at, "no text file by its name"))
                continue
            none = SPLIT_NAMES.get(file.stem.lower()) == "unlabelled"
            lines, said = _lines(file, at)
            notes += said
            rows += [(t, None if none else file.stem, "unlabelled" if none else split, row) for t, row in lines]
        for group in below:
            for file in sorted(f for f in group.rglob("*") if f.suffix.lower() in SUFFIXES):
                at = file.relative_to(folder).as_posix()
                text, broken = decoded(file_bytes(file))
                notes += _broken_note(broken, at)
                rows.append((text.strip(), group.name, split, at))
    if not rows:
        raise CrossgraftError(f"there is no text in {folder}", "give files of one class each, an example a line")
    texts, labels, found, names = zip(*rows, strict=True)
    return text_domain(
        texts, name, labels=list(labels), split=list(found), names=names, skipped=skipped, notes=notes
    )  # fmt: skip


def decoded(data: bytes) -> tuple[str, int]:
    """Bytes as text, UTF-8 or what a byte order mark says, and whether they had to be taken for Windows-1252.

    >>> decoded("naïve".encode("latin-1"))
    ('naïve', 1)
    """
    coding = next((c for mark, c in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(coding), 0
    except UnicodeDecodeError:
        return data.decode(LEGACY, "replace"), 1


def _lines(path: Path, at: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """(text, name) of each line that is not blank, and what is worth saying about the file."""
    try:
        data = file_bytes(path)
    except Unreadable as wrong:
        raise CrossgraftError(f"{path}: {wrong.reason}", "check the file") from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = decoded(data)[0].encode()
    rows, broken, blank = [], 0, 0
    parts = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for i, line in enumerate(parts, 1):
        text, legacy = decoded(line)
        broken += legacy
        if text.strip():
            rows.append((text.strip(), f"{at}:{i}"))
        elif i < len(parts):
            blank += 1
    notes = _broken_note(broken, at)
    if blank:
        notes += (f"{at}: {blank} blank line{'s' * (blank > 1)} left out",)
    return rows, notes


def _broken_note(broken: int, where: str) -> tuple[str, ...]:
    what = "1 text is" if broken == 1 else f"{broken} texts are"
    return (f"{where}: {what} not UTF-8 and read as Windows-1252",) if broken else ()


def _tidy(value: Any) -> Text:
    """A text, or a pair, of characters that can be written; what is missing is empty."""
    if isinstance(value, (tuple, list, np.ndarray)):
        first, second = (_one(v) for v in value)
        return first, second
    return _one(value)


def _one(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = str(value)
    try:
        text.encode()
        return text
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read(text: Text) -> Text:
    if not (text.strip() if isinstance(text, str) else any(t.strip() for t in text)):
        raise Unreadable("the text is empty")
    return text
