"""MNIST to USPS and back with few target labels: joint beside target only and source only."""

from __future__ import annotations

from cells import accuracy, arguments, data, mean, run, table

PAIRS = {
    "MNIST to USPS": ("digits/mnist/t10k-images-idx3-ubyte.gz", "digits/usps.h5"),
    "USPS to MNIST": ("digits/usps.h5", "digits/mnist/t10k-images-idx3-ubyte.gz"),
}


def main() -> None:
    args = arguments(__doc__ or "", shots="1,5,10")
    folder = data()
    cells = [
        {
            "name": f"{pair} {k}",
            "pair": pair,
            "shots": k,
            "fit": {"target": str(folder / target), "source": [str(folder / source)]}
            | {"backbone": "cnn", "shots": k, "seed": seed},
        }
        for pair, (source, target) in PAIRS.items()
        for k in map(int, args.shots.split(","))
        for seed in args.seeds
    ]  # fmt: skip
    rows = run("digits", cells, args.jobs)
    out = []
    for pair in PAIRS:
        for k in map(int, args.shots.split(",")):
            here = [r for r in rows if r["pair"] == pair and r["shots"] == k]
            picks = (
                lambda r: r["baselines"]["source_only"],
                lambda r: r["baselines"]["target_only"],
                lambda r: r["transfer"],
                lambda r: r["test"],
            )
            out.append([pair, k, *(mean(accuracy(here, pick)) for pick in picks)])
    table("digits", ["pair", "labels a class", "source only", "target only", "joint", "kept by the guard"], out)


if __name__ == "__main__":
    main()
