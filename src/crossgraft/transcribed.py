"""What a run proves and keeps of utterances: paired tests, a line each, the worst of them to hear with alignments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.alignments import align, best_path, cross_entropy
from crossgraft.domains.clips import RATE, encode
from crossgraft.features.frames import Frames
from crossgraft.measure.compare import paired
from crossgraft.measure.entities import difference
from crossgraft.measure.groups import ERRORS, rates
from crossgraft.measure.transcripts import RATES, error_counts
from crossgraft.prepare import Job
from crossgraft.run import PREDICTIONS, Run
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted
from crossgraft.transcripts import Transcribe, timed

UTTERANCES = "utterances.json"
SHOWN = 8  # utterances that the report shows
HEARD = 6  # seconds of each that it plays


def transcribed(
    run: Run, side: Side, task: Transcribe, test: Int[np.ndarray, " n"], log_p: Frames, kept: Fitted
) -> None:
    """Write what was said and understood in each test clip, and the clips with most errors: their sound, spectrogram,
    and where in time each symbol lies, as it was understood and as it should have been."""
    assert side.truth is not None
    own = side.truth[test]
    truth, said = task.texts(own.flat, own.lengths), task.decode(log_p.flat, log_p.lengths)
    losses = cross_entropy(log_p.flat, log_p.lengths, own.flat, own.lengths)
    errors = error_counts(truth, said)[..., ERRORS].sum(1)
    names = side.domain.names[test]
    run.write_lines(
        PREDICTIONS,
        [
            {"name": str(n), "label": y, "predicted": z, "cross_entropy": float(loss)}
            for n, y, z, loss in zip(names, truth, said, losses, strict=True)
        ],
    )
    rows = []
    for k, i in enumerate(np.lexsort((-losses, -errors))[:SHOWN].tolist()):
        if not errors[i]:
            break
        clip = side.domain.read(int(test[i]))
        folder = run.folder / "pictures"
        folder.mkdir(exist_ok=True)
        (folder / f"{k}.wav").write_bytes(encode(clip[: HEARD * RATE]))
        frames, times = log_p.clip(i), kept.backbone.times
        rows.append(
            {
                "name": str(names[i]),
                "label": truth[i],
                "predicted": said[i],
                "cross_entropy": float(losses[i]),
                "sound": f"{k}.wav",
                "heard": timed(task, best_path(frames), times),
                "labelled": timed(task, align(frames, side.truth[test[i : i + 1]].flat), times),
            }
        )
    run.write_json(UTTERANCES, rows)


def of_transcripts(job: Job, kept: str, log_p: Mapping[str, Frames]) -> dict[str, Any]:
    """The paired tests alone, by utterance: what else there is, but for the gap, takes one label an example."""
    side, test = job.target, job.target.rows("test")
    table = []
    if len(test) > 1 and side.truth is not None and isinstance(job.task, Transcribe):
        truth = job.task.texts(side.truth[test].flat, side.truth[test].lengths)
        counts = {m: error_counts(truth, job.task.decode(p.flat, p.lengths)) for m, p in log_p.items()}
        losses = {m: side.losses(p, test) for m, p in log_p.items()}
        for name in log_p:
            if name != kept:
                entropy = paired(losses[kept], losses[name])
                said: dict[str, Any] = {rate: difference(counts[kept][:, k], counts[name][:, k], score=rates)
                                        for k, rate in enumerate(RATES)}  # fmt: skip
                said["cross_entropy"] = {
                    "value": entropy.value, "low": entropy.low, "high": entropy.high, "p_value": entropy.p
                }  # fmt: skip
                table.append({"model": name} | said)
    why = {"why": "it is not measured for transcripts yet: a clip has no one label"}
    return {"paired": table, "calibration": why, "labels_saved": None}
