"""Tasks that the layers learn first: what the others gain, folds, branches, stopping and going on, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.cli import main
from crossgraft.errors import UsageError
from crossgraft.multitask import learning
from crossgraft.multitask.run import open_run

STEPS: dict[str, Any] = {"backbone": "mlp", "steps": 30, "first": ("large",), "first_steps": 200, "seed": 1}


def rings(n: int, known: int, seed: int, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points within and outside of a circle, which no head on the inputs tells apart."""
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    y = np.where((x**2).sum(1) > 1.4, *names).astype(object)
    return x, y, np.where(np.arange(n) < known, "train", "test").astype("U9")


DATA = {"large": rings(900, 700, 0, ("far", "near")), "small": rings(240, 12, 1, ("out", "in"))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return crossgraft.multi(DATA, out=tmp_path_factory.mktemp("first") / "run", guard=False, **STEPS)


def logged(folder: Path) -> list[str]:
    """The trainings in the run's log, in the order in which they began."""
    rows = [json.loads(line) for line in (folder / "measures.jsonl").read_text().splitlines()]
    return list(dict.fromkeys(row["model"] for row in rows if "model" in row))


def test_a_task_of_few_labels_joins_on_what_the_first_one_taught(run: Any, tmp_path: Path) -> None:
    small = run.result["tasks"]["small"]
    assert run.result["first"] == ["large"]
    assert small["joint"]["accuracy"]["value"] > small["alone"]["accuracy"]["value"] + 0.1
    assert logged(run.folder) == ["first large", "joint", "large", "small"]
    plain = {k: v for k, v in STEPS.items() if not k.startswith("first")}
    without = crossgraft.multi(DATA, out=tmp_path / "plain", guard=False, **plain).result
    assert without["tasks"]["small"]["alone"] == small["alone"]  # a task that nothing goes before is as it was
    assert without["tasks"]["small"]["joint"]["cross_entropy"]["value"] > small["joint"]["cross_entropy"]["value"]
    again = open_run(run.folder).score((DATA["small"][0][12:], {"small": DATA["small"][1][12:]}), label="small")
    assert again["tasks"]["small"]["accuracy"] == small["joint"]["accuracy"]


def test_folds_begin_without_what_they_hold_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught, seen = learning.taught, []

    def noted(pool: Any, names: Any, examples: Any, schedule: str, fold: str, **more: Any) -> Any:
        seen.append((names, fold, len(examples)))
        return taught(pool, names, examples, schedule, fold, **more)

    monkeypatch.setattr(learning, "taught", noted)
    asked = STEPS | {"steps": 4, "first_steps": 4}
    crossgraft.multi(DATA, out=tmp_path / "run", **asked)
    assert [(n, f) for n, f, _ in seen] == [(("large",), f) for f in ("", "/fold0", "/fold1", "/fold2")]
    whole, *parts = (n for _, _, n in seen)
    assert sum(whole - part for part in parts) == whole == 712


def test_stopped_after_what_is_first_and_resumed_is_as_never_stopped(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = learning.moving

    def pulled(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "moving", pulled)
    with pytest.raises(KeyboardInterrupt):
        crossgraft.multi(DATA, out=tmp_path / "run", guard=False, **STEPS)
    assert list((tmp_path / "run" / "checkpoints").glob("first large*"))
    assert logged(tmp_path / "run") == ["first large"]
    monkeypatch.setattr(learning, "moving", moving)
    again = crossgraft.multi(DATA, out=tmp_path / "run", guard=False, resume=True, **STEPS)
    assert (again.folder / "weights.safetensors").read_bytes() == (run.folder / "weights.safetensors").read_bytes()
    assert again.result["tasks"] == run.result["tasks"]
    assert logged(again.folder) == logged(run.folder)


def test_branches_begin_where_the_first_task_ends(tmp_path: Path) -> None:
    asked = STEPS | {"share": 1, "guard": False, "baselines": False}
    found = crossgraft.multi(DATA, out=tmp_path / "run", **asked).result
    assert found["share"]["own"]
    assert found["tasks"]["small"]["joint"]["accuracy"]["value"] > 0.8


@pytest.mark.parametrize("schedule", ["lp_ft", "lora"])
def test_sentences_learn_tags_first(schedule: str, tmp_path: Path) -> None:
    if schedule == "lora":
        pytest.importorskip("peft")
    draw = np.random.default_rng(0)
    who, verbs = ["Ada", "Grace", "Alan"], {"work": "wrote", "play": "sang"}
    topics = draw.choice(list(verbs), 30).tolist()
    words = [["yesterday", str(draw.choice(who)), verbs[topic]] for topic in topics]
    labels = {"tags": [["O", "B-person", "O"]] * 30, "topic": topics}
    splits = np.where(np.arange(30) < 10, "test", "train").astype("U9")
    found = crossgraft.multi(
        {"lines": (words, labels, splits)}, ["tags", "topic"], out=tmp_path / "run", schedule=schedule, steps=3,
        first=["tags"], first_steps=3, precision="bf16", guard=False, baselines=False,
    )  # fmt: skip
    assert logged(found.folder) == ["first tags", "joint"]
    assert found.result["tasks"]["tags"]["test"]["f1"]["value"] > 0.9
    assert open_run(found.folder).predict(["yesterday Grace sang"])[0]["tasks"]["topic"]["label"] == "play"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"first": ["lage"]}, "no task 'lage' to be first.*did you mean 'large'"),
        ({"first": ["large", "small"]}, "all tasks are first"),
        ({"first": [], "first_steps": 5}, "first-steps are of tasks that are first"),
        ({"first_steps": 0}, "first_steps"),
        ({"backbone": "identity"}, "--first is of layers that learn"),
    ],
)
def test_what_cannot_be_first_is_said_before_anything_is_trained(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        crossgraft.multi(DATA, out=tmp_path / "run", **(STEPS | asked))
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_the_command_takes_what_is_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (x, y, splits) in DATA.items():
        rows = [f"{a:.4f},{b:.4f},{c},{part}" for (a, b), c, part in zip(x, y, splits, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,label,split", *rows]) + "\n")
    common = ["multi", "--data", str(tmp_path / "large.csv"), "--data", str(tmp_path / "small.csv")]
    few = ["--backbone", "mlp", "--steps", "5", "--first-steps", "5", "--no-guard", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*common, *few, "--first", "large", "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["first"] == ["large"]
    with pytest.raises(SystemExit) as ended:
        main([*common, *few, "--first", "larg", "--out", str(tmp_path / "other")])
    assert ended.value.code == 2
    assert "did you mean 'large'" in capsys.readouterr().err
