"""The figures of c2_head_to_head and c3_confounds: correlations with their intervals, a panel for
each data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from flat_or_weak.figures import BLUE, GREY, ORANGE
from flatness.statistics.moderators import MetaRegression

DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
WORDS = {
    "trace": "Hessian trace",
    "orbit_trace": "orbit-minimal trace",
    "weight_norm": "weight norm",
    "train_loss": "training loss",
    "epochs": "epochs",
    "noise_divergence": "noise divergence",
    "pair_proxy": "pair proxy",
    "effective_rank": "effective rank",
    "active_units": "active units",
}


def in_words(row: str) -> str:
    """The name of a row of `confounds.pooled_table` in words.

    >>> in_words("trace | epochs, train_loss")
    'Hessian trace | epochs, training loss'
    """
    measure, *given = row.split(" | ")
    names = [WORDS[name] for name in (given[0].split(", ") if given else [])]
    return WORDS[measure] + (f" | {', '.join(names)}" if names else "")


def forest(
    tables: Mapping[str, pd.DataFrame],
    rows: Mapping[str, str],
    *,
    title: str,
    dots: Mapping[tuple[str, str], Sequence[float]] | None = None,
    xlabel: str = "rank correlation with test accuracy",
) -> Figure:
    """One panel a data set, one line a row: point, 95 % interval, and what the splits show.

    ``tables``: data set -> columns rho, low, high; ``rows``: row -> its name, from the top down;
    ``dots``: (data set, row) -> a value for each split. Rows whose interval holds zero are grey; a
    row that a data set does not have stays empty.
    """
    figure, axes = plt.subplots(
        1,
        len(tables),
        figsize=(9, 0.27 * len(rows) + 1.3),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, (data, table) in zip(axes[0], tables.items(), strict=True):
        for height, row in enumerate(reversed(list(rows))):
            if row not in table.index:
                continue
            rho, low, high = table.loc[row, ["rho", "low", "high"]].to_numpy(dtype=float)
            shown = [] if dots is None else dots[data, row]
            panel.plot(shown, np.full(len(shown), height), "o", ms=3, alpha=0.3, color=GREY)
            colour = GREY if low <= 0 <= high else BLUE
            panel.plot([low, high], [height] * 2, lw=3, color=colour, solid_capstyle="butt")
            panel.plot(rho, height, "o", ms=7, color=colour, mec="white", mew=1)
        panel.axvline(0, color="black", lw=0.6)
        panel.set_title(DATA.get(data, data))
    axes[0, 0].set_yticks(range(len(rows)), list(rows.values())[::-1])
    figure.supxlabel(xlabel, fontsize="medium")
    figure.suptitle(title)
    return figure


def effects(tables: Mapping[str, pd.DataFrame], *, title: str) -> Figure:
    """The effects of a factorial against n, a panel an outcome: batch and rate with their
    intervals, filled at the first fit, hollow at a common loss.

    ``tables``: name of the outcome -> table of `confounds.factorial_effects`.
    """
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(6.4, 2.3 * len(tables)), sharex=True, layout="constrained"
    )
    colours = {"batch": ORANGE, "rate": BLUE}
    words = {"batch": "larger batch, same rate", "rate": "higher rate, same batch"}
    for panel, (outcome, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        sizes = sorted(table["n"].unique())
        for place, (effect, rule) in enumerate((e, r) for e in colours for r in ("fit", "matched")):
            part = table[(table["effect"] == effect) & (table["rule"] == rule)].sort_values("n")
            at = np.arange(len(part)) + 0.09 * (place - 1.5)
            ends = [part["mean"] - part["low"], part["high"] - part["mean"]]
            style = {"mfc": colours[effect] if rule == "fit" else "white", "capsize": 2}
            panel.errorbar(at, part["mean"], ends, fmt="o", color=colours[effect], **style)
            if rule == "matched":
                end = (at[-1] + 0.08, part["mean"].iloc[-1])
                panel.annotate(words[effect], end, color=colours[effect], va="center")
        panel.axhline(0, color="black", lw=0.6)
        panel.set(ylabel=outcome, xlim=(-0.4, len(sizes) + 0.4))
        panel.set_xticks(range(len(sizes)), [f"{n:,}" for n in sizes])
    np.atleast_1d(axes)[-1].set_xlabel("training images n")
    figure.suptitle(title)
    return figure


def against_size(
    rhos: Mapping[str, pd.Series], fits: Mapping[str, MetaRegression], *, title: str
) -> Figure:
    """Correlations of the splits against n and the line of the meta-regression, a panel a measure.

    ``rhos``: measure -> its correlation by (n, split).
    """
    figure, axes = plt.subplots(
        1, len(rhos), figsize=(9, 2.6), sharex=True, sharey=True, layout="constrained"
    )
    for panel, (measure, values) in zip(axes, rhos.items(), strict=True):
        n = values.index.get_level_values(0).to_numpy(float)
        panel.plot(n, values, "o", ms=3, alpha=0.4, color=GREY)
        grid = np.geomspace(n.min(), n.max(), 40)
        fit = fits[measure]
        line = fit.level.value + fit.slope.value * (np.log2(grid) - np.log2(n).mean())
        panel.plot(grid, np.tanh(line), color=BLUE, lw=2)
        panel.axhline(0, color="black", lw=0.6)
        panel.set(xscale="log", title=WORDS[measure], xlabel="training images n")
        panel.set_xticks(sorted(set(n)), [f"{int(k):,}" for k in sorted(set(n))])
        panel.minorticks_off()
    axes[0].set_ylabel("correlation with accuracy")
    figure.suptitle(title)
    return figure
