"""The certified minimum against slow references: directions, random interpolators, autograd."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch

from flatness.datasets.targets import draw
from flatness.interpolators.candidates import best_of
from flatness.interpolators.cells import cell_count, cells
from flatness.interpolators.certified import certified_flattest
from flatness.interpolators.dual import CellDuals, dual_ratio, simple_supremum
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError
from flatness.interpolators.search import flattest, initial_network
from flatness.networks.activations import ABS, LEAKY_RELU, RELU, RELU2, Activation
from flatness.networks.two_layer import TwoLayer, at_kink, half_mse
from flatness.symmetry.orbits import orbit_minimum, orbit_terms

STEEP_MINUS = Activation("steep_minus", 1, 0.5, 2.0)
TOLERANCE = 1e-6


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def instance(n, d, seed):
    data = torch.randn(n, d + 1, generator=rng(seed), dtype=torch.float64)
    return data[:, :d], data[:, d]


@pytest.mark.parametrize("n, d", [(5, 1), (9, 2), (24, 3), (10, 4)])
def test_cells_in_general_position(n, d):
    found = cells(instance(n, d, n)[0].numpy())
    assert len(found) == (2 if d == 1 else cell_count(n, d)) == len(np.unique(found, axis=0))


@pytest.mark.parametrize("d", [2, 3])
def test_cells_of_a_degenerate_sample_are_those_met_by_random_directions(d):
    x = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=d)))
    x = x[np.abs(x).sum(1) > 0]  # parallel and opposite rows, many hyperplanes through a line
    u = np.random.default_rng(0).normal(size=(50_000, d))
    met = np.unique(np.sign(u @ x.T).astype(np.int8), axis=0)
    assert np.array_equal(np.unique(cells(x), axis=0), met)
    with pytest.raises(ValueError, match="span|non-zero"):
        cells(x[:, [0] * d])


@pytest.mark.parametrize("act", [RELU, LEAKY_RELU, ABS, STEEP_MINUS])
@pytest.mark.parametrize("n, d", [(6, 2), (7, 3), (4, 3), (12, 3)])
def test_supremum_against_dense_directions(act, n, d):
    """Never below any direction's ratio, nor above the best of them by more than their spacing."""
    x, xi = (part.numpy() for part in instance(n, d, 10 * n + d))
    bound = CellDuals(x, act, cells(x), n).supremum(xi, 0.0, 10**9).bound
    u = np.random.default_rng(1).normal(size=(200_000, d))
    dense = dual_ratio(xi, u, x, act).max()
    assert dense <= bound * (1 + 1e-9)
    assert bound <= dense * (1.02 if d == 2 else 1.1)
    assert bound <= simple_supremum(xi, x, act, n) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("act", "n", "d"),
    [
        *((RELU, n, d) for n, d in ((5, 2), (8, 2), (8, 3), (5, 4))),
        *((LEAKY_RELU, n, d) for n, d in ((5, 2), (8, 2), (8, 3), (5, 4))),
        *((ABS, n, d) for n, d in ((5, 2), (8, 2), (8, 3), (5, 4))),
    ],
)
def test_certificate_holds_against_separate_code(act, n, d):
    x, y = instance(n, d, 7 * n + d)
    found = certified_flattest(x, y, act)
    assert found.certified and 0 <= found.gap <= TOLERANCE
    assert half_mse(found.net, x, y).item() < 1e-20 and not at_kink(found.net, x).item()
    assert orbit_minimum(found.net, x).item() == pytest.approx(found.flatness, rel=1e-12)
    u = np.random.default_rng(2).normal(size=(100_000, d))
    ratio = dual_ratio(found.dual.numpy(), u, x.numpy(), act)
    assert ratio.max() <= found.supremum * (1 + 1e-9)
    assert found.lower == pytest.approx(float(found.dual @ y) / found.supremum)
    # a linear programme over many directions is an interpolator: never below the bound
    w = torch.from_numpy(u[:3000])
    circle = TwoLayer(torch.ones(len(w), dtype=torch.float64), w, act)
    g, S = orbit_terms(circle, x)[0].numpy(), circle.features(x)[0].numpy()
    g, S = g[g > 0], S[:, g > 0]
    answer = scipy.optimize.linprog(np.r_[g, g], A_eq=np.hstack([S, -S]), b_eq=y.numpy())
    assert found.lower <= answer.fun * (1 + 1e-9) and found.flatness <= answer.fun * (1 + 1e-6)
    if d == 2:
        assert answer.fun <= found.flatness * 1.1


def test_autograd_trace_of_the_network_returned():
    """The full Hessian of the loss at the balanced network has trace F*."""
    data = draw("relu", 8, 2, (4,))
    x, y = data.x[0], data.y[0]
    found = certified_flattest(x, y, RELU)
    a, W = found.net.a[0], found.net.W[0]

    def loss(flat):
        net_a, net_W = flat[: len(a)], flat[len(a) :].reshape(W.shape)
        return 0.5 * ((torch.relu(x @ net_W.T) @ net_a - y) ** 2).mean()

    flat = torch.cat([a, W.ravel()])
    trace = torch.autograd.functional.hessian(loss, flat).trace().item()
    assert trace == pytest.approx(found.flatness, rel=1e-9)
    assert (x @ W.T).abs().min() > 0


@pytest.mark.parametrize("n", [8, 16])
def test_the_teacher_is_often_not_flattest_in_the_plane(n):
    beaten = 0
    for seed in range(8):
        data = draw("relu", n, 2, (seed,))
        found = certified_flattest(data.x[0], data.y[0], RELU)
        ratio = found.flatness / orbit_minimum(data.target.teacher(RELU), data.x).item()
        assert found.certified and ratio <= 1 + TOLERANCE
        beaten += ratio < 1 - 1e-4
        if (n, seed) == (8, 3):
            assert found.flatness == pytest.approx(1.65488, abs=1e-5)
    assert beaten == 4


def _first(data):
    return data.x[0], data.y[0]


@pytest.mark.parametrize("act, target", [(RELU, "relu"), (ABS, "abs"), (LEAKY_RELU, "leaky_relu")])
def test_labels_of_one_neuron_in_the_plane(act, target):
    """Few samples are active, so that moved neurons span the labels badly: the fit of what the
    programme leaves must not ask for neurons as large as the network.
    """
    assert certified_flattest(*_first(draw(target, 8, 2, (4,))), act).certified
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        x = torch.randn(6, 2, generator=rng, dtype=torch.float64)
        y = act(x @ torch.randn(2, generator=rng, dtype=torch.float64))
        assert certified_flattest(x, y, act).certified, seed


@pytest.mark.parametrize("act, target", [(RELU, "relu"), (ABS, "abs"), (LEAKY_RELU, "leaky_relu")])
def test_three_dimensions_n_24(act, target):
    data = draw(target, 24, 3, (0,))
    found = certified_flattest(data.x[0], data.y[0], act)
    assert found.certified and found.flatness <= TOLERANCE * 3 + orbit_minimum(
        data.target.teacher(act), data.x
    ).item() * (1 + TOLERANCE)


def test_beyond_the_cells_the_start_is_never_beaten_and_the_gap_is_open():
    data = draw("relu", 40, 8, (0,))
    known = data.target.teacher(RELU)
    found = certified_flattest(data.x[0], data.y[0], RELU, start=known)
    assert found.flatness <= orbit_minimum(known, data.x).item() and not found.certified
    assert found.bounded_by == "Cauchy-Schwarz" and found.lower < found.flatness
    assert half_mse(found.net, data.x, data.y).item() < 1e-18


def test_degenerate_data():
    x, y = instance(6, 3, 0)
    zero = certified_flattest(x, 0 * y, RELU)
    assert zero.certified and zero.flatness == zero.lower == 0 and (zero.net(x) == 0).all()
    ray = torch.arange(1.0, 5.0, dtype=torch.float64)[:, None] * x[:1]
    found = certified_flattest(ray, 2 * ray.norm(dim=1), RELU)  # one neuron; F* = 2 |x|_rms |y|_rms
    exact = 2 * ray.square().sum(1).mean().sqrt() * (2 * ray.norm(dim=1)).square().mean().sqrt()
    assert found.certified and found.flatness == pytest.approx(exact.item(), rel=1e-6)
    linear = Activation("linear", 1, 1.0, -1.0)
    straight = certified_flattest(x, x @ x[0], linear)
    assert straight.certified and straight.gap < 1e-9


def test_a_repeated_input_with_the_same_label():
    x, y = instance(6, 3, 0)
    twice, labels = torch.cat([x, x[:1]]), torch.cat([y, y[:1]])
    same = certified_flattest(twice, labels, RELU)
    assert half_mse(same.net, twice, labels).item() < 1e-20
    assert same.certified


def test_labels_out_of_reach():
    x, y = instance(6, 3, 0)
    with pytest.raises(InterpolationError, match="no network interpolates"):
        certified_flattest(torch.cat([x, x[:1]]), torch.cat([y, y[:1] + 1]), RELU)
    with pytest.raises(InterpolationError, match="no network interpolates"):
        certified_flattest(torch.arange(1.0, 7.0, dtype=torch.float64)[:, None] * x[:1], y, RELU)
    with pytest.raises(InterpolationError, match="zero input"):
        certified_flattest(torch.cat([x, 0 * x[:1]]), torch.cat([y, y[:1]]), RELU)
    with pytest.raises(InterpolationError, match="linear"):
        certified_flattest(x, y, Activation("linear", 1, 1.0, -1.0))
    with pytest.raises(ValueError, match="degree 1"):
        certified_flattest(x, y, RELU2)


def test_one_candidate_for_all_data_sets_and_no_schedules():
    """The network returned is the one whose loss and F* are reported."""
    data = draw("relu", 12, 3, [0, 0])  # twice the same data, so that one teacher fits both
    one = data.target.teacher(RELU)[0]
    for options in ({"schedules": ()}, {"finish": False}):
        found = flattest(data.x, data.y, RELU, rng(), 30, candidates={"teacher": one}, **options)
        torch.testing.assert_close(half_mse(found.net, data.x, data.y), found.loss)
        assert (found.loss < 1e-18).all()
        torch.testing.assert_close(orbit_minimum(found.net, data.x), found.flatness)
        assert (found.flatness <= orbit_minimum(one, data.x) * (1 + 1e-12)).all()
    bad = initial_network(data.x[:1], data.y[:1], RELU, 5, rng())
    chosen = best_of([bad, one], ["bad", "teacher"], data.x, data.y)
    torch.testing.assert_close(half_mse(chosen.net, data.x, data.y), chosen.loss)
    with pytest.raises(ValueError, match="schedules, candidates"):
        flattest(data.x, data.y, RELU, rng(), 30, schedules=())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "target"), [(RELU, "relu"), (LEAKY_RELU, "leaky_relu"), (ABS, "abs")]
)
def test_five_dimensions_n_40(act, target):
    """All 184,342 cells: a gap of at most 1e-3 in five minutes, never above the teacher."""
    data = draw(target, 40, 5, (0,))
    found = certified_flattest(
        data.x[0], data.y[0], act, tolerance=1e-3, most_cells=200_000, seconds=280
    )
    known = orbit_minimum(data.target.teacher(act), data.x).item()
    assert found.certified and found.gap <= 1e-3  # one |z|: by Cauchy-Schwarz, the others by cells
    assert found.flatness <= known * (1 + 1e-3)
    u = np.random.default_rng(3).normal(size=(200_000, 5))
    ratio = dual_ratio(found.dual.numpy(), u, data.x[0].numpy(), act)
    assert ratio.max() <= found.supremum * (1 + 1e-9)


def test_the_search_on_degenerate_labels():
    """y = 0 is answered by 0; labels that nothing interpolates, or too few neurons, by an error."""
    (x, y), short = instance(6, 3, 0), {"width": 10, "schedules": (Schedule(steps=50),)}
    zero = flattest(x[None], 0 * y[None], RELU, rng(), **short)
    assert zero.certified == (True,) and zero.flatness.item() == zero.lower.item() == 0
    ray = torch.arange(1.0, 7.0, dtype=torch.float64)[:, None] * x[:1]
    twice, labels = torch.cat([x, x[:1]]), torch.cat([y, y[:1] + 1])
    for inputs, outputs in ((ray, y), (twice, labels)):
        with pytest.raises(InterpolationError, match="no interpolator on data sets"):
            flattest(inputs[None], outputs[None], RELU, rng(), **short)
    with pytest.raises(InterpolationError, match="span 3 functions"):
        flattest(x[None], y[None], Activation("linear", 1, 1.0, -1.0), rng(), **short)
    with pytest.raises(InterpolationError, match="degrees of freedom"):
        flattest(x[None], y[None], RELU, rng(), 1, (Schedule(steps=50),))
