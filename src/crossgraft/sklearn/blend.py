"""The head of few labels: coupled heads at several lambdas and ridges, averaged by what left-out labels say of each.

Two heads, w of the source and w + apart v of the target, share what they can (Daume, ACL 2007, in cross-entropies):

    CE_target(w + apart v) + lam CE_source(w) + ridge/2 (|w|^2 + |v|^2)

is one convex problem in rows twice as wide. apart = 0 is the joint head; a large lam is a ridge towards the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from crossgraft.solve.convex import Head, Part, rows_of, solve, span
from crossgraft.solve.joint import PATH_ROWS, drawn
from crossgraft.solve.left_out import groups_of, without
from crossgraft.solve.threads import threads_for
from crossgraft.tasks import log_softmax

Rows = Float[np.ndarray, "n d"]
SHARES = (0.01, 0.1, 1.0)  # of the lambda at which every row of both domains weighs the same
RIDGES = (1e-2, 1e-3, 1e-4)  # times 1 + lambda, the weight of all rows
APART = (0.0, 1.0)
KEPT, FOLDS = 3, 10
SURE = 0.5  # share of the rows of each class that self-training believes in the end
ROUGH = 1e-4  # nats above the optimum that the rounds before the last may leave


@dataclass(frozen=True)
class Spot:
    """One of the averaged heads; `loss` is its mean cross-entropy of left-out labels, nats."""

    lam: float
    ridge: float
    apart: float
    loss: float
    weight: float


@dataclass(frozen=True, eq=False)
class Blend:
    """The average, its spots with the heaviest first, and the cross-entropy of each left-out label under it, nats."""

    head: Head
    spots: tuple[Spot, ...]
    losses: Float[np.ndarray, " n"]
    target_only: Float[np.ndarray, " n"]  # the same of heads without the source, averaged over ridges in the same way
    again: Callable[[Part], Head]  # the average where the target has these labelled rows beside its own


def coupled(part: Part, apart: float, target: bool) -> Part:
    """Rows (x, apart x) of the target and (x, 0) of the source.

    >>> coupled(Part(np.array([[2.0]]), np.array([0]), np.arange(1)), 0.5, True).x.tolist()
    [[2.0, 1.0]]
    """
    if not apart:
        return part
    return replace(part, x=np.concatenate([part.x, apart * part.x if target else np.zeros_like(part.x)], axis=1))


def blend(target: Part, source: Part, n_columns: int, seed: int, *, ridge: float | None = None) -> Blend:
    """Average the logits of coupled heads: weights e^(-sum of left-out losses) times a prior, the three heaviest.

    The prior is lam sqrt(ridge): pooled rows and strong ridges unless labels say otherwise, since ten labels say
    little. Its powers were chosen on draws of seeds 100 and 101. The cross-entropy of averaged logits is at most the
    average of the heads'. Labels are left out in ten groups, each class spread over them; the weights that judge a row
    do not know its loss. `ridge` holds the ridge. Rows have mean squared norm 1 (`path.scaling`).

    >>> x = np.array([[-1.0], [-0.8], [0.9], [1.0]])
    >>> y = np.array([0, 0, 1, 1])
    >>> found = blend(Part(x, y, np.arange(2)), Part(x + 0.1, y, np.arange(2)), 2, 0)
    >>> (x @ found.head.weight + found.head.bias).argmax(1).tolist(), len(found.spots)
    ([0, 0, 1, 1], 3)
    """
    n, few = len(target.y), drawn(source, PATH_ROWS, seed)
    tried: list[tuple[float, float, float, float]] = []
    logits: list[Rows] = []
    groups = groups_of(target.x, target.y, seed, FOLDS, FOLDS) if len(np.unique(target.x, axis=0)) > 1 else None
    label = np.searchsorted(target.columns, target.y)
    for apart in APART:
        for lam in (share * len(source.y) / n for share in SHARES):
            ridges = [r * (1 + lam) for r in RIDGES] if ridge is None else [ridge]
            tried += [(lam, r, apart, np.log(lam) + 0.5 * np.log(r / (1 + lam))) for r in ridges]
            if groups is not None:
                logits += _left_out(target, replace(few, weight=lam), apart, ridges, n_columns, groups)
    prior = np.array([p for *_, p in tried])
    alone = own = np.full(n, np.nan)
    losses = np.zeros((len(tried), n))
    if groups is not None:
        alone, losses = _averaged(logits, label, prior)
        ridges = [*RIDGES, 1e-5] if ridge is None else [ridge]
        own, _ = _averaged(_left_out(target, None, 0.0, ridges, n_columns, groups), label, np.zeros(len(ridges)))
    weight = _normal(prior - losses.sum(1))
    heaviest = np.argsort(-weight, kind="stable")[:KEPT]
    weight = weight / weight[heaviest].sum()
    spots = tuple(
        Spot(lam, r, apart, float(losses[i].mean()), float(weight[i]))
        for i, (lam, r, apart, _) in ((i, tried[i]) for i in heaviest)
    )
    heads: list[Head | None] = [None] * len(spots)

    def again(more: Part | None = None) -> Head:
        total = np.zeros((target.x.shape[1] + 1, n_columns))
        for i, s in enumerate(spots):
            parts = [coupled(p, s.apart, True) for p in (target, more) if p is not None]
            parts.append(replace(coupled(source, s.apart, False), weight=s.lam))
            tolerance = 1e-6 if more is None else ROUGH
            heads[i] = found = solve(parts, n_columns, ridge=s.ridge, start=heads[i], tolerance=tolerance)
            d = target.x.shape[1]
            w = found.weight[:d] + (s.apart * found.weight[d:] if s.apart else 0)
            total += s.weight * np.vstack([w, found.bias])
        return Head(total[:-1], total[-1])

    return Blend(again(), spots, alone, own, again)


def probe(target: Part, source: Part, n_columns: int, seed: int) -> Float[np.ndarray, " n"]:
    """Left-out losses at one lambda and apart, at the ridge of their least mean, nats: they judge an alignment."""
    if len(np.unique(target.x, axis=0)) < 2:
        return np.zeros(len(target.y))
    few, lam = drawn(source, PATH_ROWS, seed), SHARES[1] * len(source.y) / len(target.y)
    groups, ridges = groups_of(target.x, target.y, seed, FOLDS, FOLDS), [r * (1 + lam) for r in RIDGES]
    logits = _left_out(target, replace(few, weight=lam), APART[1], ridges, n_columns, groups)
    label = np.searchsorted(target.columns, target.y)
    losses = np.stack([-log_softmax(z)[np.arange(len(label)), label] for z in logits])
    return np.asarray(losses[losses.mean(1).argmin()])


def self_trained(
    head: Head, z: Rows, columns: Int[np.ndarray, " k"], rounds: int, again: Callable[[Part], Head]
) -> Head:
    """Rounds with the head's own labels of rows z: the most confident of every class, a share that grows to a half.

    Class-balanced self-training (Zou et al., ECCV 2018); every round is a convex problem, solved by `again`.
    """
    for i in range(rounds if len(z) else 0):
        p = np.exp(log_softmax((z @ head.weight + head.bias)[:, columns]))
        labels, sure = p.argmax(1), p.max(1)
        share, taken = SURE * (i + 1) / rounds, np.zeros(len(z), dtype=bool)
        for c in np.unique(labels):
            at = np.flatnonzero(labels == c)
            taken[at[np.argsort(-sure[at], kind="stable")[: max(1, round(share * len(at)))]]] = True
        head = again(Part(z[taken], columns[labels[taken]], columns))
    return head


def _averaged(
    logits: Sequence[Rows], label: Int[np.ndarray, " n"], prior: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "p n"]]:
    """Losses of the average, whose weights do not know the row that they judge, and of each head, nats."""
    log_p, at = np.stack([log_softmax(z) for z in logits]), np.arange(len(label))
    losses = -log_p[:, at, label]
    known = prior[:, None] - losses.sum(1, keepdims=True) + losses
    weight = np.stack([_normal(w) for w in known.T], axis=1)
    return -log_softmax((weight[:, :, None] * log_p).sum(0))[at, label], losses


def _left_out(
    target: Part,
    source: Part | None,
    apart: float,
    ridges: Sequence[float],
    n_columns: int,
    groups: Int[np.ndarray, " n"],
) -> list[Float[np.ndarray, "n k"]]:
    """Logits of every target row by a head that was solved without its group, at each ridge."""
    parts = [coupled(target, apart, True), *([] if source is None else [coupled(source, apart, False)])]
    rows = [rows_of(p, None, np.float32) for p in parts]
    if sum(len(r.x) for r in rows) < 0.9 * rows[0].x.shape[1]:
        _, rows = span(rows)
    v, found = np.zeros((1, n_columns, rows[0].x.shape[1]), dtype=np.float32), []
    with threads_for(FOLDS * sum(float(r.x.size) for r in rows) * n_columns):
        for ridge in ridges:
            z, v = without(rows, n_columns, ridge, groups, v)
            found.append(z)
    return found


def _normal(log_weight: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    w = np.exp(log_weight - log_weight.max())
    return np.asarray(w / w.sum())
