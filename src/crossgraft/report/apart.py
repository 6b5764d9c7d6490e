"""The page of a gap: what `crossgraft gap --out PAGE` writes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossgraft.report.html import put, template
from crossgraft.report.values import clean, part
from crossgraft.report.words import interval
from crossgraft.report.worth import signed


@dataclass(frozen=True)
class Example:
    """One that is shown: a JPEG, or a text, or its name alone."""

    name: str
    label: str
    picture: bytes = b""
    text: str = ""


def write(path: Path, found: dict[str, Any], shown: Mapping[str, Mapping[str, Sequence[Example]]]) -> None:
    """Write the page at once; examples by "most_alike" and "most_apart", then by side."""
    put(path, render(found, shown), "choose another --out")


def render(found: dict[str, Any], shown: Mapping[str, Mapping[str, Sequence[Example]]]) -> str:
    """The page as HTML."""
    found = clean(found)
    attributes, shift = part(found, "attributes"), part(found, "label_shift")
    examples = [
        (how, side, [_example(e) for e in shown[how][side]])
        for how in ("most_alike", "most_apart")
        for side in ("source", "target")
    ]
    return template("gap.html.j2").render(
        found=found,
        jsd=signed(interval(found["jsd"]), 1.0, plus=""),
        distance=signed(interval(found["proxy_a_distance"]), 1.0, plus=""),
        attributes=attributes,
        each=[row | {"cell": _cell(row)} for row in attributes.get("each", ())],
        classes=[(name, row, _cell(row)) for name, row in part(found, "classes").items()],
        shift=shift,
        frequencies=_frequencies(shift),
        examples=examples,
    )


def _cell(row: dict[str, Any]) -> tuple[str, str]:
    return signed(interval(row["jsd"]), 1.0, plus="") if "jsd" in row else (str(row.get("why", "")), "")


def _frequencies(shift: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a class: in the source, in the target as estimated, and as its labels say; in per cent."""
    rows = []
    for name, share in part(shift, "source").items():
        cells = [f"{100 * share:.1f}"]
        for method in ("em", "bbse"):
            q = part(shift, method, name)
            ends = f" [{100 * q['low']:.1f}, {100 * q['high']:.1f}]" if q else ""
            cells.append(f"{100 * q['value']:.1f}{ends}" if q else "–")
        known = part(shift, "target").get(name)
        rows.append({"name": name, "cells": [*cells, "–" if known is None else f"{100 * known:.1f}"]})
    return rows


def _example(example: Example) -> dict[str, str]:
    source = f"data:image/jpeg;base64,{b64encode(example.picture).decode()}" if example.picture else ""
    return {"name": clean(example.name), "label": clean(example.label), "text": clean(example.text), "source": source}
