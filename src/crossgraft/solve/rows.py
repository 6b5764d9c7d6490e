"""Labelled rows of one cross-entropy: logits, losses, residuals and curvature, for several heads at once.

Letters: N rows, D features (the constant included), B heads, U columns of the head, k columns of one part; V is the
head's distance from its prior. Rows lie along the last axis, where sums over classes vectorise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    """Labelled rows of one part: features with a constant 1, the prior's logits, labels, weights."""

    x: Float[np.ndarray, "N D"]
    z0: Array | None  # (k, N)
    label: Int[np.ndarray, " N"]
    w: Array  # (N,), or (B, N) where every problem of the batch weighs the rows in its own way
    columns: Int[np.ndarray, " k"]
    smoothing: float = 0.0

    def cast(self, dtype: type) -> Rows:
        """The same rows in another precision."""
        z0: Array | None = None if self.z0 is None else self.z0.astype(dtype)
        return replace(self, x=self.x.astype(dtype, copy=False), z0=z0, w=self.w.astype(dtype))

    def only(self, active: Bool[np.ndarray, " B"]) -> Rows:
        """The rows as the active problems of a batch weigh them."""
        return self if self.w.ndim == 1 or active.all() else replace(self, w=self.w[active])

    def logits(self, v: Float[np.ndarray, "B U D"]) -> Float[np.ndarray, "B k N"]:
        """V X' in this part's columns, without the prior."""
        v = v[:, self.at]
        return np.asarray(v.reshape(-1, v.shape[2]) @ self.x.T).reshape(len(v), -1, len(self.x))

    def back(self, e: Float[np.ndarray, "B k N"], out: Float[np.ndarray, "B U D"]) -> None:
        """out += e X in this part's columns; e arrives weighted."""
        out[:, self.at] += (e.reshape(-1, e.shape[2]) @ self.x).reshape(*e.shape[:2], -1)

    @property
    def at(self) -> slice | Int[np.ndarray, " k"]:
        """The columns, as a slice where they are neighbours: a slice is not copied."""
        c = self.columns
        return slice(int(c[0]), int(c[-1]) + 1) if len(c) and (np.diff(c) == 1).all() else c

    def loss(self, z: Float[np.ndarray, "B k N"]) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, "B k N"]]:
        """Weighted cross-entropy of each head, and the probabilities."""
        each, p = self.each(z)
        w = self.w.astype(np.float64)
        return np.asarray(each @ w if w.ndim == 1 else (each * w).sum(axis=1)), p

    def each(self, z: Float[np.ndarray, "B k N"]) -> tuple[Float[np.ndarray, "B N"], Float[np.ndarray, "B k N"]]:
        """Cross-entropy of each row (the prior's logits added here), and the probabilities."""
        z = z if self.z0 is None else z + self.z0
        p = z - z.max(axis=1, keepdims=True)
        fit = (1 - self.smoothing) * p[:, self.label, np.arange(len(self.label))]
        if self.smoothing:
            fit += self.smoothing * p.mean(axis=1)
        np.exp(p, out=p)
        total = p.sum(axis=1)
        p /= total[:, None]
        return np.asarray((np.log(total) - fit).astype(np.float64)), p

    def residual(self, p: Float[np.ndarray, "B k N"]) -> Float[np.ndarray, "B k N"]:
        """w (p - q): the derivative of the weighted cross-entropy by the logits."""
        e = p - self.smoothing / p.shape[1] if self.smoothing else p.copy()
        e[:, self.label, np.arange(len(self.label))] -= 1 - self.smoothing
        e *= self.w if self.w.ndim == 1 else self.w[:, None]
        return np.asarray(e)

    def weighted(self, p: Float[np.ndarray, "B k N"]) -> Float[np.ndarray, "B k N"]:
        """w p, row by row."""
        return np.asarray(p * (self.w if self.w.ndim == 1 else self.w[:, None]))


def curve(
    p: Float[np.ndarray, "B k N"], wp: Float[np.ndarray, "B k N"], t: Float[np.ndarray, "B k N"]
) -> Float[np.ndarray, "B k N"]:
    """w (diag(p) - p p') t, row by row; wp is w p."""
    e = p * t
    np.subtract(t, e.sum(axis=1, keepdims=True), out=e)
    e *= wp
    return np.asarray(e)
