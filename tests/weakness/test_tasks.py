"""Tasks, correct policies, buffers and parents against the definitions with Python sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.weakness.languages import language, random_vocabulary, vocabulary, weakness
from flatness.weakness.statements import ClashError, extension, length
from flatness.weakness.tasks import (
    Task,
    buffer,
    buffer_sizes,
    correct_policies,
    is_child,
    is_correct,
    parent_with_demands,
    realisable_tasks,
    task,
    task_of_policy,
    unseen_masks,
)

repeatable = settings(max_examples=examples(40))


@st.composite
def random_tasks(draw):
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    lang = language(
        random_vocabulary(
            generator,
            draw(st.integers(2, 6)),
            draw(st.integers(1, 6)),
            draw(st.sampled_from([0.4, 0.6, 0.8])),
        )
    )
    members = np.flatnonzero(lang.member).tolist()
    inputs = draw(st.lists(st.sampled_from(members), max_size=3))
    return task_of_policy(lang, inputs, draw(st.sampled_from(members)))


def completions(lang, x):
    return {y for y in np.flatnonzero(lang.member).tolist() if y & x == x}


def reference(t):
    """(Ext(I), correct policies) by loops over the definition."""
    members = np.flatnonzero(t.language.member).tolist()
    reach = set().union(*(completions(t.language, x) for x in np.flatnonzero(t.inputs).tolist()))
    wanted = set(np.flatnonzero(t.outputs).tolist())
    return reach, [x for x in members if reach & completions(t.language, x) == wanted]


@repeatable
@given(random_tasks())
def test_correct_policies_and_buffers_agree_with_the_definition(t):
    reach, correct = reference(t)
    assert set(np.flatnonzero(t.reach).tolist()) == reach
    assert correct_policies(t).tolist() == correct != []
    sizes, w = buffer_sizes(t), weakness(t.language)
    elements, masks = unseen_masks(t, correct)
    for policy, mask in zip(correct, masks):
        held = completions(t.language, policy) - reach
        assert set(np.flatnonzero(buffer(t, policy)).tolist()) == held
        assert sizes[policy] == len(held) == mask.bit_count()
        assert {int(elements[i]) for i in range(len(elements)) if mask >> i & 1} == held
        assert w[policy] == np.count_nonzero(t.outputs) + len(held)
        assert is_correct(t, policy)
    wrong = set(np.flatnonzero(t.language.member).tolist()) - set(correct)
    assert not any(is_correct(t, policy) for policy in wrong)


@repeatable
@given(random_tasks(), st.data())
def test_parent_with_demands_is_a_parent_and_is_met_when_closed_and_covered(t, data):
    unseen = np.flatnonzero(t.unseen).tolist()
    chosen = data.draw(st.lists(st.sampled_from(unseen), min_size=1, unique=True)) if unseen else []
    if not chosen:
        return
    parent = parent_with_demands(t, chosen)
    assert is_child(t, parent) and not is_child(parent, t) and not is_child(t, t)
    closed = set().union(*(completions(t.language, x) for x in chosen)) & set(unseen) == set(chosen)
    for policy in correct_policies(t).tolist():
        covered = all(x & policy == policy for x in chosen)
        assert is_correct(parent, policy) == (covered and closed)


@repeatable
@given(random_tasks())
def test_every_correct_policy_has_one_parent_for_each_larger_input_set(t):
    members = np.flatnonzero(t.language.member & ~t.inputs).tolist()
    for extra in members[:6]:
        inputs = np.flatnonzero(t.inputs).tolist() + [extra]
        correct = correct_policies(t).tolist()
        parents = {
            p.outputs.tobytes(): p for p in (task_of_policy(t.language, inputs, x) for x in correct)
        }
        assert all(is_child(t, p) for p in parents.values())
        for policy in correct:
            assert sum(is_correct(p, policy) for p in parents.values()) == 1


@repeatable
@given(random_tasks())
def test_with_one_input_the_correct_policies_form_an_interval(t):
    inputs = np.flatnonzero(t.inputs).tolist()
    if len(inputs) != 1 or not t.outputs.any():
        return
    policies = correct_policies(t)
    sizes = buffer_sizes(t)[policies]
    shortest = policies[np.argmin(length(policies))]
    assert ((policies & shortest) == shortest).all()
    assert sizes[policies == shortest][0] == sizes.max()


def test_realisable_tasks_lists_each_once():
    lang = language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2, 0]}, 3))
    made = list(realisable_tasks(lang, 1)) + list(realisable_tasks(lang, 2))
    keys = {(t.inputs.tobytes(), t.outputs.tobytes()) for t in made}
    assert len(keys) == len(made)
    members = np.flatnonzero(lang.member).tolist()
    expected = {
        (t.reach.tobytes(), t.outputs.tobytes())
        for a in members
        for b in members
        for p in members
        for t in [task_of_policy(lang, [a, b], p)]
    }
    assert {(t.reach.tobytes(), t.outputs.tobytes()) for t in made} == expected


def test_wrong_use_is_refused_with_its_reason():
    lang = language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [3]}, 4))
    t = task(lang, [["a"]], [["a", "b"]])
    assert isinstance(t, Task) and correct_policies(t).tolist() == [2, 3]
    with pytest.raises(ValueError, match="{b} completes no input"):
        task(lang, [["a"]], [["b"]])
    with pytest.raises(ClashError, match="{a, c} clash"):
        task(lang, [["a", "c"]], [])
    with pytest.raises(ClashError):
        buffer(t, ["b", "c"])
    with pytest.raises(ValueError, match="not in U"):
        parent_with_demands(t, [["a", "b"]])
    assert not extension(lang, []).any()
