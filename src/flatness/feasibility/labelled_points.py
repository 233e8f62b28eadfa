"""Labelled feature points as input: what is accepted, and the errors that name what is not."""

from typing import Any

import numpy as np
from torch import Tensor

from flatness._internal.arguments import KindError, integer, integer_array, real_array
from flatness._internal.checks import checked
from flatness.feasibility.certificates import Farkas


class TrainingPolicyInfeasible(ValueError):
    """No last layer strictly classifies the training points; ``farkas`` is the refutation."""

    def __init__(self, message: str, farkas: Farkas | None = None):
        super().__init__(message)
        self.farkas = farkas

    def __reduce__(self):
        return type(self), (self.args[0], self.farkas)


@checked()
def refuse_contradictions(points: np.ndarray, labels: np.ndarray) -> None:
    """Raise :class:`TrainingPolicyInfeasible`, naming the two, if equal points carry different
    labels.
    """
    if points.ndim != 2 or integer_array("labels", labels).shape != points.shape[:1]:
        raise ValueError(
            f"points, labels: expected shapes (n, D) and (n,), got {points.shape} and "
            f"{labels.shape}"
        )
    _, group = np.unique(points, axis=0, return_inverse=True)
    group = group.ravel()
    order = np.lexsort((labels, group))
    clash = (group[order][1:] == group[order][:-1]) & (labels[order][1:] != labels[order][:-1])
    if clash.any():
        i, j = sorted(int(v) for v in order[np.flatnonzero(clash)[0] + np.arange(2)])
        farkas = Farkas(np.array([i, j]), labels[[j, i]], np.ones(2))
        message = (
            f"training points {i} and {j} have the same features and the labels {labels[i]} and "
            f"{labels[j]}"
        )
        raise TrainingPolicyInfeasible(message, farkas)


def _features(name: str, values: Any) -> np.ndarray:
    """``values`` as float64, not necessarily finite; half and quarter precision is converted
    exactly.
    """
    if isinstance(values, Tensor) and values.dtype.is_floating_point:
        values = values.detach().double()
    try:
        return real_array(name, values)
    except KindError:
        raise
    except ValueError:
        if isinstance(values, Tensor) and values.device.type == "meta":
            raise
        values = values.cpu() if isinstance(values, Tensor) else values
        return np.asarray(values, dtype=float)


def checked_system(
    features: Any, labels: Any, probes: Any, num_classes: int, ndim: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and probes as arrays of the right shape and type, or an error naming the
    argument.

    ``ndim = 2``: one network, ``features (n, D)``, ``probes (q, D)``, all finite; ``ndim = 3``:
    several, with one more axis in front, of which one at least must be finite.
    """
    classes = integer("num_classes", num_classes, 2)
    features, probes = _features("features", features), _features("probes", probes)
    shapes = {"features": "(n, D)", "probes": "(q, D)"}
    for name, array in (("features", features), ("probes", probes)):
        letters = shapes[name] if ndim == 2 else shapes[name].replace("(", "(M, ")
        wanted = array.shape[:-2] + array.shape[-1:] if name == "probes" else array.shape
        if array.ndim != ndim or not all(wanted):
            raise ValueError(f"{name}: expected shape {letters} of sizes >= 1, got {array.shape}")
        alone = array if ndim == 3 else array[None]
        if alone.size and not np.isfinite(alone).all((1, 2)).any():
            where = tuple(int(v) for v in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"{name}: expected finite values only, got {array[where]} at {where}")
    if features.shape[-1] != probes.shape[-1] or features.shape[:-2] != probes.shape[:-2]:
        raise ValueError(
            f"probes: expected the networks and features of features, {features.shape}, got shape "
            f"{probes.shape}"
        )
    labels = labels.detach().cpu() if isinstance(labels, Tensor) else labels
    targets = integer_array("labels", labels, 0, classes - 1)
    if targets.shape != features.shape[-2:-1]:
        raise ValueError(
            f"labels: expected {features.shape[-2]} classes, as features, got shape {targets.shape}"
        )
    return features, targets.astype(np.int64), probes
