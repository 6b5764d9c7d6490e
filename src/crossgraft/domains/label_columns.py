"""Several labels an example: columns read as one, so that what leaves a row out leaves out all of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crossgraft.domains.columns import columns_error, whole_numbers
from crossgraft.domains.domain import Domain
from crossgraft.domains.labels import labels as tidy
from crossgraft.domains.sentences import bio
from crossgraft.domains.table_files import Table
from crossgraft.errors import nearest

BETWEEN = "\1"  # no label holds it, nor a set of classes that is kept as a text


def bound(columns: Mapping[str, Any], n: int, names: Mapping[str, list[str]] | None = None) -> list[str | None]:
    """The labels of each example in one text; None where it has none at all.

    >>> bound({"a": ["x", None], "b": ["y", None]}, 2)
    ['x\\x01y', None]
    """
    own = [tidy(values, n, (names or {}).get(name))[0] for name, values in columns.items()]
    return [
        BETWEEN.join("" if y is None else str(y) for y in row) if any(y is not None for y in row) else None
        for row in zip(*own, strict=True)
    ]


def together(table: Table, names: Sequence[str], where: str) -> tuple[Table, str]:
    """A table whose columns of labels are one, and what that is called. Raises on a column that there is not."""
    for column in names:
        if column not in table.columns:
            hint = nearest(column, list(table.columns))
            raise columns_error(f"{where} has no column {column!r} of labels", list(table.columns), hint)
    own = {c: table.columns[c] for c in names}
    own = {c: whole_numbers(y) if isinstance(y, list) else y for c, y in own.items()}
    rest = {c: values for c, values in table.columns.items() if c not in names}
    called = " and ".join(names)
    return replace(table, columns=rest | {called: bound(own, len(table.rows), table.class_names)}), called


def unbound(domain: Domain, names: Sequence[str]) -> Domain:
    """The domain with the columns apart again: the first as `labels`, all of them in `more`."""
    table = np.full((len(names), len(domain)), None, dtype=object)
    for i, text in enumerate(domain.labels):
        if text is not None:
            table[:, i] = [y or None for y in text.split(BETWEEN)]
    return replace(domain, labels=table[0], more=dict(zip(names, table, strict=True)))


def labels_of(values: Sequence[Any]) -> np.ndarray:
    """One column of labels (N,), tags as tuples."""
    if any(isinstance(y, (list, tuple)) for y in values):
        out = np.full(len(values), None, dtype=object)
        out[:] = [None if y is None else bio(y)[0] for y in values]
        return out
    return tidy(list(values), len(values))[0]
