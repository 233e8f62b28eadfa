"""Version spaces in the language of weakness: hypotheses as states, "x has label c" as programs.

A class of hypotheses is an integer array (H, m): row h holds the labels that hypothesis h gives to
the m points of a finite domain. Mitchell's version space of a sample is the set of hypotheses that
agree with it, which is the truth set of the sample read as a statement. Sources: Mitchell (1982);
the identities are our chapter b7_neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flatness._internal import rules
from flatness._internal.arguments import integer, integer_array
from flatness._internal.checks import checked
from flatness.weakness.languages import Language, Vocabulary


def hypothesis_class(rows) -> np.ndarray:
    """A checked class: distinct rows of nonnegative integer labels, int64 (H, m), in lexicographic
    order.

    >>> hypothesis_class([[0, 1], [0, 0], [0, 1]]).tolist()
    [[0, 0], [0, 1]]
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "iub" or rows.min() < 0:
        raise ValueError(
            f"rows: expected nonnegative integer labels of shape (H, m), got {rows.dtype} "
            f"{rows.shape}"
        )
    return np.unique(rows.astype(np.int64), axis=0)


def _class(name: str, hypotheses: np.ndarray, sizes: dict) -> None:
    whole = hypotheses.ndim == 2 and hypotheses.dtype.kind in "iub"
    if not whole or hypotheses.shape[1] > 24 or (hypotheses.size and hypotheses.min() < 0):
        raise ValueError(
            f"{name}: expected nonnegative integer labels of shape (H, m <= 24), got "
            f"{hypotheses.dtype} {hypotheses.shape}"
        )


@checked(hypotheses=_class, classes=rules.at_least(1))
def point_vocabulary(hypotheses: np.ndarray, classes: int = 2) -> Vocabulary:
    """States are the hypotheses; program ``x * classes + c``, named "x=c", holds where h(x) = c.

    >>> point_vocabulary(hypothesis_class([[0, 0], [0, 1]])).names
    ('0=0', '0=1', '1=0', '1=1')
    """
    count, m = hypotheses.shape
    if not hypotheses.size:
        raise ValueError("hypotheses: expected at least one hypothesis on at least one point")
    if hypotheses.max() >= classes:
        raise ValueError(
            "classes, hypotheses: expected more classes than the largest label "
            f"{hypotheses.max()}, got {classes}"
        )
    programs, names = [], []
    for x in range(m):
        for c in range(classes):
            programs.append(sum(1 << int(h) for h in np.flatnonzero(hypotheses[:, x] == c)))
            names.append(f"{x}={c}")
    return Vocabulary(count, tuple(programs), tuple(names))


@checked(classes=rules.at_least(1))
def sample_statement(sample: Mapping[int, int], classes: int = 2) -> int:
    """The labelled points ``{x: c}`` as a statement: a bitmask over :func:`point_vocabulary`."""
    for x, c in sample.items():
        integer("sample", x, 0)
        integer("sample", c, 0, classes - 1)
    return sum(1 << (x * classes + c) for x, c in sample.items())


@checked(hypotheses=_class)
def version_space(hypotheses: np.ndarray, sample: Mapping[int, int]) -> np.ndarray:
    """The hypotheses that agree with the sample, shape (V, m); V is 0 if there is none.

    >>> version_space(hypothesis_class([[0, 0], [0, 1], [1, 1]]), {1: 1}).tolist()
    [[0, 1], [1, 1]]
    """
    for x, c in sample.items():
        integer("sample", x, 0, hypotheses.shape[1] - 1)
        integer("sample", c, 0)
    agree = np.ones(len(hypotheses), dtype=bool)
    for x, c in sample.items():
        agree &= hypotheses[:, x] == c
    return hypotheses[agree]


@checked(hypotheses=_class)
def restriction_counts(hypotheses: np.ndarray) -> np.ndarray:
    """|H_S|, the number of labellings of S in H, for every set S of points: int64 (2**m,), by
    bitmask.

    |H_S| is 1 for the empty set (0 for no hypotheses), and the maximum over |S| = s is the growth
    function at s.

    >>> restriction_counts(hypothesis_class([[0, 0], [0, 1], [1, 1]])).tolist()
    [1, 2, 2, 3]
    """
    count, m = hypotheses.shape
    if not count:
        return np.zeros(1 << m, dtype=np.int64)
    sizes = [
        len(np.unique(hypotheses[:, [x for x in range(m) if mask >> x & 1]], axis=0)) if mask else 1
        for mask in range(1 << m)
    ]
    return np.array(sizes, dtype=np.int64)


@checked(hypotheses=_class)
def vc_dimension(hypotheses: np.ndarray) -> int:
    """Largest size of a set that a binary class shatters, |H_S| = 2^|S|; -1 for an empty class.

    >>> vc_dimension(hypothesis_class([[0, 0], [0, 1], [1, 1]]))
    1
    """
    if hypotheses.size and hypotheses.max() > 1:
        raise ValueError(
            f"hypotheses: expected a binary class, got labels up to {hypotheses.max()}"
        )
    counts = restriction_counts(hypotheses)
    sizes = np.bitwise_count(np.arange(len(counts))).astype(np.int64)
    return int(sizes[counts == 1 << sizes].max(initial=-1))


@checked(policies=rules.any_dtype)
def boundaries(policies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boundary sets of statements (bitmasks): the minimal ones (G, most general) and the maximal
    (S).
    """
    policies = integer_array("policies", policies, 0).astype(np.int64)
    if policies.ndim != 1:
        raise ValueError(f"policies: expected bitmasks (k,), got shape {policies.shape}")
    below = (policies[:, None] & policies[None, :]) == policies[:, None]  # [i, j]: i contained in j
    np.fill_diagonal(below, False)
    return policies[~below.any(0)], policies[~below.any(1)]


@checked(policies=rules.any_dtype)
def is_convex(policies: np.ndarray, lang: Language) -> bool:
    """Whether every statement between two of the policies (in the order of inclusion) is one of
    them.
    """
    if integer_array("policies", policies, 0, len(lang.member) - 1).ndim != 1:
        raise ValueError(f"policies: expected bitmasks (k,), got shape {np.shape(policies)}")
    if not len(policies):
        return True
    chosen = np.zeros(len(lang.member), dtype=bool)
    chosen[policies] = True
    masks = np.flatnonzero(lang.member)
    general, specific = boundaries(policies)
    above = ((masks[:, None] & general) == general).any(1)
    below = ((masks[:, None] & specific) == masks[:, None]).any(1)
    return bool((chosen[masks] == (above & below)).all())
