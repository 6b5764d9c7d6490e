"""The door for scikit-learn: estimators and scorers on arrays; each is imported when it is first asked for.

>>> from crossgraft.sklearn import TransferClassifier
>>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"]
>>> TransferClassifier().fit(X[::2], y[::2], X_source=X, y_source=y).predict(X).tolist()
['a', 'a', 'b', 'b']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossgraft.lazy import lazily

__all__ = ["FrozenFeatures", "GapScorer", "LabelFreeScorer", "TransferClassifier"]

_HOME = {
    "FrozenFeatures": "frozen",
    "GapScorer": "scorers",
    "LabelFreeScorer": "scorers",
    "TransferClassifier": "classifier",
}

if TYPE_CHECKING:
    from crossgraft.sklearn.classifier import TransferClassifier
    from crossgraft.sklearn.frozen import FrozenFeatures
    from crossgraft.sklearn.scorers import GapScorer, LabelFreeScorer


__getattr__ = lazily(__name__, _HOME)
