"""Certificates: what is accepted, what is refused, and the exact versions."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.feasibility.certificates import (
    Farkas,
    _depths,
    exact_farkas,
    exact_witness,
    farkas_residual,
    margins,
)
from flatness.feasibility.pairs import pair_verdicts
from flatness.feasibility.verification import certified_system, verify


@pytest.fixture(scope="module")
def solved():
    rng = np.random.default_rng(0)
    features, probes = rng.standard_normal((30, 3)), rng.standard_normal((10, 3))
    labels = (features @ rng.standard_normal((3, 4)) + rng.standard_normal(4)).argmax(1)
    return pair_verdicts(features, labels, probes, 4), features, labels, probes


def test_margins_are_the_definition_written_out():
    rng = np.random.default_rng(1)
    layers, points, labels = (
        rng.standard_normal((2, 3, 4)),
        rng.standard_normal((5, 4)),
        rng.integers(0, 3, 5),
    )
    found = margins(layers, points, labels)
    for b in range(2):
        for i, y in enumerate(labels):
            slow = min(
                (layers[b, y] - layers[b, k])
                @ points[i]
                / (
                    (np.linalg.norm(layers[b, y]) + np.linalg.norm(layers[b, k]))
                    * np.linalg.norm(points[i])
                )
                for k in range(3)
                if k != y
            )
            assert found[b, i] == pytest.approx(slow, rel=1e-12)


def test_depths_are_the_margins_of_each_layer_at_its_own_point():
    rng = np.random.default_rng(0)
    layers, points = rng.standard_normal((6, 3, 4)), rng.standard_normal((6, 4))
    labels = np.array([0, 1, 2, 0, 1, 2])
    layers[5] = 0.0
    expected = margins(layers, points, labels).diagonal()
    np.testing.assert_allclose(_depths(layers, points, labels), expected, rtol=1e-12)


def test_the_zero_layer_is_no_witness():
    assert margins(np.zeros((1, 2, 2)), np.ones((1, 2)), np.array([0])).tolist() == [[-1.0]]


def test_verify_counts_everything_and_finds_nothing_wrong(solved):
    check = verify(*solved)
    assert check.witnessed + check.refuted == 40 and check.failed == check.undecided == 0
    assert check.smallest_margin > 1e-12 and check.largest_residual < 1e-13


def test_verify_refuses_tampered_certificates(solved):
    found, *data = solved
    assert (
        verify(replace(found, witnesses=-found.witnesses), *data).failed
        == (found.verdict == 1).sum()
    )
    wrong = tuple(
        Farkas(f.points, f.rivals, f.weights * np.linspace(1, 1.01, len(f.weights)))
        for f in found.refutations
    )
    assert verify(replace(found, refutations=wrong), *data).failed == (found.verdict == 0).sum()
    swapped = replace(
        found, verdict=(1 - found.verdict).astype(np.int8)
    )  # every verdict turned round: none has a certificate
    assert verify(swapped, *data).failed == 40
    moved = [data[0], data[1], data[2][::-1]]
    assert verify(found, *moved).failed > 0


@pytest.mark.parametrize("weights", [[], [0.0, 1.0], [-1.0, 1.0], [np.nan, 1.0]])
def test_multipliers_must_be_positive_numbers(weights):
    farkas = Farkas(np.arange(len(weights)), np.array([1, 0])[: len(weights)], np.array(weights))
    assert farkas_residual(farkas, np.ones((2, 2)), np.array([0, 1]), 2) == np.inf


def test_a_row_against_itself_is_no_row():
    farkas = Farkas(np.array([0]), np.array([0]), np.array([1.0]))
    assert farkas_residual(farkas, np.zeros((1, 2)), np.array([0]), 2) == np.inf


def test_exact_witness_sees_what_floats_cannot():
    """A margin of 2^-60 beside entries of size one: lost in float64 sums, kept in rational
    arithmetic.
    """
    layer = np.array([[1.0, 1.0, 2.0**-60], [0.0, 0.0, 0.0]])
    point = np.array([[1.0, -1.0, 1.0]])
    assert exact_witness(layer, point, np.array([0]))
    assert not exact_witness(layer, -point, np.array([0]))
    assert not exact_witness(
        layer, np.array([[1.0, -1.0, 0.0]]), np.array([0])
    )  # a tie is no strict win


def test_exact_farkas_is_exact_or_none(solved):
    found, features, labels, probes = solved
    for probe, label in np.argwhere(found.verdict == 0):
        farkas = found.refutations[found.refutation_of[probe, label]]
        system = certified_system(features, labels, probes, probe, label)
        weights = exact_farkas(farkas, *system, 4)
        assert np.allclose(
            [float(w) for w in weights], farkas.weights / farkas.weights[0], rtol=1e-6
        )
        nudged = (
            system[0] + 0.3 * np.random.default_rng(2).standard_normal(system[0].shape),
            system[1],
        )
        assert (
            exact_farkas(
                Farkas(farkas.points[:-1], farkas.rivals[:-1], farkas.weights[:-1]), *nudged, 4
            )
            is None
        )


def test_dependent_supports_are_reduced_first():
    """Two contradictions at once: the multipliers form a plane, and one of its extreme lines is
    returned.
    """
    points, labels = (
        np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]]),
        np.array([0, 1, 0, 1]),
    )
    farkas = Farkas(np.arange(4), np.array([1, 0, 1, 0]), np.ones(4))
    weights = exact_farkas(farkas, points, labels, 2)
    assert sorted(weights)[:2] == [0, 0] and sorted(weights)[2] == sorted(weights)[3] > 0
    total = sum(
        (
            w * Fraction(p) * (1 - 2 * int(y))
            for w, p, y in zip(weights, points[:, 0], labels, strict=True)
        ),
        Fraction(0),
    )
    assert total == 0 and max(weights) > 0


@settings(max_examples=examples(30))
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_a_point_in_a_cone_is_refuted_exactly(seed, width):
    """The last point is a positive combination of the others, exactly (small integers): its label
    is forced.
    """
    rng = np.random.default_rng(seed)
    features = rng.integers(-4, 5, (width + 1, width)).astype(float)
    probe = features.sum(0) / (width + 1) if (width + 1) in (2, 4) else features[:2].mean(0)
    found = pair_verdicts(features, np.zeros(width + 1, dtype=int), probe[None], 3)
    assert found.verdict.tolist() == [[1, 0, 0]]
    for label in (1, 2):
        farkas = found.refutations[found.refutation_of[0, label]]
        system = certified_system(features, np.zeros(width + 1, dtype=int), probe[None], 0, label)
        assert exact_farkas(farkas, *system, 3) is not None
