"""Which model to keep when no label of the target may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import BLANK, best_path
from crossgraft.choose import by_test_labels
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure import validators
from crossgraft.measure.compare import Verdict
from crossgraft.measure.priors import label_shift
from crossgraft.measure.transcripts import error_counts
from crossgraft.methods import LABEL_FREE
from crossgraft.prepare import Job
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve import sequences
from crossgraft.solve.fitted import Fitted
from crossgraft.solve.path import scaling
from crossgraft.solve.sequences import Sequences
from crossgraft.tasks import log_softmax
from crossgraft.transcripts import Transcribe

REVERSED = 200  # clips of the target that teach a head in reverse
COLLAPSED = 0.2  # nats; one class of ten that is never named costs about 0.5, chance among 1,000 examples 0.01


def label_free(job: Job, models: Mapping[str, Fitted]) -> Verdict:
    """The better of the models by a validator that reads no target label; at a tie source only.

    A model whose predictions have collapsed is not kept, whatever the validator says: im and snd take sure and equal
    predictions for good ones. `oracle`, which must be asked for, goes by the labels of the test part. Of transcripts
    symbols take the place of classes.
    """
    name = job.selection.partition(":")[2]
    source = job.source
    plain = _frequencies(job)
    expected, counts = [plain], {}
    for model, fitted in models.items():
        first = model == "source_only"
        if source is None:
            job.validators[model], counts[model], shift = _of_inputs(job, fitted, shifted=first)
        else:
            look = _of_rows if source.truth is None else _of_clips
            job.validators[model], counts[model], shift = look(job, fitted, source, shifted=first)
        expected += [] if shift is None else [shift]
    lost = {m: min(validators.collapse(q, n) for q in expected) for m, n in counts.items()}
    for model, value in lost.items():
        job.validators[model]["collapse"] = value
    if job.selection == "oracle":
        return by_test_labels(job, models)
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


def _frequencies(job: Job) -> Float[np.ndarray, " k"]:
    """How often the source has each class or symbol; all alike where its examples are not there."""
    if (source := job.source) is None:
        return np.full(len(job.known), 1 / len(job.known))
    named = np.bincount(source.targets(np.arange(len(source.labels))).flat, minlength=len(source.columns))
    return np.asarray(named / named.sum())


Looked = tuple[dict[str, float], Int[np.ndarray, " k"], Float[np.ndarray, " k"] | None]


def _of_rows(job: Job, fitted: Fitted, source: Side, *, shifted: bool) -> Looked:
    """Validators, how often each class is named on the target, and what label shift expects where it is asked."""
    seen, held, k = job.target.over(source.columns), not_fitted(job, source), len(source.columns)
    f, f_t = fitted.features(source, held), fitted.features(seen, job.target.unlabelled())
    p, p_t = (np.exp(fitted.of_features(each, source.columns)) for each in (f, f_t))
    labels, seed = source.labels[held], job.recipe.seed
    shift = label_shift(p, labels, p_t, resamples=0, seed=seed).value if shifted else None
    found = validators.all_of(f, p, labels, f_t, p_t, seed=seed)
    return found, np.bincount(p_t.argmax(1), minlength=k), shift


def _of_inputs(job: Job, fitted: Fitted, *, shifted: bool) -> Looked:
    """The same where only the model of the source is there: im and snd; what f_s names on the mean is expected."""
    seen, free = job.target.over(job.known), job.target.unlabelled()
    p = np.exp(fitted.of_features(fitted.features(seen, free), job.known))
    drawn = rng(job.recipe.seed, "validators target").permutation(len(p))[: validators.MOST]
    found = {"im": validators.im(p), "snd": validators.snd(p[drawn])}
    return found, np.bincount(p.argmax(1), minlength=len(job.known)), p.mean(0) if shifted else None


def _of_clips(job: Job, fitted: Fitted, source: Side, *, shifted: bool) -> Looked:
    """The same of transcripts: im by frames; dev and iwv by clips, whose mean features tell the domains apart; the
    share of the source's words that are right, and in reverse, by a head that learned what the model understood in the
    target. The blank is named as often as symbols are missing to the source's number a frame."""
    seen, held, task = job.target.over(source.columns), not_fitted(job, source), job.task
    assert isinstance(task, Transcribe)
    assert source.truth is not None
    f, f_t = fitted.features(source, held), fitted.features(seen, job.target.unlabelled())
    log_p, log_p_t = (fitted.of_features(each, source.columns) for each in (f, f_t))
    truth = source.truth[held]
    texts = task.texts(truth.flat, truth.lengths)

    def right(log_p: Frames) -> float:
        errors = error_counts(texts, task.decode(log_p.flat, log_p.lengths))[:, 0].sum(0)
        return float(1 - errors[0] / errors[1])

    said = [np.array([s for s, _, _ in best_path(log_p_t.clip(i))], dtype=np.int64) for i in range(len(log_p_t))]
    weights, losses = validators.odds(f.means(), f_t.means(), seed=job.recipe.seed), source.losses(log_p, held)
    found = {
        "im": validators.im(np.exp(log_p_t.flat)),
        "dev": validators.dev(losses, weights),
        "iwv": validators.iwv(losses, weights),
        "source_accuracy": right(log_p),
        "reverse": right(_reversed(f_t, said, f, source.columns)),
    }
    counts = np.bincount(np.concatenate(said), minlength=len(source.columns))
    wanted = len(truth.flat) * len(log_p_t.flat) / len(log_p.flat)
    counts[BLANK] = max(round(wanted) - counts.sum(), 0)
    return found, counts, None


def _reversed(f_t: Frames, said: Sequence[Int[np.ndarray, " L"]], f: Frames, columns: Int[np.ndarray, " k"]) -> Frames:
    """Log-probabilities of the source's frames by a head that learned what was understood in the target's clips.

    The layers stand still (Zhong et al., ECML PKDD 2010, retrain all of it); what is all blank teaches nothing.
    """
    scale, heard = scaling(f_t.flat, f.flat), [i for i, y in enumerate(said) if len(y)][:REVERSED]
    k = len(columns)
    if not heard:
        return f.map(lambda x: np.log(np.full((len(x), k), 1 / k)))
    part = Sequences(f_t[np.array(heard)].map(scale.apply), Ragged.of([said[i] for i in heard]), columns)
    head = scale.fold(sequences.solve([part], k, validators.REVERSE_RIDGE, steps=sequences.FEW_STEPS))
    return f.map(lambda x: log_softmax(x.astype(np.float64) @ head.weight + head.bias))


def not_fitted(job: Job, source: Side) -> Int[np.ndarray, " n"]:
    """The tenth of the source that f_s was stopped by, not fitted to; all rows where there was none."""
    held = source.held_tenth(np.arange(len(source.labels)), job.recipe.seed, "source")
    return held if len(held) else np.arange(len(source.labels))


def most_collapsed(source_only: float) -> float:
    """Nats from the expected frequencies above which a model has collapsed: never what source only does itself."""
    return max(COLLAPSED, source_only)


def _collapsed(job: Job, model: str, counts: Int[np.ndarray, " k"], expected: Float[np.ndarray, " k"]) -> str:
    k = int((expected - counts / counts.sum()).argmax())
    name, about = job.task.classes[job.known[k]], expected[k] * counts.sum()
    what = "target examples are called" if job.target.truth is None else "symbols of the target are understood as"
    return (
        f"The predictions of {model} have collapsed: {counts[k]:,} of {counts.sum():,} {what}"
        f" {name} where about {about:,.0f} are expected. Give its terms on the target less weight, fewer steps, or use"
        " mcc or im, which hold the classes apart."
    )
