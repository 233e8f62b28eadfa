"""Exact changes of coordinates: features brought near the origin and to size one, without rounding.

Verdicts do not change under affine maps of the features, but floating-point tests do: a shift by
1e8 or a column in other units hides a margin. A :class:`Frame` subtracts from a column one of its
own values where all of them lie within a factor of two (then the differences are exact: Sterbenz's
lemma) and divides columns by powers of two. Both steps are exact, so a certificate in the frame is
one for the given numbers. Multipliers of rows are the same in both; layers are mapped back.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class Frame:
    """The map ``x -> (x - shift) / 2 ** exponent`` of features ``(..., D)``."""

    shift: np.ndarray
    exponent: np.ndarray

    def points(self, features: np.ndarray) -> np.ndarray:
        """Homogeneous points ``(..., D + 1)`` of features in this frame."""
        moved = np.ldexp(features - self.shift, -self.exponent)
        return np.concatenate([moved, np.ones((*moved.shape[:-1], 1))], axis=-1)

    def rational(self, layer: np.ndarray) -> np.ndarray:
        """The layer ``(K, D + 1)`` of the frame in the given features, exactly: an array of
        fractions."""
        scale = [Fraction(2) ** int(-e) for e in self.exponent]
        rows = []
        for row in layer.tolist():
            weights = [Fraction(w) * s for w, s in zip(row[:-1], scale, strict=True)]
            moved = sum(
                (w * Fraction(m) for w, m in zip(weights, self.shift.tolist(), strict=True))
            )
            rows.append([*weights, Fraction(row[-1]) - moved])
        return np.array(rows, dtype=object)

    def given(self, layers: np.ndarray) -> np.ndarray:
        """Layers ``(..., K, D + 1)`` of the frame in the given features; only the bias rounds."""
        weights = np.ldexp(layers[..., :-1], -self.exponent)
        bias = layers[..., -1] - weights @ self.shift
        return np.concatenate([weights, bias[..., None]], axis=-1)

    def framed(self, layers: np.ndarray) -> np.ndarray:
        """Layers ``(B, K, D + 1)`` of the given features in this frame, each bias rounded once."""
        weights = np.ldexp(layers[..., :-1], self.exponent)
        bias = layers[..., -1].copy()
        moved = np.flatnonzero(self.shift)
        for at in np.ndindex(bias.shape) if len(moved) else ():
            terms = zip(layers[at][moved].tolist(), self.shift[moved].tolist(), strict=True)
            bias[at] = sum((Fraction(w) * Fraction(m) for w, m in terms), Fraction(float(bias[at])))
        return np.concatenate([weights, bias[..., None]], axis=-1)


def frame_of(features: np.ndarray, probes: np.ndarray) -> Frame:
    """The frame of features ``(n, D)`` and probes ``(q, D)``.

    >>> frame_of(np.array([[1e8, 3.0]]), np.array([[1e8 + 1, -4.0]])).points(np.array([[1e8, 3.0]]))
    array([[0.   , 0.375, 1.   ]])
    """
    stacked = np.concatenate([features, probes])
    low, high = stacked.min(0), stacked.max(0)
    narrow = ((low > 0) & (high / 2 <= low)) | ((high < 0) & (low / 2 >= high))
    shift = np.where(narrow, stacked[0], 0.0)
    moved = stacked - shift
    size = np.abs(moved).max(0)
    exponent = np.where(size > 0, np.frexp(size)[1], 0)
    exact = (np.ldexp(np.ldexp(moved, -exponent), exponent) == moved).all(0)
    return Frame(shift, np.where(exact, exponent, 0))
