"""Objectives are weighted sums of cross-entropies: values that can be added, printed, saved and read back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from crossgraft.errors import UsageError


@dataclass(frozen=True)
class Term:
    """weight * name(domain): one cross-entropy, a mean over its own labelled elements, in nats."""

    name: str
    domain: str = ""
    weight: float = 1.0

    def __str__(self) -> str:
        call = f"{self.name}({self.domain})" if self.domain else self.name
        return call if self.weight == 1 else f"{self.weight:g}*{call}"

    @property
    def key(self) -> str:
        """The term without its weight: how measures and the report name it."""
        return str(replace(self, weight=1.0))


@dataclass(frozen=True)
class Objective:
    """A sum of terms.

    >>> 0.3 * ce("source") + ce("target")
    Objective(0.3*ce(source) + ce(target))
    >>> Objective.parse("ce(target) + 0.3*ce(source)") == ce("target") + 0.3 * ce("source")
    True
    """

    terms: tuple[Term, ...] = ()

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)

    def __rmul__(self, weight: float) -> Objective:
        if not math.isfinite(weight) or weight < 0:
            raise UsageError(
                f"a weight of {weight} is not a finite number of zero or more", "use 0 to leave a term out"
            )
        return Objective(tuple(replace(t, weight=weight * t.weight) for t in self.terms))

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms)) or "0"

    def __repr__(self) -> str:
        return f"Objective({self})"

    @property
    def active(self) -> tuple[Term, ...]:
        """Terms that cost something: a term of weight zero is not evaluated and its domain not read."""
        return tuple(t for t in self.terms if t.weight != 0)

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read what `str` writes, with names and numbers: `ce(target) + 0.3*ce(source) + 0.1*dann`."""
        pattern = re.compile(r"(?:([0-9.]+(?:[eE][-+]?\d+)?)\s*\*\s*)?([a-z_]\w*)(?:\(([\w:]*)\))?")
        total = cls()
        if text.strip() == "0":
            return total
        for part in re.split(r"(?<!\d[eE])\+", text):
            match = pattern.fullmatch(part.strip())
            if match is None:
                raise UsageError(
                    f"{part.strip()!r} in objective {text!r} is no term",
                    "write weight*name(domain), for example 0.3*ce(source)",
                )
            weight, name, domain = match.groups()
            try:
                total += float(weight or 1) * cls((Term(name, domain or ""),))
            except ValueError:
                raise UsageError(
                    f"{weight!r} in objective {text!r} is no number", "write a weight such as 0.3"
                ) from None
        return total


def ce(domain: str) -> Objective:
    """The cross-entropy of a domain's labels and the model: -(1/n) sum_i log p(y_i | x_i), nats."""
    return Objective((Term("ce", domain),))
