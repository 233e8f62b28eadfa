"""Models in whatever class become the ensemble with the same outputs, and what is none is named."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from flatness.networks.mlp import MLPEnsemble
from flatness.networks.torch_models import from_state_dict, from_torch, to_torch

X = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))


def sequential():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3))


class Backwards(nn.Module):
    """Registered from the outputs to the inputs, all in functions and methods."""

    def __init__(self):
        super().__init__()
        self.last, self.idle = nn.Linear(4, 3), nn.Identity()
        self.middle = nn.Linear(4, 4, bias=False)
        self.first = nn.Linear(6, 4)

    def forward(self, x):
        h = torch.relu(self.first(x.view(x.size(0), -1)))
        h = F.dropout(self.middle(self.idle(h)), 0.5, self.training).relu()
        return self.last(h)


class Flattened(Backwards):
    """The same with other spellings of the flattening."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        return self.last(F.relu(self.middle(F.relu(self.first(self.how(x))))))


class Own(nn.Linear):
    """A reader's class that is a Linear layer."""


HOWS = {
    "flatten": lambda x: torch.flatten(x, 1),
    "flatten by name": lambda x: torch.flatten(x, start_dim=1),
    "method": lambda x: x.flatten(1),
    "view": lambda x: x.view(-1, 6),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "contiguous": lambda x: x.contiguous().view(x.size(0), 6),
}
MODELS = {
    "sequential": sequential,
    "functions": Backwards,
    "nested": lambda: nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(6, 4), nn.ReLU(True)), Own(4, 2)
    ),
    "one layer": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 3)),
    **{how: lambda how=how: Flattened(HOWS[how]) for how in HOWS},
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_the_model_in_evaluation_mode(name, training):
    torch.manual_seed(0)
    model = MODELS[name]().train(training)
    networks = from_torch(model, example=X)
    wanted = copy.deepcopy(model).eval().double()(X.double())
    torch.testing.assert_close(networks(X.double().flatten(1))[0], wanted, rtol=1e-12, atol=1e-12)


def test_several_models_are_one_ensemble_and_missing_biases_are_zero():
    torch.manual_seed(0)
    models = [Backwards() for _ in range(3)]
    networks = from_torch(*models)
    assert len(networks) == 3 and networks.widths == [6, 4, 4, 3]
    assert (networks.biases[1] == 0).all()
    assert torch.equal(networks.weights[2][1], models[1].last.weight.detach().double())
    free = nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    assert from_torch(free).biases is None
    mixed = from_torch(free, nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)))
    assert (mixed.biases[0][0] == 0).all() and (mixed.biases[0][1] != 0).any()


def test_a_layer_alone_and_a_parametrised_one():
    linear = nn.Linear(4, 3)
    assert torch.equal(from_torch(linear).weights[0][0], linear.weight.detach().double())
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    with torch.no_grad():
        normed.parametrizations.weight.original0 *= 2
    model = nn.Sequential(normed)
    networks = from_torch(model, example=torch.ones(2, 4))
    torch.testing.assert_close(networks.weights[0][0], normed.weight.detach().double())


def test_the_model_stays_as_it_is():
    torch.manual_seed(0)
    model = sequential().train()
    model[4].eval()
    model[1].weight.requires_grad_(False)
    model(X).sum().backward()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    networks = from_torch(model, example=X, dtype=torch.float32)
    networks.weights[0].zero_()
    assert [part.training for part in model] == [True, True, True, True, False]
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is None if before is None else torch.equal(parameter.grad, before)
    to_torch(networks, 0)
    assert torch.equal(torch.get_rng_state(), random)


def test_dtypes_and_devices():
    model = sequential()
    assert from_torch(model).dtype == torch.float64
    single = from_torch(model, example=X, dtype=torch.float32)
    assert torch.equal(single.weights[0][0], model[1].weight.detach())
    half = from_torch(sequential().to(torch.bfloat16), example=X)
    assert half.dtype == torch.float64
    assert from_torch(model, device="meta").device.type == "meta"


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_round_trip_is_bit_equal(widths, count, bias, dtype):
    networks = MLPEnsemble.from_seeds(widths, range(count), bias=bias, dtype=dtype)
    models = to_torch(networks)
    for again in (
        from_torch(*models, dtype=dtype),
        from_state_dict(*(model.state_dict() for model in models), dtype=dtype),
    ):
        assert again.parameters().keys() == networks.parameters().keys()
        for one, two in zip(
            again.parameters().values(), networks.parameters().values(), strict=True
        ):
            assert torch.equal(one, two) and one.dtype == two.dtype
    last = to_torch(networks, -1)
    x = torch.ones(4, widths[0], dtype=dtype)
    torch.testing.assert_close(last(x), networks(x)[-1])
    assert all(p.requires_grad and p.is_leaf for p in last.parameters())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = x.flatten(1)
        return self.b(x + self.a(x).relu())


class Skipped(Residual):
    def forward(self, x):
        x = x.flatten(1)
        return self.b(x), self.a(x)


class TwoOutputs(Residual):
    def forward(self, x):
        h = self.a(x.flatten(1))
        return self.b(h.relu()), h


class OutputEarly(Residual):
    def forward(self, x):
        return (self.b(self.a(x.flatten(1)).relu()),)


class Branching(Residual):
    def forward(self, x):
        return self.b(x.flatten(1)) if x.sum() > 0 else self.a(x.flatten(1))


class TwoInputs(Residual):
    def forward(self, x, z):
        return self.b(self.a(x + z).relu())


class Always(Residual):
    def forward(self, x):
        return self.b(F.dropout(self.a(x.flatten(1)).relu()))


def shared():
    linear = nn.Linear(6, 6)
    return nn.Sequential(nn.Flatten(), linear, nn.ReLU(), linear)


def shared_parameter():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    model[2].weight = model[0].weight
    return model


def hooked():
    model = sequential()
    model[1].register_forward_hook(lambda *_: None)
    return model


def complex_weights():
    model = nn.Linear(3, 3)
    model.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.complex64))
    return model


def with_layer(layer, *rest):
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 5), layer, nn.Linear(5, 3), *rest)


REFUSED = {
    "'2' (Tanh)": with_layer(nn.Tanh()),
    "'2' (LeakyReLU)": with_layer(nn.LeakyReLU()),
    "'2' (BatchNorm1d)": with_layer(nn.BatchNorm1d(5)),
    "'2' (Linear) after 1 with no ReLU between; multiply": with_layer(nn.Linear(5, 5)),
    "outputs are the logits": with_layer(nn.ReLU(), nn.LogSoftmax(1)),
    "a ReLU after the last": with_layer(nn.ReLU(), nn.ReLU()),
    "before the first": lambda: nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(6, 3)),
    "'0' (Conv2d)": lambda: nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(6, 3)),
    "'0' (Flatten)": lambda: nn.Sequential(nn.Flatten(0), nn.Linear(6, 3)),
    "'add'": Residual,
    "the output, which is not that of layer 'b'": TwoOutputs,
    "'a' (Linear), which does not read the layer before it alone": Skipped,
    "the output, which is not that": OutputEarly,
    "torch.fx cannot follow the forward pass of Branching": Branching,
    "the second input 'z'": TwoInputs,
    "pass training=self.training": Always,
    "'1' (Linear), whose parameters are used twice": shared,
    "'2' (Linear), whose parameters are used twice": shared_parameter,
    "'1' (Linear) with hooks": hooked,
    "layer 3 takes 4 inputs, but layer 1 before it gives 5": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(4, 3)
    ),
    "at least one Linear": lambda: nn.Sequential(nn.Flatten()),
    "on the meta device": lambda: sequential().to("meta"),
    "has no shape yet": lambda: nn.Sequential(nn.LazyLinear(3)),
    "real parameters": complex_weights,
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_cannot_be_read_is_named(said):
    with pytest.raises(ValueError) as refused:
        from_torch(sequential(), REFUSED[said]())
    assert said in str(refused.value) and str(refused.value).startswith("models[1]:")


def test_errors_name_the_argument():
    model = sequential()
    other = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    networks = from_torch(model)
    for call, said in (
        (lambda: from_torch(), "models: expected at least one"),
        (lambda: from_torch([model]), "models[0]: expected a torch.nn.Module, got list"),
        (lambda: from_torch(model, other), "models[1]: expected layers of shapes"),
        (lambda: from_torch(model, dtype=torch.int64), "dtype: "),
        (lambda: from_torch(model, device="nowhere"), "device: cannot use 'nowhere'"),
        (lambda: from_torch(model, example=1), "example: expected a tensor"),
        (lambda: from_torch(model, example=X.to("meta")), "example: "),
        (lambda: from_torch(model, example=X * torch.nan), "example: expected finite"),
        (lambda: from_torch(model, example=X[:, :1]), "example: expected inputs (n, ...) of 6"),
        (lambda: from_torch(model[1:], example=X), "example: models[0] does not take it"),
        (lambda: to_torch(model), "networks: expected an MLPEnsemble"),
        (lambda: to_torch(networks, 1), "index: "),
        (lambda: from_state_dict(), "states: "),
        (lambda: from_state_dict(model), "states[0]: expected a state dict"),
        (lambda: from_state_dict({"a.weight": 1}), "states[0]: expected a real tensor"),
        (lambda: from_state_dict(nn.BatchNorm1d(3).state_dict()), "states[0]: 'weight'"),
        (lambda: from_state_dict({"a.bias": X[0, 0]}), "states[0]: 'a.bias'"),
        (
            lambda: from_state_dict({"a.weight": X[0], "a.bias": X[0, 0]}),
            "states[0]: expected shape (2,) at 'a.bias'",
        ),
        (lambda: from_state_dict({"a.weight": X[0].to("meta")}), "states[0]: a.weight is on"),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value).startswith(said), str(refused.value)


def test_the_example_finds_what_the_layers_do_not_say():
    """A part that torch.fx takes for one of PyTorch's own, and that is none."""

    class Sneaky(nn.Dropout):
        def forward(self, x):
            return 2 * x

    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), Sneaky(), nn.Linear(5, 3))
    with pytest.raises(ValueError, match="cannot read 'mul"):
        from_torch(model)
    Sneaky.__module__ = "torch.nn.sneaky"
    with pytest.raises(ValueError, match=r"models\[0\]: its outputs on example differ"):
        from_torch(model, example=X)
