from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's feature store; one for each worker keeps compiled backbones warm.

    Of the session, for fixtures of a module come before those of a test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSGRAFT_CACHE", str(tmp_path_factory.getbasetemp() / "crossgraft-cache"))
        yield


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features in float32 also where the CPU multiplies bfloat16, for tests that compare values."""
    monkeypatch.setenv("CROSSGRAFT_ENGINE", "torch")


@pytest.fixture
def data() -> Path:
    """The folder of real data."""
    folder = os.environ.get("CROSSGRAFT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CROSSGRAFT_DATA does not name the folder of the real data")
    return Path(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of two classes with 12 pictures each: bright discs and dark bars, 40 x 40."""
    draw = np.random.default_rng(0)
    for name in ("bar", "disc"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            y, x = np.mgrid[:40, :40]
            at = draw.uniform(14, 26, 2)
            mark = (np.abs(x - at[0]) < 4) if name == "bar" else ((x - at[0]) ** 2 + (y - at[1]) ** 2 < 60)
            grey = np.where(mark, 40 if name == "bar" else 220, 128) + draw.normal(0, 8, (40, 40))
            rgb = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, 2)
            Image.fromarray(rgb).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"
