"""Languages by bitsets against languages by Python sets, and the properties the definitions
promise.
"""

from itertools import combinations
from math import comb
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.weakness.languages import (
    Vocabulary,
    language,
    maximal,
    random_vocabulary,
    relabel_states,
    subset_sum,
    superset_sum,
    vocabulary,
    weakness,
)
from flatness.weakness.statements import (
    ClashError,
    clash,
    extension,
    length,
    spell,
    statement,
    statement_set,
)

repeatable = settings(max_examples=examples(60))


@st.composite
def vocabularies(draw, max_programs=6):
    n_states = draw(st.integers(1, 6))
    programs = draw(st.lists(st.integers(0, 2**n_states - 1), max_size=max_programs))
    return Vocabulary(n_states, tuple(programs), tuple(f"p{k}" for k in range(len(programs))))


def reference_language(v):
    """L_v as a set of frozensets of program indices, straight from the definition."""
    sets = [{s for s in range(v.n_states) if p >> s & 1} for p in v.programs]
    everything = range(len(sets))
    return {
        frozenset(chosen)
        for r in range(len(sets) + 1)
        for chosen in combinations(everything, r)
        if set(range(v.n_states)).intersection(*(sets[k] for k in chosen))
    }


def as_set(mask, m):
    return frozenset(k for k in range(m) if int(mask) >> k & 1)


@repeatable
@given(vocabularies())
def test_language_truth_and_weakness_agree_with_sets(v):
    lang, m = language(v), len(v.programs)
    expected = reference_language(v)
    assert {as_set(x, m) for x in np.flatnonzero(lang.member)} == expected
    assert len(lang) == len(expected)
    w = weakness(lang)
    for x in range(2**m):
        truth = {s for s in range(v.n_states) if all(v.programs[k] >> s & 1 for k in as_set(x, m))}
        assert {s for s in range(v.n_states) if int(lang.truth[x]) >> s & 1} == truth
        completions = {y for y in expected if as_set(x, m) <= y}
        assert w[x] == len(completions)
        if lang.member[x]:
            assert {as_set(y, m) for y in np.flatnonzero(extension(lang, [x]))} == completions


@repeatable
@given(vocabularies())
def test_language_is_downward_closed_and_the_empty_statement_is_weakest(v):
    lang = language(v)
    members = np.flatnonzero(lang.member)
    for x in members.tolist():
        assert all(lang.member[x & ~(1 << k)] for k in range(len(v.programs)))
    assert weakness(lang)[0] == len(lang) == weakness(lang).max()


@repeatable
@given(vocabularies(), st.data())
def test_extension_is_antitone_in_the_statement(v, data):
    lang = language(v)
    larger = data.draw(st.sampled_from(np.flatnonzero(lang.member).tolist()))
    smaller = larger & data.draw(st.integers(0, lang.member.size - 1))
    assert not (extension(lang, [larger]) & ~extension(lang, [smaller])).any()
    assert weakness(lang)[larger] <= weakness(lang)[smaller]


@repeatable
@given(vocabularies(), st.data())
def test_extension_is_antitone_only_downwards(v, data):
    """Adding a statement to a *set* enlarges its extension: Ext(X) is the union of the Ext(x)."""
    lang = language(v)
    chosen = data.draw(st.lists(st.sampled_from(np.flatnonzero(lang.member).tolist()), max_size=3))
    union = np.zeros_like(lang.member)
    for x in chosen:
        union |= extension(lang, [x])
    assert np.array_equal(extension(lang, chosen), union)


@repeatable
@given(vocabularies(), st.randoms(use_true_random=False))
def test_renaming_states_changes_neither_language_nor_weakness(v, random):
    order = list(range(v.n_states))
    random.shuffle(order)
    a, b = language(v), language(relabel_states(v, order))
    assert np.array_equal(a.member, b.member)
    assert np.array_equal(weakness(a), weakness(b))


@repeatable
@given(vocabularies(), st.data())
def test_a_clash_is_named_and_minimal(v, data):
    lang, m = language(v), len(v.programs)
    mask = data.draw(st.integers(0, 2**m - 1))
    if lang.member[mask]:
        assert clash(lang, mask) == ()
        assert statement(lang, mask) == mask
        return
    with pytest.raises(ClashError) as caught:
        statement(lang, mask)
    named = sum(1 << v.names.index(name) for name in caught.value.programs)
    assert named & ~mask == 0 and not lang.member[named]
    assert all(lang.member[named & ~(1 << k)] for k in range(m) if named >> k & 1)


@repeatable
@given(st.integers(0, 6), st.data())
def test_lattice_sums_agree_with_double_loops(m, data):
    values = np.array(
        data.draw(st.lists(st.integers(-9, 9), min_size=2**m, max_size=2**m)), dtype=np.int64
    )
    up, down = superset_sum(values), subset_sum(values)
    for x in range(2**m):
        assert up[x] == sum(values[y] for y in range(2**m) if x & y == x)
        assert down[x] == sum(values[y] for y in range(2**m) if x & y == y)


@pytest.mark.parametrize("m", [1, 4, 9])
def test_closed_forms(m):
    # programs that all hold everywhere: every set is a statement, and w(x) = 2**(m - |x|)
    names = tuple(f"p{k}" for k in range(m))
    everything = language(Vocabulary(3, (7,) * m, names))
    x = np.arange(2**m)
    assert np.array_equal(weakness(everything), 2 ** (m - length(x)))
    # program k excludes state k alone: only the full set is inconsistent
    holes = language(Vocabulary(m, tuple((2**m - 1) & ~(1 << k) for k in range(m)), names))
    assert len(holes) == 2**m - 1
    # disjoint programs: the empty statement and the singletons
    disjoint = language(Vocabulary(m, tuple(1 << k for k in range(m)), names))
    assert len(disjoint) == m + 1
    # literals over r variables: each variable true, false or open, and w is 3 to the number of open
    # ones
    r = max(m // 2, 1)
    states = np.arange(2**r)
    literals = {
        f"{'not ' * (1 - bit)}x{i}": np.flatnonzero((states >> i & 1) == bit).tolist()
        for i in range(r)
        for bit in (0, 1)
    }
    lang = language(vocabulary(literals, 2**r))
    assert len(lang) == 3**r
    counts = np.unique(weakness(lang)[lang.member], return_counts=True)
    assert dict(zip(*(c.tolist() for c in counts))) == {
        3 ** (r - j): comb(r, j) * 2**j for j in range(r + 1)
    }


def test_measure_weakness_generalises_counting():
    rng = np.random.default_rng(0)
    lang = language(random_vocabulary(rng, 5, 7, 0.6))
    assert np.array_equal(weakness(lang, np.ones(2**7, dtype=np.int64)), weakness(lang))
    mu = rng.random(2**7)
    x = int(np.flatnonzero(lang.member)[3])
    assert weakness(lang, mu)[x] == pytest.approx(mu[extension(lang, [x])].sum(), rel=1e-12)


def test_maximal_statements_are_those_with_no_larger_statement():
    lang = language(random_vocabulary(np.random.default_rng(1), 6, 7, 0.5))
    members = set(np.flatnonzero(lang.member).tolist())
    expected = {x for x in members if not any(y != x and y & x == x for y in members)}
    assert set(np.flatnonzero(maximal(lang)).tolist()) == expected


def test_sixty_four_states_fit():
    lang = language(vocabulary({"last": [63], "all": range(64)}, 64))
    assert len(lang) == 4 and int(lang.truth[1]) == 1 << 63


def test_twenty_programs_are_enumerated_in_seconds():
    start = perf_counter()
    lang = language(random_vocabulary(np.random.default_rng(2), 64, 20, 0.7))
    w = weakness(lang)
    elapsed = perf_counter() - start
    assert w[0] == len(lang) > 10**5
    assert elapsed < 5


def test_wrong_use_is_refused_with_its_reason():
    v = vocabulary({"a": [0, 1], "b": [1, 2], "c": [3], "never": []}, 4)
    lang = language(v)
    assert spell(lang, statement(lang, ["b", "a"])) == "{a, b}" and spell(lang, 0) == "{}"
    with pytest.raises(ClashError, match="{b, c} clash"):
        statement(lang, ["a", "b", "c"])
    with pytest.raises(ClashError, match="{never} is empty"):
        statement(lang, "never")
    with pytest.raises(ValueError, match="unknown programs \\['z'\\]"):
        statement(lang, ["a", "z"])
    with pytest.raises(ValueError, match="outside the vocabulary"):
        statement(lang, 16)
    with pytest.raises(ClashError):
        statement_set(lang, np.ones(16, dtype=bool))
    with pytest.raises(ValueError, match="shape"):
        statement_set(lang, np.ones(8, dtype=bool))
    with pytest.raises(ValueError, match="measure"):
        weakness(lang, -np.ones(16))
    with pytest.raises(ValueError, match="permutation"):
        relabel_states(v, [0, 0, 1, 2])
    with pytest.raises(ValueError, match="n_states"):
        Vocabulary(0, (), ())
    with pytest.raises(ValueError, match="at most 24"):
        Vocabulary(1, (1,) * 25, tuple(map(str, range(25))))
    with pytest.raises(ValueError, match="distinct"):
        Vocabulary(1, (1, 1), ("a", "a"))
    with pytest.raises(ValueError, match="outside 0..1"):
        vocabulary({"a": [2]}, 2)
    with pytest.raises(ValueError, match="outside 0..1"):
        Vocabulary(2, (4,), ("a",))
    with pytest.raises(ValueError, match="2\\*\\*m"):
        superset_sum(np.ones(3))
