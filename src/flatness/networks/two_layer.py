"""Two-layer homogeneous networks without biases, many at once, and their exact Hessian trace.

    f(x) = sum_{j <= m} a_j s(<w_j, x>),        L(theta) = (1/2n) sum_i (f(x_i) - y_i)^2.

M networks of one width are one pair of tensors.  Setting of Part I (chapters a2_setting, a3_trace).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from flatness._internal import rules
from flatness._internal.arguments import KindError, NotFinite, network_index
from flatness._internal.checks import checked
from flatness._internal.finiteness import is_finite
from flatness._internal.kinds import register
from flatness.networks.activations import Activation


@dataclass(frozen=True)
class TwoLayer:
    """M networks f(x) = sum_j a_j s(<w_j, x>).

    Parameters
    ----------
    a : (M, m) or (m,), W : (M, m, d) or (m, d); a missing network axis is added.

    Raises
    ------
    ValueError
        if shapes or dtypes do not match, or a parameter is not finite.
    """

    a: torch.Tensor
    W: torch.Tensor
    activation: Activation

    def __post_init__(self) -> None:
        for name in ("a", "W"):
            value = getattr(self, name)
            if not isinstance(value, torch.Tensor):
                raise KindError(f"{name}: expected a tensor, got {type(value).__name__}")
            if not value.dtype.is_floating_point or value.device != self.a.device:
                raise KindError(
                    f"{name}: expected floating-point numbers, a and W on one device, got "
                    f"{value.dtype} on {value.device}"
                )
        if self.a.ndim == 1 and self.W.ndim == 2:
            object.__setattr__(self, "a", self.a[None])
            object.__setattr__(self, "W", self.W[None])
        if self.a.ndim != 2 or self.W.ndim != 3 or self.W.shape[:2] != self.a.shape:
            shapes = f"{tuple(self.a.shape)} and {tuple(self.W.shape)}"
            raise ValueError(f"need a (M, m) and W (M, m, d), got {shapes}")
        if self.a.dtype != self.W.dtype:
            raise ValueError(f"a and W must share a dtype, got {self.a.dtype} and {self.W.dtype}")
        for name, value in (("a", self.a), ("W", self.W)):
            if not is_finite(value):
                raise NotFinite(f"{name}: network parameters must be finite")

    @property
    def count(self) -> int:
        """Number of networks M."""
        return self.a.shape[0]

    @property
    def width(self) -> int:
        """Number of neurons m."""
        return self.a.shape[1]

    @property
    def dim(self) -> int:
        """Input dimension d."""
        return self.W.shape[2]

    def preactivations(self, x: torch.Tensor) -> torch.Tensor:
        """<w_j, x_i>, shape (M, n, m), for x (n, d) shared or (M, n, d) per network."""
        usual = (
            isinstance(x, torch.Tensor) and x.dtype == self.a.dtype and x.device == self.a.device
        )
        if not usual or x.ndim != 2 or x.shape[1] != self.dim or not len(x):
            _fitting(self, x)
        z = (x[None] if x.ndim == 2 else x) @ self.W.mT
        if not self.width or not is_finite(z):  # an entry of x enters all neurons
            _fitting(self, x)
        return z

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """s(<w_j, x_i>), shape (M, n, m)."""
        return self.activation(self.preactivations(x))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """f(x_i), shape (M, n)."""
        return (self.features(x) @ self.a[:, :, None])[..., 0]

    def __getitem__(self, index: int | slice | Sequence[int] | torch.Tensor) -> TwoLayer:
        """The sub-batch of networks; the network axis stays, also for an integer."""
        index = network_index(index, self.count)
        return TwoLayer(self.a[index], self.W[index], self.activation)


register(
    TwoLayer,
    sizes=lambda net: {"M": net.count, "m": net.width, "d": net.dim},
    tensors=lambda net: (net.a, net.W),
)


@checked(x=rules.inputs)
def _fitting(net: TwoLayer, x: torch.Tensor) -> None:
    """The errors of a forward pass, kept out of those that need none."""


@checked(x=rules.shape("n? k", "M n? k"), dim=rules.at_least(1))
def as_batch(x: torch.Tensor, dim: int) -> torch.Tensor:
    """x as (1 or M, n, d); ValueError if the last axis is not `dim` or an entry is not finite."""
    if x.ndim not in (2, 3) or x.shape[-1] != dim:
        raise ValueError(
            f"x must be (n, {dim}) or (M, n, {dim}), dim = {dim}, got {tuple(x.shape)}"
        )
    return x[None] if x.ndim == 2 else x


@checked()
def as_data(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A data set as x (M, n, d), y (M, n); ValueError if shapes disagree or one is not finite."""
    if x.ndim not in (2, 3) or y.shape != x.shape[:-1]:
        raise ValueError(
            f"need x (M, n, d) and y (M, n), or x (n, d) and y (n,); "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not x.numel():
        raise ValueError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    return (x[None], y[None]) if x.ndim == 2 else (x, y)


@checked(x=rules.inputs, y=rules.values)
def half_mse(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """L = (1/2n) sum_i (f(x_i) - y_i)^2, shape (M,)."""
    return _half_mse(net, x, y)


def _half_mse(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    S = net.activation(x @ net.W.mT)
    return 0.5 * ((S @ net.a[:, :, None])[..., 0] - y).square().mean(-1)


@checked(x=rules.inputs)
def at_kink(net: TwoLayer, x: torch.Tensor) -> torch.Tensor:
    """(M,) bool: some sample sits exactly on a kink of some neuron with a_j != 0.

    Pre-activations below 1e-12 |w_j| |x_i| count as zero.  Never True when s is differentiable.
    """
    if not net.activation.kinked:
        return torch.zeros(net.count, dtype=torch.bool, device=net.a.device)
    size = net.W.norm(dim=-1)[:, None, :] * as_batch(x, net.dim).norm(dim=-1)[:, :, None]
    hit = (net.preactivations(x).abs() <= 1e-12 * size) & (net.a != 0)[:, None, :] & (size > 0)
    return hit.flatten(1).any(-1)


@checked(x=rules.inputs, kinks=rules.one_of("subgradient", "error"))
def trace_parts(
    net: TwoLayer, x: torch.Tensor, kinks: str = "subgradient"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two parts of the Gauss-Newton trace, each (M, m):

        A_j = (1/n) sum_i s(<w_j, x_i>)^2                  second layer
        B_j = (a_j^2 / n) sum_i s'(<w_j, x_i>)^2 |x_i|^2    first layer

    sum_j (A_j + B_j) is the trace of the Hessian of L at every interpolator off the kinks, for any
    degree; for p = 1 it is so at *every* parameter off the kinks (a ReLU network is piecewise
    linear in each single coordinate).  For p >= 2 away from an interpolator the residual term (1/n)
    sum_i (f(x_i) - y_i) a_j s''(<w_j, x_i>) |x_i|^2 is missing.

    On a kink s' is taken as 0; with kinks="error" a ValueError is raised instead.
    """
    if kinks == "error" and (hit := at_kink(net, x)).any():
        raise ValueError(
            f"x: a sample lies on a kink in networks {hit.nonzero().flatten().tolist()}: "
            "the Hessian does not exist there"
        )
    z = net.preactivations(x)
    squared_norms = as_batch(x, net.dim).square().sum(-1)  # (1 or M, n)
    A = net.activation(z).square().mean(1)
    slopes = (net.activation.derivative(z).square() * squared_norms[:, :, None]).mean(1)
    return A, net.a.square() * slopes


@checked(x=rules.inputs, kinks=rules.one_of("subgradient", "error"))
def trace(net: TwoLayer, x: torch.Tensor, kinks: str = "subgradient") -> torch.Tensor:
    """sum_j (A_j + B_j), shape (M,); see `trace_parts` for when this is the Hessian trace."""
    A, B = trace_parts(net, x, kinks)
    return (A + B).sum(-1)


@checked(nets=rules.several(TwoLayer, "networks"))
def stack(nets: Sequence[TwoLayer]) -> TwoLayer:
    """One batch from several; narrower ones are padded with zero neurons (a = 0, w = 0)."""
    if len({(net.activation, net.dim, net.a.dtype, net.a.device) for net in nets}) != 1:
        raise ValueError(
            "nets: networks must share one activation, input dimension, dtype and device"
        )
    width = max(net.width for net in nets)
    pad = torch.nn.functional.pad
    return TwoLayer(
        torch.cat([pad(net.a, (0, width - net.width)) for net in nets]),
        torch.cat([pad(net.W, (0, 0, 0, width - net.width)) for net in nets]),
        nets[0].activation,
    )


@checked()
def concatenate(first: TwoLayer, second: TwoLayer) -> TwoLayer:
    """The networks computing the sum of the two functions: neurons side by side."""
    if first.activation != second.activation:
        raise ValueError(
            f"activations differ: {first.activation.name} and {second.activation.name}"
        )
    if (first.count, first.dim) != (second.count, second.dim):
        raise ValueError(
            f"first, second: expected as many networks in one dimension, got {first.count} in "
            f"R^{first.dim} and "
            f"{second.count} in R^{second.dim}"
        )
    return TwoLayer(
        torch.cat([first.a, second.a], 1), torch.cat([first.W, second.W], 1), first.activation
    )
