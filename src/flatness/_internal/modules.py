"""A reader's own ``torch.nn.Module`` without side effects: its mode, gradients and buffers stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from flatness._internal.arguments import KindError

Function = Callable[[dict[str, Tensor], Tensor], Tensor]


@contextmanager
def evaluation_mode(*models: nn.Module) -> Iterator[None]:
    """Every part in evaluation mode inside, in the mode that it had before outside."""
    modes = [(part, part.training) for model in models for part in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Attention by matrix products, since the fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def module_argument(name: str, model: object) -> nn.Module:
    """The module; TypeError for anything else, ValueError if a parameter holds no values."""
    if not isinstance(model, nn.Module):
        raise KindError(f"{name}: expected a torch.nn.Module, got {type(model).__name__}")
    for key, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"{name}: {key} has no shape yet; call the model once before")
        if parameter.device.type == "meta":
            raise ValueError(f"{name}: {key} is on the meta device and holds no values")
        if not parameter.dtype.is_floating_point:
            raise KindError(f"{name}: expected real parameters, got {parameter.dtype} in {key}")
    return model


def as_function(model: nn.Module, dtype: torch.dtype) -> tuple[Function, dict[str, Tensor]]:
    """f and copies of all parameters, frozen ones too, in ``dtype``: f(parameters, x) are outputs.

    Buffers are copied as well, so that a forward pass cannot change those of the model.
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise KindError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    parameters = {k: p.detach().to(dtype, copy=True) for k, p in model.named_parameters()}
    buffers = {
        key: buffer.detach().to(dtype if buffer.dtype.is_floating_point else None, copy=True)
        for key, buffer in model.named_buffers()
    }

    def outputs(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        copies = {key: buffer.clone() for key, buffer in buffers.items()}
        return functional_call(model, (parameters, copies), (x,))

    return outputs, parameters


def own_dtype(model: nn.Module) -> torch.dtype:
    """That of the first parameter, or PyTorch's default for a model without parameters."""
    return next((p.dtype for p in model.parameters()), torch.get_default_dtype())


def like_inputs(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Floating-point inputs in ``dtype``; whole numbers, such as tokens, as they are."""
    return x.to(dtype) if x.dtype.is_floating_point else x
