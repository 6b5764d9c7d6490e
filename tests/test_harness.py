"""The harness of methods x pairs x seeds: resumed, in processes, with intervals, ranks, honest and oracle selection."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RULES = ("im", "snd", "dev", "iwv", "reverse", "source_accuracy")


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("cells", "method_tables"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import cells
    import method_tables

    monkeypatch.setattr(cells, "RESULTS", tmp_path)
    return cells, method_tables


def test_cells_that_are_done_are_not_done_again(harness: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    asked = [{"name": "a", "fit": {"seed": seed}} for seed in (10, 11, 12)]
    harness[0].run("some", asked[:2], 2, partial(dict, wall=1.0))
    lines = (tmp_path / "some.cells.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["fit"]["seed"] for line in lines) == [10, 11]
    rows = harness[0].run("some", asked, 1, partial(dict, wall=2.0))
    assert [(r["fit"]["seed"], r["wall"]) for r in rows] == [(10, 1.0), (11, 1.0), (12, 2.0)]


def row(pair: str, seed: int, method: str, right: float, im: float, collapse: float = 0.0) -> dict[str, Any]:
    """A method beside source only, which has 0.6 and an im of 1; all other validators prefer source only."""
    plain, own = dict.fromkeys(RULES, 1.0), dict.fromkeys(RULES, 0.0)
    return {
        "fit": {"pair": pair, "seed": seed, "method": method}, "cpu": 1.0,
        "kept": "transfer" if im > 1 else "source_only",
        "accuracy": {"source_only": 0.6, "transfer": right},
        "validators": {"source_only": plain | {"collapse": 0.0}, "transfer": own | {"im": im, "collapse": collapse}},
    }  # fmt: skip


def test_tables_have_gains_intervals_ranks_and_both_selections(
    harness: tuple[ModuleType, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        made
        for pair in ("ab", "ba")
        for seed, more in ((10, 0.0), (11, 0.02))
        for made in (
            row(pair, seed, "good", 0.8 + more, 2.0),
            row(pair, seed, "best", 0.9 + more, 1.5),
            row(pair, seed, "gone", 0.1, 3.0, collapse=1.0),  # sure of one class: no honest rule may take it
        )
    ]
    harness[1].tables(rows, {"a to b": ["ab"], "b to a": ["ba"]}, "t")
    said = capsys.readouterr().out
    shown = {r[0]: r for r in json.loads((tmp_path / "t.json").read_text())["rows"]}
    assert list(shown) == ["source only", "best", "good", "gone"]
    assert shown["good"][1:4] == ["81.0 ± 12.7", "81.0 ± 12.7", "21.0 ± 12.7"]  # t(1) 0.975 = 12.7, s.e. 1 point
    by = {r[0]: r[-1].split()[0] for r in json.loads((tmp_path / "t-selection.json").read_text())["rows"]}
    assert by == {"im": "21.0", "oracle": "31.0"} | dict.fromkeys(RULES[1:], "0.0")
    ranks = [r[:2] for r in json.loads((tmp_path / "t-ranks.json").read_text())["rows"]]
    assert ranks == [["best", "1.0"], ["good", "2.0"], ["source only", "3.0"], ["gone", "4.0"]]
    assert "critical difference (Nemenyi, 0.05)" in said
