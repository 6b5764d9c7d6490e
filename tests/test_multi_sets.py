"""Any number of classes an example as one of several tasks: every kind of layer, missing labels, doors, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.cli import main
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.export import export
from crossgraft.multilabel import joined
from crossgraft.multitask.run import open_run
from crossgraft.report.several import MISTAKES

N, TEST = 240, 80


def parts() -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Vectors, of which each has a side and those of three marks whose value is above 0."""
    x = np.random.default_rng(0).normal(size=(N, 6)).astype(np.float32)
    marks: list[list[str] | None] = [
        [m for m, v in zip(("big", "red", "old"), row[:3], strict=True) if v > 0] for row in x
    ]
    marks[-20:] = [None] * 20
    side = np.where(x[:, 3] > 0, "right", "left").astype(object)
    return x, {"side": side, "marks": marks}, np.where(np.arange(N) < TEST, "test", "train").astype("U9")


@pytest.mark.parametrize("backbone", ["identity", "mlp"])
def test_marks_and_a_side_are_learned_predicted_and_scored_from_one_pass(backbone: str, tmp_path: Path) -> None:
    x, y, splits = parts()
    made = crossgraft.multi({"parts": (x, y, splits)}, ["side", "marks"], backbone=backbone, out=tmp_path / "run")
    found = made.result["tasks"]
    assert (found["side"]["kind"], found["marks"]["kind"]) == ("classify", "multilabel")
    assert found["marks"]["classes"] == ["big", "old", "red"]
    assert found["marks"]["n"] == {"train": 140, "val": 0, "test": 80}
    assert found["side"]["n"]["train"] == 160
    assert found["marks"]["test"]["micro_f1"]["value"] > 0.9
    assert found["side"]["test"]["accuracy"]["value"] > 0.9
    assert found["marks"]["joint"]["cross_entropy"]["value"] < 3 * np.log(2) / 2
    again = open_run(made.folder)
    rows = again.predict((x[:TEST], None))
    lines = [json.loads(line) for line in (made.folder / "predictions.jsonl").read_text().splitlines()]
    before = {line["name"]: line for line in lines if line["task"] == "marks"}
    for row in rows:
        assert row["tasks"]["marks"]["labels"] == before[row["name"]]["predicted"]
        shares = list(row["tasks"]["marks"]["probabilities"].values())
        np.testing.assert_allclose(shares, before[row["name"]]["probabilities"], atol=1e-4)
    scored = again.score((x[:TEST], {"side": y["side"][:TEST], "marks": y["marks"][:TEST]}))["tasks"]
    assert scored["marks"]["micro_f1"] == found["marks"]["test"]["micro_f1"]
    page = (made.folder / "report.html").read_text()
    assert "Mistakes" in page
    wrong = [line for line in before.values() if line["label"] != line["predicted"]]
    assert all(f"{joined(line['label'])}</" in page for line in wrong[:MISTAKES])
    if backbone == "mlp":
        told = export(made, "torch", tmp_path / "model.pt2")
        assert told["max_difference"] < 1e-5


def test_missing_sets_are_masked_and_empty_ones_are_not(tmp_path: Path) -> None:
    x, y, splits = parts()
    none = [[] if i % 2 else None for i in range(N)]
    data = {"a": (x, {"side": y["side"], "marks": y["marks"]}, splits), "b": (x + 0.1, {"marks": none}, splits)}
    tasks = {"side": {"label": "side", "data": ["a"]}, "marks": {"label": "marks"}}
    found = crossgraft.multi(data, tasks, backbone="identity", guard=False, baselines=False, out=tmp_path / "run")
    assert found.result["tasks"]["marks"]["n"]["train"] == 140 + 80


def test_a_table_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y, splits = parts()
    cells = ["" if m is None else "|".join(m) or "|" for m in y["marks"]]
    flags = ["," if m is None else f"{int('red' in m)},{int('old' in m)}" for m in y["marks"]]
    rows = [
        ",".join([*(f"{v:.4f}" for v in row), s, m, f, p])
        for row, s, m, f, p in zip(x, y["side"], cells, flags, splits, strict=True)
    ]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b,c,d,e,f,side,marks,red,old,split", *rows]) + "\n")
    both = ["multi", "--data", str(table), "--task", "side", "--task", "marks", "--task", "flags=red+old"]
    more = ["--backbone", "identity", "--no-guard", "--kind", "marks=multilabel", "--separator", "|", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*both, *more, "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)["tasks"]
    assert found["marks"]["classes"] == ["big", "old", "red"]
    assert found["flags"]["classes"] == ["old", "red"]
    assert found["flags"]["n"]["train"] == found["marks"]["n"]["train"] == 140
    only = tmp_path / "inputs.csv"
    only.write_text("\n".join([",".join("abcdef"), *(",".join(f"{v:.4f}" for v in row) for row in x[:5])]) + "\n")
    for asked, file, shown in ((["predict"], only, "marks: "), (["score"], table, "micro F1")):
        with pytest.raises(SystemExit) as ended:
            main([*asked, str(tmp_path / "run"), str(file)])
        assert ended.value.code == 0
        assert shown in capsys.readouterr().out


def test_columns_of_one_and_nought_are_a_task_beside_a_class() -> None:
    frame = {"a": [0.1, 0.2, 0.3], "side": ["l", "r", "l"], "red": [1, 0, 1], "old": [0, 0, 1]}
    pandas = pytest.importorskip("pandas")
    domain = open_domain(pandas.DataFrame(frame), "t", label=("side", "red+old"))
    assert domain.more["side"].tolist() == ["l", "r", "l"]
    assert [y.split("\0")[1:] for y in domain.more["red+old"]] == [["red"], [""], ["old", "red"]]


@pytest.mark.parametrize("schedule", ["frozen", "lp_ft"])
def test_sentences_have_tags_and_sets_of_topics(schedule: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    verbs = {"wrote": ["work"], "sang": ["play"], "danced": ["play", "sport"], "sat": []}
    said = draw.choice(list(verbs), 60).tolist()
    words = [["yesterday", str(draw.choice(["Ada", "Alan"])), verb] for verb in said]
    labels = {"tags": [["O", "B-person", "O"]] * 60, "topics": [frozenset(verbs[v]) for v in said]}
    splits = np.where(np.arange(60) < 20, "test", "train").astype("U9")
    more: dict[str, Any] = {"steps": 3, "guard": False, "baselines": False} if schedule == "lp_ft" else {}
    made = crossgraft.multi(
        {"lines": (words, labels, splits)}, ["tags", "topics"], out=tmp_path / "run", schedule=schedule, **more
    )
    found = made.result["tasks"]
    assert (found["tags"]["kind"], found["topics"]["kind"]) == ("tag", "multilabel")
    assert found["topics"]["test"]["micro_f1"]["value"] > 0.9
    assert open_run(made.folder).predict(["yesterday Ada danced"])[0]["tasks"]["topics"]["labels"] == ["play", "sport"]


@pytest.mark.parametrize(
    ("marks", "options", "message"),
    [
        (None, {"tasks": {"side": {"label": "side"}, "marks": {"label": "marks", "kind": "classify"}}},
         "task 'marks' is classify, and its labels are sets of classes"),
        (None, {"class_weights": "balanced"}, "class_weights is for one class an example"),
        ([["big"]] * N, {}, "task 'marks' has one class only"),
        ([["big", "red"] if i % 2 else ["big"] for i in range(N)], {}, "have class 'big'"),
        ([[]] * N, {}, "task 'marks' has no class"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_said_before_anything_is_trained(
    marks: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    x, y, splits = parts()
    data = {"parts": (x, y | ({} if marks is None else {"marks": marks}), splits)}
    asked = {"tasks": ["side", "marks"]} | options
    with pytest.raises((CrossgraftError, UsageError), match=message):
        crossgraft.multi(data, out=tmp_path / "run", backbone="mlp", **asked)
    assert not list(tmp_path.glob("run/checkpoints/*"))
