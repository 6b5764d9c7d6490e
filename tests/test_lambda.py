"""The rule that takes lambda from the path."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from crossgraft.objective.algebra import ce
from crossgraft.solve.fitted import Fitted, for_moving_layers
from crossgraft.solve.pick import pick

LAMS = np.array([0.0, 0.1, 1.0, 10.0])


def even_lam(losses: list[list[float]], alone: list[bool] | None = None) -> float:
    """The lambda of a path with one ridge and these leave-one-out losses, a row a lambda."""
    uniform = np.ones((len(LAMS), 1))
    mask = None if alone is None else np.array(alone)
    return float(LAMS[pick(np.array(losses)[:, None, :], uniform, LAMS, np.array([0.1]), "even", None, None, mask)[0]])


def test_lambda_nearest_to_one_among_those_that_evidence_does_not_tell_apart() -> None:
    noise = [0.5, 0.1, 0.3, 0.2]
    assert even_lam([noise] * 4) == 1.0
    assert even_lam([noise, noise, [5 + x for x in noise], noise]) in (0.1, 10.0)


def test_a_lambda_that_is_better_beyond_its_error_is_taken() -> None:
    assert even_lam([[3, 3, 3], [3, 3, 3], [2, 2, 2], [0.1, 0.1, 0.2]]) == 10.0


def test_one_label_tells_no_lambda_from_another() -> None:
    assert even_lam([[0.5], [0.5], [0.5], [0.1]]) == 1.0
    assert even_lam([[0.0], [0.3], [0.6], [0.9]]) == 1.0


def test_the_only_label_of_a_class_judges_no_lambda() -> None:
    source_speaks = [[9, 8, 9.0], [5, 4, 5.0], [3, 3, 2.0], [0.1, 0.2, 0.1]]
    assert even_lam(source_speaks) == 10.0
    assert even_lam(source_speaks, [True] * 3) == 1.0
    others = [[9, 0.1, 0.1, 0.2], [5, 0.1, 0.1, 0.2], [3, 2, 2, 2.1], [0.1, 4, 4, 4.1]]
    assert even_lam(others, [True, False, False, False]) == 0.1
    assert even_lam([[9, 1.0], [5, 0.2], [3, 3.0], [0.1, 4.0]], [True, False]) == 1.0  # one tells no more than none


def test_the_only_label_of_a_class_does_not_make_a_stronger_ridge_as_good() -> None:
    losses = np.array([[0.1, 0.9, 0.5], [0.9, 0.2, 0.6]])[None]
    args = (losses, np.ones((1, 2)), np.zeros(1), np.array([1e-3, 1e-1]), "even", None, None)
    assert pick(*args) == (0, 1)
    assert pick(*args, np.array([True] * 3)) == (0, 0)


def test_zero_only_where_no_lambda_above_it_is_near() -> None:
    assert even_lam([[0.1, 0.2, 0.1], [2, 2, 2.0], [3, 3, 3], [4, 4, 4]]) == 0.0
    assert even_lam([[0.10, 0.2, 0.1], [0.11, 0.1, 0.2], [3, 3, 3], [4, 4, 4]]) == 0.1


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
