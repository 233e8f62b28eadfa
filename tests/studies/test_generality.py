"""The study on other networks and data: its plan, its networks, its counts and its reading."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak.studies import confounds, convolutional, generality, generality_reading
from flat_or_weak.studies import generality_plan as plan
from flat_or_weak.studies.generality import EmbeddedConfig, Setting
from flatness.feasibility.pairs import pair_verdicts
from flatness.networks.training import SGD, order_generators

CPU, F64 = torch.device("cpu"), torch.float64


def test_the_plan_is_the_one_that_was_frozen():
    assert plan.fingerprint() == generality.PLAN_SHA256
    other = dataclasses.replace(generality.GeneralityConfig(), plan="0" * 64)
    with pytest.raises(ValueError, match="plan: the configuration names 000000000000"):
        generality.units(other)


def test_training_modules_is_plain_stochastic_gradient_descent():
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(20, 784, generator=g, dtype=F64), torch.arange(20) % 10
    model, twin = (convolutional.from_seed(3, 4, CPU, F64) for _ in range(2))
    sgd = SGD(8, 0.1, max_epochs=7, check_every=3)
    found = convolutional.train_modules([model], x, y, sgd, [3])
    step = torch.optim.SGD(twin.parameters(), 0.1)
    orders = order_generators([3])[0]
    for _ in range(7):
        for batch in torch.randperm(20, generator=orders).split(8):
            step.zero_grad()
            torch.nn.functional.cross_entropy(twin(x[batch]), y[batch]).backward()
            step.step()
    for one, other in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert found.epochs.tolist() == [7]
    loss = torch.nn.functional.cross_entropy(twin(x), y)
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-9)


def test_training_modules_stops_and_marks_divergence():
    x, y = torch.eye(10, 784, dtype=F64), torch.arange(10)
    models = [convolutional.from_seed(s, 8, CPU, F64) for s in (0, 1)]
    found = convolutional.train_modules(
        models, x, y, SGD(10, 0.1, max_epochs=9, check_every=2, stop_loss=3.0), [0, 1]
    )
    assert found.epochs.tolist() == [2, 2]
    wild = [convolutional.from_seed(0, 8, CPU, F64)]
    wild[0].head.weight.data.fill_(torch.inf)
    found = convolutional.train_modules(wild, x, y, SGD(10, 0.1, 9, check_every=2), [0])
    assert found.loss.isinf().all() and found.accuracy.tolist() == [0.0]


SMALL = EmbeddedConfig(
    settings=(
        Setting("12 features", hidden=(20, 12), max_epochs=300),
        Setting("convolutional", hidden=(8,), convolutional=True, max_epochs=300),
        Setting("digits", "digits", hidden=(20, 8), max_epochs=1500),
    ),
    splits=1,
    networks=2,
    n=40,
    probes=10,
    draws=4,
)


@pytest.fixture(scope="module")
def table():
    return pd.concat([generality.compute(SMALL, CPU, F64, **u) for u in generality.units(SMALL)])


def test_every_network_has_its_rulers(table):
    assert table["setting"].tolist() == [s.name for s in SMALL.settings for _ in range(2)]
    assert (table["train_accuracy"] == 1).all() and (table["undecided"] == 0).all()
    wide = table["setting"] == "12 features"
    assert (table["read_rank"] == np.where(wide, 9, 8)).all()
    assert (table["read_proxy"].notna() == wide).all()
    assert (table.loc[wide, "read_proxy"] <= table.loc[wide, "pair_proxy"]).all()
    assert (table["noise_divergence"].isna() == (table["setting"] == "convolutional")).all()
    rulers = ["trace", "weight_norm", "effective_rank", "pair_proxy", "test_accuracy"]
    assert np.isfinite(table[rulers]).all().all()


def test_the_convolutional_row_is_what_its_model_has(table):
    row = table[table["setting"] == "convolutional"].iloc[1]
    points, seed = SMALL.load("mnist", 0, CPU, F64), SMALL.seeds(0)[1]
    model = convolutional.from_seed(seed, 8, CPU, F64)
    sgd = SGD(SMALL.batch_size, SMALL.lr, 300)
    convolutional.train_modules([model], points.train.x, points.train.y, sgd, [seed])
    with torch.no_grad():
        one, other = (model.features(p.x).numpy() for p in (points.train, points.probes))
    verdicts = pair_verdicts(one, points.train.y.numpy(), other, 10)
    assert row.pair_proxy == verdicts.pair_proxy
    norm = sum(float(p.detach().square().sum()) for p in model.parameters()) ** 0.5
    assert row.weight_norm == pytest.approx(norm)


def made(rho, settings=("digits", "pen-digits"), splits=5, members=40, seed=0):
    """A table in which the pair proxy has about the correlation ``rho`` with accuracy."""
    rng, parts = np.random.default_rng(seed), []
    for setting in settings:
        for split in range(splits):
            accuracy = rng.standard_normal(members)
            proxy = rho * accuracy + (1 - rho**2) ** 0.5 * rng.standard_normal(members)
            parts.append(
                pd.DataFrame(
                    {
                        "setting": setting,
                        "split": split,
                        "test_accuracy": accuracy,
                        "pair_proxy": proxy,
                        "read_proxy": proxy,
                        "effective_rank": rng.standard_normal(members),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_reading_finds_what_is_there_and_leaves_out_what_cannot_be_read():
    table = made(0.6)
    family = (("pair_proxy", ()), ("effective_rank", ()))
    found = generality_reading.correlations(table, family)
    pooled = confounds.pooled(table[table["setting"] == "digits"], "pair_proxy")
    one = found.iloc[0]
    assert (one.setting, one.n) == ("digits", "5 splits, 200 networks")
    assert one.found.interval().value == pytest.approx(pooled.rho)
    assert all(m.interval().low > 0.2 for m in found.found[:2])
    smaller, larger = sorted(m.p() for m in found.found[:2])
    expected = [min(1, 2 * smaller), max(larger, min(1, 2 * smaller))]  # Holm's, of two
    assert sorted(found.p[:2]) == pytest.approx(expected)
    table.loc[(table["setting"] == "digits") & (table["split"] == 2), "pair_proxy"] = 1000.0
    assert generality_reading.readable(table, "pair_proxy") == ["pen-digits"]
    left = generality_reading.correlations(table, family)
    assert left[left["measure"] == "pair_proxy"]["setting"].tolist() == ["pen-digits"]
    shares = generality_reading.saturation(table)
    assert shares.loc["digits", "fewest values"] == 1 and shares.loc["digits", "all feasible"] > 0
