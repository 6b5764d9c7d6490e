"""What the terms of a phase see of its batches: views, the strong and the teacher's beside them, tables of labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from crossgraft.features.frames import Frames
from crossgraft.features.ragged import Ragged
from crossgraft.objective.heads import transitions
from crossgraft.objective.methods import row_of
from crossgraft.objective.tables import BY_CLASS, SPOKEN, TABLES
from crossgraft.objective.views import View
from crossgraft.solve.batches import Batch, Stream, TaskLabels
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase


def two_views(phase: Phase) -> set[str]:
    """The domains that a term wants a strong view of."""
    return {d for t in phase.objective.active if (row := row_of(t)).strong for d in row.reads(t)}


def labels(streams: Mapping[str, Stream]) -> dict[str, Int[np.ndarray, " n"]]:
    """All labels by domain, or by task where streams hold several."""
    parts: dict[str, list[np.ndarray]] = {}
    for d, stream in streams.items():
        held = {task: own.flat for task, own in stream.tasks.items()} or {d: stream.flat}
        for task, flat in held.items():
            parts.setdefault(task, []).append(flat)
    return {d: np.concatenate(own) for d, own in parts.items()}


def read(streams: Mapping[str, Stream], wanted: Collection[str]) -> list[str]:
    """The streams that hold a domain, or a task, of these."""
    tasks = [d for d, stream in streams.items() if set(stream.tasks) & set(wanted)]
    return [*tasks, *(d for d in wanted if d in streams and d not in tasks)]


def views(model: nn.Module, net: Net, phase: Phase, batches: Mapping[str, Batch]) -> dict[str, View]:
    """Each domain's view, or each task's, from one pass through the layers."""
    inputs = {d: b.values for d, b in batches.items()}
    inputs |= {f"{d}/strong": b.strong for d, b in batches.items() if b.strong is not None}
    # A phase of terms without a domain, such as l2_sp, passes nothing through the layers.
    outputs: dict[str, tuple[Tensor, Tensor]] = model(inputs) if inputs else {}
    taught = {d for t in phase.objective.active if (row := row_of(t)).teacher for d in row.reads(t)}
    made: dict[str, View] = {}
    tasks: dict[str, list[View]] = {}
    for d, b in batches.items():
        counts = net.rows_of(b.values) if b.tasks else None
        for task, own in b.tasks.items():
            tasks.setdefault(task, []).append(task_view(net, task, outputs[d], own, counts))
        if b.tasks:
            continue
        strong = View(*outputs[f"{d}/strong"], b.labels) if b.strong is not None else None
        teacher = View(*net.taught(b.values), b.labels) if d in taught else None
        named = TABLES if d == "unlabelled" else ()
        tables = {n: t[b.known["at"]] for n in named if (t := getattr(net, f"table_{n}", None)) is not None}
        if net.backbone.kind == "sentence":
            tables = {n: elements(t, net.rows_of(b.values)) for n, t in tables.items()}
        rows = dict(b.known) | tables
        if d == "source":
            weighed = {n: t for n in BY_CLASS if (t := getattr(net, f"table_{n}", None)) is not None}
            rows |= {n: t[b.labels.clamp(min=0)] for n, t in weighed.items()}
        chained, symbols = transitions(net.heads), b.known.get("symbols")
        spoken = chained is not None or net.backbone.frames is not None
        frames = net.rows_of(b.values) if spoken else None
        moves = None if chained is None else chained(net.columns_of(d))
        made[d] = View(*outputs[d], b.labels, b.soft, strong, teacher, rows, frames, symbols, moves)
    return made | {task: _joined(parts) for task, parts in tasks.items()}


def elements(table: Tensor, counts: Tensor | None) -> Tensor:
    """Rows of a table, each filled up at its end, as one value an element.

    >>> elements(torch.tensor([[4, 5, -1], [6, -1, -1]]), torch.tensor([2, 1])).tolist()
    [4, 5, 6]
    """
    assert counts is not None
    return table[torch.arange(table.shape[1], device=table.device) < counts.to(table.device)[:, None]]


def task_view(net: Net, task: str, output: tuple[Tensor, Tensor], own: TaskLabels, counts: Tensor | None) -> View:
    """One task's view of a pass through the shared layers.

    output  features, and logits over the whole head
    counts  elements of each example, of sequences; the feature of an example with one label is then their mean
    """
    features, logits = output
    y, known, lengths, aligned = own
    if counts is not None and lengths is None:
        features = mean_by(features, counts)
        return View(features, net.logits(features, task), y)
    columns = net.columns[task]
    if columns is not None:
        logits = logits[:, columns.to(logits.device)]
    if counts is None or lengths is None or not aligned:
        return View(features, logits, y)
    here = known.repeat_interleave(counts)  # a clip without a transcript is not one of which nothing was said
    return View(features[here], logits[here], y, frames=counts[known], symbols=lengths[known])


def mean_by(features: Float[Tensor, "F D"], counts: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """The mean over the elements of each sequence."""
    owner = torch.arange(len(counts), device=features.device).repeat_interleave(counts)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, owner, features)
    return sums / counts[:, None].clamp(min=1).to(features.dtype)


def _joined(parts: list[View]) -> View:
    """What several data sets show of one task."""
    if len(parts) == 1:
        return parts[0]
    features, logits, y = (torch.cat([getattr(p, name) for p in parts]) for name in ("features", "logits", "labels"))
    frames = [p.frames for p in parts if p.frames is not None]
    symbols = [p.symbols for p in parts if p.symbols is not None]
    return View(
        features,
        logits,
        y,
        frames=torch.cat(frames) if frames else None,
        symbols=torch.cat(symbols) if symbols else None,
    )


def refresh(net: Net, phase: Phase, streams: Mapping[str, Stream], step: int, total: int) -> dict[str, float]:
    """Compute the tables of a phase again where an epoch of their domain begins; else they stand as they are.

    They are buffers of the net, so a checkpoint holds them. Gives, for each that was computed again, the share of its
    labels that changed among the rows that had one before and have one now.
    """
    changed = {}
    for term in phase.objective.active:
        name = row_of(term).known
        if name not in TABLES and name not in BY_CLASS:
            continue
        stream = streams["unlabelled"]
        n = len(stream.labels)
        size = min(stream.batch_size, n)
        if step and step * size // n == (step - 1) * size // n:
            continue
        table = getattr(net, f"table_{name}")
        if net.backbone.frames is not None:
            assert isinstance(stream.values, Ragged)
            log_p = net.log_probabilities(stream.values, "unlabelled")
            ends = np.cumsum(net.backbone.frames(stream.values.lengths))
            labels = SPOKEN[name](Frames(log_p, ends), table.shape[1])
        else:
            f = net.embed(stream.values)
            with torch.no_grad():
                z = net.logits(torch.from_numpy(f).to(net.linear.weight.device), "unlabelled").double()
            p = z.softmax(1).cpu().numpy()
            if name in BY_CLASS:
                table.copy_(torch.from_numpy(BY_CLASS[name](f.astype(np.float64), p, step / total)))
                continue
            labels = TABLES[name](f.astype(np.float64), p, step / total)
            if isinstance(stream.labels, Ragged):  # of sentences one label a word
                labels = Ragged(labels, stream.labels.ends).padded(table.shape[1])
        before, now = table.cpu().numpy().reshape(n, -1), labels.reshape(n, -1)
        if (both := (before >= 0).any(1) & (now >= 0).any(1)).any():
            changed[name] = float((before != now).any(1)[both].mean())
        table.copy_(torch.from_numpy(labels))
    return changed
