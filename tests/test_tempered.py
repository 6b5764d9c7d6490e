"""The temperature of an adapted model: by held-out labels, each judged at the temperature of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_methods import FAST, SOURCE, TARGET
from torch import nn

from crossgraft import fit
from crossgraft.backbones.given import from_module
from crossgraft.choose import HeldOut
from crossgraft.measure.calibration import temperature
from crossgraft.measure.unknown import energy
from crossgraft.objective.algebra import ce
from crossgraft.solve.fitted import Fitted
from crossgraft.tasks import log_softmax
from crossgraft.tempered import tempered


def given(z: np.ndarray, y: np.ndarray) -> tuple[Any, Fitted, HeldOut]:
    """A job whose labels are `y`, a model, and what was said of them held out."""
    at = np.arange(len(y))
    side = SimpleNamespace(labels=y, losses=lambda log_p, rows: -log_p[np.arange(len(rows)), y[rows]])
    job: Any = SimpleNamespace(target=side, rows=at, selection="folds")
    model = Fitted(from_module(nn.Identity(), 2), np.eye(2), np.array([1.0, 2.0]), ce("target"), "adapt")
    return job, model, HeldOut(-log_softmax(z)[at, y], log_softmax(z), energy(z))


def test_a_model_that_is_too_sure_gets_the_temperature_of_its_held_out_labels() -> None:
    z, y = np.array([[8.0, 0.0]] * 8 + [[1.0, 9.0]] * 4), np.array([0] * 6 + [1] * 6)
    job, model, held = given(z, y)
    cooler, evidence = tempered(job, model, held)
    t = temperature(z, y)
    assert t > 4
    assert cooler.temperature == pytest.approx(t)
    np.testing.assert_allclose(cooler.weight, np.eye(2) / t)
    np.testing.assert_allclose(cooler.bias, np.array([1.0, 2.0]) / t)
    np.testing.assert_allclose(evidence.log_probabilities, log_softmax(z / t), atol=1e-9)
    np.testing.assert_allclose(evidence.energies, energy(z / t), atol=1e-9)
    for i in (0, 6):  # right, and wrong
        rest = np.arange(12) != i
        own = -log_softmax(z[i : i + 1] / temperature(z[rest], y[rest]))[0, y[i]]
        assert evidence.losses[i] == pytest.approx(own, abs=1e-6)
    in_sample = -log_softmax(z / t)[np.arange(12), y].mean()
    assert in_sample < evidence.losses.mean() < held.losses.mean()


def test_a_model_that_is_not_too_sure_stays_as_it_is() -> None:
    z, y = np.array([[0.5, 0.0], [0.0, 0.5]] * 3), np.array([0, 1] * 3)  # all right: no temperature is low enough
    job, model, held = given(z, y)
    same, evidence = tempered(job, model, held)
    assert same.temperature == 1.0
    np.testing.assert_array_equal(same.weight, model.weight)
    np.testing.assert_allclose(evidence.losses, held.losses)


def test_nothing_is_fitted_to_one_example_or_without_probabilities() -> None:
    job, model, held = given(np.array([[9.0, 0.0]]), np.array([1]))
    assert tempered(job, model, held) == (model, held)
    losses = HeldOut(np.array([1.0, 2.0]))
    assert tempered(job, model, losses) == (model, losses)


def test_a_sure_method_is_scored_and_delivered_at_its_temperature(tmp_path: Path) -> None:
    noisy = TARGET[0] + np.random.default_rng(2).normal(0, 2.0, TARGET[0].shape).astype(np.float32), TARGET[1]
    asked: dict[str, Any] = {**FAST, "guard": True, "shots": 5}
    run = fit(noisy, SOURCE, method="mcc", out=tmp_path / "run", **asked)
    result = run.result
    assert result["temperature"] > 1.5
    before = fit(noisy, SOURCE, method="mcc", out=tmp_path / "raw", **asked | {"guard": False}).result
    assert before["temperature"] == 1.0
    assert result["transfer"]["accuracy"] == before["transfer"]["accuracy"]
    assert result["transfer"]["cross_entropy"]["value"] < before["transfer"]["cross_entropy"]["value"]
    assert "temperature by held-out labels" in (tmp_path / "run" / "report.html").read_text()
