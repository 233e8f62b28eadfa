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
from flatness.scaling import power_law

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


def adversary_claim(record_name: str = "part1_adversary") -> Callable[[], Finding]:
    """Result I on the recorded adversaries: does the flatness ratio that buys a bad function grow with n/d, on every target?"""

    def judge() -> Finding:
        table = load_record(record_name).table
        slopes = {target: power_law(part, "ratio", "flatness_ratio") for target, part in table[table.ratio >= 4].groupby("target")}
        texts = [f"{target.replace('_', ' ')} {mean:.2f} [{low:.2f}, {high:.2f}]" for target, (mean, low, high) in slopes.items()]
        text = "least F* ratio with relative loss at least 1/2 grows like (n/d)^s, n/d from 4 to 16, s with 95 %: " + "; ".join(texts)
        grows = all(low > 0 for _, low, _ in slopes.values())
        return Finding(text, "holds on all targets tried" if grows else "not seen on every target")

    return judge


def flattest_claim(panel: str, record_name: str = "part1_flattest", small: float = 0.05) -> Callable[[], Finding]:
    """Result II on a recorded panel: relative population loss of the flattest interpolator found, at the largest n/d."""

    def judge() -> Finding:
        rows = {tuple(key.split(", ")): value for key, value in load_record(record_name).summary.items()
                if key.startswith(f"{panel}, ")}
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
        text = (f"rho between {min(f['rho'] for f in found):+.2f} and {worst['rho']:+.2f} in {len(found)} settings of 100 networks "
                f"(weakest: 95 % [{low:+.2f}, {high:+.2f}])")
        return Finding(text, "holds in every setting" if high < 0 else "does not hold everywhere")

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

    >>> print(markdown(pd.DataFrame([{"claim": "c", "source": "s", "chapter": "a1_question", "finding": "f", "verdict": "v"}])))
    | claim | source | chapter | what we find | verdict |
    |---|---|---|---|---|
    | c | s | [a1](a1_question.ipynb) | f | **v** |
    """
    lines = ["| claim | source | chapter | what we find | verdict |", "|---|---|---|---|---|"]
    lines += [f"| {row.claim} | {row.source} | [{row.chapter.split('_')[0]}]({row.chapter}.ipynb) | {row.finding} | **{row.verdict}** |"
              for row in table.itertuples()]
    return "\n".join(lines)


CLAIMS = [
    Claim("The trace of the Hessian of a ReLU network is a closed form", "ours", "a3_trace",
          proved("a3_trace", "equal to the dense Hessian in every block; it does not depend on the labels")),
    Claim("Any interpolator can be made sharper by a symmetry that changes no loss", "Dinh et al.; Paper A and B", "a4_symmetry",
          proved("a4_symmetry", "the trace moves by four orders of magnitude, no prediction moves in float64; the orbit minimum F* is a closed form")),
    Claim("Flattest interpolators have nearly minimal variation norm once n > C d; the ReLU threshold is n = 2d", "ours", "a5_norm",
          proved("a5_norm", "uniform bounds in both directions, the threshold exact for symmetric laws")),
    Claim("Interpolators that do not generalise cannot be made nearly as flat as the flattest, even using symmetries", "Paper A, abstract",
          "a6_nongeneralising", adversary_claim()),
    Claim("... for every interpolator of a network target, p = 1, noiseless", "ours", "a6_nongeneralising",
          proved("a6_nongeneralising", "F* ratio at least of order (n/d)^(1/4), proved; (n/d)^(1/2) up to logarithms by a cited theorem")),
    Claim("Flattest interpolators have small population loss when noise and approximation error are low", "Paper A, abstract", "a7_flattest",
          flattest_claim("samples")),
    Claim("... and not when the target is far from the class (three tanh links)", "ours", "a7_flattest", flattest_claim("approximation")),
    Claim("With biases, or with n < 2d, memorising every sample is a flattest solution", "ours", "a8_limits",
          proved("a8_limits", "the memoriser attains the lower bound on F*")),
    Claim("The weakest correct policy is the most likely to survive further demands (finite case)", "Paper B", "b1_language",
          proved("b1_language", "true for exchangeable demands if surviving means that the demands are completions of the policy; "
                                "exceptions are shown where they are not exchangeable")),
    Claim("... for measurable vocabularies, and minimax", "Paper B", "b2_continuous",
          proved("b2_continuous", "true for demands that avoid null sets; each hypothesis with a counterexample without it")),
    Claim("Weakness is invariant under reparametrisation", "Paper B", "b3_invariance_pacbayes",
          proved("b3_invariance_pacbayes", "true for vocabularies over input-output behaviour; the pair proxy is not one: "
                                           "unread units change it while the function stands still")),
    Claim("The trace of the Hessian correlates with test accuracy, weakly (MNIST)", "Paper B, 5.7", "b6_pair_proxy",
          correlation_claim("pair_proxy_mnist", "mnist", "trace")),
    Claim("The norm of the weights does not (MNIST)", "Paper B, 5.7", "b6_pair_proxy", null_claim("pair_proxy_mnist", "weight_norm")),
    Claim("The pair proxy of weakness does (MNIST)", "Paper B, 5.7", "b6_pair_proxy",
          correlation_claim("pair_proxy_mnist", "mnist", "pair_proxy")),
    Claim("The pair proxy does (Fashion-MNIST)", "Paper B, 5.8", "b6_pair_proxy",
          correlation_claim("pair_proxy_fashion", "fashion-mnist", "pair_proxy")),
    Claim("The trace does (Fashion-MNIST)", "Paper B, 5.8", "b6_pair_proxy",
          correlation_claim("pair_proxy_fashion", "fashion-mnist", "trace")),
    Claim("The norm of the weights does (Fashion-MNIST)", "Paper B, 5.8", "b6_pair_proxy",
          correlation_claim("pair_proxy_fashion", "fashion-mnist", "weight_norm")),
    Claim("The effective rank of the features, which counts no completions, does at least as well as the pair proxy (MNIST)", "ours",
          "c2_head_to_head", rival_claim("pair_proxy_mnist", "effective_rank", "pair_proxy")),
    Claim("... and on Fashion-MNIST", "ours", "c2_head_to_head", rival_claim("pair_proxy_fashion", "effective_rank", "pair_proxy")),
    Claim("The divergence of the noise that trained weights bear, a PAC-Bayes flatness, correlates with test accuracy", "ours",
          "b3_invariance_pacbayes", divergence_claim()),
]
