"""The model card of a run: what it predicts, from what, and how well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossgraft.domains.domain import plural
from crossgraft.model import MODEL
from crossgraft.multitask.asked import MultiRecipe
from crossgraft.run import Run

MEASURES = {"f1": "F1", "micro_f1": "micro F1", "accuracy": "accuracy", "word_error_rate": "word error rate"}
TAGS = {
    "image": "image-classification",
    "text": "text-classification",
    "sentence": "token-classification",
    "audio": "audio-classification",
}
USE = [
    "## How to use it", "", "```", "crossgraft pull FROM --out RUN", "crossgraft predict RUN INPUT...", "```", "",
]  # fmt: skip


def card(run: Run) -> str:
    """The model card: what it predicts, from what, how well with intervals, and how far the domains were apart."""
    result, recipe = run.result, run.recipe
    spec = json.loads((run.folder / MODEL).read_text(encoding="utf-8"))
    if isinstance(recipe, MultiRecipe):
        return _of_several(result, recipe, spec["backbone"])
    classes = spec["task"]["classes"]
    kind = spec["backbone"]["kind"]
    measure = MEASURES[next((m for m in MEASURES if m in (result.get("test") or {})), "accuracy")]
    lines = [
        *_head(kind),
        f"# {Path(str(recipe.target)).name}: {len(classes)} classes", "",
        f"A model of {plural(kind)}, trained by crossgraft with objective `{result['objective']['formula']}`, schedule "
        f"{result['schedule']}, on backbone `{spec['backbone']['name']}`.", "",
        "## Intended use", "",
        f"To tell {', '.join(classes[:20])}{' and others' if len(classes) > 20 else ''} apart on inputs like those of "
        "the target. Elsewhere its probabilities mean little: measure them with `crossgraft score` first.",
        "", "## Data", "", f"Target `{_name(recipe.target)}`; source "
        + (", ".join(f"`{_name(s)}`" for s in recipe.source) if recipe.source else "none") + ".", "",
        "## Scores on held-out examples of the target", "", f"| model | n | {measure} | cross-entropy, nats |",
        "|---|---|---|---|", _scores("this model", result.get("test")),
        *(_scores(name.replace("_", " "), part) for name, part in (result.get("baselines") or {}).items() if part), "",
        "Intervals are 95 %. " + str((result.get("kept") or {}).get("why", "")), "",
    ]  # fmt: skip
    if (gap := result.get("gap")) and "jsd" in gap:
        jsd = gap["jsd"]
        span = f"{jsd['value']:.3f} nats [{jsd['low']:.3f}, {jsd['high']:.3f}]"
        lines += ["## Gap", "", f"Source and target are at least {span} of Jensen-Shannon divergence apart.", ""]
    return "\n".join([*lines, *USE])


def _of_several(result: dict[str, Any], recipe: MultiRecipe, backbone: dict[str, Any]) -> str:
    tasks = result["tasks"]
    lines = [
        *_head(backbone["kind"]),
        f"# {result['name']}: {len(tasks)} tasks", "",
        f"A model of {backbone['kind']}s for {len(tasks)} tasks at once, trained by crossgraft with objective "
        f"`{result['objective']['formula']}`, schedule {result['schedule']}, on backbone `{backbone['name']}`. One "
        "pass through the layers they share gives an output for each.", "",
        "## Intended use", "",
        *(f"- `{name}`: {_says(own)}" for name, own in tasks.items()), "",
        "On inputs like those it was trained on. Elsewhere its probabilities mean little: measure them with "
        "`crossgraft score` first.",
        "", "## Data", "", "; ".join(f"`{name}`: `{_name(path)}`" for name, path in recipe.data.items()) + ".", "",
        "## Scores on held-out examples", "", "| task | model | n | score | cross-entropy, nats |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, own in tasks.items():
        measure = next((m for m in MEASURES if m in (own["test"] or {})), "accuracy")
        for model, part in (("this one", own["test"]), ("together", own["joint"]), ("alone", own["alone"])):
            if part is not None and (model == "this one" or part != own["test"]):
                lines.append(f"| {name}, {MEASURES[measure]} {_scores(model, part)}")
    lines += ["", "Intervals are 95 %.", "", *(f"- `{n}`: {own['kept']['why']}" for n, own in tasks.items()), ""]
    return "\n".join([*lines, *USE])


def _says(own: dict[str, Any]) -> str:
    classes = own["classes"]
    if own["kind"] == "transcribe":
        return "writes down what is said."
    what = "finds" if own["kind"] == "tag" else "tells apart"
    return f"{what} {', '.join(map(str, classes[:20]))}{' and others' if len(classes) > 20 else ''}."


def _head(kind: str) -> list[str]:
    tag = TAGS.get(kind, "tabular-classification")
    return ["---", "library_name: crossgraft", f"pipeline_tag: {tag}", "tags: [transfer-learning, crossgraft]", "---",
            ""]  # fmt: skip


def _scores(name: str, part: dict[str, Any] | None) -> str:
    cells = [name, str((part or {}).get("n", "-"))]
    hit = next((m for m in MEASURES if m in (part or {})), "accuracy")
    for key, scale, digits in ((hit, 100, 1), ("cross_entropy", 1, 3)):
        score = (part or {}).get(key)
        if not score or score["value"] is None:
            cells.append("-")
            continue
        low, high = (score[end] for end in ("low", "high"))
        span = "" if low is None else f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
        cells.append(f"{scale * score['value']:.{digits}f}{' %' if scale == 100 else ''}{span}")
    return "| " + " | ".join(cells) + " |"


def _name(what: Any) -> str:
    """The last part of a path: where data lie on somebody's machine is nobody's business."""
    return Path(str(what)).name
