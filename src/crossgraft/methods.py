"""The table of methods: which terms make the objective, which parts learn, where training starts, and every number.

Adding a method: its row here, its term in objective/, the term's row in objective/methods.py, a row in the test table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossgraft.errors import UsageError, nearest

LABEL_FREE = ("im", "snd", "dev", "iwv", "reverse", "source_accuracy")  # validators that read no label of the target
LABEL_FREE_ALONE = ("im", "snd")  # those that read no example of the source either
LABEL_FREE_SPOKEN = ("im", "dev", "iwv", "source_accuracy", "reverse")  # those that hold for transcripts


@dataclass(frozen=True)
class Number:
    """A method's own number: its default, and the range that a search looks in."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Method:
    """One row.

    objective   terms, each with the name of a number or a number as its weight; ce(target) is left out without labels
    needs       domains that must have data; "unlabelled" is the target's inputs without labels
    starts_from "f_s" or "backbone"
    phases      (objective, parts) in turn, where one objective for all parts is not enough; parts: all, layers, heads
                or norms, the weights of normalising layers
    statistics  the domain whose BatchNorm statistics replace those of f_s before training
    rate        multiple of the learning rate
    spoken      whether it holds for transcripts, where an example has frames and no label of its own
    tagged      whether it holds for tags, where an example has words, most of which are of one class
    multilabel  whether it holds for any number of classes an example: beside labels it reads features alone
    """

    name: str
    objective: str
    needs: tuple[str, ...]
    starts_from: str = "f_s"
    numbers: Mapping[str, Number] = field(default_factory=dict)
    citation: str = ""
    phases: tuple[tuple[str, str], ...] = ()
    statistics: str = ""
    rate: float = 1.0
    spoken: bool = False
    tagged: bool = False
    multilabel: bool = False

    @property
    def adapts(self) -> bool:
        """Whether it is trained by the phases of its row; the four plain ones are the four steps themselves."""
        return self.name not in ("target_only", "source_only", "finetune", "joint")

    @property
    def cycle(self) -> tuple[tuple[str, str], ...]:
        """The phases, one by default."""
        return self.phases or ((self.objective, "all"),)


_RHO = {"rho": Number(1.0, 0.01, 10.0)}
_BOTH = ("source", "unlabelled")
_FEATURES: dict[str, Any] = {
    "spoken": True,
    "tagged": True,
    "multilabel": True,
}  # beside labels they read features alone
_ELEMENTS: dict[str, Any] = {"spoken": True, "tagged": True}  # frames and words are rows as examples are
_MCD = "ce(target) + ce(source) + second(source)"
# Without balance, 0.01 of it in the authors' code for VisDA, the layers agree by calling everything one class.
_AGREED = "discrepancy(unlabelled) + gamma*balance(unlabelled)"


def _with_source(name: str, citation: str, rho: float = 1.0, term: str = "", **holds: Any) -> Method:
    """Source and (where there are labels) target, plus rho times one term."""
    rho_row = {"rho": Number(rho, rho / 100, rho * 10)}
    objective = f"ce(target) + ce(source) + rho*{term or name}"
    return Method(name, objective, _BOTH, "f_s", rho_row, citation, **holds)


METHODS = {row.name: row for row in (
    Method("target_only", "ce(target)", ("target",), "backbone"),
    Method("source_only", "ce(source)", ("source",), "backbone"),
    Method("finetune", "ce(target)", ("target",), citation="Yosinski et al., NeurIPS 2014"),
    Method(
        "joint", "ce(target) + lam*ce(source)", ("target", "source"), "f_s", {"lam": Number(1.0, 1e-3, 10.0)},
        "Caruana, Machine Learning 28, 1997",
    ),
    _with_source("dann", "Ganin et al., JMLR 17(59), 2016; frames: Sun et al., Neurocomputing 257, 2017", **_FEATURES),
    Method(
        "pada", "ce(target) + named(source) + rho*pada", _BOTH, "f_s", {"rho": Number(0.1, 0.01, 10.0)},
        "Cao et al., ECCV 2018: for a target that lacks classes of the source",
    ),
    _with_source(
        "dann_groups", "Shinohara, Interspeech 2016; Meng et al., ICASSP 2018: groups as domains", spoken=True,
        multilabel=True,
    ),
    _with_source("cdan", "Long et al., NeurIPS 2018, the article, whose classifier deceives D too", **_ELEMENTS),
    _with_source("cdan_e", "Long et al., NeurIPS 2018, the authors' code: weights normalised per domain, not detached"),
    _with_source("cdan_e_joint", "Long et al., NeurIPS 2018, as in TLlib: weights normalised jointly and detached"),
    Method(
        "adda", "adda + fooled", _BOTH, citation="Tzeng et al., CVPR 2017", rate=0.1,
        phases=(("adda", "heads"), ("fooled", "layers")),
    ),
    _with_source("entropy", "Grandvalet and Bengio, NeurIPS 2004", rho=0.1, **_ELEMENTS),
    _with_source("im", "Krause, Perona, Gomes, NeurIPS 2010", spoken=True),
    _with_source("mcc", "Jin et al., ECCV 2020"),
    _with_source(
        "self_training", "Zou et al., ECCV 2018; transcripts: Kahn et al., ICASSP 2020", term="pseudo", **_ELEMENTS
    ),
    _with_source("fixmatch", "Sohn et al., NeurIPS 2020"),
    _with_source("coral", "Sun and Saenko, ECCV Workshops 2016", rho=10.0, **_FEATURES),
    _with_source("mmd", "Long et al., ICML 2015", **_FEATURES),
    Method(
        "mcd", f"{_MCD} + {_AGREED}", _BOTH, "f_s", {"gamma": Number(0.1, 0.01, 1.0)}, "Saito et al., CVPR 2018",
        phases=((_MCD, "all"), (f"{_MCD} + agreement(unlabelled)", "heads"), *[(_AGREED, "layers")] * 4), rate=0.3,
    ),
    Method(
        "shot", "im + beta*centroid", ("unlabelled",), "f_s", {"beta": Number(0.03, 0.003, 1.0)},
        "Liang, Hu, Feng, ICML 2020, who take 0.1 for digits and 0.3 for objects",
        phases=(("im + beta*centroid", "layers"),),
    ),
    Method("adabn", "0", ("unlabelled",), citation="Li et al., Pattern Recognition 80, 2018", statistics="unlabelled"),
    Method(
        "tent", "entropy", ("unlabelled",), citation="Wang et al., ICLR 2021; here on all inputs, by batches: predict",
        phases=(("entropy", "norms"),), statistics="unlabelled",
    ),
    Method("iw", "ce(target) + odds(source)", _BOTH, citation="Bickel, Brueckner, Scheffer, ICML 2007"),
    Method("label_shift", "ce(target) + priors(source)", _BOTH, citation="Lipton, Wang, Smola, ICML 2018"),
    Method("l2_sp", "ce(target) + alpha*l2_sp", ("target",), "f_s", {"alpha": Number(0.01, 1e-4, 1.0)},
           "Li, Grandvalet, Davoine, ICML 2018", **_FEATURES),
    Method("bss", "ce(target) + eta*bss(target)", ("target",), "f_s", {"eta": Number(1e-3, 1e-5, 0.1)},
           "Chen et al., NeurIPS 2019", multilabel=True),
    Method("lwf", "ce(target) + rho*lwf(target)", ("target", "source"), "f_s", _RHO, "Li and Hoiem, ECCV 2016"),
    Method("cotuning", "ce(target) + rho*cotuning", ("target", "source"), "f_s", {"rho": Number(2.3, 0.1, 10.0)},
           "You et al., NeurIPS 2020"),
)}  # fmt: skip


def suggest(trial: Any, method: str) -> dict[str, Any]:
    """Options of `fit` for one trial of a search, each of the method's numbers drawn from its range on a log scale.

    trial  of Optuna, or anything with its `suggest_float(name, low, high, log=True)`

    Raises UsageError for an unknown method, or one whose phases no objective states.

    >>> class Low:
    ...     def suggest_float(self, name, low, high, log):
    ...         return low
    >>> suggest(Low(), "joint"), suggest(Low(), "dann")
    ({'method': 'joint', 'lam': 0.001}, {'objective': 'ce(target) + ce(source) + 0.01*dann'})
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}", nearest(method, list(METHODS)) or f"take {', '.join(METHODS)}")
    row = METHODS[method]
    if not row.numbers:
        return {"method": method}
    if row.phases:
        raise UsageError(f"the numbers of method {method} are of its phases, which no option sets", "search another")
    drawn = {n: trial.suggest_float(f"{method}.{n}", own.low, own.high, log=True) for n, own in row.numbers.items()}
    if method == "joint":
        return {"method": method, **drawn}
    return {"objective": re.sub(r"\b(\w+)\*", lambda m: f"{drawn.get(m[1], m[1])}*", row.objective)}
