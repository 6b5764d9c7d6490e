"""The page: every section from the files of the run, nothing from elsewhere."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from crossgraft.errors import CrossgraftError
from crossgraft.report import sections, words, worth
from crossgraft.report.files import RunFiles, listed, number, part, read, rows

SHOWN_ROWS = 50


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
    return _template().render(context(run)) + "\n"


@cache
def _template() -> Template:
    here = resources("crossgraft.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"nats": words.nats_or_none, "plain": words.plain}
    environment.globals |= {"count": words.count, "narrow": words.NARROW, "SHOWN_ROWS": SHOWN_ROWS}
    environment.globals["style"] = Markup((here / "style.css").read_text(encoding="utf-8"))
    return environment.from_string((here / "template.html.j2").read_text(encoding="utf-8"))


def context(run: RunFiles) -> dict[str, Any]:
    """What the template shows, each section under its own name; a section without data is empty."""
    result = run.result
    classes = [str(c) for c in listed(part(result, "task"), "classes")]
    things = "pictures" if run.pictures else "texts" if run.texts else "examples"
    return {
        "name": str(result.get("name") or "run"),
        "verdict": words.verdict(result, things),
        "facts": sections.facts(result),
        "alerts": sections.alerts(result),
        "scores": sections.scores(result),
        "objective": sections.objective(result),
        "selection": str(result.get("selection") or ""),
        "selection_means": sections.SELECTIONS.get(str(result.get("selection")), ""),
        "lam": number(result.get("lam")),
        "ridge": number(result.get("ridge")),
        "kept": {"why": str(part(result, "kept").get("why") or "")},
        "guard": sections.guard(result),
        "worth": worth.worth(result),
        "training": sections.training(run.measures),
        "path": sections.path(result),
        **sections.errors(run, classes),
        "pictures": [sections.picture(p) for p in run.pictures],
        "texts": run.texts,
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
