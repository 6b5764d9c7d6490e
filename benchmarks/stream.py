"""A live stream of connected digits, ten minutes: processor seconds for each second of sound, and whether memory grows.

python benchmarks/stream.py [--minutes 10]
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

import cells
import numpy as np


def main() -> None:
    args = cells.arguments(__doc__ or "", minutes=10)
    import connected
    import psutil
    import soundfile as sf
    import soxr

    import crossgraft
    from crossgraft.stream import listen

    cells.alone()
    with tempfile.TemporaryDirectory() as folder:
        table = connected.write(Path(folder), "theo", 30, 40, 10)
        asked = {"task": "transcribe", "symbols": "words", "schedule": "frozen", "baselines": False}
        run = crossgraft.fit(target=str(table), out=Path(folder) / "run", **asked)
        read = (sf.read(path, dtype="float32") for path in sorted(Path(folder).glob("theo-test-*.wav")))
        parts = [np.append(soxr.resample(x, rate, 16000), np.zeros(16000, np.float32)) for x, rate in read]
        once = (np.concatenate(parts) * 32767).astype("<i2").tobytes()
        n = args.minutes * 60 * 16000 * 2
        sound = io.BytesIO((once * (n // len(once) + 1))[:n])
        process, pieces, memory = psutil.Process(), 0, []
        began, cpu = time.perf_counter(), time.process_time()
        for row in listen(run, sound):
            pieces += 1
            memory.append((row["end"], process.memory_info().rss / 2**20))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        scored = run.result["test"]["word_error_rate"]["value"]
    seconds = args.minutes * 60
    early = max(m for end, m in memory if end < seconds / 10)
    rows = [[seconds, pieces, f"{cpu / seconds:.4f}", f"{wall / seconds:.4f}", f"{early:.0f}",
             f"{max(m for _, m in memory):.0f}", f"{100 * scored:.1f}"]]  # fmt: skip
    head = ["seconds of sound", "pieces", "processor s a second", "wall s a second", "MiB, first tenth", "most MiB",
            "word errors of its files, %"]  # fmt: skip
    cells.table("stream", head, rows)


if __name__ == "__main__":
    main()
