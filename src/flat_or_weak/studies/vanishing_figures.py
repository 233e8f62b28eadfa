"""The figure of traces against training losses of b4_vanishing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from flat_or_weak.figures import BLUE, ORANGE
from flat_or_weak.studies.vanishing_summary import REGIMES, kept


def trace_against_loss(table: pd.DataFrame, *, title: str) -> Figure:
    """The trace of every network against the training loss at which it stopped, a panel a size;
    the colours are the regimes.
    """
    sizes = sorted(table["n"].unique())
    figure, axes = plt.subplots(
        2, -(-len(sizes) // 2), figsize=(8.5, 4.6), sharex=True, sharey=True, layout="constrained"
    )
    colours = dict(zip(REGIMES, (ORANGE, BLUE), strict=True))
    for panel, n in zip(axes.flat, sizes, strict=False):
        for regime, colour in colours.items():
            part = kept(table)[lambda t, n=n, r=regime: (t["n"] == n) & (t["regime"] == r)]
            panel.plot(part["train_loss"], part["trace"], "o", ms=3, alpha=0.6, color=colour)
            centre = np.exp(np.log(part[["train_loss", "trace"]]).mean())
            if n == sizes[0]:
                panel.annotate(
                    f"{regime} batch",
                    (centre["train_loss"], centre["trace"]),
                    xytext=(6, 12 if regime == "small" else -18),
                    textcoords="offset points",
                    color=colour,
                )
        panel.set(xscale="log", yscale="log", title=f"n = {n:,}")
        panel.minorticks_off()
        panel.set_xticks([0.0025, 0.01, 0.04], ["0.0025", "0.01", "0.04"])
        panel.set_yticks([20, 30, 50], ["20", "30", "50"])
    for panel in axes[-1]:
        panel.set_xlabel("training loss at stopping")
    for panel in axes[:, 0]:
        panel.set_ylabel("trace of the Hessian")
    figure.suptitle(title)
    return figure
