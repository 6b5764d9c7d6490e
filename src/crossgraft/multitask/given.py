"""From what was asked to what the solvers see: data sets as one pool of examples, each task a Side of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft import backbones, features
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains.arrays import common_kind, of_kind
from crossgraft.domains.domain import SOUND, Domain
from crossgraft.domains.leaks import leak_note, leaks
from crossgraft.domains.pool import together
from crossgraft.domains.same_columns import same_columns
from crossgraft.domains.sentences import with_lengths
from crossgraft.domains.splits import groups_shared, tolerate
from crossgraft.errors import UsageError
from crossgraft.multitask.asked import MultiRecipe, TaskAsked
from crossgraft.multitask.kinds import alike, check, side_of, task_of
from crossgraft.multitask.opening import Labels, bare, opened, parted
from crossgraft.multitask.pool import Pool, schedule_of
from crossgraft.sayable import unsayable
from crossgraft.several import Multi
from crossgraft.transcripts import Transcribe


def given(recipe: MultiRecipe, data: Mapping[str, Any], layers: Any = None) -> Pool:
    """Open, split, read and check; everything that is wrong is said here, before anything is trained.

    layers  a module or Backbone that the recipe can only name
    """
    recipe.refuse()
    asked = recipe.asked
    domains: dict[str, Domain] = {}
    columns: dict[str, dict[str, Labels]] = {}
    for name, what in data.items():
        wanted = {task: own for task, own in asked.items() if name in own.data}
        if wanted:
            domains[name], columns[name] = opened(
                name, what, wanted, input=recipe.input, split=recipe.split, group=recipe.group,
                separator=recipe.separator,
            )  # fmt: skip
    kind = common_kind(list(domains.values()))
    if any(own.kind == "transcribe" for own in asked.values()):
        if kind not in SOUND:
            raise UsageError("task transcribe needs clips", "give tables of audio files with a column of transcripts")
        kind = "utterance"
    warnings = _grouped(recipe, domains)
    parts: list[Domain] = []
    for name, domain in domains.items():
        tolerate(domain.skipped, len(domain) + len(domain.skipped), name)
        own = of_kind(bare(domain), kind)
        own = same_columns(own, parts[0], parts[0].name) if parts else own
        parts.append(parted(own, columns[name], recipe, warnings))
    nothing = [np.full(len(p), None, dtype=object) for p in parts]
    labels = {
        task: np.concatenate([columns[d].get(task, none) for d, none in zip(domains, nothing, strict=True)])
        for task in asked
    }
    domain = together(parts, "data") if len(parts) > 1 else replace(parts[0], origin=np.zeros(len(parts[0]), int))
    if len(parts) > 1:
        warnings += [note for note in groups_shared(domain) if not any(note in known for known in warnings)]
    return _read(recipe, asked, tuple(domains), _Read(domain, labels), warnings, layers)


def _grouped(recipe: MultiRecipe, domains: Mapping[str, Domain]) -> list[str]:
    """What is worth saying where only some data sets have the column of groups. Raises UsageError where none has."""
    lacking = [] if recipe.group is None else [n for n, d in domains.items() if d.groups is None]
    if lacking and len(lacking) == len(domains):
        what = f"{' and '.join(domains)} {'have' if len(domains) > 1 else 'has'} no column {recipe.group!r} (--group)"
        raise UsageError(what, "give a table that has it, or leave it out")
    return [f"{n} has no column {recipe.group!r}: each of its examples counts as a group of its own" for n in lacking]


@dataclass(eq=False)
class _Read:
    """Examples and their labels, while some are still left out."""

    domain: Domain
    labels: dict[str, Labels]

    def without(self, bad: list[tuple[int, str]]) -> Int[np.ndarray, " m"]:
        """Leave some examples out of everything; the places of the rest."""
        total, good = len(self.domain), np.setdiff1d(np.arange(len(self.domain)), [i for i, _ in bad])
        self.domain = self.domain.without(bad)
        self.labels = {task: y[good] for task, y in self.labels.items()}
        tolerate(self.domain.skipped, total, self.domain.name)
        return good


def _read(
    recipe: MultiRecipe, asked: Mapping[str, TaskAsked], sets: tuple[str, ...], held: _Read, warnings: list[str],
    layers: Any,
) -> Pool:  # fmt: skip
    """Inputs through the backbone, once; what cannot be read leaves all tasks."""
    lengths = None
    if held.domain.kind == "sentence":
        place = {str(n): i for i, n in enumerate(held.domain.names)}
        left, lengths = with_lengths(held.domain)
        held.without([(place[s.name], s.reason) for s in left.skipped if s.name in place])
    backbone = backbones.load(recipe.backbone if layers is None else layers, held.domain, weights=recipe.weights)
    _branches(recipe, backbone)
    key: tuple[str, object] = ("features", backbone.revision)
    stored = backbone.pretrained and backbone.given is None
    if not stored:
        key = ("pixels", backbone.preprocess or backbone.tokens)
    prepared = (features.features if stored else features.pixels)(held.domain, backbone)
    values = prepared.values
    if prepared.failures:
        good = held.without(prepared.failures)
        values, lengths = values[good], None if lengths is None else lengths[good]
    warnings += prepared.notes
    tasks = {name: task_of(name, own, held.labels[name], recipe) for name, own in asked.items()}
    near = alike(recipe, asked, tasks)
    whole = Multi.of_tasks(tasks, near)
    for name, task in tasks.items():
        if isinstance(task, Transcribe):
            own = replace(held.domain, labels=held.labels[name])
            truth = side_of(own, task, None, whole.columns_of(name)).truth
            assert truth is not None
            clips = values if not stored else features.pixels(held.domain, backbone).values
            if bad := unsayable(truth, clips, backbone):
                values = values[held.without(bad)]
    domain = held.domain
    kept: dict[object, Any] = {key: values}
    sides = {}
    for name, task in tasks.items():
        own = replace(domain, labels=held.labels[name])
        check(name, own, task, warnings)
        sides[name] = side = side_of(own, task, lengths, whole.columns_of(name))
        side.kept = kept
    test, learnt = (domain.take(np.flatnonzero(np.isin(domain.splits, s))) for s in (["test"], ["train", "unlabelled"]))
    warnings += leak_note(leaks(learnt, test, greys=features.kept_greys))
    return Pool(recipe, whole, backbone, domain, sets, lengths, sides, near, warnings, kept)


def _branches(recipe: MultiRecipe, backbone: Backbone) -> None:
    """Raises UsageError where the layers cannot branch, or learn some tasks first, as it was asked."""
    asked = [name for name, given in (("share", recipe.share != "all"), ("first", bool(recipe.first))) if given]
    if asked and schedule_of(recipe, backbone) == "frozen":
        raise UsageError(
            f"--{asked[0]} is of layers that learn, and they stand still",
            "use --schedule lp_ft or lora, or leave it out",
        )
    if recipe.share == "all":
        return
    names = [name for name, _ in backbone.groups]
    if recipe.share >= len(names):
        said = f"--share is {recipe.share}, and backbone {backbone.name} has {len(names)} groups of layers"
        raise UsageError(f"{said}: {', '.join(names)}", "share fewer, or all")
