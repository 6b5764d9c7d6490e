"""Many short texts to frozen features: memory over that of the model, of the process's own and of mapped files.

python benchmarks/many_texts.py [--rows 1000000]
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from pathlib import Path

import amazon
import cells

WORDS = 6  # of a text


def resident() -> tuple[float, float]:
    """MiB of the process's own, and of pages of files that the system may take back."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    own, mapped = (int(re.findall(rf"{name}:\s+(\d+)", status)[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def main() -> None:
    args = cells.arguments(__doc__ or "", rows=1_000_000)
    cells.alone()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CROSSGRAFT_CACHE"] = folder
        from crossgraft import backbones, features
        from crossgraft.domains import open_domain

        path = Path(folder) / "texts.csv"
        with path.open("w", encoding="utf-8") as file:
            file.write("text,label\n")
            written = 0
            words = re.findall(
                r"[a-z]+", " ".join(t for d in amazon.DOMAINS for t in amazon.reviews(d, 3000)[0]).lower()
            )
            for first in range(args.rows):  # windows over all reviews, as long as there are new ones
                at = (first * 2) % (len(words) - WORDS)
                file.write(" ".join(words[at : at + WORDS]) + f" {first},{'even' if first % 2 else 'odd'}\n")
                written += 1
        del words
        small = open_domain(amazon.reviews("books", 50)[0], "few")
        backbone = backbones.load("auto", small)
        features.features(small, backbone)
        before, most, done = resident(), [0.0, 0.0], threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                for i, now in enumerate(resident()):
                    most[i] = max(most[i], now)

        watcher = threading.Thread(target=watch)
        watcher.start()
        began, cpu = time.perf_counter(), time.process_time()
        domain = open_domain(str(path), "many", input="text", label="label")
        read = time.process_time() - cpu, resident()[0] - before[0]
        found = features.features(domain, backbone).values
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        done.set()
        watcher.join()
        print(f"{len(found)} x {found.shape[1]}, {wall:.0f} s on the wall; read in {read[0]:.0f} s, {read[1]:.0f} MiB")
        row = [
            written,
            f"{before[0]:.0f}",
            f"{most[0] - before[0]:.0f}",
            f"{most[1] - before[1]:.0f}",
            f"{written / cpu:.0f}",
        ]
        cells.table(
            "many-texts",
            ["texts", "MiB with the model", "more at most", "pages of files besides", "texts a CPU second"],
            [row],
        )


if __name__ == "__main__":
    main()
