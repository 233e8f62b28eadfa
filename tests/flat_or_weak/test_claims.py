import json

import pytest

from flat_or_weak import claims
from flat_or_weak.abstracts import CLAIMS, PAPER_A, PAPER_B
from flat_or_weak.claims import (
    Claim,
    chapter_state,
    correlation_claim,
    dependence_claim,
    ledger,
    pooled_claim,
    pooled_null_claim,
    proved,
    vanishing_claim,
)
from flat_or_weak.records import RecordError


def notebook(tmp_path, counts, sources, outputs=None):
    cells = [
        {"cell_type": "code", "source": s, "execution_count": c, "outputs": o}
        for c, s, o in zip(counts, sources, outputs or [[]] * len(counts), strict=True)
    ]
    (tmp_path / "ch.ipynb").write_text(json.dumps({"cells": cells}))


@pytest.mark.parametrize(
    ("counts", "sources", "outputs", "state"),
    [
        ([1, 2], ["x = 1", "assert x"], None, "passed"),
        ([1, None], ["x = 1", "assert x"], None, "unrun"),
        ([1, 2], ["x = 1", "print(x)"], None, "unrun"),
        ([1, 2], ["x = 1", "assert x"], [[], [{"output_type": "error"}]], "failed"),
    ],
)
def test_a_proof_counts_only_with_its_executed_check(
    tmp_path, monkeypatch, counts, sources, outputs, state
):
    monkeypatch.setattr(claims, "BOOK", tmp_path)
    assert chapter_state("ch") == "missing"
    notebook(tmp_path, counts, sources, outputs)
    assert chapter_state("ch") == state
    assert (proved("ch", "text", "false")().verdict == "disproved, checked") == (state == "passed")
    with pytest.raises(ValueError, match="outcome"):
        proved("ch", "text", "maybe")


def test_verdicts_follow_the_record(monkeypatch):
    class Recorded:
        summary = {"correlations": {"pair_proxy": {"rho": 0.0, "bootstrap": (-0.2, 0.2), "n": 100}}}

    monkeypatch.setattr(claims, "load_record", lambda name: Recorded)
    judge = correlation_claim("any", "mnist", "pair_proxy")
    assert judge().verdict == "not reproduced"
    Recorded.summary["correlations"]["pair_proxy"]["bootstrap"] = (0.1, 0.5)
    assert judge().verdict == "reproduced"


def test_missing_evidence_is_open_not_an_error(monkeypatch):
    def missing(name):
        raise RecordError(f"{name}: no such record")

    monkeypatch.setattr(claims, "load_record", missing)
    table = ledger(
        [
            Claim("c", "s", "b6_pair_proxy", correlation_claim("gone", "mnist", "trace")),
            Claim("c", "s", "no_such", proved("no_such", "text")),
        ]
    )
    assert list(table.verdict) == ["open", "open"]


@pytest.mark.parametrize(
    ("rho", "p", "verdict"),
    [(0.3, 0.01, "holds"), (-0.3, 0.01, "opposite sign"), (0.3, 0.06, "undetermined")],
)
def test_pooled_verdicts_need_the_sign_and_the_corrected_p(monkeypatch, rho, p, verdict):
    row = {
        "rho": rho,
        "low": rho - 0.1,
        "high": rho + 0.1,
        "p Holm": p,
        "new low": rho - 0.2,
        "new high": rho + 0.2,
    }

    class Recorded:
        summary = {
            "mnist n=250": {"measures": {"trace": row}, "partial": {"trace | train_loss": row}}
        }

    monkeypatch.setattr(claims, "load_record", lambda name: Recorded)
    assert (
        pooled_claim("mnist", "trace", +1)().verdict
        == pooled_claim("mnist", "trace | train_loss", +1)().verdict
        == verdict
    )
    assert pooled_null_claim("mnist", "trace")().verdict == (
        "no sign of one" if p >= 0.05 else "refuted: it correlates"
    )


@pytest.mark.parametrize(("low", "verdict"), [(0.25, "no difference seen"), (0.5, "they differ")])
def test_dependence_is_seen_only_in_disjoint_intervals(monkeypatch, low, verdict):
    entry = lambda a, b: {"measures": {"m": {"rho": (a + b) / 2, "low": a, "high": b}}}  # noqa: E731

    class Recorded:
        summary = {"x": entry(0.2, 0.4), "y": entry(low, low + 0.2)}

    monkeypatch.setattr(claims, "load_record", lambda name: Recorded)
    assert dependence_claim("m", ("r", "x"), ("r", "y"))().verdict == verdict
    as_claimed = dependence_claim("m", ("r", "x"), ("r", "y"), claimed=True)().verdict
    assert as_claimed == ("they differ, as claimed" if verdict == "they differ" else verdict)


def test_a_size_without_networks_is_open(monkeypatch):
    table = claims.vanishing_summary.recorded.__globals__["pd"].DataFrame(
        {
            "n": [500] * 4,
            "regime": ["small", "small", "large", "large"],
            "diverged": False,
            "test_accuracy": [0.85, 0.851, 0.866, 0.867],
        }
    )
    monkeypatch.setattr(claims.vanishing_summary, "recorded", lambda: table)
    assert (
        vanishing_claim(60000)().verdict == "open" and "+1.60 points" in vanishing_claim(500)().text
    )


def test_the_abstracts_are_covered_sentence_by_sentence():
    assert [c.source for c in PAPER_A] == [f"A{i}" for i in range(1, 6)]
    assert list(dict.fromkeys(c.source for c in PAPER_B)) == [f"B{i}" for i in range(1, 13)]


def test_every_claim_of_the_book_has_its_chapter_and_evidence():
    table = ledger(CLAIMS)
    assert not set(table.verdict) & {"unchecked", "check fails"}, table[
        ["claim", "verdict"]
    ].to_string()
    assert all((claims.BOOK / f"{chapter}.md").is_file() for chapter in table.chapter)
