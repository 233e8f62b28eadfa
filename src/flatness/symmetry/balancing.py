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
from flatness._internal.checks import checked
from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.output_hessian import LOSSES
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.flow_graph import (
    TraceFlow,
    _check_scales,
    _flow_total,
    _in_and_out,
    on_cycles,
    trace_flow,
)
from flatness.symmetry.rescaling import rescale_neurons


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
