import json

import pytest

from flatness import claims
from flatness.claims import CLAIMS, Claim, chapter_state, correlation_claim, ledger, proved
from flatness.records import RecordError


def notebook(tmp_path, counts, sources, outputs=None):
    cells = [{"cell_type": "code", "source": s, "execution_count": c, "outputs": o}
             for c, s, o in zip(counts, sources, outputs or [[]] * len(counts), strict=True)]
    (tmp_path / "ch.ipynb").write_text(json.dumps({"cells": cells}))


@pytest.mark.parametrize(("counts", "sources", "outputs", "state"), [
    ([1, 2], ["x = 1", "assert x"], None, "passed"),
    ([1, None], ["x = 1", "assert x"], None, "unrun"),
    ([1, 2], ["x = 1", "print(x)"], None, "unrun"),
    ([1, 2], ["x = 1", "assert x"], [[], [{"output_type": "error"}]], "failed"),
])
def test_a_proof_counts_only_with_its_executed_check(tmp_path, monkeypatch, counts, sources, outputs, state):
    monkeypatch.setattr(claims, "BOOK", tmp_path)
    assert chapter_state("ch") == "missing"
    notebook(tmp_path, counts, sources, outputs)
    assert chapter_state("ch") == state


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
    table = ledger([Claim("c", "s", "b6_pair_proxy", correlation_claim("gone", "mnist", "trace")),
                    Claim("c", "s", "no_such", proved("no_such", "text"))])
    assert list(table.verdict) == ["open", "open"]


def test_every_claim_of_the_book_has_its_chapter_and_evidence():
    table = ledger(CLAIMS)
    assert not set(table.verdict) & {"open", "unchecked", "check fails"}, table[["claim", "verdict"]].to_string()
    assert all((claims.BOOK / f"{chapter}.md").is_file() for chapter in table.chapter)
