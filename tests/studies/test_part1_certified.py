from dataclasses import replace

import pandas as pd
import pytest
import torch

from flat_or_weak.records import load_record
from flat_or_weak.studies import part1_certified as study

SMALL = study.CertifiedConfig(targets=("relu",), ratios=(2,), seeds=(0, 1), steps=60, width=20)


@pytest.fixture(scope="module")
def table():
    return study.compute(SMALL, torch.device("cpu"), torch.float64, cell=0)


def test_nothing_is_flatter_than_the_certified_minimum(table):
    fine = table[table.failure == ""]
    assert (fine.gap <= 1e-6).all() and (fine.over_minimum >= 1 - 1e-6).all()
    assert (fine[fine.kind == "flattest, certified"].over_minimum == 1).all()
    assert (fine.half_mse < 1e-17).all()
    assert (table.groupby("seed").minimum.nunique() == 1).all()


def test_a_seed_does_not_depend_on_the_others_where_nothing_is_searched(table):
    alone = study.compute(replace(SMALL, seeds=(1,)), None, None, cell=0)
    kinds = ["flattest, certified", "teacher"]
    both = [t[t.kind.isin(kinds) & (t.seed == 1)].reset_index(drop=True) for t in (alone, table)]
    pd.testing.assert_frame_equal(*both)


def test_generators_differ_by_key():
    keys = [("a", k) for k in range(200)] + [("b", k) for k in range(200)]
    assert len({study.generator(*key).initial_seed() for key in keys}) == 400


def test_smallest_bad_is_the_least_of_those_that_fail():
    rows = [("wrong labels", 3.0, 0.9), ("random features", 2.0, 0.6), ("teacher", 1.1, 0.0)]
    table = pd.DataFrame(rows, columns=["kind", "over_minimum", "relative"])
    table = table.assign(target="relu", ratio=2, seed=0)
    assert study.smallest_bad(table, 0.5).over_minimum.tolist() == [2.0]


def test_record_is_certified():
    table = load_record("part1_certified").table
    assert (table.gap <= 1e-6).all()
    assert (table.over_minimum.dropna() >= 1 - 1e-6).all()
