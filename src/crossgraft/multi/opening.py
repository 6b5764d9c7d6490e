"""Data sets opened and split, each once for all of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from crossgraft.domains import open_domain
from crossgraft.domains.domain import SEQUENCES, Domain
from crossgraft.domains.splits import assign_splits, groups_shared
from crossgraft.errors import CrossgraftError, nearest
from crossgraft.multi.asked import DATA, MultiRecipe, TaskAsked

Labels = np.ndarray  # (N,) object: a class, tags, or what is said; None where missing


def opened(
    name: str, what: Any, wanted: Mapping[str, TaskAsked], recipe: MultiRecipe
) -> tuple[Domain, dict[str, Labels]]:
    """A data set, and the labels of its tasks."""
    named = {own.label or (task if len(wanted) > 1 else None) for task, own in wanted.items()} - {DATA}
    own_columns = sorted(c for c in named if c is not None)
    label: Any = None if not own_columns else own_columns[0] if len(own_columns) == 1 else tuple(own_columns)
    kinds = {own.kind for own in wanted.values()}
    task = next((k for k in ("tag", "transcribe") if k in kinds), None)
    if isinstance(what, Domain):
        domain = replace(what, name=name)
    else:
        domain = open_domain(what, name, input=recipe.input, label=label, split=recipe.split, task=task)
    held: dict[str | None, Labels] = dict(domain.more) or {str(c): domain.labels for c in named} | {None: domain.labels}
    found: dict[str, Labels] = {}
    for task_name, own in wanted.items():
        column = own.label or (task_name if len(wanted) > 1 else None)
        if column == DATA:
            found[task_name] = np.array([name] * len(domain), dtype=object)
            continue
        if column not in held:
            hint = nearest(str(column), list(held)) or f"its columns of labels are {', '.join(map(str, held))}"
            raise CrossgraftError(f"{name} has no column {column!r} for task {task_name!r}", hint)
        found[task_name] = held[column]
    return domain, found


def parted(domain: Domain, columns: Mapping[str, Labels], recipe: MultiRecipe, warnings: list[str]) -> Domain:
    """A data set with its splits, the same for all of its tasks: drawn by the main task's classes, or the first's."""
    order = sorted(columns, key=lambda task: task != recipe.main)
    first: Labels = np.full(len(domain), None, dtype=object)
    for task in order:
        for i in np.flatnonzero([y is None for y in first]):
            y = columns[task][i]
            first[i] = y if y is None or domain.kind in SEQUENCES else f"{task}: {y}"
    if all(y is None for y in first):
        raise CrossgraftError(f"{domain.name} has no label of task {' or '.join(columns)}", "name their columns")
    with_splits = assign_splits(replace(domain, labels=first), recipe.seed, shots=recipe.shots)
    warnings += [*with_splits.notes, *groups_shared(with_splits)]
    for labels in columns.values():  # what the data call unlabelled is
        labels[domain.splits == "unlabelled"] = None
    return replace(with_splits, labels=domain.labels)
