"""Sets of classes: joint beside target only, source only and scikit-learn's OneVsRest logistic regression.

    CROSSGRAFT_DATA=... python benchmarks/labels.py [--seeds 5] [--first 10]

Digits: 1,000 of MNIST to 1,000 of USPS, each labelled with its properties (even, prime, above four, with a loop); the
small network, 300 steps on the source and 100 on the target (lp_ft), without the guard, whose folds would cost
five trainings more. Reviews: books and dvd to electronics and kitchen, 500 of each kind, labelled with the product and
whether they are good, so that only "good" is a class of both; frozen MiniLM. `shots` labels a class,
and of no class, are known, the same for everybody; scores are of all others. OneVsRest sees the same MiniLM features,
or pixels as 8 x 8 averages, of the target alone or of both domains for the classes that both have; its C is by
cross-validation of the cross-entropy where folds can be made, else 10. Nobody sees a test label.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import cells
import numpy as np

from crossgraft.seeds import rng

PROPERTIES = {"even": "02468", "prime": "2357", "high": "56789", "loop": "0689"}
CASES = ("digits", "reviews")
SCORES = ("micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "cross_entropy")
EXAMPLES = {"digits": 1000, "reviews": 500}
Labelled = tuple[Any, list[list[str]]]


def digits(seed: int) -> tuple[Any, Any]:
    """USPS and MNIST with the properties of their digits."""
    from dataclasses import replace

    from crossgraft.domains import open_domain

    found = []
    for path in ("digits/usps.h5", "digits/mnist/t10k-images-idx3-ubyte.gz"):
        domain = open_domain(cells.data() / path, path)
        rows = np.sort(rng(seed, f"labels {path}").permutation(len(domain))[: EXAMPLES["digits"]])
        own = domain.take(rows)
        sets = np.empty(len(own), dtype=object)
        sets[:] = [frozenset(n for n, held in PROPERTIES.items() if y in held) for y in own.labels]
        found.append(replace(own, labels=sets, splits=np.full(len(own), "", dtype="<U10")))
    return found[0], found[1]


def reviews(seed: int) -> tuple[Labelled, Labelled]:
    """Reviews of two products, twice, with product and opinion."""
    from amazon import reviews as of_product

    found = []
    for products in (("electronics", "kitchen"), ("books", "dvd")):
        texts, sets = [], []
        for product in products:
            own, opinions = of_product(product, EXAMPLES["reviews"] // 2)
            texts += own
            sets += [[product, "good"] if y == "positive" else [product] for y in opinions]
        order = rng(seed, f"labels {products}").permutation(len(texts))
        found.append(([texts[i] for i in order], [sets[i] for i in order]))
    return found[0], found[1]


def one_versus_rest(
    known: Labelled, test: Labelled, classes: tuple[str, ...], source: Labelled | None = None
) -> dict[str, float]:
    """Scores of logistic regression a class; one that no known example tells from the rest is that constant. The source
    joins for the classes that it has."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    from crossgraft.measure.multilabel import multilabel_scores
    from crossgraft.multilabel import Bernoullis, MultiLabel

    task = MultiLabel(classes)
    truth = task.sets(map(frozenset, test[1]))
    theirs = set() if source is None else {c for own in source[1] for c in own}
    z = np.empty(truth.shape)
    for k, c in enumerate(classes):
        x, sets = known
        if source is not None and c in theirs:
            x, sets = np.concatenate([x, source[0]]), sets + source[1]
        y = np.array([int(c in own) for own in sets])
        least = int(np.bincount(y, minlength=2).min())
        model: Any = LogisticRegression(C=10, max_iter=2000)
        if least > 1:
            cv = {"cv": min(5, least), "scoring": "neg_log_loss", "max_iter": 2000}
            model = LogisticRegressionCV(Cs=np.logspace(-2, 3, 6), **cv)
        if least == 0:
            z[:, k] = 3.0 if y.any() else -3.0
            continue
        p = model.fit(x, y).predict_proba(test[0])[:, 1].clip(1e-9, 1 - 1e-9)
        z[:, k] = np.log(p / (1 - p))
    return values(multilabel_scores(task, Bernoullis(z), truth))


def values(scores: dict[str, Any] | None) -> dict[str, float]:
    """The scores without their intervals."""
    return {} if scores is None else {name: scores[name]["value"] for name in SCORES}


def pixels(x: np.ndarray) -> np.ndarray:
    """Pictures of any size as 8 x 8 averages between 0 and 1."""
    from PIL import Image

    small = [np.asarray(Image.fromarray(p).convert("L").resize((8, 8), Image.Resampling.BOX)) for p in x]
    return np.stack(small).reshape(len(x), -1) / 255


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """One draw: the four steps, and OneVsRest on the same labels."""
    from crossgraft.measure.scores import measured
    from crossgraft.recipe import Recipe

    cells.alone()
    warnings.simplefilter("ignore", FutureWarning)
    began, case, asked = time.perf_counter(), cell["case"], cell["fit"]
    target, source = globals()[case](asked["seed"])
    how: dict[str, Any] = {"schedule": "frozen"}
    if case == "digits":
        how = {"backbone": "cnn", "schedule": "lp_ft", "source_steps": 300, "steps": 100, "guard": False}
    recipe = Recipe(target="labels", task="multilabel", **how, **asked)
    job, outcome = cells.four(recipe, target, source)
    side = job.target
    test, rows = side.rows("test"), job.rows
    task = job.task.over(side.columns)
    found = {
        name: values(measured(task, m.log_probabilities(side, test), side.targets(test)))
        for name, m in outcome.models.items()
    }
    sides = (side, job.source)
    x, x_source = (
        pixels(np.stack([s.domain.read(i) for i in range(len(s.domain))]))
        if case == "digits"
        else s.features(job.backbone)
        for s in sides
    )
    known, tested = ((x[at], [sorted(y) for y in side.domain.labels[at]]) for at in (rows, test))
    theirs = (x_source, [sorted(y) for y in job.source.domain.labels])
    found["ovr_target"] = one_versus_rest(known, tested, task.classes)
    found["ovr_both"] = one_versus_rest(known, tested, task.classes, theirs)
    return cell | {
        "scores": found | {"kept": found[outcome.verdict.kept]}, "kept": outcome.verdict.kept,
        "known": len(rows), "wall": time.perf_counter() - began,
    }  # fmt: skip


COLUMNS = {
    "source only": "source_only", "target only": "target_only", "joint": "transfer", "kept": "kept",
    "OneVsRest, target": "ovr_target", "OneVsRest, both": "ovr_both",
}  # fmt: skip


def nats(values: list[float]) -> str:
    """Mean over seeds with a 95 % t-interval, in nats."""
    value, half = (float(part) / 100 for part in cells.mean(values).split(" ± "))
    return f"{value:.3f} ± {half:.3f}"


def main() -> None:
    args = cells.arguments(__doc__ or "", shots="5,20", cases=",".join(CASES))
    todo = [
        {"name": f"{case} {shots}", "case": case, "shots": shots, "fit": {"shots": shots, "seed": seed}}
        for case in args.cases.split(",")
        for shots in map(int, args.shots.split(","))
        for seed in args.seeds
    ]
    rows = cells.run("labels", todo, args.jobs, one)
    for case in args.cases.split(","):
        out = []
        for shots in map(int, args.shots.split(",")):
            here = [r for r in rows if r["case"] == case and r["shots"] == shots]
            known = np.mean([r["known"] for r in here])
            for score in SCORES:
                told = nats if score == "cross_entropy" else cells.mean
                own = [[r["scores"][key][score] for r in here if r["scores"].get(key)] for key in COLUMNS.values()]
                out.append([shots, f"{known:.0f}", score, *(told(v) if v else "" for v in own)])
        cells.table(f"labels-{case}", ["labels a class", "known examples", "score", *COLUMNS], out)


if __name__ == "__main__":
    main()
