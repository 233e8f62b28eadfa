"""PAC-Bayes pieces against SciPy, exact sums, draws of whole networks, and the guarantee itself."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples, short_and_long
from scipy import integrate, stats
from scipy.special import rel_entr

from flatness.curvature.pacbayes import bernoulli_kl, gaussian_bound, kl_inverse, log_xi, uniform_kl
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.networks.mlp import MLPEnsemble

repeatable = settings(max_examples=examples(60))
unit = st.floats(0, 1, allow_subnormal=False)


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@repeatable
@given(unit, st.floats(1e-6, 1 - 1e-6))
def test_bernoulli_kl_is_scipys(q, p):
    expected = rel_entr(q, p) + rel_entr(1 - q, 1 - p)
    assert bernoulli_kl(f64(q), f64(p)).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_bernoulli_kl_at_the_ends():
    values = bernoulli_kl(f64(0, 1, 0.5, 0.5, 0), f64(0, 1, 0, 1, 1))
    assert values.tolist() == [0, 0, math.inf, math.inf, math.inf]


@repeatable
@given(unit, st.floats(0, 20))
def test_kl_inverse_inverts(q, budget):
    p = kl_inverse(f64(q), f64(budget))
    assert q <= p.item() <= 1
    if p.item() < 1 - 1e-9:  # nearer to 1 the spacing of float64 limits the inverse
        assert bernoulli_kl(f64(q), p).item() == pytest.approx(budget, rel=1e-6, abs=1e-6)
        assert kl_inverse(f64(q), f64(budget + 0.5)).item() >= p.item()
    if q == 0:
        assert p.item() == pytest.approx(-math.expm1(-budget), abs=1e-12)


def test_kl_inverse_refuses_nonsense():
    for q, budget in ((-0.1, 1.0), (1.1, 1.0), (0.5, -1.0), (0.5, math.nan)):
        with pytest.raises(ValueError, match="expected q in|budget"):
            kl_inverse(f64(q), f64(budget))


@pytest.mark.parametrize("n", [1, 2, 5, 30, 250])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.87])
def test_xi_is_the_moment_for_every_p_and_lies_in_maurers_interval(n, p):
    k = torch.arange(n + 1, dtype=torch.float64)
    weights = torch.tensor(stats.binom.pmf(k.numpy(), n, p))
    moment = (weights * (n * bernoulli_kl(k / n, f64(p))).exp()).sum().item()
    assert math.exp(log_xi(n)) == pytest.approx(moment, rel=1e-8)
    exact = sum(
        math.comb(n, j) * Fraction(j, n) ** j * Fraction(n - j, n) ** (n - j) for j in range(n + 1)
    )
    assert math.exp(log_xi(n)) == pytest.approx(float(exact), rel=1e-10)
    assert math.sqrt(n) <= exact <= 2 * math.sqrt(n)


def test_uniform_kl_is_the_integral_and_needs_a_part_of_positive_measure():
    density = stats.beta(2, 3)
    part = density.cdf(0.7) - density.cdf(0.4)

    def posterior(t):
        return density.pdf(t) / part

    value, _ = integrate.quad(
        lambda t: posterior(t) * math.log(posterior(t) / density.pdf(t)), 0.4, 0.7
    )
    assert uniform_kl(1.0, part) == pytest.approx(value, abs=1e-10)
    for total, bad in ((1.0, 0.0), (1.0, 1.5), (math.inf, 1.0), (1.0, -1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="0 < part <= total"):
            uniform_kl(total, bad)


def small(seeds=(0, 1)):
    networks = MLPEnsemble.from_seeds([6, 9, 5, 3], seeds)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    return networks, x, torch.randint(3, (30,), generator=generator)


def test_gaussian_kl_is_that_of_torch_distributions():
    networks, _, _ = small()
    start = MLPEnsemble.from_seeds([6, 9, 5, 3], [7, 8])
    sigma = f64(0.1, 0.2, 0.3, 0.4, 0.5, 0.6).view(2, 3)
    kl = gaussian_kl(networks, start, sigma)
    for m in range(2):
        total = 0.0
        for (name, a), b in zip(networks.parameters().items(), start.parameters().values()):
            s = sigma[m, int(name[1:]) - 1]
            pair = torch.distributions.Normal(a[m], s), torch.distributions.Normal(b[m], s)
            total += torch.distributions.kl_divergence(*pair).sum()
        assert kl[m].item() == pytest.approx(float(total), rel=1e-12)


@short_and_long("draws", 1000, 4000)
def test_noise_drawn_at_the_training_inputs_has_the_law_of_noise_in_the_weights(draws):
    networks, x, y = small()
    sigma = f64(0.2, 0.1, 0.3)
    noisy = NoisyTraining(networks, x, y)
    torch.testing.assert_close(noisy.root @ noisy.root.T, x @ x.T + 1)
    fast = noisy.errors(sigma.expand(2, 3), draws, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    slow = []
    for _ in range(draws):
        shaken = [
            p + s * torch.randn(p.shape, generator=generator, dtype=torch.float64)
            for p, s in zip(networks.parameters().values(), sigma.repeat_interleave(2))
        ]
        slow.append((MLPEnsemble(shaken[0::2], shaken[1::2])(x).argmax(-1) != y).double().mean(-1))
    slow = torch.stack(slow, 1)
    spread = ((fast.var(1) + slow.var(1)) / draws).sqrt()
    assert ((fast.mean(1) - slow.mean(1)).abs() < 4 * spread).all()
    assert ((fast.std(1) / slow.std(1) - 1).abs() < 3.8 / draws**0.5).all()


def test_without_noise_the_error_is_the_networks_own():
    networks, x, y = small()
    clean = (networks(x).argmax(-1) != y).double().mean(-1)
    errors = NoisyTraining(networks, x, y).errors(
        f64(1e-9, 1e-9), 3, torch.Generator().manual_seed(0)
    )
    assert torch.equal(errors, clean[:, None].expand(2, 3))


def test_noise_at_error_reaches_the_level():
    networks, x, _ = small()
    y = networks[0](x)[0].argmax(-1)
    noisy = NoisyTraining(networks[0], x, y)
    sigma = noise_at_error(noisy, 0.25, samples=200, seed=3)
    reached = noisy.errors(sigma, 200, torch.Generator().manual_seed(3)).mean().item()
    assert reached == pytest.approx(0.25, abs=0.01)
    with pytest.raises(ValueError, match="level"):
        noise_at_error(noisy, 0.0, samples=2, seed=0)


def test_bound_holds_for_random_labels_and_adds_up():
    networks, x, y = small()
    start = MLPEnsemble.from_seeds([6, 9, 5, 3], [7, 8])
    generator = torch.Generator().manual_seed(0)
    result = gaussian_bound(
        networks, start, x, y, grid=[0.25, 1.0], generator=generator, samples=50
    )
    assert (result.bound >= 2 / 3).all()  # no predictor of three coin-tossed classes does better
    assert (result.empirical <= result.empirical_limit).all()
    assert (result.empirical_limit <= result.bound).all()
    torch.testing.assert_close(result.kl, gaussian_kl(networks, start, result.sigma))
    budget = (result.kl + log_xi(30) + math.log(2 * 2 / 0.05)) / 30
    torch.testing.assert_close(bernoulli_kl(result.empirical_limit, result.bound), budget)


def test_bad_arguments_are_named():
    networks, x, y = small()
    for sigma in (f64(0.1), f64(0.1, -1.0), f64(0.1, math.nan)):
        with pytest.raises(ValueError, match="sigma"):
            gaussian_kl(networks, networks, sigma)
    with pytest.raises(ValueError, match="delta"):
        gaussian_bound(networks, networks, x, y, grid=[1.0], generator=torch.Generator(), delta=0)
    with pytest.raises(ValueError, match="grid"):
        gaussian_bound(networks, networks, x, y, grid=[], generator=torch.Generator())
    with pytest.raises(ValueError, match="start"):
        gaussian_kl(networks, networks[0], f64(1.0, 1.0))
    with pytest.raises(ValueError, match="biases"):
        NoisyTraining(MLPEnsemble(networks.weights, None), x, y)
    with pytest.raises(ValueError, match="y: expected 30 int64"):
        NoisyTraining(networks, x, y[:5])


@pytest.mark.parametrize("n", [10, 25])
def test_the_noise_of_the_first_layer_has_its_covariance_whichever_root_is_drawn(n):
    """Six inputs: with 10 points the root is square, with 25 it is the inputs themselves."""
    g = torch.Generator().manual_seed(n)
    networks = MLPEnsemble.from_seeds([5, 4, 3], [0])
    x = torch.randn(n, 5, generator=g, dtype=torch.float64)
    noisy = NoisyTraining(networks, x, torch.arange(n) % 3)
    torch.testing.assert_close(noisy.root @ noisy.root.mT, x @ x.mT + 1)
    assert noisy.root.shape[1] == (10 if n == 10 else 6)
