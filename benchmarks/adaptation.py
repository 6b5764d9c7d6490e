"""Adaptation without target labels: every method on digits, its gain over source only, honest and oracle selection.

2,000 images of MNIST, 1,800 of USPS (as in Long et al., ICCV 2013; --images 0 takes all) and the 1,797 of scikit-learn,
the small cnn, no label of the target. All methods of a pair and seed start at one f_s, trained once. Scores are of the
target's images that were learned from without their labels (transductive), as in that protocol.

    python benchmarks/adaptation.py --seeds 5 --steps 400
    python benchmarks/adaptation.py --methods mcc --pairs mu,um --images 0
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cells import alone, arguments, data, run
from method_tables import tables

from crossgraft.methods import METHODS

IMAGES = {"MNIST": 2000, "USPS": 1800, "scanned": 1797}
PAIRS = {
    "mu": ("MNIST", "USPS"), "um": ("USPS", "MNIST"), "sm": ("scanned", "MNIST"), "su": ("scanned", "USPS"),
    "ms": ("MNIST", "scanned"), "us": ("USPS", "scanned"),
}  # fmt: skip
# No network here normalises batches, and no target lacks a class (open.py).
APPLY = [n for n, m in METHODS.items() if m.adapts and "target" not in m.needs and n not in ("adabn", "tent", "pada")]
CACHE = Path(tempfile.gettempdir()) / "crossgraft-adaptation"  # f_s of each pair and seed


def images(name: str, most: int, seed: int) -> Any:
    """A domain of some of its images, all in the training part."""
    from crossgraft.domains import open_domain

    paths = {"MNIST": "digits/mnist/t10k-images-idx3-ubyte.gz", "USPS": "digits/usps.h5"}
    domain = open_domain(str(data() / paths[name]) if name in paths else "sklearn-digits", name)
    domain = domain.take(np.flatnonzero(domain.splits != "test") if name == "USPS" else np.arange(len(domain)))
    rows = np.sort(np.random.default_rng([seed, len(domain)]).permutation(len(domain))[: most or None])
    domain = domain.take(rows)
    return replace(domain, splits=np.full(len(domain), "train"))


def job_of(cell: dict[str, Any]) -> Any:
    """The job of a cell."""
    from crossgraft.prepare import prepare
    from crossgraft.recipe import Recipe

    options = dict(cell["fit"])
    source, target = (images(n, IMAGES[n] if options["images"] else 0, options["seed"]) for n in PAIRS[options["pair"]])
    recipe = Recipe.of(
        target=target.name, source=(source.name,), backbone="cnn", method=options["method"], shots=0,
        seed=options["seed"], augment=options["augment"], steps=options.get("steps"),
    )  # fmt: skip
    return prepare(recipe, target, [source])


def source_model(job: Any, cell: dict[str, Any]) -> Any:
    """f_s, trained once for all methods of a pair and seed: the checkpoint of step 1 is kept."""
    from crossgraft.transfer import Steps

    kept = CACHE / "-".join(str(cell["fit"][k]) for k in ("pair", "seed", "augment", "images"))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "source.safetensors"
        if kept.exists():
            shutil.copy(kept, checkpoint)
        f_s = Steps(job, Path(folder), lambda row: None).initialise()
        if not kept.exists():
            CACHE.mkdir(exist_ok=True)
            shutil.copy(checkpoint, kept)
    return f_s


def accuracy_of(job: Any, log_p: np.ndarray) -> float:
    """Share of all target images that are named right."""
    return float((log_p.argmax(1) == job.target.labels).mean())


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One method on one pair and seed: accuracy of source only and of the method, and what every validator says."""
    from crossgraft.adapt import adapt
    from crossgraft.validation import label_free

    alone()
    began = time.perf_counter()
    job = job_of(cell)
    f_s = source_model(job, cell)
    with tempfile.TemporaryDirectory() as folder:
        used = time.process_time()
        models = {"source_only": f_s, "transfer": adapt(job, f_s, job.rows, "transfer", Path(folder), lambda row: None)}
        used = time.process_time() - used
    verdict = label_free(job, models)
    right = {m: accuracy_of(job, f.log_probabilities(job.target)) for m, f in models.items()}
    said = {"accuracy": right, "validators": job.validators, "kept": verdict.kept, "warnings": job.warnings}
    return cell | said | {"cpu": used, "wall": time.perf_counter() - began}


def main() -> None:
    methods = ",".join(n for n in APPLY if n != "dann_groups")  # who wrote a digit is not known
    args = arguments(__doc__ or "", methods=methods, pairs="mu,um,sm,su", augment="auto", images=1, steps=0)
    pairs = args.pairs.split(",")
    cells = [
        {
            "name": f"{pair} {method} {args.augment}",
            "fit": {"pair": pair, "method": method, "seed": seed, "augment": args.augment, "images": args.images}
            | ({"steps": args.steps} if args.steps else {}),
        }
        for seed in args.seeds
        for pair in pairs
        for method in args.methods.split(",")
    ]
    name = f"adaptation-{args.augment}"
    tables(run(name, cells, args.jobs, one), {" to ".join(PAIRS[p]): [p] for p in pairs}, name)


if __name__ == "__main__":
    main()
