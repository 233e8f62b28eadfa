"""Exact survival probabilities against sums over all demands, and what holds only for exchangeable
models.
"""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.weakness.demands import (
    bernoulli_sizes,
    coherent_demands,
    count_survivors,
    fixed_size,
    independent_demands,
    is_exchangeable,
    mixture,
    point_mass,
    separates,
    size_law,
    subset_law,
    survival,
    survival_by_enumeration,
    survival_independent,
    survival_table,
    survival_with_atoms,
    uniform_sizes,
)

repeatable = settings(max_examples=examples(40))


@st.composite
def size_laws(draw, max_unseen=6):
    weights = draw(st.lists(st.integers(0, 5), min_size=1, max_size=max_unseen + 1).filter(any))
    return size_law([Fraction(w, sum(weights)) for w in weights])


def reference_survival(law, b):
    """Draw the size, then look at every subset of that size."""
    u = len(law) - 1
    total = Fraction(0)
    for k, p in enumerate(law):
        subsets = list(combinations(range(u), k))
        total += p * Fraction(sum(all(i < b for i in s) for s in subsets), len(subsets))
    return total


@repeatable
@given(size_laws())
def test_exchangeable_survival_by_three_routes(law):
    u = len(law) - 1
    spread = subset_law(law)
    table = survival_table(spread)
    assert is_exchangeable(spread)
    for buffer in range(2**u):
        b = buffer.bit_count()
        assert survival(law, b) == reference_survival(law, b) == table[buffer]
        assert survival_by_enumeration(spread, buffer) == table[buffer]


@repeatable
@given(size_laws())
def test_survival_rises_with_size_strictly_exactly_where_demands_separate(law):
    values = [survival(law, b) for b in range(len(law))]
    for b in range(1, len(law)):
        assert values[b] >= values[b - 1]
        assert (values[b] > values[b - 1]) == separates(law, b)


@pytest.mark.parametrize("u", [0, 1, 5, 12])
def test_uniform_demands_give_the_paper_formula(u):
    for b in range(u + 1):
        counted = Fraction(count_survivors(u, 2**b - 1), 2**u)
        assert survival(uniform_sizes(u), b) == Fraction(2**b, 2**u) == counted


def test_closed_forms():
    assert survival(bernoulli_sizes(7, "1/3"), 4) == Fraction(2, 3) ** 3
    assert survival(fixed_size(9, 2), 5) == Fraction(10, 36)
    law = mixture(["1/4", "3/4"], [fixed_size(6, 1), fixed_size(6, 6)])
    assert survival(law, 3) == Fraction(1, 8) and survival(law, 6) == 1


@repeatable
@given(st.lists(st.integers(0, 6), max_size=6))
def test_independent_demands_multiply(tenths):
    chances = [Fraction(q, 6) for q in tenths]
    law = independent_demands(chances)
    for buffer in range(len(law)):
        assert survival_independent(chances, buffer) == survival_by_enumeration(law, buffer)
    assert is_exchangeable(law) or len(set(chances)) > 1


@repeatable
@given(st.integers(0, 4), st.data())
def test_survival_depends_on_size_alone_only_for_exchangeable_laws(u, data):
    weights = data.draw(st.lists(st.integers(0, 3), min_size=2**u, max_size=2**u).filter(any))
    law = np.array([Fraction(w, sum(weights)) for w in weights], dtype=object)
    table = survival_table(law)
    sizes = np.array([x.bit_count() for x in range(2**u)])
    by_size_alone = all(len(set(table[sizes == k].tolist())) == 1 for k in range(u + 1))
    assert by_size_alone == is_exchangeable(law)


def test_point_mass_lets_the_smaller_buffer_win():
    table = survival_table(point_mass(5, 0b00001))
    assert table[0b00001] == 1 and table[0b11110] == 0


def test_coherent_demands_are_the_sets_closed_under_completion():
    # a chain of three statements has 4 closed sets, an antichain of three has 8
    chain, antichain = np.array([1, 3, 7]), np.array([1, 2, 4])
    assert np.count_nonzero(coherent_demands(chain)) == 4
    assert np.count_nonzero(coherent_demands(antichain)) == 8
    law = coherent_demands(np.array([1, 2, 3]))
    assert [x for x in range(8) if law[x]] == [0b000, 0b100, 0b101, 0b110, 0b111]


def test_atoms_of_equal_mass_see_the_size_alone_and_others_only_their_symmetries():
    measure, survival_ = survival_with_atoms([1, 1, 1], np.random.default_rng(0))
    assert measure.tolist() == [0, 1, 1, 2, 1, 2, 2, 3] and survival_[7] == pytest.approx(1)
    for size in range(4):
        assert np.ptp(survival_[measure == size]) < 1e-12
    measure, survival_ = survival_with_atoms([2, 1, 1], np.random.default_rng(0))
    assert survival_[0b010] == pytest.approx(survival_[0b100], rel=1e-12)
    assert measure[0b001] == measure[0b110] and abs(survival_[0b001] - survival_[0b110]) > 1e-3
    with pytest.raises(ValueError, match="masses"):
        survival_with_atoms([1] * 7, np.random.default_rng(0))


def test_wrong_use_is_refused_with_its_reason():
    with pytest.raises(ValueError, match="add up to one"):
        size_law(["1/2", "1/3"])
    with pytest.raises(ValueError, match="nonnegative"):
        size_law([2, -1])
    with pytest.raises(ValueError, match="q must lie"):
        bernoulli_sizes(3, 2)
    with pytest.raises(ValueError, match="k must be"):
        fixed_size(3, 4)
    with pytest.raises(ValueError, match="b must be"):
        survival(uniform_sizes(3), 4)
    with pytest.raises(ValueError, match="same size"):
        mixture([1], [fixed_size(2, 1), fixed_size(3, 1)])
    with pytest.raises(ValueError, match="at most 22"):
        count_survivors(23, 0)
    with pytest.raises(ValueError, match="bitmask"):
        point_mass(2, 4)
    with pytest.raises(ValueError, match="subset law"):
        survival_table(np.array([Fraction(1, 2), Fraction(1, 3)], dtype=object))
