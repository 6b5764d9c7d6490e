"""Keras models as backbones: their features, their groups, what is refused."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import crossgraft
from crossgraft import backbones
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features import features, pixels

if find_spec("keras") is None:
    pytest.skip("keras is not installed: pip install '.[keras]'", allow_module_level=True)
if os.environ.get("KERAS_BACKEND", "torch") != "torch":
    pytest.skip("keras runs on another backend in this process", allow_module_level=True)
from crossgraft.backbones.keras_backend import imported
from crossgraft.backbones.keras_models import keras_model

keras = imported("torch")
L = keras.layers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A classifier of pictures 12 x 12, with batch normalisation whose statistics are not those of nothing."""
    keras.utils.set_random_seed(0)
    net = keras.Sequential([
        keras.Input((12, 12, 3)), L.Rescaling(1 / 127.5, -1.0), L.Conv2D(8, 3, name="block_1_conv"),
        L.BatchNormalization(name="block_1_norm"), L.ReLU(), L.Conv2D(12, 3, strides=2, name="block_2_conv"), L.ReLU(),
        L.GlobalAveragePooling2D(), L.Dropout(0.5), L.Dense(4, "softmax", name="out"),
    ])  # fmt: skip
    net.get_layer("block_1_norm").set_weights([np.full(8, v, np.float32) for v in (1.2, 0.1, 0.2, 0.5)])
    net.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def test_features_are_those_before_the_classifier(file: Path) -> None:
    domain = open_domain(np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8), "x")
    backbone = backbones.load(str(file), domain)
    whole = keras.saving.load_model(file)
    x = np.asarray(pixels(domain, backbone).values)
    expected = keras.Model(whole.inputs, whole.get_layer("out").input).predict(x.astype(np.float32), verbose=0)
    np.testing.assert_allclose(features(domain, backbone, engine="torch").values, expected, atol=1e-5)
    np.testing.assert_allclose(features(domain, backbone).values, expected, atol=2e-2)  # bfloat16 where the CPU has it
    head = backbone.source_head()
    logits = expected @ head.weight + head.bias
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(p, whole.predict(x.astype(np.float32), verbose=0), atol=1e-5)
    assert backbone.groups == (("block_1", ("block_1_conv", "block_1_norm")), ("block_2", ("block_2_conv",)))


def test_its_layers_learn_and_its_statistics_do_not(file: Path) -> None:
    backbone = keras_model(str(file), None)
    own = backbone.fresh(0)
    before = {k: v.clone() for k, v in own.state_dict().items()}
    optimiser = torch.optim.SGD(own.parameters(), 0.1)
    own.train()
    own(torch.rand(4, 3, 12, 12) * 255).square().sum().backward()
    optimiser.step()
    moved = {k for k, v in own.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k, _ in own.named_parameters()}
    assert {k for k in before if "moving" in k} == {k for k, _ in own.named_buffers()}
    for k, v in backbone.module.state_dict().items():  # the copy alone has moved
        assert torch.equal(v, before[k])


def test_a_run_that_moved_its_layers_opens_again(file: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = (draw.random((60, 12, 12, 3)) * 120 + 120 * (np.arange(60) % 2)[:, None, None, None]).astype(np.uint8)
    y = [str(i % 2) for i in range(60)]
    run = crossgraft.fit(
        target=(x, y), source=(x[:40] // 2, y[:40]), backbone=str(file), schedule="lp_ft", steps=4, lam=0.3,
        guard=False, baselines=False, out=tmp_path / "run",
    )  # fmt: skip
    weights = run.model.backbone.module.state_dict()
    assert any(not torch.equal(v, weights[k]) for k, v in keras_model(str(file), None).module.state_dict().items())
    assert crossgraft.Run.open(run.folder).predict(x[:5]) == run.predict(x[:5])
    file.unlink()
    with pytest.raises(CrossgraftError, match=r"net\.keras"):
        crossgraft.Run.open(run.folder).predict(x[:5])


def test_vectors_too(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((3,)), L.Dense(8, "relu"), L.Dense(6, "relu")]).save(tmp_path / "v.keras")
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    y = np.where(x[:, 0] > 0, "a", "b")
    run = crossgraft.fit(target=(x, y), backbone=str(tmp_path / "v.keras"), baselines=False, out=tmp_path / "run")
    assert run.model.backbone.dim == 6
    assert run.result["test"]["accuracy"]["value"] > 0.6


@pytest.mark.parametrize(
    ("name", "mean", "bgr"),
    [("mobilenetv2_1.00_96", 0.5, False), ("resnet50", 123.68 / 255, True), ("resnet50v2", 0.5, False),
     ("densenet121", 0.485, False), ("efficientnetb0", 0.0, False), ("mine", 0.0, False)],
)  # fmt: skip
def test_how_pictures_are_scaled_is_known_by_name(name: str, mean: float, bgr: bool, tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    net = keras.Model(inputs, L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(inputs)), name=name)
    net.save(tmp_path / "m.keras")
    backbone = keras_model(str(tmp_path / "m.keras"), None)
    assert backbone.preprocess is not None
    assert backbone.preprocess.mean[0] == mean
    p = backbone.preprocess
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    normal = torch.tensor(((x / 255 - p.mean) / p.std).transpose(0, 3, 1, 2), dtype=torch.float32)
    asked = x[..., ::-1] - [103.939, 116.779, 123.68] if bgr else (x / 255 - p.mean) / p.std
    with torch.no_grad():
        np.testing.assert_allclose(
            backbone.module(normal), net.predict(asked.astype(np.float32), verbose=0), rtol=1e-4, atol=1e-4
        )


def test_the_tutorials_model_scales_by_itself(tmp_path: Path) -> None:
    inputs = keras.Input((32, 32, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(L.RandomFlip("horizontal")(inputs))
    base = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    x = base(x, training=False)
    x = L.Dropout(0.2)(L.GlobalAveragePooling2D()(x))
    keras.Model(inputs, L.Dense(1, "sigmoid")(x)).save(tmp_path / "tutorial.keras")
    backbone = keras_model(str(tmp_path / "tutorial.keras"), None)
    assert backbone.preprocess is not None
    assert backbone.preprocess.std == (1 / 255,) * 3
    assert backbone.dim == 1280
    assert [group for group, _ in backbone.groups][-3:] == ["block_15", "block_16", "Conv_1"]


def test_code_in_a_file_is_not_executed(tmp_path: Path) -> None:
    net = keras.Sequential([keras.Input((3,)), L.Lambda(lambda v: v + 1), L.Dense(2)])
    net.save(tmp_path / "code.keras")
    with pytest.raises(CrossgraftError, match="Lambda layer"):
        keras_model(str(tmp_path / "code.keras"), None)

    class Own(L.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    keras.Sequential([keras.Input((3,)), Own(), L.Dense(2)]).save(tmp_path / "own.keras")
    with pytest.raises(CrossgraftError, match="does not know"):
        keras_model(str(tmp_path / "own.keras"), None)


def test_what_is_no_backbone_is_said(file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.keras").write_bytes(b"nothing")
    with pytest.raises(CrossgraftError, match=r"bad\.keras cannot be read"):
        keras_model(str(tmp_path / "bad.keras"), None)
    with pytest.raises(CrossgraftError, match="there is no file"):
        keras_model("missing.keras", None)
    with pytest.raises(UsageError, match="MobileNetV2"):
        keras_model("keras/MobilNetV2", None)
    with pytest.raises(UsageError, match="holds its own"):
        keras_model(str(file), "random")
    with pytest.raises(UsageError, match="reads images, not vectors"):
        backbones.load(str(file), open_domain(np.zeros((4, 3)), "x"))
    keras.Sequential([keras.Input((5, 3)), L.LSTM(2)]).save(tmp_path / "series.keras")
    with pytest.raises(UsageError, match="square pictures or vectors"):
        keras_model(str(tmp_path / "series.keras"), None)
