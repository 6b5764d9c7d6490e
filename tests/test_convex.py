from dataclasses import replace

import numpy as np
import pytest

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.seeds import rng
from crossgraft.solve import convex
from crossgraft.solve.convex import Head, Part, certificate, rows_of, solve
from crossgraft.tasks import log_softmax


class Untouched:
    """Features that may not be read."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"x.{name} was read")

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise AssertionError("x was read")


def blobs(n: int, d: int, k: int, use: str = "blobs") -> tuple[np.ndarray, np.ndarray]:
    g = rng(0, use)
    y = np.arange(n) % k
    return g.normal(size=(k, d))[y] + g.normal(size=(n, d)), y


def objective(
    parts: list[Part],
    w: np.ndarray,
    b: np.ndarray,
    ridge: float,
    w0: float | np.ndarray = 0,
    b0: float | np.ndarray = 0,
) -> float:
    """Row by row, from the definition."""
    total = ridge / 2 * (((w - w0) ** 2).sum() + ((b - b0) ** 2).sum())
    for p in parts:
        s = np.ones(len(p.y)) if p.sample_weight is None else p.sample_weight
        norm = s[p.y >= 0].sum()
        for x, y, a in zip(p.x, p.y, s, strict=True):
            if y >= 0:
                z = (x @ w + b)[p.columns]
                logp = z - np.log(np.exp(z).sum())
                q = np.full(len(z), p.label_smoothing / len(z))
                q[list(p.columns).index(y)] += 1 - p.label_smoothing
                total -= p.weight * a / norm * (q @ logp)
    return float(total)


@pytest.fixture
def two() -> list[Part]:
    x, y = blobs(30, 4, 3, "target")
    xs, ys = blobs(50, 4, 3, "source")
    y = np.where(np.arange(30) % 7 == 0, -1, y)
    return [
        Part(x, y, np.array([0, 1, 2]), sample_weight=np.linspace(0.5, 2, 30), label_smoothing=0.1),
        Part(xs, ys + 1, np.array([3, 1, 2]), weight=0.3),
    ]


def test_objective_and_gradient_from_the_definition(two: list[Part]) -> None:
    v = rng(0, "v").normal(size=(5, 4))
    rows = [rows_of(p) for p in two]
    f, gap = certificate(rows, v, 0.01)
    assert f == pytest.approx(objective(two, v[:-1], v[-1], 0.01), abs=1e-12)
    gradient, h = np.zeros_like(v), 1e-6
    for at in np.ndindex(v.shape):
        e = np.zeros_like(v)
        e[at] = h
        gradient[at] = objective(two, (v + e)[:-1], (v + e)[-1], 0.01) - objective(two, (v - e)[:-1], (v - e)[-1], 0.01)
    assert gap == pytest.approx(float(((gradient / 2 / h) ** 2).sum()) / 0.02, rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-1, 1e-3, 1e-5])
def test_optimum_equals_scikit_learns(ridge: float) -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = blobs(120, 6, 4)
    head = solve([Part(x, y, np.arange(4))], 4, ridge=ridge, tolerance=1e-12)
    model = LogisticRegression(C=1 / (120 * ridge), fit_intercept=False, solver="newton-cg", tol=1e-10, max_iter=10_000)
    model.fit(np.hstack([x, np.ones((120, 1))]), y)
    other = model.coef_.T
    assert head.converged
    assert head.objective <= objective([Part(x, y, np.arange(4))], other[:-1], other[-1], ridge) + 1e-10
    np.testing.assert_allclose(np.vstack([head.weight, head.bias]), other, atol=2e-4)


def test_the_gap_bounds_what_is_left(two: list[Part]) -> None:
    best = solve(two, 4, ridge=1e-3, tolerance=1e-13).objective
    rough = solve(two, 4, ridge=1e-3, tolerance=1e-2)
    assert 0 <= rough.objective - best <= rough.gap


def test_partly_shared_columns_against_a_general_minimiser(two: list[Part]) -> None:
    from scipy.optimize import minimize

    found = minimize(lambda v: objective(two, v.reshape(5, 4)[:-1], v.reshape(5, 4)[-1], 0.02), np.zeros(20), tol=1e-10)
    head = solve(two, 4, ridge=0.02, tolerance=1e-10)
    assert head.objective == pytest.approx(found.fun, abs=1e-8)
    assert head.objective == pytest.approx(objective(two, head.weight, head.bias, 0.02), abs=1e-10)


def test_the_span_of_few_rows_gives_the_full_solution() -> None:
    x, y = blobs(12, 40, 3)
    few = solve([Part(x, y, np.arange(3))], 3, ridge=1e-2, tolerance=1e-12)
    # the same rows, each several times: the same objective, but too many rows for the span to be smaller
    many = solve([Part(np.tile(x, (5, 1)), np.tile(y, 5), np.arange(3))], 3, ridge=1e-2, tolerance=1e-12)
    np.testing.assert_allclose(few.weight, many.weight, atol=1e-5)
    np.testing.assert_allclose(few.bias, many.bias, atol=1e-5)


def test_single_precision_reaches_the_same_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(200, 20, 3)
    exact = solve([Part(x, y, np.arange(3))], 3, ridge=1e-4, tolerance=1e-8)
    monkeypatch.setattr(convex, "SMALL", 0)
    single = solve([Part(x, y, np.arange(3))], 3, ridge=1e-4, tolerance=1e-6)
    assert single.converged
    assert 0 <= single.objective - exact.objective + 1e-8 <= 1e-6 + 1e-8


def test_the_low_rank_preconditioner_changes_nothing_but_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgraft.solve import preconditioner

    x, y = blobs(300, 150, 3)
    plain = solve([Part(x, y, np.arange(3))], 3, ridge=1e-3, tolerance=1e-9)
    monkeypatch.setattr(preconditioner, "CHEAP", 0)
    low_rank = solve([Part(x, y, np.arange(3))], 3, ridge=1e-3, tolerance=1e-9)
    assert low_rank.objective == pytest.approx(plain.objective, abs=1e-8)


def test_missing_labels_are_ignored() -> None:
    x, y = blobs(40, 3, 2)
    hidden = np.where(np.arange(40) < 10, -1, y)
    nan = x.copy()
    nan[:10] = np.nan
    a = solve([Part(nan, hidden, np.arange(2))], 2, ridge=1e-2)
    b = solve([Part(x[10:], y[10:], np.arange(2))], 2, ridge=1e-2)
    np.testing.assert_array_equal(a.weight, b.weight)


def test_a_part_of_weight_zero_is_not_read() -> None:
    x, y = blobs(40, 3, 2)
    part = Part(x, y, np.arange(2))
    nothing = Part(Untouched(), y, np.arange(2), weight=0.0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(solve([part, nothing], 2, ridge=1e-2).weight, solve([part], 2, ridge=1e-2).weight)


def test_prior_and_columns_that_nothing_sees() -> None:
    x, y = blobs(40, 3, 2)
    prior = Head(rng(0, "p").normal(size=(3, 3)), np.array([1.0, 2.0, 3.0]))
    part = Part(x, y, np.arange(2))
    head = solve([part], 3, ridge=1e-2, prior=prior, tolerance=1e-10)
    np.testing.assert_array_equal(head.weight[:, 2], prior.weight[:, 2])
    assert head.objective == pytest.approx(
        objective([part], head.weight, head.bias, 1e-2, prior.weight, prior.bias), abs=1e-12
    )
    stiff = solve([part], 3, ridge=1e6, prior=prior)
    np.testing.assert_allclose(stiff.weight, prior.weight, atol=1e-5)


def test_a_missing_class_and_a_start_leave_the_optimum_where_it_is() -> None:
    x, y = blobs(40, 3, 2)
    part = Part(x, y, np.arange(3))
    cold = solve([part], 3, ridge=1e-3, tolerance=1e-12)
    warm = solve([part], 3, ridge=1e-3, tolerance=1e-12, start=Head(np.ones((3, 3)), np.ones(3)))
    assert np.isfinite(cold.weight).all()
    np.testing.assert_allclose(cold.weight, warm.weight, atol=1e-4)
    logp = log_softmax(x @ cold.weight + cold.bias)
    assert np.exp(logp[:, 2]).max() < 0.2


def test_same_result_twice(two: list[Part]) -> None:
    a, b = solve(two, 4, ridge=1e-3), solve(two, 4, ridge=1e-3)
    np.testing.assert_array_equal(a.weight, b.weight)


def test_what_cannot_be_solved_says_why(two: list[Part]) -> None:
    with pytest.raises(UsageError, match="ridge of 0"):
        solve(two, 4, ridge=0)
    with pytest.raises(UsageError, match="label 3 of row 2 is not among the columns"):
        solve([replace(two[1], columns=np.array([1, 2]))], 4, ridge=1)
    bad = two[0].x.copy()
    bad[5, 1] = np.inf
    with pytest.raises(CrossgraftError, match="features of row 5 are not finite"):
        solve([replace(two[0], x=bad)], 4, ridge=1)


@pytest.mark.parametrize("ridge", [1e-1, 1e-3, 1e-5])
def test_large_heads_with_columns_of_their_own_reach_the_same_optimum(
    two: list[Part], ridge: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = solve(two, 4, ridge=ridge, tolerance=1e-11).objective
    monkeypatch.setattr(convex, "SMALL", 0)
    found = solve(two, 4, ridge=ridge)
    assert found.converged
    assert -1e-9 < found.objective - least < 2e-6


@pytest.mark.parametrize("k", [3, 12])
def test_large_heads_are_left_as_near_to_the_optimum_as_small_ones(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(700, 120, k)
    part = Part(x.astype(np.float32), y, np.arange(k))
    least = solve([part], k, ridge=1e-3, tolerance=1e-11).objective
    monkeypatch.setattr(convex, "SMALL", 0)
    found = solve([part], k, ridge=1e-3)
    assert found.converged
    assert -1e-9 < found.objective - least < 2e-6
