"""Weakest and shortest policies and their fates, against definitions and exact probabilities."""

from fractions import Fraction

import numpy as np
import pytest

from flatness.weakness import selection
from flatness.weakness.demands import independent_demands, survival_by_enumeration
from flatness.weakness.languages import language, maximal, vocabulary
from flatness.weakness.statements import length, statement
from flatness.weakness.tasks import buffer_sizes, correct_policies, task, unseen_masks


@pytest.fixture
def animals():
    """Two policies with disjoint buffers: {flies, lays} is weakest, {sings} is shortest."""
    lang = language(
        vocabulary(
            {
                "flies": [0, 1, 3],
                "lays": [0, 2, 3],
                "sings": [0],
                "furry": [1, 2],
                "swims": [3],
                "white": [3],
            },
            4,
        )
    )
    sparrow = ["flies", "lays", "sings"]
    return task(lang, [sparrow, ["furry"]], [sparrow])


def small_tasks(wanted=25):
    rng = np.random.default_rng(3)
    drawn = []
    while len(drawn) < wanted:
        draw, n = ((selection.random_task, 5), (selection.example_task, 3))[len(drawn) % 2]
        t = draw(rng, 5, n, 0.5, 2)
        if 0 < t.unseen.sum() <= 12:
            drawn.append(t)
    return drawn


def test_weakest_and_shortest_on_the_animals(animals):
    lang = animals.language
    assert selection.weakest(animals).tolist() == [statement(lang, ["flies", "lays"])]
    assert selection.shortest(animals).tolist() == [statement(lang, "sings")]
    assert selection.disagree(animals)
    assert not selection.disagree(animals, costs=[1, 1, 3, 1, 1, 1])


def test_weakest_and_shortest_are_the_extremes_among_correct_policies():
    for t in small_tasks():
        policies = correct_policies(t).tolist()
        sizes = buffer_sizes(t)
        largest = max(sizes[p] for p in policies)
        assert selection.weakest(t).tolist() == [p for p in policies if sizes[p] == largest]
        fewest = min(p.bit_count() for p in policies)
        assert selection.shortest(t).tolist() == [p for p in policies if p.bit_count() == fewest]


def test_length_with_costs():
    assert length(np.array([0b101, 0b010]), [5, 1, 2]).tolist() == [7, 1]


def proportional(a, b):
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return np.allclose(a * b.max(), b * a.max(), rtol=1e-12)


def test_relative_survival_agrees_with_enumeration_over_all_demands():
    for t in small_tasks():
        policies = correct_policies(t)
        elements, masks = unseen_masks(t, policies)
        u, subsets = len(elements), np.arange(2 ** len(elements))
        rng = np.random.default_rng(0)
        inside = [[int(s) & ~b == 0 for s in subsets] for b in masks]
        assert proportional(selection.uniform(t, policies, rng), [sum(row) for row in inside])
        assert proportional(selection.one_demand(t, policies, rng), [b.bit_count() for b in masks])
        full = sum(1 << i for i, x in enumerate(elements.tolist()) if maximal(t.language)[x])
        assert proportional(
            selection.fully_specified(t, policies, rng),
            [sum(ok for s, ok in zip(subsets, row) if int(s) & ~full == 0) for row in inside],
        )
        chances = selection.teacher(t, policies, rng)
        for chance, row in zip(chances, inside):
            shares = [
                sum(ok for s, ok in zip(subsets, row) if int(s) & ~held == 0)
                / 2 ** held.bit_count()
                for held in masks
            ]
            assert chance == pytest.approx(np.mean(shares), rel=1e-12)
        costs = np.random.default_rng(0).choice([1, 4], size=t.unseen.shape)[elements]
        law = independent_demands([1 - Fraction(1, 2 ** int(c)) for c in costs]) if u <= 8 else None
        if law is not None:
            exact = [survival_by_enumeration(law, b) for b in masks]
            assert proportional(selection.uneven(t, policies, np.random.default_rng(0)), exact)


def test_weakest_never_loses_under_exchangeable_demands_and_can_lose_otherwise(animals):
    drawn = small_tasks()
    for prior in (selection.uniform, selection.one_demand):
        assert (selection.compare(drawn, prior, np.random.default_rng(0)) >= 0).all()

    def singers(t, policies, generator):
        sings = statement(t.language, "sings")
        return np.array([float(p & sings > 0) for p in policies.tolist()])

    assert selection.compare([animals], selection.uniform, np.random.default_rng(0)).tolist() == [1]
    assert selection.compare([animals], singers, np.random.default_rng(0)).tolist() == [-1]


def test_random_tasks_have_something_to_decide():
    rng = np.random.default_rng(1)
    for _ in range(20):
        t = selection.random_task(rng, 6, 6, 0.5, 2)
        assert t.outputs.any() and t.unseen.any() and len(correct_policies(t))
        t = selection.example_task(rng, 6, 3, 0.5, 3)
        assert maximal(t.language)[t.inputs].all()
        plain = selection.example_task(rng, 6, 4, 0.5, 3, negations=False)
        assert len(plain.language.vocabulary.programs) == 4 and plain.unseen.any()
