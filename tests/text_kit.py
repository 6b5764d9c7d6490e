"""A few texts and tagged sentences, and layers that answer in float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TEXTS = ["it is good", "very bad it was", "love it", "hate it so much indeed"]
WORDS = [("Ada", "Lovelace", "wrote"), ("She", "lived", "in", "London")]
TAGS = [("B-person", "I-person", "O"), ("O", "O", "O", "B-place")]
LABELLED_TEXTS, TAGGED = (TEXTS * 8, ["p", "n"] * 16), (list(WORDS) * 10, list(TAGS) * 10)
SHORT = {"baselines": False, "guard": False, "steps": 2}


@pytest.fixture(autouse=True, scope="module")
def _in_float32() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSGRAFT_ENGINE", "torch")
        yield
