"""Ascent of the dual ratio over directions, where the activation cells are too many to list.

The ratio |<xi, phi(u)>| / g(u) is smooth inside a cell and jumps up where a sample reaches the kink
from its steep side: g no longer pays for it.  So an ascent alternates two moves on the face
{u : <u, x_k> = 0, k in K} of samples held on the kink: go to the stationary point of the face,
u = H c, with H the inverse of M restricted to the face; or hold one more sample, which costs
(x_k^T H c)^2 / x_k^T H x_k of c^T H c and takes |x_k|^2 times the difference of the squared slopes
off b.  Finds columns; certifies nothing.
"""

from __future__ import annotations

import numpy as np

from flatness.interpolators.column_generation import Neurons
from flatness.networks.activations import Activation

KINK = 1e-9  # cosines below this put a sample on the kink
TRIED = 6  # samples per direction whose capture is tried outright


def flat_side(activation: Activation) -> tuple[int, float, float]:
    """(the sign on which |s'| is smaller, its slope t, the other slope)."""
    if abs(activation.minus) <= abs(activation.plus):
        return -1, -activation.minus, activation.plus
    return 1, activation.plus, -activation.minus


def climb(
    xi: np.ndarray,
    start: Neurons,
    x: np.ndarray,
    activation: Activation,
    count: int,
    steps: int = 30,
) -> tuple[Neurons, np.ndarray]:
    """Directions reached from `start` by moves that raise side * <xi, phi(u)> / g(u), and that
    ratio (K,).
    """
    u = start.directions / np.linalg.norm(start.directions, axis=1, keepdims=True)
    held = np.abs(u @ x.T) <= KINK * np.linalg.norm(x, axis=1)
    xi = start.side[:, None] * xi
    value = _ratio(xi[:, None], u[:, None], held[:, None], x, activation, count)[:, 0]
    moving = np.arange(len(u))
    for _ in range(steps):
        trial, hold = _moves(xi[moving], u[moving], held[moving], x, activation)
        ratio = _ratio(xi[moving, None], trial, hold, x, activation, count)
        ratio[_off_face(trial, hold, x)] = -np.inf
        best = ratio.argmax(1)
        rows = np.arange(len(moving))
        better = ratio[rows, best] > value[moving] * (1 + 1e-9)
        if not better.any():
            break
        rows, best, moving = rows[better], best[better], moving[better]
        u[moving], held[moving], value[moving] = (
            trial[rows, best],
            hold[rows, best],
            ratio[rows, best],
        )
        u[moving] /= np.linalg.norm(u[moving], axis=1, keepdims=True)
    z = np.where(held, 0.0, u @ x.T)
    side = flat_side(activation)[0]
    signs = np.where(held | (z == 0), side, np.sign(z)).astype(np.int8)
    return Neurons(u, signs, start.side), value


def _off_face(u: np.ndarray, held: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Directions (B, q, d) that vanish or are not orthogonal to the samples they hold: what is left
    of a direction that its face forbids is rounding, and points anywhere.
    """
    length = np.linalg.norm(u, axis=-1)
    cosine = np.abs(u @ x.T) / np.linalg.norm(x, axis=1)
    away = np.where(held, cosine, 0.0).max(-1) > KINK * length
    return np.asarray(away | (length < 1e-100))


def _slopes(z: np.ndarray, held: np.ndarray, activation: Activation) -> np.ndarray:
    t = np.where(z > 0, activation.plus, -activation.minus)
    return np.where(held, flat_side(activation)[1], t)


def _ratio(xi, u, held, x, activation, count):
    """side * <xi, phi> / g for directions u (B, q, d), samples in `held` (B, q, n) on the kink."""
    z = np.where(held, 0.0, u @ x.T)
    t = _slopes(z, held, activation)
    phi = t * z
    energy = (t * t) @ (x * x).sum(1)
    g = 2 / count * np.sqrt(energy) * np.linalg.norm(phi, axis=-1)
    return (xi * phi).sum(-1) / np.where(g > 0, g, np.inf)


def _moves(xi, u, held, x, activation):
    """Trial directions (B, q, d) and the samples they hold (B, q, n)."""
    z = u @ x.T
    t = _slopes(z, held, activation)
    c = np.where(held, 0.0, xi * t) @ x
    weights = np.where(held, 0.0, t * t)
    M = np.swapaxes(weights[:, :, None] * x, 1, 2) @ x
    H = _face_inverse(M, held, x)
    v = (H @ c[:, :, None])[..., 0]
    v_x = v @ x.T
    size = np.einsum("Bnd,nd->Bn", x @ H, x)
    flat, steep = flat_side(activation)[1:]
    squared = (x * x).sum(1)
    energy = (t * t) @ squared
    usable = (
        (t * t > flat * flat)
        & ~held
        & (size > 1e-12 * squared / np.maximum(energy, 1e-300)[:, None])
    )
    lost = np.where(usable, v_x**2 / np.where(usable, size, 1.0), np.inf)
    gain = squared * (steep**2 - flat**2)
    left = np.maximum(energy[:, None] - gain, 1e-12 * energy[:, None])
    predicted = np.where(usable, ((c * v).sum(1)[:, None] - lost) / left, -np.inf)
    chosen = np.argsort(-predicted, axis=1)[:, :TRIED]
    rows = np.arange(len(u))[:, None]
    weight = np.where(usable, v_x / np.where(usable, size, 1.0), 0.0)[rows, chosen]
    captured = v[:, None] - weight[:, :, None] * (x[chosen] @ H)
    hold = np.repeat(held[:, None], TRIED, 1)
    hold[rows, np.arange(chosen.shape[1]), chosen] = True
    length = np.linalg.norm(v, axis=1, keepdims=True)
    half = u + np.where(length > 0, v / np.where(length > 0, length, 1.0), 0.0)
    trial = np.concatenate([v[:, None], half[:, None], captured], 1)
    return trial, np.concatenate([held[:, None], held[:, None], hold], 1)


def _face_inverse(M, held, x):
    """The inverse of M on the face {<u, x_k> = 0, k held}, 0 across it, (B, d, d)."""
    H = np.zeros_like(M)
    for b in range(len(M)):
        basis = np.eye(M.shape[-1])
        if held[b].any():
            w, V = np.linalg.eigh(x[held[b]].T @ x[held[b]])
            basis = V[:, w <= 1e-10 * w[-1]]
        if basis.shape[1]:
            H[b] = basis @ np.linalg.pinv(basis.T @ M[b] @ basis, hermitian=True) @ basis.T
    return H


def face_neighbours(
    start: Neurons, x: np.ndarray, activation: Activation, rng: np.random.Generator, each: int
) -> Neurons:
    """Near each direction, `each` projections of it onto faces: a random 1 to d - 1 of the steep
    samples nearest to the kink are held on it, and the features change as little as possible.
    """
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    side, _, steep = flat_side(activation)
    d, found, weight = x.shape[1], [], []
    for u, sign, a in zip(start.directions, start.signs, start.side, strict=True):
        cosine = unit @ u / np.linalg.norm(u)
        t = np.where(sign > 0, activation.plus, -activation.minus)
        H = np.linalg.pinv((x * (t * t)[:, None]).T @ x, hermitian=True)
        near = np.flatnonzero((sign == -side) & (t == steep))
        near = near[np.argsort(np.abs(cosine[near]))][: 3 * d]
        for _ in range(each if d > 1 else 0):
            size = min(int(rng.integers(1, d)), len(near))
            if size == 0:
                continue
            pool = near[: int(rng.integers(size, len(near) + 1))]
            A = x[rng.choice(pool, size, replace=False)]
            v = u - H @ A.T @ np.linalg.lstsq(A @ H @ A.T, A @ u, rcond=None)[0]
            if np.linalg.norm(v) > 1e-6 * np.linalg.norm(u):
                found.append(v)
                weight.append(a)
    v = np.array(found).reshape(-1, d)
    z = v @ x.T / np.maximum(np.linalg.norm(v, axis=1), 1e-300)[:, None]
    z = np.where(np.abs(z) <= KINK * np.linalg.norm(x, axis=1), 0.0, z)
    signs = np.where(z == 0, side, np.sign(z)).astype(np.int8)
    return Neurons(v, signs, np.array(weight, dtype=int))
