"""The joint path behind scikit-learn's classifier: labels of a target, and what a source can add to them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from crossgraft.sklearn import given as doors
from crossgraft.sklearn.coordinates import OptionError
from crossgraft.sklearn.given import columns_of
from crossgraft.sklearn.opinion import opinion_of
from crossgraft.sklearn.problem import Asked, Given
from crossgraft.sklearn.shallow import transfer
from crossgraft.tasks import log_softmax

MOST = 2.0**30
_PASSED = {"sample_domain": True, "allow_source": True}


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """CE_target + lam CE_source + ridge/2 |W - W0|^2 in a linear head, lam and ridge by leave-one-out on the target.

    W0 is zero, or the head of a source model. With lam "auto" and source rows the head is an average: coupled heads
    of both domains at 18 points of lambda, ridge and how far apart they may be, weighted by what left-out labels say
    of each (`blend.blend`). Beside it stand target only and source only; the guard keeps the one that held-out
    cross-entropy favours. Features are taken as they are: put a scaler before it where their units differ.

    Parameters
    ----------
    lam : float or "auto"
        Weight of the source's cross-entropy; "auto" takes it from the path.
    ridge : float or "auto"
        Ridge for features of mean squared norm 1; "auto" takes it from the path.
    weights : {None, "odds"}
        Weigh source rows by P(target | x) / P(source | x) of a cross-fitted domain classifier (importance weights).
    label_shift : {None, "em", "bbse"}
        Weigh source rows by q(y) / p(y), q estimated from target inputs.
    align : {None, "mean", "coral", "auto"}
        Give source rows the mean, or the mean and covariance, of the target's inputs first. "auto" is the mean, but
        None where left-out labels are against it, and beside `weights`, `label_shift` or a source model.
    pseudo : int
        Rounds of self-training on the target's rows without a label, 0 for none. With a lam, or a source model, held
        to where the target has no label.
    guard : bool
        Keep target only or source only where held-out evidence favours it; else the transfer is kept.
    classes : {"union", "target"}
        What can be predicted: the classes of both domains, or of the target's labels alone. Where the two share no
        class, and where the target has no label, it follows from that.
    max_dense : float
        Bytes that rows may take as numbers in full. Sparse rows are never approximated.
    random_state : int, RandomState or None
        Draws of rows and folds.

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_
    coef_, intercept_ : as of LogisticRegression; without the part that reads a source model which is not linear
    kept_ : "target_only", "transfer" or "source_only"
    why_ : the guard's sentence
    lam_, ridge_ : those of the kept model, of an average those of its heaviest head
    blend_ : the heads that were averaged: lam, ridge, apart, left-out loss and weight of each; empty without one
    align_ : how source rows were moved: None, "mean" or "coral"
    objective_ : the objective that was minimised
    path_ : leave-one-out cross-entropy at every lambda and ridge where lam is held or the source is a model, or None
    source_weights_ : weight of each source row, or None
    label_shift_ : the estimated class frequencies of the target, or None

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> few = TransferClassifier().fit(X[::15], y[::15], X_source=X + 0.3, y_source=y)
    >>> few.kept_, bool(few.score(X, y) > 0.9)
    ('transfer', True)
    """

    __metadata_request__fit = dict.fromkeys(("X_source", "y_source", "source", "X_unlabelled", "sample_domain"), True)
    __metadata_request__predict = __metadata_request__predict_proba = _PASSED
    __metadata_request__predict_log_proba = __metadata_request__decision_function = _PASSED
    __metadata_request__score = _PASSED | {"sample_weight": True}

    def __init__(
        self,
        *,
        lam: float | str = "auto",
        ridge: float | str = "auto",
        weights: str | None = None,
        label_shift: str | None = None,
        align: str | None = "auto",
        pseudo: int = 5,
        guard: bool = True,
        classes: str = "union",
        max_dense: float = MOST,
        random_state: Any = 0,
    ) -> None:
        self.lam, self.ridge = lam, ridge
        self.weights, self.label_shift, self.align = weights, label_shift, align
        self.pseudo, self.guard, self.classes = pseudo, guard, classes
        self.max_dense, self.random_state = max_dense, random_state

    def __sklearn_tags__(self) -> Any:
        """Sparse rows are read."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        X_source: Any = None,
        y_source: Any = None,
        source: Any = None,
        X_unlabelled: Any = None,
        sample_domain: Any = None,
    ) -> TransferClassifier:
        """Fit on target rows X with labels y (None where one is missing), and what there is of a source.

        X_source, y_source   labelled rows of the source
        source               a fitted classifier, or a run of crossgraft (or its folder): the ridge pulls towards it
        X_unlabelled         more target rows without labels
        sample_domain        as in skada: X and y hold both domains, a row of the target is negative; there -1 (where
                             the source has no such class), NaN or None is no label
        """
        asked = self._asked()
        d = doors.read(self, X, y, X_source, y_source, X_unlabelled, sample_domain)
        opinion, own = opinion_of(source) if source is not None else (None, [])
        target, theirs = np.unique(d.y_t), np.unique(d.y_s) if d.x_s is not None else np.asarray(own)
        classes = doors.classes_of(target, theirs, self.classes)
        every = (
            [*classes, *(c for c in theirs.tolist() if columns_of(classes, [c])[0] < 0)]
            if d.x_s is not None
            else classes
        )
        sees = np.arange(len(classes))
        seen_s = np.unique(y_s := columns_of(every, d.y_s.tolist()))
        given = Given(
            d.x_t, columns_of(classes, d.y_t.tolist()), d.z, d.x_s, y_s, sees, seen_s, len(every),
            opinion, tuple(columns_of(every, own).tolist()),
        )  # fmt: skip
        found = transfer(given, asked)
        if not found.reaches:
            warnings.warn("the source shares no class with the target: X_source reaches nothing", stacklevel=2)
        self.classes_ = classes
        k = len(classes)
        self._weight, self._bias = found.weight[:, :k], found.bias[:k]
        self._extra = None if found.extra is None else found.extra[:, :k]
        self._opinion = None if found.extra is None else source
        self.coef_ = self._weight.T if k != 2 else (self._weight[:, 1] - self._weight[:, 0])[None]
        self.intercept_ = self._bias if k != 2 else self._bias[1:] - self._bias[:1]
        self.kept_, self.why_, self.verdict_ = found.kept, found.verdict.why, found.verdict
        self.lam_, self.ridge_, self.objective_ = found.lam, found.ridge, found.objective
        self.path_ = None if found.solved is None else found.solved.path
        self.blend_, self.align_ = found.spots, found.align
        self.source_weights_, self.label_shift_ = found.row_weights, found.shift
        return self

    def predict(self, X: Any, sample_domain: Any = None, allow_source: bool = True) -> Any:
        """The most probable class of each row; the domain of a row is not asked for."""
        z = self._logits(X)
        return self.classes_[z.argmax(axis=1)]

    def predict_log_proba(self, X: Any, sample_domain: Any = None, allow_source: bool = True) -> Any:
        """log p(y|x), nats."""
        return log_softmax(self._logits(X))

    def predict_proba(self, X: Any, sample_domain: Any = None, allow_source: bool = True) -> Any:
        """p(y|x)."""
        return np.exp(self.predict_log_proba(X))

    def decision_function(self, X: Any, sample_domain: Any = None, allow_source: bool = True) -> Any:
        """Logits; of two classes the second's less the first's."""
        z = self._logits(X)
        return z[:, 1] - z[:, 0] if z.shape[1] == 2 else z

    def score(
        self, X: Any, y: Any, sample_weight: Any = None, sample_domain: Any = None, allow_source: bool = True
    ) -> float:
        """Accuracy."""
        return float(super().score(X, y, sample_weight=sample_weight))

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "classes_")
        x = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        z = np.asarray(x @ self._weight) + self._bias
        if self._extra is not None:
            z = z + opinion_of(self._opinion)[0](x) @ self._extra
        return np.asarray(z)

    def _asked(self) -> Asked:
        for name, known in (
            ("weights", (None, "odds")),
            ("label_shift", (None, "em", "bbse")),
            ("align", (None, "mean", "coral", "auto")),
            ("classes", ("union", "target")),
        ):
            if getattr(self, name) not in known:
                raise OptionError(f"{name}={getattr(self, name)!r}", f"take one of {', '.join(map(repr, known))}")
        lam, ridge = (
            None if v == "auto" else doors.number(n, v) for n, v in (("lam", self.lam), ("ridge", self.ridge))
        )
        return Asked(
            lam, ridge, self.weights, self.label_shift, self.align, int(self.pseudo), bool(self.guard),
            float(self.max_dense), doors.seed_of(self.random_state),
        )  # fmt: skip
