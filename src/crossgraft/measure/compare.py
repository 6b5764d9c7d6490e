"""Is one model better than another on the same examples? And which is kept: the guard against negative transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from crossgraft.errors import CrossgraftError
from crossgraft.measure.scores import mean_interval
from crossgraft.seeds import rng

FLIPS = 9999
ENUMERATED = 13  # examples up to which all 2^n sign patterns are counted
TITLES = {"transfer": "the transfer", "target_only": "target only", "source_only": "source only"}


@dataclass(frozen=True)
class Difference:
    """Mean of a - b with its 95 % interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def paired(losses_a: Float[np.ndarray, " n"], losses_b: Float[np.ndarray, " n"], seed: int = 0) -> Difference:
    """Mean of a_i - b_i: bootstrap-t interval, and the sign-flip permutation test (Fisher 1935), exact for n <= 13.

    >>> d = paired(np.full(8, 0.5) + np.arange(8) / 100, np.zeros(8))
    >>> round(d.value, 3), d.p
    (0.535, 0.0078125)
    """
    if losses_a.shape != losses_b.shape:
        raise CrossgraftError(f"{len(losses_a)} losses against {len(losses_b)}", "compare models on the same examples")
    d = losses_a - losses_b
    interval = mean_interval(d, seed)
    n = len(d)
    if n <= ENUMERATED:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        p = float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12 * np.abs(d).sum()))
    else:
        draw = rng(seed, "sign flips")
        blocks = (draw.integers(0, 2, (min(500, FLIPS - i), n), dtype=np.int8) for i in range(0, FLIPS, 500))
        sums = np.concatenate([np.abs((1.0 - 2.0 * block) @ d) for block in blocks])
        p = float((1 + (sums >= abs(d.sum())).sum()) / (1 + FLIPS))
    return Difference(interval.value, interval.low, interval.high, p)


def mcnemar(hits_a: Float[np.ndarray, " n"], hits_b: Float[np.ndarray, " n"]) -> float:
    """Two-sided exact p-value that both models are right equally often (McNemar, Psychometrika 12, 1947).

    >>> round(mcnemar(np.array([1.0] * 6 + [0.0]), np.zeros(7)), 4)
    0.0312
    """
    from scipy.stats import binomtest

    only_a, only_b = int(((hits_a == 1) & (hits_b == 0)).sum()), int(((hits_a == 0) & (hits_b == 1)).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


@dataclass(frozen=True)
class Verdict:
    """The model that is kept, and why in a sentence.

    judged  the losses that were compared, by model
    """

    kept: str
    why: str
    judged: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)


def guard(
    evidence: Mapping[str, Float[np.ndarray, " n"]],
    simplest_first: Sequence[str],
    margins: Mapping[str, float] = MappingProxyType({}),
    of: str = "examples",
) -> Verdict:
    """Keep the model of least held-out cross-entropy that is better than every simpler one by a standard error.

    evidence        held-out losses of each model on the same examples, nats
    simplest_first  the models, the simplest first; the error is of the paired difference
    margins         standard errors by which a model must be better than a simpler one, where that is not 1
    of              what each loss is of, for the sentence

    With fewer than two examples nothing can be told apart, and the transfer, which was asked for, is kept (without one,
    the last). A model with a loss that is not finite is left out, and `why` says so.

    >>> guard({"a": np.array([0.9, 1.1, 1.0]), "b": np.array([0.1, 0.3, 0.2])}, ["a", "b"]).kept
    'b'
    """
    asked = [name for name in simplest_first if name in evidence] or list(simplest_first)
    wanted = "transfer" if "transfer" in asked else asked[-1]
    lengths = {len(losses) for losses in evidence.values()}
    if len(lengths) > 1:
        raise CrossgraftError(f"losses of {sorted(lengths)} examples", "compare models on the same examples")
    n = max(lengths, default=0)
    if n < 2:
        found = "no held-out example" if n == 0 else "1 held-out example"
        return Verdict(wanted, f"With {found} nothing can be compared; {_title(wanted)} is what was asked for.")
    names = [name for name in asked if np.isfinite(evidence[name]).all()]
    broken = [_title(name) for name in asked if name not in names]
    if not names:
        raise CrossgraftError(
            "no model has finite held-out losses", "see the training's warnings: the models are broken"
        )
    mean = {name: float(evidence[name].mean()) for name in names}
    best, left = min(names, key=lambda name: mean[name]), list(names)

    def beaten(name: str, by: str) -> bool:
        d = evidence[name] - evidence[by]
        return bool(d.mean() > margins.get(by, 1.0) * d.std(ddof=1) / np.sqrt(n))

    while True:  # what is not beyond noise of a simpler one is given up, and the rest compared among themselves
        kept = min(left, key=lambda name: mean[name])
        if all(beaten(name, kept) for name in left[: left.index(kept)]):
            break
        left.remove(kept)
    said = f"On {n} held-out {of} the cross-entropy of {_title(kept)} is {mean[kept]:.3f} nats"
    for name in names:
        if name != kept:
            d = paired(evidence[name], evidence[kept])
            said += f", of {_title(name)} {mean[name]:.3f} (difference {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}])"
    if kept != best:
        margin = margins.get(best, 1.0)
        said += f"; {_title(best)} is better than another model by less than {margin:g} standard errors: not kept"
    if broken:
        said += f"; {' and '.join(broken)} had losses that are not finite"
    return Verdict(kept, said + ".", dict(evidence))


def _title(name: str) -> str:
    return TITLES.get(name, name)
