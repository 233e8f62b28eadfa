"""The smallest trace on the rescaling orbit of a deep ReLU network, by matrix balancing.

Multiplying the incoming weights and the bias of hidden unit j by s_j > 0 and its outgoing weights
by 1 / s_j leaves the function as it is. It multiplies each diagonal entry of the Hessian, and so
each term of the trace, by a monomial: with t_j = s_j^2, and t = 1 for inputs, biases and outputs
("ground"),

    T(t) = sum over weights and biases of  c_e t_tail(e) / t_head(e),     c_e = the entry at t = 1.

This is the sum that Osborne (1960) minimises to balance a matrix. It is convex in log t, units of
one layer do not interact, and the minimum over one layer has a closed form. Derived in our chapter
c1_invariant_flatness.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError, NotFinite
from flatness._internal.checks import checked
from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.trace import LOSSES
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import rescale_neurons


@dataclass(frozen=True)
class TraceFlow:
    """The terms of the trace as weights of a layered graph of the hidden units; entries >= 0, or
    NaN throughout a network that could not be measured.

    Attributes
    ----------
    entering : for each hidden layer, (M, d): from ground into the unit (its bias; in layer 1 also
        its weights).
    between : for each hidden layer but the last, (M, d_next, d): from unit to unit of the next
        layer.
    leaving : (M, d) from the units of the last hidden layer to ground (the outputs).
    constant : (M,) what no scale touches: the biases of the outputs.
    """

    entering: list[Tensor]
    between: list[Tensor]
    leaving: Tensor
    constant: Tensor

    def __post_init__(self) -> None:
        named = {f"entering[{i}]": value for i, value in enumerate(self.entering)}
        named |= {f"between[{i}]": value for i, value in enumerate(self.between)}
        named |= {"leaving": self.leaving, "constant": self.constant}
        for name, value in named.items():
            if not isinstance(value, Tensor) or not value.ndim:
                raise KindError(
                    f"{name}: expected a tensor with an axis for the networks, got {value!r}"[:200]
                )
        widths = [entering.shape[-1] for entering in self.entering]
        if not widths or len(self.between) != len(widths) - 1:
            raise ValueError(
                f"entering, between: expected one tensor per hidden layer, one fewer between, got "
                f"{len(widths)} and "
                f"{len(self.between)}"
            )
        count = len(self.constant)
        shapes: list[tuple[int, ...]] = [(count, d) for d in widths] + [
            (count, after, before) for before, after in zip(widths, widths[1:])
        ]
        shapes += [(count, widths[-1]), (count,)]
        lost = self.constant.isnan()
        for (name, value), shape in zip(named.items(), shapes, strict=True):
            if (
                value.shape != shape
                or value.dtype != self.leaving.dtype
                or not value.dtype.is_floating_point
            ):
                raise ValueError(
                    f"{name}: expected shape {shape} and {self.leaving.dtype}, got "
                    f"{tuple(value.shape)}, {value.dtype}"
                )
            if value.device != self.leaving.device:
                raise ValueError(
                    f"{name}: expected the device {self.leaving.device}, got {value.device}"
                )
            good, none = value.isfinite() & (value >= 0), value.isnan() & _like(lost, value)
            if not (good | none).all() or (good & _like(lost, value)).any():
                raise ValueError(f"{name}: expected finite entries >= 0")


@dataclass(frozen=True)
class OrbitMinimum:
    """The infimum of the trace over the rescaling orbit of each of M networks, with a certificate.

    Attributes
    ----------
    value : (M,) the trace of the balanced terms: an upper bound of the infimum.
    lower : (M,) a lower bound of the infimum that holds for whatever scales were found.
    scales : for each hidden layer (M, d), the scales s of `rescale_neurons`; 1 for units not on a
        cycle.
    attained : (M,) bool, False where the infimum is approached only as some scales tend to 0 or
        infinity.
    history : (M, sweeps + 1) the trace before the first and after each sweep.

    A network that is not finite, or too near the ends of floating point to be balanced, has the
    value NaN, scales 1 and ``attained`` False.
    """

    value: Tensor
    lower: Tensor
    scales: list[Tensor]
    attained: Tensor
    history: Tensor


def _like(mask: Tensor, value: Tensor) -> Tensor:
    """A mask (M,) beside a tensor (M, ...)."""
    return mask.reshape(-1, *[1] * (value.ndim - 1))


@checked(diagonal=rules.diverged)
def trace_flow(diagonal: MLPEnsemble) -> TraceFlow:
    """The graph of the terms of the trace from the diagonal of the Hessian
    (`flatness.curvature.diagonal`).

    A network with entries that are not finite has NaN throughout. Raises ValueError unless there is
    a hidden layer, all finite entries are >= 0 and one network has finite ones.
    """
    if len(diagonal.weights) < 2:
        raise ValueError("diagonal: expected networks with at least one hidden layer")
    for name, entries in diagonal.parameters().items():
        if (entries < 0).any():
            raise NotFinite(f"diagonal: expected finite entries >= 0, got others in {name}")
    good = diagonal.finite()
    if not good.any():
        raise NotFinite("diagonal: expected finite entries >= 0, got no network that has them")
    diagonal = diagonal.map(lambda entries: entries.where(_like(good, entries), torch.nan))
    weights = diagonal.weights
    biases = diagonal.biases or [0 * weight[..., 0] for weight in weights]
    entering = [weights[0].sum(2) + biases[0], *biases[1:-1]]
    return TraceFlow(entering, weights[1:-1], weights[-1].sum(1), biases[-1].sum(1))


@checked(overflow=False, flow=rules.instance(TraceFlow))
def on_cycles(flow: TraceFlow) -> tuple[list[Tensor], TraceFlow, Tensor]:
    """Which units lie on a cycle through ground, the terms between those, and whether that is all,
    bool (M,).

    Every other term can be made as small as one likes without changing the rest. In a network that
    could not be measured no unit lies on one.
    """
    forward, backward = [flow.entering[0] > 0], [flow.leaving > 0]
    for entering, between in zip(flow.entering[1:], flow.between, strict=True):
        forward.append((entering > 0) | ((between > 0) & forward[-1][:, None, :]).any(2))
    for between in reversed(flow.between):
        backward.append(((between > 0) & backward[-1][:, :, None]).any(1))
    live = [f & b for f, b in zip(forward, reversed(backward), strict=True)]
    lost = flow.constant.isnan()[:, None]
    entering = [e.where(k | lost, 0.0) for e, k in zip(flow.entering, live, strict=True)]
    between = [
        b.where((after[:, :, None] & before[:, None, :]) | lost[:, :, None], 0.0)
        for b, before, after in zip(flow.between, live[:-1], live[1:], strict=True)
    ]
    kept = TraceFlow(entering, between, flow.leaving.where(live[-1] | lost, 0.0), flow.constant)
    dropped = [
        a != b
        for a, b in zip(
            [*flow.entering, *flow.between, flow.leaving],
            [*entering, *between, kept.leaving],
            strict=True,
        )
    ]
    return live, kept, ~torch.stack([d.flatten(1).any(1) for d in dropped]).any(0)


def _check_scales(flow: TraceFlow, t: list[Tensor]) -> None:
    if len(t) != len(flow.entering):
        raise ValueError(
            f"t: expected one tensor for each of {len(flow.entering)} hidden layers, got {len(t)}"
        )
    for layer, (u, entering) in enumerate(zip(t, flow.entering)):
        like = (entering.shape, entering.dtype, entering.device)
        if not isinstance(u, Tensor) or (u.shape, u.dtype, u.device) != like:
            raise ValueError(
                f"t[{layer}]: expected shape {tuple(entering.shape)}, {entering.dtype} on "
                f"{entering.device}"
            )
        if not (u.isfinite() & (u > 0)).all():
            raise ValueError(f"t[{layer}]: expected positive finite numbers")


def _flow_total(flow: TraceFlow, t: list[Tensor]) -> Tensor:
    """T(t), shape (M,), for t = s^2 > 0, one tensor (M, d) per hidden layer."""
    total = flow.constant + (flow.leaving * t[-1]).sum(1)
    total = total + sum((entering / u).sum(1) for entering, u in zip(flow.entering, t, strict=True))
    return total + sum(
        ((between @ below[:, :, None])[..., 0] / above).sum(1)
        for between, below, above in zip(flow.between, t[:-1], t[1:], strict=True)
    )


@checked(
    overflow=False,
    flow=rules.instance(TraceFlow),
    rtol=rules.above(0),
    max_sweeps=rules.at_least(1),
)
def balance(
    flow: TraceFlow, *, rtol: float | None = None, max_sweeps: int = 10_000
) -> OrbitMinimum:
    """Minimise T over all scales by sweeps over the layers until value - lower <= rtol * value for
    every network.

    In a sweep each layer in turn moves to its minimum given its neighbours, t_j = sqrt(in_j /
    out_j) with in_j the terms that enter unit j and out_j those that leave it, both at t_j = 1. The
    lower bound is the weighted inequality of the means at a circulation near the terms (chapter
    c1_invariant_flatness). ``rtol`` is by default 1e-12, or 1e-5 in single precision. A network
    that is not there after ``max_sweeps`` has the value NaN (see `OrbitMinimum`); RuntimeError if
    there is no other.

    Source: Osborne (1960) for matrices; the bound and the layered form, our chapter
    c1_invariant_flatness.

    The minimum over t of 1 + 8 / t + 2 t is at t = 2, so s = sqrt 2:

    >>> flow = TraceFlow([torch.tensor([[8.0]])], [], torch.tensor([[2.0]]), torch.tensor([1.0]))
    >>> result = balance(flow)
    >>> round(result.value.item(), 5), round(result.scales[0].item(), 5)
    (9.0, 1.41421)
    """
    live, kept, attained = on_cycles(flow)
    if rtol is None:
        rtol = 1e-12 if flow.leaving.dtype == torch.float64 else 1e-5
    t = [torch.ones_like(entering) for entering in flow.entering]
    history = [_flow_total(flow, t)]
    for _ in range(max_sweeps):
        for layer in range(len(t)):
            into, out = _in_and_out(kept, t, layer)
            t[layer] = (into.sqrt() / out.sqrt()).where(live[layer], 1.0)  # into / out may overflow
        value = _flow_total(kept, t)
        lower = _lower_bound(kept, t, live)
        history.append(value)
        gap = value - lower
        if ((gap <= rtol * value) | ~gap.isfinite()).all():
            break
    there = gap <= rtol * value
    if not there.any():
        worst = (gap / value).max().item()
        raise RuntimeError(
            f"balance: relative gap {worst:.1e} after {len(history) - 1} sweeps, wanted {rtol:.1e};"
            " give a larger rtol or max_sweeps, or rescale networks whose terms are as unequal as "
            "floating-point numbers can be (flatness.symmetry.rescaling)"
        )
    return OrbitMinimum(
        value.where(there, torch.nan),
        lower.where(there, torch.nan),
        [u.sqrt().where(there[:, None], 1.0) for u in t],
        attained & there,
        torch.stack(history, 1),
    )


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    loss=rules.one_of(*LOSSES),
    rtol=rules.above(0),
)
def orbit_minimum(
    networks: MLPEnsemble, x: Tensor, *, loss: str = "cross_entropy", rtol: float | None = None
) -> OrbitMinimum:
    """The smallest trace of the Hessian over all neuron-wise rescalings of each network: `balance`
    of its terms.

    The same on the whole orbit, whatever the point from which it is computed. NaN marks networks
    that are not finite.

    Source: our chapter c1_invariant_flatness; for two layers it is
    `flatness.symmetry.orbits.orbit_minimum`.
    """
    return balance(trace_flow(hessian_diagonal(networks, x, loss=loss)), rtol=rtol)


@checked(networks=rules.diverged, x=rules.shape("n d"), loss=rules.one_of(*LOSSES))
def balanced(networks: MLPEnsemble, x: Tensor, *, loss: str = "cross_entropy") -> MLPEnsemble:
    """The networks rescaled to their smallest trace; units that are not on a cycle, and networks
    that are not finite, keep their scale.
    """
    return rescale_neurons(networks, orbit_minimum(networks, x, loss=loss).scales)


@checked(overflow=False, flow=rules.instance(TraceFlow))
def imbalance(flow: TraceFlow, t: list[Tensor]) -> Tensor:
    """Largest |ln(in_j / out_j)| over the units on cycles, shape (M,): the gradient of T in
    relative terms, 0 at the minimum. in_j are the terms that enter unit j at scales t = s^2, out_j
    those that leave it.
    """
    _check_scales(flow, t)
    live, kept, _ = on_cycles(flow)
    worst = [torch.zeros_like(flow.constant).where(~flow.constant.isnan(), torch.nan)]
    for layer, u in enumerate(t):
        into, out = _in_and_out(kept, t, layer)
        ratio = ((into.sqrt() / u) / out.sqrt()).where(live[layer], 1.0)
        worst.append(2 * ratio.log().abs().amax(1))
    return torch.stack(worst).amax(0)


def _in_and_out(flow: TraceFlow, t: list[Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Terms that enter and leave each unit of a layer at the neighbours' t, with the layer's own t
    at 1.
    """
    into = flow.entering[layer]
    if layer:
        into = into + (flow.between[layer - 1] @ t[layer - 1][:, :, None])[..., 0]
    if layer == len(t) - 1:
        return into, flow.leaving
    return into, ((1 / t[layer + 1])[:, None, :] @ flow.between[layer])[:, 0]


def _lower_bound(flow: TraceFlow, t: list[Tensor], live: list[Tensor]) -> Tensor:
    """F exp(-sum_j (q_j / F) ln r_j) <= T(t') for every t', shape (M,).

    Going forward, the terms that leave unit j are multiplied by r_j = inflow / outflow, which makes
    them a circulation with throughflow q_j and total F.
    """
    total, penalty = flow.constant, torch.zeros_like(flow.constant)
    carried = torch.zeros_like(t[0])
    for layer, u in enumerate(t):
        fresh = flow.entering[layer] / u
        q = fresh + carried
        out = u * _in_and_out(flow, t, layer)[1]
        r = (q / out).where(live[layer], 1.0)
        total = total + fresh.sum(1) + q.sum(1)
        penalty = penalty + (q * r.log()).sum(1)
        if layer < len(t) - 1:
            carried = (flow.between[layer] @ (r * u)[:, :, None])[..., 0] / t[layer + 1]
    safe = total.where(total > 0, 1.0)
    return total * (-penalty / safe).exp()
