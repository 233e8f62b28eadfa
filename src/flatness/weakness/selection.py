"""Choosing among the correct policies of a task: the weakest, the shortest, and how each fares
under a prior.

A prior here is a law of the demands S, a random subset of U, given the task. Survival probabilities
are returned up to a factor common to all policies of the task, which leaves every comparison
unchanged and cannot underflow. Definitions and results: our chapter ``b1_language``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.weakness.languages import (
    Vocabulary,
    language,
    maximal,
    random_vocabulary,
    superset_sum,
)
from flatness.weakness.statements import length
from flatness.weakness.tasks import Task, buffer_sizes, correct_policies, task_of_policy

Prior = Callable[[Task, np.ndarray, np.random.Generator], np.ndarray]


ATTEMPTS = 5_000  # draws of a random task before giving up


def _policies(name: str, policies: np.ndarray, sizes: dict) -> None:
    if (
        policies.ndim != 1
        or not len(policies)
        or policies.dtype.kind not in "iu"
        or policies.min() < 0
    ):
        raise ValueError(
            f"{name}: expected at least one bitmask (k,), got {policies.dtype} {policies.shape}"
        )
    if "statements" in sizes and policies.max() >= sizes["statements"][0]:
        raise ValueError(
            f"{name}: expected bitmasks below {sizes['statements'][0]}, got {policies.max()}"
        )


def _task(name: str, t: Task, sizes: dict) -> None:
    rules.instance(Task)(name, t, sizes)
    sizes["statements"] = (len(t.language.member), name)


@checked(t=rules.instance(Task))
def weakest(t: Task) -> np.ndarray:
    """The correct policies with the largest buffer, that is of largest weakness (increasing
    bitmasks).
    """
    policies = correct_policies(t)
    sizes = buffer_sizes(t)[policies]
    return policies[sizes == sizes.max(initial=0)]


@checked(t=rules.instance(Task), costs=None)
def shortest(t: Task, costs: Sequence[int] | None = None) -> np.ndarray:
    """The correct policies of least description length: fewest programs, or least total of
    ``costs``.
    """
    policies = correct_policies(t)
    lengths = length(policies, costs)
    return policies[lengths == lengths.min(initial=np.iinfo(np.int64).max)]


@checked(t=rules.instance(Task), costs=None)
def disagree(t: Task, costs: Sequence[int] | None = None) -> bool:
    """Whether no shortest correct policy is a weakest one."""
    return not np.isin(weakest(t), shortest(t, costs)).any()


@checked(
    n_states=rules.at_least(1),
    n_programs=rules.at_least(0),
    density=rules.between(0, 1),
    n_inputs=rules.at_least(0),
)
def random_task(
    generator: np.random.Generator, n_states: int, n_programs: int, density: float, n_inputs: int
) -> Task:
    """A random vocabulary, ``n_inputs`` random statements as inputs, and the outputs of a random
    policy.

    Inputs and policy are uniform over the language; draws with O or U empty are rejected.
    """
    for _ in range(ATTEMPTS):
        lang = language(random_vocabulary(generator, n_states, n_programs, density))
        members = np.flatnonzero(lang.member)
        inputs = generator.choice(members, n_inputs).tolist()
        made = task_of_policy(lang, inputs, int(generator.choice(members)))
        if made.outputs.any() and made.unseen.any():
            return made
    raise ValueError(
        f"n_states, n_programs, density, n_inputs: no task with outputs and unseen statements in "
        f"{ATTEMPTS} draws with "
        f"{n_states} states, {n_programs} programs, density {density} and {n_inputs} inputs"
    )


@checked(
    n_states=rules.at_least(1),
    n_features=rules.at_least(0),
    density=rules.between(0, 1),
    n_inputs=rules.at_least(1),
)
def example_task(
    generator: np.random.Generator,
    n_states: int,
    n_features: int,
    density: float,
    n_inputs: int,
    negations: bool = True,
) -> Task:
    """States described by random features, and by default their negations; some are shown, a
    conjunction decides.

    Each feature holds in each state with probability ``density``. The inputs are the full
    descriptions of ``n_inputs`` distinct states, the outputs those of them that a conjunction
    accepts which was drawn uniformly among the parts of the first one's description. Draws with U
    empty are rejected.
    """
    if n_inputs > n_states:
        raise ValueError(
            f"n_inputs: expected at most n_states = {n_states} distinct states, got {n_inputs}"
        )
    for _ in range(ATTEMPTS):
        features = random_vocabulary(generator, n_states, n_features, density)
        absent = tuple((1 << n_states) - 1 & ~p for p in features.programs) if negations else ()
        v = Vocabulary(
            n_states,
            features.programs + absent,
            features.names + tuple(f"not {name}" for name in features.names[: len(absent)]),
        )
        shown = generator.choice(n_states, n_inputs, replace=False).tolist()
        described = [sum(1 << k for k, p in enumerate(v.programs) if p >> s & 1) for s in shown]
        rule = described[0] & int(generator.integers(1 << len(v.programs)))
        made = task_of_policy(language(v), described, rule)
        if made.unseen.any():
            return made
    raise ValueError(
        f"n_states, n_features, density, n_inputs: no task with unseen statements in {ATTEMPTS} "
        f"draws with {n_states} states, "
        f"{n_features} features, density {density} and {n_inputs} inputs"
    )


def _powers(exponents: np.ndarray) -> np.ndarray:
    return 2.0 ** (exponents - exponents.max())


@checked(t=_task, policies=_policies)
def uniform(t: Task, policies: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """S uniform over the subsets of U: exchangeable; survival proportional to ``2**|B|``."""
    return _powers(buffer_sizes(t)[policies])


@checked(t=_task, policies=_policies)
def one_demand(t: Task, policies: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """S a single uniform element of U: exchangeable; survival proportional to ``|B|``."""
    return buffer_sizes(t)[policies].astype(np.float64)


@checked(t=_task, policies=_policies)
def fully_specified(t: Task, policies: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """S uniform over the sets of maximal statements of U: survival ``2**(maximal statements in
    B)``.
    """
    return _powers(superset_sum((t.unseen & maximal(t.language)).astype(np.int64))[policies])


@checked(t=_task, policies=_policies)
def uneven(t: Task, policies: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Statements demanded independently, with chance 1/2 or 15/16, a fair coin deciding for each
    which.

    Survival is 2 to the minus sum of the costs (1 or 4 bits) of the statements outside B.
    """
    costs = np.where(t.unseen, generator.choice([1, 4], size=t.unseen.shape), 0)
    return _powers(superset_sum(costs)[policies])


@checked(t=_task, policies=_policies)
def teacher(
    t: Task, policies: np.ndarray, generator: np.random.Generator, per_program: float = 0.0
) -> np.ndarray:
    """S uniform over the subsets of the buffer of one correct policy, the teacher.

    The teacher is drawn among the correct policies with weight ``2**(-per_program * length)``.
    """
    candidates, sizes = correct_policies(t), buffer_sizes(t)
    shared = sizes[policies[:, None] | candidates[None, :]] - sizes[candidates]
    weight = 2.0 ** (-per_program * length(candidates))
    return 2.0**shared @ (weight / weight.sum())


def short_teacher(t: Task, policies: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """As :func:`teacher`, with a policy half as likely for every program it holds."""
    return teacher(t, policies, generator, per_program=1.0)


@checked()
def compare(tasks: Iterable[Task], prior: Prior, generator: np.random.Generator) -> np.ndarray:
    """+1, 0 or -1 for each task: does the weakest policy survive more, as, or less often than the
    shortest?

    Ties within each rule are broken uniformly at random: the mean over tied policies counts. Two
    probabilities closer than 1e-12 of the larger count as equal.
    """
    verdicts = []
    for t in tasks:
        weak, short = weakest(t), shortest(t)
        chances = prior(t, np.concatenate([weak, short]), generator)
        gap = chances[: len(weak)].mean() - chances[len(weak) :].mean()
        verdicts.append(0 if abs(gap) <= 1e-12 * chances.max() else int(np.sign(gap)))
    return np.array(verdicts)
