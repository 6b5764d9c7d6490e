"""What was asked: domains as they were given, and the recipe that names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.domains.domain import Domain, plural
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.recipe import Recipe


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A source of which only the model is there: the run that holds it, the kind of inputs that it reads, its classes,
    and its head, weight (D, Z) and bias (Z,); the layers below are the job's backbone."""

    name: str
    kind: str
    classes: tuple[str, ...]
    weight: Float[np.ndarray, "D Z"]
    bias: Float[np.ndarray, " Z"]

    def refuse(self, target: Domain, task: str) -> None:
        """Raises CrossgraftError where the model does not read the target, or its labels are not one class each."""
        if self.kind != target.kind or task != "classify":
            what = f"the model of the run in {self.name} reads {plural(self.kind)} of one class each"
            raise CrossgraftError(f"{what}, and {target.name} does not hold them", "give the data of the source")


def asked_for(
    target: Any, source: Any, recipe: Any, resumed: Path | None, options: dict[str, Any]
) -> tuple[Recipe, Any, list[Any]]:
    """The recipe, and the target and sources as they were given: paths, or objects that a recipe can only name."""
    sources = listed(source)
    named: dict[str, Any] = {k: v for k, v in options.items() if v is not None}
    if target is not None:
        named["target"] = name_of(target)
    if sources:
        named["source"] = tuple(map(name_of, sources))
    if recipe is None and resumed is not None and target is None:
        recipe = Path(resumed) / "recipe.toml"
    asked = (
        Recipe.read(Path(recipe), **named) if recipe is not None else Recipe.of(**named) if target is not None else None
    )
    if asked is None:
        raise UsageError("no target is given", "name the domain that matters: --target PATH")
    return asked, asked.target if target is None else target, sources or list(asked.source)


def listed(sources: Any) -> list[Any]:
    """One domain or several as a list; a tuple is several where it holds paths and domains, else arrays (X, y)."""
    several = isinstance(sources, (list, set)) or (
        isinstance(sources, tuple) and all(isinstance(s, (str, Path, Domain)) for s in sources)
    )
    return list(sources) if several else [] if sources is None else [sources]


def name_of(what: Any) -> str:
    """What a recipe calls a domain: its path or name; arrays and the like by their type."""
    if isinstance(what, (str, Path)):
        return str(what)
    return what.name if isinstance(what, Domain) else f"<{type(what).__name__}>"
