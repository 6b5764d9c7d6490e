"""Which examples are test data, and which are known, where a label is a set of classes."""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Int

from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError
from crossgraft.folds import spread
from crossgraft.tasks import natural_order

NONE = ""  # stands for the empty set, which is a label as well


def kinds(labels: np.ndarray) -> list[set[str]]:
    """The classes of each label, the empty set as one of its own."""
    return [set(y) or {NONE} for y in labels]


def sets_agree(domain: Domain, *sources: Domain) -> None:
    """Raises CrossgraftError where there is nothing to tell apart: one class or none, or one that all labelled examples
    have, those of the sources too."""
    labels = [y for y in domain.labels if y is not None]
    classes = {c for d in (domain, *sources) for c in d.classes}
    if len(classes) < 2:
        what = (
            f"{domain.name} has one class only ({next(iter(classes))!r})" if classes else f"{domain.name} has no class"
        )
        raise CrossgraftError(what, "give labels of two classes or more, or --task classify with one of them for no")
    everywhere = [c for c in domain.classes if all(c in y for y in labels)]
    for c in everywhere:
        if all(y is None or c in y for d in sources for y in d.labels):
            what = f"{domain.name}: all {len(labels)} labelled examples have class {c!r} (first: {domain.names[0]})"
            raise CrossgraftError(what, "leave the class out, or label examples without it")


def drawn_test(
    labels: np.ndarray, pool: Int[np.ndarray, " n"], share: float, draw: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """A share of the examples of each class as nearly as can be (`folds.spread`), but never a whole class."""
    held = kinds(labels[pool])
    classes = natural_order(set().union(*held))
    sets = np.array([[c in y for c in classes] for y in held], dtype=np.int8)
    rest = spread(sets, [share, 1 - share], draw)
    for k in range(len(classes)):
        own = np.flatnonzero(sets[:, k])
        if not rest[own].any():
            rest[own[0]] = 1
    return np.sort(pool[rest == 0])


def drawn_shots(labels: np.ndarray, order: Int[np.ndarray, " n"], shots: int) -> Int[np.ndarray, " m"]:
    """The first examples in an order with at least `shots` of each class, or all there are; those of fewer shots are
    among those of more."""
    held = dict(zip(order.tolist(), kinds(labels[order]), strict=True))
    counts = Counter(c for y in held.values() for c in y)
    rarest_first = sorted(natural_order(set(counts)), key=counts.__getitem__)
    drawn: dict[int, None] = {}
    known: Counter[str] = Counter()
    for shot in range(1, shots + 1):
        for c in rarest_first:
            if (
                known[c] < shot
                and (new := next((i for i in held if i not in drawn and c in held[i]), None)) is not None
            ):
                drawn[new] = None
                known.update(held[new])
    return np.array(sorted(drawn), dtype=np.int64)
