"""Scores group by group (speaker, patient), and environment by environment, on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossgraft.report.values import number, part
from crossgraft.report.words import SCORES, bounds, interval, model


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


def by_environment(result: dict[str, Any]) -> Groups | None:
    """The test part as it is and in each environment that it was heard in: the kept model, then each baseline, by its
    first score and its cross-entropy; None where it was heard in none."""
    test, baselines = part(result, "test"), part(result, "baselines")
    models = {"Kept": test} | {model(str(name)): own for name, own in baselines.items() if isinstance(own, dict)}
    places = part(test, "by_environment")
    scored = [m for m in SCORES if interval(test.get(m.key))]
    if not places or not scored:
        return None
    shown = dict.fromkeys((scored[0], scored[-1]))

    def cells(scores: list[dict[str, Any]]) -> list[tuple[str, str]]:
        said = [(m, interval(own.get(m.key))) for own in scores for m in shown]
        return [("–", "") if s is None else (m.text(s.value), bounds(m, s)) for m, s in said]

    rows = [("as it is", cells(list(models.values())), number(test.get("n")))]
    for place in places:
        own = [part(scores, "by_environment", place) for scores in models.values()]
        rows.append((str(place), cells(own), number(own[0].get("n"))))
    return Groups(None, [f"{name}: {m.title}, {m.unit}" for name in models for m in shown], rows)
