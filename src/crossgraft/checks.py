"""What cannot work with a method, said before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.alignments import BLANK
from crossgraft.domains.environments import Environment
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.features.ragged import Ragged
from crossgraft.methods import METHODS, Method
from crossgraft.objective.algebra import Objective
from crossgraft.objective.methods import TERMS, domains_of, row_of, stated
from crossgraft.objective.reach import reach
from crossgraft.objective.tables import BY_CLASS
from crossgraft.prepare import Job
from crossgraft.recipe import Recipe
from crossgraft.side import Side
from crossgraft.tasks import Classify, Tag

Rows = Int[np.ndarray, " n"]
Phases = list[tuple[Objective, str]]
DOMAINS = ("target", "source", "unlabelled")
# Kinds of task that not every term and method holds for: the flag of its row that says so, and what it would learn.
HELD = {
    "transcribe": ("spoken", "transcripts"),
    "tag": ("tagged", "tags"),
    "multilabel": ("multilabel", "sets of classes"),
}


def method_of(job: Job) -> Method | None:
    """The row to train by: an objective that was written, or a method that adapts; None for the plain four."""
    if job.recipe.objective is not None:
        needs = domains_of(Objective.parse(job.recipe.objective))
        return Method("objective", job.recipe.objective, needs, citation="as it was given")
    return row if (row := METHODS[job.method]).adapts else None


def refuse(recipe: Recipe, kind: str | None = None) -> None:
    """What cannot mean anything, before any data are read: unknown terms and domains, options that would be ignored.

    kind  of the task, once the data have shown it
    """
    kind = kind or recipe.task
    for place in recipe.places:
        Environment.parse(place)
    row = METHODS.get(recipe.method)
    if recipe.mixup and recipe.source_weights != "pooled":
        raise UsageError("mixup mixes rows of sources that weigh differently", "leave out mixup or source_weights")
    if recipe.align == "mean":
        _can_align(recipe)
    if recipe.objective is not None:
        if row is not None:
            raise UsageError(f"method {row.name} and an objective were given", "give one of the two")
        for term in Objective.parse(recipe.objective).terms:
            if term.name == "words":
                raise UsageError("words is learned before the task, not beside it", "give --masked-steps")
            for domain in row_of(term).reads(term):
                if domain not in DOMAINS:
                    hint = nearest(domain, list(DOMAINS)) or f"the domains are {', '.join(DOMAINS)}"
                    raise UsageError(f"{term.key} reads domain {domain!r}", hint)
            if (held := HELD.get(kind)) and not getattr(row_of(term), held[0]):
                known = ", ".join(name for name, own in TERMS.items() if getattr(own, held[0]))
                raise UsageError(f"{term.key} does not hold for {held[1]}", f"the terms that do are {known}")
    elif row is None or not row.adapts:
        return
    elif (held := HELD.get(kind)) and not getattr(row, held[0]):
        known = ", ".join(name for name, own in METHODS.items() if getattr(own, held[0]) or not own.adapts)
        raise UsageError(f"method {row.name} does not learn {held[1]}", f"use {known}")
    name = _named(recipe)
    if recipe.schedule != "auto":
        raise UsageError(
            f"{name} says itself which layers learn", "leave out schedule, or use method joint or finetune"
        )
    if recipe.lam != "auto":
        stated_as = "ce(target) + ce(source)" if row is None else stated(row, row.objective)
        remedy = f"write the weights into an objective, as in --objective '{stated_as}'"
        raise UsageError(f"lam is the weight of method joint, and {name} does not read it", remedy)


def _named(recipe: Recipe) -> str:
    """What was asked to train by, in a sentence."""
    return "an objective" if recipe.objective is not None else f"method {recipe.method}"


def _can_align(recipe: Recipe) -> None:
    """Raises UsageError where no features of a source stand still to be moved."""
    if not recipe.source:
        raise UsageError("align mean moves features of a source, and there is none", "give one with --source")
    if recipe.objective is not None or recipe.method not in ("auto", "joint", "source_only"):
        what = f"align mean is for joint and source_only, and {_named(recipe)} was asked for"
        raise UsageError(what, "give one of the two")
    if recipe.schedule not in ("auto", "frozen") or recipe.source_steps is not None:
        what = "align mean moves features that stand still, and layers were asked to learn"
        raise UsageError(what, "leave it out, or use schedule frozen without source_steps")


def check(job: Job, objective: Objective, sides: dict[str, Side], rows: Rows, groups: Sequence[str]) -> None:
    """Before anything is trained: what each term reaches, and what cannot work. Warnings go to the job."""
    labels = {name: _shown(side, np.arange(len(side.labels)), job.task) for name, side in sides.items()}
    labels |= {"target": _shown(job.target, rows, job.task)} if "target" in sides else {}
    columns = {name: side.columns for name, side in sides.items()}
    for finding in reach(objective, columns, groups, labels, classes=job.task.classes):
        if finding.level == "error":
            raise CrossgraftError(finding.message)
        if finding.message not in job.warnings:
            job.warnings.append(finding.message)


def _shown(side: Side, rows: Rows, task: Classify) -> Rows:
    """The columns that labels of rows show; transcripts show the blank too, which every alignment may hold, and tags
    with B-x I-x: entities of one word are no reason to label more."""
    labels: Any = side.targets(rows)
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        return np.nonzero(labels == 1)[1]
    if isinstance(labels, Ragged):
        return np.append(labels.flat, BLANK)
    if not isinstance(task, Tag):
        return np.asarray(labels)
    tags = [task.classes[c] for c in side.columns]
    begun = {f"I-{tags[i][2:]}" for i in np.unique(labels[labels >= 0]) if tags[i].startswith("B-")}
    return np.append(labels, [i for i, tag in enumerate(tags) if tag in begun]).astype(np.int64)


def check_method(
    job: Job, method: Method, sides: dict[str, Side], phases: Phases, rows: Rows, free: Rows, batch: int
) -> None:
    """What a method needs of the domains, the labels and the backbone.

    rows, free  the target's labelled rows, and those whose inputs may be learned from
    """
    name = f"method {method.name}" if method.name != "objective" else f"objective {method.objective}"
    learned = {d for o, _ in phases for d in domains_of(o)}
    read = learned | {d for d in method.needs if d != "target"}
    if job.source is None and job.taught is None:
        raise UsageError(f"{name} starts from a source", "give one with --source")
    if job.source is None and "source" in learned:
        assert job.taught is not None
        what = f"{name} learns from examples of the source, and {job.taught.name} is a model without them"
        raise UsageError(what, "use shot, tent, l2_sp, lwf or an objective such as im, or give the data")
    if "unlabelled" in read and len(free) == 0:
        raise CrossgraftError(
            f"{name} needs unlabelled target examples, and the target has none outside its test part",
            "add inputs without labels to the target, or put some into its train part",
        )
    if "target" in method.needs and len(rows) == 0:
        raise CrossgraftError(f"{name} needs labels of the target", "label a few, or use dann, cdan, mcc, shot or im")
    if len(rows) and "target" not in read:  # said once, of all labels, also where a fold is checked
        said = f"{name} does not use the {len(job.rows)} labels of the target; a method with ce(target) would"
        if said not in job.warnings:
            job.warnings.append(said)
    missing = set(job.target.columns.tolist()) - set(job.known.tolist())
    if missing and len(rows) == 0:
        classes = ", ".join(job.task.classes[c] for c in sorted(missing)[:5])
        raise CrossgraftError(
            f"no example teaches class {classes} of the target: the source lacks it and no target label is known",
            "label a few examples of it, add a source that has it, or leave its labels out and predict --unknown",
        )
    groups = [g for g, _ in job.backbone.groups]
    for objective, _ in phases:
        for term in objective.active:
            row = row_of(term)
            if (least := row.least) > min([batch, *(len(free) for d in row.reads(term) if d == "unlabelled")]):
                raise UsageError(
                    f"{term.key} compares the examples of a batch", f"give a batch_size of {least} or more"
                )
            joint = {"conditional", "second"} & set(row.heads)
            if (joint or row.known in BY_CLASS) and len(job.known) != len(sides["unlabelled"].columns):
                what = f"{term.key} needs the same classes in source and target"
                raise CrossgraftError(what, "use dann, coral or mmd")
            if row.through == "features" and not groups:
                raise UsageError(
                    f"{term.key} moves layers and backbone {job.backbone.name} has none",
                    "use mlp, or mcc, im or pseudo",
                )
        check(job, objective, sides, rows, groups)
