"""Examples of classes that no source has: their score, the threshold, and how a run names and scores them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from crossgraft.cli import main
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.unknown import auroc, energy, h_score, open_scores, threshold
from crossgraft.run import Run
from crossgraft.tasks import Classify
from crossgraft.transfer import fit

DRAW = np.random.default_rng(0)


def corners(n: int, shift: float, seed: int, classes: str) -> tuple[np.ndarray, np.ndarray]:
    """Each class along an axis of its own in 8 dimensions, moved as a whole."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, len(classes), n)
    x = draw.normal(0, 0.6, (n, 8))
    x[np.arange(n), y] += 4
    return (x + shift).astype(np.float32), np.array(list(classes))[y]


SOURCE, TARGET = corners(400, 0.0, 1, "abc"), corners(600, 0.3, 2, "abcde")
KNOWN = np.isin(TARGET[1], list("abc"))
LABELS = np.where(KNOWN, TARGET[1].astype(object), None)
LABELS[np.flatnonzero(KNOWN)[60:]] = None
FROZEN: dict[str, Any] = {"backbone": "identity"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    splits = np.where(np.array([y is None for y in LABELS]), "unlabelled", "train")
    return fit((TARGET[0], LABELS, splits), SOURCE, out=tmp_path_factory.mktemp("open") / "run", **FROZEN)


def test_energy_and_threshold_by_hand() -> None:
    z = DRAW.normal(0, 3, (50, 4))
    np.testing.assert_allclose(energy(z), -np.log(np.exp(z).sum(1)), rtol=1e-12)
    assert np.isfinite(energy(np.array([[1e4, -1e4]]))).all()
    scores = DRAW.permutation(np.arange(1.0, 100.0))
    assert threshold(scores) == (95.0, 0.05)
    assert threshold(scores[:4])[0] == scores[:4].max()
    with pytest.raises(CrossgraftError, match="no known example"):
        threshold(np.zeros(0))


def test_the_threshold_rejects_what_it_says() -> None:
    """Of one more known example, over many draws."""
    for n in (10, 60):
        draws = np.random.default_rng(n).normal(size=(4000, n + 1))
        above, cost = zip(*(threshold(row[:-1]) for row in draws), strict=True)
        assert np.mean(draws[:, -1] > np.array(above)) == pytest.approx(cost[0], abs=0.015)


def test_auroc_is_that_of_scikit_learn_and_its_interval_covers() -> None:
    known, unknown = DRAW.normal(0, 1, 200).round(1), DRAW.normal(1, 1, 90).round(1)
    found = auroc(known, unknown)
    y = np.repeat([0, 1], [200, 90])
    assert found.value == pytest.approx(roc_auc_score(y, np.concatenate([known, unknown])), abs=1e-12)
    truth, inside = 0.7602499, 0  # Phi(1 / sqrt 2)
    for _ in range(400):
        s = auroc(DRAW.normal(0, 1, 60), DRAW.normal(1, 1, 40))
        inside += s.low < truth < s.high
    assert 0.92 < inside / 400 < 0.98
    assert np.isnan(auroc(np.zeros(3), np.ones(3)).low)


def test_h_score_by_hand() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, -1, -1, -1, -1])
    hits = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)
    rejected = np.array([0, 0, 1, 0, 0, 1, 1, 1, 1, 0], dtype=bool)
    found = h_score(rejected, hits, targets)  # classes 2/4 and 1/2, unknown 3/4
    assert found.value == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert 0 < found.low < found.value < found.high < 1
    assert h_score(np.zeros(10, dtype=bool), hits, targets).value == 0


def test_a_run_tells_unknown_from_known(run: Run) -> None:
    told = run.result["unknown"]
    assert told["of"] == "held-out labels of the target"
    assert told["n"] == 45
    assert told["rejected"] <= 0.05
    rows = run.predict(TARGET[0], unknown=True)
    called = np.array([row["label"] == "unknown" for row in rows])
    assert called[~KNOWN].mean() > 0.8
    assert called[KNOWN].mean() < 0.15
    plain = run.predict(TARGET[0])
    assert {row["label"] for row in plain} == set("abc")
    assert [r["unknown"] for r in plain] == [r["unknown"] for r in rows]
    assert [r["label"] for r, c in zip(plain, called, strict=True) if not c] == [
        r["label"] for r in rows if r["label"] != "unknown"
    ]
    assert any("look like no class of the model" in w for w in run.result["warnings"])


def test_score_with_unknown_labels(run: Run) -> None:
    with pytest.raises(CrossgraftError, match=r"label '[de]' is none of the 3 classes.*--unknown"):
        run.score(TARGET)
    found = run.score(TARGET, unknown=True)
    assert (found["n"], found["n_known"]) == (600, int(KNOWN.sum()))
    assert found["auroc"]["value"] > 0.95
    called = np.array([row["label"] for row in run.predict(TARGET[0], unknown=True)])
    assert found["rejected_unknown"]["value"] == pytest.approx((called[~KNOWN] == "unknown").mean())
    assert found["accuracy_known"]["value"] == pytest.approx((called == TARGET[1])[KNOWN].mean())
    only = (TARGET[0][KNOWN], TARGET[1][KNOWN])
    closed, opened = run.score(only), run.score(only, unknown=True)
    assert opened["cross_entropy"] == closed["cross_entropy"] == found["cross_entropy"]
    assert opened["h_score"] is None
    none = run.score((TARGET[0][~KNOWN], TARGET[1][~KNOWN]), unknown=True)
    assert none["cross_entropy"] is None
    assert none["rejected_unknown"]["value"] == found["rejected_unknown"]["value"]


def test_without_target_labels_the_threshold_is_of_the_source(tmp_path: Path) -> None:
    run = fit((TARGET[0], None), SOURCE, out=tmp_path / "run", **FROZEN)
    told = run.result["unknown"]
    assert (told["of"], told["n"]) == ("held-out labels of the source", 80)
    assert run.score(TARGET, unknown=True)["auroc"]["value"] > 0.9
    other = fit((TARGET[0], None), corners(700, 0.0, 3, "abc"), backbone="mlp", steps=60, source_steps=150,
                method="mcc", guard=False, out=tmp_path / "mlp")  # fmt: skip
    assert other.result["unknown"]["of"] == "held-out labels of the source"
    assert other.result["unknown"]["n"] == 70


def test_layers_that_moved_are_judged_by_their_folds(tmp_path: Path) -> None:
    known = (TARGET[0][KNOWN], TARGET[1][KNOWN])
    run = fit(known, SOURCE, backbone="mlp", schedule="lp_ft", steps=30, source_steps=100, shots=8, out=tmp_path / "r")
    told = run.result["unknown"]
    assert (told["of"], told["n"]) == ("held-out labels of the target", 24)
    assert 1 / 25 <= told["rejected"] <= 0.05


def test_the_command_names_and_scores_unknown(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "t.npz", X=TARGET[0], y=TARGET[1])
    domain = [str(run.folder), str(tmp_path / "t.npz")]
    for words in (["predict", *domain], ["score", *domain]):
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--unknown", "--json"])
        assert stopped.value.code == 0
        said = json.loads(capsys.readouterr().out)
        assert "unknown" in {r["label"] for r in said["predictions"]} if "predictions" in said else said["h_score"]
    with pytest.raises(SystemExit):
        main(["score", *domain, "--unknown"])
    assert "H-score" in capsys.readouterr().out


def test_what_has_no_threshold_says_so(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tent moves the scores"):
        run.predict(TARGET[0], unknown=True, tent=True)
    model = Run.open(run.folder).model
    model.unknown = None
    with pytest.raises(UsageError, match="nothing was held out"):
        model.threshold  # noqa: B018
    model.unknown, model.task = {"threshold": 0.0}, Classify(("a", "unknown", "c"))
    with pytest.raises(UsageError, match="called 'unknown' itself"):
        model.threshold  # noqa: B018


def test_open_scores_without_one_of_the_two() -> None:
    z, task = DRAW.normal(0, 1, (6, 2)), Classify(("a", "b"))
    assert open_scores(task, z, np.full(6, -1), 0.0)["accuracy"] is None
    assert open_scores(task, z, np.zeros(6, dtype=np.int64), 0.0)["auroc"] is None
