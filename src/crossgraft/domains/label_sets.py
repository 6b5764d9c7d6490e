"""Any number of classes an example: cells such as `sports;politics`, lists, sets, columns of 0 and 1."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np

from crossgraft.domains.columns import columns_error, whole_numbers
from crossgraft.domains.domain import Domain
from crossgraft.domains.labels import BOUND, bound, label
from crossgraft.domains.table_files import Table
from crossgraft.errors import CrossgraftError, nearest
from crossgraft.multilabel import SEPARATOR

USUAL = (";", "|", ",", "/")  # between classes
YES, NO = ("1", "true", "True", "yes"), ("0", "false", "False", "no")


def holds_sets(domain: Domain) -> bool:
    """Whether a label is a list, a set or a row of 0 and 1."""
    return are_sets(domain.labels)


def are_sets(labels: np.ndarray) -> bool:
    """The same of labels without their domain."""
    return any(isinstance(y, frozenset) or (isinstance(y, str) and y.startswith(BOUND)) for y in labels)


def sets_of(labels: np.ndarray, separator: str = SEPARATOR) -> np.ndarray:
    """Labels as sets of classes; a missing one stays missing."""
    sets = np.full(len(labels), None, dtype=object)
    for i, y in enumerate(labels):
        if y is not None:
            sets[i] = y if isinstance(y, frozenset) else set_of(str(y), separator)
    return sets


def as_sets(domain: Domain, separator: str = SEPARATOR) -> Domain:
    """The domain with each label as a set of classes; a missing one stays missing.

    Where no text holds the separator and some hold another that is usual, a note asks whether that was meant.
    """
    sets = sets_of(domain.labels, separator)
    notes, texts = domain.notes, [y for y in domain.labels if isinstance(y, str) and y[:1] not in (BOUND, "[")]
    if not any(separator in y for y in texts):
        held = {other: sum(other in y for y in texts) for other in USUAL}
        if most := max(held.values()):
            other = max(held, key=held.__getitem__)
            asked = f"if it stands between classes, give --separator '{other}'"
            notes += (f"{domain.name}: no label holds {separator!r}, and {most} hold {other!r}: {asked}",)
    return replace(domain, labels=sets, notes=notes)


def set_of(text: str, separator: str = SEPARATOR) -> frozenset[str]:
    """The classes that a cell names; the separator alone, or [], names none.

    >>> sorted(set_of("sports; politics")), sorted(set_of("['a', 'b']")), set_of(";")
    (['politics', 'sports'], ['a', 'b'], frozenset())
    """
    parts: list[str] = text[1:].split(BOUND) if text.startswith(BOUND) else text.split(separator)
    if text.startswith("[") and text.endswith("]"):  # as pandas writes lists into a CSV
        try:
            parts = [str(v) for v in ast.literal_eval(text)]
        except (ValueError, SyntaxError):
            parts = text[1:-1].split(separator)
    return frozenset(p for part in parts if (p := part.strip()))


def flagged(table: Table, asked: str | None, where: str) -> Table:
    """A table in which columns of 0 and 1, asked for as `toxic+insult`, are one column of that name; the classes are
    called as the columns. Raises CrossgraftError naming row and column where a cell is neither; a row of empty cells
    has no label."""
    if asked is None or asked in table.columns or "+" not in asked:
        return table
    names = asked.split("+")
    for column in names:
        if column not in table.columns:
            known = list(table.columns)
            raise columns_error(f"{where} has no column {column!r} of labels", known, nearest(column, known))
    cells = [whole_numbers(list(table.columns[c])) for c in names]
    found: list[str | None] = []
    for row, values in zip(table.rows, zip(*cells, strict=True), strict=True):
        held = [label(v) for v in values]
        for column, v in zip(names, held, strict=True):
            if v not in (*YES, *NO) and any(held):
                what = f"{where}, {row}: column {column!r} of labels is {'empty' if v is None else repr(v)}"
                raise CrossgraftError(what, "give 1 where the class holds and 0 where not, in every column or in none")
        found.append(bound([c for c, v in zip(names, held, strict=True) if v in YES]) if any(held) else None)
    rest = {c: v for c, v in table.columns.items() if c not in names}
    return replace(table, columns=rest | {asked: found})
