import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from two_layer_cases import REFERENCE

from flatness.networks.activations import (
    ABS,
    ACTIVATIONS,
    LEAKY_RELU,
    RELU,
    RELU3,
    SQUARE,
    Activation,
    from_function,
)

Z = torch.linspace(-3, 3, 61, dtype=torch.float64)


def test_every_activation_is_written_down_a_second_time():
    missing, named = (
        sorted(ACTIVATIONS.keys() - REFERENCE.keys()),
        [act.name for act in ACTIVATIONS.values()],
    )
    assert not missing, f"add to REFERENCE in tests/two_layer_cases.py: {', '.join(missing)}"
    assert named == list(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives_agree_with_autograd(name):
    act, z = ACTIVATIONS[name], (Z + 0.01).requires_grad_()
    value = REFERENCE[name](z)
    torch.testing.assert_close(act(z), value)
    torch.testing.assert_close(act.derivative(z), torch.autograd.grad(value.sum(), z)[0])


@settings(max_examples=examples(50))
@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(-10, 10), st.floats(0.1, 10))
def test_homogeneity_and_euler(name, z, c):
    act, z = ACTIVATIONS[name], torch.tensor(z, dtype=torch.float64)
    torch.testing.assert_close(act(c * z), c**act.degree * act(z), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(act.derivative(z) * z, act.degree * act(z), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_subgradient_zero_at_the_kink(name):
    assert ACTIVATIONS[name].derivative(torch.zeros(3)).tolist() == [0.0] * 3


def test_kinks_and_slopes():
    assert (
        RELU.kinked
        and ABS.kinked
        and not SQUARE.kinked
        and not Activation("linear", 1, 1.0, -1.0).kinked
    )
    assert RELU.smallest_slope == 1 and LEAKY_RELU.smallest_slope == pytest.approx(0.1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_from_function_recovers_the_activation(name):
    act = from_function(REFERENCE[name], ACTIVATIONS[name].degree, name)
    assert (act.plus, act.minus) == pytest.approx((ACTIVATIONS[name].plus, ACTIVATIONS[name].minus))


@pytest.mark.parametrize(
    "function, degree",
    [
        (torch.tanh, 1),
        (torch.relu, 2),
        (torch.square, 1),
        (torch.exp, 1),
        (lambda z: z + 1, 1),
        (lambda z: 1 / z, 1),
    ],
)
def test_not_homogeneous_is_refused(function, degree):
    with pytest.raises(ValueError, match="homogeneous"):
        from_function(function, degree, "candidate")


@pytest.mark.parametrize(
    "arguments",
    [("x", 0, 1.0, 0.0), ("x", 1.5, 1.0, 0.0), ("x", 1, 0.0, 0.0), ("x", 1, float("nan"), 0.0)],
)
def test_bad_activations(arguments):
    with pytest.raises(ValueError):
        Activation(*arguments)


def test_other_dtypes_are_kept():
    assert RELU3(torch.ones(2, dtype=torch.float32)).dtype == torch.float32


def test_a_linear_activation_has_its_slope_at_zero_too():
    linear = Activation("linear", 1, 2.0, -2.0)
    assert (
        not linear.kinked
        and linear.derivative(torch.tensor([-1.0, 0.0, 3.0])).tolist() == [2.0] * 3
    )
    assert RELU.derivative(torch.zeros(1)).item() == ABS.derivative(torch.zeros(1)).item() == 0
