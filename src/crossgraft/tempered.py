"""An adapted model at its own temperature, by labels of the target that it has not learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crossgraft.choose import HeldOut, judged_on
from crossgraft.measure.calibration import temperature
from crossgraft.measure.unknown import energy
from crossgraft.prepare import Job
from crossgraft.solve.fitted import Fitted
from crossgraft.tasks import log_softmax

PARTS = 20  # that the held-out examples are left out in, at most; with fewer examples one by one


def tempered(job: Job, model: Fitted, held: HeldOut) -> tuple[Fitted, HeldOut]:
    """A model with its logits over T >= 1, of least cross-entropy on held-out labels, and its evidence, each example at
    the T of the others.

    Methods that learn from inputs without labels sharpen predictions: more are right, and the wrong ones are so sure
    that the mean cross-entropy is above that of a model that names fewer right, which the guard would then keep. One
    number mends it and moves no prediction to another class. T below 1 is not taken: where all of a few examples are
    right there is no end to it. With fewer than two examples, for sequences and for sets nothing changes.
    """
    rows, log_p, energies = judged_on(job), held.log_probabilities, held.energies
    if not isinstance(log_p, np.ndarray) or energies is None or not len(energies) == len(rows) >= 2:
        return model, held
    z, y, part = log_p - energies[:, None], job.target.labels[rows], np.arange(len(rows)) % PARTS
    losses = np.zeros(len(rows))
    for i in np.unique(part):
        own, rest = np.flatnonzero(part == i), np.flatnonzero(part != i)
        losses[own] = job.target.losses(log_softmax(z[own] / max(temperature(z[rest], y[rest]), 1.0)), rows[own])
    t = max(temperature(z, y), 1.0)
    cooler = replace(model, weight=model.weight / t, bias=model.bias / t, temperature=t)
    return cooler, HeldOut(losses, log_softmax(z / t), energy(z / t))
