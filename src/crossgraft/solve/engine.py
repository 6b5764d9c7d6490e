"""Device, precision, optimiser and processes: what accelerate does for the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from jaxtyping import Int
from torch import Tensor, nn

from crossgraft import processes
from crossgraft.backbones.weights import everywhere, kept_once
from crossgraft.errors import UsageError
from crossgraft.solve.batches import class_weights
from crossgraft.solve.branching import of_all_tasks
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase, Stage
from crossgraft.solve.settings import Settings


class Engine:
    """One net on its device with its optimiser. With several processes, gradients are means over them."""

    def __init__(self, net: Net, stages: Sequence[Stage], settings: Settings) -> None:
        phases = [phase for stage in stages for phase in stage.phases]
        for phase in phases:
            if not phase.objective.active:
                raise UsageError(
                    f"objective {phase.objective} has no term with a weight above 0", "give one of its terms a weight"
                )
        if processes.several():
            processes.joined()
        AcceleratorState._reset_state()  # precision is a choice of each training, not of the process
        several = DistributedDataParallelKwargs(find_unused_parameters=any(len(s.phases) > 1 for s in stages))
        try:
            self.accelerator = Accelerator(mixed_precision=settings.precision, kwargs_handlers=[several])
        except ValueError as wrong:
            raise UsageError(f"precision {settings.precision}: {wrong}", "use no or bf16") from None
        self.settings, self.device = settings, self.accelerator.device
        self.net = net.to(self.device)
        self.model: nn.Module = net
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.share = {"rank": rank, "ranks": ranks}
        # Parts that move at one rate in every phase share a group: each costs its own call of the optimiser.
        grouped: dict[tuple[Any, ...], dict[str, Any]] = {}
        for part, parameters in net.parts().items():
            rates = tuple(phase.rates.get(part) for phase in phases)
            for p in parameters if any(rate is not None for rate in rates) else ():
                decay = settings.weight_decay if p.ndim > 1 else 0.0  # not of biases and the weights of normalisation
                empty = {"params": [], "part": part, "weight_decay": decay}
                grouped.setdefault((rates, decay), empty)["params"].append(p)
        groups = list(grouped.values())
        self.optimiser = torch.optim.AdamW(groups, lr=settings.lr, fused=self.device.type in ("cpu", "cuda"))
        if self.accelerator.scaler is not None:
            self.stepper = self.accelerator.prepare_optimizer(self.optimiser)
        else:
            self.stepper = self.optimiser
        self.learned: list[nn.Parameter] = []

    def options(self, labels: Int[np.ndarray, " n"], classes: int) -> Mapping[str, Any]:
        """The options of the terms of a domain, or of a task, with these labels."""
        options: dict[str, Any] = {"label_smoothing": self.settings.label_smoothing}
        if self.settings.class_weights == "balanced":
            options["class_weights"] = class_weights(labels, classes).to(self.device)
        return options

    def begin(self, stage: Stage) -> None:
        """Let the parts of a stage learn, and no other."""
        parts = {part for phase in stage.phases for part in phase.rates}
        self.net.learn(parts)
        self.learned = [p for p in self.net.parameters() if p.requires_grad]
        if self.share["ranks"] > 1:
            self.model = self.accelerator.prepare_model(self.net)

    def reseed(self, seed: int) -> None:
        """Dropout's generators. `torch.manual_seed` would queue a call for every kind of device that is not there."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def autocast(self) -> AbstractContextManager[None]:
        """The precision of the forward pass."""
        context: AbstractContextManager[None] = self.accelerator.autocast()
        return context

    def descend(self, values: Mapping[str, Tensor], phase: Phase, rate: float) -> None:
        """One step of AdamW on the parts of a phase; `values` of its terms, which a weighting of tasks may weigh."""
        losses = [t.weight * values[t.key] for t in phase.objective.active]
        if self.net.weighting is None:
            self.accelerator.backward(sum(losses, torch.zeros(())))
        else:
            self.net.weighting.backward(losses, *of_all_tasks(self.net), self.accelerator)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * phase.rates.get(group["part"], 0.0)
            if group["part"] not in phase.rates:
                for parameter in group["params"]:
                    parameter.grad = None
        self.accelerator.clip_grad_norm_(self.learned, self.settings.clip)
        self.stepper.step()
        self.optimiser.zero_grad()

    def tensors(self) -> dict[str, Tensor]:
        """All that a later process needs to go on: weights, and the optimiser's moments."""
        moments = self.optimiser.state_dict()["state"]
        flat = {f"optimiser/{i}/{name}": t for i, state in moments.items() for name, t in state.items()}
        return {f"net/{name}": t for name, t in kept_once(self.net).items()} | flat

    def load_net(self, tensors: Mapping[str, Tensor]) -> None:
        """The weights of what `tensors` gave."""
        self.net.load_state_dict(everywhere(self.net, under("net/", tensors)))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Back to what `tensors` gave."""
        self.load_net(tensors)
        own = self.optimiser.state_dict()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in under("optimiser/", tensors).items():
            i, _, name = key.partition("/")
            # The fused step walks raw memory: moments must lie as their parameter does.
            like = parameters[int(i)]
            laid = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            state.setdefault(int(i), {})[name] = laid
        self.optimiser.load_state_dict(own | {"state": state})


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
