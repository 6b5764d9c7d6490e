"""Frames of a source brought to the target's mean, each speaker's by themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from crossgraft.features.frames import Frames
from crossgraft.solve.convex import Head
from crossgraft.solve.sequences import Sequences


def step(
    source: Float[np.ndarray, "S D"], target: Float[np.ndarray, "T D"], weights: Float[np.ndarray, " S"] | None = None
) -> Float[np.ndarray, " D"]:
    """s (m_t - m_s), s = max(0, 1 - (tr C_t / T + tr C_s / S) / |m_t - m_s|^2): takes off what two means of so few rows
    differ by when nothing has moved (James and Stein 1961). Of rows that weigh, S is (sum w)^2 / sum w^2.

    >>> draw = np.random.default_rng(0)
    >>> x = draw.normal(0, 1, (500, 2))
    >>> step(x, draw.normal(5, 1, (500, 2))).round(0).tolist(), step(x, x[:5]).tolist()
    ([5.0, 5.0], [0.0, 0.0])
    """
    mean, n_s = source.mean(0), float(len(source))
    if weights is not None:
        mean, n_s = np.average(source, axis=0, weights=weights), float(weights.sum() ** 2 / (weights**2).sum())
    off, counts = target.mean(0) - mean, (n_s, len(target))
    spread = zip((source, target), counts, strict=True)
    noise = sum(float(x.var(0, ddof=1).sum()) / n if len(x) > 1 else np.inf for x, n in spread)
    length = float((off**2).sum())
    share = max(0.0, 1 - noise / length) if length > 0 else 0.0
    return np.asarray(share * off)


def steps(source: Frames, target: Frames, groups: np.ndarray | None = None) -> Float[np.ndarray, "N D"]:
    """What is to be added to the frames of each source clip: the `step` of its group to the target, a row a clip, its
    mean: clips are what is independent.

    groups  of the source's clips (speakers); None, or "" each, where they are unknown: all of one

    >>> draw = np.random.default_rng(0)
    >>> far, near = (Frames.of(list(draw.normal(m, 1, (50, 9, 2)))) for m in (3, 0))
    >>> steps(near, far).mean().round(1), steps(near, near).mean()
    (np.float64(3.0), np.float64(0.0))
    """
    clips, aim = source.means(), target.means()
    names = np.full(len(source), "") if groups is None else np.asarray(groups, dtype=str)
    out = np.zeros_like(clips)
    for name in np.unique(names):
        out[names == name] = step(clips[names == name], aim)
    return out


def to_the_target(
    source: Sequences, target: Sequences, groups: np.ndarray | None, start: Head | None
) -> tuple[Sequences, Head | None]:
    """The source's transcripts with their frames moved by `steps`, and its head for frames that are, on the mean."""
    off = np.repeat(steps(source.x, target.x, groups), source.x.lengths, axis=0)
    moved = replace(source, x=Frames(source.x.flat + off, source.x.ends))
    return moved, None if start is None else replace(start, bias=start.bias - off.mean(0) @ start.weight)
