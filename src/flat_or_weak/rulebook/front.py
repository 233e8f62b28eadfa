"""What the front page and the README say in five sentences, computed, and their figure."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from flat_or_weak import published
from flat_or_weak.figures import BLUE, GREY, ORANGE
from flat_or_weak.rulebook.estimates import BATCH_EFFECT, DATA, Statistic, adversary_slopes, gap
from flat_or_weak.rulebook.over_splits import over_splits, rhos_of, stronger
from flat_or_weak.rulebook.tables import link
from flatness.statistics.comparisons import Estimate

SHOWN = {  # measure -> its name in the figure
    "pair_proxy": "pair proxy (weakness)",
    "effective_rank": "effective rank of features",
    "noise_divergence": "noise divergence (flatness)",
    "weight_norm": "weight norm (simplicity)",
    "trace": "Hessian trace (flatness)",
    "orbit_trace": "orbit-minimal trace (flatness)",
}


def _estimates(statistic: Statistic) -> list[Estimate]:
    return [case.found.interval() for case in statistic.cases().values()]


def _both(statistic: Statistic) -> str:
    """The two data sets' estimates in one phrase."""
    return " and ".join(
        f"{e.text()} on {data}" for e, data in zip(_estimates(statistic), DATA, strict=True)
    )


def sentences() -> list[str]:
    """Five sentences with their 95 % intervals, from the records."""
    pair, rank, noise = ("pair_proxy", "effective_rank", "noise_divergence")
    slopes = sorted(_estimates(adversary_slopes()), key=lambda e: e.value)
    better = _estimates(stronger(noise, pair, signs=(-1, 1)))
    early, late = (_estimates(gap(n))[0] for n in (2000, 60000))
    batch, sizes = _estimates(BATCH_EFFECT), list(BATCH_EFFECT.cases())
    return [
        f"The pair proxy of weakness goes with test accuracy on new data splits, rho = "
        f"{_both(over_splits(pair))}; the raw trace of the Hessian does not, "
        f"{_both(over_splits('trace'))}, unless the number of epochs is held fixed (looked at "
        f"afterwards), {_both(over_splits('trace', 'epochs'))}.",
        f"The effective rank of the frozen features, which counts no completions, does better, "
        f"{_both(over_splits(rank))}; given it, {_both(over_splits(pair, rank))} is left of the "
        "pair proxy.",
        f"One flatness goes with accuracy too, the noise divergence of PAC-Bayes: "
        f"{_both(over_splits(noise))}. In size that exceeds the pair proxy's correlation by "
        f"{better[0].text()} on MNIST and {better[1].text()} on Fashion-MNIST.",
        f"Interpolating two-layer networks with at least half the loss of a constant cost more "
        f"flatness than the flattest found, by a ratio that grows like (n/d)^s, s from "
        f"{slopes[0].text()} to {slopes[-1].text()} over {len(slopes)} targets at d = 20, n/d = 4 "
        "to 16, by search. That the ratio "
        "grows is also proved, for noiseless labels of a network, degree 1, no biases.",
        f"On MNIST the advantage of large batches shrinks, from {early.text()} points at n = 2,000 "
        f"to {late.text()} at 60,000; at equal learning rate the large batch changes accuracy by "
        f"{batch[0].text()} to {batch[-1].text()} points ({sizes[0]} to {sizes[-1]}).",
    ]


CHAPTERS = (  # where each sentence is argued
    ("c3_confounds",),
    ("c3_confounds",),
    ("c3_confounds",),
    ("a6_nongeneralising",),
    ("b4_vanishing", "c3_confounds"),
)


def for_the_page(sentence: str, chapters: tuple[str, ...]) -> str:
    """A sentence as the front page shows it: what it says before its numbers stands out, signs and
    letters are typeset, and its chapters are linked.

    >>> for_the_page("It goes with it, rho = -0.40 [-0.45, -0.35].", ("a1_question",))
    '**It goes with it**, *ρ* = −0.40 [−0.45, −0.35] ([a1](a1_question.ipynb)).'
    """
    lead = re.match(r"[^\d]+?(?=[,:] [^,:]*\d)", sentence)
    text = f"**{lead[0]}**{sentence[lead.end() :]}" if lead else sentence
    text = re.sub(r"(?<=[ \[])-(?=\d)", "−", text)
    text = (
        text.replace("rho = ", "*ρ* = ")
        .replace("(n/d)^s", "$(n/d)^s$")
        .replace(", s from", ", $s$ from")
    )
    links = ", ".join(map(link, chapters))
    return re.sub(r"\.$", f" ({links}).", text)


def main_figure() -> Figure:
    """Six measures on twenty splits of each data set: a dot for a hundred networks, a bar for the
    pooled 95 % interval, a diamond for the published value.
    """
    figure, axes = plt.subplots(
        1, 2, figsize=(9, 3.4), sharex=True, sharey=True, layout="constrained"
    )
    for panel, (label, data) in zip(axes, DATA.items(), strict=True):
        for height, measure in enumerate(reversed(SHOWN)):
            rhos = rhos_of(data, measure)
            e = _estimates(over_splits(measure, on=(label,)))[0]
            panel.plot(rhos, np.full(len(rhos), height), "o", ms=3, alpha=0.5, color=GREY)
            panel.plot([e.low, e.high], [height, height], lw=4, color=BLUE)
            if measure in published.PAIR_PROXY[data]:
                theirs = published.PAIR_PROXY[data][measure][0]
                panel.plot(theirs, height, "D", color=ORANGE, mfc="white", zorder=3)
        panel.axvline(0, color="black", lw=0.6)
        panel.set(title=label, xlabel="rank correlation with test accuracy")
    axes[0].set_yticks(range(len(SHOWN)), list(reversed(SHOWN.values())))
    return figure
