"""What a person gave to `JointModel`, checked."""

from __future__ import annotations

from typing import Any

from crossgraft.errors import UsageError


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
