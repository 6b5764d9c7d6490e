"""Scores group by group (speaker, patient) on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossgraft.report.values import number, part
from crossgraft.report.words import SCORES, bounds, interval


@dataclass(frozen=True)
class Groups:
    """A table: titles of the measures, and of each group its name, cells of (value, interval), and how many examples;
    the first row is of all `n` groups, its intervals over groups."""

    n: float | None
    titles: list[str]
    rows: list[tuple[str, list[tuple[str, str]], float | None]]


def by_group(result: dict[str, Any]) -> Groups | None:
    """The groups of the test part, the worst first; None where fewer than two are known."""
    test = part(result, "test")
    found = {str(who): s for who, s in part(test, "by_group").items() if isinstance(s, dict)}
    over = part(test, "over_groups")
    scored = [m for m in SCORES if m.key in over or any(m.key in s for s in found.values())]
    if not found or not scored:
        return None

    def cells(own: dict[str, Any]) -> list[tuple[str, str]]:
        said = [(m, interval(own.get(m.key))) for m in scored]
        return [("–", "") if s is None else (m.text(s.value), bounds(m, s)) for m, s in said]

    def worst(row: tuple[str, dict[str, Any]]) -> float:
        s = interval(row[1].get(scored[0].key))
        return 0.0 if s is None else s.value if scored[0].higher_is_better else -s.value

    rows = [(who, cells(s), number(s.get("n"))) for who, s in sorted(found.items(), key=worst)]
    if over:
        rows.insert(0, ("all", cells(over), number(test.get("n"))))
    return Groups(number(over.get("n")), [f"{m.title}, {m.unit}" for m in scored], rows)
