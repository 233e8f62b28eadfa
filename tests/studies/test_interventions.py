"""Penalties against slow references, the steps against hand-written loops, and the plan's guard."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak.studies import interventions
from flat_or_weak.studies import interventions_penalties as penalties
from flat_or_weak.studies import interventions_plan as plan
from flat_or_weak.studies import interventions_reading as reading
from flat_or_weak.studies import interventions_training as training
from flat_or_weak.studies.interventions_penalties import PENALTIES, Batch, State
from flat_or_weak.studies.interventions_training import Arm, Coordinates, Stopping, train_arm
from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train
from flatness.symmetry.balancing import orbit_minimum

WIDTHS = [12, 7, 4, 3]


def small(members=3, n=9, others=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    networks = MLPEnsemble.from_seeds(WIDTHS, list(range(members)))
    networks = networks.map(lambda p: 2 * p)
    x = torch.rand(members, n, 12, generator=g, dtype=torch.float64)
    u = torch.rand(members, others, 12, generator=g, dtype=torch.float64)
    y = torch.randint(0, 3, (members, n), generator=g)
    return networks, Batch(x, y, u)


def state_of(networks):
    theta = list(networks.parameters().values())
    g = torch.Generator().manual_seed(5)
    other = [torch.randn(a.shape, generator=g, dtype=a.dtype) for a in theta]
    ones = [torch.ones_like(theta[1]), torch.ones_like(theta[3])]
    return State([a + 0.1 for a in theta], other, [0.01 * o for o in other], ones)


def logits(net, x):
    w1, b1, w2, b2, w3, b3 = (p[0] for p in net.parameters().values())
    h1 = torch.clamp(w1 @ x + b1, min=0)
    h2 = torch.clamp(w2 @ h1 + b2, min=0)
    return h2, w3 @ h2 + b3


def slow(name, net, x, y, u, state, m):
    """The penalty of one network, point by point, with dense matrices."""
    features = torch.stack([logits(net, point)[0] for point in x])
    theta = [p[0] for p in net.parameters().values()]
    if name == "effective_rank":
        gram = features.T @ features
        gram = gram / torch.trace(gram) * len(gram)
        return torch.logdet(gram + 0.01 * torch.eye(len(gram), dtype=gram.dtype))
    if name == "pair_proxy":
        one = torch.cat([features, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        gram = one.T @ one / len(x)
        gram = gram + 1e-3 * torch.trace(gram) / len(gram) * torch.eye(len(gram), dtype=x.dtype)
        inverse, values = torch.linalg.inv(gram), []
        for point in u:
            h = torch.cat([logits(net, point)[0], torch.ones(1, dtype=x.dtype)])
            values.append(torch.log(h @ inverse @ h))
        return torch.stack(values).mean()
    if name == "trace":
        return hessian_trace(net, x).total[0].log()
    if name == "orbit_trace":
        return orbit_minimum(net, x).value[0].log()
    if name == "noise_divergence":
        moved = sum(((p - s[m]) ** 2).sum() for p, s in zip(theta, state.start, strict=True))
        noisy = MLPEnsemble(
            [w + e[m] for w, e in zip(net.weights, state.noise[0::2], strict=True)],
            [b + e[m] for b, e in zip(net.biases, state.noise[1::2], strict=True)],
        )
        loss = torch.stack(
            [-torch.log_softmax(logits(noisy, a)[1], 0)[c] for a, c in zip(x, y, strict=True)]
        )
        return moved.log() + loss.mean().log()
    if name == "weight_norm":
        return torch.log(sum((p**2).sum() for p in theta))
    return sum(((p - c[m]) ** 2).sum() for p, c in zip(theta, state.centre, strict=True)) / 2


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_equal_slow_references(name):
    networks, batch = small()
    state = state_of(networks)
    for _ in range(200 if name == "orbit_trace" else 1):  # the sweeps go on from the last scales
        fast = PENALTIES[name](list(networks.parameters().values()), batch, state)
    for m in range(len(networks)):
        expected = slow(name, networks[m], batch.x[m], batch.y[m], batch.unlabelled[m], state, m)
        assert fast[m].item() == pytest.approx(expected.item(), rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_equal_finite_differences(name):
    networks, batch = small(members=2)
    state = state_of(networks)
    theta = list(networks.parameters().values())
    for _ in range(200):
        PENALTIES[name](theta, batch, state)
    g = torch.Generator().manual_seed(3)
    way = [torch.randn(a.shape, generator=g, dtype=a.dtype) for a in theta]
    found = training.penalty_gradient(theta, batch, name, state)
    along = sum((a * b).flatten(1).sum(1) for a, b in zip(found, way, strict=True))
    values = []
    for h in (1e-6, -1e-6):
        moved = [a + h * b for a, b in zip(theta, way, strict=True)]
        # the orbit minimum is minimised again at each point: the envelope theorem is what is tested
        for _ in range(200 if name == "orbit_trace" else 1):
            value = PENALTIES[name](moved, batch, state)
        values.append(value)
    assert torch.allclose(along, (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=1e-7)


def test_the_push_of_every_arm_has_one_length():
    networks, batch = small()
    theta, way = list(networks.parameters().values()), torch.tensor([0.5, 1.0, 2.0]).double()
    for name in PENALTIES:
        for dose in (0.1, -0.1):
            pushed = training.push(theta, batch, Arm(name, name, dose), state_of(networks), way)
            assert torch.allclose(training.norm(pushed), 0.1 * way)
    up, down = (
        training.push(theta, batch, Arm("t", "trace", d), state_of(networks), 1e-3 * way)
        for d in (-0.1, 0.1)
    )
    before = penalties.trace(theta, batch, state_of(networks))
    for pushed, sign in ((up, 1), (down, -1)):
        moved = [a - b for a, b in zip(theta, pushed, strict=True)]
        assert (sign * (penalties.trace(moved, batch, state_of(networks)) - before) > 0).all()


def test_a_flat_penalty_pushes_nowhere():
    networks, batch = small(members=2)
    dead = MLPEnsemble(networks.weights, [b - 100 * (i < 2) for i, b in enumerate(networks.biases)])
    theta = list(dead.parameters().values())
    pushed = training.push(
        theta, batch, Arm("r", "effective_rank", 0.1), state_of(dead), torch.ones(2).double()
    )
    assert all(torch.equal(p, torch.zeros_like(p)) for p in pushed)


def test_the_written_gradient_is_that_of_autograd():
    networks, batch = small()
    theta = [p.clone().requires_grad_() for p in networks.parameters().values()]
    outputs = penalties.forward(theta, batch.x)[4]
    expected = torch.autograd.grad(penalties.cross_entropy(outputs, batch.y).sum(), theta)
    for a, b in zip(training.loss_gradient(theta, batch), expected, strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize("method", ["sam", "asam"])
def test_sam_is_the_hand_written_step(method):
    networks, batch = small(members=2)
    theta = list(networks.parameters().values())
    found = training.gradient(theta, batch, Arm("s", method=method, radius=0.3))
    for m in range(2):
        blocks = [a[m].clone().requires_grad_() for a in theta]

        def loss(parts, m=m):
            one = MLPEnsemble([p[None] for p in parts[0::2]], [p[None] for p in parts[1::2]])
            return torch.nn.functional.cross_entropy(one(batch.x[m])[0], batch.y[m])

        g = torch.autograd.grad(loss(blocks), blocks)
        if method == "sam":
            size = [torch.ones_like(a) for a in g]
        else:
            size = [
                torch.linalg.vector_norm(b, dim=1, keepdim=True) if b.ndim == 2 else b.abs()
                for b in blocks
            ]
        length = torch.sqrt(sum(((t * a) ** 2).sum() for t, a in zip(size, g, strict=True)))
        there = [
            (b + 0.3 * t * t * a / length).detach().requires_grad_()
            for b, t, a in zip(blocks, size, g, strict=True)
        ]
        expected = torch.autograd.grad(loss(there), there)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a[m], b)


def setting(members=4, n=10, others=3):
    g = torch.Generator().manual_seed(1)
    images = torch.rand(2, n + others, 20, generator=g, dtype=torch.float64)
    y = torch.randint(0, 3, (2, n), generator=g)
    networks = MLPEnsemble.from_seeds([20, 7, 4, 3], list(range(members)))
    of = torch.arange(members) % 2
    return networks, images, y, of, Coordinates(networks, images, of)


def test_coordinates_keep_outputs_norms_and_come_back():
    networks, images, _, of, coordinates = setting()
    inside = coordinates.inside(networks)
    assert torch.allclose(inside(coordinates.x[of]), networks(images[of]))
    for a, b in zip(inside.weights, networks.weights, strict=True):
        assert torch.allclose(a.flatten(1).norm(dim=1), b.flatten(1).norm(dim=1))
        assert torch.allclose(a.norm(dim=2), b.norm(dim=2))
    for a, b in zip(coordinates.outside(inside).weights, networks.weights, strict=True):
        assert torch.allclose(a, b)


def test_the_base_arm_is_plain_training_of_each_split():
    networks, images, y, of, coordinates = setting()
    stopping = Stopping(loss=0.7, max_epochs=300, check_every=3, batch_size=4)
    found = train_arm(networks, coordinates, y, Arm("base"), stopping, [0, 1, 2, 3])
    sgd = SGD(4, 0.1, 300, check_every=3, stop_loss=0.7)
    for split in (0, 1):
        members = [m for m in range(4) if m % 2 == split]
        x = images[split, :10]
        expected = train(networks[members], x, y[split], sgd, order_generators(members))
        assert found.epochs[members].tolist() == expected.epochs.tolist()
        assert torch.allclose(found.loss[members], expected.loss)
        outputs = found.networks[members](images[split])
        assert torch.allclose(outputs, expected.networks(images[split]), atol=1e-9)


@pytest.mark.parametrize(
    "arm", [Arm("n", "noise_divergence", 0.1), Arm("p", "pair_proxy", -0.1), Arm("s", "sham", 0.1)]
)
def test_a_network_is_the_same_alone_and_in_company(arm):
    networks, images, y, of, coordinates = setting()
    stopping = Stopping(loss=0.7, max_epochs=60, batch_size=4)
    together = train_arm(networks, coordinates, y, arm, stopping, [0, 1, 2, 3])
    alone = train_arm(
        networks[[2]], Coordinates(networks[[2]], images, of[[2]]), y, arm, stopping, [2]
    )
    assert alone.epochs[0] == together.epochs[2]
    for a, b in zip(alone.networks.weights, together.networks.weights, strict=True):
        assert torch.allclose(a[0], b[2], atol=1e-9)


def test_unfitted_and_diverged_networks_are_marked():
    networks, _, y, _, coordinates = setting()
    stopping = Stopping(loss=1e-9, max_epochs=4, batch_size=4)
    late = train_arm(networks, coordinates, y, Arm("base"), stopping, [0, 1, 2, 3])
    assert (late.epochs == 4).all() and (late.loss > 1e-9).all() and not late.diverged.any()
    wild = train_arm(networks, coordinates, y, Arm("wild", lr=1e200), stopping, [0, 1, 2, 3])
    assert wild.diverged.all() and (wild.loss == float("inf")).all()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"penalty": "luck", "dose": 0.1}, "penalty"),
        ({"penalty": "trace"}, "dose"),
        ({"dose": 0.1}, "dose"),
        ({"penalty": "trace", "dose": 1.0}, "dose"),
        ({"method": "adam"}, "method"),
        ({"method": "sam"}, "radius"),
        ({"radius": 0.1}, "radius"),
        ({"lr": 0.0}, "lr"),
    ],
)
def test_arms_that_are_none(fields, named):
    with pytest.raises(ValueError, match=named):
        Arm("x", **fields)


# ---- the plan and the study


def test_the_study_refuses_another_plan(monkeypatch):
    config = interventions.InterventionsConfig()
    interventions.check_plan(config, plan)
    with pytest.raises(ValueError, match="plan"):
        interventions.units(dataclasses.replace(config, plan="0" * 64))
    monkeypatch.setattr(plan, "fingerprint", lambda: "f" * 64)
    with pytest.raises(ValueError, match="plan"):
        interventions.units(config)
    with pytest.raises(ValueError, match="plan"):
        interventions.compute(config, None, None, data="mnist", seeds=[0])


def test_units_are_blocks_of_seeds_of_all_splits():
    both = {"data": ("mnist", "fashion-mnist"), "first_seed": 4, "seeds": 5}
    config = dataclasses.replace(interventions.InterventionsConfig(), **both)
    found = interventions.units(config)
    assert [u["seeds"] for u in found if u["data"] == "mnist"] == [[4, 5], [6, 7], [8]]
    assert [u["data"] for u in found[:2]] == ["mnist", "fashion-mnist"]


def test_a_tiny_study():
    config = dataclasses.replace(
        interventions.InterventionsConfig(),
        data=("mnist",),
        splits=1,
        n=100,
        probes=4,
        counted=1,
        noised=1,
        arms=(Arm("base"), Arm("rank up", "effective_rank", -0.1), Arm("wild", lr=1e30)),
        stopping=Stopping(loss=0.3, max_epochs=60),
        first_split=42,
    )
    try:
        table = interventions.compute(config, None, None, data="mnist", seeds=[0, 1])
    except FileNotFoundError:
        pytest.skip("needs the full data set")
    assert table["arm"].tolist() == ["base"] * 2 + ["rank up"] * 2 + ["wild"] * 2
    wild, rest = table[table.arm == "wild"], table[table.arm != "wild"]
    assert not wild.fitted.any() and wild.test_accuracy.isna().all()
    assert rest.test_accuracy.between(0.1, 1).all() and (rest.train_loss <= 0.3).equals(rest.fitted)
    assert rest.pair_proxy.notna().tolist() == [True, False] * 2
    rulers = ["trace", "orbit_trace", "effective_rank", "weight_norm"]
    assert np.isfinite(rest[rulers].to_numpy()).all()
    summary = interventions.summarise(config, table)
    assert summary["mnist: wild"] == [0, 2]


def test_the_largest_sham_that_fits():
    """The plan's sham where it fitted; else the largest smaller one; none where none did."""
    rows = [("sham", 10), ("sham, half", 10), ("sham, quarter", 10), ("base", 10)]

    def table(lost):
        return pd.concat(
            pd.DataFrame({"arm": arm, "fitted": np.arange(n) >= lost.get(arm, 0)})
            for arm, n in rows
        )

    assert reading.fitted_sham(table({})) == "sham"
    assert reading.fitted_sham(table({"sham": 1})) == "sham"
    assert reading.fitted_sham(table({"sham": 2})) == "sham, half"
    assert reading.fitted_sham(table({"sham": 10, "sham, half": 2})) == "sham, quarter"
    assert reading.fitted_sham(table({arm: 2 for arm, _ in rows})) is None
