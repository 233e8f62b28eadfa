"""Bad and odd arguments: weakness of networks, certificates, regions, PAC-Bayes."""

from functools import cache

import numpy as np
import pytest
import torch
from bad_inputs import Case, defects
from test_bad_inputs_networks import deep, parts

from flatness.curvature import pacbayes, parameter_noise
from flatness.feasibility import (
    certificates,
    extension,
    labelled_points,
    policy_cone,
    refutations,
    verification,
    whitening,
)
from flatness.feasibility import pairs as feasibility
from flatness.networks import regions
from flatness.networks.mlp import MLPEnsemble

EMPTY = (feasibility.TrainingPolicyInfeasible,)


def system():
    g = np.random.default_rng(0)
    return {
        "features": g.normal(size=(6, 2)),
        "labels": np.array([0, 1, 2, 0, 1, 2]),
        "probes": g.normal(size=(4, 2)),
        "num_classes": 3,
    }


def separable():
    made = system()
    made["features"] = np.array([[0.0, 3], [3, 0], [-3, -3], [0.5, 4], [4, 0.5], [-4, -3]])
    made["probes"] = np.array([[0.0, 5], [5, 0], [0.1, 0.2], [-5, -5]])
    return made


@cache
def verdicts():
    return feasibility.pair_verdicts(**separable())


def many():
    made = separable()
    return made | {
        "features": np.stack([made["features"], made["features"] + 0.1]),
        "probes": np.stack([made["probes"]] * 2),
    }


@cache
def refutation():
    probe, label = (int(v) for v in np.argwhere(verdicts().verdict == 0)[0])
    made = separable()
    points, labels = verification.certified_system(
        made["features"], made["labels"], made["probes"], probe, label
    )
    return {
        "farkas": verdicts().refutations[verdicts().refutation_of[probe, label]],
        "points": points,
        "labels": labels,
        "num_classes": 3,
    }


def refuted():
    return dict(refutation())


def patterns(name="train", n=7):
    def make():
        g = torch.Generator().manual_seed(1)
        return torch.randint(0, 3, (2, n, 3), generator=g, dtype=torch.uint8)

    return make


def noisy():
    return parameter_noise.NoisyTraining(deep()["networks"], deep()["x"], deep()["y"])


def start():
    return MLPEnsemble.from_seeds([5, 4, 6, 3], [0, 1])


def sigma():
    return torch.tensor([0.1, 0.2], dtype=torch.float64)


def rng():
    return torch.Generator().manual_seed(0)


CASES = [
    Case(
        feasibility.pair_verdicts,
        separable,
        errors=EMPTY,
    ),
    Case(
        feasibility.pair_verdicts_ensemble,
        lambda: many() | {"workers": 1, "progress": False},
        infinite="documented: NaN where the training policy is empty",
        allows="(features|probes): (nan|inf)",  # a network with such features is marked
    ),
    Case(
        extension.count_labellings,
        lambda: separable() | {"limit": 1000},
        errors=EMPTY,
    ),
    Case(
        extension.estimate_labellings,
        lambda: (
            separable() | {"runs": 3, "rng": np.random.default_rng(0), "population": 2, "tilt": 0.5}
        ),
        errors=EMPTY,
    ),
    Case(
        lambda points, labels: labelled_points.refuse_contradictions(points, labels),
        lambda: {"points": system()["features"], "labels": system()["labels"]},
        "labelled_points.refuse_contradictions",
        errors=EMPTY,
    ),
    Case(
        lambda **kw: labelled_points.checked_system(ndim=2, **kw),
        separable,
        "labelled_points.checked_system",
    ),
    Case(
        certificates.margins,
        lambda: {
            "layers": verdicts().witnesses,
            "points": whitening.homogenise(separable()["features"]),
            "labels": separable()["labels"],
        },
        allows="layers: one more in axis 1",
    ),
    Case(
        certificates.farkas_residual,
        refuted,
        infinite="documented: inf where it is no certificate at all",
    ),
    Case(
        certificates.exact_farkas,
        refuted,
    ),
    Case(
        verification.certified_system,
        lambda: (
            {k: separable()[k] for k in ("features", "labels", "probes")} | {"probe": 1, "label": 2}
        ),
    ),
    Case(
        verification.verify,
        lambda: (
            {"verdicts": verdicts()} | {k: separable()[k] for k in ("features", "labels", "probes")}
        ),
        infinite="documented: inf residual of what is no certificate",
    ),
    Case(
        certificates.exact_witness,
        lambda: {
            "layer": verdicts().witnesses[0],
            "points": whitening.homogenise(separable()["features"]),
            "labels": separable()["labels"],
        },
        allows="layer: one more in axis 0",
    ),
    Case(
        whitening.homogenise,
        lambda: {"features": system()["features"]},
        allows="features: axis behind",
    ),
    Case(whitening.whiten, lambda: {"stacked": system()["features"]}),
    Case(
        lambda **kw: policy_cone.PolicyCone(**kw).points,
        lambda: {"points": system()["features"], "labels": system()["labels"], "num_classes": 3},
        "policy_cone.PolicyCone",
    ),
    Case(
        refutations.constraint_rows,
        lambda: {
            "points": system()["features"],
            "labels": system()["labels"],
            "rivals": (system()["labels"] + 1) % 3,
            "num_classes": 3,
        },
    ),
    Case(regions.pack_bits, lambda: {"bits": deep()["x"] > 0}, allows="bits: axis behind"),
    Case(
        regions.activation_patterns,
        parts("networks", "x", layer=lambda: 1, chunk=lambda: 5),
        allows="networks: nan",
    ),
    Case(
        regions.layer_patterns,
        parts("networks", "x", layers=lambda: [0, 1], chunk=lambda: 5),
        allows="layers: (-1|one)|networks: (nan|one network)",
    ),
    Case(
        regions.region_ids,
        lambda: {"patterns": patterns()()},
    ),
    Case(
        regions.distinct_patterns,
        lambda: {"patterns": patterns()()},
    ),
    Case(
        regions.region_counts,
        lambda: {"train": patterns()(), "unseen": patterns(n=4)()},
    ),
    Case(
        regions.unseen_only_regions,
        lambda: {"train": patterns()(), "unseen": patterns(n=4)()},
    ),
    Case(
        regions.free_parameters,
        lambda: {"train": patterns()(), "features": 4, "classes": 3},
    ),
    Case(
        regions.class_counts,
        lambda: {
            "ids": regions.region_ids(patterns()()),
            "labels": torch.tensor([0, 1, 2, 0, 1, 2, 0]),
            "classes": 3,
        },
    ),
    Case(regions.region_language, lambda: {"regions": 3, "classes": 4}),
    Case(regions.region_weakness, lambda: {"policy": [3, 1, 0], "classes": 4}),
    Case(pacbayes.uniform_kl, lambda: {"total": 8.0, "part": 1.0}),
    Case(
        pacbayes.bernoulli_kl,
        lambda: {
            "q": torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64),
            "p": torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64),
        },
        infinite="documented: infinite where q is not << p",
        allows="p: one in axis 0|q: one in axis 0",
    ),
    Case(
        pacbayes.kl_inverse,
        lambda: {
            "q": torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64),
            "budget": torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64),
        },
        allows="budget: one in axis 0|q: one in axis 0",
    ),
    Case(pacbayes.log_xi, lambda: {"n": 7}),
    Case(
        parameter_noise.gaussian_kl,
        parts("networks", start=start, sigma=sigma),
    ),
    Case(
        lambda **kw: parameter_noise.NoisyTraining(**kw).errors(sigma(), 2, rng()),
        parts("networks", "x", "y"),
        "parameter_noise.NoisyTraining",
    ),
    Case(
        lambda **kw: noisy().errors(generator=rng(), **kw),
        lambda: {"sigma": sigma(), "samples": 3},
        "parameter_noise.NoisyTraining.errors",
    ),
    Case(
        pacbayes.gaussian_bound,
        parts(
            "networks",
            "x",
            "y",
            start=start,
            grid=lambda: [0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0],
            generator=rng,
            delta=lambda: 0.1,
            search=lambda: 2,
            samples=lambda: 3,
        ),
    ),
    Case(
        parameter_noise.noise_at_error,
        lambda: {
            "noisy": noisy(),
            "level": 0.5,
            "samples": 3,
            "seed": 1,
            "steps": 3,
            "low": 0.01,
            "high": 4.0,
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
