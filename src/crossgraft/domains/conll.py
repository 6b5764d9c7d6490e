"""Files of tagged sentences: CoNLL lines, folders of them, JSON lines with spans or with tags."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from crossgraft.domains.digest import file_bytes
from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.domains.folders import children
from crossgraft.domains.labels import SPLIT_NAMES
from crossgraft.domains.labels import labels as tidy
from crossgraft.domains.sentences import sentence_domain, split_words
from crossgraft.domains.texts import decoded
from crossgraft.errors import CrossgraftError, Skipped
from crossgraft.tasks import is_tag

SUFFIXES = (".txt", ".text", ".tsv", ".conll", ".conll03", ".iob", ".iob1", ".iob2", ".bio", ".bioes", ".ner", ".tags")
JSON = (".jsonl", ".ndjson", ".json")
DOCUMENT = "-DOCSTART-"
NOTHING: Mapping[str, Any] = MappingProxyType({})
LOOKED_AT = 30  # lines that tell tagged words from texts
HEAD = 1 << 16
SPANS, WORDS, TAGS = ("spans", "entities"), ("tokens", "words"), ("tags", "ner_tags", "labels")
FORM = 'write {"text": ..., "spans": [{"start": 0, "end": 3, "label": ...}]} or {"tokens": [...], "tags": [...]}'


@dataclass
class Sentences:
    """What the files of one domain hold."""

    words: list[list[str]] = field(default_factory=list)
    tags: list[list[str] | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    wanted: Sequence[str] = ()
    more: list[list[Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(
        self, words: list[str], tags: list[str] | None, name: str, split: str, row: Mapping[str, Any] = NOTHING
    ) -> None:
        """One sentence, and what is wanted of the JSON that it came from."""
        if self.wanted:
            self.more.append([row.get(key) for key in self.wanted])
            self.keys.update(row)
        self.words.append(words)
        self.tags.append(tags)
        self.names.append(name)
        self.splits.append(split)


def holds_tags(path: Path) -> bool:
    """Whether a file, or a file of a folder, begins with tagged words: by its first lines, whatever it is called."""
    if path.is_dir():
        return any(holds_tags(f) for f in children(path)[1] if f.suffix.lower() in SUFFIXES + JSON)
    try:
        with path.open("rb") as file:
            head = decoded(file.read(HEAD))[0]
    except OSError:
        return False
    lines = [line for line in head.split("\n")[:-1] or [head] if line.strip()]
    if path.suffix.lower() in JSON:
        try:
            row = json.loads(lines[0]) if lines else None
        except ValueError:
            return False
        return isinstance(row, dict) and _spans_or_tags(row)
    lines = [line for line in lines if not line.startswith((DOCUMENT, "# "))][:LOOKED_AT]
    found = [_columns(line) for line in lines]
    return bool(found) and all(len(c) > 1 and is_tag(c[-1]) for c in found)


def tagged_domain(path: Path, name: str, labels: Sequence[str] = ()) -> Domain:
    """A Domain of the tagged sentences of a file, or of a folder whose files are called train, dev, test or alike.

    CoNLL: a word a line, its tag behind a tab or a blank (of several columns the first is the word, the last the tag),
    a blank line between sentences; a file of one column has no tags. Raises CrossgraftError naming file and line.

    labels  the tags and other keys of JSON lines, for `Domain.more`
    """
    found = Sentences(wanted=labels)
    if path.is_dir():
        for file in children(path)[1]:
            # What is called by a split belongs to the data: a wrong line in it is named, not the whole file left out.
            if file.suffix.lower() in SUFFIXES + JSON and (_split_of(file) or holds_tags(file)):
                _read(file, _split_of(file), found)
            else:
                found.skipped.append(Skipped(file.name, "no file of tagged words"))
    else:
        _read(path, "", found)
    if not found.words:
        raise CrossgraftError(f"there is no tagged sentence in {path}", "give a word and its tag a line")
    domain = sentence_domain(
        found.words, found.tags, name, names=found.names, split=found.splits,
        skipped=found.skipped, notes=tuple(found.notes),
    )  # fmt: skip
    more: dict[str, np.ndarray] = {}
    for i, key in enumerate(labels):
        if key not in (*SPANS, *TAGS) and key not in found.keys:
            held = ", ".join(sorted(found.keys)) or "none"
            raise CrossgraftError(f"{path} has no label {key!r}", f"its JSON lines hold {held}")
        tags = key in (*SPANS, *TAGS)
        more[key] = domain.labels if tags else tidy([row[i] for row in found.more], len(domain))[0]
    return replace(domain, more=more)


def _read(path: Path, split: str, found: Sentences) -> None:
    try:
        text, legacy = decoded(file_bytes(path))
    except Unreadable as wrong:
        raise CrossgraftError(f"{path}: {wrong.reason}", "check the file") from None
    if legacy:
        found.notes.append(f"{path.name}: not UTF-8 and read as Windows-1252")
    if path.suffix.lower() in JSON:
        _json_lines(text, path, split, found)
        return
    width = None
    for start, rows in _blocks(text):
        for line, columns in rows:
            width = len(columns) if width is None else width
            if len(columns) != width:
                raise CrossgraftError(
                    f"{path}, line {line}: {len(columns)} columns where the lines before have {width}",
                    "give a word, a tab and its tag in every line",
                )
            if width > 1 and not is_tag(columns[-1]):
                remedy = "a tag is O, or B-, I-, E- or S- with a type; words with blanks need a tab before the tag"
                raise CrossgraftError(f"{path}, line {line}: {columns[-1]!r} is no tag", remedy)
            if not columns[0].strip():
                raise CrossgraftError(f"{path}, line {line}: there is no word before the tag", "write the word")
        tags = None if width == 1 else [columns[-1] for _, columns in rows]
        found.add([columns[0] for _, columns in rows], tags, f"{path.name}:{start}", split)
    if width is not None and width > 2:
        found.notes.append(f"{path.name}: of {width} columns the first was taken as the word, the last as its tag")


def _blocks(text: str) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """First line, and (line, columns) of every word, of each sentence."""
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        columns = _columns(line)
        comment = line.startswith("# ") and not is_tag(columns[-1])
        if line.strip(" \t\r") and not line.startswith(DOCUMENT):
            if not comment:
                rows.append((number, columns))
        elif rows:
            yield rows[0][0], rows
            rows = []


def _columns(line: str) -> list[str]:
    line = line.rstrip(" \t\r")
    return [c.strip() for c in line.split("\t")] if "\t" in line else line.split() or [""]


def _split_of(file: Path) -> str:
    """The split that a file is called by: train.txt, ner-dev.tsv, eng.test."""
    parts = [p for p in re.split(r"[._\- ]+", file.name.lower()) if p in SPLIT_NAMES]
    return SPLIT_NAMES[parts[-1]] if parts else ""


def _spans_or_tags(row: dict[str, Any]) -> bool:
    keys = [k for k in (*SPANS, *TAGS) if isinstance(row.get(k), list)]
    return bool(keys) and ("text" in row or any(isinstance(row.get(k), list) for k in WORDS))


def _json_lines(text: str, path: Path, split: str, found: Sentences) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        at = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as wrong:
            raise CrossgraftError(f"{at} is no JSON ({wrong})", "write one object a line") from None
        if not isinstance(row, dict):
            raise CrossgraftError(f"{at} is no JSON object", FORM)
        own = str(row.get("split") or split).lower()
        if own and own not in SPLIT_NAMES:
            raise CrossgraftError(f"{at}: split {own!r} has no meaning here", "call it train, val, test or unlabelled")
        words = next((row[k] for k in WORDS if isinstance(row.get(k), list)), None)
        tags = next((row[k] for k in TAGS if isinstance(row.get(k), list)), None)
        if words is not None:
            if not all(isinstance(w, str) and w.strip() for w in words):
                raise CrossgraftError(f"{at}: a word is empty or no text", FORM)
            if tags is not None and (
                len(tags) != len(words) or not all(isinstance(t, str) and is_tag(t) for t in tags)
            ):
                raise CrossgraftError(f"{at}: {len(words)} words, but not one tag for each of them", FORM)
        elif isinstance(row.get("text"), str):
            spans = next((row[k] for k in SPANS if isinstance(row.get(k), list)), None)
            words, tags = _cut(row["text"], spans, at)
        else:
            raise CrossgraftError(f"{at} has neither a text nor words", FORM)
        if words:
            found.add(words, tags, f"{path.name}:{number}", SPLIT_NAMES.get(own, ""), row)
        else:
            found.skipped.append(Skipped(f"{path.name}:{number}", "the text is empty"))


def _cut(text: str, spans: Sequence[Any] | None, at: str) -> tuple[list[str], list[str] | None]:
    """Words, cut where spans begin and end as well, and their tags."""
    if spans is None:
        return [text[a:b] for a, b in split_words(text)], None
    read = sorted(_span(s, text, at) for s in spans)
    for (_, end, _), (start, _, _) in itertools.pairwise(read):
        if start < end:
            raise CrossgraftError(f"{at}: two spans overlap at character {start}", "keep one of them")
    borders = sorted({b for a, e, _ in read for b in (a, e)})
    words, tags = [], []
    for first, last in split_words(text):
        cuts = [first, *(b for b in borders if first < b < last), last]
        for a, b in itertools.pairwise(cuts):
            inside = next(((s, kind) for s, e, kind in read if s <= a and b <= e), None)
            words.append(text[a:b])
            begins = inside is not None and not text[inside[0] : a].strip()
            tags.append("O" if inside is None else f"{'B' if begins else 'I'}-{inside[1]}")
    return words, tags


def _span(span: Any, text: str, at: str) -> tuple[int, int, str]:
    """(start, end, type) in characters."""
    if isinstance(span, dict):
        span = [span.get("start"), span.get("end"), span.get("label") or span.get("type")]
    if not (isinstance(span, list) and len(span) == 3 and isinstance(span[2], str) and span[2].strip()):
        raise CrossgraftError(f"{at}: a span needs start, end and label", FORM)
    start, end, kind = span
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
        raise CrossgraftError(
            f"{at}: span {start} to {end} lies outside the text", "count characters from 0, end past it"
        )
    if not text[start:end].strip():
        raise CrossgraftError(f"{at}: span {start} to {end} holds no word", "move it to the entity's characters")
    return start, end, kind.strip()
