"""What was said in a clip, as symbols: characters or words, with the blank of alignments as column 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from crossgraft.alignments import beam, best_path, ngram
from crossgraft.errors import CrossgraftError, nearest
from crossgraft.tasks import Classify, natural_order

Unit = Literal["characters", "words"]
FEW_WORDS, OFTEN = 200, 5  # words that are symbols by themselves: at most so many, each so often on the mean
WIDTH = 8  # sequences that are kept at every frame: to sum alignments, rather than to take the most probable one
LEAST_WIDTH = 16  # of a search among given words, which a narrow one may leave with none


@dataclass(frozen=True)
class Transcribe(Classify):
    """A sequence of symbols a clip. The classes are the blank, "", and the symbols.

    >>> task = Transcribe.of(["ab", "b"])
    >>> task.classes, task.symbols("ba").tolist()
    (('', 'a', 'b'), [2, 1])
    >>> task.decode(np.log([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))
    ['ab']
    """

    unit: Unit = "characters"
    kind = "transcribe"

    @classmethod
    def of(cls, transcripts: Iterable[str], unit: Unit | Literal["auto"] = "auto") -> Transcribe:
        """The task of all symbols that occur; `auto` takes words where they are few and each comes often."""
        held = list(transcripts)
        if unit == "auto":
            words = Counter(w for text in held for w in text.split())
            few = len(words) <= FEW_WORDS and words.total() >= OFTEN * len(words)
            unit = "words" if few and any(" " in text for text in held) else "characters"
        found = {s for text in held for s in (text.split() if unit == "words" else text)}
        return cls(("", *natural_order(found)), unit)

    def pieces(self, text: str) -> list[str]:
        """A transcript cut into symbols."""
        return text.split() if self.unit == "words" else list(text)

    def symbols(self, text: str) -> Int[np.ndarray, " L"]:
        """The columns of a transcript's symbols. Raises on one that the task does not have."""
        column = {c: k for k, c in enumerate(self.classes) if c}
        try:
            return np.array([column[s] for s in self.pieces(text)], dtype=np.int64)
        except KeyError as unknown:
            symbol = str(unknown.args[0])
            remedy = nearest(symbol, list(column)) or f"they are {' '.join(list(column)[:40])}"
            raise CrossgraftError(f"{symbol!r} is none of the {len(column)} {self.unit}", remedy) from None

    def text(self, symbols: Sequence[int]) -> str:
        """The transcript of some columns."""
        return (" " if self.unit == "words" else "").join(self.classes[c] for c in symbols).strip()

    def texts(self, symbols: Int[np.ndarray, " S"], counts: Int[np.ndarray, " N"]) -> list[str]:
        """The transcripts of sequences of columns, one after the other; counts (N,) of each."""
        return [self.text(own.tolist()) for own in np.split(symbols, np.cumsum(counts)[:-1])]

    def decode(
        self, log_probabilities: Float[np.ndarray, "F K"], lengths: Int[np.ndarray, " N"] | None = None
    ) -> list[str]:
        """The most probable transcript of each clip, its alignments summed (`alignments.beam`). lengths: frames of each
        clip, by default of one."""
        n = np.array([len(log_probabilities)]) if lengths is None else np.asarray(lengths)
        parts = np.split(log_probabilities, np.cumsum(n)[:-1])
        return [self.text(beam(part, WIDTH)) for part in parts]


def tidy(text: str) -> str | None:
    """A transcript with single blanks; None where nothing is left.

    >>> tidy(" four  two "), tidy("  ")
    ('four two', None)
    """
    return " ".join(text.split()) or None


def timed(
    task: Transcribe, spans: Iterable[tuple[int, int, int]], times: tuple[float, float]
) -> list[dict[str, str | float]]:
    """Spans of frames as seconds: each symbol with where it starts and ends.

    times  the middle of the first frame, and the seconds from one to the next
    """
    first, step = times
    return [
        {"symbol": task.classes[s], "start": round(max(first + (a - 0.5) * step, 0.0), 3),
         "end": round(max(first + (b - 0.5) * step, 0.0), 3)}
        for s, a, b in spans
    ]  # fmt: skip


@dataclass(frozen=True)
class Decoder:
    """How frames become a transcript.

    width  sequences that are kept at every frame; 1 takes what the most probable alignment says
    words  words that may be said, and no other; None for any
    lines  what is usually said: the symbols of each are counted, and their n-gram model speaks with `weight`

    >>> task = Transcribe(("", "a", "b"))
    >>> Decoder(task, 4, words=("b",)).text(np.log([[0.1, 0.6, 0.3]]))
    'b'
    """

    task: Transcribe
    width: int = WIDTH
    words: Sequence[str] | None = None
    lines: Sequence[str] | None = None
    weight: float = 0.5

    def text(self, log_p: Float[np.ndarray, "T K"]) -> str:
        """The transcript of one clip."""
        if self.width <= 1 and self.words is None and self.lines is None:
            return self.task.text([s for s, _, _ in best_path(log_p)])
        prior, ending = self._parts
        return self.task.text(beam(log_p, max(self.width, LEAST_WIDTH if self.words else 1), prior, ending))

    @cached_property
    def _parts(self) -> tuple[Callable[..., float], Callable[..., float]]:
        usual: Callable[..., float] = lambda q, c: 0.0  # noqa: E731
        end: Callable[..., float] = lambda q: 0.0  # noqa: E731
        if self.lines is not None:
            own = [self.task.symbols(line) for line in self.lines if self._known(line)]
            log_prior, log_end = ngram([s.tolist() for s in own], len(self.task.classes) - 1)
            usual, end = (lambda q, c: self.weight * log_prior(q, c)), (lambda q: self.weight * log_end(q))
        if self.words is None:
            return usual, end
        by_word = self.task.unit == "words"
        whole = set(self.words)
        starts = {w[:i] for w in whole for i in range(len(w) + 1)}

        def last(q: Sequence[int]) -> str:
            return "".join(self.task.classes[c] for c in q).rpartition(" ")[2]

        def may(q: Sequence[int], c: int) -> bool:
            symbol = self.task.classes[c]
            if by_word:
                return symbol in whole
            return last(q) in whole if symbol == " " else last([*q, c]) in starts

        def prior(q: Sequence[int], c: int) -> float:
            return usual(q, c) if may(q, c) else float("-inf")

        def ending(q: Sequence[int]) -> float:
            return end(q) if by_word or not q or last(q) in whole or not last(q) else float("-inf")

        return prior, ending

    def _known(self, line: str) -> bool:
        return all(piece in self.task.classes for piece in self.task.pieces(line))
