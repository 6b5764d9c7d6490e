"""Which words of a text decide: what the model says of it without them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft import features
from crossgraft.domains.texts import joined
from crossgraft.features.ragged import Ragged
from crossgraft.solve.fitted import Fitted

PIECES = 24  # parts of a text that are left out one by one: words, or runs of words where it has more
SHOWN = 5  # that are named
CHARACTERS = 1000  # of a text that are shown, and looked at


def shown(text: Any) -> str:
    """A text as the report shows it; of a long one the beginning."""
    whole = joined(text)
    return whole if len(whole) <= CHARACTERS else whole[:CHARACTERS] + " …"


def deciding(
    fitted: Fitted, texts: Sequence[Any], predicted: Int[np.ndarray, " n"], columns: Int[np.ndarray, " k"]
) -> list[list[dict[str, Any]]]:
    """For each text the parts that speak most for its predicted class, by occlusion (Zeiler and Fergus, ECCV 2014).

    predicted  places within `columns`

    A part's weight is by how many nats log p of the class falls when the part is left out; parts that speak against it
    are not named.
    """
    tokens = fitted.backbone.tokens
    assert tokens is not None
    found = []
    for text, k in zip(texts, predicted, strict=True):
        whole = shown(text)
        parts = _parts(whole)
        without = [whole[:a] + whole[b:] for a, b in parts]
        x = features.embed(fitted.backbone, Ragged.of(tokens.encode([whole, *without])))
        log_p: Float[np.ndarray, " v"] = fitted.of_features(x, columns)[:, k]
        falls = log_p[0] - log_p[1:]
        most = [i for i in np.argsort(-falls, kind="stable")[:SHOWN] if falls[i] > 0]
        found.append([{"words": whole[slice(*parts[i])].strip(), "nats": float(falls[i])} for i in most])
    return found


def _parts(text: str) -> list[tuple[int, int]]:
    """At most PIECES parts of about as many words each, with their blanks; characters where there are no blanks.

    >>> _parts("so very good")
    [(0, 3), (3, 8), (8, 12)]
    """
    ends = [m.end() for m in re.finditer(r"\S+\s*", text)]
    if len(ends) < 3:
        ends = list(range(1, len(text) + 1))
    step = -(-len(ends) // PIECES)
    cuts = [0, *ends[step - 1 : -1 : step], len(text)]
    return [(a, b) for a, b in pairwise(cuts) if b > a]
