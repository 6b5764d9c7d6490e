"""The quickstart over several seeds: MNIST to scanned digits, two labels a class."""

from __future__ import annotations

import numpy as np
from cells import accuracy, arguments, mean, run, table


def main() -> None:
    args = arguments(__doc__ or "", shots=2)
    base = {"target": "sklearn-digits", "source": ["mnist5000"], "backbone": "cnn", "shots": args.shots}
    rows = run("quickstart", [{"name": f"quickstart {s}", "fit": base | {"seed": s}} for s in args.seeds], args.jobs)
    parts = {
        "kept model": lambda r: r["test"],
        "transfer": lambda r: r["transfer"],
        "target only": lambda r: r["baselines"]["target_only"],
        "source only": lambda r: r["baselines"]["source_only"],
    }
    seconds = np.median([sum(r["seconds"].values()) for r in rows])
    table(
        "quickstart",
        ["model", f"accuracy, %, {len(args.seeds)} seeds", "lowest seed"],
        [[name, mean(accuracy(rows, pick)), f"{100 * min(accuracy(rows, pick)):.1f}"] for name, pick in parts.items()]
        + [["seconds, median, one core each", f"{seconds:.1f}", ""]],
    )


if __name__ == "__main__":
    main()
