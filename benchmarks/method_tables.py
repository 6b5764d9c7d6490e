"""Tables of methods over pairs and seeds: gains, what each rule of selection gets, mean ranks and how far apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from cells import mean, table

from crossgraft.methods import LABEL_FREE

Row = dict[str, Any]
RULES = (*LABEL_FREE, "oracle")


def chosen(rows: Sequence[Row], validator: str) -> float:
    """The accuracy that a validator gets by choosing among source only and all methods of one pair and seed."""
    from crossgraft.validation import most_collapsed

    scored = [(rows[0]["validators"]["source_only"], rows[0]["accuracy"]["source_only"])]
    scored += [(r["validators"]["transfer"], r["accuracy"]["transfer"]) for r in rows]
    if validator == "oracle":
        return max(right for _, right in scored)
    worst = most_collapsed(scored[0][0]["collapse"])
    return max((v[validator], right) for v, right in scored if v["collapse"] <= worst)[1]


def tables(rows: Sequence[Row], groups: Mapping[str, Sequence[str]], name: str) -> None:
    """Methods by mean gain; below it what each rule of selection gets, and the ranks.

    groups  pairs by the heading of the column that they are averaged in
    """
    cells: dict[tuple[str, int], list[Row]] = {}
    for r in rows:
        cells.setdefault((r["fit"]["pair"], r["fit"]["seed"]), []).append(r)
    methods = list(dict.fromkeys(r["fit"]["method"] for r in rows))

    def over(pick: Callable[[list[Row]], float | None]) -> list[str]:
        """Accuracy by column, one mean over its pairs a seed; then the gain over the columns."""
        by = [_by_seed(cells, pairs, pick) for pairs in groups.values()]
        plain = [_by_seed(cells, pairs, lambda c: c[0]["accuracy"]["source_only"]) for pairs in groups.values()]
        gains = [
            np.mean([b[s] - p[s] for b, p in zip(by, plain, strict=True) if s in b])
            for s in sorted({s for b in by for s in b})
        ]
        return [*(mean(list(b.values())) if b else "" for b in by), mean(gains)]

    measured = "gap" in rows[0]
    out: list[tuple[float, list[Any]]] = []
    for method in methods:
        own = [r for r in rows if r["fit"]["method"] == method]
        shown = over(lambda c, m=method: _of(c, m))
        kept = sum(r["kept"] == "transfer" for r in own)
        harm = sum(r["kept"] == "transfer" and r["accuracy"]["transfer"] < r["accuracy"]["source_only"] for r in own)
        more = [_mean(own, "entropy")] if measured else []
        cpu = f"{np.median([r['cpu'] for r in own]):.1f}"
        out.append((float(shown[-1].split()[0]), [method, *shown, *more, f"{kept}/{len(own)}", harm, cpu]))
    head = ["", *groups, "gain", *(["nats"] if measured else []), "kept", "kept and worse", "CPU s"]
    more = [_mean([c[0] for c in cells.values()], "entropy", "source_only")] if measured else []
    first = ["source only", *over(lambda c: c[0]["accuracy"]["source_only"])[:-1], "", *more, "", "", ""]
    table(name, head, [first, *(row for _, row in sorted(out, key=lambda pair: -pair[0]))])
    print()
    known = [r for r in RULES if r == "oracle" or all(r in row["validators"]["transfer"] for row in rows)]
    every = [[rule, *over(lambda c, r=rule: chosen(c, r))] for rule in known]
    table(f"{name}-selection", ["chosen by", *groups, "gain"], every)
    print()
    if measured:
        gaps(rows, groups, methods, f"{name}-gap")
        print()
    ranked(cells, methods, f"{name}-ranks")


def gaps(rows: Sequence[Row], groups: Mapping[str, Sequence[str]], methods: Sequence[str], name: str) -> None:
    """Nats between the features of both domains: as they were given, of source only, and of each method."""
    lines = []
    for method, model in [
        ("as they were given", "given"),
        ("source only", "source_only"),
        *((m, "transfer") for m in methods),
    ]:
        cells = []
        for pairs in groups.values():
            own = [
                r for r in rows if r["fit"]["pair"] in pairs and (model != "transfer" or r["fit"]["method"] == method)
            ]
            cells.append(_mean(own, "gap", model) if own else "")
        lines.append([method, *cells])
    table(name, ["gap, nats", *groups], lines)


def ranked(cells: Mapping[tuple[str, int], Sequence[Row]], methods: Sequence[str], name: str) -> None:
    """Mean ranks over pairs, a pair counting once: the mean of its seeds; source only among the methods."""
    from crossgraft.measure import ranks

    pairs = list(dict.fromkeys(pair for pair, _ in cells))
    common = [m for m in methods if all(_of(c, m) is not None for c in cells.values())]
    scores = np.array([
        [np.mean([_of(c, m) for (p, _), c in cells.items() if p == pair]) for m in ("source_only", *common)]
        for pair in pairs
    ])  # fmt: skip
    if scores.shape[1] < 2:
        return
    found = ranks(scores)
    order = np.argsort(found.mean, kind="stable")
    best = found.mean[order[0]]
    names = np.array(["source only", *common])
    rows = [[names[i], f"{found.mean[i]:.1f}", "" if found.mean[i] - best <= found.critical else "yes"] for i in order]
    table(name, [f"over {len(pairs)} pairs", "mean rank", "worse than the first beyond the critical difference"], rows)
    print(f"Friedman p = {found.p_value:.2g}, critical difference (Nemenyi, 0.05) = {found.critical:.1f}")


def _of(cell: Sequence[Row], method: str) -> float | None:
    if method == "source_only":
        return float(cell[0]["accuracy"]["source_only"])
    return next((float(r["accuracy"]["transfer"]) for r in cell if r["fit"]["method"] == method), None)


def _by_seed(
    cells: Mapping[tuple[str, int], list[Row]], pairs: Sequence[str], pick: Callable[[list[Row]], float | None]
) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for (pair, seed), cell in cells.items():
        if pair in pairs and (value := pick(cell)) is not None:
            found.setdefault(seed, []).append(value)
    return {seed: float(np.mean(values)) for seed, values in found.items()}


def _mean(rows: Sequence[Row], what: str, model: str = "transfer") -> str:
    return f"{np.mean([r[what][model] for r in rows]):.3f}"
