"""Label shift: the target's class frequencies q(y) from unlabelled examples, where p(x|y) is that of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.calibration import vector_scaling
from crossgraft.measure.scores import Score
from crossgraft.seeds import rng

Array = np.ndarray[Any, Any]
SMALL = 1e-3  # singular value of the confusion matrix below which classes cannot be told apart
FLOOR = 1e-12


@dataclass(frozen=True)
class LabelShift:
    """The target's class frequencies, and the weight of a source example of each class.

    q                        target frequencies with their 95 % bootstrap intervals
    p                        source frequencies
    weights                  q / p, zero for a class that the source labels lack
    smallest_singular_value  of the source's confusion matrix P(yhat, y): near zero, q is not identified
    scale, bias              calibration before EM: softmax(scale * log p + bias); 1 and 0 for BBSE
    notes                    what cannot be relied on, in sentences
    """

    q: tuple[Score, ...]
    p: Float[np.ndarray, " K"]
    weights: Float[np.ndarray, " K"]
    smallest_singular_value: float
    scale: float
    bias: Float[np.ndarray, " K"]
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> Float[np.ndarray, " K"]:
        """q without its intervals."""
        return np.array([s.value for s in self.q])


def label_shift(
    source_probabilities: Float[np.ndarray, "S K"],
    source_labels: Int[np.ndarray, " S"],
    target_probabilities: Float[np.ndarray, "T K"],
    method: Literal["em", "bbse"] = "em",
    *,
    resamples: int = 100,
    seed: int = 0,
) -> LabelShift:
    """q(y) by EM after bias-corrected temperature scaling (Alexandari et al., ICML 2020), or by BBSE.

    source_probabilities  p_s(y|x) of source examples that the model was not trained on
    source_labels         their labels; a row below zero has none and is left out
    target_probabilities  p_s(y|x) of target examples, whose labels are not needed

    EM (Saerens et al., Neural Computation 2002): r_i(y) prop. to p_s(y|x_i) q(y) / p_s(y), q(y) = mean_i r_i(y).
    BBSE (Lipton et al., ICML 2018): w = C^-1 mu, C_ij = P_s(yhat=i, y=j), mu_i = P_t(yhat=i); q = w p_s, clipped at 0.
    The intervals are of both samples drawn again, calibration included.

    >>> sure = np.eye(2)[[0, 1] * 50]
    >>> found = label_shift(sure, np.array([0, 1] * 50), sure[[0, 0, 0, 1] * 25], "bbse")
    >>> found.value.round(3).tolist()
    [0.75, 0.25]
    """
    if method not in ("em", "bbse"):
        raise UsageError(f"method {method!r} of label shift", "take 'em' or 'bbse'")
    source, y, target = _checked(source_probabilities, source_labels, target_probabilities)
    k = source.shape[1]
    present = np.bincount(y, minlength=k) > 0
    if present.sum() < 2:
        raise CrossgraftError("the source labels hold fewer than two classes", "give source examples of each class")
    absent = np.flatnonzero(~present)
    notes = [f"Class {c} has no labelled source example: its frequency is taken for zero." for c in absent.tolist()]
    source, target = _within(source, present), _within(target, present)
    place = np.cumsum(present) - 1

    def estimate(s: Array, labels: Array, t: Array, start: Array | None) -> tuple[Array, float, Array]:
        if method == "bbse":
            return _bbse(s, labels, t), 1.0, np.zeros(s.shape[1])
        a, b = vector_scaling(np.log(s), labels, shared=True)
        calibrated = _softmax(a * np.log(t) + b)
        return _em(calibrated, np.bincount(labels, minlength=s.shape[1]) / len(labels), start), float(a[0]), b

    labels = place[y]
    q, scale, bias = estimate(source, labels, target, None)
    smallest = float(np.linalg.svd(_confusion(source, labels), compute_uv=False)[-1])
    if smallest < SMALL:
        notes.append(
            f"The smallest singular value of the confusion matrix is {smallest:.1e}: the model does not tell all"
            " classes apart, and their frequencies are not identified."
        )
    draw, drawn = rng(seed, f"label shift {method}"), []
    for _ in range(resamples):
        # within each class, so that none is lost
        rows = np.concatenate([draw.choice(at, len(at)) for at in (np.flatnonzero(labels == c) for c in range(len(q)))])
        drawn.append(estimate(source[rows], labels[rows], target[draw.integers(0, len(target), len(target))], q)[0])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if drawn else np.full((2, len(q)), np.nan)
    full = [np.zeros(k) for _ in range(4)]
    for whole, part in zip(full, (q, np.minimum(low, q), np.maximum(high, q), bias), strict=True):
        whole[present] = part
    p = np.bincount(y, minlength=k) / len(y)
    weights = np.divide(full[0], p, out=np.zeros(k), where=p > 0)
    scores = tuple(Score(*map(float, ends)) for ends in zip(full[0], full[1], full[2], strict=True))
    return LabelShift(scores, p, weights, smallest, scale, full[3], tuple(notes))


def adapted(probabilities: Float[np.ndarray, "T K"], shift: LabelShift) -> Float[np.ndarray, "T K"]:
    """p_t(y|x) prop. to p_s(y|x) q(y) / p(y), calibrated as the shift says: the model for the target's frequencies."""
    z = shift.scale * np.log(np.maximum(probabilities, FLOOR)) + shift.bias
    with np.errstate(divide="ignore"):
        z = z + np.log(shift.weights)
    return _softmax(z)


def _em(p: Float[np.ndarray, "T K"], prior: Float[np.ndarray, " K"], start: Array | None) -> Float[np.ndarray, " K"]:
    """The maximum of mean_i log sum_y q(y) p_s(y|x_i) / p_s(y), which is concave in q."""
    ratio = p / prior
    q = prior if start is None else 0.99 * start + 0.01 * prior  # a zero would stay one
    for _ in range(2000):
        mixed = ratio @ q
        new = q * (ratio / mixed[:, None]).mean(0)
        if np.abs(new - q).max() < 1e-7:
            return np.asarray(new)
        q = new
    return np.asarray(q)


def _bbse(source: Array, labels: Array, target: Array) -> Float[np.ndarray, " K"]:
    k = source.shape[1]
    c, mu = _confusion(source, labels), np.bincount(target.argmax(1), minlength=k) / len(target)
    w = np.linalg.lstsq(c, mu, rcond=1e-10)[0]
    q = np.maximum(w * np.bincount(labels, minlength=k) / len(labels), 0)
    return np.asarray(q / q.sum()) if q.sum() > 0 else mu


def _confusion(source: Array, labels: Array) -> Float[np.ndarray, "K K"]:
    c = np.zeros((source.shape[1],) * 2)
    np.add.at(c, (source.argmax(1), labels), 1 / len(labels))
    return c


def _within(p: Array, present: Array) -> Array:
    """Probabilities of the classes that the source labels hold."""
    p = np.maximum(p[:, present], FLOOR)
    return np.asarray(p / p.sum(1, keepdims=True))


def _softmax(z: Array) -> Array:
    p = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def _checked(source: Array, labels: Array, target: Array) -> tuple[Array, Array, Array]:
    if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
        raise UsageError(
            f"probabilities of shapes {source.shape} and {target.shape}", "give one column a class on both sides"
        )
    if len(labels) != len(source):
        raise UsageError(f"{len(source)} source rows but {len(labels)} labels", "give one label a row")
    if len(labels) and int(np.max(labels)) >= source.shape[1]:
        raise UsageError(f"label {int(np.max(labels))} of {source.shape[1]} classes", "labels are columns")
    for side, p in (("source", source), ("target", target)):
        bad = ~(np.isfinite(p).all(1) & (p >= 0).all(1) & (np.abs(p.sum(1) - 1) < 1e-3))
        if bad.any():
            row = int(np.argmax(bad))
            raise CrossgraftError(
                f"{side} row {row} is no probability distribution", "give softmax outputs, not logits"
            )
    if len(target) == 0:
        raise CrossgraftError("the target has no example", "give unlabelled target examples")
    known = np.asarray(labels) >= 0
    return source[known].astype(np.float64), np.asarray(labels)[known].astype(np.int64), target.astype(np.float64)
