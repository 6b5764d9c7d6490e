"""Layers that move under the joined cross-entropies of several tasks: sum_k w_k CE_k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.errors import UsageError
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.multilabel import MultiLabel
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.pool import Examples, Pool
from crossgraft.objective.algebra import Objective, ce
from crossgraft.several import Multi
from crossgraft.side import Side
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.fitted import Fitted, solve_frozen
from crossgraft.solve.path import scaling
from crossgraft.transcripts import Transcribe

START_RIDGE = 1e-3  # of the heads that layers which move begin at


def moving(
    pool: Pool,
    names: Sequence[str],
    examples: Examples,
    schedule: str,
    use: str,
    fold: str,
    *,
    seeds: str = "tasks",
    folder: Path,
    log: Callable[[dict[str, Any]], None],
) -> Joined:
    """The gradient loop on the examples that have a label of a task; one task by itself is trained as any other.

    Each data set is a stream, whose examples pass the layers once for all of its tasks. A batch holds `batch_size`
    times as many examples as there are data sets, in shares as n^(1/T). First weights and batches are drawn alike
    whatever the tasks are, so that models of some of them and of others differ by little else.

    use, fold  what the training is called, and which examples it is without
    seeds      what its draws are called
    """
    from crossgraft.solve.augment import augmentation_for
    from crossgraft.solve.loop import Stream
    from crossgraft.solve.moving import learn
    from crossgraft.solve.settings import settings_for

    recipe, backbone = pool.recipe, pool.backbone
    has = np.unique(np.concatenate([pool.sides[n].examples(pool.labelled(n, examples)) for n in names]))
    sets = {d: own for d in pool.sets if len(own := pool.of_set(d, has))}
    task = pool.task if len(names) > 1 else Multi.of_tasks({names[0]: pool.task.part(names[0])})
    if schedule == "from_nothing" and recipe.steps is not None:
        recipe = recipe.model_copy(update={"source_steps": recipe.steps})
    settings = settings_for(recipe, schedule, max(len(pool.labelled(n, has)) for n in names), backbone)
    shares = np.array([len(own) ** (1 / recipe.sampling) for own in sets.values()])
    sizes = np.maximum(np.round(settings.batch_size * len(sets) * shares / shares.sum()), 1).astype(int)
    streams = {}
    for (d, own), size in zip(sets.items(), sizes.tolist(), strict=True):
        tasks = {n: _rows(pool.sides[n], own) for n in names if len(pool.labelled(n, own))}
        augment = augmentation_for(recipe.augment, pool.domain.take(own))
        values = pool.inputs(backbone)[own]
        streams[f"data {d}"] = Stream(values, np.zeros(len(own), np.int64), size, augment, tasks=tasks)
    columns = {n: task.columns_of(n) for n in names} | {s: np.arange(len(task.classes)) for s in streams}
    objective = sum((recipe.asked[n].weight * ce(n) for n in names), Objective())
    start, copied = (np.zeros((backbone.dim, len(task.classes))), np.zeros(len(task.classes))), False
    if schedule not in ("from_nothing", "full"):
        start, copied = _start(pool, task, names, has), True
    branches = None
    if recipe.share != "all" and len(names) > 1:
        branches = (recipe.share, [task.columns_of(n) for n in names])
    weighting = recipe.weighting if len(names) > 1 and recipe.weighting != "equal" else None
    if weighting is not None and recipe.precision == "fp16":
        raise UsageError("weightings of gradients do not scale losses as fp16 needs", "use --precision bf16 or no")
    found = learn(
        backbone, streams, columns, objective, schedule, settings, start,
        copied=copied, seed=recipe.seed, use=f"{seeds}{fold}", weighting=weighting, branches=branches,
        checkpoint=folder / f"{(use + fold).replace('/', '-')}.safetensors",
        log=lambda row: None if fold else log({"model": use} | row),
    )  # fmt: skip
    weights = {} if found.weights is None else dict(zip(names, found.weights.tolist(), strict=True))
    return Joined(task, Fitted(*found.head, objective, schedule), str(objective), {}, weights)


def _rows(side: Side, examples: Examples) -> Any:
    """One task's labels of the examples of a stream."""
    from crossgraft.solve.batches import TaskRows

    if side.truth is not None:
        return TaskRows(side.truth[examples], side.labels[examples] >= 0, aligned=True)
    if side.lengths is None:
        return TaskRows(side.targets(examples), side.labels[examples] >= 0)
    flat = side.labels[side.rows_of(examples)]
    ends = np.cumsum(side.lengths[examples])
    return TaskRows(Ragged(flat, ends), np.add.reduceat(flat >= 0, ends - side.lengths[examples]) > 0)


def _start(pool: Pool, task: Multi, names: Sequence[str], examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """All heads on features that stand still, solved as one: sum_k w_k CE_k + ridge/2 |W|^2, shared columns once.

    Heads of transcripts, whose problem is not convex, and of sets of classes, one of two a class, are solved by
    themselves.
    """
    weight, bias = np.zeros((pool.backbone.dim, len(task.classes))), np.zeros(len(task.classes))
    values = pool.features(pool.backbone, examples)
    flat = values.flat if isinstance(values, Frames) else values
    scale = scaling(flat)
    parts = []
    for name in names:
        side, columns = pool.sides[name], task.columns_of(name)
        if isinstance(task.part(name), (Transcribe, MultiLabel)):
            own, rows = replace(side, columns=np.arange(len(columns))), pool.labelled(name, examples)
            if side.sets is not None:
                own = replace(own, kept=pool.held(pool.of_examples(pool.backbone)))
            said = solve_frozen(
                pool.backbone, own, rows, None, len(columns), pool.recipe.seed, lam=0.0, ridge=START_RIDGE
            )  # fmt: skip
            weight[:, columns], bias[columns] = said.weight, said.bias
            continue
        x = pool.of_task(values, name, examples)
        y = columns[side.labels[pool.labelled(name, examples)]]
        parts.append(Part(scale.apply(x), y, columns, weight=pool.recipe.asked[name].weight))
    if parts:
        head = scale.fold(solve(parts, len(task.classes), ridge=START_RIDGE))
        seen = np.unique(np.concatenate([p.columns for p in parts]))
        weight[:, seen], bias[seen] = head.weight[:, seen], head.bias[seen]
    return weight, bias
