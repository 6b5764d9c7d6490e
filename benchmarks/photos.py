"""Pictures unlike ImageNet's with few labels: frozen, lp_ft, full and auto from the same backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
from cells import accuracy, arguments, data, mean, run, table
from cells import one as fitted

from crossgraft.seeds import rng

SETS = {"rsscn7": "1,5,20", "pneumonia": "10,50"}
X_RAYS = 1500  # of the 5,030: layers that moved must read all of them again for each model


def pictures(name: str) -> Any:
    """A folder, or arrays."""
    if name == "rsscn7":
        return str(data() / "images/rsscn7")
    with np.load(data() / "images/pneumoniamnist.npz", allow_pickle=False) as file:
        x, y = (np.concatenate([file[f"{part}_{what}"] for part in ("train", "val", "test")])
                for what in ("images", "labels"))  # fmt: skip
    rows = np.sort(rng(0, "X-rays").permutation(len(y))[:X_RAYS])
    return x[rows], np.array(["normal", "pneumonia"])[y.ravel()[rows]]


def one(cell: dict[str, Any]) -> dict[str, Any]:
    """A cell names its pictures; here they are read."""
    fit = cell["fit"] | {"target": pictures(cell["fit"]["target"])}
    return fitted(cell | {"fit": fit}) | {"fit": cell["fit"]}


def main() -> None:
    args = arguments(__doc__ or "", set="rsscn7", schedules="frozen,lp_ft,full,auto", shots="")
    shots = [int(k) for k in (args.shots or SETS[args.set]).split(",")]
    schedules = args.schedules.split(",")
    base = {"target": args.set, "baselines": False, "guard": False}
    cells = [
        {
            "name": f"{args.set} {k} {s}",
            "shots": k,
            "schedule": s,
            "fit": base | {"shots": k, "schedule": s, "seed": seed},
        }
        for seed in args.seeds
        for k in shots
        for s in schedules
    ]
    rows = run(f"photos-{args.set}", cells, args.jobs, one)
    out = []
    for k in shots:
        cell = lambda s: [r for r in rows if r["shots"] == k and r["fit"]["schedule"] == s]  # noqa: B023, E731
        out.append([k, *(mean(accuracy(cell(s), lambda r: r["test"])) for s in schedules)])
    table(f"photos-{args.set}", ["labels a class", *schedules], out)


if __name__ == "__main__":
    main()
