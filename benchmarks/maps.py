"""Feature maps before and after: digits of both domains as source only sees them and as each method does.

    python benchmarks/maps.py --methods mcc,cdan_e,dann --pairs um

Writes results/maps-PAIR.html: the figure at a place is the example's class, the source grey, the target coloured.
"""

from __future__ import annotations

import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from adaptation import PAIRS, accuracy_of, job_of, source_model
from cells import RESULTS, alone, arguments


def main() -> None:
    from crossgraft.adapt import adapt
    from crossgraft.report.maps import feature_maps

    args = arguments(__doc__ or "", methods="mcc,cdan_e,dann", pairs="um", augment="none", images=1)
    alone()
    asked = {"augment": args.augment, "images": args.images, "seed": args.first}
    for pair in args.pairs.split(","):
        seen, labels = {}, None
        for method in args.methods.split(","):
            cell = {"fit": asked | {"pair": pair, "method": method}}
            job = job_of(cell)
            f_s = source_model(job, cell)
            with tempfile.TemporaryDirectory() as folder:
                found = adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)
            for name, model in (("source only", f_s), (method, found)):
                right = 100 * accuracy_of(job, model.log_probabilities(job.target))
                seen[f"{name}, {right:.1f} %"] = tuple(model.features(side) for side in (job.source, job.target))
            labels = tuple(np.array(job.task.classes)[side.columns][side.labels] for side in (job.source, job.target))
        assert labels is not None
        drawn = feature_maps(seen, labels, pair, seed=args.first)
        style = (files("crossgraft.report") / "style.css").read_text(encoding="utf-8")
        RESULTS.mkdir(exist_ok=True)
        page = RESULTS / f"maps-{pair}.html"
        title = " to ".join(PAIRS[pair])
        page.write_text(f"<!doctype html><meta charset=utf-8><title>{title}</title><style>{style}</style>{drawn}")
        print(page)


if __name__ == "__main__":
    main()
