"""What public functions require of their arguments, said once, in a line above the function.

    @checked(x=rules.shape("n d", "M n d"), y=rules.labels, probes=rules.at_least(2))
    def hutchinson_trace(networks: MLPEnsemble, x: Tensor, y: Tensor, *, probes: int, ...)

From the annotations follow the kinds (`flatness._internal.kinds`): tensors are floating-point and
finite, all of one dtype and on one device, together with the networks; numbers are finite, integers
are integers, everything else is an instance of its class. The rest is given by name, with the rules
of `flatness._internal.rules`: shapes, whose letters mean the same size in every argument (M, d, m
and K are also those of the networks), and ranges. Arguments are looked at in the order of the
signature, however they were passed. A breach is a ValueError, for what is of another kind also a
TypeError, that names the argument, what was expected and what came, before anything is computed.

The doors are looked at where the caller stands: a checked function that is called by another one
runs as it is. A function that the caller passed in (``on_check``) stands outside again.

A result that overflows is a ValueError too: with finite arguments nothing here returns infinity or
NaN unless it says so. Where the networks of an ensemble stand apart (`rules.diverged`) it is one
only if no network is left that has finite results: one bad network never costs the others. A
division by zero or a singular matrix inside is put down to the arguments only if one of them is
*extreme*: it holds a number whose square is infinite or zero in its precision. Otherwise the error
passes unchanged.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch

from flatness._internal.arguments import INSIDE, NotFinite
from flatness._internal.finiteness import all_finite, extreme, some_finite
from flatness._internal.kinds import Kind, Met, each, is_callback, kind_of, owner
from flatness._internal.rules import USUAL, Rule, diverged, is_real

F = TypeVar("F", bound=Callable[..., Any])

_BEYOND = "the result is beyond the floating-point numbers"
_SINGULAR = (ZeroDivisionError, torch.linalg.LinAlgError, np.linalg.LinAlgError)


class Door(NamedTuple):
    """An argument that is looked at; ``real``: its numbers must be finite floating-point numbers;
    ``optional``: None will do; ``callback``: a function of the caller's.
    """

    name: str
    kind: Kind
    rule: Rule
    real: bool
    optional: bool
    callback: bool


def checked(overflow: bool = True, **rules: Rule | None) -> Callable[[F], F]:
    """A decorator: the arguments are checked by their annotations and by the rules before the
    function runs.

    A rule with ``real`` False replaces what the annotation says about the dtype; None leaves the
    argument unchecked. ``overflow=False``: the function documents results that are not finite.
    TypeError at once for an annotation that is not understood, or a rule for no argument.

    >>> from flatness._internal.rules import at_least, shape
    >>> from torch import Tensor
    >>> @checked(x=shape("n d"), y=shape("n"), p=at_least(1))
    ... def total(x: Tensor, y: Tensor, p: int = 1): return x.sum() + y.sum()
    >>> total(y=torch.ones(3), x=torch.ones(2, 3))
    Traceback (most recent call last):
    ValueError: y: expected shape (n,) with n = 2, as in x, got (3,)
    """

    def decorate(function: F) -> F:
        doors = _doors(function, rules)
        names, rest = _places(function)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            given = dict(zip(names, args)) | kwargs
            more = args[len(names) :]
            if (
                INSIDE.get()
                or (more and not rest)
                or len(given) + len(more) < len(args) + len(kwargs)
            ):
                return function(*args, **kwargs)  # in the last two cases Python says what is wrong
            if rest:
                given[rest] = more
            met = Met()
            raised: list[BaseException] = []
            for name, kind, rule, real, optional, callback in doors:
                if name not in given or (optional and given[name] is None):
                    continue
                kind(name, given[name], met, real)
                rule(name, given[name], met.sizes)
                if callback:
                    given[name] = _outside(given[name], raised)
            inside = INSIDE.set(True)
            try:
                with np.errstate(all="ignore"):
                    result = function(
                        *map(given.get, names[: len(args)]), *more, **{k: given[k] for k in kwargs}
                    )
            except (NotFinite, OverflowError, *_SINGULAR) as error:
                if error in raised or (isinstance(error, _SINGULAR) and not extreme(given)):
                    raise
                raise ValueError(f"{_listed(given, doors)}: {_BEYOND} ({error})") from error
            finally:
                INSIDE.reset(inside)
            if (
                overflow
                and not all_finite(result)
                and not _went_in(given, rules)
                and not (
                    diverged in rules.values() and some_finite(result, *met.sizes.get("M", ()))
                )
            ):
                raise ValueError(f"{_listed(given, doors)}: {_BEYOND}")
            return result

        return cast(F, wrapper)

    return decorate


def _places(function: Callable[..., Any]) -> tuple[list[str], str]:
    """The names of the arguments that may be given by position, and that of ``*arguments``."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return names, next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")


def _doors(function: Callable[..., Any], rules: dict[str, Rule | None]) -> list[Door]:
    """What is looked at, in the order of the signature."""
    parameters = inspect.signature(function).parameters
    if unknown := set(rules) - set(parameters):
        raise TypeError(f"{function.__qualname__}: no argument {', '.join(sorted(unknown))}")
    doors: list[Door] = []
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_KEYWORD):
            raise TypeError(f"{function.__qualname__}: {name} cannot be checked by name")
        rule = rules.get(name, USUAL)
        if rule is None:
            continue
        if name == "self":
            doors.append(Door(name, owner, rule, False, False, False))
            continue
        annotation = parameter.annotation
        try:
            if isinstance(annotation, str):
                told = types.SimpleNamespace(__annotations__={name: annotation})
                annotation = typing.get_type_hints(told, function.__globals__)[name]
            optional = parameter.default is None or type(None) in typing.get_args(annotation)
            kind = kind_of(annotation)
            if parameter.kind is parameter.VAR_POSITIONAL:
                kind = each(kind)
            callback = is_callback(annotation)
            doors.append(Door(name, kind, rule, is_real(rule), optional, callback))
        except (TypeError, NameError) as error:
            raise TypeError(f"{function.__qualname__}: {name}: {error}") from None
    return doors


def _outside(function: Callable[..., Any], raised: list[BaseException]) -> Callable[..., Any]:
    """A function of the caller's: the doors it opens are looked at, and its errors are its own."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        inside = INSIDE.set(False)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raised.append(error)
            raise
        finally:
            INSIDE.reset(inside)

    return called


def _went_in(given: dict[str, Any], rules: dict[str, Rule | None]) -> bool:
    """Whether networks that have left the finite numbers were given where they may be."""
    return not all(
        all_finite(value)
        for name, value in given.items()
        if name == "self" or rules.get(name) is diverged
    )


def _listed(given: dict[str, Any], doors: list[Door]) -> str:
    """The arguments that an error may be about."""
    return ", ".join(
        "networks" if door.name == "self" else door.name
        for door in doors
        if door.name in given
        and not door.callback
        and not isinstance(given[door.name], bool | str | torch.Generator)
    )
