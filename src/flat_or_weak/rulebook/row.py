"""A row of the rule book, how it is judged, and whether a theorem's assertions were executed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from flat_or_weak.records import RecordError
from flat_or_weak.rulebook import rules
from flat_or_weak.rulebook.estimates import Case, Statistic
from flat_or_weak.studies import interventions_plan
from flatness.statistics.comparisons import Measured

BOOK = Path(__file__).resolve().parents[3] / "book"


@dataclass(frozen=True)
class Row:
    """A claim in our words, who makes it, and what decides it.

    ``polarity`` names the rule (`rules.POLARITIES`) and ``limit`` its margin or bound. Rows with an
    estimate have a ``statistic`` and the claimed ``sign`` (0: either; of a bound: the side), and
    say if what they speak of was ``found`` by a search and not certified. Theorems and inferences
    have the ``outcome`` that we state, a ``reason``, and the assertions that would break it, each
    (chapter, text of the assertion). ``decided`` is a key of `history.DECIDED`; rows with a
    ``short`` claim are on the front page.
    """

    claim: str
    source: str
    chapter: str
    polarity: str
    statistic: Statistic | None = None
    sign: int = 0
    limit: float | None = None
    outcome: str = ""
    reason: str = ""
    asserts: tuple[tuple[str, str], ...] = ()
    decided: str = "book"
    short: str = ""
    found: bool = False
    form: str = "+.2f"


@dataclass(frozen=True)
class Finding:
    """What a row came to: a line of text and an outcome for each case, and the group of the row."""

    lines: tuple[str, ...]
    outcomes: dict[str, str]
    group: str

    @property
    def verdict(self) -> str:
        """The outcome of all cases, or each one's."""
        if len(set(self.outcomes.values())) == 1:
            return next(iter(self.outcomes.values()))
        return "; ".join(f"{label}: {outcome}" for label, outcome in self.outcomes.items())


def judge(row: Row, running: str = "") -> Finding:
    """Apply the row's rule to its estimates or assertions; "open" where nothing is recorded.

    ``running`` is the chapter that is being executed: its own assertions count as executed, since a
    chapter with a failing cell is not written.
    """
    if row.polarity in ("theorem", "inference"):
        state = assertions_state(row.asserts, running)
        outcome = row.outcome if state == "executed" else state
        return Finding((row.reason,), {"": outcome}, rules.group([outcome]))
    try:
        cases = row.statistic.cases() if row.statistic else {}
    except RecordError:
        cases = {}
    if not cases:
        return Finding(("not recorded yet",), {"": "open"}, "undecided")
    if row.polarity == "arithmetic":
        outcomes = {label: rules.consistent(*case) for label, case in cases.items()}
        lines = tuple(
            f"{label}: {low:.3g} to {high:.3g}, printed {printed:.3g}"
            for label, ((low, high), printed, _) in cases.items()
        )
        return Finding(lines, outcomes, rules.group(list(outcomes.values())))
    outcomes = {label: _outcome(row, case) for label, case in cases.items()}
    if row.found:
        outcomes = {k: v + rules.FOUND if v == "holds" else v for k, v in outcomes.items()}
    lines = tuple(_line(row, label, case) for label, case in cases.items())
    return Finding(lines, outcomes, rules.group(list(outcomes.values())))


def _outcome(row: Row, case: Case) -> str:
    if row.polarity == "replication":
        return rules.replication(case.found, cast(Measured, case.theirs))
    limit = cast(float, row.limit)
    if row.polarity == "intervention":
        if case.shift is None:
            return "not recorded"
        return interventions_plan.reading(case.shift, case.found, case.unfitted)
    if row.polarity == "bound":
        return rules.bound(case.found, limit, row.sign)
    if row.polarity == "absence":
        return rules.absence(case.found, limit, case.p)
    return rules.presence(case.found, row.sign, limit, case.p)


def _line(row: Row, label: str, case: Case) -> str:
    if row.polarity == "intervention" and case.shift is None:
        return f"{label}: not recorded"
    if case.unfitted > interventions_plan.MOST_UNFITTED:
        return f"{label}: not read, {case.unfitted:.0%} of an arm's networks did not fit"
    estimate = case.found.interval()
    text = "{:{f}} [{:{f}}, {:{f}}]".format(estimate.value, estimate.low, estimate.high, f=row.form)
    parts = [f"{label}: {text}"]
    if case.theirs is not None:
        parts.append(f"published {case.theirs.interval().value:{row.form}}")
    if row.polarity == "intervention" and case.shift is not None:
        parts.append(f"ruler moved by {case.shift.text(1)} sd")
    if row.polarity in ("presence", "absence", "comparison"):
        p = case.found.p() if case.p is None else case.p
        parts.append(f"p = {p:.1g}" + (" corrected" if case.p is not None else ""))
    if row.polarity == "absence":
        parts.append(f"equivalence p = {case.found.p_equivalence(cast(float, row.limit)):.1g}")
    return ", ".join([*parts, case.n])


def assertions_state(asserts: tuple[tuple[str, str], ...], running: str = "") -> str:
    """'executed' if every assertion stands in an executed cell of its chapter that raised nothing;
    otherwise 'check missing', 'check not executed' or 'check fails'.
    """
    if not asserts:
        return "check missing"
    for chapter, text in asserts:
        cells = _cells(chapter, chapter == running)
        holding = [c for c in cells if any(_bare(text) in a for a in _asserts(c))]
        if not holding:
            return "check missing"
        if any(o["output_type"] == "error" for cell in cells for o in cell["outputs"]):
            return "check fails"
        if any(cell["execution_count"] is None for cell in holding):
            return "check not executed"
    return "executed"


def _cells(chapter: str, running: bool) -> list[dict]:
    """The code cells of a chapter's notebook, or of its source while it is running."""
    path = BOOK / f"{chapter}.{'md' if running else 'ipynb'}"
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    if running:
        sources = re.findall(r"^```{code-cell}[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        return [{"source": s, "execution_count": 1, "outputs": []} for s in sources]
    return [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def _bare(text: str) -> str:
    return "".join(text.split()).replace("'", '"')


def _asserts(cell: dict) -> list[str]:
    """The assertions of a cell, without spaces, however they are laid out."""
    source = "".join(cell["source"])
    source = re.sub(r"\A:.*\n+", "", source)  # tags, in the source of a chapter
    if "assert" not in source or source.startswith("%"):
        return []
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return [_bare(ast.get_source_segment(source, node) or "") for node in nodes]


# ---- short ways of writing rows: a dictionary from the claim to what judges it


def _measured(polarity: str, limit: float | None, sign: int) -> Callable[..., Row]:
    def row(source: str, chapter: str, statistic: Statistic, decided: str = "book", **other) -> Row:
        return Row("", source, chapter, polarity, statistic, decided=decided, **defaults | other)

    defaults = {"limit": limit, "sign": sign}
    return row


present = _measured("presence", rules.RHO_MARGIN, +1)
negative = _measured("presence", rules.RHO_MARGIN, -1)
either_sign = _measured("presence", rules.RHO_MARGIN, 0)
absent = _measured("absence", rules.RHO_MARGIN, 0)
stronger_than = _measured("comparison", rules.RHO_MARGIN, +1)
replicated = _measured("replication", None, 0)
arithmetic = _measured("arithmetic", None, 0)
driven = _measured("intervention", rules.POINTS_MARGIN, +1)
below = _measured("bound", rules.LOSS_BOUND, -1)
above = _measured("bound", rules.LOSS_BOUND, +1)


def _stated(polarity: str) -> Callable[..., Row]:
    def row(
        source: str, chapter: str, outcome: str, reason: str, *asserts: str | tuple[str, str]
    ) -> Row:
        pairs = tuple((chapter, a) if isinstance(a, str) else a for a in asserts)
        return Row("", source, chapter, polarity, outcome=outcome, reason=reason, asserts=pairs)

    return row


theorem, inference = _stated("theorem"), _stated("inference")


def named(claims: dict[str, Row], shorts: dict[str, str] | None = None) -> list[Row]:
    """The rows with their claims, and for the front page with short ones: {beginning of the claim:
    short claim}. Raises ValueError for a beginning that is not that of exactly one claim.
    """
    rows = {claim: replace(row, claim=claim) for claim, row in claims.items()}
    for start, short in (shorts or {}).items():
        found = [claim for claim in rows if claim.startswith(start)]
        if len(found) != 1:
            raise ValueError(f"shorts: expected the beginning of one claim, got {start!r}")
        rows[found[0]] = replace(rows[found[0]], short=short)
    return list(rows.values())
