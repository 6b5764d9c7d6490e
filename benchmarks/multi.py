"""Several tasks at once: reviews, digits of scanners, digit and speaker, entities of fields, and shuffled labels.

Each task together with the others, and alone, on the same rows.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cells
import numpy as np

PRODUCTS = ("books", "dvd", "electronics", "kitchen")
FIELDS = ("ai", "science", "politics", "music")
CASES = ("reviews", "scanners", "clips", "entities", "shuffled")
LABELS = {"mnist": 10, "usps": 10, "scanned": 2}


def reviews(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """50 labelled reviews of each product, half positive; the other 950 are test data."""
    from amazon import reviews as of_product

    from crossgraft.domains import open_domain

    data = {}
    for name in PRODUCTS:
        domain = open_domain(of_product(name, 500), name)
        data[name] = with_shots(domain, 25, seed)
    return data, {"schedule": "frozen"}


def with_shots(domain: Any, shots: int, seed: int, test: int | None = None) -> Any:
    """A domain with so many labels a class for training, and the rest, or `test` of it, as test data."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(domain))
    known = [i for c in domain.classes for i in [j for j in order if domain.labels[j] == c][:shots]]
    rest = np.setdiff1d(order, known)
    rest = rest if test is None else draw.permutation(rest)[:test]
    splits = np.full(len(domain), "", dtype="U10")
    splits[known], splits[rest] = "train", "test"
    return replace(domain, splits=splits).take(np.sort(np.concatenate([known, rest])))


def scanners(seed: int, test: int = 2000) -> tuple[dict[str, Any], dict[str, Any]]:
    """MNIST, USPS and the digits of scikit-learn with 10, 10 and 2 labels a class."""
    from crossgraft.domains import open_domain
    from crossgraft.domains.arrays import of_kind

    folder = cells.data() / "digits"
    paths = {
        "mnist": folder / "mnist" / "t10k-images-idx3-ubyte.gz",
        "usps": folder / "usps.h5",
        "scanned": "sklearn-digits",
    }
    opened = {name: of_kind(open_domain(path, name), "image") for name, path in paths.items()}
    data = {name: with_shots(domain, LABELS[name], seed, test) for name, domain in opened.items()}
    return data, {"backbone": "cnn"}


def shuffled(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same, and MNIST once more with shuffled labels; USPS is the task that matters."""
    data, options = scanners(seed)
    labels = data["mnist"].labels.copy()
    train = np.flatnonzero(data["mnist"].splits == "train")
    labels[train] = labels[np.random.default_rng(seed).permutation(train)]
    return {"usps": data["usps"], "shuffled": replace(data["mnist"], labels=labels)}, options | {"main": "usps"}


def clips(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Digit and speaker of one clip: four clips of each digit and speaker; layers learn."""
    from crossgraft.domains import open_domain

    files = sorted((cells.data() / "speech" / "fsdd").glob("*.wav"))
    names = [path.stem.split("_") for path in files]
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "clips.csv"
        rows = []
        for kind in sorted({(d, s) for d, s, _ in names}):
            own = draw.permutation([i for i, n in enumerate(names) if (n[0], n[1]) == kind])
            rows += [f"{files[i]},{kind[0]},{kind[1]},{'train' if k < 4 else 'test'}" for k, i in enumerate(own[:24])]
        table.write_text("\n".join(["path,digit,speaker,split", *rows]) + "\n")
        domain = open_domain(table, "clips", label=("digit", "speaker"))
    tasks = {"digit": {"label": "digit"}, "speaker": {"label": "speaker"}}
    return {"clips": domain}, {"tasks": tasks, "schedule": "lp_ft", "steps": 40, "guard": False}


def entities(seed: int, news: int = 1500, sentences: int = 100) -> tuple[dict[str, Any], dict[str, Any]]:
    """1,500 sentences of news and 100 of each of four fields as five tagging tasks, as in entities.py: layers learn
    news, then all five."""
    from crossgraft.domains import open_domain

    draw = np.random.default_rng(seed)
    data = {}
    for name in ("news", *FIELDS):
        domain = open_domain(cells.data() / "ner" / ("conll2003" if name == "news" else name), name)
        known = draw.permutation(domain.where("train"))[: news if name == "news" else sentences]
        test = domain.where("test")
        test = draw.permutation(test)[:300] if name == "news" else test
        data[name] = domain.take(np.sort(np.concatenate([known, test])))
    learns = {"schedule": "lp_ft", "lr": 5e-4, "steps": 60, "first": ("news",), "first_steps": 150}
    return data, learns | {"guard": False, "precision": "bf16"}


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """Train together and alone, judge, keep; scores of each task on its test part."""
    from crossgraft.measure.scores import measured
    from crossgraft.multitask.asked import MultiRecipe
    from crossgraft.multitask.given import given
    from crossgraft.multitask.learning import Steps
    from crossgraft.multitask.steps import all_steps
    from crossgraft.progress import clock

    cells.alone()
    asked = dict(cell["fit"])
    data, options = globals()[asked.pop("case")](asked["seed"])
    seconds: dict[str, float] = {}

    recipe = MultiRecipe.of(data=dict.fromkeys(data, "given"), **(options | asked))
    began = time.perf_counter()
    pool = given(recipe, data)
    with tempfile.TemporaryDirectory() as folder:
        steps = Steps(pool, Path(folder), lambda row: None)
        outcome = all_steps(steps, clock(seconds))
        without = _without_each(steps) if recipe.affinity else {}
    test = pool.examples("test")
    said = {"joint": outcome.joint.log_probabilities(pool, test)}
    said["alone"] = {n: model.log_probabilities(pool, test)[n] for n, model in outcome.alone.items()}
    tasks = {}
    for name in pool.names:
        side, rows = pool.sides[name], pool.labelled(name, test)
        found = {"kept": outcome.kept[name].model}
        for how, of in said.items():
            if name in of:
                scores = measured(pool.task.part(name), of[name], side.targets(rows), side.words(rows))
                found[how] = {k: scores[k]["value"] for k in ("accuracy", "f1", "cross_entropy") if k in scores}
        tasks[name] = found
    affinity = {
        f"{x.of} to {x.on}": (x.change.value, x.pair.value, x.change.low, x.change.high) for x in outcome.affinity
    }
    return cell | {
        "tasks": tasks, "affinity": affinity, "without": without, "groups": outcome.groups,
        "dropped": list(outcome.sharing.dropped), "lowered": outcome.sharing.lowered,
        "lam": dict(outcome.joint.lams), "seconds": seconds,
        "wall": time.perf_counter() - began,
    }  # fmt: skip


def _without_each(steps: Any) -> dict[str, float]:
    """What leaving a task out of the joint training adds to each other's cross-entropy on the test part, nats."""
    pool = steps.pool
    test, changes = pool.examples("test"), {}

    def entropies(names: tuple[str, ...]) -> dict[str, float]:
        model = steps.learn(names)
        return {n: float(found.losses.mean()) for n, found in model.judged(pool, test, names).items()}

    whole = entropies(pool.names)
    for of in pool.names:
        rest = entropies(tuple(n for n in pool.names if n != of))
        changes |= {f"{of} to {on}": loss - whole[on] for on, loss in rest.items()}
    return changes


def main() -> None:
    args = cells.arguments(__doc__ or "", cases=",".join(CASES))
    rows = []
    for case in args.cases.split(","):
        affinity = {"affinity": True} if case == "scanners" else {}
        todo = [{"name": case, "fit": {"case": case, "seed": seed} | affinity} for seed in args.seeds]
        done = cells.run("multi", todo, args.jobs, one)
        rows += [row for row in _rows(case, done) if row]
        head = ["case", "task", "alone", "together", "difference", "kept", "kept alone"]
        if affinity:
            _agreement(done)
    cells.table("multi", head, rows)


def _agreement(done: list[dict[str, Any]]) -> None:
    """How often the sign of an affinity on held-out labels is that of leaving the task out, on the test part."""
    names = list(done[0]["affinity"])
    table = []
    found = np.array([[row["affinity"][n] for n in names] for row in done])  # (seeds, pairs, 4)
    both, sure = found[:, :, :2], found[:, :, 2] * found[:, :, 3] > 0
    left = np.array([[row["without"][n] for n in names] for row in done])[:, :, None]
    alike, on_mean = (both > 0) == (left > 0), (both.mean(0) > 0) == (left.mean(0) > 0)
    for n, (beside, pair), (without,) in zip(names, both.mean(0), left.mean(0), strict=True):
        table.append([n, f"{beside:+.3f}", f"{pair:+.3f}", f"{without:+.3f}"])
    single = [f"{hits.sum()} of {hits.size} of single seeds, {own.sum()} of {own.size} of means"
              for hits, own in zip(alike.transpose(2, 0, 1), on_mean.T, strict=True)]  # fmt: skip
    table.append(["same sign", *single, f"{alike[sure, 0].sum()} of {sure.sum()} whose interval leaves out 0"])
    cells.table("multi-affinity", ["pair", "affinity, nats", "the two alone, nats", "left out, nats"], table)


def _rows(case: str, done: list[dict[str, Any]]) -> list[list[Any]]:
    """A row a task and one of the means: accuracy or F1 in per cent over seeds."""
    key = "f1" if case == "entities" else "accuracy"
    out, each = [], []
    for name in done[0]["tasks"]:
        of = [row["tasks"][name] for row in done]
        alone = np.array([t["alone"][key] for t in of])
        joint = np.array([t["joint"][key] if "joint" in t else t["alone"][key] for t in of])
        kept = np.where([t["kept"] == "joint" for t in of], joint, alone)
        each.append((alone, joint, kept))
        left = sum(t["kept"] == "alone" for t in of)
        out.append([case, name, *map(cells.mean, (alone, joint, joint - alone, kept)), f"{left} of {len(of)}"])
    alone, joint, kept = (np.mean([e[i] for e in each], axis=0) for i in range(3))
    out.append([case, "mean", *map(cells.mean, (alone, joint, joint - alone, kept)), ""])
    return out


if __name__ == "__main__":
    main()
