"""Commands about labels: which to look at again, which to ask for next. Imports nothing heavy."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from crossgraft.cli_options import Column, Input, Json, Seed, Weights
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.printed import answer

Target = Annotated[str, typer.Option(help="The domain that matters: folder, table, .npz or data set.")]
Source = Annotated[str | None, typer.Option(help="A domain with many labels.")]
Backbone = Annotated[str, typer.Option(help="Whose frozen features the head sees.")]


def doubt(
    target: Target,
    source: Source = None,
    backbone: Backbone = "auto",
    weights: Weights = None,
    seed: Seed = 0,
    input_: Input = None,
    label: Column = None,
    split: Column = None,
    top: Annotated[int, typer.Option(help="Examples that are printed.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Write all examples to this CSV.")] = None,
    json_: Json = False,
) -> None:
    """Labels to look at again: those that a head which never saw them finds improbable, the most doubtful first."""
    from crossgraft.labelling import doubt as doubted

    if top < 0:
        raise UsageError(f"--top is {top}", "give 0 or more examples")
    found = doubted(
        target, source, backbone=backbone, weights=weights, seed=seed, input=input_, label=label, split=split
    )
    if out is not None:
        _write(found["examples"], out)
        found["out"] = str(out)
    found["examples"] = found["examples"][:top]
    answer(found, json_, doubtful)


def label_next(
    target: Target,
    source: Source = None,
    backbone: Backbone = "auto",
    weights: Weights = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Examples to label.")] = 10,
    seed: Seed = 0,
    input_: Input = None,
    label: Column = None,
    split: Column = None,
    json_: Json = False,
) -> None:
    """Which examples to label next: the batch that would lower the expected target cross-entropy most."""
    from crossgraft.asking import label_next as asked

    found = asked(
        target, source, n=n, backbone=backbone, weights=weights, seed=seed, input=input_, label=label, split=split
    )
    answer(found, json_, to_label)


def to_label(found: dict[str, Any]) -> Iterable[str]:
    """What next has to say."""
    yield f"{found['n_labelled']:,} examples are labelled, {found['n_unlabelled']:,} are not; label these next:"
    for e in found["examples"]:
        guess = f"\tperhaps {e['guess']} ({e['probability']:.2f})" if "guess" in e else ""
        yield f"{e['name']}\t{e['reduction']:.4f} nats{guess}"
    for note in found["notes"]:
        yield f"note: {note}"


def doubtful(found: dict[str, Any]) -> Iterable[str]:
    """What doubt has to say."""
    for side, n in found["wrong"].items():
        yield f"{side}: about {n['value']:.0f} of {n['n']:,} labels are wrong [{n['low']:.0f}, {n['high']:.0f}]"
    for e in found["examples"]:
        said = f"{e['label']} (p {e['probability']:.3f}, {e['loss']:.2f} nats)"
        yield f"{e['domain']}\t{e['name']}\t{said}: {e['suggested']}?"
    for note in found["notes"]:
        yield f"note: {note}"


def _write(rows: list[dict[str, Any]], out: Path) -> None:
    try:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as wrong:
        raise CrossgraftError(f"cannot write {out}: {wrong.strerror}", "choose another --out") from None
