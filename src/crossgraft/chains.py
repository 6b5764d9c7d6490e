"""Linear-chain conditional random fields: what a sequence of tags costs, and which one is the most probable.

p(y | x) = exp(sum_t A[y_{t-1}, y_t] + z_t[y_t]) / Z(x), where z_t are the logits of word t and A what a tag weighs
after another, -inf where it may not follow (Lafferty, McCallum and Pereira, ICML 2001). A sentence follows tag 0, O.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

START = 0  # the tag that a sentence follows: O


def by_time(lengths: Int[np.ndarray, " S"]) -> list[Int[np.ndarray, " n"]]:
    """The rows of all first words, of all second ones, and so on; in each the longest sentence comes first.

    >>> [rows.tolist() for rows in by_time(np.array([1, 3]))]
    [[1, 0], [2], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    return [starts[: int((lengths > t).sum())] + t for t in range(int(lengths.max(initial=0)))]


def viterbi(
    z: Float[np.ndarray, "W K"], lengths: Int[np.ndarray, " S"], transitions: Float[np.ndarray, "K K"]
) -> Int[np.ndarray, " W"]:
    """The tags of largest sum_t A[y_{t-1}, y_t] + z_t[y_t], of each sentence (Viterbi 1967).

    >>> never = np.array([[0.0, -np.inf], [0.0, 0.0]])
    >>> viterbi(np.array([[0.0, 9.0], [0.0, 1.0]]), np.array([2]), never).tolist()
    [0, 0]
    """
    rows, scores, back = by_time(lengths), np.array(z, dtype=np.float64), np.zeros(z.shape, dtype=np.int64)
    for t, here in enumerate(rows):
        if t == 0:
            scores[here] += transitions[START]
            continue
        ways = scores[rows[t - 1][: len(here)], :, None] + transitions
        back[here] = ways.argmax(1)
        scores[here] += ways.max(1)
    tags: np.ndarray = scores.argmax(1)
    for before, here in zip(rows[-2::-1], rows[:0:-1], strict=True):
        tags[before[: len(here)]] = back[here, tags[here]]
    return tags


@dataclass(frozen=True, eq=False)
class Chain:
    """What a model says of the tags of S sentences, whose W words stand one after the other.

    z            logits of each word, or log-probabilities: a constant a word changes nothing
    transitions  A
    lengths      words of each sentence

    By the chain rule p(y | x) is a product over words of p(y_t | y_{t-1}, x), so that a word has a cross-entropy.

    >>> two = Chain(np.zeros((2, 2)), np.array([[0.0, -np.inf], [0.0, 0.0]]), np.array([2]))
    >>> np.exp(two.marginals).tolist()  # nothing but O may follow O
    [[1.0, 0.0], [1.0, 0.0]]
    """

    z: Float[np.ndarray, "W K"]
    transitions: Float[np.ndarray, "K K"]
    lengths: Int[np.ndarray, " S"]

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, words: slice | Int[np.ndarray, " w"]) -> Chain:
        """The same of some words, which are those of whole sentences in order."""
        if isinstance(words, slice):
            words = np.arange(*words.indices(len(self)))
        owner = np.searchsorted(self._ends, words, side="right")
        return Chain(self.z[words], self.transitions, np.unique(owner, return_counts=True)[1])

    @cached_property
    def _ends(self) -> Int[np.ndarray, " S"]:
        return np.cumsum(self.lengths)

    @cached_property
    def _ahead(self) -> tuple[Float[np.ndarray, "W K"], Float[np.ndarray, "W K"]]:
        """u_t = z_t + b_t and v_t[i] = log sum_j exp(A[i, j] + u_t[j]), where b_t = v_{t+1}, 0 at the last word."""
        rows, u, v = by_time(self.lengths), np.array(self.z, dtype=np.float64), np.empty(self.z.shape)
        for t in range(len(rows) - 1, -1, -1):
            if t + 1 < len(rows):
                u[rows[t][: len(rows[t + 1])]] += v[rows[t + 1]]
            v[rows[t]] = _reached(u[rows[t]], self.transitions.T)
        return u, v

    @property
    def log_partition(self) -> Float[np.ndarray, " S"]:
        """log Z(x) of each sentence, nats, by the backward recursion."""
        found: np.ndarray = self._ahead[1][np.cumsum(self.lengths) - self.lengths, START]
        return found

    def losses(self, tags: Int[np.ndarray, " W"]) -> Float[np.ndarray, " W"]:
        """-log p(y_t | y_{t-1}, x) of each word, nats; over a sentence they add up to -log p(y | x)."""
        u, v = self._ahead
        at, before = np.arange(len(tags)), np.append(START, tags[:-1])
        before[np.cumsum(self.lengths) - self.lengths] = START
        found: np.ndarray = v[at, before] - self.transitions[before, tags] - u[at, tags]
        return found

    @cached_property
    def marginals(self) -> Float[np.ndarray, "W K"]:
        """log p(y_t | x) of each word, by forward and backward recursions (Rabiner, Proc. IEEE 77, 1989)."""
        u, v = self._ahead
        rows, out = by_time(self.lengths), np.empty(u.shape)
        for t, here in enumerate(rows):
            if t == 0:
                out[here] = u[here] + self.transitions[START] - v[here, START, None]
            else:
                out[here] = u[here] + _reached(out[rows[t - 1][: len(here)]] - v[here], self.transitions)
        return out

    def after(self, word: int, tag: int) -> Float[np.ndarray, " K"]:
        """log p(y_t | y_{t-1} = tag, x) of a word that is not its sentence's first."""
        u, v = self._ahead
        found: np.ndarray = self.transitions[tag] + u[word] - v[word, tag]
        return found

    @property
    def best(self) -> Int[np.ndarray, " W"]:
        """The most probable tags of each sentence."""
        return viterbi(self.z, self.lengths, self.transitions)


def marginals(log_p: Float[np.ndarray, "W K"] | Chain) -> Float[np.ndarray, "W K"]:
    """log p(y_t | x) of each word, of tags that are learned each for itself or as sequences."""
    return log_p.marginals if isinstance(log_p, Chain) else log_p


def _reached(a: Float[np.ndarray, "n K"], transitions: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "n K"]:
    """log sum_i exp(a_i + A[i, j])."""
    most = a.max(1, keepdims=True)
    with np.errstate(divide="ignore"):  # a tag that nothing leads to
        found: np.ndarray = np.log(np.exp(a - most) @ np.exp(transitions)) + most
    return found
