"""What a run proves and keeps of tagged sentences: paired tests, a line a word, the sentences that the report draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.chains import Chain, marginals
from crossgraft.measure.compare import paired
from crossgraft.measure.entities import difference, span_counts, span_probabilities
from crossgraft.prepare import Job
from crossgraft.run import PREDICTIONS, Run
from crossgraft.side import Side
from crossgraft.tasks import Tag, spans

SENTENCES = "sentences.json"
SHOWN = 12  # sentences that the report draws


def tagged(
    run: Run, side: Side, task: Tag, test: Int[np.ndarray, " W"], log_p: Float[np.ndarray, "W K"] | Chain
) -> None:
    """Write the predictions of all test words, and the sentences that the model is most wrongly sure about.

    How wrongly sure it is of a sentence is the largest probability of a tag that it gives a word wrongly.
    """
    lengths = side.words(test)
    assert lengths is not None
    predicted, truth = task.decode(log_p, lengths), [task.classes[k] for k in side.labels[test]]
    places, each = task.encode(predicted), marginals(log_p)
    sure = np.exp(each[np.arange(len(test)), places])
    wrong = np.where(places != task.encode(truth), sure, 0.0)
    rows, ends, worst = [], np.cumsum(lengths), []
    for i, (example, n) in enumerate(zip(side.examples(test).tolist(), lengths.tolist(), strict=True)):
        at = slice(ends[i] - n, ends[i])
        name = str(side.domain.names[example])
        rows += [
            {"name": name, "word": word, "label": y, "predicted": z, "log_probabilities": p}
            for word, y, z, p in zip(side.domain.read(example), truth[at], predicted[at], each[at], strict=True)
        ]
        worst.append((float(wrong[at].max()), i, example, at))
    run.write_lines(PREDICTIONS, rows)
    shown = []
    for probability, _, example, at in sorted(worst, key=lambda row: (-row[0], row[1]))[:SHOWN]:
        if probability:
            found = spans(predicted[at])
            likely = span_probabilities(task, log_p[at], found)
            shown.append(
                {
                    "name": str(side.domain.names[example]),
                    "words": list(side.domain.read(example)),
                    "probability": probability,
                    "labelled": [list(s) for s in spans(truth[at])],
                    "predicted": [[*s, p] for s, p in zip(found, likely, strict=True)],
                }
            )
    run.write_json(SENTENCES, shown)


def of_tags(job: Job, kept: str, log_p: Mapping[str, Float[np.ndarray, "W K"] | Chain]) -> dict[str, Any]:
    """The paired tests alone, by sentence: what else there is takes rows for independent of each other."""
    side, test = job.target, job.target.rows("test")
    words, table = side.words(test), []
    why = {"why": "it is not measured for tags yet: the words of a sentence are no independent examples"}
    if words is not None and len(words) > 1:
        task = Tag(tuple(job.task.classes[c] for c in side.columns))
        labels = side.labels[test]
        truth = [task.classes[k] for k in labels]
        counts = {m: span_counts(truth, task.decode(p, words), words, task.types).sum(1) for m, p in log_p.items()}
        losses = {m: side.by_example(task.cross_entropy(p, labels), test) for m, p in log_p.items()}
        for name in log_p:
            if name != kept:
                entropy = paired(losses[kept], losses[name])
                said = {"value": entropy.value, "low": entropy.low, "high": entropy.high, "p_value": entropy.p}
                table.append({"model": name, "f1": difference(counts[kept], counts[name]), "cross_entropy": said})
    return {"gap": why if job.source is not None else None, "paired": table, "calibration": why, "labels_saved": None}
