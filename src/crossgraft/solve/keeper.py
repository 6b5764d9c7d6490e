"""What is kept of a training while it runs: logged rows, the best weights, the checkpoint."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossgraft.errors import CrossgraftError
from crossgraft.processes import mean_over
from crossgraft.solve import checkpoint as disk
from crossgraft.solve.batches import Stream
from crossgraft.solve.engine import Engine, under
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase, Stage
from crossgraft.solve.settings import Settings

REMEDY = "try a tenth of the lr, or precision no, and look for inputs that are not finite or very large"


@dataclass(frozen=True)
class Trained:
    """How a training went.

    steps      that were made
    best_step  whose weights the net holds
    selection  the rule that chose them: "last" without an evaluation
    value      their evaluation, None without one
    seconds    of all processes that worked on it, one after the other
    """

    steps: int
    best_step: int
    selection: str
    value: float | None
    seconds: float


class Keeper:
    """Listens to a training; everything it does is a function of the step, but for the time of a checkpoint."""

    def __init__(
        self,
        engine: Engine,
        stages: Sequence[Stage],
        streams: Mapping[str, Stream],
        settings: Settings,
        *,
        name: str,
        evaluate: Callable[[Net], float] | None,
        checkpoint: Path | None,
        log: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.engine, self.settings, self.evaluate, self.path = engine, settings, evaluate, checkpoint
        main = engine.accelerator.is_main_process
        self.log = log if log is not None and main else lambda row: None
        self.total = sum(stage.steps for stage in stages)
        self.log_every = settings.log_every or min(max(self.total // 50, 1), 50)
        self.step, self.since, self.done = 0, 0, False
        self.best_step, self.best, self.seconds = 0, math.inf, 0.0
        self.weights: dict[str, Tensor] = {}
        self.pending: list[tuple[int, Phase, list[str], Tensor]] = []
        self.flipped: dict[str, float] = {}
        self.began = self.written = time.monotonic()
        self.mark = _mark(name, stages, streams, settings, evaluate is not None)
        if checkpoint is not None:
            self._resume(checkpoint)

    @property
    def stopped(self) -> bool:
        """Whether patience is at its end."""
        return self.since >= self.settings.patience

    def note(
        self, stage: Stage, phase: Phase, step: int, rate: float, values: Mapping[str, Tensor], *, ends: bool
    ) -> None:
        """Take the terms of a step that has been made. Values are read from the device only when a row is due."""
        self.step = step
        self.pending.append((step, phase, list(values), torch.stack([v.detach() for v in values.values()])))
        judging = self.evaluate is not None and (step % self.settings.eval_every == 0 or step == self.total)
        if not (step % self.log_every == 0 or judging or ends):
            return
        self._row(stage, rate)
        if judging:
            self.judge(stage)
        if self.path is not None and time.monotonic() - self.written >= self.settings.checkpoint_every:
            self._write(time.monotonic() - self.began)

    def _row(self, stage: Stage, rate: float) -> None:
        every = mean_over(self.engine.accelerator, torch.cat([values for *_, values in self.pending])).tolist()
        terms: dict[str, list[float]] = {}
        objectives = []
        for step, phase, keys, _ in self.pending:
            values, every = dict(zip(keys, every, strict=False)), every[len(keys) :]
            for key, value in values.items():
                if not math.isfinite(value):
                    raise CrossgraftError(f"{key} is {value} at step {step} of {stage.name!r}", REMEDY)
                terms.setdefault(key, []).append(value)
            objectives.append(sum(t.weight * values[t.key] for t in phase.objective.active))
        self.pending = []
        means = {key: sum(v) / len(v) for key, v in terms.items()}
        self.log(
            {
                "phase": stage.name,
                "step": self.step,
                "lr": rate,
                "objective": sum(objectives) / len(objectives),
                "terms": means,
            }
            | ({"flipped": self.flipped} if self.flipped else {})
        )
        self.flipped = {}

    def judge(self, stage: Stage) -> None:
        """Evaluate; keep the weights where they are the best so far."""
        if self.evaluate is None:
            return
        value = float(self.evaluate(self.engine.net))
        self.log({"phase": stage.name, "step": self.step, "evaluation": value})
        if value < self.best or not self.weights:
            self.best, self.best_step, self.since = value if math.isfinite(value) else math.inf, self.step, 0
            self.weights = {k: t.detach().clone() for k, t in self.engine.net.state_dict().items()}
        else:
            self.since += 1

    def finish(self) -> Trained:
        """The net with the weights that the selection chose, and the checkpoint done."""
        net = self.engine.net
        if not self.done:
            if self.evaluate is not None:
                net.load_state_dict(self.weights)
            else:
                self.best_step = self.step
            self.done = True
            self.seconds = time.monotonic() - self.began
            if self.path is not None:
                self._write(self.seconds)
        self.engine.accelerator.wait_for_everyone()
        net.eval()
        judged = self.evaluate is not None
        return Trained(
            self.step,
            self.best_step,
            self.settings.selection if judged else "last",
            self.best if judged else None,
            self.seconds,
        )

    def _write(self, seconds: float) -> None:
        assert self.path is not None
        self.written = time.monotonic()
        state = {
            "mark": self.mark, "step": self.step, "since": self.since, "done": self.done, "best_step": self.best_step,
            "best": self.best, "seconds": seconds, "scaler": self._scaler().state_dict(),
        }  # fmt: skip
        tensors = self.engine.tensors()
        if self.done:
            tensors = {k: t for k, t in tensors.items() if k.startswith("net/")}
        else:
            tensors |= {f"best/{k}": t for k, t in self.weights.items()}
        if self.engine.accelerator.is_main_process:
            disk.write(self.path, tensors, state)

    def _resume(self, path: Path) -> None:
        found = disk.read(path)
        if found is None:
            return
        tensors, state = found
        if state["mark"] != self.mark:
            raise CrossgraftError(
                f"checkpoint {path} belongs to another training",
                "delete it, or resume with the options it was begun with",
            )
        self.step, self.since, self.done = state["step"], state["since"], state["done"]
        self.best_step, self.best, self.seconds = state["best_step"], state["best"], state["seconds"]
        self.began -= state["seconds"]
        if self.done:
            self.engine.load_net(tensors)
            return
        self.engine.load(tensors)
        self._scaler().load_state_dict(state["scaler"])
        self.weights = under("best/", tensors)

    def _scaler(self) -> Any:
        """fp16's loss scale is part of the state; elsewhere there is none."""
        return self.engine.accelerator.scaler or torch.amp.GradScaler(enabled=False)


def _mark(name: str, stages: Sequence[Stage], streams: Mapping[str, Stream], settings: Settings, judged: bool) -> str:
    """Stands for everything that decides a training, so that no checkpoint is taken for another's."""
    plan = [(s.name, s.steps, [(p.objective.terms, sorted(p.rates.items())) for p in s.phases]) for s in stages]
    deciding = {k: v for k, v in asdict(settings).items() if k not in ("checkpoint_every", "log_every")}
    data = [
        (d, s.values.shape, s.batch_size, hashlib.blake2b(s.flat.tobytes()).hexdigest())
        for d, s in sorted(streams.items())
    ]
    return hashlib.blake2b(repr((name, plan, deciding, data, judged)).encode(), digest_size=20).hexdigest()
