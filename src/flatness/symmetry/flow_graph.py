"""The terms of the trace of a deep ReLU network as weights of a layered graph: units and ground.

With t_j = s_j^2 for the scale s_j of hidden unit j, and t = 1 for inputs, biases and outputs
("ground"), the trace is

    T(t) = sum over weights and biases of  c_e t_tail(e) / t_head(e),

c_e being the entry of the diagonal of the Hessian at t = 1. Every weight is an edge of the graph,
from the unit below to the unit above. Derived in our chapter c1_invariant_flatness.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError, NotFinite
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble


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
