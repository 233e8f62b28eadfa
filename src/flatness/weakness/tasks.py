"""Tasks over a finite language: inputs, outputs, correct policies, buffers, children and parents.

A task is a pair (I, O) of sets of statements with O contained in Ext(I). A policy is a statement
pi; it is correct for the task when Ext(I) and Ext(pi) meet exactly in O. What the task leaves open
is U = L_v minus Ext(I), and the *buffer* of a policy is the part of its extension that lies there.
Definitions: Paper B; proofs: ``b1_language``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from flatness._internal.arguments import integer
from flatness.weakness.languages import Language, _zeta, superset_sum
from flatness.weakness.statements import _completions, extension, spell, statement, statement_set


@dataclass(frozen=True, eq=False)
class Task:
    """(I, O) over ``language``: boolean arrays of shape ``(2**m,)``; made and checked by
    :func:`task`.
    """

    language: Language
    inputs: np.ndarray
    outputs: np.ndarray

    @cached_property
    def reach(self) -> np.ndarray:
        """Ext(I)."""
        return _completions(self.language, self.inputs)

    @cached_property
    def unseen(self) -> np.ndarray:
        """U = L_v minus Ext(I), what the task says nothing about."""
        return self.language.member & ~self.reach


def task(lang: Language, inputs: Iterable, outputs: Iterable) -> Task:
    """The task (I, O). Raises ValueError when O is not inside Ext(I), ClashError outside the
    language.
    """
    made = Task(lang, statement_set(lang, inputs), statement_set(lang, outputs))
    stray = np.flatnonzero(made.outputs & ~made.reach)
    if stray.size:
        raise ValueError(
            f"output {spell(lang, stray[0])} completes no input, so it is outside Ext(I)"
        )
    return made


def task_of_policy(lang: Language, inputs: Iterable, policy: Iterable[str] | int) -> Task:
    """The one task with these inputs for which ``policy`` is correct: O is Ext(I) meeting
    Ext(policy).
    """
    chosen = statement_set(lang, inputs)
    return Task(lang, chosen, extension(lang, chosen) & extension(lang, [statement(lang, policy)]))


def is_correct(t: Task, policy: Iterable[str] | int) -> bool:
    """Whether Ext(I) and Ext(policy) meet exactly in O."""
    return bool(
        np.array_equal(t.reach & extension(t.language, [statement(t.language, policy)]), t.outputs)
    )


def correct_policies(t: Task) -> np.ndarray:
    """All correct policies, as increasing bitmasks (int64).

    pi is correct iff all |O| outputs complete it and it has |O| completions in Ext(I): two superset
    sums.
    """
    within_outputs = _zeta(t.outputs.astype(np.int64), receiving=0)
    within_reach = _zeta(t.reach.astype(np.int64), receiving=0)
    n_outputs = np.count_nonzero(t.outputs)
    return np.flatnonzero(
        t.language.member & (within_outputs == n_outputs) & (within_reach == n_outputs)
    )


def buffer(t: Task, policy: Iterable[str] | int) -> np.ndarray:
    """B_pi = Ext(pi) intersected with U, as a boolean array of shape ``(2**m,)``."""
    return extension(t.language, [statement(t.language, policy)]) & t.unseen


def buffer_sizes(t: Task) -> np.ndarray:
    """|B_x| for every set of programs x, shape ``(2**m,)``, int64."""
    return superset_sum(t.unseen.astype(np.int64))


def is_child(child: Task, parent: Task) -> bool:
    """Whether the inputs of ``child`` are a strict subset of the parent's, its outputs a subset."""
    more_inputs = bool((parent.inputs & ~child.inputs).any())
    return (
        child.language is parent.language
        and more_inputs
        and not (child.inputs & ~parent.inputs).any()
        and not (child.outputs & ~parent.outputs).any()
    )


def parent_with_demands(child: Task, demands: Iterable) -> Task:
    """The task (I + S, O + S) that demands the unseen statements S as outputs and shows them as
    inputs.

    Raises ValueError when a demand is not in U.
    """
    wanted = statement_set(child.language, demands)
    seen = np.flatnonzero(wanted & ~child.unseen)
    if seen.size:
        raise ValueError(
            f"demand {spell(child.language, seen[0])} completes an input, so it is not in U"
        )
    return Task(child.language, child.inputs | wanted, child.outputs | wanted)


def unseen_masks(t: Task, policies: Iterable[int]) -> tuple[np.ndarray, list[int]]:
    """The elements of U (increasing bitmasks), and each policy's buffer as a bitmask over their
    positions.
    """
    policies = [integer("policies", pi, 0, len(t.unseen) - 1) for pi in policies]
    elements = np.flatnonzero(t.unseen)
    masks = [
        sum(1 << i for i, x in enumerate(elements.tolist()) if x & pi == pi) for pi in policies
    ]
    return elements, masks


def realisable_tasks(lang: Language, n_inputs: int) -> Iterator[Task]:
    """Every task with an antichain of ``n_inputs`` inputs and at least one correct policy, each
    once.

    Inputs that contain another input add nothing to Ext(I); antichains therefore cover every
    Ext(I).
    """
    integer("n_inputs", n_inputs, 0)
    members = np.flatnonzero(lang.member).tolist()
    sets = np.arange(len(lang.member))
    for inputs in combinations(members, n_inputs):
        if any(a & b == a or a & b == b for a, b in combinations(inputs, 2)):
            continue
        chosen = statement_set(lang, inputs)
        reach = _completions(lang, chosen)
        seen: set[bytes] = set()
        for policy in members:
            outputs = reach & (sets & policy == policy)
            key = outputs.tobytes()
            if key not in seen:
                seen.add(key)
                yield Task(lang, chosen, outputs)
