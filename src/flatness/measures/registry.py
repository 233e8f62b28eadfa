"""The measures of a stack of Linear and ReLU layers that chapter c2_head_to_head compares, what
each needs, and what each is invariant under.

A measure is a function of the trained networks and the training set, of shape (M,); test labels are
used by none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from flatness.curvature.diagonal import hessian_diagonal
from flatness.curvature.margins import normalised_margin, output_margins, path_norm, weight_norm
from flatness.curvature.sharpness import (
    adaptive_lambda_max,
    adaptive_trace,
    fisher_rao_norm,
    relative_flatness,
)
from flatness.curvature.spectrum import flatten, lambda_max
from flatness.curvature.trace import mean_loss
from flatness.datasets.images import Split
from flatness.feasibility.pairs import pair_verdicts_ensemble
from flatness.feasibility.verdicts import EnsembleVerdicts
from flatness.networks.features import effective_rank
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import activation_patterns, distinct_patterns, free_parameters
from flatness.symmetry.balancing import balance
from flatness.symmetry.flow_graph import trace_flow
from flatness.symmetry.invariance import CHANGES


@dataclass(frozen=True, eq=False)
class Subject:
    """Trained networks with the data that the measures look at, and what several of them share,
    computed once.

    ``x``, ``y`` are the training set, ``points`` unlabelled inputs for counting activation
    patterns, ``epochs`` (M,) what the stopping rule let the networks run, ``probes`` the points of
    the pair proxy, computed on ``workers`` processes. What is None is not there, and measures that
    need it are left out.
    """

    networks: MLPEnsemble
    x: Tensor
    y: Tensor
    points: Tensor | None = None
    epochs: Tensor | None = None
    probes: Tensor | None = None
    workers: int | None = 1

    @classmethod
    def of(cls, networks: MLPEnsemble, split: Split, epochs: Tensor) -> Subject:
        """With the test images of the split, without their labels, as the points."""
        return cls(networks, split.train.x, split.train.y, split.test.x, epochs)

    @cached_property
    def diagonal(self) -> MLPEnsemble:
        return hessian_diagonal(self.networks, self.x)

    @cached_property
    def features(self) -> Tensor:
        return self.networks.features(self.x)

    @cached_property
    def verdicts(self) -> EnsembleVerdicts:
        """Of every probe and class, on the features of the last hidden layer."""
        if self.probes is None:
            raise ValueError("probes: the pair proxy needs them")
        return certified_pairs(
            self.features,
            self.y,
            self.networks.features(self.probes),
            self.networks.widths[-1],
            self.workers,
        )

    @property
    def has(self) -> frozenset[str]:
        """Which of `NEEDS` are there."""
        given = {name for name in ("points", "epochs", "probes") if getattr(self, name) is not None}
        return frozenset(given | ({HIDDEN} if len(self.networks.weights) > 1 else set()))

    @property
    def last_hidden(self) -> int:
        return len(self.networks.weights) - 2


@dataclass(frozen=True)
class Measure:
    """``invariant``: names in `flatness.symmetry.invariance.CHANGES` that never move it, proved in
    c2_head_to_head. ``needs``: which of `NEEDS` it needs beyond the networks and the training set.

    The noise divergence is invariant under permutation in law, if the initial weights are permuted
    alike: the same draws then meet other units. ``compute`` is None for what needs more than a
    `Subject` holds. ``source`` = (record, column), with {data} in the name, is where chapter
    c2_head_to_head reads it instead.
    """

    label: str
    invariant: frozenset[str]
    compute: Callable[[Subject], Tensor] | None = None
    source: tuple[str, str] | None = None
    needs: frozenset[str] = frozenset()


HIDDEN = "hidden layer"
NEEDS = {
    HIDDEN: "at least one hidden layer",
    "points": "points=, unlabelled inputs",
    "probes": "probes=, the inputs of the pair proxy",
    "epochs": "epochs=, what each network was trained for",
}
"""What a measure may need beyond the networks and the training set, in words."""

LAYERS = frozenset({HIDDEN})
ALL = frozenset(CHANGES)
RESCALING = frozenset({"layer rescaling", "neuron rescaling", "permutation"})
UNREAD = frozenset({"unread unit"})
SPLIT = frozenset({"split unit, first layer", "split unit, last layer"})
PERMUTATION = frozenset({"permutation"})


def certified_pairs(
    features: Tensor, y: Tensor, probes: Tensor, classes: int, workers: int | None = 1
) -> EnsembleVerdicts:
    """`flatness.feasibility.pairs.pair_verdicts_ensemble` of tensors: features (M, n, D), labels
    (n,), features of the probes (M, q, D).
    """
    arrays = [part.detach().cpu().double().numpy() for part in (features, probes)]
    return pair_verdicts_ensemble(
        arrays[0], y.cpu().numpy(), arrays[1], classes, workers=workers, progress=False
    )


def _epochs(subject: Subject) -> Tensor:
    if subject.epochs is None:
        raise ValueError("epochs: not given")
    return subject.epochs


def _free(subject: Subject) -> Tensor:
    patterns = activation_patterns(subject.networks, subject.x, subject.last_hidden)
    return free_parameters(patterns, subject.networks.widths[-2], subject.networks.widths[-1])


MEASURES: dict[str, Measure] = {
    "trace": Measure("Hessian trace", PERMUTATION, lambda s: flatten(s.diagonal).sum(1)),
    "orbit_trace": Measure(
        "orbit-minimal trace",
        ALL,
        lambda s: balance(trace_flow(s.diagonal)).value,
        needs=LAYERS,
    ),
    "lambda_max": Measure(
        "largest eigenvalue", PERMUTATION, lambda s: lambda_max(s.networks, s.x, s.y).value
    ),
    "adaptive_trace": Measure(
        "adaptive sharpness, average",
        RESCALING | UNREAD,
        lambda s: adaptive_trace(s.networks, s.diagonal),
    ),
    "adaptive_lambda_max": Measure(
        "adaptive sharpness, worst",
        RESCALING | UNREAD,
        lambda s: adaptive_lambda_max(s.networks, s.x, s.y).value,
    ),
    "relative_flatness": Measure(
        "relative flatness",
        ALL - {"neuron rescaling", "split unit, first layer"},
        lambda s: relative_flatness(s.networks, s.x),
        needs=LAYERS,
    ),
    "fisher_rao": Measure("Fisher-Rao norm", ALL, lambda s: fisher_rao_norm(s.networks, s.x)),
    "path_norm": Measure("path norm", RESCALING | UNREAD, lambda s: path_norm(s.networks)),
    "weight_l2": Measure("weight norm, L2", PERMUTATION, lambda s: weight_norm(s.networks)),
    "weight_l1": Measure("weight norm, L1", PERMUTATION, lambda s: weight_norm(s.networks, 1)),
    "margin": Measure(
        "smallest margin", ALL, lambda s: output_margins(s.networks, s.x, s.y).amin(1)
    ),
    "normalised_margin": Measure(
        "margin / path norm", RESCALING | UNREAD, lambda s: normalised_margin(s.networks, s.x, s.y)
    ),
    "train_loss": Measure("training loss", ALL, lambda s: mean_loss(s.networks, s.x, s.y)),
    "epochs": Measure("epochs", ALL, _epochs, needs=frozenset({"epochs"})),
    "patterns": Measure(
        "activation patterns",
        RESCALING | SPLIT,
        lambda s: distinct_patterns(
            activation_patterns(s.networks, cast(Tensor, s.points), s.last_hidden)
        ),
        needs=LAYERS | {"points"},
    ),
    "free_parameters": Measure(
        "free parameters", RESCALING | {"split unit, first layer"}, _free, needs=LAYERS
    ),
    "effective_rank": Measure(
        "effective rank",
        PERMUTATION | {"layer rescaling", "split unit, first layer"},
        lambda s: effective_rank(s.features),
        needs=LAYERS,
    ),
    "active_units": Measure(
        "active units",
        RESCALING | {"split unit, first layer"},
        lambda s: (s.features > 0).to(s.x).mean(1).sum(-1),
        needs=LAYERS,
    ),
    "pair_proxy": Measure(
        "pair proxy",
        RESCALING | SPLIT,
        lambda s: torch.as_tensor(s.verdicts.pair_proxy).to(s.x),
        source=("pair_proxy_{data}", "pair_proxy"),
        needs=LAYERS | {"probes"},
    ),
    "log_count": Measure(
        "joint extension (log)", RESCALING | SPLIT, source=("full_extension_{data}", "log_count")
    ),
    "divergence": Measure(
        "noise divergence", PERMUTATION, source=("noise_divergence", "divergence")
    ),
}
"""Every measure by the name of its column."""


def lacking(measure: Measure, subject: Subject) -> list[str]:
    """What the measure needs and the subject does not have, in words."""
    if measure.compute is None:
        return ["more than networks and data: see chapter c2_head_to_head"]
    return [text for need, text in NEEDS.items() if need in measure.needs - subject.has]


def measure_all(subject: Subject) -> dict[str, Tensor]:
    """Every measure that the subject has all for, each of shape (M,)."""
    return {
        name: measure.compute(subject)
        for name, measure in MEASURES.items()
        if measure.compute and not lacking(measure, subject)
    }
