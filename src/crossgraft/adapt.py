"""Adaptation: a method's phases from f_s on source, labelled target and the target's inputs without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.weights import state_revision
from crossgraft.checks import Phases, Rows, check_method, method_of
from crossgraft.errors import UsageError
from crossgraft.measure import validators
from crossgraft.methods import Method
from crossgraft.objective.algebra import Objective
from crossgraft.objective.diagnosis import diagnose
from crossgraft.objective.methods import domains_of, row_of, stated
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.seeds import seed_for
from crossgraft.side import Side
from crossgraft.solve.fitted import Fitted, frozen_features
from crossgraft.validation import not_fitted

# Fewest and most gradient steps by default, about ten passes over the unlabelled inputs. A small network takes 800 at
# least: with 300 dann gains 19 points of USPS to MNIST, with 800 27 (seed 100).
STEPS, LEAST_SMALL = (300, 2000), 800
RATE = 1e-3


def refuse_early(job: Job) -> None:
    """What cannot work with the job's method, said before f_s is trained."""
    from crossgraft.solve.statistics import norms_of

    if (method := method_of(job)) is None:
        return
    if method.statistics:
        norms_of(job.backbone)
    sides, free, phases = _sides(job, method, job.rows)
    check_method(job, method, sides, phases, job.rows, free, job.recipe.batch_size)
    _groups(job, phases)


def adapt(job: Job, f_s: Fitted, rows: Rows, use: str, folder: Path, log: Callable[[dict[str, Any]], None]) -> Fitted:
    """f_s adapted by the job's method, with the labels of these target rows and all inputs that may be learned from.

    The weights of the last step are kept: a validator without labels is no reason to stop, only to keep or not.
    """
    from crossgraft.solve.augment import augmentation_for, strong_for
    from crossgraft.solve.loop import Stream, train
    from crossgraft.solve.net import Net
    from crossgraft.solve.schedules import cycle, layer_rates
    from crossgraft.solve.statistics import estimate

    method = method_of(job)
    assert method is not None
    sides, free, phases = _sides(job, method, rows)
    backbone, seed = f_s.backbone, job.recipe.seed
    settings = _settings(job, len(free), method.rate)
    check_method(job, method, sides, phases, rows, free, settings.batch_size)
    if "/" not in use:
        turns = [(o, len(list(same))) for o, same in groupby(str(o) for o, _ in phases)]
        say(f"{method.name}: {' ; '.join(o if n == 1 else f'{n} x ({o})' for o, n in turns)}")
    module = backbone.fresh(seed_for(seed, f"{use}/layers"))
    own = replace(backbone, build=lambda: module)
    seen = {"source": job.known} | {d: s.columns for d, s in sides.items()}
    net = Net(own, seen, len(f_s.bias), seed=seed_for(seed, f"{use}/head"))
    net.set_head(f_s.weight, f_s.bias)
    groups = _groups(job, phases)
    net.equip([o for o, _ in phases], _sizes(job, backbone, free, groups), seed_for(seed, f"{use}/equip"))
    learned = {
        "source": np.arange(0 if job.source is None else len(job.source.labels)),
        "target": rows,
        "unlabelled": sides["unlabelled"].rows_of(free),
    }
    streams, options = {}, {}
    for d in dict.fromkeys(d for o, _ in phases for d in domains_of(o)):
        side, at = sides[d], learned[d]
        augment = augmentation_for(job.recipe.augment, side.domain)
        known = side.known(at) | (_weights(job, f_s, phases, free) if d == "source" else {})
        known |= {"group": groups[d][at]} if groups else {}
        values, labels = side.batches(backbone, at)
        if d == "unlabelled" and side.lengths is None:
            labels = np.full(len(at), -1)
        streams[d] = Stream(values, labels, settings.batch_size, augment, strong_for(augment, values), known)
    if any(row_of(t).name == "cotuning" for o, _ in phases for t in o.active):
        options["target"] = {"relation": _relation(job, f_s, rows)}
    if any(parts == "norms" for _, parts in phases):
        net.only_norms()
    if method.statistics:
        estimate(net, sides[method.statistics].pixels(backbone)[free])
    rates = layer_rates(own) if backbone.published else dict.fromkeys(layer_rates(own), 1.0)
    last: dict[str, float] = {}
    history: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> None:
        last.update(row.get("terms", {}))
        history.append(row)
        if "/" not in use:
            log({"model": use} | row)

    if any(o.active for o, _ in phases):
        path = folder / f"{use.replace('/', '-')}.safetensors"
        stages = cycle(phases, rates, settings.steps)
        train(net, stages, streams, settings, seed=seed, use=use, options=options, checkpoint=path, log=note)
    weight, bias = net.head()
    trained = replace(own, pretrained=True, portable=False, revision=state_revision(module))
    terms = tuple({t.key: t for o, _ in phases for t in o.terms}.values())
    if "/" not in use:  # folds say nothing new
        job.term_values.update(last)
        job.warnings += diagnose(history, (job.source or job.target).blind)
    return Fitted(trained, weight.astype(np.float64), bias.astype(np.float64), Objective(terms), "adapt")


def _sides(job: Job, method: Method, rows: Rows) -> tuple[dict[str, Side], Rows, Phases]:
    """The domains, the rows of the target whose inputs may be learned from, and the phases.

    Without a target label ce(target) falls away, and the unlabelled inputs are taken for classes of the source.
    """
    free = job.target.unlabelled()
    without = len(rows) == 0 and method.name != "objective"
    phases = []
    for text, parts in method.cycle:
        objective = stated(method, text) if method.name != "objective" else Objective.parse(text)
        kept = tuple(t for t in objective.terms if not (without and t.name == "ce" and t.domain == "target"))
        phases.append((Objective(kept), parts))
    sides = {"target": job.target}
    columns = job.known if len(rows) == 0 else np.union1d(job.target.columns, job.known)
    if job.source is not None:
        sides["source"] = job.source
    sides["unlabelled"] = job.target.over(columns)
    return sides, free, phases


def _settings(job: Job, n: int, times: float) -> Any:
    from crossgraft.solve.settings import settings_for

    base, batch = settings_for(job.recipe, "full", max(n, 1), job.backbone), job.recipe.batch_size
    least = STEPS[0] if job.backbone.published else LEAST_SMALL
    steps = job.recipe.steps or min(max(10 * n // batch, least), STEPS[1])
    rate = base.lr if job.backbone.published else job.recipe.lr or RATE
    return replace(base, lr=rate if job.recipe.lr else times * rate, steps=steps, batch_size=batch)


def _groups(job: Job, phases: Phases) -> dict[str, Int[np.ndarray, " N"]]:
    """The number of each example's group, in each domain, where a term tells groups apart; else nothing.

    A group of one name is the same in both; examples of nobody are of a group that is called as their domain is, and
    so are those of each of several sources.
    """
    if not any("groups" in row_of(t).heads for o, _ in phases for t in o.active):
        return {}
    assert job.source is not None
    names = {}
    for name, domain in (("source", job.source.domain), ("target", job.target.domain)):
        nobody = [name] * len(domain) if domain.origin is None else [f"{name} {i}" for i in domain.origin]
        own = [""] * len(domain) if domain.groups is None else domain.groups.tolist()
        names[name] = [f"group {g}" if g else n for g, n in zip(own, nobody, strict=True)]
    place = {g: i for i, g in enumerate(dict.fromkeys(names["source"] + names["target"]))}
    if len(place) < 3:
        what = f"term dann_groups tells speakers or rooms apart, and there are only {' and '.join(place)}"
        raise UsageError(what, "name their column with --group, give several sources, or take dann")
    numbers = {d: np.array([place[g] for g in own]) for d, own in names.items()}
    return numbers | {"unlabelled": numbers["target"]}


def _sizes(job: Job, backbone: Backbone, free: Rows, groups: dict[str, Int[np.ndarray, " N"]]) -> dict[str, int]:
    """How large tables and heads are: rows of the unlabelled inputs, the most frames of a clip or words
    of a sentence, how many groups."""
    sizes = {"unlabelled": len(free)}
    if groups:
        sizes["groups"] = 1 + max(int(own.max()) for own in groups.values())
    if backbone.frames is not None:
        sizes["elements"] = int(backbone.frames(job.target.pixels(backbone).lengths).max())
    elif job.target.lengths is not None:
        sizes["elements"] = int(job.target.lengths.max())
    return sizes


def _weights(job: Job, f_s: Fitted, phases: Phases, free: Rows) -> dict[str, Float[np.ndarray, " S"]]:
    """Weights of the source's rows, of mean 1, for the terms that ask for them."""
    names = {row_of(t).known for o, _ in phases for t in o.active} & {"odds", "priors"}
    found: dict[str, np.ndarray] = {}
    source = job.source
    if source is None or not names:
        return {}
    if "odds" in names:
        x = [frozen_features(f_s.backbone, source), frozen_features(f_s.backbone, job.target)[free]]
        found["odds"] = validators.odds(*x, seed=job.recipe.seed)
    if "priors" in names:
        from crossgraft.measure.priors import label_shift

        held, seen = not_fitted(job, source), job.target.over(source.columns)
        p_s, p_t = (np.exp(f_s.log_probabilities(s, at)) for s, at in ((source, held), (seen, free)))
        shift = label_shift(p_s, source.labels[held], p_t, resamples=0, seed=job.recipe.seed)
        found["priors"] = shift.weights[source.labels]
        job.warnings += [n for n in shift.notes if n not in job.warnings]
    own = 1.0 if source.weights is None else source.weights
    return {k: (own * w / (own * w).mean()).astype(np.float32) for k, w in found.items()}


def _relation(job: Job, f_s: Fitted, rows: Rows) -> Any:
    """p(y_s | y_t): f_s's mean probabilities of the source's classes over labelled rows of each target class."""
    import torch

    p = np.exp(f_s.log_probabilities(job.target.over(job.known), rows))
    y, k = job.target.labels[rows], len(job.target.columns)
    table = np.stack([p[y == c].mean(0) if (y == c).any() else p.mean(0) for c in range(k)])
    return torch.from_numpy(table.astype(np.float32))
