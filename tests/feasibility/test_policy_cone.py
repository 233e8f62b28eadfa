"""The cone's coordinates, barrier, centre and Newton steps against slow references: loops,
autograd, a quadratic program.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from flatness.feasibility import policy_cone
from flatness.feasibility.newton_systems import NewtonSystems, _factor, _solution
from flatness.feasibility.policy_cone import PolicyCone
from flatness.feasibility.whitening import homogenise, whiten

CLASSES, D = 3, 4


def problem(seed=0, n=7, own=2, n_batch=3):
    """A cone, layers strictly inside it, and own points with labels, all random."""
    rng = np.random.default_rng(seed)
    truth, points = rng.standard_normal((CLASSES, D)), rng.standard_normal((n, D))
    cone = PolicyCone(points, (points @ truth.T).argmax(1), CLASSES)
    return (
        cone,
        truth,
        rng.standard_normal((n_batch, own, D)),
        rng.integers(0, CLASSES, (n_batch, own)),
    )


def barrier(cone, layer, own=(), own_labels=(), t=0.0, eta=0.0):
    """|W|^2 / 2 - eta t - sum log <w_y - w_k, z> - sum log (<w_c - w_k, p> - t), row by row."""
    value = layer.square().sum() / 2 - eta * t
    for points, labels, level in ((cone.points, cone.labels, 0.0), (own, own_labels, t)):
        for z, y in zip(points, labels, strict=True):
            for k in set(range(cone.num_classes)) - {int(y)}:
                value = value - torch.log((layer[y] - layer[k]) @ torch.as_tensor(z) - level)
    return value


def gradient_and_hessian(function, *at):
    flat = torch.cat([torch.as_tensor(a, dtype=torch.float64).flatten() for a in at])
    gradient = torch.autograd.functional.jacobian(function, flat).numpy()
    return gradient, torch.autograd.functional.hessian(function, flat).numpy()


def test_homogenised_features_end_in_one():
    assert homogenise(np.arange(6.0).reshape(1, 3, 2)).tolist() == [
        [[0, 1, 1], [2, 3, 1], [4, 5, 1]]
    ]
    assert homogenise(np.array([2.0])).tolist() == [2, 1]
    with pytest.raises(ValueError, match=r"^features: expected shape \(..., D\), got a number$"):
        homogenise(np.array(1.0))


@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1e9, 1, 1e-9, 3]])
def test_whitened_rows_have_the_identity_as_gram_matrix(scales):
    """Whatever the units of the features; a dead one and the second of two equal ones disappear."""
    stacked = np.random.default_rng(0).standard_normal((9, 4)) * scales
    stacked = np.column_stack([stacked, np.zeros(9), stacked[:, 1]])
    rows, lengths, transform = whiten(stacked)
    assert rows.shape == (9, 4) and transform.shape == (4, 6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(rows * lengths[:, None], stacked @ transform.T, rtol=1e-12)
    np.testing.assert_allclose(
        (rows * lengths[:, None]).T @ (rows * lengths[:, None]), np.eye(4), atol=1e-10
    )
    assert (transform[:, 4] == 0).all()
    with pytest.raises(ValueError, match="^stacked: expected a row other than zero$"):
        whiten(np.zeros((3, 2)))


def test_slacks_and_multipliers():
    cone, truth, *_ = problem()
    assert np.sort(cone.order).tolist() == list(range(7)) and (np.diff(cone.labels) >= 0).all()
    slacks, multipliers = cone.slacks(truth[None])[0], cone.multipliers(truth[None])[0]
    for i, (z, y) in enumerate(zip(cone.points, cone.labels, strict=True)):
        for k in range(CLASSES):
            assert slacks[k, i] == pytest.approx((truth[y] - truth[k]) @ z, abs=1e-14)
            assert multipliers[k, i] == (0 if k == y else pytest.approx(1 / slacks[k, i]))


def test_equal_labels_keep_their_order():
    labels = np.random.default_rng(0).integers(0, 2, 200)
    order = PolicyCone(np.ones((200, 1)), labels, 2).order
    assert order.tolist() == [*np.flatnonzero(labels == 0), *np.flatnonzero(labels == 1)]


def test_derivatives_of_the_barrier_are_those_of_autograd():
    cone, truth, *_ = problem()
    gradient, hessian = gradient_and_hessian(lambda w: barrier(cone, w.reshape(CLASSES, D)), truth)
    lam = cone.multipliers(truth[None])
    np.testing.assert_allclose((cone._gradient(lam)[0] + truth).ravel(), gradient, rtol=1e-10)
    ours = cone._hessian(lam * lam)[0].transpose(0, 2, 1, 3).reshape(CLASSES * D, -1) + np.eye(
        CLASSES * D
    )
    np.testing.assert_allclose(ours, hessian, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_centre_minimises_the_barrier(scale):
    cone, truth, *_ = problem()
    centre = cone.centre(scale * truth)
    gradient, hessian = gradient_and_hessian(lambda w: barrier(cone, w.reshape(CLASSES, D)), centre)
    assert cone.slacks(centre[None]).min() >= 0 and np.abs(gradient).max() < 1e-3
    decrement = gradient @ np.linalg.solve(hessian, gradient)
    assert decrement < 1e-6  # twice the distance of the value from its minimum


@pytest.mark.parametrize("own_points", [1, 2])
def test_one_step_is_newtons_and_bends_at_a_wall(own_points):
    """On the layers but the last and t together, from t just below the smallest own slack and eta
    in proportion to the own rows.
    """
    bent = 0
    cone, truth, own, own_labels = problem(own=own_points)
    free = (CLASSES - 1) * D
    _, final = cone.push(
        np.tile(truth, (3, 1, 1)),
        own,
        own_labels,
        lambda index, layers: np.zeros(len(index), dtype=bool),
        steps=1,
    )
    for b in range(3):
        slack = [
            (truth[c] - truth[k]) @ p
            for p, c in zip(own[b], own_labels[b], strict=True)
            for k in range(CLASSES)
            if k != c
        ]
        t, eta = min(slack) - policy_cone.BELOW, policy_cone.ETA_PER_ROW * len(slack)

        def value(v, b=b, eta=eta):
            layer = torch.cat([v[:free], torch.as_tensor(truth[-1])]).reshape(CLASSES, D)
            return barrier(cone, layer, own[b], own_labels[b].tolist(), v[free], eta)

        at = np.append(truth[:-1].ravel(), t)
        gradient, hessian = gradient_and_hessian(value, at)
        step = -np.linalg.solve(hessian, gradient)

        def ratios(step, b=b, t=t):
            """By what part of itself each slack changes."""
            full = np.append(step[:free], np.zeros(D)).reshape(CLASSES, D)
            common = [
                ((full[y] - full[k]) @ z) / ((truth[y] - truth[k]) @ z)
                for z, y in zip(cone.points, cone.labels, strict=True)
                for k in set(range(CLASSES)) - {int(y)}
            ]
            return common + [
                ((full[c] - full[k]) @ p - step[free]) / ((truth[c] - truth[k]) @ p - t)
                for p, c in zip(own[b], own_labels[b], strict=True)
                for k in set(range(CLASSES)) - {int(c)}
            ]

        reach = -min(ratios(step))
        if reach > policy_cone.FARTHEST:  # Chebyshev's curve, by the third derivative
            step *= policy_cone.FARTHEST / reach
            ahead, behind = (gradient_and_hessian(value, at + h * step)[1] for h in (1e-4, -1e-4))
            bend = -np.linalg.solve(hessian, (ahead - behind) @ step / 2e-4) / 2
            curves = [step + policy_cone.BEND * m * bend for m in range(1, policy_cone.BENDS + 1)]
            most = policy_cone.FARTHEST / policy_cone.STRETCH
            curves = [c * policy_cone.FARTHEST / max(-min(ratios(c)), most) for c in curves]
            step = max(curves, key=lambda c: c[free])
            bent += 1
        full = np.append(step[:free], np.zeros(D)).reshape(CLASSES, D)
        np.testing.assert_allclose(final[b], truth + full, rtol=1e-6, atol=1e-6)
    assert bent > 0


@pytest.mark.parametrize("seed", range(4))
def test_newton_finds_the_deepest_layer(seed):
    """The direction with the largest own margin for its length: a quadratic program, by a general
    solver.
    """
    cone, truth, own, _ = problem(seed, own=2, n_batch=1)
    own_labels = (own[0] @ truth.T).argmax(1)[None]
    seen = []

    def inspect(index, layers):
        seen.append(layers)
        return np.zeros(len(index), dtype=bool)

    finished, final = cone.push(truth[None], own, own_labels, inspect)
    assert not finished.any() and len(seen) > 10 and (final == seen[-1]).all()
    others = np.arange(CLASSES)[:, None] != cone.labels
    assert all((cone.slacks(layers)[:, others] > 0).all() for layers in seen)

    def own_slacks(w):
        layer = w.reshape(CLASSES, D)
        return np.array(
            [
                (layer[c] - layer[k]) @ p
                for p, c in zip(own[0], own_labels[0], strict=True)
                for k in range(CLASSES)
                if k != c
            ]
        )

    start = truth.ravel() / own_slacks(truth).min()
    best = minimize(
        lambda w: w @ w / 2,
        start,
        jac=lambda w: w,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
        constraints=[
            {"type": "ineq", "fun": lambda w: own_slacks(w) - 1},
            {"type": "ineq", "fun": lambda w: cone.slacks(w.reshape(1, CLASSES, D))[0][others]},
        ],
    )
    assert best.success
    shifted = [layers[0] - layers[0].mean(0) for layers in seen]
    depth = [own_slacks(layer).min() / np.linalg.norm(layer) for layer in shifted]
    deepest = 1 / np.linalg.norm(best.x)
    assert depth[-1] == pytest.approx(deepest, rel=5e-3)


@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("feasible", [True, False])
def test_the_barrier_stops_where_float64_sees_no_slack(scale, feasible):
    """However many steps are allowed: no division by zero, and every layer is inside the cone."""
    for seed in range(4):
        cone, truth, own, _ = problem(seed)
        logits = own @ truth.T
        own_labels = logits.argmax(2) if feasible else logits.argmin(2)
        others = np.arange(CLASSES)[:, None] != cone.labels

        def inspect(index, layers, cone=cone, others=others):
            assert np.isfinite(layers).all() and (cone.slacks(layers)[:, others] > 0).all()
            return np.zeros(len(index), dtype=bool)

        with np.errstate(divide="raise", invalid="raise", over="raise"):
            starts = np.tile(scale * truth, (3, 1, 1))
            finished, _ = cone.push(starts, own, own_labels, inspect, steps=100)
        assert not finished.any()


def test_problems_leave_when_they_are_finished():
    cone, truth, own, own_labels = problem()
    asked = []

    def inspect(index, layers):
        asked.append(index.tolist())
        return (index == 1) if len(asked) < 3 else index >= 0

    finished, _ = cone.push(np.tile(truth, (3, 1, 1)), own, own_labels, inspect)
    assert finished.tolist() == [True] * 3 and asked == [[0, 1, 2], [0, 2], [0, 2]]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_problems_enter_as_others_leave(width):
    """Five problems that leave after their number of steps plus one: never more than ``width`` at
    work, each looked at that often, and the two that never leave are stuck.
    """
    cone, truth, own, own_labels = problem(n_batch=5)
    waiting, looks = list(range(5)), [0] * 5

    def enter(room):
        new = np.array([waiting.pop(0) for _ in range(min(room, len(waiting)))], dtype=int)
        return new, np.tile(truth, (len(new), 1, 1))

    def inspect(index, layers):
        assert len(index) == len(layers) <= width
        for b in index:
            looks[b] += 1
        return np.array([looks[b] > b and b < 3 for b in index])

    stuck = cone.stream(enter, width, own, own_labels, inspect, steps=7)
    assert looks == [1, 2, 3, 7, 7] and sorted(b for b, _ in stuck) == [3, 4]
    alone = cone.push(np.tile(truth, (5, 1, 1)), own, own_labels, lambda i, _: i < 0, steps=7)[1]
    for b, layer in stuck:
        np.testing.assert_allclose(layer, alone[b], rtol=1e-6)


@pytest.mark.parametrize("own_points", [1, 3])
@pytest.mark.parametrize("coupled", [False, True])
def test_newtons_systems_are_the_dense_ones(own_points, coupled):
    """Five systems, two at a time, against the Hessian written out row by row."""
    rng = np.random.default_rng(0)
    cone, *_ = problem(n=12)
    systems = NewtonSystems(cone.points, cone.members, CLASSES, width=2)
    others = np.arange(CLASSES)[:, None] != cone.labels
    curvature = rng.random((5, CLASSES, cone.n)) * others
    own, roots = rng.standard_normal((5, own_points, D)), rng.random((5, own_points, CLASSES, 2))
    graph = roots @ roots.transpose(0, 1, 3, 2)
    coupling = 0.1 * rng.standard_normal((5, CLASSES, D)) if coupled else None
    target = rng.standard_normal((5, CLASSES, D))
    steps = np.empty_like(target)
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        coupled_part = None if coupling is None else coupling[part]
        systems.factorise(np.sqrt(curvature[part]), graph[part], own[part], coupled_part)
        steps[part] = systems.solve(target[part])
        np.testing.assert_array_equal(systems.solve(target[part]), steps[part])
    free = (CLASSES - 1) * D
    for b in range(5):
        dense = np.eye(CLASSES * D)
        for k, i in np.argwhere(others):
            row = np.zeros((CLASSES, D))
            row[cone.labels[i]], row[k] = cone.points[i], -cone.points[i]
            dense += curvature[b, k, i] * np.outer(row, row)
        for s in range(own_points):
            dense += np.kron(graph[b, s], np.outer(own[b, s], own[b, s]))
        if coupling is not None:
            dense -= np.outer(coupling[b], coupling[b])
        expected = np.linalg.solve(dense[:free, :free], target[b].ravel()[:free])
        np.testing.assert_allclose(steps[b].ravel()[:free], expected, rtol=1e-9, atol=1e-12)
        assert not steps[b, -1].any()


def test_what_cholesky_refuses_is_eliminated_and_a_singular_system_has_no_step():
    indefinite = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 3.0], [0.0, 3.0, -5.0]])
    expected = np.linalg.solve(indefinite, np.ones(3))
    for _ in range(2):
        factor = _factor(indefinite.copy())
        np.testing.assert_allclose(_solution(factor, np.ones(3)), expected, rtol=1e-12)
    assert not _solution(_factor(np.zeros((2, 2))), np.ones(2)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "^num_classes: expected an integer >= 2"),
        ({"points": [["a"]]}, "^points: expected"),
        (
            {"points": np.ones(3)},
            r"^points, labels: expected shapes \(n, d\) and \(n,\), got \(3,\) and \(3,\)$",
        ),
        (
            {"labels": np.zeros(2, int)},
            r"^points, labels: expected shapes \(n, d\) and \(n,\), got \(3, 2\) and \(2,\)$",
        ),
        ({"labels": np.array([0, 1, 2])}, "^labels: expected integers"),
        ({"labels": np.array([0, -1, 1])}, "^labels: expected integers"),
        (
            {"points": np.full((3, 2), 2e150)},
            r"^points: expected numbers whose squares are finite, got one of size 2e\+150$",
        ),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PolicyCone(
            **{"points": np.ones((3, 2)), "labels": np.array([0, 1, 1]), "num_classes": 2} | change
        )
