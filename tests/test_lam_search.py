"""`--lam search`: lambda by cross-validation of the schedule itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import crossgraft.lam_search as lam_search
from crossgraft.choose import HeldOut
from crossgraft.errors import UsageError
from crossgraft.lam_search import AROUND, SEARCH_FOLDS, search_lam
from crossgraft.run import Run
from crossgraft.side import Side
from crossgraft.transfer import Steps, fit

FAST: dict[str, Any] = {"backbone": "cnn", "steps": 5, "source_steps": 20, "shots": 2, "schedule": "lp_ft"}


def job(labels: list[int], covered: bool = True) -> Any:
    side = Side(cast(Any, None), np.arange(max(labels) + 1), np.array(labels))
    found = SimpleNamespace(target=side, rows=np.arange(len(labels)), covered=covered, selection="cv")
    return SimpleNamespace(**vars(found), warnings=[], searched={}, recipe=SimpleNamespace(seed=0))


def searched(monkeypatch: pytest.MonkeyPatch, means: dict[float, float], frozen: float, spread: float) -> float:
    """What is chosen where held-out losses have these means by lambda; the differences are `spread` apart."""
    noise = np.array([-1.0, 1.0, 1.0, -1.0])
    seen: list[float] = []

    def held(job: Any, learn: Any, use: str, final: Any = None, most: int = 5) -> HeldOut:
        lam = float(use.split("_")[-1])
        seen.append(lam)
        assert most == SEARCH_FOLDS
        return HeldOut(means[lam] + spread * noise * (1 + lam))

    monkeypatch.setattr(lam_search, "held_out", held)
    found = search_lam(job([0, 0, 1, 1]), lambda lam: cast(Any, None), frozen, "lp_ft")
    assert seen == [0.0, *(frozen * f for f in AROUND)]
    return found


def test_the_least_is_taken_where_it_leads_beyond_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    means = {0.0: 1.0, 0.1: 0.9, 0.3: 0.2, 1.0: 0.8, 3.0: 0.9}
    assert searched(monkeypatch, means, 1.0, 0.01) == 0.3


def test_at_a_tie_that_of_the_frozen_path(monkeypatch: pytest.MonkeyPatch) -> None:
    means = {0.0: 0.79, 0.1: 0.9, 0.3: 0.78, 1.0: 0.8, 3.0: 0.9}
    assert searched(monkeypatch, means, 1.0, 1.0) == 1.0


def test_zero_where_it_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    means = {0.0: 0.1, 0.1: 0.9, 0.3: 0.8, 1.0: 0.8, 3.0: 0.9}
    assert searched(monkeypatch, means, 1.0, 0.001) == 0.0


def test_where_nothing_can_be_held_out_it_is_that_of_the_frozen_path_and_said() -> None:
    few = job([0, 1], covered=False)
    assert search_lam(few, lambda lam: cast(Any, None), 0.7, "full") == 0.7
    assert "lambda was not searched for" in few.warnings[0]


def test_a_run_that_is_resumed_searches_no_lambda_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit("sklearn-digits", "mnist5000", lam="search", out=tmp_path / "whole", **FAST)
    found = whole.result["lam_search"]
    assert whole.result["lam"] == found["chosen"]
    assert found["lams"][0]["lam"] == 0
    assert len(found["lams"]) == 1 + len(AROUND)
    assert Run.open(tmp_path / "whole").result["objective"]["formula"].startswith("ce(target)")

    def pulled(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    target_only = Steps.target_only
    monkeypatch.setattr(Steps, "target_only", pulled)
    with pytest.raises(KeyboardInterrupt):
        fit("sklearn-digits", "mnist5000", lam="search", out=tmp_path / "run", **FAST)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "checkpoints").glob("*lam_*.safetensors")}
    assert len(kept) == SEARCH_FOLDS * (1 + len(AROUND))
    written: list[int] = []

    def again(self: Steps, *args: Any) -> Any:
        written.extend(p.stat().st_mtime_ns for p in kept)
        return target_only(self, *args)

    monkeypatch.setattr(Steps, "target_only", again)
    resumed = fit(out=tmp_path / "run", resume=True)
    assert written[: len(kept)] == list(kept.values())
    assert resumed.result["lam_search"] == found
    weights = [(f / "weights.safetensors").read_bytes() for f in (resumed.folder, whole.folder)]
    assert weights[0] == weights[1]


def test_lam_is_a_number_auto_or_search() -> None:
    with pytest.raises(UsageError, match="option lam is 'much'"):
        fit("sklearn-digits", "mnist5000", lam="much")
