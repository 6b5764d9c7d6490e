"""The door for scikit-learn: its own checks, its tools, and the road behind it."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import crossgraft
from crossgraft.errors import CrossgraftError
from crossgraft.sklearn import FrozenFeatures, GapScorer, LabelFreeScorer, TransferClassifier
from crossgraft.sklearn.blend import blend
from crossgraft.sklearn.coordinates import coordinates
from crossgraft.sklearn.opinion import affine, opinion_of
from crossgraft.solve.convex import Part, solve
from crossgraft.solve.joint import solve_joint
from crossgraft.solve.path import scaling


@parametrize_with_checks([TransferClassifier(), TransferClassifier(guard=False, lam=0.5, ridge=0.01), FrozenFeatures()])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def domains(n: int = 300, few: int = 5, shift: float = 0.6, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Source, few labelled target rows, test rows: two Gaussians a class, the target moved."""
    draw = np.random.default_rng(seed)
    means = draw.normal(0, 1.2, (3, 8))
    move = shift * draw.normal(0, 1, 8)

    def sample(m: int, moved: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(m) % 3
        return means[y] + moved + draw.normal(0, 1, (m, 8)), np.array(["a", "b", "c"])[y]

    return (*sample(n, 0), *sample(3 * few, move), *sample(n, move))


def test_the_head_is_the_one_that_the_library_solves() -> None:
    xs, ys, xt, yt, test, _ = domains()
    fitted = TransferClassifier(guard=False, lam=0.5, align=None).fit(xt, yt, X_source=xs, y_source=ys)
    scale, at = scaling(xt, xs), np.arange(3)
    parts = [Part(scale.apply(x), np.unique(y, return_inverse=True)[1], at) for x, y in ((xt, yt), (xs, ys))]
    found = solve_joint(*parts, 3, 0, lam=0.5, rule="min")
    head = scale.fold(found.head)
    assert (fitted.lam_, fitted.ridge_) == (found.lam, found.ridge)
    z = test @ head.weight + head.bias
    np.testing.assert_allclose(fitted.decision_function(test), z, atol=1e-9)
    assert str(fitted.objective_) == str(crossgraft.ce("target") + found.lam * crossgraft.ce("source"))


def test_transfer_beats_target_only_where_domains_are_near_and_the_guard_refuses_a_lying_source() -> None:
    scores = []
    for seed in (2, 1, 0):
        xs, ys, xt, yt, test, y_test = domains(few=3, seed=seed)
        alone = TransferClassifier().fit(xt, yt)
        both = TransferClassifier().fit(xt, yt, X_source=xs, y_source=ys)
        assert both.kept_ != "target_only"
        scores.append([m.score(test, y_test) for m in (alone, both)])
    assert np.diff(np.mean(scores, axis=0)) > 0
    lies = np.roll(np.array(["a", "b", "c"]), 1)[np.searchsorted(["a", "b", "c"], ys)]
    refused = TransferClassifier(lam=1.0, align=None).fit(xt, yt, X_source=xs, y_source=lies)
    assert refused.kept_ == "target_only"
    assert (refused.predict(test) == alone.predict(test)).mean() > 0.95


def test_ridge_towards_a_linear_source_is_the_solvers_own_prior() -> None:
    xs, ys, xt, yt, test, _ = domains()
    teacher = make_pipeline(StandardScaler(), LogisticRegression()).fit(xs, ys)
    fitted = TransferClassifier(guard=False, ridge=0.1).fit(xt, yt, source=teacher)
    logistic = teacher[-1]
    w0 = (logistic.coef_ / teacher[0].scale_).T
    b0 = logistic.intercept_ - teacher[0].mean_ @ w0
    w0, b0 = w0 - w0.mean(1, keepdims=True), b0 - b0.mean()
    scale = scaling(xt)
    prior = (w0 * scale.scale, b0 + scale.centre @ w0)
    y = np.unique(yt, return_inverse=True)[1]
    head = scale.fold(solve([Part(scale.apply(xt), y, np.arange(3))], 3, ridge=0.1, prior=prior, tolerance=1e-10))
    np.testing.assert_allclose(fitted.decision_function(test), test @ head.weight + head.bias, atol=5e-3)
    strong = TransferClassifier(guard=False, ridge=1e6).fit(xt, yt, source=teacher)
    np.testing.assert_allclose(strong.predict_log_proba(test), teacher.predict_log_proba(test), atol=1e-3)


@pytest.mark.parametrize("teacher", [RandomForestClassifier(30, random_state=0), LinearSVC(), LogisticRegression()])
def test_any_fitted_classifier_can_be_the_source(teacher: Any) -> None:
    xs, ys, xt, yt, test, y_test = domains(few=3)
    teacher.fit(xs, ys)
    fitted = TransferClassifier(guard=False, ridge=1e6).fit(xt, yt, source=teacher)
    assert (fitted.predict(test) == teacher.predict(test)).mean() > 0.97
    assert TransferClassifier().fit(xt, yt, source=teacher).score(test, y_test) > 0.6
    linear = affine(opinion_of(teacher)[0], test) is not None
    assert linear == (not isinstance(teacher, RandomForestClassifier))


def test_a_run_can_be_the_source(tmp_path: Path) -> None:
    xs, ys, xt, yt, test, y_test = domains()
    run = crossgraft.fit(target=(xs, ys), out=tmp_path / "run", backbone="identity")
    fitted = TransferClassifier(guard=False, ridge=1e6).fit(xt, yt, source=tmp_path / "run")
    theirs = [row["label"] for row in run.predict(test)]
    assert (fitted.predict(test) == theirs).mean() > 0.99
    assert TransferClassifier().fit(xt, yt, source=run).score(test, y_test) > 0.6


def test_sample_domain_means_what_it_means_in_skada() -> None:
    xs, ys, xt, yt, test, _ = domains()
    x, y = np.concatenate([xs, xt]), np.concatenate([ys, yt])
    of = np.repeat([1, -2], [len(xs), len(xt)])
    whole = TransferClassifier().fit(x, y, sample_domain=of)
    apart = TransferClassifier().fit(xt, yt, X_source=xs, y_source=ys)
    np.testing.assert_array_equal(whole.predict_proba(test), apart.predict_proba(test))
    # target labels masked as skada masks them: nothing but the source's labels is read
    codes = np.unique(y, return_inverse=True)[1]
    masked = TransferClassifier().fit(x, np.where(of < 0, -1, codes), sample_domain=of)
    other = TransferClassifier().fit(x, np.where(of < 0, np.nan, codes.astype(float)), sample_domain=of)
    assert masked.kept_ == other.kept_ == "source_only"
    np.testing.assert_array_equal(masked.predict(test), other.predict(test))


def test_missing_labels_are_None() -> None:
    xs, ys, xt, yt, test, _ = domains()
    y = [*yt[:10], *[None] * (len(yt) - 10)]
    some = TransferClassifier().fit(xt, y, X_source=xs, y_source=ys)
    beside = TransferClassifier().fit(xt[:10], yt[:10], X_source=xs, y_source=ys, X_unlabelled=xt[10:])
    np.testing.assert_allclose(some.predict_proba(test), beside.predict_proba(test))


def test_the_blend_is_the_average_of_coupled_heads() -> None:
    xs, ys, xt, yt, _, _ = domains()
    target, source = (Part(x, np.unique(y, return_inverse=True)[1], np.arange(3)) for x, y in ((xt, yt), (xs, ys)))
    found, weight = blend(target, source, 3, 0), np.zeros((8, 3))
    for s in found.spots:  # 1 is the difference of the heads where that is free, 0 where both are one
        rows = np.concatenate([xt, s.apart * xt], 1), np.concatenate([xs, 0 * xs], 1)
        parts = [replace(p, x=x, weight=w) for p, x, w in zip((target, source), rows, (1, s.lam), strict=True)]
        w = solve(parts, 3, ridge=s.ridge, tolerance=1e-10).weight
        weight += s.weight * (w[:8] + s.apart * w[8:])
    np.testing.assert_allclose(found.head.weight, weight, atol=5e-3)
    assert sum(s.weight for s in found.spots) == pytest.approx(1)
    assert found.losses.mean() < found.target_only.mean()
    lies = replace(source, y=(source.y + 1) % 3)
    assert blend(target, lies, 3, 0).spots[0].lam < found.spots[0].lam


def test_source_rows_get_the_mean_unless_labels_are_against_it() -> None:
    xs, ys, _, _, test, y_test = domains(shift=3.0)
    moved = TransferClassifier().fit(test[:60], y_test[:60], X_source=xs, y_source=ys, X_unlabelled=test)
    assert moved.align_ == "mean"
    one_class = ys == "a"  # the means of the domains differ by how frequent the classes are, nothing has moved
    few = TransferClassifier().fit(xs[1::4], ys[1::4], X_source=xs, y_source=ys, X_unlabelled=xs[one_class])
    assert few.align_ is None


def test_importance_weights_label_shift_and_coral_help_where_their_assumption_holds() -> None:
    draw = np.random.default_rng(1)
    x_s = draw.normal(0, 1, (600, 2))
    x_t = draw.normal([1.5, 0], 0.4, (300, 2))
    rule = lambda x: ((x[:, 0] > 1.5) ^ (x[:, 0] < -0.5)).astype(int)  # noqa: E731
    plain, weighted = (
        TransferClassifier(weights=w).fit(
            np.concatenate([x_s, x_t]),
            np.concatenate([rule(x_s), np.full(300, -1)]),
            sample_domain=[1] * 600 + [-1] * 300,
        )
        for w in (None, "odds")
    )
    assert weighted.score(x_t, rule(x_t)) > plain.score(x_t, rule(x_t))
    assert weighted.source_weights_.shape == (600,)

    y_s, y_t = draw.integers(0, 2, 800), (draw.random(800) < 0.1).astype(int)
    at = lambda y: draw.normal(0, 1, (len(y), 1)) + y[:, None]  # noqa: E731
    x, of = np.concatenate([at(y_s), at(y_t)]), [1] * 800 + [-1] * 800
    shifted = TransferClassifier(label_shift="em").fit(x, np.concatenate([y_s, np.full(800, -1)]), sample_domain=of)
    assert abs(shifted.label_shift_.value[1] - 0.1) < 0.08
    assert shifted.predict_proba(x[800:])[:, 1].mean() == pytest.approx(0.1, abs=0.06)

    x_s = np.concatenate([draw.normal([-2, 0], 0.5, (200, 2)), draw.normal([2, 0], 0.5, (200, 2))])
    y = np.repeat([0, 1], 200)
    x_t = np.concatenate([draw.normal([-2, 0], 0.5, (200, 2)), draw.normal([2, 0], 0.5, (200, 2))]) * 4 + 9
    x, of = np.concatenate([x_s, x_t]), [1] * 400 + [-1] * 400
    moved = TransferClassifier(align="coral").fit(x, np.concatenate([y, np.full(400, -1)]), sample_domain=of)
    assert moved.score(x_t, y) > 0.95 > TransferClassifier().fit(x_s, y).score(x_t, y)


def test_self_training_follows_a_target_that_moved() -> None:
    xs, ys, _, _, test, y_test = domains(shift=1.5)
    x, y = np.concatenate([xs, test]), np.concatenate([np.unique(ys, return_inverse=True)[1], np.full(len(test), -1)])
    of = np.repeat([1, -1], [len(xs), len(test)])
    codes = np.unique(y_test, return_inverse=True)[1]
    none, some = (TransferClassifier(pseudo=k).fit(x, y, sample_domain=of).score(test, codes) for k in (0, 10))
    assert some > none


@pytest.mark.parametrize("d", [20, 900])
def test_sparse_rows_are_kept_exact(d: int) -> None:
    draw = np.random.default_rng(0)
    x = sparse.random_array((120, d), density=0.05, rng=draw, format="csr")
    y = (x[:, :8].sum(1) > 0.1).astype(int)
    full = TransferClassifier().fit(x[:30].toarray(), y[:30], X_source=x[30:].toarray(), y_source=y[30:])
    thin = TransferClassifier().fit(x[:30], y[:30], X_source=x[30:], y_source=y[30:])
    assert (thin.lam_, thin.ridge_) == (full.lam_, full.ridge_)
    np.testing.assert_allclose(thin.predict_log_proba(x), full.predict_log_proba(x.toarray()), atol=1e-7)


def test_what_takes_too_much_memory_is_refused_before_it_is_made() -> None:
    x = sparse.csr_array((2000, 100_000), dtype=float)
    with pytest.raises(ValueError, match="max_dense"):
        TransferClassifier(max_dense=1e6).fit(x, np.arange(2000) % 2)


def test_coordinates_keep_every_inner_product() -> None:
    x = np.random.default_rng(0).normal(size=(5, 40))
    _, (a, b) = coordinates([x[:2], x[2:]], 1e9)
    both = np.concatenate([a, b])
    np.testing.assert_allclose(both @ both.T, x @ x.T, atol=1e-8)


def test_pipeline_search_and_routing() -> None:
    xs, ys, xt, yt, test, y_test = domains()
    with config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), TransferClassifier())
        pipe.set_params(transform_input=["X_source"]) if hasattr(pipe, "transform_input") else None
        pipe.fit(xt, yt, X_source=xs, y_source=ys)
        by_hand = TransferClassifier().fit(pipe[0].transform(xt), yt, X_source=pipe[0].transform(xs), y_source=ys)
        np.testing.assert_allclose(pipe.predict_proba(test), by_hand.predict_proba(pipe[0].transform(test)))
        search = GridSearchCV(TransferClassifier(), {"lam": [0.0, 1.0], "guard": [True, False]}, cv=3)
        search.fit(xt, yt, X_source=xs, y_source=ys)
        assert search.score(test, y_test) > 0.5
        x, y = np.concatenate([xs, xt]), np.concatenate([ys, yt])
        of = np.repeat([1, -1], [len(xs), len(xt)])
        whole = make_pipeline(PCA(4, random_state=0), TransferClassifier()).fit(x, y, sample_domain=of)
        assert whole.predict(test, sample_domain=np.full(len(test), -1)).shape == (len(test),)
    assert clone(TransferClassifier(lam=0.3)).lam == 0.3
    again = pickle.loads(pickle.dumps(by_hand))
    np.testing.assert_array_equal(again.predict(test), by_hand.predict(test))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library: str) -> None:
    frames = pytest.importorskip(library)
    xs, ys, xt, yt, test, _ = domains()
    frame = lambda x: frames.DataFrame({f"f{i}": x[:, i] for i in range(x.shape[1])})  # noqa: E731
    column = lambda y: frames.Series(y)  # noqa: E731
    fitted = TransferClassifier().fit(frame(xt), column(yt), X_source=frame(xs), y_source=column(ys))
    plain = TransferClassifier().fit(xt, yt, X_source=xs, y_source=ys)
    assert fitted.feature_names_in_.tolist() == [f"f{i}" for i in range(8)]
    np.testing.assert_array_equal(fitted.predict(frame(test)), plain.predict(test))


def test_classes_are_united_shared_as_text_or_apart() -> None:
    xs, ys, xt, yt, *_ = domains()
    only = yt != "c"
    assert TransferClassifier().fit(xt[only], yt[only], X_source=xs, y_source=ys).classes_.tolist() == ["a", "b", "c"]
    narrow = TransferClassifier(classes="target").fit(xt[only], yt[only], X_source=xs, y_source=ys)
    assert narrow.classes_.tolist() == ["a", "b"]
    assert narrow.coef_.shape == (1, 8)
    with pytest.warns(UserWarning, match="reaches nothing"):
        apart = TransferClassifier().fit(xt, yt, X_source=xs, y_source=np.char.add("z", ys))
    np.testing.assert_allclose(
        apart.predict_proba(xt), TransferClassifier(guard=False).fit(xt, yt).predict_proba(xt), atol=0.3
    )
    assert apart.classes_.tolist() == ["a", "b", "c"]
    numbers = TransferClassifier().fit(
        xt,
        np.searchsorted(["a", "b", "c"], yt),
        X_source=xs,
        y_source=np.array(["0", "1", "2"])[np.searchsorted(["a", "b", "c"], ys)],
    )
    assert numbers.classes_.tolist() == [0, 1, 2]


def test_wrong_calls_name_the_option() -> None:
    x, y = np.eye(4), [0, 1, 0, 1]
    for options, said in (
        ({"lam": -1.0}, "lam"),
        ({"weights": "much"}, "odds"),
        ({"ridge": 0}, "ridge"),
        ({"align": 1}, "coral"),
    ):
        with pytest.raises(ValueError, match=said):
            TransferClassifier(**options).fit(x, y)
    with pytest.raises(ValueError, match="belong together"):
        TransferClassifier().fit(x, y, X_source=x)
    with pytest.raises(CrossgraftError, match="classes_"):
        TransferClassifier().fit(x, y, source=StandardScaler())


def test_scorers_read_no_target_label() -> None:
    xs, ys, _, _, test, y_test = domains(shift=1.5)
    model = LogisticRegression().fit(xs, ys)
    x, of = np.concatenate([xs[:150], test]), np.repeat([1, -1], [150, len(test)])
    for name in ("im", "snd", "dev", "iwv", "source_accuracy"):
        both = [
            LabelFreeScorer(name)(model, x, np.concatenate([ys[:150], y]), sample_domain=of)
            for y in (y_test, y_test[::-1])
        ]
        assert both[0] == both[1]
        assert both[0] == pytest.approx(LabelFreeScorer(name, X_source=xs[:150], y_source=ys[:150])(model, test))
    near, far = GapScorer(xs)(None, xs[::2] + 0.01), GapScorer(xs)(None, test)
    assert near > far
    search = cross_validate(model, test, y_test, scoring={"im": LabelFreeScorer("im"), "gap": GapScorer(xs)}, cv=3)
    assert np.isfinite(search["test_im"]).all()
    with pytest.raises(ValueError, match="X_source"):
        GapScorer()(None, test)


def test_frozen_features_of_arrays_paths_and_frames(pictures: Path) -> None:
    files = sorted(pictures.rglob("*.png"))
    made = FrozenFeatures("auto").fit(files)
    x = made.transform([str(f) for f in files])
    assert x.shape == (24, 1280)
    assert x.dtype == np.float32
    from PIL import Image

    arrays = np.stack([np.asarray(Image.open(f)) for f in files[:3]])
    np.testing.assert_allclose(made.transform(arrays), x[:3], atol=1e-4)
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.transform(files[:2]), x[:2])
    y = [f.parent.name for f in files]
    assert (
        make_pipeline(FrozenFeatures(), TransferClassifier()).fit(files[::2], y[::2]).score(files[1::2], y[1::2]) > 0.8
    )
    (pictures / "broken.png").write_bytes(b"no picture")
    with pytest.raises(CrossgraftError, match="row 1"):
        made.transform([files[0], pictures / "broken.png"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rows = made.set_params(on_error="nan").transform([files[0], pictures / "broken.png"])
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[0]).all()
    assert any("row 1" in str(w.message) for w in said)


def test_two_labels_a_class_of_digits() -> None:
    x, y = load_digits(return_X_y=True)
    few = np.concatenate([np.flatnonzero(y == c)[:2] for c in range(10)])
    rest = np.setdiff1d(np.arange(len(y)), few)
    source = 16 - 0.7 * (16 - x[rest[:500]]) + np.random.default_rng(0).normal(0, 2, (500, 64))
    both = TransferClassifier().fit(x[few], y[few], X_source=source, y_source=y[rest[:500]])
    alone = TransferClassifier().fit(x[few], y[few])
    assert both.score(x[rest[500:]], y[rest[500:]]) > alone.score(x[rest[500:]], y[rest[500:]])


def test_the_same_seed_is_the_same_model() -> None:
    x, y = make_classification(400, 10, random_state=0)
    fits = [TransferClassifier(random_state=3).fit(x[:30], y[:30], X_source=x[30:], y_source=y[30:]) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)
