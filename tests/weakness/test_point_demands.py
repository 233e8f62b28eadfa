"""Demands on [0, 1]: closed forms, Monte Carlo intervals that cover them, where the measure alone
decides.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from scipy.stats import beta, binom

from flatness.weakness.interval_unions import (
    buffer_set,
    comb_buffer,
    contains,
    intersection,
    measure,
)
from flatness.weakness.point_demands import (
    estimate_survival,
    gamma_poisson_points,
    interval,
    least_survival,
    mixture_of_counts,
    poisson_points,
    tilted_points,
    twin_points,
    uniform_points,
)

EXCHANGEABLE = [
    uniform_points(1),
    uniform_points(3),
    poisson_points(2.0),
    gamma_poisson_points(0.5, 2.0),
    mixture_of_counts([0, 1, 6], [0.2, 0.5, 0.3]),
]
OTHERS = [tilted_points(2, 3.0), twin_points(0.1), twin_points(0.73)]
BUFFERS = [buffer_set([[0, 0.4]]), comb_buffer(7, 0.4), buffer_set([[0.05, 0.3], [0.55, 0.9]])]


@st.composite
def buffers(draw):
    cuts = draw(st.lists(st.integers(0, 200), min_size=2, max_size=10, unique=True))
    cuts = sorted(cuts)[: len(cuts) // 2 * 2]
    return buffer_set(np.array(cuts).reshape(-1, 2) / 200)


@pytest.mark.parametrize("buffer", BUFFERS, ids=["interval", "comb", "two"])
@pytest.mark.parametrize("model", EXCHANGEABLE + OTHERS, ids=lambda m: m.name)
def test_monte_carlo_interval_covers_the_closed_form(model, buffer):
    estimate = estimate_survival(model, buffer, 20_000, np.random.default_rng(0), level=0.9999)
    assert estimate.low <= model.survival(buffer) <= estimate.high


@settings(max_examples=examples(60))
@given(buffers(), st.lists(st.integers(0, 999), max_size=20))
def test_sets_of_intervals_agree_with_point_by_point_tests(buffer, points):
    x = np.array(points) / 1000 + 0.0003
    expected = np.array([any(low <= p < high for low, high in buffer) for p in x], dtype=bool)
    assert np.array_equal(contains(buffer, x), expected)
    grid = (np.arange(200) + 0.5) / 200
    assert measure(buffer) == pytest.approx(np.mean(contains(buffer, grid)), abs=1e-12)


@settings(max_examples=examples(60))
@given(buffers(), buffers(), st.integers(1, 199))
def test_intersections_and_twins_agree_with_a_fine_grid(a, b, lag):
    grid = (np.arange(200) + 0.5) / 200
    both = contains(a, grid) & contains(b, grid)
    assert measure(intersection(a, b)) == pytest.approx(both.mean(), abs=1e-12)
    survivors = contains(a, grid) & contains(a, (grid + lag / 200) % 1)
    assert twin_points(lag / 200).survival(a) == pytest.approx(survivors.mean(), abs=1e-9)


@pytest.mark.parametrize("model", EXCHANGEABLE, ids=lambda m: m.name)
def test_exchangeable_models_see_the_measure_alone_and_rise_strictly(model):
    values = [model.survival(comb_buffer(1, t)) for t in np.linspace(0.05, 1, 20)]
    assert model.exchangeable and np.all(np.diff(values) > 0)
    assert values[-1] == pytest.approx(1)
    comb, whole = (model.survival(comb_buffer(teeth, 0.5)) for teeth in (13, 1))
    assert comb == pytest.approx(whole, rel=1e-12)


def test_the_other_models_do_not():
    narrow, wide = buffer_set([[0.6, 1.0]]), buffer_set([[0, 0.6]])
    assert tilted_points(2, 3.0).survival(narrow) > tilted_points(2, 3.0).survival(wide)
    interval_half, comb_more = buffer_set([[0, 0.5]]), comb_buffer(50, 0.7)
    assert twin_points(0.01).survival(interval_half) > twin_points(0.01).survival(comb_more)
    assert tilted_points(2, 1.0).exchangeable and not tilted_points(2, 3.0).exchangeable


def test_known_values():
    half = comb_buffer(3, 0.5)
    assert uniform_points(4).survival(half) == pytest.approx(1 / 16)
    assert poisson_points(2.0).survival(half) == pytest.approx(np.exp(-1))
    assert gamma_poisson_points(1.0, 2.0).survival(half) == pytest.approx(1 / 2)
    assert mixture_of_counts([0, 2], [0.5, 0.5]).survival(half) == pytest.approx(0.625)
    assert twin_points(0.25).survival(buffer_set([[0, 0.5]])) == pytest.approx(0.25)
    assert twin_points(0.5).survival(comb_buffer(2, 0.6)) == pytest.approx(0.6)


def test_interval_matches_the_beta_quantiles_and_keeps_its_coverage():
    e = interval(7, 50)
    assert e.value == 0.14
    assert e.low == pytest.approx(beta.ppf(0.025, 7, 44)) and e.high == pytest.approx(
        beta.ppf(0.975, 8, 43)
    )
    hits = np.arange(31)
    ends = [interval(int(h), 30) for h in hits]
    for p in (0.02, 0.3, 0.5, 0.91):
        covered = np.array([x.low <= p <= x.high for x in ends])
        assert binom.pmf(hits, 30, p)[covered].sum() >= 0.95


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_least_survival_interpolates_the_powers(t):
    for mean in (0.0, 1.0, 2.5, 4.0):
        low = int(mean)
        expected = (1 - mean + low) * t**low + (mean - low) * t ** (low + 1)
        value, law = least_survival(t, mean)
        assert value == pytest.approx(expected, abs=1e-9)
        assert law @ np.arange(41) <= mean + 1e-9 and law.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="mean"):
        least_survival(t, -1.0)


def test_same_seed_same_draws():
    draws = [poisson_points(3.0).sample(50, np.random.default_rng(4)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_wrong_use_is_refused_with_its_reason():
    for bad in ([[0.2, 0.2]], [[0, 0.5], [0.4, 1]], [[-0.1, 0.3]], [[0, np.nan]]):
        with pytest.raises(ValueError, match="intervals"):
            buffer_set(bad)
    with pytest.raises(ValueError, match="k: expected a positive number"):
        uniform_points(0)
    with pytest.raises(ValueError, match="rate: expected a positive number"):
        poisson_points(-1)
    with pytest.raises(ValueError, match="lag"):
        twin_points(1.0)
    with pytest.raises(ValueError, match="teeth"):
        comb_buffer(0, 0.5)
    with pytest.raises(ValueError, match="weights"):
        mixture_of_counts([1, 2], [0.5, 0.6])
    with pytest.raises(ValueError, match="n: expected a positive number"):
        estimate_survival(uniform_points(1), comb_buffer(1, 0.5), 0, np.random.default_rng(0))
