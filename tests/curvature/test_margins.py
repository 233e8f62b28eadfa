import itertools

import pytest
import torch
from deep_cases import problem, random_scales
from hypothesis import given
from hypothesis import strategies as st

from flatness.curvature.margins import normalised_margin, output_margins, path_norm, weight_norm
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import add_unread_units, permute_neurons, rescale_neurons


def path_sum(net, p):
    """Sum over all paths by enumeration, one network: from every input and from every bias."""
    total = 0.0
    starts = [(0, i, 1.0) for i in range(net.widths[0])]
    if net.biases is not None:
        starts += [
            (layer + 1, j, abs(net.biases[layer][0, j].item()) ** p)
            for layer in range(len(net.weights))
            for j in range(net.widths[layer + 1])
        ]
    for layer, unit, value in starts:
        for path in itertools.product(*(range(width) for width in net.widths[layer + 1 :])):
            product, before = value, unit
            for weight, after in zip(net.weights[layer:], path, strict=True):
                product, before = product * abs(weight[0, after, before].item()) ** p, after
            total += product
    return total


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_path_norm_by_enumeration_of_the_paths(bias, p):
    net, _, _ = problem(1, (3, 2, 4, 2), count=1, bias=bias)
    assert path_norm(net, p).item() == pytest.approx(path_sum(net, p) ** (1 / p), rel=1e-12)


@given(st.integers(0, 10**6), st.booleans())
def test_margin_and_path_norm_do_not_see_rescaling_but_weight_norms_do(seed, bias):
    net, x, y = problem(seed, bias=bias)
    moved = permute_neurons(rescale_neurons(net, random_scales(net, seed, 2)), 0, [3, 1, 2, 0])
    for measure in (
        lambda n: path_norm(n, 1),
        path_norm,
        lambda n: normalised_margin(n, x, y),
        lambda n: output_margins(n, x, y).amin(1),
    ):
        torch.testing.assert_close(measure(moved), measure(net), rtol=1e-8, atol=1e-9)
    assert ((weight_norm(moved) / weight_norm(net) - 1).abs() > 1e-6).all()


def test_against_a_loop():
    net, x, y = problem(2)
    outputs = net(x)
    for m in range(2):
        for i in range(len(x)):
            rest = [outputs[m, i, c].item() for c in range(3) if c != y[i]]
            expected = outputs[m, i, y[i]].item() - max(rest)
            assert output_margins(net, x, y)[m, i].item() == pytest.approx(expected, abs=1e-12)
    expected = output_margins(net, x, y).amin(1) / path_norm(net)
    torch.testing.assert_close(normalised_margin(net, x, y), expected)
    flat = torch.cat([b[0].reshape(-1) for b in net.parameters().values()])
    assert weight_norm(net)[0].item() == pytest.approx(flat.norm().item(), rel=1e-12)
    assert weight_norm(net, 1)[0].item() == pytest.approx(flat.abs().sum().item(), rel=1e-12)


def test_an_unread_unit_changes_no_path_and_the_weight_norm():
    net, _, _ = problem(3)
    wider = add_unread_units(net, torch.ones(1, 4))
    torch.testing.assert_close(path_norm(wider), path_norm(net), rtol=1e-13, atol=0)
    assert (weight_norm(wider) > weight_norm(net)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x, y: output_margins(net, x, y[:2]), "y: expected 12 int64"),
        (lambda net, x, y: output_margins(net, x, y + 5), "y: expected classes"),
        (lambda net, x, y: path_norm(net, 0), "p: expected a positive"),
        (lambda net, x, y: normalised_margin(net, x, y, quantile=2), "quantile"),
        (
            lambda net, x, y: normalised_margin(net.map(torch.zeros_like), x, y),
            "the path norm of every network is zero",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*problem(4))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two outputs"):
        output_margins(
            MLPEnsemble([torch.ones(1, 1, 2)], None), torch.ones(1, 2), torch.tensor([0])
        )
