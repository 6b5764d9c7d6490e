"""From what to transfer: sources, or backbones, ordered by the target cross-entropy that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft.asked import listed, name_of
from crossgraft.backbones import load
from crossgraft.backbones import name_of as backbone_name
from crossgraft.candidates import MOST_SOURCE, MOST_TRAINING, Candidate, candidate, clock, source_side, target_side
from crossgraft.domains import open_domain
from crossgraft.domains.arrays import of_kind
from crossgraft.domains.domain import Domain
from crossgraft.domains.pool import pool
from crossgraft.domains.splits import tolerate
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.measure.compare import paired
from crossgraft.measure.ranking import h_score, leep_terms, logme, nce_terms
from crossgraft.measure.scores import Score, mean_interval
from crossgraft.progress import say
from crossgraft.recipe import Recipe
from crossgraft.run import finite
from crossgraft.side import Side
from crossgraft.solve.fitted import frozen_features, solve_frozen
from crossgraft.solve.pick import POWER
from crossgraft.tasks import log_softmax


def rank(
    target: Any,
    sources: Any = (),
    *,
    backbones: Sequence[Any] = (),
    source: Any = None,
    backbone: Any = "auto",
    weights: str | None = None,
    shots: int | None = None,
    seed: int = 0,
    source_steps: int | None = None,
    **columns: str | None,
) -> dict[str, Any]:
    """Sources, or backbones, best first by `joint_loo`; each with every measure, its interval and its time.

    target        anything that `fit` takes; only the labelled examples of its training part are looked at
    sources       a path, a Domain, arrays (X, y), or a list of them; each is measured by the features of `backbone`:
                  frozen, or of a network (cnn, mlp) that is trained on each source in turn
    backbones     names, or torch.nn.Modules; each is measured by its frozen features, together with `source` where one
                  is given
    shots, seed   as in `fit`; source_steps: gradient steps on a source, for cnn and mlp
    columns       input, label and split of tables

    joint_loo     leave-one-out cross-entropy of the target, nats, of the head that is solved on frozen features with
                  CE(target) + lambda CE(source); less is better. Each example is charged by the heads of all lambdas
                  and ridges, weighed by the *other* examples (`mixed_without`): the least of many noisy means would
                  be optimistic. Source rows that are copies of target rows are left out, for the same reason.
    nce, leep     nats, of the source head's classes on the target: of the source, or what came with a backbone
    logme         nats an example. h_score: shrunk, without a unit. More is better for these four.
    lam, ridge    what `fit` would choose for a frozen backbone

    Intervals are of 95 %, by bootstrap over the target's examples with the same draws for every candidate; for NCE and
    LEEP of the first-order effect of each example. LogME and H-score are no means and have none. `behind` is the mean
    paired difference of joint_loo from the first, with p of no difference. What has no value is null with its `reason`.

    Raises CrossgraftError where the target cannot be used or nothing could be ranked; a single source or backbone that
    fails is in `skipped`.

    >>> draw = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> x = draw.normal(0, 1, (180, 2)) + 2 * np.tile(y, 3)[:, None]
    >>> found = rank((x[:60], y), [(x[60:120], draw.permutation(y)), (x[120:], y)])
    >>> [row["name"] for row in found["ranking"]]
    ['source 2', 'source 1']
    """
    import sklearn.covariance  # noqa: F401  here, so that the time of no measure is that of an import

    given = _given(sources, backbones, source, weights)
    whole = open_domain(target, "target", **columns)
    if whole.kind == "sentence":
        raise UsageError("sources of tagged sentences are not ranked yet", "use fit with each of them")
    failures: dict[str, CrossgraftError] = {}
    opened = _each("reading", given, failures, lambda name, what: _labelled(open_domain(what, name, **columns)))
    if backbones and failures:
        raise next(iter(failures.values()))  # the source that all of them share
    pictures = bool(opened) and all(d.kind == "image" for d in opened.values())
    whole = of_kind(whole, "image") if pictures else whole
    side, notes = target_side(whole, shots, seed)
    recipe = Recipe.of(target=name_of(target), seed=seed, source_steps=source_steps)
    if backbones:
        beside: Side | None = None
        told: list[str] = []
        for domain in opened.values():
            beside, told = source_side(of_kind(domain, whole.kind), side, seed, MOST_SOURCE)
        notes += told

        def of_backbone(name: str, what: Any) -> Candidate:
            return candidate(name, load(what, side.domain), side, beside, recipe, own_head=True)

        offered = {backbone_name(b): b for b in backbones}
        ready = _each("measuring", offered, failures, lambda *one: measured(of_backbone(*one), side, seed))
    else:
        layers = load(backbone, side.domain, weights=weights)
        most = MOST_SOURCE if layers.pretrained else MOST_TRAINING

        def of_source(name: str, domain: Domain) -> Candidate:
            own, told = source_side(of_kind(domain, whole.kind), side, seed, most)
            found = candidate(name, layers, side, own, recipe, own_head=False)
            found.notes += told
            return found

        ready = _each("measuring", opened, failures, lambda *one: measured(of_source(*one), side, seed))
    if not ready:
        first = next(iter(failures.values()))
        if len(failures) == 1:
            raise first
        raise type(first)(f"none of the {len(failures)} could be ranked; the first: {first.what}", first.remedy)
    left_out = [{"name": name, "reason": str(wrong)} for name, wrong in failures.items()]
    answer: dict[str, Any] = finite(
        {
            "ranking": _ordered(ready, seed),
            "target": name_of(target),
            "n_target": len(side.labels),
            "seed": seed,
            "skipped": left_out + [{"name": s.name, "reason": s.reason} for s in side.domain.skipped],
            "notes": notes,
        }
    )
    return answer


def mixed_without(losses: Float[np.ndarray, "L R n"]) -> Float[np.ndarray, " n"]:
    """Cross-entropy of each example, nats, under a mixture of all heads that the *other* examples weigh.

    -log sum_k w_k Q_k(i), w_k proportional to exp(-POWER sum_{j != i} loss_k(j)): pseudo-Bayesian model averaging (Yao
    et al., Bayesian Analysis 2018), steadier than one chosen head, and not optimistic, as no example weighs its own.
    >>> mixed_without(np.array([[[0.0, 9.0]], [[9.0, 0.0]]])).round(1).tolist()  # each is charged by the other's head
    [2.8, 2.8]
    """
    flat = losses.reshape(-1, losses.shape[2]).astype(np.float64)
    weights = log_softmax(-POWER * (flat.sum(axis=1, keepdims=True) - flat).T)
    return np.asarray(-np.logaddexp.reduce(weights - flat.T, axis=1))


def _given(sources: Any, backbones: Sequence[Any], source: Any, weights: str | None) -> dict[str, Any]:
    """The sources by name: arrays by their place, what comes twice as well. UsageError where some are ignored."""
    several = listed(sources)
    if bool(several) == bool(backbones):
        raise UsageError(
            "both sources and backbones are given" if several else "nothing to rank is given",
            "give --sources PATH..., or --backbones NAME... (perhaps with one --source beside them)",
        )
    if source is not None and not backbones:
        raise UsageError("one source is given and no backbones", "give sources to compare as --sources PATH...")
    if weights is not None and backbones:
        raise UsageError("weights belong to one backbone", "leave out --weights where backbones are compared")
    named: dict[str, Any] = {}
    for i, what in enumerate([source] if source is not None else several):
        name = name_of(what) if isinstance(what, (str, Path, Domain)) else f"source {i + 1}"
        named[name if name not in named else f"{name} ({i + 1})"] = what
    return named


def _labelled(domain: Domain) -> Domain:
    tolerate(domain.skipped, len(domain) + len(domain.skipped), domain.name)
    return pool([domain]) or domain


def _each(
    doing: str, given: dict[str, Any], failures: dict[str, CrossgraftError], work: Callable[[str, Any], Any]
) -> dict[str, Any]:
    """work(name, what) of each; what fails goes to `failures` and the others go on."""
    done: dict[str, Any] = {}
    for i, (name, what) in enumerate(given.items()):
        say(f"{doing} {name} ({i + 1} of {len(given)})")
        try:
            done[name] = work(name, what)
        except CrossgraftError as wrong:
            failures[name] = wrong
            say(f"{name} is left out: {wrong}")
        except OSError as wrong:
            failures[name] = CrossgraftError(f"{name} cannot be read ({wrong})", "look at its files")
    return done


def measured(found: Candidate, target: Side, seed: int) -> tuple[dict[str, Any], Float[np.ndarray, " n"]]:
    """The row of one candidate, and the target's leave-one-out losses."""
    x, y, theta = frozen_features(found.fitted.backbone, target), target.labels, found.theta
    seconds, notes = found.seconds, found.notes

    def measure(name: str, work: Callable[[], Score]) -> dict[str, Any]:
        empty = {"value": None, "low": None, "high": None}
        with clock(seconds, name):
            try:
                value = work()
            except CrossgraftError as wrong:
                return empty | {"reason": str(wrong)}
        return value.json() if np.isfinite(value.value) else empty | {"reason": "it is not finite"}

    def of_head(terms: Callable[[Any, Any], np.ndarray], opinion: Callable[[np.ndarray], np.ndarray]) -> Score:
        if isinstance(theta, str):
            raise CrossgraftError(theta)
        loss = mean_interval(-terms(opinion(theta), y), seed)
        return Score(0.0 - loss.value, 0.0 - loss.high, 0.0 - loss.low)

    with clock(seconds, "joint_loo"):
        solved = solve_frozen(
            found.fitted.backbone, target, np.arange(len(y)), found.source, len(found.fitted.bias), seed
        )
        assert solved.path is not None
        losses = mixed_without(solved.path.losses)
        joint_loo = mean_interval(losses, seed).json()
    row = {
        "joint_loo": joint_loo,
        "nce": measure("nce", lambda: of_head(nce_terms, lambda p: p.argmax(axis=1))),
        "leep": measure("leep", lambda: of_head(leep_terms, lambda p: p)),
        "logme": measure("logme", lambda: Score(logme(x, y), np.nan, np.nan)),
        "h_score": measure("h_score", lambda: Score(h_score(x, y), np.nan, np.nan)),
        "lam": solved.lam,
        "ridge": solved.ridge,
        "n_source": None if found.source is None else len(found.source.labels),
    }
    if not isinstance(theta, str) and len(np.unique(theta.argmax(axis=1))) == 1:
        notes.append("the source head gives every target example the same class: NCE says nothing")
    if found.source is not None and not solved.path.reaches:
        notes.append("source and target share no class: on frozen features the source changes no column of the target")
    if np.ptp(x, axis=0).max(initial=0) == 0:
        notes.append("the features are the same for every target example")
    return {"name": found.name} | row | {"notes": notes, "seconds": seconds}, losses


def _ordered(ready: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Best first by joint_loo, at a tie by LEEP; how far each is behind the first."""

    def order(row: dict[str, Any]) -> tuple[float, float]:
        leep = row["leep"]["value"]
        return row["joint_loo"]["value"], np.inf if leep is None else -leep

    rows = sorted(ready.values(), key=lambda r: order(r[0]))
    first = rows[0][1]
    ranking = []
    for i, (row, losses) in enumerate(rows):
        behind = asdict(paired(losses, first, seed)) if i and losses.shape == first.shape else None
        ranking.append({"name": row["name"], "rank": i + 1} | row | {"behind": behind})
    return ranking
