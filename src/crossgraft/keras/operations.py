"""One row for each operation of torch that crossgraft's layers and most networks for pictures are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import CrossgraftError
from crossgraft.keras.convert import MAPS, OTHER, Conversion, Held, constant

keras = imported()
L, ops = keras.layers, keras.ops
OPERATIONS: dict[str, Callable[..., Any]] = {}


def row(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function in the table."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return enter


def refuse(what: str) -> CrossgraftError:
    """What has no counterpart."""
    return CrossgraftError(f"the layers use {what}, which has no counterpart here", OTHER)


def pair(v: Any) -> tuple[int, int]:
    """One number or two as two."""
    values = [v] if isinstance(v, int) else list(v)
    return (values[0], values[-1])


def padded(x: Any, pads: tuple[int, int], value: float = 0.0) -> Any:
    """Channels-last maps with rows and columns around them."""
    if not any(pads):
        return x
    if value == 0:
        return L.ZeroPadding2D(pads)(x)
    return ops.pad(x, ((0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)), constant_values=value)


@row("conv2d")
def conv2d(c: Conversion, input: Held, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Held:  # fmt: skip
    """Conv2D, or DepthwiseConv2D where each channel has kernels of its own."""
    s, d, size = pair(stride), pair(dilation), weight.shape[2:]
    whole = tuple(d[i] * (size[i] - 1) for i in (0, 1))
    p = (0, 0) if padding == "valid" else tuple(n // 2 for n in whole) if padding == "same" else pair(padding)
    x = input.arranged(MAPS)
    same = s == (1, 1) and all(2 * p[i] == whole[i] for i in (0, 1))
    x = x if same else padded(x, p)
    options: dict[str, Any] = {"padding": "same" if same else "valid", "use_bias": bias is not None}
    kernel = constant(weight).transpose(2, 3, 1, 0)
    channels = x.shape[-1]
    if groups == channels > 1 and s[0] == s[1]:
        layer = L.DepthwiseConv2D(
            size, s, depth_multiplier=len(weight) // channels, dilation_rate=d, name=c.name("depthwise"), **options
        )
        kernel = constant(weight).reshape(channels, -1, *size).transpose(2, 3, 0, 1)
    else:
        layer = L.Conv2D(len(weight), size, s, dilation_rate=d, groups=groups, name=c.name("conv"), **options)
    return Held(c.with_weights(layer, x, kernel, bias), MAPS)


def last_axis_last(x: Held) -> Held:
    """As it is where torch's last axis is the last, else with all axes as torch has them."""
    return x if x.order[-1] == len(x.order) - 1 else Held(x.plain, tuple(range(len(x.order))))


@row("linear")
def linear(c: Conversion, input: Held, weight: Any, bias: Any = None) -> Held:
    """Dense, on the last axis."""
    x = last_axis_last(input)
    layer = L.Dense(len(weight), use_bias=bias is not None, name=c.name("dense"))
    return Held(c.with_weights(layer, x.tensor, constant(weight).T, bias), x.order)


@row("batch_norm")
def batch_norm(c: Conversion, input: Held, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
               momentum: float, eps: float, cudnn_enabled: bool) -> Held:  # fmt: skip
    """BatchNormalization with its statistics."""
    if training:
        raise refuse("statistics of the batch")
    layer = L.BatchNormalization(
        axis=input.axis(1), momentum=1 - momentum, epsilon=eps, center=bias is not None, scale=weight is not None,
        name=c.name("batch_norm"),
    )  # fmt: skip
    return Held(c.with_weights(layer, input.tensor, weight, bias, running_mean, running_var), input.order)


@row("layer_norm")
def layer_norm(c: Conversion, input: Held, normalized_shape: Any, weight: Any = None, bias: Any = None,
               eps: float = 1e-5, cudnn_enable: bool = True) -> Held:  # fmt: skip
    """LayerNormalization of the last axis."""
    if len(normalized_shape) != 1:
        raise refuse("layer_norm over several axes")
    x = last_axis_last(input)
    layer = L.LayerNormalization(
        epsilon=eps, center=bias is not None, scale=weight is not None, name=c.name("layer_norm")
    )
    return Held(c.with_weights(layer, x.tensor, weight, bias), x.order)


def elementwise(make: Callable[[], Any]) -> Callable[..., Held]:
    """A row for what sees one number at a time."""

    def apply(c: Conversion, **given: Any) -> Held:
        x = given.pop("self", given.pop("input", None))
        return Held(make()(x.tensor), x.order)

    return apply


for names, maker in {
    ("relu",): lambda: L.ReLU(),
    ("relu6",): lambda: L.ReLU(max_value=6.0),
    ("sigmoid",): lambda: L.Activation("sigmoid"),
    ("silu",): lambda: L.Activation("silu"),
    ("tanh",): lambda: L.Activation("tanh"),
    ("hardswish",): lambda: L.Activation("hard_silu"),
    ("hardsigmoid",): lambda: L.Activation("hard_sigmoid"),
    ("dropout", "clone", "contiguous", "detach", "detach_", "alias"): lambda: lambda x: x,
    ("exp",): lambda: ops.exp,
    ("sqrt",): lambda: ops.sqrt,
    ("rsqrt",): lambda: ops.rsqrt,
}.items():
    row(*names)(elementwise(maker))


@row("gelu")
def gelu(c: Conversion, self: Held, approximate: str = "none") -> Held:
    """By the error function, or by tanh."""
    return Held(ops.gelu(self.tensor, approximate=approximate == "tanh"), self.order)


@row("hardtanh", "clamp")
def clip(c: Conversion, self: Held, min_val: Any = None, max_val: Any = None, min: Any = None, max: Any = None) -> Held:
    """ReLU with a largest value where that is what it is."""
    low, high = (min_val if min is None else min), (max_val if max is None else max)
    if low == 0:
        return Held(L.ReLU(max_value=None if high is None else float(high))(self.tensor), self.order)
    return Held(ops.clip(self.tensor, -np.inf if low is None else low, np.inf if high is None else high), self.order)


@row("softmax")
def softmax(c: Conversion, self: Held, dim: int, dtype: Any = None) -> Held:
    """Over one axis."""
    return Held(L.Softmax(axis=self.axis(dim))(self.tensor), self.order)


@row("to", "_to_copy")
def to(c: Conversion, self: Any, dtype: Any = None, **others: Any) -> Any:
    """Another type of number."""
    if dtype is None or not isinstance(self, Held):
        return self
    return Held(ops.cast(self.tensor, str(dtype).removeprefix("torch.")), self.order)


@row("_assert_tensor_metadata")
def nothing(c: Conversion, **given: Any) -> None:
    """Says nothing."""


@row("max_pool2d")
def max_pool2d(c: Conversion, self: Held, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False) -> Held:  # fmt: skip
    """MaxPooling2D; what is around the map is never the largest."""
    if pair(dilation) != (1, 1) or ceil_mode:
        raise refuse("max_pool2d with dilation or ceil_mode")
    x = padded(self.arranged(MAPS), pair(padding), float(np.finfo(np.float32).min))
    return Held(L.MaxPooling2D(pair(kernel_size), pair(stride or kernel_size))(x), MAPS)


@row("avg_pool2d")
def avg_pool2d(c: Conversion, self: Held, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: Any = None) -> Held:  # fmt: skip
    """AveragePooling2D."""
    if divisor_override or (any(pair(padding)) and not count_include_pad):
        raise refuse("avg_pool2d that leaves the padding out")
    x, size, step = self.arranged(MAPS), pair(kernel_size), pair(stride or kernel_size)
    rest = [(x.shape[1 + i] + 2 * pair(padding)[i] - size[i]) % step[i] for i in (0, 1)]
    if ceil_mode and any(rest):
        raise refuse("avg_pool2d with ceil_mode")
    return Held(L.AveragePooling2D(size, step)(padded(x, pair(padding))), MAPS)


@row("adaptive_avg_pool2d")
def adaptive_avg_pool2d(c: Conversion, self: Held, output_size: Any) -> Held:
    """The mean of all, or of windows of one size."""
    x, out = self.arranged(MAPS), pair(output_size)
    if out == (1, 1):
        return Held(L.GlobalAveragePooling2D(keepdims=True)(x), MAPS)
    if x.shape[1] % out[0] or x.shape[2] % out[1]:
        raise refuse(f"adaptive_avg_pool2d of {x.shape[1]} x {x.shape[2]} to {out[0]} x {out[1]}")
    return Held(L.AveragePooling2D((x.shape[1] // out[0], x.shape[2] // out[1]))(x), MAPS)


@row("pad", "constant_pad_nd")
def pad(c: Conversion, self: Held, pad: Any, mode: str = "constant", value: Any = None) -> Held:
    """Rows and columns of one number."""
    if mode != "constant":
        raise refuse(f"pad with {mode}")
    n = len(self.order)
    around = {n - 1 - i: (pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)}  # torch begins with the last axis
    widths = [around.get(axis, (0, 0)) for axis in self.order]
    if n == 4 and not value and self.order == MAPS and widths[3] == (0, 0):
        return Held(L.ZeroPadding2D((widths[1], widths[2]))(self.tensor), MAPS)
    return Held(ops.pad(self.tensor, widths, constant_values=value or 0.0), self.order)
