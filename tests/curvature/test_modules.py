"""The trace of any module against the Hessian by automatic differentiation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from flatness.curvature.modules import module_hessian_trace, module_hutchinson_trace
from flatness.curvature.piecewise_linear import NoExactTrace, block_nonlinearity
from flatness.curvature.trace import hessian_trace, hutchinson_trace
from flatness.networks.torch_models import from_torch

N, K = 6, 3
G = torch.Generator().manual_seed(0)
X = torch.randn(N, 1, 4, 4, generator=G, dtype=torch.float64)
Y = torch.randint(0, K, (N,), generator=G)
TARGETS = torch.randn(N, K, generator=G, dtype=torch.float64)


class Residual(nn.Module):
    """Convolutions with batch norm, a skip, a leaky unit with a learned slope, two poolings."""

    def __init__(self):
        super().__init__()
        self.enter, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.inner, self.slope = nn.Conv2d(2, 2, 3, padding=1), nn.PReLU()
        self.head = nn.Linear(2, K)
        self.norm.running_mean += 0.1
        self.norm.running_var *= 1.3

    def forward(self, x):
        h = self.slope(self.norm(self.enter(x)))
        h = F.max_pool2d(h + F.relu(self.inner(h)), 2)
        return self.head(F.avg_pool2d(h, 2).flatten(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(4, 4)
        self.mix, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, K)

    def forward(self, x):
        h = self.enter(x.flatten(1, 2))
        return self.head(self.mix(h, h, h, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """One layer used twice: quadratic in its weights."""

    def __init__(self):
        super().__init__()
        self.step, self.head = nn.Linear(16, 16), nn.Linear(16, K)

    def forward(self, x):
        h = self.step(x.flatten(1)).relu()
        return self.head(self.step(h).relu())


def mlp(between=None):
    between = nn.ReLU() if between is None else between
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4), between, nn.Dropout(), nn.Linear(4, K))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, K)
    )


EXACT = {"mlp": mlp, "cnn": cnn, "residual": Residual}
CURVED = {
    "gelu": lambda: mlp(nn.GELU()),
    "tanh": lambda: mlp(nn.Tanh()),
    "layer norm": lambda: mlp(nn.LayerNorm(4)),
    "attention": Attention,
    "weights used twice": Recurrent,
}


def made(build):
    torch.manual_seed(1)
    return build()


def dense_diagonal(model, x, loss):
    """Diagonal of the full Hessian by parameter, by automatic differentiation of the mean loss."""
    model = copy.deepcopy(model).eval().double()
    parameters = dict(model.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def value(theta):
        parts = theta.split(sizes)
        shaped = {
            k: t.reshape(p.shape) for (k, p), t in zip(parameters.items(), parts, strict=True)
        }
        outputs = functional_call(model, shaped, (x,))
        if loss == "square":
            return (outputs - TARGETS).square().sum() / (2 * N)
        return F.cross_entropy(outputs, Y)

    theta = torch.cat([p.detach().flatten() for p in parameters.values()])
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        diagonal = torch.autograd.functional.hessian(value, theta).diagonal()
    return dict(zip(parameters, diagonal.split(sizes), strict=True))


@pytest.mark.parametrize("loss", ["cross_entropy", "square"])
@pytest.mark.parametrize("name", EXACT)
def test_exact_trace_is_that_of_the_full_hessian(name, loss):
    model = made(EXACT[name])
    blocks = module_hessian_trace(model, X, loss=loss).blocks
    wanted = dense_diagonal(model, X, loss)
    assert list(blocks) == list(wanted) and wanted
    for key, entries in wanted.items():
        assert blocks[key].shape == (1,)
        assert blocks[key].item() == pytest.approx(entries.sum().item(), rel=1e-10), key
    assert all(value == 0 for value in block_nonlinearity(model, X).values())


def test_the_hessian_is_not_its_gauss_newton_part():
    """Entries between two layers differ, so that the diagonals agree says something."""
    model = made(mlp).double().eval()
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(X), Y), parameters, create_graph=True)
    across = torch.autograd.grad(gradients[0].sum(), parameters[2], retain_graph=True)[0]
    p = model(X).softmax(-1)
    outputs = [
        torch.autograd.grad(one, parameters, retain_graph=True) for one in model(X).flatten()
    ]
    first = torch.stack([g[0].sum() for g in outputs]).unflatten(0, (N, K))
    second = torch.stack([g[2] for g in outputs]).unflatten(0, (N, K))
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    gauss_newton = torch.einsum("nk,nkl,nl...->...", first, middle, second) / N
    assert (across - gauss_newton).abs().max() > 1e-3


@pytest.mark.parametrize("name", CURVED)
def test_what_is_not_piecewise_linear_is_refused(name):
    model = made(CURVED[name])
    with pytest.raises(NoExactTrace, match=r"model: its outputs are not piecewise linear in \w+"):
        module_hessian_trace(model, X)
    part = module_hessian_trace(model, X, matrix="gauss_newton").total.item()
    whole = sum(
        entries.sum().item() for entries in dense_diagonal(model, X, "cross_entropy").values()
    )
    assert abs(part - whole) > 1e-6 * whole  # the refusal is no false alarm


def test_a_curved_block_is_found_among_many_flat_ones():
    found = block_nonlinearity(made(lambda: mlp(nn.Tanh())), X)
    assert {k: v > 1e-4 for k, v in found.items()} == {
        "1.weight": True,
        "1.bias": True,
        "4.weight": False,
        "4.bias": False,
    }


def test_an_ensemble_has_the_same_trace():
    model = made(mlp)
    networks = from_torch(model, example=X)
    blocks = hessian_trace(networks, X.flatten(1)).blocks
    ours = module_hessian_trace(model, X).blocks
    for one, two in zip(blocks.values(), ours.values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=0)


@pytest.mark.parametrize("max_bytes", [1, 8 * 90 * K, 2**20])
def test_chunks_do_not_matter(max_bytes):
    model = made(mlp)
    torch.testing.assert_close(
        module_hessian_trace(model, X, max_bytes=max_bytes).total,
        module_hessian_trace(model, X).total,
        rtol=1e-12,
        atol=0,
    )


@pytest.mark.parametrize("name", ["mlp", "gelu", "attention"])
def test_the_estimate_agrees_with_the_full_hessian_within_its_error(name):
    model = made((EXACT | CURVED)[name])
    exact = sum(entries.sum() for entries in dense_diagonal(model, X, "cross_entropy").values())
    found = module_hutchinson_trace(
        model, X, Y, probes=200, generator=torch.Generator().manual_seed(3)
    )
    assert found.samples.shape == (1, 200)
    assert (found.estimate - exact).abs() < 4 * found.standard_error < exact
    again = module_hutchinson_trace(
        model, X, Y, probes=200, generator=torch.Generator().manual_seed(3)
    )
    assert torch.equal(found.samples, again.samples)


def test_the_estimate_is_that_of_the_ensemble_from_the_same_signs():
    model = made(mlp)
    ours, theirs = (
        f(net, x, Y, probes=5, generator=torch.Generator().manual_seed(0)).samples
        for f, net, x in (
            (module_hutchinson_trace, model, X),
            (hutchinson_trace, from_torch(model), X.flatten(1)),
        )
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    square = dict(probes=2, generator=G, loss="square")
    assert module_hutchinson_trace(model, X, TARGETS, **square).estimate.isfinite()


@pytest.mark.parametrize("build", [Residual, Attention])
def test_the_model_stays_as_it_is(build):
    model = made(build).train()
    model.head.eval()
    model.enter.weight.requires_grad_(False)
    model(X.float()).sum().backward()
    state = copy.deepcopy(model.state_dict())
    gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    random = torch.get_rng_state()
    module_hutchinson_trace(model, X, Y, probes=2, generator=torch.Generator())
    module_hessian_trace(model, X, matrix="gauss_newton")
    block_nonlinearity(model, X)
    assert model.training and not model.head.training
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert not model.enter.weight.requires_grad and model.head.weight.requires_grad
    for key, parameter in model.named_parameters():
        assert key in gradients or parameter.grad is None
        assert key not in gradients or torch.equal(parameter.grad, gradients[key])
    assert torch.equal(torch.get_rng_state(), random)


def test_single_precision():
    model = made(cnn)
    exact = module_hessian_trace(model, X.float()).total
    assert exact.dtype == torch.float64
    single = module_hessian_trace(model, X.float(), dtype=torch.float32).total
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)


class Mixing(nn.Module):
    """The outputs of an input depend on the others."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, K)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(x - x.mean(0))


class Looking(Mixing):
    def forward(self, x):
        return self.head(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)


def test_errors_name_the_argument():
    model, g = made(cnn), torch.Generator()
    for call, said in (
        (lambda: module_hessian_trace(1, X), "model: expected a torch.nn.Module"),
        (lambda: module_hessian_trace(nn.Flatten(), X), "model: expected parameters"),
        (lambda: module_hessian_trace(made(cnn).to("meta"), X), "model: 0.weight is on the meta"),
        (lambda: module_hessian_trace(model, X.to("meta")), "x"),
        (lambda: module_hessian_trace(model, X * torch.nan), "x: expected finite"),
        (lambda: module_hessian_trace(model, X[:0]), "x: expected at least one input"),
        (lambda: module_hessian_trace(model, X[0, 0]), "x: the model does not take inputs"),
        (lambda: module_hessian_trace(model[:1], X), "model: expected outputs of shape (n, K)"),
        (lambda: module_hessian_trace(model, X, loss="hinge"), "loss: "),
        (lambda: module_hessian_trace(model, X, matrix="fisher"), "matrix: "),
        (lambda: module_hessian_trace(model, X, dtype=torch.int64), "dtype: "),
        (lambda: module_hessian_trace(model, X, max_bytes=0), "max_bytes: "),
        (lambda: module_hessian_trace(made(Mixing), X), "model: the outputs of an input depend"),
        (lambda: module_hessian_trace(made(Looking), X), "model: torch.func cannot take it"),
        (lambda: block_nonlinearity(1, X), "model: "),
        (lambda: module_hutchinson_trace(model, X, Y, probes=1, generator=g), "probes: "),
        (lambda: module_hutchinson_trace(model, X, Y, probes=2, generator=0), "generator: "),
        (lambda: module_hutchinson_trace(model, X, Y[1:], probes=2, generator=g), "y: "),
        (lambda: module_hutchinson_trace(model, X, Y + 1, probes=2, generator=g), "y: "),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value).startswith(said), str(refused.value)
