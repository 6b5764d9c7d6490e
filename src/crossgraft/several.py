"""Several tasks on one head: cross-entropies that join."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Int

from crossgraft.multilabel import MultiLabel
from crossgraft.tasks import Classify, Tag
from crossgraft.transcripts import Transcribe


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


def stated(task: Classify) -> dict[str, Any]:
    """What a run's files say of its task."""
    more: dict[str, Any] = {"unit": task.unit} if isinstance(task, Transcribe) else {}
    if isinstance(task, Tag) and task.crf:
        more = {"crf": True}
    if isinstance(task, Multi):
        each = zip(task.parts, task.places, strict=True)
        more = {"parts": [{"name": n, "columns": list(c), **stated(part)} for (n, part), c in each]}
    return {"kind": task.kind, "classes": list(task.classes)} | more


def task_of(said: dict[str, Any]) -> Classify:
    """The task that `stated` wrote."""
    classes = tuple(map(str, said["classes"]))
    if said["kind"] == Multi.kind:
        parts = tuple((str(p["name"]), task_of(p)) for p in said["parts"])
        return Multi(classes, parts, tuple(tuple(map(int, p["columns"])) for p in said["parts"]))
    kinds = {kind.kind: kind for kind in (Classify, Tag, Transcribe, MultiLabel)}
    more = {name: said[name] for name in ("unit", "crf") if name in said}
    return kinds[said["kind"]](classes, **more)
