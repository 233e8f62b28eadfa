r"""The cone of last layers that keep a labelling, and Newton's method inside it.

With homogenised features ``z = (phi, 1)`` a last layer is one matrix ``W`` of shape ``(K, d)``, and
"point ``z`` is strictly classified ``y``" is the open cone ``<w_y - w_k, z> > 0`` for all ``k !=
y``. A labelled set of points is therefore an intersection of half-spaces through the origin.
Everything here works on a batch of such systems that share the *common* labelled points (the
training policy) and differ in a few *own* labelled points (a probe with a class, or several).

For given own points we look for the deepest member by the barrier function

.. math:: f_\eta(W, t) &= \tfrac12\|W\|^2 - \eta t \\
          &- \sum_{common} \log\langle w_{y}-w_k, z\rangle \\
          &- \sum_{own} \log(\langle w_{c}-w_k, p\rangle - t),

minimised by damped Newton steps while ``eta`` grows.  Every iterate satisfies the common
constraints strictly, so every iterate is a witness for whatever it predicts elsewhere; ``t > 0``
means that the own constraints hold too.  The barrier multipliers ``1/slack`` point at the rows of a
refutation when none exists. The quadratic term fixes the scale of the cone and the common shift of
all ``w_k``.
"""

from collections.abc import Callable

import numpy as np

from flatness._internal.arguments import integer, integer_array, real_array
from flatness.feasibility.newton_systems import NewtonSystems

VISIBLE = 100.0  # the smallest slack of a sharp barrier is so many times its rounding
ETA_PER_ROW = 1000.0  # at the start, for each own row
BELOW = 0.03  # t starts so far below the smallest own slack
TOGETHER = 15  # systems assembled together: they should stay in the cache
FARTHEST = 0.99  # a step goes so far of the way to the nearest wall
BEND, BENDS = 0.6, 3  # multiples of Chebyshev's second-order term that are tried
STRETCH = 5.0  # a bent step grows so much at most


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
        self._columns = np.ascontiguousarray(self.points.T)
        self._own = slice(None), self.labels, np.arange(self.n)

    def slacks(self, layers: np.ndarray) -> np.ndarray:
        """``<w_{y_i} - w_k, z_i>`` for layers ``(B, K, d)``: shape ``(B, K, n)``, zero where ``k =
        y_i``.
        """
        logits = layers @ self._columns
        return np.subtract(logits[self._own][:, None], logits, out=logits)

    def multipliers(self, layers: np.ndarray) -> np.ndarray:
        """Barrier multipliers ``1 / slack``, zero where ``k = y_i``: shape ``(B, K, n)``."""
        slack = self.slacks(layers)
        slack[self._own] = np.inf
        return np.divide(1.0, slack, out=slack)

    def _gradient(self, lam: np.ndarray) -> np.ndarray:
        lam[self._own] = -lam.sum(1)  # for the moment: _flows of the common points, negative
        gradient = lam.reshape(len(lam) * self.num_classes, self.n) @ self.points
        lam[self._own] = 0.0
        return gradient.reshape(len(lam), self.num_classes, self.d)

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

    def centre(self, layer: np.ndarray, steps: int = 40) -> np.ndarray:
        """Minimiser of the barrier without own points, from a ``layer (K, d)`` strictly inside."""
        layers, size = layer[None], self.num_classes * self.d
        for _ in range(steps):
            lam = self.multipliers(layers)
            gradient = self._gradient(lam) + layers
            hessian = self._hessian(lam * lam)[0].transpose(0, 2, 1, 3).reshape(size, size)
            hessian[np.diag_indices(size)] += 1.0
            try:
                step = -np.linalg.solve(hessian, gradient.ravel()).reshape(layers.shape)
            except np.linalg.LinAlgError:  # slacks too unlike for floating point: stay here
                break
            reach = (-self.slacks(step) * lam).max()
            moved = layers + min(1.0, 0.95 / max(reach, 1e-300)) * step
            if not (self.slacks(moved) + self.own_class > 0).all():
                break
            layers = moved
            if -(gradient * step).sum() < 1e-6:
                break
        return layers[0]

    def push(
        self,
        layers: np.ndarray,
        own: np.ndarray,
        own_labels: np.ndarray,
        inspect: Callable[[np.ndarray, np.ndarray], np.ndarray],
        steps: int = 30,
    ) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`stream` of problems that all start at once, at ``layers (B, K, d)``. Returns the
        mask ``(B,)`` of the finished problems and everybody's last iterate ``(B, K, d)``.
        """
        waiting, final = [(np.arange(len(layers)), layers)], layers.copy()
        nobody = np.arange(0), layers[:0]

        def look(index, moved):
            final[index] = moved
            return inspect(index, moved)

        def enter(_):
            return waiting.pop() if waiting else nobody

        stuck = self.stream(enter, len(layers), own, own_labels, look, steps)
        finished = np.ones(len(layers), dtype=bool)
        finished[[number for number, _ in stuck]] = False
        return finished, final

    def stream(
        self,
        enter: Callable[[int], tuple[np.ndarray, np.ndarray]],
        width: int,
        own: np.ndarray,
        own_labels: np.ndarray,
        inspect: Callable[[np.ndarray, np.ndarray], np.ndarray],
        steps: int = 30,
    ) -> list[tuple[int, np.ndarray]]:
        """Newton steps on ``f_eta``, ``width`` problems at a time, each from its own start inside
        the cone; a problem that leaves makes room for the next.

        ``own (B, r, d)``, ``own_labels (B, r)``. ``enter(room)`` gives the numbers and the starts
        ``(., K, d)`` of at most ``room`` new problems. After each step ``inspect(index, layers)``
        gets the problems at work and their iterates and returns a mask of those that are finished.
        Returns the numbers and last iterates of those that were not within ``steps`` steps.
        """
        systems = NewtonSystems(self.points, self.members, self.num_classes, min(width, TOGETHER))
        index, age = np.arange(0), np.arange(0)
        layers, t, eta = np.empty((0, self.num_classes, self.d)), np.empty(0), np.empty(0)
        stuck: list[tuple[int, np.ndarray]] = []
        while True:
            new, starts = enter(width - len(index))
            if len(new):
                depth = _own_slacks(starts, own[new], own_labels[new])
                depth[np.arange(self.num_classes) == own_labels[new][..., None]] = np.inf
                level = depth.min((1, 2)) - BELOW
                index, age = np.append(index, new), np.append(age, np.zeros(len(new), dtype=int))
                layers, t = np.concatenate([layers, starts]), np.append(t, level)
                rows = own.shape[1] * (self.num_classes - 1)
                eta = np.append(eta, np.full(len(new), ETA_PER_ROW * rows))
            if not len(index):
                return stuck
            layers, t, progress = self._step(systems, layers, t, eta, own[index], own_labels[index])
            age, eta = age + 1, np.where(progress < 1.5, 10.0 * eta, eta)
            going = ~inspect(index, layers)
            over = going & ((age == steps) | (eta > _sharpest(layers, own[index])))
            stuck += [(int(b), layer) for b, layer in zip(index[over], layers[over], strict=True)]
            going &= ~over
            index, age, layers, t, eta = (v[going] for v in (index, age, layers, t, eta))

    def _step(self, systems, layers, t, eta, own, own_labels):
        """The layers and levels after one damped step, and the length of its straight part in the
        local norm."""
        parts = [
            self._part(
                systems, *(v[i : i + systems.width] for v in (layers, t, eta, own, own_labels))
            )
            for i in range(0, len(layers), systems.width)
        ]
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))

    def _part(self, systems, layers, t, eta, own, own_labels):
        is_label = np.arange(self.num_classes) == own_labels[..., None]
        lam = self.multipliers(layers)
        slack = _own_slacks(layers, own, own_labels) - t[:, None, None]
        slack[is_label] = np.inf
        mu = 1.0 / slack
        pull = mu * mu
        total = pull.sum((1, 2))
        # own rows: gradient, curvature, and the coupling of W with t, which is eliminated
        flows = _flows(pull, is_label)
        coupling = flows.transpose(0, 2, 1) @ own
        graph = _graphs(pull, flows, is_label)
        single = own.shape[1] == 1
        if single:
            graph -= flows[..., :, None] * (flows / total[:, None, None])[..., None, :]
        root = None if single else coupling / np.sqrt(total)[:, None, None]
        systems.factorise(lam, graph, own, root)

        def solve(gradient, gradient_t):
            step = systems.solve(-gradient - (gradient_t / total)[:, None, None] * coupling)
            step_t = ((coupling * step).sum((1, 2)) - gradient_t) / total
            own_pace = (_own_slacks(step, own, own_labels) - step_t[:, None, None]) * mu
            pace = self.slacks(step)
            pace *= lam
            return step, step_t, pace, own_pace

        def slope(lam, mu):
            return self._gradient(lam) - _flows(mu, is_label).transpose(0, 2, 1) @ own

        gradient, gradient_t = slope(lam, mu) + layers, mu.sum((1, 2)) - eta
        step, step_t, pace, own_pace = solve(gradient, gradient_t)
        decrement = np.sqrt(np.maximum(0.0, -(gradient * step).sum((1, 2)) - gradient_t * step_t))
        length = np.minimum(1.0, FARTHEST / np.maximum(_reach(pace, own_pace), 1e-300))
        walled = length < 1.0
        step, step_t = length[:, None, None] * step, length * step_t
        if walled.any():
            pace *= length[:, None, None]
            own_pace *= length[:, None, None]
            pull = mu * own_pace**2
            push = np.multiply(pace, pace)
            push *= lam
            curved = slope(push, pull), pull.sum((1, 2))
            bend, bend_t, *bend_paces = solve(*curved)
            beta, stretch = _bend(step_t, bend_t, (pace, own_pace), bend_paces)
            beta, stretch = np.where(walled, beta, 0.0), np.where(walled, stretch, 1.0)
            step = stretch[:, None, None] * (step + beta[:, None, None] * bend)
            step_t = stretch * (step_t + beta * bend_t)
        return layers + step, t + step_t, decrement * length


def _reach(*paces: np.ndarray) -> np.ndarray:
    """What part of the way to the nearest wall, of those ahead, a step ``(B, ., .)`` goes."""
    return -np.minimum.reduce([pace.min((1, 2), initial=0.0) for pace in paces])


def _bend(step_t, bend_t, paces, bend_paces) -> tuple[np.ndarray, np.ndarray]:
    """The coefficient among multiples of ``BEND`` with which the step, with ``bend`` added and then
    scaled to go nearly to the wall, lifts ``t`` most, and the scale. Overwrites the paces."""
    best = np.full(len(step_t), -np.inf)
    beta, stretch = np.zeros_like(best), np.zeros_like(best)
    for bent in bend_paces:
        bent *= BEND
    for value in BEND * np.arange(1, BENDS + 1):
        for pace, bent in zip(paces, bend_paces, strict=True):
            pace += bent
        scale = FARTHEST / np.maximum(_reach(*paces), FARTHEST / STRETCH)
        rise = scale * (step_t + value * bend_t)
        better = rise > best
        best[better], beta[better], stretch[better] = rise[better], value, scale[better]
    return beta, stretch


def _sharpest(layers: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The largest ``eta`` that float64 resolves, for each problem: its smallest own slack, about
    ``1 / eta``, against the rounding of a difference of two logits."""
    size = np.linalg.norm(layers, axis=-1).max(1) * np.linalg.norm(own, axis=-1).max(1)
    rounding = (layers.shape[-1] + 2) * 2.0**-52 * size
    return 1.0 / (VISIBLE * np.maximum(rounding, 1e-300))


def _own_slacks(layers: np.ndarray, own: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``<w_c - w_k, p>`` for layers ``(B, K, d)``, own points ``(B, r, d)``: ``(B, r, K)``."""
    logits = own @ layers.transpose(0, 2, 1)
    batch, r, classes = logits.shape
    label = labels.ravel() + classes * np.arange(batch * r)
    return logits.ravel()[label].reshape(batch, r, 1) - logits


def _flows(weights: np.ndarray, is_label: np.ndarray) -> np.ndarray:
    """``sum_k weights[k] (e_c - e_k)`` for each own point; ``weights`` is 0 at the label itself."""
    return is_label * weights.sum(-1, keepdims=True) - weights


def _graphs(pull: np.ndarray, flows: np.ndarray, is_label: np.ndarray) -> np.ndarray:
    """``sum_k pull[k] (e_c - e_k)(e_c - e_k)^T`` for each own point: ``(B, r, K, K)``."""
    graph = is_label[..., :, None] * flows[..., None, :]
    graph -= pull[..., :, None] * is_label[..., None, :]
    np.einsum("...kk->...k", graph)[...] += pull
    return graph
