"""Reviews of one kind of product with few labels, beside SetFit on the same labels and TF-IDF.

    python benchmarks/fewshot.py --peers PYTHON [--shots 8,64] [--source 50] [--most 60]

PYTHON is that of an environment with setfit, which has no use for a source. Ours: four steps on frozen MiniLM with
reviews of another kind of product as the source, --source a class: of 25 to 250, by accuracy and time on seeds 100 to
103. Times are processor seconds from texts to predictions, of both without imports, of ours with loading the layers and
an empty store. SetFit makes more pairs than a benchmark can wait for from 64 labels a class: --most steps of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import amazon
import cells
import numpy as np

TEST = 150  # reviews a class
FROM = {"books": "dvd", "dvd": "books", "electronics": "kitchen", "kitchen": "electronics"}


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Accuracy on the same test texts, and processor seconds, of each."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from crossgraft.backbones.text_models import _folder
    from crossgraft.domains import open_domain
    from crossgraft.recipe import Recipe

    cells.alone()
    asked, began = cell["fit"], time.perf_counter()
    texts, labels = amazon.reviews(asked["target"], 1000)
    draw = np.random.default_rng(asked["seed"])
    by_class = [draw.permutation([i for i, y in enumerate(labels) if y == c]) for c in sorted(set(labels))]
    known = [int(i) for rows in by_class for i in rows[: asked["shots"]]]
    test = [int(i) for rows in by_class for i in rows[asked["shots"] :][:TEST]]
    x, y = [texts[i] for i in known + test], [labels[i] for i in known + test]
    truth, source = np.array([labels[i] for i in test]), amazon.reviews(FROM[asked["target"]], asked["source"])
    found: dict[str, Any] = {}
    warm()
    for name, where in (("joint", (source,)), ("target only", ())):
        with tempfile.TemporaryDirectory() as folder:  # an empty store for each
            os.environ["CROSSGRAFT_CACHE"] = folder
            cpu = time.process_time()
            domain = open_domain((x, y), asked["target"])
            domain.splits[:] = ["train"] * len(known) + ["test"] * len(test)
            recipe = Recipe.of(target=asked["target"], seed=asked["seed"], schedule="frozen", baselines=False)
            job, outcome = cells.four(recipe, domain, *where)
            model = outcome.models["transfer"]
            log_p = model.log_probabilities(job.target, job.target.rows("test"))
            hits = log_p.argmax(1) == job.target.labels[job.target.rows("test")]
            found[name] = {"accuracy": float(hits.mean()), "cpu": time.process_time() - cpu}
    for name, inputs, of in (
        ("TF-IDF", x[: len(known)], y[: len(known)]),
        ("TF-IDF, both", x[: len(known)] + source[0], y[: len(known)] + source[1]),
    ):
        cpu = time.process_time()
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        line = make_pipeline(words, LogisticRegression(C=10, max_iter=1000)).fit(inputs, of)
        accuracy = float((line.predict(x[len(known) :]) == truth).mean())
        found[name] = {"accuracy": accuracy, "cpu": time.process_time() - cpu}
    what = {"folder": str(_folder("auto")), "x": x[: len(known)], "y": y[: len(known)], "test": x[len(known) :]}
    what |= {"seed": asked["seed"], "most": asked["most"]}
    here = [asked["peers"], str(Path(__file__).parent / "fewshot_peer.py")]
    told = subprocess.run(here, input=json.dumps(what), capture_output=True, text=True, check=True).stdout
    peer = json.loads(told.strip().splitlines()[-1])
    accuracy = float((np.array(peer["said"]) == truth).mean())
    found["SetFit"] = {"accuracy": accuracy, "cpu": peer["cpu"], "steps": peer["steps"]}
    return cell | {"found": found, "wall": time.perf_counter() - began}


def warm() -> None:
    """Import what a fit imports."""
    from crossgraft.domains import open_domain
    from crossgraft.recipe import Recipe

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CROSSGRAFT_CACHE"] = folder
        domain = open_domain((["good", "bad", "fine", "poor"], ["1", "0", "1", "0"]), "warm")
        domain.splits[:] = ["train", "train", "test", "test"]
        cells.four(Recipe.of(target="warm", schedule="frozen", baselines=False), domain, domain)


def main() -> None:
    args = cells.arguments(__doc__ or "", shots="8,64", most=60, source=50, peers="", products=",".join(FROM))
    shots = [int(k) for k in args.shots.split(",")]
    todo = [
        {
            "name": f"{target}, {k}",
            "fit": {
                "target": target,
                "shots": k,
                "seed": seed,
                "source": args.source,
                "peers": args.peers,
                "most": None if k < 32 else args.most,
            },
        }
        for seed in args.seeds
        for k in shots
        for target in args.products.split(",")
    ]
    done = cells.run("fewshot", todo, args.jobs, one)
    rows = []
    for k in shots:
        of = [row["found"] for row in done if row["fit"]["shots"] == k]
        for name in of[0]:
            accuracy, cpu = ([f[name][what] for f in of] for what in ("accuracy", "cpu"))
            slower = np.median([f[name]["cpu"] / f["joint"]["cpu"] for f in of])
            steps = f"{np.median([f[name]['steps'] for f in of]):.0f}" if "steps" in of[0][name] else ""
            rows.append([k, name, f"{100 * np.mean(accuracy):.1f}", f"{np.median(cpu):.1f}", f"{slower:.2f}", steps])
    cells.table("fewshot", ["labels a class", "way", "accuracy, %", "processor s", "times ours", "steps"], rows)


if __name__ == "__main__":
    main()
