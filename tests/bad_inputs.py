"""Bad and odd arguments for every public function, derived from one good call.

A case names a function and builds good keyword arguments for it. The good call is made once more
with the keywords in reverse. From each argument the engine derives odd ones (not finite, another
shape, another dtype, strided, single precision, one network of several, text) and judges what comes
back: an error that the package raises itself and that, at a checked door, names an argument, or a
finite result, which must be the reference where the odd argument means the same.

Text, complex numbers, NaN, and a size that disagrees with another argument must be refused, unless
the case says that the function allows it.
"""

import copy
import dataclasses
import linecache
import math
import re
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from properties import LONG
from torch import Tensor

import flat_or_weak
import flatness
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.two_layer import TwoLayer

PACKAGES = tuple(str(Path(p.__file__).parent) for p in (flatness, flat_or_weak))
SECONDS = 10
REFUSED = (ValueError, TypeError)  # and what a case adds

ANY, FINITE, SAME, NEAR, NEVER = "any", "finite", "same", "near", "never"
"""What an accepted odd argument may give: anything, a finite result, the reference result, that to
single precision, nothing."""


@dataclass(frozen=True)
class Odd:
    """An odd value of one argument, what is acceptable, and for SAME another value that must give
    the same result. ``related``: odd only beside the others, so that an error may name any of them.
    """

    variant: str
    value: Any
    verdict: str
    equals: Any = None
    related: bool = False


@dataclass(frozen=True)
class Case:
    """``function(**build())`` is a good call. ``covers``: the public name, by default that of the
    function.

    ``allows``: patterns of "argument: variant" that the function documents to take, or to take in
    another sense. ``says``: a pattern that counts as a name in a message. ``errors``: further
    documented errors. ``infinite``: why results need not be finite.
    """

    function: Callable
    build: Callable[[], dict[str, Any]]
    covers: str = ""
    allows: str = "(?!)"
    says: str = "(?!)"
    errors: tuple[type[Exception], ...] = ()
    infinite: str = ""

    @property
    def name(self) -> str:
        return (
            self.covers
            or f"{self.function.__module__.removeprefix('flatness.')}.{self.function.__qualname__}"
        )


def defects(case: Case) -> tuple[int, list[str]]:
    """How many odd calls were made, and what is wrong with those that are neither refused nor
    rightly accepted. The long run makes each also with its keywords reversed.
    """
    reference, found, count = outcome(case, case.build(), seconds=0), [], 1
    if isinstance(reference, Exception):
        return 1, [f"{case.name}: the good call raises {reference!r}"]
    if not case.infinite and not is_finite(reference):
        return 1, [f"{case.name}: the good call gives {reference!r}"]
    backwards = outcome(case, dict(reversed(case.build().items())))
    if isinstance(backwards, Exception) or not (case.infinite or same(backwards, reference, 1e-12)):
        return 1, [f"{case.name}: with its keywords reversed: {backwards!r}"]
    good = case.build()
    for argument in good:
        others = [v for k, v in good.items() if k != argument]
        for odd in odd_values(good[argument], others):
            if re.fullmatch(case.allows, f"{argument}: {odd.variant}"):
                continue
            count += 1
            for turn in (iter, reversed) if LONG else (iter,):
                wrong = judge(case, argument, odd, reference, turn)
                if wrong:
                    found.append(f"{case.name}({argument}: {odd.variant}): {wrong}")
                    break
    return count, found


def judge(case: Case, argument: str, odd: Odd, reference: Any, turn: Callable = iter) -> str:
    """What is wrong with the outcome of the call with an odd argument; empty if nothing is."""
    arguments = dict(turn((case.build() | {argument: odd.value}).items()))
    result = outcome(case, arguments)
    if isinstance(result, Exception):
        if isinstance(result, TimeoutError):
            return f"no answer in {SECONDS} s"
        if not isinstance(result, REFUSED + case.errors) or not raised_by_package(result):
            return f"obscure {type(result).__name__}: {str(result)[:150]}"
        if isinstance(result, case.errors) or not hasattr(case.function, "__wrapped__"):
            return ""  # inside, names are others
        names = list(arguments) if odd.related else [argument]
        pattern = "|".join([rf"(?<![A-Za-z_])({'|'.join(names)})(?![A-Za-z])", case.says])
        if not re.search(pattern, str(result)):
            return f"does not name it: {type(result).__name__}: {str(result)[:150]}"
        return ""
    if odd.verdict == NEVER:
        return f"accepted: {str(result)[:80]}"
    if odd.verdict != ANY and not case.infinite and not is_finite(result):
        return f"not finite: {str(result)[:80]}"
    if odd.verdict in (SAME, NEAR):
        wanted = (
            reference
            if odd.equals is None
            else outcome(case, case.build() | {argument: odd.equals})
        )
        if isinstance(wanted, Exception) or not same(
            result, wanted, 1e-12 if odd.verdict == SAME else 1e-3
        ):
            return f"another result: {str(result)[:60]} instead of {str(wanted)[:60]}"
    return ""


def outcome(case: Case, arguments: dict[str, Any], seconds: int | None = None) -> Any:
    """The result of the call, or the exception (warnings are errors, and so is taking too long)."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS if seconds is None else seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return case.function(**arguments)
    except Exception as error:  # judged by the caller
        return error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def raised_by_package(error: Exception) -> bool:
    """Whether a ``raise`` statement of the package is where the error comes from."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    filename = trace.tb_frame.f_code.co_filename
    return filename.startswith(PACKAGES) and linecache.getline(
        filename, trace.tb_lineno
    ).lstrip().startswith("raise")


def is_finite(result: Any) -> bool:
    """Whether every number in a (nested) result is finite."""
    return all(np.isfinite(part).all() for part in numbers(result))


def numbers(result: Any) -> list[np.ndarray]:
    """All numbers in a (nested) result as arrays, in order."""
    if isinstance(result, Tensor):
        return [result.detach().cpu().numpy()]
    if isinstance(result, np.ndarray):
        return [result] if result.dtype.kind in "biufc" else numbers(result.ravel().tolist())
    if isinstance(result, bool | int | float | complex | Fraction | np.generic):
        value = np.asarray(result if not isinstance(result, Fraction) else float(result))
        return (
            [value.astype(float) if value.dtype.kind in "O" else value]
            if value.dtype.kind in "biufcO"
            else []
        )
    if isinstance(result, pd.DataFrame | pd.Series):
        return numbers(
            result.select_dtypes("number").to_numpy()
            if isinstance(result, pd.DataFrame)
            else result.to_numpy()
        )
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return numbers([getattr(result, f.name) for f in dataclasses.fields(result)])
    if isinstance(result, Mapping):
        return numbers(list(result.values()))
    if isinstance(result, list | tuple | set | frozenset | range):
        return [part for one in result for part in numbers(one)]
    return []


def same(one: Any, two: Any, rtol: float) -> bool:
    """Whether two results hold the same numbers in the same order, up to rtol of the largest of
    each array; an axis of one in front or behind does not matter.
    """
    a, b = ([part.ravel() for part in numbers(result)] for result in (one, two))
    return len(a) == len(b) and all(
        p.shape == q.shape
        and np.allclose(
            np.nan_to_num(p),
            np.nan_to_num(q),
            rtol=rtol,
            atol=rtol * np.abs(np.nan_to_num(q)).max(initial=0.0),
        )
        and (np.isfinite(p) == np.isfinite(q)).all()
        for p, q in zip(a, b, strict=True)
    )


def sizes(value: Any) -> list[int]:
    """Sizes of the axes of an argument that others may have to share."""
    if isinstance(value, MLPEnsemble):
        return [len(value), *value.widths]
    if isinstance(value, TwoLayer):
        return [value.count, value.width, value.dim]
    if isinstance(value, Tensor | np.ndarray):
        return list(value.shape)
    if isinstance(value, list | tuple):
        return [len(value), *(size for one in value for size in sizes(one))]
    return []


def odd_values(value: Any, others: list[Any]) -> list[Odd]:
    """Odd values for an argument with this good value."""
    return _odd_values(value, {size for other in others for size in sizes(other)} - {1})


def _odd_values(value: Any, shared: set[int]) -> list[Odd]:
    if isinstance(value, MLPEnsemble):
        return _odd_ensembles(value, shared)
    if isinstance(value, TwoLayer):
        return _odd_two_layer(value, shared)
    if isinstance(value, Tensor):
        return _odd_tensors(value, shared)
    if isinstance(value, np.ndarray):
        return _odd_arrays(value, shared)
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int):
        return _scalars([0, -1], FINITE) + _scalars([math.nan, 2.5, "text"], NEVER)
    if isinstance(value, float):
        return _scalars([0.0, -1.0, 1.5, math.inf], FINITE) + _scalars([math.nan, "text"], NEVER)
    if isinstance(value, str):
        return _scalars(["no such", 3], NEVER)
    if isinstance(value, list | tuple):
        return _odd_sequences(value, shared)
    return []


def _scalars(values: list[Any], verdict: str) -> list[Odd]:
    return [Odd(str(value), value, verdict) for value in values]


def _entry(value: Any, number: float) -> Any:
    """A copy with the last entry replaced."""
    moved = copy.deepcopy(value) if isinstance(value, np.ndarray) else value.clone()
    moved.reshape(-1)[-1] = number
    return moved


def _strided(value: Any) -> Any:
    """The same numbers, every second one of a larger block of memory."""
    if isinstance(value, np.ndarray):
        wide = np.zeros((*value.shape, 2), dtype=value.dtype)
    else:
        wide = value.new_zeros((*value.shape, 2))
    wide[..., 0] = value
    return wide[..., 0]


def _shapes(value: Any, shared: set[int]) -> list[Odd]:
    """Other shapes: an axis more or less must be refused or broadcast, a size that others share
    must be refused.
    """
    found = []
    join = np.concatenate if isinstance(value, np.ndarray) else torch.cat
    if value.ndim:
        found += [
            Odd("axis in front", value[None], SAME, related=True),
            Odd("axis behind", value[..., None], SAME, related=True),
        ]
        if value.shape[0] > 1:
            verdict = ANY if value.ndim == 1 else FINITE
            found.append(Odd("axis dropped", value[0], verdict, related=True))
    for axis, size in enumerate(value.shape):
        if size < 2:
            continue
        index = [slice(None)] * value.ndim
        verdict = NEVER if size in shared else FINITE
        for variant, part in (("empty", slice(0)), ("one", slice(1))):
            index[axis] = part
            odd = value[tuple(index)]
            found.append(Odd(f"{variant} in axis {axis}", odd, verdict, related=True))
        more = join([value, value[tuple(index)]], axis)
        found.append(Odd(f"one more in axis {axis}", more, verdict, related=True))
    return found


def _odd_tensors(value: Tensor, shared: set[int]) -> list[Odd]:
    found = _shapes(value, shared) + [
        Odd("strided", _strided(value), SAME),
        Odd("text", "text", NEVER),
        Odd("complex", value.to(torch.complex128), NEVER),
    ]
    if value.dtype.is_floating_point:
        rounded = (value * 4).round()
        return found + [
            *(Odd(str(bad), _entry(value, bad), NEVER) for bad in (math.nan, math.inf)),
            Odd("integers", rounded.long(), SAME, rounded),
            Odd("float32", value.float(), NEAR, related=True),
        ]
    if value.dtype == torch.bool:
        return found + [Odd("floats", value.double(), SAME), Odd("integers", value.long(), SAME)]
    return found + [
        Odd("floats", value.double(), SAME),
        Odd("float NaN", _entry(value.double(), math.nan), NEVER),
        Odd("negative", _entry(value, -1), FINITE),
        Odd("too large", _entry(value, 100), FINITE),
    ]


def _odd_arrays(value: np.ndarray, shared: set[int]) -> list[Odd]:
    found = _shapes(value, shared) + [
        Odd("strided", _strided(value), SAME),
        Odd("text", "text", NEVER),
    ]
    if value.dtype.kind == "f":
        rounded = np.round(value * 4)
        return found + [
            *(Odd(str(bad), _entry(value, bad), NEVER) for bad in (math.nan, math.inf)),
            Odd("complex", value.astype(complex), NEVER),
            Odd("integers", rounded.astype(int), SAME, rounded),
            Odd("float32", value.astype(np.float32), NEAR, related=True),
        ]
    if value.dtype.kind == "b":
        return found + [Odd("floats", value.astype(float), SAME)]
    if value.dtype.kind in "iu":
        return found + [
            Odd("floats", value.astype(float), SAME),
            Odd("float NaN", _entry(value.astype(float), math.nan), NEVER),
            Odd("complex", value.astype(complex), NEVER),
            Odd("negative", _entry(value.astype(np.int64), -1), FINITE),
            Odd("too large", _entry(value, 100), FINITE),
        ]
    return found


def _with_blocks(networks: MLPEnsemble, change: Callable[[Tensor], Tensor]) -> MLPEnsemble:
    """The networks with the first weight matrix changed."""
    return MLPEnsemble([change(networks.weights[0]), *networks.weights[1:]], networks.biases)


def _odd_ensembles(networks: MLPEnsemble, shared: set[int]) -> list[Odd]:
    weights, biases = networks.weights, networks.biases
    found = [
        Odd("text", "text", NEVER),
        Odd("strided", networks.map(_strided), SAME),
        Odd("float32", networks.to(dtype=torch.float32), NEAR, related=True),
        Odd("no biases", MLPEnsemble(weights, None), FINITE, related=True),
        Odd("last layer only", MLPEnsemble(weights[-1:], biases[-1:]), FINITE, related=True),
    ]
    if len(networks) == 1:  # of several, one bad network costs the others nothing: test_poisoned
        spoiled = MLPEnsemble([_entry(weights[0], math.nan), *weights[1:]], biases)
        found.append(Odd("nan", spoiled, NEVER))
    if len(networks) > 1:
        verdict = NEVER if len(networks) in shared else FINITE
        found.append(Odd("one network", networks[0], verdict, related=True))
    return found


def _odd_two_layer(net: TwoLayer, shared: set[int]) -> list[Odd]:
    def made(a: Tensor = net.a, W: Tensor = net.W) -> TwoLayer:
        return TwoLayer(a, W, net.activation)

    column = NEVER if net.dim in shared else FINITE
    found = [
        Odd("text", "text", NEVER),
        Odd("strided", made(_strided(net.a), _strided(net.W)), SAME),
        Odd("float32", made(net.a.float(), net.W.float()), NEAR, related=True),
        Odd("no neurons", made(net.a[:, :0], net.W[:, :0]), FINITE, related=True),
        Odd("a column less", made(W=net.W[..., 1:]), column, related=True),
    ]
    if net.count > 1:  # a single network may take several data sets
        found.append(Odd("one network", net[0], FINITE, related=True))
    return found


def _odd_sequences(value: list | tuple, shared: set[int]) -> list[Odd]:
    kind = type(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return []
    verdict = NEVER if len(value) in shared else FINITE
    found = [Odd("empty", kind([]), verdict, related=True)]
    if len(value) > 1:
        found.append(Odd("one", value[:1], verdict, related=True))
    if value and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        found += [
            Odd("text entry", kind([*value[:-1], "text"]), NEVER),
            Odd("NaN", kind([*value[:-1], math.nan]), NEVER),
            Odd("-1", kind([*value[:-1], -1]), FINITE),
            Odd("2.5", kind([*value[:-1], 2.5]), FINITE),
        ]
    elif value and isinstance(value[0], Tensor | np.ndarray):
        for odd in odd_values(value[0], list(value[1:])):
            rest = value[1:]
            equals = None if odd.equals is None else kind([odd.equals, *rest])
            if odd.verdict != ANY:
                first = kind([odd.value, *rest])
                found.append(Odd(f"first {odd.variant}", first, odd.verdict, equals, odd.related))
    return found
