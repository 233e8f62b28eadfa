"""The figures of the book: one style for all, and the plot functions that chapters share.

On import the style of ``book.mplstyle`` applies, and in a notebook a figure is shown as PNG, which
the regression test compares, as SVG, which the page shows, and as PDF, to take away. Every function
draws one figure and returns its axes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

from flat_or_weak.labels import direct_label
from flatness.statistics.comparisons import Estimate

__all__ = [
    "TARGETS",
    "direct_label",
    "estimate_against_exact",
    "forest",
    "intervals",
    "measures_against_accuracy",
    "offer_vectors",
]
STYLE = Path(__file__).with_name("book.mplstyle")
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7A7A7A",
)
TARGETS = {
    "relu": "one ReLU",
    "three_relu": "three ReLU",
    "abs": "one |z|",
    "tanh_sum": "a sum of tanh",
    "sine_sum": "a sum of sines",
    "relu2": "one ReLU²",
    "relu3": "one ReLU³",
}
"""How a reader is told of a target, by its name in the code."""
plt.style.use(STYLE)


def offer_vectors() -> bool:
    """In a notebook: show every figure as PNG, SVG and PDF, the same bytes after every run. Says
    whether this is one.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    from matplotlib_inline.config import InlineBackend

    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # the date that SVG and PDF carry
    InlineBackend.instance(parent=shell).figure_formats = {"png", "svg", "pdf"}
    return True


offer_vectors()


def _array(values: Tensor | Sequence[float]) -> np.ndarray:
    return (
        values.detach().cpu().numpy()
        if isinstance(values, Tensor)
        else np.asarray(values, dtype=float)
    )


def estimate_against_exact(
    exact: Tensor, estimate: Tensor, standard_error: Tensor, *, title: str = ""
) -> Axes:
    """Estimates with one-standard-error bars against exact values, and the diagonal on which they
    should scatter.
    """
    exact, estimate, error = map(_array, (exact, estimate, standard_error))
    _, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
    axes.errorbar(exact, estimate, yerr=error, fmt="o", ms=3, lw=0.8, color=BLUE, ecolor=GREY)
    ends = [min(exact.min(), estimate.min()), max(exact.max(), estimate.max())]
    axes.plot(ends, ends, color=ORANGE, lw=1, label="exact = estimate")
    axes.set(xlabel="exact trace", ylabel="Hutchinson estimate", title=title)
    axes.legend(frameon=False, loc="upper left")
    return axes


def measures_against_accuracy(
    table: pd.DataFrame, measures: Mapping[str, str], rho: Mapping[str, float], *, title: str = ""
) -> np.ndarray:
    """One scatter plot per measure (column -> label) against test accuracy in per cent, titled with
    its rank correlation.
    """
    figure, axes = plt.subplots(
        1, len(measures), figsize=(3.1 * len(measures), 3.3), sharey=True, layout="constrained"
    )
    figure.suptitle(title)
    for panel, (column, label) in zip(np.atleast_1d(axes), measures.items(), strict=True):
        panel.scatter(
            table[column], 100 * table["test_accuracy"], s=12, color=BLUE, alpha=0.75, linewidths=0
        )
        panel.set(xlabel=label, title=f"$\\rho$ = {rho[column]:+.2f}")
        panel.title.set_fontsize(10)
    np.atleast_1d(axes)[0].set_ylabel("test accuracy (%)")
    return axes


def intervals(rows: Sequence[tuple[str, float, tuple[float, float], float | None]]) -> Axes:
    """Estimates with intervals, one line each: (label, value, (low, high), published value or
    None).
    """
    _, axes = plt.subplots(figsize=(6, 0.42 * len(rows) + 1), layout="constrained")
    for height, (_, value, (low, high), published) in enumerate(reversed(rows)):
        axes.plot([low, high], [height, height], color=BLUE, lw=2)
        axes.plot(
            value, height, "o", color=BLUE, label="ours, 95 % interval" if not height else None
        )
        if published is not None:
            axes.plot(published, height, "D", color=ORANGE, mfc="none", label="published")
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_xlabel("Spearman's $\\rho$ with test accuracy")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if len(handles) > 1:  # alone, ours need no name
        axes.legend(handles.values(), handles.keys(), frameon=False, fontsize=8)
    return axes


def forest(
    panels: Mapping[str, Mapping[str, Estimate | None]] | pd.DataFrame,
    xlabel: str,
    *,
    reference: float | None = 0.0,
    colours: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Dots with intervals, one row a label and one panel a title: panels side by side share their
    rows.

    Parameters
    ----------
    panels : title -> label -> its estimate, or None where there is none. Rows stand in the order
        in which labels first appear, from the top. A frame of estimates will do.
    reference : where a thin line stands (None: nowhere); estimates whose interval holds it are
        drawn hollow.
    colours : label -> colour of its row, for rows that stand out.
    """
    table: dict[Any, dict[Any, Any]] = {t: {**rows} for t, rows in panels.items()}
    labels = [*dict.fromkeys(label for rows in table.values() for label in rows)]
    if not labels:
        raise ValueError("panels: expected at least one estimate")
    size = (2.2 + 2.6 * len(table), 0.27 * len(labels) + 1.1)
    _, axes = plt.subplots(
        1, len(table), figsize=size, sharey=True, sharex=True, squeeze=False, layout="constrained"
    )
    for axis, (title, rows) in zip(axes[0], table.items()):
        for height, label in enumerate(reversed(labels)):
            estimate = rows.get(label)
            if not isinstance(estimate, Estimate):
                continue
            colour = (colours or {}).get(label, BLUE)
            open_ = reference is not None and estimate.holds(reference)
            axis.plot([estimate.low, estimate.high], [height, height], color=colour, lw=1.4)
            face = "white" if open_ else colour
            axis.plot(estimate.value, height, "o", color=colour, mfc=face, ms=5)
        if reference is not None:
            axis.axvline(reference, color=GREY, lw=0.7, zorder=0)
        axis.set(title=title, xlabel=xlabel)
        axis.set_yticks(range(len(labels)), labels[::-1])
        axis.set_ylim(-0.6, len(labels) - 0.4)
        axis.tick_params(axis="y", length=0)
    return axes[0]
