"""Function-preserving changes against forward passes, and the monomial law of the trace against
fresh traces.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import (
    add_unread_units,
    permute_neurons,
    rescale_layer,
    rescale_neurons,
    rescaled_trace,
    t_beta,
    t_gamma,
)

repeatable = settings(max_examples=examples(30))
WIDTHS = [5, 7, 4, 3]


def case(bias=True, seeds=(0, 1, 2)):
    networks = MLPEnsemble.from_seeds(WIDTHS, seeds, bias=bias)
    return networks, torch.randn(
        40, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )


@repeatable
@given(st.integers(0, 2**31), st.booleans())
def test_any_positive_scales_leave_outputs_and_activity_unchanged(seed, bias):
    networks, x = case(bias)
    generator = torch.Generator().manual_seed(seed)
    scales = [
        (4 * torch.randn(3, d, generator=generator, dtype=torch.float64)).exp() for d in (7, 4)
    ]
    moved = rescale_neurons(networks, scales)
    torch.testing.assert_close(moved(x), networks(x), rtol=1e-10, atol=1e-10)
    for before, after, scale in zip(networks.preactivations(x), moved.preactivations(x), scales):
        torch.testing.assert_close(after, before * scale[:, None], rtol=1e-9, atol=1e-9)


@repeatable
@given(
    st.lists(st.integers(-30, 30), min_size=11, max_size=11),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_powers_of_two_change_no_bit_of_the_outputs(exponents, dtype):
    networks, x = case()
    networks, x = networks.to(dtype=dtype), x.to(dtype)
    scales = 2.0 ** torch.tensor(exponents, dtype=dtype)
    assert torch.equal(rescale_neurons(networks, scales.split([7, 4]))(x), networks(x))


def test_exactness_ends_where_the_exponent_range_does():
    networks, x = case()
    tiny = t_beta(
        networks.to(dtype=torch.float32), 2.0**127
    )  # W2 / 2^127 is subnormal: digits are lost
    assert not torch.equal(tiny(x.float()), networks.to(dtype=torch.float32)(x.float()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("factors", [(2.0, 1.0), (1.0, 20.0), (0.3, 7.0)])
@pytest.mark.parametrize("loss", ["cross_entropy", "square"])
def test_block_traces_are_monomials_in_the_factors(factors, bias, loss):
    networks, x = case(bias)
    moved = rescale_layer(rescale_layer(networks, 0, factors[0]), 1, factors[1])
    predicted = rescaled_trace(hessian_trace(networks, x, loss=loss), factors)
    for name, value in hessian_trace(moved, x, loss=loss).blocks.items():
        torch.testing.assert_close(predicted.blocks[name], value, rtol=1e-11, atol=0)


def test_one_factor_per_network_and_the_named_maps():
    networks, x = case()
    factors = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
    moved = rescale_layer(networks, 0, factors)
    for m, factor in enumerate(factors.tolist()):
        alone = t_beta(networks[m], factor)
        for one, other in zip(moved[m].parameters().values(), alone.parameters().values()):
            assert torch.equal(one, other)
    assert torch.equal(t_gamma(networks, 2.0).weights[1], 2 * networks.weights[1])
    predicted = rescaled_trace(hessian_trace(networks, x), [factors, 1.0])
    torch.testing.assert_close(predicted.total, hessian_trace(moved, x).total, rtol=1e-11, atol=0)


def test_a_scale_that_is_not_positive_is_refused_because_it_changes_the_function():
    networks, x = case()
    for bad in (-1.0, 0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta: expected"):
            t_beta(networks, bad)
    flipped = MLPEnsemble(
        [-networks.weights[0], -networks.weights[1], networks.weights[2]],
        [-networks.biases[0], *networks.biases[1:]],
    )
    assert (flipped(x) - networks(x)).abs().max() > 0.01


@pytest.mark.parametrize(("bias", "grows"), [(0.5, True), (-9.0, False)])
def test_the_trace_grows_by_any_factor_if_the_last_hidden_layer_is_live(bias, grows):
    """A live unit below a last hidden layer that is dead does not help (the rule book, B1)."""

    def full(*rows):
        return torch.tensor([rows], dtype=torch.float64)

    net = MLPEnsemble(
        [full([1.0, 2.0]), full([1.0]), full([1.0], [-2.0])],
        [full(0.1), full(bias), full(0.3, -0.2)],
    )
    x = full([0.2, 0.7], [0.9, 0.4])[0]
    before = hessian_trace(net, x).total
    after = hessian_trace(t_gamma(t_beta(net, 50.0), 1e3), x).total
    assert (after > 1e3 * before).all() if grows else torch.allclose(after, before)


def test_permutations_keep_function_and_trace():
    networks, x = case()
    for layer, order in ((0, [3, 1, 0, 2, 6, 5, 4]), (1, [1, 2, 3, 0])):
        moved = permute_neurons(networks, layer, order)
        torch.testing.assert_close(moved(x), networks(x), rtol=1e-12, atol=1e-14)
        before, after = hessian_trace(networks, x).total, hessian_trace(moved, x).total
        torch.testing.assert_close(after, before, rtol=1e-12, atol=0)
        assert torch.equal(moved.weights[layer][:, 0], networks.weights[layer][:, order[0]])
    with pytest.raises(ValueError, match="order: expected a permutation of 0..3"):
        permute_neurons(networks, 1, [0, 0, 1, 2])
    with pytest.raises(ValueError, match="hidden layer"):
        permute_neurons(networks, 2, [0, 1, 2])


@pytest.mark.parametrize("bias", [True, False])
def test_unread_units_keep_the_function_and_widen_the_features(bias):
    networks, x = case(bias)
    weight = torch.randn(2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wider = add_unread_units(networks, weight, torch.tensor([0.5, -1.0]) if bias else None)
    assert wider.widths == [5, 7, 6, 3]
    torch.testing.assert_close(wider(x), networks(x), rtol=1e-14, atol=1e-15)
    shift = torch.tensor([0.5, -1.0], dtype=torch.float64) if bias else 0
    expected = networks.features(x, 0) @ weight.T + shift
    torch.testing.assert_close(wider.features(x)[..., 4:], expected.relu())


def test_bad_shapes_are_named():
    networks, _ = case()
    with pytest.raises(
        ValueError, match="scales: expected one entry for each of the 2 hidden layers, got 1"
    ):
        rescale_neurons(networks, [1.0])
    with pytest.raises(
        ValueError, match=r"scales\[1\]: expected a number, shape \(4,\) or \(3, 4\), got"
    ):
        rescale_neurons(networks, [1.0, torch.ones(5)])
    with pytest.raises(ValueError, match="layer: expected a hidden layer, 0 to 1, got 2"):
        rescale_layer(networks, 2, 1.0)
    with pytest.raises(ValueError, match="weight: expected shape"):
        add_unread_units(networks, torch.ones(2, 5))
    with pytest.raises(ValueError, match="bias: expected shape"):
        add_unread_units(networks, torch.ones(2, 7), torch.ones(3))
    with pytest.raises(
        ValueError, match="factors: expected one for each of the 2 hidden layers, got 1"
    ):
        rescaled_trace(hessian_trace(networks, torch.ones(1, 5, dtype=torch.float64)), [1.0])
