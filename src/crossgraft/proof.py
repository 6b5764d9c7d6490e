"""What a run proves beside its scores: the gap, paired tests, calibration, and the labels that the transfer saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.choose import HeldOut, Rows, held_out, judged_on
from crossgraft.domains.clips import coarse
from crossgraft.errors import CrossgraftError
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.calibration import brier, ece, temperature, vector_scaling
from crossgraft.measure.compare import mcnemar, paired
from crossgraft.measure.divergence import gap
from crossgraft.measure.priors import adapted, label_shift
from crossgraft.measure.scores import mean_interval
from crossgraft.measure.worth import labels_saved, learning_curve
from crossgraft.moved_source import AS_READ
from crossgraft.multilabel import MultiLabel
from crossgraft.multilabelled import of_sets
from crossgraft.prepare import Job
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.fitted import Fitted, frozen_features, solve_frozen
from crossgraft.solve.path import scaling
from crossgraft.tagged import of_tags
from crossgraft.tasks import Tag, log_softmax
from crossgraft.transcribed import of_transcripts
from crossgraft.transcripts import Transcribe

GAP_ROWS = 500  # rows a domain that the gap is measured on
MOST = 1000  # rows that the learning curve may draw from, and those that it is judged on
PERMUTATIONS = 199
SIZES, REPEATS = 5, 5  # points of the learning curve, and draws of the labels
JUDGED = 20  # test examples below which no learning curve is drawn
PIXELS = 16  # largest side of the pictures that a learner without transfer sees
BAG = 512  # columns that the word pieces of texts are counted in, for the same
CURVE_RIDGES = (1e-2, 1e-3, 1e-4)
FLOOR = 1e-12  # probability of a class that the estimate has none of

LogP = Float[np.ndarray, "n k"]


def proof(
    job: Job, models: Mapping[str, Fitted], held: HeldOut | None, kept: str, log_p: Mapping[str, Any]
) -> dict[str, Any]:
    """Measured when every choice has been made: test labels are read here and choose nothing.

    held   of the kept model, `with_outputs`
    log_p  of each model on the labelled test rows, (n, k)

    A part that cannot be measured is None, or says why in "why".
    """
    test = job.target.rows("test")
    if isinstance(job.task, Tag):
        return of_tags(job, kept, log_p)
    if isinstance(job.task, MultiLabel):
        return {"gap": _gap(job, models)} | of_sets(job, held, kept, log_p)
    if isinstance(job.task, Transcribe):
        return {"gap": _gap(job, models)} | of_transcripts(job, held, kept, log_p)
    labels = job.target.labels[test]
    tested = {name: each for name, each in log_p.items() if len(test)}
    return {
        "gap": _gap(job, models),
        "paired": _paired(tested, labels, kept) if tested else [],
        "calibration": _calibration(job, models[kept], held, tested.get(kept), labels),
        "labels_saved": _labels_saved(job, tested[kept], kept) if tested and job.recipe.baselines else None,
    }


def _gap(job: Job, models: Mapping[str, Fitted]) -> dict[str, Any] | None:
    """Between source and target as the layers see them before anything learns from the target or is moved to it; of
    utterances the mean over the frames of each."""
    if job.source is None:
        return None
    if not job.backbone.pretrained and "source_only" not in models:
        return None  # the only layers that are left have learned from the target
    backbone = job.backbone if job.backbone.pretrained else models["source_only"].backbone
    sides = []
    for name, side in (("source", job.source), ("target", job.target)):
        drawn = np.sort(rng(job.recipe.seed, f"gap {name}").permutation(len(side.labels))[:GAP_ROWS])
        seen = side.kept.get((AS_READ, backbone.revision), frozen_features(backbone, side))
        sides.append((seen.means() if isinstance(seen, Frames) else seen)[drawn])
    try:
        return gap(*sides, seed=job.recipe.seed, permutations=PERMUTATIONS).json()
    except CrossgraftError as wrong:
        return {"why": wrong.what}


def _paired(log_p: Mapping[str, LogP], labels: Int[np.ndarray, " n"], kept: str) -> list[dict[str, Any]]:
    """The kept model against each other one on the same test examples: differences, kept less other, with p-values."""
    at = np.arange(len(labels))
    hits = {name: (each.argmax(1) == labels).astype(float) for name, each in log_p.items()}
    table = []
    for name, each in log_p.items():
        if name != kept and len(labels) > 1:
            accuracy = mean_interval(hits[kept] - hits[name], seed=0)
            entropy = paired(-log_p[kept][at, labels], -each[at, labels])
            row: dict[str, Any] = {"model": name}
            for score, found, p in (
                ("accuracy", accuracy, mcnemar(hits[kept], hits[name])),
                ("cross_entropy", entropy, entropy.p),
            ):
                row[score] = {"value": found.value, "low": found.low, "high": found.high, "p_value": p}
            table.append(row)
    return table


def _calibration(
    job: Job, model: Fitted, held: HeldOut | None, log_p: LogP | None, labels: Int[np.ndarray, " n"]
) -> dict[str, Any] | None:
    """What calibration by held-out labels of the target would do to the test scores; nothing is applied to the model.

    Temperature, vector scaling, and the correction for the frequencies of the target's unlabelled inputs (EM after
    bias-corrected temperature scaling). A temperature of the source is never taken: it is wrong on the target.
    """
    side = job.target
    rows = judged_on(job)
    z = None if held is None else held.log_probabilities
    if log_p is None:
        return None
    if not isinstance(z, np.ndarray) or len(z) != len(rows) or not len(rows):
        return {"why": "no held-out label of the target to calibrate with; the source's are not taken for them"}
    y, at = side.labels[rows], np.arange(len(labels))

    def measured(each: LogP) -> dict[str, float]:
        return {
            "cross_entropy": float(0.0 - each[at, labels].mean()),  # of 0 not -0
            "ece": ece(each, labels),
            "brier": brier(each, labels),
        }

    found, (a, b) = temperature(z, y), vector_scaling(z, y)
    return {
        "temperature": found,
        "n": len(rows),
        "fitted_on": "held-out labels of the target",
        "before": measured(log_p),
        "after": measured(log_softmax(log_p / found)),
        "vector": {"scale": a.tolist(), "bias": b.tolist(), "after": measured(log_softmax(a * log_p + b))},
        "label_shift": _shifted(job, model, z, y, log_p, measured),
    }


def _shifted(
    job: Job,
    model: Fitted,
    z: LogP,
    y: Int[np.ndarray, " m"],
    log_p: LogP,
    measured: Callable[[LogP], dict[str, float]],
) -> dict[str, Any]:
    """The correction for class frequencies that the target's unlabelled inputs have, or why there is none."""
    free = np.setdiff1d(job.target.unlabelled(), job.rows)
    if len(free) < JUDGED:
        return {"why": f"{len(free)} inputs of the target without a label tell no frequencies"}
    free = np.sort(rng(job.recipe.seed, "calibration frequencies").permutation(free)[:MOST])
    try:
        shift = label_shift(np.exp(z), y, np.exp(model.log_probabilities(job.target, free)), resamples=0)
    except CrossgraftError as wrong:
        return {"why": wrong.what}
    classes = [job.task.classes[c] for c in job.target.columns]
    after = np.log(np.maximum(adapted(np.exp(log_p), shift), FLOOR))
    q = dict(zip(classes, shift.value.tolist(), strict=True))
    return {"frequencies": q, "n": len(free), "after": measured(log_softmax(after))}


def with_outputs(job: Job, model: Fitted, held: HeldOut | None) -> HeldOut | None:
    """The held-out evidence of a model with its outputs: where leave-one-out gave losses alone, from folds at the
    lambda and ridge that the convex head has."""
    told = held is not None and held.log_probabilities is not None
    if told or model.point is None or model.schedule != "frozen":
        return held
    source = job.source if model.lam else None

    def refit(rows: Rows, use: str) -> Fitted:
        return solve_frozen(
            model.backbone, job.target, rows, source, len(model.bias), job.recipe.seed,
            lam=model.lam or 0.0, ridge=model.ridge, judged=False,
        )  # fmt: skip

    return held_out(job, refit, "calibration")


def _labels_saved(job: Job, log_p: LogP, kept: str) -> dict[str, Any] | None:
    """How many labels a learner without transfer needs for the cross-entropy of the kept model.

    Half of the test part is added to the labels that the learner may draw, and both are judged on the other half. The
    learner's ridge is the best in hindsight, so that the number is rather too small than too large.
    """
    side, test = job.target, job.target.rows("test")
    if kept == "target_only" or not len(job.rows):
        return None
    order = rng(job.recipe.seed, "labels saved").permutation(len(test))
    judged, rest = np.sort(order[: len(test) // 2][:MOST]), order[len(test) // 2 :]
    pool = np.concatenate([job.rows, test[rest]])[: MOST + len(job.rows)]
    k = len(side.columns)
    sizes = np.unique(np.geomspace(min(2 * k, len(pool)), len(pool), SIZES).astype(int)).tolist()
    if len(judged) < JUDGED or len(sizes) < 2 or len(np.unique(side.labels[pool])) < 2:
        return None
    x, without = _without_transfer(job)
    truth = side.labels[test[judged]]

    def losses(drawn: Int[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
        rows = pool[drawn]
        scale = scaling(x[rows])
        part = Part(scale.apply(x[rows]), side.labels[rows], np.arange(k))
        found = []
        for ridge in CURVE_RIDGES:
            head = scale.fold(solve([part], k, ridge=ridge))
            z = log_softmax(x[test[judged]].astype(np.float64) @ head.weight + head.bias)
            found.append(-z[np.arange(len(judged)), truth])
        best: Float[np.ndarray, " n"] = min(found, key=np.mean)
        return best

    curve = learning_curve(side.labels[pool], losses, sizes, repeats=REPEATS, seed=job.recipe.seed)
    mine = -log_p[judged, truth]
    found = labels_saved(curve.sizes, curve.losses, mine, len(job.rows), seed=job.recipe.seed)
    drawn = {"sizes": curve.sizes, "cross_entropy": curve.mean, "level": float(mine.mean())}
    return found.json() | {"without": without, "n": len(judged), "curve": drawn}


def _without_transfer(job: Job) -> tuple[Float[np.ndarray, "N D"], str]:
    """Features for a convex head that has nothing from the source, and what they are."""
    if job.backbone.pretrained and (job.source is not None or job.backbone.name == "identity"):
        return frozen_features(job.backbone, job.target), "the same features without the source"
    return small_inputs(job.target, job), "logistic regression on the inputs themselves"


def small_inputs(side: Side, job: Job) -> Float[np.ndarray, "N D"]:
    """Inputs as vectors; large pictures as averages over blocks, texts as counts of word pieces, clips as coarse
    spectra."""
    x = side.pixels(job.backbone)
    if isinstance(x, Ragged) and x.sound:
        return np.stack([coarse(x[np.array([i])].flat) for i in range(len(x))])
    if isinstance(x, Ragged):
        return x.counts(BAG)
    if x.ndim == 4 and (block := -(-x.shape[1] // PIXELS)) > 1:
        n, width, channels = len(x), x.shape[1] // block, x.shape[3]
        small = np.empty((n, width, width, channels), dtype=np.float32)
        for i in range(n):  # one at a time: all of the pixels may lie in a file
            cut = x[i, : width * block, : width * block].astype(np.float32)
            small[i] = cut.reshape(width, block, width, block, channels).mean((1, 3))
        x = small
    return np.asarray(x.reshape(len(x), -1), dtype=np.float32)
