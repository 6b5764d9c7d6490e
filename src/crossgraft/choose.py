"""Which schedule, and which model to keep: by held-out evidence, never by test labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from crossgraft.measure.compare import Verdict, guard
from crossgraft.prepare import Job, Side, folds
from crossgraft.solve.fitted import Fitted

Rows = Int[np.ndarray, " n"]
Losses = Float[np.ndarray, " n"]
Learn = Callable[[Rows, str], Fitted]
FEW = 2  # labels in the smallest class below which a fold holds a whole class out
# At a tie: no transfer before transfer, and what has seen the target's labels before what has not.
SIMPLEST_FIRST = ("target_only", "transfer", "source_only")
# A model that has never seen a label of the target is kept where it is better beyond noise, not at a lucky draw.
MARGINS = {"source_only": 2.0}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model says of examples that it has not learned from.

    losses             -log p(y_i|x_i), nats
    log_probabilities  of every class, (n, k); None where leave-one-out gives the losses alone
    """

    losses: Losses
    log_probabilities: Float[np.ndarray, "n k"] | None = None


def of(log_p: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> HeldOut:
    """Held-out evidence from log-probabilities."""
    return HeldOut(-log_p[np.arange(len(labels)), labels], log_p)


def judge(model: Fitted, side: Side, rows: Rows) -> HeldOut:
    """What a model says of rows that it has not learned from."""
    return of(model.log_probabilities(side, rows), side.labels[rows])


def judged_on(job: Job) -> Rows:
    """Rows that evidence is about: the validation part where the selection names it, else the training rows."""
    return job.target.rows("val") if job.selection == "target_val" else job.rows


def held_out(job: Job, learn: Learn, use: str, final: Fitted | None = None) -> HeldOut:
    """What a model says of each row of `judged_on` without having learned from it.

    `learn(rows, use)` trains on target rows; `final`, where there is one, was trained on all of them. Leave-one-out
    comes with a convex solution; otherwise the folds are the same for every model, so that losses can be paired.
    """
    if job.selection == "target_val":
        return judge(final or learn(job.rows, use), job.target, judged_on(job))
    if job.selection == "loo" and final is not None and final.point is not None:
        return HeldOut(final.point.losses)
    log_p = np.empty((len(job.rows), len(job.target.columns)))
    for i, held in enumerate(folds(job.target.labels[job.rows], job.recipe.seed, "folds")):
        rest = np.setdiff1d(np.arange(len(job.rows)), held)
        log_p[held] = learn(job.rows[rest], f"{use}/fold{i}").log_probabilities(job.target, job.rows[held])
    return of(log_p, job.target.labels[job.rows])


def schedule_for(job: Job, learn: Callable[[str], Learn]) -> tuple[str, HeldOut | None]:
    """The schedule that was asked for; `auto` compares frozen and lp_ft on held-out examples.

    At a tie layers that were pretrained stay frozen, and layers that have only seen the source here learn (lp_ft).
    """
    asked = job.recipe.schedule
    if job.backbone.name == "identity":
        if asked not in ("auto", "frozen"):
            job.warnings.append(f"schedule {asked} moves layers and backbone identity has none: frozen was used")
        return "frozen", None
    if asked != "auto":
        return asked, None
    smallest = int(np.bincount(job.target.labels[job.rows], minlength=len(job.target.columns)).min())
    if smallest < FEW and not job.covered and job.selection != "target_val":
        job.warnings.append(
            f"schedule auto took frozen: with {smallest} labels in the smallest class nothing can be held out"
        )
        return "frozen", None
    tried = {schedule: held_out(job, learn(schedule), f"try_{schedule}") for schedule in ("frozen", "lp_ft")}
    judged = {schedule: held.losses for schedule, held in tried.items()}
    kept = guard(judged, simplest_first=("frozen", "lp_ft") if job.backbone.pretrained else ("lp_ft", "frozen")).kept
    return kept, tried[kept]


def keep(job: Job, models: Mapping[str, Fitted], evidence: Mapping[str, HeldOut]) -> Verdict:
    """The guard against negative transfer: the better by paired held-out evidence, the simpler at a tie."""
    asked = job.method if job.method in models else "transfer"
    order = [m for m in SIMPLEST_FIRST if m in models]
    if asked in models and (not job.recipe.guard or job.method in ("target_only", "source_only")):
        return Verdict(asked, "It is what was asked for; nothing was compared.", ())
    if len(order) == 1:
        return Verdict(order[0], "There was nothing to compare it with.", ())
    return guard({m: evidence[m].losses for m in order}, simplest_first=order, margins=MARGINS)


@dataclass(eq=False)
class Outcome:
    """The trained models by name, their held-out evidence, and which of them is kept."""

    models: dict[str, Fitted]
    evidence: dict[str, HeldOut]
    verdict: Verdict
    schedule: str
