"""The four steps end to end, small: what a run holds, and that it holds its promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.run import Run
from crossgraft.transfer import fit

FAST: dict[str, Any] = {"backbone": "cnn", "steps": 40, "source_steps": 120, "shots": 2, "schedule": "lp_ft"}


def shifted(n: int, shift: float, seed: int, classes: str = "abc") -> tuple[np.ndarray, np.ndarray]:
    """Classes on a circle in 8 dimensions, moved as a whole by `shift`."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, len(classes), n)
    centre = np.zeros((len(classes), 8))
    centre[np.arange(len(classes)), np.arange(len(classes))] = 2.5
    return (centre[y] + draw.normal(0, 1, (n, 8)) + shift).astype(np.float32), np.array(list(classes))[y]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit("sklearn-digits", "mnist5000", out=tmp_path_factory.mktemp("digits") / "run", **FAST)


def test_a_run_holds_what_the_doors_promise(digits: Run) -> None:
    result = json.loads((digits.folder / "result.json").read_text())
    assert {
        "run",
        "test",
        "baselines",
        "kept",
        "lam",
        "method",
        "schedule",
        "selection",
        "skipped",
        "seconds",
        "versions",
    } <= set(result)
    for part in (result["test"], result["baselines"]["target_only"], result["baselines"]["source_only"]):
        assert part["n"] == 1797 - 20
        for score in ("accuracy", "cross_entropy"):
            assert part[score]["low"] <= part[score]["value"] <= part[score]["high"]
    assert result["method"] == "joint"
    assert result["schedule"] == "lp_ft"
    assert result["n"]["target_labelled"] == 20
    assert {p.name for p in digits.folder.iterdir()} >= {
        "recipe.toml",
        "model.json",
        "weights.safetensors",
        "measures.jsonl",
        "report.html",
    }
    assert not (digits.folder / "checkpoints").exists()


def test_transfer_beats_training_without_it(digits: Run) -> None:
    result = digits.result
    assert result["transfer"]["accuracy"]["value"] > result["baselines"]["target_only"]["accuracy"]["value"]
    assert result["kept"]["model"] == "transfer"


def test_predictions_before_and_after_loading_are_the_same(digits: Run) -> None:
    from crossgraft.domains import open_domain

    rows = [json.loads(line) for line in (digits.folder / "predictions.jsonl").read_text().splitlines()]
    again = {r["name"]: r for r in Run.open(digits.folder).predict(open_domain("sklearn-digits", "d"))}
    for row in rows[::100]:
        p = np.array(list(again[row["name"]]["probabilities"].values()))
        np.testing.assert_allclose(np.log(p), row["log_probabilities"], rtol=1e-3, atol=1e-3)


def test_score_of_the_test_part_is_the_runs_own(digits: Run) -> None:
    from crossgraft.domains import open_domain

    names = {json.loads(line)["name"] for line in (digits.folder / "predictions.jsonl").read_text().splitlines()}
    domain = open_domain("sklearn-digits", "d")
    test = domain.take([i for i, n in enumerate(domain.names) if n in names])
    score = digits.score(test)
    assert score["accuracy"] == pytest.approx(digits.result["test"]["accuracy"])


def test_same_seed_same_weights(digits: Run, tmp_path: Path) -> None:
    again = fit("sklearn-digits", "mnist5000", out=tmp_path / "again", **FAST)
    assert (again.folder / "weights.safetensors").read_bytes() == (digits.folder / "weights.safetensors").read_bytes()
    other = fit("sklearn-digits", "mnist5000", out=tmp_path / "other", seed=1, **FAST)
    assert (other.folder / "weights.safetensors").read_bytes() != (digits.folder / "weights.safetensors").read_bytes()


def test_interrupted_and_resumed_is_as_never_interrupted(
    digits: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgraft.transfer import Steps

    target_only = Steps.target_only

    def pulled(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "target_only", pulled)
    with pytest.raises(KeyboardInterrupt):
        fit("sklearn-digits", "mnist5000", out=tmp_path / "run", **FAST)
    with pytest.raises(CrossgraftError, match="not finished"):
        Run.open(tmp_path / "run")
    monkeypatch.setattr(Steps, "target_only", target_only)
    resumed = fit(out=tmp_path / "run", resume=True)
    assert (resumed.folder / "weights.safetensors").read_bytes() == (digits.folder / "weights.safetensors").read_bytes()
    steps = [json.loads(line) for line in (resumed.folder / "measures.jsonl").read_text().splitlines()]
    keys = [(s["model"], s.get("phase"), s["step"], "evaluation" in s) for s in steps]
    assert len(keys) == len(set(keys))


def test_arrays_joint_on_the_convex_path(tmp_path: Path) -> None:
    run = fit(shifted(60, 0.5, 1), shifted(400, 0.0, 0), shots=3, out=tmp_path / "run")
    result = run.result
    assert (result["schedule"], result["selection"], result["method"]) == ("frozen", "loo", "joint")
    assert result["lam"] >= 0
    assert result["path"]["loo"][0][0] > 0
    best = min(min(row) for row in result["path"]["loo"])
    assert best <= result["path"]["loo"][0][0]


def test_lambda_zero_is_training_on_the_target_alone_to_the_last_bit(tmp_path: Path) -> None:
    target, source = shifted(60, 0.5, 1), shifted(400, 0.0, 0)
    joint = fit(target, source, shots=3, lam=0, guard=False, out=tmp_path / "joint")
    alone = fit(target, shots=3, method="target_only", out=tmp_path / "alone")
    assert joint.result["test"]["cross_entropy"] == alone.result["test"]["cross_entropy"]


@pytest.mark.parametrize("schedule", ["frozen", "lp_ft", "gradual", "full"])
def test_every_schedule_trains_with_partly_shared_classes(schedule: str, tmp_path: Path) -> None:
    from crossgraft.domains import open_domain

    target, source = open_domain("sklearn-digits", "t"), open_domain("mnist5000", "s")
    target = target.take([i for i, y in enumerate(target.labels) if y in "345"][:200])
    source = source.take([i for i, y in enumerate(source.labels) if y in "123"][::5])
    options = FAST | {"schedule": schedule, "steps": 6, "source_steps": 10}
    run = fit(target, source, out=tmp_path / "run", **options)
    assert run.result["task"]["classes"] == ["3", "4", "5"]
    assert run.result["baselines"]["source_only"] is None
    assert np.isfinite(run.result["test"]["cross_entropy"]["value"])


def test_hostile_source_is_refused_by_the_guard(tmp_path: Path) -> None:
    x, y = shifted(600, 0.0, 0)
    wrong = np.roll(np.unique(y), 1)[np.searchsorted(np.unique(y), y)]
    run = fit(shifted(400, 0.0, 1), (x, wrong), shots=20, lam=5.0, out=tmp_path / "run")
    assert run.result["kept"]["model"] == "target_only"
    assert "nats" in run.result["kept"]["why"]


def test_a_source_without_a_class_in_common_reaches_nothing_and_it_is_said(tmp_path: Path) -> None:
    run = fit(shifted(60, 0.5, 1), shifted(400, 0.0, 0, classes="xyz"), shots=3, out=tmp_path / "run")
    assert any("reach" in w for w in run.result["warnings"])


def test_pictures_from_a_folder_with_one_that_cannot_be_read(pictures: Path, tmp_path: Path) -> None:
    for i in range(20):  # enough that one is below 5 %
        (pictures / "disc" / f"more{i}.png").write_bytes((pictures / "disc" / f"{i % 12}.png").read_bytes() + b" " * i)
    (pictures / "bar" / "broken.png").write_bytes(b"this is text")
    run = fit(pictures, backbone="cnn", out=tmp_path / "run", steps=20)
    assert [s["name"] for s in run.result["skipped"]] == ["bar/broken.png"]
    assert "broken.png" in (run.folder / "report.html").read_text()
    assert run.predict([pictures / "bar" / "0.png"])[0]["label"] in ("bar", "disc")
    assert "error" in run.predict([pictures / "bar" / "broken.png"])[0]


def test_errors_name_the_thing_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lam is -1"):
        fit("sklearn-digits", "mnist5000", lam=-1)
    with pytest.raises(UsageError, match=r"unknown option 'shedule'.*schedule"):
        fit("sklearn-digits", shedule="frozen")
    with pytest.raises(UsageError, match="no target"):
        fit()
    with pytest.raises(CrossgraftError, match="nowhere"):
        fit(tmp_path / "nowhere", out=tmp_path / "run")
    with pytest.raises(CrossgraftError, match="nowhere"):  # and no folder that bars the same call
        fit(tmp_path / "nowhere", out=tmp_path / "run")
    with pytest.raises(UsageError, match="needs a source"):
        fit("sklearn-digits", method="joint", backbone="cnn", out=tmp_path / "run2")


def test_a_folder_that_holds_a_run_is_not_overwritten(digits: Run) -> None:
    with pytest.raises(UsageError, match="holds a run already"):
        fit("sklearn-digits", "mnist5000", out=digits.folder, **FAST)


def test_the_python_call_is_the_package_s_own() -> None:
    assert crossgraft.fit is fit
