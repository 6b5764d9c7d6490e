"""Export, push and pull: what is handed on predicts what the run predicts."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.assembled import Parts
from crossgraft.cli import main
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.export import NEEDS, SUFFIX, export
from crossgraft.features import pixels
from crossgraft.run import Run
from crossgraft.share import pull, push


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 6))
    y = np.array(["no", "yes"])[(x[:, 0] + 0.3 * x[:, 1] > 0).astype(int)]
    pictures = (draw.random((60, 12, 12)) * 120 + 120 * (np.arange(60) % 2)[:, None, None]).astype(np.uint8)
    short: dict[str, Any] = {"baselines": False, "steps": 3}
    return {
        "vectors": crossgraft.fit(target=(x, y), backbone="identity", out=folder / "vectors"),
        "mlp": crossgraft.fit(target=(x, y), backbone="mlp", schedule="full", out=folder / "mlp", **short),
        "pictures": crossgraft.fit(
            target=(pictures, [str(i % 2) for i in range(60)]),
            backbone="cnn",
            schedule="full",
            out=folder / "cnn",
            **short,
        ),
    }


@pytest.mark.parametrize("kind", ["vectors", "mlp", "pictures"])
@pytest.mark.parametrize("format", ["onnx", "torch", "openvino", "keras", "savedmodel"])
def test_exports_say_what_the_run_says_at_any_batch_size(
    runs: dict[str, Run], kind: str, format: str, tmp_path: Path
) -> None:
    for library in NEEDS[format]:
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    run = runs[kind]
    suffix = SUFFIX[format][1:]
    found = export(run, format, tmp_path / f"m.{suffix}")
    assert found["max_difference"] < 1e-4
    assert json.loads((tmp_path / f"m.{suffix}.json").read_text())["output"]["probabilities"] == list(
        run.model.task.classes
    )
    assert not list(tmp_path.glob("part-*"))
    if format != "onnx":
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    if kind == "pictures":
        from crossgraft.domains import open_domain

        given = np.random.default_rng(1).integers(0, 256, (7, 12, 12), dtype=np.uint8)
        x = np.asarray(pixels(open_domain(given, "given"), run.model.backbone).values)
    else:
        given = x = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    p = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(p, Parts.of(run).said(x)["probabilities"], atol=1e-4)
    said = run.predict(given)
    np.testing.assert_allclose(p, [list(row["probabilities"].values()) for row in said], atol=1e-4)


def test_frozen_layers_are_exported_with_the_head(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = crossgraft.fit(target=str(pictures), schedule="frozen", baselines=False, out=tmp_path / "run")
    before = (run.folder / "model.json").read_bytes()
    assert export(run, "openvino")["max_difference"] < 1e-4
    assert (run.folder / "model.json").read_bytes() == before
    said = json.loads((run.folder / "model.xml.json").read_text())
    assert said["input"]["prepared"]["centre_crop"] == run.model.backbone.preprocess.size


def test_an_export_that_cannot_be_leaves_nothing(runs: dict[str, Run], tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(UsageError, match="onxx"):
        export(runs["vectors"], "onxx")
    with pytest.raises(UsageError, match="pt2"):
        export(runs["vectors"], "torch", tmp_path / "m.onnx")
    monkeypatch.setattr("crossgraft.assembled.Parts.said", lambda self, x: {"probabilities": np.zeros((len(x), 2))})
    with pytest.raises(CrossgraftError, match="differ"):
        export(runs["vectors"], "torch", tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_the_difference(runs: dict[str, Run], tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(runs["vectors"].folder), "--format", "torch", "--out", str(tmp_path / "m.pt2"), "--json"])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out)["max_difference"] < 1e-4


def test_a_run_that_was_pushed_and_pulled_predicts_the_same(runs: dict[str, Run], tmp_path: Path) -> None:
    for kind, x in (("vectors", np.eye(6)), ("mlp", np.eye(6))):
        files = push(runs[kind], str(tmp_path / kind / "pushed"))["files"]
        assert sorted(files) == sorted(p.name for p in (tmp_path / kind / "pushed").iterdir())
        again = pull(str(tmp_path / kind / "pushed"), tmp_path / kind / "pulled")
        assert again.predict(x) == runs[kind].predict(x)
    card = (tmp_path / "vectors" / "pushed" / "README.md").read_text()
    score = runs["vectors"].result["test"]["accuracy"]
    assert f"{100 * score['value']:.1f} % [{100 * score['low']:.1f}, {100 * score['high']:.1f}]" in card
    assert "Intended use" in card
    assert str(tmp_path) not in card


def test_what_is_no_run_is_not_pulled(runs: dict[str, Run], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        push(runs["vectors"], str(tmp_path / "other"))
    with pytest.raises(UsageError, match="the run itself"):
        push(runs["vectors"], str(runs["vectors"].folder))
    with pytest.raises(CrossgraftError, match="no run"):
        pull(str(tmp_path / "other"), tmp_path / "out")
    push(runs["vectors"], str(tmp_path / "broken"))
    (tmp_path / "broken" / "weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CrossgraftError, match="cannot be read"):
        pull(str(tmp_path / "broken"), tmp_path / "out")
