"""The rule that takes lambda from the path."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from crossgraft.objective.algebra import ce
from crossgraft.solve.fitted import Fitted, for_moving_layers
from crossgraft.solve.pick import pick

LAMS = np.array([0.0, 0.1, 1.0, 10.0])


def posterior_lam(losses: list[list[float]], alone: list[bool] | None = None) -> float:
    """The lambda of a path with one ridge and these leave-one-out losses, a row a lambda."""
    uniform, mask = np.ones((len(LAMS), 1)), None if alone is None else np.array(alone)
    args = (np.array(losses)[:, None, :], uniform, LAMS, np.array([0.1]))
    return float(LAMS[pick(*args, "posterior", None, None, mask)[0]])


def test_lambda_in_the_middle_where_labels_tell_nothing() -> None:
    noise = [0.5, 0.1, 0.3, 0.2]
    assert posterior_lam([noise] * 4) == 1.0
    assert posterior_lam([[0.5], [0.5], [0.5], [0.1]]) == 1.0  # one label moves the mean by less than half a step


def test_the_lambda_that_many_labels_say() -> None:
    for best in (1, 2, 3):
        losses = np.full((4, 50), 0.6)
        losses[best] = 0.1
        assert posterior_lam(losses.tolist()) == LAMS[best]


def test_the_only_label_of_a_class_weighs_no_lambda() -> None:
    source_speaks = [[9, 8, 9.0], [5, 4, 5.0], [3, 3, 2.0], [0.1, 0.2, 0.1]]
    assert posterior_lam(source_speaks) == 10.0
    assert posterior_lam(source_speaks, [True] * 3) == 1.0
    others = [[9, 0.1, 0.1, 0.2], [5, 0.1, 0.1, 0.2], [3, 5, 5, 5.1], [0.1, 9, 9, 9.1]]
    assert posterior_lam(others, [True, False, False, False]) == 0.1


def test_zero_is_the_guards_question() -> None:
    best_at_zero = [[0.1] * 50, [2] * 50, [3] * 50, [4] * 50]
    assert posterior_lam(best_at_zero) == 0.1
    args = (np.array(best_at_zero)[:, None, :], np.ones((4, 1)), LAMS, np.array([0.1]))
    assert pick(*args, "posterior", 0.0, None) == (0, 0)
    assert pick(*args, "min", None, None) == (0, 0)


def test_ridge_in_the_middle_too_and_what_is_held_stays() -> None:
    ridges, labels = np.array([1e-3, 1e-2, 1e-1]), np.zeros((4, 3, 20))
    args = (labels, np.ones((4, 3)), LAMS, ridges)
    assert pick(*args, "posterior", None, None) == (2, 1)
    assert pick(*args, "posterior", 10.0, 1e-3) == (3, 0)
    labels[:, :2] += 1
    assert pick(*args, "posterior", None, None) == (2, 2)


@pytest.mark.parametrize(("lam", "moving"), [(0.01, 0.3), (0.7, 0.7), (80.0, 3.0)])
def test_layers_that_move_take_it_within_bounds(lam: float, moving: float) -> None:
    start = Fitted(cast(Any, None), np.zeros((2, 2)), np.zeros(2), ce("target") + lam * ce("source"), "frozen", lam)
    found = for_moving_layers(start, per_class=100)
    assert found.lam == moving
    assert str(found.objective) == f"ce(target) + {moving:g}*ce(source)"


def test_a_source_that_does_not_count_stays_out() -> None:
    start = Fitted(cast(Any, None), np.zeros((2, 2)), np.zeros(2), ce("target"), "frozen", 0.0)
    assert for_moving_layers(start, per_class=1) is start


@pytest.mark.parametrize(("per_class", "expected"), [(1, 10.0), (2, 5.0), (5, 2.0), (100, 0.77)])
def test_the_fewer_labels_the_more_the_source_holds_layers_that_move(per_class: float, expected: float) -> None:
    start = Fitted(
        cast(Any, None), np.zeros((2, 2)), np.zeros(2), ce("target") + 0.77 * ce("source"), "frozen", lam=0.77
    )
    assert for_moving_layers(start, per_class).lam == pytest.approx(expected)
