"""Tables of pseudo-labels, computed from a whole domain at the start of every epoch; -1 where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.tasks import MISSING

Array = np.ndarray[Any, Any]


def class_balanced(f: Float[np.ndarray, "N D"], p: Float[np.ndarray, "N k"], progress: float) -> Int[np.ndarray, " N"]:
    """Of the rows of each predicted class the surest share, from 0.2 at the start to 0.8 at the end (Zou et al. 2018).

    >>> class_balanced(np.zeros((3, 1)), np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), 0.5).tolist()
    [0, -1, 1]
    """
    predicted, sure = p.argmax(1), p.max(1)
    labels = np.full(len(p), MISSING)
    for k in np.unique(predicted):
        rows = np.flatnonzero(predicted == k)
        n = max(round((0.2 + 0.6 * progress) * len(rows)), 1)
        labels[rows[np.argsort(-sure[rows], kind="stable")[:n]]] = k
    return labels


def centroids(f: Float[np.ndarray, "N D"], p: Float[np.ndarray, "N k"], progress: float) -> Int[np.ndarray, " N"]:
    """The class whose centroid is nearest by cosine: centroids weighted by p, then once more by those labels.

    Classes that no row is predicted as have no centroid (Liang, Hu, Feng, ICML 2020).
    """
    x = np.concatenate([f, np.ones((len(f), 1))], 1)  # the bias counts as a feature, as in the authors' code
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    present, weights = np.unique(p.argmax(1)), p
    labels = p.argmax(1)
    for _ in range(2):
        centre = (weights.T @ x)[present]
        centre = centre / np.maximum(np.linalg.norm(centre, axis=1, keepdims=True), 1e-12)
        labels = present[(x @ centre.T).argmax(1)]
        weights = np.eye(p.shape[1])[labels]
    return np.asarray(labels)


TABLES: dict[str, Callable[[Array, Array, float], Array]] = {
    "class_balanced": class_balanced,
    "centroids": centroids,
}
