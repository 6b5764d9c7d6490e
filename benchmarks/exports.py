"""Each export beside the run it was made from: the largest difference of a probability, saved and loaded again.

    python benchmarks/exports.py

Every eighth of scikit-learn's 8 x 8 digits as vectors and as pictures; EfficientNet-Lite0 frozen, and with its layers
fine-tuned for 20 steps. Inputs are drawn: batches of 1 and 5, random pixels or numbers. A format whose library is
missing says so.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch  # before any of the libraries that it shares a process with
from cells import table

RUNS: dict[str, dict[str, Any]] = {
    "vectors, linear": {"backbone": "identity"},
    "vectors, mlp": {"backbone": "mlp", "steps": 100},
    "pictures, cnn": {"backbone": "cnn", "steps": 100},
    "pictures, cnn_bn": {"backbone": "cnn_bn", "steps": 100},
    "pictures, EfficientNet-Lite0": {"backbone": "auto", "schedule": "frozen"},
    "pictures, EfficientNet-Lite0, lp_ft": {"backbone": "auto", "schedule": "lp_ft", "steps": 20},
}


def main() -> None:
    from sklearn.datasets import load_digits

    import crossgraft
    from crossgraft.errors import CrossgraftError
    from crossgraft.export import SUFFIX, export

    torch.set_num_threads(1)
    X, y = (part[::8] for part in load_digits(return_X_y=True))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, (name, options) in enumerate(RUNS.items()):
            pixels = (X.reshape(-1, 8, 8) * 15.9).astype("uint8")
            inputs = (X / 16).astype("float32") if name.startswith("vectors") else pixels
            run = crossgraft.fit(
                target=(inputs, [str(v) for v in y]), shots=2, baselines=False, guard=False,
                out=Path(scratch) / str(i), **options,
            )  # fmt: skip
            found = []
            for format in SUFFIX:
                try:
                    found.append(f"{export(run, format)['max_difference']:.0e}")
                except CrossgraftError as wrong:
                    found.append(wrong.what)
            rows.append([name, *found])
    table("exports", ["run", *SUFFIX], rows)


if __name__ == "__main__":
    main()
