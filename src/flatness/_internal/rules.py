"""Rules that an argument must keep beyond its annotation: shapes, labels, ranges, choices.

A rule is a function (name, value, sizes) that raises where the value breaks it. ``sizes`` maps the
letters of shapes met so far to (size, the argument that had it), so that a letter means the same
size in every argument; `of_numbers` marks rules for values that are no floating-point numbers.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flatness._internal.arguments import INSIDE, KindError, NotFinite

Sizes = dict[str, tuple[int, str]]
Rule = Callable[[str, Any, Sizes], None]


def USUAL(name: str, value: Any, sizes: Sizes) -> None:
    """Nothing beyond the annotation."""


def of_numbers(real: bool) -> Callable[[Rule], Rule]:
    """Marks a rule: whether the values must be finite floating-point numbers."""

    def mark(rule: Rule) -> Rule:
        rule.real = real  # type: ignore[attr-defined]
        return rule

    return mark


def is_real(rule: Rule) -> bool:
    """Whether the values must be finite floating-point numbers, as with most rules."""
    return getattr(rule, "real", True)


def shape(*shapes: str, real: bool = True) -> Rule:
    """The shape is one of these, letters or numbers apart by spaces; "n?" may be 0, other sizes are
    at least 1.
    """
    wanted = [s.split() for s in shapes]

    @of_numbers(real)
    def rule(name: str, value: Any, sizes: Sizes) -> None:
        size = tuple(np.shape(value)) if not isinstance(value, Tensor) else tuple(value.shape)
        for letters in wanted:
            if len(letters) == len(size) and all(
                _fits(s, letter, sizes) for s, letter in zip(size, letters)
            ):
                for s, letter in zip(size, letters):
                    sizes.setdefault(letter.rstrip("?"), (s, name))
                return
        letters = dict.fromkeys(k.rstrip("?") for w in wanted for k in w)
        known = [
            f"{k} = {sizes[k][0]}, as in {sizes[k][1]}"
            for k in letters
            if k in sizes and sizes[k][1] != name
        ]
        text = " or ".join(
            f"({', '.join(w).replace('?', '')}{',' * (len(w) == 1)})" for w in wanted
        )
        free = " of sizes >= 1" if not known else ""
        raise ValueError(
            f"{name}: expected shape {text}{free}{' with ' if known else ''}{'; '.join(known)}, "
            f"got {size}"
        )

    return rule


def _fits(size: int, letter: str, sizes: Sizes) -> bool:
    if letter.isdigit():
        return size == int(letter)
    key = letter.rstrip("?")
    return size == sizes[key][0] if key in sizes else size >= 1 or letter.endswith("?")


def inputs(name: str, x: Any, sizes: Sizes) -> None:
    """Inputs of two-layer networks: (n, d) shared, (M, n, d) per network; a single network takes
    several sets.
    """
    single = sizes["M"][0] == 1 or (x.ndim == 3 and x.shape[0] == 1)
    known = {k: v for k, v in sizes.items() if k != "M"} if single else sizes
    shape("n d", "M n d")(name, x, known)
    sizes |= {"n": known["n"]} | (
        {"M": (max(sizes["M"][0], x.shape[0]), name)} if x.ndim == 3 else {}
    )


def values(name: str, y: Any, sizes: Sizes) -> None:
    """Labels of `inputs`: (n,) or (M, n)."""
    shape("n", "M n", "1 n")(name, y, sizes)


@of_numbers(real=False)
def labels(name: str, y: Any, sizes: Sizes) -> None:
    """Int64 classes (n,), 0 to K - 1."""
    classes = f"0 to {sizes['K'][0] - 1}" if "K" in sizes else "0 to K - 1"
    n = sizes["n"][0] if "n" in sizes else "n"
    whole = isinstance(y, Tensor) and y.dtype == torch.int64 and y.ndim == 1
    if not whole or not len(y) or len(y) != sizes.get("n", (len(y),))[0]:
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        beside = f" ({n} as in {sizes['n'][1]})" if "n" in sizes else ""
        raise KindError(f"{name}: expected {n} int64 classes {classes}{beside}, got {got}")
    sizes.setdefault("n", (len(y), name))
    low, high = int(y.min()), int(y.max())
    if low < 0 or ("K" in sizes and high >= sizes["K"][0]):
        raise ValueError(f"{name}: expected classes {classes}, got {low} to {high}")


@of_numbers(real=False)
def any_dtype(name: str, value: Any, sizes: Sizes) -> None:
    """Whole numbers, truth values or anything finite: the function looks at it itself."""


@of_numbers(real=False)
def diverged(name: str, value: Any, sizes: Sizes) -> None:
    """Networks of which some may have left the finite numbers, or leave them in what is computed:
    their results are NaN or infinite, and those of the others what they are without them.
    """


@of_numbers(real=False)
def whole(name: str, value: Any, sizes: Sizes) -> None:
    """A tensor (k,) of integers."""
    if isinstance(value, Tensor) and (
        value.dtype.is_floating_point or value.dtype == torch.bool or value.ndim != 1
    ):
        raise KindError(
            f"{name}: expected integers of shape (k,), got {value.dtype} {tuple(value.shape)}"
        )


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


def _range(holds: Callable[[Any], Any], text: str, said: str = "") -> Rule:
    def rule(name: str, value: Any, sizes: Sizes) -> None:
        if not (
            holds(value).all() if isinstance(value, Tensor) else np.all(holds(np.asarray(value)))
        ):
            several = "a number " if isinstance(value, numbers.Real) else "numbers "
            kind = (
                NotFinite if INSIDE.get() and isinstance(value, Tensor) else ValueError
            )  # inside, it was computed, not given
            raise kind(f"{name}: expected {said or several + text}, got {value}")

    return rule


def both(*rules: Rule) -> Rule:
    """All of the rules."""

    @of_numbers(all(map(is_real, rules)))
    def rule(name: str, value: Any, sizes: Sizes) -> None:
        for one in rules:
            one(name, value, sizes)

    return rule


def one_of(*choices: str) -> Rule:
    """One of the words."""

    def rule(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")

    return rule


def several(kind: type, what: str, low: int = 1) -> Rule:
    """A sequence of at least ``low`` objects of a kind."""

    def rule(name: str, value: Any, sizes: Sizes) -> None:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or len(value) < low or not all(isinstance(v, kind) for v in value):
            raise ValueError(f"{name}: expected at least {low} {what}, got {value!r}"[:300])

    return rule


def instance(kind: type | tuple[type, ...], what: str = "") -> Rule:
    """An object of a kind."""

    def rule(name: str, value: Any, sizes: Sizes) -> None:
        if not isinstance(value, kind):
            raise KindError(
                f"{name}: expected {what or 'a ' + _name(kind)}, got {type(value).__name__}"
            )

    return rule


def _name(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(one.__name__ for one in kinds)
