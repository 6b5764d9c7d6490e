"""How far apart two domains are, as a backbone sees them: from paths or arrays to the gap in nats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft import backbones, features
from crossgraft.asked import name_of
from crossgraft.domains import open_domain
from crossgraft.domains.arrays import common_kind, of_kind
from crossgraft.domains.clips import portrait
from crossgraft.domains.domain import Domain
from crossgraft.domains.pictures import thumbnail
from crossgraft.domains.same_columns import same_columns
from crossgraft.domains.splits import tolerate
from crossgraft.domains.texts import joined
from crossgraft.errors import UsageError
from crossgraft.explained import attributed, by_class, shift
from crossgraft.measure.divergence import Gap
from crossgraft.measure.divergence import gap as gap_of_features
from crossgraft.report.apart import Example, write

SHOWN = 8  # most source-like and most target-like examples that are named


def gap(
    source: Any,
    target: Any,
    *,
    backbone: Any = "auto",
    weights: str | None = None,
    seed: int = 0,
    page: Path | None = None,
    **columns: str | None,
) -> dict[str, Any]:
    """The gap between two domains: a lower bound on their Jensen-Shannon divergence in nats, and what it consists of.

    Beside it the examples that show it, what simple attributes show of it, and, by the labels there are, the gap of
    each class and the shift of their frequencies.

    source, target  a path, a Domain, arrays: anything that `fit` takes; labels are not needed
    backbone        whose features the domain classifier sees; one with weights of its own, perhaps a torch.nn.Module
    page            where to write it down as a page that opens without a network
    columns         input, label and split of tables

    Raises CrossgraftError where a domain cannot be read, UsageError for a backbone that knows nothing yet.

    >>> draw = np.random.default_rng(0)
    >>> found = gap((draw.normal(0, 1, (99, 1)), None), (draw.normal(2, 1, (99, 1)), None))
    >>> found["p_value"] < 0.05 and found["jsd"]["value"] > 0.2
    True
    """
    sides = {"source": source, "target": target}
    seen = see(sides, backbone, weights, columns)
    found = gap_of_features(seen.values["source"], seen.values["target"], seed=seed)
    opened = [seen.domains[side] for side in sides]
    both = (opened[0], seen.values["source"], opened[1], seen.values["target"])
    extremes = {"most_alike": _extremes(found, alike=True), "most_apart": _extremes(found, alike=False)}
    names = {
        how: {side: [str(d.names[i]) for i in rows] for (side, rows), d in zip(by.items(), opened, strict=True)}
        for how, by in extremes.items()
    }
    result = found.json() | {
        **{side: name_of(what) for side, what in sides.items()},
        "backbone": seen.backbone,
        **names,
        "classes": (classes := by_class(*both, seed)),
        "label_shift": shift(*both, classes, seed),
        "attributes": attributed(opened[0], opened[1], found.jsd.value, seed),
        "skipped": seen.skipped,
    }
    if page is not None:
        write(page, result, {how: _shown(by, opened) for how, by in extremes.items()})
    return result


@dataclass(frozen=True)
class Seen:
    """Domains by side with their features, row for row, and what could not be read."""

    domains: dict[str, Domain]
    values: dict[str, Float[np.ndarray, "N D"]]
    backbone: dict[str, str]
    skipped: list[dict[str, str]]


def see(sides: dict[str, Any], backbone: Any, weights: str | None, columns: dict[str, str | None]) -> Seen:
    """Domains opened as one kind, as one frozen backbone sees them.

    Raises CrossgraftError where a domain cannot be read, UsageError for a backbone that knows nothing yet.
    """
    opened = {side: open_domain(what, side, **columns) for side, what in sides.items()}
    kind = common_kind(list(opened.values()))
    if kind == "sentence":
        raise UsageError("tagged sentences are not compared yet", "use fit, which scores them")
    opened = {side: of_kind(d, kind) for side, d in opened.items()}
    opened = {side: same_columns(d, opened["target"], "the target") for side, d in opened.items()}
    chosen = backbones.load(backbone, opened["target"], weights=weights)
    if not chosen.pretrained:
        raise UsageError(
            f"backbone {chosen.name} knows nothing yet", "use auto, a pretrained backbone, or arrays of features"
        )
    values, skipped = {}, []
    for side, domain in opened.items():
        got = features.features(domain, chosen)
        left = domain.without(got.failures)
        tolerate(left.skipped, len(domain) + len(domain.skipped), domain.name)
        values[side] = got.values[np.setdiff1d(np.arange(len(domain)), [r for r, _ in got.failures])]
        skipped += [{"domain": left.name, "name": s.name, "reason": s.reason} for s in left.skipped]
        opened[side] = left
    return Seen(opened, values, {"name": chosen.name, "revision": chosen.revision}, skipped)


def _extremes(found: Gap, *, alike: bool) -> dict[str, Int[np.ndarray, " n"]]:
    """Rows of each domain that look most like the other one, or least, by the held-out domain classifier."""
    rows = {}
    for side, likeness in (("source", found.source_likeness), ("target", found.target_likeness)):
        towards_source = alike == (side == "target")
        rows[side] = np.argsort(-likeness if towards_source else likeness, kind="stable")[:SHOWN]
    return rows


def _shown(by: dict[str, Int[np.ndarray, " n"]], domains: list[Domain]) -> dict[str, list[Example]]:
    """The examples themselves: pictures as thumbnails, texts as they are."""
    shown: dict[str, list[Example]] = {}
    for (side, rows), domain in zip(by.items(), domains, strict=True):
        shown[side] = []
        for i in rows.tolist():
            what, label = domain.read(i), domain.labels[i]
            seen = portrait(what) if domain.kind == "audio" else what
            picture = thumbnail(seen, 120) if domain.kind in ("image", "audio") else b""
            text = joined(what) if domain.kind == "text" else ""
            shown[side].append(Example(str(domain.names[i]), label or "", picture, text))
    return shown
