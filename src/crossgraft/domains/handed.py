"""A Domain as a data set of the `datasets` library: to be kept, pushed to the Hub, or read by what reads those."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossgraft.domains.domain import Domain, Unreadable
from crossgraft.errors import UsageError


def as_dataset(domain: Domain) -> Any:
    """A `datasets.Dataset`; where every example is of a split, a `DatasetDict` of them.

    Columns: `name`; `label`, a str or None, of sets of classes a list, of sentences `tags`; and what the kind of Domain
    has: `image`, `x` (float32), `text` and perhaps `text_pair`, or `tokens`. Opened again the domain has
    the same inputs and labels. What cannot be read is left out, as everywhere. Raises UsageError for clips, which stay
    files.

    >>> from crossgraft.domains import open_domain
    >>> made = as_dataset(open_domain((["it is good", "it is not"], ["yes", "no"]), "said"))
    >>> made["text"][0], made["label"][1]
    ('it is good', 'no')
    """
    import datasets

    features: dict[str, Any] = {"name": datasets.Value("string")}
    rows, at = [], []
    for i, (name, label) in enumerate(zip(domain.names.tolist(), domain.labels.tolist(), strict=True)):
        try:
            given = _input(domain, domain.read(i))
        except Unreadable:
            continue
        said = {"tags" if domain.kind == "sentence" else "label": _label(label)}
        rows.append({"name": name, **given, **said})
        at.append(i)
    kinds = {"image": datasets.Image(), "x": datasets.Sequence(datasets.Value("float32"))}
    columns = {column: [row[column] for row in rows] for column in (rows[0] if rows else features)}
    lists = {c for c, held in columns.items() if any(isinstance(v, list) for v in held) and c not in kinds}
    for column in columns:
        text = datasets.Value("string")
        features[column] = kinds.get(column) or (datasets.Sequence(text) if column in lists else text)
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    splits = domain.splits[at]
    if not len(splits) or (splits == "").any():
        return made
    parts = {str(name): made.select(np.flatnonzero(splits == name)) for name in dict.fromkeys(splits.tolist())}
    return datasets.DatasetDict({{"val": "validation"}.get(name, name): part for name, part in parts.items()})


def _input(domain: Domain, read: Any) -> dict[str, Any]:
    """What an example holds, by column."""
    if domain.kind == "image":
        from PIL import Image

        return {"image": Image.fromarray(read)}
    if domain.kind == "vector":
        return {"x": read}
    if domain.kind == "text":
        return {"text": read} if isinstance(read, str) else {"text": read[0], "text_pair": read[1]}
    if domain.kind == "sentence":
        return {"tokens": list(read)}
    raise UsageError(f"{domain.name} holds clips", "keep their files with a manifest: path, label, speaker")


def _label(label: Any) -> Any:
    """As plain strings and lists."""
    return sorted(label) if isinstance(label, frozenset) else list(label) if isinstance(label, tuple) else label
