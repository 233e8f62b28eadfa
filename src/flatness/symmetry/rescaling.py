"""Changes of the parameters of a ReLU network that leave its function as it is.

relu is positively homogeneous, relu(c z) = c relu(z) for c > 0, so the incoming weights and the
bias of a hidden unit may be multiplied by c and its outgoing weights divided by c. Units of a layer
may be permuted, and units that nothing reads may be added. The two-layer case for other activations
is in `flatness.symmetry.orbits`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flatness._internal.arguments import KindError, integer_array, number
from flatness._internal.checks import checked
from flatness._internal.rules import above, any_dtype
from flatness.curvature.trace import BlockTrace
from flatness.networks.mlp import MLPEnsemble


@checked(overflow=False)
def rescale_neurons(networks: MLPEnsemble, scales: Sequence[Tensor | float]) -> MLPEnsemble:
    """Multiply incoming weights and bias of every hidden unit by its scale, divide outgoing weights
    by it.

    ``scales[l]``, one entry for each hidden layer, has shape (M, d) or (d,) with d the layer's
    width, or is a number for the whole layer. Weights between two hidden layers are multiplied by
    the scale of the unit they enter and divided by that of the unit they leave. The function is the
    same; in floating point, exactly the same if all scales are powers of two and nothing overflows
    or underflows. Raises ValueError for scales that are not positive and finite.

    >>> net = MLPEnsemble.from_seeds([3, 4, 2], seeds=[0])
    >>> moved = rescale_neurons(net, [torch.tensor([1.0, 2.0, 4.0, 8.0])])
    >>> x = torch.ones(1, 3, dtype=torch.float64)
    >>> bool((moved(x) == net(x)).all()), bool((moved.weights[0] == net.weights[0]).all())
    (True, False)

    Source: Dinh et al. (2017); our chapter b3_invariance_pacbayes.
    """
    hidden = networks.widths[1:-1]
    if len(scales) != len(hidden):
        raise ValueError(
            f"scales: expected one entry for each of the {len(hidden)} hidden layers, "
            f"got {len(scales)}"
        )
    checked = [_scale(networks, layer, scale) for layer, scale in enumerate(scales)]
    weights = list(networks.weights)
    biases = None if networks.biases is None else list(networks.biases)
    for layer, scale in enumerate(checked):
        weights[layer] = weights[layer] * scale[:, :, None]
        weights[layer + 1] = weights[layer + 1] / scale[:, None, :]
        if biases is not None:
            biases[layer] = biases[layer] * scale
    return MLPEnsemble(weights, biases)


@checked()
def rescale_layer(networks: MLPEnsemble, layer: int, factor: float | Tensor) -> MLPEnsemble:
    """Multiply W and b of hidden layer ``layer`` (0: the first) by ``factor``, divide the next W by
    it.

    ``factor`` is a positive number, or a tensor (M,) of one for each network.
    """
    hidden = len(networks.weights) - 1
    if not 0 <= layer < hidden:
        raise ValueError(f"layer: expected a hidden layer, 0 to {hidden - 1}, got {layer}")
    factor = _positive("factor", networks, factor)
    if factor.shape not in ((), (len(networks),)):
        raise ValueError(
            f"factor: expected a number or shape ({len(networks)},), got {tuple(factor.shape)}"
        )
    if isinstance(factor, Tensor) and factor.ndim:
        factor = factor[:, None].expand(-1, networks.widths[layer + 1])
    return rescale_neurons(networks, [factor if other == layer else 1.0 for other in range(hidden)])


@checked(beta=above(0))
def t_beta(networks: MLPEnsemble, beta: float) -> MLPEnsemble:
    """T_beta of Paper B: (W_1, b_1) times beta, W_2 divided by beta."""
    return rescale_layer(networks, 0, beta)


@checked(gamma=above(0))
def t_gamma(networks: MLPEnsemble, gamma: float) -> MLPEnsemble:
    """T_gamma of Paper B: (W_2, b_2) times gamma, W_3 divided by gamma."""
    return rescale_layer(networks, 1, gamma)


@checked()
def rescaled_trace(trace: BlockTrace, factors: Sequence[float | Tensor]) -> BlockTrace:
    """The block traces after hidden layer l is multiplied by ``factors[l]`` (a number or shape
    (M,)).

    With c_l the factor of hidden layer l, c_0 = 1 for the inputs and c_L = 1 for the outputs, layer
    l's weights were multiplied by c_l / c_{l-1} and its bias by c_l, so a second derivative is
    divided by the square of that:

        Tr_{W_l} -> (c_{l-1} / c_l)^2 Tr_{W_l},        Tr_{b_l} -> c_l^-2 Tr_{b_l}.

    >>> trace = BlockTrace({"W1": torch.tensor([1.0]), "W2": torch.tensor([1.0])})
    >>> rescaled_trace(trace, [10.0]).blocks
    {'W1': tensor([0.0100]), 'W2': tensor([100.])}
    """
    layers = max(int(name[1:]) for name in trace.blocks)
    if len(factors) != layers - 1:
        raise ValueError(
            f"factors: expected one for each of the {layers - 1} hidden layers, got {len(factors)}"
        )
    count = {value.shape for value in trace.blocks.values()}
    tensors = (
        f if isinstance(f, Tensor) else torch.tensor(_plain("factors", f), dtype=torch.float64)
        for f in factors
    )
    for factor in tensors:
        if (
            not factor.dtype.is_floating_point
            and factor.dtype != torch.int64
            or factor.device.type == "meta"
            or not (factor.isfinite() & (factor > 0)).all()
            or factor.shape not in {torch.Size(()), *count}
        ):
            raise ValueError(
                f"factors: expected positive finite numbers, or one for each network, got {factor}"
            )
    c = [1.0, *factors, 1.0]
    blocks = {}
    for name, value in trace.blocks.items():
        layer = int(name[1:])
        blocks[name] = value * ((c[layer - 1] if name[0] == "W" else 1.0) / c[layer]) ** 2
    return BlockTrace(blocks)


@checked()
def permute_neurons(
    networks: MLPEnsemble, layer: int, order: Sequence[int] | Tensor
) -> MLPEnsemble:
    """The networks with the units of hidden layer ``layer`` in the given order, a permutation."""
    if not 0 <= layer < len(networks.weights) - 1:
        raise ValueError(
            f"layer: expected a hidden layer, 0 to {len(networks.weights) - 2}, got {layer}"
        )
    if isinstance(order, Tensor) and order.device.type == "meta":
        raise ValueError("order: expected values, got a tensor on the meta device")
    order = integer_array("order", order.cpu().numpy() if isinstance(order, Tensor) else order)
    order = torch.as_tensor(order, device=networks.device)
    if order.ndim != 1:
        raise ValueError(
            f"order: expected a permutation of 0..{networks.widths[layer + 1] - 1}, got shape "
            f"{tuple(order.shape)}"
        )
    if sorted(order.tolist()) != list(range(networks.widths[layer + 1])):
        raise ValueError(f"order: expected a permutation of 0..{networks.widths[layer + 1] - 1}")
    weights = list(networks.weights)
    biases = None if networks.biases is None else list(networks.biases)
    weights[layer], weights[layer + 1] = weights[layer][:, order], weights[layer + 1][:, :, order]
    if biases is not None:
        biases[layer] = biases[layer][:, order]
    return MLPEnsemble(weights, biases)


@checked(weight=any_dtype, bias=any_dtype)
def add_unread_units(
    networks: MLPEnsemble, weight: Tensor, bias: Tensor | None = None
) -> MLPEnsemble:
    """The networks with k more units in the last hidden layer with zero outgoing weights: the same
    function.

    ``weight`` (k, d) or (M, k, d), with d the width of the layer before, and ``bias`` (k,) or (M,
    k) are the new units' incoming parameters (bias None: zero). Raises ValueError if the shapes do
    not fit or the networks have no hidden layer.
    """
    if len(networks.weights) < 2:
        raise ValueError("networks: expected at least one hidden layer")
    count, fan_in = len(networks), networks.weights[-2].shape[2]
    weight = torch.as_tensor(weight).to(networks.weights[0])
    fits = weight.ndim == 2 or (weight.ndim == 3 and weight.shape[0] == count)
    if not fits or weight.shape[-1] != fan_in:
        raise ValueError(
            f"weight: expected shape (k, {fan_in}) or ({count}, k, {fan_in}), "
            f"got {tuple(weight.shape)}"
        )
    weight = weight.expand(count, -1, -1)
    bias = torch.zeros_like(weight[..., 0]) if bias is None else torch.as_tensor(bias).to(weight)
    if bias.shape not in (weight.shape[1:2], weight.shape[:2]):
        raise ValueError(
            f"bias: expected shape {tuple(weight.shape[1:2])} or {tuple(weight.shape[:2])}, "
            f"got {tuple(bias.shape)}"
        )
    if networks.biases is None and bias.any():
        raise ValueError("bias: the networks have no biases")
    unread = networks.weights[-1].new_zeros(count, networks.widths[-1], weight.shape[1])
    weights = [
        *networks.weights[:-2],
        torch.cat([networks.weights[-2], weight], 1),
        torch.cat([networks.weights[-1], unread], 2),
    ]
    if networks.biases is None:
        return MLPEnsemble(weights, None)
    wider = torch.cat([networks.biases[-2], bias.expand(count, -1)], 1)
    return MLPEnsemble(weights, [*networks.biases[:-2], wider, networks.biases[-1]])


def _scale(networks: MLPEnsemble, layer: int, scale: Tensor | float) -> Tensor:
    """The scales of one hidden layer as a tensor (M, d), checked."""
    scale = _positive(f"scales[{layer}]", networks, scale)
    shape = (len(networks), networks.widths[layer + 1])
    if scale.ndim and scale.shape not in (shape, shape[1:]):
        raise ValueError(
            f"scales[{layer}]: expected a number, shape {shape[1:]} or {shape}, "
            f"got {tuple(scale.shape)}"
        )
    return scale.expand(shape)


def _plain(name: str, value: float) -> float:
    number(name, value)
    return value


def _positive(name: str, networks: MLPEnsemble, values: Tensor | float) -> Tensor:
    """Positive finite numbers as a tensor of the networks' dtype on their device."""
    given = values
    try:
        values = torch.as_tensor(
            values, dtype=None if isinstance(values, Tensor) else torch.float64
        )
    except (TypeError, ValueError, RuntimeError):
        raise KindError(f"{name}: expected numbers, got {given!r}") from None
    elsewhere = isinstance(given, Tensor) and (values.device.type == "meta") != (
        networks.device.type == "meta"
    )
    if values.dtype.is_complex or elsewhere:
        raise KindError(
            f"{name}: expected positive numbers on {networks.device}, got {values.dtype} on "
            f"{values.device}"
        )
    values = values.to(dtype=networks.dtype, device=networks.device)
    if values.device.type != "meta" and not (values.isfinite() & (values > 0)).all():
        raise ValueError(f"{name}: expected positive finite numbers, got {given}")
    return values
