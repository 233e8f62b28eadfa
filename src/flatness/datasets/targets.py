"""Multi-index and sums of single-index targets, and data sets drawn from them.

Multi-index:            y = g(<u_1, x>, ..., <u_r, x>) + noise.
Sum of single indices:  y = sum_k b_k g_k(<u_k, x>) + noise.

Targets are batched: M targets of one kind, each with its own directions.  Setting of Part I,
chapter a2_setting; the targets are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch

from flatness._internal import rules
from flatness._internal.arguments import KindError, finite, integer, number
from flatness._internal.checks import checked
from flatness.datasets.input_laws import LAWS, _floating, sample_inputs
from flatness.networks.activations import ABS, ACTIVATIONS, RELU, RELU2, Activation
from flatness.networks.two_layer import TwoLayer


def _inputs(target: Target, x: torch.Tensor) -> torch.Tensor:
    count, _, d = target.directions.shape
    if not isinstance(x, torch.Tensor) or (x.dtype, x.device) != (
        target.directions.dtype,
        target.directions.device,
    ):
        raise KindError(
            f"x: expected {target.directions.dtype} on {target.directions.device}, as the "
            "directions"
        )
    if (
        x.ndim not in (2, 3)
        or x.shape[-1] != d
        or (x.ndim == 3 and count not in (1, x.shape[0]) and x.shape[0] != 1)
    ):
        raise ValueError(
            f"x: expected shape (n, {d}) or ({count}, n, {d}), as the directions, got "
            f"{tuple(x.shape)}"
        )
    finite("x", x)
    return x


@checked(k=rules.at_least(1), d=rules.at_least(1), count=rules.at_least(1), dtype=_floating)
def random_directions(
    count: int, k: int, d: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """k orthonormal vectors of R^d for each of `count` targets, Haar distributed, (count, k, d)."""
    if not 1 <= k <= d:
        raise ValueError(f"need 1 <= k <= d orthonormal directions, got k={k}, d={d}")
    gauss = torch.randn(count, d, k, generator=generator, dtype=dtype, device=generator.device)
    q, r = torch.linalg.qr(gauss)
    return (q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]).mT.contiguous()


@dataclass(frozen=True)
class SingleIndexSum:
    """h(x) = sum_k b_k g_k(<u_k, x>), directions (M, K, d), links g_k and weights b_k, K each.

    A link that is an `Activation` has an exact teacher network and closed-form Gaussian moments."""

    name: str
    directions: torch.Tensor
    links: tuple[Callable[[torch.Tensor], torch.Tensor], ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if (
            not isinstance(self.directions, torch.Tensor)
            or not self.directions.dtype.is_floating_point
        ):
            raise KindError(
                f"directions: expected a floating-point tensor (M, K, d), got {self.directions!r}"[
                    :200
                ]
            )
        finite("directions", self.directions)
        for weight in self.weights:
            number("weights", weight)
        k = self.directions.shape[1] if self.directions.ndim == 3 else None
        if k != len(self.links) or k != len(self.weights):
            raise ValueError(
                f"directions must be (M, K, d) with K links and K weights, got "
                f"{tuple(self.directions.shape)}, {len(self.links)}, {len(self.weights)}"
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """h(x), shape (M, n), for x (n, d) or (M, n, d)."""
        z = _inputs(self, x) @ self.directions.mT
        terms = zip(self.weights, self.links)
        return reduce(torch.add, [b * g(z[..., k]) for k, (b, g) in enumerate(terms)])

    def __getitem__(self, index) -> SingleIndexSum:
        return SingleIndexSum(self.name, self.directions[index], self.links, self.weights)

    def teacher(self, activation: Activation) -> TwoLayer:
        """The network with K (or, where a link needs both signs, 2K) neurons that equals h.

        ValueError if a link is not a combination of s(z) and s(-z) for this activation.
        """
        a, W = [], []
        for k, (b, g) in enumerate(zip(self.weights, self.links)):
            if not isinstance(g, Activation) or g.degree != activation.degree:
                raise ValueError(f"{self.name} has no teacher with activation {activation.name}")
            # g_plus = alpha s_plus + beta s_minus, g_minus = alpha s_minus + beta s_plus
            det = activation.plus**2 - activation.minus**2
            if det != 0:
                alpha = (g.plus * activation.plus - g.minus * activation.minus) / det
                beta = (g.minus * activation.plus - g.plus * activation.minus) / det
            elif g.plus * activation.minus == g.minus * activation.plus:
                alpha, beta = g.plus / activation.plus, 0.0
            else:
                raise ValueError(f"{self.name} has no teacher with activation {activation.name}")
            u = self.directions[:, k]
            a += [b * c for c in (alpha, beta) if c != 0]
            W += [v for c, v in ((alpha, u), (beta, -u)) if c != 0]
        weights = torch.as_tensor(a, dtype=W[0].dtype, device=W[0].device)
        return TwoLayer(
            weights.expand(len(self.directions), -1).clone(), torch.stack(W, 1), activation
        )


@dataclass(frozen=True)
class MultiIndex:
    """h(x) = g(<u_1, x>, ..., <u_r, x>), directions (M, r, d), link g: (..., r) -> (...)."""

    name: str
    directions: torch.Tensor
    link: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self):
        u = self.directions
        if not isinstance(u, torch.Tensor) or not u.dtype.is_floating_point or u.ndim != 3:
            raise KindError(
                f"directions: expected a floating-point tensor (M, r, d), got {self.directions!r}"[
                    :200
                ]
            )
        finite("directions", self.directions)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """h(x), shape (M, n), for x (n, d) or (M, n, d)."""
        return self.link(_inputs(self, x) @ self.directions.mT)

    def __getitem__(self, index) -> MultiIndex:
        return MultiIndex(self.name, self.directions[index], self.link)

    def teacher(self, activation: Activation) -> TwoLayer:
        """Always a ValueError: no general teacher is known for a multi-index link."""
        raise ValueError(f"{self.name} is a multi-index target: it has no teacher network")


Target = SingleIndexSum | MultiIndex


def _tanh2(z):
    return torch.tanh(2 * z)


def _sin2(z):
    return torch.sin(2 * z)


_LINKS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], ...]] = {
    "relu": (RELU,),
    "three_relu": (RELU,) * 3,
    "abs": (ABS,),
    "tanh_sum": (_tanh2,) * 3,
    "sine_sum": (_sin2,) * 2,
    "relu2": (RELU2,),
}


TARGETS = tuple(_LINKS)
_LINKS |= {name: (act,) for name, act in ACTIVATIONS.items() if name not in _LINKS}


@checked(d=rules.at_least(1), count=rules.at_least(1))
def make_target(name: str, d: int, generator: torch.Generator, count: int = 1) -> Target:
    """`count` targets with random orthonormal directions in R^d.

    "relu": z_+.  "three_relu": sum of three z_+.  "abs": |z|.  "tanh_sum": sum of three tanh(2z).
    "sine_sum": sum of two sin(2z).  "relu2": z_+^2.  "product" (multi-index): z_1 z_2.  Also the
    name of any activation of the package: one neuron of it.
    """
    if name == "product":
        return MultiIndex(
            name, random_directions(count, 2, d, generator), lambda z: z[..., 0] * z[..., 1]
        )
    if not isinstance(name, str) or name not in _LINKS:
        raise ValueError(f"name: target must be one of {(*_LINKS, 'product')}, got {name!r}")
    links = _LINKS[name]
    directions = random_directions(count, len(links), d, generator)
    return SingleIndexSum(name, directions, links, (1.0,) * len(links))


@dataclass(frozen=True)
class DataSet:
    """M data sets: x (M, n, d), y = target(x) + noise * N(0, 1), (M, n)."""

    x: torch.Tensor
    y: torch.Tensor
    target: Target
    law: str
    noise: float
    seeds: tuple[int, ...]

    def __getitem__(self, index: slice) -> DataSet:
        return DataSet(
            self.x[index],
            self.y[index],
            self.target[index],
            self.law,
            self.noise,
            self.seeds[index],
        )


@checked(n=rules.at_least(1), d=rules.at_least(1), law=rules.one_of(*LAWS), noise=rules.at_least(0))
def draw(
    target: str, n: int, d: int, seeds: Sequence[int], law: str = "gaussian", noise: float = 0.0
) -> DataSet:
    """One data set per seed, with its own target directions, inputs and label noise (standard
    deviation `noise`).

    A data set depends on its own seed only, not on the batch it is drawn in.  Data sets of one seed
    and different n share their target directions and their first inputs: the seed, not the data
    set, is the unit.
    """
    if len(seeds) == 0:
        raise ValueError("seeds: give at least one seed")
    if target not in (*_LINKS, "product"):
        raise ValueError(f"target: expected one of {', '.join(_LINKS)}, product, got {target!r}")
    xs, ys, targets = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(integer("seeds", seed))
        one = make_target(target, d, generator)
        x = sample_inputs(law, n, d, generator)
        targets.append(one)
        xs.append(x)
        ys.append(one(x) + noise * torch.randn(1, n, generator=generator, dtype=x.dtype))
    first, directions = targets[0], torch.cat([t.directions for t in targets])
    joint = (
        MultiIndex(first.name, directions, first.link)
        if isinstance(first, MultiIndex)
        else SingleIndexSum(first.name, directions, first.links, first.weights)
    )
    return DataSet(
        torch.cat(xs), torch.cat(ys), joint, law, float(noise), tuple(int(s) for s in seeds)
    )
