"""The adversary: the flattest interpolator we can find among those with a large population loss.

    minimise  half-MSE + lambda (F*(theta) + mu * F_ref * E(f + h)^2 / Var h)

annealed as in flatness.interpolators.penalised.  The second term pulls the network f towards minus
the target h: the larger mu, the worse and the sharper the interpolator.  It is in closed form
(Gaussian inputs), so it cannot be satisfied on a sample only.  Bisection in log mu, per data set,
finds where the relative population loss crosses the wanted level. Result I (chapter
a6_nongeneralising) asks how flat the bad ones can be.  Our own construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from flatness._internal import rules
from flatness._internal.arguments import number
from flatness._internal.checks import checked
from flatness.datasets.population import (
    _kernel_with_slope,
    population_loss,
    target_field,
    target_moments,
)
from flatness.datasets.targets import SingleIndexSum
from flatness.interpolators.candidates import LOSS_TOLERANCE
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError, check_counting
from flatness.interpolators.search import anneal, default_width, initial_network, polished
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, _half_mse, as_data
from flatness.symmetry.orbits import orbit_minimum


@dataclass(frozen=True)
class Adversary:
    """What the bisection tried: mu, F* and relative population loss of the interpolator reached,
    each (rounds, M) (infinite F*: no interpolator), and `net`, for each data set the flattest one
    with relative loss >= badness.
    """

    net: TwoLayer
    flatness: torch.Tensor
    relative: torch.Tensor
    pull: torch.Tensor
    badness: float

    def smallest_flatness(self) -> torch.Tensor:
        """The smallest F* found with relative population loss >= badness, (M,); infinite where none
        was.
        """
        return torch.where(self.relative >= self.badness, self.flatness, torch.inf).amin(0)


def _pull(a, W, crossing, activation):
    """E (f + h)^2 - E h^2 = E f^2 + 2 E f h, (M,), and its gradients in a (M, m) and W (M, m, d);
    standard Gaussian x; `crossing` is the `_target_field` of h.
    """
    p, length = activation.degree, W.norm(dim=-1).clamp_min(1e-12)
    unit, mass = W / length[:, :, None], a * length**p
    K, slope = _kernel_with_slope(unit @ unit.mT, activation)
    field = (K @ mass[:, :, None])[..., 0]  # E f s(<u_j, x>)
    force = slope @ (mass[:, :, None] * unit)
    cross, cross_force = crossing(unit)
    value = (mass * (field + 2 * cross)).sum(-1)
    by_mass, by_unit = 2 * (field + cross), 2 * mass[:, :, None] * (force + cross_force)
    by_unit = by_unit - (by_unit * unit).sum(-1, keepdim=True) * unit
    by_length = by_mass * a * p * length ** (p - 1)
    return value, by_mass * length**p, by_length[:, :, None] * unit + by_unit / length[:, :, None]


def _target_field(target, activation):
    """The function of unit vectors u_j that gives E h s(<u_j, x>), (M, m), and its gradient in u_j,
    (M, m, d).
    """
    try:  # the target as a network: the same closed form
        teacher = target.teacher(activation)
    except ValueError:
        return partial(_by_autograd, target=target, activation=activation)
    length = teacher.W.norm(dim=-1)
    ahead = teacher.W / length[:, :, None]
    mass = (teacher.a * length**activation.degree)[:, :, None]
    force = mass * teacher.W / length[:, :, None]

    def field(unit):
        K, slope = _kernel_with_slope(unit @ ahead.mT, activation)
        return (K @ mass)[..., 0], slope @ force

    return field


def _by_autograd(unit, target, activation):
    with torch.enable_grad():
        unit = unit.detach().requires_grad_()
        field = target_field(unit, target, activation)
        return field.detach(), torch.autograd.grad(field.sum(), unit)[0]


@checked(
    overflow=False,
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    reference=rules.any_dtype,
    badness=rules.above(0),
    rounds=rules.at_least(1),
    width=rules.at_least(1),
    schedule=rules.instance(Schedule),
)
def adversary(
    x: torch.Tensor,
    y: torch.Tensor,
    target: SingleIndexSum,
    activation: Activation,
    reference: torch.Tensor,
    generator: torch.Generator,
    badness: float = 0.5,
    rounds: int = 6,
    bracket: tuple[float, float] = (0.05, 1.5),
    width: int | None = None,
    schedule: Schedule = Schedule(steps=1000),
) -> Adversary:
    """The flattest interpolators found with relative population loss >= `badness`; M data sets,
    Gaussian inputs.

    `reference` (M,) is F_ref, the flatness of a good interpolator (it sets the scale of mu);
    `bracket` holds the smallest and largest mu, `rounds` is the number of bisection steps, one
    training run each.

    Raises
    ------
    ValueError
        if the target is not a sum of single-index links, or a parameter is out of range.
    InterpolationError
        if the counting n <= m d fails, or on some data set no interpolator that bad was found.
    """
    x, y = as_data(x, y)
    if reference.shape != (len(x),) or not (reference > 0).all():
        raise ValueError(
            f"reference: expected {len(x)} positive numbers, one for each data set, got "
            f"{reference.tolist()}"
        )
    if not isinstance(target, SingleIndexSum):
        raise ValueError(
            "target: the adversary needs a sum of single-index links: only there is the population "
            "loss in closed form"
        )
    if not isinstance(bracket, tuple | list) or len(bracket) != 2:
        raise ValueError(f"bracket: expected the smallest and the largest mu, got {bracket!r}")
    for mu in bracket:
        number("bracket", mu)
    if not (0 < bracket[0] < bracket[1] and rounds >= 1 and badness > 0):
        raise ValueError(
            f"bracket: need 0 < bracket[0] < bracket[1], rounds >= 1, badness > 0; "
            f"got {bracket}, {rounds}, {badness}"
        )
    width = default_width(x.shape[-2]) if width is None else width
    check_counting(x.shape[-2], x.shape[-1], width, activation)
    if target.directions.shape[::2] != x.shape[::2]:
        raise ValueError(
            f"target, x: expected {len(x)} targets in R^{x.shape[-1]}, got "
            f"{len(target.directions)} in R^{target.directions.shape[-1]}"
        )
    mean, square = target_moments(target)
    scale = reference / (square - mean**2)
    low, high = (torch.full_like(scale, mu).log() for mu in bracket)
    candidates, flat, relative, pulls = [], [], [], []
    crossing = _target_field(target, activation)
    for _ in range(rounds):
        mu = ((low + high) / 2).exp()

        def pull(a, W, lam, mu=mu):
            _, grad_a, grad_W = _pull(a, W, crossing, activation)
            strength = lam * mu * scale
            return strength[:, None] * grad_a, strength[:, None, None] * grad_W

        start = initial_network(x, y, activation, width, generator)
        found = list(
            polished(anneal(start, x, y, schedule, generator, pull), x, y, generator).values()
        )
        for net in found:
            loss = population_loss(net, target).relative
            ok = _half_mse(net, x, y) <= LOSS_TOLERANCE
            candidates.append(net)
            flat.append(torch.where(ok, orbit_minimum(net, x), torch.inf))
            relative.append(torch.where(ok, loss, 0.0))
            pulls.append(mu)
        bad_enough = torch.stack(relative[-len(found) :]).amax(0) >= badness
        low, high = torch.where(bad_enough, low, mu.log()), torch.where(bad_enough, mu.log(), high)
    flatness, relative = torch.stack(flat), torch.stack(relative)
    value, index = torch.where(relative >= badness, flatness, torch.inf).min(0)
    if torch.isinf(value).any():
        missing = torch.isinf(value).nonzero().flatten().tolist()
        raise InterpolationError(
            f"no interpolator with relative loss >= {badness} on data sets {missing}: "
            f"widen the bracket {bracket}"
        )
    rows = torch.arange(len(x), device=x.device)
    net = TwoLayer(
        torch.stack([c.a for c in candidates])[index, rows],
        torch.stack([c.W for c in candidates])[index, rows],
        activation,
    )
    return Adversary(net, flatness, relative, torch.stack(pulls), badness)
