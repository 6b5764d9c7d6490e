"""Which model to keep when no label of the target may be read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from crossgraft.choose import judge
from crossgraft.measure import validators
from crossgraft.measure.compare import Verdict
from crossgraft.measure.priors import label_shift
from crossgraft.methods import LABEL_FREE
from crossgraft.prepare import Job
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted

COLLAPSED = 0.2  # nats; one class of ten that is never named costs about 0.5, chance among 1,000 examples 0.01


def label_free(job: Job, models: Mapping[str, Fitted]) -> Verdict:
    """The better of the models by a validator that reads no target label; at a tie source only.

    A model whose predictions have collapsed is not kept, whatever the validator says: im and snd take sure and equal
    predictions for good ones. `oracle`, which must be asked for, goes by the labels of the test part.
    """
    name = job.selection.partition(":")[2]
    free, source = job.target.unlabelled(), job.source
    assert source is not None
    seen, held = job.target.over(source.columns), not_fitted(job, source)
    counts = {}
    for model, fitted in models.items():
        f, f_t = fitted.features(source, held), fitted.features(seen, free)
        p, p_t = (np.exp(fitted.of_features(each, source.columns)) for each in (f, f_t))
        job.validators[model] = validators.all_of(f, p, source.labels[held], f_t, p_t, seed=job.recipe.seed)
        counts[model] = np.bincount(p_t.argmax(1), minlength=len(source.columns))
        if model == "source_only":
            shift = label_shift(p, source.labels[held], p_t, resamples=0, seed=job.recipe.seed).value
    plain = np.bincount(source.labels, minlength=len(source.columns)) / len(source.labels)
    expected = [plain, shift] if "source_only" in models else [plain]
    lost = {m: min(validators.collapse(q, n) for q in expected) for m, n in counts.items()}
    for model, value in lost.items():
        job.validators[model]["collapse"] = value
    if job.selection == "oracle" and len(rows := job.target.rows("test")):
        scored = {m: -float(judge(fitted, job.target, rows).losses.mean()) for m, fitted in models.items()}
        said = ", ".join(f"{m} {-v:.3f}" for m, v in scored.items())
        best = max(scored, key=lambda m: scored[m])
        return Verdict(best, f"By the labels of the test part (oracle), cross-entropy in nats: {said}.")
    most = most_collapsed(lost.get("source_only", 0.0))
    gone = [m for m in models if m != "source_only" and lost[m] > most]
    sentences = [_collapsed(job, m, counts[m], plain) for m in gone]
    job.warnings += sentences
    if name not in LABEL_FREE or not job.recipe.guard:
        return Verdict("transfer", "It is what was asked for; nothing was compared.")
    scored = {m: v[name] for m, v in job.validators.items() if m not in gone}
    best = max(scored, key=lambda m: (scored[m], m == "source_only"))
    said = ", ".join(f"{m} {v[name]:.3f}" for m, v in job.validators.items())
    why = f"By {job.selection}, which reads no label of the target, the higher the better: {said}."
    return Verdict(best, " ".join([why, *sentences]))


def not_fitted(job: Job, source: Side) -> Int[np.ndarray, " n"]:
    """The tenth of the source that f_s was stopped by, not fitted to; all rows where there was none."""
    held = source.held_tenth(np.arange(len(source.labels)), job.recipe.seed, "source")
    return held if len(held) else np.arange(len(source.labels))


def most_collapsed(source_only: float) -> float:
    """Nats from the expected frequencies above which a model has collapsed: never what source only does itself."""
    return max(COLLAPSED, source_only)


def _collapsed(job: Job, model: str, counts: Int[np.ndarray, " k"], expected: Float[np.ndarray, " k"]) -> str:
    assert job.source is not None
    k = int((expected - counts / counts.sum()).argmax())
    name, about = job.task.classes[job.source.columns[k]], expected[k] * counts.sum()
    return (
        f"The predictions of {model} have collapsed: {counts[k]:,} of {counts.sum():,} target examples are called"
        f" {name} where about {about:,.0f} are expected. Give its terms on the target less weight, fewer steps, or use"
        " mcc or im, which hold the classes apart."
    )
