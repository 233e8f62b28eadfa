r"""The trace of the Hessian for any ``torch.nn.Module``: exact where every parameter enters the
outputs piecewise linearly, estimated everywhere.

**Theorem.** Let f(theta, x) be the outputs, L = (1/n) sum_i l(f(theta, x_i), y_i), and let the
parameters be given in blocks (the tensors of ``named_parameters``). If for every block B and every
i the map theta_B -> f(theta, x_i), the other blocks held fixed, is affine near theta_B, then

    Tr H = sum over blocks of (1/n) sum_i |S_i^T J_B(x_i)|_F^2,   J_B = d f / d theta_B,

with S_i S_i^T the Hessian of l in f at x_i: the trace of H is that of the Gauss-Newton matrix,
block by block, whatever the labels and whether or not the network fits them.

*Proof.* By the chain rule, for a single parameter theta_k in the block B,

    d^2 L / d theta_k^2 = (1/n) sum_i [ |S_i^T d f / d theta_k|^2
                                        + sum_c (d l / d f_c) d^2 f_c / d theta_k^2 ].

The second derivatives of f_c are those of an affine function of theta_B along a coordinate axis,
hence zero. The trace needs no other second derivatives: those that couple different blocks, which
do not vanish where weights of two layers are multiplied, are off the diagonal. Sum over k.

`flatness.curvature.piecewise_linear` says for which models the condition holds, and tests it.

Source: ours; for stacks of Linear and ReLU chapter a3_trace.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

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
from flatness.curvature.output_hessian import LOSSES, output_factor
from flatness.curvature.piecewise_linear import (
    NoExactTrace,
    gradients,
    outputs_at,
    refuse_curved,
)
from flatness.curvature.spectrum import MATRICES
from flatness.curvature.trace import BlockTrace, TraceEstimate


@checked(
    x=rules.any_dtype,
    loss=rules.one_of(*LOSSES),
    matrix=rules.one_of(*MATRICES),
    max_bytes=rules.at_least(1),
    model=None,
)
def module_hessian_trace(
    model: nn.Module,
    x: Tensor,
    *,
    loss: str = "cross_entropy",
    matrix: str = "hessian",
    dtype: torch.dtype = torch.float64,
    max_bytes: int = 2**28,
) -> BlockTrace:
    """Exact trace of the Hessian of the mean training loss of one model, by parameter tensor.

    The theorem above says for which models; others are refused with
    `flatness.curvature.piecewise_linear.NoExactTrace`, a ValueError, naming the block that is not
    piecewise linear (by `flatness.curvature.piecewise_linear.block_nonlinearity` at the inputs).
    ``matrix="gauss_newton"`` gives the same sum for any model, without that test: then it is the
    trace of the Gauss-Newton matrix, which in general is not that of the Hessian.

    ``x`` (n, ...) are the inputs that the model takes, outputs are (n, K). ``loss`` is as in
    `flatness.curvature.trace.hessian_trace`. All parameters count, frozen ones too. The model is
    evaluated in evaluation mode on copies of its parameters in ``dtype``; its mode, gradients and
    buffers stay as they are. Memory: about ``max_bytes`` for the gradients of some inputs, which
    are K times the parameters each. Blocks have shape (1,), in the order of ``named_parameters``.

    >>> model = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.Flatten())
    >>> traces = module_hessian_trace(model, torch.ones(3, 1, 2, 2), loss="square")
    >>> traces.blocks["0.weight"]                       # four pixels, each squared
    tensor([4.], dtype=torch.float64)
    """
    with evaluation_mode(module_argument("model", model)), twice_differentiable():
        f, parameters = as_function(model, dtype)
        inputs = like_inputs(x, dtype)
        outputs = outputs_at(f, parameters, inputs)
        per_output = sum(p.numel() for p in parameters.values()) * outputs.element_size()
        rows = max(1, max_bytes // per_output)
        sums = {name: outputs.new_zeros(1) for name in parameters}
        chunk = max(1, rows // outputs.shape[1])
        for part, expected in zip(inputs.split(chunk), outputs.split(chunk), strict=True):
            if matrix == "hessian":
                refuse_curved(f, parameters, part)
            found = _squares(f, parameters, part, expected, loss, rows)
            for name, value in found.items():
                sums[name] += value.sum()
        return BlockTrace({name: value / len(x) for name, value in sums.items()})


@checked(
    x=rules.any_dtype,
    y=rules.any_dtype,
    probes=rules.at_least(2),
    loss=rules.one_of(*LOSSES),
    model=None,
)
def module_hutchinson_trace(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    probes: int,
    generator: torch.Generator,
    loss: str = "cross_entropy",
    dtype: torch.dtype = torch.float64,
) -> TraceEstimate:
    """Hutchinson's unbiased estimate of the trace of the whole Hessian, for any model.

    As `flatness.curvature.trace.hutchinson_trace`: means and standard errors have shape (1,), the
    samples (1, probes). y are classes (n,), or (n, K) for ``loss="square"``. All inputs are taken
    at once, so that memory is that of one graph of double backpropagation. The model stays as it
    is, as in `module_hessian_trace`. Smooth models need nothing more; at kinks derivatives are
    PyTorch's.

    Source: Hutchinson (1990).
    """
    with evaluation_mode(module_argument("model", model)), twice_differentiable():
        f, parameters = as_function(model, dtype)
        inputs = like_inputs(x, dtype)
        for parameter in parameters.values():
            parameter.requires_grad_()
        outputs = outputs_at(f, parameters, inputs)
        value = _loss(outputs, y.to(dtype) if loss == "square" else y, loss)
        names = list(parameters)
        slopes = gradients(value, [parameters[name] for name in names])
        samples = []
        for _ in range(probes):
            signs = {
                name: (torch.randint(0, 2, p.shape, generator=generator) * 2 - 1).to(p)
                for name, p in parameters.items()
            }
            along = sum((g * signs[name]).sum() for name, g in zip(names, slopes, strict=True))
            products = gradients(along, list(parameters.values()))
            samples.append(sum((signs[n] * p).sum() for n, p in zip(names, products, strict=True)))
        drawn = torch.stack([torch.as_tensor(s) for s in samples])[None].detach()
        return TraceEstimate(drawn.mean(1), drawn.std(1) / probes**0.5, drawn)


def _loss(outputs: Tensor, y: Tensor, loss: str) -> Tensor:
    sizes = {"n": (len(outputs), "x"), "K": (outputs.shape[1], "model")}
    if loss == "square":
        rules.shape("n K")("y", y, sizes)
        return (outputs - y).square().sum(-1).mean() / 2
    rules.labels("y", y, sizes)
    return nn.functional.cross_entropy(outputs, y)


def _squares(
    f: Function,
    parameters: dict[str, Tensor],
    x: Tensor,
    expected: Tensor,
    loss: str,
    rows: int,
) -> dict[str, Tensor]:
    """|s^T J_B(x_i)|^2 for every block, input and column s of S_i, (n K,), ``rows`` at a time."""
    count = expected.shape[1]
    roots = output_factor(expected.detach(), loss).flatten(0, 1)  # a row for each input and output

    def along(parameters: dict[str, Tensor], point: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        outputs = f(parameters, point[None])[0]
        return outputs @ root, outputs

    def one(point: Tensor, root: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        rows, outputs = grad(along, has_aux=True)(parameters, point, root)
        return {name: row.square().sum() for name, row in rows.items()}, outputs

    try:
        squares, outputs = vmap(one, chunk_size=rows)(x.repeat_interleave(count, 0), roots)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise NoExactTrace(
            f"model: torch.func cannot take it input by input ({reason}); module_hutchinson_trace "
            "estimates the trace of any model"
        ) from error
    outputs = outputs[::count]
    off = (outputs - expected).abs().max()
    if off > torch.finfo(expected.dtype).eps ** 0.5 * (1 + expected.abs().max()):
        raise NoExactTrace(
            "model: the outputs of an input depend on the other inputs of the batch, so the loss "
            "is no mean over inputs"
        )
    return squares
