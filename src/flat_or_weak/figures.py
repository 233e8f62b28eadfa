"""The plot functions that chapters share. Each draws one figure and returns its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from torch import Tensor

BLUE, ORANGE, GREY = "#2c5f8a", "#c8641b", "#8a8a8a"


def _array(values: Tensor | Sequence[float]) -> np.ndarray:
    return (
        values.detach().cpu().numpy()
        if isinstance(values, Tensor)
        else np.asarray(values, dtype=float)
    )


def estimate_against_exact(exact: Tensor, estimate: Tensor, standard_error: Tensor) -> Axes:
    """Estimates with one-standard-error bars against exact values, and the diagonal on which they
    should scatter.
    """
    exact, estimate, error = map(_array, (exact, estimate, standard_error))
    _, axes = plt.subplots(figsize=(5, 4.2))
    axes.errorbar(exact, estimate, yerr=error, fmt="o", ms=3, lw=0.8, color=BLUE, ecolor=GREY)
    ends = [min(exact.min(), estimate.min()), max(exact.max(), estimate.max())]
    axes.plot(ends, ends, color=ORANGE, lw=1, label="exact = estimate")
    axes.set(xlabel="exact trace", ylabel="Hutchinson estimate")
    axes.legend(frameon=False)
    return axes


def measures_against_accuracy(
    table: pd.DataFrame, measures: Mapping[str, str], rho: Mapping[str, float]
) -> np.ndarray:
    """One scatter plot per measure (column -> label) against test accuracy in per cent, titled with
    its rank correlation.
    """
    _, axes = plt.subplots(
        1, len(measures), figsize=(3.1 * len(measures), 3.1), sharey=True, layout="constrained"
    )
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
    axes.legend(handles.values(), handles.keys(), frameon=False, fontsize=8)
    return axes


def rank_correlation_matrices(
    matrices: Mapping[str, np.ndarray], labels: Sequence[str]
) -> np.ndarray:
    """Matrices of rank correlations side by side, one per name, with the numbers written in the
    cells.
    """
    _, axes = plt.subplots(
        1, len(matrices), figsize=(4.4 * len(matrices), 4.2), sharey=True, layout="constrained"
    )
    for panel, (name, matrix) in zip(np.atleast_1d(axes), matrices.items(), strict=True):
        panel.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        panel.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
        panel.set_yticks(range(len(labels)), labels)
        panel.set_title(name, fontsize=10)
        for (row, column), value in np.ndenumerate(matrix):
            panel.text(
                column,
                row,
                f"{value:+.1f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if abs(value) > 0.6 else "black",
            )
    return axes
