"""What a person gave to `JointModel`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossgraft.errors import UsageError
from crossgraft.tasks import Classify


def columns_of(classes: int | Sequence[str], source: Sequence[str] | None) -> tuple[int, list[int] | None, int]:
    """Classes of the target, which have the first columns; the source's columns, None where it has all in their order;
    and the number of all columns.

    >>> columns_of(["ant", "bee"], ["bee", "cat"])
    (2, [1, 2], 3)
    """
    if isinstance(classes, int):
        if source is not None:
            raise UsageError(
                f"classes is the number {classes} and source_classes are names", "give the names of both, in the order "
                "of their labels",
            )  # fmt: skip
        if classes < 2:
            raise UsageError(f"classes is {classes}", "give the number of classes, 2 or more")
        return classes, None, classes
    own = [str(c) for c in classes]
    others = own if source is None else [str(c) for c in source]
    for names in (own, others):
        if len(set(names)) < len(names) or len(names) < 2:
            raise UsageError(f"the classes {', '.join(names)} are not two or more different ones", "name each once")
    task = Classify.union(own, others)
    columns = task.columns(others).tolist()
    n = len(task.classes)
    return len(own), None if columns == list(range(n)) else columns, n


def feature_width(backbone: Any) -> int:
    """D of a model whose shape of outputs is known: (B, D) or (B, H, W, D). Raises UsageError for any other."""
    shape = getattr(backbone, "output_shape", None)
    if not isinstance(shape, tuple) or not all(n is None or isinstance(n, int) for n in shape):
        raise UsageError(
            "the backbone does not say what shape its one output has",
            "make it functional: x = keras.Input(shape); keras.Model(x, layers(x))",
        )
    if len(shape) not in (2, 4) or shape[-1] is None:
        raise UsageError(f"the backbone gives {shape}", "end it in one row of features an example: (B, D)")
    from keras.config import image_data_format

    width = shape[-1] if len(shape) == 2 or image_data_format() == "channels_last" else shape[1]
    return int(width)


def kind_of(loss: Any) -> str:
    """The name of a loss in small letters, without what stands between words."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return "".join(c for c in name.lower() if c.isalpha())


def listed(values: Any) -> list[Any]:
    """None, one or several as a list."""
    if values is None:
        return []
    return list(values) if isinstance(values, (list, tuple)) else [values]
