"""The sections of the page: what the template needs of each, as texts and figures."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from crossgraft.report import evidence, figures, words
from crossgraft.report.files import Picture, RunFiles
from crossgraft.report.values import listed, number, part, rows
from crossgraft.report.words import SCORES, Interval, bounds, count, interval, nats, plain

LARGEST_MATRIX = 30
ORACLE = "Chosen by the test labels (oracle): these scores are too good, and comparable only with others chosen so."
VALIDATORS = {
    "im": "IM, nats",
    "snd": "SND, nats",
    "dev": "DEV, nats",
    "iwv": "IWV, nats",
    "reverse": "Reverse validation",
    "source_accuracy": "Source accuracy",
    "collapse": "Collapse, nats",
}
SELECTIONS = {
    "target_val": ", the labels of the target's validation part",
    "loo": ", leave-one-out on the labels of the target's training part",
    "source_val": ", the labels of the source's validation part",
    "last": ", the last step, without looking at a label",
}


def facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What was put together: titles and values."""
    n, backbone = part(result, "n"), part(result, "backbone")
    classes = listed(part(result, "task"), "classes")  # of transcripts with the blank, "", which nobody says
    labelled = [
        ("Target, labelled", plain(n.get("target_labelled"))),
        ("Target, validation", plain(n.get("target_val")) if n.get("target_val") else ""),
        ("Target, unlabelled", plain(n.get("target_unlabelled")) if n.get("target_unlabelled") else ""),
        ("Source, labelled", plain(n.get("source")) if n.get("source") else ""),
        ("Target, test", plain(n.get("target_test") or n.get("test"))),
        ("Symbols" if "" in classes else "Classes", plain(len([c for c in classes if c != ""]) or None)),
        ("Backbone", str(backbone.get("name") or "")),
        ("Method", str(result.get("method") or "")),
        ("Schedule", str(result.get("schedule") or "")),
        ("Selection", str(result.get("selection") or "")),
    ]
    return [(title, value) for title, value in labelled if value not in {"", "–"}]


def leaked_examples(result: dict[str, Any]) -> int:
    """How many test examples were found in training, each counted once."""
    return len({str(leak["test"]) for leak in rows(result, "leaks", "test")})


def alerts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader must know before believing a number: a sentence and where more is said."""
    sentences = []
    if result.get("selection") == "oracle":
        sentences.append((ORACLE, "objective"))
    if leaked := leaked_examples(result):
        sentences.append(
            (
                f"{count(leaked, 'test example is', 'test examples are')} also in a training part, or nearly so.",
                "leaks",
            )
        )
    return sentences


def scores(result: dict[str, Any]) -> dict[str, Any]:
    """The test scores of the kept model and of the baselines: a table, and a figure for each measure."""
    kept = str(part(result, "kept").get("model") or "transfer")
    others = {"transfer": part(result, "transfer")} | {
        key: part(result, "baselines", key) for key in part(result, "baselines")
    }
    found = [(words.model(kept), part(result, "test"), True)]
    found += [(words.model(key), scored, False) for key, scored in others.items() if key != kept]
    measures = [m for m in SCORES if any(interval(part_scores.get(m.key)) for _, part_scores, _ in found)]
    table: list[dict[str, Any]] = []
    for title, found_scores, is_kept in found:
        cells: list[Interval | None] = [interval(found_scores.get(m.key)) for m in measures]
        texts = [(m.text(c.value), bounds(m, c)) if c else ("–", "") for m, c in zip(measures, cells, strict=True)]
        if any(cells):
            table.append({"title": title, "kept": is_kept, "n": found_scores.get("n"), "cells": texts})
    plots = []
    for m in measures:
        shown = [(title, score, is_kept) for title, each, is_kept in found if (score := interval(each.get(m.key)))]
        plots.append(figures.intervals(m, shown, f"score-{m.key}"))
    return {"measures": measures, "rows": table, "figures": plots, "alone": len(table) == 1}


def objective(result: dict[str, Any]) -> dict[str, Any]:
    """The formula, and each term with weight, value and product (nats)."""
    stated = part(result, "objective")
    table: list[dict[str, Any]] = []
    for term in rows(stated, "terms"):
        weight, value = number(term.get("weight")), number(term.get("value"))
        product = weight * value if weight is not None and value is not None else None
        table.append(
            {
                "term": str(term.get("term", "")),
                "weight": weight,
                "value": value,
                "product": product,
                "n": number(term.get("n")),
            }
        )
    products = [r["product"] for r in table]
    total = sum(products) if products and None not in products else None
    return {
        "formula": str(stated.get("formula") or ""),
        "terms": table,
        "total": total,
        "counted": any(row["n"] is not None for row in table),
    }


def language(result: dict[str, Any]) -> dict[str, Any] | None:
    """What the layers learned of the target's texts before the task: nats a word piece before and after."""
    found = part(result, "language")
    cells = [interval(found.get(key)) for key in ("before", "after", "difference")]
    if any(cell is None for cell in cells):
        return None
    texts = [(nats(c.value), bounds(SCORES[-1], c)) for c in cells if c is not None]
    return {key: found.get(key) for key in ("texts", "test_inputs", "n", "words", "steps", "asked", "head")} | {
        "cells": texts
    }


def sources(result: dict[str, Any]) -> dict[str, Any]:
    """What each of several sources weighs, its examples, and the nats by which that was found."""
    found = rows(result, "sources", "name", "weight")
    measure = {str(row.get("measure") or "") for row in found if number(row.get("value")) is not None}
    table = [
        {"title": str(r["name"]), "n": r.get("n"), "weight": number(r["weight"]), "value": number(r.get("value"))}
        for r in found
    ]
    return {"rows": table, "measure": " ".join(measure)}


def guard(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the kept model was compared with, on held-out evidence (nats)."""
    kept = part(result, "kept").get("model")
    entropy = SCORES[-1]
    table: list[dict[str, Any]] = []
    for row in rows(result, "guard"):
        cells = [interval(row.get(key)) for key in ("cross_entropy", "difference")]
        if cells[0] is None:  # nothing was held out: no label of the target is known
            continue
        texts = [(nats(c.value), bounds(entropy, c)) if c else ("–", "") for c in cells]
        table.append(
            {
                "title": words.model(str(row.get("model", ""))),
                "kept": row.get("model") == kept,
                "n": row.get("n"),
                "cells": texts,
            }
        )
    return table


def validators(result: dict[str, Any]) -> dict[str, Any]:
    """Scores of each model that read no target label: their names and a row a model."""
    kept, found = part(result, "kept").get("model"), part(result, "validators")
    names = [name for name in VALIDATORS if any(name in part(found, key) for key in found)]
    table = [
        {
            "title": words.model(key),
            "kept": key == kept,
            "cells": [nats(v) if (v := number(part(found, key).get(n))) is not None else "–" for n in names],
        }
        for key in found
    ]
    return {"names": [VALIDATORS[name] for name in names], "rows": table}


def path(result: dict[str, Any]) -> dict[str, Any] | None:
    """The figures of the path, its chosen point and the number of points."""
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


def errors(run: RunFiles, classes: list[str]) -> dict[str, Any]:
    """Confusion, calibration and the surest mistakes, from the test predictions."""
    empty: dict[str, Any] = {"matrix": None, "confused": [], "reliability": None, "mistakes": []}
    if not run.predictions:
        return empty
    calibration = evidence.reliability(run.predictions)
    matrix = None
    met = {p.label for p in run.predictions} | {p.predicted for p in run.predictions}
    seen = [c for c in classes if c in met]
    if 0 < len(seen) <= LARGEST_MATRIX:
        matrix = figures.confusion(evidence.confusion(run.predictions, seen), seen, "confusion")
    mistakes = [] if run.pictures or run.texts else evidence.surest_mistakes(run.predictions)
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


def picture(shown: Picture) -> dict[str, Any]:
    """A thumbnail as a data URI, with its texts."""
    source = f"data:{shown.kind};base64,{b64encode(shown.data).decode()}" if shown.data else ""
    sound = f"data:audio/wav;base64,{b64encode(shown.sound).decode()}" if shown.sound else ""
    return {
        "source": source,
        "sound": sound,
        "name": shown.name,
        "label": shown.label,
        "predicted": shown.predicted,
        "probability": shown.probability,
    }


def seconds(result: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Steps with their seconds and share of the longest."""
    steps = [(step, s) for step, value in part(result, "seconds").items() if (s := number(value)) is not None]
    longest = max((s for _, s in steps), default=0)
    return [(step, s, s / longest if longest > 0 else 0) for step, s in steps]


def training(measures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A figure of every model's training."""
    found = [(words.model(c.model), c) for c in evidence.curves(measures)]
    return [
        {"title": title, "figure": figures.training(title, c, f"training-{i}")} for i, (title, c) in enumerate(found)
    ]
