"""The same numbers on the device as on the CPU: one command runs them on a graphics card,

    FLATNESS_DEVICE=cuda python -m pytest tests/test_on_device.py

and without the variable they compare the CPU with itself, and shapes on the meta device.
"""

import os

import numpy as np
import pytest
import torch
from deep_cases import problem

from flatness.curvature import diagonal, sharpness, spectrum, trace
from flatness.feasibility import pair_verdicts_ensemble
from flatness.networks.device import default_device, default_dtype
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import activation_patterns, distinct_patterns
from flatness.networks.training import SGD, accuracy, order_generators, train
from flatness.symmetry.balancing import orbit_minimum

DEVICE = default_device(os.environ.get("FLATNESS_DEVICE", "cpu"))
DTYPE = default_dtype(DEVICE)
RTOL = 1e-9 if DTYPE == torch.float64 else 1e-3
WIDTHS = (20, 12, 6, 3)


def both():
    """The same networks and data on the CPU and on the device."""
    networks, x, y = problem(0, widths=WIDTHS, n=40, count=5)
    return (networks, x, y), (networks.to(DEVICE, DTYPE), x.to(DEVICE, DTYPE), y.to(DEVICE))


def draws(networks, x, y):
    generator = torch.Generator().manual_seed(0)
    return trace.hutchinson_trace(networks, x, y, probes=5, generator=generator).samples


ROUTINES = {
    "outputs": lambda n, x, y: n(x),
    "hessian_trace": lambda n, x, y: trace.hessian_trace(n, x).total,
    "hutchinson_trace": draws,
    "hessian_diagonal": lambda n, x, y: spectrum.flatten(diagonal.hessian_diagonal(n, x)),
    "lambda_max": lambda n, x, y: spectrum.lambda_max(n, x, y, rtol=RTOL / 10).value,
    "adaptive_lambda_max": lambda n, x, y: sharpness.adaptive_lambda_max(n, x, y).value,
    "fisher_rao_norm": lambda n, x, y: sharpness.fisher_rao_norm(n, x),
    "orbit_minimum": lambda n, x, y: orbit_minimum(n, x).value,
    "patterns": lambda n, x, y: distinct_patterns(activation_patterns(n, x, 0)),
    "accuracy": accuracy,
}


@pytest.mark.parametrize("routine", ROUTINES)
def test_the_device_gives_the_numbers_of_the_cpu(routine):
    here, there = both()
    one, two = ROUTINES[routine](*here), ROUTINES[routine](*there)
    scale = one.double().abs().max().item()
    rtol = max(RTOL, 1e-5) if "lambda" in routine else RTOL
    torch.testing.assert_close(two.cpu().double(), one.double(), rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("n", [10, 40])
def test_training_takes_the_same_steps_on_the_device(n):
    (_, x, y), _ = both()
    found = []
    for device, dtype in (("cpu", torch.float64), (DEVICE, DTYPE)):
        start = MLPEnsemble.from_seeds(WIDTHS, range(5), device=device, dtype=dtype)
        data = x[:n].to(device, dtype), y[:n].to(device)
        found.append(train(start, *data, SGD(8, 0.1, 20), order_generators(range(5))))
    one, two = found
    assert two.networks.device.type == DEVICE.type
    torch.testing.assert_close(two.loss, one.loss, rtol=max(RTOL, 1e-7), atol=0)
    assert one.epochs.tolist() == two.epochs.tolist()


def test_a_bad_network_costs_the_others_nothing_on_the_device():
    _, (networks, x, y) = both()
    networks.weights[1][2, 0, 0] = torch.nan
    for found in (
        trace.hessian_trace(networks, x).total,
        orbit_minimum(networks, x).value,
        spectrum.lambda_max(networks, x, y).value,
    ):
        assert found.isfinite().tolist() == [True, True, False, True, True]


def test_features_of_the_device_give_the_verdicts_of_the_cpu():
    here, there = both()
    labels = here[0](here[1]).argmax(-1)[0]
    verdicts = [
        pair_verdicts_ensemble(
            n[[0]].features(x), labels.to(x.device), n[[0]].features(-x), 3, workers=1
        ).networks[0]
        for n, x, _ in (here, there)
    ]
    assert all(v is not None and v.undecided == 0 for v in verdicts)
    assert np.mean(verdicts[0].verdict == verdicts[1].verdict) > 0.98  # other last bits: ties part


def test_on_the_meta_device_there_are_shapes():
    networks, x, _ = both()[0]
    there = networks.to("meta")
    assert there(x.to("meta")).shape == (5, 40, 3)
    assert trace.hessian_trace(there, x.to("meta")).total.shape == (5,)
    assert diagonal.hessian_diagonal(there, x.to("meta")).widths == networks.widths
