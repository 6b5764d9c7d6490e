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
                f"{domain.name} has no labelled example",
                "a source needs labels: --label names their column in a table; unlabelled data belong to the target",
            )
    if len(labelled) == 1:
        return replace(labelled[0], splits=np.full(len(labelled[0]), "train"))
    return replace(together(labelled, "source"), splits=np.full(sum(map(len, labelled)), "train"))


def together(domains: Sequence[Domain], name: str) -> Domain:
    """Several domains of one kind, of vectors with the same columns, as one, with their labels and splits; names say
    which each example is of."""
    # Each row keeps its own domain's reader: domains may come from different kinds of file.
    inputs = [(d, x) for d in domains for x in d.inputs]
    return Domain(
        name=name,
        kind=domains[0].kind,
        inputs=inputs,
        labels=np.concatenate([d.labels for d in domains]),
        names=np.array([f"{d.name}/{n}" for d in domains for n in d.names]),
        splits=np.concatenate([d.splits for d in domains]),
        reader=lambda pair: pair[0].reader(pair[1]),
        digester=lambda pair: pair[0].digester(pair[1]),
        scaled_reader=lambda pair, at_least: (pair[0].scaled_reader or (lambda x, _: pair[0].reader(x)))(
            pair[1], at_least
        ),
        skipped=tuple(s for d in domains for s in d.skipped),
        notes=tuple(n for d in domains for n in d.notes),
        groups=np.concatenate([np.full(len(d), "") if d.groups is None else d.groups for d in domains])
        if any(d.groups is not None for d in domains)
        else None,
        columns=domains[0].columns,
        origin=np.repeat(np.arange(len(domains)), list(map(len, domains))),
    )
