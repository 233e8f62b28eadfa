"""The claims ledger: what the papers say, where the book tests it, and what came out.

A verdict is never typed: it is computed from a recorded result, or, for a claim whose evidence is a
proof with a live check, from the executed notebook of its chapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flat_or_weak import published
from flat_or_weak.records import RecordError, load_record
from flat_or_weak.studies import vanishing_summary
from flatness._internal.arguments import number
from flatness._internal.checks import checked
from flatness.statistics.scaling import power_law

BOOK = Path(__file__).resolve().parents[2] / "book"


@dataclass(frozen=True)
class Finding:
    """What the book found about a claim: one sentence with numbers, and a verdict of a few words."""

    text: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """A claim, whose it is, the chapter that tests it, and the function that judges it."""

    says: str
    source: str
    chapter: str
    judge: Callable[[], Finding]


@checked()
def reproduces(published_rho: float, interval: tuple[float, float]) -> str:
    """Verdict on a published correlation, given our 95 % interval.

    >>> reproduces(0.37, (0.14, 0.51)), reproduces(-0.24, (-0.26, 0.14)), reproduces(0.4, (-0.2, 0.2))
    ('reproduced', 'compatible, but so is none', 'not reproduced')
    """
    if isinstance(interval, str) or len(interval) != 2:
        raise ValueError(f"interval: expected its two ends, got {interval!r}")
    low, high = interval
    number("interval", low)
    number("interval", high)
    if not low <= published_rho <= high:
        return "not reproduced"
    return "reproduced" if low > 0 or high < 0 else "compatible, but so is none"


def correlation_claim(record_name: str, data: str, measure: str) -> Callable[[], Finding]:
    """Judge a published rank correlation with test accuracy by the recorded hundred networks."""

    def judge() -> Finding:
        record = load_record(record_name)
        ours, (theirs, _) = (
            record.summary["correlations"][measure],
            published.PAIR_PROXY[data][measure],
        )
        low, high = ours["bootstrap"]
        text = f"rho = {ours['rho']:+.2f}, 95 % [{low:+.2f}, {high:+.2f}], n = {ours['n']} (published {theirs:+.3f})"
        return Finding(text, reproduces(theirs, (low, high)))

    return judge


def null_claim(record_name: str, measure: str) -> Callable[[], Finding]:
    """Judge a published absence of correlation: not refuted if our interval holds 0; the interval
    says how large it could be.
    """

    def judge() -> Finding:
        ours = load_record(record_name).summary["correlations"][measure]
        low, high = ours["bootstrap"]
        text = f"rho = {ours['rho']:+.2f}, 95 % [{low:+.2f}, {high:+.2f}], n = {ours['n']}"
        return Finding(text, "no sign of one" if low < 0 < high else "not reproduced")

    return judge


def rival_claim(record_name: str, rival: str, measure: str) -> Callable[[], Finding]:
    """Compare a rival explanation with a measure on the same recorded networks."""

    def judge() -> Finding:
        correlations = load_record(record_name).summary["correlations"]
        ours, theirs = correlations[rival], correlations[measure]
        low, high = ours["bootstrap"]
        text = f"rho = {ours['rho']:+.2f}, 95 % [{low:+.2f}, {high:+.2f}], beside {theirs['rho']:+.2f} for the pair proxy"
        return Finding(
            text,
            "holds here"
            if low > 0 and abs(ours["rho"]) >= abs(theirs["rho"])
            else "does not hold here",
        )

    return judge


def adversary_claim(record_name: str = "part1_adversary") -> Callable[[], Finding]:
    """Result I on the recorded adversaries: does the flatness ratio that buys a bad function grow
    with n/d, on every target?
    """

    def judge() -> Finding:
        table = load_record(record_name).table
        slopes = {
            target: power_law(part, "ratio", "flatness_ratio")
            for target, part in table[table.ratio >= 4].groupby("target")
        }
        texts = [
            f"{target.replace('_', ' ')} {mean:.2f} [{low:.2f}, {high:.2f}]"
            for target, (mean, low, high) in slopes.items()
        ]
        text = (
            "least F* ratio with relative loss at least 1/2 grows like (n/d)^s, n/d from 4 to 16, s with 95 %: "
            + "; ".join(texts)
        )
        grows = all(low > 0 for _, low, _ in slopes.values())
        return Finding(text, "holds on all targets tried" if grows else "not seen on every target")

    return judge


def flattest_claim(
    panel: str, record_name: str = "part1_flattest", small: float = 0.05
) -> Callable[[], Finding]:
    """Result II on a recorded panel: relative population loss of the flattest interpolator found,
    at the largest n/d.
    """

    def judge() -> Finding:
        rows = {
            tuple(key.split(", ")): value
            for key, value in load_record(record_name).summary.items()
            if key.startswith(f"{panel}, ")
        }
        key = max(rows, key=lambda parts: (float(parts[-2]), float(parts[-1])))
        mean, low, high = rows[key]["relative"]
        text = f"relative population loss at d = {key[-2]}, n/d = {key[-1]}: {mean:.2g}, 95 % [{max(low, 0):.2g}, {high:.2g}]"
        return Finding(text, "small" if high < small else "not small")

    return judge


def divergence_claim(record_name: str = "noise_divergence") -> Callable[[], Finding]:
    """Rank correlation of the noise divergence with test accuracy, over all recorded settings."""

    def judge() -> Finding:
        found = [value["divergence"] for value in load_record(record_name).summary.values()]
        worst = max(found, key=lambda f: f["rho"])
        low, high = worst["fisher"]
        text = (
            f"rho between {min(f['rho'] for f in found):+.2f} and {worst['rho']:+.2f} in {len(found)} settings of 100 networks "
            f"(weakest: 95 % [{low:+.2f}, {high:+.2f}])"
        )
        return Finding(text, "holds in every setting" if high < 0 else "does not hold everywhere")

    return judge


def pooled_claim(
    data: str, row: str, sign: int, *, record_name: str = "splits", n: int = 250
) -> Callable[[], Finding]:
    """A correlation of the given sign with test accuracy, pooled over independent splits. ``row``
    is a measure, or "measure | others" for a partial correlation; p-values are corrected by Holm
    over the rows of their table.
    """

    def judge() -> Finding:
        tables = load_record(record_name).summary[f"{data} n={n}"]
        ours = tables["partial" if "|" in row else "measures"][row]
        text = (
            f"pooled rho = {ours['rho']:+.2f}, 95 % [{ours['low']:+.2f}, {ours['high']:+.2f}], p = {ours['p Holm']:.1g} corrected; "
            f"a new split: [{ours['new low']:+.2f}, {ours['new high']:+.2f}]"
        )
        if ours["p Holm"] >= 0.05:
            return Finding(text, "undetermined")
        return Finding(text, "holds" if sign * ours["rho"] > 0 else "opposite sign")

    return judge


def pooled_null_claim(
    data: str, measure: str, *, record_name: str = "splits", n: int = 250
) -> Callable[[], Finding]:
    """A claimed absence of correlation, tested over independent splits."""

    def judge() -> Finding:
        found = pooled_claim(data, measure, +1, record_name=record_name, n=n)()
        return Finding(
            found.text,
            "no sign of one" if found.verdict == "undetermined" else "refuted: it correlates",
        )

    return judge


def dependence_claim(
    measure: str, first: tuple[str, str], second: tuple[str, str], *, claimed: bool = False
) -> Callable[[], Finding]:
    """Does a measure's pooled correlation differ between two conditions, each (record, entry of its
    summary)? ``claimed``: whether the claim is that it does.
    """

    def judge() -> Finding:
        found = [
            load_record(record).summary[entry]["measures"][measure]
            for record, entry in (first, second)
        ]
        text = (
            " against ".join(f"{f['rho']:+.2f} [{f['low']:+.2f}, {f['high']:+.2f}]" for f in found)
            + f" ({first[1]}, {second[1]})"
        )
        apart = found[0]["low"] > found[1]["high"] or found[1]["low"] > found[0]["high"]
        return Finding(
            text,
            ("they differ, as claimed" if claimed else "they differ")
            if apart
            else "no difference seen",
        )

    return judge


def vanishing_claim(n: int) -> Callable[[], Finding]:
    """The accuracy gap between large and small batches at size n, ours beside the published."""

    def judge() -> Finding:
        gaps = vanishing_summary.accuracy_gaps(vanishing_summary.recorded())
        if n not in gaps.index:
            return Finding(f"no networks with n = {n:,} are recorded yet", "open")
        row = gaps.loc[n]
        return Finding(
            f"large minus small batch at n = {n:,}: {row.gap:+.2f} points, 95 % [{row.low:+.2f}, {row.high:+.2f}], "
            f"{row.networks} networks (published {row.published:+.2f})",
            row.verdict,
        )

    return judge


THEOREMS = {
    "true": "proved and checked",
    "conditional": "true under conditions, checked",
    "false": "disproved, checked",
}


def proved(chapter: str, what: str, outcome: str = "true") -> Callable[[], Finding]:
    """A claim settled by a theorem of its chapter, whose ``outcome`` is that the claim is true,
    true under conditions that it does not state, or false. The verdict stands only while the
    chapter's executed checks pass. Raises ValueError for another outcome.
    """
    if outcome not in THEOREMS:
        raise ValueError(f"outcome: expected one of {', '.join(THEOREMS)}, got {outcome!r}")

    def judge() -> Finding:
        state = chapter_state(chapter)
        return Finding(
            what,
            {
                "passed": THEOREMS[outcome],
                "missing": "open",
                "unrun": "unchecked",
                "failed": "check fails",
            }[state],
        )

    return judge


def chapter_state(chapter: str) -> str:
    """'passed' if every code cell of the executed notebook ran in order without an error and at
    least one asserts; otherwise 'missing', 'unrun' or 'failed'.
    """
    path = BOOK / f"{chapter}.ipynb"
    if not path.is_file():
        return "missing"
    cells = [
        cell
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    if any(output["output_type"] == "error" for cell in cells for output in cell["outputs"]):
        return "failed"
    ran = [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    return (
        "passed" if ran and any("assert" in "".join(cell["source"]) for cell in cells) else "unrun"
    )


def ledger(claims: list[Claim]) -> pd.DataFrame:
    """One row per claim: what it says, its source, the chapter, our finding and the verdict."""
    rows = []
    for claim in claims:
        try:
            finding = claim.judge()
        except RecordError as error:
            finding = Finding(str(error), "open")
        rows.append(
            {
                "claim": claim.says,
                "source": claim.source,
                "chapter": claim.chapter,
                "finding": finding.text,
                "verdict": finding.verdict,
            }
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table whose chapters are links.

    >>> print(markdown(pd.DataFrame([{"claim": "c", "source": "s", "chapter": "a1_question", "finding": "f", "verdict": "v"}])))
    | claim | source | chapter | what we find | verdict |
    |---|---|---|---|---|
    | c | s | [a1](a1_question.ipynb) | f | **v** |
    """
    lines = ["| claim | source | chapter | what we find | verdict |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.claim} | {row.source} | [{row.chapter.split('_')[0]}]({row.chapter}.ipynb) | {row.finding} | **{row.verdict}** |"
        for row in table.itertuples()
    ]
    return "\n".join(lines)


def short_markdown(table: pd.DataFrame) -> str:
    """The ledger without the findings.

    >>> print(short_markdown(pd.DataFrame([{"claim": "c", "source": "s", "chapter": "a1_question", "verdict": "v"}])))
    |  | claim | chapter | verdict |
    |---|---|---|---|
    | s | c | [a1](a1_question.ipynb) | **v** |
    """
    lines = ["|  | claim | chapter | verdict |", "|---|---|---|---|"]
    lines += [
        f"| {row.source} | {row.claim} | [{row.chapter.split('_')[0]}]({row.chapter}.ipynb) | **{row.verdict}** |"
        for row in table.itertuples()
    ]
    return "\n".join(lines)
