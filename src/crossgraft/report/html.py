"""The templates of pages, and how a page is written."""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from crossgraft.errors import CrossgraftError
from crossgraft.report import words


@cache
def template(name: str) -> Template:
    """One of this folder; what is put into it is escaped."""
    here = resources("crossgraft.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"nats": words.nats_or_none, "plain": words.plain}
    environment.globals |= {"count": words.count, "narrow": words.NARROW}
    environment.globals["style"] = Markup((here / "style.css").read_text(encoding="utf-8"))
    return environment.from_string((here / name).read_text(encoding="utf-8"))


def put(path: Path, page: str, remedy: str) -> None:
    """Write a page at once: a crash leaves the old one or the new one."""
    try:
        scratch = path.with_name(path.name + ".part")
        scratch.write_text(page, encoding="utf-8")
        os.replace(scratch, path)
    except OSError as wrong:
        raise CrossgraftError(f"cannot write {path}: {wrong.strerror}", remedy) from None
