"""Scorers for scikit-learn's searches: how far apart two domains are, and scores that need no target labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossgraft.measure import validators
from crossgraft.sklearn.coordinates import OptionError

NAMES = ("im", "snd", "dev", "iwv", "source_accuracy")


class GapScorer:
    """scorer(estimator, X): minus the lower bound on the Jensen-Shannon divergence of the features, nats; 0 is best.

    X_source  source rows; or none, and `sample_domain` where X holds both, negative for the target's rows
    seed      draws of folds

    The estimator's `transform` gives the features; where it has none, rows are compared as they are.

    >>> draw = np.random.default_rng(0)
    >>> near, far = draw.normal(0, 1, (80, 2)), draw.normal(4, 1, (80, 2))
    >>> bool(GapScorer(near)(None, far) < GapScorer(near)(None, draw.normal(0, 1, (80, 2))))
    True
    """

    def __init__(self, X_source: Any = None, *, seed: int = 0) -> None:
        self.X_source, self.seed = X_source, seed

    def __call__(self, estimator: Any, X: Any, y: Any = None, *, sample_domain: Any = None) -> float:
        """Minus the bound."""
        from crossgraft.measure.divergence import gap

        target, source = _sides(X, sample_domain, self.X_source)
        seen = [np.asarray(estimator.transform(x) if hasattr(estimator, "transform") else x) for x in (source, target)]
        return -gap(*seen, permutations=1, seed=self.seed).jsd.value


class LabelFreeScorer:
    """scorer(estimator, X, y): a score of predictions that reads no target label, the higher the better.

    name      im (information maximisation, nats), snd (soft neighbourhood density, nats), iwv (minus the importance
              weighted risk of source rows, nats), dev (the same of less variance) or source_accuracy
    X_source, y_source   held-out source rows, for iwv, dev and source_accuracy; or pass `sample_domain`

    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = [[-1.0], [1.0]] * 5, [0, 1] * 5
    >>> bool(0 < LabelFreeScorer("im")(LogisticRegression().fit(X, y), X) < np.log(2))
    True
    """

    def __init__(self, name: str = "im", *, X_source: Any = None, y_source: Any = None, seed: int = 0) -> None:
        if name not in NAMES:
            raise OptionError(f"{name!r} is no label-free score", f"take one of {', '.join(NAMES)}")
        self.name, self.X_source, self.y_source, self.seed = name, X_source, y_source, seed

    def __call__(self, estimator: Any, X: Any, y: Any = None, *, sample_domain: Any = None) -> float:
        """The score of the estimator on target rows."""
        if self.name in ("im", "snd"):
            target = X if sample_domain is None else X[np.asarray(sample_domain) < 0]
            p = np.asarray(estimator.predict_proba(target))
            return validators.im(p) if self.name == "im" else validators.snd(p[: validators.MOST])
        target, source = _sides(X, sample_domain, self.X_source)
        labels = self.y_source if sample_domain is None else np.asarray(y)[np.asarray(sample_domain) >= 0]
        if labels is None:
            raise OptionError(f"{self.name} needs the labels of source rows", "give y_source, or sample_domain")
        place = np.searchsorted(estimator.classes_, np.asarray(labels))
        p_s = np.asarray(estimator.predict_proba(source))
        if self.name == "source_accuracy":
            return float((p_s.argmax(1) == place).mean())
        losses = -np.log(np.maximum(p_s[np.arange(len(place)), place], 1e-12))
        risk = validators.dev if self.name == "dev" else validators.iwv
        return risk(losses, validators.odds(np.asarray(source), np.asarray(target), seed=self.seed))


def _sides(X: Any, sample_domain: Any, X_source: Any) -> tuple[Any, Any]:
    if sample_domain is not None:
        of_target = np.asarray(sample_domain) < 0
        return X[of_target], X[~of_target]
    if X_source is None:
        raise OptionError("there are no source rows", "give X_source, or sample_domain")
    return X, X_source
