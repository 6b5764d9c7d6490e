"""Several processes of one training: one folder, one result, every step logged once, the model of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
TWO = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29613"]


def called(folder: Path, *arguments: object, two: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(TWO if two else ()), "-m", "crossgraft", *map(str, arguments)]
    environment = os.environ | ALONE | {"CROSSGRAFT_CACHE": str(folder / "cache")}
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["frozen", "full"])
def test_two_processes_write_one_run(tmp_path: Path, schedule: str) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 120)
    x = (draw.normal(0, 1, (120, 6)) + 2 * y[:, None]).astype(np.float32)
    np.savez(tmp_path / "rows.npz", X=x, y=np.array(["no", "yes"])[y])
    np.savez(tmp_path / "more.npz", X=x + 0.5, y=np.array(["no", "yes"])[y])
    backbone = "identity" if schedule == "frozen" else "mlp"
    asked = ["fit", "--target", "rows.npz", "--source", "more.npz", "--backbone", backbone, "--shots", "8", "--json"]
    asked += ["--steps", "40", "--source-steps", "40"] if schedule == "full" else []
    done = called(tmp_path, *asked, two=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)  # one object
    assert [f.name for f in (tmp_path / "runs").iterdir()] == ["rows-1"]
    run = tmp_path / "runs" / "rows-1"
    assert not (run / "checkpoints").exists()
    if schedule == "full":
        rows = [json.loads(line) for line in (run / "measures.jsonl").read_text().splitlines()]
        steps = [(r["model"], r["phase"], r["step"], "evaluation" in r) for r in rows]
        assert len(steps) == len(set(steps)) > 1
    alone = called(tmp_path, *asked, "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["kept"]["model"] == result["kept"]["model"]
    for name, tensor in load_file(tmp_path / "alone" / "weights.safetensors").items():
        np.testing.assert_allclose(load_file(run / "weights.safetensors")[name], tensor, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_a_wrong_call_ends_all_processes(tmp_path: Path) -> None:
    done = called(tmp_path, "fit", "--target", "nothing", two=True)
    assert done.returncode != 0
    assert "nothing" in done.stderr
