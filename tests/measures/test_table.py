"""The table of a reader's own networks against direct calls of the library."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.margins import normalised_margin, output_margins, path_norm, weight_norm
from flatness.curvature.modules import module_hessian_trace, module_hutchinson_trace
from flatness.curvature.sharpness import (
    adaptive_lambda_max,
    adaptive_trace,
    fisher_rao_norm,
    relative_flatness,
)
from flatness.curvature.spectrum import lambda_max
from flatness.curvature.trace import hessian_trace, hutchinson_trace, mean_loss
from flatness.feasibility.pairs import pair_verdicts, pair_verdicts_ensemble
from flatness.measures import MEASURES, MODULE_MEASURES, measure
from flatness.networks.features import effective_rank
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import activation_patterns, distinct_patterns, free_parameters
from flatness.networks.torch_models import from_torch
from flatness.symmetry.balancing import orbit_minimum

G = torch.Generator().manual_seed(0)
N, K = 20, 3
X = torch.randn(N, 1, 4, 4, generator=G)
Y = X.flatten(1)[:, :K].argmax(1)
PROBES, POINTS = torch.randn(6, 1, 4, 4, generator=G), torch.randn(40, 1, 4, 4, generator=G)


def mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, K)
    )


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.MaxPool2d(2))
        self.drop, self.fc = nn.Dropout(), nn.Linear(3, K)

    def forward(self, x):
        return self.fc(self.drop(self.body(x).flatten(1)))


class Transformer(nn.Module):
    """Tokens in, classes out; neither piecewise linear nor traceable as a stack."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Embedding(7, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.fc = nn.Linear(4, K)

    def forward(self, x):
        return self.fc(self.layer(self.enter(x)).mean(1))


def made(build, count=2, steps=30):
    """Trained for a moment, so that some images are fitted; in training mode."""
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        model = build().train()
        x = X if build is not Transformer else tokens(N)
        optimiser = torch.optim.SGD(model.parameters(), 0.5)
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(model(x), Y).backward()
            optimiser.step()
        models.append(model)
    return models


def tokens(n):
    return torch.randint(0, 7, (n, 5), generator=torch.Generator().manual_seed(n))


@pytest.fixture(scope="module")
def models():
    return made(mlp)


@pytest.fixture(scope="module")
def cnns():
    return made(CNN)


def generator():
    return torch.Generator().manual_seed(5)


def test_every_measure_agrees_with_its_function(models):
    net = from_torch(*models)
    x, points = X.flatten(1).double(), POINTS.flatten(1).double()
    found = measure(models, X, Y, points=POINTS, epochs=[3, 4])
    diagonal, features = hessian_diagonal(net, x), net.features(x)
    direct = {
        "trace": hessian_trace(net, x).total,
        "orbit_trace": orbit_minimum(net, x).value,
        "lambda_max": lambda_max(net, x, Y).value,
        "adaptive_trace": adaptive_trace(net, diagonal),
        "adaptive_lambda_max": adaptive_lambda_max(net, x, Y).value,
        "relative_flatness": relative_flatness(net, x),
        "fisher_rao": fisher_rao_norm(net, x),
        "path_norm": path_norm(net),
        "weight_l2": weight_norm(net),
        "weight_l1": weight_norm(net, 1),
        "margin": output_margins(net, x, Y).amin(1),
        "normalised_margin": normalised_margin(net, x, Y),
        "train_loss": mean_loss(net, x, Y),
        "epochs": torch.tensor([3, 4]),
        "patterns": distinct_patterns(activation_patterns(net, points, 1)),
        "free_parameters": free_parameters(activation_patterns(net, x, 1), 5, K),
        "effective_rank": effective_rank(features),
        "active_units": (features > 0).double().mean(1).sum(-1),
    }
    assert len(direct) == 18 and found.columns.keys() == direct.keys()
    for name, value in direct.items():
        torch.testing.assert_close(found.columns[name], value, rtol=1e-9, atol=1e-12)
    assert found.left_out.keys() == {"pair_proxy", "trace_estimate", "log_count", "divergence"}
    for name, value in hessian_trace(net, x).blocks.items():
        torch.testing.assert_close(found.blocks[name], value, rtol=1e-9, atol=0)
    table = found.table(blocks=True)
    assert list(table.columns) == [*direct, *(f"trace {name}" for name in found.blocks)]
    assert len(table) == 2 and len(found.table().columns) == 18


def test_pair_proxy_and_estimate(models):
    net, x = from_torch(*models), X.flatten(1).double()
    found = measure(
        models,
        X,
        Y,
        names=["pair_proxy", "trace_estimate"],
        probes=PROBES,
        generator=generator(),
        samples=7,
    )
    features = [net.features(part.flatten(1).double()).numpy() for part in (X, PROBES)]
    verdicts = pair_verdicts_ensemble(features[0], Y.numpy(), features[1], K, workers=1)
    np.testing.assert_array_equal(found.columns["pair_proxy"], verdicts.pair_proxy)
    np.testing.assert_array_equal(found.columns["undecided"], verdicts.undecided)
    estimate = hutchinson_trace(net, x, Y, probes=7, generator=generator())
    assert torch.equal(found.columns["trace_estimate"], estimate.estimate)
    assert torch.equal(found.columns["trace_standard_error"], estimate.standard_error)
    assert not found.blocks and not found.left_out
    assert verdicts.policy_feasible.any()


def test_one_model_an_ensemble_and_a_list_agree(models):
    table = measure(models, X, Y).table()
    alone = measure(models[1], X, Y).table()
    ensemble = measure(from_torch(*models), X.flatten(1).double(), Y).table()
    np.testing.assert_allclose(alone.iloc[0], table.iloc[1], rtol=1e-8)
    np.testing.assert_allclose(ensemble, table, rtol=1e-12)
    single = measure(models, X, Y, dtype=torch.float32).table()
    np.testing.assert_allclose(single, table, rtol=1e-3)


WHERE = {
    "head by name": lambda cnns: {"head": "fc"},
    "features by name": lambda cnns: {"features": "drop"},
    "both by name": lambda cnns: {"features": "drop", "head": "fc"},
    "functions": lambda cnns: {"features": [lambda x, m=m: m.body(x) for m in cnns]},
    "heads as sub-modules": lambda cnns: {"head": [m.fc for m in cnns]},
    "features as sub-modules": lambda cnns: {"features": [m.body for m in cnns]},
    "sub-module and function": lambda cnns: {
        "features": [m.body for m in cnns],
        "head": [lambda h, m=m: m.fc(h.flatten(1)) for m in cnns],
    },
}


@pytest.mark.parametrize("where", WHERE)
def test_features_of_other_models(cnns, where):
    where = WHERE[where](cnns)
    found = measure(cnns, X, Y, probes=PROBES, epochs=[1.0, 2.0], generator=generator(), **where)
    assert found.columns.keys() == {*MODULE_MEASURES, "undecided", "trace_standard_error", "epochs"}
    g = generator()
    for m, model in enumerate(cnns):
        own = copy.deepcopy(model).eval()
        with torch.no_grad():
            features, probes = (own.body(part).flatten(1).double() for part in (X, PROBES))
            outputs = own(X).double()
        estimate = module_hutchinson_trace(model, X, Y, probes=100, generator=g)
        rivals = outputs.scatter(1, Y[:, None], -torch.inf).amax(1)
        wanted = {
            "trace": module_hessian_trace(model, X).total,
            "trace_estimate": estimate.estimate,
            "trace_standard_error": estimate.standard_error,
            "margin": (outputs.gather(1, Y[:, None])[:, 0] - rivals).min(),
            "train_loss": F.cross_entropy(outputs, Y),
            "weight_l2": sum(p.double().square().sum() for p in own.parameters()) ** 0.5,
            "weight_l1": sum(p.double().abs().sum() for p in own.parameters()),
            "effective_rank": effective_rank(features[None]),
            "epochs": torch.tensor(m + 1.0),
        }
        for name, value in wanted.items():
            assert found.columns[name][m].item() == pytest.approx(value.item(), rel=1e-9), name
        try:
            proxy = pair_verdicts(features.numpy(), Y.numpy(), probes.numpy(), K).pair_proxy
        except ValueError:
            proxy = np.nan
        np.testing.assert_equal(found.columns["pair_proxy"][m].item(), proxy)
    assert {"orbit_trace", "path_norm", "patterns"} <= found.left_out.keys()
    assert list(found.blocks) == ["body.0.weight", "body.0.bias", "fc.weight", "fc.bias"]


def test_the_features_of_a_stack_give_the_pair_proxy_of_the_ensemble(models):
    own = measure(models, X, Y, probes=PROBES, head="5").columns
    ensemble = measure(models, X, Y, probes=PROBES).columns
    assert (
        own["pair_proxy"].nan_to_num(-1).tolist() == ensemble["pair_proxy"].nan_to_num(-1).tolist()
    )
    for name in ("trace", "margin", "train_loss", "effective_rank", "weight_l2"):
        torch.testing.assert_close(own[name], ensemble[name], rtol=1e-5, atol=1e-6)


def test_a_transformer_has_an_estimate_and_no_exact_trace():
    models = made(Transformer, 1, 3)
    x, probes = tokens(N), tokens(4)
    found = measure(models, x, Y, probes=probes, head="fc", generator=generator(), samples=5)
    assert "trace" not in found.columns and "not piecewise linear in" in found.left_out["trace"]
    assert {"trace_estimate", "margin", "effective_rank", "pair_proxy"} <= found.columns.keys()
    with pytest.raises(ValueError, match="names: 'trace' needs another model .*layer"):
        measure(models, x, Y, names=["trace"])


def test_a_constant_network_has_no_feasible_policy():
    """Equal features with different labels: NaN, never zero."""
    model = mlp()
    with torch.no_grad():
        for parameter in model[3].parameters():
            parameter.zero_()
    found = measure(model, X, Y, names=["pair_proxy"], probes=PROBES)
    assert found.columns["pair_proxy"].isnan().all() and found.columns["undecided"].tolist() == [0]


def test_the_models_stay_as_they_are(models, cnns):
    for listed, more in ((models, {}), (cnns, {"head": "fc"})):
        listed[0].train()
        [*listed[0].modules()][-1].eval()
        listed[1].eval()
        modes = [[part.training for part in model.modules()] for model in listed]
        states = copy.deepcopy([model.state_dict() for model in listed])
        slopes = [[p.grad.clone() for p in model.parameters()] for model in listed]
        listed[0].requires_grad_(False)
        random = torch.get_rng_state()
        measure(listed, X, Y, probes=PROBES, generator=generator(), samples=2, **more)
        assert modes == [[part.training for part in model.modules()] for model in listed]
        for model, state, slope in zip(listed, states, slopes, strict=True):
            assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
            pairs = zip(model.parameters(), slope, strict=True)
            assert all(torch.equal(parameter.grad, before) for parameter, before in pairs)
            assert not any(
                part._forward_hooks or part._forward_pre_hooks for part in model.modules()
            )
        assert not any(p.requires_grad for p in listed[0].parameters())
        assert all(p.requires_grad for p in listed[1].parameters())
        assert torch.equal(torch.get_rng_state(), random)
        listed[0].requires_grad_(True)


def test_names_choose_and_what_lacks_something_is_said(models, cnns):
    assert list(measure(models, X, Y, names=["margin", "trace", "margin"]).columns) == [
        "margin",
        "trace",
    ]
    assert list(measure(cnns, X, Y, names=["trace"]).columns) == ["trace"]  # needs no features
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, K))
    found = measure(linear, X, Y)
    assert "trace" in found.columns and "hidden layer" in found.left_out["orbit_trace"]
    for call, said in (
        (lambda: measure(models, X, Y, names=["patterns"]), "names: 'patterns' needs points="),
        (lambda: measure(models, X, Y, names=["pair_proxy"]), "names: 'pair_proxy' needs probes="),
        (lambda: measure(models, X, Y, names=["epochs"]), "names: 'epochs' needs epochs="),
        (
            lambda: measure(models, X, Y, names=["trace_estimate"]),
            "names: 'trace_estimate' needs gen",
        ),
        (lambda: measure(models, X, Y, names=["log_count"]), "names: 'log_count' needs more than"),
        (
            lambda: measure(linear, X, Y, names=["orbit_trace"]),
            "names: 'orbit_trace' needs at least",
        ),
        (
            lambda: measure(cnns, X, Y, names=["effective_rank"]),
            "names: 'effective_rank' needs feat",
        ),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value).startswith(said), str(refused.value)
    with pytest.raises(ValueError, match=r"names: 'path_norm' needs a stack .*'body.0' \(Conv2d\)"):
        measure(cnns, X, Y, names=["path_norm"])
    with pytest.raises(
        ValueError, match=r"model\[0\]: cannot read layer 'body.0' .*features= and head="
    ):
        measure(cnns, X, Y)


class Twice(CNN):
    def forward(self, x):
        return self.fc(self.body(x).flatten(1)) + self.fc(self.body(x).flatten(1))


def test_errors_name_the_argument(models, cnns):
    net, one = from_torch(*models), cnns[0]
    flat = X.flatten(1).double()
    bad = mlp()
    with torch.no_grad():
        bad[1].weight[0, 0] = torch.nan
    for call, said in (
        (lambda: measure("net", X, Y), "model: expected a torch.nn.Module"),
        (lambda: measure([], X, Y), "model: expected a torch.nn.Module"),
        (lambda: measure([1], X, Y), "model[0]: expected a torch.nn.Module"),
        (lambda: measure(bad, X, Y), "model[0]: expected finite"),
        (lambda: measure(mlp().to("meta"), X, Y), "model[0]: 1.weight is on the meta"),
        (lambda: measure(net.to("meta"), flat, Y), "model: expected values"),
        (lambda: measure(net.map(lambda b: b * torch.nan), flat, Y), "model: expected finite"),
        (lambda: measure(net, flat, Y, head="5"), "features, head: an ensemble has its own"),
        (lambda: measure(models, 1, Y), "x: expected a tensor"),
        (lambda: measure(models, X.to("meta"), Y), "x: expected values"),
        (lambda: measure(models, X * torch.inf, Y), "x: expected finite"),
        (lambda: measure(models, X[:0], Y), "x: expected entries"),
        (lambda: measure(models, X.to(torch.complex64), Y), "x: expected real"),
        (lambda: measure(models, X[..., 1:], Y), "x: expected inputs (n, ...) of 16"),
        (lambda: measure(net, flat[:, 1:], Y), "x: expected inputs (n, ...) of 16"),
        (lambda: measure(one, X[:, 0], Y, head="fc"), "x, model[0]: it does not take"),
        (lambda: measure(models, X, Y.tolist()), "y: expected a tensor"),
        (lambda: measure(models, X, Y[1:]), "y: expected 20 int64 classes"),
        (lambda: measure(models, X, Y.int()), "y: expected 20 int64 classes"),
        (lambda: measure(models, X, Y + 1), "y: expected classes"),
        (lambda: measure(one, X, Y + 1, head="fc"), "y: expected classes"),
        (lambda: measure(models, X, Y, names="trace"), "names: expected a sequence"),
        (lambda: measure(models, X, Y, names=["flat"]), "names: no measure 'flat'"),
        (lambda: measure(models, X, Y, points=POINTS[:, :, 1:]), "points: expected inputs"),
        (lambda: measure(models, X, Y, probes=PROBES.flatten(1)), "probes: expected inputs"),
        (lambda: measure(models, X, Y, probes=PROBES * torch.nan), "probes: expected finite"),
        (lambda: measure(models, X, Y, epochs=[1]), "epochs: expected 2 numbers"),
        (lambda: measure(models, X, Y, epochs=["a", "b"]), "epochs: expected numbers"),
        (lambda: measure(models, X, Y, generator=3), "generator: "),
        (lambda: measure(models, X, Y, samples=1), "samples: "),
        (lambda: measure(models, X, Y, dtype=torch.int64), "dtype: "),
        (lambda: measure(one, X, Y, head="fc", dtype=torch.int64), "dtype: "),
        (lambda: measure(models, X, Y, probes=PROBES, workers=0), "workers"),
        (
            lambda: measure(one, X, Y, features="nose"),
            "features: the model has no part 'nose', but",
        ),
        (lambda: measure(one, X, Y, features=3), "features: expected a function or part"),
        (lambda: measure(one, X, Y, head=lambda h: h), "head: a function needs features="),
        (lambda: measure(cnns, X, Y, features=one.body), "features: expected a name, or a list"),
        (lambda: measure(cnns, X, Y, head=["fc"]), "head: expected one for each of 2"),
        (lambda: measure(one, X, Y, features=lambda x: 1), "features: expected a tensor"),
        (
            lambda: measure(one, X, Y, features=lambda x: x[1:]),
            "features: expected a tensor (n, D)",
        ),
        (lambda: measure(one, X, Y, features="body", head=lambda h: h), "features, head: head(f"),
        (lambda: measure(one, X, Y, features=lambda x: x @ x[:2]), "x, features: it does not take"),
        (
            lambda: measure(Twice(), X, Y, head="fc"),
            "head: expected a part that a forward pass calls",
        ),
        (
            lambda: measure(one.body, X, Y, features="0"),
            "model[0]: expected outputs of shape (n, K)",
        ),
        (lambda: measure(nn.Linear(16, 1), flat, 0 * Y), "model: expected at least two outputs"),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value).startswith(said), f"{said}: {refused.value}"
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in one.modules())


def test_registries_share_their_names():
    assert set(MODULE_MEASURES) - set(MEASURES) == {"trace_estimate"}
    assert isinstance(from_torch(mlp()), MLPEnsemble)
