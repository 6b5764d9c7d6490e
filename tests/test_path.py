from dataclasses import replace

import numpy as np
import pytest
from test_convex import Untouched, blobs

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.seeds import rng
from crossgraft.solve import path as path_module
from crossgraft.solve.convex import Head, Part, rows_of, solve
from crossgraft.solve.loo import formula, refits
from crossgraft.solve.newton import minimise
from crossgraft.solve.path import path, scaling
from crossgraft.solve.pick import RULES, pick
from crossgraft.tasks import log_softmax


def brute(parts: list[Part], n_columns: int, ridge: float, prior: Head | None = None) -> np.ndarray:
    """Leave-one-out losses by solving afresh: the other rows keep the weight that they had."""
    target, out = parts[0], []
    labelled = np.flatnonzero(target.y >= 0)
    for i in labelled:
        y = target.y.copy()
        y[i] = -1
        left = replace(target, y=y, weight=1 - 1 / len(labelled))
        head = solve([left, *parts[1:]], n_columns, ridge=ridge, tolerance=1e-11, prior=prior)
        z = (target.x[i] @ head.weight + head.bias)[target.columns]
        out.append(-log_softmax(z[None])[0, list(target.columns).index(target.y[i])])
    return np.array(out)


@pytest.fixture
def parts() -> list[Part]:
    x, y = blobs(40, 5, 4, "target")
    xs, ys = blobs(90, 5, 4, "source")
    scale = scaling(x, xs)
    y = np.where(np.arange(40) % 11 == 3, -1, y)
    return [Part(scale.apply(x), y, np.array([0, 1, 2, 3])), Part(scale.apply(xs), ys + 1, np.array([1, 2, 3, 4]))]


def test_formula_and_refits_against_solving_afresh(parts: list[Part]) -> None:
    for lam, ridge, near in ((0.0, 0.1, 0.02), (0.5, 0.1, 0.02), (0.5, 0.01, 0.1)):
        some = [parts[0]] + ([replace(parts[1], weight=lam)] if lam else [])
        truth = brute(some, 5, ridge)
        rows = [rows_of(p) for p in some]
        v = minimise(rows, 5, np.array([ridge]), np.zeros((1, 5, 6)), 1e-12)
        at, ps = np.arange(len(rows[0].x)), [p[0] for p in v.probs]
        label = rows[0].label
        for how, bound in (("formula", near), ("refits", 1e-4)):
            if how == "formula":
                z = formula(rows, 5, ridge, v.v[0], ps, at, v.preconditioner, 0)
            else:
                z = refits(rows, 5, ridge, v.v[0], ps, at, 1e-10)
            losses = -log_softmax(z)[at, label]
            assert abs(losses.mean() - truth.mean()) < bound / 5
            np.testing.assert_allclose(losses, truth, atol=bound)


def test_formula_on_the_features_that_move_the_rows(parts: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer rows than features, groups of them, thinned to a basis: near the formula on all features."""
    from crossgraft.solve import loo

    x, y = blobs(20, 30, 3, "wide")
    xs, ys = blobs(200, 30, 3, "wide source")
    scale = scaling(x, xs)
    rows = [
        rows_of(Part(scale.apply(x), y, np.arange(3))),
        rows_of(Part(scale.apply(xs), ys, np.arange(3), weight=0.5)),
    ]
    found = minimise(rows, 3, np.array([0.01]), np.zeros((1, 3, 31)), 1e-12)
    args = (rows, 3, 0.01, found.v[0], [p[0] for p in found.probs], np.arange(20), found.preconditioner, 0)
    every = formula(*args)
    monkeypatch.setattr(loo, "WIDEST", 60)
    np.testing.assert_allclose(formula(*args), every, atol=0.1)
    assert abs(log_softmax(formula(*args)) - log_softmax(every)).mean() < 0.01


def test_every_point_equals_solving_afresh(parts: list[Part]) -> None:
    x = replace(parts[0], y=np.where(np.arange(40) < 18, parts[0].y, -1))
    found = path(x, parts[1], 5, lams=[0, 0.2, 2], ridges=[1e-2, 1e-1])
    assert found.exact.all()
    for i, lam in enumerate(found.lams):
        for j, ridge in enumerate(found.ridges):
            truth = brute([x] + ([replace(parts[1], weight=lam)] if lam else []), 5, ridge)
            np.testing.assert_allclose(found.losses[i, j], truth, atol=0.02)
            assert abs(found.mean[i, j] - truth.mean()) < 0.005
    head = found.head(0.2, 1e-2)
    same = solve([x, replace(parts[1], weight=0.2)], 5, ridge=1e-2, tolerance=1e-10)
    assert head.objective == pytest.approx(same.objective, abs=2e-6)


def test_what_is_chosen_is_exact(parts: list[Part]) -> None:
    found = path(parts[0], parts[1], 5, lams=[0, 0.1, 1], ridges=[1e-4, 1e-3, 1e-2, 1e-1])
    assert not found.exact.all()
    for rule in RULES:
        point = found.choose(rule)
        truth = brute([parts[0]] + ([replace(parts[1], weight=point.lam)] if point.lam else []), 5, point.ridge)
        assert abs(point.loo - truth.mean()) < 0.01
        assert found.exact[list(found.lams).index(point.lam), list(found.ridges).index(point.ridge)].all()


def test_lambda_zero_does_not_read_the_source(parts: list[Part]) -> None:
    unread = replace(parts[1], x=Untouched())  # type: ignore[arg-type]
    a = path(parts[0], unread, 5, lams=[0], ridges=[0.1])
    b = path(parts[0], None, 5, ridges=[0.1])
    np.testing.assert_array_equal(a.losses, b.losses)
    np.testing.assert_array_equal(a.choose().head.weight, b.choose().head.weight)


def test_a_source_of_other_classes_reaches_nothing(parts: list[Part]) -> None:
    apart = replace(parts[1], y=parts[1].y + 3, columns=np.array([4, 5, 6, 7]))
    found = path(parts[0], apart, 8, lams=[0, 0.5, 5], ridges=[1e-2])
    assert not found.reaches
    alone = found.head(0, 1e-2)
    for lam in (0.5, 5):
        np.testing.assert_array_equal(found.losses[found.lams == lam], found.losses[:1])
        head = found.head(lam, 1e-2)
        np.testing.assert_array_equal(head.weight[:, :4], alone.weight[:, :4])
        assert abs(head.weight[:, 4:]).max() > 0.1
        joint = solve([parts[0], replace(apart, weight=lam)], 8, ridge=1e-2, tolerance=1e-10)
        np.testing.assert_allclose(head.weight, joint.weight, atol=0.02)


def test_prior_is_what_rows_are_measured_from(parts: list[Part]) -> None:
    prior = Head(rng(0, "prior").normal(size=(5, 5)), np.arange(5.0))
    found = path(parts[0], None, 5, ridges=[0.1], prior=prior)
    truth = brute(parts[:1], 5, 0.1, prior)
    assert abs(found.mean[0, 0] - truth.mean()) < 0.01


def test_few_rows_in_many_features() -> None:
    x, y = blobs(12, 50, 3)
    xs, ys = blobs(20, 50, 3, "more")
    found = path(Part(x, y, np.arange(3)), Part(xs, ys, np.arange(3)), 3, lams=[0, 0.5], ridges=[0.1, 1.0])
    truth = brute([Part(x, y, np.arange(3)), Part(xs, ys, np.arange(3), weight=0.5)], 3, 0.1)
    np.testing.assert_allclose(found.losses[1, 0], truth, atol=0.02)


def test_rules_of_choice() -> None:
    losses = np.zeros((2, 3, 50))
    losses[0] = 1.0
    losses[1, :] = np.array([0.50, 0.49, 0.60])[:, None] + np.array([0.1, 0.0, 0.0])[:, None] * rng(0, "n").normal(
        size=50
    )
    losses[1, 2] += np.where(np.arange(50) % 2, 0.9, -0.9) * 1.0
    args = (losses, np.ones((2, 3)), np.array([0.0, 1.0]), np.array([1e-3, 1e-2, 1e-1]))
    assert pick(*args, "min", None, None) == (1, 1)
    assert pick(*args, "one_se", None, None) == (1, 2)  # 0.11 worse, with a standard error of 0.13
    assert pick(*args, "min", 0.0, None)[0] == 0
    assert pick(*args, "one_se", None, 1e-3) == (1, 0)


def test_classes_with_one_row_and_one_row_alone(parts: list[Part]) -> None:
    target = replace(parts[0], y=np.where(np.arange(40) < 6, np.array([0, 0, 1, 2, 1, -1, *[0] * 34]), -1))
    found = path(target, None, 5, ridges=[0.1])
    assert found.alone.tolist() == [False, False, False, True, False]
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    one = path(replace(target, y=np.where(np.arange(40) == 3, 2, -1)), parts[1], 5, ridges=[0.1])
    assert np.isfinite(one.choose().loo)


def test_many_rows_are_left_out_in_part(monkeypatch: pytest.MonkeyPatch, parts: list[Part]) -> None:
    every = path(parts[0], None, 5, ridges=[0.1])
    monkeypatch.setattr(path_module, "MOST", 10)
    some = path(parts[0], None, 5, ridges=[0.1])
    assert len(some.rows) == 10
    np.testing.assert_allclose(some.losses[0, 0], every.losses[0, 0][np.isin(every.rows, some.rows)], atol=3e-3)


def test_scaling_and_folding() -> None:
    x, _ = blobs(30, 4, 2)
    scale = scaling(x + 5, 3 * x[:10])
    both = [scale.apply(x + 5), scale.apply(3 * x[:10])]
    assert np.mean([(b**2).sum(axis=1).mean() for b in both]) == pytest.approx(1)
    head = Head(rng(0, "h").normal(size=(4, 2)), np.array([1.0, -1.0]))
    folded = scale.fold(head)
    np.testing.assert_allclose((x + 5) @ folded.weight + folded.bias, both[0] @ head.weight + head.bias)


def test_same_result_twice(parts: list[Part]) -> None:
    a, b = (path(parts[0], parts[1], 5, lams=[0, 1], ridges=[1e-2]) for _ in range(2))
    np.testing.assert_array_equal(a.losses, b.losses)
    np.testing.assert_array_equal(a.choose().head.weight, b.choose().head.weight)


def test_what_cannot_be_solved_says_why(parts: list[Part]) -> None:
    with pytest.raises(CrossgraftError, match="no labelled example"):
        path(replace(parts[0], y=np.full(40, -1)), parts[1], 5)
    with pytest.raises(UsageError, match="lambdas"):
        path(parts[0], parts[1], 5, lams=[-1])
    with pytest.raises(UsageError, match="no rule"):
        path(parts[0], None, 5, ridges=[0.1]).choose("best")


@pytest.mark.parametrize("k", [2, 3])
def test_formula_without_a_source_from_rows_or_from_the_hessian(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgraft.solve import loo

    x, y = blobs(30, 6, k)
    weights = np.where(np.arange(30) == 4, 0.0, np.linspace(1, 2, 30))
    rows = [rows_of(Part(x, y, np.arange(k), sample_weight=weights, label_smoothing=0.1))]
    found = minimise(rows, k, np.array([0.01]), np.zeros((1, k, 7)), 1e-12)
    args = (rows, k, 0.01, found.v[0], [p[0] for p in found.probs], np.arange(2, 30), found.preconditioner, 0)
    dual = formula(*args)
    monkeypatch.setattr(loo, "DUAL", 0)
    np.testing.assert_allclose(log_softmax(dual), log_softmax(formula(*args)), atol=1e-6)


def test_the_chosen_point_is_near_the_best_of_exact_values(parts: list[Part]) -> None:
    found = path(parts[0], parts[1], 5, lams=[0, 0.1, 1], ridges=[1e-4, 1e-3, 1e-2, 1e-1])
    truth = [
        [brute([parts[0]] + ([replace(parts[1], weight=lam)] if lam else []), 5, r).mean() for r in found.ridges]
        for lam in found.lams
    ]
    i, j = np.unravel_index(int(found.mean.argmin()), found.mean.shape)
    assert truth[i][j] - np.min(truth) < 0.01


def test_among_few_labels_a_point_that_is_all_but_certain_counts_as_such() -> None:
    """Equal losses on what was left out; an example of an unknown label decides, and with many labels hardly counts."""
    certain, unsure = 20.0, 1.0
    uniform = np.array([[certain, unsure]])
    few, many = (np.stack([np.full(n, 0.10), np.full(n, 0.12)])[None] for n in (10, 5000))
    grid = (np.zeros(1), np.array([1e-5, 1e-1]))
    assert pick(few, uniform, *grid, "min", None, None) == (0, 1)
    assert pick(many, uniform, *grid, "min", None, None) == (0, 0)


def test_the_cross_entropy_of_an_unknown_label_is_that_of_the_heads_own_rows(parts: list[Part]) -> None:
    target = replace(parts[0], y=np.where(np.arange(40) < 30, parts[0].y, -1))
    found = path(target, parts[1], 5, lams=[0, 1.0], ridges=[0.01, 0.1])
    x = target.x[target.y >= 0]
    for i, lam in enumerate(found.lams):
        for j, ridge in enumerate(found.ridges):
            head = found.head(float(lam), float(ridge))
            log_p = log_softmax((x @ head.weight + head.bias)[:, target.columns])
            assert found.uniform[i, j] == pytest.approx(-log_p.mean(), abs=1e-2)
