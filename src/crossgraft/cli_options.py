"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Column = Annotated[str | None, typer.Option(metavar="COLUMN")]
Input = Annotated[
    str | None,
    typer.Option("--input", "--text", metavar="COLUMN", help="Column of files, numbers or texts (first+second)."),
]
Weights = Annotated[str | None, typer.Option(help="Local weights of the backbone.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that fit wrote.")]
Seed = Annotated[int, typer.Option(help="Seed of every draw.")]
