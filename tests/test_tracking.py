from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import tracking as accelerated

import crossgraft
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.recipe import Recipe
from crossgraft.tracking import Tracker

Told = list[tuple[str, Any, int | None]]
DRAW = np.random.default_rng(0)
TARGET = (DRAW.normal(0, 1, (60, 3)) + 2 * (np.arange(60) % 2)[:, None], np.arange(60) % 2)
OPTIONS = {"backbone": "mlp", "shots": 4, "steps": 20, "guard": False}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What a tracker that somebody registered was told."""
    heard: Told = []

    class Notebook(accelerated.GeneralTracker):
        name = "notebook"
        requires_logging_directory = False

        def __init__(self, project: str) -> None:
            super().__init__()
            heard.append(("begin", project, None))

        @property
        def tracker(self) -> Any:
            return None

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            heard.append(("options", values, None))

        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            heard.append(("log", values, step))

        def finish(self) -> None:
            heard.append(("finish", None, None))

    monkeypatch.setitem(accelerated.LOGGER_TYPE_TO_CLASS, "notebook", Notebook)
    return heard


def test_a_tracker_gets_every_logged_step_and_the_scores(tmp_path: Path, told: Told) -> None:
    source = (TARGET[0] + 0.1, TARGET[1])
    run = crossgraft.fit(TARGET, source, out=tmp_path / "run", tracker="notebook", **OPTIONS)
    assert [what for what, *_ in told[:2]] == ["begin", "options"]
    assert told[-1][0] == "finish"
    assert told[1][1]["backbone"] == "mlp"
    logged = [(values, step) for what, values, step in told if what == "log"]
    rows = (run.folder / "measures.jsonl").read_text().splitlines()
    assert len(logged) == len(rows) + 1
    steps = [step for _, step in logged]
    assert steps == sorted(steps)  # though each model counts from the start
    first = next(iter(logged[0][0]))
    assert first.split("/")[0] in ("source", "transfer", "target_only")
    scores, test = logged[-1][0], run.result["test"]
    assert scores["test/accuracy"] == test["accuracy"]["value"]
    assert scores["test/cross_entropy_low"] == test["cross_entropy"]["low"]
    assert scores["baselines/target_only/accuracy"] == run.result["baselines"]["target_only"]["accuracy"]["value"]
    n = len(told)
    crossgraft.fit(TARGET, source, out=tmp_path / "run", resume=True, tracker="notebook", **OPTIONS)
    assert len(told) == n  # a run that was finished is not tracked again


def test_what_is_not_there_is_named_before_anything_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="tensorboard"):
        crossgraft.fit(TARGET, out=tmp_path / "a", tracker="tensorbord", **OPTIONS)
    monkeypatch.setattr("crossgraft.tracking.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install mlflow"):
        crossgraft.fit(TARGET, out=tmp_path / "b", tracker="mlflow", **OPTIONS)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_what_a_tracker_raises_is_named(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no server")

    monkeypatch.setattr(accelerated.LOGGER_TYPE_TO_CLASS["notebook"], "log", refuse)
    tracker = Tracker(Recipe(target="x", tracker="notebook"), tmp_path)
    with pytest.raises(CrossgraftError, match=r"notebook does not take the run .no server"):
        tracker.log({"step": 1, "loss": 0.5})


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")
def test_tensorboard_reads_the_scores_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = crossgraft.fit(TARGET, out=tmp_path / "run", tracker="tensorboard", **OPTIONS)
    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    found = events.Scalars("test/accuracy")
    assert [e.value for e in found] == [pytest.approx(run.result["test"]["accuracy"]["value"])]


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow")
def test_mlflow_reads_the_scores_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    where = f"file:{tmp_path / 'mlflow'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # needs no database
    run = crossgraft.fit(TARGET, out=tmp_path / "run", tracker="mlflow", **OPTIONS)
    client = mlflow.MlflowClient(tracking_uri=where)
    (found,) = client.search_runs([client.get_experiment_by_name("crossgraft").experiment_id])
    assert found.data.metrics["test/accuracy"] == pytest.approx(run.result["test"]["accuracy"]["value"])
    assert found.data.params["backbone"] == "mlp"


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_weights_and_biases_keeps_a_run_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    crossgraft.fit(TARGET, out=tmp_path / "run", tracker="wandb", **OPTIONS)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
