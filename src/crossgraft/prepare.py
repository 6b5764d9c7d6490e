"""From what was asked to what the solvers see: domains opened, split, read, and labels as columns of one head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft import backbones, features
from crossgraft.asked import SourceModel
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains import open_domain
from crossgraft.domains.arrays import common_kind, of_kind
from crossgraft.domains.domain import SOUND
from crossgraft.domains.label_sets import as_sets, holds_sets
from crossgraft.domains.leaks import Leak, leak_note, leaks
from crossgraft.domains.pool import pool
from crossgraft.domains.same_columns import same_columns
from crossgraft.domains.set_splits import sets_agree
from crossgraft.domains.splits import assign_splits, classes_agree, groups_shared, tolerate
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.methods import LABEL_FREE_ALONE, METHODS
from crossgraft.multilabel import MultiLabel
from crossgraft.recipe import Recipe
from crossgraft.refused import refuse_for
from crossgraft.sayable import leave_out_unsayable
from crossgraft.side import Side
from crossgraft.tasks import Classify, Tag
from crossgraft.transcripts import Transcribe

VALIDATION = 20  # labelled validation examples from which they give the evidence, rather than folds


@dataclass(eq=False)
class Job:
    """What the four steps work on."""

    recipe: Recipe
    task: Classify
    backbone: Backbone
    target: Side
    source: Side | None
    leaks: tuple[Leak, ...]
    warnings: list[str]
    method: str
    selection: str
    term_values: dict[str, float] = field(default_factory=dict)
    validators: dict[str, dict[str, float]] = field(default_factory=dict)
    searched: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: list[dict[str, Any]] = field(default_factory=list)
    language: dict[str, Any] | None = None
    alignment: dict[str, Any] | None = None
    taught: SourceModel | None = None

    @property
    def known(self) -> Int[np.ndarray, " z"]:
        """The columns of the classes that the source teaches, or its model knows."""
        if self.source is not None:
            return self.source.columns
        return self.task.columns(() if self.taught is None else self.taught.classes)

    @property
    def rows(self) -> Int[np.ndarray, " n"]:
        """The labelled training examples of the target."""
        return self.target.rows("train")

    @property
    def watched(self) -> Int[np.ndarray, " n"] | None:
        """Rows whose cross-entropy stops a training on the target early: those that the selection names."""
        part = {"oracle": "test", "target_val": "val"}.get(self.selection)
        return self.target.rows(part) if part else None

    @property
    def covered(self) -> bool:
        """Whether the source has every class of the target."""
        return set(self.target.columns.tolist()) <= set(self.known.tolist())


def prepare(
    recipe: Recipe, target: Any, sources: Sequence[Any], layers: Any = None, taught: SourceModel | None = None
) -> Job:
    """Open, split, read and check; everything that is wrong with the data is said here, before anything is trained.

    layers  a module or Backbone that the recipe can only name
    taught  the model of a source whose data are not there; `layers` are then its own
    """
    columns = {c: getattr(recipe, c) for c in ("input", "label", "split", "group", "task", "separator")}
    target_domain = open_domain(target, "target", **columns)
    if recipe.group is not None and target_domain.groups is None:
        what = f"the target has no column {recipe.group!r} (--group)"
        raise UsageError(what, "give a table that has it, or leave it out")
    opened = [
        open_domain(s, f"source {i + 1}" if len(sources) > 1 else "source", **columns) for i, s in enumerate(sources)
    ]
    kind = common_kind((target_domain, *opened))
    if recipe.task == "transcribe" and kind in SOUND:
        kind = "utterance"
    if sets := any(map(holds_sets, (target_domain, *opened))):  # one class an example is a set of one
        target_domain, *opened = [as_sets(d, recipe.separator) for d in (target_domain, *opened)]
    target_domain, *opened = [of_kind(d, kind) for d in (target_domain, *opened)]
    if taught is not None:
        target_domain = same_columns(target_domain, layers, f"the model of {taught.name}")
    opened = [same_columns(d, target_domain, "the target") for d in opened]
    refuse_for(recipe, kind, target_domain.name, sets)
    for domain in (target_domain, *opened):
        tolerate(domain.skipped, len(domain) + len(domain.skipped), domain.name)
    source_domain = pool(opened)
    given = target_domain.splits
    if any(y is not None for y in target_domain.labels):
        beside = () if source_domain is None else (source_domain,)
        if sets:
            sets_agree(target_domain, *beside)
        target_domain = assign_splits(target_domain, recipe.seed, shots=recipe.shots)
        known = () if taught is None else taught.classes
        agreed = () if kind == "utterance" else classes_agree(target_domain, *beside, known=known)
        warnings = [*target_domain.notes, *agreed, *groups_shared(target_domain, *beside)]
    else:
        target_domain = replace(target_domain, splits=np.full(len(target_domain), "unlabelled"))
        warnings = [*target_domain.notes, "the target has no labels: nothing can be tested on it"]
    if source_domain is not None:
        if kind != "utterance":
            classes_agree(source_domain)  # for its errors: a source has no test part to warn about
        warnings += source_domain.notes
    more = source_domain.classes if source_domain is not None else () if taught is None else taught.classes
    target_classes = target_domain.classes or more
    if not target_classes:
        raise CrossgraftError(
            "neither the target nor a source has labels", "name the label column, or put the inputs into class folders"
        )
    task: Classify
    if kind == "utterance":
        given_texts = [y for d in (target_domain, source_domain) if d is not None for y in d.labels if y is not None]
        task = Transcribe.of(given_texts, recipe.symbols)
    else:
        task = (Tag if kind == "sentence" else MultiLabel if sets else Classify).union(target_classes, more)
        task = replace(task, crf=recipe.crf) if isinstance(task, Tag) else task
    if taught is not None:
        taught.refuse(target_domain, task.kind)
        backbone = layers
    else:
        backbone = backbones.load(recipe.backbone if layers is None else layers, target_domain, weights=recipe.weights)
    if kind == "sentence" and backbone.causal:
        warnings.append(
            f"backbone {backbone.name} reads from left to right: a word's tag knows nothing of what follows it"
        )
    side = Side.of(target_domain, task, target_classes)
    # Rows that are test data only because `shots` hides their labels keep their inputs to learn from.
    free = np.isin(target_domain.splits, ("train", "unlabelled"))
    side.free = free if recipe.shots is None else free | ~np.isin(given, ("test", "val"))
    source = None if source_domain is None else Side.of(source_domain, task, source_domain.classes)
    for s in (side,) if source is None else (side, source):
        if s.truth is not None:
            leave_out_unsayable(s, backbone)
        frozen = backbone.pretrained and backbone.given is None and recipe.masked_steps is None
        (s.features if frozen else s.pixels)(backbone)
        warnings += s.notes
    test = side.domain.take(side.examples(side.rows("test")))
    learnt = side.domain.take(np.flatnonzero(np.isin(side.domain.splits, ["train", "unlabelled"])))
    found = leaks(learnt, test, greys=features.kept_greys)
    if source is not None:
        found = [*found, *leaks(source.domain, test, greys=features.kept_greys)]
    warnings += leak_note(found)
    method = method_for(recipe, backbone, source, taught)
    return Job(
        recipe,
        task,
        backbone,
        side,
        source,
        tuple(found),
        warnings,
        method,
        selection_for(recipe, backbone, side, source),
        taught=taught,
    )


def method_for(recipe: Recipe, backbone: Backbone, source: Side | None, taught: SourceModel | None = None) -> str:
    """The method that was asked for, or the one that fits: joint with a source, else finetune of what is pretrained."""
    if recipe.objective is not None:
        return "objective"
    learned = backbone.pretrained and backbone.name != "identity"
    if recipe.method == "auto":
        return "joint" if source is not None else "finetune" if learned else "target_only"
    if taught is not None:
        if recipe.method == "joint":
            what = f"method joint learns from examples of the source, and {taught.name} is a model without them"
            raise UsageError(what, "use shot, finetune or lwf, or give the data as the source")
        return recipe.method
    if source is None and (
        recipe.method == "source_only"
        or "source" in METHODS[recipe.method].needs
        or (recipe.method == "finetune" and not learned)
    ):
        remedy = "give one with --source, or another --method"
        raise UsageError(f"method {recipe.method} with backbone {backbone.name} needs a source", remedy)
    return recipe.method


def selection_for(recipe: Recipe, backbone: Backbone, target: Side, source: Side | None) -> str:
    """Where held-out evidence comes from: a validation part that is large enough, else leave-one-out where every model
    is convex, else cross-validation."""
    adapts = recipe.objective is not None or (recipe.method != "auto" and METHODS[recipe.method].adapts)
    if adapts and recipe.selection == "auto" and len(target.rows("train")) == 0:
        if target.sets is not None or target.lengths is not None:
            are = "sets" if target.lengths is None else "tags"
            what = f"method {recipe.method} is judged by labels of the target where they are {are}, and it has none"
            raise UsageError(what, "label a few examples of the target, or use source_only")
        return "label_free:im"
    _, rule, name = recipe.selection.partition("label_free:")
    if source is None and rule and name not in LABEL_FREE_ALONE:
        free = " or ".join(f"label_free:{each}" for each in LABEL_FREE_ALONE)
        raise UsageError(f"selection {recipe.selection} reads a source's examples, and there are none", f"use {free}")
    if recipe.selection != "auto":
        if recipe.selection == "oracle" and len(target.rows("test")) == 0:
            raise UsageError("selection oracle reads labels of the test part, and there are none", "use another rule")
        if recipe.selection == "target_val" and len(target.rows("val")) == 0:
            raise UsageError(
                "selection target_val needs a labelled val part of the target", "give one, or use loo or cv"
            )
        if recipe.selection == "loo" and target.groups(target.rows("train")) is not None:
            what = "selection loo leaves out one example, and the test part is of groups that are not learned from"
            raise UsageError(what, "use cv, which leaves out whole groups, or target_val")
        return recipe.selection
    if len(target.examples(target.rows("val"))) >= VALIDATION:
        return "target_val"
    if target.lengths is not None or target.truth is not None or target.groups(target.rows("train")) is not None:
        return "cv"
    rivals = recipe.baselines and recipe.guard and source is None and backbone.name != "identity"
    convex = backbone.pretrained and (recipe.schedule == "frozen" or backbone.name == "identity") and not rivals
    return "loo" if convex else "cv"
