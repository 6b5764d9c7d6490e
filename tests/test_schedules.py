"""Schedules: which parts learn when, and that no other moves."""

from __future__ import annotations

import numpy as np
import pytest

from crossgraft.backbones.backbone import Backbone
from crossgraft.errors import UsageError
from crossgraft.objective.algebra import ce
from crossgraft.solve.loop import Settings
from crossgraft.solve.schedules import DECAY, HEAD, LOWEST, SCHEDULES, layer_rates, plan


def backbone(n: int) -> Backbone:
    return Backbone("b", "r", "vector", 4, lambda: None, tuple((f"g{i}", (f"{i}",)) for i in range(n)))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("solved", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("name", SCHEDULES)
def test_stages_add_to_the_steps_and_the_head_always_learns(name: str, steps: int, solved: bool) -> None:
    stages = plan(name, ce("target"), backbone(3), Settings(steps=steps), head_is_solved=solved)
    assert sum(s.steps for s in stages) == steps
    assert all(p.rates[HEAD] == 1 for s in stages for p in s.phases)
    assert all(p.objective == ce("target") for s in stages for p in s.phases)


def test_what_learns() -> None:
    def learning(name: str, solved: bool) -> list[list[str]]:
        stages = plan(name, ce("target"), backbone(2), Settings(steps=30), head_is_solved=solved)
        return [list(s.phases[0].rates) for s in stages]

    everything = ["g0", "g1", HEAD]
    assert learning("frozen", False) == [[HEAD]]
    assert learning("lp_ft", True) == [everything]
    assert learning("lp_ft", False) == [[HEAD], everything]
    assert learning("gradual", True) == [["g1", HEAD], everything]
    assert learning("gradual", False) == [[HEAD], ["g1", HEAD], everything]
    assert learning("full", False) == learning("from_nothing", True) == [everything]


def test_rates_fall_towards_the_input_and_not_below_the_lowest() -> None:
    rates = list(layer_rates(backbone(3)).values())
    np.testing.assert_allclose(rates, [DECAY**3, DECAY**2, DECAY, 1])
    many = list(layer_rates(backbone(40)).values())
    assert many == sorted(many)
    assert many[0] == pytest.approx(LOWEST)


def test_without_layers_there_is_only_the_head() -> None:
    for name in SCHEDULES:
        for solved in (True, False):
            stages = plan(name, ce("target"), backbone(0), Settings(steps=9), head_is_solved=solved)
            assert {tuple(s.phases[0].rates) for s in stages} == {(HEAD,)}


def test_an_unknown_schedule_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'lp_ft'"):
        plan("lpft", ce("target"), backbone(1), Settings(), head_is_solved=True)
