"""A reader's own PyTorch models as an ensemble, and an ensemble as PyTorch models.

What can be read is a stack of ``Linear`` layers with ReLU between them, in whatever class: the
order of the layers is that of the forward pass, found by ``torch.fx``, not that in which they were
registered. Everything is copied; the models stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import overload

import torch
from torch import Tensor, nn

from flatness._internal.arguments import KindError, finite, integer
from flatness._internal.modules import (
    evaluation_mode,
    like_inputs,
    module_argument,
    own_dtype,
)
from flatness.networks.forward_pass import Layer, linear_layers
from flatness.networks.mlp import MLPEnsemble


def from_torch(
    *models: nn.Module,
    example: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device | None = None,
) -> MLPEnsemble:
    """The models as one ensemble, network m being ``models[m]`` in evaluation mode.

    Each is a stack Linear, ReLU, Linear, ..., Linear of common widths. ReLU may be a module, a
    function or a method; flattening of the inputs, Identity and Dropout are left out, since in
    evaluation mode they do nothing to vectors. Where only some layers have biases the others get
    zeros; where none has one the ensemble has none. Weights are copied and detached, to ``dtype``
    and to ``device`` (default: where the models are).

    ``example`` (n, ...) are inputs on which the outputs of the ensemble are compared with those of
    the models; the bound is that of rounding in the lower of the two precisions.

    Raises ValueError, TypeError for what is no module, naming the layer that cannot be read, and
    saying what works instead.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> networks = from_torch(model, example=torch.ones(5, 2, 2))
    >>> networks.widths, networks.dtype
    ([4, 3, 2], torch.float64)
    """
    if not models:
        raise ValueError("models: expected at least one torch.nn.Module, got none")
    return ensemble_of("models", models, dtype, device, example)


def ensemble_of(
    name: str,
    models: Sequence[nn.Module],
    dtype: torch.dtype,
    device: str | torch.device | None,
    example: Tensor | None,
    example_name: str = "example",
) -> MLPEnsemble:
    """`from_torch` for a caller whose arguments are called ``name`` and ``example_name``."""
    stacks = []
    for index, model in enumerate(models):
        with evaluation_mode(module_argument(f"{name}[{index}]", model)):
            stacks.append(linear_layers(f"{name}[{index}]", model))
    networks = _stacked(name, stacks, dtype, device)
    if example is not None:
        for index, model in enumerate(models):
            if not networks[index].finite().all():
                continue  # NaN agrees with nothing
            _compare(f"{name}[{index}]", model, networks[index], example, example_name)
    return networks


def from_state_dict(
    *states: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float64,
    device: str | torch.device | None = None,
) -> MLPEnsemble:
    """The ensemble of networks whose ``state_dict()`` these are, one state per network.

    The entries are ``NAME.weight`` (d_out, d_in) and, where a layer has one, ``NAME.bias``
    (d_out,), in the order of the layers. A state dict does not say what stands between the layers:
    it is taken to be ReLU, so use `from_torch` where the model itself is at hand. Raises ValueError
    naming an entry that is no layer of such a stack.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> from_state_dict(model.state_dict()).widths
    [4, 3, 2]
    """
    if not states:
        raise ValueError("states: expected at least one state dict, got none")
    stacks = [_read_state(f"states[{index}]", state) for index, state in enumerate(states)]
    return _stacked("states", stacks, dtype, device)


@overload
def to_torch(networks: MLPEnsemble, index: int) -> nn.Sequential: ...
@overload
def to_torch(networks: MLPEnsemble, index: None = None) -> list[nn.Sequential]: ...
def to_torch(
    networks: MLPEnsemble, index: int | None = None
) -> nn.Sequential | list[nn.Sequential]:
    """Network ``index`` as ``nn.Sequential(Linear, ReLU, ..., Linear)``, or all of them as a list.

    Weights are copies with the same bits, dtype and device, and require gradients; nothing is drawn
    from PyTorch's random numbers. The inverse of `from_torch` for networks in its ``dtype``.

    >>> networks = MLPEnsemble.from_seeds([4, 3, 2], seeds=[0, 1])
    >>> torch.equal(from_torch(*to_torch(networks)).weights[1], networks.weights[1])
    True
    """
    if not isinstance(networks, MLPEnsemble):
        raise KindError(f"networks: expected an MLPEnsemble, got {type(networks).__name__}")
    if index is None:
        return [_sequential(networks, one) for one in range(len(networks))]
    return _sequential(networks, integer("index", index, -len(networks), len(networks) - 1))


def _sequential(networks: MLPEnsemble, index: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer, weight in enumerate(networks.weights):
        linear = nn.Linear(weight.shape[2], weight.shape[1], networks.biases is not None, "meta")
        linear.weight = nn.Parameter(weight[index].detach().clone())
        if networks.biases is not None:
            linear.bias = nn.Parameter(networks.biases[layer][index].detach().clone())
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def _stacked(
    name: str, stacks: list[list[Layer]], dtype: torch.dtype, device: str | torch.device | None
) -> MLPEnsemble:
    """Networks given by their layers as one ensemble; ``name`` is the argument they came in."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise KindError(f"dtype: expected a floating-point dtype, got {dtype!r}")
    shapes = [[tuple(layer.weight.shape) for layer in stack] for stack in stacks]
    for index, (stack, found) in enumerate(zip(stacks, shapes, strict=True)):
        for before, layer in pairwise(stack):
            if layer.weight.shape[1] != before.weight.shape[0]:
                raise ValueError(
                    f"{name}[{index}]: layer {layer.name} takes {layer.weight.shape[1]} inputs, "
                    f"but layer {before.name} before it gives {before.weight.shape[0]}"
                )
        if found != shapes[0]:
            raise ValueError(
                f"{name}[{index}]: expected layers of shapes {shapes[0]}, as in {name}[0], got "
                f"{found}; networks of other widths make an ensemble of their own"
            )
    places = {layer.weight.device for stack in stacks for layer in stack}
    if device is None and len(places) > 1:
        raise ValueError(f"device: the {name} are on {sorted(map(str, places))}; give one device")
    place = next(iter(places)) if device is None else _device(device)
    biased = any(layer.bias is not None for stack in stacks for layer in stack)
    weights, biases = [], []
    for layers in zip(*stacks, strict=True):
        copies = [layer.weight.detach().to(place, dtype) for layer in layers]
        weights.append(torch.stack(copies))
        zero = copies[0].new_zeros(len(copies[0]))
        own = [zero if layer.bias is None else layer.bias.detach() for layer in layers]
        biases.append(torch.stack([bias.to(place, dtype) for bias in own]))
    return MLPEnsemble(weights, biases if biased else None)


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: cannot use {device!r} ({reason})") from None


def _read_state(name: str, state: Mapping[str, Tensor]) -> list[Layer]:
    if not isinstance(state, Mapping) or not state:
        raise KindError(f"{name}: expected a state dict with entries, got {type(state).__name__}")
    layers: list[Layer] = []
    for key, value in state.items():
        stem, _, kind = str(key).rpartition(".")
        if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
            raise KindError(f"{name}: expected a real tensor at {key!r}, got {_described(value)}")
        if value.device.type == "meta":
            raise ValueError(f"{name}: {key} is on the meta device and holds no values")
        if kind == "weight" and value.ndim == 2:
            layers.append(Layer(stem, value, None))
        elif kind == "bias" and layers and layers[-1].name == stem and layers[-1].bias is None:
            if value.shape != layers[-1].weight.shape[:1]:
                raise ValueError(
                    f"{name}: expected shape {tuple(layers[-1].weight.shape[:1])} at {key!r}, got "
                    f"{tuple(value.shape)}"
                )
            layers[-1] = Layer(stem, layers[-1].weight, value)
        else:
            raise ValueError(
                f"{name}: {key!r} of shape {tuple(value.shape)} is no weight (d_out, d_in) or bias "
                "(d_out,) of a Linear layer; only stacks of Linear and ReLU can be read from a "
                "state dict"
            )
    return layers


def _described(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _compare(
    name: str, model: nn.Module, network: MLPEnsemble, example: Tensor, called: str
) -> None:
    """ValueError unless model and network agree on the example up to rounding.

    A sum of d products is rounded by at most d eps times the sum of their sizes. Through the layers
    this adds up to (d_0 + 2 + d_1 + 2 + ...) eps times the outputs of the network of absolute
    values, to first order in eps; the test allows four times that.
    """
    if not isinstance(example, Tensor):
        raise KindError(f"{called}: expected a tensor, got {type(example).__name__}")
    if example.device.type == "meta":
        raise ValueError(f"{called}: expected values, got a tensor on the meta device")
    if example.ndim < 2 or not example.numel() or example[0].numel() != network.widths[0]:
        raise ValueError(
            f"{called}: expected inputs (n, ...) of {network.widths[0]} numbers each, got shape "
            f"{tuple(example.shape)}"
        )
    finite(called, example)
    x = like_inputs(example, own_dtype(model)).flatten(1).to(network.device, network.dtype)
    ours = network(x)[0]
    bound = network.map(torch.abs)(x.abs())[0]
    eps = max(torch.finfo(own_dtype(model)).eps, torch.finfo(network.dtype).eps)
    allowed = 4 * eps * sum(width + 2 for width in network.widths[:-1]) * bound
    with evaluation_mode(model), torch.no_grad():
        try:
            theirs = model(like_inputs(example, own_dtype(model)))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{called}: {name} does not take it ({error})") from error
    if theirs.shape != ours.shape:
        raise ValueError(
            f"{called}: {name} gives outputs of shape {tuple(theirs.shape)} for it, expected "
            f"{tuple(ours.shape)}; inputs of several axes need a Flatten in the model"
        )
    off = (theirs.to(ours) - ours).abs().where(theirs.isfinite(), 0.0)  # else: beyond its dtype
    if not (off <= allowed).all():
        raise ValueError(
            f"{name}: its outputs on {called} differ from those of its layers by "
            f"{off.max():.3g}, more than rounding; its forward pass does more than the layers say"
        )
