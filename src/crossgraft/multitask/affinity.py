"""What training on one task does to another's held-out cross-entropy, in nats; and a grouping that follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from crossgraft.measure.compare import Difference, paired

ENUMERATED = 8  # tasks up to which every grouping is looked at: 4,140 of them
Losses = np.ndarray


@dataclass(frozen=True)
class Affinity:
    """What task `of` does to task `on`: held-out cross-entropy of `on` alone less that beside `of`, nats; above 0 it
    helps."""

    of: str
    on: str
    change: Difference


def affinities(alone: Mapping[str, Losses], pairs: Mapping[tuple[str, str], Mapping[str, Losses]]) -> list[Affinity]:
    """Every ordered pair, from held-out losses of each task alone and of both of a pair trained together.

    >>> same = np.array([0.5, 0.7, 0.6])
    >>> found = affinities({"a": same, "b": same}, {("a", "b"): {"a": same - 0.1, "b": same + 0.2}})
    >>> [(x.of, x.on, round(x.change.value, 3)) for x in found]
    [('b', 'a', 0.1), ('a', 'b', -0.2)]
    """
    found = []
    for (first, second), losses in pairs.items():
        for of, on in ((second, first), (first, second)):
            found.append(Affinity(of, on, paired(alone[on], losses[on])))
    return found


def grouping(names: Sequence[str], found: Sequence[Affinity]) -> list[list[str]]:
    """The grouping of most gain: that of a task in a group is its mean affinity from the others, 0 by itself.

    A mean of pairs foretells what a group does well enough to choose one (Standley et al., ICML 2020; Fifty et al.,
    NeurIPS 2021). Up to 8 tasks all groupings are compared; above, groups grow pair by pair while that gains.

    >>> up, down = Difference(0.1, 0.0, 0.2, 0.01), Difference(-0.1, -0.2, 0.0, 0.01)
    >>> two = [Affinity("a", "b", up), Affinity("b", "a", up)]
    >>> grouping(["a", "b", "c"], [*two, Affinity("c", "a", down), Affinity("a", "c", down)])
    [['a', 'b'], ['c']]
    """
    gain = {(x.of, x.on): x.change.value for x in found}

    def worth(groups: Sequence[Sequence[str]]) -> float:
        each = [[gain.get((of, on), 0.0) for of in own if of != on] for own in groups for on in own]
        return float(sum(np.mean(pulls) for pulls in each if pulls))

    if len(names) <= ENUMERATED:
        return max(_partitions(list(names)), key=lambda groups: (round(worth(groups), 12), len(groups)))
    groups = [[name] for name in names]
    while len(groups) > 1:
        merged = [[*(g for g in groups if g not in (a, b)), [*a, *b]] for a, b in combinations(groups, 2)]
        best = max(merged, key=worth)
        if worth(best) <= worth(groups):
            break
        groups = best
    return groups


def _partitions(names: list[str]) -> Iterator[list[list[str]]]:
    if not names:
        yield []
        return
    first, rest = names[0], names[1:]
    for groups in _partitions(rest):
        yield [[first], *groups]
        for i, own in enumerate(groups):
            yield [*groups[:i], [first, *own], *groups[i + 1 :]]
