"""Transcripts: word and character error rates, with intervals over utterances and over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.errors import CrossgraftError
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.groups import grouped, interval
from crossgraft.measure.scores import mean_interval
from crossgraft.tasks import log_softmax
from crossgraft.transcripts import Transcribe

RATES = ("word_error_rate", "character_error_rate")
HEATS = (float(np.log(0.05)), float(np.log(20)))  # logs of the temperatures that are looked among


def error_counts(truth: Sequence[str], said: Sequence[str]) -> Int[np.ndarray, "N 2 2"]:
    """Errors (substituted, deleted, inserted) of each transcript and its true length; in words, and in characters.

    >>> error_counts(["one two"], ["one too two"]).tolist()
    [[[1, 2], [4, 7]]]
    """
    import jiwer

    counts = np.zeros((len(truth), 2, 2), dtype=np.int64)
    for i, (y, z) in enumerate(zip(truth, said, strict=True)):
        both: tuple[Any, Any] = (jiwer.process_words(y, z), jiwer.process_characters(y, z))
        for k, found in enumerate(both):
            wrong = found.substitutions + found.deletions
            counts[i, k] = wrong + found.insertions, wrong + found.hits
    return counts


def sequence_temperature(log_p: Frames, truth: Ragged) -> float:
    """T = argmin of sum -log p(y | softmax(z / T)) + (log T)^2 / 2, nats, of transcripts y and log-probabilities z of
    frames; T within 0.05 and 20. The most probable alignment is the same at every T.

    The second part is a prior: few transcripts without an error would make it as small as may be. Fit it on held-out
    transcripts of the domain where it is used. Raises CrossgraftError where there is none.

    >>> surest = Frames.of([np.log([[0.02, 0.98]])] * 4)
    >>> said = Ragged.of([np.array([1])] * 3 + [np.array([], dtype=np.int64)])
    >>> round(sequence_temperature(surest, said), 2)  # without the prior ln 49 / ln 3 = 3.54
    2.17
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        raise CrossgraftError("there is no transcript to fit a temperature to", "give transcripts of this domain")

    def loss(log_t: float) -> float:
        return float(transcript_losses(log_p, truth, float(np.exp(log_t))).sum()) + log_t**2 / 2

    found = minimize_scalar(loss, bounds=HEATS, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def transcript_losses(log_p: Frames, truth: Ragged, temperature: float = 1.0) -> Float[np.ndarray, " N"]:
    """-log p(y | x), nats, of each transcript, with the frames' log-probabilities divided by a temperature."""
    flat = log_softmax(log_p.flat / temperature)
    return cross_entropy(flat, log_p.lengths, truth.flat, truth.lengths)


def transcript_scores(
    task: Transcribe, log_p: Frames, truth: Ragged, groups: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Error rates and the cross-entropy of a symbol in nats, with intervals over utterances.

    groups  the speaker of each utterance: `groups.grouped`
    """
    counts = error_counts(task.texts(truth.flat, truth.lengths), task.decode(log_p.flat, log_p.lengths))
    losses = transcript_losses(log_p, truth)
    found: dict[str, Any] = {"n": len(truth), "symbols": int(truth.lengths.sum())}
    found |= {name: interval(counts[:, k], seed).json() for k, name in enumerate(RATES)}
    found["cross_entropy"] = mean_interval(a_symbol(losses, truth.lengths), seed).json()
    return found | grouped({name: counts[:, k] for k, name in enumerate(RATES)}, groups, seed)
