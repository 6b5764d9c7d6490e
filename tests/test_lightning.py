"""Lightning: the objective equals that of a loop of one's own, and what costs nothing is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

lightning = pytest.importorskip("lightning")

from lightning.pytorch.utilities import CombinedLoader  # noqa: E402

from crossgraft.errors import UsageError  # noqa: E402
from crossgraft.lightning import JointModule  # noqa: E402
from crossgraft.objective.domain_terms import domain_losses, ramp  # noqa: E402


def blobs(n: int, shift: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    return torch.randn(n, 4, generator=draw) + (2 * y[:, None] - 1) * 1.5 + shift, y


def module(**options: Any) -> JointModule:
    torch.manual_seed(0)
    return JointModule(nn.Sequential(nn.Linear(4, 6), nn.Tanh()), 6, **({"classes": 2} | options))


def loader(parts: dict[str, tuple[torch.Tensor, torch.Tensor]], size: int = 16) -> CombinedLoader:
    return CombinedLoader({k: DataLoader(TensorDataset(*v), size) for k, v in parts.items()}, "max_size_cycle")


def trainer(folder: Path, epochs: int = 2) -> Any:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, log_every_n_steps=1,
    )  # fmt: skip


def test_steps_are_those_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    data = {"target": blobs(16, 0.5, 0), "source": blobs(48, 0, 1), "unlabelled": blobs(32, 0.5, 2)}
    data["target"][1][3] = -1
    data["unlabelled"][1][:] = -1
    ours, rho, lam = module(lam=0.3, rho=0.2), 0.2, 0.3
    other = module(lam=lam, rho=rho)
    assert other.domain is not None
    optimiser = torch.optim.AdamW([
        {"params": [*other.backbone.parameters(), *other.head.parameters()]},
        {"params": other.domain.parameters(), "lr": 5e-3},
    ])  # fmt: skip
    batches = [b for b, _, _ in loader(data)]
    for step in range(6):
        b = batches[step % 3]
        f = {d: other.backbone(x) for d, (x, _) in b.items()}
        loss = F.cross_entropy(other.head(f["target"]), b["target"][1], ignore_index=-1)
        loss = loss + lam * F.cross_entropy(other.head(f["source"]), b["source"][1])
        on_source, on_target = domain_losses(other.domain(f["source"].detach()), other.domain(f["unlabelled"].detach()))
        classifier = (on_source.mean() + on_target.mean()) / 2
        a, c = domain_losses(other.domain(f["source"]), other.domain(f["unlabelled"]))
        layers = -ramp(step / 6) * (a.mean() + c.mean()) / 2
        optimiser.zero_grad()
        own = list(other.domain.parameters())
        gradients = torch.autograd.grad(rho * classifier, own, retain_graph=True)
        (loss + rho * layers).backward()
        for p, g in zip(own, gradients, strict=True):
            p.grad = g
        optimiser.step()
    runner = trainer(tmp_path)
    runner.fit(ours, loader(data))
    for p, q in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)
    said = {name: float(value) for name, value in runner.logged_metrics.items()}
    assert said["loss"] == pytest.approx(said["target"] + lam * said["source"] + rho * said["domain"], abs=1e-6)


def test_what_weighs_nothing_is_not_read(tmp_path: Path) -> None:
    one, two = module(lam=0.0), module(lam=0.0)
    target = blobs(32, 0, 0)
    nothing = (torch.full((32, 4), torch.nan), torch.zeros(32, dtype=torch.long))
    trainer(tmp_path).fit(one, loader({"target": target, "source": nothing}))
    trainer(tmp_path).fit(two, loader({"target": target}))
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    assert one.domain is None


def test_it_learns_measures_and_predicts(tmp_path: Path) -> None:
    model = module(classes=["ant", "bee"], source_classes=["bee", "cat"], lam=0.5)
    assert model.head.out_features == 3
    x, y = blobs(64, 0, 0)
    runner = trainer(tmp_path, epochs=40)
    runner.fit(model, loader({"target": (x[:8], y[:8]), "source": blobs(64, 0, 1)}))
    x, y = blobs(50, 0, 3)
    y[:10] = -1
    measured = runner.validate(model, DataLoader(TensorDataset(x, y), 16), verbose=False)[0]
    p = torch.cat(runner.predict(model, DataLoader(TensorDataset(x, y), 16)))
    assert p.shape == (50, 2)
    assert measured["val_target"] == pytest.approx(F.nll_loss(p.log()[10:], y[10:]).item(), abs=1e-5)
    assert measured["val_accuracy"] == pytest.approx((p.argmax(1) == y)[10:].float().mean().item(), abs=1e-6)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    again = module(classes=["ant", "bee"], source_classes=["bee", "cat"], lam=0.5)
    again.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(again(x), model.eval()(x))


def test_wrong_calls_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lam is -1"):
        module(lam=-1.0)
    with pytest.raises(UsageError, match="has no source"):
        trainer(tmp_path).fit(module(), loader({"target": blobs(8, 0, 0)}))
