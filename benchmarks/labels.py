"""Sets of classes: joint beside target only, source only and scikit-learn's OneVsRest logistic regression.

    CROSSGRAFT_DATA=... python benchmarks/labels.py [--seeds 5] [--first 10]

Digits: 2,000 of MNIST to 2,000 of USPS, each labelled with its properties (even, prime, above four, with a loop); the
small network, trained on the source. Reviews: books and dvd to electronics and kitchen, 500 of each kind, labelled with
the product and whether they are good, so that only "good" is a class of both; frozen MiniLM. `shots` labels a class,
and of no class, are known, the same for everybody; scores are of all others. OneVsRest sees the labelled examples'
pixels as 8 x 8 averages, or TF-IDF of their words, of the target alone or of both domains; its C is 10 for
words, for pixels by cross-validation of the cross-entropy where folds can be made. Nobody sees a test label.
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
EXAMPLES = {"digits": 2000, "reviews": 500}
Labelled = tuple[Any, list[list[str]]]


def digits(seed: int) -> tuple[Labelled, Labelled]:
    """USPS and MNIST with the properties of their digits."""
    from crossgraft.domains import open_domain

    found = []
    for path in ("digits/usps.h5", "digits/mnist/t10k-images-idx3-ubyte.gz"):
        domain = open_domain(cells.data() / path, path)
        rows = np.sort(rng(seed, f"labels {path}").permutation(len(domain))[: EXAMPLES["digits"]])
        x = np.stack([domain.read(int(i)) for i in rows]).astype(np.uint8)
        if x.ndim == 2:
            x = x.reshape(len(x), 16, 16)
        found.append((x, [[n for n, own in PROPERTIES.items() if y in own] for y in domain.labels[rows]]))
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
    case: str, known: Labelled, test: Labelled, classes: tuple[str, ...], source: Labelled | None = None
) -> dict[str, float]:
    """Scores of logistic regression a class; one that no known example tells from the rest is that constant. The source
    joins for the classes that it has."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline

    from crossgraft.measure.multilabel import multilabel_scores
    from crossgraft.multilabel import Bernoullis, MultiLabel

    task = MultiLabel(classes)
    truth = task.sets(map(frozenset, test[1]))
    theirs = set() if source is None else {c for own in source[1] for c in own}
    z = np.empty(truth.shape)
    for k, c in enumerate(classes):
        x, sets = known
        if source is not None and c in theirs:
            x, sets = _with(x, source[0]), sets + source[1]
        y = np.array([int(c in own) for own in sets])
        least = int(np.bincount(y, minlength=2).min())
        model: Any = LogisticRegression(C=10, max_iter=1000)
        if case == "reviews":
            model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), model)
        elif least > 1:
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
    how = {"backbone": "cnn"} if case == "digits" else {"schedule": "frozen"}
    recipe = Recipe(target="labels", task="multilabel", **how, **asked)
    job, outcome = cells.four(recipe, target, source)
    side = job.target
    test, rows = side.rows("test"), job.rows
    task = job.task.over(side.columns)
    found = {
        name: values(measured(task, m.log_probabilities(side, test), side.targets(test)))
        for name, m in outcome.models.items()
    }
    place = {str(name): i for i, name in enumerate(open_names(len(target[1])))}
    at = {part: [place[str(side.domain.names[i])] for i in r] for part, r in (("known", rows), ("test", test))}
    x, x_source = target[0], source[0]
    if case == "digits":
        x, x_source = pixels(np.asarray(x)), pixels(np.asarray(x_source))
    taken = {part: (_of(x, i), [target[1][k] for k in i]) for part, i in at.items()}
    theirs = (x_source, source[1])
    found["ovr_target"] = one_versus_rest(case, taken["known"], taken["test"], task.classes)
    found["ovr_both"] = one_versus_rest(case, taken["known"], taken["test"], task.classes, theirs)
    return cell | {
        "scores": found | {"kept": found[outcome.verdict.kept]}, "kept": outcome.verdict.kept,
        "known": len(rows), "wall": time.perf_counter() - began,
    }  # fmt: skip


def open_names(n: int) -> list[str]:
    """What examples of arrays are called."""
    return [f"[{i}]" for i in range(n)]


def _of(x: Any, rows: list[int]) -> Any:
    return x[rows] if isinstance(x, np.ndarray) else [x[i] for i in rows]


def _with(x: Any, more: Any) -> Any:
    return np.concatenate([x, more]) if isinstance(x, np.ndarray) else x + more


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
    out = []
    for case in args.cases.split(","):
        for shots in map(int, args.shots.split(",")):
            here = [r for r in rows if r["case"] == case and r["shots"] == shots]
            known = np.mean([r["known"] for r in here])
            for score in SCORES:
                scale = 0.01 if score == "cross_entropy" else 1.0  # nats, not per cent
                own = [
                    [scale * r["scores"][key][score] for r in here if r["scores"].get(key)] for key in COLUMNS.values()
                ]
                out.append([case, shots, f"{known:.0f}", score, *(cells.mean(v) if v else "" for v in own)])
    cells.table("labels", ["case", "labels a class", "known examples", "score", *COLUMNS], out)


if __name__ == "__main__":
    main()
