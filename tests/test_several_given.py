"""Several tasks on layers of one's own, and of examples in groups: patients, of whom all or none are held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import crossgraft
from crossgraft.assembled import Parts
from crossgraft.cli import main
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.multitask.asked import MultiRecipe
from crossgraft.multitask.given import given
from crossgraft.multitask.run import MultiRun, open_run


def blobs(n: int = 160) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 6)).astype(np.float32)
    side = np.where(x[:, 0] > 0, "right", "left").astype(object)
    most = np.array([f"c{k}" for k in x[:, 1:4].argmax(1)], dtype=object)
    return x, {"side": side, "most": most}, np.where(np.arange(n) < 60, "test", "train").astype("U9")


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 12), nn.Tanh())


# Layers of one's own -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"schedule": "frozen"}, {"schedule": "lp_ft", "steps": 4}, {"schedule": "lp_ft",
                                     "steps": 4, "share": 1}])  # fmt: skip
def test_tasks_share_a_module_that_was_given(options: dict[str, Any], tmp_path: Path) -> None:
    x, y, splits = blobs()
    module = layers()
    before = [p.clone() for p in module.parameters()]
    run = crossgraft.multi({"a": (x, y, splits)}, ["side", "most"], backbone=module, out=tmp_path / "run", **options)
    assert all(torch.equal(p, q) for p, q in zip(before, module.parameters(), strict=True))
    assert run.recipe.backbone.startswith("<Sequential")
    assert run.result["tasks"]["side"]["test"]["accuracy"]["value"] > 0.85
    test = splits == "test"
    labels = {name: own[test] for name, own in y.items()}
    again = open_run(run.folder, backbone=layers())
    assert isinstance(again, MultiRun)
    for name, own in again.score((x[test], labels))["tasks"].items():
        wanted = run.result["tasks"][name]["test"]["cross_entropy"]["value"]
        assert own["cross_entropy"]["value"] == pytest.approx(wanted, abs=1e-5)
    assert Parts.of(again).said(x[:3])["most"].shape == (3, 3)
    with pytest.raises(CrossgraftError, match="layers of your own"):
        _ = open_run(run.folder).model


def test_a_module_of_other_inputs_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not take"):
        crossgraft.multi({"a": blobs()}, ["side", "most"], backbone=nn.Linear(7, 2), out=tmp_path / "run")


# Groups ------------------------------------------------------------------------------------------------------------


def patients(folder: Path, called: str, n: int = 16, each: int = 6, split: bool = True, seed: int = 0) -> Path:
    """Rows of patients of one class each: what is of the patient is large, what is of the class small."""
    draw = np.random.default_rng(seed)
    sick = np.repeat(np.arange(n) % 2, each)
    old = np.repeat(np.arange(n) // 2 % 2, each)
    x = np.repeat(draw.normal(size=(n, 20)), each, axis=0) + 0.1 * draw.normal(size=(n * each, 20))
    x[:, 0] += 0.7 * (2 * sick - 1)
    x[:, 1] += 0.7 * (2 * old - 1)
    lines = [",".join([*(f"x{i}" for i in range(20)), "sick", "old", "patient", *(["split"] if split else [])])]
    for i, row in enumerate(x):
        part = ["test" if i // each >= n // 2 else "train"] if split else []
        lines.append(",".join([*(f"{v:.4f}" for v in row), "ny"[sick[i]], "ab"[old[i]], f"p{i // each}", *part]))
    (folder / called).write_text("\n".join(lines))
    return folder / called


@pytest.mark.parametrize("split", [True, False])
def test_test_part_and_folds_are_of_whole_patients(split: bool, tmp_path: Path) -> None:
    table = patients(tmp_path, "a.csv", split=split)
    recipe = MultiRecipe.of(data={"a": str(table)}, tasks={"sick": {}, "old": {}}, group="patient")
    pool = given(recipe, {"a": table})
    assert pool.domain.groups is not None
    who = {s: set(pool.domain.groups[pool.domain.splits == s]) for s in ("train", "test")}
    assert not who["train"] & who["test"]
    assert not any("leak" in note for note in pool.warnings)
    train = pool.examples("train")
    folds = pool.folds(0, 3)
    assert sorted(np.concatenate(folds)) == train.tolist()
    for fold in folds:
        assert not set(pool.domain.groups[fold]) & set(pool.domain.groups[np.setdiff1d(train, fold)])


def test_evidence_is_of_groups_and_intervals_are_over_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = patients(tmp_path, "a.csv")
    command = ["multi", "--data", str(table), "--task", "sick", "--task", "old", "--affinity", "--out"]
    with pytest.raises(SystemExit) as ended:
        main([*command, str(tmp_path / "run"), "--group", "patient"])
    assert ended.value.code == 0
    run = open_run(tmp_path / "run")
    assert run.result["selection"] == "cv"
    assert "On 8 held-out" in run.result["tasks"]["sick"]["kept"]["why"]  # patients
    over = run.result["tasks"]["sick"]["test"]["over_groups"]
    assert over["n"] == 8
    assert "over groups" in capsys.readouterr().out
    assert "over 8 groups" in (run.folder / "report.html").read_text()
    again = run.score(table, split="test")["tasks"]["sick"]
    assert again["over_groups"]["accuracy"] == over["accuracy"]
    one_by_one = crossgraft.multi({"a": table}, ["sick", "old"], out=tmp_path / "rows").result
    assert one_by_one["selection"] == "loo"
    for message, options in (
        (r"a has no column 'doctor' \(--group\)", {"group": "doctor"}),
        ("--group sick is the label of task 'sick'", {"group": "sick"}),
    ):
        with pytest.raises(UsageError, match=message):
            crossgraft.multi({"a": table}, ["sick", "old"], out=tmp_path / "no", **options)


def test_tasks_of_common_classes_help_each_other_by_folds_of_groups(tmp_path: Path) -> None:
    data = {name: patients(tmp_path, f"{name}.csv", seed=i) for i, name in enumerate("ab")}
    tasks = {name: {"data": [name], "label": "sick"} for name in data}
    run = crossgraft.multi(data, tasks, group="patient", out=tmp_path / "run")
    assert run.result["shared_classes"] == [["a", "b"]]
    assert run.result["selection"] == "cv"
    assert all(own["lam"] is not None and own["lam"] >= 0 for own in run.result["tasks"].values())
    assert run.result["tasks"]["a"]["kept"]["why"].startswith("On ")
    (tmp_path / "c.csv").write_text(data["b"].read_text().replace("patient", "visitor"))
    mixed = {"a": data["a"], "b": tmp_path / "c.csv"}
    noted = crossgraft.multi(mixed, tasks, group="patient", out=tmp_path / "mixed", baselines=False, guard=False)
    assert any("b has no column 'patient'" in note for note in noted.result["warnings"])
