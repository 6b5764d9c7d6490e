"""Named entities on the page: F1 by type, and sentences with what was labelled and what was predicted."""

from __future__ import annotations

from typing import Any

from crossgraft.report.values import listed, number, part
from crossgraft.report.words import Interval, interval

Piece = tuple[
    str, str, float | None, bool
]  # text, type of entity or "", its probability, whether the other line has it


def by_type(result: dict[str, Any]) -> list[tuple[str, list[Interval | None], float | None]]:
    """Type, its F1, precision and recall, and how many true spans it has; the most frequent first."""
    found = part(result, "test", "by_type")
    rows = [
        (str(kind), [interval(part(scored, m)) for m in ("f1", "precision", "recall")], number(part(scored).get("n")))
        for kind, scored in found.items()
    ]
    return sorted(rows, key=lambda row: -(row[2] or 0))


def sentence(row: dict[str, Any]) -> dict[str, Any]:
    """One sentence as pieces, as predicted and as labelled."""
    words = [str(w) for w in listed(row, "words")]
    predicted, labelled = _spans(row, "predicted", len(words)), _spans(row, "labelled", len(words))
    return {
        "name": str(row.get("name", "")),
        "probability": number(row.get("probability")),
        "predicted": pieces(words, predicted, {s[:3] for s in labelled}),
        "labelled": pieces(words, labelled, {s[:3] for s in predicted}),
    }


Span = tuple[int, int, str, float | None]


def pieces(words: list[str], spans: list[Span], others: set[tuple[int, int, str]]) -> list[Piece]:
    """A sentence cut at its spans.

    >>> pieces(["Ada", "wrote"], [(0, 1, "person", 0.9)], set())
    [('Ada', 'person', 0.9, False), ('wrote', '', None, True)]
    """
    found: list[Piece] = []
    at = 0
    for start, end, kind, probability in spans:
        if start > at:
            found.append((" ".join(words[at:start]), "", None, True))
        found.append((" ".join(words[start:end]), kind, probability, (start, end, kind) in others))
        at = end
    if at < len(words):
        found.append((" ".join(words[at:]), "", None, True))
    return found


def _spans(row: dict[str, Any], key: str, n: int) -> list[Span]:
    """The spans of a row that lie in its sentence, in order and apart; nobody vouches for the file."""
    spans: list[Span] = []
    for s in listed(row, key):
        if isinstance(s, list) and len(s) in (3, 4) and all(type(x) is int for x in s[:2]):
            start, end = s[:2]
            if (spans[-1][1] if spans else 0) <= start < end <= n:
                spans.append((start, end, str(s[2]), number(s[3]) if len(s) == 4 else None))
    return spans
