"""The one gradient loop. It reads stages and phases and knows no method by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossgraft.objective.methods import domains_of, evaluate_terms
from crossgraft.progress import bar
from crossgraft.seeds import seed_for
from crossgraft.solve import seeing
from crossgraft.solve.batches import Augment, Stream
from crossgraft.solve.engine import Engine
from crossgraft.solve.keeper import Keeper, Trained
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Stage
from crossgraft.solve.settings import Settings

__all__ = ["Augment", "Settings", "Stream", "Trained", "train"]


def train(
    net: Net,
    stages: Sequence[Stage],
    streams: Mapping[str, Stream],
    settings: Settings,
    *,
    seed: int,
    use: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    evaluate: Callable[[Net], float] | None = None,
    checkpoint: Path | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train a net in place and say how it went.

    streams     examples by domain; only domains with an active term are read
    options     more options of a domain's terms
    seed, use   all randomness is a function of these and of the step
    evaluate    held-out cross-entropy of the net, lower is better: stops early, and the best weights are kept
    checkpoint  continued where it exists, loaded where it is done, written every `settings.checkpoint_every` seconds
    log         takes {"phase", "step", "lr", "objective", "terms": {term: nats}}, means since the row before, with
                "flipped" where pseudo-labels were computed again, and {"phase", "step", "evaluation"}

    Raises CrossgraftError where a term is no longer finite (the last checkpoint stands), and where a checkpoint
    cannot be written or belongs to another training.
    """
    total = sum(stage.steps for stage in stages)
    engine = Engine(net, stages, settings)
    more = options or {}
    options = {
        d: {**engine.options(own, net.classes[d]), **more.get(d, {})} for d, own in seeing.labels(streams).items()
    }
    keeper = Keeper(
        engine, stages, streams, settings, name=f"{seed}/{use}", evaluate=evaluate, checkpoint=checkpoint, log=log
    )
    if keeper.step == 0 and not keeper.done:
        keeper.judge(stages[0])
    first = 0
    with bar(use, total) as advance:
        advance(keeper.step)
        for stage in stages:
            last = first + stage.steps
            if keeper.step < last:
                engine.begin(stage)
            for step in range(keeper.step, last):
                if keeper.done or keeper.stopped:
                    break
                phase = stage.phases[(step - first) % len(stage.phases)]
                engine.reseed(seed_for(seed, f"{use}/step{step}"))
                keeper.flipped |= seeing.refresh(engine.net, phase, streams, step, total)
                two = seeing.two_views(phase)
                batches = {
                    d: streams[d]
                    .batch(
                        seed,
                        f"{use}/{d}",
                        step,
                        net.classes.get(d, 0),
                        mixup=settings.mixup,
                        two_views=d in two,
                        **engine.share,
                    )
                    .to(engine.device)
                    for d in seeing.read(streams, domains_of(phase.objective))
                }
                with engine.autocast():
                    views = seeing.views(engine.model, engine.net, phase, batches)
                values = evaluate_terms(phase.objective, views, options, engine.net.given(step / total))
                rate = settings.rate(step, total)
                engine.descend(values, phase, rate)
                keeper.note(stage, phase, step + 1, rate, values, ends=step + 1 == last)
                advance(1)
            first = last
    return keeper.finish()
