"""Models of what a parent task demands: random subsets S of a finite set U, in exact rational
arithmetic.

A policy with buffer B survives the demands S when S is contained in B. A *size law* ``(p_0, ...,
p_u)`` describes an exchangeable model (given its size, S is uniform among the subsets of that
size); a *subset law*, an object array of shape ``(2**u,)`` over bitmasks, describes any model.
Sources: Paper B (uniform and exchangeable demands); the general laws, the equivalence and the
boundary are our chapter ``b1_language``. The continuous models are in
:mod:`flatness.weakness.point_demands`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from math import comb, prod

import numpy as np

from flatness._internal import rules
from flatness._internal.arguments import integer, integer_array
from flatness._internal.checks import checked
from flatness.weakness.languages import subset_sum
from flatness.weakness.statements import length

MAX_UNSEEN = 22
SizeLaw = tuple[Fraction, ...]


def size_law(probabilities: Sequence) -> SizeLaw:
    """A checked size law: nonnegative rationals that add up to one exactly.

    >>> size_law(["1/2", 0, "1/2"])
    (Fraction(1, 2), Fraction(0, 1), Fraction(1, 2))
    """
    return _law("probabilities", probabilities)


def _law(name: str, probabilities: Sequence) -> SizeLaw:
    law = tuple(_fraction(name, p) for p in probabilities)
    if not law or any(p < 0 for p in law) or sum(law) != 1:
        raise ValueError(
            f"{name} must be nonnegative and add up to one exactly, got "
            + str([str(p) for p in law])
        )
    return law


@checked(u=rules.at_least(0))
def uniform_sizes(u: int) -> SizeLaw:
    """S uniform over all ``2**u`` subsets: ``p_k = C(u, k) / 2**u``."""
    return bernoulli_sizes(u, Fraction(1, 2))


@checked(u=rules.at_least(0))
def bernoulli_sizes(u: int, q: Fraction | float | str) -> SizeLaw:
    """Each element demanded independently with the same probability ``q``."""
    q = _probability("q", q)
    return size_law([comb(u, k) * q**k * (1 - q) ** (u - k) for k in range(u + 1)])


@checked(u=rules.at_least(0))
def fixed_size(u: int, k: int) -> SizeLaw:
    """Exactly ``k`` demands, uniformly among the subsets of that size."""
    if not 0 <= k <= u:
        raise ValueError(f"k must be between 0 and u = {u}, got {k}")
    return size_law([int(j == k) for j in range(u + 1)])


def mixture(weights: Sequence, laws: Sequence[SizeLaw]) -> SizeLaw:
    """The mixture of size laws on the same U: ``weights[i]`` of ``laws[i]``."""
    if isinstance(laws, str) or not all(isinstance(law, Sequence) for law in laws):
        raise ValueError(f"laws: expected size laws, got {laws!r}"[:200])
    weights, laws = _law("weights", weights), [size_law(law) for law in laws]
    if len(weights) != len(laws) or len({len(law) for law in laws}) != 1:
        raise ValueError(
            "weights, laws: give one weight for each law, all on a set U of the same size"
        )
    return size_law([sum(w * law[k] for w, law in zip(weights, laws)) for k in range(len(laws[0]))])


@checked()
def survival(law: Sequence[Fraction], b: int) -> Fraction:
    """P(S contained in B) for ``|B| = b`` under a size law: ``sum_k p_k C(b, k) / C(u, k)``.

    For uniform demands this is ``2**b / 2**u``.

    >>> survival(uniform_sizes(5), 3)
    Fraction(1, 4)
    """
    law = size_law(law)
    u = len(law) - 1
    if not 0 <= b <= u:
        raise ValueError(f"b must be between 0 and {u}, got {b}")
    return sum((p * Fraction(comb(b, k), comb(u, k)) for k, p in enumerate(law)), Fraction(0))


@checked()
def separates(law: Sequence[Fraction], b: int) -> bool:
    """Whether survival at ``b`` is strictly above survival at all smaller sizes: ``P(1 <= |S| <= b)
    > 0``.
    """
    law = size_law(law)
    if not 0 <= b < len(law):
        raise ValueError(f"b must be between 0 and {len(law) - 1}, got {b}")
    return any(p > 0 for p in law[1 : b + 1])


def subset_law(law: SizeLaw) -> np.ndarray:
    """The size law spread over all subsets: an object array of Fractions, shape ``(2**u,)``."""
    law = size_law(law)
    u = _checked_size(len(law) - 1)
    share = [p / comb(u, k) for k, p in enumerate(law)]
    return np.array([share[k] for k in length(np.arange(1 << u))], dtype=object)


def independent_demands(chances: Sequence) -> np.ndarray:
    """Element i demanded independently with probability ``chances[i]``: a subset law, exchangeable
    only if all are equal.

    >>> [str(p) for p in independent_demands(["1/2", "1/3"])]
    ['1/3', '1/3', '1/6', '1/6']
    """
    law = np.array([Fraction(1)], dtype=object)
    for i in range(_checked_size(len(chances))):
        q = _probability("chances", chances[i])
        law = np.concatenate([law * (1 - q), law * q])
    return law


@checked()
def point_mass(u: int, demands: int) -> np.ndarray:
    """The parent demands exactly the subset with bitmask ``demands``, surely: a subset law."""
    if not 0 <= demands < 1 << _checked_size(u):
        raise ValueError(f"demands must be a bitmask over u = {u} elements, got {demands}")
    law = np.full(1 << u, Fraction(0), dtype=object)
    law[demands] = Fraction(1)
    return law


def coherent_demands(elements: np.ndarray) -> np.ndarray:
    """S uniform over the subsets of U that are closed under completion within U: a subset law.

    ``elements`` holds the statements of U as bitmasks over programs (see
    :func:`flatness.weakness.tasks.unseen_masks`).
    """
    elements = integer_array("elements", elements, 0)
    if elements.ndim != 1:
        raise ValueError(f"elements: expected shape (u,), got {elements.shape}")
    u = _checked_size(len(elements))
    subsets = np.arange(1 << u)
    closed = np.ones(1 << u, dtype=bool)
    for i, x in enumerate(elements.tolist()):
        above = sum(1 << j for j, y in enumerate(elements.tolist()) if y & x == x)
        closed &= (subsets >> i & 1 == 0) | (subsets & above == above)
    n_closed = int(np.count_nonzero(closed))
    law = np.full(1 << u, Fraction(0), dtype=object)
    law[closed] = Fraction(1, n_closed)
    return law


def survival_independent(chances: Sequence, buffer: int) -> Fraction:
    """P(S contained in B) for independent demands: the product of ``1 - chances[i]`` over i outside
    B.
    """
    _bitmask("buffer", buffer, len(chances))
    chances = [_probability("chances", q) for q in chances]
    return prod((1 - q for i, q in enumerate(chances) if not buffer >> i & 1), start=Fraction(1))


def survival_by_enumeration(law: np.ndarray, buffer: int) -> Fraction:
    """P(S contained in B) under a subset law, by looking at each of the ``2**u`` possible demands
    in turn.
    """
    subsets = np.arange(len(_checked_law(law)))
    _bitmask("buffer", buffer, len(law).bit_length() - 1)
    return sum(law[subsets & ~buffer == 0].tolist(), Fraction(0))


def survival_table(law: np.ndarray) -> np.ndarray:
    """P(S contained in B) for every subset B of U at once, shape ``(2**u,)``: a subset sum over the
    law.
    """
    return subset_sum(_checked_law(law))


def is_exchangeable(law: np.ndarray) -> bool:
    """Whether the probability of a subset depends on its size alone."""
    sizes = length(np.arange(len(_checked_law(law))))
    return all(len(set(law[sizes == k].tolist())) == 1 for k in range(int(sizes.max()) + 1))


@checked()
def count_survivors(u: int, buffer: int) -> int:
    """Number of subsets S of U contained in ``buffer``, counted by looking at all ``2**u``."""
    subsets = np.arange(1 << _checked_size(u))
    _bitmask("buffer", buffer, u)
    return int(np.count_nonzero(subsets & ~buffer == 0))


def survival_with_atoms(
    masses: Sequence[int], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random exchangeable model on atoms of the given masses: (measure, P(S contained in B)) for
    all ``2**m`` B.

    A uniformly random law over the subsets (Dirichlet) is averaged over all permutations of the
    atoms that preserve the masses, so that it is invariant under them; it gives every subset
    positive probability. Floating point.
    """
    masses = integer_array("masses", masses, 0).tolist()
    m = len(masses) if isinstance(masses, list) else 0
    if not 1 <= m <= 6:
        raise ValueError(f"masses: between 1 and 6 atoms can be enumerated, got {m}")
    kept = [s for s in permutations(range(m)) if all(masses[s[i]] == masses[i] for i in range(m))]
    raw, law = generator.dirichlet(np.ones(2**m)), np.zeros(2**m)
    for s in kept:
        law[[sum(1 << s[i] for i in range(m) if x >> i & 1) for x in range(2**m)]] += raw / len(
            kept
        )
    bits = np.arange(2**m)[:, None] >> np.arange(m) & 1
    return bits @ np.asarray(masses), subset_sum(law)


def _fraction(name: str, value: Fraction | float | str) -> Fraction:
    try:
        return Fraction(value)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        raise ValueError(f"{name}: expected a rational number, got {value!r}") from None


def _bitmask(name: str, buffer: int, u: int) -> None:
    """ValueError unless the bitmask is one over u elements."""
    integer(name, buffer)
    if not 0 <= buffer < 1 << u:
        raise ValueError(f"{name} must be a bitmask over u = {u} elements, got {buffer}")


def _probability(name: str, value: Fraction | float | str) -> Fraction:
    value = _fraction(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    return value


def _checked_size(u: int) -> int:
    integer("u", u)
    if not 0 <= u <= MAX_UNSEEN:
        raise ValueError(
            f"u: subset laws are enumerated for at most {MAX_UNSEEN} unseen statements, got {u}"
        )
    return u


def _checked_law(law: np.ndarray) -> np.ndarray:
    exact = isinstance(law, np.ndarray) and law.dtype == object and law.ndim == 1
    exact = exact and all(isinstance(p, Fraction | int) for p in law)
    if (
        not exact
        or not law.size
        or law.size & (law.size - 1)
        or min(law) < 0
        or sum(law.tolist()) != 1
    ):
        raise ValueError(
            "law: a subset law is an object array of shape (2**u,) that adds up to one exactly"
        )
    return law
