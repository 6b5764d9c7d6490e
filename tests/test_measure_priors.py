"""Label shift against populations whose frequencies are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.priors import _em, adapted, label_shift


def sample(q: list[float], n: int, seed: int, sharp: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of frequencies q and p_s(y|x) under equal source frequencies, x ~ N(mean of y, 1) in the plane.

    `sharp` above 1 makes the probabilities overconfident.
    """
    draw = np.random.default_rng(seed)
    y = draw.choice(3, n, p=q)
    means = np.array([[0.0, 0], [2, 0], [0, 2]])
    x = means[y] + draw.normal(size=(n, 2))
    z = -0.5 * sharp * ((x[:, None] - means) ** 2).sum(2)
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True), y


FAIR, SHIFTED = [1 / 3] * 3, [0.7, 0.2, 0.1]


@pytest.mark.parametrize("method", ["em", "bbse"])
@pytest.mark.parametrize("sharp", [1.0, 4.0])
def test_the_frequencies_are_found_also_by_an_overconfident_model(method: str, sharp: float) -> None:
    source, y = sample(FAIR, 3000, 0, sharp)
    target, _ = sample(SHIFTED, 3000, 1, sharp)
    found = label_shift(source, y, target, method, resamples=30)
    # three standard errors at 3,000 a side; BBSE sees only the most probable class
    assert found.value == pytest.approx(SHIFTED, abs=0.05 if method == "em" else 0.08)
    assert found.value.sum() == pytest.approx(1)
    assert all(s.low <= s.value <= s.high for s in found.q)
    assert found.weights == pytest.approx(found.value / found.p)
    if method == "em":
        assert found.scale == pytest.approx(1 / sharp, rel=0.1)


def test_em_is_the_maximum_of_its_likelihood() -> None:
    p, _ = sample(SHIFTED, 300, 0)
    prior = np.array([0.2, 0.3, 0.5])

    def negative(u: np.ndarray) -> float:
        q = np.exp(np.append(u, 0.0))
        return -float(np.log((p / prior) @ (q / q.sum())).mean())

    direct = np.exp(np.append(minimize(negative, np.zeros(2), tol=1e-12).x, 0.0))
    assert _em(p, prior, None) == pytest.approx(direct / direct.sum(), abs=1e-4)


def test_bbse_by_hand() -> None:
    yhat, y = [0] * 8 + [1] * 2 + [0] * 1 + [1] * 9, [0] * 10 + [1] * 10
    found = label_shift(np.eye(2)[yhat], np.array(y), np.eye(2)[[0] * 30 + [1] * 70], "bbse", resamples=0)
    q0 = (0.3 - 0.1) / (0.8 - 0.1)  # P_t(yhat=0) = 0.8 q0 + 0.1 (1 - q0)
    assert found.value == pytest.approx([q0, 1 - q0])
    c = np.array([[0.4, 0.05], [0.1, 0.45]])
    assert found.smallest_singular_value == pytest.approx(np.linalg.svd(c)[1][-1])


def test_adapted_probabilities_cost_less_on_the_target() -> None:
    source, y = sample(FAIR, 2000, 0, sharp=3)
    target, labels = sample(SHIFTED, 2000, 1, sharp=3)
    found = label_shift(source, y, target, resamples=0)
    better = adapted(target, found)
    exact, _ = sample(SHIFTED, 2000, 1)
    exact = exact * SHIFTED / (exact * SHIFTED).sum(1, keepdims=True)

    def loss(p: np.ndarray) -> float:
        return float(-np.log(p[np.arange(len(labels)), labels]).mean())

    assert loss(better) < loss(target) - 0.1
    assert loss(better) == pytest.approx(loss(exact), abs=0.01)


def test_a_model_that_tells_nothing_apart_is_said() -> None:
    p = np.tile([0.5, 0.3, 0.2], (60, 1))
    found = label_shift(p, np.arange(60) % 3, p, resamples=3)
    assert any("not identified" in note for note in found.notes)


@pytest.mark.parametrize("method", ["em", "bbse"])
def test_a_class_absent_from_the_source_has_no_weight(method: str) -> None:
    source, y = sample(FAIR, 900, 0)
    keep = y != 2
    found = label_shift(source[keep], y[keep], sample([0.6, 0.4, 0.0], 900, 1)[0], method, resamples=10)
    assert found.value == pytest.approx([0.6, 0.4, 0.0], abs=0.06)
    assert found.weights[2] == 0
    assert "Class 2 has no labelled source example" in found.notes[0]
    assert np.isfinite(adapted(source, found)).all()


def test_what_is_no_distribution_is_named() -> None:
    p, y = sample(FAIR, 20, 0)
    with pytest.raises(CrossgraftError, match="target row 1 is no probability"):
        label_shift(p, y, np.array([[0.5, 0.3, 0.2], [2.0, -1.0, 0.0]]))
    with pytest.raises(UsageError, match="shapes"):
        label_shift(p, y, np.ones((4, 2)) / 2)
    with pytest.raises(CrossgraftError, match="fewer than two classes"):
        label_shift(p, np.zeros(20, dtype=np.int64), p)
    with pytest.raises(UsageError, match="method 'x'"):
        label_shift(p, y, p, "x")  # type: ignore[arg-type]
