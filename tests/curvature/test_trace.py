import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import short_and_long

from flatness.curvature import trace as curvature
from flatness.curvature.output_hessian import output_factor
from flatness.curvature.trace import (
    _chunk_sizes,
    _is_narrow,
    hessian_trace,
    hutchinson_trace,
    mean_loss,
)
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train


def dense_block_traces(net, x, y, loss):
    """Trace of every diagonal block of the dense autograd Hessian of one network, in float64."""
    blocks = [block.detach() for block in net.parameters().values()]
    step = 1 if net.biases is None else 2

    def total(*parts):
        return mean_loss(
            MLPEnsemble(list(parts[0::step]), None if step == 1 else list(parts[1::2])), x, y, loss
        ).sum()

    hessian = torch.autograd.functional.hessian(total, tuple(blocks))
    return {
        name: hessian[i][i].reshape(blocks[i].numel(), -1).trace()
        for i, name in enumerate(net.parameters())
    }


def problem(seed, loss, n=6, widths=(5, 4, 3, 3)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, widths[0], generator=g, dtype=torch.float64)
    y = torch.randint(0, widths[-1], (n,), generator=g)
    return x, torch.randn(
        n, widths[-1], generator=g, dtype=torch.float64
    ) if loss == "square" else y


@given(
    seed=st.integers(0, 10**6),
    loss=st.sampled_from(["cross_entropy", "square"]),
    bias=st.booleans(),
    depth=st.integers(1, 3),
)
def test_equals_the_dense_hessian(seed, loss, bias, depth):
    widths = (5, 4, 4, 3)[:depth] + (3,)
    net = MLPEnsemble.from_seeds(widths, [seed, seed + 1], bias=bias)
    x, y = problem(seed, loss, widths=widths)
    exact = hessian_trace(net, x, loss=loss)
    for m in range(2):
        for name, value in dense_block_traces(net[m], x, y, loss).items():
            assert exact.blocks[name][m].item() == pytest.approx(value.item(), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("loss", ["cross_entropy", "square"])
@pytest.mark.parametrize("widths", [(5, 4, 8, 3), (3, 4, 2, 5, 3), (2, 3, 4, 3, 2, 3)])
def test_equals_the_dense_hessian_of_wide_and_of_deep_networks(widths, loss):
    """By factors with a row for each output; narrow networks, three layers ending in 4 and 3 units,
    go another way.
    """
    net, (x, y) = MLPEnsemble.from_seeds(widths, [0, 1]), problem(5, loss, n=9, widths=widths)
    exact = hessian_trace(net, x, loss=loss)
    for m in range(2):
        for name, value in dense_block_traces(net[m], x, y, loss).items():
            assert exact.blocks[name][m].item() == pytest.approx(value.item(), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize(
    ("widths", "narrow"),
    [
        ((5, 4, 6, 3), True),
        ((5, 4, 7, 3), False),
        ((5, 1, 6, 3), True),
        ((5, 4, 3), False),
        ((5, 4, 4, 4, 4), False),
    ],
)
def test_which_networks_are_narrow(widths, narrow):
    assert _is_narrow(zeros(widths)) is narrow


@pytest.mark.parametrize(
    ("widths", "way"), [((5, 4, 6, 3), "_energies_narrow"), ((5, 4, 7, 3), "_energies")]
)
def test_narrow_networks_go_their_own_way(monkeypatch, widths, way):
    taken = []

    def noted(name):
        function = getattr(curvature, name)
        return lambda *args: (taken.append(name), function(*args))[1]

    for name in ("_energies_narrow", "_energies"):
        monkeypatch.setattr(curvature, name, noted(name))
    hessian_trace(MLPEnsemble.from_seeds(widths, [0]), torch.ones(2, 5, dtype=torch.float64))
    assert taken == [way]


@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_dense_hessian_after_training(bias):
    x, y = problem(3, "cross_entropy", n=30)
    net = train(
        MLPEnsemble.from_seeds((5, 4, 3, 3), [0, 1], bias=bias),
        x,
        y,
        SGD(8, 0.2, max_epochs=200),
        order_generators([0, 1]),
    ).networks
    exact = hessian_trace(net, x)
    for m in range(2):
        dense = dense_block_traces(net[m], x, y, "cross_entropy")
        for name, value in dense.items():
            assert exact.blocks[name][m].item() == pytest.approx(value.item(), rel=1e-10, abs=1e-14)
        assert exact.total[m].item() == pytest.approx(sum(dense.values()).item(), rel=1e-10)


def test_analytic_one_hidden_unit():
    """f = a relu(w x) on x = 1, 2, -1 with square loss: Tr = mean(w^2 x_+^2) + mean(a^2 x_+^2)."""
    net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    trace = hessian_trace(net, torch.tensor([[1.0], [2.0], [-1.0]]), loss="square")
    assert trace.blocks["W1"].item() == pytest.approx(4 * 5 / 3) and trace.blocks[
        "W2"
    ].item() == pytest.approx(9 * 5 / 3)


def test_zero_derivative_at_a_kink():
    net = MLPEnsemble([torch.tensor([[[0.0]]]), torch.tensor([[[2.0]]])], None)
    assert hessian_trace(net, torch.tensor([[1.0]]), loss="square").total.item() == 0


@pytest.mark.parametrize("max_bytes", [1, 5000, 2**28])
def test_chunks_do_not_matter(max_bytes):
    net, (x, _) = MLPEnsemble.from_seeds((5, 4, 3, 3), [0, 1, 2]), problem(1, "cross_entropy", n=50)
    torch.testing.assert_close(
        hessian_trace(net, x, max_bytes=max_bytes).total,
        hessian_trace(net, x).total,
        rtol=1e-13,
        atol=0,
    )


@pytest.mark.parametrize("max_bytes", [None, 1, 2000])
def test_inputs_per_network(max_bytes):
    net = MLPEnsemble.from_seeds((5, 4, 3, 3), [0, 1, 2])
    x = torch.stack([problem(seed, "square", n=40)[0] for seed in range(3)])
    together = hessian_trace(net, x, max_bytes=max_bytes).total
    for m in range(3):
        torch.testing.assert_close(
            together[m], hessian_trace(net[m], x[m]).total[0], rtol=1e-13, atol=0
        )


@pytest.mark.parametrize("epochs", [1, 300])
def test_single_precision_against_the_dense_hessian(epochs):
    """Also after training, where p is nearly one-hot and 1 - p would cancel."""
    x, y = problem(3, "cross_entropy", n=30)
    net = train(
        MLPEnsemble.from_seeds((5, 8, 6, 3), [0, 1]),
        x,
        y,
        SGD(8, 0.2, max_epochs=epochs),
        order_generators([0, 1]),
    ).networks
    single = hessian_trace(net.to(dtype=torch.float32), x.float())
    for m in range(2):
        dense = sum(
            dense_block_traces(
                net.to(dtype=torch.float32).to(dtype=torch.float64)[m],
                x.float().double(),
                y,
                "cross_entropy",
            ).values()
        )
        assert single.total[m].item() == pytest.approx(dense.item(), rel=1e-5)


def zeros(widths, count=1, **kwargs):
    """Networks of which only the shape matters."""
    return MLPEnsemble(
        [
            torch.zeros(count, *shape, **kwargs)
            for shape in zip(widths[1:], widths[:-1], strict=True)
        ],
        None,
    )


@pytest.mark.parametrize(
    ("networks", "n", "max_bytes", "networks_and_inputs"),
    [
        (
            zeros((5, 8, 3), 100).to(dtype=torch.float64),
            1000,
            64 * 192 * 10,
            (10, 64),
        ),  # 3 * 8 * 8 = 192 bytes an input
        (zeros((5, 8, 3), 100).to(dtype=torch.float64), 1000, 64 * 192 * 10 - 1, (9, 71)),
        (zeros((5, 8, 3), 100), 1000, 64 * 192 * 10, (20, 64)),  # half of it in single precision
        (zeros((5, 8, 3), 100), 10, 10 * 96 * 7, (7, 10)),  # fewer than 64 inputs
        (
            zeros((50, 2, 10), 9),
            70,
            64 * 400 * 4,
            (4, 64),
        ),  # no layer but the last counts if it is the widest: 10 * 10 * 4
        (zeros((50, 3), 9), 70, 64 * 36 * 4, (4, 64)),
        (zeros((5, 8, 3), 2), 1000, 96 * 300, (2, 150)),  # all networks, then as many inputs as fit
        (zeros((5, 8, 3), 2), 100, 96 * 400, (2, 100)),
        (zeros((5, 8, 3), 100), 1000, 1, (1, 1)),
        (zeros((5, 8, 3), 100).to(dtype=torch.float64), 1000, None, (100, 2**21 // 19200)),  # 2 MiB
        (zeros((1, 9000, 10)), 1000, None, (1, 64)),  # at least 64 inputs
        (
            zeros((5, 8, 3), 100, device="meta"),
            10**6,
            None,
            (100, 2**28 // 9600),
        ),  # 256 MiB on a device
        (
            zeros((5, 8, 6, 3), 100),
            1000,
            256 * 144 * 10,
            (10, 256),
        ),  # narrow: 6 * 6 * 4 bytes an input, at least 256 inputs
        (zeros((5, 80, 6, 3), 100), 1000, 256 * 320 * 10, (10, 256)),  # or 80 * 4
    ],
)
def test_chunks_fill_the_memory_they_may_use(networks, n, max_bytes, networks_and_inputs):
    assert _chunk_sizes(networks, n, max_bytes) == networks_and_inputs


def test_the_chunks_are_the_planned_ones(monkeypatch):
    """Five networks with three inputs each, room for two networks at a time; then room for one
    input of one network.
    """
    net, x = (
        MLPEnsemble.from_seeds((5, 4, 3), range(5)),
        torch.stack([problem(seed, "square", n=3)[0] for seed in range(5)]),
    )
    whole, shapes, blocks = hessian_trace(net, x), [], curvature._summed_blocks
    monkeypatch.setattr(
        curvature,
        "_summed_blocks",
        lambda some, chunk, loss: (
            shapes.append((len(some), *chunk.shape)),
            blocks(some, chunk, loss),
        )[1],
    )
    for max_bytes, expected in [
        (2 * 3 * 96, [(2, 2, 3, 5)] * 2 + [(1, 1, 3, 5)]),
        (1, [(1, 1, 1, 5)] * 15),
    ]:
        shapes.clear()
        torch.testing.assert_close(
            hessian_trace(net, x, max_bytes=max_bytes).total, whole.total, rtol=1e-13, atol=0
        )
        assert shapes == expected


def test_every_thread_has_a_cache_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert _chunk_sizes(zeros((5, 8, 3), 100), 10**6, None) == (100, 4 * 2**21 // 9600)


BIG = """
import resource, sys, torch
from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble

def peak():
    try:  # kB; the peak of this process alone
        status = [line.split() for line in open("/proc/self/status")]
        return [int(line[1]) for line in status if line[0] == "VmHWM:"][0] * 1024
    except OSError:  # macOS, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

x = torch.rand(int(sys.argv[1]), 784, dtype=torch.float64)
before = peak()
print(hessian_trace(MLPEnsemble.from_seeds([784, 256, 128, 10], [0]), x).total.item())
print(peak(), peak() - before)
"""


@short_and_long("images", 6_000, 60_000)
def test_sixty_thousand_images_within_two_gigabytes(images):
    """What it takes beyond the images does not grow with them; all at once, 6,000 take 240 MB."""
    out = subprocess.run(
        [sys.executable, "-c", BIG, str(images)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).stdout.split()
    assert float(out[0]) > 0 and 0 < int(out[1]) < 0.8e9 + 2e4 * images
    assert int(out[2]) < 5e7


@given(st.integers(0, 10**6))
def test_labels_do_not_matter_and_trace_is_nonnegative(seed):
    net, (x, y) = MLPEnsemble.from_seeds((5, 4, 3, 3), [seed]), problem(seed, "cross_entropy")
    other = (y + 1) % 3
    mine, theirs = (
        sum(dense_block_traces(net, x, labels, "cross_entropy").values()) for labels in (y, other)
    )
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-10)
    assert all((block >= 0).all() for block in hessian_trace(net, x).blocks.values())


def test_output_factor_survives_saturation():
    root = output_factor(torch.tensor([[800.0, 0.0, -800.0]], dtype=torch.float64), "cross_entropy")
    assert root.isfinite().all() and root.abs().max() == 0


def test_hutchinson_is_unbiased_with_an_honest_error():
    net, (x, y) = MLPEnsemble.from_seeds((5, 4, 3, 3), range(40)), problem(0, "cross_entropy", n=20)
    estimate = hutchinson_trace(net, x, y, probes=100, generator=torch.Generator().manual_seed(0))
    z = (estimate.estimate - hessian_trace(net, x).total) / estimate.standard_error
    assert estimate.samples.shape == (40, 100)
    assert abs(z.mean().item()) < 4 / 40**0.5 and 0.6 < z.std().item() < 1.5
    torch.testing.assert_close(estimate.standard_error, estimate.samples.std(1) / 10)


@pytest.mark.parametrize("bias", [True, False])
def test_hutchinson_repeats_with_its_generator(bias):
    net, (x, y) = MLPEnsemble.from_seeds((5, 4, 3, 3), [0, 1], bias=bias), problem(0, "square")
    first, again, other = (
        hutchinson_trace(
            net, x, y, probes=200, generator=torch.Generator().manual_seed(seed), loss="square"
        )
        for seed in (0, 0, 1)
    )
    assert (first.samples == again.samples).all() and (first.samples != other.samples).all()
    z = (first.estimate - hessian_trace(net, x, loss="square").total) / first.standard_error
    assert z.abs().max() < 4


@pytest.mark.parametrize("pair", [False, True])
def test_mean_loss_of_two_networks(pair):
    """Outputs (0, 0) and (log 3, 0) at both inputs: p = (1/2, 1/2) and (3/4, 1/4). With inputs per
    network, too.
    """
    net = MLPEnsemble([torch.zeros(2, 2, 3)], [torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])])
    x, y = torch.ones(2, 2, 3) if pair else torch.ones(2, 3), torch.tensor([0, 1])
    expected = torch.tensor([math.log(2), (math.log(4 / 3) + math.log(4)) / 2])
    torch.testing.assert_close(mean_loss(net, x, y), expected)
    targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    expected = torch.tensor([(1 + 4) / 4, ((math.log(3) - 1) ** 2 + 4 + math.log(3) ** 2) / 4])
    torch.testing.assert_close(mean_loss(net, x, targets, "square"), expected)


def test_hutchinson_with_one_parameter_is_exact():
    net = MLPEnsemble([torch.tensor([[[3.0]]])], None)
    x, y = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    estimate = hutchinson_trace(
        net, x, y, probes=2, generator=torch.Generator().manual_seed(0), loss="square"
    )
    assert estimate.estimate.item() == 4.0 and estimate.standard_error.item() == 0.0


@pytest.mark.parametrize("loss", ["cross_entropy", "square"])
@pytest.mark.parametrize("width", [3, 8])
def test_runs_on_the_device_it_is_given(width, loss):
    net = MLPEnsemble.from_seeds((5, 4, width, 3), [0, 1], device="meta", dtype=torch.float32)
    x, y = torch.empty(6, 5, device="meta"), torch.empty(6, 3, device="meta")
    trace = hessian_trace(net, x, loss=loss)
    assert trace.total.device.type == "meta" and trace.total.shape == (2,)
    assert output_factor(y, loss).device.type == "meta"
    estimate = hutchinson_trace(net, x, y, probes=2, generator=torch.Generator(), loss="square")
    assert estimate.samples.device.type == "meta" and estimate.samples.shape == (2, 2)


def test_probes_have_the_precision_of_the_networks(monkeypatch):
    """Signs are drawn as integers on the processor; what is multiplied by the Hessian is of the
    networks' kind.
    """
    seen, gradient = [], torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd,
        "grad",
        lambda out, at, *v, **how: (seen.extend(v[0] if v else ()), gradient(out, at, *v, **how))[
            1
        ],
    )
    net, (x, y) = MLPEnsemble.from_seeds((5, 4, 3), [0, 1]), problem(0, "square", widths=(5, 4, 3))
    hutchinson_trace(net, x, y, probes=2, generator=torch.Generator(), loss="square")
    assert len(seen) == 2 * 4 and {v.dtype for v in seen} == {torch.float64}
    assert {value for v in seen for value in v.flatten().tolist()} == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: hessian_trace(net, x, loss="hinge"), "loss: expected one of"),
        (lambda net, x: mean_loss(net, x, torch.zeros(4).long(), "hinge"), "loss: expected one of"),
        (
            lambda net, x: output_factor(x, "hinge"),
            "^loss: expected one of cross_entropy, square, got 'hinge'$",
        ),
        (lambda net, x: hessian_trace(net, x[:0]), r"^x: expected shape .*, got \(0, 5\)$"),
        (lambda net, x: hessian_trace(net, x[0]), r"^x: expected shape .*, got \(5,\)$"),
        (
            lambda net, x: hutchinson_trace(
                net, x[:0], torch.zeros(0).long(), probes=2, generator=torch.Generator()
            ),
            "^x: expected shape",
        ),
        (lambda net, x: hessian_trace(net, x * torch.nan), "^x: expected finite values only$"),
        (
            lambda net, x: hessian_trace(net, x * torch.eye(4, 5) / 0),
            "^x: expected finite values only$",
        ),
        (
            lambda net, x: hutchinson_trace(
                net, x, torch.zeros(4).long(), probes=1, generator=torch.Generator()
            ),
            "probes",
        ),
        (
            lambda net, x: mean_loss(net, x, torch.zeros(3).long()),
            r"^y: expected 4 int64 classes 0 to 2 \(4 as in x\), got torch.int64 \(3,\)$",
        ),
        (
            lambda net, x: mean_loss(net, x, torch.zeros(4).long() + 3),
            "^y: expected classes 0 to 2, got 3 to 3$",
        ),
        (
            lambda net, x: mean_loss(net, x, torch.ones(3, 4, 3), "square"),
            r"^y: expected shape \(n, K\) or \(M, n, K\) with n = 4, as in x; "
            r"K = 3, as in networks; M = 1, as in networks, got \(3, 4, 3\)$",
        ),
        (
            lambda net, x: mean_loss(net, x, torch.ones(4, 3), "square"),
            "^y: expected dtype torch.float64, that of the networks, got torch.float32$",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(MLPEnsemble.from_seeds((5, 3), [0]), torch.ones(4, 5, dtype=torch.float64))


def test_targets_may_differ_between_networks():
    net, (x, _) = MLPEnsemble.from_seeds((5, 4, 3), [0, 1]), problem(0, "square")
    y = torch.stack([problem(seed, "square")[1] for seed in (1, 2)])
    torch.testing.assert_close(
        mean_loss(net, x, y, "square"),
        torch.cat([mean_loss(net[m], x, y[m], "square") for m in range(2)]),
    )
