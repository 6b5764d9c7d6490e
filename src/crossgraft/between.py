"""How far apart two domains are, as a backbone sees them: from paths or arrays to the gap in nats."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossgraft import backbones, features
from crossgraft.domains import open_domain
from crossgraft.domains.arrays import of_kind
from crossgraft.domains.domain import Domain
from crossgraft.domains.splits import tolerate
from crossgraft.errors import UsageError
from crossgraft.measure.divergence import Gap
from crossgraft.measure.divergence import gap as gap_of_features
from crossgraft.prepare import name_of

SHOWN = 5  # most source-like and most target-like examples that are named


def gap(
    source: Any,
    target: Any,
    *,
    backbone: str = "auto",
    weights: str | None = None,
    seed: int = 0,
    **columns: str | None,
) -> dict[str, Any]:
    """The gap between two domains: a lower bound on their Jensen-Shannon divergence in nats, with p-value and examples.

    source, target  a path, a Domain, arrays: anything that `fit` takes; labels are not needed
    backbone        whose features the domain classifier sees; one with weights of its own
    columns         input, label and split of tables

    Raises CrossgraftError where a domain cannot be read, UsageError for a backbone that knows nothing yet.

    >>> draw = np.random.default_rng(0)
    >>> found = gap((draw.normal(0, 1, (99, 1)), None), (draw.normal(2, 1, (99, 1)), None))
    >>> found["p_value"] < 0.05 and found["jsd"]["value"] > 0.2
    True
    """
    opened = [open_domain(what, side, **columns) for what, side in ((source, "source"), (target, "target"))]
    kind = "image" if "image" in [d.kind for d in opened] else opened[0].kind
    opened = [of_kind(d, kind) for d in opened]
    chosen = backbones.load(backbone, opened[1], weights=weights)
    if not chosen.pretrained:
        raise UsageError(
            f"backbone {backbone} knows nothing yet", "use auto, a pretrained backbone, or arrays of features"
        )
    values, skipped = [], []
    for i, domain in enumerate(opened):
        got = features.features(domain, chosen)
        left = domain.without(got.failures)
        tolerate(left.skipped, len(domain) + len(domain.skipped), domain.name)
        values.append(got.values[np.setdiff1d(np.arange(len(domain)), [r for r, _ in got.failures])])
        skipped += [{"domain": left.name, "name": s.name, "reason": s.reason} for s in left.skipped]
        opened[i] = left
    found = gap_of_features(*values, seed=seed)
    return found.json() | {
        "source": name_of(source),
        "target": name_of(target),
        "backbone": {"name": chosen.name, "revision": chosen.revision},
        "most_alike": _extremes(found, opened, alike=True),
        "most_apart": _extremes(found, opened, alike=False),
        "skipped": skipped,
    }


def _extremes(found: Gap, domains: list[Domain], *, alike: bool) -> dict[str, list[str]]:
    """Examples of each domain that look most like the other one, or least, by the held-out domain classifier."""
    names = {}
    for side, likeness, domain in (
        ("source", found.source_likeness, domains[0]),
        ("target", found.target_likeness, domains[1]),
    ):
        towards_source = alike == (side == "target")
        order = np.argsort(-likeness if towards_source else likeness, kind="stable")[:SHOWN]
        names[side] = [str(domain.names[i]) for i in order]
    return names
