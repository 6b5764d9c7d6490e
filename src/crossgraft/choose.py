"""Which schedule, which lambda, and which model to keep: by held-out evidence, never by test labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.features.frames import Frames
from crossgraft.measure.compare import Verdict, guard
from crossgraft.measure.unknown import energy
from crossgraft.multilabel import Bernoullis
from crossgraft.prepare import Job
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted
from crossgraft.solve.path import Path, gathered, in_turn
from crossgraft.solve.pick import pick
from crossgraft.tasks import log_softmax

Rows = Int[np.ndarray, " n"]
Losses = Float[np.ndarray, " n"]
Learn = Callable[[Rows, str], Fitted]
FEW = 2  # labels in the smallest class below which a fold holds a whole class out
FOLDS, LARGE_FOLDS = 5, 3  # the second where each costs a training of pretrained layers, which are large
# At a tie: no transfer before transfer, and what has seen the target's labels before what has not.
SIMPLEST_FIRST = ("target_only", "transfer", "source_only")
# Standard errors by which a model must be better than a simpler one. One that has never seen a label of the target is
# kept where it is better beyond noise, not at a lucky draw. By benchmarks/guard.py on seeds 100 and 101.
MARGINS = {"transfer": 0.25, "source_only": 2.0}
# Held-out transcripts are few, and one of them may cost more than the rest: the transfer is left where another is ahead
# beyond noise. By benchmarks/transcribe.py on seeds 100 to 102, and on 100 and 101 with the source's words exchanged.
TRANSFER_FIRST, SPOKEN = ("transfer", "target_only", "source_only"), {"target_only": 1.0, "source_only": 2.0}
MOVING = {"lp_ft": 2.0}  # pretrained layers can be spoiled by few labels, whose evidence is as few


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model says of examples that it has not learned from.

    losses             -log p(y_i|x_i), nats, one an example (of sentences `Side.by_example`)
    log_probabilities  of every class, a row each, (n, k), of sets `Bernoullis`, of utterances `Frames`; None for tags,
                       and where leave-one-out gives the losses alone
    energies           how little of any class each example shows, nats (`measure.unknown`); None for sequences
    """

    losses: Losses
    log_probabilities: Float[np.ndarray, "n k"] | Bernoullis | Frames | None = None
    energies: Float[np.ndarray, " n"] | None = None


def outputs(model: Fitted, side: Side, rows: Rows) -> tuple[Any, Losses]:
    """Log-probabilities of rows over the side's columns, and their energies; of sequences and sets none, (0,)."""
    if not side.plain:
        return model.log_probabilities(side, rows), np.zeros(0)
    z = model.logits(model.features(side, rows), side.columns)
    return log_softmax(z), energy(z)


def judge(model: Fitted, side: Side, rows: Rows) -> HeldOut:
    """What a model says of rows that it has not learned from."""
    log_p, energies = outputs(model, side, rows)
    losses = side.losses(log_p, rows)
    told = log_p if len(energies) or isinstance(log_p, Bernoullis | Frames) else None
    return HeldOut(losses, told, energies if len(energies) else None)


def judged_on(job: Job) -> Rows:
    """Rows that evidence is about: the validation part where the selection names it, else the training rows."""
    return job.target.rows("val") if job.selection == "target_val" else job.rows


def held_out(job: Job, learn: Learn, use: str, final: Fitted | None = None, most: int | None = None) -> HeldOut:
    """What a model says of each row of `judged_on` without having learned from it.

    `learn(rows, use)` trains on target rows; `final`, where there is one, was trained on all of them. Leave-one-out
    comes with a convex solution; otherwise the folds, at `most` so many, by default five or, where pretrained layers
    move, three, are the same for every model, so that losses can be paired.
    """
    if job.selection == "target_val":
        return judge(final or learn(job.rows, use), job.target, judged_on(job))
    if job.selection == "loo" and final is not None and final.path is not None:
        return HeldOut(leave_one_out(final.path))
    found = _by_folds(job, learn, use, most)
    assert found is not None
    return found


def _by_folds(job: Job, learn: Learn, use: str, most: int | None = None, rival: Losses | None = None) -> HeldOut | None:
    """Evidence from folds; None as soon as a fold leaves it behind a rival's losses.

    What is behind after a fold or two does not end ahead beyond noise, and a training a fold is saved (Maron and Moore,
    NeurIPS 1994).
    """
    n, k = len(job.rows), len(job.target.columns)
    large = job.backbone.pretrained and job.backbone.groups and job.recipe.schedule != "frozen"
    most = most or (LARGE_FOLDS if large else FOLDS)
    log_p, losses, seen, energies = np.zeros((n, k)), np.zeros(n), np.zeros(n, dtype=bool), np.zeros(n)
    plain, clips = job.target.plain, dict[int, np.ndarray]()
    for i, held in enumerate(job.target.folds(job.rows, job.recipe.seed, "folds", most)):
        rest = np.setdiff1d(np.arange(n), held)
        own, found = outputs(learn(job.rows[rest], f"{use}/fold{i}"), job.target, job.rows[held])
        losses[held], seen[held] = job.target.row_losses(own, job.rows[held]), True
        if plain:
            log_p[held], energies[held] = own, found
        elif isinstance(own, Bernoullis):
            log_p[held] = own.z
        elif isinstance(own, Frames):
            clips |= zip(held.tolist(), map(own.clip, range(len(own))), strict=True)
        if rival is not None:
            judged = job.target.by_example(seen.astype(float), job.rows) > 0
            if job.target.by_example(losses, job.rows)[judged].mean() > rival[judged].mean():
                return None
    each = job.target.by_example(losses, job.rows)
    sets = None if job.target.sets is None else Bernoullis(log_p)
    told = log_p if plain else Frames.of([clips[i] for i in range(n)]) if clips else sets
    return HeldOut(each, told, energies if plain else None)


def leave_one_out(*paths: Path) -> Losses:
    """Leave-one-out losses at the lambda and ridge of the rule `posterior`; of several paths the rows one path after
    the other.

    The loss at a point of least mean would be that of the luckiest of many: with ten labels it may be a third of the
    truth (Varma and Simon, BMC Bioinformatics 7:91, 2006); a mean over the path is no lucky point. With the only label
    of a class left out, the source alone speaks for that class: the loss is that of the largest lambda, at the ridge of
    least loss of the other rows.
    """
    losses, uniform, alone = gathered(paths)
    lams, ridges = paths[0].lams, paths[0].ridges
    i, j = pick(losses, uniform, lams, ridges, "posterior", None, None, alone)
    out: Losses = losses[i, j].copy()
    for row in np.flatnonzero(alone) if len(out) > 1 else ():
        others, rest = np.delete(losses, row, axis=2), np.delete(alone, row)
        i, j = pick(others, uniform, lams, ridges, "min", lams.max(), None, rest)
        out[row] = losses[i, j, row]
    return out


def schedule_for(job: Job, learn: Callable[[str], Learn]) -> tuple[str, HeldOut | None]:
    """The schedule that was asked for; `auto` compares frozen and lp_ft on held-out examples.

    Layers that were pretrained stay frozen where lp_ft is not better by two standard errors, and the comparison ends
    after a fold that shows it behind; layers that have only seen the source here learn (lp_ft) at a tie.
    """
    asked = job.recipe.schedule
    if job.backbone.name == "identity":
        if asked not in ("auto", "frozen"):
            job.warnings.append(f"schedule {asked} moves layers and backbone identity has none: frozen was used")
        return "frozen", None
    if asked != "auto":
        return asked, None
    if (smallest := too_few(job)) is not None:
        why = f"with {smallest} labels in the smallest class nothing can be held out"
        job.warnings.append(f"schedule auto took frozen: {why}")
        return "frozen", None
    tried = {"frozen": held_out(job, learn("frozen"), "try_frozen")}
    if job.backbone.pretrained and job.selection != "target_val":
        moving = _by_folds(job, learn("lp_ft"), "try_lp_ft", rival=tried["frozen"].losses)
    else:
        moving = held_out(job, learn("lp_ft"), "try_lp_ft")
    if moving is None:
        return "frozen", tried["frozen"]
    tried["lp_ft"] = moving
    judged = {schedule: held.losses for schedule, held in tried.items()}
    order = ("frozen", "lp_ft") if job.backbone.pretrained else ("lp_ft", "frozen")
    kept = guard(judged, simplest_first=order, margins=MOVING).kept
    return kept, tried[kept]


def too_few(job: Job) -> int | None:
    """Labels in the smallest class where they are too few to hold any out, else None."""
    if not job.target.plain:  # few hold every type or symbol, or do without a class
        n = len(job.target.examples(job.rows))
        return n if n < FEW and job.selection != "target_val" else None
    smallest = int(np.bincount(job.target.labels[job.rows], minlength=len(job.target.columns)).min())
    return smallest if smallest < FEW and not job.covered and job.selection != "target_val" else None


def keep(job: Job, models: Mapping[str, Fitted], evidence: Mapping[str, HeldOut]) -> Verdict:
    """The guard against negative transfer: the better by paired held-out evidence, at a tie the simpler, of transcripts
    the transfer."""
    if job.selection == "oracle":
        return by_test_labels(job, models)
    asked = job.method if job.method in models else "transfer"
    spoken = job.target.truth is not None and job.method == "joint"
    first, margins = (TRANSFER_FIRST, SPOKEN) if spoken else (SIMPLEST_FIRST, MARGINS)
    order = [m for m in first if m in models]
    judged = {m: evidence[m].losses for m in order if m in evidence}
    if asked in models and (not job.recipe.guard or job.method in ("target_only", "source_only")):
        return Verdict(asked, "It is what was asked for; nothing was compared.")
    if len(order) == 1:
        return Verdict(order[0], "There was nothing to compare it with.")
    labels, k = job.target.labels[job.rows], len(job.target.columns)
    if job.selection != "target_val" and all(len(losses) == len(labels) for losses in judged.values()):
        if "target_only" in judged:
            judged["target_only"] = fair(judged["target_only"], labels, k)
        if "transfer" in judged and (np.bincount(labels, minlength=k) == 1).any():
            judged.pop("source_only", None)  # with its only label left out a class is judged as if there were none
    rows, simplest = judged_on(job), [m for m in order if m in judged]
    if min(map(len, judged.values()), default=0) < len(rows):  # a path leaves out some of many rows
        judged = {m: losses[in_turn(len(rows))] if len(losses) == len(rows) else losses for m, losses in judged.items()}
    judged = {m: job.target.independent(losses, rows) for m, losses in judged.items()}
    of = "examples" if job.target.groups(rows) is None else "groups of examples"
    return guard(judged, simplest_first=simplest, margins=margins, of=of)


def by_test_labels(job: Job, models: Mapping[str, Fitted]) -> Verdict:
    """`oracle`, which must be asked for: the model of least cross-entropy on the test part."""
    rows = job.target.rows("test")
    scored = {m: float(judge(fitted, job.target, rows).losses.mean()) for m, fitted in models.items()}
    said = ", ".join(f"{m} {v:.3f}" for m, v in scored.items())
    best = min(scored, key=lambda m: scored[m])
    return Verdict(best, f"By the labels of the test part (oracle), cross-entropy in nats: {said}.")


def fair(losses: Losses, labels: Int[np.ndarray, " n"], k: int) -> Losses:
    """Held-out losses without transfer, at most ln k where the example's class has no other label.

    Left out, nothing speaks for its class, and it is taken for any other one; with its label the model is no worse than
    one that knows nothing. Without this a source that tells nothing looks like a good one.
    """
    alone = np.bincount(labels, minlength=k)[labels] == 1
    return np.where(alone, np.minimum(losses, np.log(k)), losses)


@dataclass(eq=False)
class Outcome:
    """The trained models by name, their held-out evidence, and which of them is kept."""

    models: dict[str, Fitted]
    evidence: dict[str, HeldOut]
    verdict: Verdict
    schedule: str
