"""Measures against independent calculations: check values of the field, direct maximisation, libraries, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.datasets import load_iris

from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.calibration import brier, ece, reliability, temperature, vector_scaling
from crossgraft.measure.compare import guard, mcnemar, paired
from crossgraft.measure.friedman import ranks
from crossgraft.measure.ranking import h_score, leep, logme, nce
from crossgraft.measure.scores import mean_interval, scores, wilson
from crossgraft.tasks import Classify, log_softmax


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_iris(return_X_y=True)
    return x, y


def test_published_check_values_on_iris(iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    theta = np.exp(log_softmax(x))
    assert h_score(x, y, shrunk=False) == pytest.approx(1.191899, abs=5e-6)
    assert h_score(x, y) == pytest.approx(1.177842, abs=5e-6)
    assert logme(x, y) == pytest.approx(-0.160060, abs=5e-6)
    assert leep(theta, y) == pytest.approx(-0.985570, abs=5e-6)
    assert nce(x.argmax(1), y) == pytest.approx(-1.098612, abs=5e-6)
    assert nce(np.floor(x[:, 2]).astype(int), y) == pytest.approx(-0.166955, abs=5e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_logme_is_the_largest_evidence_also_with_fewer_examples_than_features(n: int, d: int) -> None:
    draw = np.random.default_rng(0)
    f = draw.normal(size=(n, d))
    y = (f[:, 0] + draw.normal(size=n) > 0).astype(int)

    def evidence(t: np.ndarray) -> float:
        def negative(log: np.ndarray) -> float:
            alpha, beta = np.exp(log)
            covariance = np.eye(n) / beta + f @ f.T / alpha  # t ~ N(0, I/beta + F F'/alpha)
            return -float(stats.multivariate_normal.logpdf(t, np.zeros(n), covariance)) / n

        starts = [np.array([a, b]) for a in (-2.0, 2.0) for b in (-2.0, 2.0)]
        return -min(
            minimize(negative, s, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun for s in starts
        )

    direct = np.mean([evidence((y == c).astype(float)) for c in (0, 1)])
    assert logme(f, y) == pytest.approx(direct, abs=1e-4)


def test_h_score_without_shrinkage_says_nothing_with_few_examples() -> None:
    draw = np.random.default_rng(0)
    y = np.arange(10) % 3
    assert h_score(draw.normal(size=(10, 50)), y, shrunk=False) == pytest.approx(2.0)


def test_leep_is_at_least_nce_and_the_mean_confidence(iris: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = iris
    theta = np.exp(log_softmax(x))
    assert leep(theta, y) >= nce(theta.argmax(1), y) + np.log(theta.max(1)).mean()


def test_wilson_is_scipys() -> None:
    hits = np.array([1.0] * 17 + [0.0] * 5)
    score, theirs = wilson(hits), stats.binomtest(17, 22).proportion_ci(method="wilson")
    assert (score.low, score.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.slow
def test_the_interval_of_skewed_losses_covers() -> None:
    draw = np.random.default_rng(0)
    for n in (20, 100):
        inside = [(s := mean_interval(draw.exponential(size=n), seed=i)).low <= 1 <= s.high for i in range(400)]
        assert np.mean(inside) > 0.92


def test_scores_refuse_what_is_not_a_number() -> None:
    task = Classify(("a", "b"))
    with pytest.raises(CrossgraftError, match="example 1 is NaN"):
        scores(task, np.array([[-0.1, -2.3], [np.nan, np.nan]]), np.array([0, 1]))
    with pytest.raises(CrossgraftError, match="no labelled example"):
        scores(task, np.zeros((0, 2)), np.zeros(0, dtype=np.int64))


def test_paired_difference_is_scipys_permutation_test() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.exponential(size=10), draw.exponential(size=10)
    theirs = stats.permutation_test((a - b,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    d = paired(a, b)
    assert d.p == pytest.approx(theirs)
    assert d.low < d.value < d.high
    assert d.value == pytest.approx((a - b).mean())


def test_mcnemar_counts_only_what_differs() -> None:
    a, b = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 50), np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 50)
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(8, 10).pvalue)
    assert mcnemar(a, a) == 1.0


def test_guard_keeps_the_better_and_the_simpler_at_a_tie() -> None:
    draw = np.random.default_rng(0)
    base = draw.exponential(size=50)
    order = ["target_only", "source_only", "transfer"]
    better = guard({"target_only": base + 0.5, "source_only": base + 0.4, "transfer": base}, order)
    assert better.kept == "transfer"
    tie = guard({"target_only": base + draw.normal(0, 1, 50), "transfer": base + draw.normal(0, 1, 50)}, order)
    assert tie.kept == "target_only"
    assert "target only" in tie.why
    worse = guard({"target_only": base, "transfer": base + 0.5}, order)
    assert worse.kept == "target_only"
    assert guard({"target_only": base[:1], "transfer": base[:1]}, order).kept == "transfer"


def test_calibration_by_hand() -> None:
    log_p = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]))
    y = np.array([0, 1, 0, 1])
    # bins: 0.9 twice (half right), 0.6 and 0.7 once (right)
    assert ece(log_p, y, bins=10) == pytest.approx((2 * 0.4 + 0.4 + 0.3) / 4)
    assert brier(log_p, y) == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.16 + 2 * 0.09) / 4)
    assert [b.n for b in reliability(log_p, y, bins=10)] == [1, 1, 2]


def test_temperature_is_where_the_loss_is_flat() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(200, 4)) * 5
    y = np.array([draw.choice(4, p=p) for p in np.exp(log_softmax(logits / 3))])
    t = temperature(logits, y)

    def loss(t: float) -> float:
        return float(-log_softmax(logits / t)[np.arange(200), y].mean())

    assert (loss(t * 1.001) - loss(t)) > -1e-9
    assert (loss(t * 0.999) - loss(t)) > -1e-9
    assert 2 < t < 4.5


def test_guard_without_evidence_keeps_what_was_asked_for_and_leaves_out_what_is_broken() -> None:
    order = ["target_only", "transfer", "source_only"]
    none = np.zeros(0)
    for evidence in ({}, dict.fromkeys(order, none), dict.fromkeys(order, np.ones(1))):
        verdict = guard(evidence, order)
        assert verdict.kept == "transfer"
        assert "nothing can be compared" in verdict.why
    broken = guard({"target_only": np.ones(4), "transfer": np.array([0, 0, 0, np.inf])}, order)
    assert broken.kept == "target_only"
    assert "the transfer had losses that are not finite" in broken.why
    with pytest.raises(CrossgraftError, match="same examples"):
        guard({"target_only": np.ones(4), "transfer": np.ones(3)}, order)


@pytest.mark.parametrize("shared", [False, True])
def test_vector_scaling_is_where_the_loss_is_flat(shared: bool) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(300, 3)) * 3
    y = np.array([draw.choice(3, p=p) for p in np.exp(log_softmax(logits / 2 + [0.0, 1.0, -1.0]))])
    a, b = vector_scaling(logits, y, ridge=0.01, shared=shared)

    def loss(a: np.ndarray, b: np.ndarray) -> float:
        pull = (a[:1] if shared else a) - 1
        return float(-log_softmax(a * logits + b)[np.arange(300), y].mean() + 0.005 * (pull @ pull + b @ b))

    ways = [np.ones(3)] if shared else list(np.eye(3))
    slopes = [(loss(a + 1e-5 * v, b) - loss(a - 1e-5 * v, b)) / 2e-5 for v in ways]
    slopes += [(loss(a, b + 1e-5 * v) - loss(a, b - 1e-5 * v)) / 2e-5 for v in np.eye(3)]
    assert np.abs(slopes).max() < 1e-5
    assert (np.unique(a).size == 1) == shared


def test_an_impossible_label_costs_infinitely_much() -> None:
    score = mean_interval(np.array([0.1, np.inf, 0.2, 0.3, 0.1, 0.2]))
    assert score.value == np.inf
    assert np.isnan(score.low)


def test_ranking_says_what_is_wrong() -> None:
    y = np.array([0, 1, 0, 1])
    with pytest.raises(CrossgraftError, match="every feature is zero"):
        logme(np.zeros((4, 2)), y)
    with pytest.raises(CrossgraftError, match="row 2 has values"):
        h_score(np.array([[1.0], [2.0], [np.nan], [3.0]]), y)
    with pytest.raises(CrossgraftError, match="3 rows but 4 labels"):
        nce(np.zeros(3, dtype=np.int64), y)
    assert np.isfinite(h_score(np.ones((4, 3)), y, shrunk=False))
    assert np.isfinite(h_score(np.ones((4, 3)), y))


def test_every_export_stays_what_it_is_after_its_module_was_imported() -> None:
    import crossgraft.measure as measure

    for _ in range(2):
        for name in measure.__all__:
            assert callable(getattr(measure, name)), name


def test_a_margin_asks_for_more_than_one_standard_error() -> None:
    draw = np.random.default_rng(0)
    d = draw.normal(0, 1, 100)
    d = (d - d.mean()) / d.std(ddof=1) + 0.15  # better by 1.5 standard errors
    evidence = {"transfer": 2 + d, "source_only": np.full(100, 2.0)}
    order = ["transfer", "source_only"]
    assert guard(evidence, order).kept == "source_only"
    assert guard(evidence, order, {"source_only": 2.0}).kept == "transfer"


def test_ranks_of_methods_are_those_of_the_field() -> None:
    draw = np.random.default_rng(0)
    tied = draw.integers(0, 5, (8, 5)).astype(float)
    found, chi2 = ranks(tied), stats.friedmanchisquare(*tied.T).statistic
    f = 7 * chi2 / (8 * 4 - chi2)  # Iman and Davenport
    assert found.p_value == pytest.approx(stats.f.sf(f, 4, 28))
    np.testing.assert_allclose(found.mean, [stats.rankdata(-tied, axis=1)[:, j].mean() for j in range(5)])
    assert ranks(draw.normal(size=(14, 4))).critical == pytest.approx(1.25, abs=0.005)  # Demsar 2006, section 3.2.4
    same = ranks(np.repeat([[3.0, 2.0, 1.0]], 5, 0))
    assert (same.mean.tolist(), same.p_value) == ([1.0, 2.0, 3.0], 0.0)
    assert ranks(np.ones((5, 3))).p_value == 1.0
    assert ranks(np.array([[2.0, 1.0]])).p_value == 1.0
    with pytest.raises(UsageError, match="at least two methods"):
        ranks(np.ones((5, 1)))
