"""The page of a run of several tasks: each task's scores together and alone, and what each does to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from crossgraft.errors import CrossgraftError
from crossgraft.multilabel import joined
from crossgraft.report import figures, words
from crossgraft.report.html import put, template
from crossgraft.report.sections import seconds, training
from crossgraft.report.values import clean, part, rows
from crossgraft.report.words import SCORES, Interval, interval
from crossgraft.report.worth import signed

MISTAKES = 8


def write(folder: Path) -> Path:
    """Write report.html at once. Raises CrossgraftError where result.json cannot be read."""
    try:
        result = clean(json.loads((folder / "result.json").read_text(encoding="utf-8")))
        lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        predictions = [clean(json.loads(line)) for line in lines]
        recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
        logged = folder / "measures.jsonl"
        measures = (
            [json.loads(line) for line in logged.read_text(encoding="utf-8").splitlines()] if logged.exists() else []
        )
    except (OSError, ValueError) as wrong:
        raise CrossgraftError(f"the run in {folder} cannot be read: {wrong}", "run crossgraft multi again") from None
    put(
        folder / "report.html",
        render(result, predictions, recipe, measures),
        "make room or check the folder's permissions",
    )
    return folder / "report.html"


def render(
    result: dict[str, Any], predictions: list[dict[str, Any]], recipe: str, measures: list[dict[str, Any]]
) -> str:
    """The page as HTML."""
    names = [str(n) for n in part(result, "tasks")]
    return template("several.html.j2").render(
        result=result,
        recipe=recipe,
        headline=_headline(result),
        tasks=[_task(n, part(result, "tasks", n), predictions, i) for i, n in enumerate(names)],
        matrices=_matrices(result, names),
        training=training(measures),
        seconds=seconds(result),
    )


def _headline(result: dict[str, Any]) -> str:
    tasks = part(result, "tasks")
    alone = [n for n, own in tasks.items() if part(own, "kept").get("model") == "alone"]
    if not alone:
        return f"{len(tasks)} tasks are predicted by one model."
    together = len(tasks) - len(alone)
    beside = f"; {together} {'are' if together > 1 else 'is'} kept together" if together else ""
    return f"{', '.join(alone)}: better alone{beside}."


def _task(name: str, own: dict[str, Any], predictions: list[dict[str, Any]], at: int) -> dict[str, Any]:
    """One task's section."""
    scored = [(title, part(own, key)) for title, key in (("together", "joint"), ("alone", "alone")) if own.get(key)]
    measures = [m for m in SCORES if any(interval(s.get(m.key)) for _, s in scored)]
    kept = {"joint": "together"}.get(str(part(own, "kept").get("model")), "alone")
    table, drawn = [], []
    for title, s in scored:
        table.append({"title": title, "kept": title == kept, "cells": _cells(measures, s), "n": s.get("n")})
        if title == kept and (over := part(s, "over_groups")):
            title = f"over {over.get('n')} groups"
            table.append({"title": title, "kept": False, "cells": _cells(measures, over), "n": s.get("n")})
    for m in measures[:2]:
        held: list[tuple[str, Interval, bool]] = [
            (title, found, title == kept) for title, s in scored if (found := interval(s.get(m.key)))
        ]
        drawn.append(figures.intervals(m, held, f"task{at}-{m.key}"))
    wrong = [p for p in predictions if p.get("task") == name and p.get("label") != p.get("predicted")]
    return {
        "name": name,
        "id": f"task-{at}",
        "own": own,
        "kept": kept,
        "measures": measures,
        "rows": table,
        "figures": drawn,
        "paired": {k: signed(interval(v), 100.0 if k == "accuracy" else 1.0) for k, v in part(own, "paired").items()},
        "wrong": [(str(p.get("name")), *(_said(p, key) for key in ("label", "predicted"))) for p in wrong[:MISTAKES]],
        "n_wrong": len(wrong),
    }


def _cells(measures: list[words.Measure], scored: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(m, interval(scored.get(m.key))) for m in measures]
    return [("–", "") if s is None else (m.text(s.value), words.bounds(m, s)) for m, s in found]


def _said(row: dict[str, Any], key: str) -> str:
    """A class, the tags of a sentence, or a set of classes, whose rows have a probability of each."""
    label = row.get(key)
    if not isinstance(label, list):
        return str(label)
    return joined([str(c) for c in label]) if "probabilities" in row else " ".join(map(str, label))


def _matrices(result: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Affinities as tables: a row a task that is trained on, a column a task that is judged."""
    found = rows(result, "affinity", "of", "on", "value", "low", "high")
    if not found:
        return []
    pairs = {(str(x["of"]), str(x["on"])): part(x, "pair") for x in found}
    every = _matrix("Left out of all tasks, less with all", {(str(x["of"]), str(x["on"])): x for x in found}, names)
    return [every] if len(names) == 2 else [every, _matrix("Alone, less beside this task only", pairs, names)]


def _matrix(title: str, found: dict[tuple[str, str], dict[str, Any]], names: list[str]) -> dict[str, Any]:
    cells = []
    for of in names:
        row: list[tuple[Markup | str, str, str]] = []
        for on in names:
            x = interval(found.get((of, on)))
            low, high = (0.0, 0.0) if x is None else (x.low or 0.0, x.high or 0.0)
            tone = "good" if low > 0 else "bad" if high < 0 else ""
            row.append((*signed(x, 1.0), tone) if x is not None else ("", "", ""))
        cells.append((of, row))
    return {"title": title, "names": names, "rows": cells}
