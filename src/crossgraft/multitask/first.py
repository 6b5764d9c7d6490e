"""Tasks that the layers learn first: the others join on what those have taught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossgraft.multitask.moving import moving
from crossgraft.multitask.pool import Examples, Pool


def taught(
    pool: Pool,
    names: Sequence[str],
    examples: Examples,
    schedule: str,
    fold: str,
    *,
    folder: Path,
    log: Callable[[dict[str, Any]], None],
) -> Pool:
    """The pool on layers that have learned these tasks alone, for `first_steps`; they are as published as they were.

    Layers are shared in it, whatever branches follow: each begins where it ends.
    """
    recipe = pool.recipe.model_copy(update={"steps": pool.recipe.first_steps, "share": "all"})
    use = f"first {' and '.join(names)}"
    found = moving(
        replace(pool, recipe=recipe), names, examples, schedule, use, fold, seeds="first", folder=folder, log=log
    )
    return replace(pool, backbone=replace(found.fitted.backbone, adapted=pool.backbone.published))


def after(schedule: str) -> str:
    """How layers that have learned the first tasks learn all: those that began from nothing do so no more."""
    return "lp_ft" if schedule == "from_nothing" else schedule
