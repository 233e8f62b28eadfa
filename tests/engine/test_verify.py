import coin_experiment
import numpy as np
import pandas as pd
import pytest
from coin_experiment import CoinConfig

from flat_or_weak import records
from flat_or_weak.engine import registry, runner, verify
from flat_or_weak.engine.verify import compare

TABLE = pd.DataFrame(
    {
        "data": "mnist",
        "seed": range(6),
        "value": np.linspace(1, 2, 6),
        "count": range(6),
        "seconds": 0.1,
        "failure": "",
    }
)


def test_the_same_rows_in_any_order_agree():
    again = TABLE.iloc[[4, 2]].assign(seconds=7.0, value=lambda t: t.value * (1 + 1e-9))
    found = compare("x", again.reset_index(drop=True), TABLE)
    assert (
        found.agrees
        and found.rows == 2
        and found.worst == "value"
        and found.share == pytest.approx(1e-3, rel=1e-3)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"value": [1.0, 1.3]},
        {"count": [0, 2]},
        {"failure": ["", "x"]},
        {"seed": [0, 99]},
        {"value": [1.0, np.nan]},
    ],
)
def test_a_change_is_seen(change):
    assert not compare("x", TABLE.head(2).assign(**change), TABLE).agrees


def test_float32_is_compared_by_its_means():
    rng = np.random.default_rng(0)
    recorded = pd.DataFrame({"seed": range(20), "value": rng.normal(5, 1, 20)})
    again = recorded.assign(value=rng.normal(5, 1, 20))
    assert (
        compare("x", again, recorded, chaotic=("value",)).agrees
        and not compare("x", again, recorded).agrees
    )
    assert not compare(
        "x", again.assign(value=again.value + 3), recorded, chaotic=("value",)
    ).agrees


def test_one_float32_network_is_held_against_the_spread_of_its_setting():
    """Two settings far apart: the spread that counts is the one inside a setting, 1, and one
    network may be 4 (1 + 1/10)^(1/2) off.
    """
    rng = np.random.default_rng(1)
    recorded = pd.DataFrame(
        {
            "n": [500] * 10 + [2000] * 10,
            "seed": [*range(10)] * 2,
            "value": np.concatenate([rng.normal(0, 1, 10), rng.normal(100, 1, 10)]),
        }
    )
    one = recorded.tail(1).reset_index(drop=True)
    mean, sd = recorded.value[10:].mean(), recorded.value[10:].std()
    for steps, agrees in ((3.9, True), (-3.9, True), (4.1, False), (-4.1, False)):
        found = compare(
            "x", one.assign(value=mean + steps * sd * 1.1**0.5), recorded, chaotic=("value",)
        )
        assert found.agrees is agrees and found.share == pytest.approx(abs(steps) / 4)


def test_float32_without_a_spread_to_compare_with_must_be_the_same():
    recorded = pd.DataFrame(
        {"n": [500, 500, 2000, 2000, 2000], "seed": range(5), "value": [1.0, 2.0, 5.0, 5.0, 5.0]}
    )
    assert compare("x", recorded, recorded, chaotic=("value",)).agrees
    assert not compare(
        "x", recorded.assign(value=[1.1, 2.0, 5.0, 5.0, 5.0]), recorded, chaotic=("value",)
    ).agrees  # two rows: no spread
    assert not compare(
        "x", recorded.assign(value=[1.0, 2.0, 5.0, 5.0, 5.1]), recorded, chaotic=("value",)
    ).agrees  # no spread at all


def test_a_recorded_experiment_is_computed_again(tmp_path, monkeypatch, capsys):
    coin = registry.Experiment("coins", coin_experiment, {"paper": CoinConfig(units=4, seconds=0)})
    monkeypatch.setitem(registry.EXPERIMENTS, "pair_proxy_mnist", coin)
    monkeypatch.setattr(coin_experiment, "compute", _seeded(coin_experiment.compute))
    runner.run_and_record(
        "pair_proxy_mnist", device="cpu", folder=tmp_path, workers=1, progress=False
    )
    found = verify.verify("pair_proxy_mnist", units=2, device="cpu", folder=tmp_path)
    assert found.agrees and found.rows == 10
    with pytest.raises(records.RecordError):
        verify.verify("pair_proxy_mnist", folder=tmp_path / "empty")
    with pytest.raises(SystemExit):
        verify.main(["no_such"])
    assert "experiment: expected one of" in capsys.readouterr().err


def _seeded(compute):
    def with_seeds(config, device, dtype, *, number):
        table = compute(config, device, dtype, number=number)
        return table.assign(seed=[10 * number + i for i in range(len(table))])

    return with_seeds


def test_a_record_that_cannot_be_checked_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    coin = registry.Experiment("coins", coin_experiment, {"paper": CoinConfig(units=4, seconds=0)})
    for name in ("pair_proxy_mnist", "pair_proxy_fashion", "splits"):
        monkeypatch.setitem(registry.EXPERIMENTS, name, coin)
    monkeypatch.setattr(coin_experiment, "compute", _seeded(coin_experiment.compute))
    monkeypatch.setattr(
        verify.verify, "__kwdefaults__", verify.verify.__kwdefaults__ | {"folder": tmp_path}
    )
    for name in ("pair_proxy_mnist", "splits"):
        runner.run_and_record(name, device="cpu", folder=tmp_path, workers=1, progress=False)
    names = ["pair_proxy_mnist", "pair_proxy_fashion", "splits"]
    assert verify.main([*names, "--device", "cpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines] == [
        ["agrees", names[0]],
        ["UNKNOWN", names[1]],
        ["agrees", names[2]],
    ]
    assert "no such record (recorded: pair_proxy_mnist, splits)" in lines[1]
    assert verify.main([names[0], "--device", "cpu"]) == 0


def test_the_arguments_of_a_unit_name_its_rows():
    recorded = pd.DataFrame({"width": [4, 8], "value": [1.0, 2.0]})
    assert "no column names the rows" in compare("x", recorded, recorded).about
    assert compare("x", recorded.tail(1).reset_index(drop=True), recorded, keys=("width",)).agrees


def test_the_end_of_a_search_is_compared_by_its_mean_and_everything_else_exactly():
    rng = np.random.default_rng(2)
    recorded = pd.DataFrame(
        {"seed": range(5), "flatness": rng.normal(10, 1, 5), "bound": 3.0, "residual": 1e-29}
    )
    again = recorded.assign(flatness=recorded.flatness * 1.02, residual=3e-22)
    assert (
        compare("x", again, recorded, chaotic=("flatness",)).agrees
        and not compare("x", again, recorded).agrees
    )
    assert not compare("x", again.assign(bound=3.01), recorded, chaotic=("flatness",)).agrees
    assert not compare(
        "x", again.assign(flatness=recorded.flatness + 10), recorded, chaotic=("flatness",)
    ).agrees
    assert not compare("x", again.assign(residual=1e-9), recorded, chaotic=("flatness",)).agrees


@pytest.mark.parametrize(
    "name", [name for name, e in registry.EXPERIMENTS.items() if hasattr(e.module, "SEARCHED")]
)
def test_what_is_searched_for_is_recorded(name):
    table = records.load_record(name).table
    assert (
        set(registry.EXPERIMENTS[name].module.SEARCHED) & set(table)
        and "lower_bound" not in registry.EXPERIMENTS[name].module.SEARCHED
    )


def test_a_search_that_found_nothing_has_no_part_in_the_mean():
    recorded = pd.DataFrame({"seed": range(5), "flatness": [1.0, np.nan, 2.0, 3.0, np.nan]})
    again = recorded.assign(flatness=recorded.flatness + 0.5)
    assert compare("x", again, recorded, chaotic=("flatness",)).agrees
    assert not compare("x", again.fillna(2.0), recorded, chaotic=("flatness",)).agrees


def test_a_small_gap_counts_unless_it_is_said_to_be_negligible():
    """Four rows near 1 with next to no spread, and one near 100: a thousandth of that is .1."""
    recorded = pd.DataFrame(
        {"n": [1] * 4 + [2], "seed": range(5), "value": [1.0, 1.0, 1.0, 1.0001, 100.0]}
    )
    again = recorded.assign(value=[1.09, 1.09, 1.09, 1.09, 100.0])
    assert not compare("x", again, recorded, chaotic=("value",)).agrees
    assert compare("x", again, recorded, chaotic=("value",), negligible=1e-3).agrees
    assert not compare(
        "x",
        again.assign(value=again.value + [0.03, 0.03, 0.03, 0.03, 0]),
        recorded,
        chaotic=("value",),
        negligible=1e-3,
    ).agrees
