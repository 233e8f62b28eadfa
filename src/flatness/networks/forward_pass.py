"""The Linear layers of a PyTorch model in the order of its forward pass, by symbolic tracing.

A graph of `torch.fx` is read from the input on as one chain: a Linear layer, a ReLU, or something
that does nothing to vectors in evaluation mode. Anything else is an error that names it.
"""

from __future__ import annotations

import operator
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

READABLE = "Linear layers with ReLU between them (and Flatten, Identity, Dropout)"
OTHERWISE = (
    "for other models flatness.measures.measure takes features= and head=, and "
    "flatness.curvature.module_hessian_trace the model itself"
)
LINEAR, RELU, IDLE = "linear", "relu", "idle"
RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
FLATTENS = {torch.flatten, "flatten"}
RESHAPES = {torch.reshape, "reshape", "view"}
DROPOUTS = {F.dropout, F.alpha_dropout, F.feature_alpha_dropout}
PASSING = {"contiguous", "clone", torch.clone}


class _Tracer(fx.Tracer):
    """A reader's class that inherits from Linear and its forward pass is a Linear layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Linear):
            return type(m).forward is nn.Linear.forward
        return super().is_leaf_module(m, module_qualified_name)


class Layer(NamedTuple):
    """A Linear layer: its name in the model, weight (d_out, d_in), bias (d_out,) or None."""

    name: str
    weight: Tensor
    bias: Tensor | None


def linear_layers(name: str, model: nn.Module) -> list[Layer]:
    """The layers of a stack of Linear and ReLU, the one at the inputs first; ``name`` is the
    argument in which the model came. The model is in evaluation mode.

    Raises ValueError for any other model, naming the first layer or operation that does not fit.
    """
    for key, part in model.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            raise _refused(
                name,
                f"layer {key!r} ({type(part).__name__}) with hooks, which may change its outputs",
                "remove them (for norms of weights: use torch.nn.utils.parametrizations)",
            )
    root = nn.Sequential(model) if isinstance(model, nn.Linear) else model
    try:
        graph = fx.GraphModule(root, _Tracer().trace(root))
    except Exception as error:  # whatever the forward pass of the reader does to a proxy
        raise ValueError(
            f"{name}: torch.fx cannot follow the forward pass of {type(model).__name__} ({error}); "
            f"expected {READABLE}; {OTHERWISE}"
        ) from error
    layers: list[Layer] = []
    current: fx.Node | None = None
    rectified = False
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            if current is not None:
                if not node.users:
                    continue
                raise _refused(name, f"the second input {node.name!r}")
            current = node
        elif node.op == "output":
            if node.args[0] is not current:
                raise _refused(name, f"the output, which is not that of {_title(current, graph)}")
        elif not node.users or _is_batch_size(node):
            continue
        else:
            kind = _kind(node, graph)
            title = _title(node, graph)
            reads = [one for one in node.all_input_nodes if not _is_batch_size(one)]
            if not kind:
                raise _refused(name, title, _advice(node, graph))
            if reads != [current]:
                raise _refused(name, f"{title}, which does not read the layer before it alone")
            current = node
            if kind == RELU:
                if not layers:
                    raise _refused(name, f"{title} before the first Linear layer")
                rectified = True
            elif kind == LINEAR:
                if layers and not rectified:
                    raise _refused(
                        name,
                        f"{title} after {layers[-1].name} with no ReLU between",
                        "multiply the two into one layer",
                    )
                target = str(node.target)
                layers.append(_layer(cast(nn.Linear, graph.get_submodule(target)), target))
                rectified = False
    if not layers:
        raise ValueError(f"{name}: expected at least one Linear layer, found none")
    if rectified:
        raise _refused(name, "a ReLU after the last Linear layer")
    _refuse_sharing(name, layers)
    return layers


def _refused(name: str, what: str, advice: str = "") -> ValueError:
    also = f"; {advice}" if advice else ""
    return ValueError(f"{name}: cannot read {what}{also}; expected {READABLE}; {OTHERWISE}")


def _title(node: fx.Node | None, graph: fx.GraphModule) -> str:
    if node is None:
        return "the input"
    if node.op == "call_module":
        return f"layer {node.target!r} ({type(graph.get_submodule(str(node.target))).__name__})"
    target = node.target if isinstance(node.target, str) else node.target.__name__
    return f"{node.name!r} ({target})"


def _kind(node: fx.Node, graph: fx.GraphModule) -> str:
    """What a node does to vectors in evaluation mode; empty for what cannot be read."""
    if node.op == "call_module":
        part = graph.get_submodule(str(node.target))
        if isinstance(part, nn.Linear):
            return LINEAR
        if isinstance(part, nn.ReLU):
            return RELU
        flat = isinstance(part, nn.Flatten) and (part.start_dim, part.end_dim) == (1, -1)
        return IDLE if flat or isinstance(part, nn.Identity | nn.Dropout | nn.AlphaDropout) else ""
    if node.op not in ("call_function", "call_method"):
        return ""
    if node.target in RELUS:
        return RELU
    if node.target in DROPOUTS:
        training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        return "" if training else IDLE
    if node.target in FLATTENS:
        return IDLE if _is_flatten(node) else ""
    if node.target in RESHAPES:
        sizes = node.args[1:]
        sizes = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple) else sizes
        one = len(sizes) == 2 and not node.kwargs
        return IDLE if one and (sizes[0] == -1 or isinstance(sizes[0], fx.Node)) else ""
    return IDLE if node.target in PASSING and not node.kwargs else ""


def _is_flatten(node: fx.Node) -> bool:
    axes = [*node.args[1:], *(0, -1)[len(node.args) - 1 :]]
    start, end = node.kwargs.get("start_dim", axes[0]), node.kwargs.get("end_dim", axes[1])
    return (start, end) == (1, -1)


def _is_batch_size(node: fx.Node) -> bool:
    """Whether a node is x.size(0), x.shape or x.shape[0], as code that flattens inputs has it."""
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,)
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] == "shape"
    if node.op == "call_function" and node.target is operator.getitem:
        source = node.args[0]
        shape = isinstance(source, fx.Node) and _is_batch_size(source)
        return shape and node.args[1:] == (0,)
    return False


def _advice(node: fx.Node, graph: fx.GraphModule) -> str:
    part = graph.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    if isinstance(part, nn.Softmax | nn.LogSoftmax) or part in (
        F.softmax,
        F.log_softmax,
        torch.softmax,
        torch.log_softmax,
        "softmax",
        "log_softmax",
    ):
        return "give the model without it, so that its outputs are the logits"
    if part in DROPOUTS:
        return "it drops in evaluation mode too: pass training=self.training"
    return ""


def _layer(linear: nn.Linear, target: str) -> Layer:
    bias = linear.bias
    return Layer(target, linear.weight.detach(), None if bias is None else bias.detach())


def _refuse_sharing(name: str, layers: list[Layer]) -> None:
    seen: dict[int, Layer] = {}
    for layer in layers:
        for block in (layer.weight, layer.bias):
            if block is not None and seen.setdefault(block.data_ptr(), layer) is not layer:
                raise _refused(
                    name,
                    f"layer {layer.name!r} (Linear), whose parameters are used twice",
                    "an ensemble has no shared weights",
                )
