import pytest
import torch
from two_layer_cases import REFERENCE, random_inputs, random_network

from flatness.networks.activations import ABS, ACTIVATIONS, RELU
from flatness.networks.two_layer import (
    TwoLayer,
    as_data,
    at_kink,
    concatenate,
    half_mse,
    stack,
    trace,
    trace_parts,
)

# torch.func.hessian imports forward-mode rules that torch itself still compiles with the old jit
pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)


def slow_forward(net, x):
    return torch.stack(
        [
            torch.stack(
                [
                    sum(net.a[m, j] * net.activation(net.W[m, j] @ xi) for j in range(net.width))
                    for xi in x[m]
                ]
            )
            for m in range(net.count)
        ]
    )


def hessian_trace(net, x, y, i):
    """Trace of torch.func.hessian of the half-MSE of network i, all parameters in one vector."""
    m, d = net.width, net.dim

    def loss(theta):
        a, W = theta[:m], theta[m:].reshape(m, d)
        z = x[i] @ W.T
        features = REFERENCE[net.activation.name](z)
        return 0.5 * (features @ a - y[i]).square().mean()

    theta = torch.cat([net.a[i], net.W[i].flatten()])
    return torch.func.hessian(loss)(theta).diagonal().sum()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_against_loops(name):
    net, x = random_network(0, name), random_inputs(0)
    torch.testing.assert_close(net(x), slow_forward(net, x))
    torch.testing.assert_close(net(x[0]), slow_forward(net, x[:1].expand_as(x)))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_trace_is_the_hessian_trace_at_interpolators(name, seed):
    net, x = random_network(seed, name), random_inputs(seed)
    y = net(x)
    exact = torch.stack([hessian_trace(net, x, y, i) for i in range(net.count)])
    torch.testing.assert_close(trace(net, x, kinks="error"), exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs"])
def test_for_degree_one_it_is_so_everywhere(name):
    net, x = random_network(3, name), random_inputs(3)
    y = torch.zeros(2, 7, dtype=torch.float64)
    exact = torch.stack([hessian_trace(net, x, y, i) for i in range(net.count)])
    torch.testing.assert_close(trace(net, x), exact, rtol=1e-10, atol=1e-10)


def test_for_degree_two_it_is_not():
    net, x = random_network(4, "relu2"), random_inputs(4)
    y = torch.zeros(2, 7, dtype=torch.float64)
    residual_term = (
        (
            net(x)[:, :, None]
            * 2
            * net.a[:, None, :]
            * (net.preactivations(x) > 0)
            * x.square().sum(-1, keepdim=True)
        )
        .mean(1)
        .sum(-1)
    )
    exact = torch.stack([hessian_trace(net, x, y, i) for i in range(net.count)])
    torch.testing.assert_close(trace(net, x) + residual_term, exact, rtol=1e-10, atol=1e-10)
    assert (residual_term.abs() > 1e-3).all()


def test_one_neuron_by_hand():
    x = torch.tensor([[3.0, 4.0], [-3.0, -4.0]], dtype=torch.float64)
    net = TwoLayer(
        torch.tensor([2.0], dtype=torch.float64),
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        RELU,
    )
    A, B = trace_parts(net, x)
    assert A.item() == 9 / 2 and B.item() == 4 * 25 / 2


def test_kinks():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    net = TwoLayer(
        torch.tensor([1.0], dtype=torch.float64),
        torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        ABS,
    )
    assert at_kink(net, x).tolist() == [True]
    assert trace(net, x).item() == 0.5 * 1 + 0.5 * 2  # the sample on the kink counts 0
    with pytest.raises(ValueError, match="kink"):
        trace(net, x, kinks="error")
    assert not at_kink(TwoLayer(net.a, net.W, ACTIVATIONS["square"]), x).any()
    assert not at_kink(TwoLayer(0 * net.a, net.W, ABS), x).any()
    with pytest.raises(ValueError, match="kinks: expected one of"):
        trace(net, x, kinks="ignore")


def test_stack_pads_and_concatenate_adds():
    first, second, x = random_network(0), random_network(1, width=3), random_inputs(0)
    torch.testing.assert_close(concatenate(first, second)(x), first(x) + second(x))
    both = stack([first, second])
    assert both.count == 4 and both.width == 5
    torch.testing.assert_close(both(torch.cat([x, x])), torch.cat([first(x), second(x)]))
    torch.testing.assert_close(both[-1](x[1:]), second(x)[1:])
    torch.testing.assert_close(trace(both, torch.cat([x, x]))[2:], trace(second, x))
    with pytest.raises(ValueError, match="activation"):
        concatenate(first, random_network(0, "abs"))
    with pytest.raises(ValueError, match="activation"):
        stack([first, random_network(0, "abs")])


def test_bad_input():
    net, x = random_network(0), random_inputs(0)
    with pytest.raises(ValueError, match="need a"):
        TwoLayer(net.a, net.W[:, :3], RELU)
    with pytest.raises(ValueError, match="dtype"):
        TwoLayer(net.a.float(), net.W, RELU)
    with pytest.raises(ValueError, match="finite"):
        TwoLayer(net.a * float("nan"), net.W, RELU)
    with pytest.raises(ValueError, match="expected shape"):
        net(x[..., :3])
    with pytest.raises(ValueError, match="finite"):
        net(x / 0)
    with pytest.raises(ValueError, match="need x"):
        as_data(x, x[..., 0].T)
    with pytest.raises(ValueError, match="finite"):
        as_data(x, x[..., 0] * float("inf"))


def test_half_mse():
    net, x = random_network(0), random_inputs(0)
    torch.testing.assert_close(
        half_mse(net, x, net(x) + 2), torch.full((2,), 2.0, dtype=torch.float64)
    )
