from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crossgraft import backbones, features
from crossgraft.backbones.backbone import Preprocess
from crossgraft.domains import Domain, open_domain
from crossgraft.features import Store, engine
from crossgraft.features.reading import fit_picture


def some(n: int = 5, seed: int = 0, size: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def domain_of(x: np.ndarray) -> Domain:
    return open_domain((x, ["a"] * len(x)), "p")


def tiny() -> backbones.Backbone:
    return replace(backbones.load("cnn", domain_of(some())), pretrained=True, build=_build)


def _build() -> torch.nn.Module:
    torch.manual_seed(0)
    return backbones.load("cnn", domain_of(some())).fresh(0)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pictures that go through the layers, batch by batch."""
    sizes: list[int] = []
    submit = engine.Torch.submit

    def counting(self: engine.Torch, batch: np.ndarray, beside: Any) -> None:
        sizes.append(len(batch))
        submit(self, batch, beside)

    monkeypatch.setattr(engine.Torch, "submit", counting)
    return sizes


def test_one_change_among_many_costs_one_forward_pass(tmp_path: Path, counted: list[int]) -> None:
    x, store = some(60), Store(tmp_path / "s")
    first = features.features(domain_of(x), tiny(), store=store, engine="torch").values
    assert sum(counted) == 60
    counted.clear()
    x[17] = 255 - x[17]
    second = features.features(domain_of(x), tiny(), store=store, engine="torch").values
    assert sum(counted) == 1
    same = np.arange(60) != 17
    assert np.array_equal(first[same], second[same])
    assert not np.array_equal(first[17], second[17])


@pytest.mark.slow
def test_one_file_changed_among_10_000_costs_one_forward_pass(tmp_path: Path, counted: list[int]) -> None:
    x = some(10_000, size=8)
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
    for i, picture in enumerate(x):
        Image.fromarray(picture).save(tmp_path / "p" / "ab"[i % 2] / f"{i}.png")
    store = Store(tmp_path / "s")
    first = features.features(open_domain(tmp_path / "p", "p"), tiny(), store=store, engine="torch").values
    assert sum(counted) == 10_000
    counted.clear()
    Image.fromarray(255 - x[4321]).save(tmp_path / "p" / "b" / "4321.png")
    second = features.features(open_domain(tmp_path / "p", "p"), tiny(), store=store, engine="torch").values
    assert sum(counted) == 1
    assert (first != second).any(1).sum() == 1


def test_features_equal_the_layers_own(tmp_path: Path) -> None:
    d, b = domain_of(some(11)), tiny()
    p = b.preprocess
    assert p is not None
    x = torch.from_numpy(features.pixels(d, b).values).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = b.module((x - 0.5) / 0.5).numpy()
    for name in ("torch", "auto"):
        got = features.features(d, b, store=Store(tmp_path / name), engine=name).values
        cosine = (got * expected).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(expected, axis=1)
        assert cosine.min() > (0.999 if engine.engine_for(name).endswith("bf16") else 0.9999)
    np.testing.assert_allclose(features.embed(b, features.pixels(d, b).values), expected, rtol=1e-3, atol=1e-4)


def test_a_broken_file_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "d" / "a").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(some(1, i)[0]).save(tmp_path / "d" / "a" / f"{i}.png")
    (tmp_path / "d" / "a" / "1.png").write_bytes(b"not a picture")
    d = open_domain(tmp_path / "d", "d")
    got = features.features(d, tiny(), store=Store(tmp_path / "s"), engine="torch")
    assert [i for i, _ in got.failures] == [1]
    assert "text" in got.failures[0][1]
    assert np.abs(got.values[[0, 2]]).sum(1).min() > 0
    assert [i for i, _ in features.pixels(d, tiny()).failures] == [1]


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (64, 900)])
def test_resize_is_close_to_pillows(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = np.stack([np.sin(x / 9) * 100 + 128, np.cos(y / 7) * 100 + 128, (x + y) % 255], 2).astype(np.uint8)
    picture[:, :, 2] = 90
    ours = fit_picture(picture, Preprocess(224, crop=0.875)).astype(float)
    side = min(shape)
    long = round(256 * max(shape) / side)
    size = (long, 256) if shape[1] > shape[0] else (256, long)
    pillow = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    theirs = np.asarray(pillow.crop((left, top, left + 224, top + 224)), dtype=float)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() < 4


def test_luminance_of_grey_is_grey() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    assert np.array_equal(fit_picture(grey, Preprocess(16, channels=1))[:, :, 0], grey[:, :, 0])


def test_a_kill_loses_nothing_that_was_put(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, numpy as np; from pathlib import Path; from crossgraft.features import Store;"
        "s = Store(Path(sys.argv[1])); s.put({b'k' * 20: np.arange(4.0)}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=False).returncode == -9
    assert Store(tmp_path / "s").get([b"k" * 20])[b"k" * 20].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["noise", "cut"])
def test_a_damaged_store_is_set_aside(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path / "s")
    store.put({bytes([i]) * 20: np.full(2000, i) for i in range(50)})
    store.close()
    file = tmp_path / "s" / "data.mdb"
    file.write_bytes(b"\x13" * 20_000 if damage == "noise" else file.read_bytes()[:9000])
    again = Store(tmp_path / "s")
    assert again.get([b"\x01" * 20]) == {}
    again.put({b"n" * 20: np.ones(2)})
    assert again.get([b"n" * 20])[b"n" * 20].tolist() == [1, 1]
    assert list(tmp_path.glob("s.damaged-*"))


def test_identity_needs_no_store(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    d = open_domain((x, list("aabb")), "v")
    assert np.array_equal(features.features(d, backbones.load("identity", d)).values, x)
