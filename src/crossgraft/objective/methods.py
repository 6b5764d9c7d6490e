"""The table of terms. Adding one: its function beside terms.py, its row here. Methods: crossgraft/methods.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from crossgraft.errors import UsageError, nearest
from crossgraft.methods import METHODS, Method, Number
from crossgraft.objective import domain_terms, keep_terms, self_terms
from crossgraft.objective.algebra import Objective, Term
from crossgraft.objective.terms import cross_entropy, words
from crossgraft.objective.views import View

__all__ = ["METHODS", "TERMS", "Method", "Number", "TermRow", "domains_of", "evaluate_terms", "objective_for", "row_of"]

Options = Mapping[str, Any]


@dataclass(frozen=True)
class TermRow:
    """How a term is evaluated.

    function  views of the domains, in their order, then the named options, to a scalar in nats
    domains   the domains whose views it needs; () means the one in the term's brackets
    default   the domain where the brackets are left out
    options   options of the first domain that the function takes
    heads     heads that it needs beside the classifier: of objective/heads.py, or "source" for the source's columns
    known     the table or the weights of each row that the function takes as `known`
    takes     what else it takes of the training: "progress", or the parameters "now", "start", "new"
    strong    whether it needs the strongly augmented view, teacher: the view through the layers as they began
    labels    whether it reads labels, of its first domain
    least     examples that a batch must hold
    entropic  False for what is no cross-entropy
    through   "features" where its gradient reaches nothing but layers, "heads" where nothing but its own heads
    spoken    whether it holds for the frames of utterances, of which none has a label of its own
    tagged    whether it holds for the words of sentences, most of which are of one class
    multilabel  whether it holds for any number of classes an example
    """

    name: str
    function: Callable[..., Tensor]
    domains: tuple[str, ...] = ()
    default: str = ""
    options: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    known: str = ""
    takes: tuple[str, ...] = ()
    strong: bool = False
    teacher: bool = False
    labels: bool = False
    least: int = 1
    entropic: bool = True
    through: str = "logits"
    spoken: bool = False
    tagged: bool = False
    multilabel: bool = False
    citation: str = ""

    def reads(self, term: Term) -> tuple[str, ...]:
        """The domains that a term of this row reads."""
        if "now" in self.takes:
            return ()
        return self.domains or ((term.domain or self.default),)


_PAIR, _FREE = ("source", "unlabelled"), "unlabelled"
_ELEMENTS: dict[str, Any] = {"spoken": True, "tagged": True}
_ADVERSE: dict[str, Any] = {"takes": ("progress",), "through": "features", **_ELEMENTS}
_CDAN: dict[str, Any] = _ADVERSE | {"heads": ("conditional",)}

TERMS = {row.name: row for row in (
    TermRow("ce", cross_entropy, options=("label_smoothing", "class_weights"), labels=True,
            multilabel=True, citation="Good 1952", **_ELEMENTS),
    TermRow("words", words, default="target", heads=("vocabulary",), labels=True, citation="Devlin et al. 2019"),
    TermRow("dann", domain_terms.dann, _PAIR, heads=("domain",), multilabel=True,
            citation="Ganin et al. 2016", **_ADVERSE),
    TermRow("pada", domain_terms.pada, _PAIR, heads=("domain",), known="named", citation="Cao et al. 2018",
            **_ADVERSE | {"spoken": False, "tagged": False}),
    TermRow("dann_groups", domain_terms.dann_groups, _PAIR, heads=("groups",), multilabel=True,
            citation="Shinohara 2016", **_ADVERSE | {"tagged": False}),
    TermRow("cdan", domain_terms.cdan, _PAIR, citation="Long et al. 2018", **_CDAN),
    TermRow("cdan_e", partial(domain_terms.cdan, weighting="per_domain"), _PAIR, citation="Long et al. 2018", **_CDAN),
    TermRow("cdan_e_joint", partial(domain_terms.cdan, weighting="joint"), _PAIR, citation="Long et al. 2018", **_CDAN),
    TermRow("adda", domain_terms.adda, _PAIR, heads=("domain",), teacher=True, through="heads",
            citation="Tzeng et al. 2017"),
    TermRow("fooled", domain_terms.fooled, default=_FREE, heads=("domain",), through="features",
            citation="Tzeng et al. 2017"),
    TermRow("coral", domain_terms.coral, _PAIR, least=2, entropic=False, through="features",
            multilabel=True, citation="Sun 2016", **_ELEMENTS),
    TermRow("mmd", domain_terms.mmd, _PAIR, least=2, entropic=False, through="features",
            multilabel=True, citation="Long et al. 2015", **_ELEMENTS),
    TermRow("entropy", self_terms.entropy, default=_FREE, citation="Grandvalet and Bengio 2004", **_ELEMENTS),
    TermRow("im", self_terms.information_maximisation, default=_FREE, least=2, spoken=True,
            citation="Krause et al. 2010"),
    TermRow("mcc", self_terms.class_confusion, default=_FREE, least=2, citation="Jin et al. 2020"),
    TermRow("pseudo", self_terms.pseudo, (_FREE,), known="class_balanced",
            citation="Zou et al. 2018; of transcripts Kahn et al. 2020", **_ELEMENTS),
    TermRow("centroid", self_terms.pseudo, (_FREE,), known="centroids", citation="Liang et al. 2020"),
    TermRow("fixmatch", self_terms.fixmatch, (_FREE,), strong=True, citation="Sohn et al. 2020"),
    TermRow("odds", self_terms.weighted, ("source",), known="odds", labels=True, citation="Bickel et al. 2007"),
    TermRow("priors", self_terms.weighted, ("source",), known="priors", labels=True, citation="Lipton et al. 2018"),
    TermRow("named", self_terms.named, _PAIR, known="named", labels=True, citation="Cao et al. 2018"),
    TermRow("second", self_terms.second, default="source", heads=("second",), labels=True),
    TermRow("discrepancy", self_terms.discrepancy, default=_FREE, heads=("second",), citation="Saito et al. 2018"),
    TermRow("agreement", self_terms.agreement, default=_FREE, heads=("second",), citation="Saito et al. 2018"),
    TermRow("balance", self_terms.balance, default=_FREE, least=2, citation="Saito et al. 2018"),
    TermRow("l2_sp", keep_terms.l2_sp, takes=("now", "start", "new"), entropic=False,
            multilabel=True, citation="Li et al. 2018", **_ELEMENTS),
    TermRow("bss", keep_terms.batch_spectrum, default="target", least=2, entropic=False, through="features",
            multilabel=True, citation="Chen et al. 2019"),
    TermRow("lwf", keep_terms.teacher, default="target", heads=("source",), teacher=True, citation="Li and Hoiem 2016"),
    TermRow("cotuning", keep_terms.relation, ("target",), heads=("source",), options=("relation",), labels=True,
            citation="You et al. 2020"),
)}  # fmt: skip


def objective_for(method: str, lam: float | None = None) -> Objective:
    """The objective of a method; `lam` by default the row's. Raises UsageError on an unknown name or lam below zero.

    >>> objective_for("joint", 0.3)
    Objective(ce(target) + 0.3*ce(source))
    """
    if method not in METHODS:
        raise UsageError(
            f"unknown method {method!r}",
            nearest(method, list(METHODS)) or f"the methods are {', '.join(METHODS)}",
        )
    return stated(METHODS[method], METHODS[method].objective, lam)


def stated(row: Method, text: str, lam: float | None = None) -> Objective:
    """A text of a row's as an objective, its names of numbers as their defaults."""
    given = {} if lam is None else {"lam": lam}
    total = Objective()
    for part in text.split(" + ") if text != "0" else ():
        weight, _, call = part.rpartition("*")
        value = given.get(weight, row.numbers[weight].default) if weight else 1.0
        total += value * Objective.parse(call)
    return total


def row_of(term: Term) -> TermRow:
    """The row that a term's name stands for. Raises UsageError where there is none."""
    if term.name not in TERMS:
        raise UsageError(
            f"unknown term {term.name!r}", nearest(term.name, list(TERMS)) or f"the terms are {', '.join(TERMS)}"
        )
    return TERMS[term.name]


def domains_of(objective: Objective) -> tuple[str, ...]:
    """The domains that its active terms read, each once.

    >>> domains_of(objective_for("joint", 0.0))
    ('target',)
    """
    return tuple(dict.fromkeys(d for t in objective.active for d in row_of(t).reads(t)))


def evaluate_terms(
    objective: Objective,
    views: Mapping[str, View],
    options: Mapping[str, Options],
    given: Options | None = None,
) -> dict[str, Tensor]:
    """The value of each active term in nats, by the term without its weight.

    options  by domain
    given    heads by name, and what terms take of the training
    """
    values, given = {}, given or {}
    for term in objective.active:
        row = row_of(term)
        domains = row.reads(term)
        own = options.get(domains[0], {}) if domains else {}
        chosen = {name: own[name] for name in row.options if name in own}
        chosen |= {name: given[name] for name in (*row.heads, *row.takes)}
        if row.known:
            chosen["known"] = views[domains[0]].rows[row.known]
        values[term.key] = row.function(*(views[d] for d in domains), **chosen)
    return values
