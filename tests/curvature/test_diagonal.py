import pytest
import torch
from deep_cases import dense_hessian, problem
from hypothesis import given
from hypothesis import strategies as st

from flatness.curvature.diagonal import hessian_diagonal, unit_energies
from flatness.curvature.spectrum import flatten
from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble


@given(
    st.integers(0, 10**6),
    st.sampled_from(["cross_entropy", "square"]),
    st.booleans(),
    st.integers(1, 3),
)
def test_equals_the_diagonal_of_the_dense_hessian(seed, loss, bias, depth):
    net, x, y = problem(seed, widths=(5, 4, 4, 3)[:depth] + (3,), bias=bias)
    target = torch.nn.functional.one_hot(y, 3).double() if loss == "square" else y
    entries = flatten(hessian_diagonal(net, x, loss=loss))
    for m in range(2):
        dense = dense_hessian(net[m], x, target, loss).diagonal()
        torch.testing.assert_close(entries[m], dense, rtol=1e-9, atol=1e-12)


def test_sums_to_the_trace_in_chunks_of_any_size():
    net, x, _ = problem(1, n=50)
    whole = flatten(hessian_diagonal(net, x)).sum(1)
    torch.testing.assert_close(whole, hessian_trace(net, x).total, rtol=1e-12, atol=0)
    one_by_one = flatten(hessian_diagonal(net, x, max_bytes=1)).sum(1)
    torch.testing.assert_close(one_by_one, whole, rtol=1e-12, atol=0)


def test_energy_of_a_single_unit():
    net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    hidden, output = unit_energies(net, torch.tensor([[1.0], [-1.0]]), "square")
    assert hidden.flatten().tolist() == [4.0, 0.0] and output.flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: hessian_diagonal(net, x, loss="hinge"), "loss: expected one of"),
        (lambda net, x: hessian_diagonal(net, x[:0]), "x: expected shape"),
        (lambda net, x: hessian_diagonal(net, x * torch.nan), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    net, x, _ = problem(0)
    with pytest.raises(ValueError, match=message):
        call(net, x)
