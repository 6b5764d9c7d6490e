"""Connectionist temporal classification: what a sequence of symbols costs, summed over its alignments with the frames.

An alignment gives each frame a symbol or the blank, column 0. It says the sequence that is left when repeats are made
one and blanks are taken out (Graves et al., ICML 2006).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log1p

import numpy as np
from jaxtyping import Float, Int

BLANK = 0
HOPELESS = 15.0  # nats
NEVER = -np.inf


def frames_needed(symbols: Int[np.ndarray, " L"]) -> int:
    """Frames below which a sequence has no alignment: one a symbol, and a blank between two that are the same.

    >>> frames_needed(np.array([1, 1, 2]))
    4
    """
    return len(symbols) + int((symbols[1:] == symbols[:-1]).sum())


def cross_entropy(
    log_p: Float[np.ndarray, "F K"],
    frames: Int[np.ndarray, " N"],
    symbols: Int[np.ndarray, " S"],
    counts: Int[np.ndarray, " N"],
) -> Float[np.ndarray, " N"]:
    """-log p(y | x) = -log sum over alignments a of y of prod_t p(a_t | x), nats, of each of N clips (eq. 3 and 5-8).

    log_p    of all frames, one clip after the other; frames (N,) of each clip
    symbols  of all sequences; counts (N,) of each. Infinite where there are fewer frames than `frames_needed`.

    >>> half = np.log(np.full((2, 2), 0.5))
    >>> round(float(np.exp(-cross_entropy(half, np.array([2]), np.array([1]), np.array([1]))[0])), 9)  # -1, 1-, 11
    0.75
    """
    n, width = len(frames), 2 * int(counts.max(initial=0)) + 1
    padded = np.zeros((n, int(frames.max(initial=1)), log_p.shape[1]))
    padded[np.arange(padded.shape[1]) < frames[:, None]] = log_p
    states = np.full((n, width), BLANK)
    odd = np.zeros((n, width // 2), dtype=np.int64)
    odd[np.arange(width // 2) < counts[:, None]] = symbols
    states[:, 1::2] = odd
    jumps = np.zeros((n, width), dtype=bool)  # over the blank between two symbols that differ
    jumps[:, 3::2] = odd[:, 1:] != odd[:, :-1]
    rows = np.arange(n)[:, None]
    alpha = np.full((n, width), NEVER)
    alpha[:, :2] = padded[rows, 0, states[:, :2]]
    for t in range(1, padded.shape[1]):
        one = np.pad(alpha[:, :-1], ((0, 0), (1, 0)), constant_values=NEVER)
        two = np.pad(alpha[:, :-2], ((0, 0), (2, 0)), constant_values=NEVER)[:, :width]
        total = np.logaddexp(np.logaddexp(alpha, one), np.where(jumps, two, NEVER))
        alpha = np.where(t < frames[:, None], total + padded[rows, t, states], alpha)
    last = 2 * counts
    said = np.where(counts > 0, alpha[np.arange(n), np.maximum(last - 1, 0)], NEVER)
    return np.asarray(-np.logaddexp(alpha[np.arange(n), last], said))


def a_symbol(losses: Float[np.ndarray, " N"], counts: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Losses of whole sequences, scaled so that their mean is that over all symbols.

    >>> a_symbol(np.array([3.0, 1.0]), np.array([3, 1])).tolist()
    [1.5, 0.5]
    """
    return losses * (len(losses) / max(int(counts.sum()), 1))


def best_path(log_p: Float[np.ndarray, "T K"]) -> list[tuple[int, int, int]]:
    """The most probable alignment's symbols: each with its first frame and one past its last.

    >>> best_path(np.log(np.array([[0.1, 0.9], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8]])))
    [(1, 0, 2), (1, 3, 4)]
    """
    path = log_p.argmax(1)
    cuts = np.flatnonzero(np.diff(path, prepend=-1))
    ends = [*cuts[1:].tolist(), len(path)]
    return [(int(path[a]), int(a), int(b)) for a, b in zip(cuts, ends, strict=True) if path[a] != BLANK]


def align(log_p: Float[np.ndarray, "T K"], symbols: Int[np.ndarray, " L"]) -> list[tuple[int, int, int]]:
    """The most probable alignment of a given sequence (Viterbi 1967): symbol, first frame, one past its last.

    Empty where there is none. A frame of a blank belongs to no symbol.

    >>> align(np.log(np.array([[0.4, 0.6], [0.6, 0.4], [0.4, 0.6]])), np.array([1, 1]))
    [(1, 0, 1), (1, 2, 3)]
    """
    n, states = len(log_p), np.zeros(2 * len(symbols) + 1, dtype=np.int64)
    if n < frames_needed(symbols) or not len(symbols):
        return []
    states[1::2] = symbols
    jumps = np.zeros(len(states), dtype=bool)
    jumps[3::2] = symbols[1:] != symbols[:-1]
    score = np.full(len(states), NEVER)
    score[:2] = log_p[0, states[:2]]
    back = np.zeros((n, len(states)), dtype=np.int64)
    for t in range(1, n):
        one = np.append(NEVER, score[:-1])
        two = np.where(jumps, np.concatenate([[NEVER, NEVER], score[:-2]])[: len(states)], NEVER)
        ways = np.stack([score, one, two])
        back[t] = ways.argmax(0)
        score = ways.max(0) + log_p[t, states]
    at = len(states) - 1 - int(score[-2] > score[-1])
    path = [at]
    for t in range(n - 1, 0, -1):
        at -= int(back[t, at])
        path.append(at)
    held = np.array(path[::-1])
    spans = [(s, np.flatnonzero(held == s)) for s in range(1, len(states), 2)]
    return [(int(states[s]), int(t[0]), int(t[-1]) + 1) for s, t in spans]


def beam(
    log_p: Float[np.ndarray, "T K"],
    width: int,
    prior: Callable[[tuple[int, ...], int], float] | None = None,
    ending: Callable[[tuple[int, ...]], float] | None = None,
) -> tuple[int, ...]:
    """The most probable sequence among `width` that are kept at every frame, its alignments summed (Hannun et al.,
    arXiv 1408.2873).

    prior   log of what a symbol weighs after a sequence, -inf where it may not follow
    ending  the same of a sequence that ends

    Without a prior, symbols that a frame gives less than e^-HOPELESS of its likeliest are passed over there.

    >>> beam(np.log(np.array([[0.6, 0.4], [0.6, 0.4]])), 4)  # 1 in three alignments, nothing in one
    (1,)
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NEVER)}  # ends in a blank, in its last symbol
    said: dict[tuple[int, ...], float] = {(): 0.0}  # logs of the priors
    for frame in log_p:
        row: list[float] = frame.tolist()
        least = NEVER if prior else max(row) - HOPELESS
        likely = [c for c in np.argsort(-frame)[: width + 1].tolist() if c != BLANK and row[c] >= least]
        after: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(sequence: tuple[int, ...], blank: float, symbol: float, into: dict = after) -> None:  # type: ignore[type-arg]
            b, s = into.get(sequence, (NEVER, NEVER))
            into[sequence] = (_sum(b, blank), _sum(s, symbol))

        for sequence, (b, s) in kept.items():
            total = _sum(b, s)
            add(sequence, total + row[BLANK], s + row[sequence[-1]] if sequence else NEVER)
            for c in likely:
                longer = (*sequence, c)
                if longer not in said:
                    said[longer] = said[sequence] + (prior(sequence, c) if prior else 0.0)
                if said[longer] > NEVER:  # after the same symbol only from a blank
                    add(longer, NEVER, (b if sequence and sequence[-1] == c else total) + row[c])
        best = sorted(after, key=lambda q: -(_sum(*after[q]) + said[q]))[:width]
        kept = {q: after[q] for q in best}

    def final(q: tuple[int, ...]) -> float:
        return _sum(*kept[q]) + said[q] + (ending(q) if ending else 0.0)

    found = max(kept, key=final)
    return found if final(found) > NEVER else ()


def _sum(a: float, b: float) -> float:
    """log(e^a + e^b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == NEVER else high + log1p(exp(low - high))


def ngram(
    sequences: Sequence[Sequence[int]], symbols: int, order: int = 3
) -> tuple[Callable[[tuple[int, ...], int], float], Callable[[tuple[int, ...]], float]]:
    """log p(symbol | the `order` - 1 before it), and of the end, from counts in given sequences.

    Contexts of all lengths, interpolated by how many symbols have followed each (Witten and Bell, IEEE Trans. Inf.
    Theory 37, 1991); below the shortest the uniform distribution over `symbols` and the end, BLANK.
    """
    counts: dict[tuple[int, ...], dict[int, int]] = {}
    for sequence in sequences:
        whole = [*sequence, BLANK]
        for i, c in enumerate(whole):
            for n in range(min(order, i + 1)):
                own = counts.setdefault(tuple(whole[i - n : i]), {})
                own[c] = own.get(c, 0) + 1

    def probability(context: tuple[int, ...], c: int) -> float:
        shorter = probability(context[1:], c) if context else 1 / (symbols + 1)
        if (own := counts.get(context)) is None:
            return shorter
        return (own.get(c, 0) + len(own) * shorter) / (sum(own.values()) + len(own))

    def prior(sequence: tuple[int, ...], c: int) -> float:
        return float(np.log(probability(sequence[len(sequence) - min(order - 1, len(sequence)) :], c)))

    return prior, lambda sequence: prior(sequence, BLANK)
