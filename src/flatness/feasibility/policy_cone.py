r"""The cone of last layers that keep a labelling, and Newton's method inside it.

With homogenised features ``z = (phi, 1)`` a last layer is one matrix ``W`` of shape ``(K, d)``, and
"point ``z`` is strictly classified ``y``" is the open cone ``<w_y - w_k, z> > 0`` for all ``k !=
y``. A labelled set of points is therefore an intersection of half-spaces through the origin.
Everything here works on a batch of such systems that share the *common* labelled points (the
training policy) and differ in a few *own* labelled points (a probe with a class, or several).

For given own points we look for the deepest member by the barrier function

.. math:: f_\eta(W, t) = \tfrac12\|W\|^2 - \eta t - \sum_{common} \log\langle w_{y}-w_k, z\rangle
          - \sum_{own} \log(\langle w_{c}-w_k, p\rangle - t),

minimised by damped Newton steps while ``eta`` grows.  Every iterate satisfies the common
constraints strictly, so every iterate is a witness for whatever it predicts elsewhere; ``t > 0``
means that the own constraints hold too.  The barrier multipliers ``1/slack`` point at the rows of a
refutation when none exists. The quadratic term fixes the scale of the cone and the common shift of
all ``w_k``.
"""

from collections.abc import Callable

import numpy as np

from flatness._internal.arguments import integer, integer_array, real_array

ETA_MAX = 1e13  # beyond it the barrier is as sharp as float64 lets it be


class PolicyCone:
    """Layers ``(K, d)`` that strictly classify the common points ``(n, d)`` by ``labels (n,)``.

    The points are kept sorted by class (``order`` undoes it), because the Hessian of the barrier is
    assembled class by class: for weights ``a[i, k]`` on row ``(i, k)`` its blocks are ``-(G[j, k] +
    G[k, j])`` off the diagonal, with ``G[j, k] = sum over i in class j of a[i, k] z_i z_i^T``.
    """

    def __init__(self, points: np.ndarray, labels: np.ndarray, num_classes: int):
        integer("num_classes", num_classes, 2)
        real_array("points", points)
        if (
            np.ndim(points) != 2
            or integer_array("labels", labels, 0, num_classes - 1).shape != points.shape[:1]
        ):
            raise ValueError(
                f"points, labels: expected shapes (n, d) and (n,), got {np.shape(points)} and "
                f"{np.shape(labels)}"
            )
        if float(np.abs(points).max(initial=0.0)) > 1e150:
            raise ValueError(
                f"points: expected numbers whose squares are finite, got one of size "
                f"{np.abs(points).max():.0e}"
            )
        self.order = np.argsort(labels, kind="stable")
        self.points, self.labels, self.num_classes = (
            points[self.order],
            labels[self.order],
            num_classes,
        )
        self.n, self.d = points.shape
        starts = np.searchsorted(self.labels, np.arange(num_classes + 1))
        self.members = [slice(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
        self.own_class = (np.arange(num_classes)[:, None] == self.labels).astype(float)
        self._squares = (self.points[:, :, None] * self.points[:, None]).reshape(self.n, self.d**2)

    def slacks(self, layers: np.ndarray) -> np.ndarray:
        """``<w_{y_i} - w_k, z_i>`` for layers ``(B, K, d)``: shape ``(B, K, n)``, zero where ``k =
        y_i``.
        """
        logits = layers @ self.points.T
        return logits[:, self.labels, np.arange(self.n)][:, None, :] - logits

    def multipliers(self, layers: np.ndarray) -> np.ndarray:
        """Barrier multipliers ``1 / slack``, zero where ``k = y_i``: shape ``(B, K, n)``."""
        return (1 - self.own_class) / (self.slacks(layers) + self.own_class)

    def _gradient(self, lam: np.ndarray) -> np.ndarray:
        return (lam - self.own_class * lam.sum(1, keepdims=True)) @ self.points

    def _hessian(self, curvature: np.ndarray) -> np.ndarray:
        batch, classes, d = len(curvature), self.num_classes, self.d
        grams = np.empty((batch, classes, classes, d * d))
        for j, members in enumerate(self.members):
            weights = curvature[:, :, members].reshape(
                batch * classes, members.stop - members.start
            )
            grams[:, j] = (weights @ self._squares[members]).reshape(batch, classes, -1)
        hessian = -(grams + grams.transpose(0, 2, 1, 3))
        diagonal = np.arange(classes)
        hessian[:, diagonal, diagonal] = grams.sum(1) + grams.sum(2)
        return hessian.reshape(batch, classes, classes, d, d)

    def _solve(self, hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        free, size = (
            self.num_classes - 1,
            (self.num_classes - 1) * self.d,
        )  # a common shift is no change: fix w_K
        flat = np.ascontiguousarray(hessian[:, :free, :free].transpose(0, 1, 3, 2, 4)).reshape(
            -1, size, size
        )
        diagonal = flat.reshape(len(flat), -1)[:, :: size + 1]
        diagonal *= 1 + 1e-13  # keeps the factorisation regular when slacks are tiny
        diagonal += 1.0
        step = np.zeros_like(gradient)
        target = gradient[:, :free].reshape(-1, size, 1)
        try:
            solution = np.linalg.solve(flat, target)
        except np.linalg.LinAlgError:  # one of them is singular to rounding: no step for that one
            solution = np.stack([_solution(*system) for system in zip(flat, target, strict=True)])
        step[:, :free] = -solution.reshape(-1, free, self.d)
        return step

    def centre(self, layer: np.ndarray, steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
        """Minimiser of the barrier without own points, and the inverse Hessian there.

        ``layer (K, d)`` must be strictly inside.  Returns ``(K, d)`` and ``(K, d, K, d)``.
        """
        layers, size = layer[None], self.num_classes * self.d
        inverse = np.eye(size)
        for _ in range(steps):
            lam = self.multipliers(layers)
            gradient = self._gradient(lam) + layers
            hessian = self._hessian(lam * lam)[0].transpose(0, 2, 1, 3).reshape(size, size)
            try:
                inverse = np.linalg.inv(hessian + np.eye(size))
            except np.linalg.LinAlgError:  # slacks too unlike for floating point: stay here
                break
            step = -(inverse @ gradient.ravel()).reshape(layers.shape)
            reach = (-self.slacks(step) * lam).max()
            moved = layers + min(1.0, 0.95 / max(reach, 1e-300)) * step
            if not (self.slacks(moved) + self.own_class > 0).all():
                break
            layers = moved
            if -(gradient * step).sum() < 1e-6:
                break
        return layers[0], inverse.reshape(self.num_classes, self.d, self.num_classes, self.d)

    def rays(self, centre: np.ndarray, inverse: np.ndarray, probes: np.ndarray) -> np.ndarray:
        """From the centre, for every probe and class, the farthest member along the ray that raises
        that logit.

        The direction is the Newton direction ``H^{-1} (e_c (x) p)``; shape ``(q * K, K, d)``.
        """
        directions = np.einsum("kdce,qe->qckd", inverse, probes).reshape(
            -1, self.num_classes, self.d
        )
        reach = (-self.slacks(directions) * self.multipliers(centre[None])).max((1, 2))
        return centre + (0.98 / np.maximum(reach, 1e-3))[:, None, None] * directions

    def push(
        self,
        layers: np.ndarray,
        own: np.ndarray,
        own_labels: np.ndarray,
        inspect: Callable[[np.ndarray, np.ndarray], np.ndarray],
        steps: int = 30,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Newton steps on ``f_eta`` for a batch, each from its own start inside the cone.

        ``layers (B, K, d)``, ``own (B, r, d)``, ``own_labels (B, r)``.  After each step
        ``inspect(index, layers)`` gets the surviving problems' numbers and iterates and returns a
        mask of those that are finished. Returns the mask ``(B,)`` of the finished problems and
        everybody's last iterate ``(B, K, d)``.
        """
        index, finished, final = (
            np.arange(len(layers)),
            np.zeros(len(layers), dtype=bool),
            layers.copy(),
        )
        is_label = np.arange(self.num_classes) == own_labels[..., None]
        rivals = ~is_label
        t = np.where(rivals, _own_slacks(layers, own, own_labels), np.inf).min((1, 2)) - 0.1
        eta = np.full(len(layers), 100.0 * own.shape[1] * (self.num_classes - 1))
        for _ in range(steps):
            lam = self.multipliers(layers)
            slack = _own_slacks(layers, own, own_labels) - t[:, None, None]
            mu = rivals / np.where(rivals, slack, 1.0)
            pull = mu * mu
            total = pull.sum((1, 2))
            # own rows: gradient, curvature, and the coupling of W with t, which is eliminated
            coupling = _flows(pull, is_label).transpose(0, 2, 1) @ own
            gradient_t = mu.sum((1, 2)) - eta
            gradient = self._gradient(lam) + layers - _flows(mu, is_label).transpose(0, 2, 1) @ own
            hessian = self._hessian(lam * lam)
            hessian += _own_curvature(pull, own, own_labels)
            hessian -= (
                coupling[:, :, None, :, None]
                * (coupling / total[:, None, None])[:, None, :, None, :]
            )
            step = self._solve(hessian, gradient + (gradient_t / total)[:, None, None] * coupling)
            step_t = ((coupling * step).sum((1, 2)) - gradient_t) / total
            decrement = np.sqrt(
                np.maximum(0.0, -(gradient * step).sum((1, 2)) - gradient_t * step_t)
            )
            own_step = _own_slacks(step, own, own_labels) - step_t[:, None, None]
            reach = np.maximum(
                (-self.slacks(step) * lam).max((1, 2), initial=0.0), (-own_step * mu).max((1, 2))
            )
            length = np.minimum(1.0, 0.95 / np.maximum(reach, 1e-300))
            layers = layers + length[:, None, None] * step
            t = t + length * step_t
            eta = np.where(decrement * length < 1.5, 10.0 * eta, eta)
            final[index] = layers
            finished[index] = inspect(index, layers)
            going = ~finished[index] & (eta <= ETA_MAX)
            index, layers, t, eta = index[going], layers[going], t[going], eta[going]
            own, own_labels, is_label, rivals = (
                own[going],
                own_labels[going],
                is_label[going],
                rivals[going],
            )
            if not len(index):
                break
        return finished, final


def _solution(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, target)
    except np.linalg.LinAlgError:
        return np.zeros_like(target)


def _own_slacks(layers: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``<w_c - w_k, p>`` for layers ``(B, K, d)``, own points ``(B, r, d)``: ``(B, r, K)``."""
    logits = own @ layers.transpose(0, 2, 1)
    return np.take_along_axis(logits, labels[..., None], -1) - logits


def _flows(weights: np.ndarray, is_label: np.ndarray) -> np.ndarray:
    """``sum_k weights[k] (e_c - e_k)`` for each own point; ``weights`` is 0 at the label itself."""
    return is_label * weights.sum(-1, keepdims=True) - weights


def _own_curvature(pull: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``sum over own rows of pull (e_c - e_k)(e_c - e_k)^T (x) p p^T``: ``(B, K, K, d, d)``."""
    batch, r, classes = pull.shape
    d = own.shape[-1]
    graph = np.zeros((batch, r, classes, classes))
    b, s, k = np.ogrid[:batch, :r, :classes]
    graph[b, s, k, k] = pull
    graph[b, s, labels[..., None], k] -= pull
    graph[b, s, k, labels[..., None]] -= pull
    graph[b[..., 0], s[..., 0], labels, labels] = pull.sum(-1)
    squares = (own[..., :, None] * own[..., None, :]).reshape(batch, r, d * d)
    return (graph.reshape(batch, r, -1).transpose(0, 2, 1) @ squares).reshape(
        batch, classes, classes, d, d
    )
