"""The two tables of digits: what they are, how they are cut, and that nothing else is read."""

import numpy as np
import pytest
import torch

from flatness.datasets import tabular
from flatness.datasets.archives import IntegrityError


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("digits", (5620, 64), [554, 571, 557, 572, 568, 558, 558, 566, 554, 562]),
        ("pen-digits", (10992, 16), [1143, 1143, 1144, 1055, 1144, 1055, 1056, 1142, 1055, 1055]),
    ],
)
def test_the_tables_are_the_published_ones(name, shape, counts):
    x, y = tabular._table(name)
    assert tuple(x.shape) == shape and x.max() == tabular.LARGEST[name] and x.min() == 0
    assert torch.bincount(y.long()).tolist() == counts


def test_a_split_is_a_permutation_cut_in_three():
    parts = tabular.load_table("digits", 30, num_probes=7, seed=3)
    order = torch.randperm(5620, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.cat([part.index for part in parts]), order)
    x, y = tabular._table("digits")
    for part in parts:
        torch.testing.assert_close(part.x, x[part.index].double() / 16)
        assert torch.equal(part.y, y[part.index].long())
    again = tabular.load_table("digits", 40, num_probes=7, seed=3)[0]
    assert torch.equal(again.x[:30], parts[0].x)  # training sets of one seed are nested
    assert tabular.load_table("digits", dtype=torch.float32)[0].x.dtype == torch.float32
    if torch.zeros(1, device="meta").is_meta:
        assert tabular.load_table("pen-digits", device="meta")[2].x.is_meta


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "letters"}, "name: expected one of"),
        ({"n_train": 0}, "n_train: expected an integer in"),
        ({"n_train": 5620}, "n_train: expected an integer in"),
        ({"num_probes": 5370}, "num_probes: expected an integer in"),
        ({"seed": "a"}, "seed: expected an integer"),
        ({"dtype": torch.int64}, "dtype: expected a floating-point"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        tabular.load_table(**({"name": "digits"} | change))


def test_writing_and_refusing(tmp_path, monkeypatch):
    (tmp_path / "d.dat").write_text("@relation d\n@data\n0, 16, 3\n5,1, 0\n")
    digest = tabular.write("digits", tmp_path / "d.dat", tmp_path)
    with np.load(tmp_path / "digits.npz") as arrays:
        assert arrays["x"].tolist() == [[0, 16], [5, 1]] and arrays["y"].tolist() == [3, 0]
    monkeypatch.setattr(tabular, "files", lambda package: tmp_path.parent)
    target = tmp_path.parent / "data"
    target.mkdir(exist_ok=True)
    (target / "digits.npz").write_bytes((tmp_path / "digits.npz").read_bytes())
    tabular._table.cache_clear()
    try:
        with pytest.raises(IntegrityError, match=digest):
            tabular.load_table("digits")
    finally:
        tabular._table.cache_clear()
    (tmp_path / "d.dat").write_text("0,15,3\n")
    with pytest.raises(ValueError, match="source"):
        tabular.write("digits", tmp_path / "d.dat", tmp_path)
