"""What was asked: one schema for the TOML file, the command's flags and the Python call."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.methods import METHODS
from crossgraft.multilabel import SEPARATOR

Selection = Literal[
    "auto", "target_val", "loo", "cv", "source_val", "last", "oracle",
    "label_free:im", "label_free:snd", "label_free:dev", "label_free:iwv", "label_free:reverse",
    "label_free:source_accuracy",
]  # fmt: skip


class Recipe(BaseModel):
    """Everything that decides a run, with the defaults; a run folder keeps it as recipe.toml.

    >>> Recipe(target="photos", shots=5).schedule
    'auto'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    unnamed: ClassVar[str] = "write --target or --source before it, --source before each of several sources"

    target: str = Field(description="the domain that matters: a folder, a table, an .npz, or a name")
    source: tuple[str, ...] = Field(
        (), description="domains with many labels; or the folder of a run, whose model is f_s and whose data stay away"
    )
    source_weights: Literal["pooled", "auto"] | tuple[float, ...] = Field(
        "pooled",
        description="weights of several sources: pooled, every row weighs the same; auto, learned from the target's "
        "labels, or without any from the gap; or a number above zero for each",
    )
    align: Literal["auto", "none", "mean"] = Field(
        "auto",
        description="move features of the source that stand still to the target's mean: auto, where left-out labels "
        "favour it; both domains should hold their classes in like shares",
    )
    input: str | None = Field(None, description="column of the inputs in tables")
    label: str | None = Field(None, description="column of the labels in tables")
    split: str | None = Field(None, description="column of the splits in tables")
    group: str | None = Field(
        None,
        description="column that says whose an example is (patient, author, site): test part and folds are of whole "
        "groups; of clips by default a column speaker",
    )
    task: Literal["auto", "classify", "tag", "transcribe", "multilabel"] = Field(
        "auto",
        description="tag: the files hold tagged sentences; transcribe: labels are what is said in clips; multilabel: "
        "any number of classes an example; auto: by their first lines and by labels that are lists, never transcribe",
    )
    separator: str = Field(
        SEPARATOR, min_length=1, description="what stands between the classes of a cell; of multilabel"
    )
    symbols: Literal["auto", "characters", "words"] = Field(
        "auto", description="what transcripts are made of; auto: words where they are few and each comes often"
    )
    crf: bool = Field(False, description="tags are learned as sequences, by a linear-chain CRF; of task tag")
    backbone: str = Field("auto", description="auto, cnn, mlp, words, identity, a timm model, model.keras, an encoder")
    weights: str | None = Field(
        None, description="local weights of the backbone: .safetensors, or .pth of plain tensors"
    )
    method: str = Field("auto", description="a row of the table of methods; auto: joint with a source, else finetune")
    objective: str | None = Field(None, description="in place of a method: ce(target) + 0.3*ce(source) + 0.1*dann")
    schedule: Literal["auto", "frozen", "lp_ft", "gradual", "full", "lora"] = Field(
        "auto", description="which layers learn, and when"
    )
    lam: float | Literal["auto", "search"] = Field(
        "auto",
        description="weight of the source's cross-entropy; auto: by the frozen path; search: by cross-validation of "
        "the schedule itself, which costs 15 more trainings",
    )
    ridge: float | Literal["auto"] = Field(
        "auto", description="ridge of the convex head, for features of mean squared norm 1"
    )
    shots: int | None = Field(
        None, ge=0, description="labels a class of the target's training part that are known; the rest is test data"
    )
    seed: int = Field(0, ge=0)
    selection: Selection = Field(
        "auto", description="the rule that chooses; oracle looks at test labels and is for papers only"
    )
    guard: bool = Field(True, description="keep a simpler model where held-out evidence does not favour the transfer")
    baselines: bool = Field(True, description="train target only and source only beside the transfer")
    augment: Literal["auto", "none", "digits", "photos", "aerial", "places"] = "auto"
    places: tuple[str, ...] = Field(
        (), description="environments that the test part is heard in too, as noise:10dB or telephone; of clips"
    )
    steps: int | None = Field(
        None, ge=1, description="gradient steps on the target; by default from the number of labels"
    )
    source_steps: int | None = Field(
        None,
        ge=1,
        description="gradient steps on the source: of a network trained from nothing, or of pretrained "
        "layers, which learn it only where this is given",
    )
    masked_steps: int | None = Field(
        None,
        ge=1,
        description="gradient steps on the target's texts before the task, without labels: words that are hidden, of "
        "a causal model the next word",
    )
    batch_size: int = Field(32, ge=1)
    lr: float | None = Field(None, gt=0, description="by default by schedule")
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the rate rises")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    mixup: float = Field(0.0, ge=0, description="alpha of mixup; 0 for none")
    precision: Literal["no", "bf16", "fp16"] = "no"
    tracker: str | None = Field(
        None, description="where logged steps and scores go too: tensorboard, mlflow, wandb, or another of accelerate"
    )
    patience: int = Field(5, ge=1, description="evaluations without a better one before the training stops")

    @field_validator("method")
    @classmethod
    def _in_the_table(cls, method: str) -> str:
        known = ["auto", *METHODS]
        if method not in known:
            raise ValueError(nearest(method, known) or f"the methods are {', '.join(known)}")
        return method

    @classmethod
    def of(cls, **options: Any) -> Self:
        """A recipe from options; a wrong one is named together with what it may be."""
        known = list(cls.model_fields)
        for name in options:
            if name not in known:
                raise UsageError(
                    f"unknown option {name!r}", nearest(name, known) or f"the options are {', '.join(known)}"
                )
        lam = options.get("lam")
        if isinstance(lam, (int, float)) and not 0 <= lam < float("inf"):
            raise UsageError(f"lam is {lam}", "lam weighs the source's cross-entropy: give 0 or more, or auto")
        _weights_fit(options)
        try:
            return cls(**options)
        except ValidationError as wrong:
            first = wrong.errors()[0]
            at = first["loc"] or ("recipe",)
            name = ".".join(map(str, at if at[0] == "tasks" else at[:1]))
            each = [e["msg"] for e in wrong.errors() if e["loc"][:1] == first["loc"][:1] and len(e["loc"]) == 2]
            remedy = (
                _or(each if len(first["loc"]) == 2 else [first["msg"]])
                .replace("Input should be", "it should be")
                .removeprefix("Value error, ")
            )
            raise UsageError(f"option {name} is {first.get('input')!r}", remedy) from None

    @classmethod
    def read(cls, path: Path, **override: Any) -> Self:
        """The recipe in a TOML file, with options given beside it taking precedence."""
        try:
            options = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CrossgraftError(f"there is no recipe {path}", "give the path of a TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as wrong:
            if path.suffix != ".toml":  # more often a path that lacks its option
                raise UsageError(f"{path} is taken for a recipe, and is no TOML: {wrong}", cls.unnamed) from None
            raise CrossgraftError(f"{path} is no TOML: {wrong}", "mend the line it names") from None
        return cls.of(**(options | override))

    def toml(self) -> str:
        """The recipe as TOML; what is None is left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))


def _or(messages: list[str]) -> str:
    """What a value should be, of a field that may be of several kinds.

    >>> _or(["Input should be a valid integer, unable to parse string as an integer", "Input should be 'all'"])
    "Input should be a valid integer or 'all'"
    """
    first, *others = (m.partition(", unable to parse")[0] for m in messages)
    return " or ".join([first, *(m.removeprefix("Input should be ") for m in others)])


def _weights_fit(options: dict[str, Any]) -> None:
    """Raises UsageError where weights of sources are no numbers above zero, one a source."""
    weights, sources = options.get("source_weights"), options.get("source") or ()
    if not isinstance(weights, (list, tuple)):
        return
    for w in weights:
        if isinstance(w, bool) or not isinstance(w, (int, float)) or not 0 < w < float("inf"):
            raise UsageError(f"source_weights holds {w!r}", "give a number above zero for each source, or auto")
    if len(weights) != len(sources):
        n = len(sources)
        raise UsageError(
            f"there are {len(weights)} source_weights for {n} source{'' if n == 1 else 's'}",
            "give one for each source, in their order, or auto",
        )
