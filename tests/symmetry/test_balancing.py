import time

import numpy as np
import pytest
import scipy.optimize
import torch
from deep_cases import problem, random_scales
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.trace import hessian_trace
from flatness.networks.activations import RELU
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.two_layer import TwoLayer
from flatness.symmetry import orbits as symmetry
from flatness.symmetry.balancing import balance, balanced, imbalance, orbit_minimum
from flatness.symmetry.flow_graph import TraceFlow, _flow_total, on_cycles, trace_flow
from flatness.symmetry.rescaling import add_unread_units, permute_neurons, rescale_neurons

ZERO = torch.zeros(1, dtype=torch.float64)
DEEP = [(5, 4, 3), (5, 4, 4, 3), (4, 5, 3, 4, 3)]


def numbers(*rows):
    return torch.tensor([list(rows)], dtype=torch.float64)


def smallest_by_search(flow):
    """Minimum over log t by a general-purpose optimiser, for one network all of whose units lie on
    cycles.
    """
    sizes = [entering.shape[1] for entering in flow.entering]

    def value(log_t):
        log_t = torch.tensor(log_t, requires_grad=True)
        total = _flow_total(flow, [part.exp()[None] for part in log_t.split(sizes)]).log().sum()
        return total.item(), torch.autograd.grad(total, log_t)[0].numpy()

    found = scipy.optimize.minimize(
        value, np.zeros(sum(sizes)), jac=True, method="BFGS", options={"gtol": 1e-11}
    )
    return np.exp(found.fun)


@pytest.mark.parametrize("widths", DEEP)
@pytest.mark.parametrize("bias", [True, False])
def test_against_a_general_optimiser(widths, bias):
    for seed in range(100):  # the first draw in which no unit is silent
        net, x, _ = problem(seed, widths, count=1, n=40, bias=bias)
        flow = trace_flow(hessian_diagonal(net, x))
        live, _, attained = on_cycles(flow)
        if all(layer.all() for layer in live):
            break
    assert all(layer.all() for layer in live) and attained.all()
    result, value = balance(flow), smallest_by_search(flow)
    assert result.value.item() == pytest.approx(value, rel=1e-8)
    assert result.value.item() <= value * (1 + 1e-12)
    assert imbalance(flow, [s**2 for s in result.scales]).item() < 1e-5
    assert imbalance(flow, [torch.ones_like(s) for s in result.scales]).item() > 0.1


@given(st.integers(0, 10**6))
def test_two_layers_have_the_closed_form(seed):
    net, x, _ = problem(seed, (4, 6, 1), bias=False)
    flat = TwoLayer(net.weights[1][:, 0], net.weights[0], RELU)
    result = orbit_minimum(net, x, loss="square")
    torch.testing.assert_close(
        result.value, symmetry.orbit_minimum(flat, x), rtol=1e-12, atol=1e-15
    )
    torch.testing.assert_close(
        result.scales[0], symmetry.balancing_scales(flat, x), rtol=1e-10, atol=0
    )


@settings(max_examples=examples(25))
@given(st.integers(0, 10**6), st.sampled_from(DEEP), st.booleans())
def test_same_on_the_whole_orbit_though_the_trace_grows_a_million_times(seed, widths, bias):
    net, x, _ = problem(seed, widths, bias=bias)
    moved = rescale_neurons(net, random_scales(net, seed, strength=5))
    before = orbit_minimum(net, x)
    assume((hessian_trace(moved, x).total > 1e6 * hessian_trace(net, x).total).all())
    after = orbit_minimum(moved, x)
    torch.testing.assert_close(after.value, before.value, rtol=1e-10, atol=0)
    assert (after.attained == before.attained).all()


def test_same_after_permutation():
    net, x, _ = problem(5)
    moved = permute_neurons(net, 1, [2, 0, 3, 1])
    torch.testing.assert_close(
        orbit_minimum(moved, x).value, orbit_minimum(net, x).value, rtol=1e-11, atol=0
    )


@settings(max_examples=examples(40))
@given(st.integers(0, 10**6), st.sampled_from(DEEP), st.booleans(), st.floats(0.01, 4))
def test_no_rescaling_has_a_smaller_trace(seed, widths, bias, strength):
    net, x, _ = problem(seed, widths, bias=bias)
    result = orbit_minimum(net, x)
    moved = hessian_trace(rescale_neurons(net, random_scales(net, seed, strength)), x).total
    assert (moved >= result.value * (1 - 1e-12)).all()
    assert (result.lower <= result.value * (1 + 1e-14)).all()
    assert (result.value - result.lower <= 1e-12 * result.value).all()


@settings(max_examples=examples(25))
@given(st.integers(0, 10**6), st.floats(0.01, 3))
def test_the_lower_bound_holds_far_from_the_minimum(seed, strength):
    net, x, _ = problem(seed, (5, 4, 4, 3))
    flow = trace_flow(hessian_diagonal(rescale_neurons(net, random_scales(net, seed, strength)), x))
    early, exact = balance(flow, rtol=1.0), balance(flow)
    assert early.history.shape[1] == 2
    assert (early.lower <= exact.value * (1 + 1e-12)).all()
    assert (exact.value <= early.value * (1 + 1e-12)).all()


def test_the_balanced_networks_attain_it_and_every_unit_is_in_balance():
    net, x, _ = problem(7, (5, 6, 4, 3), n=40)
    flat, result = balanced(net, x), orbit_minimum(net, x)
    torch.testing.assert_close(flat(x), net(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(hessian_trace(flat, x).total, result.value, rtol=1e-12, atol=0)
    entries = hessian_diagonal(flat, x)
    for layer in range(2):
        into = entries.weights[layer].sum(2) + entries.biases[layer]
        torch.testing.assert_close(into, entries.weights[layer + 1].sum(1), rtol=1e-5, atol=1e-12)


def test_each_sweep_lowers_the_trace():
    net, x, _ = problem(8, (5, 6, 4, 3))
    history = orbit_minimum(rescale_neurons(net, random_scales(net, 1, 3)), x).history
    assert (history.diff(dim=1) <= 1e-13 * history[:, :-1]).all() and history.shape[1] > 5


def test_units_that_nothing_reads_count_for_nothing_but_the_infimum_is_not_attained():
    net, x, _ = problem(9)
    wider = add_unread_units(net, torch.ones(2, 4), torch.ones(2))
    before, after = orbit_minimum(net, x), orbit_minimum(wider, x)
    torch.testing.assert_close(after.value, before.value, rtol=1e-11, atol=0)
    assert (
        before.attained.all() and not after.attained.any() and (after.scales[1][:, 4:] == 1).all()
    )
    towards_zero = [*after.scales[:1], after.scales[1].clone()]
    towards_zero[1][:, 4:] = 1e-7
    reached = hessian_trace(rescale_neurons(wider, towards_zero), x).total
    assert (reached > after.value).all()
    torch.testing.assert_close(reached, after.value, rtol=1e-10, atol=0)


def test_silent_units_count_for_nothing_at_any_scale():
    net, x, _ = problem(10)
    net.weights[0][:, 1], net.biases[0][:, 1] = 0.0, -1.0
    result = orbit_minimum(net, x)
    assert result.attained.all() and (result.scales[0][:, 1] == 1).all()
    smaller = MLPEnsemble(
        [net.weights[0][:, [0, 2, 3]], net.weights[1][:, :, [0, 2, 3]], net.weights[2]],
        [net.biases[0][:, [0, 2, 3]], *net.biases[1:]],
    )
    torch.testing.assert_close(result.value, orbit_minimum(smaller, x).value, rtol=1e-11, atol=0)


def test_a_unit_fed_only_by_units_off_the_cycles_is_off_them_too():
    eye = torch.eye(2, dtype=torch.float64)[None]
    flow = TraceFlow([numbers(0.0, 4.0), numbers(0.0, 1.0)], [eye], numbers(3.0, 1.0), ZERO)
    live, kept, attained = on_cycles(flow)
    assert [layer[0].tolist() for layer in live] == [
        [False, True],
        [False, True],
    ] and not attained.any()
    alone = TraceFlow(
        [numbers(4.0), numbers(1.0)], [torch.ones(1, 1, 1).double()], numbers(1.0), ZERO
    )
    assert balance(flow).value.item() == pytest.approx(balance(alone).value.item(), rel=1e-11)
    assert balance(flow).value.item() == pytest.approx(smallest_by_search(alone), rel=1e-10)


def test_a_loop_of_equal_terms_is_in_balance():
    """One unit per layer and no biases: the product of the terms is fixed, so the minimum is (their
    number) x (their geometric mean).
    """
    flow = TraceFlow(
        [numbers(8.0), numbers(0.0)], [torch.full((1, 1, 1), 27.0).double()], numbers(1.0), ZERO
    )
    assert balance(flow).value.item() == pytest.approx(3 * 6.0, rel=1e-12)


def test_nothing_on_a_cycle_leaves_the_constant():
    flow = TraceFlow([numbers(0.0)], [], numbers(2.0), torch.tensor([3.0]).double())
    result = balance(flow)
    assert result.value.item() == result.lower.item() == 3.0 and not result.attained


def test_a_hundred_networks_in_a_tenth_of_a_second():
    g = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.exp(torch.randn(*shape, generator=g, dtype=torch.float64))

    flow = TraceFlow([draw(100, 64), draw(100, 8)], [draw(100, 8, 64)], draw(100, 8), draw(100))
    seconds = []
    for _ in range(5):
        start = time.process_time()
        result = balance(flow)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1 and result.history.shape[1] < 40


def test_single_precision_and_too_few_sweeps():
    net, x, _ = problem(11)
    exact = orbit_minimum(net, x).value
    single = orbit_minimum(net.to(dtype=torch.float32), x.float()).value
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)
    with pytest.raises(RuntimeError, match="relative gap"):
        balance(
            trace_flow(hessian_diagonal(rescale_neurons(net, random_scales(net, 0, 3)), x)),
            max_sweeps=2,
        )


def test_bad_input_is_named():
    net, x, _ = problem(12)
    with pytest.raises(ValueError, match="hidden layer"):
        trace_flow(MLPEnsemble([torch.ones(1, 2, 2)], None))
    with pytest.raises(ValueError, match="W1"):
        trace_flow(net.map(lambda block: -block.abs()))


@pytest.mark.parametrize("exponent", [-330, -200, 200, 330])
@pytest.mark.parametrize("layer", [0, 1])
def test_far_out_on_the_orbit_the_minimum_is_the_same(layer, exponent):
    """Scales of 2^330 = 1e99: terms of 1e+-198, whose ratios no floating-point number holds."""
    networks, x, _ = problem(3, widths=(5, 6, 4, 3), n=12, count=3)
    scales = [1.0, 1.0]
    scales[layer] = 2.0**exponent
    here, there = orbit_minimum(networks, x), orbit_minimum(rescale_neurons(networks, scales), x)
    torch.testing.assert_close(there.value, here.value, rtol=1e-11, atol=0)
    assert there.attained.tolist() == here.attained.tolist()


def test_a_network_that_cannot_be_balanced_is_marked_and_costs_the_others_nothing():
    networks, x, _ = problem(3, widths=(5, 6, 4, 3), n=12, count=3)
    there, far = balanced(networks, x), random_scales(networks, 0, 3)
    mixed = rescale_neurons(there, [s.where(torch.arange(3)[:, None] == 1, 1.0) for s in far])
    alone = balance(trace_flow(hessian_diagonal(there[[0, 2]], x)), max_sweeps=2)
    beside = balance(trace_flow(hessian_diagonal(mixed, x)), max_sweeps=2)
    assert beside.value.isfinite().tolist() == [True, False, True]
    assert not beside.attained[1] and all((s[1] == 1).all() for s in beside.scales)
    torch.testing.assert_close(beside.value[[0, 2]], alone.value, rtol=1e-12, atol=0)
