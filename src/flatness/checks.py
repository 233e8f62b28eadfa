"""What public functions require of their arguments, said once, in a line above the function.

    @checked(x=shape("n d", "M n d"), y=labels, probes=at_least(2))
    def hutchinson_trace(networks: MLPEnsemble, x: Tensor, y: Tensor, *, probes: int, ...)

From the annotations follow the kinds: tensors are floating-point and finite, all of one dtype and on one device,
together with the networks; numbers are finite, integers are integers. The rest is given by name: shapes, whose letters
mean the same size in every argument (M, d, m and K are also those of the networks), and ranges. A breach is a
ValueError, for what is of another kind also a TypeError, that names the argument, what was expected and what came,
before anything is computed. A result that overflows is a ValueError too: with finite arguments nothing here returns
infinity or NaN unless it says so. Inside another checked function only kinds and shapes are looked at.
Values on the meta device are not looked at, since there are none.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rule = Callable[[str, Any, "dict[str, tuple[int, str]]"], None]
_KINDS: dict[str, Callable] = {}
_BEYOND = "the result is beyond the floating-point numbers: arguments are too large, too small or degenerate"


class KindError(TypeError, ValueError):
    """An argument of another kind than expected: no tensor, no integer, another dtype."""


class NotFinite(ValueError):
    """A value that is not finite, or not positive, where it must be; inside a checked function this is an overflow."""


_DEGENERATE = (NotFinite, OverflowError, ZeroDivisionError, torch.linalg.LinAlgError, np.linalg.LinAlgError)


class _Depth(threading.local):
    inside = False


_depth = _Depth()


def checked(overflow: bool = True, **rules: Rule | None) -> Callable:
    """A decorator: the arguments are checked by their annotations and by the rules before the function runs.

    A rule replaces what the annotation says about the dtype; None leaves the argument unchecked.
    ``overflow=False``: the function documents results that are not finite.

    >>> @checked(x=shape("n d"), y=shape("n"), p=at_least(1))
    ... def total(x: Tensor, y: Tensor, p: int = 1): return x.sum() + y.sum()
    >>> total(torch.ones(2, 3), torch.ones(3))
    Traceback (most recent call last):
    ValueError: y: expected shape (n,) with n = 2, as in x, got (3,)
    """
    def decorate(function: Callable) -> Callable:
        parameters = inspect.signature(function).parameters
        names = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if unknown := set(rules) - set(parameters):
            raise KeyError(f"checked: {function.__name__} has no argument {', '.join(sorted(unknown))}")
        kinds = {n: _own if n == "self" else _kind(p.annotation) for n, p in parameters.items()}
        optional = {n for n, p in parameters.items() if p.default is None or "None" in str(p.annotation)}

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            sizes: dict[str, tuple[int, str]] = {}
            like: list[tuple[str, torch.dtype, torch.device]] = []
            given = [*zip(names, args), *kwargs.items()]
            for name, value in given:
                rule = rules.get(name, _USUAL)
                if name not in kinds or rule is None or (value is None and name in optional):
                    continue
                if kinds[name] is not None:
                    kinds[name](name, value, like, sizes, getattr(rule, "real", True))
                rule(name, value, sizes)
            if _depth.inside:  # of another checked function, whose arguments an error should name
                return function(*args, **kwargs)
            _depth.inside = True
            try:
                with np.errstate(all="ignore"):
                    result = function(*args, **kwargs)
            except _DEGENERATE as error:
                raise ValueError(f"{_listed(given)}: {_BEYOND} ({error})") from error
            except (RuntimeError, NotImplementedError) as error:
                if not any(device.type == "meta" for _, _, device in like):
                    raise
                raise ValueError(f"{_listed(given)}: this needs values, got tensors on the meta device") from error
            finally:
                _depth.inside = False
            if not overflow or _finite(result):
                return result
            if all(_finite(value) for name, value in given if rules.get(name) is diverged or name == "self"):
                raise ValueError(f"{_listed(given)}: {_BEYOND}")
            return result

        return wrapper
    return decorate


def _listed(given: list[tuple[str, Any]]) -> str:
    return ", ".join("networks" if name == "self" else name for name, value in given
                     if not isinstance(value, bool | str | torch.Generator))


def _finite(result: Any) -> bool:
    if isinstance(result, Tensor):
        return result.device.type == "meta" or not result.dtype.is_floating_point or bool(result.isfinite().all())
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
            raise ValueError(f"{name}: expected the device {its_device}, that of {other}, got {device}")
    like.append((name, dtype, device))


def finite(name: str, *tensors: Tensor) -> None:
    """ValueError unless all entries are finite."""
    for x in tensors if not _depth.inside else ():
        if x.device.type != "meta" and x.dtype.is_floating_point and not x.isfinite().all():
            raise NotFinite(f"{name}: expected finite values only")


def _networks(name, networks, like, sizes, real) -> None:
    from flatness.networks import MLPEnsemble

    if not isinstance(networks, MLPEnsemble):
        raise KindError(f"{name}: expected an MLPEnsemble, got {type(networks).__name__}")
    _same_place(name, networks.dtype, networks.device, like)
    if real:
        finite(name, *networks.parameters().values())
    for letter, size in (("M", len(networks)), ("d", networks.widths[0]), ("K", networks.widths[-1])):
        sizes.setdefault(letter, (size, name))


def _own(name, networks, like, sizes, real) -> None:
    """The networks whose method it is; they may have left the finite numbers."""
    from flatness.networks import MLPEnsemble
    from flatness.two_layer import TwoLayer

    if isinstance(networks, MLPEnsemble):
        _networks("networks", networks, like, sizes, False)
    elif isinstance(networks, TwoLayer):
        _two_layer("networks", networks, like, sizes, False)


def _two_layer(name, net, like, sizes, real) -> None:
    from flatness.two_layer import TwoLayer

    if not isinstance(net, TwoLayer):
        raise KindError(f"{name}: expected a TwoLayer, got {type(net).__name__}")
    _same_place(name, net.a.dtype, net.a.device, like)
    for letter, size in (("M", net.count), ("m", net.width), ("d", net.dim)):
        sizes.setdefault(letter, (size, name))


def _activation(name, activation, like, sizes, real) -> None:
    from flatness.activations import Activation

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
    if values.dtype.kind == "f" and not _depth.inside and not np.isfinite(values).all():
        raise NotFinite(f"{name}: expected finite values only")


def _integer(name, value, like, sizes, real) -> None:
    integer(name, value)


def _number(name, value, like, sizes, real) -> None:
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise KindError(f"{name}: expected a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")


def _samples(name, values, like, sizes, real) -> None:
    real_array(name, values)


def _integers(name, values, like, sizes, real) -> None:
    integer_array(name, values)


_KINDS |= {
    "Tensor": _tensor, "torch.Tensor": _tensor, "MLPEnsemble": _networks, "TwoLayer": _two_layer, "Activation": _activation,
    "torch.Generator": _generator, "np.ndarray": _array, "int": _integer, "float": _number, "Sequence[float]": _samples,
    "Sequence[int]": _integers,
}


def _kind(annotation: Any) -> Callable | None:
    if isinstance(annotation, type):
        annotation = {np.ndarray: "np.ndarray"}.get(annotation, annotation.__name__)
    annotation = str(annotation)
    return _KINDS.get(annotation.removesuffix(" | None"))


# rules, by name


def _USUAL(name: str, value: Any, sizes: dict[str, tuple[int, str]]) -> None:
    """Nothing beyond the annotation."""


def _rule(real: bool = True) -> Callable[[Rule], Rule]:
    def mark(rule: Rule) -> Rule:
        rule.real = real
        return rule
    return mark


def shape(*shapes: str, real: bool = True) -> Rule:
    """The shape is one of these, letters or numbers apart by spaces; "n?" may be 0, other sizes are at least 1."""
    wanted = [s.split() for s in shapes]

    @_rule(real)
    def rule(name, value, sizes):
        size = tuple(np.shape(value)) if not isinstance(value, Tensor) else tuple(value.shape)
        for letters in wanted:
            if len(letters) == len(size) and all(_fits(s, letter, sizes) for s, letter in zip(size, letters)):
                for s, letter in zip(size, letters):
                    sizes.setdefault(letter.rstrip("?"), (s, name))
                return
        letters = dict.fromkeys(k.rstrip("?") for w in wanted for k in w)
        known = [f"{k} = {sizes[k][0]}, as in {sizes[k][1]}" for k in letters
                 if k in sizes and sizes[k][1] != name]
        text = " or ".join(f"({', '.join(w).replace('?', '')}{',' * (len(w) == 1)})" for w in wanted)
        free = " of sizes >= 1" if not known else ""
        raise ValueError(f"{name}: expected shape {text}{free}{' with ' if known else ''}{'; '.join(known)}, got "
                         f"{size}")
    return rule


def _fits(size: int, letter: str, sizes: dict[str, tuple[int, str]]) -> bool:
    if letter.isdigit():
        return size == int(letter)
    key = letter.rstrip("?")
    return size == sizes[key][0] if key in sizes else size >= 1 or letter.endswith("?")


def inputs(name: str, x: Tensor, sizes: dict[str, tuple[int, str]]) -> None:
    """Inputs of two-layer networks: (n, d) shared, (M, n, d) per network; a single network takes several sets (M, "
    "n, d)."""
    single = sizes["M"][0] == 1 or (x.ndim == 3 and x.shape[0] == 1)
    known = {k: v for k, v in sizes.items() if k != "M"} if single else sizes
    shape("n d", "M n d")(name, x, known)
    sizes |= {"n": known["n"]} | ({"M": (max(sizes["M"][0], x.shape[0]), name)} if x.ndim == 3 else {})


def values(name: str, y: Tensor, sizes: dict[str, tuple[int, str]]) -> None:
    """Labels of `inputs`: (n,) or (M, n)."""
    shape("n", "M n", "1 n")(name, y, sizes)


@_rule(real=False)
def labels(name: str, y: Tensor, sizes: dict[str, tuple[int, str]]) -> None:
    """Int64 classes (n,), 0 to K - 1."""
    classes = f"0 to {sizes['K'][0] - 1}" if "K" in sizes else "0 to K - 1"
    n = sizes["n"][0] if "n" in sizes else "n"
    whole = isinstance(y, Tensor) and y.dtype == torch.int64 and y.ndim == 1
    if not whole or not len(y) or len(y) != sizes.get("n", (len(y),))[0]:
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        beside = f" ({n} as in {sizes['n'][1]})" if "n" in sizes else ""
        raise KindError(f"{name}: expected {n} int64 classes {classes}{beside}, got {got}")
    sizes.setdefault("n", (len(y), name))
    if y.device.type != "meta":
        low, high = int(y.min()), int(y.max())
        if low < 0 or ("K" in sizes and high >= sizes["K"][0]):
            raise ValueError(f"{name}: expected classes {classes}, got {low} to {high}")


@_rule(real=False)
def any_dtype(name: str, value: Any, sizes: dict[str, tuple[int, str]]) -> None:
    """Whole numbers, truth values or anything finite: the function looks at it itself."""


@_rule(real=False)
def diverged(name: str, value: Any, sizes: dict[str, tuple[int, str]]) -> None:
    """Networks that may have left the finite numbers."""


@_rule(real=False)
def whole(name: str, value: Tensor, sizes: dict[str, tuple[int, str]]) -> None:
    """A tensor (k,) of integers."""
    if isinstance(value, Tensor) and (value.dtype.is_floating_point or value.dtype == torch.bool or value.ndim != 1):
        raise KindError(f"{name}: expected integers of shape (k,), got {value.dtype} {tuple(value.shape)}")
    if isinstance(value, Tensor) and value.device.type == "meta":
        raise ValueError(f"{name}: expected values, got a tensor on the meta device")


def at_least(low: float) -> Rule:
    """value >= low."""
    return _range(lambda v: v >= low, f">= {low:g}")


def above(low: float) -> Rule:
    """value > low."""
    return _range(lambda v: v > low, *(("", "a positive number") if not low else (f"> {low:g}",)))


def between(low: float, high: float) -> Rule:
    """low <= value <= high."""
    return _range(lambda v: (low <= v) & (v <= high), f"in [{low:g}, {high:g}]")


def inside(low: float, high: float) -> Rule:
    """low < value < high."""
    return _range(lambda v: (low < v) & (v < high), f"in ({low:g}, {high:g})")


def _range(holds: Callable, text: str, said: str = "") -> Rule:
    @_rule()
    def rule(name, value, sizes):
        if isinstance(value, Tensor) and value.device.type == "meta":
            return
        if not (holds(value).all() if isinstance(value, Tensor) else np.all(holds(np.asarray(value)))):
            several = "a number " if isinstance(value, numbers.Real) else "numbers "
            kind = NotFinite if _depth.inside and isinstance(value, Tensor) else ValueError  # inside, it was computed, not given
            raise kind(f"{name}: expected {said or several + text}, got {value}")
    return rule


def both(*rules: Rule) -> Rule:
    """All of the rules."""
    @_rule(all(getattr(rule, "real", True) for rule in rules))
    def rule(name, value, sizes):
        for one in rules:
            one(name, value, sizes)
    return rule


def one_of(*choices: str) -> Rule:
    """One of the words."""
    @_rule()
    def rule(name, value, sizes):
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    return rule


def several(kind: type, what: str, low: int = 1) -> Rule:
    """A sequence of at least ``low`` objects of a kind."""
    @_rule()
    def rule(name, value, sizes):
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or len(value) < low or not all(isinstance(v, kind) for v in value):
            raise ValueError(f"{name}: expected at least {low} {what}, got {value!r}"[:300])
    return rule


def a(kind: type | tuple[type, ...], what: str = "") -> Rule:
    """An object of a kind."""
    @_rule()
    def rule(name, value, sizes):
        if not isinstance(value, kind):
            raise KindError(f"{name}: expected {what or 'a ' + kind.__name__}, got {type(value).__name__}")
    return rule


# single checks, for the inside of functions


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """The integer, in low .. high; TypeError for what is no integer, ValueError for one out of range.

    >>> integer("n", 0, 1)
    Traceback (most recent call last):
    ValueError: n: expected an integer >= 1, got 0
    """
    if isinstance(value, Tensor) and value.ndim == 0 and value.device.type != "meta":
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise KindError(f"{name}: expected an integer, got {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        wanted = f">= {low}" if high is None else f"<= {high}" if low is None else f"in {low}..{high}"
        raise ValueError(f"{name}: expected an integer {wanted}, got {value}")
    return int(value)


def number(name: str, value: Any, rule: Rule = _USUAL) -> None:
    """TypeError unless the value is a number, ValueError unless it is finite and obeys the rule.

    >>> number("level", 1.0, inside(0, 1))
    Traceback (most recent call last):
    ValueError: level: expected a number in (0, 1), got 1.0
    """
    _number(name, value, [], {}, True)
    rule(name, value, {})


def real_array(name: str, values: Any) -> np.ndarray:
    """``values`` as a float64 array; TypeError unless they are real numbers, ValueError unless all are finite."""
    if isinstance(values, Tensor):
        if values.device.type == "meta":
            raise ValueError(f"{name}: expected values, got a tensor on the meta device")
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        raise KindError(f"{name}: expected an array of numbers, got {type(values).__name__}") from None
    if array.dtype.kind not in "biuf":
        raise KindError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NotFinite(f"{name}: expected finite values only")
    return array.astype(float, copy=False)


def integer_array(name: str, values: Any, low: int | None = None, high: int | None = None) -> np.ndarray:
    """``values`` as an array of integers in low .. high; TypeError for other numbers, ValueError out of range."""
    array = np.asarray(list(values) if isinstance(values, range | set) else values)
    if array.size and array.dtype.kind not in "iu":
        raise KindError(f"{name}: expected integers, got dtype {array.dtype}")
    if array.size and ((low is not None and array.min() < low) or (high is not None and array.max() > high)):
        wanted = f">= {low}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{name}: expected integers {wanted}, got {array.min()} to {array.max()}")
    return array
