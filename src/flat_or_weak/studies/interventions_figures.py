"""Figures of the intervention study: effects against the sham, and which rulers moved together."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from flat_or_weak.figures import BLUE, GREY, ORANGE
from flat_or_weak.rulebook.estimates import DATA
from flat_or_weak.studies import interventions_plan as plan
from flat_or_weak.studies import interventions_reading as reading


def arm_words(arm: str) -> str:
    """An arm's name in words."""
    return arm.replace("_", " ")


def recorded_data(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The data sets of a table: their names in words and in the table."""
    return [(label, data) for label, data in DATA.items() if (table["data"] == data).any()]


def forest(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy of every arm minus that of its control (dots) and of the base arm (diamonds) with
    95 % intervals over splits, a panel for each data set; what is not read is left out. Hollow
    dots: minus the largest sham that fitted, where that of the plan did not.
    """
    arms = [name for name in reading.arms_of(table) if name != "base"]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 5.5), sharey=True, layout="constrained")
    for panel, (label, data) in zip(axes, recorded_data(table), strict=False):
        part = table[table["data"] == data]
        panel.axvspan(-plan.MARGIN, plan.MARGIN, color=GREY, alpha=0.25, lw=0)
        for height, arm in enumerate(reversed(arms)):
            if arm not in set(part["arm"]):
                continue
            control = reading.control_of(reading.BY_NAME[arm])
            fill = BLUE
            if control == "sham" and (fitted := reading.fitted_sham(part)) not in (None, "sham"):
                control, fill = fitted, "white"
            for against, place, mark, colour in (
                (control, 0.13, "o", BLUE),
                ("base", -0.13, "D", ORANGE),
            ):
                lost = max(reading.unfitted(part, name) for name in (arm, against))
                if lost > plan.MOST_UNFITTED or (against == "base" and mark == "o"):
                    continue
                e = reading.effect(part, arm, against).interval()
                panel.plot([e.low, e.high], [height + place] * 2, color=colour, lw=1.5)
                face = fill if mark == "o" else colour
                panel.plot(e.value, height + place, mark, color=colour, mfc=face, ms=4)
        panel.axvline(0, color="black", lw=0.6)
        panel.set(title=label, xlabel="difference of test accuracy, points")
    axes[0].set_yticks(range(len(arms)), [arm_words(arm) for arm in reversed(arms)])
    figure.suptitle(title)
    return figure


def moved_together(table: pd.DataFrame, title: str) -> Figure:
    """Arms by rulers: how far each arm moved each ruler from the base arm, in standard deviations
    of the base arm within splits, and accuracy in the same unit.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 5.4), layout="constrained")
    for panel, (label, data) in zip(axes, recorded_data(table), strict=False):
        found = reading.shifts(table[table["data"] == data])
        values = found.to_numpy(float)
        panel.imshow(np.clip(values, -4, 4), cmap="RdBu", vmin=-4, vmax=4, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            text = "" if np.isnan(value) else f"{value:+.1f}"
            dark = "white" if abs(value) > 2.5 else "black"
            panel.text(j, i, text, ha="center", va="center", size=7, color=dark)
        panel.set_yticks(range(len(found)), [arm_words(name) for name in found.index])
        names = [arm_words(name) for name in found.columns]
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_title(label)
    figure.suptitle(title)
    return figure
