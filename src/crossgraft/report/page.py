"""The page: every section from the files of the run, nothing from elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from crossgraft.report import multilabel, said, sections, tags, words, worth
from crossgraft.report.files import RunFiles, read
from crossgraft.report.groups import by_environment, by_group
from crossgraft.report.html import put, template
from crossgraft.report.moved import moved
from crossgraft.report.values import listed, number, part, rows

SHOWN_ROWS = 50
F1 = next(m for m in words.SCORES if m.key == "f1")


def write(folder: Path) -> Path:
    """Write report.html at once: a crash leaves the old page or the new one."""
    target = folder / "report.html"
    put(target, render(read(folder)), "make room or check the folder's permissions")
    return target


def render(run: RunFiles) -> str:
    """The page of a run as HTML."""
    return template("template.html.j2").render(context(run), SHOWN_ROWS=SHOWN_ROWS) + "\n"


def context(run: RunFiles) -> dict[str, Any]:
    """What the template shows, each section under its own name; a section without data is empty."""
    result = run.result
    classes = [str(c) for c in listed(part(result, "task"), "classes")]
    tagged = part(result, "task").get("kind") == "tag"
    seen = "clips" if any(p.sound for p in run.pictures) else "pictures"
    things = (
        "utterances"
        if run.utterances
        else "sentences"
        if tagged
        else seen
        if run.pictures
        else "texts"
        if run.texts
        else "examples"
    )
    return {
        "name": str(result.get("name") or "run"),
        "verdict": words.verdict(result, things),
        "facts": sections.facts(result),
        "alerts": sections.alerts(result),
        "scores": sections.scores(result),
        "objective": sections.objective(result),
        "language": sections.language(result),
        "moved": moved(result),
        "sources": sections.sources(result),
        "selection": str(result.get("selection") or ""),
        "selection_means": sections.SELECTIONS.get(str(result.get("selection")), ""),
        "lam": number(result.get("lam")),
        "ridge": number(result.get("ridge")),
        "temperature": number(result.get("temperature")),
        "kept": {"why": str(part(result, "kept").get("why") or "")},
        "guard": sections.guard(result),
        "validators": sections.validators(result),
        "worth": worth.worth(result),
        "training": sections.training(run.measures),
        "path": sections.path(result),
        **sections.errors(run, classes),
        "pictures": [sections.picture(p) for p in run.pictures],
        "texts": run.texts,
        "sentences": [tags.sentence(row) for row in run.sentences],
        "by_class": multilabel.by_class(result),
        "sets": [multilabel.example(row) for row in run.sets],
        "by_type": tags.by_type(result),
        "utterances": [said.utterance(k, row, sound) for k, (row, sound) in enumerate(run.utterances)],
        "by_group": by_group(result),
        "by_environment": by_environment(result),
        "percent": F1.text,
        "bounds": partial(words.bounds, F1),
        "leaks": rows(result, "leaks", "train", "test", "kind", "distance")
        if isinstance(result.get("leaks"), list)
        else None,
        "skipped": rows(result, "skipped", "domain", "name", "reason"),
        "warnings": [str(w) for w in listed(result, "warnings")],
        "notes": run.notes,
        "recipe": run.recipe,
        "command": str(result.get("command") or ""),
        "seed": result.get("seed"),
        "versions": part(result, "versions"),
        "seconds": sections.seconds(result),
        "leaked": sections.leaked_examples(result),
    }
