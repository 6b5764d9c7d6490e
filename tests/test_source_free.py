"""A run in place of a source: its model is f_s, and none of its data are there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.run import Run
from crossgraft.transfer import Steps, fit

FAST: dict[str, Any] = {"steps": 150, "baselines": False}


def blobs(n: int, angle: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians on a circle, turned by an angle."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    at = np.stack([np.cos(2 * np.pi * y / 3 + angle), np.sin(2 * np.pi * y / 3 + angle)], 1)
    return (3 * at + draw.normal(0, 0.5, (n, 2))).astype(np.float32), np.array(list("abc"))[y]


TARGET = blobs(300, 0.85, 1)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the source; only what a run folder holds is left of it."""
    folder = tmp_path_factory.mktemp("source")
    fit(blobs(360, 0.0, 0), backbone="mlp", out=folder / "made", **FAST)
    for name in ("recipe.toml", "result.json", "model.json", "weights.safetensors"):
        (folder / "run").mkdir(exist_ok=True)
        shutil.copy(folder / "made" / name, folder / "run" / name)
    return folder / "run"


def right(run: Any, x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([row["label"] == label for row, label in zip(run.predict(x), y, strict=True)]))


def test_shot_adapts_the_model_of_a_run_to_inputs_without_labels(taught: Path, tmp_path: Path) -> None:
    run = fit((TARGET[0], None), taught, method="shot", out=tmp_path / "run", **FAST)
    before = fit((TARGET[0], None), taught, method="source_only", out=tmp_path / "before", **FAST)
    assert right(run, *TARGET) > right(before, *TARGET) + 0.03
    opened = fit((TARGET[0], None), Run.open(taught), method="shot", out=tmp_path / "opened", **FAST)
    assert opened.predict(TARGET[0][:5]) == run.predict(TARGET[0][:5])
    assert (run.result["kept"]["model"], run.result["n"]["source"]) == ("transfer", 0)
    assert run.result["selection"] == "label_free:im"
    assert set(run.result["validators"]["transfer"]) == {"im", "snd", "collapse"}


def test_what_collapses_is_not_kept_without_the_source_either(taught: Path, tmp_path: Path) -> None:
    result = fit((TARGET[0], None), taught, objective="entropy", lr=0.3, out=tmp_path / "run", **FAST).result
    assert result["validators"]["transfer"]["collapse"] > result["validators"]["source_only"]["collapse"]
    assert (result["kept"]["model"], "have collapsed" in result["kept"]["why"]) == ("source_only", True)


@pytest.mark.parametrize("method", ["auto", "lwf", "cotuning", "l2_sp"])
def test_labels_of_the_target_join_the_model_of_a_run(method: str, taught: Path, tmp_path: Path) -> None:
    result = fit(TARGET, taught, method=method, shots=3, out=tmp_path / "run", **FAST).result
    assert result["method"] == {"auto": "finetune"}.get(method, method)
    assert result["transfer"]["accuracy"]["value"] > 0.85
    assert result["baselines"]["source_only"]["accuracy"]["value"] < result["transfer"]["accuracy"]["value"]


def test_resumed_with_a_run_as_the_source(taught: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = fit((TARGET[0], None), taught, method="shot", out=out, **FAST)
    weights = (out / "weights.safetensors").read_bytes()
    (out / "result.json").unlink()
    assert (
        fit((TARGET[0], None), taught, method="shot", out=out, resume=True, **FAST).result["kept"]
        == (made.result["kept"])
    )
    assert (out / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dann"}, "dann learns from examples of the source, and .* is a model without them.*shot"),
        ({"method": "joint", "shots": 2}, "joint learns from examples of the source"),
        ({"objective": "ce(source) + im"}, "learns from examples of the source"),
        ({"method": "shot", "selection": "label_free:dev"}, "reads a source's examples.*label_free:im or"),
        ({"method": "shot", "backbone": "identity"}, "has backbone mlp, not identity"),
    ],
)
def test_what_needs_the_data_of_the_source_says_so_before_anything_is_trained(
    options: dict[str, Any], message: str, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(steps: Steps) -> None:
        raise AssertionError("f_s was asked for first")

    monkeypatch.setattr(Steps, "initialise", trained)
    target = TARGET if options.get("shots") else (TARGET[0], None)
    with pytest.raises((CrossgraftError, UsageError), match=message):
        fit(target, taught, out=tmp_path / "run", **FAST, **options)


def test_a_run_stands_alone_and_reads_what_it_has_learned(taught: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are other sources"):
        fit(TARGET, [str(taught), blobs(60, 0.0, 0)], shots=2, out=tmp_path / "a", **FAST)
    pictures = np.zeros((20, 8, 8), dtype=np.uint8)
    with pytest.raises(CrossgraftError, match="reads vectors of one class each"):
        fit((pictures, None), taught, method="shot", out=tmp_path / "b", **FAST)
    strange = (TARGET[0], np.where(TARGET[1] == "c", "d", TARGET[1]))
    with pytest.raises(CrossgraftError, match="no example teaches class d"):
        fit(strange, taught, method="shot", shots=0, out=tmp_path / "c", **FAST)
    (taught / "result.json").rename(taught / "kept.json")
    with pytest.raises(CrossgraftError, match="is not finished"):
        fit((TARGET[0], None), taught, method="shot", out=tmp_path / "d", **FAST)
    (taught / "kept.json").rename(taught / "result.json")
