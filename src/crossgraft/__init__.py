"""Transfer learning stated, solved and measured in cross-entropy.

>>> import crossgraft
>>> run = crossgraft.fit(target="photos", source="catalogue")  # doctest: +SKIP
>>> run.result["test"]["accuracy"]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossgraft.lazy import lazily
from crossgraft.loading import apart_from_tensorflow

__version__ = "0.1.0"
__all__ = [
    "Classify",
    "CrossgraftError",
    "Domain",
    "Objective",
    "Run",
    "ce",
    "doubt",
    "fit",
    "gap",
    "label_next",
    "multi",
    "open_domain",
    "rank",
]

_HOME = {
    "Classify": "tasks",
    "CrossgraftError": "errors",
    "Domain": "domains.domain",
    "Objective": "objective.algebra",
    "Run": "run",
    "ce": "objective.algebra",
    "doubt": "labelling",
    "fit": "transfer",
    "gap": "between",
    "label_next": "asking",
    "multi": "multitask.steps",
    "open_domain": "domains",
    "rank": "ranked",
}

if TYPE_CHECKING:
    from crossgraft.asking import label_next
    from crossgraft.between import gap
    from crossgraft.domains import open_domain
    from crossgraft.domains.domain import Domain
    from crossgraft.errors import CrossgraftError
    from crossgraft.labelling import doubt
    from crossgraft.multitask.steps import multi
    from crossgraft.objective.algebra import Objective, ce
    from crossgraft.ranked import rank
    from crossgraft.run import Run
    from crossgraft.tasks import Classify
    from crossgraft.transfer import fit


apart_from_tensorflow()  # here, where whoever imports a module below passes
__getattr__ = lazily(__name__, _HOME)
