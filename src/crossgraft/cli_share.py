"""Commands that hand a run on: export, push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossgraft.cli_options import Json, RunFolder
from crossgraft.printed import answer


def export(
    run: RunFolder,
    format_: Annotated[
        str, typer.Option("--format", "--to", help="onnx, torch, openvino, keras, savedmodel or transformers.")
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file; by default RUN/model.onnx, .pt2, .xml, ...")] = None,
    json_: Json = False,
) -> None:
    """The run's model as ONNX, a torch.export program, for OpenVINO, Keras or TensorFlow, checked against the run."""
    from crossgraft.export import export as write
    from crossgraft.multitask.run import open_run

    answer(
        write(open_run(run), format_, out),
        json_,
        lambda r: [f"{r['file']}: probabilities differ by at most {r['max_difference']:.1e}; see {r['file']}.json"],
    )


def push(
    run: RunFolder,
    to: Annotated[str, typer.Argument(metavar="TO", help="A folder, or hub:USER/NAME of the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option(help="A private repository.")] = True,
    json_: Json = False,
) -> None:
    """Copy a run with a model card into a folder or to the Hub."""
    from crossgraft.multitask.run import open_run
    from crossgraft.share import push as write

    answer(
        write(open_run(run), to, private=private),
        json_,
        lambda r: [f"pushed to {r['to']}: {', '.join(r['files'])}"],
    )


def pull(
    what: Annotated[str, typer.Argument(metavar="FROM", help="A folder, or hub:USER/NAME of the Hugging Face Hub.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    json_: Json = False,
) -> None:
    """Fetch a run that somebody pushed; nothing of it is executed."""
    from crossgraft.share import pull as fetch

    answer({"run": str(fetch(what, out, revision=revision).folder)}, json_, lambda r: [f"run: {r['run']}"])
