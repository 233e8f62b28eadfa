"""The dual of the flattest interpolator for p = 1, and the certified supremum behind its bound.

**The minimum.**  F*_min is the infimum of F* over the interpolating networks, of any width, of
which no sample lies on a kink.  On the open cell of directions with sign pattern sigma put
t_i = s(1) where sigma_i = 1 and -s(-1) where it is -1, so that s(<u, x_i>) = t_i <u, x_i> there,
and

    g_sigma(u) = (2/n) sqrt(b_sigma) |(t_i <u, x_i>)_i|,     b_sigma = sum_i t_i^2 |x_i|^2,

which is F* of the neuron (1, u).  g extends continuously to the closed cell; at a kink the smallest
of the values from the adjacent cells is the lower semicontinuous envelope, and F*_min is the
infimum of sum_j |a_j| g over networks *with* kinks when g is that envelope.  (Both infima agree: a
small move off the kinks leaves a small residual, and the interpolation of that by off-kink neurons
costs little.)  For ReLU a sample on the kink counts as inactive wherever that side is adjacent; for
leaky ReLU it counts with the smaller slope; for |z| both sides are equal, and the value 0 that the
convention s'(0) = 0 gives there is *not* the limit of anything.

**The bound.**  For any xi in R^n, with R(xi) = sup |sum_i xi_i s(<u, x_i>)| / g(u) over u off the
kinks,

    F*_min >= <xi, y> / R(xi),

since <xi, y> = sum_j a_j <xi, phi(u_j)> <= R(xi) sum_j |a_j| g(u_j).  On a closed cell, with
c = sum_i xi_i t_i x_i, M = sum_i t_i^2 x_i x_i^T and G the rows sigma_i x_i, the supremum of
<c, u> / |u|_M is

    min over lambda >= 0 of |c + G^T lambda|_{M^-1},

a non-negative least squares problem; *every* lambda >= 0 gives an upper bound, and lambda = 0 is
the projection |P xi|.  So R(xi) is bounded rigorously, up to rounding, however the search for
lambda ends. Our own derivation (chapter a7_flattest).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize

from flatness.networks.activations import Activation

CHUNK = 2000  # cells tightened at once
SWEEPS = 30  # multipliers raised per cell before its least squares problem is solved outright
RANK = 1e-10  # eigenvalues of M below RANK times the largest count as zero


def slopes(signs: np.ndarray, activation: Activation) -> np.ndarray:
    """t_i = s(1) where the sign is 1, -s(-1) where it is -1."""
    return np.where(signs > 0, activation.plus, -activation.minus)


def neuron_features(
    u: np.ndarray, signs: np.ndarray, x: np.ndarray, activation: Activation, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(s(<u, x_i>))_i, (K, n), and g(u), (K,), of directions u (K, d) in the closed cells `signs`
    (K, n).

    `count` is the n of the factors 1/n: the size of the sample, of which x may leave out zero rows.
    """
    t = slopes(signs, activation)
    phi = t * (u @ x.T)
    energy = (t * t) @ (x * x).sum(1)
    return phi, 2 / count * np.sqrt(energy) * np.linalg.norm(phi, axis=1)


def dual_ratio(xi: np.ndarray, u: np.ndarray, x: np.ndarray, activation: Activation) -> np.ndarray:
    """|sum_i xi_i s(<u, x_i>)| / g(u) for directions u (K, d) off the kinks, (K,); 0 where g(u) is
    0.
    """
    phi, g = neuron_features(u, np.where(u @ x.T > 0, 1, -1), x, activation, len(x))
    return np.abs(phi @ xi) / np.where(g > 0, g, np.inf)


def simple_supremum(xi: np.ndarray, x: np.ndarray, activation: Activation, count: int) -> float:
    """An upper bound on R(xi) without a look at the cells, by Cauchy-Schwarz.

    <xi, phi> <= |xi over the samples with t_i != 0| |phi|: where both slopes differ from 0 these
    are all samples, and where one is 0 the ratio of sums is at most the largest ratio of terms.
    With xi_i = |x_i| sgn(y_i) and xi = y this gives the two bounds of `flatness.bounds`.
    """
    squared = (x * x).sum(1)
    if activation.plus != 0 and activation.minus != 0:
        ratio = (xi @ xi) / squared.sum()
    else:
        ratio = (xi * xi / squared).max()
    return float(count / (2 * activation.smallest_slope) * np.sqrt(ratio))


@dataclass(frozen=True)
class Violations:
    """Directions (K, d) with their cells' signs (K, n), the sign of a_j (K,), and an upper bound on
    R(xi).
    """

    directions: np.ndarray
    signs: np.ndarray
    side: np.ndarray
    bound: float


class CellDuals:
    """R(xi) over a list of cells `signs` (C, n) of the sample x (n, d), for many xi.

    The multipliers found for one xi are kept and bound the next: as xi settles, few cells need a
    new least squares problem.
    """

    def __init__(self, x: np.ndarray, activation: Activation, signs: np.ndarray, count: int):
        self.x, self.squared, d = x, (x * x).sum(1), x.shape[1]
        t = slopes(signs, activation)
        energy = (t * t) @ self.squared
        live = energy > 0  # a neuron that is off on the whole sample does nothing
        if activation.plus == activation.minus:  # u and -u are one neuron
            live &= signs[:, 0] > 0
        self.signs, self.t = signs[live], t[live]
        self.scale = count / (2 * np.sqrt(energy[live]))
        outer = (x[:, :, None] * x[:, None, :]).reshape(len(x), d * d)
        self.M = ((self.t**2) @ outer).reshape(-1, d, d)
        w, V = np.linalg.eigh(self.M)
        kept = w > RANK * w[:, -1:]
        self.full = np.asarray(kept.all(1))
        # root[k] maps c to |c|_{M^-1}: diag(w)^-1/2 V^T on the range of M, 0 on its null space
        self.root = np.where(kept, np.where(kept, w, 1.0) ** -0.5, 0.0)[:, :, None] * np.swapaxes(
            V, 1, 2
        )
        self.push = np.zeros(
            (len(self.signs), 2, d)
        )  # G^T lambda of the last multipliers, per side

    def supremum(self, xi: np.ndarray, level: float, wanted: int) -> Violations:
        """Directions where the ratio exceeds `level`, and an upper bound on R(xi).

        Cells are taken in the order of their bounds until none exceeds `level` or `wanted`
        directions are found; the bound is rigorous either way: the largest of those computed and
        those left.
        """
        c = (self.t * xi) @ self.x
        sided = np.stack([c, -c], 1)
        bound = self.scale[:, None] * _norm(self.root[:, None], sided + self.push)
        free = (self.scale * _norm(self.root, c))[:, None] + np.zeros(2)
        self.push[free < bound] = 0.0
        bound = np.minimum(bound, free).ravel()
        order = np.flatnonzero(bound > level)
        order = order[np.argsort(-bound[order])]
        largest, found = np.delete(bound, order).max(initial=0.0), []
        for first in range(0, len(order), CHUNK):
            part = order[first : first + CHUNK]
            self.tighten(part, sided, bound, level)
            for place in part[bound[part] > level]:
                k, side = divmod(place, 2)
                value, u, self.push[k, side] = self.cell(k, sided[k, side])
                bound[place] = value * self.scale[k]
                if bound[place] > level and self._reaches(k, u, sided[k, side], level):
                    found.append((u, k, 1 - 2 * side))
                if len(found) >= wanted:
                    break
            if len(found) >= wanted:
                break
        largest = max(largest, bound[order].max(initial=0.0))
        u, k, side = zip(*found, strict=True) if found else ((), (), ())
        index = np.array(k, dtype=int)
        return Violations(
            np.array(u).reshape(-1, self.x.shape[1]), self.signs[index], np.array(side), largest
        )

    def _reaches(self, k: int, u: np.ndarray, c: np.ndarray, level: float) -> bool:
        """Whether u lies in the closed cell k and its ratio exceeds `level`, up to rounding."""
        z = self.signs[k] * (self.x @ u)
        size = np.linalg.norm(self.t[k] * z)
        in_cell = z.min() >= -1e-8 * np.linalg.norm(u) * np.sqrt(self.squared.max())
        return bool(in_cell and self.scale[k] * (c @ u) > level * size * (1 - 1e-9) and size > 0)

    def tighten(
        self, places: np.ndarray, sided: np.ndarray, bound: np.ndarray, level: float
    ) -> None:
        """Raise one multiplier at a time, the one whose constraint is violated most, in many cells
        at once.

        Hildreth's method on the least squares problem of `cell`, without decreases; stops where a
        bound falls to `level`.  Updates `bound` and the multipliers kept.
        """
        left = places[self.full[places // 2]]
        k, side = np.divmod(left, 2)
        G = self.signs[k][:, :, None] * self.x
        A = G @ np.swapaxes(self.root[k], 1, 2)  # (N, n, d)
        size = np.einsum("Nnd,Nnd->Nn", A, A)
        residual = (self.root[k] @ (sided[k, side] + self.push[k, side])[:, :, None])[..., 0]
        rows = np.arange(len(left))
        for _ in range(SWEEPS):
            slack = (A @ residual[:, :, None])[..., 0]
            worst = (slack / np.sqrt(size)).argmin(1)
            step = np.maximum(-slack[rows, worst], 0) / size[rows, worst]
            self.push[k, side] += step[:, None] * G[rows, worst]
            residual += step[:, None] * A[rows, worst]
            bound[left] = self.scale[k] * np.linalg.norm(residual, axis=1)
            keep = np.logical_and(bound[left] > level, step > 0)
            if not keep.any():
                break
            if keep.mean() < 0.7:
                left, k, side, residual = left[keep], k[keep], side[keep], residual[keep]
                A, G, size, rows = A[keep], G[keep], size[keep], np.arange(len(left))

    def cell(self, k: int, c: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """An upper bound on sup <c, u> / |u|_M over cell k, the maximiser u, and G^T lambda.

        The bound is the supremum up to rounding.
        """
        G = self.signs[k][:, None] * self.x
        root, null = self.root[k], None
        # c + G^T lambda must lie in the range of M: a large weight on the rest
        if not self.full[k]:
            w, V = np.linalg.eigh(self.M[k])
            null = V[:, w <= RANK * w[-1]]
            root = root + 0.0
            root[w <= RANK * w[-1]] = 1e4 / np.sqrt(w[-1]) * null.T
        try:
            multipliers, _ = scipy.optimize.nnls(root @ G.T, -(root @ c), maxiter=20 * len(G))
        except RuntimeError:
            multipliers = np.zeros(len(G))
        u = root.T @ (root @ (c + multipliers @ G))
        if null is not None:
            multipliers = _within(multipliers, G @ null)
            held = G[multipliers > 0]  # these constraints are tight; the weight leaves 1e-8 of them
            u = u - np.linalg.pinv(held) @ (held @ u)
        push = multipliers @ G
        return float(np.linalg.norm(self.root[k] @ (c + push))), u, push


def _norm(root: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.linalg.norm((root @ c[..., None])[..., 0], axis=-1)


def _within(multipliers: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Multipliers >= 0 with multipliers @ null = 0 near the given ones; 0 if none is found.

    First by projections; where these end outside, the nearest in the sum of the changes, a linear
    programme, and its support refined.
    """
    null = np.where(np.abs(null) > RANK * np.abs(null).max(initial=0), null, 0.0)
    m = _projected(multipliers, null)
    if m is None:
        k = len(multipliers)
        answer = scipy.optimize.linprog(
            np.ones(2 * k),
            A_eq=np.concatenate([null, -null]).T,
            b_eq=-multipliers @ null,
            bounds=[(0, None)] * k + [(0, one) for one in multipliers],
            method="highs-ds",
        )
        if answer.status == 0 and answer.x is not None:
            near = np.maximum(multipliers + answer.x[:k] - answer.x[k:], 0)
            m = _projected(np.where(near > 1e-9 * near.max(initial=0), near, 0.0), null)
    return np.zeros_like(multipliers) if m is None else m


def _projected(multipliers: np.ndarray, null: np.ndarray) -> np.ndarray | None:
    m = multipliers.copy()
    for _ in range(5):
        on = m > 0
        m[on] -= np.linalg.pinv(null[on].T) @ (m @ null)
        if (m >= 0).all():
            off = np.abs(m @ null).max(initial=0)
            return m if off <= 1e-12 * np.abs(null).max() * m.max() else None
        m = np.maximum(m, 0)
    return None
