"""Bad and odd arguments: weakness, finite and continuous."""

from fractions import Fraction

import numpy as np
import pytest
from bad_inputs import Case, defects

from flatness.weakness import (
    demands,
    interval_unions,
    languages,
    point_demands,
    selection,
    statements,
    tasks,
    version_spaces,
)
from flatness.weakness.statements import ClashError


def vocabulary():
    return languages.vocabulary({"a": [0, 1], "b": [1, 2], "c": [2, 3]}, n_states=5)


def lang():
    return languages.language(vocabulary())


def rng():
    return np.random.default_rng(0)


def one_task():
    return selection.random_task(rng(), 5, 4, 0.5, 2)


def policies():
    return tasks.correct_policies(one_task())


def law():
    return [Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)]


def buffer():
    return np.array([[0.0, 0.25], [0.5, 0.75], [0.8, 0.9]])


def hypotheses():
    return version_spaces.hypothesis_class([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])


def survives(model, generator):
    """The survival of a buffer under a model, and a draw."""
    return model.survival(buffer()), np.nan_to_num(model.sample(5, generator))


def of(model):
    """The construction of a model, and its use."""
    return lambda **kw: survives(model(**kw), rng())


def call(**arguments):
    return lambda: {
        name: value() if callable(value) else value for name, value in arguments.items()
    }


CASES = [
    Case(
        lambda **kw: languages.Vocabulary(**kw).programs,
        call(n_states=5, programs=(3, 6), names=("a", "b")),
        "language.Vocabulary",
    ),
    Case(
        lambda n_states, states: languages.vocabulary({"a": states}, n_states).programs,
        call(n_states=5, states=[0, 1]),
        "language.vocabulary",
    ),
    Case(
        lambda **kw: languages.random_vocabulary(rng(), **kw).programs,
        call(n_states=5, n_programs=4, density=0.5),
        "language.random_vocabulary",
    ),
    Case(languages.relabel_states, lambda: {"v": vocabulary(), "order": np.array([1, 0, 2, 4, 3])}),
    Case(
        languages.superset_sum,
        call(values=np.arange(8.0)),
    ),
    Case(
        languages.subset_sum,
        call(values=np.arange(8.0)),
    ),
    Case(languages.language, lambda: {"v": vocabulary()}),
    Case(
        statements.clash,
        lambda: {"lang": lang(), "mask": 5},
    ),
    Case(
        statements.statement,
        lambda: {"lang": lang(), "programs": 3},
        errors=(ClashError,),
    ),
    Case(
        lambda names: statements.statement(lang(), names),
        call(names=["a", "b"]),
        "statements.statement (names)",
    ),
    Case(statements.spell, lambda: {"lang": lang(), "mask": 5}),
    Case(
        statements.length,
        call(statements=np.array([0, 5, 7]), costs=[5, 1, 2, 4]),
    ),
    Case(
        statements.statement_set,
        lambda: {"lang": lang(), "statements": [0, 1, 3]},
    ),
    Case(
        statements.statement_set,
        lambda: {"lang": lang(), "statements": lang().member},
        "statements.statement_set (boolean)",
    ),
    Case(
        statements.extension,
        lambda: {"lang": lang(), "statements": [0, 1, 3]},
    ),
    Case(languages.weakness, lambda: {"lang": lang(), "measure": np.arange(8.0)}),
    Case(languages.maximal, lambda: {"lang": lang()}),
    Case(demands.size_law, call(probabilities=[0.25, 0.5, 0.25])),
    Case(demands.uniform_sizes, call(u=4)),
    Case(demands.bernoulli_sizes, call(u=4, q=0.25)),
    Case(demands.fixed_size, call(u=4, k=2)),
    Case(demands.mixture, lambda: {"weights": [0.5, 0.5], "laws": [law(), law()]}),
    Case(demands.survival, lambda: {"law": law(), "b": 1}, says="probabilities"),
    Case(demands.separates, lambda: {"law": law(), "b": 1}, says="probabilities"),
    Case(
        demands.subset_law,
        lambda: {"law": law()},
    ),
    Case(demands.independent_demands, call(chances=[0.5, 0.25, 0.125])),
    Case(demands.point_mass, call(u=3, demands=5)),
    Case(
        demands.coherent_demands,
        call(elements=np.array([1, 3, 5])),
    ),
    Case(demands.survival_independent, call(chances=[0.5, 0.25, 0.125], buffer=5)),
    Case(demands.survival_by_enumeration, lambda: {"law": demands.subset_law(law()), "buffer": 2}),
    Case(demands.survival_table, lambda: {"law": demands.subset_law(law())}),
    Case(demands.is_exchangeable, lambda: {"law": demands.subset_law(law())}),
    Case(demands.count_survivors, call(u=4, buffer=5)),
    Case(
        lambda masses: demands.survival_with_atoms(masses, rng()),
        call(masses=[1, 2, 2]),
        "demands.survival_with_atoms",
    ),
    Case(
        interval_unions.buffer_set,
        lambda: {"intervals": buffer()},
    ),
    Case(interval_unions.measure, lambda: {"buffer": buffer()}),
    Case(
        interval_unions.contains,
        lambda: {"buffer": buffer(), "points": np.array([0.1, 0.3, 0.6, 0.7, 0.95])},
        allows="points: (inf|nan)",
    ),
    Case(
        interval_unions.intersection,
        lambda: {"a": buffer(), "b": buffer() * 0.9},
        allows="[ab]: .* in axis 0",
    ),
    Case(interval_unions.comb_buffer, call(teeth=3, total=0.5)),
    Case(of(point_demands.uniform_points), call(k=3), "point_demands.uniform_points"),
    Case(of(point_demands.poisson_points), call(rate=3.0), "point_demands.poisson_points"),
    Case(
        of(point_demands.gamma_poisson_points),
        call(shape=2.0, mean=3.0),
        "point_demands.gamma_poisson_points",
    ),
    Case(
        of(point_demands.mixture_of_counts),
        call(counts=[1, 2, 4], weights=[0.5, 0.25, 0.25]),
        "point_demands.mixture_of_counts",
    ),
    Case(of(point_demands.tilted_points), call(k=3, power=2.0), "point_demands.tilted_points"),
    Case(of(point_demands.twin_points), call(lag=0.3), "point_demands.twin_points"),
    Case(point_demands.least_survival, call(t=0.5, mean=3.0, largest=10)),
    Case(point_demands.interval, call(hits=3, n=10, level=0.9)),
    Case(
        lambda **kw: point_demands.estimate_survival(
            point_demands.uniform_points(2), generator=rng(), **kw
        ),
        lambda: {"buffer": buffer(), "n": 10, "level": 0.9},
        "point_demands.estimate_survival",
    ),
    Case(
        lambda **kw: selection.random_task(rng(), **kw).inputs,
        call(n_states=5, n_programs=4, density=0.5, n_inputs=2),
        "selection.random_task",
    ),
    Case(
        lambda **kw: selection.example_task(rng(), **kw).inputs,
        call(n_states=5, n_features=3, density=0.5, n_inputs=2),
        "selection.example_task",
    ),
    Case(selection.weakest, lambda: {"t": one_task()}),
    Case(selection.shortest, lambda: {"t": one_task(), "costs": [1, 2, 3, 1]}),
    Case(selection.disagree, lambda: {"t": one_task(), "costs": [1, 2, 3, 1]}),
    *(
        Case(
            lambda policies, prior=prior: prior(one_task(), policies, rng()),
            lambda: {"policies": policies()},
            f"selection.{prior.__name__}",
        )
        for prior in (
            selection.uniform,
            selection.one_demand,
            selection.fully_specified,
            selection.uneven,
            selection.short_teacher,
        )
    ),
    Case(
        lambda policies, per_program: selection.teacher(one_task(), policies, rng(), per_program),
        lambda: {"policies": policies(), "per_program": 0.5},
        "selection.teacher",
    ),
    Case(
        lambda tasks: selection.compare(tasks, selection.uniform, rng()),
        lambda: {"tasks": [one_task(), one_task()]},
        "selection.compare",
    ),
    Case(
        lambda inputs, outputs: tasks.task(lang(), inputs, outputs).outputs,
        call(inputs=[1, 2], outputs=[3]),
        "tasks.task",
        errors=(ClashError,),
    ),
    Case(
        lambda inputs, policy: tasks.task_of_policy(lang(), inputs, policy).outputs,
        call(inputs=[1, 2], policy=1),
        "tasks.task_of_policy",
        errors=(ClashError,),
    ),
    Case(
        lambda policy: tasks.is_correct(one_task(), policy),
        call(policy=1),
        "tasks.is_correct",
        errors=(ClashError,),
    ),
    Case(tasks.correct_policies, lambda: {"t": one_task()}),
    Case(
        lambda policy: tasks.buffer(one_task(), policy),
        call(policy=1),
        "tasks.buffer",
        errors=(ClashError,),
    ),
    Case(tasks.buffer_sizes, lambda: {"t": one_task()}),
    Case(
        lambda demands: tasks.parent_with_demands(one_task(), demands).inputs,
        lambda: {"demands": [int(np.flatnonzero(one_task().unseen)[0])]},
        "tasks.parent_with_demands",
        errors=(ClashError,),
    ),
    Case(tasks.unseen_masks, lambda: {"t": one_task(), "policies": policies().tolist()}),
    Case(
        lambda n_inputs: [t.outputs for t in tasks.realisable_tasks(lang(), n_inputs)],
        call(n_inputs=1),
        "tasks.realisable_tasks",
    ),
    Case(
        version_spaces.hypothesis_class,
        lambda: {"rows": hypotheses()},
    ),
    Case(version_spaces.point_vocabulary, lambda: {"hypotheses": hypotheses(), "classes": 2}),
    Case(
        lambda x, c, classes: version_spaces.sample_statement({x: c}, classes),
        call(x=1, c=1, classes=2),
        "version_spaces.sample_statement",
    ),
    Case(
        lambda hypotheses, x, c: version_spaces.version_space(hypotheses, {x: c}),
        lambda: {"hypotheses": hypotheses(), "x": 1, "c": 1},
        "version_spaces.version_space",
    ),
    Case(
        version_spaces.restriction_counts,
        lambda: {"hypotheses": hypotheses()},
    ),
    Case(version_spaces.vc_dimension, lambda: {"hypotheses": hypotheses()}),
    Case(
        version_spaces.boundaries,
        call(policies=np.array([1, 3, 5])),
    ),
    Case(version_spaces.is_convex, lambda: {"policies": np.array([1, 3]), "lang": lang()}),
]


@pytest.fixture(autouse=True)
def few_attempts(monkeypatch):
    """Tasks that cannot be drawn are given up soon."""
    monkeypatch.setattr(selection, "ATTEMPTS", 200)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
