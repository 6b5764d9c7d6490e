"""Numbers and the verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossgraft.report.values import number, part, rows

NARROW = "\u202f"
WITHOUT = {"target_only": "without transfer", "source_only": "by the source model alone"}
MODELS = {
    "transfer": "With transfer",
    "target_only": "Without transfer",
    "source_only": "Source only",
    "source": "Source",
    "language": "Words of the target's texts",
}


@dataclass(frozen=True)
class Measure:
    """How a score is named, written and read."""

    key: str
    title: str
    unit: str
    higher_is_better: bool

    def text(self, value: float) -> str:
        """The number without its unit."""
        return f"{100 * value:.1f}" if self.unit == "%" else nats(value)


SCORES = [
    Measure("accuracy", "Accuracy", "%", True),
    Measure("f1", "F1", "%", True),
    Measure("precision", "Precision", "%", True),
    Measure("recall", "Recall", "%", True),
    Measure("micro_f1", "F1, micro", "%", True),
    Measure("macro_f1", "F1, macro", "%", True),
    Measure("mean_average_precision", "Mean average precision", "%", True),
    Measure("subset_accuracy", "Whole sets right", "%", True),
    Measure("hamming_loss", "Wrong decisions", "%", False),
    Measure("word_error_rate", "Word error rate", "%", False),
    Measure("character_error_rate", "Character error rate", "%", False),
    Measure("cross_entropy", "Cross-entropy", "nats", False),
]


@dataclass(frozen=True)
class Interval:
    """A value and its interval, in the measure's own unit."""

    value: float
    low: float | None
    high: float | None


def interval(found: Any) -> Interval | None:
    """{"value", "low", "high"} as an Interval; None where there is no value."""
    if not isinstance(found, dict) or (value := number(found.get("value"))) is None:
        return None
    low, high = number(found.get("low")), number(found.get("high"))
    return Interval(value, low, high) if low is not None and high is not None else Interval(value, None, None)


def nats(value: float) -> str:
    """A cross-entropy with three digits behind the point.

    >>> nats(0.21), nats(-0.5)
    ('0.210', '−0.500')
    """
    return f"{value:.3f}".replace("-", "−")


def nats_or_none(value: float | None) -> str:
    """A cross-entropy, or a dash where there is none."""
    return "–" if value is None else nats(value)


def plain(value: Any) -> str:
    """A number as it was given: thousands set apart, no digits made up; a dash for nothing.

    >>> plain(1777), plain(0.003), plain(None)
    ('1,777', '0.003', '–')
    """
    x = number(value)
    if x is None:
        return "–" if value is None or value == "" else str(value)
    return f"{x:,.0f}" if x == int(x) else f"{x:g}"


def count(n: float, one: str, many: str = "") -> str:
    """A number of things.

    >>> count(1, "class", "classes"), count(1777, "picture")
    ('1 class', '1,777 pictures')
    """
    return f"{n:,.0f} {one if n == 1 else many or one + 's'}"


def model(key: str) -> str:
    """A model's name for the reader; `try_` marks one that was trained to compare schedules."""
    return MODELS.get(key) or (f"Tried: {key[4:]}" if key.startswith("try_") else key)


def with_interval(measure: Measure, score: Interval, *, unit: bool = True) -> str:
    """`90.8 % [89.1, 92.2]` or `0.312 nats [0.28, 0.34]`."""
    text = measure.text(score.value) + (f"{NARROW}{measure.unit}" if unit else "")
    return text if score.low is None or score.high is None else f"{text} {bounds(measure, score)}"


def bounds(measure: Measure, score: Interval) -> str:
    """`[89.1, 92.2]`, or nothing where there is no interval."""
    return "" if score.low is None or score.high is None else f"[{measure.text(score.low)}, {measure.text(score.high)}]"


def compare(measure: Measure, ours: Interval | None, theirs: Interval | None) -> str:
    """`better`, `worse` where the intervals do not meet, `unclear` where they do, and `` where one is missing."""
    if ours is None or theirs is None:
        return ""
    if ours.low is None or ours.high is None or theirs.low is None or theirs.high is None:
        return ""
    if ours.low > theirs.high:
        return "better" if measure.higher_is_better else "worse"
    if ours.high < theirs.low:
        return "worse" if measure.higher_is_better else "better"
    return "unclear"


@dataclass(frozen=True)
class Verdict:
    """The headline, one sentence more, and its tone: good, bad or open."""

    headline: str
    detail: str
    tone: str


ENDINGS = {
    ("better", "better"): ("the transfer was worth it", "good"),
    ("better", "unclear"): ("the transfer was worth it", "good"),
    ("better", ""): ("the transfer was worth it", "good"),
    ("unclear", "better"): (
        "the transfer was worth it for its probabilities, and its labels cannot be told apart",
        "good",
    ),
    ("better", "worse"): ("the transfer was worth it for its labels and cost it its probabilities", "open"),
    ("worse", "better"): ("the transfer was worth it for its probabilities and cost it labels", "open"),
    ("unclear", "unclear"): ("the intervals overlap, so this test cannot say that the transfer was worth it", "open"),
    ("unclear", ""): ("the intervals overlap, so this test cannot say that the transfer was worth it", "open"),
    ("unclear", "worse"): ("the transfer was not worth it", "bad"),
    ("worse", "worse"): ("the transfer was not worth it", "bad"),
    ("worse", "unclear"): ("the transfer was not worth it", "bad"),
    ("worse", ""): ("the transfer was not worth it", "bad"),
}


def verdict(result: dict[str, Any], things: str) -> Verdict:
    """The run in one sentence: its test scores, and their paired differences, or intervals; `things` were tested."""
    test = part(result, "test")
    kept = str(part(result, "kept").get("model", "transfer"))
    scored = [m for m in SCORES if interval(test.get(m.key))]
    if not scored:
        return Verdict("This run has no test scores.", "", "open")
    first, ours = scored[0], interval(test.get(scored[0].key))
    entropy = next((m for m in scored[1:] if m.key == "cross_entropy"), None)
    assert ours is not None
    headline = _says(first, ours, number(test.get("n")), things)
    detail = f"Cross-entropy {with_interval(entropy, e)}" if entropy and (e := interval(test.get(entropy.key))) else ""
    if kept != "transfer":
        return _not_kept(result, kept, first, ours, headline, detail and f"{detail}.")
    other = part(result, "baselines", "target_only")
    if (theirs := interval(other.get(first.key))) is None:
        return Verdict(
            f"{headline}.", (f"{detail}. " if detail else "") + "No model without transfer was run beside it.", "open"
        )
    headline += f", {first.text(theirs.value)}{NARROW}{first.unit} without transfer"
    by_entropy = ""
    if entropy and (their_entropy := interval(other.get(entropy.key))):
        detail += f", {with_interval(entropy, their_entropy)} without transfer"
        by_entropy = _told(result, "target_only", entropy, interval(test.get(entropy.key)), their_entropy)
    by_first = _told(result, "target_only", first, ours, theirs)
    ending, tone = ENDINGS.get((by_first, by_entropy), ("", "open"))
    if ahead := _source_ahead(result, first, ours):
        detail, tone = f"{detail}. {ahead}" if detail else ahead, "open" if tone == "good" else tone
    return Verdict(f"{headline}: {ending}." if ending else f"{headline}.", detail and f"{detail}.", tone)


def _source_ahead(result: dict[str, Any], measure: Measure, ours: Interval) -> str:
    """What the source's model alone has, where that is more; without a full stop."""
    theirs = interval(part(result, "baselines", "source_only").get(measure.key))
    if theirs is None or (theirs.value > ours.value) != measure.higher_is_better or theirs.value == ours.value:
        return ""
    beyond = _told(result, "source_only", measure, ours, theirs) == "worse"
    end = "and is better on this test" if beyond else "which this test cannot tell apart from it"
    return f"The source's model alone has {measure.text(theirs.value)}{NARROW}{measure.unit}, {end}"


def _told(result: dict[str, Any], other: str, measure: Measure, ours: Interval | None, theirs: Interval) -> str:
    """`compare` of the kept model and another one, by their paired difference where the run has it.

    Intervals of two scores on the same examples may meet where the difference is beyond noise.
    """
    row = next((row for row in rows(result, "paired", "model") if row["model"] == other), {})
    if (difference := interval(row.get(measure.key))) is not None:
        return compare(measure, difference, Interval(0.0, 0.0, 0.0))
    return compare(measure, ours, theirs)


def _not_kept(
    result: dict[str, Any], kept: str, first: Measure, ours: Interval | None, headline: str, detail: str
) -> Verdict:
    headline += f" {WITHOUT.get(kept, f'by the model {kept}')}"
    if (theirs := interval(part(result, "transfer").get(first.key))) is None:
        return Verdict(f"{headline}.", detail, "open")
    headline += f", {first.text(theirs.value)}{NARROW}{first.unit} with transfer: the transfer was not kept"
    if _told(result, "transfer", first, ours, theirs) == "worse":
        return Verdict(f"{headline}, though this test favours it.", detail, "open")
    return Verdict(f"{headline}.", detail, "bad")


def _says(measure: Measure, score: Interval, n: float | None, things: str) -> str:
    what = with_interval(measure, score)
    of = f"the {n:,.0f} test {things}" if n is not None else f"the test {things}"
    return f"{what} of {of} are right" if measure.key == "accuracy" else f"{measure.title} {what} on {of}"
