"""The page: every section from the files of the run, nothing from elsewhere."""

from __future__ import annotations

import os
from base64 import b64encode
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from crossgraft.errors import CrossgraftError
from crossgraft.report import evidence, figures, words
from crossgraft.report.files import RunFiles, number, read
from crossgraft.report.words import SCORES, Interval, bounds, count, interval, nats, part

LARGEST_MATRIX = 30
SHOWN_ROWS = 50
ORACLE = "Chosen by the test labels (oracle): these scores are too good, and comparable only with others chosen so."
SELECTIONS = {
    "target_val": ", the labels of the target's validation part",
    "loo": ", leave-one-out on the labels of the target's training part",
    "source_val": ", the labels of the source's validation part",
    "last": ", the last step, without looking at a label",
}


def write(folder: Path) -> Path:
    """Write report.html at once: a crash leaves the old page or the new one."""
    page, target = render(read(folder)), folder / "report.html"
    try:
        scratch = target.with_name("report.html.part")
        scratch.write_text(page, encoding="utf-8")
        os.replace(scratch, target)
    except OSError as wrong:
        raise CrossgraftError(
            f"cannot write {target}: {wrong.strerror}", "make room or check the folder's permissions"
        ) from None
    return target


def render(run: RunFiles) -> str:
    """The page of a run as HTML."""
    here = resources("crossgraft.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"nats": _nats, "plain": _plain}
    environment.globals |= {"count": count, "narrow": words.NARROW, "SHOWN_ROWS": SHOWN_ROWS}
    template = environment.from_string((here / "template.html.j2").read_text(encoding="utf-8"))
    style = Markup((here / "style.css").read_text(encoding="utf-8"))
    return template.render(style=style, **context(run)) + "\n"


def context(run: RunFiles) -> dict[str, Any]:
    """What the template shows, each section under its own name; a section without data is empty."""
    result = run.result
    classes = [str(c) for c in _list(part(result, "task"), "classes")]
    things = "pictures" if run.pictures else "examples"
    return {
        "name": str(result.get("name") or "run"),
        "verdict": words.verdict(result, things),
        "facts": _facts(result),
        "alerts": _alerts(result),
        "scores": _scores(result),
        "objective": _objective(result),
        "selection": str(result.get("selection") or ""),
        "selection_means": SELECTIONS.get(str(result.get("selection")), ""),
        "lam": number(result.get("lam")),
        "ridge": number(result.get("ridge")),
        "kept": {"why": str(part(result, "kept").get("why") or "")},
        "guard": _guard(result),
        "training": [
            {"title": words.model(c.model), "figure": figures.training(words.model(c.model), c, f"training-{i}")}
            for i, c in enumerate(evidence.curves(run.measures))
        ],
        "path": _path(result),
        **_errors(run, classes),
        "pictures": [_picture(p) for p in run.pictures],
        "leaks": _rows(result, "leaks", "train", "test", "kind", "distance")
        if isinstance(result.get("leaks"), list)
        else None,
        "skipped": _rows(result, "skipped", "domain", "name", "reason"),
        "warnings": [str(w) for w in _list(result, "warnings")],
        "notes": run.notes,
        "recipe": run.recipe,
        "command": str(result.get("command") or ""),
        "seed": result.get("seed"),
        "versions": part(result, "versions"),
        "seconds": _seconds(result),
        "things": things,
    }


def _facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    n, backbone = part(result, "n"), part(result, "backbone")
    labelled = [
        ("Target, labelled", _plain(n.get("target_labelled"))),
        ("Target, unlabelled", _plain(n.get("target_unlabelled")) if n.get("target_unlabelled") else ""),
        ("Source, labelled", _plain(n.get("source")) if n.get("source") else ""),
        ("Target, test", _plain(n.get("target_test") or n.get("test"))),
        ("Classes", _plain(len(_list(part(result, "task"), "classes")) or None)),
        ("Backbone", str(backbone.get("name") or "")),
        ("Method", str(result.get("method") or "")),
        ("Schedule", str(result.get("schedule") or "")),
        ("Selection", str(result.get("selection") or "")),
    ]
    return [(title, value) for title, value in labelled if value not in {"", "–"}]


def _alerts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader must know before believing a number: a sentence and where more is said."""
    alerts = []
    if result.get("selection") == "oracle":
        alerts.append((ORACLE, "objective"))
    if leaks := _rows(result, "leaks"):
        alerts.append(
            (
                f"{count(len(leaks), 'test example is', 'test examples are')} also in a training part, or nearly so.",
                "leaks",
            )
        )
    return alerts


def _scores(result: dict[str, Any]) -> dict[str, Any]:
    kept = str(part(result, "kept").get("model") or "transfer")
    found = [(words.model(kept), part(result, "test"), True)]
    found += [
        (words.model(key), part(result, "baselines", key), False) for key in part(result, "baselines") if key != kept
    ]
    measures = [m for m in SCORES if any(interval(scores.get(m.key)) for _, scores, _ in found)]
    rows = []
    for title, scores, is_kept in found:
        cells: list[Interval | None] = [interval(scores.get(m.key)) for m in measures]
        texts = [(m.text(c.value), bounds(m, c)) if c else ("–", "") for m, c in zip(measures, cells, strict=True)]
        if any(cells):
            rows.append({"title": title, "kept": is_kept, "n": scores.get("n"), "cells": texts})
    plots = []
    for m in measures:
        shown = [(title, score, is_kept) for title, scores, is_kept in found if (score := interval(scores.get(m.key)))]
        plots.append(figures.intervals(m, shown, f"score-{m.key}"))
    return {"measures": measures, "rows": rows, "figures": plots, "alone": len(rows) == 1}


def _objective(result: dict[str, Any]) -> dict[str, Any]:
    objective = part(result, "objective")
    rows: list[dict[str, Any]] = []
    for term in _rows(objective, "terms"):
        weight, value = number(term.get("weight")), number(term.get("value"))
        product = weight * value if weight is not None and value is not None else None
        rows.append({"term": str(term.get("term", "")), "weight": weight, "value": value, "product": product})
    products = [r["product"] for r in rows]
    total = sum(products) if products and None not in products else None
    return {"formula": str(objective.get("formula") or ""), "terms": rows, "total": total}


def _guard(result: dict[str, Any]) -> list[dict[str, Any]]:
    kept = part(result, "kept").get("model")
    entropy = SCORES[-1]
    rows = []
    for row in _rows(result, "guard"):
        cells = [interval(row.get(key)) for key in ("cross_entropy", "difference")]
        texts = [(nats(c.value), bounds(entropy, c)) if c else ("–", "") for c in cells]
        rows.append(
            {
                "title": words.model(str(row.get("model", ""))),
                "kept": row.get("model") == kept,
                "n": row.get("n"),
                "cells": texts,
            }
        )
    return rows


def _path(result: dict[str, Any]) -> dict[str, Any] | None:
    found = evidence.path(result.get("path"))
    if found is None:
        return None
    best = None
    if found.chosen is not None:
        lam, ridge = found.chosen
        best = (found.lams[lam], found.ridges[ridge], number(float(found.loo[found.chosen])))
    return {
        "lines": figures.path_lines(found, "path"),
        "grid": figures.path_grid(found, "grid"),
        "best": best,
        "n": found.loo.size,
    }


def _errors(run: RunFiles, classes: list[str]) -> dict[str, Any]:
    empty: dict[str, Any] = {"matrix": None, "confused": [], "reliability": None, "mistakes": []}
    if not run.predictions:
        return empty
    calibration = evidence.reliability(run.predictions)
    matrix = None
    if 0 < len(classes) <= LARGEST_MATRIX:
        matrix = figures.confusion(evidence.confusion(run.predictions, classes), classes, "confusion")
    mistakes = [] if run.pictures else evidence.surest_mistakes(run.predictions)
    return {
        "matrix": matrix,
        "confused": evidence.most_confused(run.predictions, 8 if matrix else 20),
        "reliability": {
            "figure": figures.reliability(calibration, "reliability"),
            "ece": calibration.ece,
            "n": int(calibration.n.sum()),
        },
        "mistakes": [(p, evidence.probability(p)) for p in mistakes],
    }


def _picture(picture: Any) -> dict[str, Any]:
    source = f"data:{picture.kind};base64,{b64encode(picture.data).decode()}" if picture.data else ""
    return {
        "source": source,
        "name": picture.name,
        "label": picture.label,
        "predicted": picture.predicted,
        "probability": picture.probability,
    }


def _seconds(result: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Steps with their seconds and share of the longest."""
    steps = [(step, s) for step, value in part(result, "seconds").items() if (s := number(value)) is not None]
    longest = max((s for _, s in steps), default=0)
    return [(step, s, s / longest if longest > 0 else 0) for step, s in steps]


def _list(found: dict[str, Any], key: str) -> list[Any]:
    values = found.get(key)
    return values if isinstance(values, list) else []


def _rows(found: dict[str, Any], key: str, *columns: str) -> list[dict[str, Any]]:
    """The objects of a list; a column that one lacks is empty there."""
    return [dict.fromkeys(columns, "") | row for row in _list(found, key) if isinstance(row, dict)]


def _nats(value: float | None) -> str:
    return "–" if value is None else nats(value)


def _plain(value: Any) -> str:
    """A number as it was given: thousands set apart, no digits made up."""
    x = number(value)
    if x is None:
        return "–" if value is None or value == "" else str(value)
    return f"{x:,.0f}" if x == int(x) else f"{x:g}"
