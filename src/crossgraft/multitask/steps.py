"""Several tasks at once: all together, each alone, what each does to each other, and which is kept for every task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossgraft import backbones
from crossgraft.asked import name_of
from crossgraft.errors import UsageError
from crossgraft.multitask.affinity import Affinity, affinities, grouping
from crossgraft.multitask.asked import MultiRecipe, tasks_of
from crossgraft.multitask.given import given
from crossgraft.multitask.guard import Sharing, guarded
from crossgraft.multitask.keep import BEYOND, MAIN, Kept, kept_for
from crossgraft.multitask.learning import Steps
from crossgraft.multitask.outputs import Joined
from crossgraft.multitask.record import record
from crossgraft.multitask.run import MultiRun
from crossgraft.processes import agreed
from crossgraft.progress import clock, say
from crossgraft.run import CHECKPOINTS, RESULT, free_folder


@dataclass(eq=False)
class Outcome:
    """Which tasks are trained together, their model, each task alone, and which of the two is kept for each."""

    sharing: Sharing
    joint: Joined
    alone: dict[str, Joined]
    kept: dict[str, Kept]
    affinity: list[Affinity]
    groups: list[list[str]]


def all_steps(steps: Steps, timed: Callable[[str], Any]) -> Outcome:
    """Together, alone, the guard of the main task, the affinity matrix, and what is kept."""
    pool, recipe = steps.pool, steps.pool.recipe
    sharing = Sharing(pool.names)
    with timed("joint"):
        steps.learn(pool.names)
    with timed("alone"):
        alone = {n: steps.learn((n,)) for n in pool.names} if recipe.baselines or recipe.guard else {}
    kept = {n: Kept("joint", "It is what was asked for; nothing was compared.") for n in pool.names}
    if recipe.guard:
        with timed("guard"):
            if recipe.main is not None:
                sharing = guarded(steps, recipe.main)
                steps.learn(sharing.together, sharing.weights)
            for n in pool.names:
                if n in sharing.dropped:
                    kept[n] = Kept("alone", f"Left out of the joint training: {sharing.dropped[n]}.")
                else:
                    losses = steps.losses(sharing.together, n, sharing.weights)
                    kept[n] = kept_for(losses, steps.losses((n,), n), MAIN if n == recipe.main else BEYOND)
    found: list[Affinity] = []
    if recipe.affinity:
        with timed("affinity"):
            found = measured(steps)
    groups = grouping(pool.names, found) if found else []
    return Outcome(sharing, steps.learn(sharing.together, sharing.weights), alone, kept, found, groups)


def measured(steps: Steps) -> list[Affinity]:
    """The affinity of every ordered pair of tasks that share something."""
    pool = steps.pool
    pairs, without, whole = {}, {}, {}
    for on in pool.names:
        every = tuple(n for n in pool.names if steps.schedule != "frozen" or n == on or n in pool.beside(on))
        whole[on] = steps.losses(every, on)
        for of in every:
            if of != on:
                pairs[of, on] = steps.losses(pool.ordered((of, on)), on)
                without[of, on] = steps.losses(tuple(n for n in every if n != of), on)
    return affinities({n: steps.losses((n,), n) for n in pool.names}, pairs, whole, without)


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
    options      the fields of `MultiRecipe`: main, weighting, heads, affinity, backbone (also a torch.nn.Module),
                 group, schedule, shots, seed, ...

    Raises CrossgraftError where the data, and UsageError where the options are wrong, before anything is trained.

    >>> run = multi({"clips": "clips.csv"}, tasks=["digit", "speaker"])  # doctest: +SKIP
    >>> run.result["tasks"]["digit"]["test"]["accuracy"]  # doctest: +SKIP
    """
    began = time.perf_counter()
    options, layers = backbones.named(options)
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
    folder = agreed(Path(out) if out is not None else free_folder("several"))
    run = MultiRun.create(folder, asked, resume=resume, backbone=layers)
    if resume and (folder / RESULT).exists():
        return MultiRun.open(folder, backbone=layers)
    seconds: dict[str, float] = {}
    timed = clock(seconds)
    say(f"run {folder}: reading the data sets")
    with timed("prepare"):
        pool = given(asked, dict(asked.data) if data is None else {str(n): d for n, d in data.items()}, layers)
    steps = Steps(pool, folder / CHECKPOINTS, run.log)
    outcome = all_steps(steps, timed)
    seconds["rest"] = time.perf_counter() - began - sum(seconds.values())
    run.conclude(lambda: record(run, steps, outcome, seconds))
    return run
