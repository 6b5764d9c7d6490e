"""The trainings of several tasks: any of them together, on all labels or on folds, each once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.choose import HeldOut
from crossgraft.errors import UsageError
from crossgraft.multitask.first import after, taught
from crossgraft.multitask.frozen import frozen
from crossgraft.multitask.moving import moving
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.pool import Examples, Pool
from crossgraft.prepare import VALIDATION
from crossgraft.tasks import Classify

FOLDS = 3  # each costs a training for every model that is compared
Names = tuple[str, ...]
Weights = tuple[tuple[str, float], ...]
Key = tuple[Names, Weights]


@dataclass(eq=False)
class Steps:
    """What the trainings share; everything that was trained or judged is kept by the tasks that it was trained on.

    begun  layers that have learned the first of some tasks, on all examples or without a fold
    """

    pool: Pool
    folder: Path
    log: Callable[[dict[str, Any]], None]
    models: dict[Key, Joined] = field(default_factory=dict)
    evidence: dict[Key, dict[str, HeldOut]] = field(default_factory=dict)
    begun: dict[tuple[Key, str], Pool] = field(default_factory=dict)

    @property
    def schedule(self) -> str:
        """Which layers learn, and when."""
        return self.pool.schedule

    @property
    def selection(self) -> str:
        """Where held-out evidence comes from."""
        asked = self.pool.recipe.selection
        enough = all(len(self.pool.examples("val", n)) >= VALIDATION for n in self.pool.names)
        if asked == "target_val" or (asked == "auto" and enough):
            for n in self.pool.names:
                if not len(self.pool.examples("val", n)):
                    raise UsageError(f"task {n!r} has no label in the val part", "use --selection cv")
            return "target_val"
        one_by_one = self.schedule == "frozen" and self._classes(self.pool.names) and not self.pool.grouped
        return "loo" if one_by_one else "cv"

    def learn(self, names: Names, weights: Weights = ()) -> Joined:
        """The tasks of these names, together, on all their labelled training examples.

        weights  what the weight of some of them is multiplied by
        """
        if (key := (names, weights)) not in self.models:
            self.models[key] = self._on(key, self.pool.examples("train"))
        return self.models[key]

    def held_out(self, names: Names, weights: Weights = ()) -> dict[str, HeldOut]:
        """What a model of these tasks says of labels that it has not learned from, by task."""
        if (key := (names, weights)) not in self.evidence:
            if self.selection == "target_val":
                self.evidence[key] = self.learn(*key).judged(self.pool, self.pool.examples("val"), names)
            elif self.selection == "loo":
                self.learn(*key)
            else:
                self.evidence[key] = self._by_folds(key)
        return self.evidence[key]

    def losses(self, names: Names, on: str, weights: Weights = ()) -> np.ndarray:
        """The held-out losses of one of them, nats."""
        return np.asarray(self.held_out(names, weights)[on].losses)

    def _classes(self, names: Sequence[str]) -> bool:
        return all(type(self.pool.task.part(n)) is Classify for n in names)

    def _on(self, key: Key, examples: Examples, fold: str = "", held: Mapping[str, Any] | None = None) -> Joined:
        names, weights = key
        pool = self.pool.weighed(weights)
        if self.schedule == "frozen":
            found = frozen(pool, names, examples, held=held)
            if not fold and self._classes(names) and self.selection == "loo":
                self.evidence[key] = found.evidence
            return found.joined
        use, schedule = _called(key, self.pool.names), self.schedule
        if first := pool.ordered([n for n in names if n in pool.recipe.first]):
            pool, schedule = self._begin(pool, first, weights, examples, fold), after(schedule)
        return moving(pool, names, examples, schedule, use, fold, folder=self.folder, log=self.log)

    def _begin(self, pool: Pool, first: Names, weights: Weights, examples: Examples, fold: str) -> Pool:
        """The layers that have learned the first tasks, once for all trainings that begin with them."""
        key = ((first, tuple((n, w) for n, w in weights if n in first)), fold)
        if key not in self.begun:
            own = taught(pool, first, examples, self.schedule, fold, folder=self.folder, log=self.log)
            self.begun[key] = own
        return replace(pool, backbone=self.begun[key].backbone)

    def _by_folds(self, key: Key) -> dict[str, HeldOut]:
        """Folds of examples, the same for every model, so that losses are paired."""
        names, train = key[0], self.pool.examples("train")
        held = self.learn(*key).chosen if self.schedule == "frozen" else None
        at = {n: self.pool.examples("train", n) for n in names}
        losses = {n: np.full(len(at[n]), np.nan) for n in names}
        for i, fold in enumerate(self.pool.folds(self.pool.recipe.seed, FOLDS)):
            model = self._on(key, np.setdiff1d(train, fold), f"/fold{i}", held)
            for n, found in model.judged(self.pool, fold, names).items():
                losses[n][np.isin(at[n], fold)] = found.losses
        return {n: HeldOut(self._independent(n, own, train)) for n, own in losses.items()}

    def _independent(self, name: str, losses: np.ndarray, examples: Examples) -> np.ndarray:
        """Losses of a task's labelled examples, or of groups of them where whole ones were held out."""
        return np.asarray(self.pool.sides[name].independent(losses, self.pool.labelled(name, examples)))


def _called(key: Key, every: Names) -> str:
    """What a training is called."""
    names, weights = key
    factors = dict(weights)
    each = [f"{factors[n]:g} {n}" if n in factors else n for n in names]
    return "joint" if names == every and not weights else " and ".join(each)
