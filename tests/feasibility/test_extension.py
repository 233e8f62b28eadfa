"""Joint labellings: brute force over all labellings, closed forms, and the estimator's mean."""

from itertools import product
from math import comb

import numpy as np
import pytest
from properties import LONG

from flatness.feasibility import refutations, thinning
from flatness.feasibility.certificates import Farkas, exact_farkas
from flatness.feasibility.extension import count_labellings, estimate_labellings
from flatness.feasibility.labelled_points import TrainingPolicyInfeasible
from flatness.feasibility.labelling_tree import NO_LABEL, _Tree
from flatness.feasibility.labellings import Labellings
from flatness.feasibility.pairs import pair_verdicts
from flatness.feasibility.policy_cone import PolicyCone
from flatness.feasibility.thinning import _inclusion, _log_depth, _thin


def consistent(features, labels, probes, labelling, num_classes) -> bool:
    """Whether the training policy with the labelled probes added is still feasible, asked of the
    last of them.
    """
    used = [j for j, c in enumerate(labelling) if c != NO_LABEL]
    if not used:
        return True
    *rest, last = used
    try:
        found = pair_verdicts(
            np.vstack([features, probes[rest]]),
            np.append(labels, [labelling[j] for j in rest]).astype(int),
            probes[[last]],
            num_classes,
        )
    except TrainingPolicyInfeasible:
        return False
    return bool(found.verdict[0, labelling[last]])


def brute_force(features, labels, probes, num_classes, partial=False) -> int:
    options = range(NO_LABEL if partial else 0, num_classes)
    return sum(
        consistent(features, labels, probes, y, num_classes)
        for y in product(options, repeat=len(probes))
    )


def problem(seed, n=6, width=2, num_classes=3, k=3):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n + k, width))
    labels = (
        features @ rng.standard_normal((width, num_classes)) + rng.standard_normal(num_classes)
    ).argmax(1)
    return features[:n], labels[:n], features[n:], num_classes


@pytest.mark.parametrize("seed", range(5 if LONG else 2))
@pytest.mark.parametrize("partial", [False, True])
def test_exact_count_is_brute_force(seed, partial):
    assert count_labellings(*problem(seed), partial=partial).total == brute_force(
        *problem(seed), partial=partial
    )


@pytest.mark.parametrize(
    ("n", "width", "num_classes", "k"), [(1, 1, 4, 3), (4, 3, 2, 6), (12, 2, 5, 2)]
)
def test_exact_count_is_brute_force_for_other_shapes(n, width, num_classes, k):
    case = problem(11, n, width, num_classes, k)
    found = count_labellings(*case)
    assert found.total == brute_force(*case) and found.undecided == 0


def cover(points: int, dimension: int) -> int:
    """Cover (1965): dichotomies of points in general position in R^d by hyperplanes through the
    origin.
    """
    return 2 * sum(comb(points - 1, i) for i in range(dimension))


@pytest.mark.parametrize(("points", "width"), [(4, 1), (6, 1), (5, 2), (6, 2), (6, 3), (4, 4)])
def test_two_classes_give_half_of_covers_number(points, width):
    """One training point fixes one of the two signs of each dichotomy of the homogenised points."""
    features = np.random.default_rng(points + 10 * width).standard_normal((points, width))
    found = count_labellings(features[:1], [0], features[1:], 2)
    assert 2 * found.total == cover(points, width + 1)
    assert found.levels == tuple(cover(j + 1, width + 1) // 2 for j in range(points))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_between_two_seen_points_on_a_line_the_threshold_has_k_plus_one_places(k):
    between = (1 + np.arange(k)[:, None]) / (k + 1)
    assert count_labellings([[0.0], [1.0]], [0, 1], between, 2).total == k + 1
    assert count_labellings(
        [[0.0], [1.0]], [0, 1], between, 2, partial=True
    ).total == partial_on_a_line(k)


def partial_on_a_line(k: int) -> int:
    """Partial labellings that extend to a threshold: those without a 0 after a 1."""
    return sum(
        all(not (a == 1 and b == 0) for i, a in enumerate(y) for b in y[i:])
        for y in product((NO_LABEL, 0, 1), repeat=k)
    )


def test_independent_points_are_free():
    """More directions than points: with a feature more per point every labelling is consistent."""
    assert count_labellings(np.zeros((1, 3)), [0], np.eye(3), 4).total == 4**3
    assert count_labellings(np.zeros((1, 3)), [0], np.eye(3), 4, partial=True).total == 5**3


def test_one_point_is_its_extension():
    features, labels, probes, num_classes = problem(3, n=10, num_classes=5)
    alone = pair_verdicts(features, labels, probes, num_classes).extensions
    assert [
        count_labellings(features, labels, probes[[j]], num_classes).total for j in range(3)
    ] == alone.tolist()


def test_order_of_the_points_does_not_matter():
    features, labels, probes, num_classes = problem(8, n=8, k=4)
    assert (
        count_labellings(features, labels, probes, num_classes).total
        == count_labellings(features, labels, probes[::-1], num_classes).total
    )


@pytest.mark.parametrize(("population", "tilt"), [(1, 0.0), (3, 0.0), (1, 0.2), (4, 0.2)])
def test_the_mean_of_many_runs_is_the_count(population, tilt):
    case = problem(2, n=5, width=3, num_classes=4, k=4)
    exact = count_labellings(*case).total
    rng = np.random.default_rng(1)
    found = estimate_labellings(*case, runs=400, rng=rng, population=population, tilt=tilt)
    assert found.undecided == 0 and 0 < found.relative_error < 0.1
    assert abs(np.exp(found.log_mean) / exact - 1) < 3.5 * found.relative_error


def test_a_population_as_large_as_the_tree_is_exact():
    case = problem(4, k=3)
    found = estimate_labellings(*case, runs=2, rng=np.random.default_rng(0), population=10**4)
    assert np.allclose(np.exp(found.log_runs), count_labellings(*case).total, rtol=1e-12)
    assert found.relative_error < 1e-12 and np.isclose(found.effective_runs, 2)


def test_partial_labellings_are_estimated_too():
    case = problem(5, n=5, k=3)
    exact = count_labellings(*case, partial=True).total
    found = estimate_labellings(*case, runs=300, rng=np.random.default_rng(3), partial=True)
    assert abs(np.exp(found.log_mean) / exact - 1) < 3.5 * found.relative_error


def test_thinning_is_unbiased_and_keeps_the_sure_ones():
    """Every node's weight has its old value as mean; the exact inclusion probabilities are met."""
    log_weight, appeal = np.log(np.array([8.0, 1.0, 1.0, 2.0])), np.array([0.0, 0.3, 0.0, -0.2])
    total, times, rng, rounds = np.zeros(4), np.zeros(4), np.random.default_rng(0), 4000
    for _ in range(rounds):
        kept, weights = _thin(np.zeros(4, dtype=int), log_weight, appeal, 2, rng)
        assert 0 in kept and len(kept) == len(set(kept.tolist())) and 1 <= len(kept) <= 3
        np.add.at(total, kept, np.exp(weights))
        times[kept] += 1
    chance = _inclusion(np.exp(log_weight + appeal), 2)
    error = np.exp(log_weight) * np.sqrt((1 / chance - 1) / rounds)
    assert (np.abs(total / rounds - np.exp(log_weight)) <= 4 * error + 1e-12).all()
    assert (np.abs(times / rounds - chance) <= 4 * np.sqrt(chance * (1 - chance) / rounds)).all()


class Fixed:
    """A generator that leaves the order alone and draws one number."""

    def __init__(self, draw):
        self.permutation, self.random = lambda nodes: nodes, lambda: draw


def test_a_sure_node_is_kept_where_the_sums_round_across_its_tick(monkeypatch):
    chance, draw = (
        np.array([0.8574042765875693, 0.033585575305464355, 0.7296554464299441, 1.0, 0.3]),
        0.3793547016770221,
    )
    ticks = np.floor(np.append(0.0, np.cumsum(chance)) + draw)
    assert (ticks[3], ticks[4]) == (2, 2)  # the fourth node would be passed over
    monkeypatch.setattr(thinning, "_inclusion", lambda score, population: chance)
    kept, weights = _thin(np.zeros(5, dtype=int), np.zeros(5), np.zeros(5), 2, Fixed(draw))
    assert 3 in kept and weights[kept == 3] == 0


def test_probabilities_with_several_rounds_of_sure_nodes():
    """Of three places one goes to 100, then one to 10, and the ones share the third."""
    assert _inclusion(np.array([100.0, 10.0, 1.0, 1.0]), 3).tolist() == [1.0, 1.0, 0.5, 0.5]


def test_weights_may_leave_the_range_of_numbers():
    kept, weights = _thin(
        np.zeros(3, dtype=int), np.full(3, 2000.0), np.zeros(3), 1, np.random.default_rng(0)
    )
    assert len(kept) == 1 and np.isclose(weights[0], 2000 + np.log(3))


def test_depth_is_the_smallest_normalised_margin_at_the_probes():
    tree = _Tree(*problem(2, n=5, width=3, num_classes=4, k=4), partial=False)
    prefixes, layers = np.empty((1, 0), dtype=int), tree.root[None]
    for _ in range(3):
        _, prefixes, layers = tree.children(prefixes, layers)
    expected = [
        min(
            (layer[label] - layer[rival]) @ own / np.linalg.norm(layer)
            for label, own in zip(prefix, tree.oracle.rows[tree.oracle.n :], strict=False)
            for rival in set(range(4)) - {label}
        )
        for prefix, layer in zip(prefixes, layers, strict=True)
    ]
    assert len(expected) > 4 and np.allclose(
        np.exp(_log_depth(tree, layers, prefixes)), expected, rtol=1e-12
    )


def test_a_node_survives_in_proportion_to_its_depth_to_the_tilt():
    """One point, one place: a run that kept class ``c`` estimates one over the probability of
    ``c``.
    """
    case, tilt = problem(2, n=5, width=3, num_classes=4, k=1), 0.7
    tree = _Tree(*case, partial=False)
    _, prefixes, layers = tree.children(np.empty((1, 0), dtype=int), tree.root[None])
    depth = np.exp(tilt * _log_depth(tree, layers, prefixes))
    found = estimate_labellings(*case, runs=100, rng=np.random.default_rng(0), tilt=tilt).log_runs
    assert (
        np.unique(np.exp(-found).round(9)).tolist()
        == np.sort(depth / depth.sum()).round(9).tolist()
    )


def test_the_default_is_knuths_random_descent():
    case = problem(6, k=3)
    default = estimate_labellings(*case, runs=20, rng=np.random.default_rng(9)).log_runs
    knuth = estimate_labellings(
        *case, runs=20, rng=np.random.default_rng(9), population=1, tilt=0.0
    ).log_runs
    assert (default == knuth).all() and len(set(default.round(9))) > 1


def test_calls_are_the_children_that_no_layer_gave_away():
    """Both classes are possible between two seen points, and the root's layer realises one."""
    found = count_labellings([[0.0], [1.0]], [0, 1], [[0.3]], 2)
    assert (found.total, found.calls) == (2, 1)
    case = problem(4, k=3)
    whole = estimate_labellings(*case, runs=2, rng=np.random.default_rng(0), population=10**4)
    assert whole.calls == count_labellings(*case).calls


@pytest.mark.parametrize("partial", [False, True])
def test_a_count_and_estimates_that_share_a_tree_are_those_that_do_not(partial):
    """And nothing is decided twice: after the count, no estimate asks the oracle."""
    case = problem(2, n=5, width=3, num_classes=4, k=4)
    shared = Labellings(*case, partial=partial)
    for population, tilt in ((1, 0.0), (3, 0.2)):
        how = {"runs": 20, "population": population, "tilt": tilt}
        alone = estimate_labellings(*case, rng=np.random.default_rng(7), partial=partial, **how)
        found = shared.estimate(rng=np.random.default_rng(7), **how)
        np.testing.assert_allclose(found.log_runs, alone.log_runs, rtol=1e-9)
    whole = count_labellings(*case, partial=partial)
    assert shared.count() == whole == shared.count()
    assert shared.estimate(runs=9, rng=np.random.default_rng(1)).calls == whole.calls
    with pytest.raises(ValueError, match="limit = 3 labellings"):
        shared.count(limit=3)
    for wrong in ({"runs": 1}, {"runs": 2, "population": 0}):
        with pytest.raises(ValueError, match="runs" if wrong["runs"] == 1 else "population"):
            shared.estimate(rng=np.random.default_rng(1), **wrong)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("case", [problem(2, n=5, width=3, num_classes=4, k=4), problem(4, k=3)])
def test_each_labelling_gives_one_child_away(case, partial):
    """The layer of a labelling predicts one class at the next point; every other class possible
    there alone is a call.
    """
    found, possible = count_labellings(*case, partial=partial), pair_verdicts(*case).extensions
    assert found.calls == sum(
        size * (classes - 1) for size, classes in zip(found.levels, possible, strict=False)
    )


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    "case", [problem(0), problem(1, n=3, num_classes=4), problem(11, 12, 2, 5, 2)]
)
class TestEachStepAlone:
    """The same count whichever step of the oracle has to do the work, and nothing is left
    undecided.
    """

    def test_refutations_by_least_squares(self, monkeypatch, case, partial):
        whole = count_labellings(*case, partial=partial)
        monkeypatch.setattr(
            refutations,
            "linear_program",
            lambda cone, *own: (np.zeros((cone.num_classes, cone.d)), None),
        )
        assert count_labellings(*case, partial=partial) == whole and whole.undecided == 0

    def test_refutations_by_the_linear_program(self, monkeypatch, case, partial):
        whole = count_labellings(*case, partial=partial)
        monkeypatch.setattr(refutations, "many_class", lambda *args: None)
        assert count_labellings(*case, partial=partial) == whole

    def test_layers_by_the_linear_program(self, monkeypatch, case, partial):
        whole, tree = count_labellings(*case, partial=partial), _Tree(*case, partial=partial)
        monkeypatch.setattr(
            PolicyCone,
            "stream",
            lambda self, enter, width, own, *rest: [*zip(*enter(len(own)))],
        )
        prefixes, layers = np.empty((1, 0), dtype=int), tree.root[None]
        for size in whole.levels[1:]:
            _, prefixes, layers = tree.children(prefixes, layers)
            assert (
                len(prefixes) == size
                and tree.realises(layers, prefixes[:, :-1], prefixes[:, -1]).all()
            )
        assert tree.undecided == 0


def test_without_any_certificate_there_is_no_estimate(monkeypatch):
    """Both classes of the second of two points between two seen ones are called for, for the only
    class of the first.
    """
    case, realises = ([[0.0], [1.0]], [0, 1], [[0.2], [0.7]], 2), _Tree.realises
    monkeypatch.setattr(
        _Tree,
        "realises",
        lambda self, layers, prefixes, labels: (
            realises(self, layers, prefixes, labels) & ((prefixes.shape[1] == 0) & (labels == 0))
        ),
    )
    monkeypatch.setattr(refutations, "many_class", lambda *args: None)
    monkeypatch.setattr(
        refutations, "linear_program", lambda cone, *own: (np.zeros((2, cone.d)), None)
    )
    with pytest.raises(
        ValueError,
        match=r"^features, probes: no labelling of the first 2 probe points could be certified "
        r"\(3 undecided\)$",
    ):
        estimate_labellings(*case, runs=2, rng=np.random.default_rng(0), exact=False)


def test_a_run_that_loses_its_last_labelling_estimates_zero(monkeypatch):
    """Of the two labellings of the first point one has no certified child."""
    case, realises = ([[0.0], [1.0]], [0, 1], [[0.2], [0.7]], 2), _Tree.realises
    monkeypatch.setattr(
        _Tree,
        "realises",
        lambda self, layers, prefixes, labels: (
            realises(self, layers, prefixes, labels)
            & (True if prefixes.shape[1] == 0 else prefixes[:, 0] == 0)
        ),
    )
    found = estimate_labellings(*case, runs=40, rng=np.random.default_rng(0), exact=False)
    assert set(np.exp(found.log_runs).round(9)) == {0.0, 4.0} and found.undecided == 1
    assert 2 - 3.5 * 2 / 40**0.5 < np.exp(found.log_mean) < 2 + 3.5 * 2 / 40**0.5


def false_refutation(found):
    """The same rows with one multiplier wrong."""
    return found and Farkas(
        found.points, found.rivals, found.weights * np.linspace(1, 1.01, len(found.weights))
    )


@pytest.mark.parametrize("change", [lambda found: None, false_refutation])
@pytest.mark.parametrize("partial", [False, True])
def test_without_a_certificate_a_labelling_is_undecided(monkeypatch, change, partial):
    """Each consistent labelling is found all the same, and each of the others is reported where it
    leaves the tree.
    """
    case = [[0.0], [1.0]], [0, 1], [[0.2], [0.5], [0.7]], 3
    whole = count_labellings(*case, partial=partial)
    tree = _Tree(*case, partial=partial, exact=False)
    many_class, linear_program = refutations.many_class, refutations.linear_program
    monkeypatch.setattr(refutations, "many_class", lambda *args: change(many_class(*args)))
    monkeypatch.setattr(
        refutations,
        "linear_program",
        lambda *args: (np.zeros_like(tree.root), change(linear_program(*args)[1])),
    )
    prefixes, layers = np.empty((1, 0), dtype=int), tree.root[None]
    refused = 0
    for level in range(3):
        refused += len(prefixes) * tree.possible[level].sum()
        _, prefixes, layers = tree.children(prefixes, layers)
        refused -= (prefixes[:, -1] != NO_LABEL).sum()
        assert len(prefixes) == whole.levels[level + 1]
    assert tree.undecided == refused > 0 and whole.undecided == 0


def test_a_refutation_may_use_the_copy_that_stands_for_an_unlabelled_point():
    """Class 0 at 0 and class 1 at 1 leave no 1 at -1; the second probe has no label."""
    tree = _Tree([[0.0], [1.0]], [0, 1], [[0.5], [-1.0]], 2, partial=True)
    own, labels = tree.own(np.array([[NO_LABEL]]), np.array([1]))
    oracle = tree.oracle
    _, farkas = refutations.linear_program(oracle.cone, oracle.rows[own[0]], labels[0])
    first = oracle.cone.order[0]
    copied = Farkas(
        np.where(farkas.points == first, 2, farkas.points), farkas.rivals, farkas.weights
    )
    assert first in farkas.points or 2 in farkas.points
    for found in (farkas, copied):
        assert oracle.refutation(found, own[0], labels[0])[1]
        assert oracle.refutation(false_refutation(found), own[0], labels[0]) == (None, False)


def test_an_empty_training_policy_comes_with_its_refutation():
    points, labels = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), np.array([0, 1, 0])
    with pytest.raises(TrainingPolicyInfeasible) as caught:
        count_labellings(points[:, :1], labels, [[0.5]], 2)
    assert exact_farkas(caught.value.farkas, points, labels, 2) is not None


def test_runs_repeat_with_their_generator():
    case = problem(6, k=3)
    first, second = (
        estimate_labellings(*case, runs=5, rng=np.random.default_rng(9)).log_runs for _ in range(2)
    )
    assert (first == second).all()


def test_too_many_labellings_and_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="more than limit = 10 labellings after 2 points"):
        count_labellings(np.zeros((1, 3)), [0], np.eye(3), 4, limit=10)
    assert count_labellings(np.zeros((1, 3)), [0], np.eye(3)[:2], 4, limit=16).total == 16
    with pytest.raises(ValueError, match="runs: expected"):
        estimate_labellings(*problem(0), runs=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="population"):
        estimate_labellings(*problem(0), runs=2, rng=np.random.default_rng(0), population=0)
    with pytest.raises(TrainingPolicyInfeasible, match="same features"):
        count_labellings([[0.0], [0.0]], [0, 1], [[1.0]], 2)


def repeated(repetitions: int, runs: int = 30, **how) -> tuple[int, np.ndarray, np.ndarray]:
    """How many of the repeated estimates' 95 % intervals hold the count, and the means and standard
    errors in units of the count."""
    case = problem(5, n=3, width=2, num_classes=3, k=3)
    exact, held, means, errors = count_labellings(*case).total, 0, [], []
    for seed in range(repetitions):
        found = estimate_labellings(*case, runs=runs, rng=np.random.default_rng(seed), **how)
        low, high = found.interval(0.95)
        held += low <= np.log(exact) <= high
        means.append(np.exp(found.log_mean) / exact)
        errors.append(means[-1] * found.relative_error)
    return held, np.array(means), np.array(errors)


@pytest.mark.parametrize(
    "repetitions", [50, pytest.param(2000, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize(("population", "tilt"), [(1, 0.0), (3, 0.2)])
def test_the_interval_holds_the_count_as_often_as_it_says(population, tilt, repetitions):
    """95 %, within four binomial standard errors (12 points for 50 repetitions, 1.9 for 2,000);
    runs that share nodes would show as means that scatter more than their standard errors say."""
    held, means, errors = repeated(repetitions, population=population, tilt=tilt)
    assert abs(held / repetitions - 0.95) < 4 * (0.95 * 0.05 / repetitions) ** 0.5
    between = means.var(ddof=1) / (errors**2).mean()
    assert abs(between - 1) < 4 * (2 / repetitions) ** 0.5
    assert abs(means.mean() - 1) < 4 * means.std(ddof=1) / repetitions**0.5


@pytest.mark.parametrize("ties", ["mark", "decide"])
def test_a_tie_is_marked_or_decided(ties):
    """On a line 0 is class 0 and the float nearest to 0.3 is class 1; the probe lies 3 * 0.1 away,
    a last bit above: a refutation of class 0 holds within rounding only, and exactly."""
    count = count_labellings([[0.0], [0.3]], [0, 1], [[0.1 * 3]], 2, ties=ties)
    assert count.total == 1 and (ties == "mark" or count.ties == 0)


def test_a_combination_rounded_to_floats_is_a_tie_that_exact_arithmetic_decides():
    """Probes rounded from convex combinations of the training points of one class: within rounding
    they must have that class, for the very numbers given some need not."""
    rng, ties, freed = np.random.default_rng(0), 0, 0
    for _ in range(10):
        features = rng.standard_normal((4, 5))
        weights = rng.dirichlet(np.ones(2), 1)
        probe = weights @ features[:2]
        case = features, [0, 0, 1, 1], probe, 2
        marked, decided = count_labellings(*case), count_labellings(*case, ties="decide")
        assert decided.ties == 0 and decided.total >= marked.total
        ties, freed = ties + marked.ties, freed + decided.total - marked.total
    assert 0 < freed <= ties
