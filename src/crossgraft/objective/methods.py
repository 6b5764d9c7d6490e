"""The table of terms and the table of methods. Adding a method: its function in terms.py, its rows here.

A row of TERMS says which function a term's name calls and what it needs; a row of METHODS says which terms
make the objective, where training starts, and each number's default with its search range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from crossgraft.errors import UsageError, nearest
from crossgraft.objective.algebra import Objective, Term
from crossgraft.objective.terms import cross_entropy
from crossgraft.objective.views import View

Options = Mapping[str, Any]


@dataclass(frozen=True)
class TermRow:
    """How a term is evaluated.

    function  views of the domains, in their order, then the named options, to a scalar in nats
    domains   the domains whose views it needs; () means the one in the term's brackets
    options   options of the first domain that the function takes
    heads     heads that it needs beside the classifier
    """

    name: str
    function: Callable[..., Tensor]
    domains: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    citation: str = ""


@dataclass(frozen=True)
class Number:
    """A method's own number: its default, and the range that a search looks in."""

    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Method:
    """objective: terms with names of numbers as weights; starts_from: "f_s" or "backbone"; needs: domains with data."""

    name: str
    objective: str
    needs: tuple[str, ...]
    starts_from: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    citation: str = ""


TERMS = {row.name: row for row in (
    TermRow("ce", cross_entropy, options=("label_smoothing", "class_weights"), citation="Good, JRSS B 14, 1952"),
)}  # fmt: skip

METHODS = {row.name: row for row in (
    Method("target_only", "ce(target)", ("target",), "backbone"),
    Method("source_only", "ce(source)", ("source",), "backbone"),
    Method("finetune", "ce(target)", ("target",), "f_s", citation="Yosinski et al., NeurIPS 2014"),
    Method(
        "joint", "ce(target) + lam*ce(source)", ("target", "source"), "f_s", {"lam": Number(1.0, 1e-3, 10.0)},
        "Caruana, Machine Learning 28, 1997",
    ),
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
    row = METHODS[method]
    given = {} if lam is None else {"lam": lam}
    total = Objective()
    for part in row.objective.split(" + "):
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
    return tuple(dict.fromkeys(d for t in objective.active for d in row_of(t).domains or (t.domain,)))


def evaluate_terms(
    objective: Objective, views: Mapping[str, View], options: Mapping[str, Options]
) -> dict[str, Tensor]:
    """The value of each active term in nats, by the term without its weight; `options` by domain."""
    values = {}
    for term in objective.active:
        row = row_of(term)
        domains = row.domains or (term.domain,)
        chosen = {name: options[domains[0]][name] for name in row.options if name in options.get(domains[0], {})}
        values[term.key] = row.function(*(views[d] for d in domains), **chosen)
    return values
