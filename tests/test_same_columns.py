"""Numbers of tables go by the names of their columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.cli import main
from crossgraft.domains import open_domain
from crossgraft.domains.same_columns import same_columns
from crossgraft.errors import CrossgraftError
from crossgraft.multitask.run import open_run


def table(path: Path, names: str, n: int, seed: int) -> Path:
    """Columns a to e, of which `hot` says whether a is above 0 and `wet` whether b is."""
    x = np.random.default_rng(seed).normal(size=(n, 5)).round(3)
    held = dict(zip("abcde", x.T, strict=True)) | {"hot": (x[:, 0] > 0).astype(int), "wet": (x[:, 1] > 0).astype(int)}
    wanted = [w for w in names.split() if w]
    lines = [",".join(wanted), *(",".join(str(held[w][i]) for w in wanted) for i in range(n))]
    path.write_text("\n".join(lines) + "\n")
    return path


def run_command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


def fitted(folder: Path, out: str, source: Path, **options: Any) -> crossgraft.Run:
    target = table(folder / "target.csv", "a b c hot", 80, 1)
    return crossgraft.fit(target=target, source=source, label="hot", shots=5, out=folder / out, **options)


def test_a_source_whose_columns_are_in_another_order_is_the_same_source(tmp_path: Path) -> None:
    straight = fitted(tmp_path, "straight", table(tmp_path / "s.csv", "a b c hot", 60, 2))
    swapped = fitted(tmp_path, "swapped", table(tmp_path / "t.csv", "hot c a e b", 60, 2))
    np.testing.assert_array_equal(straight.model.weight, swapped.model.weight)
    assert any("'e'" in w and "left out" in w for w in swapped.result["warnings"])
    assert not any("left out" in w for w in straight.result["warnings"])


def test_a_source_without_a_column_of_the_target_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(CrossgraftError, match="source has no column 'c', which the target reads"):
        fitted(tmp_path, "run", table(tmp_path / "s.csv", "a b d hot", 60, 2))


def test_rows_without_names_must_be_as_long(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    target, source = (draw.normal(size=(40, 3)), [0, 1] * 20), (draw.normal(size=(40, 4)), [0, 1] * 20)
    with pytest.raises(CrossgraftError, match="source has 4 numbers a row, and the target reads 3"):
        crossgraft.fit(target=target, source=source, out=tmp_path / "run")
    with pytest.raises(CrossgraftError, match="source has 4 numbers a row"):
        crossgraft.gap(target=target, source=source)


def test_tables_that_share_no_name_go_by_the_order(tmp_path: Path) -> None:
    other, two, three = (
        open_domain(table(tmp_path / f"{i}.csv", names, 6, i), "it", label="hot")
        for i, names in enumerate(("d e hot", "a b hot", "a b c hot"))
    )
    assert same_columns(other, two, "the target") is other
    with pytest.raises(CrossgraftError, match="it has 2 numbers a row, and the target reads 3"):
        same_columns(other, three, "the target")


@pytest.mark.parametrize("backbone", ["identity", "mlp"])
def test_a_model_finds_its_columns_in_any_table(tmp_path: Path, backbone: str) -> None:
    options: dict[str, Any] = {"steps": 20} if backbone == "mlp" else {}
    run = fitted(tmp_path, "run", table(tmp_path / "s.csv", "a b c hot", 60, 2), backbone=backbone, **options)
    run = open_run(run.folder)
    plain = run.predict([table(tmp_path / "p.csv", "a b c", 9, 3)])
    mixed = run.predict([table(tmp_path / "q.csv", "wet c hot b e a", 9, 3)])
    assert [r["probabilities"] for r in plain] == [r["probabilities"] for r in mixed]
    arrays = run.predict(np.loadtxt(tmp_path / "p.csv", delimiter=",", skiprows=1))
    for one, other in zip(plain, arrays, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    with pytest.raises(CrossgraftError, match="has no column 'b', which the model reads"):
        run.predict([table(tmp_path / "r.csv", "a c d", 9, 3)])
    with pytest.raises(CrossgraftError, match="2 numbers a row, and the model reads 3"):
        run.predict(np.ones((4, 2)))


def test_score_reads_the_column_that_the_run_was_fitted_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fitted(tmp_path, "run", table(tmp_path / "s.csv", "a b c hot", 60, 2))
    held = table(tmp_path / "held.csv", "wet a b c hot", 50, 4)
    run_command("score", str(run.folder), str(held), "--json")
    asked = run.score(str(held), label="hot")
    assert json.loads(capsys.readouterr().out)["accuracy"]["value"] == asked["accuracy"]["value"]
    renamed = held.with_name("renamed.csv")
    renamed.write_text(held.read_text().replace("hot", "label", 1))
    assert run.score(str(renamed))["accuracy"]["value"] == asked["accuracy"]["value"]
    with pytest.raises(CrossgraftError, match="hot"):
        run.score(str(table(tmp_path / "bare.csv", "a b c", 50, 4)))


def test_several_tasks_of_one_table_are_predicted_on_that_table(tmp_path: Path) -> None:
    held = table(tmp_path / "held.csv", "a b c hot wet", 90, 5)
    out = tmp_path / "several"
    run_command("multi", "--data", str(held), "--task", "hot", "--task", "wet", "--out", str(out))
    bare = table(tmp_path / "bare.csv", "c b a", 90, 5)
    run = open_run(out)
    found, again = run.predict([held]), run.predict([bare])
    assert [r["tasks"]["hot"]["label"] for r in found] == [r["tasks"]["hot"]["label"] for r in again]
    assert {"hot", "wet"} == set(found[0]["tasks"])


def test_tasks_of_several_tables_are_joined_by_name(tmp_path: Path) -> None:
    first, second = (
        table(tmp_path / "x.csv", "a b c hot wet", 90, 6),
        table(tmp_path / "y.csv", "wet c e hot b a", 90, 7),
    )
    out = tmp_path / "several"
    tasks = ("--task", "hot", "--task", "wet")
    run_command("multi", "--data", f"x={first}", "--data", f"y={second}", *tasks, "--out", str(out))
    run = open_run(out)
    assert any("y: columns that x does not read are left out: 'e'" in w for w in run.result["warnings"])
    assert run.result["tasks"]["wet"]["test"]["accuracy"]["value"] > 0.8
    found, again = (run.predict([table(tmp_path / f"{n}.csv", n, 40, 8)]) for n in ("wet c hot b a", "a b c"))
    assert [r["tasks"] for r in found] == [r["tasks"] for r in again]
