"""What the terms of a phase see of its batches: views, the strong and the teacher's beside them, tables of labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from crossgraft.objective.methods import row_of
from crossgraft.objective.tables import TABLES
from crossgraft.objective.views import View
from crossgraft.solve.batches import Batch, Stream
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase


def two_views(phase: Phase) -> set[str]:
    """The domains that a term wants a strong view of."""
    return {d for t in phase.objective.active if (row := row_of(t)).strong for d in row.reads(t)}


def views(model: nn.Module, net: Net, phase: Phase, batches: Mapping[str, Batch]) -> dict[str, View]:
    """Each domain's view, from one pass through the layers."""
    inputs = {d: b.values for d, b in batches.items()}
    inputs |= {f"{d}/strong": b.strong for d, b in batches.items() if b.strong is not None}
    # A phase of terms without a domain, such as l2_sp, passes nothing through the layers.
    outputs: dict[str, tuple[Tensor, Tensor]] = model(inputs) if inputs else {}
    taught = {d for t in phase.objective.active if (row := row_of(t)).teacher for d in row.reads(t)}
    made = {}
    for d, b in batches.items():
        strong = View(*outputs[f"{d}/strong"], b.labels) if b.strong is not None else None
        teacher = View(*net.taught(b.values), b.labels) if d in taught else None
        at = b.known["at"]
        named = TABLES if d == "unlabelled" else ()
        rows = dict(b.known) | {n: t[at] for n in named if (t := getattr(net, f"table_{n}", None)) is not None}
        frames = net.rows_of(b.values) if "symbols" in b.known else None
        made[d] = View(*outputs[d], b.labels, b.soft, strong, teacher, rows, frames, b.known.get("symbols"))
    return made


def refresh(net: Net, phase: Phase, streams: Mapping[str, Stream], step: int, total: int) -> dict[str, float]:
    """Compute the tables of a phase again where an epoch of their domain begins; else they stand as they are.

    They are buffers of the net, so a checkpoint holds them. Gives, for each that was computed again, the share of its
    labels that changed among the rows that had one before and have one now.
    """
    changed = {}
    for term in phase.objective.active:
        name = row_of(term).known
        if name not in TABLES:
            continue
        stream = streams["unlabelled"]
        n = len(stream.labels)
        size = min(stream.batch_size, n)
        if step and step * size // n == (step - 1) * size // n:
            continue
        f = net.embed(stream.values)
        with torch.no_grad():
            z = net.logits(torch.from_numpy(f).to(net.linear.weight.device), "unlabelled").double()
        labels = TABLES[name](f.astype(np.float64), z.softmax(1).cpu().numpy(), step / total)
        table = getattr(net, f"table_{name}")
        before = table.cpu().numpy()
        if (both := (before >= 0) & (labels >= 0)).any():
            changed[name] = float((before != labels)[both].mean())
        table.copy_(torch.from_numpy(labels))
    return changed
