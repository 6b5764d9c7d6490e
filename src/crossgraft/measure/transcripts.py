"""Transcripts: word and character error rates, with intervals over utterances and over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from crossgraft.alignments import a_symbol, cross_entropy
from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.measure.groups import grouped, interval
from crossgraft.measure.scores import mean_interval
from crossgraft.transcripts import Transcribe

RATES = ("word_error_rate", "character_error_rate")


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


def transcript_scores(
    task: Transcribe, log_p: Frames, truth: Ragged, groups: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Error rates and the cross-entropy of a symbol in nats, with intervals over utterances.

    groups  the speaker of each utterance: `groups.grouped`
    """
    counts = error_counts(task.texts(truth.flat, truth.lengths), task.decode(log_p.flat, log_p.lengths))
    losses = cross_entropy(log_p.flat, log_p.lengths, truth.flat, truth.lengths)
    found: dict[str, Any] = {"n": len(truth), "symbols": int(truth.lengths.sum())}
    found |= {name: interval(counts[:, k], seed).json() for k, name in enumerate(RATES)}
    found["cross_entropy"] = mean_interval(a_symbol(losses, truth.lengths), seed).json()
    return found | grouped({name: counts[:, k] for k, name in enumerate(RATES)}, groups, seed)
