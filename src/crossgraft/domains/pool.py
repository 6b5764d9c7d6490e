"""Several domains as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError


def pool(domains: Sequence[Domain]) -> Domain | None:
    """Several sources as one domain of labelled examples; None without a source."""
    if not domains:
        return None
    labelled = [d.take(np.flatnonzero([y is not None for y in d.labels])) for d in domains]
    for domain in labelled:
        if len(domain) == 0:
            raise CrossgraftError(
                f"{domain.name} has no labelled example", "a source needs labels; unlabelled data belong to the target"
            )
    if len(labelled) == 1:
        return replace(labelled[0], splits=np.full(len(labelled[0]), "train"))
    # Each row keeps its own domain's reader: sources may come from different kinds of file.
    inputs = [(d, x) for d in labelled for x in d.inputs]
    return Domain(
        name="source",
        kind=labelled[0].kind,
        inputs=inputs,
        labels=np.concatenate([d.labels for d in labelled]),
        names=np.array([f"{d.name}/{n}" for d in labelled for n in d.names]),
        splits=np.full(len(inputs), "train"),
        reader=lambda pair: pair[0].reader(pair[1]),
        digester=lambda pair: pair[0].digester(pair[1]),
        scaled_reader=lambda pair, at_least: (pair[0].scaled_reader or (lambda x, _: pair[0].reader(x)))(
            pair[1], at_least
        ),
        skipped=tuple(s for d in labelled for s in d.skipped),
        notes=tuple(n for d in labelled for n in d.notes),
        groups=np.concatenate([np.full(len(d), "") if d.groups is None else d.groups for d in labelled])
        if any(d.groups is not None for d in labelled)
        else None,
        origin=np.repeat(np.arange(len(labelled)), list(map(len, labelled))),
    )
