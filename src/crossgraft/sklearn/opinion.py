"""What a source model says of rows: any fitted classifier of scikit-learn or skada, or a run of crossgraft."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.sklearn.coordinates import Matrix, OptionError

LEAST = -15.0  # nats: a probability of zero is an opinion, not a certainty
PROBED = 20_000  # features up to which a model is asked for its coefficients, one row a feature

Opinion = Callable[[Matrix], Float[np.ndarray, "n Z"]]


def opinion_of(source: Any) -> tuple[Opinion, list[Any]]:
    """Logits of a fitted model, centred over its classes, and those classes. Raises where it has none."""
    from crossgraft.domains.domain import plural
    from crossgraft.run import Run

    if isinstance(source, (str, os.PathLike)):
        source = Run.open(os.fspath(source))
    if isinstance(source, Run):
        model = source.model
        if model.backbone.kind != "vector":
            raise OptionError(
                f"the run in {source.folder} reads {plural(model.backbone.kind)}",
                "give a run that was trained on arrays",
            )
        return lambda x: _centred(_of_run(model, x)), list(model.task.classes)
    classes = _classes(source)
    if classes is None:
        raise OptionError(
            f"source is a {type(source).__name__} without classes_", "give a fitted classifier, or a run of crossgraft"
        )
    for name in ("predict_log_proba", "predict_proba", "decision_function"):
        if hasattr(source, name):
            return partial(_opinion_by, source, name), classes
    raise OptionError(
        f"source is a {type(source).__name__} that gives neither probabilities nor decisions",
        "wrap it in CalibratedClassifierCV",
    )


def _classes(source: Any) -> list[Any] | None:
    """A fitted model's classes; a pipeline of skada has them in the estimator that its last step wraps."""
    last = source.steps[-1][1] if hasattr(source, "steps") else source
    held = next((m for m in (source, getattr(last, "base_estimator_", None)) if hasattr(m, "classes_")), None)
    return None if held is None else list(held.classes_)


def affine(opinion: Opinion, rows: Matrix) -> tuple[Float[np.ndarray, "D Z"], Float[np.ndarray, " Z"]] | None:
    """Weight and bias where the logits are affine in the features, as of a logistic regression behind scalers."""
    from scipy import sparse

    d = rows.shape[1]
    some = rows[np.linspace(0, rows.shape[0] - 1, min(rows.shape[0], 50)).astype(int)]
    if d > PROBED:
        return None
    eye = sparse.eye_array(d, format="csr") if sparse.issparse(rows) else np.eye(d)
    try:
        bias = opinion(eye[:1] * 0)[0]
        weight = opinion(eye) - bias
        off = np.abs(np.asarray(some @ weight) + bias - opinion(some)).max()
    except Exception:  # a model that reads frames, or refuses rows that no data hold, is asked row by row instead
        return None
    return (weight, bias) if off < 1e-6 * (1 + np.abs(weight).max() + np.abs(bias).max()) else None


def _opinion_by(source: Any, name: str, x: Matrix) -> Float[np.ndarray, "n Z"]:
    return _centred(_asked(source, name, x))


def _asked(source: Any, name: str, x: Matrix) -> Float[np.ndarray, "n Z"]:
    z = np.asarray(getattr(source, name)(x), dtype=np.float64)
    if name == "decision_function":
        return np.stack([-z / 2, z / 2], axis=1) if z.ndim == 1 else z
    if name == "predict_proba":
        with np.errstate(divide="ignore"):
            z = np.log(z)
    return z if np.isfinite(z).all() else np.maximum(z, LEAST)


def _of_run(model: Any, x: Matrix) -> Float[np.ndarray, "n Z"]:
    from scipy import sparse

    from crossgraft.domains.arrays import array_domain

    domain = array_domain(x.toarray() if sparse.issparse(x) else x, None, "source model")
    z: np.ndarray = model.log_probabilities(domain)[0]
    return z


def _centred(z: Float[np.ndarray, "n Z"]) -> Float[np.ndarray, "n Z"]:
    return np.asarray(z - z.mean(axis=1, keepdims=True))
