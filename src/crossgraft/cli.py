"""The command: turns what a person typed into one call. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crossgraft import cli_evidence, cli_labels, cli_multi, cli_predict, cli_share
from crossgraft.cli_options import Column, Group, Input, Json, Out, RecipeFile, Resume, RunFolder, Seed, Weights, given
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.methods import METHODS
from crossgraft.printed import answer as _answer
from crossgraft.printed import fitted, over_groups, scores, strangers
from crossgraft.printed_evidence import apart

app = typer.Typer(
    help="Transfer learning stated, solved and measured in cross-entropy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
INTERRUPTED = 130  # what typer makes of Ctrl-C


@app.command()
def quickstart(
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    seed: Seed = 0,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """The four steps on digits that packages ship: MNIST to another scanner and other writers, two labels a class."""
    from crossgraft.run import free_folder

    asked: dict[str, Any] = {"target": "sklearn-digits", "source": ("mnist5000",), "backbone": "cnn", "shots": 2}
    _fit(json_, out=out or free_folder("quickstart"), resume=resume, seed=seed, **asked)


@app.command()
def fit(
    recipe: RecipeFile = None,
    target: Annotated[
        str | None, typer.Option(help="The domain that matters: folder, table, .npz or data set.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="A domain with many labels, may be repeated; or a run.")
    ] = None,
    source_weights: Annotated[
        str | None, typer.Option(help="Of several sources: pooled, auto, or a number for each, as in 2,1.")
    ] = None,
    align: Annotated[str | None, typer.Option(help="Source features at the target's mean: auto, none or mean.")] = None,
    task: Annotated[
        str | None, typer.Option(help="auto, classify, multilabel, tag for named entities, or transcribe.")
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Of multilabel: what stands between classes, by default ;.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Of transcripts: auto, characters or words.")] = None,
    crf: Annotated[bool | None, typer.Option(help="Of tags: learn each sentence as a sequence (CRF).")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="auto, cnn, mlp, words, identity, a timm model or a text encoder.")
    ] = None,
    weights: Weights = None,
    method: Annotated[str | None, typer.Option(help=f"auto, {', '.join(METHODS)}.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="In place of a method: ce(target) + 0.3*ce(source) + 0.1*dann.")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="auto, frozen, lp_ft, gradual, full or lora.")] = None,
    lam: Annotated[
        str | None, typer.Option(help="Weight of the source's cross-entropy: a number, auto or search.")
    ] = None,
    ridge: Annotated[str | None, typer.Option(help="Ridge of the convex head: a number or auto.")] = None,
    shots: Annotated[
        int | None, typer.Option(help="Pretend that only N labels a class are known; the rest is test data.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
    selection: Annotated[
        str | None, typer.Option(help="auto, target_val, loo, cv, last, oracle, label_free:im (snd, dev, iwv...).")
    ] = None,
    guard: Annotated[
        bool | None, typer.Option(help="Keep a simpler model where the evidence does not favour the transfer.")
    ] = None,
    baselines: Annotated[bool | None, typer.Option(help="Train target only and source only beside it.")] = None,
    augment: Annotated[str | None, typer.Option(help="auto, none, digits, photos, aerial or places (audio).")] = None,
    places: Annotated[
        list[str] | None, typer.Option("--place", help="Of clips: test them in noise:10dB, too; may be repeated.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps on the target.")] = None,
    source_steps: Annotated[int | None, typer.Option(help="Gradient steps on the source.")] = None,
    masked_steps: Annotated[
        int | None, typer.Option(help="Gradient steps on hidden words of the target's texts, before the task.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    lr: Annotated[float | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    label_smoothing: Annotated[float | None, typer.Option()] = None,
    class_weights: Annotated[str | None, typer.Option(help="none or balanced.")] = None,
    mixup: Annotated[float | None, typer.Option(help="Alpha of mixup.")] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16.")] = None,
    tracker: Annotated[str | None, typer.Option(help="tensorboard, mlflow, wandb, or another of accelerate.")] = None,
    input_: Input = None,
    label: Column = None,
    split: Column = None,
    group: Group = None,
    out: Out = None,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Train a model that is good on the target, with the proof beside it."""
    options = given(locals())
    for name in ("lam", "ridge"):
        if name in options and options[name] not in ("auto", "search"):
            options[name] = _number(name, options[name])
    if options.get("source_weights", "auto") not in ("auto", "pooled"):
        options["source_weights"] = _numbers("source-weights", options["source_weights"])
    _fit(json_, recipe=recipe, out=out, resume=resume, **options)


def _fit(as_json: bool, *, out: Path | None, resume: bool, recipe: Path | None = None, **options: Any) -> None:
    from crossgraft.transfer import fit as run_fit

    run = run_fit(recipe=recipe, out=out, resume=resume, **options)
    _answer(run.result, as_json, fitted)


@app.command()
def score(
    run: RunFolder,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A labelled domain.")],
    input_: Input = None,
    label: Column = None,
    part: Annotated[str | None, typer.Option(help="Only this split: train, val or test.")] = None,
    unknown: Annotated[bool, typer.Option(help="Labels that are no class of the model are unknown ones.")] = False,
    json_: Json = False,
) -> None:
    """Scores of a finished run on a labelled domain, with intervals."""
    from crossgraft.multitask.run import open_run

    result = open_run(run).score(path, input=input_, label=label, split=part, unknown=unknown)
    each = result.get("tasks", {"test": result})
    said = [line for name, own in each.items() for line in (scores(name, own), *over_groups(own))]
    _answer(result, json_, lambda r: [*said, *strangers(r)])


@app.command()
def gap(
    source: Annotated[str, typer.Option(help="One domain: folder, table, .npz or data set.")],
    target: Annotated[str, typer.Option(help="The other.")],
    backbone: Annotated[str, typer.Option(help="Whose features are compared.")] = "auto",
    weights: Weights = None,
    seed: Seed = 0,
    input_: Input = None,
    label: Column = None,
    out: Annotated[Path | None, typer.Option(help="Write a page with the examples that show it to this file.")] = None,
    json_: Json = False,
) -> None:
    """How far apart two domains are: a lower bound on their Jensen-Shannon divergence in nats, with a p-value."""
    from crossgraft.between import gap as between

    found = between(source, target, backbone=backbone, weights=weights, seed=seed, page=out, input=input_, label=label)
    _answer(found, json_, apart)


@app.command()
def report(run: RunFolder, json_: Json = False) -> None:
    """(Re)write RUN/report.html."""
    from crossgraft.multitask.run import open_run

    path = open_run(run).report()
    _answer({"report": str(path)}, json_, lambda r: [f"report: {r['report']}"])


app.command()(cli_multi.multi)
app.command()(cli_predict.predict)
app.command()(cli_evidence.rank)
app.command()(cli_share.export)
app.command()(cli_share.push)
app.command()(cli_share.pull)
app.command()(cli_labels.doubt)
app.command("next")(cli_labels.label_next)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--{name} is {text!r}", "give a number of zero or more, or auto" + (", or search" if name == "lam" else "")
        ) from None


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--{name} is {text!r}", "give numbers with commas between, one a source, or auto") from None


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit status 0 done, 1 failed for a reason it names, 2 wrongly called."""
    args = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in args
    args = [a for a in args if a != "--debug"]
    from crossgraft import progress

    progress.show()
    try:
        status = app(args, standalone_mode=False) or 0
        if status == INTERRUPTED:
            raise KeyboardInterrupt
    except CrossgraftError as wrong:
        status = wrong.status
        _failed(wrong.what, wrong.remedy, args)
    except (KeyboardInterrupt, typer.Abort):
        status = 1
        _failed(
            "stopped by you", "what was done is kept: continue with crossgraft fit --resume --out and its folder", args
        )
    except Exception as wrong:
        status = _usage(wrong, args)
        if status is None:
            if debug:
                raise
            status = 1
            _failed(f"{type(wrong).__name__}: {wrong}", "this is a defect; run again with --debug to see where", args)
    sys.exit(status)


def _usage(wrong: Exception, args: list[str]) -> int | None:
    """Exit status of click's own complaints about a call; None for anything else."""
    message = getattr(wrong, "format_message", None)
    if message is None:
        return None
    if message():  # empty where the help has been shown instead
        _failed(message(), "see crossgraft --help", args)
    return 2


def _failed(what: str, remedy: str, args: list[str]) -> None:
    print(f"crossgraft: {what}" + (f"\n  remedy: {remedy}" if remedy else ""), file=sys.stderr)
    if "--json" in args:
        print(json.dumps({"error": what, "remedy": remedy}, ensure_ascii=False))
