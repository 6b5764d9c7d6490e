"""Layers of torch as Keras's own: the same numbers, and a file that opens without crossgraft."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import crossgraft
from crossgraft.assembled import Parts
from crossgraft.backbones.packaged import efficientnet_lite0
from crossgraft.errors import CrossgraftError
from crossgraft.export import export
from crossgraft.model import Model
from crossgraft.tasks import Classify

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed: pip install '.[keras]'")


def converted(module: nn.Module, x: Tensor, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a module says, and what its conversion says after saving and loading."""
    from crossgraft.keras.convert import keras, to_keras

    module.eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    to_keras(torch.export.export(module, (x,), dynamic_shapes=shapes), "net").save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    with torch.no_grad():
        return module(x).numpy(), loaded.predict(x.numpy(), verbose=0)


class Many(nn.Module):
    """What the networks of the field are made of, in one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 16, (3, 5), padding=(1, 2), groups=8, dilation=1)
        self.grouped = nn.Conv2d(16, 8, 3, padding=2, dilation=2, groups=2)
        self.gate = nn.Sequential(nn.Conv2d(8, 4, 1), nn.SiLU(inplace=True), nn.Conv2d(4, 8, 1), nn.Hardsigmoid())
        self.most = nn.MaxPool2d(3, 2, 1)
        self.late = nn.LayerNorm(8)
        self.wide = nn.Linear(8, 24)
        self.scale = nn.Parameter(torch.rand(8))
        self.token, self.place = nn.Parameter(torch.rand(1, 1, 8)), nn.Parameter(torch.rand(1, 17, 8))
        self.out = nn.Linear(8 + 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.norm(self.stem(nn.functional.pad(x, (0, 1, 0, 1)))), inplace=True)
        y = nn.functional.hardswish(self.grouped(self.deep(x)))
        y = y * self.gate(y.mean((2, 3), keepdim=True)) + x
        z = self.most(y - 9)  # below zero: the border must not be the largest
        z = (self.late(z.permute(0, 2, 3, 1)) * self.scale).permute(0, 3, 1, 2)
        t = torch.cat([self.token.expand(z.shape[0], -1, -1), z.flatten(2).transpose(1, 2)], dim=1) + self.place
        q, k, v = self.wide(t).reshape(t.shape[0], 17, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        a = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(t.shape[0], 17, 8)
        pooled = nn.functional.avg_pool2d(torch.cat([y, y.tanh()], 1), 2)
        both = torch.cat([nn.functional.gelu(a[:, 0]), nn.functional.adaptive_avg_pool2d(pooled, 1).flatten(1)], 1)
        return self.out(both).softmax(1)


def test_operations_give_the_same_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    said, expected = converted(Many(), torch.randn(3, 3, 15, 15), tmp_path)
    np.testing.assert_allclose(said, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
@pytest.mark.slow
def test_networks_of_timm_give_the_same_numbers(name: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    said, expected = converted(timm.create_model(name, num_classes=3), torch.randn(2, 3, 224, 224), tmp_path)
    np.testing.assert_allclose(said, expected, atol=1e-4)


def test_what_has_no_counterpart_is_named(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumsum(1)

    with pytest.raises(CrossgraftError, match="cumsum"):
        converted(Odd(), torch.zeros(2, 3), tmp_path)

    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(-1, 1, 2)

    with pytest.raises(CrossgraftError, match="reshape of the batch"):
        converted(Mixed(), torch.zeros(2, 4), tmp_path)


@pytest.mark.slow
def test_the_packaged_backbone_opens_without_crossgraft(tmp_path: Path) -> None:
    backbone = efficientnet_lite0()
    draw = np.random.default_rng(0)
    model = Model(Classify(("ant", "bee", "cat")), backbone, draw.normal(0, 0.05, (1280, 3)), draw.normal(0, 1, 3))
    run: Any = SimpleNamespace(model=model, folder=tmp_path)
    file = tmp_path / "m.keras"
    assert export(run, "keras", file)["max_difference"] < 1e-4
    assert not list(tmp_path.glob("part-*"))
    with zipfile.ZipFile(file) as parts:
        config = json.loads(parts.read("config.json"))
    assert {layer["module"] for layer in config["config"]["layers"]} <= {"keras.layers", "keras.src.ops.core"}
    assert "Lambda" not in {layer["class_name"] for layer in config["config"]["layers"]}
    x = draw.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, keras, numpy as np; model = keras.saving.load_model(sys.argv[1])\n"
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))\n"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    env = os.environ | {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "torch"), "PYTHONPATH": ""}
    command = [sys.executable, "-c", code, str(file), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "crossgraft" not in done.stdout.split()
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), Parts.of(run).said(x)["probabilities"], atol=1e-4)


def test_texts_are_refused_with_a_reason(monkeypatch: Any, tmp_path: Path) -> None:
    texts = ["good fine nice"] * 10 + ["bad poor sad"] * 10
    run = crossgraft.fit(
        target=(texts, ["yes"] * 10 + ["no"] * 10), backbone="words", steps=2, baselines=False, out=tmp_path / "run"
    )
    with pytest.raises(CrossgraftError, match="layers of texts have no counterpart in Keras"):
        export(run, "keras")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("crossgraft.export.NEEDS", {"savedmodel": ()})
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = np.where(x[:, 0] > 0, "a", "b")
    run = crossgraft.fit(target=(x, y), backbone="identity", baselines=False, out=tmp_path / "run")
    (tmp_path / "m.savedmodel").mkdir()
    (tmp_path / "m.savedmodel" / "mine.txt").write_text("mine")
    with pytest.raises(CrossgraftError, match="something else"):
        export(run, "savedmodel", tmp_path / "m.savedmodel")
    assert (tmp_path / "m.savedmodel" / "mine.txt").read_text() == "mine"
