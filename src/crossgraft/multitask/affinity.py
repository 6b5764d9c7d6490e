"""What one task does to another's held-out cross-entropy, in nats: beside all the others, and the two by themselves.

Leaving a task out of the joint training answers whether to leave it out; a pair cannot, for it does not know what a
third task brings already. Of groups that were not trained the pairs tell more.
"""

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
    """What task `of` does to task `on`, nats of its held-out cross-entropy; above 0 it helps.

    change  without `of` less with all tasks
    pair    alone less beside `of` only
    """

    of: str
    on: str
    change: Difference
    pair: Difference


def affinities(
    alone: Mapping[str, Losses],
    pairs: Mapping[tuple[str, str], Losses],
    whole: Mapping[str, Losses],
    without: Mapping[tuple[str, str], Losses],
) -> list[Affinity]:
    """Every ordered pair (of, on), from held-out losses of `on`: alone, beside `of`, beside all, beside all but `of`.

    >>> same = np.array([0.5, 0.7, 0.6])
    >>> beside = {("a", "b"): same - 0.1, ("b", "a"): same + 0.2}
    >>> found = affinities({"a": same, "b": same}, beside, {"a": same, "b": same - 0.1}, {("a", "b"): same})
    >>> [(x.of, x.on, round(x.change.value, 3), round(x.pair.value, 3)) for x in found]
    [('a', 'b', 0.1, 0.1)]
    """
    return [
        Affinity(of, on, paired(left, whole[on]), paired(alone[on], pairs[of, on]))
        for (of, on), left in without.items()
    ]


def grouping(names: Sequence[str], found: Sequence[Affinity]) -> list[list[str]]:
    """The grouping of most gain: that of a task in a group is its mean affinity in pairs with the others, 0 by itself.

    A mean of pairs foretells what a group does well enough to choose one (Standley et al., ICML 2020; Fifty et al.,
    NeurIPS 2021). Up to 8 tasks all groupings are compared; above, groups grow pair by pair while that gains.

    >>> up, down = Difference(0.1, 0.0, 0.2, 0.01), Difference(-0.1, -0.2, 0.0, 0.01)
    >>> two = [Affinity("a", "b", up, up), Affinity("b", "a", up, up)]
    >>> grouping(["a", "b", "c"], [*two, Affinity("c", "a", down, down), Affinity("a", "c", down, down)])
    [['a', 'b'], ['c']]
    """
    gain = {(x.of, x.on): x.pair.value for x in found}

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
