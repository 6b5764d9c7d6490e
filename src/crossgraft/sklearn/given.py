"""Arrays, frames and sparse matrices as the rows of two domains; everything that is wrong with them is said here."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d, validate_data

from crossgraft.sklearn.coordinates import Matrix, OptionError

MASKED = -1  # how skada marks a target label that is missing


@dataclass(frozen=True, eq=False)
class Domains:
    """Labelled target rows, target rows without a label, and source rows where there are any."""

    x_t: Matrix
    y_t: np.ndarray
    z: Matrix
    x_s: Matrix | None
    y_s: np.ndarray


def read(
    estimator: Any, X: Any, y: Any, X_source: Any, y_source: Any, X_unlabelled: Any, sample_domain: Any
) -> Domains:
    """The rows of each domain, float64, dense or CSR. Raises ValueError as scikit-learn's own estimators do."""
    if sample_domain is not None:
        return _by_sign(estimator, X, y, sample_domain, X_source)
    kept = _known(y)
    if kept is None:
        x, labels = validate_data(estimator, X, y, accept_sparse="csr", dtype=np.float64)
        z = x[:0]
    else:
        x = _rows(estimator, X, reset=True)
        check_consistent_length(x, kept)
        x, z, labels = x[kept], x[~kept], np.asarray([v for v in y if v is not None])
    if len(labels):
        check_classification_targets(labels)
    if X_unlabelled is not None:
        z = _stack(z, _rows(estimator, X_unlabelled))
    if (X_source is None) != (y_source is None):
        raise OptionError("X_source and y_source belong together", "give both, or neither")
    if X_source is None:
        return _checked(Domains(x, labels, z, None, labels[:0]))
    x_s, y_s = _rows(estimator, X_source), _labels(y_source)
    check_consistent_length(x_s, y_s)
    return _checked(Domains(x, labels, z, x_s, y_s))


def classes_of(target: np.ndarray, source: np.ndarray, rule: str) -> np.ndarray:
    """The classes that can be predicted, sorted."""
    if len(target) == 0:
        return source
    texts = {str(c) for c in target}
    if rule == "target" or not texts & {str(c) for c in source}:
        return target
    others = [c for c in source if str(c) not in texts]
    if not others:
        return target
    if target.dtype.kind in "OUS":
        others = [str(c) for c in others]
    return np.unique(
        np.concatenate([target, np.asarray(others, dtype=target.dtype if target.dtype == object else None)])
    )


def number(name: str, value: Any) -> float:
    """A finite number of zero or more."""
    if not isinstance(value, numbers.Real) or not math.isfinite(value) or value < 0 or (name == "ridge" and value == 0):
        raise OptionError(f"{name}={value!r}", f"take 'auto', or a number {'above' if name == 'ridge' else 'from'} 0")
    return float(value)


def seed_of(random_state: Any) -> int:
    """An int as it is; None or a RandomState gives a draw."""
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    from sklearn.utils import check_random_state

    return int(check_random_state(random_state).randint(2**31 - 1))


def _by_sign(estimator: Any, X: Any, y: Any, sample_domain: Any, X_source: Any) -> Domains:
    if X_source is not None:
        raise OptionError("sample_domain and X_source say the same thing twice", "give one of them")
    x = _rows(estimator, X, reset=True)
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    of, labels = column_or_1d(np.asarray(sample_domain)), np.asarray(y)
    check_consistent_length(x, labels, of)
    target = of < 0
    masked = np.array([v is None or v != v for v in labels.tolist()])
    if labels.dtype.kind in "if" and not (labels[~target] == MASKED).any():
        masked |= labels == MASKED
    masked &= target
    y_t, y_s = _labels(labels[target & ~masked], none=True), _labels(labels[~target], none=True)
    x_s = x[~target] if (~target).any() else None
    return _checked(Domains(x[target & ~masked], y_t, x[masked], x_s, y_s))


def _checked(d: Domains) -> Domains:
    if len(d.y_t) == 0 and len(d.y_s) == 0:
        raise OptionError(
            "neither the target nor a source has a label", "label some rows, or give X_source and y_source"
        )
    return d


def _known(y: Any) -> np.ndarray | None:
    """Which labels are given, where some are None; None where all are."""
    is_list = isinstance(y, (list, tuple)) or (isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind == "O")
    if not is_list:
        return None
    known = np.array([v is not None for v in y], dtype=bool)
    return None if known.all() else known


def _labels(y: Any, none: bool = False) -> np.ndarray:
    labels: np.ndarray = column_or_1d(np.asarray(y), warn=True)
    if none and len(labels) == 0:
        return labels
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    labels = np.asarray(labels.tolist()) if labels.dtype == object else labels
    check_classification_targets(labels)
    return labels


def _rows(estimator: Any, X: Any, reset: bool = False) -> Matrix:
    return validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=np.float64)


def _stack(a: Matrix, b: Matrix) -> Matrix:
    from scipy import sparse

    if sparse.issparse(a) or sparse.issparse(b):
        return sparse.vstack([a, b], format="csr")
    return np.concatenate([a, b])


def columns_of(classes: Iterable[Any], own: Iterable[Any]) -> Int[np.ndarray, " k"]:
    """The columns of some classes, in the order of the columns; equal, or equal as text."""
    classes = list(classes)
    place = {c: i for i, c in enumerate(classes)}
    text = {str(c): i for i, c in enumerate(classes)}
    return np.array([place.get(c, text.get(str(c), -1)) for c in own], dtype=np.int64)
