"""Scores where examples come in groups (of a speaker, a patient): group by group, and intervals over groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.measure.entities import resampled
from crossgraft.measure.scores import LEVEL, Score, wilson

ERRORS, TRUE = 0, 1
MOST = 50  # groups that are told one by one: those with most examples


def grouped(counts: Mapping[str, Float[np.ndarray, "N 2"]], groups: np.ndarray | None, seed: int = 0) -> dict[str, Any]:
    """Rates by group, of the 50 largest, and, as `over_groups` with their number n, intervals that take groups rather
    than examples for independent (the cluster bootstrap: Field and Welsh, J. R. Stat. Soc. B 69, 2007); nothing where
    fewer than two groups are known.

    counts  by the name of a rate: errors, or whatever is summed, of each example, and how many they are of
    groups  (N,) str, "" where unknown: such examples are in no group here

    >>> found = grouped({"error": np.array([[0, 1], [1, 1], [1, 1]])}, np.array(["a", "a", "b"]))
    >>> found["by_group"]["a"]["error"]["value"]
    0.5
    """
    if groups is None:
        return {}
    names, place, sizes = np.unique(np.asarray(groups, dtype=str), return_inverse=True, return_counts=True)
    known = np.flatnonzero(names != "")
    if len(known) < 2:
        return {}
    totals = {
        name: np.stack([np.bincount(place, weights=c[:, k], minlength=len(names)) for k in (ERRORS, TRUE)], 1)[known]
        for name, c in counts.items()
    }
    largest = np.sort(known[np.argsort(-sizes[known], kind="stable")[:MOST]])
    return {
        "over_groups": {"n": len(known)}
        | {name: interval(c if c[:, ERRORS].any() else np.sign(c), seed).json() for name, c in totals.items()},
        "by_group": {
            str(names[g]): {"n": int(sizes[g])}
            | {name: interval(c[place == g], seed).json() for name, c in counts.items()}
            for g in largest
        },
    }


def rates(counts: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, " *B"]:
    """Errors over true length, which may be above 1."""
    errors, true = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    found: np.ndarray = np.divide(errors, true, out=np.zeros_like(errors), where=true > 0)
    return found


def interval(counts: Float[np.ndarray, "N 2"], seed: int = 0) -> Score:
    """The rate of all, sum over sum, with the percentile interval of the bootstrap over rows; NaN with one row.

    Without any error, which no draw of rows would show either, Wilson's interval of none among all they are of.
    """
    value = float(rates(counts.sum(0)))
    if len(counts) > 1 and not counts[:, ERRORS].any():
        return wilson(np.zeros(max(int(counts[:, TRUE].sum()), 1)))
    if len(counts) < 2:
        return Score(value, float("nan"), float("nan"))
    low, high = np.quantile(rates(resampled(counts, seed)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value, float(low), float(high))
