"""Results as lines that a person reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from crossgraft import processes
from crossgraft.multilabel import joined

RATES = (
    ("accuracy", "accuracy"), ("F1", "f1"), ("micro F1", "micro_f1"), ("macro F1", "macro_f1"), ("whole sets",
    "subset_accuracy"), ("mAP", "mean_average_precision"), ("wrong decisions", "hamming_loss"), ("word errors",
    "word_error_rate"), ("character errors", "character_error_rate"),
)  # fmt: skip
TESTED = (
    ("accuracy", "accuracy", "McNemar"), ("f1", "F1", "bootstrap over sentences"), ("micro_f1", "micro F1", "bootstrap "
    "over examples"), ("word_error_rate", "word error rate", "bootstrap over utterances"),
)  # fmt: skip


def answer(result: dict[str, Any], as_json: bool, lines: Callable[[dict[str, Any]], Iterable[str]]) -> None:
    """Print a result: one JSON object, or its lines. Of several processes the first speaks."""
    if not processes.first():
        return
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(*lines(result), sep="\n")


def line(row: dict[str, Any]) -> str:
    """One prediction: name, label, the most probable classes."""
    if "error" in row:
        return f"{row['name']}\terror: {row['error']}"
    if "tasks" in row:
        each = [f"{task}: {line({'name': '', **own}).strip()}" for task, own in row["tasks"].items()]
        return "\t".join([row["name"], *each])
    if "text" in row:
        return f"{row['name']}\t{row['text']}"
    if "spans" in row:
        found = [f"{s['text']} [{s['type']} {s['probability']:.3f}]" for s in row["spans"]]
        return f"{row['name']}\t" + "  ".join(found)
    best = sorted(row["probabilities"].items(), key=lambda kv: -kv[1])[:5]
    return f"{row['name']}\t{row.get('label') or joined(row['labels'])}\t" + "  ".join(f"{k} {p:.3f}" for k, p in best)


def scores(title: str, part: dict[str, Any]) -> str:
    """One model's scores with intervals."""
    rates = [(name, part[key]) for name, key in RATES if part.get(key) is not None]
    cells = [f"{n} {100 * r['value']:5.1f} %{ends(r, 1, 100)}" for n, r in rates]
    if (ce := part.get("cross_entropy")) is not None and ce["value"] is not None:
        cells.append(f"cross-entropy {ce['value']:.3f} nats{ends(ce, 3)}")
    return "   ".join([f"{title:<12}", *cells, f"n = {part['n']:,}"])


def ends(score: dict[str, Any], digits: int, times: float = 1) -> str:
    """An interval in brackets, as of one example, which has none, nothing.

    >>> ends({"low": 0.5, "high": 0.75}, 1, 100), ends({"low": None, "high": None}, 3)
    (' [50.0, 75.0]', '')
    """
    low, high = score["low"], score["high"]
    return "" if low is None or high is None else f" [{times * low:.{digits}f}, {times * high:.{digits}f}]"


def over_groups(part: dict[str, Any]) -> Iterable[str]:
    """The same scores with groups, of which there are n, for independent, and in each environment, where known."""
    yield from (scores(place, own) for place, own in part.get("by_environment", {}).items())
    yield from (scores("over groups", over) for over in [part.get("over_groups")] if over is not None)


def strangers(part: dict[str, Any]) -> Iterable[str]:
    """How unknown examples were told from known ones, where that was asked for."""
    if "n_unknown" not in part:
        return
    yield f"{part['n_known']:,} known and {part['n_unknown']:,} unknown, from a score of {part['threshold']:.3f} on"
    for title, key in (
        ("accuracy on known ones, a rejected one wrong", "accuracy_known"),
        ("unknown ones that are called so", "rejected_unknown"),
        ("H-score, the harmonic mean of both", "h_score"),
        ("AUROC of unknown", "auroc"),
    ):
        if (found := part[key]) is not None:
            ends = ", ".join("-" if found[end] is None else f"{100 * found[end]:.1f}" for end in ("low", "high"))
            yield f"{title}: {100 * found['value']:.1f} % [{ends}]"


def fitted(result: dict[str, Any]) -> Iterable[str]:
    """What fit has to say."""
    yield scores("kept model", result["test"])
    yield from over_groups(result["test"])
    for name, part in result["baselines"].items():
        if part is not None:
            yield scores(name.replace("_", " "), part)
    yield f"kept: {result['kept']['model']}. {result['kept']['why']}"
    yield from worth(result)
    if said := result.get("language"):
        before, after, change = (said[key]["value"] for key in ("before", "after", "difference"))
        span = f"[{said['difference']['low']:+.3f}, {said['difference']['high']:+.3f}]"
        seen = f", {said['test_inputs']:,} of them test inputs" if said["test_inputs"] else ""
        word = "the next word" if said["asked"] == "next" else "a masked word"
        told = f"{word} costs {after:.3f} nats, before {before:.3f}: {change:+.3f} {span}"
        yield f"language: {told} on {said['n']:,} held-out texts"
        yield f"  learned from {said['texts']:,} texts of the target without labels{seen}"
    if found := result.get("align"):
        where = "moved to the target's mean" if found["moved"] else "left where they are"
        yield f"align: the source's features are {where}{_left_out(found)}"
    if weighed := result.get("sources"):
        cells = [f"{s['name']} {s['weight']:.3f}" + _measured(s) for s in weighed]
        yield f"sources: {', '.join(cells)}"
    if unknown := result.get("unknown"):
        said = f"unknown: above a score of {unknown['threshold']:.3f}, by {unknown['n']:,} {unknown['of']}"
        free = unknown["unlabelled"]
        yield said + ("" if free is None else f"; {100 * free['value']:.1f} % of {free['n']:,} unlabelled ones are")
    yield from _closing(result)


def _left_out(found: dict[str, Any]) -> str:
    """What left-out labels cost beside the source as it is and moved."""
    if found["before"] is None:
        return ""
    ends = found["difference"]
    span = f"{ends['value']:+.3f} [{ends['low']:+.3f}, {ends['high']:+.3f}]"
    return f": left-out labels cost {found['after']:.3f} nats beside them moved, else {found['before']:.3f}: {span}"


def several(result: dict[str, Any]) -> Iterable[str]:
    """What a run of several tasks has to say."""
    for name, own in result["tasks"].items():
        yield f"{name}: kept {own['kept']['model']}. {own['kept']['why']}"
        for title in ("joint", "alone"):
            if own[title] is not None:
                yield "  " + scores(title, own[title])
        for said in over_groups(own["test"]):
            yield "  " + said
    for name, why in result["dropped"].items():
        yield f"left out: {name}, {why}"
    for name, why in result["lowered"].items():
        yield f"weighs less: {name}, {why}"
    for row in result["affinity"]:
        span = f"{row['value']:+.3f} nats [{row['low']:+.3f}, {row['high']:+.3f}]"
        alone = f" beside all, {row['pair']['value']:+.3f} the two alone" if len(result["tasks"]) > 2 else ""
        yield f"{row['of']} to {row['on']}: {span}{alone}"
    if result["grouping"]:
        yield "suggested groups: " + "; ".join(" + ".join(own) for own in result["grouping"])
    yield from _closing(result)


def _closing(result: dict[str, Any]) -> Iterable[str]:
    """What was minimised, what was left out, what is worth knowing, and where it all is."""
    formula = result["objective"]["formula"]
    yield f"objective: {formula}   schedule: {result['schedule']}   selection: {result['selection']}"
    if result["skipped"]:
        first = result["skipped"][0]
        yield f"{len(result['skipped'])} left out, the first: {first['name']} ({first['reason']})"
    for warning in result["warnings"]:
        yield f"note: {warning}"
    yield f"run: {result['run']}   report: {result['run']}/report.html   {sum(result['seconds'].values()):.1f} s"


def _measured(source: dict[str, Any]) -> str:
    """The nats by which the weight of a source was found."""
    return "" if source["value"] is None else f" ({source['measure']} {source['value']:.3f} nats)"


def worth(result: dict[str, Any]) -> Iterable[str]:
    """The gap, paired differences, labels saved and calibration of a run, where there are any."""
    for row in result.get("paired", ()):
        key, what, test = next(known for known in TESTED if known[0] in row)
        hit = row[key]
        points = ", ".join(f"{100 * hit[end]:+.1f}" for end in ("low", "high"))
        said = f"{100 * hit['value']:+.1f} points of {what} [{points}], p = {hit['p_value']:.2g} ({test})"
        yield f"against {row['model'].replace('_', ' ')}: {said}"
    if (gap := result.get("gap")) and "jsd" in gap:
        jsd = gap["jsd"]
        span = f"[{jsd['low']:.3f}, {jsd['high']:.3f}]"
        yield f"gap: source and target at least {jsd['value']:.3f} nats apart {span}, p = {gap['p_value']:.2g}"
    if saved := result.get("labels_saved"):
        yield f"labels: {saved['why']} Without: {saved['without']}, both on {saved['n']:,} test examples."
    if cal := result.get("calibration"):
        yield from calibrated(cal)


def calibrated(cal: dict[str, Any]) -> Iterable[str]:
    """What calibration would change, or why it cannot be said."""
    if "before" not in cal:
        yield f"calibration: {cal['why']}"
        return

    def change(after: dict[str, float]) -> str:
        entropy = f"cross-entropy {cal['before']['cross_entropy']:.3f} to {after['cross_entropy']:.3f} nats"
        return f"{entropy}, calibration error {100 * cal['before']['ece']:.1f} to {100 * after['ece']:.1f} %"

    yield f"a temperature of {cal['temperature']:.2f} from held-out labels would take {change(cal['after'])}"
    for name, key in (("vector scaling", "vector"), ("a correction for label shift", "label_shift")):
        if "after" in (part := cal.get(key) or {}):
            yield f"{name} would take {change(part['after'])}"
