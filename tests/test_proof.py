"""What a run says beside its scores, on data where the answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgraft.measure.compare import mcnemar
from crossgraft.printed import fitted
from crossgraft.run import Run
from crossgraft.transfer import fit

CENTRES = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])


def drawn(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians in a plane of six dimensions, moved by `shift`."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = np.concatenate([CENTRES[y], np.zeros((n, 4))], 1) + draw.normal(0, 1, (n, 6)) + shift
    return x.astype(np.float32), np.array(list("abc"))[y]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    options: dict[str, Any] = {"shots": 2, "seed": 1, "schedule": "frozen"}
    return fit(drawn(400, 0, 0.5), drawn(600, 1), out=tmp_path_factory.mktemp("proof") / "run", **options)


def test_the_gap_lies_below_the_divergence_of_moved_gaussians(run: Run) -> None:
    gap = run.result["gap"]
    assert gap["p_value"] < 0.05
    assert 0.05 < gap["jsd"]["value"] < 0.3  # six dimensions moved by half: N(0,1) against N(1.22,1), 0.159 nats


def test_paired_tests_repeat_from_the_predictions(run: Run) -> None:
    """The kept model less target only, from the scores and the predictions of the run."""
    result = run.result
    for row in result["paired"]:
        other = result["baselines"][row["model"]] if row["model"] in result["baselines"] else result["transfer"]
        for score in ("accuracy", "cross_entropy"):
            expected = result["test"][score]["value"] - other[score]["value"]
            assert row[score]["value"] == pytest.approx(expected, abs=1e-9)
            assert row[score]["low"] <= row[score]["value"] <= row[score]["high"]
    assert {row["model"] for row in result["paired"]} | {result["kept"]["model"]} >= {"target_only", "source_only"}
    assert mcnemar(np.ones(10), np.zeros(10)) == pytest.approx(2 * 0.5**10)


def test_labels_saved_is_the_crossing_of_its_own_curve(run: Run) -> None:
    saved = run.result["labels_saved"]
    curve = saved["curve"]
    assert saved["used"] == 6
    assert curve["sizes"] == sorted(curve["sizes"])
    assert saved["saved"]["value"] == pytest.approx(saved["needed"]["value"] - 6)
    losses = np.minimum.accumulate(curve["cross_entropy"])
    after = next(size for size, loss in zip(curve["sizes"], losses, strict=True) if loss <= curve["level"] + 1e-9)
    before = max([s for s in curve["sizes"] if s < after], default=0)
    assert before <= saved["needed"]["value"] <= after


def test_the_temperature_is_that_of_the_held_out_labels(run: Run) -> None:
    heat = run.result["calibration"]
    assert heat["n"] == 6
    assert heat["before"]["cross_entropy"] == pytest.approx(run.result["test"]["cross_entropy"]["value"])
    assert (heat["after"] == heat["before"]) == (abs(heat["temperature"] - 1) < 1e-9)


def test_vector_scaling_and_label_shift_repeat_from_the_predictions(run: Run) -> None:
    heat = run.result["calibration"]
    rows = [json.loads(line) for line in (run.folder / "predictions.jsonl").read_text().splitlines()]
    log_p = np.array([r["log_probabilities"] for r in rows])
    y = np.array(["abc".index(r["label"]) for r in rows])
    z = np.array(heat["vector"]["scale"]) * log_p + np.array(heat["vector"]["bias"])
    z -= np.log(np.exp(z).sum(1, keepdims=True))
    assert heat["vector"]["after"]["cross_entropy"] == pytest.approx(-z[np.arange(len(y)), y].mean())
    q = heat["label_shift"]["frequencies"]
    assert sum(q.values()) == pytest.approx(1)
    assert [q[c] for c in "abc"] == pytest.approx([1 / 3] * 3, abs=0.12)  # a third of the target is of each class
    assert set(heat["label_shift"]["after"]) == {"cross_entropy", "ece", "brier"}
    assert heat["fitted_on"] == "held-out labels of the target"


def test_a_temperature_of_the_source_is_not_taken_for_the_targets(tmp_path: Path) -> None:
    run = fit(drawn(300, 0, 0.5), drawn(400, 1), method="source_only", out=tmp_path / "run", shots=0)
    assert "source's are not taken" in run.result["calibration"]["why"]
    assert "temperature" not in run.result["calibration"]
    assert "source's are not taken" in "\n".join(fitted(run.result))


def test_a_person_reads_it(run: Run) -> None:
    text = "\n".join(fitted(run.result))
    for said in ("McNemar", "nats apart", "labels: ", "a temperature of"):
        assert said in text
    assert "What it was worth" in run.report().read_text()


def test_without_source_and_baselines_there_is_nothing_to_compare(tmp_path: Path) -> None:
    run = fit(drawn(90, 0), out=tmp_path / "run", baselines=False, shots=5)
    assert run.result["gap"] is None
    assert run.result["paired"] == []
    assert run.result["labels_saved"] is None
