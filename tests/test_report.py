from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossgraft.errors import CrossgraftError
from crossgraft.report import evidence, maps, sections, words, write
from crossgraft.report.files import Prediction, read

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></svg><img src=x onerror=alert(2)>",
    "$\\frac{1}{$ and \\$ %s {{ 7*7 }} {% raw %}",
    "-->]]>&amp;\"'`",
    "مرحبا\u202e gnp.exe",
    "👩‍🔬🧪é漢字",
    "long" * 200,
    "line\nbreak\x00\x1b[31m\x85\u2028",
    "half \ud800 a pair",
    "",
]


def score(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def scores(n: int, accuracy: float, cross_entropy: float, half: float = 0.02) -> dict[str, Any]:
    return {"n": n, "accuracy": score(accuracy, half), "cross_entropy": score(cross_entropy, half)}


def result(classes: list[str]) -> dict[str, Any]:
    return {
        "run": "runs/trial-1",
        "name": "trial",
        "task": {"kind": "classify", "classes": classes},
        "backbone": {"name": "cnn", "revision": "r1", "dim": 64, "pretrained": False},
        "method": "joint",
        "schedule": "lp_ft",
        "selection": "loo",
        "lam": 0.1,
        "ridge": 0.003,
        "objective": {
            "formula": "ce(target) + 0.1*ce(source)",
            "terms": [
                {"term": "ce(target)", "weight": 1.0, "value": 0.21},
                {"term": "ce(source)", "weight": 0.1, "value": 0.4},
            ],
        },
        "n": {"target_labelled": 20, "target_test": 1777, "source": 5000, "target_unlabelled": 0, "test": 1777},
        "test": scores(1777, 0.908, 0.312),
        "baselines": {"target_only": scores(1777, 0.782, 0.713), "source_only": scores(1777, 0.693, 1.052)},
        "paired": [
            {
                "model": "target_only",
                "accuracy": {"value": 0.14, "low": 0.1, "high": 0.18, "p_value": 1e-5},
                "cross_entropy": {"value": -0.31, "low": -0.4, "high": -0.2, "p_value": 1e-4},
            }
        ],
        "gap": {"jsd": {"value": 0.41, "low": 0.39, "high": 0.44}, "p_value": 0.005},
        "labels_saved": {
            "why": "without it 42 are needed",
            "without": "a plain head",
            "used": 20,
            "curve": {"sizes": [20, 50, 100], "cross_entropy": [0.9, 0.5, 0.2], "level": 0.55},
        },
        "calibration": {
            "temperature": 1.25,
            "before": {"cross_entropy": 0.523, "ece": 0.041, "brier": 0.233},
            "after": {"cross_entropy": 0.511, "ece": 0.031, "brier": 0.229},
        },
        "kept": {"model": "transfer", "why": "its leave-one-out cross-entropy is lower"},
        "guard": [
            {"model": "transfer", "cross_entropy": score(0.36, 0.1), "n": 20, "difference": None},
            {"model": "target_only", "cross_entropy": score(0.84, 0.1), "n": 20, "difference": score(0.48, 0.1)},
        ],
        "path": {
            "lams": [0, 0.1, 1],
            "ridges": [0.001, 0.003],
            "loo": [[0.9, 0.8], [0.5, 0.361], [0.7, None]],
            "chosen": {"lam": 0.1, "ridge": 0.003},
        },
        "skipped": [{"domain": "target", "name": "torn.jpg", "reason": "the file is truncated"}],
        "leaks": [{"train": "a.jpg", "test": "b.jpg", "kind": "near", "distance": 3}],
        "warnings": ["few labels"],
        "seconds": {"read": 0.5, "source": 6.25},
        "versions": {"torch": "2.14.1"},
        "command": "crossgraft fit --target digits",
        "seed": 0,
    }


def make(folder: Path, classes: list[str], *, n: int = 60) -> Path:
    """A run folder of the shape that `fit` writes."""
    rng = np.random.default_rng(0)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result(classes)))
    k = len(classes)
    lines, index = [], []
    for i in range(n):
        p = rng.dirichlet(np.full(k, 0.3))
        logs = [
            float(x) if math.isfinite(x) else None
            for x in np.log(np.where(p < 1e-6, 0, p), where=p >= 1e-6, out=np.full(k, -np.inf))
        ]
        name, label, predicted = f"{classes[i % k]}-{i}.png", classes[i % k], classes[int(p.argmax())]
        lines.append({"name": name, "label": label, "predicted": predicted, "log_probabilities": logs})
        if label != predicted and len(index) < 3:
            file = f"{len(index)}.jpg"
            Image.new("RGB", (8, 8), (10 * i % 255, 80, 90)).save(pictures / file)
            index.append(
                {"file": file, "name": name, "label": label, "predicted": predicted, "probability": float(p.max())}
            )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (pictures / "index.json").write_text(json.dumps(index))
    steps = [
        {
            "model": m,
            "phase": ph,
            "step": s,
            "lr": 0.1,
            "objective": 2.0 / s,
            "terms": {"ce(target)": 1.9 / s},
            **({"evaluation": 1.0} if s > 3 else {}),
        }
        for m in ("source", "transfer", "target_only")
        for ph, first in (("head", 1), ("full", 5))
        for s in range(first, first + 4)
    ]
    (folder / "measures.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (folder / "recipe.toml").write_text('target = "digits"\nlam = "auto"\n')
    return folder


def change(folder: Path, **parts: Any) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would take them apart."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "run", list("0123456789"))


def page_of(folder: Path) -> Page:
    path = write(folder)
    assert path == folder / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_headline_states_the_verdict_in_words_and_numbers(folder: Path) -> None:
    text = page_of(folder).text.replace("\u202f", " ")
    assert (
        "90.8 % [88.8, 92.8] of the 1,777 test pictures are right, 78.2 % without transfer: the transfer was worth it."
        in text
    )
    assert "Cross-entropy 0.312 nats [0.292, 0.332], 0.713 nats [0.693, 0.733] without transfer." in text


def test_every_part_of_the_run_is_shown(folder: Path) -> None:
    text = page_of(folder).text
    wanted = [
        "ce(target) + 0.1*ce(source)",
        "0.250",
        "leave-one-out on the labels",
        "its leave-one-out cross-entropy is lower",
        "0.480 [0.380, 0.580]",
    ]
    wanted += [
        "λ = 0.1 and ridge 0.003, at 0.361 nats",
        "torn.jpg",
        "the file is truncated",
        "b.jpg",
        "few labels",
        'lam = "auto"',
    ]
    wanted += ["crossgraft fit --target digits", "2.14.1", "6.2", "head", "full", "Source only", "5,000", "Seed 0"]
    for words_ in wanted:
        assert words_ in text, words_


def test_what_it_was_worth_is_said(folder: Path) -> None:
    text = page_of(folder).text
    for said in (
        "+14.0",
        "[+10.0, +18.0]",
        "p = 1e-05",
        "0.410 nats",
        "without it 42 are needed",
        "a plain head",
        "1.25",
    ):
        assert said in text, said


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    page = page_of(folder)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "form", "foreignobject"})
    for _, attributes in page.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            if key in {"src", "href", "xlink:href"}:
                assert str(value).startswith(("data:image/jpeg;base64,", "#"))
            assert "url(" not in str(value) or "url(#" in str(value)
    assert not re.search(r"@import|url\((?!#)|https?://", (folder / "report.html").read_text())


def test_references_inside_figures_meet_one_target_each(folder: Path) -> None:
    page = page_of(folder)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for value in attributes.values():
            for wanted in re.findall(r"url\(#([^)]+)\)", str(value)) + re.findall(
                r"^#(.+)", str(attributes.get("href", ""))
            ):
                assert wanted in ids


def test_the_same_run_gives_the_same_bytes(folder: Path) -> None:
    once = write(folder).read_bytes()
    assert write(folder).read_bytes() == once
    code = f"from crossgraft.report import write; write({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert (folder / "report.html").read_bytes() == once


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    folder = make(tmp_path / "run", HOSTILE)
    bad = HOSTILE[1]
    change(
        folder, name=bad, command=bad, method=bad, warnings=HOSTILE, versions={bad: bad}, seconds={bad: 1.0},
        skipped=[{"domain": bad, "name": h, "reason": h} for h in HOSTILE],
        leaks=[{"train": h, "test": h, "kind": h, "distance": h} for h in HOSTILE],
        kept={"model": "transfer", "why": bad}, baselines={bad: scores(10, 0.5, 1.0)},
        objective={"formula": bad, "terms": [{"term": h, "weight": 1, "value": 1} for h in HOSTILE]},
    )  # fmt: skip
    (folder / "recipe.toml").write_text("\n".join(HOSTILE[:7]), encoding="utf-8")
    rows = [{"model": h, "phase": h, "step": s, "terms": {h: 1.0 / s}} for h in HOSTILE for s in (1, 2)]
    (folder / "measures.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    page = page_of(folder)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "foreignobject"})
    assert all(str(a["src"]).startswith("data:image/jpeg") for tag, a in page.tags if tag == "img")
    assert not any(key.startswith("on") for _, a in page.tags for key in a)
    for h in HOSTILE[:6]:
        assert " ".join(h.split()) in page.text
    assert not set("\x00\x1b\x85") & set("".join(page.words))
    assert "$\\frac" in "".join(page.words)  # as it was written, in a figure too: no formula was set


def test_a_run_of_result_alone_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"test": scores(50, 0.5, 1.2, 0.1)}))
    page = page_of(tmp_path)
    text = page.text.replace("\u202f", " ")
    assert "50.0 % [40.0, 60.0] of the 50 test examples are right." in text
    for sentence in [
        "No other model was run",
        "No steps of training",
        "No path of λ",
        "no test predictions",
        "no pictures",
        "whether leaks",
    ]:
        assert sentence in text, sentence
    assert "without transfer:" not in text
    (tmp_path / "result.json").write_text("{}")
    assert "no test scores" in page_of(tmp_path).text


@pytest.mark.parametrize("key", sorted(result(["a"])))
@pytest.mark.parametrize(
    "junk", [None, 7, "text", [], [[None]], {}, {"model": None, "value": "x", "terms": 3}], ids=repr
)
def test_no_part_of_the_result_can_break_the_page(key: str, junk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgraft.report import figures, page
    from crossgraft.report.files import RunFiles

    monkeypatch.setattr(figures, "draw", lambda name, about, width, height, paint: "")
    assert "</html>" in page.render(RunFiles(result(["a", "b"]) | {key: junk}))


HUGE = 1e100
EXTREMES: dict[str, dict[str, Any]] = {
    "one point": {"path": {"lams": [0], "ridges": [1], "loo": [[0.5]], "chosen": {"lam": 0, "ridge": 1}}},
    "huge path": {
        "path": {"lams": [0, HUGE], "ridges": [1 / HUGE], "loo": [[HUGE], [-HUGE]], "chosen": {"lam": 0, "ridge": 7}}
    },
    "huge scores": {"test": {"n": HUGE, "accuracy": score(0, HUGE), "cross_entropy": score(HUGE, HUGE)}},
    "beyond floats": {"seed": 10**400, "lam": 10**400, "test": {"n": 10**400, "accuracy": score(1, 0)}},
    "alone": {"test": {"n": 1, "accuracy": score(1, 0)}, "baselines": {}},
}


@pytest.mark.parametrize("parts", EXTREMES.values(), ids=EXTREMES)
def test_extreme_numbers_are_drawn(folder: Path, parts: dict[str, Any]) -> None:
    change(folder, **parts)
    steps = [
        {"model": "m", "step": s, "terms": {"ce(target)": y}}
        for s, y in ((1, 1e308), (HUGE, HUGE), (0, -HUGE), (2, 0.5))
    ]
    (folder / "measures.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (folder / "predictions.jsonl").write_text(
        '{"name": "n", "label": "1", "predicted": "2", "log_probabilities": [null, 5, -1e9]}\n'
    )
    assert any(tag == "svg" for tag, _ in page_of(folder).tags)


def test_broken_lines_and_pictures_cost_themselves_alone(folder: Path) -> None:
    good = len(read(folder).predictions)
    with (folder / "predictions.jsonl").open("a") as lines:
        lines.write(
            '{"name": "no label"}\n{"name": "x", "label": "1", "predicted": "1", "log_probabilities": [null]}\n{"na'
        )
    with (folder / "measures.jsonl").open("a") as lines:
        lines.write("[1]\n{}\n")
    secret = folder / "secret.jpg"
    Image.new("RGB", (4, 4)).save(secret)
    (folder / "pictures" / "link.jpg").symlink_to(secret)
    (folder / "pictures" / "page.jpg").write_text("<svg onload=alert(1)>")
    files = ["0.jpg", "../secret.jpg", str(secret), "link.jpg", "page.jpg", "gone.jpg", "", None, 3]
    (folder / "pictures" / "index.json").write_text(json.dumps([{"file": f, "name": "n"} for f in files] + [4]))
    run = read(folder)
    assert len(run.predictions) == good
    assert [bool(p.data) for p in run.pictures] == [True] + 8 * [False]
    text = page_of(folder).text
    assert f"predictions.jsonl: 3 lines could not be read (the first is line {good + 1})" in text
    assert "pictures/../secret.jpg cannot be shown" in text


def test_without_a_result_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(CrossgraftError, match=r"result\.json: give the folder of a finished run"):
        write(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(CrossgraftError, match="is not JSON"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("ours", "theirs", "says", "tone"),
    [
        ((0.9, 0.3), (0.8, 0.6), "the transfer was worth it.", "good"),
        ((0.9, 0.3), (0.89, 0.31), "the intervals overlap", "open"),
        ((0.9, 0.3), (0.89, 0.6), "worth it for its probabilities", "good"),
        ((0.8, 0.6), (0.9, 0.3), "the transfer was not worth it", "bad"),
        ((0.9, 0.6), (0.8, 0.3), "cost it its probabilities", "open"),
    ],
)
def test_the_verdict_follows_the_intervals(
    ours: tuple[float, float], theirs: tuple[float, float], says: str, tone: str
) -> None:
    found = words.verdict({"test": scores(100, *ours), "baselines": {"target_only": scores(100, *theirs)}}, "examples")
    assert says in found.headline
    assert found.tone == tone


def test_the_verdict_does_not_hide_a_source_that_is_ahead() -> None:
    baselines = {"target_only": scores(100, 0.7, 0.9), "source_only": scores(100, 0.91, 0.3)}
    run: dict[str, Any] = {"test": scores(100, 0.9, 0.3), "baselines": baselines}
    found = words.verdict(run, "examples")
    assert "The source's model alone has 91.0" in found.detail
    assert "cannot tell apart" in found.detail
    assert found.tone == "open"
    behind = {"model": "source_only", "accuracy": {"value": -0.01, "low": -0.016, "high": -0.004}}
    assert "is better on this test" in words.verdict(run | {"paired": [behind]}, "examples").detail
    baselines["source_only"] = scores(100, 0.89, 0.3)
    assert "source" not in words.verdict(run, "examples").detail
    assert words.verdict(run, "examples").tone == "good"


def test_the_verdict_goes_by_paired_differences_where_the_run_has_them() -> None:
    """Intervals that meet, of scores that differ beyond noise on the same examples, as the table below says."""
    paired: dict[str, Any] = {
        "model": "target_only",
        "accuracy": {"value": 0.01, "low": 0.004, "high": 0.016, "p_value": 0.001},
        "cross_entropy": {"value": -0.01, "low": -0.02, "high": -0.005, "p_value": 0.001},
    }
    run = {"test": scores(100, 0.9, 0.3), "baselines": {"target_only": scores(100, 0.89, 0.31)}}
    assert "intervals overlap" in words.verdict(run, "examples").headline
    found = words.verdict(run | {"paired": [paired]}, "examples")
    assert found.headline.endswith("the transfer was worth it.")
    assert found.tone == "good"
    unclear = paired | {
        "accuracy": {"value": 0.0, "low": -0.1, "high": 0.1},
        "cross_entropy": {"value": 0.0, "low": -0.1, "high": 0.1},
    }
    assert words.verdict(run | {"paired": [unclear]}, "examples").tone == "open"
    lost = run | {"kept": {"model": "target_only"}, "transfer": scores(100, 0.91, 0.29)}
    behind = {"model": "transfer", "accuracy": {"value": -0.01, "low": -0.016, "high": -0.004}}
    assert "though this test favours it" in words.verdict(lost | {"paired": [behind]}, "examples").headline


def test_a_model_of_which_nothing_was_held_out_has_no_row_among_the_evidence() -> None:
    empty = {"model": "source_only", "cross_entropy": None, "n": 0, "difference": None}
    some = {"model": "transfer", "cross_entropy": score(0.3, 0.1), "n": 20, "difference": None}
    assert [row["n"] for row in sections.guard({"guard": [empty, some]})] == [20]


@pytest.mark.parametrize(
    ("transfer", "says", "tone"),
    [
        (
            {"transfer": scores(100, 0.7, 0.9)},
            "right without transfer, 70.0 % with transfer: the transfer was not kept.",
            "bad",
        ),
        ({"transfer": scores(100, 0.9, 0.3)}, "the transfer was not kept, though this test favours it.", "open"),
        ({"transfer": None}, "of the 100 test examples are right without transfer.", "open"),
    ],
)
def test_a_transfer_that_was_not_kept_is_said_so(transfer: dict[str, Any], says: str, tone: str) -> None:
    found = words.verdict({"test": scores(100, 0.8, 0.5), "kept": {"model": "target_only"}, **transfer}, "examples")
    assert says in found.headline.replace("\u202f", " ")
    assert found.tone == tone


def test_every_model_has_its_row_of_scores(folder: Path) -> None:
    change(
        folder,
        kept={"model": "target_only"},
        transfer=scores(1777, 0.512, 2.5),
        baselines={"target_only": scores(1777, 0.9, 0.3), "source_only": None},
    )
    page = page_of(folder)
    assert "51.2 [49.2, 53.2] 2.500 [2.480, 2.520]" in page.text
    assert "Source only" not in page.text


def test_scores_of_other_tasks_are_shown_too() -> None:
    run = {
        "test": {"n": 9, "word_error_rate": score(0.2, 0.05)},
        "baselines": {"target_only": {"word_error_rate": score(0.4, 0.05)}},
    }
    found = words.verdict(run, "examples").headline
    assert found.startswith("Word error rate 20.0\u202f% [15.0, 25.0]")
    assert found.endswith("the transfer was worth it.")


def test_a_test_example_that_leaked_twice_counts_once(folder: Path) -> None:
    change(folder, leaks=[{"train": t, "test": "b.jpg", "kind": "exact", "distance": 0} for t in ("a.jpg", "c.jpg")])
    text = page_of(folder).text
    assert "1 test example is also in a training part" in text
    assert "a.jpg b.jpg exact 0 c.jpg b.jpg exact 0" in text


def test_oracle_selection_is_marked(folder: Path) -> None:
    assert "oracle" not in page_of(folder).text
    change(folder, selection="oracle")
    html = write(folder).read_text()
    assert '<p class="alarm">Chosen by the test labels (oracle)' in html
    assert '<strong class="alarm">Selection rule: oracle' in html


@pytest.mark.parametrize("k", [30, 31])
def test_many_classes_are_a_table_of_pairs(tmp_path: Path, k: int) -> None:
    folder = make(tmp_path / "run", [f"class {i}" for i in range(k)], n=300)
    page = page_of(folder)
    assert any(str(a.get("aria-label", "")).startswith("Confusion matrix") for _, a in page.tags) == (k == 30)
    assert "Most confused" in page.text


def predictions(rows: list[tuple[str, str, float]]) -> list[Prediction]:
    return [Prediction(f"{i}", label, predicted, math.log(p)) for i, (label, predicted, p) in enumerate(rows)]


def test_calibration_and_confusion_by_hand() -> None:
    found = predictions(
        [("a", "a", 0.95), ("a", "b", 0.93), ("b", "b", 0.62), ("b", "a", 0.64), ("b", "a", 0.66), ("c", "c", 1.0)]
    )
    r = evidence.reliability(found)
    # Bin [0.9, 1]: 0.95, 0.93, 1.0, two of three right; bin [0.6, 0.7): 0.62, 0.64, 0.66, one of three right.
    assert r.n.tolist() == [3, 3]
    np.testing.assert_allclose(r.sure, [0.64, 0.96])
    np.testing.assert_allclose(r.right, [1 / 3, 2 / 3])
    assert r.ece == pytest.approx(0.5 * (0.64 - 1 / 3) + 0.5 * (0.96 - 2 / 3))
    assert evidence.confusion(found, ["a", "b", "c"]).tolist() == [[1, 1, 0], [2, 1, 0], [0, 0, 1]]
    assert [(c.label, c.predicted, c.n, c.of) for c in evidence.most_confused(found)] == [
        ("b", "a", 2, 3),
        ("a", "b", 1, 2),
    ]
    assert [p.name for p in evidence.surest_mistakes(found, 2)] == ["1", "4"]


def test_steps_that_begin_again_are_counted_on() -> None:
    rows = [
        {"model": "transfer", "phase": ph, "step": s, "terms": {"ce(target)": 1.0}}
        for ph in ("head", "full")
        for s in (1, 2, 3)
    ]
    (found,) = evidence.curves(rows)
    assert found.lines["ce(target)"][0] == [1, 2, 3, 4, 5, 6]
    assert found.stages == [("head", 1, 3), ("full", 3, 6)]


def test_thumbnails_are_whole(folder: Path) -> None:
    from base64 import b64decode

    sources = [str(a["src"]) for tag, a in page_of(folder).tags if tag == "img"]
    assert len(sources) == 3
    for source in sources:
        assert Image.open(BytesIO(b64decode(source.partition(",")[2]))).size == (8, 8)


def test_matplotlib_waits_until_a_report_is_written() -> None:
    code = "import sys, crossgraft.report; print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "False"]


def test_maps_of_features_keep_groups_apart_and_are_the_same_twice() -> None:
    draw = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 20)
    x = draw.normal(0, 0.1, (40, 60)) + np.where(y == "a", 0.0, 3.0)[:, None]
    at = maps.positions(x)
    near = np.linalg.norm(at[:, None] - at[None], axis=2) + 1e9 * np.eye(40)
    assert (y[near.argmin(1)] == y).all()
    seen = {"before": (x[::2], x[1::2]), "after": (x[::2] + 1, x[1::2])}
    one, two = (maps.feature_maps(seen, (y[::2], y[1::2]), "um", most=15) for _ in range(2))
    assert one == two
    assert one.count(">a<") + one.count(">b<") == 2 * (15 + 15)
    assert "var(--accent)" in one
    with pytest.raises(CrossgraftError, match="at least 10"):
        maps.feature_maps({"before": (x[:4], x[4:8])}, (y[:4], y[4:8]), "few")
