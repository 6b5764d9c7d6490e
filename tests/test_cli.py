"""The command: one JSON object, exit statuses, sentences instead of tracebacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crossgraft.cli import main


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 80)
    x = draw.normal(0, 1, (80, 3)) + 2 * y[:, None]
    np.savez(tmp_path / "table.npz", X=x.astype(np.float32), y=np.array(["no", "yes"])[y])
    return tmp_path / "table.npz"


def test_fit_predict_score_report(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "fit", "--target", table, "--out", tmp_path / "run", "--json")
    assert status == 0
    assert json.loads(out)["test"]["accuracy"]["value"] > 0.5
    status, out, _ = call(capsys, "fit", "--target", table, "--out", tmp_path / "run")
    assert status == 2
    status, out, _ = call(capsys, "predict", tmp_path / "run", table)
    assert status == 0
    assert len(out.splitlines()) == 80
    status, out, _ = call(capsys, "predict", tmp_path / "run", table, "--json")
    assert len(json.loads(out)["predictions"]) == 80
    status, out, _ = call(capsys, "score", tmp_path / "run", table, "--json")
    assert json.loads(out)["n"] == 80
    status, out, _ = call(capsys, "report", tmp_path / "run", "--json")
    assert Path(json.loads(out)["report"]).exists()


def test_a_recipe_file_and_flags_share_one_schema(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.toml").write_text(f'target = "{table}"\nseed = 3\nridge = 0.01\n')
    status, out, _ = call(capsys, "fit", tmp_path / "recipe.toml", "--seed", 4, "--out", tmp_path / "run", "--json")
    assert (status, json.loads(out)["seed"], json.loads(out)["ridge"]) == (0, 4, 0.01)


def test_terms_are_added_from_the_command_and_the_recipe_and_a_run_is_a_source(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = "ce(target) + 0.3*ce(source) + 0.1*dann"
    options = ["--backbone", "mlp", "--shots", 4, "--steps", 20, "--source-steps", 20, "--no-baselines", "--no-guard"]
    given = ["--target", table, "--source", table]
    status, out, _ = call(capsys, "fit", *given, "--objective", terms, *options, "--out", tmp_path / "flag", "--json")
    assert (status, json.loads(out)["objective"]["formula"]) == (0, terms)
    (tmp_path / "recipe.toml").write_text(f'target = "{table}"\nsource = ["{table}"]\nobjective = "{terms}"\n')
    status, out, _ = call(capsys, "fit", tmp_path / "recipe.toml", *options, "--out", tmp_path / "file", "--json")
    assert (status, json.loads(out)["objective"]["formula"]) == (0, terms)
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("flag", "file")]
    assert weights[0] == weights[1]
    status, out, _ = call(
        capsys, "fit", "--target", table, "--source", tmp_path / "flag", "--method", "shot", "--shots", 0,
        "--steps", 20, "--out", tmp_path / "free", "--json",
    )  # fmt: skip
    assert (status, json.loads(out)["n"]["source"]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["fit", "--target", "no-such-folder"], 1, "no-such-folder"),
        (["fit", "--target", "x", "--lam", "-1"], 2, "lam is -1"),
        (["fit", "--target", "x", "--lam", "much"], 2, "lam"),
        (["fit", "--target", "x", "--schedule", "slow"], 2, "schedule"),
        (["fit"], 2, "no target"),
        (["fit", "--target", "a.csv", "--source", "b.csv", "."], 2, "--source before each"),
        (["multi", "."], 2, "--data before it"),
        (["fit", "--target", "sklearn-digits", "--backbone", "resnet81"], 2, "resnet"),
        (["predict", "no-run", "x"], 1, "no run"),
        (["nonsense"], 2, "nonsense"),
        (["fit", "--resume", "--out", "no-run"], 1, "no-run"),
    ],
)
def test_wrong_calls_end_in_a_sentence(
    arguments: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = call(capsys, *arguments, "--json")
    assert (got, "Traceback" in err) == (status, False)
    assert said in err
    assert json.loads(out)["error"]


def test_help_is_quick_to_ask_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "--help")
    assert status == 0
    assert "quickstart" in out


def test_gap_of_moved_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=draw.normal(0, 1, (80, 2)))
    np.savez(tmp_path / "b.npz", X=draw.normal(2, 1, (80, 2)))
    status, out, _ = call(capsys, "gap", "--source", tmp_path / "a.npz", "--target", tmp_path / "b.npz", "--json")
    found = json.loads(out)
    assert status == 0
    assert 0 < found["jsd"]["low"] <= found["jsd"]["value"] <= found["jsd"]["high"] < np.log(2)
    assert found["p_value"] < 0.01
    assert (found["n_source"], found["n_target"]) == (80, 80)


def test_ctrl_c_ends_in_a_sentence_and_a_folder_that_resumes(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crossgraft import transfer

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "record", pressed)
        status, out, err = call(capsys, "fit", "--target", table, "--out", tmp_path / "run", "--json")
    assert status == 1
    assert "stopped by you" in json.loads(out)["error"]
    assert "--resume" in err
    status, out, _ = call(capsys, "fit", "--resume", "--out", tmp_path / "run", "--json")
    assert (status, json.loads(out)["test"]["n"]) == (0, 20)
