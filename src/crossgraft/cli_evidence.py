"""Commands that compare before anything is trained. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from crossgraft.cli_options import Column, Input, Json, Seed, Weights
from crossgraft.errors import UsageError
from crossgraft.printed import answer
from crossgraft.printed_evidence import ranked


def rank(
    target: Annotated[str, typer.Option(help="The domain that matters; its training labels are looked at.")],
    sources: Annotated[list[str] | None, typer.Option(metavar="PATH...", help="Domains to be compared.")] = None,
    backbones: Annotated[list[str] | None, typer.Option(metavar="NAME...", help="Backbones to be compared.")] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    source: Annotated[str | None, typer.Option(help="One source, beside --backbones.")] = None,
    backbone: Annotated[
        str, typer.Option(help="Whose features the sources are measured by; cnn or mlp learn each source.")
    ] = "auto",
    weights: Weights = None,
    shots: Annotated[int | None, typer.Option(help="Pretend that only N labels a class are known.")] = None,
    seed: Seed = 0,
    source_steps: Annotated[int | None, typer.Option(help="Gradient steps on a source, for cnn and mlp.")] = None,
    input_: Input = None,
    label: Column = None,
    split: Column = None,
    json_: Json = False,
) -> None:
    """Sources or backbones, best first by the leave-one-out cross-entropy of the target that they give, in nats."""
    from crossgraft.ranked import rank as run_rank

    # What follows --sources A or --backbones A without a flag of its own is one more of the same.
    if more and bool(sources) == bool(backbones):
        raise UsageError(f"{more[0]} belongs to no option", "give --sources PATH... or --backbones NAME...")
    found = run_rank(
        target,
        [*(sources or ()), *((more or ()) if sources else ())],
        backbones=[*(backbones or ()), *((more or ()) if backbones else ())],
        source=source, backbone=backbone, weights=weights, shots=shots, seed=seed, source_steps=source_steps,
        input=input_, label=label, split=split,
    )  # fmt: skip
    answer(found, json_, ranked)
