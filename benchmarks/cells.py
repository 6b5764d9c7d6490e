"""Benchmark cells: each one `crossgraft fit` with its options; run in processes, resumed, averaged over seeds."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from crossgraft.choose import Outcome
    from crossgraft.prepare import Job
    from crossgraft.recipe import Recipe

RESULTS = Path(__file__).parent / "results"


def data() -> Path:
    """The folder of real data; says what to do without it."""
    folder = os.environ.get("CROSSGRAFT_DATA")
    if not folder or not Path(folder).is_dir():
        sys.exit("set CROSSGRAFT_DATA to the folder of the real data")
    return Path(folder)


def arguments(description: str, **defaults: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=5)
    # Defaults were looked at on seeds 0 to 4 and 100 to 102.
    parser.add_argument("--first", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    args = parser.parse_args()
    args.seeds = range(args.first, args.first + args.seeds)
    return args


def alone() -> None:
    """One thread: cells run beside each other."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def four(recipe: Recipe, target: Any, *source: Any, f_s: Path | None = None) -> tuple[Job, Outcome]:
    """The four steps and the guard as `fit` runs them, without what a run writes down.

    f_s  where the layers that learned the source are kept, for other cells that train the same ones
    """
    from crossgraft.asked import name_of
    from crossgraft.prepare import prepare
    from crossgraft.transfer import Steps, four_steps

    recipe = recipe.model_copy(update={"source": tuple(map(name_of, source))})
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "source.safetensors"
        if f_s is not None and f_s.exists():
            shutil.copy(f_s, own)
        job = prepare(recipe, target, source)
        outcome = four_steps(Steps(job, Path(folder), lambda row: None), lambda step: nullcontext())
        if f_s is not None and own.exists():
            shutil.copy(own, Path(folder) / "copy")
            shutil.move(Path(folder) / "copy", f_s)  # whole, or not yet there, for a cell beside
        return job, outcome


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One fit; what of its result the tables need."""
    import crossgraft

    alone()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = crossgraft.fit(out=Path(folder) / "run", **cell["fit"]).result
    brief = {k: result[k] for k in ("test", "baselines", "transfer", "kept", "lam", "schedule", "selection", "seconds")}
    return cell | brief | {"wall": time.perf_counter() - began}


def run(
    name: str, cells: Sequence[dict[str, Any]], jobs: int, work: Callable[[dict[str, Any]], dict[str, Any]] = one
) -> list[dict[str, Any]]:
    """All cells; those done before are not done again (results/NAME.cells.jsonl; delete it to start afresh)."""
    path = RESULTS / f"{name}.cells.jsonl"
    path.parent.mkdir(exist_ok=True)
    key = lambda cell: json.dumps({k: cell[k] for k in ("name", "fit")}, sort_keys=True)  # noqa: E731
    done = {key(row): row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    todo = [cell for cell in cells if key(cell) not in done]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool, path.open("a") as out:
        for i, future in enumerate(as_completed([pool.submit(work, cell) for cell in todo])):
            row = future.result()
            done[key(row)] = row
            out.write(json.dumps(row) + "\n")
            out.flush()
            print(f"{i + 1}/{len(todo)} {row['name']} {row['wall']:.0f} s", file=sys.stderr)
    return [done[key(cell)] for cell in cells]


def mean(values: Sequence[float]) -> str:
    """Mean over seeds with a 95 % t-interval, in per cent; of one seed alone."""
    from scipy import stats

    v = 100 * np.asarray(values)
    if len(v) == 1:
        return f"{v[0]:.1f}"
    half = stats.t.ppf(0.975, len(v) - 1) * v.std(ddof=1) / np.sqrt(len(v))
    return f"{v.mean():.1f} ± {half:.1f}"


def table(name: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table and keep it as JSON."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"head": list(head), "rows": [list(r) for r in rows]}, indent=1) + "\n"
    )


def accuracy(rows: Sequence[dict[str, Any]], pick: Callable[[dict[str, Any]], dict[str, Any] | None]) -> list[float]:
    return [part["accuracy"]["value"] for row in rows if (part := pick(row)) is not None]
