"""Single arguments: what they must be, in a word, and the errors that say so.

The names here are for the inside of functions; what stands above them is in
`flatness._internal.checks`.
"""

from __future__ import annotations

import math
import numbers
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class KindError(TypeError, ValueError):
    """An argument of another kind than expected: no tensor, no integer, another dtype."""


class NotFinite(ValueError):
    """A value that is not finite, or not positive, where it must be; inside a checked function this
    is an overflow.
    """


class Depth(threading.local):
    """Whether this thread is inside a checked function, whose arguments an error should name."""

    inside = False


DEPTH = Depth()


def finite(name: str, *tensors: Tensor) -> None:
    """ValueError unless all entries are finite."""
    for x in tensors if not DEPTH.inside else ():
        if x.device.type != "meta" and x.dtype.is_floating_point and not x.isfinite().all():
            raise NotFinite(f"{name}: expected finite values only")


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """The integer, in low .. high; TypeError for what is no integer, ValueError for one out of
    range.

    >>> integer("n", 0, 1)
    Traceback (most recent call last):
    ValueError: n: expected an integer >= 1, got 0
    """
    if isinstance(value, Tensor) and value.ndim == 0 and value.device.type != "meta":
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise KindError(f"{name}: expected an integer, got {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        wanted = (
            f">= {low}" if high is None else f"<= {high}" if low is None else f"in {low}..{high}"
        )
        raise ValueError(f"{name}: expected an integer {wanted}, got {value}")
    return int(value)


def number(name: str, value: Any, rule: Callable | None = None) -> None:
    """TypeError unless the value is a number, ValueError unless it is finite and obeys the rule,
    one of `flatness._internal.rules`.

    >>> from flatness._internal.rules import inside
    >>> number("level", 1.0, inside(0, 1))
    Traceback (most recent call last):
    ValueError: level: expected a number in (0, 1), got 1.0
    """
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise KindError(f"{name}: expected a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    if rule is not None:
        rule(name, value, {})


def real_array(name: str, values: Any) -> np.ndarray:
    """``values`` as a float64 array; TypeError unless they are real numbers, ValueError unless all
    are finite.
    """
    if isinstance(values, Tensor):
        if values.device.type == "meta":
            raise ValueError(f"{name}: expected values, got a tensor on the meta device")
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        raise KindError(
            f"{name}: expected an array of numbers, got {type(values).__name__}"
        ) from None
    if array.dtype.kind not in "biuf":
        raise KindError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NotFinite(f"{name}: expected finite values only")
    return array.astype(float, copy=False)


def integer_array(
    name: str, values: Any, low: int | None = None, high: int | None = None
) -> np.ndarray:
    """``values`` as an array of integers in low .. high; TypeError for other numbers, ValueError
    out of range.
    """
    array = np.asarray(list(values) if isinstance(values, range | set) else values)
    if array.size and array.dtype.kind not in "iu":
        raise KindError(f"{name}: expected integers, got dtype {array.dtype}")
    if array.size and (
        (low is not None and array.min() < low) or (high is not None and array.max() > high)
    ):
        wanted = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name}: expected integers {wanted}, got {array.min()} to {array.max()}")
    return array


def network_index(index: Any, count: int, device: torch.device) -> Any:
    """What picks networks out of ``count``: a slice, or integers or truth values (k,); integers in
    -count .. count - 1.

    A tensor stays one; a single integer becomes a list of one, so that the axis of the networks
    stays.

    >>> network_index(-1, 3, torch.device("cpu"))
    [-1]
    """
    if isinstance(index, Tensor):
        if (
            index.ndim != 1
            or index.dtype.is_floating_point
            or index.dtype.is_complex
            or index.device.type == "meta" != device.type
        ):
            raise ValueError(
                f"index: expected whole numbers or truth values (k,), got {index.dtype} {tuple(index.shape)} "
                f"on {index.device}"
            )
        if index.dtype != torch.bool and index.device.type != "meta" and len(index):
            integer("index", int(index.min()), -count)
            integer("index", int(index.max()), None, count - 1)
        return index
    if isinstance(index, slice):
        return index
    return [
        integer("index", i, -count, count - 1)
        for i in ([index] if isinstance(index, int) else index)
    ]
