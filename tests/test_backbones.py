from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crossgraft import backbones
from crossgraft.backbones.weights import state_revision
from crossgraft.domains import Domain, open_domain
from crossgraft.errors import CrossgraftError, UsageError


def images(n: int = 3, size: int = 28, grey: bool = True) -> Domain:
    draw = np.random.default_rng(0)
    shape = (n, size, size) if grey else (n, size, size, 3)
    return open_domain((draw.integers(0, 256, shape, dtype=np.uint8), ["a"] * n), "p")


def vectors() -> Domain:
    return open_domain((np.eye(5, dtype=np.float32), list("aabbb")), "v")


def random_resnet() -> backbones.Backbone:
    return backbones.load("resnet18", images(), weights="random")


@pytest.mark.parametrize(
    ("name", "domain"),
    [("auto", images()), ("cnn", images()), ("cnn", images(size=70, grey=False)), ("mlp", vectors())],
)
def test_every_parameter_is_in_exactly_one_group(name: str, domain: Domain) -> None:
    check_groups(backbones.load(name, domain))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "torchvision/resnet18"])
def test_groups_of_published_models(name: str) -> None:
    check_groups(backbones.load(name, images(), weights="random"))


def check_groups(b: backbones.Backbone) -> None:
    names = [n for n, _ in b.module.named_parameters()]
    homes = [[g for g, ps in b.groups if any(n == p or n.startswith(p + ".") for p in ps)] for n in names]
    assert all(len(h) == 1 for h in homes)
    order = [g for g, _ in b.groups]
    assert len(set(order)) == len(order) > 1
    assert homes[0] == [order[0]]
    assert homes[-1] == [order[-1]]


def test_cnn_takes_its_size_and_colour_from_the_pictures() -> None:
    p = backbones.load("cnn", images()).preprocess
    q = backbones.load("cnn", images(size=70, grey=False)).preprocess
    assert p is not None
    assert q is not None
    assert (p.size, p.channels, q.size, q.channels) == (32, 1, 64, 3)


def test_fresh_layers_follow_the_seed_and_leave_the_others_draws() -> None:
    b = backbones.load("cnn", images())
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (state_revision(b.fresh(s)) for s in (1, 1, 2))
    assert one == same != other
    assert torch.equal(state, torch.get_rng_state())


def test_fresh_pretrained_layers_are_a_copy() -> None:
    b = backbones.load("auto", images())
    before = state_revision(b.module)
    with torch.no_grad():
        next(b.fresh(0).parameters()).add_(1)
    assert state_revision(b.module) == before


def test_auto_imports_nothing_heavy_before_it_is_built() -> None:
    code = (
        "import sys, numpy as np; from crossgraft.domains import open_domain; from crossgraft import backbones;"
        "b = backbones.load('auto', open_domain(np.zeros((1, 9, 9), np.uint8), 'p')); print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "openvino"} & set(out)


def test_the_source_head_completes_the_packaged_network() -> None:
    import timm

    from crossgraft.backbones.packaged import _path

    b = backbones.load("auto", images())
    whole = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    tensors = torch.load(_path(), weights_only=True).values()
    whole.load_state_dict(dict(zip(whole.state_dict(), tensors, strict=True)))
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert b.source_head is not None
    head = b.source_head()
    with torch.inference_mode():
        logits = b.module(x).numpy() @ head.weight + head.bias
        np.testing.assert_allclose(logits, whole.eval()(x).numpy(), rtol=1e-3, atol=1e-4)
    assert "ant, emmet" in head.classes[310]


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UsageError, match="resnet18"):
        backbones.load("resnet81", images())


def test_local_weights_with_their_head(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    whole = timm.create_model("resnet18", pretrained=False, num_classes=4)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    b = backbones.load("resnet18", images(), weights=str(tmp_path / "w.safetensors"))
    assert b.source_head is not None
    assert b.source_head().weight.shape == (512, 4)
    assert b.pretrained
    assert not b.portable
    assert torch.equal(b.module.conv1.weight, whole.conv1.weight)


def test_weights_that_do_not_fit_or_execute_are_refused(tmp_path: Path) -> None:
    import pickle

    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CrossgraftError, match="does not fit"):
        backbones.load("resnet18", images(), weights=str(tmp_path / "other.pth"))
    with open(tmp_path / "code.pth", "wb") as file:
        pickle.dump(Path, file)
    with pytest.raises(CrossgraftError, match=r"more than tensors|cannot be read"):
        backbones.load("resnet18", images(), weights=str(tmp_path / "code.pth"))
    with pytest.raises(CrossgraftError, match="no file of weights"):
        backbones.load("resnet18", images(), weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(("name", "domain"), [("cnn", images()), ("mlp", vectors())])
def test_rebuilt_layers_are_those_that_were_saved(name: str, domain: Domain) -> None:
    b = backbones.load(name, domain)
    state = {k: v.numpy() for k, v in b.fresh(5).state_dict().items()}
    again = backbones.rebuild(name, preprocess=b.preprocess, dim=b.dim, state=state)
    assert state_revision(again.module) == state_revision(b.fresh(5))
    assert again.pretrained
