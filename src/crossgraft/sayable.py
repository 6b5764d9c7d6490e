"""Which clips can say their transcript: the others would cost infinitely much, or teach what nobody said."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from crossgraft.alignments import frames_needed
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains.clips import RATE
from crossgraft.features.ragged import Ragged
from crossgraft.side import Side


def leave_out_unsayable(side: Side, backbone: Backbone) -> None:
    """Leave out what is `unsayable`. Raises CrossgraftError where that is too much."""
    assert side.truth is not None
    clips = side.pixels(backbone)
    if bad := unsayable(side.truth, clips, backbone):
        side.leave_out(bad)


def unsayable(truth: Ragged, clips: Ragged, backbone: Backbone) -> list[tuple[int, str]]:
    """Clips that cannot say their transcript, and why: those too short for it, which no alignment says, so that its
    cross-entropy is infinite, silent ones, and those of which only the beginning is read.

    truth  symbols of each transcript; clips  samples of each
    """
    assert backbone.frames is not None
    assert backbone.tokens is not None
    lengths, longest = clips.lengths, backbone.tokens.length
    frames, needed, bad = backbone.frames(lengths), needs(truth), []
    for i in np.flatnonzero(truth.lengths):
        if needed[i] > frames[i]:
            what = f"the transcript needs {needed[i]} frames and the clip has {frames[i]}: it is too long for the clip"
            bad.append((int(i), what))
        elif np.ptp(clips[i : i + 1].flat) == 0:
            bad.append((int(i), "the clip is silent, and its transcript is not"))
        elif lengths[i] > longest:
            seconds = longest / RATE
            what = f"the clip is longer than {seconds:.0f} s, of which the first are read, and its transcript is of all"
            bad.append((int(i), what))
    return bad


def needs(truth: Ragged) -> Int[np.ndarray, " N"]:
    """Frames below which each transcript has no alignment.

    >>> needs(Ragged.of([np.array([1, 1]), np.array([2])])).tolist()
    [3, 1]
    """
    return np.array([frames_needed(truth[i : i + 1].flat) for i in range(len(truth))], dtype=np.int64)
