"""What an annotation says about an argument: its kind, found once, when a function is defined.

A kind is a function (name, value, met, real) that raises where the value is of another kind; it
adds the dtype, the device and the sizes of the value to what was met before it in the same call.
``real`` is False where the values need not be finite floating-point numbers. Classes that hold
tensors tell their kind by `register`; every other class is asked for by ``isinstance``. An
annotation that none of this understands is refused when the function is defined.
"""

from __future__ import annotations

import collections.abc
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from flatness._internal.arguments import (
    KindError,
    NotFinite,
    finite,
    integer,
    integer_array,
    number,
    real_array,
)

Sizes = dict[str, tuple[int, str]]


@dataclass(slots=True)
class Met:
    """What the arguments before have said: the sizes of letters, the dtypes and the devices."""

    sizes: Sizes = field(default_factory=dict)
    places: list[tuple[str, torch.dtype | None, torch.device]] = field(default_factory=list)

    def same_place(self, name: str, dtype: torch.dtype | None, device: torch.device) -> None:
        """One dtype and one device for all tensors and networks of a call."""
        for other, its_dtype, its_device in self.places:
            if dtype is not None and its_dtype is not None and dtype != its_dtype:
                raise KindError(f"{name}: expected dtype {its_dtype}, that of {other}, got {dtype}")
            if device != its_device:
                raise ValueError(
                    f"{name}: expected the device {its_device}, that of {other}, got {device}"
                )
        self.places.append((name, dtype, device))


HALF = (torch.float16, torch.bfloat16)
Kind = Callable[[str, Any, Met, bool], None]


def register(
    cls: type,
    sizes: Callable[[Any], dict[str, int]],
    tensors: Callable[[Any], Iterable[Tensor]],
) -> None:
    """Makes a class of networks a kind of its own: the letters of its sizes, and its tensors, the
    first of which has the dtype and the device of all.
    """

    def kind(name: str, networks: Any, met: Met, real: bool) -> None:
        if not isinstance(networks, cls):
            article = "an" if cls.__name__[0] in "AEIOM" else "a"
            raise KindError(
                f"{name}: expected {article} {cls.__name__}, got {type(networks).__name__}"
            )
        parameters = tuple(tensors(networks))
        if parameters[0].dtype in HALF:
            raise KindError(
                f"{name}: expected float32 or float64, got {parameters[0].dtype}, in which sums "
                "lose their digits; convert them, an MLPEnsemble with .to(dtype=torch.float64)"
            )
        met.same_place(name, parameters[0].dtype, parameters[0].device)
        if real:
            finite(name, *parameters)
        for letter, size in sizes(networks).items():
            met.sizes.setdefault(letter, (size, name))

    _KINDS[cls] = kind


def owner(name: str, value: Any, met: Met, real: bool) -> None:
    """The object whose method it is; networks among them may have left the finite numbers."""
    if kind := _KINDS.get(type(value)):
        kind("networks", value, met, False)


def kind_of(annotation: Any) -> Kind:
    """The kind of an annotation; TypeError for one that is not understood.

    >>> kind_of(float | None)("level", "text", Met(), True)
    Traceback (most recent call last):
    flatness._internal.arguments.KindError: level: expected a number, got 'text'
    >>> kind_of(Any)
    Traceback (most recent call last):
    TypeError: no kind of argument: typing.Any
    """
    if annotation in _KINDS:
        return _KINDS[annotation]
    members = _members(annotation)
    if len(members) > 1:
        return _union([(_classes(member), kind_of(member)) for member in members], annotation)
    if members != (annotation,):
        return kind_of(members[0])
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is collections.abc.Sequence and parts[0] in (int, float):
        return _samples if parts[0] is float else _integers
    if origin is collections.abc.Sequence or origin is list:
        return _entries(origin, _classes(parts[0]), annotation)
    return _instance(_classes(annotation), annotation)


def each(kind: Kind) -> Kind:
    """The kind of ``*arguments``, all of one kind."""

    def kinds(name: str, values: Any, met: Met, real: bool) -> None:
        for value in values:
            kind(name, value, met, real)

    return kinds


def is_callback(annotation: Any) -> bool:
    """Whether it is a function of the caller's that is asked for."""
    return all(
        (typing.get_origin(member) or member) is collections.abc.Callable
        for member in _members(annotation)
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives, None left out."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(a for a in typing.get_args(annotation) if a is not type(None))
    return (annotation,)


_ABSTRACT: dict[Any, tuple[type, ...]] = {
    float: (numbers.Real,),
    int: (numbers.Integral,),
    bool: (bool, np.bool_),
}


def _classes(annotation: Any) -> tuple[type, ...]:
    """What a value must be an instance of."""
    found: tuple[type, ...] = ()
    for member in _members(annotation):
        asked = typing.get_origin(member) or member
        try:
            isinstance(None, asked)
        except TypeError:
            raise TypeError(f"no kind of argument: {annotation}") from None
        if asked is object or isinstance(asked, typing.TypeVar) or asked is inspect.Parameter.empty:
            raise TypeError(f"no kind of argument: {annotation}")
        if asked is collections.abc.Sequence and typing.get_args(member)[0] in (int, float):
            asked = collections.abc.Iterable  # arrays, tensors and columns of a table as well
        found += _ABSTRACT.get(asked, (asked,))
    return found


def _said(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text.replace("collections.abc.", "").replace("typing.", "").replace("torch.", "")


def _instance(classes: tuple[type, ...], annotation: Any) -> Kind:
    wanted = _said(typing.get_origin(annotation) or annotation)

    def kind(name: str, value: Any, met: Met, real: bool) -> None:
        if not isinstance(value, classes):
            raise KindError(f"{name}: expected a {wanted}, got {type(value).__name__}")

    return kind


def _entries(container: Any, classes: tuple[type, ...], annotation: Any) -> Kind:
    wanted = _said(typing.get_args(annotation)[0])

    def kind(name: str, value: Any, met: Met, real: bool) -> None:
        if not isinstance(value, container) or isinstance(value, str):
            raise KindError(f"{name}: expected a sequence, got {type(value).__name__}")
        for i, entry in enumerate(value):
            if not isinstance(entry, classes):
                raise KindError(f"{name}[{i}]: expected a {wanted}, got {entry!r}"[:300])

    return kind


def _union(members: list[tuple[tuple[type, ...], Kind]], annotation: Any) -> Kind:
    def kind(name: str, value: Any, met: Met, real: bool) -> None:
        for classes, member in members:
            if isinstance(value, classes):
                return member(name, value, met, real)
        raise KindError(f"{name}: expected {_said(annotation)}, got {value!r}"[:300])

    return kind


def _tensor(name: str, x: Any, met: Met, real: bool) -> None:
    if not isinstance(x, Tensor):
        raise KindError(f"{name}: expected a tensor, got {type(x).__name__}")
    met.same_place(name, x.dtype if real else None, x.device)
    if real and not x.dtype.is_floating_point:
        raise KindError(f"{name}: expected floating-point numbers, got {x.dtype}")
    if x.dtype.is_complex:
        raise KindError(f"{name}: expected real numbers, got {x.dtype}")
    finite(name, x)


def _array(name: str, values: Any, met: Met, real: bool) -> None:
    if not isinstance(values, np.ndarray):
        raise KindError(f"{name}: expected an array, got {type(values).__name__}")
    if values.dtype.kind not in "biuf" + ("" if real else "O"):
        raise KindError(f"{name}: expected real numbers, got dtype {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise NotFinite(f"{name}: expected finite values only")


def _integer(name: str, value: Any, met: Met, real: bool) -> None:
    integer(name, value)


def _number(name: str, value: Any, met: Met, real: bool) -> None:
    number(name, value)


def _samples(name: str, values: Any, met: Met, real: bool) -> None:
    real_array(name, values)


def _integers(name: str, values: Any, met: Met, real: bool) -> None:
    integer_array(name, values)


_KINDS: dict[Any, Kind] = {
    Tensor: _tensor,
    np.ndarray: _array,
    ArrayLike: _samples,
    int: _integer,
    float: _number,
}
