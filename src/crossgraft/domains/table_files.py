"""CSV, JSON lines and Parquet to columns; a broken line is left out and named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.columns import choose, columns_error, numbers
from crossgraft.domains.texts import decoded
from crossgraft.errors import CrossgraftError, Skipped

LARGEST_BLOCK = 1 << 28  # bytes of a CSV that are parsed at once; a cell must fit into one


@dataclass
class Table:
    """Columns by name, all of one length; the name of each row; what was left out when it was read."""

    columns: dict[str, list[Any] | np.ndarray]
    rows: list[str]
    skipped: list[Skipped] = field(default_factory=list)
    class_names: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_table(path: Path, text_columns: tuple[str, ...] = ()) -> Table:
    """The table in a file. Raises CrossgraftError where it is none; `text_columns` of a CSV are not made numbers."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _parquet(path)
        return _csv(path, text_columns) if suffix in (".csv", ".tsv") else _json(path)
    except UnicodeDecodeError as wrong:
        raise CrossgraftError(f"{path} is not UTF-8 (byte {wrong.start})", "save it as UTF-8") from None
    except OSError as wrong:
        raise CrossgraftError(f"{path} cannot be read ({wrong.strerror or wrong})", "check the file") from None


def _csv(path: Path, text_columns: tuple[str, ...]) -> Table:
    import pyarrow as pa
    from pyarrow import csv as arrow

    header, delimiter = _header(path)
    guessed = choose(header, str(path), None, None, None)
    as_text = {c: pa.string() for c in (*text_columns, guessed.label, guessed.split) if c in header}
    size = max(path.stat().st_size, 1 << 20)
    odd: list[Any] = []

    def leave_out(row: Any) -> str:
        odd.append(row)
        return "skip"

    try:
        read = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(use_threads=False, block_size=min(size + 2, LARGEST_BLOCK)),
            parse_options=arrow.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=leave_out
            ),
            convert_options=arrow.ConvertOptions(column_types=as_text, check_utf8=False),
        )
    except pa.ArrowInvalid as wrong:
        raise CrossgraftError(
            f"{path} is no table that can be read ({wrong})", "mend it, or save it as CSV in UTF-8"
        ) from None
    at = {row.number - 2: row for row in odd}  # Arrow counts from 1, with the header
    rows = [f"row {i + 1}" for i in range(read.num_rows + len(odd)) if i not in at]
    reason = "{} columns where the header has {}"
    skipped = [Skipped(f"row {i + 1}", reason.format(r.actual_columns, r.expected_columns)) for i, r in at.items()]
    columns: dict[str, list[Any] | np.ndarray] = {}
    notes: tuple[str, ...] = ()
    for k, c in enumerate(header):
        try:
            columns[c] = _column(read.column(k))
        except UnicodeDecodeError:
            if c in (*as_text, guessed.input):
                raise CrossgraftError(f"{path}: column {c!r} is not UTF-8", "save it as UTF-8") from None
            cells = [decoded(v) for v in read.column(k).cast(pa.binary()).to_pylist()]
            columns[c] = [text for text, _ in cells]
            broken = sum(b for _, b in cells)
            notes += (f"{path}: {broken} values of column {c!r} are not UTF-8 and were read as Windows-1252",)
    return Table(columns, rows, skipped, notes=notes)


def _header(path: Path) -> tuple[list[str], str]:
    """The names of a CSV's columns, and what stands between them."""
    import csv

    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
        file.seek(0)
        header = next((row for row in csv.reader(file, delimiter=delimiter) if row), [])
    if "\ufffd" in "".join(header):
        raise CrossgraftError(f"{path} is not UTF-8 in its first line", "save it as UTF-8")
    if not header:
        raise CrossgraftError(f"{path} is empty", "give a table whose first line names the columns")
    if numbers(header)[1] == {} and any(header):
        raise CrossgraftError(f"{path} has numbers in its first line", "put a line with the names of the columns above")
    if twice := sorted({c for c in header if header.count(c) > 1}):
        raise columns_error(f"{path}: two columns are called {twice[0]!r}", header, "give each its own name;")
    return header, delimiter


def _json(path: Path) -> Table:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    records: list[tuple[str, Any]] = []
    skipped: list[Skipped] = []
    if data.lstrip().startswith(b"["):
        try:
            records = [(f"row {i}", value) for i, value in enumerate(json.loads(data), 1)]
        except json.JSONDecodeError as wrong:
            raise CrossgraftError(f"{path}, line {wrong.lineno}: {wrong.msg}", "mend it, or save JSON lines") from None
    else:
        for i, line in enumerate(data.split(b"\n"), 1):
            try:
                if line.strip():
                    records.append((f"line {i}", json.loads(line)))
            except (ValueError, RecursionError) as wrong:  # ValueError also for bytes that are not UTF-8
                skipped.append(Skipped(f"line {i}", f"no JSON: {wrong}"))
    skipped += [Skipped(row, "no JSON object {...}") for row, value in records if not isinstance(value, dict)]
    records = [(row, value) for row, value in records if isinstance(value, dict)]
    keys = dict.fromkeys(key for _, value in records for key in value)
    return Table({key: [value.get(key) for _, value in records] for key in keys}, [row for row, _ in records], skipped)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        read = parquet.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowException) as wrong:
        raise CrossgraftError(f"{path} is no Parquet file, or damaged ({wrong})", "write it again") from None
    names: dict[str, list[str]] = {}
    if b"huggingface" in (read.schema.metadata or {}):
        features = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]
        each = {c: f.get("feature", f) for c, f in features.items() if isinstance(f, dict)}
        names = {c: f["names"] for c, f in each.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"}
    columns = {c: _column(read.column(c)) for c in read.column_names}
    return Table(columns, [f"row {i + 1}" for i in range(read.num_rows)], [], names)


def _column(chunked: Any) -> list[Any] | np.ndarray:
    """Numbers as an array (NaN where null), everything else as a list."""
    import pyarrow as pa

    if pa.types.is_integer(chunked.type) or pa.types.is_floating(chunked.type):
        return np.asarray(chunked.to_numpy())
    return list(chunked.to_pylist())
