"""Each export beside the run it was made from: the largest difference of a probability, saved and loaded again.

    python benchmarks/exports.py [--only TEXT]

Every eighth of scikit-learn's 8 x 8 digits as vectors and as pictures; EfficientNet-Lite0 frozen, and with its layers
fine-tuned for 20 steps. Two tasks are which digit it is and whether it is odd, an output each; the largest difference
is of both. Texts, sentences and clips are a few of the real data's, four labels a class, with MiniLM and the speech
embedding frozen, and small networks. Inputs are drawn: batches of 1 and 5, random pixels, numbers, tokens or glides, of
several lengths where they have one. A format whose library is missing, or that cannot hold the layers, says so.
With --only, runs whose names lack the text keep the rows they have.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import cells
import connected
import torch  # before any of the libraries that it shares a process with
from cells import RESULTS, table

RUNS: dict[str, dict[str, Any]] = {
    "vectors, linear": {"backbone": "identity"},
    "vectors, mlp": {"backbone": "mlp", "steps": 100},
    "pictures, cnn": {"backbone": "cnn", "steps": 100},
    "pictures, cnn_bn": {"backbone": "cnn_bn", "steps": 100},
    "pictures, EfficientNet-Lite0": {"backbone": "auto", "schedule": "frozen"},
    "pictures, EfficientNet-Lite0, lp_ft": {"backbone": "auto", "schedule": "lp_ft", "steps": 20},
    "two tasks, vectors, mlp": {"backbone": "mlp", "steps": 100},
    "two tasks, pictures, cnn, --share 2": {"backbone": "cnn", "steps": 100, "share": 2},
    "two tasks, pictures, EfficientNet-Lite0": {"backbone": "auto", "schedule": "frozen"},
    "texts, MiniLM": {"data": "text", "backbone": "auto", "schedule": "frozen"},
    "texts, words": {"data": "text", "backbone": "words", "steps": 20},
    "tags, MiniLM": {"data": "tags", "backbone": "auto", "schedule": "frozen"},
    "tags, words": {"data": "tags", "backbone": "words", "steps": 20},
    "clips, speech embedding": {"data": "clips", "backbone": "auto", "schedule": "frozen"},
    "clips, cnn": {"data": "clips", "backbone": "cnn", "steps": 20},
    "transcripts, speech embedding": {"data": "said", "backbone": "auto", "schedule": "frozen", "task": "transcribe"},
    "transcripts, cnn": {"data": "said", "backbone": "cnn", "steps": 20, "task": "transcribe"},
}


def real(kind: str, folder: Path) -> Any:
    """A few of the real data: reviews of books, sentences about machine learning, spoken digits, strings of them."""
    if kind == "text":
        return str(cells.data() / "text" / "amazon" / "books")
    if kind == "tags":
        return str(cells.data() / "ner" / "ai")
    folder.mkdir()
    if kind == "said":
        return str(connected.write(folder, "jackson", 20, 5, 0))
    clips = sorted((cells.data() / "speech" / "fsdd").glob("[0-4]_jackson_*.wav"))
    lines = [f"{clip},{clip.name[0]}" for clip in clips]
    (folder / "clips.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return str(folder / "clips.csv")


def main() -> None:
    from sklearn.datasets import load_digits

    import crossgraft
    from crossgraft.errors import CrossgraftError
    from crossgraft.export import SUFFIX, export

    torch.set_num_threads(1)
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--only", default="")
    only = args.parse_args().only
    file = RESULTS / "exports.json"
    before = {row[0]: row for row in json.loads(file.read_text())["rows"]} if only and file.exists() else {}
    X, y = (part[::8] for part in load_digits(return_X_y=True))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for i, (name, options) in enumerate(RUNS.items()):
            if only not in name:
                kept = before.get(name, [name])
                rows.append([*kept, *["not run"] * (1 + len(SUFFIX) - len(kept))])
                continue
            pixels = (X.reshape(-1, 8, 8) * 15.9).astype("uint8")
            inputs = (X / 16).astype("float32") if "vectors" in name else pixels
            common = {"shots": 2, "baselines": False, "guard": False, "out": Path(scratch) / str(i), **options}
            kind = common.pop("data", None)
            digits = [str(v) for v in y]
            if kind is not None:
                common["shots"] = None if kind in ("said", "tags") else 4
                run = crossgraft.fit(target=real(kind, Path(scratch) / f"data-{i}"), **common)
            elif name.startswith("two tasks"):
                labels = {"digit": digits, "odd": ["yes" if v % 2 else "no" for v in y]}
                run = crossgraft.multi({"digits": (inputs, labels)}, list(labels), **common)
            else:
                run = crossgraft.fit(target=(inputs, digits), **common)
            found = []
            for format in SUFFIX:
                try:
                    found.append(f"{export(run, format)['max_difference']:.0e}")
                    print(name, format, found[-1], flush=True)
                except CrossgraftError as wrong:
                    found.append(wrong.what)
                    print(name, format, wrong.what, flush=True)
            rows.append([name, *found])
    table("exports", ["run", *SUFFIX], rows)


if __name__ == "__main__":
    main()
