"""A full disk, a kill in the middle, two processes at once: a sentence or the same result, and nothing good is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossgraft import features
from crossgraft.backbones import load
from crossgraft.domains import open_domain
from crossgraft.features import Store, reading

# No file that this process writes may grow past the second argument: how a full disk looks from within.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from crossgraft.cli import main
sys.argv[1:] = sys.argv[2:]
main()
"""
COMPUTE = """
import sys
from pathlib import Path
from crossgraft import backbones, features
from crossgraft.domains import open_domain
from crossgraft.features import Store
domain = open_domain(sys.argv[2], "p")
print("ready", flush=True)
sys.stdin.readline()
features.features(domain, backbones.load("auto", domain), store=Store(Path(sys.argv[1])), engine="torch")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures of two classes."""
    at = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, base in (("dark", 60), ("light", 170)):
        (at / name).mkdir()
        for i in range(32):
            noise = rng.integers(0, 60, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(base)).save(at / name / f"{i}.png")
    return at


def limited(size: int, cache: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *map(str, args), "--json"],
        env=os.environ | {"CROSSGRAFT_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip


@contextmanager
def computing(store: Path, folder: Path, n: int) -> Iterator[list[subprocess.Popen[str]]]:
    """n processes that compute the features of a folder, begun at once."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", COMPUTE, str(store), str(folder)],
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
            )
            for _ in range(n)
        ]  # fmt: skip
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield started


def held(store: Path) -> int:
    entries: int = Store(store)._env.stat()["entries"]
    return entries


def test_a_full_disk_ends_in_a_sentence_and_resuming_is_as_if_it_never_was(tmp_path: Path) -> None:
    """The checkpoint of the small network does not fit; then it does."""
    rng = np.random.default_rng(1)
    for name in ("target", "source"):
        np.savez(tmp_path / f"{name}.npz", X=rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), y=np.arange(120) % 3)
    asked = ["fit", "--target", tmp_path / "target.npz", "--source", tmp_path / "source.npz", "--backbone", "cnn"]
    asked += ["--shots", 3, "--source-steps", 12, "--steps", 4, "--schedule", "lp_ft", "--no-baselines", "--no-guard"]
    full = limited(20_000, tmp_path / "c", *asked, "--out", tmp_path / "run")
    assert full.returncode == 1
    said = json.loads(full.stdout)
    assert "checkpoint" in said["error"]
    assert "resume" in said["remedy"]
    assert "Traceback" not in full.stderr
    again = limited(1 << 40, tmp_path / "c", "fit", "--resume", "--out", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    never = limited(1 << 40, tmp_path / "c", *asked, "--out", tmp_path / "never")
    assert never.returncode == 0
    weights = [next((tmp_path / name).glob("*.safetensors")).read_bytes() for name in ("run", "never")]
    assert weights[0] == weights[1]


def test_a_full_cache_is_named_and_the_run_goes_on_elsewhere(folder: Path, tmp_path: Path) -> None:
    asked = ["fit", "--target", folder, "--schedule", "frozen", "--shots", 4, "--no-baselines", "--no-guard"]
    full = limited(60_000, tmp_path / "small", *asked, "--out", tmp_path / "run")
    assert full.returncode == 1
    assert str(tmp_path / "small") in json.loads(full.stdout)["error"]
    assert "CROSSGRAFT_CACHE" in json.loads(full.stdout)["remedy"]
    again = limited(1 << 40, tmp_path / "large", "fit", "--resume", "--out", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["test"]["n"] > 0


@pytest.mark.slow
def test_a_kill_in_the_middle_costs_what_was_not_yet_kept(folder: Path, tmp_path: Path) -> None:
    with computing(tmp_path / "s", folder, 1) as (process,):
        until = time.monotonic() + 120
        while held(tmp_path / "s") == 0 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    kept = held(tmp_path / "s")
    assert 0 < kept <= 64
    domain = open_domain(folder, "p")
    backbone = load("auto", domain)
    store = Store(tmp_path / "s")
    before = store.get([k for k, _ in store._env.begin().cursor()])
    resumed = features.features(domain, backbone, store=store, engine="torch").values
    afresh = features.features(domain, backbone, store=Store(tmp_path / "t"), engine="torch").values
    np.testing.assert_allclose(resumed, afresh, atol=1e-4)  # other batches: floats add in another order
    after = store.get(list(before))
    assert all(np.array_equal(before[k], after[k]) for k in before)


@pytest.mark.slow
def test_two_processes_fill_one_store(folder: Path, tmp_path: Path) -> None:
    with computing(tmp_path / "s", folder, 2) as both:
        assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert held(tmp_path / "s") == 64
    domain = open_domain(folder, "p")
    backbone = load("auto", domain)
    together = features.features(domain, backbone, store=Store(tmp_path / "s"), engine="torch").values
    alone = features.features(domain, backbone, store=Store(tmp_path / "t"), engine="torch").values
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_many_pixels_go_to_a_file_and_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = open_domain(folder, "p")
    backbone = load("cnn", domain)
    small = features.pixels(domain, backbone).values
    monkeypatch.setattr(reading, "IN_MEMORY", 1000)
    monkeypatch.setenv("CROSSGRAFT_CACHE", str(tmp_path))
    large = features.pixels(domain, backbone).values
    assert isinstance(large, np.memmap)
    assert np.array_equal(small, large)
    assert list((tmp_path / "pixels").iterdir()) == []  # the system removes it with the array
