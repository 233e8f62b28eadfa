"""Every invariance that the registry claims, and every one that it does not, on small trained
networks.
"""

import pytest
import torch
from deep_cases import problem

from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.feasibility.extension import count_labellings
from flatness.feasibility.pairs import pair_verdicts_ensemble
from flatness.measures import MEASURES, NEEDS, Subject, measure_all
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train
from flatness.symmetry.invariance import CHANGES

SEEDS = range(6)
WIDTHS = (6, 16, 5, 3)


@pytest.fixture(scope="module")
def subject():
    _, x, _ = problem(0, WIDTHS, n=60)
    y = (x[:, :3] + 0.3 * x[:, 3:]).argmax(1)
    start = MLPEnsemble.from_seeds(WIDTHS, SEEDS)
    trained = train(start, x[:20], y[:20], SGD(8, 0.3, max_epochs=2000), order_generators(SEEDS))
    assert (trained.accuracy == 1).all()
    return Subject(trained.networks, x[:20], y[:20], x, trained.epochs)


def verdicts(s):
    features = [
        part.numpy() for part in (s.networks.features(s.x), s.networks.features(s.points[20:40]))
    ]
    return pair_verdicts_ensemble(features[0], s.y.numpy(), features[1], 3, workers=1)


def joint_counts(s):
    train_features, probes = (
        s.networks.features(s.x).numpy(),
        s.networks.features(s.points[20:24]).numpy(),
    )
    pairs = zip(train_features, probes, strict=True)
    counts = [count_labellings(f, s.y.numpy(), p, 3).total for f, p in pairs]
    return torch.tensor(counts, dtype=torch.float64).log()


def divergence(s):
    """With the initial weights at zero: a permutation of the units then permutes both ends."""
    sigma = noise_at_error(NoisyTraining(s.networks, s.x, s.y), 0.1, samples=60, seed=0)
    return gaussian_kl(s.networks, s.networks.map(torch.zeros_like), sigma)


RECORDED = {
    "pair_proxy": lambda s: torch.tensor(verdicts(s).pair_proxy),
    "log_count": joint_counts,
    "divergence": divergence,
}


def measured(subject):
    return {
        **measure_all(subject),
        **{name: compute(subject) for name, compute in RECORDED.items()},
    }


@pytest.fixture(scope="module")
def base(subject):
    return measured(subject)


def after(subject, change):
    moved = CHANGES[change](subject.networks, torch.Generator().manual_seed(1))
    return measured(Subject(moved, subject.x, subject.y, subject.points, subject.epochs))


@pytest.mark.parametrize("change", CHANGES)
def test_claimed_invariances_hold_and_the_others_fail(subject, base, change):
    new = after(subject, change)
    for name, measure in MEASURES.items():
        worst = (new[name].double() - base[name].double()).abs().max() / base[
            name
        ].double().abs().max()
        if (name, change) == ("divergence", "permutation"):
            continue  # the next test
        if change in measure.invariant:
            assert worst < 1e-7, f"{name} claims invariance under {change} and moves by {worst:.1e}"
        else:
            assert worst > 1e-4, f"{name} is not claimed invariant under {change} and does not move"


def test_divergence_is_invariant_under_permutations_in_law_only(subject, base):
    """The same draws meet other units: the estimate moves by its Monte Carlo error, no more. From
    initial weights that stay as they are, the distance moves.
    """
    start, moved = (
        subject.networks.map(lambda block: 0.9 * block),
        CHANGES["permutation"](subject.networks, torch.Generator().manual_seed(1)),
    )
    one = torch.ones(len(SEEDS), dtype=torch.float64)
    apart = [gaussian_kl(networks, start, one) for networks in (subject.networks, moved)]
    assert (apart[1] > 2 * apart[0]).all()
    shift = {}
    for change in ("permutation", "neuron rescaling"):
        moved = CHANGES[change](subject.networks, torch.Generator().manual_seed(1))
        there = divergence(Subject(moved, subject.x, subject.y, subject.points, subject.epochs))
        shift[change] = (there / base["divergence"] - 1).abs().max()
    assert 0 < shift["permutation"] < 0.3 < shift["neuron rescaling"]


def test_every_measure_is_finite_and_one_number_per_network(base):
    assert base.keys() == MEASURES.keys()
    for name, values in base.items():
        assert values.shape == (len(SEEDS),) and values.double().isfinite().all(), name


def test_a_network_alone_has_the_measures_that_it_has_in_the_ensemble(subject, base):
    s = subject
    alone = measure_all(Subject(s.networks[2], s.x, s.y, s.points, s.epochs[2:3]))
    for name, value in alone.items():
        assert value.item() == pytest.approx(base[name][2].item(), rel=1e-8), name


def test_registry_is_complete():
    for name, measure in MEASURES.items():
        assert measure.invariant <= set(CHANGES), name
        assert measure.compute or measure.source, name
        assert measure.needs <= set(NEEDS), name
    assert len({measure.label for measure in MEASURES.values()}) == len(MEASURES)


def test_what_is_not_there_is_left_out(subject, base):
    s = subject
    few = measure_all(Subject(s.networks, s.x, s.y))
    assert {"epochs", "patterns", "pair_proxy"} == set(RECORDED | base) - set(few) - {
        "log_count",
        "divergence",
    }
    linear = MLPEnsemble([s.networks.weights[0][:, :3]], [s.networks.biases[0][:, :3]])
    assert "orbit_trace" not in measure_all(Subject(linear, s.x, s.y))
    with_probes = measure_all(Subject(s.networks, s.x, s.y, probes=s.points[20:40]))
    torch.testing.assert_close(with_probes["pair_proxy"], base["pair_proxy"].double())
