"""What goes into an exported model, by the kind of its inputs."""

from __future__ import annotations

from collections.abc import Sequence

from crossgraft.backbones.backbone import Backbone
from crossgraft.entrances.arrays import BATCH, Arrays, Inputs
from crossgraft.entrances.clips import Clips
from crossgraft.entrances.texts import Texts
from crossgraft.errors import CrossgraftError

__all__ = ["BATCH", "Arrays", "Clips", "Entrance", "Inputs", "Texts", "entrance_of"]

Entrance = Arrays | Texts | Clips


def entrance_of(trunks: Sequence[Backbone], tasks: Sequence[str] = ()) -> Entrance:
    """How the inputs of some layers go in, all the same. Raises CrossgraftError where they differ.

    tasks  names of outputs
    """
    kinds = sorted({b.kind for b in trunks})
    if len(kinds) > 1:
        raise CrossgraftError(
            f"tasks of {' and '.join(kinds)}s have no one input", "make a run of each, and export them"
        )
    first = trunks[0]
    if first.kind in ("image", "vector"):
        return Arrays(first, tasks)
    made = Texts(first) if first.kind in ("text", "sentence") else Clips(first)
    if taken := {*made.names, made.counted} & set(tasks):
        raise CrossgraftError(f"a task is called {taken.pop()}, as an input is", "give the task another name")
    return made
