"""Several tasks on one head: cross-entropies that join."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Int

from crossgraft.tasks import Classify


@dataclass(frozen=True)
class Multi(Classify):
    """Named tasks whose classes are columns of one head: each its own, or shared where a class is the same one.

    parts   the tasks
    places  the columns of each task's classes

    >>> task = Multi.of_tasks({"digit": Classify(("0", "1")), "speaker": Classify(("ann", "bob"))})
    >>> task.classes, task.columns_of("speaker").tolist()
    (('digit: 0', 'digit: 1', 'speaker: ann', 'speaker: bob'), [2, 3])
    """

    parts: tuple[tuple[str, Classify], ...] = ()
    places: tuple[tuple[int, ...], ...] = ()
    kind = "several"

    @classmethod
    def of_tasks(cls, parts: Mapping[str, Classify], alike: Sequence[Collection[str]] = ()) -> Self:
        """The head of some tasks; within a set of `alike`, classes of one name are one column.

        >>> Multi.of_tasks({"a": Classify(("x", "y")), "b": Classify(("y",))}, [{"a", "b"}]).places
        ((0, 1), (1,))
        """
        owner = {name: " and ".join(n for n in parts if n in own) for own in alike for name in own if len(own) > 1}
        columns: dict[str, int] = {}
        places = [
            tuple(columns.setdefault(f"{owner.get(name, name)}: {c}", len(columns)) for c in task.classes)
            for name, task in parts.items()
        ]
        return cls(tuple(columns), tuple(parts.items()), tuple(places))

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(name for name, _ in self.parts)

    def part(self, name: str) -> Classify:
        """One of the tasks."""
        return dict(self.parts)[name]

    def columns_of(self, name: str) -> Int[np.ndarray, " k"]:
        """The columns of a task's classes."""
        return np.array(self.places[self.names.index(name)], dtype=np.int64)
