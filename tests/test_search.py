from __future__ import annotations

from typing import Any

import pytest

from crossgraft.errors import UsageError
from crossgraft.methods import METHODS, suggest
from crossgraft.objective.algebra import Objective


class Highest:
    def __init__(self) -> None:
        self.asked: list[tuple[str, float, float, bool]] = []

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        self.asked.append((name, low, high, log))
        return high


@pytest.mark.parametrize("method", [m for m, row in METHODS.items() if row.numbers and not row.phases])
def test_every_number_is_drawn_from_its_own_range_and_is_the_weight_of_its_term(method: str) -> None:
    trial, row = Highest(), METHODS[method]
    options: dict[str, Any] = suggest(trial, method)
    assert trial.asked == [(f"{method}.{n}", own.low, own.high, True) for n, own in row.numbers.items()]
    if method == "joint":
        assert options == {"method": "joint", "lam": row.numbers["lam"].high}
        return
    weights = [term.weight for term in Objective.parse(options["objective"]).terms]
    assert weights[-1] == next(iter(row.numbers.values())).high
    assert set(weights[:-1]) == {1.0}


def test_what_no_option_sets_is_refused() -> None:
    assert suggest(Highest(), "finetune") == {"method": "finetune"}
    with pytest.raises(UsageError, match="phases"):
        suggest(Highest(), "mcd")
    with pytest.raises(UsageError, match="dann"):
        suggest(Highest(), "dan")
