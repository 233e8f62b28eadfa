"""One bad network never costs the others, in any routine that takes an ensemble.

Four networks, of which one is poisoned: with a weight that is NaN or infinite, with a layer of
zeros, or scaled to the ends of floating point. What comes back for the other three must be what
they give without it, and a network that is not finite must be marked, never measured.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass

import pytest
import torch
from deep_cases import problem
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from torch import Tensor

from flatness.curvature import diagonal, margins, sharpness, spectrum, trace
from flatness.feasibility.pairs import pair_verdicts_ensemble
from flatness.measures import measure
from flatness.networks import features, regions, training
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.torch_models import to_torch
from flatness.symmetry import balancing, flow_graph

M, WIDTHS, N = 4, (5, 6, 4, 3), 12
SGD = training.SGD(4, 0.1, 3, check_every=1, stop_accuracy=1.0)


def case() -> tuple[MLPEnsemble, Tensor, Tensor]:
    networks, x, y = problem(0, widths=WIDTHS, n=N, count=M)
    return networks, x, y


def entry(value: float) -> Callable[[list[Tensor], int], None]:
    def poison(weights: list[Tensor], member: int) -> None:
        weights[1][member, 0, 0] = value

    return poison


def zero_layer(weights: list[Tensor], member: int) -> None:
    weights[1][member] = 0.0


def huge(factor: float) -> Callable[[list[Tensor], int], None]:
    def poison(weights: list[Tensor], member: int) -> None:
        for weight in weights:
            weight[member] *= factor

    return poison


POISONS = {
    "NaN": entry(torch.nan),
    "inf": entry(torch.inf),
    "zero layer": zero_layer,
    "1e30": huge(1e30),
    "1e150": huge(1e150),
    "1e-150": huge(1e-150),
}


def poisoned(networks: MLPEnsemble, poison: str, member: int) -> MLPEnsemble:
    copy = networks.map(torch.clone)
    POISONS[poison](copy.weights, member)
    return copy


def trained(networks, x, y):
    return training.train(networks, x, y, SGD, training.order_generators([7] * len(networks)))


def pairs(networks, x, y):
    found = pair_verdicts_ensemble(
        networks.features(x).numpy(),
        networks(x)[good_member(networks)].argmax(-1).numpy(),
        networks.features(x + 0.5).numpy(),
        3,
        workers=1,
        progress=False,
    )
    return torch.as_tensor(found.pair_proxy)


def good_member(networks: MLPEnsemble) -> int:
    return 0 if networks.finite()[0] and networks.weights[1][0].any() else 1


def modules(networks, x, y):
    names = ["trace", "margin", "train_loss", "weight_l2", "effective_rank"]
    models = to_torch(networks)
    return measure(models, x, y, names=names, features="2").columns


ROUTINES: dict[str, Callable] = {
    "outputs": lambda n, x, y: n(x),
    "features": lambda n, x, y: n.features(x),
    "train": trained,
    "accuracy": training.accuracy,
    "activation patterns": lambda n, x, y: regions.activation_patterns(n, x, 0),
    "effective rank": lambda n, x, y: features.effective_rank(n.features(x)),
    "hessian_trace": lambda n, x, y: trace.hessian_trace(n, x),
    "hessian_trace, square": lambda n, x, y: trace.hessian_trace(n, x, loss="square"),
    "mean_loss": trace.mean_loss,
    "hessian_diagonal": lambda n, x, y: diagonal.hessian_diagonal(n, x),
    "unit_energies": lambda n, x, y: diagonal.unit_energies(n, x),
    "lambda_max": lambda n, x, y: spectrum.lambda_max(n, x, y, rtol=1e-12).value,
    "adaptive_lambda_max": lambda n, x, y: sharpness.adaptive_lambda_max(n, x, y, rtol=1e-12).value,
    "adaptive_trace": lambda n, x, y: sharpness.adaptive_trace(n, diagonal.hessian_diagonal(n, x)),
    "relative_flatness": lambda n, x, y: sharpness.relative_flatness(n, x),
    "fisher_rao_norm": lambda n, x, y: sharpness.fisher_rao_norm(n, x),
    "output_margins": margins.output_margins,
    "weight_norm": lambda n, x, y: margins.weight_norm(n),
    "path_norm": lambda n, x, y: margins.path_norm(n),
    "normalised_margin": margins.normalised_margin,
    "trace_flow": lambda n, x, y: flow_graph.trace_flow(diagonal.hessian_diagonal(n, x)),
    "orbit_minimum": lambda n, x, y: balancing.orbit_minimum(n, x).value,
    "balanced": lambda n, x, y: balancing.balanced(n, x),
    "measure": lambda n, x, y: measure(n, x, y, points=x + 1).columns,
    "measure, modules": modules,
}
RANDOM: dict[str, Callable] = {  # draws for all networks at once: beside the healthy ensemble
    "hutchinson_trace": lambda n, x, y: trace.hutchinson_trace(
        n, x, y, probes=5, generator=torch.Generator().manual_seed(0)
    ),
}
UNMARKED = {  # say by other means than NaN what a network is
    "train": "diverged",
    "accuracy": "outputs with NaN are never right",
    "activation patterns": "no unit is active at NaN",
    "outputs": "a unit that is off hides an infinite weight",
    "features": "a unit that is off hides an infinite weight",
    "effective rank": "of those features",
    "balanced": "kept as it is",
}


def blocks(result) -> list[Tensor]:
    """The tensors with one row per network."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        return [part for one in result.values() for part in blocks(one)]
    if isinstance(result, list | tuple):
        return [part for one in result for part in blocks(one)]
    if is_dataclass(result):
        return [part for f in fields(result) for part in blocks(getattr(result, f.name))]
    return []


@pytest.mark.parametrize("routine", [*ROUTINES, *RANDOM])
@settings(max_examples=examples(40))
@given(poison=st.sampled_from(sorted(POISONS)), member=st.integers(0, M - 1))
def test_the_others_are_what_they_are_without_the_bad_network(routine, poison, member):
    networks, x, y = case()
    rest = [m for m in range(M) if m != member]
    bad = poisoned(networks, poison, member)
    if routine in ROUTINES:
        beside = blocks(ROUTINES[routine](bad, x, y))
        alone = blocks(ROUTINES[routine](networks[rest], x, y))
    else:
        beside = blocks(RANDOM[routine](bad, x, y))
        alone = [part[rest] for part in blocks(RANDOM[routine](networks, x, y))]
    assert len(beside) == len(alone) > 0
    for one, two in zip(beside, alone, strict=True):
        assert len(one) == M and len(two) == M - 1
        size = two.double().abs().nan_to_num().max().item()
        torch.testing.assert_close(
            one[rest].double(), two.double(), rtol=1e-9, atol=1e-12 * size, equal_nan=True
        )
    if not bad.finite().all() and routine not in UNMARKED:
        assert not any(part[member].isfinite().any() for part in beside)


@pytest.mark.parametrize("poison", sorted(POISONS))
def test_the_oracle_marks_the_network_and_keeps_the_rest(poison):
    networks, x, _ = case()
    bad = poisoned(networks, poison, 2)
    labels = networks(x).argmax(-1)
    for m in (0, 1, 3):  # a training policy of their own, so that all three have one
        alone, beside = (
            pair_verdicts_ensemble(
                n.features(x).numpy(),
                labels[m].numpy(),
                n.features(x + 0.5).numpy(),
                3,
                workers=1,
                progress=False,
            )
            for n in (networks, bad)
        )
        assert alone.policy_feasible[m] and beside.policy_feasible[m]
        assert (alone.networks[m].verdict == beside.networks[m].verdict).all()
    if not bad.finite().all():
        assert beside.networks[2] is None and "features" in beside.reasons[2]


def test_a_network_that_diverges_in_training_is_marked():
    networks, x, y = case()
    bad = poisoned(networks, "1e150", 1)
    found = trained(bad, x, y)
    assert found.diverged.tolist() == [False, True, False, False]
    assert found.loss[1] == torch.inf and found.accuracy[1] == 0


def test_nothing_but_bad_networks_is_an_error():
    networks, x, y = case()
    bad = poisoned(networks, "NaN", 0)[[0]]
    for call in (
        lambda: measure(bad, x, y),
        lambda: measure(to_torch(bad), x, y, names=["trace"]),
        lambda: balancing.orbit_minimum(bad, x),
    ):
        with pytest.raises(ValueError, match="finite"):
            call()
