"""Version spaces against plain Python sets, and the identities of chapter b7 on random classes."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.weakness.languages import language, weakness
from flatness.weakness.tasks import correct_policies, task_of_policy
from flatness.weakness.version_spaces import (
    boundaries,
    hypothesis_class,
    is_convex,
    point_vocabulary,
    restriction_counts,
    sample_statement,
    vc_dimension,
    version_space,
)

repeatable = settings(max_examples=examples(40))


@st.composite
def classes(draw, max_points=4):
    m = draw(st.integers(1, max_points))
    rows = draw(st.lists(st.tuples(*[st.integers(0, 1)] * m), min_size=1, max_size=12))
    return hypothesis_class(rows)


def subsets(m):
    return [s for r in range(m + 1) for s in combinations(range(m), r)]


@repeatable
@given(classes())
def test_restrictions_and_vc_dimension_by_definition(h):
    m = h.shape[1]
    counts = restriction_counts(h)
    for s in subsets(m):
        assert counts[sum(1 << x for x in s)] == len({tuple(row[list(s)]) for row in h})
    shattered = [
        s
        for s in subsets(m)
        if {tuple(row[list(s)]) for row in h} == set(product((0, 1), repeat=len(s)))
    ]
    assert vc_dimension(h) == max(map(len, shattered))
    assert len(h) <= len(shattered)  # Pajor
    d = vc_dimension(h)
    assert counts.sum() <= sum(comb(m, i) * 2 ** (m - i) for i in range(d + 1))


@repeatable
@given(classes(), st.integers(0, 10**6))
def test_weakness_of_a_sample_counts_labellings_of_its_version_space(h, seed):
    rng, m = np.random.default_rng(seed), h.shape[1]
    truth = h[rng.integers(len(h))]
    sample = {int(x): int(truth[x]) for x in rng.permutation(m)[: rng.integers(0, m + 1)]}
    lang = language(point_vocabulary(h))
    space = version_space(h, sample)
    mask = sample_statement(sample)
    assert {tuple(r) for r in space} == {
        tuple(r) for r in h if all(r[x] == c for x, c in sample.items())
    }
    inside = {tuple(s) for s in space}
    assert int(lang.truth[mask]) == sum(1 << i for i, r in enumerate(h) if tuple(r) in inside)
    rest = [x for x in range(m) if x not in sample]
    assert (
        weakness(lang)[mask] == restriction_counts(space[:, rest] if rest else space[:, :0]).sum()
    )


@repeatable
@given(classes(3), st.integers(0, 10**6))
def test_correct_policies_are_convex_and_bounded_by_their_boundaries(h, seed):
    rng, lang = np.random.default_rng(seed), language(point_vocabulary(h))
    members = np.flatnonzero(lang.member).tolist()
    inputs = [int(members[i]) for i in rng.integers(len(members), size=2)]
    policies = correct_policies(
        task_of_policy(lang, inputs, int(members[rng.integers(len(members))]))
    )
    assert is_convex(policies, lang)
    general, specific = boundaries(policies)
    for p in policies.tolist():
        assert (p in general) == (not any(q != p and q & p == q for q in policies.tolist()))
        assert (p in specific) == (not any(q != p and q & p == p for q in policies.tolist()))
    w = weakness(lang)
    assert set(policies[w[policies] == w[policies].max()]) <= set(general)


def test_a_gap_is_not_convex():
    lang = language(point_vocabulary(hypothesis_class([[0, 0], [0, 1], [1, 1]])))
    assert is_convex(np.array([0b0000, 0b0001, 0b1000, 0b1001]), lang)
    assert not is_convex(np.array([0b0000, 0b0001, 0b1001]), lang)


def test_version_space_may_be_empty_and_bad_input_is_refused():
    h = hypothesis_class([[0, 0], [0, 1]])
    empty = version_space(h, {0: 1})
    assert (
        empty.shape == (0, 2) and restriction_counts(empty).sum() == 0 and vc_dimension(empty) == -1
    )
    for bad in ([0, 1], [[-1, 0]], [[0.5]], np.zeros((0, 3), dtype=int)):
        with pytest.raises(ValueError, match="rows: expected nonnegative integer labels"):
            hypothesis_class(bad)
    with pytest.raises(ValueError, match="classes"):
        point_vocabulary(hypothesis_class([[2]]))
