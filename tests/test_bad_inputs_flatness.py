"""Bad and odd arguments: flatness of two-layer and of deep networks."""

import importlib

import pytest
import torch
from bad_inputs import Case, defects
from test_bad_inputs_networks import deep, parts, two_parts

from flatness.curvature import (
    diagonal,
    margins,
    modules,
    output_hessian,
    piecewise_linear,
    sharpness,
    spectrum,
)
from flatness.curvature import trace as curvature
from flatness.measures import measure
from flatness.networks.torch_models import to_torch
from flatness.symmetry import balancing, flow_graph, invariance, rescaling
from flatness.symmetry import orbits as symmetry


def flow():
    return {
        "flow": flow_graph.trace_flow(diagonal.hessian_diagonal(deep()["networks"], deep()["x"]))
    }


def scales():
    net = deep()["networks"]
    g = torch.Generator().manual_seed(3)
    return [
        torch.exp(torch.randn(2, d, generator=g, dtype=torch.float64)) for d in net.widths[1:-1]
    ]


def loss():
    return "cross_entropy"


SCALE = {
    "scales: first float32": "converted to the networks' dtype",
    "scales: first axis in front": "not a shape of scales",
}


def of_module(function):
    """The function of one network as a PyTorch model."""
    return lambda **rest: function(to_torch(deep()["networks"], 0), **rest)


def drawn(x, y, **rest):
    generator = torch.Generator().manual_seed(0)
    return of_module(modules.module_hutchinson_trace)(x=x, y=y, generator=generator, **rest)


CASES = [
    Case(
        of_module(modules.module_hessian_trace),
        parts("x", loss=loss, matrix=lambda: "hessian", max_bytes=lambda: 10**6),
        "curvature.module_hessian_trace",
        says="x|model",
    ),
    Case(
        drawn,
        parts("x", "y", probes=lambda: 3, loss=loss),
        "curvature.module_hutchinson_trace",
        says="x|model|y",
    ),
    Case(
        of_module(piecewise_linear.block_nonlinearity),
        parts("x", seed=lambda: 1),
        "curvature.block_nonlinearity",
        says="x|model",
    ),
    Case(
        margins.margins_of_outputs,
        lambda: {"outputs": deep()["networks"](deep()["x"]), "y": deep()["y"]},
    ),
    Case(
        lambda networks, **rest: measure(model=networks, **rest).columns,
        parts(
            "networks",
            "x",
            "y",
            names=lambda: ["trace", "orbit_trace", "patterns", "effective_rank", "epochs"],
            points=lambda: deep()["x"][:5],
            epochs=lambda: [3.0, 4.0],
        ),
        "measures.measure",
        allows="names: one|points: one in axis 0|points: one more in axis 0",
        says="model|x|epochs|points",
    ),
    Case(
        curvature.hessian_trace,
        parts("networks", "x", loss=loss, max_bytes=lambda: 10**6),
        allows="networks: nan",
    ),
    Case(
        output_hessian.output_factor,
        lambda: {"outputs": deep()["x"], "loss": "cross_entropy"},
        allows="outputs: axis behind",
    ),
    Case(curvature.mean_loss, parts("networks", "x", "y", loss=loss), allows="networks: nan"),
    Case(
        lambda targets, **kw: curvature.mean_loss(y=targets, loss="square", **kw),
        parts("networks", "x", targets=lambda: deep()["x"][:, :3]),
        "curvature.mean_loss (square)",
        allows="networks: nan",
    ),
    Case(
        curvature.hutchinson_trace,
        parts(
            "networks",
            "x",
            "y",
            probes=lambda: 3,
            loss=loss,
            generator=lambda: torch.Generator().manual_seed(0),
        ),
    ),
    Case(diagonal.unit_energies, parts("networks", "x", loss=loss)),
    Case(diagonal.hessian_diagonal, parts("networks", "x", loss=loss, max_bytes=lambda: 10**6)),
    Case(
        flow_graph.trace_flow,
        lambda: {"diagonal": diagonal.hessian_diagonal(deep()["networks"], deep()["x"])},
    ),
    Case(
        flow_graph.TraceFlow,
        lambda: {
            name: getattr(flow()["flow"], name)
            for name in ("entering", "between", "leaving", "constant")
        },
    ),
    Case(flow_graph.on_cycles, flow),
    Case(
        balancing.balance,
        lambda: flow() | {"rtol": 1e-9, "max_sweeps": 1000},
        errors=(RuntimeError,),
    ),
    Case(balancing.orbit_minimum, parts("networks", "x", loss=loss, rtol=lambda: 1e-9)),
    Case(balancing.balanced, parts("networks", "x", loss=loss)),
    Case(balancing.imbalance, lambda: flow() | {"t": scales()}),
    Case(margins.output_margins, parts("networks", "x", "y")),
    Case(margins.weight_norm, parts("networks", p=lambda: 2.0)),
    Case(margins.path_norm, parts("networks", p=lambda: 2.0)),
    Case(margins.normalised_margin, parts("networks", "x", "y", quantile=lambda: 0.25)),
    Case(
        sharpness.adaptive_trace,
        lambda: {
            "networks": deep()["networks"],
            "diagonal": diagonal.hessian_diagonal(deep()["networks"], deep()["x"]),
        },
    ),
    Case(
        sharpness.adaptive_lambda_max,
        parts("networks", "x", "y", rtol=lambda: 1e-6, seed=lambda: 0, matrix=lambda: "hessian"),
    ),
    Case(sharpness.relative_flatness, parts("networks", "x", layer=lambda: -2, loss=loss)),
    Case(sharpness.fisher_rao_norm, parts("networks", "x")),
    Case(spectrum.flatten, parts("networks"), allows="networks: nan"),
    Case(
        spectrum.unflatten,
        lambda: {"vectors": spectrum.flatten(deep()["networks"]), "networks": deep()["networks"]},
    ),
    Case(
        lambda networks, **kw: spectrum.hessian_products(networks, **kw)(deep()["networks"]),
        parts("networks", "x", "y", matrix=lambda: "hessian"),
        "spectrum.hessian_products",
    ),
    Case(
        lambda **kw: spectrum.largest_eigenvalue(
            lambda v: v * torch.arange(1.0, v.shape[1] + 1, dtype=v.dtype), **kw
        ),
        lambda: {"start": deep()["x"], "rtol": 1e-6, "max_steps": 50},
        "spectrum.largest_eigenvalue",
        allows="start: float32",
    ),
    Case(
        spectrum.lambda_max,
        parts(
            "networks",
            "x",
            "y",
            matrix=lambda: "hessian",
            scale=lambda: deep()["networks"].map(torch.abs),
            seed=lambda: 0,
            rtol=lambda: 1e-6,
            max_steps=lambda: 100,
            max_bytes=lambda: 10**6,
        ),
    ),
    Case(
        rescaling.rescale_neurons,
        lambda: {"networks": deep()["networks"], "scales": scales()},
    ),
    Case(rescaling.rescale_layer, parts("networks", layer=lambda: 1, factor=lambda: 2.0)),
    Case(
        rescaling.rescale_layer,
        parts(
            "networks",
            layer=lambda: 1,
            factor=lambda: torch.tensor([2.0, 3.0], dtype=torch.float64),
        ),
        "rescaling.rescale_layer (tensor)",
    ),
    Case(rescaling.t_beta, parts("networks", beta=lambda: 2.0), allows="networks: last layer only"),
    Case(
        rescaling.t_gamma, parts("networks", gamma=lambda: 2.0), allows="networks: last layer only"
    ),
    Case(
        rescaling.rescaled_trace,
        lambda: {
            "trace": curvature.hessian_trace(deep()["networks"], deep()["x"]),
            "factors": [2.0, 3.0],
        },
    ),
    Case(
        rescaling.permute_neurons,
        parts("networks", layer=lambda: 0, order=lambda: torch.tensor([1, 0, 3, 2])),
    ),
    Case(
        rescaling.add_unread_units,
        parts(
            "networks",
            weight=lambda: torch.ones(2, 7, 4, dtype=torch.float64),
            bias=lambda: torch.ones(2, 7, dtype=torch.float64),
        ),
    ),
    Case(
        invariance.split_unit,
        parts("networks", layer=lambda: 0, unit=lambda: 1),
    ),
    Case(symmetry.kappa, lambda: {"p": 2}),
    Case(
        symmetry.rescale, two_parts("net", c=lambda: torch.full((2, 5), 2.0, dtype=torch.float64))
    ),
    Case(
        symmetry.permute,
        two_parts("net", order=lambda: torch.tensor([1, 0, 4, 3, 2])),
    ),
    Case(
        symmetry.split,
        two_parts("net", copies=lambda: torch.tensor([1, 2, 1, 3, 1])),
    ),
    Case(symmetry.split, two_parts("net", copies=lambda: 2), "symmetry.split (integer)"),
    Case(symmetry.split_to_width, two_parts("net", "x", width=lambda: 8)),
    Case(symmetry.merge, two_parts("net", tolerance=lambda: 1e-10)),
    *(
        Case(
            function,
            two_parts("net", "x"),
            allows="x: one in axis 0",
        )
        for function in (
            symmetry.orbit_terms,
            symmetry.orbit_minimum,
            symmetry.balancing_scales,
            symmetry.balanced,
        )
    ),
]


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """What PyTorch imports at the first use of torch.func takes seconds: not on a case's time."""
    importlib.import_module("torch._dynamo")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
