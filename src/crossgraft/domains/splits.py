"""Which examples are learned from and which are test data; and whether the classes of both make sense together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossgraft.domains.domain import SEQUENCES, SOUND, Domain
from crossgraft.domains.set_splits import drawn_shots, drawn_test
from crossgraft.domains.sorts import BESIDE
from crossgraft.errors import CrossgraftError, Skipped, UsageError
from crossgraft.seeds import rng
from crossgraft.tasks import classes_of, natural_order

TOLERATED = 0.05


def assign_splits(domain: Domain, seed: int, *, shots: int | None = None, test_share: float = 0.25) -> Domain:
    """The domain with every labelled example in "train", "val" or "test", everything else "unlabelled" or "".

    - Splits that the data give are kept. "val" without "test" becomes "test": the held-out part of many data sets is
      called val, and this program chooses by the training part (leave-one-out or folds).
    - Without splits, a share of each class is test data, drawn by `seed`; labelled examples without a split in data
      that have splits belong to "train".
    - Where groups are known (speakers, patients), the test part is of whole groups, as near to its share as they allow.
    - `shots` labels a class of the training part are known, drawn by `seed`; the rest of the domain is test data.
      Draws with more shots contain those with fewer. Of sentences and utterances `shots` are known in all, and a share
      of them all is test data: one holds several classes. Where a label is a set of classes, at least `shots` examples
      of each class, and of none, are known, as far as there are so many; test data are of all classes (`set_splits`).
    - Examples without a label are "unlabelled" in the training part, and in no split ("") in a held-out one. Labels of
      examples that the data call unlabelled are dropped.

    Raises CrossgraftError for a class with fewer than `shots` examples, or where nothing is labelled.
    """
    given = domain.splits
    labels = domain.labels.copy()
    labels[given == "unlabelled"] = None
    labelled = np.array([y is not None for y in labels], dtype=bool)
    if not labelled.any():
        raise CrossgraftError(
            f"{domain.name} has no labelled example", "give labels for some: class folders, or --label"
        )
    splits = given.astype("<U10")
    held_out = "test" if (given == "test").any() else "val"
    if held_out == "val":
        splits[given == "val"] = "test"
    splits[labelled & (given == "")] = "train"
    if not (labelled & (splits == "test")).any() and shots is None:
        splits[_drawn_test(domain, np.flatnonzero(labelled & (splits == "train")), seed, test_share)] = "test"
    if shots is not None:
        known = _drawn_shots(domain, np.flatnonzero(labelled & (splits == "train")), seed, shots)
        splits[labelled] = "test"
        splits[known] = "train"
    splits[~labelled & np.isin(given, ("test", "val"))] = ""
    splits[~labelled & ~np.isin(given, ("test", "val"))] = "unlabelled"
    return replace(domain, splits=splits, labels=labels)


def classes_agree(domain: Domain, *sources: Domain, known: Sequence[str] = ()) -> tuple[str, ...]:
    """What is worth a warning about the classes of a domain with splits; raises CrossgraftError on what cannot work.

    Errors: one class only; classes of the domain or of a source whose names differ by case or blanks only (single
    letters may); a class in the test part that neither the training part nor a source has. Warnings: a class without
    an example in a part.

    known  classes of a model that stands in for a source
    """
    elsewhere = {*known, *(c for source in sources for c in source.classes)}
    _alike(domain.name, {*domain.classes, *elsewhere})
    train, test = (set(domain.take(domain.where(s)).classes) for s in ("train", "test"))
    if len(train | test) < 2:
        only = next(iter(train | test), "none")
        raise CrossgraftError(f"{domain.name} has one class only ({only!r})", "give examples of at least two classes")
    unseen = natural_order(test - train - elsewhere)
    if unseen and (train or not (sources or known)):
        first = next(i for i in domain.where("test") if unseen[0] in domain.take([i]).classes)
        what = f"{domain.name}: class {_few(unseen)} is in the test part but never in training"
        raise CrossgraftError(
            f"{what} (first: {domain.names[first]})",
            "move some of its examples to the training part, or leave the class out",
        )
    return tuple(
        f"{domain.name}: class {_few(natural_order(gone))} has no example in the {part} part"
        for part, gone in (("training", test - train), ("test", train - test))
        if gone and train
    )


def tolerate(skipped: Sequence[Skipped], n_total: int, domain_name: str) -> None:
    """Raises CrossgraftError where above 5 % of n_total examples were left out, less files that are no examples."""
    bad = [s for s in skipped if s.reason not in BESIDE]
    if len(bad) > TOLERATED * n_total:
        first = "; ".join(f"{s.name} ({s.reason})" for s in bad[:3])
        raise CrossgraftError(
            f"{domain_name}: {len(bad)} of {n_total} examples cannot be read, such as {first}",
            "mend or remove them; up to 5 % are left out by themselves",
        )


def _drawn_test(domain: Domain, pool: np.ndarray, seed: int, share: float) -> np.ndarray:
    """A share of each class, rounded, but never a whole class."""
    if not 0 < share < 1:
        raise UsageError(f"test_share is {share}", "give a share between 0 and 1")
    order = rng(seed, "split").permutation(pool)
    if domain.groups is not None and (whole := _drawn_groups(domain, pool, seed, share)) is not None:
        return whole
    if domain.kind in SEQUENCES:
        return order[: min(max(1, round(share * len(order))), len(order) - 1)]
    if any(isinstance(y, frozenset) for y in domain.labels[pool]):
        return drawn_test(domain.labels, pool, share, rng(seed, "split"))
    drawn = []
    for c in domain.classes:
        of_class = [i for i in order if domain.labels[i] == c]
        drawn += of_class[: min(max(1, round(share * len(of_class))), len(of_class) - 1)]
    return np.array(drawn, dtype=np.int64)


def _drawn_groups(domain: Domain, pool: np.ndarray, seed: int, share: float) -> np.ndarray | None:
    """All rows of some groups, drawn by `seed`, until they are the share; None where there is one group only, or where
    the rest would lack a class that the drawn ones have. A row of no known group is one of its own."""
    assert domain.groups is not None
    called = np.array([g or f"row {i}" for i, g in zip(pool, domain.groups[pool], strict=True)])
    names = rng(seed, "split").permutation(np.unique(called))
    wanted, chosen = share * len(pool), np.zeros(len(pool), dtype=bool)
    for name in names[: len(names) - 1]:
        own = called == name
        left, every = ({c for y in domain.labels[p] for c in classes_of(y)} for p in (pool[~chosen & ~own], pool))
        covered = domain.kind in SEQUENCES or left >= every
        nearer = abs(chosen.sum() + own.sum() - wanted) < abs(chosen.sum() - wanted)
        if nearer and covered:
            chosen |= own
    return np.sort(pool[chosen]) if chosen.any() else None


def groups_shared(domain: Domain, *sources: Domain) -> tuple[str, ...]:
    """What is worth a warning about groups (speakers, patients) that are in the test part and are learned from too."""
    if domain.groups is None:
        return ()
    test = set(domain.groups[domain.splits == "test"]) - {""}
    own = domain.groups[domain.splits == "train"] if len(set(domain.groups) - {""}) > 1 else []  # all are one's
    notes = []
    for name, learned in [(domain.name, own), *((s.name, s.groups) for s in sources if s.groups is not None)]:
        both = natural_order({str(g) for g in test & set(learned)})
        if both:
            noun = "speaker" if domain.kind in SOUND else "group"
            who = f"{noun} {_few(both)} is" if len(both) == 1 else f"{noun}s {_few(both)} are"
            notes.append(
                f"{name}: {who} learned from and in the test part too (a leak, unless the model is for them alone): "
                f"the scores say nothing about other {noun}s"
            )
    return tuple(notes)


def groups_apart(domain: Domain, examples: np.ndarray) -> np.ndarray | None:
    """The group of each of some examples, (m,) str, where there are two or more and what the model is tested on is of
    others; else None: held-out examples of a group that is learned from say then what the test part says."""
    if (groups := domain.groups) is None:
        return None
    own = np.where(groups[examples] == "", np.char.mod("\0%d", examples), groups[examples])  # nobody's: alone
    tested = set(groups[np.isin(domain.splits, ("val", "test"))]) - {""}
    return own if len(np.unique(own)) > 1 and tested and not tested & set(own) else None


def _drawn_shots(domain: Domain, pool: np.ndarray, seed: int, shots: int) -> np.ndarray:
    if shots < 0:
        raise UsageError(f"shots is {shots}", "give 0 or more labels a class")
    order = rng(seed, "shots").permutation(pool)
    if domain.kind in SEQUENCES and len(order) < shots:
        what = "tagged training sentences" if domain.kind == "sentence" else "training clips with a transcript"
        raise CrossgraftError(
            f"{domain.name} has {len(order)} {what}, fewer than {shots} shots", f"give at most {len(order)}"
        )
    if domain.kind in SEQUENCES:
        return order[:shots]
    if any(isinstance(y, frozenset) for y in domain.labels[pool]):
        return drawn_shots(domain.labels, order, shots)
    drawn = []
    for c in domain.classes:
        of_class = [i for i in order if domain.labels[i] == c]
        if len(of_class) < shots:
            raise CrossgraftError(
                f"{domain.name}: class {c!r} has {len(of_class)} labelled training examples, fewer than {shots} shots",
                f"give at most {len(of_class)} shots, or more examples of {c!r}",
            )
        drawn += of_class[:shots]
    return np.array(drawn, dtype=np.int64)


def _alike(name: str, classes: set[str]) -> None:
    seen: dict[str, str] = {}
    for c in natural_order({c for c in classes if len(c) > 1}):  # "A" and "a" are classes of handwriting
        other = seen.setdefault("".join(c.split()).casefold(), c)
        if other != c:
            raise CrossgraftError(
                f"{name}: classes {other!r} and {c!r} differ by case or blanks only",
                "give both the same name if they are one class",
            )


def _few(names: Sequence[str], n: int = 5) -> str:
    return ", ".join(repr(c) for c in names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
