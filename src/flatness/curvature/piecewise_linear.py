r"""Where the outputs of a model are piecewise linear in each parameter tensor, which makes the
exact trace of `flatness.curvature.modules` that of the Hessian.

**Where the condition holds.** A network built by composition, sums and concatenation from

1. layers that are affine in their input for fixed parameters, and affine in each of their parameter
   tensors for a fixed input: Linear, convolutions, embeddings, batch normalisation in evaluation
   mode;
2. maps without parameters that are piecewise linear: ReLU, leaky ReLU, max and average pooling,
   flattening, padding, residual sums;

in which every parameter tensor is used by one layer, once, at inputs off the kinks. *Proof.* Vary
the block B of one layer. What comes before the layer does not see it; the layer's output is affine
in it; what follows is, for fixed parameters, a composition of affine and piecewise linear maps.
Such a map is piecewise linear, so off the kinks affine nearby. A parallel branch that does not pass
the layer adds a constant. A convolution uses a kernel at many places, but all on the same input, so
its output is affine in the kernel.

**Where it fails.** Weights used twice (recurrent or tied: a product of a weight with itself);
products of activations (attention, gating); smooth nonlinearities (tanh, GELU, SiLU, softmax
inside); normalisation by statistics of the same input (layer normalisation). These are detected and
refused, see `block_nonlinearity`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness._internal.modules import (
    Function,
    as_function,
    evaluation_mode,
    like_inputs,
    module_argument,
    twice_differentiable,
)

INSTEAD = (
    "module_hutchinson_trace estimates the trace of any model, and matrix='gauss_newton' gives the "
    "exact trace of the Gauss-Newton part alone"
)


class NoExactTrace(ValueError):
    """The trace of this model's Hessian is not computed exactly; the message says why."""


@checked(x=rules.any_dtype, model=None)
def block_nonlinearity(
    model: nn.Module, x: Tensor, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, float]:
    """How far the outputs at x are from piecewise linear in each parameter tensor; 0: they are.

    For a block B the number is |d^2 g [v, v]| / (|d g / d theta_B| |v|): g = sum_ic u_ic f_c(x_i)
    with standard normal u, and v a normal direction in the block, of the size of its parameters.
    The form d^2 f_c(x_i) [v, v] is a polynomial in the entries of v, and g is linear in u, so
    unless all second derivatives within the block are zero at all of these inputs, the number is
    zero with probability zero. What vanishes here up to rounding meets the condition of the
    theorem above; the second derivatives are PyTorch's, which at a kink are those of one side.

    >>> tanh = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    >>> {k: v > 1e-3 for k, v in block_nonlinearity(tanh, torch.ones(3, 2)).items()}
    {'0.weight': True, '0.bias': True, '2.weight': False, '2.bias': False}
    """
    with evaluation_mode(module_argument("model", model)), twice_differentiable():
        f, parameters = as_function(model, dtype)
        return _nonlinearity(f, parameters, like_inputs(x, dtype), seed)


def refuse_curved(f: Function, parameters: dict[str, Tensor], x: Tensor) -> None:
    """NoExactTrace, naming a block, unless the outputs at x are piecewise linear in every block."""
    bound = torch.finfo(next(iter(parameters.values())).dtype).eps ** 0.5
    found = _nonlinearity(f, parameters, x)
    for name in (name for name, value in found.items() if not value <= bound):
        raise NoExactTrace(
            f"model: its outputs are not piecewise linear in {name} (relative second derivative "
            f"{found[name]:.2g}), so the Gauss-Newton sum is not the trace of the Hessian: smooth "
            f"activations, attention, layer norms and shared weights are of this kind; {INSTEAD}"
        )


def _nonlinearity(
    f: Function, parameters: dict[str, Tensor], x: Tensor, seed: int = 0
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    outputs = outputs_at(f, leaves, x)
    weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs)
    slopes = gradients((weights * outputs).sum(), list(leaves.values()))
    found = {}
    for (name, block), gradient in zip(leaves.items(), slopes, strict=True):
        direction = torch.randn(block.shape, generator=generator, dtype=torch.float64).to(block)
        size = block.detach().square().mean().sqrt()
        direction = direction * (size if size > 0 else 1.0)
        second = (gradients((gradient * direction).sum(), [block])[0] * direction).sum()
        scale = gradient.detach().norm() * direction.norm()
        found[name] = (second.abs() / scale).item() if scale > 0 else second.abs().item()
    return found


def outputs_at(f: Function, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """Outputs (n, K), or a ValueError that names the argument."""
    if not parameters:
        raise ValueError("model: expected parameters, got a model without any")
    if not x.ndim or not len(x):
        raise ValueError(f"x: expected at least one input (n, ...), got shape {tuple(x.shape)}")
    try:
        outputs = f(parameters, x)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"x: the model does not take inputs of shape {tuple(x.shape)} and {x.dtype} ({reason})"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(x):
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(f"model: expected outputs of shape (n, K) with n = {len(x)}, got {got}")
    return outputs


def gradients(value: Tensor | int, blocks: list[Tensor]) -> list[Tensor]:
    """Derivatives with a graph; zeros where the value does not depend on a block."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return [torch.zeros_like(block) for block in blocks]
    try:
        found = torch.autograd.grad(value, blocks, create_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(f"model: PyTorch cannot differentiate it twice ({error})") from error
    return [torch.zeros_like(b) if g is None else g for g, b in zip(found, blocks, strict=True)]
