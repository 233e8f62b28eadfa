"""The arguments of `flatness.measures.table.measure`: what they must be, what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flatness._internal import rules
from flatness._internal.arguments import KindError, finite
from flatness._internal.finiteness import is_finite
from flatness._internal.modules import module_argument
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.torch_models import ensemble_of


def names(wanted: Sequence[str] | None, known: set[str]) -> list[str] | None:
    """The measures named, each once."""
    if wanted is None:
        return None
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not len(wanted):
        raise KindError(f"names: expected a sequence of measures, got {wanted!r}")
    for name in wanted:
        if name not in known:
            raise ValueError(f"names: no measure {name!r}; there are {', '.join(sorted(known))}")
    return list(dict.fromkeys(wanted))


def data(x: Tensor, y: Tensor, points: Tensor | None, probes: Tensor | None) -> None:
    """Inputs of one shape with values; the classes are looked at when their number is known."""
    for name, value in (("x", x), ("y", y), ("points", points), ("probes", probes)):
        if value is None and name not in ("x", "y"):
            continue
        if not isinstance(value, Tensor):
            raise KindError(f"{name}: expected a tensor, got {type(value).__name__}")
        if value.device.type == "meta":
            raise ValueError(f"{name}: expected values, got a tensor on the meta device")
        if value.dtype.is_complex:
            raise KindError(f"{name}: expected real numbers, got {value.dtype}")
        if not value.ndim or not value.numel():
            raise ValueError(f"{name}: expected entries, got shape {tuple(value.shape)}")
        if value.device != x.device:
            raise ValueError(f"{name}: expected the device {x.device}, that of x")
        if name in ("points", "probes") and value.shape[1:] != x.shape[1:]:
            raise ValueError(
                f"{name}: expected inputs of shape {tuple(x.shape[1:])}, as in x, got "
                f"{tuple(value.shape[1:])}"
            )
        finite(name, value)


def generator(value: torch.Generator | None) -> None:
    if value is not None and not isinstance(value, torch.Generator):
        raise KindError(f"generator: expected a torch.Generator, got {type(value).__name__}")


def models(model: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """The modules, their parameters looked at."""
    listed = [model] if isinstance(model, nn.Module) else model
    if isinstance(listed, str) or not isinstance(listed, Sequence) or not len(listed):
        raise KindError(
            "model: expected a torch.nn.Module, a sequence of them or an MLPEnsemble, got "
            f"{type(model).__name__}"
        )
    for index, one in enumerate(listed):
        name = f"model[{index}]"
        module_argument(name, one)
    if not any(map(is_finite_module, listed)):
        for index, one in enumerate(listed):
            finite(f"model[{index}]", *(parameter.detach() for parameter in one.parameters()))
    return list(listed)


def is_finite_module(model: nn.Module) -> bool:
    return all(is_finite(parameter.detach()) for parameter in model.parameters())


def ensemble(networks: MLPEnsemble) -> MLPEnsemble:
    """The networks, their parameters looked at."""
    if networks.device.type == "meta":
        raise ValueError("model: expected values, got networks on the meta device")
    if not networks.finite().any():
        finite("model", *networks.parameters().values())
    return networks


def classes(name: str, y: Tensor, n: int, count: int) -> None:
    """Int64 classes (n,) of a model with ``count`` outputs, at least two."""
    if count < 2:
        raise ValueError(f"{name}: expected at least two outputs, one per class, got {count}")
    rules.labels("y", y, {"n": (n, "x"), "K": (count, name)})


def stack(
    models: list[nn.Module], x: Tensor, dtype: torch.dtype, located: bool, named: bool
) -> tuple[MLPEnsemble | None, str]:
    """The models as an ensemble; or None, with the reason where that was tried.

    It is not tried where the reader says where the features are, and must succeed where the reader
    does not say what to measure either.
    """
    if located:
        return None, ""
    try:
        return ensemble_of("model", models, dtype, None, x, "x"), ""
    except ValueError as error:
        if not named:
            raise
        return None, str(error)


def flat(name: str, x: Tensor, networks: MLPEnsemble) -> Tensor:
    """Inputs (n, d_0) in the dtype of the networks: a stack does no more than flatten them."""
    if x.ndim < 2 or x[0].numel() != networks.widths[0]:
        raise ValueError(
            f"{name}: expected inputs (n, ...) of {networks.widths[0]} numbers each, as model, got "
            f"shape {tuple(x.shape)}"
        )
    if x.device != networks.device:
        raise ValueError(f"{name}: expected the device {networks.device}, that of model")
    return x.flatten(1).to(networks.dtype)


def epochs(values: Any, count: int, dtype: torch.dtype) -> Tensor | None:
    """One number per network."""
    if values is None:
        return None
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KindError(f"epochs: expected numbers, got {type(values).__name__}") from error
    if found.shape != (count,) or found.dtype.is_complex:
        raise ValueError(f"epochs: expected {count} numbers, got shape {tuple(found.shape)}")
    finite("epochs", found)
    return found


def each(name: str, parts: Any, count: int) -> list[Any]:
    """One part per model: a name is for all, a function or module is for the only one."""
    if parts is None or isinstance(parts, str):
        return [parts] * count
    if isinstance(parts, Sequence):
        if len(parts) != count:
            raise ValueError(f"{name}: expected one for each of {count} models, got {len(parts)}")
        return list(parts)
    if count > 1:
        raise ValueError(f"{name}: expected a name, or a list with one for each of {count} models")
    return [parts]
