"""What public functions require of their arguments, said once, in a line above the function.

    @checked(x=shape("n d", "M n d"), y=labels, probes=at_least(2))
    def hutchinson_trace(networks: MLPEnsemble, x: Tensor, y: Tensor, *, probes: int, ...)

From the annotations follow the kinds: tensors are floating-point and finite, all of one dtype and
on one device, together with the networks; numbers are finite, integers are integers. The rest is
given by name, with the rules of `flatness._internal.rules`: shapes, whose letters mean the same
size in every argument (M, d, m and K are also those of the networks), and ranges. A breach is a
ValueError, for what is of another kind also a TypeError, that names the argument, what was expected
and what came, before anything is computed. A result that overflows is a ValueError too: with finite
arguments nothing here returns infinity or NaN unless it says so. Inside another checked function
finiteness is not looked at again. Values on the meta device are not looked at, since there are
none.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatness._internal.arguments import (
    DEPTH,
    KindError,
    NotFinite,
    finite,
    integer,
    integer_array,
    number,
    real_array,
)
from flatness._internal.rules import USUAL, Rule, diverged

_KINDS: dict[str, Callable] = {}
_BEYOND = "the result is beyond the floating-point numbers: arguments are too large, too small or degenerate"
_DEGENERATE = (
    NotFinite,
    OverflowError,
    ZeroDivisionError,
    torch.linalg.LinAlgError,
    np.linalg.LinAlgError,
)


def checked(overflow: bool = True, **rules: Rule | None) -> Callable:
    """A decorator: the arguments are checked by their annotations and by the rules before the
    function runs.

    A rule replaces what the annotation says about the dtype; None leaves the argument unchecked.
    ``overflow=False``: the function documents results that are not finite.

    >>> from flatness._internal.rules import at_least, shape
    >>> @checked(x=shape("n d"), y=shape("n"), p=at_least(1))
    ... def total(x: Tensor, y: Tensor, p: int = 1): return x.sum() + y.sum()
    >>> total(torch.ones(2, 3), torch.ones(3))
    Traceback (most recent call last):
    ValueError: y: expected shape (n,) with n = 2, as in x, got (3,)
    """

    def decorate(function: Callable) -> Callable:
        parameters = inspect.signature(function).parameters
        names = [
            n
            for n, p in parameters.items()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        if unknown := set(rules) - set(parameters):
            raise KeyError(
                f"checked: {function.__name__} has no argument {', '.join(sorted(unknown))}"
            )
        kinds = {n: _own if n == "self" else _kind(p.annotation) for n, p in parameters.items()}
        optional = {
            n for n, p in parameters.items() if p.default is None or "None" in str(p.annotation)
        }

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            sizes: dict[str, tuple[int, str]] = {}
            like: list[tuple[str, torch.dtype, torch.device]] = []
            given = [*zip(names, args), *kwargs.items()]
            for name, value in given:
                rule = rules.get(name, USUAL)
                if name not in kinds or rule is None or (value is None and name in optional):
                    continue
                if kinds[name] is not None:
                    kinds[name](name, value, like, sizes, getattr(rule, "real", True))
                rule(name, value, sizes)
            if DEPTH.inside:  # of another checked function, whose arguments an error should name
                return function(*args, **kwargs)
            DEPTH.inside = True
            try:
                with np.errstate(all="ignore"):
                    result = function(*args, **kwargs)
            except _DEGENERATE as error:
                raise ValueError(f"{_listed(given)}: {_BEYOND} ({error})") from error
            except (RuntimeError, NotImplementedError) as error:
                if not any(device.type == "meta" for _, _, device in like):
                    raise
                raise ValueError(
                    f"{_listed(given)}: this needs values, got tensors on the meta device"
                ) from error
            finally:
                DEPTH.inside = False
            if not overflow or _finite(result):
                return result
            if all(
                _finite(value)
                for name, value in given
                if rules.get(name) is diverged or name == "self"
            ):
                raise ValueError(f"{_listed(given)}: {_BEYOND}")
            return result

        return wrapper

    return decorate


def _listed(given: list[tuple[str, Any]]) -> str:
    return ", ".join(
        "networks" if name == "self" else name
        for name, value in given
        if not isinstance(value, bool | str | torch.Generator)
    )


def _finite(result: Any) -> bool:
    if isinstance(result, Tensor):
        return (
            result.device.type == "meta"
            or not result.dtype.is_floating_point
            or bool(result.isfinite().all())
        )
    if isinstance(result, np.ndarray):
        return result.dtype.kind != "f" or bool(np.isfinite(result).all())
    if isinstance(result, float):
        return math.isfinite(result)
    if isinstance(result, tuple | list):
        return all(map(_finite, result))
    if isinstance(result, dict):
        return all(map(_finite, result.values()))
    if dataclasses.is_dataclass(result):
        return all(_finite(getattr(result, f.name)) for f in dataclasses.fields(result))
    return True


# kinds, by annotation


def _tensor(name, x, like, sizes, real) -> None:
    if not isinstance(x, Tensor):
        raise KindError(f"{name}: expected a tensor, got {type(x).__name__}")
    _same_place(name, x.dtype if real else None, x.device, like)
    if real and not x.dtype.is_floating_point:
        raise KindError(f"{name}: expected floating-point numbers, got {x.dtype}")
    if x.dtype.is_complex:
        raise KindError(f"{name}: expected real numbers, got {x.dtype}")
    finite(name, x)


def _same_place(name, dtype, device, like) -> None:
    for other, its_dtype, its_device in like:
        if dtype is not None and its_dtype is not None and dtype != its_dtype:
            raise KindError(f"{name}: expected dtype {its_dtype}, that of {other}, got {dtype}")
        if device != its_device:
            raise ValueError(
                f"{name}: expected the device {its_device}, that of {other}, got {device}"
            )
    like.append((name, dtype, device))


def _networks(name, networks, like, sizes, real) -> None:
    from flatness.networks.mlp import MLPEnsemble

    if not isinstance(networks, MLPEnsemble):
        raise KindError(f"{name}: expected an MLPEnsemble, got {type(networks).__name__}")
    _same_place(name, networks.dtype, networks.device, like)
    if real:
        finite(name, *networks.parameters().values())
    for letter, size in (
        ("M", len(networks)),
        ("d", networks.widths[0]),
        ("K", networks.widths[-1]),
    ):
        sizes.setdefault(letter, (size, name))


def _own(name, networks, like, sizes, real) -> None:
    """The networks whose method it is; they may have left the finite numbers."""
    from flatness.networks.mlp import MLPEnsemble
    from flatness.networks.two_layer import TwoLayer

    if isinstance(networks, MLPEnsemble):
        _networks("networks", networks, like, sizes, False)
    elif isinstance(networks, TwoLayer):
        _two_layer("networks", networks, like, sizes, False)


def _two_layer(name, net, like, sizes, real) -> None:
    from flatness.networks.two_layer import TwoLayer

    if not isinstance(net, TwoLayer):
        raise KindError(f"{name}: expected a TwoLayer, got {type(net).__name__}")
    _same_place(name, net.a.dtype, net.a.device, like)
    for letter, size in (("M", net.count), ("m", net.width), ("d", net.dim)):
        sizes.setdefault(letter, (size, name))


def _activation(name, activation, like, sizes, real) -> None:
    from flatness.networks.activations import Activation

    if not isinstance(activation, Activation):
        raise KindError(f"{name}: expected an Activation, got {type(activation).__name__}")


def _generator(name, generator, like, sizes, real) -> None:
    if not isinstance(generator, torch.Generator):
        raise KindError(f"{name}: expected a torch.Generator, got {type(generator).__name__}")


def _array(name, values, like, sizes, real) -> None:
    if not isinstance(values, np.ndarray):
        raise KindError(f"{name}: expected an array, got {type(values).__name__}")
    if values.dtype.kind not in "biuf" + ("" if real else "O"):
        raise KindError(f"{name}: expected real numbers, got dtype {values.dtype}")
    if values.dtype.kind == "f" and not DEPTH.inside and not np.isfinite(values).all():
        raise NotFinite(f"{name}: expected finite values only")


def _integer(name, value, like, sizes, real) -> None:
    integer(name, value)


def _number(name, value, like, sizes, real) -> None:
    number(name, value)


def _samples(name, values, like, sizes, real) -> None:
    real_array(name, values)


def _integers(name, values, like, sizes, real) -> None:
    integer_array(name, values)


_KINDS |= {
    "Tensor": _tensor,
    "torch.Tensor": _tensor,
    "MLPEnsemble": _networks,
    "TwoLayer": _two_layer,
    "Activation": _activation,
    "torch.Generator": _generator,
    "np.ndarray": _array,
    "int": _integer,
    "float": _number,
    "Sequence[float]": _samples,
    "Sequence[int]": _integers,
}


def _kind(annotation: Any) -> Callable | None:
    if isinstance(annotation, type):
        annotation = {np.ndarray: "np.ndarray"}.get(annotation, annotation.__name__)
    annotation = str(annotation)
    return _KINDS.get(annotation.removesuffix(" | None"))
