import pytest
import torch
from torch import nn

from flatness.networks import first_layer, training
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train

WIDTHS = [12, 7, 5, 3]


def blobs(n=40, d=12, seed=0):
    """Three Gaussian clusters in d dimensions."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 3, (n,), generator=g)
    return torch.randn(n, d, generator=g, dtype=torch.float64) + 2 * torch.eye(
        3, d, dtype=torch.float64
    )[y], y


def pytorch_sgd(net, x, y, sgd, order):
    """The same training written the usual way: autograd, nn.Sequential, torch.optim.SGD."""
    bias = net.biases is not None
    layers = []
    for i, weight in enumerate(net.weights):
        linear = nn.Linear(weight.shape[2], weight.shape[1], bias=bias, dtype=torch.float64)
        linear.weight.data = weight[0].clone()
        if bias:
            linear.bias.data = net.biases[i][0].clone()
        layers += [linear, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimiser = torch.optim.SGD(model.parameters(), lr=sgd.lr)
    for epoch in range(1, sgd.max_epochs + 1):
        optimiser.param_groups[0]["lr"] = sgd.rate(epoch)
        for batch in torch.randperm(len(x), generator=order).split(sgd.batch_size):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
        if (
            epoch % sgd.check_every == 0
            and (model(x).argmax(-1) == y).double().mean() >= sgd.stop_accuracy
        ):
            break
    return list(model.parameters()), epoch


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "n", [40, 9]
)  # more and fewer points than inputs: both forms of the first layer
def test_same_trajectory_as_pytorch(n, bias):
    x, y = blobs(n)
    sgd = SGD(batch_size=16, lr=0.1, max_epochs=30, check_every=5, stop_accuracy=0.95, drop_at=0.8)
    net = MLPEnsemble.from_seeds(WIDTHS, [0, 1, 2], bias=bias)
    result = train(net, x, y, sgd, order_generators([0, 1, 2]))
    for m in range(3):
        theirs, epochs = pytorch_sgd(net[m], x, y, sgd, order_generators([m])[0])
        assert epochs == result.epochs[m]
        for block, parameter in zip(result.networks[m].parameters().values(), theirs, strict=True):
            torch.testing.assert_close(block[0], parameter.detach(), rtol=1e-9, atol=1e-11)


def test_alone_or_in_company():
    x, y = blobs()
    net, sgd = MLPEnsemble.from_seeds(WIDTHS, range(5)), SGD(16, 0.1, max_epochs=60)
    together = train(net, x, y, sgd, order_generators(range(5)))
    alone = train(net[3], x, y, sgd, order_generators([3]))
    assert alone.epochs[0] == together.epochs[3]
    for a, b in zip(
        alone.networks.parameters().values(), together.networks.parameters().values(), strict=True
    ):
        torch.testing.assert_close(a[0], b[3], rtol=1e-9, atol=1e-12)


def test_both_first_layers_agree(monkeypatch):
    x, y = blobs(n=10)
    net, sgd = MLPEnsemble.from_seeds(WIDTHS, range(3)), SGD(4, 0.1, max_epochs=20)
    dual = train(net, x, y, sgd, order_generators(range(3)))
    monkeypatch.setattr(training, "_DualFirstLayer", first_layer._PrimalFirstLayer)
    primal = train(net, x, y, sgd, order_generators(range(3)))
    for a, b in zip(
        dual.networks.parameters().values(), primal.networks.parameters().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_stopping_rule_and_report():
    x, y = blobs()
    net = MLPEnsemble.from_seeds(WIDTHS, range(6))
    before = [p.clone() for p in net.parameters().values()]
    seen = []
    result = train(
        net,
        x,
        y,
        SGD(16, 0.2, max_epochs=200),
        order_generators(range(6)),
        lambda *state: seen.append(state),
    )
    assert all(torch.equal(p, q) for p, q in zip(before, net.parameters().values(), strict=True))
    assert (
        (result.accuracy >= 0.9999).all()
        and (result.epochs % 10 == 0).all()
        and not result.diverged.any()
    )
    torch.testing.assert_close(accuracy(result.networks, x, y, chunk=7), result.accuracy)
    expected = torch.stack(
        [nn.functional.cross_entropy(result.networks(x)[m], y) for m in range(6)]
    )
    torch.testing.assert_close(result.loss, expected)
    assert seen[-1][1] == 0 and [epoch for epoch, _ in seen] == list(
        range(10, int(result.epochs.max()) + 1, 10)
    )


def test_divergence_is_marked_not_hidden():
    x, y = blobs()
    result = train(
        MLPEnsemble.from_seeds(WIDTHS, [0, 1]),
        x * 1e200,
        y,
        SGD(16, 1e200, max_epochs=20),
        order_generators([0, 1]),
    )
    assert result.diverged.all() and (result.accuracy == 0).all() and result.loss.isinf().all()


def test_linear_classifier_and_max_epochs():
    x, y = blobs()
    result = train(
        MLPEnsemble.from_seeds([12, 3], [0]),
        x,
        y,
        SGD(40, 1e-6, max_epochs=13),
        order_generators([0]),
    )
    assert result.epochs.tolist() == [13] and result.accuracy[0] < 1


def test_rate_drops_late():
    sgd = SGD(8, 1.0, max_epochs=10, drop_at=0.8)
    assert [sgd.rate(e) for e in (1, 8, 9, 10)] == [1.0, 1.0, 0.1, 0.1]


@pytest.mark.parametrize("cls", [first_layer._PrimalFirstLayer, first_layer._DualFirstLayer])
def test_step_stays_on_its_device(cls):
    net = MLPEnsemble.from_seeds(WIDTHS, [0, 1], device="meta", dtype=torch.float32)
    x = torch.empty(9, 12, device="meta")
    first, batch = cls(net, x), torch.zeros(2, 4, dtype=torch.int64, device="meta")
    weights, biases = [w.clone() for w in net.weights[1:]], [b.clone() for b in net.biases[1:]]
    training._step(first, weights, biases, batch, torch.empty(9, 3, device="meta"), 0.1)
    assert first.weight().device.type == "meta" and first.weight().shape == net.weights[0].shape
    assert training._check(
        first, weights, biases, torch.zeros(9, dtype=torch.int64, device="meta")
    )[0].shape == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(x=torch.zeros(0, 12, dtype=torch.float64), y=torch.zeros(0, dtype=torch.int64)),
            "x: expected shape",
        ),
        (dict(x=torch.zeros(4, 11, dtype=torch.float64)), "x: expected shape"),
        (dict(x=torch.zeros(4, 12)), "x: expected dtype torch.float64"),
        (dict(x=torch.full((4, 12), torch.nan, dtype=torch.float64)), "finite"),
        (dict(y=torch.tensor([0, 1, 2, 3])), "classes 0 to 2"),
        (dict(y=torch.tensor([0, 1])), "y: expected 4"),
        (dict(y=torch.zeros(4)), "int64"),
        (dict(orders=order_generators([0, 1])), "orders: expected one generator"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = (
        dict(
            networks=MLPEnsemble.from_seeds(WIDTHS, [0]),
            x=torch.zeros(4, 12, dtype=torch.float64),
            y=torch.tensor([0, 1, 2, 0]),
            sgd=SGD(2, 0.1),
            orders=order_generators([0]),
        )
        | change
    )
    with pytest.raises(ValueError, match=message):
        train(**arguments)


@pytest.mark.parametrize(
    "change", [dict(batch_size=0), dict(lr=-1), dict(max_epochs=0), dict(stop_accuracy=1.5)]
)
def test_bad_configuration_is_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SGD(**(dict(batch_size=8, lr=0.1) | change))


def test_training_goes_on_beside_a_network_that_has_diverged():
    """Its neighbours take the steps that they take alone, and it is marked."""
    nets, rng = MLPEnsemble.from_seeds([4, 6, 3], [0, 1]), torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 4, generator=rng, dtype=torch.float64), torch.arange(20) % 3
    nets.weights[0][0] = torch.nan
    both = train(nets, x, y, SGD(5, 0.1, 20), order_generators([0, 1]))
    alone = train(nets[1], x, y, SGD(5, 0.1, 20), order_generators([1]))
    assert both.diverged.tolist() == [True, False] and both.accuracy[0] == 0
    torch.testing.assert_close(
        both.networks.weights[0][1], alone.networks.weights[0][0], rtol=1e-12, atol=1e-14
    )
