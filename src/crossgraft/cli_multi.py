"""The command multi: several tasks at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossgraft.cli_options import Column, Group, Input, Json, Out, RecipeFile, Resume, Weights, given
from crossgraft.errors import UsageError
from crossgraft.printed import answer, several


def multi(
    recipe: RecipeFile = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]PATH", help="A data set; may be repeated, with names.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COLUMN]", help="A task and its column of labels; without, one a data set. @data: its name."
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=KIND", help="classify, multilabel, tag or transcribe, if labels do not say."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="TASK=NUMBER", help="Weight of a task's cross-entropy, by default 1.")
    ] = None,
    main: Annotated[str | None, typer.Option(help="The task that matters: what harms it is left out.")] = None,
    weighting: Annotated[
        str | None, typer.Option(help="equal, uncertainty, dwa, gradnorm, pcgrad, mgda, nash, imtl or aligned.")
    ] = None,
    sampling: Annotated[float | None, typer.Option(help="Temperature of data sets in a batch; 1 is by size.")] = None,
    heads: Annotated[str | None, typer.Option(help="auto, own, or shared where classes of one name are one.")] = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="all|N", help="Groups of layers that all tasks share; others are their own."),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="A task that the layers learn before all together; may be repeated."),
    ] = None,
    first_steps: Annotated[int | None, typer.Option(help="Gradient steps of what is learned first.")] = None,
    affinity: Annotated[bool | None, typer.Option(help="Measure what each task does to each other.")] = None,
    backbone: Annotated[str | None, typer.Option(help="As of fit.")] = None,
    weights: Weights = None,
    schedule: Annotated[str | None, typer.Option(help="auto, frozen, lp_ft, gradual, full or lora.")] = None,
    shots: Annotated[int | None, typer.Option(help="Pretend that only N labels a class are known.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
    guard: Annotated[bool | None, typer.Option(help="Predict a task alone where the others harm it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps of each training.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of each data set in a step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate.")] = None,
    augment: Annotated[str | None, typer.Option(help="auto, none, digits, photos, aerial or places.")] = None,
    input_: Input = None,
    separator: Annotated[str | None, typer.Option(help="Of multilabel: between classes, by default ;.")] = None,
    split: Column = None,
    group: Group = None,
    out: Out = None,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Several tasks on shared layers, each with a head: alone, together, and which is better."""
    options = given(locals(), "data", "task", "kind", "weight")
    from crossgraft.multitask.steps import multi as run_multi

    run = run_multi(
        sets_of(data) if data else None, _tasks(task, kind, weight), recipe=recipe, out=out, resume=resume, **options
    )
    answer(run.result, json_, several)


def sets_of(data: list[str]) -> dict[str, str]:
    """Data sets by name; one by itself may be without.

    >>> sets_of(["a=x.csv", "b=y.csv"])
    {'a': 'x.csv', 'b': 'y.csv'}
    """
    found: dict[str, str] = {}
    for text in data:
        name, mark, path = text.partition("=")
        if not mark:
            name, path = Path(text).stem, text
        if name in found:
            raise UsageError(f"two data sets are called {name!r}", "give each its own name: --data NAME=PATH")
        found[name] = path
    return found


def _tasks(
    task: list[str] | None, kind: list[str] | None, weight: list[str] | None
) -> dict[str, dict[str, Any]] | None:
    found: dict[str, dict[str, Any]] = {}
    for text in task or ():
        name, mark, column = text.partition("=")
        if name in found:
            raise UsageError(f"two tasks are called {name!r}", "give each task its own name")
        found[name] = {"label": column if mark else name}
    for option, texts in (("kind", kind), ("weight", weight)):
        for text in texts or ():
            name, mark, value = text.partition("=")
            if not mark or name not in found:
                known = ", ".join(found) or "none is named with --task"
                raise UsageError(f"--{option} {text!r} names no task", f"write TASK=VALUE; the tasks are {known}")
            found[name][option] = value
    return found or None
