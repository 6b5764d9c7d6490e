"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Column = Annotated[str | None, typer.Option(metavar="COLUMN")]
Input = Annotated[
    str | None,
    typer.Option("--input", "--text", metavar="COLUMN", help="Column of files, numbers or texts (first+second)."),
]
Group = Annotated[
    str | None,
    typer.Option("--group", metavar="COLUMN", help="Whose an example is; test part and folds are of whole groups."),
]
Weights = Annotated[str | None, typer.Option(help="Local weights of the backbone.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that fit wrote.")]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]
RecipeFile = Annotated[
    Path | None, typer.Argument(metavar="[RECIPE.toml]", help="Options from a file; flags take precedence.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; by default the next free one in runs/.")]
Resume = Annotated[bool, typer.Option(help="Continue the run in --out.")]
BESIDE = ("recipe", "input_", "out", "resume", "json_")  # what is no option of a recipe under its own name


def given(values: dict[str, Any], *but: str) -> dict[str, Any]:
    """The options of a recipe among a command's parameters: those that were given.

    >>> given({"seed": 1, "lr": None, "input_": "text", "out": None})
    {'seed': 1, 'input': 'text'}
    """
    found = {k: v for k, v in values.items() if v is not None and k not in (*BESIDE, *but)}
    return found | ({"input": values["input_"]} if values["input_"] else {})
