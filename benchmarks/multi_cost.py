"""What two tasks of one clip cost together, as a share of one model each: training and prediction, in turns.

Digit and speaker of 200 clips, the speech embedding's layers learn; processor time, the median of the turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import numpy as np


def pool_of(seed: int, **more: Any) -> Any:
    """The pool of the clips of a seed."""
    from multi import clips

    from crossgraft.multitask.asked import MultiRecipe
    from crossgraft.multitask.given import given

    data, options = clips(seed)
    return given(MultiRecipe.of(data=dict.fromkeys(data, "given"), seed=seed, **(options | more)), data)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of some work, and what it gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def turn(pool: Any) -> dict[str, list[float]]:
    """Seconds of training and of prediction of both tasks together, and of each alone."""
    from crossgraft.multitask.learning import Steps

    spent: dict[str, list[float]] = {"training": [], "prediction": []}
    test = pool.examples("test")
    for names in (pool.names, *((n,) for n in pool.names)):
        with tempfile.TemporaryDirectory() as folder:
            steps = Steps(pool, Path(folder), lambda row: None)
            took, model = seconds(lambda steps=steps, names=names: steps.learn(names))
        spent["training"].append(took)
        spent["prediction"].append(seconds(lambda model=model: model.log_probabilities(pool, test))[0])
    return spent


def main() -> None:
    args = cells.arguments(__doc__ or "", turns=5, steps=40)
    cells.alone()
    pool = pool_of(args.first, steps=args.steps)
    pool.inputs(pool.backbone)  # read before, as is what torch imports for the first optimiser of a process: seconds
    turn(replace(pool, recipe=pool.recipe.model_copy(update={"steps": 1})))
    turns = [turn(pool) for _ in range(args.turns)]
    rows = []
    for what in ("training", "prediction"):
        both, *each = np.array([t[what] for t in turns]).T
        shares = both / np.sum(each, axis=0)
        rows.append([what, f"{np.median(shares):.2f}", f"{shares.min():.2f} to {shares.max():.2f}"])
    cells.table("multi-cost", ["", "together by both alone", "of single turns"], rows)


if __name__ == "__main__":
    main()
