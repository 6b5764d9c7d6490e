"""Inputs that come one by one: loose files and texts together as one domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossgraft.domains import open_domain
from crossgraft.domains.domain import SOUND, Domain
from crossgraft.errors import CrossgraftError

NAMED_BY = 60  # characters of a text that it is called by


def inputs_of(inputs: Any, kind: str, name: str) -> Iterator[Domain]:
    """Domains to predict on: loose files or texts together, folders and everything else each by itself."""
    if isinstance(inputs, (str, Path, Domain, dict, tuple)) or not isinstance(inputs, Sequence):
        inputs = [inputs]
    from crossgraft.domains.folders import example_files
    from crossgraft.domains.sorts import CLIPS, PICTURES
    from crossgraft.domains.texts import is_a_text, text_domain

    loose: list[Any] = []

    def together() -> Domain:
        if kind in ("text", "sentence"):
            return text_domain(loose, name, names=[text[:NAMED_BY] for text in loose])
        return example_files([Path(file) for file in loose], name, CLIPS if kind in SOUND else PICTURES)

    for what in inputs:
        is_file = kind in ("image", *SOUND) and isinstance(what, (str, Path)) and Path(what).is_file()
        picture = is_file and Path(what).suffix.lower() not in {".csv", ".jsonl", ".parquet", ".npz"}
        if picture or (kind in ("text", "sentence") and isinstance(what, str) and is_a_text(what)):
            loose.append(what)
            continue
        if loose:
            yield together()
            loose = []
        called = str(what) if isinstance(what, (str, Path)) else name
        yield open_domain((what, None) if isinstance(what, np.ndarray) else what, called)
    if loose:
        yield together()


def labelled_as(what: Any, label: str | None, usual: str | None, **options: Any) -> Domain:
    """What is to be scored: labels from this column, else from that which the run was fitted to, else as they come.

    Raises CrossgraftError where there are none: why the run's own column could not be read.
    """
    if label is not None or usual is None:
        return open_domain(what, "scored", label=label, **options)
    try:
        return open_domain(what, "scored", label=usual, **options)
    except CrossgraftError:
        found = open_domain(what, "scored", **options)
        if all(y is None for y in found.labels):
            raise
        return found
