"""What a run proves and keeps of utterances: paired tests, a line each, the worst of them to hear with alignments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.alignments import a_symbol, align, cross_entropy
from crossgraft.choose import HeldOut, judged_on
from crossgraft.domains.clips import RATE, encode
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.calibration import brier, ece
from crossgraft.measure.compare import paired
from crossgraft.measure.entities import difference
from crossgraft.measure.groups import ERRORS, rates
from crossgraft.measure.transcripts import RATES, error_counts, sequence_temperature, transcript_losses
from crossgraft.prepare import Job
from crossgraft.run import PREDICTIONS, Run
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted
from crossgraft.transcripts import Transcribe, timed

UTTERANCES = "utterances.json"
SHOWN = 8  # utterances that the report shows
HEARD = 6  # seconds of each that it plays
LEAST = 1e-12  # nats that a transcript costs at least: nothing is certain


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
                "heard": timed(task, align(frames, task.symbols(said[i])), times),
                "labelled": timed(task, align(frames, side.truth[test[i : i + 1]].flat), times),
            }
        )
    run.write_json(UTTERANCES, rows)


def of_transcripts(job: Job, held: HeldOut | None, kept: str, log_p: Mapping[str, Frames]) -> dict[str, Any]:
    """The paired tests by utterance, and what a temperature would change; labels saved take one label an example.

    held  of the kept model
    """
    side, test = job.target, job.target.rows("test")
    table: list[dict[str, Any]] = []
    if not len(test) or side.truth is None or not isinstance(job.task, Transcribe):
        return {"paired": table, "calibration": None, "labels_saved": None}
    own = side.truth[test]
    truth = job.task.texts(own.flat, own.lengths)
    counts = {m: error_counts(truth, job.task.decode(p.flat, p.lengths)) for m, p in log_p.items()}
    losses = {m: side.losses(p, test) for m, p in log_p.items()}
    for name in log_p:
        if name != kept and len(test) > 1:
            entropy = paired(losses[kept], losses[name])
            said: dict[str, Any] = {rate: difference(counts[kept][:, k], counts[name][:, k], score=rates)
                                    for k, rate in enumerate(RATES)}  # fmt: skip
            said["cross_entropy"] = {
                "value": entropy.value, "low": entropy.low, "high": entropy.high, "p_value": entropy.p
            }  # fmt: skip
            table.append({"model": name} | said)
    heat = _calibration(job.task, side, judged_on(job), held, log_p[kept], test)
    return {"paired": table, "calibration": heat, "labels_saved": None}


def _calibration(
    task: Transcribe, side: Side, rows: Int[np.ndarray, " m"], held: HeldOut | None, log_p: Frames,
    test: Int[np.ndarray, " n"],
) -> dict[str, Any]:  # fmt: skip
    """What a temperature of the frames by held-out transcripts of the target would do to the test scores: to the nats
    a symbol, and to the probability of what was understood, as a claim that all of it is right."""
    assert side.truth is not None
    z = None if held is None else held.log_probabilities
    if not isinstance(z, Frames) or len(z) != len(rows) or not len(rows):
        return {"why": "no held-out transcript of the target to calibrate with; the source's are not taken for them"}
    found, truth = sequence_temperature(z, side.truth[rows]), side.truth[test]
    heard = Ragged.of([task.symbols(text) for text in task.decode(log_p.flat, log_p.lengths)])
    wrong = np.array([not np.array_equal(heard[i : i + 1].flat, truth[i : i + 1].flat) for i in range(len(test))])

    def measured(heat: float) -> dict[str, float]:
        sure = -np.maximum(transcript_losses(log_p, heard, heat), LEAST)
        claims = np.stack([sure, np.log(-np.expm1(sure))], axis=1)
        entropy = a_symbol(transcript_losses(log_p, truth, heat), truth.lengths).mean()
        y = wrong.astype(np.int64)
        return {"cross_entropy": float(entropy), "ece": ece(claims, y), "brier": brier(claims, y)}

    return {
        "temperature": found,
        "n": len(rows),
        "fitted_on": "held-out transcripts of the target",
        "before": measured(1.0),
        "after": measured(found),
    }
