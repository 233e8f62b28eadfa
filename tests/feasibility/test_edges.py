"""Valid systems at the edges of floating point, and ensembles with one bad member."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatness.feasibility.labelled_points import TrainingPolicyInfeasible
from flatness.feasibility.pairs import (
    FEASIBLE,
    UNDECIDED,
    pair_verdicts,
    pair_verdicts_ensemble,
)


def system(seed, n=12, width=3, classes=3, probes=5):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, width))
    labels = (features @ rng.standard_normal((width, classes))).argmax(1)
    return features, labels, rng.standard_normal((probes, width)), classes


@pytest.mark.parametrize(
    ("features", "labels", "probe"),
    [
        ([[0.0], [3e-5]], [0, 1], [[2.0]]),
        ([[0.0], [1.0]], [0, 1], [[1 / 3e-5]]),
        ([[-1.0], [0.0], [1e-7], [1.0]], [0, 0, 1, 1], [[2.0]]),
        ([[0.0], [1e-10]], [0, 1], [[2.0]]),
    ],
)
def test_a_threshold_on_a_line_beyond_which_only_the_upper_class_is_left(features, labels, probe):
    """Two classes on a line, the probe above all points: only the class of the uppermost."""
    found = pair_verdicts(features, labels, probe, 2)
    assert found.verdict.tolist() == [[0, 1]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [0.0, 1e8])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_shifts_and_scales_change_no_verdict(seed, shift, scale):
    features, labels, probes, classes = system(seed)
    # moved first and back, so that the same numbers are compared
    features, probes = ((x + shift) - shift for x in (features, probes))
    plain = pair_verdicts(features, labels, probes, classes)
    moved = pair_verdicts((features + shift) * scale, labels, (probes + shift) * scale, classes)
    assert (plain.verdict != UNDECIDED).all()
    np.testing.assert_array_equal(plain.verdict, moved.verdict)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("exponent", [6, 12])
def test_columns_of_any_size_change_no_verdict(seed, exponent):
    features, labels, probes, classes = system(seed)
    sizes = 10.0 ** np.array([-exponent, 0, exponent])
    plain = pair_verdicts(features, labels, probes, classes)
    scaled = pair_verdicts(features * sizes, labels, probes * sizes, classes)
    np.testing.assert_array_equal(plain.verdict, scaled.verdict)


@given(bad=st.sampled_from([np.nan, np.inf, -np.inf]), member=st.integers(0, 3))
def test_one_bad_network_never_costs_the_others(bad, member):
    features, labels, probes, classes = system(0)
    several = np.stack([features * (1 + m) for m in range(4)])
    queries = np.stack([probes * (1 + m) for m in range(4)])
    several[member, 0, 0] = bad
    found = pair_verdicts_ensemble(several, labels, queries, classes, workers=1, progress=False)
    alone = pair_verdicts(features, labels, probes, classes)
    for m, one in enumerate(found.networks):
        if m == member:
            assert one is None and "features" in found.reasons[m]
        else:
            np.testing.assert_array_equal(one.verdict, alone.verdict)


def test_contradicting_labels_are_an_empty_policy_with_a_refutation():
    with pytest.raises(TrainingPolicyInfeasible) as empty:
        pair_verdicts([[0.0], [0.0], [1.0]], [0, 1, 1], [[2.0]], 2)
    assert empty.value.farkas is not None


def test_a_probe_on_a_training_point_has_its_class_only():
    features, labels, _, classes = system(1)
    found = pair_verdicts(features, labels, features, classes)
    np.testing.assert_array_equal(found.verdict == FEASIBLE, np.eye(classes, dtype=bool)[labels])
