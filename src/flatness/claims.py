"""The claims ledger: what the papers say, where the book tests it, and what came out.

A verdict is never typed: it is computed from a recorded result, or, for a claim whose evidence is a proof with a live check,
from the executed notebook of its chapter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flatness import published
from flatness.records import RecordError, load_record

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


def reproduces(published_rho: float, interval: tuple[float, float]) -> str:
    """Verdict on a published correlation, given our 95 % interval.

    >>> reproduces(0.37, (0.14, 0.51)), reproduces(-0.24, (-0.26, 0.14)), reproduces(0.4, (-0.2, 0.2))
    ('reproduced', 'compatible, but so is none', 'not reproduced')
    """
    low, high = interval
    if not low <= published_rho <= high:
        return "not reproduced"
    return "reproduced" if low > 0 or high < 0 else "compatible, but so is none"


def correlation_claim(record_name: str, data: str, measure: str) -> Callable[[], Finding]:
    """Judge a published rank correlation with test accuracy by the recorded hundred networks."""

    def judge() -> Finding:
        record = load_record(record_name)
        ours, (theirs, _) = record.summary["correlations"][measure], published.PAIR_PROXY[data][measure]
        low, high = ours["bootstrap"]
        text = f"rho = {ours['rho']:+.2f}, 95 % [{low:+.2f}, {high:+.2f}], n = {ours['n']} (published {theirs:+.3f})"
        return Finding(text, reproduces(theirs, (low, high)))

    return judge


def null_claim(record_name: str, measure: str) -> Callable[[], Finding]:
    """Judge a published absence of correlation: not refuted if our interval holds 0; the interval says how large it could be."""

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
        return Finding(text, "holds here" if low > 0 and abs(ours["rho"]) >= abs(theirs["rho"]) else "does not hold here")

    return judge


def proved(chapter: str, what: str) -> Callable[[], Finding]:
    """A claim with a proof in its chapter: the verdict says whether the chapter's checks are executed and passed."""

    def judge() -> Finding:
        state = chapter_state(chapter)
        return Finding(what, {"passed": "proved and checked", "missing": "open", "unrun": "unchecked", "failed": "check fails"}[state])

    return judge


def chapter_state(chapter: str) -> str:
    """'passed' if every code cell of the executed notebook ran in order without an error and at least one asserts;
    otherwise 'missing', 'unrun' or 'failed'."""
    path = BOOK / f"{chapter}.ipynb"
    if not path.is_file():
        return "missing"
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
             if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    if any(output["output_type"] == "error" for cell in cells for output in cell["outputs"]):
        return "failed"
    ran = [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    return "passed" if ran and any("assert" in "".join(cell["source"]) for cell in cells) else "unrun"


def ledger(claims: list[Claim]) -> pd.DataFrame:
    """One row per claim: what it says, its source, the chapter, our finding and the verdict."""
    rows = []
    for claim in claims:
        try:
            finding = claim.judge()
        except RecordError as error:
            finding = Finding(str(error), "open")
        rows.append({"claim": claim.says, "source": claim.source, "chapter": claim.chapter, "finding": finding.text,
                     "verdict": finding.verdict})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table whose chapters are links.

    >>> print(markdown(pd.DataFrame([{"claim": "c", "source": "s", "chapter": "a1", "finding": "f", "verdict": "v"}])))
    | claim | source | chapter | what we find | verdict |
    |---|---|---|---|---|
    | c | s | [a1](a1.ipynb) | f | **v** |
    """
    lines = ["| claim | source | chapter | what we find | verdict |", "|---|---|---|---|---|"]
    lines += [f"| {row.claim} | {row.source} | [{row.chapter}]({row.chapter}.ipynb) | {row.finding} | **{row.verdict}** |"
              for row in table.itertuples()]
    return "\n".join(lines)


CLAIMS = [
    Claim("The sharpness of a network is the trace of the Hessian of its training loss: for ReLU networks it is a closed form", "ours",
          "a3_trace", proved("a3_trace", "equal to the dense Hessian in every block; independent of the labels")),
    Claim("The trace of the Hessian correlates with test accuracy, weakly (MNIST)", "Paper B, 5.7", "b6_pair_proxy",
          correlation_claim("pair_proxy_mnist", "mnist", "trace")),
    Claim("The norm of the weights does not (MNIST)", "Paper B, 5.7", "b6_pair_proxy",
          null_claim("pair_proxy_mnist", "weight_norm")),
    Claim("The pair proxy of weakness does (MNIST)", "Paper B, 5.7", "b6_pair_proxy",
          correlation_claim("pair_proxy_mnist", "mnist", "pair_proxy")),
    Claim("The pair proxy of weakness does (Fashion-MNIST)", "Paper B, 5.8", "b6_pair_proxy",
          correlation_claim("pair_proxy_fashion", "fashion-mnist", "pair_proxy")),
    Claim("The trace correlates with test accuracy (Fashion-MNIST)", "Paper B, 5.8", "b6_pair_proxy",
          correlation_claim("pair_proxy_fashion", "fashion-mnist", "trace")),
    Claim("The effective rank of the features, which counts no completions, does at least as well as the pair proxy (MNIST)", "ours",
          "b6_pair_proxy", rival_claim("pair_proxy_mnist", "effective_rank", "pair_proxy")),
    Claim("... and on Fashion-MNIST", "ours", "b6_pair_proxy", rival_claim("pair_proxy_fashion", "effective_rank", "pair_proxy")),
]
