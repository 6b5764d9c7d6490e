"""Results as lines that a person reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any


def answer(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], Iterable[str]]) -> None:
    """Print a result: one JSON object, or its lines."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(*lines(result), sep="\n")


def line(row: dict[str, Any]) -> str:
    """One prediction: name, label, the most probable classes."""
    if "error" in row:
        return f"{row['name']}\terror: {row['error']}"
    best = sorted(row["probabilities"].items(), key=lambda kv: -kv[1])[:5]
    return f"{row['name']}\t{row['label']}\t" + "  ".join(f"{k} {p:.3f}" for k, p in best)


def scores(title: str, part: dict[str, Any]) -> str:
    """One model's scores with intervals."""
    cells = [f"{title:<12}"]
    if (hit := part.get("accuracy")) is not None:
        cells.append(f"accuracy {100 * hit['value']:5.1f} % [{100 * hit['low']:.1f}, {100 * hit['high']:.1f}]")
    if (ce := part.get("cross_entropy")) is not None:
        cells.append(f"cross-entropy {ce['value']:.3f} nats [{ce['low']:.3f}, {ce['high']:.3f}]")
    return "   ".join([*cells, f"n = {part['n']:,}"])


def fitted(result: dict[str, Any]) -> Iterable[str]:
    """What fit has to say."""
    yield scores("kept model", result["test"])
    for name, part in result["baselines"].items():
        if part is not None:
            yield scores(name.replace("_", " "), part)
    yield f"kept: {result['kept']['model']}. {result['kept']['why']}"
    formula = result["objective"]["formula"]
    yield f"objective: {formula}   schedule: {result['schedule']}   selection: {result['selection']}"
    if result["skipped"]:
        first = result["skipped"][0]
        yield f"{len(result['skipped'])} left out, the first: {first['name']} ({first['reason']})"
    for warning in result["warnings"]:
        yield f"note: {warning}"
    yield f"run: {result['run']}   report: {result['run']}/report.html   {sum(result['seconds'].values()):.1f} s"


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
    for note in found.get("notes", ()):
        yield f"note: {note}"
