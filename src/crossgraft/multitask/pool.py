"""The examples of all data sets, read once, and each task's labels of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft import features
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains.domain import SEQUENCES, Domain
from crossgraft.domains.splits import groups_apart
from crossgraft.features.frames import Frames
from crossgraft.folds import folds, whole_groups
from crossgraft.multitask.asked import MultiRecipe
from crossgraft.several import Multi
from crossgraft.side import Side

Examples = Int[np.ndarray, " m"]
Rows = Int[np.ndarray, " n"]


@dataclass(eq=False)
class Pool:
    """What the steps of several tasks work on.

    domain   the examples of all data sets, read once for all tasks
    sets     the data sets' names, by `domain.origin`
    lengths  words of each sentence, (N,); None where examples are no sentences
    sides    by task; those of tasks of sequences have a row an element
    alike    sets of tasks whose classes of one name are one class
    kept     inputs and features of all examples, by what they are
    """

    recipe: MultiRecipe
    task: Multi
    backbone: Backbone
    domain: Domain
    sets: tuple[str, ...]
    lengths: Int[np.ndarray, " N"] | None
    sides: dict[str, Side]
    alike: tuple[frozenset[str], ...]
    warnings: list[str]
    kept: dict[object, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names."""
        return self.task.names

    @property
    def schedule(self) -> str:
        """Pretrained layers stand still unless they are asked to move: that costs folds of every model."""
        return schedule_of(self.recipe, self.backbone)

    def weighed(self, weights: Sequence[tuple[str, float]]) -> Pool:
        """The pool with the weights of some tasks multiplied."""
        if not weights:
            return self
        tasks, factors = self.recipe.asked, dict(weights)
        lower = {n: t.model_copy(update={"weight": t.weight * factors.get(n, 1.0)}) for n, t in tasks.items()}
        return replace(self, recipe=self.recipe.model_copy(update={"tasks": lower}))

    def of_set(self, name: str, examples: Examples) -> Examples:
        """Those of some examples that are of a data set."""
        assert self.domain.origin is not None
        return np.asarray(examples[self.domain.origin[examples] == self.sets.index(name)])

    def labelled(self, name: str, examples: Examples) -> Rows:
        """The rows of some examples that have a label of a task."""
        side = self.sides[name]
        rows: Rows = side.rows_of(examples)
        return np.asarray(rows[side.labels[rows] >= 0])

    def examples(self, split: str, name: str | None = None) -> Examples:
        """The examples of a split, or those of them that have a label of a task."""
        found: Examples = np.flatnonzero(self.domain.splits == split)
        if name is not None:
            found = self.sides[name].examples(self.labelled(name, found))
        return found

    @property
    def grouped(self) -> bool:
        """Whether what is held out must be of whole groups."""
        return groups_apart(self.domain, self.examples("train")) is not None

    def ordered(self, names: Sequence[str]) -> tuple[str, ...]:
        """Some tasks in their order."""
        return tuple(n for n in self.names if n in names)

    def beside(self, name: str) -> tuple[str, ...]:
        """The other tasks that share classes with one."""
        return tuple(n for own in self.alike if name in own for n in self.names if n in own and n != name)

    def inputs(self, backbone: Backbone) -> Any:
        """Inputs of all examples as a backbone takes them, read once."""
        key = ("pixels", backbone.preprocess or backbone.tokens)
        if key not in self.kept:
            self.kept[key] = features.pixels(self.domain, backbone).values
        return self.kept[key]

    def features(self, backbone: Backbone, examples: Examples) -> Any:
        """One pass through the layers: features of some examples in order, of sentences a row a word, of utterances
        `Frames`."""
        if backbone is self.backbone and backbone.given is not None:  # in no store, and asked for again and again
            key = ("embedded", backbone.revision)
            if key not in self.kept:
                self.kept[key] = features.embed(backbone, self.inputs(backbone))
            return self.kept[key][examples]
        if not backbone.portable:
            return features.embed(backbone, self.inputs(backbone)[examples])
        key = ("features", backbone.revision)
        if key not in self.kept:
            self.kept[key] = features.features(self.domain, backbone).values
        return self.kept[key][self.elements(examples) if self.lengths is not None else examples]

    def of_examples(self, backbone: Backbone) -> Float[np.ndarray, "N D"]:
        """Features of all examples, one row each: of sequences the mean over their elements."""
        values = self.features(backbone, np.arange(len(self.domain)))
        return np.asarray(mean_of(values, self.lengths) if self.domain.kind in SEQUENCES else values)

    def held(self, values: Any) -> dict[object, Any]:
        """Features as a `Side` keeps them, of a backbone that is in the store or is not."""
        return {(kind, self.backbone.revision): values for kind in ("features", "embedded")}

    def elements(self, examples: Examples) -> Rows:
        """The words of some sentences among those of all."""
        assert self.lengths is not None
        return np.flatnonzero(np.isin(np.repeat(np.arange(len(self.lengths)), self.lengths), examples))

    def of_task(self, values: Any, name: str, examples: Examples) -> Any:
        """What a task's head reads of the features of some examples: its labelled rows, in order."""
        side = self.sides[name]
        if self.domain.kind in SEQUENCES and side.lengths is None and side.truth is None:
            values = mean_of(values, None if self.lengths is None else self.lengths[examples])
        return values[np.flatnonzero(side.labels[side.rows_of(examples)] >= 0)]

    def folds(self, seed: int, most: int) -> list[Examples]:
        """What each of `most` folds of the labelled training examples holds out, the same for all tasks: whole groups
        where the test part is of others; else classes are spread over the folds, those of the first task that an
        example has a label of."""
        train = self.examples("train")
        first, offset = np.full(len(self.domain), -1), 0
        for name in self.names:
            side = self.sides[name]
            rows = self.labelled(name, train)
            at = side.examples(rows)
            new = at[first[at] < 0]
            sequences = side.lengths is not None or side.truth is not None
            first[new] = offset + (0 if sequences else side.labels[new])
            offset += 1 if sequences else len(side.columns)
        train = train[first[train] >= 0]
        if (groups := groups_apart(self.domain, train)) is not None:
            return [train[held] for held in whole_groups(groups, seed, "folds", most)]
        return [train[held] for held in folds(first[train], seed, "folds", most)]


def schedule_of(recipe: MultiRecipe, backbone: Backbone) -> str:
    """The schedule that was asked for, or the one that the layers ask for."""
    if not backbone.pretrained:
        return "from_nothing" if backbone.name != "identity" else "frozen"
    return "frozen" if recipe.schedule == "auto" else recipe.schedule


def mean_of(values: Any, lengths: Int[np.ndarray, " N"] | None) -> Any:
    """One row an example: the mean over its words or frames; 0 where it has none."""
    if isinstance(values, Frames) or lengths is None:
        return values.means() if isinstance(values, Frames) else values
    return Frames(values, np.cumsum(lengths)).means()
