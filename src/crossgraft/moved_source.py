"""The source's features moved to the target's mean before any head is solved, where the target's labels favour it.

x_s + s (m_t - m_s), s by James and Stein (`solve.moved.step`), each source by itself. Another camera, writer or kind of
product moves all features alike, whatever their class. Other shares of the classes move their mean too: where all
labels are known that is reckoned with, and labels that were drawn by class do not show it. So labels must favour it,
or somebody must ask for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from crossgraft.errors import UsageError
from crossgraft.measure.scores import mean_interval
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.side import Side
from crossgraft.solve.convex import Part
from crossgraft.solve.fitted import frozen_features
from crossgraft.solve.joint import PATH_ROWS, drawn
from crossgraft.solve.moved import step
from crossgraft.solve.path import in_turn, path, scaling
from crossgraft.solve.pick import worse_by

LAM = 100.0  # held: where lambda is chosen, a source that is far off is turned off, and nothing is seen of moving it
MARGIN = 0.5  # standard errors by which labels must favour it; both by four pairs and digits, seeds 100 and 101
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4)
JUDGES = 200  # labels of the target that are looked at
AS_READ = "as read"  # what a source's features are kept by once they have been moved


def move_source(job: Job) -> None:
    """Move the source's features as the recipe asks; what was found stands in the job.

    auto  where left-out labels of the target cost less beside the moved source, by MARGIN standard errors and more,
          and less than a guess without looking: what a source whose labels say nothing seems to gain is luck. Of
          features that stand still, and of domains with the same classes
    mean  whatever the labels say

    Raises UsageError where it was asked for and no features stand still, or no examples are there.
    """
    source, asked = job.source, job.recipe.align
    if source is None and asked == "mean" and job.taught is not None:
        what = f"align mean moves examples of a source, and {job.taught.name} is a model without them"
        raise UsageError(what, "leave it out, or give the data as the source")
    if source is None or asked == "none" or (asked == "auto" and not _may(job, source)):
        return
    rows = job.rows[in_turn(len(job.rows), JUDGES)]
    judges = with_company(job.target.answers(rows))
    judged = judges.sum() > 1
    if asked == "auto" and not judged:
        return
    if not job.backbone.pretrained:
        what = f"align mean moves features that stand still, and backbone {job.backbone.name} learns them from nothing"
        raise UsageError(what, "leave it out, or name a pretrained backbone")
    say("the source's features at the target's mean")
    x, x_t = (frozen_features(job.backbone, side) for side in (source, job.target))
    moved = at_the_mean(job, source, x, x_t)
    found: dict[str, Any] = {"asked": asked, "moved": asked == "mean", "before": None, "after": None}
    if judged:
        before, after = (left_out(job, source, rows, own, x_t)[judges] for own in (x, moved))
        worse, error = worse_by(after, before)
        found |= {"before": float(before.mean()), "after": float(after.mean())}
        found |= {"difference": mean_interval(after - before, job.recipe.seed).json()}
        found["moved"] |= bool(worse < -MARGIN * error and after.mean() < job.target.blind)
    job.alignment = found
    if found["moved"]:
        key = "features" if job.backbone.portable else "embedded"  # where all that follow find them
        source.kept |= {(AS_READ, job.backbone.revision): x, (key, job.backbone.revision): moved}


def _may(job: Job, source: Side) -> bool:
    """Whether the source's features may be moved without being asked for."""
    still = job.backbone.pretrained and job.recipe.schedule in ("auto", "frozen") and job.recipe.source_steps is None
    same = set(source.columns.tolist()) == set(job.target.columns.tolist())
    rows = source.lengths is None and source.truth is None and job.target.groups(job.rows) is None
    return job.method == "joint" and still and same and rows


def with_company(y: Int[np.ndarray, "n ..."]) -> Bool[np.ndarray, " n"]:
    """Which labels are not the only one of their class; all where they are sets. Of the others only the source speaks
    when they are left out, as loudly from the wrong place.

    >>> with_company(np.array([0, 0, 1])).tolist()
    [True, True, False]
    """
    return np.asarray(np.bincount(y)[y] > 1) if y.ndim == 1 else np.ones(len(y), dtype=bool)


def at_the_mean(
    job: Job, source: Side, x: Float[np.ndarray, "N D"], x_t: Float[np.ndarray, "M D"]
) -> Float[np.ndarray, "N D"]:
    """Features of the source, those of each of several at the mean of the inputs that the target may learn from.

    Where the target's labels of all of these are known, the source's mean is that of classes as frequent as there.
    """
    free = job.target.unlabelled()
    origin = np.zeros(len(x), dtype=np.int64) if source.domain.origin is None else source.domain.origin
    own, there = source.columns[source.labels], job.target.columns[job.target.labels[free]]
    known = source.sets is None and np.isin(free, job.rows).all()  # labels of test rows are none of its business
    moved = np.array(x)
    for s in range(int(origin.max()) + 1):
        rows = np.flatnonzero((origin == s) & (source.labels >= 0))
        weights = as_frequent(own[rows], there) if known else None
        moved[origin == s] += step(x[rows], x_t[free], weights).astype(x.dtype)
    return moved


def as_frequent(own: Int[np.ndarray, " S"], there: Int[np.ndarray, " T"]) -> Float[np.ndarray, " S"] | None:
    """Weights of rows by which their classes are as frequent as elsewhere; None where a class has no row here.

    >>> as_frequent(np.array([0, 0, 0, 1]), np.array([0, 1])).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    k = int(max(own.max(), there.max())) + 1
    here, asked = np.bincount(own, minlength=k) / len(own), np.bincount(there, minlength=k) / len(there)
    if (asked > 0)[here == 0].any():
        return None
    return np.asarray((asked / np.where(here > 0, here, 1))[own])


def left_out(
    job: Job, source: Side, rows: Int[np.ndarray, " n"], x: Float[np.ndarray, "N D"], x_t: Float[np.ndarray, "M D"]
) -> Float[np.ndarray, " n"]:
    """Leave-one-out losses of these rows' labels with the source at these features beside them, at LAM, nats."""
    own = x_t[rows]
    scale = scaling(own, x)
    part = Part(scale.apply(own), job.target.answers(rows), job.target.columns)
    beside = drawn(Part(scale.apply(x), source.answers(), source.columns), PATH_ROWS, job.recipe.seed)
    solved = path(part, beside, len(job.task.classes), lams=[LAM], ridges=RIDGES)
    return np.asarray(solved.choose("min").losses)
