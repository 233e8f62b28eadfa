import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flatness.networks.mlp import MLPEnsemble


def sequential(widths, seed, bias=True):
    """The PyTorch network that an ensemble member must equal."""
    torch.manual_seed(seed)
    layers = []
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(fan_in, fan_out, bias=bias), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [[784, 64, 8, 10], [5, 3], [7, 6, 5, 4, 3]])
def test_initialisation_is_pytorchs(widths, bias):
    net = MLPEnsemble.from_seeds(widths, [3, 11], bias=bias, dtype=torch.float32)
    for member, seed in enumerate([3, 11]):
        for block, theirs in zip(
            net.parameters().values(), sequential(widths, seed, bias).parameters(), strict=True
        ):
            assert (block[member] - theirs.detach()).abs().max() <= 2**-23 * theirs.abs().max()


def test_initialisation_is_the_same_on_every_processor():
    """A hash of the drawn numbers: no rounding that depends on the processor enters."""
    net = MLPEnsemble.from_seeds([784, 64, 8, 10], [0, 99], dtype=torch.float32)
    content = b"".join(block.numpy().tobytes() for block in net.parameters().values())
    assert hashlib.sha256(content).hexdigest()[:16] == "cf3a1460d2d72ec1"


@given(seed=st.integers(0, 10**6), bias=st.booleans(), depth=st.integers(1, 4))
def test_forward_equals_pytorch(seed, bias, depth):
    widths = [6, 5, 4, 3, 2][: depth + 1]
    net = MLPEnsemble.from_seeds(widths, [seed, seed + 1], bias=bias)
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for member in range(2):
        theirs = sequential(widths, seed + member, bias).double()
        for parameter, block in zip(theirs.parameters(), net.parameters().values(), strict=True):
            parameter.data = block[member]
        torch.testing.assert_close(net(x)[member], theirs(x).detach(), rtol=1e-12, atol=1e-12)


def test_inputs_per_network():
    net = MLPEnsemble.from_seeds([4, 3, 2], [0, 1])
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for member in range(2):
        torch.testing.assert_close(net(x)[member], net[member](x[member])[0], rtol=1e-12, atol=0)


def test_features_are_the_last_hidden_layer():
    net = MLPEnsemble.from_seeds([4, 3, 5, 2], [0])
    x = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features = net.features(x)
    assert features.shape == (1, 6, 5) and (features >= 0).all()
    torch.testing.assert_close(features @ net.weights[-1].mT + net.biases[-1][:, None], net(x))


def test_indexing_gives_sub_ensembles():
    net = MLPEnsemble.from_seeds([4, 3, 2], [0, 1, 2])
    assert (
        len(net) == 3
        and len(net[1]) == 1
        and len(net[[0, 2]]) == 2
        and len(net[torch.tensor([True, False, True])]) == 2
    )
    assert torch.equal(net[[0, 2]].weights[0][1], net.weights[0][2])
    assert net.widths == [4, 3, 2]
    assert list(net.parameters()) == ["W1", "b1", "W2", "b2"]


def test_runs_on_the_device_it_is_given():
    net = MLPEnsemble.from_seeds([4, 3, 2], [0, 1], device="meta", dtype=torch.float32)
    assert net(torch.empty(5, 4, device="meta")).device.type == "meta"
    assert net.to(dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLPEnsemble.from_seeds([4], [0]), "widths"),
        (lambda: MLPEnsemble.from_seeds([4, 0], [0]), "widths"),
        (lambda: MLPEnsemble.from_seeds([4, 2], []), "seeds"),
        (lambda: MLPEnsemble([], None), "weights"),
        (lambda: MLPEnsemble([torch.zeros(2, 3)], None), r"weights\[0\]"),
        (
            lambda: MLPEnsemble([torch.zeros(1, 3, 2), torch.zeros(1, 3, 4)], None),
            r"weights\[1\].*d_in = 3",
        ),
        (lambda: MLPEnsemble([torch.zeros(1, 3, 2)], [torch.zeros(1, 2)]), "biases"),
        (
            lambda: MLPEnsemble.from_seeds([4, 2], [0])(torch.zeros(3, 5, dtype=torch.float64)),
            "x: expected shape",
        ),
        (
            lambda: MLPEnsemble.from_seeds([4, 2], [0]).features(
                torch.zeros(3, 4, dtype=torch.float64)
            ),
            "no hidden layer",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_wrong_dtype_is_named():
    with pytest.raises(TypeError, match="x: expected dtype torch.float64"):
        MLPEnsemble.from_seeds([4, 2], [0])(torch.zeros(3, 4, dtype=torch.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_where_numbers_are_added_up_and_the_repair_is_named(dtype):
    from flatness.curvature import hessian_trace, path_norm
    from flatness.networks.training import SGD, order_generators, train

    half = MLPEnsemble.from_seeds([4, 3, 2], [0], dtype=dtype)
    x, y = torch.ones(3, 4, dtype=dtype), torch.tensor([0, 1, 1])
    for call in (
        lambda: hessian_trace(half, x),
        lambda: path_norm(half),
        lambda: train(half, x, y, SGD(2, 0.1, 1), order_generators([0])),
    ):
        with pytest.raises(TypeError, match=r"networks: expected float32 .*\.to\(dtype="):
            call()
    whole = half.to(dtype=torch.float64)  # as the message says
    assert hessian_trace(whole, x.double()).total > 0
