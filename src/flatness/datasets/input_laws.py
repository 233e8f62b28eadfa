"""Input laws: five laws on R^d with mean 0 and covariance I.

Setting of Part I, chapter a2_setting; the laws are our choice.
"""

from __future__ import annotations

from typing import Any

import torch

from flatness._internal import rules
from flatness._internal.checks import checked

LAWS = ("gaussian", "sphere", "rademacher", "cube", "mixture")
MIXTURE_MEAN = 0.8  # distance of the two component means from 0


def _floating(name: str, dtype: torch.dtype, sizes: dict) -> None:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"{name}: expected a floating-point torch.dtype, got {dtype!r}")


@checked(
    law=rules.one_of(*LAWS),
    n=rules.at_least(1),
    d=rules.at_least(1),
    count=rules.at_least(1),
    dtype=_floating,
)
def sample_inputs(
    law: str,
    n: int,
    d: int,
    generator: torch.Generator,
    count: int = 1,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """`count` samples of n inputs in R^d, shape (count, n, d), mean 0 and covariance I.

    "gaussian": N(0, I).  "sphere": uniform on the sphere of radius sqrt(d).  "rademacher": uniform
    on {-1, 1}^d.  "cube": uniform on [-sqrt 3, sqrt 3]^d.  "mixture": equal mixture of N(±mu, I -
    mu mu^T), mu = 0.8 (1, ..., 1)/sqrt(d).
    """
    shape = (count, n, d)
    options: dict[str, Any] = dict(generator=generator, dtype=dtype, device=generator.device)
    if law == "rademacher":
        return _signs(shape, generator).to(dtype)
    if law == "cube":
        return (2 * torch.rand(shape, **options) - 1) * 3**0.5
    x = torch.randn(shape, **options)
    if law == "sphere":
        return x / x.norm(dim=-1, keepdim=True) * d**0.5
    if law == "mixture":
        axis = x.new_full((d,), d**-0.5)
        sign = _signs((count, n, 1), generator).to(dtype)
        shrink = 1 - (1 - MIXTURE_MEAN**2) ** 0.5
        return x - shrink * (x @ axis)[..., None] * axis + MIXTURE_MEAN * sign * axis
    return x


def _signs(shape, generator):
    return 2 * torch.randint(0, 2, shape, generator=generator, device=generator.device) - 1
