"""`--schedule auto`: frozen or lp_ft by held-out evidence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from crossgraft.choose import FOLDS, LARGE_FOLDS, Learn, schedule_for
from crossgraft.side import Side


def chosen(moving: float, *, pretrained: bool = True, spread: float = 0.0) -> tuple[str, int]:
    """What is chosen where frozen gives the truth 0.6 and lp_ft `moving`; and how many folds lp_ft was trained for."""
    labels = np.repeat([0, 1], 20)
    recipe = SimpleNamespace(schedule="auto", seed=0)
    backbone = SimpleNamespace(name="some", pretrained=pretrained, groups=(("all", ("",)),))
    target = Side(cast(Any, SimpleNamespace(groups=None)), np.arange(2), labels)
    job = SimpleNamespace(
        target=target, rows=np.arange(40), recipe=recipe, backbone=backbone, covered=True, selection="cv", warnings=[]
    )
    trained = []

    def by(schedule: str) -> Learn:
        def learn(rows: Any, use: str) -> Any:
            trained.append(schedule)
            right = moving if schedule == "lp_ft" else 0.6

            def log_probabilities(side: Any, held: np.ndarray) -> np.ndarray:
                p = right * np.exp(spread * np.where(np.arange(len(held)) % 2, -1, 1) * (schedule == "lp_ft"))
                truth = labels[held][:, None] == np.arange(2)
                return np.log(np.where(truth, p[:, None], 1 - p[:, None]))

            return SimpleNamespace(features=log_probabilities, logits=lambda x, columns: x)

        return cast(Learn, learn)

    schedule, _ = schedule_for(cast(Any, job), by)
    return schedule, trained.count("lp_ft")


def test_the_better_is_taken_after_all_folds() -> None:
    assert chosen(0.9) == ("lp_ft", LARGE_FOLDS)


def test_pretrained_layers_that_lose_are_not_trained_for_every_fold() -> None:
    assert chosen(0.3) == ("frozen", 1)


def test_pretrained_layers_stay_where_lp_ft_is_ahead_within_noise() -> None:
    assert chosen(0.62, spread=0.3) == ("frozen", LARGE_FOLDS)


@pytest.mark.parametrize("moving", [0.6, 0.61])
def test_layers_that_have_seen_only_the_source_learn_at_a_tie(moving: float) -> None:
    assert chosen(moving, pretrained=False, spread=0.3) == ("lp_ft", FOLDS)
