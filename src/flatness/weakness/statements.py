"""Statements of a language: made from names and checked, spelled out, measured, extended.

A statement is a set of programs with a state in common, held as an integer whose bit ``k`` says
that program ``k`` belongs to it (`flatness.weakness.languages`). Definitions follow Paper B
(Bennett, arXiv:2605.05209); see the chapter ``b1_language``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from flatness._internal.arguments import KindError, integer, integer_array
from flatness._internal.checks import checked
from flatness.weakness.languages import Language, _zeta


class ClashError(ValueError):
    """A set of programs that no state satisfies together; ``programs`` names an inclusion-minimal
    clash.
    """

    def __init__(self, programs: tuple[str, ...]):
        self.programs = programs
        verb = "is empty" if len(programs) == 1 else "clash: no state satisfies them together"
        super().__init__(f"not a statement of the language: {{{', '.join(programs)}}} {verb}")


def _mask(lang: Language, mask: int) -> int:
    if not isinstance(lang, Language):
        raise KindError(f"lang: expected a Language, got {type(lang).__name__}")
    return integer("mask", mask, 0, len(lang.member) - 1)


@checked()
def clash(lang: Language, mask: int) -> tuple[str, ...]:
    """Names of an inclusion-minimal clash among the programs of ``mask``; ``()`` when there is
    none.
    """
    mask = _mask(lang, mask)
    if lang.member[mask]:
        return ()
    for k in range(len(lang.vocabulary.programs)):
        without = mask & ~(1 << k)
        if without != mask and not lang.member[without]:
            mask = without
    return tuple(name for k, name in enumerate(lang.vocabulary.names) if mask >> k & 1)


def statement(lang: Language, programs: Iterable[str] | int) -> int:
    """The statement made of the named programs (or given as a bitmask), checked to lie in the
    language.

    Raises ClashError, naming programs that clash, for a set of programs outside L_v; ValueError for
    a name or a bit that the vocabulary does not have.

    >>> from flatness.weakness.languages import language, vocabulary
    >>> lang = language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2]}, n_states=3))
    >>> statement(lang, ["a", "b"])
    3
    >>> statement(lang, ["a", "b", "c"])
    Traceback (most recent call last):
    flatness.weakness.statements.ClashError: not a statement ... together
    """
    names = lang.vocabulary.names
    if not isinstance(programs, Iterable) or isinstance(programs, bytes):
        programs = integer("programs", programs)
    if isinstance(programs, (int, np.integer)):
        mask = int(programs)
        if not 0 <= mask < 1 << len(names):
            raise ValueError(
                f"programs: statement {mask} names programs outside the vocabulary of {len(names)}"
            )
    else:
        programs = [programs] if isinstance(programs, str) else list(programs)
        if any(not isinstance(program, str) for program in programs):
            raise KindError(f"programs: expected names, or one bitmask, got {programs!r}")
        unknown = sorted(set(programs) - set(names))
        if unknown:
            raise ValueError(f"unknown programs {unknown}; the vocabulary has {list(names)}")
        mask = sum(1 << names.index(name) for name in set(programs))
    if not lang.member[mask]:
        raise ClashError(clash(lang, mask))
    return mask


@checked()
def spell(lang: Language, mask: int) -> str:
    """A statement as text, ``{a, b}``; the empty statement is ``{}``."""
    mask = _mask(lang, mask)
    return (
        "{" + ", ".join(n for k, n in enumerate(lang.vocabulary.names) if int(mask) >> k & 1) + "}"
    )


def length(statements: np.ndarray | int, costs: Sequence[int] | None = None) -> np.ndarray:
    """Description length of each statement, int64: its number of programs, or with ``costs`` the
    sum of theirs.

    >>> length([0b000, 0b101]).tolist(), length([0b000, 0b101], costs=[5, 1, 2]).tolist()
    ([0, 2], [0, 7])
    """
    statements = integer_array("statements", statements, 0).astype(np.uint64)
    if costs is not None and integer_array("costs", costs, 0).ndim != 1:
        raise ValueError(f"costs: expected one for each program, got shape {np.shape(costs)}")
    if costs is None:
        return np.bitwise_count(statements).astype(np.int64)
    bits = statements[..., None] >> np.arange(len(costs), dtype=np.uint64) & np.uint64(1)
    return bits.astype(np.int64) @ np.asarray(costs, dtype=np.int64)


def statement_set(lang: Language, statements: Iterable) -> np.ndarray:
    """A set of statements, each as for :func:`statement`, as a boolean array (or such an array,
    checked).
    """
    if isinstance(statements, np.ndarray) and statements.dtype == bool:
        if statements.shape != lang.member.shape:
            raise ValueError(
                f"statements: expected a boolean array of shape {lang.member.shape}, got "
                f"{statements.shape}"
            )
        outside = np.flatnonzero(statements & ~lang.member)
        if outside.size:
            raise ClashError(clash(lang, int(outside[0])))
        return statements
    if isinstance(statements, str) or not isinstance(statements, Iterable):
        raise KindError(f"statements: expected statements, got {statements!r}")
    chosen = np.zeros_like(lang.member)
    chosen[[statement(lang, s) for s in statements]] = True
    return chosen


def extension(lang: Language, statements: Iterable) -> np.ndarray:
    """Ext(X) as a boolean array: all statements of L_v that contain some statement of the set X."""
    return _completions(lang, statement_set(lang, statements))


def _completions(lang: Language, chosen: np.ndarray) -> np.ndarray:
    """Ext of a set of statements that is one already, as a boolean array."""
    return (_zeta(chosen.astype(np.int64), receiving=1) > 0) & lang.member
