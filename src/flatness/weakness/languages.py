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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from flatness._internal import rules
from flatness._internal.arguments import integer, integer_array, real_array
from flatness._internal.checks import checked

MAX_STATES = 64
MAX_PROGRAMS = 24


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
    return _zeta(values, receiving=0)


@checked(values=rules.any_dtype)
def subset_sum(values: np.ndarray) -> np.ndarray:
    """``out[x] = sum of values[y] over all y contained in x`` for an array of shape ``(2**m,)``.

    >>> subset_sum(np.array([1, 10, 100, 1000])).tolist()
    [1, 11, 101, 1111]
    """
    return _zeta(values, receiving=1)


def _zeta(values: np.ndarray, receiving: int) -> np.ndarray:
    """Bit by bit, the half of the sets without it (0) or with it (1) receives the other half."""
    out = np.array(values)
    for k in range(_exponent(out)):
        halves = out.reshape(-1, 2, 1 << k)
        halves[:, receiving] += halves[:, 1 - receiving]
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
