"""Names written at the curves of a figure, instead of a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes


def direct_label(axes: Axes, labels: Mapping[str, str] | None = None) -> list[str]:
    """Write the names of the curves beside their right ends, in their colours and without overlap,
    instead of a legend. Returns the names, from the top.

    ``labels``: label of a curve -> what to write (default: the label itself; "" leaves it out).
    """
    axes.autoscale_view()
    to_fraction = (axes.transData + axes.transAxes.inverted()).transform
    ends: list[tuple[float, str, str]] = []
    for line in axes.lines:
        text = (labels or {}).get(str(line.get_label()), str(line.get_label()))
        points = np.asarray(line.get_xydata(), dtype=float)
        points = points[np.isfinite(points).all(1)]
        if text and not text.startswith("_") and len(points):
            last = points[points[:, 0].argmax()]
            height = min(
                max(float(to_fraction(last)[1]), 0.0), 1.0
            )  # beyond the axes: at their edge
            ends.append((height, text, str(line.get_color())))
    ends.sort()
    figure = axes.get_figure(root=True)
    inches = figure.get_size_inches()[1] if figure else 3.0
    tall = 72 * inches * axes.get_position().height
    heights = spread_out([height for height, *_ in ends], 1.3 * plt.rcParams["font.size"] / tall)
    for height, (_, text, colour) in zip(heights, ends):
        axes.annotate(
            text,
            (1, height),
            xytext=(4, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
    if legend := axes.get_legend():
        legend.remove()
    return [text for _, text, _ in reversed(ends)]


def spread_out(heights: Sequence[float], gap: float) -> list[float]:
    """Sorted heights, moved as little as it takes for neighbours to be ``gap`` apart: the least
    squares, by pooling those that touch.

    >>> spread_out([0.0, 0.0, 1.0], 0.5)
    [-0.25, 0.25, 1.0]
    """
    blocks: list[tuple[float, int]] = []  # the sum of (height - place * gap), how many
    for place, height in enumerate(heights):
        total, count = height - place * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, many = blocks.pop()
            total, count = total + before, count + many
        blocks.append((total, count))
    level = [total / count for total, count in blocks for _ in range(count)]
    return [base + place * gap for place, base in enumerate(level)]
