"""Tables of pseudo-labels, computed from a whole domain at the start of every epoch; -1 where there is none.

Of utterances a row of the table is a pseudo-transcript that -1 fills up. Weights of classes are a table of k numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import best_path, cross_entropy
from crossgraft.features.frames import Frames
from crossgraft.tasks import MISSING

Array = np.ndarray[Any, Any]
SURE = 0.5  # geometric mean of the probabilities of a pseudo-transcript's symbols, at least
CLIPS = 256  # whose alignments are in memory at once


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


def named(f: Float[np.ndarray, "N D"], p: Float[np.ndarray, "N k"], progress: float) -> Float[np.ndarray, " k"]:
    """k gamma, gamma_c = mean_i p_ic: 1 where all classes are named evenly, near 0 for a class that the domain lacks
    (Cao et al., ECCV 2018, who divide by the largest).

    >>> named(np.zeros((2, 1)), np.array([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0]]), 0.0).round(2).tolist()
    [1.8, 1.2, 0.0]
    """
    return np.asarray(p.shape[1] * p.mean(0))


def transcripts(log_p: Frames, width: int) -> Int[np.ndarray, "N width"]:
    """What the most probable alignment of each clip says, y, where p(y|x)^(1/|y|) >= SURE; p is summed over all
    alignments (Kahn, Lee, Hannun, ICASSP 2020, who filter by the likelihood a token).

    log_p  of the frames, whose column 0 is the blank; width is at least the most frames of a clip

    >>> sure, not_sure = np.array([[0.1, 0.9]]), np.array([[0.7, 0.3], [0.4, 0.6]])
    >>> transcripts(Frames.of([np.log(sure), np.log(not_sure), np.log(1 - sure)]), 2).tolist()
    [[1, -1], [1, -1], [-1, -1]]
    """
    table = np.full((len(log_p), width), MISSING)
    for first in range(0, len(log_p), CLIPS):
        some = log_p[first : first + CLIPS]
        said = [np.array([s for s, _, _ in best_path(some.clip(i))], dtype=np.int64) for i in range(len(some))]
        counts = np.array([len(y) for y in said])
        losses = cross_entropy(some.flat, some.lengths, np.concatenate(said), counts)
        for i in np.flatnonzero((counts > 0) & (losses <= -np.log(SURE) * counts)).tolist():
            table[first + i, : counts[i]] = said[i]
    return table


TABLES: dict[str, Callable[[Array, Array, float], Array]] = {
    "class_balanced": class_balanced,
    "centroids": centroids,
}
BY_CLASS = {"named": named}  # weights of the classes, of rows by their labels
SPOKEN: dict[str, Callable[[Frames, int], Array]] = {"class_balanced": transcripts}  # of utterances, by the same names
