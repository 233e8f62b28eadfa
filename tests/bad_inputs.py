"""Bad and odd arguments for every public function, derived from one good call.

A case names a function and builds good keyword arguments for it. From each argument the engine
derives odd ones (empty, one element, not finite, another dtype, another device, another shape,
strided, huge, text, ...) and judges what comes back:

- *refused*: an error that the package raises itself, whose message names the argument;
- *accepted*: a finite result, equal to the reference where the odd argument means the same (strided
  memory, integers with the values of the floats, a broadcast axis, single precision up to its
  rounding).

Text, complex numbers, tensors of another device, NaN, and a size that disagrees with another
argument must be refused. A case lists the exceptions with their reasons.
"""

import copy
import dataclasses
import linecache
import math
import re
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import flat_or_weak
import flatness
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.two_layer import TwoLayer

PACKAGES = tuple(str(Path(p.__file__).parent) for p in (flatness, flat_or_weak))
SECONDS = 10
REFUSED = (ValueError, TypeError)  # and what a case adds

ANY, FINITE, SAME, NEAR, NEVER = "any", "finite", "same", "near", "never"
"""What an accepted odd argument may give: anything, a finite result, the reference result, that to single precision, nothing."""


@dataclass(frozen=True)
class Odd:
    """An odd value of one argument, what is acceptable, and for SAME another value that must give
    the same result.
    """

    variant: str
    value: Any
    verdict: str
    equals: Any = None

    @property
    def related(self) -> bool:
        """Whether the argument is odd only beside the others, so that an error may name any of
        them.
        """
        return bool(
            re.search(
                "meta|float32|axis|network|layer only|biases|neurons|column|empty|one", self.variant
            )
        )


@dataclass(frozen=True)
class Case:
    """``function(**build())`` is a good call. ``covers``: the public name, by default that of the
    function.

    ``exempt``: "argument" or "argument: variant" -> reason for which it is not tried. ``named``:
    argument -> pattern that counts as its name in a message. ``errors``: further documented errors.
    ``infinite``: reason why results need not be finite.
    """

    function: Callable
    build: Callable[[], dict[str, Any]]
    covers: str = ""
    exempt: Mapping[str, str] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)
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
    rightly accepted.
    """
    reference, found, count = outcome(case, case.build()), [], 0
    if isinstance(reference, Exception):
        return 1, [f"{case.name}: the good call raises {reference!r}"]
    if not case.infinite and not is_finite(reference):
        return 1, [f"{case.name}: the good call gives {reference!r}"]
    good = case.build()
    for argument in good:
        if argument in case.exempt:
            continue
        for odd in odd_values(good[argument], others=[v for k, v in good.items() if k != argument]):
            if f"{argument}: {odd.variant}" in case.exempt:
                continue
            count += 1
            wrong = judge(case, argument, odd, reference)
            if wrong:
                found.append(f"{case.name}({argument}: {odd.variant}): {wrong}")
    return count, found


def judge(case: Case, argument: str, odd: Odd, reference: Any) -> str:
    """What is wrong with the outcome of the call with an odd argument; empty if nothing is."""
    result = outcome(case, case.build() | {argument: odd.value})
    if isinstance(result, Exception):
        if isinstance(result, TimeoutError):
            return f"no answer in {SECONDS} s"
        if not isinstance(result, REFUSED + case.errors) or not raised_by_package(result):
            return f"obscure {type(result).__name__}: {str(result)[:150]}"
        names = list(case.build()) if odd.related else [argument]
        if not any(
            re.search(
                case.named.get(name, rf"(?<![A-Za-z_]){re.escape(name)}(?![A-Za-z])"), str(result)
            )
            for name in names
        ):
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


def outcome(case: Case, arguments: dict[str, Any]) -> Any:
    """The result of the call, or the exception (warnings are errors, and so is taking too long)."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
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
    """Whether every number in a (nested) result is finite and on a real device."""
    return all(np.isfinite(part).all() for part in numbers(result))


def numbers(result: Any) -> list[np.ndarray]:
    """All numbers in a (nested) result as arrays, in order."""
    if isinstance(result, Tensor):
        return [np.array(np.nan) if result.device.type == "meta" else result.detach().cpu().numpy()]
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
    """Whether two results hold the same numbers in the same shapes, up to rtol of the largest of
    each array.
    """
    a, b = numbers(one), numbers(two)
    return len(a) == len(b) and all(
        p.shape == q.shape
        and np.allclose(
            np.nan_to_num(p),
            np.nan_to_num(q),
            rtol=rtol,
            atol=rtol * np.abs(np.nan_to_num(q)).max(initial=0.0),
        )
        and (np.isfinite(p) == np.isfinite(q)).all()
        for p, q in zip(a, b)
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
    shared = {size for other in others for size in sizes(other)} - {1}
    found = _odd_values(value, shared)
    if not any(
        isinstance(other, Tensor | MLPEnsemble | TwoLayer) for other in others
    ):  # then there is no other device
        found = [
            dataclasses.replace(odd, verdict=ANY) if odd.variant == "meta" else odd for odd in found
        ]
    return found


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
        return _scalars([0, -1], FINITE) + _scalars([math.nan, math.inf, 2.5, "text"], NEVER)
    if isinstance(value, float):
        return _scalars([0.0, -1.0, 1.5, math.inf, -math.inf, 1e200], FINITE) + _scalars(
            [math.nan, "text"], NEVER
        )
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
            Odd("axis in front", value[None], SAME),
            Odd("axis behind", value[..., None], SAME),
        ]
        if value.shape[0] > 1:
            found.append(Odd("axis dropped", value[0], ANY if value.ndim == 1 else FINITE))
    for axis, size in enumerate(value.shape):
        if size < 2:
            continue
        index = [slice(None)] * value.ndim
        verdict = NEVER if size in shared else FINITE
        for variant, part in (("empty", slice(0)), ("one", slice(1))):
            index[axis] = part
            found.append(Odd(f"{variant} in axis {axis}", value[tuple(index)], verdict))
        index[axis] = slice(1)
        found.append(
            Odd(f"one more in axis {axis}", join([value, value[tuple(index)]], axis), verdict)
        )
    return found


def _odd_tensors(value: Tensor, shared: set[int]) -> list[Odd]:
    found = _shapes(value, shared) + [
        Odd("strided", _strided(value), SAME),
        Odd("text", "text", NEVER),
        Odd("complex", value.to(torch.complex128), NEVER),
        Odd("meta", value.to("meta"), NEVER),
    ]
    if value.dtype.is_floating_point:
        rounded = (value * 4).round()
        return found + [
            *(Odd(str(bad), _entry(value, bad), NEVER) for bad in (math.nan, math.inf, -math.inf)),
            Odd("huge", _entry(value, 1e200), FINITE),
            Odd("integers", rounded.long(), SAME, rounded),
            Odd("float32", value.float(), NEAR),
        ]
    if value.dtype == torch.bool:
        return found + [Odd("floats", value.double(), SAME), Odd("integers", value.long(), SAME)]
    return found + [
        Odd("floats", value.double(), SAME),
        Odd("float NaN", _entry(value.double(), math.nan), NEVER),
        Odd("negative", _entry(value, -1), NEVER),
        Odd("too large", _entry(value, 100), NEVER),
    ]


def _odd_arrays(value: np.ndarray, shared: set[int]) -> list[Odd]:
    found = _shapes(value, shared) + [
        Odd("strided", _strided(value), SAME),
        Odd("text", "text", NEVER),
    ]
    if value.dtype.kind == "f":
        rounded = np.round(value * 4)
        return found + [
            *(Odd(str(bad), _entry(value, bad), NEVER) for bad in (math.nan, math.inf, -math.inf)),
            Odd("complex", value.astype(complex), NEVER),
            Odd("huge", _entry(value, 1e200), FINITE),
            Odd("integers", rounded.astype(int), SAME, rounded),
            Odd("float32", value.astype(np.float32), NEAR),
        ]
    if value.dtype.kind == "b":
        return found + [Odd("floats", value.astype(float), SAME)]
    if value.dtype.kind in "iu":
        return found + [
            Odd("floats", value.astype(float), SAME),
            Odd("float NaN", _entry(value.astype(float), math.nan), NEVER),
            Odd("complex", value.astype(complex), NEVER),
            Odd("negative", _entry(value.astype(np.int64), -1), NEVER),
            Odd("too large", _entry(value, 100), NEVER),
        ]
    return found


def _with_blocks(networks: MLPEnsemble, change: Callable[[Tensor], Tensor]) -> MLPEnsemble:
    """The networks with the first weight matrix changed."""
    return MLPEnsemble([change(networks.weights[0]), *networks.weights[1:]], networks.biases)


def _odd_ensembles(networks: MLPEnsemble, shared: set[int]) -> list[Odd]:
    found = [
        Odd("text", "text", NEVER),
        Odd("strided", networks.map(_strided), SAME),
        Odd("meta", networks.to("meta"), NEVER),
        Odd("float32", networks.to(dtype=torch.float32), NEAR),
        Odd("huge", _with_blocks(networks, lambda w: _entry(w, 1e200)), FINITE),
        Odd("no biases", MLPEnsemble(networks.weights, None), FINITE),
        Odd(
            "last layer only",
            MLPEnsemble(networks.weights[-1:], networks.biases and networks.biases[-1:]),
            FINITE,
        ),
        *(
            Odd(str(bad), _with_blocks(networks, lambda w, bad=bad: _entry(w, bad)), NEVER)
            for bad in (math.nan, math.inf, -math.inf)
        ),
    ]
    if len(networks) > 1:
        found.append(Odd("one network", networks[0], NEVER if len(networks) in shared else FINITE))
    return found


def _odd_two_layer(net: TwoLayer, shared: set[int]) -> list[Odd]:
    def made(a=net.a, W=net.W):
        return TwoLayer(a, W, net.activation)

    found = [
        Odd("text", "text", NEVER),
        Odd("strided", made(_strided(net.a), _strided(net.W)), SAME),
        Odd("meta", made(net.a.to("meta"), net.W.to("meta")), NEVER),
        Odd("float32", made(net.a.float(), net.W.float()), NEAR),
        Odd("huge", made(W=_entry(net.W, 1e200)), FINITE),
        Odd("huge a", made(a=_entry(net.a, 1e200)), FINITE),
        Odd("no neurons", made(net.a[:, :0], net.W[:, :0]), FINITE),
        Odd("a column less", made(W=net.W[..., 1:]), NEVER if net.dim in shared else FINITE),
    ]
    if net.count > 1:
        found.append(
            Odd("one network", net[0], FINITE)
        )  # a single network may take several data sets
    return found


def _odd_sequences(value: list | tuple, shared: set[int]) -> list[Odd]:
    kind = type(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return []
    verdict = NEVER if len(value) in shared else FINITE
    found = [Odd("empty", kind([]), verdict)]
    if len(value) > 1:
        found.append(Odd("one", value[:1], verdict))
    if value and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        found += [
            Odd("text entry", kind([*value[:-1], "text"]), NEVER),
            Odd("NaN", kind([*value[:-1], math.nan]), NEVER),
            Odd("infinite", kind([*value[:-1], math.inf]), NEVER),
            Odd("-1", kind([*value[:-1], -1]), FINITE),
        ]
        if all(isinstance(one, float) for one in value):
            found.append(Odd("huge", kind([*value[:-1], 1e200]), FINITE))
        else:
            found.append(Odd("2.5", kind([*value[:-1], 2.5]), FINITE))
    elif value and isinstance(value[0], Tensor | np.ndarray):
        found += [
            Odd(
                f"first {odd.variant}",
                kind([odd.value, *value[1:]]),
                odd.verdict,
                None if odd.equals is None else kind([odd.equals, *value[1:]]),
            )
            for odd in odd_values(value[0], list(value[1:]))
            if odd.verdict != ANY
        ]
    return found
