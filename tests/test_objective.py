"""The objective: terms by hand and against independent formulas, the table, what terms reach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crossgraft.errors import UsageError
from crossgraft.objective.algebra import Objective, Term, ce
from crossgraft.objective.methods import METHODS, TERMS, domains_of, evaluate_terms, objective_for
from crossgraft.objective.reach import reach, stuck
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View
from crossgraft.tasks import log_softmax


def view(logits: object, labels: object, soft: object = None) -> View:
    z = torch.as_tensor(np.asarray(logits, dtype=np.float32)).requires_grad_()
    p = None if soft is None else torch.as_tensor(np.asarray(soft, dtype=np.float32))
    return View(z, z, torch.as_tensor(np.asarray(labels)), p)


def by_numpy(
    z: np.ndarray, y: np.ndarray, s: float, w: np.ndarray, soft: np.ndarray | None
) -> tuple[float, np.ndarray]:
    """Value and gradient, element by element from the definition."""
    k, total, weight, gradient = z.shape[1], 0.0, 0.0, np.zeros(z.shape)
    for i in range(len(z)):
        if y[i] < 0:
            continue
        p = np.eye(k)[y[i]] if soft is None else soft[i]
        w_i = float(p @ w)
        p = (1 - s) * p + s / k
        log_q = log_softmax(z[i : i + 1].astype(np.float64))[0]
        total, weight = total - w_i * float(p @ log_q), weight + w_i
        gradient[i] = w_i * (np.exp(log_q) - p)
    return total / weight, gradient / weight


def test_by_hand_on_two_by_two_logits() -> None:
    # row 0: -log(e^0 / (e^0 + e^log 3)) = log 4; row 1: -log(1/2) = log 2
    v = view([[0.0, math.log(3)], [0.0, 0.0]], [0, 1])
    value = cross_entropy(v)
    assert value.item() == pytest.approx((math.log(4) + math.log(2)) / 2, abs=1e-6)
    value.backward()
    np.testing.assert_allclose(v.logits.grad, [[-0.375, 0.375], [0.25, -0.25]], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_value_and_gradient_from_the_definition(smoothing: float, weighted: bool, soft: bool) -> None:
    draw = np.random.default_rng(0)
    z, y = draw.normal(0, 3, (9, 4)).astype(np.float32), draw.integers(-1, 4, 9)
    p = draw.dirichlet(np.ones(4), 9) if soft else None
    w = draw.uniform(0.2, 3, 4) if weighted else np.ones(4)
    expected, gradient = by_numpy(z, y, smoothing, w, p)
    v = view(z, y, p)
    value = cross_entropy(
        v, label_smoothing=smoothing, class_weights=torch.tensor(w, dtype=torch.float32) if weighted else None
    )
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(v.logits.grad, gradient, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weights": torch.tensor([1.0, 2.0])}])
def test_no_label_is_zero_with_a_gradient_of_zero(options: dict) -> None:
    v = view([[1.0, 2.0], [3.0, 4.0]], [-1, -1])
    value = cross_entropy(v, **options)
    value.backward()
    assert value.item() == 0
    assert v.logits.grad.abs().max() == 0


def test_extreme_logits_stay_finite() -> None:
    v = view([[1e4, -1e4], [-1e4, 1e4]], [1, 1])
    assert cross_entropy(v).item() == pytest.approx(1e4)


def test_a_term_of_weight_zero_is_not_evaluated_and_its_view_not_needed() -> None:
    v = view([[0.0, 1.0]], [0])
    assert list(evaluate_terms(objective_for("joint", 0.0), {"target": v}, {})) == ["ce(target)"]
    assert domains_of(objective_for("joint", 0.0)) == ("target",)
    assert domains_of(objective_for("joint", 0.1)) == ("target", "source")


@pytest.mark.parametrize("name", METHODS)
def test_every_row_of_methods_names_terms_domains_and_numbers_that_exist(name: str) -> None:
    row, objective = METHODS[name], objective_for(name)
    assert row.name == name
    assert all(t.name in TERMS for t in objective.terms)
    assert set(domains_of(objective)) <= {*row.needs, "target"}  # ce(target) counts where there are labels
    assert all(n.low <= n.default <= n.high for n in row.numbers.values())
    assert Objective.parse(str(objective)) == objective


def test_methods_refuse_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="did you mean 'joint'"):
        objective_for("jiont")
    with pytest.raises(UsageError, match="weight of -1"):
        objective_for("joint", -1)
    with pytest.raises(UsageError, match="unknown term 'cee'"):
        evaluate_terms(Objective.parse("cee(target)"), {}, {})


TARGET, SAME, APART = np.array([0, 1]), np.array([0, 1]), np.array([2, 3])
JOINT = ce("target") + 0.5 * ce("source")
Y = np.array([0, 1, 1, -1])


def messages(objective: Objective, source: np.ndarray = APART, groups: tuple = (), **labels: np.ndarray) -> list[tuple]:
    given = {"target": Y, "source": Y} | labels
    return [(f.level, f.message) for f in reach(objective, {"target": TARGET, "source": source}, groups, given)]


def test_reach_finds_the_source_that_cannot_matter_and_only_that() -> None:
    (level, message), *rest = messages(JOINT)
    assert (level, rest) == ("warning", [])
    assert "ce(source) reaches nothing" in message
    assert messages(JOINT, SAME) == []
    assert messages(JOINT, np.array([1, 2])) == []
    assert messages(JOINT, groups=("stem",)) == []


def test_reach_names_weights_domains_and_labels_that_are_wrong() -> None:
    assert "not read" in messages(ce("target") + 0.0 * ce("source"))[0][1]
    assert messages(Objective((Term("ce", "target", -1.0),)))[0][0] == "error"
    level, message = messages(ce("target") + ce("sorce"))[0]
    assert level == "error"
    assert "did you mean 'source'" in message
    assert "only one class" in messages(ce("target"), target=np.array([1, 1]))[0][1]
    assert messages(ce("target"), target=np.array([-1, -1]))[0][0] == "error"
    one = reach(ce("target"), {"target": np.array([0])}, (), {"target": np.array([0, 0])})
    assert one[0].level == "error"
    three = reach(
        ce("target"), {"target": np.arange(3)}, (), {"target": np.array([0, 2])}, classes=("ant", "bee", "wasp")
    )
    assert "bee" in three[0].message


def test_stuck_at_the_blind_guess() -> None:
    rows = [{"step": s, "lr": min(s, 5) / 5, "objective": 2.31} for s in range(1, 20)]
    assert "lr" in str(stuck(rows, math.log(10)))
    assert stuck([row | {"objective": 2.31 if row["step"] < 9 else 2.0} for row in rows], math.log(10)) is None
    assert stuck(rows[:4], math.log(10)) is None
    assert stuck([{"step": 3, "evaluation": 1.0}], math.log(10)) is None
