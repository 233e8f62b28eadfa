"""Labelled feature points as input: what is accepted, and the errors that name what is not."""

import numpy as np

from flatness._internal.arguments import integer_array
from flatness._internal.checks import checked
from flatness.feasibility.certificates import Farkas


class TrainingPolicyInfeasible(ValueError):
    """No last layer strictly classifies the training points; ``farkas`` is the refutation, when one
    was found.
    """

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
            f"points, labels: expected shapes (n, D) and (n,), got {points.shape} and {labels.shape}"
        )
    _, group = np.unique(points, axis=0, return_inverse=True)
    group = group.ravel()
    order = np.lexsort((labels, group))
    clash = (group[order][1:] == group[order][:-1]) & (labels[order][1:] != labels[order][:-1])
    if clash.any():
        i, j = sorted(int(v) for v in order[np.flatnonzero(clash)[0] + np.arange(2)])
        farkas = Farkas(np.array([i, j]), labels[[j, i]], np.ones(2))
        message = f"training points {i} and {j} have the same features and the labels {labels[i]} and {labels[j]}"
        raise TrainingPolicyInfeasible(message, farkas)


def _array(name: str, value) -> np.ndarray:
    if getattr(getattr(value, "device", None), "type", "") == "meta":
        raise ValueError(f"{name} must hold values, got a tensor on the meta device")
    value = value.detach().cpu() if hasattr(value, "detach") else value
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array


def checked_system(
    features, labels, probes, num_classes, ndim
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and probes as arrays of the right shape and type, or an error naming the
    argument.
    """
    if (
        isinstance(num_classes, bool)
        or not isinstance(num_classes, int | np.integer)
        or num_classes < 2
    ):
        raise ValueError(f"num_classes must be an integer of at least 2, got {num_classes}")
    features, probes = (
        _array(k, v).astype(float) for k, v in (("features", features), ("probes", probes))
    )
    labels = _array("labels", labels)
    shape = "(n, D)" if ndim == 2 else "(M, n, D)"
    for name, array in (("features", features), ("probes", probes)):
        if array.ndim != ndim or not array.size and not (array.shape[-1] and name == "probes"):
            raise ValueError(
                f"{name} must be a nonempty array of shape {shape}, got shape {array.shape}"
            )
        if not np.isfinite(array).all():
            where = tuple(int(v) for v in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"{name} must be finite, but the entry at {where} is {array[where]}")
    if (
        probes.shape[-1] != features.shape[-1]
        or probes.shape[: ndim - 2] != features.shape[: ndim - 2]
    ):
        raise ValueError(
            f"probes of shape {probes.shape} do not match features of shape {features.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != features.shape[-2:-1]:
        raise ValueError(f"labels must have shape {features.shape[-2:-1]}, got {labels.shape}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels must lie in [0, {num_classes}), got {labels.min()} .. {labels.max()}"
        )
    return features, labels.astype(np.int64), probes
