from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from safetensors.numpy import load_file
from torch import nn

import crossgraft
from crossgraft import Run, features
from crossgraft.backbones.backbone import Preprocess
from crossgraft.backbones.given import from_module, given
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.recipe import Recipe


def test_a_module_of_ones_own_gives_the_features_that_it_gives() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    p = Preprocess(12, 1, (0.5,), (0.5,), "bilinear")
    backbone = from_module(net, p)
    assert (backbone.kind, backbone.dim) == ("image", 16)
    every = sorted(n for n, _ in net.named_parameters())
    held = sorted(n for n in every for _, prefixes in backbone.groups if any(n.startswith(f"{q}.") for q in prefixes))
    assert held == every
    x = np.random.default_rng(0).integers(0, 256, (5, 12, 12), dtype=np.uint8)
    values = features.pixels(open_domain(x, "x"), backbone).values
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x / 127.5 - 1).float()[:, None]).numpy()
    np.testing.assert_allclose(features.embed(backbone, values), expected, atol=1e-5)


def test_a_module_that_gives_no_rows_of_features_is_refused() -> None:
    with pytest.raises(UsageError, match="Flatten"):
        from_module(nn.Conv2d(1, 4, 3), Preprocess(12, 1))
    with pytest.raises(UsageError, match="does not take"):
        from_module(nn.Linear(4, 2), 3)


def small_net(last: type[nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), last(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15).astype(np.uint8), found.target


@pytest.mark.parametrize("schedule", ["frozen", "lp_ft"])
def test_a_run_of_a_module_keeps_its_weights_and_is_opened_with_it(tmp_path: Path, digits: Any, schedule: str) -> None:
    x, y = digits
    net = small_net()
    for weight in net.parameters():  # which does not keep a schedule from moving them
        weight.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    out = tmp_path / "run"
    options = {"schedule": schedule, "steps": 4, "shots": 3, "guard": False, "baselines": False, "backbone": net}
    run = crossgraft.fit((x[:150], y[:150]), (x[150:300], y[150:300]), out=out, **options)
    assert run.recipe.backbone.startswith("<Sequential ")
    expected = run.predict(x[:4])
    assert Run.open(out, backbone=net).predict(x[:4]) == expected
    if schedule == "lp_ft":
        assert not np.array_equal(load_file(out / "weights.safetensors")["backbone.0.weight"], before["0.weight"])
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    fresh = small_net()
    nn.init.zeros_(fresh[0].weight)  # the run's weights take the place of those that it has
    assert Run.open(out, backbone=fresh).predict(x[:4]) == expected
    with pytest.raises(CrossgraftError, match=r"backbone=module"):
        Run.open(out).predict(x[:4])
    with pytest.raises(CrossgraftError, match="compute other features"):
        Run.open(out, backbone=small_net(nn.Tanh)).predict(x[:4])
    with pytest.raises(CrossgraftError, match="does not fit"):
        Run.open(out, backbone=nn.Sequential(nn.Conv2d(1, 7, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten())).predict(x[:4])


def test_a_module_is_taken_up_again_with_itself_only(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    target = (draw.normal(size=(20, 3)), np.arange(20) % 2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    out = tmp_path / "run"
    options = {"schedule": "frozen", "guard": False, "baselines": False}
    crossgraft.fit(target, out=out, backbone=net, **options)
    assert crossgraft.fit(target, out=out, backbone=net, resume=True, **options).predict(target[0][:2])
    with pytest.raises(UsageError, match="backbone differ"):
        crossgraft.fit(target, out=out, backbone=nn.Sequential(nn.Linear(3, 5), nn.Tanh()), resume=True, **options)
    (out / "result.json").unlink()
    with pytest.raises(UsageError, match="give the module again"):
        crossgraft.fit(target, out=out, backbone=Recipe.read(out / "recipe.toml").backbone, resume=True, **options)


def test_a_module_of_clips_hears_no_padding(tmp_path: Path) -> None:
    class Loudness(nn.Module):
        """The mean and the spread of a clip."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return self.scale * torch.stack([clips.abs().mean(1), clips.std(1)], 1)

    draw = np.random.default_rng(0)
    clips = [draw.normal(0, 0.05 + 0.1 * (i % 2), 4000 + 7 * i).clip(-1, 1).astype(np.float32) for i in range(12)]
    for i, clip in enumerate(clips):
        folder = tmp_path / "clips" / ("soft", "loud")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        sf.write(folder / f"{i}.wav", clip, 16_000, subtype="FLOAT")
    domain = open_domain(tmp_path / "clips", "clips")
    clips = [domain.read(i) for i in range(12)]
    backbone = given(Loudness(), domain)
    found = features.features(domain, backbone).values
    np.testing.assert_allclose(found, [(np.abs(x).mean(), x.std(ddof=1)) for x in clips], atol=1e-4)
    options = {"schedule": "frozen", "guard": False, "baselines": False, "shots": 2, "backbone": Loudness()}
    run = crossgraft.fit(domain, out=tmp_path / "run", **options)
    assert run.result["test"]["accuracy"]["value"] == 1
    assert [row["label"] for row in Run.open(run.folder, backbone=Loudness()).predict(domain)] == list(domain.labels)


def test_the_same_weights_in_another_function_are_other_layers(digits: Any) -> None:
    x, y = digits
    ranked = crossgraft.rank((x[:60], y[:60]), backbones=[small_net(), small_net(nn.Tanh)])["ranking"]
    assert len({row["name"] for row in ranked}) == 2
    assert ranked[0]["joint_loo"]["value"] < ranked[1]["joint_loo"]["value"]
    found = crossgraft.gap((x[:80], None), (x[80:160], None), backbone=small_net())
    assert found["backbone"]["name"].startswith("<Sequential ")


def test_what_is_no_backbone_is_named() -> None:
    arrays = (np.zeros((8, 3)), np.arange(8) % 2)
    with pytest.raises(UsageError, match=r"int.*torch.nn.Module"):
        crossgraft.fit(arrays, backbone=3)
    with pytest.raises(UsageError, match="no weights"):
        crossgraft.fit(arrays, backbone=nn.Linear(3, 2), weights="w.pth")
    with pytest.raises(UsageError, match="does not take"):
        crossgraft.fit(arrays, backbone=nn.Linear(4, 2))
    with pytest.raises(UsageError, match="save_pretrained"):
        crossgraft.fit((["a b", "c d"] * 4, ["x", "y"] * 4), backbone=nn.Linear(4, 2))
