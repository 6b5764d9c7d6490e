"""Transcripts: word and character error rates, with intervals over utterances and over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.entities import resampled
from crossgraft.measure.scores import LEVEL, Score, mean_interval, wilson
from crossgraft.transcripts import Transcribe

RATES = ("word_error_rate", "character_error_rate")
ERRORS, TRUE = 0, 1


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


def rates(counts: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, " *B"]:
    """Errors over true length, which may be above 1."""
    errors, true = np.moveaxis(np.asarray(counts, dtype=float), -1, 0)
    found: np.ndarray = np.divide(errors, true, out=np.zeros_like(errors), where=true > 0)
    return found


def interval(counts: Int[np.ndarray, "N 2"], seed: int = 0) -> Score:
    """The rate of all with the percentile interval of the bootstrap over rows; NaN with one row. Without any error,
    which no draw of rows would show either, Wilson's interval of none among so many words or characters."""
    value = float(rates(counts.sum(0)))
    if len(counts) > 1 and not counts[:, ERRORS].any():
        return wilson(np.zeros(max(int(counts[:, TRUE].sum()), 1)))
    if len(counts) < 2:
        return Score(value, float("nan"), float("nan"))
    low, high = np.quantile(rates(resampled(counts, seed)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(value, float(low), float(high))


def transcript_scores(
    task: Transcribe, log_p: Frames, truth: Ragged, groups: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Error rates and the cross-entropy of a symbol in nats, with intervals over utterances.

    groups  the speaker of each utterance: gives the same by speaker, and `over_speakers`, an interval that takes
            speakers rather than utterances for independent, where there are two or more
    """
    counts = error_counts(task.texts(truth.flat, truth.lengths), task.decode(log_p.flat, log_p.lengths))
    losses = cross_entropy(log_p.flat, log_p.lengths, truth.flat, truth.lengths)
    found: dict[str, Any] = {"n": len(truth), "symbols": int(truth.lengths.sum())}
    found |= {name: interval(counts[:, k], seed).json() for k, name in enumerate(RATES)}
    found["cross_entropy"] = mean_interval(a_symbol(losses, truth.lengths), seed).json()
    speakers = sorted({str(g) for g in groups if g}) if groups is not None else []
    if groups is not None and len(speakers) > 1:
        own = {s: counts[groups == s] for s in speakers}
        totals = np.stack([c.sum(0) for c in own.values()])
        found["over_speakers"] = {name: interval(totals[:, k], seed).json() for k, name in enumerate(RATES)}
        found["by_speaker"] = {
            s: {"n": len(c)} | {name: interval(c[:, k], seed).json() for k, name in enumerate(RATES)}
            for s, c in own.items()
        }
    return found
