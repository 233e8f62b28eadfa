import pytest
import torch
from two_layer_cases import random_inputs

from flatness.datasets.population import population_loss
from flatness.datasets.targets import draw
from flatness.interpolators.bounds import flatness_lower_bound
from flatness.interpolators.candidates import best_of
from flatness.interpolators.certified import MANY
from flatness.interpolators.constructions import memoriser, teacher
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError, gauss_newton
from flatness.interpolators.search import MERGES, flattest, initial_network, merged
from flatness.interpolators.second_layer import linear_programme
from flatness.networks.activations import ABS, RELU, RELU2
from flatness.networks.two_layer import TwoLayer, half_mse
from flatness.symmetry.orbits import orbit_minimum, split_to_width


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name, act", [("relu", RELU), ("three_relu", RELU), ("abs", ABS)])
def test_finds_the_teacher_or_flatter_when_data_are_many(name, act):
    data = draw(name, 80, 8, [0, 1])
    found = flattest(data.x, data.y, act, rng(), width=40, schedules=(Schedule(steps=1000),))
    assert (found.loss < 1e-18).all() and (half_mse(found.net, data.x, data.y) < 1e-18).all()
    torch.testing.assert_close(found.flatness, orbit_minimum(found.net, data.x))
    assert (found.flatness <= (1 + 1e-6) * orbit_minimum(teacher(data, act), data.x)).all()
    assert (found.flatness >= flatness_lower_bound(data.x, data.y, act)).all()
    assert (population_loss(found.net, data.target).relative < 0.01).all()


def test_degree_two_at_fixed_width():
    data = draw("relu2", 60, 6, [0])
    found = flattest(data.x, data.y, RELU2, rng(), width=40, schedules=(Schedule(steps=600),))
    even = split_to_width(teacher(data, RELU2), data.x, 40)
    assert (found.flatness <= 1.3 * orbit_minimum(even, data.x)).all()
    best = flattest(
        data.x,
        data.y,
        RELU2,
        rng(),
        width=40,
        schedules=(Schedule(steps=10),),
        candidates={"even": even},
    )
    assert best.origin == ("even",)


def test_few_samples_the_memoriser_is_flattest():
    data = draw("three_relu", 10, 8, [0, 1])
    reference = memoriser(data.x, data.y, RELU)
    found = flattest(
        data.x,
        data.y,
        RELU,
        rng(),
        width=40,
        schedules=(Schedule(steps=300),),
        candidates={"memo": reference},
    )
    torch.testing.assert_close(
        found.flatness, flatness_lower_bound(data.x, data.y, RELU), rtol=1e-8, atol=0
    )


def test_noisy_labels_are_interpolated_too():
    data = draw("relu", 24, 6, [0, 1], noise=0.5)
    found = flattest(data.x, data.y, RELU, rng(), width=40, schedules=(Schedule(steps=400),))
    assert (found.loss < 1e-18).all()


def test_linear_programme_is_optimal_over_its_directions():
    """Never above any interpolating second layer, equal to an independent solution of the dual."""
    import numpy as np
    import scipy.optimize

    from flatness.symmetry.orbits import orbit_terms

    x, y = random_inputs(0, count=1, n=6, d=4), random_inputs(1, count=1, n=6, d=4)[..., 0]
    net = initial_network(x, y, RELU, 30, rng())
    fitted = TwoLayer((torch.linalg.pinv(net.features(x)) @ y[..., None])[..., 0], net.W, RELU)
    finished = linear_programme(fitted, x, y)
    assert half_mse(finished, x, y) < 1e-24 and (finished.a != 0).sum() <= 6
    cost = orbit_terms(TwoLayer(torch.ones_like(net.a), net.W, RELU), x)[0].numpy()
    S = net.features(x)[0].numpy()
    dual = scipy.optimize.linprog(
        -y[0].numpy(),
        A_ub=np.vstack([S.T, -S.T]),
        b_ub=np.r_[cost, cost],
        bounds=[(None, None)] * 6,
        method="highs-ipm",
    )
    assert orbit_minimum(finished, x).item() == pytest.approx(-dual.fun, rel=1e-7)
    assert orbit_minimum(finished, x) < orbit_minimum(fitted, x)
    with pytest.raises(ValueError, match="degree 1"):
        linear_programme(TwoLayer(net.a, net.W, RELU2), x, y)


def test_linear_programme_leaves_an_infeasible_second_layer_alone():
    x, y = random_inputs(0, count=1, n=6, d=4), random_inputs(1, count=1, n=6, d=4)[..., 0]
    net = gauss_newton(initial_network(x, y, RELU, 4, rng()), x, y)  # 4 directions, 6 labels
    assert torch.equal(linear_programme(net, x, y).W, gauss_newton(net, x, y).W)


def test_best_of_refuses_what_does_not_interpolate():
    x, y = random_inputs(0, n=3), random_inputs(1, n=3)[..., 0]
    good, bad = memoriser(x, y, RELU), initial_network(x, y, RELU, 3, rng())
    assert best_of([bad, good], ["bad", "good"], x, y).origin == ("good", "good")
    with pytest.raises(InterpolationError, match="no interpolator"):
        best_of([bad], ["bad"], x, y)


def test_bad_input():
    x, y = random_inputs(0, n=9), random_inputs(1, n=9)[..., 0]
    with pytest.raises(InterpolationError, match="cannot fit n = 9"):
        flattest(x, y, RELU, rng(), width=2)
    with pytest.raises(ValueError, match="finite"):
        flattest(x, y * float("nan"), RELU, rng())
    with pytest.raises(ValueError, match="y: expected shape"):
        flattest(x, y[:, :4], RELU, rng())


def test_a_network_merged_into_its_neighbours_is_the_teacher_again():
    data = draw("three_relu", 240, 6, (0, 1))
    known = data.target.teacher(RELU)
    moved = known.W + 0.1 * torch.randn(known.W.shape, generator=rng(), dtype=torch.float64)
    a = torch.cat([known.a, 0.3 * known.a, 1e-4 * known.a], 1).expand(2, -1)
    W = torch.cat([known.W, moved, known.W], 1).expand(2, -1, -1)
    near = TwoLayer(a, W, RELU)
    ends = merged(near, data.x, data.y)
    assert list(ends) == [f" + merged {cosine:g}" for cosine, _ in MERGES]
    best = best_of(list(ends.values()), list(ends), data.x, data.y)
    assert best.flatness.tolist() == pytest.approx(orbit_minimum(known, data.x).tolist(), rel=1e-9)


def test_beyond_many_samples_the_search_tries_mergers(monkeypatch):
    data = draw("three_relu", MANY + 1, 4, (0,))
    brief, tried = (Schedule(steps=60),), []

    def spy(net, x, y):
        tried.append(net)
        return {" + merged 0.9": data.target.teacher(RELU)}

    monkeypatch.setattr("flatness.interpolators.search.merged", spy)
    monkeypatch.setattr("flatness.interpolators.search._certified", lambda result, *rest: result)
    found = flattest(data.x, data.y, RELU, rng(), width=110, schedules=brief)
    assert len(tried) == 1
    assert found.origin[0].endswith(" + merged 0.9") == bool(
        orbit_minimum(data.target.teacher(RELU), data.x) <= orbit_minimum(tried[0], data.x)
    )
    few = draw("three_relu", 40, 4, (0,))
    flattest(few.x, few.y, RELU, rng(), width=30, schedules=brief)
    assert len(tried) == 1
