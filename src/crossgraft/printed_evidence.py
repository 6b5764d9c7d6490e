"""What gap and rank have to say, as lines that a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crossgraft.printed import ends


def apart(found: dict[str, Any]) -> Iterable[str]:
    """What gap has to say."""
    jsd, pad = found["jsd"], found["proxy_a_distance"]
    share = f"{100 * found['share_of_ln2']:.0f} % of ln 2"
    yield f"Jensen-Shannon divergence at least {jsd['value']:.3f} nats [{jsd['low']:.3f}, {jsd['high']:.3f}], {share}"
    n = f"n = {found['n_source']:,} and {found['n_target']:,}"
    yield f"p = {found['p_value']:.3g} of no difference   {n}"
    yield f"proxy A-distance {pad['value']:.2f} [{pad['low']:.2f}, {pad['high']:.2f}]"
    for side, other in (("source", "target"), ("target", "source")):
        yield f"{side} most like the {other}: {', '.join(found['most_alike'][side])}"
    for side, other in (("source", "target"), ("target", "source")):
        yield f"{side} least like the {other}: {', '.join(found['most_apart'][side])}"
    yield from consists(found)
    for note in found.get("notes", ()):
        yield f"note: {note}"


def consists(found: dict[str, Any]) -> Iterable[str]:
    """What a gap consists of: attributes, classes and their frequencies."""
    attributes, shift = found["attributes"] or {}, found["label_shift"] or {}
    if "jsd" in attributes:
        share = attributes["share_of_gap"]
        said = "" if share is None else f", {100 * share:.0f} % of the whole"
        most = [f"{row['name']} {row['jsd']['value']:.3f}" for row in attributes["each"] if "jsd" in row][:3]
        yield f"simple attributes alone: {attributes['jsd']['value']:.3f} nats{said}; most: {', '.join(most)}"
    for name, row in (found["classes"] or {}).items():
        if "jsd" in row:
            jsd = row["jsd"]
            span = f"[{jsd['low']:.3f}, {jsd['high']:.3f}]"
            yield f"class {name}: {jsd['value']:.3f} nats {span}   p = {row['p_value']:.3g}"
        else:
            yield f"class {name}: none, for {row['why']}"
    if "em" in shift:
        for name, share in shift["source"].items():
            em, bbse = shift["em"][name], shift["bbse"][name]
            said = f"{100 * share:.0f} % of the source, of the target by EM {100 * em['value']:.0f} %"
            known = "" if shift["target"] is None else f", by its labels {100 * shift['target'].get(name, 0.0):.0f} %"
            span = f"[{100 * em['low']:.0f}, {100 * em['high']:.0f}]"
            yield f"label {name}: {said} {span}, by BBSE {100 * bbse['value']:.0f} %{known}"
        yield from (f"note: frequencies of the labels: {note}" for note in shift["notes"])
    elif "why" in shift:
        yield f"note: no shift of labels: {shift['why']}"


def ranked(found: dict[str, Any]) -> Iterable[str]:
    """What rank has to say: a table, best first, then what is worth a note."""

    def cell(score: dict[str, Any]) -> str:
        if score["value"] is None:
            return "-"
        return f"{score['value']:.3f}{ends(score, 3)}"

    head = ["", "name", "joint LOO, nats (less is better)", "NCE, nats", "LEEP, nats", "LogME, nats", "H-score", "s"]
    rows = [
        [str(row["rank"]), row["name"]]
        + [cell(row[m]) for m in ("joint_loo", "nce", "leep", "logme", "h_score")]
        + [f"{sum(row['seconds'].values()):.1f}"]
        for row in found["ranking"]
    ]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for r in [head, *rows]:
        yield "  ".join(text.ljust(width) for text, width in zip(r, widths, strict=True)).rstrip()
    yield f"{found['n_target']:,} labelled target examples; intervals of 95 %"
    for row in found["ranking"]:
        if (behind := row["behind"]) is not None and (behind["p"] or 1) < 0.05:
            yield f"{row['name']} is behind the first by {cell(behind)} nats (p = {behind['p']:.2g})"
    for row in found["ranking"]:
        for measure in ("nce", "leep", "logme", "h_score"):
            if "reason" in row[measure]:
                yield f"note: {row['name']} has no {measure}: {row[measure]['reason']}"
        yield from (f"note: {row['name']}: {note}" for note in row["notes"])
    yield from (f"note: {note}" for note in found["notes"])
    yield from (f"left out: {skipped['name']} ({skipped['reason']})" for skipped in found["skipped"])
