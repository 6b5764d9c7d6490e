"""Sets of classes on the page: scores class by class, and the examples of largest cross-entropy."""

from __future__ import annotations

from typing import Any

from crossgraft.report.values import listed, number, part
from crossgraft.report.words import Interval, interval

Row = tuple[str, list[Interval | None], float | None, Interval | None, float | None]


def by_class(result: dict[str, Any]) -> list[Row]:
    """Class, its F1, precision and recall, its average precision, its cross-entropy, and how many examples have it."""
    return [
        (
            str(name),
            [interval(part(own, m)) for m in ("f1", "precision", "recall")],
            number(part(own).get("average_precision")),
            interval(part(own, "cross_entropy")),
            number(part(own).get("n")),
        )
        for name, own in part(result, "test", "by_class").items()
    ]


def example(row: dict[str, Any]) -> dict[str, Any]:
    """One example: each class that it has or was said to have, how probable it was, and whether that was right."""
    labelled, predicted = ({str(c) for c in listed(row, key)} for key in ("labels", "predicted"))
    shares = part(row, "probabilities")
    found = [
        (str(c), number(p), str(c) in predicted, (str(c) in predicted) == (str(c) in labelled))
        for c, p in shares.items()
        if str(c) in labelled | predicted
    ]
    return {
        "name": str(row.get("name", "")),
        "text": str(row.get("text") or ""),
        "cross_entropy": number(row.get("cross_entropy")),
        "classes": found,
    }
