"""Inputs to arrays: `pixels` as a backbone takes them, `features` through the store, `embed` for layers that moved."""

from __future__ import annotations

from crossgraft.features.compute import embed, features
from crossgraft.features.greys import kept_greys
from crossgraft.features.reading import Prepared, pixels
from crossgraft.features.store import Store

__all__ = ["Prepared", "Store", "embed", "features", "kept_greys", "pixels"]
