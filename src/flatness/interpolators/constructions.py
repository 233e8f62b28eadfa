"""Interpolators of seven kinds, good and bad; the flattest and the adversary have modules of their
own.

Each function takes M data sets x (M, n, d), y (M, n) and returns a `TwoLayer` whose half-MSE is at
most `tolerance` (1e-18 unless stated) on every one, or raises InterpolationError saying on which it
failed and why. Chapter a6_nongeneralising compares them.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.datasets.targets import DataSet
from flatness.interpolators.candidates import LOSS_TOLERANCE
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import (
    InterpolationError,
    check_counting,
    interpolate,
    require_interpolation,
)
from flatness.interpolators.search import flattest, initial_network
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, as_data


@checked(data=rules.instance(DataSet), tolerance=rules.at_least(0))
def teacher(data: DataSet, activation: Activation, tolerance: float = LOSS_TOLERANCE) -> TwoLayer:
    """The target itself as a network.  ValueError if the target is none; InterpolationError if
    labels are noisy.
    """
    return require_interpolation(
        data.target.teacher(activation), data.x, data.y, tolerance, "teacher"
    )


@checked(x=rules.shape("n d"))
def private_neurons(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each sample i a direction w with <w, x_i> = 1 and <w, x_k> <= -t for k != i, t in [0, 1]
    largest.

    Returns (W (n, d), t (n,)) for one data set x (n, d); t = -1 and w = 0 where no such direction
    exists. For n <= d the pseudo-inverse gives t = 1; beyond, one small linear programme per
    sample.  Directions stop existing as n approaches 2 d (Gaussian x: for one sample with
    probability 1/2 at n = 2 d, by Wendel's theorem).
    """
    if x.ndim != 2 or not torch.isfinite(x).all():
        raise ValueError(f"x must be one finite data set (n, d), got {tuple(x.shape)}")
    n, d = x.shape
    wanted = 2 * torch.eye(n, dtype=x.dtype, device=x.device) - 1  # column i: 1 at i, -1 elsewhere
    if n <= d and torch.linalg.matrix_rank(x) == n:
        return (torch.linalg.pinv(x) @ wanted).mT, x.new_ones(n)
    X, W, margins = x.cpu().numpy(), np.zeros((n, d)), np.full(n, -1.0)
    for i in range(n):
        others = np.delete(X, i, axis=0)
        answer = scipy.optimize.linprog(
            np.r_[np.zeros(d), -1.0],
            A_ub=np.c_[others, np.ones(n - 1)],
            b_ub=np.zeros(n - 1),
            A_eq=np.r_[X[i], 0.0][None],
            b_eq=[1.0],
            bounds=[(None, None)] * d + [(0, 1)],
            method="highs",
        )
        if answer.status == 0 and answer.x is not None:
            W[i], margins[i] = answer.x[:d], answer.x[d]
    return torch.from_numpy(W).to(x), torch.from_numpy(margins).to(x)


@checked(x=rules.shape("n d", "M n d"), y=rules.shape("n", "M n"), tolerance=rules.at_least(0))
def memoriser(
    x: torch.Tensor, y: torch.Tensor, activation: Activation, tolerance: float = LOSS_TOLERANCE
) -> TwoLayer:
    """One private neuron per sample: f = sum_i y_i s(<w_i, .>), <w_i, x_i> = 1, <w_i, x_k> <= 0.
    Width n.

    For p = 1 it attains the lower bound of `flatness.interpolators.bounds` exactly.  Needs a
    one-sided activation (s(-1) = 0); ValueError otherwise.  Samples with y_i = 0 need no neuron.
    """
    x, y = as_data(x, y)
    if activation.minus != 0:
        raise ValueError(
            f"a private neuron needs an activation with s(-1) = 0, not {activation.name}"
        )
    n, d = x.shape[-2:]
    W = torch.zeros(len(x), n, d, dtype=x.dtype, device=x.device)
    for k in range(len(x)):
        W[k], margin = private_neurons(x[k])
        missing = int(((margin < 0) & (y[k] != 0)).sum())
        if missing:
            raise InterpolationError(
                f"data set {k}: {missing} of n = {n} samples in d = {d} have no private neuron; "
                f"they exist surely for n <= d = {d} and become rare as n nears 2 d = {2 * d}"
            )
    net = TwoLayer(
        torch.where(y != 0, y / activation.plus, 0.0), W * (y != 0)[:, :, None], activation
    )
    return require_interpolation(net, x, y, tolerance, "memoriser")


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    width=rules.at_least(1),
    tolerance=rules.at_least(0),
)
def random_features(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    generator: torch.Generator,
    width: int | None = None,
    tolerance: float = LOSS_TOLERANCE,
) -> TwoLayer:
    """Directions uniform on the unit sphere, second layer of minimum norm that interpolates.  Width
    2 n by default.

    InterpolationError if the width is below n, or the features have rank below n (z^2: rank <=
    d(d+1)/2).
    """
    x, y = as_data(x, y)
    n, d = x.shape[-2:]
    width = 2 * n if width is None else width
    if width < n:
        raise InterpolationError(
            f"{width} random features cannot fit n = {n} labels: use width >= n"
        )
    W = torch.randn(len(x), width, d, generator=generator, dtype=x.dtype, device=x.device)
    net = TwoLayer(x.new_zeros(len(x), width), W / W.norm(dim=-1, keepdim=True), activation)
    S = net.features(x)
    a = torch.linalg.lstsq(S.cpu(), y.cpu()[:, :, None], driver="gelsd").solution.to(x)
    a = a + torch.linalg.lstsq(S.cpu(), (y[:, :, None] - S @ a).cpu(), driver="gelsd").solution.to(
        x
    )
    return require_interpolation(
        TwoLayer(a[..., 0], net.W, activation), x, y, tolerance, "random features"
    )


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    start=rules.one_of("small", "lazy"),
    width=rules.at_least(2),
    steps=rules.at_least(0),
    tolerance=rules.at_least(0),
)
def gradient_descent(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    generator: torch.Generator,
    start: str = "small",
    width: int | None = None,
    steps: int = 2000,
    tolerance: float = LOSS_TOLERANCE,
) -> TwoLayer:
    """Full-batch gradient descent with momentum 0.9 on both layers, then minimum-norm Gauss-Newton
    to the tolerance (`flatness.interpolators.polish.interpolate`).  Where the last residual needs
    revived neurons they add to F*.

    start "small": random network with outputs 0.01 of the labels (feature learning).  "lazy":
    antisymmetric pairs, so f = 0, with parameters 10^{1/(p+1)} times the scale the labels need
    (kernel regime).  The rate is 0.4 over a bound on the largest eigenvalue of the Gauss-Newton
    matrix, refreshed every 10 steps.
    """
    x, y = as_data(x, y)
    n, d = x.shape[-2:]
    width = max(100, n // 2) if width is None else width
    check_counting(n, d, width, activation)
    if start == "small":
        net = initial_network(x, y, activation, width, generator, size=0.01)
    elif start == "lazy":
        half = initial_network(x, y, activation, width // 2, generator, size=10.0)
        net = TwoLayer(torch.cat([half.a, -half.a], 1), torch.cat([half.W, half.W], 1), activation)
    else:
        raise ValueError(f"start must be 'small' or 'lazy', got {start!r}")
    floor = _kernel_norm(initial_network(x, y, activation, width, generator), x)
    net = _descend(net, x, y, steps, floor)
    return require_interpolation(
        interpolate(net, x, y, generator), x, y, tolerance, f"gradient descent ({start})"
    )


def _kernel_norm(net: TwoLayer, x: torch.Tensor) -> torch.Tensor:
    """Row-sum bound on the largest eigenvalue of J J^T, (M,)."""
    z = net.preactivations(x)
    S, P = net.activation(z), net.activation.derivative(z) * net.a[:, None, :]
    return torch.linalg.matrix_norm(S @ S.mT + (P @ P.mT) * (x @ x.mT), ord=torch.inf)


def _descend(
    net: TwoLayer, x: torch.Tensor, y: torch.Tensor, steps: int, floor: torch.Tensor
) -> TwoLayer:
    a, W, act, n = net.a.clone(), net.W.clone(), net.activation, x.shape[-2]
    velocity_a, velocity_W = torch.zeros_like(a), torch.zeros_like(W)
    for step in range(steps):
        if (
            step % 10 == 0
        ):  # `floor`: a small start must not take steps it would regret once it has grown
            rate = 0.4 * n / _kernel_norm(TwoLayer(a, W, act), x).maximum(floor)
        z = x @ W.mT
        S, D = act(z), act.derivative(z)
        residual = (S @ a[:, :, None] - y[:, :, None]) / n
        velocity_a = 0.9 * velocity_a - rate[:, None] * (S.mT @ residual)[..., 0]
        velocity_W = 0.9 * velocity_W - (rate[:, None] * a)[:, :, None] * (D.mT @ (residual * x))
        a, W = a + velocity_a, W + velocity_W
    return TwoLayer(a, W, act)


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    extra_x=rules.shape("k d", "M k d"),
    extra_y=rules.shape("k", "M k"),
    width=rules.at_least(1),
    schedule=rules.instance(Schedule),
)
def poisoned(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    extra_x: torch.Tensor,
    extra_y: torch.Tensor,
    generator: torch.Generator,
    width: int | None = None,
    schedule: Schedule = Schedule(),
) -> TwoLayer:
    """A flattest interpolator of the data *and* of extra wrong labels (extra_x (M, k, d), extra_y
    (M, k)).

    It interpolates the data, badly elsewhere; only the data enter its reported flatness.
    """
    x, y = as_data(x, y)
    extra_x, extra_y = as_data(extra_x, extra_y)
    both_x, both_y = torch.cat([x, extra_x], 1), torch.cat([y, extra_y], 1)
    return flattest(both_x, both_y, activation, generator, width, (schedule,), finish=False).net
