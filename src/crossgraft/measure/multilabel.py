"""Scores of sets of classes: F1 over all decisions and of the classes, average precision, whole sets, single decisions.

Intervals are of the bootstrap over examples, whose classes are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import CrossgraftError
from crossgraft.measure.entities import TRUE, intervals, ratios
from crossgraft.measure.scores import LEVEL, RESAMPLED, RESAMPLES, Score, mean_interval, wilson
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.seeds import rng

FEWER = 199  # resamples above so many examples as a normal interval would do for
CELLS = 2e7  # weights that are in memory at once
SCORES = ("micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "hamming_loss")


def counts_of(said: Bernoullis, sets: Int[np.ndarray, "N K"]) -> Int[np.ndarray, "N K 3"]:
    """Of each example and class whether it was found, predicted and true; predicted where p is above a half.

    >>> counts_of(Bernoullis(np.array([[1.0, -1.0]])), np.array([[1, 1]])).tolist()
    [[[1, 1, 1], [0, 0, 1]]]
    """
    predicted, true = said.z > 0, sets == 1
    return np.stack([predicted & true, predicted, true], axis=-1).astype(np.int64)


def average_precision(
    z: Float[np.ndarray, " N"], true: Bool[np.ndarray, " N"], weights: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, " R"]:
    """Mean over positives of the precision among all that score at least as high; NaN without a positive.

    weights  of the examples, in each of R resamples

    >>> z, true = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
    >>> average_precision(z, true, np.ones((1, 3))).round(4).tolist()
    [0.8333]
    """
    order = np.argsort(-z, kind="stable")
    last = np.searchsorted(-z[order], -z[order], side="right") - 1  # equal scores are one threshold
    w = weights[:, order]
    hits = w * true[order]
    above, right = np.cumsum(w, axis=1)[:, last], np.cumsum(hits, axis=1)[:, last]
    precision = np.divide(right, above, out=np.zeros_like(above), where=above > 0)
    total = hits.sum(axis=1)
    found: np.ndarray = np.divide((hits * precision).sum(axis=1), total, out=np.full(len(w), np.nan), where=total > 0)
    return found


def multilabel_scores(
    task: MultiLabel, said: Bernoullis, sets: Int[np.ndarray, "N K"], seed: int = 0
) -> dict[str, Any]:
    """Scores of labelled examples with intervals, as the doors print them.

    cross_entropy           nats an example, the sum over its classes
    micro_f1, macro_f1      of all decisions, at p above a half; the mean over classes that are held or predicted
    mean_average_precision  the mean over classes that some example has
    subset_accuracy         share of examples with every class right; hamming_loss: share of decisions that are wrong
    by_class                F1, precision, recall, average precision, cross-entropy, and n, how many have it

    Raises CrossgraftError on NaN and on no example.
    """
    if len(sets) != len(said):
        raise CrossgraftError(f"{len(said)} outputs but {len(sets)} labels", "give one label an example")
    losses = mean_interval(said.losses(sets), seed)  # raises where there is nothing to score
    counts, true = counts_of(said, sets), sets == 1
    weights = lambda: _resamples(len(sets), seed)  # noqa: E731
    wrong = (said.z > 0) != true

    def precisions(w: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R K"]:
        return np.stack([average_precision(said.z[:, k], true[:, k], w) for k in range(true.shape[1])], axis=1)

    found = {
        "micro_f1": _interval(weights, lambda w: micro_f1(_totals(counts, w)), len(sets)),
        "macro_f1": _interval(weights, lambda w: macro_f1(_totals(counts, w)), len(sets)),
        "mean_average_precision": _interval(weights, lambda w: _mean(precisions(w)), len(sets)),
        "subset_accuracy": wilson((~wrong.any(axis=1)).astype(float)),
        "hamming_loss": mean_interval(wrong.mean(axis=1), seed),
    }
    single = precisions(np.ones((1, len(sets))))[0]
    table = {name: score.json() for name, score in found.items()} | {"cross_entropy": losses.json()}
    by_class = {}
    for k, name in enumerate(task.classes):
        own = {m: s.json() for m, s in intervals(counts[:, k], seed).items()}
        own["cross_entropy"] = mean_interval(said.class_losses(sets)[:, k], seed).json()
        by_class[name] = own | {
            "average_precision": None if np.isnan(single[k]) else float(single[k]),
            "n": int(counts[:, k, TRUE].sum()),
        }
    return {"n": len(sets), **table, "by_class": by_class}


def micro_f1(totals: Float[np.ndarray, "*B K 3"]) -> Float[np.ndarray, " *B"]:
    """F1 of the decisions about all classes together."""
    return np.asarray(ratios(totals.sum(axis=-2))[..., 2])


def macro_f1(totals: Float[np.ndarray, "*B K 3"]) -> Float[np.ndarray, " *B"]:
    """The mean F1 of the classes that some example has or is said to have; 0 where there is none."""
    return np.asarray(np.nan_to_num(_mean(np.where(totals[..., 1:].any(axis=-1), ratios(totals)[..., 2], np.nan))))


def _totals(counts: Int[np.ndarray, "N K 3"], w: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R K 3"]:
    flat = counts.reshape(len(counts), -1).astype(float)
    return np.asarray(w @ flat).reshape(len(w), *counts.shape[1:])


def _mean(values: Float[np.ndarray, "*B K"]) -> Float[np.ndarray, " *B"]:
    """The mean of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    sums = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0))


def _resamples(n: int, seed: int) -> Iterator[Float[np.ndarray, "R N"]]:
    """How often each example is drawn, a row a resample, in batches."""
    draw, left = rng(seed, "bootstrap"), RESAMPLES if n <= RESAMPLED else FEWER
    step = max(int(CELLS // max(n, 1)), 1)
    while left:
        some = min(step, left)
        yield draw.multinomial(n, np.full(n, 1 / n), size=some).astype(float)
        left -= some


def _interval(
    weights: Callable[[], Iterator[np.ndarray]], score: Callable[[np.ndarray], Float[np.ndarray, " R"]], n: int
) -> Score:
    """A score of all examples with the percentile interval of the bootstrap; NaN with one example."""
    value = float(score(np.ones((1, n)))[0])
    if n < 2 or np.isnan(value):
        return Score(value, float("nan"), float("nan"))
    drawn = np.concatenate([score(w) for w in weights()])
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value, float(low), float(high))
