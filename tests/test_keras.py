"""crossgraft.keras beside the terms in torch, on every backend that is installed, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.objective.domain_terms import dann, domain_losses, ramp, reverse
from crossgraft.objective.heads import Unit
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View

pytestmark = pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed: pip install '.[keras]'")
PROBE = Path(__file__).with_name("keras_probe.py")
BACKENDS = ["torch", "tensorflow", "jax"]


@pytest.fixture(scope="module")
def given() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    f = {
        "x_t": (5, 4), "x_s": (7, 4), "logits": (5, 3), "f_s": (7, 6), "f_t": (5, 6), "w_d": (6, 1), "w": (4, 6),
        "b": (6,), "bn0": (6,), "bn1": (6,), "bn2": (6,), "w_h": (6, 3), "b_h": (3,), "d0": (6, 128), "d1": (128,),
        "d2": (128, 128), "d3": (128,), "d4": (128, 1), "d5": (1,),
    }  # fmt: skip
    arrays = {k: draw.normal(0, 0.05 if k[0] == "d" else 1, s).astype(np.float32) for k, s in f.items()}
    arrays["bn3"] = draw.uniform(0.5, 2, 6).astype(np.float32)
    return arrays | {"y_t": np.array([0, 1, -1, 1, 0]), "y_s": np.array([0, 1, 2, 0, 1, 2, 0])}


@pytest.fixture(scope="module", params=BACKENDS)
def found(request: Any, given: dict[str, np.ndarray], tmp_path_factory: Any) -> dict[str, Any]:
    backend = request.param
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: make test-tensorflow")
    folder = tmp_path_factory.mktemp(backend)
    np.savez(folder / "given.npz", **given)
    env = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(PROBE), str(folder / "given.npz"), str(folder / "out.npz")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    out = dict(np.load(folder / "out.npz"))
    assert out.pop("backend") == backend
    return out


def view(logits: Tensor, labels: np.ndarray, features: Tensor | None = None) -> View:
    return View(logits if features is None else features, logits, torch.tensor(labels))


def test_terms_have_the_values_and_gradients_of_those_in_torch(
    given: dict[str, np.ndarray], found: dict[str, Any]
) -> None:
    t = {k: torch.tensor(v, requires_grad=v.dtype == np.float32) for k, v in given.items()}
    ce = cross_entropy(view(t["logits"], given["y_t"]))
    ce.backward()
    z = [reverse(t[k], ramp(0.3)) @ t["w_d"] for k in ("f_s", "f_t")]
    domain = sum(x.mean() for x in domain_losses(*z)) / 2
    domain.backward()
    for name, expected in {
        "ce": ce, "ce_gradient": t["logits"].grad, "domain": domain, "g_s": t["f_s"].grad, "g_t": t["f_t"].grad,
        "g_w": t["w_d"].grad,
    }.items():  # fmt: skip
        np.testing.assert_allclose(found[name], expected.detach().numpy(), atol=1e-5, err_msg=name)


class Net(nn.Module):
    """The model of the probe in torch; weights of the domain classifier divided by 5, as they are kept."""

    def __init__(self, g: dict[str, np.ndarray]) -> None:
        super().__init__()
        names = ["w", "b", "bn0", "bn1", "w_h", "b_h", *(f"d{i}" for i in range(6))]
        self.w = nn.ParameterDict({k: nn.Parameter(torch.tensor(g[k])) for k in names})
        self.mean, self.var = torch.tensor(g["bn2"]), torch.tensor(g["bn3"])

    def features(self, x: np.ndarray) -> Tensor:
        w = self.w
        f = torch.tanh(torch.tensor(x) @ w["w"] + w["b"])
        return F.batch_norm(f, self.mean, self.var, w["bn0"], w["bn1"], eps=1e-3)

    def domain(self, f: Tensor) -> Tensor:
        w = {k: 5 * v for k, v in self.w.items()}
        first = torch.relu(Unit()(f) @ w["d0"] + w["d1"])
        return torch.relu(first @ w["d2"] + w["d3"]) @ w["d4"] + w["d5"]


def test_two_steps_of_fit_are_two_steps_in_torch(given: dict[str, np.ndarray], found: dict[str, Any]) -> None:
    net = Net(given)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    seen = []
    for step in range(2):
        f_t, f_s = net.features(given["x_t"]), net.features(given["x_s"])
        logits = [f @ net.w["w_h"] + net.w["b_h"] for f in (f_t[:], f_s)]
        target = view(logits[0][:, :2], given["y_t"], f_t)
        source = view(logits[1][:, [1, 2, 0]], given["y_s"], f_s)
        terms = [
            cross_entropy(target),
            cross_entropy(source),
            dann(source, target, domain=net.domain, progress=step / 2),
        ]
        loss = terms[0] + 0.5 * terms[1] + 0.4 * terms[2]
        right = (target.logits.argmax(1) == target.labels)[target.labels >= 0].float().mean()
        seen.append([v.item() for v in (loss, *terms, right)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    np.testing.assert_allclose(found["history"], np.mean(seen, 0), atol=1e-5)
    expected = {f"after{i}": net.w[k] for i, k in enumerate(("w", "b", "bn0", "bn1"))}
    expected |= {"after4": net.mean, "after5": net.var, "after_h0": net.w["w_h"], "after_h1": net.w["b_h"]}
    expected |= {f"after_d{i}": net.w[f"d{i}"] for i in range(6)}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.detach().numpy(), atol=1e-5, err_msg=name)
    with torch.no_grad():
        logits = net.features(given["x_t"]) @ net.w["w_h"] + net.w["b_h"]
        ce = cross_entropy(view(logits[:, :2], given["y_t"])).item()
    assert found["evaluated"][1:] == pytest.approx([ce, ce], abs=1e-5)  # accuracy, loss, target


def test_what_is_saved_predicts_the_same(found: dict[str, Any]) -> None:
    assert found["p"].shape == (7, 2)
    np.testing.assert_allclose(found["p"].sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(found["p_again"], found["p"])
    np.testing.assert_allclose(found["p_plain"], found["p"], atol=1e-6)


def test_tf_data_trains(found: dict[str, Any]) -> None:
    if "tf_data" not in found:
        pytest.skip("tensorflow is not installed: make test-tensorflow")
    assert found["tf_data"][-1] < found["tf_data"][0]
    assert np.isfinite(found["tf_validated"]).all()


@pytest.fixture(scope="module")
def ck() -> Any:
    if os.environ.get("KERAS_BACKEND", "torch") != "torch":
        pytest.skip("keras runs on another backend in this process")
    import crossgraft.keras as door

    return door


def net(ck: Any) -> Any:
    import keras

    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh")])


def test_a_weight_of_zero_reads_nothing(ck: Any, given: dict[str, np.ndarray]) -> None:
    import keras

    class Broken(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            raise AssertionError("the source was read")

    after = []
    for lam, source in ((0.0, Broken()), (0.0, None)):
        keras.utils.set_random_seed(0)
        model = ck.JointModel(net(ck), classes=2, lam=lam)
        model.compile("adam")
        history = model.fit(model.joined((given["x_t"], given["y_t"]), source), epochs=2, verbose=0).history
        assert set(history) == {"loss", "target"}
        after.append(model.get_weights())
    for a, b in zip(*after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lambda_may_be_a_schedule_of_the_step(ck: Any, given: dict[str, np.ndarray], tmp_path: Path) -> None:
    import keras

    falling = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])  # 1 at step 0, then nothing
    model = ck.JointModel(net(ck), classes=2, lam=falling)
    model.compile(keras.optimizers.SGD(0.0))
    y_s = given["y_s"] % 2
    losses = model.fit(model.joined((given["x_t"], given["y_t"]), (given["x_s"], y_s)), epochs=2, verbose=0).history
    both = losses["target"][0] + losses["source"][0]
    assert losses["loss"] == pytest.approx([both, losses["target"][0]], abs=1e-5)
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").lam.get_config() == falling.get_config()


def test_rows_without_a_label_serve_the_domain_term_alone(ck: Any, given: dict[str, np.ndarray]) -> None:
    import keras

    values = []
    for unlabelled in (None, given["x_t"] + 3):
        keras.utils.set_random_seed(0)
        model = ck.JointModel(net(ck), classes=2, lam=0.0, rho=1.0)
        model.compile(keras.optimizers.SGD(0.0))
        data = model.joined((given["x_t"], given["y_t"]), (given["x_s"], given["y_s"] % 2), unlabelled)
        values.append(model.fit(data, verbose=0).history)
        assert set(values[-1]) == {"loss", "target", "domain"}
    assert values[0]["target"] == values[1]["target"]
    assert values[0]["domain"] != values[1]["domain"]


def test_pictures_are_pooled_and_a_dict_of_inputs_is_taken(ck: Any) -> None:
    import keras

    x = np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)
    y = np.arange(6) % 2
    layers = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3)])
    model = ck.JointModel(layers, classes=2, augment=keras.layers.RandomFlip("horizontal"))
    model.compile("adam")
    model.fit(model.joined((x, y), (x, y)), verbose=0)
    expected = layers.predict(x, verbose=0).mean((1, 2)) @ model.head.get_weights()[0] + model.head.get_weights()[1]
    np.testing.assert_array_equal(model.predict(x, verbose=0).argmax(1), expected.argmax(1))
    np.testing.assert_allclose(model.plain().predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)

    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    two = keras.Model({"a": a, "b": b}, keras.layers.Concatenate()([a, b]))
    model = ck.JointModel(two, classes=2)
    model.compile("adam")
    inputs = {"a": np.ones((6, 2), np.float32), "b": np.ones((6, 3), np.float32)}
    model.fit(model.joined((inputs, y), (inputs, y)), verbose=0)
    assert model.predict(inputs, verbose=0).shape == (6, 2)


def test_what_cannot_mean_anything_is_said(ck: Any, given: dict[str, np.ndarray]) -> None:
    import keras

    model = ck.JointModel(net(ck), classes=2)
    with pytest.raises(UsageError, match="leave it out"):
        model.compile("adam", loss="mse")
    model.compile("adam", loss="sparse_categorical_crossentropy")
    with pytest.raises(UsageError, match="no source"):
        model.joined((given["x_t"], given["y_t"]))
    with pytest.raises(UsageError, match=r"row 1 of the target has label -2"):
        model.joined((given["x_t"][:2], [0, -2]), (given["x_s"], given["y_s"]))
    with pytest.raises(UsageError, match="5 rows and 2 labels"):
        model.joined((given["x_t"], [0, 1]), (given["x_s"], given["y_s"]))
    with pytest.raises(UsageError, match="lam is -1"):
        ck.JointModel(net(ck), classes=2, lam=-1.0)
    with pytest.raises(UsageError, match="names of both"):
        ck.JointModel(net(ck), 2, ["a", "b"])
    with pytest.raises(UsageError, match="one row of features"):
        ck.JointModel(keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(2)]), classes=2)
    with pytest.raises(UsageError, match="all classes together are 3"):
        ck.JointModel(net(ck), ["a", "b"], ["b", "c"], head=keras.layers.Dense(2))
    with pytest.raises(CrossgraftError, match="no labels"):
        model.joined(given["x_t"], (given["x_s"], given["y_s"]))


def test_the_tutorial_of_tensorflow_runs(tmp_path: Path) -> None:
    if find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed: make test-tensorflow")
    from PIL import Image

    draw = np.random.default_rng(0)
    for part, n in (("train", 8), ("val", 4)):
        for k, name in enumerate(("ants", "bees")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 100, (40, 40, 3), dtype=np.uint8) + np.uint8(120 * k)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.jpg")
    code = (
        "import sys, json, pathlib, tensorflow_tutorial as t; "
        "print(json.dumps(t.tutorial(pathlib.Path(sys.argv[1]), 'none', 1, side=32)))"
    )
    env = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    env["PYTHONPATH"] = os.pathsep.join([str(PROBE.parents[1] / "examples"), env.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) == {"untrained", "frozen", "fine_tuned"}
    assert all(0 <= part["accuracy"] <= 1 and part["target"] > 0 for part in said.values())
    assert (tmp_path / "tutorial.keras").is_file()


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed: make test-tensorflow")
@pytest.mark.parametrize("order", ["tensorflow, crossgraft", "crossgraft, tensorflow"])
def test_tensorflow_may_be_there_before_torchvision(order: str) -> None:
    code = f"import {order}\ncrossgraft.fit\nimport torchvision\nprint(int(tensorflow.reduce_sum(tensorflow.ones(3))))"
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "3"
