"""Pair verdicts against a linear program from scratch per pair, analytic cases, and invariances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import LONG, examples
from scipy.optimize import linprog

from flatness.feasibility import oracle as oracle_module
from flatness.feasibility.certificates import Farkas, exact_farkas, exact_witness, farkas_residual
from flatness.feasibility.labelled_points import TrainingPolicyInfeasible
from flatness.feasibility.pairs import (
    pair_verdicts,
    pair_verdicts_ensemble,
    refutations,
)
from flatness.feasibility.policy_cone import PolicyCone
from flatness.feasibility.verdicts import _Ledger
from flatness.feasibility.verification import certified_system, verify

CLEAR = 1e-6  # a linear program with default tolerances is believed beyond this margin


def reference_margin(features, labels, probe, label, num_classes):
    """Largest ``t`` with all rows ``>= t`` and ``|W| <= 1``, every row written down, solved from
    scratch.
    """
    points = np.hstack([np.vstack([features, probe]), np.ones((len(features) + 1, 1))])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    rows = []
    for z, y in zip(points, [*labels, label], strict=True):
        for k in range(num_classes):
            if k != y:
                row = np.zeros((num_classes, points.shape[1]))
                row[y], row[k] = z, -z
                rows.append(row.ravel())
    rows = np.array(rows)
    result = linprog(
        np.append(np.zeros(rows.shape[1]), -1.0),
        A_ub=np.hstack([-rows, np.ones((len(rows), 1))]),
        b_ub=np.zeros(len(rows)),
        bounds=[(-1, 1)] * rows.shape[1] + [(None, 1)],
        method="highs",
    )
    assert result.status == 0
    return -result.fun


def agree(features, labels, probes, num_classes):
    """Compare all pairs with the reference; where that is not clear, our certificate must hold in
    exact arithmetic.
    """
    found = pair_verdicts(features, labels, probes, num_classes)
    check = verify(found, features, labels, probes)
    assert (check.failed, check.undecided) == (0, 0)
    for probe, label in np.ndindex(found.verdict.shape):
        margin = reference_margin(features, labels, probes[probe], label, num_classes)
        if found.verdict[probe, label] == 1 and margin <= CLEAR:
            system = certified_system(features, labels, probes, probe, label)
            assert exact_witness(found.witnesses[found.witness_of[probe, label]], *system)
        elif found.verdict[probe, label] == 0:
            assert margin <= CLEAR
    return found


def relu_problem(seed, n=40, width=4, num_classes=4, q=8, inputs=6):
    """Features of a random two-layer ReLU network, one of them dead, labelled by a random last
    layer.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((inputs, 12)), rng.standard_normal((12, width)) / 4
    features = np.maximum(0, np.maximum(0, rng.standard_normal((n + q, inputs)) @ first) @ second)
    features[:, -1] = 0.0
    labels = (
        features @ rng.standard_normal((width, num_classes)) + rng.standard_normal(num_classes)
    ).argmax(1)
    return features[:n], labels[:n], features[n:], num_classes


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_linear_programs_on_relu_features(seed):
    found = agree(*relu_problem(seed))
    assert 0 < found.pair_proxy < found.verdict.size


@pytest.mark.parametrize(
    ("n", "width", "num_classes"), [(3, 5, 3), (1, 2, 4), (60, 2, 6), (30, 3, 2), (80, 6, 3)]
)
def test_agrees_with_linear_programs_across_shapes(n, width, num_classes):
    for seed in range(3):
        agree(*relu_problem(100 + seed, n=n, width=width, num_classes=num_classes, q=4))


@settings(max_examples=examples(40))
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 4), st.integers(2, 9))
def test_agrees_on_degenerate_grids(seed, width, num_classes, n):
    """Small integers: ties, duplicates, probes on training points and on faces of the cones."""
    rng = np.random.default_rng(seed)
    features, probes = (
        rng.integers(-2, 3, (n, width)).astype(float),
        rng.integers(-2, 3, (3, width)).astype(float),
    )
    labels = (
        features @ rng.standard_normal((width, num_classes)) + rng.standard_normal(num_classes)
    ).argmax(1)
    agree(features, labels, probes, num_classes)


def test_every_refutation_is_exact_and_a_sample_of_witnesses():
    features, labels, probes, num_classes = relu_problem(7, n=120, width=7, num_classes=6, q=30)
    found = pair_verdicts(features, labels, probes, num_classes)
    for probe, label in np.argwhere(found.verdict == 0):
        farkas = found.refutations[found.refutation_of[probe, label]]
        system = certified_system(features, labels, probes, probe, label)
        multipliers = exact_farkas(farkas, *system, num_classes)
        assert multipliers is not None and min(multipliers) >= 0 and max(multipliers) > 0
        total = [
            [0] * system[0].shape[1] for _ in range(num_classes)
        ]  # the sum of the rows, in rational arithmetic
        for value, point, rival in zip(multipliers, farkas.points, farkas.rivals, strict=True):
            for k, entry in enumerate(system[0][point].tolist()):
                total[system[1][point]][k] += value * type(value)(entry)
                total[rival][k] -= value * type(value)(entry)
        assert not any(entry for row in total for entry in row)
    for probe, label in np.argwhere(found.verdict == 1)[::10]:
        system = certified_system(features, labels, probes, probe, label)
        assert exact_witness(found.witnesses[found.witness_of[probe, label]], *system)


# What a step does when it finds nothing.
IDLE = {
    "stream": (PolicyCone, lambda cone, enter, width, own, *_: [*zip(*enter(len(own)))]),
    "two_class": (refutations, lambda *_: None),
    "many_class": (refutations, lambda *_: None),
    "linear_program": (refutations, lambda cone, *_: (np.zeros((cone.num_classes, cone.d)), None)),
}


@pytest.mark.parametrize(
    ("idle", "used", "unused"),
    [
        ([], {"centre", "two classes", "Newton"}, {"HiGHS"}),
        (["two_class"], {"many classes"}, {"two classes", "HiGHS"}),
        (["two_class", "many_class"], {"HiGHS"}, {"two classes", "many classes"}),
        (["stream"], {"HiGHS"}, {"Newton"}),
        (
            ["two_class", "many_class", "linear_program", "stream"],
            {"rational"},
            {"HiGHS", "Newton"},
        ),
    ],
)
def test_each_step_can_do_the_work_of_those_before_it(monkeypatch, idle, used, unused):
    """The verdicts and their certificates do not depend on the step that settles a pair, and every
    pair is counted once.
    """
    size = {"n": 60, "q": 20} if LONG else {"n": 40, "q": 10}
    features, labels, probes, num_classes = relu_problem(0, width=5, num_classes=5, **size)
    usual = pair_verdicts(features, labels, probes, num_classes)
    for step in idle:
        monkeypatch.setattr(IDLE[step][0], step, IDLE[step][1])
    found = pair_verdicts(features, labels, probes, num_classes)
    assert (found.verdict == usual.verdict).all() and found.undecided == 0
    assert verify(found, features, labels, probes).failed == 0
    assert (
        used
        <= set(found.settled)
        <= {"centre", "two classes", "Newton", "many classes", "HiGHS", "rational"} - unused
    )
    assert sum(found.settled.values()) == found.verdict.size and min(found.settled.values()) > 0
    assert ((found.witness_of >= 0) == (found.verdict == 1)).all() and found.witness_of.min() == -1
    assert (
        (found.refutation_of >= 0) == (found.verdict == 0)
    ).all() and found.refutation_of.min() == -1
    assert set(range(len(found.witnesses))) == set(found.witness_of[found.witness_of >= 0].tolist())


@pytest.mark.parametrize("answer", ["none", "wrong"])
def test_what_has_no_certificate_is_undecided(monkeypatch, answer):
    """Without refutations, or with a wrong multiplier in each, the infeasible pairs are undecided
    and count as neither.
    """
    features, labels, probes, num_classes = relu_problem(0, n=60, width=5, num_classes=5, q=20)
    usual = pair_verdicts(features, labels, probes, num_classes)

    def wrong(farkas):
        if not isinstance(farkas, Farkas):
            return farkas
        return Farkas(
            farkas.points, farkas.rivals, farkas.weights * np.linspace(1, 1.01, len(farkas.weights))
        )

    two_class, many_class, linear_program = (
        refutations.two_class,
        refutations.many_class,
        refutations.linear_program,
    )
    changed = {
        "two_class": lambda *args: wrong(two_class(*args)),
        "many_class": lambda *args: wrong(many_class(*args)),
        "linear_program": lambda *args: (linear_program(*args)[0], wrong(linear_program(*args)[1])),
    }
    for step in changed:
        monkeypatch.setattr(refutations, step, IDLE[step][1] if answer == "none" else changed[step])
    found = pair_verdicts(features, labels, probes, num_classes, exact=False)
    assert (found.verdict == np.where(usual.verdict == 0, -1, usual.verdict)).all()
    assert found.undecided == (usual.verdict == 0).sum() and found.pair_proxy == usual.pair_proxy
    assert found.refutations == () and (found.refutation_of == -1).all()
    assert sum(found.settled.values()) == usual.pair_proxy


def test_chunks_do_not_matter(monkeypatch):
    features, labels, probes, num_classes = relu_problem(0, n=60, width=5, num_classes=5, q=20)
    usual = pair_verdicts(features, labels, probes, num_classes)
    monkeypatch.setattr(oracle_module, "CHUNK", 1)
    one_by_one = pair_verdicts(features, labels, probes, num_classes)
    assert (one_by_one.verdict == usual.verdict).all() and "Newton" in one_by_one.settled


def test_pairs_that_newton_leaves_in_several_chunks_are_all_settled(monkeypatch):
    features, labels, probes, num_classes = relu_problem(0, n=60, width=5, num_classes=5, q=20)
    usual = pair_verdicts(features, labels, probes, num_classes)
    monkeypatch.setattr(oracle_module, "CHUNK", 1)
    monkeypatch.setattr(refutations, "two_class", IDLE["two_class"][1])
    found = pair_verdicts(features, labels, probes, num_classes)
    assert (found.verdict == usual.verdict).all() and found.settled["many classes"] == (
        usual.verdict == 0
    ).sum() > 1


@pytest.mark.parametrize("block", [1, 7, 100])
def test_sides_are_those_of_linear_programs(monkeypatch, block):
    """What is found is there: some ``u`` is positive on class c, negative on class a and positive
    at the probe, by a linear program. Of what is there, at least nine in ten are found.
    """
    monkeypatch.setattr(refutations, "BLOCK", block)
    features, labels, probes, num_classes = relu_problem(3, n=30, width=4, num_classes=4, q=9)
    labels = np.where(labels == 2, 1, labels)  # a class without points
    oracle = oracle_module.Oracle(features, labels, probes, num_classes)
    cone, own = oracle.cone, oracle.rows[oracle.n :]
    found = refutations.sides(cone, oracle.centre, own)
    there = np.zeros_like(found)
    for p, c, a in np.ndindex(found.shape):
        points = np.concatenate([cone.points[cone.members[c]], -cone.points[cone.members[a]]])
        if c != a and len(points):
            rows = np.concatenate([points, own[[p]]])
            answer = linprog(
                np.zeros(cone.d), A_ub=-rows, b_ub=-np.ones(len(rows)), bounds=(None, None)
            )
            there[p, c, a] = answer.status == 0
    assert not (found & ~there).any() and found.sum() >= 0.9 * there.sum() > 50


@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e100])
@pytest.mark.parametrize("lead", [1e-3, 1e-9])
def test_single_precision_loses_no_witness(lead, scale):
    """A layer that puts class 1 above class 0 at the probe by a part in 10^9, which single
    precision cannot see, is a witness all the same.
    """
    features, labels = np.array([[0.0], [2.0]]), np.array([0, 1])
    oracle = oracle_module.Oracle(features, labels, np.array([[1.0], [1.5]]), 2)
    ledger = _Ledger(oracle)
    # thresholds just before the first probe, and behind both, in the given features
    given = np.array([[[0.0, 0.0], [1.0, -at]] for at in (1.0 - lead, 1.7)])
    layers = scale * oracle.frame.framed(given) @ np.linalg.inv(oracle.transform)
    ledger.offer(np.arange(2), layers, "Newton")
    assert ledger.verdict.tolist() == [[1, 1], [1, 1]]
    assert ledger.witness_of.tolist() == [[1, 0], [1, 0]] and len(ledger.layers) == 2


def test_two_classes_refute_or_show_a_direction():
    """On a line with class 0 at 0 and class 1 at 2: at -1 class 1 is refuted, at 1 it is not, and
    the direction then keeps the classes apart and is positive at the probe.
    """
    oracle = oracle_module.Oracle(
        np.array([[0.0], [2.0]]), np.array([0, 1]), np.array([[-1.0], [1.0]]), 2
    )
    beyond, within = oracle.rows[2:]
    assert isinstance(refutations.two_class(oracle.cone, beyond, 1, 0, 2), Farkas)
    direction = refutations.two_class(oracle.cone, within, 1, 0, 2)
    values = oracle.cone.points @ direction
    assert values[0] < 1e-12 and values[1] > -1e-12 and within @ direction > 1e-6
    assert np.linalg.norm(direction) == pytest.approx(1)


def test_line():
    """On a line the winners of affine functions are intervals: an unseen class fits anywhere but at
    a seen point.
    """
    found = pair_verdicts([[0.0], [1.0]], [0, 1], [[-1.0], [0.0], [0.5], [1.0], [2.0]], 3)
    assert found.verdict.dtype == np.int8 and found.verdict.tolist() == [
        [1, 0, 1],
        [1, 0, 0],
        [1, 1, 1],
        [0, 1, 0],
        [0, 1, 1],
    ]
    assert found.extensions.tolist() == [2, 1, 3, 1, 2] and found.pair_proxy == 9


def test_inside_the_hull_of_one_class_there_is_one_verdict():
    corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [9.0, 9.0]])
    found = pair_verdicts(corners, [1, 1, 1, 0], [[1.0, 1.0], [2.0, 1.9]], 5)
    assert found.verdict.tolist() == [[0, 1, 0, 0, 0]] * 2


def test_dead_features_leave_the_bias_alone():
    found = pair_verdicts(np.zeros((3, 2)), [1, 1, 1], [[0.0, 0.0], [0.0, 2.0]], 3)
    assert found.verdict.tolist() == [[0, 1, 0], [1, 1, 1]]


def test_a_feature_that_is_dead_on_training_frees_every_class():
    features, labels, probes, num_classes = relu_problem(3)
    probes[0, -1] = 1e-3
    assert pair_verdicts(features, labels, probes, num_classes).extensions[0] == num_classes


def test_duplicates_change_nothing():
    features, labels, probes, num_classes = relu_problem(4)
    once = pair_verdicts(features, labels, probes, num_classes)
    twice = pair_verdicts(
        np.vstack([features, features[:9]]), np.append(labels, labels[:9]), probes, num_classes
    )
    assert (once.verdict == twice.verdict).all()


@pytest.mark.parametrize("seed", range(4))
def test_invariant_under_affine_maps_of_the_features(seed):
    features, labels, probes, num_classes = relu_problem(seed)
    rng = np.random.default_rng(seed)
    linear, shift = rng.standard_normal((4, 4)) * [1.0, 30.0, 0.1, 5.0], 3 * rng.standard_normal(4)
    moved = pair_verdicts(features @ linear + shift, labels, probes @ linear + shift, num_classes)
    assert (moved.verdict == pair_verdicts(features, labels, probes, num_classes).verdict).all()


@pytest.mark.parametrize("seed", range(4))
def test_more_training_points_only_remove_pairs(seed):
    features, labels, probes, num_classes = relu_problem(seed, n=60)
    counts = [
        pair_verdicts(features[:n], labels[:n], probes, num_classes).verdict
        for n in (5, 15, 30, 60)
    ]
    for fewer, more in zip(counts, counts[1:], strict=False):
        assert (more <= fewer).all()
    assert counts[-1].sum() < counts[0].sum()


def test_a_training_point_as_probe_has_its_own_label_only():
    features, labels, _, num_classes = relu_problem(5)
    found = pair_verdicts(features, labels, features[:10], num_classes)
    assert (found.verdict == (np.arange(num_classes) == labels[:10, None])).all()


def test_order_of_points_does_not_matter():
    features, labels, probes, num_classes = relu_problem(6)
    shuffle = np.random.default_rng(0).permutation(len(features))
    first, second = (
        pair_verdicts(features[p], labels[p], probes, num_classes) for p in (slice(None), shuffle)
    )
    assert (first.verdict == second.verdict).all()
    assert verify(second, features[shuffle], labels[shuffle], probes).failed == 0


def test_ensemble_equals_one_by_one_for_any_number_of_processes():
    labels = relu_problem(0)[1]
    good = [relu_problem(0), relu_problem(0)]
    features = np.stack([good[0][0], good[1][0] * 2 + 1, np.zeros_like(good[0][0])])
    probes = np.stack([good[0][2], good[1][2] * 2 + 1, np.zeros_like(good[0][2])])
    one = pair_verdicts_ensemble(features, labels, probes, 4, workers=1, progress=False)
    two = pair_verdicts_ensemble(features, labels, probes, 4, workers=2, progress=False)
    alone = pair_verdicts(features[0], labels, probes[0], 4)
    for found in (one, two):
        assert found.policy_feasible.tolist() == [True, True, False]
        assert found.pair_proxy[:2].tolist() == [alone.pair_proxy] * 2 and np.isnan(
            found.pair_proxy[2]
        )
        assert (found.networks[0].verdict == alone.verdict).all() and found.undecided.tolist() == [
            0,
            0,
            0,
        ]
        assert list(found.reasons) == [2] and "same features" in found.reasons[2]


def test_progress_is_shown_unless_it_is_not_wanted(capfd):
    features, labels, probes, num_classes = relu_problem(0)
    for wanted, how in ((True, {}), (False, {"progress": False})):
        pair_verdicts_ensemble(features[None], labels, probes[None], num_classes, workers=1, **how)
        assert ("pair proxy: 100%" in capfd.readouterr().err) is wanted


def test_tensors_are_read_and_not_changed():
    features, labels, probes, num_classes = relu_problem(1)
    tensors = [torch.tensor(a) for a in (features, labels, probes)]
    tensors[0].requires_grad_()
    assert (
        pair_verdicts(*tensors, num_classes).verdict
        == pair_verdicts(features, labels, probes, num_classes).verdict
    ).all()
    assert (tensors[0].detach().numpy() == features).all()


def test_an_empty_training_policy_is_an_error_with_a_refutation():
    features, labels = (
        np.array([[0.0], [1.0], [2.0]]),
        np.array([0, 1, 0]),
    )  # 1 between two 0s: not an interval
    with pytest.raises(
        TrainingPolicyInfeasible, match="^no last layer strictly classifies all training points$"
    ) as caught:
        pair_verdicts(features, labels, [[0.5]], 2)
    points = np.hstack([features, np.ones((3, 1))])
    assert exact_farkas(caught.value.farkas, points, labels, 2) is not None
    assert farkas_residual(caught.value.farkas, points, labels, 2) < 1e-13
    with pytest.raises(
        TrainingPolicyInfeasible,
        match="points 1 and 3 have the same features and the labels 1 and 0",
    ):
        pair_verdicts([[0.0], [1.0], [2.0], [1.0]], [0, 1, 2, 0], [[0.5]], 3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"features": [[np.nan], [1.0]]},
            ValueError,
            r"^features: expected finite values only, got nan at \(0, 0\)$",
        ),
        ({"probes": [[np.inf]]}, ValueError, "^probes: expected finite values only, got inf"),
        (
            {"features": [0.0, 1.0]},
            ValueError,
            r"^features: expected shape \(n, D\) of sizes >= 1, got \(2,\)$",
        ),
        (
            {"features": np.empty((0, 1)), "labels": np.empty(0, int)},
            ValueError,
            "^features: expected shape",
        ),
        ({"probes": [[0.0, 1.0]]}, ValueError, "^probes: expected the networks and features"),
        ({"labels": [0, 2]}, ValueError, r"^labels: expected integers in 0..1"),
        ({"labels": [0, -1]}, ValueError, r"^labels: expected integers in 0..1"),
        ({"labels": [0.0, 1.0]}, TypeError, "^labels: expected integers"),
        ({"labels": [0, 1, 1]}, ValueError, "^labels: expected 2 classes"),
        ({"num_classes": 1}, ValueError, "^num_classes: expected an integer >= 2"),
        ({"features": [["a"], ["b"]]}, TypeError, "^features: expected real numbers"),
    ],
)
def test_bad_input_is_named(change, error, message):
    good = {"features": [[0.0], [1.0]], "labels": [0, 1], "probes": [[0.5]], "num_classes": 2}
    with pytest.raises(error, match=message):
        pair_verdicts(**(good | change))


def test_bad_ensemble_input_is_named():
    with pytest.raises(ValueError, match="workers: expected a number >= 1"):
        pair_verdicts_ensemble(np.zeros((1, 2, 1)), [0, 0], np.zeros((1, 1, 1)), 2, workers=0)
    with pytest.raises(ValueError, match="^probes: expected the networks"):
        pair_verdicts_ensemble(np.zeros((2, 2, 1)), [0, 0], np.zeros((1, 1, 1)), 2)


def test_no_probes_is_no_pairs():
    found = pair_verdicts([[0.0], [1.0]], [0, 1], np.empty((0, 1)), 2)
    assert found.pair_proxy == 0 and found.witnesses.shape == (0, 2, 2) and found.settled == {}


def test_an_empty_policy_of_a_large_network_comes_with_its_refutation():
    features, labels, probes, num_classes = relu_problem(2, n=120, width=5, num_classes=5)
    labels = np.where(np.arange(120) % 17 == 0, (labels + 1) % num_classes, labels)
    with pytest.raises(TrainingPolicyInfeasible) as caught:
        pair_verdicts(features, labels, probes, num_classes)
    points = np.hstack([features, np.ones((120, 1))])
    assert farkas_residual(caught.value.farkas, points, labels, num_classes) < 1e-13
    assert exact_farkas(caught.value.farkas, points, labels, num_classes) is not None


def test_a_linear_program_with_room_on_all_sides_has_no_refutation():
    """Only the box is tight: no row has a multiplier."""
    cone = PolicyCone(np.array([[1.0, 0.0]]), np.array([0]), 3)
    layer, farkas = refutations.linear_program(cone, np.array([[0.0, 1.0]]), np.array([1]))
    assert (
        farkas is None
        and (layer[0, 0] - layer[1:, 0]).min() > 0.5
        and (layer[1, 1] - layer[[0, 2], 1]).min() > 0.5
    )
