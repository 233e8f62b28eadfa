"""Whether numbers are finite, in one pass over the memory, in whatever holds them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def is_finite(x: Tensor) -> bool:
    """Whether all entries are finite: so is then their sum, unless it overflows.

    >>> is_finite(torch.tensor([1.7e308, 1.7e308], dtype=torch.float64))
    True
    """
    if x.is_meta or not x.dtype.is_floating_point:  # there are no values on the meta device
        return True
    return math.isfinite(x.sum().item()) or bool(x.isfinite().all())


def all_finite(value: Any) -> bool:
    """Whether all numbers are, in tensors, arrays, lists, tuples, dictionaries and dataclasses."""
    return all(
        is_finite(part)
        if isinstance(part, Tensor)
        else math.isfinite(part)
        if isinstance(part, float)
        else part.dtype.kind != "f" or bool(np.isfinite(part).all())
        for part in parts(value)
    )


def some_finite(value: Any, count: int = 0, *_: str) -> bool:
    """Whether for one of ``count`` networks all numbers are finite; they are the first axis.

    >>> some_finite(torch.tensor([math.inf, 1.0]), 2), some_finite(torch.tensor([math.inf, 1.0]), 1)
    (True, False)
    """
    good = torch.ones(count, dtype=torch.bool)
    for part in parts(value):
        if not isinstance(part, Tensor) or not part.ndim or len(part) != count:
            return False
        good &= part.isfinite().reshape(count, -1).all(1).cpu()
    return bool(good.any())


def extreme(value: Any) -> bool:
    """Whether the square of a non-zero number leaves the floating-point numbers of its precision.

    >>> extreme({"x": torch.tensor([1.0, 1e-30])}), extreme([1e-30, 1e30])
    (True, False)
    """
    for part in parts(value):
        given = part.detach() if isinstance(part, Tensor) else torch.as_tensor(part)
        if not isinstance(part, Tensor) and isinstance(part, float):
            given = given.double()
        if given.dtype.is_floating_point:
            size = given.abs()
            square = size.square()
            if not is_finite(square) or bool(((square == 0) & (size > 0)).any()):
                return True
    return False


def parts(value: Any) -> Iterator[Any]:
    """The tensors, arrays of real numbers and floats that a value holds."""
    if isinstance(value, Tensor | float):
        yield value
    elif isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from parts(one)
    elif isinstance(value, dict):
        yield from parts(list(value.values()))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from parts([getattr(value, f.name) for f in dataclasses.fields(value)])
