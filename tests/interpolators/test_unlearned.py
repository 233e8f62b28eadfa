"""The usable bound of Result I: its parts against simulation in full dimension."""

import math

import numpy as np
import pytest
import torch
from properties import short_and_long

from flatness.interpolators.unlearned import BINS, _circle, _draw, _upper_quantile, unlearned_bound
from flatness.networks.activations import ABS, LEAKY_RELU, RELU, RELU2


@pytest.mark.parametrize("link", [RELU, ABS], ids=lambda link: link.name)
def test_the_circle_against_a_dense_loop(link):
    rng = np.random.default_rng(0)
    z, k = rng.standard_normal((2, 60))
    h = link(torch.from_numpy(z)).numpy()
    values = []
    for angle in np.linspace(0, np.pi, 5001):
        c, s = math.cos(angle), math.sin(angle)
        mean = (link.plus + link.minus) / math.pi * (abs(s) + abs(c) * math.asin(abs(c)))
        values.append((h * np.abs(c * z + s * k)).mean() - mean)
    high, low = _circle(z, k, h, (link.plus + link.minus) / 2)
    slack = 10 / BINS * 3
    assert (
        max(values) <= high <= max(values) + slack and -min(values) <= low <= -min(values) + slack
    )


@pytest.mark.parametrize("link", [RELU, ABS], ids=lambda link: link.name)
def test_the_mean_on_the_circle_is_the_expectation(link):
    rng = np.random.default_rng(1)
    z, k = rng.standard_normal((2, 400_000))
    h = link(torch.from_numpy(z)).numpy()
    high, low = _circle(z, k, h, (link.plus + link.minus) / 2)
    assert max(high, low) < 0.02  # deviations of order n^{-1/2}, plus the slack


@short_and_long("samples", 2, 12)
def test_the_stand_ins_dominate_what_a_search_finds_in_full_dimension(samples):
    """Searched sup of |(P_n - P) h <u, x>_+| over directions, d = 8, against the proved 90 %."""
    n, d, rng = 400, 8, np.random.default_rng(2)
    bound = unlearned_bound(n, d, RELU, rng, draws=2000)
    found = []
    for seed in range(samples):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        h = RELU(x[:, 0])
        u = (
            torch.randn(60, d, generator=torch.Generator().manual_seed(seed + 99))
            .double()
            .requires_grad_()
        )
        optimiser = torch.optim.Adam([u], 0.05)
        for _ in range(80):
            w = u / u.norm(dim=1, keepdim=True)
            c = w[:, 0].clamp(-1 + 1e-12, 1 - 1e-12)
            mean = ((1 - c**2).sqrt() + (math.pi - c.arccos()) * c) / (2 * math.pi)
            value = (RELU(x @ w.T) * h[:, None]).mean(0) - mean
            optimiser.zero_grad()
            (-value.abs().sum()).backward()
            optimiser.step()
        found.append(value.abs().max().item() / bound.deviation)
    assert sum(ratio > 1 for ratio in found) <= samples // 6 and max(found) > 0.3


@short_and_long("failure", 0.2, 0.1)
def test_the_bound_grows_with_samples_and_is_nothing_below_the_threshold(failure):
    wanted = {"failure": failure, "draws": round(200 / failure)}
    few, some, many = (
        unlearned_bound(20 * r, 20, RELU, np.random.default_rng(3), **wanted) for r in (2, 32, 128)
    )
    assert few.ratio == 0 and 0 < some.ratio < 1 < 2 < many.ratio
    less = unlearned_bound(20 * 128, 20, RELU, np.random.default_rng(3), kappa=0.5, **wanted)
    assert less.ratio < many.ratio / 2 and less.deviation == many.deviation


def test_quantiles_are_on_the_safe_side():
    rng = np.random.default_rng(4)
    safe = [_upper_quantile(rng.random(2000), 0.05) >= 0.95 for _ in range(200)]
    assert np.mean(safe) > 0.95
    assert len(_draw(50, 5, RELU, rng)) == 5


@pytest.mark.parametrize("link", [LEAKY_RELU, RELU2])
def test_other_links_are_refused(link):
    with pytest.raises(ValueError, match="link"):
        unlearned_bound(50, 5, link, np.random.default_rng(0))


def test_too_few_draws():
    with pytest.raises(ValueError, match="draws"):
        unlearned_bound(50, 5, RELU, np.random.default_rng(0), failure=0.01, draws=1000)
