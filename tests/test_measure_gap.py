"""The gap where the answer is known, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.divergence import conditional_gap, gap
from crossgraft.measure.domain_classifier import RIDGES, fit, stratified


def jsd(d: float, spread: float = 1.0) -> float:
    """Jensen-Shannon divergence of N(0, 1) and N(d, spread^2), nats, by quadrature."""

    def part(x: float) -> float:
        p, q = norm.pdf(x), norm.pdf(x, d, spread)
        m = (p + q) / 2
        return (p * np.log(p / m) if p else 0) / 2 + (q * np.log(q / m) if q else 0) / 2

    return quad(part, -30, 30 + d, limit=400, points=[0, d])[0]


@pytest.mark.parametrize(("d", "spread"), [(1, 1), (2, 1), (4, 1), (0, 3), (1, 0.3)])
def test_value_on_gaussians(d: float, spread: float) -> None:
    draw = np.random.default_rng(3)
    found = gap(draw.normal(size=(500, 1)), draw.normal(d, spread, (500, 1)), permutations=99)
    assert found.jsd.value == pytest.approx(jsd(d, spread), abs=0.05)
    assert found.jsd.low <= jsd(d, spread)
    assert found.p_value == 0.01
    assert found.share_of_ln2 == found.jsd.value / np.log(2)


def test_proxy_a_distance_on_gaussians() -> None:
    draw = np.random.default_rng(0)
    for d, exact in ((1, 0.7658), (2, 1.3654), (4, 1.909)):
        found = gap(draw.normal(size=(2000, 1)), draw.normal(d, 1, (2000, 1)), permutations=1).proxy_a_distance
        assert found.low < exact < found.high
        assert found.high - found.low < 0.12


def test_same_seed_same_result_and_sides_may_differ_in_size() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(30, 12)), draw.normal(0.8, 1, (90, 12))
    first, again = gap(a, b, permutations=99, seed=4), gap(a, b, permutations=99, seed=4)
    assert first.json() == again.json()
    assert first.source_likeness.tobytes() == again.source_likeness.tobytes()
    assert (first.n_source, first.n_target) == (30, 90)
    assert first.source_likeness.mean() > first.target_likeness.mean() + 0.3


def test_the_classifier_is_scikit_learns_at_its_ridge() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(80, 3)), np.repeat([1.0, 0.0], [30, 50])
    x[:30] += 0.7
    beta = fit(x, y)
    theirs = []
    for ridge in RIDGES:
        model = LogisticRegression(C=1 / (ridge * 80), class_weight="balanced", tol=1e-10, max_iter=5000).fit(x, y)
        theirs.append(np.append(model.coef_, model.intercept_))
    assert min(np.abs(beta - t).max() for t in theirs) < 1e-4


def test_rows_of_both_domains_stay_in_one_fold() -> None:
    y = np.repeat([1.0, 0.0], [20, 30])
    partner = np.full(50, -1)
    partner[:10], partner[20:30] = np.arange(20, 30), np.arange(10)
    fold = stratified(y, partner, 5, np.random.default_rng(0))
    assert (fold[:10] == fold[20:30]).all()
    assert np.bincount(fold[y == 1]).tolist() == [4] * 5
    assert np.bincount(fold[y == 0]).tolist() == [6] * 5


def test_the_same_rows_on_both_sides_are_no_gap() -> None:
    x = np.random.default_rng(0).normal(size=(60, 30))
    found = gap(x, x, permutations=99)
    assert found.jsd.value < 0.01
    assert found.p_value > 0.5
    assert "60 rows are in both domains" in found.notes[0]


def test_repeated_rows_do_not_leak() -> None:
    draw = np.random.default_rng(0)
    a, b = np.repeat(draw.normal(size=(20, 40)), 5, 0), np.repeat(draw.normal(size=(20, 40)), 5, 0)
    found = gap(a, b, permutations=99)
    assert (found.n_source, found.n_target) == (20, 20)
    assert found.p_value > 0.05
    assert found.jsd.low == 0
    assert len(found.source_likeness) == 100
    assert np.unique(found.source_likeness[:5]).size == 1
    assert "160 rows repeat" in found.notes[0]


def test_values_of_a_discrete_feature_are_no_copies() -> None:
    a, b = np.repeat([0.0, 1.0], [180, 20])[:, None], np.repeat([0.0, 1.0], [20, 180])[:, None]
    found = gap(a, b, permutations=99)
    exact = np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1)
    assert found.jsd.value == pytest.approx(exact, abs=0.02)
    assert found.jsd.low < exact < found.jsd.high
    assert (found.n_source, found.n_target) == (200, 200)


def test_constant_features() -> None:
    draw = np.random.default_rng(0)
    a = np.c_[draw.normal(size=(50, 1)), np.full((50, 2), 0.1)]
    assert gap(a, a + np.array([3.0, 0, 0]), permutations=99).p_value == 0.01
    nothing = gap(np.full((30, 3), 0.1), np.full((25, 3), 0.1))
    assert (nothing.jsd.low, nothing.jsd.value, nothing.jsd.high, nothing.p_value) == (0, 0, 0, 1)
    assert "constant" in nothing.notes[-1]
    with pytest.raises(CrossgraftError, match="the source has 1 different row"):
        gap(np.zeros((5, 2)), draw.normal(size=(5, 2)))


def test_two_rows_a_side_say_little() -> None:
    draw = np.random.default_rng(0)
    found = gap(draw.normal(size=(2, 5)), draw.normal(9, 1, (2, 5)), permutations=99)
    assert found.jsd.low == 0
    assert found.p_value > 0.05
    assert "2 rows" in found.notes[-1]


def test_many_rows_are_drawn_from_and_all_are_judged() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(30_000, 2)), draw.normal(1, 1, (50, 2))
    found = gap(a, b, permutations=19, most=300)
    assert (found.n_source, found.n_target) == (300, 50)
    assert "Of 30000 source rows 300 were drawn" in found.notes[0]
    assert found.source_likeness.shape == (30_000,)
    assert found.source_likeness[a.sum(1) < -2].mean() > found.source_likeness[a.sum(1) > 2].mean() + 0.3


def test_what_cannot_be_compared_says_why() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(CrossgraftError, match="the target has 1 different row"):
        gap(x, x[:1])
    with pytest.raises(CrossgraftError, match="the source has no example"):
        gap(x[:0], x)
    with pytest.raises(UsageError, match="2 source features but 3"):
        gap(x, np.ones((6, 3)))
    x[4, 1] = np.nan
    with pytest.raises(CrossgraftError, match="target row 4"):
        gap(np.ones((6, 2)), x)


def test_conditional_gap_finds_the_class_that_moved() -> None:
    draw = np.random.default_rng(0)
    y, z = np.arange(120) % 3, np.arange(90) % 3
    y[y == 2] = -1
    a, b = draw.normal(size=(120, 2)), draw.normal(size=(90, 2))
    b[z == 1] += 2
    found = conditional_gap(a, y, b, z, permutations=99)
    assert list(found) == [0, 1, 2]
    assert found[0].p_value > 0.05
    assert found[1].p_value == 0.01
    assert found[2] == "the source has no example of this class"
    few = conditional_gap(a[:2], np.array([0, 1]), b, z)
    assert few[0] == "the source has 1 different row, and none can be held out"
