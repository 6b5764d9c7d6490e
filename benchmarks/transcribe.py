"""Connected digits of a speaker who has labelled 20 strings, the other four having labelled 60 each: word error rates.

    python benchmarks/transcribe.py [--seeds 5] [--first 10] [--jobs 1] [--schedule frozen]

Strings of 3 to 7 clips with silences of 0.05 to 0.3 s, test strings from takes that nobody has learned from; frozen
frames of the speech embedding. Lambda and ridge by the 20 strings, also for target only.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cells
import numpy as np

LEARNED, OTHERS, TESTED = 20, 60, 100
MODELS = ("source_only", "target_only", "joint", "kept")


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """The four steps of one speaker and draw; errors and words of each model on the test strings."""
    import connected

    from crossgraft.measure.transcripts import error_counts
    from crossgraft.recipe import Recipe

    cells.alone()
    asked, began = cell["fit"], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            s: connected.write(Path(folder), s, LEARNED if s == asked["speaker"] else OTHERS, TESTED, asked["seed"])
            for s in connected.clips()
        }
        target = str(tables.pop(asked["speaker"]))
        recipe = Recipe.of(
            target=target, seed=asked["seed"], schedule=asked["schedule"], task="transcribe", symbols="words"
        )
        learned = [learning_only(path) for path in tables.values()]
        job, outcome = cells.four(recipe, target, *map(str, learned))
        side, test = job.target, job.target.rows("test")
        models = {("joint" if k == "transfer" else k): v for k, v in outcome.models.items()}
        models["kept"] = outcome.models[outcome.verdict.kept]
        truth = job.task.texts(side.truth[test].flat, side.truth[test].lengths)
        errors, entropy = {}, {}
        for name, fitted in models.items():
            log_p = fitted.log_probabilities(side, test)
            counts = error_counts(truth, job.task.decode(log_p.flat, log_p.lengths))[:, 0].sum(0)
            errors[name] = float(counts[0] / counts[1])
            entropy[name] = float(side.losses(log_p, test).mean())
    return cell | {
        "errors": errors, "entropy": entropy, "kept": outcome.verdict.kept, "lam": models["joint"].lam,
        "ridge": {name: m.ridge for name, m in models.items()}, "wall": time.perf_counter() - began,
    }  # fmt: skip


def learning_only(table: Path) -> Path:
    """A table without its test rows, which are no part of a source."""
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.endswith(",train"))]) + "\n")
    return table


def main() -> None:
    import connected

    args = cells.arguments(__doc__ or "", schedule="frozen")
    speakers = sorted(connected.clips())
    todo = [
        {"name": f"{speaker}", "fit": {"speaker": speaker, "seed": seed, "schedule": args.schedule}}
        for seed in args.seeds
        for speaker in speakers
    ]
    done = cells.run(f"transcribe-{args.schedule}", todo, args.jobs, one)
    rows = []
    for who in [*speakers, "mean"]:
        of = [r for r in done if who in (r["fit"]["speaker"], "mean")]
        cols = [f"{100 * np.mean([r['errors'][m] for r in of]):.2f}" for m in MODELS]
        nats = [f"{np.mean([r['entropy'][m] for r in of]):.3f}" for m in MODELS]
        rows.append([who, *cols, *nats, f"{np.median([r['lam'] for r in of]):.2g}", len(of)])
    names = [m.replace("_", " ") for m in MODELS]
    head = [*(f"{m}, %" for m in names), *(f"{m}, nats" for m in names)]
    cells.table(f"transcribe-{args.schedule}", ["speaker", *head, "lambda, median", "draws"], rows)


if __name__ == "__main__":
    main()
