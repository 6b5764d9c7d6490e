"""A run of several tasks leaves its folder: one pass and an output a task, and a folder to hand on."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft.assembled import Parts
from crossgraft.errors import CrossgraftError
from crossgraft.export import NEEDS, SUFFIX, export
from crossgraft.multitask.keep import Kept
from crossgraft.multitask.run import MultiRun, open_run
from crossgraft.share import pull, push

FORMATS = ["onnx", "torch", "openvino", "keras", "savedmodel"]
FAST: dict[str, Any] = {"backbone": "mlp", "steps": 8, "guard": False, "baselines": False}
TASKS = {"x": "side", "linear": "most"}  # names that values of a graph may have


def blobs(n: int = 100) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 6)).astype(np.float32)
    side = np.where(x[:, 0] > 0, "right", "left").astype(object)
    most = np.array([f"c{k}" for k in x[:, 1:4].argmax(1)], dtype=object)
    return x, {"side": side, "most": most}, np.where(np.arange(n) < 40, "test", "train").astype("U9")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MultiRun]:
    folder = tmp_path_factory.mktemp("several")
    data = {"blobs": blobs()}
    made = {
        "together": crossgraft.multi(data, TASKS, out=folder / "together", **FAST),
        "branches": crossgraft.multi(data, TASKS, out=folder / "branches", share=1, **FAST),
    }

    def apart(*_: Any) -> Kept:
        return Kept("alone", "It is better alone.")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("crossgraft.multitask.steps.kept_for", apart)
        options = FAST | {"guard": True, "baselines": True}
        made["apart"] = crossgraft.multi(data, TASKS, out=folder / "apart", **options)
    return made


@pytest.mark.parametrize(
    ("kind", "format"), [*(("together", f) for f in FORMATS), ("branches", "torch"), ("apart", "torch")]
)
def test_an_export_has_an_output_a_task(runs: dict[str, MultiRun], kind: str, format: str, tmp_path: Path) -> None:
    for library in NEEDS[format]:
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    run = runs[kind]
    file = tmp_path / f"m{SUFFIX[format]}"
    assert export(run, format, file)["max_difference"] < 1e-4
    said = json.loads((tmp_path / f"{file.name}.json").read_text())
    assert said["output"] == {"x": ["left", "right"], "linear": ["c0", "c1", "c2"]}
    assert said["input"]["name"] == "x0"  # x is a task
    inputs = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    rows = run.predict((inputs, None))
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found = dict(zip(said["output"], session.run(list(said["output"]), {"x0": inputs}), strict=True))
    elif format == "torch":
        import torch

        found = {n: p.detach().numpy() for n, p in torch.export.load(file).module()(torch.from_numpy(inputs)).items()}
    else:
        found = Parts.of(run).said(inputs)
    for name, p in found.items():
        np.testing.assert_allclose(p, [list(row["tasks"][name]["probabilities"].values()) for row in rows], atol=1e-4)


def test_what_is_shared_is_passed_once(runs: dict[str, MultiRun]) -> None:
    import torch

    def products(kind: str) -> int:
        module = Parts.of(runs[kind]).module()
        nodes = torch.export.export(module, (torch.zeros(2, 6),)).graph.nodes
        return sum("linear" in str(node.target) or "addmm" in str(node.target) for node in nodes)

    assert products("together") == 4  # two layers, two heads
    assert products("branches") == 5  # the second layer twice
    assert products("apart") == 6


@pytest.mark.parametrize("kind", ["together", "branches", "apart"])
def test_pushed_and_pulled_it_predicts_the_same(runs: dict[str, MultiRun], kind: str, tmp_path: Path) -> None:
    run = runs[kind]
    files = push(run, str(tmp_path / "pushed"))["files"]
    assert ("alone/1/model.json" in files) == (kind == "apart")
    assert sorted(files) == sorted(
        str(p.relative_to(tmp_path / "pushed")) for p in (tmp_path / "pushed").rglob("*") if p.is_file()
    )
    again = pull(str(tmp_path / "pushed"), tmp_path / "pulled")
    assert isinstance(again, MultiRun)
    x, y, splits = blobs()
    assert again.predict((x, None)) == run.predict((x, None))
    scored = again.score((x[splits == "test"], {k: v[splits == "test"] for k, v in y.items()}))
    for name in TASKS:
        assert scored["tasks"][name]["cross_entropy"]["value"] == pytest.approx(
            run.result["tasks"][name]["test"]["cross_entropy"]["value"], abs=1e-5
        )
    card = (tmp_path / "pushed" / "README.md").read_text()
    value = run.result["tasks"]["linear"]["test"]["accuracy"]
    row = f"| linear, accuracy | this one | 40 | {100 * value['value']:.1f} % [{100 * value['low']:.1f}, "
    assert row in card
    assert "tells apart c0, c1, c2" in card
    assert str(tmp_path) not in card
    if kind == "apart":
        (tmp_path / "pushed" / "alone" / "1" / "weights.safetensors").unlink()
        with pytest.raises(CrossgraftError, match=r"alone/1/weights.safetensors missing"):
            pull(str(tmp_path / "pushed"), tmp_path / "out")
        assert open_run(run.folder).predict((x, None)) == run.predict((x, None))


def test_texts_of_several_tasks_are_exported_where_the_format_holds_them(tmp_path: Path) -> None:
    texts = ["good fine nice"] * 10 + ["bad poor sad"] * 10
    labels = {"mood": ["up"] * 10 + ["down"] * 10, "odd": ["0", "1"] * 10}
    splits = np.array(["train", "train", "test", "test"] * 5)
    options = {**FAST, "backbone": "words", "steps": 2}
    run = crossgraft.multi({"a": (texts, labels, splits)}, ["mood", "odd"], out=tmp_path / "run", **options)
    assert export(run, "torch", tmp_path / "m.pt2")["max_difference"] < 1e-4
    said = json.loads((tmp_path / "m.pt2.json").read_text())
    assert said["output"] == {"mood": ["down", "up"], "odd": ["0", "1"]}
    assert [one["name"] for one in said["inputs"]] == ["input_ids", "attention_mask"]
    with pytest.raises(CrossgraftError, match="layers of texts have no counterpart in Keras"):
        export(run, "keras")
