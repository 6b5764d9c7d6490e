"""Examples of no class that the model knows: their score, the threshold above which they are called so, and how well.

The score is the energy -log sum_k exp z_k (Liu et al., NeurIPS 2020): logits fall where nothing is recognised, and a
softmax, which adds to 1 over the classes that there are, hides it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.scores import Score, Z, scores, wilson
from crossgraft.tasks import MISSING, Classify, log_softmax

UNKNOWN = "unknown"
REJECTED = 0.05  # share of known examples that a threshold may call unknown


def energy(logits: Float[np.ndarray, "N k"]) -> Float[np.ndarray, " N"]:
    """-log sum_k exp z_k, nats; the higher, the less of any class.

    >>> energy(np.array([[0.0, 0.0], [9.0, 0.0]])).round(2).tolist()
    [-0.69, -9.0]
    """
    most = logits.max(1)
    values: np.ndarray = -most - np.log(np.exp(logits - most[:, None]).sum(1))
    return values


def threshold(held_out: Float[np.ndarray, " n"], most: float = REJECTED) -> tuple[float, float]:
    """The score above which an example is called unknown, and the share of known examples that this costs on average.

    The ceil((n + 1)(1 - most))-th smallest of n scores of known examples that were not learned from: one more example
    like them is above it with probability at most `most` (Vovk et al. 2005). With fewer than 1/most - 1 of them it is
    the largest, at a cost of 1 / (n + 1).

    >>> threshold(np.arange(99.0)), threshold(np.arange(4.0))
    ((94.0, 0.05), (3.0, 0.2))
    """
    n = len(held_out)
    if n == 0:
        raise CrossgraftError("no known example was held out", "label a few examples of the target")
    rank = min(math.ceil((n + 1) * (1 - most)), n)
    return float(np.sort(held_out)[rank - 1]), (n + 1 - rank) / (n + 1)


def stored_threshold(unknown: dict[str, Any] | None, task: Classify, tent: bool = False) -> float:
    """The threshold that a run keeps. Raises UsageError where it keeps none, or where a class has the name already."""
    if unknown is None:
        why = "it is of one class an example" if task.kind != "classify" else "nothing was held out for it"
        raise UsageError(f"the model has no threshold for unknown examples: {why}", "leave out --unknown")
    if UNKNOWN in task.classes:
        raise UsageError(f"a class of the model is called {UNKNOWN!r} itself", "leave out --unknown")
    if tent:
        raise UsageError("tent moves the scores that the threshold for unknown examples is of", "leave one out")
    return float(unknown["threshold"])


def auroc(known: Float[np.ndarray, " n"], unknown: Float[np.ndarray, " m"]) -> Score:
    """P(an unknown example scores above a known one), ties half, with DeLong's interval (Biometrics 44, 1988) on the
    scale of log odds; there is none (NaN) where every pair is in order.

    >>> round(auroc(np.array([0.1, 0.2, 0.3]), np.array([0.25, 0.9])).value, 3)
    0.833
    """
    low, same = np.sort(known), np.sort(unknown)
    above = (np.searchsorted(low, unknown, "left") + np.searchsorted(low, unknown, "right")) / (2 * len(known))
    below = 1 - (np.searchsorted(same, known, "left") + np.searchsorted(same, known, "right")) / (2 * len(unknown))
    value = float(above.mean())
    if min(len(known), len(unknown)) < 2 or not 0 < value < 1:
        return Score(value, float("nan"), float("nan"))
    se = math.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    centre, half = math.log(value / (1 - value)), Z * se / (value * (1 - value))
    return Score(value, *(1 / (1 + math.exp(-end)) for end in (centre - half, centre + half)))


def h_score(rejected: Bool[np.ndarray, " n"], hits: Bool[np.ndarray, " n"], targets: Int[np.ndarray, " n"]) -> Score:
    """2 a u / (a + u), a the mean over known classes of the share that is named right and not rejected, u the share of
    unknown examples that is (Fu et al., ECCV 2020; HOS of Bucci, Loghmani, Tommasi, ECCV 2020).

    rejected  called unknown
    hits      the most probable class is the label
    targets   -1 where the label is no class of the model

    The interval puts Wilson's of the shares together (MOVER: Zou and Donner 2008).

    >>> found = h_score(np.array([False, False, True]), np.array([True, False, False]), np.array([0, 0, -1]))
    >>> round(found.value, 3)
    0.667
    """
    shares = [wilson((hits & ~rejected)[targets == c].astype(float)) for c in np.unique(targets[targets >= 0])]
    u = wilson(rejected[targets == MISSING].astype(float))
    a = float(np.mean([s.value for s in shares]))
    low, high = (float(np.hypot.reduce([end(s) for s in shares])) / len(shares) for end in (_below, _above))

    def of(a: float, u: float) -> float:
        return 2 * a * u / (a + u) if a + u > 0 else 0.0

    value = of(a, u.value)
    least = value - math.hypot(value - of(max(a - low, 0.0), u.value), value - of(a, u.low))
    most = value + math.hypot(of(min(a + high, 1.0), u.value) - value, of(a, u.high) - value)
    return Score(value, max(least, 0.0), min(most, 1.0))


def open_scores(
    task: Classify, logits: Float[np.ndarray, "n K"], targets: Int[np.ndarray, " n"], above: float
) -> dict[str, Any]:
    """What the doors print of a domain that may hold unknown classes, each score with its interval.

    targets  -1 where the label is no class of the model
    above    the threshold

    `cross_entropy` and `accuracy` are of the known examples, nothing rejected; `accuracy_known` of the same with a
    rejected one wrong; `rejected_unknown` the share of the unknown ones that is called so; `auroc` and `h_score` need
    both. What there is no example for is None.
    """
    known, score = targets != MISSING, energy(logits)
    rejected, hits = score > above, logits.argmax(1) == targets
    n = {"n": len(targets), "n_known": int(known.sum()), "n_unknown": int((~known).sum())}
    found: dict[str, Score | None] = dict.fromkeys(
        ("cross_entropy", "accuracy", "accuracy_known", "rejected_unknown", "auroc", "h_score")
    )
    if known.any():
        found |= scores(task, log_softmax(logits[known]), targets[known])
        found["accuracy_known"] = wilson((hits & ~rejected)[known].astype(float))
    if not known.all():
        found["rejected_unknown"] = wilson(rejected[~known].astype(float))
    if known.any() and not known.all():
        found["auroc"], found["h_score"] = auroc(score[known], score[~known]), h_score(rejected, hits, targets)
    return n | {"threshold": above} | {k: None if s is None else s.json() for k, s in found.items()}


def _below(share: Score) -> float:
    return share.value - share.low


def _above(share: Score) -> float:
    return share.high - share.value
