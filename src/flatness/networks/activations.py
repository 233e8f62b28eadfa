"""Positively homogeneous activations of integer degree p >= 1.

A function with s(c z) = c^p s(z) for every c > 0 is fixed by its two values s(1) and s(-1):

    s(z) = plus * z_+^p + minus * z_-^p,      z_+ = max(z, 0), z_- = max(-z, 0).

An activation is therefore three numbers, and everything else (derivative, Euler's identity
s'(z) z = p s(z), Gaussian moments) follows from them.  Setting of Part I, chapter a2_setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from flatness._internal import rules
from flatness._internal.arguments import integer, number


@dataclass(frozen=True)
class Activation:
    """The activation s(z) = plus z_+^p + minus z_-^p, p = `degree`.

    Raises
    ------
    ValueError
        if the degree is not an integer >= 1, a coefficient is not finite, or both are zero.

    >>> RELU(torch.tensor([-2.0, 3.0])).tolist()
    [0.0, 3.0]
    >>> SQUARE.derivative(torch.tensor([-2.0, 3.0])).tolist()
    [-4.0, 6.0]
    """

    name: str
    degree: int
    plus: float
    minus: float

    def __post_init__(self) -> None:
        if not isinstance(self.degree, int) or self.degree < 1:
            raise ValueError(f"degree must be an integer >= 1, got {self.degree!r}")
        number("plus", self.plus)
        number("minus", self.minus)
        if self.plus == 0 and self.minus == 0:
            raise ValueError("the zero function is homogeneous of every degree: no activation")

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """s(z), any shape."""
        p = self.degree
        if self.minus == 0:
            value = _power(z.clamp(min=0), p)
            return value if self.plus == 1 else self.plus * value
        return self.plus * _power(z.clamp(min=0), p) + self.minus * _power((-z).clamp(min=0), p)

    def derivative(self, z: torch.Tensor) -> torch.Tensor:
        """s'(z), any shape.  At a kink (p = 1, z = 0) the value is 0: a subgradient when
        plus >= 0 >= -minus, and a convention otherwise.  A linear s has no kink: s' = plus."""
        p = self.degree
        if p == 1 and not self.kinked:
            return torch.full_like(z, self.plus)
        if p == 1:
            rising = self.plus * (z > 0).to(z.dtype)
            return rising - self.minus * (z < 0).to(z.dtype) if self.minus else rising
        slope = self.plus * p * _power(z.clamp(min=0), p - 1)
        if self.minus == 0:
            return slope
        return slope - self.minus * p * _power((-z).clamp(min=0), p - 1)

    @property
    def kinked(self) -> bool:
        """True when s is not differentiable at 0 (p = 1 and s is not linear)."""
        return self.degree == 1 and self.plus != -self.minus

    @property
    def smallest_slope(self) -> float:
        """The smallest non-zero of |plus|, |minus|: the constant s of the lower bound."""
        return min(abs(c) for c in (self.plus, self.minus) if c != 0)


def _power(z: torch.Tensor, p: int) -> torch.Tensor:
    return z if p == 1 else z * z if p == 2 else z**p


def from_function(
    function: Callable[[torch.Tensor], torch.Tensor],
    degree: int,
    name: str,
    tolerance: float = 1e-10,
) -> Activation:
    """The `Activation` equal to `function`, which must be positively homogeneous of `degree`.

    The function is compared with s(1) z_+^p + s(-1) z_-^p at 401 points of [-10, 10];
    homogeneity makes the two equal everywhere.

    Raises
    ------
    ValueError
        naming the first point at which they differ by more than `tolerance` (relative).

    >>> from_function(lambda z: 3 * z.abs(), degree=1, name="three abs").minus
    3.0
    """
    number("tolerance", tolerance, rules.at_least(0))
    integer("degree", degree, 1)
    ends = function(torch.tensor([1.0, -1.0], dtype=torch.float64))
    act = Activation(name, degree, float(ends[0]), float(ends[1]))
    z = torch.linspace(-10, 10, 401, dtype=torch.float64)
    value, expected = function(z), act(z)
    wrong = ~((value - expected).abs() <= tolerance * (1 + expected.abs()))  # also catches NaN
    if wrong.any():
        i = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} is not positively homogeneous of degree {degree}: at z = {z[i]:.3g} it is "
            f"{value[i]:.6g}, but s(±1) |z|^{degree} = {expected[i]:.6g}"
        )
    return act


RELU = Activation("relu", 1, 1.0, 0.0)
LEAKY_RELU = Activation("leaky_relu", 1, 1.0, -0.1)
ABS = Activation("abs", 1, 1.0, 1.0)
RELU2 = Activation("relu2", 2, 1.0, 0.0)
SQUARE = Activation("square", 2, 1.0, 1.0)
RELU3 = Activation("relu3", 3, 1.0, 0.0)
ACTIVATIONS = {act.name: act for act in (RELU, LEAKY_RELU, ABS, RELU2, SQUARE, RELU3)}
