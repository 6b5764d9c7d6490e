"""Models of KerasHub: as backbones, and in JointModel on every backend that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from crossgraft.backbones.keras_models import keras_model
from crossgraft.errors import CrossgraftError

PROBE = Path(__file__).with_name("keras_hub_probe.py")
IN_A_RUN = """
import sys, keras, keras_hub, numpy as np, crossgraft
body = keras_hub.models.ResNetBackbone([64], [3], [64], [1], [1], "basic_block", image_shape=(16, 16, 3))
body.save(sys.argv[1] + "/hub.keras")
x = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
run = crossgraft.fit(target=(x, ["a", "b"] * 20), backbone=sys.argv[1] + "/hub.keras", schedule=sys.argv[2], steps=2,
                     baselines=False, guard=False, out=sys.argv[1] + "/run")
from crossgraft.domains import open_domain
from crossgraft import features
backbone = run.model.backbone
found = features.embed(backbone, features.pixels(open_domain(x, "x"), backbone).values)
if sys.argv[2] == "frozen":
    expected = body.predict(x.astype("float32") / 255, verbose=0).mean((1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-4)
before = [row["probabilities"] for row in run.predict(x)]
assert before == [row["probabilities"] for row in crossgraft.Run.open(sys.argv[1] + "/run").predict(x)]
"""
OPENED = (
    "import sys; from crossgraft.backbones.keras_models import keras_model; print(keras_model(sys.argv[1], None).dim)"
)


def ran(code: list[str], backend: str) -> str:
    env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


needs_hub = pytest.mark.skipif(
    find_spec("keras_hub") is None, reason="keras_hub is not installed: pip install keras-hub"
)


@needs_hub
@pytest.mark.parametrize("backend", ["torch", "tensorflow", "jax"])
def test_its_models_learn_jointly_and_predict_the_same_when_loaded(backend: str, tmp_path: Path) -> None:
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    ran([str(PROBE), str(tmp_path)], backend)
    for name in ("pictures", "texts"):
        found = np.load(tmp_path / f"{name}.npz")
        assert found["losses"][-1] < found["losses"][0]
        np.testing.assert_allclose(found["after"], found["before"], atol=1e-5)


@needs_hub
@pytest.mark.parametrize("schedule", ["frozen", "full"])
def test_a_file_of_its_classes_is_a_backbone(schedule: str, tmp_path: Path) -> None:
    ran(["-c", IN_A_RUN, str(tmp_path), schedule], "torch")
    assert ran(["-c", OPENED, str(tmp_path / "hub.keras")], "torch").strip() == "64"  # it imports what it needs


@pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed")
@pytest.mark.skipif(find_spec("keras_hub") is not None, reason="keras_hub is installed")
def test_without_it_the_library_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "hub.keras", "w") as file:
        file.writestr("config.json", '{"module": "keras_hub.src.models.resnet", "registered_name": "keras_hub>ResNet"}')
    with pytest.raises(CrossgraftError, match="KerasHub"):
        keras_model(str(tmp_path / "hub.keras"), None)
