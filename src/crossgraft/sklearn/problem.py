"""What `TransferClassifier` is asked, and the checked rows that it is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from crossgraft.sklearn.coordinates import Matrix
from crossgraft.sklearn.opinion import Opinion


@dataclass(frozen=True)
class Asked:
    """How to transfer; `TransferClassifier` says what each means."""

    lam: float | None
    ridge: float | None
    weights: str | None
    label_shift: str | None
    align: str | None
    pseudo: int
    guard: bool
    most: float
    seed: int


@dataclass(frozen=True, eq=False)
class Given:
    """Checked rows, labels as columns of the head; y_t of labelled target rows, z of target rows without a label."""

    x_t: Matrix
    y_t: Int[np.ndarray, " n"]
    z: Matrix
    x_s: Matrix | None
    y_s: Int[np.ndarray, " S"]
    columns_t: Int[np.ndarray, " k"]
    columns_s: Int[np.ndarray, " k"]
    n_columns: int
    opinion: Opinion | None = None
    opinion_columns: tuple[int, ...] = ()  # the column of each class that the source model knows, -1 for none
