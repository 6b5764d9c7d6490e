"""Labels as a task, and which tasks have classes that are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from crossgraft.domains.domain import Domain
from crossgraft.domains.set_splits import sets_agree
from crossgraft.domains.splits import classes_agree
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.multilabel import MultiLabel
from crossgraft.multitask.asked import MultiRecipe, TaskAsked
from crossgraft.multitask.opening import Labels
from crossgraft.side import Side
from crossgraft.tasks import Classify, Tag, natural_order, spans, tags_of
from crossgraft.transcripts import Transcribe, tidy


def task_of(name: str, asked: TaskAsked, labels: Labels, recipe: MultiRecipe) -> Classify:
    """What the labels of a task are."""
    held = [y for y in labels if y is not None]
    if not held:
        raise CrossgraftError(f"task {name!r} has no label", "name its column, or leave the task out")
    tagged = all(isinstance(y, tuple) for y in held)
    if asked.kind == "transcribe":
        return Transcribe.of([tidy(str(y)) or "" for y in held], recipe.symbols)
    if all(isinstance(y, frozenset) for y in held):
        if asked.kind not in ("auto", "multilabel"):
            what = f"task {name!r} is {asked.kind}, and its labels are sets of classes"
            raise UsageError(what, "give kind multilabel, or one class an example")
        _sets_can(name, recipe)
        return MultiLabel(natural_order({c for y in held for c in y}))
    if tagged and asked.kind in ("auto", "tag"):
        return Tag(tags_of(t for y in held for _, _, t in spans(y)))
    if tagged or asked.kind == "tag":
        raise UsageError(
            f"task {name!r} is {asked.kind}, and its labels are {'tags' if tagged else 'no tags'}", "mend kind"
        )
    return Classify(natural_order({str(y) for y in held}))


def _sets_can(name: str, recipe: MultiRecipe) -> None:
    """Raises UsageError for what does not hold for any number of classes an example."""
    if recipe.class_weights != "none":
        what = f"class_weights is for one class an example, and labels of task {name!r} are sets of them"
        raise UsageError(what, "leave it out")


def check(name: str, domain: Domain, task: Classify, warnings: list[str]) -> None:
    """Labels of a task in each part, and its classes."""
    for split, what in (("train", "training"), ("test", "test")):
        if not any(y is not None for y in domain.labels[domain.splits == split]):
            raise CrossgraftError(
                f"task {name!r} has no label in the {what} part", "label some of its examples, or leave the task out"
            )
    if len(task.classes) < 2:
        held = f"one class only ({task.classes[0]!r})" if task.classes else "no class"
        raise CrossgraftError(f"task {name!r} has {held}", "give examples of at least two classes")
    if isinstance(task, Transcribe):
        return
    own = domain.take([i for i, y in enumerate(domain.labels) if y is not None])
    own = replace(own, name=f"task {name!r}", kind="sentence" if isinstance(task, Tag) else "vector")
    if isinstance(task, MultiLabel):
        sets_agree(own)
    warnings += classes_agree(own)


def side_of(
    domain: Domain, task: Classify, lengths: Int[np.ndarray, " N"] | None, columns: Int[np.ndarray, " k"]
) -> Side:
    """The examples as a task's solver sees them; `lengths` are the words of sentences."""
    if isinstance(task, Transcribe):
        said = np.array([None if y is None else tidy(str(y)) for y in domain.labels], dtype=object)
        return replace(Side.of(replace(domain, labels=said), task, task.classes), columns=columns)
    if isinstance(task, Tag):
        assert lengths is not None
        tags = [t for y, n in zip(domain.labels, lengths, strict=True) for t in (y or [None] * n)]
        return Side(domain, columns, task.encode(tags), lengths=lengths)
    if isinstance(task, MultiLabel):
        return replace(Side.of(domain, task, task.classes), columns=columns)
    return Side(domain, columns, task.encode(domain.labels))


def alike(
    recipe: MultiRecipe, asked: Mapping[str, TaskAsked], tasks: Mapping[str, Classify]
) -> tuple[frozenset[str], ...]:
    """Sets of tasks whose classes of one name are one class.

    auto: tasks of different data sets of which more than half of the classes are the same, or two tags of any in the
    set. Columns of one data set, such as yes and no of two questions, mean different things.
    """
    if recipe.heads == "own" or recipe.share != "all":
        return ()
    found: list[list[str]] = []
    for name, task in tasks.items():
        for own in found:
            first, second = set(tasks[own[0]].classes), set(task.classes)
            if type(task) is Tag:
                first = first.union(*(tasks[o].classes for o in own))
            apart = all(not set(asked[name].data) & set(asked[o].data) for o in own)
            near = len(first & second) > len(first | second) / 2 if type(task) is not Tag else len(first & second) > 1
            fits = (first & second) if recipe.heads == "shared" else (apart and near)
            if type(tasks[own[0]]) is type(task) and not isinstance(task, (Transcribe, MultiLabel)) and fits:
                own.append(name)
                break
        else:
            found.append([name])
    return tuple(frozenset(own) for own in found if len(own) > 1)
