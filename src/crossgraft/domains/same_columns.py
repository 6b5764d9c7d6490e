"""Vectors of several tables: the numbers of a row are the same ones, in the same order."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError, nearest


class Columns(Protocol):
    """What has rows of numbers: a Domain, or the Backbone that reads it."""

    @property
    def width(self) -> int:
        """How many; 0 of other kinds."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What a table calls them."""


def same_columns(domain: Domain, like: Columns, whose: str) -> Domain:
    """A domain of vectors with the columns of another, by name; by their order where either has no names, or they have
    no name in common. Columns beyond those are left out, and a note says so. Other kinds stay as they are.

    Raises CrossgraftError where a column is missing, or rows of numbers without names have another length.

    >>> from crossgraft.domains.arrays import array_domain
    >>> straight, swapped = (array_domain([[1.0, 2.0]], ["a"], "it", columns=c) for c in ("xy", "yx"))
    >>> same_columns(swapped, straight, "the target").inputs.tolist()
    [[2.0, 1.0]]
    """
    own, columns = domain.columns, like.columns
    if not domain.width or not like.width or (own and own == columns):
        return domain
    if not set(columns) & set(own):
        if domain.width != like.width:
            what = f"{domain.name} has {domain.width} numbers a row, and {whose} reads {like.width}"
            raise CrossgraftError(what, "give the same columns; in a table they are found by name")
        return domain
    if missing := [c for c in columns if c not in own]:
        few = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        hint = nearest(missing[0], [c for c in own if c not in columns])
        what = f"{domain.name} has no column {few}, which {whose} reads"
        raise CrossgraftError(what, hint or "add it, with a number in every row, or take it out of the other table")
    beyond = [c for c in own if c not in columns]
    note = f"{domain.name}: columns that {whose} does not read are left out: {', '.join(map(repr, beyond[:20]))}"
    values = np.ascontiguousarray(np.asarray(domain.inputs)[:, [own.index(c) for c in columns]])
    return replace(domain, inputs=values, columns=columns, notes=domain.notes + ((note,) if beyond else ()))
