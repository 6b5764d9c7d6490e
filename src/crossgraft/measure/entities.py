"""Named entities: precision, recall and F1 of whole spans, over all types and by type, with intervals over sentences.

A span counts where its first word, its last word and its type are right (conlleval; seqeval's default).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.chains import Chain, marginals
from crossgraft.measure.scores import LEVEL, Score, mean_interval
from crossgraft.seeds import rng
from crossgraft.tasks import Tag, spans

RESAMPLES = 999
BATCH = 2_000_000  # numbers that are drawn at once
FOUND, PREDICTED, TRUE = 0, 1, 2


def span_counts(
    truth: Sequence[str], predicted: Sequence[str], lengths: Int[np.ndarray, " S"], types: Sequence[str]
) -> Int[np.ndarray, "S T 3"]:
    """Spans of each sentence and type that are found (in both), predicted, and true.

    >>> span_counts(["B-x", "I-x", "O"], ["B-x", "I-x", "B-x"], np.array([3]), ["x"]).tolist()
    [[[1, 2, 1]]]
    """
    place = {t: i for i, t in enumerate(types)}
    counts = np.zeros((len(lengths), len(types), 3), dtype=np.int64)
    ends = np.cumsum(lengths).tolist()
    for i, end in enumerate(ends):
        start = end - int(lengths[i])
        true, own = set(spans(truth[start:end])), set(spans(predicted[start:end]))
        for kind, which in ((FOUND, true & own), (PREDICTED, own), (TRUE, true)):
            for *_, t in which:
                counts[i, place[t], kind] += 1
    return counts


def span_probabilities(
    task: Tag, log_probabilities: Float[np.ndarray, "L K"] | Chain, found: Sequence[tuple[int, int, str]]
) -> list[float]:
    """The probability of each span of a sentence: of its tags, and of no I- behind it; of a CRF of these tags in a row,
    whatever stands around them."""
    chain = log_probabilities if isinstance(log_probabilities, Chain) else None
    p = np.exp(marginals(log_probabilities))
    column = {c: k for k, c in enumerate(task.classes)}
    out = []
    for start, end, t in found:
        before, inside = column[f"B-{t}"], column.get(f"I-{t}")
        value = p[start, before]
        for i in range(start + 1, min(end + 1, len(p))):
            if inside is None:
                break
            goes_on = p[i, inside] if chain is None else np.exp(chain.after(i, before)[inside])
            value *= goes_on if i < end else 1 - goes_on
            before = inside
        out.append(float(value))
    return out


def ratios(counts: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Precision, recall and F1 = 2 found / (predicted + true); 0 where nothing was to be found or predicted."""
    found, predicted, true = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    below = (predicted, true, (predicted + true) / 2)
    return np.stack([np.divide(found, b, out=np.zeros_like(found), where=b > 0) for b in below], -1)


def resampled(counts: Int[np.ndarray, "S ..."], seed: int) -> Float[np.ndarray, "R ..."]:
    """Totals of counts over the S sentences drawn with replacement, R times."""
    n, flat = len(counts), counts.reshape(len(counts), -1).astype(float)
    draw, step = rng(seed, "bootstrap"), max(BATCH // max(n, 1), 1)
    parts = []
    for start in range(0, RESAMPLES, step):
        weights = draw.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start))
        parts.append(weights @ flat)
    return np.concatenate(parts).reshape(-1, *counts.shape[1:])


def intervals(counts: Int[np.ndarray, "S 3"], seed: int = 0) -> dict[str, Score]:
    """Precision, recall and F1 of all sentences, with percentile intervals of the bootstrap; NaN with one sentence."""
    value = ratios(counts.sum(0))
    drawn = ratios(resampled(counts, seed))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    if len(counts) < 2:
        low = high = np.full(3, np.nan)
    return {
        name: Score(float(value[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(("precision", "recall", "f1"))
    }


def f1(counts: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, " *B"]:
    """F1 alone of `ratios`."""
    return ratios(counts)[..., 2]


def difference(
    ours: Int[np.ndarray, "S c"],
    theirs: Int[np.ndarray, "S c"],
    seed: int = 0,
    score: Callable[[Float[np.ndarray, "*B c"]], Float[np.ndarray, " *B"]] = f1,
) -> dict[str, float]:
    """A score of one model less that of another on the same sentences, drawn together; p two-sided of no
    difference."""
    both = np.stack([ours, theirs], 1)
    d, drawn = score(both.sum(0)), score(resampled(both, seed))
    delta = drawn[:, 0] - drawn[:, 1]
    low, high = np.quantile(delta, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = min(float((delta <= 0).mean()), float((delta >= 0).mean()))
    p = min(2 * (tail * RESAMPLES + 1) / (RESAMPLES + 1), 1.0)
    return {"value": float(d[0] - d[1]), "low": float(low), "high": float(high), "p_value": p}


def entity_scores(
    task: Tag,
    log_probabilities: Float[np.ndarray, "W K"] | Chain,
    targets: Int[np.ndarray, " W"],
    lengths: Int[np.ndarray, " S"],
    seed: int = 0,
) -> dict[str, Any]:
    """F1, precision and recall of spans and the cross-entropy of a word's tag in nats, with intervals over sentences.

    Tags are decoded by `Tag.decode`; the cross-entropy is a mean over words. `by_type` has the same of each type, with
    `n`, its true spans.
    """
    truth = [task.classes[k] for k in targets]
    counts = span_counts(truth, task.decode(log_probabilities, lengths), lengths, task.types)
    losses = task.cross_entropy(log_probabilities, targets)
    starts = np.cumsum(lengths) - lengths
    sums = np.add.reduceat(losses, starts) * (len(lengths) / len(losses))
    found = intervals(counts.sum(1), seed)
    by_type = {
        t: {name: s.json() for name, s in intervals(counts[:, i], seed).items()} | {"n": int(counts[:, i, TRUE].sum())}
        for i, t in enumerate(task.types)
    }
    table = {name: found[name].json() for name in ("f1", "precision", "recall")}
    return {
        "n": len(lengths), "words": len(losses), **table, "cross_entropy": mean_interval(sums, seed).json(),
        "by_type": by_type,
    }  # fmt: skip
