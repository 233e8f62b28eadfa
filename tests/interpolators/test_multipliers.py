"""The proximal method of multipliers against linear programmes solved from scratch."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from flatness.datasets.targets import draw
from flatness.interpolators import multipliers as module
from flatness.interpolators.certified import MANY, certified_flattest
from flatness.interpolators.column_generation import Master, both_sides, scaled_columns
from flatness.interpolators.multipliers import Multipliers
from flatness.networks.activations import RELU
from flatness.networks.two_layer import at_kink, half_mse


def from_scratch(columns, y, price):
    """(value, alpha, sum of |slack|) by scipy."""
    n, K = len(y), len(columns)
    answer = scipy.optimize.linprog(
        np.concatenate([np.ones(K), price, price]),
        A_eq=np.concatenate([columns.T, np.eye(n), -np.eye(n)], 1),
        b_eq=y,
        method="highs",
    )
    return answer.fun, answer.x[:K], answer.x[K:].sum()


def problem(seed, n, count, d=4, noise=0.3):
    """(columns, y, price) of random neurons, some of them nearly the same, and labels."""
    rng = np.random.default_rng(seed)
    data = draw("relu", n, d, (seed,), noise=noise)
    x, y = data.x[0].numpy(), data.y[0].numpy()
    u = rng.normal(size=(count, d))
    u = np.concatenate([u, u[: count // 4] + 1e-3 * rng.normal(size=(count // 4, d))])
    neurons = both_sides(u, x)
    price = 3000 * 2 / n * np.linalg.norm(x, axis=1)
    return scaled_columns(neurons, x, RELU, n), y, price


def solved(columns, y, price):
    programme = Multipliers(y, price)
    programme.add(columns)
    return programme, programme.solve()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("n, count", [(12, 40), (40, 120), (60, 20)])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_linprog_from_scratch(seed, n, count, noise):
    columns, y, price = problem(seed, n, count, noise=noise)
    value, _, slack = from_scratch(columns, y, price)
    assert n < 60 or noise == 0 or slack > 1e-3  # too few neurons: the slack is in use
    programme, (ours, weights, xi, ours_slack) = solved(columns, y, price)
    assert ours == pytest.approx(value, rel=1e-6)
    assert ours_slack == pytest.approx(slack, abs=1e-6 * np.abs(y).max())
    # the two sides of the programme, without a look at scipy's answer
    assert (weights >= 0).all() and ours == pytest.approx(y @ xi, rel=2e-5)
    left = y - columns.T @ weights - programme.slack
    assert np.abs(left).max() <= 1e-5 * np.abs(y).max()
    assert (columns @ xi).max() <= 1 + 1e-5 and (np.abs(xi) <= price * (1 + 1e-5)).all()
    assert programme.inexactness() <= module.USABLE


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), first=st.integers(10, 80))
def test_a_warm_start_ends_where_a_cold_one_does(seed, first):
    columns, y, price = problem(seed, 30, 60)
    warm = Multipliers(y, price)
    warm.add(columns[:first])
    before = warm.solve()[0]
    warm.add(columns[first:])
    value = warm.solve()[0]
    assert value == pytest.approx(solved(columns, y, price)[1][0], rel=2e-5)
    assert value == pytest.approx(from_scratch(columns, y, price)[0], rel=2e-5)
    assert value <= before * (1 + 2e-5)  # more columns, no larger minimum


def test_two_columns_by_hand():
    # minimise a + b subject to 2 a + b = 4, a = 2 - s, |s| at 10: a = 2, b = 0
    columns = np.array([[2.0, 1.0], [1.0, 0.0]])
    _, (value, weights, xi, slack) = solved(columns, np.array([4.0, 2.0]), np.full(2, 10.0))
    assert value == pytest.approx(2) and weights == pytest.approx([2, 0], abs=1e-7)
    assert slack == pytest.approx(0, abs=1e-8) and xi @ [4.0, 2.0] == pytest.approx(2)


def test_fewer_columns_at_another_price():
    columns, y, price = problem(3, 30, 60)
    programme, (value, weights, xi, _) = solved(columns, y, price)
    near = (columns @ xi > 0.9) | (weights > 0)
    assert 0 < near.sum() < len(near)
    for method in (programme, _master(columns, y, price)):
        kept = method.keep(near, 10 * price)
        assert kept.columns.shape == (near.sum(), 30)
        assert kept.solve()[0] == pytest.approx(value, rel=1e-6)


def _master(columns, y, price):
    master = Master(y, price)
    master.add(columns)
    return master


def test_where_it_does_not_end_highs_takes_over(monkeypatch):
    columns, y, price = problem(0, 30, 60)
    monkeypatch.setattr(module, "STEPS", 1)
    programme, (value, weights, _, slack) = solved(columns, y, price)
    assert programme.inexactness() > module.USABLE
    expected = _master(columns, y, price).solve()
    assert (value, slack) == (expected[0], expected[3]) and (weights == expected[1]).all()


def test_beyond_many_samples_the_flattest_is_that_of_the_simplex_method(monkeypatch):
    n = MANY + 20
    data = draw("relu", n, 6, (0,))
    known = data.target.teacher(RELU)
    used = []
    monkeypatch.setattr(Multipliers, "__init__", _noting(used, Multipliers.__init__))
    found = certified_flattest(data.x[0], data.y[0], RELU, known, most_cells=0)
    assert used
    assert half_mse(found.net, data.x, data.y).item() < 1e-18
    assert not at_kink(found.net, data.x).item()
    used.clear()
    monkeypatch.setattr("flatness.interpolators.certified.FEW", 0.0)
    slow = certified_flattest(data.x[0], data.y[0], RELU, known, most_cells=0)
    assert not used
    assert found.flatness == pytest.approx(slow.flatness, rel=1e-3)


def _noting(used, method):
    def noted(self, *given):
        used.append(given)
        method(self, *given)

    return noted
