"""Rows of operations that combine, split and rearrange tensors; beside operations.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossgraft.backbones.keras_backend import imported
from crossgraft.keras.convert import Conversion, Held, constant
from crossgraft.keras.operations import OPERATIONS, refuse, row

keras = imported()
L, ops = keras.layers, keras.ops
__all__ = ["OPERATIONS"]


def _plain(x: Any, order: tuple[int, ...]) -> Any:
    """The second operand as the first has its axes; an array with the axes that it lacks in front."""
    if isinstance(x, Held):
        return x.arranged(order) if len(x.order) == len(order) else x.plain
    a = constant(x)
    return a if a.ndim == 0 else a.reshape((1,) * (len(order) - a.ndim) + a.shape).transpose(order)


def _two(a: Any, b: Any) -> tuple[Any, Any, tuple[int, ...]]:
    first = max((v for v in (a, b) if isinstance(v, Held)), key=lambda v: len(v.order))
    return _plain(a, first.order), _plain(b, first.order), first.order


def _numbers(x: np.ndarray) -> Any:
    """One number, or one a channel, for Rescaling; None for any other array."""
    if x.size == 1:
        return float(x.reshape(()))
    return [float(v) for v in x.reshape(-1)] if x.shape[-1] == x.size else None


@row("mul", "multiply")
def mul(c: Conversion, self: Any, other: Any) -> Any:
    """Rescaling by constants, Multiply of tensors."""
    if not isinstance(self, Held) and not isinstance(other, Held):
        return self * other
    a, b, order = _two(self, other)
    if isinstance(self, Held) and isinstance(other, Held):
        return Held(L.Multiply()([a, b]), order)
    x, k = (a, b) if isinstance(self, Held) else (b, a)
    numbers = _numbers(k)
    return Held(L.Rescaling(numbers)(x) if numbers is not None else ops.multiply(x, k), order)


@row("add")
def add(c: Conversion, self: Any, other: Any, alpha: float = 1) -> Any:
    """Rescaling with an offset, Add of tensors."""
    if alpha != 1:
        raise refuse("add with alpha")
    if not isinstance(self, Held) and not isinstance(other, Held):
        return self + other
    a, b, order = _two(self, other)
    if isinstance(self, Held) and isinstance(other, Held):
        return Held(L.Add()([a, b]) if len(self.order) == len(other.order) else ops.add(a, b), order)
    x, k = (a, b) if isinstance(self, Held) else (b, a)
    numbers = _numbers(k)
    return Held(L.Rescaling(1.0, numbers)(x) if numbers is not None else ops.add(x, k), order)


@row("sub", "subtract")
def sub(c: Conversion, self: Held, other: Any, alpha: float = 1) -> Held:
    """Subtraction."""
    a, b, order = _two(self, other)
    return Held(ops.subtract(a, b), order)


@row("div", "divide", "true_divide")
def div(c: Conversion, self: Any, other: Any) -> Held:
    """Division."""
    a, b, order = _two(self, other)
    return Held(ops.divide(a, b), order)


@row("mean")
def mean(c: Conversion, self: Held, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Held:
    """The mean over axes."""
    if not dim:
        raise refuse("mean over everything")
    gone = {self.axis(d) for d in dim}
    out = ops.mean(self.tensor, axis=tuple(sorted(gone)), keepdims=keepdim)
    if keepdim:
        return Held(out, self.order)
    left = [axis for i, axis in enumerate(self.order) if i not in gone]
    return Held(out, tuple(sorted(left).index(axis) for axis in left))


@row("permute")
def permute(c: Conversion, self: Held, dims: Any) -> Held:
    """Other names for the axes; nothing is moved."""
    n = len(self.order)
    new = [d % n for d in dims]
    return Held(self.tensor, tuple(new.index(axis) for axis in self.order))


@row("transpose")
def transpose(c: Conversion, self: Held, dim0: int, dim1: int) -> Held:
    """Two axes change their names."""
    dims = list(range(len(self.order)))
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return permute(c, self, dims)  # type: ignore[no-any-return]


@row("flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze")
def reshape(c: Conversion, self: Any, **given: Any) -> Any:
    """Reshape to what torch has found the shape to be."""
    if not isinstance(self, Held):
        return self.reshape(-1, *c.shape)
    before = self.tensor.shape[1:]
    if not all(isinstance(n, int) for n in c.shape) or int(np.prod(before)) != int(np.prod(c.shape, dtype=int)):
        raise refuse("a reshape of the batch")
    if len(c.shape) == 1 and all(n == 1 for n in [before[i - 1] for i, axis in enumerate(self.order) if axis > 1]):
        return Held(L.Flatten()(self.tensor), (0, 1))  # pooled maps: in any order the same
    return Held(L.Reshape(c.shape)(self.plain), tuple(range(len(c.shape) + 1)))


@row("cat")
def cat(c: Conversion, tensors: Any, dim: int = 0) -> Held:
    """Concatenate; a constant for all examples is repeated for each."""
    first = next(t for t in tensors if isinstance(t, Held))
    axis = first.axis(dim)
    if axis == 0:
        raise refuse("cat of batches")
    parts = []
    for t in tensors:
        part = _plain(t, first.order)
        if not isinstance(t, Held):
            one = (slice(None), *(slice(0, 1) if i == axis else slice(None) for i in range(1, len(first.order))))
            part = ops.add(ops.multiply(first.tensor[one], 0.0), part)
        parts.append(part)
    return Held(L.Concatenate(axis=axis)(parts), first.order)


@row("expand")
def expand(c: Conversion, self: Any, size: Any, implicit: bool = False) -> Any:
    """A constant stays one: what it meets repeats it."""
    if isinstance(self, Held) or any(n not in (1, -1, self.shape[i]) for i, n in enumerate(size) if i):
        raise refuse("expand")
    return self


@row("sym_size")
def sym_size(c: Conversion, self: Held, dim: int) -> Any:
    """Read by nobody: shapes are those that torch has found."""
    return None if dim == 0 else self.tensor.shape[self.axis(dim)]


@row("unbind")
def unbind(c: Conversion, self: Held, dim: int = 0) -> list[Held]:
    """Slices along an axis."""
    return [select(c, self, dim, i) for i in range(self.tensor.shape[self.axis(dim)])]


@row("getitem")
def getitem(c: Conversion, self: Any, index: int) -> Any:
    """One of several results."""
    return self[index]


@row("select")
def select(c: Conversion, self: Held, dim: int, index: int) -> Held:
    """One place of an axis; the axis is gone."""
    at = self.axis(dim)
    if at == 0 and dim % len(self.order) == 0 and self.tensor.shape[0] is None:
        raise refuse("select of one example")
    out = self.tensor[(*(slice(None),) * at, index)]
    left = [axis for axis in self.order if axis != dim % len(self.order)]
    return Held(out, tuple(sorted(left).index(axis) for axis in left))


@row("slice")
def cut(c: Conversion, self: Held, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Held:
    """A range of an axis."""
    if dim == 0:
        if start in (0, None) and step == 1 and (end is None or end >= 2**62):
            return self
        raise refuse("a slice of the batch")
    at = self.axis(dim)
    end = None if end is not None and end >= 2**62 else end
    return Held(self.tensor[(*(slice(None),) * at, slice(start, end, step))], self.order)


@row("matmul", "bmm")
def matmul(c: Conversion, self: Held, other: Held, mat2: Any = None) -> Held:
    """Matrix products of the last two axes."""
    a, b = self.plain, (other if mat2 is None else mat2).plain
    return Held(ops.matmul(a, b), tuple(range(len(a.shape))))


@row("scaled_dot_product_attention")
def attention(c: Conversion, query: Held, key: Held, value: Held, attn_mask: Any = None, dropout_p: float = 0.0,
              is_causal: bool = False, scale: Any = None, enable_gqa: bool = False) -> Held:  # fmt: skip
    """softmax(Q K' / sqrt d) V."""
    if attn_mask is not None or is_causal or enable_gqa:
        raise refuse("attention with a mask")
    q, k, v = query.plain, key.plain, value.plain
    turned = (*range(len(k.shape) - 2), len(k.shape) - 1, len(k.shape) - 2)
    weights = ops.matmul(ops.multiply(q, scale or q.shape[-1] ** -0.5), ops.transpose(k, turned))
    return Held(ops.matmul(ops.softmax(weights, axis=-1), v), tuple(range(len(q.shape))))
