"""Finite weakness by enumeration: environments, vocabularies, languages, tasks, policies, buffers.

Everything is a bitset. A state of the environment is a number ``0 .. n_states - 1``; a *program* is
a set of states, held as an integer whose bit ``s`` says that state ``s`` satisfies it; a
*statement* is a set of programs, held as an integer whose bit ``k`` says that program ``k`` belongs
to it. A *set of statements* is a boolean array of shape ``(2**m,)`` over all sets of the ``m``
programs. All counts are exact integers.

Definitions follow Paper B (Bennett, arXiv:2605.05209); the chapter ``b1_language`` states and
proves what holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flatness._internal import rules
from flatness._internal.arguments import KindError, integer, integer_array, real_array
from flatness._internal.checks import checked

MAX_STATES = 64
MAX_PROGRAMS = 24


class ClashError(ValueError):
    """A set of programs that no state satisfies together; ``programs`` names an inclusion-minimal
    clash.
    """

    def __init__(self, programs: tuple[str, ...]):
        self.programs = programs
        verb = "is empty" if len(programs) == 1 else "clash: no state satisfies them together"
        super().__init__(f"not a statement of the language: {{{', '.join(programs)}}} {verb}")


@dataclass(frozen=True)
class Vocabulary:
    """A list of programs over an environment of ``n_states`` mutually exclusive states.

    ``programs[k]`` is a bitmask over states, ``names[k]`` its name. Raises ValueError for more than
    64 states or 24 programs, masks outside the environment, or repeated names.
    """

    n_states: int
    programs: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        integer("n_states", self.n_states)
        for program in self.programs:
            integer("programs", program)
        if not 1 <= self.n_states <= MAX_STATES:
            raise ValueError(f"n_states must be between 1 and {MAX_STATES}, got {self.n_states}")
        if len(self.programs) > MAX_PROGRAMS:
            raise ValueError(
                f"programs: at most {MAX_PROGRAMS} can be enumerated, got {len(self.programs)}"
            )
        if len(self.names) != len(self.programs) or len(set(self.names)) != len(self.names):
            raise ValueError("names must be distinct, one for each program")
        for name, program in zip(self.names, self.programs):
            if not 0 <= program < 1 << self.n_states:
                raise ValueError(f"program {name!r} holds a state outside 0..{self.n_states - 1}")


def _states(name: str, n: int, sizes: dict) -> None:
    integer(name, n, 1, MAX_STATES)


def _programs(name: str, n: int, sizes: dict) -> None:
    integer(name, n, 0, MAX_PROGRAMS)


def _mask(lang: Language, mask: int) -> int:
    if not isinstance(lang, Language):
        raise KindError(f"lang: expected a Language, got {type(lang).__name__}")
    return integer("mask", mask, 0, len(lang.member) - 1)


@checked(n_states=rules.at_least(1))
def vocabulary(programs: Mapping[str, Iterable[int]], n_states: int) -> Vocabulary:
    """The vocabulary whose programs are given as name -> states.

    >>> vocabulary({"a": [0, 1], "b": [1, 2]}, n_states=3).programs
    (3, 6)
    """
    masks = []
    for name, states in programs.items():
        states = {integer("programs", s) for s in states}
        if any(not 0 <= s < n_states for s in states):
            raise ValueError(
                f"programs: program {name!r} holds a state outside 0..{n_states - 1}, n_states = "
                f"{n_states}"
            )
        masks.append(sum(1 << int(s) for s in states))
    return Vocabulary(n_states, tuple(masks), tuple(programs))


@checked(n_states=_states, n_programs=_programs, density=rules.between(0, 1))
def random_vocabulary(
    generator: np.random.Generator, n_states: int, n_programs: int, density: float = 0.5
) -> Vocabulary:
    """``n_programs`` programs that hold each state independently with probability ``density``."""
    holds = generator.random((n_programs, n_states)) < density
    masks = tuple(sum(1 << s for s in np.flatnonzero(row).tolist()) for row in holds)
    return Vocabulary(n_states, masks, tuple(f"p{k}" for k in range(n_programs)))


@checked()
def relabel_states(v: Vocabulary, order: Iterable[int]) -> Vocabulary:
    """The same vocabulary after state ``s`` is renamed ``order[s]``; ``order`` must be a
    permutation.
    """
    order = integer_array("order", list(order) if not hasattr(order, "ndim") else order)
    if order.ndim != 1:
        raise ValueError(
            f"order must be a permutation of 0..{v.n_states - 1}, got shape {order.shape}"
        )
    order = order.tolist()
    if sorted(order) != list(range(v.n_states)):
        raise ValueError(f"order must be a permutation of 0..{v.n_states - 1}")
    programs = tuple(
        sum(1 << order[s] for s in range(v.n_states) if p >> s & 1) for p in v.programs
    )
    return Vocabulary(v.n_states, programs, v.names)


@checked(values=rules.any_dtype)
def superset_sum(values: np.ndarray) -> np.ndarray:
    """``out[x] = sum of values[y] over all y containing x`` for an array of shape ``(2**m,)`` (zeta
    transform).

    Exact for integers and for object arrays of Fractions; ``m * 2**(m-1)`` additions.

    >>> superset_sum(np.array([1, 10, 100, 1000])).tolist()
    [1111, 1010, 1100, 1000]
    """
    out = np.array(values)
    for k in range(_exponent(out)):
        halves = out.reshape(-1, 2, 1 << k)
        halves[:, 0] += halves[:, 1]
    return out


@checked(values=rules.any_dtype)
def subset_sum(values: np.ndarray) -> np.ndarray:
    """``out[x] = sum of values[y] over all y contained in x`` for an array of shape ``(2**m,)``.

    >>> subset_sum(np.array([1, 10, 100, 1000])).tolist()
    [1, 11, 101, 1111]
    """
    out = np.array(values)
    for k in range(_exponent(out)):
        halves = out.reshape(-1, 2, 1 << k)
        halves[:, 1] += halves[:, 0]
    return out


def _exponent(values: np.ndarray) -> int:
    m = max(0, values.size.bit_length() - 1)
    if values.ndim != 1 or values.size != 1 << m:
        raise ValueError(f"values: expected an array of shape (2**m,), got {values.shape}")
    return m


@dataclass(frozen=True, eq=False)
class Language:
    """L_v: the sets of programs with a state in common, with the truth set of each. Made by
    :func:`language`.

    ``truth[x]`` (uint64) is the bitmask of states satisfying every program of ``x``; ``member[x]``
    says that it is not empty. Both have shape ``(2**m,)``. ``len`` is ``|L_v|``.
    """

    vocabulary: Vocabulary
    truth: np.ndarray
    member: np.ndarray

    def __len__(self) -> int:
        return int(np.count_nonzero(self.member))


@checked()
def language(v: Vocabulary) -> Language:
    """Enumerate L_v, by doubling over the programs.

    >>> len(language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2]}, n_states=3)))
    6
    """
    truth = np.array([(1 << v.n_states) - 1], dtype=np.uint64)
    for program in v.programs:
        truth = np.concatenate([truth, truth & np.uint64(program)])
    return Language(v, truth, truth != 0)


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

    >>> lang = language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2]}, n_states=3))
    >>> statement(lang, ["a", "b"])
    3
    >>> statement(lang, ["a", "b", "c"])
    Traceback (most recent call last):
    flatness.weakness.languages.ClashError: not a statement ... together
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
    return (subset_sum(statement_set(lang, statements).astype(np.int64)) > 0) & lang.member


@checked(overflow=False, measure=rules.any_dtype)
def weakness(lang: Language, measure: np.ndarray | None = None) -> np.ndarray:
    """w(x) = |Ext(x)| for every set of programs x, shape ``(2**m,)``, int64; 0 outside the
    language.

    With ``measure``, nonnegative numbers of shape ``(2**m,)``, the mu-weakness: the measure of
    Ext(x) instead.

    >>> weakness(language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2]}, n_states=3))).tolist()
    [6, 2, 3, 1, 2, 0, 1, 0]
    """
    if measure is None:
        return superset_sum(lang.member.astype(np.int64))
    measure = np.asarray(measure)
    if measure.dtype != object:
        real_array("measure", measure)
    if measure.shape != lang.member.shape or (measure < 0).any():
        raise ValueError(f"measure must be nonnegative with shape {lang.member.shape}")
    return superset_sum(np.where(lang.member, measure, 0))


def maximal(lang: Language) -> np.ndarray:
    """Boolean array of the statements whose only completion is themselves: the fully specified
    ones.
    """
    return lang.member & (weakness(lang) == 1)
