"""Any number of classes an example: from a cell of a table to scores, by either solver, through every door."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, hamming_loss, log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

import crossgraft
from crossgraft.domains import open_domain
from crossgraft.domains.splits import assign_splits
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.export import export
from crossgraft.folds import spread, stratified
from crossgraft.measure.multilabel import multilabel_scores
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View
from crossgraft.run import Run
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.path import path, scaling

PROPERTIES = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "high": (5, 6, 7, 8, 9),
    "round": (0, 6, 8, 9),
}
AMAZON = Path(os.environ.get("CROSSGRAFT_DATA", "missing")) / "text" / "amazon"


def digits(n: int = 600) -> tuple[np.ndarray, list[list[str]]]:
    """Pictures of digits as vectors, and the properties of each digit; 1 has none of them."""
    data = load_digits()
    x = data.data[:n].astype(np.float32) / 16
    return x, [[name for name, own in PROPERTIES.items() if y in own] for y in data.target[:n]]


def binary(sets: list[list[str]], classes: tuple[str, ...]) -> np.ndarray:
    return np.array([[int(c in y) for c in classes] for y in sets])


# The loss


def test_the_loss_is_the_sum_of_scikit_learns_over_classes():
    draw = np.random.default_rng(0)
    z, y = draw.normal(size=(30, 4)) * 3, draw.integers(0, 2, (30, 4))
    said = Bernoullis(z)
    each = [log_loss(y[:, k], said.probabilities[:, k]) for k in range(4)]
    assert said.losses(y).mean() == pytest.approx(sum(each))
    view = View(torch.zeros(30, 1), torch.tensor(z), torch.tensor(y.astype(np.int8)))
    assert cross_entropy(view).item() == pytest.approx(sum(each), rel=1e-5)


def test_the_terms_gradient_is_p_less_y_and_rows_without_a_label_have_none():
    z = torch.tensor([[0.5, -1.0], [2.0, 0.0]], requires_grad=True)
    view = View(torch.zeros(2, 1), z, torch.tensor([[1, 0], [-1, -1]]))
    cross_entropy(view).backward()
    expected = z.detach().sigmoid()[0] - torch.tensor([1.0, 0.0])
    torch.testing.assert_close(z.grad, torch.stack([expected, torch.zeros(2)]))


def test_extreme_logits_cost_finite_nats():
    said = Bernoullis(np.array([[1000.0, -1000.0]]))
    assert said.losses(np.array([[0, 1]])).tolist() == [2000.0]
    assert said.losses(np.array([[1, 0]])).tolist() == [0.0]
    assert np.isfinite(said.probabilities).all()


# The convex solver


def problem(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    x, sets = digits(n)
    return scaling(x).apply(x.astype(float)), binary(sets, tuple(PROPERTIES))


def test_the_solution_is_one_versus_rest_logistic_regression():
    x, y = problem()
    ridge = 1e-3
    head = solve([Part(x, y, np.arange(4))], 4, ridge=ridge, tolerance=1e-12)
    with_one = np.c_[x, np.ones(len(x))]  # the bias is under the ridge too
    theirs = OneVsRestClassifier(
        LogisticRegression(C=1 / (len(x) * ridge), fit_intercept=False, tol=1e-10, max_iter=9999)
    )
    p = theirs.fit(with_one, y).predict_proba(with_one)
    ours = Bernoullis(x @ head.weight + head.bias).probabilities
    np.testing.assert_allclose(ours, p, atol=1e-4)
    weights = np.stack([e.coef_[0] for e in theirs.estimators_], axis=1)
    np.testing.assert_allclose(np.vstack([head.weight, head.bias]), weights, atol=1e-3 * np.abs(weights).max())


def test_left_out_losses_are_those_of_solving_again_without_each_row():
    x, y = problem(24)
    found = path(Part(x, y, np.arange(4)), None, 4, ridges=[1e-2, 1e-3])
    point = found.choose("min")
    again = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        # without its row the others keep their weight of 1/n
        part = Part(x[rest], y[rest], np.arange(4), weight=(len(x) - 1) / len(x))
        head = solve([part], 4, ridge=point.ridge)
        again.append(Bernoullis(x[i : i + 1] @ head.weight + head.bias).losses(y[i : i + 1])[0])
    np.testing.assert_allclose(point.losses, again, atol=5e-3)


def test_a_source_reaches_the_classes_that_it_shares_and_no_other():
    x, y = problem(60)
    source = Part(x[30:], y[30:, :2], np.array([0, 4]))  # shares class 0, has a class of its own
    target = Part(x[:30], y[:30], np.arange(4))
    alone = solve([target], 5, ridge=1e-2, tolerance=1e-12)
    both = solve([target, source], 5, ridge=1e-2, tolerance=1e-12)
    assert np.abs(alone.weight[:, 0] - both.weight[:, 0]).max() > 1e-3
    np.testing.assert_allclose(alone.weight[:, 1:4], both.weight[:, 1:4], atol=1e-6)
    assert np.abs(both.weight[:, 4]).max() > 0
    found = path(target, source, 5, lams=[0.0, 1.0], ridges=[1e-2])
    np.testing.assert_allclose(found.head(1.0, 1e-2).weight, both.weight, atol=1e-2)


# Splits and folds


def test_spread_keeps_the_frequency_of_rare_classes_as_chance_does_not():
    draw = np.random.default_rng(0)
    sets = (draw.random((400, 5)) < [0.5, 0.2, 0.1, 0.05, 0.02]).astype(int)
    part = spread(sets, [0.25, 0.75], draw)
    got = np.array([sets[part == 0, k].sum() for k in range(5)])
    assert np.abs(got - sets.sum(0) / 4).max() <= 1.5
    assert abs((part == 0).sum() - 100) <= 3
    folds = stratified(sets, 0, "x")
    assert sorted(np.concatenate(folds).tolist()) == list(range(400))
    assert max(abs(sets[f].sum(0) - sets.sum(0) / 5).max() for f in folds) <= 1.5


def test_shots_are_of_each_class_and_of_none_and_nested():
    x, sets = digits(200)
    known = {}
    for shots in (1, 3):
        domain = assign_splits(open_domain((x, sets), "d", task="multilabel"), 0, shots=shots)
        train = domain.take(domain.where("train"))
        counts = [sum(c in y for y in train.labels) for c in train.classes] + [sum(not y for y in train.labels)]
        assert min(counts) >= shots
        known[shots] = set(train.names)
    assert known[1] < known[3]


# Reading


def test_every_way_to_write_sets_gives_the_same_domain(tmp_path):
    x, sets = digits(30)
    names = MultiLabelBinarizer().fit(sets)
    rows = [";".join(y) or ";" for y in sets]
    columns = {f"x{i}": x[:, i] for i in range(3)}

    def table(file: str, labels: list, write) -> str:
        write(
            tmp_path / file, [{"label": y} | {c: float(v[i]) for c, v in columns.items()} for i, y in enumerate(labels)]
        )
        return str(tmp_path / file)

    def csv(to: Path, rows: list[dict]) -> None:
        lines = [",".join(rows[0])] + [
            ",".join(f'"{v}"' if isinstance(v, str) else str(v) for v in r.values()) for r in rows
        ]
        to.write_text("\n".join(lines) + "\n")

    def lines(to: Path, rows: list[dict]) -> None:
        to.write_text("".join(json.dumps(r) + "\n" for r in rows))

    def parquet(to: Path, rows: list[dict]) -> None:
        import pyarrow as pa
        from pyarrow import parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), to)

    expected = [frozenset(y) for y in sets]
    given = {
        "csv": table("a.csv", rows, csv),
        "pandas lists": table("b.csv", [str(y) for y in sets], csv),
        "lines": table("c.jsonl", sets, lines),
        "parquet": table("d.parquet", sets, parquet),
        "lists": (x, sets),
        "sets": (x, [set(y) for y in sets]),
    }
    for what in given.values():
        assert open_domain(what, "d", task="multilabel").labels.tolist() == expected
    matrix = open_domain((x, names.transform(sets)), "d")  # no other label is a row of 0 and 1
    assert [frozenset(str(names.classes_[int(k)]) for k in y) for y in matrix.labels] == expected
    import datasets
    import pandas as pd

    inner = datasets.Sequence(datasets.ClassLabel(names=list(names.classes_)))
    kinds = datasets.Features({"text": datasets.Value("string"), "labels": inner})
    numbers = [[list(names.classes_).index(c) for c in y] for y in sets]
    hub = {"text": [f"some words of example {i}" for i in range(30)], "labels": numbers}
    assert open_domain(datasets.Dataset.from_dict(hub, features=kinds), "d").labels.tolist() == expected
    frame = pd.DataFrame(names.transform(sets), columns=names.classes_)
    assert open_domain((x, frame), "d").labels.tolist() == expected
    flags = frame.assign(text=[f"some words of example {i}" for i in range(30)])
    flags.to_csv(tmp_path / "flags.csv", index=False)
    asked = open_domain(str(tmp_path / "flags.csv"), "d", label="even+high+prime+round", task="multilabel")
    assert asked.labels.tolist() == expected
    assert asked.kind == "text"


def test_an_empty_set_is_a_label_and_an_empty_cell_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none two three,a|b\nfour five six,|\nseven eight nine,\n")
    domain = open_domain(str(tmp_path / "a.csv"), "d", task="multilabel", separator="|")
    assert domain.labels.tolist() == [frozenset({"a", "b"}), frozenset(), None]
    rows = open_domain((np.eye(3), np.array([[1, 0], [0, 0], [np.nan, np.nan]])), "d")
    assert rows.labels.tolist() == [frozenset({"0"}), frozenset(), None]


def test_a_separator_that_no_label_holds_is_asked_about(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\none two three,a|b\nfour five six,c\nseven eight nine,b|c\n")
    domain = open_domain(str(tmp_path / "a.csv"), "d", task="multilabel")
    assert domain.notes == (
        "d: no label holds ';', and 2 hold '|': if it stands between classes, give --separator '|'",
    )
    assert open_domain(str(tmp_path / "a.csv"), "d", task="multilabel", separator="|").notes == ()


def test_wrong_labels_are_named(tmp_path):
    x, sets = digits(60)
    with pytest.raises(CrossgraftError, match="row 1, column 0 is 2"):
        open_domain((x[:2], np.array([[0, 1], [2, 0]])), "d")
    with pytest.raises(CrossgraftError, match="all 60 labelled examples have class 'every'"):
        crossgraft.fit((x, [[*y, "every"] for y in sets]), task="multilabel", backbone="identity", out=tmp_path / "a")
    with pytest.raises(CrossgraftError, match="one class only"):
        crossgraft.fit((x, [["a"]] * 30 + [[]] * 30), task="multilabel", backbone="identity", out=tmp_path / "b")
    with pytest.raises(CrossgraftError, match="no class"):
        crossgraft.fit((x, [[]] * 60), task="multilabel", backbone="identity", out=tmp_path / "c")
    split = ["train"] * 59 + ["test"]
    with pytest.raises(
        CrossgraftError, match=r"class 'new' is in the test part but never in training \(first: \[59\]\)"
    ):
        crossgraft.fit((x, [*sets[:59], ["new"]], split), task="multilabel", backbone="identity", out=tmp_path / "d")
    with pytest.raises(UsageError, match="lists or sets of classes"):
        crossgraft.fit((x, [set(y) for y in sets]), task="classify", backbone="identity", out=tmp_path / "e")
    (tmp_path / "f.csv").write_text("text,a,b\none two three,1,0\nfour five six,maybe,1\n")
    with pytest.raises(CrossgraftError, match=r"row 2: column 'a' of labels is 'maybe'"):
        open_domain(str(tmp_path / "f.csv"), "d", label="a+b", task="multilabel")
    (tmp_path / "g.csv").write_text("text,label\none two three,\nfour five six,\n")
    with pytest.raises(CrossgraftError, match="labels"):
        crossgraft.fit(str(tmp_path / "g.csv"), task="multilabel", backbone="words", out=tmp_path / "g")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "cdan"},
        {"method": "im"},
        {"method": "shot"},
        {"objective": "ce(target) + ce(source) + 0.1*entropy"},
        {"class_weights": "balanced"},
        {"mixup": 0.2},
        {"selection": "label_free:im"},
    ],
)
def test_what_reads_one_class_an_example_is_refused_before_training(tmp_path, options):
    x, sets = digits(100)
    target, source = (x[:50], [set(y) for y in sets[:50]]), (x[50:], [set(y) for y in sets[50:]])
    with pytest.raises(UsageError, match=r"sets of (classes|them)|one class an example"):
        crossgraft.fit(target, source, backbone="mlp", steps=5, source_steps=5, out=tmp_path / "run", **options)


# Scores


def test_scores_are_scikit_learns_and_lie_in_their_intervals():
    draw = np.random.default_rng(1)
    y = (draw.random((150, 3)) < [0.5, 0.3, 0.1]).astype(int)
    z = np.round(2 * (y - 0.5) + draw.normal(size=y.shape) * 1.5, 1)  # with ties
    found = multilabel_scores(MultiLabel(("a", "b", "c")), Bernoullis(z), y)
    expected = {
        "micro_f1": f1_score(y, z > 0, average="micro"),
        "macro_f1": f1_score(y, z > 0, average="macro"),
        "mean_average_precision": average_precision_score(y, z, average="macro"),
        "subset_accuracy": ((z > 0) == y).all(1).mean(),
        "hamming_loss": hamming_loss(y, z > 0),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value), name
        assert found[name]["low"] < value < found[name]["high"], name
    assert found["by_class"]["c"]["n"] == y[:, 2].sum()
    assert sum(c["cross_entropy"]["value"] for c in found["by_class"].values()) == pytest.approx(
        found["cross_entropy"]["value"]
    )


# The road


def test_a_run_is_made_saved_read_predicted_scored_and_exported(tmp_path):
    x, sets = digits(400)
    x_source = x[200:] + np.random.default_rng(0).normal(0, 0.2, x[200:].shape).astype(np.float32)
    less = [[c for c in y if c != "round"] + ["source's own"][: i % 2] for i, y in enumerate(sets[200:])]
    run = crossgraft.fit(
        (x[:200], sets[:200]), (x_source, less), task="multilabel", backbone="identity", shots=4, out=tmp_path / "run"
    )
    result = run.result
    assert result["task"] == {"kind": "multilabel", "classes": ["even", "high", "prime", "round"]}
    assert result["baselines"]["source_only"] is None  # it lacks a class
    assert result["test"]["micro_f1"]["value"] > 0.6
    assert {"micro_f1", "macro_f1", "cross_entropy"} < set(result["paired"][0])
    page = (run.folder / "report.html").read_text()
    assert "Average precision" in page
    assert "Whole sets right" in page
    again = Run.open(run.folder)
    rows = again.predict((x[:20], None))
    assert rows == run.predict((x[:20], None))
    for row in rows:
        assert row["labels"] == [c for c, p in row["probabilities"].items() if p > 0.5]
    lines = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    loaded = again.predict((x[[int(line["name"].strip("[]")) for line in lines]], None))
    for line, row in zip(lines, loaded, strict=True):  # written before the model was saved
        assert row["probabilities"] == pytest.approx(line["probabilities"], abs=1e-5)
    scored = again.score((x[100:200], sets[100:200]))
    truth = binary(sets[100:200], ("even", "high", "prime", "round"))
    said = np.array([list(r["probabilities"].values()) for r in again.predict((x[100:200], None))])
    assert scored["cross_entropy"]["value"] == pytest.approx(
        sum(log_loss(truth[:, k], said[:, k]) for k in range(4)), abs=1e-6
    )
    with pytest.raises(CrossgraftError, match=r"scored, \[1\]: label 'oval' is none of the 4 classes"):
        again.score((x[:2], [["even"], ["oval"]]))
    with pytest.raises(UsageError, match="threshold"):
        again.predict((x[:2], None), unknown=True)
    made = export(run, "onnx")
    assert made["max_difference"] < 1e-5
    import onnxruntime

    session = onnxruntime.InferenceSession(made["file"])
    p = session.run(None, {session.get_inputs()[0].name: x[100:200]})[0]
    np.testing.assert_allclose(p, said, atol=1e-5)


def test_layers_that_move_learn_sets_and_resuming_gives_the_same_weights(tmp_path, monkeypatch):
    x, sets = digits(300)
    target, source = (x[:100], sets[:100]), (x[100:], sets[100:])
    options: dict[str, Any] = {
        "task": "multilabel", "backbone": "mlp", "schedule": "lp_ft", "steps": 30, "source_steps": 60, "seed": 3,
        "guard": False, "baselines": False,
    }  # fmt: skip
    whole = crossgraft.fit(target, source, out=tmp_path / "whole", **options)
    assert whole.result["test"]["cross_entropy"]["value"] < 0.8 * 4 * np.log(2)
    from crossgraft.solve.keeper import Keeper

    note, calls = Keeper.note, []

    def stopping(self, *args, **kwargs):
        note(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 75:
            raise KeyboardInterrupt

    monkeypatch.setattr(Keeper, "note", stopping)
    with pytest.raises(KeyboardInterrupt):
        crossgraft.fit(target, source, out=tmp_path / "broken", **options)
    monkeypatch.setattr(Keeper, "note", note)
    resumed = crossgraft.fit(target, source, out=tmp_path / "broken", resume=True, **options)
    assert (resumed.folder / "weights.safetensors").read_bytes() == (whole.folder / "weights.safetensors").read_bytes()


def test_several_sources_that_weigh_and_groups_that_stay_whole(tmp_path):
    x, sets = digits(500)
    who = np.arange(120) // 10
    frame = {"label": [";".join(y) or ";" for y in sets[:120]], "who": who} | {f"x{i}": x[:120, i] for i in range(64)}
    import pandas as pd

    near, shuffled = (
        (x[120:320], sets[120:320]),
        (x[320:], [sets[i] for i in np.random.default_rng(0).permutation(180)]),
    )
    run = crossgraft.fit(
        pd.DataFrame(frame), [near, shuffled], task="multilabel", group="who", source_weights="auto",
        backbone="identity", out=tmp_path / "run",
    )  # fmt: skip
    weights = [s["weight"] for s in run.result["sources"]]
    assert weights[0] > weights[1]  # labels of the second are another's
    assert run.result["selection"] == "cv"
    assert run.result["test"]["micro_f1"]["value"] > 0.6
    heat = run.result["calibration"]
    assert heat["before"]["cross_entropy"] == pytest.approx(run.result["test"]["cross_entropy"]["value"])
    assert heat["temperature"] > 0


def test_pictures_are_shown_with_their_sets(tmp_path):
    x, sets = digits(120)
    run = crossgraft.fit(
        (np.uint8(x * 255).reshape(-1, 8, 8), sets), task="multilabel", backbone="cnn", steps=20, out=tmp_path / "run"
    )
    index = json.loads((run.folder / "pictures" / "index.json").read_text())
    assert all(set(row["label"].split(";")) <= {*PROPERTIES, ""} for row in index)
    assert (run.folder / "pictures" / index[0]["file"]).is_file()
    assert index[0]["predicted"] in (run.folder / "report.html").read_text()


@pytest.mark.parametrize("method", ["dann", "coral", "mmd"])
def test_methods_that_read_features_learn_sets(tmp_path, method):
    x, sets = digits(200)
    run = crossgraft.fit(
        (x[:100], sets[:100]), (x[100:], sets[100:]), task="multilabel", backbone="mlp", method=method, shots=3,
        steps=20, source_steps=60, guard=False, baselines=False, out=tmp_path / "run",
    )  # fmt: skip
    assert run.result["method"] == method
    assert run.result["test"]["cross_entropy"]["value"] < 4 * np.log(2)


@pytest.mark.skipif(not AMAZON.exists(), reason="CROSSGRAFT_DATA has no reviews")
def test_reviews_with_product_and_opinion_from_the_command(tmp_path, capsys):
    from crossgraft.cli import main

    drawn = np.random.default_rng(0)
    for name, count in (("target", 60), ("source", 120)):
        rows = ["text,label"]
        for file in sorted(AMAZON.rglob("*.txt")):
            product, opinion = reviewed(file)
            if product not in ("books", "kitchen"):
                continue
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            for i in drawn.permutation(len(lines))[: count // 4]:
                text = lines[i][:300].replace('"', "'")
                rows.append(f'"{text}","{";".join(c for c in (product, opinion) if c) or ";"}"')
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    command = [
        "fit",
        "--target",
        f"{tmp_path}/target.csv",
        "--source",
        f"{tmp_path}/source.csv",
        "--task",
        "multilabel",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--backbone", "words", "--steps", "40", "--source-steps", "80", "--out", str(out), "--json"])
    assert ended.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result["task"]["classes"]) >= {"books", "kitchen"}
    assert set(result["test"]["by_class"]) == set(result["task"]["classes"])
    with pytest.raises(SystemExit):
        main(["predict", str(out), "This pan does not stick and cleans well.", "A novel in which nothing happens."])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(len(line.split("\t")) == 3 for line in lines)


def reviewed(file: Path) -> tuple[str, str]:
    """The product and the opinion ("" for a bad one) that a file of reviews is of."""
    return file.parent.name, "good" if file.stem == "positive" else ""
