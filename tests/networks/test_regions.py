"""Packed patterns and regions against Python sets, and the region-class vocabulary against plain
enumeration."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flatness.networks import regions
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import (
    activation_patterns,
    class_counts,
    distinct_patterns,
    free_parameters,
    layer_patterns,
    pack_bits,
    region_counts,
    region_ids,
    region_language,
    region_weakness,
    unseen_only_regions,
)
from flatness.symmetry.rescaling import rescale_neurons
from flatness.weakness.languages import language, vocabulary, weakness

repeatable = settings(max_examples=examples(40))


def random_bits(seed, count, n, d, patterns=6):
    """n points with at most ``patterns`` different bit rows in each network."""
    generator = torch.Generator().manual_seed(seed)
    book = torch.rand(count, patterns, d, generator=generator) < 0.5
    choice = torch.randint(patterns, (count, n), generator=generator)
    return book[torch.arange(count)[:, None], choice]


@repeatable
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 30),
    st.sampled_from([1, 7, 8, 9, 56, 57, 130, 256]),
)
def test_ids_counts_and_regions_agree_with_sets(seed, count, n, d):
    bits = random_bits(seed, count, n, d)
    ids, packed = region_ids(pack_bits(bits)), pack_bits(bits)
    cut = n // 3
    seen, new = region_counts(packed[:, :cut], packed[:, cut:])
    for m in range(count):
        rows = [tuple(row) for row in bits[m].tolist()]
        assert distinct_patterns(packed)[m] == len(set(rows))
        assert sorted(set(ids[m].tolist())) == list(range(len(set(rows))))
        assert len(set(zip(rows, ids[m].tolist()))) == len(set(rows))
        train, unseen = Counter(rows[:cut]), Counter(rows[cut:])
        assert sorted(seen[m].tolist(), reverse=True)[: len(train)] == sorted(
            train.values(), reverse=True
        )
        assert int(seen[m].sum()) == cut and int(new[m].sum()) == n - cut
        assert unseen_only_regions(packed[:, :cut], packed[:, cut:])[m] == len(
            unseen.keys() - train.keys()
        )
        expected = sum(max(0, 10 * 2 + 10 - c) for c in train.values())
        assert free_parameters(packed[:, :cut], features=2)[m] == expected


def test_ids_do_not_depend_on_the_groups_and_follow_the_order_of_the_patterns(monkeypatch):
    packed = pack_bits(
        torch.cat([random_bits(0, 3, 40, 130), random_bits(1, 3, 40, 130, patterns=400)], 1)
    )
    ids = region_ids(packed)
    monkeypatch.setattr(regions, "GROUP", 1)
    assert torch.equal(region_ids(packed), ids)
    for rows, numbers in zip(packed.tolist(), ids.tolist()):
        order = {row: k for k, row in enumerate(sorted({tuple(row) for row in rows}))}
        assert numbers == [order[tuple(row)] for row in rows]
    all_distinct = packed[:1].unique(dim=1)
    assert (region_ids(all_distinct).sort(1).values == torch.arange(all_distinct.shape[1])).all()
    assert region_ids(packed[:0]).shape == (0, 80)


def test_classes_are_counted_region_by_region():
    bits, generator = random_bits(4, 3, 30, 11), torch.Generator().manual_seed(0)
    labels = torch.randint(4, (3, 30), generator=generator)
    ids = region_ids(pack_bits(bits))
    for chosen in (labels, labels[0]):
        counts, expected = (
            class_counts(ids, chosen, classes=4),
            torch.zeros(3, int(ids.max()) + 1, 4),
        )
        for m in range(3):
            for region, label in zip(ids[m].tolist(), chosen.expand(3, 30)[m].tolist()):
                expected[m, region, label] += 1
        assert (counts == expected).all()
    assert class_counts(ids[:, :0], labels[:, :0]).shape == (3, 0, 10)


def test_packing_matches_numpy_and_refuses_other_types():
    bits = random_bits(3, 2, 5, 13)
    assert np.array_equal(
        pack_bits(bits).numpy(), np.packbits(bits.numpy(), axis=-1, bitorder="little")
    )
    with pytest.raises(TypeError, match="bits: expected a boolean tensor"):
        pack_bits(bits.int())
    with pytest.raises(ValueError, match="patterns: expected uint8"):
        region_ids(bits)


def test_patterns_are_those_of_the_preactivations_and_survive_rescaling():
    networks = MLPEnsemble.from_seeds([6, 20, 9, 3], [0, 1])
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for layer in (0, 1):
        patterns = activation_patterns(networks, x, layer, chunk=17)
        assert torch.equal(patterns, pack_bits(networks.preactivations(x)[layer] > 0))
        moved = rescale_neurons(networks, [torch.full((20,), 8.0), torch.full((9,), 0.25)])
        assert torch.equal(activation_patterns(moved, x, layer), patterns)
    both = layer_patterns(networks, x, (0, 1), chunk=7)
    assert all(
        torch.equal(p, activation_patterns(networks, x, layer)) for layer, p in enumerate(both)
    )
    assert activation_patterns(networks, x[:0], 0).shape == (2, 0, 3)
    assert distinct_patterns(activation_patterns(networks, x[:0], 0)).tolist() == [0, 0]
    with pytest.raises(ValueError, match="layer: expected a hidden layer, 0 to 1, got 2"):
        activation_patterns(networks, x, 2)


@pytest.mark.parametrize("regions, classes", [(1, 2), (2, 3), (3, 2), (4, 2), (3, 3)])
def test_region_class_language_is_that_of_partial_functions(regions, classes):
    functions = list(product(range(classes), repeat=regions))
    programs = {
        f"{r} is {c}": [s for s, f in enumerate(functions) if f[r] == c]
        for r in range(regions)
        for c in range(classes)
    }
    lang = language(vocabulary(programs, n_states=len(functions)))
    assert len(lang) == region_language(regions, classes)
    w, names = weakness(lang), list(programs)
    for policy in product([None, *range(classes)], repeat=regions):
        mask = sum(1 << names.index(f"{r} is {c}") for r, c in enumerate(policy) if c is not None)
        assert w[mask] == region_weakness(policy, classes)


def test_region_class_arguments_are_checked():
    with pytest.raises(ValueError, match="policy: expected classes 0 to 9 or None"):
        region_weakness([10])
    with pytest.raises(ValueError, match="regions: expected a number >= 0"):
        region_language(-1)
    assert region_weakness([None] * 400) == 11**400
