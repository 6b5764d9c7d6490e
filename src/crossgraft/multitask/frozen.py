"""Heads on features that stand still: each task's own, and the other tasks beside it where their classes are the same.

Task k minimises CE_k + lambda CE_others + ridge/2 |W_k|^2 in a head of its own. Lambda and ridge are one number for all
tasks of a set: chosen by the leave-one-out cross-entropy of all their labels, of which each task has few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.choose import HeldOut, leave_one_out
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.pool import Examples, Pool
from crossgraft.objective.algebra import Objective, Term
from crossgraft.several import Multi
from crossgraft.side import Side
from crossgraft.solve.convex import Part
from crossgraft.solve.fitted import Fitted, solve_frozen
from crossgraft.solve.joint import PATH_ROWS, drawn
from crossgraft.solve.path import Path, gathered, path, scaling
from crossgraft.solve.pick import pick
from crossgraft.tasks import Classify, Tag
from crossgraft.transcripts import Transcribe

LAMS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SETTLED = 10  # rounds in which the chosen point is made exact


@dataclass(eq=False)
class Solved:
    """The heads of some tasks, and leave-one-out losses where every head has them."""

    joined: Joined
    evidence: dict[str, HeldOut]


def frozen(
    pool: Pool, names: Sequence[str], examples: Examples, *, held: Mapping[str, tuple[float, float]] | None = None
) -> Solved:
    """Solve the heads of some tasks on the examples that have their labels.

    held  lambda and ridge by task, in place of choosing them
    """
    task = Multi.of_tasks({name: pool.task.part(name) for name in names})
    weight, bias = np.zeros((pool.backbone.dim, len(task.classes))), np.zeros(len(task.classes))
    lams: dict[str, float] = {}
    chosen: dict[str, tuple[float, float]] = {}
    evidence: dict[str, HeldOut] = {}
    left = list(names)
    while left:
        own = [left[0], *(n for n in pool.beside(left[0]) if n in left)]
        left = [n for n in left if n not in own]
        if all(type(pool.task.part(n)) is Classify for n in own) and not pool.grouped:
            heads, losses, at = _classes(pool, own, examples, held)
            evidence |= {n: HeldOut(x) for n, x in losses.items()}
        else:
            heads, at = _by_folds(pool, own, examples, held)
        chosen |= at
        for name, (w, b) in heads.items():
            columns = task.columns_of(name)
            weight[:, columns], bias[columns] = w, b
            if len(own) > 1:
                lams[name] = at[name][0]
    weights = {f"{Term('ce', 'others', lam)}" for lam in lams.values()}
    beside = weights.pop() if len(weights) == 1 else "lambda*ce(others)"
    formula = "each task: ce(task)" + (f" + {beside}" if lams else "")
    fitted = Fitted(pool.backbone, weight, bias, Objective(), "frozen")
    return Solved(Joined(task, fitted, formula, lams, {}, chosen), evidence)


Head = tuple[Float[np.ndarray, "D k"], Float[np.ndarray, " k"]]


def _classes(
    pool: Pool, names: Sequence[str], examples: Examples, held: Mapping[str, tuple[float, float]] | None
) -> tuple[dict[str, Head], dict[str, np.ndarray], dict[str, tuple[float, float]]]:
    """Heads of tasks of classes by the convex path, with leave-one-out losses."""
    local = Classify.union(*(pool.task.part(n).classes for n in names))
    values = pool.features(pool.backbone, examples)
    xs = {n: pool.of_task(values, n, examples) for n in names}
    scale = scaling(*xs.values())
    parts = {}
    for n in names:
        columns = local.columns(pool.task.part(n).classes)
        y = columns[pool.sides[n].labels[pool.labelled(n, examples)]]
        parts[n] = Part(scale.apply(xs[n]), y, columns)
    paths: dict[str, Path] = {}
    for n in names:
        lams: Any = None if len(names) == 1 else LAMS
        ridges = None
        if held is not None:
            lams, ridges = [held[n][0]], [held[n][1]]
        others = _others(pool, parts, n)
        few = None if others is None else drawn(others, PATH_ROWS, pool.recipe.seed)
        paths[n] = path(parts[n], few, len(local.classes), lams=lams, ridges=ridges)
    i, j = _settled(list(paths.values()))
    heads, at = {}, {}
    for n, found in paths.items():
        lam, ridge = float(found.lams[i]), float(found.ridges[j])
        head = scale.fold(found.head(lam, ridge))
        columns = parts[n].columns
        heads[n] = (head.weight[:, columns], head.bias[columns])
        at[n] = (lam, ridge)
    ends = np.cumsum([p.losses.shape[2] for p in paths.values()])
    return heads, dict(zip(paths, np.split(leave_one_out(*paths.values()), ends[:-1]), strict=True)), at


def _others(pool: Pool, parts: Mapping[str, Part], name: str) -> Part | None:
    """The other tasks as one part: sum_j w_j CE_j / sum_j w_j, in the columns that any of them has."""
    rest = [n for n in parts if n != name]
    if not rest:
        return None
    asked = pool.recipe.asked
    of_rows = np.concatenate([np.full(len(parts[n].y), asked[n].weight / len(parts[n].y)) for n in rest])
    return Part(
        np.concatenate([parts[n].x for n in rest]), np.concatenate([parts[n].y for n in rest]),
        np.unique(np.concatenate([parts[n].columns for n in rest])), sample_weight=of_rows / of_rows.mean(),
    )  # fmt: skip


def _settled(paths: Sequence[Path]) -> tuple[int, int]:
    """The point that all tasks' labels choose together, exact in each task."""
    before = (-1, -1)
    for _ in range(SETTLED):
        losses, uniform, alone = gathered(paths)
        at = pick(losses, uniform, paths[0].lams, paths[0].ridges, "posterior", None, None, alone)
        if at == before:
            break
        before = at
        for one in paths:
            one.settle(float(one.lams[at[0]]), float(one.ridges[at[1]]))
    return before


def _by_folds(
    pool: Pool, names: Sequence[str], examples: Examples, held: Mapping[str, tuple[float, float]] | None
) -> tuple[dict[str, Head], dict[str, tuple[float, float]]]:
    """Heads of tags, transcripts or sets of classes, or of classes of examples in groups; lambda and ridge by folds of
    each task, of sets by leave-one-out."""
    heads, at = {}, {}
    for name in names:
        part = pool.task.part(name)
        rest = [] if isinstance(part, Transcribe) else [n for n in names if n != name]
        local = type(part).union(part.classes, *(pool.task.part(n).classes for n in rest)) if rest else part
        columns = np.arange(len(part.classes)) if isinstance(part, Transcribe) else local.columns(part.classes)
        source = None
        if isinstance(part, (Tag, Transcribe)):
            target = replace(pool.sides[name], columns=columns)
            source = _tagged_beside(pool, rest, examples, local) if rest else None
        else:
            target = replace(pool.sides[name], columns=columns, kept=pool.held(pool.of_examples(pool.backbone)))
            source = _classes_beside(pool, rest, examples, local) if rest else None
        lam, ridge = (None, None) if held is None else held[name]
        found: Fitted = solve_frozen(
            pool.backbone, target, pool.labelled(name, examples), source, len(local.classes), pool.recipe.seed,
            lam=lam, ridge=ridge, judged=False,
        )  # fmt: skip
        heads[name] = (found.weight[:, target.columns], found.bias[target.columns])
        at[name] = (found.lam or 0.0, float(found.ridge or 0.0))
    return heads, at


def _classes_beside(pool: Pool, names: Sequence[str], examples: Examples, local: Classify) -> Side:
    """The labelled examples of other tasks as one source, where the tasks weigh what was asked."""
    classes = Classify.union(*(pool.task.part(n).classes for n in names)).classes
    place = {c: k for k, c in enumerate(classes)}
    at = {n: pool.labelled(n, examples) for n in names}
    rows = np.concatenate(list(at.values()))
    own = {n: np.array([place[c] for c in pool.task.part(n).classes]) for n in names}
    labels = np.concatenate([own[n][pool.sides[n].labels[at[n]]] for n in names])
    weights = np.concatenate([np.full(len(x), pool.recipe.asked[n].weight / max(len(x), 1)) for n, x in at.items()])
    kept = pool.held(pool.of_examples(pool.backbone)[rows])
    domain = replace(pool.domain.take(rows), groups=None)
    return Side(domain, local.columns(classes), labels, kept, weights=weights / weights.mean())


def _tagged_beside(pool: Pool, names: Sequence[str], examples: Examples, local: Classify) -> Side:
    """The tagged sentences of other tasks as one source."""
    assert pool.lengths is not None
    classes = Tag.union(*(pool.task.part(n).classes for n in names)).classes
    place = {c: k for k, c in enumerate(classes)}
    words = pool.elements(examples)
    labels = np.full(int(pool.lengths.sum()), -1)
    for n in names:
        own = np.array([place[c] for c in pool.task.part(n).classes])
        rows = pool.labelled(n, examples)
        labels[rows] = own[pool.sides[n].labels[rows]]
    owner = np.repeat(np.arange(len(examples)), pool.lengths[examples])
    tagged = np.bincount(owner[labels[words] >= 0], minlength=len(examples)) > 0
    some = examples[tagged]
    rows = pool.elements(some)
    kept: dict[object, Any] = {("features", pool.backbone.revision): pool.features(pool.backbone, some)}
    return Side(pool.domain.take(some), local.columns(classes), labels[rows], kept, lengths=pool.lengths[some])
