"""CSV, JSON lines and Parquet to a Domain: a column that names files, one or two of texts, or numbers as a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains.arrays import array_domain
from crossgraft.domains.columns import (
    COUNTERS,
    SPEAKERS,
    TRANSCRIPTS,
    choose,
    columns_error,
    is_file,
    is_text,
    named_texts,
    names_files,
    numbers,
    prose,
    vectors,
    whole_numbers,
)  # fmt: skip
from crossgraft.domains.domain import Domain
from crossgraft.domains.folders import example_files
from crossgraft.domains.label_columns import together, unbound
from crossgraft.domains.label_sets import flagged
from crossgraft.domains.labels import group_names
from crossgraft.domains.labels import labels as tidy
from crossgraft.domains.labels import splits as tidy_splits
from crossgraft.domains.sorts import by_name, most
from crossgraft.domains.table_files import Table, read_table
from crossgraft.domains.texts import text_domain
from crossgraft.errors import CrossgraftError, Skipped

Labels = str | Sequence[str] | None  # one column, or several
Bad = dict[int, str]  # rows that cannot be used, with the reason


def table_domain(
    path: Path,
    name: str,
    *,
    input: str | None = None,
    label: Labels = None,
    split: str | None = None,
    group: str | None = None,
    transcripts: bool = False,
) -> Domain:
    """A Domain from a table. Rows that cannot be used are skipped, each named; a wrong column is an error.

    group        column that says whose an example is, where there is one of that name; of clips else the usual names
    transcripts  labels are what is said in clips, and their column is called so
    """
    usual = TRANSCRIPTS if transcripts and label is None else ()
    asked = (label,) if isinstance(label, str) else tuple(label or ())
    table = read_table(path, (*asked, *((split,) if split else ()), *usual))
    label = label or _called(table, usual)
    return rows_domain(table, path.parent, str(path), name, input=input, label=label, split=split, group=group)


def frame_domain(
    frame: Any,
    name: str,
    *,
    input: str | None = None,
    label: Labels = None,
    split: str | None = None,
    group: str | None = None,
    transcripts: bool = False,
) -> Domain:
    """A Domain from a pandas DataFrame; paths are taken relative to the working folder. transcripts as of a file."""
    columns = {str(c): v if v.dtype.kind in "buif" else list(v) for c in frame.columns for v in [frame[c].to_numpy()]}
    rows = [f"[{i}]" for i in frame.index]
    table = Table(columns, rows)
    label = label or _called(table, TRANSCRIPTS if transcripts else ())
    return rows_domain(table, Path(), name, name, input=input, label=label, split=split, group=group)


def _called(table: Table, usual: tuple[str, ...]) -> str | None:
    """The first column that is called by one of these names."""
    return next((c for u in usual for c in table.columns if c.strip().lower() == u), None)


def rows_domain(
    table: Table, folder: Path, where: str, name: str, *,
    input: str | None, label: Labels, split: str | None, group: str | None = None,
) -> Domain:  # fmt: skip
    """A Domain from columns in memory; paths are taken relative to `folder`, `where` is what errors call the table."""
    if label is not None and not isinstance(label, str):
        for asked in label:
            table = flagged(table, asked, where)
        both, joined = together(table, label, where)
        whole = rows_domain(both, folder, where, name, input=input, label=joined, split=split, group=group)
        return unbound(whole, label)
    table = flagged(table, label, where)
    known, n = list(table.columns), len(table.rows)
    chosen = choose(known, where, input, label, split)
    if n == 0:
        raise CrossgraftError(f"{where} has no row that can be used", _first(table.skipped) or "give at least one")
    y = table.columns[chosen.label] if chosen.label is not None else None
    names = table.class_names.get(chosen.label or "")
    labels, notes = tidy(whole_numbers(y) if isinstance(y, list) else y, n, names)
    notes = table.notes + notes
    if y is None:
        notes = (
            *table.notes,
            f"{where} has no column of labels (its columns are {_few(known)}); name it with --label",
        )
    splits = tidy_splits(None if chosen.split is None else table.columns[chosen.split], n)
    taken, groups = {chosen.label, chosen.split, group}, _groups(table, group)
    column = _file_column(table, folder, chosen.input, input is not None, taken)
    if column is not None:
        files, called, bad = _files(table, column, folder)
        keep, skipped = _kept(table, bad)
        if not len(keep):
            raise CrossgraftError(
                f"{where}: no value of column {column!r} is a picture or audio file; {_first(skipped)}",
                f"paths are taken relative to {folder}; name the column of the inputs with --input",
            )
        sort = most(files)
        if group is None and sort.kind == "audio":
            groups = _groups(table, _usual(table, SPEAKERS, {*taken, column}))
        groups = None if groups is None else groups[keep]
        return example_files(
            files, name, sort, names=called, labels=list(labels[keep]), split=list(splits[keep]), groups=groups,
            skipped=skipped, notes=notes,
        )  # fmt: skip
    texts = _text_columns(table, chosen.input, chosen.second, input is not None, taken)
    if texts:
        held = [table.columns[c] for c in texts]
        rest = [c for c in known if c not in (*taken, *texts)]
        if rest:
            notes += (f"{where}: columns beside the text {'+'.join(texts)!r} are not used: {_few(rest)}",)
        domain = text_domain(
            list(held[0]) if len(held) == 1 else list(zip(*held, strict=True)), name, labels=labels, names=table.rows,
            split=list(splits), skipped=table.skipped, notes=notes,
        )  # fmt: skip
        return replace(domain, groups=groups)
    wanted = [chosen.input] if input is not None and chosen.input else [c for c in known if c not in taken]
    values, columns, bad, unused = vectors(table.columns, wanted, input is not None)
    if values is None:
        what = f"{where}: no column names files, and none has numbers"
        raise columns_error(what, known, "name the inputs with --input;")
    if unused:
        notes += (f"{where}: columns without numbers, or that only count the rows, are not used: {_few(unused)}",)
    keep, skipped = _kept(table, bad)
    if not len(keep):
        raise CrossgraftError(f"{where} has no row that can be used", _first(skipped))
    domain = array_domain(
        values[keep], labels[keep], name, split=splits[keep], names=[table.rows[i] for i in keep],
        columns=columns, notes=notes, skipped=tuple(skipped),
    )  # fmt: skip
    return replace(domain, groups=None if groups is None else groups[keep])


def _file_column(table: Table, folder: Path, chosen: str | None, by_option: bool, taken: set[str | None]) -> str | None:
    """The column whose values are files: the one that was chosen, else the first that names a file that exists."""
    if chosen is not None:
        held = [v for v in table.columns[chosen][:20] if v is not None]
        named = bool(held) and all(isinstance(v, (str, bytes, dict)) for v in held)
        if named and (not by_option or numbers(table.columns[chosen])[0] is None):
            some = [v.strip()[-9:] for v in held if isinstance(v, str)]
            files = len(some) == 0 or any(map(by_name, some)) or names_files(held, folder)
            if files or not (by_option or prose({chosen: table.columns[chosen]}, ())):
                return chosen
        if by_option:
            return None
    for column, values in table.columns.items():
        if column not in taken and isinstance(values, list) and names_files(values, folder):
            return column
    return None


def _text_columns(
    table: Table, chosen: str | None, second: str | None, by_option: bool, taken: set[str | None]
) -> tuple[str, ...]:
    """The columns of texts: those that were chosen, else by name, else the one with prose where none has numbers."""
    if chosen is not None and by_option:
        if second is not None:
            return chosen, second
        return (chosen,) if is_text(table.columns[chosen]) else ()
    if chosen is not None and (found := prose({chosen: table.columns[chosen]}, ())):
        return found
    if named := named_texts(table.columns, taken):
        return named
    free = [c for c in table.columns if c not in taken and c.strip().lower() not in COUNTERS]
    if any(not is_text(table.columns[c]) for c in free if any(v not in (None, "") for v in table.columns[c][:1000])):
        return ()
    return prose(table.columns, taken)


def _files(table: Table, column: str, folder: Path) -> tuple[list[Path | bytes], list[str], Bad]:
    """Paths or encoded pictures, what to call them, and the rows without one."""
    files: list[Path | bytes] = []
    called: list[str] = []
    bad: Bad = {}
    for i, value in enumerate(table.columns[column]):
        if isinstance(value, dict):  # how the datasets library stores a picture
            value = value.get("bytes") or value.get("path")
        text = value.strip() if isinstance(value, str) else value
        if isinstance(text, bytes):
            files.append(text)
            called.append(table.rows[i])
        elif isinstance(text, str) and text and is_file(folder / text):
            files.append(folder / text)
            called.append(text)
        else:
            bad[i] = f"column {column!r}: there is no file {text}" if text else f"column {column!r} is empty"
    return files, called, bad


def _usual(table: Table, names: Sequence[str], taken: set[str | None]) -> str | None:
    """The first column that is called by one of some names."""
    lower = {c.strip().lower(): c for c in reversed(list(table.columns)) if c not in taken}
    return next((lower[c] for c in names if c in lower), None)


def _groups(table: Table, column: str | None) -> np.ndarray | None:
    """Whose each row is, (N,) str, by a column; None without it."""
    return group_names(whole_numbers(list(table.columns[column]))) if column in table.columns else None


def _kept(table: Table, bad: Bad) -> tuple[np.ndarray, list[Skipped]]:
    keep = np.array([i for i in range(len(table.rows)) if i not in bad], dtype=np.int64)
    return keep, [*table.skipped, *(Skipped(table.rows[i], reason) for i, reason in sorted(bad.items()))]


def _first(skipped: Sequence[Skipped]) -> str:
    return f"the first is {skipped[0].name}: {skipped[0].reason}" if skipped else ""


def _few(names: Sequence[str], n: int = 20) -> str:
    return ", ".join(repr(c) for c in names[:n]) + (", ..." if len(names) > n else "")
