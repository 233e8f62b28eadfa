"""Every certificate of a network's verdicts, evaluated again from the raw features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flatness._internal import rules
from flatness._internal.arguments import integer, integer_array, real_array
from flatness._internal.checks import checked
from flatness.feasibility.certificates import (
    MARGIN,
    RESIDUAL,
    _exact_witness,
    _labels,
    _margins,
    farkas_residual,
)
from flatness.feasibility.frames import frame_of


@dataclass(frozen=True)
class Check:
    """Outcome of :func:`verify`: how many certificates of each kind, how many failed, and the worst
    of each kind.
    """

    witnessed: int
    refuted: int
    undecided: int
    failed: int
    smallest_margin: float
    largest_residual: float


@checked()
def certified_system(
    features: ArrayLike, labels: ArrayLike, probes: ArrayLike, probe: int, label: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(n + 1, D + 1)`` and labels ``(n + 1,)`` of the system behind the pair ``(probe,
    label)``.
    """
    features, probes = real_array("features", features), real_array("probes", probes)
    if (
        features.ndim != 2
        or probes.ndim != 2
        or features.shape[1] != probes.shape[1]
        or not len(features)
    ):
        raise ValueError(
            f"features, probes: expected shapes (n, D) and (q, D), got {features.shape} and "
            f"{probes.shape}"
        )
    if integer_array("labels", labels, 0).shape != features.shape[:1]:
        raise ValueError(
            f"labels: expected {len(features)} classes, as features, got shape {np.shape(labels)}"
        )
    integer("probe", probe, 0, len(probes) - 1)
    integer("label", label, 0)
    points = np.vstack([features, probes[probe : probe + 1]])
    return np.hstack([points, np.ones((len(points), 1))]), np.append(labels, label)


@checked(
    overflow=False,
    verdicts=None,
    features=rules.shape("n D"),
    labels=_labels,
    probes=rules.shape("q? D"),
)
def verify(verdicts, features: np.ndarray, labels: np.ndarray, probes: np.ndarray) -> Check:
    """Evaluate every certificate of a :class:`flatness.feasibility.verdicts.PairVerdicts` again,
    from the raw features.

    Nothing of the search is reused: a verdict of 1 must have a witness whose margins at all
    training points and at the probe exceed ``MARGIN`` (a rational one, every row in rational
    arithmetic), a verdict of 0 a Farkas vector with residual at most ``RESIDUAL``. Both are
    evaluated in the exact coordinates of :mod:`flatness.feasibility.frames`.

    >>> from flatness.feasibility.pairs import pair_verdicts
    >>> features, labels = np.array([[0.0], [2.0]]), np.array([0, 1])
    >>> probes = np.array([[1.0], [3.0]])
    >>> check = verify(pair_verdicts(features, labels, probes, 2), features, labels, probes)
    >>> check.witnessed, check.refuted, check.undecided, check.failed
    (3, 1, 0, 0)
    """
    if not hasattr(verdicts, "witness_of") or verdicts.verdict.shape[0] != len(probes):
        raise ValueError(
            f"verdicts: expected the PairVerdicts of {len(probes)} probes, got "
            f"{type(verdicts).__name__}"
        )
    if labels.max() >= verdicts.verdict.shape[1]:
        raise ValueError(
            f"labels: expected classes 0 to {verdicts.verdict.shape[1] - 1}, got {labels.max()}"
        )
    if verdicts.witnesses.shape[-1] != features.shape[1] + 1:
        raise ValueError(
            f"features, verdicts: expected {verdicts.witnesses.shape[-1] - 1} features, got "
            f"{features.shape[1]}"
        )
    frame = frame_of(features, probes)
    points, queries = frame.points(features), frame.points(probes)
    classes, layers = verdicts.verdict.shape[1], frame.framed(verdicts.witnesses)
    on_training = _margins(layers, points, labels).min(1, initial=np.inf)
    depths, residuals, failed, exact = [], [], 0, 0
    for probe, label in np.argwhere(verdicts.verdict == 1):
        number, targets = verdicts.witness_of[probe, label], np.append(labels, label)
        if number in verdicts.rational:
            given = certified_system(features, labels, probes, probe, label)[0]
            failed += not _exact_witness(verdicts.rational[number], given, targets)
            exact += 1
            continue
        layer = layers[number : number + 1] if number >= 0 else np.zeros_like(layers[:1])
        depth = _margins(layer, queries[probe : probe + 1], targets[-1:]).item()
        depths.append(min(depth, on_training[number]))
    for probe, label in np.argwhere(verdicts.verdict == 0):
        system, number = np.vstack([points, queries[probe]]), verdicts.refutation_of[probe, label]
        found = verdicts.refutations[number] if number >= 0 else None
        targets = np.append(labels, label)
        residuals.append(farkas_residual(found, system, targets, classes) if found else np.inf)
    depths, residuals = np.array(depths), np.array(residuals)
    return Check(
        witnessed=len(depths) + exact,
        refuted=len(residuals),
        undecided=int((verdicts.verdict == -1).sum()),
        failed=failed + int((depths <= MARGIN).sum() + (residuals > RESIDUAL).sum()),
        smallest_margin=float(depths.min(initial=np.inf)),
        largest_residual=float(residuals.max(initial=0.0)),
    )
