"""Several tasks at once, from files to report: labels that are missing, one pass for all, the guard, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import audio_kit
import numpy as np
import pytest

import crossgraft
from crossgraft.cli import main
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.compare import Difference
from crossgraft.multitask.affinity import Affinity, affinities, grouping
from crossgraft.multitask.asked import MultiRecipe
from crossgraft.multitask.given import given
from crossgraft.multitask.keep import harmed, kept_for
from crossgraft.multitask.run import MultiRun, open_run
from crossgraft.several import Multi
from crossgraft.tasks import Classify


def blobs(n: int, seed: int, test: int = 60, missing: float = 0.0) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Vectors with two labels: the sign of the first value, and which of the others is the largest."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 6)).astype(np.float32)
    side = np.where(x[:, 0] > 0, "right", "left").astype(object)
    most = np.array([f"c{k}" for k in x[:, 1:4].argmax(1)], dtype=object)
    most[draw.random(n) < missing] = None
    splits = np.where(np.arange(n) < test, "test", "train").astype("U9")
    return x, {"side": side, "most": most}, splits


FAST: dict[str, Any] = {"backbone": "mlp", "steps": 60, "seed": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MultiRun:
    out = tmp_path_factory.mktemp("multi") / "run"
    return crossgraft.multi({"blobs": blobs(240, 0, missing=0.3)}, ["side", "most"], out=out, affinity=True, **FAST)


# What is asked -----------------------------------------------------------------------------------------------------


def test_tasks_have_columns_of_their_own_unless_their_classes_are_the_same() -> None:
    parts = {"a": Classify(("no", "yes")), "b": Classify(("no", "yes")), "c": Classify(("x", "no"))}
    assert Multi.of_tasks(parts).places == ((0, 1), (2, 3), (4, 5))
    assert Multi.of_tasks(parts, [{"a", "b"}]).places == ((0, 1), (0, 1), (2, 3))
    assert Multi.of_tasks(parts, [set(parts)]).places == ((0, 1), (0, 1), (2, 0))


def test_label_columns_of_a_table_are_read_as_one_row_each(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b,kind,odd\n1,2,x,0\n3,nan,y,1\n5,6,,1\n7,8,y,\n")
    domain = open_domain(table, "t", label=("kind", "odd"))
    assert len(domain) == 3  # the row without a number is left out, with both labels
    assert [list(y) for y in domain.more.values()] == [["x", None, "y"], ["0", "1", None]]
    with pytest.raises(CrossgraftError, match=r"no column 'kin'.*did you mean 'kind'"):
        open_domain(table, "t", label=("kin", "odd"))
    (tmp_path / "f" / "a").mkdir(parents=True)
    with pytest.raises(UsageError, match="has one label an example"):
        open_domain(tmp_path / "f", "f", label=("kind", "odd"))


def test_json_lines_hold_tags_and_a_class(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    rows = [{"tokens": ["Ada", "wrote"], "tags": ["B-p", "O"], "topic": "x"}, {"tokens": ["Go"], "tags": ["O"]}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    domain = open_domain(file, "s", label=("tags", "topic"))
    assert domain.more["topic"].tolist() == ["x", None]
    assert domain.more["tags"].tolist() == [("B-p", "O"), ("O",)]
    with pytest.raises(CrossgraftError, match=r"no label 'mood'.*topic"):
        open_domain(file, "s", label=("tags", "mood"))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"a": blobs(80, 0)}, {"tasks": ["side", "sidee"]}, "no column 'sidee' for task 'sidee'.*did you mean 'side'"),
        ({"a": blobs(80, 0)}, {"tasks": ["side", "side"]}, "two tasks are called 'side'"),
        ({"a": blobs(80, 0)}, {"tasks": ["side"]}, "there is one task"),
        ({"a": blobs(80, 0)}, {"tasks": {"side": {"weight": 0.0}, "most": None}}, "option tasks"),
        ({"a": blobs(80, 0)}, {"tasks": {"side": {"weight": -1}, "most": None}}, "option tasks"),
        ({"a": blobs(80, 0)}, {"tasks": ["side", "most"], "main": "mots"}, "no task 'mots'.*did you mean 'most'"),
        ({"a": blobs(80, 0)}, {"tasks": ["side", "most"], "weighting": "pcgrat"}, "did you mean 'pcgrad'"),
        ({"a": blobs(80, 0)}, {"tasks": ["side", "most"], "lam": 0.3}, "lam are not for several tasks"),
        ({"a": blobs(80, 0)}, {"tasks": {"side": {"data": ["b"]}, "most": None}}, "names data set 'b'"),
        ({"a": blobs(80, 0, test=80)}, {"tasks": ["side", "most"]}, "no label in the training part"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_trained(
    data: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CrossgraftError, match=message):
        crossgraft.multi(data, out=tmp_path / "run", backbone="mlp", **options)
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_a_task_without_a_label_in_a_part_and_one_of_one_class_are_refused(tmp_path: Path) -> None:
    x, y, splits = blobs(80, 0)
    only = {**y, "most": np.where(splits == "train", y["most"], None)}
    with pytest.raises(CrossgraftError, match="task 'most' has no label in the test part"):
        crossgraft.multi({"a": (x, only, splits)}, ["side", "most"], out=tmp_path / "a", **FAST)
    same = {**y, "most": np.array(["c0"] * 80, dtype=object)}
    with pytest.raises(CrossgraftError, match=r"task 'most' has one class only \('c0'\)"):
        crossgraft.multi({"a": (x, same, splits)}, ["side", "most"], out=tmp_path / "b", **FAST)


# Training ----------------------------------------------------------------------------------------------------------


def test_missing_labels_are_masked_and_both_tasks_are_learned(run: MultiRun) -> None:
    result = run.result
    assert result["tasks"]["most"]["n"]["train"] < result["tasks"]["side"]["n"]["train"] == 180
    for name, least in (("side", 0.9), ("most", 0.8)):
        assert result["tasks"][name]["joint"]["accuracy"]["value"] > least
    assert result["objective"]["formula"] == "ce(side) + ce(most)"
    assert {(x["of"], x["on"]) for x in result["affinity"]} == {("side", "most"), ("most", "side")}
    assert sorted(n for own in result["grouping"] for n in own) == ["most", "side"]


def test_prediction_is_that_of_the_test_part_and_survives_loading(run: MultiRun) -> None:
    x, y, splits = blobs(240, 0, missing=0.3)
    again = open_run(run.folder)
    assert isinstance(again, MultiRun)
    rows = again.predict((x[splits == "test"], None))
    written = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    for name in ("side", "most"):
        before = {p["name"]: p for p in written if p["task"] == name}
        for row in rows:
            if row["name"] in before:  # a missing label has no line
                assert row["tasks"][name]["label"] == before[row["name"]]["predicted"]
                said = np.log(list(row["tasks"][name]["probabilities"].values()))
                np.testing.assert_allclose(said, before[row["name"]]["log_probabilities"], atol=1e-4)
    test = splits == "test"
    scored = again.score((x[test], {k: v[test] for k, v in y.items()}))
    for name in ("side", "most"):
        assert scored["tasks"][name]["accuracy"] == run.result["tasks"][name]["test"]["accuracy"]
    assert set(again.score((x[test], {"side": y["side"][test]}), label="side")["tasks"]) == {"side"}
    with pytest.raises(UsageError, match="no task 'sid'"):
        again.score((x[test], y), label="sid")


def test_resumed_is_as_never_stopped(run: MultiRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgraft.multitask.learning import Steps

    by_folds = Steps._by_folds

    def pulled(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "_by_folds", pulled)
    data = {"blobs": blobs(240, 0, missing=0.3)}
    with pytest.raises(KeyboardInterrupt):
        crossgraft.multi(data, ["side", "most"], out=tmp_path / "run", affinity=True, **FAST)
    monkeypatch.setattr(Steps, "_by_folds", by_folds)
    again = crossgraft.multi(data, ["side", "most"], out=tmp_path / "run", affinity=True, resume=True, **FAST)
    assert (again.folder / "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()
    assert again.result["tasks"] == run.result["tasks"]


@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "gradnorm", "pcgrad", "mgda", "nash", "imtl", "aligned"])
def test_every_weighting_learns_both_tasks(weighting: str, tmp_path: Path) -> None:
    if weighting in ("pcgrad", "mgda", "nash", "imtl", "aligned"):
        pytest.importorskip("torchjd")
    found = crossgraft.multi(
        {"blobs": blobs(240, 0)}, ["side", "most"], out=tmp_path / "run", weighting=weighting, guard=False,
        baselines=False, **FAST,
    ).result  # fmt: skip
    assert found["tasks"]["side"]["joint"]["accuracy"]["value"] > 0.85
    assert found["tasks"]["most"]["joint"]["accuracy"]["value"] > 0.7
    weights = [own["weight"] for own in found["tasks"].values()]
    assert all(w is not None and np.isfinite(w) for w in weights)
    assert found["tasks"]["side"]["alone"] is None


def test_the_name_of_the_data_set_can_be_a_label_and_class_weights_hold(tmp_path: Path) -> None:
    x, y, splits = blobs(200, 0)
    data = {"near": (x, {"side": y["side"]}, splits), "far": (x + 3.0, {"side": y["side"]}, splits)}
    tasks = {"side": {"label": "side"}, "origin": {"label": "@data"}}
    found = crossgraft.multi(data, tasks, out=tmp_path / "run", class_weights="balanced", **FAST).result
    assert found["tasks"]["origin"]["classes"] == ["far", "near"]
    assert found["tasks"]["origin"]["test"]["accuracy"]["value"] > 0.9
    assert found["tasks"]["side"]["n"]["train"] == 280


def test_frozen_tasks_of_common_classes_help_each_other_and_others_stay_as_they_are(tmp_path: Path) -> None:
    def few(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        x = draw.normal(size=(400, 20)).astype(np.float32)
        y = np.where(x @ np.linspace(1, -1, 20) > 0, "yes", "no").astype(object)
        return x, y, np.where(np.arange(400) < 12, "train", "test").astype("U9")

    data = {name: few(i) for i, name in enumerate("abcd")}
    together = crossgraft.multi(data, out=tmp_path / "a", backbone="identity", affinity=True).result
    gains = [own["paired"]["accuracy"]["value"] for own in together["tasks"].values()]
    assert np.mean(gains) > 0.05
    assert {own["lam"] for own in together["tasks"].values()} != {0.0}
    assert together["selection"] == "loo"
    assert len(together["affinity"]) == 12
    apart = crossgraft.multi(data, out=tmp_path / "b", backbone="identity", heads="own").result
    assert apart["shared_classes"] == []
    for own in apart["tasks"].values():
        assert own["paired"]["cross_entropy"]["value"] == 0
    assert any("share features and nothing else" in w for w in apart["warnings"])


def test_a_task_of_shuffled_labels_is_left_out_for_the_main_one(tmp_path: Path) -> None:
    x, y, splits = blobs(300, 0)
    draw = np.random.default_rng(0)
    wrong = y["side"].copy()
    wrong[60:] = np.where(wrong[60:] == "left", "right", "left")  # worse than noise
    data = {
        "good": (x, y["side"], splits),
        "bad": (x + 0.01 * draw.normal(size=x.shape).astype(np.float32), wrong, splits),
    }
    found = crossgraft.multi(data, main="good", out=tmp_path / "run", **FAST).result
    assert found["shared_classes"] == [["bad", "good"]]
    good = found["tasks"]["good"]
    assert good["kept"]["model"] == "alone" or list(found["dropped"]) == ["bad"]
    assert good["test"]["accuracy"]["value"] >= good["alone"]["accuracy"]["value"] - 0.02
    page = (tmp_path / "run" / "report.html").read_text()
    assert "left out" in page or "alone" in page


# Sequences ---------------------------------------------------------------------------------------------------------


def sentences(n: int, seed: int) -> tuple[list[list[str]], dict[str, Any], np.ndarray]:
    draw = np.random.default_rng(seed)
    who, verbs = ["Ada", "Grace", "Alan", "Edsger"], {"work": ["wrote", "built"], "play": ["sang", "danced"]}
    words, tags, topics = [], [], []
    for _ in range(n):
        topic = str(draw.choice(list(verbs)))
        words.append(["yesterday", str(draw.choice(who)), str(draw.choice(verbs[topic])), "again"])
        tags.append(["O", "B-person", "O", "O"])
        topics.append(topic)
    return words, {"tags": tags, "topic": topics}, np.where(np.arange(n) < n // 3, "test", "train").astype("U9")


@pytest.mark.parametrize("schedule", ["frozen", "lora"])
def test_the_class_of_a_sentence_and_its_tags_from_one_pass(schedule: str, tmp_path: Path) -> None:
    if schedule == "lora":
        pytest.importorskip("peft")
    more: dict[str, Any] = {"steps": 4, "guard": False, "baselines": False} if schedule == "lora" else {}
    made = crossgraft.multi(
        {"lines": sentences(45, 0)}, ["tags", "topic"], out=tmp_path / "run", schedule=schedule, **more
    )
    found = made.result["tasks"]
    assert (found["tags"]["kind"], found["topic"]["kind"]) == ("tag", "classify")
    assert found["tags"]["test"]["f1"]["value"] > 0.9
    assert found["topic"]["test"]["accuracy"]["value"] > 0.9
    row = open_run(made.folder).predict(["yesterday Grace danced again"])[0]["tasks"]
    assert row["tags"]["spans"][0]["text"] == "Grace"
    assert row["topic"]["label"] == "play"
    scored = open_run(made.folder).score((*sentences(20, 5)[:2],))
    assert scored["tasks"]["tags"]["f1"]["value"] > 0.9


@pytest.mark.parametrize("schedule", ["frozen", "lp_ft"])
def test_what_is_said_in_a_clip_and_who_says_it(schedule: str, tmp_path: Path) -> None:
    audio_kit.strings(tmp_path, "ada", "ada", 150, 16, seed=1, tested=6)
    audio_kit.strings(tmp_path, "bob", "bob", 230, 16, seed=2, tested=6)
    lines = (tmp_path / "ada.csv").read_text().splitlines() + (tmp_path / "bob.csv").read_text().splitlines()[1:]
    lines[2] = lines[2].replace(lines[2].split(",")[1], "", 1)  # one clip without a transcript
    audio_kit.wav(tmp_path / "clips" / "silent.wav", np.zeros(16000, np.float32))
    odd = [f"clips/ada-1.wav,{'rise ' * 60},ada,train", "clips/silent.wav,fall,ada,train"]
    (tmp_path / "both.csv").write_text("\n".join([*lines, *odd]) + "\n")
    tasks = {"said": {"label": "transcript", "kind": "transcribe"}, "who": {"label": "speaker"}}
    more: dict[str, Any] = {"steps": 3, "guard": False, "baselines": False} if schedule == "lp_ft" else {}
    made = crossgraft.multi(
        {"clips": tmp_path / "both.csv"}, tasks, out=tmp_path / "run", schedule=schedule, symbols="words", **more
    )
    found = made.result["tasks"]
    assert found["said"]["n"]["train"] == found["who"]["n"]["train"] - 1
    assert ["too long for the clip" in s["reason"] for s in made.result["skipped"]] == [True, False]
    assert found["said"]["test"]["word_error_rate"]["value"] < 0.4
    assert found["who"]["test"]["accuracy"]["value"] > 0.9
    clip = sorted(tmp_path.glob("**/*.wav"))[0]
    row = open_run(made.folder).predict([clip])[0]["tasks"]
    assert set(row) == {"said", "who"}
    assert row["said"]["text"]
    (tmp_path / "odd.csv").write_text("\n".join([lines[0], lines[1], *odd[:1]]) + "\n")
    scored = open_run(made.folder).score(tmp_path / "odd.csv")["tasks"]["said"]
    assert (scored["n"], scored["left_out"]) == (1, 1)
    assert np.isfinite(scored["cross_entropy"]["value"])


# The command -------------------------------------------------------------------------------------------------------


def test_the_command_trains_prints_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y, splits = blobs(160, 0)
    rows = [
        ",".join([*(f"{v:.4f}" for v in row), s, m, part])
        for row, s, m, part in zip(x, y["side"], y["most"], splits, strict=True)
    ]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["a,b,c,d,e,f,side,most,split", *rows]) + "\n")
    out = tmp_path / "run"
    common = ["multi", "--data", str(table), "--task", "side", "--task", "largest=most", "--weight", "side=2"]
    with pytest.raises(SystemExit) as ended:
        main([*common, "--backbone", "mlp", "--steps", "60", "--out", str(out), "--json"])
    assert ended.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result["objective"]["formula"] == "2*ce(side) + ce(largest)"
    assert MultiRecipe.read(out / "recipe.toml").tasks["largest"].label == "most"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(out), str(table), "--json"])
    assert ended.value.code == 0
    predicted = json.loads(capsys.readouterr().out)["predictions"]
    assert len(predicted) == 160
    assert set(predicted[0]["tasks"]) == {"side", "largest"}
    for more, status, message in (
        (["predict", str(out), str(table)], 0, "side: "),
        (["score", str(out), str(table), "--json"], 0, '"largest"'),
        (["score", str(out), str(table)], 0, "largest"),
        (["report", str(out)], 0, "report.html"),
        ([*common, "--task", "side"], 2, "two tasks are called 'side'"),
        ([*common, "--weight", "sid=2"], 2, "names no task"),
        (["export", str(out), "--to", "torch"], 0, "probabilities differ by at most"),
        (["push", str(out), str(tmp_path / "pushed")], 0, "README.md"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(more)
        said = capsys.readouterr()
        assert ended.value.code == status, (more, said)
        assert message in said.out + said.err, (more, said)


# Figures -----------------------------------------------------------------------------------------------------------


def test_a_task_leaves_the_joint_model_only_beyond_noise() -> None:
    alone = np.linspace(0.2, 0.8, 50)
    assert kept_for(alone - 0.01, alone).model == "joint"
    noise = np.random.default_rng(0).normal(0, 0.5, 50)
    assert kept_for(alone + 0.02 + noise - noise.mean(), alone).model == "joint"
    assert kept_for(alone + 0.02 + noise - noise.mean(), alone, beyond=0.0).model == "alone"
    assert kept_for(alone + 0.2 + noise / 10, alone).model == "alone"
    assert not harmed(alone[:1], alone[:1])


def test_affinities_are_of_ordered_pairs_and_groups_gain_most() -> None:
    base = np.linspace(0.5, 1.0, 30)
    does = {"ba": 0.2, "ab": 0.1, "ca": -0.3, "ac": -0.1, "cb": -0.1, "bc": 0.0}  # of, on
    pairs = {(of, on): base - gain for (of, on), gain in does.items()}
    without = dict.fromkeys(pairs, base + 0.5)
    found = affinities(dict.fromkeys("abc", base), pairs, dict.fromkeys("abc", base), without)
    assert {x.of + x.on: round(x.pair.value, 3) for x in found} == does
    assert [round(x.change.value, 3) for x in found] == [0.5] * 6
    assert grouping("abc", found) == [["a", "b"], ["c"]]
    many = [f"t{i}" for i in range(10)]
    up = Difference(0.1, 0.05, 0.15, 0.01)
    two = [Affinity("t0", "t1", up, up), Affinity("t1", "t0", up, up)]
    assert sorted(map(sorted, grouping(many, two)))[0] == ["t0", "t1"]


def test_the_pool_reads_each_input_once_for_all_tasks() -> None:
    x, y, splits = blobs(100, 0)
    recipe = MultiRecipe.of(data={"a": "given"}, tasks={"side": {}, "most": {}}, backbone="mlp")
    pool = given(recipe, {"a": (x, y, splits)})
    assert pool.sides["side"].kept is pool.sides["most"].kept
    assert len(pool.examples("train")) == 40
    folds = pool.folds(0, 3)
    assert sorted(np.concatenate(folds).tolist()) == pool.examples("train").tolist()


def test_what_does_not_fit_is_named_whatever_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("x,a,b\n1,u,v\n2,w,z\n")
    halves = "".join(
        f"{i},{i % 2},{i % 3},{'' if i > 9 else 'uv'[i % 2]},w,{'test' if i > 9 else 'train'}\n" for i in range(18)
    )
    (tmp_path / "h.csv").write_text("x,a,b,half,one,split\n" + halves)
    split = ["--data", str(tmp_path / "h.csv"), "--task", "a"]
    table = str(tmp_path / "t.csv")
    tasks = ["--task", "a", "--task", "b"]
    for i, (given_, message) in enumerate(
        (
            (["--data", str(tmp_path / "none.csv"), *tasks], "none.csv"),
            (["--data", table, *tasks, "--weight", "a=0"], "tasks.a.weight"),
            (["--data", table, *tasks, "--weight", "a=-1"], "tasks.a.weight"),
            (["--data", table, *tasks, "--share", "x"], "a valid integer or 'all'"),
            (["--data", table, "--task", "a", "--task", "a"], "two tasks are called 'a'"),
            (["--data", table, *tasks, "--first", "c"], "there is no task 'c' to be first"),
            ([*split, "--task", "half"], "task 'half' has no label in the test part"),
            ([*split, "--task", "one"], "task 'one' has one class only ('w')"),
            (
                ["--data", f"s={table}", "--data", f"t={table}", "--main", "u"],
                "there is no task 'u' to be the main one",
            ),
            (["--data", table, "--task", "a", "--task", "c"], "has no column 'c' of labels"),
        )
    ):
        with pytest.raises(SystemExit):
            main(["multi", *given_, "--out", str(tmp_path / f"run{i}")])
        said = capsys.readouterr().err
        assert message in said
        assert "one label an example" not in said
        assert "defect" not in said


def test_sentences_may_have_classes_and_no_tags(tmp_path: Path) -> None:
    words, labels, splits = sentences(40, 0)
    mood = ["fine" if row[2] in ("wrote", "sang") else "odd" for row in words]
    data = {"lines": (words, {"tags": labels["tags"], "topic": labels["topic"], "mood": mood}, splits)}
    topics = {"topic": {"label": "topic"}, "mood": {"label": "mood"}}
    found = crossgraft.multi(data, topics, out=tmp_path / "run").result
    assert found["tasks"]["topic"]["test"]["accuracy"]["value"] > 0.9
