"""Vectors of several tables: the numbers of a row are the same ones, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError, nearest


def width_of(domain: Domain) -> int:
    """How many numbers a row of a domain of vectors has."""
    return len(domain.read(0)) if len(domain) else 0


def same_columns(domain: Domain, columns: Sequence[str], width: int, whose: str) -> Domain:
    """A domain of vectors with its columns as `whose` has them, by name; by their order where either has no names, or
    they have no name in common. Columns beyond those are left out, and a note says so. Other kinds stay as they are.

    Raises CrossgraftError where a column is missing, or rows of numbers without names have another length.

    >>> from crossgraft.domains.arrays import array_domain
    >>> swapped = array_domain([[1.0, 2.0]], ["a"], "it", columns=["y", "x"])
    >>> same_columns(swapped, ["x", "y"], 2, "the target").inputs.tolist()
    [[2.0, 1.0]]
    """
    if domain.kind != "vector" or not len(domain):
        return domain
    own = domain.columns
    if set(columns) & set(own):
        if own == tuple(columns):
            return domain
        if missing := [c for c in columns if c not in own]:
            few = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
            what = f"{domain.name} has no column {few}, which {whose} reads"
            hint = nearest(missing[0], [c for c in own if c not in columns])
            raise CrossgraftError(what, hint or "add it, or take it out of the other table")
        beyond = [c for c in own if c not in columns]
        note = f"{domain.name}: columns that {whose} does not read are left out: {', '.join(map(repr, beyond[:20]))}"
        values = np.ascontiguousarray(np.asarray(domain.inputs)[:, [own.index(c) for c in columns]])
        return replace(domain, inputs=values, columns=tuple(columns), notes=domain.notes + ((note,) if beyond else ()))
    if (n := width_of(domain)) != width:
        what = f"{domain.name} has {n} numbers a row, and {whose} reads {width}"
        raise CrossgraftError(what, "give the same columns; in a table they are found by name")
    return domain
