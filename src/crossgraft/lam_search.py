"""Lambda by trainings of the schedule itself: what `--lam search` asks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crossgraft.choose import Learn, held_out, too_few
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.solve.pick import worse_by

SEARCH_FOLDS = 3  # its price is so many trainings for each lambda
AROUND = (0.1, 0.3, 1.0, 3.0)  # lambdas, times that of the frozen path; 0 is always among them


def search_lam(job: Job, at: Callable[[float], Learn], frozen: float, schedule: str) -> float:
    """Lambda by cross-validation of the schedule itself, on a grid around the frozen path's.

    at      how to train with a lambda
    frozen  the lambda of the frozen path

    Of the lambdas whose held-out losses are within one standard error (of the paired difference) of the least, the one
    nearest to the frozen path's; 0 only where it is alone. Each lambda costs three trainings, or one where a validation
    part judges; a resumed run does not repeat those that are done.
    """
    if schedule in job.searched:
        return float(job.searched[schedule]["chosen"])
    if (smallest := too_few(job)) is not None:
        why = f"with {smallest} labels in the smallest class nothing can be held out"
        job.warnings.append(f"lambda was not searched for: {why}")
        return frozen
    lams = [0.0, *(float(f"{(frozen or 1.0) * factor:.2g}") for factor in AROUND)]
    say(f"search for lambda around {frozen:g} with schedule {schedule}")
    losses = np.stack([held_out(job, at(lam), f"{schedule}/lam_{lam:g}", most=SEARCH_FOLDS).losses for lam in lams])
    worse, error = worse_by(losses, losses[int(losses.mean(1).argmin())])
    far = [abs(np.log(lam / (frozen or 1.0))) if lam else np.inf for lam in lams]
    found = min(np.flatnonzero(worse <= error).tolist(), key=lambda i: (far[i], losses[i].mean()))
    rows = [
        {"lam": lam, "cross_entropy": float(loss), "difference": float(d), "standard_error": float(e)}
        for lam, loss, d, e in zip(lams, losses.mean(1), worse, error, strict=True)
    ]
    job.searched[schedule] = {"lams": rows, "frozen": frozen, "chosen": lams[found], "n": losses.shape[1]}
    return lams[found]
