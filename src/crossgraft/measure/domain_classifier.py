"""Which domain is an example from? A cross-fitted balanced logistic regression, and the permutation test beside it.

What the features are mapped through (scales, principal components, squares) never sees a domain label. So it may be
computed once on all rows: a held-out loss stays unbiased, and a permutation of the labels leaves it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray[Any, Any]
RIDGES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)  # of standardised features, the weights of the rows adding to 1
COMPONENTS = 256  # principal components kept of wide features
SQUARED = 8  # leading directions whose squares and products are features too: they show a difference of spread
STEPS = 30


@dataclass(frozen=True)
class FeatureMap:
    """Standardise, turn to principal components where wide, add squares and products of the leading ones."""

    mean: Float[np.ndarray, " D"]
    scale: Float[np.ndarray, " D"]  # zero for a constant feature
    turn: Float[np.ndarray, "D d"] | None
    centre: Float[np.ndarray, " E"]
    unit: Float[np.ndarray, " E"]

    @classmethod
    def of(cls, x: Float[np.ndarray, "n D"]) -> FeatureMap:
        """The map that these rows ask for."""
        mean, std = x.mean(0), x.std(0)
        # below rounding of the values themselves a spread is none
        scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-12 * np.abs(x).max(0))
        z = (x - mean) * scale
        turn = None
        if z.shape[1] > SQUARED:
            _, s, vt = np.linalg.svd(z, full_matrices=False) if min(z.shape) <= 512 else _leading(z)
            kept = s[:COMPONENTS] > 1e-9 * max(s[0], 1e-300)
            turn = vt[:COMPONENTS][kept].T
        plain = cls(mean, scale, turn, np.zeros(0), np.zeros(0))
        wide = plain._expanded(x)
        std = wide.std(0)
        # components keep their sizes against one another: a ridge then shrinks the small ones most
        if turn is not None:
            std[: turn.shape[1]] = max(float(std[0]), 1e-300) if turn.shape[1] else 1.0
        unit = np.divide(1.0, std, out=np.zeros_like(std), where=std > 1e-12)
        return cls(mean, scale, turn, wide.mean(0), unit)

    def __call__(self, x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n E"]:
        """Rows as the classifier takes them."""
        return np.asarray((self._expanded(x) - self.centre) * self.unit)

    def _expanded(self, x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n E"]:
        z = (np.asarray(x, dtype=np.float64) - self.mean) * self.scale
        z = z if self.turn is None else z @ self.turn
        lead = z[:, :SQUARED]
        i, j = np.triu_indices(lead.shape[1])
        return np.concatenate([z, lead[:, i] * lead[:, j]], 1)


def _leading(z: Float[np.ndarray, "n D"]) -> tuple[None, Array, Array]:
    """Singular values and right vectors by the smaller Gram matrix, largest first."""
    if z.shape[1] <= z.shape[0]:
        s2, v = np.linalg.eigh(z.T @ z)
        return None, np.sqrt(np.maximum(s2[::-1], 0)), v[:, ::-1].T
    s2, u = np.linalg.eigh(z @ z.T)
    s = np.sqrt(np.maximum(s2[::-1], 0))
    return None, s, (u[:, ::-1].T @ z) / np.maximum(s, 1e-300)[:, None]


def fit(x: Float[np.ndarray, "n E"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " E1"]:
    """Coefficients, intercept last, of the balanced ridge logistic regression of y in {0, 1}.

    The ridge is the one of least approximate leave-one-out cross-entropy, and infinite (all zero) where none gets below
    ln 2: then nothing that can be told apart is said to be.
    """
    w = np.where(y == 1, 0.5 / (y == 1).sum(), 0.5 / (y == 0).sum())
    x1 = np.concatenate([x, np.ones((len(x), 1))], 1)
    beta, best, least = np.zeros(x1.shape[1]), np.zeros(x1.shape[1]), np.log(2)
    for ridge in RIDGES:
        beta, h, p = _newton(x1, y, w, ridge, beta)
        reach = np.einsum("ne,en->n", x1, np.linalg.solve(h, x1.T))
        leverage = np.minimum(w * p * (1 - p) * reach, 1 - 1e-9)
        z = x1 @ beta + reach * w * (p - y) / (1 - leverage)  # Rad and Maleki, JRSS-B 2020
        loo = float(w @ np.logaddexp(0, np.where(y == 1, -z, z)))
        if loo < least:
            best, least = beta, loo
    return best


def _newton(x: Array, y: Array, w: Array, ridge: float, beta: Array) -> tuple[Array, Array, Array]:
    """Optimum of sum_i w_i CE_i + ridge/2 |beta|^2 (intercept free), its Hessian and the probabilities."""
    pull = np.full(x.shape[1], ridge)
    pull[-1] = 1e-10
    sign = 1 - 2 * y

    def objective(b: Array) -> float:
        return float(w @ np.logaddexp(0, sign * (x @ b)) + 0.5 * pull @ b**2)

    f = objective(beta)
    for _ in range(STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (x @ beta)))
        g = x.T @ (w * (p - y)) + pull * beta
        h = (x.T * np.maximum(w * p * (1 - p), 1e-14)) @ x + np.diag(pull)
        step = np.linalg.solve(h, g)
        if g @ step < 1e-9:
            break
        rate = 1.0
        while (new := objective(beta - rate * step)) > f - 1e-4 * rate * float(g @ step) and rate > 1e-6:
            rate /= 2
        beta, f = beta - rate * step, new
    return beta, h, p


def stratified(
    y: Float[np.ndarray, " n"], partner: Int[np.ndarray, " n"], k: int, draw: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Fold of each row: both domains spread evenly over k folds, partners (equal rows of both domains) in one."""
    fold = np.empty(len(y), dtype=np.int64)
    pairs = np.flatnonzero((y == 1) & (partner >= 0))
    dealt = draw.permutation(pairs)
    fold[dealt] = np.arange(len(dealt)) % k
    fold[partner[dealt]] = fold[dealt]
    for side in (0, 1):
        alone = draw.permutation(np.flatnonzero((y == side) & (partner < 0)))
        fold[alone] = (np.arange(len(alone)) + len(pairs)) % k
    return fold


def cross_fitted(
    x: Float[np.ndarray, "n E"], y: Float[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "k E1"]]:
    """Logit of y = 1 of each row by the classifier of the other folds, and the classifiers."""
    logits, betas = np.empty(len(y)), []
    for f in np.unique(fold):
        held = fold == f
        betas.append(fit(x[~held], y[~held]))
        logits[held] = x[held] @ betas[-1][:-1] + betas[-1][-1]
    return logits, np.stack(betas)


def permutation_p(
    x: Float[np.ndarray, "n E"],
    y: Float[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
    free: Bool[np.ndarray, " n"],
    permutations: int,
    draw: np.random.Generator,
) -> float:
    """p-value that both domains are one, by permuting the labels of free rows within each fold.

    The statistic is the held-out correlation of the label with a cross-fitted ridge regression of it, the largest over
    the ridges. Its predictions are linear in the labels, so that one factorisation a fold serves every permutation and
    the whole of the cross-fitting is repeated for each. Folds are drawn with the counts of both domains fixed: given
    the folds the labels within one are exchangeable, and the test is exact at any size (Lopez-Paz, Oquab, ICLR 2017).
    """
    labels = np.repeat(y[:, None], permutations + 1, 1)
    for f in np.unique(fold):
        rows = np.flatnonzero((fold == f) & free)
        labels[rows, 1:] = draw.permuted(labels[rows, 1:], axis=0)
    predicted = np.zeros((len(RIDGES), len(y), permutations + 1))
    for f in np.unique(fold):
        held = fold == f
        centre, mean = x[~held].mean(0), labels[~held].mean(0)
        u, s, vt = np.linalg.svd(x[~held] - centre, full_matrices=False)
        seen, at = u.T @ (labels[~held] - mean), (x[held] - centre) @ vt.T
        for r, ridge in enumerate(RIDGES):
            z = at @ ((s / (s**2 + ridge * len(u)))[:, None] * seen)
            predicted[r, held] = z - z.mean(0)
    centred = labels - labels.mean(0)
    top = np.einsum("np,rnp->rp", centred, predicted)
    size = np.sqrt((predicted**2).sum(1))
    # a label that the features cannot move is predicted with zero everywhere
    statistic = np.divide(top, size, out=np.zeros_like(top), where=size > 1e-12 * np.sqrt(len(y))).max(0)
    return float((1 + (statistic[1:] >= statistic[0] - 1e-9 * abs(statistic[0])).sum()) / (1 + permutations))
