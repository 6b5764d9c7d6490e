"""Data sets opened and split, each once for all of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from crossgraft.domains import open_domain
from crossgraft.domains.domain import SEQUENCES, Domain
from crossgraft.domains.label_sets import are_sets, sets_of
from crossgraft.domains.splits import assign_splits, groups_shared
from crossgraft.errors import CrossgraftError, nearest
from crossgraft.multilabel import SEPARATOR, joined
from crossgraft.multitask.asked import DATA, MultiRecipe, TaskAsked

Labels = np.ndarray  # (N,) object: a class, a set of them, tags, or what is said; None where missing


def opened(
    name: str, what: Any, wanted: Mapping[str, TaskAsked], *, input: str | None, split: str | None,
    group: str | None = None, separator: str = SEPARATOR,
) -> tuple[Domain, dict[str, Labels]]:  # fmt: skip
    """A data set, and the labels of its tasks."""
    several = len(wanted) > 1
    column = {task: own.label or (task if several else "") for task, own in wanted.items()}  # "": the usual one
    named = sorted(set(column.values()) - {DATA, ""})
    label: Any = None if not named else named[0] if len(named) == 1 else tuple(named)
    kinds = {own.kind for own in wanted.values()}
    task = next((k for k in ("tag", "transcribe") if k in kinds), "multilabel" if kinds == {"multilabel"} else None)
    if isinstance(what, Domain):
        domain = replace(what, name=name)
        held = {"": domain.labels, **domain.more}
    else:
        domain = open_domain(what, name, input=input, label=label, split=split, group=group, task=task,
                             separator=separator)  # fmt: skip
        held = {"": domain.labels, **(dict(domain.more) or dict.fromkeys(named, domain.labels))}
    found: dict[str, Labels] = {}
    for task_name, c in column.items():
        if c != DATA and c not in held:
            known = [k for k in held if k]
            hint = nearest(c, known) or f"its columns of labels are {', '.join(known) or 'not named'}"
            raise CrossgraftError(f"{name} has no column {c!r} for task {task_name!r}", hint)
        labels = np.array([name] * len(domain), dtype=object) if c == DATA else held[c].copy()
        sets = wanted[task_name].kind == "multilabel" or are_sets(labels)
        found[task_name] = sets_of(labels, separator) if sets else labels
    return domain, found


def parted(domain: Domain, columns: Mapping[str, Labels], recipe: MultiRecipe, warnings: list[str]) -> Domain:
    """A data set with its splits, the same for all of its tasks: drawn by the main task's classes, or the first's; by
    sets of classes where no task has one class an example."""
    sets = {task for task, labels in columns.items() if are_sets(labels)}
    order = sorted(columns, key=lambda task: (task in sets, task != recipe.main))
    first: Labels = np.full(len(domain), None, dtype=object)
    for task in order:
        for i in np.flatnonzero([y is None for y in first]):
            y = columns[task][i]
            first[i] = y if y is None or domain.kind in SEQUENCES else _drawn_by(task, y, len(sets) == len(columns))
    if all(y is None for y in first):
        raise CrossgraftError(f"{domain.name} has no label of task {' or '.join(columns)}", "name their columns")
    with_splits = assign_splits(replace(domain, labels=first), recipe.seed, shots=recipe.shots)
    warnings += [*with_splits.notes, *groups_shared(with_splits)]
    for labels in columns.values():  # what the data call unlabelled is
        labels[domain.splits == "unlabelled"] = None
    return replace(with_splits, labels=domain.labels)


def _drawn_by(task: str, label: Any, sets: bool) -> Any:
    """A label as splits are drawn by it; a set of classes as one of a task's own where all labels are `sets`."""
    if not isinstance(label, frozenset):
        return f"{task}: {label}"
    each = [f"{task}: {c}" for c in sorted(label)]
    return frozenset(each) if sets else joined(each)


def bare(domain: Domain) -> Domain:
    """The domain without its labels, which its tasks hold."""
    return replace(domain, labels=np.full(len(domain), None, dtype=object), more={})
