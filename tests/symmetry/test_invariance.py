import pytest
import torch
from deep_cases import problem
from hypothesis import given
from hypothesis import strategies as st

from flatness.curvature.spectrum import flatten
from flatness.symmetry.invariance import CHANGES, split_unit


@given(st.integers(0, 10**6), st.sampled_from(sorted(CHANGES)), st.booleans())
def test_changes_keep_the_function_and_move_the_parameters(seed, name, bias):
    net, x, _ = problem(seed, bias=bias)
    moved = CHANGES[name](net, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(moved(x), net(x), rtol=1e-9, atol=1e-9)
    if name != "permutation":  # a random one may be the identity
        same_shape = flatten(moved).shape == flatten(net).shape
        assert not same_shape or (flatten(moved) - flatten(net)).abs().max() > 1e-6


def test_split_unit_against_a_loop():
    net, _, _ = problem(1, (3, 2, 4, 2))
    wide = split_unit(net, 1, 2)
    assert wide.widths == [3, 2, 5, 2]
    for m in range(2):
        assert (wide.weights[1][m, 4] == net.weights[1][m, 2]).all()
        assert wide.biases[1][m, 4] == net.biases[1][m, 2]
        for k in range(2):
            assert (
                wide.weights[2][m, k, 2] == wide.weights[2][m, k, 4] == net.weights[2][m, k, 2] / 2
            )
    assert (net.weights[2] == problem(1, (3, 2, 4, 2))[0].weights[2]).all()


@pytest.mark.parametrize(("layer", "unit"), [(2, 0), (-1, 0), (0, 2)])
def test_bad_unit_is_named(layer, unit):
    with pytest.raises(ValueError, match="layer, unit: expected a unit of a hidden layer"):
        split_unit(problem(2, (3, 2, 4, 2))[0], layer, unit)
