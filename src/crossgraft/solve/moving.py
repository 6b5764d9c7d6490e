"""Layers that move: from a backbone, a head and streams of examples to a backbone of this run and its head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.backbones import adapters
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.branches import branched
from crossgraft.backbones.weights import state_revision
from crossgraft.objective import heads
from crossgraft.objective.algebra import Objective
from crossgraft.seeds import seed_for
from crossgraft.solve.branching import confine, spread
from crossgraft.solve.loop import Stream, train
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import HEAD, Stage, plan
from crossgraft.solve.settings import Settings
from crossgraft.solve.weighting import Weighting

Head = tuple[Float[np.ndarray, "D U"], Float[np.ndarray, " U"]]


@dataclass(eq=False)
class Moved:
    """head is (backbone, weight, bias); weights those of the tasks at the last step, where they were weighed;
    transitions those of a CRF."""

    head: tuple[Backbone, np.ndarray, np.ndarray]
    weights: Float[np.ndarray, " K"] | None
    transitions: Float[np.ndarray, "U U"] | None = None


def learn(
    backbone: Backbone,
    streams: Mapping[str, Stream],
    columns: Mapping[str, Int[np.ndarray, " k"]],
    objective: Objective,
    schedule: str,
    settings: Settings,
    start: Head,
    *,
    copied: bool,
    seed: int,
    use: str,
    weighting: str | None = None,
    transitions: Float[np.ndarray, "U U"] | None = None,
    branches: tuple[int, Sequence[Int[np.ndarray, " k"]]] | None = None,
    evaluate: Callable[[Net], float] | None = None,
    checkpoint: Path | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Moved:
    """The gradient loop from a backbone, which stays as it is, and a head, which is copied where `copied`.

    columns      of the head, by domain or task, and of a stream of several tasks all of them
    weighting    how the tasks of the objective are weighed; None for their plain sum
    transitions  of a CRF, where tags are learned as sequences
    branches     how many groups of layers are shared, and the columns of the head that read each branch after them
    """
    module = backbone.fresh(seed_for(seed, f"{use}/layers"))
    if schedule == "lora":
        adapters.add(module, seed_for(seed, f"{use}/adapters"))
    own = replace(backbone, build=lambda: module)
    if branches is not None:
        own = branched(own, len(branches[1]), branches[0])
        start = (spread(start[0], branches[1]), start[1])
    net = Net(own, columns, len(start[1]), seed=seed_for(seed, f"{use}/head"), learn_statistics=not backbone.pretrained)
    if copied:
        net.set_head(*start)
    if branches is not None:
        confine(net, branches[1])
    stages = plan(schedule, objective, own, settings, head_is_solved=copied)
    if transitions is not None:
        net.heads["transitions"] = heads.Transitions(transitions)
        stages = [_with(stage, heads.part("transitions"), like=HEAD) for stage in stages]
    if weighting is not None:
        net.heads["weighting"] = Weighting(weighting, len(objective.active))
        stages = [_with(stage, heads.part("weighting")) for stage in stages]
    train(net, stages, streams, settings, seed=seed, use=use, evaluate=evaluate, checkpoint=checkpoint, log=log)
    if schedule == "lora" and branches is None:
        adapters.merge(module)
    weight, bias = net.head()
    trained = replace(own, pretrained=True, portable=False, revision=state_revision(own.module))
    weights = None if net.weighting is None else net.weighting.weights.cpu().numpy()
    chained = None if (own_chain := heads.transitions(net.heads)) is None else own_chain.array()
    return Moved((trained, weight.astype(np.float64), bias.astype(np.float64)), weights, chained)


def _with(stage: Stage, part: str, like: str | None = None) -> Stage:
    """A stage in which one part more learns, at the rate of another one where it is `like` that."""
    rates = [{**p.rates, part: 1.0 if like is None else p.rates.get(like, 0.0)} for p in stage.phases]
    return replace(stage, phases=tuple(replace(p, rates=r) for p, r in zip(stage.phases, rates, strict=True)))
