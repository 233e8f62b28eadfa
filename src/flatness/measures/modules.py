"""What is measured of a ``torch.nn.Module`` that is no stack of Linear and ReLU layers.

Some measures need only outputs or features, some only derivatives, and these are defined for any
model: a convolutional network, a transformer. Where the features are is for the reader to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from flatness._internal.arguments import KindError, finite
from flatness._internal.modules import evaluation_mode, like_inputs, own_dtype
from flatness.curvature.margins import margins_of_outputs
from flatness.curvature.modules import module_hessian_trace, module_hutchinson_trace
from flatness.curvature.trace import BlockTrace, TraceEstimate
from flatness.feasibility.verdicts import EnsembleVerdicts
from flatness.measures._given import classes
from flatness.measures.registry import certified_pairs
from flatness.networks.features import effective_rank

Part = str | Callable[[Tensor], Tensor]
"""A part of a model: the name of a sub-module, the sub-module, or a function of a batch."""


@dataclass(frozen=True, eq=False)
class ModuleSubject:
    """One model with the data that the measures look at, and what it gives for them.

    ``outputs`` (n, K), ``features`` (n, D) and ``probe_features`` (q, D) are in evaluation mode;
    None is what there is not. ``samples`` Rademacher vectors from ``generator`` estimate the trace.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    outputs: Tensor
    features: Tensor | None = None
    probe_features: Tensor | None = None
    generator: torch.Generator | None = None
    samples: int = 100
    dtype: torch.dtype = torch.float64
    workers: int | None = 1

    @classmethod
    def of(
        cls,
        name: str,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        probes: Tensor | None,
        features: Part | None,
        head: Part | None,
        generator: torch.Generator | None,
        samples: int,
        dtype: torch.dtype,
        workers: int | None,
    ) -> ModuleSubject:
        """The model, which came in the argument ``name``, run on x and on the probes."""
        outputs, own = outputs_and_features(name, model, x, features, head)
        classes(name, y, len(x), outputs.shape[1])
        there = None
        if probes is not None and own is not None:
            there = outputs_and_features(name, model, probes, features, head)[1]
        own = None if own is None else own.to(dtype)
        there = None if there is None else there.to(dtype)
        return cls(model, x, y, outputs.to(dtype), own, there, generator, samples, dtype, workers)

    @cached_property
    def trace(self) -> BlockTrace:
        return module_hessian_trace(self.model, self.x, dtype=self.dtype)

    @cached_property
    def estimate(self) -> TraceEstimate:
        if self.generator is None:
            raise ValueError("generator: expected a torch.Generator for the estimate, got None")
        return module_hutchinson_trace(
            self.model,
            self.x,
            self.y,
            probes=self.samples,
            generator=self.generator,
            dtype=self.dtype,
        )

    @cached_property
    def verdicts(self) -> EnsembleVerdicts:
        """Of every probe and class, for linear layers on the features."""
        if self.features is None or self.probe_features is None:
            raise ValueError("features, probes: the pair proxy needs both")
        pairs = self.features[None], self.y, self.probe_features[None]
        return certified_pairs(*pairs, self.outputs.shape[1], self.workers)

    @property
    def has(self) -> frozenset[str]:
        """Which of ``features``, ``probes`` and ``generator`` are there."""
        there = {
            "features": self.features is not None,
            "probes": self.probe_features is not None,
            "generator": self.generator is not None,
        }
        return frozenset(name for name, value in there.items() if value)

    def norm(self, p: float) -> Tensor:
        """l_p norm of all parameters as one vector, (1,)."""
        parts = [block.detach().flatten().to(self.dtype) for block in self.model.parameters()]
        return torch.cat(parts).norm(p)[None]


@dataclass(frozen=True)
class ModuleMeasure:
    """A measure of one model; ``needs``: which of features, probes and generator it needs."""

    compute: Callable[[ModuleSubject], Tensor]
    needs: frozenset[str] = frozenset()


def _features(subject: ModuleSubject) -> Tensor:
    if subject.features is None:
        raise ValueError("features: the effective rank needs them")
    return effective_rank(subject.features[None])


MODULE_MEASURES: dict[str, ModuleMeasure] = {
    "trace": ModuleMeasure(lambda s: s.trace.total),
    "trace_estimate": ModuleMeasure(lambda s: s.estimate.estimate, frozenset({"generator"})),
    "margin": ModuleMeasure(lambda s: margins_of_outputs(s.outputs[None], s.y).amin(1)),
    "train_loss": ModuleMeasure(lambda s: nn.functional.cross_entropy(s.outputs, s.y)[None]),
    "weight_l2": ModuleMeasure(lambda s: s.norm(2)),
    "weight_l1": ModuleMeasure(lambda s: s.norm(1)),
    "effective_rank": ModuleMeasure(_features, frozenset({"features"})),
    "pair_proxy": ModuleMeasure(
        lambda s: torch.as_tensor(s.verdicts.pair_proxy).to(s.outputs),
        frozenset({"features", "probes"}),
    ),
}
"""Measures of any model by the name of their column, as in `flatness.measures.registry`."""


def outputs_and_features(
    name: str, model: nn.Module, x: Tensor, features: Part | None, head: Part | None
) -> tuple[Tensor, Tensor | None]:
    """Outputs (n, K) and features (n, D) of a model at x, in evaluation mode; ``name`` is the
    argument it came in.

    ``features`` is a function of x, or a sub-module of the model or its name: then the features are
    what this part puts out when the model runs. ``head`` is what follows: a function of the
    features, or a sub-module or its name; where ``features`` is not given they are what enters it.
    Features of more than one axis are flattened. Where both are given, head(features(x)) must be
    the outputs of the model, up to rounding. Raises ValueError, TypeError naming the argument.
    """
    inner, last = _part("features", model, features), _part("head", model, head)
    if features is None and head is not None and last is None:
        raise ValueError("head: a function needs features= too; a sub-module would be enough")
    caught: dict[str, list[Tensor]] = {"features": [], "head": []}
    hooks = []
    if inner is not None:
        hooks.append(inner.register_forward_hook(lambda _, __, y: caught["features"].append(y)))
    if last is not None:
        hooks.append(last.register_forward_pre_hook(lambda _, xs: caught["head"].append(xs[0])))
    parts = [part for part in (features, head) if isinstance(part, nn.Module)]
    inputs = like_inputs(x, own_dtype(model))
    try:
        with evaluation_mode(model, *parts), torch.no_grad():
            outputs = _called(name, model, inputs)
            if outputs.ndim != 2 or len(outputs) != len(x):
                raise ValueError(
                    f"{name}: expected outputs of shape (n, K) with n = {len(x)}, got "
                    f"{tuple(outputs.shape)}"
                )
            found: Tensor | None = None
            if features is None:
                found = None if last is None else _once("head", caught["head"])
            elif inner is not None:
                found = _once("features", caught["features"])
            else:
                found = _called("features", features, inputs)
            for hook in hooks:
                hook.remove()
            if found is not None and (not isinstance(found, Tensor) or len(found) != len(x)):
                raise ValueError(f"features: expected a tensor (n, D) with n = {len(x)}")
            if features is not None and head is not None and found is not None:
                _agree(_called("head", head if last is None else last, found), outputs)
    finally:
        for hook in hooks:
            hook.remove()
    finite(name, outputs)
    return outputs, None if found is None else found.flatten(1)


def _part(name: str, model: nn.Module, part: Part | None) -> nn.Module | None:
    """The sub-module that is meant, or None for a function of its own."""
    if isinstance(part, str):
        known = dict(model.named_modules())
        if part not in known:
            raise ValueError(f"{name}: the model has no part {part!r}, but {', '.join(known)[2:]}")
        return known[part]
    if part is not None and not callable(part):
        raise KindError(f"{name}: expected a function or part of the model, got {part!r}"[:200])
    inside = isinstance(part, nn.Module) and any(part is one for one in model.modules())
    return part if inside and isinstance(part, nn.Module) else None


def _called(name: str, function: Part, batch: Tensor) -> Tensor:
    if isinstance(function, str):
        raise KindError(f"{name}: expected a function, got {function!r}")
    try:
        result = function(batch)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"x, {name}: it does not take a batch of shape {tuple(batch.shape)} and {batch.dtype} "
            f"({reason})"
        ) from error
    if not isinstance(result, Tensor):
        raise KindError(f"{name}: expected a tensor from it, got {type(result).__name__}")
    return result


def _once(name: str, caught: list[Tensor]) -> Tensor:
    if len(caught) != 1:
        raise ValueError(
            f"{name}: expected a part that a forward pass calls once, this one was called "
            f"{len(caught)} times"
        )
    return caught[0]


def _agree(again: Tensor, outputs: Tensor) -> None:
    size = torch.finfo(outputs.dtype).eps ** 0.5 * (1 + outputs.abs().max())
    if again.shape != outputs.shape or (again - outputs).abs().max() > size:
        raise ValueError("features, head: head(features(x)) is not what the model gives at x")
