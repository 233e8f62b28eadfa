import json
from pathlib import Path

import coin_experiment
import numpy as np
import pandas as pd
import pytest
from coin_experiment import CoinConfig

from flat_or_weak import records
from flat_or_weak.engine import chapters, comparison, registry, runner, verify
from flat_or_weak.engine.comparison import compare
from flat_or_weak.engine.experiment import Experiment

EXPECTED = [name for name in registry.EXPERIMENTS if name not in verify.PLANNED]
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


def test_settings_of_two_rows_are_held_to_the_spread_within_all_of_them():
    """Thirty settings far apart, two rows each, standard deviation about 0.1 inside each."""
    rng = np.random.default_rng(0)
    recorded = pd.DataFrame({"split": np.repeat(range(30), 2), "seed": [0, 1] * 30})
    recorded["value"] = recorded["split"] + 0.1 * rng.normal(size=60)
    again = recorded[recorded["split"] == 7]
    for shift, agrees in ((0.01, True), (0.2, True), (0.6, False)):
        moved = again.assign(value=again["value"] + shift)
        assert compare("x", moved, recorded, chaotic=("value",)).agrees == agrees
    few = recorded[recorded["split"] < 10]  # ten degrees of freedom
    moved = again.assign(value=again["value"] + 0.01)
    assert not compare("x", moved, few, chaotic=("value",)).agrees


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
    coin = Experiment("coins", coin_experiment, {"paper": CoinConfig(units=4, seconds=0)})
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
    coin = Experiment("coins", coin_experiment, {"paper": CoinConfig(units=4, seconds=0)})
    for name in ("pair_proxy_mnist", "pair_proxy_fashion", "splits"):
        monkeypatch.setitem(registry.EXPERIMENTS, name, coin)
    monkeypatch.setattr(coin_experiment, "compute", _seeded(coin_experiment.compute))
    for name in ("pair_proxy_mnist", "splits"):
        runner.run_and_record(name, device="cpu", folder=tmp_path, workers=1, progress=False)
    names = ["pair_proxy_mnist", "pair_proxy_fashion", "splits"]
    options = ["--device", "cpu", "--folder", str(tmp_path)]
    assert verify.main([*names, *options]) == 1
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert "3 records; the same units again with --seed" in first
    assert [line.split(":")[0].split() for line in lines] == [
        ["agrees", names[0]],
        ["UNKNOWN", names[1]],
        ["agrees", names[2]],
    ]
    assert "no such record (recorded: pair_proxy_mnist, splits)" in lines[1]
    assert last == "2 of 3 records agree"
    assert verify.main([names[0], *options]) == 0


def test_without_records_there_is_nothing_to_agree_with(tmp_path, capsys):
    assert verify.main(["--folder", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert all(f"UNKNOWN  {name}: " in said for name in EXPECTED)
    assert f"0 of {len(EXPECTED)} records agree" in said


def test_what_is_planned_is_named_and_missing_only_where_it_is_asked_for(
    tmp_path, monkeypatch, capsys
):
    coin = Experiment("coins", coin_experiment, {"paper": CoinConfig(units=4, seconds=0)})
    monkeypatch.setattr(verify, "EXPERIMENTS", {"splits": coin, "coin": coin})
    monkeypatch.setattr(verify, "PLANNED", ("coin",))
    monkeypatch.setattr(coin_experiment, "compute", _seeded(coin_experiment.compute))
    monkeypatch.setitem(registry.EXPERIMENTS, "splits", coin)
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", coin)
    run = {"device": "cpu", "folder": tmp_path, "workers": 1, "progress": False}
    options = ["--device", "cpu", "--folder", str(tmp_path)]
    runner.run_and_record("splits", **run)
    assert verify.main(options) == 0
    said = capsys.readouterr().out
    assert "planned and not recorded yet: coin" in said and "1 of 1 records agree" in said
    assert verify.main(["coin", *options]) == 1
    path = runner.run_and_record("coin", **run)
    capsys.readouterr()
    assert verify.main(options) == 0
    said = capsys.readouterr().out
    assert "planned" not in said and "2 of 2 records agree" in said
    content = json.loads(path.read_text())
    content["summary"]["diverged"] += 1
    path.write_text(json.dumps(content))
    assert verify.main(options) == 1


def test_only_what_the_book_says_is_missing_is_planned():
    page = (Path(__file__).resolve().parents[2] / "book" / "c6_interventions.md").read_text()
    for name in verify.PLANNED:
        assert name in registry.EXPERIMENTS and f"{name}`" in page
        assert not (records.RESULTS / f"{name}.json").exists(), f"{name} is recorded: expect it"


# ---- forgeries: each was once said to agree


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A record of twelve units of five rows under a name of its own, and how to change it."""
    coin = Experiment("coins", coin_experiment, {"paper": CoinConfig(seconds=0)})
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", coin)
    monkeypatch.setattr(coin_experiment, "compute", _seeded(coin_experiment.compute))
    path = runner.run_and_record("coin", device="cpu", folder=tmp_path, workers=1, progress=False)

    def change(**parts):
        content = json.loads(path.read_text())
        for part, edit in parts.items():
            edit(content[part])
        path.write_text(json.dumps(content))

    return change


def about(folder, **options):
    found = verify.verify("coin", device="cpu", folder=folder, **options)
    return "agrees" if found.agrees else found.about


def test_what_needs_all_units_is_named_or_checked(tmp_path, recorded):
    found = verify.verify("coin", device="cpu", folder=tmp_path)
    assert found.agrees and found.about.endswith("unchecked, for it needs all units: rank")
    recorded(table=lambda t: t["rank"].__setitem__(0, 99.0))
    assert about(tmp_path) == "agrees" and "rank" in about(tmp_path, units=12)


def _summary_of_doubled_values(content):
    content["value"] = [2 * value for value in content["value"]]


@pytest.mark.parametrize(
    "forgery, fault",
    [
        ({"summary": lambda s: s.update(mean=0.3)}, "summary.mean is 0.3, its table gives"),
        ({"summary": lambda s: s.update(other=1)}, "summary is"),
        ({"summary": lambda s: s.pop("diverged")}, "summary is"),
        ({"summary": lambda s: s.update(diverged=1.0)}, "summary.diverged is 1.0"),
        ({"provenance": lambda p: p.update(data={"train": "0" * 64})}, "recorded hashes"),
        ({"table": lambda t: [c.pop() for c in t.values()]}, "summary.mean"),
        ({"table": lambda t: t.pop("value")}, "its table has no summary"),
        ({"table": lambda t: t.pop("positive")}, "columns positive"),
        ({"table": lambda t: t.update(more=t["seed"])}, "columns more"),
        ({"table": _summary_of_doubled_values}, "summary.mean"),
    ],
)
def test_a_forgery_is_seen(tmp_path, recorded, forgery, fault):
    recorded(**forgery)
    assert fault in about(tmp_path)


@pytest.mark.parametrize(
    "edit, fault",
    [
        (lambda t: [c.pop() for c in t.values()], "59 rows, expected 60"),
        (lambda t: [c.append(c[-1]) for c in t.values()], "61 rows, expected 60"),
        (lambda t: [c.__setitem__(-1, c[0]) for c in t.values()], "some are there twice"),
        (_summary_of_doubled_values, "largest deviation 0.5 relative, in value"),
    ],
)
def test_a_forgery_with_a_summary_that_belongs_to_it_is_seen(tmp_path, recorded, edit, fault):
    recorded(table=edit)
    table = records.load_record("coin", folder=tmp_path).table
    recorded(summary=lambda s: s.update(coin_experiment.summarise(None, table)))
    assert fault in about(tmp_path)


def test_another_seed_checks_other_units(tmp_path, recorded):
    checked = {verify.verify("coin", device="cpu", folder=tmp_path, seed=s).about for s in range(9)}
    assert len(checked) > 3


def test_infinity_is_not_another_infinity_nor_missing():
    table = pd.DataFrame({"seed": range(3), "value": [np.inf, -np.inf, np.nan]})
    assert compare("x", table, table).agrees
    for values in ([np.inf, np.inf, np.nan], [np.inf, -np.inf, np.inf], [np.inf, -np.inf, 1.0]):
        assert not compare("x", table, table.assign(value=values)).agrees
        assert not compare("x", table.assign(value=values), table).agrees


SLOW = ("region_selection", "region_selection_fresh", "head_to_head")  # 10 s to a minute


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in EXPECTED],
)
def test_every_summary_is_that_of_its_table(name):
    experiment = registry.EXPERIMENTS[name]
    record = records.load_record(name, experiment.scales["paper"])
    summary = records.plain(experiment.summarise(experiment.scales["paper"], record.table))
    assert comparison.different(summary, record.summary, "summary") == ""


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


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of three chapters, of which two read records."""
    for name, read in {
        "b6_pair": ["splits", "pair_proxy_mnist"],
        "b60_other": ["performance"],
        "a1_none": [],
    }.items():
        notebook = {"cells": [], "metadata": {"records": read}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    monkeypatch.setattr(chapters, "BOOK", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["b6", "b6_pair"])
def test_a_chapter_stands_for_the_records_that_it_read(book, name):
    assert verify.stand_for([name]) == ["splits", "pair_proxy_mnist"]
    assert verify.stand_for(["vanishing", "splits", name]) == [
        "vanishing",
        "splits",
        "pair_proxy_mnist",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a1", "chapter: a1_none leans on no record"),
        ("b60", "no experiment"),
        ("b", "or of the chapters a1_none, b60_other, b6_pair, got 'b'"),
        ("no_such", "experiment: expected one of pair_proxy_mnist"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(book, capsys, name, why):
    with pytest.raises(SystemExit):
        verify.main(["splits", name])
    assert why in " ".join(capsys.readouterr().err.split())


def test_an_installed_package_has_no_chapters(monkeypatch):
    monkeypatch.setattr(chapters, "BOOK", None)
    with pytest.raises(ValueError, match="got 'b6'") as refusal:
        verify.stand_for(["b6"])
    assert "chapters" not in str(refusal.value)
    with pytest.raises(ValueError, match="expected one of none"):
        chapters.read_by("b6")


def test_every_record_that_a_chapter_of_the_book_read_is_found():
    """What the notebooks say: c3 leans on the splits, a1 on nothing."""
    assert "splits" in verify.stand_for(["c3_confounds"])
    assert {"pair_proxy_mnist", "pair_proxy_fashion"} <= {*verify.stand_for(["b6"])}
    with pytest.raises(ValueError, match="a1_question leans on no record"):
        verify.stand_for(["a1"])
