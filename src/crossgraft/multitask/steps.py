"""Several tasks at once: each alone, all together, what each does to each other, and which is kept for every task."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.asked import name_of
from crossgraft.errors import UsageError
from crossgraft.multitask.affinity import Affinity, affinities, grouping
from crossgraft.multitask.asked import MultiRecipe, tasks_of
from crossgraft.multitask.given import given
from crossgraft.multitask.keep import BEYOND, MAIN, Kept, harmed, kept_for
from crossgraft.multitask.learning import Names, Steps
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.record import record
from crossgraft.multitask.run import MultiRun
from crossgraft.progress import clock, say
from crossgraft.run import RESULT, free_folder


@dataclass(eq=False)
class Outcome:
    """The joint model and its tasks, each task alone, which is kept for each, and who was left out for whose sake."""

    together: Names
    joint: Joined
    alone: dict[str, Joined]
    kept: dict[str, Kept]
    dropped: dict[str, str]
    affinity: list[Affinity]
    groups: list[list[str]]


def all_steps(steps: Steps, timed: Callable[[str], Any]) -> Outcome:
    """Alone, together, the guard of the main task, the affinity matrix, and what is kept."""
    pool, recipe = steps.pool, steps.pool.recipe
    together, dropped = pool.names, {}
    with timed("joint"):
        steps.learn(together)
    with timed("alone"):
        alone = {n: steps.learn((n,)) for n in pool.names} if recipe.baselines or recipe.guard else {}
    kept = {n: Kept("joint", "It is what was asked for; nothing was compared.") for n in pool.names}
    pairs: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def pair(a: str, b: str) -> dict[str, np.ndarray]:
        names = tuple(n for n in pool.names if n in (a, b))
        return {n: found.losses for n, found in steps.held_out(names).items()}

    def loss(names: Names, name: str) -> np.ndarray:
        return np.asarray(steps.held_out(names)[name].losses)

    if recipe.guard:
        with timed("guard"):
            main = recipe.main
            if main is not None and harmed(loss(together, main), loss((main,), main), MAIN):
                dropped = {
                    n: f"beside it the held-out cross-entropy of {main!r} is worse than alone"
                    for n in pool.names
                    if n != main and harmed(pair(n, main)[main], loss((main,), main), MAIN)
                }
                rest = tuple(n for n in pool.names if n not in dropped)
                if dropped and len(rest) > 1:
                    together = rest
                    steps.learn(together)
            for n in pool.names:
                if n in dropped:
                    kept[n] = Kept("alone", f"Left out of the joint training: {dropped[n]}.")
                else:
                    kept[n] = kept_for(loss(together, n), loss((n,), n), MAIN if n == main else BEYOND)
    found: list[Affinity] = []
    if recipe.affinity:
        with timed("affinity"):
            for a, b in combinations(pool.names, 2):
                if steps.schedule != "frozen" or b in pool.beside(a):
                    pairs[a, b] = pair(a, b)
            found = affinities({n: loss((n,), n) for n in pool.names}, pairs)
    groups = grouping(pool.names, found) if found else []
    return Outcome(together, steps.learn(together), alone, kept, dropped, found, groups)


def multi(
    data: Mapping[str, Any] | None = None, tasks: Any = None, *, recipe: Any = None, out: Any = None,
    resume: bool = False, **options: Any,
) -> MultiRun:  # fmt: skip
    """Train several tasks on one trunk, and say for each whether the others help it.

    data         data sets by name: paths, Domains, data frames, arrays (X, y) or (X, {task: y})
    tasks        by name the column of labels, or the fields of `TaskAsked` (data, label, kind, weight); a list of
                 columns; or None for one task a data set. Labels may be missing: an example teaches the tasks it has
                 labels of. The column @data is the name of the data set
    recipe       a TOML file with options; those given here take precedence
    out, resume  the run's folder, and whether to continue what it holds
    options      the fields of `MultiRecipe`: main, weighting, heads, affinity, backbone, schedule, shots, seed, ...

    Raises CrossgraftError where the data, and UsageError where the options are wrong, before anything is trained.

    >>> run = multi({"clips": "clips.csv"}, tasks=["digit", "speaker"])  # doctest: +SKIP
    >>> run.result["tasks"]["digit"]["test"]["accuracy"]  # doctest: +SKIP
    """
    began = time.perf_counter()
    named: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    if data is not None:
        named["data"] = {str(name): name_of(what) for name, what in data.items()}
    if tasks is not None:
        named["tasks"] = tasks_of(tasks)
    if recipe is None and resume and data is None and out is not None:
        recipe = Path(out) / "recipe.toml"
    if recipe is None and data is None:
        raise UsageError("no data are given", "name at least one data set: --data NAME=PATH")
    asked = MultiRecipe.read(Path(recipe), **named) if recipe is not None else MultiRecipe.of(**named)
    asked.refuse()
    folder = Path(out) if out is not None else free_folder("several")
    run = MultiRun.create(folder, asked, resume=resume)
    if resume and (folder / RESULT).exists():
        return MultiRun.open(folder)
    seconds: dict[str, float] = {}
    timed = clock(seconds)
    say(f"run {folder}: reading the data sets")
    with timed("prepare"):
        pool = given(asked, dict(asked.data) if data is None else {str(n): what for n, what in data.items()})
    steps = Steps(pool, folder / "checkpoints", run.log)
    outcome = all_steps(steps, timed)
    seconds["rest"] = time.perf_counter() - began - sum(seconds.values())
    record(run, steps, outcome, seconds)
    run.report()
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return run
