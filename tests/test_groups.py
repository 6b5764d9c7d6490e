"""Examples that belong together (of one patient, speaker, author): on one side of every split and of every fold."""

from __future__ import annotations

from pathlib import Path

import audio_kit
import numpy as np
import pytest

import crossgraft
from crossgraft.domains import open_domain
from crossgraft.errors import UsageError
from crossgraft.folds import whole_groups
from crossgraft.measure.compare import guard
from crossgraft.measure.groups import grouped
from crossgraft.measure.scores import measured, wilson
from crossgraft.side import Side
from crossgraft.tasks import Classify


def patients(n: int = 12, each: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of patients of one class each: what is of the patient is large, what is of the class small."""
    draw = np.random.default_rng(seed)
    y = np.repeat(np.arange(n) % 2, each)
    own = np.repeat(draw.normal(size=(n, 20)), each, axis=0)
    x = own + 0.1 * draw.normal(size=own.shape)
    x[:, 0] += 0.7 * (2 * y - 1)
    return x, y, np.repeat([f"p{i}" for i in range(n)], each)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """24 patients, of whom the last 12 are test data; as numbers with a column `patient`."""
    x, y, who = patients(24)
    lines = [",".join([*(f"x{i}" for i in range(20)), "label", "patient", "split"])]
    for row, label, owner in zip(x, y, who, strict=True):
        part = "test" if int(owner[1:]) >= 12 else "train"
        lines.append(",".join([*(f"{v:.4f}" for v in row), "ab"[label], owner, part]))
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(lines))
    return path


def test_folds_tear_no_group_apart_and_are_of_like_size() -> None:
    groups = np.array(["a"] * 6 + ["b"] * 3 + ["c"] * 2 + ["d"])
    found = whole_groups(groups, 0, "x", most=2)
    assert sorted(np.concatenate(found)) == list(range(12))
    assert sorted(map(len, found)) == [6, 6]
    assert not set(groups[found[0]]) & set(groups[found[1]])


def test_a_column_of_groups_is_no_feature_and_says_whose_each_row_is(table: Path) -> None:
    domain = open_domain(table, "visits", group="patient")
    assert domain.groups is not None
    assert domain.groups[:9].tolist() == ["p0"] * 8 + ["p1"]
    assert domain.read(0).shape == (20,)


def test_of_texts_and_pictures_too(tmp_path: Path) -> None:
    texts = tmp_path / "notes.csv"
    texts.write_text("text,label,author\nit is good enough,a,1\nit was rather bad,b,2\nit is fine by me,a,\n")
    domain = open_domain(texts, "notes", group="author")
    assert domain.kind == "text"
    assert domain.groups is not None
    assert domain.groups.tolist() == ["1", "2", ""]


def test_held_out_groups_only_where_the_test_part_is_of_others(table: Path) -> None:
    domain = open_domain(table, "visits", group="patient")
    side = Side.of(domain, Classify(("a", "b")), ("a", "b"))
    rows = side.rows("train")
    assert side.groups(rows) is not None
    for held in side.folds(rows, 0, "folds"):
        rest = np.setdiff1d(np.arange(len(rows)), held)
        assert not set(domain.groups[rows[held]]) & set(domain.groups[rows[rest]])  # type: ignore[index]
    shared = domain.splits.copy()
    shared[::8] = "test"  # a row of each patient
    side.domain = domain.take(np.arange(len(domain)))
    object.__setattr__(side.domain, "splits", shared)
    assert side.groups(side.rows("train")) is None


def test_losses_of_a_group_count_as_one(table: Path) -> None:
    domain = open_domain(table, "visits", group="patient")
    side = Side.of(domain, Classify(("a", "b")), ("a", "b"))
    rows = side.rows("train")[:-3]  # the last patient has fewer
    losses = np.random.default_rng(0).random(len(rows))
    found = side.independent(losses, rows)
    assert len(found) == 12
    assert found.mean() == pytest.approx(losses.mean())


def test_evidence_of_groups_is_near_what_the_test_part_says(table: Path, tmp_path: Path) -> None:
    """Rows of a patient tell each other's label: left out one by one they promise far too much."""
    x, y, _ = patients(24, seed=1)
    said = {}
    for how, group in (("cv", "patient"), ("loo", None)):
        result = crossgraft.fit(table, (x, np.array(["a", "b"])[y]), group=group, out=tmp_path / how, seed=0).result
        assert result["selection"] == how
        held = next(row for row in result["guard"] if row["model"] == "target_only")
        said[how] = held["cross_entropy"]["value"], result["baselines"]["target_only"]["cross_entropy"]["value"]
        assert held["n"] == (12 if group else 96)
    assert said["loo"][0] < 0.5 * said["loo"][1]
    assert said["cv"][0] == pytest.approx(said["cv"][1], rel=0.3)


def test_a_group_that_is_no_column_is_said(table: Path) -> None:
    with pytest.raises(UsageError, match="no column 'patients'"):
        crossgraft.fit(table, group="patients")


def test_clips_without_the_column_asked_for_are_not_grouped_by_another(tmp_path: Path) -> None:
    clips = audio_kit.manifest(tmp_path, "talk.csv", {"ann": 200.0, "bob": 300.0}, each=2)
    assert open_domain(clips, "clips").groups is not None
    with pytest.raises(UsageError, match="no column 'room'"):
        crossgraft.fit(clips, group="room")


def test_one_row_left_out_of_a_group_is_refused(table: Path) -> None:
    with pytest.raises(UsageError, match="selection loo leaves out one example"):
        crossgraft.fit(table, group="patient", selection="loo")


def test_scores_by_group_and_over_groups() -> None:
    task = Classify(("a", "b"))
    log_p = np.log(np.array([[0.9, 0.1]] * 6 + [[0.1, 0.9]] * 2))
    found = measured(task, log_p, np.zeros(8, int), groups=np.array(["x"] * 4 + ["y"] * 4))
    assert found["by_group"]["x"]["accuracy"]["value"] == 1.0
    assert found["by_group"]["y"]["accuracy"]["value"] == 0.5
    assert found["by_group"]["y"]["n"] == 4
    over, alone = found["over_groups"]["accuracy"], found["accuracy"]
    assert over["value"] == alone["value"] == 0.75
    assert over["low"] < alone["value"] < over["high"]
    assert "by_group" not in measured(task, log_p, np.zeros(8, int), groups=np.array(["x"] * 4 + [""] * 4))


def test_of_many_groups_the_largest_are_told_and_all_are_counted() -> None:
    groups = np.array([f"g{i}" for i in range(60)] + ["g7"] * 3 + ["g59"] * 2)
    found = grouped({"error": np.stack([np.arange(65) % 2, np.ones(65)], 1)}, groups)
    assert found["over_groups"]["n"] == 60
    assert len(found["by_group"]) == 50
    assert (found["by_group"]["g7"]["n"], found["by_group"]["g59"]["n"]) == (4, 3)


def test_without_an_error_the_interval_over_groups_is_of_so_many_groups() -> None:
    found = grouped({"error": np.stack([np.zeros(60), np.ones(60)], 1)}, np.array(["a", "b", "c"] * 20))
    assert found["over_groups"]["error"]["high"] == pytest.approx(wilson(np.zeros(3)).high)


def test_the_report_has_scores_by_group(table: Path, tmp_path: Path) -> None:
    rows = table.read_text().replace(",p13,", ",<u>eve,")
    (tmp_path / "visits.csv").write_text(rows)
    run = crossgraft.fit(tmp_path / "visits.csv", group="patient", out=tmp_path / "run", baselines=False)
    page = run.report().read_text()
    assert "By group" in page
    assert "&lt;u&gt;eve" in page
    assert len(run.result["test"]["by_group"]) == 12


def test_the_guard_says_what_it_counts() -> None:
    losses = {"a": np.array([0.9, 1.1, 1.0]), "b": np.array([0.1, 0.3, 0.2])}
    assert "On 3 held-out groups" in guard(losses, ["a", "b"], of="groups").why
