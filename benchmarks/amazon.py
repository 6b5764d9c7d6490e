"""Reviews of four kinds of product, 12 pairs, frozen MiniLM: source only, target only, joint, beside TF-IDF."""

from __future__ import annotations

import sys
import time
from typing import Any

import cells
import numpy as np

DOMAINS = ("books", "dvd", "electronics", "kitchen")
SHOTS = (0, 4, 16, 64)
MODELS = ("source_only", "target_only", "transfer", "kept", "tfidf_target", "tfidf_both")


def reviews(name: str, examples: int) -> tuple[list[str], list[str]]:
    """As many of each class, in an order that does not depend on how many."""
    texts, labels = [], []
    for label in ("negative", "positive"):
        path = cells.data() / "text" / "amazon" / name / f"{label}.txt"
        lines = [x for x in path.read_text(encoding="utf-8", errors="replace").split("\n") if x.strip()]
        order = np.random.default_rng(0).permutation(len(lines))[:examples]
        texts += [lines[i] for i in order]
        labels += [label] * len(order)
    return texts, labels


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """The four steps of one fit, without the report; and TF-IDF with logistic regression on the same rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from crossgraft.recipe import Recipe

    cells.alone()
    asked = cell["fit"]
    target, source = (reviews(asked[side], asked["examples"]) for side in ("target", "source"))
    began = time.perf_counter()
    given = {key: asked[key] for key in ("target", "shots", "seed", "align")}
    recipe = Recipe.of(source=(asked["source"],), schedule="frozen", **given)
    job, outcome = cells.four(recipe, target, source)
    wall = time.perf_counter() - began
    side, test, train = job.target, job.target.rows("test"), job.rows
    models = {**outcome.models, "kept": outcome.models[outcome.verdict.kept]}
    accuracy, entropy = {}, {}
    for name, fitted in models.items():
        log_p = fitted.log_probabilities(side, test)
        accuracy[name] = float((log_p.argmax(1) == side.labels[test]).mean())
        entropy[name] = float(-log_p[np.arange(len(test)), side.labels[test]].mean())
    x, y = np.array(side.domain.inputs, dtype=object), side.domain.labels
    from_source = (np.array(job.source.domain.inputs, dtype=object), job.source.domain.labels) if job.source else None
    assert from_source is not None
    rivals = {"tfidf_both": (np.r_[from_source[0], x[train]], np.r_[from_source[1], y[train]])}
    if len(train):
        rivals["tfidf_target"] = (x[train], y[train])
    for name, (inputs, labels) in rivals.items():
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        line = make_pipeline(words, LogisticRegression(C=10, max_iter=1000)).fit(inputs, labels.astype(str))
        accuracy[name] = float((line.predict(x[test]) == y[test]).mean())
    lam = outcome.models["transfer"].lam if "transfer" in outcome.models else None
    found = {"accuracy": accuracy, "entropy": entropy, "align": job.alignment, "kept": outcome.verdict.kept}
    return cell | found | {"lam": lam, "wall": wall, "n": len(test)}


def main() -> None:
    args = cells.arguments(__doc__ or "", examples=500, align="auto")
    from crossgraft import backbones, features
    from crossgraft.domains import open_domain

    began = time.perf_counter()
    for name in DOMAINS:
        domain = open_domain(reviews(name, args.examples), name)
        found = features.features(domain, backbones.load("auto", domain))
        print(*found.notes, f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    todo = [
        {
            "name": f"{s} to {t}, {k}",
            "fit": {
                "source": s,
                "target": t,
                "shots": k,
                "seed": seed,
                "examples": args.examples,
                "align": args.align,
            },
        }
        for seed in args.seeds
        for k in SHOTS
        for s in DOMAINS
        for t in DOMAINS
        if s != t
    ]
    done = cells.run("amazon", todo, args.jobs, one)
    rows, worse = [], []
    for k in SHOTS:
        of = [row for row in done if row["fit"]["shots"] == k]
        means = {m: [r["accuracy"][m] for r in of if m in r["accuracy"]] for m in MODELS}
        rows.append([k, *(f"{100 * np.mean(v):.1f}" if v else "" for v in means.values()), f"{_lam(of)}"])
        for s in DOMAINS:
            for t in DOMAINS:
                pair = [r["accuracy"] for r in of if (r["fit"]["source"], r["fit"]["target"]) == (s, t)]
                a = {m: float(np.mean([p[m] for p in pair])) for m in MODELS[:3] if pair and m in pair[0]}
                if "transfer" in a and a["transfer"] < max(a.values()):
                    worse.append([f"{s} to {t}", k, *(f"{100 * a[m]:.1f}" for m in MODELS[:3])])
    head = ["labels a class", "source only", "target only", "joint", "kept", "TF-IDF target", "TF-IDF both", "lambda"]
    cells.table("amazon", head, rows)
    print("\ncells whose joint model is below target only or source only, means over seeds")
    cells.table("amazon-below", ["pair", "labels a class", "source only", "target only", "joint"], worse)
    print(f"median seconds a fit {np.median([row['wall'] for row in done]):.2f}")


def _lam(rows: list[dict[str, Any]]) -> str:
    """The median of what was chosen."""
    chosen = [row["lam"] for row in rows if row["lam"] is not None]
    return f"{np.median(chosen):.2g}" if chosen else ""


if __name__ == "__main__":
    main()
