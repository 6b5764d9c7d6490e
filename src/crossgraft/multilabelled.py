"""What a run proves and keeps of sets of classes: paired tests, a line an example, the worst of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.choose import HeldOut, judged_on
from crossgraft.domains.texts import joined
from crossgraft.measure.calibration import brier, ece, temperature
from crossgraft.measure.compare import paired
from crossgraft.measure.entities import difference
from crossgraft.measure.multilabel import counts_of, macro_f1, micro_f1
from crossgraft.multilabel import Bernoullis, MultiLabel
from crossgraft.prepare import Job
from crossgraft.run import PREDICTIONS, Run
from crossgraft.side import Side
from crossgraft.tasks import log_softmax

SETS = "sets.json"
SHOWN = 12  # examples that the report shows
MOST = 600  # characters of a text among them


def multilabelled(run: Run, side: Side, task: MultiLabel, test: Int[np.ndarray, " n"], said: Bernoullis) -> None:
    """Write the predictions of all test examples, and those of largest cross-entropy."""
    sets = side.targets(test)
    truth, predicted, losses = task.named(sets), task.names(said), said.losses(sets)
    rows = [
        {
            "name": str(name),
            "labels": y,
            "predicted": z,
            "probabilities": dict(zip(task.classes, p.tolist(), strict=True)),
            "cross_entropy": float(loss),
        }
        for name, y, z, p, loss in zip(
            side.domain.names[test], truth, predicted, said.probabilities, losses, strict=True
        )
    ]
    run.write_lines(PREDICTIONS, rows)
    worst = []
    for i in np.argsort(-losses, kind="stable")[:SHOWN].tolist():
        if truth[i] != predicted[i]:
            own = {"text": joined(side.domain.read(int(test[i])))[:MOST]} if side.domain.kind == "text" else {}
            worst.append(rows[i] | own)
    run.write_json(SETS, worst)


def _of_flat(score: Callable[[np.ndarray], np.ndarray], k: int, flat: Float[np.ndarray, "*B c"]) -> np.ndarray:
    return score(flat.reshape(*flat.shape[:-1], k, 3))


def of_sets(job: Job, held: HeldOut | None, kept: str, said: Mapping[str, Bernoullis]) -> dict[str, Any]:
    """The paired tests and what a temperature would change; labels saved take one class an example.

    held  of the kept model
    """
    side, test = job.target, job.target.rows("test")
    table: list[dict[str, Any]] = []
    if len(test) > 1:
        sets = side.targets(test)
        k = sets.shape[1]
        counts = {m: counts_of(own, sets).reshape(len(test), -1) for m, own in said.items()}
        losses = {m: own.losses(sets) for m, own in said.items()}
        for name in said:
            if name != kept:
                f1s = {
                    key: difference(counts[kept], counts[name], score=partial(_of_flat, f, k))
                    for key, f in (("micro_f1", micro_f1), ("macro_f1", macro_f1))
                }
                d = paired(losses[kept], losses[name])
                entropy = {"value": d.value, "low": d.low, "high": d.high, "p_value": d.p}
                table.append({"model": name, **f1s, "cross_entropy": entropy})
    heat = _calibration(side, judged_on(job), held, said[kept], test) if len(test) else None
    return {"paired": table, "calibration": heat, "labels_saved": None}


def _calibration(
    side: Side, rows: Int[np.ndarray, " m"], held: HeldOut | None, said: Bernoullis, test: Int[np.ndarray, " n"]
) -> dict[str, Any]:
    """What a temperature by held-out labels of the target would do to the test scores; it moves no probability across a
    half, so no decision. Each class of each example counts as a decision of two classes; nats are an example."""
    z = None if held is None else held.log_probabilities
    if not isinstance(z, Bernoullis) or len(z) != len(rows) or not len(rows):
        return {"why": "no held-out label of the target to calibrate with; the source's are not taken for them"}
    found = temperature(*_decisions(z, side.targets(rows)))

    def measured(own: Bernoullis) -> dict[str, float]:
        pairs, y = _decisions(own, side.targets(test))
        log_p, k = log_softmax(pairs), own.z.shape[1]
        entropy = float(-log_p[np.arange(len(y)), y].mean())
        return {"cross_entropy": k * entropy, "ece": ece(log_p, y), "brier": brier(log_p, y)}

    return {
        "temperature": found,
        "n": len(rows),
        "fitted_on": "held-out labels of the target",
        "before": measured(said),
        "after": measured(Bernoullis(said.z / found)),
    }


def _decisions(
    said: Bernoullis, sets: Int[np.ndarray, "N K"]
) -> tuple[Float[np.ndarray, "D 2"], Int[np.ndarray, " D"]]:
    """Every class of every example as a choice of two: logits of no and yes, and which it is."""
    z = said.z.ravel()
    return np.stack([np.zeros_like(z), z], axis=1), sets.ravel().astype(np.int64)
