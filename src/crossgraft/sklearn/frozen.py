"""Frozen layers behind scikit-learn's transformer: whatever the road's backbones read, to features."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from crossgraft.backbones.backbone import Backbone
from crossgraft.domains import open_domain
from crossgraft.domains.arrays import array_domain
from crossgraft.domains.domain import Domain
from crossgraft.domains.folders import example_files
from crossgraft.domains.sorts import PICTURES
from crossgraft.errors import CrossgraftError
from crossgraft.sklearn.coordinates import OptionError


class FrozenFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Pictures by path or as arrays, texts, or vectors as they are, to features (N, D) of a frozen backbone, float32.

    Features are computed once: what the store has is taken. The layers learn nothing here, so no label leaks.

    Parameters
    ----------
    backbone : str
        As `--backbone`: auto, torchvision/NAME, a model of timm; auto leaves vectors as they are.
    weights : str or None
        A local file of weights.
    on_error : {"raise", "nan"}
        What to do with an input that cannot be read: stop and name it, or warn and give a row of NaN.

    Attributes
    ----------
    revision_ : hash of the backbone's weights
    n_features_out_ : D

    >>> pictures = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    >>> FrozenFeatures().fit_transform(np.eye(3)).shape
    (3, 3)
    """

    def __init__(self, backbone: str = "auto", *, weights: str | None = None, on_error: str = "raise") -> None:
        self.backbone, self.weights, self.on_error = backbone, weights, on_error

    def __sklearn_tags__(self) -> Any:
        """Pictures and paths are read beside vectors; what comes out is float32."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> FrozenFeatures:
        """Find the backbone that reads these inputs."""
        if self.on_error not in ("raise", "nan"):
            raise OptionError(f"on_error={self.on_error!r}", "take 'raise' or 'nan'")
        self._backbone = self._found(self._domain(X, reset=True))
        self.revision_, self.n_features_out_ = self._backbone.revision, self._backbone.dim
        return self

    def transform(self, X: Any) -> Any:
        """Features, float32 (N, D), one row an input."""
        from crossgraft import features

        check_is_fitted(self, "revision_")
        domain = self._domain(X, reset=False)
        if self._backbone is None:  # after it was unpickled: the weights are found again by their name
            self._backbone = self._found(domain)
            if self._backbone.revision != self.revision_:
                raise CrossgraftError(
                    f"backbone {self.backbone} is not the one that was fitted", "install its weights, or fit again"
                )
        found = features.features(domain, self._backbone)
        if found.failures:
            row, reason = found.failures[0]
            said = f"{len(found.failures)} inputs cannot be read, the first is row {row}"
            if self.on_error == "raise":
                raise CrossgraftError(f"{said} ({reason})", "leave it out, or take on_error='nan'")
            warnings.warn(f"{said} ({reason}): their features are NaN", stacklevel=2)
            found.values[[i for i, _ in found.failures]] = np.nan
        return np.asarray(found.values, dtype=np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """All but the layers."""
        state: dict[str, Any] = super().__getstate__()
        return state | ({"_backbone": None} if "_backbone" in state else {})

    def _found(self, domain: Domain) -> Backbone:
        from crossgraft import backbones

        found = backbones.load(self.backbone, domain, weights=self.weights)
        if not found.pretrained:
            remedy = "take a pretrained one, or train it with crossgraft fit"
            raise OptionError(f"backbone {self.backbone} has learned nothing", remedy)
        return found

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """frozenfeatures0, frozenfeatures1, ..."""
        check_is_fitted(self, "revision_")
        return np.array([f"frozenfeatures{i}" for i in range(self.n_features_out_)], dtype=object)

    def _domain(self, X: Any, reset: bool) -> Domain:
        if isinstance(X, Domain):
            return X
        if isinstance(X, (str, os.PathLike)):
            return open_domain(X, "X")
        values = X.to_numpy() if hasattr(X, "to_numpy") and getattr(X, "ndim", 1) == 1 else X
        if _strings(values):
            named = [v if v is None else os.fspath(v) for v in np.ravel(np.asarray(values, dtype=object))]
            if any(v is not None and (PICTURES.named(v) or os.path.isfile(v)) for v in named[:20]):
                return example_files([Path(v or "") for v in named], "X")
            from crossgraft.domains.texts import text_domain

            return text_domain(named, "X")
        if getattr(values, "ndim", 2) in (3, 4):
            return array_domain(values, None, "X")
        rows = validate_data(self, X, reset=reset, dtype=np.float32)
        return array_domain(rows, None, "X")


def _strings(values: Any) -> bool:
    """Whether these are texts or names of files, one a row."""
    one_column = getattr(values, "ndim", 1) == 1 or (values.ndim == 2 and values.shape[1] == 1)
    if not one_column or not hasattr(values, "__len__") or isinstance(values, dict) or len(values) == 0:
        return False
    first = values[0] if not hasattr(values, "ravel") else values.ravel()[0]
    return isinstance(first, (str, os.PathLike))
