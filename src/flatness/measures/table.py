"""One row per network, one column per measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from flatness._internal.arguments import NotFinite, integer
from flatness.curvature.piecewise_linear import NoExactTrace
from flatness.curvature.trace import hutchinson_trace
from flatness.measures import _given as given
from flatness.measures.modules import (
    MODULE_MEASURES,
    ModuleSubject,
    Part,
)
from flatness.measures.registry import MEASURES, NEEDS, Subject, lacking
from flatness.networks.mlp import MLPEnsemble

ESTIMATE = "trace_estimate"
WORDS = NEEDS | {
    "features": "features= or head=, where the features are",
    "generator": "generator=, for the random signs of the estimate",
}


@dataclass(frozen=True)
class Measured:
    """The measures of M networks.

    Attributes
    ----------
    columns : name -> values (M,), in the order of the table. ``trace_standard_error`` belongs to
        ``trace_estimate``, ``undecided`` (pairs without a certificate) to ``pair_proxy``. NaN marks
        networks that are not finite, and measures that one does not have.
    blocks : name of a parameter block -> its part of the exact trace, (M,); empty without "trace".
    left_out : name of a measure -> what it would have needed.
    """

    columns: dict[str, Tensor]
    blocks: dict[str, Tensor]
    left_out: dict[str, str]

    def table(self, *, blocks: bool = False) -> pd.DataFrame:
        """One row per network; with ``blocks`` a column "trace BLOCK" for each as well."""
        parts = {f"trace {name}": value for name, value in self.blocks.items()} if blocks else {}
        columns = {name: value.cpu().numpy() for name, value in (self.columns | parts).items()}
        return pd.DataFrame(columns).rename_axis("network")


class _Column(NamedTuple):
    """What a measure lacks, in words, and how it is computed: its columns, (M,) each."""

    lacks: list[str]
    compute: Callable[[], dict[str, Tensor]]


def measure(
    model: MLPEnsemble | nn.Module | Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    names: Sequence[str] | None = None,
    points: Tensor | None = None,
    probes: Tensor | None = None,
    epochs: Sequence[float] | Tensor | None = None,
    features: Part | Sequence[Part] | None = None,
    head: Part | Sequence[Part] | None = None,
    generator: torch.Generator | None = None,
    samples: int = 100,
    dtype: torch.dtype = torch.float64,
    workers: int | None = 1,
) -> Measured:
    """The measures of chapter c2_head_to_head of one's own networks, trained on x, y.

    Without ``features`` and ``head`` the models are stacks of Linear and ReLU layers
    (`flatness.networks.torch_models.from_torch`, or an ensemble), and every measure of
    `flatness.measures.registry.MEASURES` that has what it needs is computed. Any other model, such
    as a convolutional network, says where its features are, or ``names`` what to measure; it has
    the measures of `flatness.measures.modules.MODULE_MEASURES`. Its exact trace is left out where
    its parameters do not enter piecewise linearly (`flatness.curvature.modules`).

    Parameters
    ----------
    x : inputs of the training set as the models take them, (n, d_0) for an ensemble.
    y : its classes, int64 (n,). The loss is the mean cross-entropy.
    names : the measures wanted, by column. Default: all that have what they need; one that is
        named and lacks something is an error, one that is not named is listed in ``left_out``.
    points : unlabelled inputs on which "patterns" counts activation patterns.
    probes : the inputs of the pair proxy (certified, see `flatness.feasibility.pairs`), computed
        on ``workers`` processes; NaN where no last layer fits the training labels.
    epochs : (M,), copied to the table.
    features, head : where the features of other models are; see
        `flatness.measures.modules.outputs_and_features`. One for all models by name, or one each.
        The pair proxy is that of linear layers on these features, as the last layer reads them.
    generator : a torch.Generator on the CPU for "trace_estimate", Hutchinson's estimate from
        ``samples`` random vectors with its standard error.

    Models are evaluated in evaluation mode; their mode, parameters and gradients stay as they are.
    Derivatives are taken in ``dtype``. A network that is not finite costs the others nothing: its
    row is NaN. Raises ValueError, TypeError naming the argument, also where no network is finite.

    >>> networks = MLPEnsemble.from_seeds([4, 3, 2], seeds=[0, 1])
    >>> x, y = torch.eye(4, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    >>> list(measure(networks, x, y, names=["trace", "orbit_trace"]).table().columns)
    ['trace', 'orbit_trace']
    """
    wanted = given.names(names, {*MEASURES, *MODULE_MEASURES})
    given.data(x, y, points, probes)
    given.generator(generator)
    integer("samples", samples, 2)
    located = features is not None or head is not None
    networks: MLPEnsemble | None
    models: list[nn.Module] = []
    if isinstance(model, MLPEnsemble):
        if located:
            raise ValueError("features, head: an ensemble has its own, the last hidden layer")
        networks, refusal = given.ensemble(model), ""
    else:
        models = given.models(model)
        networks, refusal = given.stack(models, x, dtype, located, names is not None)
    if networks is not None:
        flat = given.flat("x", x, networks)
        seen = None if points is None else given.flat("points", points, networks)
        tried = None if probes is None else given.flat("probes", probes, networks)
        given.classes("model", y, len(x), networks.widths[-1])
        ran = given.epochs(epochs, len(networks), networks.dtype)
        good = networks.finite()
        ran = ran if ran is None else ran[good.to(ran.device)]
        subject = Subject(networks[good], flat, y, seen, ran, tried, workers)
        return _everywhere(
            _measured(
                _stack_columns(subject, generator, samples), wanted, lambda: _stack_blocks(subject)
            ),
            good,
        )
    own = given.each("features", features, len(models)), given.each("head", head, len(models))
    subjects, good = [], torch.tensor([given.is_finite_module(one) for one in models])
    for index, (one, inner, last) in enumerate(zip(models, *own, strict=True)):
        if good[index]:
            name = f"model[{index}]"
            given_parts = (inner, last, generator, samples, dtype, workers)
            try:
                subjects.append(ModuleSubject.of(name, one, x, y, probes, *given_parts))
            except NotFinite:  # its outputs overflow
                good[index] = False
                if not good.any():
                    raise
    ran = given.epochs(epochs, len(models), dtype)
    ran = ran if ran is None else ran[good.to(ran.device)]
    return _everywhere(
        _measured(
            _module_columns(subjects, ran, refusal), wanted, lambda: _module_blocks(subjects)
        ),
        good,
    )


def _everywhere(found: Measured, good: Tensor) -> Measured:
    """With NaN for the networks that were left out."""
    if good.all():
        return found

    def spread(values: Tensor) -> Tensor:
        whole = values if values.is_floating_point() else values.double()
        return whole.new_full((len(good),), torch.nan).masked_scatter(good.to(whole.device), whole)

    columns, blocks = (
        {name: spread(values) for name, values in part.items()}
        for part in (found.columns, found.blocks)
    )
    return Measured(columns, blocks, found.left_out)


def _measured(
    columns: dict[str, _Column],
    wanted: list[str] | None,
    blocks: Callable[[], dict[str, Tensor]],
) -> Measured:
    found: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name in columns if wanted is None else wanted:
        lacks, compute = columns[name]
        if not lacks:
            try:
                found |= compute()
                continue
            except NoExactTrace as error:
                lacks = [f"another model ({error})"]
        if wanted is not None:
            raise ValueError(f"names: {name!r} needs {' and '.join(lacks)}")
        left_out[name] = " and ".join(lacks)
    return Measured(found, blocks() if "trace" in found else {}, left_out)


def _stack_columns(
    subject: Subject, generator: torch.Generator | None, samples: int
) -> dict[str, _Column]:
    def column(name: str) -> Callable[[], dict[str, Tensor]]:
        compute = MEASURES[name].compute
        return lambda: {name: compute(subject)} if compute else {}

    columns = {name: _Column(lacking(m, subject), column(name)) for name, m in MEASURES.items()}

    def proxy() -> dict[str, Tensor]:
        undecided = torch.as_tensor(subject.verdicts.undecided)
        return column("pair_proxy")() | {"undecided": undecided}

    def estimate() -> dict[str, Tensor]:
        assert generator is not None
        found = hutchinson_trace(
            subject.networks, subject.x, subject.y, probes=samples, generator=generator
        )
        return {ESTIMATE: found.estimate, "trace_standard_error": found.standard_error}

    columns["pair_proxy"] = _Column(columns["pair_proxy"].lacks, proxy)
    columns[ESTIMATE] = _Column([] if generator is not None else [WORDS["generator"]], estimate)
    return columns


def _stack_blocks(subject: Subject) -> dict[str, Tensor]:
    entries = subject.diagonal.parameters()
    return {name: block.flatten(1).sum(1) for name, block in entries.items()}


def _module_columns(
    subjects: list[ModuleSubject], epochs: Tensor | None, refusal: str
) -> dict[str, _Column]:
    stack = f"a stack of Linear and ReLU layers{f' ({refusal})' if refusal else ''}"
    columns = {}
    for name, one in MODULE_MEASURES.items():
        lacks = [WORDS[need] for need in WORDS if need in one.needs - subjects[0].has]
        columns[name] = _Column(lacks, _joined({name: one.compute}, subjects))
    more = {
        ESTIMATE: ("trace_standard_error", lambda s: s.estimate.standard_error),
        "pair_proxy": ("undecided", lambda s: torch.as_tensor(s.verdicts.undecided)),
    }
    for name, (also, compute) in more.items():
        both = {name: MODULE_MEASURES[name].compute, also: compute}
        columns[name] = _Column(columns[name].lacks, _joined(both, subjects))
    known = [] if epochs is not None else [WORDS["epochs"]]
    columns["epochs"] = _Column(known, lambda: {} if epochs is None else {"epochs": epochs})
    return columns | {name: _Column([stack], dict) for name in MEASURES if name not in columns}


def _joined(
    computes: dict[str, Callable[[ModuleSubject], Tensor]], subjects: list[ModuleSubject]
) -> Callable[[], dict[str, Tensor]]:
    return lambda: {
        name: torch.cat([compute(subject) for subject in subjects])
        for name, compute in computes.items()
    }


def _module_blocks(subjects: list[ModuleSubject]) -> dict[str, Tensor]:
    """By the names of the parameters; NaN for a model that has none of the name."""
    names = dict.fromkeys(name for subject in subjects for name in subject.trace.blocks)
    missing = subjects[0].outputs.new_full((1,), torch.nan)
    return {
        name: torch.cat([subject.trace.blocks.get(name, missing) for subject in subjects])
        for name in names
    }
