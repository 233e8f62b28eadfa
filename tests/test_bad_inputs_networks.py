"""Bad and odd arguments: networks and training, two-layer networks, activations, devices."""

import pytest
import torch
from bad_inputs import Case, defects
from deep_cases import problem
from two_layer_cases import random_inputs, random_network

from flatness.networks import activations, device, features, training, two_layer
from flatness.networks import mlp as networks


def deep():
    net, x, y = problem(0, widths=(5, 4, 6, 3), n=12, count=2)
    return {"networks": net, "x": x, "y": y}


def parts(*names, **more):
    """The named parts of a small problem, and more arguments."""
    return lambda: (
        {name: deep()[name] for name in names} | {name: make() for name, make in more.items()}
    )


def of_networks(method):
    return lambda networks, **rest: getattr(networks, method)(**rest)


def trained(networks, x, y, orders, **rest):
    return training.train(networks, x, y, training.SGD(**rest), orders)


def two():
    net = random_network(0, count=2, width=5, d=4)
    x = random_inputs(0, count=2, n=7, d=4)
    return {"net": net, "x": x, "y": x.sum(-1).sin()}


def two_parts(*names, **more):
    return lambda: (
        {name: two()[name] for name in names} | {name: make() for name, make in more.items()}
    )


CASES = [
    Case(
        lambda weights, biases: networks.MLPEnsemble(weights, biases).weights,
        lambda: {"weights": deep()["networks"].weights, "biases": deep()["networks"].biases},
        "networks.MLPEnsemble",
        allows="biases: (first inf|first nan)|weights: (first inf|first nan)",
    ),
    Case(
        lambda **kw: networks.MLPEnsemble.from_seeds(**kw).weights,
        lambda: {"widths": [4, 3, 2], "seeds": [0, 1], "device": "cpu"},
        "networks.MLPEnsemble.from_seeds",
    ),
    Case(
        lambda networks, index: networks[index].weights,
        parts("networks", index=lambda: torch.tensor([1, 0, 1, 1, 0, 0, 1, 1])),
        "networks.MLPEnsemble.__getitem__",
        allows="networks: (nan|text)",
    ),
    Case(
        of_networks("preactivations"),
        parts("networks", "x"),
        "networks.MLPEnsemble.preactivations",
        allows="networks: (nan|text)",
    ),
    Case(
        lambda networks, x: networks(x),
        parts("networks", "x"),
        "networks.MLPEnsemble.__call__",
        allows="networks: (nan|text)",
    ),
    Case(
        of_networks("features"),
        parts("networks", "x", layer=lambda: 0),
        "networks.MLPEnsemble.features",
        allows="networks: (nan|text)",
    ),
    Case(
        lambda networks: networks.to(dtype=torch.float32).weights,
        parts("networks"),
        "networks.MLPEnsemble.to",
        allows="networks: (nan|text)",
    ),
    Case(training.accuracy, parts("networks", "x", "y", chunk=lambda: 5), allows="networks: nan"),
    Case(
        trained,
        parts(
            "networks",
            "x",
            "y",
            orders=lambda: training.order_generators([0, 1]),
            batch_size=lambda: 5,
            lr=lambda: 0.1,
            max_epochs=lambda: 3,
            check_every=lambda: 2,
            stop_accuracy=lambda: 0.9,
            drop_at=lambda: 0.5,
            stop_loss=lambda: 0.01,
        ),
        "training.train",
        infinite="a network that diverges has an infinite loss and is marked",
        allows="networks: nan",
    ),
    Case(
        lambda **kw: training.SGD(**kw).rate(2),
        lambda: dict(
            batch_size=5,
            lr=0.1,
            max_epochs=3,
            check_every=2,
            stop_accuracy=0.9,
            drop_at=0.5,
            stop_loss=0.1,
        ),
        "training.SGD",
    ),
    Case(
        lambda seeds: len(training.order_generators(seeds)),
        lambda: {"seeds": [0, 3]},
        "training.order_generators",
    ),
    Case(
        two_layer.TwoLayer,
        lambda: {"a": two()["net"].a, "W": two()["net"].W, "activation": activations.RELU},
    ),
    Case(
        lambda net, index: net[index],
        two_parts("net", index=lambda: torch.tensor([1, 0, 1, 1, 0, 0, 1, 1])),
        "two_layer.TwoLayer.__getitem__",
        allows="net: text",
    ),
    *(
        Case(
            lambda net, x, method=method: getattr(net, method)(x),
            two_parts("net", "x"),
            f"two_layer.TwoLayer.{method}",
            allows="net: text|x: one in axis 0",
        )
        for method in ("preactivations", "features", "__call__")
    ),
    Case(
        two_layer.as_batch,
        two_parts("x", dim=lambda: 4),
    ),
    Case(two_layer.as_data, two_parts("x", "y")),
    Case(
        two_layer.half_mse, two_parts("net", "x", "y"), allows="x: one in axis 0|y: one in axis 0"
    ),
    Case(two_layer.at_kink, two_parts("net", "x"), allows="x: one in axis 0"),
    Case(
        two_layer.trace_parts,
        two_parts("net", "x", kinks=lambda: "subgradient"),
        allows="x: one in axis 0",
    ),
    Case(two_layer.trace, two_parts("net", "x", kinks=lambda: "error"), allows="x: one in axis 0"),
    Case(two_layer.stack, lambda: {"nets": [random_network(0), random_network(1, width=6)]}),
    Case(
        two_layer.concatenate,
        lambda: {"first": random_network(0), "second": random_network(1, width=6)},
    ),
    Case(
        lambda **kw: activations.Activation(**kw).smallest_slope,
        lambda: dict(name="s", degree=1, plus=1.0, minus=0.5),
        "activations.Activation",
        allows="name: (3|no such)",
    ),
    Case(
        activations.from_function,
        lambda: dict(function=abs, degree=1, name="three abs", tolerance=1e-10),
        allows="name: (3|no such)",
    ),
    Case(
        features.read_features,
        lambda: {
            "features": deep()["networks"].features(deep()["x"]),
            "weight": deep()["networks"].weights[-1],
        },
        "features.read_features",
    ),
    Case(
        features.effective_rank,
        lambda: {"features": torch.stack([deep()["x"], deep()["x"] ** 2])},
        allows="features: (nan|inf)",  # of one network of two: its rank is NaN
    ),
    Case(
        lambda name: str(device.default_device(name)),
        lambda: {"name": "cpu"},
        "device.default_device",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
