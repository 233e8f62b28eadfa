import pytest
import torch
from deep_cases import dense_gauss_newton, dense_hessian, problem
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.curvature.spectrum import (
    MATRICES,
    flatten,
    hessian_products,
    lambda_max,
    largest_eigenvalue,
    unflatten,
)
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import rescale_layer


@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 3), st.sampled_from(MATRICES))
@settings(max_examples=examples(30))
def test_products_equal_the_dense_matrix(seed, bias, depth, matrix):
    net, x, y = problem(seed, (5, 4, 4, 3)[:depth] + (3,), bias=bias)
    v = torch.randn(
        flatten(net).shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    image = flatten(hessian_products(net, x, y, matrix=matrix)(unflatten(v, net)))
    for m in range(2):
        dense = (
            dense_hessian(net[m], x, y) if matrix == "hessian" else dense_gauss_newton(net[m], x)
        )
        torch.testing.assert_close(image[m], dense @ v[m], rtol=1e-9, atol=1e-11)


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from(MATRICES), st.sampled_from([2, 12]))
@settings(max_examples=examples(30))
def test_lambda_max_is_that_of_the_dense_matrix(seed, bias, matrix, n):
    net, x, y = problem(seed, n=n, bias=bias)
    found = lambda_max(net, x, y, matrix=matrix, rtol=1e-8)
    for m in range(2):
        dense = (
            dense_hessian(net[m], x, y) if matrix == "hessian" else dense_gauss_newton(net[m], x)
        )
        largest = torch.linalg.eigvalsh(dense)[-1].item()
        assert found.value[m].item() == pytest.approx(largest, rel=1e-7, abs=1e-12)


def test_the_residual_is_honest_when_stopped_early():
    net, x, y = problem(4, (6, 8, 8, 4), n=30)
    early = lambda_max(net, x, y, max_steps=4)
    for m in range(2):
        values = torch.linalg.eigvalsh(dense_hessian(net[m], x, y))
        assert early.residual[m] > 1e-6
        assert (values - early.value[m]).abs().min() <= early.residual[m] * (1 + 1e-6)
        assert early.value[m] <= values[-1] * (1 + 1e-12)


def test_the_hessian_need_not_be_positive_but_the_gauss_newton_part_is():
    """Off interpolation the least eigenvalue is negative, the largest not that of the Gauss-Newton
    part.
    """
    net, x, y = problem(2, n=12)
    full, part = dense_hessian(net[0], x, y), dense_gauss_newton(net[0], x)
    assert torch.linalg.eigvalsh(full)[0] < -1e-3 and torch.linalg.eigvalsh(part)[0] > -1e-12
    different = (
        lambda_max(net, x, y).value[0] / lambda_max(net, x, y, matrix="gauss_newton").value[0] - 1
    )
    assert abs(different.item()) > 1e-3
    torch.testing.assert_close(full.trace(), part.trace(), rtol=1e-10, atol=0)


def test_asking_twice_gives_the_same_and_leaves_the_networks_alone():
    """Products that accumulate gradients on the model would double from the second time on."""
    net, x, y = problem(5)
    before = flatten(net).clone()
    first, second = lambda_max(net, x, y), lambda_max(net, x, y)
    assert (first.value == second.value).all() and (flatten(net) == before).all()
    product, v = hessian_products(net, x, y), net.map(torch.ones_like)
    assert (flatten(product(v)) == flatten(product(v))).all()


def test_groups_and_the_reduction_of_the_inputs_do_not_matter():
    net, x, y = problem(6, (20, 4, 3), n=8, count=3)
    whole = lambda_max(net, x, y, rtol=1e-9).value
    torch.testing.assert_close(
        lambda_max(net, x, y, rtol=1e-9, max_bytes=1).value, whole, rtol=1e-8, atol=0
    )
    ones = net.map(torch.ones_like)
    torch.testing.assert_close(
        lambda_max(net, x, y, rtol=1e-9, scale=ones).value, whole, rtol=1e-8, atol=0
    )


def test_lanczos_on_matrices_of_every_kind():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(4, 30, 30, generator=g, dtype=torch.float64)
    a = a + a.mT
    a[1] = -a[1] @ a[1] - torch.eye(30)  # negative definite
    a[2] = -torch.eye(30)  # every vector is an eigenvector
    a[3] = 0.0
    start = torch.randn(4, 30, generator=g, dtype=torch.float64)
    found = largest_eigenvalue(lambda v: (a @ v[..., None])[..., 0], start, rtol=1e-10)
    torch.testing.assert_close(found.value, torch.linalg.eigvalsh(a)[:, -1], rtol=1e-8, atol=1e-10)


def test_one_linear_unit_by_hand():
    """Two classes, one x: H = p (1 - p) x^2 [[1, -1], [-1, 1]] with p = 1/2, largest eigenvalue x^2
    / 2.
    """
    net = MLPEnsemble([torch.tensor([[[0.0], [0.0]]], dtype=torch.float64)], None)
    found = lambda_max(net, torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([0]))
    assert found.value.item() == pytest.approx(2 * 0.25 * 9)


def test_layer_rescaling_moves_lambda_max():
    net, x, y = problem(7)
    before, after = lambda_max(net, x, y).value, lambda_max(rescale_layer(net, 0, 10.0), x, y).value
    assert (after / before - 1).abs().min() > 0.1


def test_bad_input_is_named():
    net, x, y = problem(8)
    with pytest.raises(ValueError, match="matrix: expected one of"):
        hessian_products(net, x, y, matrix="fisher")
    with pytest.raises(ValueError, match="y: expected 12 int64 classes"):
        hessian_products(net, x, y[:3])
    with pytest.raises(ValueError, match="start: expected nonzero"):
        largest_eigenvalue(lambda v: v, torch.zeros(1, 3))
