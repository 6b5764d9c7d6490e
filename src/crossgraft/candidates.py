"""What can be transferred from, ready to be measured: a source or a backbone, on the target's labelled examples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from crossgraft import features
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains.domain import Domain
from crossgraft.domains.leaks import leaks
from crossgraft.domains.same_columns import same_columns
from crossgraft.domains.splits import assign_splits, classes_agree, tolerate
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.objective.algebra import Objective, ce
from crossgraft.recipe import Recipe
from crossgraft.seeds import rng
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted, descend, frozen_features, solve_source
from crossgraft.solve.settings import settings_for
from crossgraft.tasks import Classify, log_softmax

MOST_TARGET = 2000  # labelled target rows that are looked at
MOST_SOURCE = 2000  # source rows whose frozen features are computed
MOST_TRAINING = 10_000  # source rows that a network learns from


@dataclass(eq=False)
class Candidate:
    """A source or a backbone as the measures see it.

    fitted    its layers, and the source's head over the union of classes where there is a source
    source    the rows that the joint path reads
    theta     the source head's class probabilities on the target's rows, or why there are none
    seconds   by what was done
    """

    name: str
    fitted: Fitted
    source: Side | None
    theta: Float[np.ndarray, "n Z"] | str
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)


@contextmanager
def clock(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Keeps how long the block took."""
    began = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - began


def target_side(domain: Domain, shots: int | None, seed: int) -> tuple[Side, list[str]]:
    """The labelled training examples of the target, and what is worth a note; test examples are not even read.

    Raises CrossgraftError where they are none, or of one class.
    """
    tolerate(domain.skipped, len(domain) + len(domain.skipped), domain.name)
    domain = assign_splits(domain, seed, shots=shots)
    labelled = np.flatnonzero((domain.splits == "train") & np.array([y is not None for y in domain.labels]))
    domain = domain.take(_some(labelled, MOST_TARGET, seed, "rank/target"))
    if len(domain) == 0:
        raise CrossgraftError(f"{domain.name} has no labelled training example", "label a few")
    classes_agree(domain)
    notes = list(domain.notes)
    if len(domain) < len(labelled):
        notes.append(f"{len(domain):,} of {len(labelled):,} labelled target examples were looked at")
    single = [c for c in domain.classes if (domain.labels == c).sum() == 1]
    if single:
        many = f"{len(single)} classes have" if len(single) > 1 else f"class {single[0]!r} has"
        notes.append(f"{many} one labelled example: when it is left out only the source speaks for its class")
    return Side.of(domain, Classify(domain.classes), domain.classes), notes


def source_side(domain: Domain, target: Side, seed: int, most: int) -> tuple[Side, list[str]]:
    """At most `most` labelled examples of a source, drawn by `seed`, and what is worth a note.

    Those that are among the target's labelled examples as well are left out: they would speak for themselves when a
    target example is left out. Raises CrossgraftError where nothing remains.
    """
    classes_agree(domain, target.domain)
    domain = same_columns(domain, target.domain, "the target")
    domain = domain.take(_some(np.arange(len(domain)), most, seed, "rank/source"))
    notes = list(domain.notes)
    copies = {leak.test for leak in leaks(target.domain, domain, greys=features.kept_greys)}
    if copies:
        domain = domain.take(np.flatnonzero([name not in copies for name in domain.names]))
        notes.append(f"{len(copies)} examples are among the target's labelled ones and were left out of the source")
    if len(domain) == 0:
        told = f"every labelled example of {domain.name} is a labelled example of the target"
        raise CrossgraftError(told, "name a source of its own")
    task = Classify.union(target.domain.classes, domain.classes)
    return Side.of(domain, task, domain.classes), notes


def candidate(
    name: str, layers: Backbone, target: Side, source: Side | None, recipe: Recipe, *, own_head: bool
) -> Candidate:
    """Layers, trained on the source where they know nothing, and the source head's opinion of the target.

    own_head  take the head that came with the backbone, where there is one, instead of the source's
    """
    if source is None and not layers.pretrained:
        raise UsageError(f"backbone {layers.name} knows nothing yet", "give a source too, or a pretrained backbone")
    n_columns = 1 + int(max(side.columns.max() for side in (target, source) if side is not None))
    fitted = Fitted(layers, np.zeros((layers.dim, n_columns)), np.zeros(n_columns), Objective(), "none")
    seconds: dict[str, float] = {}
    if source is not None and not layers.pretrained:
        with clock(seconds, "source_training"):
            fitted = _trained(fitted, source, recipe)
    with clock(seconds, "features"):
        x = frozen_features(fitted.backbone, target).astype(np.float64)
        if source is not None:
            frozen_features(fitted.backbone, source)
    if own_head and layers.source_head is not None:
        head = layers.source_head()
        return Candidate(name, fitted, source, _probabilities(x, head.weight, head.bias), seconds)
    if source is None:
        return Candidate(name, fitted, None, f"backbone {name} has no head, and no source gives it one", seconds)
    if layers.pretrained:
        with clock(seconds, "source_head"):
            fitted = solve_source(layers, source, n_columns, recipe.seed)
    theta = _probabilities(x, fitted.weight[:, source.columns], fitted.bias[source.columns])
    return Candidate(name, fitted, source, theta, seconds)


def _trained(nothing: Fitted, source: Side, recipe: Recipe) -> Fitted:
    """f_s as `fit` trains it; where there is enough, a tenth of the source stops the training."""
    held = source.held_tenth(np.arange(len(source.labels)), recipe.seed, "source")
    learning = np.setdiff1d(np.arange(len(source.labels)), held)
    settings = settings_for(recipe, "from_nothing", len(learning), nothing.backbone)
    return descend(
        nothing, {"source": (source, learning)}, ce("source"), "from_nothing", settings,
        head=False, augment=recipe.augment, seed=recipe.seed, use="source",
        evaluate=(source, held) if len(held) else None,
    )  # fmt: skip


def _probabilities(
    x: Float[np.ndarray, "n D"], weight: Float[np.ndarray, "D Z"], bias: Float[np.ndarray, " Z"]
) -> Float[np.ndarray, "n Z"]:
    return np.asarray(np.exp(log_softmax(x @ weight + bias)))


def _some(rows: np.ndarray, most: int, seed: int, use: str) -> np.ndarray:
    """These rows, or `most` of them drawn by `seed`, in their order."""
    return rows if len(rows) <= most else np.sort(rng(seed, use).permutation(rows)[:most])
