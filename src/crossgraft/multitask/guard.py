"""The guard of the main task: what harms it is left out, or weighs less where held-out labels want it so."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossgraft.multitask.keep import BEYOND, MAIN, harmed
from crossgraft.multitask.learning import Names, Steps, Weights

LOWER = (0.3, 0.1)  # what the weight of a task that harms as it is is multiplied by


@dataclass(frozen=True)
class Sharing:
    """Which tasks are trained together.

    dropped, lowered  who is left out, or weighs less, and why; `weights` are those of the latter, as factors
    """

    together: Names
    weights: Weights = ()
    dropped: dict[str, str] = field(default_factory=dict)
    lowered: dict[str, str] = field(default_factory=dict)


def guarded(steps: Steps, main: str) -> Sharing:
    """The tasks without those beside which the main one is worse than alone, where it is worse beside all of them.

    A task that harms is kept with a smaller weight where the main task is better beside it than alone by two standard
    errors: ties go to leaving out. Of features that stand still, lambda is such a weight already.
    """
    every, alone = steps.pool.names, steps.losses((main,), main)
    if not harmed(steps.losses(every, main), alone, MAIN):
        return Sharing(every)
    dropped: dict[str, str] = {}
    lowered: dict[str, str] = {}
    weights: list[tuple[str, float]] = []
    for name in every:
        pair = steps.pool.ordered((name, main))
        if name == main or not harmed(steps.losses(pair, main), alone, MAIN):
            continue
        harm = f"beside it the held-out cross-entropy of {main!r} is worse than alone"
        factors = () if steps.schedule == "frozen" else LOWER
        tried = {f: steps.losses(pair, main, ((name, f),)) for f in factors}
        better = {f: losses.mean() for f, losses in tried.items() if harmed(alone, losses, BEYOND)}
        if better:
            best = min(better, key=lambda f: better[f])
            weights.append((name, best))
            lowered[name] = f"{harm}, and with {best:g} of its weight {alone.mean() - better[best]:.3f} nats better"
        else:
            dropped[name] = harm
    together = tuple(n for n in every if n not in dropped)
    return Sharing(together if len(together) > 1 else every, tuple(weights), dropped, lowered)
