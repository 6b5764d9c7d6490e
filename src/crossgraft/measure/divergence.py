"""How far apart two domains are: a lower bound on their Jensen-Shannon divergence, in nats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.domain_classifier import FeatureMap, cross_fitted, permutation_p, stratified
from crossgraft.measure.scores import Score, mean_interval, wilson
from crossgraft.seeds import rng

Array = np.ndarray[Any, Any]
LN2 = float(np.log(2))
MOST = 4000  # rows a domain that the classifier is trained on
VALUES = 10  # copies of each row on the mean from which rows are values of a discrete feature, not copies
CHUNK = 8192


@dataclass(frozen=True)
class Gap:
    """What a cross-fitted domain classifier tells of two domains.

    jsd                lower bound ln 2 - CE_D on the divergence, nats; the interval is the bound's: the divergence may
                       lie above its high end, where a better classifier would find more
    share_of_ln2       the same as a share of the largest possible
    p_value            of no difference, by permutation
    proxy_a_distance   2 (1 - 2 err), err the held-out error, with its interval; in [-2, 2]
    source_likeness    probability that each source row, and target_likeness that each target row, is from the source
    notes              what was left out or cannot be said, in sentences
    """

    jsd: Score
    share_of_ln2: float
    p_value: float
    proxy_a_distance: Score
    n_source: int
    n_target: int
    source_likeness: Float[np.ndarray, " S"]
    target_likeness: Float[np.ndarray, " T"]
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As the doors print it: all but the likeness of each example."""
        return {
            "jsd": self.jsd.json(),
            "share_of_ln2": self.share_of_ln2,
            "p_value": self.p_value,
            "proxy_a_distance": self.proxy_a_distance.json(),
            "n_source": self.n_source,
            "n_target": self.n_target,
            "notes": list(self.notes),
        }


def gap(
    source_features: Float[np.ndarray, "S D"],
    target_features: Float[np.ndarray, "T D"],
    *,
    folds: int = 5,
    permutations: int = 999,
    seed: int = 0,
    most: int = MOST,
) -> Gap:
    """JSD(S, T) >= ln 2 - CE_D, CE_D the held-out loss of a balanced domain classifier (Goodfellow et al. 2014).

    The classifier is a ridge logistic regression, linear and, in the leading directions, quadratic; its ridge is chosen
    inside the training folds. Equality holds for the best classifier: what a better one could tell apart is not
    counted. A row that repeats within a domain counts once, and a row of both domains is held out on both sides
    together, unless rows repeat so often that they are values of discrete features. At most `most` rows a domain are
    used for training.

    Raises where a domain has fewer than two different rows, on values that are not finite, and on unequal widths.

    >>> draw = np.random.default_rng(0)
    >>> found = gap(draw.normal(0, 1, (200, 1)), draw.normal(2, 1, (200, 1)), permutations=99)
    >>> found.jsd.low < 0.3368 < found.jsd.high, found.p_value  # the divergence of N(0,1) and N(2,1) is 0.3368
    (True, 0.01)
    """
    source, target = _checked(source_features, "source"), _checked(target_features, "target")
    if source.shape[1] != target.shape[1]:
        raise UsageError(
            f"{source.shape[1]} source features but {target.shape[1]} target features",
            "compare features of one backbone",
        )
    if folds < 2 or permutations < 1:
        raise UsageError(f"{folds} folds and {permutations} permutations", "take at least 2 folds and 1 permutation")
    notes: list[str] = []
    used = [_some(x, most, side, seed, notes) for x, side in ((source, "source"), (target, "target"))]
    rows, y, partner, place = _units(source[used[0]], target[used[1]], notes)
    n = [int((y == 1).sum()), int((y == 0).sum())]
    for count, side in zip(n, ("source", "target"), strict=True):
        if count < 2:
            raise CrossgraftError(
                f"the {side} has {count} different row, and none can be held out", "give more examples"
            )
    seen = FeatureMap.of(rows)
    x = seen(rows)
    x = x[:, x.any(0)]
    fold = stratified(y, partner, min(folds, *n), rng(seed, "gap folds"))
    if x.shape[1] == 0:
        notes.append("Every feature is constant and the same in both domains.")
    logits, betas = cross_fitted(x, y, fold)
    p = permutation_p(x, y, fold, partner < 0, permutations, rng(seed, "gap permutations")) if x.shape[1] else 1.0
    jsd, distance = _bound(logits, y, seed), _distance(logits, y)
    if min(n) < 5:
        notes.append(f"With {min(n)} rows on one side the interval rests on an assumption of normal losses.")
    likeness = [
        _likeness(part, at, logits[place[side]], seen, betas)
        for side, (part, at) in enumerate(zip((source, target), used, strict=True))
    ]
    return Gap(jsd, jsd.value / LN2, p, distance, n[0], n[1], likeness[0], likeness[1], tuple(notes))


def conditional_gap(
    source_features: Float[np.ndarray, "S D"],
    source_labels: Int[np.ndarray, " S"],
    target_features: Float[np.ndarray, "T D"],
    target_labels: Int[np.ndarray, " T"],
    *,
    folds: int = 5,
    permutations: int = 999,
    seed: int = 0,
) -> dict[int, Gap | str]:
    """The gap of each class that either domain has labels of, or the sentence that says why there is none.

    A gap of the domains that no class has is a shift of labels. Labels below zero are missing.
    """
    found: dict[int, Gap | str] = {}
    for c in np.union1d(source_labels[source_labels >= 0], target_labels[target_labels >= 0]).tolist():
        s, t = source_features[source_labels == c], target_features[target_labels == c]
        if len(s) == 0 or len(t) == 0:
            found[c] = f"the {'source' if len(s) == 0 else 'target'} has no example of this class"
            continue
        try:
            found[c] = gap(s, t, folds=folds, permutations=permutations, seed=seed)
        except UsageError:
            raise
        except CrossgraftError as reason:
            found[c] = reason.what
    return found


def _checked(features: Float[np.ndarray, "n D"], side: str) -> Array:
    x = np.asarray(features)
    if x.ndim != 2:
        raise UsageError(f"{side} features of shape {x.shape}", "give one row of features an example")
    if len(x) == 0:
        raise CrossgraftError(f"the {side} has no example", "give at least two")
    fine = np.concatenate([np.isfinite(x[i : i + CHUNK]).all(1) for i in range(0, len(x), CHUNK)])
    if not fine.all():
        raise CrossgraftError(
            f"{side} row {int(np.argmin(fine))} has values that are NaN or infinite", "leave the row out"
        )
    return x


def _some(x: Array, most: int, side: str, seed: int, notes: list[str]) -> Int[np.ndarray, " m"]:
    if len(x) <= most:
        return np.arange(len(x))
    notes.append(f"Of {len(x)} {side} rows {most} were drawn for the measure.")
    return np.sort(rng(seed, f"gap {side} rows").choice(len(x), most, replace=False))


def _units(source: Array, target: Array, notes: list[str]) -> tuple[Array, Array, Array, list[Array]]:
    """Rows that count, their side (1 source), their equal on the other side or -1, and where each given row went."""
    both = np.concatenate([source, target]).astype(np.float64)
    side = np.repeat([1.0, 0.0], [len(source), len(target)])
    content = np.unique(both, axis=0, return_inverse=True)[1].ravel()
    values = int(content.max()) + 1
    if values * VALUES <= len(both):
        place = np.arange(len(both))
        return both, side, np.full(len(both), -1), [place[: len(source)], place[len(source) :]]
    key = content * 2 + side.astype(np.int64)
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    if len(first) < len(both):
        notes.append(f"{len(both) - len(first)} rows repeat others of their domain and counted once.")
    at = {int(content[i]): u for u, i in enumerate(first) if side[i] == 0}
    partner = np.full(len(first), -1)
    for u, i in enumerate(first):
        if side[i] == 1 and (other := at.get(int(content[i]))) is not None:
            partner[u], partner[other] = other, u
    if shared := int((partner >= 0).sum()) // 2:
        notes.append(f"{shared} rows are in both domains and were held out on both sides together.")
    return both[first], side[first], partner, [place[: len(source)], place[len(source) :]]


def _bound(logits: Array, y: Array, seed: int) -> Score:
    """Mean over both sides of ln 2 minus the loss; the sides' intervals are added in squares (Newcombe 1998)."""
    loss = np.logaddexp(0, np.where(y == 1, -logits, logits))
    gain = np.logaddexp(0, 0.0) - loss  # exactly zero where the classifier says nothing
    s, t = mean_interval(gain[y == 1], seed), mean_interval(gain[y == 0], seed + 1)
    value = (s.value + t.value) / 2
    low = value - np.hypot(s.value - s.low, t.value - t.low) / 2
    high = value + np.hypot(s.high - s.value, t.high - t.value) / 2
    # a divergence lies in [0, ln 2], and so does the best bound on it
    return Score(*(float(np.clip(end, 0.0, LN2)) for end in (value, low, high)))


def _distance(logits: Array, y: Array) -> Score:
    right = np.where(logits == 0, 0.5, (logits > 0) == (y == 1))  # a classifier that cannot say is right half the time
    s, t = wilson(right[y == 1]), wilson(right[y == 0])
    hit = (s.value + t.value) / 2
    low, high = (
        hit - np.hypot(s.value - s.low, t.value - t.low) / 2,
        hit + np.hypot(s.high - s.value, t.high - t.value) / 2,
    )
    return Score(*(float(2 * (1 - 2 * (1 - end))) for end in (hit, max(low, 0.0), min(high, 1.0))))


def _likeness(x: Array, used: Array, logits: Array, seen: FeatureMap, betas: Array) -> Float[np.ndarray, " n"]:
    """P(source) of every row: cross-fitted where the row was used, the mean of the classifiers where it was not."""
    out = np.empty(len(x))
    rest = np.setdiff1d(np.arange(len(x)), used, assume_unique=True)
    kept = np.flatnonzero(seen.unit)
    for i in range(0, len(rest), CHUNK):
        some = rest[i : i + CHUNK]
        z = seen(x[some])[:, kept] @ betas[:, :-1].T + betas[:, -1]
        out[some] = 0.5 * (1 + np.tanh(0.5 * z)).mean(1)
    out[used] = 0.5 * (1 + np.tanh(0.5 * logits))
    return out
