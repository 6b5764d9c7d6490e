"""Which layers learn, when and at what rate: schedules as stages, each a cycle of phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgraft.backbones.backbone import Backbone
from crossgraft.errors import UsageError, nearest
from crossgraft.objective import heads
from crossgraft.objective.algebra import Objective
from crossgraft.objective.methods import row_of

if TYPE_CHECKING:
    from crossgraft.solve.settings import Settings

HEAD = "head"
DECAY = 1 / 2.6  # rate of a layer group over that of the next one towards the output (Howard and Ruder, ACL 2018)
LOWEST = 0.01  # rate of the first group over the head's, however many groups there are
SCHEDULES = ("frozen", "lp_ft", "gradual", "full", "lora", "from_nothing")


@dataclass(frozen=True)
class Phase:
    """One step: its objective, and the parts that learn in it with their multiples of the learning rate."""

    objective: Objective
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Stage:
    """A stretch of `steps` steps that go through the phases in turn."""

    name: str
    phases: tuple[Phase, ...]
    steps: int

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Of its phases."""
        return tuple(phase.objective for phase in self.phases)


def layer_rates(backbone: Backbone) -> dict[str, float]:
    """Multiples of the learning rate by part: 1 for the head, and DECAY less for each group towards the input."""
    names = [name for name, _ in backbone.groups]
    decay = max(DECAY, LOWEST ** (1 / max(len(names), 1)))
    return {name: decay ** (len(names) - i) for i, name in enumerate(names)} | {HEAD: 1.0}


def plan(
    schedule: str, objective: Objective, backbone: Backbone, settings: Settings, *, head_is_solved: bool
) -> list[Stage]:
    """The stages of a schedule; `settings.steps` in all. Raises UsageError on an unknown name.

    frozen        the head alone. Convex: the caller may solve it instead
    lp_ft         the head first (a third of the steps, none where it is solved), then everything, earlier layers at
                  lower rates (Kumar et al., ICLR 2022)
    gradual       the head, then one more group in every stage from the output to the input (Howard and Ruder, ACL 2018)
    full          everything from the start, earlier layers at lower rates
    lora          adapters beside all linear layers and the head, at one rate (Hu et al., ICLR 2022)
    from_nothing  everything at one rate, for a network that knows nothing yet
    """
    rates, steps = layer_rates(backbone), settings.steps
    head = {HEAD: 1.0}
    if schedule == "frozen":
        parts = [("frozen", head, steps)]
    elif schedule == "lp_ft":
        first = 0 if head_is_solved else steps // 3
        parts = [("head", head, first), ("all", rates, steps - first)]
    elif schedule == "gradual":
        names = [name for name, _ in backbone.groups]
        starts = list(range(len(names) - head_is_solved, -1, -1)) or [0]
        shares = [steps // len(starts) + (i >= len(starts) - steps % len(starts)) for i in range(len(starts))]
        parts = [
            (
                f"from {names[start]}" if start < len(names) else HEAD,
                {n: rates[n] for n in [*names[start:], HEAD]},
                share,
            )
            for start, share in zip(starts, shares, strict=True)
        ]
    elif schedule == "full":
        parts = [("all", rates, steps)]
    elif schedule in ("lora", "from_nothing"):
        parts = [("all", dict.fromkeys(rates, 1.0), steps)]
    else:
        raise UsageError(
            f"unknown schedule {schedule!r}",
            nearest(schedule, list(SCHEDULES)) or f"the schedules are {', '.join(SCHEDULES)}",
        )
    return [Stage(name, (Phase(objective, part),), share) for name, part, share in parts if share > 0]


def cycle(phases: Sequence[tuple[Objective, str]], rates: Mapping[str, float], steps: int) -> list[Stage]:
    """One stage that goes through a method's phases; each phase names its parts.

    rates  multiples of the learning rate of the layer groups and the classifier; other heads have their own

    all: layers, classifier and the heads of the phase's terms; layers: the layer groups, of which a net may let `norms`
    alone learn; heads: the classifier and the terms' heads.
    """
    made = []
    for objective, parts in phases:
        names = [name for t in objective.active for name in row_of(t).heads if name in heads.HEADS]
        own = {heads.part(name): heads.HEAD_RATES.get(name, 1.0) for name in names}
        layers = {name: rate for name, rate in rates.items() if name != HEAD}
        head = {HEAD: rates[HEAD]}
        chosen = {"all": layers | head | own, "layers": layers, "norms": layers, "heads": head | own}[parts]
        made.append(Phase(objective, chosen))
    return [Stage("adapt", tuple(made), steps)]
