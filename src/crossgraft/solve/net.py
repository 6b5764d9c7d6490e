"""Backbone and head as one module. The one place that says what batch normalisation does.

**Batch normalisation.** In transfer, the statistics of BatchNorm layers are not updated and not taken from the batch:
source and target pass the same fixed statistics, so the function that is trained is the function that is used, at any
batch size. They learn only in step 1, where a network that is not pretrained is trained (`learn_statistics=True`).
The affine weights of such a layer learn when its group does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from crossgraft.backbones.adapters import learned
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.encoder import marked
from crossgraft.features.ragged import Ragged, joined, tensor
from crossgraft.objective import heads
from crossgraft.objective.algebra import Objective
from crossgraft.objective.methods import row_of
from crossgraft.objective.tables import BY_CLASS, TABLES
from crossgraft.seeds import seed_for
from crossgraft.solve.schedules import HEAD
from crossgraft.solve.weighting import Weighting
from crossgraft.tasks import MISSING, log_softmax


class Net(nn.Module):
    """f(x) = features(x) @ W + b, with one head over the union of the classes, (D, U); a domain sees its own columns.

    columns           columns of the head by domain; nothing is gathered where a domain sees all in their order
    seed              of the head's first weights, uniform in +-1/sqrt(D)
    learn_statistics  whether BatchNorm statistics learn, see above

    Pictures come as (B, H, W, C) in 0..255 and are normalised inside; vectors as float (B, D_in), texts as tokens (B,
    L). Of sentences there are features and logits a word, W of them in place of B.
    """

    scale: Tensor
    shift: Tensor
    teacher: tuple[nn.Module, ...]

    def __init__(
        self,
        backbone: Backbone,
        columns: Mapping[str, Int[np.ndarray, " k"]],
        n_columns: int,
        seed: int,
        *,
        learn_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.learn_statistics = backbone, learn_statistics
        self.layers, self.linear = backbone.module, nn.Linear(backbone.dim, n_columns)
        draw = torch.Generator().manual_seed(seed)
        bound = (backbone.dim / (backbone.branches or (1,))[0]) ** -0.5
        with torch.no_grad():
            for parameter in self.linear.parameters():
                parameter.uniform_(-bound, bound, generator=draw)
        self.columns: dict[str, Tensor | None] = {
            d: None if np.array_equal(c, np.arange(n_columns)) else torch.as_tensor(np.asarray(c))
            for d, c in columns.items()
        }
        self.classes = {d: len(c) for d, c in columns.items()}
        if backbone.kind == "image":
            self.layers.to(memory_format=torch.channels_last)
        if (preprocess := backbone.preprocess) is not None:
            mean, std = (
                torch.tensor(preprocess.mean[: preprocess.channels]),
                torch.tensor(preprocess.std[: preprocess.channels]),
            )
            self.register_buffer("scale", (1 / (255 * std)).view(1, -1, 1, 1), persistent=False)
            self.register_buffer("shift", (-mean / std).view(1, -1, 1, 1), persistent=False)
        self.groups = frozenset(name for name, _ in backbone.groups)
        self.learning: frozenset[str] = self.groups | {HEAD}
        self.heads, self.teacher = nn.ModuleDict(), ()
        self.only: frozenset[str] | None = None

    def equip(self, objectives: Iterable[Objective], sizes: Mapping[str, int], seed: int) -> Net:
        """What terms need beside layers and classifier: heads, tables of pseudo-labels, the layers as they are now.

        sizes  rows of the table of "unlabelled", of sequences the most "elements" of one too; how many "groups" """
        rows = [row_of(t) for o in objectives for t in o.active]
        for name in sorted({name for row in rows for name in row.heads} - set(self.columns)):
            k = sizes["groups"] if name == "groups" else self.classes["unlabelled"]
            self.heads[name] = heads.build(name, self.backbone.dim, k, seed_for(seed, f"head {name}"))
        for name in sorted({row.known for row in rows} & {*TABLES, *BY_CLASS}):
            shape = [sizes[of] for of in ("unlabelled", "elements") if of in sizes]
            first = torch.ones(self.classes["unlabelled"]) if name in BY_CLASS else torch.full(shape, MISSING)
            self.register_buffer(f"table_{name}", first, persistent=True)
        if any(row.teacher or "start" in row.takes for row in rows):
            frozen = copy.deepcopy((self.layers, self.linear)) if not self.teacher else self.teacher
            for module in frozen:
                module.requires_grad_(False).eval()
            self.teacher = frozen  # in a tuple: no module of the net, so neither trained nor saved
        return self

    @property
    def weighting(self) -> Weighting | None:
        """How the gradients of several tasks are weighed; None for a plain sum."""
        return next((head for head in self.heads.values() if isinstance(head, Weighting)), None)

    def given(self, progress: float) -> dict[str, Any]:
        """What terms take by name."""
        own: dict[str, Any] = {**self.heads, "progress": progress}
        own |= {d: partial(self.logits, domain=d) for d in self.columns}
        if self.teacher:
            own |= {"now": list(self.layers.parameters()), "start": list(self.teacher[0].parameters())}
            own |= {"new": list(self.linear.parameters())}
        return own

    def taught(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and logits over the source's columns, as they were when training began."""
        with torch.no_grad():
            layers, linear = self.teacher
            features = layers(self.normalised(values))
            return features, linear(features)[:, self.columns_of("source")]

    def forward(self, batches: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Features (B, D) and logits over its columns (B, k), of each domain, in one pass through the layers."""
        parts = list(batches.values())
        features = self.features(joined(parts))
        counts = [self.rows_of(part) for part in parts]
        split = torch.split(
            features, [len(p) if n is None else int(n.sum()) for p, n in zip(parts, counts, strict=True)]
        )
        return {d: (f, self.logits(f, d)) for d, f in zip(batches, split, strict=True)}

    def rows_of(self, values: Tensor) -> Tensor | None:
        """How many features each input has: of a sentence its words, of an utterance its frames; None for one each."""
        if self.backbone.kind == "sentence":
            return marked(values).sum(1)
        return None if self.backbone.frames is None else self.layers.frames(values)  # type: ignore[operator]

    def features(self, values: Tensor) -> Tensor:
        """What the head reads, (B, D)."""
        features: Tensor = self.layers(self.normalised(values))
        return features

    def normalised(self, values: Tensor) -> Tensor:
        """Inputs as the layers take them."""
        if values.ndim == 4:  # a permuted NHWC batch is channels-last already: nothing is copied
            values = values.permute(0, 3, 1, 2).float() * self.scale + self.shift
        return values

    def columns_of(self, domain: str) -> Tensor:
        """The head's columns that a domain sees."""
        return torch.arange(self.linear.out_features) if (own := self.columns[domain]) is None else own

    def logits(self, features: Tensor, domain: str) -> Tensor:
        """(B, k) over the columns of a domain."""
        columns = self.columns[domain.partition("/")[0]]  # "target/strong" is another view of target
        if columns is None:
            logits: Tensor = self.linear(features)
            return logits
        columns = columns.to(features.device)
        return F.linear(features, self.linear.weight[columns], self.linear.bias[columns])

    def group_of(self, name: str) -> str | None:
        """The layer group of a parameter or module of the backbone, by the prefixes of `backbone.groups`."""
        for group, prefixes in self.backbone.groups:
            if any(name == p or name.startswith(p if p.endswith(".") or not p else f"{p}.") for p in prefixes):
                return group
        return None

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each layer group and of the head."""
        parts: dict[str, list[nn.Parameter]] = {name: [] for name, _ in self.backbone.groups}
        adapted = any(".lora_" in name for name, _ in self.layers.named_parameters())
        for name, parameter in self.layers.named_parameters():
            group = self.group_of(name)
            assert group is not None, f"parameter {name} of backbone {self.backbone.name} is in no layer group"
            if learned(name, adapted) and (self.only is None or name in self.only):
                parts[group].append(parameter)
        return (
            parts
            | {HEAD: list(self.linear.parameters())}
            | {heads.part(n): list(h.parameters()) for n, h in self.heads.items()}
        )

    def only_norms(self) -> Net:
        """Let nothing of the layers learn, from here on, but the weights of what normalises."""
        norms = {n for n, m in self.layers.named_modules() if isinstance(m, (_BatchNorm, nn.LayerNorm, nn.GroupNorm))}
        self.only = frozenset(n for n, _ in self.layers.named_parameters() if n.rpartition(".")[0] in norms)
        for name, parameter in self.layers.named_parameters():
            parameter.requires_grad_(name in self.only)
        return self

    def learn(self, parts: Collection[str]) -> Net:
        """Let these parts learn, and no other; parts that do not learn are in inference mode (dropout, statistics)."""
        self.learning = frozenset(parts)
        for part, parameters in self.parts().items():
            for parameter in parameters:
                parameter.requires_grad_(part in self.learning)
        return self.train()

    def train(self, mode: bool = True) -> Net:
        """Training mode for what learns."""
        super().train(mode)
        if not mode:
            return self
        moves = bool(self.learning & self.groups)
        for name, module in self.layers.named_modules():
            group = self.group_of(name) if name else None
            module.training = moves if group is None else group in self.learning
            if isinstance(module, _BatchNorm) and not self.learn_statistics:
                module.training = False
        return self

    def set_head(self, weight: Float[np.ndarray, "D U"], bias: Float[np.ndarray, " U"]) -> None:
        """Copy a head in."""
        with torch.no_grad():
            self.linear.weight.copy_(torch.as_tensor(np.asarray(weight).T))
            self.linear.bias.copy_(torch.as_tensor(np.asarray(bias)))

    def head(self) -> tuple[Float[np.ndarray, "D U"], Float[np.ndarray, " U"]]:
        """The head as arrays of their own."""
        weight, bias = (p.detach().cpu().numpy() for p in (self.linear.weight, self.linear.bias))
        return weight.T.copy(), bias.copy()

    def said(self, values: np.ndarray | Ragged, domain: str, batch_size: int = 256) -> Float[np.ndarray, "N k"]:
        """Logits of the classes of a domain, float64, in inference mode."""
        return self._infer(values, batch_size, lambda f: self.logits(f, domain).double())

    def log_probabilities(self, values: np.ndarray | Ragged, domain: str, batch_size: int = 256) -> np.ndarray:
        """Their log-softmax."""
        return log_softmax(self.said(values, domain, batch_size))

    def embed(self, values: Shaped[np.ndarray, "N ..."] | Ragged, batch_size: int = 256) -> Float[np.ndarray, "N D"]:
        """Features, float32, in inference mode."""
        return self._infer(values, batch_size, lambda f: f.float())

    def _infer(self, values: np.ndarray | Ragged, batch_size: int, last: Callable[[Tensor], Tensor]) -> np.ndarray:
        was, device = self.training, self.linear.weight.device
        self.eval()
        try:
            with torch.inference_mode():
                batches = (tensor(values[i : i + batch_size]) for i in range(0, max(len(values), 1), batch_size))
                return torch.cat([last(self.features(batch.to(device))).cpu() for batch in batches]).numpy()
        finally:
            self.train(was)
