"""Rows in the fewest coordinates that keep every inner product: wide and sparse features cost what rows cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.errors import UsageError
from crossgraft.solve.convex import Head

Matrix = Any  # (n, D): an array or a sparse matrix of SciPy


class OptionError(UsageError, ValueError):
    """A call that cannot mean anything; scikit-learn expects a ValueError."""


@dataclass(frozen=True, eq=False)
class Coordinates:
    """x as it is, or L^-1 X x with L L' = X X', X the rows of every part: fewer than features, the same geometry.

    The optimum of cross-entropies with a ridge leaves its prior only along rows that it has seen: nothing is lost.
    """

    rows: Matrix | None
    lower: Float[np.ndarray, "n n"] | None

    def up(self, head: Head) -> tuple[Float[np.ndarray, "D U"], Float[np.ndarray, " U"]]:
        """Weight and bias for features as they were given."""
        if self.lower is None or self.rows is None:
            return head.weight, head.bias
        return np.asarray(self.rows.T @ np.linalg.solve(self.lower.T, head.weight)), head.bias

    def down(self, weight: Float[np.ndarray, "D U"]) -> Float[np.ndarray, "d U"]:
        """A weight for features as one for these coordinates: the same logits on every row."""
        return weight if self.lower is None else np.linalg.solve(self.lower, np.asarray(self.rows @ weight))


def coordinates(parts: Sequence[Matrix], most: float) -> tuple[Coordinates, list[Float[np.ndarray, "n d"]]]:
    """The coordinates of these rows, and the rows in them. Raises where they would take more than `most` bytes."""
    from scipy import sparse

    n, d = sum(p.shape[0] for p in parts), parts[0].shape[1]
    if 8.0 * n * min(n, d) > most:
        raise OptionError(
            f"{n:,} rows of {d:,} features take {8e-9 * n * min(n, d):.1f} GB as numbers in full, above max_dense",
            "raise max_dense, draw fewer rows, or put TruncatedSVD before the classifier",
        )
    if n >= d:
        return Coordinates(None, None), [p.toarray() if sparse.issparse(p) else np.asarray(p) for p in parts]
    rows = sparse.vstack(parts, format="csr") if any(sparse.issparse(p) for p in parts) else np.concatenate(parts)
    gram = rows @ rows.T
    gram = gram.toarray() if sparse.issparse(gram) else gram
    jitter = 1e-11 * max(float(np.trace(gram)), 1e-30)
    lower = np.linalg.cholesky(gram + jitter * np.eye(n))
    return Coordinates(rows, lower), np.split(lower, np.cumsum([p.shape[0] for p in parts])[:-1])
