"""The terms of crossgraft in a training loop of one's own: any nn.Module, any optimiser.

    python examples/own_loop.py

Two moons turned by 30 degrees: labels in the source, five a class in the target, the rest of the target without.
"""

import torch
from sklearn.datasets import make_moons
from torch import nn

from crossgraft.objective.domain_terms import dann
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View


def moons(turn: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = make_moons(400, noise=0.1, random_state=seed)
    a = torch.deg2rad(torch.tensor(turn))
    rotate = torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
    return (torch.tensor(x, dtype=torch.float32) - torch.tensor([0.5, 0.25])) @ rotate.T, torch.tensor(y)


def accuracy(lam: float, rho: float, steps: int = 400) -> float:
    torch.manual_seed(0)
    (x_s, y_s), (x_t, y_t) = moons(0, 0), moons(30, 1)
    few = torch.cat([(y_t == c).nonzero()[:5, 0] for c in (0, 1)])
    layers = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    head, domain = nn.Linear(64, 2), nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.Adam([*layers.parameters(), *head.parameters(), *domain.parameters()], 3e-3)
    none = torch.full((len(x_t),), -1)  # a label that is missing

    def view(x: torch.Tensor, y: torch.Tensor) -> View:
        features = layers(x)
        return View(features, head(features), y)

    for step in range(steps):
        target, source = view(x_t[few], y_t[few]), view(x_s, y_s)
        loss = cross_entropy(target) + lam * cross_entropy(source)
        if rho:
            loss = loss + rho * dann(source, view(x_t, none), domain=domain, progress=step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    rest = torch.ones(len(y_t), dtype=torch.bool)
    rest[few] = False
    with torch.no_grad():
        return (head(layers(x_t[rest])).argmax(1) == y_t[rest]).float().mean().item()


if __name__ == "__main__":
    for lam, rho in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.1)):
        print(f"ce(target) + {lam:g}*ce(source) + {rho:g}*dann: accuracy {100 * accuracy(lam, rho):.1f} %")
