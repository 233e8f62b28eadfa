"""No verdict is foregone: every rule reaches each of its outcomes, and every row follows its
record.
"""

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from flat_or_weak import records
from flat_or_weak.rulebook import OURS, PAPER_A, PAPER_B, ROWS, estimates, front, history, tables
from flat_or_weak.rulebook import over_splits as splits
from flat_or_weak.rulebook import row as rows
from flat_or_weak.rulebook.row import Row, judge
from flat_or_weak.rulebook.rules import (
    BROKEN,
    FOUND,
    GROUPS,
    POLARITIES,
    absence,
    bound,
    consistent,
    group,
    presence,
    replication,
)
from flat_or_weak.studies import (
    confounds,
    generality_reading,
    interventions_plan,
    interventions_reading,
    robustness,
    vanishing_summary,
)
from flatness.statistics.comparisons import Estimate, Measured

MEASURED = [r for r in ROWS if r.statistic and r.polarity != "arithmetic"]


def at(centre, error=0.01):
    return Measured(centre, error, 19)


# ---- the rules


@pytest.mark.parametrize(
    ("found", "positive", "nothing"),
    [
        (at(0.4), "holds", "does not hold (present)"),
        (at(-0.4), "does not hold (other sign)", "does not hold (present)"),
        (at(0.05), "holds, below the margin", "holds, below the margin"),
        (at(0.0), "does not hold (within the margin)", "holds"),
        (at(0.05, 0.2), "undecided", "undecided"),
        (at(0.12, 0.07), "undecided", "undecided"),
    ],
)
def test_presence_and_absence_reach_each_outcome(found, positive, nothing):
    assert (presence(found, +1, 0.1), absence(found, 0.1)) == (positive, nothing)
    mirrored = replace(found, centre=-found.centre)
    assert (presence(mirrored, -1, 0.1), absence(mirrored, 0.1)) == (positive, nothing)


def test_a_corrected_p_makes_presence_harder_for_both_sides():
    found = at(0.13, 0.05)
    assert presence(found, +1, 0.1) == "holds" and absence(found, 0.1) == "does not hold (present)"
    assert presence(found, +1, 0.1, 0.2) == absence(found, 0.1, 0.2) == "undecided"


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        (at(0.4, 0.1), at(0.3, 0.1), "reproduced"),
        (at(0.0, 0.1), at(0.05, 0.1), "reproduced"),
        (at(0.1, 0.1), at(0.3, 0.1), "undecided"),
        (at(0.9, 0.1), at(0.3, 0.1), "same sign, other size"),
        (at(-0.4, 0.1), at(0.3, 0.1), "not reproduced"),
    ],
)
def test_replication_reaches_each_outcome(ours, theirs, outcome):
    assert replication(ours, theirs) == outcome


def test_bounds_and_printed_numbers_reach_each_outcome():
    sides = {side: [bound(at(v, 0.1), 1.0, side) for v in (0.0, 1.0, 2.0)] for side in (-1, 1)}
    assert sides[-1] == ["holds", "undecided", "does not hold"] == sides[1][::-1]
    assert [consistent((0.1, 0.2), v, 0.01) for v in (0.08, 0.095, 0.205, 0.22)] == [
        "inconsistent",
        "consistent",
        "consistent",
        "inconsistent",
    ]


def test_groups():
    assert {group([outcome]) for outcome in GROUPS} == {"holds", "conditions", "fails"}
    assert group(["holds", "does not hold (present)"]) == "conditions"
    assert group(["undecided", "does not hold (present)"]) == "fails"
    assert group(["open"]) == group(["undecided"]) == group([BROKEN[0]]) == "undecided"


# ---- theorems and inferences


@pytest.mark.parametrize(
    ("sources", "counts", "errors", "outcome"),
    [
        (["x = 1", "assert (\n    x == 1\n)"], [1, 2], [False, False], "true"),
        (["x = 1", "assert x == 2"], [1, 2], [False, False], "check missing"),
        (["x = 1", "print('assert x == 1')"], [1, 2], [False, False], "check missing"),
        (["x = 1", "assert x == 1"], [1, None], [False, False], "check not executed"),
        (["x = 1", "assert x == 1"], [1, 2], [True, False], "check fails"),
    ],
)
def test_a_theorem_needs_its_own_assertions(
    tmp_path, monkeypatch, sources, counts, errors, outcome
):
    cells = [
        {
            "cell_type": "code",
            "source": source,
            "execution_count": count,
            "outputs": [{"output_type": "error"}] * error,
        }
        for source, count, error in zip(sources, counts, errors, strict=True)
    ]
    (tmp_path / "ch.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(rows, "BOOK", tmp_path)
    row = Row("c", "s", "ch", "theorem", outcome="true", asserts=(("ch", "x == 1"),))
    assert judge(row).verdict == outcome
    assert judge(replace(row, asserts=())).verdict == "check missing"
    assert judge(replace(row, asserts=(("gone", "x == 1"),))).verdict == "check missing"


def test_the_running_chapter_has_its_assertions_in_its_source(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BOOK", tmp_path)
    cell = "```{code-cell} ipython3\n:tags: [hide-input]\n\nassert x == 1\n```\n"
    (tmp_path / "ch.md").write_text(f"assert y == 1\n\n{cell}")
    row = Row("c", "s", "ch", "theorem", outcome="true", asserts=(("ch", "x == 1"),))
    assert judge(row, "ch").verdict == "true" and judge(row).verdict == "check missing"
    assert judge(replace(row, asserts=(("ch", "y == 1"),)), "ch").verdict == "check missing"


# ---- the rows and their records

TABLE_OF, POOLED = estimates.table_of.__wrapped__, splits._pooled.__wrapped__
ELSEWHERE = {
    name: getattr(generality_reading, name).__wrapped__
    for name in ("recorded", "of_rulers", "of_bound")
}


def read_anew(monkeypatch):
    """What a test has put in place of the records is read, and by no other test."""
    table_of = cache(TABLE_OF)
    for module in (estimates, splits):
        monkeypatch.setattr(module, "table_of", table_of)
    monkeypatch.setattr(splits, "_pooled", cache(POOLED))
    for name, read in ELSEWHERE.items():
        monkeypatch.setattr(generality_reading, name, cache(read))


@pytest.fixture
def recorded(monkeypatch):
    """Put changed records in place of the recorded ones: ``recorded(change, sign)``, where
    ``change`` takes and returns a table, and the summaries' correlations are multiplied by the
    sign.
    """
    original = records.load_record

    def change(table, sign=1):
        def load(name, *args):
            record = original(name, *args)
            summary = _signed(record.summary, sign)
            return replace(record, table=table(record.table), summary=summary)

        for module in (estimates, vanishing_summary, robustness, generality_reading):
            monkeypatch.setattr(module, "load_record", load)
        read_anew(monkeypatch)

    return change


def _signed(value, sign):
    if isinstance(value, dict):
        return {k: sign * v if k == "rho" else _signed(v, sign) for k, v in value.items()}
    return value


def opposite(table):
    """The networks with the best and the worst accuracy change places; ratios and gaps too."""
    turned = {c: -table[c] for c in ("test_accuracy", "matched_accuracy") if c in table}
    if "flatness_ratio" in table:
        turned["flatness_ratio"] = 1 / table["flatness_ratio"]
    return table.assign(**turned)


def shuffled(table):
    """Accuracies dealt out at random within every split."""
    if "split" not in table:
        return table
    rng = np.random.default_rng(0)
    keys = [c for c in ("data", "n", "split") if c in table]
    columns = [c for c in ("test_accuracy", "matched_accuracy") if c in table]
    deal = lambda values: rng.permutation(values.to_numpy())  # noqa: E731
    return table.assign(**{c: table.groupby(keys)[c].transform(deal) for c in columns})


def signed_rows():
    return [r for r in MEASURED if r.polarity in ("presence", "comparison") and r.sign]


def outcomes_of(row):
    return judge(row).outcomes


def test_rows_with_a_sign_turn_with_their_record(recorded):
    before = {row.claim: outcomes_of(row) for row in signed_rows()}
    recorded(opposite, sign=-1)
    for row in signed_rows():
        if row.polarity == "comparison" or "open" in before[row.claim].values():
            continue
        after = outcomes_of(row)
        for case, outcome in before[row.claim].items():
            if outcome.startswith("holds"):
                assert after[case] == "does not hold (other sign)", (row.claim, case)
            if outcome == "does not hold (other sign)":
                assert after[case].startswith("holds"), (row.claim, case)


@pytest.mark.slow
def test_rows_over_splits_lose_what_they_found_when_accuracies_are_shuffled(recorded):
    """Each test errs once in twenty times, those that are corrected together rarely at all."""
    recorded(shuffled)
    over_splits = [r for r in MEASURED if r.chapter == "c3_confounds"]
    seen, cases = [], 0
    for row in over_splits:
        if row.statistic is not estimates.BATCH_EFFECT:
            outcomes = judge(row).outcomes.values()
            cases += len(outcomes)
            found = "does not hold (present)" if row.polarity == "absence" else "holds"
            seen += [row.claim for outcome in outcomes if outcome == found]
    assert cases > 60 and len(seen) <= 3, seen


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row.claim[:60])
def test_no_row_is_foregone(row):
    """Each measured row holds on some estimate, fails on another and is undecided on a third."""
    seen = set()
    for centre in (-0.9, 0.0, 0.9):
        for error in (0.001, 5.0):
            moved = Estimate(2.0, 1.5, 2.5)
            case = estimates.Case(at(centre, error), "n", theirs=at(0.9, 0.001), shift=moved)
            fixed = estimates.Statistic("it", lambda case=case: {"x": case})
            seen.add(judge(replace(row, statistic=fixed)).group)
    assert seen >= {"fails", "undecided"} and seen & {"holds", "conditions"}


def test_what_a_search_found_is_not_certified():
    found = [row for row in ROWS if row.found]
    assert {row.source for row in found} >= {"A3", "A4"}
    assert all(o != "holds" for row in found for o in judge(row).outcomes.values())
    assert GROUPS["holds" + FOUND] == "conditions"


def test_missing_evidence_is_open_not_an_error(monkeypatch):
    def missing(name, *args):
        raise records.RecordError(f"{name}: no such record")

    for module in (estimates, vanishing_summary, robustness, generality_reading):
        monkeypatch.setattr(module, "load_record", missing)
    read_anew(monkeypatch)
    for row in MEASURED:
        assert judge(row).verdict == "open", row.claim


def intervened(gains, shifts=2.0, lost=()):
    """A record of the interventions: what each arm adds to accuracy (points) and to every ruler, in
    the direction of its push, in deviations; networks of the arms ``lost`` are unfitted. Arms
    without a gain are left out, but for the two controls.
    """
    rng, parts = np.random.default_rng(0), []
    for data in ("mnist", "fashion-mnist"):
        for arm in interventions_reading.ARMS:
            if arm.name not in {*gains, "base", "sham"}:
                continue
            up = interventions_reading.pushed(arm)
            for split in range(10):
                ruler = 10 + 0.1 * np.arange(3) + 0.1 * shifts * up * bool(arm.penalty)
                noise = 1e-3 * rng.standard_normal((7, 3))
                columns = {
                    name: ruler + noise[i] for i, name in enumerate(interventions_plan.BETTER)
                }
                for name in interventions_reading.LOGGED:
                    columns[name] = np.exp(columns[name])
                accuracy = 0.75 + gains.get(arm.name, 0.0) / 100 + noise[-1]
                frame = pd.DataFrame({"seed": range(3), "test_accuracy": accuracy, **columns})
                fitted = arm.name not in lost
                parts.append(frame.assign(data=data, arm=arm.name, split=split, fitted=fitted))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture
def put(monkeypatch):
    def place(table):
        monkeypatch.setattr(estimates, "load_record", lambda name: SimpleNamespace(table=table))
        monkeypatch.setattr(estimates, "find", lambda name: None)
        read_anew(monkeypatch)

    return place


@pytest.mark.parametrize(
    ("gain", "outcome"), [(2.0, "holds"), (-2.0, "other sign"), (0.0, "within"), (0.3, "undecided")]
)
def test_the_premise_follows_its_record(put, gain, outcome):
    table = intervened({"sam": gain})
    if outcome == "undecided":
        spread = np.where(table["split"] % 2, 0.02, -0.02) * (table["arm"] == "sam")
        table = table.assign(test_accuracy=table["test_accuracy"] + spread)
    put(table)
    premise = next(row for row in ROWS if row.statistic is estimates.SHARPNESS_AWARE)
    assert outcome in judge(premise).verdict
    assert judge(premise).outcomes.keys() == {"MNIST", "Fashion-MNIST"}
    put(intervened({"sam": gain}, lost=("sam",)))
    assert judge(premise).verdict == "open"


DRIVEN = [row for row in ROWS if row.polarity == "intervention"]


@pytest.mark.parametrize("row", DRIVEN, ids=lambda row: row.claim[:60])
def test_interventions_follow_their_record(put, row):
    """Each row drives, does not, goes the other way, or says nothing, as its arm does."""
    name = next(a.name for a in interventions_reading.ARMS if repr(a.name) in row.statistic.words)
    arm = interventions_reading.BY_NAME[name]
    way = interventions_reading.pushed(arm) * interventions_plan.BETTER[arm.penalty]
    for table, outcome in (
        (intervened({name: 2.0 * way}), "drives"),
        (intervened({name: 0.0}), "does not drive"),
        (intervened({name: -2.0 * way}), "moves it the other way"),
        (intervened({name: 2.0 * way}, shifts=0.5), "not moved"),
        (intervened({name: 2.0 * way}, shifts=-2.0), "not moved"),
        (intervened({name: 2.0 * way}, lost=("sham",)), "not fitted"),
    ):
        if outcome == "not fitted":
            table["fitted"] = table["fitted"] | (table["seed"] > 0)
        put(table)
        assert judge(row).verdict == outcome


def test_every_ruler_is_pushed_towards_better():
    arms = [interventions_reading.BY_NAME[n] for n in interventions_reading.BY_NAME]
    primary = {
        a.penalty
        for a in arms
        if a.penalty in interventions_plan.BETTER
        and interventions_reading.pushed(a) == interventions_plan.BETTER[a.penalty]
    }
    assert primary == set(interventions_plan.BETTER)


# ---- what the rule book holds


def test_mirrored_rows_come_together():
    """Whatever is claimed of one measure given another is asked the other way round."""
    partial = {
        (measure, frozenset(given.split(", ")))
        for row in ROWS
        if row.statistic and " given " in (name := row.statistic.words.split(":")[0])
        for measure, given in [name.split(" given ")]
    }
    assert len(partial) > 20
    for measure, given in partial:
        mirrors = [(g, given - {g} | {measure}) for g in given]
        assert any(mirror in partial for mirror in mirrors), (measure, given)


def test_every_planned_partial_correlation_is_a_row():
    shown = {row.statistic.words.split(":")[0] for row in ROWS if row.statistic}
    for measure, given in confounds.PARTIALS:
        assert estimates.words(measure, given) in shown


def test_the_abstracts_are_covered_sentence_by_sentence():
    assert [r.source for r in PAPER_A] == [f"A{i}" for i in range(1, 6)]
    assert {s for r in PAPER_B for s in r.source.split(", ")} == {f"B{i}" for i in range(1, 13)}
    assert {r.polarity for r in ROWS} == set(POLARITIES)
    assert {r.decided for r in ROWS} == set(history.DECIDED)


def test_claims_are_told_apart_and_have_their_chapter():
    assert len({row.claim for row in ROWS}) == len(ROWS)
    assert all((rows.BOOK / f"{row.chapter}.md").is_file() for row in ROWS)
    with pytest.raises(ValueError, match="shorts"):
        rows.named({"a": OURS[0]}, {"b": "c"})


def test_the_book_executes_every_assertion_that_the_rule_book_names():
    assert tables.broken(tables.ledger(r for r in ROWS if r.asserts)) == []


def test_tables_are_written_out():
    table = tables.ledger(ROWS[:8])
    for text in (tables.markdown(table), tables.what_would_change(table)):
        lines = text.splitlines()
        assert len(lines) == 10 and len({line.replace("\\|", "").count("|") for line in lines}) == 1
    front_page = tables.groups(tables.ledger(ROWS))
    assert all(row.short in front_page for row in ROWS) and front_page.count("**") == 6
    assert history.AMENDMENTS[-1][0] >= "2026-11-28" in tables.amendments()


def test_the_readme_says_what_the_records_say():
    readme = " ".join((rows.BOOK.parent / "README.md").read_text().split())
    assert all(" ".join(sentence.split()) in readme for sentence in front.sentences())


def test_an_arm_recorded_on_one_data_set_holds_under_conditions(put):
    table = intervened({"trace down": 2.0})
    put(table[(table["data"] == "mnist") | (table["arm"] != "trace down")])
    row = next(row for row in DRIVEN if "'trace down'" in row.statistic.words)
    assert judge(row).outcomes == {"MNIST": "drives", "Fashion-MNIST": "not recorded"}
    assert judge(row).group == "conditions"
