"""The rule book as tables: the ledger, its three groups for the front page, and the page "What
would change our mind".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pandas as pd

from flat_or_weak.rulebook import rules
from flat_or_weak.rulebook.history import AMENDMENTS, DECIDED
from flat_or_weak.rulebook.row import Row, judge

HEADINGS = {
    "holds": "Holds",
    "conditions": "Holds under conditions, on one data set, or for what a search found",
    "fails": "Does not hold, or undecided",
}


def ledger(rows: Iterable[Row], running: str = "") -> pd.DataFrame:
    """One line per row: the row itself, its claim, source, chapter, polarity, the finding with its
    intervals, the verdict, and its group. ``running``: the chapter that asks (`judge`).
    """
    lines = []
    for row in rows:
        found = judge(row, running)
        lines.append(
            {
                "row": row,
                "claim": row.claim,
                "source": row.source,
                "chapter": row.chapter,
                "polarity": row.polarity,
                "finding": "; ".join(found.lines),
                "verdict": found.verdict,
                "group": found.group,
            }
        )
    return pd.DataFrame(lines)


def broken(table: pd.DataFrame) -> list[str]:
    """The claims of theorems and inferences whose assertions are missing, failed or did not run."""
    return table[table["verdict"].isin(rules.BROKEN)]["claim"].tolist()


def _rows(table: pd.DataFrame) -> Iterable[Any]:
    """The rows of a ledger, with its columns as attributes."""
    return cast(Iterable[Any], table.itertuples())


def _table(columns: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rows = [list(columns), ["---"] * len(columns), *cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def link(chapter: str) -> str:
    """A chapter's short name, linked.

    >>> link("a1_question")
    '[a1](a1_question.ipynb)'
    """
    return f"[{chapter.split('_')[0]}]({chapter}.ipynb)"


def markdown(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table whose chapters are links."""
    return _table(
        ("", "claim", "kind", "what we find", "verdict", ""),
        (
            (
                r.source,
                r.claim,
                r.polarity,
                r.finding.replace("; ", "<br>"),
                f"**{r.verdict}**",
                link(r.chapter),
            )
            for r in _rows(table)
        ),
    )


def groups(table: pd.DataFrame) -> str:
    """The rows of the front page in three groups, each claim with its verdict and its chapter."""
    blocks = []
    for key, heading in HEADINGS.items():
        members = table[table["group"].replace("undecided", "fails") == key]
        items = [
            f"- {r.row.short} ({r.source}, {link(r.chapter)})"
            + ("" if r.verdict in ("holds", "true", "reproduced") else f": *{r.verdict}*")
            for r in _rows(members)
            if r.row.short
        ]
        blocks.append(f"**{heading}**\n\n" + "\n".join(items))
    return "\n\n".join(blocks)


def outcomes(row: Row) -> tuple[str, str]:
    """What makes the row hold and what makes it fail, in words."""
    sign = {1: "positive", -1: "negative", 0: "of either sign"}[row.sign]
    margin = f"±{row.limit:g}" if row.limit is not None else ""
    if row.polarity in ("theorem", "inference"):
        texts = "; ".join(f"`{text}` ({link(chapter)})" for chapter, text in row.asserts)
        return f"stated by us; executed: {texts}", "one of these assertions breaks"
    return {
        "presence": (
            f"differs from 0, {sign}",
            ("other sign, or " if row.sign else "") + f"90 % interval within {margin}",
        ),
        "comparison": ("difference > 0", f"difference < 0, or 90 % interval within {margin}"),
        "absence": (f"90 % interval within {margin}", f"differs from 0, not within {margin}"),
        "replication": ("no visible difference, same finding", "visible difference"),
        "arithmetic": ("inside the rounding", "outside the rounding"),
        "intervention": (
            f"ruler moved by 1 sd, 95 % interval above +{row.limit or 0:g} points",
            f"ruler moved by 1 sd, 95 % interval below -{row.limit or 0:g}, or 90 % one "
            f"within {margin}",
        ),
        "bound": (
            f"95 % interval {'above' if row.sign > 0 else 'below'} {row.limit}",
            f"95 % interval {'below' if row.sign > 0 else 'above'} {row.limit}",
        ),
    }[row.polarity]


def what_would_change(table: pd.DataFrame) -> str:
    """Per row: statistic and what it rests on, margin, both outcomes, when it was decided, and what
    it came to.
    """
    lines = []
    for r in _rows(table):
        holds, fails = outcomes(r.row)
        statistic = r.row.statistic.words if r.row.statistic else r.polarity
        turns = f"*holds*: {holds}<br>*does not hold*: {fails}"
        rests = f"{statistic} ({_rests_on(r.row)})"
        lines.append((r.source, r.claim, rests, turns, r.row.decided, r.verdict))
    return _table(
        ("", "claim", "statistic (what it rests on)", "what decides", "decided", "now"), lines
    )


def _rests_on(row: Row) -> str:
    """The sizes that the row's cases rest on, each once."""
    if row.polarity in ("theorem", "inference"):
        return "a proof" if row.polarity == "theorem" else "a counterexample"
    if row.polarity == "arithmetic":
        return "the printed numbers"
    try:
        cases = row.statistic.cases() if row.statistic else {}
    except ValueError:
        cases = {}
    return "; ".join(dict.fromkeys(case.n for case in cases.values())) or "not recorded yet"


def kinds() -> str:
    """The rules as a list."""
    return "\n".join(f"- **{name}**: {text}." for name, text in rules.POLARITIES.items())


def decided() -> str:
    """The keys of the column "decided"."""
    return "\n".join(f"- *{name}*: {text}." for name, text in DECIDED.items())


def amendments() -> str:
    """The dated list of amendments."""
    return "\n".join(f"- **{date}.** {text}" for date, text in AMENDMENTS)
