"""Pictures unlike ImageNet's with few labels: frozen, lp_ft and full from the same backbone."""

from __future__ import annotations

from cells import accuracy, arguments, data, mean, run, table

SETS = {"rsscn7": ("images/rsscn7", "1,5,20"), "pneumonia": ("images/pneumoniamnist.npz", "10,50")}


def main() -> None:
    args = arguments(__doc__ or "", set="rsscn7", schedules="frozen,lp_ft,full", shots="")
    path, shots = SETS[args.set]
    shots = [int(k) for k in (args.shots or shots).split(",")]
    schedules = args.schedules.split(",")
    base = {"target": str(data() / path), "baselines": False, "guard": False}
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
    rows = run(f"photos-{args.set}", cells, args.jobs)
    out = []
    for k in shots:
        cell = lambda s: [r for r in rows if r["shots"] == k and r["schedule"] == s]  # noqa: B023, E731
        out.append([k, *(mean(accuracy(cell(s), lambda r: r["test"])) for s in schedules)])
    table(f"photos-{args.set}", ["labels a class", *schedules], out)


if __name__ == "__main__":
    main()
