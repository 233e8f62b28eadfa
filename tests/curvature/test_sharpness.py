import pytest
import torch
from deep_cases import dense_gauss_newton, dense_hessian, problem, random_scales
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.sharpness import (
    adaptive_lambda_max,
    adaptive_trace,
    fisher_rao_norm,
    relative_flatness,
)
from flatness.curvature.spectrum import flatten, unflatten
from flatness.curvature.trace import mean_loss
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import permute_neurons, rescale_layer, rescale_neurons

MEASURES = [
    lambda net, x, y: adaptive_trace(net, hessian_diagonal(net, x)),
    lambda net, x, y: adaptive_lambda_max(net, x, y, rtol=1e-9).value,
]


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=examples(25))
def test_against_dense_matrices(seed, bias):
    net, x, y = problem(seed, bias=bias)
    trace, top = (
        adaptive_trace(net, hessian_diagonal(net, x)),
        adaptive_lambda_max(net, x, y, rtol=1e-8),
    )
    norm = fisher_rao_norm(net, x)
    for m in range(2):
        theta, hessian = flatten(net[m])[0], dense_hessian(net[m], x, y)
        expected = (theta**2 * hessian.diagonal()).sum().item()
        assert trace[m].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        expected = torch.linalg.eigvalsh(theta.abs()[:, None] * hessian * theta.abs())[-1].item()
        assert top.value[m].item() == pytest.approx(expected, rel=1e-6, abs=1e-10)
        fisher = theta @ dense_gauss_newton(net[m], x) @ theta
        assert norm[m].item() == pytest.approx(
            fisher.clamp_min(0).sqrt().item(), rel=1e-8, abs=1e-7
        )


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2])
def test_relative_flatness_is_its_definition_on_the_dense_hessian(layer):
    """kappa = sum_{s,s'} <w_s, w_s'> Tr H_{s,s'}, with the blocks cut out of the full Hessian."""
    net, x, y = problem(3)
    kappa, number = relative_flatness(net, x, layer), layer % 3
    start = (
        flatten(MLPEnsemble(net.weights[:number], net.biases[:number])).shape[1] if number else 0
    )
    for m in range(2):
        w = net.weights[number][m]
        rows, columns = w.shape
        block = dense_hessian(net[m], x, y)[start : start + w.numel(), start : start + w.numel()]
        traces = block.reshape(rows, columns, rows, columns).diagonal(dim1=1, dim2=3).sum(-1)
        assert kappa[m].item() == pytest.approx(((w @ w.T) * traces).sum().item(), rel=1e-10)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=examples(25))
def test_who_is_invariant_under_neuron_wise_rescaling(seed, bias):
    net, x, y = problem(seed, bias=bias)
    moved = rescale_neurons(net, random_scales(net, seed, 2))
    same = dict(rtol=1e-8, atol=1e-10)
    for measure in MEASURES:
        torch.testing.assert_close(measure(moved, x, y), measure(net, x, y), rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(fisher_rao_norm(moved, x), fisher_rao_norm(net, x), **same)
    torch.testing.assert_close(relative_flatness(moved, x, 0), relative_flatness(net, x, 0), **same)


def test_relative_flatness_sees_uneven_scales_of_its_inputs_and_no_others():
    net, x, _ = problem(4)
    kappa = relative_flatness(net, x, 1)
    torch.testing.assert_close(
        relative_flatness(rescale_layer(net, 0, 7.0), x, 1), kappa, rtol=1e-12, atol=0
    )
    scales = torch.tensor([1.0, 2, 4, 8])
    for same in (rescale_neurons(net, [1.0, scales]), permute_neurons(net, 0, [3, 1, 0, 2])):
        torch.testing.assert_close(relative_flatness(same, x, 1), kappa, rtol=1e-12, atol=0)
    uneven = relative_flatness(rescale_neurons(net, [scales, 1.0]), x, 1)
    assert ((uneven / kappa - 1).abs() > 0.1).all()


def test_a_zero_weight_is_not_perturbed_and_nothing_is_divided_by_it():
    """An implementation that divides by |w| returns NaN or a wrong number here."""
    net, x, y = problem(5)
    net.weights[1][:, 0, 0] = 0.0
    near = net.map(torch.clone)
    near.weights[1][:, 0, 0] = 1e-9
    for measure in MEASURES:
        assert measure(net, x, y).isfinite().all()
        torch.testing.assert_close(measure(net, x, y), measure(near, x, y), rtol=1e-6, atol=0)


def test_adaptive_trace_is_the_rise_of_the_loss_under_relative_noise():
    """Monte Carlo: E L(theta + rho |theta| xi) - L(theta) = rho^2 / 2 of it (antithetic draws)."""
    net, x, y = problem(6, (3, 4, 3), count=1, n=6)
    rho, draws = 1e-3, 4000
    g = torch.Generator().manual_seed(0)
    many = net.map(lambda block: block.expand(draws, *block.shape[1:]))
    noise = flatten(many) * rho * torch.randn(flatten(many).shape, generator=g, dtype=torch.float64)
    moved = [mean_loss(unflatten(flatten(many) + sign * noise, many), x, y) for sign in (1, -1)]
    rise = (sum(moved) / 2 - mean_loss(net, x, y)) * 2 / rho**2
    error = rise.std() / draws**0.5
    assert (
        (rise.mean() - adaptive_trace(net, hessian_diagonal(net, x))).abs().item()
        < 4 * error.item()
        < 1.0
    )


def test_fisher_rao_norm_of_a_network_without_biases_is_depth_times_that_of_its_outputs():
    """Liang et al. (2019): J theta = L f for L layers without biases."""
    net, x, _ = problem(7, bias=False)
    f = net(x)
    p = f.softmax(-1)
    variance = (p * (f - (p * f).sum(-1, keepdim=True)).square()).sum(-1).mean(-1)
    torch.testing.assert_close(fisher_rao_norm(net, x), 3 * variance.sqrt(), rtol=1e-12, atol=0)


def test_bad_layer_is_named():
    net, x, _ = problem(8)
    with pytest.raises(ValueError, match="layer: expected an integer in -3..2"):
        relative_flatness(net, x, 3)
    single = MLPEnsemble(net.weights[:1], net.biases[:1])
    assert relative_flatness(single, x, -1).shape == (2,)
