"""Bad and odd arguments: interpolators, norms and bounds, targets and populations, constants of the
sample.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from bad_inputs import Case, defects
from test_bad_inputs_networks import two, two_parts

from flatness.curvature import norms
from flatness.datasets import input_laws, population, targets
from flatness.interpolators import (
    adversarial,
    bounds,
    candidates,
    constructions,
    floors,
    harmonics,
    penalised,
    polish,
    resolved,
    search,
    second_layer,
    small_ball,
    small_ball_bounds,
    unlearned,
)
from flatness.interpolators.polish import InterpolationError
from flatness.networks.activations import ABS, RELU
from flatness.statistics import scaling

FAILS = (InterpolationError,)
QUICK = penalised.Schedule(steps=20)


def rng():
    return torch.Generator().manual_seed(0)


def data(n=3, d=4, count=2):
    return targets.draw("relu", n, d, seeds=range(count))


def xy(**more):
    """Two data sets of three samples in R^4, and more arguments."""
    return lambda: (
        {"x": data().x, "y": data().y, "activation": RELU}
        | {name: make() for name, make in more.items()}
    )


def target():
    return data().target


def network():
    return two()["net"]


DRAWS = "other numbers are drawn in single precision"
TINY = {"tolerance: 0.0": "exactly zero is not reached", "tolerance: 1e+200": "any network counts"}
COUNTS = dict(n=lambda: 7, d=lambda: 3)


def plane():
    return np.random.default_rng(0).standard_normal((7, 2))


def numbers(**values):
    return lambda: dict(values)


CASES = [
    Case(norms.exponent, numbers(p=2)),
    *(
        Case(function, two_parts("net"))
        for function in (norms.variation_terms, norms.variation_norm, norms.variation_power)
    ),
    Case(bounds.flatness_lower_bound, xy(width=lambda: 5)),
    Case(floors.flatness_floor, xy(xi=lambda: data().y)),
    Case(
        lambda **kw: bounds.flatness_lower_bound(**kw | {"activation": ABS}),
        xy(),
        "bounds.flatness_lower_bound (two-sided)",
    ),
    Case(
        bounds.certificate,
        xy(
            candidates=lambda: {"teacher": constructions.teacher(data(), RELU)},
            width=lambda: 5,
            tolerance=lambda: 1e-18,
        ),
    ),
    Case(penalised.minimise_penalised, two_parts("net", "x", "y", schedule=lambda: QUICK)),
    Case(
        lambda **kw: penalised.Schedule(**kw).at(3),
        numbers(
            steps=10,
            rate=0.1,
            penalty="trace",
            lambda_first=0.1,
            lambda_last=0.01,
            tau_first=0.1,
            tau_last=0.01,
        ),
        "penalised.Schedule",
    ),
    Case(
        polish.check_counting,
        numbers(n=7, d=4, width=5, activation=RELU),
        errors=FAILS,
    ),
    Case(polish.gauss_newton, two_parts("net", "x", "y", tolerance=lambda: 1e-20, steps=lambda: 5)),
    Case(
        polish.revive,
        two_parts("net", generator=rng, fraction=lambda: 0.4, size=lambda: 0.3),
        allows="net: float32",
    ),
    Case(
        polish.pair_up,
        two_parts("net", generator=rng, share=lambda: 0.1, fraction=lambda: 0.8),
        allows="net: float32",
    ),
    Case(
        polish.interpolate,
        two_parts(
            "net",
            "x",
            "y",
            generator=rng,
            fractions=lambda: (0.0, 0.4, 0.6),
            tolerance=lambda: 1e-18,
        ),
    ),
    Case(polish.consolidate, two_parts("net", cosine=lambda: 0.99, share=lambda: 0.01)),
    Case(
        polish.require_interpolation,
        two_parts(
            "net", "x", y=lambda: network()(two()["x"]), tolerance=lambda: 1e-18, what=lambda: "it"
        ),
        errors=FAILS,
        allows="what: no such",
    ),
    Case(search.default_width, numbers(n=7)),
    Case(
        search.initial_network,
        lambda: {
            "x": two()["x"],
            "y": two()["y"],
            "activation": RELU,
            "width": 5,
            "generator": rng(),
            "size": 1.0,
        },
    ),
    Case(
        search.flattest,
        xy(generator=rng, width=lambda: 6, schedules=lambda: (QUICK,)),
        errors=FAILS,
    ),
    Case(search.anneal, two_parts("net", "x", "y", schedule=lambda: QUICK, generator=rng)),
    Case(search.polished, two_parts("net", "x", "y", generator=rng)),
    Case(
        candidates.best_of,
        two_parts(
            nets=lambda: [network(), network()],
            names=lambda: ["one", "two"],
            x=lambda: two()["x"],
            y=lambda: network()(two()["x"]),
            tolerance=lambda: 1e-18,
        ),
        errors=FAILS,
    ),
    Case(second_layer.linear_programme, two_parts("net", "x", "y")),
    Case(
        lambda x, tolerance: constructions.teacher(
            targets.DataSet(x, data().target(x), data().target, "gaussian", 0.0, (0, 1)),
            RELU,
            tolerance,
        ),
        numbers(x=data().x, tolerance=1e-18),
        "interpolators.teacher",
        errors=FAILS,
    ),
    Case(constructions.private_neurons, lambda: {"x": data().x[0]}),
    Case(
        constructions.private_neurons,
        lambda: {"x": data(n=5).x[0]},
        "interpolators.private_neurons (n > d)",
    ),
    Case(
        constructions.memoriser,
        xy(tolerance=lambda: 1e-18),
        errors=FAILS,
    ),
    Case(
        constructions.random_features,
        xy(generator=rng, width=lambda: 8, tolerance=lambda: 1e-18),
        errors=FAILS,
    ),
    Case(
        constructions.gradient_descent,
        xy(
            generator=rng,
            start=lambda: "small",
            width=lambda: 6,
            steps=lambda: 20,
            tolerance=lambda: 1e-18,
        ),
        errors=FAILS,
    ),
    Case(
        constructions.poisoned,
        xy(
            extra_x=lambda: data(n=2, count=4).x[2:],
            extra_y=lambda: data(n=2, count=4).y[2:],
            generator=rng,
            width=lambda: 8,
            schedule=lambda: QUICK,
        ),
        errors=FAILS,
    ),
    Case(
        adversarial.adversary,
        xy(
            target=target,
            reference=lambda: torch.tensor([2.0, 3.0], dtype=torch.float64),
            generator=rng,
            badness=lambda: 0.01,
            rounds=lambda: 2,
            bracket=lambda: (0.05, 1.5),
            width=lambda: 6,
            schedule=lambda: QUICK,
        ),
        errors=FAILS,
        infinite="documented: infinite F* where nothing interpolates",
    ),
    Case(
        input_laws.sample_inputs,
        lambda: {"law": "mixture", "n": 7, "d": 4, "generator": rng(), "count": 2},
    ),
    Case(
        lambda **kw: targets.random_directions(generator=rng(), **kw),
        numbers(count=2, k=3, d=4),
        "targets.random_directions",
    ),
    Case(
        lambda **kw: targets.SingleIndexSum("it", links=(RELU, ABS), **kw)(
            torch.ones(3, 4, dtype=torch.float64)
        ),
        lambda: {"directions": targets.random_directions(3, 2, 4, rng()), "weights": (1.0, 2.0)},
        "targets.SingleIndexSum",
    ),
    Case(
        lambda x: targets.make_target("three_relu", 4, rng(), 2)(x),
        lambda: {"x": data().x},
        "targets.SingleIndexSum.__call__",
    ),
    Case(
        lambda x: targets.make_target("product", 4, rng(), 2)(x),
        lambda: {"x": data().x},
        "targets.MultiIndex.__call__",
    ),
    Case(
        lambda directions: targets.MultiIndex("it", directions, lambda z: z.sum(-1)),
        lambda: {"directions": network().W},
        "targets.MultiIndex",
    ),
    Case(
        lambda **kw: targets.make_target(generator=rng(), **kw)(
            torch.ones(1, kw["d"], dtype=torch.float64)
        ),
        numbers(name="three_relu", d=4, count=2),
        "targets.make_target",
    ),
    Case(targets.draw, numbers(target="relu", n=7, d=4, seeds=[0, 1], law="sphere", noise=0.1)),
    Case(
        population.activation_kernel,
        numbers(rho=torch.linspace(-1, 1, 7, dtype=torch.float64), activation=ABS),
    ),
    Case(population.second_moment, two_parts("net", law=lambda: "sphere")),
    Case(population.first_moment, two_parts("net", law=lambda: "sphere")),
    Case(
        population.target_field,
        lambda: {
            "unit": network().W / network().W.norm(dim=-1, keepdim=True),
            "target": target(),
            "activation": RELU,
        },
    ),
    Case(population.cross_moment, two_parts("net", target=target)),
    Case(population.hermite_coefficients, numbers(function=torch.relu, terms=5)),
    Case(population.target_moments, lambda: {"target": target()}),
    *(
        Case(
            population.population_loss,
            two_parts(
                "net",
                target=lambda name=name: targets.make_target(name, 4, rng(), 2),
                law=lambda law=law: law,
                samples=lambda: 50,
                generator=rng,
            ),
            f"population.population_loss ({name}, {law})",
        )
        for name, law in (("relu", "sphere"), ("tanh_sum", "gaussian"), ("product", "cube"))
    ),
    Case(small_ball.wendel_probability, numbers(n=7, d=3)),
    Case(small_ball.silent_direction, lambda: {"x": data().x[0]}),
    *(
        Case(
            function,
            lambda: {
                "x": data(n=9).x,
                "activation": RELU,
                "generator": rng(),
                "restarts": 3,
                "steps": 10,
            },
            allows="x: float32",
        )
        for function in (small_ball.smallest_energy, small_ball.smallest_activity)
    ),
    Case(small_ball.gordon_limit, numbers(ratio=8.0)),
    Case(small_ball_bounds.cover_number, numbers(n=7, d=3)),
    *(
        Case(function, numbers(n=7, d=3, failure=0.1))
        for function in (
            small_ball_bounds.activity_lower_bound,
            small_ball_bounds.slope_lower_bound,
            small_ball_bounds.energy_lower_bound,
        )
    ),
    Case(small_ball_bounds.comparison_probability, numbers(c=0.5, n=7, d=3)),
    Case(harmonics.cosine_multiplier, numbers(r=5, k=4)),
    Case(
        resolved.resolution,
        lambda: dict(x=plane(), degree=2),
        infinite="one sample resolves nothing",
    ),
    Case(resolved.plane_constants, lambda: dict(x=plane())),
    Case(
        resolved.bad_ratio,
        lambda: dict(x=plane(), loss=0.2, norm=1.0, flatness=1.0),
        infinite="one sample resolves nothing",
    ),
    Case(
        unlearned.unlearned_bound,
        lambda: dict(
            n=7,
            d=3,
            link=RELU,
            generator=np.random.default_rng(0),
            kappa=1.0,
            failure=0.5,
            draws=1000,
        ),
    ),
    Case(harmonics.harmonic_dimension, numbers(d=5, k=3)),
    Case(
        harmonics.legendre,
        numbers(d=5, k=3, t=np.linspace(-1, 1, 7)),
    ),
    Case(
        lambda **kw: harmonics.harmonic_energies(torch.relu, **kw),
        numbers(d=5, degrees=3, directions=2),
        "harmonics.harmonic_energies",
    ),
    Case(harmonics.unlearned_energy, numbers(energies=np.array([0.5, 0.2, 0.1]), d=5, n=3)),
    Case(scaling.t_interval, numbers(values=[1.0, 2.0, 4.0], level=0.9)),
    Case(scaling.geometric_mean, numbers(values=[1.0, 2.0, 4.0], level=0.9)),
    Case(
        lambda x, y, level, values: scaling.power_law(
            pd.DataFrame({"seed": [0, 0, 1, 1], "n": values, "loss": [1.0, 0.5, 3.0, 1.0]}),
            x,
            y,
            level=level,
        ),
        numbers(x="n", y="loss", level=0.9, values=[1.0, 2.0, 1.0, 2.0]),
        "scaling.power_law",
        allows="values: (empty|one)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
