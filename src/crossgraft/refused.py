"""What cannot be asked of a kind of label, said as soon as the data show the kind."""

from __future__ import annotations

from crossgraft.domains.domain import SEQUENCES, SOUND, Kind, plural
from crossgraft.errors import UsageError
from crossgraft.methods import LABEL_FREE_SPOKEN, METHODS
from crossgraft.recipe import Recipe


def refuse_for(recipe: Recipe, kind: Kind, name: str, sets: bool) -> None:
    """Raises UsageError for what does not hold for domains of a kind, the first of which has this name.

    sets  whether labels are sets of classes
    """
    if recipe.task == "transcribe" and kind not in SOUND:
        raise UsageError(
            "task transcribe needs clips with transcripts", "give tables of audio files with a column transcript"
        )
    if recipe.task == "tag" and kind != "sentence":
        raise UsageError("task tag needs tagged sentences", "give CoNLL files, or JSON lines with spans or tags")
    if recipe.task == "classify" and kind == "sentence":
        raise UsageError(f"{name} holds tagged sentences", "leave out --task, or give --task tag")
    if recipe.masked_steps is not None and kind not in ("text", "sentence"):
        raise UsageError(f"masked_steps learns texts, and {name} holds {plural(kind)}", "leave it out")
    if recipe.places and kind not in SOUND:
        raise UsageError(f"places are heard, and {name} holds {plural(kind)}", "leave out --place")
    if recipe.crf:
        _chained_can(recipe, kind)
    if kind in SEQUENCES:
        _sequences_can(recipe, "tags" if kind == "sentence" else "transcripts")
    if sets:
        _sets_can(recipe, kind)


def _sets_can(recipe: Recipe, kind: Kind) -> None:
    """Raises UsageError for what does not hold for any number of classes an example."""
    if kind in SEQUENCES:
        raise UsageError(f"task multilabel is of whole examples, not of {plural(kind)}", "use tag or transcribe")
    for name in ("class_weights", "mixup"):
        if getattr(recipe, name) not in ("none", 0.0):
            raise UsageError(f"{name} is for one class an example, and labels are sets of them", "leave it out")
    if recipe.selection.startswith("label_free"):
        what = f"selection {recipe.selection} judges the probabilities of one class an example"
        raise UsageError(what, "use auto, loo, cv or target_val, which need a few labels of the target")


def _sequences_can(recipe: Recipe, what: str) -> None:
    """Raises UsageError for what does not hold for tags or transcripts yet."""
    if recipe.align == "mean":
        moved = "each speaker's frames are moved without it" if what == "transcripts" else "leave it out"
        raise UsageError(f"align mean does not hold for {what}", moved)
    if recipe.source_weights != "pooled":
        raise UsageError(f"source_weights does not hold for {what} yet", "leave it out: every row weighs the same")
    adapts = recipe.objective is not None or (recipe.method != "auto" and METHODS[recipe.method].adapts)
    if adapts and recipe.crf:
        raise UsageError("crf learns whole sentences, and methods that adapt see words", "leave out one of the two")
    free = [f"label_free:{name}" for name in LABEL_FREE_SPOKEN] if adapts and what != "tags" else []
    if recipe.selection in ("loo", "source_val") or (
        recipe.selection.startswith("label_free") and recipe.selection not in free
    ):
        raise UsageError(
            f"selection {recipe.selection} does not hold for {what} yet, whose elements are not left out one by one",
            f"use cv, which leaves out whole ones, {', '.join([*free, ''])}or target_val",
        )


def _chained_can(recipe: Recipe, kind: str) -> None:
    """Raises UsageError for what a CRF over tags cannot be asked for."""
    if kind != "sentence":
        raise UsageError("crf is a model of tags, and there are no tagged sentences", "leave it out, or see --task tag")
    if recipe.label_smoothing or recipe.class_weights != "none":
        name = "label_smoothing" if recipe.label_smoothing else "class_weights"
        raise UsageError(f"{name} changes what one word's tag costs, and a CRF learns whole sentences", "leave one out")
