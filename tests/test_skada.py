"""skada's own splits and scorers take TransferClassifier: its rows of two domains, its masked labels, its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crossgraft.sklearn import TransferClassifier

before = sklearn.get_config()
metrics = pytest.importorskip("skada.metrics")
splits = pytest.importorskip("skada.model_selection")
sklearn.set_config(**before)  # skada sets it for everybody

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def routed() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Source 1, source 2 and target 3 of skada: X, y with the target's masked, sample_domain, and all labels."""
    draw = np.random.default_rng(0)
    truth = np.tile(np.arange(3), 60)
    domain = np.repeat([1, 2, -3], 60)
    centres = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    x = centres[truth] + draw.normal(0, 1.1, (180, 2)) + 0.5 * (domain == -3)[:, None]
    return x, np.where(domain < 0, -1, truth), domain, truth


SCORERS = [
    "PredictionEntropyScorer", "ImportanceWeightedScorer", "DeepEmbeddedValidation", "SoftNeighborhoodDensity",
    "CircularValidation", "MixValScorer",
]  # fmt: skip
SPLITS = ["SourceTargetShuffleSplit", "DomainShuffleSplit", "StratifiedDomainShuffleSplit"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_and_splits(scorer: str, split: str, rows: Rows) -> None:
    x, y, domain, _ = rows
    cv = getattr(splits, split)(n_splits=2, random_state=0)
    # skada takes what is no pipeline for a network, whose layer DeepEmbeddedValidation reads
    model = make_pipeline(TransferClassifier())
    found = cross_validate(
        model, x, y, params={"sample_domain": domain}, cv=cv, scoring=getattr(metrics, scorer)(), error_score="raise"
    )
    assert np.isfinite(found["test_score"]).all()


def test_the_entropy_is_that_of_the_targets_probabilities(rows: Rows) -> None:
    x, y, domain, _ = rows
    model = TransferClassifier().fit(x, y, sample_domain=domain)
    p = model.predict_proba(x[domain < 0])
    scorer = metrics.PredictionEntropyScorer()
    assert scorer(model, x, y, sample_domain=domain) == pytest.approx((p * np.log(p)).mean(), rel=1e-4)


def test_weights_of_source_rows_reach_the_accuracy(rows: Rows) -> None:
    x, y, domain, truth = rows
    model = TransferClassifier().fit(x, y, sample_domain=domain)
    wrong = model.predict(x) != truth
    assert 0 < wrong.sum() < len(x)
    assert model.score(x, truth, sample_weight=wrong.astype(float)) == 0


@pytest.mark.parametrize("direct", [True, False])
def test_a_domain_that_is_left_out_is_never_a_labelled_target(direct: bool, rows: Rows) -> None:
    x, _, domain, truth = rows
    # each domain once as a source with labels, once as a target without, as skada's pack_lodo gives them
    both, names = np.concatenate([x, x]), np.concatenate([np.abs(domain), -np.abs(domain)])
    y = np.concatenate([truth, np.full(len(truth), -1)])
    model: Any = TransferClassifier() if direct else make_pipeline(TransferClassifier())
    cv = splits.LeaveOneDomainOut(max_n_splits=3, test_size=0.5, random_state=0)
    params = {"sample_domain": names, "target_labels": np.concatenate([truth, truth])}
    found = cross_validate(
        model, both, y, params=params, cv=cv, scoring=metrics.SupervisedScorer(), error_score="raise"
    )
    assert len(found["test_score"]) == 3
    assert (found["test_score"] > 0.6).all()  # a third by chance


def test_a_search_by_a_scorer_without_target_labels(rows: Rows) -> None:
    x, y, domain, truth = rows
    search = GridSearchCV(
        TransferClassifier(), {"ridge": [1e-3, 1e3]}, scoring=metrics.PredictionEntropyScorer(),
        cv=splits.SourceTargetShuffleSplit(n_splits=2, random_state=0), error_score="raise",
    )  # fmt: skip
    search.fit(x, y, sample_domain=domain)
    target = domain < 0
    assert search.best_params_ == {"ridge": 1e-3}  # a large ridge gives uniform predictions
    assert (search.predict(x[target]) == truth[target]).mean() > 0.7


@pytest.mark.parametrize(
    "adapter", ["CORALAdapter", "SubspaceAlignmentAdapter", "DensityReweightAdapter", "OTMappingAdapter"]
)
def test_a_fitted_pipeline_of_skada_can_be_the_source(adapter: str, rows: Rows) -> None:
    x, y, domain, truth = rows
    skada = pytest.importorskip("skada")
    logistic = LogisticRegression()
    if adapter.endswith("ReweightAdapter"):
        logistic.set_fit_request(sample_weight=True)
    teacher = skada.make_da_pipeline(StandardScaler(), getattr(skada, adapter)(), logistic)
    teacher.fit(x, y, sample_domain=domain)
    target = np.flatnonzero(domain < 0)
    few, rest = target[:6], target[6:]
    # a large ridge towards the source's logits leaves its opinion as it is
    held = TransferClassifier(guard=False, ridge=1e6).fit(x[few], truth[few], source=teacher)
    assert (held.predict(x[rest]) == teacher.predict(x[rest])).mean() > 0.97
    assert TransferClassifier().fit(x[few], truth[few], source=teacher).score(x[rest], truth[rest]) > 0.6
