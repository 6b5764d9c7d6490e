"""Several sources that weigh differently: given, learned, and honoured by both solvers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View
from crossgraft.sources import by_gaps, by_losses
from crossgraft.transfer import fit

DRAW = np.random.default_rng(0)


def blobs(n: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians on a circle, moved as a whole."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, n)
    at = np.stack([np.cos(2 * np.pi * y / 3), np.sin(2 * np.pi * y / 3)], 1)
    return (2 * at + draw.normal(0, 0.8, (n, 2)) + shift).astype(np.float32), np.array(list("abc"))[y]


GOOD, TARGET = blobs(200, 0.2, 1), blobs(300, 0.0, 2)
SHUFFLED = (blobs(400, 0.0, 3)[0], DRAW.permutation(blobs(400, 0.0, 3)[1]))
FROZEN: dict[str, Any] = {"backbone": "identity", "shots": 5, "baselines": False, "guard": False}


def copies(source: tuple[np.ndarray, np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(source[0], (n, 1)), np.tile(source[1], n)


def test_given_weights_are_those_of_the_means_not_of_the_rows(tmp_path: Path) -> None:
    """Three copies of a source weigh as one where both weigh 1."""
    held = FROZEN | {"lam": 1.0, "ridge": 0.01, "source_weights": (1, 1), "align": "none"}
    one, three = (
        fit(TARGET, [GOOD, copies(SHUFFLED, n)], out=tmp_path / str(n), **held).predict(TARGET[0]) for n in (1, 3)
    )
    a, b = (np.array([list(r["probabilities"].values()) for r in rows]) for rows in (one, three))
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-3)
    pooled = fit(TARGET, [GOOD, copies(SHUFFLED, 3)], out=tmp_path / "p", **held | {"source_weights": "pooled"})
    c = np.array([list(r["probabilities"].values()) for r in pooled.predict(TARGET[0])])
    assert np.abs(a - c).max() > 0.02
    assert [s["weight"] for s in pooled.result["sources"]] == [200 / 1400, 1200 / 1400]


def test_by_rows_is_the_default_to_the_last_bit(tmp_path: Path) -> None:
    plain = fit(TARGET, [GOOD, SHUFFLED], out=tmp_path / "a", **FROZEN)
    asked = fit(TARGET, [GOOD, SHUFFLED], out=tmp_path / "b", source_weights="pooled", **FROZEN)
    assert plain.predict(TARGET[0]) == asked.predict(TARGET[0])


def test_a_source_of_shuffled_labels_weighs_next_to_nothing(tmp_path: Path) -> None:
    run = fit(TARGET, [SHUFFLED, GOOD], out=tmp_path / "auto", source_weights="auto", **FROZEN)
    bad, good = run.result["sources"]
    assert bad["weight"] < 0.02
    assert (bad["measure"], bad["n"], good["n"]) == ("leave-one-out", 400, 200)
    assert bad["value"] > good["value"]
    pooled = fit(TARGET, [SHUFFLED, GOOD], out=tmp_path / "pooled", lam=1.0, **FROZEN).result
    auto = fit(TARGET, [SHUFFLED, GOOD], out=tmp_path / "one", lam=1.0, source_weights="auto", **FROZEN).result
    assert auto["test"]["cross_entropy"]["value"] < pooled["test"]["cross_entropy"]["value"] - 0.1
    page = (tmp_path / "auto" / "report.html").read_text()
    assert "leave-one-out" in page
    assert f"{good['weight']:.3f}" in page


def test_without_target_labels_the_nearer_source_weighs_more(tmp_path: Path) -> None:
    far = blobs(200, 2.5, 4)
    options = FROZEN | {"shots": 0, "source_weights": "auto"}
    run = fit((TARGET[0], None), [far, GOOD], out=tmp_path / "run", **options)
    away, near = run.result["sources"]
    assert away["measure"] == "gap"
    assert away["value"] > near["value"]
    assert near["weight"] > 2 * away["weight"]


def test_the_gradient_loop_honours_weights(tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "mlp", "shots": 0, "steps": 60, "source_steps": 200, "baselines": False}
    found = {
        name: fit(TARGET, [SHUFFLED, GOOD], out=tmp_path / name, source_weights=w, **options).result
        for name, w in (("bad", (1, 0.01)), ("good", (0.01, 1)))
    }
    assert found["good"]["test"]["accuracy"]["value"] > found["bad"]["test"]["accuracy"]["value"] + 0.2
    adapted = fit(TARGET, [SHUFFLED, GOOD], out=tmp_path / "dann", method="dann", source_weights=(0.01, 1), **options)
    assert adapted.result["transfer"]["accuracy"]["value"] > 0.8


def test_weights_of_rows_in_a_cross_entropy_by_hand() -> None:
    z, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, -1, 1, 1])
    w = torch.tensor([0.0, 2.0, 9.0, 0.5, 1.5])
    by_hand = (w * F.cross_entropy(z, y, ignore_index=-1, reduction="none")).sum() / 4
    assert cross_entropy(View(z, z, y, rows={"weight": w})).item() == pytest.approx(by_hand.item(), rel=1e-5)
    even = cross_entropy(View(z, z, y, rows={"weight": torch.ones(5)}))
    assert even.item() == pytest.approx(cross_entropy(View(z, z, y)).item(), rel=1e-6)


def test_weights_from_losses_and_from_gaps() -> None:
    prior = np.array([0.25, 0.75])
    np.testing.assert_allclose(by_losses(np.ones((2, 7)), prior), prior, atol=1e-12)
    few, many = (by_losses(np.array([[0.5] * n, [0.6] * n]), prior)[0] for n in (10, 100))
    assert 0.25 < few < many
    np.testing.assert_allclose(by_gaps(np.zeros(2), prior), prior)
    assert by_gaps(np.array([np.log(2), 0.1]), prior)[0] == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_weights": (1,)}, "1 source_weights for 2 sources"),
        ({"source_weights": (1, 0)}, "holds 0.*above zero"),
        ({"source_weights": (1, float("nan"))}, "holds nan"),
        ({"source_weights": ("much", 1)}, "holds 'much'"),
        ({"source_weights": "even"}, "option source_weights is 'even'"),
        ({"source_weights": (1, 2), "mixup": 0.2}, "mixup mixes rows"),
    ],
)
def test_wrong_weights_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((CrossgraftError, UsageError), match=message):
        fit(TARGET, [GOOD, SHUFFLED], out=tmp_path / "run", **(FROZEN | options))
