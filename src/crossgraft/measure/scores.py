"""Scores with intervals. Every interval is for 95 % and comes from the test examples alone, not from other seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError
from crossgraft.multilabel import MultiLabel
from crossgraft.seeds import rng
from crossgraft.tasks import Classify, Tag
from crossgraft.transcripts import Transcribe

LEVEL = 0.95
Z = 1.959963984540054  # the normal's 0.975 quantile
RESAMPLES = 1999
RESAMPLED = 5000  # examples above which the normal interval is as good


@dataclass(frozen=True)
class Score:
    """A value and its 95 % interval; the ends are NaN where there are too few examples to say."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, float]:
        """As the doors print it."""
        return asdict(self)


def wilson(hits: Float[np.ndarray, " n"]) -> Score:
    """The share of hits (0 or 1) with Wilson's interval (J. Am. Stat. Assoc. 22, 1927).

    >>> s = wilson(np.array([1.0] * 9 + [0.0]))
    >>> round(s.low, 3), s.value, round(s.high, 3)
    (0.596, 0.9, 0.982)
    """
    _checked(hits)
    n, p = len(hits), float(hits.mean())
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    # In rounded numbers an end that is p itself, at 0 and 1, may pass it by.
    return Score(p, float(np.clip(centre - half, 0.0, p)), float(np.clip(centre + half, p, 1.0)))


def mean_interval(losses: Float[np.ndarray, " n"], seed: int = 0) -> Score:
    """The mean of losses with the bootstrap-t interval (Efron and Tibshirani 1993, 12.5), which follows their skew.

    With more than 5,000 losses the normal interval, with fewer than 5 Student's; with one there is none (NaN).
    """
    _checked(losses)
    n, m = len(losses), float(losses.mean())
    if n == 1 or not np.isfinite(m):  # a label of probability 0 costs infinitely much
        return Score(m, float("nan"), float("nan"))
    se = float(losses.std(ddof=1)) / np.sqrt(n)
    if se == 0:
        return Score(m, m, m)
    if n > RESAMPLED:
        low, high = Z, -Z
    elif n < 5:
        from scipy.stats import t as student

        low, high = student.ppf((1 + LEVEL) / 2, n - 1), student.ppf((1 - LEVEL) / 2, n - 1)
    else:
        rows = rng(seed, "bootstrap").integers(0, n, (RESAMPLES, n), dtype=np.int32)
        drawn = losses[rows]
        ses = drawn.std(axis=1, ddof=1) / np.sqrt(n)
        t = (drawn.mean(axis=1) - m)[ses > 0] / ses[ses > 0]
        low, high = np.quantile(t, (1 + LEVEL) / 2), np.quantile(t, (1 - LEVEL) / 2)
    least = 0.0 if losses.min() >= 0 else -np.inf
    return Score(m, float(max(m - low * se, least)), float(m - high * se))


def scores(
    task: Classify, log_probabilities: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"], seed: int = 0
) -> dict[str, Score]:
    """Cross-entropy in nats and accuracy of labelled examples, with intervals. Raises on NaN and on no example."""
    if len(targets) != len(log_probabilities):
        raise CrossgraftError(f"{len(log_probabilities)} outputs but {len(targets)} labels", "give one label an output")
    losses = task.cross_entropy(log_probabilities, targets)
    return {"cross_entropy": mean_interval(losses, seed), "accuracy": wilson(task.hits(log_probabilities, targets))}


def measured(
    task: Classify,
    log_probabilities: Any,
    targets: Any,
    lengths: Int[np.ndarray, " S"] | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """`scores` as the doors print them, with n; of tags `entity_scores`, `lengths` being the words of each sentence; of
    transcripts `transcript_scores`, of `Frames` and the symbols in rows; of sets of classes
    `multilabel_scores`. `groups`: whose each example is."""
    if isinstance(task, Transcribe):
        from crossgraft.measure.transcripts import transcript_scores

        return transcript_scores(task, log_probabilities, targets, groups)
    if isinstance(task, MultiLabel):
        from crossgraft.measure.multilabel import multilabel_scores

        return multilabel_scores(task, log_probabilities, targets)
    if isinstance(task, Tag) and lengths is not None:
        from crossgraft.measure.entities import entity_scores

        return entity_scores(task, log_probabilities, targets, lengths)
    found = {"n": len(targets), **{k: s.json() for k, s in scores(task, log_probabilities, targets).items()}}
    return found if groups is None else found | _by_group(task, log_probabilities, targets, groups)


def _by_group(task: Classify, log_p: Any, targets: Any, groups: np.ndarray) -> dict[str, Any]:
    """`groups.grouped` of classified examples."""
    from crossgraft.measure.groups import grouped

    wrong, one = 1.0 - task.hits(log_p, targets), np.ones(len(targets))
    losses = task.cross_entropy(log_p, targets)
    found = grouped({"accuracy": np.stack([wrong, one], 1), "cross_entropy": np.stack([losses, one], 1)}, groups)
    for held in (found["over_groups"], *found["by_group"].values()) if found else ():
        s = held["accuracy"]  # so far of errors
        held["accuracy"] = {"value": 1 - s["value"], "low": 1 - s["high"], "high": 1 - s["low"]}
    return found


def confusion(log_probabilities: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"]) -> Int[np.ndarray, "K K"]:
    """Counts of examples: rows the label, columns the most probable class.

    >>> confusion(np.log(np.array([[0.9, 0.1], [0.8, 0.2]])), np.array([0, 1])).tolist()
    [[1, 0], [1, 0]]
    """
    counts = np.zeros((log_probabilities.shape[1],) * 2, dtype=np.int64)
    np.add.at(counts, (targets, log_probabilities.argmax(1)), 1)
    return counts


def _checked(values: Float[np.ndarray, " n"]) -> None:
    if values.ndim != 1:
        raise CrossgraftError(f"scores of shape {values.shape}", "give one number an example")
    if len(values) == 0:
        raise CrossgraftError("there is no labelled example to score", "give a labelled test part")
    if np.isnan(values).any():
        where = int(np.flatnonzero(np.isnan(values))[0])
        raise CrossgraftError(
            f"the score of example {where} is NaN", "see the training's warnings: the model is broken"
        )
